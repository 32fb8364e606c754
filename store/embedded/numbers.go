package embedded

import (
	"bytes"
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// numbers gives series their numbers. What is on disk counts: a series that is there has the
// number that it has there, and a new one a number that no other ever had. Until it is known
// that a number is on disk, every write that uses it writes the definition as well. A number
// whose write fails is left out for good.
type numbers struct {
	mu   sync.Mutex
	next uint64
	// pending are the numbers that are on their way to the disk.
	pending map[string]*pendingNumber
	// young and old are numbers on disk that were asked for lately. When young is full it is
	// the old one, and what old had must be looked up again.
	young, old map[string]uint64
	bytes      int // of young
	turns      int // how often something was forgotten
	limit      int
}

type pendingNumber struct {
	number  uint64
	writers int
}

// numbersBytes is about how much young and old hold, each.
const numbersBytes = 16 << 20

func newNumbers(next uint64) *numbers {
	return &numbers{next: next, pending: map[string]*pendingNumber{}, young: map[string]uint64{}, limit: numbersBytes}
}

// of is the number of a series, and whether the caller must write its definition, and call
// done for it later. stored looks for it in a state of the disk that is not older than the call; 0
// is none.
func (n *numbers) of(name []byte, stored func() (uint64, error)) (number uint64, fresh bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for looked := -1; ; {
		if p := n.pending[string(name)]; p != nil {
			p.writers++
			return p.number, true, nil
		}
		if number, ok := n.young[string(name)]; ok {
			return number, false, nil
		}
		if number, ok := n.old[string(name)]; ok {
			n.remember(string(name), number)
			return number, false, nil
		}
		if looked == n.turns { // it is not on disk, and nobody has begun to write it since
			number = n.next
			n.next++
			n.pending[string(name)] = &pendingNumber{number, 1}
			return number, true, nil
		}
		looked = n.turns
		n.mu.Unlock()
		number, err = stored()
		n.mu.Lock()
		if err != nil {
			return 0, false, err
		}
		if number != 0 {
			n.remember(string(name), number)
			return number, false, nil
		}
	}
}

func (n *numbers) remember(name string, number uint64) {
	const overhead = 64
	if n.bytes += len(name) + overhead; n.bytes > n.limit {
		n.old, n.young, n.bytes = n.young, map[string]uint64{}, len(name)+overhead
		n.turns++
	}
	n.young[name] = number
}

// done ends a write that had to write a definition, which is visible by now, or has failed.
func (n *numbers) done(name string, written bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.pending[name]
	if p == nil { // another one that wrote it was quicker
		return
	}
	p.writers--
	if written {
		n.remember(name, p.number)
	}
	if written || p.writers == 0 {
		delete(n.pending, name)
	}
}

// nextNumber is behind all numbers on disk.
func nextNumber(db pebble.Reader) (uint64, error) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{definitionKey}, UpperBound: []byte{definitionKey + 1}})
	if err != nil {
		return 0, err
	}
	next := uint64(1)
	if it.Last() {
		number, ok := numberIn(it.Key()[1:])
		if !ok {
			err = errIndex
		}
		next = number + 1
	}
	return next, errors.Join(err, it.Error(), it.Close())
}

// storedNumber is the number that a definition has on disk, 0 if it has none.
func storedNumber(db pebble.Reader, resourceType, patient string, definition []byte) (found uint64, err error) {
	err = eachSeries(db, resourceType, patient, func(number uint64, is []byte) (more bool) {
		if bytes.Equal(is, definition) {
			found = number
		}
		return found == 0
	})
	return found, err
}

// eachSeries calls f for the series that a patient has or had, until it returns false. The
// number 0 says that other resources refer to the patient, too.
func eachSeries(db pebble.Reader, resourceType, patient string, f func(number uint64, definition []byte) (more bool)) error {
	prefix := appendSeriesOf(nil, resourceType, patient)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		number, good := numberIn(it.Key()[len(prefix):])
		if !good {
			err = errIndex
			break
		}
		var definition []byte
		if definition, err = it.ValueAndErr(); err != nil || !f(number, definition) {
			break
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}
