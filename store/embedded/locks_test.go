package embedded

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

func changesOf(ids ...string) []store.Change {
	changes := make([]store.Change, len(ids))
	for i, id := range ids {
		changes[i].Key = fhir.Key{Type: "Device", ID: id}
	}
	return changes
}

// free reports whether nobody holds a lock, or waits for one.
func (l *locks) free() bool {
	for i := range l.shards {
		if len(l.shards[i].held) > 0 {
			return false
		}
	}
	return true
}

func TestOneWriterAtATimeIsAtAResource(t *testing.T) {
	l := newLocks()
	var at [20]int // guarded by the locks, as the race detector sees
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for range 500 {
				var ids []string
				for range 1 + r.IntN(4) { // with doubles
					ids = append(ids, strconv.Itoa(r.IntN(len(at))))
				}
				ctx, cancel := context.WithCancel(t.Context())
				if r.IntN(4) == 0 {
					go cancel() // some give up, at any moment
				}
				h, err := l.all(ctx, changesOf(ids...))
				if err == nil {
					for _, id := range ids {
						n, _ := strconv.Atoi(id)
						at[n]++
					}
					h.release()
				} else if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if !l.free() {
		t.Error("locks are left")
	}
}

func TestWhoStopsWaitingForALockLeavesTheOthersTheirTurns(t *testing.T) {
	l := newLocks()
	first, err := l.all(t.Context(), changesOf("a"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp, later := make(chan error), make(chan error)
	go func() {
		_, err := l.all(ctx, changesOf("b", "a"))
		gaveUp <- err
	}()
	shard, hash := l.shard(l.hash(changesOf("a")[0].Key)), l.hash(changesOf("a")[0].Key)
	waiting := func() int {
		shard.mu.Lock()
		defer shard.mu.Unlock()
		return len(shard.held[hash])
	}
	for waiting() < 1 {
		runtime.Gosched()
	}
	go func() {
		h, err := l.all(t.Context(), changesOf("a"))
		if err == nil {
			h.release()
		}
		later <- err
	}()
	for waiting() < 2 {
		runtime.Gosched()
	}
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	h, err := l.all(t.Context(), changesOf("b")) // who gave up has it no longer
	if err != nil {
		t.Fatal(err)
	}
	h.release()
	first.release()
	if err := <-later; err != nil {
		t.Error(err)
	}
	if !l.free() {
		t.Error("locks are left")
	}
}
