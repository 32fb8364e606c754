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

// history lists the versions of a resource, newest first.
// http://hl7.org/fhir/R4/http.html#history
func (s *server) history(x *exchange) (reply, error) {
	q, used, since, err := historyQuery(x, s.handling(x))
	if err != nil {
		return reply{}, err
	}
	if q.Before != "" {
		if err := s.versionExists(x, q.Before); err != nil {
			return reply{}, err
		}
	}
	page, older, err := s.versions(x, q)
	if err != nil {
		return reply{}, err
	}
	shown := page.Resources
	more := older != nil && len(shown) > 0 && !older.LastUpdated.Before(since)
	if i := slices.IndexFunc(shown, func(v fhir.Resource) bool { return v.LastUpdated.Before(since) }); i >= 0 {
		shown, older, more = shown[:i], &shown[i], false
	}
	self := x.base + "/" + x.key.String() + "/_history"
	b := bundle{kind: "history", total: -1, self: link(self, used)}
	if since.IsZero() {
		b.total = page.Total
	}
	if more {
		rest := slices.DeleteFunc(slices.Clone(used), func(p search.Pair) bool { return p.Name == search.CursorParam })
		b.next = link(self, append(rest, search.Pair{Name: search.CursorParam, Value: historyCursor(x.key, shown[len(shown)-1].Version)}))
	}
	for i, v := range shown {
		before := older
		if i+1 < len(shown) {
			before = &shown[i+1]
		}
		b.entries = append(b.entries, entry{fullURL: x.base + "/" + x.key.String(), resource: v, created: before == nil || before.Deleted})
	}
	return reply{status: http.StatusOK, body: b.json()}, nil
}

// versions gives at most q.Count versions and the one before them, nil if there is none:
// it tells whether the last of them was a creation, and whether another page follows.
func (s *server) versions(x *exchange, q store.HistoryQuery) (page store.Page, older *fhir.Resource, err error) {
	count := q.Count
	q.Count++
	if page, err = s.store.History(x.Context(), q); err != nil {
		return page, nil, err
	}
	if len(page.Resources) > count {
		older, page.Resources = &page.Resources[count], page.Resources[:count]
		return page, older, nil
	}
	if page.Next == nil {
		return page, nil, nil
	}
	// The store ended the page early because its versions are large.
	q.Count, q.Before = 1, page.Next.ID
	rest, err := s.store.History(x.Context(), q)
	if err == nil && len(rest.Resources) > 0 {
		older = &rest.Resources[0]
	}
	return page, older, err
}

// versionExists refuses a cursor that somebody made up.
func (s *server) versionExists(x *exchange, version string) error {
	k := x.key
	k.Version = version
	_, err := s.store.Read(x.Context(), k)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return badCursor()
	case errors.Is(err, store.ErrGone):
		return nil // a deletion is a version too
	}
	return err
}

// historyQuery reads the parameters of a history, and which of them were used.
func historyQuery(x *exchange, handling search.Handling) (q store.HistoryQuery, used []search.Pair, since time.Time, err error) {
	q = store.HistoryQuery{Type: x.key.Type, ID: x.key.ID, Count: search.DefaultCount}
	for _, p := range x.query {
		if p.Value == "" {
			continue // http://hl7.org/fhir/R4/search.html#errors: an empty parameter is not an error
		}
		switch p.Name {
		case "_count":
			n, err := strconv.Atoi(p.Value)
			if err != nil || n < 0 {
				return q, nil, since, badParameter("_count", "a whole number, 0 or more")
			}
			q.Count = min(n, search.MaxCount)
			p.Value = strconv.Itoa(q.Count)
		case "_since":
			// A + that was not percent-encoded has become a blank.
			if since, err = time.Parse(time.RFC3339Nano, strings.ReplaceAll(p.Value, " ", "+")); err != nil {
				return q, nil, since, badParameter("_since", "an instant, as in 2024-05-01T10:00:00Z")
			}
		case search.CursorParam:
			if q.Before, err = historyBefore(x.key, p.Value); err != nil {
				return q, nil, since, err
			}
		case "_format", "_pretty":
		case "_at", "_list":
			return q, nil, since, refuse(http.StatusBadRequest, fhir.CodeNotSupported, p.Name+" is not supported").fix("use _since and _count")
		default:
			if handling == search.Strict {
				return q, nil, since, refuse(http.StatusBadRequest, fhir.CodeNotSupported, "the history has no such parameter").
					fix("use _count and _since").spec("http://hl7.org/fhir/R4/http.html#history")
			}
			continue
		}
		used = append(used, p)
	}
	return q, used, since, nil
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

// historyCursor is the place behind a version, bound to the resource: in the history of
// another one it would give a silently shortened page.
func historyCursor(k fhir.Key, version string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(fhir.HashID("history", k.Type, k.ID)[:8] + version))
}

func historyBefore(k fhir.Key, cursor string) (string, error) {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	version, ok := strings.CutPrefix(string(b), fhir.HashID("history", k.Type, k.ID)[:8])
	if err != nil || !ok || !fhir.ValidID(version) {
		return "", badCursor()
	}
	return version, nil
}

func badCursor() *refused {
	return refuse(http.StatusBadRequest, fhir.CodeValue, search.CursorParam+" is not of a page of this history").
		fix("follow the next link of a page as it is, or begin again without " + search.CursorParam)
}
