package ucum

import (
	"math/big"
	"strings"
	"testing"
)

func TestConversions(t *testing.T) {
	for _, c := range []struct{ name, value, from, to, want string }{
		{"the same unit keeps the text", "1.50e2", "mg", "mg", "1.50e2"},
		{"digits are kept when the point moves left", "72.50", "kg", "t", "0.07250"},
		{"digits are kept when the point moves right", "72.50", "kg", "g", "72500"},
		{"digits are kept when there are more than 34", "0." + strings.Repeat("7", 60), "m", "mm", strings.Repeat("7", 3) + "." + strings.Repeat("7", 57)},
		{"zero keeps its digits", "0.00", "mg", "g", "0.00000"},
		{"the sign of zero is kept", "-0.0", "mg", "ug", "-0"},
		{"an exponent", "1.20e2", "m", "cm", "12000"},
		{"a negative exponent", "12e-1", "m", "cm", "120"},
		{"much is written with an exponent", "1.5", "Ym", "ym", "1.5e48"},
		{"little is written with an exponent", "1.50", "ym", "km", "1.50e-27"},
		{"an annotation does not matter", "36.60", "Cel", "Cel{oral}", "36.60"},
		{"pressure", "120", "mm[Hg]", "kPa", "15.99864"},
		{"pressure of water", "10", "cm[H2O]", "mbar", "9.80665"},
		{"mass", "150", "[lb_av]", "kg", "68.0388555"},
		{"length", "6", "[ft_i]", "cm", "182.88"},
		{"rate", "72", "/min", "Hz", "1.2"},
		{"energy", "250", "[Cal]", "kJ", "1046"},
		{"concentration", "5.5", "mmol/L", "/L", "3312177418000000000000"},
		{"international units", "100", "u[IU]/mL", "k[iU]/L", "0.000100"},
		{"a quotient without an end", "100", "/min", "/s", "1.666666666666666666666666666666667"},
		{"a quotient without an end, rounded down", "1", "[in_us]", "m", "0.0254000508001016002032004064008128"},
		{"a negative quotient without an end", "-1", "mm", "[ft_i]", "-0.00328083989501312335958005249343832"},

		{"a fever", "98.6", "[degF]", "Cel", "37"},
		{"a fever the other way", "37.0", "Cel", "[degF]", "98.6"},
		{"the same temperature", "-40", "Cel", "[degF]", "-40"},
		{"absolute zero", "-273.15", "Cel", "K", "0"},
		{"a temperature without an end", "100", "[degF]", "Cel", "37.77777777777777777777777777777778"},
		{"Reaumur", "80", "[degRe]", "Cel", "100"},
		{"Rankine", "491.67", "[degR]", "Cel", "0"},
		{"a prefix scales the value", "1000", "mCel", "K", "274.15"},
		{"a number scales the value", "3.7", "10.Cel", "K", "310.15"},
		{"differences of temperature", "60", "Cel/h", "Cel/min", "1"},

		{"neutral water", "7", "[pH]", "mol/L", "0.0000001"},
		{"blood", "7.40", "[pH]", "nmol/L", "39.8107170553"},
		{"blood the other way", "39.8107170553", "nmol/L", "[pH]", "7.4"},
		{"bel", "2", "B", "1", "100"},
		{"decibel", "1000", "1", "dB", "30"},
		{"decibel and bel are exact", "0.1234567890123456789", "dB", "B", "0.01234567890123456789"},
		{"all that is on one scale is exact", "1", "dB", "3.B", "0.0" + strings.Repeat("3", 34)},
		{"attenuation", "250", "dB/m", "dB/cm", "2.50"},
		{"neper", "1", "Np", "1", "2.71828182846"},
		{"sound pressure", "60", "dB[SPL]", "Pa", "0.02"},
		{"sound pressure the other way", "0.02", "Pa", "dB[SPL]", "60"},
		{"a level of millivolts", "20", "dB[mV]", "mV", "10"},
		{"a level of ten nanovolts", "2", "B[10.nV]", "nV", "100"},
		{"a level of watts", "3", "B[W]", "kW", "1"},
		{"a level of microvolts in one of volts", "120", "dB[uV]", "dB[V]", "0"},
		{"bits", "3", "bit_s", "1", "8"},
		{"a ratio next to one", "1.000000000000001", "1", "B", "0.000000000000000434294481903"},
		{"a decimal potency", "6", "[hp'_X]", "1", "0.000001"},
		{"a centesimal potency", "0.0001", "1", "[hp'_C]", "2"},
		{"a millesimal potency", "2", "[hp'_M]", "1", "0.000001"},
		{"a quintamillesimal potency", "1", "[hp'_Q]", "1", "0.00002"},
		{"a slope", "100", "%[slope]", "deg", "45"},
		{"a slope the other way", "45", "deg", "%[slope]", "100"},
		{"a prism", "100", "[p'diop]", "deg", "45"},
		{"a prism is a slope", "12.5", "[p'diop]", "%[slope]", "12.5"},
		{"a root that is exact", "1.44", "m2/s4/Hz", "[m/s2/Hz^(1/2)]", "1.2"},
		{"a root that is not", "2", "m2/s4/Hz", "[m/s2/Hz^(1/2)]", "1.41421356237"},
		{"a square", "3", "[m/s2/Hz^(1/2)]", "m2/s4/Hz", "9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Convert(c.value, c.from, c.to)
			if err != nil || got != c.want {
				t.Errorf("%s %s in %s: got %s, %v, want %s", c.value, c.from, c.to, got, err, c.want)
			}
		})
	}
}

func TestConversionsThatFail(t *testing.T) {
	const notDecimal = "ucum: the value is no decimal number of FHIR, such as 72.50 or 1.5e3 (http://hl7.org/fhir/R4/datatypes.html#decimal)"
	for _, c := range []struct{ name, value, from, to, want string }{
		{"no value", "", "m", "m", notDecimal},
		{"a word", "high", "m", "m", notDecimal},
		{"a sign alone", "-", "m", "m", notDecimal},
		{"a plus", "+5", "m", "m", notDecimal},
		{"a leading zero", "05", "m", "m", notDecimal},
		{"no digit before the point", ".5", "m", "m", notDecimal},
		{"no digit behind the point", "5.", "m", "m", notDecimal},
		{"an exponent without digits", "5e", "m", "m", notDecimal},
		{"an exponent with two signs", "5e+-3", "m", "m", notDecimal},
		{"digits that are not ASCII", "\u0665", "m", "m", notDecimal},
		{"a space", "5 ", "m", "m", notDecimal},
		{"a value that is too long", strings.Repeat("7", 65), "m", "m", "ucum: the value is longer than 64 characters"},
		{"an exponent that is too large", "1e101", "m", "m", "ucum: the exponent of the value is beyond 100"},
		{"an exponent beyond all integers", "1e99999999999999999999", "m", "m", "ucum: the exponent of the value is beyond 100"},
		{"a source that is no unit", "5", "mmHg", "kPa", `the unit to convert from: ucum: column 1: the unit "mmHg" is not known; the nearest unit is mm[Hg]`},
		{"a target that is no unit", "5", "kPa", "mmHg", `the unit to convert to: ucum: column 1: the unit "mmHg" is not known; the nearest unit is mm[Hg]`},
		{"units of different dimensions", "5", "mg/dL", "mmol/L", "ucum: the units are not commensurable: one is of g.m-3, the other of m-3"},
		{"an arbitrary unit", "5", "[iU]", "1", "ucum: the units are not commensurable: one is of [iU], the other of 1"},
		{"no value has this level", "0", "Pa", "dB[SPL]", "ucum: only a quantity above zero has a level, a pH or a potency"},
		{"no value has this pH", "-1", "mol/L", "[pH]", "ucum: only a quantity above zero has a level, a pH or a potency"},
		{"a level that is too high", "1e4", "B", "1", "ucum: the value is too large or too small for the scale of the unit"},
		{"a level that is too low", "-1e4", "B", "1", "ucum: the value is too large or too small for the scale of the unit"},
		{"a right angle", "90", "deg", "%[slope]", "ucum: an angle of 90 degrees or more has no slope"},
		{"a root below zero", "-1", "m2/s4/Hz", "[m/s2/Hz^(1/2)]", "ucum: a square root is not below zero"},
		{"a square of what is below zero", "-1", "[m/s2/Hz^(1/2)]", "m2/s4/Hz", "ucum: a square root is not below zero"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Convert(c.value, c.from, c.to)
			if err == nil || err.Error() != c.want || got != "" {
				t.Errorf("got %q, %v, want %s", got, err, c.want)
			}
		})
	}
}

func TestCanonicalQuantities(t *testing.T) {
	for _, c := range []struct{ name, value, code, want string }{
		{"no trailing zeros", "72.50", "kg", "72500 g"},
		{"the same quantity", "7.25e1", "kg", "72500 g"},
		{"the same quantity in another unit", "72500.000", "g", "72500 g"},
		{"heart rate", "71", "{beat}/min", "1.183333333333333333333333333333333 s-1"},
		{"blood pressure", "120", "mm[Hg]", "15998640 g.m-1.s-2"},
		{"temperature", "37.0", "Cel", "310.15 K"},
		{"temperature elsewhere", "98.60", "[degF]", "310.15 K"},
		{"saturation", "97", "%", "0.97 1"},
		{"zero", "-0.00", "/min", "0 s-1"},
		{"a number below zero", "-5", "mV", "-5 C-1.g.m2.s-2"},
		{"pH", "7", "[pH]", "60221407600000000000 m-3"},
		{"an arbitrary unit", "5", "m[IU]/mL", "5000 [iU].m-3"},
		{"nines that round up", "0." + strings.Repeat("9", 40), "m", "1 m"},
		{"more digits than are kept", "1." + strings.Repeat("2", 40) + "9", "m", "1." + strings.Repeat("2", 33) + " m"},
		{"half of the last digit", "1." + strings.Repeat("0", 33) + "5", "m", "1." + strings.Repeat("0", 32) + "1 m"},
		{"half of the last digit below zero", "-1." + strings.Repeat("0", 33) + "5", "m", "-1." + strings.Repeat("0", 32) + "1 m"},
		{"large", "1e100", "Ym", "1e124 m"},
		{"small", "-1.2e-100", "ym", "-1.2e-124 m"},
	} {
		t.Run(c.name, func(t *testing.T) {
			value, base, err := CanonicalQuantity(c.value, c.code)
			if got := value + " " + base; err != nil || got != c.want {
				t.Errorf("%s %s: got %s, %v, want %s", c.value, c.code, got, err, c.want)
			}
		})
	}
	for _, c := range [][2]string{{"x", "m"}, {"1", "x"}, {"9999", "B"}} {
		if value, base, err := CanonicalQuantity(c[0], c[1]); err == nil || value+base != "" {
			t.Errorf("%s %s: got %s %s", c[0], c[1], value, base)
		}
	}
}

func TestConvertLeavesItsArgumentAlone(t *testing.T) {
	value := big.NewRat(37, 1)
	for _, c := range [][2]string{{"Cel", "[degF]"}, {"mg", "kg"}, {"Cel", "K"}, {"1", "dB"}} {
		if _, err := unit(t, c[0]).Convert(value, unit(t, c[1])); err != nil {
			t.Error(err)
		}
		if _, err := unit(t, c[0]).ToBase(value); err != nil {
			t.Error(err)
		}
	}
	if value.Cmp(big.NewRat(37, 1)) != 0 {
		t.Errorf("37 has become %v", value)
	}
}

func TestNoErrorHasAValueInIt(t *testing.T) {
	for _, c := range [][3]string{{"-123456", "mol/L", "[pH]"}, {"123456x", "m", "m"}, {"123456", "m", "s"}, {"123456", "B", "1"}, {"123456", "deg", "%[slope]"}, {"123456e123456", "m", "m"}} {
		if _, err := Convert(c[0], c[1], c[2]); err == nil || strings.Contains(err.Error(), "123456") {
			t.Errorf("%v: got %v", c, err)
		}
	}
}
