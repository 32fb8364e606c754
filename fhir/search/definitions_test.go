package search

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir/fhirtest"
)

func TestParamsAgreeWithTheDefinitionsOfR4(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(fhirtest.Shared(t), "fhir", "r4", "search-parameters.json"))
	if err != nil {
		t.Fatal(err)
	}
	var bundle struct {
		Entry []struct {
			Resource struct {
				URL, Code, Type, Expression string
				Base, Target                []string
			}
		}
	}
	if err := json.Unmarshal(raw, &bundle); err != nil {
		t.Fatal(err)
	}
	for _, name := range Types() {
		for _, p := range Params(name) {
			found := false
			for _, e := range bundle.Entry {
				d := e.Resource
				if d.URL != p.Definition {
					continue
				}
				found = true
				if d.Code != p.Name || d.Type != string(p.Type) || !slices.Contains(d.Base, name) && !slices.Contains(d.Base, "Resource") {
					t.Errorf("%s.%s: the definition is about %s of type %s", name, p.Name, d.Code, d.Type)
				}
				all := strings.Split(d.Expression, " | ")
				for part := range strings.SplitSeq(p.Expression, " | ") {
					if !slices.Contains(all, part) {
						t.Errorf("%s.%s: the definition does not have %s", name, p.Name, part)
					}
				}
				// Observation.patient is subject where it is a Patient: the Group of the definition cannot occur.
				for _, target := range p.Targets {
					if !slices.Contains(d.Target, target) {
						t.Errorf("%s.%s: the definition does not point at %s", name, p.Name, target)
					}
				}
				if len(p.Targets) != len(d.Target) && p.Name != "patient" {
					t.Errorf("%s.%s points at %v, want %v", name, p.Name, p.Targets, d.Target)
				}
			}
			if !found {
				t.Errorf("%s.%s: there is no definition %s", name, p.Name, p.Definition)
			}
		}
	}
}

func TestEveryOfficialExampleGivesTerms(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(fhirtest.Shared(t), "fhir", "r4", "examples", "*", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var r struct{ ResourceType string }
		if err := json.Unmarshal(raw, &r); err != nil || !slices.Contains(Types(), r.ResourceType) {
			continue
		}
		n++
		found, err := Extract(r.ResourceType, raw)
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
		if len(found.Tokens) == 0 {
			t.Errorf("%s: no tokens", filepath.Base(file))
		}
	}
	t.Logf("%d examples", n)
	if n == 0 {
		t.Error("there are no examples")
	}
}
