package rest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/fhir/rest"
	"github.com/kiln-health/kiln/fhir/search"
)

type statement struct {
	ResourceType, FHIRVersion, Kind, Date string
	Format                                []string
	Software                              struct{ Name, Version, ReleaseDate string }
	Implementation                        struct{ URL string }
	PatchFormat                           []string
	Rest                                  []struct {
		Mode        string
		Security    struct{ CORS bool }
		Interaction []struct{ Code string }
		SearchParam []claimedParam
		Resource    []claimedResource
		Operation   []struct{ Name, Definition string }
		Compartment []string
	}
}

type claimedParam struct{ Name, Type, Definition, Documentation string }

type claimedResource struct {
	Type                      string
	Interaction               []struct{ Code string }
	Versioning                string
	ReadHistory, UpdateCreate bool
	ConditionalCreate         bool
	ConditionalRead           string
	ConditionalUpdate         bool
	ConditionalDelete         string
	SearchInclude             []string
	SearchRevInclude          []string
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
	// Without validation, the smallest resource of every type can be stored.
	a := newAPI(t, rest.Options{Validation: rest.ValidateNothing})
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
	if !slices.Equal(types, search.R4().Types()) {
		t.Errorf("types %v, want %v", types, search.R4().Types())
	}
	for code, probe := range map[string][2]string{
		"transaction": {"POST", "/fhir"}, "batch": {"POST", "/fhir/"},
		"search-system": {"GET", "/fhir?_lastUpdated=gt2000"}, "history-system": {"GET", "/fhir/_history"},
	} {
		claimed := slices.ContainsFunc(s.Rest[0].Interaction, func(i struct{ Code string }) bool { return i.Code == code })
		if got := a.send(t, probe[0], probe[1], `{"resourceType":"Bundle","type":"`+code+`"}`); claimed == absent(got.StatusCode) {
			t.Errorf("%s: claimed %t, but answered with %d", code, claimed, got.StatusCode)
		}
	}
	for _, p := range s.Rest[0].SearchParam {
		value, ok := map[string]string{
			"_count": "3", "_sort": "-_lastUpdated", "_summary": "count", "_total": "accurate", "_elements": "id", "_list": "there",
			"_include": "Device:patient", "_revinclude": "Device:patient", "_type": "Device,Patient", "_has": "",
		}[p.Name]
		if !ok {
			t.Errorf("this test has no value for %s", p.Name)
		}
		query := p.Name + "=" + value
		if p.Name == "_has" {
			query = "_type=Patient&_has:Device:patient:status=active"
		}
		a.send(t, "GET", "/fhir?"+query, "", "Prefer: handling=strict").wantStatus(t, 200)
	}
	for _, definition := range s.Rest[0].Compartment {
		of := definition[strings.LastIndexByte(definition, '/')+1:]
		a.send(t, "GET", "/fhir/"+strings.ToUpper(of[:1])+of[1:]+"/there/*", "").wantStatus(t, 200)
	}
	if len(s.Rest[0].Compartment) != 5 {
		t.Errorf("compartments %v", s.Rest[0].Compartment)
	}
	for _, o := range s.Rest[0].Operation {
		a.checkOperation(t, "/fhir/$"+o.Name, o.Definition)
	}
}

// checkOperation calls an operation that is claimed.
func (a *api) checkOperation(t *testing.T, url, definition string) {
	t.Helper()
	if !strings.HasPrefix(definition, "http://hl7.org/fhir/OperationDefinition/") && !strings.HasPrefix(definition, fhir.Namespace+"OperationDefinition/") {
		t.Errorf("%s: definition %q", url, definition)
	}
	for _, method := range []string{"GET", "POST"} {
		if got := a.send(t, method, url, `{"resourceType":"Parameters"}`); !absent(got.StatusCode) {
			return
		}
	}
	t.Errorf("%s is claimed, and not there", url)
}

// What CORS says is what a browser would find.
func TestCapabilityStatementTellsCORS(t *testing.T) {
	for _, origins := range [][]string{nil, {"https://app.example"}} {
		if s := newAPI(t, rest.Options{CORS: origins}).statement(t, ""); s.Rest[0].Security.CORS != (origins != nil) {
			t.Errorf("%v: claimed %t", origins, s.Rest[0].Security.CORS)
		}
	}
}

// checkResource calls every interaction that R4 has for a type: those that are claimed
// must be there, and the others not.
func (a *api) checkResource(t *testing.T, r claimedResource) {
	body := func(id, language string) string {
		return fmt.Sprintf(`{"resourceType":%q,"id":%q,"language":%q}`, r.Type, id, language)
	}
	base := "/fhir/" + r.Type
	a.send(t, "PUT", base+"/there", body("there", "en")).wantStatus(t, 201)
	a.send(t, "PUT", base+"/there", body("there", "de")).wantStatus(t, 200)
	a.send(t, "PUT", base+"/victim", body("victim", "en")).wantStatus(t, 201)
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
		if got := a.send(t, p.method, p.url, b); r.claims(p.code) == absent(got.StatusCode) {
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
		{"updateCreate", r.UpdateCreate, a.send(t, "PUT", base+"/new", body("new", "en")).StatusCode == 201},
		{"readHistory", r.ReadHistory, a.send(t, "GET", base+"/there/_history/1", "").StatusCode == 200},
		{"conditionalCreate", r.ConditionalCreate, !absent(a.send(t, "POST", base, body("x", "en"), "If-None-Exist: _id=there").StatusCode)},
		{"conditionalUpdate", r.ConditionalUpdate, !absent(a.send(t, "PUT", base+"?_id=there", body("there", "en")).StatusCode)},
		{"conditionalDelete", r.ConditionalDelete != "not-supported", !absent(a.send(t, "DELETE", base+"?_id=there", "").StatusCode)},
		{"conditionalRead", r.ConditionalRead == "full-support",
			a.send(t, "GET", base+"/new", "", `If-None-Match: W/"1"`).StatusCode == 304 &&
				a.send(t, "GET", base+"/new", "", "If-Modified-Since: "+noon.Add(time.Hour).Format(http.TimeFormat)).StatusCode == 304},
		{"versioning", r.Versioning == "versioned" || r.Versioning == "versioned-update",
			a.send(t, "PUT", base+"/new", body("new", "de"), `If-Match: W/"9"`).StatusCode == 412},
		{"that If-Match is demanded", r.Versioning == "versioned-update",
			a.send(t, "PUT", base+"/new", body("new", "it")).StatusCode == 412},
	} {
		if c.claimed != c.shown {
			t.Errorf("%s: claimed %t, shown %t", c.flag, c.claimed, c.shown)
		}
	}

	var operations []string
	for _, o := range r.Operation {
		operations = append(operations, o.Name)
		instance := base + "/there/$" + o.Name
		if o.Name == "lastn" || o.Name == "stats" {
			instance = base + "/$" + o.Name
		}
		a.checkOperation(t, instance, o.Definition)
	}
	for name, types := range map[string][]string{"validate": nil, "meta": nil, "meta-add": nil, "meta-delete": nil, "lastn": {"Observation"}, "stats": {"Observation"}} {
		if claimed := slices.Contains(operations, name); claimed != (types == nil || slices.Contains(types, r.Type)) {
			t.Errorf("$%s: claimed %t", name, claimed)
		}
	}
	if r.Type != "Parameters" { // which would be the arguments
		for _, url := range []string{base, base + "/there"} {
			a.send(t, "POST", url+"/$validate", body("there", "en")).wantStatus(t, 200)
		}
	}

	var got []claimedParam
	for _, p := range r.SearchParam {
		if !strings.HasPrefix(p.Definition, "http://hl7.org/fhir/SearchParameter/") && !strings.HasPrefix(p.Definition, fhir.Namespace+"SearchParameter/") {
			t.Errorf("%s: definition %q", p.Name, p.Definition)
		}
		param, ok := search.R4().Lookup(r.Type, p.Name)
		if !ok {
			t.Errorf("%s is claimed, and not known", p.Name)
			continue
		}
		a.accepts(t, r.Type, p.Name, valuesOf(param))
		if param.Sortable != strings.HasSuffix(p.Documentation, "sorts") {
			t.Errorf("%s: sortable %t, but %q", p.Name, param.Sortable, p.Documentation)
		}
		for _, m := range search.R4().Modifiers(r.Type, p.Name) {
			if !strings.Contains(p.Documentation, ":"+m) {
				t.Errorf("%s:%s is not documented: %q", p.Name, m, p.Documentation)
			}
		}
		p.Documentation = ""
		got = append(got, p)
	}
	var want []claimedParam
	for _, p := range search.R4().Of(r.Type) {
		want = append(want, claimedParam{Name: p.Name, Type: string(p.Type), Definition: p.Definition})
	}
	if !slices.Equal(got, want) {
		t.Errorf("parameters %v, want %v", got, want)
	}
	// Parameters of another type are none of this one.
	types := search.R4().Types()
	i, _ := slices.BinarySearch(types, r.Type)
	for _, p := range search.R4().Of(types[(i+1)%len(types)]) {
		if slices.ContainsFunc(got, func(c claimedParam) bool { return c.Name == p.Name }) {
			continue
		}
		a.send(t, "GET", base+"?"+p.Name+"="+valuesOf(p)[0], "", "Prefer: handling=strict").wantStatus(t, 400)
	}
}

// valuesOf are values of which a search for the parameter takes one at least: a boolean has
// other codes than all else.
func valuesOf(p search.Param) []string {
	if p.Type == search.CompositeParam {
		all := []string{""}
		for i, c := range p.Components {
			var more []string
			for _, before := range all {
				for _, v := range valuesOf(c) {
					if i > 0 {
						v = before + "$" + v
					}
					more = append(more, v)
				}
			}
			all = more
		}
		return all
	}
	return map[search.ParamType][]string{
		search.TokenParam: {"x", "true"}, search.ReferenceParam: {"x"}, search.DateParam: {"ge2020-01-01"},
		search.QuantityParam: {"5.4|http://unitsofmeasure.org|mg"}, search.NumberParam: {"1"}, search.StringParam: {"x"}, search.URIParam: {"http://h.example/x"},
		search.SpecialParam: {"48.2|16.4|5|km"},
	}[p.Type]
}

// accepts wants a search with one of the values to be answered.
func (a *api) accepts(t *testing.T, resourceType, name string, values []string) {
	t.Helper()
	var got answer
	for _, v := range values {
		if got = a.send(t, "GET", "/fhir/"+resourceType+"?_count=1&"+name+"="+v, "", "Prefer: handling=strict"); got.StatusCode == 200 {
			return
		}
	}
	t.Errorf("%s?%s: %d: %s", resourceType, name, got.StatusCode, got.body)
}

// What is claimed of modifiers, includes and orders is there, and none that is not claimed.
func TestClaimedModifiersIncludesAndOrdersAreAccepted(t *testing.T) {
	a := newAPI(t, rest.Options{})
	for _, r := range a.statement(t, "").Rest[0].Resource {
		t.Run(r.Type, func(t *testing.T) {
			if !slices.Contains([]string{"Observation", "Device", "DeviceMetric", "Patient", "Questionnaire", "List"}, r.Type) {
				fhirtest.Long(t)
			}
			a.checkClaims(t, r)
		})
	}
}

// everyModifier of R4. http://hl7.org/fhir/R4/search.html#modifiers
var everyModifier = []string{"missing", "exact", "contains", "text", "in", "not-in", "below", "above", "not", "identifier", "of-type"}

func (a *api) checkClaims(t *testing.T, r claimedResource) {
	for _, p := range r.SearchParam {
		param, _ := search.R4().Lookup(r.Type, p.Name)
		promised := strings.Split(p.Documentation, "; ")
		claimed := strings.Split(promised[0], ", ")
		for _, m := range everyModifier {
			values := valuesOf(param)
			switch m {
			case "missing":
				values = []string{"true"}
			case "in", "not-in":
				values = []string{"http://hl7.org/fhir/ValueSet/observation-status"}
			case "of-type", "identifier":
				values = []string{"s|c", "s|c|v"}
			case "above", "below":
				if param.Type == search.TokenParam {
					values = []string{"http://terminology.hl7.org/CodeSystem/v3-ActCode|AMB", "x"}
				}
			}
			if slices.Contains(claimed, ":"+m) {
				a.accepts(t, r.Type, p.Name+":"+m, values)
				continue
			}
			for _, v := range values {
				a.send(t, "GET", "/fhir/"+r.Type+"?_count=1&"+p.Name+":"+m+"="+v, "").wantStatus(t, 400)
			}
		}
		for _, target := range param.Targets {
			if !slices.Contains(claimed, ":"+target) {
				t.Errorf("%s:%s is not claimed: %q", p.Name, target, p.Documentation)
			}
			a.accepts(t, r.Type, p.Name+":"+target, []string{"x"})
		}
		if param.Type == search.ReferenceParam && param.Targets == nil {
			if !slices.Contains(promised, ":[type]") {
				t.Errorf("%s:[type] is not claimed: %q", p.Name, p.Documentation)
			}
			a.accepts(t, r.Type, p.Name+":Device", []string{"x"})
		}
		if status := a.send(t, "GET", "/fhir/"+r.Type+"?_count=1&_sort="+p.Name, "").StatusCode; (status == 200) != slices.Contains(promised, "sorts") {
			t.Errorf("%s: %q, but answered with %d", p.Name, p.Documentation, status)
		}
	}
	for _, i := range r.SearchInclude {
		a.send(t, "GET", "/fhir/"+r.Type+"?_include="+i, "").wantStatus(t, 200)
	}
	for _, i := range r.SearchRevInclude {
		a.send(t, "GET", "/fhir/"+r.Type+"?_revinclude="+i, "").wantStatus(t, 200)
	}
	references := slices.ContainsFunc(search.R4().Of(r.Type), func(p search.Param) bool { return p.Type == search.ReferenceParam })
	if references != (len(r.SearchInclude) > 0) || len(r.SearchRevInclude) == 0 {
		t.Errorf("%d includes, %d reverse ones", len(r.SearchInclude), len(r.SearchRevInclude))
	}
}

func TestMetadataModes(t *testing.T) {
	a := newAPI(t, rest.Options{})
	if s := a.statement(t, "?mode=full"); len(s.Rest[0].Resource) != len(search.R4().Types()) {
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
