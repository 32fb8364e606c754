package stats

import (
	"math/big"
	"strconv"
	"strings"
)

// How a number is written.
const (
	ExactDigits   = 34 // of a decimal that ends within so many significant digits, all are written
	RoundedDigits = 16 // any other is rounded to so many
)

// Text is r as a decimal of FHIR: all of it if it ends within ExactDigits significant digits,
// else rounded to RoundedDigits, halves away from zero. There are no zeros at its end.
func Text(r *big.Rat) string {
	if digits, exponent, ok := decimal(r, ExactDigits); ok {
		return written(r.Sign(), digits, exponent)
	}
	digits, exponent, _ := decimal(r, RoundedDigits)
	return written(r.Sign(), digits, exponent)
}

// decimal is |r| as digits × 10^exponent, with no more digits than the precision, and whether
// that is all of it.
func decimal(r *big.Rat, precision int) (digits string, exponent int, exact bool) {
	if r.Sign() == 0 {
		return "0", 0, true
	}
	num, den := new(big.Int).Abs(r.Num()), new(big.Int).Set(r.Denom())
	// log10(2) is about 1233/4096: this is the exponent of the last digit, or one too low.
	exponent = (num.BitLen()-den.BitLen()-1)*1233>>12 - precision
	for {
		n, d := num, den
		if exponent < 0 {
			n = new(big.Int).Mul(num, ten(-exponent))
		} else {
			d = new(big.Int).Mul(den, ten(exponent))
		}
		q, rest := new(big.Int).QuoRem(n, d, new(big.Int))
		if len(q.String()) > precision {
			exponent++
			continue
		}
		exact = rest.Sign() == 0
		if rest.Lsh(rest, 1).Cmp(d) >= 0 {
			q.Add(q, big.NewInt(1))
		}
		return q.String(), exponent, exact
	}
}

func ten(power int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(power)), nil)
}

// written is a decimal without zeros at its end, plain unless that takes many zeros.
func written(sign int, digits string, exponent int) string {
	trimmed := strings.TrimRight(digits, "0")
	if trimmed == "" {
		return "0"
	}
	exponent += len(digits) - len(trimmed)
	point := len(trimmed) + exponent // digits before it
	text := ""
	switch {
	case point > ExactDigits || point < -8:
		text = trimmed[:1]
		if len(trimmed) > 1 {
			text += "." + trimmed[1:]
		}
		text += "e" + strconv.Itoa(point-1)
	case exponent >= 0:
		text = trimmed + strings.Repeat("0", exponent)
	case point > 0:
		text = trimmed[:point] + "." + trimmed[point:]
	default:
		text = "0." + strings.Repeat("0", -point) + trimmed
	}
	if sign < 0 {
		return "-" + text
	}
	return text
}

// root is the square root of r, which is not negative: exact if it is rational, else in
// RoundedDigits digits.
func root(r *big.Rat) *big.Rat {
	num, den := new(big.Int).Sqrt(r.Num()), new(big.Int).Sqrt(r.Denom())
	if product(num, num).Cmp(r.Num()) == 0 && product(den, den).Cmp(r.Denom()) == 0 {
		return new(big.Rat).SetFrac(num, den)
	}
	f := new(big.Float).SetPrec(256).SetRat(r)
	exact, _ := f.Sqrt(f).Rat(nil)
	digits, exponent, _ := decimal(exact, RoundedDigits)
	n, _ := new(big.Int).SetString(digits, 10)
	if exponent < 0 {
		return new(big.Rat).SetFrac(n, ten(-exponent))
	}
	return new(big.Rat).SetInt(n.Mul(n, ten(exponent)))
}
