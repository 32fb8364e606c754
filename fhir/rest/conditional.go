package rest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/patch"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// maxAttempts is how often an interaction is decided anew after it lost a race in which the
// client had no part.
const maxAttempts = 10

// lost is a conflict with a condition that the server set for itself: what it had decided
// on has changed meanwhile.
type lost struct{ error }

func (l lost) Unwrap() error { return l.error }

// again does an interaction until it has not lost.
func again(try func() (reply, error)) (r reply, err error) {
	for range maxAttempts {
		r, err = try()
		if _, ok := errors.AsType[lost](err); !ok {
			break
		}
	}
	return r, err
}

// ours marks a failed precondition as one that the client did not state.
func ours(err error, stated store.Condition) error {
	matched := errors.Is(err, store.ErrMatched)
	if matched || errors.Is(err, store.ErrConflict) && stated.Version == "" && !stated.Absent {
		return lost{err}
	}
	return err
}

// condition is the search of a conditional interaction. A parameter that is not known is
// refused whatever the client prefers: without it, the search would find other resources.
// http://hl7.org/fhir/R4/http.html#cond-update
func (s *server) condition(x *exchange, resourceType string, params []search.Pair) (search.Query, error) {
	var kept []search.Pair
	for _, p := range params {
		if p.Name != "_format" && p.Name != "_pretty" {
			kept = append(kept, p)
		}
	}
	q, _, err := s.parameters().Parse(resourceType, kept, search.Options{Handling: search.Strict, BaseURL: x.base, Now: s.Now()})
	if err != nil {
		return q, bad(err)
	}
	if len(q.Where) == 0 {
		return q, refuse(http.StatusBadRequest, fhir.CodeRequired, "the condition has no search parameter, so every resource would match").
			fix("add one, as in identifier=[system]|[value], or use the URL of a resource").spec("http://hl7.org/fhir/R4/http.html#cond-update")
	}
	q.Total = search.TotalNone
	q.After = nil
	return q, nil
}

// conditionIn is the search in a text: a query, with or without the type before it.
func (s *server) conditionIn(x *exchange, resourceType, text string) (search.Query, error) {
	text = strings.TrimPrefix(strings.TrimPrefix(text, resourceType), "?")
	if len(text) > maxQuery {
		return search.Query{}, refuse(http.StatusBadRequest, fhir.CodeTooLong, "the condition is longer than "+strconv.Itoa(maxQuery)+" bytes").fix("use one parameter")
	}
	params, err := search.Pairs(text)
	if err != nil {
		return search.Query{}, bad(err)
	}
	return s.condition(x, resourceType, params)
}

// noneExist is the condition of a conditional create, nil if there is none. FHIR has it in the
// header If-None-Exist. Some clients, fhirpy among them, send a search in the URL, as for an
// update: ignored, it would make a duplicate, and it can mean nothing else.
// http://hl7.org/fhir/R4/http.html#ccreate
func (s *server) noneExist(x *exchange) (*search.Query, error) {
	headers := x.Header.Values("If-None-Exist")
	searched := slices.ContainsFunc(x.query, func(p search.Pair) bool {
		name := named(p.Name)
		_, known := s.parameters().Lookup(x.key.Type, name)
		return known || name == "_has"
	})
	switch {
	case len(headers) > 1, len(headers) == 1 && searched:
		return nil, refuse(http.StatusBadRequest, fhir.CodeInvalid, "there is more than one condition").fix("send one If-None-Exist, and no search in the URL").
			spec("http://hl7.org/fhir/R4/http.html#ccreate")
	case searched:
		q, err := s.condition(x, x.key.Type, x.query)
		return &q, err
	case len(headers) == 0:
		return nil, nil
	}
	q, err := s.conditionIn(x, x.key.Type, strings.TrimSpace(headers[0]))
	return &q, err
}

// matches are the resources that a search finds, limit at most.
func (s *server) matches(ctx context.Context, q search.Query, limit int) ([]fhir.Resource, error) {
	var found []fhir.Resource
	for len(found) < limit {
		q.Count = limit - len(found)
		page, err := s.store.Search(ctx, q)
		if err != nil {
			return nil, err
		}
		found = append(found, page.Resources...)
		if page.Next == nil || len(page.Resources) == 0 {
			break
		}
		q.After = page.Next
	}
	return found, nil
}

// many refuses a condition that has more than one match.
func many() *refused {
	return refuse(http.StatusPreconditionFailed, patch.CodeMultiple, "more than one resource matches the condition").
		fix("add parameters until one resource matches, or use the URL of the resource").spec("http://hl7.org/fhir/R4/http.html#cond-update")
}

// upsert decides what a conditional update does, given what matches its condition: id is
// that of the resource that was sent, "" if it has none.
// http://hl7.org/fhir/R4/http.html#cond-update
func (s *server) upsert(ctx context.Context, q *search.Query, id string, stated store.Condition, found []fhir.Resource) (store.Change, error) {
	switch {
	case len(found) > 1:
		return store.Change{}, many()
	case len(found) == 1 && id != "" && id != found[0].ID:
		return store.Change{}, refuse(http.StatusBadRequest, fhir.CodeValue, "the resource that matches the condition has another id than the one that was sent").at(q.Type + ".id").
			fix("leave the id out, or send that of the resource that matches").spec("http://hl7.org/fhir/R4/http.html#cond-update")
	case len(found) == 1:
		if err := holds(stated, found[0]); err != nil {
			return store.Change{}, err
		}
		return store.Change{Key: fhir.Key{Type: q.Type, ID: found[0].ID}, If: store.Condition{Version: found[0].Version}}, nil
	case stated.Version != "":
		return store.Change{}, &store.ConflictError{Key: fhir.Key{Type: q.Type}, If: stated}
	}
	if id == "" {
		id = s.NewID()
	} else {
		_, err := s.store.Read(ctx, fhir.Key{Type: q.Type, ID: id})
		if err == nil {
			return store.Change{}, refuse(http.StatusConflict, fhir.CodeDuplicate, "no resource matches the condition, but there is one with the id that was sent").at(q.Type + ".id").
				fix("leave the id out to create another resource, or PUT to the URL of that one").spec("http://hl7.org/fhir/R4/http.html#cond-update")
		}
		if !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrGone) {
			return store.Change{}, err
		}
	}
	return store.Change{Key: fhir.Key{Type: q.Type, ID: id}, If: store.Condition{Absent: true, None: q}}, nil
}

// holds says whether a resource is in the state that the client expects.
func holds(stated store.Condition, r fhir.Resource) error {
	if stated.Absent || stated.Version != "" && stated.Version != r.Version {
		return &store.ConflictError{Key: fhir.Key{Type: r.Type, ID: r.ID}, If: stated, Current: r.Version}
	}
	return nil
}

// target is the resource that the URL of a patch or a delete names or finds. A condition
// that finds nothing is ErrNotFound.
func (s *server) target(x *exchange) (fhir.Resource, error) {
	if x.key.ID != "" {
		return s.store.Read(x.Context(), x.key)
	}
	q, err := s.condition(x, x.key.Type, x.query)
	if err != nil {
		return fhir.Resource{}, err
	}
	found, err := s.matches(x.Context(), q, 2)
	switch {
	case err != nil:
		return fhir.Resource{}, err
	case len(found) > 1:
		return fhir.Resource{}, many()
	case len(found) == 0:
		return fhir.Resource{}, store.ErrNotFound
	}
	return found[0], nil
}
