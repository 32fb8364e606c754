package validate

import (
	"strings"
	"sync"

	"github.com/kiln-health/kiln/fhir/definitions"
)

// A profile is what a StructureDefinition demands beyond the type that it narrows.
type profile struct {
	url      string
	version  string
	class    *class // of the objects it is for
	contexts []string
	rules    []rule
	children []*expectation
}

// An expectation is what a profile demands of one element, or of one slice of it, beyond
// what the type demands. What the type demands anyway is not in it.
type expectation struct {
	name        string // component, or for a slice component:SystolicBP
	member      *member
	first       int32 // the slot of the first type of the member
	min, max    int   // max is definitions.Unbounded if the type's limit does
	allowed     uint64
	types       []string // the names of the types that are allowed
	conforms    []conformance
	targets     *targets
	fixed       *shape
	pattern     *shape
	binding     *binding
	codes       *definitions.CodeSet
	limit       *definitions.CodeSet // beyond it no code is allowed
	maxLength   int
	least, most []byte
	rules       []typedRules
	inner       []inner
	slicing     *definitions.Slicing
	slices      []*slice
	mustSupport bool
}

// A conformance demands that values of a type meet one of several profiles.
type conformance struct {
	slot int32
	any  []func() *profile
}

// typedRules are the rules for values of a type.
type typedRules struct {
	slot  int32
	rules []rule
}

// inner is what is demanded of the elements of a value of a type.
type inner struct {
	slot     int32
	children []*expectation
}

// A slice is an expectation for those items of an element that meet all its criteria.
type slice struct {
	*expectation
	criteria []*criterion // nil entries cannot be decided
}

// anyType allows all types of a member.
const anyType = ^uint64(0)

// profiles are all structures that are known, compiled when they are first asked for.
func (p *plan) compileProfiles() map[string]func() *profile {
	all := map[string]func() *profile{}
	for _, u := range definitions.URLs() {
		all[u] = sync.OnceValue(func() *profile { return p.compile(u) })
	}
	return all
}

// Known reports whether a canonical URL is that of a profile or type that Resource can check
// a resource or a value against. The version behind a | does not matter: what is known is known in
// one version, and Resource says with a warning if that is not the one that is named.
func Known(profile string) bool {
	url, _, _ := strings.Cut(profile, "|")
	f := compiled().profiles[url]
	return f != nil && f() != nil
}

// compile makes a profile of a structure, nil if it is none of a type with elements.
func (p *plan) compile(url string) *profile {
	s, ok := definitions.Lookup(url)
	if !ok {
		return nil
	}
	c := p.byType[s.Type]
	if c == nil {
		return nil
	}
	q := &profile{url: s.URL, version: s.Version, class: c, contexts: s.Contexts}
	core, _ := definitions.ForType(s.Type)
	q.rules = p.added(s.Root().Invariants, core.Root().Invariants, c)
	q.children = p.expectations(s.Root(), c)
	return q
}

// added are the rules that are not those of the type.
func (p *plan) added(all, core []*definitions.Invariant, c *class) []rule {
	known := make([]rule, len(core))
	for i, v := range core {
		known[i].Invariant = v
	}
	return p.rules(all, known, c)
}

func (p *plan) expectations(e *definitions.Element, c *class) []*expectation {
	var all []*expectation
	for _, child := range e.Children {
		if x := p.expectation(child, c); x != nil {
			all = append(all, x)
		}
	}
	return all
}

// expectation is nil if the element demands nothing beyond its type.
func (p *plan) expectation(e *definitions.Element, c *class) *expectation {
	o := c.ordinal(e.Name)
	if o < 0 {
		return nil
	}
	m := &c.members[o]
	x := &expectation{name: e.Name, member: m, first: m.first, max: definitions.Unbounded, allowed: anyType,
		maxLength: e.MaxLength, mustSupport: e.MustSupport}
	matters := e.MustSupport || e.MaxLength > 0
	if e.Slice != "" {
		x.name += ":" + e.Slice
	}
	if e.Min > m.min || e.Slice != "" {
		x.min = e.Min
		matters = matters || e.Min > 0
	}
	if e.Max != definitions.Unbounded && (m.max == definitions.Unbounded || e.Max < m.max || e.Slice != "") {
		x.max = e.Max
		matters = true
	}
	if len(e.Types) > 0 {
		matters = p.narrowTypes(x, e, m) || matters
	}
	if e.Fixed != nil {
		x.fixed, matters = parseShape(e.Fixed.JSON), true
	}
	if e.Pattern != nil {
		x.pattern, matters = parseShape(e.Pattern.JSON), true
	}
	if e.MinValue != nil {
		x.least, matters = []byte(e.MinValue.JSON), true
	}
	if e.MaxValue != nil {
		x.most, matters = []byte(e.MaxValue.JSON), true
	}
	matters = p.narrowBinding(x, e, m) || matters
	for i := int32(0); i < m.count; i++ {
		s := &p.slots[m.first+i]
		rules := p.added(e.Invariants, m.element.Invariants, s.class)
		if s.class != nil {
			rules = without(rules, s.class.rules)
		}
		if x.allowed>>i&1 != 0 && len(rules) > 0 {
			x.rules, matters = append(x.rules, typedRules{m.first + i, rules}), true
		}
	}
	for i := int32(0); i < m.count && len(e.Children) > 0; i++ {
		s := &p.slots[m.first+i]
		inside := s.class
		if s.kind.primitive() {
			inside = p.element
		}
		if x.allowed>>i&1 == 0 || inside == nil {
			continue
		}
		if children := p.expectations(e, inside); len(children) > 0 {
			x.inner = append(x.inner, inner{m.first + i, children})
			matters = true
		}
	}
	if e.Slicing != nil {
		x.slicing = e.Slicing
		for _, s := range e.Slices {
			sx := p.expectation(s, c)
			if sx == nil && (e.Slicing.Rules != definitions.Open || e.Slicing.Ordered) { // it counts also if it demands nothing
				sx = &expectation{name: x.name + ":" + s.Slice, member: m, first: m.first, max: definitions.Unbounded, allowed: anyType}
			}
			if sx != nil {
				x.slices = append(x.slices, &slice{sx, p.criteria(s, e.Slicing, m)})
			}
		}
		matters = matters || len(x.slices) > 0
	}
	if !matters {
		return nil
	}
	return x
}

func without(rules, known []rule) []rule {
	var rest []rule
next:
	for _, r := range rules {
		for _, k := range known {
			if k.Invariant == r.Invariant {
				continue next
			}
		}
		rest = append(rest, r)
	}
	return rest
}

// narrowTypes takes over which types are allowed, which profiles their values must meet,
// and what references may point at. It reports whether any of that is news.
func (p *plan) narrowTypes(x *expectation, e *definitions.Element, m *member) (matters bool) {
	if m.element.Content != nil || len(m.element.Types) == 0 {
		return false
	}
	x.allowed = 0
	for i := int32(0); i < m.count; i++ {
		s := &p.slots[m.first+i]
		for j := range e.Types {
			t := &e.Types[j]
			if t.Code != s.typ.Code {
				continue
			}
			x.allowed |= 1 << i
			x.types = append(x.types, t.Code)
			var any []func() *profile
			for _, u := range t.Profiles {
				u, _, _ = strings.Cut(u, "|")
				if f := p.profiles[u]; f != nil && !contains(s.typ.Profiles, u) {
					any = append(any, f)
				}
			}
			if len(any) > 0 && len(any) == len(t.Profiles) {
				x.conforms, matters = append(x.conforms, conformance{m.first + i, any}), true
			}
			if t.Code == "Reference" {
				if to := p.targets(t.Targets); to != nil && (s.targets == nil || to.bits != s.targets.bits) {
					x.targets, matters = to, true
				}
			}
		}
	}
	all := uint64(1)<<m.count - 1
	if x.allowed == 0 || x.allowed == all {
		x.allowed = anyType
		return matters
	}
	return true
}

func contains(urls []string, u string) bool {
	for _, v := range urls {
		if bare, _, _ := strings.Cut(v, "|"); bare == u {
			return true
		}
	}
	return false
}

// narrowBinding takes over a binding that is not that of the type.
func (p *plan) narrowBinding(x *expectation, e *definitions.Element, m *member) bool {
	b := e.Binding
	if b == nil {
		return false
	}
	core := m.element.Binding
	if b.Max != "" && (core == nil || core.Max != b.Max) {
		x.limit, _ = definitions.ValueSet(b.Max)
	}
	limited := x.limit != nil
	if b.Strength > definitions.Extensible || core != nil && core.Strength == b.Strength && core.ValueSet == b.ValueSet {
		return limited
	}
	set, ok := definitions.ValueSet(b.ValueSet)
	if !ok {
		return limited
	}
	for i := int32(0); i < m.count; i++ {
		if x.allowed>>i&1 == 0 {
			continue
		}
		switch s := &p.slots[m.first+i]; {
		case s.kind == objectKind:
			if n := newBinding(s.class, b.Strength, set); n != nil {
				x.binding = n
			}
		case b.Strength == definitions.Required && (s.kind == codeKind || s.kind == uriKind || s.kind == stringKind):
			x.codes = set
		}
	}
	return limited || x.binding != nil || x.codes != nil
}
