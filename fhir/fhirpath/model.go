package fhirpath

import (
	"strings"

	"github.com/kiln-health/kiln/fhir/definitions"
)

// r4 tells the engine the types of R4. An element that has elements of its own is of the
// type that its path names, so that its elements are found again.
type r4 struct{}

// element is that of a path: Patient.contact.name, or value in Observation.value.
func element(path string) (*definitions.Element, *definitions.Type) {
	name, rest, more := strings.Cut(path, ".")
	s, ok := definitions.ForType(name)
	if !ok {
		return nil, nil
	}
	e := s.Root()
	var t *definitions.Type
	for more {
		name, rest, more = strings.Cut(rest, ".")
		if e.Content != nil {
			e = e.Content
		}
		var child *definitions.Element
		for _, c := range e.Children {
			if c.Name == name {
				child, t = c, nil
				if len(c.Types) == 1 && !c.Choice {
					t = &c.Types[0]
				}
			}
		}
		if child == nil {
			if child, t = e.Child(name); child == nil {
				return nil, nil
			}
		}
		e = child
	}
	return e, t
}

// TypeOf is the type of the element at a path, "" if there is none or a choice of several.
// What may be any resource has none either: it says itself what it is.
func (r4) TypeOf(path string) string {
	e, t := element(path)
	switch {
	case e == nil:
		return ""
	case e.Content != nil:
		return e.Content.Path()
	case len(e.Children) > 0 && !e.Choice:
		return e.Path()
	case t == nil || t.Code == "Resource":
		return ""
	}
	return t.Code
}

// noType is the only type of what is no choice. Without any the engine would try some fifty.
var noType = []string{" "}

// ChoiceTypes are the types of a choice.
func (r4) ChoiceTypes(path string) []string {
	e, _ := element(path)
	if e == nil || !e.Choice {
		return noType
	}
	all := make([]string, len(e.Types))
	for i := range e.Types {
		all[i] = e.Types[i].Code
	}
	return all
}

// ReferenceTargets are not asked for.
func (r4) ReferenceTargets(string) []string { return nil }

// ParentType is the type that another one specialises.
func (r4) ParentType(name string) string {
	if e, _ := element(name); e != nil && e.Parent != nil {
		for i := range e.Types {
			return e.Types[i].Code // BackboneElement or Element
		}
		return ""
	}
	s, ok := definitions.ForType(name)
	if !ok || s.Base == "" {
		return ""
	}
	if s, ok = definitions.Lookup(s.Base); !ok {
		return ""
	}
	return s.Type
}

// IsSubtype reports whether every value of the type child is one of parent, too.
func (m r4) IsSubtype(child, parent string) bool {
	parent = strings.TrimPrefix(parent, "FHIR.")
	for range 8 { // no type of R4 has more ancestors
		if child == "" {
			return false
		}
		if child == parent {
			return true
		}
		child = m.ParentType(child)
	}
	return false
}

// ResolvePath is the path itself: TypeOf follows the elements that are defined elsewhere.
func (r4) ResolvePath(path string) string { return path }

// IsResource reports whether a type is that of a resource.
func (r4) IsResource(name string) bool {
	s, ok := definitions.ForType(name)
	return ok && s.Kind == definitions.Resource
}
