package search

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Pages that are made of matches in any order have each match once, in the order of the query.
func TestTheFirstMatchesAreKeptInWhateverOrderTheyCome(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := Query{Type: "Observation", Sort: []Sort{{Param: "_lastUpdated", Descending: rapid.Bool().Draw(t, "descending")}, {Param: "_id"}}}
		all := make([]Cursor, rapid.IntRange(0, 20).Draw(t, "matches"))
		size := map[string]int{}
		for i := range all {
			all[i] = Cursor{ID: fmt.Sprintf("r%02d", i), LastUpdated: time.UnixMilli(rapid.Int64Range(0, 4).Draw(t, "lastUpdated"))}
			size[all[i].ID] = rapid.IntRange(0, 9).Draw(t, "bytes")
		}
		want := slices.SortedFunc(slices.Values(all), q.Compare)
		limit := rapid.IntRange(1, 20).Draw(t, "most bytes")
		var got []string
		for {
			q.Count = rapid.IntRange(1, 6).Draw(t, "count")
			top := NewTop[string](q, limit)
			for range rapid.IntRange(1, 2).Draw(t, "rounds") { // a match may come twice
				for _, at := range rapid.Permutation(all).Draw(t, "order") {
					if top.Wants(at) {
						top.Add(at, "match "+at.ID, size[at.ID])
					}
				}
			}
			sum, n := 0, 0
			for at, match := range top.All() {
				if *match != "match "+at.ID {
					t.Fatalf("%s is at the place of %s", *match, at.ID)
				}
				got = append(got, at.ID)
				sum, n = sum+size[at.ID], n+1
			}
			if n != top.Len() || n > q.Count || n > 1 && sum > limit {
				t.Fatalf("%d matches of %d bytes on a page of %d and %d", n, sum, q.Count, limit)
			}
			next := top.Next()
			if (next == nil) != (top.End() == nil) {
				t.Fatalf("the next page begins at %v, and has %v", next, top.End())
			}
			if next == nil {
				break
			}
			q.After = next
		}
		if !slices.EqualFunc(got, want, func(id string, at Cursor) bool { return id == at.ID }) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestWhatIsForgottenMayComeAgain(t *testing.T) {
	top := NewTop[int](Query{Count: 1}, 10)
	for i, id := range []string{"a", "b"} {
		top.Add(Cursor{ID: id}, i, 1)
	}
	if top.Len() != 1 || top.Wants(Cursor{ID: "c"}) {
		t.Fatalf("got %d matches, the end at %v", top.Len(), top.End())
	}
	if top.Reset(); top.Len() != 0 || top.End() != nil || top.Next() != nil || !top.Wants(Cursor{ID: "c"}) {
		t.Errorf("got %d matches, the end at %v", top.Len(), top.End())
	}
}
