package search

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/apd/v3"
	"pgregory.net/rapid"
)

func number10(text string) *apd.Decimal {
	d, _, err := apd.NewFromString(text)
	if err != nil {
		return nil
	}
	return d
}

// http://hl7.org/fhir/R4/search.html#number
func TestTheDigitsOfANumberTellItsPrecision(t *testing.T) {
	for _, c := range []struct{ name, text, low, high string }{
		{"three digits, of R4", "100", "99.5", "100.5"},
		{"five digits, of R4", "100.00", "99.995", "100.005"},
		{"the quantity of R4", "5.4", "5.35", "5.45"},
		{"e-notation, of R4", "5.40e-3", "0.005395", "0.005405"},
		{"three digits in e-notation are three", "1.00e2", "99.5", "100.5"},
		{"one digit in e-notation is one, by the rule and not by the example", "1e2", "50", "150"},
		{"zero", "0", "-0.5", "0.5"},
		{"zero with a digit behind the point", "0.0", "-0.05", "0.05"},
		{"a negative number", "-5", "-5.5", "-4.5"},
		{"a negative exponent", "2E-3", "0.0015", "0.0025"},
		{"many digits", "3.14159265358979323846264338327950288", "3.141592653589793238462643383279502875", "3.141592653589793238462643383279502885"},
	} {
		n := decimal(c.text)
		if n == nil {
			t.Errorf("%s: %s is no decimal", c.name, c.text)
			continue
		}
		low, high := implied(n)
		if low.Cmp(number10(c.low)) != 0 || high.Cmp(number10(c.high)) != 0 {
			t.Errorf("%s: implied(%s) = [%s, %s), want [%s, %s)", c.name, c.text, low, high, c.low, c.high)
		}
	}
}

func TestWhatIsNoDecimalIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "a sign": "-", "a plus": "+5", "no digit before the point": ".5", "no digit behind the point": "5.",
		"a leading zero": "05", "a word": "NaN", "hexadecimal": "0x10", "a blank": "5 ", "an empty exponent": "5e", "two points": "1.2.3",
		"an exponent that fills memory": "1e1000000", "its inverse": "1e-1000000", "zero with such an exponent": "0e999999999",
		"an exponent beyond 32 bits": "1e99999999999", "over 64 characters": fmt.Sprintf("%065d", 1), "a comma": "1,5",
	} {
		if n := decimal(text); n != nil {
			t.Errorf("%s: decimal(%q) = %s, want none", name, text, n)
		}
	}
}

func TestSmallNumbersAreThoseOfExactArithmetic(t *testing.T) {
	written := rapid.StringMatching(`-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := written.Draw(t, "a"), written.Draw(t, "b")
		x, okX := small(a)
		y, okY := small(b)
		if okX && x.decimal().Cmp(number10(a)) != 0 {
			t.Fatalf("small(%s) = %v", a, x)
		}
		if okX && okY && x.compare(y) != number10(a).Cmp(number10(b)) {
			t.Fatalf("%s compare %s = %d", a, b, x.compare(y))
		}
		if d := decimal(a); d != nil && d.Cmp(number10(a)) != 0 {
			t.Fatalf("decimal(%s) = %s", a, d)
		}
	})
}

func TestBoundsOfSamples(t *testing.T) {
	for _, c := range []struct {
		name, data  string
		least, most number
		any, lo, hi bool
		unreadable  bool
	}{
		{name: "numbers", data: "3 -7 12", least: number{-7, 0}, most: number{12, 0}, any: true},
		{name: "one number", data: "3", least: number{3, 0}, most: number{3, 0}, any: true},
		{name: "decimals among integers", data: "3 2.5 3.01", least: number{25, -1}, most: number{301, -2}, any: true},
		{name: "errors count for nothing", data: "E 3 E", least: number{3, 0}, most: number{3, 0}, any: true},
		{name: "what could not be measured is told", data: "L 3 U", least: number{3, 0}, most: number{3, 0}, any: true, lo: true, hi: true},
		{name: "nothing measured", data: "E E"},
		{name: "no data", data: ""},
		{name: "a word among the numbers", data: "3 NaN", unreadable: true},
		{name: "too many digits", data: "3 1234567890123456789", unreadable: true},
	} {
		got, ok := bounds([]byte(c.data))
		want := extremes{c.least, c.most, c.any, c.lo, c.hi}
		if ok == c.unreadable || ok && got != want {
			t.Errorf("%s: bounds(%q) = %+v %v, want %+v", c.name, c.data, got, ok, want)
		}
	}
}
