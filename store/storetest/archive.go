package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// exported is what an Export gives behind a place.
func exported(a store.Archive, after fhir.Key) (all []fhir.Resource, err error) {
	err = within("Export", func() error {
		return a.Export(context.Background(), after, func(r fhir.Resource) error {
			r.JSON = bytes.Clone(r.JSON) // it is valid during the call only
			all = append(all, r)
			return nil
		})
	})
	return all, err
}

// imported adds versions to an archive.
func imported(a store.Archive, versions []fhir.Resource) (added int, err error) {
	err = within("Import", func() (err error) {
		added, err = a.Import(context.Background(), versions)
		return err
	})
	return added, err
}

// altered is a version with other content, of the same number and time; a deletion is as it was.
func altered(r fhir.Resource) fhir.Resource {
	if !r.Deleted {
		r.JSON = append(bytes.Clone(r.JSON[:len(r.JSON)-1]), `,"language":"de"}`...)
	}
	return r
}

// fillArchive writes versions of several types, deletions and returns among them.
func fillArchive(t *testing.T, s store.Store) {
	t.Helper()
	ids := []string{"a", "a-", "a.0", "A", "b", "10", "9", strings.Repeat("z", 64)}
	for round := range 12 { // two digits: versions are in the order of numbers
		var changes []store.Change
		for i, id := range ids {
			if (round+i)%3 == 2 && id != "a" {
				changes = append(changes, store.Change{Key: key("Observation", id), Delete: true})
				continue
			}
			changes = append(changes,
				put(id, heartRate(fmt.Sprint("p", i%3), fmt.Sprintf("2026-01-%02d", 1+round), fmt.Sprint(60+i))),
				put(id, device(fmt.Sprint("text ", round/2))))
		}
		write(t, s, append(changes, put("only", device(fmt.Sprint("only ", round))))...)
	}
	write(t, s, store.Change{Key: key("Device", "only"), Delete: true})
}

func testExport(t *testing.T, open func(t *testing.T) store.Store) {
	s := opened(t, open)
	a := needs[store.Archive](t, s)
	if all, err := exported(a, fhir.Key{}); err != nil || len(all) != 0 {
		t.Errorf("an export of an empty store has %v, %v", names(all), err)
	}
	fillArchive(t, s)
	all, err := exported(a, fhir.Key{})
	if err != nil {
		t.Fatal(err)
	}
	everything, err := versionsOf(t.Context(), s, store.HistoryQuery{Count: 1000})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(everything, inArchive)
	if !slices.EqualFunc(all, everything, same) {
		t.Fatalf("got %v\nwant %v", names(all), names(everything))
	}
	for i, r := range all {
		if rest, err := exported(a, r.Key); err != nil || !slices.EqualFunc(rest, all[i+1:], same) {
			t.Errorf("behind %s: got %v %v, want %v", r.Key, names(rest), err, names(all[i+1:]))
		}
		if i+1 < len(all) && all[i+1].ID == r.ID && all[i+1].Type == r.Type {
			continue
		}
		if rest, err := exported(a, key(r.Type, r.ID)); err != nil || !slices.EqualFunc(rest, all[i+1:], same) {
			t.Errorf("behind all of %s/%s: got %v %v, want %v", r.Type, r.ID, names(rest), err, names(all[i+1:]))
		}
	}
	enough, told := errors.New("enough"), 0
	if err := a.Export(t.Context(), fhir.Key{}, func(fhir.Resource) error {
		if told++; told == 3 {
			return enough
		}
		return nil
	}); !errors.Is(err, enough) || told != 3 {
		t.Errorf("got %v after %d versions, of whom three were enough", err, told)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Export(ctx, fhir.Key{}, func(fhir.Resource) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v of an export that is cancelled", err)
	}
	if _, err := a.Import(ctx, all); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v of an import that is cancelled", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := exported(a, fhir.Key{}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("got %v of an export of a closed store", err)
	}
	if _, err := imported(a, all); !errors.Is(err, store.ErrClosed) {
		t.Errorf("got %v of an import into a closed store", err)
	}
}

// inArchive is the order of an Export.
func inArchive(a, b fhir.Resource) int {
	switch {
	case a.Type != b.Type:
		return strings.Compare(a.Type, b.Type)
	case a.ID != b.ID:
		return strings.Compare(a.ID, b.ID)
	}
	return number(a.Version) - number(b.Version)
}

func testImport(t *testing.T, open func(t *testing.T) store.Store) {
	from := opened(t, open)
	needs[store.Archive](t, from)
	fillArchive(t, from)
	all, err := exported(needs[store.Archive](t, from), fhir.Key{})
	if err != nil {
		t.Fatal(err)
	}
	for _, batch := range []int{3, 1000} {
		t.Run(fmt.Sprint("in batches of ", batch), func(t *testing.T) {
			s := opened(t, open)
			a := needs[store.Archive](t, s)
			added := 0
			for some := range slices.Chunk(all, batch) {
				n, err := imported(a, some)
				if err != nil {
					t.Fatal(err)
				}
				added += n
			}
			if added != len(all) {
				t.Errorf("%d were new of %d", added, len(all))
			}
			sameAnswers(t, from, s)
			if n, err := imported(a, all); err != nil || n != 0 {
				t.Errorf("a second import: %d were new, %v", n, err)
			}
			if again, err := exported(a, fhir.Key{}); err != nil || !slices.EqualFunc(again, all, same) {
				t.Errorf("got %v %v, want %v", names(again), err, names(all))
			}
			// Life goes on.
			for _, r := range all {
				current, err := s.Read(t.Context(), key(r.Type, r.ID))
				if gone, ok := errors.AsType[*store.GoneError](err); ok {
					current = gone.Resource
				} else if err != nil {
					t.Fatal(err)
				}
				next := write(t, s, put(r.ID, strings.Replace(device("next "+current.Version), "Device", r.Type, 1)))[0]
				if number(next.Version) != number(current.Version)+1 || next.Created != current.Deleted || next.LastUpdated.Before(current.LastUpdated) {
					t.Fatalf("got %+v after %+v", next, current)
				}
			}
			if ids := find(t, s, "Observation?patient=p0,p1,p2"); len(ids) != 0 {
				t.Errorf("found %v, which have other content by now", ids)
			}
		})
	}
	t.Run("again and again, from the beginning", func(t *testing.T) {
		s := opened(t, open)
		a := needs[store.Archive](t, s)
		for n := 0; n <= len(all); n += len(all) / 5 { // each time what was there before, and more
			if _, err := imported(a, all[:n]); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := imported(a, all); err != nil || n != len(all)%5 {
			t.Errorf("got %d %v, want %d", n, err, len(all)%5)
		}
		sameAnswers(t, from, s)
	})
	t.Run("into a store that has other resources", func(t *testing.T) {
		s := opened(t, open)
		a := needs[store.Archive](t, s)
		write(t, s, put("mine", device("mine")), put("mine", heartRate("p0", "2026-01-01", "1")))
		if n, err := imported(a, all); err != nil || n != len(all) {
			t.Fatalf("got %d %v", n, err)
		}
		want := append(find(t, from, "Observation?patient=p0"), "mine")
		got := find(t, s, "Observation?patient=p0")
		if slices.Sort(want); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// sameAnswers compares two stores that have the same versions of the same times.
func sameAnswers(t *testing.T, want, got store.Store) {
	t.Helper()
	for _, q := range []store.HistoryQuery{{}, {Type: "Device"}, {Type: "Observation", Count: 5}, {Type: "Observation", ID: "b"}, {Type: "Device", ID: "only"}} {
		a, err := versionsOf(t.Context(), want, q)
		if err != nil {
			t.Fatal(err)
		}
		b, err := versionsOf(t.Context(), got, q)
		slices.SortStableFunc(a, inArchive) // equal times may be in any order
		if slices.SortStableFunc(b, inArchive); err != nil || !slices.EqualFunc(a, b, same) {
			t.Errorf("history of %+v: got %v %v, want %v", q, names(b), err, names(a))
		}
		if q.Type != "" {
			continue
		}
		for _, r := range a {
			x, errX := want.Read(t.Context(), r.Key)
			y, errY := got.Read(t.Context(), r.Key)
			if !same(x, y) || errors.Is(errX, store.ErrGone) != errors.Is(errY, store.ErrGone) {
				t.Errorf("%s: got %+v %v, want %+v %v", r.Key, y, errY, x, errX)
			}
		}
	}
	for _, query := range []string{
		"Observation?", "Device?", "Patient?", "Observation?_sort=_lastUpdated&_count=3", "Observation?patient=p1&code=8867-4&_sort=-date", "Observation?patient=p0,p2&_sort=date,-_id&_count=2",
		"Observation?value-quantity=gt62", "Observation?date=ge2026-01-08", "Observation?_id=a,b,9", "Observation?category=vital-signs&_sort=value-quantity", "Device?_sort=-_id",
	} {
		a, b := find(t, want, query), find(t, got, query)
		q := parse(t, query)
		q.Total, q.Count = search.TotalAccurate, 0
		page, err := got.Search(t.Context(), q)
		if !slices.Equal(a, b) || err != nil || page.Total != len(a) {
			t.Errorf("%s: got %v, total %d %v, want %v", query, b, page.Total, err, a)
		}
	}
}

func testImportConflict(t *testing.T, open func(t *testing.T) store.Store) {
	s := opened(t, open)
	a := needs[store.Archive](t, s)
	fillArchive(t, s)
	all, err := exported(a, fhir.Key{})
	if err != nil {
		t.Fatal(err)
	}
	unchanged := func() {
		t.Helper()
		if again, err := exported(a, fhir.Key{}); err != nil || !slices.EqualFunc(again, all, same) {
			t.Fatalf("got %v %v, want %v", names(again), err, names(all))
		}
	}
	refused := func(what string, conflict bool, versions ...fhir.Resource) {
		t.Helper()
		n, err := imported(a, versions)
		e, ok := errors.AsType[*store.ConflictError](err)
		if err == nil || n != 0 || conflict && (!ok || key(e.Key.Type, e.Key.ID) != key(versions[len(versions)-1].Type, versions[len(versions)-1].ID)) {
			t.Errorf("%s: got %d %v", what, n, err)
		}
		if err != nil && strings.Contains(err.Error(), strings.Repeat("z", 64)) {
			t.Errorf("%s: %q has an id, which may be that of a patient", what, err)
		}
		unchanged()
	}
	for _, r := range all {
		other := r
		if r.Deleted {
			other.Deleted = false
			stamp, err := fhir.Stamp([]byte(`{"resourceType":"`+r.Type+`"}`), r.Type, r.ID, r.Version, r.LastUpdated)
			if err != nil {
				t.Fatal(err)
			}
			other.JSON = stamp
			refused("a version instead of a deletion", true, other)
			continue
		}
		refused("other content", true, all[0], altered(r))
		other = fhir.Resource{Key: r.Key, LastUpdated: r.LastUpdated, Deleted: true}
		refused("a deletion instead of a version", true, all[0], other)
	}
	at := all[0].LastUpdated
	stamp := func(k fhir.Key) fhir.Resource {
		t.Helper()
		json, err := fhir.Stamp([]byte(`{"resourceType":"Device"}`), "Device", "new", "1", at)
		if err != nil {
			t.Fatal(err)
		}
		return fhir.Resource{Key: k, LastUpdated: at, JSON: json}
	}
	good := fhir.Key{Type: "Device", ID: "new", Version: "1"}
	refused("no version", false, stamp(fhir.Key{Type: "Device", ID: "new"}))
	refused("version 0", false, stamp(fhir.Key{Type: "Device", ID: "new", Version: "0"}))
	refused("version x", false, stamp(fhir.Key{Type: "Device", ID: "new", Version: "x"}))
	refused("version 01", false, stamp(fhir.Key{Type: "Device", ID: "new", Version: "01"}))
	refused("no id", false, stamp(fhir.Key{Type: "Device", Version: "1"}))
	refused("an id that is none", false, stamp(fhir.Key{Type: "Device", ID: "a/b", Version: "1"}))
	refused("no type", false, stamp(fhir.Key{ID: "new", Version: "1"}))
	refused("another type than that of the content", false, stamp(fhir.Key{Type: "Patient", ID: "new", Version: "1"}))
	half := stamp(good)
	half.JSON = half.JSON[:len(half.JSON)/2]
	refused("half of JSON", false, half)
	if n, err := imported(a, nil); n != 0 || err != nil {
		t.Errorf("got %d %v of nothing", n, err)
	}
	if n, err := imported(a, []fhir.Resource{stamp(good)}); n != 1 || err != nil {
		t.Errorf("got %d %v", n, err)
	}
}

// testImportedTimes has versions from another time: the future, and of one millisecond.
func testImportedTimes(t *testing.T, open func(t *testing.T) store.Store) {
	s := opened(t, open)
	a := needs[store.Archive](t, s)
	far := time.Now().UTC().AddDate(30, 0, 0).Truncate(time.Millisecond)
	times := []time.Time{
		time.Date(1999, 12, 31, 23, 59, 59, 999e6, time.UTC), time.Date(1999, 12, 31, 23, 59, 59, 999e6, time.UTC),
		time.Date(2012, 1, 1, 0, 0, 0, 0, time.UTC), far, far,
	}
	var all []fhir.Resource
	for i, at := range times {
		r := fhir.Resource{Key: fhir.Key{Type: "Observation", ID: "a", Version: fmt.Sprint(i + 1)}, LastUpdated: at}
		if i == 2 {
			r.Deleted = true
			all = append(all, r)
			continue
		}
		var err error
		r.JSON, err = fhir.Stamp(put("a", heartRate("p1", "2026-01-02", fmt.Sprint(i))).JSON, r.Type, r.ID, r.Version, at)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	if n, err := imported(a, all); n != len(all) || err != nil {
		t.Fatalf("got %d %v", n, err)
	}
	for _, of := range []store.HistoryQuery{{}, {Type: "Observation"}, {Type: "Observation", ID: "a"}} {
		for from, want := range map[string][]int{
			"1999-12-31T23:59:59.998Z": nil, "1999-12-31T23:59:59.999Z": {2}, "2005-01-01T00:00:00Z": {2},
			"2011-12-31T23:59:59.999Z": {2}, "2012-01-01T00:00:00Z": {3}, far.Add(-time.Millisecond).Format(time.RFC3339Nano): {3},
			far.Format(time.RFC3339Nano): {5}, far.AddDate(100, 0, 0).Format(time.RFC3339Nano): {5},
		} {
			at, err := time.Parse(time.RFC3339Nano, from)
			if err != nil {
				t.Fatal(err)
			}
			of.CurrentFrom, of.CurrentTo = at, at.Add(time.Millisecond)
			var names []int
			versions, err := versionsOf(t.Context(), s, of)
			for _, r := range versions {
				names = append(names, number(r.Version))
			}
			if err != nil || !slices.Equal(names, want) {
				t.Errorf("%+v: got versions %v %v, want %v", of, names, err, want)
			}
		}
	}
	if ids := find(t, s, "Observation?_lastUpdated=gt"+far.AddDate(-1, 0, 0).Format("2006-01-02")); !slices.Equal(ids, []string{"a"}) {
		t.Errorf("found %v", ids)
	}
	if r := write(t, s, put("a", heartRate("p1", "2026-01-02", "99")))[0]; r.Version != "6" || r.LastUpdated.Before(far) {
		t.Errorf("got %+v after a version of %v", r, far)
	}
}
