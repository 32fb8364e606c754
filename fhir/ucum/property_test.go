package ucum

import (
	"math/big"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// symbols draws a unit of the table, with or without a prefix.
func symbols() *rapid.Generator[string] {
	t := loaded()
	return rapid.Custom(func(r *rapid.T) string {
		a := rapid.SampledFrom(t.atomList).Draw(r, "atom")
		if a.metric && rapid.Bool().Draw(r, "prefixed") {
			return rapid.SampledFrom(t.prefixList).Draw(r, "prefix").code + a.code
		}
		return a.code
	})
}

// codes draws expressions of the grammar, all of which are valid.
func codes(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(r *rapid.T) string {
		var b strings.Builder
		for i := range rapid.IntRange(1, 3).Draw(r, "components") {
			if i > 0 {
				b.WriteString(rapid.SampledFrom([]string{".", "/"}).Draw(r, "operator"))
			}
			switch kind := rapid.IntRange(0, 9).Draw(r, "kind"); {
			case kind == 0:
				b.WriteString(strconv.Itoa(rapid.IntRange(1, 1000).Draw(r, "number")))
			case kind == 1:
				b.WriteString("{annotation}")
			case kind == 2 && depth > 0:
				b.WriteString("(" + codes(depth-1).Draw(r, "nested") + ")")
			default:
				b.WriteString(symbols().Draw(r, "symbol"))
				b.WriteString(rapid.SampledFrom([]string{"", "", "2", "-1", "+3", "-2{x}"}).Draw(r, "exponent"))
			}
		}
		return b.String()
	})
}

// units draws units that the limits allow.
func units() *rapid.Generator[Unit] {
	return rapid.Custom(func(r *rapid.T) Unit {
		code := rapid.SampledFrom([]string{"", "/"}).Draw(r, "solidus") + codes(2).Draw(r, "code")
		u, err := Parse(code)
		if err != nil {
			r.Skip(err)
		}
		return u
	})
}

func proper() *rapid.Generator[Unit] {
	return units().Filter(func(u Unit) bool { return !u.Special() })
}

func values() *rapid.Generator[*big.Rat] {
	return rapid.Custom(func(r *rapid.T) *big.Rat {
		return big.NewRat(rapid.Int64().Draw(r, "numerator"), rapid.Int64Min(1).Draw(r, "denominator"))
	})
}

func sameUnit(u, v Unit) bool {
	f, a := u.Canonical()
	g, b := v.Canonical()
	return a == b && f.Cmp(g) == 0
}

func TestWhatTheGrammarAllowsIsRead(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		code := codes(2).Draw(r, "code")
		_, err := Parse(code)
		if err != nil && !strings.Contains(err.Error(), "too large") && !strings.Contains(err.Error(), "longer") {
			r.Fatalf("%s: %v", code, err)
		}
		if Valid(code) != (err == nil) {
			r.Fatalf("%s: Parse says %v, Valid does not", code, err)
		}
	})
}

func TestTheBaseIsACodeOfItself(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		_, base := units().Draw(r, "unit").Canonical()
		u, err := Parse(base)
		if err != nil {
			r.Fatal(err)
		}
		if factor, again := u.Canonical(); again != base || factor.Cmp(big.NewRat(1, 1)) != 0 {
			r.Fatalf("%s is %v %s", base, factor, again)
		}
	})
}

func TestConversionThereAndBackIsExact(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		u, x := proper().Draw(r, "unit"), values().Draw(r, "value")
		factor := unit(t, strconv.Itoa(rapid.IntRange(1, 1e6).Draw(r, "factor")))
		v, err := u.Div(factor) // is commensurable with it
		if err != nil {
			r.Skip(err)
		}
		there, err := u.Convert(x, v)
		if err != nil {
			r.Fatal(err)
		}
		back, err := v.Convert(there, u)
		if err != nil {
			r.Fatal(err)
		}
		if back.Cmp(x) != 0 {
			r.Fatalf("%v %v are %v %v are %v", x, u, there, v, back)
		}
	})
}

func TestTemperaturesThereAndBackAreExact(t *testing.T) {
	temperatures := rapid.SampledFrom([]string{"K", "mK", "Cel", "mCel", "10.Cel", "[degF]", "[degRe]", "[degR]"})
	rapid.Check(t, func(r *rapid.T) {
		u, v, x := unit(t, temperatures.Draw(r, "from")), unit(t, temperatures.Draw(r, "to")), values().Draw(r, "value")
		there, err := u.Convert(x, v)
		if err != nil {
			r.Fatal(err)
		}
		if back, err := v.Convert(there, u); err != nil || back.Cmp(x) != 0 {
			r.Fatalf("%v %v are %v %v are %v, %v", x, u, there, v, back, err)
		}
	})
}

func TestOtherSpecialUnitsThereAndBackAreRight(t *testing.T) {
	var special []string
	for _, a := range loaded().atomList {
		if a.special != nil {
			special = append(special, a.code)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		u := unit(t, rapid.SampledFrom(special).Draw(r, "unit"))
		x := big.NewRat(rapid.Int64Range(1, 40000).Draw(r, "thousandths"), 1000)
		_, base := u.Canonical()
		there, err := u.ToBase(x)
		if err != nil {
			r.Fatal(err)
		}
		back, err := unit(t, base).Convert(there, u)
		if err != nil {
			r.Fatal(err)
		}
		// Of a level of 40, twelve digits of the quantity leave eleven behind the point.
		if difference := new(big.Rat).Sub(back, x); difference.Abs(difference).Cmp(big.NewRat(1, 1e10)) > 0 {
			r.Fatalf("%v %v are %v %v are %v", x, u, there, base, back)
		}
	})
}

func TestCommensurabilityIsAnEquivalence(t *testing.T) {
	// Few symbols, so that units are commensurable often enough.
	few := rapid.Custom(func(r *rapid.T) Unit {
		some := []string{"m", "km", "Cel", "K", "[degF]", "L", "m3", "Cel2", "1", "%", "dB", "[iU]", "k[IU]", "{x}"}
		return unit(t, rapid.SampledFrom(some).Draw(r, "a")+rapid.SampledFrom([]string{"", "", "/m", ".K/K"}).Draw(r, "b"))
	})
	rapid.Check(t, func(r *rapid.T) {
		a, b, c := few.Draw(r, "a"), few.Draw(r, "b"), few.Draw(r, "c")
		if !a.Commensurable(a) {
			r.Fatalf("%v is not commensurable with itself", a)
		}
		if a.Commensurable(b) != b.Commensurable(a) {
			r.Fatalf("%v and %v are commensurable one way", a, b)
		}
		if a.Commensurable(b) && b.Commensurable(c) && !a.Commensurable(c) {
			r.Fatalf("%v is commensurable with %v, that with %v, but the first not with the last", a, b, c)
		}
		_, convertible := a.Convert(big.NewRat(2, 1), b)
		if !a.Commensurable(b) && convertible == nil {
			r.Fatalf("%v converts to %v", a, b)
		}
	})
}

func TestTheCanonicalFormOfAProductIsTheProductOfCanonicalForms(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a, b := proper().Draw(r, "a"), proper().Draw(r, "b")
		product, err := a.Mul(b)
		if err != nil {
			r.Skip(err)
		}
		f, _ := a.Canonical()
		g, _ := b.Canonical()
		_, x := a.Canonical()
		_, y := b.Canonical()
		factor, base := product.Canonical()
		if factor.Cmp(f.Mul(f, g)) != 0 {
			r.Fatalf("%v: got %v, want %v", product, factor, f)
		}
		bases, err := unit(t, x).Mul(unit(t, y))
		if err != nil {
			r.Fatal(err)
		}
		if _, want := bases.Canonical(); base != want {
			r.Fatalf("%v: got %s, want %s", product, base, want)
		}

		reversed, err := b.Mul(a)
		if err != nil || !sameUnit(product, reversed) {
			r.Fatalf("%v is not %v: %v", product, reversed, err)
		}
		if quotient, err := product.Div(b); err == nil && !quotient.Special() && !sameUnit(quotient, a) {
			r.Fatalf("%v is not %v", quotient, a)
		}
	})
}

func TestTextAndRationalsAgree(t *testing.T) {
	texts := rapid.StringMatching(`-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?(e-?[1-9])?`)
	targets := []string{"[in_us]", "[lb_av]", "[pi].rad", "/[pi]", "7", "/3", "mm[Hg]", "mmol/L", "kg", "min"}
	rapid.Check(t, func(r *rapid.T) {
		text, code := texts.Draw(r, "value"), rapid.SampledFrom(targets).Draw(r, "unit")
		u := unit(t, code)
		d, err := parseDecimal(text)
		if err != nil {
			r.Fatal(err)
		}
		want, err := u.ToBase(d.rat())
		if err != nil {
			r.Fatal(err)
		}
		got, base, err := CanonicalQuantity(text, code)
		if err != nil {
			r.Fatal(err)
		}
		if converted, err := Convert(text, code, base); err != nil || decimalOf(number(t, converted)).String() != got {
			r.Fatalf("CanonicalQuantity gives %s, Convert %s, %v", got, converted, err)
		}
		// Rounding is right: within half of the 34th digit, of which there are no more.
		g, err := parseDecimal(got)
		mantissa, _, _ := strings.Cut(got, "e")
		if err != nil || strings.Contains(mantissa, ".") && strings.HasSuffix(mantissa, "0") {
			r.Fatalf("%s is no number without trailing zeros: %v", got, err)
		}
		if g = g.trimmed(); len(g.digits) > maxPrecision {
			r.Fatalf("%s has too many digits", got)
		}
		last := decimal{digits: "1", exponent: g.exponent - (maxPrecision - len(g.digits))}.rat()
		difference := new(big.Rat).Sub(g.rat(), want)
		if difference.Abs(difference).Cmp(last.Mul(last, big.NewRat(1, 2))) > 0 {
			r.Fatalf("%s %s: got %s, want %v", text, code, got, want)
		}
	})
}

func TestNoSymbolCanBeReadInTwoWays(t *testing.T) {
	table := loaded()
	readings := map[string][]string{}
	for _, a := range table.atomList {
		readings[a.code] = append(readings[a.code], a.code)
		for _, p := range table.prefixList {
			if a.metric {
				readings[p.code+a.code] = append(readings[p.code+a.code], p.code+"-"+a.code)
			}
		}
	}
	for symbol, r := range readings {
		if len(r) > 1 {
			t.Errorf("%s is %s", symbol, strings.Join(r, " and "))
		}
		if _, a := table.symbol(symbol); a == nil {
			t.Errorf("%s is not read", symbol)
		}
	}
}
