package gatt

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	obpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"

	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/adapters/adaptertest"
	"github.com/kiln-health/kiln/adapters/when"
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/fhir/vocabulary"
)

func TestAdapter(t *testing.T) { adaptertest.Run(t, New()) }

var (
	received = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	anna     = fhir.Identifier{System: "http://hospital.example/mrn", Value: "1001"}
	bert     = fhir.Identifier{System: "http://hospital.example/mrn", Value: "1002"}
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := when.ParseZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// convert is a conversion of a text or an envelope that must add up.
func convert(t testing.TB, body string, s adapters.Source) adapters.Conversion {
	t.Helper()
	c, err := adaptertest.Accept(t, New(), adapters.Payload{Body: []byte(body), Received: received, Source: s})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// outcome is what became of the payload in a line: times and how they were found, or the
// first reason why not.
func outcome(c adapters.Conversion) string {
	var out []string
	for _, o := range c.Observations {
		at := o.GetEffective().GetDateTime()
		how := "explicit-offset"
		if len(at.GetExtension()) > 0 {
			how = at.GetExtension()[0].GetValue().GetCode().GetValue()
		}
		out = append(out, time.UnixMicro(at.GetValueUs()).UTC().Format(time.RFC3339)+" "+at.GetTimezone()+" "+how)
	}
	for _, s := range c.Skipped {
		out = append(out, string(s.Severity)+": "+s.Message)
	}
	return strings.Join(out, "; ")
}

// A weight of 73.1 kg on the day and at the time that follow in hexadecimal.
const weighed = "2A9D 02 1C39 "

func TestTheClockOfASensorIsResolvedOnlyWhereThereIsEvidence(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	const noZone = "error: 2A9D: the time has no offset and the zone of the device is not known"
	for _, c := range []struct {
		name string
		line string
		zone *time.Location
		want string
	}{
		{"the zone of the source decides", weighed + "EA07 06 01 08 00 00", berlin, "2026-06-01T06:00:00Z +02:00 configured-zone"},
		{"the zone of the source decides against the gateway", "@2026-06-01T08:00:10+05:00 " + weighed + "EA07 06 01 08 00 00", berlin, "2026-06-01T06:00:00Z +02:00 configured-zone"},
		{"nothing decides", weighed + "EA07 06 01 08 00 00", nil, noZone},
		{"a gateway in UTC with a live value", "@2026-06-01T08:00:10Z " + weighed + "EA07 06 01 08 00 00", nil, "2026-06-01T08:00:00Z +00:00 explicit-zone"},
		{"a gateway in UTC with a value that is two hours old, or two hours off", "@2026-06-01T10:00:10Z " + weighed + "EA07 06 01 08 00 00", nil, noZone},
		{"a gateway in UTC, written with digits", "@2026-06-01T10:00:10+00:00 " + weighed + "EA07 06 01 08 00 00", nil, noZone},
		{"a gateway in local time with a value that is two hours old", "@2026-06-01T10:00:10+02:00 " + weighed + "EA07 06 01 08 00 00", nil, "2026-06-01T06:00:00Z +02:00 explicit-zone"},
		{"a gateway in local time with a value of yesterday", "@2026-06-01T08:00:10+02:00 " + weighed + "EA07 05 1F 07 00 00", nil, noZone},
		{"a clock that is a little fast", "@2026-06-01T08:00:10+02:00 " + weighed + "EA07 06 01 08 04 00", nil, "2026-06-01T06:04:00Z +02:00 explicit-zone"},
		{"a clock that is in another zone", "@2026-06-01T08:00:10+02:00 " + weighed + "EA07 06 01 09 00 00", nil, noZone},
		{"the hour that occurs twice", weighed + "E907 0A 1A 02 1E 00", berlin, "error: 2A9D: the time occurs twice, because clocks were set back, and nothing tells which is meant"},
		{"the hour that occurs twice, live before the change", "@2025-10-26T02:31:00+02:00 " + weighed + "E907 0A 1A 02 1E 00", berlin, "2025-10-26T00:30:00Z +02:00 configured-zone"},
		{"the hour that occurs twice, live after the change", "@2025-10-26T01:31:00Z " + weighed + "E907 0A 1A 02 1E 00", berlin, "2025-10-26T01:30:00Z +01:00 configured-zone"},
		{"the hour that does not occur", weighed + "EA07 03 1D 02 1E 00", berlin, "error: 2A9D: the time does not exist in the zone of the device, because clocks were set forward"},
		{"a clock that was never set", weighed + "D007 01 01 00 10 00", berlin, "error: 2A9D: the date is 2000-01-01: the clock of the device is not set"},
		{"a clock that runs ahead of the receipt", "@2026-05-01T08:00:00+02:00 " + weighed + "EA07 05 03 08 00 00", berlin, "error: 2A9D: the time lies more than a day after the payload was received: the clock of the device is wrong"},
		{"a day that is not known", "@2026-06-01T08:00:00+02:00 " + weighed + "EA07 06 00 08 00 00", berlin, "2026-06-01T06:00:00Z +02:00 received"},
		{"no clock at all", "@2026-06-01T08:00:00-03:30 2A9D 00 1C39", berlin, "2026-06-01T11:30:00Z -03:30 received"},
		{"no clock and no gateway", "2A9D 00 1C39", berlin, "2026-06-01T12:00:00Z +02:00 received"},
		{"a gateway whose clock was never set", "@1970-01-01T00:10:00Z 2A9D 00 1C39", berlin, "error: 2A9D: the year is 1970: the clock of the device is not set"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := outcome(convert(t, c.line, adapters.Source{Zone: c.zone, Patient: anna}))
			if got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestWithoutAnyTimeARowIsRefused(t *testing.T) {
	c, err := New().Convert(adapters.Payload{Body: []byte("2A37 0048")})
	if err != nil || outcome(c) != "error: 2A37: neither the device nor the gateway tells a time" {
		t.Errorf("%v, %s", err, outcome(c))
	}
}

func TestATimeAtTheEndOfTheCalendarIsRefusedThoughNothingIsKnownOfTheReceipt(t *testing.T) {
	p := adapters.Payload{Body: []byte("2A18 03 0700 0F27 0C 1F 17 3B 3B FF7E 5AB0 11"), Source: adapters.Source{Zone: time.UTC}}
	c, err := adaptertest.Accept(t, New(), p)
	if err != nil || len(c.Unresolved()) != 1 {
		t.Errorf("%v, %s", err, outcome(c))
	}
}

func scale(user string) string { return "2A9D 06 1C39 EA07 06 01 08 00 00 " + user }

func TestAUserIsNeverTakenForAnotherPatient(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	both := map[string]fhir.Identifier{"1": anna, "2": bert}
	for _, c := range []struct {
		name string
		body string
		s    adapters.Source
		want string // the patients of the rows in order, - for the device, x for an error
	}{
		{"mapped users", scale("01") + "\n" + scale("02"), adapters.Source{Patients: both}, "1001 1002"},
		{"the map beats the patient of the source", scale("02"), adapters.Source{Patients: both, Patient: anna}, "1002"},
		{"a user that is not mapped", scale("03"), adapters.Source{Patients: both, Patient: anna}, "x"},
		{"a user that the device does not know", scale("FF"), adapters.Source{Patients: both, Patient: anna}, "x"},
		{"nobody is named and the source states a patient", "2A9D 00 1C39", adapters.Source{Patients: both, Patient: bert}, "1002"},
		{"nobody is named and the source states none", "2A9D 00 1C39", adapters.Source{Patients: both}, "-"},
		{"one user and the patient of the source", scale("02") + "\n" + scale("02"), adapters.Source{Patient: anna}, "1001"},
		{"an unknown user alone and the patient of the source", scale("FF"), adapters.Source{Patient: anna}, "1001"},
		{"two users and one patient", scale("01") + "\n" + scale("02") + "\n2A37 0048", adapters.Source{Patient: anna}, "x x x"},
		{"a user, an unknown one and one patient", scale("01") + "\n" + scale("FF"), adapters.Source{Patient: anna}, "x x"},
		{"two users and nobody", scale("01") + "\n" + scale("02"), adapters.Source{}, "- -"},
		{"a user in words", `{"characteristic":"2A37","hex":"0048","user":"mum"}`, adapters.Source{Patients: map[string]fhir.Identifier{"mum": bert}}, "1002"},
		{"a user in words for an index", `{"characteristic":"2A9D","hex":"0C1C3901D900F506","user":"mum"}`, adapters.Source{Patients: map[string]fhir.Identifier{"mum": bert, "1": anna}}, "1002"},
		{"another index than that of the device", `{"characteristic":"2A9D","hex":"041C3901","user":"2"}`, adapters.Source{Patients: both}, "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.s.Zone = berlin
			got := convert(t, c.body, c.s)
			var subjects []string
			for _, o := range got.Observations {
				who := o.GetSubject().GetIdentifier().GetValue().GetValue()
				if who == "" {
					who = "-"
				}
				if code(o) == "29463-7" || code(o) == "8867-4" {
					subjects = append(subjects, who)
				}
			}
			for range got.Unresolved() {
				subjects = append(subjects, "x")
			}
			if s := strings.Join(subjects, " "); s != c.want {
				t.Errorf("got %s, want %s (%s)", s, c.want, outcome(got))
			}
		})
	}
}

func code(o *obpb.Observation) string { return o.GetCode().GetCoding()[0].GetCode().GetValue() }

func TestASensorIsIdentifiedByWhatNamesOneUnit(t *testing.T) {
	for _, c := range []struct {
		name   string
		device string
		want   string
	}{
		{"a system ID is read last byte first", `"systemId":"56 34 12 FE FF 1C 60 00"`, fhir.EUI64 + "|00601CFFFE123456"},
		{"a system ID that the gateway turned shows by the address", `"systemId":"00601CFFFE123456","address":"00:60:1C:12:34:56"`,
			fhir.EUI64 + "|00601CFFFE123456 " + fhir.BluetoothAddress + "|00-60-1C-12-34-56"},
		{"an address", `"address":"00:11:22:aa:bb:cc","serial":"7"`, fhir.BluetoothAddress + "|00-11-22-AA-BB-CC"},
		{"an identifier of a phone", `"address":"0F1E2D3C-1111-2222-3333-444455556666"`, localID + "|0F1E2D3C-1111-2222-3333-444455556666"},
		{"a system ID of another length", `"systemId":"0011223344"`, localID + "|0011223344"},
		{"an address that names nobody", `"address":"02:00:00:00:00:00","systemId":"FFFFFFFFFFFFFFFF"`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := convert(t, `{"characteristic":"2A37","hex":"0048","receivedAt":"2026-06-01T08:00:00Z","device":{`+c.device+`}}`, adapters.Source{Patient: anna})
			var ids []string
			for _, i := range got.Devices[0].GetIdentifier() {
				ids = append(ids, i.GetSystem().GetValue()+"|"+i.GetValue().GetValue())
			}
			if s := strings.Join(ids, " "); s != c.want {
				t.Errorf("got %s, want %s", s, c.want)
			}
		})
	}
}

func TestASensorWithoutIdentityIsNeverShared(t *testing.T) {
	const body = `{"characteristic":"2A37","hex":"0048","receivedAt":"2026-06-01T08:00:00Z","device":{"manufacturer":"Example","model":"H1"}}`
	ids := map[string]bool{}
	for _, s := range []adapters.Source{{Patient: anna}, {Patient: bert}, {Name: "ward 1"}, {Name: "ward 2"}} {
		c := convert(t, body, s)
		ids[c.Devices[0].GetId().GetValue()] = true
	}
	if len(ids) != 4 {
		t.Errorf("%d devices, want 4", len(ids))
	}
}

func TestTheSameReadingHasTheSameIDInEveryPayload(t *testing.T) {
	s := adapters.Source{Patient: anna, Zone: zone(t, "Europe/Berlin")}
	ids := func(body string) (out []string) {
		for _, o := range convert(t, body, s).Observations {
			out = append(out, o.GetId().GetValue())
		}
		return out
	}
	weightAlone := ids(weighed + "EA07 06 01 08 00 00")
	if again := ids("# received later\n@2026-06-01T09:00:00+02:00 0x2A9D 02:1C:39:EA:07:06:01:08:00:00"); !slices.Equal(weightAlone, again) {
		t.Errorf("the same weight has the ids %v and %v", weightAlone, again)
	}
	if inComposition := ids("2A9C 0204 D700 EA07060108 0000 1C39"); !slices.Contains(inComposition, weightAlone[0]) {
		t.Error("the weight within a body composition is another than the weight alone")
	}
	if other := ids("2A9D 02 1D39 EA07 06 01 08 00 00"); other[0] == weightAlone[0] {
		t.Error("two weights in one minute, by a clock without seconds, are one")
	}
	// A context that comes with the second transmission completes the first.
	const measured = "2A18 12 0700 EA07 06 01 08 00 00 5AB0 11"
	if first, second := ids(measured), ids(measured+"\n2A34 02 0700 01"); first[0] != second[0] {
		t.Error("a glucose with its context is another than without it")
	}
}

func TestReadingsThatContradictEachOtherAreRefused(t *testing.T) {
	s := adapters.Source{Patient: anna, Zone: zone(t, "Europe/Berlin")}
	got := outcome(convert(t, "2A18 02 0700 EA07 06 01 08 00 00 5AB0 11\n2A18 02 0700 EA07 06 01 08 00 00 5BB0 11", s))
	want := "2026-06-01T06:00:00Z +02:00 configured-zone; error: 2A18: another reading of the same sensor, time and kind says something else"
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestAContextFindsItsMeasurementOrIsRefused(t *testing.T) {
	const (
		first  = "2A18 12 0700 EA07 06 01 08 00 00 5AB0 11\n"
		later  = "2A18 12 0700 EA07 06 01 09 00 00 5BB0 11\n" // the meter counts from 0 again
		eating = "2A34 02 0700 01\n"
		fasted = "2A34 02 0700 03\n"
	)
	other := `{"characteristic":"2A34","hex":"02070001","device":{"serial":"another"}}`
	for _, c := range []struct {
		name, body, want string // contexts of the measurements in order, then what is skipped
	}{
		{"after its measurement", first + eating, "1"},
		{"in front of its measurement", eating + first, "1"},
		{"a number that occurs twice, right behind", first + eating + later + fasted, "1 1"},
		{"a number that occurs twice, elsewhere", first + later + "2A37 0048\n" + eating, "0 0 error"},
		{"two contexts for one measurement", first + eating + fasted, "1 error"},
		{"measurement and context repeated", first + eating + first + eating, "1 information information"},
		{"no measurement", eating, "error"},
		{"a measurement of another sensor", `[{"characteristic":"2A18","hex":"120700EA0706010800005AB011"},` + other + `]`, "0 error"},
		{"a measurement that is refused", "2A18 12 0700 000006010800005AB011\n" + eating, "error error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := convert(t, c.body, adapters.Source{Patient: anna, Zone: zone(t, "Europe/Berlin")})
			var out []string
			for _, o := range got.Observations {
				if o.GetCategory()[0].GetCoding()[0].GetCode().GetValue() == "laboratory" {
					out = append(out, fmt.Sprint(len(o.GetComponent())))
				}
			}
			for _, s := range got.Skipped {
				out = append(out, string(s.Severity))
			}
			if s := strings.Join(out, " "); s != c.want {
				t.Errorf("got %s, want %s", s, c.want)
			}
		})
	}
}

func TestASessionStartThatCannotBeReadEndsTheSessionBeforeIt(t *testing.T) {
	const record, start = "\n2AA7 06 00 6400 0500", "2AAA EA07 05 1E 08 00 00 04 04"
	for _, broken := range []string{"2AAA EA07 05 1F", "2AAA zz", "2AAA"} {
		c := convert(t, start+record+"\n"+broken+record, adapters.Source{Patient: anna})
		if len(c.Observations) != 1 || len(c.Unresolved()) != 2 {
			t.Errorf("%s: %s", broken, outcome(c))
		}
	}
}

func TestControlSolutionIsNeverAResultOfAPatient(t *testing.T) {
	s := adapters.Source{Patient: anna, Zone: zone(t, "Europe/Berlin")}
	for name, body := range map[string]string{
		"by its type":        "2A18 02 0700 EA07 06 01 08 00 00 5AB0 FA",
		"by its location":    "2A18 02 0700 EA07 06 01 08 00 00 5AB0 41",
		"by the CGM feature": "2AA8 000000 5A FFFF\n2AAA EA07 06 01 08 00 00 04 04\n2AA7 06 00 6400 0500",
	} {
		c := convert(t, body, s)
		if len(c.Observations) != 0 || len(c.Unresolved()) != 0 {
			t.Errorf("%s: %s", name, outcome(c))
		}
	}
}

func TestValuesThatTheSensorCallsInvalidAreNotPublishedAsValues(t *testing.T) {
	s := adapters.Source{Patient: anna, Zone: zone(t, "Europe/Berlin")}
	for name, body := range map[string]string{
		"a heart rate without contact":  "2A37 04FF",
		"a heart rate of 0":             "2A37 0000",
		"a glucose with a bad strip":    "2A18 0A 0700 EA07 06 01 08 00 00 5AB0 11 1000",
		"an oxygen saturation in error": "2A5F 04 6000 4800 0080",
		"an oximeter that is off":       "2A5F 08 6000 4800 000800",
		"a CGM that malfunctions":       "2AAA EA07 06 01 08 00 00 04 04\n2AA7 07 80 6400 0500 08",
	} {
		c := convert(t, body, s)
		if len(c.Observations) == 0 {
			t.Errorf("%s: %s", name, outcome(c))
		}
		for _, o := range c.Observations {
			kept := slices.ContainsFunc(o.GetComponent(), func(p *obpb.Observation_Component) bool {
				return p.GetCode().GetCoding()[0].GetCode().GetValue() == "reported-value" && p.GetValue().GetQuantity() != nil
			})
			if o.GetValue() != nil || o.GetDataAbsentReason() == nil || !kept {
				t.Errorf("%s: value %v, reason %v, kept %v", name, o.GetValue(), o.GetDataAbsentReason(), kept)
			}
		}
	}
}

func TestTheShapeOfAnEnvelopeIsStrict(t *testing.T) {
	for _, c := range []struct{ body, path, message string }{
		{`{"characteristic":"2A37","hex":"0048","patient":"x"}`, "", "a member that is not known (near byte 47)"},
		{`[{"characteristic":"2A37","hex":"0048","device":{"mac":"x"}}]`, "/0/device", "a member that is not known (near byte 54)"},
		{`[{"characteristic":"2A37","characteristic":"2A37"}]`, "/0/characteristic", "the member occurs twice (near byte 26)"},
		{`[{"characteristic":10807}]`, "/0/characteristic", "not a string (near byte 24)"},
		{`[{"characteristic":"2A37","hex":"0048","device":"x"}]`, "/0/device", "not an object (near byte 51)"},
		{`[["2A37","0048"]]`, "/0", "not an object (near byte 2)"},
		{`[{"characteristic":"2A37","hex":"0048"}`, "", "the JSON ends too early (near byte 39)"},
		{`{"characteristic":"2A37","hex":"0048"} {}`, "", "something stands after the end of the JSON (near byte 40)"},
		{`{"characteristic":"2A37","hex":"0048",}`, "", "not valid JSON (near byte 37)"},
		{"\xEF\xBB\xBF  {\"hex\":\"0048\",\"hex\":\"0048\"}", "/hex", "the member occurs twice (near byte 19)"},
		{"{\"hex\":\"\xFF\"}", "/hex", "not valid JSON (near byte 8)"},
		{`[]`, "", "the payload has no characteristic value"},
		{strings.Repeat("[", 100), "/0", "not an object (near byte 2)"},
	} {
		_, err := New().Convert(adapters.Payload{Body: []byte(c.body), Received: received})
		issues := fhir.IssuesOf(err)
		if err == nil || issues[0].Path != c.path || issues[0].Message != c.message {
			t.Errorf("%s\n got %q %q\nwant %q %q", c.body, issues[0].Path, issues[0].Message, c.path, c.message)
		}
	}
}

func TestTheContentOfAMemberSpoilsOnlyItsEntry(t *testing.T) {
	for member, want := range map[string]string{
		`"hex":"0048","receivedAt":"yesterday"`:                 "the time of receipt is not in RFC 3339",
		`"hex":"0048","receivedAt":"2026-06-01T08:00:00+15:00"`: "the offset of the time of receipt is out of range",
		`"hex":"004"`:                                            "column 3 of the hexadecimal text: half a byte at the end",
		`"receivedAt":"2026-06-01T08:00:00Z"`:                    "the value is empty",
		`"hex":"0048","device":{"serial":"a\u0007"}`:             "device/serial has control characters",
		`"hex":"0048","user":"` + strings.Repeat("x", 257) + `"`: "user is longer than 256 bytes",
		`"hex":"0048","session":"zz"`:                            "session: column 1 of the hexadecimal text: not two hexadecimal digits",
	} {
		c := convert(t, `[{"characteristic":"2A37","hex":"0048","receivedAt":"2026-06-01T08:00:00Z"},{"characteristic":"2A37",`+member+`}]`, adapters.Source{Patient: anna})
		if c.Mapped != 1 || len(c.Skipped) != 1 || c.Skipped[0].Message != want || c.Skipped[0].Path != "/1" {
			t.Errorf("%s: %+v", member, c.Skipped)
		}
	}
}

func TestLimits(t *testing.T) {
	for name, body := range map[string]string{
		"a long payload": "#" + strings.Repeat(" ", maxBody),
		"a long line":    "2A37 0048 #" + strings.Repeat(" ", maxLine),
		"many lines":     strings.Repeat("2A37 0048\n", maxEntries+1),
		"many envelopes": "[" + strings.Repeat(`{"characteristic":"2A37","hex":"0048"},`, maxEntries) + `{}]`,
	} {
		_, err := New().Convert(adapters.Payload{Body: []byte(body), Received: received})
		if err == nil || !slices.Contains([]string{fhir.CodeTooLong, fhir.CodeTooCostly}, fhir.IssuesOf(err)[0].Code) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoIssueRepeatsWhatThePayloadSays(t *testing.T) {
	const secret = "Mustermann"
	for _, body := range []string{
		`[{"characteristic":"` + secret + `","hex":"0048"}]`, `[{"characteristic":"2A37","hex":"` + secret + `"}]`,
		`[{"` + secret + `":"x"}]`, `[{"characteristic":"2A37","hex":"0048","receivedAt":"` + secret + `"}]`,
		`[{"characteristic":"2A9D","hex":"041C3902","user":"` + secret + `"}]`, `[{"device":{"` + secret + `":1}}]`,
		secret + " 0048", "2A37 " + secret, "@" + secret + " 2A37 0048", `{"` + secret, `[{"hex":"1","hex":"` + secret + `"}]`,
	} {
		c, err := New().Convert(adapters.Payload{Body: []byte(body), Received: received, Source: adapters.Source{Patients: map[string]fhir.Identifier{"1": anna}}})
		issues := append(c.Skipped, c.Warnings...)
		if err != nil {
			issues = fhir.IssuesOf(err)
		}
		if len(issues) == 0 || strings.Contains(fmt.Sprint(issues), secret) {
			t.Errorf("%s: %v", body, issues)
		}
	}
}

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		body, mediaType string
		want            bool
	}{
		{`{"characteristic":"2A35","hex":"00 7800 5000 5D00"}`, "", true},
		{` [{"device":{"serial":"1"},"hex":"0048","characteristic":"00002a37-0000-1000-8000-00805f9b34fb"},`, "application/json", true},
		{"\xEF\xBB\xBF# a capture\n\n@2026-06-01T08:00:00Z 2A37 0048 # resting\n", "", true},
		{"2A37 0048", "text/plain; charset=utf-8", true},
		{"0x2A37 00 48\r\n", "", true},
		{`{"characteristic":"2A35","value":"00"}`, "", false},
		{`{"characteristic":"2A00","hex":"00"}`, "", false},
		{`{"characteristic":"weight","hex":"00"}`, "", false},
		{`{"resourceType":"Observation"}`, "", false},
		{`[1,2,3]`, "", false},
		{`{"characteristic":"2A35","hex":"00"}`, "text/csv", false},
		{"2A37,0048", "", false},
		{"MSH|^~\\&|", "", false},
		{"2A37", "", false},
		{"# only a comment", "", false},
		{"", "", false},
		{"\x00\x48", "application/octet-stream; characteristic=2A37", false},
	} {
		if got := New().Detect(adapters.Payload{Body: []byte(c.body), MediaType: c.mediaType}); got != c.want {
			t.Errorf("%q (%s): got %v", c.body, c.mediaType, got)
		}
	}
}

func TestEveryCodeAndUnitIsInTheVocabularyOrKnownNotToBe(t *testing.T) {
	for _, code := range []string{"85354-9", "8480-6", "8462-4", "8478-0", "8867-4", "59408-5", "2708-6", "8310-5", "8328-7", "8331-1", "8332-9",
		"8333-7", "29463-7", "8302-2", "39156-5", "41982-0", "41653-7", "14743-9", "99504-3", "105272-9", "4548-4"} {
		if c := loinc(code); c.GetDisplay().GetValue() == "" {
			t.Errorf("LOINC %s has no display in the vocabulary", code)
		}
	}
	for _, m := range []struct {
		code  uint32
		refid string
	}{{149546, "MDC_PULS_RATE_NON_INV"}, {150023, "MDC_PRESS_BLD_NONINV_MEAN"}, {150020, "MDC_PRESS_BLD_NONINV"}, {150021, "MDC_PRESS_BLD_NONINV_SYS"},
		{150022, "MDC_PRESS_BLD_NONINV_DIA"}, {147240, "MDC_ECG_TIME_PD_RR_GL"}, {150364, "MDC_TEMP_BODY"}, {188452, "MDC_TEMP_AXILLA"},
		{188428, "MDC_TEMP_EAR"}, {188432, "MDC_TEMP_FINGER"}, {188424, "MDC_TEMP_ORAL"}, {188420, "MDC_TEMP_RECT"}, {188448, "MDC_TEMP_TOE"},
		{150392, "MDC_TEMP_TYMP"}, {150456, "MDC_PULS_OXIM_SAT_O2"}, {149530, "MDC_PULS_OXIM_PULS_RATE"}, {188736, "MDC_MASS_BODY_ACTUAL"},
		{188740, "MDC_LEN_BODY_ACTUAL"}} {
		if got, ok := vocabulary.ByMDC(m.code); !ok || got.RefID != m.refid {
			t.Errorf("MDC %d is %q in the vocabulary, want %s", m.code, got.RefID, m.refid)
		}
	}
	for _, unit := range []string{"mm[Hg]", "kPa", "/min", "Cel", "[degF]", "%", "kg", "[lb_av]", "cm", "[in_i]", "kg/m2", "mg/dL", "mmol/L", "ms", "s", "g", "mg", "mL", "Ohm", "kJ", "mg/dL/min"} {
		if u, ok := vocabulary.UnitByUCUM(unit); !ok || u.UCUM != unit {
			t.Errorf("the unit %s is not in the vocabulary", unit)
		}
	}
}

// TestTheVectorsOfTheReferenceMaterialAddUp converts the vectors that others publish,
// each alone and all in one payload.
func TestTheVectorsOfTheReferenceMaterialAddUp(t *testing.T) {
	file, err := os.Open(filepath.Join(fhirtest.Shared(t), "tables", "gatt_vectors.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	in := csv.NewReader(file)
	in.Comma, in.LazyQuotes = '\t', true
	rows, err := in.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	s := adapters.Source{Zone: zone(t, "Europe/Warsaw"), Patient: anna}
	for _, row := range rows[1:] {
		line := row[0] + " " + row[1]
		all = append(all, line)
		c, err := adaptertest.Accept(t, New(), adapters.Payload{Body: []byte(line), Received: received, Source: s})
		if negative := strings.HasPrefix(row[4], "negative"); negative != (err != nil) {
			t.Errorf("%s: the table says %s, got %v (%s)", line, row[4], err, outcome(c))
		}
	}
	c := convert(t, strings.Join(all, "\n"), s)
	t.Logf("%d rows, %d mapped, %d skipped, %d observations", c.Rows, c.Mapped, len(c.Skipped), len(c.Observations))
	if c.Rows != len(all)+1 { // one of them has two records
		t.Errorf("%d rows of %d vectors", c.Rows, len(all))
	}
}

func TestWhateverTheBytesEveryRowIsAccountedFor(t *testing.T) {
	characteristics := []string{"2A18", "2A1C", "2A1E", "2A23", "2A24", "2A34", "2A35", "2A36", "2A37", "2A5E", "2A5F", "2A9C", "2A9D", "2AA7", "2AA8", "2AAA", "2A19", "2B8B"}
	berlin := zone(t, "Europe/Berlin")
	rapid.Check(t, func(t *rapid.T) {
		var lines []string
		for range rapid.IntRange(1, 8).Draw(t, "lines") {
			value := rapid.SliceOfN(rapid.Byte(), 1, 24).Draw(t, "value")
			lines = append(lines, rapid.SampledFrom(characteristics).Draw(t, "characteristic")+fmt.Sprintf(" %X", value))
		}
		p := adapters.Payload{Body: []byte(strings.Join(lines, "\n")), Received: received, Source: adapters.Source{Patient: anna, Zone: berlin}}
		c, err := New().Convert(p)
		if err != nil {
			return
		}
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Resources(); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzConvert(f *testing.F) {
	inputs, err := filepath.Glob("testdata/*.input")
	if err != nil {
		f.Fatal(err)
	}
	for _, input := range inputs {
		p := adaptertest.Load(f, input)
		f.Add(p.Body, p.MediaType, p.Source.Zone != nil, !p.Source.Patient.IsZero(), len(p.Source.Patients) > 0)
	}
	berlin := zone(f, "Europe/Berlin")
	f.Fuzz(func(t *testing.T, body []byte, mediaType string, zoned, patient, users bool) {
		p := adapters.Payload{Body: body, MediaType: mediaType, Received: received}
		if zoned {
			p.Source.Zone = berlin
		}
		if patient {
			p.Source.Patient = anna
		}
		if users {
			p.Source.Patients = map[string]fhir.Identifier{"1": anna, "2": bert}
		}
		adaptertest.Survive(t, New(), p)
	})
}

func BenchmarkConvert(b *testing.B) {
	var body strings.Builder
	for i := range 500 {
		fmt.Fprintf(&body, "@2026-06-01T08:%02d:%02d.000+02:00 2A37 10%02X 4003 4A03\n", i/60, i%60, 60+i%40)
		fmt.Fprintf(&body, "@2026-06-01T08:%02d:%02d+02:00 2A35 16%02X0050005D00EA07060107%02X%02X48000000\n", i/60, i%60, 100+i%60, i/60, i%60)
	}
	p := adapters.Payload{Body: []byte(body.String()), Received: received, Source: adapters.Source{Patient: anna, Zone: zone(b, "Europe/Berlin")}}
	a := New()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		c, err := a.Convert(p)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Resources(); err != nil {
			b.Fatal(err)
		}
		n += len(c.Observations)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "obs/s")
}
