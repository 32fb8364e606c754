package embedded

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

// watching runs Watch. wait returns why it ended by itself, stop ends it before.
func watching(t *testing.T, s *Store, each func([]fhir.Resource) error) (stop, wait func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Watch(ctx, func() { close(started) }, each) }()
	select {
	case <-started:
	case err := <-ended:
		t.Fatalf("it ended before it began: %v", err)
	}
	t.Cleanup(cancel)
	wait = func() error { return <-ended }
	return func() error {
		cancel()
		return wait()
	}, wait
}

func TestEveryAcknowledgedVersionIsToldOnceInItsOrder(t *testing.T) {
	s := openIn(t, storeDir(t), nil)
	var mu sync.Mutex
	told := map[fhir.Key]int{}
	newest := map[fhir.Key]uint64{}
	var begun atomic.Bool
	acknowledged := map[fhir.Key]bool{}
	var wg sync.WaitGroup
	end := make(chan struct{})
	for w := range 16 {
		wg.Go(func() {
			for i := w; ; i += 3 {
				select {
				case <-end:
					return
				default:
				}
				after := begun.Load() // asked later, it could be true of a write that had returned before
				results, err := s.Write(context.Background(), sample(i%7, i), sample(10+w, i*5))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, r := range results {
					if !r.Unchanged && after {
						acknowledged[r.Key] = true
					}
				}
				mu.Unlock()
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Watch(ctx, func() { begun.Store(true) }, func(versions []fhir.Resource) error {
			mu.Lock()
			defer mu.Unlock()
			for _, r := range versions {
				told[r.Key]++
				n, _ := parseVersion(r.Version)
				of := fhir.Key{Type: r.Type, ID: r.ID}
				if was := newest[of]; was != 0 && n != was+1 {
					t.Errorf("version %d was told after version %d", n, was)
				}
				newest[of] = n
				if r.Deleted == (len(r.JSON) > 0) || r.LastUpdated.IsZero() {
					t.Errorf("told %+v", r)
				}
			}
			return nil
		})
	}()
	enough := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(acknowledged) > 300
	}
	for deadline := time.Now().Add(time.Minute); !enough() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	close(end)
	wg.Wait()
	// What follows shows that all before it was told.
	results, err := s.Write(t.Context(), store.Change{Key: fhir.Key{Type: "Device", ID: "last"}, JSON: []byte(`{"resourceType":"Device"}`)})
	if err != nil {
		t.Fatal(err)
	}
	for done := false; !done; time.Sleep(time.Millisecond) {
		mu.Lock()
		done = told[results[0].Key] > 0
		mu.Unlock()
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	for k := range acknowledged {
		if told[k] != 1 {
			t.Errorf("version %s of %s was told %d times", k.Version, k.ID, told[k])
		}
	}
	for k, n := range told {
		if n != 1 {
			t.Errorf("version %s of %s was told %d times", k.Version, k.ID, n)
		}
	}
}

func TestWhatChangesNothingIsNotTold(t *testing.T) {
	s := memory(t)
	var told []string
	next := make(chan struct{}, 10)
	stop, _ := watching(t, s, func(versions []fhir.Resource) error {
		for _, r := range versions {
			told = append(told, fmt.Sprint(r.Type, r.ID, r.Version, r.Deleted))
			next <- struct{}{}
		}
		return nil
	})
	put := store.Change{Key: fhir.Key{Type: "Device", ID: "a"}, JSON: []byte(`{"resourceType":"Device"}`)}
	remove := store.Change{Key: put.Key, Delete: true}
	for _, c := range []store.Change{put, put, remove, remove, put} {
		if _, err := s.Write(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Keep(t.Context(), "inbox", "a", nil); err != nil {
		t.Fatal(err)
	}
	failing := put
	failing.If.Absent = true
	if _, err := s.Write(t.Context(), failing); !errors.Is(err, store.ErrConflict) {
		t.Fatal(err)
	}
	imported := version(t, "b", "1", `{"resourceType":"Device"}`, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	for range 2 {
		if _, err := s.Import(t.Context(), []fhir.Resource{imported}); err != nil {
			t.Fatal(err)
		}
	}
	clear(imported.JSON) // who watches has a copy
	for range 4 {
		<-next
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := strings.Join(told, " "); got != "Devicea1false Devicea2true Devicea3false Deviceb1false" {
		t.Errorf("told %s", got)
	}
}

func TestASlowWatcherMissesAndWritersDoNotWait(t *testing.T) {
	for name, limit := range map[string]func(ws *watchers){
		"versions": func(ws *watchers) { ws.versions = 10 },
		"bytes":    func(ws *watchers) { ws.bytes = 2000 },
	} {
		t.Run(name, func(t *testing.T) {
			s := memory(t)
			limit(&s.watchers)
			inside, release := make(chan struct{}), make(chan struct{})
			var told []fhir.Resource
			_, wait := watching(t, s, func(versions []fhir.Resource) error {
				if told == nil {
					close(inside)
					<-release
				}
				told = append(told, versions...)
				return nil
			})
			for i := range 50 {
				if _, err := s.Write(t.Context(), sample(i, 0)); err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					<-inside
				}
			}
			close(release)
			if err := wait(); !errors.Is(err, store.ErrMissed) {
				t.Errorf("got %v", err)
			}
			if len(told) != 1 {
				t.Errorf("told %d, want the one before", len(told))
			}
			// Another one, and one write that is larger than the limits, are told.
			all := make(chan int, 1)
			stop, _ := watching(t, s, func(versions []fhir.Resource) error { all <- len(versions); return nil })
			var many []store.Change
			for i := range 40 {
				many = append(many, sample(i, 1))
			}
			if _, err := s.Write(t.Context(), many...); err != nil {
				t.Fatal(err)
			}
			if got := <-all; got != 40 {
				t.Errorf("told %d", got)
			}
			if err := stop(); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
}

func TestWatchingEnds(t *testing.T) {
	t.Run("when the store is closed, after what was written", func(t *testing.T) {
		s := memory(t)
		told := 0
		_, wait := watching(t, s, func(versions []fhir.Resource) error { told += len(versions); return nil })
		for i := range 5 {
			if _, err := s.Write(t.Context(), sample(i, 0)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := wait(); !errors.Is(err, store.ErrClosed) || told != 5 {
			t.Errorf("got %v after %d", err, told)
		}
		if err := s.Watch(t.Context(), func() { t.Error("it began") }, nil); !errors.Is(err, store.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("when it fails", func(t *testing.T) {
		s := memory(t)
		full := errors.New("full")
		_, wait := watching(t, s, func([]fhir.Resource) error { return full })
		if _, err := s.Write(t.Context(), sample(1, 0)); err != nil {
			t.Fatal(err)
		}
		if err := wait(); !errors.Is(err, full) {
			t.Errorf("got %v", err)
		}
		if s.watchers.any.Load() {
			t.Error("the store still tells it")
		}
	})
}

func TestNothingIsToldThatIsNotOnDisk(t *testing.T) {
	f := &faults{}
	s := openIn(t, "store", &Options{FS: wrap(vfs.NewMem(), f)})
	stop, _ := watching(t, s, func(versions []fhir.Resource) error {
		t.Errorf("told %d that were not acknowledged", len(versions))
		return nil
	})
	f.set(func(op errorfs.Op) error {
		if isLog(op) && isSync(op) {
			return errorfs.ErrInjected
		}
		return nil
	})
	if _, err := s.Write(t.Context(), sample(1, 0)); err == nil {
		t.Error("a write was acknowledged")
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	f.fail.Store(nil)
}
