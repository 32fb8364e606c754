package main

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// A table is a list of strings and a stream of numbers. Where a string is meant the stream
// has its place in the list; a list in the stream begins with its length. Numbers are
// unsigned varints. Package definitions reads it in the same order: decode.go there.
type table struct {
	strings []string
	places  map[string]int
	stream  []byte
}

func newTable() *table { return &table{strings: []string{""}, places: map[string]int{"": 0}} }

func (t *table) number(n int) { t.stream = binary.AppendUvarint(t.stream, uint64(n)) }

func (t *table) text(s string) {
	place, ok := t.places[s]
	if !ok {
		place = len(t.strings)
		t.strings = append(t.strings, s)
		t.places[s] = place
	}
	t.number(place)
}

func (t *table) texts(list []string) {
	t.number(len(list))
	for _, s := range list {
		t.text(s)
	}
}

func (t *table) bytes() []byte {
	var b []byte
	b = binary.AppendUvarint(b, uint64(len(t.strings)))
	for _, s := range t.strings {
		b = binary.AppendUvarint(b, uint64(len(s)))
	}
	for _, s := range t.strings {
		b = append(b, s...)
	}
	return append(b, t.stream...)
}

// A pool numbers values that occur often. Number 0 is the empty value.
type pool struct {
	places map[string]int
	list   [][]byte
	table  *table
}

func newPool(t *table) *pool {
	return &pool{places: map[string]int{"\x00": 0}, list: [][]byte{{0}}, table: t}
}

// place is the number of what write writes.
func (p *pool) place(write func(t *table)) int {
	outer := p.table.stream
	p.table.stream = nil
	write(p.table)
	written := p.table.stream
	p.table.stream = outer
	place, ok := p.places[string(written)]
	if !ok {
		place = len(p.list)
		p.list = append(p.list, written)
		p.places[string(written)] = place
	}
	return place
}

func (p *pool) bytes() []byte {
	b := binary.AppendUvarint(nil, uint64(len(p.list)))
	return append(b, slices.Concat(p.list...)...)
}

// writeIndex says which table a structure is in.
func writeIndex(m *material) []byte {
	t := newTable()
	for _, g := range guides {
		all := m.of(g)
		t.text(g.table)
		t.number(len(all))
		for _, s := range all {
			t.text(s.URL)
		}
	}
	return t.bytes()
}

var kinds = map[string]int{"primitive-type": 1, "complex-type": 2, "resource": 3}
var strengths = map[string]int{"required": 1, "extensible": 2, "preferred": 3, "example": 4}
var rules = map[string]int{"open": 1, "openAtEnd": 2, "closed": 3}
var discriminators = map[string]int{"value": 1, "exists": 2, "pattern": 3, "type": 4, "profile": 5}

// Flags of an element. The last six say that a value follows.
const (
	flagList = 1 << iota
	flagMustSupport
	flagModifier
	flagSummary
	flagAttribute
	flagFixed
	flagPattern
	flagMinValue
	flagMaxValue
	flagMaxLength
	flagRegex
)

type structureWriter struct {
	*table
	types, bindings, constraints, slicings *pool
	invariants                             *invariants
	resource                               bool // the structure at hand is one
	err                                    error
}

func writeStructures(all []*structure, known *invariants) ([]byte, error) {
	t := newTable()
	w := &structureWriter{table: t, types: newPool(t), bindings: newPool(t), constraints: newPool(t), slicings: newPool(t), invariants: known}
	w.number(len(all))
	for _, s := range all {
		w.structure(s)
		if w.err != nil {
			return nil, fmt.Errorf("%s: %w", s.URL, w.err)
		}
	}
	structures := t.stream
	t.stream = slices.Concat(w.types.bytes(), w.bindings.bytes(), w.constraints.bytes(), w.slicings.bytes(), structures)
	return t.bytes(), nil
}

func (w *structureWriter) structure(s *structure) {
	w.text(s.URL)
	w.text(s.Version)
	w.text(s.Name)
	w.text(s.Type)
	w.text(s.BaseDefinition)
	kind, ok := kinds[s.Kind]
	if !ok {
		w.err = fmt.Errorf("kind %q", s.Kind)
		return
	}
	flags := 0
	if s.Derivation == "constraint" {
		flags |= 1
	}
	if s.Abstract {
		flags |= 2
	}
	w.number(kind)
	w.number(flags)
	var contexts []string
	for _, c := range s.Context {
		if c.Type == "element" {
			contexts = append(contexts, c.Expression)
		}
	}
	if len(contexts) < len(s.Context) {
		contexts = nil // also allowed where an expression says, which is not evaluated here
	}
	w.texts(contexts)
	w.number(s.tree.size())
	w.resource = s.Kind == "resource"
	w.element(s.tree, 0)
}

func (t *tree) size() int {
	n := 1
	for _, c := range t.children {
		n += c.size()
	}
	for _, c := range t.slices {
		n += c.size()
	}
	return n
}

func (w *structureWriter) element(t *tree, depth int) {
	w.number(depth)
	w.text(t.name)
	w.text(t.SliceName)
	flags := 0
	set := func(on bool, flag int) {
		if on {
			flags |= flag
		}
	}
	upper := t.Base.Max
	if upper == "" {
		upper = or(t.Max, "1")
	}
	if p := w.regex(t); p != "" {
		flags |= flagRegex
	}
	set(upper != "0" && upper != "1", flagList)
	set(t.MustSupport != nil && *t.MustSupport, flagMustSupport)
	set(t.IsModifier != nil && *t.IsModifier, flagModifier)
	set(t.IsSummary != nil && *t.IsSummary, flagSummary)
	set(slices.Contains(t.Representation, "xmlAttr"), flagAttribute)
	set(t.values["fixed"].kind != "", flagFixed)
	set(t.values["pattern"].kind != "", flagPattern)
	set(t.values["minValue"].kind != "", flagMinValue)
	set(t.values["maxValue"].kind != "", flagMaxValue)
	set(t.MaxLength != nil, flagMaxLength)
	w.number(flags)
	w.number(or(t.Min, 0))
	w.number(w.max(t))
	w.number(w.types.place(func(x *table) { w.typeList(x, t, depth) }))
	w.number(w.bindings.place(func(x *table) { w.binding(x, t.Binding) }))
	w.number(w.constraints.place(func(x *table) { w.constraintList(x, t.Constraint) }))
	w.number(w.slicings.place(func(x *table) { w.slicing(x, t.Slicing) }))
	w.text(t.ContentReference[strings.Index(t.ContentReference, "#")+1:])
	for _, v := range []struct {
		flag int
		name string
	}{{flagFixed, "fixed"}, {flagPattern, "pattern"}, {flagMinValue, "minValue"}, {flagMaxValue, "maxValue"}} {
		if flags&v.flag != 0 {
			w.text(t.values[v.name].kind)
			w.text(t.values[v.name].json)
		}
	}
	if t.MaxLength != nil {
		w.number(*t.MaxLength)
	}
	if flags&flagRegex != 0 {
		w.text(w.regex(t))
	}
	for _, c := range t.children {
		w.element(c, depth+1)
	}
	for _, c := range t.slices {
		w.element(c, depth)
	}
}

func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// max is 0 for *, and one more than the number otherwise.
func (w *structureWriter) max(t *tree) int {
	upper := or(t.Max, "1")
	if upper == "*" {
		return 0
	}
	n := 0
	if _, err := fmt.Sscanf(upper, "%d", &n); err != nil {
		w.err = fmt.Errorf("max %q", upper)
	}
	return n + 1
}

func (w *structureWriter) regex(t *tree) string {
	if len(t.Type) != 1 {
		return ""
	}
	return t.Type[0].regex()
}

func (w *structureWriter) typeList(x *table, t *tree, depth int) {
	x.number(len(t.Type))
	for _, of := range t.Type {
		code := of.code()
		// The definitions call the id of a resource a string, and describe it as an id:
		// http://hl7.org/fhir/R4/resource.html#id
		if w.resource && depth == 1 && t.name == "id" {
			code = "id"
		}
		x.text(code)
		x.texts(of.Profile)
		x.texts(of.TargetProfile)
	}
}

func (w *structureWriter) binding(x *table, b *binding) {
	if b == nil {
		x.number(0)
		return
	}
	strength, ok := strengths[b.Strength]
	if !ok {
		w.err = fmt.Errorf("strength %q", b.Strength)
	}
	x.number(strength)
	x.text(b.ValueSet)
	x.text(b.max())
}

func (w *structureWriter) constraintList(x *table, list []constraint) {
	x.number(len(list))
	for _, c := range list {
		x.number(w.invariants.place(c))
	}
}

func (w *structureWriter) slicing(x *table, s *slicing) {
	if s == nil {
		x.number(0)
		return
	}
	rule, ok := rules[s.Rules]
	if !ok {
		w.err = fmt.Errorf("slicing rules %q", s.Rules)
	}
	x.number(rule)
	ordered := 0
	if s.Ordered {
		ordered = 1
	}
	x.number(ordered)
	x.number(len(s.Discriminator))
	for _, d := range s.Discriminator {
		kind, ok := discriminators[d.Type]
		if !ok {
			w.err = fmt.Errorf("discriminator %q", d.Type)
		}
		x.number(kind)
		x.text(d.Path)
	}
}

// invariants are the constraints of all structures, each once.
type invariants struct {
	list   []invariant
	places map[constraint]int
}

type invariant struct {
	constraint
	where []string
}

func identity(c constraint) constraint {
	return constraint{Key: c.Key, Severity: c.Severity, Expression: c.Expression}
}

func (v *invariants) place(c constraint) int { return v.places[identity(c)] }

// invariants collects them, with the ids of the elements that bear them where they are defined.
func (m *material) invariants() *invariants {
	v := &invariants{places: map[constraint]int{}}
	first := map[int]string{}
	var walk func(t *tree, s *structure, id string)
	walk = func(t *tree, s *structure, id string) {
		for _, c := range t.Constraint {
			place, ok := v.places[identity(c)]
			if !ok {
				place = len(v.list)
				v.places[identity(c)] = place
				if c.Source == "" {
					c.Source = s.URL
				}
				v.list = append(v.list, invariant{constraint: c})
				first[place] = s.URL
				if m.structures[c.Source] != nil && m.structures[c.Source].tree != nil {
					first[place] = c.Source
				}
			}
			if first[place] == s.URL {
				v.list[place].where = append(v.list[place].where, id)
			}
		}
		for _, c := range t.children {
			walk(c, s, id+"."+c.name)
		}
		for _, c := range t.slices {
			walk(c, s, id+":"+c.SliceName)
		}
	}
	for _, g := range guides {
		for _, s := range m.of(g) {
			walk(s.tree, s, s.tree.name)
		}
	}
	return v
}

func writeInvariants(v *invariants) []byte {
	t := newTable()
	t.number(len(v.list))
	for _, c := range v.list {
		t.text(c.Key)
		severity := 1
		if c.Severity == "warning" {
			severity = 2
		}
		t.number(severity)
		t.text(c.Human)
		t.text(c.Expression)
		t.text(c.Source)
		t.texts(c.where)
	}
	return t.bytes()
}

func writeValueSets(all []*codeSet) []byte {
	t := newTable()
	t.number(len(all))
	for _, c := range all {
		t.text(c.url)
		t.number(bit(c.open))
		t.number(len(c.systems))
		for _, url := range sortedKeys(c.systems) {
			s := c.systems[url]
			t.text(url)
			t.number(bit(s.open) | bit(s.anyCase)<<1)
			slices.Sort(s.partitions)
			s.partitions = slices.Compact(s.partitions)
			t.number(len(s.partitions))
			for _, p := range s.partitions {
				t.number(p)
			}
			codes := sortedKeys(s.codes)
			t.texts(codes)
		}
	}
	return t.bytes()
}

// writeHierarchies writes of each code system its codes in an order in which each comes behind
// all that are above it, and with each the places of those right above it.
func writeHierarchies(all []hierarchy) ([]byte, error) {
	t := newTable()
	t.number(len(all))
	for _, h := range all {
		t.text(h.system)
		t.number(bit(h.anyCase))
		order, err := h.order()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.system, err)
		}
		places := map[string]int{}
		t.number(len(order))
		for i, code := range order {
			places[code] = i
			t.text(code)
			t.number(len(h.parents[code]))
			for _, p := range h.parents[code] {
				t.number(i - places[p])
			}
		}
	}
	return t.bytes(), nil
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func writeSearch(params []searchParameter, compartments []compartment) []byte {
	t := newTable()
	t.number(len(params))
	for _, p := range params {
		t.text(p.Code)
		t.text(p.Type)
		t.text(p.URL)
		t.text(p.Expression)
		t.number(bit(or(p.MultipleOr, true)) | bit(or(p.MultipleAnd, true))<<1)
		t.texts(p.Base)
		t.texts(p.Target)
		t.texts(p.Comparator)
		t.texts(p.Modifier)
		t.number(len(p.Component))
		for _, c := range p.Component {
			t.text(c.Definition)
			t.text(c.Expression)
		}
	}
	t.number(len(compartments))
	for _, c := range compartments {
		t.text(c.Code)
		n := 0
		for _, r := range c.Resource {
			if len(r.Param) > 0 {
				n++
			}
		}
		t.number(n)
		for _, r := range c.Resource {
			if len(r.Param) > 0 {
				t.text(r.Code)
				t.texts(r.Param)
			}
		}
	}
	return t.bytes()
}
