package rest

import (
	"bytes"
	"errors"
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
	none, err := s.noneExist(x)
	if err != nil {
		return reply{}, err
	}
	c, err := s.resource(x)
	if err != nil {
		return reply{}, err
	}
	r, err := s.put(x, c, store.Change{
		Key:   fhir.Key{Type: x.key.Type, ID: s.NewID()},
		JSON:  c.json,
		Terms: c.terms, Parameters: c.by,
		If: store.Condition{Absent: true, None: none},
	})
	if m, ok := errors.AsType[*store.MatchedError](err); ok {
		return x.existing(m.Matches)
	}
	return r, err
}

// existing answers a conditional create whose condition has matches.
// http://hl7.org/fhir/R4/http.html#ccreate
func (x *exchange) existing(matches []fhir.Resource) (reply, error) {
	if len(matches) != 1 {
		return reply{}, many()
	}
	r := reply{status: http.StatusOK}.of(matches[0]).with("Location", x.base+"/"+matches[0].Key.String())
	return x.withBody(r, matches[0], "a resource matches the condition: nothing was created"), nil
}

// update stores the body under the id of the URL, which need not be there yet. Without an
// id in the URL its query says which resource is meant.
// http://hl7.org/fhir/R4/http.html#update http://hl7.org/fhir/R4/http.html#cond-update
func (s *server) update(x *exchange) (reply, error) {
	condition, err := precondition(x)
	if err != nil {
		return reply{}, err
	}
	c, err := s.resource(x)
	if err != nil {
		return reply{}, err
	}
	if x.key.ID == "" {
		return s.updateMatch(x, c, condition)
	}
	if c.id != x.key.ID {
		return reply{}, otherID(x.key.Type)
	}
	return s.put(x, c, store.Change{Key: fhir.Key{Type: x.key.Type, ID: c.id}, JSON: c.json, Terms: c.terms, Parameters: c.by, If: condition})
}

func (s *server) updateMatch(x *exchange, c content, stated store.Condition) (reply, error) {
	q, err := s.condition(x, x.key.Type, x.query)
	if err != nil {
		return reply{}, err
	}
	return again(func() (reply, error) {
		found, err := s.matches(x.Context(), q, 2)
		if err != nil {
			return reply{}, err
		}
		change, err := s.upsert(x.Context(), &q, c.id, stated, found)
		if err != nil {
			return reply{}, err
		}
		change.JSON, change.Terms, change.Parameters = c.json, c.terms, c.by
		r, err := s.put(x, c, change)
		return r, ours(err, stated)
	})
}

func (s *server) put(x *exchange, c content, change store.Change) (reply, error) {
	written, err := s.write(x, change)
	if err != nil {
		return reply{}, s.unfit(change, err)
	}
	r := reply{status: http.StatusOK, wrote: true}.of(written.Resource)
	done := "updated"
	switch {
	case written.Created:
		r.status, done = http.StatusCreated, "created"
		r = r.with("Location", x.base+"/"+written.Key.String())
	case written.Unchanged:
		done = "the content is what was there already: no new version"
	}
	return x.withBody(r, written.Resource, done, c.warnings...), nil
}

// unfit says whether a write failed because of the resource.
func (s *server) unfit(change store.Change, err error) error {
	if change.Delete {
		return err
	}
	if _, unfit := fhir.Stamp(change.JSON, change.Type, change.ID, "1", s.Now()); unfit == nil {
		return err
	}
	return refuse(http.StatusBadRequest, fhir.CodeStructure, "the resource has no place for its version").at(change.Type + ".meta").
		fix("send meta as an object, or leave it out").spec("http://hl7.org/fhir/R4/resource.html#Meta")
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
func (x *exchange) withBody(r reply, written fhir.Resource, done string, warnings ...fhir.Issue) reply {
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
		r.body = written.JSON
		r = r.with("Content-Location", x.base+"/"+written.Key.String())
	}
	return r
}

// delete makes a version that says the resource is gone; its history stays. Without an id
// in the URL its query says which resources are meant.
// http://hl7.org/fhir/R4/http.html#delete
func (s *server) delete(x *exchange) (reply, error) {
	stated, err := precondition(x)
	if err != nil {
		return reply{}, err
	}
	if x.key.ID == "" {
		return s.deleteMatches(x, stated)
	}
	gone, err := s.write(x, store.Change{Key: fhir.Key{Type: x.key.Type, ID: x.key.ID}, Delete: true, If: stated})
	if err != nil {
		return reply{}, err
	}
	return x.deleted(gone.Version, "deleted"), nil
}

func (x *exchange) deleted(version, done string) reply {
	r := reply{status: http.StatusNoContent, version: version}
	if x.prefer.answer == "operationoutcome" {
		r.status = http.StatusOK
		return x.withBody(r, fhir.Resource{}, done)
	}
	return r
}

// deleteMatches deletes what matches the query, all of it or nothing.
// http://hl7.org/fhir/R4/http.html#3.1.0.7.1
func (s *server) deleteMatches(x *exchange, stated store.Condition) (reply, error) {
	q, err := s.condition(x, x.key.Type, x.query)
	if err != nil {
		return reply{}, err
	}
	return again(func() (reply, error) {
		found, err := s.matches(x.Context(), q, s.ConditionalDelete.limit()+1)
		if err != nil {
			return reply{}, err
		}
		changes, err := s.deletions(stated, found)
		if err != nil {
			return reply{}, err
		}
		if len(changes) == 0 {
			return x.deleted("", "nothing matches the condition: nothing was deleted"), nil
		}
		results, err := s.store.Write(x.Context(), changes...)
		if err != nil {
			return reply{}, ours(err, stated)
		}
		version := ""
		if len(results) == 1 {
			version = results[0].Version
		}
		return x.deleted(version, "deleted: "+strconv.Itoa(len(results))), nil
	})
}

// deletions are the changes of a conditional delete.
func (s *server) deletions(stated store.Condition, found []fhir.Resource) ([]store.Change, error) {
	switch limit := s.ConditionalDelete.limit(); {
	case len(found) > limit && limit == 1:
		return nil, many()
	case len(found) > limit:
		return nil, refuse(http.StatusPreconditionFailed, fhir.CodeTooCostly, "more than "+strconv.Itoa(limit)+" resources match the condition").
			fix("add parameters, and delete them in parts")
	case len(found) != 1 && stated != (store.Condition{}):
		return nil, &store.ConflictError{If: stated}
	}
	changes := make([]store.Change, len(found))
	for i, r := range found {
		if err := holds(stated, r); err != nil {
			return nil, err
		}
		changes[i] = store.Change{Key: fhir.Key{Type: r.Type, ID: r.ID}, Delete: true, If: store.Condition{Version: r.Version}}
	}
	return changes, nil
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
