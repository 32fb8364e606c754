package vocabulary

import (
	"strconv"
	"strings"
	"testing"
)

func TestLOINCNumbersHaveACheckDigit(t *testing.T) {
	for code, want := range map[string]struct {
		ok    bool
		digit byte
	}{
		"12345-5": {true, 0}, "8867-4": {true, 0}, "105272-9": {true, 0}, "1-8": {true, 0},
		"LA6576-8": {true, 0}, "LP203183-1": {true, 0}, "LL1-2": {true, 0}, "LG1-2": {true, 0},
		"5895-7": {true, 0}, "6649-9": {true, 0}, // published with a wrong one
		"8867-5": {false, '4'}, "5895-6": {false, '8'}, "5895-8": {true, 0},
		"": {}, "-": {}, "-4": {}, "8867": {}, "8867-": {}, "88674": {}, "08867-4": {}, "8867-44": {}, "88 67-4": {}, "LX1-2": {}, "L1-2": {}, "LA-2": {},
		"MTHU1-2": {}, "12345678901-2": {}, "８８６７-4": {},
	} {
		if ok, digit := IsLOINC(code); ok != want.ok || digit != want.digit {
			t.Errorf("%q: got %v, %q", code, ok, digit)
		}
	}
	for _, m := range all() {
		for _, code := range m.LOINC {
			if ok, _ := IsLOINC(code); !ok {
				t.Errorf("%s of %s is none", code, m.Name)
			}
		}
	}
}

func TestRangesAreOfCodesThatAreKnownAndInTheirUnit(t *testing.T) {
	count := 0
	for r := range Ranges() {
		count++
		low, err1 := strconv.ParseFloat(r.Low, 64)
		high, err2 := strconv.ParseFloat(r.High, 64)
		if r.Name == "" || r.Source == "" || err1 != nil || err2 != nil || low >= high || len(r.LOINC)+len(r.MDC) == 0 {
			t.Errorf("got %+v", r)
		}
		fits := func(m Metric, ok bool, of string) {
			t.Helper()
			found := false
			for _, u := range m.Units {
				found = found || commensurable(u, r.UCUM)
			}
			if !ok || !found {
				t.Errorf("%s: %s does not come in %s", r.Name, of, r.UCUM)
			}
		}
		for _, code := range r.LOINC {
			m, ok := ByLOINC(code)
			fits(m, ok, code)
		}
		for _, code := range r.MDC {
			m, ok := ByMDC(code)
			fits(m, ok, m.RefID)
		}
	}
	if lines := strings.Count(plausibleTSV, "\n") - 1; count != lines || count == 0 {
		t.Errorf("%d of %d lines are read", count, lines)
	}
}

func TestTermsAreThere(t *testing.T) {
	for code, want := range map[uint32]bool{147842: true, 266016: true, 528388: true, 0: false, 65536: false, 199999: false} {
		if got := HasMDC(code); got != want {
			t.Errorf("%d: got %v", code, got)
		}
	}
	last := uint32(1<<16 - 1)
	for line, f := range rows(termsTSV) {
		code, err := number(f[0])
		if err != nil || len(f) != 2 || code <= last {
			t.Errorf("terms.tsv:%d: not a code above the last one, and reference ids", line)
		}
		last = code
		for _, r := range strings.Fields(f[1]) {
			if !strings.HasPrefix(r, "MDC_") {
				t.Errorf("terms.tsv:%d: %s is no reference id", line, r)
			}
		}
	}
}

func TestAVitalSignHasTheProfileOfTheTable(t *testing.T) {
	for code, want := range map[string]Profile{"8867-4": HeartRate, "85354-9": BloodPressure, "85353-1": VitalSignsPanel, "2708-6": OxygenSaturation,
		"59408-5": "", "8480-6": "", "8462-4": "", "8478-0": "", "41653-7": "", "": ""} {
		if got := ProfileOf(code); got != want {
			t.Errorf("%s: got %q", code, got)
		}
	}
}

func TestUnitsOfACodeThatIsTiedToAQuantityAreOfThat(t *testing.T) {
	glucose, _ := ByLOINC("99504-3")
	heart, _ := ByMDC(147842)
	panel, _ := ByLOINC("85354-9")
	for _, c := range []struct {
		m          Metric
		code, want string
	}{{glucose, "99504-3", "mg/dL"}, {glucose, "105272-9", "mmol/L"}, {heart, "8867-4", "/min"}, {panel, "85354-9", ""}, {heart, "1-8", ""}} {
		if got := strings.Join(c.m.UnitsOf(c.code), " "); got != c.want {
			t.Errorf("%s: got %q, want %q", c.code, got, c.want)
		}
	}
}

func TestEveryMetricAndUnitCodeIsYieldedOnce(t *testing.T) {
	count := 0
	for m := range Metrics() {
		count++
		if m.Name == "" {
			t.Errorf("got %+v", m)
		}
	}
	if lines := strings.Count(metricsTSV, "\n") - 1; count != lines {
		t.Errorf("%d metrics, and %d lines", count, lines)
	}
	codes := map[string]bool{}
	for code := range UnitCodes() {
		codes[code] = true
	}
	for _, want := range []string{"mm[Hg]", "1/min", "{beat}/min", "/min", "dyn.s/(cm5.m2)"} {
		if !codes[want] {
			t.Errorf("%s is not there", want)
		}
	}
}
