package rest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/fhir/go/fhirversion"
	"github.com/google/fhir/go/jsonformat"
	"go.uber.org/goleak"

	"github.com/kiln-health/kiln/fhir/rest"
	"github.com/kiln-health/kiln/fhir/xmlformat"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const jsonType = "application/fhir+json"

// noon is when the tests begin; clock goes on from there by what it is told.
var noon = time.Date(2024, 5, 1, 12, 0, 0, 100_000_000, time.UTC)

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// api is a server under test.
type api struct {
	http.Handler
	clock *clock
	store store.Store
}

func newAPI(t testing.TB, o rest.Options) *api {
	t.Helper()
	a := &api{clock: &clock{now: noon}}
	a.store = openStore(t, a.clock.Now)
	if o.Now == nil {
		o.Now = a.clock.Now
	}
	a.Handler = rest.New(a.store, o)
	return a
}

// openStore is an empty embedded store without a disk.
func openStore(t testing.TB, now func() time.Time) store.Store {
	t.Helper()
	st, err := embedded.Open("db", &embedded.Options{Now: now, FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

// answer is a response whose body was read.
type answer struct {
	*http.Response
	body []byte
}

// do sends a request: headers are "Name: value". A body goes as FHIR JSON unless they
// say otherwise. Whatever comes back must be FHIR.
func (a *api) do(t testing.TB, method, target, body string, headers ...string) answer {
	t.Helper()
	got := a.send(t, method, target, body, headers...)
	got.check(t)
	return got
}

// send is do without the check.
func (a *api) send(t testing.TB, method, target, body string, headers ...string) answer {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body == "" {
		r = httptest.NewRequest(method, target, nil)
	} else {
		r.Header.Set("Content-Type", jsonType)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			r.Host = value
		} else if value == "" {
			r.Header.Del(name)
		} else {
			r.Header.Add(name, value)
		}
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	res := w.Result()
	res.Request = r
	return answer{res, w.Body.Bytes()}
}

// check is what holds for every response.
func (a answer) check(t testing.TB) {
	t.Helper()
	r := a.Request
	what := fmt.Sprintf("%s %s: %d", r.Method, r.URL, a.StatusCode)
	if a.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s: without nosniff", what)
	}
	if a.Header.Get("X-Request-Id") == "" {
		t.Errorf("%s: without X-Request-Id", what)
	}
	if len(a.body) > 0 && r.Method == http.MethodHead {
		t.Errorf("%s: with a body", what)
	}
	if len(a.body) > 0 {
		want := "application/fhir+json; charset=utf-8"
		if a.isXML() {
			want = "application/fhir+xml; charset=utf-8"
		}
		if got := a.Header.Get("Content-Type"); got != want {
			t.Errorf("%s: Content-Type %q, want %q", what, got, want)
		}
		valid(t, what, a.json(t))
	}
	if a.StatusCode < 400 || r.Method == http.MethodHead {
		return
	}
	o := a.outcome(t)
	for i, issue := range o.Issue {
		if issue.Details.Text == "" || issue.Severity == "" || issue.Code == "" {
			t.Errorf("%s: issue %d without text, severity or code: %s", what, i, a.body)
		}
		if !strings.HasPrefix(issue.Diagnostics, "fix: ") && a.StatusCode != 400 && a.StatusCode != 422 {
			t.Errorf("%s: issue %d does not say how to mend it: %s", what, i, a.body)
		}
	}
	if len(o.Issue) == 0 {
		t.Errorf("%s: no issue: %s", what, a.body)
	}
}

type outcome struct {
	ResourceType string
	Issue        []issue
}

type issue struct {
	Severity, Code, Diagnostics string
	Details                     struct{ Text string }
	Expression                  []string
}

func (a answer) outcome(t testing.TB) outcome {
	t.Helper()
	var o outcome
	a.decode(t, &o)
	if o.ResourceType != "OperationOutcome" {
		t.Errorf("%d with a %q instead of an OperationOutcome: %s", a.StatusCode, o.ResourceType, a.body)
	}
	return o
}

func (a answer) isXML() bool { return bytes.HasPrefix(a.body, []byte("<?xml")) }

// json is the body in JSON.
func (a answer) json(t testing.TB) []byte {
	t.Helper()
	if !a.isXML() {
		return a.body
	}
	b, err := xmlformat.ToJSON(a.body)
	if err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return b
}

func (a answer) decode(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.json(t), v); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
}

type bundle struct {
	ResourceType, Type string
	Total              *int
	Link               []struct{ Relation, URL string }
	Entry              []struct {
		FullURL  string
		Resource json.RawMessage
		Search   struct{ Mode string }
		Request  struct{ Method, URL string }
		Response struct{ Status, Etag, LastModified string }
	}
}

func (a answer) bundle(t testing.TB) bundle {
	t.Helper()
	if a.StatusCode != http.StatusOK {
		t.Fatalf("%d: %s", a.StatusCode, a.body)
	}
	var b bundle
	a.decode(t, &b)
	if b.ResourceType != "Bundle" {
		t.Fatalf("no Bundle: %s", a.body)
	}
	return b
}

// link is the URL of a relation, "" if there is none.
func (b bundle) link(relation string) string {
	for _, l := range b.Link {
		if l.Relation == relation {
			return l.URL
		}
	}
	return ""
}

// ids are those of the matches, in order.
func (b bundle) ids(t testing.TB) []string {
	t.Helper()
	var ids []string
	for _, e := range b.Entry {
		var r struct{ ResourceType, ID string }
		if err := json.Unmarshal(e.Resource, &r); err != nil {
			t.Fatal(err)
		}
		if e.Search.Mode == "match" {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

func (a answer) wantStatus(t testing.TB, want int) answer {
	t.Helper()
	if a.StatusCode != want {
		t.Fatalf("status %d, want %d: %s", a.StatusCode, want, a.body)
	}
	return a
}

var oracle = sync.OnceValues(func() (*jsonformat.Unmarshaller, error) {
	return jsonformat.NewUnmarshaller("UTC", fhirversion.R4)
})

// valid asks google/fhir whether the JSON is a valid R4 resource.
func valid(t testing.TB, what string, body []byte) {
	t.Helper()
	u, err := oracle()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.UnmarshalR4(body); err != nil {
		t.Errorf("%s: not valid R4: %v\n%s", what, err, body)
	}
}

// heartRate is a small Observation; the value is JSON text.
func heartRate(id, subject, when, value string) string {
	var b bytes.Buffer
	b.WriteString(`{"resourceType":"Observation"`)
	if id != "" {
		fmt.Fprintf(&b, `,"id":%q`, id)
	}
	fmt.Fprintf(&b, `,"status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}]}],`+
		`"code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},"subject":{"reference":%q},"effectiveDateTime":%q,`+
		`"device":{"reference":"Device/monitor-1"},`+
		`"valueQuantity":{"value":%s,"unit":"beats/minute","system":"http://unitsofmeasure.org","code":"/min"}}`, subject, when, value)
	return b.String()
}
