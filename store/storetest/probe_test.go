package storetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

func TestWhatHangsIsGivenUpAndWhatIsSlowIsNot(t *testing.T) {
	if err := withinTime(time.Minute, "Read", func() error {
		time.Sleep(20 * time.Millisecond)
		return store.ErrNotFound
	}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v of a call that was slow", err)
	}
	never := make(chan struct{})
	defer close(never)
	err := withinTime(20*time.Millisecond, "Read", func() error {
		<-never
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "Read has not come back for 20ms: the store hangs") || !strings.Contains(err.Error(), "goroutine ") {
		t.Errorf("got %v of a call that hangs", err)
	}
}

// lying is a store whose answers are what a test wants.
type lying struct {
	store.Store
	resource fhir.Resource
	results  []store.Result
	page     store.Page
	err      error
}

func (l *lying) Read(context.Context, fhir.Key) (fhir.Resource, error) { return l.resource, l.err }
func (l *lying) Write(context.Context, ...store.Change) ([]store.Result, error) {
	return l.results, l.err
}
func (l *lying) Search(context.Context, search.Query) (store.Page, error) { return l.page, l.err }
func (l *lying) History(context.Context, store.HistoryQuery) (store.Page, error) {
	return l.page, l.err
}

func TestAProbeSeesWhatNoAnswerMayBe(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	good := fhir.Resource{Key: fhir.Key{Type: "Device", ID: "a", Version: "1"}, LastUpdated: at, JSON: []byte("{}")}
	with := func(change func(r *fhir.Resource)) fhir.Resource {
		r := good
		change(&r)
		return r
	}
	for name, r := range map[string]fhir.Resource{
		"":                  good,
		"another type":      with(func(r *fhir.Resource) { r.Type = "Patient" }),
		"no version":        with(func(r *fhir.Resource) { r.Version = "" }),
		"deleted":           with(func(r *fhir.Resource) { r.Deleted, r.JSON = true, nil }),
		"no content":        with(func(r *fhir.Resource) { r.JSON = nil }),
		"microseconds":      with(func(r *fhir.Resource) { r.LastUpdated = at.Add(time.Microsecond) }),
		"another time zone": with(func(r *fhir.Resource) { r.LastUpdated = at.In(time.FixedZone("", 3600)) }),
		"no time":           with(func(r *fhir.Resource) { r.LastUpdated = time.Time{} }),
	} {
		l := &lying{resource: r, page: store.Page{Resources: []fhir.Resource{r}, Total: -1}, results: []store.Result{{Resource: r}}}
		p := &probe{Store: l}
		_, read := p.Read(t.Context(), key("Device", "a"))
		_, searched := p.Search(t.Context(), search.Query{Type: "Device", Count: 1})
		_, written := p.Write(t.Context(), store.Change{Key: key("Device", "a"), JSON: []byte("{}")})
		if name == "" && (read != nil || searched != nil || written != nil) {
			t.Errorf("a good answer: got %v, %v, %v", read, searched, written)
		}
		if name != "" && (read == nil || searched == nil || written == nil) {
			t.Errorf("%s: got %v, %v, %v, want errors", name, read, searched, written)
		}
	}
	next := &search.Cursor{ID: "a"}
	for name, page := range map[string]store.Page{
		"more than asked for":        {Resources: []fhir.Resource{good, with(func(r *fhir.Resource) { r.ID = "b" })}, Total: -1},
		"empty, with a next one":     {Next: next, Total: -1},
		"a total of less than there": {Resources: []fhir.Resource{good}, Total: 0},
	} {
		p := &probe{Store: &lying{page: page}}
		_, searched := p.Search(t.Context(), search.Query{Type: "Device", Count: 1, Total: search.TotalAccurate})
		_, history := p.History(t.Context(), store.HistoryQuery{Type: "Device", Count: 1})
		if searched == nil || history == nil {
			t.Errorf("%s: got %v and %v, want errors", name, searched, history)
		}
	}
	for name, results := range map[string][]store.Result{
		"too few":                       {},
		"of another resource":           {{Resource: with(func(r *fhir.Resource) { r.ID = "b" })}},
		"created and unchanged":         {{Resource: good, Created: true, Unchanged: true}},
		"a deletion that was not asked": {{Resource: with(func(r *fhir.Resource) { r.Deleted, r.JSON = true, nil })}},
	} {
		if got, err := (&probe{Store: &lying{results: results}}).Write(t.Context(), store.Change{Key: key("Device", "a"), JSON: []byte("{}")}); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
	}
	failed := errors.New("failed")
	if _, err := (&probe{Store: &lying{results: []store.Result{{Resource: good}}, err: failed}}).Write(t.Context()); err == nil || errors.Is(err, failed) {
		t.Errorf("a write that fails and has results: got %v", err)
	}
}

func TestABudgetEndsButNotWhileAFailureIsMadeSmaller(t *testing.T) {
	b := &budget{end: time.Now().Add(-time.Hour), least: 2}
	rounds := 0
	for range 5 {
		b.round(func() { rounds++ })
	}
	if rounds != 2 {
		t.Errorf("got %d rounds, want the 2 that are done in any case", rounds)
	}
	b = &budget{end: time.Now().Add(-time.Hour), least: 1}
	rounds = 0
	for range 3 {
		func() {
			defer func() { _ = recover() }()
			b.round(func() {
				rounds++
				panic("a failure, as rapid makes it")
			})
		}()
	}
	if rounds != 3 {
		t.Errorf("got %d rounds after a failure, want 3", rounds)
	}
}
