package rest_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir/rest"
	"github.com/kiln-health/kiln/fhir/search"
)

// http://hl7.org/fhir/R4/search.html#all
func TestSearchOverTypes(t *testing.T) {
	a := with(t,
		`{"resourceType":"Patient","id":"a","active":true,"birthDate":"1970-01-01","meta":{"tag":[{"system":"s","code":"x"}]}}`,
		`{"resourceType":"Device","id":"a","status":"active","meta":{"tag":[{"system":"s","code":"x"}]},"patient":{"reference":"Patient/a"}}`,
		`{"resourceType":"Device","id":"b","status":"active","patient":{"reference":"Patient/a"}}`,
		observation("a", ofSubject("Patient/a", `,"code":{"coding":[{"code":"c"}]},"effectiveDateTime":"2024-05-01"`)),
		`{"resourceType":"Encounter","id":"e","status":"finished","period":{"start":"2024-04-01"},"subject":{"reference":"Patient/a"}}`,
	)
	for _, c := range []struct {
		name, query string
		want        []string
	}{
		{"all types, one after the other", "?", []string{"Device/a", "Device/b", "Encounter/e", "Observation/a", "Patient/a"}},
		{"what all types have", "?_tag=x", []string{"Device/a", "Patient/a"}},
		{"an id of several types", "?_id=a", []string{"Device/a", "Observation/a", "Patient/a"}},
		{"the types that are named", "?_type=Patient,Device", []string{"Device/a", "Device/b", "Patient/a"}},
		{"one type that is named", "?_type=Device&status=active", []string{"Device/a", "Device/b"}},
		{"a parameter of all that are named", "?_type=Device,Encounter&status=active", []string{"Device/a", "Device/b"}},
		{"a reference of all that are named", "?_type=Device,Encounter,Observation&patient=a", []string{"Device/a", "Device/b", "Encounter/e", "Observation/a"}},
		{"a chain", "?_type=Device,Encounter&patient.active=true", []string{"Device/a", "Device/b", "Encounter/e"}},
		{"_has", "?_type=Patient&_has:Device:patient:status=active", []string{"Patient/a"}},
		{"an include of one of the types", "?_type=Device,Observation&_include=Device:patient", []string{"Device/a", "Device/b", "Observation/a", "+Patient/a@1"}},
		{"a reverse include", "?_type=Device,Patient&_id=a&_revinclude=Encounter:patient", []string{"Device/a", "Patient/a", "+Encounter/e@1"}},
		{"in the order of the ids", "?_sort=_id", []string{"Device/a", "Observation/a", "Patient/a", "Device/b", "Encounter/e"}},
		{"in their order turned", "?_sort=-_id", []string{"Encounter/e", "Device/b", "Device/a", "Observation/a", "Patient/a"}},
		{"in the order of a date that all have", "?_type=Observation,Encounter&_sort=date", []string{"Encounter/e", "Observation/a"}},
		{"in that order turned", "?_type=Observation,Encounter&_sort=-date", []string{"Observation/a", "Encounter/e"}},
		{"an unknown parameter is ignored and told", "?_type=Device,Patient&birthdate=1970", []string{"Device/a", "Device/b", "Patient/a", "!"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, path := range []string{"/fhir", "/fhir/"} {
				want(t, c.query, a.find(t, path+c.query), c.want...)
			}
			posted := a.send(t, "POST", "/fhir/_search", c.query[1:], "Content-Type: ", form).bundle(t)
			want(t, "posted", posted.entries(t), c.want...)
			matches := slices.DeleteFunc(slices.Clone(c.want), func(e string) bool { return e[0] == '+' || e == "!" })
			got := a.find(t, mustURL(t, posted.link("self")))
			want(t, "self", slices.DeleteFunc(got, func(e string) bool { return e[0] == '+' || e == "!" }), matches...)
			for _, count := range []string{"1", "2", "3"} {
				var all []string
				target := "/fhir" + c.query + "&_total=accurate&_count=" + count
				for n := 0; target != "" && n < 10; n++ {
					b := a.send(t, "GET", target, "").bundle(t)
					if *b.Total != len(matches) {
						t.Errorf("total %d, want %d", *b.Total, len(matches))
					}
					page := slices.DeleteFunc(b.entries(t), func(e string) bool { return e[0] == '+' || e == "!" })
					if len(page) == 0 {
						t.Error("an empty page")
					}
					all = append(all, page...)
					if target = b.link("next"); target != "" {
						target = mustURL(t, target)
					}
				}
				want(t, "pages of "+count, all, matches...)
			}
			if b := a.send(t, "GET", "/fhir"+c.query+"&_summary=count", "").bundle(t); *b.Total != len(matches) || slices.ContainsFunc(b.entries(t), func(e string) bool { return e != "!" }) {
				t.Errorf("count %d, entries %v", *b.Total, b.entries(t))
			}
		})
	}
}

func TestSearchOverTypesIsRefused(t *testing.T) {
	a := with(t)
	for _, query := range []string{
		"_type=Nonsense", "_type=Patient&_type=Device", "_id:missing=perhaps", "_lastUpdated=yesterday", "_sort=birthdate", "_type=Patient,Observation&_sort=code",
		"_cursor=nonsense", "_cursor=Patient.nonsense", "_cursor=Nonsense.", "_text=x", "_content=x", "_include=Nonsense:x", "_count=x", "_list=$current-problems", "__explain=perhaps",
		"_type=Patient,Device&_has:Nonsense:patient:code=x",
	} {
		a.do(t, "GET", "/fhir?"+query, "").wantStatus(t, 400)
		a.do(t, "POST", "/fhir/_search", query, "Content-Type: ", form).wantStatus(t, 400)
	}
	strict := a.do(t, "GET", "/fhir?birthdate=1970", "", "Prefer: handling=strict").wantStatus(t, 400)
	if !strings.Contains(string(strict.body), "birthdate") || strings.Contains(string(strict.body), "1970") {
		t.Errorf("%s", strict.body)
	}
	a.do(t, "PUT", "/fhir?_id=x", patient).wantStatus(t, http.StatusMethodNotAllowed)
}

// A search over types in one order is the merged searches of each.
func TestPagesOverTypesAreTheMergedPages(t *testing.T) {
	a := with(t)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		id, at := fmt.Sprint("x", random.IntN(15)), time.Date(2024, 5, 1+random.IntN(5), 0, 0, 0, 0, time.UTC).Format("2006-01-02")
		a.clock.forward(time.Duration(random.IntN(2)) * time.Second)
		switch i % 3 {
		case 0:
			a.have(t, observation(id, `"effectiveDateTime":"`+at+`"`))
		case 1:
			a.have(t, `{"resourceType":"Encounter","id":"`+id+`","status":"finished","period":{"start":"`+at+`"}}`)
		case 2:
			a.have(t, `{"resourceType":"DiagnosticReport","id":"`+id+`","status":"final","effectiveDateTime":"`+at+`"}`)
		}
	}
	var total int
	for _, kind := range []string{"Observation", "Encounter", "DiagnosticReport"} {
		total += *a.send(t, "GET", "/fhir/"+kind+"?_summary=count", "").bundle(t).Total
	}
	for _, sort := range []string{"_id", "-_id", "date", "-date", "_lastUpdated", "-_lastUpdated", "date,-_lastUpdated", "-_lastUpdated,_id"} {
		query := "/fhir?_type=Observation,Encounter,DiagnosticReport&_sort=" + sort
		all := a.find(t, query+"&_count=1000")
		if len(all) != total {
			t.Errorf("%s: %d entries, want %d", sort, len(all), total)
		}
		for _, kind := range []string{"Observation", "Encounter", "DiagnosticReport"} {
			var of []string
			for _, e := range all {
				if strings.HasPrefix(e, kind+"/") {
					of = append(of, e)
				}
			}
			want(t, sort+" of "+kind, of, a.find(t, "/fhir/"+kind+"?_count=1000&_sort="+sort)...)
		}
		for _, count := range []int{1, 4, 7} {
			var got []string
			target := fmt.Sprintf("%s&_count=%d", query, count)
			for target != "" && len(got) <= total {
				b := a.send(t, "GET", target, "").bundle(t)
				got = append(got, b.entries(t)...)
				if target = b.link("next"); target != "" {
					target = mustURL(t, target)
				}
			}
			want(t, fmt.Sprintf("%s in pages of %d", sort, count), got, all...)
		}
	}
}

// http://hl7.org/fhir/R4/search.html#list
func TestSearchInLists(t *testing.T) {
	a := with(t,
		`{"resourceType":"Patient","id":"a"}`, `{"resourceType":"Patient","id":"b"}`, `{"resourceType":"Patient","id":"c"}`, `{"resourceType":"Device","id":"a"}`,
		`{"resourceType":"List","id":"l1","status":"current","mode":"working","entry":[{"item":{"reference":"Patient/a"}},{"item":{"reference":"http://example.com/fhir/Patient/b"}},`+
			`{"item":{"reference":"Device/a"}},{"deleted":true,"item":{"reference":"Patient/c"}},{"item":{"reference":"http://h.example/fhir/Patient/c"}},{"item":{"display":"x"}}]}`,
		`{"resourceType":"List","id":"l2","status":"current","mode":"working","entry":[{"item":{"reference":"Patient/b/_history/1"}},{"item":{"reference":"Patient/c"}}]}`,
	)
	for _, c := range []struct {
		query string
		want  []string
	}{
		{"/Patient?_list=l1&_sort=_id", []string{"Patient/a", "Patient/b"}},
		{"/Patient?_list=List/l1&_sort=_id", []string{"Patient/a", "Patient/b"}},
		{"/Patient?_list=l1,l2&_sort=_id", []string{"Patient/a", "Patient/b", "Patient/c"}},
		{"/Patient?_list=l1&_list=l2", []string{"Patient/b"}},
		{"/Patient?_list=l1&_id=a", []string{"Patient/a"}},
		{"/Observation?_list=l1", nil},
		{"/Patient?_list=none", []string{"!"}},
		{"/Patient?_list=&_id=c", []string{"Patient/c"}},
		{"?_list=l1", []string{"Device/a", "Patient/a", "Patient/b"}},
	} {
		b := a.send(t, "GET", "/fhir"+c.query, "").bundle(t)
		want(t, c.query, b.entries(t), c.want...)
		want(t, "self of "+c.query, a.find(t, mustURL(t, b.link("self"))), c.want...)
	}
	for _, query := range []string{"_list=a_b", "_list=$current-allergies", "_list=Patient/a", "_list=" + strings.Repeat("l1,", 30)} {
		a.do(t, "GET", "/fhir/Patient?"+query, "").wantStatus(t, 400)
	}
}

func TestSelfLinksOfOtherSearches(t *testing.T) {
	a := with(t, `{"resourceType":"List","id":"l1","status":"current","mode":"working"}`)
	for _, c := range []struct{ target, want string }{
		{"/fhir?_id=x", "/fhir?_id=x&_count=50"},
		{"/fhir/?_id=x&nonsense=1&_type=", "/fhir?_id=x&_count=50"},
		{"/fhir?_id=x&_type=Device,Patient&_format=json", "/fhir?_type=Device,Patient&_id=x&_count=50&_format=json"},
		{"/fhir?_type=Device&_include=Device:patient", "/fhir?_type=Device&_count=50&_include=Device:patient"},
		{"/fhir?_type=Device,Patient&_include=Device:patient&_sort=_id", "/fhir?_type=Device,Patient&_sort=_id&_count=50&_include=Device:patient"},
		{"/fhir/Patient?_list=l1&active=true", "/fhir/Patient?_list=l1&active=true&_count=50"},
		{"/fhir/Patient/p1/Observation?code=x&_sort=-date", "/fhir/Patient/p1/Observation?code=x&_sort=-date&_count=50"},
		{"/fhir/Patient/p1/*?_type=Encounter&_id=x", "/fhir/Patient/p1/*?_type=Encounter&_id=x&_count=50"},
	} {
		b := a.send(t, "GET", c.target, "").bundle(t)
		got, err := url.QueryUnescape(strings.TrimPrefix(b.link("self"), "http://example.com"))
		if err != nil || got != c.want {
			t.Errorf("%s: self %q, want %q", c.target, got, c.want)
		}
	}
}

func TestExplain(t *testing.T) {
	a := withReadings(t, 5, rest.Options{})
	for _, c := range []struct{ target, says string }{
		{"/fhir/Observation?patient=p1&_count=2&__explain=true", "Observation: index "},
		{"/fhir/Observation?patient=p1&_summary=count&__explain=true", "Observation: index "},
		{"/fhir/Observation?subject:Patient.active=true&__explain=true", " <- Patient: index "},
		{"/fhir?_type=Device,Patient&__explain=true", "Patient: index "},
	} {
		got := a.do(t, "GET", c.target, "").wantStatus(t, 200)
		b := got.bundle(t)
		if len(b.Entry) == 0 || b.Entry[len(b.Entry)-1].Search.Mode != "outcome" {
			t.Errorf("%s: no plan: %s", c.target, got.body)
			continue
		}
		plan := string(b.Entry[len(b.Entry)-1].Resource)
		if !strings.Contains(plan, c.says) || strings.Contains(plan, "p1") {
			t.Errorf("%s: %s", c.target, plan)
		}
		if !strings.Contains(b.link("self"), "__explain=true") {
			t.Errorf("self %s", b.link("self"))
		}
	}
	for _, target := range []string{"/fhir/Observation?__explain=false", "/fhir/Observation?__explain="} {
		if b := a.do(t, "GET", target, "").bundle(t); len(b.Entry) != 5 {
			t.Errorf("%s: %d entries", target, len(b.Entry))
		}
	}
	a.do(t, "GET", "/fhir/Observation?__explain=maybe", "").wantStatus(t, 400)
}

func TestLinksToTheFirstPage(t *testing.T) {
	a := withReadings(t, 5, rest.Options{})
	first := a.do(t, "GET", "/fhir/Observation?patient=p1&_count=2", "")
	b := first.bundle(t)
	if b.link("first") != "" {
		t.Errorf("the first page has a link to itself: %v", b.Link)
	}
	second := a.do(t, "GET", mustURL(t, b.link("next")), "")
	got := second.bundle(t).link("first")
	if got != b.link("self") || strings.Contains(got, search.CursorParam) || !strings.Contains(second.Header.Get("Link"), `<`+got+`>; rel="first"`) {
		t.Errorf("first %q, Link %s", got, second.Header.Get("Link"))
	}
}
