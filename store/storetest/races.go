package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/kiln-health/kiln/store"
)

func testCompareAndSet(t *testing.T, s store.Store) {
	write(t, s, put("a", device("0")))
	const writers, rounds = 16, 50
	for round := range rounds {
		version := fmt.Sprint(round + 1)
		winners := race(t, writers, func(i int) error {
			c := put("a", device(fmt.Sprint("round ", round, " writer ", i)))
			c.If.Version = version
			results, err := s.Write(context.Background(), c)
			if err == nil && results[0].Version != fmt.Sprint(round+2) {
				return fmt.Errorf("got version %s", results[0].Version)
			}
			return err
		})
		if winners != 1 {
			t.Fatalf("round %d has %d winners", round, winners)
		}
	}
}

func testCreateRace(t *testing.T, s store.Store) {
	for round := range 20 {
		winners := race(t, 16, func(i int) error {
			c := put(fmt.Sprint("r", round), device(fmt.Sprint("writer ", i)))
			c.If.Absent = true
			_, err := s.Write(context.Background(), c)
			return err
		})
		if winners != 1 {
			t.Fatalf("round %d has %d winners", round, winners)
		}
	}
}

// testUpdateRace has writers without preconditions: each of them wins, one after the other.
func testUpdateRace(t *testing.T, s store.Store) {
	const writers, rounds = 16, 10
	var mu sync.Mutex
	acknowledged := map[string]string{} // what a version has
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for round := range rounds {
				text := fmt.Sprint("writer ", w, " round ", round)
				results, err := s.Write(context.Background(), put("a", device(text)))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if other, twice := acknowledged[results[0].Version]; twice {
					t.Errorf("version %s is that of %q and of %q", results[0].Version, other, text)
				}
				acknowledged[results[0].Version] = text
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	all, err := versionsOf(t.Context(), s, store.HistoryQuery{Type: "Device", ID: "a", Count: 50})
	if err != nil || len(all) != writers*rounds || len(acknowledged) != writers*rounds {
		t.Fatalf("got %d versions of %d updates, %d acknowledged, %v", len(all), writers*rounds, len(acknowledged), err)
	}
	for _, r := range all {
		if want := quote(acknowledged[r.Version]); !strings.Contains(string(r.JSON), want) {
			t.Errorf("version %s has %s, want %s", r.Version, r.JSON, want)
		}
	}
}

// race calls f at once n times and counts those that had no conflict and no match.
func race(t *testing.T, n int, f func(i int) error) (winners int) {
	t.Helper()
	start, errs := make(chan struct{}), make(chan error, n)
	for i := range n {
		go func() {
			<-start
			errs <- f(i)
		}()
	}
	close(start)
	for range n {
		switch err := <-errs; {
		case err == nil:
			winners++
		case !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrMatched):
			t.Error(err)
		}
	}
	return winners
}

func testNoDeadlock(t *testing.T, s store.Store) {
	var ids []string
	for i := range 40 {
		ids = append(ids, fmt.Sprint("d", i))
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for round := range 10 {
				var changes []store.Change
				for i := range ids {
					id := ids[(i*7+w*11+round)%len(ids)]
					changes = append(changes, put(id, device(fmt.Sprint("writer ", w, " round ", round))))
				}
				if _, err := s.Write(context.Background(), changes...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	// All changes of one write were applied together.
	texts := map[string]bool{}
	for _, id := range ids {
		r, err := s.Read(t.Context(), key("Device", id))
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut(string(r.JSON), "writer")
		texts[text] = true
	}
	if len(texts) != 1 {
		t.Errorf("the resources are from %d writes", len(texts))
	}
	for _, id := range []string{ids[0], ids[len(ids)-1]} {
		if all, err := versionsOf(t.Context(), s, store.HistoryQuery{Type: "Device", ID: id}); err != nil || len(all) != 8*10 {
			t.Errorf("%s has %d versions of 80 writes, %v", id, len(all), err)
		}
	}
}
