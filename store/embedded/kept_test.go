package embedded

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// pagesAt is a store with six Observations of 2026, and its clock.
func pagesAt(t *testing.T) (*Store, *time.Time) {
	t.Helper()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s, err := OpenMemory(&Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range 6 {
		putDay(t, s, i, i+1)
	}
	return s, &now
}

func putDay(t *testing.T, s *Store, i, day int) {
	t.Helper()
	key := fhir.Key{Type: "Observation", ID: fmt.Sprint("o", i)}
	json := fmt.Sprintf(`{"resourceType":"Observation","status":"final","code":{"text":"x"},"effectiveDateTime":"2026-01-%02d"}`, day)
	if _, err := s.Write(t.Context(), store.Change{Key: key, JSON: []byte(json)}); err != nil {
		t.Fatal(err)
	}
}

// page is the ids of a page, and where the next one begins.
func page(t *testing.T, s *Store, after *search.Cursor) (ids []string, next *search.Cursor) {
	t.Helper()
	q, _, err := search.R4().Parse("Observation", []search.Pair{{Name: "_sort", Value: "date"}, {Name: "_count", Value: "2"}}, search.Options{Handling: search.Strict})
	if err != nil {
		t.Fatal(err)
	}
	if after != nil { // as a client sends it
		c, err := search.DecodeCursor(after.Encode(q), q)
		if err != nil {
			t.Fatal(err)
		}
		q.After = &c
	}
	p, err := s.Search(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Resources {
		ids = append(ids, r.ID)
	}
	return ids, p.Next
}

func TestPagesShowTheStateOfTheFirst(t *testing.T) {
	s, now := pagesAt(t)
	ids, next := page(t, s, nil)
	putDay(t, s, 0, 31) // what was seen moves to the end
	putDay(t, s, 5, 1)  // and what was not moves to the beginning
	for next != nil {
		*now = now.Add(keptFor - time.Second)
		putDay(t, s, 9, 20)
		var more []string
		more, next = page(t, s, next)
		ids = append(ids, more...)
	}
	if want := []string{"o0", "o1", "o2", "o3", "o4", "o5"}; !slices.Equal(ids, want) {
		t.Errorf("pages %v, want %v", ids, want)
	}
}

func TestPagesGoOnInTheNewestStateIfTheOldOneIsGone(t *testing.T) {
	for name, lose := range map[string]func(s *Store, now *time.Time, next *search.Cursor){
		"nobody has asked for it lately": func(s *Store, now *time.Time, _ *search.Cursor) {
			*now = now.Add(keptFor + time.Second)
			putDay(t, s, 9, 9)
		},
		"many others have asked": func(s *Store, _ *time.Time, _ *search.Cursor) {
			for i := range maxKeptViews {
				putDay(t, s, 9, i%9+10)
				page(t, s, nil)
			}
		},
		"it is of another store": func(_ *Store, _ *time.Time, next *search.Cursor) { next.View ^= 1 << 60 },
		"the cursor names none":  func(_ *Store, _ *time.Time, next *search.Cursor) { next.View = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			s, now := pagesAt(t)
			_, next := page(t, s, nil)
			putDay(t, s, 5, 1)
			putDay(t, s, 4, 3)
			lose(s, now, next)
			if ids, _ := page(t, s, next); !slices.Equal(ids, []string{"o2", "o4"}) {
				t.Errorf("the next page is %v", ids)
			}
		})
	}
}

func TestKeptViewsAreFewAndLetGo(t *testing.T) {
	s, now := pagesAt(t)
	for i := range 3 * maxKeptViews {
		putDay(t, s, 9, i%9+10)
		_, next := page(t, s, nil)
		page(t, s, next)
	}
	if n, m := len(s.kept.order), len(s.kept.byID); n != maxKeptViews || m != n {
		t.Errorf("%d and %d views are kept", n, m)
	}
	*now = now.Add(keptFor + time.Second)
	putDay(t, s, 9, 30)
	if n, m := len(s.kept.order), len(s.kept.byID); n != 0 || m != 0 {
		t.Errorf("%d and %d views are kept after their time", n, m)
	}
	if open := s.db.Metrics().Snapshots.Count; open != 1 {
		t.Errorf("%d snapshots are open", open)
	}
}
