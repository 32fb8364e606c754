package ucum

import (
	"fmt"
	"math/big"
	"strings"
)

// Convert converts a value, a decimal as FHIR writes it, from one unit to another.
//
// The result is exact if it has at most 34 significant digits, and rounded to as many, halves
// away from zero, if it has more or has no end: 1 [in_us] in m. Where the units differ by a
// power of ten the digits are kept as they were written: 72.50 kg are 0.07250 t, and the
// result may have more. Otherwise trailing zeros are dropped. Nothing is rounded to the
// precision of the measurement, which UCUM leaves to the caller.
//
// An error says which of the three arguments is wrong, or that the units are not
// commensurable; the value is not in it.
func Convert(value, from, to string) (string, error) {
	d, err := parseDecimal(value)
	if err != nil {
		return "", err
	}
	u, err := Parse(from)
	if err != nil {
		return "", fmt.Errorf("the unit to convert from: %w", err)
	}
	v, err := Parse(to)
	if err != nil {
		return "", fmt.Errorf("the unit to convert to: %w", err)
	}
	if from == to {
		return value, nil
	}
	if u.special == v.special && u.Commensurable(v) {
		if n, ok := tens(u.ratio(v)); ok {
			d.exponent += n
			return d.String(), nil
		}
	}
	r, err := u.Convert(d.rat(), v)
	if err != nil {
		return "", err
	}
	return decimalOf(r).String(), nil
}

// CanonicalQuantity is a value, a decimal as FHIR writes it, and its unit in base units: what
// tells whether two quantities are the same, and which is more. Equal quantities have equal
// texts, as the value has no trailing zeros. It is exact, or rounded to 34 significant digits.
// The code of the base is as in [Unit.Canonical].
//
// A special unit has its corresponding proper unit as its base: 37 Cel are 310.15 K. Note that
// [pH] and the homeopathic potencies run backwards: a lower pH is a higher concentration.
func CanonicalQuantity(value, code string) (canonical, base string, err error) {
	d, err := parseDecimal(value)
	if err != nil {
		return "", "", err
	}
	u, err := Parse(code)
	if err != nil {
		return "", "", err
	}
	if u.special == nil {
		return d.times(u.size).String(), u.baseCode(), nil
	}
	r, err := u.ToBase(d.rat())
	if err != nil {
		return "", "", err
	}
	return decimalOf(r).String(), u.baseCode(), nil
}

// Convert converts a value of this unit to another. The result is exact but for the units
// that the package comment names. It fails if the units are not commensurable, and if there
// is no such value, as for the logarithm of what is not above zero. The value is not changed.
func (u Unit) Convert(value *big.Rat, to Unit) (*big.Rat, error) {
	if !u.Commensurable(to) {
		return nil, fmt.Errorf("ucum: the units are not commensurable: one is of %s, the other of %s", u.baseCode(), to.baseCode())
	}
	if u.special == to.special {
		r := u.ratio(to)
		return r.Mul(r, value), nil
	}
	r, exact, err := u.toBase(value)
	if err != nil {
		return nil, err
	}
	if to.special != nil {
		n, exactly, err := to.special.scale.value(r.Quo(r, to.special.unit))
		if err != nil {
			return nil, err
		}
		r, exact = n, exact && exactly
	}
	return certain(r.Quo(r, to.size.rat()), exact), nil
}

// ToBase converts a value of this unit to the base that [Unit.Canonical] names. It is exact,
// and fails, as [Unit.Convert] does.
func (u Unit) ToBase(value *big.Rat) (*big.Rat, error) {
	r, exact, err := u.toBase(value)
	if err != nil {
		return nil, err
	}
	return certain(r, exact), nil
}

func (u Unit) toBase(value *big.Rat) (r *big.Rat, exact bool, err error) {
	r = u.size.rat()
	r.Mul(r, value)
	if u.special == nil {
		return r, true, nil
	}
	n, exact, err := u.special.scale.number(r)
	if err != nil {
		return nil, false, err
	}
	return n.Mul(n, u.special.unit), exact, nil
}

// certain is r in the digits that are certain: 12, if it has been through floating point.
func certain(r *big.Rat, exact bool) *big.Rat {
	if exact {
		return r
	}
	return decimalOf(r).rounded(12).rat()
}

// ratio is how many of the other unit this one is, if both are on the same scale.
func (u Unit) ratio(v Unit) *big.Rat { return new(big.Rat).Quo(u.size.rat(), v.size.rat()) }

// tens is the power of ten that r is.
func tens(r *big.Rat) (int, bool) {
	n, sign := r.Num(), 1
	if !r.IsInt() {
		n, sign = r.Denom(), -1
		if !r.Num().IsInt64() || r.Num().Int64() != 1 {
			return 0, false
		}
	}
	text := n.String()
	if strings.TrimRight(text, "0") != "1" {
		return 0, false
	}
	return sign * (len(text) - 1), true
}
