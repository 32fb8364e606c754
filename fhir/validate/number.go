package validate

import (
	"bytes"
	"cmp"
)

// compare compares two JSON numbers by value, of any length and exponent.
func compare(a, b []byte) int {
	x, y := parseNumber(a), parseNumber(b)
	switch {
	case x.sign != y.sign:
		return cmp.Compare(x.sign, y.sign)
	case x.sign == 0:
		return 0
	case x.magnitude != y.magnitude:
		if x.magnitude > y.magnitude {
			return x.sign
		}
		return -x.sign
	}
	return x.sign * bytes.Compare(x.digits, y.digits)
}

// A figure is sign × 0.digits × 10^magnitude; the digits neither begin nor end with 0.
type figure struct {
	sign      int
	digits    []byte
	magnitude int64
}

func parseNumber(t []byte) (f figure) {
	f.sign = 1
	if len(t) > 0 && t[0] == '-' {
		f.sign = -1
		t = t[1:]
	}
	mantissa := t
	if i := bytes.IndexAny(t, "eE"); i >= 0 {
		mantissa = t[:i]
		f.magnitude = exponent(t[i+1:])
	}
	whole, fraction, _ := bytes.Cut(mantissa, []byte{'.'})
	whole = bytes.TrimLeft(whole, "0")
	fraction = bytes.TrimRight(fraction, "0")
	switch {
	case len(whole) > 0 && len(fraction) > 0:
		f.digits = append(append(make([]byte, 0, len(whole)+len(fraction)), whole...), fraction...)
		f.magnitude += int64(len(whole))
	case len(whole) > 0:
		f.magnitude += int64(len(whole))
		f.digits = bytes.TrimRight(whole, "0")
	default:
		f.digits = bytes.TrimLeft(fraction, "0")
		f.magnitude -= int64(len(fraction) - len(f.digits))
	}
	if len(f.digits) == 0 {
		return figure{}
	}
	return f
}

// exponent is that of a number, at most so large that no length of digits outweighs it.
func exponent(t []byte) int64 {
	const most = 1 << 40
	sign, n := int64(1), int64(0)
	for _, c := range t {
		switch {
		case c == '-':
			sign = -1
		case c >= '0' && c <= '9':
			n = min(n*10+int64(c-'0'), most)
		}
	}
	return sign * n
}
