package layout

import (
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// condition is what a clause, or a part of one, is in a filter.
type condition struct {
	// filter finds every document that the clause holds for. Empty, it finds all.
	filter bson.D
	// exact: it finds no other, of those that are not odd.
	exact bool
	// live: it finds no tombstones.
	live bool
	// never: the clause holds for nothing.
	never bool
}

// unknown is the condition of a clause that the filter cannot tell anything about.
var unknown = condition{}

func nothing() condition {
	return condition{filter: bson.D{{Key: "_id", Value: op("$in", bson.A{})}}, exact: true, live: true, never: true}
}

func always() condition { return condition{exact: true} }

// op is an operator with its operand.
func op(name string, value any) bson.D { return bson.D{{Key: name, Value: value}} }

// field is a condition on one field.
func field(name string, value any) bson.D { return bson.D{{Key: name, Value: value}} }

// all is a filter that finds what each of several finds.
func all(filters ...bson.D) bson.D {
	merged := bson.D{}
	var more bson.A
	for _, f := range filters {
		for _, e := range f {
			if e.Key == "$and" {
				more = append(more, e.Value.(bson.A)...)
				continue
			}
			if !merge(&merged, e) {
				more = append(more, bson.D{e})
			}
		}
	}
	if more != nil {
		merged = append(merged, bson.E{Key: "$and", Value: more})
	}
	return merged
}

// merge adds an element to a filter, if need be to the operators that the field has already.
// It is false if there is no place for it.
func merge(to *bson.D, e bson.E) bool {
	for i := range *to {
		if (*to)[i].Key != e.Key {
			continue
		}
		if e.Key[0] == '$' {
			return false
		}
		before, ok1 := (*to)[i].Value.(bson.D)
		added, ok2 := e.Value.(bson.D)
		if !ok1 || !ok2 {
			return same((*to)[i].Value, e.Value)
		}
		merged := append(bson.D{}, before...)
	next:
		for _, a := range added {
			for _, b := range before {
				if a.Key == b.Key {
					if !same(a.Value, b.Value) {
						return false
					}
					continue next
				}
			}
			merged = append(merged, a)
		}
		(*to)[i].Value = merged
		return true
	}
	*to = append(*to, e)
	return true
}

// same reports whether two operands are one value, as far as that is quickly told.
func same(a, b any) bool {
	switch a.(type) {
	case string, bool, float64, bson.DateTime, nil:
		return a == b
	}
	return false
}

// oneOf is a filter that finds what one of several finds.
func oneOf(filters ...bson.D) bson.D {
	if len(filters) == 1 {
		return filters[0]
	}
	var of bson.A
	odd := false
	add := func(f bson.D) {
		if len(f) == 1 && f[0].Key == "odd" { // once is enough, at the end
			odd = true
			return
		}
		of = append(of, f)
	}
	for _, f := range filters {
		if len(f) == 1 && f[0].Key == "$or" {
			for _, alternative := range f[0].Value.(bson.A) {
				add(alternative.(bson.D))
			}
			continue
		}
		add(f)
	}
	if odd {
		of = append(of, isOdd())
	}
	return op("$or", of)
}

// either is a condition that holds if one of several does.
func either(of ...condition) condition {
	out := condition{exact: true, live: true, never: true}
	var filters []bson.D
	for _, c := range of {
		if c.never {
			continue
		}
		out.never = false
		out.exact = out.exact && c.exact
		out.live = out.live && c.live
		filters = append(filters, c.filter)
		if len(c.filter) == 0 {
			return condition{exact: c.exact && out.exact}
		}
	}
	if out.never {
		return nothing()
	}
	out.filter = oneOf(filters...)
	return out
}

// both is a condition that holds if all of several do.
func both(of ...condition) condition {
	out := condition{exact: true}
	var filters []bson.D
	for _, c := range of {
		if c.never {
			return nothing()
		}
		out.exact = out.exact && c.exact
		out.live = out.live || c.live
		filters = append(filters, c.filter)
	}
	out.filter = all(filters...)
	return out
}

// not is the opposite of a condition that is exact.
func not(c condition) condition {
	switch {
	case !c.exact:
		return unknown
	case c.never:
		return always()
	case len(c.filter) == 0:
		return nothing()
	}
	return condition{filter: op("$nor", bson.A{c.filter}), exact: true}
}

// equal is a field that has one of some values.
func equal(name string, values []string) bson.D {
	if len(values) == 1 {
		return field(name, values[0])
	}
	list := make(bson.A, len(values))
	for i, v := range values {
		list[i] = v
	}
	return field(name, op("$in", list))
}

// between are the operators of a range from the one text to right before the other; "" is no
// end.
func between(from, to string) bson.D {
	d := op("$gte", from)
	if to != "" {
		d = append(d, bson.E{Key: "$lt", Value: to})
	}
	return d
}

// within adds a bound to the operators of a range of numbers, unless it is infinite.
func within(d bson.D, operator string, f float64) bson.D {
	if math.IsInf(f, 0) {
		return d
	}
	return append(d, bson.E{Key: operator, Value: f})
}
