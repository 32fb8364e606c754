package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kiln-health/kiln/store"
)

func testJournal(t *testing.T, s store.Store) {
	j := needs[store.Journal](t, s)
	ctx := t.Context()
	ids := []string{"a", "b", "b\x00", "b\x00a", "ba", "c/d", strings.Repeat("z", 100), "ä"}
	for i := range ids {
		for _, shelf := range []string{"inbox", "inbox2", "in"} {
			if err := j.Keep(ctx, shelf, ids[(i*3)%len(ids)], []byte(shelf+ids[(i*3)%len(ids)])); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, limit := range []int{1, 3, 100} {
		var got []string
		for at := ""; ; {
			page, err := j.Entries(ctx, "inbox", at, limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) > limit {
				t.Fatalf("got %d entries, wanted %d", len(page), limit)
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
			at = page[len(page)-1]
		}
		if !slices.Equal(got, ids) {
			t.Errorf("limit %d: got %q", limit, got)
		}
	}
	// What was removed need not be there to go on behind it.
	if page, err := j.Entries(ctx, "inbox", "b\x00\x00", 1); err != nil || !slices.Equal(page, []string{"b\x00a"}) {
		t.Errorf("got %q %v", page, err)
	}
	if got, err := j.Fetch(ctx, "inbox", "b"); err != nil || string(got) != "inboxb" {
		t.Errorf("got %q %v", got, err)
	}
	if err := j.Keep(ctx, "inbox", "b", []byte("other")); err != nil {
		t.Fatal(err)
	}
	if got, err := j.Fetch(ctx, "inbox", "b"); err != nil || string(got) != "other" {
		t.Errorf("got %q %v after it was replaced", got, err)
	}
	if err := j.Remove(ctx, "inbox", "b"); err != nil {
		t.Fatal(err)
	}
	if err := j.Remove(ctx, "inbox", "b"); err != nil {
		t.Errorf("a second removal: %v", err)
	}
	if _, err := j.Fetch(ctx, "inbox", "b"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	if got, err := j.Fetch(ctx, "inbox2", "b"); err != nil || string(got) != "inbox2b" {
		t.Errorf("got %q %v from another shelf", got, err)
	}
	if page, err := j.Entries(ctx, "inbox", "", 2); err != nil || !slices.Equal(page, []string{"a", "b\x00"}) {
		t.Errorf("got %q %v", page, err)
	}
	if err := j.Keep(ctx, "inbox", "empty", nil); err != nil {
		t.Fatal(err)
	}
	if got, err := j.Fetch(ctx, "inbox", "empty"); err != nil || len(got) != 0 {
		t.Errorf("got %q %v of an empty entry", got, err)
	}
	if page, err := j.Entries(ctx, "nothing", "", 10); err != nil || len(page) != 0 {
		t.Errorf("got %q %v of an empty shelf", page, err)
	}
	// Many keep at once.
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			if err := j.Keep(ctx, "many", fmt.Sprintf("%02d", i), []byte{byte(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if page, err := j.Entries(ctx, "many", "", 100); err != nil || len(page) != 32 {
		t.Errorf("got %d entries %v, want 32", len(page), err)
	}
}
