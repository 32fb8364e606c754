package rest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir/rest"
)

// ward are two patients, whose devices and staff are partly the same.
var ward = []string{
	`{"resourceType":"Organization","id":"org","name":"Ward"}`,
	`{"resourceType":"Practitioner","id":"doc"}`,
	`{"resourceType":"Practitioner","id":"stranger"}`,
	`{"resourceType":"Patient","id":"p","generalPractitioner":[{"reference":"Practitioner/doc"}],"photo":[{"url":"Binary/photo"}]}`,
	`{"resourceType":"Patient","id":"q","generalPractitioner":[{"reference":"Practitioner/stranger"}]}`,
	`{"resourceType":"Binary","id":"photo","contentType":"image/png"}`,
	`{"resourceType":"Device","id":"hub","owner":{"reference":"Organization/org"},"patient":{"reference":"Patient/q"}}`,
	`{"resourceType":"Device","id":"pump"}`,
	`{"resourceType":"DeviceMetric","id":"metric","type":{"text":"SpO2"},"category":"measurement","source":{"reference":"Device/hub"}}`,
	`{"resourceType":"Encounter","id":"e","status":"finished","class":{"code":"IMP"},"subject":{"reference":"Patient/p"},"period":{"start":"2024-04-30"}}`,
	`{"resourceType":"Observation","id":"o1","status":"final","code":{"text":"SpO2"},"subject":{"reference":"Patient/p"},"encounter":{"reference":"Encounter/e"},"effectiveDateTime":"2024-05-01","device":{"reference":"DeviceMetric/metric"}}`,
	`{"resourceType":"Observation","id":"o2","status":"final","code":{"text":"SpO2"},"subject":{"reference":"Patient/p"},"effectiveDateTime":"2024-05-03","device":{"reference":"http://example.com/fhir/Device/hub"},"derivedFrom":[{"reference":"Observation/of-q"}]}`,
	`{"resourceType":"Observation","id":"of-q","status":"final","code":{"text":"SpO2"},"subject":{"reference":"Patient/q"},"effectiveDateTime":"2024-05-03","device":{"reference":"Device/pump"}}`,
	`{"resourceType":"Group","id":"study","type":"person","actual":true,"member":[{"entity":{"reference":"Patient/p"}},{"entity":{"reference":"Patient/q"}}]}`,
}

func newWard(t testing.TB) *api {
	a := newAPI(t, rest.Options{})
	for _, r := range ward {
		a.clock.forward(time.Minute)
		a.put(t, r)
	}
	return a
}

// entries are Type/id of all entries that are resources, those that are included in brackets.
func everythingIn(t testing.TB, b bundle) []string {
	t.Helper()
	var all []string
	for _, e := range b.Entry {
		name := strings.TrimPrefix(e.FullURL, "http://example.com/fhir/")
		switch e.Search.Mode {
		case "include":
			name = "(" + name + ")"
		case "outcome":
			name = "outcome"
		}
		all = append(all, name)
	}
	return all
}

func TestEverything(t *testing.T) {
	a := newWard(t)
	since := noon.Add(11 * time.Minute).Format(time.RFC3339) // o1 was the eleventh
	for _, c := range []struct{ name, url, want string }{
		{"of a Patient: the compartment, and what it refers to, but nothing of another Patient", "Patient/p/$everything",
			"Patient/p Encounter/e Group/study Observation/o1 Observation/o2 (Binary/photo) (Device/hub) (DeviceMetric/metric) (Organization/org) (Practitioner/doc)"},
		{"of a Device: its measurements, and whose they are", "Device/pump/$everything", "Device/pump Observation/of-q (Patient/q)"},
		{"of an Encounter", "Encounter/e/$everything", "Encounter/e Observation/o1 (Device/hub) (DeviceMetric/metric) (Organization/org) (Patient/p)"},
		{"some types", "Patient/p/$everything?_type=Observation,Device&_type=Practitioner", "Observation/o1 Observation/o2 (Device/hub) (Practitioner/doc)"},
		{"what was changed since", "Patient/p/$everything?_since=" + since, "Group/study Observation/o1 Observation/o2"},
		{"dates of care do not concern what has none", "Patient/p/$everything?start=2024-05-02", "Patient/p Encounter/e Group/study Observation/o2 (Binary/photo) (Device/hub) (Organization/org) (Practitioner/doc)"},
		{"an end", "Patient/p/$everything?end=2024-04-30", "Patient/p Encounter/e Group/study (Binary/photo) (Practitioner/doc)"},
		{"an end before the beginning", "Patient/p/$everything?end=2024-04-29", "Patient/p Group/study (Binary/photo) (Practitioner/doc)"},
		{"a range", "Patient/p/$everything?start=2024-05-01&end=2024-05-02&_type=Observation", "Observation/o1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := a.do(t, "GET", "/fhir/"+c.url, "").bundle(t)
			if got := strings.Join(everythingIn(t, b), " "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if b.link("next") != "" || b.Type != "searchset" {
				t.Errorf("type %s, next %s", b.Type, b.link("next"))
			}
			for count := 1; count <= 4; count++ {
				if got := strings.Join(a.everyPage(t, c.url, count), " "); got != c.want {
					t.Errorf("in pages of %d:\ngot  %s\nwant %s", count, got, c.want)
				}
			}
		})
	}
	posted := a.do(t, "POST", "/fhir/Patient/p/$everything", `{"resourceType":"Parameters","parameter":[{"name":"_type","valueCode":"Encounter"},{"name":"_count","valueInteger":5}]}`).bundle(t)
	if got := fmt.Sprint(everythingIn(t, posted)); got != "[Encounter/e]" {
		t.Errorf("Parameters: %s", got)
	}
}

// everyPage follows the links.
func (a *api) everyPage(t testing.TB, url string, count int) []string {
	t.Helper()
	between := "?"
	if strings.Contains(url, "?") {
		between = "&"
	}
	next := fmt.Sprintf("/fhir/%s%s_count=%d", url, between, count)
	var all []string
	for next != "" {
		b := a.do(t, "GET", next, "").bundle(t)
		if len(b.Entry) > count {
			t.Errorf("%d entries on a page of %d", len(b.Entry), count)
		}
		all = append(all, everythingIn(t, b)...)
		if next = b.link("next"); len(all) > 1000 {
			t.Fatal("the pages do not end")
		}
	}
	return all
}

// What is there from the beginning is on the pages once, whatever is written meanwhile.
func TestEverythingInPagesWhileOthersWrite(t *testing.T) {
	a := newWard(t)
	want := everythingIn(t, a.do(t, "GET", "/fhir/Patient/p/$everything", "").bundle(t))
	var got []string
	next := "/fhir/Patient/p/$everything?_count=2"
	for i := 0; next != ""; i++ {
		b := a.do(t, "GET", next, "").bundle(t)
		got = append(got, everythingIn(t, b)...)
		next = b.link("next")
		a.put(t, reading(fmt.Sprintf("a%d", i), "p", "2024-05-01", "1"))
		a.put(t, strings.Replace(ward[10], `"final"`, `"amended"`, 1))
	}
	for _, name := range want {
		if n := len(slices.DeleteFunc(slices.Clone(got), func(g string) bool { return g != name })); n != 1 {
			t.Errorf("%s is there %d times", name, n)
		}
	}
}

func TestEverythingRefusals(t *testing.T) {
	a := newWard(t)
	a.do(t, "PUT", "/fhir/Patient/gone", strings.ReplaceAll(patient, "p1", "gone")).wantStatus(t, 201)
	a.do(t, "DELETE", "/fhir/Patient/gone", "").wantStatus(t, 204)
	next := a.do(t, "GET", "/fhir/Patient/p/$everything?_count=1", "").bundle(t).link("next")
	cursor := next[strings.Index(next, "_cursor="):]
	for _, c := range []struct {
		name, url string
		status    int
		says      string
	}{
		{"nobody", "Patient/none/$everything", 404, ""},
		{"somebody who is gone", "Patient/gone/$everything", 410, ""},
		{"a type without a compartment of its own", "Observation/o1/$everything", 404, "$meta"},
		{"all patients", "Patient/$everything", 404, "$everything"},
		{"an unknown type", "Patient/p/$everything?_type=Encountre", 400, "_type"},
		{"a time that is none", "Patient/p/$everything?_since=yesterday", 400, "_since"},
		{"a start that is no date", "Patient/p/$everything?start=soon", 400, "start"},
		{"a start that is two", "Patient/p/$everything?start=2024,2025", 400, "start"},
		{"two starts", "Patient/p/$everything?start=2024&start=2025", 400, "start"},
		{"a count of 0", "Patient/p/$everything?_count=0", 400, "_count"},
		{"an unknown parameter", "Patient/p/$everything?code=x", 400, "_since"},
		{"a start of an Encounter", "Encounter/e/$everything?start=2024", 400, "_since"},
		{"a cursor of another one", "Patient/q/$everything?_count=1&" + cursor, 400, "_cursor"},
		{"a cursor of another question", "Patient/p/$everything?_type=Device&" + cursor, 400, "_cursor"},
		{"a cursor that is none", "Patient/p/$everything?_cursor=xyz", 400, "_cursor"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := a.do(t, "GET", "/fhir/"+c.url, "").wantStatus(t, c.status); !strings.Contains(string(got.body), c.says) {
				t.Errorf("%s", got.body)
			}
		})
	}
}
