package search

import (
	"bytes"
	"cmp"
	"math"

	"github.com/cockroachdb/apd/v3"

	"github.com/kiln-health/kiln/fhir"
)

// Limits of a number: exact arithmetic must not be made to write out 1e1000000.
const (
	maxNumberLength = 64  // characters
	maxExponent     = 100 // of the first digit, in either direction
)

// decimal reads a FHIR decimal exactly. It is nil if the text is none or exceeds the limits.
// http://hl7.org/fhir/R4/datatypes.html#decimal
func decimal(text string) *apd.Decimal {
	if len(text) > maxNumberLength || !fhir.IsDecimal(text) {
		return nil
	}
	if n, ok := small(text); ok {
		return n.decimal()
	}
	d, _, err := apd.NewFromString(text)
	if err != nil || outside(int64(d.Exponent)) || outside(int64(d.Exponent)+d.NumDigits()-1) {
		return nil
	}
	return d
}

func outside(exponent int64) bool { return exponent < -maxExponent || exponent > maxExponent }

// add and multiply are exact. The limits of their operands leave nothing that could go wrong.
func add(a, b *apd.Decimal) *apd.Decimal {
	c, sum := apd.BaseContext, new(apd.Decimal)
	_, _ = c.Add(sum, a, b)
	return sum
}

func multiply(a, b *apd.Decimal) *apd.Decimal {
	c, product := apd.BaseContext, new(apd.Decimal)
	_, _ = c.Mul(product, a, b)
	return product
}

// negative is -n, in a copy.
func negative(n *apd.Decimal) *apd.Decimal { return new(apd.Decimal).Neg(n) }

// implied are the edges of the precision with which n is written: half a unit of its last
// digit to both sides. So 100 is [99.5, 100.5) and 5.40 is [5.395, 5.405). In e-notation
// the digits before the e count: 1e2 has one, which makes it [50, 150), where R4 prints
// [95, 105) against its own rule.
// http://hl7.org/fhir/R4/search.html#number
func implied(n *apd.Decimal) (low, high *apd.Decimal) {
	half := apd.New(5, n.Exponent-1)
	return add(n, negative(half)), add(n, half)
}

// number is coefficient × 10^exponent: what nearly all numbers of a device are, without
// the memory that an apd.Decimal takes. A waveform has millions.
type number struct {
	coefficient int64
	exponent    int32
}

func (n number) decimal() *apd.Decimal { return apd.New(n.coefficient, n.exponent) }

// small reads a FHIR decimal of at most 18 digits and an exponent of at most two.
func small[T string | []byte](text T) (number, bool) {
	n, i := number{}, 0
	negative := len(text) > 0 && text[0] == '-'
	if negative {
		i++
	}
	digits, fraction := 0, -1
	for ; i < len(text); i++ {
		c := text[i]
		if c == '.' && fraction < 0 && digits > 0 {
			fraction = 0
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		if digits++; digits > 18 {
			return number{}, false
		}
		if fraction >= 0 {
			fraction++
		}
		n.coefficient = 10*n.coefficient + int64(c-'0')
	}
	if digits == 0 || fraction == 0 {
		return number{}, false
	}
	if i < len(text) {
		e, ok := exponent(text[i:])
		if !ok {
			return number{}, false
		}
		n.exponent = e
	}
	n.exponent -= int32(max(fraction, 0))
	if negative {
		n.coefficient = -n.coefficient
	}
	return n, true
}

// exponent reads e±dd.
func exponent[T string | []byte](text T) (int32, bool) {
	if len(text) < 2 || text[0] != 'e' && text[0] != 'E' {
		return 0, false
	}
	i, sign, e := 1, int32(1), int32(0)
	switch text[i] {
	case '-':
		sign = -1
		i++
	case '+':
		i++
	}
	if n := len(text) - i; n < 1 || n > 2 {
		return 0, false
	}
	for ; i < len(text); i++ {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
		e = 10*e + int32(text[i]-'0')
	}
	return sign * e, true
}

func (n number) compare(m number) int {
	switch {
	case n.exponent == m.exponent:
		return cmp.Compare(n.coefficient, m.coefficient)
	case n.exponent < m.exponent:
		return -m.compare(n)
	}
	c := n.coefficient
	for range n.exponent - m.exponent {
		if c > math.MaxInt64/10 || c < math.MinInt64/10 {
			return n.decimal().Cmp(m.decimal())
		}
		c *= 10
	}
	return cmp.Compare(c, m.coefficient)
}

// bounds are the least and the greatest sample of a waveform, and whether some were below
// (L) or above (U) what could be measured. Errors (E) count for nothing. It is not ok if a
// sample cannot be read. http://hl7.org/fhir/R4/datatypes.html#SampledData
func bounds(data []byte) (b extremes, ok bool) {
	for sample := range bytes.FieldsSeq(data) {
		switch string(sample) {
		case "E":
		case "L":
			b.below = true
		case "U":
			b.above = true
		default:
			n, ok := small(sample)
			if !ok {
				return extremes{}, false
			}
			if !b.any || n.compare(b.least) < 0 {
				b.least = n
			}
			if !b.any || n.compare(b.greatest) > 0 {
				b.greatest = n
			}
			b.any = true
		}
	}
	return b, true
}

type extremes struct {
	least, greatest   number
	any, below, above bool
}
