package mongo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/storetest"
)

// deployment is a connection string of a database of its own in the deployment that
// KILN_TEST_MONGODB_URI names. The database is dropped when the test ends.
func deployment(t *testing.T) string {
	t.Helper()
	uri := os.Getenv("KILN_TEST_MONGODB_URI")
	if uri == "" {
		t.Skip("KILN_TEST_MONGODB_URI names no deployment of MongoDB")
	}
	p, err := parseURI(uri)
	if err != nil {
		t.Fatal(err)
	}
	name := "kiln_test_" + strings.ToLower(rand.Text()[:12])
	base, query, _ := strings.Cut(uri, "?")
	if at := strings.Index(base, p.hosts); at >= 0 {
		base = base[:at] + p.hosts
	}
	uri = base + "/" + name
	if query != "" {
		uri += "?" + query
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		s, err := Open(ctx, uri, nil)
		if err != nil {
			t.Errorf("the test's database is left: %v", err)
			return
		}
		if err := s.db.Drop(ctx); err != nil {
			t.Errorf("the test's database is left: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return uri
}

func opened(t *testing.T, uri string) *Store {
	t.Helper()
	s, err := Open(t.Context(), uri, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// alone is a store without Watch, which a single server does not have.
type alone struct {
	store.Store
	store.Journal
	store.Explainer
	store.Reindexer
	store.Archive
	store.Monitored
}

func TestDeploymentIsAStore(t *testing.T) {
	deployment(t)
	storetest.Run(t, func(t *testing.T) store.Store {
		s, err := Open(t.Context(), deployment(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		if !s.transactional {
			return alone{s, s, s, s, s, s}
		}
		return s
	})
}

// without makes a store of one that has transactions do without.
func without(s *Store) *Store {
	s.transactional, s.snapshots = false, false
	return s
}

func TestDeploymentIsAStoreWithoutTransactions(t *testing.T) {
	deployment(t)
	storetest.Run(t, func(t *testing.T) store.Store {
		s, err := Open(t.Context(), deployment(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		s = without(s)
		return alone{s, s, s, s, s, s}
	})
}

func TestDeploymentIsAStoreWithTransactionsForReads(t *testing.T) {
	deployment(t)
	storetest.Run(t, func(t *testing.T) store.Store {
		s, err := Open(t.Context(), deployment(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		if !s.transactional {
			t.Skip("the deployment has no transactions")
		}
		s.snapshots = false // as MongoDB 4.4
		return s
	})
}

// device is a put of a Device.
func device(id, text string) store.Change {
	return store.Change{Key: fhir.Key{Type: "Device", ID: id}, JSON: fmt.Appendf(nil, `{"resourceType":"Device","note":[{"text":%q}]}`, text)}
}

// TestDeploymentKeepsAWriteWhole ends the process, as far as the database can tell, before each
// step of a write that has several.
func TestDeploymentKeepsAWriteWhole(t *testing.T) {
	for n := 0; ; n++ {
		uri := deployment(t)
		s := without(opened(t, uri))
		if _, err := s.Write(t.Context(), device("a", "old"), device("b", "old"), device("c", "old")); err != nil {
			t.Fatal(err)
		}
		steps, stopped := 0, ""
		s.fault = func(step string) error {
			if steps++; steps > n || stopped != "" {
				if stopped == "" {
					stopped = step
				}
				return errStopped
			}
			return nil
		}
		changes := []store.Change{device("a", "new"), {Key: fhir.Key{Type: "Device", ID: "b"}, Delete: true}, device("c", "old"), device("d", "new")}
		_, err := s.Write(t.Context(), changes...)
		if stopped == "" {
			if err != nil || n < 8 {
				t.Fatalf("there are %d steps, and then %v", n, err)
			}
			return
		}
		other := without(opened(t, uri))
		read := func(id string) string {
			r, err := other.Read(t.Context(), fhir.Key{Type: "Device", ID: id})
			switch {
			case errors.Is(err, store.ErrGone):
				return "gone"
			case errors.Is(err, store.ErrNotFound):
				return "none"
			case err != nil:
				t.Fatal(err)
			}
			return r.Version
		}
		got := read("a") + " " + read("b") + " " + read("c") + " " + read("d")
		done := got == "2 gone 1 1"
		if !done && got != "1 1 1 none" || err == nil && !done {
			t.Errorf("stopped before step %d, %s: got %s, and the writer was told %v", n, stopped, got, err)
		}
		page, err := other.History(t.Context(), store.HistoryQuery{})
		if err != nil || done && len(page.Resources) != 6 || !done && len(page.Resources) != 3 {
			t.Errorf("stopped before step %d, %s: the history has %d versions, %v", n, stopped, len(page.Resources), err)
		}
		for _, name := range []string{intentsCollection, partsCollection} {
			if left, err := other.db.Collection(name).CountDocuments(t.Context(), bson.D{}); err != nil || left > 0 && (name == intentsCollection || !done) {
				t.Errorf("stopped before step %d, %s: %d documents are left in %s, %v", n, stopped, left, name, err)
			}
		}
		if left, err := other.collection("Device").CountDocuments(t.Context(), bson.D{{Key: lockField, Value: bson.D{{Key: "$exists", Value: true}}}}); err != nil || left > 0 {
			t.Errorf("stopped before step %d, %s: %d documents are locked, %v", n, stopped, left, err)
		}
		if _, err := other.Write(t.Context(), device("a", "later"), device("b", "later"), device("c", "later"), device("d", "later")); err != nil {
			t.Errorf("stopped before step %d, %s: %v", n, stopped, err)
		}
	}
}

// TestDeploymentTakesNoWriteTwice has two servers write the same resources, one of which takes
// back what the other is at.
func TestDeploymentTakesNoWriteTwice(t *testing.T) {
	uri := deployment(t)
	servers := []*Store{without(opened(t, uri)), without(opened(t, uri))}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := servers[1].recover(t.Context(), 0); err != nil {
				t.Error(err)
			}
		}
	})
	var writers sync.WaitGroup
	const each = 30
	for w := range 4 {
		writers.Go(func() {
			for i := range each {
				if _, err := servers[w%2].Write(t.Context(), device("a", fmt.Sprint(w, i)), device("b", fmt.Sprint(w, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	stop()
	wg.Wait()
	for _, id := range []string{"a", "b"} {
		page, err := servers[0].History(t.Context(), store.HistoryQuery{Type: "Device", ID: id, Count: 1000})
		if err != nil || len(page.Resources) != 4*each {
			t.Errorf("%s has %d versions of %d, %v", id, len(page.Resources), 4*each, err)
		}
	}
}

// TestDeploymentAnswersHotQueriesFromAnIndex asks MongoDB how it answers.
func TestDeploymentAnswersHotQueriesFromAnIndex(t *testing.T) {
	s := opened(t, deployment(t))
	var changes []store.Change
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 3000 {
		json := fmt.Sprintf(`{"resourceType":"Observation","identifier":[{"system":"urn:n","value":"%d"}],"status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"%s"}]}],`+
			`"code":{"coding":[{"system":"http://loinc.org","code":"c%d"}]},"subject":{"reference":"Patient/p%d"},"device":{"reference":"Device/d%d"},"effectiveDateTime":"%s","valueQuantity":{"value":%d}}`,
			i, []string{"vital-signs", "laboratory"}[i/3%2], i%10, i%20, i%7, at.Add(time.Duration(i)*time.Minute).Format(time.RFC3339), i)
		changes = append(changes, store.Change{Key: fhir.Key{Type: "Observation", ID: fmt.Sprint("o", i)}, JSON: []byte(json)})
	}
	if _, err := s.Write(t.Context(), changes...); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{
		"patient=p3&code=http://loinc.org|c3&_sort=-date", "patient=p3&code=c3&_sort=-date&_count=5", "patient=p4&category=laboratory&_sort=-date", "patient=p4&_sort=-date",
		"device=Device/d1&_sort=-date", "_sort=-date", "_sort=-_lastUpdated", "_sort=_id", "identifier=urn:n|77", "_id=o5", "code=c4&_sort=-date",
	} {
		pairs, err := search.Pairs(query)
		if err != nil {
			t.Fatal(err)
		}
		q, _, err := search.R4().Parse("Observation", pairs, search.Options{Handling: search.Strict})
		if err != nil {
			t.Fatal(err)
		}
		plan, err := s.Explain(t.Context(), q)
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		if plan.Found == 0 || plan.Order != "index" || slices.Contains(plan.Indexes, "all documents") || plan.Read > 2*(plan.Found+1) {
			t.Errorf("%s: the plan is %+v", query, plan)
		}
	}
}
