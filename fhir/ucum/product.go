package ucum

import (
	"math/big"
	"strings"
	"sync"
)

// maxBits limits the numerator and the denominator of a factor.
const maxBits = 4096

// dimensions are the powers of all bases.
type dimensions [maxBases]int32

// measure adds up what the terms of a code are of, and refuses what is too large to compute
// with.
type measure struct {
	dimensions dimensions
	bits       int // at least what the factor takes
}

func (m *measure) add(f *term) *Error {
	power := f.power()
	bits := 4 * len(f.number)
	if f.atom != nil {
		bits += f.atom.size.bits()
		for _, x := range f.atom.dimensions {
			sum := m.dimensions[x.base] + int32(x.power*power)
			if sum > maxExponent || sum < -maxExponent {
				return &Error{Column: f.column, Problem: "the exponents of a unit add up to more than 99"}
			}
			m.dimensions[x.base] = sum
		}
	}
	if f.prefix != nil {
		bits += f.prefix.size.bits()
	}
	if m.bits += max(power, -power) * bits; m.bits > maxBits {
		return &Error{Column: f.column, Problem: "the unit is too large or too small to compute with"}
	}
	return nil
}

// size is a positive number in a form that is quick to multiply: num / den × 10^tens. nil
// stands for 1, so the zero value is 1. What the pointers lead to is shared and never changed.
type size struct {
	num, den *big.Int
	tens     int
}

// bits is at least what the number takes.
func (s size) bits() int {
	n := 4 * max(s.tens, -s.tens)
	if s.num != nil {
		n += s.num.BitLen()
	}
	if s.den != nil {
		n += s.den.BitLen()
	}
	return n
}

func sizeOf(n *big.Rat) size {
	num, up := withoutTens(n.Num())
	den, down := withoutTens(n.Denom())
	return size{num, den, up - down}
}

// withoutTens divides n by ten while that is possible, and counts.
func withoutTens(n *big.Int) (*big.Int, int) {
	digits := n.String()
	rest := strings.TrimRight(digits, "0")
	if rest == "1" {
		return nil, len(digits) - 1
	}
	m, _ := new(big.Int).SetString(rest, 10)
	return m, len(digits) - len(rest)
}

// multiply takes in a term of a code.
func (s *size) multiply(f *term) {
	power := f.power()
	if f.prefix != nil {
		s.raise(f.prefix.size, power)
	}
	if f.atom != nil {
		s.raise(f.atom.size, power)
	}
	if f.number != "" {
		n, _ := new(big.Int).SetString(f.number, 10)
		s.raise(size{num: n}, power)
	}
}

// raise multiplies by a power of t.
func (s *size) raise(t size, power int) {
	s.tens += t.tens * power
	if power < 0 {
		t.num, t.den, power = t.den, t.num, -power
	}
	s.num = times(s.num, t.num, power)
	s.den = times(s.den, t.den, power)
}

// times is a × n^power. Its arguments stay as they are, as others share them.
func times(a, n *big.Int, power int) *big.Int {
	if n == nil || power == 0 {
		return a
	}
	if power > 1 {
		n = new(big.Int).Exp(n, big.NewInt(int64(power)), nil)
	}
	if a == nil {
		return n
	}
	return new(big.Int).Mul(a, n)
}

// rat is the caller's own.
func (s size) rat() *big.Rat {
	num, den := orOne(s.num), orOne(s.den)
	if s.tens > 0 {
		num = new(big.Int).Mul(num, powerOfTen(s.tens))
	} else if s.tens < 0 {
		den = new(big.Int).Mul(den, powerOfTen(-s.tens))
	}
	return new(big.Rat).SetFrac(num, den)
}

var one = big.NewInt(1)

func orOne(n *big.Int) *big.Int {
	if n == nil {
		return one
	}
	return n
}

// powerOfTen is 10^n, for n from 0. It is shared and must not be changed.
func powerOfTen(n int) *big.Int {
	if few := powersOfTen(); n < len(few) {
		return few[n]
	}
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}

var powersOfTen = sync.OnceValue(func() []*big.Int {
	powers := []*big.Int{one}
	for len(powers) < 64 {
		powers = append(powers, new(big.Int).Mul(powers[len(powers)-1], big.NewInt(10)))
	}
	return powers
})
