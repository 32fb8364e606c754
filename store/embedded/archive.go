package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

var _ store.Archive = (*Store)(nil)

// Export is as store.Archive says. All of it is from the state of the store at the call,
// however long it takes, and Close waits for it. each is called from the goroutine of the call, and
// must not call the store. With all processors it reads ahead: 512 KiB for each of them, or twice
// the largest resource if that is more.
func (s *Store) Export(ctx context.Context, after fhir.Key, each func(version fhir.Resource) error) error {
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	if err := s.export(ctx, after, each); err != nil {
		return fmt.Errorf("embedded: export: %w", err)
	}
	return nil
}

func (s *Store) export(ctx context.Context, after fhir.Key, each func(version fhir.Resource) error) (err error) {
	lower, seen, err := exportFrom(after)
	if err != nil {
		return err
	}
	v := s.look()
	defer s.letGo(v)
	earlier, err := v.snapshot.NewIter(&pebble.IterOptions{LowerBound: []byte{earlierKey}, UpperBound: []byte{earlierKey + 1}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, earlier.Close()) }()
	return v.eachCurrent(ctx, lower, runtime.GOMAXPROCS(0), func(of, id string, r record) error {
		from := uint64(1)
		if of == after.Type && id == after.ID {
			from = seen + 1
		}
		if err := exportEarlier(ctx, earlier, of, id, from, r.version, each); err != nil {
			return err
		}
		if from > r.version {
			return nil
		}
		return each(r.resource(of, id))
	})
}

// exportFrom is the first key of a resource of which not all was exported, and how many
// versions of it were.
func exportFrom(after fhir.Key) (lower []byte, seen uint64, err error) {
	if after == (fhir.Key{}) {
		return []byte{currentKey}, 0, nil
	}
	if !fhir.ValidType(after.Type) || !fhir.ValidID(after.ID) {
		return nil, 0, errors.New("the place to go on from is no resource: name its type and its id, and its version or none")
	}
	lower = appendCurrent(nil, after.Type, after.ID)
	if after.Version == "" {
		return append(lower, 0), 0, nil
	}
	seen, ok := parseVersion(after.Version)
	if !ok {
		return nil, 0, errors.New("the place to go on from has a version that is no number from 1 on")
	}
	return lower, seen, nil
}

// exportEarlier gives the versions from one until before the current one, oldest first.
func exportEarlier(ctx context.Context, it *pebble.Iterator, of, id string, from, current uint64, each func(fhir.Resource) error) error {
	if from >= current {
		return nil
	}
	ok := it.SeekLT(append(appendEarlier(nil, of, id, from), 0))
	for n := from; n < current; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !ok {
			return errors.Join(errRecord, it.Error())
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		r, err := readRecord(value)
		if err != nil {
			return err
		}
		if r.version != n || !bytes.Equal(it.Key(), appendEarlier(nil, of, id, n)) {
			return errRecord
		}
		if err := each(r.resource(of, id)); err != nil {
			return err
		}
		ok = it.Prev()
	}
	return nil
}

// cutCurrent reads the key of a current version.
func cutCurrent(key []byte) (resourceType, id string, ok bool) {
	of, rest, ok := bytes.Cut(key[1:], []byte{0})
	return string(of), string(rest), ok
}

// An import is done in steps of this size, each of which is one durable write. What goes a little
// beyond a group, as a call does that ends with the version that fills it, is one step, not two.
const (
	importBytes    = groupBytes + groupBytes/4
	importVersions = 10_000
)

// Import is as store.Archive says. Versions are numbered 1, 2, 3 … without a gap, as this
// store and its History have them, and time does not run backwards within a resource; what is
// otherwise is refused, and so is JSON that does not carry the id, the version and the time that
// it comes with as fhir.Stamp writes them. Of a call that is refused for that nothing is
// added; of one with a conflict or a gap, nothing behind the last step that was complete. It checks
// and reads the versions with all processors; one of them writes.
func (s *Store) Import(ctx context.Context, versions []fhir.Resource) (added int, err error) {
	if err := s.gate.Enter(); err != nil {
		return 0, err
	}
	defer s.gate.Leave()
	err = inParts(len(versions), func(from, to int) error {
		for i := from; i < to; i++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := store.CheckImported(&versions[i]); err != nil {
				return fmt.Errorf("version %d of the call, a %s: %w", i+1, typeName(versions[i].Type), err)
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("embedded: import: %w", err)
	}
	for done := 0; done < len(versions); {
		n := store.ImportStep(versions[done:], importBytes, importVersions)
		made, err := s.importSome(ctx, versions[done:done+n])
		added += made
		if err != nil {
			return added, fmt.Errorf("embedded: import: versions %d to %d of the call: %w", done+1, done+n, err)
		}
		done += n
	}
	return added, nil
}

// typeName is the name of a type as an error may print it.
func typeName(s string) string {
	if !fhir.ValidType(s) {
		return "resource of no type"
	}
	return s
}

// importSome adds versions in one durable write, or none of them.
func (s *Store) importSome(ctx context.Context, versions []fhir.Resource) (added int, err error) {
	changes := make([]store.Change, len(versions))
	for i := range versions {
		changes[i].Key = versions[i].Key
		changes[i].Version = ""
	}
	s.indexing.RLock()
	defer s.indexing.RUnlock()
	held, err := s.locks.all(ctx, changes)
	if err != nil {
		return 0, err
	}
	defer held.release()
	e := s.newEdit()
	defer s.recycle(e)
	im := &importer{edit: e, view: e.view, newest: map[fhir.Key]record{}}
	terms, err := im.terms(ctx, versions)
	for i := range versions {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = im.add(&versions[i], terms[i])
		}
		if err != nil {
			break
		}
	}
	e.write.results, e.write.borrowed = im.added, true
	if err := e.end(ctx, err); err != nil {
		return 0, err
	}
	return len(im.added), nil
}

// importer is a step of an import as it is put together.
type importer struct {
	edit   *edit
	view   *view
	newest map[fhir.Key]record // what the step has added, by resource
	added  []store.Result
}

// terms are the search terms of versions that are not there yet, found with all processors. Where
// there are none, add finds them, or out why not.
func (im *importer) terms(ctx context.Context, versions []fhir.Resource) ([]*search.Terms, error) {
	all := make([]*search.Terms, len(versions))
	params := im.edit.index.params
	err := inParts(len(versions), func(from, to int) (err error) {
		known := reader{view: im.view, fresh: true}
		defer func() { err = errors.Join(err, known.close()) }()
		for i := from; i < to; i++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			r := &versions[i]
			head, found, err := known.head(r.Type, r.ID)
			if err != nil || found && head.version >= importRecord(r).version || r.Deleted {
				continue
			}
			if terms, err := params.Extract(r.Type, r.JSON); err == nil {
				all[i] = &terms
			}
		}
		return nil
	})
	return all, err
}

func (im *importer) add(r *fhir.Resource, terms *search.Terms) error {
	key := fhir.Key{Type: r.Type, ID: r.ID}
	next := importRecord(r)
	old, found := im.newest[key]
	if !found {
		var err error
		if old, found, err = im.edit.reader.current(r.Type, r.ID); err != nil {
			return err
		}
	}
	switch {
	case next.version <= old.version:
		return im.compare(r, old, next)
	case next.version > old.version+1:
		return fmt.Errorf("version %d of a %s comes after version %d: what lies between is missing, and must be imported first", next.version, r.Type, old.version)
	case found && next.lastUpdated < old.lastUpdated:
		return fmt.Errorf("version %d of a %s is from before version %d: time must not run backwards within a resource", next.version, r.Type, old.version)
	}
	if err := im.edit.replace(key, old, found, &next, &store.Change{Terms: terms, Parameters: im.edit.index.params.Parameters}); err != nil {
		return err
	}
	if n := im.edit.write.batch.Len(); n > maxWrite {
		return fmt.Errorf("%d MiB at once, indexes included, are too many: import less in one call", n>>20)
	}
	im.newest[key] = next
	im.added = append(im.added, store.Result{Resource: next.resource(r.Type, r.ID), Created: !next.deleted && (!found || old.deleted)})
	return nil
}

// compare reports a conflict if a version that is there has other content. current is the
// newest one.
func (im *importer) compare(r *fhir.Resource, current, next record) error {
	is := current
	if next.version < current.version {
		var found bool
		var err error
		is, found, err = im.view.record(appendEarlier(nil, r.Type, r.ID, next.version))
		if err != nil {
			return err
		}
		if !found {
			if is, found, err = im.view.current(r.Type, r.ID); err != nil {
				return err
			}
			if !found || is.version != next.version { // it came twice in this call, and in between a newer one
				return fmt.Errorf("version %d of a %s comes a second time, after a newer one: give the versions of a resource in their order", next.version, r.Type)
			}
		}
	}
	if is.deleted == next.deleted && is.lastUpdated == next.lastUpdated && bytes.Equal(is.json, next.json) {
		return nil
	}
	conflict := &store.ConflictError{Key: r.Key}
	if !current.deleted {
		conflict.Current = strconv.FormatUint(current.version, 10)
	}
	return fmt.Errorf("version %d of a %s is there with other content: %w", next.version, r.Type, conflict)
}

// importRecord is a checked version as the store keeps it.
func importRecord(r *fhir.Resource) record {
	version, _ := parseVersion(r.Version)
	return record{version: version, lastUpdated: r.LastUpdated.UnixMilli(), deleted: r.Deleted, json: r.JSON}
}
