package patch

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
)

// An operation is one of a JSON Patch. https://www.rfc-editor.org/rfc/rfc6902#section-4
type operation struct {
	number     int
	op         string
	path, from pointer
	value      []byte
}

func (o *operation) blame(err error) error {
	return at(err, "/"+strconv.Itoa(o.number), specJSONPatch)
}

func readJSONPatch(patch []byte) ([]operation, error) {
	if len(patch) > MaxBytes {
		return nil, fhir.Errorf(fhir.CodeTooLong, "", "the patch is longer than %d bytes", MaxBytes)
	}
	root, err := parse(patch)
	if err != nil {
		return nil, err
	}
	if root.kind != '[' {
		return nil, fhir.Errorf(fhir.CodeStructure, "", "the patch is no JSON array").
			WithFix(`send operations like [{"op":"replace","path":"/status","value":"final"}]`).WithSpec(specJSONPatch)
	}
	if err := root.open(); err != nil {
		return nil, err
	}
	if len(root.kids) > MaxOperations {
		return nil, fhir.Errorf(fhir.CodeTooCostly, "", "the patch has more than %d operations", MaxOperations).
			WithFix("send several patches, or an update")
	}
	operations := make([]operation, len(root.kids))
	for i := range operations {
		operations[i].number = i
		if err := operations[i].read(root.kids[i].node); err != nil {
			return nil, operations[i].blame(err)
		}
	}
	return operations, nil
}

func (o *operation) read(n *node) error {
	if n.kind != '{' {
		return fhir.Errorf(fhir.CodeStructure, "", "the operation is no JSON object")
	}
	if err := n.open(); err != nil {
		return err
	}
	op, err := stringMember(n, "op")
	if err != nil {
		return err
	}
	path, err := stringMember(n, "path")
	if err != nil {
		return err
	}
	o.op = op
	if o.path, err = parsePointer(path); err != nil {
		return err
	}
	switch op {
	case "add", "replace", "test":
		value := n.member("value")
		if value == nil {
			return fhir.Errorf(fhir.CodeRequired, "", `the operation %s has no "value"`, op).WithFix("send one; it may be null")
		}
		o.value = value.raw
	case "move", "copy":
		from, err := stringMember(n, "from")
		if err != nil {
			return err
		}
		o.from, err = parsePointer(from)
		return err
	case "remove":
	default:
		return fhir.Errorf(fhir.CodeNotSupported, "", `"op" is none of RFC 6902`).
			WithFix("send add, remove, replace, move, copy or test")
	}
	return nil
}

func stringMember(n *node, name string) (string, error) {
	m := n.member(name)
	if m == nil {
		return "", fhir.Errorf(fhir.CodeRequired, "", "the operation has no %q", name).WithFix("send it, as a string")
	}
	if m.kind != '"' {
		return "", fhir.Errorf(fhir.CodeStructure, "", "%q of the operation is no string", name).WithFix("send a string")
	}
	return m.text(), nil
}

func (d *document) apply(o *operation) error {
	switch o.op {
	case "add":
		return d.add(o.path, newNode(o.value))
	case "remove":
		_, err := d.remove(o.path)
		return err
	case "replace":
		return d.replace(o.path, newNode(o.value))
	case "move":
		return d.move(o.from, o.path)
	case "copy":
		return d.copy(o.from, o.path)
	}
	return d.test(o.path, newNode(o.value))
}

func (d *document) add(path pointer, v *node) error {
	if len(path) == 0 {
		return d.become(v)
	}
	parent, err := path.parent(d.root)
	if err != nil {
		return err
	}
	last := path[len(path)-1]
	i := len(parent.kids)
	if parent.kind == '{' || last != "-" {
		if i, err = place(parent, last, i, path); err != nil {
			return err
		}
	}
	if parent.kind == '{' && i >= 0 {
		return d.set(parent, i, v)
	}
	if err := d.fits(parent.level(), v, 0); err != nil {
		return err
	}
	if parent.kind == '{' {
		parent.insert(len(parent.kids), quote(last), v)
	} else {
		parent.insert(i, nil, v)
	}
	return nil
}

// set replaces the kid i of parent.
func (d *document) set(parent *node, i int, v *node) error {
	if err := d.fits(parent.level(), v, parent.kids[i].size); err != nil {
		return err
	}
	parent.replace(i, v)
	return nil
}

// become makes v, which nests no deeper than a patch may, the whole document.
func (d *document) become(v *node) error {
	if v.kind != '{' {
		return fhir.Errorf(fhir.CodeStructure, "", "the whole resource would become something that is no object").
			WithFix(`begin the pointer with the name of an element, as in "/status"`)
	}
	d.root, v.parent = v, nil
	return nil
}

// existing is the parent of what path leads to, and which of its kids that is.
func (d *document) existing(path pointer) (*node, int, error) {
	parent, err := path.parent(d.root)
	if err != nil {
		return nil, 0, err
	}
	i, err := place(parent, path[len(path)-1], len(parent.kids)-1, path)
	if err == nil && i < 0 {
		err = missing(path)
	}
	return parent, i, err
}

func (d *document) remove(path pointer) (*node, error) {
	if len(path) == 0 {
		return nil, fhir.Errorf(fhir.CodeBusinessRule, "", "the patch removes the whole resource").
			WithFix("delete the resource instead")
	}
	parent, i, err := d.existing(path)
	if err != nil {
		return nil, err
	}
	return parent.remove(i), nil
}

func (d *document) replace(path pointer, v *node) error {
	if len(path) == 0 {
		return d.become(v)
	}
	parent, i, err := d.existing(path)
	if err != nil {
		return err
	}
	return d.set(parent, i, v)
}

func (d *document) move(from, path pointer) error {
	if from.prefixes(path) {
		return fhir.Errorf(fhir.CodeValue, "", "a value is moved into itself").WithFix(`"from" must not lead to what "path" leads into`)
	}
	if slices.Equal(from, path) {
		_, err := from.walk(d.root)
		return err
	}
	if len(path) == 0 {
		v, err := from.walk(d.root)
		if err != nil {
			return err
		}
		return d.become(v.copy())
	}
	v, err := d.remove(from)
	if err != nil {
		return err
	}
	return d.add(path, v)
}

func (d *document) copy(from, path pointer) error {
	v, err := from.walk(d.root)
	if err != nil {
		return err
	}
	if d.copied += v.size; d.copied > MaxBytes {
		return fhir.Errorf(fhir.CodeTooCostly, "", "the patch copies more than %d bytes", MaxBytes).WithFix("copy less")
	}
	return d.add(path, v.copy())
}

func (d *document) test(path pointer, want *node) error {
	got, err := path.walk(d.root)
	if e, ok := errors.AsType[*fhir.Error](err); ok && e.Issues[0].Code == fhir.CodeNotFound {
		e.Issues[0].Code = fhir.CodeConflict
		e.Issues[0].Message = "the test failed: " + e.Issues[0].Message
		e.Issues[0].Fix = "read the resource, and make the patch from what it is now"
		return e
	}
	if err != nil {
		return err
	}
	same, err := equal(want, got)
	if err != nil || same {
		return err
	}
	return fhir.Errorf(fhir.CodeConflict, "", "the test failed: %s: another value is there", path).
		WithFix("read the resource, and make the patch from what it is now")
}

// parse checks JSON and makes it compact.
func parse(document []byte) (*node, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(document))
	for {
		if _, err := d.ReadToken(); err != nil {
			return nil, syntax(err)
		}
		switch depth := d.StackDepth(); {
		case depth > fhir.MaxDepth:
			return nil, fhir.Errorf(fhir.CodeTooCostly, "", "byte %d: the patch has more than %d levels of objects and arrays", d.InputOffset(), fhir.MaxDepth)
		case depth > 0:
			continue
		}
		break
	}
	end := d.InputOffset()
	if _, err := d.ReadToken(); err != io.EOF {
		return nil, fhir.Errorf(fhir.CodeStructure, "", "byte %d: something follows the patch", end)
	}
	v := jsontext.Value(bytes.Clone(document))
	if err := v.Compact(); err != nil {
		return nil, syntax(err)
	}
	return newNode(v), nil
}

func syntax(err error) error {
	e, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case !ok || errors.Is(err, io.ErrUnexpectedEOF):
		return fhir.Errorf(fhir.CodeStructure, "", "the JSON of the patch ends too early").WithFix("send all of it")
	case errors.Is(e, jsontext.ErrDuplicateName):
		return fhir.Errorf(fhir.CodeStructure, "", "byte %d: a name occurs twice in one object of the patch", e.ByteOffset).
			WithFix("send each name once").WithSpec(specJSONPatch)
	}
	return fhir.Errorf(fhir.CodeStructure, "", "byte %d: the patch is not valid JSON: %s", e.ByteOffset, e.Err)
}
