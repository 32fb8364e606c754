// Package patch changes parts of a resource as a client describes them: with a JSON Patch
// (RFC 6902) or a FHIRPath Patch. Both are functions over bytes: what a patch does not touch
// stays as it is written, in its order, so 72.50 stays 72.50.
//
// A patch is applied as a whole or not at all. The result is JSON and has the type and the id
// that the resource had; whether it is a valid resource, whether its narrative still says the
// same, and what its next version is are for the caller to see to, as for an update.
//
// Errors are *fhir.Error of one issue, whose Path is the operation: a JSON Pointer into a JSON
// Patch, a FHIRPath into the Parameters of a FHIRPath Patch. Its code tells what kind of error
// it is. R4 leaves the status of the response open; RFC 5789 section 2.2 suggests:
//
//   - fhir.CodeConflict: an operation "test" failed: the resource is not what the client thinks
//     it is. 409. Reading the resource anew may help.
//   - fhir.CodeNotFound, fhir.CodeDuplicate, CodeMultiple: the patch is one, but does not fit this
//     resource: where it leads is nothing, something already, or more than one element. 422.
//   - fhir.CodeBusinessRule: the patch changes the type or the id of the resource. 422.
//   - all others: the patch is malformed, unsupported, or exceeds a limit. 400.
//
// No error text has a value of the resource or of the patch.
//
// http://hl7.org/fhir/R4/http.html#patch
package patch

import (
	"errors"

	"github.com/kiln-health/kiln/fhir"
)

// Limits of a patch. Resource and result nest at most fhir.MaxDepth deep.
const (
	// MaxOperations is how many operations a patch may have.
	MaxOperations = 1000
	// MaxBytes is how long the resource, the patch and the result may each be, and how much all
	// operations "copy" of one patch may copy.
	MaxBytes = 32 << 20
)

// CodeMultiple is the code of the issue that a path selects more than one element.
// http://hl7.org/fhir/R4/valueset-issue-type.html
const CodeMultiple = "multiple-matches"

const (
	specJSONPatch = "https://www.rfc-editor.org/rfc/rfc6902"
	specPointer   = "https://www.rfc-editor.org/rfc/rfc6901"
	specFHIRPath  = "http://hl7.org/fhir/R4/fhirpatch.html"
	specPatch     = "http://hl7.org/fhir/R4/http.html#patch"
)

// JSON is the resource after a JSON Patch: all operations of RFC 6902, in their order. It is
// compact. New members come last in their object.
//
// "test" compares numbers by their value and objects without regard to the order of their
// members. Members of an operation that RFC 6902 does not define are ignored, as it demands.
// Neither argument is changed, and the result shares no memory with them. Errors and limits are
// those of the package.
// https://www.rfc-editor.org/rfc/rfc6902
func JSON(resource, patch []byte) ([]byte, error) {
	d, err := open(resource)
	if err != nil {
		return nil, err
	}
	operations, err := readJSONPatch(patch)
	if err != nil {
		return nil, err
	}
	for i := range operations {
		if err := d.apply(&operations[i]); err != nil {
			return nil, operations[i].blame(err)
		}
	}
	return d.result()
}

// FHIRPath is the resource after a FHIRPath Patch: the operations of a Parameters resource, in
// their order. It is compact. New members come last in their object, and an element that
// "delete" leaves empty goes with what it had.
//
// A path selects elements with a part of FHIRPath: names of elements (value for valueQuantity),
// [index], where, first, last, tail, skip, take, single, ofType, as, is and extension, and in the
// criteria of where also = != < <= > >= and or, exists, empty, not, all, count, hasValue, contains,
// startsWith, endsWith, upper and lower, on strings, numbers and booleans. Anything else is
// refused: what is half understood would change the wrong element.
//
// It selects exactly one element; only "delete" may find none, and then changes nothing. Paths of
// "insert" and "move" end with the name of a list that has items. A value must have a type of the
// element, or one derived from it; for the div of a narrative it is a string. An element without
// a type of its own is given as parts, and one that is a resource as a resource.
//
// Neither argument is changed, and the result shares no memory with them. Errors and limits are
// those of the package.
// http://hl7.org/fhir/R4/fhirpatch.html
func FHIRPath(resource, parameters []byte) ([]byte, error) {
	d, err := open(resource)
	if err != nil {
		return nil, err
	}
	operations, err := readParameters(parameters)
	if err != nil {
		return nil, err
	}
	budget := maxSteps
	for i := range operations {
		if err := d.change(&operations[i], &budget); err != nil {
			return nil, operations[i].blame(err)
		}
	}
	return d.result()
}

// A document is a resource while it is patched.
type document struct {
	root   *node
	is     identity
	copied int // bytes, by all operations "copy"
}

func open(resource []byte) (*document, error) {
	if len(resource) > MaxBytes {
		return nil, fhir.Errorf(fhir.CodeTooLong, "", "the resource is longer than %d bytes", MaxBytes)
	}
	_, _, compact, err := fhir.Parse(resource)
	if err != nil {
		return nil, err
	}
	d := &document{root: newNode(compact)}
	d.is, err = identify(d.root)
	return d, err
}

// result is the resource as it is now.
func (d *document) result() ([]byte, error) {
	is, err := identify(d.root)
	if err != nil {
		return nil, err
	}
	if is != d.is {
		return nil, fhir.Errorf(fhir.CodeBusinessRule, "", "the patch changes the resourceType or the id of the resource").
			WithFix("leave both as they are; send another resource with a create or an update").WithSpec(specPatch)
	}
	return d.root.append(make([]byte, 0, d.root.size)), nil
}

// An identity is what a patch must not change.
type identity struct {
	resourceType, id string
	hasID            bool
	strings          bool // those that are there are strings
}

func identify(n *node) (identity, error) {
	if err := n.open(); err != nil {
		return identity{}, err
	}
	is := identity{strings: true}
	if m := n.member("resourceType"); m != nil {
		is.resourceType = m.text()
	}
	if m := n.member("id"); m != nil {
		is.id, is.hasID, is.strings = m.text(), true, m.kind == '"'
	}
	return is, nil
}

// fits says whether value may be put where one is in so many objects and arrays, in the place
// of something of some bytes.
func (d *document) fits(level int, value *node, instead int) error {
	if d.root.size+value.size-instead > MaxBytes {
		return fhir.Errorf(fhir.CodeTooLong, "", "the patched resource is longer than %d bytes", MaxBytes).
			WithFix("put less into it")
	}
	if level+value.depth() > fhir.MaxDepth {
		return fhir.Errorf(fhir.CodeTooCostly, "", "the patched resource has more than %d levels of objects and arrays", fhir.MaxDepth).
			WithFix("nest less")
	}
	return nil
}

// at completes an error with the operation that it is about.
func at(err error, path, spec string) error {
	e, ok := errors.AsType[*fhir.Error](err)
	if !ok {
		return err
	}
	i := &e.Issues[0]
	i.Path = path
	if i.Spec == "" {
		i.Spec = spec
	}
	return e
}
