package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/store"
)

// exported is everything behind a key.
func exported(t testing.TB, s *Store, after fhir.Key) []fhir.Resource {
	t.Helper()
	var all []fhir.Resource
	err := s.Export(t.Context(), after, func(r fhir.Resource) error {
		r.JSON = bytes.Clone(r.JSON)
		all = append(all, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func sameVersions(a, b []fhir.Resource) bool {
	return slices.EqualFunc(a, b, func(a, b fhir.Resource) bool {
		return a.Key == b.Key && a.LastUpdated.Equal(b.LastUpdated) && a.Deleted == b.Deleted && bytes.Equal(a.JSON, b.JSON)
	})
}

// archiveChange is a change of one of a few resources of several types, whose ids are the
// beginnings of one another.
func archiveChange(rt *rapid.T) store.Change {
	i := rapid.IntRange(0, 1000).Draw(rt, "content")
	c := sample(0, i)
	c.ID = rapid.SampledFrom([]string{"a", "a.", "a.b", "aa", "A", "b-1"}).Draw(rt, "id")
	if of := rapid.SampledFrom([]string{"Observation", "Device", "DeviceMetric", "Patient"}).Draw(rt, "type"); of != "Observation" {
		c.Type = of
		if !c.Delete {
			c.JSON = fmt.Appendf(nil, `{"resourceType":%q,"identifier":[{"value":"%d.50"}],"text":{"status":"generated","div":"<div>\u00e4 %d</div>"}}`, of, i, i)
		}
	}
	return c
}

func randomHistory(rt *rapid.T, s *Store) {
	for range rapid.IntRange(1, 25).Draw(rt, "writes") {
		var changes []store.Change
		seen := map[fhir.Key]bool{}
		for range rapid.IntRange(1, 4).Draw(rt, "changes") {
			if c := archiveChange(rt); !seen[c.Key] {
				seen[c.Key] = true
				changes = append(changes, c)
			}
		}
		if _, err := s.Write(context.Background(), changes...); err != nil {
			rt.Fatal(err)
		}
	}
}

func TestWhatWasExportedAndImportedIsTheSameStore(t *testing.T) {
	fhirtest.Long(t)
	rapid.Check(t, func(rt *rapid.T) {
		now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		clock := func() time.Time {
			now = now.Add(time.Duration(rapid.IntRange(-1, 3).Draw(rt, "ms")) * time.Millisecond)
			return now
		}
		from, err := Open("store", &Options{FS: vfs.NewMem(), Now: clock})
		if err != nil {
			rt.Fatal(err)
		}
		defer from.Close()
		randomHistory(rt, from)
		all := exported(t, from, fhir.Key{})
		if !slices.IsSortedFunc(all, func(a, b fhir.Resource) int {
			va, _ := parseVersion(a.Version)
			vb, _ := parseVersion(b.Version)
			if c := strings.Compare(a.Type, b.Type); c != 0 {
				return c
			}
			if c := strings.Compare(a.ID, b.ID); c != 0 {
				return c
			}
			return int(va) - int(vb)
		}) {
			rt.Fatal("the export is not in the order of type, id and version")
		}
		if len(all) > 0 {
			resume(t, from, all, rapid.IntRange(0, len(all)-1).Draw(rt, "resume"))
		}

		to, err := Open("store", &Options{FS: vfs.NewMem(), Now: clock})
		if err != nil {
			rt.Fatal(err)
		}
		defer to.Close()
		added := 0
		for rest := all; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(rt, "part")
			got, err := to.Import(context.Background(), rest[:n])
			if err != nil {
				rt.Fatal(err)
			}
			added += got
			rest = rest[n:]
		}
		if added != len(all) {
			rt.Fatalf("%d were new of %d", added, len(all))
		}
		compareStores(t, rt, from, to)
		if again, err := to.Import(context.Background(), all); err != nil || again != 0 {
			rt.Fatalf("imported again, %d were new, %v", again, err)
		}
		compareStores(t, rt, from, to)

		// Both go on alike.
		c := archiveChange(rt)
		a, errA := from.Write(context.Background(), c)
		b, errB := to.Write(context.Background(), c)
		if errA != nil || errB != nil || a[0].Version != b[0].Version || a[0].Created != b[0].Created || a[0].Unchanged != b[0].Unchanged {
			rt.Fatalf("the next write gives %+v %v and %+v %v", a, errA, b, errB)
		}
		if err := verify(to); err != nil {
			rt.Fatal(err)
		}
	})
}

// resume exports what follows one of all versions, and what follows its resource.
func resume(t *testing.T, s *Store, all []fhir.Resource, i int) {
	t.Helper()
	if got := exported(t, s, all[i].Key); !sameVersions(got, all[i+1:]) {
		t.Fatalf("behind version %d of %d there are %d more", i+1, len(all), len(got))
	}
	rest := all[i+1:]
	for len(rest) > 0 && rest[0].Type == all[i].Type && rest[0].ID == all[i].ID {
		rest = rest[1:]
	}
	if got := exported(t, s, fhir.Key{Type: all[i].Type, ID: all[i].ID}); !sameVersions(got, rest) {
		t.Fatalf("behind the resource of version %d there are %d, want %d", i+1, len(got), len(rest))
	}
}

func TestAnExportGoesOnBehindAnyVersion(t *testing.T) {
	s := memory(t)
	for i := range 12 {
		var changes []store.Change
		for j, id := range []string{"a", "a.", "a.b", "aa", "b"} {
			c := sample(0, i*j)
			c.ID = id
			changes = append(changes, c, store.Change{Key: fhir.Key{Type: []string{"Device", "DeviceMetric"}[j%2], ID: id}, Delete: i%3 == 2,
				JSON: fmt.Appendf(nil, `{"resourceType":%q,"identifier":[{"value":"%d"}]}`, []string{"Device", "DeviceMetric"}[j%2], i)})
		}
		if _, err := s.Write(t.Context(), changes...); err != nil {
			t.Fatal(err)
		}
	}
	all := exported(t, s, fhir.Key{})
	if len(all) < 80 {
		t.Fatalf("there are only %d versions", len(all))
	}
	for i := range all {
		resume(t, s, all, i)
	}
	for _, after := range []fhir.Key{{Type: "Device", ID: "0"}, {Type: "Device", ID: "a", Version: "99"}, {Type: "Zebra", ID: "a"}} {
		want := slices.IndexFunc(all, func(r fhir.Resource) bool { return r.Type > after.Type || r.Type == after.Type && r.ID > after.ID })
		if want < 0 {
			want = len(all)
		}
		if got := exported(t, s, after); !sameVersions(got, all[want:]) {
			t.Errorf("behind %v, which is not there, are %d, want %d", after, len(got), len(all)-want)
		}
	}
}

func compareStores(t *testing.T, rt *rapid.T, a, b *Store) {
	t.Helper()
	if !sameVersions(exported(t, a, fhir.Key{}), exported(t, b, fhir.Key{})) {
		rt.Fatal("the exports differ")
	}
	if err := verify(b); err != nil {
		rt.Fatal(err)
	}
	if x, y := fmt.Sprint(present(a)), fmt.Sprint(present(b)); x != y {
		rt.Fatalf("there are %s and %s", x, y)
	}
	for _, of := range []string{"", "Observation", "Device", "DeviceMetric", "Patient"} {
		x, errX := a.History(context.Background(), store.HistoryQuery{Type: of, Count: 1000})
		y, errY := b.History(context.Background(), store.HistoryQuery{Type: of, Count: 1000})
		if errX != nil || errY != nil || !sameVersions(x.Resources, y.Resources) {
			rt.Fatalf("the histories of %q differ: %d and %d, %v %v", of, len(x.Resources), len(y.Resources), errX, errY)
		}
	}
	for _, query := range []string{"Observation?_sort=-date", "Observation?code=c1&_sort=_id", "Observation?date=ge2026-01-01", "Observation?patient=p1",
		"Observation?value-quantity=72", "Device?_sort=-_lastUpdated", "Patient?identifier:not=7.50&_sort=_id"} {
		q := parseQuery(t, query)
		q.Count = 1000
		x, errX := a.Search(context.Background(), q)
		y, errY := b.Search(context.Background(), q)
		if errX != nil || errY != nil || !sameVersions(x.Resources, y.Resources) {
			rt.Fatalf("%s finds %d and %d, %v %v", query, len(x.Resources), len(y.Resources), errX, errY)
		}
	}
}

// present are the counts that are not zero.
func present(s *Store) map[string]int64 {
	counts := s.Stats().Resources
	for of, n := range counts {
		if n == 0 {
			delete(counts, of)
		}
	}
	return counts
}

// version is one of a resource as a store has it.
func version(t *testing.T, id, number, content string, at time.Time) fhir.Resource {
	t.Helper()
	r := fhir.Resource{Key: fhir.Key{Type: "Device", ID: id, Version: number}, LastUpdated: at}
	if content == "" {
		r.Deleted = true
		return r
	}
	var err error
	if r.JSON, err = fhir.Stamp([]byte(content), r.Type, id, number, at); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestImportRefusesWhatIsNotAHistory(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	const one, other = `{"resourceType":"Device","status":"active"}`, `{"resourceType":"Device","status":"inactive"}`
	with := func(r fhir.Resource, change func(r *fhir.Resource)) fhir.Resource {
		change(&r)
		return r
	}
	for name, test := range map[string]struct {
		versions []fhir.Resource
		want     string
		conflict string // the current version that it names
	}{
		"a gap":                                 {[]fhir.Resource{version(t, "a", "4", one, at)}, "comes after version 2", ""},
		"a gap at the beginning":                {[]fhir.Resource{version(t, "b", "2", one, at)}, "comes after version 0", ""},
		"time that runs backwards":              {[]fhir.Resource{version(t, "a", "3", one, at.Add(-time.Hour))}, "time must not run backwards", ""},
		"other content of the current version":  {[]fhir.Resource{version(t, "a", "2", one, at)}, "other content", "2"},
		"other content of an earlier version":   {[]fhir.Resource{version(t, "a", "1", other, at)}, "other content", "2"},
		"another time of the same content":      {[]fhir.Resource{version(t, "a", "2", other, at.Add(time.Millisecond))}, "other content", "2"},
		"a deletion in the place of content":    {[]fhir.Resource{version(t, "a", "2", "", at)}, "other content", "2"},
		"a conflict behind a new one":           {[]fhir.Resource{version(t, "b", "1", one, at), version(t, "a", "1", other, at)}, "other content", "2"},
		"versions of a resource in wrong order": {[]fhir.Resource{version(t, "b", "1", one, at), version(t, "b", "2", other, at), version(t, "b", "1", one, at)}, "in their order", ""},
		"a version that is no number":           {[]fhir.Resource{with(version(t, "a", "3", "", at), func(r *fhir.Resource) { r.Version = "03" })}, "number from 1 on", ""},
		"version 0":                             {[]fhir.Resource{with(version(t, "a", "3", "", at), func(r *fhir.Resource) { r.Version = "0" })}, "number from 1 on", ""},
		"microseconds":                          {[]fhir.Resource{version(t, "a", "3", "", at.Add(time.Microsecond))}, "whole milliseconds", ""},
		"a year that has five digits":           {[]fhir.Resource{version(t, "a", "3", "", time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))}, "whole milliseconds", ""},
		"a deletion with content":               {[]fhir.Resource{with(version(t, "a", "3", one, at), func(r *fhir.Resource) { r.Deleted = true })}, "has content all the same", ""},
		"no content":                            {[]fhir.Resource{{Key: fhir.Key{Type: "Device", ID: "a", Version: "3"}, LastUpdated: at}}, "not a JSON object", ""},
		"no id":                                 {[]fhir.Resource{with(version(t, "a", "3", one, at), func(r *fhir.Resource) { r.ID = "mrn 4711" })}, "the id is not", ""},
		"no type":                               {[]fhir.Resource{with(version(t, "a", "3", one, at), func(r *fhir.Resource) { r.Type = "mrn 4711" })}, "not the name of a type", ""},
		"JSON of another id": {[]fhir.Resource{with(version(t, "a", "3", one, at), func(r *fhir.Resource) {
			r.JSON = bytes.Replace(r.JSON, []byte(`"id":"a"`), []byte(`"id":"b"`), 1)
		})}, "does not carry the type, id", ""},
		"JSON of another version": {[]fhir.Resource{with(version(t, "a", "3", one, at), func(r *fhir.Resource) {
			r.JSON = bytes.Replace(r.JSON, []byte(`"versionId":"3"`), []byte(`"versionId":"2"`), 1)
		})}, "does not carry the type, id", ""},
		"JSON of another time": {[]fhir.Resource{with(version(t, "a", "3", one, at), func(r *fhir.Resource) { r.LastUpdated = at.Add(time.Second) })}, "does not carry the type, id", ""},
		"JSON with spaces":     {[]fhir.Resource{with(version(t, "a", "3", one, at), func(r *fhir.Resource) { r.JSON = append([]byte(" "), r.JSON...) })}, "does not carry the type, id", ""},
		"JSON that ends early": {[]fhir.Resource{with(version(t, "a", "3", one, at), func(r *fhir.Resource) { r.JSON = r.JSON[:len(r.JSON)-2] })}, "stamp", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := memory(t)
			if n, err := s.Import(t.Context(), []fhir.Resource{version(t, "a", "1", one, at), version(t, "a", "2", other, at)}); n != 2 || err != nil {
				t.Fatal(n, err)
			}
			before := exported(t, s, fhir.Key{})
			n, err := s.Import(t.Context(), test.versions)
			if n != 0 || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %d, %v, want %q", n, err, test.want)
			}
			if strings.Contains(err.Error(), "4711") || strings.Contains(err.Error(), "active") {
				t.Errorf("the error shows what it must not: %v", err)
			}
			e, ok := errors.AsType[*store.ConflictError](err)
			if ok != (test.conflict != "") || ok && e.Current != test.conflict {
				t.Errorf("got %+v, want a conflict with version %q", e, test.conflict)
			}
			if !sameVersions(before, exported(t, s, fhir.Key{})) {
				t.Error("something was added")
			}
			if err := verify(s); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestADeletionOfAnotherTimeIsAConflict(t *testing.T) {
	s := memory(t)
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	if _, err := s.Import(t.Context(), []fhir.Resource{version(t, "a", "1", `{"resourceType":"Device"}`, at), version(t, "a", "2", "", at)}); err != nil {
		t.Fatal(err)
	}
	_, err := s.Import(t.Context(), []fhir.Resource{version(t, "a", "2", "", at.Add(time.Millisecond))})
	if e, ok := errors.AsType[*store.ConflictError](err); !ok || e.Current != "" || e.Key.Version != "2" {
		t.Errorf("got %v", err)
	}
}

func TestExportRefusesAPlaceThatIsNone(t *testing.T) {
	s := memory(t)
	for _, after := range []fhir.Key{{Type: "Device"}, {ID: "a"}, {Type: "Device", ID: "a b"}, {Type: "device", ID: "a"}, {Type: "Device", ID: "a", Version: "x"}} {
		if err := s.Export(t.Context(), after, func(fhir.Resource) error { return nil }); err == nil || !strings.Contains(err.Error(), "the place to go on from") {
			t.Errorf("%+v: got %v", after, err)
		}
	}
}

func TestAnImportOfManyIsDoneInSteps(t *testing.T) {
	from, to := memory(t), memory(t)
	for i := range 8 {
		var changes []store.Change
		for id := range 60 {
			changes = append(changes, store.Change{Key: fhir.Key{Type: "Device", ID: fmt.Sprint("d", id)},
				JSON: fmt.Appendf(nil, `{"resourceType":"Device","note":[{"text":"%d %s"}]}`, i, strings.Repeat("x", 20_000))})
		}
		if _, err := from.Write(t.Context(), changes...); err != nil {
			t.Fatal(err)
		}
	}
	all := exported(t, from, fhir.Key{})
	if n, err := to.Import(t.Context(), all); n != len(all) || err != nil {
		t.Fatal(n, err)
	}
	if groups := to.Stats().Groups; groups < 2 {
		t.Errorf("%d MiB were written in %d steps", 8*60*20_000>>20, groups)
	}
	if !sameVersions(all, exported(t, to, fhir.Key{})) {
		t.Error("the exports differ")
	}
	if err := verify(to); err != nil {
		t.Error(err)
	}
}

func TestExportAndImportEndWhenTold(t *testing.T) {
	s := memory(t)
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	versions := []fhir.Resource{version(t, "a", "1", `{"resourceType":"Device"}`, at), version(t, "a", "2", "", at)}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if n, err := s.Import(ctx, versions); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("got %d, %v", n, err)
	}
	if n, err := s.Import(t.Context(), versions); n != 2 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if err := s.Export(ctx, fhir.Key{}, func(fhir.Resource) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	full := errors.New("full")
	if err := s.Export(t.Context(), fhir.Key{}, func(fhir.Resource) error { return full }); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Export(t.Context(), fhir.Key{}, func(fhir.Resource) error { return nil }); !errors.Is(err, store.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Import(t.Context(), versions); !errors.Is(err, store.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkExportAndImport(b *testing.B) {
	const n = 20_000
	from := openBench(b)
	changes := make([]store.Change, n)
	for i := range changes {
		changes[i] = reading(i)
	}
	if _, err := from.Write(b.Context(), changes...); err != nil {
		b.Fatal(err)
	}
	all := exported(b, from, fhir.Key{})
	b.Run("export", func(b *testing.B) {
		for b.Loop() {
			if err := from.Export(b.Context(), fhir.Key{}, func(fhir.Resource) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "versions/s")
	})
	b.Run("import", func(b *testing.B) {
		for b.Loop() {
			to := openBench(b)
			if _, err := to.Import(b.Context(), all); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "versions/s")
	})
}

func openBench(b *testing.B) *Store {
	b.Helper()
	s, err := Open(b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}
