package rest_test

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/fhir/rest"
)

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

func TestSearchCasesOfTheSuiteOverHTTP(t *testing.T) {
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
		var suite struct {
			ResourceType, QueryTemplate string
			Fixtures                    []json.RawMessage
			Cases                       []struct {
				Value, Modifier, Query string
				Expected               []any // indexes or ids of fixtures
			}
		}
		decode(t, raw, &suite)
		a := with(t)
		var ids []string
		for _, f := range suite.Fixtures {
			var r struct{ ID string }
			decode(t, f, &r)
			ids = append(ids, r.ID)
			a.have(t, string(f))
		}
		for _, c := range suite.Cases {
			run++
			query := strings.NewReplacer("{value:urlencoded}", url.QueryEscape(c.Value), "{value}", escaped(c.Value),
				"{modifier}", c.Modifier, "{query}", escaped(c.Query)).Replace(suite.QueryTemplate)
			wanted := []string{}
			for _, e := range c.Expected {
				if n, ok := e.(float64); ok {
					e = ids[int(n)]
				}
				wanted = append(wanted, fmt.Sprint(e))
			}
			slices.Sort(wanted)
			got := a.send(t, "GET", "/fhir/"+suite.ResourceType+"?"+query, "", "Prefer: handling=strict").bundle(t).ids(t)
			slices.Sort(got)
			if !slices.Equal(got, wanted) {
				t.Errorf("%s: %s finds %v, want %v", filepath.Base(file), query, got, wanted)
			}
		}
	}
	if run != 202 {
		t.Errorf("%d cases were run, want 202", run)
	}
}

// The searches that US Core demands of a server, with every comparator and with alternatives.
func TestUSCoreSearches(t *testing.T) {
	file, err := os.Open(filepath.Join(fhirtest.Shared(t), "tables", "us-core-required-searches.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	a := with(t,
		`{"resourceType":"Patient","id":"p1","name":[{"family":"x"}]}`,
		observation("o1", ofSubject("Patient/p1", "")), `{"resourceType":"Provenance","id":"v1","target":[{"reference":"Observation/o1"}]}`)
	values := map[string][2]string{ // one, and one that is not alone
		"patient": {"Patient/p1", "p1,p2"}, "category": {"vital-signs", "laboratory,http://terminology.hl7.org/CodeSystem/observation-category|vital-signs"},
		"code": {"http://loinc.org|8867-4", "8867-4,http://loinc.org|8480-6"}, "status": {"final", "final,amended"}, "type": {"x", "http://snomed.info/sct|1,y"},
		"_id": {"p1", "p1,p2"}, "identifier": {"urn:x|1", "1,2"}, "name": {"x", "x,y"}, "family": {"x", "x,y"}, "gender": {"male", "male,other"},
	}
	dates := []string{"birthdate", "death-date", "date", "_lastUpdated"}
	run := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		field := strings.Split(lines.Text(), "\t")
		if len(field) < 5 || field[0] == "version" {
			continue
		}
		queries := []string{"", ""}
		for i := range queries {
			for name := range strings.SplitSeq(field[3], "+") {
				value, ok := values[name]
				if slices.Contains(dates, name) {
					value, ok = [2]string{"2024-05-01", "2024,2025-01-01T00:00:00Z"}, true
				}
				if !ok {
					t.Fatalf("this test has no value for %s", name)
				}
				queries[i] += "&" + name + "=" + value[i]
			}
		}
		for _, d := range dates {
			if strings.Contains("+"+field[3]+"+", "+"+d+"+") {
				for _, prefix := range []string{"eq", "ne", "gt", "ge", "lt", "le", "sa", "eb", "ap"} {
					queries = append(queries, strings.Replace(queries[0], d+"=", d+"="+prefix, 1))
				}
				queries = append(queries, queries[0]+"&"+d+"=ge2024&"+d+"=lt2025-01-01T00:00:00Z")
			}
		}
		for _, q := range queries {
			run++
			a.send(t, "GET", "/fhir/"+field[1]+"?"+q[1:]+"&_revinclude=Provenance:target", "", "Prefer: handling=strict").wantStatus(t, 200)
			a.send(t, "POST", "/fhir/"+field[1]+"/_search", q[1:], "Content-Type: ", form, "Prefer: handling=strict").wantStatus(t, 200)
		}
	}
	if run < 500 {
		t.Errorf("%d searches", run)
	}
	want(t, "provenance", a.find(t, "/fhir/Observation?patient=p1&_revinclude=Provenance:target"), "Observation/o1", "+Provenance/v1@1")
}

// TestSyntheaOverHTTP loads Bundles as transactions and compares totals.
func TestSyntheaOverHTTP(t *testing.T) {
	dir := filepath.Join(fhirtest.Shared(t), "suites", "synthea")
	fhirtest.Long(t)
	files, err := filepath.Glob(filepath.Join(dir, "*.json.bz2"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no Bundles: %v", err)
	}
	// Those of hospitals and practitioners come first: others refer to what is in them.
	slices.SortStableFunc(files, func(a, b string) int { return priority(a) - priority(b) })
	// They claim profiles of a US Core that is older than the one that is known here, whose
	// smoking status must be in the category social-history.
	a := newAPI(t, rest.Options{Validation: rest.ValidateInvariants, Now: time.Now, Timeout: 5 * time.Minute, MaxBody: 256 << 20})
	begin, resources := time.Now(), 0
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(bzip2.NewReader(file))
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		got := a.send(t, "POST", "/fhir", string(body), "Prefer: return=minimal")
		if got.StatusCode != 200 {
			for _, i := range got.outcome(t).Issue {
				if i.Severity == "error" || i.Severity == "fatal" {
					t.Logf("%v: %s", i.Expression, i.Details.Text)
				}
			}
			t.Fatalf("%s: %d", filepath.Base(name), got.StatusCode)
		}
		resources += bytes.Count(got.body, []byte(`"status":"201`))
	}
	t.Logf("%d resources of %d Bundles in %v", resources, len(files), time.Since(begin).Round(time.Millisecond))

	totals, err := os.Open(filepath.Join(dir, "totals.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer totals.Close()
	run := 0
	for lines := bufio.NewScanner(totals); lines.Scan(); {
		field := strings.Split(lines.Text(), "\t")
		wanted, err := strconv.Atoi(field[len(field)-1])
		if err != nil { // the header
			continue
		}
		run++
		query := escaped(field[1])
		if field[2] != "" {
			query += "&_sort=" + field[2]
		}
		begin := time.Now()
		b := a.send(t, "POST", "/fhir/"+field[0]+"/_search", query+"&_total=accurate&_count=10", "Content-Type: ", form, "Prefer: handling=strict").bundle(t)
		if *b.Total != wanted || len(b.Entry) != min(10, wanted) {
			t.Errorf("%s?%.80s: total %d, want %d; %d entries", field[0], field[1], *b.Total, wanted, len(b.Entry))
		}
		t.Logf("%s?%.60s&_sort=%s: %d in %v", field[0], field[1], field[2], *b.Total, time.Since(begin).Round(time.Millisecond))
	}
	if run == 0 {
		t.Error("no total was compared")
	}
}

func priority(file string) int {
	name := strings.ToLower(filepath.Base(file))
	switch {
	case strings.Contains(name, "hospital"):
		return 0
	case strings.Contains(name, "practitioner"):
		return 1
	}
	return 2
}
