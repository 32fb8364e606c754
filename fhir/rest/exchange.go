package rest

import (
	"bytes"
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// exchange is one request on its way through the server.
type exchange struct {
	*http.Request
	id     string        // of the request
	key    fhir.Key      // from the URL; parts that it does not have are ""
	last   string        // of /fhir/[type]/[id]/[last]
	base   string        // external URL of the API, without a slash at the end
	query  []search.Pair // of the URL, in its order
	format format        // of the response
	pretty bool          // the body is indented
	prefer preferences
}

// reply is what an interaction answers.
type reply struct {
	status   int
	body     []byte    // FHIR JSON; nil is none
	media    string    // the media type of a body that is not FHIR, else ""
	wrote    bool      // it may have changed something: that it cannot be shown is no failure
	version  string    // becomes ETag, if set
	modified time.Time // becomes Last-Modified, if set
	header   [][2]string
}

// of adds the headers that belong to a version of a resource.
// http://hl7.org/fhir/R4/http.html#versioning
func (r reply) of(v fhir.Resource) reply {
	r.version, r.modified = v.Version, v.LastUpdated
	return r
}

func (r reply) with(name, value string) reply {
	r.header = append(r.header, [2]string{name, value})
	return r
}

// serve answers the requests of one shape of URL.
func (s *server) serve(p shape) gin.HandlerFunc {
	return func(c *gin.Context) {
		ctx, cancel := context.WithTimeout(c.Request.Context(), s.Timeout)
		defer cancel()
		x := &exchange{
			Request: c.Request.WithContext(ctx),
			id:      c.Writer.Header().Get(requestIDHeader),
			key:     fhir.Key{Type: c.Param("type"), ID: c.Param("id"), Version: c.Param("version")},
			last:    c.Param("compartment"),
		}
		done, err := s.unpack(x)
		defer done()
		var r reply
		if err == nil {
			r, err = s.answer(x, p, c.Param("compartment"))
		}
		if err != nil {
			r = s.refusal(x, err)
		}
		if x.format == inXML && r.media == "" {
			r = r.xml(x)
		}
		s.send(c.Writer, x, r)
	}
}

func (s *server) answer(x *exchange, p shape, last string) (reply, error) {
	a, err := s.admit(x, p, last)
	if err != nil {
		return reply{}, err
	}
	return a.run(x)
}

// admit says what is done for a request of that shape of URL.
func (s *server) admit(x *exchange, p shape, last string) (action, error) {
	if err := s.understand(x); err != nil {
		return action{}, err
	}
	if !compartment(last) && !strings.HasPrefix(last, "$") {
		p = shape{}
	}
	a, ok := p.action(x.Method)
	switch {
	case !slices.Contains(knownMethods, x.Method):
		return action{}, refuse(http.StatusNotImplemented, fhir.CodeNotSupported, "the method of the request is not known here").
			fix("use GET, HEAD, POST, PUT, PATCH or DELETE")
	case p.path == "":
		return action{}, refuse(http.StatusNotFound, fhir.CodeNotFound, "there is nothing at this URL").
			fix("GET /fhir/metadata says what there is; URLs have the form /fhir/[type]/[id], without a slash at the end")
	case strings.HasPrefix(x.key.Type, "$"):
		return action{}, s.noOperation(fhir.Key{})
	case x.key.Type != "" && !slices.Contains(s.types, x.key.Type):
		return action{}, refuse(http.StatusNotFound, fhir.CodeNotSupported, "the resource type of the URL is not served here").
			fix("use one that GET /fhir/metadata lists; names of types begin with a capital").spec("http://hl7.org/fhir/R4/http.html#Status-Codes")
	case strings.HasPrefix(x.key.ID, "$"), p.operation.Name != "" && !p.operates(x.key.Type) && x.key.ID == "":
		return action{}, s.noOperation(fhir.Key{Type: x.key.Type})
	case strings.HasPrefix(last, "$"), p.operation.Name != "" && !p.operates(x.key.Type):
		return action{}, s.noOperation(x.key)
	case x.Method == http.MethodOptions:
		return action{run: p.options}, nil
	}
	if !ok {
		return action{}, p.notAllowed(x.Method)
	}
	if x.key.ID != "" && !fhir.ValidID(x.key.ID) {
		status, code := http.StatusNotFound, fhir.CodeNotFound
		if x.Method == http.MethodPut {
			status, code = http.StatusBadRequest, fhir.CodeValue
		}
		return action{}, refuse(status, code, "the id in the URL cannot be the id of a resource").
			fix("use 1 to 64 of A-Z a-z 0-9 - and .").spec("http://hl7.org/fhir/R4/datatypes.html#id")
	}
	return a, nil
}

// options tells the methods of a URL. http://hl7.org/fhir/R4/http.html#capabilities
func (p shape) options(*exchange) (reply, error) {
	r := reply{status: http.StatusNoContent}.with("Allow", p.allow())
	if _, ok := p.action(http.MethodPatch); ok {
		r = r.with("Accept-Patch", acceptPatch)
	}
	return r, nil
}

// compartment reports whether the last part of /fhir/[type]/[id]/… can be what a
// compartment is searched for: a type or *. http://hl7.org/fhir/R4/http.html#vsearch
func compartment(last string) bool {
	return last == "" || last == "*" || 'A' <= last[0] && last[0] <= 'Z'
}

func (p shape) notAllowed(method string) *refused {
	r := refuse(http.StatusMethodNotAllowed, fhir.CodeNotSupported, method+" is not supported at this URL")
	r.reply = r.reply.with("Allow", p.allow())
	switch {
	case p.path == "/fhir/:type/:id" && method == http.MethodPost:
		return r.fix("PUT to this URL, or POST to the URL of the type")
	}
	return r.fix("use " + p.allow())
}

// understand reads what concerns every interaction: base URL, query, formats, preferences.
func (s *server) understand(x *exchange) error {
	x.prefer = parsePrefer(x.Header.Values("Prefer"))
	// The format comes first: refusals of the rest have it too. _format wins over Accept.
	var acceptable bool
	x.format, acceptable = acceptedFormat(strings.Join(x.Header.Values("Accept"), ","))
	if len(x.URL.RawQuery) > maxQuery {
		return refuse(http.StatusRequestURITooLong, fhir.CodeTooLong, "the query of the URL is longer than "+strconv.Itoa(maxQuery)+" bytes").
			fix("POST the parameters as a form to /fhir/[type]/_search")
	}
	var err error
	if x.query, err = search.Pairs(x.URL.RawQuery); err != nil {
		return bad(err)
	}
	named, err := x.takeFormat(x.query)
	if err != nil {
		return err
	}
	if x.base, err = s.base(x.Request); err != nil {
		return err
	}
	if !named && !acceptable {
		return notAcceptable("Accept")
	}
	return nil
}

// takeFormat reads _format and _pretty, and reports whether there is a _format.
func (x *exchange) takeFormat(params []search.Pair) (named bool, err error) {
	x.pretty = x.pretty || first(params, "_pretty") == "true"
	value := first(params, "_format")
	if value == "" {
		return false, nil
	}
	f, ok := namedFormat(value)
	if !ok {
		return true, notAcceptable("_format")
	}
	x.format = f
	return true, nil
}

// send writes the response. It is called once, with everything known, so that a
// failure never follows the status of a success.
func (s *server) send(w gin.ResponseWriter, x *exchange, r reply) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, no-cache")
	h.Add("Vary", "Accept, Accept-Encoding")
	if r.version != "" {
		h.Set("ETag", etag(r.version))
	}
	if !r.modified.IsZero() {
		h.Set("Last-Modified", r.modified.UTC().Format(http.TimeFormat))
	}
	for _, kv := range r.header {
		h.Set(kv[0], kv[1])
	}
	defer w.WriteHeaderNow() // else gin takes a response without a body for none, and adds its own
	if r.status == http.StatusNoContent || r.status == http.StatusNotModified {
		w.WriteHeader(r.status)
		return
	}
	body := r.body
	if body != nil {
		h.Set("Content-Type", cmp.Or(r.media, x.format.contentType()))
	}
	if x.pretty && body != nil && x.format == inJSON {
		v := jsontext.Value(slices.Clone(body))
		if err := v.Indent(jsontext.WithIndent("  ")); err == nil {
			body = append(v, '\n')
		}
	}
	if len(body) >= minCompressed {
		if c := chosen(s.codings, x.Header.Values("Accept-Encoding")); c != nil {
			var b bytes.Buffer
			if err := c.compress(&b, body); err == nil {
				body = b.Bytes()
				h.Set("Content-Encoding", c.name)
			}
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(r.status)
	if x.Method != http.MethodHead {
		// A client that went away is no failure of ours, and nothing can be told it any more.
		_, _ = w.Write(body)
	}
}

func etag(version string) string { return `W/"` + version + `"` }
