package withings

import (
	"strconv"
	"strings"
)

// maxExponent is the largest power of ten, either way, that a measure may have.
const maxExponent = 20

// decimal is n × 10^exponent as text, exactly. All digits of n are kept, so that the
// precision of the device stays visible: 75800 and -3 give 75.800. A positive exponent
// adds zeros; zero has no sign.
func decimal(n int64, exponent int) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	switch {
	case exponent == 0, n == 0 && exponent > 0:
		return sign + digits
	case exponent > 0:
		return sign + digits + strings.Repeat("0", exponent)
	}
	places := -exponent
	if short := places + 1 - len(digits); short > 0 {
		digits = strings.Repeat("0", short) + digits
	}
	point := len(digits) - places
	return sign + digits[:point] + "." + digits[point:]
}

// sameNumber reports whether a × 10^ea and b × 10^eb are equal. The numbers may be
// written differently: 758 and -1 is 7580 and -2.
func sameNumber(a int64, ea int, b int64, eb int) bool {
	a, ea = shortest(a, ea)
	b, eb = shortest(b, eb)
	return a == b && ea == eb
}

// shortest takes trailing zeros from n into the exponent.
func shortest(n int64, exponent int) (int64, int) {
	if n == 0 {
		return 0, 0
	}
	for n%10 == 0 {
		n, exponent = n/10, exponent+1
	}
	return n, exponent
}
