package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// testReindex gives a store a search parameter while others write and search.
func testReindex(t *testing.T, s store.Store) {
	r := needs[store.Reindexer](t, s)
	const n = 300
	var changes []store.Change
	for i := range n {
		changes = append(changes, put(fmt.Sprintf("d%03d", i), device(fmt.Sprint("first ", i))))
	}
	write(t, s, changes...)
	with, err := search.R4().With(search.Custom{Name: "note", Type: search.StringParam, Bases: []string{"Device"}, Expression: "Device.note.text"})
	if err != nil {
		t.Fatal(err)
	}
	by := func(text string) search.Query {
		t.Helper()
		q, _, err := with.Parse("Device", []search.Pair{{Name: "note", Value: text}, {Name: "_count", Value: "1000"}}, search.Options{Handling: search.Strict})
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	if page, err := s.Search(t.Context(), by("first")); err == nil {
		t.Errorf("a parameter that is not indexed finds %d", len(page.Resources))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Reindex(ctx, with, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v of a context that has ended", err)
	}
	if !bytes.Equal(r.Parameters().Fingerprint(), search.R4().Fingerprint()) {
		t.Error("Parameters are others than those of searches")
	}
	if page, err := s.Search(t.Context(), by("first")); err == nil {
		t.Errorf("a parameter whose index was not made finds %d", len(page.Resources))
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; ctx.Err() == nil; i += 4 {
				c := put(fmt.Sprintf("d%03d", i%n), device(fmt.Sprint("second ", i)))
				if i%5 == 0 {
					c = put(fmt.Sprint("new-", i%50), device(fmt.Sprint("third ", i)))
				}
				if _, err := s.Write(context.Background(), c); err != nil {
					t.Error(err)
					return
				}
				if ids := find(t, s, "Device?_id=d000,d299&_sort=_id"); !slices.Equal(ids, []string{"d000", "d299"}) {
					t.Errorf("found %v while the index is made", ids)
					return
				}
			}
		})
	}
	last := 0
	err = within("Reindex", func() error {
		return r.Reindex(t.Context(), with, func(done, total int) {
			if done < last || done > total {
				t.Errorf("%d of %d are done after %d", done, total, last)
			}
			last = done
		})
	})
	stop()
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.Parameters().Fingerprint(), with.Fingerprint()) {
		t.Error("Parameters are not those of the Reindex")
	}
	everything := find(t, s, "Device?_count=1000&_sort=_id")
	byText := map[string][]string{}
	for _, id := range everything {
		got, err := s.Read(t.Context(), key("Device", id))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"first", "second", "third"} {
			if strings.Contains(string(got.JSON), `"`+text) {
				byText[text] = append(byText[text], id)
			}
		}
	}
	for text, want := range byText {
		q := by(text)
		q.Sort = []search.Sort{{Param: "_id"}}
		if got, err := walk(t.Context(), s, q); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v %v, want %v", text, got, err, want)
		}
	}
	if err := r.Reindex(t.Context(), search.R4(), nil); err != nil {
		t.Fatal(err)
	}
	if ids := find(t, s, "Device?_count=1000&_sort=_id"); !slices.Equal(ids, everything) {
		t.Errorf("got %v, want %v", ids, everything)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Reindex(t.Context(), with, nil); !errors.Is(err, store.ErrClosed) {
		t.Errorf("got %v of a closed store", err)
	}
}
