package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// maxHistory is how many versions a page has at most.
const maxHistory = 10000

// Read is the current version of a resource, or the one that key names.
func (s *Store) Read(ctx context.Context, key fhir.Key) (fhir.Resource, error) {
	if err := s.enter(); err != nil {
		return fhir.Resource{}, err
	}
	defer s.leave()
	if err := ctx.Err(); err != nil {
		return fhir.Resource{}, err
	}
	r, err := s.read(key)
	if err != nil {
		return fhir.Resource{}, fmt.Errorf("embedded: read %s: %w", key.Type, err)
	}
	return r, nil
}

func (s *Store) read(key fhir.Key) (fhir.Resource, error) {
	if !fhir.ValidID(key.ID) || !fhir.ValidType(key.Type) {
		return fhir.Resource{}, store.ErrNotFound
	}
	v := s.look()
	defer s.letGo(v)
	r, found, err := v.current(key.Type, key.ID)
	if err != nil {
		return fhir.Resource{}, err
	}
	if !found {
		return fhir.Resource{}, store.ErrNotFound
	}
	if key.Version != "" {
		version, ok := parseVersion(key.Version)
		if !ok || version > r.version {
			return fhir.Resource{}, store.ErrNotFound
		}
		if version < r.version {
			r, found, err = v.record(appendEarlier(nil, key.Type, key.ID, version))
			if err == nil && !found {
				err = errRecord
			}
			if err != nil {
				return fhir.Resource{}, err
			}
		}
	}
	out := r.resource(key.Type, key.ID)
	if out.Deleted {
		return fhir.Resource{}, &store.GoneError{Resource: out}
	}
	return out, nil
}

// parseVersion reads a version as this store writes them, and only so.
func parseVersion(text string) (uint64, bool) {
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil && n > 0 && text == strconv.FormatUint(n, 10)
}

// current is the current version of a resource, deleted or not.
func (v *view) current(resourceType, id string) (record, bool, error) {
	var buf [160]byte
	return v.record(appendCurrent(buf[:0], resourceType, id))
}

// record is the version under a key. Its JSON is a copy.
func (v *view) record(key []byte) (record, bool, error) {
	value, closer, err := v.snapshot.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return record{}, false, nil
	}
	if err != nil {
		return record{}, false, err
	}
	r, err := readRecord(value)
	r.json = bytes.Clone(r.json)
	return r, err == nil, errors.Join(err, closer.Close())
}

// reader reads current versions one after the other, at a lower price than one by one.
type reader struct {
	view *view
	// fresh: most are expected not to be there. Then the filters of all files are asked
	// before anything else is read.
	fresh bool
	it    *pebble.Iterator
	key   []byte
}

// current is the current version of a resource. Its JSON is valid until the next call.
func (r *reader) current(resourceType, id string) (record, bool, error) {
	if r.it == nil {
		it, err := r.view.snapshot.NewIter(&pebble.IterOptions{
			LowerBound: []byte{currentKey}, UpperBound: []byte{currentKey + 1}, UseL6Filters: r.fresh,
		})
		if err != nil {
			return record{}, false, err
		}
		r.it = it
	}
	r.key = appendCurrent(r.key[:0], resourceType, id)
	if !r.it.SeekPrefixGE(r.key) {
		return record{}, false, r.it.Error()
	}
	value, err := r.it.ValueAndErr()
	if err != nil {
		return record{}, false, err
	}
	rec, err := readRecord(value)
	return rec, err == nil, err
}

func (r *reader) close() error {
	if r.it == nil {
		return nil
	}
	return r.it.Close()
}

// History gives the versions of one resource, newest first. Total is how many there are.
func (s *Store) History(ctx context.Context, q store.HistoryQuery) (store.Page, error) {
	if err := s.enter(); err != nil {
		return store.Page{}, err
	}
	defer s.leave()
	page, err := s.history(ctx, q)
	if err != nil {
		return store.Page{}, fmt.Errorf("embedded: history of %s: %w", q.Type, err)
	}
	return page, nil
}

func (s *Store) history(ctx context.Context, q store.HistoryQuery) (store.Page, error) {
	if !fhir.ValidID(q.ID) || !fhir.ValidType(q.Type) {
		return store.Page{}, store.ErrNotFound
	}
	v := s.look()
	defer s.letGo(v)
	r, found, err := v.current(q.Type, q.ID)
	if err != nil {
		return store.Page{}, err
	}
	if !found {
		return store.Page{}, store.ErrNotFound
	}
	count := q.Count
	if count <= 0 {
		count = search.DefaultCount
	}
	count = min(count, maxHistory)

	page := store.Page{Total: int(r.version)}
	before := r.version + 1
	if q.Before != "" {
		n, ok := parseVersion(q.Before)
		if !ok {
			return store.Page{}, errors.New("the version to go on from is not a version of this server: follow its links as they are")
		}
		before = min(before, n)
	}
	size := 0
	add := func(r record) (more bool) {
		size += len(r.json)
		if n := len(page.Resources); n == count || n > 0 && size > s.limits.pageBytes {
			page.Next = &search.Cursor{ID: page.Resources[n-1].Version}
			return false
		}
		page.Resources = append(page.Resources, r.resource(q.Type, q.ID))
		return true
	}
	if before > r.version && !add(r) {
		return page, nil
	}
	it, err := v.snapshot.NewIter(&pebble.IterOptions{
		LowerBound: appendEarlier(nil, q.Type, q.ID, before-1),
		UpperBound: after(appendEarlierPrefix(nil, q.Type, q.ID)),
	})
	if err != nil {
		return store.Page{}, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		if err = ctx.Err(); err != nil {
			break
		}
		var value []byte
		if value, err = it.ValueAndErr(); err != nil {
			break
		}
		if r, err = readRecord(value); err != nil {
			break
		}
		r.json = bytes.Clone(r.json)
		if !add(r) {
			break
		}
	}
	if err := errors.Join(err, it.Error(), it.Close()); err != nil {
		return store.Page{}, err
	}
	return page, nil
}
