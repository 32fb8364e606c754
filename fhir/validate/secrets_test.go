package validate

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir/definitions"
	"github.com/kiln-health/kiln/fhir/fhirtest"
)

// confidential are values that look like those of a patient, one of each type. What makes
// them so is in secrets.
var confidential = map[string]any{
	"base64Binary": "WmFwaG9k", "boolean": true, "canonical": "http://zaphod.example/a|4711", "code": "zaphod code", "date": "1952-03-11",
	"dateTime": "1952-03-11T08:15:42+01:00", "decimal": json.Number("47.11"), "id": "zaphod-4711", "instant": "1952-03-11T08:15:42.125Z",
	"integer": json.Number("-4711"), "markdown": "*Zaphod*", "oid": "urn:oid:1.2.4711", "positiveInt": json.Number("4711"), "string": "Zaphod Beeblebrox",
	"time": "08:15:42", "unsignedInt": json.Number("4711"), "uri": "http://zaphod.example/b", "url": "http://zaphod.example/c",
	"uuid": "urn:uuid:4711873d-ec9a-4326-a141-556f43239520", "xhtml": `<div xmlns="http://www.w3.org/1999/xhtml">Zaphod <b title="Beeblebrox">47.11</b></div>`,
}

var secrets = []string{"zaphod", "beeblebrox", "4711", "47.11", "1952", "08:15", "wmfwag9k"}

// plant puts secrets in the place of what the mutations put into a resource.
var plant = strings.NewReplacer(`"2023-02-29"`, `"1952-02-30"`, `"a_b c"`, `"zaphod 4711"`, `"Basic/1"`, `"Basic/zaphod-4711"`, `/1"`, `/zaphod-4711"`,
	`"x"`, `"Zaphod Beeblebrox"`, `"1.5"`, `"47.11"`, `:1.5`, `:47.11`, `:1}`, `:4711}`, `:1,`, `:4711,`)

// keepsSecrets looks for secrets in everything that is said of a body.
func keepsSecrets(t *testing.T, about string, body []byte, opt *Options) (told int) {
	t.Helper()
	r := Resource(body, opt)
	for _, i := range r.Issues() {
		said := strings.ToLower(strings.Join([]string{i.Code, i.Path, i.Message, i.Fix, i.Spec}, " "))
		if n := slices.IndexFunc(secrets, func(s string) bool { return strings.Contains(said, s) }); n >= 0 {
			t.Errorf("%s: %q is in %+v", about, secrets[n], i)
		}
	}
	return len(r.Found)
}

func TestNoIssueRepeatsWhatIsInTheBody(t *testing.T) {
	fhirtest.Long(t)
	harmless := samples
	samples = confidential
	defer func() { samples = harmless }()
	told := 0
	for name, variants := range map[string]int{"Observation": 11, "Device": 1, "DeviceMetric": 1, "Patient": 2, "Bundle": 1, "Parameters": 20, "Questionnaire": 1, "Claim": 1} {
		for variant := range variants {
			s := specimen{variant}
			whole := s.of(name)
			d, _ := definitions.ForType(name)
			s.mutate(d.Root(), whole, name, func(m mutant) {
				told += keepsSecrets(t, name+", "+m.about, []byte(plant.Replace(string(marshal(t, whole)))), &Options{Recommended: Tell, MustSupport: true})
			})
		}
	}
	if told < 20_000 {
		t.Errorf("only %d issues", told)
	}
}

func TestNoIssueOfAProfileRepeatsWhatIsInTheBody(t *testing.T) {
	told := 0
	for _, url := range []string{r4 + "heartrate", r4 + "bodytemp", usCore + "us-core-body-temperature", phd + "PhdNumericObservation", r4 + "bp"} {
		body := sign(url, "8310-5", `"valueQuantity":`+quantityOfUnit("72", "/min"))
		switch url {
		case r4 + "bp":
			body = bloodPressure(url)
		case phd + "PhdNumericObservation":
			body = pulse
		}
		var whole map[string]any
		d := json.NewDecoder(strings.NewReader(body))
		d.UseNumber()
		if err := d.Decode(&whole); err != nil {
			t.Fatal(err)
		}
		whole["identifier"] = []any{map[string]any{"system": "http://zaphod.example", "value": "4711"}}
		s, _ := definitions.Lookup(url)
		changeProfiled(s.Root(), whole, s.Type, func(about, _ string) {
			told += keepsSecrets(t, about, []byte(strings.NewReplacer("xyzzy", "Zaphod Beeblebrox", `:72`, `:4711`).Replace(string(marshal(t, whole)))), &Options{MustSupport: true})
		})
	}
	if told < 200 {
		t.Errorf("only %d issues", told)
	}
}

func TestNoIssueOfBrokenJSONRepeatsWhatIsInTheBody(t *testing.T) {
	const body = `{"resourceType":"Patient","id":"zaphod-4711","name":[{"family":"Beeblebrox","given":["Zaphod"]}],"birthDate":"1952-03-11"}`
	for i := range body {
		keepsSecrets(t, "cut off", []byte(body[:i]), nil)
		for _, put := range []string{"Zaphod Beeblebrox", `"`, `\`, `\u47`, `\q`, "\x00", "\xff", "1952 03", "-", "{", "]", ":", ","} {
			keepsSecrets(t, "with "+put, []byte(body[:i]+put+body[i:]), nil)
		}
	}
	// What looks like the name of an element or a code is repeated where one belongs, and only there.
	for about, body := range map[string]string{
		"a name that is none":            patient(`"Zaphod Beeblebrox":1`),
		"a name with an escape":          patient(`"\u005aaphod Beeblebrox":1`),
		"a long name":                    patient(`"` + strings.Repeat("zaphod", 20) + `":1`),
		"a resource type that is none":   `{"resourceType":"Zaphod Beeblebrox"}`,
		"a profile that is not known":    patient(`"meta":{"profile":["http://zaphod.example/4711"]}`),
		"a URL of an extension":          patient(`"extension":[{"url":"zaphod","valueString":"Zaphod"}]`),
		"a local reference":              patient(`"managingOrganization":{"reference":"#zaphod"}`),
		"a reference that is none":       patient(`"managingOrganization":{"reference":"zaphod"}`),
		"a fullUrl":                      `{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"http://a/Patient/zaphod","resource":` + patient(`"id":"4711","managingOrganization":{"reference":"urn:oid:1.4711"}`) + `}]}`,
		"a system":                       observation(`"dataAbsentReason":{"coding":[{"system":"http://zaphod.example","code":"x"}]}`),
		"a code of an extensible set":    `{"resourceType":"AuditEvent","type":{"system":"http://dicom.nema.org/resources/ontology/DCM","code":"zaphod"},"recorded":"2024-01-01T00:00:00Z","agent":[{"requestor":true}],"source":{"observer":{"display":"x"}}}`,
		"a tag of a narrative":           patient(`"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><zaphod/></div>"}`),
		"an attribute of a narrative":    patient(`"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p zaphod='x'/></div>"}`),
		"the text of a narrative":        patient(`"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">Zaphod &zaphod; Beeblebrox</div>"}`),
		"the attributes of a narrative":  patient(`"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><a href='javascript:zaphod'>Zaphod</a></div>"}`),
		"the types of a reference":       observation(`"subject":{"type":"Zaphod","reference":"Practitioner/zaphod-4711"}`),
		"a code where there is no list":  sign(r4+"heartrate", "8867-4", `"valueQuantity":`+quantityOfUnit("4711", "zaphod code")),
		"a profile that is asked for":    patient(`"active":true`),
		"a claim in a version not known": patient(`"meta":{"profile":["` + r4 + `Patient|zaphod"]}`),
	} {
		if keepsSecrets(t, about, []byte(body), &Options{Profiles: []string{"http://zaphod.example/4711|1952"}}) == 0 {
			t.Errorf("%s: nothing is told", about)
		}
	}
}

func TestNamesAndCodesAreRepeatedIfTheyLookLikeThem(t *testing.T) {
	for text, want := range map[string][2]string{
		"valeu":                  {`"valeu"`, `"valeu"`},
		"_a-1":                   {`"_a-1"`, `"_a-1"`},
		"a.b":                    {"a name", `"a.b"`},
		"":                       {"a name", "a text"},
		"a b":                    {"a name", "a text"},
		"é":                      {"a name", "a text"},
		strings.Repeat("x", 40):  {`"` + strings.Repeat("x", 40) + `"`, `"` + strings.Repeat("x", 40) + `"`},
		strings.Repeat("x", 41):  {`"` + strings.Repeat("x", 41) + `"`, "a text"},
		strings.Repeat("x", 65):  {"a name", "a text"},
		"http://example.org/a|b": {"a name", "a text"},
	} {
		if got := [2]string{memberName([]byte(text)), readable([]byte(text))}; got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}
