package mongo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// A document has its index fields once. So the search parameters change from S to T in steps, each
// of which is an epoch that all servers obey, see servers.go, before the next one begins:
//
//	searched S                 what there was
//	searched S, mixed          searches ask search.Query.Matches about all that they find
//	searched S, building T     documents are made to be found by both; then those that there are
//	searched T, leaving S      every document is found by both
//	searched T, mixed          documents are made for T alone; then those that there are
//	searched T
//
// Mixed are searches because a document that is found by two sets of parameters is found by what
// only the other one finds in it, if both have a parameter of the same name.
//
// The server whose turn it is takes these steps. If it is no more the next one that wants a change,
// or any other that sees it, goes on from what the note says: whatever S, T and the rest are, all
// documents are found by what is searched. A server that does not know S cannot make documents that
// are found by it. It goes straight to T, incomplete: nobody searches until that is done.

// chunk is how many documents a Reindex reads at once.
const chunk = 500

// Reindex is as store.Reindexer says, on all servers that have the database open: when it returns
// they search and write by p. Those that are opened with Options.Load get to know p from the
// SearchParameters that are stored, which have to be those that p was made of. One that cannot know
// p refuses writes, and searches as soon as the others use p. It waits for servers that do not
// answer until their lease has ended.
func (s *Store) Reindex(ctx context.Context, p *search.Parameters, progress func(done, total int)) error {
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	if err := s.reindex(ctx, p, progress); err != nil {
		return fmt.Errorf("mongo: reindex: %w", told(ctx, err))
	}
	return nil
}

func (s *Store) reindex(ctx context.Context, p *search.Parameters, progress func(done, total int)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !s.reindexing.CompareAndSwap(false, true) {
		return errors.New("another one is running: wait until it is done")
	}
	defer s.reindexing.Store(false)
	n, found, err := s.readNote(ctx)
	if err != nil {
		return err
	}
	if !found {
		return errReplaced
	}
	if st := s.state.Load(); st.epoch == n.Epoch && n.Building == nil && n.searched().is(p) && st.noSearch == nil {
		return nil
	}
	if err := s.writable(ctx); err != nil {
		return err
	}
	return s.change(ctx, p, progress)
}

// turn is the right to change what all servers obey.
type turn struct {
	store *Store
	id    string // of the signature of who has it
	note  note
}

// change waits for the turn of this server, and makes p what is searched.
func (s *Store) change(ctx context.Context, p *search.Parameters, progress func(done, total int)) error {
	select {
	case s.changing <- struct{}{}:
		defer func() { <-s.changing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	var t *turn
	for try := 0; t == nil; try++ {
		n, found, err := s.readNote(ctx)
		if err == nil && !found {
			err = errReplaced
		}
		if err == nil {
			t, err = s.takeTurn(ctx, &n)
		}
		if err != nil {
			return err
		}
		if t != nil {
			break
		}
		if try == 0 {
			s.log.Info("another server is changing the search parameters, waiting for it")
		}
		if err := pause(ctx, try); err != nil {
			return err
		}
	}
	defer t.end(ctx)
	d, err := s.defined(ctx, p)
	if err != nil {
		return fmt.Errorf("search parameters: %w", err)
	}
	if s.load != nil && d.From == nil && len(t.note.Servers) > 1 {
		return errChanged
	}
	return t.lead(ctx, d, s.known(p), progress)
}

// errChanged: the others would have to find out parameters that nobody can tell any more.
var errChanged error = &Fault{What: "the SearchParameters of the store are others by now", Fix: "try again with those", Unavailable: true}

// known is p as this server has it already, if it does.
func (s *Store) known(p *search.Parameters) *parameters {
	d := &definition{Fingerprint: p.Fingerprint()}
	now := s.state.Load()
	for _, q := range []*parameters{now.searched, now.also, s.opened} {
		if q != nil && d.is(q.Parameters) {
			return q
		}
	}
	return newParameters(p)
}

// takeTurn is nil if it is the turn of another server that is there.
func (s *Store) takeTurn(ctx context.Context, n *note) (*turn, error) {
	id, _ := s.member.signed()
	if _, signed := n.Servers[id]; !signed {
		return nil, nil
	}
	if !n.free(id) {
		return nil, nil
	}
	now := bson.E{Key: "turn", Value: bson.D{{Key: "$exists", Value: false}}}
	if n.Turn != "" {
		now.Value = n.Turn
	}
	t := &turn{store: s, id: id}
	err := s.note().FindOneAndUpdate(ctx, bson.D{{Key: "_id", Value: noteID}, {Key: "epoch", Value: n.Epoch}, now},
		bson.D{{Key: "$set", Value: bson.D{{Key: "turn", Value: id}}}}, options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&t.note)
	if errors.Is(err, driver.ErrNoDocuments) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// end gives the turn back.
func (t *turn) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err := t.store.note().UpdateOne(ctx, bson.D{{Key: "_id", Value: noteID}, {Key: "turn", Value: t.id}}, bson.D{{Key: "$unset", Value: bson.D{{Key: "turn", Value: ""}}}})
	if err != nil {
		t.store.log.Debug("the turn to change search parameters could not be given back, and will be", "error", told(ctx, err))
	}
	t.store.target.Store(nil)
	t.store.member.beatNow()
}

// lead goes all the way to p, from wherever the note is.
func (t *turn) lead(ctx context.Context, d *definition, p *parameters, progress func(done, total int)) error {
	s := t.store
	s.target.Store(p)
	n := &t.note
	if !n.searched().is(p.Parameters) || n.Incomplete {
		if err := t.build(ctx, d, progress); err != nil {
			return err
		}
	}
	if !n.isMixed() {
		return s.await(ctx, n.Epoch)
	}
	// The parameters are in use. What they do not find any more goes away now: if that fails
	// searches are slower, and a server does it later.
	if err := t.clean(ctx); err != nil {
		s.log.Warn("documents have index fields that are not needed any more; a server removes them later", "error", told(ctx, err))
	}
	return nil
}

// build makes the parameters of d what is searched.
func (t *turn) build(ctx context.Context, d *definition, progress func(done, total int)) error {
	s, n := t.store, &t.note
	now := *n.searched()
	if n.Incomplete || s.find(ctx, &now) == nil {
		return t.buildAnew(ctx, d, progress)
	}
	var err error
	if !n.Mixed || n.Building != nil || n.Leaving != nil {
		err = t.step(ctx, note{Parameters: now.Fingerprint, From: now.From, Mixed: true})
	}
	if err == nil {
		err = t.step(ctx, note{Parameters: now.Fingerprint, From: now.From, Building: d, Mixed: true})
	}
	if err == nil {
		err = t.rewrite(ctx, progress)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if undone := t.set(after, note{Parameters: now.Fingerprint, From: now.From, Mixed: true}); undone != nil {
			s.log.Warn("a change of the search parameters was begun, and a server will end it", "error", told(after, undone))
		}
		return err
	}
	// From here on there are servers that search by them: it is carried on, whoever waits for it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*writeTime)
	defer cancel()
	return t.step(ctx, note{Parameters: d.Fingerprint, From: d.From, Leaving: &now, Mixed: true})
}

// buildAnew does it if nobody here knows what was searched before. Nobody searches meanwhile.
func (t *turn) buildAnew(ctx context.Context, d *definition, progress func(done, total int)) error {
	said := t.note.Incomplete && bytes.Equal(t.note.Parameters, d.Fingerprint)
	return t.fit(ctx, note{Parameters: d.Fingerprint, From: d.From, Mixed: true, Incomplete: true}, said, progress)
}

// clean makes documents fit what is searched, and that alone.
func (t *turn) clean(ctx context.Context) error {
	said := t.note.Building == nil && t.note.Leaving == nil
	return t.fit(ctx, note{Parameters: t.note.Parameters, From: t.note.From, Mixed: true}, said, nil)
}

// fit makes all documents fit n, once all servers obey it, and notes that they do. said: it is what
// the note says already.
func (t *turn) fit(ctx context.Context, n note, said bool, progress func(done, total int)) (err error) {
	if said {
		err = t.store.await(ctx, t.note.Epoch)
	} else {
		err = t.step(ctx, n)
	}
	if err == nil {
		err = t.rewrite(ctx, progress)
	}
	if err != nil {
		return err
	}
	n.Mixed, n.Incomplete = false, false
	return t.set(ctx, n)
}

// step makes the note say what n says, and returns when all servers obey that.
func (t *turn) step(ctx context.Context, n note) error {
	if err := t.set(ctx, n); err != nil {
		return err
	}
	return t.store.await(ctx, t.note.Epoch)
}

// set makes the note say what n says about parameters, in another epoch.
func (t *turn) set(ctx context.Context, n note) error {
	set := bson.D{{Key: "epoch", Value: t.note.Epoch + 1}, {Key: "parameters", Value: n.Parameters}, {Key: "from", Value: n.From},
		{Key: "building", Value: n.Building}, {Key: "leaving", Value: n.Leaving}, {Key: "mixed", Value: n.Mixed}, {Key: "incomplete", Value: n.Incomplete}}
	result, err := t.store.note().UpdateOne(ctx, bson.D{{Key: "_id", Value: noteID}, {Key: "turn", Value: t.id}, {Key: "epoch", Value: t.note.Epoch}}, bson.D{{Key: "$set", Value: set}})
	if err != nil {
		return err
	}
	if result.MatchedCount == 0 {
		return errOvertakenBy
	}
	t.note.Epoch++
	t.note.Parameters, t.note.From, t.note.Building, t.note.Leaving, t.note.Mixed, t.note.Incomplete = n.Parameters, n.From, n.Building, n.Leaving, n.Mixed, n.Incomplete
	t.store.member.beatNow()
	return nil
}

// takeCare brings to its end what a server has begun that is no more, or failed to.
func (s *Store) takeCare(n *note) {
	m := s.member
	id, obeyed := m.signed()
	m.mu.Lock()
	paused := time.Now().Before(m.pauseUntil)
	m.mu.Unlock()
	if paused || !n.free(id) || !n.isMixed() && n.Turn == "" || obeyed != n.Epoch {
		return
	}
	select {
	case s.changing <- struct{}{}:
	default:
		return
	}
	m.running.Go(func() {
		defer func() { <-s.changing }()
		if err := s.finish(m.ctx, n); err != nil && m.ctx.Err() == nil {
			s.log.Warn("a change of the search parameters that another server has begun is not ended yet", "error", told(m.ctx, err))
			m.mu.Lock()
			m.pauseUntil = time.Now().Add(m.lease())
			m.mu.Unlock()
		}
	})
}

// finish goes to what the note was on its way to, or else back.
func (s *Store) finish(ctx context.Context, n *note) error {
	t, err := s.takeTurn(ctx, n)
	if t == nil {
		return err
	}
	defer t.end(ctx)
	if !t.note.isMixed() {
		return nil // and nobody's turn from here on
	}
	d := t.note.Building
	if d == nil {
		d = t.note.searched()
	}
	p := s.find(ctx, d)
	if p == nil && t.note.Building != nil {
		d = t.note.searched()
		p = s.find(ctx, d)
	}
	if p == nil {
		return errOtherParameters
	}
	s.log.Info("ending a change of the search parameters")
	return t.lead(ctx, d, p, nil)
}

// settle makes the parameters that the store is opened with those that it is searched by, unless
// they are, or another server is at it.
func (s *Store) settle(ctx context.Context) error {
	p := s.opened.Parameters
	for try := 0; ; try++ {
		n, found, err := s.readNote(ctx)
		if err == nil && !found {
			err = errReplaced
		}
		if err != nil {
			return err
		}
		st := s.state.Load()
		switch {
		case st.epoch != n.Epoch: // it is about to be
			s.member.beatNow()
		case st.noSearch == nil && st.noWrite == nil && (n.Building == nil && n.searched().is(p) || n.Building.is(p) && !n.free("")):
			return nil
		default:
			told := 0
			err := s.change(ctx, p, func(done, total int) {
				if done-told >= 100_000 {
					told = done
					s.log.Info("indexing by other search parameters", "done", done, "of", total)
				}
			})
			if err != nil && !errors.Is(err, errOvertakenBy) {
				return fmt.Errorf("index by other search parameters: %w", err)
			}
		}
		if err := pause(ctx, try); err != nil {
			return err
		}
	}
}

// rewrite makes all documents as the epoch wants them, which all servers obey.
func (t *turn) rewrite(ctx context.Context, progress func(done, total int)) error {
	s := t.store
	if !s.transactional {
		// What others have locked, or done and not made visible, has documents of before.
		if err := s.recover(ctx, anyAge); err != nil {
			return err
		}
	}
	types, err := s.types(ctx)
	if err != nil {
		return err
	}
	total, done := 0, 0
	for _, of := range types {
		n, err := s.collection(of).EstimatedDocumentCount(ctx)
		if err != nil {
			return err
		}
		total += int(n)
	}
	for _, of := range types {
		for after, more := "", true; more; {
			var n int
			if after, n, err = t.rewriteSome(ctx, of, after); err != nil {
				return err
			}
			more = n == chunk
			if done += n; progress != nil && n > 0 {
				progress(done, max(total, done))
			}
		}
	}
	return nil
}

// rewriteSome does a chunk of documents behind an id, and tells the last one's, and how many
// there were. It is a write like others: this server obeys no other epoch meanwhile.
func (t *turn) rewriteSome(ctx context.Context, of, after string) (last string, n int, err error) {
	s := t.store
	if err := s.writable(ctx); err != nil {
		return "", 0, err
	}
	s.indexing.RLock()
	defer s.indexing.RUnlock()
	if err := s.mayWrite(); err != nil {
		return "", 0, err
	}
	if s.state.Load().epoch != t.note.Epoch {
		return "", 0, errOvertakenBy
	}
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	ctx, end := s.member.while(ctx)
	defer end()
	defer func() { err = why(ctx, err) }()
	c, err := newest(s.collection(of)).Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}}},
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(chunk).SetBatchSize(chunk))
	if err != nil {
		return "", 0, err
	}
	defer c.Close(context.WithoutCancel(ctx))
	var models []driver.WriteModel
	for c.Next(ctx) {
		if last, n = c.Current.Lookup("_id").StringValue(), n+1; last == "" {
			return "", 0, errDocument
		}
		m, err := s.refitted(of, c.Current)
		if err != nil {
			return "", 0, err
		}
		if m != nil {
			models = append(models, m)
		}
	}
	if err := c.Err(); err != nil || len(models) == 0 {
		return last, n, err
	}
	if err := s.member.inGrace(); err != nil {
		return "", 0, err
	}
	// What another writer has changed meanwhile is not found, and needs nothing.
	_, err = s.collection(of).BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	return last, n, err
}

// refitted is the change that brings a document up to date: nil if it is. It is no
// replacement, so that a Watch is not told of it.
func (s *Store) refitted(of string, doc bson.Raw) (driver.WriteModel, error) {
	r, found, err := readRecord(doc)
	if err != nil || !found || r.deleted {
		return nil, err
	}
	next, err := s.document(&r, &store.Change{Key: fhir.Key{Type: of, ID: r.id}})
	if err != nil {
		return nil, err
	}
	if len(next) > s.limits.documentBytes {
		return nil, s.tooLong(of, len(r.json))
	}
	before, err := doc.Elements()
	if err != nil {
		return nil, errDocument
	}
	elements, err := next.Elements()
	if err != nil {
		return nil, err
	}
	var set, unset bson.D
	for _, e := range elements {
		if v := e.Value(); !v.Equal(doc.Lookup(e.Key())) && !slices.Contains(kept, e.Key()) {
			set = append(set, bson.E{Key: e.Key(), Value: v})
		}
	}
	for _, e := range before {
		if _, err := next.LookupErr(e.Key()); err != nil && !slices.Contains(kept, e.Key()) {
			unset = append(unset, bson.E{Key: e.Key(), Value: ""})
		}
	}
	var update bson.D
	if set != nil {
		update = append(update, bson.E{Key: "$set", Value: set})
	}
	if unset != nil {
		update = append(update, bson.E{Key: "$unset", Value: unset})
	}
	if update == nil {
		return nil, nil
	}
	return driver.NewUpdateOneModel().SetFilter(r.filter()).SetUpdate(update), nil
}

// kept are the fields that do not depend on parameters.
var kept = []string{"_id", "v", "lu", "raw", lockField}

// union are the terms of both. Most are in both, and few more than once.
func union(a, b search.Terms) search.Terms {
	a.Tokens = both(a.Tokens, b.Tokens)
	a.References = both(a.References, b.References)
	a.Dates = both(a.Dates, b.Dates)
	a.Quantities = both(a.Quantities, b.Quantities)
	a.Strings = both(a.Strings, b.Strings)
	a.URIs = both(a.URIs, b.URIs)
	a.Tuples = both(a.Tuples, b.Tuples)
	a.Positions = both(a.Positions, b.Positions)
	return a
}

// maxCompared is how many terms of one kind are compared with each other. A term that comes
// twice does no harm.
const maxCompared = 200

func both[T any](a, b []T) []T {
	out := slices.Clone(a)
	for _, y := range b {
		if len(a) > maxCompared || !slices.ContainsFunc(a, func(x T) bool { return reflect.DeepEqual(x, y) }) {
			out = append(out, y)
		}
	}
	return out
}
