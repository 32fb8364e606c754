package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

// Read is the current version of a resource, or the one that key names.
func (s *Store) Read(ctx context.Context, key fhir.Key) (fhir.Resource, error) {
	if err := s.gate.Enter(); err != nil {
		return fhir.Resource{}, err
	}
	defer s.gate.Leave()
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

// parseVersion is store.ParseVersion in the type of a record's version.
func parseVersion(text string) (uint64, bool) {
	n, ok := store.ParseVersion(text)
	return uint64(n), ok
}

// current is the current version of a resource, deleted or not.
func (v *view) current(resourceType, id string) (record, bool, error) {
	var buf [160]byte
	r, found, err := v.record(appendCurrent(buf[:0], resourceType, id))
	if err != nil || !found {
		return r, found, err
	}
	r, err = whole(v.snapshot, r, id)
	return r, err == nil, err
}

// record is the version under a key, with its JSON unless that lies in a series. The JSON is a copy.
func (v *view) record(key []byte) (record, bool, error) {
	return recordAt(v.snapshot, key, readRecord)
}

func recordAt(db pebble.Reader, key []byte, read func([]byte) (record, error)) (record, bool, error) {
	value, closer, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return record{}, false, nil
	}
	if err != nil {
		return record{}, false, err
	}
	r, err := read(value)
	r.json = bytes.Clone(r.json)
	return r, err == nil, errors.Join(err, closer.Close())
}

// whole is r with its JSON, wherever that lies.
func whole(db pebble.Reader, r record, id string) (record, error) {
	if r.place.series == 0 {
		return r, nil
	}
	var buf [96]byte
	placed, found, err := recordAt(db, appendRecordKey(buf[:0], r.place, id), readPlaced)
	if err == nil && (!found || !placed.isThatOf(&r)) {
		err = errRecord
	}
	placed.place = r.place
	return placed, err
}

// reader reads current versions one after the other, at a lower price than one by one.
type reader struct {
	view *view
	// fresh: most are expected not to be there. Then the filters of all files are asked
	// before anything else is read.
	fresh    bool
	failed   bool // an iterator has an error
	currents *pebble.Iterator
	placed   *pebble.Iterator
	key      []byte
}

// current is the current version of a resource. Its JSON is valid until the next call.
func (r *reader) current(resourceType, id string) (record, bool, error) {
	head, found, err := r.head(resourceType, id)
	if err != nil || !found || head.place.series == 0 {
		return head, found, err
	}
	rec, err := r.at(head.place, id)
	if err == nil && !rec.isThatOf(&head) {
		err = errRecord
	}
	return rec, err == nil, err
}

// head is what the key of the current version of a resource says: where it lies, or all of it.
func (r *reader) head(resourceType, id string) (record, bool, error) {
	r.key = appendCurrent(r.key[:0], resourceType, id)
	value, err := r.get(&r.currents, currentKey)
	if err != nil || value == nil {
		return record{}, false, err
	}
	rec, err := readRecord(value)
	return rec, err == nil, err
}

// at is what lies at a place. Its JSON is valid until the next call.
func (r *reader) at(at location, id string) (record, error) {
	r.key = appendRecordKey(r.key[:0], at, id)
	value, err := r.get(&r.placed, recordKey)
	if err == nil && value == nil {
		err = errRecord
	}
	if err != nil {
		return record{}, err
	}
	rec, err := readPlaced(value)
	rec.place = at
	return rec, err
}

// get is the value of the key at hand, nil if there is none.
func (r *reader) get(it **pebble.Iterator, kind byte) ([]byte, error) {
	if *it == nil {
		made, err := r.view.snapshot.NewIter(&pebble.IterOptions{
			LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}, UseL6Filters: r.fresh,
		})
		if err != nil {
			return nil, err
		}
		*it = made
	}
	var value []byte
	var err error
	if (*it).SeekPrefixGE(r.key) {
		value, err = (*it).ValueAndErr()
	} else {
		err = (*it).Error()
	}
	r.failed = r.failed || err != nil
	return value, err
}

func (r *reader) close() error {
	var err error
	for _, it := range []*pebble.Iterator{r.currents, r.placed} {
		if it != nil {
			err = errors.Join(err, it.Close())
		}
	}
	r.currents, r.placed = nil, nil
	return err
}
