package rest_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir/rest"
	"github.com/kiln-health/kiln/fhir/validate"
)

// measure is an Observation of p with a value in a unit, at an hour of the first of May.
func measure(id string, hour int, code, value, unit string) string {
	o := reading(id, "p", fmt.Sprintf("2024-05-01T%02d:00:00Z", hour), code)
	return o[:len(o)-1] + `,"valueQuantity":` + valueIn(value, unit) + `}`
}

func valueIn(value, unit string) string {
	return fmt.Sprintf(`{"value":%s,"unit":%q,"system":"http://unitsofmeasure.org","code":%q}`, value, unit, unit)
}

type statsAnswer struct {
	Parameter []struct {
		Name     string
		Resource json.RawMessage
	}
}

type statsObservation struct {
	ID, Status string
	Code       struct {
		Coding []struct{ System, Code string }
		Text   string
	}
	Subject         struct{ Reference string }
	EffectivePeriod struct{ Start, End string }
	Note            []struct{ Text string }
	Component       []struct {
		Code struct {
			Coding []struct{ System, Code string }
		}
		ValueQuantity struct {
			Value        json.Number
			System, Code string
		}
		DataAbsentReason struct{ Coding []struct{ Code string } }
	}
}

// stats are the Observations that $stats answers with, and the ids of the sources. They are
// valid: validate says so, as the oracle of the other tests does not read resources in Parameters.
func (a answer) stats(t testing.TB) (all []statsObservation, sources []string) {
	t.Helper()
	var p statsAnswer
	a.wantStatus(t, 200).decode(t, &p)
	if found := validate.Resource(a.json(t), &validate.Options{DeviceRules: validate.Ignored}); !found.Valid() {
		t.Errorf("the Parameters are not valid: %v", found.Issues())
	}
	for _, p := range p.Parameter {
		found := validate.Resource(p.Resource, &validate.Options{DeviceRules: validate.Ignored})
		var o statsObservation
		if err := json.Unmarshal(p.Resource, &o); err != nil {
			t.Fatal(err)
		}
		if p.Name == "source" {
			sources = append(sources, o.ID)
			continue
		}
		if !found.Valid() || p.Name != "statistics" || o.Status != "final" {
			t.Errorf("%s is not valid: %v\n%s", p.Name, found.Issues(), p.Resource)
		}
		all = append(all, o)
	}
	return all, sources
}

// String is the code, and each statistic with its value and unit.
func (o statsObservation) String() string {
	code := o.Code.Text
	for _, c := range o.Code.Coding {
		code += c.Code
	}
	for _, c := range o.Component {
		last := c.Code.Coding[len(c.Code.Coding)-1].Code
		if len(c.DataAbsentReason.Coding) > 0 {
			code += " " + last + "=" + c.DataAbsentReason.Coding[0].Code
			continue
		}
		code += fmt.Sprintf(" %s=%s %s", last, c.ValueQuantity.Value, c.ValueQuantity.Code)
	}
	return code
}

func TestStats(t *testing.T) {
	loinc := func(codes string) string {
		return "subject=Patient/p&system=http://loinc.org&code=" + strings.ReplaceAll(codes, ",", "&code=")
	}
	for _, c := range []struct {
		name   string
		stored []string
		query  string
		want   string // Observations, with a bar between them
		note   string
	}{
		{"all statistics", []string{measure("o1", 1, "8867-4", "60", "/min"), measure("o2", 2, "8867-4", "62.5", "/min"), measure("o3", 3, "8867-4", "70", "/min"), measure("o4", 4, "8867-4", "61.50", "/min")},
			loinc("8867-4") + "&statistic=average,maximum,minimum,count,total-count,median,std-dev,sum,variance,20-percent,80-percent,4-lower,4-upper,4-dev,5-1,5-2,5-3,5-4,skew,kurtosis,regression",
			"8867-4 average=63.5 /min maximum=70 /min minimum=60 /min count=4 1 total-count=4 1 median=62 /min std-dev=4.453463071962462 /min sum=254 /min variance=19.83333333333333 /min.(1/min) 20-percent=60.9 /min 80-percent=65.5 /min 4-lower=61.125 /min 4-upper=64.375 /min 4-dev=1.625 /min 5-1=60.9 /min 5-2=61.7 /min 5-3=62.3 /min 5-4=65.5 /min skew=1.681252283222324 1 kurtosis=3.042263964409293 1 gradient=1.2 /min/h intercept=61.7 /min", ""},
		{"min and max, as the OperationDefinition calls them", []string{measure("o1", 1, "8867-4", "60", "/min")}, loinc("8867-4") + "&statistic=min&statistic=max", "8867-4 minimum=60 /min maximum=60 /min", ""},
		{"nothing is measured", nil, loinc("8867-4") + "&statistic=average,count,sum,maximum,regression", "8867-4 average=not-a-number count=0 1 sum=not-a-number maximum=not-a-number gradient=not-a-number intercept=not-a-number", ""},
		{"one value has no deviation", []string{measure("o1", 1, "8867-4", "60", "/min")}, loinc("8867-4") + "&statistic=std-dev,regression", "8867-4 std-dev=not-a-number gradient=not-a-number intercept=not-a-number", ""},
		{"units are converted to that of most", []string{measure("o1", 1, "29463-7", "72.5", "kg"), measure("o2", 2, "29463-7", "73500", "g"), measure("o3", 3, "29463-7", "73", "kg")}, loinc("29463-7") + "&statistic=average,sum", "29463-7 average=73 kg sum=219 kg", ""},
		{"pounds exactly", []string{measure("o1", 1, "29463-7", "100", "kg"), measure("o2", 2, "29463-7", "100", "kg"), measure("o3", 3, "29463-7", "100", "[lb_av]")}, loinc("29463-7") + "&statistic=minimum", "29463-7 minimum=45.359237 kg", ""},
		{"temperatures", []string{measure("o1", 1, "8310-5", "36.5", "Cel"), measure("o2", 2, "8310-5", "99.5", "[degF]"), measure("o3", 3, "8310-5", "37", "Cel")}, loinc("8310-5") + "&statistic=average,variance,std-dev,sum,4-dev,regression", "8310-5 average=37 Cel variance=0.25 K.K std-dev=0.5 K sum=not-applicable 4-dev=0.25 K gradient=0.25 K/h intercept=36.75 Cel", ""},
		{"a logarithmic scale", []string{measure("o1", 1, "x", "7.3", "[pH]"), measure("o2", 2, "x", "7.5", "[pH]")}, loinc("x") + "&statistic=average,variance,sum,regression", "x average=7.4 [pH] variance=not-applicable sum=not-applicable gradient=not-applicable intercept=7.3 [pH]", ""},
		{"moles are no counts", []string{measure("o1", 1, "x", "5", "mmol/L"), measure("o2", 2, "x", "6", "mmol/L"), measure("o3", 3, "x", "7", "/L")}, loinc("x") + "&statistic=count,total-count,average", "x count=2 1 total-count=3 1 average=5.5 mmol/L", "1 of 3 measurements are not counted: 1 with a unit that does not convert to that of most."},
		{"what is no number in UCUM is told", []string{
			measure("o1", 1, "x", "5", "g"), measure("o2", 2, "x", "6", "gramm"),
			strings.Replace(measure("o3", 3, "x", "7", "g"), `{"value":7,`, `{"value":7,"comparator":"<",`, 1),
			strings.Replace(measure("o4", 4, "x", "8", "g"), `"valueQuantity":`+valueIn("8", "g"), `"dataAbsentReason":{"text":"unknown"}`, 1),
			strings.Replace(measure("o5", 5, "x", "9", "g"), `"status"`, `"modifierExtension":[{"url":"http://h.example/not","valueBoolean":true}],"status"`, 1),
		}, loinc("x") + "&statistic=count,total-count,sum", "x count=1 1 total-count=5 1 sum=5 g",
			"4 of 5 measurements are not counted: 1 without a quantity, 1 with a comparator, 1 without a unit of UCUM, 1 with a modifier extension."},
		{"what is entered in error is not there", []string{measure("o1", 1, "x", "5", "g"), strings.Replace(measure("o2", 2, "x", "6", "g"), `"final"`, `"entered-in-error"`, 1)}, loinc("x") + "&statistic=total-count,sum", "x total-count=1 1 sum=5 g", ""},
		{"several codes", []string{measure("o1", 1, "x", "5", "g"), measure("o2", 2, "y", "6", "m")}, loinc("y,x") + "&statistic=sum", "y sum=6 m | x sum=5 g", ""},
		{"the panel of a blood pressure", []string{bloodPressure("o1", 1, "120", "80"), bloodPressure("o2", 2, "130", "85")}, loinc("85354-9") + "&statistic=average", "8480-6 average=125 mm[Hg] | 8462-4 average=82.5 mm[Hg]", ""},
		{"a component alone", []string{bloodPressure("o1", 1, "120", "80"), measure("o2", 2, "8480-6", "16", "kPa")}, loinc("8480-6") + "&statistic=count,minimum", "8480-6 count=2 1 minimum=15.99864 kPa", ""},
		{"a panel and one of its components count nothing twice", []string{bloodPressure("o1", 1, "120", "80")}, loinc("85354-9,8480-6") + "&statistic=count", "8480-6 count=1 1 | 8462-4 count=1 1", ""},
		{"the members of a panel", []string{measure("m1", 1, "a", "5", "g"), measure("m2", 1, "b", "6", "g"), measure("m3", 1, "a", "7", "g"), panel("o1", "m1", "m2"), panel("o2", "m1")}, loinc("panel") + "&statistic=sum", "a sum=5 g | b sum=6 g", ""},
		{"a panel in itself ends", []string{panel("o1", "o2"), panel("o2", "o1")}, loinc("panel") + "&statistic=count", "panel count=0 1", ""},
		{"nobody else", []string{strings.Replace(measure("o1", 1, "x", "5", "g"), "Patient/p", "Patient/q", 1)}, loinc("x") + "&statistic=count", "x count=0 1", ""},
		{"an absolute subject and a coding", []string{measure("o1", 1, "x", "5", "g")}, "subject=http://example.com/fhir/Patient/p&coding=http://loinc.org%7Cx&statistic=sum", "x sum=5 g", ""},
		{"hours", []string{measure("o1", 9, "x", "5", "g"), measure("o2", 11, "x", "6", "g"), measure("o3", 12, "x", "7", "g"), measure("o4", 13, "x", "8", "g")}, loinc("x") + "&duration=1.5&statistic=sum", "x sum=13 g", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPI(t, rest.Options{Validation: rest.ValidateStructure})
			for _, r := range c.stored {
				a.put(t, r)
			}
			got, _ := a.send(t, "GET", "/fhir/Observation/$stats?"+c.query, "").stats(t)
			var texts []string
			note := ""
			for _, o := range got {
				texts = append(texts, o.String())
				if o.Subject.Reference != "Patient/p" {
					t.Errorf("subject %s", o.Subject.Reference)
				}
				for _, n := range o.Note {
					note += n.Text
				}
			}
			if text := strings.Join(texts, " | "); text != c.want {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
			if note != c.note {
				t.Errorf("note %q, want %q", note, c.note)
			}
		})
	}
}

func bloodPressure(id string, hour int, systolic, diastolic string) string {
	o := reading(id, "p", fmt.Sprintf("2024-05-01T%02d:00:00Z", hour), "85354-9")
	return o[:len(o)-1] + `,"component":[{"code":{"coding":[{"system":"http://loinc.org","code":"8480-6"}]},"valueQuantity":` + valueIn(systolic, "mm[Hg]") +
		`},{"code":{"coding":[{"system":"http://loinc.org","code":"8462-4"}]},"valueQuantity":` + valueIn(diastolic, "mm[Hg]") + `}]}`
}

func panel(id string, members ...string) string {
	o := reading(id, "p", "2024-05-01T10:00:00Z", "panel")
	return o[:len(o)-1] + `,"hasMember":[{"reference":"Observation/` + strings.Join(members, `"},{"reference":"Observation/`) + `"}]}`
}

func statsOf(parameters ...string) string {
	return `{"resourceType":"Parameters","parameter":[{"name":"subject","valueUri":"Patient/p"},{"name":"coding","valueCoding":{"system":"http://loinc.org","code":"x"}},` +
		`{"name":"statistic","valueCode":"count"},` + strings.Join(parameters, ",") + `]}`
}

func TestStatsPeriod(t *testing.T) {
	a := newAPI(t, rest.Options{})
	for hour := range 24 {
		a.put(t, measure(fmt.Sprintf("o%02d", hour), hour, "x", "5", "g"))
	}
	a.put(t, strings.Replace(measure("day", 0, "x", "5", "g"), "2024-05-01T00:00:00Z", "2024-05-01", 1))
	for _, c := range []struct{ period, count, start, end string }{
		{`{"start":"2024-05-01T10:00:00Z","end":"2024-05-01T12:00:00Z"}`, "3", "2024-05-01T10:00:00Z", "2024-05-01T12:00:00Z"},
		{`{"start":"2024-05-01T12:00:00+02:00","end":"2024-05-01T12:00:00Z"}`, "3", "2024-05-01T12:00:00+02:00", "2024-05-01T12:00:00Z"},
		{`{"start":"2024-05-01","end":"2024-05-01"}`, "25", "2024-05-01", "2024-05-01"},
		{`{"start":"2024-05-01T20:00:00Z"}`, "4", "2024-05-01T20:00:00Z", "2024-05-01T23:00:00.000Z"},
		{`{"end":"2024-05-01T03:59:59Z"}`, "4", "2024-05-01T00:00:00.000Z", "2024-05-01T03:59:59Z"},
	} {
		got, _ := a.send(t, "POST", "/fhir/Observation/$stats", statsOf(`{"name":"period","valuePeriod":`+c.period+`}`)).stats(t)
		if n := string(got[0].Component[0].ValueQuantity.Value); n != c.count || got[0].EffectivePeriod.Start != c.start || got[0].EffectivePeriod.End != c.end {
			t.Errorf("%s: %s, %+v", c.period, n, got[0].EffectivePeriod)
		}
	}
}

func TestStatsShowsItsSources(t *testing.T) {
	a := newAPI(t, rest.Options{})
	for hour := range 5 {
		a.put(t, measure(fmt.Sprint("o", hour), hour, "x", "5", "g"))
	}
	a.put(t, measure("other", 1, "y", "5", "g"))
	for more, want := range map[string]string{
		`{"name":"include","valueBoolean":true}`:                                           "[o4 o3 o2 o1 o0]",
		`{"name":"include","valueBoolean":true},{"name":"limit","valuePositiveInt":2}`:     "[o4 o3]",
		`{"name":"include","valueBoolean":false},{"name":"limit","valuePositiveInt":2}`:    "[]",
		`{"name":"limit","valuePositiveInt":2},{"name":"duration","valueDecimal":1000000}`: "[]",
	} {
		got, sources := a.send(t, "POST", "/fhir/Observation/$stats", statsOf(more)).stats(t)
		if n := string(got[0].Component[0].ValueQuantity.Value); fmt.Sprint(sources) != want || n != "5" {
			t.Errorf("%s: %v of %s", more, sources, n)
		}
	}
}

func TestStatsRefusals(t *testing.T) {
	a := newAPI(t, rest.Options{})
	const secret = "Jane-Doe-1970"
	const all = "subject=Patient/" + secret + "&system=s&code=x&statistic=sum"
	for _, c := range []struct{ name, query, says string }{
		{"no subject", "system=s&code=x&statistic=sum", "subject"},
		{"a subject without its type", "subject=" + secret + "&system=s&code=x&statistic=sum", "subject"},
		{"two subjects", "subject=Patient/1,Patient/2&system=s&code=x&statistic=sum", "subject"},
		{"no code", "subject=Patient/1&statistic=sum", "coding"},
		{"a code without its system", "subject=Patient/1&code=x&statistic=sum", "system"},
		{"a coding without its system", "subject=Patient/1&coding=x&statistic=sum", "coding"},
		{"no statistic", "subject=Patient/1&system=s&code=x", "kurtosis"},
		{"a statistic that is none", all + "&statistic=mode", "median"},
		{"hours below 0", all + "&duration=-1", "duration"},
		{"hours that are none", all + "&duration=" + secret, "duration"},
		{"hours without end", all + "&duration=1e99", "duration"},
		{"a period in the URL", all + "&period=2024", "period"},
		{"include that is neither", all + "&include=maybe", "include"},
		{"limit of 0", all + "&include=true&limit=0", "limit"},
		{"a parameter of a search", all + "&date=2024", "duration"},
		{"system twice", all + "&system=t", "system"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := a.do(t, "GET", "/fhir/Observation/$stats?"+c.query, "").wantStatus(t, 400)
			if !strings.Contains(string(got.body), c.says) || strings.Contains(string(got.body), secret) {
				t.Errorf("%s", got.body)
			}
		})
	}
	for _, p := range []string{`{"name":"period","valuePeriod":{"start":"soon"}}`, `{"name":"period","valuePeriod":{"start":"2025","end":"2024"}}`, `{"name":"period","valueString":"2024"}`,
		`{"name":"period","valuePeriod":{"start":"2024"}},{"name":"duration","valueDecimal":1}`, `{"name":"code","valueCoding":{"code":"x"}}`} {
		a.do(t, "POST", "/fhir/Observation/$stats", statsOf(p)).wantStatus(t, 400)
	}
	a.do(t, "GET", "/fhir/Patient/$stats", "").wantStatus(t, 404)
}

// A plain model in floating point comes to the same.
func TestStatsAgreeWithANaiveModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := newAPI(t, rest.Options{Validation: rest.ValidateNothing})
		inGrams := map[string]float64{"g": 1, "kg": 1000, "mg": 0.001, "[lb_av]": 453.59237}
		var values []float64
		units := map[string]int{}
		for i := range rapid.IntRange(2, 15).Draw(rt, "n") {
			unit := rapid.SampledFrom([]string{"g", "kg", "mg", "[lb_av]"}).Draw(rt, "unit")
			tenths := rapid.IntRange(1, 5000).Draw(rt, "tenths")
			at := noon.Add(-time.Duration(i) * time.Hour).Hour()
			a.put(t, measure(fmt.Sprint("o", i), at, "x", strconv.FormatFloat(float64(tenths)/10, 'f', 1, 64), unit))
			values = append(values, float64(tenths)/10*inGrams[unit])
			units[unit]++
		}
		got, _ := a.send(t, "GET", "/fhir/Observation/$stats?subject=Patient/p&system=http://loinc.org&code=x&statistic=average,std-dev,maximum", "").stats(t)
		var mean, square, most float64
		for _, v := range values {
			mean += v / float64(len(values))
			most = max(most, v)
		}
		for _, v := range values {
			square += (v - mean) * (v - mean)
		}
		for i, want := range []float64{mean, math.Sqrt(square / float64(len(values)-1)), most} {
			q := got[0].Component[i].ValueQuantity
			if len(got[0].Component[i].DataAbsentReason.Coding) > 0 {
				rt.Fatalf("%v is absent", got[0])
			}
			n, err := q.Value.Float64()
			if err != nil || math.Abs(n*inGrams[q.Code]-want) > 1e-6*math.Max(1, most) {
				rt.Errorf("%v is not %v g", got[0], want)
			}
			for unit, n := range units {
				if n > units[q.Code] {
					rt.Errorf("in %s, and more are in %s", q.Code, unit)
				}
			}
		}
	})
}

func TestStatsInXML(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.put(t, measure("o1", 1, "8867-4", "60.50", "/min"))
	const url = "/fhir/Observation/$stats?subject=Patient/p&coding=http://loinc.org%7C8867-4&statistic=sum"
	got := a.send(t, "GET", url, "", "Accept: application/fhir+xml")
	if all, _ := got.stats(t); !got.isXML() || fmt.Sprint(all) != "[8867-4 sum=60.5 /min]" {
		t.Errorf("%s", got.body)
	}
}

// FuzzParametersOfOperations sends bodies of any kind to every operation: none brings the
// server down, or to an answer that is its own failure.
func FuzzParametersOfOperations(f *testing.F) {
	f.Add([]byte(statsOf(`{"name":"period","valuePeriod":{"start":"2024","end":"2025"}}`)))
	f.Add([]byte(statsOf(`{"name":"duration","valueDecimal":1e-300},{"name":"include","valueBoolean":true}`)))
	f.Add([]byte(withMeta(`{"profile":["http://h.example/p"],"tag":[{"code":"x"}],"security":[{}]}`)))
	f.Add([]byte(`{"resourceType":"Parameters","parameter":[{"name":"patient","valueString":"p"},{"name":"code","valueString":"x"},{"name":"max","valueInteger":3}]}`))
	f.Add([]byte(`{"resourceType":"Parameters","parameter":[{"name":"_since","valueInstant":"2024-05-01T10:00:00Z"},{"name":"_type","valueCode":"Device"},{"name":"start","valueDate":"0001"}]}`))
	f.Add([]byte(`{"resourceType":"Parameters","parameter":[{"name":"_cursor","valueString":"AAAA"},{"part":[]},{"name":7},null]}`))
	a := newWard(f)
	a.put(f, measure("x1", 1, "x", "5", "g"))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, url := range []string{"Observation/$lastn", "Observation/$stats", "Patient/p/$everything", "Patient/p/$meta", "Patient/p/$meta-add", "Patient/p/$meta-delete", "Device/$meta"} {
			got := a.send(t, "POST", "/fhir/"+url, string(body))
			if got.StatusCode >= 500 || !json.Valid(got.body) {
				t.Errorf("%s: %d %s", url, got.StatusCode, got.body)
			}
		}
	})
}
