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
	"github.com/kiln-health/kiln/store/mongo/layout"
	"github.com/kiln-health/kiln/store/storetest"
)

// deployment is a connection string of a database of its own in the deployment that
// KILN_TEST_MONGODB_URI names. The database is dropped when the test ends.
func deployment(t testing.TB) string {
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

func opened(t testing.TB, uri string) *Store {
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
	uri := deployment(t)
	servers := []*Store{without(opened(t, uri)), without(opened(t, uri))}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			if err := servers[1].recover(t.Context(), 0); err != nil {
				t.Error(err)
			}
			_ = pauseFor(ctx, time.Duration(n%8)*5*time.Millisecond) // or nobody would get anywhere
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

// charted is a store with readings of 5 patients by 7 devices, of 10 codes in 2 categories, one a minute.
func charted(t *testing.T) *Store {
	s := opened(t, deployment(t))
	var changes []store.Change
	put := func(of, id, json string) {
		changes = append(changes, store.Change{Key: fhir.Key{Type: of, ID: id}, JSON: []byte(json)})
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 10_000 {
		put("Observation", fmt.Sprint("o", i), fmt.Sprintf(`{"resourceType":"Observation","identifier":[{"system":"urn:n","value":"%d"}],"status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"%s"}]}],`+
			`"code":{"coding":[{"system":"http://loinc.org","code":"c%d"}]},"subject":{"reference":"Patient/p%d"},"device":{"reference":"Device/d%d"},"effectiveDateTime":"%s","valueQuantity":{"value":%d}}`,
			i, []string{"vital-signs", "laboratory"}[i/3%2], i/5%10, i%5, i%7, at.Add(time.Duration(i)*time.Minute).Format(time.RFC3339), i))
	}
	for i := range 5 {
		put("Patient", fmt.Sprint("p", i), fmt.Sprintf(`{"resourceType":"Patient","identifier":[{"system":"urn:p","value":"%d"}],"name":[{"family":"f%d"}]}`, i, i))
	}
	for i := range 7 {
		put("Device", fmt.Sprint("d", i), fmt.Sprintf(`{"resourceType":"Device","identifier":[{"system":"urn:d","value":"%d"}],"patient":{"reference":"Patient/p%d"}}`, i, i))
	}
	if _, err := s.Write(t.Context(), changes...); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestDeploymentAnswersHotQueriesFromAnIndex asks MongoDB how it answers: by scans of the index that
// is meant, merged where there are several, without sorting, and with few more documents than it
// gives. The second page is asked for, too, where there is one.
func TestDeploymentAnswersHotQueriesFromAnIndex(t *testing.T) {
	t.Parallel()
	s := charted(t)
	for _, test := range []struct{ query, index string }{
		{"Observation?patient=p3&code=http://loinc.org|c3&_sort=-date", "pt_k_d0"},
		{"Observation?patient=p3&code=http://loinc.org|c3&_sort=-date&_count=5", "pt_k_d0"},
		{"Observation?patient=p3&code=http://loinc.org|c3&date=ge2026-01-02T06:00:00Z&date=lt2026-01-06&_sort=-date&_count=5", "pt_k_d0"},
		{"Observation?patient=p3&code=c3&_sort=-date&_count=1", "pt_k_d0"},
		{"Observation?patient=p3&code=c3,c4,c5&_sort=-date&_count=5", "pt_k_d0"},
		{"Observation?patient=p3,p4&code=c3,c4&_sort=-date&_count=5", "pt_k_d0"},
		{"Observation?subject=Patient/p3&code=c3&_sort=-date&_count=5", "pt_k_d0"},
		{"Observation?patient=p4&category=laboratory&_sort=-date&_count=5", "pt_k_d0"},
		{"Observation?patient=p4&category=laboratory&date=ge2026-01-02T06:00:00Z&_sort=-date&_count=5", "pt_k_d0"},
		{"Observation?patient=p4&_sort=-date&_count=5", "pt_d0"},
		{"Observation?patient=p4&date=ge2026-01-02T06:00:00Z&_sort=-date&_count=5", "pt_d0"},
		{"Observation?device=Device/d1&_sort=-date&_count=5", "t_d0"},
		{"Observation?device=Device/d1&date=ge2026-01-02T06:00:00Z&date=lt2026-01-06&_sort=-date&_count=5", "t_d0"},
		{"Observation?identifier=urn:n|77", "t_d0"},
		{"Observation?code=c4&_sort=-date&_count=5", "k_d0"},
		{"Observation?code=c4&date=ge2026-01-02T06:00:00Z&_sort=-date&_count=5", "k_d0"},
		{"Observation?_sort=-date&_count=5", "d0"},
		{"Observation?date=ge2026-01-02T06:00:00Z&_sort=-date&_count=5", "d0"},
		{"Observation?_sort=-_lastUpdated&_count=5", "lu"},
		{"Observation?_sort=_id&_count=5", "_id_"},
		{"Observation?patient.identifier=urn:p|3&code=c3&_sort=-date&_count=5", "pt_k_d0"},
		{"Observation?device.identifier=urn:d|3&_sort=-date&_count=5", "t_d0"},
		{"Patient?identifier=urn:p|3", "t"},
		{"Device?patient=p3", "pt"},
	} {
		q := parsed(t, test.query)
		for page := 1; page <= 2; page++ {
			plan, err := s.Explain(t.Context(), q)
			if err != nil {
				t.Errorf("%s: %v", test.query, err)
				break
			}
			used := slices.DeleteFunc(slices.Clone(plan.Indexes), func(name string) bool { return name == "l_d0" }) // of the few whose date is long
			if plan.Found == 0 || plan.Order != "index" || !slices.Equal(used, []string{test.index}) || plan.Read > 2*(plan.Found+1) || plan.Keys > 2*(plan.Found+1)+plan.Ranges {
				t.Errorf("%s: the plan of page %d is %+v", test.query, page, plan)
			}
			found, err := s.Search(t.Context(), q)
			if err != nil || len(found.Resources) != plan.Found {
				t.Errorf("%s: page %d has %d resources, its plan %d: %v", test.query, page, len(found.Resources), plan.Found, err)
			}
			if q.After = found.Next; q.After == nil {
				break
			}
		}
	}
	// One by its id needs no order.
	plan, err := s.Explain(t.Context(), parsed(t, "Observation?_id=o5"))
	if err != nil || plan.Found != 1 || plan.Read != 1 || plan.Keys != 1 || !slices.Equal(plan.Indexes, []string{"_id_"}) {
		t.Errorf("_id=o5: the plan is %+v, %v", plan, err)
	}
}

// parsed is a query of a type.
func parsed(t *testing.T, text string) search.Query {
	t.Helper()
	of, rest, _ := strings.Cut(text, "?")
	pairs, err := search.Pairs(rest)
	if err != nil {
		t.Fatal(err)
	}
	q, _, err := search.R4().Parse(of, pairs, search.Options{Handling: search.Strict})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// TestDeploymentCountsFromAnIndex asks MongoDB how it counts: from keys alone, with no document read.
func TestDeploymentCountsFromAnIndex(t *testing.T) {
	t.Parallel()
	s := charted(t)
	for _, test := range []struct {
		query, index string
		count        int
	}{
		{"Observation?patient=p4", "pt_d0", 2000},
		{"Observation?patient=p4&code=c3", "pt_k_d0", 200},
		{"Observation?device=Device/d1", "t_d0", 1429},
		{"Observation?code=c4", "k_d0", 1000},
	} {
		q := parsed(t, test.query)
		f, err := layout.Translate(q)
		if err != nil {
			t.Fatal(err)
		}
		count := bson.D{{Key: "aggregate", Value: q.Type}, {Key: "cursor", Value: bson.D{}}, {Key: "hint", Value: f.Hint}, {Key: "pipeline", Value: bson.A{
			bson.D{{Key: "$match", Value: f.Filter}}, bson.D{{Key: "$group", Value: bson.D{{Key: "_id", Value: 1}, {Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}}}}}}}}
		doc, err := s.db.RunCommand(t.Context(), bson.D{{Key: "explain", Value: count}, {Key: "verbosity", Value: "executionStats"}}).Raw()
		if err != nil {
			t.Fatal(err)
		}
		for _, wrong := range []string{`"COLLSCAN"`, `"FETCH"`, `"SORT"`} {
			if strings.Contains(doc.String(), wrong) {
				t.Errorf("%s: it has a stage %s: %s", test.query, wrong, doc)
			}
		}
		if !strings.Contains(doc.String(), `"indexName": "`+test.index+`"`) {
			t.Errorf("%s: it does not read %s: %s", test.query, test.index, doc)
		}
		q.Count = 0
		page, err := s.Search(t.Context(), q)
		if err != nil || page.Total != test.count {
			t.Errorf("%s: counted %d, %v: want %d", test.query, page.Total, err, test.count)
		}
	}
}
