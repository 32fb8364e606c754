package fhir

import (
	"reflect"
	"strconv"
	"sync"

	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// maxEncodeDepth bounds how deep elements may nest. It is far above what FHIR
// content needs and ends a message that contains itself.
const maxEncodeDepth = 64

// maxPooledBytes keeps the buffer of one long waveform from staying in memory.
const maxPooledBytes = 64 << 10

// Encode is the FHIR JSON of m, which is a resource or a complex data type of google/fhir's
// R4 protos: compact, UTF-8, resourceType first, then the elements in the order of
// their definition. It changes nothing in m, and may be called from many goroutines.
//
// The text of a value is kept: 72.50 stays 72.50, and a date-time is written with the
// precision and the offset it carries. What FHIR or JSON cannot express is refused
// with an *Error whose path is a FHIRPath: an element without content, a string that is
// not UTF-8 or holds control characters, an id that is none, a time without a zone or outside
// the years 1 to 9999, a decimal that is no number. Cardinalities, bindings and invariants
// are not checked here. A contained resource needs its type linked into the program.
//
// http://hl7.org/fhir/R4/json.html
func Encode(m proto.Message) ([]byte, error) {
	scratch := scratches.Get().(*[]byte)
	b, err := AppendJSON((*scratch)[:0], m)
	var out []byte
	if err == nil {
		out = append(make([]byte, 0, len(b)), b...)
	}
	if cap(b) <= maxPooledBytes {
		*scratch = b
		scratches.Put(scratch)
	}
	return out, err
}

var scratches = sync.Pool{New: func() any { return new(make([]byte, 0, 4<<10)) }}

// AppendJSON appends what Encode returns to dst. With an error it returns dst as it was.
func AppendJSON(dst []byte, m proto.Message) ([]byte, error) {
	if m == nil || !m.ProtoReflect().IsValid() {
		return dst, Errorf(CodeStructure, "", "there is no message to encode")
	}
	ptr := reflect.ValueOf(m)
	p, err := planOf(ptr.Type())
	if err != nil {
		return dst, problemOf(err).asError()
	}
	p, ptr, err = p.unwrap(ptr)
	if err != nil {
		return dst, problemOf(err).under(p.name).asError()
	}
	out, err := p.appendObject(dst, ptr, 0)
	if err != nil {
		return dst, problemOf(err).under(p.name).asError()
	}
	return out, nil
}

// unwrap is the resource in a ContainedResource, with its plan, or ptr itself.
func (p *plan) unwrap(ptr reflect.Value) (*plan, reflect.Value, error) {
	if p.shape != wrapperShape {
		return p, ptr, nil
	}
	if ptr.IsNil() {
		return p, ptr, errEmpty()
	}
	chosen, content, err := pick(p.chosen, ptr.Elem().Field(p.oneof))
	if err != nil {
		return p, ptr, err
	}
	return chosen.plan, content, nil
}

// pick is the alternative that a oneof holds, and a pointer to its message.
func pick(alternatives map[reflect.Type]*alt, oneof reflect.Value) (*alt, reflect.Value, error) {
	if oneof.IsNil() || oneof.Elem().IsNil() {
		return nil, reflect.Value{}, errEmpty()
	}
	holder := oneof.Elem()
	chosen, ok := alternatives[holder.Type()]
	if !ok {
		return nil, reflect.Value{}, refuse(CodeNotSupported, "the content is of an unknown kind", "use the types that google/fhir generates")
	}
	content := holder.Elem().Field(0)
	if content.IsNil() {
		return nil, reflect.Value{}, errEmpty()
	}
	return chosen, content, nil
}

// appendObject appends the message that ptr, a pointer to a generated struct, points to.
func (p *plan) appendObject(dst []byte, ptr reflect.Value, depth int) ([]byte, error) {
	switch {
	case depth > maxEncodeDepth:
		return dst, refuse(CodeTooCostly, "elements are nested too deeply", "nest at most "+strconv.Itoa(maxEncodeDepth)+" elements")
	case ptr.IsNil():
		return dst, errEmpty()
	case p.shape == anyShape:
		return appendContained(dst, ptr, depth)
	case p.shape == wrapperShape:
		held, ptr, err := p.unwrap(ptr)
		if err != nil {
			return dst, err
		}
		return held.appendObject(dst, ptr, depth+1)
	case p.shape != objectShape:
		return dst, refuse(CodeStructure, "a "+p.name+" is no JSON object by itself", "encode the element that holds it")
	}

	v := ptr.Elem()
	dst = append(dst, '{')
	start := len(dst)
	if p.resource {
		dst = append(dst, `"resourceType":"`...)
		dst = append(dst, p.name...)
		dst = append(dst, '"')
	}
	for i := range p.members {
		m := &p.members[i]
		f := v.Field(m.index)
		if f.IsNil() {
			continue
		}
		var err error
		if m.list {
			dst, err = m.appendList(dst, f, depth)
		} else {
			dst, err = m.appendOne(dst, f, depth)
		}
		if err != nil {
			return dst, problemOf(err).under(m.path)
		}
	}
	if len(dst) == start {
		return dst, errEmpty()
	}
	return append(dst, '}'), nil
}

// appendOne appends an element that occurs at most once.
func (m *member) appendOne(dst []byte, f reflect.Value, depth int) ([]byte, error) {
	switch m.plan.shape {
	case primitiveShape:
		return m.appendPrimitive(dst, f, depth)
	case targetShape:
		return m.appendTarget(dst, f, depth)
	case choiceShape:
		chosen, content, err := pick(m.chosen, f.Elem().Field(m.plan.oneof))
		if err != nil {
			return dst, err
		}
		return chosen.appendOne(dst, content, depth)
	}
	return m.plan.appendObject(appendName(dst, m.name), f, depth+1)
}

// appendName appends the name of a member, after a comma unless it is the first.
func appendName(dst []byte, name string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	return append(dst, name...)
}

// appendPrimitive appends the value under its name and, if there are any, id and
// extensions under the name with an underscore.
// http://hl7.org/fhir/R4/json.html#primitive
func (m *member) appendPrimitive(dst []byte, ptr reflect.Value, depth int) ([]byte, error) {
	if ptr.IsNil() {
		return dst, errEmpty()
	}
	p, v, start := m.plan.primitive, ptr.Elem(), len(dst)
	dst, valued, err := p.appendValue(appendName(dst, m.name), v)
	if err != nil {
		return dst, err
	}
	if !valued {
		dst = dst[:start]
	}
	return m.appendAside(dst, p, v, valued, depth)
}

// appendAside appends what stands beside the value of a primitive. It is an error if
// there is neither a value nor anything beside it.
func (m *member) appendAside(dst []byte, p *primitive, v reflect.Value, valued bool, depth int) ([]byte, error) {
	if p.hasAside(v) {
		return p.appendAside(appendName(dst, m.underscoreName), v, depth+1)
	}
	if !valued {
		return dst, errEmpty()
	}
	return dst, nil
}

// appendList appends an element that may repeat.
func (m *member) appendList(dst []byte, list reflect.Value, depth int) ([]byte, error) {
	n := list.Len()
	if n == 0 {
		return dst, nil
	}
	if m.plan.shape == primitiveShape {
		return m.appendPrimitives(dst, list, depth)
	}
	dst = append(appendName(dst, m.name), '[')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = m.plan.appendObject(dst, list.Index(i), depth+1); err != nil {
			return dst, problemOf(err).at(i)
		}
	}
	return append(dst, ']'), nil
}

// appendPrimitives appends one array of the values, unless there is none, and one of ids
// and extensions, unless there are none. Nulls keep them in step.
func (m *member) appendPrimitives(dst []byte, list reflect.Value, depth int) ([]byte, error) {
	p, start := m.plan.primitive, len(dst)
	anyValue, anyAside := false, false
	dst = append(appendName(dst, m.name), '[')
	for i := range list.Len() {
		if i > 0 {
			dst = append(dst, ',')
		}
		ptr := list.Index(i)
		if ptr.IsNil() {
			return dst, errEmpty().at(i)
		}
		var valued bool
		var err error
		if dst, valued, err = p.appendValue(dst, ptr.Elem()); err != nil {
			return dst, problemOf(err).at(i)
		}
		aside := p.hasAside(ptr.Elem())
		if !valued && !aside {
			return dst, errEmpty().at(i)
		}
		if !valued {
			dst = append(dst, "null"...)
		}
		anyValue, anyAside = anyValue || valued, anyAside || aside
	}
	dst = append(dst, ']')
	if !anyValue {
		dst = dst[:start]
	}
	if !anyAside {
		return dst, nil
	}
	dst = append(appendName(dst, m.underscoreName), '[')
	for i := range list.Len() {
		if i > 0 {
			dst = append(dst, ',')
		}
		v := list.Index(i).Elem()
		if !p.hasAside(v) {
			dst = append(dst, "null"...)
			continue
		}
		var err error
		if dst, err = p.appendAside(dst, v, depth+1); err != nil {
			return dst, problemOf(err).at(i)
		}
	}
	return append(dst, ']'), nil
}

// appendTarget appends Reference.reference: the protos hold a resource id, a fragment or
// a URI where FHIR has one string. http://hl7.org/fhir/R4/references.html
func (m *member) appendTarget(dst []byte, oneof reflect.Value, depth int) ([]byte, error) {
	chosen, ptr, err := pick(m.chosen, oneof)
	if err != nil {
		return dst, err
	}
	p, v := chosen.plan.primitive, ptr.Elem()
	if p.marked(v) {
		return m.appendAside(dst, p, v, false, depth)
	}
	start := len(dst)
	dst = append(appendName(dst, m.name), '"')
	dst = append(dst, chosen.prefix...)
	valued := true
	switch target := ptr.Interface().(type) {
	case *dtpb.ReferenceId:
		dst, err = appendID(dst, target.Value)
		if version := target.GetHistory(); version != nil && err == nil {
			dst, err = appendID(append(dst, "/_history/"...), version.Value)
		}
	case *dtpb.String:
		// An empty fragment is "#", the resource that contains this one.
		valued = target.Value != "" || chosen.prefix != ""
		dst, err = appendText(dst, target.Value)
	}
	if err != nil {
		return dst, err
	}
	dst = append(dst, '"')
	if !valued {
		dst = dst[:start]
	}
	return m.appendAside(dst, p, v, valued, depth)
}

// appendContained appends a contained resource, which the protos keep serialised.
func appendContained(dst []byte, ptr reflect.Value, depth int) ([]byte, error) {
	held, _ := ptr.Interface().(*anypb.Any)
	m, err := held.UnmarshalNew()
	if err != nil {
		return dst, refuse(CodeNotSupported, "the contained resource is of a type that this program does not link, or is damaged",
			"store it as a resource of its own and refer to it")
	}
	v := reflect.ValueOf(m)
	p, err := planOf(v.Type())
	if err != nil {
		return dst, err
	}
	if p, v, err = p.unwrap(v); err != nil {
		return dst, err
	}
	if !p.resource {
		return dst, refuse(CodeStructure, "what is contained is not a resource", "contain a resource")
	}
	return p.appendObject(dst, v, depth+1)
}

// problem is an error on its way up. Its path grows at the front.
type problem struct {
	code, path, message, fix string
}

func refuse(code, message, fix string) *problem {
	return &problem{code: code, message: message, fix: fix}
}

func errEmpty() *problem {
	return refuse(CodeStructure, "the element has no content", "leave it out, or give it a value or an extension")
}

func problemOf(err error) *problem {
	if p, ok := err.(*problem); ok {
		return p
	}
	return refuse(CodeException, err.Error(), "")
}

func (p *problem) Error() string { return p.message }

func (p *problem) under(name string) *problem {
	if p.path != "" && p.path[0] != '[' {
		name += "."
	}
	p.path = name + p.path
	return p
}

func (p *problem) at(i int) *problem {
	return p.under("[" + strconv.Itoa(i) + "]")
}

func (p *problem) asError() *Error {
	return Errorf(p.code, p.path, "%s", p.message).WithFix(p.fix)
}
