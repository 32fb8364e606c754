package search

import (
	"math"
	"math/big"
	"sync"

	"github.com/cockroachdb/apd/v3"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/ucum"
)

// Unit is the unit of UCUM in which a quantity is searched, and how values of other units
// get there. It may be used by many goroutines.
type Unit struct {
	unit              ucum.Unit
	kind              string
	number, low, high *big.Rat // of the value
	mu                sync.RWMutex
	from              map[string]*conversion // by code; nil for a unit of another kind
}

// maxConversions is how many units one value of a query remembers.
const maxConversions = 256

// Equal reports whether two units have the same code.
func (u *Unit) Equal(o *Unit) bool {
	return u == o || u != nil && o != nil && u.unit.String() == o.unit.String()
}

// unitOf is the unit of v, nil if its code is none of UCUM.
func unitOf(v *Value) *Unit {
	if v.System != fhir.UCUM || v.AnyCode {
		return nil
	}
	u, err := ucum.Parse(v.Code)
	if err != nil {
		return nil
	}
	return &Unit{unit: u, kind: u.Kind(), number: rational(v.Number), low: rational(v.Low), high: rational(v.High), from: map[string]*conversion{}}
}

// conversion is the way of values from one unit to another.
type conversion struct {
	from, to ucum.Unit
	factor   *big.Rat // nil if it takes more than a factor
	turned   bool     // what is more in the one unit is less in the other
	// The value of the query in the other unit, if all that takes is a factor and decimals
	// can say it: to compare them is far quicker than to convert what is stored.
	number, low, high *apd.Decimal
}

// conversion is nil for what is no unit, or none of the same kind.
func (u *Unit) conversion(code string) *conversion {
	u.mu.RLock()
	c, known := u.from[code]
	u.mu.RUnlock()
	if known {
		return c
	}
	if other, err := ucum.Parse(code); err == nil && other.Kind() == u.kind {
		c = &conversion{from: other, to: u.unit, turned: other.Descending() != u.unit.Descending()}
		if !other.Special() && !u.unit.Special() {
			over, _ := other.Canonical()
			under, _ := u.unit.Canonical()
			c.factor = over.Quo(over, under)
			c.number, c.low, c.high = c.back(u.number), c.back(u.low), c.back(u.high)
		}
	}
	u.mu.Lock()
	if len(u.from) < maxConversions {
		u.from[code] = c
	}
	u.mu.Unlock()
	return c
}

// back is a value of the query in the unit that is converted from, nil if no decimal is that.
func (c *conversion) back(n *big.Rat) *apd.Decimal {
	r := new(big.Rat).Quo(n, c.factor)
	digits, exact := r.FloatPrec()
	if !exact || digits > maxDigits {
		return nil
	}
	scaled := new(big.Rat).Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(digits)), nil)))
	return apd.NewWithBigInt(new(apd.BigInt).SetMathBigInt(scaled.Num()), -int32(digits))
}

// maxDigits is how many digits behind the point are compared as a decimal.
const maxDigits = 300

// value converts an edge; nil stays nil. It fails if there is no such value on the other scale.
func (c *conversion) value(n *apd.Decimal) (*big.Rat, bool) {
	if n == nil {
		return nil, true
	}
	r := rational(n)
	if c.factor != nil {
		return r.Mul(r, c.factor), true
	}
	r, err := c.from.Convert(r, c.to)
	return r, err == nil
}

// matches compares a quantity of another unit with the value v that is searched in u. What
// was measured is converted, so that the precision is that of what was written in the query.
func (u *Unit) matches(v *Value, q *Quantity) bool {
	c := u.conversion(q.Code)
	if c == nil {
		return false
	}
	if c.number != nil && c.low != nil && c.high != nil {
		s := spanOf(q)
		return s.matches(v.Prefix, c.number, c.low, c.high)
	}
	s := span[*big.Rat]{lowOpen: q.LowOpen, highOpen: q.HighOpen, noLow: q.Low == nil, noHigh: q.High == nil}
	var ok1, ok2 bool
	s.low, ok1 = c.value(q.Low)
	s.high, ok2 = c.value(q.High)
	if !ok1 || !ok2 {
		return false
	}
	if c.turned {
		s = span[*big.Rat]{low: s.high, high: s.low, lowOpen: s.highOpen, highOpen: s.lowOpen, noLow: s.noHigh, noHigh: s.noLow}
	}
	return s.matches(v.Prefix, u.number, u.low, u.high)
}

// rational is n exactly.
func rational(n *apd.Decimal) *big.Rat {
	r := new(big.Rat).SetInt(n.Coeff.MathBigInt())
	if n.Negative {
		r.Neg(r)
	}
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(n.Exponent, -n.Exponent))), nil)
	if n.Exponent < 0 {
		return r.Quo(r, new(big.Rat).SetInt(power))
	}
	return r.Mul(r, new(big.Rat).SetInt(power))
}

// Canonical is for a store that indexes quantities by what they measure, in whichever unit:
// the kind of the unit, as ucum.Unit.Kind, and a range in its base unit within which the
// value lies. The range is a little wider than the value, and infinite where that is open.
// It is not ok if the unit is none of UCUM.
//
// A search by a Value whose Canonical is ok finds no quantity but those of the same kind
// whose range overlaps that of the Value. Whether it finds them, Matches decides.
func (q *Quantity) Canonical() (low, high float64, kind string, ok bool) {
	if q.System != fhir.UCUM || q.Code == "" {
		return 0, 0, "", false
	}
	u, err := ucum.Parse(q.Code)
	if err != nil {
		return 0, 0, "", false
	}
	low, high = canonical(u, q.Low, q.High)
	return low, high, u.Kind(), true
}

// Canonical is the range, as of Quantity.Canonical, that all quantities overlap which the
// value finds. It is not ok if the value is not searched by a unit of UCUM.
func (v *Value) Canonical() (low, high float64, kind string, ok bool) {
	if v.Unit == nil {
		return 0, 0, "", false
	}
	var from, to *apd.Decimal
	switch v.Prefix {
	case NE:
	case GT, GE, SA:
		from = v.Number
	case LT, LE, EB:
		to = v.Number
	default:
		from, to = v.Low, v.High
	}
	low, high = canonical(v.Unit.unit, from, to)
	return low, high, v.Unit.kind, true
}

// canonical is the range in base units, rounded outwards.
func canonical(u ucum.Unit, from, to *apd.Decimal) (low, high float64) {
	if u.Descending() {
		from, to = to, from
	}
	low, high = math.Inf(-1), math.Inf(1)
	if from != nil {
		low = edge(u, from, low)
	}
	if to != nil {
		high = edge(u, to, high)
	}
	return low, high
}

// edge is a float beyond n in the direction of the infinite one, which it is itself if n
// has no place in base units.
func edge(u ucum.Unit, n *apd.Decimal, infinite float64) float64 {
	base, err := u.ToBase(rational(n))
	if err != nil {
		return infinite
	}
	f, exact := base.Float64()
	if u.Special() {
		// It may have been rounded to 12 digits, here and in the comparison.
		f += math.Copysign(math.Abs(f)*1e-9, infinite)
		exact = false
	}
	if exact {
		return f
	}
	return math.Nextafter(f, infinite)
}

// span is an interval of values. Where it has no edge it is infinite.
type span[N interface{ Cmp(N) int }] struct {
	low, high         N
	lowOpen, highOpen bool
	noLow, noHigh     bool
}

func spanOf(q *Quantity) span[*apd.Decimal] {
	return span[*apd.Decimal]{low: q.Low, high: q.High, lowOpen: q.LowOpen, highOpen: q.HighOpen, noLow: q.Low == nil, noHigh: q.High == nil}
}

// matches compares an interval with a number and the edges of its precision. eq, ne and ap
// heed the precision, the others take the number as it is.
// http://hl7.org/fhir/R4/search.html#prefix
func (s *span[N]) matches(p Prefix, number, low, high N) bool {
	switch p {
	case NE:
		return !s.within(low, high)
	case GT:
		return s.reaches(number, false)
	case GE:
		return s.reaches(number, true)
	case LT:
		return s.descends(number, false)
	case LE:
		return s.descends(number, true)
	case SA:
		return !s.descends(number, true)
	case EB:
		return !s.reaches(number, true)
	case AP:
		return s.reaches(low, true) && s.descends(high, true)
	default:
		return s.within(low, high)
	}
}

func (s *span[N]) within(low, high N) bool {
	return !s.noLow && !s.noHigh && s.low.Cmp(low) >= 0 && s.high.Cmp(high) < 0
}

// reaches reports whether part of s is above n, or with equal at n.
func (s *span[N]) reaches(n N, equal bool) bool {
	if s.noHigh {
		return true
	}
	over := s.high.Cmp(n)
	return over > 0 || over == 0 && equal && !s.highOpen
}

// descends reports whether part of s is below n, or with equal at n.
func (s *span[N]) descends(n N, equal bool) bool {
	if s.noLow {
		return true
	}
	under := s.low.Cmp(n)
	return under < 0 || under == 0 && equal && !s.lowOpen
}
