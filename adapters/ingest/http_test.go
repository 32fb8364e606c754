package ingest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/adapters/ingest"
)

func serve(t *testing.T, w world) func(method, path, mediaType, body string) (*http.Response, string) {
	t.Helper()
	h := ingest.Handler(w.Pipeline, ingest.HTTPOptions{MaxBody: 1 << 10})
	return func(method, path, mediaType, body string) (*http.Response, string) {
		t.Helper()
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		if mediaType != "" {
			r.Header.Set("Content-Type", mediaType)
		}
		recorder := httptest.NewRecorder()
		h.ServeHTTP(recorder, r)
		answer := recorder.Result()
		content, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer, string(content)
	}
}

func TestEveryAnswerHasItsStatus(t *testing.T) {
	for _, test := range []struct {
		name, method, path, mediaType, body string
		status                              int
		want                                string
	}{
		{"a payload of which a part needs attention", "POST", "/ingest/lines?zone=Europe/Berlin", "", good + "junk\n", 200, `"quarantine":"`},
		{"a good payload", "POST", "/ingest/lines?zone=Europe/Berlin", "text/x-lines", good, 200, `"mapped":2`},
		{"a payload that is recognised", "POST", "/ingest?zone=%2B02:00", "", good, 200, `"adapter":"lines"`},
		{"what curl says by itself is no statement", "POST", "/ingest/lines?zone=Europe/Berlin", "application/x-www-form-urlencoded", good, 200, `"mapped":2`},
		{"a payload that is malformed", "POST", "/ingest/lines", "", "nonsense", 422, `"expression":["line 1"]`},
		{"a payload that nobody knows", "POST", "/ingest", "", "nonsense", 422, "no adapter recognises the payload"},
		{"a wrong media type", "POST", "/ingest/lines", "image/png", good, 415, "send one of [text/x-lines], or application/octet-stream"},
		{"a malformed media type", "POST", "/ingest/lines", "a/b/c;", good, 415, "malformed"},
		{"a body over the limit", "POST", "/ingest/lines", "", "pulse\n" + strings.Repeat("x", 2000), 413, "larger than 1024 bytes"},
		{"no body", "POST", "/ingest/lines", "", "", 400, "the payload is empty"},
		{"no such adapter", "POST", "/ingest/nobody", "", good, 404, "there is no adapter of that name"},
		{"no such source", "POST", "/ingest/lines?source=nowhere", "", good, 400, "no source of that name"},
		{"no such zone", "POST", "/ingest/lines?zone=Mars", "", good, 400, "is no zone"},
		{"a mistyped parameter", "POST", "/ingest/lines?tz=Europe/Berlin", "", good, 400, "use [source zone patient]"},
		{"a parameter twice", "POST", "/ingest/lines?zone=Europe/Berlin&zone=UTC", "", good, 400, "given more than once"},
		{"a malformed query", "POST", "/ingest/lines?zone=%zz", "", good, 400, "malformed"},
		{"a wrong method", "PUT", "/ingest/lines", "", good, 405, "the method is not allowed here"},
		{"a path that is not there", "GET", "/ingest/a/b/c/d", "", "", 404, "there is nothing at this path"},
		{"a quarantine that is empty", "GET", "/ingest/quarantine", "", "", 200, `{"payloads":[]}`},
		{"nothing in quarantine by that id", "GET", "/ingest/quarantine/none", "", "", 404, "no payload of that id"},
		{"nothing to replay", "POST", "/ingest/quarantine/none/$replay", "", "", 404, "no payload of that id"},
		{"an operation that is not there", "POST", "/ingest/quarantine/none/$resend", "", "", 404, "no such operation"},
		{"nothing to discard", "DELETE", "/ingest/quarantine/none", "", "", 404, "no payload of that id"},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer, content := serve(t, newWorld(t, nil))(test.method, test.path, test.mediaType, test.body)
			if answer.StatusCode != test.status || !strings.Contains(content, test.want) {
				t.Errorf("got  %d %s\nwant %d with %s", answer.StatusCode, content, test.status, test.want)
			}
			if test.status >= 400 {
				var outcome struct{ ResourceType string }
				if err := json.Unmarshal([]byte(content), &outcome); err != nil || outcome.ResourceType != "OperationOutcome" {
					t.Errorf("no OperationOutcome: %s", content)
				}
				if got := answer.Header.Get("Content-Type"); got != "application/fhir+json; charset=utf-8" {
					t.Errorf("got content type %s", got)
				}
			}
		})
	}
}

func TestAPayloadInQuarantineCanBeSeenReplayedAndDiscarded(t *testing.T) {
	w := newWorld(t, nil)
	do := serve(t, w)
	answer, content := do("POST", "/ingest/lines", "text/x-lines; charset=utf-8", "nonsense")
	at := answer.Header.Get("Location")
	if answer.StatusCode != 422 || !strings.HasPrefix(at, "/ingest/quarantine/") || !strings.Contains(content, at) {
		t.Fatalf("got %d, location %q, %s", answer.StatusCode, at, content)
	}
	if _, content = do("GET", "/ingest/quarantine", "", ""); !strings.Contains(content, `"message":"no header","fix":"begin with pulse"`) {
		t.Errorf("listed as %s", content)
	}
	if _, content = do("GET", at, "", ""); !strings.Contains(content, `"bytes":8`) {
		t.Errorf("shown as %s", content)
	}
	if answer, content = do("GET", at+"/$payload", "", ""); content != "nonsense" || answer.Header.Get("Content-Type") != "text/x-lines; charset=utf-8" {
		t.Errorf("the payload comes back as %q of type %s", content, answer.Header.Get("Content-Type"))
	}
	if answer, _ = do("POST", at+"/$replay", "", ""); answer.StatusCode != 422 {
		t.Errorf("a replay that mends nothing gives %d", answer.StatusCode)
	}
	if answer, _ = do("DELETE", at, "", ""); answer.StatusCode != 204 {
		t.Errorf("discarding gives %d", answer.StatusCode)
	}
	if _, content = do("GET", "/ingest/quarantine", "", ""); !strings.Contains(content, `"payloads":[]`) {
		t.Errorf("left behind: %s", content)
	}

	answer, _ = do("POST", "/ingest/lines", "", good) // no zone: nothing can be stored
	at = answer.Header.Get("Location")
	if answer.StatusCode != 422 {
		t.Fatalf("without a zone: %d", answer.StatusCode)
	}
	answer, content = do("POST", at+"/$replay?zone=Europe/Berlin", "", "")
	if answer.StatusCode != 200 || !strings.Contains(content, `"mapped":2`) || strings.Contains(content, `"quarantine"`) {
		t.Errorf("the replay gives %d %s", answer.StatusCode, content)
	}
}
