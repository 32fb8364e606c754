package rest_test

import (
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir/rest"
)

const patientXML = `<Patient xmlns="http://hl7.org/fhir"><id value="p1"/><active value="true"/></Patient>`

// asXML are the headers of a request with a body in XML.
var asXML = []string{"Content-Type: ", "Content-Type: application/fhir+xml"}

// http://hl7.org/fhir/R4/xml.html
func TestXMLIsStoredAsTheJSONOfTheSameResource(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/p1", patientXML, asXML...).wantStatus(t, 201)
	if got := a.do(t, "PUT", "/fhir/Patient/p1", patient).wantStatus(t, 200).Header.Get("ETag"); got != `W/"1"` {
		t.Errorf("the same resource in JSON made another version: %s", got)
	}
	for _, mediaType := range []string{"application/xml", "text/xml; charset=UTF-8", "application/xml+fhir", "application/fhir+xml; fhirVersion=4.0"} {
		a.do(t, "PUT", "/fhir/Patient/p1", patientXML, "Content-Type: ", "Content-Type: "+mediaType).wantStatus(t, 200)
	}
}

func TestDecimalsComeBackInXMLAsTheyWereSent(t *testing.T) {
	a := newAPI(t, rest.Options{})
	// XML has the order of the definition, in which device comes behind value.
	reading := strings.Replace(heartRate("o1", "Patient/p1", "2024-05-01T10:00:00+02:00", "72.50"), `"device":{"reference":"Device/monitor-1"},`, "", 1)
	a.do(t, "PUT", "/fhir/Observation/o1", reading).wantStatus(t, 201)
	got := a.do(t, "GET", "/fhir/Observation/o1", "", "Accept: application/fhir+xml").wantStatus(t, 200)
	if !got.isXML() || !strings.Contains(string(got.body), `<value value="72.50"/>`) {
		t.Errorf("72.50 is not there: %s", got.body)
	}
	a.do(t, "PUT", "/fhir/Observation/o1", string(got.body), asXML...).wantStatus(t, 200)
	if now := a.do(t, "GET", "/fhir/Observation/o1", ""); now.Header.Get("ETag") != `W/"1"` {
		t.Errorf("what was read as XML is another resource when it is sent back: %s", now.body)
	}
}

func TestEveryKindOfResponseHasXML(t *testing.T) {
	a := newAPI(t, rest.Options{})
	for _, c := range []struct {
		name, method, url, body string
		headers                 []string
		status                  int
		root                    string
	}{
		{"create", "POST", "/fhir/Patient", patientXML, nil, 201, "Patient"},
		{"update", "PUT", "/fhir/Patient/p1", patientXML, nil, 201, "Patient"},
		{"update with the outcome", "PUT", "/fhir/Patient/p1", patientXML, []string{"Prefer: return=OperationOutcome"}, 200, "OperationOutcome"},
		{"read", "GET", "/fhir/Patient/p1", "", nil, 200, "Patient"},
		{"vread", "GET", "/fhir/Patient/p1/_history/1", "", nil, 200, "Patient"},
		{"history", "GET", "/fhir/Patient/p1/_history", "", nil, 200, "Bundle"},
		{"search", "GET", "/fhir/Patient?nonsense=1", "", nil, 200, "Bundle"},
		{"metadata", "GET", "/fhir/metadata", "", nil, 200, "CapabilityStatement"},
		{"terminology", "GET", "/fhir/metadata?mode=terminology", "", nil, 200, "TerminologyCapabilities"},
		{"validate", "POST", "/fhir/Patient/$validate", patientXML, nil, 200, "OperationOutcome"},
		{"a refusal", "GET", "/fhir/Patient/none", "", nil, 404, "OperationOutcome"},
		{"an unknown URL", "GET", "/nowhere", "", nil, 404, "OperationOutcome"},
		{"a query that cannot be read", "GET", "/fhir/Patient?_id=%zz", "", nil, 400, "OperationOutcome"},
		{"a refused resource", "PUT", "/fhir/Patient/p1", strings.Replace(patientXML, "true", "yes", 1), nil, 400, "OperationOutcome"},
	} {
		t.Run(c.name, func(t *testing.T) {
			headers := append([]string{"Accept: application/fhir+xml"}, c.headers...)
			if c.body != "" {
				headers = append(headers, asXML...)
			}
			got := a.do(t, c.method, c.url, c.body, headers...).wantStatus(t, c.status)
			if !got.isXML() || !strings.Contains(string(got.body), "?><"+c.root+` xmlns="http://hl7.org/fhir">`) {
				t.Errorf("want a %s in XML: %s", c.root, got.body)
			}
		})
	}
}

func TestXMLThatIsNoResourceIs400AndSaysWhere(t *testing.T) {
	a := newAPI(t, rest.Options{})
	for _, c := range []struct {
		name, body string
		status     int
		says       string
	}{
		{"not well-formed", "<Patient xmlns=\"http://hl7.org/fhir\">\n<active value=\"true\">\n</Patient>", 400, "line 3 column"},
		{"a DTD", `<!DOCTYPE p [<!ENTITY e "x">]>` + patientXML, 400, "DTD"},
		{"without the namespace", `<Patient><active value="true"/></Patient>`, 400, "http://hl7.org/fhir"},
		{"an element that is not known", strings.Replace(patientXML, "active", "colour", 2), 400, "colour"},
		{"JSON that is called XML", patient, 400, "line 1 column 1"},
		{"nothing", " ", 400, "line 1"},
		{"a broken invariant", `<Patient xmlns="http://hl7.org/fhir"><contact><gender value="other"/></contact></Patient>`, 422, "pat-1"},
		{"a resource of another type", `<Device xmlns="http://hl7.org/fhir"/>`, 400, "resourceType"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, accept := range []string{"Accept: application/fhir+json", "Accept: application/fhir+xml"} {
				got := a.do(t, "POST", "/fhir/Patient", c.body, append([]string{accept}, asXML...)...).wantStatus(t, c.status)
				if !strings.Contains(string(got.body), c.says) || got.isXML() != strings.HasSuffix(accept, "xml") {
					t.Errorf("%s: want to read %q: %s", accept, c.says, got.body)
				}
			}
		})
	}
}

func TestValidateReadsParametersInXML(t *testing.T) {
	a := newAPI(t, rest.Options{})
	body := `<Parameters xmlns="http://hl7.org/fhir"><parameter><name value="resource"/><resource>` +
		`<Patient><birthDate value="2024-02-30"/></Patient></resource></parameter></Parameters>`
	if got := a.do(t, "POST", "/fhir/Patient/$validate", body, asXML...).wantStatus(t, 200); !strings.Contains(string(got.body), "Patient.birthDate") {
		t.Errorf("got %s", got.body)
	}
}

func TestWhatHasNoXMLIs406ButAWriteOfItStays201(t *testing.T) {
	a := newAPI(t, rest.Options{Validation: rest.ValidateNothing})
	const nonsense = `{"resourceType":"Patient","id":"p1","colour":"red"}`
	got := a.do(t, "PUT", "/fhir/Patient/p1", nonsense, "Accept: application/fhir+xml").wantStatus(t, 201)
	if got.Header.Get("ETag") != `W/"1"` || !got.isXML() || got.outcome(t).Issue[0].Severity != "warning" {
		t.Errorf("%v %s", got.Header, got.body)
	}
	if got := a.do(t, "GET", "/fhir/Patient/p1", "", "Accept: application/fhir+xml").wantStatus(t, 406); !got.isXML() || got.Header.Get("ETag") != "" {
		t.Errorf("%v %s", got.Header, got.body)
	}
	a.send(t, "GET", "/fhir/Patient/p1", "").wantStatus(t, 200)
}

func TestHeadOfXMLHasItsLength(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/p1", patient)
	get := a.do(t, "GET", "/fhir/Patient/p1?_format=xml", "")
	head := a.do(t, "HEAD", "/fhir/Patient/p1?_format=xml", "")
	for _, name := range []string{"Content-Length", "Content-Type", "ETag"} {
		if get.Header.Get(name) == "" || get.Header.Get(name) != head.Header.Get(name) {
			t.Errorf("%s: GET %q, HEAD %q", name, get.Header.Get(name), head.Header.Get(name))
		}
	}
}
