package search

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
)

// kind is how the values of an element are read.
type kind uint8

const (
	unread       kind = iota
	concept           // CodeableConcept
	coding            // Coding
	identifier        // Identifier
	contact           // ContactPoint
	code              // code, with an implicit system
	boolean           // boolean
	textual           // string, markdown, id
	uri               // uri, url, oid, uuid
	canonicalURL      // canonical
	reference         // Reference
	dateTime          // date and dateTime
	instant           // instant
	period            // Period
	timing            // Timing
	numeric           // integer, decimal
	quantity          // Quantity and what is derived from it
	money             // Money
	ranged            // Range
	sampledData       // SampledData
	humanName         // HumanName
	address           // Address
	position          // the position of a Location, which has no type of its own
)

// kinds are those of the FHIR types. Others have no values that are searched.
var kinds = map[string]kind{
	"CodeableConcept": concept, "Coding": coding, "Identifier": identifier, "ContactPoint": contact, "code": code, "boolean": boolean,
	"string": textual, "markdown": textual, "id": textual, "uri": uri, "url": uri, "oid": uri, "uuid": uri, "canonical": canonicalURL, "Reference": reference,
	"date": dateTime, "dateTime": dateTime, "instant": instant, "Period": period, "Timing": timing,
	"integer": numeric, "positiveInt": numeric, "unsignedInt": numeric, "decimal": numeric,
	"Quantity": quantity, "Age": quantity, "Count": quantity, "Distance": quantity, "Duration": quantity, "MoneyQuantity": quantity, "SimpleQuantity": quantity,
	"Money": money, "Range": ranged, "SampledData": sampledData, "HumanName": humanName, "Address": address,
}

// readable says which kinds give values of a type of parameter.
// http://hl7.org/fhir/R4/search.html#ptypes
var readable = map[ParamType][]kind{
	TokenParam:     {concept, coding, identifier, contact, code, boolean, textual, uri, canonicalURL},
	ReferenceParam: {reference, canonicalURL, uri},
	DateParam:      {dateTime, instant, period, timing},
	QuantityParam:  {quantity, money, ranged, sampledData},
	NumberParam:    {numeric, ranged},
	StringParam:    {textual, humanName, address, concept},
	URIParam:       {uri, canonicalURL},
	SpecialParam:   {position},
}

// program says where in a resource of one type the values of its parameters are.
type program struct {
	root   *node
	depth  int          // of the deepest node
	bases  []repetition // of composites
	shared int          // parts that all tuples of a composite have
	always []truth
}

// truth is a parameter that has the value false where nothing says true, unless the
// element is there without a value.
type truth struct {
	*row
	companion []byte
}

// node is an element that values are in, or that leads to some.
type node struct {
	names map[string]*node // elements of it, by their names in JSON
	// table is names in the form in which they are looked up: a hash table with open addressing.
	table []entry
	// guarded are nodes for the same element that count only if it meets a condition.
	guarded []guarded
	kind    kind
	leaves  []leaf
	bases   []int // composites of which every such object is a repetition
}

type entry struct {
	name string
	node *node
}

type guarded struct {
	when step // field, extends or index
	node *node
}

// leaf is a parameter that takes values of an element.
type leaf struct {
	*row
	points string // a reference counts only if it points at this type
	truth  bool
	silent bool // only the composites take it
	parts  []part
}

// repetition is where the tuples of a composite begin.
type repetition struct {
	param  string
	parts  int
	shared []int // for each part its number among the shared ones, or -1
}

// part is where a value belongs in a tuple, or, without a base, its number among the shared ones.
type part struct{ base, at int }

func (n *node) child(name string) *node {
	if n.names == nil {
		n.names = map[string]*node{}
	}
	c := n.names[name]
	if c == nil {
		c = &node{}
		n.names[name] = c
	}
	return c
}

// settle makes the tables of all nodes.
func (n *node) settle() {
	if len(n.names) > 0 {
		size := 4
		for size < 3*len(n.names) {
			size *= 2
		}
		n.table = make([]entry, size)
		for _, name := range slices.Sorted(maps.Keys(n.names)) {
			i := hash(name) & (size - 1)
			for n.table[i].node != nil {
				i = (i + 1) & (size - 1)
			}
			n.table[i] = entry{name, n.names[name]}
			n.names[name].settle()
		}
	}
	for i := range n.guarded {
		n.guarded[i].node.settle()
	}
}

// hash tells the names of a few elements apart.
func hash[T string | []byte](name T) int {
	n := len(name)
	if n == 0 {
		return 0
	}
	return int(uint32(n)*0x9e3779b1^uint32(name[0])*0x85ebca6b^uint32(name[n-1])*0xc2b2ae35^uint32(name[n/2])*0x27d4eb2f) >> 3
}

// lookup is the element of that name, or nil.
func lookup[T string | []byte](n *node, name T) *node {
	if len(n.table) == 0 {
		return nil
	}
	mask := len(n.table) - 1
	for i := hash(name) & mask; ; i = (i + 1) & mask {
		e := &n.table[i]
		if e.node == nil || e.name == string(name) {
			return e.node
		}
	}
}

// depth is how many elements there are on the longest way from n.
func (n *node) depth() int {
	most := 0
	for _, c := range n.names {
		most = max(most, 1+c.depth())
	}
	for i := range n.guarded {
		most = max(most, n.guarded[i].node.depth())
	}
	return most
}

func (n *node) guard(when step) *node {
	for i := range n.guarded {
		if n.guarded[i].when == when {
			return n.guarded[i].node
		}
	}
	g := guarded{when, &node{}}
	n.guarded = append(n.guarded, g)
	return g.node
}

// compile makes the rows and the program of the type, once.
func (c *class) compile() { c.once.Do(c.compileNow) }

func (c *class) compileNow() {
	c.program = &program{root: &node{}}
	c.byName, c.refused = map[string]*row{}, map[string]string{}
	for _, d := range definitions.SearchParameters(c.name) {
		if why := unsupported[d.URL]; why != "" {
			c.refused[d.Name] = why
		}
	}
	root, ok := definitions.ForType(c.name)
	if !ok {
		return
	}
	specs := c.specs()
	var issues []fhir.Issue
	rows := make([]row, len(specs))
	for i := range specs {
		r := &rows[i]
		r.Param = specs[i].Param
		r.number, r.Sortable = i, r.Type != CompositeParam && r.Type != SpecialParam
		r.text, r.ofType = r.Name+":text", r.Name+":of-type"
		c.rows, c.byName[r.Name] = append(c.rows, r), r
	}
	for i := range specs {
		b := compiler{class: c, row: c.rows[i]}
		var err error
		if specs[i].Type == CompositeParam {
			err = b.composite(root.Root(), &specs[i])
		} else {
			err = b.plain(root.Root())
		}
		if err != nil {
			issues = append(issues, fhir.Errorf(fhir.CodeNotSupported, specs[i].Name, "the expression for %s cannot be used: %v", c.name, err).Issues...)
		}
	}
	// Components are filled in when all rows are complete.
	for i := range specs {
		for _, s := range specs[i].parts {
			if r := c.component(s.Name); r != nil {
				p := r.Param
				p.Expression, p.Components = s.Expression, nil
				c.rows[i].Components = append(c.rows[i].Components, p)
			}
		}
	}
	c.program.root.settle()
	c.program.depth = c.program.root.depth()
	if len(issues) > 0 {
		c.err = &fhir.Error{Issues: issues}
	}
}

// component is the row that a composite names, by URL or by name.
func (c *class) component(name string) *row {
	if r := c.byName[name]; r != nil {
		return r
	}
	for _, r := range c.rows {
		if r.Definition == name {
			return r
		}
	}
	return nil
}

// compiler adds one parameter to the program of its type.
type compiler struct {
	class *class
	row   *row

	points   []string // the types of where(resolve() is T), "" for a leaf without it
	codes    []*definitions.CodeSet
	found    int
	foreign  []string // types of elements that have no values for the parameter
	baseNode []baseAt
}

// baseAt is an element that a composite is about.
type baseAt struct {
	node *node
	element
}

// element is an element with one of its types.
type element struct {
	*definitions.Element
	typ string // "" if it has elements of its own
	url string // of an extension, if the path tells
}

// plain compiles a parameter that is no composite.
func (b *compiler) plain(root *definitions.Element) error {
	r := b.row
	if r.Name == "_id" || r.Name == "_lastUpdated" {
		r.CaseSensitive, r.kinds = r.Type == TokenParam, 1<<textual
		return nil // not read from the JSON but from the key and the time that the store gives
	}
	paths, err := b.paths()
	if err != nil {
		return err
	}
	for _, p := range paths {
		err := b.follow(b.class.program.root, element{Element: root}, p.steps, func(n *node, e element, points string) {
			b.leaf(n, e, leaf{row: r, points: points, truth: p.truth})
		})
		if err != nil {
			return err
		}
		if p.truth && len(p.steps) > 0 {
			b.class.program.always = append(b.class.program.always, truth{r, []byte(`"_` + p.steps[0].element)})
		}
	}
	if b.found == 0 {
		return b.nothing()
	}
	b.complete()
	return nil
}

func (b *compiler) nothing() error {
	if len(b.foreign) > 0 {
		return fmt.Errorf("it finds %s, which has no values of type %s", strings.Join(b.foreign, ", "), b.row.Type)
	}
	return errors.New("it finds nothing")
}

// paths are those of the expression that are for the type.
func (b *compiler) paths() ([]path, error) {
	all, err := parsePaths(b.row.Expression)
	if err != nil {
		return nil, err
	}
	var ours []path
	for _, p := range all {
		switch {
		case p.root == b.class.name, p.root == "Resource", p.root == "DomainResource":
			ours = append(ours, p)
		case p.root == "" || p.root[0] == '%':
			return nil, errors.New("a path does not begin with a resource type")
		}
	}
	if len(ours) == 0 {
		return nil, errors.New("no path begins with the type")
	}
	return ours, nil
}

// follow goes along the steps from an element and calls found with where they lead.
func (b *compiler) follow(n *node, e element, steps []step, found func(*node, element, string)) error {
	if len(steps) == 0 {
		found(n, e, "")
		return nil
	}
	s := steps[0]
	switch {
	case s.element != "":
		return b.into(n, e, steps, found)
	case s.as != "":
		if !is(e.typ, s.as) {
			return fmt.Errorf("an element is %s, never %s", e.typ, s.as)
		}
		return b.follow(n, e, steps[1:], found)
	case s.points != "":
		if e.typ != "Reference" || !definitions.IsResource(s.points) {
			return errors.New("resolve() is for references to a type of R4")
		}
		if len(steps) > 1 {
			return errors.New("nothing may follow resolve()")
		}
		found(n, e, s.points)
		return nil
	case s.field != "":
		if c := childOf(e, s.field); c == nil || c.Choice || c.List || len(c.Types) != 1 || !literalKind(kinds[c.Types[0].Code]) {
			return fmt.Errorf("where: %s is no single value of the element", s.field)
		}
		if e.typ == "Extension" && s.field == "url" {
			guarded := e
			guarded.url = s.literal
			return b.follow(n.guard(s), guarded, steps[1:], found)
		}
	case s.extends != "":
	case s.index > 0:
		if !e.List {
			return errors.New("an index is for elements that may repeat")
		}
	}
	return b.follow(n.guard(s), e, steps[1:], found)
}

// into goes to the elements of a name: one for each of their types.
func (b *compiler) into(n *node, e element, steps []step, found func(*node, element, string)) error {
	s := steps[0]
	if (s.element == "id" || s.element == "extension") && literalKind(kinds[e.typ]) {
		return fmt.Errorf("%s of a primitive is not supported", s.element)
	}
	c := childOf(e, s.element)
	if c == nil {
		return fmt.Errorf("there is no element %s", s.element)
	}
	types := c.Types
	if e.typ == "Extension" && s.element == "value" {
		types = valuesOf(e.url, types)
	}
	if c.Content != nil {
		return b.follow(n.child(c.Name), element{Element: c.Content}, steps[1:], found)
	}
	if c.Choice && len(steps) > 1 && steps[1].as != "" {
		types = slices.DeleteFunc(slices.Clone(types), func(t definitions.Type) bool { return !is(t.Code, steps[1].as) })
		if len(types) == 0 {
			return fmt.Errorf("%s is never %s", s.element, steps[1].as)
		}
	}
	// Of a choice those types count that have what the path goes on with.
	var first error
	any := false
	for _, t := range types {
		name := c.Name
		if c.Choice {
			name += definitions.JSONType(t.Code)
		}
		to := element{Element: c, typ: t.Code}
		if len(c.Children) > 0 {
			to.typ = ""
		}
		err := b.follow(n.child(name), to, steps[1:], found)
		if err == nil {
			any = true
		} else if first == nil {
			first = err
		}
	}
	if any {
		return nil
	}
	return first
}

// is reports whether a type is another one or derived from it, as canonical is from uri.
// http://hl7.org/fhirpath/N1/#as-type-specifier
func is(typ, of string) bool {
	for at, ok := definitions.ForType(typ); ok; at, ok = definitions.Lookup(at.Base) {
		if at.Type == of {
			return true
		}
	}
	return false
}

// valuesOf are the types that the value of an extension has by its definition, or all if it
// has none here.
func valuesOf(url string, all []definitions.Type) []definitions.Type {
	s, ok := definitions.Lookup(url)
	if !ok {
		return all
	}
	for _, c := range s.Root().Children {
		if c.Name == "value" && len(c.Types) > 0 {
			return c.Types
		}
	}
	return all
}

// literalKind reports whether a value of that kind can be compared with a text or a boolean.
func literalKind(k kind) bool { return k >= code && k <= canonicalURL }

// childOf is the element of that name in e, nil if it has none.
func childOf(e element, name string) *definitions.Element {
	children := e.Children
	if len(children) == 0 && e.typ != "" {
		t, ok := definitions.ForType(e.typ)
		if !ok {
			return nil
		}
		children = t.Root().Children
	}
	for _, c := range children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// leaf lets a parameter take the values of an element. Of an extension that is its value.
func (b *compiler) leaf(n *node, e element, l leaf) {
	if e.typ == "Extension" {
		// Whatever is found inside is found: that there is no value is no error.
		_ = b.into(n, e, []step{{element: "value"}}, func(n *node, e element, _ string) {
			if e.typ != "Extension" {
				b.leaf(n, e, l)
			}
		})
		return
	}
	k := kinds[e.typ]
	if l.Type == SpecialParam && e.Path() == "Location.position" {
		k = position
	}
	if l.truth && k != unread {
		b.row.kinds |= 1 << boolean
	} else if !slices.Contains(readable[l.Type], k) {
		typ := e.typ
		if typ == "" {
			typ = e.Path()
		}
		b.foreign = append(b.foreign, typ)
		return
	}
	b.found++
	n.kind = k
	b.points = append(b.points, l.points)
	if !l.truth {
		b.row.kinds |= 1 << k
	}
	if k == code {
		var set *definitions.CodeSet
		if e.Binding != nil && e.Binding.Strength == definitions.Required {
			set, _ = definitions.ValueSet(e.Binding.ValueSet)
		}
		b.codes = append(b.codes, set)
	}
	if e.Binding != nil && (k == code || k == coding || k == concept) {
		if set, ok := definitions.ValueSet(e.Binding.ValueSet); ok {
			for _, s := range set.Systems {
				if !slices.Contains(b.row.systems, s.System) {
					b.row.systems = append(b.row.systems, s.System)
				}
			}
		}
	}
	for i := range n.leaves {
		if m := &n.leaves[i]; m.row == l.row && m.points == l.points && m.truth == l.truth {
			m.parts = append(m.parts, l.parts...)
			m.silent = m.silent && l.silent
			return
		}
	}
	n.leaves = append(n.leaves, l)
}

// complete says of the parameter what depends on the elements that it has values in.
func (b *compiler) complete() {
	r := b.row
	if r.Type == ReferenceParam && !slices.Contains(b.points, "") {
		// A definition for several types names targets that this one cannot have.
		r.Targets = slices.Compact(slices.Sorted(slices.Values(b.points)))
	}
	if r.Type != TokenParam {
		return
	}
	// Identifiers, and texts as tokens, compare with case, and so do codes of FHIR's own
	// systems. When in doubt a server should not. http://hl7.org/fhir/R4/search.html#token
	r.CaseSensitive = r.kinds&^(1<<identifier|1<<code|1<<boolean|1<<textual|1<<uri|1<<canonicalURL) == 0
	systems := map[string]bool{}
	for _, set := range b.codes {
		if set == nil {
			r.CaseSensitive = false
			systems[""] = true
			continue
		}
		for _, s := range set.Systems {
			systems[s.System] = true
			if s.AnyCase || !strings.HasPrefix(s.System, "http://hl7.org/fhir/") && !strings.HasPrefix(s.System, "http://terminology.hl7.org/") {
				r.CaseSensitive = false
			}
		}
	}
	if r.kinds == 1<<code && len(systems) == 1 {
		for r.system = range systems { // it is one
		}
	}
}

// composite compiles a composite: where its tuples begin, and what is in them.
func (b *compiler) composite(root *definitions.Element, s *spec) error {
	program := b.class.program
	paths, err := b.paths()
	if err != nil {
		return err
	}
	for _, p := range paths {
		err := b.follow(program.root, element{Element: root}, p.steps, func(n *node, e element, _ string) {
			b.baseNode = append(b.baseNode, baseAt{n, e})
		})
		if err != nil {
			return err
		}
	}
	shared := make([]int, len(s.parts))
	for at := range shared {
		shared[at] = -1
	}
	complete := 0
	for _, from := range b.baseNode {
		number := len(program.bases)
		program.bases = append(program.bases, repetition{param: b.row.Name, parts: len(s.parts), shared: shared})
		all := true
		for at, c := range s.parts {
			row := b.class.component(c.Name)
			if row == nil || row.Type == CompositeParam || row.Type == SpecialParam {
				return errors.New("a component is no search parameter of the type that may be one")
			}
			part := compiler{class: b.class, row: row}
			if err := part.component(root, from, c.Expression, number, at, shared); err != nil {
				return fmt.Errorf("component %s: %w", row.Name, err)
			}
			all = all && part.found > 0
		}
		if all {
			complete++
			from.node.bases = append(from.node.bases, number)
		}
	}
	if complete == 0 {
		return errors.New("a component finds nothing")
	}
	return nil
}

func (b *compiler) component(root *definitions.Element, from baseAt, expression string, number, at int, shared []int) error {
	kinds := b.row.kinds // what a component finds does not change its parameter
	defer func() { b.row.kinds = kinds }()
	paths, err := parsePaths(expression)
	if err != nil {
		return err
	}
	for _, p := range paths {
		n, e, to := from.node, from.element, part{number, at}
		switch {
		case p.root == "%resource" && shared[at] >= 0:
			b.found++
			continue
		case p.root == "%resource":
			shared[at] = b.class.program.shared
			b.class.program.shared++
			n, e, to = b.class.program.root, element{Element: root}, part{-1, shared[at]}
		case p.root != "" || p.truth:
			return errors.New("it starts at the resource: start at what the composite is about, or at %resource")
		}
		err := b.follow(n, e, p.steps, func(n *node, e element, points string) {
			b.leaf(n, e, leaf{row: b.row, points: points, silent: true, parts: []part{to}})
		})
		if err != nil {
			return err
		}
	}
	return nil
}
