// Package fhirtest is what the tests of this module share: where the reference
// material lies and how golden files are compared. Only tests import it.
package fhirtest

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files instead of comparing with them")

// Shared is the directory of the reference material: KILN_SHARED, or ../shared
// beside the project. A test that calls it is skipped where there is none.
func Shared(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("KILN_SHARED")
	if dir == "" {
		_, self, _, ok := runtime.Caller(0)
		if !ok {
			t.Fatal("fhirtest: the source file of this package is unknown")
		}
		dir = filepath.Join(filepath.Dir(self), "..", "..", "..", "shared")
	}
	if _, err := os.Stat(filepath.Join(dir, "README.md")); err != nil {
		t.Skipf("no reference material in %s (set KILN_SHARED)", dir)
	}
	return dir
}

// Golden compares got with the content of file, or writes it there under -update.
func Golden(t testing.TB, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (run the test with -update to write it)", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (-want +got):\n%s", file, cmp.Diff(string(want), string(got)))
	}
}

// Long skips a test that works on large data in one goroutine: the race detector makes
// it take minutes and has nothing to find. CI runs such tests without it.
func Long(t testing.TB) {
	t.Helper()
	if race || testing.Short() {
		t.Skip("it takes minutes under the race detector, and is run without it")
	}
}
