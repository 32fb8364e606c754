package vocabulary

import (
	"slices"
	"strings"
	"testing"
)

func TestUnits(t *testing.T) {
	mdc := func(code uint32) func() (Unit, bool) { return func() (Unit, bool) { return UnitByMDC(code) } }
	refid := func(s string) func() (Unit, bool) { return func() (Unit, bool) { return UnitByRefID(s) } }
	ucum := func(s string) func() (Unit, bool) { return func() (Unit, bool) { return UnitByUCUM(s) } }
	for _, c := range []struct {
		name string
		find func() (Unit, bool)
		want Unit
	}{
		{"an annotation is for people", mdc(264864), Unit{264864, "MDC_DIM_BEAT_PER_MIN", "/min", "{beat}/min"}},
		{"breaths per minute", mdc(264928), Unit{264928, "MDC_DIM_RESP_PER_MIN", "/min", "{breath}/min"}},
		{"pulses per minute", mdc(264896), Unit{264896, "MDC_DIM_PULS_PER_MIN", "/min", "{pulse}/min"}},
		{"per minute", mdc(264672), Unit{264672, "MDC_DIM_PER_MIN", "/min", "/min"}},
		{"no unit is one", mdc(262656), Unit{262656, "MDC_DIM_DIMLESS", "1", "1"}},
		{"something counted is one", mdc(263232), Unit{263232, "MDC_DIM_BEAT", "1", "{beat}"}},
		{"volume per breath is volume", mdc(263776), Unit{263776, "MDC_DIM_L_PER_BREATH", "L", "L/{breath}"}},
		{"a temperature is not a difference of temperatures", mdc(268192), Unit{268192, "MDC_DIM_DEGC", "Cel", "Cel"}},
		{"millimetres of mercury", mdc(266016), Unit{266016, "MDC_DIM_MMHG", "mm[Hg]", "mm[Hg]"}},
		{"kilograms per square metre", mdc(264096), Unit{264096, "MDC_DIM_KG_PER_M_SQ", "kg/m2", "kg/m2"}},
		{"a reference id", refid("MDC_DIM_MMHG"), Unit{266016, "MDC_DIM_MMHG", "mm[Hg]", "mm[Hg]"}},
		{"a reference id with the X of the nomenclature", refid("MDC_DIM_X_L_PER_MIN"), Unit{265216, "MDC_DIM_L_PER_MIN", "L/min", "L/min"}},
		{"a reference id without the X", refid("MDC_DIM_L_PER_MIN"), Unit{265216, "MDC_DIM_L_PER_MIN", "L/min", "L/min"}},
		{"seconds are not what the export says twice", refid("MDC_DIM_SEC"), Unit{264320, "MDC_DIM_SEC", "s", "s"}},

		{"a UCUM code", ucum("mm[Hg]"), Unit{266016, "MDC_DIM_MMHG", "mm[Hg]", "mm[Hg]"}},
		{"per minute is of nothing in particular", ucum("/min"), Unit{264672, "MDC_DIM_PER_MIN", "/min", "/min"}},
		{"an annotation is stripped", ucum("{beats}/min"), Unit{264672, "MDC_DIM_PER_MIN", "/min", "{beats}/min"}},
		{"another spelling", ucum("1/min"), Unit{264672, "MDC_DIM_PER_MIN", "/min", "/min"}},
		{"another spelling with an annotation", ucum("1/min{total}"), Unit{264672, "MDC_DIM_PER_MIN", "/min", "1/min{total}"}},
		{"an annotation at the end", ucum("mL{liquid}"), Unit{263762, "MDC_DIM_MILLI_L", "mL", "mL{liquid}"}},
		{"an annotation as the divisor", ucum("mL/{beat}"), Unit{263762, "MDC_DIM_MILLI_L", "mL", "mL/{beat}"}},
		{"an annotation within", ucum("L/{breath}/min"), Unit{265216, "MDC_DIM_L_PER_MIN", "L/min", "L/{breath}/min"}},
		{"an annotation alone", ucum("{unitless}"), Unit{262656, "MDC_DIM_DIMLESS", "1", "{unitless}"}},
		{"two annotations", ucum("{a}{b}"), Unit{262656, "MDC_DIM_DIMLESS", "1", "{a}{b}"}},
		{"a unit without an MDC code", ucum("kcal"), Unit{0, "", "kcal", "kcal"}},
		{"a rate of change", ucum("mg/dL/min"), Unit{0, "", "mg/dL/min", "mg/dL/min"}},
		{"glucose", ucum("mg/dL"), Unit{264274, "MDC_DIM_MILLI_G_PER_DL", "mg/dL", "mg/dL"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, ok := c.find(); !ok || got != c.want {
				t.Errorf("got %+v, %v, want %+v", got, ok, c.want)
			}
		})
	}
}

func TestUnknownUnitsAreNotFound(t *testing.T) {
	for _, code := range []string{"", "BPM", "mmHg", "Br/M", "10.mV/4096", "micromol/L", "{", "}", "{beat/min", "beat}/min", "/Min", " /min", "{}{", "%^Percent"} {
		if u, ok := UnitByUCUM(code); ok {
			t.Errorf("%q is taken for %+v", code, u)
		}
	}
	for _, refid := range []string{"", "mdc_dim_mmhg", "MDC_DIM_NOS"} {
		if u, ok := UnitByRefID(refid); ok {
			t.Errorf("%q is taken for %+v", refid, u)
		}
	}
	for _, mdc := range []uint32{
		0,
		262144, // not otherwise specified
		262829, // seconds with a prefix that does not exist
		263072, // "do not use"
		264544, // time of day
		266304, // amperes written as years
		266912, // equivalents written as moles
	} {
		if u, ok := UnitByMDC(mdc); ok {
			t.Errorf("%d is taken for %+v", mdc, u)
		}
	}
}

func TestUnitsAreThoseOfTheNomenclature(t *testing.T) {
	left := 0
	for _, row := range table(t, "mdc_unit_ucum.tsv") {
		mdc, err := number(row["unit_cf_code"])
		if err != nil {
			t.Fatal(err)
		}
		u, ok := UnitByMDC(mdc)
		if !ok {
			left++
			continue
		}
		var codes []string
		for code := range strings.SplitSeq(strings.TrimSuffix(row["ucum"], "#"), " | ") {
			plain, _ := withoutAnnotations(code)
			codes = append(codes, plain)
		}
		if !slices.Contains(codes, u.UCUM) {
			t.Errorf("%d %s: got %s, want one of %v", mdc, u.RefID, u.UCUM, codes)
		}
		refid := strings.TrimSuffix(row["refid"], "#")
		if byRef, ok := UnitByRefID(refid); !ok || byRef != u {
			t.Errorf("%s: got %+v, want %+v", refid, byRef, u)
		}
	}
	if left != 11 {
		t.Errorf("%d units are left out, want the 11 that are known to be faulty or to have no UCUM code", left)
	}
}

func TestNoUnitHasAnAnnotationInItsCode(t *testing.T) {
	for code, u := range loaded().unitByUCUM {
		if strings.ContainsAny(code+u.UCUM, "{} ") || u.UCUM == "" || u.Display == "" {
			t.Errorf("%q: %+v", code, u)
		}
		if plain, _ := withoutAnnotations(u.Display); plain != u.UCUM {
			t.Errorf("%q does not mean %q", u.Display, u.UCUM)
		}
	}
}

func TestProfiles(t *testing.T) {
	allowed := map[Profile][]string{
		HeartRate: {"/min"}, RespiratoryRate: {"/min"}, OxygenSaturation: {"%"}, BodyTemperature: {"Cel", "[degF]"},
		BodyHeight: {"cm", "[in_i]"}, HeadCircumference: {"cm", "[in_i]"}, BodyWeight: {"g", "kg", "[lb_av]"},
		BMI: {"kg/m2"}, BloodPressure: {"mm[Hg]"}, "": nil, "other": nil,
	}
	for p, want := range allowed {
		var got []string
		for code := range loaded().unitByUCUM {
			if p.Allows(code) {
				got = append(got, code)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("%s allows %v, want %v", p, got, want)
		}
		if p.Allows("{beat}/min") || p.Allows("") {
			t.Errorf("%s allows an annotation or nothing", p)
		}
	}
	if got := BloodPressure.URL(); got != "http://hl7.org/fhir/StructureDefinition/bp" {
		t.Errorf("got %s", got)
	}
	if got := Profile("").URL(); got != "" {
		t.Errorf("no profile has the URL %s", got)
	}
}

func FuzzUnitByUCUM(f *testing.F) {
	for _, s := range []string{"/min", "{beat}/min", "L/{breath}", "{", "}{", "1 | {unitless}", "mm[Hg]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, code string) {
		u, ok := UnitByUCUM(code)
		if !ok {
			return
		}
		again, ok := UnitByUCUM(u.UCUM)
		if !ok || again.UCUM != u.UCUM || strings.ContainsAny(u.UCUM, "{}") {
			t.Errorf("%q: %+v, then %+v", code, u, again)
		}
	})
}
