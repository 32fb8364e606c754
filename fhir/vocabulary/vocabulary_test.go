package vocabulary

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
)

func TestTheTablesHaveNoFaults(t *testing.T) {
	tables, faults := parse(metricsTSV, unitsTSV, loincTSV)
	for _, fault := range faults {
		t.Error(fault)
	}
	if len(tables.byMDC) < 440 || len(tables.unitByMDC) < 320 || len(tables.byLOINC) < 95 {
		t.Errorf("only %d metrics, %d units and %d LOINC codes", len(tables.byMDC), len(tables.unitByMDC), len(tables.byLOINC))
	}
	t.Logf("%d MDC metrics, %d reference ids, %d LOINC codes, %d MDC units, %d UCUM codes",
		len(tables.byMDC), len(tables.byRefID), len(tables.byLOINC), len(tables.unitByMDC), len(tables.unitByUCUM))
}

func TestFaultsInTablesAreToldAndLeftOut(t *testing.T) {
	for _, c := range []struct{ name, metrics, units, loinc, want string }{
		{"a short line", "h\n1\tMDC_A\n", "h\n", "h\n", "metrics.tsv:2: want 6 columns, not 2"},
		{"a number that is none", "h\nx\tMDC_A\tA\t\t\t\n", "h\n", "h\n", `metrics.tsv:2: "x" is not an MDC code`},
		{"a metric without a name", "h\n70000\tMDC_A\t\t\t\t\n", "h\n", "h\n", "metrics.tsv:2: metric 70000 has no name"},
		{"a metric without a code", "h\n\t\tA\t\t\t\n", "h\n", "h\n", `metrics.tsv:2: metric "A" has no code`},
		{"a metric twice", "h\n70000\tMDC_A\tA\t\t\t\n70000\tMDC_B\tB\t\t\t\n", "h\n", "h\n", "metrics.tsv:3: metric 70000 is listed twice"},
		{"a reference id twice", "h\n70000\tMDC_A\tA\t\t\t\n70001\tMDC_A\tB\t\t\t\n", "h\n", "h\n", "metrics.tsv:3: metric MDC_A is listed twice"},
		{"a unit that is not listed", "h\n70000\tMDC_A\tA\t\tm\tm\n", "h\n", "h\n", `metrics.tsv:2: unit m of metric "A" is not in units.tsv`},
		{"an expected unit that is not the first", "h\n70000\tMDC_A\tA\t\tm\t\n", "h\n", "h\n", `metrics.tsv:2: metric "A" does not list the expected unit first`},
		{"a LOINC code of two metrics without MDC", "h\n\t\tA\t1-8\t\t\n\t\tB\t1-8\t\t\n", "h\n", "h\n", "metrics.tsv:3: LOINC 1-8 has two metrics without MDC"},
		{"a LOINC code of two MDC codes", "h\n70000\t\tA\t1-8\t\t\n70001\t\tB\t1-8\t\t\n", "h\n", "h\n", "metrics.tsv:0: LOINC 1-8 has several MDC codes and needs a metric without one"},
		{"a unit without UCUM", "h\n", "h\n300000\tMDC_DIM_A\t\t\t\t\n", "h\n", "units.tsv:2: unit 300000 has no UCUM code"},
		{"a unit twice", "h\n", "h\n300000\tMDC_DIM_A\ta\t\t\t\n300000\tMDC_DIM_B\tb\t\t\t\n", "h\n", "units.tsv:3: unit 300000 is listed twice"},
		{"a display without a code", "h\n", "h\n", "h\nx\n", "loinc.tsv:2: want a code and a display"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, faults := parse(c.metrics, c.units, c.loinc)
			if len(faults) != 1 || faults[0].Error() != c.want {
				t.Errorf("got %v, want %s", faults, c.want)
			}
		})
	}
}

// all is every metric once.
func all() []Metric {
	var list []Metric
	for _, m := range loaded().byMDC {
		list = append(list, m)
	}
	for _, m := range loaded().byLOINC {
		if m.MDC == 0 {
			list = append(list, m)
		}
	}
	return list
}

func TestMetrics(t *testing.T) {
	for _, c := range []struct {
		name string
		find func() (Metric, bool)
		want string // MDC RefID Name LOINC UCUM VitalSign
	}{
		{"oxygen saturation has the specific and the general LOINC", func() (Metric, bool) { return ByMDC(150456) },
			"150456 MDC_PULS_OXIM_SAT_O2 | Oxygen saturation by pulse oximetry | 59408-5 2708-6 | % | oxygensat"},
		{"a reference id finds the number", func() (Metric, bool) { return ByRefID("MDC_PULS_OXIM_SAT_O2") },
			"150456 MDC_PULS_OXIM_SAT_O2 | Oxygen saturation by pulse oximetry | 59408-5 2708-6 | % | oxygensat"},
		{"a synonym finds the same metric", func() (Metric, bool) { return ByRefID("MDC_ECG_HEART_RATE") },
			"147842 MDC_ECG_CARD_BEAT_RATE | Heart rate | 8867-4 | /min | heartrate"},
		{"the peak airway pressure is the maximum", func() (Metric, bool) { return ByRefID("MDC_PRESS_AWAY_INSP_PEAK") },
			"151817 MDC_PRESS_AWAY_INSP_MAX | Maximum inspiratory airway pressure |  |  | "},
		{"mixed case is found in upper case", func() (Metric, bool) { return ByRefID("MDC_ECG_TIME_PD_QTC") },
			"147236 MDC_ECG_TIME_PD_QTc | QTc interval |  |  | "},
		{"mixed case is found as it is written", func() (Metric, bool) { return ByRefID("MDC_ECG_TIME_PD_QTc") },
			"147236 MDC_ECG_TIME_PD_QTc | QTc interval |  |  | "},
		{"a mapping that an expert only suggests is no mapping", func() (Metric, bool) { return ByMDC(149514) },
			"149514 MDC_PULS_RATE | Pulse rate |  |  | "},
		{"a mapping that publications contradict is no mapping", func() (Metric, bool) { return ByMDC(150324) },
			"150324 MDC_SAT_O2_ART | Arterial oxygen saturation |  |  | "},
		{"stroke work is not stroke volume", func() (Metric, bool) { return ByMDC(150428) },
			"150428 MDC_WK_LV_STROKE | Left ventricular stroke work |  |  | "},
		{"a panel expects no unit", func() (Metric, bool) { return ByMDC(150020) },
			"150020 MDC_PRESS_BLD_NONINV | Noninvasive blood pressure | 85354-9 |  | bp"},
		{"a component of the pressure is a vital sign", func() (Metric, bool) { return ByMDC(150021) },
			"150021 MDC_PRESS_BLD_NONINV_SYS | Systolic noninvasive blood pressure | 8480-6 | mm[Hg] | bp"},
		{"the pulmonary artery is not", func() (Metric, bool) { return ByMDC(150045) },
			"150045 MDC_PRESS_BLD_ART_PULM_SYS | Systolic pulmonary artery pressure | 8440-0 | mm[Hg] | "},
		{"a setting has a number of more than 24 bits", func() (Metric, bool) { return ByMDC(16929196) },
			"16929196 MDC_VENT_VOL_TIDAL_SETTING | Ventilator tidal volume setting | 20112-9 | mL | "},
		{"the most specific LOINC comes first", func() (Metric, bool) { return ByMDC(150368) },
			"150368 MDC_TEMP_CORE | Core body temperature | 8329-5 8310-5 | Cel | bodytemp"},

		{"a LOINC code of one metric has its MDC code", func() (Metric, bool) { return ByLOINC("59408-5") },
			"150456 MDC_PULS_OXIM_SAT_O2 | Oxygen saturation by pulse oximetry | 59408-5 2708-6 | % | oxygensat"},
		{"saturation alone is not by pulse oximetry", func() (Metric, bool) { return ByLOINC("2708-6") },
			"0  | Oxygen saturation | 2708-6 | % | oxygensat"},
		{"a heart rate alone is not of an electrocardiogram", func() (Metric, bool) { return ByLOINC("8867-4") },
			"0  | Heart rate | 8867-4 | /min | heartrate"},
		{"a blood pressure alone is not noninvasive", func() (Metric, bool) { return ByLOINC("8480-6") },
			"0  | Systolic blood pressure | 8480-6 | mm[Hg] | bp"},
		{"body temperature", func() (Metric, bool) { return ByLOINC("8310-5") },
			"150364 MDC_TEMP_BODY | Body temperature | 8310-5 | Cel | bodytemp"},
		{"weight", func() (Metric, bool) { return ByLOINC("29463-7") },
			"188736 MDC_MASS_BODY_ACTUAL | Body weight | 29463-7 | kg | bodyweight"},
		{"height", func() (Metric, bool) { return ByLOINC("8302-2") },
			"188740 MDC_LEN_BODY_ACTUAL | Body height | 8302-2 | cm | bodyheight"},
		{"respiratory rate", func() (Metric, bool) { return ByLOINC("9279-1") },
			"151562 MDC_RESP_RATE | Respiratory rate | 9279-1 | /min | resprate"},
		{"head circumference", func() (Metric, bool) { return ByLOINC("9843-4") },
			"153856 MDC_CIRCUM_HEAD | Head circumference | 9843-4 | cm | headcircum"},
		{"body mass index", func() (Metric, bool) { return ByLOINC("39156-5") }, "0  | Body mass index | 39156-5 | kg/m2 | bmi"},
		{"body fat", func() (Metric, bool) { return ByLOINC("41982-0") }, "0  | Body fat | 41982-0 | % | "},
		{"lean mass", func() (Metric, bool) { return ByLOINC("91557-9") }, "0  | Lean body mass | 91557-9 | kg | "},
		{"glucose of a sensor has a LOINC for each unit", func() (Metric, bool) { return ByLOINC("105272-9") },
			"0  | Glucose in interstitial fluid | 99504-3 105272-9 |  | "},
		{"glucose of a meter has a LOINC for each unit", func() (Metric, bool) { return ByLOINC("41653-7") },
			"0  | Glucose in capillary blood | 41653-7 14743-9 |  | "},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, ok := c.find()
			got := strings.Join([]string{strconv.Itoa(int(m.MDC)) + " " + m.RefID, m.Name, strings.Join(m.LOINC, " "), m.UCUM, string(m.VitalSign)}, " | ")
			if !ok || got != c.want {
				t.Errorf("\n got %s, %v\nwant %s", got, ok, c.want)
			}
		})
	}
}

func TestUnknownCodesAreNotFound(t *testing.T) {
	if m, ok := ByMDC(1); ok {
		t.Errorf("got %v", m)
	}
	for _, refid := range []string{"", "MDC_", "mdc_puls_oxim_sat_o2", "MDC_PULS_OXIM_SAT_O2 "} {
		if m, ok := ByRefID(refid); ok {
			t.Errorf("%q: got %v", refid, m)
		}
	}
	for _, code := range []string{"", "8867", "8867-5"} {
		if m, ok := ByLOINC(code); ok {
			t.Errorf("%q: got %v", code, m)
		}
	}
}

func TestNumbersWithoutTheirPartitionAreNotListed(t *testing.T) {
	for _, m := range all() {
		if m.MDC != 0 && m.MDC < 1<<16 {
			t.Errorf("%d %s has no partition", m.MDC, m.RefID)
		}
	}
	for wrong := uint32(769); wrong <= 876; wrong++ {
		if m, ok := ByMDC(wrong); ok {
			t.Errorf("%d is listed as %s", wrong, m.RefID)
		}
	}
	for refid, mdc := range map[string]uint32{"MDC_ECG_AMPL_ST_I": 131841, "MDC_ECG_AMPL_ST_II": 131842, "MDC_ECG_AMPL_ST_V6": 131848, "MDC_ECG_AMPL_ST_III": 131901, "MDC_ECG_AMPL_ST_AVF": 131904} {
		m, ok := ByRefID(refid)
		if !ok || m.MDC != mdc || !slices.Equal(m.Units, []string{"mV", "uV"}) {
			t.Errorf("%s: got %d in %v, want %d in mV or uV", refid, m.MDC, m.Units, mdc)
		}
	}
	// 18973 is the term of a femoral pressure in the export; with its partition the number is another metric.
	for _, refid := range []string{"MDC_PRESS_BLD_ART_FEMORAL", "MDC_ECG_AMPL_ST_MCL", "MDC_test", "MDC_TEST"} {
		if m, ok := ByRefID(refid); ok {
			t.Errorf("%s is listed as %d", refid, m.MDC)
		}
	}
}

func TestCode(t *testing.T) {
	const (
		spo2       = "http://loinc.org 59408-5 Oxygen saturation in Arterial blood by Pulse oximetry; http://loinc.org 2708-6 Oxygen saturation in Arterial blood; urn:iso:std:iso:11073:10101 150456 MDC_PULS_OXIM_SAT_O2; text Oxygen saturation by pulse oximetry"
		etco2      = "urn:iso:std:iso:11073:10101 151708 MDC_CONC_AWAY_CO2_ET; text End-tidal carbon dioxide"
		temp       = "http://loinc.org 8310-5 Body temperature; urn:iso:std:iso:11073:10101 150364 MDC_TEMP_BODY; text Body temperature"
		noninv     = "urn:iso:std:iso:11073:10101 150020 MDC_PRESS_BLD_NONINV; text Noninvasive blood pressure"
		resistance = "http://loinc.org 8837-7 Systemic vascular resistance index; urn:iso:std:iso:11073:10101 149760 MDC_RES_VASC_SYS_INDEX; text Systemic vascular resistance index"
		pulse      = "http://loinc.org 8867-4 Heart rate; urn:iso:std:iso:11073:10101 149530 MDC_PULS_OXIM_PULS_RATE; text Pulse rate by pulse oximetry"
	)
	mdc := func(code uint32) Metric { m, _ := ByMDC(code); return m }
	loinc := func(code string) Metric { m, _ := ByLOINC(code); return m }
	for _, c := range []struct {
		name string
		m    Metric
		ucum string
		want string
	}{
		{"all LOINC codes and the MDC code", mdc(150456), "%", spo2},
		{"a value without a unit", mdc(150456), "", spo2},
		{"a unit of another kind leaves the LOINC codes out", mdc(150456), "mm[Hg]", "urn:iso:std:iso:11073:10101 150456 MDC_PULS_OXIM_SAT_O2; text Oxygen saturation by pulse oximetry"},
		{"a plain number is not a percentage", mdc(150456), "1", "urn:iso:std:iso:11073:10101 150456 MDC_PULS_OXIM_SAT_O2; text Oxygen saturation by pulse oximetry"},
		{"carbon dioxide as a partial pressure", mdc(151708), "mm[Hg]", "http://loinc.org 19891-1 Carbon dioxide [Partial pressure] in Exhaled gas --at end expiration; " + etco2},
		{"carbon dioxide as a fraction", mdc(151708), "%", etco2},
		{"carbon dioxide in another unit of pressure", mdc(151708), "kPa", etco2},
		{"carbon dioxide in no unit", mdc(151708), "", etco2},
		{"Fahrenheit is a temperature", mdc(150364), "[degF]", temp},
		{"Kelvin is a temperature that the table does not list for it", mdc(150364), "K", temp},
		{"an annotation does not matter", mdc(149530), "{beat}/min", pulse},
		{"another spelling does not matter", mdc(149530), "1/min", pulse},
		{"hertz is a frequency", mdc(149530), "Hz", pulse},
		{"an unknown unit leaves the LOINC codes out", mdc(149530), "BPM", "urn:iso:std:iso:11073:10101 149530 MDC_PULS_OXIM_PULS_RATE; text Pulse rate by pulse oximetry"},
		{"a panel without a value", mdc(150020), "", "http://loinc.org 85354-9 Blood pressure panel with all children optional; " + noninv},
		{"a panel has no value", mdc(150020), "mm[Hg]", noninv},
		{"the unit as LOINC has it", mdc(149760), "dyn.s/(cm5.m2)", resistance},
		{"the unit as the nomenclature has it", mdc(149760), "dyn.s/cm5/m2", resistance},
		{"the unit as physics has it", mdc(149760), "dyn.s.m2/cm5", resistance},
		{"glucose as mass", loinc("99504-3"), "mg/dL", "http://loinc.org 99504-3 Glucose [Mass/volume] in Interstitial fluid; text Glucose in interstitial fluid"},
		{"glucose as amount, though found by the code for mass", loinc("99504-3"), "mmol/L", "http://loinc.org 105272-9 Glucose [Moles/volume] in Interstitial fluid; text Glucose in interstitial fluid"},
		{"glucose in no unit", loinc("99504-3"), "", "text Glucose in interstitial fluid"},
		{"a metric without LOINC", mdc(149514), "/min", "urn:iso:std:iso:11073:10101 149514 MDC_PULS_RATE; text Pulse rate"},
		{"a metric without MDC", loinc("8867-4"), "/min", "http://loinc.org 8867-4 Heart rate; text Heart rate"},
		{"a LOINC code without a display", mdc(150276), "L/min", "http://loinc.org 8741-1 ; urn:iso:std:iso:11073:10101 150276 MDC_OUTPUT_CARD; text Cardiac output"},
		{"a number without a reference id", mdc(151973), "cm[H2O]", "http://loinc.org 76531-3 Pressure.max Respiratory system airway --on ventilator; urn:iso:std:iso:11073:10101 151973 ; text Ventilator maximum airway pressure"},
		{"no metric at all", Metric{}, "%", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			concept := c.m.Code(c.ucum)
			var parts []string
			for _, k := range concept.Coding {
				parts = append(parts, k.System.Value+" "+k.Code.Value+" "+k.GetDisplay().GetValue())
			}
			if concept.Text != nil {
				parts = append(parts, "text "+concept.Text.Value)
			}
			if got := strings.Join(parts, "; "); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestEveryCodeCanBeEncoded(t *testing.T) {
	for _, m := range all() {
		for _, unit := range append([]string{m.UCUM}, m.Units...) {
			if c := m.Code(unit); len(c.Coding) > 0 {
				if _, err := fhir.Encode(c); err != nil {
					t.Errorf("%s in %q: %v\n%s", m.Name, unit, err, prototext.Format(c))
				}
			}
		}
	}
}

func TestEveryLOINCCodeIsFoundAndHasItsCheckDigit(t *testing.T) {
	form := regexp.MustCompile(`^[1-9][0-9]{0,6}-[0-9]$`)
	for _, m := range all() {
		for _, code := range m.LOINC {
			if _, ok := ByLOINC(code); !ok {
				t.Errorf("%s of %s is not found", code, m.Name)
			}
			if !form.MatchString(code) || checkDigit(code[:len(code)-2]) != code[len(code)-1] {
				t.Errorf("%s of %s is not a LOINC code", code, m.Name)
			}
		}
	}
	for line, f := range rows(loincTSV) {
		if _, ok := ByLOINC(f[0]); !ok {
			t.Errorf("loinc.tsv:%d: %s belongs to no metric", line, f[0])
		}
	}
}

// checkDigit is the Mod 10 digit that ends a LOINC code: from the right, every other digit
// counts twice, with the digits of the product added up.
func checkDigit(digits string) byte {
	sum, twice := 0, true
	for i := len(digits) - 1; i >= 0; i-- {
		d := int(digits[i] - '0')
		if twice {
			d *= 2
		}
		sum += d/10 + d%10
		twice = !twice
	}
	return byte('0' + (10-sum%10)%10)
}

func TestVitalSignsExpectAUnitThatTheirProfileAllows(t *testing.T) {
	for _, m := range all() {
		if m.VitalSign != "" && m.UCUM != "" && !m.VitalSign.Allows(m.UCUM) {
			t.Errorf("%s does not allow %s of %s", m.VitalSign, m.UCUM, m.Name)
		}
	}
}

// table reads a table of the reference material, by column name.
func table(t *testing.T, name string) []map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join(fhirtest.Shared(t), "tables", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma, r.LazyQuotes, r.FieldsPerRecord = '\t', true, -1
	lines, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var list []map[string]string
	for _, line := range lines[1:] {
		row := map[string]string{}
		for i, column := range lines[0] {
			if i < len(line) {
				row[column] = line[i]
			}
		}
		list = append(list, row)
	}
	return list
}

func TestLOINCCodesAreThoseThatArePublished(t *testing.T) {
	published := map[uint32][]string{}
	for _, row := range table(t, "mdc_loinc_ucum.tsv") {
		mdc, err := number(row["mdc_cf_code"])
		if err != nil {
			t.Fatal(err)
		}
		if row["confidence"] == "published" {
			published[mdc] = slices.Sorted(slices.Values(strings.Split(row["loinc"], ",")))
		}
	}
	for mdc, m := range loaded().byMDC {
		if got := slices.Sorted(slices.Values(m.LOINC)); !slices.Equal(got, published[mdc]) {
			t.Errorf("%d %s: got %v, published %v", mdc, m.RefID, got, published[mdc])
		}
	}
	for mdc, codes := range published {
		if _, ok := ByMDC(mdc); !ok {
			t.Errorf("%d with %v is missing", mdc, codes)
		}
	}
}

func TestMetricsAreThoseOfTheNomenclature(t *testing.T) {
	for _, row := range table(t, "mdc_metric_units.tsv") {
		mdc, err := number(row["mdc_cf_code"])
		if err != nil || mdc < 1<<16 || row["refid"] == "" {
			continue
		}
		if m, ok := ByMDC(mdc); !ok || m.RefID != row["refid"] {
			t.Errorf("%d: got %s, want %s", mdc, m.RefID, row["refid"])
		}
		if m, ok := ByRefID(row["refid"]); !ok || m.MDC != mdc {
			t.Errorf("%s: got %d, want %d", row["refid"], m.MDC, mdc)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		parse(metricsTSV, unitsTSV, loincTSV)
	}
}

func BenchmarkByMDC(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := ByMDC(150456); !ok {
			b.Fatal("not found")
		}
	}
}

func BenchmarkCode(b *testing.B) {
	m, _ := ByMDC(150456)
	b.ReportAllocs()
	for b.Loop() {
		m.Code("%")
	}
}
