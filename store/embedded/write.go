package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/claim"
)

// maxWrite is how many bytes one write has at most. Pebble cannot hold 4 GiB.
const maxWrite = 1 << 30

// Write applies all changes or none. The changes of one call share lastUpdated, unless
// the clock is behind the version that is replaced: that time is kept then.
func (s *Store) Write(ctx context.Context, changes ...store.Change) ([]store.Result, error) {
	if err := s.gate.Enter(); err != nil {
		return nil, err
	}
	defer s.gate.Leave()
	results, err := s.apply(ctx, changes)
	if err != nil {
		return nil, fmt.Errorf("embedded: write: %w", err)
	}
	return results, nil
}

func (s *Store) apply(ctx context.Context, changes []store.Change) ([]store.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := store.CheckChanges(changes); err != nil {
		return nil, err
	}
	s.indexing.RLock()
	defer s.indexing.RUnlock()
	claim, err := s.claims.Make(ctx, changes, s.params.Parameters, s.opened)
	if err != nil {
		return nil, err
	}
	if claim != nil {
		defer claim.End()
		changes = claim.Changes() // their terms are known
	}
	held, err := s.locks.all(ctx, changes)
	if err != nil {
		return nil, err
	}
	defer held.release()

	e := s.newEdit()
	defer s.recycle(e)
	e.claim = claim
	results, err := e.changes(ctx, changes)
	e.write.results = results
	if err := e.end(ctx, err); err != nil {
		return nil, err
	}
	return results, nil
}

// storedNumber is the number of a series in the newest view.
func (s *Store) storedNumber(resourceType, patient string, definition []byte) (uint64, error) {
	v := s.look()
	defer s.letGo(v)
	return storedNumber(v.snapshot, resourceType, patient, definition)
}

// edit is a write as it is put together. All its resources are locked.
type edit struct {
	store  *Store
	view   *view        // what it is made on
	claim  *claim.Claim // nil if there is no condition None
	reader *reader
	now    time.Time
	write  *write
	placer placer
	index  indexer
	built  *indexer                      // of the index that a Reindex builds, or nil
	set    func(key, value []byte) error // in the batch
	found  []search.Terms
	key    []byte
	buf    []byte
}

// newEdit begins a write on the newest view. The caller holds indexing and the locks of the
// resources, and recycles it.
func (s *Store) newEdit() *edit {
	e, used := s.edits.Get().(*edit)
	if !used {
		e = &edit{store: s, write: newWrite(nil), placer: placer{numbers: s.numbers, stored: s.storedNumber}}
		e.set = func(key, value []byte) error { return e.write.batch.Set(key, value, nil) }
	}
	e.reader = s.lookToWrite()
	e.view = e.reader.view
	e.now = s.now().UTC().Truncate(time.Millisecond)
	e.write.batch = s.db.NewBatch()
	e.index.params, e.index.generation = s.params, s.generation
	if b := s.building; b != nil {
		e.built = &indexer{params: b.params, generation: b.generation, second: true}
	}
	return e
}

// maxPooled is how much memory an edit keeps for the next one.
const maxPooled = 64 << 10

// recycle ends an edit, whose memory the next one uses again.
func (s *Store) recycle(e *edit) {
	e.write.batch.Close()
	s.doneWriting(e.view)
	if e.write.withdrawn || cap(e.buf)+cap(e.placer.value) > maxPooled {
		return
	}
	e.write.reset()
	e.placer.definer.forget()
	clear(e.found[:cap(e.found)])
	e.view, e.claim, e.built = nil, nil, nil
	s.edits.Put(e)
}

// end commits the write, unless there is nothing in it or err says that it has failed. Either
// way its numbers are known by then to be on disk, or not.
func (e *edit) end(ctx context.Context, err error) error {
	err = errors.Join(err, e.store.leave(e.reader))
	e.reader = nil
	if err == nil && !e.write.batch.Empty() {
		err = e.store.commit(ctx, e.write)
	}
	e.placer.done(err == nil)
	return err
}

func (e *edit) changes(ctx context.Context, changes []store.Change) ([]store.Result, error) {
	results := make([]store.Result, len(changes))
	for i := range changes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if changes[i].If.None != nil {
			if err := e.unmatched(ctx, results[:i]); err != nil {
				return nil, err
			}
		}
		var err error
		if results[i], err = e.change(&changes[i]); err != nil {
			return nil, err
		}
		if e.write.batch.Len() > maxWrite {
			return nil, fmt.Errorf("the write has more than %d MiB, indexes included: split it", maxWrite>>20)
		}
	}
	return results, nil
}

// change puts one change into the batch and tells its result.
func (e *edit) change(c *store.Change) (store.Result, error) {
	old, found, err := e.reader.current(c.Type, c.ID)
	if err != nil {
		return store.Result{}, err
	}
	key := fhir.Key{Type: c.Type, ID: c.ID}
	current := ""
	if found && !old.deleted {
		current = strconv.FormatUint(old.version, 10)
	}
	if c.If.Version != "" && c.If.Version != current || c.If.Absent && current != "" {
		return store.Result{}, &store.ConflictError{Key: key, If: c.If, Current: current}
	}
	if c.Delete {
		return e.delete(key, old, current != "", found)
	}
	if err := c.CheckType(); err != nil {
		return store.Result{}, err
	}
	if current != "" {
		same, err := fhir.Stamp(c.JSON, c.Type, c.ID, current, old.at())
		if err != nil {
			return store.Result{}, fmt.Errorf("%s: %w", c.Type, err)
		}
		if bytes.Equal(same, old.json) {
			return store.Result{Resource: old.clone().resource(c.Type, c.ID), Unchanged: true}, nil
		}
	}
	next := e.next(old)
	next.json, err = fhir.Stamp(c.JSON, c.Type, c.ID, strconv.FormatUint(next.version, 10), next.at())
	if err != nil {
		return store.Result{}, fmt.Errorf("%s: %w", c.Type, err)
	}
	if err := e.replace(key, old, found, &next, c); err != nil {
		return store.Result{}, err
	}
	return store.Result{Resource: next.resource(c.Type, c.ID), Created: current == ""}, nil
}

// delete makes a version that is nothing but the note. What is not there stays as it is.
func (e *edit) delete(key fhir.Key, old record, present, found bool) (store.Result, error) {
	switch {
	case !found:
		return store.Result{Resource: fhir.Resource{Key: key, Deleted: true}, Unchanged: true}, nil
	case !present:
		return store.Result{Resource: old.resource(key.Type, key.ID), Unchanged: true}, nil
	}
	next := e.next(old)
	next.deleted = true
	if err := e.replace(key, old, found, &next, &store.Change{}); err != nil {
		return store.Result{}, err
	}
	return store.Result{Resource: next.resource(key.Type, key.ID)}, nil
}

// next is the version that follows old. Time does not run backwards within a resource.
func (e *edit) next(old record) record {
	return record{version: old.version + 1, lastUpdated: max(e.now.UnixMilli(), old.lastUpdated)}
}

// replace writes the version next, its index, and what becomes of the old version.
func (e *edit) replace(key fhir.Key, old record, found bool, next *record, c *store.Change) error {
	batch := e.write.batch
	if found {
		e.buf = old.append(e.buf[:0])
		e.key = appendEarlier(e.key[:0], key.Type, key.ID, old.version)
		if err := batch.Set(e.key, e.buf, nil); err != nil {
			return err
		}
	}
	if found && !old.deleted {
		e.write.counts[key.Type]--
		if err := e.past(key, old); err != nil {
			return err
		}
	}
	var before map[string]string
	if found && !old.deleted {
		before = map[string]string{}
		terms, err := e.terms(key.Type, &old, &store.Change{})
		if err != nil {
			return err
		}
		err = e.indexKeys(key, &old, terms, func(key, value []byte) error {
			before[string(key)] = string(value)
			return nil
		})
		if err != nil {
			return err
		}
	}
	terms, err := e.terms(key.Type, next, c)
	if err != nil {
		return err
	}
	if !next.deleted {
		if err := e.placer.place(batch, key.Type, e.index.params.layout(key.Type), &terms[0], next); err != nil {
			return err
		}
	}
	if err := e.placer.put(batch, key, old.place, next); err != nil {
		return err
	}
	if !next.deleted {
		e.write.counts[key.Type]++
	} else if err := e.past(key, *next); err != nil {
		return err
	}
	return e.reindex(key, before, next, terms)
}

// past notes a version that is not, or no longer, a current resource, for the history of many.
func (e *edit) past(key fhir.Key, r record) error {
	e.key = appendPast(e.key[:0], key.Type, key.ID, r.version, r.at())
	return e.write.batch.Set(e.key, nil, nil)
}

// reindex deletes the index keys that only the old version has, and sets those that it
// does not have. A version that is deleted, or never was, has none.
func (e *edit) reindex(key fhir.Key, before map[string]string, next *record, terms []search.Terms) error {
	if before == nil {
		return e.indexKeys(key, next, terms, e.set)
	}
	err := e.indexKeys(key, next, terms, func(key, value []byte) error {
		is, ok := before[string(key)]
		delete(before, string(key))
		if ok && is == string(value) {
			return nil
		}
		return e.set(key, value)
	})
	if err != nil {
		return err
	}
	for key := range before {
		if err := e.write.batch.Delete([]byte(key), nil); err != nil {
			return err
		}
	}
	return nil
}

// terms are those of a record by the parameters of the store, and of a Reindex if there is
// one, until the next call. They are taken from its JSON unless the change has them.
func (e *edit) terms(resourceType string, r *record, c *store.Change) ([]search.Terms, error) {
	e.found = append(e.found[:0], search.Terms{})
	if r.deleted {
		return e.found, nil
	}
	var err error
	terms := e.found
	if c.HasTerms(e.index.params.Parameters, e.store.opened) {
		terms[0] = *c.Terms
	} else if terms[0], err = e.index.params.Extract(resourceType, r.json); err != nil {
		return nil, err
	}
	if e.built == nil {
		return terms, nil
	}
	built, err := e.built.params.Extract(resourceType, r.json)
	if err != nil {
		return nil, err
	}
	if e.index.params.layout(resourceType).any() {
		e.store.building.compare(&terms[0], &built)
	}
	e.found = append(terms, built)
	return e.found, nil
}

// indexKeys gives the index keys of a record that has those terms.
func (e *edit) indexKeys(key fhir.Key, r *record, terms []search.Terms, emit func(key, value []byte) error) error {
	if r.deleted {
		return nil
	}
	for i, x := range []*indexer{&e.index, e.built} {
		if x == nil {
			continue
		}
		x.resourceType, x.id, x.series, x.emit = key.Type, key.ID, r.place.series, emit
		if err := x.each(r.at(), &terms[i]); err != nil {
			return err
		}
	}
	return nil
}
