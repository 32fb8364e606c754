package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

var errIndex = errors.New("a key of the index is damaged: restore the store from a backup")

// Search gives one page. It sees one state of the store, whatever is written meanwhile.
// A page whose resources have more than 32 MiB is shorter than asked for.
func (s *Store) Search(ctx context.Context, q search.Query) (store.Page, error) {
	if err := s.gate.Enter(); err != nil {
		return store.Page{}, err
	}
	defer s.gate.Leave()
	page, err := s.search(ctx, q)
	if err != nil {
		return store.Page{}, fmt.Errorf("embedded: search of %s: %w", q.Type, err)
	}
	return page, nil
}

func (s *Store) search(ctx context.Context, q search.Query) (store.Page, error) {
	v := s.lookAt(q.After)
	defer s.letGo(v)
	page, err := s.find(ctx, v, q, nil)
	if err == nil && page.Next != nil {
		page.Next.View = s.keep(v)
	}
	return page, err
}

// find is the search in one state of the store. It tells what it did, if told is not nil.
func (s *Store) find(ctx context.Context, v *view, q search.Query, told *store.Plan) (store.Page, error) {
	if err := v.params.Knows(q); err != nil {
		return store.Page{}, err
	}
	q, err := q.Resolve(v.linked(ctx, told))
	if err != nil {
		return store.Page{}, err
	}
	return s.findResolved(ctx, v, q, told)
}

// findResolved is find for a query whose links are resolved.
func (s *Store) findResolved(ctx context.Context, v *view, q search.Query, told *store.Plan) (store.Page, error) {
	if err := ctx.Err(); err != nil {
		return store.Page{}, err
	}
	if len(q.Sort) == 0 {
		q.Sort = []search.Sort{{Param: "_id"}}
	}
	q.Count = min(q.Count, search.MaxCount)

	best, inOrder, err := newPlanner(v, q).best()
	if err != nil {
		return store.Page{}, err
	}
	page := store.Page{Total: -1}
	if q.Total == search.TotalAccurate || q.Total == search.TotalEstimate || q.Count <= 0 {
		if page.Total, err = v.count(ctx, q, best, told); err != nil {
			return store.Page{}, err
		}
	}
	if q.Count <= 0 {
		best.tell(told, q, nil)
		return page, nil
	}
	top := newTop(q, s.limits.pageBytes)
	if inOrder != nil && !best.rank.selective() {
		// The index may give many in the wrong order. Then most likely the page is full soon
		// in the right one.
		tries := s.limits.tries + s.limits.triesEach*q.Count
		few, err := v.fewer(best, tries)
		if err != nil {
			return store.Page{}, err
		}
		if !few {
			full, err := v.run(ctx, q, *inOrder, top, tries)
			if err != nil {
				return store.Page{}, err
			}
			if full {
				inOrder.tell(told, q, top)
				return top.page(page), nil
			}
			top.Reset()
		}
	}
	if _, err := v.run(ctx, q, best, top, -1); err != nil {
		return store.Page{}, err
	}
	best.tell(told, q, top)
	return top.page(page), nil
}

// linked runs the searches at the ends of chains, in this state of the store.
func (v *view) linked(ctx context.Context, told *store.Plan) func(search.Query, func(fhir.Key, *search.Terms) error) error {
	return func(q search.Query, found func(fhir.Key, *search.Terms) error) error {
		keys, reads, p, err := v.each(ctx, q, found)
		if err == nil && told != nil {
			link := store.Plan{Type: q.Type}
			p.tell(&link, q, nil)
			link.Keys, link.Read = keys, reads
			told.Links = append(told.Links, link)
		}
		return err
	}
}

// each calls found for all matches, in no order. One may come twice.
func (v *view) each(ctx context.Context, q search.Query, found func(fhir.Key, *search.Terms) error) (keys, reads int, p plan, err error) {
	q.After = nil
	if p, _, err = newPlanner(v, q).best(); err != nil {
		return 0, 0, p, err
	}
	w, err := v.walk(p)
	if err != nil {
		return 0, 0, p, err
	}
	t := newTester(v, q, p)
	t.terms = true
	defer func() { keys, reads, err = w.keys, t.reads, errors.Join(err, w.close(), t.reader.close()) }()
	for steps := 0; w.next(); steps++ {
		if steps%64 == 0 && ctx.Err() != nil {
			return 0, 0, p, ctx.Err()
		}
		possible, rest, err := t.byKey(w)
		if err != nil {
			return 0, 0, p, err
		}
		if !possible {
			continue
		}
		matches, _, terms, err := t.read(w, w.place(), rest)
		if err != nil {
			return 0, 0, p, err
		}
		if matches {
			if err := found(fhir.Key{Type: q.Type, ID: string(w.id)}, &terms); err != nil {
				return 0, 0, p, err
			}
		}
	}
	return 0, 0, p, w.err()
}

// fewer reports whether a plan has fewer than n candidates.
func (v *view) fewer(p plan, n int) (bool, error) {
	w, err := v.walk(p)
	if err != nil {
		return false, err
	}
	for n > 0 && w.next() {
		n--
	}
	return n > 0, errors.Join(w.err(), w.close())
}

// run fills top from a plan. It reports false if more than limit resources had to be
// read before the page was known; a negative limit is none.
func (v *view) run(ctx context.Context, q search.Query, p plan, top *top, limit int) (done bool, err error) {
	w, err := v.walk(p)
	if err != nil {
		return false, err
	}
	t := newTester(v, q, p)
	defer func() {
		top.keys, top.reads = top.keys+w.keys, top.reads+t.reads
		err = errors.Join(err, w.close(), t.reader.close())
	}()
	for steps := 0; w.next(); steps++ {
		if steps%64 == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		at := w.place()
		if top.closed(at, p) {
			break
		}
		if t.placed && !top.Wants(at) {
			continue
		}
		possible, rest, err := t.byKey(w)
		if err != nil {
			return false, err
		}
		if !possible {
			continue
		}
		if limit == 0 {
			return false, nil
		}
		limit--
		found, r, terms, err := t.read(w, at, rest)
		if err != nil {
			return false, err
		}
		if !found {
			continue
		}
		if at = t.at(at, &r, &terms); top.Wants(at) {
			top.Add(at, *r.clone(), len(r.json))
		}
	}
	return true, w.err()
}

// count is the number of all matches. It tells what it read, if told is not nil.
func (v *view) count(ctx context.Context, q search.Query, p plan, told *store.Plan) (int, error) {
	if len(q.Where) == 0 {
		return v.countAll(q.Type)
	}
	if q.After != nil {
		// The plan begins where the page begins; the total does not.
		var err error
		q.After = nil
		if p, _, err = newPlanner(v, q).best(); err != nil {
			return 0, err
		}
	}
	if newTester(v, q, p).byKeys() {
		p = p.slim()
	}
	n, ok, err := v.countOf(ctx, q, p, told)
	if err != nil || ok {
		return n, err
	}
	q.Sort = nil
	n, _, err = v.countOf(ctx, q, newPlanner(v, q).ordered(), told)
	return n, err
}

// countOf is the number of the candidates of a plan that match. It reports false if they
// may come twice and are too many to remember.
func (v *view) countOf(ctx context.Context, q search.Query, p plan, told *store.Plan) (n int, ok bool, err error) {
	w, err := v.walk(p)
	if err != nil {
		return 0, false, err
	}
	t := newTester(v, q, p)
	defer func() {
		if told != nil {
			told.Keys, told.Read = told.Keys+w.keys, told.Read+t.reads
		}
		err = errors.Join(err, w.close(), t.reader.close())
	}()
	var seen map[string]bool
	if !p.once {
		seen = map[string]bool{}
	}
	for steps := 0; w.next(); steps++ {
		if steps%64 == 0 && ctx.Err() != nil {
			return 0, false, ctx.Err()
		}
		if seen != nil {
			if seen[string(w.id)] || !w.possible() {
				continue
			}
			if len(seen) >= v.limits.seen {
				return 0, false, nil
			}
			seen[string(w.id)] = true
		}
		found, err := t.holds(w)
		if err != nil {
			return 0, false, err
		}
		if found {
			n++
		}
	}
	return n, true, w.err()
}

func (v *view) countAll(resourceType string) (int, error) {
	value, closer, err := v.snapshot.Get(countOf(resourceType))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, size := binary.Uvarint(value)
	if size <= 0 {
		return 0, errors.Join(errIndex, closer.Close())
	}
	return int(n), closer.Close()
}

// top keeps the first matches in the order of a query.
type top struct {
	*search.Top[record]
	q search.Query
	// keys and reads are how many of the index and how many resources were read.
	keys, reads int
}

func newTop(q search.Query, maxBytes int) *top {
	return &top{Top: search.NewTop[record](q, maxBytes), q: q}
}

// closed reports whether nothing that a plan gives from that place on can be on the page.
func (t *top) closed(at search.Cursor, p plan) bool {
	end := t.End()
	if end == nil || !p.inOrderOf(t.q) {
		return false
	}
	if p.exactlyOrderOf(t.q) {
		return t.q.Compare(at, *end) >= 0
	}
	n := 0
	switch t.q.Sort[0].Param {
	case sortDate:
		n = at.Date.Compare(end.Date)
	case "_lastUpdated":
		n = at.LastUpdated.Compare(end.LastUpdated)
	}
	if t.q.Sort[0].Descending {
		n = -n
	}
	return n > 0
}

func (t *top) page(page store.Page) store.Page {
	for at, r := range t.All() {
		page.Resources = append(page.Resources, r.resource(t.q.Type, at.ID))
	}
	page.Next = t.Next()
	return page
}
