package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/embedded"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// devices opens a store in a directory, with some Devices in it.
func devices(t *testing.T, directory string, n int) *embedded.Store {
	t.Helper()
	o := embeddedOptions(quiet())
	o.Existing = false
	s, err := embedded.Open(directory, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range n {
		c := store.Change{Key: fhir.Key{Type: "Device", ID: fmt.Sprint("d", i)}, JSON: fmt.Appendf(nil, `{"resourceType":"Device","serialNumber":"%d"}`, i)}
		if _, err := s.Write(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// under is a program with a server's socket on a store.
func under(t *testing.T, s controlled, directory string) (stop func()) {
	t.Helper()
	stop, err := serveControl(s, directory, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return stop
}

// does runs the program and checks its exit code and what it says.
func does(t *testing.T, code int, want string, args ...string) (out string) {
	t.Helper()
	got, out, stderr := kiln(t, "", args...)
	if got != code || !strings.Contains(out+stderr, want) {
		t.Errorf("kiln %s: got exit code %d, want %d and %q:\n%s%s", args[0], got, code, want, out, stderr)
	}
	return out
}

func TestBackupVerifyAndRestoreWithAServerAndWithout(t *testing.T) {
	for _, served := range []bool{true, false} {
		t.Run(map[bool]string{true: "with a server", false: "without"}[served], func(t *testing.T) {
			dir := t.TempDir()
			name, backup, restored := filepath.Join(dir, "store"), filepath.Join(dir, "backup"), filepath.Join(dir, "restored")
			s := devices(t, name, 5)
			by := "by this program"
			stop := func() {}
			if served {
				stop = under(t, s, name)
				by = "by the server"
			} else if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			does(t, ExitOK, "5 resources", "verify", "--store", "embedded:"+name)
			does(t, ExitOK, by, "backup", "--store", "embedded:"+name, backup)
			does(t, ExitNoRun, "not empty", "backup", "--store", "embedded:"+name, backup)
			does(t, ExitOK, "5 resources", "verify", "--store", "embedded:"+backup)
			does(t, ExitOK, "5 resources, 5 versions", "restore", backup, "--store", "embedded:"+restored)
			does(t, ExitNoRun, "not empty", "restore", backup, "--store", "embedded:"+restored)
			if served {
				does(t, ExitNoRun, "make one with `kiln backup`", "restore", name, "--store", "embedded:"+filepath.Join(dir, "other"))
			}
			var report embedded.Report
			if err := json.Unmarshal([]byte(does(t, ExitOK, "", "verify", "--store", "embedded:"+restored, "--json")), &report); err != nil || report.Resources != 5 || report.ByType["Device"] != 5 || report.Faults == nil {
				t.Errorf("got %+v, %v", report, err)
			}
			stop()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(name, controlSocket)); err == nil {
				t.Error("the socket is still there")
			}
			r := devices(t, restored, 0)
			if _, err := r.Read(t.Context(), fhir.Key{Type: "Device", ID: "d4"}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestVerifyAndRestoreListFaultsAndExitWith1(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "store")
	s := devices(t, name, 5000)
	backup := filepath.Join(dir, "backup")
	// Restored once, it lies in files with checksums, not in the log.
	if _, err := s.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(dir, "again")
	does(t, ExitOK, "5000 resources", "restore", backup, "--store", "embedded:"+again)
	tables, err := filepath.Glob(filepath.Join(again, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal("there are no files to damage", err)
	}
	for _, file := range tables {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i := len(content) / 3; i < len(content)/2; i++ {
			content[i] ^= 0x55
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := does(t, ExitFailed, "the store has faults", "verify", "--store", "embedded:"+again)
	if !strings.Contains(out, "1 × damage of the files") {
		t.Errorf("it says %s", out)
	}
	if out := does(t, ExitFailed, "", "verify", "--store", "embedded:"+again, "--json"); !json.Valid([]byte(out)) {
		t.Errorf("it says %s", out)
	}
	does(t, ExitFailed, "nothing was restored", "restore", again, "--store", "embedded:"+filepath.Join(dir, "third"))
	if _, err := os.Stat(filepath.Join(dir, "third")); err == nil {
		t.Error("something was restored")
	}
}

func TestTheVerbsOfAStoreSayWhatTheyCannotDo(t *testing.T) {
	dir := t.TempDir()
	s := devices(t, filepath.Join(dir, "open"), 1)
	_ = s // open, and without a socket
	config := filepath.Join(dir, "kiln.yaml")
	if err := os.WriteFile(config, []byte("store: embedded:"+filepath.Join(dir, "open")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"backup to nowhere", []string{"backup"}, ExitUsage, "usage: kiln backup"},
		{"backup of memory", []string{"backup", "--store", "memory:", dir + "/b"}, ExitUsage, "a memory store has no directory"},
		{"backup of no store", []string{"backup", "--store", "embedded:" + dir + "/none", dir + "/b"}, ExitNoRun, "no such file"},
		{"backup of a store that another process has", []string{"backup", "--config", config, dir + "/b"}, ExitNoRun, "another process has the store open"},
		{"backup with a configuration that is not there", []string{"backup", "--config", dir + "/none.yaml", dir + "/b"}, ExitNoRun, "none.yaml"},
		{"verify of a store that another process has", []string{"verify", "--config", config}, ExitNoRun, "make a backup and verify that"},
		{"verify of no store", []string{"verify", "--store", "embedded:" + dir}, ExitNoRun, "holds no store"},
		{"verify of what is no name of a store", []string{"verify", "--store", "here"}, ExitUsage, "want embedded:DIRECTORY"},
		{"restore of nothing", []string{"restore"}, ExitUsage, "usage: kiln restore"},
		{"restore of no backup", []string{"restore", dir, "--store", "embedded:" + dir + "/new"}, ExitNoRun, "holds no store"},
	} {
		t.Run(test.name, func(t *testing.T) { does(t, test.code, test.want, test.args...) })
	}
	for _, made := range []string{"none", "b", "new", "b.partial"} {
		if _, err := os.Stat(filepath.Join(dir, made)); err == nil {
			t.Errorf("%s was made", made)
		}
	}
}

func TestTheSocketIsThereForTheUserAlone(t *testing.T) {
	directory := t.TempDir()
	path := filepath.Join(directory, controlSocket)
	// What a killed server left, to which nobody answers.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := askControl(t.Context(), directory, "verify", controlRequest{}, nil); err != errNoServer {
		t.Errorf("got %v of a socket that nobody serves", err)
	}
	stop := under(t, &slowStore{}, directory)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	names, err := os.ReadDir(directory)
	if err != nil || len(names) != 1 {
		t.Errorf("there are %v, %v", names, err)
	}
	stop()
	stop()
	if _, err := os.Stat(path); err == nil {
		t.Error("it is still there")
	}
}

func TestASocketInADirectoryWithALongName(t *testing.T) {
	directory := filepath.Join(t.TempDir(), strings.Repeat("long", 20), strings.Repeat("longer", 30))
	s := devices(t, directory, 2)
	under(t, s, directory)
	does(t, ExitOK, "2 resources", "verify", "--store", "embedded:"+directory)
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), strings.Repeat("t", 90)))
	if err := os.MkdirAll(os.TempDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	does(t, ExitNoRun, "choose a shorter TMPDIR", "verify", "--store", "embedded:"+directory)
}

// slowStore takes as long as it is told.
type slowStore struct {
	verifying atomic.Int32
	cancelled atomic.Int32
}

func (s *slowStore) Backup(context.Context, string) (embedded.Copied, error) {
	return embedded.Copied{}, fmt.Errorf("the disk is full")
}

func (s *slowStore) Verify(ctx context.Context, progress func(string, int64, int64)) (embedded.Report, error) {
	s.verifying.Add(1)
	for i := int64(0); ; i++ {
		progress("resources", i, 1<<40)
		select {
		case <-ctx.Done():
			s.cancelled.Add(1)
			return embedded.Report{}, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

func TestTheSocketTakesWhatMakesSense(t *testing.T) {
	directory := t.TempDir()
	s := &slowStore{}
	stop := under(t, s, directory)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(directory, controlSocket))
	}}}
	defer client.CloseIdleConnections()
	for _, test := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"another path", "POST", "/export", "{}", 404, ""},
		{"another method", "GET", "/backup", "", 405, ""},
		{"no body", "POST", "/backup", "", 400, "must be a JSON object"},
		{"no JSON", "POST", "/backup", "directory", 400, "must be a JSON object"},
		{"another member", "POST", "/backup", `{"dir":"/tmp/x"}`, 400, "must be a JSON object"},
		{"a relative path", "POST", "/backup", `{"directory":"x"}`, 400, "absolute"},
		{"no path", "POST", "/backup", `{}`, 400, "absolute"},
		{"a path with a zero byte", "POST", "/backup", `{"directory":"/x\u0000y"}`, 400, "absolute"},
		{"a body that is too large", "POST", "/backup", `{"directory":"/` + strings.Repeat("x", 20<<10) + `"}`, 400, "must be a JSON object"},
		{"what fails", "POST", "/backup", `{"directory":"/tmp/x"}`, 200, "the disk is full"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), test.method, "http://kiln"+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			answer, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			said, err := io.ReadAll(answer.Body)
			if err != nil || answer.StatusCode != test.status || !bytes.Contains(said, []byte(test.want)) {
				t.Errorf("got %s %s, %v", answer.Status, said, err)
			}
		})
	}

	// One that is given up is over; two at once are not made; the end of the server ends it.
	ctx, cancel := context.WithCancel(t.Context())
	given := make(chan error, 1)
	told := make(chan struct{}, 1)
	tell := func(string, int64, int64) {
		select {
		case told <- struct{}{}:
		default:
		}
	}
	ask := func(ctx context.Context) {
		_, err := askControl(ctx, directory, "verify", controlRequest{}, tell)
		given <- err
	}
	go ask(ctx)
	<-told
	if _, err := askControl(t.Context(), directory, "verify", controlRequest{}, tell); err == nil || !strings.Contains(err.Error(), "verified already") {
		t.Errorf("got %v of a second one", err)
	}
	cancel()
	if err := <-given; err == nil {
		t.Error("it went on")
	}
	for s.cancelled.Load() < 1 {
		time.Sleep(time.Millisecond)
	}
	for len(told) > 0 {
		<-told
	}
	go ask(t.Context())
	<-told
	stop()
	if err := <-given; err == nil || !strings.Contains(err.Error(), "context canceled") && !strings.Contains(err.Error(), "has ended before") {
		t.Errorf("got %v", err)
	}
	if s.cancelled.Load() != 2 {
		t.Errorf("%d were cancelled", s.cancelled.Load())
	}
}

func TestABackupOfAServerThatRuns(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "store")
	s := start(t, "--store", "embedded:"+name)
	answer, err := http.Post(s.url+"/ingest/ihepcd", "application/octet-stream", bytes.NewReader(demoMonitor(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)).body))
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(answer, err)
	}
	answer.Body.Close()
	s.end(syscall.SIGKILL)
	if _, err := os.Stat(filepath.Join(name, controlSocket)); err != nil {
		t.Errorf("a killed server leaves its socket: %v", err)
	}
	// The socket that is left leads nowhere, and the next server replaces it.
	does(t, ExitOK, "by this program", "backup", "--store", "embedded:"+name, filepath.Join(dir, "without"))
	s = start(t, "--store", "embedded:"+name)
	does(t, ExitOK, "by the server", "backup", "--store", "embedded:"+name, filepath.Join(dir, "with"))
	of := func(directory string) (r embedded.Report) {
		t.Helper()
		out := does(t, ExitOK, "", "verify", "--json", "--store", "embedded:"+filepath.Join(dir, directory))
		if err := json.Unmarshal([]byte(out), &r); err != nil || r.ByType["Observation"] == 0 {
			t.Errorf("got %+v, %v", r, err)
		}
		return r
	}
	if a, b, c := of("store"), of("with"), of("without"); a.Versions != b.Versions || b.Versions != c.Versions || a.Keys != c.Keys {
		t.Errorf("the store and its backups differ: %+v %+v %+v", a, b, c)
	}
	if code := s.end(syscall.SIGTERM); code != ExitOK {
		t.Errorf("the server ended with %d:\n%s", code, s.said)
	}
	if _, err := os.Stat(filepath.Join(name, controlSocket)); err == nil {
		t.Error("the socket is still there")
	}
}
