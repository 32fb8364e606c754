package main

import (
	"fmt"
	"slices"
	"strings"
)

// A tree is a snapshot as it is meant: elements below elements, and beside an element the
// slices that it is divided into.
type tree struct {
	element
	name     string // value[x]
	children []*tree
	slices   []*tree
}

// buildSnapshots nests the snapshots of a guide, and makes them where there is a differential only.
func (m *material) buildSnapshots(g guide) error {
	for _, url := range m.order[g.table] {
		if _, err := m.snapshot(url, 0); err != nil {
			return fmt.Errorf("%s: %w", url, err)
		}
	}
	return nil
}

// snapshot is the tree of a structure, nil if its definition has no elements.
func (m *material) snapshot(url string, depth int) (*structure, error) {
	s := m.structures[bare(url)]
	if s == nil {
		return nil, fmt.Errorf("no structure %s", url)
	}
	if s.tree != nil || len(s.Snapshot.Element)+len(s.Differential.Element) == 0 {
		return s, nil
	}
	if depth > 16 {
		return nil, fmt.Errorf("%s builds on itself", url)
	}
	if len(s.Snapshot.Element) > 0 {
		t, err := nest(s.Snapshot.Element)
		s.tree = t
		return s, err
	}
	base, err := m.snapshot(s.BaseDefinition, depth+1)
	if err != nil {
		return nil, err
	}
	t := base.tree.clone()
	d := differential{material: m, root: t, source: s.URL, depth: depth}
	for _, e := range s.Differential.Element {
		if err := d.apply(e); err != nil {
			return nil, fmt.Errorf("%s: %w", e.ID, err)
		}
	}
	s.tree = t
	return s, nil
}

// nest makes a tree of a flat list, in which each id says where the element belongs. An
// element that is called a slice of one that is not listed is no slice, only named like one.
func nest(list []*element) (*tree, error) {
	root := &tree{element: *list[0], name: list[0].Path}
	named := map[*tree]string{}
	for _, e := range list[1:] {
		at := root
		steps := strings.Split(e.ID, ".")[1:]
		for i, step := range steps {
			name, slice, _ := strings.Cut(step, ":")
			last := i == len(steps)-1
			next := at.child(name)
			of := &at.children
			if next != nil && slice != "" && named[next] != slice {
				of = &next.slices
				next = next.slice(slice)
			}
			switch {
			case next != nil && last:
				return nil, fmt.Errorf("element %s occurs twice", e.ID)
			case next == nil && !last:
				return nil, fmt.Errorf("element %s has no parent", e.ID)
			case next == nil:
				next = &tree{element: *e, name: name}
				next.SliceName = slice
				if of == &at.children {
					next.SliceName, named[next] = "", slice
				}
				*of = append(*of, next)
			}
			at = next
		}
	}
	return root, nil
}

func (t *tree) child(name string) *tree {
	for _, c := range t.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

func (t *tree) slice(name string) *tree {
	for _, s := range t.slices {
		if s.SliceName == name {
			return s
		}
	}
	return nil
}

func (t *tree) clone() *tree {
	c := *t
	c.values = make(map[string]value, len(t.values))
	for k, v := range t.values {
		c.values[k] = v
	}
	c.Constraint = slices.Clone(t.Constraint)
	c.children, c.slices = nil, nil
	for _, x := range t.children {
		c.children = append(c.children, x.clone())
	}
	for _, x := range t.slices {
		c.slices = append(c.slices, x.clone())
	}
	return &c
}

// A differential narrows a snapshot element by element.
// http://hl7.org/fhir/R4/elementdefinition.html#interpretation
type differential struct {
	material *material
	root     *tree
	source   string
	depth    int
	slice    []string // the steps of the slice that was entered last
}

func (d *differential) apply(e *element) error {
	steps := d.steps(e)
	at := d.root
	for i, step := range steps {
		next, err := d.step(at, step, i == len(steps)-1 && e.SliceName != "")
		if err != nil {
			return err
		}
		at = next
	}
	at.narrow(e, d.source)
	return nil
}

// steps says where an element belongs, below the root. Its id does, with one exception: an
// element that follows a slice and lies below the path of it belongs to that slice even if
// its id forgets it, for elements of a differential are in order.
func (d *differential) steps(e *element) []string {
	steps := strings.Split(e.ID, ".")[1:]
	if n := len(d.slice); n > 0 && len(steps) > n {
		below := true
		for i, s := range d.slice {
			want, _, _ := strings.Cut(s, ":")
			have, slice, _ := strings.Cut(steps[i], ":")
			below = below && want == have && (slice == "" || steps[i] == s)
		}
		if below {
			copy(steps, d.slice)
		}
	}
	if e.SliceName != "" && !strings.HasSuffix(steps[len(steps)-1], "[x]:"+e.SliceName) {
		d.slice = slices.Clone(steps)
	}
	return steps
}

// step goes down to an element, and makes it where the base only implies it: the elements
// of a data type, those that a content reference stands for, a slice of its own, or a
// slice for one type of a choice.
func (d *differential) step(at *tree, step string, slicing bool) (*tree, error) {
	name, slice, _ := strings.Cut(step, ":")
	if len(at.children) == 0 {
		if err := d.unfold(at); err != nil {
			return nil, err
		}
	}
	next := at.child(name)
	if next == nil {
		for _, c := range at.children {
			of, ok := strings.CutSuffix(c.name, "[x]")
			if !ok || !strings.HasPrefix(name, of) {
				continue
			}
			for _, t := range c.Type {
				if of+strings.ToUpper(t.code()[:1])+t.code()[1:] == name {
					next, slice = c, name
				}
			}
			if next == nil && len(c.Type) == 1 { // the base forbids the type: keep the contradiction
				next, slice = c, name
			}
		}
	}
	if next == nil {
		return nil, fmt.Errorf("no element %s", step)
	}
	if slice == "" {
		return next, nil
	}
	if s := next.slice(slice); s != nil {
		return s, nil
	}
	s := next.clone()
	s.slices, s.Slicing = nil, nil
	s.SliceName = slice
	none := 0
	s.Min = &none // an element that must be there may be there in any of its slices
	if of, ok := strings.CutSuffix(next.name, "[x]"); ok {
		if next.Slicing == nil {
			next.Slicing = byType()
		}
		for _, t := range next.Type {
			if of+strings.ToUpper(t.code()[:1])+t.code()[1:] == slice {
				s.Type = []typeRef{t}
			}
		}
		s.children = nil
	}
	next.slices = append(next.slices, s)
	return s, nil
}

func byType() *slicing {
	s := &slicing{Rules: "open"}
	s.Discriminator = append(s.Discriminator, struct{ Type, Path string }{"type", "$this"})
	return s
}

// unfold gives an element the elements of its type.
func (d *differential) unfold(at *tree) error {
	if at.ContentReference != "" {
		from := d.root
		for _, step := range strings.Split(at.ContentReference[strings.Index(at.ContentReference, "#")+1:], ".")[1:] {
			step, _, _ = strings.Cut(step, ":")
			if from = from.child(step); from == nil {
				return fmt.Errorf("content reference %s leads nowhere", at.ContentReference)
			}
		}
		at.ContentReference = ""
		at.Type = slices.Clone(from.Type)
		for _, c := range from.children {
			at.children = append(at.children, c.clone())
		}
		return nil
	}
	if len(at.Type) != 1 {
		return fmt.Errorf("%s has %d types: its elements are unknown", at.name, len(at.Type))
	}
	url := "http://hl7.org/fhir/StructureDefinition/" + at.Type[0].code()
	if p := at.Type[0].Profile; len(p) == 1 && d.material.structures[bare(p[0])] != nil {
		url = p[0]
	}
	s, err := d.material.snapshot(url, d.depth+1)
	if err != nil {
		return err
	}
	for _, c := range s.tree.children {
		at.children = append(at.children, c.clone())
	}
	return nil
}

// narrow takes over what a differential says.
func (t *tree) narrow(e *element, source string) {
	if e.Min != nil {
		t.Min = e.Min
	}
	if e.Max != nil {
		t.Max = e.Max
	}
	if e.Type != nil {
		t.Type = e.Type
		if len(t.slices) == 0 {
			t.children = nil // those of another type
		}
	}
	if e.Binding != nil {
		t.Binding = e.Binding
	}
	if e.Slicing != nil {
		t.Slicing = e.Slicing
	}
	if e.MustSupport != nil {
		t.MustSupport = e.MustSupport
	}
	if e.MaxLength != nil {
		t.MaxLength = e.MaxLength
	}
	for _, c := range e.Constraint {
		if c.Source == "" {
			c.Source = source
		}
		t.Constraint = append(t.Constraint, c)
	}
	for kind, v := range e.values {
		t.values[kind] = v
	}
}
