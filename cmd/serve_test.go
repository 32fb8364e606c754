package cmd

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/adapters/ihepcd"
	"github.com/kiln-health/kiln/adapters/ingest"
)

// server is the program in a process of its own.
type server struct {
	t    *testing.T
	cmd  *exec.Cmd
	url  string
	said *bytes.Buffer
	read chan struct{}
}

var serving = regexp.MustCompile(`serves FHIR at (http://[^/]+)/fhir`)

func start(t *testing.T, args ...string) *server {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, cmd: exec.Command(self, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...), said: &bytes.Buffer{}, read: make(chan struct{})}
	s.cmd.Env = append(os.Environ(), asKiln+"=1")
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found := make(chan string, 1)
	go func() {
		defer close(s.read)
		defer close(found)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			fmt.Fprintln(s.said, lines.Text())
			if m := serving.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
		}
	}()
	t.Cleanup(func() { s.end(syscall.SIGKILL) })
	select {
	case s.url = <-found:
	case <-time.After(30 * time.Second):
	}
	if s.url == "" {
		s.end(syscall.SIGKILL)
		t.Fatalf("the server did not start:\n%s", s.said)
	}
	return s
}

// end signals the process, waits for it, and returns its exit code, or -1 if it was killed.
func (s *server) end(signal syscall.Signal) int {
	_ = s.cmd.Process.Signal(signal) // it may have ended already
	<-s.read
	_ = s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode()
}

func (s *server) get(path string) (int, string) {
	s.t.Helper()
	answer, err := http.Get(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestAPayloadGoesInAndFHIRComesOut(t *testing.T) {
	s := start(t, "--store", "embedded:"+filepath.Join(t.TempDir(), "data"))
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, body := s.get(path); status != 200 || body != "ok\n" {
			t.Errorf("%s answers %d %q", path, status, body)
		}
	}
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, d := range []demoPayload{demoMonitor(at), demoCGM(at), demoCuff(at), demoScale(at)} {
		file := filepath.Join(t.TempDir(), "payload")
		if err := os.WriteFile(file, d.body, 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"send", "--to", s.url, "--no-progress"}
		if d.origin.Zone != "" {
			args = append(args, "--zone", d.origin.Zone)
		}
		if d.origin.Patient != "" {
			args = append(args, "--patient", d.origin.Patient)
		}
		for _, want := range []string{" created, 0 updated, 0 unchanged", " 0 created, 0 updated, "} {
			code, out, stderr := kiln(t, "", append(args, file)...)
			if code != ExitOK || !strings.Contains(out, want) {
				t.Errorf("%s: exit code %d, %s%s", d.origin.Adapter, code, out, stderr)
			}
		}
	}
	var found struct {
		Total int
		Entry []struct{ Resource struct{ ID string } }
	}
	for _, test := range []struct {
		query string
		least int
	}{
		{"Observation?code=http://loinc.org|8867-4&date=2026-05-01", 2},
		{"Observation?code=99504-3&date=ge2026-05-01T10:00:00Z", 20},
		{"Observation?code=85354-9&_sort=-date", 1},
		{"Observation?combo-code=8480-6", 1},
		{"Observation?code=29463-7&value-quantity=gt70|http://unitsofmeasure.org|kg", 30},
		{"Patient?identifier=" + demoPatients + "|home-1", 1},
		{"Device?identifier=urn:oid:1.2.840.10004.1.1.1.0.0.1.0.0.1.2680|0011223344556688", 1},
	} {
		status, body := s.get("/fhir/" + strings.ReplaceAll(test.query, "|", "%7C") + "&_total=accurate")
		if err := json.Unmarshal([]byte(body), &found); err != nil || status != 200 || found.Total < test.least {
			t.Errorf("%s finds %d (%d, %v), want at least %d", test.query, found.Total, status, err, test.least)
		}
	}
	_, body := s.get("/fhir/Patient?identifier=" + demoPatients + "%7Chome-1")
	if err := json.Unmarshal([]byte(body), &found); err != nil || len(found.Entry) != 1 {
		t.Fatalf("got %s", body)
	}
	if _, body = s.get("/fhir/Observation?patient=" + found.Entry[0].Resource.ID + "&code=99504-3&date=2026-05-01&_summary=count"); !strings.Contains(body, `"total":`) || strings.Contains(body, `"total":0`) {
		t.Errorf("by patient, code and date: %s", body)
	}
	if _, body := s.get("/metrics"); !strings.Contains(body, `kiln_payloads_total{adapter="ihepcd",outcome="stored"} 2`) {
		t.Errorf("the metrics lack the payloads:\n%s", body)
	}
	if code := s.end(syscall.SIGTERM); code != ExitOK {
		t.Errorf("ended with %d:\n%s", code, s.said)
	}
	if log := s.said.String(); strings.Contains(log, "home-1") || strings.Contains(log, "bed-1") {
		t.Errorf("the log names a patient:\n%s", log)
	}
}

func TestTheDemoHasLiveDataAtOnce(t *testing.T) {
	s := start(t, "--demo", "--store", "memory:")
	deadline := time.Now().Add(30 * time.Second)
	for {
		_, body := s.get("/fhir/Observation?_summary=count")
		if n, _ := strconv.Atoi(regexp.MustCompile(`"total":(\d+)`).FindStringSubmatch(body + `"total":0`)[1]); n > 500 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 30 seconds: %s\n%s", body, s.said)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if code := s.end(syscall.SIGINT); code != ExitOK || strings.Contains(s.said.String(), "level=ERROR") {
		t.Errorf("ended with %d:\n%s", code, s.said)
	}
}

func TestTheAPIIsAsConfiguredAndKeepsItsSearchParameters(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "kiln.yaml")
	if err := os.WriteFile(file, []byte("conditionalDelete: multiple\ncors: [https://app.example]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, "--config", file, "--store", "embedded:"+filepath.Join(dir, "data"))
	send := func(method, path, body string) (int, http.Header, string) {
		t.Helper()
		r, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/fhir+json")
		r.Header.Set("Origin", "https://app.example")
		r.Header.Set("Prefer", "handling=strict")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		content, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, answer.Header, string(content)
	}
	for _, id := range []string{"a", "b"} {
		send("PUT", "/fhir/Patient/"+id, `{"resourceType":"Patient","id":"`+id+`","maritalStatus":{"coding":[{"code":"M"}]}}`)
	}
	if _, header, _ := send("GET", "/fhir/Patient/a", ""); header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("headers %v", header)
	}
	if status, _, body := send("GET", "/openapi.json", ""); status != 200 || !strings.HasPrefix(body, `{"info"`) {
		t.Errorf("%d: %.200s", status, body)
	}
	if status, _, body := send("POST", "/fhir/SearchParameter", `{"resourceType":"SearchParameter","url":"http://h.example/marital","name":"marital","status":"active","description":"d","code":"marital","base":["Patient"],"type":"token","expression":"Patient.maritalStatus"}`); status != 201 {
		t.Fatalf("%d: %s", status, body)
	}
	find := func() string {
		t.Helper()
		_, _, body := send("GET", "/fhir/Patient?marital=M&_summary=count", "")
		return body
	}
	for end := time.Now().Add(30 * time.Second); !strings.Contains(find(), `"total":2`); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the search parameter is not in use: %s", find())
		}
	}
	if code := s.end(syscall.SIGTERM); code != ExitOK {
		t.Fatalf("ended with %d:\n%s", code, s.said)
	}
	s = start(t, "--config", file, "--store", "embedded:"+filepath.Join(dir, "data"))
	if body := find(); !strings.Contains(body, `"total":2`) {
		t.Errorf("after a restart: %s", body)
	}
	if status, _, body := send("DELETE", "/fhir/Patient?marital=M", ""); status != 204 {
		t.Errorf("%d: %s", status, body)
	}
	if body := find(); !strings.Contains(body, `"total":0`) {
		t.Errorf("after the deletion: %s", body)
	}
}

func TestASecondServerDoesNotTakeTheSameStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	start(t, "--store", "embedded:"+dir)
	code, _, stderr := kiln(t, "", "serve", "--listen", "127.0.0.1:0", "--store", "embedded:"+dir)
	if code != ExitNoRun || !strings.Contains(stderr, "another process") {
		t.Errorf("got exit code %d, %s", code, stderr)
	}
}

// TestCrashLosesNothingAcknowledged kills the server in the middle of 64 senders. After a
// restart every acknowledged payload is there, and no payload is there in part.
// KILN_CRASH_ROUNDS sets how often.
func TestCrashLosesNothingAcknowledged(t *testing.T) {
	rounds := 2
	if s := os.Getenv("KILN_CRASH_ROUNDS"); s != "" {
		var err error
		if rounds, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	store := "embedded:" + filepath.Join(t.TempDir(), "data")
	epoch := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	var sent int // payloads of all rounds, numbered from 0
	acknowledged := map[int]bool{}
	for round := range rounds {
		s := start(t, "--store", store)
		var lock sync.Mutex
		var senders sync.WaitGroup
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
		for range 64 {
			senders.Go(func() {
				for {
					lock.Lock()
					n := sent
					sent++
					lock.Unlock()
					answer, err := client.Post(s.url+"/ingest/ihepcd", "application/octet-stream", bytes.NewReader(demoMonitor(epoch.Add(time.Duration(n)*time.Second)).body))
					if err != nil {
						return // killed
					}
					var r ingest.Receipt
					err = json.NewDecoder(answer.Body).Decode(&r)
					answer.Body.Close()
					if err != nil || answer.StatusCode != 200 {
						return
					}
					lock.Lock()
					acknowledged[n] = true
					lock.Unlock()
				}
			})
		}
		time.Sleep(100*time.Millisecond + rand.N(400*time.Millisecond))
		s.end(syscall.SIGKILL)
		senders.Wait()
		client.CloseIdleConnections()
		t.Logf("round %d: %d sent, %d acknowledged so far", round+1, sent, len(acknowledged))
	}
	if len(acknowledged) == 0 {
		t.Fatal("nothing was acknowledged: the test shows nothing")
	}

	s := start(t, "--store", store)
	present := map[string]bool{}
	for next := s.url + "/fhir/Observation?_count=1000"; next != ""; {
		answer, err := http.Get(next)
		if err != nil {
			t.Fatal(err)
		}
		var page struct {
			Link  []struct{ Relation, URL string }
			Entry []struct{ Resource struct{ ID string } }
		}
		err = json.NewDecoder(answer.Body).Decode(&page)
		answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entry {
			if present[e.Resource.ID] {
				t.Errorf("%s is found twice", e.Resource.ID)
			}
			present[e.Resource.ID] = true
		}
		next = ""
		for _, l := range page.Link {
			if l.Relation == "next" {
				next = l.URL
			}
		}
	}
	adapter := ihepcd.New()
	for n := range sent {
		c, err := adapter.Convert(adapters.Payload{Body: demoMonitor(epoch.Add(time.Duration(n) * time.Second)).body, Received: epoch.AddDate(0, 0, 10)})
		if err != nil {
			t.Fatal(err)
		}
		have := 0
		for _, o := range c.Observations {
			if present[o.GetId().GetValue()] {
				have++
			}
		}
		if have != 0 && have != len(c.Observations) {
			t.Errorf("payload %d is there in part: %d of %d observations", n, have, len(c.Observations))
		}
		if acknowledged[n] && have == 0 {
			t.Errorf("payload %d was acknowledged and is lost", n)
		}
	}
}
