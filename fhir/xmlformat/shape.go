package xmlformat

import (
	"sync"

	"github.com/kiln-health/kiln/fhir/definitions"
)

// kind is what the value of a field looks like in both forms.
type kind uint8

const (
	object   kind = iota // elements in an element
	resource             // a resource in an element
	xhtml                // the div of a narrative
	attribute
	boolean
	integer
	decimal
	phrase // a string or markdown, in which white space counts
	token  // any other primitive, which never has white space at its ends
)

func (k kind) primitive() bool { return k >= boolean }

// A field is an element of a shape, under one of the names that it has: a choice has a
// field for each of its types.
type field struct {
	name  string // valueQuantity
	step  string // value, as in a FHIRPath
	order int    // its place among the elements; the same for all types of a choice
	list  bool   // an array in JSON
	kind  kind
	of    *shape // of an object; of a primitive: the id and the extensions
}

// A shape is a kind of object: a resource, a data type, or an element with elements of its own.
type shape struct {
	name   string // Observation, Quantity, Observation.component
	url    *field // what is the attribute url in XML, if there is one
	fields map[string]*field
	sorted []*field // in their order
}

// choice is a name of the element that is called name without its type, or "".
func (s *shape) choice(name string) string {
	for _, f := range s.sorted {
		if f.step == name && f.name != name {
			return f.name
		}
	}
	return ""
}

// model is the shapes of all resources. It takes some milliseconds when it is first asked for.
var model = sync.OnceValue(func() map[string]*shape {
	c := compiler{}
	all := map[string]*shape{}
	for _, name := range definitions.ResourceTypes() {
		all[name] = c.ofType(name)
	}
	return all
})

// A compiler makes each shape once: elements contain one another.
type compiler map[*definitions.Element]*shape

func (c compiler) ofType(name string) *shape {
	s, ok := definitions.ForType(name)
	if !ok {
		return &shape{name: name} // R4 has none such
	}
	return c.ofElement(s.Root(), s.Kind == definitions.Primitive)
}

func (c compiler) ofElement(e *definitions.Element, primitive bool) *shape {
	if s := c[e]; s != nil {
		return s
	}
	s := &shape{name: e.Path(), fields: make(map[string]*field, len(e.Children))}
	c[e] = s
	for i, child := range e.Children {
		if primitive && child.Name == "value" {
			continue // of the element that it is, not one in it
		}
		for _, f := range c.fieldsOf(child) {
			f.order = i
			s.fields[f.name] = f
			s.sorted = append(s.sorted, f)
			if f.kind == attribute && f.name == "url" {
				s.url = f
			}
		}
	}
	return s
}

// fieldsOf are the fields of an element, one for each name.
func (c compiler) fieldsOf(e *definitions.Element) []*field {
	if len(e.Types) == 0 || len(e.Children) > 0 {
		f := &field{name: e.Name, step: e.Name, list: e.List}
		if e.Content != nil {
			e = e.Content
		}
		f.of = c.ofElement(e, false)
		return []*field{f}
	}
	var all []*field
	for _, t := range e.Types {
		f := &field{name: e.Name, step: e.Name, list: e.List, kind: kindOf(t.Code)}
		if e.Choice {
			f.name += definitions.JSONType(t.Code)
		}
		switch {
		case e.Attribute:
			f.kind = attribute
		case f.kind == resource:
			f.of = &shape{name: e.Path()}
		case f.kind != xhtml:
			f.of = c.ofType(t.Code)
		}
		all = append(all, f)
	}
	return all
}

func kindOf(typeName string) kind {
	switch typeName {
	case "Resource":
		return resource
	case "xhtml":
		return xhtml
	case "boolean":
		return boolean
	case "integer", "positiveInt", "unsignedInt":
		return integer
	case "decimal":
		return decimal
	case "string", "markdown":
		return phrase
	}
	if s, ok := definitions.ForType(typeName); ok && s.Kind == definitions.Primitive {
		return token
	}
	return object
}
