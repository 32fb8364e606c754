package search

import (
	"time"

	"github.com/cockroachdb/apd/v3"

	"github.com/kiln-health/kiln/fhir"
)

// Matches reports whether q finds the resource r, last changed at lastUpdated, with the
// terms t. This is the meaning of a search, which every store agrees with.
//
// All clauses must hold, each on its own. A clause holds if any of its values matches any
// term of its parameter, with two exceptions: :not holds if no value matches any term, and
// so for a resource without the parameter; :missing=true holds if there is no term.
// Everything else, ne too, wants a term: ne is about the value that a resource has.
// http://hl7.org/fhir/R4/search.html#modifiers
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
	if c.Modifier == "missing" {
		parameter := Clause{Param: c.Param}
		present, _ := parameter.look(r, lastUpdated, t)
		return len(c.Values) > 0 && c.Values[0].Missing != present
	}
	_, found := c.look(r, lastUpdated, t)
	return found != (c.Modifier == "not")
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
	case c.Param.Type == TokenParam:
		for i := range t.Tokens {
			if t.Tokens[i].Param == name {
				present, found = true, found || c.token(t.Tokens[i].System, t.Tokens[i].Code)
			}
		}
	case c.Param.Type == ReferenceParam:
		for i := range t.References {
			if t.References[i].Param == name {
				present, found = true, found || c.reference(&t.References[i])
			}
		}
	case c.Param.Type == DateParam:
		for i := range t.Dates {
			if t.Dates[i].Param == name {
				present, found = true, found || c.date(&t.Dates[i])
			}
		}
	case c.Param.Type == QuantityParam:
		for i := range t.Quantities {
			if t.Quantities[i].Param == name {
				present, found = true, found || c.quantity(&t.Quantities[i])
			}
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
		if (v.AnySystem || v.System == system) && (v.AnyCode || v.Code == code) {
			return true
		}
	}
	return false
}

func (c *Clause) reference(r *Reference) bool {
	if c.Modifier == "identifier" {
		return c.token(r.IdentifierSystem, r.IdentifierValue)
	}
	for i := range c.Values {
		v := &c.Values[i]
		if v.URL != "" && v.URL == r.URL ||
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
		if v := &c.Values[i]; v.matchesUnit(q) && v.matchesNumber(q) {
			return true
		}
	}
	return false
}

// matchesUnit: a unit without a system is looked for among the codes and the units for people.
// http://hl7.org/fhir/R4/search.html#quantity
func (v *Value) matchesUnit(q *Quantity) bool {
	switch {
	case v.AnySystem && v.AnyCode:
		return true
	case v.AnySystem:
		return v.Code == q.Code || v.Code == q.Unit
	default:
		return v.System == q.System && (v.AnyCode || v.Code == q.Code)
	}
}

// matchesNumber compares the number with the value, which may be an interval. eq, ne and
// ap heed the precision of the number, the others take it as it is.
// http://hl7.org/fhir/R4/search.html#prefix
func (v *Value) matchesNumber(q *Quantity) bool {
	switch v.Prefix {
	case NE:
		return !v.contains(q)
	case GT:
		return reaches(v.Number, q, false)
	case GE:
		return reaches(v.Number, q, true)
	case LT:
		return descends(v.Number, q, false)
	case LE:
		return descends(v.Number, q, true)
	case SA:
		return !descends(v.Number, q, true)
	case EB:
		return !reaches(v.Number, q, true)
	case AP:
		return reaches(v.Low, q, true) && descends(v.High, q, true)
	default:
		return v.contains(q)
	}
}

func (v *Value) contains(q *Quantity) bool {
	return q.Low != nil && q.High != nil && q.Low.Cmp(v.Low) >= 0 && q.High.Cmp(v.High) < 0
}

// reaches reports whether part of q is above n, or with equal at n.
func reaches(n *apd.Decimal, q *Quantity, equal bool) bool {
	if q.High == nil {
		return true
	}
	over := q.High.Cmp(n)
	return over > 0 || over == 0 && equal && !q.HighOpen
}

// descends reports whether part of q is below n, or with equal at n.
func descends(n *apd.Decimal, q *Quantity, equal bool) bool {
	if q.Low == nil {
		return true
	}
	under := q.Low.Cmp(n)
	return under < 0 || under == 0 && equal && !q.LowOpen
}
