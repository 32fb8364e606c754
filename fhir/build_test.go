package fhir

import (
	"regexp"
	"strings"
	"testing"
	"time"

	codes "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/codes_go_proto"
	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	obpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// written is the FHIR JSON of m.
func written(t testing.TB, m proto.Message) string {
	t.Helper()
	b, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	measured = DateTime(time.Date(2024, 5, 11, 16, 32, 15, 0, time.FixedZone("", 7200)), Second)
	mrn      = Identifier{"http://hospital.example/mrn", "SYN-1"}
	monitor  = DeviceSpec{Manufacturer: "Acme", Model: "BP7", Serial: "17"}
)

func TestElementsAreBuiltOfWhatThereIs(t *testing.T) {
	for _, c := range []struct {
		name string
		m    proto.Message
		want string
	}{
		{"a coding", Coding(LOINC, "8867-4", "Heart rate"), `{"system":"http://loinc.org","code":"8867-4","display":"Heart rate"}`},
		{"a coding of a code only", Coding("", "x", ""), `{"code":"x"}`},
		{"a concept of text", Concept("pulse"), `{"text":"pulse"}`},
		{"a concept of codings", Concept("", Coding(MDC, "147842", ""), Coding(LOINC, "8867-4", "")), `{"coding":[{"system":"urn:iso:std:iso:11073:10101","code":"147842"},{"system":"http://loinc.org","code":"8867-4"}]}`},
		{"a quantity keeps its decimals", Quantity("72.50", "bpm", "/min"), `{"value":72.50,"unit":"bpm","system":"http://unitsofmeasure.org","code":"/min"}`},
		{"a unit that is not UCUM is text only", Quantity("3", "puffs", ""), `{"value":3,"unit":"puffs"}`},
		{"less than", Compared(Quantity("20", "", "mg/dL"), '<'), `{"value":20,"comparator":"<","system":"http://unitsofmeasure.org","code":"mg/dL"}`},
		{"more than", Compared(Quantity("600", "", "mg/dL"), '>'), `{"value":600,"comparator":">","system":"http://unitsofmeasure.org","code":"mg/dL"}`},
		{"neither", Compared(Quantity("100", "", ""), 0), `{"value":100}`},
		{"samples", SampledData(Samples{Period: "4", Origin: "2048", Factor: "0.50", Lower: "-5", Upper: "5", Unit: "mV", UCUM: "mV", Dimensions: 2, Data: "1 E 3 4"}),
			`{"origin":{"value":2048,"unit":"mV","system":"http://unitsofmeasure.org","code":"mV"},"period":4,"factor":0.50,"lowerLimit":-5,"upperLimit":5,"dimensions":2,"data":"1 E 3 4"}`},
		{"samples of what there must be", SampledData(Samples{Period: "4", Origin: "0", Data: "1"}), `{"origin":{"value":0},"period":4,"dimensions":1,"data":"1"}`},
		{"a reference to a patient", ReferenceTo("Patient", "1"), `{"reference":"Patient/1"}`},
		{"a reference to a device", ReferenceTo("Device", "1"), `{"reference":"Device/1"}`},
		{"a reference to an observation", ReferenceTo("Observation", "1"), `{"reference":"Observation/1"}`},
		{"a reference to any other", ReferenceTo("Location", "1"), `{"reference":"Location/1"}`},
		{"a patient is a name of it and nothing else", Patient(mrn), `{"resourceType":"Patient","id":"` + PatientID(mrn) + `","identifier":[{"system":"http://hospital.example/mrn","value":"SYN-1"}]}`},
		{"an extension", CodeExtension("http://x.example/e", "c"), `{"url":"http://x.example/e","valueCode":"c"}`},
	} {
		if got := written(t, c.m); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	if Text("") != nil {
		t.Error("an empty string is a string")
	}
}

func TestDateTimesKeepTheirOffsetAndPrecision(t *testing.T) {
	at := time.Date(2024, 5, 11, 16, 32, 15, 123456000, time.FixedZone("CEST", 7200))
	for _, c := range []struct {
		name string
		d    *dtpb.DateTime
		want string
	}{
		{"a year", DateTime(at, Year), "2024"},
		{"a month", DateTime(at, Month), "2024-05"},
		{"a day", DateTime(at, Day), "2024-05-11"},
		{"a day that is another in UTC", DateTime(time.Date(2024, 1, 1, 0, 30, 0, 0, time.FixedZone("", 3600)), Day), "2024-01-01"},
		{"a second", DateTime(at, Second), "2024-05-11T16:32:15+02:00"},
		{"a millisecond", DateTime(at, Millisecond), "2024-05-11T16:32:15.123+02:00"},
		{"a microsecond", DateTime(at, Microsecond), "2024-05-11T16:32:15.123456+02:00"},
		{"UTC is Z", DateTime(at.UTC(), Second), "2024-05-11T14:32:15Z"},
		{"Greenwich is +00:00", DateTime(at.In(time.FixedZone("", 0)), Second), "2024-05-11T14:32:15+00:00"},
		{"half hours west", DateTime(at.In(time.FixedZone("", -12600)), Second), "2024-05-11T11:02:15-03:30"},
		{"an offset of odd seconds loses them and keeps the instant", DateTime(at.In(time.FixedZone("", 3600+59)), Second), "2024-05-11T15:32:15+01:00"},
		{"a precision that is none", DateTime(at, Precision(99)), "2024-05-11T16:32:15.123456+02:00"},
	} {
		o := Reading{Code: Concept("x"), At: c.d}.Observation()
		if got := written(t, o); !strings.Contains(got, `"effectiveDateTime":"`+c.want+`"`) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestADeviceIsTheSameInEveryPayload(t *testing.T) {
	id := func(s DeviceSpec) string { return NewDevice(s).GetId().GetValue() }
	same := func(change func(*DeviceSpec)) DeviceSpec {
		s := monitor
		change(&s)
		return s
	}
	for _, c := range []struct {
		name string
		a, b DeviceSpec
		want bool
	}{
		{"what may change does not count", monitor, same(func(s *DeviceSpec) {
			s.Firmware, s.Name, s.Type, s.Owner = "2", "bedside", Concept("monitor"), mrn
		}), true},
		{"another serial number", monitor, same(func(s *DeviceSpec) { s.Serial = "18" }), false},
		{"another model", monitor, same(func(s *DeviceSpec) { s.Model = "BP8" }), false},
		{"a part", monitor, same(func(s *DeviceSpec) { s.Part = "ECG" }), false},
		{"an identifier is enough", DeviceSpec{Identifiers: []Identifier{{EUI64, "0011223344556677"}}}, same(func(s *DeviceSpec) { s.Identifiers = []Identifier{{EUI64, "0011223344556677"}} }), true},
		{"an identifier goes before the serial number", monitor, same(func(s *DeviceSpec) { s.Identifiers = []Identifier{{EUI64, "0011223344556677"}} }), false},
		{"without a serial number the owner counts", same(func(s *DeviceSpec) { s.Serial, s.Owner = "", mrn }), same(func(s *DeviceSpec) { s.Serial, s.Owner = "", Identifier{mrn.System, "SYN-2"} }), false},
		{"a model is no serial number", DeviceSpec{Manufacturer: "a", Model: "b", Serial: "c"}, DeviceSpec{Manufacturer: "a", Model: "b", Owner: Identifier{"c", ""}}, false},
	} {
		if got := id(c.a) == id(c.b); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	full := same(func(s *DeviceSpec) {
		s.Name, s.Firmware, s.Software, s.Hardware = "bedside", "1", "2", "3"
		s.Identifiers, s.Owner, s.Parent, s.Type = []Identifier{{EUI64, "0011223344556677"}}, mrn, ReferenceTo("Device", "p"), Concept("monitor")
	})
	want := `{"resourceType":"Device","id":"` + id(full) + `","identifier":[{"system":"` + EUI64 + `","value":"0011223344556677"}],"manufacturer":"Acme","serialNumber":"17",` +
		`"deviceName":[{"name":"bedside","type":"user-friendly-name"}],"modelNumber":"BP7","type":{"text":"monitor"},` +
		`"version":[{"type":{"text":"firmware"},"value":"1"},{"type":{"text":"software"},"value":"2"},{"type":{"text":"hardware"},"value":"3"}],` +
		`"patient":{"reference":"Patient/` + PatientID(mrn) + `","identifier":{"system":"http://hospital.example/mrn","value":"SYN-1"}},"parent":{"reference":"Device/p"}}`
	if got := written(t, NewDevice(full)); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestAReadingBecomesAnObservation(t *testing.T) {
	device := NewDevice(monitor)
	r := Reading{
		Code: Concept("", Coding(LOINC, "8867-4", "")), Category: "vital-signs", Subject: Subject{Patient: mrn, Device: device}, Device: device,
		At: measured, Quantity: Quantity("72", "bpm", "/min"), Same: []string{"2024-05-11T16:32:15+02:00"},
	}
	o := r.Observation()
	id := o.GetId().GetValue()
	want := `{"resourceType":"Observation","id":"` + id + `","identifier":[{"system":"` + ReadingID + `","value":"` + id + `"}],"status":"final",` +
		`"category":[{"coding":[{"system":"` + ObservationCategory + `","code":"vital-signs"}]}],"code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},` +
		`"subject":{"reference":"Patient/` + PatientID(mrn) + `","identifier":{"system":"http://hospital.example/mrn","value":"SYN-1"}},"effectiveDateTime":"2024-05-11T16:32:15+02:00",` +
		`"valueQuantity":{"value":72,"unit":"bpm","system":"http://unitsofmeasure.org","code":"/min"},"device":{"reference":"Device/` + device.GetId().GetValue() + `"}}`
	if got := written(t, o); got != want || !ValidID(id) {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	for _, c := range []struct {
		name   string
		change func(*Reading)
		same   bool
	}{
		{"nothing else", func(*Reading) {}, true},
		{"a corrected value", func(r *Reading) { r.Quantity, r.Status = Quantity("73", "", ""), codes.ObservationStatusCode_CORRECTED }, true},
		{"another time", func(r *Reading) { r.Same = []string{"2024-05-11T16:32:16+02:00"} }, false},
		{"another code", func(r *Reading) { r.Code = Concept("", Coding(LOINC, "8868-2", "")) }, false},
		{"the same code with a translation", func(r *Reading) {
			r.Code = Concept("pulse", Coding(LOINC, "8867-4", "Heart rate"), Coding(MDC, "1", ""))
		}, true},
		{"another patient", func(r *Reading) { r.Subject.Patient.Value = "SYN-2" }, false},
		{"nobody", func(r *Reading) { r.Subject.Patient = Identifier{} }, false},
		{"another device", func(r *Reading) { r.Device = NewDevice(DeviceSpec{Serial: "x"}) }, false},
	} {
		other := r
		c.change(&other)
		if got := other.Observation().GetId().GetValue() == id; got != c.same {
			t.Errorf("%s: the id is the same: %v", c.name, got)
		}
	}
}

func TestAReadingHasTheValueItWasGiven(t *testing.T) {
	device := NewDevice(monitor)
	for _, c := range []struct {
		name string
		r    Reading
		want []string
	}{
		{"a period", Reading{At: measured, Until: measured}, []string{`"effectivePeriod":{"start":"2024-05-11T16:32:15+02:00","end":"2024-05-11T16:32:15+02:00"}`}},
		{"samples", Reading{Samples: SampledData(Samples{Period: "1", Origin: "0", Data: "1"})}, []string{`"valueSampledData":{`}},
		{"a concept", Reading{Concept: Concept("yes")}, []string{`"valueCodeableConcept":{"text":"yes"}`}},
		{"words", Reading{Words: "irregular"}, []string{`"valueString":"irregular"`}},
		{"no value", Reading{Absent: "error"}, []string{`"dataAbsentReason":{"coding":[{"system":"` + DataAbsentReason + `","code":"error"}]}`}},
		{"a status", Reading{Status: codes.ObservationStatusCode_PRELIMINARY}, []string{`"status":"preliminary"`}},
		{"a profile", Reading{Profile: "http://x.example/p"}, []string{`"meta":{"profile":["http://x.example/p"]}`}},
		{"nobody: the device is the subject", Reading{Subject: Subject{Device: device}}, []string{`"subject":{"reference":"Device/` + device.GetId().GetValue() + `"}`}},
		{"method, site and interpretation", Reading{Method: SelfReported(), BodySite: Concept("arm"), Interpretation: []*dtpb.CodeableConcept{Concept("high")}},
			[]string{`"method":{"text":"Self-reported, entered by hand"}`, `"bodySite":{"text":"arm"}`, `"interpretation":[{"text":"high"}]`}},
	} {
		c.r.Code = Concept("x")
		got := written(t, c.r.Observation())
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %s\nhas no %s", c.name, got, want)
			}
		}
	}
	if (Subject{}).Reference() != nil {
		t.Error("nobody has a reference")
	}
	o := Reading{Code: Concept("x")}.Observation()
	const reasons = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
	Tag(o, reasons, "HTEST")
	if got := written(t, o); !strings.Contains(got, `"security":[{"system":"`+reasons+`","code":"HTEST"}]`) {
		t.Errorf("no tag in %s", got)
	}
}

// http://hl7.org/fhir/R4/bp.html
func TestBloodPressureClaimsTheProfileWhereItHolds(t *testing.T) {
	mercury := func(n string) *dtpb.Quantity { return Quantity(n, "mmHg", "mm[Hg]") }
	known := Reading{Subject: Subject{Patient: mrn}}
	for _, c := range []struct {
		name       string
		r          Reading
		p          Pressures
		profile    bool
		components int
		has        string
	}{
		{"both parts", known, Pressures{Systolic: mercury("120"), Diastolic: mercury("80")}, true, 2, `"code":"8480-6"`},
		{"with a mean", known, Pressures{Systolic: mercury("120"), Diastolic: mercury("80"), Mean: mercury("93")}, true, 3, `"code":"8478-0"`},
		{"a part that was not measured", known, Pressures{Mean: mercury("93")}, true, 3, `"code":"not-performed"`},
		{"a part that failed", known, Pressures{Mean: mercury("93"), Reason: "error"}, true, 3, `"code":"error"`},
		{"another unit", known, Pressures{Systolic: Quantity("16.0", "kPa", "kPa"), Diastolic: mercury("80")}, false, 2, `"value":16.0`},
		{"nobody", Reading{}, Pressures{Systolic: mercury("120"), Diastolic: mercury("80")}, false, 2, `"85354-9"`},
		{"codes of its own", known, Pressures{Systolic: mercury("120"), Diastolic: mercury("80"), SystolicCode: Concept("upper")}, true, 2, `"text":"upper"`},
		{"more components", Reading{Subject: known.Subject, Components: []*obpb.Observation_Component{Component(Concept("pulse"), Quantity("60", "", "/min"), "")}},
			Pressures{Systolic: mercury("120"), Diastolic: mercury("80")}, true, 3, `"text":"pulse"`},
	} {
		o := BloodPressure(c.r, c.p)
		got := written(t, o)
		if strings.Contains(got, bpProfile) != c.profile || len(o.Component) != c.components || !strings.Contains(got, c.has) || !strings.Contains(got, `"code":"vital-signs"`) {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}

func TestVitalSignClaimsTheProfileWhereItHolds(t *testing.T) {
	perMinute := func(ucum string) bool { return ucum == "/min" }
	for _, c := range []struct {
		name    string
		r       Reading
		profile string
		want    bool
	}{
		{"the unit of the profile", Reading{Subject: Subject{Patient: mrn}, Quantity: Quantity("72", "", "/min")}, "heartrate", true},
		{"another unit", Reading{Subject: Subject{Patient: mrn}, Quantity: Quantity("1.2", "", "Hz")}, "heartrate", false},
		{"no unit", Reading{Subject: Subject{Patient: mrn}, Quantity: Quantity("72", "", "")}, "heartrate", false},
		{"no value and a reason", Reading{Subject: Subject{Patient: mrn}, Absent: "error"}, "heartrate", true},
		{"no value and no reason", Reading{Subject: Subject{Patient: mrn}}, "heartrate", false},
		{"nobody", Reading{Quantity: Quantity("72", "", "/min")}, "heartrate", false},
		{"no profile", Reading{Subject: Subject{Patient: mrn}, Quantity: Quantity("72", "", "/min")}, "", false},
	} {
		c.r.Code = Concept("x")
		got := written(t, VitalSign(c.r, c.profile, perMinute))
		if strings.Contains(got, `"profile":["http://hl7.org/fhir/StructureDefinition/heartrate"]`) != c.want || strings.Contains(got, `"profile"`) != c.want {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}

func TestComponentsHaveAValueOrAReason(t *testing.T) {
	o := Reading{Code: Concept("x"), Components: []*obpb.Observation_Component{
		Component(Concept("a"), Quantity("1", "", ""), ""), Component(Concept("b"), nil, "unknown"), ConceptComponent(Concept("c"), Concept("yes")),
	}}.Observation()
	want := `"component":[{"code":{"text":"a"},"valueQuantity":{"value":1}},{"code":{"text":"b"},"dataAbsentReason":{"coding":[{"system":"` + DataAbsentReason + `","code":"unknown"}]}},` +
		`{"code":{"text":"c"},"valueCodeableConcept":{"text":"yes"}}]`
	if got := written(t, o); !strings.Contains(got, want) {
		t.Errorf("%s\nhas no %s", got, want)
	}
}

// http://hl7.org/fhir/R4/datatypes.html#decimal
func TestIsDecimal(t *testing.T) {
	for _, c := range []struct {
		text string
		want bool
	}{
		{"0", true}, {"-0", true}, {"72.50", true}, {"0.5", true}, {"-1.5e-10", true}, {"1E+5", true}, {"100", true}, {"1e5", true}, {"0e0", true},
		{"", false}, {"-", false}, {"+1", false}, {".5", false}, {"5.", false}, {"05", false}, {"-05", false}, {"00", false}, {"1e", false}, {"1e+", false}, {"1.e5", false},
		{"e5", false}, {"1 ", false}, {" 1", false}, {"1,5", false}, {"NaN", false}, {"Inf", false}, {"0x1", false}, {"1_000", false}, {"--1", false}, {"1e5.5", false}, {"１", false},
	} {
		if got := IsDecimal(c.text); got != c.want {
			t.Errorf("IsDecimal(%q) = %v", c.text, got)
		}
	}
	grammar := regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
	near := rapid.StringMatching(`[-+]?[0-9]{0,3}\.?[0-9]{0,3}([eE][+-]?[0-9]{0,2})?`)
	rapid.Check(t, func(t *rapid.T) {
		if text := near.Draw(t, "text"); IsDecimal(text) != grammar.MatchString(text) {
			t.Fatalf("IsDecimal(%q) = %v", text, IsDecimal(text))
		}
	})
}

func TestReadingsWithNothingElseToTellThemApartDifferByTheirTime(t *testing.T) {
	device := NewDevice(DeviceSpec{Serial: "1"})
	id := func(minute int) string {
		at := time.Date(2026, 5, 1, 8, minute, 0, 0, time.UTC)
		return Reading{Code: Concept("x"), Device: device, At: DateTime(at, Second)}.Observation().GetId().GetValue()
	}
	if id(0) == id(1) {
		t.Error("two readings at different times have one id")
	}
	if first, again := id(0), id(0); first != again {
		t.Error("the same reading has two ids")
	}
}
