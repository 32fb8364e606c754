package withings

import (
	"fmt"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
)

func TestDecimalKeepsEveryDigit(t *testing.T) {
	for _, test := range []struct {
		n        int64
		exponent int
		want     string
	}{
		{75800, -3, "75.800"}, {758, -1, "75.8"}, {758, 0, "758"}, {758, 2, "75800"},
		{5, -3, "0.005"}, {5, -1, "0.5"}, {-5, -1, "-0.5"}, {-1000, -3, "-1.000"},
		{0, -3, "0.000"}, {0, 0, "0"}, {0, 5, "0"}, {1, -20, "0.00000000000000000001"},
		{999999999999999999, 20, "99999999999999999900000000000000000000"},
	} {
		if got := decimal(test.n, test.exponent); got != test.want {
			t.Errorf("%d × 10^%d: got %s, want %s", test.n, test.exponent, got, test.want)
		}
	}
}

func TestDecimalIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(-999999999999999999, 999999999999999999).Draw(t, "n")
		exponent := rapid.IntRange(-maxExponent, maxExponent).Draw(t, "exponent")
		got := decimal(n, exponent)
		if !fhir.IsDecimal(got) {
			t.Fatalf("%q is no FHIR decimal", got)
		}
		exact, ok := new(big.Rat).SetString(fmt.Sprintf("%de%d", n, exponent))
		value, ok2 := new(big.Rat).SetString(got)
		if !ok || !ok2 || exact.Cmp(value) != 0 {
			t.Fatalf("got %s for %d × 10^%d", got, n, exponent)
		}
		if _, places, _ := strings.Cut(got, "."); exponent < 0 && len(places) != -exponent {
			t.Fatalf("got %s with %d places, want %d", got, len(places), -exponent)
		}
	})
}

func TestSameNumberIsEquality(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64Range(-2000, 2000).Draw(t, "a"), rapid.Int64Range(-2000, 2000).Draw(t, "b")
		ea, eb := rapid.IntRange(-3, 3).Draw(t, "ea"), rapid.IntRange(-3, 3).Draw(t, "eb")
		x, _ := new(big.Rat).SetString(decimal(a, ea))
		y, _ := new(big.Rat).SetString(decimal(b, eb))
		if got, want := sameNumber(a, ea, b, eb), x.Cmp(y) == 0; got != want {
			t.Fatalf("%d × 10^%d and %d × 10^%d: got %v, want %v", a, ea, b, eb, got, want)
		}
	})
}
