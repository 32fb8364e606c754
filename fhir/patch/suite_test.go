package patch_test

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/fhir/patch"
	"github.com/kiln-health/kiln/fhir/xmlformat"
)

// The official tests of FHIRPath Patch for R4 are in XML, and so is what is compared.
func TestOfficialFHIRPathPatchTestsPass(t *testing.T) {
	type inner struct {
		XML string `xml:",innerxml"`
	}
	var suite struct {
		Cases []struct {
			Name   string `xml:"name,attr"`
			Input  inner  `xml:"input"`
			Diff   inner  `xml:"diff"`
			Output inner  `xml:"output"`
			Error  *inner `xml:"error"`
		} `xml:"case"`
	}
	content, err := os.ReadFile(filepath.Join(fhirtest.Shared(t), "suites", "patch", "fhir-patch-tests.xml"))
	if err != nil {
		t.Fatal(err)
	}
	// As a parser of XML reads it: a line ends with one character, &quot; is a quote.
	content = []byte(strings.ReplaceAll(string(content), "\r\n", "\n"))
	sameText := strings.NewReplacer("&quot;", `"`)
	if err := xml.Unmarshal(content, &suite); err != nil {
		t.Fatal(err)
	}
	toJSON := func(t *testing.T, document string) []byte {
		t.Helper()
		b, err := xmlformat.ToJSON([]byte(strings.TrimSpace(document)))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if len(suite.Cases) != 33 {
		t.Errorf("the suite has %d tests", len(suite.Cases))
	}
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			got, err := patch.FHIRPath(toJSON(t, c.Input.XML), toJSON(t, c.Diff.XML))
			if c.Error != nil {
				if err == nil {
					t.Errorf("no error, but %s", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			gotXML, err := xmlformat.FromJSON(got)
			if err != nil {
				t.Fatal(err)
			}
			wantXML, err := xmlformat.FromJSON(toJSON(t, c.Output.XML))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(sameText.Replace(string(wantXML)), sameText.Replace(string(gotXML))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The official tests of JSON Patch are about documents that are no resources: each becomes
// one by a resourceType.
func TestOfficialJSONPatchTestsPass(t *testing.T) {
	var suite []struct {
		Comment    string
		Doc, Patch json.RawMessage
		Expected   json.RawMessage
		Error      string
	}
	content, err := os.ReadFile(filepath.Join(fhirtest.Shared(t), "suites", "patch", "json-patch-tests.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &suite); err != nil {
		t.Fatal(err)
	}
	if len(suite) != 16 {
		t.Errorf("the suite has %d tests", len(suite))
	}
	asResource := func(document []byte) []byte {
		return append([]byte(`{"resourceType":"Basic",`), document[1:]...)
	}
	for _, c := range suite {
		t.Run(c.Comment, func(t *testing.T) {
			got, err := patch.JSON(asResource(c.Doc), c.Patch)
			if c.Error != "" {
				if err == nil {
					t.Errorf("no error, but %s", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(value(t, asResource(c.Expected)), value(t, got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func value(t *testing.T, document []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(document)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", document, err)
	}
	return v
}
