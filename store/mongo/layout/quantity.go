package layout

import (
	"math"
	"sync"

	"github.com/cockroachdb/apd/v3"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// rangeOf is a range of floats in which all of a quantity lies, whatever its unit.
func rangeOf(q *search.Quantity) (low, high float64) {
	low, high = math.Inf(-1), math.Inf(1)
	if q.Low != nil {
		low = below(q.Low)
	}
	if q.High != nil {
		high = above(q.High)
	}
	return low, high
}

// below and above are floats that are certainly not more and not less than d.
func below(d *apd.Decimal) float64 { return math.Nextafter(float(d), math.Inf(-1)) }
func above(d *apd.Decimal) float64 { return math.Nextafter(float(d), math.Inf(1)) }

// float is d, or infinite where float64 ends.
func float(d *apd.Decimal) float64 {
	f, _ := d.Float64() // an error tells that f is infinite
	if math.IsNaN(f) {
		return 0
	}
	return f
}

// quantityName is the name of a parameter in q: with the kind of its unit for the number in
// base units, and other names for points and for ranges.
func quantityName(param, kind string, point bool) string {
	name := append(make([]byte, 0, 48), param...)
	if kind != "" {
		name = appendPart(append(name, '~'), kind)
	}
	if !point {
		name = append(name, "<>"...)
	}
	return string(name)
}

// margin is how far, in relation to it, the edges of a point may be from what is kept of it.
// It is far more than what rounding loses, and far less than what anybody looks for.
const margin = 1e-8

// near reports whether a number is less than margin off a point.
func near(point, f float64) bool {
	return math.Abs(f-point) <= math.Abs(point)*margin/2+tiny/2
}

// tiny is the margin around zero.
const tiny = 1e-300

// apart are the edges of a search with the margin of points.
func apart(low, high float64) (float64, float64) {
	return low - math.Abs(low)*margin - tiny, high + math.Abs(high)*margin + tiny
}

// span is where a number that a value finds must be, at least in part, if no unit is
// converted.
func span(v *search.Value) (from, to float64) {
	from, to = math.Inf(-1), math.Inf(1)
	switch v.Prefix {
	case search.NE:
	case search.GT, search.GE, search.SA:
		from = below(v.Number)
	case search.LT, search.LE, search.EB:
		to = above(v.Number)
	default:
		from, to = below(v.Low), above(v.High)
	}
	return from, to
}

// units remembers how units of UCUM are converted.
type units struct {
	mu    sync.RWMutex
	known map[string]*unit
}

// maxUnits is how many codes are remembered.
const maxUnits = 1024

// unit is the way from a unit to the base of its kind.
type unit struct {
	ucum bool
	kind string
	// factor, with what it may be off, leads there if simple.
	simple    bool
	low, high float64
}

// canonical is q.Canonical, a little wider.
func (u *units) canonical(q *search.Quantity) (low, high float64, kind string, ok bool) {
	if q.System == "" || q.Code == "" {
		return 0, 0, "", false
	}
	u.mu.RLock()
	known := u.known[q.Code]
	u.mu.RUnlock()
	if known == nil {
		known = unitOf(q)
		u.mu.Lock()
		if len(u.known) < maxUnits && known.ucum {
			u.known[q.Code] = known
		}
		u.mu.Unlock()
	}
	if !known.ucum || q.System != fhir.UCUM {
		return 0, 0, "", false
	}
	if !known.simple {
		return q.Canonical()
	}
	low, high = rangeOf(q)
	low = wider(min(low*known.low, low*known.high), -1)
	high = wider(max(high*known.low, high*known.high), 1)
	if math.IsNaN(low) || math.IsNaN(high) {
		return q.Canonical()
	}
	return low, high, known.kind, true
}

func unitOf(q *search.Quantity) *unit {
	zero := search.Quantity{System: q.System, Code: q.Code, Low: apd.New(0, 0), High: apd.New(0, 0)}
	from, to, kind, ok := zero.Canonical()
	if !ok {
		return &unit{}
	}
	u := &unit{ucum: true, kind: kind}
	if from != 0 || to != 0 { // more than a factor leads there
		return u
	}
	one := search.Quantity{System: q.System, Code: q.Code, Low: apd.New(1, 0), High: apd.New(1, 0)}
	u.low, u.high, _, _ = one.Canonical()
	u.simple = u.low > 0 && !math.IsInf(u.high, 1)
	return u
}

// wider is a little more than f in a direction: more than what rounding loses.
func wider(f, direction float64) float64 {
	if math.IsInf(f, int(direction)) {
		return f
	}
	if math.IsInf(f, 0) { // it was rounded there
		return math.Copysign(math.MaxFloat64, f)
	}
	f += direction * math.Abs(f) * 1e-14
	return math.Nextafter(f, math.Inf(int(direction)))
}
