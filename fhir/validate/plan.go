package validate

import (
	"sync"

	"github.com/kiln-health/kiln/fhir/definitions"
)

// kind is what the JSON of an element looks like.
type kind uint8

const (
	objectKind kind = iota
	resourceKind
	base64BinaryKind
	booleanKind
	canonicalKind
	codeKind
	dateKind
	dateTimeKind
	decimalKind
	elementIDKind
	idKind
	instantKind
	integerKind
	markdownKind
	oidKind
	positiveIntKind
	stringKind // the FHIR type string
	timeKind
	unsignedIntKind
	uriKind
	urlKind
	uuidKind
	xhtmlKind
)

var kinds = map[string]kind{
	"base64Binary": base64BinaryKind, "boolean": booleanKind, "canonical": canonicalKind, "code": codeKind, "date": dateKind,
	"dateTime": dateTimeKind, "decimal": decimalKind, "id": idKind, "instant": instantKind, "integer": integerKind,
	"markdown": markdownKind, "oid": oidKind, "positiveInt": positiveIntKind, "string": stringKind, "time": timeKind,
	"unsignedInt": unsignedIntKind, "uri": uriKind, "url": urlKind, "uuid": uuidKind, "xhtml": xhtmlKind,
}

func (k kind) primitive() bool { return k > resourceKind }

// A plan is the definitions of R4 in the form that the walk follows.
type plan struct {
	slots     []slot
	classes   map[*definitions.Element]*class
	byType    map[string]*class // resources and data types
	resources map[string]*class // those that can exist
	types     []*class          // the same by number
	names     []string          // their names, sorted
	element   *class
	extension *class
	reference *class
	entry     *class                     // of a Bundle
	profiles  map[string]func() *profile // by URL
	known     map[string]native
}

// A class is a kind of object: a resource, a data type, or an element with elements of its own.
type class struct {
	name     string // Observation, Quantity, Observation.component
	spec     string // URL of the structure that defines it
	resource bool
	number   int // of a resource type that can exist
	domain   bool
	members  []member
	required uint64 // a bit for each member that must be there
	rules    []rule
	table    []entry // slots by JSON name, a hash table with open addressing
	mask     uint32
	holds    int32 // the slot of the member that is a resource, or -1
}

// A member is an element of a class.
type member struct {
	name     string
	min, max int
	list     bool
	first    int32 // the slot of its first type
	count    int32 // how many types it has
	element  *definitions.Element
}

// A slot is a member of a class with one of its types: what a name in JSON stands for.
type slot struct {
	name      string // value
	json      string // valueQuantity
	owner     *class
	member    uint8
	kind      kind
	list      bool
	attribute bool
	class     *class // of an object
	typ       *definitions.Type
	codes     *definitions.CodeSet // of a code that must be in a value set
	binding   *binding             // of a coded object
	targets   *targets             // of a reference; nil is any
	rules     []rule               // those that the class does not have anyway
	meets     func() *profile      // a profile of the type that the value must meet, or nil
	local     bool                 // a text that may refer to a contained resource
}

type entry struct {
	name string
	slot int32 // plus one; 0 is empty
}

// companioned reports whether the value can have an id and extensions beside it.
func (s *slot) companioned() bool { return s.kind.primitive() && s.kind != xhtmlKind && !s.attribute }

// targets are resource types that a reference may point at, a bit for each.
type targets struct {
	bits  [3]uint64
	names []string
}

func (t *targets) allows(c *class) bool { return t.bits[c.number/64]>>(c.number%64)&1 != 0 }

// maxMembers leaves room for resourceType in a word of bits.
const maxMembers = 63

// compiled is the plan of R4. It takes some milliseconds when it is first asked for.
var compiled = sync.OnceValue(func() *plan { return newPlan(natives()) })

// newPlan is a plan in which the given invariants are in Go.
func newPlan(known map[string]native) *plan {
	p := &plan{
		classes:   map[*definitions.Element]*class{},
		byType:    map[string]*class{},
		resources: map[string]*class{},
		names:     definitions.ResourceTypes(),
		known:     known,
	}
	for n, name := range p.names {
		c := &class{name: name, number: n, holds: -1}
		p.resources[name] = c
		p.types = append(p.types, c)
	}
	for _, name := range append([]string{"Resource", "DomainResource"}, p.names...) {
		p.ofType(name)
	}
	p.profiles = p.compileProfiles()
	p.setRules()
	p.element, p.extension, p.reference = p.ofType("Element"), p.ofType("Extension"), p.ofType("Reference")
	bundle := p.ofType("Bundle")
	p.entry = p.slots[bundle.find([]byte("entry"))].class
	p.setDeviceRules()
	return p
}

// setRules gives classes and slots their rules, which may look at classes of all kinds.
func (p *plan) setRules() {
	for e, c := range p.classes {
		c.rules = p.rules(e.Invariants, nil, c)
	}
	for i := range p.slots {
		s := &p.slots[i]
		var own []rule
		if s.class != nil {
			own = s.class.rules
		}
		s.rules = p.rules(s.owner.members[s.member].element.Invariants, own, s.class)
		if s.typ != nil && len(s.typ.Profiles) == 1 {
			s.meets = p.profiles[s.typ.Profiles[0]]
		}
	}
}

// ofType is the class of a resource or data type.
func (p *plan) ofType(name string) *class {
	if c := p.byType[name]; c != nil {
		return c
	}
	s, ok := definitions.ForType(name)
	if !ok {
		return nil
	}
	c := p.resources[name]
	if c == nil {
		c = &class{name: name, holds: -1}
	}
	p.byType[name] = c
	p.classes[s.Root()] = c
	c.spec = s.URL
	c.resource = s.Kind == definitions.Resource
	c.domain = s.Base == "http://hl7.org/fhir/StructureDefinition/DomainResource"
	p.fill(c, s.Root())
	return c
}

// ofElement is the class of an element that has elements of its own.
func (p *plan) ofElement(e *definitions.Element, spec string) *class {
	if c := p.classes[e]; c != nil {
		return c
	}
	c := &class{name: e.Path(), spec: spec, holds: -1}
	p.classes[e] = c
	p.fill(c, e)
	return c
}

// fill gives a class its members. All its slots are made before those of other classes,
// so that they lie together.
func (p *plan) fill(c *class, e *definitions.Element) {
	first := len(p.slots)
	for _, child := range e.Children {
		if len(c.members) == maxMembers {
			break
		}
		m := member{name: child.Name, min: child.Min, max: child.Max, list: child.List, first: int32(len(p.slots)), element: child}
		if child.Min > 0 {
			c.required |= 1 << len(c.members)
		}
		of := slot{name: child.Name, json: child.Name, owner: c, member: uint8(len(c.members)), list: child.List, attribute: child.Attribute}
		for i := range child.Types {
			s := of
			s.typ = &child.Types[i]
			if child.Choice {
				s.json += definitions.JSONType(s.typ.Code)
			}
			s.kind = kinds[s.typ.Code]
			p.slots = append(p.slots, s)
		}
		if len(child.Types) == 0 {
			p.slots = append(p.slots, of)
		}
		m.count = int32(len(p.slots)) - m.first
		c.members = append(c.members, m)
	}
	last := len(p.slots)
	c.index(p.slots[first:], first)
	for i := first; i < last; i++ {
		p.resolve(i, c)
	}
}

// resolve says what is in a slot: the class of its object, its value set, its targets.
func (p *plan) resolve(i int, c *class) {
	s := p.slots[i]
	e := c.members[s.member].element
	switch {
	case e.Content != nil:
		s.class = p.ofElement(e.Content, c.spec)
	case len(e.Children) > 0:
		s.class = p.ofElement(e, c.spec)
	case s.typ == nil:
	case s.typ.Code == "Resource":
		s.kind = resourceKind
		c.holds = int32(i)
	case s.kind == objectKind:
		s.class = p.ofType(s.typ.Code)
	case s.attribute && s.name == "id":
		s.kind = elementIDKind
	}
	if b := e.Binding; b != nil && b.Strength <= definitions.Extensible {
		if set, ok := definitions.ValueSet(b.ValueSet); ok {
			switch {
			case s.kind == objectKind:
				s.binding = newBinding(s.class, b.Strength, set)
			case b.Strength == definitions.Required && (s.kind == codeKind || s.kind == uriKind || s.kind == stringKind):
				s.codes = set
			}
		}
	}
	if s.typ != nil && s.typ.Code == "Reference" {
		s.targets = p.targets(s.typ.Targets)
	}
	s.local = s.kind == uriKind || s.kind == urlKind || s.kind == canonicalKind || c.name == "Reference" && s.name == "reference"
	p.slots[i] = s
}

// targets are the resource types of the structures, nil if there is no limit.
func (p *plan) targets(urls []string) *targets {
	if len(urls) == 0 {
		return nil
	}
	t := &targets{}
	for _, u := range urls {
		s, ok := definitions.Lookup(u)
		if !ok || s.Abstract {
			return nil
		}
		c := p.resources[s.Type]
		if c == nil {
			return nil
		}
		if !t.allows(c) {
			t.bits[c.number/64] |= 1 << (c.number % 64)
			t.names = append(t.names, c.name)
		}
	}
	return t
}

func (c *class) index(slots []slot, first int) {
	size := 4
	for size < 3*len(slots) {
		size *= 2
	}
	c.table = make([]entry, size)
	c.mask = uint32(size - 1)
	for n := range slots {
		i := hash([]byte(slots[n].json)) & c.mask
		for c.table[i].slot != 0 {
			i = (i + 1) & c.mask
		}
		c.table[i] = entry{slots[n].json, int32(first + n + 1)}
	}
}

// find is the slot of a JSON name, or -1.
func (c *class) find(name []byte) int32 {
	if len(name) == 0 || c.table == nil {
		return -1
	}
	for i := hash(name) & c.mask; ; i = (i + 1) & c.mask {
		e := &c.table[i]
		if e.slot == 0 || e.name == string(name) {
			return e.slot - 1
		}
	}
}

// hash tells the few names of a class apart. It looks at four places only.
func hash(name []byte) uint32 {
	n := len(name)
	return uint32(n)*0x9e3779b1 ^ uint32(name[0])*0x85ebca6b ^ uint32(name[n-1])*0xc2b2ae35 ^ uint32(name[n/2])*0x27d4eb2f>>3
}

// ordinal is the place of a member by its name, or -1.
func (c *class) ordinal(name string) int {
	for i := range c.members {
		if c.members[i].name == name {
			return i
		}
	}
	return -1
}

// bit is that of a member in the words that say which members an object has; 0 if there is none.
func (c *class) bit(name string) uint64 {
	if i := c.ordinal(name); i >= 0 {
		return 1 << i
	}
	return 0
}
