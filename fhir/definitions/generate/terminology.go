package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A codeSet is what is known of a value set.
type codeSet struct {
	url     string
	open    bool // more than the systems below: a part could not be enumerated
	systems map[string]*systemCodes
}

type systemCodes struct {
	codes      map[string]bool
	open       bool // further codes of the system belong, too, or may
	anyCase    bool // the system does not tell upper from lower case
	partitions []int
}

// valueSets expands the value sets of all required and extensible bindings, as far as the
// material goes, and those that limit a binding.
func (m *material) valueSets() []*codeSet {
	wanted := map[string]bool{}
	var collect func(t *tree)
	collect = func(t *tree) {
		if b := t.Binding; b != nil {
			if b.Strength == "required" || b.Strength == "extensible" {
				wanted[bare(b.ValueSet)] = true
			}
			if max := b.max(); max != "" {
				wanted[bare(max)] = true
			}
		}
		for _, c := range t.children {
			collect(c)
		}
		for _, c := range t.slices {
			collect(c)
		}
	}
	for _, s := range m.structures {
		if s.tree != nil {
			collect(s.tree)
		}
	}
	var all []*codeSet
	for _, url := range sortedKeys(wanted) {
		if url != "" {
			all = append(all, m.expand(url, nil))
		}
	}
	return all
}

// max is the value set beyond which no code is allowed, whatever the strength of the binding.
func (b *binding) max() string {
	for _, x := range b.Extension {
		if x.URL == "http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet" {
			return x.ValueCanonical
		}
	}
	return ""
}

// expand enumerates a value set. What cannot be enumerated makes it open.
// http://hl7.org/fhir/R4/valueset.html#expansion
func (m *material) expand(url string, within []string) *codeSet {
	c := &codeSet{url: url, systems: map[string]*systemCodes{}}
	v := m.sets[bare(url)]
	if v == nil || slices.Contains(within, url) {
		c.open = true
		return c
	}
	within = append(slices.Clone(within), url)
	if v.Compose == nil {
		if v.Expansion == nil {
			c.open = true
			return c
		}
		c.contain(m, v.Expansion.Contains)
		return c
	}
	for _, i := range v.Compose.Include {
		c.union(m.included(i, within))
	}
	for _, x := range v.Compose.Exclude {
		c.without(m.included(x, within))
	}
	return c
}

func (c *codeSet) contain(m *material, list []contained) {
	for _, x := range list {
		if x.Code != "" {
			c.of(m, x.System).codes[x.Code] = true
		}
		c.contain(m, x.Contains)
	}
}

func (c *codeSet) of(m *material, system string) *systemCodes {
	s := c.systems[system]
	if s == nil {
		s = &systemCodes{codes: map[string]bool{}}
		if cs := m.codeSystems[system]; cs != nil && cs.CaseSensitive != nil {
			s.anyCase = !*cs.CaseSensitive
		}
		c.systems[system] = s
	}
	return s
}

// included is the codes of one include or exclude: those of a system that are also in each of the value sets.
func (m *material) included(i include, within []string) *codeSet {
	c := &codeSet{systems: map[string]*systemCodes{}}
	if i.System != "" {
		s := c.of(m, i.System)
		cs := m.codeSystems[i.System]
		switch {
		case len(i.Concept) > 0:
			for _, x := range i.Concept {
				s.codes[x.Code] = true
			}
		case len(i.Filter) == 1 && i.Filter[0].Property == "partition" && (i.Filter[0].Op == "=" || i.Filter[0].Op == "in"):
			for _, p := range strings.Split(i.Filter[0].Value, ",") {
				n, err := strconv.Atoi(strings.TrimSpace(p))
				if err != nil {
					s.open = true
					continue
				}
				s.partitions = append(s.partitions, n)
			}
			slices.Sort(s.partitions)
		case cs == nil || cs.Content != "complete":
			s.open = true
		default:
			codes, err := cs.filter(i)
			if err != nil {
				s.open = true
				break
			}
			s.codes = codes
		}
	}
	for n, url := range i.ValueSet {
		of := m.expand(url, within)
		if n == 0 && i.System == "" {
			c.union(of)
		} else {
			c.intersect(of)
		}
	}
	return c
}

func (c *codeSet) union(d *codeSet) {
	c.open = c.open || d.open
	for system, from := range d.systems {
		to := c.systems[system]
		if to == nil {
			to = &systemCodes{codes: map[string]bool{}}
			c.systems[system] = to
		}
		to.anyCase = to.anyCase || from.anyCase
		to.open = to.open || from.open
		to.partitions = append(to.partitions, from.partitions...)
		for code := range from.codes {
			to.codes[code] = true
		}
	}
}

func (c *codeSet) intersect(d *codeSet) {
	for system, s := range c.systems {
		o := d.systems[system]
		if o == nil && !d.open {
			delete(c.systems, system)
			continue
		}
		unsure := s.open || d.open || len(s.partitions) > 0
		if o != nil {
			unsure = unsure || o.open || len(o.partitions) > 0
		}
		for code := range s.codes {
			if o == nil || !o.codes[code] {
				delete(s.codes, code)
			}
		}
		s.open, s.partitions = unsure, nil
	}
}

func (c *codeSet) without(d *codeSet) {
	for system, s := range c.systems {
		o := d.systems[system]
		if o == nil {
			continue
		}
		for code := range o.codes {
			delete(s.codes, code)
		}
		if o.open || len(o.partitions) > 0 || s.open || len(s.partitions) > 0 {
			clear(s.codes)
			s.partitions, s.open = nil, true
		}
	}
}

// filter is the codes of a complete system that all filters of an include let through.
// http://hl7.org/fhir/R4/valueset-filter-operator.html
func (s *codeSystem) filter(i include) (map[string]bool, error) {
	g := s.graph()
	codes := map[string]bool{}
	for _, c := range g.order {
		codes[c] = true
	}
	for _, f := range i.Filter {
		keep, err := g.keep(f.Property, f.Op, f.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.URL, err)
		}
		for c := range codes {
			if !keep[c] {
				delete(codes, c)
			}
		}
	}
	return codes, nil
}

// A graph is the hierarchy of a code system. A concept has several parents where it is
// also named as a child of others.
type graph struct {
	order      []string
	children   map[string][]string
	properties map[string]map[string][]string // of a code: the values by property
}

func (s *codeSystem) graph() *graph {
	g := &graph{children: map[string][]string{}, properties: map[string]map[string][]string{}}
	var walk func(list []concept, parent string)
	walk = func(list []concept, parent string) {
		for _, c := range list {
			g.order = append(g.order, c.Code)
			if parent != "" {
				g.children[parent] = append(g.children[parent], c.Code)
			}
			p := map[string][]string{}
			for _, x := range c.Property {
				v := x.ValueCode + x.ValueString
				if x.ValueBoolean != nil {
					v = strconv.FormatBool(*x.ValueBoolean)
				}
				if x.ValueInteger != nil {
					v = strconv.Itoa(*x.ValueInteger)
				}
				p[x.Code] = append(p[x.Code], v)
				if x.Code == "child" {
					g.children[c.Code] = append(g.children[c.Code], v)
				}
			}
			g.properties[c.Code] = p
			walk(c.Concept, c.Code)
		}
	}
	walk(s.Concept, "")
	return g
}

func (g *graph) keep(property, op, wanted string) (map[string]bool, error) {
	keep := map[string]bool{}
	switch {
	case property == "concept" && (op == "is-a" || op == "descendent-of" || op == "is-not-a"):
		below := map[string]bool{}
		var walk func(code string)
		walk = func(code string) {
			if below[code] {
				return
			}
			below[code] = true
			for _, c := range g.children[code] {
				walk(c)
			}
		}
		walk(wanted)
		for _, c := range g.order {
			keep[c] = below[c] != (op == "is-not-a") && (op != "descendent-of" || c != wanted)
		}
	case property == "code" && op == "regex":
		r, err := regexp.Compile("^(" + wanted + ")$")
		if err != nil {
			return nil, err
		}
		for _, c := range g.order {
			keep[c] = r.MatchString(c)
		}
	case property == "parent" && op == "=":
		for _, c := range g.children[wanted] {
			keep[c] = true
		}
	case op == "=":
		known := false
		for _, c := range g.order {
			values, ok := g.properties[c][property]
			known = known || ok
			keep[c] = slices.Contains(values, wanted)
		}
		if !known {
			return nil, fmt.Errorf("no concept has the property %s", property)
		}
	default:
		return nil, fmt.Errorf("filter %s %s is unknown", property, op)
	}
	return keep, nil
}
