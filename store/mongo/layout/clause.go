package layout

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// maxPoints is how many values a filter asks for in one clause, unless they are ids.
const maxPoints = 10_000

// clauses makes conditions of the clauses of a query.
type clauses struct {
	of string // the resource type
	// strict: odd documents are found by what they have only, as what is to be turned round must.
	strict bool
}

func (b clauses) clause(c *search.Clause) condition {
	switch {
	case c.Any != nil:
		of := make([]condition, len(c.Any))
		for i := range c.Any {
			of[i] = b.clause(&c.Any[i])
		}
		return either(of...)
	case c.Chain != nil:
		return b.chain(c)
	case c.Has != nil || c.Among != nil:
		return b.among(c.Among)
	case c.Modifier == "missing":
		if len(c.Values) == 0 {
			return nothing()
		}
		if c.Values[0].Missing {
			return not(clauses{of: b.of, strict: true}.present(&c.Param))
		}
		return b.present(&c.Param)
	case c.Modifier == "not", c.Modifier == "not-in":
		return not(clauses{of: b.of, strict: true}.values(c))
	}
	return b.values(c)
}

// values is the condition that one of the values of a clause matches.
func (b clauses) values(c *search.Clause) condition {
	name := c.Param.Name
	switch {
	case name == "_id":
		return b.ids(c)
	case name == "_lastUpdated":
		return each(c, lastUpdated)
	case c.Modifier == "text":
		return b.text(c, name+":text")
	case c.Modifier == "of-type":
		return b.token(c, name+":of-type")
	}
	switch c.Param.Type {
	case search.TokenParam:
		return b.token(c, name)
	case search.StringParam:
		return b.text(c, name)
	case search.ReferenceParam:
		return b.reference(c)
	case search.DateParam:
		return b.date(c)
	case search.QuantityParam, search.NumberParam:
		return b.quantity(c)
	case search.URIParam:
		return b.uri(c)
	case search.CompositeParam:
		return b.composite(c)
	case search.SpecialParam: // no index is about distances
		return unknown
	}
	return nothing()
}

// each is the condition that one value of a clause matches.
func each(c *search.Clause, of func(*search.Value) condition) condition {
	conditions := make([]condition, len(c.Values))
	for i := range c.Values {
		conditions[i] = of(&c.Values[i])
	}
	return either(conditions...)
}

// tolerant lets a condition, which must not be about tombstones, hold for odd documents.
func (b clauses) tolerant(f bson.D) bson.D {
	if b.strict {
		return f
	}
	return oneOf(f, isOdd())
}

func isOdd() bson.D { return field("odd", true) }

// points is the condition that an array has one of some values.
func (b clauses) points(name string, values ...string) condition {
	values = sorted(values)
	if len(values) == 0 {
		return nothing()
	}
	if !b.strict {
		values = append(values, everything)
	}
	return condition{filter: equal(name, values), exact: true, live: true}
}

// span is the condition that an array has a value in a range.
func (b clauses) span(name, from, to string) condition {
	return condition{filter: b.tolerant(field(name, op("$elemMatch", between(from, to)))), exact: true, live: true}
}

func sorted(values []string) []string {
	slices.Sort(values)
	return slices.Compact(values)
}

// arrays are those that terms of a token parameter may be in.
func (b clauses) arrays(param string) []string {
	switch {
	case isKind(param):
		return []string{"k"}
	case usual(b.of, param, "final"):
		return []string{"t", "x"}
	}
	return []string{"t"}
}

func (b clauses) arrayOf(param, code string) string {
	switch {
	case isKind(param):
		return "k"
	case usual(b.of, param, code):
		return "x"
	}
	return "t"
}

// begin is the condition that there is any term that begins in this way.
func (b clauses) begin(arrays []string, prefixes ...string) condition {
	var of []condition
	for _, name := range arrays {
		for _, prefix := range prefixes {
			of = append(of, b.span(name, prefix, after(prefix)))
		}
	}
	return either(of...)
}

// present is the condition that a resource has any value of a parameter.
func (b clauses) present(p *search.Param) condition {
	switch {
	case p.Name == "_id", p.Name == "_lastUpdated":
		return always()
	case p.Type == search.TokenParam:
		var of []condition
		for _, name := range names(b.of, p.Name) {
			of = append(of, b.begin(b.arrays(name), name+"="))
		}
		return either(of...)
	case p.Type == search.ReferenceParam:
		c := b.begin([]string{"t"}, p.Name+"=", p.Name+"#url=", identifierName(p.Name)+"=")
		if !isPatient(b.of, p.Name) {
			return c
		}
		// Digits, letters, - and . are what an id begins with, and behind # and *.
		return either(c, condition{filter: b.tolerant(field("pt", op("$gte", "-"))), exact: true})
	case p.Type == search.DateParam && p.Name == "date":
		return condition{filter: hasEnd(), exact: true, live: true}
	case p.Type == search.DateParam:
		return b.element("d", []string{p.Name}, nil)
	case p.Type == search.QuantityParam, p.Type == search.NumberParam:
		var any []string
		for _, name := range names(b.of, p.Name) {
			any = append(any, quantityName(name, "", true), quantityName(name, "", false))
		}
		return b.element("q", any, nil)
	case p.Type == search.StringParam:
		return b.begin([]string{"s"}, p.Name+"=")
	case p.Type == search.URIParam:
		if unindexed(p.Name) {
			return b.begin([]string{"x"}, p.Name+"=")
		}
		return b.begin([]string{"t"}, p.Name+"=")
	}
	return unknown
}

// element is the condition that one item of an array of documents is of a parameter and
// meets all of a filter.
func (b clauses) element(name string, params []string, f bson.D) condition {
	item := append(equal("k", params), f...)
	return condition{filter: b.tolerant(field(name, op("$elemMatch", item))), exact: true, live: true}
}

func (b clauses) ids(c *search.Clause) condition {
	var ids []string
	for i := range c.Values {
		ids = append(ids, c.Values[i].Code)
	}
	return among(ids)
}

// among is the condition that a resource is one of some.
func among(ids []string) condition {
	if ids = sorted(ids); len(ids) == 0 {
		return nothing()
	}
	return condition{filter: equal("_id", ids), exact: true}
}

func (b clauses) among(keys map[fhir.Key]bool) condition {
	var ids []string
	for key, in := range keys {
		if in && key.Type == b.of && key.Version == "" {
			ids = append(ids, key.ID)
		}
	}
	return among(ids)
}

// chain is the condition that a reference is to one of those that the chain means.
func (b clauses) chain(c *search.Clause) condition {
	var terms, patients []string
	for _, key := range slices.SortedFunc(maps.Keys(c.Among), func(a, b fhir.Key) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.ID, b.ID))
	}) {
		switch {
		case !c.Among[key] || key.Version != "" || key.ID == "":
		case key.Type == "Patient" && isPatient(b.of, c.Param.Name):
			patients = append(patients, key.ID)
		default:
			terms = append(terms, string(appendPair(nil, c.Param.Name, key.ID, key.Type)))
		}
	}
	for url := range c.AmongURLs {
		terms = append(terms, string(appendPair(nil, c.Param.Name+"#url", url.URL, url.Version)))
	}
	if len(terms)+len(patients) > maxPoints {
		some := b.present(&c.Param)
		some.exact = false
		return some
	}
	return either(b.patients(patients), b.points("t", terms...))
}

// patients is the condition that the patient is one of some.
func (b clauses) patients(ids []string) condition {
	ids = slices.DeleteFunc(sorted(ids), func(id string) bool { return !fhir.ValidID(id) })
	if len(ids) == 0 {
		return nothing()
	}
	if !b.strict {
		ids = append(ids, everything)
	}
	return condition{filter: equal("pt", ids), exact: true}
}

func (b clauses) token(c *search.Clause, name string) condition {
	var (
		points = map[string][]string{}
		of     []condition
		some   bool
	)
	for i := range c.Values {
		v := &c.Values[i]
		codes := v.Set.Codes()
		if v.Set != nil && codes == nil || v.AnyCode && !v.AnySystem {
			some = true
			continue
		}
		for _, name := range names(b.of, name) {
			if v.Set != nil {
				for _, one := range codes {
					array := b.arrayOf(name, one.Code)
					points[array] = append(points[array], token(name, one.Code, one.System))
				}
				continue
			}
			array := b.arrayOf(name, v.Code)
			switch {
			case v.AnySystem && v.AnyCode:
				of = append(of, b.begin(b.arrays(name), name+"="))
			case !v.AnySystem:
				points[array] = append(points[array], token(name, v.Code, v.System))
			case array == "k":
				points[array] = append(points[array], inAnySystem(name, v.Code)...)
			default:
				of = append(of, b.begin([]string{array}, string(appendBare(nil, name, v.Code))+"|"))
			}
		}
	}
	if some { // the codes are not known, or the system is of any code
		var any []condition
		for _, name := range names(b.of, name) {
			any = append(any, b.begin(b.arrays(name), name+"="))
		}
		one := either(any...)
		one.exact = false
		return one
	}
	for _, array := range slices.Sorted(maps.Keys(points)) {
		of = append(of, b.points(array, points[array]...))
	}
	return either(of...)
}

func (b clauses) reference(c *search.Clause) condition {
	name := c.Param.Name
	if c.Modifier == "identifier" {
		return b.identifier(c)
	}
	var (
		points, patients []string
		of               []condition
	)
	for i := range c.Values {
		v := &c.Values[i]
		if v.URL != "" {
			start := string(appendPart([]byte(urlName(name)+"="), v.URL)) + "|"
			if v.Version != "" {
				points = append(points, string(appendPart([]byte(start), v.Version)))
			} else {
				of = append(of, b.begin([]string{"t"}, start))
			}
		}
		if v.RefID == "" {
			continue
		}
		if (v.RefType == "" || v.RefType == "Patient") && isPatient(b.of, name) {
			patients = append(patients, v.RefID)
		}
		switch {
		case v.RefType == "Patient" && isPatient(b.of, name):
		case v.RefType != "":
			points = append(points, string(appendPair(nil, name, v.RefID, v.RefType)))
		case few(c.Param.Targets):
			points = append(points, string(appendBare(nil, name, v.RefID))+"|"+foreign)
			for _, target := range c.Param.Targets {
				points = append(points, string(appendPair(nil, name, v.RefID, target)))
			}
		default:
			of = append(of, b.begin([]string{"t"}, string(appendBare(nil, name, v.RefID))+"|"))
		}
	}
	return either(append(of, b.patients(patients), b.points("t", points...))...)
}

// identifier is the condition on the identifiers of references. A value that is nothing
// matches references that have none.
func (b clauses) identifier(c *search.Clause) condition {
	plain := *c
	plain.Modifier = ""
	for i := range c.Values {
		if v := &c.Values[i]; v.Code == "" && (v.AnyCode || v.AnySystem || v.System == "") {
			some := b.present(&c.Param)
			some.exact = false
			return some
		}
	}
	return b.token(&plain, identifierName(c.Param.Name))
}

func (b clauses) text(c *search.Clause, name string) condition {
	if untold(b.of, name) {
		return unknown
	}
	var of []condition
	for i := range c.Values {
		want := c.Values[i].String
		for _, name := range names(b.of, name) {
			one := condition{}
			switch c.Modifier {
			case "exact":
				one = b.points("s", string(appendText(nil, name, search.Fold(want))))
				one.exact = false
			case "contains":
				one = condition{filter: b.tolerant(field("s", containing(name, want))), live: true}
			default:
				start := beginning(want, maxText-len(cutMark))
				one = b.begin([]string{"s"}, name+"="+start)
				one.exact = start == want
			}
			of = append(of, one)
		}
	}
	return either(of...)
}

// containing finds the texts of a parameter that contain another, and those that were cut.
func containing(name, want string) bson.Regex {
	// A pattern ends at its first zero byte.
	part := strings.ReplaceAll(regexp.QuoteMeta(want), "\x00", ".")
	return bson.Regex{Pattern: "^" + regexp.QuoteMeta(name) + "=(.*" + part + "|.*" + cutMark + "$)", Options: "s"}
}

// boundaries are where a part of a URL begins.
const boundaries = "/?#:|"

func (b clauses) uri(c *search.Clause) condition {
	array, name := "t", c.Param.Name
	if unindexed(name) {
		array = "x"
	}
	term := func(uri string) string { return string(appendBare(nil, name, uri)) }
	var (
		points []string
		of     []condition
	)
	for i := range c.Values {
		want := c.Values[i].String
		switch c.Modifier {
		case "above":
			if points = append(points, aboveURL(want, term)...); len(points) > maxPoints {
				some := b.present(&c.Param)
				some.exact = false
				return some
			}
		case "below":
			of = append(of, b.below(array, want, term))
		default:
			points = append(points, term(want))
		}
	}
	return either(append(of, b.points(array, points...))...)
}

// below is the condition that a URL is another one or beneath it.
func (b clauses) below(array, start string, term func(string) string) condition {
	switch {
	case start == "" || isURN(start):
		return nothing()
	case isCut(start):
		c := b.begin([]string{array}, beginning(term(""), maxPart))
		c.exact = false
		return c
	case strings.IndexByte(boundaries, start[len(start)-1]) >= 0:
		return b.begin([]string{array}, term(start))
	}
	of := []condition{b.points(array, term(start))}
	for i := range len(boundaries) {
		if next := start + boundaries[i:i+1]; !isURN(next) {
			of = append(of, b.begin([]string{array}, term(next)))
		}
	}
	return either(of...)
}

// aboveURL are the terms of a URL and of those that it is beneath.
func aboveURL(uri string, term func(string) string) []string {
	if uri == "" || isURN(uri) {
		return nil
	}
	var terms []string
	for n := 1; n < len(uri); n++ {
		if strings.IndexByte(boundaries, uri[n]) >= 0 || strings.IndexByte(boundaries, uri[n-1]) >= 0 {
			terms = append(terms, term(uri[:n]))
		}
	}
	return append(terms, term(uri))
}

func isURN(uri string) bool { return len(uri) >= 4 && strings.EqualFold(uri[:4], "urn:") }

func (b clauses) quantity(c *search.Clause) condition {
	return each(c, func(v *search.Value) condition {
		low, high := span(v)
		var kind string
		if l, h, k, ok := v.Canonical(); ok && c.Param.Type == search.QuantityParam && !v.AnySystem && !v.AnyCode {
			low, high, kind = l, h, k
		}
		params := names(b.of, c.Param.Name)
		ranges := make([]string, len(params))
		for i, param := range params {
			params[i], ranges[i] = quantityName(param, kind, true), quantityName(param, kind, false)
		}
		from, to := apart(low, high)
		var at bson.D
		at = within(at, "$gte", from)
		at = within(at, "$lte", to)
		if at != nil {
			at = field("l", at)
		}
		var over bson.D
		if l := within(nil, "$lte", high); l != nil {
			over = append(over, bson.E{Key: "l", Value: l})
		}
		if h := within(nil, "$gte", low); h != nil {
			over = append(over, bson.E{Key: "h", Value: h})
		}
		one := either(b.element("q", params, at), b.element("q", ranges, over))
		one.exact = false // a float is not the number that was written
		return one
	})
}

// composite is the condition that there are values for each component, of whichever
// repetition. What is odd because of a composite has everything in its terms.
func (b clauses) composite(c *search.Clause) condition {
	one := each(c, func(v *search.Value) condition {
		if len(v.Parts) != len(c.Param.Components) {
			return nothing()
		}
		var of []condition
		for i, component := range c.Param.Components {
			switch component.Type {
			case search.TokenParam, search.QuantityParam, search.NumberParam:
				of = append(of, b.values(&search.Clause{Param: component, Values: v.Parts[i : i+1]}))
			case search.ReferenceParam: // pt does not tell what is odd because of a composite
				part := b.values(&search.Clause{Param: component, Values: v.Parts[i : i+1]})
				part.filter = b.tolerant(part.filter)
				of = append(of, part)
			}
		}
		return both(of...)
	})
	one.exact = false
	return one
}
