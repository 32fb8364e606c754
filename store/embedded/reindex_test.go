package embedded

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// withNote are the parameters of R4, and one for notes.
func withNote(t testing.TB) *search.Parameters {
	t.Helper()
	p, err := search.R4().With(search.Custom{Name: "note", Type: search.StringParam, Bases: []string{"Observation", "Device"}, Expression: "Observation.note.text | Device.note.text"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// noted is an Observation or a Device with a note.
func noted(i int, text string) store.Change {
	of := []string{"Observation", "Device"}[i%2]
	return store.Change{Key: fhir.Key{Type: of, ID: fmt.Sprint("n", i)}, JSON: fmt.Appendf(nil, `{"resourceType":"%s","note":[{"text":"%s"}]}`, of, text)}
}

func byNote(t testing.TB, p *search.Parameters, text string) search.Query {
	t.Helper()
	q, _, err := p.Parse("Observation", []search.Pair{{Name: "note", Value: text}, {Name: "_count", Value: "1000"}}, search.Options{Handling: search.Strict})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestReindexIsCompleteWhileOthersWrite(t *testing.T) {
	s := openIn(t, storeDir(t), nil)
	p := withNote(t)
	var changes []store.Change
	for i := range 3000 {
		changes = append(changes, noted(i, fmt.Sprint("first ", i)))
	}
	if _, err := s.Write(t.Context(), changes...); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Search(t.Context(), byNote(t, p, "first")); err == nil {
		t.Error("a parameter that is not indexed is searched by")
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; ctx.Err() == nil; i += 4 {
				c := noted(i*37%4000, fmt.Sprint("second ", i))
				c.Delete = i%5 == 0
				if _, err := s.Write(context.Background(), c, noted(5000+i%500, "new")); err != nil {
					t.Error(err)
					return
				}
				if _, err := s.Search(context.Background(), parseQuery(t, "Observation?_count=1&code=x")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var told [][2]int
	if err := s.Reindex(t.Context(), p, func(done, total int) { told = append(told, [2]int{done, total}) }); err != nil {
		t.Fatal(err)
	}
	stop()
	wg.Wait()
	if last := told[len(told)-1]; len(told) < 10 || last[0] < 2000 || last[0] > last[1] {
		t.Errorf("the progress was %v", told)
	}
	if err := verify(s); err != nil {
		t.Error(err)
	}
	page, err := s.Search(t.Context(), byNote(t, p, "new"))
	if err != nil || len(page.Resources) == 0 {
		t.Errorf("found %d, %v", len(page.Resources), err)
	}
	// The index is kept, and so is what is written by terms of the old parameters.
	terms, err := search.R4().Extract("Observation", noted(0, "third").JSON)
	if err != nil {
		t.Fatal(err)
	}
	c := noted(0, "third")
	c.Terms = &terms
	if _, err := s.Write(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s, &Options{Load: func(stored iter.Seq2[fhir.Resource, error]) (*search.Parameters, error) { return p, nil }})
	if s.generation != upperCase {
		t.Error("it was indexed anew")
	}
	if err := verify(s); err != nil {
		t.Error(err)
	}
	if page, err := s.Search(t.Context(), byNote(t, p, "third")); err != nil || len(page.Resources) != 1 {
		t.Errorf("found %d, %v", len(page.Resources), err)
	}
	// And back, by Open.
	s = reopen(t, s, nil)
	if err := verify(s); err != nil {
		t.Error(err)
	}
}

func TestAReindexThatEndsEarlyLeavesNothing(t *testing.T) {
	s := openIn(t, storeDir(t), nil)
	p := withNote(t)
	for i := range 600 {
		if _, err := s.Write(t.Context(), noted(i, "text")); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	err := s.Reindex(ctx, p, func(int, int) {
		stop()
		if err := s.Reindex(context.Background(), p, nil); err == nil || !strings.Contains(err.Error(), "another one") {
			t.Errorf("got %v of a second one", err)
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := verify(s); err != nil {
		t.Error(err)
	}
	// As a crash leaves it: some of the keys, and no word of them.
	b, _, err := s.beginIndex(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.indexChunk(t.Context(), b, []byte{currentKey}); err != nil {
		t.Fatal(err)
	}
	if verify(s) == nil {
		t.Error("there are no keys")
	}
	s = reopen(t, s, nil)
	if err := verify(s); err != nil {
		t.Error(err)
	}
	if err := s.Reindex(t.Context(), p, nil); err != nil {
		t.Error(err)
	}
	if err := s.Reindex(t.Context(), p, nil); err != nil || s.generation != upperCase {
		t.Errorf("got %v of what is there already", err)
	}
	if err := verify(s); err != nil {
		t.Error(err)
	}
	s.Close()
	if err := s.Reindex(t.Context(), search.R4(), nil); !errors.Is(err, store.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// Where a resource lies depends on the zone of dates that have none.
func TestAReindexForAnotherZoneIsLeftToOpen(t *testing.T) {
	s := openIn(t, storeDir(t), nil)
	if _, err := s.Write(t.Context(), observationOf("p1", "c", "a"), noted(0, "text")); err != nil {
		t.Fatal(err)
	}
	zone := search.R4().In(time.FixedZone("", 3600))
	if err := s.Reindex(t.Context(), zone, nil); err == nil || !strings.Contains(err.Error(), "another zone") {
		t.Errorf("got %v", err)
	}
	if err := verify(s); err != nil {
		t.Error(err)
	}
	b, _, err := s.beginIndex(t.Context(), zone)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(t.Context(), observationOf("p2", "c", "b")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.useIndex(t.Context(), b), s.dropIndex(b)); !errors.Is(err, errDisplaced) {
		t.Errorf("got %v", err)
	}
	if err := verify(s); err != nil {
		t.Error(err)
	}
	s = reopen(t, s, &Options{Parameters: zone})
	if err := verify(s); err != nil {
		t.Error(err)
	}
}

func TestOpenLoadsTheParametersFromTheStore(t *testing.T) {
	s := openIn(t, storeDir(t), nil)
	for _, id := range []string{"a", "b"} {
		if _, err := s.Write(t.Context(), store.Change{Key: fhir.Key{Type: "SearchParameter", ID: id}, JSON: []byte(`{"resourceType":"SearchParameter"}`)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Write(t.Context(), store.Change{Key: fhir.Key{Type: "SearchParameter", ID: "b"}, Delete: true}); err != nil {
		t.Fatal(err)
	}
	var ids []string
	reopen(t, s, &Options{Load: func(stored iter.Seq2[fhir.Resource, error]) (*search.Parameters, error) {
		for r, err := range stored {
			if err != nil {
				return nil, err
			}
			ids = append(ids, r.ID+string(r.JSON[:1]))
		}
		return search.R4(), nil
	}})
	if !slices.Equal(ids, []string{"a{"}) {
		t.Errorf("got %v", ids)
	}
}
