package patch

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
)

// An instruction is an operation of a FHIRPath Patch. http://hl7.org/fhir/R4/fhirpatch.html
type instruction struct {
	number                     int
	kind                       string
	path                       *expr
	name                       string
	value                      *node // the part
	index, source, destination int
}

func (o *instruction) blame(err error) error {
	return at(err, fmt.Sprintf("Parameters.parameter[%d]", o.number), specFHIRPath)
}

// partsOf are the parts of each type of operation.
var partsOf = map[string][]string{
	"add":     {"type", "path", "name", "value"},
	"insert":  {"type", "path", "index", "value"},
	"delete":  {"type", "path"},
	"replace": {"type", "path", "value"},
	"move":    {"type", "path", "source", "destination"},
}

func readParameters(parameters []byte) ([]instruction, error) {
	if len(parameters) > MaxBytes {
		return nil, fhir.Errorf(fhir.CodeTooLong, "", "the patch is longer than %d bytes", MaxBytes)
	}
	resourceType, _, compact, err := fhir.Parse(parameters)
	if err != nil {
		return nil, err
	}
	if resourceType != "Parameters" {
		return nil, fhir.Errorf(fhir.CodeStructure, "resourceType", "a FHIRPath Patch is a resource Parameters").
			WithFix("send Parameters, or a JSON Patch as application/json-patch+json").WithSpec(specFHIRPath)
	}
	root := newNode(compact)
	if err := root.open(); err != nil {
		return nil, err
	}
	list, err := items(root, "parameter")
	if err != nil {
		return nil, at(err, "Parameters.parameter", specFHIRPath)
	}
	if len(list) > MaxOperations {
		return nil, fhir.Errorf(fhir.CodeTooCostly, "Parameters.parameter", "the patch has more than %d operations", MaxOperations).
			WithFix("send several patches, or an update")
	}
	instructions := make([]instruction, len(list))
	for i := range instructions {
		instructions[i].number = i
		if err := instructions[i].read(list[i].node); err != nil {
			return nil, instructions[i].blame(err)
		}
	}
	return instructions, nil
}

// items are the objects in an array of an object that is open. There are none without the array.
func items(object *node, name string) ([]kid, error) {
	list := object.member(name)
	if list == nil {
		return nil, nil
	}
	if list.kind != '[' {
		return nil, fhir.Errorf(fhir.CodeStructure, "", "%s is no array", name)
	}
	if err := list.open(); err != nil {
		return nil, err
	}
	for _, k := range list.kids {
		if k.kind != '{' {
			return nil, fhir.Errorf(fhir.CodeStructure, "", "an item of %s is no object", name)
		}
		if err := k.open(); err != nil {
			return nil, err
		}
	}
	return list.kids, nil
}

func (o *instruction) read(n *node) error {
	if name := n.member("name"); name == nil || name.text() != "operation" {
		return fhir.Errorf(fhir.CodeValue, "", "the name of the parameter is not operation")
	}
	list, err := items(n, "part")
	if err != nil {
		return err
	}
	parts := map[string]*node{}
	for _, part := range list {
		name := part.member("name")
		if name == nil || name.text() == "" {
			return fhir.Errorf(fhir.CodeRequired, "", "a part of the operation has no name")
		}
		if parts[name.text()] != nil {
			return fhir.Errorf(fhir.CodeStructure, "", "a part of the operation is there twice").WithFix("send each part once")
		}
		parts[name.text()] = part.node
	}
	kind, err := scalarPart(parts, "type", "valueCode", '"')
	if err != nil {
		return err
	}
	o.kind = kind.text()
	expected, ok := partsOf[o.kind]
	if !ok {
		return fhir.Errorf(fhir.CodeNotSupported, "", "the type of the operation is none of FHIRPath Patch").
			WithFix("send add, insert, delete, replace or move")
	}
	for name := range parts {
		if !slices.Contains(expected, name) {
			return fhir.Errorf(fhir.CodeStructure, "", "an operation %s has a part that it cannot have", o.kind).
				WithFix("send only " + strings.Join(expected, ", "))
		}
	}
	for _, name := range expected {
		if err := o.part(name, parts); err != nil {
			return err
		}
	}
	return nil
}

func (o *instruction) part(name string, parts map[string]*node) error {
	switch name {
	case "path":
		v, err := scalarPart(parts, name, "valueString", '"')
		if err != nil {
			return err
		}
		o.path, err = parsePath(v.text())
		return err
	case "name":
		v, err := scalarPart(parts, name, "valueString", '"')
		if err != nil {
			return err
		}
		o.name = v.text()
	case "value":
		if o.value = parts[name]; o.value == nil {
			return fhir.Errorf(fhir.CodeRequired, "", "the operation has no part value")
		}
	case "index", "source", "destination":
		v, err := scalarPart(parts, name, "valueInteger", '0')
		if err != nil {
			return err
		}
		i, ok := index(string(v.raw))
		if !ok {
			return fhir.Errorf(fhir.CodeValue, "", "the part %s is no index", name).WithFix("send 0 or more")
		}
		switch name {
		case "index":
			o.index = i
		case "source":
			o.source = i
		default:
			o.destination = i
		}
	}
	return nil
}

// scalarPart is the value of a part, which must have a name and a kind.
func scalarPart(parts map[string]*node, name, member string, kind byte) (*node, error) {
	part := parts[name]
	if part == nil {
		return nil, fhir.Errorf(fhir.CodeRequired, "", "the operation has no part %s", name)
	}
	v := part.member(member)
	if v == nil || v.kind != kind {
		return nil, fhir.Errorf(fhir.CodeValue, "", "the part %s has no %s", name, member)
	}
	return v, nil
}

// build is the value of a part as an element that c defines.
func build(part *node, c *definitions.Element) (written, error) {
	var found []string // what the part has beside its name
	for _, k := range part.kids {
		switch name := unquote(k.name); {
		case name == "name":
		case strings.HasPrefix(name, "_value"):
			found = append(found, name[1:])
		case strings.HasPrefix(name, "value"), name == "part", name == "resource":
			found = append(found, name)
		default:
			return written{}, fhir.Errorf(fhir.CodeNotSupported, "", "a part has something that a patch has no use for").
				WithFix("send a value, parts or a resource in it")
		}
	}
	slices.Sort(found)
	if found = slices.Compact(found); len(found) != 1 {
		return written{}, fhir.Errorf(fhir.CodeValue, "", "a part has no value, or several").WithFix("send one value, parts or a resource in it")
	}
	switch found[0] {
	case "part":
		return buildParts(part, c)
	case "resource":
		resource := part.member("resource")
		if len(c.Types) != 1 || c.Types[0].Code != "Resource" || resource.kind != '{' {
			return written{}, wrongType(c, "a resource")
		}
		return written{name: c.Name, value: resource.copy()}, nil
	}
	return buildValue(part, found[0], c)
}

func wrongType(c *definitions.Element, what string) error {
	types := make([]string, 0, len(c.Types))
	for _, t := range c.Types {
		types = append(types, t.Code)
	}
	fix := "send its elements as parts"
	switch {
	case len(types) == 1 && types[0] == "Resource":
		fix = "send a resource"
	case len(types) > 0 && len(c.Children) == 0:
		fix = "send a value of type " + strings.Join(types, ", ")
	}
	return fhir.Errorf(fhir.CodeValue, "", "the value of %s must not be %s", c.Path(), what).WithFix(fix)
}

// buildValue is the value of a part under a name like valueQuantity.
func buildValue(part *node, member string, c *definitions.Element) (written, error) {
	typ := ""
	if parameters, ok := definitions.ForType("Parameters"); ok {
		if parameter, _ := parameters.Root().Child("parameter"); parameter != nil {
			if _, t := parameter.Child(member); t != nil {
				typ = t.Code
			}
		}
	}
	if typ == "" {
		return written{}, fhir.Errorf(fhir.CodeValue, "", "a part has a value of a type that parameters cannot have").
			WithFix("send a type of http://hl7.org/fhir/R4/datatypes.html#open, or parts")
	}
	w := written{name: nameFor(c, typ)}
	if w.name == "" {
		return written{}, wrongType(c, typ)
	}
	definition, ok := definitions.ForType(typ)
	primitive := ok && definition.Kind == definitions.Primitive
	if v := part.member(member); v != nil {
		if v.kind == 'n' || v.kind == '[' || primitive == (v.kind == '{') {
			return written{}, fhir.Errorf(fhir.CodeStructure, "", "%s of a part has no valid JSON", member)
		}
		w.value = v.copy()
	}
	if v := part.member("_" + member); v != nil {
		if !primitive || v.kind != '{' {
			return written{}, fhir.Errorf(fhir.CodeStructure, "", "_%s of a part has no valid JSON", member)
		}
		w.aside = v.copy()
	}
	return w, nil
}

// nameFor is the name in JSON of an element with a value of a type, or "" if it cannot have that.
func nameFor(c *definitions.Element, typ string) string {
	if len(c.Children) > 0 || c.Content != nil {
		return ""
	}
	for _, same := range []func(string) bool{
		func(t string) bool { return t == typ },
		func(t string) bool { return isA(typ, t) },
		func(t string) bool { return t == "xhtml" && typ == "string" },
	} {
		for _, t := range c.Types {
			if !same(t.Code) {
				continue
			}
			if c.Choice {
				return c.Name + definitions.JSONType(t.Code)
			}
			return c.Name
		}
	}
	return ""
}

// buildParts is an element whose elements are given as parts: one without a type of its own,
// or of a type that parameters cannot have.
func buildParts(part *node, c *definitions.Element) (written, error) {
	if c.Choice || len(c.Types) > 1 {
		return written{}, wrongType(c, "parts")
	}
	typ := typeOf(c, c.Name)
	definition, ok := definitions.ForType(typ)
	if !ok || definition.Kind != definitions.DataType {
		return written{}, wrongType(c, "parts")
	}
	content := contentOf(c, typ)
	parts, err := items(part, "part")
	if err != nil {
		return written{}, err
	}
	if len(parts) == 0 {
		return written{}, fhir.Errorf(fhir.CodeRequired, "", "%s has no parts", c.Path())
	}
	object := newObject()
	for _, p := range parts {
		if err := addPart(object, p.node, content); err != nil {
			return written{}, err
		}
	}
	return written{name: c.Name, value: object}, nil
}

// addPart adds the element that a part is to an object.
func addPart(object, part *node, content *definitions.Element) error {
	name := part.member("name")
	if name == nil {
		return fhir.Errorf(fhir.CodeRequired, "", "a part of the value has no name")
	}
	i := slices.IndexFunc(content.Children, func(c *definitions.Element) bool { return c.Name == name.text() })
	if i < 0 {
		return fhir.Errorf(fhir.CodeInvalid, "", "%s has no element that is called like a part of the value", content.Path()).
			WithFix("give each part the name of an element, without a type: value for valueQuantity")
	}
	c := content.Children[i]
	w, err := build(part, c)
	if err != nil {
		return err
	}
	if !c.List {
		if len(namesOf(object, c)) > 0 {
			return fhir.Errorf(fhir.CodeStructure, "", "%s is there twice", c.Path()).WithFix("send it once")
		}
		addMembers(object, len(object.kids), w)
		return nil
	}
	all := element{parent: object, definition: c, name: w.name, index: -1}
	count, err := all.count()
	if err != nil {
		return err
	}
	insertItem(object, w.name, count, count, w.value)
	insertItem(object, "_"+w.name, count, count, w.aside)
	return nil
}
