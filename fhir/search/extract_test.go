package search

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/apd/v3"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func day(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

func exactly(n string) *apd.Decimal { return number10(n) }

// only leaves the terms of one parameter.
func only(t Terms, param string) (o Terms) {
	for _, v := range t.Tokens {
		if v.Param == param {
			o.Tokens = append(o.Tokens, v)
		}
	}
	for _, v := range t.References {
		if v.Param == param {
			o.References = append(o.References, v)
		}
	}
	for _, v := range t.Dates {
		if v.Param == param {
			o.Dates = append(o.Dates, v)
		}
	}
	for _, v := range t.Quantities {
		if v.Param == param {
			o.Quantities = append(o.Quantities, v)
		}
	}
	return o
}

func TestExtractFindsTheTermsOfEachParameter(t *testing.T) {
	second := time.Date(2024, 5, 11, 14, 32, 15, 0, time.UTC)
	for _, c := range []struct {
		name, resource, body, param string
		want                        Terms
	}{
		{"a CodeableConcept gives all its codings", "Observation", `"code":{"coding":[{"system":"http://loinc.org","code":"8867-4"},{"code":"HR"}],"text":"pulse"}`, "code",
			Terms{Tokens: []Token{{"code", "http://loinc.org", "8867-4"}, {"code", "", "hr"}}}},
		{"a coding with a system only has no code", "Observation", `"code":{"coding":[{"system":"s"}]}`, "code", Terms{Tokens: []Token{{"code", "s", ""}}}},
		{"a text alone gives nothing", "Observation", `"code":{"text":"pulse"}`, "code", Terms{}},
		{"a coding with neither code nor system gives nothing", "Observation", `"code":{"coding":[{"display":"x"}]}`, "code", Terms{}},
		{"each of several categories counts", "Observation", `"category":[{"coding":[{"code":"a"}]},{"coding":[{"code":"b"}]}]`, "category",
			Terms{Tokens: []Token{{"category", "", "a"}, {"category", "", "b"}}}},
		{"code has no component codes", "Observation", `"code":{"coding":[{"code":"a"}]},"component":[{"code":{"coding":[{"code":"b"}]}}]`, "code",
			Terms{Tokens: []Token{{"code", "", "a"}}}},
		{"combo-code has the component codes too", "Observation", `"component":[{"code":{"coding":[{"code":"b"}]}},{"code":{"coding":[{"code":"a"},{"code":"b"}]}}],"code":{"coding":[{"code":"a"}]}`, "combo-code",
			Terms{Tokens: []Token{{"combo-code", "", "b"}, {"combo-code", "", "a"}}}},
		{"component-code has no other", "Observation", `"code":{"coding":[{"code":"a"}]},"component":[{"code":{"coding":[{"code":"b"}]}}]`, "component-code",
			Terms{Tokens: []Token{{"component-code", "", "b"}}}},
		{"an identifier keeps its case", "Patient", `"identifier":[{"system":"urn:oid:1.2","value":"aB-1"}]`, "identifier", Terms{Tokens: []Token{{"identifier", "urn:oid:1.2", "aB-1"}}}},
		{"an identifier without a system", "Patient", `"identifier":[{"value":"1"}]`, "identifier", Terms{Tokens: []Token{{"identifier", "", "1"}}}},
		{"a code has no system", "Patient", `"gender":"female"`, "gender", Terms{Tokens: []Token{{"gender", "", "female"}}}},
		{"true", "Patient", `"active":true`, "active", Terms{Tokens: []Token{{"active", "", "true"}}}},
		{"false", "Patient", `"active":false`, "active", Terms{Tokens: []Token{{"active", "", "false"}}}},
		{"a boolean in quotes is none", "Patient", `"active":"true"`, "active", Terms{}},
		{"a primitive with extensions only gives nothing", "Patient", `"_gender":{"extension":[{"url":"u","valueCode":"x"}]}`, "gender", Terms{}},
		{"escapes in names and values are read", "Patient", `"\u0067ender":"fem\u0061le"`, "gender", Terms{Tokens: []Token{{"gender", "", "female"}}}},
		{"equal values count once", "Device", `"type":{"coding":[{"code":"a"},{"code":"A"}]}`, "type", Terms{Tokens: []Token{{"type", "", "a"}}}},
		{"a contained resource is not searched", "Patient", `"contained":[{"resourceType":"Patient","gender":"male"}]`, "gender", Terms{}},

		{"a relative reference", "Observation", `"subject":{"reference":"Patient/p1","display":"x"}`, "subject", Terms{References: []Reference{{Param: "subject", Type: "Patient", ID: "p1"}}}},
		{"patient is a subject that is a Patient", "Observation", `"subject":{"reference":"Patient/p1"}`, "patient", Terms{References: []Reference{{Param: "patient", Type: "Patient", ID: "p1"}}}},
		{"patient is no subject that is a Device", "Observation", `"subject":{"reference":"Device/d1"}`, "patient", Terms{}},
		{"a version is left away", "Observation", `"subject":{"reference":"Patient/p1/_history/3"}`, "subject", Terms{References: []Reference{{Param: "subject", Type: "Patient", ID: "p1"}}}},
		{"an absolute reference", "Observation", `"subject":{"reference":"https://a.example/fhir/Patient/p1/_history/3"}`, "patient",
			Terms{References: []Reference{{Param: "patient", URL: "https://a.example/fhir/Patient/p1"}}}},
		{"a URN", "Observation", `"device":{"reference":"urn:uuid:0c3201bd-1cbf-4d64-b04d-cd9187a4c6e0"}`, "device",
			Terms{References: []Reference{{Param: "device", URL: "urn:uuid:0c3201bd-1cbf-4d64-b04d-cd9187a4c6e0"}}}},
		{"a URN with the type of its target", "Observation", `"subject":{"reference":"urn:uuid:1","type":"Patient"}`, "patient", Terms{References: []Reference{{Param: "patient", URL: "urn:uuid:1"}}}},
		{"the type of a literal reference is what it says itself", "Observation", `"subject":{"reference":"Device/1","type":"Patient"}`, "patient", Terms{}},
		{"a contained target", "Observation", `"device":{"reference":"#d"}`, "device", Terms{References: []Reference{{Param: "device", URL: "#d"}}}},
		{"a logical reference", "Observation", `"subject":{"identifier":{"system":"s","value":"V"},"type":"Patient"}`, "patient",
			Terms{References: []Reference{{Param: "patient", IdentifierSystem: "s", IdentifierValue: "V"}}}},
		{"a logical reference of no type is no patient", "Observation", `"subject":{"identifier":{"system":"s","value":"v"}}`, "patient", Terms{}},
		{"a reference with an identifier", "Observation", `"subject":{"reference":"Patient/1","identifier":{"system":"s","value":"v"}}`, "subject",
			Terms{References: []Reference{{Param: "subject", Type: "Patient", ID: "1", IdentifierSystem: "s", IdentifierValue: "v"}}}},
		{"a display alone gives nothing", "Observation", `"subject":{"display":"x"}`, "subject", Terms{}},
		{"a host that looks like a type is none", "Observation", `"subject":{"reference":"http://Patient/1"}`, "patient", Terms{}},

		{"a dateTime", "Observation", `"effectiveDateTime":"2024-05-11T16:32:15+02:00"`, "date", Terms{Dates: []Date{{"date", second, second.Add(time.Second)}}}},
		{"a dateTime of a month", "Observation", `"effectiveDateTime":"2024-05"`, "date", Terms{Dates: []Date{{"date", day(2024, 5, 1), day(2024, 6, 1)}}}},
		{"an instant has no width", "Observation", `"effectiveInstant":"2024-05-11T14:32:15Z"`, "date", Terms{Dates: []Date{{"date", second, second.Add(1)}}}},
		{"a Period is to the end of its end", "Observation", `"effectivePeriod":{"start":"2024-05-11","end":"2024-05-12"}`, "date", Terms{Dates: []Date{{"date", day(2024, 5, 11), day(2024, 5, 13)}}}},
		{"a Period without end", "Observation", `"effectivePeriod":{"start":"2024-05-11"}`, "date", Terms{Dates: []Date{{"date", day(2024, 5, 11), time.Time{}}}}},
		{"a Period without start", "Observation", `"effectivePeriod":{"end":"2024-05-11"}`, "date", Terms{Dates: []Date{{"date", time.Time{}, day(2024, 5, 12)}}}},
		{"a Period of nothing", "Observation", `"effectivePeriod":{}`, "date", Terms{}},
		{"a Period that ends before it starts", "Observation", `"effectivePeriod":{"start":"2024-05-11","end":"2024-05-01"}`, "date", Terms{}},
		{"a Period of which one side is no date", "Observation", `"effectivePeriod":{"start":"2024-05-11","end":"soon"}`, "date", Terms{}},
		{"a Period of which the first side is no date", "Observation", `"effectivePeriod":{"start":"soon","end":"2024-05-11"}`, "date", Terms{}},
		{"a Timing is its outer limits", "Observation", `"effectiveTiming":{"event":["2024-05-11","2024-05-01","2024-05-05"]}`, "date", Terms{Dates: []Date{{"date", day(2024, 5, 1), day(2024, 5, 12)}}}},
		{"a Timing with bounds", "Observation", `"effectiveTiming":{"repeat":{"frequency":1,"boundsPeriod":{"start":"2024-05-11"}},"event":["2024-05-01"]}`, "date", Terms{Dates: []Date{{"date", day(2024, 5, 1), time.Time{}}}}},
		{"a Timing of a code only", "Observation", `"effectiveTiming":{"code":{"coding":[{"code":"BID"}]}}`, "date", Terms{}},
		{"a day that does not exist gives nothing", "Observation", `"effectiveDateTime":"2024-02-30"`, "date", Terms{}},
		{"a number is no date", "Observation", `"effectiveDateTime":2024`, "date", Terms{}},
		{"a date of birth", "Patient", `"birthDate":"1970-01"`, "birthdate", Terms{Dates: []Date{{"birthdate", day(1970, 1, 1), day(1970, 2, 1)}}}},

		{"a Quantity", "Observation", `"valueQuantity":{"value":72.50,"unit":"bpm","system":"http://unitsofmeasure.org","code":"/min"}`, "value-quantity",
			Terms{Quantities: []Quantity{{Param: "value-quantity", System: "http://unitsofmeasure.org", Code: "/min", Unit: "bpm", Low: exactly("72.5"), High: exactly("72.5")}}}},
		{"less than", "Observation", `"valueQuantity":{"value":20,"comparator":"<"}`, "value-quantity", Terms{Quantities: []Quantity{{Param: "value-quantity", High: exactly("20"), HighOpen: true}}}},
		{"at most", "Observation", `"valueQuantity":{"value":20,"comparator":"<="}`, "value-quantity", Terms{Quantities: []Quantity{{Param: "value-quantity", High: exactly("20")}}}},
		{"more than", "Observation", `"valueQuantity":{"value":20,"comparator":">"}`, "value-quantity", Terms{Quantities: []Quantity{{Param: "value-quantity", Low: exactly("20"), LowOpen: true}}}},
		{"at least", "Observation", `"valueQuantity":{"value":20,"comparator":">="}`, "value-quantity", Terms{Quantities: []Quantity{{Param: "value-quantity", Low: exactly("20")}}}},
		{"a comparator that R4 does not have", "Observation", `"valueQuantity":{"value":20,"comparator":"~"}`, "value-quantity", Terms{}},
		{"a Quantity without a value", "Observation", `"valueQuantity":{"unit":"bpm"}`, "value-quantity", Terms{}},
		{"a number in quotes", "Observation", `"valueQuantity":{"value":"72"}`, "value-quantity", Terms{}},
		{"a number that fills memory", "Observation", `"valueQuantity":{"value":1e999999999}`, "value-quantity", Terms{}},
		{"value-quantity has no components", "Observation", `"component":[{"valueQuantity":{"value":1}}]`, "value-quantity", Terms{}},
		{"combo-value-quantity has the components", "Observation", `"component":[{"valueQuantity":{"value":1}},{"valueQuantity":{"value":1.0}}]`, "combo-value-quantity",
			Terms{Quantities: []Quantity{{Param: "combo-value-quantity", Low: exactly("1"), High: exactly("1")}}}},

		{"samples are searched by their bounds", "Observation", `"valueSampledData":{"origin":{"value":2048,"code":"mV"},"period":4,"factor":0.5,"dimensions":1,"data":"0 -10 E 7"}`, "value-quantity",
			Terms{Quantities: []Quantity{{Param: "value-quantity", Code: "mV", Low: exactly("2043"), High: exactly("2051.5")}}}},
		{"samples may come before what they are scaled with", "Observation", `"valueSampledData":{"data":"1 2","factor":10,"origin":{"value":0}}`, "value-quantity",
			Terms{Quantities: []Quantity{{Param: "value-quantity", Low: exactly("10"), High: exactly("20")}}}},
		{"a negative factor turns the bounds round", "Observation", `"valueSampledData":{"origin":{"value":0},"factor":-1,"data":"1 2"}`, "value-quantity",
			Terms{Quantities: []Quantity{{Param: "value-quantity", Low: exactly("-2"), High: exactly("-1")}}}},
		{"samples beyond the limits reach to them", "Observation", `"valueSampledData":{"origin":{"value":0},"lowerLimit":-5,"upperLimit":9,"data":"L 1 2 U"}`, "value-quantity",
			Terms{Quantities: []Quantity{{Param: "value-quantity", Low: exactly("-5"), High: exactly("9")}}}},
		{"limits that no sample reaches do not count", "Observation", `"valueSampledData":{"origin":{"value":0},"lowerLimit":-5,"upperLimit":9,"data":"1 2"}`, "value-quantity",
			Terms{Quantities: []Quantity{{Param: "value-quantity", Low: exactly("1"), High: exactly("2")}}}},
		{"limits alone are the bounds", "Observation", `"valueSampledData":{"origin":{"value":0},"lowerLimit":-5,"upperLimit":9}`, "value-quantity",
			Terms{Quantities: []Quantity{{Param: "value-quantity", Low: exactly("-5"), High: exactly("9")}}}},
		{"one limit leaves the other side open", "Observation", `"valueSampledData":{"origin":{"value":0},"upperLimit":9,"data":"E"}`, "value-quantity",
			Terms{Quantities: []Quantity{{Param: "value-quantity", High: exactly("9")}}}},
		{"no data and no limits", "Observation", `"valueSampledData":{"origin":{"value":0},"data":"E"}`, "value-quantity", Terms{}},
		{"samples of which one is no number", "Observation", `"valueSampledData":{"origin":{"value":0},"data":"1 x"}`, "value-quantity", Terms{}},
	} {
		_, all := terms(t, `{"resourceType":"`+c.resource+`",`+c.body+`}`)
		if diff := gocmp.Diff(c.want, only(all, c.param), decimals, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestAnOddValueGivesNoTermAndSpoilsNoOther(t *testing.T) {
	for _, odd := range []string{`null`, `5`, `true`, `"x"`, `{}`, `[]`, `[[]]`, `[null]`, `{"coding":5}`, `{"coding":[5,"x",null,[],{"code":{}}]}`,
		`{"value":{},"system":[]}`, `{"reference":5}`, `{"start":{}}`, `{"event":{}}`, `{"data":5,"origin":5}`, `"` + strings.Repeat("x", MaxValueLength+1) + `"`} {
		for _, name := range []string{"code", "category", "identifier", "subject", "device", "effectiveDateTime", "effectivePeriod", "effectiveInstant",
			"effectiveTiming", "valueQuantity", "valueSampledData", "valueCodeableConcept", "component"} {
			found, err := Extract("Observation", []byte(`{"resourceType":"Observation","`+name+`":`+odd+`,"status":"final"}`))
			if err != nil {
				t.Errorf("%s %s: %v", name, odd, err)
			}
			if want := (Terms{Tokens: []Token{{"status", "", "final"}}}); !gocmp.Equal(found, want, decimals) && odd != `"x"` {
				t.Errorf("%s %.40s gives %+v", name, odd, found)
			}
		}
	}
}

func TestACodeOverTheLimitGivesNoTermButTheOthersDo(t *testing.T) {
	long := strings.Repeat("x", MaxValueLength+1)
	_, found := terms(t, `{"resourceType":"Device","identifier":[{"system":"s","value":"`+long+`"},{"system":"s","value":"1"}],"type":{"coding":[{"code":"`+long+`"},{"code":"a"}]}}`)
	want := Terms{Tokens: []Token{{"identifier", "s", "1"}, {"type", "", "a"}}}
	if diff := gocmp.Diff(want, found); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestExtractRefusesWhatIsNoJSON(t *testing.T) {
	for name, body := range map[string]string{
		"nothing": ``, "a word": `x`, "an array": `[]`, "a string": `"x"`, "half an object": `{"code":{"coding":[{"code":"a"`, "half a name": `{"co`,
		"a wrong bracket": `{"category":[}`, "another wrong bracket": `{"code":{]}`, "no value": `{"code":}`, "a bad escape": `{"code":{"coding":[{"code":"\q"}]}}`,
	} {
		found, err := Extract("Observation", []byte(body))
		if err == nil || !gocmp.Equal(found, Terms{}) {
			t.Errorf("%s: Extract = %+v, %v, want an error", name, found, err)
		}
	}
	if found, err := Extract("Encounter", []byte(`{"status":"finished"}`)); err != nil || !gocmp.Equal(found, Terms{}) {
		t.Errorf("a type that is not searched gives %+v, %v", found, err)
	}
}

func TestExtractLeavesItsInputAloneAndKeepsNothingOfIt(t *testing.T) {
	body := []byte(`{"resourceType":"Patient","gender":"male","identifier":[{"system":"s","value":"v"}]}`)
	sent := string(body)
	found, err := Extract("Patient", body)
	if err != nil {
		t.Fatal(err)
	}
	if string(body) != sent {
		t.Errorf("the input became %s", body)
	}
	for i := range body {
		body[i] = 'x'
	}
	if want := []Token{{"gender", "", "male"}, {"identifier", "s", "v"}}; !gocmp.Equal(found.Tokens, want) {
		t.Errorf("the terms became %v", found.Tokens)
	}
}

func TestManyEqualValuesAreStillFoundEqual(t *testing.T) {
	var codings, components []string
	for i := range 3000 {
		codings = append(codings, fmt.Sprintf(`{"code":"c%d"}`, i%1000))
		components = append(components, fmt.Sprintf(`{"valueQuantity":{"value":%d.0%s}}`, i%1000, strings.Repeat("0", i/1000)))
	}
	_, found := terms(t, `{"resourceType":"Observation","code":{"coding":[`+strings.Join(codings, ",")+`]},"component":[`+strings.Join(components, ",")+`]}`)
	if got := len(only(found, "code").Tokens); got != 1000 {
		t.Errorf("%d codes, want 1000", got)
	}
	if got := len(only(found, "component-value-quantity").Quantities); got != 1000 {
		t.Errorf("%d quantities, want 1000", got)
	}
}

func FuzzExtract(f *testing.F) {
	for _, seed := range []string{
		heartRate, `{"valueSampledData":{"origin":{"value":2048},"factor":-0.5,"lowerLimit":1,"data":"L 1 2.50 E -3 U"}}`, `{"resourceType":"Observation","effectiveTiming":{"event":["2024"],"repeat":{"boundsPeriod":{"end":"2025"}}}}`,
		`{"resourceType":"Patient","active":true,"birthDate":"1970-01-01","identifier":[{"value":"1"}]}`, `{"type":{"coding":[[]]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, name := range Types() {
			found, err := Extract(name, body)
			if err != nil {
				continue
			}
			for _, v := range found.Tokens {
				if v.Code == "" && v.System == "" || len(v.Code) > 3*MaxValueLength || len(v.System) > MaxValueLength {
					t.Errorf("token %+v", v)
				}
			}
			for _, d := range found.Dates {
				if d.Low.IsZero() && d.High.IsZero() || !d.High.IsZero() && !d.Low.Before(d.High) {
					t.Errorf("date %+v", d)
				}
			}
			for _, q := range found.Quantities {
				if q.Low == nil && q.High == nil || q.Low != nil && q.High != nil && q.Low.Cmp(q.High) > 0 {
					t.Errorf("quantity %+v", q)
				}
			}
			for _, r := range found.References {
				if (r.Type == "") != (r.ID == "") || r.URL != "" && r.ID != "" {
					t.Errorf("reference %+v", r)
				}
			}
		}
	})
}
