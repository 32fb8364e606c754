package search

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
)

// Parameters is an immutable set of search parameters: those of R4, ours, and custom ones.
// It is safe for concurrent use. What a resource type needs is compiled when the type is
// first asked for.
type Parameters struct {
	types   []string // sorted
	classes map[string]*class
	zone    *time.Location // of what says none; nil is UTC
}

// class are the parameters of one resource type.
type class struct {
	name   string
	custom []Custom
	once   sync.Once

	rows   []*row // sorted by name
	byName map[string]*row
	// refused are those of R4 that are not supported, by name, and why.
	refused map[string]string
	program *program
	err     error // of the compilation: one of the custom parameters is wrong
}

// row is a parameter of a type, with what only this package needs to know of it.
type row struct {
	Param
	number int  // in the rows of its type
	kinds  uint // a bit for each kind of element that has its values
	// system is the implicit system of a code: a search may name it, the resource does not.
	// http://hl7.org/fhir/R4/search.html#token
	system string
	// systems are those that the value sets of its elements name, as far as these are known.
	systems []string
	// text and ofType are the names under which the values of the modifiers are.
	text, ofType string
}

// has reports whether values of the parameter are found in elements of that kind.
func (r *row) has(k kind) bool { return r.kinds>>k&1 != 0 }

// only reports whether all values of the parameter are found in elements of that kind.
func (r *row) only(k kind) bool { return r.kinds == 1<<k }

// Custom is a search parameter that a server adds to those of R4.
type Custom struct {
	Name       string // code of the SearchParameter, as in a query
	Type       ParamType
	Definition string   // its canonical URL, "" if it has none
	Bases      []string // the resource types it is for; Resource is all of them
	// Expression is FHIRPath, as far as parameters of R4 use it: paths, unions, as, ofType,
	// where with one comparison to a literal, where(resolve() is T), extension, an index.
	Expression string
	Targets    []string // of a reference: the types it may point at; nil is any
	// Components of a composite: the name of another parameter of the type, and an
	// expression that starts at what Expression finds.
	Components []CustomComponent
}

// CustomComponent is a part of a composite Custom.
type CustomComponent struct{ Name, Expression string }

// MaxCustom is how many custom parameters one set may have.
const MaxCustom = 500

// R4 are the search parameters of all resource types of FHIR R4, errata corrected, and
// ours. It is one set, however often it is asked for.
func R4() *Parameters { return r4() }

var r4 = sync.OnceValue(func() *Parameters {
	p := &Parameters{types: definitions.ResourceTypes(), classes: map[string]*class{}}
	for _, name := range p.types {
		p.classes[name] = &class{name: name}
	}
	return p
})

// With is p and custom parameters. The error is an *fhir.Error with all that is wrong, and
// the path of each issue is the name of the parameter: a name that is taken, a base that is
// no resource type, an expression that cannot be read or finds nothing that has values of
// the type.
func (p *Parameters) With(custom ...Custom) (*Parameters, error) {
	var issues []fhir.Issue
	refuse := func(e *fhir.Error) { issues = append(issues, e.Issues...) }
	q := &Parameters{types: p.types, classes: maps.Clone(p.classes), zone: p.zone}
	changed := map[string]*class{}
	total := len(custom)
	for _, c := range p.classes {
		total = max(total, len(custom)+len(c.custom))
	}
	if total > MaxCustom {
		return nil, fhir.Errorf(fhir.CodeTooCostly, "", "there are more than %d custom search parameters", MaxCustom)
	}
	for _, c := range custom {
		c.Bases, c.Targets, c.Components = slices.Clone(c.Bases), slices.Clone(c.Targets), slices.Clone(c.Components)
		if e := c.check(); e != nil {
			refuse(e)
			continue
		}
		bases := c.Bases
		if slices.Contains(bases, "Resource") {
			bases = p.types
		}
		for _, base := range bases {
			before, ok := p.classes[base]
			if !ok {
				refuse(fhir.Errorf(fhir.CodeInvalid, c.Name, "a base is no resource type of R4").WithFix("name resource types, or Resource for all"))
				break
			}
			if changed[base] == nil {
				changed[base] = &class{name: base, custom: slices.Clip(before.custom)}
			}
			before.compile()
			if taken(before, &c) || slices.ContainsFunc(changed[base].custom, func(d Custom) bool { return d.Name == c.Name }) {
				refuse(fhir.Errorf(fhir.CodeDuplicate, c.Name, "%s has a search parameter of this name or URL already", base).WithFix("choose another name"))
				break
			}
			changed[base].custom = append(changed[base].custom, c)
		}
	}
	if len(issues) > 0 {
		return nil, &fhir.Error{Issues: issues}
	}
	for _, base := range slices.Sorted(maps.Keys(changed)) {
		c := changed[base]
		if c.compile(); c.err != nil {
			return nil, c.err
		}
		q.classes[base] = c
	}
	return q, nil
}

func taken(c *class, custom *Custom) bool {
	if c.byName[custom.Name] != nil || c.refused[custom.Name] != "" {
		return true
	}
	return custom.Definition != "" && slices.ContainsFunc(c.rows, func(r *row) bool { return r.Definition == custom.Definition })
}

// results are parameters that are about the result of a search.
var results = []string{"_sort", "_count", "_include", "_revinclude", "_summary", "_total", "_elements", "_contained", "_containedType", "_has", "_type", "_list", "_format", "_pretty", CursorParam}

func (c *Custom) check() *fhir.Error {
	for i, b := range []byte(c.Name) {
		if !letter(b) && (i == 0 || !digit(b) && b != '-') {
			return fhir.Errorf(fhir.CodeInvalid, "", "the name of a custom search parameter has other characters than letters, digits, - and _")
		}
	}
	switch {
	case c.Name == "" || len(c.Name) > 64:
		return fhir.Errorf(fhir.CodeInvalid, "", "a custom search parameter has no name, or one of more than 64 characters")
	case slices.Contains(results, c.Name):
		return fhir.Errorf(fhir.CodeDuplicate, c.Name, "FHIR uses the name for something else").WithFix("choose another name")
	case len(c.Bases) == 0 || len(c.Bases) > 200:
		return fhir.Errorf(fhir.CodeInvalid, c.Name, "a search parameter is for one resource type at least").WithFix("name its bases")
	case (c.Type == CompositeParam) != (len(c.Components) > 0) || len(c.Components) > 8:
		return fhir.Errorf(fhir.CodeInvalid, c.Name, "a composite has one to 8 components, and no other type has any")
	case len(c.Targets) > 0 && c.Type != ReferenceParam:
		return fhir.Errorf(fhir.CodeInvalid, c.Name, "only a reference has targets")
	}
	for _, t := range c.Targets {
		if !definitions.IsResource(t) {
			return fhir.Errorf(fhir.CodeInvalid, c.Name, "a target is no resource type of R4")
		}
	}
	switch c.Type {
	case TokenParam, ReferenceParam, DateParam, QuantityParam, NumberParam, StringParam, URIParam, CompositeParam:
		return nil
	}
	return fhir.Errorf(fhir.CodeNotSupported, c.Name, "search parameters of this type are not supported").
		WithFix("use token, reference, date, quantity, number, string, uri or composite")
}

// Types are the resource types that can be searched, sorted. The slice is shared.
func (p *Parameters) Types() []string { return p.types[:len(p.types):len(p.types)] }

// Of are the search parameters of a resource type, sorted by name: none for a type that
// is not in Types.
func (p *Parameters) Of(resourceType string) []Param {
	c := p.class(resourceType)
	if c == nil {
		return nil
	}
	params := make([]Param, len(c.rows))
	for i, r := range c.rows {
		params[i] = clone(r.Param)
	}
	return params
}

// Lookup is the search parameter of that name.
func (p *Parameters) Lookup(resourceType, name string) (Param, bool) {
	r, ok := p.lookup(resourceType, name)
	if !ok {
		return Param{}, false
	}
	return clone(r.Param), true
}

// Refused is why a parameter that R4 has for the type is none here, "" for any other name.
// To ignore it would find more than was asked for.
func (p *Parameters) Refused(resourceType, name string) string {
	c := p.class(resourceType)
	if c == nil {
		return ""
	}
	return c.refused[name]
}

// extraction is raised when Extract finds other values by the same expressions.
const extraction = 2

// Fingerprint tells sets apart that find different terms in a resource: a store that has
// indexed with another one indexes anew. It compiles nothing.
func (p *Parameters) Fingerprint() []byte {
	h := sha256.New()
	fmt.Fprintln(h, extraction, p.at())
	for _, name := range p.types {
		for _, s := range p.classes[name].specs() {
			fmt.Fprintf(h, "%s %+v\n", name, s)
		}
	}
	return h.Sum(nil)
}

// lookup is Lookup for this package: the row is shared and must not be modified.
func (p *Parameters) lookup(resourceType, name string) (*row, bool) {
	c := p.class(resourceType)
	if c == nil {
		return nil, false
	}
	r, ok := c.byName[name]
	return r, ok
}

// class is the compiled one of a type, nil if it is not in Types.
func (p *Parameters) class(resourceType string) *class {
	c := p.classes[resourceType]
	if c != nil {
		c.compile()
	}
	return c
}

// clone keeps callers from writing into the table.
func clone(p Param) Param {
	p.Targets = slices.Clone(p.Targets)
	p.Components = slices.Clone(p.Components)
	for i := range p.Components {
		p.Components[i] = clone(p.Components[i])
	}
	return p
}

// spec is a search parameter of a type as it was defined.
type spec struct {
	Param
	parts  []CustomComponent // by URL or name
	custom bool
}

// specs are all parameters of the type that are supported, sorted by name.
func (c *class) specs() []spec {
	var all []spec
	for _, d := range definitions.SearchParameters(c.name) {
		if unsupported[d.URL] != "" {
			continue
		}
		s := spec{Param: Param{Name: d.Name, Type: ParamType(d.Type), Definition: d.URL, Expression: d.Expression}}
		if e, ok := errata[d.URL]; ok {
			s.Expression = e.expression
		}
		s.Targets = d.Targets
		for _, part := range d.Components {
			url := cmp.Or(swapped[part.URL+" "+part.Expression], part.URL)
			s.parts = append(s.parts, CustomComponent{url, part.Expression})
		}
		all = append(all, s)
	}
	for _, list := range [][]Custom{ours, c.custom} {
		for i := range list {
			if d := &list[i]; slices.Contains(d.Bases, c.name) || slices.Contains(d.Bases, "Resource") {
				s := spec{Param: Param{Name: d.Name, Type: d.Type, Definition: d.Definition, Expression: d.Expression, Targets: d.Targets}, parts: d.Components, custom: true}
				if len(list) == len(ours) && d == &ours[i] {
					s.Definition = ourURL(d)
				}
				all = append(all, s)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b spec) int { return strings.Compare(a.Name, b.Name) })
	return all
}
