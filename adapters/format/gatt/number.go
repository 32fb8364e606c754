package gatt

import (
	"strconv"
	"strings"
)

// Special is what a Number holds instead of a number. The zero value means a number.
type Special string

// The special values of SFLOAT and FLOAT (IEEE 11073-20601), and the 0xFFFF of the
// weight scale and body composition services.
const (
	NaN              Special = "NaN"
	NRes             Special = "NRes" // not at this resolution
	PositiveInfinity Special = "+INFINITY"
	NegativeInfinity Special = "-INFINITY"
	Reserved         Special = "reserved"
	Unsuccessful     Special = "measurement unsuccessful"
)

// Number is the decimal number Mantissa × 10^Exponent with the precision that the
// device sent, or a Special.
type Number struct {
	Mantissa int64
	Exponent int
	Special  Special
}

// plainExponent is up to which power of ten a number is written without an exponent.
const plainExponent = 18

// Text is the number in decimal, with its precision: 376×10^-1 is 37.6, 3760×10^-2 is
// 37.60, 12×10^1 is 120. Beyond 10^±18 it is written with an exponent, 1e20. A special
// value has no text.
func (n Number) Text() string {
	if n.Special != "" {
		return ""
	}
	digits, sign := strconv.FormatInt(n.Mantissa, 10), ""
	if n.Mantissa < 0 {
		digits, sign = digits[1:], "-"
	}
	switch e := n.Exponent; {
	case e > plainExponent || e < -plainExponent:
		return sign + digits + "e" + strconv.Itoa(e)
	case e > 0 && n.Mantissa != 0:
		return sign + digits + strings.Repeat("0", e)
	case e < 0:
		if missing := 1 - e - len(digits); missing > 0 {
			digits = strings.Repeat("0", missing) + digits
		}
		point := len(digits) + e
		return sign + digits[:point] + "." + digits[point:]
	default:
		return sign + digits
	}
}

// Shift is n × 10^by, exactly: the same digits in a unit that is a power of ten smaller.
func (n Number) Shift(by int) Number {
	n.Exponent += by
	return n
}

// Between reports whether n is a number from low to high, compared exactly. Low and
// high are at most a million apart from zero.
func (n Number) Between(low, high int64) bool {
	if n.Special != "" {
		return false
	}
	const enough = 1e16 // beyond every mantissa, below what ×10 would overflow
	m := n.Mantissa
	for e := n.Exponent; e > 0 && m != 0; e-- {
		if m > enough || m < -enough {
			break
		}
		m *= 10
	}
	for e := n.Exponent; e < 0; e++ {
		if max(low, -low) > enough || max(high, -high) > enough {
			break // the other one is 0 or beyond every mantissa too
		}
		low, high = low*10, high*10
	}
	return low <= m && m <= high
}

// sfloat is the 16-bit SFLOAT: 4 bits of exponent, 12 of mantissa, both signed. The
// special values are whole 16-bit words.
func (r *reader) sfloat(field string) Number {
	v := r.uint16(field)
	switch v {
	case 0x07FF:
		return Number{Special: NaN}
	case 0x0800:
		return Number{Special: NRes}
	case 0x07FE:
		return Number{Special: PositiveInfinity}
	case 0x0802:
		return Number{Special: NegativeInfinity}
	case 0x0801:
		return Number{Special: Reserved}
	}
	return Number{Mantissa: int64(int16(v<<4) >> 4), Exponent: int(int16(v) >> 12)}
}

// float is the 32-bit FLOAT: 8 bits of exponent, 24 of mantissa, both signed.
func (r *reader) float(field string) Number {
	b := r.take(4, field)
	v := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
	switch v {
	case 0x007FFFFF:
		return Number{Special: NaN}
	case 0x00800000:
		return Number{Special: NRes}
	case 0x007FFFFE:
		return Number{Special: PositiveInfinity}
	case 0x00800002:
		return Number{Special: NegativeInfinity}
	case 0x00800001:
		return Number{Special: Reserved}
	}
	return Number{Mantissa: int64(int32(v<<8) >> 8), Exponent: int(int32(v) >> 24)}
}

// scaled is an unsigned 16-bit field in steps of step × 10^exponent.
func (r *reader) scaled(field string, step int64, exponent int) Number {
	return Number{Mantissa: int64(r.uint16(field)) * step, Exponent: exponent}
}
