package mongo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/mongo/layout"
)

// Export is as store.Archive says. It reads on through what is written meanwhile: each resource
// is exported with all the versions that it had at one moment, no two of them at the same one.
func (s *Store) Export(ctx context.Context, after fhir.Key, each func(version fhir.Resource) error) error {
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	if err := s.export(ctx, after, each); err != nil {
		return fmt.Errorf("mongo: export: %w", told(ctx, err))
	}
	return nil
}

func (s *Store) export(ctx context.Context, after fhir.Key, each func(version fhir.Resource) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	seen := int64(0)
	if after != (fhir.Key{}) {
		if !fhir.ValidType(after.Type) || !fhir.ValidID(after.ID) {
			return errors.New("the place to go on from is no resource: name its type and its id, and its version or none")
		}
		if after.Version != "" {
			var ok bool
			if seen, ok = store.ParseVersion(after.Version); !ok {
				return errors.New("the place to go on from has a version that is no number from 1 on")
			}
		}
	}
	types, err := s.types(ctx)
	if err != nil {
		return err
	}
	for _, of := range types {
		if of < after.Type {
			continue
		}
		f := bson.D{}
		if of == after.Type {
			op := "$gt"
			if seen > 0 {
				op = "$gte"
			}
			f = bson.D{{Key: "_id", Value: bson.D{{Key: op, Value: after.ID}}}}
		}
		if err := s.exportType(ctx, of, f, after, seen, each); err != nil {
			return err
		}
	}
	return nil
}

// exportType gives the versions of a type. The current ones are read in chunks, and then the
// earlier ones of the same resources: a version that is replaced in between is in both.
func (s *Store) exportType(ctx context.Context, of string, f bson.D, after fhir.Key, seen int64, each func(fhir.Resource) error) error {
	c, err := s.collection(of).Find(ctx, f, options.Find().SetProjection(wanted).SetSort(bson.D{{Key: "_id", Value: 1}}).SetBatchSize(chunk))
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	var some []record
	size := 0
	flush := func() error {
		defer func() { some, size = some[:0], 0 }()
		return s.exportSome(ctx, of, some, func(r *record) error {
			if of == after.Type && r.id == after.ID && r.version <= seen {
				return nil
			}
			return each(r.shared(of))
		})
	}
	for c.Next(ctx) {
		r, found, err := readRecord(c.Current)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		r.json = bytes.Clone(r.json)
		some = append(some, r)
		if size += len(r.json); len(some) == chunk || size > s.limits.pageBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := c.Err(); err != nil {
		return err
	}
	return flush()
}

// exportSome gives all versions of resources, whose current ones are at hand.
func (s *Store) exportSome(ctx context.Context, of string, current []record, each func(*record) error) error {
	var ids []string
	for i := range current {
		if current[i].version > 1 {
			ids = append(ids, current[i].id)
		}
	}
	var c *driver.Cursor
	if len(ids) > 0 {
		var err error
		c, err = s.historyOf(of).Find(ctx, bson.D{{Key: "id", Value: bson.D{{Key: "$in", Value: ids}}}},
			options.Find().SetProjection(wanted).SetSort(bson.D{{Key: "id", Value: 1}, {Key: "v", Value: 1}}))
		if err != nil {
			return err
		}
		defer c.Close(context.WithoutCancel(ctx))
	}
	for i := range current {
		last := &current[i]
		for v := int64(1); v < last.version; {
			if !c.Next(ctx) {
				return errors.Join(c.Err(), errDocument)
			}
			r, found, err := readRecord(c.Current)
			switch {
			case err != nil || !found:
				return errors.Join(err, errDocument)
			case r.id < last.id || r.id == last.id && r.version < v: // of one that was replaced after it was read
				continue
			case r.id != last.id || r.version != v:
				return errDocument
			}
			if err := each(&r); err != nil {
				return err
			}
			v++
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := each(last); err != nil {
			return err
		}
	}
	return nil
}

// An import is done in steps of this size, each of which is one write.
const (
	importBytes    = 8 << 20
	importVersions = 2000
)

// Import is as store.Archive says. Versions are numbered 1, 2, 3 … without a gap, and time does
// not run backwards within a resource; what is otherwise is refused, and so is JSON that does
// not carry the id, the version and the time that it comes with as fhir.Stamp writes them. Of
// a call that is refused for that nothing is added; of one with a conflict or a gap, nothing
// behind the last step that was complete.
func (s *Store) Import(ctx context.Context, versions []fhir.Resource) (added int, err error) {
	if err := s.gate.Enter(); err != nil {
		return 0, err
	}
	defer s.gate.Leave()
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("mongo: import: %w", err)
	}
	for i := range versions {
		if err := store.CheckImported(&versions[i]); err != nil {
			return 0, fmt.Errorf("mongo: import: version %d of the call: %w", i+1, err)
		}
	}
	for done := 0; done < len(versions); {
		n := store.ImportStep(versions[done:], importBytes, importVersions)
		made, err := s.importSome(ctx, versions[done:done+n])
		added += made
		if err != nil {
			return added, fmt.Errorf("mongo: import: versions %d to %d of the call: %w", done+1, done+n, told(ctx, err))
		}
		done += n
	}
	return added, nil
}

// importSome adds versions in one write, or none of them.
func (s *Store) importSome(ctx context.Context, versions []fhir.Resource) (added int, err error) {
	im := &importer{versions: versions, of: map[fhir.Key][]int{}}
	for i := range versions {
		key := fhir.Key{Type: versions[i].Type, ID: versions[i].ID}
		if im.of[key] == nil {
			im.keys = append(im.keys, key)
		}
		im.of[key] = append(im.of[key], i)
	}
	changes := make([]store.Change, len(im.keys))
	for i, key := range im.keys {
		changes[i].Key = key
	}
	h := &held{}
	if err := s.lockIndexing(ctx, h); err != nil {
		h.release()
		return 0, err
	}
	for _, of := range typesOf(changes) {
		if err := s.indexes.ensure(ctx, of); err != nil {
			h.release()
			return 0, err
		}
	}
	unlock, err := s.lockAll(ctx, changes)
	if err != nil {
		h.release()
		return 0, err
	}
	h.add(unlock)
	im.edit = &edit{store: s, changes: changes, asked: ctx}
	im.edit.decide = im.decide
	if err := s.carry(ctx, im.edit, h); err != nil {
		return 0, err
	}
	return im.added, nil
}

// importer is a step of an import as it is put together.
type importer struct {
	edit     *edit
	versions []fhir.Resource
	keys     []fhir.Key         // of the resources, in the order of their first version
	of       map[fhir.Key][]int // the versions of each
	added    int
}

// decide is the edit's plan.
func (im *importer) decide(ctx context.Context) error {
	im.added, im.edit.puts = 0, nil
	current, err := im.edit.store.currents(ctx, im.edit.changes)
	if err != nil {
		return err
	}
	if err := im.compare(ctx, current); err != nil {
		return err
	}
	for _, key := range im.keys {
		if err := im.edit.asked.Err(); err != nil {
			return err
		}
		if err := im.resource(key, current[key]); err != nil {
			return err
		}
	}
	return nil
}

// compare reports a conflict if a version that is there has other content.
func (im *importer) compare(ctx context.Context, current map[fhir.Key]record) error {
	s := im.edit.store
	earlier := map[string][]string{} // the _ids of those that are not current, by type
	for i := range im.versions {
		r := &im.versions[i]
		now := current[fhir.Key{Type: r.Type, ID: r.ID}]
		switch v := versionOf(r); {
		case v == now.version && !equal(r, &now):
			return importConflict(r, &now)
		case v < now.version:
			earlier[r.Type] = append(earlier[r.Type], layout.HistoryID(r.ID, v))
		}
	}
	for of, ids := range earlier {
		found := map[string]record{}
		for some := range slices.Chunk(ids, readAtOnce) {
			c, err := s.historyOf(of).Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: some}}}}, options.Find().SetProjection(wanted))
			if err != nil {
				return err
			}
			for c.Next(ctx) {
				r, _, err := readRecord(c.Current)
				if err != nil {
					return errors.Join(err, c.Close(ctx))
				}
				r.json = bytes.Clone(r.json)
				found[layout.HistoryID(r.id, r.version)] = r
			}
			if err := errors.Join(c.Err(), c.Close(ctx)); err != nil {
				return err
			}
		}
		for i := range im.versions {
			r := &im.versions[i]
			now := current[fhir.Key{Type: r.Type, ID: r.ID}]
			if r.Type != of || versionOf(r) >= now.version {
				continue
			}
			is, ok := found[layout.HistoryID(r.ID, versionOf(r))]
			if !ok {
				return errDocument
			}
			if !equal(r, &is) {
				return importConflict(r, &now)
			}
		}
	}
	return nil
}

// resource puts what is new of one resource.
func (im *importer) resource(key fhir.Key, now record) error {
	s := im.edit.store
	p := put{of: key.Type, id: key.ID, old: now}
	last := now
	for _, i := range im.of[key] {
		r := &im.versions[i]
		v := versionOf(r)
		switch {
		case v <= now.version:
			continue // it is there already, as compare has seen
		case v <= last.version:
			return im.twice(key, r, v)
		case v > last.version+1:
			return fmt.Errorf("version %d of a %s comes after version %d: what lies between is missing, and must be imported first", v, r.Type, last.version)
		case last.version > 0 && r.LastUpdated.UnixMilli() < last.lastUpdated:
			return fmt.Errorf("version %d of a %s is from before version %d: time must not run backwards within a resource", v, r.Type, last.version)
		}
		if last.version > 0 {
			doc, err := earlier(key.Type, &last, r.LastUpdated)
			if err != nil {
				return err
			}
			if last.version > now.version {
				doc = imported(doc)
			}
			if len(doc) > s.limits.documentBytes {
				return s.tooLong(key.Type, len(last.json))
			}
			p.earlier = append(p.earlier, doc)
		}
		last = record{id: key.ID, version: v, lastUpdated: r.LastUpdated.UnixMilli(), deleted: r.Deleted, json: r.JSON, patient: now.patient}
		im.added++
	}
	if last.version == now.version {
		return nil
	}
	var err error
	if last.deleted {
		p.doc, err = s.tombstone(key.Type, &last, now.patient)
	} else {
		p.doc, err = s.document(&last, &store.Change{Key: key})
	}
	if err != nil {
		return fmt.Errorf("%s: %w", key.Type, err)
	}
	if len(p.doc) > s.limits.documentBytes {
		return s.tooLong(key.Type, len(last.json))
	}
	im.edit.puts = append(im.edit.puts, p)
	return nil
}

// twice is for a version that comes again in the same call: nothing, if it is the same.
func (im *importer) twice(key fhir.Key, r *fhir.Resource, v int64) error {
	for _, i := range im.of[key] {
		if first := &im.versions[i]; versionOf(first) == v {
			if first.Deleted == r.Deleted && first.LastUpdated.Equal(r.LastUpdated) && bytes.Equal(first.JSON, r.JSON) {
				return nil
			}
			break
		}
	}
	return importConflict(r, &record{})
}

// imported marks an earlier version that never was a current one here, for a Watch.
func imported(doc bson.Raw) bson.Raw {
	marked := slices.Clone(doc[:len(doc)-1])
	marked = append(marked, byte(bson.TypeBoolean))
	marked = append(marked, importedField...)
	marked = append(marked, 0, 1, 0)
	for i, n := 0, len(marked); i < 4; i++ {
		marked[i] = byte(n >> (8 * i))
	}
	return marked
}

const importedField = "new"

func versionOf(r *fhir.Resource) int64 {
	n, _ := store.ParseVersion(r.Version) // it was checked
	return n
}

func equal(r *fhir.Resource, is *record) bool {
	return is.deleted == r.Deleted && is.lastUpdated == r.LastUpdated.UnixMilli() && bytes.Equal(is.json, r.JSON)
}

// importConflict tells of a version that is there with other content.
func importConflict(r *fhir.Resource, now *record) error {
	e := &store.ConflictError{Key: fhir.Key{Type: r.Type, ID: r.ID, Version: r.Version}}
	if now.version > 0 && !now.deleted {
		e.Current = strconv.FormatInt(now.version, 10)
	}
	return fmt.Errorf("version %s of a %s is there with other content: %w", r.Version, r.Type, e)
}
