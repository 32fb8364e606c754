package validate

import (
	"strings"

	"github.com/kiln-health/kiln/fhir/definitions"
)

// A criterion says whether an item belongs to a slice. It either goes down to an element, or
// combines others, or looks at the item itself.
type criterion struct {
	class   *class // go down to this member, and one of what is there must meet the next one
	ordinal int
	next    *criterion

	all, any []*criterion

	value   *shape // the item is this, exactly or at least
	exact   bool
	set     *binding // the item is in a value set
	codes   *definitions.CodeSet
	types   uint64 // the item has one of these types of its member
	first   int32
	exists  bool // there is an item at all
	missing bool // the member that next would be about is not there
}

// criteria are those for the discriminators of a slicing. One that cannot be decided is nil.
// http://hl7.org/fhir/R4/profiling.html#discriminator
func (p *plan) criteria(s *definitions.Element, slicing *definitions.Slicing, m *member) []*criterion {
	var all []*criterion
	for _, d := range slicing.Discriminators {
		var steps []string
		if d.Path != "$this" {
			steps = strings.Split(strings.TrimPrefix(d.Path, "$this."), ".")
		}
		var t *criterion
		switch d.Type {
		case definitions.ByValue, definitions.ByPattern:
			t = p.valueCriterion(s, steps, m, 0)
		case definitions.ByExistence:
			t = p.existenceCriterion(s, steps, m)
		case definitions.ByType:
			if len(steps) == 0 {
				t = p.typeCriterion(s, m)
			}
		}
		all = append(all, t)
	}
	return all
}

func (p *plan) typeCriterion(s *definitions.Element, m *member) *criterion {
	t := &criterion{first: m.first}
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

func (p *plan) existenceCriterion(s *definitions.Element, steps []string, m *member) *criterion {
	if len(steps) != 1 {
		return nil
	}
	c := p.single(s, m)
	child := p.elementOf(s, steps[0])
	if c == nil || child == nil || c.ordinal(child.Name) < 0 {
		return nil
	}
	t := &criterion{class: c, ordinal: c.ordinal(child.Name)}
	switch {
	case child.Max == 0:
		t.missing = true
	case child.Min > 0:
		t.next = &criterion{exists: true}
	default:
		return nil
	}
	return t
}

// valueCriterion looks for what the slice says of the value at the path: a fixed value, a
// pattern or a required binding there, or on the way, or in the slices that it demands there.
func (p *plan) valueCriterion(e *definitions.Element, steps []string, m *member, depth int) *criterion {
	if depth > 16 {
		return nil
	}
	switch {
	case e.Fixed != nil:
		return &criterion{value: parseShape(e.Fixed.JSON), exact: true}
	case e.Pattern != nil:
		return &criterion{value: parseShape(e.Pattern.JSON)}
	}
	c := p.single(e, m)
	if len(steps) == 0 {
		if t := p.bindingCriterion(e, c); t != nil {
			return t
		}
		return p.contentCriterion(e, c, depth)
	}
	if t := p.extensionCriterion(e, steps, c); t != nil {
		return t
	}
	child := p.elementOf(e, steps[0])
	if c == nil || child == nil || c.ordinal(child.Name) < 0 {
		return nil
	}
	o := c.ordinal(child.Name)
	down := func(next *criterion) *criterion {
		if next == nil {
			return nil
		}
		return &criterion{class: c, ordinal: o, next: next}
	}
	if t := p.valueCriterion(child, steps[1:], &c.members[o], depth+1); t != nil {
		return down(t)
	}
	demanded, other := &criterion{}, &criterion{}
	for _, s := range child.Slices {
		t := down(p.valueCriterion(s, steps[1:], &c.members[o], depth+1))
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

// extensionCriterion knows a slice of extensions by the profile of its type, whose URL is that
// of the extension, also if the profile itself is not known.
func (p *plan) extensionCriterion(e *definitions.Element, steps []string, c *class) *criterion {
	if c == nil || c.name != "Extension" || len(steps) != 1 || steps[0] != "url" || len(e.Types) != 1 || len(e.Types[0].Profiles) != 1 {
		return nil
	}
	if child, _ := e.Child("url"); child != nil && child.Fixed != nil {
		return nil
	}
	u, _, _ := strings.Cut(e.Types[0].Profiles[0], "|")
	return &criterion{class: c, ordinal: c.ordinal("url"), next: &criterion{value: &shape{kind: '"', text: []byte(u)}, exact: true}}
}

func (p *plan) bindingCriterion(e *definitions.Element, c *class) *criterion {
	if e.Binding == nil || e.Binding.Strength != definitions.Required {
		return nil
	}
	set, ok := definitions.ValueSet(e.Binding.ValueSet)
	if !ok {
		return nil
	}
	if c == nil {
		return &criterion{codes: set}
	}
	if b := newBinding(c, definitions.Required, set); b != nil {
		return &criterion{set: b}
	}
	return nil
}

// contentCriterion combines what is said of the elements that must be in the value.
func (p *plan) contentCriterion(e *definitions.Element, c *class, depth int) *criterion {
	t := &criterion{}
	if c == nil {
		return nil
	}
	for _, child := range e.Children {
		o := c.ordinal(child.Name)
		if child.Min == 0 || o < 0 {
			continue
		}
		if next := p.valueCriterion(child, nil, &c.members[o], depth+1); next != nil {
			t.all = append(t.all, &criterion{class: c, ordinal: o, next: next})
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

// passes says whether the value at node k meets a criterion; nil is one that cannot be decided.
func (w *walker) passes(t *criterion, k int) definitions.Membership {
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
