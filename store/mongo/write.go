package mongo

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/claim"
)

// Write applies all changes or none. The changes of one call share lastUpdated, unless
// the clock is behind the version that is replaced: that time is kept then.
func (s *Store) Write(ctx context.Context, changes ...store.Change) ([]store.Result, error) {
	if err := s.gate.Enter(); err != nil {
		return nil, err
	}
	defer s.gate.Leave()
	h := &held{}
	results, err := s.apply(ctx, changes, h)
	if err != nil {
		return nil, fmt.Errorf("mongo: write: %w", told(ctx, err))
	}
	return results, nil
}

// held is what a write has to give back when it is done, the last one first.
type held struct{ back []func() }

func (h *held) add(f func()) { h.back = append(h.back, f) }

func (h *held) release() {
	for i := len(h.back) - 1; i >= 0; i-- {
		h.back[i]()
	}
	h.back = nil
}

func (s *Store) apply(ctx context.Context, changes []store.Change, h *held) ([]store.Result, error) {
	results, e, err := s.quickly(ctx, changes, h)
	if e == nil {
		h.release()
		return results, err
	}
	if err := s.carry(ctx, e, h); err != nil {
		return nil, err
	}
	return e.results, nil
}

// carry does an edit, and gives back what it holds.
func (s *Store) carry(ctx context.Context, e *edit, h *held) error {
	// A write that has begun is carried to its end, whatever becomes of who asked for it: the
	// driver would leave a transaction open that others run into until it times out.
	done := make(chan error, 1)
	s.background.Go(func() {
		defer h.release()
		inner, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
		defer cancel()
		inner, end := s.member.while(inner)
		defer end()
		done <- why(inner, s.atomically(inner, e))
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writeTime is how long a write may take that nobody waits for any more.
const writeTime = 2 * time.Minute

// quickly does what needs no more than one insert, and gets ready what does: the edit, if
// there is one, has what it needs in h.
func (s *Store) quickly(ctx context.Context, changes []store.Change, h *held) ([]store.Result, *edit, error) {
	if err := ctx.Err(); err != nil || len(changes) == 0 {
		return nil, nil, err
	}
	if err := store.CheckChanges(changes); err != nil {
		return nil, nil, err
	}
	if len(changes) > s.limits.changes {
		return nil, nil, fhir.Errorf(fhir.CodeTooLong, "", "the write has %d changes, and %d are allowed", len(changes), s.limits.changes).WithFix("split it")
	}
	if err := s.lockIndexing(ctx, h); err != nil {
		return nil, nil, err
	}
	for _, of := range typesOf(changes) {
		if err := s.indexes.ensure(ctx, of); err != nil {
			return nil, nil, err
		}
	}
	if isCreate(changes) {
		result, done, err := s.create(ctx, &changes[0])
		if err != nil {
			return nil, nil, err
		}
		if done {
			return []store.Result{result}, nil, nil
		}
	}
	claim, err := s.claims.Make(ctx, changes, s.state.Load().searched.Parameters, s.opened.Parameters)
	if err != nil {
		return nil, nil, err
	}
	var keys []string
	if claim != nil {
		h.add(claim.End)
		changes = claim.Changes() // their terms are known
		keys = claimKeys(changes)
	}
	unlock, err := s.lockAll(ctx, changes)
	if err != nil {
		return nil, nil, err
	}
	h.add(unlock)
	e := &edit{store: s, claim: claim, claimKeys: keys, changes: changes, asked: ctx}
	e.decide = e.plan
	return nil, e, nil
}

// lockIndexing keeps what documents are indexed by from changing, if this server may write.
func (s *Store) lockIndexing(ctx context.Context, h *held) error {
	if err := s.writable(ctx); err != nil { // without the lock: to obey the note takes it
		return err
	}
	s.indexing.RLock()
	h.add(s.indexing.RUnlock)
	return s.mayWrite()
}

// isCreate reports whether a write may be nothing but a new document.
func isCreate(changes []store.Change) bool {
	return len(changes) == 1 && !changes[0].Delete && changes[0].If.Version == "" && changes[0].If.None == nil
}

// create inserts a resource that there never was. It is not done if there was one.
func (s *Store) create(ctx context.Context, c *store.Change) (result store.Result, done bool, err error) {
	if err := c.CheckType(); err != nil {
		return result, false, err
	}
	e := &edit{store: s, now: s.clock()}
	p, err := e.next(record{}, c)
	if err != nil {
		return result, false, err
	}
	if err = s.inserter.add(ctx, c.Type, p.doc); isDuplicate(err) {
		return result, false, nil
	}
	if err != nil {
		return result, false, err
	}
	s.counters.versions.Add(1)
	return p.result, true, nil
}

func (s *Store) clock() time.Time { return s.now().UTC().Truncate(time.Millisecond) }

// atomically applies changes whose resources no other writer of this process has at hand.
func (s *Store) atomically(ctx context.Context, e *edit) error {
	for try := 0; ; try++ {
		e.now = s.clock()
		var err error
		if s.transactional {
			err = s.transaction(ctx, func(ctx context.Context) error { return s.transact(ctx, e) })
		} else {
			err = s.intend(ctx, e)
		}
		if err == nil {
			s.counters.versions.Add(int64(len(e.puts)))
			return nil
		}
		// Another process was there first. What is there now decides.
		if !isDuplicate(err) && !errors.Is(err, errOvertaken) || try > maxTries {
			return err
		}
		s.counters.retries.Add(1)
		if err := pause(e.asked, try); err != nil {
			return err
		}
	}
}

// maxTries is how often a write begins again because of others. With the pauses between
// them that is a minute.
const maxTries = 500

// errOvertaken says that another process changed a resource between reading and writing it.
var errOvertaken error = &Fault{What: "other writers were at the same resources all the time", Fix: "try again", Unavailable: true}

// transact reads, decides and writes in a transaction.
func (s *Store) transact(ctx context.Context, e *edit) error {
	if err := e.asked.Err(); err != nil {
		return err
	}
	if err := s.touchClaims(ctx, e); err != nil {
		return err
	}
	if err := e.decide(ctx); err != nil {
		return err
	}
	for _, of := range e.types() {
		if err := e.put(ctx, of); err != nil {
			return err
		}
	}
	return cmp.Or(e.asked.Err(), s.member.inGrace())
}

// put writes what the plan has of one type.
func (e *edit) put(ctx context.Context, of string) error {
	s := e.store
	var fresh, earlier []bson.Raw
	var replace []driver.WriteModel
	for i := range e.puts {
		p := &e.puts[i]
		if p.of != of {
			continue
		}
		earlier = append(earlier, p.earlier...)
		if p.old.version == 0 {
			fresh = append(fresh, p.doc)
			continue
		}
		replace = append(replace, driver.NewReplaceOneModel().SetFilter(p.old.filter()).SetReplacement(p.doc))
	}
	if len(earlier) > 0 { // first: a Watch is told in this order
		if _, err := s.historyOf(of).InsertMany(ctx, earlier); err != nil {
			return err
		}
	}
	if len(fresh) > 0 {
		if _, err := s.collection(of).InsertMany(ctx, fresh); err != nil {
			return err
		}
	}
	if len(replace) == 0 {
		return nil
	}
	result, err := s.collection(of).BulkWrite(ctx, replace, options.BulkWrite().SetOrdered(false))
	if err != nil {
		return err
	}
	if result.MatchedCount != int64(len(replace)) {
		return errOvertaken
	}
	return nil
}

// edit is a write as it is put together.
type edit struct {
	store     *Store
	claim     *claim.Claim // nil if there is no condition None
	claimKeys []string     // of the documents of claims to touch, sorted
	changes   []store.Change
	decide    func(ctx context.Context) error // plan, or what an Import has in its place
	asked     context.Context                 // of who waits: the last chance to stop is before the write counts
	now       time.Time

	// What plan makes of it.
	results []store.Result
	puts    []put
}

// put is a version that is to be written.
type put struct {
	of, id  string
	old     record     // version 0: there is none
	doc     bson.Raw   // of the new version
	earlier []bson.Raw // of those that it replaces, in the history: the old one, and what is imported
	result  store.Result
}

// plan reads what is there and decides what becomes of it. It may be called again.
func (e *edit) plan(ctx context.Context) error {
	e.results, e.puts = make([]store.Result, len(e.changes)), nil
	current, err := e.store.currents(ctx, e.changes)
	if err != nil {
		return err
	}
	for i := range e.changes {
		if err := e.asked.Err(); err != nil {
			return err
		}
		c := &e.changes[i]
		if c.If.None != nil {
			if err := e.unmatched(ctx, e.results[:i]); err != nil {
				return err
			}
		}
		if e.results[i], err = e.change(c, current[fhir.Key{Type: c.Type, ID: c.ID}]); err != nil {
			return err
		}
	}
	return nil
}

// types are those of what is put, each once.
func (e *edit) types() []string {
	var types []string
	for i := range e.puts {
		types = append(types, e.puts[i].of)
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// readAtOnce is how many resources one find asks for by their ids.
const readAtOnce = 1000

// currents are the current versions of the changed resources, deleted or not, as far as
// there are any.
func (s *Store) currents(ctx context.Context, changes []store.Change) (map[fhir.Key]record, error) {
	ids := map[string][]string{}
	for i := range changes {
		ids[changes[i].Type] = append(ids[changes[i].Type], changes[i].ID)
	}
	found := make(map[fhir.Key]record, len(changes))
	for _, of := range typesOf(changes) {
		for some := range slices.Chunk(ids[of], readAtOnce) {
			err := s.each(ctx, of, some, func(r record) error {
				r.json = bytes.Clone(r.json)
				found[fhir.Key{Type: of, ID: r.id}] = r
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// each reads the current versions of resources by their ids. The JSON is valid during the call.
func (s *Store) each(ctx context.Context, of string, ids []string, f func(record) error) error {
	var filter bson.D
	if len(ids) == 1 {
		filter = bson.D{{Key: "_id", Value: ids[0]}}
	} else {
		filter = bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}
	}
	// No limit of 1: it would end the cursor with a negative batch, which old servers know only in part.
	c, err := s.collection(of).Find(ctx, filter, options.Find().SetProjection(wanted).SetBatchSize(int32(len(ids)+1)))
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	for c.Next(ctx) {
		r, found, err := readRecord(c.Current)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		if err := f(r); err != nil {
			return err
		}
	}
	return c.Err()
}

// change decides on one change and tells its result.
func (e *edit) change(c *store.Change, old record) (store.Result, error) {
	key := fhir.Key{Type: c.Type, ID: c.ID}
	current := ""
	if old.version > 0 && !old.deleted {
		current = strconv.FormatInt(old.version, 10)
	}
	if c.If.Version != "" && c.If.Version != current || c.If.Absent && current != "" {
		return store.Result{}, &store.ConflictError{Key: key, If: c.If, Current: current}
	}
	if c.Delete && current == "" { // what is not there stays as it is
		if old.version == 0 {
			return store.Result{Resource: fhir.Resource{Key: key, Deleted: true}, Unchanged: true}, nil
		}
		return store.Result{Resource: old.resource(c.Type), Unchanged: true}, nil
	}
	if !c.Delete {
		if err := c.CheckType(); err != nil {
			return store.Result{}, err
		}
		if current != "" {
			same, err := fhir.Stamp(c.JSON, c.Type, c.ID, current, old.at())
			if err != nil {
				return store.Result{}, fmt.Errorf("%s: %w", c.Type, err)
			}
			if bytes.Equal(same, old.json) {
				return store.Result{Resource: old.resource(c.Type), Unchanged: true}, nil
			}
		}
	}
	p, err := e.next(old, c)
	if err != nil {
		return store.Result{}, err
	}
	e.puts = append(e.puts, p)
	return p.result, nil
}

// next is the version that follows old, with its documents. Time does not run backwards
// within a resource.
func (e *edit) next(old record, c *store.Change) (put, error) {
	s := e.store
	next := record{id: c.ID, version: old.version + 1, lastUpdated: max(e.now.UnixMilli(), old.lastUpdated), deleted: c.Delete}
	p := put{of: c.Type, id: c.ID, old: old}
	var err error
	if c.Delete {
		if p.doc, err = s.tombstone(c.Type, &next, old.patient); err != nil {
			return put{}, fmt.Errorf("%s: %w", c.Type, err)
		}
	} else {
		next.json, err = fhir.Stamp(c.JSON, c.Type, c.ID, strconv.FormatInt(next.version, 10), next.at())
		if err != nil {
			return put{}, fmt.Errorf("%s: %w", c.Type, err)
		}
		if p.doc, err = s.document(&next, c); err != nil {
			return put{}, fmt.Errorf("%s: %w", c.Type, err)
		}
	}
	if old.version > 0 {
		doc, err := earlier(c.Type, &old, next.at())
		if err != nil {
			return put{}, fmt.Errorf("%s: %w", c.Type, err)
		}
		p.earlier = []bson.Raw{doc}
	}
	for _, doc := range append(p.earlier, p.doc) {
		if len(doc) > s.limits.documentBytes {
			return put{}, s.tooLong(c.Type, len(next.json))
		}
	}
	p.result = store.Result{
		Resource: fhir.Resource{
			Key: fhir.Key{Type: c.Type, ID: c.ID, Version: strconv.FormatInt(next.version, 10)}, LastUpdated: next.at(), JSON: next.json, Deleted: c.Delete,
		},
		Created: !c.Delete && (old.version == 0 || old.deleted),
	}
	return p, nil
}

// tooLong refuses a resource before it is sent.
func (s *Store) tooLong(of string, size int) error {
	return fhir.Errorf(fhir.CodeTooLong, of, "the resource has %d bytes, which with its index is more than the %d that MongoDB keeps in one document", size, s.limits.documentBytes).
		WithFix("put large data, as of waveforms and documents, into several resources, or into an attachment with a URL")
}
