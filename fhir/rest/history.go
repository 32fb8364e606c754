package rest

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// history lists the versions of a resource, of a type, or of all types, newest first.
// http://hl7.org/fhir/R4/http.html#history
func (s *server) history(x *exchange) (reply, error) {
	q, at, used, err := s.historyQuery(x)
	if err != nil {
		return reply{}, err
	}
	if first(x.query, "_summary") == "count" {
		q.Count = 0
	}
	var wanted part
	if q.Count > 0 {
		if wanted, err = partOf(x.query); err != nil {
			return reply{}, err
		}
	}
	count := q.Count
	q.Count = max(1, count) // 0 asks for the total
	var page store.Page
	if at == nil {
		page, err = s.store.History(x.Context(), q)
	} else {
		page, err = s.currentIn(x.Context(), q, *at)
	}
	if errors.Is(err, store.ErrNotFound) && q.Before != "" {
		return reply{}, badCursor()
	}
	if err != nil {
		return reply{}, err
	}
	self := x.base
	for _, part := range []string{x.key.Type, x.key.ID, "_history"} {
		if part != "" {
			self += "/" + part
		}
	}
	b := bundle{kind: "history", total: -1, self: link(self, used)}
	if q.Since.IsZero() && at == nil {
		b.total = page.Total
	}
	if count == 0 {
		return x.page(b), nil
	}
	if page.Next != nil {
		rest := slices.DeleteFunc(slices.Clone(used), func(p search.Pair) bool { return p.Name == search.CursorParam })
		b.next = link(self, append(rest, search.Pair{Name: search.CursorParam, Value: historyCursor(x.key, first(used, "_at"), page.Next.ID)}))
	}
	b.entries, err = s.versions(x, wanted, page.Resources)
	return x.page(b), err
}

// An interval is the time from one moment to another, which is not part of it.
type interval struct{ from, to time.Time }

// maxPassed is how many later versions are read to find those of an interval.
const maxPassed = 10_000

// currentIn is the page of the versions of a resource that were current at some time of an interval:
// those that were written in it, and the one that was current when it began, unless _since leaves
// that out. A deletion counts as the version that it is. A version that was replaced in the
// millisecond of its lastUpdated was current then. Time does not run backwards within a resource,
// so that these versions follow each other, and the one that a next link promises is one of them.
func (s *server) currentIn(ctx context.Context, q store.HistoryQuery, at interval) (store.Page, error) {
	page := store.Page{Total: -1}
	most, passed, size := q.Count, 0, 0
	var replaced time.Time // when the version at hand was
	q.Count = max(q.Count+1, search.DefaultCount)
	for {
		some, err := s.store.History(ctx, q)
		if err != nil {
			return store.Page{}, err
		}
		for _, v := range some.Resources {
			if !v.LastUpdated.Before(at.to) {
				if passed++; passed > maxPassed {
					return store.Page{}, tooCostly("there are more than "+strconv.Itoa(maxPassed)+" versions after _at", "use _since and _count, and read the version that was current").spec(specHistory)
				}
				continue
			}
			before := v.LastUpdated.Before(at.from)
			if before && replaced.Equal(at.from) {
				return page, nil
			}
			if n := len(page.Resources); n == most || n > 0 && size+len(v.JSON) > maxAnswer {
				page.Next = &search.Cursor{ID: page.Resources[n-1].Version}
				return page, nil
			}
			page.Resources = append(page.Resources, v)
			size += len(v.JSON)
			if before {
				return page, nil
			}
			replaced = v.LastUpdated
		}
		if some.Next == nil {
			return page, nil
		}
		q.Before = some.Next.ID
	}
}

const specHistory = "http://hl7.org/fhir/R4/http.html#history"

// versions are entries of a history, with the wanted part of each. Whether one made its resource is told by the version
// before it, which is on the page or is asked for.
func (s *server) versions(x *exchange, wanted part, page []fhir.Resource) ([]entry, error) {
	entries := make([]entry, len(page))
	earlier := map[fhir.Key]*fhir.Resource{}
	for i := len(page) - 1; i >= 0; i-- {
		v := page[i]
		key := fhir.Key{Type: v.Type, ID: v.ID}
		before := earlier[key]
		earlier[key] = &page[i]
		entries[i] = entry{fullURL: x.base + "/" + key.String(), resource: v}
		if v.Deleted {
			continue
		}
		var err error
		if entries[i].resource.JSON, err = wanted.of(v); err != nil {
			return nil, err
		}
		if before == nil {
			older, err := s.store.History(x.Context(), store.HistoryQuery{Type: v.Type, ID: v.ID, Count: 1, Before: v.Version})
			if err != nil {
				return nil, err
			}
			if len(older.Resources) > 0 {
				before = &older.Resources[0]
			}
		}
		entries[i].created = before == nil || before.Deleted
	}
	return entries, nil
}

// historyQuery reads the parameters of a history, and which of them were used. Without _at the interval is nil.
func (s *server) historyQuery(x *exchange) (q store.HistoryQuery, at *interval, used []search.Pair, err error) {
	q = store.HistoryQuery{Type: x.key.Type, ID: x.key.ID, Count: search.DefaultCount}
	for _, p := range x.query {
		if p.Value == "" {
			continue // http://hl7.org/fhir/R4/search.html#errors: an empty parameter is not an error
		}
		switch p.Name {
		case "_count":
			n, err := strconv.Atoi(p.Value)
			if err != nil || n < 0 {
				return q, nil, nil, badParameter("_count", "a whole number, 0 or more")
			}
			q.Count = min(n, search.MaxCount)
			p.Value = strconv.Itoa(q.Count)
		case "_since":
			// A + that was not percent-encoded has become a blank.
			if q.Since, err = time.Parse(time.RFC3339Nano, strings.ReplaceAll(p.Value, " ", "+")); err != nil {
				return q, nil, nil, badParameter("_since", "an instant, as in 2024-05-01T10:00:00Z")
			}
		case search.CursorParam:
			if q.Before, err = historyBefore(x.key, first(x.query, "_at"), p.Value); err != nil {
				return q, nil, nil, err
			}
		case "_format", "_pretty", "_summary", "_elements":
		case "_at":
			switch {
			case x.key.ID == "":
				return q, nil, nil, refuse(http.StatusBadRequest, fhir.CodeNotSupported, "_at is supported in the history of one resource only").
					fix("use _since and _count, or ask for the history of each resource, as in Patient/p1/_history?_at=2024-05-01").spec(specHistory)
			case at != nil:
				return q, nil, nil, twice("_at", specHistory)
			}
			if at, err = s.atTime(x.key.Type, p.Value); err != nil {
				return q, nil, nil, err
			}
		case "_list":
			return q, nil, nil, refuse(http.StatusBadRequest, fhir.CodeNotSupported, "_list is not supported").fix("use _since, _at and _count").spec(specHistory)
		default:
			if s.handling(x) == search.Strict {
				return q, nil, nil, refuse(http.StatusBadRequest, fhir.CodeNotSupported, "the history has no such parameter").
					fix("use _count, _since and _at").spec(specHistory)
			}
			continue
		}
		used = append(used, p)
	}
	return q, at, used, nil
}

// atTime is the time that _at stands for, as wide as it is precise: 2024-05 is all of the month.
// http://hl7.org/fhir/R4/search.html#date
func (s *server) atTime(resourceType, text string) (*interval, error) {
	// A + that was not percent-encoded has become a blank.
	date := string(search.EQ) + strings.ReplaceAll(text, " ", "+")
	q, _, err := s.parameters().Parse(resourceType, []search.Pair{{Name: "_lastUpdated", Value: date}}, search.Options{Handling: search.Strict, Now: s.Now()})
	if err != nil || len(q.Where) != 1 || len(q.Where[0].Values) != 1 {
		return nil, badParameter("_at", "a date or a time without a prefix, as in 2024-05-01 or 2024-05-01T10:00:00Z").spec(specHistory)
	}
	v := q.Where[0].Values[0]
	return &interval{v.From, v.To}, nil
}

func badParameter(name, want string) *refused {
	return refuse(http.StatusBadRequest, fhir.CodeValue, "the value of "+name+" cannot be read").fix(name + " is " + want)
}

// handling is how this request wants unknown parameters to be treated.
func (s *server) handling(x *exchange) search.Handling {
	if x.prefer.handling != "" {
		return x.prefer.handling
	}
	return s.Handling
}

// historyCursor is the place behind a version, bound to the history and to _at: in another one it
// would give a silently shortened page.
func historyCursor(k fhir.Key, at, place string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(historyMark(k, at) + place))
}

func historyMark(k fhir.Key, at string) string {
	parts := []string{"history", k.Type, k.ID}
	if at != "" {
		parts = append(parts, at)
	}
	return fhir.HashID(parts...)[:8]
}

func historyBefore(k fhir.Key, at, cursor string) (string, error) {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	place, ok := strings.CutPrefix(string(b), historyMark(k, at))
	if err != nil || !ok || place == "" {
		return "", badCursor()
	}
	return place, nil
}

func badCursor() *refused {
	return refuse(http.StatusBadRequest, fhir.CodeValue, search.CursorParam+" is not of a page of this history").
		fix("follow the next link of a page as it is, or begin again without " + search.CursorParam)
}
