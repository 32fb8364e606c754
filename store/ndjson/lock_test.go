package ndjson

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/embedded"
)

// waiting is a store that stops at its first export and its first import until it may go on.
type waiting struct {
	*embedded.Store
	begun chan struct{}
	on    chan struct{}
	once  sync.Once
}

func wait(s *embedded.Store) *waiting {
	return &waiting{Store: s, begun: make(chan struct{}), on: make(chan struct{})}
}

func (w *waiting) stop() { w.once.Do(func() { close(w.begun); <-w.on }) }

func (w *waiting) Export(ctx context.Context, after fhir.Key, each func(fhir.Resource) error) error {
	w.stop()
	return w.Store.Export(ctx, after, each)
}

func (w *waiting) Import(ctx context.Context, versions []fhir.Resource) (int, error) {
	w.stop()
	return w.Store.Import(ctx, versions)
}

func TestASecondExportIntoADirectoryIsKeptOut(t *testing.T) {
	s, dir, want := example(t), filepath.Join(t.TempDir(), "out"), t.TempDir()
	mustExport(t, s, want, small(None))
	w := wait(s)
	first := make(chan error)
	go func() {
		_, err := Export(context.Background(), w, dir, small(None))
		first <- err
	}()
	<-w.begun
	before := files(t, dir)
	for range 2 {
		_, err := Export(t.Context(), s, dir, small(None))
		fault, ok := errors.AsType[*Fault](err)
		if !ok || !strings.Contains(err.Error(), "another export is being written to "+dir+"; fix: wait until it has ended") {
			t.Errorf("got %v, %+v", err, fault)
		}
	}
	same(t, files(t, dir), before)
	close(w.on)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	same(t, files(t, dir), files(t, want))
}

func TestOneOfManyExportsAtOnceWrites(t *testing.T) {
	s, want := example(t), t.TempDir()
	o := small(None)
	o.frame, o.step = 1, 1
	mustExport(t, s, want, o)
	for range 20 {
		dir := t.TempDir()
		var all sync.WaitGroup
		errs := make([]error, 8)
		for n := range errs {
			all.Go(func() { _, errs[n] = Export(context.Background(), s, dir, o) })
		}
		all.Wait()
		wrote := 0
		for _, err := range errs {
			switch {
			case err == nil:
				wrote++
			case !strings.Contains(err.Error(), "another export is being written") && !strings.Contains(err.Error(), "holds a complete export"):
				t.Error(err)
			}
		}
		if wrote != 1 {
			t.Errorf("%d have written", wrote)
		}
		same(t, files(t, dir), files(t, want))
	}
}

func TestALockIsOfOneAtATime(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var holders, taken atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				l, err := takeLock(root, lockName)
				if errors.Is(err, errLocked) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if taken.Add(1); holders.Add(1) != 1 {
					t.Error("two have it")
				}
				time.Sleep(time.Microsecond) // longer than another needs to come in
				holders.Add(-1)
				if err := l.release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if taken.Load() == 0 {
		t.Error("nobody had it")
	}
	if err := root.Close(); err != nil {
		t.Fatal(err)
	}
}

// What a killed process leaves is the file, and no lock.
func TestTheFileOfALockIsInNobodysWay(t *testing.T) {
	s, want := example(t), t.TempDir()
	o := small(None)
	mustExport(t, s, want, o)
	for name, prepare := range map[string]func(dir string){
		"before the first note": func(dir string) { put(t, dir, lockName, "") },
		"before the first note is whole": func(dir string) {
			put(t, dir, lockName, "")
			put(t, dir, incompleteName+temporary, "{")
		},
		"in the middle": func(dir string) {
			breakOff(t, s, dir, 3)
			put(t, dir, lockName, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			prepare(dir)
			o := small(None)
			o.frame, o.step = 1, 1
			mustExport(t, s, dir, o)
			same(t, files(t, dir), files(t, want))
		})
	}
	t.Run("behind the end", func(t *testing.T) {
		put(t, want, lockName, "")
		if _, err := Export(t.Context(), s, want, o); err == nil || !strings.Contains(err.Error(), "holds a complete export") {
			t.Errorf("got %v", err)
		}
		to := openStore(t)
		defer closeStore(t, to)
		if i, err := Import(t.Context(), to, want, nil); err != nil || i.Equal != 6 {
			t.Errorf("got %+v, %v", i, err)
		}
	})
}

func TestADirectoryOfOthersGetsNoLock(t *testing.T) {
	s, dir := example(t), t.TempDir()
	put(t, dir, "letter.txt", "")
	before, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Export(t.Context(), s, dir, nil); err == nil || !strings.Contains(err.Error(), "the directory is not empty") {
		t.Errorf("got %v", err)
	}
	after, err := os.Stat(dir)
	if err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("something was made in it: %v", err)
	}
}

func TestOneOfTwoImportsAtOnceRemembers(t *testing.T) {
	dir, at := t.TempDir(), t.TempDir()
	s := openStore(t)
	defer closeStore(t, s)
	write(t, s, rand.New(rand.NewPCG(7, 8)), 300)
	e := mustExport(t, s, dir, nil)
	to, also := openStore(t), openStore(t)
	defer closeStore(t, to)
	defer closeStore(t, also)
	o := ImportOptions{State: filepath.Join(at, "state.json"), batch: 2000, step: 2000}
	w := wait(to)
	type ended struct {
		*Imported
		error
	}
	first := make(chan ended)
	go func() {
		o := o
		o.Target = "there"
		i, err := Import(context.Background(), w, dir, &o)
		first <- ended{i, err}
	}()
	<-w.begun
	before := files(t, at)
	o.Target = "elsewhere"
	second, err := Import(t.Context(), also, dir, &o)
	if err != nil || second.Equal != e.Resources().Lines || second.Unsaved == nil || !strings.Contains(second.Unsaved.Error(), "another import from the same directory is remembered in "+o.State) {
		t.Errorf("got %+v, %v", second, err)
	}
	same(t, files(t, at), before)
	close(w.on)
	if i := <-first; i.error != nil || i.Unsaved != nil || i.Equal != e.Resources().Lines {
		t.Errorf("got %+v, %v", i.Imported, i.error)
	}
	same(t, files(t, at), map[string]string{})
	// What a killed import leaves: the file of the lock, free, and how far it was.
	if _, err := Import(t.Context(), &refusing{to, 150}, dir, &o); err != nil && !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	put(t, at, "state.json.lock", "")
	if i, err := Import(t.Context(), to, dir, &o); err != nil || i.Unsaved != nil {
		t.Errorf("got %+v, %v", i, err)
	}
	same(t, files(t, at), map[string]string{})
}

var _ store.Archive = (*waiting)(nil)
