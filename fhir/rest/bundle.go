package rest

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// bundle is a page of a search or of a history, written around the stored bytes.
// http://hl7.org/fhir/R4/bundle.html
type bundle struct {
	kind       string // searchset or history
	total      int    // -1 is unknown
	self, next string // next is "" on the last page
	entries    []entry
	outcome    []byte // an OperationOutcome about the search, or nil
}

type entry struct {
	fullURL  string
	resource fhir.Resource
	created  bool // of a history: this version made the resource
}

// searchset is the answer to a search. http://hl7.org/fhir/R4/search.html#return
func searchset(x *exchange, params []search.Pair, q search.Query, page store.Page, issues []fhir.Issue) bundle {
	// Links keep the form of the response that was asked for, so that all pages have it.
	var form []search.Pair
	for _, p := range params {
		if (p.Name == "_format" || p.Name == "_pretty") && p.Value != "" {
			form = append(form, p)
		}
	}
	at := x.base + "/" + q.Type + "?"
	b := bundle{kind: "searchset", total: page.Total, self: link(at+q.Encode(), form)}
	if q.Count == 0 {
		return b // the total alone: http://hl7.org/fhir/R4/search.html#count
	}
	if page.Next != nil {
		next := q
		next.After = page.Next
		b.next = link(at+next.Encode(), form)
	}
	b.entries = make([]entry, len(page.Resources))
	for i, r := range page.Resources {
		b.entries[i] = entry{fullURL: x.base + "/" + r.Type + "/" + r.ID, resource: r}
	}
	if len(issues) > 0 {
		b.outcome = fhir.OperationOutcome(issues...)
	}
	return b
}

// json is the bundle, in one allocation that is large enough.
func (b bundle) json() []byte {
	size := 512 + len(b.self) + len(b.next) + len(b.outcome)
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
	if b.next != "" {
		out = append(out, `,{"relation":"next","url":`...)
		out = quote(out, b.next)
		out = append(out, '}')
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
	return append(out, `,"search":{"mode":"match"}}`...)
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
