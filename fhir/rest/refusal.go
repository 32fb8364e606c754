package rest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

// refused is an error with everything of its response but the body.
type refused struct {
	reply  reply
	issues []fhir.Issue
}

func refuse(status int, code, message string) *refused {
	return &refused{reply{status: status}, []fhir.Issue{{Severity: fhir.SevError, Code: code, Message: message}}}
}

func (r *refused) Error() string { return r.issues[0].Error() }

func (r *refused) fix(how string) *refused {
	r.issues[0].Fix = how
	return r
}

func (r *refused) spec(url string) *refused {
	r.issues[0].Spec = url
	return r
}

func (r *refused) at(path string) *refused {
	r.issues[0].Path = path
	return r
}

// bad is a 400 with the issues of err.
func bad(err error) *refused {
	return &refused{reply{status: http.StatusBadRequest}, fhir.IssuesOf(err)}
}

// refusal is the response to an error. Only what we know to be free of patient data
// is told: http://hl7.org/fhir/R4/http.html#Status-Codes
func (s *server) refusal(x *exchange, err error) reply {
	r := s.refused(x, err)
	out := r.reply
	out.body = fhir.OperationOutcome(r.issues...)
	return out
}

func (s *server) refused(x *exchange, err error) *refused {
	if r, ok := errors.AsType[*refused](err); ok {
		return r
	}
	return s.fromStore(x, err)
}

// statusClientGone is what the log says of a client that went away; nobody receives it.
const statusClientGone = 499

func (s *server) fromStore(x *exchange, err error) *refused {
	if gone, ok := errors.AsType[*store.GoneError](err); ok {
		r := refuse(http.StatusGone, fhir.CodeDeleted, "the resource was deleted").
			fix("its history has the earlier versions; PUT to its URL brings it back").
			spec("http://hl7.org/fhir/R4/http.html#read")
		r.reply = r.reply.of(gone.Resource)
		return r
	}
	if e, ok := errors.AsType[*fhir.Error](err); ok { // the store says what a client can mend: a chain that leads too far
		r := bad(e)
		if len(e.Issues) > 0 && e.Issues[0].Code == fhir.CodeTooLong { // than the store can keep
			r.reply.status = http.StatusRequestEntityTooLarge
		}
		return r
	}
	switch {
	case errors.Is(err, store.ErrGone):
		return refuse(http.StatusGone, fhir.CodeDeleted, "the resource was deleted").
			fix("its history has the earlier versions; PUT to its URL brings it back")
	case errors.Is(err, store.ErrNotFound):
		return refuse(http.StatusNotFound, fhir.CodeNotFound, "there is no such resource or version").
			fix("search for it: GET /fhir/[type]?identifier=[system]|[value]")
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrMatched):
		return conflict(x, err)
	case errors.Is(err, context.Canceled) && x.Request.Context().Err() != nil:
		return refuse(statusClientGone, fhir.CodeTransient, "the client ended the request")
	case errors.Is(err, store.ErrUnavailable):
		s.log.LogAttrs(x.Context(), slog.LevelWarn, "the store cannot be reached", slog.String("request", x.id), slog.Any("error", err))
		return unavailable("the server cannot reach its store").
			fix("try again; a write may have been done all the same, so look for it first")
	case errors.Is(err, context.DeadlineExceeded):
		return unavailable("the request took longer than it may").
			fix("search for less, or try again; a write may have been done all the same, so look for it first")
	case errors.Is(err, store.ErrClosed):
		return unavailable("the server is shutting down").fix("try again")
	}
	s.log.LogAttrs(x.Context(), slog.LevelError, "request failed", slog.String("request", x.id), slog.Any("error", err))
	return refuse(http.StatusInternalServerError, fhir.CodeException, "the server failed to do this").
		fix("tell the operator the X-Request-Id of the response")
}

func unavailable(message string) *refused {
	r := refuse(http.StatusServiceUnavailable, fhir.CodeTransient, message)
	r.reply = r.reply.with("Retry-After", "1")
	return r
}

// conflict is 412 if the client stated what it expected, else 409: the race was lost
// without one. http://hl7.org/fhir/R4/http.html#concurrency
func conflict(x *exchange, err error) *refused {
	if x.Header.Get("If-Match") == "" && x.Header.Get("If-None-Match") == "" {
		return refuse(http.StatusConflict, fhir.CodeConflict, "another write of this resource came first").
			fix("read the resource, and try again").spec("http://hl7.org/fhir/R4/http.html#concurrency")
	}
	r := refuse(http.StatusPreconditionFailed, fhir.CodeConflict, "the resource is not in the version that the request expects").
		fix("read the resource, apply the change to what is there now, and send its version in If-Match").
		spec("http://hl7.org/fhir/R4/http.html#concurrency")
	if c, ok := errors.AsType[*store.ConflictError](err); ok {
		r.reply.version = c.Current
	}
	return r
}
