package search

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kiln-health/kiln/fhir"
)

// Pair is one name=value of a query after percent-decoding.
type Pair struct{ Name, Value string }

// Handling says what becomes of an unknown parameter, as Prefer: handling= does.
// http://hl7.org/fhir/R4/search.html#errors
type Handling string

// The ways to handle an unknown parameter. The zero value is Lenient.
const (
	Lenient Handling = "lenient" // it is ignored, with a warning
	Strict  Handling = "strict"  // it is an error
)

// Options of Parse.
type Options struct {
	Handling Handling
	// BaseURL is the address of this server, or "": an absolute reference to a resource
	// below it means the relative one.
	BaseURL string
	// Now is what the prefix ap is relative to.
	Now time.Time
}

// CursorParam is the parameter in which a link to another page carries the Cursor.
const CursorParam = "_cursor"

// The pages of the standard that errors point at.
const (
	specSearch    = "http://hl7.org/fhir/R4/search.html"
	specErrors    = specSearch + "#errors"
	specModifiers = specSearch + "#modifiers"
)

// Pairs takes a raw query, or the body of POST _search, apart. Order is kept. An *Error
// says that the percent-encoding is wrong.
func Pairs(raw string) ([]Pair, error) {
	var pairs []Pair
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		if len(pairs) == maxPairs {
			return nil, tooManyPairs()
		}
		name, value, _ := strings.Cut(part, "=")
		n, err := url.QueryUnescape(name)
		if err == nil {
			value, err = url.QueryUnescape(value)
		}
		if err != nil {
			return nil, fhir.Errorf(fhir.CodeInvalid, "", "parameter %d of the query is not percent-encoded correctly", len(pairs)+1).
				WithFix("write a percent sign as %25")
		}
		pairs = append(pairs, Pair{n, value})
	}
	return pairs, nil
}

// maxPairs leaves room for result parameters and for those that are ignored.
const maxPairs = 2 * MaxClauses

func tooManyPairs() *fhir.Error {
	return fhir.Errorf(fhir.CodeTooCostly, "", "the query has more than %d parameters", maxPairs).
		WithFix("join alternatives of one parameter with commas")
}

// Parse reads a search for resources of a type in Types. The rules:
//
//   - An unknown parameter is ignored with a warning among the issues, or an error if
//     opt.Handling is Strict. What is Refused, as _text, is an error always, and so are _list
//     and _type, which the server has to take out: without them a query would find more
//     than was asked for.
//   - A modifier that the parameter does not have is an error, always. So is a chain or _has
//     that leads nowhere. A chain through a reference of several types follows those that
//     have the next parameter and take the value.
//   - A parameter, or an alternative, without a value is ignored.
//   - Text that is not a value of the parameter's type is an error. A code, an id or a
//     type that nothing has is not.
//   - Without _sort the newest come first where the type has a date, as an Observation; the
//     order of others is that of their ids.
//   - _format and _pretty are REST's, and ignored. _count is cut to MaxCount. _count=0 and
//     _summary=count ask for the total alone.
//
// The error is an *fhir.Error with all that is wrong, to be answered with status 400. It
// names parameters and never repeats a value. http://hl7.org/fhir/R4/search.html
func (ps *Parameters) Parse(resourceType string, params []Pair, opt Options) (Query, []fhir.Issue, error) {
	if _, ok := ps.lookup(resourceType, "_id"); !ok {
		return Query{}, nil, fhir.Errorf(fhir.CodeNotSupported, "", "resources of this type cannot be searched").
			WithFix("search for one of " + strings.Join(ps.Types(), ", "))
	}
	if len(params) > maxPairs {
		return Query{}, nil, tooManyPairs()
	}
	p := parser{of: ps, opt: opt, q: Query{Type: resourceType, Count: DefaultCount, Total: TotalNone}}
	cursor := ""
	for _, pair := range params {
		if pair.Name == CursorParam {
			cursor = pair.Value
			continue
		}
		p.param(pair.Name, pair.Value)
	}
	p.finish()
	if len(p.errors) > 0 {
		return Query{}, nil, &fhir.Error{Issues: p.errors}
	}
	if cursor != "" {
		c, err := DecodeCursor(cursor, p.q)
		if err != nil {
			return Query{}, nil, err
		}
		p.q.After = &c
	}
	return p.q, p.warnings, nil
}

type parser struct {
	of               *Parameters
	opt              Options
	q                Query
	given            []string // result parameters that were seen
	totalOnly        bool     // _summary=count
	clauses          int      // with those at the ends of chains
	sets             map[setKey]*CodeSet
	warnings, errors []fhir.Issue
}

func (p *parser) refuse(e *fhir.Error) { p.errors = append(p.errors, e.Issues...) }

// finish completes what the parameters left open.
func (p *parser) finish() {
	if p.totalOnly {
		p.q.Count = 0
	}
	if p.q.Count == 0 {
		p.q.Total = TotalAccurate
	}
	if len(p.q.Sort) == 0 {
		p.q.Sort, p.q.DefaultOrder = defaultOrder(p.q.Type), true
	}
	// The last key is the id: without it the order of equals, and so the pages, would be left to chance.
	if n := len(p.q.Sort); p.q.Sort[n-1].Param != "_id" {
		p.q.Sort = append(p.q.Sort, byID)
	}
}

// byID is the order that every order ends with.
var byID = Sort{Param: "_id", Type: TokenParam}

func (p *parser) param(name, value string) {
	switch name {
	case "_format", "_pretty":
		return
	case "_sort", "_count", "_total", "_summary", "_elements":
		p.result(name, value)
		return
	}
	head := first(name)
	switch head {
	case "_include", "_revinclude":
		p.include(name, value)
		return
	case "_has":
	default:
		if why := p.refused(head); why != "" {
			p.refuse(fhir.Errorf(fhir.CodeNotSupported, head, "%s", why).WithFix("search with other parameters of the type").WithSpec(specSearch))
			return
		}
		if _, ok := p.of.lookup(p.q.Type, head); !ok {
			p.unknown(name)
			return
		}
	}
	if p.clauses > MaxClauses { // that was told
		return
	}
	c, err := p.clause(p.q.Type, name, value, 0)
	switch {
	case err != nil:
		p.refuse(err)
	case !c.empty():
		p.q.Where = append(p.q.Where, c)
	}
}

// refused is why a parameter must not be ignored, though it is not answered.
func (p *parser) refused(name string) string {
	switch name {
	case "_list":
		return "lists are not supported here"
	case "_type":
		return "a search for one type cannot be narrowed by type"
	}
	return p.of.Refused(p.q.Type, name)
}

// first is the name of a parameter without modifiers and chains.
func first(name string) string {
	if i := strings.IndexAny(name, ":."); i >= 0 {
		return name[:i]
	}
	return name
}

// clause reads one condition on resources of a type.
func (p *parser) clause(of, name, value string, depth int) (Clause, *fhir.Error) {
	if strings.HasPrefix(name, "_has:") {
		return p.has(of, name, value, depth)
	}
	if link, rest, chained := strings.Cut(name, "."); chained {
		return p.chain(of, link, rest, value, depth)
	}
	if p.clauses++; p.clauses > MaxClauses {
		return Clause{}, fhir.Errorf(fhir.CodeTooCostly, "", "the query has more than %d conditions", MaxClauses).
			WithFix("join alternatives of one parameter with commas, and name the type in a chain, as in subject:Patient.name")
	}
	base, modifier, modified := strings.Cut(name, ":")
	r, ok := p.of.lookup(of, base)
	if !ok {
		return Clause{}, fhir.Errorf(fhir.CodeNotSupported, Shown(base), "%s has no search parameter of this name", of).WithSpec(specErrors)
	}
	if modified && !hasModifier(r, modifier) {
		return Clause{}, noModifier(r, modifier)
	}
	return p.condition(of, r, modifier, value)
}

// condition reads the alternatives of a parameter.
func (p *parser) condition(of string, r *row, modifier, value string) (Clause, *fhir.Error) {
	c := Clause{Param: clone(r.Param), Modifier: modifier}
	for text := range split(value, ',') {
		if text == "" {
			continue
		}
		if len(c.Values) == MaxValues {
			return Clause{}, fhir.Errorf(fhir.CodeTooCostly, r.Name, "%s has more than %d alternatives", r.Name, MaxValues).
				WithFix("search in several steps")
		}
		v, err := p.value(of, r, modifier, text)
		if err != nil {
			return Clause{}, err
		}
		c.Values = append(c.Values, v)
	}
	if modifier == "missing" && len(c.Values) > 1 {
		return Clause{}, fhir.Errorf(fhir.CodeValue, r.Name, ":missing takes one value").WithFix("send true or false").WithSpec(specModifiers)
	}
	return c, nil
}

// empty reports whether nothing is asked for.
func (c *Clause) empty() bool { return len(c.Values) == 0 && c.Chain == nil && c.Has == nil }

// unknown parameters are ignored unless the client wants to know.
// http://hl7.org/fhir/R4/search.html#errors
func (p *parser) unknown(name string) {
	i := fhir.Issue{
		Severity: fhir.Warning, Code: fhir.CodeNotSupported, Path: Shown(name),
		Message: p.q.Type + " has no search parameter of this name: it was ignored",
		Fix:     "use one of " + strings.Join(p.names(), ", "),
		Spec:    specErrors,
	}
	if p.opt.Handling == Strict {
		i.Severity, i.Message = fhir.SevError, p.q.Type+" has no search parameter of this name"
		p.errors = append(p.errors, i)
		return
	}
	p.warnings = append(p.warnings, i)
}

func (p *parser) names() []string {
	var n []string
	for _, param := range p.of.Of(p.q.Type) {
		n = append(n, param.Name)
	}
	return n
}

// Shown is the name of a parameter as errors repeat it: "" if it could be anything else, as
// something of a patient.
func Shown(name string) string {
	if len(name) > 64 {
		return ""
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_.:", c) >= 0:
		default:
			return ""
		}
	}
	return name
}

// result reads a parameter that is not about which resources are found but how they are
// given. http://hl7.org/fhir/R4/search.html#summary
func (p *parser) result(name, value string) {
	if value == "" {
		return
	}
	if name != "_sort" && slices.Contains(p.given, name) { // a second _sort adds keys
		p.refuse(fhir.Errorf(fhir.CodeInvalid, name, "%s is given twice", name).WithFix("send it once"))
		return
	}
	p.given = append(p.given, name)
	switch name {
	case "_sort":
		p.sort(value)
	case "_count":
		p.count(value)
	case "_total":
		switch t := Total(value); t {
		case TotalNone, TotalEstimate, TotalAccurate:
			p.q.Total = t
		default:
			p.refuse(fhir.Errorf(fhir.CodeValue, name, "_total has no such value").WithFix("send none, estimate or accurate").WithSpec(specSearch + "#total"))
		}
	case "_summary":
		switch value {
		case "count":
			p.totalOnly = true
		case "true", "text", "data":
			p.q.Summary = value
		case "false":
		default:
			p.refuse(fhir.Errorf(fhir.CodeValue, name, "_summary has no such value").WithFix("send true, text, data, count or false").WithSpec(specSearch + "#summary"))
		}
	case "_elements":
		p.elements(value)
	}
}

// elements reads the names of elements of the type. http://hl7.org/fhir/R4/search.html#elements
func (p *parser) elements(value string) {
	for name := range strings.SplitSeq(value, ",") {
		if name == "" || slices.Contains(p.q.Elements, name) {
			continue
		}
		if len(p.q.Elements) == MaxElements {
			p.refuse(fhir.Errorf(fhir.CodeTooCostly, "_elements", "_elements has more than %d names", MaxElements))
			return
		}
		if Shown(name) == "" || strings.ContainsAny(name, "-_.:") {
			p.refuse(fhir.Errorf(fhir.CodeValue, "_elements", "_elements has a name that no element has").
				WithFix("send names of elements of the type, as in _elements=identifier,status").WithSpec(specSearch + "#elements"))
			return
		}
		p.q.Elements = append(p.q.Elements, name)
	}
}

func (p *parser) count(value string) {
	if strings.Trim(value, "0123456789") != "" {
		p.refuse(fhir.Errorf(fhir.CodeValue, "_count", "_count is no number").WithFix("send digits only").WithSpec(specSearch + "#count"))
		return
	}
	n, err := strconv.Atoi(value)
	if err != nil { // digits only: it is too large
		n = MaxCount
	}
	p.q.Count = min(n, MaxCount)
}

// sort reads the keys of the order. Keys that cannot change it are left away: those
// after _id, and those that are there already. http://hl7.org/fhir/R4/search.html#sort
func (p *parser) sort(value string) {
	for text := range strings.SplitSeq(value, ",") {
		if text == "" {
			continue
		}
		name, descending := strings.CutPrefix(text, "-")
		r, ok := p.of.lookup(p.q.Type, name)
		if !ok || !r.Sortable {
			p.refuse(fhir.Errorf(fhir.CodeNotSupported, "_sort", "%s cannot be sorted by this", p.q.Type).
				WithFix("sort by " + strings.Join(p.sortKeys(), ", ") + ", with - in front for descending order").WithSpec(specSearch + "#sort"))
			return
		}
		if slices.ContainsFunc(p.q.Sort, func(s Sort) bool { return s.Param == name || s.Param == "_id" }) {
			continue
		}
		if len(p.q.Sort) == MaxSort {
			p.refuse(fhir.Errorf(fhir.CodeTooCostly, "_sort", "_sort has more than %d keys", MaxSort).WithFix("leave out the last ones"))
			return
		}
		p.q.Sort = append(p.q.Sort, Sort{Param: name, Type: r.Type, Descending: descending})
	}
}

func (p *parser) sortKeys() []string {
	var n []string
	for _, param := range p.of.Of(p.q.Type) {
		if param.Sortable {
			n = append(n, param.Name)
		}
	}
	return n
}

// Encode is q as the query of a URL: what was used, in the order given. Parse of it
// gives q again. Clauses that no parameter has, of IDs and InCompartment, are left out:
// who adds them knows where they came from. http://hl7.org/fhir/R4/search.html#conformance
func (q Query) Encode() string {
	var b strings.Builder
	add := func(name, value string) {
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(name))
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(value))
	}
	q.conditions(add)
	add("_count", strconv.Itoa(q.Count))
	if q.Total != TotalNone && q.Count > 0 {
		add("_total", string(q.Total))
	}
	if q.Summary != "" {
		add("_summary", q.Summary)
	}
	if len(q.Elements) > 0 {
		add("_elements", strings.Join(q.Elements, ","))
	}
	for _, i := range q.Include {
		add(i.encode())
	}
	if q.After != nil {
		add(CursorParam, q.After.Encode(q))
	}
	return b.String()
}

// conditions gives the parameters that decide what is found, and in which order.
func (q Query) conditions(add func(name, value string)) {
	for i := range q.Where {
		if name, value, ok := q.Where[i].encode(); ok {
			add(name, value)
		}
	}
	if q.DefaultOrder {
		return
	}
	var keys []string
	for _, s := range q.Sort {
		key := s.Param
		if s.Descending {
			key = "-" + key
		}
		keys = append(keys, key)
	}
	if n := len(keys); n > 1 && keys[n-1] == "_id" { // it is there without being asked for
		keys = keys[:n-1]
	}
	if len(keys) > 0 {
		add("_sort", strings.Join(keys, ","))
	}
}

// encode is the parameter that a clause was read from, if it was.
func (c *Clause) encode() (name, value string, ok bool) {
	switch {
	case len(c.Chain) > 0:
		name, value, ok = c.Chain[0].Where[0].encode()
		link := c.Param.Name
		if c.Modifier != "" {
			link += ":" + c.Modifier
		}
		return link + "." + name, value, ok
	case c.Has != nil:
		name, value, ok = c.Has.Query.Where[0].encode()
		return "_has:" + c.Has.Query.Type + ":" + c.Has.By.Name + ":" + name, value, ok
	case c.Any != nil, len(c.Values) == 0:
		return "", "", false
	}
	name = c.Param.Name
	if c.Modifier != "" {
		name += ":" + c.Modifier
	}
	values := make([]string, len(c.Values))
	for i := range c.Values {
		values[i] = c.Values[i].Text
	}
	return name, strings.Join(values, ","), true
}

// badValue is the error for a text that the type of a parameter does not allow.
func badValue(name string, why, fix, section string) *fhir.Error {
	return fhir.Errorf(fhir.CodeValue, name, "a value of %s %s", name, why).WithFix(fix).WithSpec(specSearch + section)
}
