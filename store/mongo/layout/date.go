package layout

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/kiln-health/kiln/fhir/search"
)

// bounds are where d0 of a match is if its date is short: from the one text to right before
// the other. "" is no bound.
type bounds struct{ from, to string }

func (b bounds) filter() bson.D {
	d := bson.D{}
	if b.from != "" {
		d = append(d, bson.E{Key: "$gte", Value: b.from})
	}
	if b.to != "" {
		d = append(d, bson.E{Key: "$lt", Value: b.to})
	}
	return field("d0", d)
}

func (b bounds) and(o bounds) bounds {
	b.from = max(b.from, o.from)
	if b.to == "" || o.to != "" && o.to < b.to {
		b.to = o.to
	}
	return b
}

func (b bounds) or(o bounds) bounds {
	b.from = min(b.from, o.from)
	if b.to == "" || o.to == "" {
		b.to = ""
	} else {
		b.to = max(b.to, o.to)
	}
	return b
}

// boundsOf are the bounds that a clause about date gives, of all its values. They are none
// for other clauses.
func boundsOf(c *search.Clause) bounds {
	if c.Param.Name != "date" || c.Param.Type != search.DateParam || c.Modifier != "" || c.Any != nil || c.Chain != nil || c.Has != nil || c.Among != nil {
		return bounds{}
	}
	var b bounds
	for i := range c.Values {
		one := boundsOfValue(&c.Values[i])
		if i == 0 {
			b = one
		} else {
			b = b.or(one)
		}
	}
	return b
}

func boundsOfValue(v *search.Value) bounds {
	from, to := moment(v.From), moment(v.To)
	switch v.Prefix {
	case search.NE, search.LT:
		return bounds{}
	case search.GT:
		return bounds{from: earlier(v.To)}
	case search.GE:
		return bounds{from: min(from, earlier(v.To))}
	case search.SA:
		return bounds{from: to}
	case search.LE:
		return bounds{to: to}
	case search.EB:
		return bounds{to: from}
	case search.AP:
		return bounds{from: earlier(v.From), to: to}
	default:
		return bounds{from: from, to: to}
	}
}

// earlier is where a short date may begin that reaches t.
func earlier(t time.Time) string { return moment(t.Add(-shortSpan)) }

// hasEnd is the condition that there is a value of date.
func hasEnd() bson.D { return field("d1", op("$gt", "")) }

// date is the condition on a date. What is later than a search value begins where its
// interval ends, see search.Query.Matches.
func (b clauses) date(c *search.Clause) condition {
	if c.Param.Name != "date" {
		return each(c, func(v *search.Value) condition {
			of := alternatives(v, "l", "h")
			conditions := make([]condition, len(of))
			for i := range of {
				conditions[i] = b.element("d", []string{c.Param.Name}, of[i])
			}
			return either(conditions...)
		})
	}
	return each(c, func(v *search.Value) condition {
		of := alternatives(v, "d0", "d1")
		for i := range of {
			if first := of[i][0]; len(of[i]) == 1 && first.Key == "d0" && operand(first.Value, "$lt") != nil {
				of[i] = append(of[i], hasEnd()...) // what has no date has a d0, too
			}
		}
		f := oneOf(of...)
		if v.Prefix != search.LT { // the earliest of several dates is as good as any
			f = b.tolerant(f)
		}
		return condition{filter: f, exact: true, live: true}
	})
}

func mentions(f bson.D, name string) bool {
	for _, e := range f {
		if e.Key == name {
			return true
		}
	}
	return false
}

// alternatives are filters on the beginning and the end of a date, of which one must hold.
func alternatives(v *search.Value, begin, end string) []bson.D {
	from, to := moment(v.From), moment(v.To)
	is := func(name, operator, text string) bson.D { return field(name, op(operator, text)) }
	switch v.Prefix {
	case search.NE:
		return []bson.D{is(begin, "$lt", from), is(end, "$gt", to)}
	case search.GT:
		return []bson.D{is(end, "$gt", to)}
	case search.GE:
		return []bson.D{is(begin, "$gte", from), is(end, "$gt", to)}
	case search.LT:
		return []bson.D{is(begin, "$lt", from)}
	case search.LE:
		return []bson.D{is(begin, "$lt", from), is(end, "$lte", to)}
	case search.SA:
		return []bson.D{is(begin, "$gte", to)}
	case search.EB:
		return []bson.D{is(end, "$lte", from)}
	case search.AP:
		return []bson.D{append(is(begin, "$lt", to), is(end, "$gt", from)...)}
	default:
		return []bson.D{append(is(begin, "$gte", from), is(end, "$lte", to)...)}
	}
}

// lastUpdated is the condition on lu, which is a moment of whole milliseconds.
func lastUpdated(v *search.Value) condition {
	from, to := op("$gte", bson.DateTime(ceil(v.From))), op("$gte", bson.DateTime(ceil(v.To)))
	before := func(t time.Time) bson.D { return op("$lt", bson.DateTime(ceil(t))) }
	var f bson.D
	switch v.Prefix {
	case search.NE:
		f = oneOf(field("lu", before(v.From)), field("lu", to))
	case search.GT, search.SA:
		f = field("lu", to)
	case search.GE:
		f = oneOf(field("lu", from), field("lu", to))
		if !v.To.Before(v.From) {
			f = field("lu", from)
		}
	case search.LT, search.EB:
		f = field("lu", before(v.From))
	case search.LE:
		f = oneOf(field("lu", before(v.From)), field("lu", before(v.To)))
		if !v.To.Before(v.From) {
			f = field("lu", before(v.To))
		}
	default:
		f = field("lu", append(from, before(v.To)...))
	}
	return condition{filter: f, exact: true}
}

// ceil is the first whole millisecond that is not before t.
func ceil(t time.Time) int64 {
	millis := t.UnixMilli()
	if t.Nanosecond()%int(time.Millisecond) != 0 {
		millis++
	}
	return millis
}
