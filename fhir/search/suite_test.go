package search

import (
	"bufio"
	"compress/bzip2"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
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

// suiteMisses says why a case of the suite is not run.
func suiteMisses(resourceType string, pairs []Pair) string {
	if !slices.Contains(Types(), resourceType) {
		return resourceType + " is not searched"
	}
	for _, p := range pairs {
		if p.Name == "_tag" { // keeps the fixtures of one file apart, which we do anyway
			continue
		}
		name, modifier, _ := strings.Cut(p.Name, ":")
		r, ok := lookup(resourceType, name)
		if !ok {
			return resourceType + " has no " + name
		}
		if modifier != "" && !slices.Contains(modifiers(r), modifier) {
			return name + " has no :" + modifier
		}
	}
	return ""
}

func TestSearchCasesOfTheSuite(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(fhirtest.Shared(t), "suites", "search-cases", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no search cases: %v", err)
	}
	run, skipped, reasons := 0, 0, map[string]int{}
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
			if why := suiteMisses(s.ResourceType, pairs); why != "" {
				skipped++
				reasons[why]++
				continue
			}
			run++
			if got, want := suiteFinds(t, s, pairs), suiteExpects(t, s, c.Expected); !slices.Equal(got, want) {
				t.Errorf("%s: %s finds %v, want %v", filepath.Base(file), query, got, want)
			}
		}
	}
	t.Logf("%d cases run, %d skipped: %v", run, skipped, reasons)
	if run < 100 {
		t.Errorf("only %d cases were run", run)
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
	q, _, err := Parse(s.ResourceType, pairs, Options{Now: now})
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
	run, skipped := 0, 0
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
		if suiteMisses(field[0], pairs) != "" {
			skipped++
			continue
		}
		run++
		q, _, err := Parse(field[0], pairs, Options{Handling: Strict, Now: now})
		if err != nil {
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
	t.Logf("%d totals compared over %d resources, %d skipped", run, len(resources), skipped)
	if run == 0 {
		t.Error("no total was compared")
	}
}

type synthetic struct {
	fhir.Key
	Terms
}

// synthea are the resources of the types that are searched, from all Bundles.
func synthea(t *testing.T, dir string) []synthetic {
	files, err := filepath.Glob(filepath.Join(dir, "*.json.bz2"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no Bundles: %v", err)
	}
	var all []synthetic
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		var bundle struct {
			Entry []struct{ Resource json.RawMessage }
		}
		err = json.NewDecoder(bzip2.NewReader(file)).Decode(&bundle)
		file.Close()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i, e := range bundle.Entry {
			resourceType, id, compact, err := fhir.Parse(e.Resource)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !slices.Contains(Types(), resourceType) {
				continue
			}
			found, err := Extract(resourceType, compact)
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
