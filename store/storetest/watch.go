package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

// watch is a Watch that runs.
type watch struct {
	mu    sync.Mutex
	told  []fhir.Resource
	calls int
	end   func()
	done  chan error
}

// watching begins a Watch and returns when it has started. Its end is waited for.
func watching(t *testing.T, w store.Watcher, each func(versions []fhir.Resource) error) *watch {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	x := &watch{end: end, done: make(chan error, 1)}
	started := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		x.done <- w.Watch(ctx, sync.OnceFunc(func() { close(started) }), func(versions []fhir.Resource) error {
			x.mu.Lock()
			x.calls++
			for _, r := range versions {
				r.JSON = slices.Clone(r.JSON)
				x.told = append(x.told, r)
			}
			x.mu.Unlock()
			if each == nil {
				return nil
			}
			return each(versions)
		})
	})
	t.Cleanup(func() {
		end()
		if err := within("Watch", func() error { ended.Wait(); return nil }); err != nil {
			t.Error(err)
		}
	})
	if err := within("Watch", func() error {
		select {
		case <-started:
			return nil
		case err := <-x.done:
			return fmt.Errorf("it ended before it had started: %w", err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *watch) versions() []fhir.Resource {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.told)
}

// await waits until n versions were told, as long as there are always more.
func (x *watch) await(t *testing.T, n int) []fhir.Resource {
	t.Helper()
	before, since := -1, time.Now()
	for {
		told := x.versions()
		switch {
		case len(told) >= n:
			return told
		case len(told) != before:
			before, since = len(told), time.Now()
		case time.Since(since) > hanging/4:
			t.Fatalf("%d of %d versions were told, and no more for %v", len(told), n, hanging/4)
		}
		time.Sleep(time.Millisecond)
	}
}

// ended waits for the end of a Watch.
func (x *watch) ended(t *testing.T) error {
	t.Helper()
	var result error
	if err := within("Watch", func() error { result = <-x.done; return nil }); err != nil {
		t.Fatal(err)
	}
	x.done <- result
	return result
}

// testWatch has many writers, and some who watch: all of them are told every version once.
func testWatch(t *testing.T, s store.Store) {
	w := needs[store.Watcher](t, s)
	write(t, s, put("before", device("before")))
	watches := []*watch{watching(t, w, nil), watching(t, w, nil)}
	var mu sync.Mutex
	written := map[fhir.Key]fhir.Resource{}
	const writers, rounds = 16, 20
	var wg sync.WaitGroup
	for n := range writers {
		wg.Go(func() {
			for round := range rounds {
				own := put(fmt.Sprint("own-", n), device(fmt.Sprint(round/2))) // each second one changes nothing
				shared := put(fmt.Sprint("shared-", (n+round)%5), device(fmt.Sprint(n, " ", round)))
				shared.Delete = round%4 == 3
				changes := []store.Change{own, shared, put(fmt.Sprint("new-", n, "-", round), heartRate("p1", "2026-01-02", fmt.Sprint(round)))}
				if round%5 == 4 { // nothing of this one may be told
					refused := put("before", device("after"))
					refused.If.Version = "77"
					if _, err := s.Write(context.Background(), append(changes, refused)...); !errors.Is(err, store.ErrConflict) {
						t.Errorf("got %v, want a conflict", err)
					}
					continue
				}
				results, err := s.Write(context.Background(), changes...)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, r := range results {
					if !r.Unchanged {
						written[r.Key] = r.Resource
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	late := watching(t, w, nil)
	last := write(t, s, put("last", device("last")))[0]
	written[last.Key] = last.Resource
	for i, x := range watches {
		seen := map[fhir.Key]int{}
		for _, r := range x.await(t, len(written)) {
			k := key(r.Type, r.ID)
			if want, ok := written[r.Key]; !ok || !same(r, want) {
				t.Fatalf("watcher %d was told of %+v, written was %+v", i, r, want)
			}
			if n := number(r.Version); n <= seen[k] {
				t.Fatalf("watcher %d was told of version %d of %s after version %d", i, n, k, seen[k])
			} else {
				seen[k] = n
			}
		}
	}
	late.await(t, 1)
	time.Sleep(20 * time.Millisecond) // for what might come too much
	for i, x := range watches {
		if told := x.versions(); len(told) != len(written) {
			t.Errorf("watcher %d was told of %d versions, %d were written", i, len(told), len(written))
		}
		x.end()
		if err := x.ended(t); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("got %v at the end of the context", err)
		}
	}
	if told := late.versions(); len(told) != 1 || !same(told[0], last.Resource) {
		t.Errorf("who came late was told of %v", names(told))
	}
}

// testWatchSlowly has a watcher who does not keep up with a single writer: it is told what is
// written from the first to the last, or to one of them, and then that it has missed the rest.
func testWatchSlowly(t *testing.T, s store.Store) {
	w := needs[store.Watcher](t, s)
	block := make(chan struct{})
	x := watching(t, w, func([]fhir.Resource) error {
		<-block
		return nil
	})
	release := sync.OnceFunc(func() { close(block) })
	t.Cleanup(release) // before the end is waited for
	var written []string
	text := fmt.Sprintf("%01000d", 0)
	rounds := 30
	if long() {
		rounds = 1000
	}
	for round := range rounds {
		var changes []store.Change
		for i := range 50 {
			changes = append(changes, put(fmt.Sprint("d", i), device(fmt.Sprint(round, text))))
		}
		for _, r := range write(t, s, changes...) {
			written = append(written, r.Key.String())
		}
	}
	release()
	var told []string
	var err error
	for waiting := time.Now(); ; time.Sleep(time.Millisecond) {
		n := len(told)
		told = told[:0]
		for _, r := range x.versions() {
			told = append(told, r.Key.String())
		}
		if len(told) != n {
			waiting = time.Now()
		}
		select {
		case err = <-x.done:
			x.done <- err
		default:
		}
		if err != nil || len(told) >= len(written) {
			break
		}
		if time.Since(waiting) > hanging/4 {
			t.Fatalf("%d of %d versions were told, no more for %v, and not a word of it", len(told), len(written), hanging/4)
		}
	}
	if err != nil { // the last ones may have come in between
		told = told[:0]
		for _, r := range x.versions() {
			told = append(told, r.Key.String())
		}
	}
	perResource := func(all []string) map[string][]string {
		of := map[string][]string{}
		for _, name := range all {
			id, _ := cutVersion(name)
			of[id] = append(of[id], name)
		}
		return of
	}
	if len(told) > len(written) {
		t.Fatalf("%d versions were told, %d were written", len(told), len(written))
	}
	if err != nil && !errors.Is(err, store.ErrMissed) || err == nil && len(told) != len(written) {
		t.Fatalf("got %v after %d of %d versions, want ErrMissed or all", err, len(told), len(written))
	}
	all := perResource(written)
	for id, names := range perResource(told) {
		if !slices.Equal(names, all[id][:len(names)]) {
			t.Fatalf("%s: told were %v, want no hole", id, names)
		}
	}
	t.Logf("told were %d of %d versions, %v", len(told), len(written), err)
	// Who has missed something begins again, and the store is none the worse for it.
	again := watching(t, w, nil)
	r := write(t, s, put("again", device("again")))[0]
	if told := again.await(t, 1); !same(told[0], r.Resource) {
		t.Errorf("told was %v", names(told))
	}
}

func cutVersion(name string) (resource, version string) {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '/' {
			return name[:i], name[i+1:]
		}
	}
	return name, ""
}

func testWatchEnds(t *testing.T, s store.Store) {
	w := needs[store.Watcher](t, s)
	enough := errors.New("enough")
	failing := watching(t, w, func([]fhir.Resource) error { return enough })
	open, idle := watching(t, w, nil), watching(t, w, nil)
	write(t, s, put("a", device("a")))
	if err := failing.ended(t); !errors.Is(err, enough) {
		t.Errorf("got %v, want the error of who was told", err)
	}
	write(t, s, put("b", device("b")))
	if failing.calls != 1 {
		t.Errorf("who had enough was told %d times", failing.calls)
	}
	open.await(t, 2)
	idle.end()
	if err := idle.ended(t); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v at the end of the context", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Watch(ctx, func() {}, func([]fhir.Resource) error { return nil }); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v of a context that has ended", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open.ended(t); err != nil && !errors.Is(err, store.ErrClosed) {
		t.Errorf("got %v when the store was closed", err)
	}
	started := false
	if err := w.Watch(t.Context(), func() { started = true }, func([]fhir.Resource) error { return nil }); !errors.Is(err, store.ErrClosed) || started {
		t.Errorf("got %v of a closed store, started: %v", err, started)
	}
}

// testWatchImport has a watcher while versions are imported: they are written, too.
func testWatchImport(t *testing.T, open func(t *testing.T) store.Store) {
	from := opened(t, open)
	a := needs[store.Archive](t, from)
	needs[store.Watcher](t, from)
	fillArchive(t, from)
	all, err := exported(a, fhir.Key{})
	if err != nil {
		t.Fatal(err)
	}
	s := opened(t, open)
	x := watching(t, needs[store.Watcher](t, s), nil)
	for range 2 {
		if _, err := imported(needs[store.Archive](t, s), all); err != nil {
			t.Fatal(err)
		}
	}
	write(t, s, put("last", device("last")))
	told := x.await(t, len(all)+1)
	slices.SortStableFunc(told, inArchive)
	told = slices.DeleteFunc(told, func(r fhir.Resource) bool { return r.ID == "last" })
	if !slices.EqualFunc(told, all, same) {
		t.Errorf("told were %v, want %v", names(told), names(all))
	}
}
