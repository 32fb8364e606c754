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
	q, used, err := historyQuery(x, s.handling(x))
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
	if q.Since.IsZero() {
		b.total = page.Total
	}
	if count == 0 {
		return x.page(b), nil
	}
	if page.Next != nil {
		rest := slices.DeleteFunc(slices.Clone(used), func(p search.Pair) bool { return p.Name == search.CursorParam })
		b.next = link(self, append(rest, search.Pair{Name: search.CursorParam, Value: historyCursor(x.key, page.Next.ID)}))
	}
	b.entries, err = s.versions(x, wanted, page.Resources)
	return x.page(b), err
}

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

// historyQuery reads the parameters of a history, and which of them were used.
func historyQuery(x *exchange, handling search.Handling) (q store.HistoryQuery, used []search.Pair, err error) {
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
			if q.Before, err = historyBefore(x.key, p.Value); err != nil {
				return q, nil, err
			}
		case "_format", "_pretty", "_summary", "_elements":
		case "_at", "_list":
			return q, nil, refuse(http.StatusBadRequest, fhir.CodeNotSupported, p.Name+" is not supported").fix("use _since and _count, and read the version that was current")
		default:
			if handling == search.Strict {
				return q, nil, refuse(http.StatusBadRequest, fhir.CodeNotSupported, "the history has no such parameter").
					fix("use _count and _since").spec("http://hl7.org/fhir/R4/http.html#history")
			}
			continue
		}
		used = append(used, p)
	}
	return q, used, nil
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

// historyCursor is the place behind a version, bound to the history: in another one it
// would give a silently shortened page.
func historyCursor(k fhir.Key, place string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(fhir.HashID("history", k.Type, k.ID)[:8] + place))
}

func historyBefore(k fhir.Key, cursor string) (string, error) {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	place, ok := strings.CutPrefix(string(b), fhir.HashID("history", k.Type, k.ID)[:8])
	if err != nil || !ok || place == "" {
		return "", badCursor()
	}
	return place, nil
}

func badCursor() *refused {
	return refuse(http.StatusBadRequest, fhir.CodeValue, search.CursorParam+" is not of a page of this history").
		fix("follow the next link of a page as it is, or begin again without " + search.CursorParam)
}
