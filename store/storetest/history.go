package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

// versionsOf follows a history from page to page. It is an error if a page is out of order.
func versionsOf(ctx context.Context, s store.Store, q store.HistoryQuery) ([]fhir.Resource, error) {
	var all []fhir.Resource
	for {
		page, err := s.History(ctx, q)
		if err != nil {
			return nil, err
		}
		if q.Count > 0 && len(page.Resources) > q.Count {
			return nil, fmt.Errorf("a page of %d has %d versions", q.Count, len(page.Resources))
		}
		all = append(all, page.Resources...)
		if err := inOrder(all, q); err != nil || page.Next == nil {
			return all, err
		}
		if len(page.Resources) == 0 {
			return nil, errors.New("an empty page has a next one")
		}
		q.Before = page.Next.ID
	}
}

// inOrder tells what is wrong with a history, as far as it can be seen.
func inOrder(all []fhir.Resource, q store.HistoryQuery) error {
	last := map[fhir.Key]string{}
	everything := q.CurrentFrom.IsZero() && q.CurrentTo.IsZero()
	for i, r := range all {
		k := key(r.Type, r.ID)
		switch {
		case q.Type != "" && r.Type != q.Type, q.ID != "" && r.ID != q.ID:
			return fmt.Errorf("%s is in the history of %s %s", r.Key, q.Type, q.ID)
		case r.LastUpdated.Before(q.Since):
			return fmt.Errorf("%s is of %v, before %v", r.Key, r.LastUpdated, q.Since)
		case i > 0 && r.LastUpdated.After(all[i-1].LastUpdated):
			return fmt.Errorf("%s is later than %s before it", r.Key, all[i-1].Key)
		case last[k] != "" && (number(r.Version) >= number(last[k]) || everything && number(r.Version) != number(last[k])-1):
			return fmt.Errorf("%s follows version %s", r.Key, last[k])
		case r.Deleted != (r.JSON == nil):
			return fmt.Errorf("%s: deleted is %v, with %d bytes", r.Key, r.Deleted, len(r.JSON))
		}
		last[k] = r.Version
	}
	return nil
}

func number(version string) (n int) {
	_, _ = fmt.Sscan(version, &n) // 0 is no version
	return n
}

// names are versions as text, in their order.
func names(all []fhir.Resource) []string {
	var text []string
	for _, r := range all {
		name := fmt.Sprintf("%s/%s/%s", r.Type, r.ID, r.Version)
		if r.Deleted {
			name += " deleted"
		}
		text = append(text, name)
	}
	return text
}

func histories(t *testing.T, s store.Store, q store.HistoryQuery) []string {
	t.Helper()
	all, err := versionsOf(t.Context(), s, q)
	if err != nil {
		t.Fatalf("history of %+v: %v", q, err)
	}
	return names(all)
}

func testHistorySince(t *testing.T, s store.Store) {
	var at []time.Time
	for i := range 4 {
		r := write(t, s, put("a", device(fmt.Sprint(i))), put("b", device(fmt.Sprint(i))))[0]
		at = append(at, r.LastUpdated)
		time.Sleep(2 * time.Millisecond)
	}
	for _, q := range []store.HistoryQuery{{Type: "Device", ID: "a"}, {Type: "Device"}, {}} {
		everything, err := versionsOf(t.Context(), s, q)
		if err != nil || len(everything) < 4 {
			t.Fatalf("%+v: got %v %v", q, names(everything), err)
		}
		for _, since := range at {
			for _, off := range []time.Duration{0, time.Nanosecond, -time.Nanosecond, time.Hour} {
				q.Since = since.Add(off)
				want := slices.DeleteFunc(slices.Clone(everything), func(r fhir.Resource) bool { return r.LastUpdated.Before(q.Since) })
				for _, q.Count = range []int{1, 3, 0} {
					if got := histories(t, s, q); !slices.Equal(got, names(want)) {
						t.Errorf("%+v: got %v, want %v", q, got, names(want))
					}
				}
			}
		}
	}
}

// testHistoryCurrent asks which versions were current from one time to another.
func testHistoryCurrent(t *testing.T, s store.Store) {
	for i := range 6 { // some in one millisecond, some not
		for range i % 3 {
			write(t, s, put("a", device(fmt.Sprint(i))), put("b", heartRate("p1", "2026-01-02", fmt.Sprint(i))))
			write(t, s, store.Change{Key: key("Device", "a"), Delete: true}, put(fmt.Sprint("c", i), device("c")))
		}
		write(t, s, put("a", device(fmt.Sprint("again ", i))))
		time.Sleep(2 * time.Millisecond)
	}
	everything, err := versionsOf(t.Context(), s, store.HistoryQuery{Count: 1000})
	if err != nil {
		t.Fatal(err)
	}
	m := &model{versions: map[fhir.Key][]fhir.Resource{}}
	for _, r := range slices.Backward(everything) {
		k := key(r.Type, r.ID)
		m.versions[k] = append(m.versions[k], r)
	}
	times := []time.Time{{}, everything[0].LastUpdated.Add(time.Hour), everything[len(everything)-1].LastUpdated.Add(-time.Hour)}
	for i, r := range everything {
		if i == 0 || !r.LastUpdated.Equal(everything[i-1].LastUpdated) {
			for _, off := range []time.Duration{0, time.Nanosecond, time.Millisecond} {
				times = append(times, r.LastUpdated.Add(off))
			}
		}
	}
	for i, from := range times {
		until := []time.Time{{}, from, from.Add(time.Nanosecond), from.Add(time.Millisecond), from.Add(2 * time.Millisecond), times[(i*7+3)%len(times)], times[(i*5+1)%len(times)]}
		for n, to := range until {
			for level, q := range []store.HistoryQuery{{}, {Type: "Device"}, {Type: "Device", ID: "a"}, {Type: "Observation", ID: "b"}} {
				if (i+n+level)%3 > 0 && !long() { // enough of them
					continue
				}
				q.CurrentFrom, q.CurrentTo, q.Count = from, to, []int{100, 1, 4}[(i+n)%3]
				if (i+n)%4 == 3 {
					q.Since = times[(i*3+n)%len(times)]
				}
				want := names(m.history(q))
				got := histories(t, s, q)
				slices.Sort(got)
				if slices.Sort(want); !slices.Equal(got, want) {
					t.Fatalf("%+v: got %v, want %v of %v", q, got, want, timesOf(everything))
				}
			}
		}
	}
	q := store.HistoryQuery{Type: "Device", ID: "nothing", CurrentFrom: times[1], CurrentTo: times[1].Add(time.Hour)}
	if page, err := s.History(t.Context(), q); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %+v %v of what never was, want not found", page, err)
	}
}

func timesOf(all []fhir.Resource) (text []string) {
	for i, name := range names(all) {
		text = append(text, name+" "+all[i].LastUpdated.Format("05.000"))
	}
	return text
}

func testHistoryOfMany(t *testing.T, s store.Store) {
	if got := histories(t, s, store.HistoryQuery{}); len(got) != 0 {
		t.Errorf("got %v of an empty store", got)
	}
	var want []string
	ids := []string{"a", "a-", "a.0", "a.", "A", "b", "z", strings.Repeat("z", 64)}
	for round := range 6 {
		var changes []store.Change // all at one moment
		for i, id := range ids {
			c := put(id, device(fmt.Sprint(round%4)))
			c.Delete = (round+i)%3 == 0
			changes = append(changes, c, put(id, heartRate("p1", "2026-01-02", fmt.Sprint(round))))
		}
		for _, r := range write(t, s, changes...) {
			if !r.Unchanged {
				want = append(want, names([]fhir.Resource{r.Resource})...)
			}
		}
	}
	slices.Sort(want)
	in := func(of string) []string {
		return slices.DeleteFunc(slices.Clone(want), func(name string) bool { return !strings.HasPrefix(name, of) })
	}
	for _, of := range []string{"", "Device", "Observation", "Patient"} {
		var first []string
		for _, count := range []int{0, 1, 2, 7, 16, 1000} {
			got := histories(t, s, store.HistoryQuery{Type: of, Count: count})
			if first == nil {
				first = slices.Clone(got)
			}
			if !slices.Equal(got, first) {
				t.Errorf("%q: pages of %d are in another order than others: %v, not %v", of, count, got, first)
			}
			if slices.Sort(got); !slices.Equal(got, in(of)) {
				t.Errorf("%q: pages of %d have %v, want %v", of, count, got, in(of))
			}
		}
	}
	page, err := s.History(t.Context(), store.HistoryQuery{Type: "Device", Count: 1})
	if err != nil || page.Next == nil || len(page.Resources) != 1 || page.Total != -1 && page.Total != len(in("Device")) {
		t.Fatalf("got %+v %v", page, err)
	}
	if got, err := s.Read(t.Context(), page.Resources[0].Key); err == nil && !same(got, page.Resources[0]) {
		t.Errorf("got %+v, and a read gives %+v", page.Resources[0], got)
	}
	for _, q := range []store.HistoryQuery{
		{Before: "x"}, {Before: "1"}, {Type: "Device", Before: "x"}, {Before: page.Next.ID + "x"}, {Before: "\x00"},
		{Type: "Observation", Before: page.Next.ID}, {Type: "Device", ID: "a", Before: page.Next.ID}, {Type: "no type"}, {ID: "a"},
	} {
		if page, err := s.History(t.Context(), q); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%+v: got %+v %v, want not found", q, page, err)
		}
	}
}

func testHistoryUnderWrites(t *testing.T, s store.Store) {
	var changes []store.Change
	for i := range 60 {
		changes = append(changes, put(fmt.Sprint("d", i), device("0")), put(fmt.Sprint("o", i), heartRate("p1", "2026-01-02", "1")))
	}
	write(t, s, changes...)
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for w := range 4 {
		wg.Go(func() {
			for i := 1; ctx.Err() == nil; i++ {
				c := changes[(i*7+w)%len(changes)]
				if c.Type == "Device" {
					c.JSON = put(c.ID, device(fmt.Sprint(w, i))).JSON
					c.Delete = i%3 == 2
				} else {
					c.ID = fmt.Sprint("new-", w, "-", i)
				}
				if _, err := s.Write(ctx, c); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, q := range []store.HistoryQuery{{Count: 13}, {Type: "Device", Count: 7}} {
		// What is there now must be seen once on small pages that are read slowly.
		before, err := versionsOf(ctx, s, store.HistoryQuery{Type: q.Type, Count: 10000})
		if err != nil {
			t.Fatal(err)
		}
		got, err := versionsOf(ctx, s, q)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		for _, name := range names(got) {
			if seen[name]++; seen[name] > 1 {
				t.Errorf("%+v: %s was seen %d times", q, name, seen[name])
			}
		}
		for _, name := range names(before) {
			if seen[name] != 1 {
				t.Errorf("%+v: %s was seen %d times", q, name, seen[name])
			}
		}
	}
}

func testHistory(t *testing.T, s store.Store) {
	for i := range 5 {
		write(t, s, put("a", device(fmt.Sprint(i))))
	}
	write(t, s, store.Change{Key: key("Device", "a"), Delete: true})
	write(t, s, put("a", device("back")))
	write(t, s, put("a-", device("another")), put("a.0", device("another")), put("b", device("another")))
	for _, count := range []int{1, 2, 3, 7, 100, 0} {
		var got []string
		q := store.HistoryQuery{Type: "Device", ID: "a", Count: count}
		for {
			page, err := s.History(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if count > 0 && len(page.Resources) > count || page.Total != -1 && page.Total != 7 {
				t.Errorf("got a page of %d, total %d", len(page.Resources), page.Total)
			}
			for _, r := range page.Resources {
				if r.Deleted != (r.JSON == nil) || r.ID != "a" {
					t.Errorf("got %+v", r)
				}
				got = append(got, fmt.Sprint(r.Version, r.Deleted))
			}
			if page.Next == nil {
				break
			}
			q.Before = page.Next.ID
		}
		want := []string{"7false", "6true", "5false", "4false", "3false", "2false", "1false"}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: got %q", count, got)
		}
	}
	for _, before := range []string{"0", "8", "01", "x", "-1", "1_Device_a_1"} {
		if page, err := s.History(t.Context(), store.HistoryQuery{Type: "Device", ID: "a", Before: before}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("before %q: got %+v %v, want not found", before, page, err)
		}
	}
	if page, err := s.History(t.Context(), store.HistoryQuery{Type: "Device", ID: "a", Before: "1"}); err != nil || len(page.Resources) != 0 || page.Next != nil {
		t.Errorf("got %+v %v behind the end", page, err)
	}
}
