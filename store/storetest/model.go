package storetest

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// model is a store that is too simple to be wrong.
type model struct {
	versions map[fhir.Key][]fhir.Resource
}

// current is the current version of a resource, if there is one that is not deleted.
func (m *model) current(k fhir.Key) (fhir.Resource, bool) {
	all := m.versions[k]
	if len(all) == 0 || all[len(all)-1].Deleted {
		return fhir.Resource{}, false
	}
	return all[len(all)-1], true
}

// conflict reports whether a precondition fails.
func (m *model) conflict(changes []store.Change) bool {
	for _, c := range changes {
		current, ok := m.current(key(c.Type, c.ID))
		if c.If.Absent && ok || c.If.Version != "" && (!ok || c.If.Version != current.Version) {
			return true
		}
	}
	return false
}

// matched tells, by the index of the change, how many resources keep a change with a
// condition None from being applied.
func (m *model) matched(t *rapid.T, changes []store.Change) map[int]int {
	matched := map[int]int{}
	for i, c := range changes {
		if c.If.None == nil {
			continue
		}
		at := map[fhir.Key]fhir.Resource{}
		for k := range m.versions {
			if r, ok := m.current(k); ok {
				at[k] = r
			}
		}
		for _, before := range changes[:i] {
			k := key(before.Type, before.ID)
			if delete(at, k); !before.Delete {
				at[k] = fhir.Resource{Key: k, LastUpdated: time.Now(), JSON: before.JSON}
			}
		}
		for _, r := range at {
			terms, err := search.R4().Extract(r.Type, r.JSON)
			if err != nil {
				t.Fatal(err)
			}
			if c.If.None.Matches(r.Key, r.LastUpdated, &terms) {
				matched[i]++
			}
		}
	}
	return matched
}

// apply makes the versions that changes should make, at the times that the store took.
func (m *model) apply(t *rapid.T, changes []store.Change, results []store.Result) {
	for i, c := range changes {
		k, got := key(c.Type, c.ID), results[i]
		current, ok := m.current(k)
		all := m.versions[k]
		want := store.Result{Resource: fhir.Resource{Key: k, LastUpdated: got.LastUpdated}}
		want.Version = strconv.Itoa(len(all) + 1)
		switch {
		case c.Delete && ok:
			want.Deleted = true
		case c.Delete && len(all) > 0:
			want = store.Result{Resource: all[len(all)-1], Unchanged: true}
		case c.Delete:
			want = store.Result{Resource: fhir.Resource{Key: k, Deleted: true}, Unchanged: true}
		default:
			want.Created = !ok
			want.JSON = stamped(t, c, want.Version, got.LastUpdated)
			if ok && string(stamped(t, c, current.Version, current.LastUpdated)) == string(current.JSON) {
				want = store.Result{Resource: current, Unchanged: true}
			}
		}
		if !same(got.Resource, want.Resource) || got.Created != want.Created || got.Unchanged != want.Unchanged {
			t.Fatalf("change %d: got %+v, want %+v", i, got, want)
		}
		if len(all) > 0 && got.LastUpdated.Before(all[len(all)-1].LastUpdated) {
			t.Fatalf("change %d: time runs backwards", i)
		}
		if !want.Unchanged {
			m.versions[k] = append(all, want.Resource)
		}
	}
}

func stamped(t *rapid.T, c store.Change, version string, at time.Time) []byte {
	json, err := fhir.Stamp(c.JSON, c.Type, c.ID, version, at)
	if err != nil {
		t.Fatal(err)
	}
	return json
}

// search is what q finds: everything, filtered, sorted.
func (m *model) search(t *rapid.T, q search.Query) []string {
	type match struct {
		id string
		at search.Cursor
	}
	var matches []match
	for k := range m.versions {
		r, ok := m.current(k)
		if !ok || k.Type != q.Type {
			continue
		}
		terms, err := search.R4().Extract(r.Type, r.JSON)
		if err != nil {
			t.Fatal(err)
		}
		if q.Matches(r.Key, r.LastUpdated, &terms) {
			matches = append(matches, match{r.ID, q.SortKeys(r.Key, r.LastUpdated, &terms)})
		}
	}
	slices.SortFunc(matches, func(a, b match) int { return q.Compare(a.at, b.at) })
	var ids []string
	for _, m := range matches {
		ids = append(ids, m.id)
	}
	return ids
}

// check compares the outcome of a write, and takes note of it.
func (m *model) check(t *rapid.T, changes []store.Change, results []store.Result, err error) {
	conflict, matched := m.conflict(changes), m.matched(t, changes)
	if conflict || len(matched) > 0 {
		e, ok := errors.AsType[*store.MatchedError](err)
		if ok && (matched[e.Change] == 0 || len(e.Matches) != min(2, matched[e.Change])) || !ok && !(conflict && errors.Is(err, store.ErrConflict)) {
			t.Fatalf("got %v %+v, want a conflict: %v, or matches by change: %v", err, e, conflict, matched)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	m.apply(t, changes, results)
}

// version is a version of a resource, if there is one of that number.
func (m *model) version(k fhir.Key, n int) (fhir.Resource, bool) {
	if all := m.versions[k]; n > 0 && n <= len(all) {
		return all[n-1], true
	}
	return fhir.Resource{}, false
}

// history is what q finds, in no particular order.
func (m *model) history(q store.HistoryQuery) (found []fhir.Resource) {
	for k, versions := range m.versions {
		if q.Type != "" && k.Type != q.Type || q.ID != "" && k.ID != q.ID {
			continue
		}
		found = append(found, asked(versions, q)...)
	}
	return found
}

// asked are those of the versions of one resource, from the first to the last of all, that a
// history is to have. A version is current from its lastUpdated until right before that of its
// successor, the last one for ever: one whose successor has the same time never was. A zero
// CurrentFrom is the beginning of time, a zero CurrentTo its end.
func asked(versions []fhir.Resource, q store.HistoryQuery) (found []fhir.Resource) {
	for i, r := range versions {
		if r.LastUpdated.Before(q.Since) {
			continue
		}
		if q.CurrentFrom.IsZero() && q.CurrentTo.IsZero() {
			found = append(found, r)
			continue
		}
		begin := r.LastUpdated
		if begin.Before(q.CurrentFrom) {
			begin = q.CurrentFrom
		}
		until := q.CurrentTo
		if i+1 < len(versions) && (until.IsZero() || versions[i+1].LastUpdated.Before(until)) {
			until = versions[i+1].LastUpdated
		}
		if until.IsZero() || begin.Before(until) {
			found = append(found, r)
		}
	}
	return found
}

// archive is everything in the order of an Export.
func (m *model) archive() (all []fhir.Resource) {
	keys := slices.SortedFunc(maps.Keys(m.versions), func(a, b fhir.Key) int {
		return cmp.Or(strings.Compare(a.Type, b.Type), strings.Compare(a.ID, b.ID))
	})
	for _, k := range keys {
		all = append(all, m.versions[k]...)
	}
	return all
}

// count is how many current resources a type has.
func (m *model) count(of string) (n int) {
	for k := range m.versions {
		if _, ok := m.current(k); ok && k.Type == of {
			n++
		}
	}
	return n
}
