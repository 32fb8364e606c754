package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A guide is a set of structures that is published, and decoded, as one.
type guide struct {
	table string   // the name of its table
	files []string // where it lies, as patterns of file names
}

// guides are in the order in which a structure of the same URL is found first.
var guides = []guide{
	{"r4", []string{"r4/profiles-types.json", "r4/profiles-resources.json"}},
	{"r4-profiles", []string{"r4/vital-signs-profiles.json", "r4/profiles-others.json"}},
	{"r4-extensions", []string{"r4/extension-definitions.json"}},
	{"us-core", []string{"us-core/StructureDefinition-*.json"}},
	{"phd", []string{"phd/StructureDefinition-*.json"}},
	{"pocd", []string{"pocd/resources/StructureDefinition-*.json"}},
}

// terminology says where value sets and code systems lie, besides the files of guides.
var terminology = []string{
	"r4/valuesets.json", "r4/v3-codesystems.json", "r4/v2-tables.json",
	"us-core/ValueSet-*.json", "us-core/CodeSystem-*.json",
	"phd/ValueSet-*.json", "phd/CodeSystem-*.json",
	"pocd/vocabulary/*.json",
}

// material is what was read.
type material struct {
	structures  map[string]*structure // by URL
	order       map[string][]string   // URLs by table, sorted
	sets        map[string]*valueSet
	codeSystems map[string]*codeSystem
}

type structure struct {
	ResourceType, URL, Version, Name, Type, Kind, Derivation, BaseDefinition string
	Abstract                                                                 bool
	Context                                                                  []struct{ Type, Expression string }
	Snapshot, Differential                                                   struct{ Element []*element }

	table string
	tree  *tree // the snapshot, nested
}

type element struct {
	ID, Path, SliceName string
	Min                 *int
	Max                 *string
	Base                struct{ Max string }
	Type                []typeRef
	ContentReference    string
	Binding             *binding
	Slicing             *slicing
	Constraint          []constraint
	MustSupport         *bool
	IsModifier          *bool
	IsSummary           *bool
	MaxLength           *int
	Representation      []string

	values map[string]value // fixed, pattern, minValue, maxValue
}

type value struct {
	kind string // CodeableConcept
	json string
}

type typeRef struct {
	Code                   string
	Profile, TargetProfile []string
	Extension              []struct{ URL, ValueURL, ValueString string }
}

type binding struct {
	Strength, ValueSet string
	Extension          []struct{ URL, ValueCanonical string }
}

type slicing struct {
	Discriminator []struct{ Type, Path string }
	Rules         string
	Ordered       bool
}

type constraint struct{ Key, Severity, Human, Expression, Source string }

type codeSystem struct {
	ResourceType, URL, Content, HierarchyMeaning string
	CaseSensitive                                *bool
	Concept                                      []concept
}

type concept struct {
	Code     string
	Concept  []concept
	Property []struct {
		Code, ValueCode, ValueString string
		ValueBoolean                 *bool
		ValueInteger                 *int
	}
}

type valueSet struct {
	ResourceType, URL string
	Compose           *struct{ Include, Exclude []include }
	Expansion         *struct{ Contains []contained }
}

type include struct {
	System   string
	Concept  []struct{ Code string }
	Filter   []struct{ Property, Op, Value string }
	ValueSet []string
}

type contained struct {
	System, Code string
	Contains     []contained
}

// UnmarshalJSON takes the polymorphic values apart, which have their type in their name.
func (e *element) UnmarshalJSON(b []byte) error {
	type plain element
	if err := json.Unmarshal(b, (*plain)(e)); err != nil {
		return err
	}
	e.values = map[string]value{}
	kinds := []string{"fixed", "pattern", "minValue", "maxValue"}
	if !slices.ContainsFunc(kinds, func(kind string) bool { return bytes.Contains(b, []byte(`"`+kind)) }) {
		return nil // most have none, and to look at all members takes time
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	for name, raw := range all {
		for _, kind := range kinds {
			if of, ok := strings.CutPrefix(name, kind); ok && of != "" {
				var compact bytes.Buffer
				if err := json.Compact(&compact, raw); err != nil {
					return err
				}
				e.values[kind] = value{of, compact.String()}
			}
		}
	}
	return nil
}

// load reads everything that the tables are made of.
func load(from string) (*material, error) {
	m := &material{map[string]*structure{}, map[string][]string{}, map[string]*valueSet{}, map[string]*codeSystem{}}
	for _, g := range guides {
		err := m.read(from, g.files, func(raw json.RawMessage, kind string) error {
			if kind != "StructureDefinition" {
				return nil
			}
			s := &structure{table: g.table}
			if err := json.Unmarshal(raw, s); err != nil {
				return err
			}
			if known := m.structures[s.URL]; known != nil {
				if known.table == g.table {
					return nil // the vital signs are in two of the files
				}
				return fmt.Errorf("structure %s is in two guides", s.URL)
			}
			m.structures[s.URL] = s
			m.order[g.table] = append(m.order[g.table], s.URL)
			return nil
		})
		if err != nil {
			return nil, err
		}
		slices.Sort(m.order[g.table])
	}
	err := m.read(from, terminology, func(raw json.RawMessage, kind string) error {
		switch kind {
		case "ValueSet":
			v := &valueSet{}
			if err := json.Unmarshal(raw, v); err != nil {
				return err
			}
			m.sets[v.URL] = v
		case "CodeSystem":
			c := &codeSystem{}
			if err := json.Unmarshal(raw, c); err != nil {
				return err
			}
			m.codeSystems[c.URL] = c
		}
		return nil
	})
	return m, err
}

// read calls f for each resource of the files, in the order of their names, with those of a Bundle one by one.
func (m *material) read(from string, patterns []string, f func(raw json.RawMessage, kind string) error) error {
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join(from, filepath.FromSlash(pattern)))
		if err != nil {
			return err
		}
		if len(files) == 0 && !strings.Contains(pattern, "*") {
			return fmt.Errorf("%s: no such file in %s", pattern, from)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			raw = bytes.TrimPrefix(raw, []byte("\ufeff"))
			var bundle struct {
				ResourceType string
				Entry        []struct{ Resource json.RawMessage }
			}
			if err := json.Unmarshal(raw, &bundle); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			if bundle.ResourceType != "Bundle" {
				if err := f(raw, bundle.ResourceType); err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
				continue
			}
			for _, e := range bundle.Entry {
				var r struct{ ResourceType string }
				if err := json.Unmarshal(e.Resource, &r); err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
				if err := f(e.Resource, r.ResourceType); err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
			}
		}
	}
	return nil
}

// of is the structures of a guide that can be written: all that have elements.
func (m *material) of(g guide) []*structure {
	var all []*structure
	for _, url := range m.order[g.table] {
		if s := m.structures[url]; s.tree != nil {
			all = append(all, s)
		}
	}
	return all
}

// bare is a canonical URL without its version.
func bare(url string) string {
	url, _, _ = strings.Cut(url, "|")
	return url
}

// code is the name of a FHIR type. Ids and URLs are strings of XML Schema in the
// definitions; an extension there says which type of FHIR that is.
func (t typeRef) code() string {
	for _, x := range t.Extension {
		if x.URL == "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type" {
			return x.ValueURL + x.ValueString
		}
	}
	if system, ok := strings.CutPrefix(t.Code, "http://hl7.org/fhirpath/System."); ok {
		return strings.ToLower(system)
	}
	if t.Code == "" {
		for _, x := range t.Extension {
			if x.ValueString == "xsd:anyUri" {
				return "uri"
			}
		}
		return "string"
	}
	return t.Code
}

// regex is the expression that a primitive must match, or "".
func (t typeRef) regex() string {
	for _, x := range t.Extension {
		if x.URL == "http://hl7.org/fhir/StructureDefinition/regex" {
			return x.ValueString
		}
	}
	return ""
}
