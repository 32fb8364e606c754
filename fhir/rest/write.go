package rest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/xmlformat"
	"github.com/kiln-health/kiln/store"
)

// create stores the body under a new id. http://hl7.org/fhir/R4/http.html#create
func (s *server) create(x *exchange) (reply, error) {
	if x.Header.Get("If-None-Exist") != "" {
		// Ignoring it would make the duplicate that the client wants to avoid.
		return reply{}, notImplemented("conditional create")
	}
	c, err := s.resource(x)
	if err != nil {
		return reply{}, err
	}
	return s.put(x, c, store.Change{
		Key:  fhir.Key{Type: x.key.Type, ID: s.NewID()},
		JSON: c.json,
		If:   store.Condition{Absent: true},
	})
}

// update stores the body under the id of the URL, which need not be there yet.
// http://hl7.org/fhir/R4/http.html#update
func (s *server) update(x *exchange) (reply, error) {
	condition, err := precondition(x)
	if err != nil {
		return reply{}, err
	}
	c, err := s.resource(x)
	if err != nil {
		return reply{}, err
	}
	if c.id != x.key.ID {
		return reply{}, otherID(x.key.Type)
	}
	return s.put(x, c, store.Change{Key: fhir.Key{Type: x.key.Type, ID: c.id}, JSON: c.json, If: condition})
}

func (s *server) put(x *exchange, c content, change store.Change) (reply, error) {
	written, err := s.write(x, change)
	if err != nil {
		if _, unfit := fhir.Stamp(change.JSON, change.Type, change.ID, "1", s.Now()); unfit != nil {
			return reply{}, refuse(http.StatusBadRequest, fhir.CodeStructure, "the resource has no place for its version").at(change.Type + ".meta").
				fix("send meta as an object, or leave it out").spec("http://hl7.org/fhir/R4/resource.html#Meta")
		}
		return reply{}, err
	}
	r := reply{status: http.StatusOK}.of(written.Resource)
	done := "updated"
	switch {
	case written.Created:
		r.status, done = http.StatusCreated, "created"
		r = r.with("Location", x.base+"/"+written.Key.String())
	case written.Unchanged:
		done = "the content is what was there already: no new version"
	}
	return x.withBody(r, written.JSON, done, c.warnings...), nil
}

func (s *server) write(x *exchange, change store.Change) (store.Result, error) {
	results, err := s.store.Write(x.Context(), change)
	if err != nil {
		return store.Result{}, err
	}
	if len(results) != 1 {
		return store.Result{}, fmt.Errorf("rest: the store gave %d results of one change", len(results))
	}
	return results[0], nil
}

// withBody gives a write the body that the client prefers. Warnings are told to one that
// prefers an OperationOutcome.
// http://hl7.org/fhir/R4/http.html#ops
func (x *exchange) withBody(r reply, representation []byte, done string, warnings ...fhir.Issue) reply {
	if x.prefer.answer != "" {
		applied := x.prefer.answer
		if applied == "operationoutcome" {
			applied = "OperationOutcome"
		}
		r = r.with("Preference-Applied", "return="+applied)
	}
	switch x.prefer.answer {
	case "minimal":
	case "operationoutcome":
		issues := []fhir.Issue{{Severity: fhir.Information, Code: fhir.CodeInformational, Message: done}}
		r.body = fhir.OperationOutcome(append(issues, warnings...)...)
	default:
		r.body = representation
	}
	return r
}

// delete makes a version that says the resource is gone; its history stays.
// http://hl7.org/fhir/R4/http.html#delete
func (s *server) delete(x *exchange) (reply, error) {
	condition, err := precondition(x)
	if err != nil {
		return reply{}, err
	}
	gone, err := s.write(x, store.Change{Key: fhir.Key{Type: x.key.Type, ID: x.key.ID}, Delete: true, If: condition})
	if err != nil {
		return reply{}, err
	}
	r := reply{status: http.StatusNoContent, version: gone.Version}
	if x.prefer.answer == "operationoutcome" {
		r.status = http.StatusOK
		return x.withBody(r, nil, "deleted"), nil
	}
	return r, nil
}

// precondition reads If-Match, and If-None-Match: * which asks for a resource that is
// not there. What cannot be honoured is refused: a precondition that is ignored loses
// somebody's update. http://hl7.org/fhir/R4/http.html#concurrency
func precondition(x *exchange) (store.Condition, error) {
	match, none := x.Header.Values("If-Match"), x.Header.Values("If-None-Match")
	switch {
	case x.Header.Get("If-Unmodified-Since") != "":
		return store.Condition{}, badPrecondition("If-Unmodified-Since is not supported on a write")
	case len(match) > 0 && len(none) > 0:
		return store.Condition{}, badPrecondition("If-Match and If-None-Match contradict each other")
	case len(match) > 0:
		version, ok := versionOf(match)
		if !ok {
			return store.Condition{}, badPrecondition("If-Match must hold one version")
		}
		return store.Condition{Version: version}, nil
	case len(none) > 0:
		if len(none) != 1 || strings.TrimSpace(none[0]) != "*" {
			return store.Condition{}, badPrecondition("on a write, If-None-Match can only be *")
		}
		return store.Condition{Absent: true}, nil
	}
	return store.Condition{}, nil
}

func badPrecondition(message string) *refused {
	return refuse(http.StatusBadRequest, fhir.CodeInvalid, message).
		fix(`send If-Match: W/"[versionId]" with the ETag of the version that was read`).
		spec("http://hl7.org/fhir/R4/http.html#concurrency")
}

// versionOf is the version in an If-Match of one entity tag: W/"3", or "3".
func versionOf(headers []string) (string, bool) {
	tag := strings.TrimPrefix(strings.TrimSpace(headers[0]), "W/")
	if len(headers) > 1 || len(tag) < 3 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return "", false
	}
	version := tag[1 : len(tag)-1]
	return version, fhir.ValidID(version)
}

// received is the body, as JSON.
func (s *server) received(x *exchange) ([]byte, error) {
	sent := inJSON
	if x.ContentLength != 0 {
		var err error
		if sent, err = x.sends(); err != nil {
			return nil, err
		}
	}
	body, err := readBody(x, s.MaxBody)
	if err != nil || sent == inJSON {
		return body, err
	}
	if body, err = xmlformat.ToJSON(body); err != nil {
		return nil, bad(err)
	}
	return body, nil
}

// readBody reads at most limit bytes.
func readBody(x *exchange, limit int64) ([]byte, error) {
	if x.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	// The announced length is only believed as far as it costs little.
	buf := bytes.NewBuffer(make([]byte, 0, bytes.MinRead+min(max(x.ContentLength, 0), 64<<10)))
	_, err := buf.ReadFrom(io.LimitReader(x.Body, limit+1))
	if int64(buf.Len()) > limit {
		return nil, tooLarge(limit)
	}
	if err != nil {
		return nil, refuse(http.StatusBadRequest, fhir.CodeStructure, "the body ended before it was complete").fix("send it again")
	}
	return buf.Bytes(), nil
}

func tooLarge(limit int64) *refused {
	return refuse(http.StatusRequestEntityTooLarge, fhir.CodeTooLong, "the body is larger than "+strconv.FormatInt(limit, 10)+" bytes").
		fix("send less at once, or raise the limit of the server")
}
