package validate

import (
	"strings"

	"github.com/kiln-health/kiln/fhir/definitions"
)

// A test says whether an item belongs to a slice. It either goes down to an element, or
// combines other tests, or looks at the item itself.
type test struct {
	class   *class // go down to this member, and one of what is there must pass the next test
	ordinal int
	next    *test

	all, any []*test

	value   *shape // the item is this, exactly or at least
	exact   bool
	set     *binding // the item is in a value set
	codes   *definitions.CodeSet
	types   uint64 // the item has one of these types of its member
	first   int32
	exists  bool // there is an item at all
	missing bool // the member that next would be about is not there
}

// tests are those for the discriminators of a slicing. One that cannot be decided is nil.
// http://hl7.org/fhir/R4/profiling.html#discriminator
func (p *plan) tests(s *definitions.Element, slicing *definitions.Slicing, m *member) []*test {
	var all []*test
	for _, d := range slicing.Discriminators {
		var steps []string
		if d.Path != "$this" {
			steps = strings.Split(strings.TrimPrefix(d.Path, "$this."), ".")
		}
		var t *test
		switch d.Type {
		case definitions.ByValue, definitions.ByPattern:
			t = p.valueTest(s, steps, m, 0)
		case definitions.ByExistence:
			t = p.existenceTest(s, steps, m)
		case definitions.ByType:
			if len(steps) == 0 {
				t = p.typeTest(s, m)
			}
		}
		all = append(all, t)
	}
	return all
}

func (p *plan) typeTest(s *definitions.Element, m *member) *test {
	t := &test{first: m.first}
	for i := int32(0); i < m.count; i++ {
		for _, of := range s.Types {
			if typ := p.slots[m.first+i].typ; typ != nil && typ.Code == of.Code {
				t.types |= 1 << i
			}
		}
	}
	if t.types == 0 {
		return nil
	}
	return t
}

func (p *plan) existenceTest(s *definitions.Element, steps []string, m *member) *test {
	if len(steps) != 1 {
		return nil
	}
	c := p.single(s, m)
	child := p.elementOf(s, steps[0])
	if c == nil || child == nil || c.ordinal(child.Name) < 0 {
		return nil
	}
	t := &test{class: c, ordinal: c.ordinal(child.Name)}
	switch {
	case child.Max == 0:
		t.missing = true
	case child.Min > 0:
		t.next = &test{exists: true}
	default:
		return nil
	}
	return t
}

// valueTest looks for what the slice says of the value at the path: a fixed value, a
// pattern or a required binding there, or on the way, or in the slices that it demands there.
func (p *plan) valueTest(e *definitions.Element, steps []string, m *member, depth int) *test {
	if depth > 16 {
		return nil
	}
	switch {
	case e.Fixed != nil:
		return &test{value: parseShape(e.Fixed.JSON), exact: true}
	case e.Pattern != nil:
		return &test{value: parseShape(e.Pattern.JSON)}
	}
	c := p.single(e, m)
	if len(steps) == 0 {
		if t := p.bindingTest(e, c); t != nil {
			return t
		}
		return p.contentTest(e, c, depth)
	}
	if t := p.extensionTest(e, steps, c); t != nil {
		return t
	}
	child := p.elementOf(e, steps[0])
	if c == nil || child == nil || c.ordinal(child.Name) < 0 {
		return nil
	}
	o := c.ordinal(child.Name)
	down := func(next *test) *test {
		if next == nil {
			return nil
		}
		return &test{class: c, ordinal: o, next: next}
	}
	if t := p.valueTest(child, steps[1:], &c.members[o], depth+1); t != nil {
		return down(t)
	}
	demanded, other := &test{}, &test{}
	for _, s := range child.Slices {
		t := down(p.valueTest(s, steps[1:], &c.members[o], depth+1))
		switch {
		case t == nil:
		case s.Min > 0:
			demanded.all = append(demanded.all, t)
		default:
			other.any = append(other.any, t)
		}
	}
	switch {
	case len(demanded.all) > 0:
		return demanded
	case len(other.any) > 0:
		return other
	}
	return nil
}

// extensionTest knows a slice of extensions by the profile of its type, whose URL is that
// of the extension, also if the profile itself is not known.
func (p *plan) extensionTest(e *definitions.Element, steps []string, c *class) *test {
	if c == nil || c.name != "Extension" || len(steps) != 1 || steps[0] != "url" || len(e.Types) != 1 || len(e.Types[0].Profiles) != 1 {
		return nil
	}
	if child, _ := e.Child("url"); child != nil && child.Fixed != nil {
		return nil
	}
	u, _, _ := strings.Cut(e.Types[0].Profiles[0], "|")
	return &test{class: c, ordinal: c.ordinal("url"), next: &test{value: &shape{kind: '"', text: []byte(u)}, exact: true}}
}

func (p *plan) bindingTest(e *definitions.Element, c *class) *test {
	if e.Binding == nil || e.Binding.Strength != definitions.Required {
		return nil
	}
	set, ok := definitions.ValueSet(e.Binding.ValueSet)
	if !ok {
		return nil
	}
	if c == nil {
		return &test{codes: set}
	}
	if b := newBinding(c, definitions.Required, set); b != nil {
		return &test{set: b}
	}
	return nil
}

// contentTest combines what is said of the elements that must be in the value.
func (p *plan) contentTest(e *definitions.Element, c *class, depth int) *test {
	t := &test{}
	if c == nil {
		return nil
	}
	for _, child := range e.Children {
		o := c.ordinal(child.Name)
		if child.Min == 0 || o < 0 {
			continue
		}
		if next := p.valueTest(child, nil, &c.members[o], depth+1); next != nil {
			t.all = append(t.all, &test{class: c, ordinal: o, next: next})
		}
	}
	if len(t.all) == 0 {
		return nil
	}
	return t
}

// single is the class of the values of an element, nil if they are primitive or may have several types.
func (p *plan) single(e *definitions.Element, m *member) *class {
	if m.count == 1 {
		return p.slots[m.first].class
	}
	if len(e.Types) != 1 {
		return nil
	}
	return p.byType[e.Types[0].Code]
}

// elementOf is an element of another one, also where a profile or the type of it says what is in it.
func (p *plan) elementOf(e *definitions.Element, name string) *definitions.Element {
	for depth := 0; depth < 4; depth++ {
		if child, _ := e.Child(name); child != nil {
			return child
		}
		for _, c := range e.Children {
			if c.Name == name {
				return c
			}
		}
		if len(e.Types) != 1 {
			return nil
		}
		var s *definitions.Structure
		var ok bool
		if len(e.Types[0].Profiles) == 1 {
			s, ok = definitions.Lookup(e.Types[0].Profiles[0])
		}
		if !ok {
			s, ok = definitions.ForType(e.Types[0].Code)
		}
		if !ok || s.Root() == e {
			return nil
		}
		e = s.Root()
	}
	return nil
}

// passes says whether the value at node k passes a test; nil is a test that cannot be decided.
func (w *walker) passes(t *test, k int) definitions.Membership {
	if t == nil {
		return definitions.Unknown
	}
	flags := w.nodes[k].slot
	switch {
	case len(t.all) > 0:
		answer := definitions.Yes
		for _, a := range t.all {
			switch w.passes(a, k) {
			case definitions.No:
				return definitions.No
			case definitions.Unknown:
				answer = definitions.Unknown
			}
		}
		return answer
	case len(t.any) > 0:
		answer := definitions.No
		for _, a := range t.any {
			switch w.passes(a, k) {
			case definitions.Yes:
				return definitions.Yes
			case definitions.Unknown:
				answer = definitions.Unknown
			}
		}
		return answer
	case t.class != nil:
		if flags&(unfit|null) != 0 || w.classAt(k) != t.class {
			return definitions.No
		}
		m := &t.class.members[t.ordinal]
		i := w.first(k, m, 0)
		if t.missing {
			return answer(i < 0)
		}
		found := definitions.No
		for ; i >= 0; i = w.sibling(k, i, m, 0) {
			switch w.passes(t.next, i) {
			case definitions.Yes:
				return definitions.Yes
			case definitions.Unknown:
				found = definitions.Unknown
			}
		}
		return found
	case t.exists:
		return definitions.Yes
	case t.types != 0:
		return answer(t.types>>(int32(flags&slotBits)-t.first)&1 != 0)
	case flags&(unfit|null) != 0:
		return definitions.No
	case t.value != nil:
		return answer(w.same(k, t.value, t.exact))
	case t.set != nil:
		if w.classAt(k) == nil {
			return definitions.No
		}
		is, _, coded := w.memberOf(t.set, k)
		if !coded {
			return definitions.No
		}
		return is
	case t.codes != nil:
		return t.codes.ContainsCode(w.text(k))
	}
	return definitions.Unknown
}

func answer(yes bool) definitions.Membership {
	if yes {
		return definitions.Yes
	}
	return definitions.No
}
