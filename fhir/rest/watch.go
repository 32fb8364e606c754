package rest

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/kiln-health/kiln/fhir"
)

const requestIDHeader = "X-Request-Id"

// observe gives every request an id, and logs and counts it when it is done. Path and
// query stay out: they name patients.
func (s *server) observe(c *gin.Context) {
	id := c.GetHeader(requestIDHeader)
	if !validRequestID(id) {
		id = s.NewID()
	}
	c.Header(requestIDHeader, id)
	begin := s.Now()
	c.Next()
	took := s.Now().Sub(begin)

	route, method := c.FullPath(), c.Request.Method
	if route == "" {
		route = "unmatched"
	}
	if !slices.Contains(knownMethods, method) {
		method = "other"
	}
	s.log.LogAttrs(c.Request.Context(), slog.LevelInfo, "request",
		slog.String("route", route),
		slog.String("method", method),
		slog.Int("status", c.Writer.Status()),
		slog.Duration("took", took),
		slog.String("request", id))
	if s.Observe != nil {
		s.Observe(route, method, c.Writer.Status(), took)
	}
}

// recover turns a panic into a 500. The panic's value may hold anything, so only the
// runtime's own words and the stack are logged.
func (s *server) recover(c *gin.Context) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler {
			panic(v) // net/http's own signal
		}
		what := fmt.Sprintf("a %T", v)
		if e, ok := v.(runtime.Error); ok {
			what = e.Error()
		}
		s.log.LogAttrs(c.Request.Context(), slog.LevelError, "panic",
			slog.String("route", c.FullPath()),
			slog.String("request", c.Writer.Header().Get(requestIDHeader)),
			slog.String("panic", what),
			slog.String("stack", string(debug.Stack())))
		if c.Writer.Written() {
			return
		}
		s.send(c.Writer, &exchange{Request: c.Request}, reply{
			status: http.StatusInternalServerError,
			body: fhir.OperationOutcome(fhir.Issue{
				Severity: fhir.Fatal, Code: fhir.CodeException, Message: "the server failed to do this",
				Fix: "tell the operator the X-Request-Id of the response",
			}),
		})
	}()
	c.Next()
}

// validRequestID reports whether a client's id is fit for a header and a log: 1 to 64
// of A-Z a-z 0-9 - _ . and :.
func validRequestID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for i := range len(id) {
		c := id[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == ':':
		default:
			return false
		}
	}
	return true
}
