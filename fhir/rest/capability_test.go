package rest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir/rest"
	"github.com/kiln-health/kiln/fhir/search"
)

type statement struct {
	ResourceType, FHIRVersion, Kind, Date string
	Format                                []string
	Software                              struct{ Name, Version, ReleaseDate string }
	Implementation                        struct{ URL string }
	Rest                                  []struct {
		Mode        string
		Interaction []struct{ Code string }
		SearchParam []claimedParam
		Resource    []claimedResource
	}
}

type claimedParam struct{ Name, Type, Definition string }

type claimedResource struct {
	Type                      string
	Interaction               []struct{ Code string }
	Versioning                string
	ReadHistory, UpdateCreate bool
	ConditionalCreate         bool
	ConditionalRead           string
	ConditionalUpdate         bool
	ConditionalDelete         string
	SearchParam               []claimedParam
	Operation                 []struct{ Name, Definition string }
}

func (a *api) statement(t testing.TB, query string) statement {
	t.Helper()
	var s statement
	a.do(t, "GET", "/fhir/metadata"+query, "").wantStatus(t, 200).decode(t, &s)
	return s
}

func (r claimedResource) claims(code string) bool {
	return slices.ContainsFunc(r.Interaction, func(i struct{ Code string }) bool { return i.Code == code })
}

// absent reports whether a status says that there is no such interaction.
func absent(status int) bool {
	return status == http.StatusNotFound || status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented
}

func TestCapabilityStatementClaimsWhatIsThereAndNothingElse(t *testing.T) {
	a := newAPI(t, rest.Options{})
	s := a.statement(t, "")
	if s.FHIRVersion != "4.0.1" || s.Kind != "instance" || len(s.Rest) != 1 || s.Rest[0].Mode != "server" || s.Implementation.URL != "http://example.com/fhir" {
		t.Fatalf("%+v", s)
	}
	for _, format := range s.Format {
		a.do(t, "GET", "/fhir/metadata?_format="+strings.ReplaceAll(format, "+", "%2B"), "").wantStatus(t, 200)
	}
	var types []string
	for _, r := range s.Rest[0].Resource {
		types = append(types, r.Type)
		t.Run(r.Type, func(t *testing.T) { a.checkResource(t, r) })
	}
	if !slices.Equal(types, search.Types()) {
		t.Errorf("types %v, want %v", types, search.Types())
	}
	for code, probe := range map[string][2]string{
		"transaction": {"POST", "/fhir"}, "batch": {"POST", "/fhir/"},
		"search-system": {"GET", "/fhir?_lastUpdated=gt2000"}, "history-system": {"GET", "/fhir/_history"},
	} {
		claimed := slices.ContainsFunc(s.Rest[0].Interaction, func(i struct{ Code string }) bool { return i.Code == code })
		if got := a.do(t, probe[0], probe[1], `{"resourceType":"Bundle","type":"`+code+`"}`); claimed == absent(got.StatusCode) {
			t.Errorf("%s: claimed %t, but answered with %d", code, claimed, got.StatusCode)
		}
	}
	for _, p := range s.Rest[0].SearchParam {
		value, ok := map[string]string{"_count": "3", "_sort": "-_lastUpdated", "_summary": "count", "_total": "accurate"}[p.Name]
		if !ok {
			t.Errorf("this test has no value for %s", p.Name)
		}
		a.do(t, "GET", "/fhir/Patient?"+p.Name+"="+value, "", "Prefer: handling=strict").wantStatus(t, 200)
	}
}

// checkResource calls every interaction that R4 has for a type: those that are claimed
// must be there, and the others not.
func (a *api) checkResource(t *testing.T, r claimedResource) {
	required := map[string]string{"Observation": `,"status":"final","code":{"text":"x"}`}[r.Type]
	body := func(id, language string) string {
		return fmt.Sprintf(`{"resourceType":%q,"id":%q,"language":%q%s}`, r.Type, id, language, required)
	}
	base := "/fhir/" + r.Type
	a.do(t, "PUT", base+"/there", body("there", "en")).wantStatus(t, 201)
	a.do(t, "PUT", base+"/there", body("there", "de")).wantStatus(t, 200)
	a.do(t, "PUT", base+"/victim", body("victim", "en")).wantStatus(t, 201)
	probes := []struct{ code, method, url, body string }{
		{"read", "GET", base + "/there", ""},
		{"vread", "GET", base + "/there/_history/2", ""},
		{"update", "PUT", base + "/there", body("there", "fr")},
		{"patch", "PATCH", base + "/there", "[]"},
		{"delete", "DELETE", base + "/victim", ""},
		{"history-instance", "GET", base + "/there/_history", ""},
		{"history-type", "GET", base + "/_history", ""},
		{"create", "POST", base, body("", "en")},
		{"search-type", "GET", base + "?_id=there", ""},
		{"search-type", "POST", base + "/_search?_id=there", ""},
	}
	var known []string
	for _, p := range probes {
		known = append(known, p.code)
		b := strings.Replace(p.body, `"id":"",`, "", 1)
		if got := a.do(t, p.method, p.url, b); r.claims(p.code) == absent(got.StatusCode) {
			t.Errorf("%s: claimed %t, but answered with %d", p.code, r.claims(p.code), got.StatusCode)
		}
	}
	for _, i := range r.Interaction {
		if !slices.Contains(known, i.Code) {
			t.Errorf("this test has no probe for %s", i.Code)
		}
	}

	for _, c := range []struct {
		flag    string
		claimed bool
		shown   bool
	}{
		{"updateCreate", r.UpdateCreate, a.do(t, "PUT", base+"/new", body("new", "en")).StatusCode == 201},
		{"readHistory", r.ReadHistory, a.do(t, "GET", base+"/there/_history/1", "").StatusCode == 200},
		{"conditionalCreate", r.ConditionalCreate, !absent(a.do(t, "POST", base, body("x", "en"), "If-None-Exist: _id=there").StatusCode)},
		{"conditionalUpdate", r.ConditionalUpdate, !absent(a.do(t, "PUT", base+"?_id=there", body("there", "en")).StatusCode)},
		{"conditionalDelete", r.ConditionalDelete != "not-supported", !absent(a.do(t, "DELETE", base+"?_id=there", "").StatusCode)},
		{"conditionalRead", r.ConditionalRead == "full-support",
			a.do(t, "GET", base+"/new", "", `If-None-Match: W/"1"`).StatusCode == 304 &&
				a.do(t, "GET", base+"/new", "", "If-Modified-Since: "+noon.Add(time.Hour).Format(http.TimeFormat)).StatusCode == 304},
		{"versioning", r.Versioning == "versioned" || r.Versioning == "versioned-update",
			a.do(t, "PUT", base+"/new", body("new", "de"), `If-Match: W/"9"`).StatusCode == 412},
		{"that If-Match is demanded", r.Versioning == "versioned-update",
			a.do(t, "PUT", base+"/new", body("new", "it")).StatusCode == 412},
	} {
		if c.claimed != c.shown {
			t.Errorf("%s: claimed %t, shown %t", c.flag, c.claimed, c.shown)
		}
	}

	if got := fmt.Sprint(r.Operation); got != "[{validate http://hl7.org/fhir/OperationDefinition/Resource-validate}]" {
		t.Errorf("operations %s", got)
	}
	for _, url := range []string{base, base + "/there"} {
		a.do(t, "POST", url+"/$validate", body("there", "en")).wantStatus(t, 200)
	}

	values := map[string]string{"token": "x", "reference": "Patient/1", "date": "ge2020-01-01", "quantity": "5.4|http://unitsofmeasure.org|mg"}
	var got []claimedParam
	for _, p := range r.SearchParam {
		got = append(got, p)
		values["token"] = "x"
		if p.Name == "active" {
			values["token"] = "true" // a boolean has no other codes
		}
		a.do(t, "GET", base+"?"+p.Name+"="+values[p.Type], "", "Prefer: handling=strict").wantStatus(t, 200)
		if !strings.HasPrefix(p.Definition, "http://hl7.org/fhir/SearchParameter/") {
			t.Errorf("%s: definition %q", p.Name, p.Definition)
		}
	}
	var want []claimedParam
	for _, p := range search.Params(r.Type) {
		want = append(want, claimedParam{p.Name, string(p.Type), p.Definition})
	}
	if !slices.Equal(got, want) {
		t.Errorf("parameters %v, want %v", got, want)
	}
}

func TestMetadataModes(t *testing.T) {
	a := newAPI(t, rest.Options{})
	if s := a.statement(t, "?mode=full"); len(s.Rest[0].Resource) != len(search.Types()) {
		t.Errorf("full: %d types", len(s.Rest[0].Resource))
	}
	for _, r := range a.statement(t, "?mode=normative").Rest[0].Resource {
		if r.Type == "Device" {
			t.Error("Device is not normative in R4")
		}
	}
	if s := a.statement(t, "?mode=terminology"); s.ResourceType != "TerminologyCapabilities" || len(s.Rest) != 0 {
		t.Errorf("terminology: %+v", s)
	}
	a.do(t, "GET", "/fhir/metadata?mode=nonsense", "").wantStatus(t, http.StatusBadRequest)
}

func TestMetadataNamesTheSoftware(t *testing.T) {
	a := newAPI(t, rest.Options{Software: rest.Software{Name: "Kiln", Version: "1.2.3", Released: time.Date(2024, 4, 1, 0, 0, 0, 0, time.UTC)}})
	s := a.statement(t, "")
	if got := fmt.Sprint(s.Software, s.Date); got != "{Kiln 1.2.3 2024-04-01}2024-05-01T12:00:00Z" {
		t.Errorf("got %s", got)
	}
}
