package rest_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/rest"
	"github.com/kiln-health/kiln/store"
)

// versions are the ETags of a history, in order.
func (b bundle) versions() []string {
	var v []string
	for _, e := range b.Entry {
		v = append(v, e.Response.Etag)
	}
	return v
}

func TestHistoryTellsWhatWasDone(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/p1", patient)
	a.clock.forward(time.Minute)
	a.do(t, "PUT", "/fhir/Patient/p1", patientAgain)
	a.clock.forward(time.Minute)
	a.do(t, "DELETE", "/fhir/Patient/p1", "")
	a.clock.forward(time.Minute)
	a.do(t, "PUT", "/fhir/Patient/p1", patient)

	b := a.do(t, "GET", "/fhir/Patient/p1/_history", "").bundle(t)
	if b.Type != "history" || b.link("self") != "http://example.com/fhir/Patient/p1/_history" || b.link("next") != "" {
		t.Errorf("type %q, links %v", b.Type, b.Link)
	}
	var got []string
	for _, e := range b.Entry {
		got = append(got, fmt.Sprint(e.Request.Method, " ", e.Request.URL, " ", e.Response.Status, " ", e.Response.Etag, " ", e.Response.LastModified, " ", len(e.Resource) > 0, " ", e.FullURL))
	}
	want := []string{
		`PUT Patient/p1 201 W/"4" 2024-05-01T12:03:00.100Z true http://example.com/fhir/Patient/p1`,
		`DELETE Patient/p1 204 W/"3" 2024-05-01T12:02:00.100Z false http://example.com/fhir/Patient/p1`,
		`PUT Patient/p1 200 W/"2" 2024-05-01T12:01:00.100Z true http://example.com/fhir/Patient/p1`,
		`PUT Patient/p1 201 W/"1" 2024-05-01T12:00:00.100Z true http://example.com/fhir/Patient/p1`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	revived := a.do(t, "GET", "/fhir/Patient/p1/_history?_count=1", "").bundle(t)
	if got := revived.Entry[0].Response.Status; got != "201" {
		t.Errorf("at the end of a page, the return of the resource is %s", got)
	}
}

func TestHistoryOfADeletedResourceIsThere(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/p1", patient)
	a.do(t, "DELETE", "/fhir/Patient/p1", "")
	if got, want := a.do(t, "GET", "/fhir/Patient/p1/_history", "").bundle(t).versions(), []string{`W/"2"`, `W/"1"`}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	a.do(t, "GET", "/fhir/Patient/p2/_history", "").wantStatus(t, http.StatusNotFound)
}

func TestHistoryPages(t *testing.T) {
	a := newAPI(t, rest.Options{})
	for i := range 10 {
		a.do(t, "PUT", "/fhir/Observation/o", heartRate("o", "Patient/p1", "2024-05-01T10:00:00Z", fmt.Sprint(60+i)))
		a.clock.forward(time.Minute)
	}
	for _, count := range []int{1, 3, 5, 9, 10, 11} {
		var got []string
		target := fmt.Sprintf("/fhir/Observation/o/_history?_count=%d&_format=json", count)
		for target != "" {
			b := a.do(t, "GET", target, "").bundle(t)
			if len(b.Entry) == 0 || len(b.Entry) > count {
				t.Fatalf("a page of %d holds %d", count, len(b.Entry))
			}
			got = append(got, b.versions()...)
			// Another write must not move the pages.
			a.do(t, "PUT", "/fhir/Observation/o", heartRate("o", "Patient/p1", "2024-05-01T10:00:00Z", fmt.Sprintf("%d.%d", count, len(got))))
			target = ""
			if next := b.link("next"); next != "" {
				target = mustURL(t, next)
				if u, _ := url.Parse(next); u.Query().Get("_format") != "json" {
					t.Errorf("the next link lost _format: %s", next)
				}
			}
		}
		for i, v := range got[1:] {
			var a, b int
			fmt.Sscanf(got[i], `W/"%d"`, &a)
			fmt.Sscanf(v, `W/"%d"`, &b)
			if b != a-1 {
				t.Errorf("_count=%d: %s follows %s", count, v, got[i])
			}
		}
		if got[len(got)-1] != `W/"1"` {
			t.Errorf("_count=%d ends at %s", count, got[len(got)-1])
		}
	}
	if b := a.do(t, "GET", "/fhir/Observation/o/_history?_count=0", "").bundle(t); len(b.Entry) != 0 || b.link("next") != "" {
		t.Errorf("_count=0: %d entries, %v", len(b.Entry), b.Link)
	}
}

func TestHistorySince(t *testing.T) {
	a := newAPI(t, rest.Options{})
	for i := range 4 {
		a.do(t, "PUT", "/fhir/Observation/o", heartRate("o", "Patient/p1", "2024-05-01T10:00:00Z", fmt.Sprint(60+i)))
		a.clock.forward(time.Minute)
	}
	for _, c := range []struct {
		since string
		want  []string
	}{
		{"2024-05-01T12:02:00.100Z", []string{`W/"4"`, `W/"3"`}},
		{"2024-05-01T12:02:00.101Z", []string{`W/"4"`}},
		{"2024-05-01T14:02:00.100+02:00", []string{`W/"4"`, `W/"3"`}},
		{"2024-05-02T00:00:00Z", nil},
		{"2000-01-01T00:00:00Z", []string{`W/"4"`, `W/"3"`, `W/"2"`, `W/"1"`}},
	} {
		b := a.do(t, "GET", "/fhir/Observation/o/_history?_since="+c.since, "").bundle(t)
		if got := b.versions(); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.since, got, c.want)
		}
	}
	b := a.do(t, "GET", "/fhir/Observation/o/_history?_count=2&_since=2024-05-01T12:02:00.100Z", "").bundle(t)
	if b.link("next") != "" || len(b.Entry) != 2 {
		t.Errorf("a next link to nothing: %v", b.Link)
	}
	if got := b.Entry[1].Response.Status; got != "200" {
		t.Errorf("the third version is told as %s", got)
	}
	b = a.do(t, "GET", "/fhir/Observation/o/_history?_count=1&_since=2024-05-01T12:02:00.100Z", "").bundle(t)
	if next := b.link("next"); next == "" {
		t.Error("no next link")
	} else if got := a.do(t, "GET", mustURL(t, next), "").bundle(t); !slices.Equal(got.versions(), []string{`W/"3"`}) || got.link("next") != "" {
		t.Errorf("the second page: %v %v", got.versions(), got.Link)
	}
}

// http://hl7.org/fhir/R4/http.html#history
func TestHistoryAt(t *testing.T) {
	a := newAPI(t, rest.Options{})
	// Versions of 12:00 to 12:04, and one of the next day: 3 is a deletion, 4 and 5 are of one millisecond.
	put := func(value string) {
		a.do(t, "PUT", "/fhir/Observation/o", heartRate("o", "Patient/p1", "2024-05-01T10:00:00Z", value))
	}
	put("60")
	a.clock.forward(time.Minute)
	put("61")
	a.clock.forward(time.Minute)
	a.do(t, "DELETE", "/fhir/Observation/o", "")
	a.clock.forward(2 * time.Minute)
	put("63")
	put("64")
	a.clock.forward(24 * time.Hour)
	put("65")
	for _, c := range []struct {
		about, query string
		want         []string // versions and the status of each
	}{
		{"a year has all but what was replaced at once", "_at=2024", []string{"6 200", "5 200", "3 204", "2 200", "1 201"}},
		{"a year before has none", "_at=2023", nil},
		{"of a year after it is what is current", "_at=2025", []string{"6 200"}},
		{"a day has what was written on it", "_at=2024-05-01", []string{"5 200", "3 204", "2 200", "1 201"}},
		{"and what was current when it began", "_at=2024-05-02", []string{"6 200", "5 200"}},
		{"the moment of a version has that version", "_at=2024-05-01T12:01:00.100Z", []string{"2 200"}},
		{"the moment before has the one before", "_at=2024-05-01T12:01:00.099Z", []string{"1 201"}},
		{"a moment later has it still", "_at=2024-05-01T12:01:00.101Z", []string{"2 200"}},
		{"a second is an interval", "_at=2024-05-01T12:01:00Z", []string{"2 200", "1 201"}},
		{"so is a minute", "_at=2024-05-01T12:01Z", []string{"2 200", "1 201"}},
		{"an interval that ends before the first version has none", "_at=2024-05-01T11:59Z", nil},
		{"while it was deleted it is told so", "_at=2024-05-01T12:03:30Z", []string{"3 204"}},
		{"of the versions of one millisecond the last was current in it", "_at=2024-05-01T12:04:00.100Z", []string{"5 200"}},
		{"an offset counts", "_at=2024-05-01T14:01:00.100%2B02:00", []string{"2 200"}},
		{"and so does one whose + was not encoded", "_at=2024-05-01T14:01:00.100+02:00", []string{"2 200"}},
		{"_since leaves out what was written before", "_at=2024-05-01&_since=2024-05-01T12:02:00Z", []string{"5 200", "3 204"}},
		{"an empty one asks for nothing", "_at=", []string{"6 200", "5 200", "4 201", "3 204", "2 200", "1 201"}},
	} {
		t.Run(c.about, func(t *testing.T) {
			for _, count := range []int{1, 2, 3, 6, 50} {
				var got []string
				target := fmt.Sprintf("/fhir/Observation/o/_history?%s&_count=%d", c.query, count)
				for target != "" {
					b := a.send(t, "GET", target, "", "Prefer: handling=strict").bundle(t)
					if len(b.Entry) > count || len(b.Entry) == 0 && len(got) > 0 {
						t.Fatalf("a page of %d has %d", count, len(b.Entry))
					}
					for _, e := range b.Entry {
						got = append(got, strings.Trim(e.Response.Etag, `W/"`)+" "+e.Response.Status)
					}
					if target = b.link("next"); target != "" {
						target = mustURL(t, target)
					}
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("_count=%d: got %q, want %q", count, got, c.want)
				}
			}
		})
	}
	b := a.do(t, "GET", "/fhir/Observation/o/_history?_at=2024&_count=2", "").bundle(t)
	if !strings.Contains(b.link("self"), "_at=2024") || b.Total != nil {
		t.Errorf("self %s, total %v", b.link("self"), b.Total)
	}
	u, err := url.Parse(b.link("next"))
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(u.RawQuery, "_at=2024", "_at=2025", 1)
	a.do(t, "GET", "/fhir/Observation/o/_history?"+other, "").wantStatus(t, http.StatusBadRequest)
	a.do(t, "GET", "/fhir/Observation/none/_history?_at=2024", "").wantStatus(t, http.StatusNotFound)
}

func TestHistoryOfLargeVersionsPagesOn(t *testing.T) {
	a := newAPI(t, rest.Options{})
	// A page of the embedded store ends before 32 MiB, a string of FHIR before 1 MiB.
	large := strings.TrimSuffix(strings.Repeat(`{"text":"`+strings.Repeat("x", 1<<20-1)+`"},`, 12), ",")
	for i := range 4 {
		body := fmt.Sprintf(`{"resourceType":"Patient","id":"p1","multipleBirthInteger":%d,"name":[%s]}`, i, large)
		a.send(t, "PUT", "/fhir/Patient/p1", body, "Prefer: return=minimal")
		a.clock.forward(time.Minute)
	}
	for _, target := range []string{"/fhir/Patient/p1/_history?_count=4", "/fhir/Patient/p1/_history?_count=4&_at=2024"} {
		var got []string
		for target != "" {
			b := a.send(t, "GET", target, "").bundle(t)
			for _, e := range b.Entry {
				got = append(got, e.Response.Etag+e.Response.Status)
			}
			if target = b.link("next"); target != "" {
				target = mustURL(t, target)
			}
		}
		if want := []string{`W/"4"200`, `W/"3"200`, `W/"2"200`, `W/"1"201`}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestHistoryAtPassesOverManyVersions(t *testing.T) {
	a := newAPI(t, rest.Options{})
	write := func(i int) {
		put := store.Change{Key: fhir.Key{Type: "Device", ID: "d"}, JSON: fmt.Appendf(nil, `{"resourceType":"Device","id":"d","lotNumber":"%d"}`, i)}
		if _, err := a.store.Write(t.Context(), put); err != nil {
			t.Fatal(err)
		}
	}
	write(0)
	a.clock.forward(time.Hour)
	for i := range 3000 {
		write(i + 1)
	}
	for _, url := range []string{"/fhir/Device/d/_history", "/fhir/Device/_history", "/fhir/_history"} {
		if got := a.do(t, "GET", url+"?_at=2024-05-01T12:30:00Z", "").bundle(t).versions(); !slices.Equal(got, []string{`W/"1"`}) {
			t.Errorf("%s: got %v", url, got)
		}
	}
}

func TestHistoryOfManyAtATime(t *testing.T) {
	a := newAPI(t, rest.Options{})
	for _, step := range []func(){
		func() { a.do(t, "PUT", "/fhir/Patient/p1", patient) },                                // 12:00
		func() { a.do(t, "PUT", "/fhir/Device/d1", `{"resourceType":"Device","id":"d1"}`) },   // 12:01
		func() { a.do(t, "PUT", "/fhir/Patient/p1", patientAgain) },                           // 12:02
		func() { a.do(t, "PUT", "/fhir/Patient/p2", `{"resourceType":"Patient","id":"p2"}`) }, // 12:03
		func() { a.do(t, "DELETE", "/fhir/Patient/p1", "") },                                  // 12:04
		func() { a.do(t, "PUT", "/fhir/Patient/p1", patient) },                                // 12:05, and again at once
		func() { a.do(t, "PUT", "/fhir/Patient/p1", patientAgain) },                           // 12:06
	} {
		step()
		if a.clock.Now().Before(noon.Add(5 * time.Minute)) {
			a.clock.forward(time.Minute)
		}
	}
	for _, c := range []struct {
		about, url string
		want       []string
	}{
		{"a day has every version that lasted", "/fhir/_history?_at=2024-05-01", []string{
			"Patient/p1/5 200", "Patient/p1/3 204", "Patient/p2/1 201", "Patient/p1/2 200", "Device/d1/1 201", "Patient/p1/1 201"}},
		{"a moment has one version of each", "/fhir/_history?_at=2024-05-01T12:03:30Z", []string{"Patient/p2/1 201", "Patient/p1/2 200", "Device/d1/1 201"}},
		{"a deletion is what there was", "/fhir/Patient/_history?_at=2024-05-01T12:04:30Z", []string{"Patient/p1/3 204", "Patient/p2/1 201"}},
		{"of a type", "/fhir/Device/_history?_at=2024-05-01T12:03:30Z", []string{"Device/d1/1 201"}},
		{"what was written before _since is left out", "/fhir/_history?_at=2024-05-01T12:03:30Z&_since=2024-05-01T12:02:00Z", []string{"Patient/p2/1 201", "Patient/p1/2 200"}},
		{"before anything was written", "/fhir/_history?_at=2024-04-30", nil},
		{"afterwards it is what is current", "/fhir/_history?_at=2025", []string{"Patient/p1/5 200", "Patient/p2/1 201", "Device/d1/1 201"}},
	} {
		for _, count := range []int{1, 2, 50} {
			var got []string
			target := c.url + "&_count=" + strconv.Itoa(count)
			for target != "" {
				b := a.do(t, "GET", target, "").bundle(t)
				if b.Total != nil {
					t.Errorf("%s: total %d", c.about, *b.Total)
				}
				for _, e := range b.Entry {
					got = append(got, e.Request.URL+"/"+strings.Trim(e.Response.Etag, `W/"`)+" "+e.Response.Status)
				}
				if target = b.link("next"); target != "" {
					target = mustURL(t, target)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s, pages of %d:\n got %q\nwant %q", c.about, count, got, c.want)
			}
		}
	}
	next, err := url.Parse(a.do(t, "GET", "/fhir/_history?_at=2024&_count=1", "").bundle(t).link("next"))
	if err != nil {
		t.Fatal(err)
	}
	a.do(t, "GET", "/fhir/_history?"+strings.Replace(next.RawQuery, "_at=2024", "_at=2025", 1), "").wantStatus(t, http.StatusBadRequest)
}

func TestBadHistoryParametersAreRefused(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/p1", patient)
	a.do(t, "PUT", "/fhir/Patient/p2", `{"resourceType":"Patient","id":"p2","active":true}`)
	a.do(t, "PUT", "/fhir/Patient/p2", `{"resourceType":"Patient","id":"p2","active":false}`)
	next, err := url.Parse(a.do(t, "GET", "/fhir/Patient/p2/_history?_count=1", "").bundle(t).link("next"))
	if err != nil || next.RawQuery == "" {
		t.Fatalf("no next link: %v", err)
	}
	// A cursor of the right form for a version that is none.
	madeUp := base64.RawURLEncoding.EncodeToString([]byte(fhir.HashID("history", "Patient", "p1")[:8] + "x"))
	for _, query := range []string{"_cursor=" + madeUp, "_count=-1", "_count=x", "_since=yesterday", "_since=2024", "_at=yesterday", "_at=gt2024", "_at=2024,2025", "_at=2024&_at=2025", "_at=2024-13", "_list=1", "_cursor=x", "_cursor=%FF", next.RawQuery} {
		a.do(t, "GET", "/fhir/Patient/p1/_history?"+query, "").wantStatus(t, http.StatusBadRequest)
	}
	a.do(t, "GET", "/fhir/Patient/p1/_history?nonsense=1", "").wantStatus(t, http.StatusOK)
	a.do(t, "GET", "/fhir/Patient/p1/_history?nonsense=1", "", "Prefer: handling=strict").wantStatus(t, http.StatusBadRequest)
}

func TestHistoryOfATypeAndOfEverything(t *testing.T) {
	a := newAPI(t, rest.Options{})
	steps := []func(){
		func() { a.do(t, "PUT", "/fhir/Patient/p1", patient) },
		func() { a.do(t, "PUT", "/fhir/Device/d1", `{"resourceType":"Device","id":"d1"}`) },
		func() { a.do(t, "PUT", "/fhir/Patient/p1", patientAgain) },
		func() { a.do(t, "PUT", "/fhir/Patient/p2", `{"resourceType":"Patient","id":"p2"}`) },
		func() { a.do(t, "DELETE", "/fhir/Patient/p1", "") },
		func() { a.do(t, "PUT", "/fhir/Patient/p1", patient) },
	}
	for _, s := range steps {
		s()
		a.clock.forward(time.Minute)
	}
	all := []string{"PUT Patient/p1 201", "DELETE Patient/p1 204", "PUT Patient/p2 201", "PUT Patient/p1 200", "PUT Device/d1 201", "PUT Patient/p1 201"}
	patients := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return strings.Contains(s, "Device") })
	for _, c := range []struct {
		url  string
		want []string
	}{
		{"/fhir/_history", all}, {"/fhir/Patient/_history", patients}, {"/fhir/DeviceMetric/_history", nil},
		{"/fhir/_history?_since=2024-05-01T12:04:00Z", all[:2]}, {"/fhir/Patient/_history?_since=2024-05-01T12:02:00.100Z", patients[:4]},
	} {
		for _, count := range []int{1, 2, 3, 50} {
			var got []string
			target := c.url + "?_count="
			if strings.Contains(c.url, "?") {
				target = c.url + "&_count="
			}
			target += fmt.Sprint(count)
			for target != "" {
				b := a.do(t, "GET", target, "").bundle(t)
				for _, e := range b.Entry {
					got = append(got, e.Request.Method+" "+e.Request.URL+" "+e.Response.Status)
				}
				if target = b.link("next"); target != "" {
					target = mustURL(t, target)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s _count=%d:\n got %q\nwant %q", c.url, count, got, c.want)
			}
		}
	}
	for _, url := range []string{"/fhir/_history", "/fhir/Patient/_history"} {
		a.do(t, "GET", url+"?_count=0", "").wantStatus(t, 200)
		a.do(t, "GET", url+"?_cursor=x", "").wantStatus(t, 400)
		a.do(t, "DELETE", url, "").wantStatus(t, 405)
	}
	next := a.do(t, "GET", "/fhir/_history?_count=1", "").bundle(t).link("next")
	u, err := url.Parse(next)
	if err != nil {
		t.Fatal(err)
	}
	a.do(t, "GET", "/fhir/Patient/_history?"+u.RawQuery, "").wantStatus(t, 400)
}

// http://hl7.org/fhir/R4/search.html#summary
func TestPartsOfVersions(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/p1", `{"resourceType":"Patient","id":"p1","active":true,"gender":"male","maritalStatus":{"text":"x"}}`).wantStatus(t, 201)
	a.do(t, "DELETE", "/fhir/Patient/p1", "").wantStatus(t, 204)
	a.do(t, "PUT", "/fhir/Patient/p1", `{"resourceType":"Patient","id":"p1","active":true,"gender":"female","maritalStatus":{"text":"x"}}`).wantStatus(t, 201)
	for _, url := range []string{"/fhir/_history", "/fhir/Patient/_history", "/fhir/Patient/p1/_history"} {
		for _, c := range []struct{ query, has, lacks string }{
			{"_elements=gender", "SUBSETTED", "maritalStatus"},
			{"_summary=true", "SUBSETTED", "maritalStatus"},
			{"_summary=false", "maritalStatus", "SUBSETTED"},
		} {
			b := a.do(t, "GET", url+"?"+c.query, "", "Prefer: handling=strict").bundle(t)
			if len(b.Entry) != 3 || b.Entry[1].Resource != nil {
				t.Fatalf("%s?%s: %d entries", url, c.query, len(b.Entry))
			}
			for _, i := range []int{0, 2} {
				if got := string(b.Entry[i].Resource); !strings.Contains(got, c.has) || strings.Contains(got, c.lacks) || !strings.Contains(got, "gender") {
					t.Errorf("%s?%s: %s", url, c.query, got)
				}
			}
			if !strings.Contains(b.link("self"), c.query) {
				t.Errorf("self %s", b.link("self"))
			}
		}
		if b := a.do(t, "GET", url+"?_summary=count", "").bundle(t); len(b.Entry) != 0 {
			t.Errorf("%s: %d entries", url, len(b.Entry))
		}
		a.do(t, "GET", url+"?_summary=nonsense", "").wantStatus(t, 400)
	}
}
