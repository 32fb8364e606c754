package mongo

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestWritersWhoComeAtTheSameTimeShareAnInsert(t *testing.T) {
	const writers = 5000
	var calls, atOnce atomic.Int64
	bad := errors.New("bad")
	in := &inserter{insert: func(_ context.Context, collection string, docs []bson.Raw) []error {
		if n := atOnce.Add(1); n > groupsAtOnce {
			t.Errorf("%d inserts run at once", n)
		}
		defer atOnce.Add(-1)
		calls.Add(1)
		if len(docs) > groupDocuments || collection != "Device" {
			t.Errorf("got %d documents for %s", len(docs), collection)
		}
		time.Sleep(2 * time.Millisecond)
		errs := make([]error, len(docs))
		for i, d := range docs {
			if d[0]%5 == 0 {
				errs[i] = bad
			}
		}
		return errs
	}}
	var wg sync.WaitGroup
	var failed atomic.Int64
	for i := range writers {
		wg.Go(func() {
			err := in.add(t.Context(), "Device", bson.Raw{byte(i % 10)})
			if (i%10%5 == 0) != errors.Is(err, bad) {
				t.Errorf("writer %d was told %v", i, err)
			}
			if err != nil {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	in.wait()
	if failed.Load() != writers/5 || calls.Load() > writers/10 {
		t.Errorf("%d failed, in %d inserts", failed.Load(), calls.Load())
	}
}

func TestAnInsertIsNotLargerThanItMayBe(t *testing.T) {
	var mu sync.Mutex
	var sizes []int
	started, release := make(chan struct{}, groupsAtOnce), make(chan struct{})
	in := &inserter{insert: func(_ context.Context, _ string, docs []bson.Raw) []error {
		started <- struct{}{}
		<-release
		mu.Lock()
		defer mu.Unlock()
		sizes = append(sizes, len(docs))
		return make([]error, len(docs))
	}}
	var wg sync.WaitGroup
	add := func(doc bson.Raw) {
		wg.Go(func() {
			if err := in.add(t.Context(), "Device", doc); err != nil {
				t.Error(err)
			}
		})
	}
	for range groupsAtOnce {
		add(bson.Raw{0})
		<-started
	}
	large := make(bson.Raw, groupBytes-1)
	for range 3 {
		add(large)
	}
	for pending := 0; pending < 3; time.Sleep(time.Millisecond) {
		in.mu.Lock()
		pending = len(in.groups["Device"].pending)
		in.mu.Unlock()
	}
	go func() {
		for range started {
		}
	}()
	close(release)
	wg.Wait()
	in.wait()
	close(started)
	if !slices.Equal(sizes, []int{1, 1, 1, 1, 1}) {
		t.Errorf("got inserts of %v documents", sizes)
	}
}

func TestWhoIsCancelledDoesNotWaitForAnInsert(t *testing.T) {
	release := make(chan struct{})
	in := &inserter{insert: func(ctx context.Context, _ string, docs []bson.Raw) []error {
		<-release
		if ctx.Err() != nil {
			t.Error("others wait for an insert that was cancelled")
		}
		return make([]error, len(docs))
	}}
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	if err := in.add(ctx, "Device", bson.Raw{0}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(release)
	in.wait()
}
