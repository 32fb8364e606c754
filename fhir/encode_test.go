package fhir_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	cpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/codes_go_proto"
	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	bcrpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/bundle_and_contained_resource_go_proto"
	devicepb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/device_go_proto"
	opb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"
	patientpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/patient_go_proto"
	stu3pb "github.com/google/fhir/go/proto/google/fhir/proto/stu3/datatypes_go_proto"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/kiln-health/kiln/fhir"
)

const noon = 1_760_000_000_123_456 // 2025-10-09T08:53:20.123456Z

func extension(url, value string) *dtpb.Extension {
	return &dtpb.Extension{Url: uri(url), Value: &dtpb.Extension_ValueX{
		Choice: &dtpb.Extension_ValueX_StringValue{StringValue: text(value)},
	}}
}

func noValue() *dtpb.Extension {
	return &dtpb.Extension{
		Url:   uri("https://g.co/fhir/StructureDefinition/primitiveHasNoValue"),
		Value: &dtpb.Extension_ValueX{Choice: &dtpb.Extension_ValueX_Boolean{Boolean: &dtpb.Boolean{Value: true}}},
	}
}

func effective(micros int64, zone string, p dtpb.DateTime_Precision) *opb.Observation {
	return &opb.Observation{Effective: &opb.Observation_EffectiveX{Choice: &opb.Observation_EffectiveX_DateTime{
		DateTime: &dtpb.DateTime{ValueUs: micros, Timezone: zone, Precision: p},
	}}}
}

func contained(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestEncode(t *testing.T) {
	for _, c := range []struct {
		name string
		m    proto.Message
		want string
	}{
		{"a decimal keeps its text",
			&dtpb.Quantity{Value: &dtpb.Decimal{Value: "72.50"}}, `{"value":72.50}`},
		{"an exponent stays an exponent",
			&dtpb.Quantity{Value: &dtpb.Decimal{Value: "-1.0e-10"}}, `{"value":-1.0e-10}`},
		{"a comparator is its code and not its name",
			&dtpb.Quantity{Comparator: &dtpb.Quantity_ComparatorCode{Value: cpb.QuantityComparatorCode_LESS_THAN_OR_EQUAL_TO}}, `{"comparator":"<="}`},
		{"a code of several words has hyphens",
			&opb.Observation{Status: &opb.Observation_StatusCode{Value: cpb.ObservationStatusCode_ENTERED_IN_ERROR}},
			`{"resourceType":"Observation","status":"entered-in-error"}`},
		{"the name of a choice carries its type",
			&opb.Observation{Value: &opb.Observation_ValueX{Choice: &opb.Observation_ValueX_Boolean{Boolean: &dtpb.Boolean{}}}},
			`{"resourceType":"Observation","valueBoolean":false}`},
		{"zero is a value of an integer",
			&opb.Observation{Value: &opb.Observation_ValueX{Choice: &opb.Observation_ValueX_Integer{Integer: &dtpb.Integer{}}}},
			`{"resourceType":"Observation","valueInteger":0}`},
		{"a name that is not the one of the proto is that of FHIR",
			&devicepb.Device{UdiCarrier: []*devicepb.Device_UdiCarrier{{CarrierHrf: text("(01)1"), CarrierAidc: &dtpb.Base64Binary{Value: []byte{0, 255, 16}}}}},
			`{"resourceType":"Device","udiCarrier":[{"carrierAIDC":"AP8Q","carrierHRF":"(01)1"}]}`},

		{"a date-time keeps its offset",
			effective(noon, "+01:00", dtpb.DateTime_SECOND), `{"resourceType":"Observation","effectiveDateTime":"2025-10-09T09:53:20+01:00"}`},
		{"Z stays Z",
			effective(noon, "Z", dtpb.DateTime_MILLISECOND), `{"resourceType":"Observation","effectiveDateTime":"2025-10-09T08:53:20.123Z"}`},
		{"+00:00 stays +00:00",
			effective(noon, "+00:00", dtpb.DateTime_MICROSECOND), `{"resourceType":"Observation","effectiveDateTime":"2025-10-09T08:53:20.123456+00:00"}`},
		{"UTC is written as an offset",
			effective(noon, "UTC", dtpb.DateTime_SECOND), `{"resourceType":"Observation","effectiveDateTime":"2025-10-09T08:53:20+00:00"}`},
		{"a named zone is written as its offset in summer",
			effective(noon, "Europe/Berlin", dtpb.DateTime_SECOND), `{"resourceType":"Observation","effectiveDateTime":"2025-10-09T10:53:20+02:00"}`},
		{"a named zone is written as its offset in winter",
			effective(noon+60*86400e6, "America/St_Johns", dtpb.DateTime_SECOND), `{"resourceType":"Observation","effectiveDateTime":"2025-12-08T05:23:20-03:30"}`},
		{"a day is the day in its zone",
			effective(noon, "-11:00", dtpb.DateTime_DAY), `{"resourceType":"Observation","effectiveDateTime":"2025-10-08"}`},
		{"a month has no day",
			effective(noon, "Z", dtpb.DateTime_MONTH), `{"resourceType":"Observation","effectiveDateTime":"2025-10"}`},
		{"a year has four digits",
			effective(-62135596800e6, "Z", dtpb.DateTime_YEAR), `{"resourceType":"Observation","effectiveDateTime":"0001"}`},
		{"a moment before 1970 is cut off downwards",
			effective(-1, "Z", dtpb.DateTime_MILLISECOND), `{"resourceType":"Observation","effectiveDateTime":"1969-12-31T23:59:59.999Z"}`},
		{"the last millisecond of the years is kept",
			effective(253402300800e6-1000, "Z", dtpb.DateTime_MILLISECOND), `{"resourceType":"Observation","effectiveDateTime":"9999-12-31T23:59:59.999Z"}`},
		{"1970 in UTC is a time like others",
			effective(0, "Z", dtpb.DateTime_SECOND), `{"resourceType":"Observation","effectiveDateTime":"1970-01-01T00:00:00Z"}`},
		{"an instant has fractions of its precision",
			&dtpb.Meta{LastUpdated: &dtpb.Instant{ValueUs: noon, Timezone: "-05:00", Precision: dtpb.Instant_MILLISECOND}},
			`{"lastUpdated":"2025-10-09T03:53:20.123-05:00"}`},
		{"a date of birth is a date",
			&patientpb.Patient{BirthDate: &dtpb.Date{ValueUs: 23 * 3600e6, Timezone: "+02:00", Precision: dtpb.Date_DAY}},
			`{"resourceType":"Patient","birthDate":"1970-01-02"}`},
		{"midnight is a time of day",
			&opb.Observation{Value: &opb.Observation_ValueX{Choice: &opb.Observation_ValueX_Time{Time: &dtpb.Time{Precision: dtpb.Time_SECOND}}}},
			`{"resourceType":"Observation","valueTime":"00:00:00"}`},
		{"the last microsecond is a time of day",
			&opb.Observation{Value: &opb.Observation_ValueX{Choice: &opb.Observation_ValueX_Time{Time: &dtpb.Time{ValueUs: 86400e6 - 1, Precision: dtpb.Time_MICROSECOND}}}},
			`{"resourceType":"Observation","valueTime":"23:59:59.999999"}`},

		{"a reference by id names the type",
			&dtpb.Reference{Reference: &dtpb.Reference_DeviceMetricId{DeviceMetricId: &dtpb.ReferenceId{Value: "m1"}}}, `{"reference":"DeviceMetric/m1"}`},
		{"a reference to a version names it",
			&dtpb.Reference{Reference: &dtpb.Reference_PatientId{PatientId: &dtpb.ReferenceId{Value: "p1", History: &dtpb.Id{Value: "3"}}}}, `{"reference":"Patient/p1/_history/3"}`},
		{"a reference by URI is that URI",
			&dtpb.Reference{Reference: &dtpb.Reference_Uri{Uri: text("urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0")}, Type: uri("Patient"), Display: text("bed 4")},
			`{"reference":"urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0","type":"Patient","display":"bed 4"}`},
		{"a fragment has a hash",
			&dtpb.Reference{Reference: &dtpb.Reference_Fragment{Fragment: text("d1")}}, `{"reference":"#d1"}`},
		{"a hash alone is the container",
			&dtpb.Reference{Reference: &dtpb.Reference_Fragment{Fragment: &dtpb.String{}}}, `{"reference":"#"}`},
		{"a reference may be an identifier alone",
			&dtpb.Reference{Identifier: &dtpb.Identifier{System: uri("http://hospital.example/mrn"), Value: text("1")}}, `{"identifier":{"system":"http://hospital.example/mrn","value":"1"}}`},
		{"an extension of Reference.reference is kept",
			&dtpb.Reference{Reference: &dtpb.Reference_Uri{Uri: &dtpb.String{Value: "Patient/1", Extension: []*dtpb.Extension{extension("http://example.org/x", "y")}}}},
			`{"reference":"Patient/1","_reference":{"extension":[{"url":"http://example.org/x","valueString":"y"}]}}`},
		{"an extension may stand in place of Reference.reference",
			&dtpb.Reference{Reference: &dtpb.Reference_PatientId{PatientId: &dtpb.ReferenceId{Value: "", Extension: []*dtpb.Extension{extension("http://example.org/x", "y"), noValue()}}}},
			`{"_reference":{"extension":[{"url":"http://example.org/x","valueString":"y"}]}}`},

		{"id and extensions of a primitive stand beside it",
			&patientpb.Patient{BirthDate: &dtpb.Date{ValueUs: 0, Timezone: "Z", Precision: dtpb.Date_YEAR, Id: text("b"), Extension: []*dtpb.Extension{extension("http://example.org/x", "y")}}},
			`{"resourceType":"Patient","birthDate":"1970","_birthDate":{"id":"b","extension":[{"url":"http://example.org/x","valueString":"y"}]}}`},
		{"the marker of a missing value is not written",
			&patientpb.Patient{Active: &dtpb.Boolean{Extension: []*dtpb.Extension{noValue(), extension("http://example.org/x", "y")}}},
			`{"resourceType":"Patient","_active":{"extension":[{"url":"http://example.org/x","valueString":"y"}]}}`},
		{"an empty string with an extension needs no marker",
			&dtpb.HumanName{Family: &dtpb.String{Extension: []*dtpb.Extension{extension("http://example.org/x", "y")}}},
			`{"_family":{"extension":[{"url":"http://example.org/x","valueString":"y"}]}}`},
		{"a status without a code may have an extension",
			&opb.Observation{Status: &opb.Observation_StatusCode{Extension: []*dtpb.Extension{extension("http://example.org/x", "y")}}},
			`{"resourceType":"Observation","_status":{"extension":[{"url":"http://example.org/x","valueString":"y"}]}}`},
		{"arrays of primitives are kept in step by nulls",
			&dtpb.HumanName{Given: []*dtpb.String{text("A"), {Extension: []*dtpb.Extension{extension("http://example.org/x", "y")}}, {Value: "C", Id: text("c")}}},
			`{"given":["A",null,"C"],"_given":[null,{"extension":[{"url":"http://example.org/x","valueString":"y"}]},{"id":"c"}]}`},
		{"an array without values is only its extensions",
			&dtpb.HumanName{Given: []*dtpb.String{{Id: text("a")}}}, `{"_given":[{"id":"a"}]}`},
		{"an extension of an enumerated choice comes under its name",
			&opb.Observation{Value: &opb.Observation_ValueX{Choice: &opb.Observation_ValueX_StringValue{StringValue: &dtpb.String{Id: text("s")}}}},
			`{"resourceType":"Observation","_valueString":{"id":"s"}}`},
		{"extension comes before url as it is defined",
			&dtpb.Extension{Url: uri("http://example.org/a"), Id: text("i"), Extension: []*dtpb.Extension{extension("b", "c")}},
			`{"id":"i","extension":[{"url":"b","valueString":"c"}],"url":"http://example.org/a"}`},
		{"a narrative is markup",
			&dtpb.Narrative{Status: &dtpb.Narrative_StatusCode{Value: cpb.NarrativeStatusCode_GENERATED}, Div: &dtpb.Xhtml{Value: `<div xmlns="http://www.w3.org/1999/xhtml">5 < 6 & 7</div>`}},
			`{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">5 < 6 & 7</div>"}`},
		{"base64 is written without the whitespace of its source",
			&dtpb.Attachment{Data: &dtpb.Base64Binary{Value: []byte("kiln"), Extension: []*dtpb.Extension{{
				Url: uri("https://g.co/fhir/StructureDefinition/base64Binary-separatorStride"),
			}}}},
			`{"data":"a2lsbg=="}`},
		{"strings are escaped as little as JSON allows",
			&dtpb.Coding{Display: text("a\"b\\c\td\ne\rf/g<h>&\u2028µ😀\u007f")}, `{"display":"a\"b\\c\td\ne\rf/g<h>&` + "\u2028µ😀\u007f" + `"}`},
		{"the replacement character is a character",
			&dtpb.Coding{Display: text("\ufffd")}, "{\"display\":\"\ufffd\"}"},

		{"an empty list is left out",
			&opb.Observation{Id: &dtpb.Id{Value: "a"}, Category: []*dtpb.CodeableConcept{}}, `{"resourceType":"Observation","id":"a"}`},
		{"a wrapped resource is that resource",
			&bcrpb.ContainedResource{OneofResource: &bcrpb.ContainedResource_Device{Device: &devicepb.Device{Id: &dtpb.Id{Value: "d"}}}},
			`{"resourceType":"Device","id":"d"}`},
		{"a contained resource is written",
			&opb.Observation{Contained: []*anypb.Any{
				contained(t, &devicepb.Device{Id: &dtpb.Id{Value: "d"}}),
				contained(t, &bcrpb.ContainedResource{OneofResource: &bcrpb.ContainedResource_Patient{Patient: &patientpb.Patient{Id: &dtpb.Id{Value: "p"}}}}),
			}},
			`{"resourceType":"Observation","contained":[{"resourceType":"Device","id":"d"},{"resourceType":"Patient","id":"p"}]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := fhir.Encode(c.m)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	component := func(q *dtpb.Quantity) *opb.Observation {
		return &opb.Observation{Component: []*opb.Observation_Component{
			{Code: concept("first")},
			{Value: &opb.Observation_Component_ValueX{Choice: &opb.Observation_Component_ValueX_Quantity{Quantity: q}}},
		}}
	}
	deep := extension("http://example.org/x", "y")
	for range 100 {
		deep = &dtpb.Extension{Url: uri("http://example.org/x"), Extension: []*dtpb.Extension{deep}}
	}
	circle := &dtpb.Extension{Url: uri("http://example.org/x")}
	circle.Extension = []*dtpb.Extension{circle}
	const zone = `set Timezone to "Z", an offset such as "+01:00" or an IANA name`

	for _, c := range []struct {
		name, code, path, message, fix string
		m                              proto.Message
	}{
		{"no message", fhir.CodeStructure, "", "there is no message to encode", "", nil},
		{"a nil message", fhir.CodeStructure, "", "there is no message to encode", "", (*opb.Observation)(nil)},
		{"a message that is not FHIR", fhir.CodeNotSupported, "", "*wrapperspb.StringValue is not one of google/fhir's R4 resources and data types",
			"use the packages below proto/google/fhir/proto/r4/core", wrapperspb.String("x")},
		{"a message of another FHIR release", fhir.CodeNotSupported, "", "*datatypes_go_proto.Coding is not one of google/fhir's R4 resources and data types",
			"use the packages below proto/google/fhir/proto/r4/core", &stu3pb.Coding{}},
		{"a primitive alone", fhir.CodeStructure, "String", "a String is no JSON object by itself", "encode the element that holds it", text("x")},
		{"an empty data type", fhir.CodeStructure, "Coding", "the element has no content", "leave it out, or give it a value or an extension", &dtpb.Coding{}},
		{"an empty wrapper", fhir.CodeStructure, "ContainedResource", "the element has no content", "leave it out, or give it a value or an extension", &bcrpb.ContainedResource{}},
		{"an empty element", fhir.CodeStructure, "Observation.component[1].value", "the element has no content", "leave it out, or give it a value or an extension", component(&dtpb.Quantity{})},
		{"an empty string", fhir.CodeStructure, "Observation.component[1].value.unit", "the element has no content", "leave it out, or give it a value or an extension", component(&dtpb.Quantity{Unit: text("")})},
		{"a nil element of a list", fhir.CodeStructure, "Observation.category[1]", "the element has no content", "leave it out, or give it a value or an extension",
			&opb.Observation{Category: []*dtpb.CodeableConcept{concept("x"), nil}}},
		{"a nil string of a list", fhir.CodeStructure, "HumanName.given[0]", "the element has no content", "leave it out, or give it a value or an extension",
			&dtpb.HumanName{Given: []*dtpb.String{nil}}},
		{"an empty string of a list", fhir.CodeStructure, "HumanName.given[1]", "the element has no content", "leave it out, or give it a value or an extension",
			&dtpb.HumanName{Given: []*dtpb.String{text("a"), text("")}}},
		{"a choice without a value", fhir.CodeStructure, "Observation.value", "the element has no content", "leave it out, or give it a value or an extension",
			&opb.Observation{Value: &opb.Observation_ValueX{}}},
		{"a choice of nothing", fhir.CodeStructure, "Observation.value", "the element has no content", "leave it out, or give it a value or an extension",
			&opb.Observation{Value: &opb.Observation_ValueX{Choice: (*opb.Observation_ValueX_Quantity)(nil)}}},
		{"a choice of a nil value", fhir.CodeStructure, "Observation.value", "the element has no content", "leave it out, or give it a value or an extension",
			&opb.Observation{Value: &opb.Observation_ValueX{Choice: &opb.Observation_ValueX_Quantity{}}}},
		{"a reference to nothing", fhir.CodeStructure, "Observation.subject.reference", "the element has no content", "leave it out, or give it a value or an extension",
			&opb.Observation{Subject: &dtpb.Reference{Reference: &dtpb.Reference_Uri{Uri: text("")}}}},
		{"a marker alone", fhir.CodeStructure, "HumanName.family", "the element has no content", "leave it out, or give it a value or an extension",
			&dtpb.HumanName{Family: &dtpb.String{Extension: []*dtpb.Extension{noValue()}}}},
		{"a status without a code", fhir.CodeStructure, "Observation.status", "the element has no content", "leave it out, or give it a value or an extension",
			&opb.Observation{Status: &opb.Observation_StatusCode{}}},
		{"a number that is no code", fhir.CodeCodeInvalid, "Observation.status", "the number stands for no code of the value set", "use the constants of codes_go_proto",
			&opb.Observation{Status: &opb.Observation_StatusCode{Value: 99}}},

		{"a decimal with a comma", fhir.CodeValue, "Observation.component[1].value.value", "the text is not a decimal number",
			"write digits with an optional sign, fraction and exponent, as in 72.50", component(&dtpb.Quantity{Value: &dtpb.Decimal{Value: "72,5"}})},
		{"text that is not UTF-8", fhir.CodeValue, "Observation.component[1].value.unit", "the text is not UTF-8",
			"decode the text from the character set of its source", component(&dtpb.Quantity{Unit: text("\xb5mol/L")})},
		{"half of a surrogate pair", fhir.CodeValue, "Coding.display", "the text is not UTF-8",
			"decode the text from the character set of its source", &dtpb.Coding{Display: text("\xed\xa0\x80")}},
		{"a control character", fhir.CodeValue, "Coding.display", "the text holds a control character (U+001c)",
			"remove it; FHIR allows tab, line feed and carriage return only", &dtpb.Coding{Display: text("a\x1cb")}},
		{"a broken text in an extension of a primitive", fhir.CodeValue, "Patient.birthDate.extension[0].value", "the text is not UTF-8",
			"decode the text from the character set of its source",
			&patientpb.Patient{BirthDate: &dtpb.Date{Timezone: "Z", Precision: dtpb.Date_DAY, Extension: []*dtpb.Extension{extension("http://example.org/x", "\xff")}}}},
		{"an id that is none", fhir.CodeValue, "Observation.id", "the text is not a resource id",
			"use 1 to 64 of A-Z a-z 0-9 - and ., or fhir.HashID", &opb.Observation{Id: &dtpb.Id{Value: "a_b"}}},
		{"a reference to an id that is none", fhir.CodeValue, "Observation.subject.reference", "the text is not a resource id",
			"use 1 to 64 of A-Z a-z 0-9 - and ., or fhir.HashID",
			&opb.Observation{Subject: &dtpb.Reference{Reference: &dtpb.Reference_PatientId{PatientId: &dtpb.ReferenceId{Value: "1/2"}}}}},
		{"a reference without an id", fhir.CodeValue, "Observation.subject.reference", "the text is not a resource id",
			"use 1 to 64 of A-Z a-z 0-9 - and ., or fhir.HashID",
			&opb.Observation{Subject: &dtpb.Reference{Reference: &dtpb.Reference_PatientId{PatientId: &dtpb.ReferenceId{}}}}},

		{"a time without a zone", fhir.CodeValue, "Observation.effective", "the time has no zone", zone, effective(noon, "", dtpb.DateTime_SECOND)},
		{"a day without a zone", fhir.CodeValue, "Observation.effective", "the time has no zone", zone, effective(noon, "", dtpb.DateTime_DAY)},
		{"the zone of the server", fhir.CodeValue, "Observation.effective", "the time has no zone", zone, effective(noon, "Local", dtpb.DateTime_SECOND)},
		{"a zone that does not exist", fhir.CodeValue, "Observation.effective", "the zone of the time is unknown", zone, effective(noon, "Europe/Atlantis", dtpb.DateTime_SECOND)},
		{"a zone that is a path", fhir.CodeValue, "Observation.effective", "the zone of the time is unknown", zone, effective(noon, "../../etc/localtime", dtpb.DateTime_SECOND)},
		{"an offset without a colon", fhir.CodeValue, "Observation.effective", "the zone of the time is unknown", zone, effective(noon, "+0100", dtpb.DateTime_SECOND)},
		{"an offset beyond 14 hours", fhir.CodeValue, "Observation.effective", "the offset is more than 14 hours from UTC or has more than 59 minutes",
			"give the offset as +hh:mm or -hh:mm", effective(noon, "+14:01", dtpb.DateTime_SECOND)},
		{"an offset with 60 minutes", fhir.CodeValue, "Observation.effective", "the offset is more than 14 hours from UTC or has more than 59 minutes",
			"give the offset as +hh:mm or -hh:mm", effective(noon, "+01:60", dtpb.DateTime_SECOND)},
		{"a zone that once had seconds", fhir.CodeValue, "Observation.effective", "the zone was not whole minutes from UTC at that time",
			`give the time in UTC, with the Timezone "Z"`, effective(-2_500_000_000e6, "Europe/Amsterdam", dtpb.DateTime_SECOND)},
		{"the year 10000", fhir.CodeValue, "Observation.effective", "the time is outside the years 1 to 9999",
			"check the clock of the source, and that the value is in microseconds", effective(253402300800e6, "Z", dtpb.DateTime_SECOND)},
		{"the year 10000 in its zone", fhir.CodeValue, "Observation.effective", "the time is outside the years 1 to 9999",
			"check the clock of the source, and that the value is in microseconds", effective(253402300800e6-1, "+01:00", dtpb.DateTime_SECOND)},
		{"the year 0", fhir.CodeValue, "Observation.effective", "the time is outside the years 1 to 9999",
			"check the clock of the source, and that the value is in microseconds", effective(-62135596800e6-1, "Z", dtpb.DateTime_YEAR)},
		{"a time without a precision", fhir.CodeValue, "Observation.effective", "the time has no precision",
			"set Precision to that of the source", effective(noon, "Z", dtpb.DateTime_PRECISION_UNSPECIFIED)},
		{"a precision that does not exist", fhir.CodeValue, "Observation.effective", "the time has no precision",
			"set Precision to that of the source", effective(noon, "Z", 9)},
		{"a date with a precision of date-times", fhir.CodeValue, "Patient.birthDate", "the time has no precision",
			"set Precision to that of the source", &patientpb.Patient{BirthDate: &dtpb.Date{Timezone: "Z", Precision: 4}}},
		{"a time of day beyond the day", fhir.CodeValue, "Observation.value", "the time is not within a day", "give microseconds since midnight",
			&opb.Observation{Value: &opb.Observation_ValueX{Choice: &opb.Observation_ValueX_Time{Time: &dtpb.Time{ValueUs: 86400e6, Precision: dtpb.Time_SECOND}}}}},

		{"extensions in extensions without end", fhir.CodeTooCostly, "Extension" + strings.Repeat(".extension[0]", 65), "elements are nested too deeply", "nest at most 64 elements", circle},
		{"extensions in a hundred extensions", fhir.CodeTooCostly, "Extension" + strings.Repeat(".extension[0]", 65), "elements are nested too deeply", "nest at most 64 elements", deep},
		{"a contained resource of a type that is not linked", fhir.CodeNotSupported, "Observation.contained[0]",
			"the contained resource is of a type that this program does not link, or is damaged", "store it as a resource of its own and refer to it",
			&opb.Observation{Contained: []*anypb.Any{{TypeUrl: "type.googleapis.com/google.fhir.r4.core.Nonsense"}}}},
		{"a contained data type", fhir.CodeStructure, "Observation.contained[0]", "what is contained is not a resource", "contain a resource",
			&opb.Observation{Contained: []*anypb.Any{contained(t, concept("x"))}}},
		{"a fault in a contained resource", fhir.CodeValue, "Observation.contained[0].id", "the text is not a resource id",
			"use 1 to 64 of A-Z a-z 0-9 - and ., or fhir.HashID", &opb.Observation{Contained: []*anypb.Any{contained(t, &devicepb.Device{Id: &dtpb.Id{Value: "#"}})}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := fhir.AppendJSON([]byte("before"), c.m)
			if err == nil {
				t.Fatalf("got %s", got)
			}
			if string(got) != "before" {
				t.Errorf("the buffer became %s", got)
			}
			want := fhir.Issue{Severity: fhir.SevError, Code: c.code, Path: c.path, Message: c.message, Fix: c.fix}
			issues := fhir.IssuesOf(err)
			if len(issues) != 1 || issues[0] != want {
				t.Errorf("\n got %+v\nwant %+v", issues, want)
			}
		})
	}
}

func TestEncodeRefusesTextThatIsNoDecimal(t *testing.T) {
	for _, s := range []string{"+1", ".5", "1.", "01", "-", "1e", "1e+", "0x1", "1_0", " 1", "1 ", "NaN", "Infinity", "--1", "1.2.3", "1,5", "１"} {
		if got, err := fhir.Encode(&dtpb.Quantity{Value: &dtpb.Decimal{Value: s}}); err == nil {
			t.Errorf("%q was written as %s", s, got)
		}
	}
	for _, s := range []string{"0", "-0", "0.0", "-0.10", "10", "1e2", "1E-2", "1.0e+10", "123456789012345678901234567890.0"} {
		got, err := fhir.Encode(&dtpb.Quantity{Value: &dtpb.Decimal{Value: s}})
		if err != nil || string(got) != `{"value":`+s+`}` {
			t.Errorf("%q: got %s, %v", s, got, err)
		}
	}
}

func TestAppendJSONAppends(t *testing.T) {
	got, err := fhir.AppendJSON([]byte(`{"resource":`), &dtpb.Coding{Code: code("x")})
	if err != nil || string(got) != `{"resource":{"code":"x"}` {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestEncodeServesManyGoroutines(t *testing.T) {
	o := bloodPressure()
	want, err := fhir.Encode(o)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if got, err := fhir.Encode(o); err != nil || string(got) != string(want) {
					t.Errorf("got %s, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestEncodeDoesNotReturnItsBuffer(t *testing.T) {
	first, err := fhir.Encode(heartRate())
	if err != nil {
		t.Fatal(err)
	}
	before := string(first)
	if _, err := fhir.Encode(bloodPressure()); err != nil {
		t.Fatal(err)
	}
	if string(first) != before {
		t.Error("the next call changed what the first returned")
	}
}

// FuzzEncode gives Encode every message that the protos can hold.
func FuzzEncode(f *testing.F) {
	for _, m := range []proto.Message{heartRate(), bloodPressure(), effective(-1, "Europe/Berlin", dtpb.DateTime_MICROSECOND)} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var o opb.Observation
		if proto.Unmarshal(b, &o) != nil {
			return
		}
		got, err := fhir.Encode(&o)
		if err == nil && !json.Valid(got) {
			t.Errorf("not JSON: %s", got)
		}
		if err != nil && fhir.IssuesOf(err)[0].Message == "" {
			t.Errorf("an error without a message: %v", err)
		}
	})
}
