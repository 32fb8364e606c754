package embedded

import (
	"context"
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// What is read ahead at once: so many resources, or as many as have so many bytes. Each reader
// has two of these.
const (
	aheadResources = 128
	aheadBytes     = 256 << 10
)

// ahead are current versions that follow each other, as they are read before they are asked for.
type ahead struct {
	keys   []resourceName
	read   []record // of the first keys; those of the others are not read ahead
	memory []byte   // of their JSON
	failed error    // why no more were read
	broken error    // why there are no more keys
	ready  chan struct{}
}

type resourceName struct{ of, id string }

// eachCurrent calls each, from the goroutine of the caller, with the current versions from a key
// on, deletions among them, in the order of type and id. What lies in series is in another order, so
// that nearly each version is in another block than the one before: that is why several goroutines
// read ahead. The JSON is valid during the call.
func (v *view) eachCurrent(ctx context.Context, lower []byte, readers int, each func(of, id string, r record) error) (err error) {
	inner, cancel := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel(nil)
	begin := func(work func() error) {
		running.Go(func() {
			if err := guarded(work); err != nil {
				cancel(err)
			}
		})
	}
	spare, toRead, inOrder := make(chan *ahead, 2*readers), make(chan *ahead, 2*readers), make(chan *ahead, 2*readers)
	for range cap(spare) {
		spare <- &ahead{}
	}
	begin(func() error {
		defer close(toRead)
		defer close(inOrder)
		return v.keysAhead(inner, lower, spare, func(a *ahead) { // there is room for all that there are
			toRead <- a
			inOrder <- a
		})
	})
	for range readers {
		begin(func() error { return v.readAhead(inner, toRead) })
	}
	late := reader{view: v}
	defer func() { err = errors.Join(err, late.close()) }()
	for a := range inOrder {
		select {
		case <-a.ready:
		case <-inner.Done():
			return endOf(ctx, inner)
		}
		for i, key := range a.keys {
			if err := ctx.Err(); err != nil {
				return err
			}
			var r record
			switch {
			case i < len(a.read):
				r = a.read[i]
			case a.failed != nil:
				return a.failed
			default:
				if r, err = late.mustBe(key); err != nil {
					return err
				}
			}
			if err := each(key.of, key.id, r); err != nil {
				return err
			}
		}
		if a.broken != nil {
			return a.broken
		}
		spare <- a
	}
	return endOf(ctx, inner)
}

// endOf is why inner has ended, nil if it has not.
func endOf(ctx, inner context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return context.Cause(inner)
}

// keysAhead gives away the keys of the resources from one on. An error comes with the last of them:
// what comes before it is not to be lost.
func (v *view) keysAhead(ctx context.Context, lower []byte, spare <-chan *ahead, give func(*ahead)) (err error) {
	keys, err := v.snapshot.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: []byte{currentKey + 1}})
	if err != nil {
		return err
	}
	told := false
	defer func() {
		if closed := keys.Close(); !told { // else it is the same error
			err = closed
		}
	}()
	for more := keys.First(); more; {
		var a *ahead
		select {
		case a = <-spare:
		case <-ctx.Done():
			return nil
		}
		*a = ahead{keys: a.keys[:0], read: a.read[:0], memory: a.memory[:0], ready: make(chan struct{})}
		for ; more && len(a.keys) < aheadResources && a.broken == nil; more = keys.Next() {
			of, id, ok := cutCurrent(keys.Key())
			if !ok {
				a.broken = errIndex
				continue
			}
			a.keys = append(a.keys, resourceName{of, id})
		}
		if !more && a.broken == nil {
			a.broken = keys.Error()
		}
		if told = a.broken != nil; told {
			more = false
		}
		give(a)
	}
	return nil
}

// readAhead reads what keys name, until there are none.
func (v *view) readAhead(ctx context.Context, all <-chan *ahead) (err error) {
	from := reader{view: v}
	told := false
	defer func() {
		if closed := from.close(); !told { // else it is the same error
			err = closed
		}
	}()
	for a := range all {
		if ctx.Err() != nil {
			return nil
		}
		if cap(a.memory) > 2*aheadBytes { // a large resource has passed
			a.memory = nil
		}
		for _, key := range a.keys {
			r, err := from.mustBe(key)
			if err != nil {
				a.failed, told = err, true
				break
			}
			begin := len(a.memory)
			a.memory = append(a.memory, r.json...)
			r.json = a.memory[begin:len(a.memory):len(a.memory)]
			if a.read = append(a.read, r); len(a.memory) >= aheadBytes {
				break
			}
		}
		close(a.ready)
	}
	return nil
}

// mustBe is a current version that there is a key of.
func (r *reader) mustBe(key resourceName) (record, error) {
	is, found, err := r.current(key.of, key.id)
	if err == nil && !found {
		err = errRecord
	}
	return is, err
}
