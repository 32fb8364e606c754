package withings

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	obpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"

	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/adapters/adaptertest"
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/fhir/vocabulary"
)

var (
	received = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	patient  = fhir.Identifier{System: "http://hospital.example/mrn", Value: "W-1001"}
)

func TestAdapter(t *testing.T) { adaptertest.Run(t, New()) }

// answer is a payload of one group around measures; head are further members of it.
func answer(head, measures string) adapters.Payload {
	return adapters.Payload{
		Body: []byte(`{"status":0,"body":{"timezone":"Europe/Berlin","measuregrps":[{"grpid":1,"date":1773471491,` +
			head + `,"measures":[` + measures + `]}]}}`),
		Received: received,
		Source:   adapters.Source{Patient: patient},
	}
}

const byDevice = `"attrib":0,"category":1,"hash_deviceid":"d1","deviceid":"d1","modelid":6`

func convert(t *testing.T, p adapters.Payload) adapters.Conversion {
	t.Helper()
	c, err := New().Convert(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	return c
}

// only is the one observation of c.
func only(t *testing.T, c adapters.Conversion) *obpb.Observation {
	t.Helper()
	if len(c.Observations) != 1 {
		t.Fatalf("%d observations, want 1; skipped: %v", len(c.Observations), c.Skipped)
	}
	return c.Observations[0]
}

func TestWhatIsSkippedAndHowSeverely(t *testing.T) {
	for _, test := range []struct {
		name           string
		head, measures string
		severity       fhir.Severity
		says           string
	}{
		{"a goal is no measurement", `"attrib":2,"category":2`, `{"value":70,"type":1,"unit":0}`, fhir.Information, "goal"},
		{"a goal is none even without attrib", `"category":2`, `{"value":70,"type":1,"unit":0}`, fhir.Information, "goal"},
		{"an ambiguous user is for a person to resolve", `"attrib":1,"category":1,"deviceid":"d"`, `{"value":70,"type":1,"unit":0}`, fhir.SevError, "another user"},
		{"a missing category is not guessed", `"attrib":0`, `{"value":70,"type":1,"unit":0}`, fhir.SevError, "category"},
		{"a missing attrib is not guessed", `"category":1`, `{"value":70,"type":1,"unit":0}`, fhir.SevError, "attrib"},
		{"an attrib that is null is missing", `"category":1,"attrib":null`, `{"value":70,"type":1,"unit":0}`, fhir.SevError, "attrib"},
		{"a new type does not vanish", byDevice, `{"value":70,"type":4242,"unit":0}`, fhir.SevError, "type 4242"},
		{"a fraction is not an integer", byDevice, `{"value":70.5,"type":1,"unit":0}`, fhir.SevError, "integers"},
		{"a power is not an integer", byDevice, `{"value":7e1,"type":1,"unit":0}`, fhir.SevError, "integers"},
		{"a text is not an integer", byDevice, `{"value":"70","type":1,"unit":0}`, fhir.SevError, "integers"},
		{"19 digits are too many", byDevice, `{"value":1000000000000000000,"type":1,"unit":0}`, fhir.SevError, "integers"},
		{"a missing unit is not zero", byDevice, `{"value":70,"type":1}`, fhir.SevError, "integers"},
		{"a measure that is an array is no measure", byDevice, `[1]`, fhir.SevError, "not an object"},
		{"a power of 21 is out of bounds", byDevice, `{"value":70,"type":1,"unit":21}`, fhir.SevError, "between -20 and 20"},
		{"a power of -21 is out of bounds", byDevice, `{"value":70,"type":1,"unit":-21}`, fhir.SevError, "between -20 and 20"},
		{"a huge power is out of bounds", byDevice, `{"value":70,"type":1,"unit":999999999999999999}`, fhir.SevError, "between -20 and 20"},
		{"a segment must be named", byDevice, `{"value":70,"type":174,"unit":-1}`, fhir.SevError, "position"},
		{"a heart rate of zero is no heart rate", byDevice, `{"value":0,"type":11,"unit":0}`, fhir.SevError, "zero or below"},
		{"a negative weight is no weight", byDevice, `{"value":-70,"type":1,"unit":0}`, fhir.SevError, "zero or below"},
		{"a device id that is a number is not guessed", `"attrib":0,"category":1,"deviceid":7`, `{"value":70,"type":1,"unit":0}`, fhir.SevError, "device id"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := convert(t, answer(test.head, test.measures))
			if len(c.Observations) != 0 || len(c.Skipped) != 1 {
				t.Fatalf("%d observations and %d skipped, want 0 and 1", len(c.Observations), len(c.Skipped))
			}
			got := c.Skipped[0]
			if got.Severity != test.severity || !strings.Contains(got.Message, test.says) {
				t.Errorf("got %s %q, want %s and a word of %q", got.Severity, got.Message, test.severity, test.says)
			}
			if want := "/body/measuregrps/0/measures/0"; got.Path != want {
				t.Errorf("got path %s, want %s", got.Path, want)
			}
			if got.Severity == fhir.SevError && got.Fix == "" {
				t.Error("no fix is told")
			}
		})
	}
}

func TestDates(t *testing.T) {
	for _, test := range []struct {
		name, date string
		mapped     int
	}{
		{"seconds since 1970 are an instant", "1773471491", 1},
		{"a date of zero is none", "0", 0},
		{"a date before 1970 is none", "-5", 0},
		{"a clock that stands in 1999 is not set", "915148800", 0},
		{"a clock two days ahead is wrong", "1780488000", 0},
		{"milliseconds are not seconds", "1773471491000", 0},
		{"a text is no date", `"2026-03-14"`, 0},
		{"a fraction is no date", "1773471491.5", 0},
		{"null is no date", "null", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := answer(byDevice, `{"value":758,"type":1,"unit":-1}`)
			p.Body = bytes.Replace(p.Body, []byte("1773471491"), []byte(test.date), 1)
			c := convert(t, p)
			if c.Mapped != test.mapped {
				t.Fatalf("%d mapped, want %d: %v", c.Mapped, test.mapped, c.Skipped)
			}
			if test.mapped == 0 && c.Skipped[0].Severity != fhir.SevError {
				t.Errorf("skipped as %s, want error", c.Skipped[0].Severity)
			}
		})
	}
}

func TestZones(t *testing.T) {
	vienna, err := time.LoadLocation("Europe/Vienna")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, group, body string
		source            *time.Location
		offset            string
		warned            bool
	}{
		{"the zone of the group comes first", `"America/New_York"`, `"Europe/Berlin"`, vienna, "-04:00", false},
		{"then the zone of the answer", `null`, `"Europe/Berlin"`, nil, "+01:00", false},
		{"then the zone of the source", `null`, `null`, vienna, "+01:00", false},
		{"then UTC", `null`, `""`, nil, "Z", false},
		{"a zone that does not exist is shown as UTC", `"Mars/Olympus"`, `"Europe/Berlin"`, vienna, "Z", true},
		{"a zone that is a number is shown as UTC", `3600`, `"Europe/Berlin"`, vienna, "Z", true},
		{"the zone of the server is never used", `"Local"`, `null`, vienna, "Z", true},
		{"a zone is no way into the file system", `"../../etc/passwd"`, `null`, vienna, "Z", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := answer(byDevice+`,"timezone":`+test.group, `{"value":758,"type":1,"unit":-1}`)
			p.Body = bytes.Replace(p.Body, []byte(`"Europe/Berlin"`), []byte(test.body), 1)
			p.Source.Zone = test.source
			c := convert(t, p)
			at := only(t, c).GetEffective().GetDateTime()
			if at.GetTimezone() != test.offset || at.GetValueUs() != 1773471491_000_000 {
				t.Errorf("got %s at %d, want %s at 1773471491 s", at.GetTimezone(), at.GetValueUs(), test.offset)
			}
			if got := len(c.Warnings) > 0; got != test.warned {
				t.Errorf("warned: %v, want %v", got, test.warned)
			}
		})
	}
}

func TestValuesKeepTheirDigits(t *testing.T) {
	for _, test := range []struct {
		name, measure, value, unit string
	}{
		{"grams with three places", `{"value":75800,"type":1,"unit":-3}`, "75.800", "kg"},
		{"tenths of a gram", `{"value":758000,"type":1,"unit":-4}`, "75.8000", "kg"},
		{"whole kilograms", `{"value":76,"type":1,"unit":0}`, "76", "kg"},
		{"tens of kilograms", `{"value":8,"type":1,"unit":1}`, "80", "kg"},
		{"below one", `{"value":5,"type":8,"unit":-2}`, "0.05", "kg"},
		{"height is given in centimetres", `{"value":1785,"type":4,"unit":-3}`, "178.5", "cm"},
		{"height in whole centimetres", `{"value":178,"type":4,"unit":-2}`, "178", "cm"},
		{"height in decimetres", `{"value":18,"type":4,"unit":-1}`, "180", "cm"},
		{"a temperature below zero", `{"value":-25,"type":12,"unit":-1}`, "-2.5", "Cel"},
		{"a temperature of minus zero", `{"value":-0,"type":12,"unit":-1}`, "0.0", "Cel"},
		{"a pure number", `{"value":24,"type":170,"unit":-1}`, "2.4", "1"},
		{"a number whose unit is not published", `{"value":2263,"type":226,"unit":0}`, "2263", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			q := only(t, convert(t, answer(byDevice, test.measure))).GetValue().GetQuantity()
			if q.GetValue().GetValue() != test.value || q.GetCode().GetValue() != test.unit {
				t.Errorf("got %s %s, want %s %s", q.GetValue().GetValue(), q.GetCode().GetValue(), test.value, test.unit)
			}
		})
	}
}

func TestBloodPressureIsOneObservation(t *testing.T) {
	const systolic, diastolic, pulse = `{"value":13550,"type":10,"unit":-2}`, `{"value":83,"type":9,"unit":0}`, `{"value":72,"type":11,"unit":0}`
	for _, test := range []struct {
		name                string
		measures            []string
		observations        int
		systolic, diastolic string
	}{
		{"with its pulse", []string{diastolic, systolic, pulse}, 2, "135.50", "83"},
		{"whatever the order", []string{systolic, pulse, diastolic}, 2, "135.50", "83"},
		{"with one part missing", []string{systolic}, 1, "135.50", ""},
		{"with the other part missing", []string{diastolic}, 1, "", "83"},
		{"with one part that is no reading", []string{systolic, `{"value":0,"type":9,"unit":0}`}, 1, "135.50", ""},
		{"with one part in doubt", []string{systolic, diastolic, `{"value":84,"type":9,"unit":0}`}, 1, "135.50", ""},
		{"with one part told twice", []string{systolic, diastolic, `{"value":830,"type":9,"unit":-1}`}, 1, "135.50", "83"},
		{"at one site", []string{`{"value":13550,"type":10,"unit":-2,"position":3}`, `{"value":83,"type":9,"unit":0,"position":3}`}, 1, "135.50", "83"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := convert(t, answer(byDevice, strings.Join(test.measures, ",")))
			if len(c.Observations) != test.observations {
				t.Fatalf("%d observations, want %d", len(c.Observations), test.observations)
			}
			parts := c.Observations[0].GetComponent()
			if len(parts) != 2 {
				t.Fatalf("%d components, want 2", len(parts))
			}
			for n, want := range []string{test.systolic, test.diastolic} {
				if got := parts[n].GetValue().GetQuantity().GetValue().GetValue(); got != want {
					t.Errorf("component %d is %q, want %q", n, got, want)
				}
				if absent := parts[n].GetDataAbsentReason() != nil; absent != (want == "") {
					t.Errorf("component %d has a reason for its absence: %v", n, absent)
				}
			}
		})
	}

	t.Run("two sites are two observations", func(t *testing.T) {
		c := convert(t, answer(byDevice, `{"value":135,"type":10,"unit":0,"position":2},{"value":83,"type":9,"unit":0,"position":2},`+
			`{"value":131,"type":10,"unit":0,"position":3},{"value":80,"type":9,"unit":0,"position":3}`))
		if len(c.Observations) != 2 {
			t.Errorf("%d observations, want 2", len(c.Observations))
		}
	})
}

func TestIdentity(t *testing.T) {
	const weight = `{"value":75800,"type":1,"unit":-3}`
	id := func(p adapters.Payload) string { return only(t, convert(t, p)).GetId().GetValue() }
	base := id(answer(byDevice, weight))
	changed := func(from, to string) adapters.Payload {
		p := answer(byDevice, weight)
		p.Body = []byte(strings.Replace(string(p.Body), from, to, 1))
		return p
	}
	for name, p := range map[string]adapters.Payload{
		"a corrected value":         changed("75800", "75200"),
		"a corrected date":          changed("1773471491", "1773471999"),
		"another zone":              changed("Europe/Berlin", "Asia/Tokyo"),
		"a confirmed attribution":   changed(`"attrib":0`, `"attrib":7`),
		"a model told later":        changed(`,"modelid":6`, ``),
		"the body without envelope": {Body: changed(`{"status":0,"body":`, "").Body[:len(changed(`{"status":0,"body":`, "").Body)-1], Received: received, Source: adapters.Source{Patient: patient}},
	} {
		t.Run(name+" is the same reading", func(t *testing.T) {
			if got := id(p); got != base {
				t.Errorf("got id %s, want %s", got, base)
			}
		})
	}
	other := changed("75800", "75800")
	other.Source.Patient.Value = "W-1002"
	for name, p := range map[string]adapters.Payload{
		"another group":    changed(`"grpid":1`, `"grpid":2`),
		"another type":     changed(`"type":1`, `"type":76`),
		"another position": changed(`"unit":-3`, `"unit":-3,"position":7`),
		"another device":   changed(`"hash_deviceid":"d1"`, `"hash_deviceid":"d2"`),
		"another patient":  other,
	} {
		t.Run(name+" is another reading", func(t *testing.T) {
			if got := id(p); got == base {
				t.Error("the id is the same")
			}
		})
	}
}

func TestRepeatedGroups(t *testing.T) {
	group := func(modified int, attrib int, measures string) string {
		return fmt.Sprintf(`{"grpid":9,"attrib":%d,"date":1773471491,"modified":%d,"category":1,"deviceid":"d1","measures":[%s]}`, attrib, modified, measures)
	}
	const a, b, twice = `{"value":75800,"type":1,"unit":-3}`, `{"value":75200,"type":1,"unit":-3}`, `{"value":758,"type":1,"unit":-1},{"value":7580,"type":1,"unit":-2}`
	for _, test := range []struct {
		name        string
		groups      []string
		value       string
		information int
		errors      int
	}{
		{"the same twice is once", []string{group(1, 0, a), group(1, 8, a)}, "75.800", 1, 0},
		{"the same with a later modified is the same", []string{group(1, 0, a), group(2, 0, a)}, "75.800", 1, 0},
		{"the same with a measure told twice is the same", []string{group(2, 0, a), group(1, 0, twice)}, "75.800", 2, 0},
		{"the newer wins when it comes last", []string{group(1, 0, a), group(2, 0, b)}, "75.200", 1, 0},
		{"the newer wins when it comes first", []string{group(2, 0, b), group(1, 0, a)}, "75.200", 1, 0},
		{"the newest of three wins", []string{group(1, 0, a), group(3, 0, b), group(2, 0, a)}, "75.200", 2, 0},
		{"nobody wins a tie", []string{group(1, 0, a), group(1, 0, b)}, "", 0, 2},
		{"nobody wins a tie with a repetition", []string{group(1, 0, a), group(1, 0, b), group(1, 0, a)}, "", 0, 3},
		{"a tie above an older one is still a tie", []string{group(1, 0, a), group(2, 0, b), group(2, 0, a)}, "", 1, 2},
		{"a measurement and an entry by hand differ", []string{group(1, 0, a), group(1, 2, a)}, "", 0, 2},
		{"a confirmed measurement replaces the ambiguous one", []string{group(1, 1, a), group(2, 7, a)}, "75.800", 1, 0},
		{"a measurement that became ambiguous is not used", []string{group(1, 0, a), group(2, 1, a)}, "", 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := convert(t, adapters.Payload{Body: []byte("[" + strings.Join(test.groups, ",") + "]"), Received: received, Source: adapters.Source{Patient: patient}})
			if len(c.Unresolved()) != test.errors || len(c.Skipped)-len(c.Unresolved()) != test.information {
				t.Errorf("%d errors and %d notes, want %d and %d: %v", len(c.Unresolved()), len(c.Skipped)-len(c.Unresolved()), test.errors, test.information, c.Skipped)
			}
			got := ""
			if len(c.Observations) > 0 {
				got = only(t, c).GetValue().GetQuantity().GetValue().GetValue()
			}
			if got != test.value {
				t.Errorf("got %q, want %q", got, test.value)
			}
		})
	}
}

func TestWhoseReadingItIs(t *testing.T) {
	const weight = `{"value":75800,"type":1,"unit":-3}`
	for _, test := range []struct {
		name, head               string
		patient                  fhir.Identifier
		about                    string // "patient", "device" or "" for none
		devices, patients, warns int
	}{
		{"the patient of the source", byDevice, patient, "patient", 1, 1, 0},
		{"without a patient it is about the device", byDevice, fhir.Identifier{}, "device", 1, 0, 1},
		{"an entry by hand has no device", `"attrib":2,"category":1,"deviceid":"d1"`, patient, "patient", 0, 1, 0},
		{"an entry by hand without a patient is nobody's", `"attrib":2,"category":1`, fhir.Identifier{}, "", 0, 0, 0},
		{"a device without an id belongs to the patient", `"attrib":0,"category":1,"model":"Body"`, patient, "patient", 1, 1, 1},
		{"a device without an id and without a patient is nobody's", `"attrib":0,"category":1,"model":"Body"`, fhir.Identifier{}, "", 0, 0, 0},
		{"a measurement of a device that is not named has none", `"attrib":0,"category":1`, patient, "patient", 0, 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := answer(test.head, weight)
			p.Source.Patient = test.patient
			c := convert(t, p)
			if len(c.Devices) != test.devices || len(c.Patients) != test.patients {
				t.Errorf("%d devices and %d patients, want %d and %d", len(c.Devices), len(c.Patients), test.devices, test.patients)
			}
			if test.about == "" {
				if len(c.Observations) != 0 || len(c.Unresolved()) != 1 {
					t.Errorf("%d observations, %d unresolved", len(c.Observations), len(c.Unresolved()))
				}
				return
			}
			o := only(t, c)
			if got := o.GetSubject().GetPatientId() != nil; got != (test.about == "patient") {
				t.Errorf("about a patient: %v", got)
			}
			if got := o.GetSubject().GetDeviceId() != nil; got != (test.about == "device") {
				t.Errorf("about a device: %v", got)
			}
			if got := o.GetMeta() != nil; got != (test.about == "patient") {
				t.Errorf("a profile that needs a patient is claimed: %v", got)
			}
		})
	}
}

func TestPayloadsThatAreRefused(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)
	for _, test := range []struct {
		name, body, code, path, says string
	}{
		{"an expired token", `{"status":401,"body":{},"error":"x"}`, fhir.CodeException, "/status", "401"},
		{"a token that is told in the body first", `{"body":{"measuregrps":[]},"status":401}`, fhir.CodeException, "/status", "token"},
		{"too many requests", `{"status":601,"body":{}}`, fhir.CodeTransient, "/status", "too many requests"},
		{"a timeout", `{"status":522,"body":{}}`, fhir.CodeTransient, "/status", "timeout"},
		{"an unknown error", `{"status":2555}`, fhir.CodeException, "/status", "unknown error"},
		{"a missing scope", `{"status":277}`, fhir.CodeException, "/status", "may not"},
		{"wrong parameters", `{"status":503}`, fhir.CodeException, "/status", "parameter"},
		{"any other failure", `{"status":-7}`, fhir.CodeException, "/status", "status -7"},
		{"a status that is a text", `{"status":"0","body":{"measuregrps":[]}}`, fhir.CodeStructure, "/status", "not an integer"},
		{"a status that is null", `{"status":null,"body":{"measuregrps":[]}}`, fhir.CodeStructure, "/status", "not an integer"},
		{"daily activities", `{"status":0,"body":{"activities":[]}}`, fhir.CodeNotSupported, "", "daily activities"},
		{"sleep", `{"status":0,"body":{"series":[{"startdate":1}]}}`, fhir.CodeNotSupported, "", "sleep"},
		{"devices", `{"status":0,"body":{"devices":[]}}`, fhir.CodeNotSupported, "", "devices"},
		{"goals", `{"status":0,"body":{"goals":{}}}`, fhir.CodeNotSupported, "", "goals"},
		{"notifications", `{"status":0,"body":{"profiles":[]}}`, fhir.CodeNotSupported, "", "notifications"},
		{"the end of a notification", `{"status":0,"body":{}}`, fhir.CodeNotSupported, "", "change of notifications"},
		{"a notification itself", `userid=1&appli=4&startdate=1&enddate=2`, fhir.CodeNotSupported, "byte 0", "notification"},
		{"a token", `{"status":0,"body":{"access_token":"x"}}`, fhir.CodeNotSupported, "", "token"},
		{"another JSON document", `{"resourceType":"Patient"}`, fhir.CodeNotSupported, "", "not of the Withings API"},
		{"an array of something else", `[{"date":"2026-01-01","steps":1}]`, fhir.CodeNotSupported, "/0 byte", "something else"},
		{"an array of numbers", `[1,2]`, fhir.CodeStructure, "/0 byte", "not an object"},
		{"a number", `5`, fhir.CodeStructure, "byte 0", "neither"},
		{"nothing", ``, fhir.CodeStructure, "byte 0", "too early"},
		{"no JSON", `GRP|1`, fhir.CodeStructure, "byte 0", "not valid JSON"},
		{"a document cut off", `{"status":0,"body":{"measuregrps":[{"grpid":1,`, fhir.CodeStructure, "/body/measuregrps/0 byte 46", "too early"},
		{"an array cut off", `[{"grpid":1},`, fhir.CodeStructure, "byte 13", "too early"},
		{"a name twice", `{"status":0,"body":{"measuregrps":[]},"status":0}`, fhir.CodeStructure, "/status byte", "same name"},
		{"a name twice in what is not read", `[{"grpid":1,"measures":[],"note":{"a":1,"a":2}}]`, fhir.CodeStructure, "/0/… byte", "same name"},
		{"a name twice in other letters", `[{"grpid":1,"measures":[{"value":1,"\u0076alue":2}]}]`, fhir.CodeStructure, "/0/measures/0/value byte", "same name"},
		{"bytes that are not UTF-8", "[{\"grpid\":1,\"measures\":[],\"comment\":\"\xff\"}]", fhir.CodeStructure, "/0/comment byte", "not valid JSON"},
		{"a document too deep", deep, fhir.CodeTooCostly, "/… byte", "32 deep"},
		{"a comment too deep", `[{"grpid":1,"comment":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}]`, fhir.CodeTooCostly, "/0/comment/… byte", "32 deep"},
		{"two documents", `[] []`, fhir.CodeStructure, "byte", "followed by more"},
		{"groups that are an object", `{"status":0,"body":{"measuregrps":{}}}`, fhir.CodeStructure, "/body/measuregrps byte", "not an array"},
		{"groups that are null", `{"status":0,"body":{"measuregrps":null}}`, fhir.CodeStructure, "/body/measuregrps byte", "not an array"},
		{"a group that is a text", `{"status":0,"body":{"measuregrps":["x"]}}`, fhir.CodeStructure, "/body/measuregrps/0 byte", "not an object"},
		{"measures that are an object", `[{"grpid":1,"measures":{}}]`, fhir.CodeStructure, "/0/measures byte", "not an array"},
		{"groups at two places", `{"measuregrps":[],"body":{"measuregrps":[]}}`, fhir.CodeStructure, "/body/measuregrps byte", "two places"},
		{"more groups than allowed", "[" + strings.Repeat(`{"grpid":1},`, maxGroups) + `{"grpid":1}]`, fhir.CodeTooCostly, "byte", "measure groups"},
		{"more measures than allowed", `[{"grpid":1,"measures":[` + strings.Repeat(`0,`, maxMeasures) + `0]}]`, fhir.CodeTooCostly, "byte", "measures"},
		{"more bytes than allowed", strings.Repeat(" ", maxBytes+1), fhir.CodeTooCostly, "byte 0", "bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := New().Convert(adapters.Payload{Body: []byte(test.body), Received: received})
			if err == nil {
				t.Fatal("no error")
			}
			got := fhir.IssuesOf(err)[0]
			if got.Code != test.code || !strings.Contains(got.Path, test.path) || !strings.Contains(got.Message, test.says) {
				t.Errorf("got %s at %q: %q; want %s at %q: %q", got.Code, got.Path, got.Message, test.code, test.path, test.says)
			}
			if got.Fix == "" {
				t.Error("no fix is told")
			}
		})
	}
}

func TestNothingOfThePayloadIsPrinted(t *testing.T) {
	const secret = "Erika-Mustermann"
	for _, body := range []string{
		`[{"grpid":1,"comment":"` + secret + `","comment":2}]`,
		`{"` + secret + `":1,"` + secret + `":2}`,
		`{"body":{"` + secret + `":{"x":nope}}}`,
		`[{"` + secret + `":1}]`,
		`{"status":5,"error":"` + secret + `","body":{}}`,
		`[{"grpid":1,"date":1773471491,"attrib":0,"category":1,"deviceid":"d","model":"` + secret + `","timezone":"` + secret + `","comment":"` + secret + `","measures":[{"value":"` + secret + `","type":1,"unit":0},{"value":424242,"type":1,"unit":99},{"value":424242,"type":1,"unit":-4}]}]`,
		`{"measuregrps":{"` + secret + `":nope}}`,
	} {
		c, err := New().Convert(adapters.Payload{Body: []byte(body), Received: received})
		text := fmt.Sprint(err, c.Skipped, c.Warnings)
		if strings.Contains(text, secret) || strings.Contains(text, "424242") {
			t.Errorf("%s\nis quoted in\n%s", body, text)
		}
	}
}

func TestDetect(t *testing.T) {
	for _, test := range []struct {
		name, mediaType, body string
		want                  bool
	}{
		{"an answer", "application/json", `{"status":0,"body":{"measuregrps":[]}}`, true},
		{"an answer with a parameter in its type", "application/json; charset=utf-8", ` {"body":{"measuregrps":[]},"status":0}`, true},
		{"an answer without a type", "", `{"updatetime":1,"measuregrps":[]}`, true},
		{"an array of groups", "", "\n[{\"grpid\":1,\"attrib\":0,\"measures\":[]}]", true},
		{"a failure, which others write alike", "", `{"status":401,"body":{}}`, false},
		{"sleep of the same vendor", "", `{"status":0,"body":{"series":[]}}`, false},
		{"an array of something else", "", `[{"grpid":1,"type":"sgv"}]`, false},
		{"a table that mentions it", "text/csv", `{"measuregrps"}`, false},
		{"a text that mentions it", "", `the "measuregrps" of 2026`, false},
		{"nothing", "", ``, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := New().Detect(adapters.Payload{Body: []byte(test.body), MediaType: test.mediaType}); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestMorePagesAreAnnounced(t *testing.T) {
	for more, want := range map[string]int{"true": 1, "1": 1, "false": 0, "0": 0, "null": 0} {
		c := convert(t, adapters.Payload{Body: []byte(`{"status":0,"body":{"measuregrps":[],"more":` + more + `}}`), Received: received})
		if len(c.Warnings) != want {
			t.Errorf("more %s: %d warnings, want %d", more, len(c.Warnings), want)
		}
	}
}

func TestTheVocabularyKnowsTheTypes(t *testing.T) {
	vital := map[string]string{"29463-7": "bodyweight", "8302-2": "bodyheight", "8867-4": "heartrate", "59408-5": "oxygensat", "8310-5": "bodytemp"}
	for number, m := range measureTypes {
		if m.name == "" {
			t.Errorf("type %d has no name", number)
		}
		if m.loinc == "" {
			continue
		}
		metric, ok := vocabulary.ByLOINC(m.loinc)
		if !ok {
			t.Errorf("type %d: the vocabulary does not know LOINC %s", number, m.loinc)
			continue
		}
		if got := string(metric.VitalSign); m.form != pressure && got != vital[m.loinc] {
			t.Errorf("type %d: vital sign %q, want %q", number, got, vital[m.loinc])
		}
		codes := metric.Code(m.ucum).GetCoding()
		if !slices.ContainsFunc(codes, func(c *dtpb.Coding) bool { return c.GetCode().GetValue() == m.loinc }) {
			t.Errorf("type %d: the vocabulary gives no LOINC %s for unit %s", number, m.loinc, m.ucum)
		}
		if _, ok := vocabulary.UnitByUCUM(m.ucum); !ok {
			t.Errorf("type %d: the vocabulary does not know the unit %s", number, m.ucum)
		}
	}
}

// TestSamples converts what other developers captured: four answers to getmeas, and other documents.
func TestSamples(t *testing.T) {
	dir := filepath.Join(fhirtest.Shared(t), "samples", "withings")
	want := map[string]struct{ rows, mapped, observations, unresolved int }{
		"joostlek_measurement_list.json":      {6558, 6531, 5738, 3},
		"joostlek_measurement_list_2.json":    {433, 405, 405, 0},
		"joostlek_measurement_positions.json": {56, 52, 52, 0},
		"withings-body-measures.json":         {12, 9, 8, 3},
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples in %s (%v)", dir, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p := adapters.Payload{Body: body, Received: received, Source: adapters.Source{Patient: patient}}
			expect, measures := want[filepath.Base(file)]
			if got := New().Detect(p); got != measures {
				t.Errorf("detected: %v, want %v", got, measures)
			}
			c, err := adaptertest.Accept(t, New(), p)
			if !measures {
				if err == nil || fhir.IssuesOf(err)[0].Code != fhir.CodeNotSupported {
					t.Errorf("got error %v, want not-supported", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := struct{ rows, mapped, observations, unresolved int }{c.Rows, c.Mapped, len(c.Observations), len(c.Unresolved())}
			if got != expect {
				t.Errorf("got %+v, want %+v", got, expect)
			}
		})
	}
}

func FuzzConvert(f *testing.F) {
	inputs, err := filepath.Glob("testdata/*.input")
	if err != nil {
		f.Fatal(err)
	}
	for _, input := range inputs {
		f.Add(adaptertest.Load(f, input).Body, true)
	}
	f.Add([]byte(`userid=1&appli=4`), false)
	a := New()
	f.Fuzz(func(t *testing.T, body []byte, known bool) {
		p := adapters.Payload{Body: body, Received: received}
		if known {
			p.Source.Patient = patient
		}
		adaptertest.Survive(t, a, p)
	})
}

func BenchmarkConvert(b *testing.B) {
	for _, name := range []string{"body-composition", "blood-pressure"} {
		b.Run(name, func(b *testing.B) {
			p := adaptertest.Load(b, "testdata/"+name+".input")
			p.Body = repeatGroups(b, p.Body, 100)
			a := New()
			b.ReportAllocs()
			b.SetBytes(int64(len(p.Body)))
			observations := 0
			for b.Loop() {
				c, err := a.Convert(p)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := c.Resources(); err != nil {
					b.Fatal(err)
				}
				observations += len(c.Observations)
			}
			b.ReportMetric(float64(observations)/b.Elapsed().Seconds(), "obs/s")
		})
	}
}

// repeatGroups gives a payload n times as many groups, each with an id of its own.
func repeatGroups(b *testing.B, body []byte, n int) []byte {
	_, groups, ok := strings.Cut(string(body), `"measuregrps": [`)
	end := strings.LastIndex(groups, "]")
	if !ok || end < 0 {
		b.Fatal("no measure groups")
	}
	groups = groups[:end]
	var out strings.Builder
	out.WriteString(`{"status":0,"body":{"timezone":"Europe/Berlin","measuregrps":[`)
	for i := range n {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString(strings.ReplaceAll(groups, `"grpid": 7`, fmt.Sprintf(`"grpid": %d7`, i+1)))
	}
	out.WriteString(`]}}`)
	return []byte(out.String())
}
