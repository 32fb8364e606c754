package ucum

import (
	"math/big"
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "m", "/min", "mm[Hg]", "mmol/(8.h.kg)", "10*-3/uL", "{a}.rad2{b}", "4.[pi].10*-7.N/A2", "dB[10.nV]", "Cel", "Cel/min",
		"[m/s2/Hz^(1/2)]", "k[iU]/L", "mL/min/1.73m2", "10E9/L", "mm(Hg)", "\u00b5g", "m\x00", "m9999999999", "((((((((((((((((((m))))))))))))))))))", "ym99.ym99", "m[", "{", "1{c}", "1'10"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, code string) {
		u, err := Parse(code)
		if Valid(code) != (err == nil) {
			t.Fatalf("Parse says %v, Valid does not", err)
		}
		if err != nil {
			if len(err.Error()) > 300 {
				t.Fatalf("an error of %d bytes", len(err.Error()))
			}
			fault, ok := err.(*Error)
			if !ok || fault.Column < 1 || fault.Column > len(code)+1 {
				t.Fatalf("column %v of %d", fault, len(code))
			}
			if fault.Nearest != "" && !Valid(fault.Nearest) {
				t.Fatalf("the nearest unit %q is none", fault.Nearest)
			}
			return
		}
		if u.String() != code || u.Name() == "" {
			t.Fatalf("%q is %q, %s", code, u, u.Name())
		}
		_, base := u.Canonical()
		if v := unit(t, base); !v.Commensurable(u) {
			t.Fatalf("%s is not commensurable with its base %s", code, base)
		}
		if _, err := u.ToBase(big.NewRat(1, 1)); err != nil && !u.Special() {
			t.Fatal(err)
		}
		if v, err := u.Div(u); err == nil {
			if factor, base := v.Canonical(); base != "1" || factor.Cmp(big.NewRat(1, 1)) != 0 {
				t.Fatalf("%s is %v %s", v, factor, base)
			}
		}
	})
}

func FuzzConvert(f *testing.F) {
	for _, seed := range [][3]string{{"98.6", "[degF]", "Cel"}, {"72.50", "kg", "[lb_av]"}, {"7.4", "[pH]", "mol/L"}, {"1e100", "Ym", "ym"}, {"-0.00", "1", "%"},
		{"45", "deg", "%[slope]"}, {"1e-100", "1", "dB"}, {"9999999999", "dB", "Np"}, {"2", "m2/s4/Hz", "[m/s2/Hz^(1/2)]"}, {"1", "[pi]8", "[pi]7.rad"}} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, value, from, to string) {
		got, err := Convert(value, from, to)
		if err != nil {
			if got != "" {
				t.Fatalf("got %s with an error", got)
			}
			return
		}
		if !commensurable(t, from, to) {
			t.Fatalf("%s converts to %s", from, to)
		}
		// The result may exceed the limits of a value, but is written as one.
		mantissa, _, _ := strings.Cut(got, "e")
		if len(mantissa) <= maxValueLength {
			if _, err := parseDecimal(mantissa); err != nil {
				t.Fatalf("%s is no decimal: %v", got, err)
			}
		}
		if len(got) > 256 {
			t.Fatalf("a result of %d bytes", len(got))
		}
		if canonical, base, err := CanonicalQuantity(value, from); err == nil && (canonical == "" || base == "") {
			t.Fatal("no canonical form, and no error")
		}
	})
}

func commensurable(t *testing.T, a, b string) bool { return unit(t, a).Commensurable(unit(t, b)) }
