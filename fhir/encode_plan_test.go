package fhir

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	bcrpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/bundle_and_contained_resource_go_proto"

	"github.com/kiln-health/kiln/fhir/fhirtest"
)

// definedElements reads the elements of every type of R4 from its StructureDefinition:
// "Observation.component" -> id, extension, …, value[x] as valueQuantity, valueString, …
func definedElements(t *testing.T) map[string][]string {
	t.Helper()
	dir := filepath.Join(fhirtest.Shared(t), "fhir", "r4")
	elements := map[string][]string{}
	for _, file := range []string{"profiles-types.json", "profiles-resources.json"} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		var bundle struct {
			Entry []struct {
				Resource struct {
					ResourceType, Kind, Derivation, Type string
					Snapshot                             struct {
						Element []struct {
							Path string
							Type []struct{ Code string }
						}
					}
				}
			}
		}
		if err := json.Unmarshal(b, &bundle); err != nil {
			t.Fatal(err)
		}
		for _, entry := range bundle.Entry {
			d := entry.Resource
			if d.ResourceType != "StructureDefinition" || d.Derivation == "constraint" {
				continue
			}
			for _, e := range d.Snapshot.Element {
				dot := strings.LastIndexByte(e.Path, '.')
				if dot < 0 {
					continue
				}
				parent, name := e.Path[:dot], e.Path[dot+1:]
				if stem, ok := strings.CutSuffix(name, "[x]"); ok {
					for _, typ := range e.Type {
						elements[parent] = append(elements[parent], stem+strings.ToUpper(typ.Code[:1])+typ.Code[1:])
					}
					continue
				}
				elements[parent] = append(elements[parent], name)
			}
		}
	}
	return elements
}

func TestPlansHaveTheElementsOfEveryDefinitionInItsOrder(t *testing.T) {
	defined := definedElements(t)
	seen := map[*plan]bool{}
	var check func(path string, p *plan)
	check = func(path string, p *plan) {
		if p.shape != objectShape || seen[p] {
			return
		}
		seen[p] = true
		if defined[path] == nil { // an element with a data type of its own
			path = p.name
		}
		want := defined[path]
		switch p.name {
		case "Extension":
			// google/fhir's proto lacks it.
			want = slices.DeleteFunc(slices.Clone(want), func(s string) bool { return s == "valueMeta" })
		case "SimpleQuantity":
			// A profile of Quantity that has a proto of its own.
			want = slices.DeleteFunc(slices.Clone(defined["Quantity"]), func(s string) bool { return s == "comparator" })
		case "MoneyQuantity":
			want = defined["Quantity"]
		}
		var got []string
		for _, m := range p.members {
			if m.plan.shape != choiceShape {
				got = append(got, m.path)
				continue
			}
			// Alternatives need no order, as only one of them is ever written.
			names := make([]string, 0, len(m.chosen))
			for _, a := range m.chosen {
				names = append(names, a.path)
				check(path+"."+m.path, a.plan)
			}
			slices.SortFunc(names, func(a, b string) int { return slices.Index(want, a) - slices.Index(want, b) })
			got = append(got, names...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s\n got %s\nwant %s", path, got, want)
		}
		for _, m := range p.members {
			check(path+"."+m.path, m.plan)
		}
	}
	wrapper, err := planOf(reflect.TypeFor[*bcrpb.ContainedResource]())
	if err != nil {
		t.Fatal(err)
	}
	for _, resource := range wrapper.chosen {
		check(resource.plan.name, resource.plan)
	}
	if len(wrapper.chosen) < 140 || len(seen) < 600 {
		t.Errorf("only %d resources with %d types were compared", len(wrapper.chosen), len(seen))
	}
	t.Logf("%d resources with %d types compared", len(wrapper.chosen), len(seen))
}
