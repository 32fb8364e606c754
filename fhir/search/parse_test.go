package search

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
)

func TestParseReadsEachFormOfAValue(t *testing.T) {
	second := time.Date(2024, 5, 11, 14, 32, 15, 0, time.UTC)
	for _, c := range []struct {
		name, resourceType, query string
		modifier                  string
		want                      []Value
	}{
		// http://hl7.org/fhir/R4/search.html#token
		{"a bare code is of any system", "Observation", `code=8867-4`, "", []Value{{Code: "8867-4", AnySystem: true}}},
		{"system and code", "Observation", `code=http://loinc.org|8867-4`, "", []Value{{System: "http://loinc.org", Code: "8867-4"}}},
		{"a code without a system", "Observation", `code=|8867-4`, "", []Value{{Code: "8867-4"}}},
		{"a system with any code", "Observation", `code=http://loinc.org|`, "", []Value{{System: "http://loinc.org", AnyCode: true}}},
		{"codes compare without case", "Observation", `code=HR`, "", []Value{{Code: "hr", AnySystem: true}}},
		{"systems compare with case", "Observation", `code=HTTP://X|HR`, "", []Value{{System: "HTTP://X", Code: "hr"}}},
		{"identifiers compare with case", "Patient", `identifier=s|aB`, "", []Value{{System: "s", Code: "aB"}}},
		{"alternatives", "Observation", `code=a,s|b`, "", []Value{{Code: "a", AnySystem: true}, {System: "s", Code: "b"}}},
		{"empty alternatives are left away", "Observation", `code=,a,,b,`, "", []Value{{Code: "a", AnySystem: true}, {Code: "b", AnySystem: true}}},
		{"the system of a code element is implicit", "Patient", `gender=http://hl7.org/fhir/administrative-gender|male`, "", []Value{{Code: "male"}}},
		{"all of the implicit system", "Patient", `gender=http://hl7.org/fhir/administrative-gender|`, "", []Value{{AnyCode: true}}},
		{"another system is another system", "Patient", `gender=http://x|male`, "", []Value{{System: "http://x", Code: "male"}}},
		{"a boolean", "Patient", `active=true`, "", []Value{{Code: "true", AnySystem: true}}},
		{"an id", "Patient", `_id=a-1,B.2`, "", []Value{{Code: "a-1", AnySystem: true}, {Code: "B.2", AnySystem: true}}},
		{"prefixes are for ordered values only", "Observation", `code=ge5`, "", []Value{{Code: "ge5", AnySystem: true}}},
		// http://hl7.org/fhir/R4/search.html#escaping
		{"an escaped comma", "Observation", `code=a\,b`, "", []Value{{Code: "a,b", AnySystem: true}}},
		{"an escaped bar", "Observation", `code=a\|b`, "", []Value{{Code: "a|b", AnySystem: true}}},
		{"an escaped bar behind a real one", "Observation", `code=s|a\|b`, "", []Value{{System: "s", Code: "a|b"}}},
		{"an escaped dollar", "Observation", `code=a\$b`, "", []Value{{Code: "a$b", AnySystem: true}}},
		{"an escaped backslash before a comma", "Observation", `code=a\\,b`, "", []Value{{Code: `a\`, AnySystem: true}, {Code: "b", AnySystem: true}}},
		{"a percent-encoded comma separates as well", "Observation", `code=a%2Cb`, "", []Value{{Code: "a", AnySystem: true}, {Code: "b", AnySystem: true}}},
		// http://hl7.org/fhir/R4/search.html#reference
		{"a bare id where one type is possible", "Observation", `patient=abc`, "", []Value{{RefType: "Patient", RefID: "abc"}}},
		{"a bare id where several types are possible", "Observation", `subject=abc`, "", []Value{{RefID: "abc"}}},
		{"type and id", "Observation", `subject=Device/abc`, "", []Value{{RefType: "Device", RefID: "abc"}}},
		{"a type that cannot be meant finds nothing and is no error", "Observation", `patient=Device/abc`, "", []Value{{RefType: "Device", RefID: "abc"}}},
		{"an absolute URL of this server", "Observation", `patient=` + base + `/Patient/abc`, "", []Value{{RefType: "Patient", RefID: "abc"}}},
		{"http or https makes no difference", "Observation", `patient=http://kiln.example/fhir/Patient/abc`, "", []Value{{RefType: "Patient", RefID: "abc"}}},
		{"an absolute URL of another server", "Observation", `patient=https://kiln.example/other/Patient/abc`, "", []Value{{URL: "https://kiln.example/other/Patient/abc"}}},
		{"a URN", "Observation", `subject=urn:uuid:1`, "", []Value{{URL: "urn:uuid:1"}}},
		{"a type as the modifier", "Observation", `subject:Patient=23`, "Patient", []Value{{RefType: "Patient", RefID: "23"}}},
		{"a type as the modifier and again", "Observation", `subject:Patient=Patient/23`, "Patient", []Value{{RefType: "Patient", RefID: "23"}}},
		{"the identifier of a reference", "Observation", `subject:identifier=s|aB`, "identifier", []Value{{System: "s", Code: "aB"}}},
		{"a canonical with its version", "Observation", `subject=http://x.example/a|1.0`, "", []Value{{URL: "http://x.example/a", Version: "1.0"}}},
		{"a string", "Patient", `name=Müller-L`, "", []Value{{String: "muller l"}}},
		{"a string as it is", "Patient", `name:exact=Müller-L\, jr.`, "exact", []Value{{String: "Müller-L, jr."}}},
		{"a string within another", "Patient", `name:contains=Ü`, "contains", []Value{{String: "u"}}},
		{"a URI", "ValueSet", `url=http://x.example/a|1`, "", []Value{{String: "http://x.example/a|1"}}},
		{"a URI above others", "ValueSet", `url:below=http://x.example`, "below", []Value{{String: "http://x.example"}}},
		{"a number without a unit", "RiskAssessment", `probability=gt0.8`, "", []Value{{Prefix: GT, Number: exactly("0.8"), Low: exactly("0.75"), High: exactly("0.85")}}},
		{"a number in e-notation has the digits before the e", "RiskAssessment", `probability=1e2`, "", []Value{{Prefix: EQ, Number: exactly("100"), Low: exactly("50"), High: exactly("150")}}},
		{"a composite", "Observation", `code-value-string=s|a\$b$C\,d`, "", []Value{{Parts: []Value{{Text: `s|a\$b`, System: "s", Code: "a$b"}, {Text: `C\,d`, String: "c d"}}}}},
		{"a composite of codes with an implied system", "DocumentReference", `relationship=http://hl7.org/fhir/document-relationship-type|appends$DocumentReference/a`, "",
			[]Value{{Parts: []Value{{Text: "http://hl7.org/fhir/document-relationship-type|appends", Code: "appends"}, {Text: "DocumentReference/a", RefType: "DocumentReference", RefID: "a"}}}}},
		{"a type as the modifier of a reference to anything", "Observation", `focus:Device=23`, "Device", []Value{{RefType: "Device", RefID: "23"}}},
		{"the text of a code", "Observation", `code:text=Heart-Rate`, "text", []Value{{String: "heart rate"}}},
		{"an identifier with its type", "Patient", `identifier:of-type=http://x.example/types|MR|a\|B`, "of-type", []Value{{System: "http://x.example/types", Code: "MR|a|B"}}},
		{"a value set", "Patient", `gender:in=http://hl7.org/fhir/ValueSet/administrative-gender`, "in", []Value{{Set: &CodeSet{URL: "http://hl7.org/fhir/ValueSet/administrative-gender"}}}},
		{"codes below another", "Observation", `interpretation:below=A`, "below", []Value{{Set: &CodeSet{System: "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", Code: "A", Modifier: "below"}}}},
		{"codes above one of a system", "Observation", `code:above=http://terminology.hl7.org/CodeSystem/v3-ActCode|AMB`, "above", []Value{{Set: &CodeSet{System: "http://terminology.hl7.org/CodeSystem/v3-ActCode", Code: "AMB", Modifier: "above"}}}},
		// http://hl7.org/fhir/R4/search.html#modifiers
		{"missing", "Observation", `code:missing=true`, "missing", []Value{{Missing: true}}},
		{"not missing", "Observation", `value-quantity:missing=false`, "missing", []Value{{}}},
		{"not", "Patient", `gender:not=male,female`, "not", []Value{{Code: "male", AnySystem: true}, {Code: "female", AnySystem: true}}},
		// http://hl7.org/fhir/R4/search.html#date
		{"a date", "Observation", `date=2024-05`, "", []Value{{Prefix: EQ, From: day(2024, 5, 1), To: day(2024, 6, 1)}}},
		{"a date with a prefix", "Observation", `date=sa2024-05`, "", []Value{{Prefix: SA, From: day(2024, 5, 1), To: day(2024, 6, 1)}}},
		{"a time with an encoded plus", "Observation", `date=2024-05-11T16:32:15%2B02:00`, "", []Value{{Prefix: EQ, From: second, To: second.Add(time.Second)}}},
		{"a time with a plus that became a blank", "Observation", `date=ge2024-05-11T16:32:15+02:00`, "", []Value{{Prefix: GE, From: second, To: second.Add(time.Second)}}},
		{"a time with escaped colons", "Observation", `date=2024-05-11T14%3A32%3A15Z`, "", []Value{{Prefix: EQ, From: second, To: second.Add(time.Second)}}},
		{"a time without seconds", "Observation", `date=2024-05-11T14:32Z`, "", []Value{{Prefix: EQ, From: second.Add(-15 * time.Second), To: second.Add(45 * time.Second)}}},
		{"around a date is a tenth of the time since", "Observation", `date=ap2024-05-22`, "",
			[]Value{{Prefix: AP, From: time.Date(2024, 5, 21, 1, 12, 0, 0, time.UTC), To: time.Date(2024, 5, 23, 22, 48, 0, 0, time.UTC)}}},
		{"around now is the date itself", "Observation", `date=ap2024-06-01`, "", []Value{{Prefix: AP, From: day(2024, 6, 1), To: day(2024, 6, 2)}}},
		{"around a date long ago is more than a Duration holds", "Observation", `date=ap0024-01-01`, "",
			[]Value{{Prefix: AP, From: time.Date(-177, 12, 17, 8, 24, 0, 0, time.UTC), To: time.Date(224, 1, 17, 15, 36, 0, 0, time.UTC)}}},
		// http://hl7.org/fhir/R4/search.html#quantity
		{"a number", "Observation", `value-quantity=5.4`, "", []Value{{Prefix: EQ, AnySystem: true, AnyCode: true, Number: exactly("5.4"), Low: exactly("5.35"), High: exactly("5.45")}}},
		{"a number with bars and nothing else", "Observation", `value-quantity=5.4||`, "", []Value{{Prefix: EQ, AnySystem: true, AnyCode: true, Number: exactly("5.4"), Low: exactly("5.35"), High: exactly("5.45")}}},
		{"a number with system and code", "Observation", `value-quantity=lt5|http://unitsofmeasure.org|mg`, "",
			[]Value{{Prefix: LT, System: "http://unitsofmeasure.org", Code: "mg", Number: exactly("5"), Low: exactly("4.5"), High: exactly("5.5")}}},
		{"units compare with case", "Observation", `value-quantity=5||Mg`, "", []Value{{Prefix: EQ, AnySystem: true, Code: "Mg", Number: exactly("5"), Low: exactly("4.5"), High: exactly("5.5")}}},
		{"a number with a system", "Observation", `value-quantity=5|s`, "", []Value{{Prefix: EQ, System: "s", AnyCode: true, Number: exactly("5"), Low: exactly("4.5"), High: exactly("5.5")}}},
		{"a number with a system and a bar", "Observation", `value-quantity=5|s|`, "", []Value{{Prefix: EQ, System: "s", AnyCode: true, Number: exactly("5"), Low: exactly("4.5"), High: exactly("5.5")}}},
		{"a negative number in e-notation", "Observation", `value-quantity=ge-5e1`, "", []Value{{Prefix: GE, AnySystem: true, AnyCode: true, Number: exactly("-50"), Low: exactly("-55"), High: exactly("-45")}}},
		{"around a number is a tenth of it", "Observation", `value-quantity=ap-100`, "", []Value{{Prefix: AP, AnySystem: true, AnyCode: true, Number: exactly("-100"), Low: exactly("-110"), High: exactly("-90")}}},
		{"around a number is never less than its precision", "Observation", `value-quantity=ap2`, "", []Value{{Prefix: AP, AnySystem: true, AnyCode: true, Number: exactly("2"), Low: exactly("1.5"), High: exactly("2.5")}}},
	} {
		q, issues, err := tryParse(c.resourceType, c.query, Strict)
		if err != nil || len(issues) > 0 {
			t.Errorf("%s: %v %v", c.name, err, issues)
			continue
		}
		if len(q.Where) != 1 || q.Where[0].Modifier != c.modifier {
			t.Errorf("%s: %+v", c.name, q.Where)
			continue
		}
		got := q.Where[0].Values
		for i := range got {
			got[i].Text, got[i].Unit = "", nil
		}
		if diff := gocmp.Diff(c.want, got, decimals); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestParseRefusesWhatItCannotAnswerRightly(t *testing.T) {
	for _, c := range []struct{ name, resourceType, query, want string }{
		{"a type that is none", "Nothing", "_id=1", "resources of this type cannot be searched; fix: search for one of Account, "},
		{"a modifier that tokens do not have", "Observation", "code:exact=x", "code: code has no such modifier; fix: use code without a modifier or with one of :missing, :not, :text, :in, :not-in"},
		{"a type of identifier where there are none", "Observation", "code:of-type=a|b|c", "code: code has no such modifier"},
		{"a text of what has none", "Patient", "active:text=x", "active: active has no such modifier; fix: use active without a modifier or with one of :missing, :not"},
		{"codes below one of several systems", "Observation", "code:below=x", "code: a value of code with :below names a code that several code systems have; fix: send system|code, with one of the systems http://terminology.hl7.org/CodeSystem/v3-ActCode, http"},
		{"codes below one that no system has", "Observation", "interpretation:below=nothing", "interpretation: a value of interpretation with :below names a code that no code system with a hierarchy has, as far as they are known here; fix: send system|code, with one of the systems http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"},
		{"codes above one of a system that is not nested", "Observation", "interpretation:above=http://loinc.org|8867-4", "interpretation: a value of interpretation with :above is of a code system of which no hierarchy is known here; fix: send the codes themselves, or a code of one of http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"},
		{"codes below one without a system", "Observation", "interpretation:below=|A", "interpretation: a value of interpretation with :below is no code of a system; fix: send system|code"},
		{"codes below a system", "Observation", "interpretation:below=http://loinc.org|", "interpretation: a value of interpretation with :below is no code of a system"},
		{"codes below one of another system than the one that is implied", "Observation", "status:below=http://hl7.org/fhir/goal-status|active", "status: a value of status with :below is of a code system of which no hierarchy is known here; fix: send the codes themselves, or a code of one of http://hl7.org/fhir/observation-status"},
		{"codes below one of a system without a hierarchy", "Patient", "gender:below=male", "gender: gender cannot be searched up or down a hierarchy of codes: its code system has none; fix: use gender without a modifier"},
		{"a modifier, also without a value", "Observation", "code:exact=", "code: code has no such modifier"},
		{"a value set without a URL", "Observation", "code:in=x", "code: a value of code is no absolute URL of a value set; fix: send the canonical URL of a value set that FHIR R4 defines"},
		{"a value set of this server", "Observation", "code:in=ValueSet/x", "code: a value of code is no absolute URL of a value set"},
		{"an unknown value set", "Observation", "code:not-in=http://x.example/vs", "code: a value of code names a value set that is not known here; fix: send the canonical URL of a value set that FHIR R4 defines, or the codes themselves"},
		{"a value set whose codes are not known", "Observation", "code:in=http://hl7.org/fhir/ValueSet/body-site", "code: a value of code names a value set of which not all codes are known here; fix: send the codes themselves"},
		{"an identifier with half its type", "Patient", "identifier:of-type=a|b", "identifier: a value of identifier with :of-type is not complete; fix: send system|code|value"},
		{"an identifier without its value", "Patient", "identifier:of-type=a|b|", "identifier: a value of identifier with :of-type is not complete"},
		{"an include of what is not searched", "Observation", "_include=Device:patient", "_include: _include names a source that is not searched for, which :iterate would do; fix: send Source:parameter or Source:parameter:Target"},
		{"an include of no reference", "Observation", "_include=Observation:code", "_include: _include names no reference parameter of its source"},
		{"an include of no type", "Observation", "_include=Nothing:patient", "_include: _include names a source that is no resource type"},
		{"an include to no type", "Observation", "_include=Observation:subject:Nothing", "_include: _include names a target that is no resource type"},
		{"an include to a type that cannot be", "Observation", "_include=Observation:device:Patient", "_include: _include names a target that the parameter cannot refer to"},
		{"a reverse include that leads elsewhere", "Patient", "_revinclude=Observation:device", "_revinclude: _revinclude names a parameter or a target that does not lead to what is searched for"},
		{"a reverse include of everything", "Patient", "_revinclude=*", "_revinclude: _revinclude has another form"},
		{"an include with a modifier of other versions", "Patient", "_include:recurse=x", "_include: _include has no such modifier; fix: use _include without a modifier or with :iterate"},
		{"a filter", "Patient", "_filter=x", "_filter: filter expressions are not supported; fix: search with other parameters of the type"},
		{"a search of the narrative", "Patient", "_text=x", "_text: searches of the narrative are not supported"},
		{"a search of everything", "Patient", "_content:x=x", "_content: searches of the whole text of a resource are not supported"},
		{"a latitude alone", "Location", "near=1", "near: a value of near is no position; fix: send latitude|longitude"},
		{"too many parts of a position", "Location", "near=1|2|3|km|5", "near: a value of near is no position"},
		{"a latitude beyond the pole", "Location", "near=90.001|2", "near: a value of near has a latitude that is no number from -90 to 90; fix: send decimal degrees"},
		{"a latitude that is no number", "Location", "near=NaN|2", "near: a value of near has a latitude that is no number"},
		{"a longitude beyond the date line", "Location", "near=1|-180.1", "near: a value of near has a longitude that is no number from -180 to 180"},
		{"no longitude", "Location", "near=1|", "near: a value of near has a longitude that is no number"},
		{"a distance below zero", "Location", "near=1|2|-1", "near: a value of near has a distance that is no number from 0 on; fix: send a number"},
		{"an infinite distance", "Location", "near=1|2|Inf", "near: a value of near has a distance that is no number"},
		{"a distance that is too large for a number", "Location", "near=1|2|1e999", "near: a value of near has a distance that is no number"},
		{"a distance in other units", "Location", "near=1|2|3|ft", "near: a value of near has a distance in units that are not known here; fix: send km, m, mi or [mi_i]"},
		{"a modifier of a position", "Location", "near:exact=1|2", "near: near has no such modifier; fix: use near without a modifier or with one of :missing"},
		{"an order by distance", "Location", "_sort=near", "_sort: Location cannot be sorted by this"},
		{"a list", "Patient", "_list=1", "_list: lists are not supported here"},
		{"a type of a search for a type", "Patient", "_type=Device", "_type: a search for one type cannot be narrowed by type"},
		{"elements that cannot be", "Patient", "_elements=a-b", "_elements: _elements has a name that no element has; fix: send names of elements of the type"},
		{"a summary that is none", "Patient", "_summary=all", "_summary: _summary has no such value; fix: send true, text, data, count or false"},
		{"a chain through what is no reference", "Observation", "code.text=x", "code.text: only a reference can be followed, which the parameter is not; fix: search without a chain"},
		{"a chain to nowhere", "Observation", "patient.nonsense=x", "patient.nonsense: no type that the reference may be to has the next parameter of the chain; fix: use a parameter of one of Patient"},
		{"a chain with a type to nowhere", "Observation", "subject:Patient.nonsense=x", "subject:Patient.nonsense: no type that the reference may be to has the next parameter of the chain"},
		{"a chain to a type that cannot be", "Observation", "device:Patient.gender=male", "device:Patient.gender: the reference cannot be to a resource of the type in the chain; fix: name one of Device, DeviceMetric"},
		{"a chain to no type", "Observation", "subject:Nothing.gender=male", "subject:Nothing.gender: the chain names no resource type"},
		{"a chain with a modifier", "Observation", "subject:missing.gender=male", "subject:missing.gender: the chain names no resource type"},
		{"a modifier at the end of a chain", "Observation", "patient.gender:exact=male", "gender: gender has no such modifier"},
		{"a value at the end of a chain", "Observation", "patient.birthdate=x", "birthdate: a value of birthdate is no date"},
		{"a reverse chain that ends early", "Patient", "_has:Observation:patient=x", "_has:Observation:patient: _has is not complete; fix: send _has:Type:reference:parameter, as in _has:Observation:patient:code"},
		{"a reverse chain that does not begin", "Patient", "_has=x", "_has: Patient has no search parameter of this name"},
		{"a reverse chain from no type", "Patient", "_has:Nothing:patient:code=x", "_has:Nothing:patient:code: _has names no reference parameter of its type"},
		{"a reverse chain by no reference", "Patient", "_has:Observation:code:code=x", "_has:Observation:code:code: _has names no reference parameter of its type"},
		{"a reverse chain to another type", "Patient", "_has:Observation:device:code=x", "_has:Observation:device:code: _has names a reference that cannot be to what is searched for; fix: use a reference that may be to a Patient"},
		{"a reverse chain to nowhere", "Patient", "_has:Observation:patient:nonsense=x", "nonsense: Observation has no search parameter of this name"},
		{"too many links", "Patient", strings.Repeat("_has:Observation:patient:patient.", MaxDepth) + "gender=male", "the chain has too many links; fix: search in several steps"},
		{"punctuation", "Patient", "name=--", "name: a value of name has neither letters nor digits; fix: send more of the text, or use :exact"},
		{"a number that is none", "RiskAssessment", "probability=1|x", "probability: a value of probability is no number; fix: send a number, and before it eq"},
		{"half a composite", "Observation", "code-value-quantity=a", "code-value-quantity: a value of code-value-quantity has not one part for each component; fix: send a value for each of code, value-quantity, with $ between them"},
		{"more than a composite", "Observation", "code-value-quantity=a$1$2", "code-value-quantity: a value of code-value-quantity has not one part for each component"},
		{"a composite with an empty part", "Observation", "code-value-quantity=$1", "code-value-quantity: a value of code-value-quantity has not one part for each component"},
		{"a composite with a wrong part", "Observation", "code-value-quantity=a$b", "code-value-quantity: a value of code-value-quantity has a part that its component does not take"},
		{"a composite with a modifier", "Observation", "code-value-quantity:missing=true", "code-value-quantity: code-value-quantity has no such modifier; fix: use code-value-quantity without a modifier"},
		{"a chain through a canonical URL to what has none", "Measure", "depends-on:Account.name=x", "depends-on:Account.name: the reference is a canonical URL, which resources of the type in the chain do not have; fix: name a type that has one"},
		{"a chain through a canonical URL to a device", "Measure", "depends-on:Device.url=http://x.example", "depends-on:Device.url: the reference is a canonical URL, which resources"},
		{"a reverse chain by a canonical URL", "Measure", "_has:MeasureReport:measure:status=x", "_has:MeasureReport:measure:status: _has names a reference that is a canonical URL"},
		{"a chain through a reference to anything", "Observation", "focus._id=x", "the query has more than 50 conditions; fix: join alternatives of one parameter with commas, and name the type in a chain"},
		{"too many sort keys", "Observation", "_sort=status,code,category,date,value-date,value-string,subject,device,encounter", "_sort: _sort has more than 8 keys; fix: leave out the last ones"},
		{"a modifier that nothing has", "Observation", "code:=x", "code: code has no such modifier"},
		{"not on a date", "Observation", "date:not=2024", "date: date has no such modifier; fix: use date without a modifier or with one of :missing"},
		{"not on a reference", "Observation", "subject:not=Patient/1", "subject: subject has no such modifier; fix: use subject without a modifier or with one of :missing, :identifier, :Group, :Device, :Patient, :Location"},
		{"a type that the reference cannot have", "Observation", "subject:Practitioner=1", "subject: subject has no such modifier"},
		{"a type against its modifier", "Observation", "subject:Patient=Device/1", "subject: a value of subject is of another type than its modifier says; fix: send an id, Type/id or an absolute URL"},
		{"another server with a type as the modifier", "Observation", "subject:Patient=http://x.example/Patient/1", "subject: a value of subject is of another server, where a type as the modifier says nothing"},
		{"a named query", "Patient", "_query=x", "_query: named queries are not supported"},
		{"missing with something else than true and false", "Patient", "gender:missing=yes", "gender: a value of gender with :missing is neither true nor false; fix: send true or false"},
		{"missing twice", "Patient", "gender:missing=true,false", "gender: :missing takes one value; fix: send true or false"},
		{"three parts in a token", "Observation", "code=a|b|c", `code: a value of code is no token; fix: send code, system|code, |code or system|, with \| for a bar within one of them`},
		{"a bar alone", "Observation", "code=|", "code: a value of code is no token"},
		{"a backslash before a letter", "Observation", `code=a\b`, `code: a value of code has a backslash before something else than , $ | or a backslash; fix: write a backslash as \\`},
		{"a backslash at the end", "Observation", `code=a\`, `code: a value of code has a backslash before something else`},
		{"an id with its type", "Patient", "_id=Patient/1", "_id: a value of _id is no resource id; fix: send the id alone, without the type: 1 to 64 letters, digits, - and ."},
		{"an id with a system", "Patient", "_id=s|1", "_id: a value of _id is no resource id"},
		{"a boolean that is none", "Patient", "active=yes", "active: a value of active is neither true nor false; fix: send true or false"},
		{"a bar in a boolean", "Patient", "active=|true", "active: a value of active is neither true nor false"},
		{"a reference with a version", "Observation", "subject=Patient/1/_history/2", "subject: a value of subject names a version, which cannot be searched for; fix: send an id, Type/id or an absolute URL"},
		{"a contained resource", "Observation", "subject=%23p", "subject: a value of subject is no reference"},
		{"a search as a reference", "Observation", "subject=Patient?identifier=1", "subject: a value of subject is no reference"},
		{"no date", "Observation", "date=tomorrow", "date: a value of date is no date; fix: send YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm[:ss[.fff]] with Z or ±hh:mm (+ is %2B in a URL), and before it eq, ne, gt, lt, ge, le, sa, eb, ap or nothing"},
		{"a prefix that is none", "Observation", "date=xx2024", "date: a value of date is no date"},
		{"a prefix in capitals", "Observation", "date=GE2024", "date: a value of date is no date"},
		{"a prefix without a date", "Observation", "date=ge", "date: a value of date is no date"},
		{"a blank where no zone is", "Observation", "date=2024-05-11+16:32", "date: a value of date is no date"},
		{"no quantity", "Observation", "value-quantity=high", "value-quantity: a value of value-quantity is no quantity; fix: send a number alone, number||unit or number|system|code"},
		{"four parts in a quantity", "Observation", "value-quantity=1|2|3|4", "value-quantity: a value of value-quantity is no quantity"},
		{"a number that fills memory", "Observation", "value-quantity=1e999999", "value-quantity: a value of value-quantity is no quantity"},
		{"sorting by what cannot be sorted by", "Observation", "_sort=code-value-quantity", "_sort: Observation cannot be sorted by this; fix: sort by _id, _lastUpdated, _profile"},
		{"sorting by what another type has", "Patient", "_sort=date", "_sort: Patient cannot be sorted by this; fix: sort by _id, _lastUpdated, _profile"},
		{"a count that is no number", "Patient", "_count=ten", "_count: _count is no number; fix: send digits only"},
		{"a negative count", "Patient", "_count=-1", "_count: _count is no number"},
		{"two counts", "Patient", "_count=1&_count=2", "_count: _count is given twice; fix: send it once"},
		{"a total that is none", "Patient", "_total=yes", "_total: _total has no such value; fix: send none, estimate or accurate"},
		{"a value over the limit", "Observation", "code=" + strings.Repeat("x", MaxValueLength+1), "code: a value of code has more than 1024 bytes"},
		{"too many alternatives", "Observation", "code=" + strings.Repeat("x,", MaxValues+1), "code: code has more than 200 alternatives; fix: search in several steps"},
		{"too many conditions", "Observation", strings.Repeat("code=x&", MaxClauses+1), "the query has more than 50 conditions; fix: join alternatives of one parameter with commas"},
		{"too many parameters", "Observation", strings.Repeat("x=x&", maxPairs+1), "the query has more than 100 parameters"},
		{"a percent sign that encodes nothing", "Observation", "_id=1&code=5%", "parameter 2 of the query is not percent-encoded correctly; fix: write a percent sign as %25"},
		{"a cursor that is none", "Observation", "_cursor=xyz", "_cursor: the cursor is not one of this server; fix: follow the links of the first page without changing them"},
	} {
		q, issues, err := tryParse(c.resourceType, c.query, Lenient)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant %s", c.name, err, c.want)
			continue
		}
		if _, ok := errors.AsType[*fhir.Error](err); !ok || issues != nil || !gocmp.Equal(q, Query{}) {
			t.Errorf("%s: not an *fhir.Error alone", c.name)
		}
	}
}

func TestAllThatIsWrongIsToldAtOnce(t *testing.T) {
	_, _, err := tryParse("Observation", "date=x&code:above=1&_sort=nothing&nonsense=1", Strict)
	if got := len(fhir.IssuesOf(err)); got != 4 {
		t.Errorf("%d issues, want 4: %v", got, fhir.IssuesOf(err))
	}
}

// http://hl7.org/fhir/R4/search.html#errors
func TestUnknownParametersAreIgnoredOrErrors(t *testing.T) {
	q, issues, err := tryParse("Patient", "gender=male&colour=blue", Lenient)
	if err != nil || len(q.Where) != 1 || q.Encode() != "gender=male&_count=50" {
		t.Errorf("lenient: %+v %v", q, err)
	}
	want := []fhir.Issue{{Severity: fhir.Warning, Code: fhir.CodeNotSupported, Path: "colour", Message: "Patient has no search parameter of this name: it was ignored",
		Spec: "http://hl7.org/fhir/R4/search.html#errors"}}
	if len(issues) == 1 && strings.HasPrefix(issues[0].Fix, "use one of _id, _lastUpdated, ") {
		issues[0].Fix = ""
	}
	if diff := gocmp.Diff(want, issues); diff != "" {
		t.Errorf("lenient (-want +got):\n%s", diff)
	}
	if _, _, err := tryParse("Patient", "gender=male&colour=blue", Strict); err == nil || !strings.HasPrefix(err.Error(), "colour: Patient has no search parameter of this name; fix: use one of") {
		t.Errorf("strict: %v", err)
	}
	if _, _, err := tryParse("Patient", "_format=json&_pretty=true", Strict); err != nil {
		t.Errorf("what REST handles is not unknown: %v", err)
	}
}

func TestParametersWithoutAValueAreIgnored(t *testing.T) {
	q, issues, err := tryParse("Observation", "code=&date&_sort=&_count=&_total=&_summary=&code=,&_id=&&_cursor=", Strict)
	if err != nil || len(issues) > 0 || len(q.Where) > 0 || q.Encode() != "_count=50" {
		t.Errorf("%+v %v %v", q, issues, err)
	}
}

func TestNoErrorRepeatsAValue(t *testing.T) {
	const secret = "Zebulon"
	names := []string{"nonsense", "_sort", "_count", "_total", "_summary", "_query", "_has:x:y:z", "patient.name", CursorParam}
	for _, p := range R4().Of("Observation") {
		for _, modifier := range []string{"", ":missing", ":not", ":identifier", ":Patient", ":text"} {
			names = append(names, p.Name+modifier)
		}
	}
	refused := 0
	for _, name := range names {
		for _, value := range []string{secret, secret + "|x|y", "Patient/" + secret + "/_history/1", `\` + secret, strings.Repeat(secret, 200)} {
			_, issues, err := R4().Parse("Observation", []Pair{{name, value}}, Options{Handling: Strict})
			if err != nil {
				refused++
				issues = fhir.IssuesOf(err)
			}
			if strings.Contains(fmt.Sprint(issues), secret) {
				t.Errorf("%s: %v", name, issues)
			}
		}
	}
	if refused < 200 {
		t.Errorf("only %d errors were looked at", refused)
	}
	if got := Shown("John Smith"); got != "" {
		t.Errorf("what is no name of a parameter is shown: %s", got)
	}
}

// http://hl7.org/fhir/R4/search.html#sort, #count, #total, #summary
func TestResultParameters(t *testing.T) {
	id := Sort{Param: "_id", Type: TokenParam}
	newest := []Sort{{Param: "date", Type: DateParam, Descending: true}, id}
	for _, c := range []struct {
		name, query string
		sort        []Sort
		count       int
		total       Total
		encoded     string
	}{
		{"none", "", newest, 50, TotalNone, "_count=50"},
		{"by date", "_sort=date", []Sort{{Param: "date", Type: DateParam}, id}, 50, TotalNone, "_sort=date&_count=50"},
		{"newest first", "_sort=-date", []Sort{{Param: "date", Type: DateParam, Descending: true}, id}, 50, TotalNone, "_sort=-date&_count=50"},
		{"several keys", "_sort=-date,_lastUpdated,-_id", []Sort{{Param: "date", Type: DateParam, Descending: true}, {Param: "_lastUpdated", Type: DateParam}, {Param: "_id", Type: TokenParam, Descending: true}}, 50, TotalNone, "_sort=-date%2C_lastUpdated%2C-_id&_count=50"},
		{"keys in several parameters", "_sort=-date&_sort=_lastUpdated", []Sort{{Param: "date", Type: DateParam, Descending: true}, {Param: "_lastUpdated", Type: DateParam}, id}, 50, TotalNone, "_sort=-date%2C_lastUpdated&_count=50"},
		{"a key that comes again", "_sort=date,-date", []Sort{{Param: "date", Type: DateParam}, id}, 50, TotalNone, "_sort=date&_count=50"},
		{"nothing can follow the id", "_sort=_id,date", []Sort{id}, 50, TotalNone, "_sort=_id&_count=50"},
		{"a count", "_count=7", newest, 7, TotalNone, "_count=7"},
		{"a count over the limit", "_count=1001", newest, 1000, TotalNone, "_count=1000"},
		{"a count that no integer holds", "_count=99999999999999999999", newest, 1000, TotalNone, "_count=1000"},
		{"no resources", "_count=0", newest, 0, TotalAccurate, "_count=0"},
		{"no resources, whatever is said of the total", "_count=0&_total=none", newest, 0, TotalAccurate, "_count=0"},
		{"the total alone", "_summary=count", newest, 0, TotalAccurate, "_count=0"},
		{"the total alone, whatever is said of the count", "_summary=count&_count=5", newest, 0, TotalAccurate, "_count=0"},
		{"no summary", "_summary=false", newest, 50, TotalNone, "_count=50"},
		{"a summary", "_summary=text", newest, 50, TotalNone, "_count=50&_summary=text"},
		{"elements", "_elements=code,,status,code", newest, 50, TotalNone, "_count=50&_elements=code%2Cstatus"},
		{"includes", "_include=*&_include=Observation:subject:Patient&_include:iterate=Device:patient&_include=*&_revinclude:iterate=Observation:device", newest, 50, TotalNone,
			"_count=50&_include=Observation%3A%2A&_include=Observation%3Asubject%3APatient&_include%3Aiterate=Device%3Apatient&_revinclude%3Aiterate=Observation%3Adevice"},
		{"by a token, a string, a number and a reference", "_sort=status,-value-string,value-quantity,subject", []Sort{{Param: "status", Type: TokenParam},
			{Param: "value-string", Type: StringParam, Descending: true}, {Param: "value-quantity", Type: QuantityParam}, {Param: "subject", Type: ReferenceParam}, id},
			50, TotalNone, "_sort=status%2C-value-string%2Cvalue-quantity%2Csubject&_count=50"},
		{"a total", "_total=accurate", newest, 50, TotalAccurate, "_count=50&_total=accurate"},
		{"an estimate", "_total=estimate", newest, 50, TotalEstimate, "_count=50&_total=estimate"},
	} {
		q, _, err := tryParse("Observation", c.query, Strict)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !slices.Equal(q.Sort, c.sort) || q.Count != c.count || q.Total != c.total || q.Encode() != c.encoded {
			t.Errorf("%s: %v %d %s %s", c.name, q.Sort, q.Count, q.Total, q.Encode())
		}
	}
}

func TestWithoutSortTheNewestComeFirstWhereThereIsADate(t *testing.T) {
	for of, want := range map[string]bool{"Observation": true, "Encounter": true, "Patient": false, "Device": false} {
		q := parse(t, of, "")
		if got := q.Sort[0].Param == "date" && q.Sort[0].Descending; got != want || !q.DefaultOrder || q.Encode() != "_count=50" {
			t.Errorf("%s: %+v, as %s", of, q.Sort, q.Encode())
		}
	}
	if q := parse(t, "Observation", "_sort=-date"); q.DefaultOrder || q.Encode() != "_sort=-date&_count=50" {
		t.Errorf("what was asked for is %s", q.Encode())
	}
}

// http://hl7.org/fhir/R4/search.html#conformance
func TestEncodeSaysWhatWasUsed(t *testing.T) {
	q := parse(t, "Observation", "nonsense=1&subject:Patient=1&code=s|a%5C%2Cb,c&date=ge2024-05-11T16:32:15+02:00&value-quantity=&_count=5000&_format=json")
	want := `subject%3APatient=1&code=s%7Ca%5C%2Cb%2Cc&date=ge2024-05-11T16%3A32%3A15%2B02%3A00&_count=1000`
	if got := q.Encode(); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestPairsKeepOrderAndRepetition(t *testing.T) {
	got, err := Pairs("b=1&a=2&&b=3%2B4+5&c&=6;7")
	want := []Pair{{"b", "1"}, {"a", "2"}, {"b", "3+4 5"}, {"c", ""}, {"", "6;7"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Pairs = %v, %v, want %v", got, err, want)
	}
}

// http://hl7.org/fhir/R4/search.html#combining
func TestRepeatedParametersAreSeparateConditions(t *testing.T) {
	if q := parse(t, "Observation", "date=ge2024&date=lt2025"); len(q.Where) != 2 {
		t.Errorf("%+v", q.Where)
	}
}

// queries generates searches of every kind.
func queries() *rapid.Generator[[]Pair] {
	names := map[string][]string{
		"": {"code", "code:not", "category:text", "subject", "subject:Patient", "patient:identifier", "status", "value-string", "value-string:contains", "value-string:exact", "value-concept",
			"subject.identifier", "subject:Patient.organization.name", "patient._has:Observation:patient:code", "_has:Observation:derived-from:status", "_id", "_tag", "_profile:below", "identifier"},
		"date":      {"date", "_lastUpdated", "value-date", "patient.birthdate", "_has:Observation:has-member:date"},
		"quantity":  {"value-quantity", "combo-value-quantity", "_has:Observation:has-member:value-quantity"},
		"composite": {"code-value-quantity", "component-code-value-quantity", "subject:Patient._has:Observation:patient:code-value-quantity"},
		"missing":   {"code:missing", "date:missing", "value-string:missing", "subject:missing", "patient.gender:missing"},
		"sort":      {"_sort"},
	}
	values := map[string][]string{
		"":          {"a", "B", "s|a", "|a", `a\,b`, `a\|b\\`, "x,y,,z"},
		"date":      {"2024", "ge2024-05-01", "ap2024-05-01T10:00:00 02:00", "lt2024-05,sa2025"},
		"quantity":  {"5", "gt5.40e-3||mg", "ne5|http://unitsofmeasure.org|mg", "ap100|s|"},
		"composite": {"a$5", "s|a$gt5|http://unitsofmeasure.org|mg", `a\$b$5,c$6`},
		"missing":   {"true", "false"},
		"sort":      {"date", "-date,status", "_id", "-_lastUpdated,-_id", "value-quantity,-subject,code"},
	}
	kinds := slices.Sorted(maps.Keys(names))
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Pair {
		kind := rapid.SampledFrom(kinds).Draw(t, "kind")
		name, value := rapid.SampledFrom(names[kind]).Draw(t, "name"), rapid.SampledFrom(values[kind]).Draw(t, "value")
		if name == "_id" || strings.HasPrefix(name, "subject") || strings.HasSuffix(name, "status") {
			value = strings.Trim(value, "|\\,")
			if strings.ContainsAny(value, `|\`) && !strings.HasSuffix(name, "identifier") {
				value = "a"
			}
		}
		return Pair{name, value}
	}), 0, 6)
}

func TestParseOfEncodeIsTheQuery(t *testing.T) {
	read := 0
	rapid.Check(t, func(t *rapid.T) {
		pairs := queries().Draw(t, "query")
		opt := Options{Handling: Strict, BaseURL: base, Now: now}
		q, _, err := R4().Parse("Observation", pairs, opt)
		if err != nil {
			return
		}
		read++
		link, err := Pairs(q.Encode())
		if err != nil {
			t.Fatal(err)
		}
		again, issues, err := R4().Parse("Observation", link, opt)
		if err != nil || len(issues) > 0 {
			t.Fatalf("%s: %v %v", q.Encode(), err, issues)
		}
		if diff := gocmp.Diff(q, again, decimals); diff != "" || again.Encode() != q.Encode() {
			t.Fatalf("%s (-first +again):\n%s", q.Encode(), diff)
		}
	})
	if read == 0 {
		t.Error("no query could be read")
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"code=http://loinc.org|8867-4,|b&date=ge2024-05&_sort=-date&_count=5", `code=a\,b\\,\|c|d`, "subject:Patient=1&patient=Patient/2", "subject:identifier=s|v&device=urn:uuid:1",
		"value-quantity=ap5.40e-3|s|mg&value-quantity=ne-0||u", "code:not=x&status:missing=true&_id=a,b", "_summary=count&_total=accurate", "date=ap2024-01-01T10:00:00+02:00", "%zz=1", "_cursor=AQ", "date=2016-12-31T23:59:60Z",
	} {
		f.Add(seed, "Observation")
	}
	for _, seed := range []string{
		"birthdate=lt1970&active=true&gender:not=male", "name=m%C3%BCl&family:exact=x&given:contains=y&_sort=-family,birthdate", "organization.name=x&general-practitioner:Practitioner.family=y",
		"_has:Observation:patient:_has:Provenance:target:agent=x", "_include=*&_revinclude=Observation:subject:Patient&_include:iterate=Device:patient", "_summary=text&_elements=id,name", "identifier:of-type=a|b|c&identifier:text=x",
	} {
		f.Add(seed, "Patient")
	}
	f.Add("code-value-quantity=s|a$gt5|http://unitsofmeasure.org|mg,b$6&subject.identifier=x&interpretation:in=http://hl7.org/fhir/ValueSet/observation-interpretation", "Observation")
	f.Add("probability=ap0.5&condition.code=x", "RiskAssessment")
	f.Add("url:below=http://x&url:above=y", "ValueSet")
	f.Fuzz(func(t *testing.T, query, resourceType string) {
		q, _, err := tryParse(resourceType, query, Lenient)
		if err != nil {
			return
		}
		if n := len(q.Sort); n == 0 || q.Sort[n-1].Param != "_id" || q.Count < 0 || q.Count > MaxCount || len(q.Where) > MaxClauses {
			t.Errorf("%+v", q)
		}
		again, issues, err := tryParse(resourceType, q.Encode(), Strict)
		if err != nil || len(issues) > 0 {
			t.Fatalf("%s: %v %v", q.Encode(), err, issues)
		}
		if diff := gocmp.Diff(q, again, decimals); diff != "" {
			t.Errorf("%s (-first +again):\n%s", q.Encode(), diff)
		}
		_, found := terms(t, heartRate)
		q.Matches(fhir.Key{Type: resourceType, ID: "x"}, now, &found)
	})
}
