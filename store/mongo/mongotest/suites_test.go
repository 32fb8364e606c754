package mongotest_test

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/fhir/rest"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/embedded"
	"github.com/kiln-health/kiln/store/mongo/mongotest"
)

// served is the FHIR API on a store. Ids and times are the same on every store.
func served(s store.Store) http.Handler {
	n := atomic.Int64{}
	return rest.New(s, rest.Options{
		Validation: rest.ValidateNothing, Timeout: 5 * time.Minute, MaxBody: 256 << 20,
		Now:   func() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) },
		NewID: func() string { return fmt.Sprint("id-", n.Add(1)) },
	})
}

// apis are the API on all MongoDBs and on the embedded store.
func apis(t *testing.T) map[string]http.Handler {
	all := map[string]http.Handler{}
	for name, start := range everywhere() {
		all[name] = served(closed(t, openStore(t, uriOf(start(t), "kiln", "server"))))
	}
	s, err := embedded.Open("store", &embedded.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	all["embedded"] = served(s)
	return all
}

func send(h http.Handler, method, target, contentType, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Prefer", "handling=strict, return=minimal")
	if body != "" {
		r.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const (
	jsonType = "application/fhir+json"
	formType = "application/x-www-form-urlencoded"
)

type bundle struct {
	Total *int
	Link  []struct{ Relation, URL string }
	Entry []struct {
		Resource struct{ ResourceType, ID string }
		Search   struct{ Mode string }
	}
}

// find is the answer to a search: the ids of the matches, and the total if it is told.
func find(t *testing.T, h http.Handler, of, query string) (ids []string, total int, next string) {
	t.Helper()
	w := send(h, "POST", "/fhir/"+of+"/_search", formType, query)
	return answered(t, w, of+"?"+query)
}

func answered(t *testing.T, w *httptest.ResponseRecorder, what string) (ids []string, total int, next string) {
	t.Helper()
	var b bundle
	if err := json.Unmarshal(w.Body.Bytes(), &b); err != nil || w.Code != 200 {
		t.Fatalf("%.200s: %d %v %.500s", what, w.Code, err, w.Body)
	}
	for _, e := range b.Entry {
		if e.Search.Mode == "match" {
			ids = append(ids, e.Resource.ID)
		}
	}
	for _, l := range b.Link {
		if l.Relation == "next" {
			next = l.URL
		}
	}
	if total = -1; b.Total != nil {
		total = *b.Total
	}
	return ids, total, next
}

// escaped is a query whose characters that a URL cannot have are percent-encoded.
func escaped(query string) string {
	var b strings.Builder
	for _, c := range []byte(query) {
		if c <= ' ' || c > '~' || strings.IndexByte(`"<>\^{}`+"`", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

func TestSearchCasesOfTheSuiteOnMongoDB(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(fhirtest.Shared(t), "suites", "search-cases", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no search cases: %v", err)
	}
	for mode, start := range everywhere() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			server := start(t)
			run := 0
			for _, file := range files {
				raw, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				var suite struct {
					ResourceType, QueryTemplate string
					Fixtures                    []json.RawMessage
					Cases                       []struct {
						Value, Modifier, Query string
						Expected               []any // indexes or ids of fixtures
					}
				}
				if err := json.Unmarshal(raw, &suite); err != nil {
					t.Fatal(err)
				}
				h := served(closed(t, openStore(t, uriOf(server, mongotest.Database(), "server"))))
				var ids []string
				for _, f := range suite.Fixtures {
					var r struct{ ResourceType, ID string }
					if err := json.Unmarshal(f, &r); err != nil {
						t.Fatal(err)
					}
					ids = append(ids, r.ID)
					if w := send(h, "PUT", "/fhir/"+r.ResourceType+"/"+r.ID, jsonType, string(f)); w.Code >= 300 {
						t.Fatalf("%d %s", w.Code, w.Body)
					}
				}
				for _, c := range suite.Cases {
					run++
					query := strings.NewReplacer("{value:urlencoded}", url.QueryEscape(c.Value), "{value}", escaped(c.Value),
						"{modifier}", c.Modifier, "{query}", escaped(c.Query)).Replace(suite.QueryTemplate)
					var want []string
					for _, e := range c.Expected {
						if n, ok := e.(float64); ok {
							e = ids[int(n)]
						}
						want = append(want, fmt.Sprint(e))
					}
					got, _, _ := answered(t, send(h, "GET", "/fhir/"+suite.ResourceType+"?"+query, "", ""), query)
					slices.Sort(want)
					slices.Sort(got)
					if !slices.Equal(got, want) {
						t.Errorf("%s: %s finds %v, want %v", filepath.Base(file), query, got, want)
					}
				}
			}
			if run != 202 {
				t.Errorf("%d cases were run, want 202", run)
			}
		})
	}
}

// TestSyntheaIsTheSameOnEveryStore loads Bundles as transactions into every store and compares the
// answers, the pages that follow among them: a sample, or all of them with KILN_LONG, when the
// totals of the suite are compared, too.
func TestSyntheaIsTheSameOnEveryStore(t *testing.T) {
	dir := filepath.Join(fhirtest.Shared(t), "suites", "synthea")
	fhirtest.Long(t)
	files, err := filepath.Glob(filepath.Join(dir, "*.json.bz2"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no Bundles: %v", err)
	}
	long := os.Getenv("KILN_LONG") != ""
	bodies := sample(t, files, long)
	stores := apis(t)
	for name, h := range stores {
		begin, made := time.Now(), 0
		for _, body := range bodies {
			w := send(h, "POST", "/fhir", jsonType, string(body))
			if w.Code != 200 {
				t.Fatalf("%s: %d %.1000s", name, w.Code, w.Body)
			}
			made += bytes.Count(w.Body.Bytes(), []byte(`"status":"201`))
		}
		t.Logf("%s: %d resources in %v", name, made, time.Since(begin).Round(time.Millisecond))
	}
	totals, err := os.Open(filepath.Join(dir, "totals.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer totals.Close()
	run := 0
	for lines := bufio.NewScanner(totals); lines.Scan(); {
		field := strings.Split(lines.Text(), "\t")
		if field[0] == "type" {
			continue
		}
		run++
		for _, sort := range []string{field[2], "_lastUpdated", "-date", "_id"} {
			if sort == "-date" && field[0] != "Observation" {
				continue
			}
			query := escaped(field[1])
			if sort != "" {
				query += "&_sort=" + sort
			}
			same(t, stores, field[0], query+"&_total=accurate&_count=10", field[3], long)
		}
	}
	for _, q := range []string{"Observation?subject:Patient.gender=female&code=8867-4", "Patient?_has:Observation:patient:code=http://loinc.org|8302-2", "Observation?value-quantity=gt100&date=ge2010-01-01&date=lt2020-01-01&_sort=date",
		"Observation?code-value-quantity=http://loinc.org|8302-2$gt150", "Encounter?date=sa2015", "Patient?name=a&_sort=birthdate,-name", "Condition?code:text=a", "Observation?combo-code-value-quantity=8480-6$ge100"} {
		of, query, _ := strings.Cut(q, "?")
		same(t, stores, of, query+"&_total=accurate&_count=7", "", false)
	}
	if run == 0 {
		t.Error("no query was compared")
	}
}

// same compares three pages of an answer.
func same(t *testing.T, stores map[string]http.Handler, of, query, expected string, all bool) {
	t.Helper()
	want := ""
	for _, name := range append([]string{"embedded"}, slices.DeleteFunc(slices.Sorted(maps.Keys(stores)), func(name string) bool { return name == "embedded" })...) {
		ids, total, next := find(t, stores[name], of, query)
		got := fmt.Sprint(total, ids)
		for range 2 {
			if next == "" {
				break
			}
			ids, _, next = answered(t, send(stores[name], "GET", next, "", ""), next)
			got += fmt.Sprint(ids)
		}
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("%s: %s?%.200s: got %s, embedded %s", name, of, query, got, want)
		}
		if all && fmt.Sprint(total) != expected {
			t.Errorf("%s: %s?%.200s: a total of %d, want %s", name, of, query, total, expected)
		}
	}
}

// sample are Bundles: those of hospitals and practitioners first, which others refer to, and then
// all, or some small ones.
func sample(t *testing.T, files []string, all bool) [][]byte {
	t.Helper()
	first := func(file string) bool {
		name := strings.ToLower(filepath.Base(file))
		return strings.Contains(name, "hospital") || strings.Contains(name, "practitioner")
	}
	size := func(file string) int {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if first(file) {
			return 0
		}
		return int(info.Size())
	}
	slices.SortStableFunc(files, func(a, b string) int { return size(a) - size(b) })
	slices.SortStableFunc(files, func(a, b string) int {
		switch {
		case first(a) == first(b):
			return 0
		case first(a):
			return -1
		}
		return 1
	})
	var bodies [][]byte
	patients := 0
	for _, name := range files {
		if !first(name) {
			if patients++; patients > 5 && !all {
				break
			}
		}
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(bzip2.NewReader(file))
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	return bodies
}
