package rest_test

import (
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir/rest"
)

// http://hl7.org/fhir/R4/http.html#pretty
func TestXMLIsIndentedForWhoAsksForPretty(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/p1", patientXML, asXML...).wantStatus(t, 201)
	for _, query := range []string{"?_pretty=true&_format=xml", "?_format=xml&_pretty=false"} {
		got := a.do(t, "GET", "/fhir/Patient/p1"+query, "").wantStatus(t, 200)
		indented := strings.Contains(string(got.body), "\n  <active value=\"true\"/>\n</Patient>\n")
		if !got.isXML() || indented != strings.Contains(query, "true") {
			t.Errorf("%s: got %s", query, got.body)
		}
	}
	refused := a.do(t, "GET", "/fhir/Patient/none?_pretty=true&_format=xml", "").wantStatus(t, 404)
	if !strings.Contains(string(refused.body), "\n  <issue>\n") {
		t.Errorf("got %s", refused.body)
	}
}
