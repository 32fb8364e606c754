package search

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir"
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
	for _, name := range R4().Types() {
		for _, p := range R4().Of(name) {
			found := false
			for _, e := range bundle.Entry {
				d := e.Resource
				if d.URL != p.Definition {
					continue
				}
				found = true
				if d.Code != p.Name || d.Type != string(p.Type) || !slices.Contains(d.Base, name) && !slices.Contains(d.Base, "Resource") && !slices.Contains(d.Base, "DomainResource") {
					t.Errorf("%s.%s: the definition is about %s of type %s", name, p.Name, d.Code, d.Type)
				}
				if e, ok := errata[p.Definition]; ok && p.Expression == e.expression {
					continue
				}
				if d.Expression != p.Expression && p.Name != "code-value-date" {
					t.Errorf("%s.%s: the expression is not that of the definition", name, p.Name)
				}
				for _, target := range p.Targets {
					if !slices.Contains(d.Target, target) && len(d.Target) > 0 {
						t.Errorf("%s.%s: the definition does not point at %s", name, p.Name, target)
					}
				}
			}
			if ours := strings.HasPrefix(p.Definition, fhir.Namespace); !found && !ours {
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
	n, with := 0, 0
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var r struct{ ResourceType string }
		if err := json.Unmarshal(raw, &r); err != nil || !slices.Contains(R4().Types(), r.ResourceType) {
			continue
		}
		n++
		found, err := R4().Extract(r.ResourceType, raw)
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
		if len(found.Tokens)+len(found.References)+len(found.Strings) > 0 {
			with++
		}
	}
	t.Logf("%d examples, %d with terms", n, with)
	if n == 0 || with < n*9/10 {
		t.Errorf("%d of %d examples have terms", with, n)
	}
}
