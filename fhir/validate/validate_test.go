package validate

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/kiln-health/kiln/fhir"
)

// fault is one issue that a body must have, and the only error.
type fault struct {
	about    string
	body     string
	code     string
	path     string
	message  string // a part of it
	fix      string // a part of it
	severity fhir.Severity
}

func (f fault) check(t *testing.T, opt *Options) {
	t.Helper()
	if f.severity == "" {
		f.severity = fhir.SevError
	}
	r := Resource([]byte(f.body), opt)
	var all strings.Builder
	found := false
	for _, i := range r.Found {
		fmt.Fprintf(&all, "\n  %d:%d %s %s %s: %s (fix: %s; %s)", i.Line, i.Column, i.Severity, i.Code, i.Path, i.Message, i.Fix, i.Spec)
		if i.Severity == f.severity && i.Code == f.code && i.Path == f.path && strings.Contains(i.Message, f.message) && strings.Contains(i.Fix, f.fix) {
			found = true
			if i.Spec == "" {
				t.Error("the issue does not say which rule is broken")
			}
		} else if i.Severity == fhir.SevError || i.Severity == fhir.Fatal {
			t.Errorf("unexpected: %s", i.Error())
		}
	}
	if !found {
		t.Errorf("want %s %s at %q: …%s… (fix: …%s…), got:%s", f.severity, f.code, f.path, f.message, f.fix, all.String())
	}
	if r.Valid() != (f.severity == fhir.Warning || f.severity == fhir.Information) {
		t.Errorf("got valid %t", r.Valid())
	}
}

// observation is a small valid Observation with more elements.
func observation(elements string) string {
	return `{"resourceType":"Observation","status":"final","code":{"text":"x"},` + elements + `}`
}

// value is a value of a data type, in a resource that has a place for each.
func value(name, value string) string {
	return `{"resourceType":"Parameters","parameter":[{"name":"p","` + name + `":` + value + `}]}`
}

func TestStructureFaultsAreNamedWhereTheyAre(t *testing.T) {
	for _, f := range []fault{
		{about: "no resourceType", body: `{"status":"final"}`, code: "required", message: "resourceType"},
		{about: "an unknown resourceType", body: `{"resourceType":"Observatoin"}`, code: "structure", message: `"Observatoin" is no resource type`, fix: "did you mean Observation?"},
		{about: "a resourceType that is no string", body: `{"resourceType":1}`, code: "structure", message: "no resource type"},
		{about: "resourceType twice", body: `{"resourceType":"Patient","resourceType":"Patient"}`, code: "structure", path: "Patient", message: "twice"},
		{about: "an unknown element", body: observation(`"valeuQuantity":{"value":1}`), code: "structure", path: "Observation.valeuQuantity", message: `"valeuQuantity" is no element of Observation`, fix: `"valueQuantity"`},
		{about: "an element in the wrong case", body: observation(`"Subject":{"reference":"Patient/1"}`), code: "structure", path: "Observation.Subject", fix: `"subject"`},
		{about: "a choice without its type", body: observation(`"value":"x"`), code: "structure", path: "Observation.value", fix: `"valueQuantity"`},
		{about: "an unknown element of a data type", body: observation(`"subject":{"ref":"Patient/1"}`), code: "structure", path: "Observation.subject.ref", message: `is no element of Reference`},
		{about: "a name that is no name is not repeated", body: observation(`"Jane Doe, born 1970":1`), code: "structure", path: "Observation", message: "a name is no element"},
		{about: "a name with an escape", body: observation(`"st\u0061tus":"final"`), code: "structure", path: "Observation.status", message: "twice"},
		{about: "a missing element", body: `{"resourceType":"Observation","code":{"text":"x"}}`, code: "required", path: "Observation.status", message: "status is missing", fix: "add status"},
		{about: "a missing element of an element", body: observation(`"component":[{"code":{"text":"y"},"valueString":"a"},{"valueString":"b"}]`), code: "required", path: "Observation.component[1].code", message: "code is missing: Observation.component"},
		{about: "a missing choice", body: `{"resourceType":"MedicationRequest","status":"active","intent":"order","subject":{"reference":"Patient/1"}}`, code: "required", path: "MedicationRequest.medication", message: "medication[x] is missing"},
		{about: "an array where one value belongs", body: observation(`"subject":[{"reference":"Patient/1"}]`), code: "structure", path: "Observation.subject", message: "single value"},
		{about: "one value where an array belongs", body: observation(`"category":{"text":"x"}`), code: "structure", path: "Observation.category[0]", message: "array"},
		{about: "an empty array", body: observation(`"note":[]`), code: "structure", path: "Observation.note[0]", message: "never empty"},
		{about: "an empty object", body: observation(`"subject":{}`), code: "structure", path: "Observation.subject", message: "never empty"},
		{about: "an empty string", body: observation(`"valueString":""`), code: "value", path: "Observation.value", message: "never empty"},
		{about: "null", body: observation(`"valueString":null`), code: "structure", path: "Observation.value", message: "null"},
		{about: "null in an array of objects", body: observation(`"note":[null]`), code: "structure", path: "Observation.note[0]", message: "null"},
		{about: "two types of a choice", body: observation(`"valueString":"a","valueBoolean":true`), code: "structure", path: "Observation.value", message: "two values: valueString and valueBoolean"},
		{about: "a name twice", body: observation(`"issued":"2024-01-01T00:00:00Z","issued":"2024-01-01T00:00:00Z"`), code: "structure", path: "Observation.issued", message: "twice"},
		{about: "a choice twice", body: observation(`"valueString":"a","valueString":"b"`), code: "structure", path: "Observation.value", message: "twice"},
		{about: "the companion of another type", body: observation(`"valueString":"a","_valueDateTime":{"id":"b"}`), code: "structure", path: "Observation.value", message: "two values: valueString and valueDateTime"},
		{about: "a string where an object belongs", body: observation(`"subject":"Patient/1"`), code: "structure", path: "Observation.subject", message: "must be a JSON object, found a string"},
		{about: "an object where a string belongs", body: observation(`"valueString":{"a":1}`), code: "structure", path: "Observation.value", message: "must be a JSON string, found an object"},
		{about: "a string where a number belongs", body: observation(`"valueQuantity":{"value":"1"}`), code: "structure", path: "Observation.value.value", message: "must be a JSON number, found a string"},
		{about: "a number where a boolean belongs", body: observation(`"valueBoolean":1`), code: "structure", path: "Observation.value", message: "must be true or false, found a number"},
		{about: "too deep", body: `{"resourceType":"Parameters","parameter":[` + strings.Repeat(`{"name":"x","part":[`, 41) + `{"name":"x","valueCode":"y"}` + strings.Repeat(`]}`, 41) + `]}`,
			code: "too-costly", path: "Parameters.parameter[0]" + strings.Repeat(".part[0]", 31), message: "more than 64 levels"},
		{about: "a required code that does not exist", body: `{"resourceType":"Observation","status":"finel","code":{"text":"x"}}`, code: "code-invalid", path: "Observation.status", message: `"finel" is not in the value set http://hl7.org/fhir/ValueSet/observation-status`, fix: "did you mean final?"},
		{about: "a required code with a text of a person in it", body: `{"resourceType":"Observation","status":"ask Dr Smith","code":{"text":"x"}}`, code: "code-invalid", path: "Observation.status", message: `a text is not in the value set`},
		{about: "the id of an element with white space", body: observation(`"subject":{"id":"a b","reference":"Patient/1"}`), code: "value", path: "Observation.subject.id", message: "id"},
		{about: "an extension on what cannot have one", body: observation(`"extension":[{"url":"http://example.org/x","_url":{"id":"a"},"valueString":"b"}]`), code: "structure", path: "Observation.extension[0]._url", message: "no element", fix: "cannot have"},
		{about: "a companion of what is no primitive", body: observation(`"_subject":{"id":"a"}`), code: "structure", path: "Observation._subject", message: "no element", fix: "its extension"},
		{about: "a null without a companion", body: `{"resourceType":"Patient","name":[{"given":["A",null]}]}`, code: "structure", path: "Patient.name[0].given[1]", message: "neither a value nor an extension"},
		{about: "a null whose companion is null", body: `{"resourceType":"Patient","name":[{"given":["A",null],"_given":[{"id":"a"},null]}]}`, code: "structure", path: "Patient.name[0].given[1]", message: "neither"},
		{about: "only an id", body: `{"resourceType":"Patient","_birthDate":{"id":"a"}}`, code: "structure", path: "Patient.birthDate", message: "neither"},
		{about: "a resource in an element that is none", body: observation(`"subject":{"resourceType":"Patient","id":"a"}`), code: "structure", path: "Observation.subject.resourceType", message: "no element of Reference"},
		{about: "a contained resource that is not known", body: observation(`"contained":[{"resourceType":"Foo","id":"a"}]`), code: "structure", path: "Observation.contained[0]", message: "no resource type"},
		{about: "a fault in a contained resource", body: observation(`"contained":[{"resourceType":"Patient","id":"a","gender":"f"}],"subject":{"reference":"#a"}`), code: "code-invalid", path: "Observation.contained[0].gender", message: "administrative-gender"},
		{about: "a fault in an entry of a Bundle", body: `{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient"}},{"resource":{"resourceType":"Patient","birthDate":"1970-02-30"}}]}`,
			code: "value", path: "Bundle.entry[1].resource.birthDate", message: "date"},
	} {
		t.Run(f.about, func(t *testing.T) { f.check(t, nil) })
	}
}

func TestValidResourcesHaveNoIssues(t *testing.T) {
	for about, body := range map[string]string{
		"resourceType at the end":                     `{"status":"final","code":{"text":"x"},"resourceType":"Observation"}`,
		"an escaped resourceType":                     `{"resource\u0054ype":"Observation","status":"final","code":{"text":"x"}}`,
		"white space":                                 " {\n\t\"resourceType\" : \"Observation\" ,\r\n \"status\" : \"final\" , \"code\" : { \"text\" : \"x\" } } \n",
		"a value that is an extension only":           `{"resourceType":"Patient","_birthDate":{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}}`,
		"a required value that is an extension only":  `{"resourceType":"Observation","_status":{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]},"code":{"text":"x"}}`,
		"nulls that companions fill":                  `{"resourceType":"Patient","name":[{"given":["A",null,"B"],"_given":[null,{"extension":[{"url":"http://example.org/x","valueString":"y"}]},{"id":"c"}]}]}`,
		"companions alone":                            `{"resourceType":"Patient","name":[{"family":"F","_given":[{"extension":[{"url":"http://example.org/x","valueString":"y"}]}]}]}`,
		"a value and its companion":                   `{"resourceType":"Patient","birthDate":"1970-01-01","_birthDate":{"id":"b"}}`,
		"a choice and its companion":                  observation(`"_valueString":{"id":"b"},"valueString":"a"`),
		"a decimal of any length":                     observation(`"valueQuantity":{"value":` + strings.Repeat("9", 5000) + `.` + strings.Repeat("0", 5000) + `e-3}`),
		"a contained resource and back":               observation(`"contained":[{"resourceType":"Provenance","id":"p","target":[{"reference":"#"}],"recorded":"2024-01-01T00:00:00Z","agent":[{"who":{"reference":"Device/1"}}]}]`),
		"a contained resource that another one names": observation(`"contained":[{"resourceType":"Patient","id":"p","managingOrganization":{"reference":"#o"}},{"resourceType":"Organization","id":"o","name":"x"}],"subject":{"reference":"#p"}`),
		"a resource as a parameter":                   `{"resourceType":"Parameters","parameter":[{"name":"a","resource":{"resourceType":"Patient"}},{"name":"b","part":[{"name":"c","valueInteger":1}]}]}`,
		"a narrative":                                 observation(`"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>x</p></div>"}`),
		"an empty resource":                           `{"resourceType":"Patient"}`,
		"a reference to what an entry patches": `{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"urn:uuid:c757873d-ec9a-4326-a141-556f43239520","resource":{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"delete"}]}]},"request":{"method":"PATCH","url":"Patient/1"}},` +
			`{"resource":` + observation(`"subject":{"reference":"urn:uuid:c757873d-ec9a-4326-a141-556f43239520"}`) + `,"request":{"method":"POST","url":"Observation"}}]}`,
		"64 levels":                                      `{"resourceType":"Parameters","parameter":[` + strings.Repeat(`{"name":"x","part":[`, 30) + `{"name":"x","valueCode":"y"}` + strings.Repeat(`]}`, 30) + `]}`,
		"the longest fraction of a second":               observation(`"effectiveDateTime":"2024-02-29T23:59:60.123456789012+14:00"`),
		"a string with escapes":                          observation(`"valueString":"a\n\t\u00e9\ud83d\ude00"`),
		"conditional, urn, absolute and local reference": observation(`"subject":{"reference":"Patient?identifier=x|1"},"focus":[{"reference":"urn:uuid:c757873d-ec9a-4326-a141-556f43239520"},{"reference":"https://example.org/fhir/Patient/1/_history/2"},{"reference":"Patient/1/_history/2"}]`),
	} {
		t.Run(about, func(t *testing.T) {
			if r := Resource([]byte(body), nil); len(r.Found) > 0 {
				t.Errorf("got %v", r.Issues())
			}
		})
	}
}

func TestBrokenJSONIsOneFatalIssueWithItsPlace(t *testing.T) {
	for _, c := range []struct {
		about, body  string
		line, column int
		message      string
	}{
		{"nothing", "", 1, 1, "ends too early"},
		{"the end is missing", `{"resourceType":"Patient"`, 1, 26, "ends too early"},
		{"a comma too many", "{\"resourceType\":\"Patient\",\n \"active\":true,}", 2, 16, "not valid JSON"},
		{"two resources", `{"resourceType":"Patient"} {}`, 1, 27, "something follows"},
		{"an array", ` []`, 1, 2, "no JSON object"},
		{"a string", `"x"`, 1, 1, "no JSON object"},
		{"invalid UTF-8", "{\"resourceType\":\"Patient\",\"id\":\"\xff\"}", 1, 33, "UTF-8"},
		{"half a surrogate", `{"resourceType":"Patient","id":"\ud800"}`, 1, 33, "not valid JSON"},
		{"a control character", "{\"resourceType\":\"Patient\",\"id\":\"a\x01\"}", 1, 34, "not valid JSON"},
		{"a number that is none", `{"resourceType":"Patient","x":01}`, 1, 32, "not valid JSON"},
	} {
		t.Run(c.about, func(t *testing.T) {
			r := Resource([]byte(c.body), nil)
			if len(r.Found) != 1 || r.Valid() {
				t.Fatalf("got %v", r.Issues())
			}
			f := r.Found[0]
			if f.Severity != fhir.Fatal || f.Line != c.line || f.Column != c.column || !strings.Contains(f.Message, c.message) {
				t.Errorf("got %d:%d %s %s, want %d:%d %s", f.Line, f.Column, f.Severity, f.Message, c.line, c.column, c.message)
			}
		})
	}
}

func TestIssuesSayLineColumnAndRule(t *testing.T) {
	body := "{\n  \"resourceType\": \"Observation\",\n  \"status\": \"done\",\n  \"code\": {\"text\": \"x\"},\n  \"foo\": 1\n}"
	r := Resource([]byte(body), nil)
	if len(r.Found) != 2 || r.Errors != 2 || r.Type != "Observation" {
		t.Fatalf("got %d errors: %v", r.Errors, r.Issues())
	}
	for i, want := range []struct {
		line, column int
		path, spec   string
	}{
		{3, 13, "Observation.status", "http://hl7.org/fhir/StructureDefinition/Observation"},
		{5, 3, "Observation.foo", "http://hl7.org/fhir/StructureDefinition/Observation"},
	} {
		if f := r.Found[i]; f.Line != want.line || f.Column != want.column || f.Path != want.path || f.Spec != want.spec {
			t.Errorf("got %d:%d %s %s, want %+v", f.Line, f.Column, f.Path, f.Spec, want)
		}
	}
}

func TestTheResultSaysWhereIDAndMetaAre(t *testing.T) {
	body := `{"resourceType":"Patient", "id" : "p1" ,"meta": {"versionId":"1"},"active":true}`
	r := Resource([]byte(body), nil)
	if got := body[r.ID.Start:r.ID.End]; got != `"p1"` {
		t.Errorf("id: got %s", got)
	}
	if got := body[r.Meta.Start:r.Meta.End]; got != `{"versionId":"1"}` {
		t.Errorf("meta: got %s", got)
	}
	if r := Resource([]byte(`{"resourceType":"Patient"}`), nil); r.ID != (Span{}) || r.Meta != (Span{}) {
		t.Errorf("got %v, %v", r.ID, r.Meta)
	}
}

func TestReferences(t *testing.T) {
	const uuid = "urn:uuid:c757873d-ec9a-4326-a141-556f43239520"
	for _, f := range []fault{
		{about: "a type that is not allowed", body: observation(`"subject":{"reference":"Practitioner/1"}`), code: "value", path: "Observation.subject", message: "a Practitioner", fix: "refer to Patient, Group, Device or Location"},
		{about: "an absolute URL of a type that is not allowed", body: observation(`"subject":{"reference":"http://example.org/fhir/Practitioner/1"}`), code: "value", path: "Observation.subject", message: "a Practitioner"},
		{about: "a version of a type that is not allowed", body: observation(`"subject":{"reference":"Practitioner/1/_history/2"}`), code: "value", path: "Observation.subject", message: "a Practitioner"},
		{about: "a conditional reference to a type that is not allowed", body: observation(`"subject":{"reference":"Practitioner?name=x"}`), code: "value", path: "Observation.subject", message: "a Practitioner"},
		{about: "only a type, and that is not allowed", body: observation(`"subject":{"type":"Practitioner","identifier":{"value":"1"}}`), code: "value", path: "Observation.subject", message: "a Practitioner"},
		{about: "type and reference that differ", body: observation(`"subject":{"type":"Group","reference":"Patient/1"}`), code: "value", path: "Observation.subject.type", message: "type says Group"},
		{about: "an id that is none", body: observation(`"subject":{"reference":"Patient/a_b"}`), code: "value", path: "Observation.subject.reference", message: "the id in the reference"},
		{about: "a type that is none", body: observation(`"subject":{"reference":"Person1/2"}`), code: "value", path: "Observation.subject.reference", message: "neither absolute nor"},
		{about: "an id alone", body: observation(`"subject":{"reference":"123"}`), code: "value", path: "Observation.subject.reference", message: "neither absolute nor"},
		{about: "white space", body: observation(`"subject":{"reference":"Patient/ 1"}`), code: "value", path: "Observation.subject.reference", message: "white space"},
		{about: "a UUID that is none", body: observation(`"subject":{"reference":"` + uuid[:30] + `"}`), code: "value", path: "Observation.subject.reference", message: "no UUID"},
		{about: "a contained resource that is not there", body: observation(`"subject":{"reference":"#p"}`), code: "not-found", path: "Observation.subject.reference", message: "ref-1"},
		{about: "a contained resource of a type that is not allowed", body: observation(`"contained":[{"resourceType":"Practitioner","id":"p"}],"subject":{"reference":"#p"}`), code: "value", path: "Observation.subject.reference", message: "a Practitioner"},
		{about: "a contained resource that nobody names", body: observation(`"contained":[{"resourceType":"Patient","id":"p"},{"resourceType":"Patient","id":"q"}],"subject":{"reference":"#p"}`), code: "invariant", path: "Observation.contained[1]", message: "dom-3"},
		{about: "a contained resource without an id", body: observation(`"contained":[{"resourceType":"Patient"}]`), code: "invariant", path: "Observation.contained[0]", message: "dom-3"},
		{about: "two contained resources of the same id", body: observation(`"contained":[{"resourceType":"Patient","id":"p"},{"resourceType":"Patient","id":"p","managingOrganization":{"reference":"#"}}],"subject":{"reference":"#p"}`), code: "duplicate", path: "Observation.contained[1].id", message: "same id"},
	} {
		t.Run(f.about, func(t *testing.T) { f.check(t, nil) })
	}
	for _, f := range inBundles(uuid) {
		t.Run(f.about, func(t *testing.T) { f.check(t, nil) })
	}
	t.Run("references of an entry do not see what another entry contains", func(t *testing.T) {
		fault{body: `{"resourceType":"Bundle","type":"collection","entry":[{"resource":` + observation(`"contained":[{"resourceType":"Patient","id":"p"}],"subject":{"reference":"#p"}`) + `},{"resource":` + observation(`"subject":{"reference":"#p"}`) + `}]}`,
			code: "not-found", path: "Bundle.entry[1].resource.subject.reference", message: "ref-1"}.check(t, nil)
	})
}

// inBundles are faults of references to entries.
func inBundles(uuid string) []fault {
	entry := func(url, resource, request string) string {
		if request != "" {
			request = `,"request":{"method":"POST","url":"` + request + `"}`
		}
		return `{"fullUrl":"` + url + `","resource":` + resource + request + `}`
	}
	bundle := func(kind string, entries ...string) string {
		return `{"resourceType":"Bundle","type":"` + kind + `","entry":[` + strings.Join(entries, ",") + `]}`
	}
	about := func(reference string) string { return observation(`"subject":{"reference":"` + reference + `"}`) }
	const other = "urn:uuid:0bd2f6a7-2a4c-4d8e-9d4c-0c6c3c6f1a11"
	practitioner := `{"resourceType":"Practitioner"}`
	return []fault{
		{about: "a URN of an entry of a type that is not allowed", body: bundle("transaction", entry(other, about(uuid), "Observation"), entry(uuid, practitioner, "Practitioner")),
			code: "value", path: "Bundle.entry[0].resource.subject.reference", message: "a Practitioner", fix: "refer to Patient, Group"},
		{about: "a URL of no known form of an entry of a type that is not allowed", body: bundle("collection", entry("http://example.org/p", practitioner, ""), entry(other, about("http://example.org/p"), "")),
			code: "value", path: "Bundle.entry[1].resource.subject.reference", message: "a Practitioner"},
		{about: "a type that is not that of the entry", body: bundle("collection", entry(uuid, `{"resourceType":"Patient"}`, ""), entry(other, observation(`"subject":{"type":"Group","reference":"`+uuid+`"}`), "")),
			code: "value", path: "Bundle.entry[1].resource.subject.type", message: "type says Group, reference points at a Patient"},
		{about: "a URN that no entry of a transaction has", body: bundle("transaction", entry(other, about(uuid), "Observation")),
			code: "not-found", path: "Bundle.entry[0].resource.subject.reference", message: "no entry of the Bundle has it"},
		{about: "a URN that no entry of a collection has", body: bundle("collection", entry(other, about(uuid), "")), severity: fhir.Warning,
			code: "not-found", path: "Bundle.entry[0].resource.subject.reference", message: "no entry of the Bundle has it"},
		{about: "a URN that only an entry of the Bundle around it has", body: bundle("collection", entry(uuid, `{"resourceType":"Patient"}`, ""), entry(other, bundle("transaction", entry(other, about(uuid), "Observation")), "")),
			code: "not-found", path: "Bundle.entry[1].resource.entry[0].resource.subject.reference", message: "no entry of the Bundle has it"},
		{about: "a URN in a contained resource", body: bundle("transaction", entry(other, observation(`"contained":[{"resourceType":"Patient","id":"p","managingOrganization":{"reference":"`+uuid+`"}}],"subject":{"reference":"#p"}`), "Observation")),
			code: "not-found", path: "Bundle.entry[0].resource.contained[0].managingOrganization.reference", message: "no entry of the Bundle has it"},
	}
}

func TestReferencesToEntriesOfABundleMayComeBeforeThem(t *testing.T) {
	const uuid, other = "urn:uuid:c757873d-ec9a-4326-a141-556f43239520", "urn:oid:1.2.3"
	bundle := func(entries string) string {
		return `{"resourceType":"Bundle","type":"collection","entry":[` + entries + `]}`
	}
	for about, body := range map[string]string{
		"a URN before and after its entry": bundle(`{"fullUrl":"urn:oid:1.1","resource":` + observation(`"subject":{"reference":"`+uuid+`"}`) + `},` +
			`{"fullUrl":"` + uuid + `","resource":{"resourceType":"Patient"}},{"fullUrl":"urn:oid:1.2","resource":` + observation(`"subject":{"reference":"`+uuid+`"}`) + `}`),
		"an escaped URN": bundle(`{"fullUrl":"urn:oid:1.1","resource":` + observation(`"subject":{"reference":"\u0075rn`+uuid[3:]+`"}`) + `},` +
			`{"fullUrl":"u\u0072n` + uuid[3:] + `","resource":{"resourceType":"Patient"}}`),
		"a URL that is elsewhere":   bundle(`{"fullUrl":"` + other + `","resource":` + observation(`"subject":{"reference":"http://example.org/p"}`) + `}`),
		"a URN outside of a Bundle": observation(`"subject":{"reference":"` + uuid + `"}`),
	} {
		t.Run(about, func(t *testing.T) {
			if r := Resource([]byte(body), nil); len(r.Found) > 0 {
				t.Errorf("got %v", r.Issues())
			}
		})
	}
}

func TestMessagesOfBrokenJSONQuoteNothing(t *testing.T) {
	for message, want := range map[string]string{
		"invalid character 'J' at start of value":     "invalid character at start of value",
		`invalid escape sequence "\\q" within string`: "invalid escape sequence within string",
		"unexpected EOF": "unexpected EOF",
		"invalid surrogate pair `\\ud800` and \"not closed": "invalid surrogate pair and",
	} {
		if got := unquoted(message); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestBindings(t *testing.T) {
	for _, f := range []fault{
		{about: "an extensible binding is a warning", body: observation(`"dataAbsentReason":{"coding":[{"system":"http://example.org","code":"x"}]}`), severity: fhir.Warning, code: "code-invalid", path: "Observation.dataAbsentReason", message: `is not in the value set http://hl7.org/fhir/ValueSet/data-absent-reason (extensible)`},
		{about: "a code of the system that does not exist", body: `{"resourceType":"DeviceMetric","type":{"text":"x"},"category":"measurment"}`, code: "code-invalid", path: "DeviceMetric.category", message: "metric-category", fix: "did you mean measurement?"},
		{about: "an extensible binding of a Coding", body: `{"resourceType":"AuditEvent","type":{"code":"x"},"recorded":"2024-01-01T00:00:00Z","agent":[{"requestor":true}],"source":{"observer":{"display":"x"}},"purposeOfEvent":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"nope"}]}]}`,
			severity: fhir.Warning, code: "code-invalid", path: "AuditEvent.purposeOfEvent[0]", message: "v3-ActReason is not in the value set"},
	} {
		t.Run(f.about, func(t *testing.T) { f.check(t, nil) })
	}
	quantity := `{"resourceType":"Device","property":[{"type":{"text":"x"},"valueQuantity":[{"value":1,"system":"http://unitsofmeasure.org","code":"mmHg"}]}]}`
	alone := &Options{Without: []string{"kiln-ucum"}}
	if r := Resource([]byte(quantity), alone); !r.Valid() {
		t.Errorf("an element without a binding: got %v", r.Issues())
	}
}

func TestErrorsAreCappedAndCountedAndComeBeforeWarnings(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"resourceType":"Observation","status":"final","code":{"text":"x"},"note":[`)
	for range 300 {
		b.WriteString(`{"text":" "},`) // a warning each
	}
	for range 200 {
		b.WriteString(`{"txet":"x"},`) // two errors each
	}
	b.WriteString(`{"text":"x"}]}`)
	r := Resource([]byte(b.String()), nil)
	if r.Errors != 400 || r.Warnings != 300 || len(r.Found) != 100 || r.Dropped != 600 {
		t.Errorf("got %d errors, %d warnings, %d kept, %d dropped", r.Errors, r.Warnings, len(r.Found), r.Dropped)
	}
	for _, f := range r.Found {
		if f.Severity != fhir.SevError {
			t.Errorf("a warning took the place of an error: %v", f.Issue)
		}
	}
	if all := r.Issues(); len(all) != 101 || all[100].Message != "600 more issues were found" {
		t.Errorf("got %v", all[len(all)-1])
	}
	if r := Resource([]byte(b.String()), &Options{MaxIssues: 3}); len(r.Found) != 3 || r.Errors != 400 {
		t.Errorf("got %d issues", len(r.Found))
	}
}

func TestOptions(t *testing.T) {
	t.Run("another type than expected", func(t *testing.T) {
		fault{body: `{"resourceType":"Patient"}`, code: "invalid", path: "Patient", message: "a Patient, not an Observation"}.check(t, &Options{Type: "Observation"})
	})
	broken := observation(`"dataAbsentReason":{"text":"x"},"valueString":"y"`)
	if r := Resource([]byte(broken), &Options{Level: Structure}); !r.Valid() {
		t.Errorf("Structure checks no invariants: got %v", r.Issues())
	}
	if r := Resource([]byte(broken), &Options{Level: Invariants}); r.Errors != 1 {
		t.Errorf("Invariants checks obs-6: got %v", r.Issues())
	}
	claims := `{"resourceType":"Observation","meta":{"profile":["http://hl7.org/fhir/StructureDefinition/bodytemp"]},"status":"final","code":{"text":"x"}}`
	if r := Resource([]byte(claims), &Options{Level: Invariants}); !r.Valid() {
		t.Errorf("Invariants checks no profiles: got %v", r.Issues())
	}
	if r := Resource([]byte(claims), nil); r.Valid() {
		t.Error("profiles that are claimed are checked")
	}
	if r := Resource([]byte(`{"resourceType":"Patient"}`), &Options{Recommended: Tell}); r.Warnings != 1 || !strings.HasPrefix(r.Found[0].Message, "dom-6: ") {
		t.Errorf("dom-6 is told on demand: got %v", r.Issues())
	}
}

func TestItMayBeCalledFromAnyNumberOfGoroutines(t *testing.T) {
	bodies := [][]byte{[]byte(heartRate), transaction(20), []byte(`{"resourceType":"Observation","foo":1}`), []byte(`{`), claiming(heartRate, "http://hl7.org/fhir/StructureDefinition/heartrate")}
	want := make([]int, len(bodies))
	for i, b := range bodies {
		want[i] = len(Resource(b, nil).Found)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for n := range 200 {
				i := n % len(bodies)
				if got := len(Resource(bodies[i], nil).Found); got != want[i] {
					t.Errorf("body %d: got %d issues, want %d", i, got, want[i])
				}
			}
		})
	}
	all.Wait()
}
