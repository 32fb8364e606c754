package validate

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
)

// structureApart are the examples of the package hl7.fhir.r4.examples on whose structure
// jsonformat judges in another way, and the section that settles it.
var structureApart = map[string]string{
	"Bundle-valueset-expansions.json":            "a URI has no bar: http://hl7.org/fhir/R4/datatypes.html#uri, RFC 3986",
	"Library-zika-virus-intervention-logic.json": "urn:oid:X.Y.Z is no OID, and a canonical is a URI: http://hl7.org/fhir/R4/datatypes.html#canonical, RFC 3061",
}

// broken are the examples that break rules of R4: the keys, and the section that says so.
var broken = map[string][2]string{
	"ActivityDefinition-blood-tubes-supply.json":        {"txt-2", "http://hl7.org/fhir/R4/narrative.html#xhtml"},
	"ActivityDefinition-heart-valve-replacement.json":   {"txt-2", "http://hl7.org/fhir/R4/narrative.html#xhtml"},
	"EventDefinition-example.json":                      {"txt-2", "http://hl7.org/fhir/R4/narrative.html#xhtml"},
	"Questionnaire-zika-virus-exposure-assessment.json": {"txt-2", "http://hl7.org/fhir/R4/narrative.html#xhtml"},
	"Bundle-dataelements.json":                          {"bdl-7", "entries have the same fullUrl, and no version tells them apart: http://hl7.org/fhir/R4/bundle.html#invs"},
	"StructureDefinition-Definition.json":               {"sdf-4", "it is not abstract and has no baseDefinition: http://hl7.org/fhir/R4/structuredefinition.html#invs"},
	"StructureDefinition-Event.json":                    {"sdf-4", "it is not abstract and has no baseDefinition: http://hl7.org/fhir/R4/structuredefinition.html#invs"},
	"StructureDefinition-FiveWs.json":                   {"sdf-4", "it is not abstract and has no baseDefinition: http://hl7.org/fhir/R4/structuredefinition.html#invs"},
	"StructureDefinition-Request.json":                  {"sdf-4", "it is not abstract and has no baseDefinition: http://hl7.org/fhir/R4/structuredefinition.html#invs"},
}

// packaged are the examples of the package hl7.fhir.r4.examples@4.0.1.
func packaged(t *testing.T) []string {
	t.Helper()
	dir := os.Getenv("KILN_FHIR_EXAMPLES")
	if dir == "" {
		t.Skip("no examples: set KILN_FHIR_EXAMPLES to the folder package of `npm pack hl7.fhir.r4.examples@4.0.1`, unpacked")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*-*.json"))
	if err != nil || len(files) < 5306 {
		t.Fatalf("%s has %d examples, want 5306 (%v)", dir, len(files), err)
	}
	return files
}

// onEach calls f for each file, on all processors.
func onEach(t *testing.T, files []string, f func(file string, body []byte)) {
	t.Helper()
	next := make(chan string)
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for name := range next {
				body, err := os.ReadFile(name)
				if err != nil {
					t.Error(err)
					continue
				}
				f(filepath.Base(name), body)
			}
		})
	}
	for _, name := range files {
		next <- name
	}
	close(next)
	all.Wait()
}

func TestTheStructureOfAllOfficialExamplesIsJudgedAsGoogleDoes(t *testing.T) {
	files := packaged(t)
	u := google(t)
	onEach(t, files, func(file string, body []byte) {
		r := Resource(body, &Options{Level: Structure})
		_, err := u.Unmarshal(body)
		if agree := (err == nil) == r.Valid(); agree == (structureApart[file] != "") {
			t.Errorf("%s: google says %.300v, we say %.300v", file, err, r.Issues())
		}
	})
}

func TestAllOfficialExamplesKeepTheRulesOrTheirFaultIsKnown(t *testing.T) {
	files := packaged(t)
	onEach(t, files, func(file string, body []byte) {
		var keys []string
		for _, f := range Resource(body, &Options{Level: Invariants, MaxIssues: 10_000}).Found {
			if f.Code == fhir.CodeInvariant && f.Severity == fhir.SevError {
				key, _, _ := strings.Cut(f.Message, ":")
				if len(keys) == 0 || keys[len(keys)-1] != key {
					keys = append(keys, key)
				}
			}
		}
		if got := strings.Join(keys, " "); got != broken[file][0] {
			t.Errorf("%s breaks %q, want %q", file, got, broken[file][0])
		}
	})
}

// What is in Go and what its expression says is the same for every value of every example.
func TestInvariantsInGoJudgeAllOfficialExamplesAsTheirExpressionsDo(t *testing.T) {
	fhirtest.Long(t)
	files := packaged(t)
	var mu sync.Mutex
	told := map[string]bool{}
	pool := sync.Pool{New: func() any { return compareTwice() }}
	onEach(t, files, func(file string, body []byte) {
		if len(body) > 512<<10 {
			return // Bundles of the definitions, which are also there one by one
		}
		c := pool.Get().(*twice)
		defer pool.Put(c)
		c.judge(body, &Options{Level: Invariants, Recommended: Tell})
		mu.Lock()
		defer mu.Unlock()
		for key, where := range c.apart {
			if apart[key] == "" && !told[key] {
				told[key] = true
				t.Errorf("%s: %s: %s", file, key, where)
			}
		}
	})
}
