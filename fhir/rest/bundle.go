package rest

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// bundle is a page of a search or of a history, written around the stored bytes.
// http://hl7.org/fhir/R4/bundle.html
type bundle struct {
	kind     string // searchset or history
	total    int    // -1 is unknown
	self     string
	first    string // "" on the first page
	previous string // "" on the first page, and where it is not offered
	next     string // "" on the last page
	entries  []entry
	outcome  []byte // an OperationOutcome about the search, or nil
}

type entry struct {
	fullURL  string
	resource fhir.Resource
	created  bool   // of a history: this version made the resource
	mode     string // of a search: match or include
}

// maxLink is how long a Link header may be: proxies refuse long ones.
const maxLink = 2 << 10

// page answers with a bundle. The links of a GET are in a header too; those of a search by
// POST are not: its parameters are in the body to stay out of logs.
// https://www.rfc-editor.org/rfc/rfc8288
func (x *exchange) page(b bundle) reply {
	r := reply{status: http.StatusOK, body: b.json()}
	if x.Method != http.MethodGet && x.Method != http.MethodHead || len(b.self)+len(b.first)+len(b.previous)+len(b.next) > maxLink {
		return r
	}
	links := "<" + b.self + `>; rel="self"`
	if b.first != "" {
		links += ", <" + b.first + `>; rel="first"`
	}
	if b.previous != "" {
		links += ", <" + b.previous + `>; rel="prev"`
	}
	if b.next != "" {
		links += ", <" + b.next + `>; rel="next"`
	}
	return r.with("Link", links)
}

// json is the bundle, in one allocation that is large enough.
func (b bundle) json() []byte {
	size := 512 + len(b.self) + len(b.first) + len(b.previous) + len(b.next) + len(b.outcome)
	for _, e := range b.entries {
		size += 320 + len(e.fullURL) + len(e.resource.JSON)
	}
	out := make([]byte, 0, size)
	out = append(out, `{"resourceType":"Bundle","type":"`...)
	out = append(out, b.kind...)
	out = append(out, '"')
	if b.total >= 0 {
		out = append(out, `,"total":`...)
		out = strconv.AppendInt(out, int64(b.total), 10)
	}
	out = append(out, `,"link":[{"relation":"self","url":`...)
	out = quote(out, b.self)
	out = append(out, '}')
	for _, l := range [...][2]string{{"first", b.first}, {"previous", b.previous}, {"next", b.next}} {
		if l[1] != "" {
			out = append(out, `,{"relation":"`+l[0]+`","url":`...)
			out = quote(out, l[1])
			out = append(out, '}')
		}
	}
	out = append(out, ']')
	before := `,"entry":[`
	for _, e := range b.entries {
		out = append(out, before...)
		before = ","
		if b.kind == "history" {
			out = e.appendHistory(out)
		} else {
			out = e.appendMatch(out)
		}
	}
	if b.outcome != nil {
		out = append(out, before...)
		before = ","
		out = append(out, `{"resource":`...)
		out = append(out, b.outcome...)
		out = append(out, `,"search":{"mode":"outcome"}}`...)
	}
	if before == "," {
		out = append(out, ']')
	}
	return append(out, '}')
}

func (e entry) appendMatch(out []byte) []byte {
	out = append(out, `{"fullUrl":`...)
	out = quote(out, e.fullURL)
	out = append(out, `,"resource":`...)
	out = append(out, e.resource.JSON...)
	return append(out, `,"search":{"mode":"`+e.mode+`"}}`...)
}

// appendHistory writes a version with the request that would make it. The store does
// not keep whether a client posted or put it: PUT is the one that gives the same id
// when the history is replayed. http://hl7.org/fhir/R4/http.html#history
func (e entry) appendHistory(out []byte) []byte {
	method, status := http.MethodPut, http.StatusOK
	switch {
	case e.resource.Deleted:
		method, status = http.MethodDelete, http.StatusNoContent
	case e.created:
		status = http.StatusCreated
	}
	out = append(out, `{"fullUrl":`...)
	out = quote(out, e.fullURL)
	if !e.resource.Deleted {
		out = append(out, `,"resource":`...)
		out = append(out, e.resource.JSON...)
	}
	out = append(out, `,"request":{"method":"`...)
	out = append(out, method...)
	out = append(out, `","url":`...)
	out = quote(out, e.resource.Type+"/"+e.resource.ID)
	out = append(out, `},"response":{"status":"`...)
	out = strconv.AppendInt(out, int64(status), 10)
	out = append(out, `","etag":`...)
	out = quote(out, etag(e.resource.Version))
	out = append(out, `,"lastModified":"`...)
	out = e.resource.LastUpdated.UTC().AppendFormat(out, fhir.InstantFormat)
	return append(out, `"}}`...)
}

func quote(out []byte, s string) []byte {
	out, _ = jsontext.AppendQuote(out, s) // fails on invalid UTF-8, which URLs and ETags do not hold
	return out
}

// link adds parameters to a URL.
func link(to string, params []search.Pair) string {
	for _, p := range params {
		between := "?"
		if strings.Contains(to, "?") {
			between = "&"
		}
		to += between + url.QueryEscape(p.Name) + "=" + url.QueryEscape(p.Value)
	}
	return to
}
