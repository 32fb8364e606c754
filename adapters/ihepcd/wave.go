package ihepcd

import (
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/kiln-health/kiln/adapters/format/hl7v2"
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/vocabulary"
)

// wave is a waveform: an OBX of type NA and the facets that describe it.
type wave struct {
	samples []string // as sent, decimal; "E" where there is none
	unit    unit
	factor  string   // what one count is in unit
	period  *big.Rat // milliseconds between samples, nil while it is not known
	invalid string   // the count that stands for no value
	at      moment
	until   moment // end of the interval of OBR-8, if there is one
	doubt   string
}

// readWave reads the samples of a row of type NA.
func (r *report) readWave(o *order, x *row) (*wave, *problem) {
	f := x.Field(5)
	if f.Reps() > 1 {
		return nil, &problem{fhir.SevError, fhir.CodeNotSupported, 5, "the array has more than one row; how they follow each other is not told", "send one row of samples per OBX"}
	}
	w := &wave{factor: "1"}
	for _, c := range f.Rep(1).All() {
		text := trim(c.Value())
		n, ok := decimal(text)
		if !ok {
			if _, is := absentMark(text); !is {
				return nil, &problem{fhir.SevError, fhir.CodeValue, 5, "a sample is not a number", "send numbers, and nothing where there is no sample"}
			}
			n = "E"
		}
		w.samples = append(w.samples, n)
	}
	if len(w.samples) == 0 {
		return nil, &problem{fhir.SevError, fhir.CodeValue, 5, "the array has no samples", ""}
	}
	u, doubt := readUnit(x.Field(6), x.code.metric)
	if factor, scaled, ok := scaledUnit(line(x.Field(6).Component(1).Value())); ok && doubt != "" {
		w.factor, u, doubt = factor, scaled, ""
	}
	w.unit, w.doubt = u, doubt
	return w, nil
}

// scaledUnit reads a unit with a scale in it, as in 10.mV/4096: one count is 10/4096 mV.
func scaledUnit(text string) (factor string, u unit, ok bool) {
	i := strings.IndexByte(text, '.')
	j := strings.LastIndexByte(text, '/')
	if i <= 0 || j <= i {
		return "", unit{}, false
	}
	numerator, err1 := strconv.ParseUint(text[:i], 10, 32)
	denominator, err2 := strconv.ParseUint(text[j+1:], 10, 32)
	known, found := vocabulary.UnitByUCUM(text[i+1 : j])
	if err1 != nil || err2 != nil || denominator == 0 || numerator == 0 || !found {
		return "", unit{}, false
	}
	factor, exact := exactDecimal(new(big.Rat).SetFrac64(int64(numerator), int64(denominator)))
	return factor, unit{code: known.UCUM, text: first(known.Display, known.UCUM)}, exact
}

// exactDecimal is x as a decimal, if it has one of at most 18 places.
func exactDecimal(x *big.Rat) (string, bool) {
	n, exact := x.FloatPrec()
	if !exact || n > 18 {
		return "", false
	}
	return x.FloatString(n), true
}

// take reads a facet that describes the waveform, and tells whether it was one.
func (w *wave) take(x *row) bool {
	text := trim(x.Field(5).Value())
	switch {
	case x.code.refid == "MDC_ATTR_SAMP_RATE":
		rate, ok := rational(text)
		if !ok {
			return false
		}
		u, _ := readUnit(x.Field(6), x.code.metric)
		if u.code == "/min" {
			rate.Quo(rate, big.NewRat(60, 1))
		} else if u.code != "" && u.code != "Hz" && u.code != "/s" && u.code != "1" {
			return false
		}
		w.period = new(big.Rat).Quo(big.NewRat(1000, 1), rate)
		return true
	case x.code.refid == "MDC_ATTR_TIME_PD_SAMP":
		period, ok := rational(text)
		u, _ := readUnit(x.Field(6), x.code.metric)
		scale, known := map[string]*big.Rat{"ms": big.NewRat(1, 1), "s": big.NewRat(1000, 1), "us": big.NewRat(1, 1000)}[u.code]
		if !ok || !known {
			return false
		}
		w.period = period.Mul(period, scale)
		return true
	case x.code.refid == "MDC_ATTR_NU_MSMT_RES" || x.code.number == 67917:
		n, ok := decimal(text)
		if _, positive := rational(text); !ok || !positive {
			return false
		}
		w.factor = n
		if u, doubt := readUnit(x.Field(6), x.code.metric); u != (unit{}) && doubt == "" {
			w.unit, w.doubt = u, ""
		}
		return true
	case x.code.refid == "MDC_EVT_INOP" || x.code.number == 196660:
		n, ok := decimal(text)
		if ok {
			w.invalid = n
		}
		return ok
	}
	return false
}

// rational is a positive decimal as a fraction.
func rational(text string) (*big.Rat, bool) {
	n, ok := decimal(text)
	if !ok || strings.ContainsAny(n, "eE") || len(n) > 20 {
		return nil, false
	}
	x, ok := new(big.Rat).SetString(n)
	return x, ok && x.Sign() > 0
}

// setInterval notes the end of the interval that the order covers, where the waveform
// has no time of its own: [OBR-7, OBR-8).
func (r *report) setInterval(o *order, x *row, w *wave, at moment) {
	w.at = at
	if !x.Field(14).IsEmpty() || o.obr.Field(8).IsEmpty() {
		return
	}
	if start := r.instant(trim(o.obr.Field(7).Value())); start.problem != nil || !start.Time.Equal(at.Time) {
		return
	}
	if end := r.instant(trim(o.obr.Field(8).Value())); end.problem == nil && end.Time.After(at.Time) {
		w.until = end
	}
}

// settle makes SampledData of the waveform, once all its facets are read.
// http://hl7.org/fhir/R4/datatypes.html#SampledData
func (d *draft) settle() *problem {
	w := d.wave
	if !w.until.Time.IsZero() {
		d.reading.Until = w.until.DateTime()
		// N samples fill the half-open interval.
		filled := big.NewRat(int64(w.until.Time.Sub(w.at.Time)/time.Microsecond), 1000*int64(len(w.samples)))
		if w.period == nil {
			w.period = filled
		}
		// One sample more or less is the rounding of the interval.
		if off := new(big.Rat).Sub(w.period, filled); off.Abs(off).Cmp(new(big.Rat).Quo(filled, big.NewRat(int64(len(w.samples)), 1))) > 0 {
			d.warnings = append(d.warnings, warnings(d.rows[0], []doubt{{5, "the sample rate and the interval of OBR-7 and OBR-8 disagree; the period between samples follows the sample rate", "correct the sample rate or the interval"}})...)
		}
	}
	if w.period == nil {
		return &problem{fhir.SevError, fhir.CodeRequired, 5, "the time between two samples is not told: there is neither a sample rate nor an interval in OBR-7 and OBR-8", "send MDC_ATTR_SAMP_RATE as a facet of the waveform"}
	}
	if w.doubt != "" {
		d.warnings = append(d.warnings, warnings(d.rows[0], []doubt{{6, w.doubt, fixUnit}})...)
	}
	var data strings.Builder
	for i, s := range w.samples {
		if i > 0 {
			data.WriteByte(' ')
		}
		if w.invalid != "" && s == w.invalid {
			s = "E"
		}
		data.WriteString(s)
	}
	d.reading.Samples = fhir.SampledData(fhir.Samples{
		Period: shortest(w.period), Origin: "0", Factor: w.factor,
		Unit: w.unit.text, UCUM: w.unit.code, Dimensions: 1, Data: data.String(),
	})
	return nil
}

// shortest is a period in milliseconds as a decimal: exact where it can be, else with
// nine places, a trillionth of a second.
func shortest(period *big.Rat) string {
	if text, ok := exactDecimal(period); ok {
		return text
	}
	return period.FloatString(9)
}

// isWave tells that a row holds an array.
func isWave(s hl7v2.Segment) bool { return strings.EqualFold(trim(s.Field(2).Value()), "NA") }
