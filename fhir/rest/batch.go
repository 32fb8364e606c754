package rest

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
)

// Limits of a batch or transaction: its entries, and how many bytes its answer has when the
// entries that only ask are no longer answered.
const (
	maxEntries = 5000
	maxAnswer  = 64 << 20
)

const specTransaction = "http://hl7.org/fhir/R4/http.html#transaction"

// sentBundle is what is read of a batch or transaction.
type sentBundle struct {
	Type  string      `json:"type"`
	Entry []sentEntry `json:"entry"`
}

type sentEntry struct {
	FullURL  string         `json:"fullUrl"`
	Resource jsontext.Value `json:"resource"`
	Request  struct {
		Method          string `json:"method"`
		URL             string `json:"url"`
		IfNoneMatch     string `json:"ifNoneMatch"`
		IfModifiedSince string `json:"ifModifiedSince"`
		IfMatch         string `json:"ifMatch"`
		IfNoneExist     string `json:"ifNoneExist"`
	} `json:"request"`
}

// bundle does a batch or a transaction. http://hl7.org/fhir/R4/http.html#transaction
func (s *server) bundle(x *exchange) (reply, error) {
	body, err := s.received(x)
	if err != nil {
		return reply{}, err
	}
	resourceType, _, body, err := fhir.Parse(body)
	if err != nil {
		return reply{}, bad(err)
	}
	if resourceType != "Bundle" {
		return reply{}, refuse(http.StatusBadRequest, fhir.CodeInvalid, "the body is no Bundle").at("resourceType").
			fix("POST a Bundle of type batch or transaction here, and other resources to /fhir/[type]").spec(specTransaction)
	}
	var b sentBundle
	if err := json.Unmarshal(body, &b); err != nil {
		return reply{}, refuse(http.StatusBadRequest, fhir.CodeStructure, "the entries of the Bundle cannot be read").at("Bundle.entry").
			fix("send a list of objects, each with a request, and a resource where the request has one").spec("http://hl7.org/fhir/R4/bundle.html")
	}
	if len(b.Entry) > maxEntries {
		return reply{}, refuse(http.StatusRequestEntityTooLarge, fhir.CodeTooCostly, "the Bundle has more than "+strconv.Itoa(maxEntries)+" entries").at("Bundle.entry").
			fix("send it in parts")
	}
	switch b.Type {
	case "batch":
		return s.batch(x, b.Entry)
	case "transaction":
		return s.transaction(x, b.Entry, body)
	}
	return reply{}, refuse(http.StatusBadRequest, fhir.CodeValue, "the type of the Bundle is neither batch nor transaction").at("Bundle.type").
		fix("use one of them, or POST the Bundle to /fhir/Bundle to store it as it is").spec(specTransaction)
}

// batch does each entry by itself, in their order.
func (s *server) batch(x *exchange, entries []sentEntry) (reply, error) {
	done, size := make([]result, len(entries)), 0
	for i := range entries {
		if err := x.Context().Err(); err != nil {
			return reply{}, err
		}
		y, run, err := s.request(x, &entries[i])
		if err == nil {
			done[i].reply, err = s.ask(y, run, size)
		}
		if err != nil {
			done[i].reply = s.refusal(y, inEntry(i, s.refused(y, err)))
		}
		done[i].method = entries[i].Request.Method
		size += len(done[i].body)
	}
	return respond("batch-response", done), nil
}

// ask answers an entry, given the size of the answers before it.
func (s *server) ask(y *exchange, run func(*exchange) (reply, error), size int) (reply, error) {
	if size > maxAnswer && (y.Method == http.MethodGet || y.Method == http.MethodHead) {
		return reply{}, refuse(http.StatusRequestEntityTooLarge, fhir.CodeTooCostly, "the answers to the entries before have more than "+strconv.Itoa(maxAnswer>>20)+" MiB").
			fix("ask for this with a request of its own")
	}
	return run(y)
}

// request is an entry as a request of its own, and what answers it. The exchange is there
// even if there is an error.
func (s *server) request(x *exchange, e *sentEntry) (*exchange, func(*exchange) (reply, error), error) {
	h := http.Header{"Accept": {formats[inJSON][0]}, "Content-Type": {formats[inJSON][0]}}
	// Of the headers of the Bundle those that tell its host, and what its sender prefers. The
	// first preference counts: without one, the answer to a write has no resource.
	for _, name := range []string{"Forwarded", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix"} {
		if v, ok := x.Header[name]; ok {
			h[name] = v
		}
	}
	h["Prefer"] = append(slices.Clip(x.Header["Prefer"]), "return=minimal")
	for _, c := range [][2]string{
		{"If-Match", e.Request.IfMatch}, {"If-None-Match", e.Request.IfNoneMatch},
		{"If-None-Exist", e.Request.IfNoneExist}, {"If-Modified-Since", e.Request.IfModifiedSince},
	} {
		if c[1] != "" {
			h[c[0]] = []string{c[1]}
		}
	}
	target := strings.TrimPrefix(strings.TrimPrefix(e.Request.URL, x.base+"/"), "/")
	u, err := url.Parse("/fhir/" + target)
	if err != nil || e.Request.Method == "" || u.Path == "/fhir/" && e.Request.Method != http.MethodGet {
		y := *x
		return &y, nil, refuse(http.StatusBadRequest, fhir.CodeValue, "the request of the entry names nothing that an entry may ask for").at("request.url").
			fix("send method and url, as in PUT and [type]/[id]; a Bundle cannot be in a Bundle").spec(specTransaction)
	}
	r := x.Request.WithContext(x.Context())
	r.Method, r.URL, r.Header = e.Request.Method, u, h
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(e.Resource)), int64(len(e.Resource))
	shape, vars := s.shapeOf(u.Path)
	y := &exchange{Request: r, id: x.id, key: fhir.Key{Type: vars["type"], ID: vars["id"], Version: vars["version"]}, last: vars["compartment"]}
	a, err := s.admit(y, shape, vars["compartment"])
	switch {
	case err != nil:
		return y, nil, err
	case a.interaction == "patch" && typeOf(e.Resource) == "Binary":
		p, err := patchIn(e.Resource)
		if err != nil {
			return y, nil, err
		}
		y.Header.Set("Content-Type", jsonPatch)
		y.Body, y.ContentLength = io.NopCloser(bytes.NewReader(p.document)), int64(len(p.document))
	}
	return y, a.run, nil
}

// shapeOf is the shape that the router would choose for a path, and its variables: of
// those that fit, the one in which the first part that differs is no variable.
func (s *server) shapeOf(path string) (best shape, vars map[string]string) {
	parts := strings.Split(path, "/")
	for _, p := range s.shapes {
		if p.fits(parts) && (best.path == "" || p.before(best)) {
			best = p
		}
	}
	vars = make(map[string]string, 3)
	for i, name := range best.parts {
		if name != "" && name[0] == ':' {
			vars[name[1:]] = parts[i]
		}
	}
	return best, vars
}

// before reports whether the router prefers the shape to another that fits the same path.
func (p shape) before(other shape) bool {
	for i, name := range p.parts {
		if of := other.parts[i]; name != of {
			return name == "" || name[0] != ':'
		}
	}
	return false
}

func (p shape) fits(parts []string) bool {
	if len(p.parts) != len(parts) {
		return false
	}
	for i, name := range p.parts {
		if name != parts[i] && (parts[i] == "" || name == "" || name[0] != ':') {
			return false
		}
	}
	return true
}

// inEntry names the entry in the issues of its refusal.
func inEntry(i int, r *refused) *refused {
	entry := "Bundle.entry[" + strconv.Itoa(i) + "]"
	issues := slices.Clone(r.issues)
	for n := range issues {
		path := issues[n].Path
		switch {
		case strings.HasPrefix(path, "Bundle.entry["):
			continue
		case path == "resourceType":
			path = entry + ".resource"
		case strings.HasPrefix(path, "request"), path == "fullUrl":
			path = entry + "." + path
		case path != "" && path[0] >= 'A' && path[0] <= 'Z':
			_, rest, _ := strings.Cut(path, ".")
			path = strings.TrimSuffix(entry+".resource."+rest, ".")
		default:
			path = entry
		}
		issues[n].Path = path
	}
	return &refused{r.reply, issues}
}

// result is what became of an entry.
type result struct {
	reply
	method  string
	fullURL string // of the resource in the body
}

// respond is the Bundle that answers a batch or transaction.
func respond(kind string, done []result) reply {
	size := 64
	for _, r := range done {
		size += 256 + len(r.body)
	}
	out := append(make([]byte, 0, size), `{"resourceType":"Bundle","type":"`+kind+`"`...)
	for i, r := range done {
		if i == 0 {
			out = append(out, `,"entry":[`...)
		} else {
			out = append(out, ',')
		}
		out = r.append(out)
	}
	if len(done) > 0 {
		out = append(out, ']')
	}
	return reply{status: http.StatusOK, wrote: true, body: append(out, '}')}
}

func (r *result) append(out []byte) []byte {
	out = append(out, '{')
	isOutcome := bytes.HasPrefix(r.body, []byte(`{"resourceType":"OperationOutcome"`))
	if r.body != nil && r.media == "" && !isOutcome && r.method != http.MethodHead {
		if r.fullURL != "" {
			out = quote(append(out, `"fullUrl":`...), r.fullURL)
			out = append(out, ',')
		}
		out = append(out, `"resource":`...)
		out = append(out, r.body...)
		out = append(out, ',')
	}
	out = append(out, `"response":{"status":"`...)
	out = strconv.AppendInt(out, int64(r.status), 10)
	out = append(out, (" " + http.StatusText(r.status) + `"`)...)
	for _, kv := range r.header {
		if kv[0] == "Location" {
			out = quote(append(out, `,"location":`...), kv[1])
		}
	}
	if r.version != "" {
		out = quote(append(out, `,"etag":`...), etag(r.version))
	}
	if !r.modified.IsZero() {
		out = append(out, `,"lastModified":"`...)
		out = r.modified.UTC().AppendFormat(out, fhir.InstantFormat)
		out = append(out, '"')
	}
	if isOutcome {
		out = append(out, `,"outcome":`...)
		out = append(out, r.body...)
	}
	return append(out, `}}`...)
}
