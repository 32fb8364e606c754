package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
)

// purpose is why the versions are walked through.
type purpose int

const (
	toDoubt  purpose = iota // whether anything is wrong
	toTell                  // what is wrong
	toSearch                // the index, for each key that they should have
)

// errDoubt ends a walk that was to doubt, and does.
var errDoubt = errors.New("something is wrong")

// sound reports whether all versions are well: each is there, is read, and says what it should.
// What keys they should have is known then.
func (c *check) sound(ctx context.Context) (bool, error) {
	found, err := c.walk(ctx, toDoubt, c.heads, c.bodies)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil || len(found.faults) > 0 || found.placed != found.places {
		return false, nil // whether it is an error that will stay, exactly finds out
	}
	c.found.add(found)
	return true, nil
}

// exactly tells what is wrong with the versions, and what keys those that can be read should have.
func (c *check) exactly(ctx context.Context) error {
	found, err := c.walk(ctx, toTell, c.heads)
	c.found.add(found)
	return err
}

// walk lets workers examine all versions that some sources give.
func (c *check) walk(ctx context.Context, why purpose, sources ...func(ctx context.Context, why purpose, f *findings, to *filler) error) (*findings, error) {
	b := batches{full: make(chan *batch, c.workers), spare: make(chan *batch, 2*c.workers+len(sources))}
	for range cap(b.spare) {
		b.spare <- &batch{}
	}
	var open atomic.Int64
	open.Store(int64(len(sources)))
	failed := make([]error, len(sources))
	var all []func(context.Context, *findings, func(int64)) error
	for i, source := range sources {
		all = append(all, func(ctx context.Context, f *findings, _ func(int64)) (err error) {
			defer func() {
				if open.Add(-1) == 0 {
					close(b.full)
				}
			}()
			to := &filler{ctx: ctx, batches: b}
			err = source(ctx, why, f, to)
			if why == toDoubt && err != nil {
				return err
			}
			// What comes before a damage is examined nevertheless.
			failed[i] = err
			return to.give()
		})
	}
	for range c.workers {
		all = append(all, func(ctx context.Context, f *findings, more func(int64)) (err error) {
			x := newExaminer(c, why, f)
			defer func() { err = errors.Join(err, x.close()) }()
			return x.work(ctx, b, more)
		})
	}
	var total int64
	for _, n := range c.counts {
		total += n
	}
	found, err := atOnce(ctx, func(done int64) {
		if why != toSearch {
			c.told(total, done)
		}
	}, all...)
	if err == nil {
		err = errors.Join(failed...)
	}
	return found, err
}

// A batch is what is given to a worker at once: so many bytes, or a version that has more, and not
// more than so many versions.
const (
	batchBytes    = 256 << 10
	batchVersions = 512
)

// batch are versions, with memory of their own.
type batch struct {
	versions []toExamine
	memory   []byte
}

// toExamine is a version.
type toExamine struct {
	of, id string
	record
	current bool
	// key and value, if there are any, are of a current version that lies in a series: nothing
	// else is known of it.
	key, value []byte
}

// batches go round: from who fills them to who examines them, and back.
type batches struct{ full, spare chan *batch }

// filler fills batches.
type filler struct {
	ctx context.Context
	batches
	batch *batch
}

// add copies a version.
func (f *filler) add(v *toExamine) error {
	if f.batch == nil {
		select {
		case f.batch = <-f.spare:
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
	}
	b := f.batch
	b.versions = append(b.versions, *v)
	own := &b.versions[len(b.versions)-1]
	own.json, own.key, own.value = b.copy(v.json), b.copy(v.key), b.copy(v.value)
	if len(b.memory) < batchBytes && len(b.versions) < batchVersions {
		return nil
	}
	return f.give()
}

// copy keeps bytes. What was kept before stays where it is when the memory grows.
func (b *batch) copy(of []byte) []byte {
	if len(of) == 0 {
		return nil
	}
	begin := len(b.memory)
	b.memory = append(b.memory, of...)
	return b.memory[begin:len(b.memory):len(b.memory)]
}

// give gives away the batch at hand, full or not.
func (f *filler) give() error {
	if f.batch == nil {
		return nil
	}
	select {
	case f.full <- f.batch:
		f.batch = nil
		return nil
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}

// empty makes a batch one to be filled. Memory for a large resource is not kept.
func (b *batch) empty() {
	clear(b.versions)
	b.versions, b.memory = b.versions[:0], b.memory[:0]
	if cap(b.memory) > 2*batchBytes {
		b.memory = nil
	}
}

// heads goes through the current versions and the earlier ones that each must have, in the order of
// type and id. What lies in a series is read if it is not only to doubt.
func (c *check) heads(ctx context.Context, why purpose, f *findings, to *filler) (err error) {
	keys, err := c.view.snapshot.NewIter(&pebble.IterOptions{LowerBound: []byte{currentKey}, UpperBound: []byte{currentKey + 1}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, keys.Close()) }()
	h, err := c.view.snapshot.NewIter(&pebble.IterOptions{LowerBound: []byte{earlierKey}, UpperBound: []byte{earlierKey + 1}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	current := reader{view: c.view}
	defer func() { err = errors.Join(err, current.close()) }()
	w := &versionWalk{check: c, why: why, found: f, to: to, it: h, hash: hasher{seed: c.seed}}
	f.report.ByType = map[string]int64{}

	h.First()
	for ok := keys.First(); ok; ok = keys.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if why == toDoubt && len(f.faults) > 0 {
			return errDoubt
		}
		of, id, ok := cutCurrent(keys.Key())
		if !ok || !fhir.ValidType(of) || !fhir.ValidID(id) {
			w.fault("a key that is damaged", of)
			continue
		}
		w.prefix = appendEarlierPrefix(w.prefix[:0], of, id)
		if err := w.orphans(ctx, w.prefix); err != nil {
			return err
		}
		r, found, err := w.read(&current, of, id)
		switch {
		case errors.Is(err, errRecord) || err == nil && !found:
			w.fault("a version that cannot be read", of)
			continue
		case err != nil:
			return err
		}
		if err := w.resource(ctx, of, id, r); err != nil {
			return err
		}
	}
	if err := keys.Error(); err != nil {
		return err
	}
	return w.orphans(ctx, []byte{earlierKey + 1})
}

// versionWalk looks at the versions of one resource after the other.
type versionWalk struct {
	check *check
	why   purpose
	found *findings
	to    *filler
	it    *pebble.Iterator
	hash  hasher
	// Memory that is used again.
	prefix, key, value []byte
}

func (w *versionWalk) fault(what, of string) { w.faults(what, of, 1) }

func (w *versionWalk) faults(what, of string, n int64) {
	if w.why != toSearch { // else it was told before
		w.found.fault(what, of, n)
	}
}

// read is the current version. To doubt, what lies in a series is not read, but noted.
func (w *versionWalk) read(from *reader, of, id string) (record, bool, error) {
	if w.why != toDoubt {
		return from.current(of, id)
	}
	r, found, err := from.head(of, id)
	if found && r.place.series != 0 {
		w.found.placed.add(w.placed(of, id, &r))
	}
	return r, found, err
}

// placed is what the c key of a version and its place in a series must say alike.
func (w *versionWalk) placed(of, id string, r *record) tally {
	w.key, w.value = appendPlacedSum(w.key[:0], w.value[:0], of, id, r)
	return tally{1, w.hash.sum(w.key, w.value)}
}

// appendPlacedSum are the bytes that stand for a version in a series, and for where it lies.
func appendPlacedSum(key, value []byte, of, id string, r *record) (k, v []byte) {
	return appendCurrent(key, of, id), r.appendPlace(value)
}

// resource looks at a current version, and the earlier ones that it must have.
func (w *versionWalk) resource(ctx context.Context, of, id string, r record) error {
	report := &w.found.report
	report.Versions++
	if r.deleted {
		report.Deleted++
	} else {
		report.Resources++
		report.ByType[of]++
	}
	if w.why != toDoubt || r.place.series == 0 {
		if err := w.examine(&toExamine{of: of, id: id, record: r, current: true}); err != nil {
			return err
		}
	}
	next := r
	for ; w.it.Valid() && bytes.HasPrefix(w.it.Key(), w.prefix); w.it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		number := w.it.Key()[len(w.prefix):]
		value, err := w.it.ValueAndErr()
		if err != nil {
			return err
		}
		e, err := readRecord(value)
		if err != nil || len(number) != versionLen {
			w.fault("a version that cannot be read", of)
			continue
		}
		report.Versions++
		switch n := ^binary.BigEndian.Uint64(number); {
		case n != e.version || n >= next.version:
			w.fault("a version that is kept as another", of)
			continue
		case n != next.version-1:
			w.missing(of, next.version-1-n)
		}
		if e.lastUpdated > next.lastUpdated {
			w.fault("a version that is newer than the one after it", of)
		}
		if err := w.examine(&toExamine{of: of, id: id, record: e}); err != nil {
			return err
		}
		e.json = nil
		next = e
	}
	if next.version > 1 {
		w.missing(of, next.version-1)
	}
	return w.it.Error()
}

// examine gives a version to the workers, unless they have nothing to do with it.
func (w *versionWalk) examine(v *toExamine) error {
	if w.why == toSearch && !w.check.searches(v.of) {
		return nil
	}
	return w.to.add(v)
}

func (w *versionWalk) missing(of string, n uint64) {
	w.faults("a version that is missing", of, int64(min(n, 1<<62)))
}

// orphans are earlier versions of resources that are not there, up to those of the next one.
func (w *versionWalk) orphans(ctx context.Context, next []byte) error {
	for ; w.it.Valid() && bytes.Compare(w.it.Key(), next) < 0; w.it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		of, _, _ := bytes.Cut(w.it.Key()[1:], []byte{0})
		w.fault("an earlier version without a current one", string(of))
	}
	return w.it.Error()
}

// bodies goes through what lies in series, in the order in which it does. Each is read as who reads
// a resource does, by its key.
func (c *check) bodies(ctx context.Context, _ purpose, _ *findings, to *filler) (err error) {
	keys, err := c.view.snapshot.NewIter(&pebble.IterOptions{LowerBound: []byte{recordKey}, UpperBound: []byte{recordKey + 1}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, keys.Close()) }()
	from := reader{view: c.view}
	defer func() { err = errors.Join(err, from.close()) }()
	for ok := keys.First(); ok; ok = keys.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		from.key = append(from.key[:0], keys.Key()...)
		value, err := from.get(&from.placed, recordKey)
		if err != nil {
			return err
		}
		if value == nil {
			return errDoubt
		}
		if err := to.add(&toExamine{current: true, key: keys.Key(), value: value}); err != nil {
			return err
		}
	}
	return keys.Error()
}
