package fhir_test

import (
	"reflect"
	"testing"

	"github.com/google/fhir/go/fhirversion"
	"github.com/google/fhir/go/jsonformat"
	apb "github.com/google/fhir/go/proto/google/fhir/proto/annotations_go_proto"
	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	devicepb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/device_go_proto"
	metricpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/device_metric_go_proto"
	opb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"
	patientpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/patient_go_proto"
	provenancepb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/provenance_go_proto"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
)

func TestEncodeAgreesWithJsonformatOnRandomResources(t *testing.T) {
	marshaller, err := jsonformat.NewMarshaller(false, "", "", fhirversion.R4)
	if err != nil {
		t.Fatal(err)
	}
	for _, empty := range []proto.Message{
		&opb.Observation{}, &devicepb.Device{}, &patientpb.Patient{}, &metricpb.DeviceMetric{}, &provenancepb.Provenance{},
	} {
		t.Run(string(empty.ProtoReflect().Descriptor().Name()), rapid.MakeCheck(func(t *rapid.T) {
			m := empty.ProtoReflect().New()
			fill(t, m, 0)
			resource := m.Interface()
			before := proto.Clone(resource)
			got, err := fhir.Encode(resource)
			if err != nil {
				t.Fatalf("%v\n%v", err, resource)
			}
			if !proto.Equal(before, resource) {
				t.Fatal("Encode changed the message")
			}
			want, err := marshaller.MarshalResource(before)
			if err != nil {
				t.Fatal(err)
			}
			if a, b := jsonValue(t, want), jsonValue(t, got); !reflect.DeepEqual(a, b) {
				t.Fatalf("(-jsonformat +ours):\n%s\n%s", cmp.Diff(a, b), resource)
			}
		}))
	}
}

// fill sets some fields of an object to valid content.
func fill(t *rapid.T, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if fd.Name() == "contained" || fd.ContainingOneof() != nil {
			continue
		}
		odds := 4
		if fd.Name() == "extension" || fd.Name() == "modifier_extension" {
			odds = 12
		}
		if rapid.IntRange(0, odds+8*depth).Draw(t, "set "+string(fd.Name())) != 0 {
			continue
		}
		if !fd.IsList() {
			value := m.NewField(fd)
			element(t, value.Message(), depth+1)
			m.Set(fd, value)
			continue
		}
		list := m.Mutable(fd).List()
		for range rapid.IntRange(1, 3).Draw(t, "count") {
			value := list.NewElement()
			element(t, value.Message(), depth+1)
			list.Append(value)
		}
	}
	if o := m.Descriptor().Oneofs(); o.Len() > 0 && rapid.Bool().Draw(t, "refer") {
		fd := o.Get(0).Fields().Get(rapid.IntRange(0, o.Get(0).Fields().Len()-1).Draw(t, "target"))
		switch value := m.NewField(fd).Message().Interface().(type) {
		case *dtpb.ReferenceId:
			value.Value = id(t)
			if rapid.Bool().Draw(t, "versioned") {
				value.History = &dtpb.Id{Value: id(t)}
			}
			m.Set(fd, protoreflect.ValueOfMessage(value.ProtoReflect()))
		case *dtpb.String:
			// Beside a URI jsonformat forgets id and extensions, so there are none here.
			value.Value = words(t)
			m.Set(fd, protoreflect.ValueOfMessage(value.ProtoReflect()))
		}
	}
	empty := true
	m.Range(func(protoreflect.FieldDescriptor, protoreflect.Value) bool { empty = false; return false })
	if fd := fields.ByName("id"); empty && fd != nil {
		value := m.NewField(fd)
		text := value.Message().Descriptor().Fields().ByName("value")
		value.Message().Set(text, protoreflect.ValueOfString(id(t)))
		m.Set(fd, value)
	}
}

// element gives a new message of any type valid content.
func element(t *rapid.T, m protoreflect.Message, depth int) {
	d := m.Descriptor()
	if proto.GetExtension(d.Options(), apb.E_IsChoiceType).(bool) {
		alternatives := d.Oneofs().Get(0).Fields()
		fd := alternatives.Get(rapid.IntRange(0, alternatives.Len()-1).Draw(t, "choice"))
		value := m.NewField(fd)
		element(t, value.Message(), depth)
		m.Set(fd, value)
		return
	}
	if proto.GetExtension(d.Options(), apb.E_StructureDefinitionKind).(apb.StructureDefinitionKindValue) != apb.StructureDefinitionKindValue_KIND_PRIMITIVE_TYPE {
		fill(t, m, depth)
		return
	}
	extension := d.Fields().ByName("extension")
	if rapid.IntRange(0, 6).Draw(t, "identified") == 0 {
		m.Set(d.Fields().ByName("id"), protoreflect.ValueOfMessage(text(id(t)).ProtoReflect()))
	}
	if extension != nil && rapid.IntRange(0, 6).Draw(t, "extended") == 0 {
		list := m.Mutable(extension).List()
		x := &dtpb.Extension{Url: uri("http://example.org/" + id(t))}
		x.Value = &dtpb.Extension_ValueX{Choice: &dtpb.Extension_ValueX_StringValue{StringValue: text(words(t))}}
		list.Append(protoreflect.ValueOfMessage(x.ProtoReflect()))
		if rapid.Bool().Draw(t, "only extended") {
			marker := &dtpb.Extension{
				Url:   uri("https://g.co/fhir/StructureDefinition/primitiveHasNoValue"),
				Value: &dtpb.Extension_ValueX{Choice: &dtpb.Extension_ValueX_Boolean{Boolean: &dtpb.Boolean{Value: true}}},
			}
			list.Append(protoreflect.ValueOfMessage(marker.ProtoReflect()))
			return
		}
	}
	set := func(name protoreflect.Name, v any) { m.Set(d.Fields().ByName(name), protoreflect.ValueOf(v)) }
	moment := func(precisions protoreflect.EnumNumber) {
		zone := rapid.SampledFrom([]string{"Z", "UTC", "+00:00", "+01:00", "-05:30", "+14:00", "-11:00", "Europe/Berlin", "America/St_Johns"}).Draw(t, "zone")
		from, to := int64(-62135000000), int64(253402000000)
		if len(zone) > 6 { // zones once were minutes and seconds from UTC, which FHIR cannot say
			from = 0
		}
		set("value_us", rapid.Int64Range(from*1e6, to*1e6).Draw(t, "micros"))
		set("timezone", zone)
		set("precision", rapid.Map(rapid.Int32Range(1, int32(precisions)), func(n int32) protoreflect.EnumNumber { return protoreflect.EnumNumber(n) }).Draw(t, "precision"))
	}
	switch d.Name() {
	case "Date":
		moment(3)
	case "DateTime":
		moment(6)
	case "Instant":
		moment(3)
	case "Time":
		set("value_us", rapid.Int64Range(0, 86_400_000_000-1).Draw(t, "micros"))
		set("precision", protoreflect.EnumNumber(rapid.Int32Range(1, 3).Draw(t, "precision")))
	case "Decimal":
		set("value", rapid.StringMatching(`-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,3})?`).Draw(t, "decimal"))
	case "Id":
		set("value", id(t))
	case "Boolean":
		set("value", rapid.Bool().Draw(t, "boolean"))
	case "Integer":
		set("value", rapid.Int32().Draw(t, "integer"))
	case "UnsignedInt":
		set("value", rapid.Uint32Max(1<<31-1).Draw(t, "unsigned"))
	case "PositiveInt":
		set("value", rapid.Uint32Range(1, 1<<31-1).Draw(t, "positive"))
	case "Base64Binary":
		set("value", rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "bytes"))
	default:
		value := d.Fields().ByName("value")
		if value.Enum() == nil {
			set("value", words(t))
			return
		}
		codes := value.Enum().Values()
		set("value", codes.Get(rapid.IntRange(1, codes.Len()-1).Draw(t, "code")).Number())
	}
}

func id(t *rapid.T) string { return rapid.StringMatching(`[A-Za-z0-9.-]{1,64}`).Draw(t, "id") }

func words(t *rapid.T) string {
	return rapid.OneOf(
		rapid.StringMatching(`[ -~\t\r\n]{1,30}`),
		rapid.StringN(1, 20, -1).Filter(func(s string) bool {
			for _, r := range s {
				if r < ' ' {
					return false
				}
			}
			return true
		}),
	).Draw(t, "words")
}
