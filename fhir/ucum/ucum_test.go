package ucum

import (
	"errors"
	"math/big"
	"strings"
	"sync"
	"testing"
)

func TestCanonicalForms(t *testing.T) {
	for _, c := range []struct{ name, code, factor, base string }{
		{"a base unit", "g", "1", "g"},
		{"a number", "12", "12", "1"},
		{"the unity", "1", "1", "1"},
		{"a prefix", "kg", "1000", "g"},
		{"a prefix of two letters", "dag", "10", "g"},
		{"a binary prefix", "KiBy", "8192", "1"},
		{"a unit that looks like a prefix with a unit", "cd", "1", "cd"},
		{"a derived unit", "N", "1000", "g.m.s-2"},
		{"bases in ASCII order", "V", "1000", "C-1.g.m2.s-2"},
		{"a prefix is raised with its unit", "cm3", "1/1000000", "m3"},
		{"a negative exponent", "s-2", "1", "s-2"},
		{"a positive sign", "m+2", "1", "m2"},
		{"an exponent of zero", "km0", "1", "1"},
		{"an exponent with leading zeros", "m002", "1", "m2"},
		{"a leading solidus", "/min", "1/60", "s-1"},
		{"a leading solidus inverts one component", "/m.s", "1", "m-1.s"},
		{"left to right", "s/m.g", "1", "g.m-1.s"},
		{"divided twice", "m/s/s", "1", "m.s-2"},
		{"parentheses", "mmol/(8.h.kg)", "1/28800000000×6022140760000000000000000/10", "g-1.s-1"},
		{"nested parentheses", "m/(s/(g/(K.C)))", "1", "C-1.K-1.g.m.s-1"},
		{"parentheses to no end", "((((m))))", "1", "m"},
		{"a solidus before a parenthesis", "/(m/s)", "1", "m-1.s"},
		{"what cancels", "m.s/m", "1", "s"},
		{"an annotation", "kg{body_wt}", "1000", "g"},
		{"an annotation alone", "{beat}/min", "1/60", "s-1"},
		{"an annotation as the divisor", "mL/{beat}", "1/1000000", "m3"},
		{"an annotation with operators in it", "m{a.b/c(d}", "1", "m"},
		{"an annotation that is empty", "m{}", "1", "m"},
		{"a number with an annotation", "5{drops}", "5", "1"},
		{"ten to a power", "10*9/L", "1000000000000", "m-3"},
		{"ten to a negative power", "10^-3", "1/1000", "1"},
		{"ten to no power", "10*", "10", "1"},
		{"operators in a bracket", "/[m/s2/Hz^(1/2)]", "1", "[m/s2/Hz^(1/2)]-1"},
		{"millimetres of mercury", "mm[Hg]", "133322", "g.m-1.s-2"},
		{"centimetres of water", "cm[H2O]", "98066.5", "g.m-1.s-2"},
		{"a litre", "L", "1/1000", "m3"},
		{"enzymes", "U/L", "602214076000000000000/60", "m-3.s-1"},
		{"percent", "%", "1/100", "1"},
		{"milligrams percent", "mg%", "10", "g.m-3"},
		{"a pound", "[lb_av]", "453.59237", "g"},
		{"an arbitrary unit", "k[iU]/L", "1000000", "[iU].m-3"},
		{"an arbitrary unit with two codes", "m[IU]/mL", "1000", "[iU].m-3"},
		{"two arbitrary units", "[arb'U]/[iU]", "1", "[arb'U].[iU]-1"},
		{"a special unit among others", "Cel/min", "1/60", "Cel.s-1"},
		{"a special unit raised", "Cel2", "1", "Cel2"},
		{"a special unit divided by", "J/Cel", "1000", "Cel-1.g.m2.s-2"},
		{"the largest number", "999999999999999999999999999999", "999999999999999999999999999999", "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			factor, base := unit(t, c.code).Canonical()
			want := big.NewRat(1, 1)
			for f := range strings.SplitSeq(c.factor, "×") {
				r, ok := new(big.Rat).SetString(f)
				if !ok {
					t.Fatalf("%q is no number", f)
				}
				want.Mul(want, r)
			}
			if base != c.base || factor == nil || factor.Cmp(want) != 0 {
				t.Errorf("%s: got %v %s, want %v %s", c.code, factor, base, want, c.base)
			}
			if !Valid(c.code) {
				t.Errorf("%s is parsed, but not valid", c.code)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct{ name, code, want string }{
		{"nothing", "", "column 1: the code is empty; the nearest unit is 1"},
		{"a solidus alone", "/", "column 1: nothing follows the operator"},
		{"an operator at the end", "m/", "column 2: nothing follows the operator"},
		{"an operator at the beginning", ".m", "column 1: a unit is missing"},
		{"two operators", "m//s", "column 3: a unit is missing"},
		{"a solidus at the beginning of parentheses", "m.(/s)", "column 4: a unit is missing"},
		{"empty parentheses", "()", "column 2: a unit is missing"},
		{"a parenthesis that is open", "m.(s", "column 3: the parenthesis is not closed"},
		{"a parenthesis that opens at the end", "m.(", "column 4: a unit is missing"},
		{"a parenthesis that closes none", "m)", "column 2: the parenthesis closes none"},
		{"parentheses with an exponent", "(m)2", "column 4: a parenthesis is followed by something else than an operator"},
		{"parentheses with an annotation", "(m){a}", "column 4: a parenthesis is followed by something else than an operator"},
		{"parentheses without an operator before", "g(8.h)", "column 2: an operator is missing"},
		{"an annotation before a unit", "{a}m", "column 4: an operator is missing"},
		{"two annotations", "m{a}{b}", "column 5: an operator is missing"},
		{"an annotation that is open", "m{a", "column 2: the annotation is not closed"},
		{"an annotation in an annotation", "m{a{b}}", "column 4: annotations cannot be nested"},
		{"an annotation that closes none", "m}", "column 2: the bracket closes none"},
		{"an annotation with a space", "m{a b}", "column 4: an annotation is made of the ASCII characters from ! to ~"},
		{"an annotation in Chinese", "rad2{\u9320}", "column 6: an annotation is made of the ASCII characters from ! to ~"},
		{"a bracket that is open", "m[H2O", "column 2: the bracket is not closed"},
		{"a bracket that closes none", "mH2O]", "column 5: the bracket closes none"},
		{"zero", "0", "column 1: a number must be positive"},
		{"zero as a divisor", "m/000", "column 3: a number must be positive"},
		{"a number with a unit", "g/12h", "column 3: a number is followed by something else than an operator; the nearest unit is 12.h"},
		{"a number with an exponent", "10+3/uL", "column 1: a number is followed by something else than an operator; the nearest unit is 10*3"},
		{"a number in the notation of computers", "10E9/L", "column 1: a number is followed by something else than an operator; the nearest unit is 10*9"},
		{"a decimal fraction", "mL/min/1.73m2", "column 8: a unit has no decimal fractions, the point multiplies; the nearest unit is {1.73_m2}"},
		{"an exponent without digits", "m-", "column 2: the exponent has no digits"},
		{"an exponent of ten without digits", "10*-", "column 4: the exponent has no digits"},
		{"an exponent with two signs", "10*--3", "column 4: the exponent has more than one sign"},
		{"an unknown unit", "qux", `column 1: the unit "qux" is not known`},
		{"an unknown unit within", "mg/qux.s", `column 4: the unit "qux" is not known`},
		{"an unknown unit that is long", "mg/" + strings.Repeat("q", 25), "column 4: the unit is not known"},
		{"an unknown unit that is too long to search for", "unified__atomic__mass__unit", "column 1: the unit is not known"},
		{"a prefix with a prefix", "kkg", `column 1: the unit "kkg" is not known`},
		{"a prefix alone", "k", `column 1: the unit "k" is not known`},
		{"a prefix on what takes none", "kmin", `column 1: the unit "kmin" is not known; the nearest unit is 10*3.min`},
		{"a space", "mm Hg", "column 3: a unit is made of the ASCII characters from ! to ~; the nearest unit is mm[Hg]"},
		{"a zero byte", "m\x00s", "column 2: a unit is made of the ASCII characters from ! to ~; the nearest unit is ms"},
		{"a zero byte at the end", "m\x00", "column 2: a unit is made of the ASCII characters from ! to ~"},
		{"a space in a bracket", "m[H O]", "column 4: a unit is made of the ASCII characters from ! to ~; the nearest unit is m[H2O]"},
		{"no UTF-8", "m\xff", "column 2: a unit is made of the ASCII characters from ! to ~"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(c.code)
			var fault *Error
			if !errors.As(err, &fault) {
				t.Fatalf("%q: got %v, want an *Error", c.code, err)
			}
			if err.Error() != "ucum: "+c.want {
				t.Errorf("%q:\ngot  %v\nwant ucum: %s", c.code, err, c.want)
			}
			if Valid(c.code) {
				t.Errorf("%q is valid, but not parsed", c.code)
			}
		})
	}
}

func TestTheNearestUnit(t *testing.T) {
	for symbol, want := range map[string]string{
		"mmHg": "mm[Hg]", "mm[hg]": "mm[Hg]", "MMHG": "mm[Hg]", "mm(Hg)": "mm[Hg]", "mm(hg)": "mm[Hg]", "Torr": "mm[Hg]",
		"cmH2O": "cm[H2O]", "cm[H20]": "cm[H2O]", "cm(h2o)": "cm[H2O]",
		"bpm": "/min", "BPM": "/min", "beats": "{beat}", "Breaths": "{breath}",
		"\u00b0C": "Cel", "degC": "Cel", "Celsius": "Cel", "cel": "Cel", "\u00b0F": "[degF]", "degF": "[degF]",
		"\u00b5g": "ug", "\u03bcmol": "umol", "mcg": "ug", "k\u2126": "kOhm", "m\u00b2": "m2", "\u00b0": "deg",
		"iU": "[IU]", "IU": "[IU]", "mIU": "m[IU]", "[iIU]": "[iU]", "[BETH'U]": "[beth'U]",
		"sec": "s", "msec": "ms", "mins": "min", "hr": "h", "days": "d", "years": "a", "minutes": "min", "week": "wk",
		"lb": "[lb_av]", "lbs": "[lb_av]", "oz": "[oz_av]", "inches": "[in_i]", "psi": "[psi]", "cc": "cm3",
		"KG": "kg", "MMOL": "mmol", "mEq": "meq", "mOsm": "mosm", "hz": "Hz", "KHz": "kHz", "Kcal": "kcal", "Cal": "[Cal]",
		"milligrams": "mg", "litres": "l", "meter": "m", "percent": "%", "millivolts": "mV", "kilopascal": "kPa",
		"cells": "{cell}", "counts": "{count}", "Steps": "{step}", "mcL": "uL", "gm": "g", "uIU": "u[IU]", "pct": "%", "osmol": "osm", "mosmol": "mosm",
		"wks": "wk", "mos": "mo", "yrs": "a", "ounces": "[oz_av]", "feet": "[ft_i]", "1.73m2": "{1.73_m2}",
		"molv": "mol", "Kimin": "1024.min", "mmin": "10*-3.min",
		"m(s)": "", "x": "", "qux": "", "Smith": "", "%%": "",
	} {
		t.Run(symbol, func(t *testing.T) {
			_, err := Parse(symbol)
			var fault *Error
			if !errors.As(err, &fault) {
				t.Fatal("it is a valid unit")
			}
			if fault.Nearest != want {
				t.Errorf("got %q, want %q", fault.Nearest, want)
			}
			if want != "" && !Valid(want) {
				t.Errorf("%s is no unit itself", want)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	// As many arbitrary units as fit in a code; their base is 327 characters long.
	manyBases := "/[iU]/[IR]/[AU]/[Lf]/[EU]/[PFU]/[FFU]/[CFU]/[BAU]/[PNU]/[FEU]/[ELU]/[hp_X]/[hp_C]/[hp_M]/[hp_Q]/[kp_X]/[kp_C]/[kp_M]/[kp_Q]" +
		"/[ka'U]/[tb'U]/[arb'U]/[USP'U]/[GPL'U]/[MPL'U]/[APL'U]/[dye'U]/[knk'U]/[beth'U]/[todd'U]/[smgy'U]/[bdsk'U]/[mclg'U]/[EID_50]/[D'ag'U]"
	for _, c := range []struct{ name, at, above, want string }{
		{"length", "{" + strings.Repeat("a", 254) + "}", "{" + strings.Repeat("a", 255) + "}", "column 257: the code is longer than 256 characters"},
		{"nesting", strings.Repeat("(", 16) + "m" + strings.Repeat(")", 16), strings.Repeat("(", 17) + "m" + strings.Repeat(")", 17), "column 17: parentheses are nested more than 16 deep"},
		{"an exponent", "m-99", "m100", "column 2: the exponent is above 99"},
		{"an exponent beyond all integers", "m-99", "m9999999999999999999999", "column 2: the exponent is above 99"},
		{"the sum of exponents", "m90.m9", "m90.m10", "column 5: the exponents of a unit add up to more than 99"},
		{"the sum of negative exponents", "/m90/m9", "/m90/m10", "column 6: the exponents of a unit add up to more than 99"},
		{"the digits of a number", strings.Repeat("9", 30), strings.Repeat("9", 31), "column 1: the number has more than 30 digits"},
		{"the size of a unit", "Ym40", "Ym99", "column 1: the unit is too large or too small to compute with"},
		{"the size of a product", "[pi]4.[pi]4", "[pi]4.[pi]5", "column 7: the unit is too large or too small to compute with"},
		{"the number of bases", manyBases[:193], manyBases, "column 1: the unit is made of too many base units"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Parse(c.at); err != nil || !Valid(c.at) {
				t.Errorf("%.40s: %v", c.at, err)
			}
			if _, err := Parse(c.above); err == nil || err.Error() != "ucum: "+c.want || Valid(c.above) {
				t.Errorf("%.40s: got %v, want ucum: %s", c.above, err, c.want)
			}
		})
	}
}

func TestCommensurability(t *testing.T) {
	for _, c := range []struct {
		name, a, b string
		want       bool
	}{
		{"pressures", "mm[Hg]", "kPa", true},
		{"a special unit and its proper unit", "Cel", "K", true},
		{"two special units", "[degF]", "Cel", true},
		{"a scaled special unit", "10.Cel", "mK", true},
		{"a level and what it is the level of", "dB[SPL]", "Pa", true},
		{"the mole is a number", "mmol/L", "/L", true},
		{"a number and a fraction", "%", "1", true},
		{"mass and volume", "g", "mL", false},
		{"mass and amount", "mg/dL", "mmol/L", false},
		{"an angle is no number", "rad", "1", false},
		{"a temperature and its rate", "Cel", "Cel/min", false},
		{"a rate of Celsius and of kelvin", "Cel/min", "K/min", false},
		{"two rates of Celsius", "Cel/min", "Cel/h", true},
		{"an arbitrary unit and itself", "[iU]", "k[iU]", true},
		{"an arbitrary unit and its other code", "[iU]", "[IU]", true},
		{"two arbitrary units", "[iU]", "[arb'U]", false},
		{"an arbitrary unit and a number", "[iU]", "1", false},
		{"an arbitrary unit and an enzyme unit", "[iU]/L", "U/L", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := unit(t, c.a), unit(t, c.b)
			if got := a.Commensurable(b); got != c.want || b.Commensurable(a) != got {
				t.Errorf("%s and %s: got %v, want %v", c.a, c.b, got, c.want)
			}
		})
	}
}

func TestSpecialUnitsAreTold(t *testing.T) {
	for code, want := range map[string]bool{"Cel": true, "dB": true, "[pH]": true, "10.Cel": true, "%.B": true, "Cel.m/m": true, "Cel{oral}": true, "(Cel)": true,
		"K": false, "Cel2": false, "/Cel": false, "Cel/min": false, "Cel.B": false, "[iU]": false} {
		u := unit(t, code)
		factor, _ := u.Canonical()
		if u.Special() != want || (factor == nil) != want {
			t.Errorf("%s: special is %v and the factor %v, want special %v", code, u.Special(), factor, want)
		}
	}
}

func TestTheZeroValueIsTheUnity(t *testing.T) {
	var zero Unit
	factor, base := zero.Canonical()
	if zero.String() != "1" || zero.Name() != "(unity)" || zero.Special() || base != "1" || factor.Cmp(big.NewRat(1, 1)) != 0 {
		t.Errorf("got %v of %s", factor, base)
	}
	if !zero.Commensurable(unit(t, "1")) || zero.Commensurable(unit(t, "m")) {
		t.Error("it is not commensurable with numbers alone")
	}
	if u, err := zero.Div(unit(t, "s")); err != nil || u.String() != "1/s" {
		t.Errorf("got %v, %v", u, err)
	}
}

func TestProductsAndQuotients(t *testing.T) {
	mul, div := Unit.Mul, Unit.Div
	for _, c := range []struct {
		name string
		do   func(Unit, Unit) (Unit, error)
		a, b string
		want string
	}{
		{"a product", mul, "g", "m", "g.m"},
		{"a quotient", div, "g", "m", "g/m"},
		{"a product with a quotient", mul, "g/L", "mL/min", "g/L.(mL/min)"},
		{"a quotient of products", div, "g.m", "s.K", "g.m/(s.K)"},
		{"a quotient by an inverse", div, "/m", "/s", "/m/(1/s)"},
		{"a product of inverses", mul, "/m", "/s", "/m.(1/s)"},
		{"annotations are kept", div, "mL{urine}", "h{a.b}", "mL{urine}/h{a.b}"},
		{"points in brackets are no operators", mul, "m", "[m/s2/Hz^(1/2)]2", "m.[m/s2/Hz^(1/2)]2"},
		{"parentheses around a unit", mul, "m", "(s)", "m.((s))"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := c.do(unit(t, c.a), unit(t, c.b))
			if err != nil || u.String() != c.want {
				t.Errorf("got %v, %v, want %s", u, err, c.want)
			}
		})
	}
	for _, c := range []struct {
		name string
		do   func(Unit, Unit) (Unit, error)
		a, b string
		want string
	}{
		{"a special unit on the left", div, "Cel", "min", "ucum: the special unit Cel has no products: convert its values to K first"},
		{"a special unit on the right", mul, "m", "dB[V]", "ucum: the special unit B[V] has no products: convert its values to C-1.g.m2.s-2 first"},
		{"a product that comes to a special unit", mul, "Cel2", "/Cel", "ucum: the special unit Cel is no product"},
		{"a product that is too long", mul, strings.Repeat("m.", 100) + "s", strings.Repeat("/m", 99),
			"ucum: the product of two units is too long or too large: ucum: column 257: the code is longer than 256 characters"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := Parse(c.a)
			if err != nil {
				a = unit(t, "{"+strings.Repeat("a", 200)+"}")
			}
			if _, err := c.do(a, unit(t, c.b)); err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestNames(t *testing.T) {
	for code, want := range map[string]string{
		"/min":             "1 / (minute)",
		"mmol/(8.h.kg)":    "(millimole) / 8 / (hour) / (kilogram)",
		"m/(s/g)":          "(meter) / (second) * (gram)",
		"{beat}/min":       "{beat} / (minute)",
		"kg{body_wt}":      "(kilogram) {body_wt}",
		"10*3{rbc}/uL":     "(the number ten for arbitrary powers ^ 3) {rbc} / (microliter)",
		"Cel":              "(degree Celsius)",
		"[ch_us]":          "(Gunter's chain)",
		"KiBy":             "(kibibyte)",
		"1":                "1",
		"mL/min/{1.73_m2}": "(milliliter) / (minute) / {1.73_m2}",
	} {
		if got := unit(t, code).Name(); got != want {
			t.Errorf("%s: got %q, want %q", code, got, want)
		}
	}
}

func TestManyGoroutinesMayUseTheSameUnits(t *testing.T) {
	shared := unit(t, "mmol/L")
	value := big.NewRat(5, 1)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for _, code := range []string{"umol/L", "/m3", "mmol/L", "mol/dL"} {
				u, err := Parse(code)
				if err != nil {
					t.Error(err)
					return
				}
				factor, _ := shared.Canonical()
				factor.Add(factor, factor) // it is ours
				if _, err := shared.Convert(value, u); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if got, err := Convert("5", "mmol/L", "umol/L"); got != "5000" {
		t.Errorf("got %s, %v after all, want 5000", got, err)
	}
}
