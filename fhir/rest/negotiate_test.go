package rest_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir/rest"
)

func TestContentNegotiation(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/p1", patient).wantStatus(t, 201)
	for _, c := range []struct {
		name, accept, query string
		want                string // the format, "" is 406
	}{
		{"no Accept means anything", "", "", "json"},
		{"the type of FHIR", "application/fhir+json", "", "json"},
		{"plain JSON", "application/json", "", "json"},
		{"text JSON", "text/json", "", "json"},
		{"the type of DSTU2", "application/json+fhir", "", "json"},
		{"anything", "*/*", "", "json"},
		{"any application", "application/*", "", "json"},
		{"any text means text/json too", "text/*", "", "json"},
		{"a lone star, as old Java sends", "text/html, *; q=.2", "", "json"},
		{"case does not matter", "Application/FHIR+JSON", "", "json"},
		{"a charset is left aside", "application/fhir+json; charset=utf-8", "", "json"},
		{"R4 by version", "application/fhir+json; fhirVersion=4.0", "", "json"},
		{"R4 by version without blanks", "application/fhir+json;fhirVersion=4.0", "", "json"},
		{"R3 by version", "application/fhir+json; fhirVersion=3.0", "", ""},
		{"R5 by version", "application/fhir+json; fhirVersion=5.0", "", ""},
		{"R3 preferred, R4 possible", "application/fhir+json; fhirVersion=3.0, application/fhir+json; fhirVersion=4.0; q=0.5", "", "json"},
		{"XML only", "application/fhir+xml", "", "xml"},
		{"XML preferred, JSON possible", "application/fhir+xml, application/fhir+json;q=0.1", "", "xml"},
		{"a browser", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "", "xml"},
		{"plain XML", "application/xml", "", "xml"},
		{"text XML", "text/xml", "", "xml"},
		{"the XML of DSTU2", "application/xml+fhir", "", "xml"},
		{"XML of R4 by version", "application/fhir+xml; fhirVersion=4.0", "", "xml"},
		{"XML of R3 by version", "application/fhir+xml; fhirVersion=3.0", "", ""},
		{"XML, or JSON of R3", "application/fhir+json; fhirVersion=3.0, application/fhir+xml", "", "xml"},
		{"both alike mean JSON", "application/fhir+xml, application/fhir+json", "", "json"},
		{"JSON preferred, XML possible", "application/fhir+xml;q=0.5, application/fhir+json;q=0.6", "", "json"},
		{"JSON refused, XML possible", "application/fhir+json;q=0, application/fhir+xml;q=0.1", "", "xml"},
		{"XML rather than anything", "application/fhir+xml, */*;q=0.5", "", "xml"},
		{"HTML only", "text/html", "", ""},
		{"turtle only", "text/turtle", "", ""},
		{"JSON refused", "application/fhir+json;q=0, application/json;q=0, text/json;q=0, application/json+fhir;q=0, */*", "", "xml"},
		{"one form of JSON refused leaves the others", "application/json;q=0, */*", "", "json"},
		{"everything refused", "*/*;q=0", "", ""},
		{"the specific range wins over the general one", "*/*;q=0, application/fhir+json", "", "json"},
		{"nothing that can be read", ";;;", "", ""},
		{"a comma in quotes separates nothing", `application/fhir+xml;x="a,application/json"`, "", "xml"},

		{"_format json", "", "_format=json", "json"},
		{"_format with a +", "", "_format=application/fhir%2Bjson", "json"},
		{"_format with a blank for the +", "", "_format=application/fhir+json", "json"},
		{"_format of plain JSON", "", "_format=application/json", "json"},
		{"_format with a version", "", "_format=application/fhir%2Bjson;fhirVersion=4.0", "json"},
		{"_format with a version and blanks", "", "_format=application/fhir+json;+fhirVersion=4.0", "json"},
		{"_format of R3", "", "_format=application/fhir%2Bjson;fhirVersion=3.0", ""},
		{"_format xml", "", "_format=xml", "xml"},
		{"_format of FHIR XML", "", "_format=application/fhir%2Bxml", "xml"},
		{"_format of XML with a blank for the +", "", "_format=application/fhir+xml", "xml"},
		{"_format of plain XML", "", "_format=text/xml", "xml"},
		{"_format of XML of R3", "", "_format=application/fhir%2Bxml;fhirVersion=3.0", ""},
		{"_format turtle", "", "_format=ttl", ""},
		{"_format html", "", "_format=html", ""},
		{"_format nonsense", "", "_format=%22;;", ""},
		{"_format wins over an Accept that is refused", "text/html", "_format=json", "json"},
		{"_format wins over an Accept that is served", "application/fhir+json", "_format=xml", "xml"},
		{"an empty _format says nothing", "application/fhir+xml", "_format=", "xml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var headers []string
			if c.accept != "" {
				headers = append(headers, "Accept: "+c.accept)
			}
			for _, path := range []string{"/fhir/Patient/p1?", "/fhir/metadata?mode=terminology&", "/fhir/Patient?", "/fhir/Patient/p1/_history?"} {
				if got := a.do(t, "GET", path+c.query, "", headers...).format(t); got != c.want {
					t.Errorf("%s: format %q, want %q", path, got, c.want)
				}
			}
			if got := a.do(t, "GET", "/fhir/Patient/none?"+c.query, "", headers...); c.want == "xml" && !got.isXML() {
				t.Errorf("a refusal is not in XML: %s", got.body)
			}
			if c.query == "" {
				return
			}
			got := a.do(t, "POST", "/fhir/Patient/_search", c.query, append(headers, "Content-Type: ", "Content-Type: application/x-www-form-urlencoded")...)
			if c.accept == "" && got.format(t) != c.want {
				t.Errorf("in a form: format %q, want %q", got.format(t), c.want)
			}
		})
	}
}

// format of a success, "" for one that is not acceptable.
func (a answer) format(t testing.TB) string {
	t.Helper()
	switch {
	case a.StatusCode == http.StatusNotAcceptable:
		return ""
	case a.StatusCode != http.StatusOK:
		t.Errorf("status %d: %s", a.StatusCode, a.body)
	case a.Header.Get("Vary") != "Accept, Accept-Encoding":
		t.Errorf("Vary: %q", a.Header.Get("Vary"))
	case a.isXML():
		return "xml"
	}
	return "json"
}

func TestSeveralAcceptHeadersAreOneList(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "GET", "/fhir/metadata", "", "Accept: text/html", "Accept: application/json").wantStatus(t, 200)
}

func TestBaseURL(t *testing.T) {
	for _, c := range []struct {
		name    string
		options rest.Options
		tls     bool
		headers []string
		want    string // "" is refused
	}{
		{"comes from the request", rest.Options{}, false, []string{"Host: fhir.example:8080"}, "http://fhir.example:8080/fhir"},
		{"is https over TLS", rest.Options{}, true, []string{"Host: fhir.example"}, "https://fhir.example/fhir"},
		{"may be an IPv6 address", rest.Options{}, false, []string{"Host: [::1]:8080"}, "http://[::1]:8080/fhir"},
		{"is configured", rest.Options{BaseURL: "https://fhir.example/r4/"}, false, []string{"Host: inner"}, "https://fhir.example/r4"},
		{"does not believe a proxy unless told to", rest.Options{}, false, []string{"Host: inner", "Forwarded: host=evil;proto=https", "X-Forwarded-Host: evil"}, "http://inner/fhir"},
		{"believes Forwarded", rest.Options{Proxy: rest.BehindProxy}, false, []string{`Forwarded: for=10.0.0.1;host="fhir.example:8443";proto=https, host=second`}, "https://fhir.example:8443/fhir"},
		{"believes X-Forwarded-Proto and -Host", rest.Options{Proxy: rest.BehindProxy}, false, []string{"X-Forwarded-Proto: https, http", "X-Forwarded-Host: fhir.example, inner"}, "https://fhir.example/fhir"},
		{"adds X-Forwarded-Port", rest.Options{Proxy: rest.BehindProxy}, false, []string{"X-Forwarded-Proto: https", "X-Forwarded-Host: fhir.example", "X-Forwarded-Port: 8443"}, "https://fhir.example:8443/fhir"},
		{"leaves the usual port out", rest.Options{Proxy: rest.BehindProxy}, false, []string{"X-Forwarded-Proto: https", "X-Forwarded-Host: fhir.example", "X-Forwarded-Port: 443"}, "https://fhir.example/fhir"},
		{"keeps a port that the host has", rest.Options{Proxy: rest.BehindProxy}, false, []string{"X-Forwarded-Host: fhir.example:81", "X-Forwarded-Port: 8443"}, "http://fhir.example:81/fhir"},
		{"adds X-Forwarded-Prefix", rest.Options{Proxy: rest.BehindProxy}, false, []string{"X-Forwarded-Host: fhir.example", "X-Forwarded-Prefix: /api/v1/"}, "http://fhir.example/api/v1/fhir"},
		{"is the request's own if the proxy says nothing", rest.Options{Proxy: rest.BehindProxy}, false, []string{"Host: inner:1"}, "http://inner:1/fhir"},
		{"cannot be a script", rest.Options{Proxy: rest.BehindProxy}, false, []string{`X-Forwarded-Host: x"><script>`}, ""},
		{"cannot have another scheme", rest.Options{Proxy: rest.BehindProxy}, false, []string{"X-Forwarded-Proto: javascript"}, ""},
		{"cannot have a strange prefix", rest.Options{Proxy: rest.BehindProxy}, false, []string{"X-Forwarded-Prefix: evil?x="}, ""},
		{"needs a host", rest.Options{}, false, []string{"Host: "}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPI(t, c.options)
			r := httptest.NewRequest("GET", "/fhir/Patient", nil)
			for _, h := range c.headers {
				name, value, _ := strings.Cut(h, ": ")
				if name == "Host" {
					r.Host = value
				}
				r.Header.Set(name, value)
			}
			if c.tls {
				r.TLS = &tls.ConnectionState{}
			}
			w := httptest.NewRecorder()
			a.ServeHTTP(w, r)
			got := answer{w.Result(), w.Body.Bytes()}
			if c.want == "" {
				got.wantStatus(t, http.StatusBadRequest).outcome(t)
				return
			}
			self := got.bundle(t).link("self")
			if base, _, _ := strings.Cut(self, "/Patient?"); base != c.want {
				t.Errorf("base %q, want %q", base, c.want)
			}
		})
	}
}

func TestRequestIDIsEchoedIfItIsHarmlessAndMadeIfNot(t *testing.T) {
	a := newAPI(t, rest.Options{NewID: func() string { return "made" }})
	for _, c := range []struct{ sent, want string }{
		{"abc-123_x.y:z", "abc-123_x.y:z"},
		{"", "made"},
		{"two words", "made"},
		{"<script>", "made"},
		{strings.Repeat("a", 64), strings.Repeat("a", 64)},
		{strings.Repeat("a", 65), "made"},
	} {
		for _, path := range []string{"/fhir/metadata", "/nowhere"} {
			got := a.do(t, "GET", path, "", "X-Request-Id: "+c.sent)
			if id := got.Header.Get("X-Request-Id"); id != c.want {
				t.Errorf("%s: sent %q, got %q, want %q", path, c.sent, id, c.want)
			}
		}
	}
}

func TestOverTheWireHeadHasTheLengthOfGet(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/p1", patient)
	srv := httptest.NewServer(a)
	defer srv.Close()
	// Compressed bodies would hide their length.
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	for _, path := range []string{"/fhir/Patient/p1", "/fhir/metadata", "/fhir/Patient?_id=p1", "/fhir/Patient/none"} {
		get, err := client.Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		get.Body.Close()
		head, err := client.Head(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		head.Body.Close()
		if get.ContentLength <= 0 || head.ContentLength != get.ContentLength || head.StatusCode != get.StatusCode {
			t.Errorf("%s: HEAD %d with %d bytes, GET %d with %d", path, head.StatusCode, head.ContentLength, get.StatusCode, get.ContentLength)
		}
	}
}

func TestAChunkedBodyIsLimitedToo(t *testing.T) {
	a := newAPI(t, rest.Options{MaxBody: 100})
	r := httptest.NewRequest("POST", "/fhir/Patient", struct{ *strings.Reader }{strings.NewReader(`{"resourceType":"Patient","language":"` + strings.Repeat("x", 200) + `"}`)})
	r.ContentLength = -1
	r.Header.Set("Content-Type", jsonType)
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	answer{w.Result(), w.Body.Bytes()}.wantStatus(t, http.StatusRequestEntityTooLarge)
}

// mustURL is the path and query of a link of a Bundle.
func mustURL(t testing.TB, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	return u.RequestURI()
}
