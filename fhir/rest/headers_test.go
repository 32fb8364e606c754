package rest_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/kiln-health/kiln/fhir/rest"
)

func unpack(t testing.TB, coding string, body []byte) string {
	t.Helper()
	var r io.Reader = bytes.NewReader(body)
	var err error
	switch coding {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "zstd":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1)); err == nil {
			defer z.Close()
			r = z
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func packed(t testing.TB, body string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestLongAnswersAreCompressedForThoseWhoAcceptIt(t *testing.T) {
	a := newAPI(t, rest.Options{})
	plain := a.do(t, "GET", "/fhir/metadata", "")
	for _, c := range []struct{ accept, want string }{
		{"", ""}, {"gzip", "gzip"}, {"GZIP", "gzip"}, {"zstd", "zstd"}, {"gzip, deflate, br, zstd", "zstd"}, {"*", "zstd"},
		{"gzip;q=1.0, zstd;q=0.5", "gzip"}, {"gzip;q=0", ""}, {"zstd;q=0, *;q=0.1", "gzip"}, {"identity", ""}, {"br", ""}, {"gzip;q=x", ""},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			got := a.send(t, method, "/fhir/metadata", "", "Accept-Encoding: "+c.accept)
			if coding := got.Header.Get("Content-Encoding"); coding != c.want {
				t.Errorf("%s %q: %q, want %q", method, c.accept, coding, c.want)
			}
			if length := got.Header.Get("Content-Length"); method == "GET" && length != fmt.Sprint(len(got.body)) {
				t.Errorf("%q: Content-Length %s of %d", c.accept, length, len(got.body))
			}
			if method == "GET" && unpack(t, c.want, got.body) != string(plain.body) {
				t.Errorf("%q: another body", c.accept)
			}
			if !strings.Contains(got.Header.Get("Vary"), "Accept-Encoding") {
				t.Errorf("Vary is %q", got.Header.Get("Vary"))
			}
		}
	}
	if got := a.do(t, "GET", "/fhir/Patient/none", "", "Accept-Encoding: gzip"); got.Header.Get("Content-Encoding") != "" {
		t.Error("a short answer is compressed")
	}
}

func TestCompressedBodiesAreRead(t *testing.T) {
	a := newAPI(t, rest.Options{MaxBody: 4096})
	a.do(t, "PUT", "/fhir/Patient/p1", packed(t, patient), "Content-Encoding: gzip").wantStatus(t, 201)
	a.do(t, "PUT", "/fhir/Patient/p1", packed(t, patient), "Content-Encoding: x-gzip").wantStatus(t, 200)
	a.do(t, "POST", "/fhir", packed(t, transaction()), "Content-Encoding: GZIP").wantStatus(t, 200)
	a.do(t, "PUT", "/fhir/Patient/p1", patient, "Content-Encoding: gzip").wantStatus(t, http.StatusBadRequest)
	a.do(t, "PUT", "/fhir/Patient/p1", packed(t, patient)[:40], "Content-Encoding: gzip").wantStatus(t, http.StatusBadRequest)
	a.do(t, "PUT", "/fhir/Patient/p1", packed(t, patient), "Content-Encoding: br").wantStatus(t, http.StatusUnsupportedMediaType)
	bomb := `{"resourceType":"Patient","id":"p1","language":"` + strings.Repeat("x", 10<<20) + `"}`
	a.do(t, "PUT", "/fhir/Patient/p1", packed(t, bomb), "Content-Encoding: gzip").wantStatus(t, http.StatusRequestEntityTooLarge)
}

func TestPagesOfAllowedOriginsMayUseTheAPI(t *testing.T) {
	for _, c := range []struct {
		name    string
		allowed []string
		origin  string
		want    string
	}{
		{"none by default", nil, "https://app.example", ""},
		{"an origin that is allowed", []string{"https://other.example", "https://app.example"}, "https://app.example", "https://app.example"},
		{"an origin that is not", []string{"https://app.example"}, "https://evil.example", ""},
		{"an origin that begins alike", []string{"https://app.example"}, "https://app.example.evil.example", ""},
		{"any", []string{"*"}, "https://app.example", "*"},
		{"no origin", []string{"*"}, "", ""},
	} {
		a := newAPI(t, rest.Options{CORS: c.allowed})
		got := a.do(t, "GET", "/fhir/Patient?_count=0", "", "Origin: "+c.origin).wantStatus(t, 200)
		if allow := got.Header.Get("Access-Control-Allow-Origin"); allow != c.want {
			t.Errorf("%s: %q, want %q", c.name, allow, c.want)
		}
		if c.want != "" && !strings.Contains(got.Header.Get("Access-Control-Expose-Headers"), "ETag") {
			t.Errorf("%s: a page cannot read ETag", c.name)
		}
		asked := a.send(t, "OPTIONS", "/fhir/Patient/p1", "", "Origin: "+c.origin, "Access-Control-Request-Method: PUT").wantStatus(t, 204)
		if methods := asked.Header.Get("Access-Control-Allow-Methods"); (methods != "") != (c.want != "") || c.want != "" && !strings.Contains(methods, "PUT") {
			t.Errorf("%s: methods %q", c.name, methods)
		}
		if asked.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: cookies are allowed", c.name)
		}
	}
}

func TestLinksAreInAHeaderToo(t *testing.T) {
	a := newAPI(t, rest.Options{})
	for i := range 3 {
		a.do(t, "POST", "/fhir/Patient", known("", fmt.Sprint(i), "")).wantStatus(t, 201)
	}
	for _, url := range []string{"/fhir/Patient?_count=2", "/fhir/Patient/_history?_count=2", "/fhir/_history?_count=2"} {
		got := a.do(t, "GET", url, "")
		b := got.bundle(t)
		if want := "<" + b.link("self") + `>; rel="self", <` + b.link("next") + `>; rel="next"`; b.link("next") == "" || got.Header.Get("Link") != want {
			t.Errorf("%s: %q, want %q", url, got.Header.Get("Link"), want)
		}
	}
	if got := a.do(t, "POST", "/fhir/Patient/_search", "identifier=secret", "Content-Type: ", "Content-Type: application/x-www-form-urlencoded"); got.Header.Get("Link") != "" {
		t.Errorf("what was posted is in a header: %s", got.Header.Get("Link"))
	}
}

func TestContentLocationNamesTheVersion(t *testing.T) {
	a := newAPI(t, rest.Options{})
	const want = "http://example.com/fhir/Patient/p1/_history/1"
	for _, got := range []answer{
		a.do(t, "PUT", "/fhir/Patient/p1", patient), a.do(t, "GET", "/fhir/Patient/p1", ""), a.do(t, "GET", "/fhir/Patient/p1/_history/1", ""),
	} {
		if l := got.Header.Get("Content-Location"); l != want {
			t.Errorf("%s: %q", got.Request.Method, l)
		}
	}
	if l := a.do(t, "PUT", "/fhir/Patient/p1", patient, "Prefer: return=minimal").Header.Get("Content-Location"); l != "" {
		t.Errorf("of no content: %q", l)
	}
}
