package search

import (
	"encoding/json"
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
	for _, v := range t.Strings {
		if v.Param == param {
			o.Strings = append(o.Strings, v)
		}
	}
	for _, v := range t.URIs {
		if v.Param == param {
			o.URIs = append(o.URIs, v)
		}
	}
	for _, v := range t.Tuples {
		if v.Param == param {
			o.Tuples = append(o.Tuples, v)
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
		{"a Range", "Condition", `"onsetRange":{"low":{"value":1,"code":"a"},"high":{"value":2,"code":"a"}}`, "onset-age", Terms{Quantities: []Quantity{{Param: "onset-age", Code: "a", Low: exactly("1"), High: exactly("2")}}}},
		{"a Range with one end", "Condition", `"onsetRange":{"high":{"value":2,"code":"a"}}`, "onset-age", Terms{Quantities: []Quantity{{Param: "onset-age", Code: "a", High: exactly("2")}}}},
		{"a Range of two units makes no sense", "Condition", `"onsetRange":{"low":{"value":1,"code":"mo"},"high":{"value":2,"code":"a"}}`, "onset-age", Terms{}},
		{"an Age", "Condition", `"onsetAge":{"value":3,"unit":"years"}`, "onset-age", Terms{Quantities: []Quantity{{Param: "onset-age", Unit: "years", Low: exactly("3"), High: exactly("3")}}}},
		{"money has the currency as its code", "Invoice", `"totalNet":{"value":48,"currency":"EUR"}`, "totalnet",
			Terms{Quantities: []Quantity{{Param: "totalnet", System: "urn:iso:std:iso:4217", Code: "EUR", Low: exactly("48"), High: exactly("48")}}}},
		{"a decimal", "RiskAssessment", `"prediction":[{"probabilityDecimal":0.25}]`, "probability", Terms{Quantities: []Quantity{{Param: "probability", Low: exactly("0.25"), High: exactly("0.25")}}}},
		{"a number has no unit, even of a Range", "RiskAssessment", `"prediction":[{"probabilityRange":{"low":{"value":1,"code":"%"},"high":{"value":2,"code":"%"}}}]`, "probability",
			Terms{Quantities: []Quantity{{Param: "probability", Low: exactly("1"), High: exactly("2")}}}},

		{"each part of a name is a string", "Patient", `"name":[{"use":"official","family":"Chalmers","given":["Peter","James"],"prefix":["Dr"],"period":{"start":"2000"}},{"text":"Jim"}]`, "name",
			Terms{Strings: []String{{"name", "Chalmers"}, {"name", "Peter"}, {"name", "James"}, {"name", "Dr"}, {"name", "Jim"}}}},
		{"a part of a name for itself", "Patient", `"name":[{"family":"Chalmers","given":["Peter","James","Peter"]}]`, "given", Terms{Strings: []String{{"given", "Peter"}, {"given", "James"}}}},
		{"each part of an address is a string", "Patient", `"address":[{"use":"home","line":["1 A St","Flat 2"],"city":"B","postalCode":"3999"}]`, "address",
			Terms{Strings: []String{{"address", "1 A St"}, {"address", "Flat 2"}, {"address", "B"}, {"address", "3999"}}}},
		{"the use of an address is a code", "Patient", `"address":[{"use":"home"}]`, "address-use", Terms{Tokens: []Token{{"address-use", "", "home"}}}},
		{"a contact of any system", "Patient", `"telecom":[{"system":"phone","value":"03 55"},{"system":"email","value":"A@b.example"}]`, "telecom", Terms{Tokens: []Token{{"telecom", "", "03 55"}, {"telecom", "", "a@b.example"}}}},
		{"a contact of one system", "Patient", `"telecom":[{"system":"phone","value":"03 55"},{"value":"A@b.example","system":"email"}]`, "email", Terms{Tokens: []Token{{"email", "", "a@b.example"}}}},
		{"a string", "Observation", `"valueString":"Ça va"`, "value-string", Terms{Strings: []String{{"value-string", "Ça va"}}}},
		{"a text of a concept as a string", "Observation", `"valueCodeableConcept":{"coding":[{"code":"a","display":"b"}],"text":"c"}`, "value-string", Terms{Strings: []String{{"value-string", "c"}}}},
		{"a long text is whole", "Observation", `"valueString":"` + strings.Repeat("x", 2*MaxValueLength) + `"`, "value-string", Terms{Strings: []String{{"value-string", strings.Repeat("x", 2*MaxValueLength)}}}},

		{"texts for :text", "Observation", `"code":{"coding":[{"code":"a","display":"Alpha"},{"display":"Beta"}],"text":"Gamma"}`, "code:text", Terms{Strings: []String{{"code:text", "Alpha"}, {"code:text", "Beta"}, {"code:text", "Gamma"}}}},
		{"the text of the type of an identifier", "Patient", `"identifier":[{"type":{"text":"MRN","coding":[{"code":"MR","display":"x"}]},"value":"1"}]`, "identifier:text", Terms{Strings: []String{{"identifier:text", "MRN"}}}},
		{"an identifier of a type", "Patient", `"identifier":[{"value":"aB","type":{"coding":[{"system":"v2","code":"MR"},{"code":"x"}]}},{"type":{"coding":[{"code":"MR"}]}}]`, "identifier:of-type",
			Terms{Tokens: []Token{{"identifier:of-type", "v2", "MR|aB"}, {"identifier:of-type", "", "x|aB"}}}},

		{"a tag", "Basic", `"meta":{"tag":[{"system":"s","code":"C"}]}`, "_tag", Terms{Tokens: []Token{{"_tag", "s", "c"}}}},
		{"a profile, with its version", "Basic", `"meta":{"profile":["http://a.example/p|1"]}`, "_profile", Terms{URIs: []URI{{"_profile", "http://a.example/p|1"}}}},
		{"the source", "Basic", `"meta":{"source":"urn:x"}`, "_source", Terms{URIs: []URI{{"_source", "urn:x"}}}},
		{"a uri", "ValueSet", `"url":"http://a.example/ValueSet/v"`, "url", Terms{URIs: []URI{{"url", "http://a.example/ValueSet/v"}}}},
		{"a canonical as a reference", "CarePlan", `"instantiatesCanonical":["http://a.example/Questionnaire/q|2","Questionnaire/r","#c"]`, "instantiates-canonical",
			Terms{References: []Reference{{Param: "instantiates-canonical", URL: "http://a.example/Questionnaire/q", Version: "2"}, {Param: "instantiates-canonical", Type: "Questionnaire", ID: "r"}, {Param: "instantiates-canonical", URL: "#c"}}}},
		{"only what is related in one way", "Measure", `"relatedArtifact":[{"type":"depends-on","resource":"http://a.example/Library/l"},{"resource":"http://a.example/Library/m","type":"successor"}]`, "successor",
			Terms{References: []Reference{{Param: "successor", URL: "http://a.example/Library/m"}}}},
		{"an extension", "Patient", `"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/patient-mothersMaidenName","valueString":"Everywoman"},{"url":"http://x.example","valueString":"no"}]`, "mothersMaidenName",
			Terms{Strings: []String{{"mothersMaidenName", "Everywoman"}}}},
		{"an answer where an extension says what it is about", "QuestionnaireResponse",
			`"item":[{"extension":[{"url":"u"},{"url":"http://hl7.org/fhir/StructureDefinition/questionnaireresponse-isSubject","valueBoolean":true}],"answer":[{"valueReference":{"reference":"Patient/1"}}]},{"answer":[{"valueReference":{"reference":"Patient/2"}}]}]`,
			"item-subject", Terms{References: []Reference{{Param: "item-subject", Type: "Patient", ID: "1"}}}},
		{"who is not said to have died is alive", "Patient", `"active":true`, "deceased", Terms{Tokens: []Token{{"deceased", "", "false"}}}},
		{"who is said not to have died is alive", "Patient", `"deceasedBoolean":false`, "deceased", Terms{Tokens: []Token{{"deceased", "", "false"}}}},
		{"who has died", "Patient", `"deceasedBoolean":true`, "deceased", Terms{Tokens: []Token{{"deceased", "", "true"}}}},
		{"who has died on a day", "Patient", `"deceasedDateTime":"2020-01-02"`, "deceased", Terms{Tokens: []Token{{"deceased", "", "true"}}}},
		{"who is not known to be alive", "Patient", `"_deceasedBoolean":{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}`, "deceased", Terms{}},
		{"a concept or a boolean", "Group", `"characteristic":[{"valueBoolean":true},{"valueCodeableConcept":{"coding":[{"code":"A"}]}}]`, "value", Terms{Tokens: []Token{{"value", "", "true"}, {"value", "", "a"}}}},
		{"ours: where on the body", "Observation", `"bodySite":{"coding":[{"system":"s","code":"arm"}]}`, "body-site", Terms{Tokens: []Token{{"body-site", "s", "arm"}}}},
		{"ours: the interpretation", "Observation", `"interpretation":[{"coding":[{"code":"HH"}]}]`, "interpretation", Terms{Tokens: []Token{{"interpretation", "", "hh"}}}},
		{"ours: the serial number", "Device", `"serialNumber":"SN-1"`, "serial-number", Terms{Strings: []String{{"serial-number", "SN-1"}}}},
		{"ours: the lot", "Device", `"lotNumber":"L1"`, "lot-number", Terms{Strings: []String{{"lot-number", "L1"}}}},
		{"ours: the device it is part of", "Device", `"parent":{"reference":"Device/p"}`, "parent", Terms{References: []Reference{{Param: "parent", Type: "Device", ID: "p"}}}},
		{"ours: how a metric does", "DeviceMetric", `"operationalStatus":"on"`, "operational-status", Terms{Tokens: []Token{{"operational-status", "", "on"}}}},

		{"a tuple for each component that has both", "Observation", `"component":[{"code":{"coding":[{"code":"a"},{"code":"b"}]},"valueQuantity":{"value":1}},{"code":{"coding":[{"code":"a"}]}},{"valueQuantity":{"value":3},"code":{"coding":[{"code":"a"}]}}]`,
			"component-code-value-quantity", Terms{Tuples: []Tuple{
				{"component-code-value-quantity", []Terms{{Tokens: []Token{{"component-code", "", "a"}, {"component-code", "", "b"}}}, {Quantities: []Quantity{{Param: "component-value-quantity", Low: exactly("1"), High: exactly("1")}}}}},
				{"component-code-value-quantity", []Terms{{Tokens: []Token{{"component-code", "", "a"}}}, {Quantities: []Quantity{{Param: "component-value-quantity", Low: exactly("3"), High: exactly("3")}}}}},
			}}},
		{"a tuple of the resource itself, and of its components", "Observation", `"component":[{"code":{"coding":[{"code":"a"}]},"valueQuantity":{"value":1}}],"code":{"coding":[{"code":"a"}]},"valueQuantity":{"value":1}`,
			"combo-code-value-quantity", Terms{Tuples: []Tuple{{"combo-code-value-quantity", []Terms{{Tokens: []Token{{"combo-code", "", "a"}}}, {Quantities: []Quantity{{Param: "combo-value-quantity", Low: exactly("1"), High: exactly("1")}}}}}}}},
		{"no tuple of two places", "Observation", `"code":{"coding":[{"code":"a"}]},"component":[{"valueQuantity":{"value":1}}]`, "combo-code-value-quantity", Terms{}},
		{"a tuple with a part of the resource", "MolecularSequence", `"variant":[{"start":1,"end":2},{"start":3}],"referenceSeq":{"chromosome":{"coding":[{"code":"X"}]}}`, "chromosome-variant-coordinate",
			Terms{Tuples: []Tuple{{"chromosome-variant-coordinate", []Terms{{Tokens: []Token{{"chromosome", "", "x"}}}, {Quantities: []Quantity{{Param: "variant-start", Low: exactly("1"), High: exactly("1")}}}, {Quantities: []Quantity{{Param: "variant-end", Low: exactly("2"), High: exactly("2")}}}}}}}},
		{"no tuple without that part", "MolecularSequence", `"variant":[{"start":1,"end":2}]`, "chromosome-variant-coordinate", Terms{}},
		{"the parts of a relationship", "DocumentReference", `"relatesTo":[{"code":"replaces","target":{"reference":"DocumentReference/d"}}]`, "relationship",
			Terms{Tuples: []Tuple{{"relationship", []Terms{{Tokens: []Token{{"relation", "", "replaces"}}}, {References: []Reference{{Param: "relatesto", Type: "DocumentReference", ID: "d"}}}}}}}},

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
			found, err := R4().Extract("Observation", []byte(`{"resourceType":"Observation","`+name+`":`+odd+`,"status":"final"}`))
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
		found, err := R4().Extract("Observation", []byte(body))
		if err == nil || !gocmp.Equal(found, Terms{}) {
			t.Errorf("%s: Extract = %+v, %v, want an error", name, found, err)
		}
	}
	if found, err := R4().Extract("Quantity", []byte(`{"value":1}`)); err != nil || !gocmp.Equal(found, Terms{}) {
		t.Errorf("a type that is not searched gives %+v, %v", found, err)
	}
}

func TestExtractLeavesItsInputAloneAndKeepsNothingOfIt(t *testing.T) {
	body := []byte(`{"resourceType":"Patient","gender":"male","identifier":[{"system":"s","value":"v"}]}`)
	sent := string(body)
	found, err := R4().Extract("Patient", body)
	if err != nil {
		t.Fatal(err)
	}
	if string(body) != sent {
		t.Errorf("the input became %s", body)
	}
	for i := range body {
		body[i] = 'x'
	}
	if want := []Token{{"gender", "", "male"}, {"identifier", "s", "v"}, {"deceased", "", "false"}}; !gocmp.Equal(found.Tokens, want) {
		t.Errorf("the terms became %v", found.Tokens)
	}
}

// Resources share memory for their terms: neither what comes later nor what a caller appends
// may change what another one has.
func TestTermsStayAsTheyAreWhateverHappensToOthers(t *testing.T) {
	const rounds = 300
	bodies := func(i int) []string {
		return []string{
			strings.ReplaceAll(wardReading, "patient-017", fmt.Sprintf("patient-%d", i)),
			strings.ReplaceAll(heartRate, `"value":72`, fmt.Sprintf(`"value":%d.%d`, i, i%10)),
			ecg,
			fmt.Sprintf(`{"resourceType":"Observation","component":[{"code":{"coding":[{"code":"a%d"}]},"valueQuantity":{"value":%d}},{"code":{"coding":[{"code":"b%d"}]},"valueQuantity":{"value":-%d}}]}`, i, i, i, i),
			fmt.Sprintf(`{"resourceType":"Observation","category":[%s{"coding":[{"code":"z"}]}],"note":[]}`, strings.Repeat(fmt.Sprintf(`{"coding":[{"code":"c%d"},{"code":"d%d"}]},`, i, i), i)),
			`{"resourceType":"Observation"}`,
		}
	}
	done := make(chan error)
	for range 4 {
		go func() {
			var found []Terms
			var first []string
			for i := range rounds {
				for _, body := range bodies(i) {
					terms, err := R4().Extract("Observation", []byte(body))
					if err != nil {
						done <- err
						return
					}
					found, first = append(found, terms), append(first, asJSON(terms))
					_, _, _ = append(terms.Tokens, Token{"x", "x", "x"}), append(terms.References, Reference{Param: "x"}), append(terms.Dates, Date{Param: "x"})
					_, _, _ = append(terms.Quantities, Quantity{Param: "x"}), append(terms.Strings, String{"x", "x"}), append(terms.URIs, URI{"x", "x"})
					_ = append(terms.Tuples, Tuple{Param: "x"})
					for _, tuple := range terms.Tuples {
						_ = append(tuple.Parts, Terms{URIs: []URI{{"x", "x"}}})
					}
				}
			}
			for i := range found {
				if now := asJSON(found[i]); now != first[i] {
					done <- fmt.Errorf("the terms of resource %d became %s", i, now)
					return
				}
			}
			done <- nil
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// asJSON is all that is in terms.
func asJSON(t Terms) string {
	text, err := json.Marshal(t)
	if err != nil {
		return err.Error()
	}
	return string(text)
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
		for _, name := range R4().Types() {
			found, err := R4().Extract(name, body)
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

// What was half read when the JSON turned out to be none must not show in the next resource.
func TestNothingIsLeftOfJSONThatIsNone(t *testing.T) {
	broken := `{"resourceType":"Observation","status":"final","category":[{"coding":[{"system":"c","code":"a"},{"system":"c","code":"b"}]}],` +
		`"code":{"coding":[{"system":"s","code":"1"},{"system":"s","code":"2"}]},"effectivePeriod":{"start":"2026-01-01","end":"2026-01-02"},` +
		`"valueQuantity":{"value":1},"component":[{"code":{"coding":[{"code":"a"}]},"valueQuantity":{"value":1}}]}`
	next := []byte(`{"resourceType":"Observation","code":{"coding":[{"code":"9"}]},"effectiveDateTime":"2026-03-01"}`)
	want, err := R4().Extract("Observation", next)
	if err != nil {
		t.Fatal(err)
	}
	for end := range broken {
		if _, err := R4().Extract("Observation", []byte(broken[:end])); err == nil {
			t.Fatalf("the first %d bytes were taken", end)
		}
		got, err := R4().Extract("Observation", next)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(want, got, decimals); diff != "" {
			t.Fatalf("behind the first %d bytes: %s", end, diff)
		}
	}
}
