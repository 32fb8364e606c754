package embedded

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// faults is a file system whose operations fail, or wait, as fail says.
type faults struct {
	fail atomic.Pointer[func(errorfs.Op) error]
}

func (f *faults) String() string { return "faults" }
func (f *faults) MaybeError(op errorfs.Op) error {
	if fail := f.fail.Load(); fail != nil {
		return (*fail)(op)
	}
	return nil
}

func (f *faults) set(fail func(errorfs.Op) error) { f.fail.Store(&fail) }

// wrap is fs with faults. Files that are used again are new ones: errorfs would let them
// go without faults.
func wrap(fs vfs.FS, f *faults) vfs.FS { return withoutReuse{errorfs.Wrap(fs, f)} }

type withoutReuse struct{ *errorfs.FS }

func (w withoutReuse) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := w.Remove(from); err != nil {
		return nil, err
	}
	return w.Create(to, category)
}

func isLog(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".log") }

func isSync(op errorfs.Op) bool {
	return op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
}

func allObservations() search.Query {
	return search.Query{Type: "Observation", Sort: []search.Sort{{Param: "_id"}}, Count: 1000, Total: search.TotalAccurate}
}

func TestAfterAFailedDiskNothingIsAcknowledgedAndNothingIsHalfVisible(t *testing.T) {
	for name, fails := range map[string]func(errorfs.Op) bool{
		"fsync": func(op errorfs.Op) bool { return isLog(op) && isSync(op) },
		"write": func(op errorfs.Op) bool { return isLog(op) && op.Kind == errorfs.OpFileWrite },
	} {
		t.Run(name, func(t *testing.T) {
			mem, f := vfs.NewMem(), &faults{}
			s := openIn(t, "store", &Options{FS: wrap(mem, f)})
			if _, err := s.Write(t.Context(), sample(1, 0), sample(2, 1)); err != nil {
				t.Fatal(err)
			}
			f.set(func(op errorfs.Op) error {
				if fails(op) {
					return errorfs.ErrInjected
				}
				return nil
			})
			var wg sync.WaitGroup
			for i := range 16 {
				wg.Go(func() {
					_, err := s.Write(context.Background(), sample(1, i*7+2), sample(100+i, 0))
					if err == nil {
						t.Error("a write was acknowledged")
					} else if !errors.Is(err, errorfs.ErrInjected) || !strings.Contains(err.Error(), "takes no more writes") {
						t.Errorf("got %v, want the cause", err)
					}
				})
			}
			wg.Wait()
			f.fail.Store(nil)
			if err := s.Keep(t.Context(), "inbox", "a", nil); !errors.Is(err, errorfs.ErrInjected) {
				t.Errorf("got %v of a write after the failure", err)
			}
			if err := s.Check(t.Context()); !errors.Is(err, errorfs.ErrInjected) {
				t.Errorf("the check says %v", err)
			}
			if page, err := s.Search(t.Context(), allObservations()); err != nil || page.Total != 2 || len(page.Resources) != 2 {
				t.Errorf("got %d of %d, %v: want the two from before", len(page.Resources), page.Total, err)
			}
			if r, err := s.Read(t.Context(), fhir.Key{Type: "Observation", ID: "r1"}); err != nil || r.Version != "1" {
				t.Errorf("got %+v %v, want version 1", r, err)
			}
			_ = s.Close() // it may well complain
			s = openIn(t, "store", &Options{FS: mem})
			if err := verify(s); err != nil {
				t.Error(err)
			}
			if _, err := s.Read(t.Context(), fhir.Key{Type: "Observation", ID: "r2"}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNobodySeesAWriteBeforeItIsOnDisk(t *testing.T) {
	f := &faults{}
	s := openIn(t, "store", &Options{FS: wrap(vfs.NewMem(), f)})
	release, reached := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.set(func(op errorfs.Op) error {
		if isLog(op) && isSync(op) {
			once.Do(func() { close(reached) })
			<-release
		}
		return nil
	})
	written := make(chan error, 2)
	write := func(i int) {
		_, err := s.Write(context.Background(), sample(i, 0))
		written <- err
	}
	go write(1)
	<-reached
	go write(3) // is applied meanwhile, and lands behind it
	for launched := 0; launched < 2; time.Sleep(time.Millisecond) {
		it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{currentKey}, UpperBound: []byte{currentKey + 1}})
		if err != nil {
			t.Fatal(err)
		}
		launched = 0
		for ok := it.First(); ok; ok = it.Next() {
			launched++
		}
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"r1", "r3"} {
		if _, err := s.Read(t.Context(), fhir.Key{Type: "Observation", ID: id}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("got %v during the fsync, want not found", err)
		}
	}
	if page, err := s.Search(t.Context(), allObservations()); err != nil || page.Total != 0 || len(page.Resources) != 0 {
		t.Errorf("found %d of %d during the fsync, %v", len(page.Resources), page.Total, err)
	}
	// Who waits behind them may give up; nothing of it is written then.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.Write(ctx, sample(2, 0)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want that the deadline has passed", err)
	}
	if _, err := s.Write(ctx, sample(1, 1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v of a second write of the same resource, want that the deadline has passed", err)
	}
	close(release)
	for range 2 {
		if err := <-written; err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"r1", "r3"} {
		if _, err := s.Read(t.Context(), fhir.Key{Type: "Observation", ID: id}); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Read(t.Context(), fhir.Key{Type: "Observation", ID: "r2"}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v of the write that was given up, want not found", err)
	}
}

func TestWritersShareAnFsync(t *testing.T) {
	f := &faults{}
	s := openIn(t, "store", &Options{FS: wrap(vfs.NewMem(), f)})
	f.set(func(op errorfs.Op) error {
		if isLog(op) && isSync(op) {
			time.Sleep(5 * time.Millisecond)
		}
		return nil
	})
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for j := range 4 {
				if _, err := s.Write(context.Background(), sample(i, j)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if stats := s.Stats(); stats.Writes != 64*4 || stats.Groups > 64 {
		t.Errorf("%d writes took %d commits", stats.Writes, stats.Groups)
	}
}

// A store on a file system that forgets what was not synced: what a power failure does.
func TestAPowerFailureTakesBackNothingThatWasAcknowledgedOrSeen(t *testing.T) {
	for _, unsynced := range []int{0, 50} {
		t.Run(fmt.Sprintf("%d percent of what was not synced is there", unsynced), func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			s := openIn(t, "store", &Options{FS: mem})
			var (
				mu   sync.Mutex
				seen = map[fhir.Key]bool{} // with version: acknowledged to a writer or shown to a reader
				wg   sync.WaitGroup
			)
			note := func(r fhir.Resource) {
				mu.Lock()
				defer mu.Unlock()
				seen[r.Key] = true
			}
			ctx, stop := context.WithCancel(t.Context())
			for w := range 8 {
				wg.Go(func() {
					for i := 0; ctx.Err() == nil; i++ {
						// Three resources of a writer are always written together.
						results, err := s.Write(context.Background(), sample(w*3, i), sample(w*3+1, i), sample(w*3+2, i))
						if err != nil {
							t.Error(err)
							return
						}
						for _, r := range results {
							note(r.Resource)
						}
					}
				})
				wg.Go(func() {
					for i := 0; ctx.Err() == nil; i++ {
						r, err := s.Read(context.Background(), fhir.Key{Type: "Observation", ID: fmt.Sprint("r", i%24)})
						if err == nil {
							note(r)
						}
					}
				})
			}
			rng := rand.New(rand.NewPCG(1, 2))
			for range 3 {
				time.Sleep(20 * time.Millisecond)
				mu.Lock()
				before := make([]fhir.Key, 0, len(seen))
				for k := range seen {
					before = append(before, k)
				}
				mu.Unlock()
				crashed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: rng})
				checkAfterCrash(t, crashed, before)
			}
			stop()
			wg.Wait()
		})
	}
}

func checkAfterCrash(t *testing.T, fs vfs.FS, seen []fhir.Key) {
	t.Helper()
	s, err := Open("store", &Options{FS: fs})
	if err != nil {
		t.Error(err)
		return
	}
	defer s.Close()
	if err := verify(s); err != nil {
		t.Error(err)
	}
	for _, k := range seen {
		if k.Version == "" {
			continue
		}
		if _, err := s.Read(t.Context(), k); err != nil && !errors.Is(err, store.ErrGone) {
			t.Errorf("%s was seen before the crash: %v", k, err)
		}
	}
	for w := range 8 {
		var versions [3]int
		for i := range versions {
			page, err := s.History(t.Context(), store.HistoryQuery{Type: "Observation", ID: fmt.Sprint("r", w*3+i), Count: 1})
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Error(err)
			}
			versions[i] = page.Total
		}
		if versions[0] != versions[1] || versions[1] != versions[2] {
			t.Errorf("three that are written together have the versions %v", versions)
		}
	}
}

// small is a disk with little space.
type small struct {
	vfs.FS
	free atomic.Uint64
}

func (s *small) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: s.free.Load()}, nil
}

func TestWritesAreRefusedBeforeTheDiskIsFull(t *testing.T) {
	disk := &small{FS: vfs.NewMem()}
	disk.free.Store(100 << 20)
	s := openIn(t, "store", &Options{FS: disk, ReserveBytes: 64 << 20})
	if _, err := s.Write(t.Context(), sample(1, 0)); err != nil {
		t.Fatal(err)
	}
	disk.free.Store(63 << 20)
	_, err := s.Write(t.Context(), sample(2, 0))
	if err == nil || !strings.Contains(err.Error(), "the disk of the store is full: 63 MiB are free, 64 MiB are needed") {
		t.Errorf("got %v", err)
	}
	if err := s.Check(t.Context()); err == nil {
		t.Error("the check sees nothing")
	}
	if _, err := s.Read(t.Context(), fhir.Key{Type: "Observation", ID: "r1"}); err != nil {
		t.Error(err)
	}
	disk.free.Store(100 << 20)
	if _, err := s.Write(t.Context(), sample(2, 0)); err != nil {
		t.Errorf("there is space again: %v", err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// These end the process, or leave a database that cannot be closed.
func TestADiskThatPebbleCannotLiveWith(t *testing.T) {
	for name, want := range map[string]string{
		"manifest": "exit status 7", // Fatal was called
		"log":      "exit status 8", // the store says so
		"rotation": "exit status 2", // Pebble ends the process, in a way that cannot be held up
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			out, err := child(t, "fault-"+name, dir).CombinedOutput()
			if err == nil || err.Error() != want {
				t.Fatalf("got %v, want %s:\n%s", err, want, out)
			}
			s := openIn(t, dir, nil)
			if err := verify(s); err != nil {
				t.Error(err)
			}
			if _, err := s.Read(t.Context(), fhir.Key{Type: "Observation", ID: "r1"}); err != nil {
				t.Errorf("what was acknowledged: %v", err)
			}
		})
	}
}

// faultyManifest cannot note a new file: Fatal is called.
func faultyManifest(dir string) error {
	f := &faults{}
	s, err := Open(dir, &Options{FS: wrap(vfs.Default, f), Fatal: func(err error) {
		if !strings.Contains(err.Error(), "MANIFEST") {
			os.Exit(1)
		}
		os.Exit(7)
	}})
	if err != nil {
		return err
	}
	if _, err := s.Write(context.Background(), sample(1, 0)); err != nil {
		return err
	}
	f.set(func(op errorfs.Op) error {
		if strings.Contains(op.Path, "MANIFEST") && op.Kind == errorfs.OpFileWrite {
			return errorfs.ErrInjected
		}
		return nil
	})
	return s.db.Flush()
}

// faultyLog fails where nobody waits for the log: Pebble panics at the next write, and
// keeps its lock. With many changes, that write needs another log.
func faultyLog(dir string, changes int) error {
	f := &faults{}
	s, err := Open(dir, &Options{FS: wrap(vfs.Default, f)})
	if err != nil {
		return err
	}
	many := func(n int) (changes []store.Change) {
		for i := range n {
			changes = append(changes, sample(i+100, i%6))
		}
		return changes
	}
	for i := range 8 { // memtables begin small, and a full one is a rotation
		for j := range 5 {
			if _, err := s.Write(context.Background(), append(many(1000), sample(1, i*5+j))...); err != nil {
				return err
			}
		}
		if err := s.db.Flush(); err != nil {
			return err
		}
	}
	before, err := s.Read(context.Background(), fhir.Key{Type: "Observation", ID: "r100"})
	if err != nil {
		return err
	}
	f.set(func(op errorfs.Op) error {
		if isLog(op) && op.Kind == errorfs.OpFileWrite {
			return errorfs.ErrInjected
		}
		return nil
	})
	if rotate := changes > 1000; !rotate {
		// Removals need not be durable, and nobody waits for the log: it has failed before the next write.
		for begin := time.Now(); time.Since(begin) < 10*time.Second; {
			if s.Remove(context.Background(), "inbox", strings.Repeat("x", maxName)) != nil {
				break
			}
		}
	}
	next := many(changes)
	for i := range next {
		next[i].JSON = append(next[i].JSON[:len(next[i].JSON)-1], `,"note":[{"text":"changed"}]}`...)
	}
	_, err = s.Write(context.Background(), next...)
	if err == nil || !strings.Contains(err.Error(), errorfs.ErrInjected.Error()) {
		return fmt.Errorf("got %v, want the cause", err)
	}
	if r, err := s.Read(context.Background(), before.Key); err != nil || string(r.JSON) != string(before.JSON) {
		return fmt.Errorf("got %v %v, want what was there before", r.Key, err)
	}
	if r, err := s.Read(context.Background(), fhir.Key{Type: "Observation", ID: "r100"}); err != nil || r.Version != before.Version {
		return fmt.Errorf("got %v %v, want what was there before", r.Key, err)
	}
	if err := s.Check(context.Background()); err == nil {
		return errors.New("the check sees nothing")
	}
	if !s.wedged.Load() {
		return errors.New("the failure was another one")
	}
	if err := s.Close(); err == nil {
		return errors.New("close says nothing")
	}
	os.Exit(8)
	return nil
}
