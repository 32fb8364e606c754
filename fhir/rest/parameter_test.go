package rest_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir/rest"
	"github.com/kiln-health/kiln/fhir/search"
)

// background is for Options.Background. What it runs ends before the store is closed.
func background(t testing.TB) func(func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return func(work func(context.Context)) { running.Go(func() { work(ctx) }) }
}

// defining is a server whose SearchParameters define search parameters.
func defining(t testing.TB, o rest.Options) *api {
	t.Helper()
	a := newAPI(t, o)
	o.Now, o.Background = a.clock.Now, background(t)
	a.Handler = rest.New(a.store, o)
	return a
}

const marital = `{"resourceType":"SearchParameter","id":"marital","url":"http://h.example/SearchParameter/marital","name":"marital","status":"active","description":"marital status","code":"marital","base":["Patient"],"type":"token","expression":"Patient.maritalStatus"}`

func married(id string) string {
	return `{"resourceType":"Patient","id":"` + id + `","maritalStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-MaritalStatus","code":"M"}]}}`
}

// status is that of a search in which no unknown parameter is allowed.
func (a *api) status(t testing.TB, query string) int {
	t.Helper()
	return a.do(t, "GET", "/fhir/"+query, "", "Prefer: handling=strict").StatusCode
}

// becomes waits until the search is answered with the status.
func (a *api) becomes(t testing.TB, query string, status int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); a.status(t, query) != status; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s is still answered with %d", query, a.status(t, query))
		}
	}
}

func TestCustomSearchParameters(t *testing.T) {
	a := defining(t, rest.Options{})
	a.have(t, married("p1"), `{"resourceType":"Patient","id":"p2"}`)
	if got := a.status(t, "Patient?marital=M"); got != 400 {
		t.Fatalf("known before it is defined: %d", got)
	}

	a.do(t, "POST", "/fhir/SearchParameter", strings.Replace(marital, `"id":"marital",`, "", 1)).wantStatus(t, 201)
	a.becomes(t, "Patient?marital=M", 200)
	want(t, "what was there before", a.find(t, "/fhir/Patient?marital=M"), "Patient/p1")
	a.have(t, married("p3"))
	want(t, "what came later", sorted(a.find(t, "/fhir/Patient?marital=M")), "Patient/p1", "Patient/p3")
	want(t, "in order", a.find(t, "/fhir/Patient?_sort=-marital,_id"), "Patient/p1", "Patient/p3", "Patient/p2")
	want(t, "at the end of a chain", a.find(t, "/fhir/Observation?patient.marital=M"))
	if got := a.do(t, "GET", "/fhir/metadata", "").wantStatus(t, 200); !strings.Contains(string(got.body), "http://h.example/SearchParameter/marital") || strings.Contains(string(got.body), "are done") {
		t.Error("the CapabilityStatement does not say that it is there")
	}
	if got := a.send(t, "GET", "/openapi.json", ""); !strings.Contains(string(got.body), "Patient.marital") {
		t.Error("the OpenAPI document does not say that it is there")
	}

	t.Run("are there when the server starts again", func(t *testing.T) {
		b := &api{clock: a.clock, store: a.store, Handler: rest.New(a.store, rest.Options{Now: a.clock.Now, Background: background(t)})}
		want(t, "found", sorted(b.find(t, "/fhir/Patient?marital=M")), "Patient/p1", "Patient/p3")
	})
	t.Run("go when they are deleted", func(t *testing.T) {
		a.do(t, "DELETE", "/fhir/SearchParameter?code=marital", "").wantStatus(t, 204)
		a.becomes(t, "Patient?marital=M", 400)
		a.have(t, married("p4"))
		if got := a.send(t, "GET", "/fhir/metadata", ""); strings.Contains(string(got.body), "h.example") {
			t.Error("the CapabilityStatement still claims it")
		}
	})
	t.Run("come back when they are put", func(t *testing.T) {
		a.do(t, "PUT", "/fhir/SearchParameter/marital", marital).wantStatus(t, 201)
		a.becomes(t, "Patient?marital=M", 200)
		want(t, "found", sorted(a.find(t, "/fhir/Patient?marital=M")), "Patient/p1", "Patient/p3", "Patient/p4")
	})
	t.Run("change", func(t *testing.T) {
		a.do(t, "PUT", "/fhir/SearchParameter/marital", strings.Replace(marital, `"code":"marital"`, `"code":"wed"`, 1)).wantStatus(t, 200)
		a.becomes(t, "Patient?wed=M", 200)
		if got := a.status(t, "Patient?marital=M"); got != 400 {
			t.Errorf("the old name: %d", got)
		}
	})
	t.Run("go when they retire", func(t *testing.T) {
		a.do(t, "PUT", "/fhir/SearchParameter/marital", strings.Replace(marital, "active", "retired", 1)).wantStatus(t, 200)
		a.becomes(t, "Patient?wed=M", 400)
	})
}

func TestSearchParametersThatCannotBeUsedAreRefused(t *testing.T) {
	a := defining(t, rest.Options{})
	for _, c := range []struct{ name, old, new, says string }{
		{"an expression that cannot be read", `"Patient.maritalStatus"`, `"Patient.maritalStatus.("`, "SearchParameter"},
		{"an expression that finds nothing", `"Patient.maritalStatus"`, `"Patient.nonsense"`, "SearchParameter"},
		{"no expression", `,"expression":"Patient.maritalStatus"`, ``, "SearchParameter"},
		{"a name that is taken", `"code":"marital"`, `"code":"gender"`, "already"},
		{"a name that FHIR uses", `"code":"marital"`, `"code":"_sort"`, "another name"},
		{"a type that is not supported", `"type":"token"`, `"type":"special"`, "not supported"},
		{"a base that is none", `["Patient"]`, `["DomainResource"]`, "SearchParameter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := strings.Replace(marital, c.old, c.new, 1)
			if body == marital {
				t.Fatal("nothing was changed")
			}
			got := a.do(t, "PUT", "/fhir/SearchParameter/marital", body).wantStatus(t, 422)
			if !strings.Contains(string(got.body), c.says) {
				t.Errorf("%s", got.body)
			}
			a.do(t, "GET", "/fhir/SearchParameter/marital", "").wantStatus(t, 404)
			draft := strings.NewReplacer(`"active"`, `"draft"`, `"id":"marital"`, `"id":"d"`).Replace(body)
			a.do(t, "PUT", "/fhir/SearchParameter/d", draft)
		})
	}
	t.Run("a second one of the same name", func(t *testing.T) {
		a.do(t, "PUT", "/fhir/SearchParameter/marital", marital).wantStatus(t, 201)
		a.do(t, "POST", "/fhir/SearchParameter", strings.Replace(marital, "SearchParameter/marital", "SearchParameter/other", 1)).wantStatus(t, 422)
		a.do(t, "PUT", "/fhir/SearchParameter/marital", strings.Replace(marital, "marital status", "status", 1)).wantStatus(t, 200)
	})
	t.Run("in a transaction, with all of it", func(t *testing.T) {
		entry := func(url, body string) string {
			return `{"resource":` + body + `,"request":{"method":"POST","url":"` + url + `"}}`
		}
		a.do(t, "POST", "/fhir", `{"resourceType":"Bundle","type":"transaction","entry":[`+entry("Patient", `{"resourceType":"Patient","active":true}`)+`,`+
			entry("SearchParameter", strings.Replace(marital, `"code":"marital"`, `"code":"gender"`, 1))+`]}`).wantStatus(t, 422)
		want(t, "patients", a.find(t, "/fhir/Patient"))
	})
}

func TestWithoutBackgroundSearchParametersAreOnlyStored(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/SearchParameter/marital", marital).wantStatus(t, 201)
	a.do(t, "PUT", "/fhir/SearchParameter/marital", strings.Replace(marital, `"code":"marital"`, `"code":"gender"`, 1)).wantStatus(t, 200)
	if got := a.status(t, "Patient?marital=M"); got != 400 {
		t.Errorf("status %d", got)
	}
}

// Definitions come and go while others write and search: no answer is wrong, and what is in
// use at the end is what is stored.
func TestSearchParametersChangeWhileOthersWork(t *testing.T) {
	a := defining(t, rest.Options{Validation: rest.ValidateNothing})
	var all sync.WaitGroup
	all.Go(func() {
		for i := range 60 {
			a.have(t, married(fmt.Sprint("p", i)))
		}
	})
	all.Go(func() {
		for range 8 {
			a.send(t, "PUT", "/fhir/SearchParameter/marital", marital)
			a.send(t, "DELETE", "/fhir/SearchParameter/marital", "")
		}
		a.send(t, "PUT", "/fhir/SearchParameter/marital", marital)
	})
	all.Go(func() {
		for range 100 {
			if got := a.send(t, "GET", "/fhir/Patient?marital=X", "", "Prefer: handling=strict"); got.StatusCode == 200 && len(got.bundle(t).Entry) > 0 {
				t.Errorf("found %s", got.body)
			}
		}
	})
	all.Wait()
	a.becomes(t, "Patient?marital=M&_count=0", 200)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		got := a.send(t, "GET", "/fhir/Patient?marital=M&_count=100", "", "Prefer: handling=strict")
		if got.StatusCode == 200 && len(got.bundle(t).Entry) == 60 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d: %.200s", got.StatusCode, got.body)
		}
	}
}

func TestStoredParametersLeaveOutWhatCannotBeUsed(t *testing.T) {
	a := with(t, marital, strings.NewReplacer(`"id":"marital"`, `"id":"bad"`, `"code":"marital"`, `"code":"gender"`).Replace(marital))
	b := &api{clock: a.clock, store: a.store, Handler: rest.New(a.store, rest.Options{Background: background(t), Parameters: search.R4()})}
	if got := b.status(t, "Patient?marital=M"); got != 200 {
		t.Errorf("status %d", got)
	}
}
