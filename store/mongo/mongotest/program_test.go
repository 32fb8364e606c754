package mongotest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if lone.mongod != nil {
		if err := lone.mongod.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	if program.directory != "" {
		_ = os.RemoveAll(program.directory)
	}
	os.Exit(code)
}

// program is kiln as it is shipped, built by the first test that needs it.
var program struct {
	once      sync.Once
	directory string
	path      string
	err       error
}

func kilnProgram(t testing.TB) string {
	t.Helper()
	program.once.Do(func() {
		if program.directory, program.err = os.MkdirTemp("", "kiln"); program.err != nil {
			return
		}
		program.path = filepath.Join(program.directory, "kiln")
		build := exec.Command("go", "build", "-tags", "nomsgpack", "-o", program.path, "./cmd/kiln")
		build.Dir = filepath.Join("..", "..", "..")
		if out, err := build.CombinedOutput(); err != nil {
			program.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if program.err != nil {
		t.Fatalf("kiln cannot be built: %v", program.err)
	}
	return program.path
}

// said is what a process has written so far.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// process is a running kiln.
type process struct {
	*exec.Cmd
	args        []string
	out, stderr said
	ended       chan struct{} // closed when it has
}

// begin starts kiln with arguments, and settings of its environment. It does not outlive the test,
// and a test that fails has in its log what it said.
func begin(t testing.TB, environment []string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(kilnProgram(t), args...), args: args, ended: make(chan struct{})}
	p.Env = append(os.Environ(), environment...)
	p.Dir = t.TempDir()
	p.Stdout, p.Stderr = &p.out, &p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.Wait() // how it ended is in its state
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // it has ended, as a rule
		<-p.ended
		if t.Failed() {
			t.Logf("kiln %s (%s):\n%s%s", strings.Join(args, " "), p.ProcessState, p.out.String(), p.stderr.String())
		}
	})
	return p
}

// code waits for the end of the process, and gives its exit code: -1 if it was killed.
func (p *process) code(t testing.TB, within time.Duration) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(within):
		t.Fatalf("kiln %s has not ended within %s", p.args[0], within)
	}
	return p.ProcessState.ExitCode()
}

// kiln runs a verb to its end.
func kiln(t testing.TB, args ...string) (code int, out, stderr string) {
	t.Helper()
	p := begin(t, nil, args...)
	code = p.code(t, time.Minute)
	return code, p.out.String(), p.stderr.String()
}

// mustKiln runs a verb that does what it is told, and gives what it prints.
func mustKiln(t testing.TB, args ...string) (out, stderr string) {
	t.Helper()
	code, out, stderr := kiln(t, args...)
	if code != 0 {
		t.Fatalf("kiln %v: exit code %d", args, code)
	}
	return out, stderr
}

// client of the servers: no answer takes as long as it waits.
var client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 32}}

// serving is a kiln that serves.
type serving struct {
	*process
	url string
}

var servesAt = regexp.MustCompile(`serves FHIR at (http://[^/]+)/fhir`)

func serve(t testing.TB, args ...string) *serving {
	t.Helper()
	p := begin(t, nil, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		if m := servesAt.FindStringSubmatch(p.stderr.String()); m != nil {
			return &serving{p, m[1]}
		}
		select {
		case <-p.ended:
			t.Fatalf("the server did not start: exit code %d", p.ProcessState.ExitCode())
		default:
		}
	}
	t.Fatal("the server did not start within half a minute")
	return nil
}

// end ends the server as its supervisor does, and it must end well.
func (s *serving) end(t testing.TB) {
	t.Helper()
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := s.code(t, 20*time.Second); code != 0 {
		t.Fatalf("the server ended with exit code %d", code)
	}
}

// answer is what a server says to a request.
type answer struct {
	status int
	header http.Header
	body   string
	took   time.Duration
}

// ask sends a request. Headers are name and value in turn.
func (s *serving) ask(method, path, body string, headers ...string) (answer, error) {
	r, err := http.NewRequestWithContext(context.Background(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != "" && !strings.HasPrefix(path, "/ingest") {
		r.Header.Set("Content-Type", "application/fhir+json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	begun := time.Now()
	got, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	text, err := io.ReadAll(got.Body)
	if err := errors.Join(err, got.Body.Close()); err != nil {
		return answer{}, err
	}
	return answer{got.StatusCode, got.Header, string(text), time.Since(begun)}, nil
}

// must is ask for what is answered with one of the statuses.
func (s *serving) must(t testing.TB, method, path, body string, statuses ...int) answer {
	t.Helper()
	a, err := s.ask(method, path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	for _, status := range statuses {
		if a.status == status {
			return a
		}
	}
	t.Fatalf("%s %s: got %d, want %d\n%.2000s", method, path, a.status, statuses, a.body)
	return a
}

// id of the resource that a create has made.
func (a answer) id(t testing.TB) string {
	t.Helper()
	m := regexp.MustCompile(`/fhir/[A-Za-z]+/([^/]+)`).FindStringSubmatch(a.header.Get("Location"))
	if m == nil {
		t.Fatalf("the answer %d has no Location\n%.500s", a.status, a.body)
	}
	return m[1]
}

// found is a page of a search.
type found struct {
	Total int
	Link  []struct{ Relation, URL string }
	Entry []struct {
		Resource struct {
			ID, SerialNumber string
			Identifier       []struct{ Value string }
		}
	}
}

// search reads all pages.
func (s *serving) search(t testing.TB, query string) (all found) {
	t.Helper()
	for path := "/fhir/" + query; path != ""; {
		var page found
		a := s.must(t, http.MethodGet, path, "", 200)
		if err := json.Unmarshal([]byte(a.body), &page); err != nil {
			t.Fatal(err)
		}
		all.Total = page.Total
		all.Entry = append(all.Entry, page.Entry...)
		path = ""
		for _, l := range page.Link {
			if l.Relation == "next" {
				path = strings.TrimPrefix(l.URL, s.url)
			}
		}
	}
	return all
}

// outcome is the first issue of an OperationOutcome.
func (a answer) outcome() (code, text string) {
	var o struct {
		ResourceType string
		Issue        []struct {
			Code, Diagnostics string
			Details           struct{ Text string }
		}
	}
	if json.Unmarshal([]byte(a.body), &o) != nil || o.ResourceType != "OperationOutcome" || len(o.Issue) == 0 {
		return "", ""
	}
	return o.Issue[0].Code, o.Issue[0].Details.Text + " " + o.Issue[0].Diagnostics
}

// filesOf are the names and contents of a directory.
func filesOf(t testing.TB, directory string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(directory, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(content)
	}
	return all
}

// sameFiles compares two directories, byte by byte.
func sameFiles(t testing.TB, got, want string) {
	t.Helper()
	g, w := filesOf(t, got), filesOf(t, want)
	for name := range w {
		if _, ok := g[name]; !ok {
			t.Errorf("%s lacks %s", got, name)
		} else if g[name] != w[name] {
			t.Errorf("%s: %s differs: %d bytes, want %d", got, name, len(g[name]), len(w[name]))
		}
	}
	for name := range g {
		if _, ok := w[name]; !ok {
			t.Errorf("%s has a file %s", got, name)
		}
	}
	if len(w) == 0 {
		t.Errorf("%s is empty", want)
	}
}
