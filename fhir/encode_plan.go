package fhir

import (
	"cmp"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	apb "github.com/google/fhir/go/proto/google/fhir/proto/annotations_go_proto"
	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// r4Package is the proto package of the resources and data types that are encoded.
const r4Package = "google.fhir.r4.core"

type shape uint8

const (
	objectShape    shape = iota // resources and data types made of elements
	primitiveShape              // data types with a value
	choiceShape                 // value[x]
	wrapperShape                // ContainedResource, which holds any resource
	targetShape                 // the oneof in a Reference
	anyShape                    // a contained resource
)

// plan says how one generated message type is written. Plans are compiled once for
// each type, from its descriptor and its Go struct, and never change afterwards.
type plan struct {
	name      string
	shape     shape
	resource  bool
	members   []member              // of an object, in the order of the definition
	primitive *primitive            // of a primitive
	oneof     int                   // Go field of a choice or a wrapper
	chosen    map[reflect.Type]*alt // of a wrapper
}

// member is one element of an object. For value[x] the alternatives are members of
// their own, for the name carries the type.
type member struct {
	name           string // "name": with quotes and colon
	underscoreName string
	path           string // the name in FHIRPath
	index          int    // Go field
	list           bool
	plan           *plan
	chosen         map[reflect.Type]*alt // by the Go type that holds the alternative
}

// alt is one alternative of a oneof.
type alt struct {
	member
	prefix string // of a reference: "Patient/", "#" or nothing
}

var plans sync.Map // reflect.Type of a pointer to a message -> *plan

func planOf(t reflect.Type) (*plan, error) {
	if p, ok := plans.Load(t); ok {
		return p.(*plan), nil
	}
	c := compiler{made: map[reflect.Type]*plan{}}
	p, err := c.compile(t)
	if err != nil {
		return nil, err
	}
	// Only a set that is complete is published: types refer to each other in circles.
	for t, p := range c.made {
		plans.LoadOrStore(t, p)
	}
	return p, nil
}

type compiler struct {
	made map[reflect.Type]*plan
}

func (c *compiler) compile(t reflect.Type) (*plan, error) {
	if p, ok := plans.Load(t); ok {
		return p.(*plan), nil
	}
	if p, ok := c.made[t]; ok {
		return p, nil
	}
	m, ok := reflect.Zero(t).Interface().(proto.Message)
	if !ok || t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return nil, errForeign(t)
	}
	d := m.ProtoReflect().Descriptor()
	p := &plan{name: string(d.Name())}
	c.made[t] = p
	if t == reflect.TypeFor[*anypb.Any]() {
		p.shape = anyShape
		return p, nil
	}
	if d.ParentFile().Package() != r4Package {
		return nil, errForeign(t)
	}
	options := d.Options()
	kind := proto.GetExtension(options, apb.E_StructureDefinitionKind).(apb.StructureDefinitionKindValue)
	fields := goFields(t.Elem())
	var err error
	switch {
	case kind == apb.StructureDefinitionKindValue_KIND_PRIMITIVE_TYPE, d.Name() == "ReferenceId":
		p.shape = primitiveShape
		p.primitive, err = c.compilePrimitive(t, d, fields)
	case proto.GetExtension(options, apb.E_IsChoiceType).(bool):
		p.shape = choiceShape
		p.oneof = fields.oneof
	case d.Name() == "ContainedResource":
		p.shape = wrapperShape
		p.oneof = fields.oneof
		p.chosen, err = c.alternatives(m, d.Oneofs().Get(0), "")
	default:
		p.resource = kind == apb.StructureDefinitionKindValue_KIND_RESOURCE
		p.members, err = c.members(m, d, fields)
	}
	return p, err
}

func errForeign(t reflect.Type) error {
	return refuse(CodeNotSupported, t.String()+" is not one of google/fhir's R4 resources and data types",
		"use the packages below proto/google/fhir/proto/r4/core")
}

func (c *compiler) members(m proto.Message, d protoreflect.MessageDescriptor, fields goStruct) ([]member, error) {
	var list []member
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		if oneof := fd.ContainingOneof(); oneof != nil {
			if oneof.Fields().Get(0) != fd {
				continue
			}
			chosen, err := c.alternatives(m, oneof, "")
			if err != nil {
				return nil, err
			}
			list = append(list, member{
				name: `"reference":`, underscoreName: `"_reference":`, path: "reference",
				index: fields.oneof, plan: &plan{shape: targetShape}, chosen: chosen,
			})
			continue
		}
		index, ok := fields.byNumber[int(fd.Number())]
		if !ok || fd.Message() == nil {
			return nil, errForeign(reflect.TypeOf(m))
		}
		t := reflect.TypeOf(m).Elem().Field(index).Type
		if fd.IsList() {
			t = t.Elem()
		}
		p, err := c.compile(t)
		if err != nil {
			return nil, err
		}
		made := newMember(fd.JSONName(), p)
		made.index, made.list = index, fd.IsList()
		// value[x] is compiled with its name, which starts the names of its alternatives.
		if p.shape == choiceShape {
			value := reflect.New(t.Elem()).Interface().(proto.Message)
			made.chosen, err = c.alternatives(value, fd.Message().Oneofs().Get(0), fd.JSONName())
			if err != nil {
				return nil, err
			}
		}
		list = append(list, made)
	}
	sortAsDefined(d, list)
	return list, nil
}

// sortAsDefined moves the few elements that the protos declare out of order.
func sortAsDefined(d protoreflect.MessageDescriptor, list []member) {
	var first []string
	switch d.Name() {
	case "Extension":
		first = []string{"id", "extension"}
	case "Reference":
		first = []string{"id", "extension", "reference"}
	}
	rank := func(m member) int {
		if i := slices.Index(first, m.path); i >= 0 {
			return i
		}
		return len(first)
	}
	slices.SortStableFunc(list, func(a, b member) int { return cmp.Compare(rank(a), rank(b)) })
}

func newMember(name string, p *plan) member {
	return member{name: strconv.Quote(name) + ":", underscoreName: strconv.Quote("_"+name) + ":", path: name, plan: p}
}

// alternatives are the fields of a oneof of m by the Go types that hold them.
func (c *compiler) alternatives(m proto.Message, oneof protoreflect.OneofDescriptor, stem string) (map[reflect.Type]*alt, error) {
	all := make(map[reflect.Type]*alt, oneof.Fields().Len())
	for i := range oneof.Fields().Len() {
		fd := oneof.Fields().Get(i)
		holder := reflect.New(reflect.TypeOf(m).Elem())
		message := holder.Interface().(proto.Message).ProtoReflect()
		message.Set(fd, message.NewField(fd))
		held := holder.Elem().Field(goFields(holder.Type().Elem()).oneof).Elem()
		p, err := c.compile(held.Elem().Field(0).Type())
		if err != nil {
			return nil, err
		}
		name := fd.JSONName()
		if stem != "" {
			name = stem + strings.ToUpper(name[:1]) + name[1:]
		}
		a := &alt{member: newMember(name, p)}
		switch target := proto.GetExtension(fd.Options(), apb.E_ReferencedFhirType).(string); {
		case target != "":
			a.prefix = target + "/"
		case fd.Name() == "fragment":
			a.prefix = "#"
		}
		all[held.Type()] = a
	}
	return all, nil
}

// goStruct maps the field numbers of a message to the fields of its Go struct.
type goStruct struct {
	byNumber map[int]int
	oneof    int // the field that holds a oneof, or -1
}

func goFields(t reflect.Type) goStruct {
	s := goStruct{byNumber: map[int]int{}, oneof: -1}
	for i := range t.NumField() {
		f := t.Field(i)
		if _, ok := f.Tag.Lookup("protobuf_oneof"); ok {
			s.oneof = i
			continue
		}
		// A tag reads bytes,4,opt,name=…
		parts := strings.SplitN(f.Tag.Get("protobuf"), ",", 3)
		if len(parts) < 2 {
			continue
		}
		if n, err := strconv.Atoi(parts[1]); err == nil {
			s.byNumber[n] = i
		}
	}
	return s
}

// compilePrimitive says where the value, the id and the extensions of a primitive are.
func (c *compiler) compilePrimitive(t reflect.Type, d protoreflect.MessageDescriptor, fields goStruct) (*primitive, error) {
	at := func(name protoreflect.Name) int {
		if fd := d.Fields().ByName(name); fd != nil {
			if i, ok := fields.byNumber[int(fd.Number())]; ok {
				return i
			}
		}
		return -1
	}
	p := &primitive{value: at("value"), id: at("id"), extension: at("extension")}
	if p.id < 0 {
		return nil, errForeign(t)
	}
	id, err := c.compile(reflect.TypeFor[*dtpb.String]())
	if err != nil {
		return nil, err
	}
	p.idMember = newMember("id", id)
	if p.extensionPlan, err = c.compile(reflect.TypeFor[*dtpb.Extension]()); err != nil {
		return nil, err
	}
	switch d.Name() {
	case "Date", "DateTime", "Instant":
		p.kind = momentKind
		return p, nil
	case "Time":
		p.kind = timeKind
		return p, nil
	case "Decimal":
		p.kind = decimalKind
		return p, nil
	case "PositiveInt":
		p.kind = positiveKind
		return p, nil
	}
	if p.value < 0 {
		return nil, errForeign(t)
	}
	value := d.Fields().ByName("value")
	switch value.Kind() {
	case protoreflect.StringKind:
		p.kind = textKind
		if d.Name() == "Id" {
			p.kind = idKind
		}
	case protoreflect.BoolKind:
		p.kind = booleanKind
	case protoreflect.Sint32Kind, protoreflect.Int32Kind:
		p.kind = integerKind
	case protoreflect.Uint32Kind:
		p.kind = unsignedKind
	case protoreflect.BytesKind:
		p.kind = bytesKind
	case protoreflect.EnumKind:
		p.kind = codeKind
		p.codes = codesOf(value.Enum())
	default:
		return nil, errForeign(t)
	}
	return p, nil
}

// codesOf are the FHIR codes of an enumeration by number. Number 0 means that there is none.
func codesOf(d protoreflect.EnumDescriptor) map[int64]string {
	codes := make(map[int64]string, d.Values().Len())
	for i := range d.Values().Len() {
		v := d.Values().Get(i)
		if v.Number() == 0 {
			continue
		}
		code := proto.GetExtension(v.Options(), apb.E_FhirOriginalCode).(string)
		if code == "" {
			code = strings.ReplaceAll(strings.ToLower(string(v.Name())), "_", "-")
		}
		codes[int64(v.Number())] = code
	}
	return codes
}
