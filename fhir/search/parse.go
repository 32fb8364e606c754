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
//     opt.Handling is Strict. Chains, _has and _query are refused always: without them a
//     query would find more than was asked for.
//   - A modifier that the parameter does not have is an error, always.
//   - A parameter, or an alternative, without a value is ignored.
//   - Text that is not a value of the parameter's type is an error. A code, an id or a
//     type that nothing has is not.
//   - _format and _pretty are REST's, and ignored. _count is cut to MaxCount. _count=0 and
//     _summary=count ask for the total alone.
//
// The error is an *fhir.Error with all that is wrong, to be answered with status 400. It
// names parameters and never repeats a value. http://hl7.org/fhir/R4/search.html
func Parse(resourceType string, params []Pair, opt Options) (Query, []fhir.Issue, error) {
	if _, ok := table[resourceType]; !ok {
		return Query{}, nil, fhir.Errorf(fhir.CodeNotSupported, "", "resources of this type cannot be searched").
			WithFix("search for one of " + strings.Join(Types(), ", "))
	}
	if len(params) > maxPairs {
		return Query{}, nil, tooManyPairs()
	}
	p := parser{opt: opt, q: Query{Type: resourceType, Count: DefaultCount, Total: TotalNone}}
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
	opt              Options
	q                Query
	given            []string // result parameters that were seen
	totalOnly        bool     // _summary=count
	warnings, errors []fhir.Issue
}

func (p *parser) refuse(e *fhir.Error) { p.errors = append(p.errors, e.Issues...) }

// finish completes what the parameters left open.
func (p *parser) finish() {
	if len(p.q.Where) > MaxClauses {
		p.refuse(fhir.Errorf(fhir.CodeTooCostly, "", "the query has more than %d conditions", MaxClauses).
			WithFix("join alternatives of one parameter with commas"))
	}
	if p.totalOnly {
		p.q.Count = 0
	}
	if p.q.Count == 0 {
		p.q.Total = TotalAccurate
	}
	// The last key is the id: without it the order of equals, and so the pages, would be left to chance.
	if n := len(p.q.Sort); n == 0 || p.q.Sort[n-1].Param != "_id" {
		p.q.Sort = append(p.q.Sort, Sort{Param: "_id"})
	}
}

func (p *parser) param(name, value string) {
	switch name {
	case "_format", "_pretty":
		return
	case "_sort", "_count", "_total", "_summary":
		p.result(name, value)
		return
	}
	base, modifier, modified := strings.Cut(name, ":")
	if base == "_query" {
		p.refuse(fhir.Errorf(fhir.CodeNotSupported, base, "named queries are not supported").
			WithFix("search with parameters").WithSpec(specSearch + "#query"))
		return
	}
	if base == "_has" || p.chained(name) {
		p.refuse(fhir.Errorf(fhir.CodeNotSupported, shown(name), "chained searches are not supported").
			WithFix("search for the other resource first, then by its id").WithSpec(specSearch + "#chaining"))
		return
	}
	r, ok := lookup(p.q.Type, base)
	if !ok {
		p.unknown(name)
		return
	}
	if modified && !slices.Contains(modifiers(r), modifier) {
		p.refuse(fhir.Errorf(fhir.CodeNotSupported, base, "%s has no such modifier", base).
			WithFix("use " + base + " without a modifier or with one of :" + strings.Join(modifiers(r), ", :")).
			WithSpec(specModifiers))
		return
	}
	c := Clause{Param: clone(r.Param), Modifier: modifier}
	for text := range split(value, ',') {
		if text == "" {
			continue
		}
		if len(c.Values) == MaxValues {
			p.refuse(fhir.Errorf(fhir.CodeTooCostly, base, "%s has more than %d alternatives", base, MaxValues).
				WithFix("search in several steps"))
			return
		}
		v, err := p.value(r, modifier, text)
		if err != nil {
			p.refuse(err)
			return
		}
		c.Values = append(c.Values, v)
	}
	if modifier == "missing" && len(c.Values) > 1 {
		p.refuse(fhir.Errorf(fhir.CodeValue, base, ":missing takes one value").WithFix("send true or false").WithSpec(specModifiers))
		return
	}
	if len(c.Values) > 0 {
		p.q.Where = append(p.q.Where, c)
	}
}

// chained reports whether name is subject.name, subject:Patient.name or the like.
func (p *parser) chained(name string) bool {
	link, _, dotted := strings.Cut(name, ".")
	link, _, _ = strings.Cut(link, ":")
	r, ok := lookup(p.q.Type, link)
	return dotted && ok && r.Type == ReferenceParam
}

// unknown parameters are ignored unless the client wants to know.
// http://hl7.org/fhir/R4/search.html#errors
func (p *parser) unknown(name string) {
	i := fhir.Issue{
		Severity: fhir.Warning, Code: fhir.CodeNotSupported, Path: shown(name),
		Message: p.q.Type + " has no search parameter of this name: it was ignored",
		Fix:     "use one of " + strings.Join(names(p.q.Type), ", "),
		Spec:    specErrors,
	}
	if p.opt.Handling == Strict {
		i.Severity, i.Message = fhir.SevError, p.q.Type+" has no search parameter of this name"
		p.errors = append(p.errors, i)
		return
	}
	p.warnings = append(p.warnings, i)
}

func names(resourceType string) []string {
	var n []string
	for _, p := range Params(resourceType) {
		n = append(n, p.Name)
	}
	return n
}

// shown is the name of a parameter as errors repeat it: not if it could be anything else.
func shown(name string) string {
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

// modifiers are those that a parameter has here.
func modifiers(r row) []string {
	switch r.Type {
	case TokenParam:
		return []string{"missing", "not"}
	case ReferenceParam:
		return append([]string{"missing", "identifier"}, r.Targets...)
	default:
		return []string{"missing"}
	}
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
		case "false":
		default:
			p.refuse(fhir.Errorf(fhir.CodeNotSupported, name, "this _summary is not supported").WithFix("send count or false").WithSpec(specSearch + "#summary"))
		}
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
		r, ok := lookup(p.q.Type, name)
		if !ok || !r.Sortable {
			p.refuse(fhir.Errorf(fhir.CodeNotSupported, "_sort", "%s cannot be sorted by this", p.q.Type).
				WithFix("sort by " + strings.Join(sortKeys(p.q.Type), ", ") + ", with - in front for descending order").WithSpec(specSearch + "#sort"))
			return
		}
		if slices.ContainsFunc(p.q.Sort, func(s Sort) bool { return s.Param == name || s.Param == "_id" }) {
			continue
		}
		p.q.Sort = append(p.q.Sort, Sort{name, descending})
	}
}

func sortKeys(resourceType string) []string {
	var n []string
	for _, p := range Params(resourceType) {
		if p.Sortable {
			n = append(n, p.Name)
		}
	}
	return n
}

// Encode is q as the query of a URL: what was used, in the order given. Parse of it
// gives q again. http://hl7.org/fhir/R4/search.html#conformance
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
	if q.After != nil {
		add(CursorParam, q.After.Encode(q))
	}
	return b.String()
}

// conditions gives the parameters that decide what is found, and in which order.
func (q Query) conditions(add func(name, value string)) {
	for _, c := range q.Where {
		name := c.Param.Name
		if c.Modifier != "" {
			name += ":" + c.Modifier
		}
		var values []string
		for _, v := range c.Values {
			values = append(values, v.Text)
		}
		add(name, strings.Join(values, ","))
	}
	var keys []string
	for _, s := range q.Sort {
		key := s.Param
		if s.Descending {
			key = "-" + key
		}
		keys = append(keys, key)
	}
	if n := len(keys); n > 0 && keys[n-1] == "_id" { // it is there without being asked for
		keys = keys[:n-1]
	}
	if len(keys) > 0 {
		add("_sort", strings.Join(keys, ","))
	}
}

// badValue is the error for a text that the type of a parameter does not allow.
func badValue(name string, why, fix, section string) *fhir.Error {
	return fhir.Errorf(fhir.CodeValue, name, "a value of %s %s", name, why).WithFix(fix).WithSpec(specSearch + section)
}
