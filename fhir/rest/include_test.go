package rest_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir/rest"
)

// with is a server that has these resources and takes them as they are.
func with(t testing.TB, resources ...string) *api {
	t.Helper()
	a := newAPI(t, rest.Options{Validation: rest.ValidateNothing})
	a.have(t, resources...)
	return a
}

// have puts resources.
func (a *api) have(t testing.TB, resources ...string) {
	t.Helper()
	for _, body := range resources {
		var r struct{ ResourceType, ID string }
		if err := json.Unmarshal([]byte(body), &r); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if got := a.send(t, "PUT", "/fhir/"+r.ResourceType+"/"+r.ID, body, "Prefer: return=minimal"); got.StatusCode >= 300 {
			t.Fatalf("%d: %s", got.StatusCode, got.body)
		}
	}
}

// find are the entries of a search: Type/id of a match, +Type/id@version of what is included,
// and ! for an outcome.
func (a *api) find(t testing.TB, target string) []string {
	t.Helper()
	return a.send(t, "GET", target, "").bundle(t).entries(t)
}

func (b bundle) entries(t testing.TB) []string {
	t.Helper()
	var all []string
	for _, e := range b.Entry {
		var r struct {
			ResourceType, ID string
			Meta             struct{ VersionID string }
		}
		if err := json.Unmarshal(e.Resource, &r); err != nil {
			t.Fatal(err)
		}
		switch e.Search.Mode {
		case "match":
			all = append(all, r.ResourceType+"/"+r.ID)
		case "include":
			all = append(all, "+"+r.ResourceType+"/"+r.ID+"@"+r.Meta.VersionID)
		case "outcome":
			all = append(all, "!")
		default:
			t.Errorf("an entry without a mode: %s", e.Resource)
		}
	}
	return all
}

func want(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

// sorted are entries whose order is left open.
func sorted(entries []string) []string {
	slices.Sort(entries)
	return entries
}

func ofSubject(subject, more string) string {
	return `"subject":{"reference":"` + subject + `"}` + more
}

func observation(id, more string) string {
	return `{"resourceType":"Observation","id":"` + id + `","status":"final",` + more + `}`
}

// http://hl7.org/fhir/R4/search.html#include
func TestIncludes(t *testing.T) {
	a := with(t,
		`{"resourceType":"Patient","id":"p1","gender":"male"}`,
		`{"resourceType":"Patient","id":"p1","gender":"female","managingOrganization":{"reference":"Organization/h1"},"generalPractitioner":[{"reference":"Practitioner/d1"}]}`,
		`{"resourceType":"Organization","id":"h1","partOf":{"reference":"Organization/h2"}}`,
		`{"resourceType":"Organization","id":"h2","partOf":{"reference":"Organization/h3"}}`,
		`{"resourceType":"Organization","id":"h3","partOf":{"reference":"Organization/h1"}}`,
		`{"resourceType":"Practitioner","id":"d1"}`,
		`{"resourceType":"Device","id":"m1","patient":{"reference":"Patient/p1"}}`,
		`{"resourceType":"Questionnaire","id":"q1","status":"active","url":"http://h.example/q","version":"1"}`,
		`{"resourceType":"Questionnaire","id":"q2","status":"active","url":"http://h.example/q","version":"2"}`,
		`{"resourceType":"QuestionnaireResponse","id":"r1","status":"completed","questionnaire":"http://h.example/q|2"}`,
		`{"resourceType":"QuestionnaireResponse","id":"r2","status":"completed","questionnaire":"http://h.example/q"}`,
		observation("o1", ofSubject("Patient/p1", `,"device":{"reference":"Device/m1"},"performer":[{"reference":"Practitioner/d1"},{"reference":"Organization/h1"}]`)),
		observation("o2", ofSubject("Patient/p1/_history/1", ``)),
		observation("o3", ofSubject("Patient/none", ``)),
		observation("o4", ofSubject("#p", `,"contained":[{"resourceType":"Patient","id":"p"}]`)),
		observation("o5", ofSubject("http://example.com/fhir/Patient/p1", ``)),
		observation("o6", ofSubject("http://elsewhere.example/fhir/Patient/p1", ``)),
		observation("o7", ofSubject("Patient/p1", `,"derivedFrom":[{"reference":"Observation/o1"}]`)),
		`{"resourceType":"Provenance","id":"v1","target":[{"reference":"Observation/o1"},{"reference":"Patient/p1"}]}`,
		`{"resourceType":"Provenance","id":"v2","target":[{"reference":"Provenance/v1"}]}`,
	)
	for _, c := range []struct {
		name, query string
		want        []string
	}{
		{"a reference", "Observation?_id=o1&_include=Observation:subject", []string{"Observation/o1", "+Patient/p1@2"}},
		{"a reference that several matches have is included once", "Observation?_id=o1,o7&_sort=_id&_include=Observation:subject", []string{"Observation/o1", "Observation/o7", "+Patient/p1@2"}},
		{"a match is not included", "Observation?_id=o1,o7&_sort=_id&_include=Observation:derived-from", []string{"Observation/o1", "Observation/o7"}},
		{"a parameter that has one type only", "Observation?_id=o1&_include=Observation:patient", []string{"Observation/o1", "+Patient/p1@2"}},
		{"a type", "Observation?_id=o1&_include=Observation:performer:Organization", []string{"+Organization/h1@1", "Observation/o1"}},
		{"all types", "Observation?_id=o1&_include=Observation:performer", []string{"+Organization/h1@1", "+Practitioner/d1@1", "Observation/o1"}},
		{"all references", "Observation?_id=o1&_include=*", []string{"+Device/m1@1", "+Organization/h1@1", "+Patient/p1@2", "+Practitioner/d1@1", "Observation/o1"}},
		{"all references of a type", "Observation?_id=o1&_include=Observation:*", []string{"+Device/m1@1", "+Organization/h1@1", "+Patient/p1@2", "+Practitioner/d1@1", "Observation/o1"}},
		{"all references to a type", "Observation?_id=o1&_include=Observation:*:Device", []string{"+Device/m1@1", "Observation/o1"}},
		{"the version that is referred to", "Observation?_id=o2&_include=Observation:subject", []string{"+Patient/p1@1", "Observation/o2"}},
		{"both versions", "Observation?_id=o1,o2&_include=Observation:subject", []string{"+Patient/p1@1", "+Patient/p1@2", "Observation/o1", "Observation/o2"}},
		{"nothing that is not there", "Observation?_id=o3&_include=Observation:subject", []string{"Observation/o3"}},
		{"nothing that is contained", "Observation?_id=o4&_include=Observation:subject", []string{"Observation/o4"}},
		{"an absolute reference to this server", "Observation?_id=o5&_include=Observation:subject", []string{"+Patient/p1@2", "Observation/o5"}},
		{"nothing of another server", "Observation?_id=o6&_include=Observation:subject", []string{"Observation/o6"}},
		{"only with iterate what is included is followed", "Observation?_id=o1&_include=Observation:subject&_include:iterate=Patient:organization", []string{"+Organization/h1@1", "+Patient/p1@2", "Observation/o1"}},
		{"again and again, also in a circle", "Organization?_id=h1&_include:iterate=Organization:partof", []string{"+Organization/h2@1", "+Organization/h3@1", "Organization/h1"}},
		{"only what has iterate goes on", "Organization?_id=h1&_include=Organization:partof&_include:iterate=Organization:endpoint", []string{"+Organization/h2@1", "Organization/h1"}},
		{"but once without iterate", "Organization?_id=h1&_include=Organization:partof", []string{"+Organization/h2@1", "Organization/h1"}},
		{"a canonical URL with its version", "QuestionnaireResponse?_id=r1&_include=QuestionnaireResponse:questionnaire", []string{"+Questionnaire/q2@1", "QuestionnaireResponse/r1"}},
		{"a canonical URL without one", "QuestionnaireResponse?_id=r2&_include=QuestionnaireResponse:questionnaire", []string{"+Questionnaire/q1@1", "+Questionnaire/q2@1", "QuestionnaireResponse/r2"}},

		{"what refers to a match", "Patient?_id=p1&_revinclude=Device:patient", []string{"+Device/m1@1", "Patient/p1"}},
		{"provenance, as US Core has it", "Observation?_id=o1&_revinclude=Provenance:target", []string{"+Provenance/v1@1", "Observation/o1"}},
		{"by any of its references", "Patient?_id=p1&_revinclude=Provenance:*", []string{"+Provenance/v1@1", "Patient/p1"}},
		{"of what is of a type", "Patient?_id=p1&_revinclude=Provenance:target:Patient", []string{"+Provenance/v1@1", "Patient/p1"}},
		{"of what was included", "Patient?_id=p1&_revinclude=Device:patient&_revinclude:iterate=Provenance:target", []string{"+Device/m1@1", "+Provenance/v1@1", "+Provenance/v2@1", "Patient/p1"}},
		{"by a canonical URL and its version", "Questionnaire?_id=q1&_revinclude=QuestionnaireResponse:questionnaire", []string{"+QuestionnaireResponse/r2@1", "Questionnaire/q1"}},
		{"both ways", "Device?_id=m1&_include=Device:patient&_revinclude=Observation:device", []string{"+Observation/o1@1", "+Patient/p1@2", "Device/m1"}},
		{"nothing, where nothing matches", "Patient?_id=none&_revinclude=Device:patient", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := a.send(t, "GET", "/fhir/"+c.query, "").bundle(t)
			w := slices.Clone(c.want)
			slices.Sort(w)
			want(t, c.query, sorted(got.entries(t)), w...)
			if again := a.find(t, mustURL(t, got.link("self"))); !slices.Equal(sorted(again), w) {
				t.Errorf("the self link finds %v", again)
			}
			for i, e := range got.Entry {
				if !strings.HasPrefix(e.FullURL, "http://example.com/fhir/") || strings.Contains(e.FullURL, "_history") {
					t.Errorf("entry %d: fullUrl %q", i, e.FullURL)
				}
			}
		})
	}
}

func TestIncludesOfEachPageAreOnIt(t *testing.T) {
	a := with(t)
	for i := range 6 {
		a.have(t, fmt.Sprintf(`{"resourceType":"Patient","id":"p%d"}`, i),
			observation(fmt.Sprintf("o%d", i), ofSubject(fmt.Sprintf("Patient/p%d", i/2), "")))
	}
	target, n := "/fhir/Observation?_sort=_id&_count=2&_total=accurate&_include=Observation:subject", 0
	for ; target != ""; n++ {
		b := a.send(t, "GET", target, "").bundle(t)
		want(t, "page", b.entries(t), fmt.Sprintf("Observation/o%d", 2*n), fmt.Sprintf("Observation/o%d", 2*n+1), fmt.Sprintf("+Patient/p%d@1", n))
		if *b.Total != 6 {
			t.Errorf("total %d counts more than matches", *b.Total)
		}
		if target = b.link("next"); target != "" {
			target = mustURL(t, target)
		}
	}
	if n != 3 {
		t.Errorf("%d pages", n)
	}
}

func TestIncludesAreCutAndThatIsTold(t *testing.T) {
	a := with(t, `{"resourceType":"Patient","id":"p1"}`)
	var b strings.Builder
	for i := range 1005 {
		fmt.Fprintf(&b, `,{"resource":%s,"request":{"method":"PUT","url":"Observation/o%d"}}`, observation(fmt.Sprint("o", i), ofSubject("Patient/p1", "")), i)
	}
	a.send(t, "POST", "/fhir", `{"resourceType":"Bundle","type":"transaction","entry":[`+b.String()[1:]+`]}`).wantStatus(t, 200)
	got := a.find(t, "/fhir/Patient?_revinclude=Observation:subject")
	if len(got) != 1002 || got[0] != "Patient/p1" || got[1001] != "!" {
		t.Errorf("%d entries, the last is %s", len(got), got[len(got)-1])
	}
}

func TestIncludesAndParts(t *testing.T) {
	a := with(t, `{"resourceType":"Patient","id":"p1","gender":"male","photo":[{"title":"x"}]}`, observation("o1", ofSubject("Patient/p1", `,"note":[{"text":"x"}]`)))
	entry := func(query string, i int) string {
		return string(a.send(t, "GET", "/fhir/Observation?_include=Observation:subject&"+query, "").bundle(t).Entry[i].Resource)
	}
	for _, c := range []struct {
		name, query string
		entry       int
		has, lacks  string
	}{
		{"_elements are those of the matches", "_elements=status", 0, "SUBSETTED", "subject"},
		{"and others are whole", "_elements=status", 1, "photo", "SUBSETTED"},
		{"_summary is of all: a match", "_summary=true", 0, "SUBSETTED", "note"},
		{"_summary is of all: another", "_summary=true", 1, "SUBSETTED", "photo"},
	} {
		got := entry(c.query, c.entry)
		if !strings.Contains(got, c.has) || strings.Contains(got, c.lacks) {
			t.Errorf("%s: %s", c.name, got)
		}
	}
	a.do(t, "GET", "/fhir/Observation?_include=Observation:subject&_summary=text", "").wantStatus(t, 400)
}

func TestIncludesThatCannotBeAreRefused(t *testing.T) {
	a := with(t)
	for _, query := range []string{
		"_include=Observation:code", "_include=Observation:nonsense", "_include=Patient:organization", "_include=subject",
		"_include=Observation:subject:Organization", "_revinclude=Patient:organization", "_revinclude=*", "_include:recurse=Observation:subject",
	} {
		a.do(t, "GET", "/fhir/Observation?"+query, "").wantStatus(t, 400)
	}
}

func decode(t testing.TB, body []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(body, v); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
}
