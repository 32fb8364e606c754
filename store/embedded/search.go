package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

var errIndex = errors.New("a key of the index is damaged: restore the store from a backup")

// Search gives one page. It sees one state of the store, whatever is written meanwhile.
// A page whose resources have more than 32 MiB is shorter than asked for.
func (s *Store) Search(ctx context.Context, q search.Query) (store.Page, error) {
	if err := s.enter(); err != nil {
		return store.Page{}, err
	}
	defer s.leave()
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
	if err := v.check(q); err != nil {
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
	top := &top{q: q, limit: s.limits.pageBytes}
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
			top.items, top.bytes, top.end = nil, 0, nil
		}
	}
	if _, err := v.run(ctx, q, best, top, -1); err != nil {
		return store.Page{}, err
	}
	best.tell(told, q, top)
	return top.page(page), nil
}

// check refuses what this store has no index for, and no terms: it would find nothing.
func (v *view) check(q search.Query) error {
	if len(v.params.of(q.Type)) == 0 {
		return errors.New("resources of this type are not searched")
	}
	return v.checkAll(q.Type, q.Where)
}

func (v *view) checkAll(of string, where []search.Clause) error {
	for i := range where {
		c := &where[i]
		if name := c.Param.Name; name != "" && v.params.of(of)[name] != c.Param.Type {
			return errors.New("the store does not know a search parameter of the query, or has yet to index it")
		}
		if err := v.checkAll(of, c.Any); err != nil {
			return err
		}
		for j := range c.Chain {
			if err := v.check(c.Chain[j]); err != nil {
				return err
			}
		}
		if c.Has != nil {
			if err := v.check(c.Has.Query); err != nil {
				return err
			}
		}
	}
	return nil
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
		if t.placed && !top.wants(at) {
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
		if at = t.at(at, &r, &terms); top.wants(at) {
			top.add(item{at, *r.clone()})
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

// item is a match.
type item struct {
	at search.Cursor
	record
}

// top keeps the first matches in the order of a query: never more than a page.
type top struct {
	q     search.Query
	items []item // in order
	bytes int
	limit int // bytes of all items
	// end is the first place that is known to be on a later page.
	end *search.Cursor
	// keys and reads are how many of the index and how many resources were read.
	keys, reads int
}

// wants reports whether a match at that place would be on the page.
func (t *top) wants(at search.Cursor) bool {
	if t.q.After != nil && t.q.Compare(at, *t.q.After) <= 0 {
		return false
	}
	return t.end == nil || t.q.Compare(at, *t.end) < 0
}

// closed reports whether nothing that a plan gives from that place on can be on the page.
func (t *top) closed(at search.Cursor, p plan) bool {
	if t.end == nil || !p.inOrderOf(t.q) {
		return false
	}
	if p.exactlyOrderOf(t.q) {
		return t.q.Compare(at, *t.end) >= 0
	}
	n := 0
	switch t.q.Sort[0].Param {
	case sortDate:
		n = at.Date.Compare(t.end.Date)
	case "_lastUpdated":
		n = at.LastUpdated.Compare(t.end.LastUpdated)
	}
	if t.q.Sort[0].Descending {
		n = -n
	}
	return n > 0
}

// add puts a match in its place. Those that have none any more are gone.
func (t *top) add(it item) {
	i := sort.Search(len(t.items), func(i int) bool { return t.q.Compare(t.items[i].at, it.at) >= 0 })
	if i < len(t.items) && t.items[i].at.ID == it.at.ID {
		return
	}
	if t.items == nil {
		t.items = make([]item, 0, min(t.q.Count, 15)+1)
	}
	t.items = slices.Insert(t.items, i, it)
	t.bytes += len(it.json)
	for n := len(t.items); n > t.q.Count || n > 1 && t.bytes > t.limit; n-- {
		last := t.items[n-1]
		t.bytes -= len(last.json)
		t.items = slices.Delete(t.items, n-1, n)
		t.end = &last.at
	}
}

func (t *top) page(page store.Page) store.Page {
	for i := range t.items {
		it := &t.items[i]
		page.Resources = append(page.Resources, it.resource(t.q.Type, it.at.ID))
	}
	if n := len(t.items); t.end != nil && n > 0 {
		at := t.items[n-1].at
		page.Next = &at
	}
	return page
}
