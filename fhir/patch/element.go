package patch

import (
	"slices"
	"strings"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
)

// An element is where an element of a resource is in its JSON. A primitive is in two places:
// its value under its name, its id and extensions under the name with _ before it.
// http://hl7.org/fhir/R4/json.html#primitive
type element struct {
	in         *element // that it is an element of, nil for the resource itself
	object     *node    // of the resource itself, nil for others
	parent     *node    // object that has its name, and is open
	definition *definitions.Element
	name       string // in JSON: valueQuantity
	index      int    // in its list, or -1
	typ        string // Quantity
	primitive  bool
}

func (d *document) element() *element {
	return &element{object: d.root, index: -1, typ: d.is.resourceType}
}

// value is the JSON under the name of the element, or nil.
func (e *element) value() *node {
	if e.object != nil {
		return e.object
	}
	return e.under(e.name)
}

// aside is the object with the id and the extensions of a primitive, or nil.
func (e *element) aside() *node { return e.under("_" + e.name) }

func (e *element) under(name string) *node {
	n := e.parent.member(name)
	if n != nil && e.index >= 0 {
		if n.kind != '[' || e.index >= len(n.kids) {
			return nil
		}
		n = n.kids[e.index].node
	}
	if n == nil || n.kind == 'n' {
		return nil
	}
	return n
}

// content is the definition whose children are the elements in e, or nil if R4 has none.
func (e *element) content() *definitions.Element { return contentOf(e.definition, e.typ) }

func contentOf(c *definitions.Element, typ string) *definitions.Element {
	if c != nil && c.Content != nil {
		return c.Content
	}
	if c != nil && len(c.Children) > 0 {
		return c
	}
	if s, ok := definitions.ForType(typ); ok {
		return s.Root()
	}
	return nil
}

// child is the definition of the elements in e that have a name, or nil.
func (e *element) child(name string) *definitions.Element {
	content := e.content()
	if content == nil || e.primitive && name == "value" {
		return nil // the value of a primitive is the primitive
	}
	for _, c := range content.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// holder is the object with the elements in e, open, or nil if there is none.
func (e *element) holder() (*node, error) {
	n := e.value()
	if e.primitive {
		n = e.aside()
	}
	if n == nil {
		return nil, nil
	}
	if n.kind != '{' {
		return nil, misshapen(e.typ)
	}
	return n, n.open()
}

func misshapen(typ string) error {
	return fhir.Errorf(fhir.CodeStructure, "", "the resource has no valid JSON for an element of type %s", typ).
		WithFix("send a valid resource with an update")
}

// children are the elements in e that c defines, and how many members were looked at.
func (e *element) children(c *definitions.Element) ([]*element, int, error) {
	object, err := e.holder()
	if object == nil || err != nil {
		return nil, 1, err
	}
	var found []*element
	looked := 1 + len(object.kids)
	for _, name := range namesOf(object, c) {
		one := &element{in: e, parent: object, definition: c, name: name, index: -1, typ: typeOf(c, name)}
		if s, ok := definitions.ForType(one.typ); ok {
			one.primitive = s.Kind == definitions.Primitive
		}
		count, err := one.count()
		if err != nil {
			return nil, looked, err
		}
		looked += count
		if !c.List {
			found = append(found, one.contained())
			continue
		}
		for i := range count {
			item := *one
			item.index = i
			found = append(found, item.contained())
		}
	}
	return found, looked, nil
}

// namesOf are the names in JSON under which an object has elements that c defines: several
// only if the resource is not valid.
func namesOf(object *node, c *definitions.Element) []string {
	if !c.Choice {
		if object.find(c.Name) < 0 && object.find("_"+c.Name) < 0 {
			return nil
		}
		return []string{c.Name}
	}
	var names []string
	for _, k := range object.kids {
		name := strings.TrimPrefix(unquote(k.name), "_")
		if typeOf(c, name) != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// typeOf is the type that an element has which is called name in JSON, or "".
func typeOf(c *definitions.Element, name string) string {
	if !c.Choice {
		if len(c.Types) == 1 {
			return c.Types[0].Code
		}
		return "BackboneElement" // what is defined elsewhere is of no type of its own
	}
	rest, ok := strings.CutPrefix(name, c.Name)
	if !ok {
		return ""
	}
	for i := range c.Types {
		if definitions.JSONType(c.Types[i].Code) == rest {
			return c.Types[i].Code
		}
	}
	return ""
}

// count is how many elements there are of that name, after it has opened their arrays.
func (e *element) count() (int, error) {
	if !e.definition.List {
		for _, n := range []*node{e.value(), e.aside()} {
			if n != nil && n.kind == '[' {
				return 0, misshapen(e.typ)
			}
		}
		return 1, nil
	}
	count := 0
	for _, name := range []string{e.name, "_" + e.name} {
		list := e.parent.member(name)
		if list == nil {
			continue
		}
		if list.kind != '[' {
			return 0, misshapen(e.typ)
		}
		if err := list.open(); err != nil {
			return 0, err
		}
		count = max(count, len(list.kids))
	}
	return count, nil
}

// contained is e, with its own type if it is a resource in a resource.
func (e *element) contained() *element {
	if e.typ != "Resource" {
		return e
	}
	if n := e.value(); n != nil && n.kind == '{' && n.open() == nil {
		if t := n.member("resourceType"); t != nil && definitions.IsResource(t.text()) {
			e.typ = t.text()
		}
	}
	return e
}
