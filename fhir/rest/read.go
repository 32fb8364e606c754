package rest

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

// read is read, vread and their conditional forms.
// http://hl7.org/fhir/R4/http.html#read http://hl7.org/fhir/R4/http.html#cread
func (s *server) read(x *exchange) (reply, error) {
	part, err := partOf(x.query)
	if err != nil {
		return reply{}, err
	}
	found, err := s.store.Read(x.Context(), x.key)
	if errors.Is(err, store.ErrNotFound) {
		return s.readOurs(x, part, err)
	}
	if err != nil {
		return reply{}, err
	}
	same, err := s.unchanged(x, found)
	if err != nil {
		return reply{}, err
	}
	if same {
		return reply{status: http.StatusNotModified}.of(found), nil
	}
	body, err := part.of(found)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, body: body}.of(found).with("Content-Location", x.base+"/"+found.Key.String()), nil
}

// readOurs is read of what is defined here and not stored, else the error of the store.
func (s *server) readOurs(x *exchange, part part, missing error) (reply, error) {
	found, ok, err := s.ours(x.key)
	if err != nil {
		return reply{}, err
	}
	if !ok {
		return reply{}, missing
	}
	body, err := part.of(found)
	return reply{status: http.StatusOK, body: body}, err
}

// unchanged reports whether the client has this version already.
// https://www.rfc-editor.org/rfc/rfc9110#section-13.2.2
func (s *server) unchanged(x *exchange, r fhir.Resource) (bool, error) {
	if tags := strings.Join(x.Header.Values("If-None-Match"), ","); tags != "" {
		return matchesAny(tags, r.Version), nil
	}
	since, err := http.ParseTime(x.Header.Get("If-Modified-Since"))
	if err != nil {
		return false, nil
	}
	second := r.LastUpdated.Truncate(time.Second)
	if second.After(since) {
		return false, nil
	}
	if second.Before(since) || x.key.Version != "" {
		return true, nil
	}
	// Last-Modified has whole seconds. A client that read an earlier version in the same
	// second sends the same time and does not have this one.
	page, err := s.store.History(x.Context(), store.HistoryQuery{Type: r.Type, ID: r.ID, Count: 2})
	if err != nil {
		return false, err
	}
	if len(page.Resources) == 0 || page.Resources[0].Version != r.Version {
		return false, nil // written meanwhile
	}
	if len(page.Resources) == 1 {
		return page.Next == nil, nil // else the earlier one was too large for the page
	}
	return page.Resources[1].LastUpdated.Before(second), nil
}

// matchesAny compares weakly, as FHIR's ETags are weak.
func matchesAny(tags, version string) bool {
	for _, tag := range splitList(tags) {
		if tag == "*" || strings.TrimPrefix(tag, "W/") == `"`+version+`"` {
			return true
		}
	}
	return false
}
