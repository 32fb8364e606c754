// Package storetest is the test that every store passes. A store's own test calls Run
// with a way to open an empty one.
package storetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// Run tests a store. open is called once or more for each test and must give an empty
// store each time; the test closes it. A store that is a store.Journal is tested as one.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s store.Store)
	}{
		{"what was written is read", testRead},
		{"every change of content is a version", testVersions},
		{"the same content makes no version", testUnchanged},
		{"a deleted resource is gone and can come back", testDelete},
		{"what is not there is not found", testNotFound},
		{"a write with a failing change leaves nothing", testAtomic},
		{"a write cannot change a resource twice", testTwice},
		{"a write that makes no sense is refused", testRefused},
		{"results are in the order of changes", testOrder},
		{"preconditions are checked", testConditions},
		{"one of many who compare and set wins", testCompareAndSet},
		{"one of many who create wins", testCreateRace},
		{"writers that want the same resources in other orders all finish", testNoDeadlock},
		{"a condition finds what is there", testNone},
		{"changes of one write count one after the other", testNoneWithin},
		{"one of many who create unless there is one wins", testNoneRace},
		{"what a writer creates is found by those who search for it otherwise", testNoneOtherwise},
		{"a condition follows references", testNoneLinked},
		{"who waits for another writer can be cancelled", testNoneCancelled},
		{"writers with conditions that want the same resources in other orders all finish", testNoneNoDeadlock},
		{"history is paged from the newest", testHistory},
		{"history begins at a time", testHistorySince},
		{"history of a type and of everything has every version", testHistoryOfMany},
		{"paging a history sees every version once while others write", testHistoryUnderWrites},
		{"a search finds what was written, at once", testSearchAfterWrite},
		{"paging sees everything once while others write", testPagingUnderWrites},
		{"equals are in the order of their ids, in pages of any size", testTies},
		{"a search sees one state", testSnapshot},
		{"large resources are kept", testLarge},
		{"many changes are one write", testMany},
		{"any text is kept", testUnicode},
		{"decimals keep their zeros", testDecimals},
		{"a cancelled call does nothing", testCancelled},
		{"a closed store says so", testClosed},
		{"the journal keeps entries in order", testJournal},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, opened(t, open)) })
	}
	t.Run("scripts", func(t *testing.T) { testScripts(t, open) })
	t.Run("the answers to queries of every kind are what they mean", func(t *testing.T) { testAnswers(t, open) })
	t.Run("random histories and queries agree with the plain meaning of search", func(t *testing.T) { testModel(t, open) })
}

func opened(t *testing.T, open func(t *testing.T) store.Store) store.Store {
	t.Helper()
	s := open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func key(resourceType, id string) fhir.Key { return fhir.Key{Type: resourceType, ID: id} }

// put is a change to a resource with that JSON.
func put(id, json string) store.Change {
	of, _, compact, err := fhir.Parse([]byte(json))
	if err != nil {
		return store.Change{Key: key("Observation", id), JSON: []byte(json)}
	}
	return store.Change{Key: key(of, id), JSON: compact}
}

// heartRate is an Observation of a patient at a time.
func heartRate(patient, at, value string) string {
	return fmt.Sprintf(`{"resourceType":"Observation","status":"final",`+
		`"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}]}],`+
		`"code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},"subject":{"reference":"Patient/%s"},`+
		`"effectiveDateTime":"%s","valueQuantity":{"value":%s,"unit":"beats/minute","system":"http://unitsofmeasure.org","code":"/min"}}`,
		patient, at, value)
}

func device(text string) string {
	return fmt.Sprintf(`{"resourceType":"Device","note":[{"text":%q}]}`, text)
}

func write(t *testing.T, s store.Store, changes ...store.Change) []store.Result {
	t.Helper()
	results, err := s.Write(t.Context(), changes...)
	if err != nil {
		t.Fatalf("write: %v", err)
	}
	if len(results) != len(changes) {
		t.Fatalf("got %d results for %d changes", len(results), len(changes))
	}
	return results
}

func parse(t testing.TB, query string) search.Query {
	t.Helper()
	of, raw, _ := strings.Cut(query, "?")
	pairs, err := search.Pairs(raw)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	q, issues, err := search.R4().Parse(of, pairs, search.Options{Handling: search.Strict, Now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)})
	if err != nil || len(issues) > 0 {
		t.Fatalf("%s: %v %v", query, err, issues)
	}
	return q
}

// find is all pages of a query, as ids.
func find(t testing.TB, s store.Store, query string) []string {
	t.Helper()
	ids, err := walk(context.Background(), s, parse(t, query))
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return ids
}

// walk follows a query from page to page. The cursor goes through text, as it does in links.
func walk(ctx context.Context, s store.Store, q search.Query) ([]string, error) {
	var ids []string
	for {
		page, err := s.Search(ctx, q)
		if err != nil {
			return nil, err
		}
		if len(page.Resources) > q.Count {
			return nil, fmt.Errorf("a page of %d has %d resources", q.Count, len(page.Resources))
		}
		for _, r := range page.Resources {
			ids = append(ids, r.ID)
		}
		if page.Next == nil {
			return ids, nil
		}
		if len(page.Resources) == 0 {
			return nil, errors.New("an empty page has a next one")
		}
		next, err := search.DecodeCursor(page.Next.Encode(q), q)
		if err != nil {
			return nil, err
		}
		q.After = &next
	}
}

func testRead(t *testing.T, s store.Store) {
	before := time.Now().Add(-time.Minute)
	result := write(t, s, put("a", heartRate("p1", "2026-01-02T03:04:05Z", "72")))[0]
	if !result.Created || result.Unchanged || result.Version != "1" || result.Deleted {
		t.Errorf("got %+v of a first version", result)
	}
	read, err := s.Read(t.Context(), key("Observation", "a"))
	if err != nil {
		t.Fatal(err)
	}
	if !same(read, result.Resource) {
		t.Errorf("got %+v, but the write said %+v", read, result.Resource)
	}
	if at := read.LastUpdated; at.Location() != time.UTC || at != at.Truncate(time.Millisecond) || at.Before(before) || at.After(time.Now().Add(time.Minute)) {
		t.Errorf("lastUpdated is %v: want now, in UTC and whole milliseconds", at)
	}
	want, err := fhir.Stamp(put("a", heartRate("p1", "2026-01-02T03:04:05Z", "72")).JSON, "Observation", "a", "1", read.LastUpdated)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read.JSON, want) {
		t.Errorf("got %s\nwant %s", read.JSON, want)
	}
	// The type is part of the key.
	write(t, s, put("a", device("same id")))
	if r, err := s.Read(t.Context(), key("Observation", "a")); err != nil || !same(r, read) {
		t.Errorf("a device of the same id changed the observation: %+v %v", r, err)
	}
}

func same(a, b fhir.Resource) bool {
	return a.Key == b.Key && a.LastUpdated.Equal(b.LastUpdated) && a.Deleted == b.Deleted && bytes.Equal(a.JSON, b.JSON)
}

func testVersions(t *testing.T, s store.Store) {
	var written []fhir.Resource
	for i := range 12 { // two digits: versions are numbers, not text
		r := write(t, s, put("a", device(fmt.Sprint("text ", i))))[0]
		if want := fmt.Sprint(i + 1); r.Version != want || r.Created != (i == 0) || r.Unchanged {
			t.Fatalf("got version %s, created %v, unchanged %v: want version %s", r.Version, r.Created, r.Unchanged, want)
		}
		if i > 0 && r.LastUpdated.Before(written[i-1].LastUpdated) {
			t.Errorf("version %s is older than the one before", r.Version)
		}
		written = append(written, r.Resource)
	}
	for _, want := range written {
		got, err := s.Read(t.Context(), want.Key)
		if err != nil || !same(got, want) {
			t.Errorf("version %s: got %+v %v", want.Version, got, err)
		}
	}
	for _, version := range []string{"0", "13", "01", "+1", "1.0", "x", "-1", " 1", "18446744073709551616"} {
		if r, err := s.Read(t.Context(), fhir.Key{Type: "Device", ID: "a", Version: version}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("version %q: got %+v %v, want not found", version, r, err)
		}
	}
}

func testUnchanged(t *testing.T, s store.Store) {
	first := write(t, s, put("a", device("text")))[0]
	again := write(t, s, put("a", device("text")))[0]
	if !again.Unchanged || again.Created || !same(again.Resource, first.Resource) {
		t.Errorf("got %+v of the same content", again)
	}
	// What the store sets does not count as content.
	stamped := store.Change{Key: first.Key, JSON: first.JSON}
	if r := write(t, s, stamped)[0]; !r.Unchanged {
		t.Errorf("got %+v of what was read and written back", r)
	}
	old := store.Change{Key: key("Device", "a"), JSON: []byte(`{"resourceType":"Device","id":"b","meta":{"versionId":"7","lastUpdated":"2001-01-01T00:00:00Z"},"note":[{"text":"text"}]}`)}
	if r := write(t, s, old)[0]; !r.Unchanged {
		t.Errorf("got %+v of content with another id, version and time", r)
	}
	// With another change in the same write, what is the same stays.
	results := write(t, s, put("a", device("text")), put("b", device("text")))
	if !results[0].Unchanged || results[0].Version != "1" || results[1].Unchanged || !results[1].Created {
		t.Errorf("got %+v", results)
	}
	// A precondition is checked all the same.
	c := put("a", device("text"))
	c.If.Version = "2"
	if _, err := s.Write(t.Context(), c); !errors.Is(err, store.ErrConflict) {
		t.Errorf("got %v, want a conflict", err)
	}
	if page, err := s.History(t.Context(), store.HistoryQuery{Type: "Device", ID: "a"}); err != nil || len(page.Resources) != 1 {
		t.Errorf("got %+v %v, want a history of one version", page, err)
	}
}

func testDelete(t *testing.T, s store.Store) {
	first := write(t, s, put("a", heartRate("p1", "2026-01-02", "72")))[0]
	remove := store.Change{Key: key("Observation", "a"), Delete: true}
	gone := write(t, s, remove)[0]
	if gone.Version != "2" || !gone.Deleted || gone.Created || gone.Unchanged || gone.JSON != nil {
		t.Errorf("got %+v of a deletion", gone)
	}
	for _, version := range []string{"", "2"} {
		_, err := s.Read(t.Context(), fhir.Key{Type: "Observation", ID: "a", Version: version})
		e, ok := errors.AsType[*store.GoneError](err)
		if !ok || !errors.Is(err, store.ErrGone) || e.Resource.Version != "2" || !e.Resource.Deleted || !e.Resource.LastUpdated.Equal(gone.LastUpdated) {
			t.Errorf("version %q: got %v, want gone with version 2", version, err)
		}
	}
	if got, err := s.Read(t.Context(), fhir.Key{Type: "Observation", ID: "a", Version: "1"}); err != nil || !same(got, first.Resource) {
		t.Errorf("the version before the deletion: got %+v %v", got, err)
	}
	if ids := find(t, s, "Observation?patient=p1"); len(ids) != 0 {
		t.Errorf("the deleted is found: %v", ids)
	}
	if again := write(t, s, remove)[0]; !again.Unchanged || again.Version != "2" || !again.Deleted {
		t.Errorf("got %+v of a second deletion", again)
	}
	if never := write(t, s, store.Change{Key: key("Observation", "never"), Delete: true})[0]; !never.Unchanged || never.Version != "" || !never.Deleted {
		t.Errorf("got %+v of the deletion of what never was", never)
	}
	if _, err := s.Read(t.Context(), key("Observation", "never")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	back := write(t, s, put("a", heartRate("p1", "2026-01-02", "72")))[0]
	if back.Version != "3" || !back.Created || back.Unchanged {
		t.Errorf("got %+v of what came back with the content it had", back)
	}
	if ids := find(t, s, "Observation?patient=p1"); !slices.Equal(ids, []string{"a"}) {
		t.Errorf("got %v of what came back", ids)
	}
}

func testNotFound(t *testing.T, s store.Store) {
	write(t, s, put("a", device("text")))
	for _, k := range []fhir.Key{
		key("Device", "b"), key("Observation", "a"), key("Device", "A"), key("", "a"),
		key("Device", "a/b"), key("Device", "a\x00"), key("Device", strings.Repeat("a", 65)), key("Device", "ä"), key("device", "a"),
	} {
		if _, err := s.Read(t.Context(), k); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%q %q: got %v, want not found", k.Type, k.ID, err)
		}
		if _, err := s.History(t.Context(), store.HistoryQuery{Type: k.Type, ID: k.ID}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("history of %q %q: got %v, want not found", k.Type, k.ID, err)
		}
	}
	if _, err := s.Read(t.Context(), key("Device", "")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no id: got %v, want not found", err)
	}
}

func testAtomic(t *testing.T, s store.Store) {
	write(t, s, put("there", device("text")), put("too", device("text")))
	taken := put("there", device("other"))
	taken.If.Absent = true
	broken := put("broken", `{"resourceType":"Device","note":[`)
	broken.Type = "Device"
	for name, failing := range map[string]store.Change{
		"a failed precondition": taken,
		"JSON that is broken":   broken,
		"another type":          {Key: key("Observation", "x"), JSON: []byte(`{"resourceType":"Device"}`)},
	} {
		t.Run(name, func(t *testing.T) {
			results, err := s.Write(t.Context(),
				put("n1", device("new")), put("n2", heartRate("p9", "2026-01-02", "1")), store.Change{Key: key("Device", "too"), Delete: true},
				failing, put("n3", device("new")))
			if err == nil || results != nil {
				t.Fatalf("got %+v %v, want an error alone", results, err)
			}
			for _, k := range []fhir.Key{key("Device", "n1"), key("Observation", "n2"), key("Device", "n3")} {
				if _, err := s.Read(t.Context(), k); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("%s: got %v, want not found", k, err)
				}
			}
			for _, id := range []string{"there", "too"} {
				if r, err := s.Read(t.Context(), key("Device", id)); err != nil || r.Version != "1" {
					t.Errorf("%s: got %+v %v, want version 1", id, r, err)
				}
			}
			if ids := find(t, s, "Observation?patient=p9"); len(ids) != 0 {
				t.Errorf("found %v", ids)
			}
		})
	}
}

func testTwice(t *testing.T, s store.Store) {
	if _, err := s.Write(t.Context(), put("a", device("1")), put("b", device("1")), put("a", device("2"))); err == nil {
		t.Error("two changes of one resource were accepted")
	}
	if _, err := s.Read(t.Context(), key("Device", "b")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	// The same id of another type is another resource.
	write(t, s, put("a", device("1")), put("a", heartRate("p1", "2026-01-02", "72")))
}

func testRefused(t *testing.T, s store.Store) {
	for name, c := range map[string]store.Change{
		"no type":           {Key: key("", "a"), JSON: []byte(`{"resourceType":"Device"}`)},
		"a type of nothing": {Key: key("De vice", "a"), JSON: []byte(`{"resourceType":"De vice"}`)},
		"no id":             {Key: key("Device", ""), JSON: []byte(`{"resourceType":"Device"}`)},
		"an id with a zero": {Key: key("Device", "a\x00b"), JSON: []byte(`{"resourceType":"Device"}`)},
		"a long id":         {Key: key("Device", strings.Repeat("a", 65)), JSON: []byte(`{"resourceType":"Device"}`)},
		"another type":      {Key: key("Device", "a"), JSON: []byte(`{"resourceType":"Observation","status":"final"}`)},
		"a hidden type":     {Key: key("Device", "a"), JSON: []byte(`{"status":"active","resourceType":"Observation"}`)},
		"no JSON":           {Key: key("Device", "a")},
		"half of JSON":      {Key: key("Device", "a"), JSON: []byte(`{"resourceType":"Device",`)},
		"an array":          {Key: key("Device", "a"), JSON: []byte(`[{"resourceType":"Device"}]`)},
		"a name twice":      {Key: key("Device", "a"), JSON: []byte(`{"resourceType":"Device","status":"active","status":"inactive"}`)},
	} {
		if _, err := s.Write(t.Context(), c); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if results, err := s.Write(t.Context()); err != nil || len(results) != 0 {
		t.Errorf("a write of nothing: got %v %v", results, err)
	}
}

func testOrder(t *testing.T, s store.Store) {
	write(t, s, put("c", device("c")), put("b", device("b")))
	results := write(t, s, put("d", device("d")), put("c", device("c")), store.Change{Key: key("Device", "b"), Delete: true}, put("a", device("a")))
	var got []string
	for _, r := range results {
		got = append(got, fmt.Sprint(r.ID, r.Version, r.Created, r.Unchanged, r.Deleted))
	}
	want := []string{"d1true false false", "c1false true false", "b2false false true", "a1true false false"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func testConditions(t *testing.T, s store.Store) {
	change := func(text, version string, absent bool) store.Change {
		c := put("a", device(text))
		c.If = store.Condition{Version: version, Absent: absent}
		return c
	}
	refused := func(c store.Change, current string) {
		t.Helper()
		_, err := s.Write(t.Context(), c)
		e, ok := errors.AsType[*store.ConflictError](err)
		if !ok || !errors.Is(err, store.ErrConflict) {
			t.Fatalf("got %v, want a conflict", err)
		}
		if e.Current != current || e.Key != key("Device", "a") || e.If != c.If {
			t.Errorf("got %+v, want the current version %q", e, current)
		}
	}
	remove := func(version string) store.Change {
		return store.Change{Key: key("Device", "a"), Delete: true, If: store.Condition{Version: version}}
	}
	refused(change("1", "1", false), "")
	refused(remove("1"), "")
	write(t, s, change("1", "", true))
	refused(change("2", "", true), "1")
	refused(change("2", "2", false), "1")
	refused(change("2", "01", false), "1")
	write(t, s, change("2", "1", false))
	refused(remove("1"), "2")
	write(t, s, remove("2"))
	refused(change("3", "3", false), "")
	refused(change("3", "2", false), "")
	if r := write(t, s, change("3", "", true))[0]; r.Version != "4" {
		t.Errorf("got version %s, want 4", r.Version)
	}
}

func testCompareAndSet(t *testing.T, s store.Store) {
	write(t, s, put("a", device("0")))
	const writers, rounds = 16, 50
	for round := range rounds {
		version := fmt.Sprint(round + 1)
		winners := race(t, writers, func(i int) error {
			c := put("a", device(fmt.Sprint("round ", round, " writer ", i)))
			c.If.Version = version
			results, err := s.Write(context.Background(), c)
			if err == nil && results[0].Version != fmt.Sprint(round+2) {
				return fmt.Errorf("got version %s", results[0].Version)
			}
			return err
		})
		if winners != 1 {
			t.Fatalf("round %d has %d winners", round, winners)
		}
	}
}

func testCreateRace(t *testing.T, s store.Store) {
	for round := range 20 {
		winners := race(t, 16, func(i int) error {
			c := put(fmt.Sprint("r", round), device(fmt.Sprint("writer ", i)))
			c.If.Absent = true
			_, err := s.Write(context.Background(), c)
			return err
		})
		if winners != 1 {
			t.Fatalf("round %d has %d winners", round, winners)
		}
	}
}

// race calls f at once n times and counts those that had no conflict and no match.
func race(t *testing.T, n int, f func(i int) error) (winners int) {
	t.Helper()
	start, errs := make(chan struct{}), make(chan error, n)
	for i := range n {
		go func() {
			<-start
			errs <- f(i)
		}()
	}
	close(start)
	for range n {
		switch err := <-errs; {
		case err == nil:
			winners++
		case !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrMatched):
			t.Error(err)
		}
	}
	return winners
}

func testNoDeadlock(t *testing.T, s store.Store) {
	var ids []string
	for i := range 40 {
		ids = append(ids, fmt.Sprint("d", i))
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for round := range 10 {
				var changes []store.Change
				for i := range ids {
					id := ids[(i*7+w*11+round)%len(ids)]
					changes = append(changes, put(id, device(fmt.Sprint("writer ", w, " round ", round))))
				}
				if _, err := s.Write(context.Background(), changes...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	// All changes of one write were applied together.
	texts := map[string]bool{}
	for _, id := range ids {
		r, err := s.Read(t.Context(), key("Device", id))
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut(string(r.JSON), "writer")
		texts[text] = true
	}
	if len(texts) != 1 {
		t.Errorf("the resources are from %d writes", len(texts))
	}
}

func testHistory(t *testing.T, s store.Store) {
	for i := range 5 {
		write(t, s, put("a", device(fmt.Sprint(i))))
	}
	write(t, s, store.Change{Key: key("Device", "a"), Delete: true})
	write(t, s, put("a", device("back")))
	write(t, s, put("a-", device("another")), put("a.0", device("another")), put("b", device("another")))
	for _, count := range []int{1, 2, 3, 7, 100, 0} {
		var got []string
		q := store.HistoryQuery{Type: "Device", ID: "a", Count: count}
		for {
			page, err := s.History(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if count > 0 && len(page.Resources) > count || page.Total != -1 && page.Total != 7 {
				t.Errorf("got a page of %d, total %d", len(page.Resources), page.Total)
			}
			for _, r := range page.Resources {
				if r.Deleted != (r.JSON == nil) || r.ID != "a" {
					t.Errorf("got %+v", r)
				}
				got = append(got, fmt.Sprint(r.Version, r.Deleted))
			}
			if page.Next == nil {
				break
			}
			q.Before = page.Next.ID
		}
		want := []string{"7false", "6true", "5false", "4false", "3false", "2false", "1false"}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: got %q", count, got)
		}
	}
	for _, before := range []string{"0", "8", "01", "x", "-1", "1_Device_a_1"} {
		if page, err := s.History(t.Context(), store.HistoryQuery{Type: "Device", ID: "a", Before: before}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("before %q: got %+v %v, want not found", before, page, err)
		}
	}
	if page, err := s.History(t.Context(), store.HistoryQuery{Type: "Device", ID: "a", Before: "1"}); err != nil || len(page.Resources) != 0 || page.Next != nil {
		t.Errorf("got %+v %v behind the end", page, err)
	}
}

func testSearchAfterWrite(t *testing.T, s store.Store) {
	for i := range 20 {
		id := fmt.Sprint("o", i)
		write(t, s, put(id, heartRate(id, "2026-01-02T03:04:05Z", "72")))
		if ids := find(t, s, "Observation?patient="+id); !slices.Equal(ids, []string{id}) {
			t.Fatalf("got %v right after the write", ids)
		}
	}
	// What moves is found where it is, and only there.
	write(t, s, put("o0", heartRate("elsewhere", "2027-01-02T03:04:05Z", "99")))
	for query, want := range map[string][]string{
		"Observation?patient=o0":                                  nil,
		"Observation?patient=elsewhere":                           {"o0"},
		"Observation?patient=elsewhere&code=8867-4":               {"o0"},
		"Observation?patient=elsewhere&category=vital-signs":      {"o0"},
		"Observation?patient=elsewhere&date=2026":                 nil,
		"Observation?date=ge2027&_sort=date":                      {"o0"},
		"Observation?value-quantity=99":                           {"o0"},
		"Observation?value-quantity=72&_id=o0":                    nil,
		"Observation?_id=o0,nothing,o1":                           {"o0", "o1"},
		"Observation?_lastUpdated=gt2020-01-01&_id=o1&_sort=date": {"o1"},
	} {
		if got := find(t, s, query); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", query, got, want)
		}
	}
}

func testPagingUnderWrites(t *testing.T, s store.Store) {
	const steady = 150
	var changes []store.Change
	want := map[string]bool{}
	for i := range steady {
		id := fmt.Sprintf("steady-%03d", i*37%steady)
		want[id] = true
		changes = append(changes, put(id, heartRate("p1", fmt.Sprintf("2026-01-%02dT%02d:00:00Z", i%28+1, i%24), "72")))
	}
	write(t, s, changes...)

	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("other-%d-%d", w, i%40)
				c := put(id, heartRate("p1", fmt.Sprintf("2026-01-%02dT%02d:30:00Z", i%28+1, (i/28)%24), "80"))
				if i%3 == 2 {
					c = store.Change{Key: c.Key, Delete: true}
				}
				if _, err := s.Write(ctx, c); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, query := range []string{
		"Observation?patient=p1&code=8867-4&_sort=-date&_count=7",
		"Observation?patient=p1&_sort=date&_count=11",
		"Observation?code=8867-4&_count=13",
		"Observation?_sort=_lastUpdated&_count=9",
		"Observation?date=2026-01&_sort=-_id&_count=17",
	} {
		seen := map[string]int{}
		ids, err := walk(ctx, s, parse(t, query))
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			seen[id]++
		}
		for id := range want {
			if seen[id] != 1 {
				t.Errorf("%s: %s was seen %d times", query, id, seen[id])
			}
		}
	}
	stop()
	wg.Wait()
}

// testTies has many resources of one date, or of two, written at once: pages are cut in
// the middle of equals, and several values of a query find them.
func testTies(t *testing.T, s store.Store) {
	const n = 120
	var changes []store.Change
	at := func(i int) string { return fmt.Sprintf("2026-01-%02d", 1+i/100) }
	id := func(i int) string { return fmt.Sprintf("o%03d", i*77%n) }
	for i := range n {
		json := strings.Replace(heartRate(fmt.Sprint("p", i%3), at(i), "72"), "8867-4", fmt.Sprint("c", i%2), 1)
		changes = append(changes, put(id(i), json))
	}
	results := write(t, s, changes...)
	expect := func(in func(i int) bool, descending bool) (want []string) {
		for _, day := range []string{at(0), at(n - 1)} {
			var equals []string
			for i := range n {
				if at(i) == day && in(i) {
					equals = append(equals, id(i))
				}
			}
			slices.Sort(equals)
			if descending {
				want = append(equals, want...)
			} else {
				want = append(want, equals...)
			}
		}
		return want
	}
	all := func(int) bool { return true }
	for _, test := range []struct {
		query      string
		want       func(i int) bool
		descending bool
	}{
		{"_sort=date", all, false},
		{"_sort=-date", all, true},
		{"code=c0,c1&_sort=date", all, false},
		{"code=c0,c1&_sort=-date", all, true},
		{"patient=p0,p2&code=c0,c1&_sort=date", func(i int) bool { return i%3 != 1 }, false},
		{"patient=p0,p2&code=c0,c1&_sort=-date", func(i int) bool { return i%3 != 1 }, true},
		{"patient=p1&_sort=date", func(i int) bool { return i%3 == 1 }, false},
		{"date=ge2026&category=vital-signs&_sort=date", all, false},
	} {
		want := expect(test.want, test.descending)
		for _, count := range []int{1, 7, 50, 1000} {
			if got := find(t, s, fmt.Sprintf("Observation?%s&_count=%d", test.query, count)); !slices.Equal(got, want) {
				t.Errorf("%s, pages of %d: got %v, want %v", test.query, count, got, want)
			}
		}
	}
	for _, descending := range []bool{false, true} {
		slices.SortFunc(results, func(a, b store.Result) int {
			n := a.LastUpdated.Compare(b.LastUpdated)
			if descending {
				n = -n
			}
			return cmp.Or(n, strings.Compare(a.ID, b.ID))
		})
		var want []string
		for _, r := range results {
			want = append(want, r.ID)
		}
		query := "_sort=_lastUpdated"
		if descending {
			query = "_sort=-_lastUpdated"
		}
		if got := find(t, s, "Observation?"+query+"&_count=7"); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", query, got, want)
		}
	}
}

// testSnapshot moves a pair of resources together between two patients: no search may see
// them apart.
func testSnapshot(t *testing.T, s store.Store) {
	move := func(to string) []store.Change {
		return []store.Change{put("left", heartRate(to, "2026-01-02", "1")), put("right", heartRate(to, "2026-01-03", "2"))}
	}
	write(t, s, move("p1")...)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			if _, err := s.Write(context.Background(), move([]string{"p1", "p2"}[i%2])...); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for range 200 {
		page, err := s.Search(ctx, parse(t, "Observation?patient=p1&_total=accurate"))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(page.Resources); n == 1 || page.Total != n {
			t.Fatalf("found %d of two that move together, total %d", n, page.Total)
		}
	}
	stop()
	<-done
}

func testLarge(t *testing.T, s store.Store) {
	text := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	var list strings.Builder
	for i := range 10000 {
		if i > 0 {
			list.WriteByte(',')
		}
		fmt.Fprintf(&list, `{"system":"urn:example:list","value":"n%d"}`, i)
	}
	changes := []store.Change{
		put("text", device(text)),
		put("list", `{"resourceType":"Device","identifier":[`+list.String()+`]}`),
	}
	for i, r := range write(t, s, changes...) {
		got, err := s.Read(t.Context(), key("Device", changes[i].ID))
		if err != nil || !same(got, r.Resource) || len(got.JSON) < len(changes[i].JSON) {
			t.Errorf("%s: %v", changes[i].ID, err)
		}
	}
	for _, n := range []string{"n0", "n5000", "n9999"} {
		if ids := find(t, s, "Device?identifier=urn:example:list|"+n); !slices.Equal(ids, []string{"list"}) {
			t.Errorf("%s: found %v", n, ids)
		}
	}
	if r := write(t, s, put("list", `{"resourceType":"Device"}`))[0]; r.Version != "2" {
		t.Errorf("got %+v", r)
	}
	if ids := find(t, s, "Device?identifier=n5000"); len(ids) != 0 {
		t.Errorf("found %v after the list was taken away", ids)
	}
	// A page of large resources may be short, but its links lead to all of them.
	for i := range 40 {
		write(t, s, put(fmt.Sprintf("text-%02d", i), device(text)))
	}
	if ids := find(t, s, "Device?_count=1000"); len(ids) != 42 {
		t.Errorf("found %d of 42", len(ids))
	}
}

func testMany(t *testing.T, s store.Store) {
	var changes []store.Change
	for i := range 2000 {
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Second)
		changes = append(changes, put(fmt.Sprintf("o%04d", i), heartRate("p1", at.Format(time.RFC3339), "72")))
	}
	write(t, s, changes...)
	ids := find(t, s, "Observation?patient=p1&_sort=-date&_count=300")
	if len(ids) != 2000 || !slices.IsSortedFunc(ids, func(a, b string) int { return strings.Compare(b, a) }) {
		t.Errorf("found %d, or not in order", len(ids))
	}
	page, err := s.Search(t.Context(), parse(t, "Observation?patient=p1&_summary=count"))
	if err != nil || page.Total != 2000 || len(page.Resources) != 0 {
		t.Errorf("got a total of %d and %d resources, %v", page.Total, len(page.Resources), err)
	}
}

func testUnicode(t *testing.T, s store.Store) {
	for i, text := range []string{"Ä Ö ü ß", "心拍数", "👩‍⚕️ 37 °C", "a\u0000b", "\u2028\u2029", "\U0010ffff", `\" \\ /`, "e\u0301"} {
		id := fmt.Sprint("u", i)
		json := fmt.Sprintf(`{"resourceType":"Device","identifier":[{"system":"urn:ä|","value":%s}]}`, quote(text))
		write(t, s, put(id, json))
		r, err := s.Read(t.Context(), key("Device", id))
		if err != nil || !bytes.Contains(r.JSON, []byte(quote(text))) {
			t.Errorf("%q: got %s %v", text, r.JSON, err)
		}
		param, _ := search.R4().Lookup("Device", "identifier")
		page, err := s.Search(t.Context(), search.Query{
			Type: "Device", Count: 10, Total: search.TotalNone, Sort: []search.Sort{{Param: "_id"}},
			Where: []search.Clause{{Param: param, Values: []search.Value{{System: "urn:ä|", Code: text}}}},
		})
		if err != nil || len(page.Resources) != 1 || page.Resources[0].ID != id {
			t.Errorf("%q: found %d, %v", text, len(page.Resources), err)
		}
	}
}

// quote writes a JSON string as fhir.Parse leaves it: only what must be is escaped.
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ':
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func testDecimals(t *testing.T, s store.Store) {
	for i, n := range []string{"72.50", "1.0", "1.00e2", "0.10", "-0.0", "123456789012345678901.50"} {
		id := fmt.Sprint("n", i)
		write(t, s, put(id, heartRate("p1", "2026-01-02", n)))
		r, err := s.Read(t.Context(), key("Observation", id))
		if err != nil || !bytes.Contains(r.JSON, []byte(`"value":`+n+`,`)) {
			t.Errorf("%s: got %s %v", n, r.JSON, err)
		}
	}
	// Another way to write a number is another content.
	if r := write(t, s, put("n0", heartRate("p1", "2026-01-02", "72.5")))[0]; r.Unchanged || r.Version != "2" {
		t.Errorf("got %+v", r)
	}
}

func testCancelled(t *testing.T, s store.Store) {
	write(t, s, put("a", device("text")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Write(ctx, put("b", device("text"))); !errors.Is(err, context.Canceled) {
		t.Errorf("write: got %v", err)
	}
	if _, err := s.Read(t.Context(), key("Device", "b")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	if _, err := s.Search(ctx, parse(t, "Device?_total=accurate")); !errors.Is(err, context.Canceled) {
		t.Errorf("search: got %v", err)
	}
	if _, err := s.History(ctx, store.HistoryQuery{}); !errors.Is(err, context.Canceled) {
		t.Errorf("history: got %v", err)
	}
	if j, ok := s.(store.Journal); ok {
		if err := j.Keep(ctx, "inbox", "a", nil); !errors.Is(err, context.Canceled) {
			t.Errorf("keep: got %v", err)
		}
	}
}

func testClosed(t *testing.T, s store.Store) {
	write(t, s, put("a", device("text")))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("a second close: %v", err)
	}
	calls := map[string]func() error{
		"read":   func() error { _, err := s.Read(t.Context(), key("Device", "a")); return err },
		"write":  func() error { _, err := s.Write(t.Context(), put("b", device("text"))); return err },
		"search": func() error { _, err := s.Search(t.Context(), parse(t, "Device?")); return err },
		"history": func() error {
			_, err := s.History(t.Context(), store.HistoryQuery{Type: "Device", ID: "a"})
			return err
		},
		"history of everything": func() error { _, err := s.History(t.Context(), store.HistoryQuery{}); return err },
	}
	if j, ok := s.(store.Journal); ok {
		calls["keep"] = func() error { return j.Keep(t.Context(), "inbox", "a", nil) }
		calls["fetch"] = func() error { _, err := j.Fetch(t.Context(), "inbox", "a"); return err }
		calls["entries"] = func() error { _, err := j.Entries(t.Context(), "inbox", "", 1); return err }
		calls["remove"] = func() error { return j.Remove(t.Context(), "inbox", "a") }
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s: got %v, want that the store is closed", name, err)
		}
	}
}

func testJournal(t *testing.T, s store.Store) {
	j, ok := s.(store.Journal)
	if !ok {
		t.Skip("the store is no journal")
	}
	ctx := t.Context()
	ids := []string{"a", "b", "b\x00", "b\x00a", "ba", "c/d", strings.Repeat("z", 100), "ä"}
	for i := range ids {
		for _, shelf := range []string{"inbox", "inbox2", "in"} {
			if err := j.Keep(ctx, shelf, ids[(i*3)%len(ids)], []byte(shelf+ids[(i*3)%len(ids)])); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, limit := range []int{1, 3, 100} {
		var got []string
		for at := ""; ; {
			page, err := j.Entries(ctx, "inbox", at, limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) > limit {
				t.Fatalf("got %d entries, wanted %d", len(page), limit)
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
			at = page[len(page)-1]
		}
		if !slices.Equal(got, ids) {
			t.Errorf("limit %d: got %q", limit, got)
		}
	}
	// What was removed need not be there to go on behind it.
	if page, err := j.Entries(ctx, "inbox", "b\x00\x00", 1); err != nil || !slices.Equal(page, []string{"b\x00a"}) {
		t.Errorf("got %q %v", page, err)
	}
	if got, err := j.Fetch(ctx, "inbox", "b"); err != nil || string(got) != "inboxb" {
		t.Errorf("got %q %v", got, err)
	}
	if err := j.Keep(ctx, "inbox", "b", []byte("other")); err != nil {
		t.Fatal(err)
	}
	if got, err := j.Fetch(ctx, "inbox", "b"); err != nil || string(got) != "other" {
		t.Errorf("got %q %v after it was replaced", got, err)
	}
	if err := j.Remove(ctx, "inbox", "b"); err != nil {
		t.Fatal(err)
	}
	if err := j.Remove(ctx, "inbox", "b"); err != nil {
		t.Errorf("a second removal: %v", err)
	}
	if _, err := j.Fetch(ctx, "inbox", "b"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	if got, err := j.Fetch(ctx, "inbox2", "b"); err != nil || string(got) != "inbox2b" {
		t.Errorf("got %q %v from another shelf", got, err)
	}
	if page, err := j.Entries(ctx, "inbox", "", 2); err != nil || !slices.Equal(page, []string{"a", "b\x00"}) {
		t.Errorf("got %q %v", page, err)
	}
	if err := j.Keep(ctx, "inbox", "empty", nil); err != nil {
		t.Fatal(err)
	}
	if got, err := j.Fetch(ctx, "inbox", "empty"); err != nil || len(got) != 0 {
		t.Errorf("got %q %v of an empty entry", got, err)
	}
	if page, err := j.Entries(ctx, "nothing", "", 10); err != nil || len(page) != 0 {
		t.Errorf("got %q %v of an empty shelf", page, err)
	}
	// Many keep at once.
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			if err := j.Keep(ctx, "many", fmt.Sprintf("%02d", i), []byte{byte(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if page, err := j.Entries(ctx, "many", "", 100); err != nil || len(page) != 32 {
		t.Errorf("got %d entries %v, want 32", len(page), err)
	}
}
