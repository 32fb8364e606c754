// Package storetest is the test that every store passes. A store's own test calls Run
// with a way to open an empty one, and Same with all stores that must agree:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) store.Store { return empty(t) })
//	}
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// Run tests a store: everything that store.Store says, with the answers to searches compared
// with what search.Query.Matches means, and what the optional interfaces say, as far as the
// store has them: store.Journal, Explainer, Reindexer, Watcher, Archive and Monitored.
//
// open is called once or more for each test, from the goroutine of that test, and must give an
// empty store each time; several may be open at once. The test closes it; open may close it
// again in t.Cleanup. The clock of the store may jump and go back, but must be within a minute
// of the time of day.
//
// A store may be slow: no test depends on how long a call takes, but for one that has not come
// back after two minutes, which fails as hanging, with all goroutines. Random parts end after 5
// seconds each, 2 with -short, and after a few rounds in any case. They go on with KILN_LONG
// in the environment: until some 800,000 pairs of a query and a resource are compared.
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
		{"of many who update without a precondition none is lost", testUpdateRace},
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
		{"history tells what was current at a time", testHistoryCurrent},
		{"history of a type and of everything has every version", testHistoryOfMany},
		{"paging a history sees every version once while others write", testHistoryUnderWrites},
		{"a search finds what was written, at once", testSearchAfterWrite},
		{"paging sees everything once while others write", testPagingUnderWrites},
		{"equals are in the order of their ids, in pages of any size", testTies},
		{"a search sees one state", testSnapshot},
		{"large resources are kept", testLarge},
		{"what is in the last place of a long list is found", testLists},
		{"what is too large is kept or refused, as a whole", testTooLarge},
		{"long texts that differ at their end are told apart", testLongTexts},
		{"many changes are one write", testMany},
		{"any text is kept", testUnicode},
		{"decimals keep their zeros", testDecimals},
		{"a cancelled call does nothing", testCancelled},
		{"a closed store says so", testClosed},
		{"the journal keeps entries in order", testJournal},
		{"a plan tells how a search is answered, and nothing of anybody", testExplain},
		{"a search parameter is added while others write", testReindex},
		{"who watches is told every version once", testWatch},
		{"who watches too slowly is told so", testWatchSlowly},
		{"watching ends with the context, the store, and the watcher's error", testWatchEnds},
		{"a store tells how it is", testMonitored},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, opened(t, open)) })
	}
	for _, test := range []struct {
		name string
		run  func(t *testing.T, open func(t *testing.T) store.Store)
	}{
		{"an export has every version in order, behind any place", testExport},
		{"what was exported and imported is the same", testImport},
		{"an import changes nothing that is there", testImportConflict},
		{"an import keeps times", testImportedTimes},
		{"who watches is told of an import", testWatchImport},
		{"scripts", testScripts},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open) })
	}
	t.Run("the answers to queries of every kind are what they mean", func(t *testing.T) { testAnswers(t, open) })
	t.Run("random histories and queries agree with the plain meaning of search", func(t *testing.T) {
		Same(t, map[string]func(t *testing.T) store.Store{"the store": open})
	})
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

func same(a, b fhir.Resource) bool {
	return a.Key == b.Key && a.LastUpdated.Equal(b.LastUpdated) && a.Deleted == b.Deleted && bytes.Equal(a.JSON, b.JSON)
}
