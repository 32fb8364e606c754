package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kiln-health/kiln/store"
)

func testSearchAfterWrite(t *testing.T, s store.Store) {
	for i := range 20 {
		id := fmt.Sprint("o", i)
		write(t, s, put(id, heartRate(id, "2026-01-02T03:04:05Z", "72")))
		if ids := find(t, s, "Observation?patient="+id); !slices.Equal(ids, []string{id}) {
			t.Fatalf("got %v right after the write", ids)
		}
	}
	// What moves is found where it is, and only there.
	write(t, s, put("o0", heartRate("elsewhere", "2027-01-02T03:04:05Z", "99")))
	for query, want := range map[string][]string{
		"Observation?patient=o0":                                  nil,
		"Observation?patient=elsewhere":                           {"o0"},
		"Observation?patient=elsewhere&code=8867-4":               {"o0"},
		"Observation?patient=elsewhere&category=vital-signs":      {"o0"},
		"Observation?patient=elsewhere&date=2026":                 nil,
		"Observation?date=ge2027&_sort=date":                      {"o0"},
		"Observation?value-quantity=99":                           {"o0"},
		"Observation?value-quantity=72&_id=o0":                    nil,
		"Observation?_id=o0,nothing,o1":                           {"o0", "o1"},
		"Observation?_lastUpdated=gt2020-01-01&_id=o1&_sort=date": {"o1"},
	} {
		if got := find(t, s, query); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", query, got, want)
		}
	}
}

func testPagingUnderWrites(t *testing.T, s store.Store) {
	const steady = 150
	var changes []store.Change
	want := map[string]bool{}
	for i := range steady {
		id := fmt.Sprintf("steady-%03d", i*37%steady)
		want[id] = true
		changes = append(changes, put(id, heartRate("p1", fmt.Sprintf("2026-01-%02dT%02d:00:00Z", i%28+1, i%24), "72")))
	}
	write(t, s, changes...)

	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("other-%d-%d", w, i%40)
				c := put(id, heartRate("p1", fmt.Sprintf("2026-01-%02dT%02d:30:00Z", i%28+1, (i/28)%24), "80"))
				if i%3 == 2 {
					c = store.Change{Key: c.Key, Delete: true}
				}
				if _, err := s.Write(ctx, c); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, query := range []string{
		"Observation?patient=p1&code=8867-4&_sort=-date&_count=7",
		"Observation?patient=p1&_sort=date&_count=11",
		"Observation?code=8867-4&_count=13",
		"Observation?_sort=_lastUpdated&_count=9",
		"Observation?date=2026-01&_sort=-_id&_count=17",
	} {
		seen := map[string]int{}
		ids, err := walk(ctx, s, parse(t, query))
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			seen[id]++
		}
		for id := range want {
			if seen[id] != 1 {
				t.Errorf("%s: %s was seen %d times", query, id, seen[id])
			}
		}
	}
	stop()
	wg.Wait()
}

// testTies has many resources of one date, or of two, written at once: pages are cut in
// the middle of equals, and several values of a query find them.
func testTies(t *testing.T, s store.Store) {
	const n = 120
	var changes []store.Change
	at := func(i int) string { return fmt.Sprintf("2026-01-%02d", 1+i/100) }
	id := func(i int) string { return fmt.Sprintf("o%03d", i*77%n) }
	for i := range n {
		json := strings.Replace(heartRate(fmt.Sprint("p", i%3), at(i), "72"), "8867-4", fmt.Sprint("c", i%2), 1)
		changes = append(changes, put(id(i), json))
	}
	results := write(t, s, changes...)
	expect := func(in func(i int) bool, descending bool) (want []string) {
		for _, day := range []string{at(0), at(n - 1)} {
			var equals []string
			for i := range n {
				if at(i) == day && in(i) {
					equals = append(equals, id(i))
				}
			}
			slices.Sort(equals)
			if descending {
				want = append(equals, want...)
			} else {
				want = append(want, equals...)
			}
		}
		return want
	}
	all := func(int) bool { return true }
	for _, test := range []struct {
		query      string
		want       func(i int) bool
		descending bool
	}{
		{"_sort=date", all, false},
		{"_sort=-date", all, true},
		{"code=c0,c1&_sort=date", all, false},
		{"code=c0,c1&_sort=-date", all, true},
		{"patient=p0,p2&code=c0,c1&_sort=date", func(i int) bool { return i%3 != 1 }, false},
		{"patient=p0,p2&code=c0,c1&_sort=-date", func(i int) bool { return i%3 != 1 }, true},
		{"patient=p1&_sort=date", func(i int) bool { return i%3 == 1 }, false},
		{"date=ge2026&category=vital-signs&_sort=date", all, false},
	} {
		want := expect(test.want, test.descending)
		for _, count := range []int{1, 7, 50, 1000} {
			if got := find(t, s, fmt.Sprintf("Observation?%s&_count=%d", test.query, count)); !slices.Equal(got, want) {
				t.Errorf("%s, pages of %d: got %v, want %v", test.query, count, got, want)
			}
		}
	}
	for _, descending := range []bool{false, true} {
		slices.SortFunc(results, func(a, b store.Result) int {
			n := a.LastUpdated.Compare(b.LastUpdated)
			if descending {
				n = -n
			}
			return cmp.Or(n, strings.Compare(a.ID, b.ID))
		})
		var want []string
		for _, r := range results {
			want = append(want, r.ID)
		}
		query := "_sort=_lastUpdated"
		if descending {
			query = "_sort=-_lastUpdated"
		}
		if got := find(t, s, "Observation?"+query+"&_count=7"); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", query, got, want)
		}
	}
}

// testSnapshot moves a pair of resources together between two patients: no search may see
// them apart.
func testSnapshot(t *testing.T, s store.Store) {
	move := func(to string) []store.Change {
		return []store.Change{put("left", heartRate(to, "2026-01-02", "1")), put("right", heartRate(to, "2026-01-03", "2"))}
	}
	write(t, s, move("p1")...)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			if _, err := s.Write(context.Background(), move([]string{"p1", "p2"}[i%2])...); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for range 200 {
		page, err := s.Search(ctx, parse(t, "Observation?patient=p1&_total=accurate"))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(page.Resources); n == 1 || page.Total != n {
			t.Fatalf("found %d of two that move together, total %d", n, page.Total)
		}
	}
	stop()
	<-done
}
