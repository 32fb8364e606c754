package layout

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/kiln-health/kiln/fhir/search"
)

// order is one key of the order of a query: the field that has it.
type order struct {
	field string
	kind  orderKind
	down  bool
}

type orderKind int

const (
	byID orderKind = iota
	byUpdated
	byDate
	byKey // texts that are not there if they are ""
)

// ordersOf are the keys of the order of a query up to _id, which is always one. It is false
// if documents do not have one of them.
func ordersOf(q search.Query) ([]order, bool) {
	var keys []order
	for _, s := range q.Sort {
		switch {
		case s.Param == "_id":
			return append(keys, order{"_id", byID, s.Descending}), true
		case s.Param == "_lastUpdated":
			keys = append(keys, order{"lu", byUpdated, s.Descending})
		case s.Param == "date" && (s.Type == search.DateParam || s.Type == ""):
			keys = append(keys, order{"d0", byDate, s.Descending})
		case !hasSortKey(q.Type, s.Param, s.Type):
			return nil, false
		case s.Descending:
			keys = append(keys, order{"o.d." + sortField(s.Param), byKey, true})
		default:
			keys = append(keys, order{"o.a." + sortField(s.Param), byKey, false})
		}
	}
	return append(keys, order{"_id", byID, false}), true
}

// sortOf is the order of a query for MongoDB, nil if documents do not have its keys.
func sortOf(q search.Query) bson.D {
	keys, ok := ordersOf(q)
	if !ok {
		return nil
	}
	var sort bson.D
	for _, k := range keys {
		direction := 1
		if k.down {
			direction = -1
		}
		if !mentions(sort, k.field) { // a second time it makes no difference
			sort = append(sort, bson.E{Key: k.field, Value: direction})
		}
	}
	return sort
}

// behind is a filter of what comes after q.After: the first key tells where an index is to
// be read on, the alternatives which of those with equal keys were there already.
func behind(q search.Query) bson.D {
	keys, _ := ordersOf(q)
	var (
		of    []bson.D
		equal []bson.D
		first bson.D
		n     int
	)
	for i, k := range keys {
		var here place
		switch k.kind {
		case byID:
			here = textPlace(k, q.After.ID)
		case byUpdated:
			here = timePlace(k, q.After.LastUpdated)
		case byDate:
			here = textPlace(k, string(appendLow(nil, q.After.Date)))
		case byKey:
			key := ""
			if n < len(q.After.Keys) {
				key = q.After.Keys[n]
			}
			n++
			here = keyPlace(k, string(appendKey(nil, key)))
		}
		if here.after != nil {
			of = append(of, all(append(append([]bson.D{}, equal...), here.after)...))
		}
		if i == 0 {
			first = here.from
		}
		if here.at == nil {
			break
		}
		equal = append(equal, here.at)
	}
	switch {
	case len(of) == 0:
		return nothing().filter
	case len(of) == 1:
		return of[0]
	}
	return all(first, oneOf(of...))
}

// place are filters of what is behind a key, of what has it, and of both; nil is nothing,
// and of both all.
type place struct{ after, at, from bson.D }

func textPlace(k order, text string) place {
	switch {
	case !k.down:
		return place{field(k.field, op("$gt", text)), field(k.field, text), field(k.field, op("$gte", text))}
	case text == "":
		return place{nil, field(k.field, text), field(k.field, text)}
	default:
		return place{field(k.field, op("$lt", text)), field(k.field, text), field(k.field, op("$lte", text))}
	}
}

// timePlace is about moments of whole milliseconds. The cursor may be at any.
func timePlace(k order, t time.Time) place {
	millis := t.UnixMilli()
	whole := ceil(t) == millis
	p := place{
		after: field(k.field, op("$gt", bson.DateTime(millis))),
		from:  field(k.field, op("$gte", bson.DateTime(ceil(t)))),
	}
	if k.down {
		p.after = field(k.field, op("$lt", bson.DateTime(ceil(t))))
		p.from = field(k.field, op("$lte", bson.DateTime(millis)))
	}
	if whole {
		p.at = field(k.field, bson.DateTime(millis))
	}
	return p
}

func keyPlace(k order, text string) place {
	none := field(k.field, nil)
	switch {
	case !k.down && text == "":
		return place{field(k.field, op("$gt", "")), none, nil}
	case !k.down:
		return textPlace(k, text)
	case text == "":
		return place{nil, none, none}
	default:
		return place{oneOf(field(k.field, op("$lt", text)), none), field(k.field, text), nil}
	}
}
