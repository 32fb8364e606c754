package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

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
