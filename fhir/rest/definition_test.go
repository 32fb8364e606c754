package rest_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/rest"
)

// TestWhatIsOursIsDefinedHere reads what each canonical URL of ours in the CapabilityStatement, and
// in the answers of operations, defines.
func TestWhatIsOursIsDefinedHere(t *testing.T) {
	a := newAPI(t, rest.Options{})
	urls := []string{fhir.Namespace + "CodeSystem/regression"}
	for _, r := range a.statement(t, "").Rest[0].Resource {
		for _, p := range r.SearchParam {
			urls = append(urls, p.Definition)
		}
		for _, o := range r.Operation {
			urls = append(urls, o.Definition)
		}
	}
	slices.Sort(urls)
	urls = slices.DeleteFunc(slices.Compact(urls), func(url string) bool { return !strings.HasPrefix(url, fhir.Namespace) })
	if len(urls) != 8 {
		t.Errorf("%d URLs are ours: %q", len(urls), urls)
	}
	for _, url := range urls {
		of := strings.TrimPrefix(url, fhir.Namespace)
		got := a.do(t, "GET", "/fhir/"+of, "").wantStatus(t, http.StatusOK)
		var d struct{ ResourceType, ID, URL, Status string }
		got.decode(t, &d)
		if d.URL != url || d.ResourceType+"/"+d.ID != of || d.Status != "active" {
			t.Errorf("%s: got %+v", url, d)
		}
		if got.Header.Get("ETag") != "" {
			t.Errorf("%s: what is not stored has the version %s", url, got.Header.Get("ETag"))
		}
		var o struct {
			Issue []struct{ Severity, Diagnostics string }
		}
		found := a.do(t, "POST", "/fhir/"+d.ResourceType+"/$validate", string(got.body)).wantStatus(t, http.StatusOK)
		if err := json.Unmarshal(found.body, &o); err != nil {
			t.Fatal(err)
		}
		for _, i := range o.Issue {
			if i.Severity == "error" || i.Severity == "fatal" {
				t.Errorf("%s: %s", url, found.body)
			}
		}
		a.do(t, "GET", "/fhir/"+of+"/_history/1", "").wantStatus(t, http.StatusNotFound)
		a.do(t, "DELETE", "/fhir/"+of, "").wantStatus(t, http.StatusNoContent)
		a.do(t, "GET", "/fhir/"+of, "").wantStatus(t, http.StatusOK)
		if b := a.do(t, "GET", "/fhir/"+of+"?_format=xml", ""); b.StatusCode != http.StatusOK {
			t.Errorf("%s as XML: %d", of, b.StatusCode)
		}
	}
	for _, of := range []string{"SearchParameter/Observation-code", "OperationDefinition/Patient-everything", "CodeSystem/none", "Device/parent"} {
		a.do(t, "GET", "/fhir/"+of, "").wantStatus(t, http.StatusNotFound)
	}
}

func TestAStoredDefinitionComesBeforeOurs(t *testing.T) {
	a := newAPI(t, rest.Options{})
	const of = "/fhir/CodeSystem/regression"
	a.do(t, "PUT", of, `{"resourceType":"CodeSystem","id":"regression","status":"draft","content":"fragment"}`).wantStatus(t, http.StatusCreated)
	if got := a.do(t, "GET", of, "").wantStatus(t, http.StatusOK); !strings.Contains(string(got.body), "fragment") {
		t.Errorf("got %s", got.body)
	}
	a.do(t, "DELETE", of, "").wantStatus(t, http.StatusNoContent)
	a.do(t, "GET", of, "").wantStatus(t, http.StatusGone)
}

func TestTerminologyCapabilitiesNameTheSystemsWithAHierarchy(t *testing.T) {
	a := newAPI(t, rest.Options{})
	got := a.do(t, "GET", "/fhir/metadata?mode=terminology", "").wantStatus(t, http.StatusOK)
	var c struct {
		CodeSystem []struct {
			URI         string
			Subsumption bool
		}
	}
	got.decode(t, &c)
	if len(c.CodeSystem) != 88 || c.CodeSystem[0].URI == "" || !c.CodeSystem[0].Subsumption {
		t.Errorf("%d code systems", len(c.CodeSystem))
	}
	for of, doc := range map[string]answer{"TerminologyCapabilities": got, "CapabilityStatement": a.do(t, "GET", "/fhir/metadata", "")} {
		if o := a.do(t, "POST", "/fhir/"+of+"/$validate", string(doc.body)); o.StatusCode != http.StatusOK || strings.Contains(string(o.body), `"severity":"error"`) {
			t.Errorf("%s: %.2000s", of, o.body)
		}
	}
}

func TestBelowFindsWhatACodeSubsumes(t *testing.T) {
	a := newAPI(t, rest.Options{})
	for id, code := range map[string]string{"high": "H", "very-high": "HH", "low": "L", "very-low": "LL", "normal": "N", "abnormal": "A"} {
		o := heartRate(id, "Patient/p1", "2024-05-01T10:00:00Z", "72")
		o = strings.TrimSuffix(o, "}") + `,"interpretation":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation","code":"` + code + `"}]}]}`
		a.do(t, "PUT", "/fhir/Observation/"+id, o).wantStatus(t, http.StatusCreated)
	}
	for query, want := range map[string][]string{
		"interpretation:below=A": {"abnormal", "high", "low", "very-high", "very-low"},
		"interpretation:below=http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation|H": {"high", "very-high"},
		"interpretation:above=LL":                     {"abnormal", "low", "very-low"},
		"interpretation:below=H,L":                    {"high", "low", "very-high", "very-low"},
		"interpretation:below=A&interpretation:not=A": {"high", "low", "very-high", "very-low"},
	} {
		b := a.do(t, "GET", "/fhir/Observation?_sort=_id&_total=accurate&"+query, "").bundle(t)
		if got := b.ids(t); !slices.Equal(got, want) || *b.Total != len(want) {
			t.Errorf("%s: got %v of %d, want %v", query, got, *b.Total, want)
		}
	}
	got := a.do(t, "GET", "/fhir/Observation?code:below=http://loinc.org|8867-4", "").wantStatus(t, http.StatusBadRequest)
	if !strings.Contains(string(got.body), "TerminologyCapabilities") {
		t.Errorf("got %s", got.body)
	}
}
