package patch

import (
	"cmp"
	"strconv"
	"strings"
)

// A number is 0.digits times ten to the power of exponent. It compares without being written
// out, so 1e999999999 costs no more than 1.
type number struct {
	negative bool
	digits   string // neither begins nor ends with 0; "" is zero
	exponent int
}

// parseNumber reads a JSON number. It fails if the exponent has more than nine digits.
func parseNumber(text string) (number, bool) {
	n := number{}
	text, n.negative = strings.CutPrefix(text, "-")
	if e := strings.IndexAny(text, "eE"); e >= 0 {
		exponent := strings.TrimPrefix(text[e+1:], "+")
		if len(exponent) > 10 {
			return number{}, false
		}
		var err error
		if n.exponent, err = strconv.Atoi(exponent); err != nil {
			return number{}, false
		}
		text = text[:e]
	}
	whole, fraction, _ := strings.Cut(text, ".")
	digits := whole + fraction
	n.exponent += len(whole)
	n.digits = strings.TrimLeft(digits, "0")
	n.exponent -= len(digits) - len(n.digits)
	n.digits = strings.TrimRight(n.digits, "0")
	if n.digits == "" {
		return number{}, true
	}
	return n, true
}

// compare is negative if n is less than m, 0 if they are the same, and else positive.
func (n number) compare(m number) int {
	if s := cmp.Compare(n.sign(), m.sign()); s != 0 || n.digits == "" {
		return s
	}
	c := cmp.Compare(n.exponent, m.exponent)
	if c == 0 {
		c = strings.Compare(n.digits, m.digits)
	}
	if n.negative {
		return -c
	}
	return c
}

func (n number) sign() int {
	switch {
	case n.digits == "":
		return 0
	case n.negative:
		return -1
	}
	return 1
}
