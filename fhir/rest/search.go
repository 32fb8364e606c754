package rest

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

const specSearch = "http://hl7.org/fhir/R4/search.html"

// inquiry is a search as it was asked: of one type, of several, or in a compartment.
type inquiry struct {
	scope
	queries []search.Query // one for each of the types that can have matches
	// used are the parameters that are not in the queries, as links repeat them: first those
	// that choose, and then, as form, those about the form of the answer.
	used, form []search.Pair
	issues     []fhir.Issue
	ordered    bool   // several types are in one order, instead of one after the other
	cursor     string // where the page begins, "" for the first
	include    []search.Include
	explain    bool
}

// found is a page of matches.
type found struct {
	resources []fhir.Resource
	next      string // the cursor of the next page, "" on the last
	previous  string // that of the page before, "" on the first, and where it is not offered
	total     int    // -1 is unknown
}

// search answers GET /[type]?…, GET /?…, GET /[type]/[id]/[type]?… and their _search by POST.
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
	in, err := s.inquire(x, params)
	if err != nil {
		return reply{}, err
	}
	page, err := s.find(x.Context(), in)
	if err != nil {
		return reply{}, err
	}
	b, err := s.searchset(x, in, page)
	return x.page(b), err
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

// inquire reads the parameters of a search.
func (s *server) inquire(x *exchange, params []search.Pair) (*inquiry, error) {
	where, err := s.scope(x)
	if err != nil {
		return nil, err
	}
	in := &inquiry{scope: where}
	opt := search.Options{Handling: s.handling(x), BaseURL: x.base, Now: s.Now()}
	var rest []search.Pair
	var lists []map[string][]fhir.Key
	for _, p := range params {
		switch {
		case p.Name == "_format" || p.Name == "_pretty":
			if p.Value != "" {
				in.form = append(in.form, p)
			}
		case p.Name == search.CursorParam:
			in.cursor = p.Value
		case p.Name == explainParam:
			if in.explain, err = isTrue(p); err != nil {
				return nil, err
			}
			if in.explain {
				in.used = append(in.used, p)
			}
		case p.Name == "_type" && in.several:
			if err := s.narrow(in, p.Value); err != nil {
				return nil, err
			}
		case p.Name == "_list" && p.Value != "":
			listed, issues, err := s.listed(x, p.Value)
			if err != nil {
				return nil, err
			}
			lists = append(lists, listed)
			in.issues = append(in.issues, issues...)
			in.used = append(in.used, p)
		case p.Name == "_list":
		default:
			rest = append(rest, p)
		}
	}
	if err := s.parse(in, rest, opt); err != nil {
		return nil, bad(err)
	}
	for i := range in.queries {
		q := &in.queries[i]
		if in.within.Type != "" {
			c, _ := s.parameters().InCompartment(q.Type, in.within.Type, in.within.ID)
			q.Where = append(q.Where, c)
		}
		for _, listed := range lists {
			q.Where = append(q.Where, search.IDs(listed[q.Type]...))
		}
	}
	if in.include != nil && in.queries[0].Summary == "text" {
		return nil, refuse(http.StatusBadRequest, fhir.CodeInvalid, "_summary=text does not go together with _include and _revinclude").at("_summary").
			fix("leave one of them out").spec(specSearch + "#summary")
	}
	return in, nil
}

// explainParam asks for the plan of the search.
const explainParam = "__explain"

func isTrue(p search.Pair) (bool, error) {
	switch p.Value {
	case "true":
		return true, nil
	case "false", "":
		return false, nil
	}
	return false, badParameter(p.Name, "true or false")
}

// parse makes the queries: one, or one for each of several types.
func (s *server) parse(in *inquiry, params []search.Pair, opt search.Options) error {
	if !in.several {
		q, issues, err := s.parameters().Parse(in.types[0], params, opt)
		if err != nil {
			return err
		}
		in.queries, in.include = []search.Query{q}, q.Include
		in.issues = append(in.issues, issues...)
		return nil
	}
	common, includes, err := s.common(in, params, opt)
	if err != nil {
		return err
	}
	in.include = includes
	for _, t := range in.types {
		q, _, err := s.parameters().Parse(t, common, opt)
		if err != nil {
			return err
		}
		in.queries = append(in.queries, q)
	}
	first := &in.queries[0]
	first.Include = includes // for links
	in.ordered = len(in.queries) > 1 && slices.ContainsFunc(common, func(p search.Pair) bool { return p.Name == "_sort" && strings.Trim(p.Value, ",") != "" })
	if in.ordered && slices.ContainsFunc(in.queries, func(q search.Query) bool { return !slices.Equal(q.Sort, first.Sort) }) {
		return fhir.Errorf(fhir.CodeNotSupported, "_sort", "the parameter is not of the same type for all resource types").
			WithFix("sort by _lastUpdated or _id, or search for one type").WithSpec(specSearch + "#sort")
	}
	return nil
}

// page is the URL of a page without the parameters about its form.
func (in *inquiry) page(base, cursor string) string {
	q := in.queries[0]
	q.After = nil
	to := base
	if in.path != "" {
		to += "/" + in.path
	}
	to = link(to, in.used)
	between := "?"
	if len(in.used) > 0 {
		between = "&"
	}
	to += between + q.Encode()
	if cursor != "" {
		to = link(to, []search.Pair{{Name: search.CursorParam, Value: cursor}})
	}
	return link(to, in.form)
}

// searchset is the answer to a search. http://hl7.org/fhir/R4/search.html#return
func (s *server) searchset(x *exchange, in *inquiry, page found) (bundle, error) {
	q := &in.queries[0]
	b := bundle{kind: "searchset", total: page.total, self: in.page(x.base, in.cursor)}
	if in.explain {
		plans, err := s.plans(x.Context(), in)
		if err != nil {
			return b, err
		}
		in.issues = append(in.issues, plans...)
	}
	if q.Count == 0 {
		// The total alone, and what must be known of it: http://hl7.org/fhir/R4/search.html#count
		b.outcome = in.outcome()
		return b, nil
	}
	if in.cursor != "" {
		b.first = in.page(x.base, "")
	}
	if page.previous != "" {
		b.previous = in.page(x.base, page.previous)
	}
	if page.next != "" {
		b.next = in.page(x.base, page.next)
	}
	included, cut, err := s.included(x, in.include, page.resources)
	if err != nil {
		return b, err
	}
	if cut {
		in.issues = append(in.issues, fhir.Issue{
			Severity: fhir.Warning, Code: fhir.CodeTooCostly,
			Message: "not all resources that were to be included are on this page",
			Fix:     "ask for fewer resources in a page with _count, or for the others with searches of their own", Spec: specSearch + "#include",
		})
	}
	b.entries = make([]entry, 0, len(page.resources)+len(included))
	for _, r := range page.resources {
		if err := b.add(x, part{summary: q.Summary, elements: q.Elements}, r, "match"); err != nil {
			return b, err
		}
	}
	for _, r := range included {
		// _elements are those of what is searched for, and other types have others.
		if err := b.add(x, part{summary: q.Summary}, r, "include"); err != nil {
			return b, err
		}
	}
	b.outcome = in.outcome()
	return b, nil
}

// outcome tells what was found about the search itself, nil if nothing.
func (in *inquiry) outcome() []byte {
	if len(in.issues) == 0 {
		return nil
	}
	return fhir.OperationOutcome(in.issues...)
}

// add appends the wanted part of a resource.
func (b *bundle) add(x *exchange, wanted part, r fhir.Resource, mode string) error {
	var err error
	if r.JSON, err = wanted.of(r); err != nil {
		return err
	}
	b.entries = append(b.entries, entry{fullURL: x.base + "/" + r.Type + "/" + r.ID, resource: r, mode: mode})
	return nil
}

// named is the name of a parameter without its modifiers and chain.
func named(parameter string) string {
	if i := strings.IndexAny(parameter, ":."); i >= 0 {
		return parameter[:i]
	}
	return parameter
}

// byType sorts queries as types are sorted.
func byType(q search.Query, t string) int { return cmp.Compare(q.Type, t) }
