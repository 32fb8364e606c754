package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

func TestABackupMadeWhile64WriteHasAllThatWasAcknowledgedBefore(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, filepath.Join(dir, "store"), nil)
	var last [64]atomic.Int64 // by writer, the last write that was acknowledged
	for w := range last {
		last[w].Store(-1)
	}
	end := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-end:
					return
				default:
				}
				if _, err := s.Write(context.Background(), together(w, n)...); err != nil {
					t.Error(err)
					return
				}
				last[w].Store(int64(n))
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	for round := range 2 {
		var before [64]int64
		for w := range last {
			before[w] = last[w].Load()
		}
		backup := filepath.Join(dir, fmt.Sprint("backup", round))
		copied, err := s.Backup(t.Context(), backup)
		if err != nil {
			t.Fatal(err)
		}
		if copied.Files < 4 || copied.Bytes < 10_000 {
			t.Errorf("got %+v", copied)
		}
		names := list(t, backup)
		report, err := VerifyDir(t.Context(), backup, nil, nil)
		if err != nil || report.Err() != nil {
			t.Fatal(err, report.Err())
		}
		restored := filepath.Join(dir, fmt.Sprint("restored", round))
		again, err := Restore(t.Context(), backup, restored, nil, nil)
		if err != nil || again.Resources != report.Resources || again.Versions != report.Versions {
			t.Fatalf("got %+v, %v, and the backup has %+v", again, err, report)
		}
		if now := strings.Replace(list(t, backup), "LOCK ", "", 1); now != names {
			t.Errorf("the backup had %s, and has %s", names, now)
		}
		r := openIn(t, restored, nil)
		for w, n := range before {
			if n >= 0 {
				checkWriter(t, r, w, 0, int(n))
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		for _, d := range []string{backup, restored} {
			if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("others can read it: %v %v", info, err)
			}
			if _, err := os.Stat(partial(d)); err == nil {
				t.Error("what was in the making is still there")
			}
		}
	}
	close(end)
	wg.Wait()
	if err := verify(s); err != nil {
		t.Error(err)
	}
}

// backedUp is a store with a backup.
func backedUp(t *testing.T) (s *Store, backup string) {
	t.Helper()
	s = openIn(t, storeDir(t), nil)
	for i := range 9 {
		if _, err := s.Write(t.Context(), sample(1, i), sample(2, i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Keep(t.Context(), "inbox", "a", []byte("entry")); err != nil {
		t.Fatal(err)
	}
	backup = filepath.Join(t.TempDir(), "backup")
	if _, err := s.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	return s, backup
}

func TestARestoredStoreHasWhatTheBackupHasAndNothingLater(t *testing.T) {
	s, backup := backedUp(t)
	want := exported(t, s, fhir.Key{})
	if _, err := s.Write(t.Context(), sample(5, 1)); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "restored")
	if err := os.Mkdir(dir, 0o755); err != nil { // empty
		t.Fatal(err)
	}
	var told int64
	if _, err := Restore(t.Context(), backup, dir, nil, func(what string, done, total int64) {
		if what == RestoringBytes {
			told = done
		}
		if done > total {
			t.Errorf("%s: %d of %d", what, done, total)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if told < 10_000 {
		t.Errorf("the progress went to %d", told)
	}
	r := openIn(t, dir, nil)
	if !sameVersions(exported(t, r, fhir.Key{}), want) {
		t.Error("it has other versions")
	}
	if entry, err := r.Fetch(t.Context(), "inbox", "a"); err != nil || string(entry) != "entry" {
		t.Errorf("got %q, %v", entry, err)
	}
	if results, err := r.Write(t.Context(), sample(1, 3)); err != nil || results[0].Version == "1" {
		t.Errorf("got %+v, %v", results, err)
	}
}

func TestBackupRefuses(t *testing.T) {
	s, _ := backedUp(t)
	full := t.TempDir()
	writeFile(t, filepath.Join(full, "thesis.tex"), "precious")
	broken := filepath.Join(t.TempDir(), "b")
	writeFile(t, filepath.Join(broken+".partial", "x"), "")
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "precious")
	for name, test := range map[string]struct{ dir, want string }{
		"a directory that is not empty": {full, "not empty"},
		"one that another is made in":   {broken, "was broken off"},
		"a file":                        {file, "not a directory"},
		"the store itself":              {s.dir, "within the other"},
		"a directory in the store":      {filepath.Join(s.dir, "backup"), "within the other"},
		"one around the store":          {filepath.Dir(s.dir), "within the other"},
		"no name":                       {"", "no name"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := s.Backup(t.Context(), test.dir); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	if got := list(t, full) + list(t, broken+".partial"); got != "thesis.texx" {
		t.Errorf("what was there is now %s", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := s.Backup(ctx, broken+"2"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	s.backup.Lock()
	if _, err := s.Backup(t.Context(), broken+"2"); err == nil || !strings.Contains(err.Error(), "another backup") {
		t.Errorf("got %v", err)
	}
	s.backup.Unlock()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Backup(t.Context(), broken+"2"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(broken + "2"); err == nil {
		t.Error("there is a backup")
	}
}

func TestRestoreRefuses(t *testing.T) {
	s, backup := backedUp(t)
	full := t.TempDir()
	writeFile(t, filepath.Join(full, "thesis.tex"), "precious")
	other := t.TempDir()
	withPebble(t, other, func(db *pebble.DB) error { return db.Set([]byte("key"), nil, pebble.Sync) })
	newer := t.TempDir()
	withPebble(t, newer, func(db *pebble.DB) error { return db.Set(formatKey, []byte("99"), pebble.Sync) })
	fresh := func() string { return filepath.Join(t.TempDir(), "fresh") }
	for name, test := range map[string]struct{ backup, dir, want string }{
		"a backup that is not there":      {filepath.Join(full, "nothing"), fresh(), "no such file"},
		"a directory of other files":      {full, fresh(), "holds no store"},
		"another database":                {other, fresh(), "not a Kiln store"},
		"a newer store":                   {newer, fresh(), "use the newer program"},
		"a store that is open":            {s.dir, fresh(), "make one with `kiln backup`"},
		"into a directory with files":     {backup, full, "not empty"},
		"into the backup":                 {backup, filepath.Join(backup, "new"), "within the other"},
		"into a store that is there":      {backup, s.dir, "not empty"},
		"into no directory":               {backup, "", "no name"},
		"a backup that is a file of it":   {filepath.Join(full, "thesis.tex"), fresh(), "not a directory"},
		"into a directory under a file":   {backup, filepath.Join(full, "thesis.tex", "a"), "not a directory"},
		"an empty directory for a backup": {t.TempDir(), fresh(), "holds no store"},
	} {
		t.Run(name, func(t *testing.T) {
			before := list(t, test.backup)
			_, err := Restore(t.Context(), test.backup, test.dir, nil, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
			if got := list(t, test.backup); got != before && !strings.Contains(got, "LOCK") {
				t.Errorf("the backup had %s, and has %s", before, got)
			}
			if test.dir != "" && test.dir != s.dir && test.dir != full {
				for _, d := range []string{test.dir, partial(test.dir)} {
					if _, err := os.Stat(d); err == nil {
						t.Errorf("%s is there", d)
					}
				}
			}
		})
	}
	if _, err := os.ReadFile(filepath.Join(full, "thesis.tex")); err != nil {
		t.Error(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	dir := fresh()
	if _, err := Restore(ctx, backup, dir, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := list(t, filepath.Dir(dir)); got != "" {
		t.Errorf("it left %s", got)
	}
}

func TestADamagedBackupIsNotRestored(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, backup string){
		"a resource is gone": func(t *testing.T, backup string) {
			s := openIn(t, backup, nil)
			if err := s.db.Delete(appendCurrent(nil, "Observation", "r1"), pebble.Sync); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		},
		"a file is gone": func(t *testing.T, backup string) {
			for _, file := range files(t, backup, ".sst") {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
		},
		"a file is damaged": func(t *testing.T, backup string) {
			for _, file := range files(t, backup, ".sst") {
				content, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				for i := 100; i < len(content)-2000; i += 997 {
					content[i] ^= 0x55
				}
				if err := os.WriteFile(file, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openIn(t, filepath.Join(dir, "store"), nil)
			for i := range 200 {
				if _, err := s.Write(t.Context(), sample(i, 1)); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
			backup := filepath.Join(dir, "backup")
			if _, err := s.Backup(t.Context(), backup); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			harm(t, backup)
			report, verifyErr := VerifyDir(t.Context(), backup, nil, nil)
			if verifyErr == nil && report.Err() == nil {
				t.Error("it was verified")
			}
			restored := filepath.Join(dir, "restored")
			_, err := Restore(t.Context(), backup, restored, nil, nil)
			if err == nil {
				t.Error("it was restored")
			}
			t.Log(verifyErr, report.Err(), err)
			if got := list(t, dir); got != "backup store" {
				t.Errorf("there are %s", got)
			}
		})
	}
}

func files(t *testing.T, dir, suffix string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil || len(found) == 0 {
		t.Fatal("there is no", suffix)
	}
	return found
}

func TestABackupThatIsBrokenOffLooksLikeNone(t *testing.T) {
	mem, f := vfs.NewMem(), &faults{}
	s := openIn(t, "store", &Options{FS: wrap(mem, f)})
	for i := range 20 {
		if _, err := s.Write(t.Context(), sample(i, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	// Each step of it fails once.
	for n := 0; ; n++ {
		var steps atomic.Int64
		f.set(func(op errorfs.Op) error {
			if strings.Contains(op.Path, "backup") && steps.Add(1) == int64(n+1) {
				return errorfs.ErrInjected
			}
			return nil
		})
		dir := fmt.Sprint("backup", n)
		_, err := s.Backup(t.Context(), dir)
		f.fail.Store(nil)
		names, listErr := mem.List(dir)
		if err == nil {
			if n < 20 {
				t.Errorf("only %d steps failed", n)
			}
			break
		}
		if listErr == nil && len(names) > 0 {
			// The last one: it is complete, but may not be found after a power failure.
			if r, err := VerifyDir(t.Context(), dir, &Options{FS: mem}, nil); err != nil || r.Err() != nil || r.Resources != 20 {
				t.Errorf("step %d: there are %d files: %v %v", n, len(names), err, r)
			}
		}
		if n > 1000 {
			t.Fatal("it never works")
		}
	}
	if err := verify(s); err != nil {
		t.Error(err)
	}
}

func TestVerifyDirChangesNothing(t *testing.T) {
	s, backup := backedUp(t)
	if _, err := VerifyDir(t.Context(), s.dir, nil, nil); err == nil || !strings.Contains(err.Error(), "another process has the store open") {
		t.Errorf("got %v of a store that is open", err)
	}
	state := func() string {
		var all strings.Builder
		names, err := os.ReadDir(backup)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range names {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			if e.Name() != "LOCK" {
				fmt.Fprintln(&all, e.Name(), info.Size(), info.ModTime())
			}
		}
		return all.String()
	}
	before := state()
	for range 2 {
		r, err := VerifyDir(t.Context(), backup, nil, nil)
		if err != nil || r.Err() != nil || r.Entries != 1 || r.Outdated {
			t.Fatalf("got %+v, %v", r, err)
		}
	}
	// With other parameters the index is another one.
	r, err := VerifyDir(t.Context(), backup, &Options{Parameters: withNote(t)}, nil)
	if err != nil || r.Err() != nil || !r.Outdated || r.Keys == 0 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if now := state(); now != before {
		t.Errorf("it was\n%sand is\n%s", before, now)
	}
	full := t.TempDir()
	writeFile(t, filepath.Join(full, "thesis.tex"), "precious")
	if _, err := VerifyDir(t.Context(), full, nil, nil); err == nil || !strings.Contains(err.Error(), "holds no store") || list(t, full) != "thesis.tex" {
		t.Errorf("got %v", err)
	}
	older := t.TempDir()
	withPebble(t, older, func(db *pebble.DB) error { return db.Set(formatKey, []byte("0"), pebble.Sync) })
	if _, err := VerifyDir(t.Context(), older, nil, nil); err == nil || !strings.Contains(err.Error(), "older program") {
		t.Errorf("got %v", err)
	}
}
