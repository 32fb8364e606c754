package rest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir/rest"
	"github.com/kiln-health/kiln/fhir/search"
)

// walked follows the links of a relation, and gives the ids of each page and its URL.
func (a *api) walked(t testing.TB, target, relation string) (pages [][]string, urls []string) {
	t.Helper()
	for target != "" {
		if len(pages) > 1000 {
			t.Fatal("the pages do not end")
		}
		b := a.do(t, "GET", target, "").bundle(t)
		pages, urls = append(pages, b.ids(t)), append(urls, target)
		if target = b.link(relation); target != "" {
			target = mustURL(t, target)
		}
	}
	return pages, urls
}

// TestPagesAreTheSameForwardsAndBackwards has readings of which many share their date, and some
// have none, in one state of the store.
func TestPagesAreTheSameForwardsAndBackwards(t *testing.T) {
	a := newAPI(t, rest.Options{})
	for i := range 60 {
		id := fmt.Sprintf("o%02d", i*37%60)
		at := noon.Add(time.Duration(i%7) * time.Minute).Format(time.RFC3339)
		o := heartRate(id, fmt.Sprintf("Patient/p%d", i%3), at, fmt.Sprint(60+i))
		if i%10 == 0 {
			o = fmt.Sprintf(`{"resourceType":"Observation","id":"%s","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/p0"}}`, id)
		}
		a.do(t, "PUT", "/fhir/Observation/"+id, o, "Prefer: return=minimal").wantStatus(t, http.StatusCreated)
		if i%4 == 0 {
			a.clock.forward(time.Millisecond)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		query := url.Values{"_count": {fmt.Sprint(rapid.IntRange(1, 25).Draw(rt, "count"))}}
		if s := rapid.SampledFrom([]string{"", "date", "-date", "_lastUpdated", "-_lastUpdated", "_id", "-_id", "date,-_lastUpdated", "-date,-_id", "_lastUpdated,-date"}).Draw(rt, "sort"); s != "" {
			query.Set("_sort", s)
		}
		for name, values := range map[string][]string{"patient": {"", "p1", "p0,p2"}, "status": {"", "final"}, "_total": {"", "accurate"}, "date": {"", "ge2024-05-01T12:03:00Z"}, "date:missing": {"", "", "true"}} {
			if v := rapid.SampledFrom(values).Draw(rt, name); v != "" {
				query.Set(name, v)
			}
		}
		there, urls := a.walked(t, "/fhir/Observation?"+query.Encode(), "next")
		back, _ := a.walked(t, urls[len(urls)-1], "previous")
		slices.Reverse(back)
		if fmt.Sprint(back) != fmt.Sprint(there) {
			rt.Fatalf("%s: back %v, there %v", query.Encode(), back, there)
		}
		if len(there) < 3 {
			return
		}
		// From any page that was come to backwards, the way goes on forwards.
		middle := a.do(t, "GET", urls[len(urls)-1], "").bundle(t)
		for range rapid.IntRange(1, len(there)-1).Draw(rt, "steps back") {
			middle = a.do(t, "GET", mustURL(t, middle.link("previous")), "").bundle(t)
		}
		at := slices.IndexFunc(there, func(p []string) bool { return slices.Equal(p, middle.ids(t)) })
		on, _ := a.walked(t, mustURL(t, middle.link("next")), "next")
		if at < 0 || fmt.Sprint(on) != fmt.Sprint(there[at+1:]) {
			rt.Fatalf("%s: on from page %d: %v, want %v", query.Encode(), at, on, there[at+1:])
		}
	})
}

func TestTheWayBackIsOfTheStateOfTheFirstPage(t *testing.T) {
	a := withReadings(t, 9, rest.Options{})
	there, urls := a.walked(t, "/fhir/Observation?_sort=date&_count=2", "next")
	middle, last := a.do(t, "GET", urls[2], "").bundle(t), a.do(t, "GET", urls[len(urls)-1], "").bundle(t)
	for i := range 9 { // all move to other places in the order, and new ones come between
		at := noon.Add(time.Duration(30-i)*time.Minute + time.Second).Format(time.RFC3339)
		a.do(t, "PUT", fmt.Sprintf("/fhir/Observation/o%03d", i), heartRate(fmt.Sprintf("o%03d", i), "Patient/p1", at, "99"))
		at = noon.Add(time.Duration(i)*time.Minute + time.Second).Format(time.RFC3339)
		a.do(t, "PUT", fmt.Sprintf("/fhir/Observation/n%03d", i), heartRate(fmt.Sprintf("n%03d", i), "Patient/p1", at, "99"))
	}
	back, _ := a.walked(t, mustURL(t, last.link("previous")), "previous")
	slices.Reverse(back)
	if fmt.Sprint(back) != fmt.Sprint(there[:len(there)-1]) {
		t.Errorf("back %v, there %v", back, there)
	}
	second := a.do(t, "GET", mustURL(t, middle.link("previous")), "").bundle(t)
	if on, _ := a.walked(t, mustURL(t, second.link("next")), "next"); !slices.Equal(second.ids(t), there[1]) || fmt.Sprint(on) != fmt.Sprint(there[2:]) {
		t.Errorf("from the middle back to %v and on %v, there %v", second.ids(t), on, there)
	}
}

func TestPreviousLinks(t *testing.T) {
	a := withReadings(t, 9, rest.Options{})
	second := func(query string) (first, second bundle, reply answer) {
		t.Helper()
		first = a.do(t, "GET", "/fhir/Observation?"+query, "").bundle(t)
		reply = a.do(t, "GET", mustURL(t, first.link("next")), "")
		return first, reply.bundle(t), reply
	}
	first, next, got := second("patient=p1&_count=4&_format=json")
	if first.link("previous") != "" {
		t.Error("the first page has a link to one before it")
	}
	previous := next.link("previous")
	if link := got.Header.Get("Link"); !strings.Contains(link, "<"+previous+`>; rel="prev"`) {
		t.Errorf("Link: %s", link)
	}
	again := a.do(t, "GET", mustURL(t, previous), "").bundle(t)
	if !slices.Equal(again.ids(t), first.ids(t)) || again.link("previous") != "" || again.link("first") != first.link("self") || again.link("self") != previous {
		t.Errorf("got %v, %v; the first page is %v", again.ids(t), again.Link, first.ids(t))
	}
	if on := a.do(t, "GET", mustURL(t, again.link("next")), "").bundle(t); !slices.Equal(on.ids(t), next.ids(t)) {
		t.Errorf("the page behind has %v, want %v", on.ids(t), next.ids(t))
	}
	a.do(t, "GET", mustURL(t, previous)+"&__explain=true", "").wantStatus(t, http.StatusOK)

	// Backwards such an order would not be the same one turned round.
	if _, next, _ := second("_sort=code&_count=4"); next.link("previous") != "" {
		t.Errorf("an order by a parameter of several values has %s", next.link("previous"))
	}
	u, err := url.Parse(previous)
	if err != nil {
		t.Fatal(err)
	}
	cursor := u.Query().Get(search.CursorParam)
	forward, err := url.Parse(first.link("next"))
	if err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{
		"patient=p2&_cursor=" + cursor, "patient=p1&_sort=date&_cursor=" + cursor, "patient=p1&_sort=code&_cursor=" + cursor, "patient=p1&_cursor=" + strings.TrimPrefix(cursor, "before."),
		"patient=p1&_cursor=before." + forward.Query().Get(search.CursorParam), "_sort=code&_cursor=before.", "_cursor=before.", "_cursor=before.before." + cursor,
	} {
		a.do(t, "GET", "/fhir/Observation?"+query, "").wantStatus(t, http.StatusBadRequest)
	}
	a.do(t, "GET", "/fhir?_type=Observation,Device&_cursor="+cursor, "").wantStatus(t, http.StatusBadRequest)
}
