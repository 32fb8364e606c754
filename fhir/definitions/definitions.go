// Package definitions is what FHIR R4 (4.0.1) says of its types, as data: the elements of
// every resource and data type, of the vital-signs and other profiles and the extensions
// published with R4, of US Core 6.1.0 and of the PHD and PoCD device guides; their
// invariants and value sets; search parameters and compartments.
//
// The tables are embedded, compressed, and decoded when they are first asked for, each
// guide by itself. Everything is read-only and safe for concurrent use: what is returned
// is shared and must not be modified. The program in generate writes the tables.
//
// http://hl7.org/fhir/R4/structuredefinition.html
package definitions

import (
	"sort"
	"strings"
)

//go:generate go run -tags nomsgpack ./generate -to tables

// Kind tells primitive types, data types and resources apart.
type Kind uint8

// The kinds of structures.
const (
	Primitive Kind = iota + 1
	DataType
	Resource
)

// Structure is a StructureDefinition: a type of FHIR, or a profile that narrows one.
type Structure struct {
	URL, Version, Name string
	Type               string   // what it describes or narrows: Observation, Quantity, Extension
	Kind               Kind     // of that type
	Base               string   // URL of what it specialises or narrows, "" for Element and Resource
	Profile            bool     // it narrows a type
	Abstract           bool     // no instance has exactly this type: Element, Resource
	Contexts           []string // an extension: the paths it may stand at; nil is anywhere
	Elements           []Element
}

// Root is the element that stands for the whole structure.
func (s *Structure) Root() *Element { return &s.Elements[0] }

// Lookup is the structure of a canonical URL, whose version, if it has one, is ignored.
func Lookup(url string) (*Structure, bool) {
	url, _, _ = strings.Cut(url, "|")
	table, ok := index()[url]
	if !ok {
		return nil, false
	}
	s, ok := structures(table)[url]
	return s, ok
}

// URLs are the canonical URLs of all structures, sorted.
func URLs() []string {
	all := make([]string, 0, len(index()))
	for url := range index() {
		all = append(all, url)
	}
	sort.Strings(all)
	return all
}

// ForType is the structure that defines a resource or data type of R4, by its name:
// Observation, Quantity, string. Abstract types are included.
func ForType(name string) (*Structure, bool) {
	s, ok := types().byName[name]
	return s, ok
}

// ResourceTypes are the names of all resources that can exist, sorted.
func ResourceTypes() []string { return types().resources }

// IsResource reports whether name is one of ResourceTypes.
func IsResource(name string) bool {
	s, ok := ForType(name)
	return ok && s.Kind == Resource && !s.Abstract
}

// Invariant is a rule about the content of an element. Key is not unique across guides.
// http://hl7.org/fhir/R4/elementdefinition.html#ElementDefinition.constraint
type Invariant struct {
	Key        string
	Warning    bool   // breaking it is no error
	Human      string // what it demands, as published
	Expression string // FHIRPath
	Source     string // URL of the structure that defines it
	Where      []string
}

// Invariants are the rules with that key. It is one but for the few keys that several
// structures use for different rules.
func Invariants(key string) []*Invariant {
	var found []*Invariant
	all := invariants()
	for i := range all {
		if all[i].Key == key {
			found = append(found, &all[i])
		}
	}
	return found
}

// SearchParameter is a way to search for resources.
// http://hl7.org/fhir/R4/searchparameter.html
type SearchParameter struct {
	Name                    string // as in a query: code, value-quantity
	Type                    string // token, reference, date, string, quantity, number, uri, composite, special
	URL                     string
	Expression              string // FHIRPath; "" where the value is not an element
	MultipleOr, MultipleAnd bool
	Bases                   []string // the types it is for; Resource and DomainResource are bases of others
	Targets                 []string // resource types that a reference may point at
	Comparators, Modifiers  []string
	Components              []SearchComponent
}

// SearchComponent is a part of a composite search parameter.
type SearchComponent struct{ URL, Expression string }

// SearchParameters are those of a resource type, with those that it has as a Resource and
// a DomainResource, sorted by name.
func SearchParameters(resourceType string) []SearchParameter {
	return search().parameters[resourceType]
}

// Compartment says which search parameters of which resource types link a resource to a
// Patient, Encounter, RelatedPerson, Practitioner or Device. A type that is not listed is
// not in the compartment. http://hl7.org/fhir/R4/compartmentdefinition.html
func Compartment(name string) (map[string][]string, bool) {
	c, ok := search().compartments[name]
	return c, ok
}
