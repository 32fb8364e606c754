package validate

import (
	"strconv"
	"sync"

	units "github.com/kiln-health/kiln/fhir/ucum"
	"github.com/kiln-health/kiln/fhir/vocabulary"
)

// A gauge is what is known of the values that a code stands for.
type gauge struct {
	bases    []string // of the units they can have, as ucum.Unit.Canonical has them; none is any
	unit     string   // the one that is expected, "" if there is none
	limits   []*limits
	profile  vocabulary.Profile // that an Observation with the code falls under
	pressure pressureKind
}

// pressureKind tells the two pressures of the blood apart that are compared.
type pressureKind uint8

const (
	noPressure pressureKind = iota
	systolic
	diastolic
)

// limits are what no value of a living human passes, in all units of the vocabulary that
// values of their kind can have.
type limits struct {
	vocabulary.Range
	base string
	in   map[string]bounds // by UCUM code
}

type bounds struct{ low, high float64 }

// tables are the vocabulary in the form in which values are checked against it.
type tables struct {
	bases map[string]string // of the UCUM codes of the vocabulary
	loinc map[string]*gauge
	mdc   map[uint32]*gauge
}

// gauges are made when they are first asked for, in some milliseconds.
var gauges = sync.OnceValue(func() *tables {
	t := &tables{bases: map[string]string{}, loinc: map[string]*gauge{}, mdc: map[uint32]*gauge{}}
	for code := range vocabulary.UnitCodes() {
		if u, err := units.Parse(code); err == nil {
			_, t.bases[code] = u.Canonical()
		}
	}
	for m := range vocabulary.Metrics() {
		if m.MDC != 0 {
			t.ofMDC(m.MDC).expect(t, m.Units)
		}
		for _, code := range m.LOINC {
			t.ofLOINC(code).expect(t, m.UnitsOf(code))
		}
	}
	for r := range vocabulary.Ranges() {
		l := t.limit(r)
		for _, code := range r.LOINC {
			g := t.ofLOINC(code)
			g.limits = append(g.limits, l)
		}
		for _, code := range r.MDC {
			g := t.ofMDC(code)
			g.limits = append(g.limits, l)
		}
	}
	t.ofLOINC("85353-1") // a panel, which has no values of its own
	for code, g := range t.loinc {
		g.profile = vocabulary.ProfileOf(code)
	}
	t.ofLOINC("8480-6").pressure, t.ofLOINC("8462-4").pressure = systolic, diastolic
	return t
})

func (t *tables) ofLOINC(code string) *gauge {
	if t.loinc[code] == nil {
		t.loinc[code] = &gauge{}
	}
	return t.loinc[code]
}

func (t *tables) ofMDC(code uint32) *gauge {
	if t.mdc[code] == nil {
		t.mdc[code] = &gauge{}
	}
	return t.mdc[code]
}

// expect adds units. A code of several metrics can have the units of each.
func (g *gauge) expect(t *tables, units []string) {
	for _, u := range units {
		if g.unit == "" {
			g.unit = u
		}
		if base, ok := t.bases[u]; ok && !g.takes(base) {
			g.bases = append(g.bases, base)
		}
	}
}

func (g *gauge) takes(base string) bool {
	for _, b := range g.bases {
		if b == base {
			return true
		}
	}
	return false
}

func (t *tables) limit(r vocabulary.Range) *limits {
	l := &limits{Range: r, base: t.bases[r.UCUM], in: map[string]bounds{}}
	for code, base := range t.bases {
		if base == l.base {
			if b, ok := l.convert(code); ok {
				l.in[code] = b
			}
		}
	}
	return l
}

// convert is the limits in another unit.
func (l *limits) convert(code string) (b bounds, ok bool) {
	low, err := units.Convert(l.Low, l.UCUM, code)
	if err != nil {
		return b, false
	}
	high, err := units.Convert(l.High, l.UCUM, code)
	if err != nil {
		return b, false
	}
	if b.low, err = strconv.ParseFloat(low, 64); err != nil {
		return b, false
	}
	if b.high, err = strconv.ParseFloat(high, 64); err != nil {
		return b, false
	}
	return bounds{min(b.low, b.high), max(b.low, b.high)}, true // there are scales that run backwards
}

// bounds are the limits in the unit of a value; false if that is none of their kind.
func (l *limits) bounds(code []byte) (bounds, bool) {
	if b, ok := l.in[string(code)]; ok {
		return b, true
	}
	if len(code) > maxCode || gauges().base(code) != l.base {
		return bounds{}, false
	}
	return l.convert(string(code))
}

// base is that of a unit, "" if the code is none.
func (t *tables) base(code []byte) string {
	if b, ok := t.bases[string(code)]; ok {
		return b
	}
	if len(code) > maxCode || !units.Valid(string(code)) {
		return ""
	}
	u, err := units.Parse(string(code))
	if err != nil {
		return ""
	}
	_, b := u.Canonical()
	return b
}
