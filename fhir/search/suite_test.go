package search

import (
	"bufio"
	"compress/bzip2"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
)

// searchCases is a file of the suite: fixtures, and which of them each query finds.
type searchCases struct {
	ResourceType, QueryTemplate string
	Fixtures                    []json.RawMessage
	Cases                       []struct {
		Value, Modifier, Query string
		Expected               []any // indexes or ids of fixtures
	}
}

func TestSearchCasesOfTheSuite(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(fhirtest.Shared(t), "suites", "search-cases", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no search cases: %v", err)
	}
	run := 0
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var s searchCases
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatal(err)
		}
		for _, c := range s.Cases {
			query := strings.NewReplacer("{value:urlencoded}", url.QueryEscape(c.Value), "{value}", text(c.Value),
				"{modifier}", c.Modifier, "{query}", text(c.Query)).Replace(s.QueryTemplate)
			pairs, err := Pairs(query)
			if err != nil {
				t.Fatal(err)
			}
			run++
			if got, want := suiteFinds(t, s, pairs), suiteExpects(t, s, c.Expected); !slices.Equal(got, want) {
				t.Errorf("%s: %s finds %v, want %v", filepath.Base(file), query, got, want)
			}
		}
	}
	if run != 202 {
		t.Errorf("%d cases were run, want 202", run)
	}
}

func suiteExpects(t *testing.T, s searchCases, expected []any) []string {
	ids := []string{}
	for _, e := range expected {
		switch e := e.(type) {
		case float64:
			key, _ := terms(t, string(s.Fixtures[int(e)]))
			ids = append(ids, key.ID)
		case string:
			ids = append(ids, e)
		}
	}
	slices.Sort(ids)
	return ids
}

func suiteFinds(t *testing.T, s searchCases, pairs []Pair) []string {
	q, _, err := R4().Parse(s.ResourceType, pairs, Options{Handling: Strict, Now: now})
	if err != nil {
		t.Errorf("%v: %v", pairs, err)
		return nil
	}
	ids := []string{}
	for _, f := range s.Fixtures {
		key, terms := terms(t, string(f))
		if q.Matches(key, now, &terms) {
			ids = append(ids, key.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// TestSyntheaTotals counts matches in the data set with which another server is tested in
// CI. Its times carry offsets, and its totals take a date without one as UTC.
func TestSyntheaTotals(t *testing.T) {
	dir := filepath.Join(fhirtest.Shared(t), "suites", "synthea")
	fhirtest.Long(t)
	resources := synthea(t, dir)
	file, err := os.Open(filepath.Join(dir, "totals.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	run := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		field := strings.Split(lines.Text(), "\t")
		if len(field) != 4 {
			t.Fatalf("%d fields in a line of totals.tsv", len(field))
		}
		want, err := strconv.Atoi(field[3])
		if err != nil { // the header
			continue
		}
		pairs, err := Pairs(text(field[1]))
		if err != nil {
			t.Fatal(err)
		}
		run++
		q, _, err := R4().Parse(field[0], pairs, Options{Handling: Strict, Now: now})
		if err != nil {
			t.Errorf("%s?%s: %v", field[0], field[1], err)
			continue
		}
		if q, err = q.Resolve(resources.run); err != nil {
			t.Errorf("%s?%s: %v", field[0], field[1], err)
			continue
		}
		got := 0
		for i := range resources {
			if r := &resources[i]; q.Matches(r.Key, now, &r.Terms) {
				got++
			}
		}
		if got != want {
			t.Errorf("%s?%.60s finds %d, want %d", field[0], field[1], got, want)
		}
	}
	t.Logf("%d totals compared over %d resources", run, len(resources))
	if run == 0 {
		t.Error("no total was compared")
	}
}

type synthetic struct {
	fhir.Key
	Terms
}

var within = regexp.MustCompile(`urn:uuid:[0-9a-f-]{36}`)

// synthea are the resources of the types that are searched, from all Bundles.
func synthea(t *testing.T, dir string) shelf {
	files, err := filepath.Glob(filepath.Join(dir, "*.json.bz2"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no Bundles: %v", err)
	}
	var all shelf
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		var bundle struct {
			Entry []struct {
				FullURL  string
				Resource json.RawMessage
			}
		}
		err = json.NewDecoder(bzip2.NewReader(file)).Decode(&bundle)
		file.Close()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// As a server does, references within the Bundle become those of its resources.
		written := map[string]string{}
		for _, e := range bundle.Entry {
			var r struct{ ResourceType, ID string }
			if err := json.Unmarshal(e.Resource, &r); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			written[e.FullURL] = r.ResourceType + "/" + r.ID
		}
		for i, e := range bundle.Entry {
			raw := within.ReplaceAllFunc(e.Resource, func(url []byte) []byte {
				if to := written[string(url)]; to != "" {
					return []byte(to)
				}
				return url
			})
			resourceType, id, compact, err := fhir.Parse(raw)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			found, err := R4().Extract(resourceType, compact)
			if err != nil {
				t.Fatal(err)
			}
			if id == "" {
				id = fmt.Sprint(i)
			}
			all = append(all, synthetic{fhir.Key{Type: resourceType, ID: id}, found})
		}
	}
	return all
}
