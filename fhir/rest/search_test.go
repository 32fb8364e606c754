package rest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir/rest"
	"github.com/kiln-health/kiln/fhir/search"
)

const form = "Content-Type: application/x-www-form-urlencoded"

// withReadings has n heart rates o000, o001, … of Patient/p1, a minute apart.
func withReadings(t testing.TB, n int, o rest.Options) *api {
	t.Helper()
	a := newAPI(t, o)
	for i := range n {
		id := fmt.Sprintf("o%03d", i)
		at := noon.Add(time.Duration(i) * time.Minute).Format(time.RFC3339)
		a.do(t, "PUT", "/fhir/Observation/"+id, heartRate(id, "Patient/p1", at, "72.50"), "Prefer: return=minimal").wantStatus(t, http.StatusCreated)
	}
	return a
}

func TestSearchBundle(t *testing.T) {
	a := withReadings(t, 3, rest.Options{})
	stored := a.do(t, "GET", "/fhir/Observation/o001", "")
	b := a.do(t, "GET", "/fhir/Observation?patient=p1&code=http://loinc.org|8867-4&_sort=-date", "").bundle(t)
	if b.Type != "searchset" || b.Total != nil {
		t.Errorf("type %q, total %v", b.Type, b.Total)
	}
	if got, want := b.ids(t), []string{"o002", "o001", "o000"}; !slices.Equal(got, want) {
		t.Errorf("ids %v, want %v", got, want)
	}
	if got, want := b.Entry[1].FullURL, "http://example.com/fhir/Observation/o001"; got != want {
		t.Errorf("fullUrl %q, want %q", got, want)
	}
	if got := string(b.Entry[1].Resource); got != string(stored.body) {
		t.Errorf("got %s\nstored %s", got, stored.body)
	}
	if b.link("next") != "" {
		t.Errorf("a next link behind the last page: %s", b.link("next"))
	}
}

func TestTotalIsToldIfAskedFor(t *testing.T) {
	a := withReadings(t, 5, rest.Options{})
	for _, c := range []struct {
		query string
		want  int // -1 is none
	}{
		{"patient=p1", -1},
		{"patient=p1&_total=none", -1},
		{"patient=p1&_total=accurate&_count=2", 5},
		{"patient=p1&_total=estimate&_count=2", 5},
		{"patient=p2&_total=accurate", 0},
	} {
		b := a.do(t, "GET", "/fhir/Observation?"+c.query, "").bundle(t)
		got := -1
		if b.Total != nil {
			got = *b.Total
		}
		if got != c.want {
			t.Errorf("%s: total %d, want %d", c.query, got, c.want)
		}
	}
}

func TestCountOfZeroGivesTheTotalOnly(t *testing.T) {
	a := withReadings(t, 5, rest.Options{})
	for _, query := range []string{"_count=0", "_summary=count", "_summary=count&_count=3", "_count=0&_total=none"} {
		b := a.do(t, "GET", "/fhir/Observation?patient=p1&"+query, "").bundle(t)
		if b.Total == nil || *b.Total != 5 || len(b.Entry) != 0 || b.link("next") != "" || b.link("self") == "" {
			t.Errorf("%s: total %v, %d entries, links %v", query, b.Total, len(b.Entry), b.Link)
		}
		// That it counts more than was asked for must be told.
		b = a.do(t, "GET", "/fhir/Observation?patient=p1&nonsense=1&"+query, "").bundle(t)
		if b.Total == nil || *b.Total != 5 || len(b.Entry) != 1 || b.Entry[0].Search.Mode != "outcome" {
			t.Errorf("%s with an unknown parameter: total %v, %d entries", query, b.Total, len(b.Entry))
		}
	}
}

// http://hl7.org/fhir/R4/search.html#conformance
func TestSelfLinkHasWhatWasUsedInItsOrder(t *testing.T) {
	a := withReadings(t, 2, rest.Options{})
	for _, c := range []struct{ query, want string }{
		{"", "_count=50"},
		{"patient=p1", "patient=p1&_count=50"},
		{"status=final&patient=p1&date=ge2024&date=lt2025&_count=7", "status=final&patient=p1&date=ge2024&date=lt2025&_count=7"},
		{"code=http://loinc.org|8867-4,8480-6", "code=http://loinc.org|8867-4,8480-6&_count=50"},
		{"nonsense=1&patient=p1&status=", "patient=p1&_count=50"},
		{"_count=100000", "_count=1000"},
		{"patient=p1&_format=json&_pretty=true", "patient=p1&_count=50&_format=json&_pretty=true"},
		{"_sort=-date&patient=p1", "patient=p1&_sort=-date&_count=50"},
	} {
		b := a.do(t, "GET", "/fhir/Observation?"+c.query, "").bundle(t)
		got, err := url.QueryUnescape(strings.TrimPrefix(b.link("self"), "http://example.com/fhir/Observation?"))
		if err != nil || got != c.want {
			t.Errorf("%s: self %q, want %q", c.query, got, c.want)
		}
		again := a.do(t, "GET", mustURL(t, b.link("self")), "").bundle(t)
		if !slices.Equal(again.ids(t), b.ids(t)) || again.link("self") != b.link("self") {
			t.Errorf("%s: the self link gives something else: %v, %s", c.query, again.ids(t), again.link("self"))
		}
	}
}

// http://hl7.org/fhir/R4/search.html#errors
func TestUnknownParametersAreIgnoredAndNamedOrRefused(t *testing.T) {
	for _, c := range []struct {
		name     string
		handling search.Handling
		prefer   string
		status   int
	}{
		{"lenient by default", "", "", 200},
		{"strict if the client wants", "", "handling=strict", 400},
		{"strict beside another preference", "", "return=minimal, handling=strict", 400},
		{"strict by configuration", search.Strict, "", 400},
		{"lenient if the client wants", search.Strict, "handling=lenient", 200},
		{"an unknown handling is left aside", "", "handling=harsh", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := withReadings(t, 2, rest.Options{Handling: c.handling})
			got := a.do(t, "GET", "/fhir/Observation?patient=p1&nonsense=secret", "", "Prefer: "+c.prefer).wantStatus(t, c.status)
			if strings.Contains(string(got.body), "secret") {
				t.Errorf("the value is repeated: %s", got.body)
			}
			if c.status != 200 {
				return
			}
			b := got.bundle(t)
			last := b.Entry[len(b.Entry)-1]
			if len(b.ids(t)) != 2 || len(b.Entry) != 3 || last.Search.Mode != "outcome" || !strings.Contains(string(last.Resource), "nonsense") {
				t.Errorf("%d matches in %d entries, the last: %s %s", len(b.ids(t)), len(b.Entry), last.Search.Mode, last.Resource)
			}
		})
	}
}

func TestBadSearchesAre400WhateverTheHandling(t *testing.T) {
	a := withReadings(t, 1, rest.Options{})
	for _, query := range []string{
		"date=yesterday", "date=2024-13-01", "value-quantity=tall", "_count=-1", "_count=x", "_sort=nonsense", "_total=maybe", "_summary=maybe",
		"code:nonsense=1", "patient:above=1", "status:missing=perhaps", "subject:Patient.nonsense=x", "code.text=x", "subject:Device.birthdate=1970", "_has:Observation:patient:code=1",
		"_cursor=nonsense", "patient=%zz", strings.Repeat("status=final&", 60), "code=" + strings.Repeat("a,", 300),
	} {
		for _, prefer := range []string{"handling=lenient", "handling=strict"} {
			a.do(t, "GET", "/fhir/Observation?"+query, "", "Prefer: "+prefer).wantStatus(t, http.StatusBadRequest)
		}
		if !strings.Contains(query, "%") {
			a.do(t, "POST", "/fhir/Observation/_search", query, "Content-Type: ", form).wantStatus(t, http.StatusBadRequest)
		}
	}
}

func TestPostedSearchIsTheSameSearch(t *testing.T) {
	a := withReadings(t, 5, rest.Options{})
	want := a.do(t, "GET", "/fhir/Observation?patient=p1&status=final&_count=2", "").bundle(t)
	for _, c := range []struct{ name, query, form string }{
		{"all in the form", "", "patient=p1&status=final&_count=2"},
		{"all in the URL", "?patient=p1&status=final&_count=2", ""},
		{"in both", "?patient=p1", "status=final&_count=2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := a.do(t, "POST", "/fhir/Observation/_search"+c.query, c.form, "Content-Type: ", form).bundle(t)
			if !slices.Equal(got.ids(t), want.ids(t)) || got.link("self") != want.link("self") || got.link("next") != want.link("next") {
				t.Errorf("got %v %v, want %v %v", got.ids(t), got.Link, want.ids(t), want.Link)
			}
		})
	}
	t.Run("and pages on with the cursor of the next link", func(t *testing.T) {
		next, err := url.Parse(want.link("next"))
		if err != nil {
			t.Fatal(err)
		}
		got := a.do(t, "POST", "/fhir/Observation/_search", "patient=p1&status=final&_count=2&_cursor="+next.Query().Get(search.CursorParam), "Content-Type: ", form).bundle(t)
		if want := []string{"o002", "o001"}; !slices.Equal(got.ids(t), want) {
			t.Errorf("got %v, want %v", got.ids(t), want)
		}
	})
	t.Run("and may ask for a pretty result in the form", func(t *testing.T) {
		got := a.do(t, "POST", "/fhir/Observation/_search", "_pretty=true&_format=json", "Content-Type: ", form).wantStatus(t, 200)
		if !strings.HasPrefix(string(got.body), "{\n") {
			t.Errorf("not pretty: %.50s", got.body)
		}
	})
	t.Run("but a form that is too large is 413", func(t *testing.T) {
		a.do(t, "POST", "/fhir/Observation/_search", "_id="+strings.Repeat("a", 2<<20), "Content-Type: ", form).wantStatus(t, http.StatusRequestEntityTooLarge)
	})
}

// pages follows the next links and gives the ids of all pages.
func (a *api) pages(t testing.TB, target string, between func()) []string {
	t.Helper()
	var ids []string
	for n := 0; target != ""; n++ {
		if n > 1000 {
			t.Fatal("the pages do not end")
		}
		b := a.do(t, "GET", target, "").bundle(t)
		ids = append(ids, b.ids(t)...)
		target = ""
		if next := b.link("next"); next != "" {
			target = mustURL(t, next)
		}
		between()
	}
	return ids
}

func TestPagesHaveEachResourceOnce(t *testing.T) {
	a := withReadings(t, 25, rest.Options{})
	for _, query := range []string{"_count=7", "_count=5&_sort=date", "_count=1&_sort=-date", "_count=25&_sort=-_lastUpdated", "_count=24&patient=p1&_total=accurate&_format=json"} {
		ids := a.pages(t, "/fhir/Observation?"+query, func() {})
		if len(ids) != 25 {
			t.Errorf("%s: %d ids: %v", query, len(ids), ids)
		}
		slices.Sort(ids)
		if n := len(slices.Compact(ids)); n != 25 {
			t.Errorf("%s: %d distinct ids", query, n)
		}
	}
}

func TestPagesStayRightWhileOthersWrite(t *testing.T) {
	for _, sort := range []string{"date", "-date", "_id", "-_lastUpdated"} {
		t.Run(sort, func(t *testing.T) {
			a := withReadings(t, 40, rest.Options{})
			stop := make(chan struct{})
			var writers sync.WaitGroup
			for w := range 2 {
				writers.Go(func() {
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						a.clock.forward(time.Millisecond)
						id := fmt.Sprintf("n%d-%d", w, i%200)
						at := noon.Add(time.Duration(i%60) * time.Minute).Add(time.Second).Format(time.RFC3339)
						a.do(t, "PUT", "/fhir/Observation/"+id, heartRate(id, "Patient/p1", at, fmt.Sprint(60+i)))
					}
				})
			}
			ids := a.pages(t, "/fhir/Observation?patient=p1&_count=3&_sort="+sort, func() { time.Sleep(time.Millisecond) })
			close(stop)
			writers.Wait()
			seen := map[string]int{}
			for _, id := range ids {
				seen[id]++
			}
			for i := range 40 {
				if id := fmt.Sprintf("o%03d", i); seen[id] != 1 {
					t.Errorf("%s was seen %d times", id, seen[id])
				}
			}
		})
	}
}

func TestTheNextPageHasTheFormOfTheFirst(t *testing.T) {
	a := withReadings(t, 5, rest.Options{})
	next := a.do(t, "GET", "/fhir/Observation?_count=2&_pretty=true&_format=json", "").bundle(t).link("next")
	got := a.do(t, "GET", mustURL(t, next), "", "Accept: application/fhir+xml").wantStatus(t, 200)
	if !strings.HasPrefix(string(got.body), "{\n") {
		t.Errorf("not pretty: %.50s", got.body)
	}
}

func TestACursorOfAnotherSearchIsRefused(t *testing.T) {
	a := withReadings(t, 5, rest.Options{})
	next, err := url.Parse(a.do(t, "GET", "/fhir/Observation?patient=p1&_count=2", "").bundle(t).link("next"))
	if err != nil {
		t.Fatal(err)
	}
	cursor := next.Query().Get(search.CursorParam)
	a.do(t, "GET", "/fhir/Observation?patient=p2&_count=2&_cursor="+cursor, "").wantStatus(t, http.StatusBadRequest)
	a.do(t, "GET", "/fhir/Device?_count=2&_cursor="+cursor, "").wantStatus(t, http.StatusBadRequest)
}
