package rest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir/rest"
)

// FuzzHandler sends anything anywhere. Nothing may panic or be 500, and every refusal
// must be an OperationOutcome.
func FuzzHandler(f *testing.F) {
	for _, r := range rules {
		for _, s := range r.steps {
			path, query, _ := strings.Cut(s.url, "?")
			if len(query) < 1000 && len(s.body) < 1000 {
				f.Add(s.method, path, query, s.body, strings.Join(s.headers, "\n"))
			}
		}
	}
	f.Add("GET", "/fhir/Observation", "patient=p1&code=http://loinc.org|8867-4&date=ge2024&_sort=-date&_count=2", "", "Accept: */*;q=0.1, application/json")
	f.Add("POST", "/fhir/Observation/_search", "", "value-quantity=gt5.4|http://unitsofmeasure.org|mg&_total=accurate", "Content-Type: application/x-www-form-urlencoded")
	f.Add("GET", "/fhir/Observation/o1/_history", "_count=1&_since=2024-01-01T00:00:00Z", "", `If-None-Match: W/"1"`)
	f.Add("POST", "/fhir/Patient/$validate", "profile="+vitalSigns, asked(about(noSuchDay), withMode("create")), "Content-Type: application/fhir+json")
	f.Add("GET", "/fhir/Patient/p1/$validate", "mode=delete&_format=xml", "", "")
	f.Add("PUT", "/fhir/Patient/p1", "", patientXML, "Content-Type: application/fhir+xml\nAccept: application/fhir+xml")
	f.Add("GET", "/fhir", "_type=Observation,Patient&_sort=-_lastUpdated&_count=1&_include=Observation:subject&_list=l1", "", "Prefer: handling=strict")
	f.Add("GET", "/fhir/Patient/p1/*", "_cursor=Observation.&_include:iterate=*&_revinclude=Provenance:target&__explain=true", "", "")
	f.Add("POST", "/fhir/Patient/p1/Observation/_search", "subject:Patient.active=true", "_has:Provenance:target:recorded=ge2024&_summary=true", "Content-Type: application/x-www-form-urlencoded")
	a := newAPI(f, rest.Options{MaxBody: 1 << 16, Proxy: rest.BehindProxy})
	a.do(f, "PUT", "/fhir/Observation/o1", heartRate("o1", "Patient/p1", "2024-05-01T10:00:00Z", "72.50"))
	a.do(f, "PUT", "/fhir/Patient/p1", patient)
	f.Fuzz(func(t *testing.T, method, path, query, body, headers string) {
		r := httptest.NewRequest("GET", "/", strings.NewReader(body))
		r.Method, r.URL.Path, r.URL.RawQuery = method, path, query
		for h := range strings.SplitSeq(headers, "\n") {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Add(name, value)
		}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		if w.Code == http.StatusInternalServerError || w.Code < 200 {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		if w.Body.Len() == 0 {
			if w.Code >= 400 && r.Method != http.MethodHead {
				t.Fatalf("status %d without an OperationOutcome", w.Code)
			}
			return
		}
		got := answer{w.Result(), w.Body.Bytes()}
		var o outcome
		got.decode(t, &o)
		if w.Code >= 400 && (o.ResourceType != "OperationOutcome" || len(o.Issue) == 0) {
			t.Fatalf("status %d without an OperationOutcome: %s", w.Code, w.Body)
		}
	})
}
