package rest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/rest"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// failing is a store that fails in a way that a test chooses.
type failing struct {
	store.Store
	fail func(context.Context) error
}

func (f failing) Read(ctx context.Context, _ fhir.Key) (fhir.Resource, error) {
	return fhir.Resource{}, f.fail(ctx)
}
func (f failing) Write(ctx context.Context, _ ...store.Change) ([]store.Result, error) {
	return nil, f.fail(ctx)
}
func (f failing) Search(ctx context.Context, _ search.Query) (store.Page, error) {
	return store.Page{}, f.fail(ctx)
}
func (f failing) History(ctx context.Context, _ store.HistoryQuery) (store.Page, error) {
	return store.Page{}, f.fail(ctx)
}

func TestFailuresOfTheStore(t *testing.T) {
	const secret = "Jane-Doe-1970"
	key := fhir.Key{Type: "Patient", ID: "p1"}
	for _, c := range []struct {
		name   string
		err    error
		header string
		status int
		code   string
		retry  bool
	}{
		{"not found is 404", fmt.Errorf("embedded: %w", store.ErrNotFound), "", 404, "not-found", false},
		{"deleted is 410", fmt.Errorf("embedded: %w", store.ErrGone), "", 410, "deleted", false},
		{"a lost race without If-Match is 409", &store.ConflictError{Key: key, Current: "2"}, "", 409, "conflict", false},
		{"a lost race with If-Match is 412", fmt.Errorf("embedded: %w", &store.ConflictError{Key: key, Current: "2"}), `If-Match: W/"1"`, 412, "conflict", false},
		{"a deadline is 503", context.DeadlineExceeded, "", 503, "transient", true},
		{"a chain that leads too far is 400", fmt.Errorf("embedded: %w", fhir.Errorf(fhir.CodeTooCostly, "", "too many")), "", 400, "too-costly", false},
		{"what no store can keep is 413", fmt.Errorf("mongo: %w", fhir.Errorf(fhir.CodeTooLong, "", "too much").WithFix("send less")), "", 413, "too-long", false},
		{"a store that cannot be reached is 503", fmt.Errorf("mongo: %s: %w", secret, store.ErrUnavailable), "", 503, "transient", true},
		{"a closed store is 503", fmt.Errorf("embedded: %w", store.ErrClosed), "", 503, "transient", true},
		{"anything else is 500 and tells nothing", errors.New("disk of " + secret + " is full"), "", 500, "exception", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPI(t, rest.Options{})
			a.Handler = rest.New(failing{fail: func(context.Context) error { return c.err }}, rest.Options{})
			for _, r := range []struct{ method, url, body string }{
				{"PUT", "/fhir/Patient/p1", patient}, {"DELETE", "/fhir/Patient/p1", ""}, {"POST", "/fhir/Patient", patient},
				{"GET", "/fhir/Patient/p1", ""}, {"GET", "/fhir/Patient", ""}, {"GET", "/fhir/Patient/p1/_history", ""},
			} {
				got := a.do(t, r.method, r.url, r.body, c.header)
				if got.StatusCode != c.status || got.outcome(t).Issue[0].Code != c.code || (got.Header.Get("Retry-After") != "") != c.retry {
					t.Errorf("%s %s: %d %s", r.method, r.url, got.StatusCode, got.body)
				}
				if strings.Contains(string(got.body), secret) || strings.Contains(string(got.body), "p1") {
					t.Errorf("%s %s tells too much: %s", r.method, r.url, got.body)
				}
			}
		})
	}
}

func TestARequestThatTakesTooLongIsEnded(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.Handler = rest.New(failing{fail: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}, rest.Options{Timeout: 10 * time.Millisecond})
	a.do(t, "GET", "/fhir/Patient?_id=p1", "").wantStatus(t, http.StatusServiceUnavailable)
}

func TestAClientThatGoesAwayIsNoFailureOfTheServer(t *testing.T) {
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	status := 0
	h := rest.New(failing{fail: func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() }}, rest.Options{
		Logger:  slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError})),
		Observe: func(_, _ string, s int, _ time.Duration) { status = s },
	})
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/fhir/Patient/p1", nil).WithContext(ctx))
	if status != 499 || log.Len() > 0 {
		t.Errorf("status %d, log %s", status, &log)
	}
}

func TestAPanicIs500AndTellsNothing(t *testing.T) {
	const secret = "Jane-Doe-1970"
	for _, c := range []struct {
		name string
		fail func(context.Context) error
		says string
	}{
		{"of a value", func(context.Context) error { panic("patient " + secret) }, "a string"},
		{"of an error", func(context.Context) error { panic(errors.New("patient " + secret)) }, "a *errors.errorString"},
		{"of the runtime", func(context.Context) error { _ = strings.Split(secret, "-")[len(secret)]; return nil }, "index out of range"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			observed := 0
			a := newAPI(t, rest.Options{})
			a.Handler = rest.New(failing{fail: c.fail}, rest.Options{
				Logger:  slog.New(slog.NewTextHandler(&log, nil)),
				Observe: func(_, _ string, s int, _ time.Duration) { observed = s },
			})
			got := a.do(t, "GET", "/fhir/Patient/"+secret, "").wantStatus(t, http.StatusInternalServerError)
			if observed != 500 {
				t.Errorf("observed %d", observed)
			}
			if strings.Contains(string(got.body), secret) || strings.Contains(log.String(), secret) {
				t.Errorf("tells too much: %s\n%s", got.body, &log)
			}
			if !strings.Contains(log.String(), c.says) || !strings.Contains(log.String(), "request="+got.Header.Get("X-Request-Id")) {
				t.Errorf("the log does not say %q: %s", c.says, &log)
			}
		})
	}
}

func TestNetHTTPsOwnPanicPasses(t *testing.T) {
	h := rest.New(failing{fail: func(context.Context) error { panic(http.ErrAbortHandler) }}, rest.Options{})
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("recovered %v", v)
		}
	}()
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/fhir/Patient/p1", nil))
}

// seen collects what Observe is told.
type seen struct {
	mu    sync.Mutex
	calls []string
}

func (s *seen) observe(route, method string, status int, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, fmt.Sprint(method, " ", route, " ", status))
}

func TestLogAndMetricsHoldPatternsAndNoPatient(t *testing.T) {
	const secret = "janedoe1970"
	var log bytes.Buffer
	var calls seen
	a := newAPI(t, rest.Options{Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), Observe: calls.observe})
	secretBody := heartRate(secret, "Patient/"+secret, "2024-05-01T10:00:00Z", "72.50")
	for _, c := range []struct {
		method, url, body string
		headers           []string
		want              string
		echoes            bool // the answer is about the resource itself
	}{
		{"PUT", "/fhir/Observation/" + secret, secretBody, nil, "PUT /fhir/:type/:id 201", true},
		{"GET", "/fhir/Observation/" + secret, "", nil, "GET /fhir/:type/:id 200", true},
		{"HEAD", "/fhir/Observation/" + secret, "", nil, "HEAD /fhir/:type/:id 200", true},
		{"GET", "/fhir/Observation/" + secret + "/_history", "", nil, "GET /fhir/:type/:id/_history 200", true},
		{"GET", "/fhir/Observation/" + secret + "/_history/1", "", nil, "GET /fhir/:type/:id/_history/:version 200", true},
		{"GET", "/fhir/Observation?patient=" + secret, "", nil, "GET /fhir/:type 200", true},
		{"POST", "/fhir/Observation/_search", "patient=" + secret, []string{"Content-Type: ", form}, "POST /fhir/:type/_search 200", true},
		{"GET", "/fhir/Patient/" + secret, "", nil, "GET /fhir/:type/:id 404", false},
		{"GET", "/fhir/" + secret + "/1", "", nil, "GET /fhir/:type/:id 404", false},
		{"GET", "/" + secret, "", nil, "GET unmatched 404", false},
		{"GET", "/fhir/Observation?date=" + secret, "", nil, "GET /fhir/:type 400", false},
		{"GET", "/fhir/Observation?value-quantity=" + secret, "", nil, "GET /fhir/:type 400", false},
		{"GET", "/fhir/Observation?_cursor=" + secret, "", nil, "GET /fhir/:type 400", false},
		{"GET", "/fhir/Observation/" + secret + "/_history?_since=" + secret, "", nil, "GET /fhir/:type/:id/_history 400", false},
		{"GET", "/fhir/Patient/" + secret + "_", "", nil, "GET /fhir/:type/:id 404", false},
		{"GET", "/fhir/Patient/" + secret + "/Observation", "", nil, "GET /fhir/:type/:id/:compartment 200", true},
		{"GET", "/fhir/Patient/" + secret + "/Observation?date=" + secret, "", nil, "GET /fhir/:type/:id/:compartment 400", false},
		{"GET", "/fhir/Patient/" + secret + "/Medication", "", nil, "GET /fhir/:type/:id/:compartment 404", false},
		{"GET", "/fhir/Patient/" + secret + "/X" + secret, "", nil, "GET /fhir/:type/:id/:compartment 404", false},
		{"GET", "/fhir?_type=" + secret, "", nil, "GET /fhir 400", false},
		{"GET", "/fhir?_list=_" + secret, "", nil, "GET /fhir 400", false},
		{"GET", "/fhir?_cursor=" + secret, "", nil, "GET /fhir 400", false},
		{"GET", "/fhir?_sort=" + secret, "", nil, "GET /fhir 400", false},
		{"GET", "/fhir?__explain=" + secret, "", nil, "GET /fhir 400", false},
		{"POST", "/fhir/_search", "_include=" + secret, []string{"Content-Type: ", form}, "POST /fhir/_search 400", false},
		{"GET", "/fhir/Patient/$" + secret, "", nil, "GET /fhir/:type/:id 404", false},
		{"GET", "/fhir/metadata?mode=" + secret, "", nil, "GET /fhir/metadata 400", false},
		{"GET", "/fhir/metadata?_format=" + secret, "", nil, "GET /fhir/metadata 406", false},
		{"PUT", "/fhir/Observation/" + secret + "2", secretBody, nil, "PUT /fhir/:type/:id 400", false},
		{"PUT", "/fhir/Patient/" + secret, secretBody, nil, "PUT /fhir/:type/:id 400", false},
		{"PUT", "/fhir/Observation/" + secret, secretBody[:len(secretBody)-3], nil, "PUT /fhir/:type/:id 400", false},
		{"POST", "/fhir/Patient", `{"resourceType":"Patient","birthDate":"` + secret + `","name":"` + secret + `","name":[{"family":["` + secret + `"]}]}`, nil, "POST /fhir/:type 400", false},
		{"POST", "/fhir/Patient", `{"resourceType":"Patient","name":"` + secret + `\x"}`, nil, "POST /fhir/:type 400", false},
		{"PUT", "/fhir/Observation/" + secret, secretBody, []string{`If-Match: W/"7"`}, "PUT /fhir/:type/:id 412", false},
		{"PATCH", "/fhir/Observation/" + secret, secretBody, nil, "PATCH /fhir/:type/:id 400", false},
		{"BREW", "/fhir/Observation/" + secret, "", nil, "other unmatched 501", false},
		{"DELETE", "/fhir/Observation/" + secret, "", nil, "DELETE /fhir/:type/:id 204", false},
		{"GET", "/fhir/Observation/" + secret, "", nil, "GET /fhir/:type/:id 410", false},
	} {
		calls.calls = nil
		got := a.do(t, c.method, c.url, c.body, c.headers...)
		if want := []string{c.want}; fmt.Sprint(calls.calls) != fmt.Sprint(want) {
			t.Errorf("%s %s: observed %v, want %v", c.method, c.url, calls.calls, want)
		}
		if !c.echoes && strings.Contains(string(got.body), secret) {
			t.Errorf("%s %s: the answer repeats the patient: %s", c.method, c.url, got.body)
		}
	}
	if strings.Contains(log.String(), secret) {
		t.Errorf("the log names the patient:\n%s", &log)
	}
	if !strings.Contains(log.String(), `"msg":"request","route":"/fhir/:type/:id","method":"PUT","status":201,`) {
		t.Errorf("the log lacks the request:\n%s", &log)
	}
}

func TestRacesWithIfMatchHaveOneWinner(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/p1", patient).wantStatus(t, 201)
	for round := 1; round <= 20; round++ {
		var mu sync.Mutex
		count := map[int]int{}
		var clients sync.WaitGroup
		for c := range 16 {
			clients.Go(func() {
				body := fmt.Sprintf(`{"resourceType":"Patient","id":"p1","multipleBirthInteger":%d}`, round*100+c)
				got := a.do(t, "PUT", "/fhir/Patient/p1", body, fmt.Sprintf(`If-Match: W/"%d"`, round))
				mu.Lock()
				count[got.StatusCode]++
				mu.Unlock()
			})
		}
		clients.Wait()
		if count[200] != 1 || count[412] != 15 {
			t.Fatalf("round %d: %v", round, count)
		}
	}
	if got := a.do(t, "GET", "/fhir/Patient/p1", "").Header.Get("ETag"); got != `W/"21"` {
		t.Errorf("after 20 updates: %s", got)
	}
}

func TestRacesToCreateWithIfNoneMatchHaveOneWinner(t *testing.T) {
	a := newAPI(t, rest.Options{})
	for round := range 10 {
		var mu sync.Mutex
		count := map[int]int{}
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				id := fmt.Sprintf("new-%d", round)
				got := a.do(t, "PUT", "/fhir/Patient/"+id, fmt.Sprintf(`{"resourceType":"Patient","id":%q}`, id), "If-None-Match: *")
				mu.Lock()
				count[got.StatusCode]++
				mu.Unlock()
			})
		}
		clients.Wait()
		if count[201] != 1 || count[412] != 7 {
			t.Fatalf("round %d: %v", round, count)
		}
	}
}

func TestCreateNeverReplacesWhatIsThere(t *testing.T) {
	a := newAPI(t, rest.Options{NewID: func() string { return "p1" }})
	a.do(t, "PUT", "/fhir/Patient/p1", patient).wantStatus(t, 201)
	a.do(t, "POST", "/fhir/Patient", patientAgain).wantStatus(t, http.StatusConflict)
	if got := a.do(t, "GET", "/fhir/Patient/p1", ""); !strings.Contains(string(got.body), `"active":true`) {
		t.Errorf("replaced: %s", got.body)
	}
}

func TestUnconditionalWritesAllWin(t *testing.T) {
	a := newAPI(t, rest.Options{})
	var clients sync.WaitGroup
	for c := range 16 {
		clients.Go(func() {
			body := fmt.Sprintf(`{"resourceType":"Patient","id":"p1","multipleBirthInteger":%d}`, c)
			if got := a.do(t, "PUT", "/fhir/Patient/p1", body); got.StatusCode != 200 && got.StatusCode != 201 {
				t.Errorf("%d: %s", got.StatusCode, got.body)
			}
		})
	}
	clients.Wait()
	if got := a.do(t, "GET", "/fhir/Patient/p1", "").Header.Get("ETag"); got != `W/"16"` {
		t.Errorf("after 16 updates: %s", got)
	}
}
