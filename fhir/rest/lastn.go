package rest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

const specLastN = "http://hl7.org/fhir/R4/observation-operation-lastn.html"

// lastN answers GET and POST /Observation/$lastn: of the Observations that a search finds, the
// newest of each code, those of the same time as the last one among them too. Codes that any of
// them has as codings of one concept are one code.
//
// Observations are as new as the beginning of their effective time, those without one the
// oldest. A last one of a code may be linked to another code by any older Observation: all that
// the search finds are read, at most maxRead, unless it is for a single code.
// http://hl7.org/fhir/R4/observation-operation-lastn.html
func (s *server) lastN(x *exchange) (reply, error) {
	args, err := s.arguments(x)
	if err != nil {
		return reply{}, err
	}
	most, params, err := lastNParameters(args)
	if err != nil {
		return reply{}, err
	}
	q, issues, err := s.parameters().Parse(x.key.Type, params, search.Options{Handling: s.handling(x), BaseURL: x.base, Now: s.Now()})
	if err != nil {
		return reply{}, bad(err)
	}
	if err := aboutCodesOfSomebody(q.Where); err != nil {
		return reply{}, err
	}
	found, err := s.newest(x, q, most)
	if err != nil {
		return reply{}, err
	}
	at := x.base + "/" + x.key.Type + "/$lastn"
	b := bundle{kind: "searchset", total: len(found), self: link(at, usedByLastN(q, most, x.query))}
	if len(issues) > 0 {
		b.outcome = fhir.OperationOutcome(issues...)
	}
	if q.Count == 0 {
		return x.page(b), nil
	}
	wanted := part{summary: q.Summary, elements: q.Elements}
	for _, r := range found {
		if r.JSON, err = wanted.of(r); err != nil {
			return reply{}, err
		}
		b.entries = append(b.entries, entry{fullURL: x.base + "/" + r.Type + "/" + r.ID, resource: r, mode: "match"})
	}
	return x.page(b), nil
}

// lastNParameters takes max from the arguments. The others are of the search.
func lastNParameters(args []argument) (most int, params []search.Pair, err error) {
	var rest []argument
	for _, a := range args {
		name, _, _ := strings.Cut(a.name, ":")
		switch name {
		case "max":
			if most != 0 {
				return 0, nil, twice("max", specLastN)
			}
			if most, err = positive(a); err != nil {
				return 0, nil, err
			}
		case "_sort", "_count", search.CursorParam, "_include", "_revinclude":
			return 0, nil, refuse(http.StatusBadRequest, fhir.CodeNotSupported, name+" cannot be used with $lastn, whose answer is one Bundle of Observations, newest first").
				fix("leave it out; max says how many there are of each code").spec(specLastN)
		default:
			rest = append(rest, a)
		}
	}
	params, err = pairs(rest)
	return max(most, 1), params, err
}

// aboutCodesOfSomebody refuses a search that names no subject, or nothing that is about codes.
func aboutCodesOfSomebody(where []search.Clause) error {
	subject, code := false, false
	for i := range where {
		c := &where[i]
		subject = subject || (c.Param.Name == "patient" || c.Param.Name == "subject") && c.Modifier != "missing"
		code = code || c.Param.Name == "category" || hasCode(&c.Param)
	}
	switch {
	case !subject:
		return refuse(http.StatusBadRequest, fhir.CodeRequired, "$lastn needs to know whose Observations are meant").
			fix("add patient or subject, as in patient=Patient/[id]").spec(specLastN)
	case !code:
		return refuse(http.StatusBadRequest, fhir.CodeRequired, "$lastn needs to know which Observations are meant").
			fix("add category, as in category=vital-signs, or a parameter about codes, as code or code-value-concept").spec(specLastN)
	}
	return nil
}

// hasCode reports whether the expression of a parameter has the element code in it.
func hasCode(p *search.Param) bool {
	for _, path := range strings.FieldsFunc(p.Expression, func(r rune) bool { return strings.ContainsRune(" |()", r) }) {
		if path == "code" || strings.HasSuffix(path, ".code") {
			return true
		}
	}
	return slices.ContainsFunc(p.Components, func(c search.Param) bool { return hasCode(&c) })
}

// usedByLastN are the parameters that were used.
func usedByLastN(q search.Query, most int, asked []search.Pair) []search.Pair {
	used, err := search.Pairs(q.Encode())
	if err != nil {
		used = nil // Encode gives what Pairs reads
	}
	totalOnly := q.Count == 0
	used = slices.DeleteFunc(used, func(p search.Pair) bool { return p.Name == "_count" || p.Name == "_total" })
	if totalOnly {
		used = append(used, search.Pair{Name: "_summary", Value: "count"})
	}
	used = append(used, search.Pair{Name: "max", Value: strconv.Itoa(most)})
	for _, p := range asked {
		if (p.Name == "_format" || p.Name == "_pretty") && p.Value != "" {
			used = append(used, p)
		}
	}
	return used
}

// maxRead is how many resources an operation reads for one request.
const maxRead = search.MaxAmong

// newestFirst is the order of $lastn.
func newestFirst() []search.Sort {
	return []search.Sort{{Param: "date", Type: search.DateParam, Descending: true}, {Param: "_id", Type: search.TokenParam}}
}

// newest are the last of each code that q finds, newest first.
func (s *server) newest(x *exchange, q search.Query, most int) ([]fhir.Resource, error) {
	q.Sort, q.Count, q.Total, q.After = newestFirst(), search.MaxCount, search.TotalNone, nil
	if single := singleCode(q.Where); single {
		q.Count = min(q.Count, max(most, 10)+1) // more is read only if there are ties
	}
	g := lasts{most: most}
	for read := 0; ; {
		page, err := s.store.Search(x.Context(), q)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Resources {
			terms, err := s.parameters().Extract(r.Type, r.JSON)
			if err != nil {
				return nil, err
			}
			at, _ := search.SortDate(&terms)
			full, err := g.add(r, at)
			if err != nil {
				return nil, err
			}
			if full && singleCode(q.Where) {
				return g.all(), nil
			}
		}
		if read += len(page.Resources); read > maxRead {
			return nil, tooCostly(fmt.Sprintf("the search finds more than %d Observations", maxRead), "add parameters, as date=ge[day] or code=[system]|[code]").spec(specLastN)
		}
		if page.Next == nil {
			return g.all(), nil
		}
		q.After, q.Count = page.Next, search.MaxCount
	}
}

// singleCode reports whether all matches have one code in common. One that has letters may
// stand for several that differ in their case.
func singleCode(where []search.Clause) bool {
	return slices.ContainsFunc(where, func(c search.Clause) bool {
		if c.Param.Name != "code" || c.Modifier != "" || len(c.Values) != 1 || c.Chain != nil {
			return false
		}
		v := c.Values[0]
		return !v.AnySystem && !v.AnyCode && strings.ToLower(v.Code) == strings.ToUpper(v.Code)
	})
}

// lasts collects the newest Observations of each code. They come newest first.
type lasts struct {
	most  int
	codes classes
	kept  [][]last // by class
	count int
	bytes int // of what is kept
}

type last struct {
	place int // in the order
	at    time.Time
	fhir.Resource
}

// add takes the next Observation, and reports whether its code has all it may have.
func (g *lasts) add(r fhir.Resource, at time.Time) (full bool, err error) {
	var o struct {
		Code concept `json:"code"`
	}
	if err := json.Unmarshal(r.JSON, &o); err != nil {
		o.Code = concept{} // it was stored unchecked; it is like no other
	}
	class, joined := g.codes.join(o.Code.names())
	if class == len(g.kept) {
		g.kept = append(g.kept, nil)
	}
	list := g.kept[class]
	if len(joined) > 0 {
		for _, other := range joined {
			list = append(list, g.kept[other]...)
			g.kept[other] = nil
		}
		slices.SortFunc(list, func(a, b last) int { return a.place - b.place })
		list = g.cut(list)
	}
	if full = len(list) >= g.most && !list[g.most-1].at.Equal(at); !full {
		list = append(list, last{g.count, at, r})
		g.bytes += len(r.JSON)
	}
	g.count++
	g.kept[class] = list
	if g.bytes > maxAnswer {
		return full, tooCostly("the last Observations have more than "+strconv.Itoa(maxAnswer>>20)+" MiB", "ask for fewer with max, or add parameters").spec(specLastN)
	}
	return full, nil
}

// cut is the list without those that are too old to be among the last.
func (g *lasts) cut(list []last) []last {
	end := min(g.most, len(list))
	for end < len(list) && list[end].at.Equal(list[g.most-1].at) {
		end++
	}
	for _, l := range list[end:] {
		g.bytes -= len(l.JSON)
	}
	return slices.Delete(list, end, len(list))
}

func (g *lasts) all() []fhir.Resource {
	flat := slices.Concat(g.kept...)
	slices.SortFunc(flat, func(a, b last) int { return a.place - b.place })
	found := make([]fhir.Resource, len(flat))
	for i, l := range flat {
		found[i] = l.Resource
	}
	return found
}
