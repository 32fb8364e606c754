package mongotest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// selection is how long the driver looks for a server; a write may do that twice.
const selection = 500 * time.Millisecond

// grace is what an answer may take beyond the time for which the driver looks for a server, on a
// machine that has much else to do.
const grace = 4 * time.Second

// lostly checks an answer of a server that has lost MongoDB.
func lostly(a answer) error {
	code, text := a.outcome()
	switch {
	case a.status != http.StatusServiceUnavailable:
		return fmt.Errorf("status %d: %.300s", a.status, a.body)
	case code != "transient" || !strings.Contains(text, "store") || !strings.Contains(text, "again"):
		return fmt.Errorf("it says %.500s", a.body)
	case a.header.Get("Retry-After") == "":
		return fmt.Errorf("it does not say when to try again")
	case strings.Contains(a.body, "127.0.0.1") || strings.Contains(a.body, "mongo"):
		return fmt.Errorf("it tells clients of the store: %.500s", a.body)
	}
	return nil
}

// sentLoad is what the clients of a server have sent while MongoDB came and went.
type sentLoad struct {
	mu sync.Mutex
	// acknowledged tells for each group of identifiers whether it was.
	acknowledged map[string]bool
	groups       map[string][]string
	refused      int
}

func (l *sentLoad) note(group string, acknowledged bool, identifiers ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acknowledged[group], l.groups[group] = acknowledged, identifiers
	if !acknowledged {
		l.refused++
	}
}

func (l *sentLoad) count() (acknowledged, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acknowledged) - l.refused, l.refused
}

// send creates Observations one by one, and every third time two in a transaction with a Device
// that is updated, until it is stopped.
func (l *sentLoad) send(t *testing.T, s *serving, name string, stop *atomic.Bool) {
	for n := 0; !stop.Load(); n++ {
		group := fmt.Sprintf("%s-%d", name, n)
		path, body, identifiers, want := "/fhir/Observation", reading("urn:cut", group, "Patient/1"), []string{group}, 201
		if n%3 == 2 {
			identifiers, want = []string{group + "-1", group + "-2"}, 200
			entry := func(value string) string {
				return `{"resource":` + reading("urn:cut", value, "Patient/1") + `,"request":{"method":"POST","url":"Observation"}}`
			}
			path, body = "/fhir", fmt.Sprintf(`{"resourceType":"Bundle","type":"transaction","entry":[%s,%s,{"resource":{"resourceType":"Device","id":%q,"serialNumber":%q},"request":{"method":"PUT","url":"Device/%[3]s"}}]}`,
				entry(identifiers[0]), entry(identifiers[1]), name, group)
		}
		a, err := s.ask(http.MethodPost, path, body)
		switch {
		case err != nil:
			t.Errorf("a client is cut off itself: %v", err)
			return
		case a.took > 2*selection+grace:
			t.Errorf("%s was answered with %d after %s", path, a.status, a.took)
			return
		case a.status == want:
			l.note(group, true, identifiers...)
		default:
			if err := lostly(a); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			l.note(group, false, identifiers...)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAServerThatLosesMongoDBSaysSoAndLosesNothingElse(t *testing.T) {
	for mode, start := range replicated() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			loses(t, start(t))
		})
	}
}

func loses(t *testing.T, mongo mongoDB) {
	network := newLine(t, mongo)
	s := serve(t, "--store", network.uri())
	known := s.must(t, http.MethodPost, "/fhir/Device", `{"resourceType":"Device"}`, 201).id(t)

	sent := &sentLoad{acknowledged: map[string]bool{}, groups: map[string][]string{}}
	var stop atomic.Bool
	var clients sync.WaitGroup
	for n := range 8 {
		clients.Go(func() { sent.send(t, s, fmt.Sprint("c", n), &stop) })
	}
	var payloads []bool // by number, whether it was acknowledged
	clients.Go(func() {
		for n := 0; !stop.Load(); n++ {
			a, err := s.ask(http.MethodPost, "/ingest/ihepcd", monitor(n))
			if err != nil {
				t.Error(err)
				return
			}
			if a.status != 200 {
				if err := lostly(a); err != nil {
					t.Errorf("ingest: %v", err)
				}
			} else if got := strings.Count(a.body, `"Observation/`); got != 3 {
				t.Errorf("a receipt has %d Observations: %s", got, a.body)
			}
			payloads = append(payloads, a.status == 200)
			time.Sleep(20 * time.Millisecond)
		}
	})
	stopClients := sync.OnceFunc(func() { stop.Store(true); clients.Wait() })
	defer stopClients()

	cuts := 5
	if testing.Short() {
		cuts = 2
	}
	var slowest atomic.Int64
	for n := range cuts {
		before, refusedBefore := sent.count()
		waitFor(t, "acknowledged writes", func() bool { now, _ := sent.count(); return now > before+50 })
		// In the middle of a transaction; at its end, which is reached, while the answer is not; or anywhere.
		cutAt := [][2]string{{"update", "Device"}, {"commitTransaction", ""}, {}}[n%3]
		if cutAt[0] != "" {
			select {
			case <-network.hold(command(cutAt[0], cutAt[1]), 0):
			case <-time.After(20 * time.Second):
				t.Fatalf("there was no %s within 20 s", cutAt)
			}
		}
		network.set(cut)
		// All at once: nobody waits for another.
		var asked sync.WaitGroup
		for path, check := range map[string]func(answer) error{
			"GET /readyz": func(a answer) error {
				if a.status != 503 || !strings.Contains(a.body, "not ready: mongo: ") || !strings.Contains(a.body, "MongoDB cannot be reached") && !strings.Contains(a.body, "the connection to MongoDB was lost") {
					return fmt.Errorf("%d: %s", a.status, a.body)
				}
				return nil
			},
			"GET /fhir/Device/" + known:      lostly,
			"GET /fhir/Observation?code=1-8": lostly,
			"POST /fhir/Device":              lostly,
			"POST /ingest/ihepcd":            lostly,
		} {
			asked.Go(func() {
				method, path, _ := strings.Cut(path, " ")
				body := ""
				if method == http.MethodPost {
					if body = `{"resourceType":"Device"}`; strings.HasPrefix(path, "/ingest") {
						body = monitor(1_000_000 + n)
					}
				}
				a, err := s.ask(method, path, body)
				if err == nil {
					err = check(a)
				}
				if err != nil || a.took > 2*selection+grace {
					t.Errorf("without MongoDB, %s: %v, after %s", path, err, a.took)
				}
				for was := slowest.Load(); int64(a.took) > was && !slowest.CompareAndSwap(was, int64(a.took)); was = slowest.Load() {
				}
			})
		}
		asked.Wait()
		for _, path := range []string{"/healthz", "/metrics", "/fhir/metadata"} {
			if a, err := s.ask(http.MethodGet, path, ""); err != nil || a.status != 200 || a.took > grace {
				t.Errorf("without MongoDB, %s: %d, %v, after %s", path, a.status, err, a.took)
			}
		}
		waitFor(t, "refused writes", func() bool { _, now := sent.count(); return now >= refusedBefore+8 })
		network.set(through)
		waitFor(t, "/readyz", func() bool { a, err := s.ask(http.MethodGet, "/readyz", ""); return err == nil && a.status == 200 })
	}
	before, _ := sent.count()
	waitFor(t, "acknowledged writes", func() bool { now, _ := sent.count(); return now > before+50 })
	stopClients()

	// The server that is started next stores what waits in the inbox.
	s.end(t)
	s = serve(t, "--store", network.uri())
	checkSent(t, s, sent)
	checkPayloads(t, s, payloads)
	acknowledged, refused := sent.count()
	t.Logf("%d writes acknowledged and %d refused in %d cuts; %d payloads; the slowest answer without MongoDB took %s", acknowledged, refused, cuts, len(payloads), time.Duration(slowest.Load()))

	// It ends without MongoDB, too.
	network.set(cut)
	waitFor(t, "the loss", func() bool { a, err := s.ask(http.MethodGet, "/readyz", ""); return err == nil && a.status == 503 })
	s.end(t)
}

// MongoDB is killed with SIGKILL under load, and comes back with its journal.
func TestWhatWasAcknowledgedIsThereWhenMongoDBWasKilled(t *testing.T) {
	t.Parallel()
	m := own(t)
	s := serve(t, "--store", newLine(t, m).uri())
	sent := &sentLoad{acknowledged: map[string]bool{}, groups: map[string][]string{}}
	var stop atomic.Bool
	var clients sync.WaitGroup
	for n := range 8 {
		clients.Go(func() { sent.send(t, s, fmt.Sprint("c", n), &stop) })
	}
	stopClients := sync.OnceFunc(func() { stop.Store(true); clients.Wait() })
	defer stopClients()
	kills := 3
	if testing.Short() {
		kills = 1
	}
	for range kills {
		before, refused := sent.count()
		waitFor(t, "acknowledged writes", func() bool { now, _ := sent.count(); return now > before+100 })
		if err := m.Kill(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "refused writes", func() bool { _, now := sent.count(); return now >= refused+8 })
		if err := m.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "/readyz", func() bool { a, err := s.ask(http.MethodGet, "/readyz", ""); return err == nil && a.status == 200 })
	}
	before, _ := sent.count()
	waitFor(t, "acknowledged writes", func() bool { now, _ := sent.count(); return now > before+50 })
	stopClients()
	checkSent(t, s, sent)
	acknowledged, refused := sent.count()
	t.Logf("%d writes acknowledged and %d refused, MongoDB was killed %d times", acknowledged, refused, kills)
	s.end(t)
}

func waitFor(t *testing.T, what string, there func() bool) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if there() {
			return
		}
	}
	t.Fatalf("there were no %s within 20 s", what)
}

// checkSent checks that what was acknowledged is there once, and what was not, once or not at all, as a
// whole.
func checkSent(t *testing.T, s *serving, sent *sentLoad) {
	t.Helper()
	ids := map[string][]string{}
	for _, e := range s.search(t, "Observation?identifier=urn:cut%7C&_count=1000").Entry {
		for _, i := range e.Resource.Identifier {
			ids[i.Value] = append(ids[i.Value], e.Resource.ID)
		}
	}
	updates := map[string]bool{} // groups that have updated the Device of their client
	for n := range 8 {
		for _, e := range s.search(t, fmt.Sprintf("Device/c%d/_history?_count=1000", n)).Entry {
			updates[e.Resource.SerialNumber] = true
		}
	}
	looked, late := 0, 0
	for group, identifiers := range sent.groups {
		if len(identifiers) > 1 && updates[group] != (len(ids[identifiers[0]]) > 0) {
			t.Errorf("%s, acknowledged %v: its Device was updated: %v, its readings are there: %v", group, sent.acknowledged[group], updates[group], len(ids[identifiers[0]]))
		}
		times := map[int]int{}
		for _, i := range identifiers {
			times[len(ids[i])]++
		}
		switch {
		case times[1] == len(identifiers):
		case times[0] == len(identifiers) && !sent.acknowledged[group]:
		default:
			t.Errorf("%s, acknowledged %v: of %d readings so many are there so often: %v", group, sent.acknowledged[group], len(identifiers), times)
		}
		if sent.acknowledged[group] || times[1] == 0 {
			continue
		}
		late++
		if looked++; looked > 50 {
			continue
		}
		for _, i := range identifiers {
			a := s.must(t, http.MethodGet, "/fhir/Observation/"+ids[i][0]+"/_history", "", 200)
			var history found
			if err := json.Unmarshal([]byte(a.body), &history); err != nil || len(history.Entry) != 1 {
				t.Errorf("%s: its history is %.500s", group, a.body)
			}
		}
	}
	t.Logf("%d writes that were refused are there", late)
}

// checkPayloads checks that the readings of payloads that were acknowledged are there, and those of
// others as a whole or not at all. Sent again, all are there, once.
func checkPayloads(t *testing.T, s *serving, acknowledged []bool) {
	t.Helper()
	const beds = "Observation?patient.identifier=urn:example:beds%7Cbed-1&_count=1000"
	refused := 0
	for n, ok := range acknowledged {
		if ok {
			continue
		}
		refused++
		a := s.must(t, http.MethodPost, "/ingest/ihepcd", monitor(n), 200)
		if made := strings.Count(a.body, `"created"`); made != 0 && made < 3 {
			t.Errorf("payload %d was stored in part: %s", n, a.body)
		}
	}
	if refused == 0 {
		t.Error("no payload was refused")
	}
	for n := range acknowledged {
		at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Second).Format(time.RFC3339)
		if got := len(s.search(t, beds+"&date="+at).Entry); got != 3 {
			t.Errorf("payload %d, acknowledged %v: %d readings are there, want 3", n, acknowledged[n], got)
		}
	}
	if a := s.must(t, http.MethodGet, "/ingest/quarantine", "", 200); !strings.Contains(a.body, `"payloads":[]`) && !strings.Contains(a.body, `"payloads":null`) {
		t.Errorf("in quarantine: %s", a.body)
	}
}

// Behind a firewall that drops what it let through, nobody is told that a connection is dead.
func TestAServerThatHearsNothingOfMongoDBGivesUp(t *testing.T) {
	for mode, start := range replicated() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			hearsNothing(t, start(t))
		})
	}
}

func hearsNothing(t *testing.T, mongo mongoDB) {
	network := newLine(t, mongo)
	s := serve(t, "--store", network.uri())
	known := s.must(t, http.MethodPost, "/fhir/Device", `{"resourceType":"Device"}`, 201).id(t)
	network.set(silent)
	var asked sync.WaitGroup
	for _, path := range []string{"GET /fhir/Device/" + known, "POST /fhir/Device", "GET /fhir/Device?_id=1"} {
		asked.Go(func() {
			method, path, _ := strings.Cut(path, " ")
			body := ""
			if method == http.MethodPost {
				body = `{"resourceType":"Device"}`
			}
			a, err := s.ask(method, path, body)
			if err == nil {
				err = lostly(a)
			}
			// The heartbeat and its timeout, and the search for another server.
			if err != nil || a.took > 3*selection+grace {
				t.Errorf("%s %s: %v, after %s", method, path, err, a.took)
			}
		})
	}
	asked.Wait()
	if a, err := s.ask(http.MethodGet, "/readyz", ""); err != nil || a.status != 503 {
		t.Errorf("/readyz: %d %v", a.status, err)
	}
	network.set(through)
	waitFor(t, "/readyz", func() bool { a, err := s.ask(http.MethodGet, "/readyz", ""); return err == nil && a.status == 200 })
	s.must(t, http.MethodGet, "/fhir/Device/"+known, "", 200)
	if got := len(s.search(t, "Device").Entry); got != 1 && got != 2 {
		t.Errorf("there are %d", got)
	}
	s.end(t)
}
