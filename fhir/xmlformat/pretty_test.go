package xmlformat

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir/fhirtest"
)

func TestIndentedXMLHasAnElementOnEachLine(t *testing.T) {
	const json = `{"resourceType":"Patient","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>a <b>b</b>\n c</p></div>"},` +
		`"contained":[{"resourceType":"Organization","id":"o","name":"x"}],"name":[{"family":"A\n B"}],"birthDate":"1970-01-01","_birthDate":{"id":"d"},` +
		`"managingOrganization":{"reference":"#o"}}`
	const want = `<?xml version="1.0" encoding="UTF-8"?>
<Patient xmlns="http://hl7.org/fhir">
  <text>
    <status value="generated"/>
    <div xmlns="http://www.w3.org/1999/xhtml"><p>a <b>b</b>
 c</p></div>
  </text>
  <contained>
    <Organization>
      <id value="o"/>
      <name value="x"/>
    </Organization>
  </contained>
  <name>
    <family value="A&#10; B"/>
  </name>
  <birthDate id="d" value="1970-01-01"/>
  <managingOrganization>
    <reference value="#o"/>
  </managingOrganization>
</Patient>
`
	got, err := Indented([]byte(json))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("got %s", got)
	}
	if back, err := ToJSON(got); err != nil || string(back) != json {
		t.Errorf("reads back as %s, %v", back, err)
	}
}

func TestIndentedXMLOfTheOfficialExamplesReadsBackToTheSame(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(fhirtest.Shared(t), "fhir", "r4", "examples", "*", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		plain, wrong := FromJSON(body)
		indented, err := Indented(body)
		if wrong != nil || err != nil {
			if (wrong == nil) != (err == nil) {
				t.Errorf("%s: FromJSON says %v, Indented %v", filepath.Base(file), wrong, err)
			}
			continue
		}
		if strings.Count(string(indented), "\n") <= strings.Count(string(plain), "\n") {
			t.Errorf("%s: not indented", filepath.Base(file))
		}
		a, err1 := ToJSON(plain)
		b, err2 := ToJSON(indented)
		if err1 != nil || err2 != nil || string(a) != string(b) {
			t.Errorf("%s: reads back as something else: %v, %v", filepath.Base(file), err1, err2)
		}
	}
}

// FuzzIndented looks for JSON of which indented XML says something else than XML without.
func FuzzIndented(f *testing.F) {
	f.Add([]byte(`{"resourceType":"Patient","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"> <p>a</p>\n</div>"},"birthDate":"1970-01-01","_birthDate":{"id":"d"}}`))
	f.Add([]byte(`{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","name":[{"given":["a",null],"_given":[null,{"extension":[{"url":"http://a","valueString":" b "}]}]}]}}]}`))
	f.Fuzz(func(t *testing.T, json []byte) {
		plain, wrong := FromJSON(json)
		indented, err := Indented(json)
		if (wrong == nil) != (err == nil) {
			t.Fatalf("FromJSON says %v, Indented %v", wrong, err)
		}
		if err != nil {
			return
		}
		a, err1 := ToJSON(plain)
		b, err2 := ToJSON(indented)
		if err1 != nil || err2 != nil || string(a) != string(b) {
			t.Fatalf("reads back as %s, %v, not %s, %v", b, err2, a, err1)
		}
	})
}
