package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// A Reindex builds the keys of other parameters as another generation, beside those that
// searches use. From its beginning every write makes the keys of both. What was there
// before is indexed bit by bit, each resource under the lock that its writers take. At the
// end one key says which generation counts, and the other one is deleted. Of a Reindex that
// a crash ends nothing counts, and Open deletes it.
//
// Where resources lie in series does not change. It depends on the zone of dates without an
// offset, though: parameters of another zone are refused, and left to Open.

// building is the index that a Reindex makes.
type building struct {
	params     *parameters
	generation generation
	displaced  atomic.Bool // a date is another one by these parameters
}

var errDisplaced = errors.New("the parameters read dates in another zone: close the store, and open it with them")

// compare notes whether a resource has another date by the parameters of b.
func (b *building) compare(is, built *search.Terms) {
	first, span, length := extent(is, sortDate)
	first2, span2, length2 := extent(built, sortDate)
	if !first.Equal(first2) || span != span2 || length != length2 {
		b.displaced.Store(true)
	}
}

// chunk is how many resources a Reindex locks at once.
const chunk = 256

// Reindex is as store.Reindexer says. It uses one processor, and the disk for the keys. Give
// Open the same parameters the next time, or Options.Load: with others it indexes anew.
func (s *Store) Reindex(ctx context.Context, p *search.Parameters, progress func(done, total int)) error {
	if err := s.reindex(ctx, p, progress); err != nil {
		return fmt.Errorf("embedded: reindex: %w", err)
	}
	return nil
}

// Parameters are those that searches use now.
func (s *Store) Parameters() *search.Parameters {
	s.viewMu.Lock()
	defer s.viewMu.Unlock()
	return s.view.params.Parameters
}

func (s *Store) reindex(ctx context.Context, p *search.Parameters, progress func(done, total int)) error {
	b, total, err := s.beginIndex(ctx, p)
	if err != nil || b == nil {
		return err
	}
	done := 0
	for at := []byte{currentKey}; err == nil && at != nil; {
		var n int
		if at, n, err = s.indexChunk(ctx, b, at); err == nil && progress != nil {
			done += n
			progress(done, max(total, done))
		}
	}
	if err == nil {
		err = s.useIndex(ctx, b)
	}
	if err != nil {
		return errors.Join(err, s.dropIndex(b))
	}
	return nil
}

// beginIndex makes all writes that begin from now on write the index b, too. There is none
// if the one that there is does.
func (s *Store) beginIndex(ctx context.Context, p *search.Parameters) (b *building, total int, err error) {
	if err := s.gate.Enter(); err != nil {
		return nil, 0, err
	}
	defer s.gate.Leave()
	if err := errors.Join(ctx.Err(), s.failed()); err != nil {
		return nil, 0, err
	}
	s.indexing.Lock()
	defer s.indexing.Unlock()
	if s.building != nil {
		return nil, 0, errors.New("another one is running: wait until it is done")
	}
	if bytes.Equal(p.Fingerprint(), s.params.Fingerprint()) {
		return nil, 0, s.switchTo(ctx, newParameters(p), s.generation)
	}
	b = &building{params: newParameters(p), generation: s.generation.other()}
	if err := s.clear(b.generation); err != nil {
		return nil, 0, err
	}
	s.building = b
	s.viewMu.Lock()
	defer s.viewMu.Unlock()
	for _, n := range s.counts {
		total += int(n)
	}
	return b, total, nil
}

// clear deletes all keys of a generation.
func (s *Store) clear(g generation) error {
	for _, kind := range termKinds {
		if err := s.db.DeleteRange([]byte{g.kind(kind)}, []byte{g.kind(kind) + 1}, pebble.NoSync); err != nil {
			return err
		}
	}
	return nil
}

// indexChunk indexes the resources from a key on, and tells where the next ones begin: nil
// at the end.
func (s *Store) indexChunk(ctx context.Context, b *building, from []byte) (next []byte, n int, err error) {
	if err := s.gate.Enter(); err != nil {
		return nil, 0, err
	}
	defer s.gate.Leave()
	changes, next, err := s.some(from)
	if err != nil || len(changes) == 0 {
		return nil, 0, err
	}
	held, err := s.locks.all(ctx, changes)
	if err != nil {
		return nil, 0, err
	}
	defer held.release()
	v := s.look() // it has what the writers before have made
	defer s.letGo(v)
	w := newWrite(s.db.NewBatch())
	defer w.batch.Close()
	w.durable = false
	reader := reader{view: v}
	x := indexer{params: b.params, generation: b.generation, second: true, emit: func(key, value []byte) error { return w.batch.Set(key, value, nil) }}
	for _, c := range changes {
		r, found, err := reader.current(c.Type, c.ID)
		if err == nil && found && !r.deleted {
			n++
			var is, terms search.Terms
			if terms, err = b.params.Extract(c.Type, r.json); err == nil && r.place.series != 0 {
				is, err = v.params.Extract(c.Type, r.json)
				b.compare(&is, &terms)
			}
			if err == nil {
				x.resourceType, x.id, x.series = c.Type, c.ID, r.place.series
				err = x.each(r.at(), &terms)
			}
		}
		if err != nil {
			return nil, 0, errors.Join(err, reader.close())
		}
	}
	if err := reader.close(); err != nil {
		return nil, 0, err
	}
	if b.displaced.Load() {
		return nil, 0, errDisplaced
	}
	if w.batch.Empty() {
		return next, n, ctx.Err()
	}
	return next, n, s.commit(ctx, w)
}

// some are the resources from a key on, and the key behind them.
func (s *Store) some(from []byte) (changes []store.Change, next []byte, err error) {
	v := s.look()
	defer s.letGo(v)
	it, err := v.snapshot.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: []byte{currentKey + 1}})
	if err != nil {
		return nil, nil, err
	}
	for ok := it.First(); ok && len(changes) < chunk; ok = it.Next() {
		of, id, named := bytes.Cut(it.Key()[1:], []byte{0})
		if !named {
			return nil, nil, errors.Join(errIndex, it.Close())
		}
		changes = append(changes, store.Change{Key: fhir.Key{Type: string(of), ID: string(id)}})
		next = append(append(next[:0], it.Key()...), 0)
	}
	return changes, next, errors.Join(it.Error(), it.Close())
}

// useIndex makes searches use the index b, which is complete.
func (s *Store) useIndex(ctx context.Context, b *building) error {
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	s.indexing.Lock()
	defer s.indexing.Unlock()
	if b.displaced.Load() {
		return errDisplaced
	}
	old := s.generation
	if err := s.switchTo(ctx, b.params, b.generation); err != nil {
		return err
	}
	s.building = nil
	return s.clear(old)
}

// switchTo notes on disk which index counts, and shows it. The caller holds indexing.
func (s *Store) switchTo(ctx context.Context, p *parameters, g generation) error {
	w := newWrite(s.db.NewBatch())
	defer w.batch.Close()
	if err := w.batch.Set(indexKey, indexNote(p, g), nil); err != nil {
		return err
	}
	w.params, w.generation = p, g
	return s.commit(ctx, w)
}

// dropIndex gives up the index b.
func (s *Store) dropIndex(b *building) error {
	if s.gate.Enter() != nil {
		return nil // Open does it
	}
	defer s.gate.Leave()
	s.indexing.Lock()
	defer s.indexing.Unlock()
	if s.building != b { // it is in use
		return nil
	}
	s.building = nil
	if s.failed() != nil {
		return nil
	}
	return s.clear(b.generation)
}
