// Package ucum knows the Unified Code for Units of Measure (https://ucum.org/ucum), version
// 2.2, in its case-sensitive form: which codes are units, what they are of, and how values
// go from one to another.
//
// Arithmetic is exact, in rational numbers. Only the special units whose function is a
// logarithm, a tangent or an irrational root are computed in floating point and rounded to
// 12 significant digits, of which fewer are right for slopes that are next to vertical: Np, B
// and its forms, [pH], bit_s, [hp'_X] and its kin, [p'diop], %[slope], [m/s2/Hz^(1/2)]. Even
// they are exact among themselves, as from dB to B. The temperatures Cel, [degF] and [degRe]
// are exact. The number [pi] is the one that the tables of UCUM print, with 65 digits.
//
// Two things that may surprise are as UCUM has them. The mole is a number, so mmol/L and /L
// are commensurable. Units that are commensurable may yet measure different things: J and
// N.m, Bq and Hz.
//
// Where the text of UCUM leaves a choice:
//
//   - An arbitrary unit such as [iU] is a dimension of its own: it is commensurable with
//     itself, with its multiples and with nothing else (§§24, 25). So k[iU]/L converts to
//     m[iU]/mL, and neither to anything without [iU]. [IU] is another code for [iU].
//   - A special unit may be scaled, by a prefix or by a factor without a dimension (§22.3):
//     dB, 10.Cel. UCUM gives no meaning to one that is multiplied with other units or raised
//     to a power, though its grammar allows it and devices send dB/m. Such a unit is valid
//     here, and the special unit in it is a dimension of its own, as an arbitrary unit is:
//     dB/cm converts to dB/m, Cel/min does not convert to K/min.
//   - A number may have an annotation, as the official tests want it (1{c}), though not in the
//     grammar. It has no exponent, as they want it too: 10*3 is valid, 10+3 is not.
//   - An annotation may be empty. It has no meaning, and is ignored (§6).
//
// Codes and values come from strangers, so all that grows is limited: a code to 256
// characters, parentheses in one to 16 levels, an exponent to 99, a number to 30 digits, a
// unit's factor to about 1,200 digits, a value to 64 characters and an exponent of 100. Time
// is linear in the length of the code.
//
// All functions and methods may be called from many goroutines. The first call reads the
// table, in some milliseconds.
package ucum

import (
	"fmt"
	"math/big"
	"strings"
)

//go:generate go run -tags nomsgpack ./generate

// Unit is a unit of measure. The zero value is the unity, whose code is 1. Whether two units
// mean the same is not what == says, but [Unit.Canonical].
type Unit struct {
	code    string
	base    string   // "" for 1
	size    size     // in units of the base; of a special unit, its scale factor
	special *special // nil for a unit on a ratio scale
}

// Parse reads a code. An error is an *[Error].
// https://ucum.org/ucum#section-Grammar-of-Units-and-Unit-Terms
func Parse(code string) (Unit, error) {
	t := loaded()
	u := Unit{code: code}
	var m measure
	r := t.read(code)
	for r.next() {
		if fault := m.add(&r.term); fault != nil {
			return Unit{}, fault
		}
		u.size.multiply(&r.term)
	}
	if r.fault != nil {
		return Unit{}, t.explain(r.fault)
	}
	var fault *Error
	if u.base, fault = t.base(&m); fault != nil {
		return Unit{}, fault
	}
	// A special unit keeps its meaning only where nothing but a factor is left beside it.
	if a := t.atoms[u.base]; a != nil && a.special != nil {
		u.special, u.base = a.special, a.special.base
	}
	return u, nil
}

// Valid reports whether [Parse] accepts the code, in less time.
func Valid(code string) bool { return loaded().valid(code) }

// String is the code that the unit was parsed from.
func (u Unit) String() string {
	if u.code == "" {
		return "1"
	}
	return u.code
}

// Canonical is the unit as a multiple of base units: a value times the factor is the value in
// base. The base is a code, with the base units in ASCII order and without a solidus, as in
// g.m-1.s-2, or 1. Two units are commensurable if and only if their bases are equal, and mean
// the same if their factors are too. The factor is the caller's own.
//
// A special unit has no factor, it is nil: its values reach the base by [Unit.ToBase] alone.
// https://ucum.org/ucum#section-Semantics
func (u Unit) Canonical() (factor *big.Rat, base string) {
	if u.special != nil {
		return nil, u.baseCode()
	}
	return u.size.rat(), u.baseCode()
}

// Special reports whether the scale of the unit is no ratio scale, as that of Cel, [pH] and
// dB: half the value is not half of what is measured, and for [pH] more is less.
// https://ucum.org/ucum#section-Special-Units-on-non-ratio-Scales
func (u Unit) Special() bool { return u.special != nil }

// Commensurable reports whether values of one unit can be converted to the other.
func (u Unit) Commensurable(v Unit) bool { return u.baseCode() == v.baseCode() }

// Mul is the product of two units. It fails for special units, which have none, and where the
// code of the product would exceed the limits of the package.
func (u Unit) Mul(v Unit) (Unit, error) { return u.join('.', v) }

// Div is the quotient of two units. It fails as [Unit.Mul] does.
func (u Unit) Div(v Unit) (Unit, error) { return u.join('/', v) }

func (u Unit) join(operator byte, v Unit) (Unit, error) {
	for _, x := range []Unit{u, v} {
		if x.special != nil {
			return Unit{}, fmt.Errorf("ucum: the special unit %s has no products: convert its values to %s first", x.special.code, x.baseCode())
		}
	}
	right := v.String()
	if operators(right) {
		if right[0] == '/' { // stands at the beginning of a code only
			right = "1" + right
		}
		right = "(" + right + ")"
	}
	w, err := Parse(u.String() + string(operator) + right)
	if err != nil {
		return Unit{}, fmt.Errorf("ucum: the product of two units is too long or too large: %w", err)
	}
	if w.special != nil { // Cel2/Cel
		return Unit{}, fmt.Errorf("ucum: the special unit %s is no product", w.special.code)
	}
	return w, nil
}

// operators reports whether there are any in a valid code.
func operators(code string) bool {
	for i := 0; i < len(code); i++ {
		switch code[i] {
		case '.', '/', '(':
			return true
		case '[':
			i += strings.IndexByte(code[i:], ']')
		case '{':
			i += strings.IndexByte(code[i:], '}')
		}
	}
	return false
}

func (u Unit) baseCode() string {
	if u.base == "" {
		return "1"
	}
	return u.base
}
