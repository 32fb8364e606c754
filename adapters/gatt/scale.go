package gatt

import (
	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	obpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"

	format "github.com/kiln-health/kiln/adapters/format/gatt"
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/vocabulary"
)

var (
	massLimits   = map[string]limits{"kg": {0, 700}, "[lb_av]": {0, 1543}}
	lengthLimits = map[string]limits{"cm": {20, 280}, "[in_i]": {8, 110}}
	bmiLimits    = limits{5, 200}
	fatLimits    = limits{1, 90}
)

func (c *converter) weight(r *row, m *format.Weight) {
	base, ok := c.begin(r, m.Time)
	if !ok {
		return
	}
	out := []*obpb.Observation{c.bodyWeight(r, base, m.Weight, m.MassUnit)}
	if m.BMI != nil && c.given(r, "the BMI", *m.BMI) {
		var f findings
		reading := another(base, text(*m.BMI))
		reading.Code = concept("Body mass index", loinc("39156-5"), mdc(188752, "MDC_RATIO_MASS_BODY_LEN_SQ"))
		c.setValue(&reading, *m.BMI, "kg/m2")
		c.check(r, &f, "the BMI", *m.BMI, bmiLimits)
		f.apply(&reading)
		out = append(out, f.label(vitalSign(reading, vocabulary.BMI)))
	}
	if m.Height != nil && c.given(r, "the height", *m.Height) {
		out = append(out, c.bodyHeight(r, base, *m.Height, m.LengthUnit))
	}
	c.put(r, out...)
}

// given warns of a zero, which a scale sends for what it does not know.
func (c *converter) given(r *row, name string, n format.Number) bool {
	if n.Mantissa == 0 {
		c.out.Warn(fhir.CodeValue, r.path, "", "%s: %s is 0, which is no value: it is left out", r.of, name)
		return false
	}
	return true
}

func (c *converter) bodyWeight(r *row, base fhir.Reading, n format.Number, unit string) *obpb.Observation {
	var f findings
	reading := another(base, text(n), unit)
	reading.Code = concept("Body weight", loinc("29463-7"), mdc(188736, "MDC_MASS_BODY_ACTUAL"))
	c.setValue(&reading, n, unit)
	c.check(r, &f, "the weight", n, massLimits[unit])
	f.apply(&reading)
	return f.label(vitalSign(reading, vocabulary.BodyWeight))
}

// bodyHeight is the height that a scale knows of its user: nobody measured it.
func (c *converter) bodyHeight(r *row, base fhir.Reading, n format.Number, unit string) *obpb.Observation {
	if unit == "m" { // millimetres on the air; the profile has centimetres
		n, unit = n.Shift(2), "cm"
	}
	var f findings
	reading := another(base, text(n), unit)
	reading.Code = concept("Body height", loinc("8302-2"), mdc(188740, "MDC_LEN_BODY_ACTUAL"))
	reading.Method = fhir.Concept("As stored in the scale, not measured")
	c.setValue(&reading, n, unit)
	c.check(r, &f, "the height", n, lengthLimits[unit])
	f.apply(&reading)
	return f.label(vitalSign(reading, vocabulary.BodyHeight))
}

func (c *converter) bodyComposition(r *row, m *format.BodyComposition) {
	if m.MultiplePacket && r.rest == nil {
		c.out.Warn(fhir.CodeIncomplete, r.path, "send both values of the measurement, one after the other", "%s: the measurement takes two values, and one is missing", r.of)
	}
	base, ok := c.begin(r, m.Time)
	if !ok {
		return
	}
	var f findings
	reading := another(base, text(m.BodyFat))
	reading.Category = "exam"
	reading.Code = concept("Body fat percentage", loinc("41982-0"), mdc(188748, "MDC_BODY_FAT"))
	c.setValue(&reading, m.BodyFat, "%")
	c.check(r, &f, "the body fat", m.BodyFat, fatLimits)
	for _, part := range []struct {
		n    *format.Number
		code *dtpb.CodeableConcept
		unit string
	}{
		{m.BasalMetabolism, fhir.Concept("", own("basal-metabolism", "Basal metabolism")), "kJ"},
		{m.MusclePercentage, fhir.Concept("", own("muscle-percentage", "Muscle percentage")), "%"},
		{m.MuscleMass, fhir.Concept("", own("muscle-mass", "Muscle mass")), m.MassUnit},
		{m.FatFreeMass, concept("Fat free mass", mdc(188756, "MDC_MASS_BODY_FAT_FREE")), m.MassUnit},
		{m.SoftLeanMass, concept("Soft lean mass", mdc(188760, "MDC_MASS_BODY_SOFT_LEAN")), m.MassUnit},
		{m.BodyWaterMass, concept("Body water mass", mdc(188764, "MDC_BODY_WATER")), m.MassUnit},
		{m.Impedance, fhir.Concept("", own("impedance", "Body impedance")), "Ohm"},
	} {
		if part.n != nil {
			reading.Components = append(reading.Components, c.component(part.code, *part.n, part.unit))
			reading.Same = append(reading.Same, text(*part.n))
		}
	}
	f.apply(&reading)
	out := []*obpb.Observation{f.label(reading.Observation())}
	if m.Weight != nil && c.given(r, "the weight", *m.Weight) {
		out = append(out, c.bodyWeight(r, base, *m.Weight, m.MassUnit))
	}
	if m.Height != nil && c.given(r, "the height", *m.Height) {
		out = append(out, c.bodyHeight(r, base, *m.Height, m.LengthUnit))
	}
	c.put(r, out...)
}

// joinPackets brings the two values of a body composition together: the second follows
// the first among those of the unit, and has neither time nor user.
func (c *converter) joinPackets() {
	open := map[*unit]*row{}
	for _, r := range c.rows {
		m, ok := r.said.(*format.BodyComposition)
		if !ok || r.issue != nil {
			continue
		}
		first := open[r.unit]
		delete(open, r.unit)
		if !m.MultiplePacket {
			continue
		}
		if first == nil || !merge(first.said.(*format.BodyComposition), m) {
			open[r.unit] = r
			continue
		}
		first.rest, r.target = r, first
	}
}

// merge adds the second packet to the first, unless they do not belong together.
func merge(first, second *format.BodyComposition) bool {
	if second.Time != nil || second.User != nil || second.BodyFat != first.BodyFat || second.MassUnit != first.MassUnit {
		return false
	}
	to := []**format.Number{&first.BasalMetabolism, &first.MusclePercentage, &first.MuscleMass, &first.FatFreeMass,
		&first.SoftLeanMass, &first.BodyWaterMass, &first.Impedance, &first.Weight, &first.Height}
	from := []*format.Number{second.BasalMetabolism, second.MusclePercentage, second.MuscleMass, second.FatFreeMass,
		second.SoftLeanMass, second.BodyWaterMass, second.Impedance, second.Weight, second.Height}
	for i := range to {
		if from[i] != nil && *to[i] != nil {
			return false
		}
	}
	for i := range to {
		if from[i] != nil {
			*to[i] = from[i]
		}
	}
	return true
}
