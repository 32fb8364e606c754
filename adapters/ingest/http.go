package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

// HTTPOptions of the listener. The zero value is usable.
type HTTPOptions struct {
	// MaxBody is the largest payload in bytes; DefaultMaxBody if 0.
	MaxBody int64
	// Observe is called for each request with its route, method, status and duration; it may be nil.
	Observe func(route, method string, status int, took time.Duration)
	// Logger gets failures; slog.Default if nil.
	Logger *slog.Logger
}

// DefaultMaxBody is 64 MiB: years of a CGM.
const DefaultMaxBody = 64 << 20

// quarantinePage is how many payloads a page of the quarantine lists.
const quarantinePage = 100

// Handler is the HTTP listener, to be mounted at /ingest:
//
//	POST   /ingest                          a payload, recognised by its content
//	POST   /ingest/{adapter}                a payload for that adapter
//	GET    /ingest/quarantine               payloads in quarantine, oldest first; ?after= continues
//	GET    /ingest/quarantine/{id}          one of them, with its issues
//	GET    /ingest/quarantine/{id}/$payload its content
//	POST   /ingest/quarantine/{id}/$replay  convert it again
//	DELETE /ingest/quarantine/{id}          discard it
//
// A payload may say ?source=NAME, or ?zone= and ?patient=system|value. The answer is 200
// with a Receipt once the store holds everything; 422 with an OperationOutcome when the
// payload is in quarantine, and Location says where. Every other error is an
// OperationOutcome too: 400, 404, 413, 415, 503.
func Handler(p *Pipeline, o HTTPOptions) http.Handler {
	if o.MaxBody == 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	gin.SetMode(gin.ReleaseMode)
	l := &listener{p, o}
	g := gin.New()
	g.HandleMethodNotAllowed, g.RedirectTrailingSlash = true, false
	g.Use(l.observe, l.recover)
	g.NoRoute(func(c *gin.Context) {
		fail(c, http.StatusNotFound, fhir.Errorf(fhir.CodeNotFound, "", "there is nothing at this path").WithFix("POST a payload to /ingest or /ingest/{adapter}; GET /ingest/quarantine"))
	})
	g.NoMethod(func(c *gin.Context) {
		fail(c, http.StatusMethodNotAllowed, fhir.Errorf(fhir.CodeNotSupported, "", "the method is not allowed here").WithFix("see the Allow header"))
	})
	g.POST("/ingest", l.accept)
	g.POST("/ingest/:adapter", l.accept)
	g.GET("/ingest/quarantine", l.list)
	g.GET("/ingest/quarantine/:id", l.show)
	g.DELETE("/ingest/quarantine/:id", l.discard)
	g.GET("/ingest/quarantine/:id/:operation", l.payload)
	g.POST("/ingest/quarantine/:id/:operation", l.replay)
	return g
}

type listener struct {
	p *Pipeline
	o HTTPOptions
}

func (l *listener) observe(c *gin.Context) {
	begin := time.Now()
	c.Next()
	if l.o.Observe != nil {
		l.o.Observe(c.FullPath(), c.Request.Method, c.Writer.Status(), time.Since(begin))
	}
}

func (l *listener) recover(c *gin.Context) {
	defer func() {
		if r := recover(); r != nil {
			l.o.Logger.Error("a request panicked", "route", c.FullPath(), "stack", string(debug.Stack()))
			fail(c, http.StatusInternalServerError, fhir.Errorf(fhir.CodeException, "", "the server failed on this request").WithFix("report it; the log of the server has the details"))
		}
	}()
	c.Next()
}

// origin reads the query. A parameter that means nothing here is an error: a mistyped
// zone must not become a reading at the wrong hour.
func origin(c *gin.Context, names ...string) (Origin, error) {
	values, err := url.ParseQuery(c.Request.URL.RawQuery)
	if err != nil {
		return Origin{}, fhir.Errorf(fhir.CodeInvalid, "", "the query of the URL is malformed").WithFix("percent-encode its values")
	}
	from := Origin{Adapter: c.Param("adapter")}
	for name, v := range values {
		if !slices.Contains(names, name) {
			return Origin{}, fhir.Errorf(fhir.CodeNotSupported, "", "there is no such query parameter").WithFix(fmt.Sprintf("use %v", names))
		}
		if len(v) != 1 {
			return Origin{}, fhir.Errorf(fhir.CodeInvalid, name, "the query parameter is given more than once").WithFix("give it once")
		}
		switch name {
		case "adapter":
			from.Adapter = v[0]
		case "source":
			from.Source = v[0]
		case "zone":
			from.Zone = v[0]
		case "patient":
			from.Patient = v[0]
		}
	}
	return from, nil
}

func (l *listener) accept(c *gin.Context) {
	from, err := origin(c, "source", "zone", "patient")
	if err != nil {
		l.answer(c, Receipt{}, err)
		return
	}
	mediaType, ok := l.mediaType(c, from.Adapter)
	if !ok {
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, l.o.MaxBody))
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		fail(c, http.StatusRequestEntityTooLarge, fhir.Errorf(fhir.CodeTooLong, "", "the payload is larger than %d bytes", tooLarge.Limit).WithFix("split it, or raise limits.payload in the configuration"))
		return
	}
	if err != nil {
		fail(c, http.StatusBadRequest, fhir.Errorf(fhir.CodeIncomplete, "", "the payload did not arrive whole").WithFix("send it again"))
		return
	}
	if len(body) == 0 {
		fail(c, http.StatusBadRequest, fhir.Errorf(fhir.CodeRequired, "", "the payload is empty").WithFix("send the payload as the body of the request"))
		return
	}
	r, err := l.p.Accept(c.Request.Context(), from, mediaType, body)
	l.answer(c, r, err)
}

// mediaType is what the sender states, or "" if that says nothing: no type at all,
// application/octet-stream without parameters, text/plain, or the form type that curl sends by itself.
func (l *listener) mediaType(c *gin.Context, adapter string) (string, bool) {
	stated := c.GetHeader("Content-Type")
	if stated == "" {
		return "", true
	}
	base, parameters, err := mime.ParseMediaType(stated)
	if err != nil {
		fail(c, http.StatusUnsupportedMediaType, fhir.Errorf(fhir.CodeNotSupported, "Content-Type", "the media type is malformed").WithFix("send for instance Content-Type: text/csv"))
		return "", false
	}
	if len(parameters) == 0 && slices.Contains([]string{"application/octet-stream", "text/plain", "application/x-www-form-urlencoded"}, base) {
		return "", true
	}
	var known []string
	for _, a := range l.p.o.Registry.All() {
		if m := a.Manifest(); adapter == "" || adapter == m.Name {
			known = append(known, m.MediaTypes...)
		}
	}
	if !slices.Contains(known, base) && len(known) > 0 {
		slices.Sort(known)
		fail(c, http.StatusUnsupportedMediaType, fhir.Errorf(fhir.CodeNotSupported, "Content-Type", "the adapter takes no payload of this media type").WithFix(fmt.Sprintf("send one of %v, or application/octet-stream", slices.Compact(known))))
		return "", false
	}
	return stated, true
}

func (l *listener) list(c *gin.Context) {
	list, err := l.p.Quarantine(c.Request.Context(), c.Query("after"), quarantinePage+1)
	if err != nil {
		l.answer(c, Receipt{}, err)
		return
	}
	page := struct {
		Payloads []Held `json:"payloads"`
		Next     string `json:"next,omitempty"`
	}{Payloads: list}
	if len(list) > quarantinePage {
		page.Payloads = list[:quarantinePage]
		page.Next = "/ingest/quarantine?after=" + url.QueryEscape(list[quarantinePage-1].ID)
	}
	reply(c, http.StatusOK, page)
}

func (l *listener) show(c *gin.Context) {
	held, err := l.p.Held(c.Request.Context(), c.Param("id"))
	if err != nil {
		l.answer(c, Receipt{}, err)
		return
	}
	reply(c, http.StatusOK, held)
}

func (l *listener) payload(c *gin.Context) {
	if c.Param("operation") != "$payload" {
		fail(c, http.StatusNotFound, fhir.Errorf(fhir.CodeNotFound, "", "there is no such operation").WithFix("GET …/$payload"))
		return
	}
	body, mediaType, err := l.p.Body(c.Request.Context(), c.Param("id"))
	if err != nil {
		l.answer(c, Receipt{}, err)
		return
	}
	if mediaType == "" {
		mediaType = "application/octet-stream"
	}
	c.Header("X-Content-Type-Options", "nosniff")
	c.Header("Content-Disposition", "attachment")
	c.Data(http.StatusOK, mediaType, body)
}

func (l *listener) replay(c *gin.Context) {
	if c.Param("operation") != "$replay" {
		fail(c, http.StatusNotFound, fhir.Errorf(fhir.CodeNotFound, "", "there is no such operation").WithFix("POST …/$replay"))
		return
	}
	from, err := origin(c, "adapter", "source", "zone", "patient")
	if err != nil {
		l.answer(c, Receipt{}, err)
		return
	}
	r, err := l.p.Replay(c.Request.Context(), c.Param("id"), from)
	l.answer(c, r, err)
}

func (l *listener) discard(c *gin.Context) {
	if err := l.p.Discard(c.Request.Context(), c.Param("id")); err != nil {
		l.answer(c, Receipt{}, err)
		return
	}
	c.Status(http.StatusNoContent)
}

// answer is the receipt, or the error as its status and OperationOutcome.
func (l *listener) answer(c *gin.Context, r Receipt, err error) {
	if err == nil {
		reply(c, http.StatusOK, r)
		return
	}
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		at := "/ingest/quarantine/" + refused.Quarantine
		c.Header("Location", at)
		kept := fhir.Issue{Severity: fhir.Information, Code: fhir.CodeInformational, Message: "the payload is kept in quarantine at " + at, Fix: "mend the cause, then POST " + at + "/$replay"}
		fail(c, http.StatusUnprocessableEntity, &fhir.Error{Issues: append(slices.Clone(refused.Err.Issues), kept)})
		return
	}
	if e, ok := errors.AsType[*fhir.Error](err); ok {
		status := http.StatusBadRequest
		if e.Issues[0].Code == fhir.CodeNotFound && e.Issues[0].Path == "adapter" {
			status = http.StatusNotFound
		}
		fail(c, status, e)
		return
	}
	if errors.Is(err, store.ErrNotFound) {
		fail(c, http.StatusNotFound, fhir.Errorf(fhir.CodeNotFound, "", "there is no payload of that id in quarantine").WithFix("GET /ingest/quarantine lists them"))
		return
	}
	l.o.Logger.Error("a payload could not be dealt with", "route", c.FullPath(), "error", err)
	c.Header("Retry-After", strconv.Itoa(5))
	fail(c, http.StatusServiceUnavailable, fhir.Errorf(fhir.CodeTransient, "", "the store did not take the payload").WithFix("send it again; the same payload is never stored twice"))
}

func reply(c *gin.Context, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		fail(c, http.StatusInternalServerError, fhir.Errorf(fhir.CodeException, "", "the answer cannot be written"))
		return
	}
	c.Data(status, "application/json", append(b, '\n'))
}

func fail(c *gin.Context, status int, e *fhir.Error) {
	c.Abort()
	c.Data(status, "application/fhir+json; charset=utf-8", append(fhir.OperationOutcome(e.Issues...), '\n'))
}
