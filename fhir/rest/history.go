package rest

import (
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
	q, used, err := s.historyQuery(x)
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
	page, err := s.store.History(x.Context(), q)
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
	if q.Since.IsZero() && q.CurrentTo.IsZero() {
		b.total = page.Total
	}
	if count == 0 {
		return x.page(b), nil
	}
	if page.Next != nil {
		rest := slices.DeleteFunc(slices.Clone(used), func(p search.Pair) bool { return p.Name == search.CursorParam })
		b.next = link(self, append(rest, search.Pair{Name: search.CursorParam, Value: historyCursor(x.key, first(used, "_at"), page.Next.ID)}))
	}
	b.entries, err = s.versions(x, wanted, page.Resources, q.CurrentTo.IsZero())
	return x.page(b), err
}

const specHistory = "http://hl7.org/fhir/R4/http.html#history"

// versions are entries of a history, with the wanted part of each. Whether one made its resource is told by the version
// before it, which is asked for unless it is on the page: where no version is left out, it is the next one of the resource.
func (s *server) versions(x *exchange, wanted part, page []fhir.Resource, all bool) ([]entry, error) {
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
		if before == nil || !all {
			before = nil
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

// historyQuery reads the parameters of a history, and which of them were used.
func (s *server) historyQuery(x *exchange) (q store.HistoryQuery, used []search.Pair, err error) {
	q = store.HistoryQuery{Type: x.key.Type, ID: x.key.ID, Count: search.DefaultCount}
	for _, p := range x.query {
		if p.Value == "" {
			continue // http://hl7.org/fhir/R4/search.html#errors: an empty parameter is not an error
		}
		switch p.Name {
		case "_count":
			n, err := strconv.Atoi(p.Value)
			if err != nil || n < 0 {
				return q, nil, badParameter("_count", "a whole number, 0 or more")
			}
			q.Count = min(n, search.MaxCount)
			p.Value = strconv.Itoa(q.Count)
		case "_since":
			// A + that was not percent-encoded has become a blank.
			if q.Since, err = time.Parse(time.RFC3339Nano, strings.ReplaceAll(p.Value, " ", "+")); err != nil {
				return q, nil, badParameter("_since", "an instant, as in 2024-05-01T10:00:00Z")
			}
		case search.CursorParam:
			if q.Before, err = historyBefore(x.key, first(x.query, "_at"), p.Value); err != nil {
				return q, nil, err
			}
		case "_format", "_pretty", "_summary", "_elements":
		case "_at":
			if !q.CurrentTo.IsZero() {
				return q, nil, twice("_at", specHistory)
			}
			if q.CurrentFrom, q.CurrentTo, err = s.atTime(p.Value); err != nil {
				return q, nil, err
			}
		case "_list":
			return q, nil, refuse(http.StatusBadRequest, fhir.CodeNotSupported, "_list is not supported").fix("use _since, _at and _count").spec(specHistory)
		default:
			if s.handling(x) == search.Strict {
				return q, nil, refuse(http.StatusBadRequest, fhir.CodeNotSupported, "the history has no such parameter").
					fix("use _count, _since and _at").spec(specHistory)
			}
			continue
		}
		used = append(used, p)
	}
	return q, used, nil
}

// atTime is the time that _at stands for, as wide as it is precise: 2024-05 is all of the month, and its end is no
// part of it. http://hl7.org/fhir/R4/search.html#date
func (s *server) atTime(text string) (from, to time.Time, err error) {
	// A + that was not percent-encoded has become a blank.
	date := string(search.EQ) + strings.ReplaceAll(text, " ", "+")
	q, _, err := s.parameters().Parse(s.types[0], []search.Pair{{Name: "_lastUpdated", Value: date}}, search.Options{Handling: search.Strict, Now: s.Now()})
	if err != nil || len(q.Where) != 1 || len(q.Where[0].Values) != 1 {
		return from, to, badParameter("_at", "a date or a time without a prefix, as in 2024-05-01 or 2024-05-01T10:00:00Z").spec(specHistory)
	}
	v := q.Where[0].Values[0]
	return v.From, v.To, nil
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
