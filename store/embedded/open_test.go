package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

func mustParse(day string) time.Time {
	t, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return time.Time{}
	}
	return t
}

func TestOpenMakesADirectoryThatOthersCannotRead(t *testing.T) {
	dir := storeDir(t)
	openIn(t, dir, nil)
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o700 {
		t.Errorf("got mode %v, want -rwx------", got)
	}
}

func TestWhatWasWrittenIsThereAfterOpen(t *testing.T) {
	s := openIn(t, storeDir(t), nil)
	for i := range 7 {
		if _, err := s.Write(t.Context(), sample(1, i), sample(2, i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Keep(t.Context(), "inbox", "a", []byte("entry")); err != nil {
		t.Fatal(err)
	}
	before := s.Stats().Resources["Observation"]
	s = reopen(t, s, nil)
	if err := verify(s); err != nil {
		t.Error(err)
	}
	if got := s.Stats().Resources["Observation"]; got != before || got == 0 {
		t.Errorf("got %d resources, want %d", got, before)
	}
	if got, err := s.Fetch(t.Context(), "inbox", "a"); err != nil || string(got) != "entry" {
		t.Errorf("got %q %v", got, err)
	}
	if _, err := s.Write(t.Context(), sample(1, 0)); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(t *testing.T, dir string)
		want    string
	}{
		"a store that is open": {func(t *testing.T, dir string) { openIn(t, dir, nil) }, "another process has the store open"},
		"a directory of other files": {func(t *testing.T, dir string) {
			writeFile(t, filepath.Join(dir, "thesis.tex"), "precious")
		}, "holds no store"},
		"a file": {func(t *testing.T, dir string) { writeFile(t, dir, "precious") }, "not a directory"},
		"another database": {func(t *testing.T, dir string) {
			withPebble(t, dir, func(db *pebble.DB) error { return db.Set([]byte("key"), nil, pebble.Sync) })
		}, "not a Kiln store"},
		"another database with our key": {func(t *testing.T, dir string) {
			withPebble(t, dir, func(db *pebble.DB) error { return db.Set(formatKey, []byte("x"), pebble.Sync) })
		}, "not a Kiln store"},
		"a newer format": {func(t *testing.T, dir string) {
			withPebble(t, dir, func(db *pebble.DB) error { return db.Set(formatKey, []byte("3"), pebble.Sync) })
		}, "use the newer program"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := storeDir(t)
			test.prepare(t, dir)
			before := list(t, dir)
			s, err := Open(dir, nil)
			if err == nil {
				s.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %q, want %q and the directory in it", err, test.want)
			}
			if strings.HasPrefix(name, "a directory") && list(t, dir) != before {
				t.Errorf("the directory has %q now, it had %q", list(t, dir), before)
			}
		})
	}
}

func TestOpenMakesNoStoreWhereOneIsExpected(t *testing.T) {
	dir := storeDir(t)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Join(dir, "nothing")} {
		if _, err := Open(d, &Options{Existing: true}); err == nil {
			t.Error("it was opened")
		}
	}
	if got := list(t, dir); got != "" {
		t.Errorf("it made %s", got)
	}
	openIn(t, dir, nil).Close()
	openIn(t, dir, &Options{Existing: true})
}

func TestOpenCompletesAStoreThatACrashLeftHalfMade(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, dir string){
		"a lock file": func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "LOCK"), "") },
		"an empty database": func(t *testing.T, dir string) {
			withPebble(t, dir, func(*pebble.DB) error { return nil })
		},
		"no index": func(t *testing.T, dir string) {
			withPebble(t, dir, func(db *pebble.DB) error { return db.Set(formatKey, []byte("1"), pebble.Sync) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := storeDir(t)
			prepare(t, dir)
			s := openIn(t, dir, nil)
			if _, err := s.Write(t.Context(), sample(1, 1)); err != nil {
				t.Error(err)
			}
			if err := s.Check(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOpenIndexesAnewWhenTheSearchParametersHaveChanged(t *testing.T) {
	var log bytes.Buffer
	opt := &Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	s := openIn(t, storeDir(t), opt)
	for i := range 30 {
		if _, err := s.Write(t.Context(), sample(i%9, i)); err != nil {
			t.Fatal(err)
		}
	}
	// As an older program would have left it: another index, and another name for it.
	b := s.db.NewBatch()
	for _, kind := range indexKinds {
		if err := b.DeleteRange([]byte{kind}, []byte{kind + 1}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(b.Set([]byte{equalKey, 'x'}, nil, nil), b.Set(indexKey, []byte("older"), nil), b.Commit(pebble.Sync)); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s, opt)
	if err := verify(s); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "indexed anew") {
		t.Errorf("the log says %q", &log)
	}
	log.Reset()
	reopen(t, s, opt)
	if log.Len() > 0 {
		t.Errorf("the log says %q when nothing has changed", &log)
	}
}

func TestErrorsAndLogsDoNotPrintKeys(t *testing.T) {
	sampleResource := fhir.Resource{Key: fhir.Key{Type: "Patient", ID: "mrn-4711", Version: "2"}}
	key := appendCurrent(nil, "Patient", "mrn-4711")
	if got := fmt.Sprint(hideKey(key)); strings.Contains(got, "4711") || !strings.Contains(got, "c key of 17 bytes") {
		t.Errorf("got %q", got)
	}
	for _, err := range []error{
		&store.GoneError{Resource: sampleResource}, &store.ConflictError{Key: sampleResource.Key}, &store.ConflictError{Key: sampleResource.Key, Current: "3"},
		&store.ConflictError{Key: sampleResource.Key, If: store.Condition{Absent: true}, Current: "3"},
	} {
		if strings.Contains(err.Error(), "4711") || !strings.Contains(err.Error(), "Patient") {
			t.Errorf("got %q", err)
		}
	}
}

func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func withPebble(t *testing.T, dir string, f func(*pebble.DB) error) {
	t.Helper()
	db, err := pebble.Open(dir, &pebble.Options{Logger: &logger{}, FormatMajorVersion: pebble.FormatTableFormatV6})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f(db), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err.Error()
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestTimeDoesNotRunBackwardsWithinAResource(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)
	s := openIn(t, storeDir(t), &Options{Now: func() time.Time { return now }})
	first, err := s.Write(t.Context(), sample(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	if want := now.Truncate(time.Millisecond); !first[0].LastUpdated.Equal(want) {
		t.Errorf("got %v, want %v", first[0].LastUpdated, want)
	}
	now = now.Add(-time.Hour)
	results, err := s.Write(t.Context(), sample(1, 1), sample(2, 1))
	if err != nil {
		t.Fatal(err)
	}
	if got := results[0].LastUpdated; !got.Equal(first[0].LastUpdated) {
		t.Errorf("got %v, want the time of the version before", got)
	}
	if got := results[1].LastUpdated; !got.Equal(now.Truncate(time.Millisecond)) {
		t.Errorf("got %v of another resource, want what the clock says", got)
	}
}

func TestOpenTellsThatAnotherPebbleWroteIt(t *testing.T) {
	dir := storeDir(t)
	if err := openIn(t, dir, nil).Close(); err != nil {
		t.Fatal(err)
	}
	old, err := filepath.Glob(filepath.Join(dir, "marker.format-version.*"))
	if err != nil || len(old) != 1 {
		t.Fatal(old, err)
	}
	if err := os.Rename(old[0], filepath.Join(dir, "marker.format-version.000009.999")); err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir, nil)
	if err == nil || !strings.Contains(err.Error(), "newer program") {
		t.Errorf("got %v", err)
	}
	if _, err := VerifyDir(t.Context(), dir, nil, nil); err == nil || !strings.Contains(err.Error(), "newer program") {
		t.Errorf("got %v", err)
	}
}
