package mongotest_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kiln-health/kiln/store/mongo/mongotest"
)

// withMongod is the command, built, with a directory of its own for temporary files.
func withMongod(t *testing.T, args ...string) (c *exec.Cmd, temporary string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "withmongod")
	if out, err := exec.Command("go", "build", "-tags", "nomsgpack", "-o", path, "./withmongod").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	temporary = t.TempDir()
	c = exec.Command(path, args...)
	c.Env = append(os.Environ(), "TMPDIR="+temporary)
	return c, temporary
}

// script writes an executable script.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	t.Fatal(err)
	return 0
}

func TestACommandWithoutAMongodIsToldWhatIsMissing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		mongod string
		args   []string
		code   int
		said   string
	}{
		"no mongod":                 {"", []string{"--", "true"}, 3, "no mongod: name one in KILN_TEST_MONGOD, or put one into PATH"},
		"one that is not there":     {"/nowhere/mongod", []string{"--", "true"}, 3, "name the program itself"},
		"one that ends at once":     {script(t, "echo no such library >&2; exit 7"), []string{"--", "true"}, 3, "mongod has ended (exit status 7), and said:\nno such library"},
		"no command":                {script(t, "exit 1"), nil, 2, "usage: withmongod"},
		"one that is named by flag": {"", []string{"-mongod", "/nowhere/else", "--", "true"}, 3, "/nowhere/else"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, temporary := withMongod(t, test.args...)
			c.Env = append(c.Env, "PATH="+t.TempDir(), mongotest.MongodVariable+"="+test.mongod)
			out, err := c.CombinedOutput()
			if code := exitCode(t, err); code != test.code || !strings.Contains(string(out), test.said) {
				t.Errorf("got exit code %d and %q, want %d and %q", code, out, test.code, test.said)
			}
			nothingIn(t, temporary)
		})
	}
}

func nothingIn(t *testing.T, directory string) {
	t.Helper()
	if left := filesIn(t, directory); len(left) > 0 {
		t.Errorf("it leaves %s", left)
	}
}

func filesIn(t *testing.T, directory string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func needMongod(t *testing.T) {
	t.Helper()
	if os.Getenv(mongotest.MongodVariable) == "" {
		t.Skip(mongotest.MongodVariable + " names no mongod")
	}
}

func TestACommandIsRunWithAMongodThatIsGoneAfterwards(t *testing.T) {
	t.Parallel()
	needMongod(t)
	c, temporary := withMongod(t, "--", "sh", "-c", "echo $KILN_TEST_MONGODB_URI; exit 5")
	out, err := c.Output()
	if code := exitCode(t, err); code != 5 || !strings.HasPrefix(string(out), "mongodb://127.0.0.1:") || !strings.Contains(string(out), "replicaSet=rs0") {
		t.Errorf("got exit code %d and %q", code, out)
	}
	nothingIn(t, temporary)
}

func TestACommandThatIsInterruptedEndsItsMongodToo(t *testing.T) {
	t.Parallel()
	needMongod(t)
	c, temporary := withMongod(t, "-replicaset=false", "--", "sh", "-c", "trap 'echo ended; exit 9' TERM; echo begun; while true; do sleep 0.05; done")
	var out said
	c.Stdout = &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, func() bool { return strings.Contains(out.String(), "begun") })
	if len(filesIn(t, temporary)) != 1 {
		t.Errorf("the data are not in TMPDIR: %q", filesIn(t, temporary))
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(t, c.Wait()); code != 9 || !strings.Contains(out.String(), "ended") {
		t.Errorf("got exit code %d and %q", code, out.String())
	}
	nothingIn(t, temporary)
}

func TestAMongodThatIsKilledHasItsDataWhenItIsBack(t *testing.T) {
	t.Parallel()
	m := own(t)
	s := openStore(t, uriOf(m, "kiln", "x"))
	if _, err := s.Write(t.Context(), device("a", "x")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), m.Kill()); err != nil {
		t.Fatal(err)
	}
	if _, ended := m.Ended(); !ended {
		t.Error("it runs")
	}
	begun := time.Now()
	if err := m.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("it was back in %s", time.Since(begun).Round(time.Millisecond))
	s = openStore(t, uriOf(m, "kiln", "x"))
	if _, err := s.Read(t.Context(), device("a", "").Key); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
