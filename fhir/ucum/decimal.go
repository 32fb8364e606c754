package ucum

import (
	"errors"
	"math/big"
	"strconv"
	"strings"
)

// Limits of a decimal number, and how it is written.
const (
	maxValueLength   = 64
	maxValueExponent = 100
	maxPrecision     = 34 // significant digits of what is rounded: those of IEEE decimal128
)

// decimal is digits × 10^exponent. It keeps the digits that a value was written with.
type decimal struct {
	negative bool
	digits   string // without leading zeros, but never empty
	exponent int
}

var errDecimal = errors.New("ucum: the value is no decimal number of FHIR, such as 72.50 or 1.5e3 (http://hl7.org/fhir/R4/datatypes.html#decimal)")

func parseDecimal(text string) (decimal, error) {
	if len(text) > maxValueLength {
		return decimal{}, errors.New("ucum: the value is longer than 64 characters")
	}
	number, negative := strings.CutPrefix(text, "-")
	d := decimal{negative: negative}
	if e := strings.IndexAny(number, "eE"); e >= 0 {
		exponent := number[e+1:]
		number = number[:e]
		if !allDigits(exponent) && (exponent == "" || exponent[0] != '+' && exponent[0] != '-' || !allDigits(exponent[1:])) {
			return decimal{}, errDecimal
		}
		n, err := strconv.Atoi(exponent)
		if err != nil || n > maxValueExponent || n < -maxValueExponent {
			return decimal{}, errors.New("ucum: the exponent of the value is beyond 100")
		}
		d.exponent = n
	}
	whole, fraction, hasFraction := strings.Cut(number, ".")
	if !allDigits(whole) || len(whole) > 1 && whole[0] == '0' || hasFraction && !allDigits(fraction) {
		return decimal{}, errDecimal
	}
	d.exponent -= len(fraction)
	if d.digits = strings.TrimLeft(whole+fraction, "0"); d.digits == "" {
		d.digits = "0"
	}
	return d, nil
}

func allDigits(s string) bool {
	for _, c := range s {
		if !isDigit(c) {
			return false
		}
	}
	return s != ""
}

func (d decimal) rat() *big.Rat {
	n, _ := new(big.Int).SetString(d.digits, 10)
	if d.negative {
		n.Neg(n)
	}
	if d.exponent < 0 {
		return new(big.Rat).SetFrac(n, powerOfTen(-d.exponent))
	}
	return new(big.Rat).SetInt(n.Mul(n, powerOfTen(d.exponent)))
}

// decimalOf is r in so many digits as it takes, at most 34: it is rounded if it has more.
func decimalOf(r *big.Rat) decimal {
	d := quotient(new(big.Int).Abs(r.Num()), r.Denom(), 0)
	d.negative = r.Sign() < 0
	return d
}

// times is d × s, in digits as decimalOf has them.
func (d decimal) times(s size) decimal {
	if s.num == nil && s.den == nil && len(d.digits) <= maxPrecision {
		d.exponent += s.tens
		return d.trimmed()
	}
	n, _ := new(big.Int).SetString(d.digits, 10)
	q := quotient(n.Mul(n, orOne(s.num)), orOne(s.den), d.exponent+s.tens)
	q.negative = d.negative && q.digits != "0"
	return q
}

// quotient is num / den × 10^exponent, in digits as decimalOf has them. Neither is negative.
func quotient(num, den *big.Int, exponent int) decimal {
	if den.Cmp(one) != 0 {
		// log10(2) is about 1233/4096, so this is the number of digits before the point, or one
		// more or less; two to spare leave one for the rounding to see.
		shift := (num.BitLen()-den.BitLen())*1233>>12 - maxPrecision - 2
		if shift < 0 {
			num = new(big.Int).Mul(num, powerOfTen(-shift))
		} else {
			den = new(big.Int).Mul(den, powerOfTen(shift))
		}
		num = new(big.Int).Quo(num, den)
		exponent += shift
	}
	return decimal{digits: num.String(), exponent: exponent}.rounded(maxPrecision).trimmed()
}

// rounded has at most so many digits; halves go away from zero.
func (d decimal) rounded(precision int) decimal {
	if len(d.digits) <= precision {
		return d
	}
	d.exponent += len(d.digits) - precision
	digits, up := []byte(d.digits[:precision]), d.digits[precision] >= '5'
	for i := len(digits) - 1; up && i >= 0; i-- {
		if up = digits[i] == '9'; up {
			digits[i] = '0'
		} else {
			digits[i]++
		}
	}
	d.digits = string(digits)
	if up { // all were nines
		d.digits = "1" + d.digits
	}
	return d
}

// trimmed is d without trailing zeros, and zero without a sign.
func (d decimal) trimmed() decimal {
	digits := strings.TrimRight(d.digits, "0")
	if digits == "" {
		return decimal{digits: "0"}
	}
	d.exponent += len(d.digits) - len(digits)
	d.digits = digits
	return d
}

// String writes the number plainly, unless that takes many zeros.
func (d decimal) String() string {
	point := len(d.digits) + d.exponent // digits before it
	zeros := func(n int) string { return strings.Repeat("0", n) }
	text := ""
	switch {
	case d.exponent > 0 && point > 40 || point < -20:
		text = d.digits[:1]
		if len(d.digits) > 1 {
			text += "." + d.digits[1:]
		}
		text += "e" + strconv.Itoa(point-1)
	case d.digits == "0" && d.exponent >= 0:
		text = "0"
	case d.exponent >= 0:
		text = d.digits + zeros(d.exponent)
	case point > 0:
		text = d.digits[:point] + "." + d.digits[point:]
	default:
		text = "0." + zeros(-point) + d.digits
	}
	if d.negative {
		return "-" + text
	}
	return text
}
