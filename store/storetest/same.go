package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// Same gives random histories of operations to several stores at once: creates, updates, puts
// of what is there, deletions, what comes back, conditions, writes of many changes, writes
// that fail, imports. After every step all of them must answer like a store that is too simple
// to be wrong, and so like each other: reads, versions, histories, searches by pages, totals.
// Where all of them are Archives, they also go on in place of each other, from an export.
//
// Each function opens an empty store, which Same closes. The stores may have clocks of their
// own: what they say of time is compared with what they said before, not with the others.
//
// It takes 5 seconds, but 5 histories in any case; with KILN_LONG in the environment it goes
// on until it has compared 100,000 pairs of a query and a resource in each store.
func Same(t *testing.T, stores map[string]func(t *testing.T) store.Store) {
	pairs, histories := 0, 0
	limit := newBudget(1, 5)
	for again := true; again && !t.Failed(); again = long() && pairs < 100_000 {
		rapid.Check(t, func(rt *rapid.T) {
			limit.round(func() {
				c := &comparison{}
				for _, name := range slices.Sorted(maps.Keys(stores)) {
					open := func() store.Store { return &probe{Store: stores[name](t)} }
					c.sides = append(c.sides, &side{name, open, open(), &model{versions: map[fhir.Key][]fhir.Resource{}}})
				}
				defer c.close()
				c.run(rt)
				pairs, histories = pairs+c.pairs, histories+1
			})
		})
	}
	t.Logf("%d histories, %d pairs of a query and a resource in each of %d stores", histories, pairs, len(stores))
}

// comparison is one history.
type comparison struct {
	sides []*side
	pairs int
}

// side is a store, how to open one more like it, and the model of what it must have: what the
// other sides have, at the times that this store took.
type side struct {
	name string
	open func() store.Store
	s    store.Store
	m    *model
}

func (c *comparison) close() {
	for _, x := range c.sides {
		_ = x.s.Close() // an error of a store that is closed twice or has failed before is of no interest
	}
}

func (c *comparison) run(t *rapid.T) {
	for range 6 { // or most searches would find nothing
		c.write(t)
	}
	t.Repeat(map[string]func(*rapid.T){
		"write":   c.write,
		"fail":    c.fail,
		"search":  c.search,
		"query":   c.search,
		"read":    c.read,
		"history": c.history,
		"import":  c.imports,
		"move":    c.move,
	})
}

// each does the same with every store; what fails, names it.
func (c *comparison) each(t *rapid.T, f func(x *side) error) {
	for _, x := range c.sides {
		if err := f(x); err != nil {
			if len(c.sides) > 1 {
				err = fmt.Errorf("%s: %w", x.name, err)
			}
			t.Fatal(err)
		}
	}
}

// changes is a write. Where several stores have their own clocks, no condition of it is on time:
// it would hold in one store and not in another.
func (c *comparison) changes(t *rapid.T) []store.Change {
	changes := drawChanges(t)
	for i := range changes {
		if q := changes[i].If.None; q != nil && len(c.sides) > 1 {
			q.Where = slices.DeleteFunc(q.Where, func(c search.Clause) bool { return c.Param.Name == "_lastUpdated" })
		}
	}
	return changes
}

func drawChanges(t *rapid.T) []store.Change {
	changes := make([]store.Change, 0, 8)
	seen := map[fhir.Key]bool{}
	for range rapid.IntRange(1, 6).Draw(t, "changes") {
		c := drawChange(t)
		if k := key(c.Type, c.ID); seen[k] {
			continue
		} else {
			seen[k] = true
		}
		switch rapid.IntRange(0, 9).Draw(t, "condition") {
		case 0:
			c.If.Absent = true
		case 1:
			c.If.Version = strconv.Itoa(rapid.IntRange(1, 3).Draw(t, "version"))
		case 2, 3:
			q, _ := drawParsed(t)
			c.If.None = &q
		}
		changes = append(changes, c)
	}
	return changes
}

func (c *comparison) write(t *rapid.T) {
	changes := c.changes(t)
	c.each(t, func(x *side) error {
		results, err := x.s.Write(context.Background(), changes...)
		x.m.check(t, changes, results, err)
		return nil
	})
}

// fail makes a write that no store can apply. It must leave nothing, which the steps that
// follow find out.
func (c *comparison) fail(t *rapid.T) {
	changes := c.changes(t)
	at := rapid.IntRange(0, len(changes)).Draw(t, "at")
	broken := rapid.SampledFrom([]store.Change{
		{Key: key("Device", "broken"), JSON: []byte(`{"resourceType":"Device","note":[`)},
		{Key: key("Device", "broken"), JSON: []byte(`{"resourceType":"Patient"}`)},
		{Key: key("Device", "not an id"), JSON: []byte(`{"resourceType":"Device"}`)},
		changes[0],
	}).Draw(t, "broken")
	changes = slices.Insert(changes, at, broken)
	c.each(t, func(x *side) error {
		if results, err := x.s.Write(context.Background(), changes...); err == nil {
			return fmt.Errorf("a write that cannot be applied gave %+v", results)
		}
		if _, err := x.s.Read(context.Background(), key("Device", "broken")); !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("got %v of a change that was refused, want not found", err)
		}
		return nil
	})
}

func (c *comparison) search(t *rapid.T) {
	most := 4
	if long() {
		most = 40
	}
	for range rapid.IntRange(1, most).Draw(t, "queries") {
		q, text := drawParsed(t)
		c.pairs += c.sides[0].m.count(q.Type)
		c.each(t, func(x *side) error {
			if err := x.m.checkSearch(t, x.s, q); err != nil {
				return fmt.Errorf("%s: %w", text, err)
			}
			return nil
		})
	}
}

func (m *model) checkSearch(t *rapid.T, s store.Store, q search.Query) error {
	want := m.search(t, q)
	got, err := walk(context.Background(), s, q)
	if err != nil {
		return err
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("got %v, want %v", got, want)
	}
	q.Total = search.TotalAccurate
	page, err := s.Search(context.Background(), q)
	if err != nil || page.Total != len(want) || len(page.Resources) == 0 && len(want) > 0 {
		return fmt.Errorf("got %d resources of %d, %v: want a total of %d", len(page.Resources), page.Total, err, len(want))
	}
	for _, r := range page.Resources {
		if stored, ok := m.current(key(r.Type, r.ID)); !ok || !same(r, stored) {
			return fmt.Errorf("got %+v, want %+v", r, stored)
		}
	}
	if len(page.Resources) > 0 {
		// The total of a later page is that of all pages.
		q.After, q.Count = page.Next, 1
		if page, err = s.Search(context.Background(), q); err != nil || page.Total != len(want) {
			return fmt.Errorf("got a total of %d %v on a later page, want %d", page.Total, err, len(want))
		}
	}
	return nil
}

func (c *comparison) read(t *rapid.T) {
	k := drawKey(t)
	n := rapid.IntRange(0, len(c.sides[0].m.versions[k])+1).Draw(t, "version")
	c.each(t, func(x *side) error { return x.m.checkRead(x.s, k, n) })
}

// checkRead reads version n, or the current one if n is 0, and the history of the resource.
func (m *model) checkRead(s store.Store, k fhir.Key, n int) error {
	all, asks := m.versions[k], k
	want, found := m.version(k, n)
	if n > 0 {
		asks.Version = strconv.Itoa(n)
	} else {
		want, found = m.version(k, len(all))
	}
	got, err := s.Read(context.Background(), asks)
	switch e, gone := errors.AsType[*store.GoneError](err); {
	case !found:
		if !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("%s: got %v, want not found", asks, err)
		}
	case want.Deleted:
		if !gone || !same(e.Resource, want) {
			return fmt.Errorf("%s: got %v, want gone with %+v", asks, err, want)
		}
	case err != nil || !same(got, want):
		return fmt.Errorf("%s: got %+v %v, want %+v", asks, got, err, want)
	}
	if len(all) == 0 {
		return nil
	}
	versions, err := versionsOf(context.Background(), s, store.HistoryQuery{Type: k.Type, ID: k.ID, Count: 3})
	if err != nil {
		return fmt.Errorf("history of %s: %w", k, err)
	}
	slices.Reverse(versions)
	if !slices.EqualFunc(versions, all, same) {
		return fmt.Errorf("history of %s: got %+v, want %+v", k, versions, all)
	}
	return nil
}

// moment is a time that has to do with a version: stores take other times, but the versions
// are the same.
type moment struct {
	key    fhir.Key
	number int
	later  time.Duration
}

func (c *comparison) drawMoment(t *rapid.T, name string) moment {
	k := drawKey(t)
	return moment{k, rapid.IntRange(1, len(c.sides[0].m.versions[k])+1).Draw(t, name), rapid.SampledFrom([]time.Duration{
		0, 0, -1, 1, time.Millisecond, -time.Millisecond, -time.Hour, time.Hour}).Draw(t, name+" later")}
}

// in is the moment in the times of one store, zero if it has no such version.
func (w moment) in(m *model) time.Time {
	if r, ok := m.version(w.key, w.number); ok {
		return r.LastUpdated.Add(w.later)
	}
	return time.Time{}
}

// history reads the history of a resource, of a type or of everything in pages of two sizes.
func (c *comparison) history(t *rapid.T) {
	q := store.HistoryQuery{Type: rapid.SampledFrom([]string{"", "Observation", "Device", "Patient"}).Draw(t, "type")}
	if k := drawKey(t); rapid.IntRange(0, 2).Draw(t, "of one") == 0 {
		q.Type, q.ID = k.Type, k.ID
	}
	since, from, to := c.drawMoment(t, "since"), c.drawMoment(t, "from"), c.drawMoment(t, "to")
	kind, count := rapid.IntRange(0, 7).Draw(t, "kind"), rapid.IntRange(1, 5).Draw(t, "count")
	c.each(t, func(x *side) error {
		q := q
		if kind&1 != 0 {
			q.Since = since.in(x.m)
		}
		if kind&2 != 0 {
			q.CurrentFrom, q.CurrentTo = from.in(x.m), to.in(x.m)
		}
		if kind&6 == 6 {
			q.CurrentTo = q.CurrentFrom.Add(time.Millisecond)
		}
		return x.m.checkHistory(x.s, q, count)
	})
}

func (m *model) checkHistory(s store.Store, q store.HistoryQuery, count int) error {
	if q.ID != "" && len(m.versions[key(q.Type, q.ID)]) == 0 {
		if page, err := s.History(context.Background(), q); !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("history of %+v: got %+v %v, want not found", q, page, err)
		}
		return nil
	}
	want := names(m.history(q))
	slices.Sort(want)
	var first []string
	for _, q.Count = range []int{count, 10000} {
		versions, err := versionsOf(context.Background(), s, q)
		if err != nil {
			return fmt.Errorf("history of %+v: %w", q, err)
		}
		for _, r := range versions {
			if stored, ok := m.version(key(r.Type, r.ID), number(r.Version)); !ok || !same(r, stored) {
				return fmt.Errorf("history of %+v: got %+v, want %+v", q, r, stored)
			}
		}
		got := names(versions)
		if first == nil {
			first = slices.Clone(got)
		}
		if !slices.Equal(got, first) {
			return fmt.Errorf("history of %+v: got %v, but %v in other pages", q, got, first)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			return fmt.Errorf("history of %+v: got %v, want %v", q, got, want)
		}
	}
	return nil
}

// archives are the stores as Archives, or nil if one is none.
func (c *comparison) archives() (all []store.Archive) {
	for _, x := range c.sides {
		a, ok := optional[store.Archive](x.s)
		if !ok {
			return nil
		}
		all = append(all, a)
	}
	return all
}

// imports adds versions to a resource, the same bytes and times in every store.
func (c *comparison) imports(t *rapid.T) {
	archives := c.archives()
	if archives == nil {
		return
	}
	k := drawKey(t)
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, x := range c.sides {
		if last, ok := x.m.version(k, len(x.m.versions[k])); ok && last.LastUpdated.After(at) {
			at = last.LastUpdated
		}
	}
	newest, there := c.sides[0].m.version(k, len(c.sides[0].m.versions[k]))
	var added []fhir.Resource
	for range rapid.IntRange(1, 3).Draw(t, "versions") {
		at = at.Add(rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Minute}).Draw(t, "later"))
		change := drawChange(t)
		change.ID = k.ID
		if change.Type != k.Type {
			change.Delete = true
		}
		if change.Delete && (!there || newest.Deleted) {
			continue // there is nothing to delete
		}
		r := fhir.Resource{Key: k, LastUpdated: at, Deleted: change.Delete}
		r.Version = strconv.Itoa(len(c.sides[0].m.versions[k]) + len(added) + 1)
		if !r.Deleted {
			r.JSON = stamped(t, change, r.Version, at)
		}
		added, newest, there = append(added, r), r, true
	}
	other := slices.Clone(added)
	for i := range other {
		other[i] = altered(other[i])
	}
	c.each(t, func(x *side) error {
		a, _ := optional[store.Archive](x.s)
		for _, want := range []int{len(added), 0} {
			if n, err := a.Import(context.Background(), added); err != nil || n != want {
				return fmt.Errorf("import of %d versions of %s: got %d %v, want %d", len(added), k, n, err, want)
			}
		}
		for _, r := range other {
			if n, err := a.Import(context.Background(), []fhir.Resource{r}); !r.Deleted && !errors.Is(err, store.ErrConflict) || r.Deleted && err != nil || n != 0 {
				return fmt.Errorf("import of other content of %s, deleted: %v: got %d %v", r.Key, r.Deleted, n, err)
			}
		}
		x.m.versions[k] = append(x.m.versions[k], added...)
		return nil
	})
}

// move exports each store, checks what comes, and goes on with a store like its neighbour that
// has imported it.
func (c *comparison) move(t *rapid.T) {
	archives := c.archives()
	if archives == nil {
		return
	}
	batch := rapid.IntRange(1, 7).Draw(t, "batch")
	for i, x := range c.sides {
		all, err := exported(archives[i], fhir.Key{})
		if err == nil && !slices.EqualFunc(all, x.m.archive(), same) {
			err = fmt.Errorf("an export has %v, want %v", names(all), names(x.m.archive()))
		}
		if err != nil {
			t.Fatalf("%s: %v", x.name, err)
		}
		neighbour := c.sides[(i+1)%len(c.sides)]
		s := neighbour.open()
		_ = x.s.Close()
		x.s = s
		a, ok := optional[store.Archive](s)
		if !ok {
			t.Fatalf("%s: one store is an archive, another is none", neighbour.name)
		}
		for some := range slices.Chunk(all, batch) {
			if n, err := a.Import(context.Background(), some); err != nil || n != len(some) {
				t.Fatalf("from %s into %s: import of %d versions: got %d %v", x.name, neighbour.name, len(some), n, err)
			}
		}
		again, err := exported(a, fhir.Key{})
		if err != nil || !slices.EqualFunc(again, all, same) {
			t.Fatalf("from %s into %s: got %v %v, want %v", x.name, neighbour.name, names(again), err, names(all))
		}
	}
	opens := make([]func() store.Store, len(c.sides))
	namesOf := make([]string, len(c.sides))
	for i := range c.sides {
		neighbour := c.sides[(i+1)%len(c.sides)]
		opens[i], namesOf[i] = neighbour.open, neighbour.name
	}
	for i, x := range c.sides {
		x.open, x.name = opens[i], namesOf[i]
	}
}
