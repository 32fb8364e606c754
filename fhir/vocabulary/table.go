package vocabulary

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// The tables: a line of column names, then a line for each entry, with tabs between.
// Lists have spaces between their items.
var (
	// mdc, refid (the one to write, then synonyms), name, loinc (code, or code=unit for a
	// code that fits values in that unit only), ucum, units.
	//go:embed metrics.tsv
	metricsTSV string

	// mdc, refid (the one to write, then synonyms), ucum, display (if it is not the code),
	// spellings (other UCUM codes of the same meaning), dimension (empty for mere numbers).
	//go:embed units.tsv
	unitsTSV string

	// code, display.
	//go:embed loinc.tsv
	loincTSV string
)

// tables answer every lookup of the package.
type tables struct {
	byMDC   map[uint32]Metric
	byRefID map[string]Metric
	byLOINC map[string]Metric

	unitByMDC   map[uint32]Unit
	unitByRefID map[string]Unit
	unitByUCUM  map[string]Unit
	dimension   map[string]string // by UCUM code
}

// loaded are the tables of this package. They have no faults: a test reads them.
var loaded = sync.OnceValue(func() *tables {
	t, _ := parse(metricsTSV, unitsTSV, loincTSV)
	return t
})

// parse reads the tables. What it cannot use it leaves out, and tells.
func parse(metrics, units, loinc string) (*tables, []error) {
	t := &tables{
		byMDC: map[uint32]Metric{}, byRefID: map[string]Metric{}, byLOINC: map[string]Metric{},
		unitByMDC: map[uint32]Unit{}, unitByRefID: map[string]Unit{}, unitByUCUM: map[string]Unit{},
		dimension: map[string]string{},
	}
	var faults []error
	fault := func(file string, line int, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s:%d: %s", file, line, fmt.Sprintf(format, args...)))
	}

	displays := map[string]string{}
	for line, f := range rows(loinc) {
		if len(f) != 2 || f[0] == "" || f[1] == "" {
			fault("loinc.tsv", line, "want a code and a display")
			continue
		}
		displays[f[0]] = f[1]
	}
	for line, f := range rows(units) {
		if err := t.addUnit(f); err != nil {
			fault("units.tsv", line, "%v", err)
		}
	}
	leading := map[string][]Metric{} // by the LOINC code that they list first
	for line, f := range rows(metrics) {
		m, err := t.addMetric(f, displays)
		if err != nil {
			fault("metrics.tsv", line, "%v", err)
			continue
		}
		switch {
		case len(m.LOINC) == 0:
		case m.MDC == 0:
			for _, code := range m.LOINC {
				if _, dup := t.byLOINC[code]; dup {
					fault("metrics.tsv", line, "LOINC %s has two metrics without MDC", code)
				}
				t.byLOINC[code] = m
			}
		default:
			leading[m.LOINC[0]] = append(leading[m.LOINC[0]], m)
		}
	}
	for code, list := range leading {
		if _, ok := t.byLOINC[code]; ok {
			continue
		}
		if len(list) > 1 {
			fault("metrics.tsv", 0, "LOINC %s has several MDC codes and needs a metric without one", code)
			continue
		}
		t.byLOINC[code] = list[0]
	}
	return t, faults
}

// rows yields the fields of each line but the first, by line number.
func rows(table string) func(yield func(int, []string) bool) {
	return func(yield func(int, []string) bool) {
		n := 0
		for line := range strings.Lines(table) {
			n++
			if n > 1 && !yield(n, strings.Split(strings.TrimSuffix(line, "\n"), "\t")) {
				return
			}
		}
	}
}

func (t *tables) addUnit(f []string) error {
	if len(f) != 6 {
		return fmt.Errorf("want 6 columns, not %d", len(f))
	}
	mdc, err := number(f[0])
	if err != nil {
		return err
	}
	u := Unit{MDC: mdc, UCUM: f[2], Display: f[3]}
	refids := strings.Fields(f[1])
	if len(refids) > 0 {
		u.RefID = refids[0]
	}
	if u.UCUM == "" {
		return fmt.Errorf("unit %d has no UCUM code", mdc)
	}
	if u.Display == "" {
		u.Display = u.UCUM
	}
	if _, dup := t.unitByMDC[mdc]; dup && mdc != 0 {
		return fmt.Errorf("unit %d is listed twice", mdc)
	}
	if mdc != 0 {
		t.unitByMDC[mdc] = u
	}
	for _, r := range refids {
		if _, dup := t.unitByRefID[r]; dup {
			return fmt.Errorf("unit %s is listed twice", r)
		}
		t.unitByRefID[r] = u
	}
	// Of several units with one UCUM code, that without an annotation is what the code means.
	plain := u.Display == u.UCUM
	for _, code := range append([]string{u.UCUM}, strings.Fields(f[4])...) {
		if known, ok := t.unitByUCUM[code]; !ok || plain && known.Display != known.UCUM {
			t.unitByUCUM[code] = Unit{MDC: u.MDC, RefID: u.RefID, UCUM: u.UCUM, Display: u.Display}
		}
		t.dimension[code] = f[5]
	}
	return nil
}

func (t *tables) addMetric(f []string, displays map[string]string) (Metric, error) {
	if len(f) != 6 {
		return Metric{}, fmt.Errorf("want 6 columns, not %d", len(f))
	}
	mdc, err := number(f[0])
	if err != nil {
		return Metric{}, err
	}
	m := Metric{MDC: mdc, Name: f[2], UCUM: f[4], Units: strings.Fields(f[5])}
	refids := strings.Fields(f[1])
	if len(refids) > 0 {
		m.RefID = refids[0]
	}
	for _, item := range strings.Fields(f[3]) {
		code, unit, _ := strings.Cut(item, "=")
		m.LOINC = append(m.LOINC, code)
		m.codes = append(m.codes, loincCode{code: code, display: displays[code], unit: unit})
	}
	m.VitalSign = profileOf(m.LOINC)
	switch {
	case m.Name == "":
		return Metric{}, fmt.Errorf("metric %d has no name", mdc)
	case mdc == 0 && len(m.LOINC) == 0:
		return Metric{}, fmt.Errorf("metric %q has no code", m.Name)
	case m.UCUM != "" && (len(m.Units) == 0 || m.Units[0] != m.UCUM):
		return Metric{}, fmt.Errorf("metric %q does not list the expected unit first", m.Name)
	}
	for _, code := range m.Units {
		if u, ok := t.unitByUCUM[code]; !ok || u.UCUM != code {
			return Metric{}, fmt.Errorf("unit %s of metric %q is not in units.tsv", code, m.Name)
		}
	}
	if _, dup := t.byMDC[mdc]; dup {
		return Metric{}, fmt.Errorf("metric %d is listed twice", mdc)
	}
	if mdc != 0 {
		t.byMDC[mdc] = m
	}
	for _, r := range refids {
		if _, dup := t.byRefID[r]; dup {
			return Metric{}, fmt.Errorf("metric %s is listed twice", r)
		}
		t.byRefID[r] = m
		t.byRefID[strings.ToUpper(r)] = m
	}
	return m, nil
}

// number reads an MDC code. Empty is 0, which is none.
func number(s string) (uint32, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not an MDC code", s)
	}
	return uint32(n), nil
}
