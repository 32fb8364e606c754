package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/storetest"
)

// TestStoreWithAClockThatJumps has many versions of one moment, and moments that come again.
func TestStoreWithAClockThatJumps(t *testing.T) {
	fhirtest.Long(t) // TestStoresAgree lets such a store go through the same histories
	storetest.Run(t, func(t *testing.T) store.Store {
		begin, n := time.Now(), atomic.Int64{}
		s, err := Open("store", &Options{FS: vfs.NewMem(), Now: func() time.Time {
			i := n.Add(1)
			return begin.Add(time.Duration(i/5*7919%11-5) * time.Second)
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	})
}

func historyOf(t *testing.T, s *Store, q store.HistoryQuery) (all []string) {
	t.Helper()
	for {
		page, err := s.History(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Resources {
			all = append(all, fmt.Sprintf("%s %s/%s/%s", r.LastUpdated.Format("15:04"), r.Type, r.ID, r.Version))
		}
		if page.Next == nil || len(all) > 1000 {
			return all
		}
		q.Before = page.Next.ID
	}
}

func TestHistoryOfManyIsInTheOrderOfTimeTypeIDAndVersion(t *testing.T) {
	now := time.Date(2026, 1, 2, 10, 0, 0, 0, time.UTC)
	s := openIn(t, storeDir(t), &Options{Now: func() time.Time { return now }})
	text := 0
	puts := func(keys ...string) {
		t.Helper()
		for _, k := range keys {
			text++
			of, id, _ := strings.Cut(k, "/")
			c := store.Change{Key: fhir.Key{Type: of, ID: id}, JSON: fmt.Appendf(nil, `{"resourceType":"%s","language":"x%d"}`, of, text)}
			if _, err := s.Write(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	puts("Device/b", "Device/a", "Observation/a", "Device/a", "Device/a-", "Device/b")
	now = now.Add(time.Hour)
	puts("Patient/a", "Device/b")
	now = now.Add(-30 * time.Minute) // the clock goes back
	puts("Device/c", "Device/b", "Device/a")
	if _, err := s.Write(t.Context(), store.Change{Key: fhir.Key{Type: "Device", ID: "c"}, Delete: true}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"11:00 Device/b/4", "11:00 Device/b/3", "11:00 Patient/a/1",
		"10:30 Device/a/3", "10:30 Device/c/2", "10:30 Device/c/1",
		"10:00 Device/a/2", "10:00 Device/a/1", "10:00 Device/a-/1", "10:00 Device/b/2", "10:00 Device/b/1", "10:00 Observation/a/1",
	}
	check := func(when string) {
		t.Helper()
		for _, count := range []int{1, 2, 3, 5, 100} {
			if got := historyOf(t, s, store.HistoryQuery{Count: count}); !slices.Equal(got, want) {
				t.Errorf("%s, pages of %d: got %q, want %q", when, count, got, want)
			}
		}
		devices := slices.DeleteFunc(slices.Clone(want), func(v string) bool { return !strings.Contains(v, "Device") })
		if got := historyOf(t, s, store.HistoryQuery{Type: "Device", Count: 2}); !slices.Equal(got, devices) {
			t.Errorf("%s: got %q, want %q", when, got, devices)
		}
		if got := historyOf(t, s, store.HistoryQuery{Since: now, Count: 2}); !slices.Equal(got, want[:6]) {
			t.Errorf("%s, since then: got %q, want %q", when, got, want[:6])
		}
	}
	check("as written")

	// An older program left no keys for the history of many, and another note of the index.
	b := s.db.NewBatch()
	err := errors.Join(b.DeleteRange([]byte{pastKey}, []byte{pastKey + 1}, nil), b.Set(indexKey, []byte("older"), nil), b.Commit(pebble.Sync))
	if err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s, &Options{Now: func() time.Time { return now }})
	check("indexed anew")
	if err := verify(s); err != nil {
		t.Error(err)
	}

	// A page goes on where it ended, whatever becomes of its last version.
	page, err := s.History(t.Context(), store.HistoryQuery{Count: 4})
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	puts("Device/a", "Device/c", "Device/new", "Patient/a")
	if got := historyOf(t, s, store.HistoryQuery{Before: page.Next.ID, Count: 1}); !slices.Equal(got, want[4:]) {
		t.Errorf("after writes: got %q, want %q", got, want[4:])
	}
}

// TestHistoryOfWhatWasCurrentIsThatOfThePlainRule compares pages of all levels with a plain list:
// random writes on a clock that often stands still and sometimes goes back.
func TestHistoryOfWhatWasCurrentIsThatOfThePlainRule(t *testing.T) {
	fhirtest.Long(t)
	rapid.Check(t, func(t *rapid.T) {
		begin := time.Date(2026, 1, 2, 10, 0, 0, 0, time.UTC)
		now := begin
		s, err := Open("store", &Options{FS: vfs.NewMem(), Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var all []fhir.Resource // newest first at last
		for i := range rapid.IntRange(1, 40).Draw(t, "writes") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{-2, 0, 0, 0, 1, 3}).Draw(t, "ms")) * time.Millisecond)
			c := store.Change{Key: fhir.Key{Type: rapid.SampledFrom([]string{"Device", "Patient"}).Draw(t, "type"), ID: rapid.SampledFrom([]string{"a", "a-", "b"}).Draw(t, "id")}}
			if c.Delete = rapid.IntRange(0, 3).Draw(t, "delete") == 0; !c.Delete {
				c.JSON = fmt.Appendf(nil, `{"resourceType":"%s","language":"x%d"}`, c.Type, i)
			}
			done, err := s.Write(context.Background(), c)
			if err != nil {
				t.Fatal(err)
			}
			if !done[0].Unchanged {
				all = append(all, done[0].Resource)
			}
		}
		version := func(r fhir.Resource) int { n, _ := strconv.Atoi(r.Version); return n }
		slices.SortFunc(all, func(a, b fhir.Resource) int {
			return cmp.Or(b.LastUpdated.Compare(a.LastUpdated), cmp.Compare(a.Type, b.Type), cmp.Compare(a.ID, b.ID), version(b)-version(a))
		})
		until := func(r fhir.Resource) (time.Time, bool) {
			for _, o := range all {
				if o.Type == r.Type && o.ID == r.ID && version(o) == version(r)+1 {
					return o.LastUpdated, true
				}
			}
			return time.Time{}, false
		}
		moment := func(name string) time.Time {
			if rapid.IntRange(0, 4).Draw(t, name+" open") == 0 {
				return time.Time{}
			}
			return begin.Add(time.Duration(rapid.IntRange(-6, 120).Draw(t, name)) * time.Millisecond / 3)
		}
		for range 8 {
			q := store.HistoryQuery{CurrentFrom: moment("from"), CurrentTo: moment("to"), Count: rapid.IntRange(1, 5).Draw(t, "count")}
			if rapid.Bool().Draw(t, "since") {
				q.Since = moment("since time")
			}
			switch r := rapid.SampledFrom(append(all, fhir.Resource{})).Draw(t, "of"); rapid.IntRange(0, 2).Draw(t, "level") {
			case 0:
				q.Type, q.ID = r.Type, r.ID
			case 1:
				q.Type = r.Type
			}
			var want []string
			for _, r := range all {
				end, replaced := until(r)
				switch {
				case q.Type != "" && r.Type != q.Type, q.ID != "" && r.ID != q.ID, r.LastUpdated.Before(q.Since):
				case q.CurrentFrom.IsZero() && q.CurrentTo.IsZero():
					want = append(want, r.Type+"/"+r.ID+"/"+r.Version)
				default:
					// The moment at which both intervals have begun, if both last.
					at := r.LastUpdated
					if at.Before(q.CurrentFrom) {
						at = q.CurrentFrom
					}
					if (!replaced || at.Before(end)) && (q.CurrentTo.IsZero() || at.Before(q.CurrentTo)) {
						want = append(want, r.Type+"/"+r.ID+"/"+r.Version)
					}
				}
			}
			var got []string
			for {
				page, err := s.History(context.Background(), q)
				if err != nil {
					t.Fatal(err)
				}
				if page.Total >= 0 && page.Total != len(want) || page.Next != nil && len(page.Resources) == 0 {
					t.Fatalf("total %d of %d, %d on the page", page.Total, len(want), len(page.Resources))
				}
				for _, r := range page.Resources {
					got = append(got, r.Type+"/"+r.ID+"/"+r.Version)
				}
				if page.Next == nil {
					break
				}
				q.Before = page.Next.ID
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%+v: got %v, want %v", q, got, want)
			}
		}
	})
}

func TestHistoryOfManyEndsAPageThatIsLarge(t *testing.T) {
	s := memory(t)
	s.limits.pageBytes = 1000
	for i := range 9 {
		c := store.Change{Key: fhir.Key{Type: "Device", ID: fmt.Sprint("d", i%4)}, JSON: fmt.Appendf(nil,
			`{"resourceType":"Device","note":[{"text":"%d%s"}]}`, i, strings.Repeat("x", []int{100, 2000}[i%2]))}
		if _, err := s.Write(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	page, err := s.History(t.Context(), store.HistoryQuery{Count: 100})
	if err != nil || page.Next == nil || len(page.Resources) > 4 || len(page.Resources) == 0 {
		t.Errorf("got a page of %d, %v", len(page.Resources), err)
	}
	if got := historyOf(t, s, store.HistoryQuery{Count: 100}); len(got) != 9 {
		t.Errorf("got %q, want 9 versions", got)
	}
}

func TestHistoryTellsOfDamage(t *testing.T) {
	for name, harm := range map[string]func(b *pebble.Batch) error{
		"a key without a version": func(b *pebble.Batch) error {
			return b.Set(appendPast(nil, "Observation", "r1", 9, mustParse("2026-01-01")), nil, nil)
		},
		"a key of another time": func(b *pebble.Batch) error {
			return b.Set(appendPast(nil, "Observation", "r1", 1, mustParse("2026-01-01")), nil, nil)
		},
		"a key that is cut": func(b *pebble.Batch) error { return b.Set([]byte("vObservation\x00abc"), nil, nil) },
		"another that is": func(b *pebble.Batch) error {
			return b.Set([]byte("vObservation\x00\x00\x00\x00\x00\x00\x00\x00\x00id\x001"), nil, nil)
		},
		"a lost version":     func(b *pebble.Batch) error { return b.DeleteRange([]byte{earlierKey}, []byte{earlierKey + 1}, nil) },
		"a lost resource":    func(b *pebble.Batch) error { return b.Delete(appendCurrent(nil, "Observation", "r1"), nil) },
		"a resource unnamed": func(b *pebble.Batch) error { return b.Set([]byte("cObservation"), nil, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			s := memory(t)
			for i := range 3 {
				if _, err := s.Write(t.Context(), sample(1, i), sample(2, i)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Millisecond) // what is replaced at once was never current
			}
			b := s.db.NewBatch()
			if err := errors.Join(harm(b), b.Commit(pebble.Sync)); err != nil {
				t.Fatal(err)
			}
			// What was committed behind its back is not in the view yet.
			if _, err := s.Write(t.Context(), sample(3, 0)); err != nil {
				t.Fatal(err)
			}
			for _, q := range []store.HistoryQuery{{Count: 100}, {Count: 100, CurrentFrom: mustParse("2020-01-01")}} {
				if page, err := s.History(t.Context(), q); err == nil {
					t.Errorf("got %d versions and no error", len(page.Resources))
				}
			}
		})
	}
}

// BenchmarkHistory reads pages of the history of many resources, half of which have an
// earlier version, and tells what a version costs on disk.
func BenchmarkHistory(b *testing.B) {
	const size = 20_000
	s := onDisk(b)
	load(b, s, 0, size)
	for part := range 10 { // as many moments
		var changes []store.Change
		for i := part; i < size; i += 20 {
			c := reading(i)
			c.JSON = append(c.JSON[:len(c.JSON)-1], `,"language":"en"}`...)
			changes = append(changes, c)
		}
		if _, err := s.Write(b.Context(), changes...); err != nil {
			b.Fatal(err)
		}
	}
	now := time.Now()
	for name, q := range map[string]store.HistoryQuery{
		"type": {Type: "Observation", Count: 50}, "everything": {Count: 50},
		"type-now": {Type: "Observation", Count: 50, CurrentFrom: now, CurrentTo: now.Add(time.Millisecond)},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				page, err := s.History(b.Context(), q)
				if err != nil {
					b.Fatal(err)
				}
				if q.Before = ""; page.Next != nil {
					q.Before = page.Next.ID
				}
			}
		})
	}
	if err := s.db.Compact(b.Context(), []byte{0}, []byte{0xff}, true); err != nil {
		b.Fatal(err)
	}
	for kind, n := range map[byte]float64{pastKey: size / 2, updatedKey: size, earlierKey: size / 2} {
		bytes, err := s.db.EstimateDiskUsage([]byte{kind}, []byte{kind + 1})
		if err != nil {
			b.Fatal(err)
		}
		b.Run("disk-"+string(kind), func(b *testing.B) {
			for b.Loop() {
			}
			b.ReportMetric(float64(bytes)/n, "bytes/key")
		})
	}
}
