package ucum

import (
	"errors"
	"math"
	"math/big"
	"strconv"
)

// scale is the pair of functions of a special unit. value gives the value on the special scale
// for a number of corresponding units, number the reverse.
// https://ucum.org/ucum#section-Special-Units-on-non-ratio-Scales
type scale struct {
	value, number function
}

// function does not change its argument, and says whether its result is exact or what
// floating point gives.
type function func(*big.Rat) (result *big.Rat, exact bool, err error)

// scaleOf is the pair of functions that the table of UCUM calls by this name.
func scaleOf(name string) (scale, bool) {
	switch name {
	case "Cel":
		return offset(big.NewRat(27315, 100)), true
	case "degF":
		return offset(big.NewRat(45967, 100)), true
	case "degRe":
		return offset(big.NewRat(21852, 100)), true
	case "ln":
		return logarithm(math.E, 1), true
	case "lg":
		return logarithm(10, 1), true
	case "lgTimes2":
		return logarithm(10, 2), true
	case "ld":
		return logarithm(2, 1), true
	case "pH", "hpX":
		return logarithm(10, -1), true
	case "hpC":
		return logarithm(100, -1), true
	case "hpM":
		return logarithm(1000, -1), true
	case "hpQ":
		return logarithm(50000, -1), true
	case "tanTimes100":
		return tangent(1), true
	case "100tan": // of UCUM's two definitions, which mean the same, the one in degrees
		return tangent(math.Pi / 180), true
	case "sqrt":
		return scale{root, square}, true
	}
	return scale{}, false
}

// offset is the scale whose zero lies at that many units.
func offset(zero *big.Rat) scale {
	return scale{
		value:  func(n *big.Rat) (*big.Rat, bool, error) { return new(big.Rat).Sub(n, zero), true, nil },
		number: func(v *big.Rat) (*big.Rat, bool, error) { return new(big.Rat).Add(v, zero), true, nil },
	}
}

// logarithm is the scale of multiple × log(n) to the base.
func logarithm(base, multiple float64) scale {
	return scale{
		value: func(n *big.Rat) (*big.Rat, bool, error) {
			if n.Sign() <= 0 {
				return nil, false, errors.New("ucum: only a quantity above zero has a level, a pH or a potency")
			}
			return approximate(multiple * ln(n) / math.Log(base))
		},
		number: func(v *big.Rat) (*big.Rat, bool, error) {
			x, _ := v.Float64()
			n := math.Pow(base, x/multiple)
			if n == 0 {
				return nil, false, errOutOfRange
			}
			return approximate(n)
		},
	}
}

// ln is accurate near 1 too, where n loses its digits as a floating-point number.
func ln(n *big.Rat) float64 {
	if n.Cmp(big.NewRat(1, 2)) > 0 && n.Cmp(big.NewRat(2, 1)) < 0 {
		x, _ := new(big.Rat).Sub(n, big.NewRat(1, 1)).Float64()
		return math.Log1p(x)
	}
	x, _ := n.Float64()
	return math.Log(x)
}

// tangent is the scale of 100 × the tangent of an angle that is measured in units of that many
// radians.
func tangent(radians float64) scale {
	return scale{
		value: func(n *big.Rat) (*big.Rat, bool, error) {
			x, _ := n.Float64()
			if math.Abs(x*radians) >= math.Pi/2 {
				return nil, false, errors.New("ucum: an angle of 90 degrees or more has no slope")
			}
			return approximate(100 * math.Tan(x*radians))
		},
		number: func(v *big.Rat) (*big.Rat, bool, error) {
			x, _ := v.Float64()
			return approximate(math.Atan(x/100) / radians)
		},
	}
}

func root(n *big.Rat) (*big.Rat, bool, error) {
	if n.Sign() < 0 {
		return nil, false, errNegativeRoot
	}
	num, den := new(big.Int).Sqrt(n.Num()), new(big.Int).Sqrt(n.Denom())
	r := new(big.Rat).SetFrac(num, den)
	if new(big.Rat).Mul(r, r).Cmp(n) == 0 {
		return r, true, nil
	}
	x, _ := n.Float64()
	return approximate(math.Sqrt(x))
}

func square(v *big.Rat) (*big.Rat, bool, error) {
	if v.Sign() < 0 {
		return nil, false, errNegativeRoot
	}
	return new(big.Rat).Mul(v, v), true, nil
}

var (
	errOutOfRange   = errors.New("ucum: the value is too large or too small for the scale of the unit")
	errNegativeRoot = errors.New("ucum: a square root is not below zero")
)

// approximate is x in 15 significant digits, which is what floating point gets right or nearly
// so: 1e-7 is 10^-7 then.
func approximate(x float64) (*big.Rat, bool, error) {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil, false, errOutOfRange
	}
	r, _ := new(big.Rat).SetString(strconv.FormatFloat(x, 'e', 14, 64))
	return r, false, nil
}
