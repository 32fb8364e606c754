package dexcomclarity

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests do not depend on the zones of the machine

	obpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"

	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/adapters/adaptertest"
	"github.com/kiln-health/kiln/adapters/when"
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/fhir/vocabulary"
)

func TestAdapter(t *testing.T) { adaptertest.Run(t, New()) }

const header = "Index,Timestamp (YYYY-MM-DDThh:mm:ss),Event Type,Event Subtype,Patient Info,Device Info,Source Device ID,Glucose Value (mg/dL),Insulin Value (u),Carb Value (grams),Duration (hh:mm:ss),Glucose Rate of Change (mg/dL/min),Transmitter Time (Long Integer),Transmitter ID\n"

var patient = fhir.Identifier{System: "http://clinic.example/patients", Value: "P-1001"}

// payload is an export with these lines, from a patient in Berlin.
func payload(t testing.TB, lines ...string) adapters.Payload {
	t.Helper()
	berlin, err := when.ParseZone("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return adapters.Payload{
		Body:     []byte(header + strings.Join(lines, "\n") + "\n"),
		Received: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC),
		Source:   adapters.Source{Zone: berlin, Patient: patient},
	}
}

// effective is the time of a reading as FHIR writes it.
func effective(t testing.TB, o *obpb.Observation) string {
	t.Helper()
	d := o.GetEffective().GetDateTime()
	zone, err := when.ParseZone(strings.Replace(d.GetTimezone(), "Z", "UTC", 1))
	if err != nil {
		t.Fatal(err)
	}
	return time.UnixMicro(d.GetValueUs()).In(zone).Format(time.RFC3339)
}

func said(t testing.TB, c adapters.Conversion) []string {
	t.Helper()
	var out []string
	for _, o := range c.Observations {
		out = append(out, effective(t, o)+" "+o.GetValue().GetQuantity().GetValue().GetValue())
	}
	return out
}

func TestTwoReadingsOfOneWallTimeWithCountersAnHourApartAreTwoObservations(t *testing.T) {
	c, err := adaptertest.Accept(t, New(), payload(t,
		"1,2025-10-26T02:15:00,EGV,,,,android G6,185,,,,,4917375,8ABC1D",
		"2,2025-10-26T02:15:00,EGV,,,,android G6,165,,,,,4913775,8ABC1D"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"2025-10-26T02:15:00+01:00 185", "2025-10-26T02:15:00+02:00 165"}
	if got := said(t, c); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if c.Rows != 2 || c.Mapped != 2 || len(c.Skipped) != 0 || c.Observations[0].GetId().GetValue() == c.Observations[1].GetId().GetValue() {
		t.Errorf("something was lost: %d rows, %d mapped, %v", c.Rows, c.Mapped, c.Skipped)
	}
}

func TestTheTransmitterAndItsCounterAreTheIdentityOfAReading(t *testing.T) {
	id := func(line, zone string) string {
		p := payload(t, line)
		z, err := when.ParseZone(zone)
		if err != nil {
			t.Fatal(err)
		}
		p.Source.Zone = z
		c, err := adaptertest.Accept(t, New(), p)
		if err != nil || len(c.Observations) != 1 {
			t.Fatalf("%v, %v", err, c.Skipped)
		}
		return c.Observations[0].GetId().GetValue()
	}
	first := id("1,2025-05-05T06:00:00,EGV,,,,android G6,120,,,,,900000,8ABC1D", "Europe/Berlin")
	for name, test := range map[string]struct {
		line, zone string
		same       bool
	}{
		"another place in the table":  {"77,2025-05-05T06:00:00,EGV,,,,android G6,120,,,,,900000,8ABC1D", "Europe/Berlin", true},
		"a value smoothed by Clarity": {"1,2025-05-05T06:00:00,EGV,,,,android G6,123,,,,,900000,8ABC1D", "Europe/Berlin", true},
		"a value beyond the range":    {"1,2025-05-05T06:00:00,EGV,,,,android G6,High,,,,,900000,8ABC1D", "Europe/Berlin", true},
		"the zone corrected":          {"1,2025-05-05T06:00:00,EGV,,,,android G6,120,,,,,900000,8ABC1D", "Europe/London", true},
		"another phone":               {"1,2025-05-05T06:00:00,EGV,,,,iPhone G6,120,,,,,900000,8ABC1D", "Europe/Berlin", true},
		"another count":               {"1,2025-05-05T06:00:00,EGV,,,,android G6,120,,,,,900300,8ABC1D", "Europe/Berlin", false},
		"another transmitter":         {"1,2025-05-05T06:00:00,EGV,,,,android G6,120,,,,,900000,8ABC1E", "Europe/Berlin", false},
		"another kind of reading":     {"1,2025-05-05T06:00:00,Calibration,,,,android G6,120,,,,,900000,8ABC1D", "Europe/Berlin", false},
		"no count":                    {"1,2025-05-05T06:00:00,EGV,,,,android G6,120,,,,,,8ABC1D", "Europe/Berlin", false},
	} {
		if got := id(test.line, test.zone); (got == first) != test.same {
			t.Errorf("%s: the id is %s, was %s", name, got, first)
		}
	}
	byTime := id("1,2025-05-05T06:00:00,EGV,,,,android G6,120,,,,,,8ABC1D", "Europe/Berlin")
	if byTime != id("9,2025-05-05 06:00:00,EGV,,,,android G6,120,,,,,,8ABC1D", "+02:00") {
		t.Error("without a count, the same instant and value is not the same reading")
	}
	if byTime == id("1,2025-05-05T06:00:00,EGV,,,,android G6,121,,,,,,8ABC1D", "Europe/Berlin") {
		t.Error("without a count, two values at one time are one reading")
	}
}

func TestWhoseReadingsTheyAre(t *testing.T) {
	const egv = "9,2025-05-05T06:00:00,EGV,,,,android G6,120,,,,,900000,8ABC1D"
	other := fhir.Identifier{System: "http://clinic.example/patients", Value: "P-2002"}
	for _, test := range []struct {
		name   string
		lines  []string
		source adapters.Source
		want   fhir.Identifier
		warned string // part of a warning
		fails  string // part of the error
	}{
		{"the source states the patient", []string{egv}, adapters.Source{Patient: patient}, patient, "", ""},
		{"the payload's identifier is mapped, which beats the source's patient", []string{"1,,PatientIdentifier,,2025-017,,,,,,,,,", egv},
			adapters.Source{Patient: patient, Patients: map[string]fhir.Identifier{"2025-017": other}}, other, "", ""},
		{"the payload's identifier with a system", []string{"1,,PatientIdentifier,,P-2002,,,,,,,,,", egv}, adapters.Source{PatientSystem: other.System}, other, "", ""},
		{"the payload's identifier in no system is not used", []string{"1,,PatientIdentifier,,2025-017,,,,,,,,,", egv}, adapters.Source{Patient: patient}, patient, "own patient identifier was not used", ""},
		{"the payload's identifier agrees with the source", []string{"1,,PatientIdentifier,,P-1001,,,,,,,,,", egv}, adapters.Source{Patient: patient, PatientSystem: patient.System}, patient, "", ""},
		{"the payload's identifier contradicts the source", []string{"1,,PatientIdentifier,,P-2002,,,,,,,,,", egv}, adapters.Source{Patient: patient, PatientSystem: patient.System}, fhir.Identifier{}, "", "another patient"},
		{"names are never an identity", []string{"1,,FirstName,,Synthia,,,,,,,,,", egv}, adapters.Source{}, fhir.Identifier{}, "no patient is known", ""},
		{"a name said twice is one person", []string{"1,,FirstName,,Synthia,,,,,,,,,", "1,,FirstName,,Synthia,,,,,,,,,", "2,,LastName,,Sample,,,,,,,,,", egv}, adapters.Source{Patient: patient}, patient, "", ""},
		{"two names are two people", []string{"1,,FirstName,,Synthia,,,,,,,,,", egv, "1,,FirstName,,Testo,,,,,,,,,"}, adapters.Source{Patient: patient}, fhir.Identifier{}, "", "more than one person"},
		{"two dates of birth are two people", []string{"1,,DateOfBirth,,1980-01-01,,,,,,,,,", "1,,DateOfBirth,,1990-01-01,,,,,,,,,", egv}, adapters.Source{Patient: patient}, fhir.Identifier{}, "", "more than one person"},
		{"two identifiers are two people, mapped or not", []string{"1,,PatientIdentifier,,A,,,,,,,,,", "1,,PatientIdentifier,,B,,,,,,,,,", egv},
			adapters.Source{Patients: map[string]fhir.Identifier{"A": patient, "B": other}}, fhir.Identifier{}, "", "more than one person"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := payload(t, test.lines...)
			test.source.Zone = p.Source.Zone
			p.Source = test.source
			c, err := adaptertest.Accept(t, New(), p)
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || len(c.Observations) != 1 {
				t.Fatalf("%v, %+v", err, c.Skipped)
			}
			subject := c.Observations[0].GetSubject()
			if test.want.IsZero() {
				if subject.GetDeviceId().GetValue() != c.Devices[0].GetId().GetValue() || len(c.Patients) != 0 {
					t.Errorf("the subject is %v, the patients are %v", subject, c.Patients)
				}
			} else if subject.GetPatientId().GetValue() != fhir.PatientID(test.want) || !slices.Equal(c.Patients, []fhir.Identifier{test.want}) {
				t.Errorf("the subject is %v, the patients are %v", subject, c.Patients)
			}
			var warnings []string
			for _, w := range c.Warnings {
				warnings = append(warnings, w.Message)
			}
			if all := strings.Join(warnings, "; "); (test.warned == "") != (all == "") || !strings.Contains(all, test.warned) {
				t.Errorf("warnings: %s", all)
			}
		})
	}
}

func TestAnOffsetWrittenIntoAnExportSettlesTheTime(t *testing.T) {
	p := payload(t,
		"1,2025-10-26T02:30:00+01:00,EGV,,,,android G6,120,,,,,900000,8ABC1D",
		"2,2025-10-26 02:30:00-04:00,Carbs,,,,android G6,,,15,,,,",
		"3,2025-10-26T01:30:00Z,Carbs,,,,android G6,,,16,,,,",
		"4,2025-10-26T01:30:00+15:00,Carbs,,,,android G6,,,17,,,,",
		"5,2025-10-26T01:30:00+1,Carbs,,,,android G6,,,18,,,,")
	p.Source.Zone = nil
	c, err := adaptertest.Accept(t, New(), p)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"2025-10-26T02:30:00+01:00 120", "2025-10-26T02:30:00-04:00 15", "2025-10-26T01:30:00Z 16"}
	if got := said(t, c); !slices.Equal(got, want) || len(c.Skipped) != 2 {
		t.Errorf("got %v and %v, want %v", got, c.Skipped, want)
	}
	for _, o := range c.Observations {
		if x := o.GetEffective().GetDateTime().GetExtension(); len(x) != 0 {
			t.Errorf("a written offset needs no record of how it was found: %v", x)
		}
	}
}

func TestHeaders(t *testing.T) {
	plainHeader := strings.TrimSuffix(header, "\n")
	for _, test := range []struct{ name, header, want string }{
		{"the words of the time format do not matter", strings.Replace(plainHeader, "YYYY-MM-DDThh:mm:ss", "YYYY-MM-DD HH:MM:SS", 1), ""},
		{"the case of names does not matter", strings.ToUpper(plainHeader), ""},
		{"an unknown column is named", strings.Replace(plainHeader, "Event Subtype", "Sottosopra", 1), `header, column 4: the column "Sottosopra" is not known; fix: ` + fixHeader},
		{"a column that is there twice", strings.Replace(plainHeader, "Event Subtype", "Type d’événement", 1), `header, column 4: the column "Type d’événement" means the same as column 3; fix: remove the column that is there twice`},
		{"no unit", strings.Replace(plainHeader, "Glucose Value (mg/dL)", "Glucose Value", 1), `header, column 8: the column "Glucose Value" tells no unit that is known: want mg/dL or mmol/L; fix: export again; the unit stands behind the name`},
		{"an unknown unit", strings.Replace(plainHeader, "Glucose Value (mg/dL)", "Glucose Value (g/L)", 1), `header, column 8: the column "Glucose Value (g/L)" tells no unit that is known: want mg/dL or mmol/L; fix: export again; the unit stands behind the name`},
		{"carbohydrates in exchange units", strings.Replace(plainHeader, "(grams)", "(exchanges)", 1), `header, column 10: the column "Carb Value (exchanges)" tells no unit that is known: want grams; fix: ` + fixHeader},
		{"a missing column", strings.Replace(plainHeader, "Event Type,", "", 1), `header: the column Event Type is missing; fix: ` + fixHeader},
		{"a line of data in its place, which is not quoted", "1,2025-05-05T06:00:00,EGV,,,,android G6,120,,,,,900000,8ABC1D", "header: the first line is not the header of a Clarity export; fix: send the table as Clarity exported it, with its first line"},
		{"a very long name is cut", plainHeader + "," + strings.Repeat("m", 100), `header, column 15: the column "` + strings.Repeat("m", 60) + `…" is not known; fix: ` + fixHeader},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := New().Convert(adapters.Payload{Body: []byte(test.header + "\n")})
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestEveryWordHasOneMeaningAndIsWrittenAsItIsLookedUp(t *testing.T) {
	meaning := map[string]column{}
	for c, names := range named {
		for _, name := range names {
			if other, twice := meaning[name]; twice {
				t.Errorf("%q means column %d and %d", name, c, other)
			}
			meaning[name] = c
			if plain(name) != name {
				t.Errorf("%q is never found: it is looked up as %q", name, plain(name))
			}
		}
	}
	if len(named) != int(columns) {
		t.Errorf("%d of %d columns have names", len(named), columns)
	}
	for word := range kinds {
		if plain(word) != word {
			t.Errorf("%q is never found: it is looked up as %q", word, plain(word))
		}
	}
	for word := range edges {
		if plain(word) != word {
			t.Errorf("%q is never found: it is looked up as %q", word, plain(word))
		}
	}
}

func TestTheVocabularyKnowsEveryUnitAndCode(t *testing.T) {
	for _, units := range []map[string]string{concentrations, rates} {
		for _, unit := range units {
			if u, ok := vocabulary.UnitByUCUM(unit); !ok || u.UCUM != unit {
				t.Errorf("the unit %s is not in the vocabulary", unit)
			}
		}
	}
	for _, codes := range []map[string]string{sensorCode, meterCode} {
		for unit, loinc := range codes {
			m, _ := vocabulary.ByLOINC(loinc)
			c := m.Code(unit).GetCoding()
			if len(c) == 0 || c[0].GetCode().GetValue() != loinc || c[0].GetSystem().GetValue() != fhir.LOINC {
				t.Errorf("in %s the vocabulary gives %v for %s", unit, c, loinc)
			}
			if limits[unit]['<'] == "" || limits[unit]['>'] == "" {
				t.Errorf("no range in %s", unit)
			}
		}
	}
}

func TestDetect(t *testing.T) {
	long := header + strings.Repeat("1,2025-05-05T06:00:00,EGV,,,,andröid G6,120,,,,,900000,8ABC1D\n", 1000)
	for _, test := range []struct {
		name, body string
		want       bool
	}{
		{"an export", header, true},
		{"a long export, cut within a character or not", long, true},
		{"an export with a column that is not known", strings.Replace(header, "Duration", "Mood", 1), true},
		{"an older export", header[:strings.Index(header, ",Transmitter Time")] + "\n", true},
		{"a table of another kind", "Device,Serial Number,Device Timestamp,Record Type,Historic Glucose mg/dL\n", false},
		{"JSON", `{"records":[]}`, false},
		{"nothing", "", false},
		{"binary", "\x00\x01\x02", false},
	} {
		if got := New().Detect(adapters.Payload{Body: []byte(test.body)}); got != test.want {
			t.Errorf("%s: got %v", test.name, got)
		}
	}
	for _, input := range inputs(t) {
		if p := adaptertest.Load(t, input); !New().Detect(p) {
			t.Errorf("%s is not recognised", input)
		}
	}
}

func TestValuesThatCannotBeRight(t *testing.T) {
	for _, test := range []struct {
		value string
		kind  kind
		unit  string
		want  bool
	}{
		{"40", egv, "mg/dL", true}, {"400", egv, "mg/dL", true}, {"39", egv, "mg/dL", true}, {"5.8", egv, "mg/dL", false}, {"22.2", egv, "mg/dL", false}, {"402", egv, "mg/dL", false}, {"0", egv, "mg/dL", false}, {"-100", egv, "mg/dL", false},
		{"2.2", egv, "mmol/L", true}, {"22.2", egv, "mmol/L", true}, {"40", egv, "mmol/L", false}, {"144", egv, "mmol/L", false}, {"0.0", egv, "mmol/L", false}, {"1.9", egv, "mmol/L", false},
		{"600", calibration, "mg/dL", true}, {"5.5", calibration, "mg/dL", false}, {"33.3", calibration, "mmol/L", true}, {"99", calibration, "mmol/L", false},
		{"99999999999999999999999", egv, "mg/dL", false},
	} {
		if got := credible(test.value, test.kind, test.unit); got != test.want {
			t.Errorf("%s %s: got %v", test.value, test.unit, got)
		}
	}
}

func TestNothingOfThePersonGetsIntoAMessage(t *testing.T) {
	secrets := []string{"Synthia", "Sample", "Testo", "1980", "2025-017", "8ABC1", "142", "12O", "007.50", "Telepathy"}
	for _, input := range inputs(t) {
		p := adaptertest.Load(t, input)
		c, err := New().Convert(p)
		issues := slices.Concat(c.Skipped, c.Warnings)
		if err != nil {
			issues = append(issues, fhir.IssuesOf(err)...)
		}
		for _, i := range issues {
			for _, s := range secrets {
				if text := i.Path + i.Message + i.Fix; strings.Contains(text, s) {
					t.Errorf("%s: %q holds %q", input, text, s)
				}
			}
			if i.Severity == fhir.SevError && i.Fix == "" {
				t.Errorf("%s: no fix for %s: %s", input, i.Path, i.Message)
			}
		}
	}
}

func inputs(t testing.TB) []string {
	t.Helper()
	list, err := filepath.Glob("testdata/*.input")
	if err != nil || len(list) == 0 {
		t.Fatalf("no testdata (%v)", err)
	}
	return list
}

func TestTheExportsOfTheReferenceMaterialAddUp(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(fhirtest.Shared(t), "samples", "dexcom", "*.csv"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no exports (%v)", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p := payload(t)
			p.Body = body
			if p.Source.Zone, err = when.ParseZone("America/New_York"); err != nil {
				t.Fatal(err)
			}
			if !New().Detect(p) {
				t.Error("it is not recognised")
			}
			c, err := adaptertest.Accept(t, New(), p)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Count(string(body), "\n") - 1
			if c.Rows != lines {
				t.Errorf("%d rows of %d lines", c.Rows, lines)
			}
			counts := map[string]int{"mapped": c.Mapped}
			for _, s := range c.Skipped {
				counts[fmt.Sprintf("%s: %s", s.Severity, s.Message)]++
			}
			t.Log(counts)
			unset := counts["error: the year is 1961: the clock of the device is not set"]
			if errors := len(c.Unresolved()); errors != unset {
				t.Errorf("%d lines need attention, of which %d are from before there were such devices", errors, unset)
			}
			if c.Mapped == 0 && unset == 0 {
				t.Error("nothing was mapped")
			}
		})
	}
}

func FuzzConvert(f *testing.F) {
	for _, input := range inputs(f) {
		p := adaptertest.Load(f, input)
		f.Add(p.Body, p.Source.Patient.Value != "")
	}
	a := New()
	known := payload(f)
	f.Fuzz(func(t *testing.T, body []byte, withPatient bool) {
		p := known
		p.Body = body
		if !withPatient {
			p.Source.Patient = fhir.Identifier{}
		}
		adaptertest.Survive(t, a, p)
	})
}

func BenchmarkConvert(b *testing.B) {
	// Ninety days across the end of summer time.
	p := payload(b)
	var lines strings.Builder
	lines.WriteString(header)
	start := time.Date(2025, 9, 1, 0, 0, 0, 0, time.UTC)
	for n := range 90 * 288 {
		at := start.Add(time.Duration(n) * 5 * time.Minute).In(p.Source.Zone)
		fmt.Fprintf(&lines, "%d,%s,EGV,,,,android G6,%d,,,,%.1f,%d,8ABC1D\n", n, at.Format("2006-01-02T15:04:05"), 80+n%100, float64(n%5)-2, n*300)
	}
	p.Body = []byte(lines.String())
	a := New()
	readings := 0
	b.SetBytes(int64(len(p.Body)))
	b.ReportAllocs()
	for b.Loop() {
		c, err := a.Convert(p)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Resources(); err != nil {
			b.Fatal(err)
		}
		readings += len(c.Observations)
	}
	if readings != b.N*90*288 {
		b.Fatalf("%d readings", readings)
	}
	b.ReportMetric(float64(readings)/b.Elapsed().Seconds(), "obs/s")
}
