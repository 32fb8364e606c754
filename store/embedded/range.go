package embedded

import (
	"bytes"
	"math"
	"time"

	"github.com/cockroachdb/apd/v3"

	"github.com/kiln-health/kiln/fhir/search"
)

// bounds are the first and the last date that a match can have as its place by date. A
// zero time is no bound. Only a resource of a short date has an oldest place.
type bounds struct{ oldest, newest time.Time }

// dateBounds are the bounds that one clause gives: those of its widest value.
func dateBounds(c *search.Clause) bounds {
	var b bounds
	for i := range c.Values {
		v := &c.Values[i]
		var one bounds
		switch v.Prefix {
		case search.NE:
		case search.GT, search.GE, search.SA:
			one.oldest = v.From.Add(-shortSpan)
		case search.LT, search.LE, search.EB:
			one.newest = v.To
		default:
			one = bounds{oldest: v.From.Add(-shortSpan), newest: v.To}
		}
		if i == 0 {
			b = one
			continue
		}
		b.oldest = earliest(b.oldest, one.oldest)
		if b.newest.IsZero() || one.newest.IsZero() {
			b.newest = time.Time{}
		} else if one.newest.After(b.newest) {
			b.newest = one.newest
		}
	}
	return b
}

// earliest is the earlier of two bounds, of which a zero one reaches to the beginning.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || b.IsZero() {
		return time.Time{}
	}
	if b.Before(a) {
		return b
	}
	return a
}

func (b bounds) and(o bounds) bounds {
	if o.oldest.After(b.oldest) {
		b.oldest = o.oldest
	}
	if b.newest.IsZero() || !o.newest.IsZero() && o.newest.Before(b.newest) {
		b.newest = o.newest
	}
	return b
}

// ranges are the keys with that prefix whose dates are within b.
func (b bounds) ranges(prefix []byte) []keyRange {
	var ranges []keyRange
	for _, span := range []byte{short, long} {
		ranges = append(ranges, b.of(append(bytes.Clone(prefix), span), span))
	}
	return ranges
}

// ofSeries are the resources of a series whose dates are within b.
func (b bounds) ofSeries(number uint64, span byte) keyRange {
	m := b.of(appendSeries(nil, memberKey, number), span)
	m.values, m.series = members, number
	r := b.of(appendSeries(nil, recordKey, number), span)
	r.values, r.series, r.members = placed, number, &m
	return r
}

// of are the keys that begin with start, all of dates of that span, as far as they are within b.
func (b bounds) of(start []byte, span byte) keyRange {
	r := keyRange{lower: start, upper: after(start), cut: len(start), place: dateLen}
	if !b.newest.IsZero() {
		r.lower = appendDate(bytes.Clone(start), b.newest)
	}
	if span == short && !b.oldest.IsZero() {
		r.upper = after(appendDate(bytes.Clone(start), b.oldest))
	}
	return r
}

// none is what nothing lies in.
var none = span{from: math.Inf(1), to: math.Inf(-1)}

// everything is what every number lies in.
var everything = span{from: math.Inf(-1), to: math.Inf(1)}

// span is where a number must be, at least in part.
type span struct{ from, to float64 }

// spanOf is where a quantity of the same unit must be that v finds.
func spanOf(v *search.Value) span {
	switch v.Prefix {
	case search.NE:
		return everything
	case search.GT, search.GE, search.SA:
		return span{below(v.Number), math.Inf(1)}
	case search.LT, search.LE, search.EB:
		return span{math.Inf(-1), above(v.Number)}
	default:
		return span{below(v.Low), above(v.High)}
	}
}

// spanIn is where a quantity must be that v finds, in the unit of a code.
func spanIn(v *search.Value, code string) span {
	low, high, kind, converts := v.Canonical()
	switch {
	case v.Code == code:
		return spanOf(v)
	case len(code) >= maxTerm: // it may be cut
		return everything
	case !converts:
		return none
	}
	zero := search.Quantity{System: v.System, Code: code, Low: apd.New(0, 0), High: apd.New(0, 0)}
	if from, to, is, ok := zero.Canonical(); !ok || is != kind {
		return none
	} else if from != 0 || to != 0 { // more than a factor leads there
		return everything
	}
	one := search.Quantity{System: v.System, Code: code, Low: apd.New(1, 0), High: apd.New(1, 0)}
	from, to, _, _ := one.Canonical()
	if !(from > 0) || math.IsInf(to, 1) {
		return everything
	}
	s := span{wider(min(low/from, low/to), -1), wider(max(high/from, high/to), 1)}
	if math.IsNaN(s.from) || math.IsNaN(s.to) {
		return everything
	}
	return s
}

// wider is a little more than f in a direction: more than what division and rounding lose.
func wider(f, direction float64) float64 {
	if math.IsInf(f, 0) {
		return f
	}
	f += direction * math.Abs(f) * 1e-14
	for range 2 {
		f = math.Nextafter(f, math.Inf(int(direction)))
	}
	return f
}

// ranges are the keys with that prefix, of one code of a unit, whose numbers may be within s.
func (s span) ranges(prefix []byte) []keyRange {
	var ranges []keyRange
	for _, class := range []byte{short, long} {
		start := append(bytes.Clone(prefix), class)
		r := keyRange{lower: start, upper: after(start), cut: len(start), place: floatLen}
		if class == short && !math.IsInf(s.from, -1) {
			r.lower = appendFloat(bytes.Clone(start), s.from)
		}
		if !math.IsInf(s.to, 1) {
			r.upper = after(appendFloat(bytes.Clone(start), s.to))
		}
		ranges = append(ranges, r)
	}
	return ranges
}
