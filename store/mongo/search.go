package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/mongo/layout"
)

// Search gives one page. Where there are snapshots it sees one state of the store, whatever
// is written meanwhile; see the package comment for where there are none. A page whose
// resources have more than 32 MiB is shorter than asked for.
func (s *Store) Search(ctx context.Context, q search.Query) (store.Page, error) {
	if err := s.gate.Enter(); err != nil {
		return store.Page{}, err
	}
	defer s.gate.Leave()
	page, err := s.search(ctx, q, nil)
	if err != nil {
		return store.Page{}, fmt.Errorf("mongo: search of %s: %w", q.Type, told(ctx, err))
	}
	return page, nil
}

func (s *Store) search(ctx context.Context, q search.Query, plan *store.Plan) (page store.Page, err error) {
	if err := ctx.Err(); err != nil {
		return store.Page{}, err
	}
	st := s.enterSearch()
	defer st.searches.RUnlock()
	if st.noSearch != nil {
		return store.Page{}, st.noSearch
	}
	if err := st.searched.Knows(q); err != nil {
		return store.Page{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(st.over, func() { cancel(errSwitched) })()
	err = s.consistent(ctx, func(ctx context.Context) error {
		if plan != nil {
			*plan = store.Plan{Type: q.Type}
		}
		resolved, err := q.Resolve(s.linked(ctx, st, plan))
		if err != nil {
			return err
		}
		if page, err = s.findResolved(ctx, st, resolved, plan); err != nil {
			return err
		}
		return s.verify(ctx, st)
	})
	if err != nil {
		return store.Page{}, why(ctx, err)
	}
	return page, nil
}

// verify reports whether documents are still such that a state finds them. A server with a lease
// is waited for before they are not.
func (s *Store) verify(ctx context.Context, st *state) error {
	if s.member.inGrace() == nil {
		return nil
	}
	var n note
	err := s.db.Collection(metaCollection).FindOne(ctx, bson.D{{Key: "_id", Value: noteID}}).Decode(&n)
	switch {
	case errors.Is(err, driver.ErrNoDocuments):
		return errReplaced
	case err != nil:
		return err
	case !n.searched().is(st.searched.Parameters) || n.Incomplete || n.isMixed() && !st.mixed:
		return s.member.leased()
	}
	return nil
}

// linked runs the searches at the ends of chains.
func (s *Store) linked(ctx context.Context, st *state, plan *store.Plan) func(search.Query, func(fhir.Key, *search.Terms) error) error {
	return func(q search.Query, found func(fhir.Key, *search.Terms) error) error {
		q.After, q.Sort, q.Total, q.Count = nil, []search.Sort{{Param: "_id"}}, search.TotalNone, 0
		f, err := st.translate(q)
		if err != nil {
			return err
		}
		w := &walk{store: s, state: st, q: q, find: f, terms: true}
		err = w.run(ctx, 0, func(m *match) (bool, error) {
			return true, found(fhir.Key{Type: q.Type, ID: m.id}, m.terms)
		})
		if err == nil && plan != nil {
			link := store.Plan{Type: q.Type}
			w.tell(&link)
			plan.Links = append(plan.Links, link)
		}
		return err
	}
}

// translate is the search as MongoDB is asked. While documents may have index fields that
// are not of the parameters of searches alone, it decides nothing for good.
func (st *state) translate(q search.Query) (layout.Find, error) {
	mixed := st.mixed
	if mixed && byOthers(q) {
		q.After = nil // the sort keys are not those of the parameters of searches alone, either
	}
	f, err := layout.Translate(q)
	if err != nil {
		return f, err
	}
	if mixed {
		if byOthers(q) {
			f.Sort, f.Hint, f.Ordered = nil, "", false
		}
		f.Residual = nil
		for i := range q.Where {
			f.Residual = append(f.Residual, i)
		}
	}
	return f, nil
}

// findResolved is the page of a query whose links are resolved.
func (s *Store) findResolved(ctx context.Context, st *state, q search.Query, plan *store.Plan) (store.Page, error) {
	if len(q.Sort) == 0 {
		q.Sort = []search.Sort{{Param: "_id"}}
	}
	q.Count = min(q.Count, search.MaxCount)
	page := store.Page{Total: -1}
	if q.Total == search.TotalAccurate || q.Total == search.TotalEstimate || q.Count <= 0 {
		var err error
		if page.Total, err = s.count(ctx, st, q); err != nil {
			return store.Page{}, err
		}
	}
	f, err := st.translate(q)
	if err != nil {
		return store.Page{}, err
	}
	w := &walk{store: s, state: st, q: q, find: f}
	if q.Count > 0 {
		if len(w.find.Sort) == 0 && !w.find.Never {
			err = w.sorted(ctx, &page)
		} else {
			err = w.ordered(ctx, &page)
		}
		if err != nil {
			return store.Page{}, err
		}
	}
	if plan != nil {
		w.tell(plan)
		plan.Found = len(page.Resources)
		if err := w.ask(ctx, plan); err != nil {
			return store.Page{}, err
		}
	}
	return page, nil
}

// walk reads the candidates of a find.
type walk struct {
	store *Store
	state *state
	q     search.Query
	find  layout.Find
	terms bool // of all matches

	candidates, tested int
}

// match is a resource that q finds. Its JSON is valid until the next one.
type match struct {
	record
	terms *search.Terms // nil if nobody needed them
}

// maxBatch is how many documents come over the network at once.
const maxBatch = 1000

// run calls f with the matches in the order of the find, until f says no. limit, unless it is
// 0, is how many f wants: more are only read where candidates do not match.
func (w *walk) run(ctx context.Context, limit int, f func(m *match) (more bool, err error)) error {
	if w.find.Never {
		return nil
	}
	opt := options.Find().SetProjection(wanted)
	if len(w.find.Sort) > 0 {
		opt.SetSort(w.find.Sort)
	}
	switch {
	case limit > 0 && len(w.find.Residual) == 0:
		// Odd documents may still turn out not to match: then what is behind them is wanted, too.
		opt.SetBatchSize(int32(min(limit, maxBatch)))
	case limit > 0:
		opt.SetBatchSize(int32(min(max(2*limit, 100), maxBatch)))
	default:
		opt.SetBatchSize(maxBatch)
	}
	hint := w.find.Hint
	if !w.store.indexes.built(w.q.Type) || inTransaction(ctx) {
		hint = "" // if there is no such index it would be an error, which would end the transaction
	}
	if hint != "" {
		opt.SetHint(hint)
	}
	c, err := w.store.collection(w.q.Type).Find(ctx, w.find.Filter, opt)
	if err != nil && hint != "" && hasCode(err, codeBadValue) { // somebody has dropped the index
		c, err = w.store.collection(w.q.Type).Find(ctx, w.find.Filter, opt.SetHint(nil))
	}
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	var m match
	for c.Next(ctx) {
		ok, err := w.test(c.Current, &m)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if more, err := f(&m); err != nil || !more {
			return err
		}
	}
	return c.Err()
}

// test reports whether a document is a match, and reads it.
func (w *walk) test(doc bson.Raw, m *match) (bool, error) {
	r, found, err := readRecord(doc)
	if err != nil || !found || r.deleted {
		return false, err
	}
	w.candidates++
	*m = match{record: r}
	asks := w.find.Asks(r.odd)
	if asks || w.terms {
		terms, err := w.state.searched.Extract(w.q.Type, r.json)
		if err != nil {
			return false, err
		}
		m.terms = &terms
	}
	if !asks {
		return true, nil
	}
	w.tested++
	return w.q.Matches(fhir.Key{Type: w.q.Type, ID: r.id}, r.at(), m.terms), nil
}

// at is the place of a match in the order of the query.
func (w *walk) at(m *match) (search.Cursor, error) {
	if m.terms == nil && byTerms(w.q) {
		terms, err := w.state.searched.Extract(w.q.Type, m.json)
		if err != nil {
			return search.Cursor{}, err
		}
		m.terms = &terms
	}
	terms := m.terms
	if terms == nil {
		terms = &search.Terms{}
	}
	return w.q.SortKeys(fhir.Key{Type: w.q.Type, ID: m.id}, m.at(), terms), nil
}

// byTerms reports whether the order of q is one of what resources say.
func byTerms(q search.Query) bool {
	for _, s := range q.Sort {
		if s.Param != "_id" && s.Param != "_lastUpdated" {
			return true
		}
	}
	return false
}

// byOthers is byTerms without the date.
func byOthers(q search.Query) bool {
	q.Sort = slices.DeleteFunc(slices.Clone(q.Sort), func(s search.Sort) bool { return s.Param == "date" })
	return byTerms(q)
}

// ordered fills a page from a find that gives matches in the order of the query.
func (w *walk) ordered(ctx context.Context, page *store.Page) error {
	var last search.Cursor
	bytes := 0
	return w.run(ctx, w.q.Count+1, func(m *match) (bool, error) {
		bytes += len(m.json)
		if n := len(page.Resources); n == w.q.Count || n > 0 && bytes > w.store.limits.pageBytes {
			page.Next = &last
			return false, nil
		}
		page.Resources = append(page.Resources, m.resource(w.q.Type))
		var err error
		if n := len(page.Resources); n == w.q.Count || bytes > w.store.limits.pageBytes/2 { // it may be the last one
			last, err = w.at(m)
		}
		return true, err
	})
}

// sorted fills a page from matches in any order: it keeps no more than a page of them.
func (w *walk) sorted(ctx context.Context, page *store.Page) error {
	t := search.NewTop[fhir.Resource](w.q, w.store.limits.pageBytes)
	err := w.run(ctx, 0, func(m *match) (bool, error) {
		at, err := w.at(m)
		if err == nil && t.Wants(at) {
			t.Add(at, m.resource(w.q.Type), len(m.json))
		}
		return true, err
	})
	if err != nil {
		return err
	}
	for _, r := range t.All() {
		page.Resources = append(page.Resources, *r)
	}
	page.Next = t.Next()
	return nil
}

// count is the number of all matches.
func (s *Store) count(ctx context.Context, st *state, q search.Query) (int, error) {
	q.After, q.Sort = nil, []search.Sort{{Param: "_id"}}
	f, err := st.translate(q)
	if err != nil || f.Never {
		return 0, err
	}
	n := 0
	w := &walk{store: s, state: st, q: q, find: f}
	if len(f.Residual) > 0 {
		err := w.run(ctx, 0, func(*match) (bool, error) { n++; return true, nil })
		return n, err
	}
	all, err := s.countDocuments(ctx, q.Type, f)
	if err != nil {
		return 0, err
	}
	// Odd ones are all among them, also those that do not match.
	w.find.Filter, w.find.Sort, w.find.Hint = f.Odd(), nil, ""
	if err := w.run(ctx, 0, func(*match) (bool, error) { n++; return true, nil }); err != nil {
		return 0, err
	}
	return int(all) - (w.candidates - n), nil
}

func (s *Store) countDocuments(ctx context.Context, of string, f layout.Find) (int64, error) {
	opt := options.Count()
	if f.Hint != "" && s.indexes.built(of) && !inTransaction(ctx) {
		opt.SetHint(f.Hint)
	}
	n, err := s.collection(of).CountDocuments(ctx, f.Filter, opt)
	if hasCode(err, codeBadValue) && !inTransaction(ctx) {
		return s.collection(of).CountDocuments(ctx, f.Filter)
	}
	return n, err
}
