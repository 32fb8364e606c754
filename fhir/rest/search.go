package rest

import (
	"net/http"

	"github.com/kiln-health/kiln/fhir/search"
)

// search answers GET /[type]?… and POST /[type]/_search.
// http://hl7.org/fhir/R4/http.html#search
//
// The links of both have the form of a GET, as R4 wants of self: a client that posts
// its parameters to keep them out of the logs of proxies gets them back in the body of
// the response, and pages on by posting the same form with the _cursor of the next link.
func (s *server) search(x *exchange) (reply, error) {
	params := x.query
	if x.Method == http.MethodPost {
		form, err := readForm(x)
		if err != nil {
			return reply{}, err
		}
		params = append(params[:len(params):len(params)], form...)
	}
	q, issues, err := search.Parse(x.key.Type, params, search.Options{Handling: s.handling(x), BaseURL: x.base, Now: s.Now()})
	if err != nil {
		return reply{}, bad(err)
	}
	page, err := s.store.Search(x.Context(), q)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, body: searchset(x, params, q, page, issues).json()}, nil
}

// readForm reads the parameters in the body of a search, and its _format and _pretty.
func readForm(x *exchange) ([]search.Pair, error) {
	if x.ContentLength == 0 {
		return nil, nil // all parameters are in the URL
	}
	if err := x.sendsForm(); err != nil {
		return nil, err
	}
	body, err := readBody(x, maxForm)
	if err != nil {
		return nil, err
	}
	form, err := search.Pairs(string(body))
	if err != nil {
		return nil, bad(err)
	}
	_, err = x.takeFormat(form)
	return form, err
}
