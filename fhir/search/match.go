package search

import (
	"strings"
	"time"

	"github.com/kiln-health/kiln/fhir"
)

// Matches reports whether q finds the resource r, last changed at lastUpdated, with the
// terms t. This is the meaning of a search, which every store agrees with.
//
// All clauses must hold, each on its own. A clause holds if any of its values matches any
// term of its parameter, with two exceptions: :not and :not-in hold if no value matches any
// term, and so for a resource without the parameter; :missing=true holds if there is no
// term. Everything else, ne too, wants a term: ne is about the value that a resource has.
// http://hl7.org/fhir/R4/search.html#modifiers
//
// A clause with Chain or Has that is not resolved holds for nothing.
//
// Paging is not a matter of Matches: After, Count and Sort are left out of account.
func (q Query) Matches(r fhir.Key, lastUpdated time.Time, t *Terms) bool {
	if r.Type != q.Type {
		return false
	}
	for i := range q.Where {
		if !q.Where[i].holds(r, lastUpdated, t) {
			return false
		}
	}
	return true
}

func (c *Clause) holds(r fhir.Key, lastUpdated time.Time, t *Terms) bool {
	switch {
	case c.Any != nil:
		for i := range c.Any {
			if c.Any[i].holds(r, lastUpdated, t) {
				return true
			}
		}
		return false
	case c.Chain != nil:
		return c.refersAmong(t)
	case c.Has != nil || c.Among != nil:
		return c.Among[fhir.Key{Type: r.Type, ID: r.ID}]
	case c.Modifier == "missing":
		parameter := Clause{Param: c.Param}
		present, _ := parameter.look(r, lastUpdated, t)
		return len(c.Values) > 0 && c.Values[0].Missing != present
	}
	_, found := c.look(r, lastUpdated, t)
	return found != (c.Modifier == "not" || c.Modifier == "not-in")
}

// refersAmong reports whether the resource refers to one of those that a chain means.
func (c *Clause) refersAmong(t *Terms) bool {
	if len(c.Among) == 0 {
		return false
	}
	for i := range t.References {
		ref := &t.References[i]
		if ref.Param != c.Param.Name {
			continue
		}
		if ref.ID != "" && c.Among[fhir.Key{Type: ref.Type, ID: ref.ID}] || ref.URL != "" && c.AmongURLs[Canonical{ref.URL, ref.Version}] {
			return true
		}
	}
	return false
}

// look tells whether the resource has a term of the parameter, and whether one matches.
func (c *Clause) look(r fhir.Key, lastUpdated time.Time, t *Terms) (present, found bool) {
	name := c.Param.Name
	switch {
	case name == "_id":
		return true, c.id(r.ID)
	case name == "_lastUpdated":
		d := Date{name, lastUpdated, lastUpdated.Add(time.Nanosecond)}
		return true, c.date(&d)
	case c.Modifier == "text":
		return c.strings(name, ":text", t)
	case c.Modifier == "of-type":
		return c.tokens(name, ":of-type", t)
	}
	switch c.Param.Type {
	case TokenParam:
		return c.tokens(name, "", t)
	case StringParam:
		return c.strings(name, "", t)
	case ReferenceParam:
		for i := range t.References {
			if t.References[i].Param == name {
				present, found = true, found || c.reference(&t.References[i])
			}
		}
	case DateParam:
		for i := range t.Dates {
			if t.Dates[i].Param == name {
				present, found = true, found || c.date(&t.Dates[i])
			}
		}
	case QuantityParam, NumberParam:
		for i := range t.Quantities {
			if t.Quantities[i].Param == name {
				present, found = true, found || c.quantity(&t.Quantities[i])
			}
		}
	case URIParam:
		for i := range t.URIs {
			if t.URIs[i].Param == name {
				present, found = true, found || c.uri(t.URIs[i].Value)
			}
		}
	case CompositeParam:
		for i := range t.Tuples {
			if t.Tuples[i].Param == name {
				present, found = true, found || c.tuple(t.Tuples[i].Parts)
			}
		}
	case SpecialParam:
		for i := range t.Positions {
			if t.Positions[i].Param == name {
				present, found = true, found || c.near(&t.Positions[i])
			}
		}
	}
	return present, found
}

// hasName reports whether param is name and suffix.
func hasName(param, name, suffix string) bool {
	return len(param) == len(name)+len(suffix) && param[:len(name)] == name && param[len(name):] == suffix
}

func (c *Clause) tokens(name, suffix string, t *Terms) (present, found bool) {
	for i := range t.Tokens {
		if hasName(t.Tokens[i].Param, name, suffix) {
			present, found = true, found || c.token(t.Tokens[i].System, t.Tokens[i].Code)
		}
	}
	return present, found
}

func (c *Clause) strings(name, suffix string, t *Terms) (present, found bool) {
	for i := range t.Strings {
		if hasName(t.Strings[i].Param, name, suffix) {
			present, found = true, found || c.text(t.Strings[i].Text)
		}
	}
	return present, found
}

func (c *Clause) id(id string) bool {
	for i := range c.Values {
		if c.Values[i].Code == id {
			return true
		}
	}
	return false
}

func (c *Clause) token(system, code string) bool {
	for i := range c.Values {
		v := &c.Values[i]
		if v.Set != nil {
			if v.Set.Contains(system, code) {
				return true
			}
			continue
		}
		if (v.AnySystem || v.System == system) && (v.AnyCode || v.Code == code) {
			return true
		}
	}
	return false
}

// text compares a string: its beginning, any part of it, or all of it as it is.
// http://hl7.org/fhir/R4/search.html#string
func (c *Clause) text(text string) bool {
	if c.Modifier != "exact" {
		text = Fold(text)
	}
	for i := range c.Values {
		want := c.Values[i].String
		switch c.Modifier {
		case "exact":
			if text == want {
				return true
			}
		case "contains":
			if strings.Contains(text, want) {
				return true
			}
		default:
			if strings.HasPrefix(text, want) {
				return true
			}
		}
	}
	return false
}

// uri compares a URI. http://hl7.org/fhir/R4/search.html#uri
func (c *Clause) uri(uri string) bool {
	for i := range c.Values {
		want := c.Values[i].String
		switch c.Modifier {
		case "below":
			if under(uri, want) {
				return true
			}
		case "above":
			if under(want, uri) {
				return true
			}
		default:
			if uri == want {
				return true
			}
		}
	}
	return false
}

// under reports whether a URL begins with another one that ends where a part of it does:
// http://x/a/b is under itself, http://x/a, http://x/a/ and http://x, and not under
// http://x/a/b/. http://x/ab is not under http://x/a. A URN is under nothing.
func under(uri, start string) bool {
	if len(uri) >= 4 && strings.EqualFold(uri[:4], "urn:") || start == "" {
		return false
	}
	rest, ok := strings.CutPrefix(uri, start)
	return ok && (rest == "" || strings.IndexByte("/?#:|", rest[0]) >= 0 || strings.IndexByte("/?#:|", start[len(start)-1]) >= 0)
}

// tuple reports whether all parts of one of the values match parts of the same repetition.
// http://hl7.org/fhir/R4/search.html#composite
func (c *Clause) tuple(parts []Terms) bool {
	if len(parts) != len(c.Param.Components) {
		return false
	}
next:
	for i := range c.Values {
		v := &c.Values[i]
		if len(v.Parts) != len(parts) {
			continue
		}
		for j := range parts {
			component := Clause{Param: c.Param.Components[j], Values: v.Parts[j : j+1]}
			if _, found := component.look(fhir.Key{}, time.Time{}, &parts[j]); !found {
				continue next
			}
		}
		return true
	}
	return false
}

func (c *Clause) reference(r *Reference) bool {
	if c.Modifier == "identifier" {
		return c.token(r.IdentifierSystem, r.IdentifierValue)
	}
	for i := range c.Values {
		v := &c.Values[i]
		if v.URL != "" && v.URL == r.URL && (v.Version == "" || v.Version == r.Version) ||
			v.RefID != "" && v.RefID == r.ID && (v.RefType == "" || v.RefType == r.Type) {
			return true
		}
	}
	return false
}

func (c *Clause) date(d *Date) bool {
	for i := range c.Values {
		if c.Values[i].matchesDate(d) {
			return true
		}
	}
	return false
}

// matchesDate compares two intervals. What is later than a search value begins where its
// interval ends: gt2024 is after 2024, not after its first moment.
// http://hl7.org/fhir/R4/search.html#prefix
func (v *Value) matchesDate(d *Date) bool {
	var (
		open   = d.Low.IsZero()
		ending = !d.High.IsZero()
		inside = !open && !d.Low.Before(v.From) && ending && !d.High.After(v.To)
		above  = !ending || d.High.After(v.To)
		below  = open || d.Low.Before(v.From)
	)
	switch v.Prefix {
	case NE:
		return !inside
	case GT:
		return above
	case GE:
		return above || inside
	case LT:
		return below
	case LE:
		return below || inside
	case SA:
		return !open && !d.Low.Before(v.To)
	case EB:
		return ending && !d.High.After(v.From)
	case AP:
		return (open || d.Low.Before(v.To)) && (!ending || d.High.After(v.From))
	default:
		return inside
	}
}

func (c *Clause) quantity(q *Quantity) bool {
	for i := range c.Values {
		if c.Values[i].matchesQuantity(q, c.Param.Type) {
			return true
		}
	}
	return false
}

// matchesQuantity: a unit without a system is looked for among the codes and the units for
// people, another unit of UCUM is converted.
// http://hl7.org/fhir/R4/search.html#quantity
func (v *Value) matchesQuantity(q *Quantity, t ParamType) bool {
	switch {
	case t == NumberParam, v.AnySystem && v.AnyCode:
	case v.AnySystem:
		if v.Code != q.Code && v.Code != q.Unit {
			return false
		}
	case v.System != q.System:
		return false
	case v.AnyCode, v.Code == q.Code:
	default:
		return v.Unit != nil && v.Unit.matches(v, q)
	}
	s := spanOf(q)
	return s.matches(v.Prefix, v.Number, v.Low, v.High)
}
