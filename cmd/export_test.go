package cmd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/adapters/ingest"
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/embedded"
)

// filled is a directory with a store: readings, a deletion, a revival, and a payload in quarantine.
func filled(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	mustKiln(t, "load", "--patients", "5", "--observations", "4000", "--store", "embedded:"+dir)
	s, err := embedded.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	key := fhir.Key{Type: "Basic", ID: "revived"}
	for _, c := range []store.Change{
		{Key: key, JSON: []byte(`{"resourceType":"Basic","language":"de"}`)}, {Key: key, Delete: true}, {Key: key, JSON: []byte(`{"resourceType":"Basic","language":"fr"}`)},
	} {
		if _, err := s.Write(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	registry, err := adapters.NewRegistry(shipped()...)
	if err != nil {
		t.Fatal(err)
	}
	pipeline, err := ingest.New(ingest.Options{Store: s, Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pipeline.Accept(t.Context(), ingest.Origin{Adapter: "ihepcd"}, "", []byte("MSH|^~\\&|x")); err == nil {
		t.Fatal("a broken payload is taken")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func mustKiln(t *testing.T, args ...string) (out string) {
	t.Helper()
	code, out, stderr := kiln(t, "", args...)
	if code != ExitOK {
		t.Fatalf("kiln %v: exit code %d\n%s", args, code, stderr)
	}
	return out
}

// sameFiles compares two directories.
func sameFiles(t *testing.T, got, want string) {
	t.Helper()
	names := func(dir string) (all []string) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			all = append(all, e.Name())
		}
		return all
	}
	if g, w := fmt.Sprint(names(got)), fmt.Sprint(names(want)); g != w {
		t.Fatalf("got files %s, want %s", g, w)
	}
	for _, name := range names(want) {
		g, err := os.ReadFile(filepath.Join(got, name))
		if err != nil {
			t.Fatal(err)
		}
		w, err := os.ReadFile(filepath.Join(want, name))
		if err != nil {
			t.Fatal(err)
		}
		if string(g) != string(w) {
			t.Fatalf("%s differs", name)
		}
	}
}

func TestAStoreThatIsMovedIsTheSame(t *testing.T) {
	from, dir := filled(t), t.TempDir()
	to, first, second := filepath.Join(dir, "to"), filepath.Join(dir, "first"), filepath.Join(dir, "second")
	for _, compression := range []string{"none", "zstd"} {
		t.Run(compression, func(t *testing.T) {
			to, first, second := to+compression, first+compression, second+compression
			out := mustKiln(t, "export", "--store", "embedded:"+from, "--compress", compression, first)
			if want := "4017 resources, 4018 versions, 1 deletions, 1 payloads kept; 5 files"; !strings.Contains(out, want) {
				t.Errorf("got %q, want %q", out, want)
			}
			out = mustKiln(t, "import", "--store", "embedded:"+to, first)
			if want := "4019 versions and deletions added, 0 were there; 1 payloads added, 0 were there; read back: 4019 of 4019 are equal"; !strings.Contains(out, want) {
				t.Errorf("got %q, want %q", out, want)
			}
			mustKiln(t, "export", "--store", "embedded:"+to, "--compress", compression, second)
			sameFiles(t, second, first)
			out = mustKiln(t, "import", "--store", "embedded:"+to, first)
			if want := "0 versions and deletions added, 4019 were there; 0 payloads added, 1 were there"; !strings.Contains(out, want) {
				t.Errorf("got %q, want %q", out, want)
			}
			mustKiln(t, "verify", "--store", "embedded:"+to)
			if left, err := filepath.Glob(first + ".*"); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestExportAndImportSayWhyNot(t *testing.T) {
	from := "embedded:" + filled(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	mustKiln(t, "export", "--store", from, at("complete"))
	mustKiln(t, "export", "--store", from, at("damaged"))
	content, err := os.ReadFile(at("damaged/Patient.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("damaged/Patient.ndjson"), []byte(strings.Replace(string(content), "female", "femAle", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	other := "embedded:" + at("other")
	mustKiln(t, "load", "--patients", "1", "--observations", "1", "--store", other)
	mustKiln(t, "export", "--store", other, at("other-export"))
	open, err := embedded.Open(at("open"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := open.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, test := range []struct {
		name   string
		args   []string
		code   int
		stderr string
	}{
		{"a store that is not there", []string{"export", "--store", "embedded:" + at("nowhere"), at("out")}, ExitNoRun, "nowhere"},
		{"a store in use", []string{"export", "--store", "embedded:" + at("open"), at("out")}, ExitNoRun, "fix: stop the server; or, to export while it runs: kiln backup --store embedded:" + at("open")},
		{"import into a store in use", []string{"import", "--store", "embedded:" + at("open"), at("complete")}, ExitNoRun, "fix: stop the server"},
		{"a complete export", []string{"export", "--store", from, at("complete")}, ExitFailed, "which is never overwritten; fix: choose another directory"},
		{"a directory with other files", []string{"export", "--store", from, dir}, ExitFailed, "the directory is not empty"},
		{"a compression that is none", []string{"export", "--store", from, "--compress", "zip", at("out")}, ExitUsage, "--compress zip: want none, gzip or zstd"},
		{"a store that keeps nothing", []string{"export", "--store", "memory:", at("out")}, ExitUsage, "keeps nothing"},
		{"no directory", []string{"export"}, ExitUsage, "usage: kiln export"},
		{"import of nothing", []string{"import", "--store", other, at("nowhere")}, ExitNoRun, "nowhere"},
		{"import of something else", []string{"import", "--store", other, dir}, ExitFailed, "there is no manifest.json: this is no export"},
		{"import of a damaged export", []string{"import", "--store", other, at("damaged")}, ExitFailed, "Patient.ndjson: the file is not the one that was exported: its SHA-256 is another"},
		{"import over other content", []string{"import", "--store", other, at("complete")}, ExitFailed, "the store has this version with other content"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, out, stderr := kiln(t, "", test.args...)
			if code != test.code || !strings.Contains(stderr, test.stderr) || out != "" {
				t.Errorf("got exit code %d and %q, want %d and %q", code, stderr, test.code, test.stderr)
			}
		})
	}
	if _, err := os.Stat(at("nowhere")); !os.IsNotExist(err) {
		t.Error("a store was made where one was to be exported")
	}
}

// TestKilledExportsAndImportsGoOn kills the program at some moment, again and again.
func TestKilledExportsAndImportsGoOn(t *testing.T) {
	from, dir := filled(t), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	mustKiln(t, "export", "--store", "embedded:"+from, at("want"))
	until := func(done string, args ...string) (killed int) {
		t.Helper()
		// Begin to kill once it has started, and later each time.
		for wait := 20 * time.Millisecond; ; wait += wait / 3 {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			c := exec.CommandContext(ctx, os.Args[0], args...)
			c.Env = append(os.Environ(), asKiln+"=1")
			out, err := c.CombinedOutput()
			over := ctx.Err() != nil
			cancel()
			if err == nil {
				return killed
			}
			if !over {
				t.Fatalf("kiln %v: %v\n%s", args, err, out)
			}
			killed++
			if _, err := os.Stat(done); err == nil {
				return killed // it was killed after its work
			}
		}
	}
	killed := until(at("got/manifest.json"), "export", "--store", "embedded:"+from, at("got"))
	sameFiles(t, at("got"), at("want"))
	killed += until(at("never"), "import", "--store", "embedded:"+at("to"), at("got"))
	mustKiln(t, "export", "--store", "embedded:"+at("to"), at("again"))
	sameFiles(t, at("again"), at("want"))
	if killed < 2 {
		t.Errorf("only %d were killed", killed)
	}
}
