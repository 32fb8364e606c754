package gatt

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	obpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"

	format "github.com/kiln-health/kiln/adapters/format/gatt"
	"github.com/kiln-health/kiln/adapters/when"
	"github.com/kiln-health/kiln/fhir"
)

// sample is a type of glucose sample, by the number that the Glucose Service gives it.
// mass and molar are the LOINC codes, where there are published ones.
type sample struct {
	name        string
	mass, molar string
	mdc         int
	refid       string
}

var samples = map[uint8]sample{
	1: {"capillary whole blood", "41653-7", "14743-9", 160184, "MDC_CONC_GLU_CAPILLARY_WHOLEBLOOD"},
	// A meter that is calibrated to plasma still measures a drop of capillary blood.
	2:                       {"capillary plasma", "41653-7", "14743-9", 160188, "MDC_CONC_GLU_CAPILLARY_PLASMA"},
	3:                       {"venous whole blood", "", "", 160192, "MDC_CONC_GLU_VENOUS_WHOLEBLOOD"},
	4:                       {"venous plasma", "", "", 160196, "MDC_CONC_GLU_VENOUS_PLASMA"},
	5:                       {"arterial whole blood", "", "", 160200, "MDC_CONC_GLU_ARTERIAL_WHOLEBLOOD"},
	6:                       {"arterial plasma", "", "", 160204, "MDC_CONC_GLU_ARTERIAL_PLASMA"},
	7:                       {"undetermined whole blood", "", "", 160364, "MDC_CONC_GLU_UNDETERMINED_WHOLEBLOOD"},
	8:                       {"undetermined plasma", "", "", 160368, "MDC_CONC_GLU_UNDETERMINED_PLASMA"},
	format.TypeInterstitial: {"interstitial fluid", "99504-3", "105272-9", 160212, "MDC_CONC_GLU_ISF"},
}

// glucoseCode is the code of a glucose of that type in the unit mg/dL or mmol/L.
func glucoseCode(kind uint8, unit string) *dtpb.CodeableConcept {
	s, ok := samples[kind]
	if !ok {
		return concept("Glucose", mdc(160020, "MDC_CONC_GLU_GEN"))
	}
	code := s.mass
	if unit == "mmol/L" {
		code = s.molar
	}
	if code == "" {
		return concept("Glucose in "+s.name, mdc(s.mdc, s.refid))
	}
	return concept("Glucose in "+s.name, loinc(code), mdc(s.mdc, s.refid))
}

// locations are the sample locations of the Glucose and the CGM Service.
var locations = map[uint8]struct {
	name   string
	coding func() *dtpb.Coding
}{
	1: {"Finger", func() *dtpb.Coding { return mdc(8417848, "MDC_CTXT_GLU_SAMPLELOCATION_FINGER") }},
	2: {"Alternate site", func() *dtpb.Coding { return mdc(8417852, "MDC_CTXT_GLU_SAMPLELOCATION_AST") }},
	3: {"Earlobe", func() *dtpb.Coding { return mdc(8417856, "MDC_CTXT_GLU_SAMPLELOCATION_EARLOBE") }},
	5: {"Subcutaneous tissue", func() *dtpb.Coding { return fhir.Coding(sampleLocations, "5", "Subcutaneous tissue") }},
}

func bodySite(location uint8) *dtpb.CodeableConcept {
	l, ok := locations[location]
	if !ok {
		return nil
	}
	return fhir.Concept(l.name, l.coding())
}

var glucoseLimits = map[string]limits{"mg/dL": {5, 2000}, "mmol/L": {0, 111}}

func (c *converter) glucose(r *row, m *format.Glucose) {
	if m.Concentration != nil && (m.Type == format.TypeControlSolution || m.Location == format.LocationControlSolution) {
		r.pass(fhir.CodeInformational, "a measurement of control solution is no result of a patient")
		return
	}
	if m.Status != nil && *m.Status&glucoseTimeFault != 0 {
		r.refuse(fhir.CodeBusinessRule, when.FixClock, "the meter says that its time may be wrong")
		return
	}
	patient, ok := c.subject(r)
	if !ok {
		return
	}
	at, ok := c.glucoseTime(r, m)
	if !ok {
		return
	}
	reading := another(c.reading(r, patient, at), strconv.Itoa(int(m.Sequence)))
	reading.Category = "laboratory"
	var f findings
	if m.Status != nil {
		c.find(r, &f, uint32(*m.Status), glucoseBits)
	}
	if m.Concentration == nil {
		reading.Code = glucoseCode(0, "")
		reading.Absent = "unknown"
	} else {
		// A power of ten is exact, and these are the units that the profile displays.
		n, unit := m.Concentration.Shift(5), "mg/dL"
		if m.Unit == "mol/L" {
			n, unit = m.Concentration.Shift(3), "mmol/L"
		}
		reading.Code = glucoseCode(m.Type, unit)
		reading.BodySite = bodySite(m.Location)
		c.setValue(&reading, n, unit)
		c.check(r, &f, "the glucose concentration", n, glucoseLimits[unit])
		if _, ok := samples[m.Type]; !ok {
			c.out.Warn(fhir.CodeCodeInvalid, r.path, "", "%s: the type of the sample is reserved", r.of)
		}
	}
	f.apply(&reading)
	for _, context := range r.contexts {
		reading.Components = append(reading.Components, c.context(context, context.said.(*format.GlucoseContextValue))...)
	}
	if m.ContextFollows && len(r.contexts) == 0 {
		c.out.Warn(fhir.CodeIncomplete, r.path, "send the glucose measurement context, 2A34, with the measurement", "%s: the meter announces a context, which is not there", r.of)
	}
	c.put(r, f.label(reading.Observation()))
}

// glucoseTime is the base time moved by the offset. Meters keep their measurements for
// months, so the time of receipt says nothing of one without a date.
func (c *converter) glucoseTime(r *row, m *format.Glucose) (when.Instant, bool) {
	if !m.Base.Known() {
		r.refuse(fhir.CodeBusinessRule, when.FixClock, "the base time has no date: when it was measured is not known")
		return when.Instant{}, false
	}
	wall := m.Base.Wall()
	if m.Offset != nil {
		if *m.Offset == format.OffsetOverrun || *m.Offset == format.OffsetUnderrun {
			r.refuse(fhir.CodeBusinessRule, when.FixClock, "the time offset is out of range: when it was measured is not known")
			return when.Instant{}, false
		}
		wall = wall.Add(time.Duration(*m.Offset) * time.Minute)
	}
	return c.wallClock(r, wall)
}

// joinContexts brings each glucose context to the measurement of its sensor with the
// same sequence number.
func (c *converter) joinContexts() {
	type key struct {
		unit     *unit
		sequence uint16
	}
	measurements := map[key][]*row{}
	var before *row // the row in front, for the number that occurs twice
	seen := map[*unit]map[string]bool{}
	repeated := func(r *row) bool {
		if seen[r.unit] == nil {
			seen[r.unit] = map[string]bool{}
		}
		value := r.of.String() + string(r.value)
		was := seen[r.unit][value]
		seen[r.unit][value] = true
		return was
	}
	previous := map[*row]*row{}
	for _, r := range c.rows {
		if r.issue != nil {
			before = nil
			continue
		}
		switch m := r.said.(type) {
		case *format.Glucose:
			if repeated(r) {
				r.pass(fhir.CodeDuplicate, "the same measurement occurs before")
				continue
			}
			k := key{r.unit, m.Sequence}
			measurements[k] = append(measurements[k], r)
		case *format.GlucoseContextValue:
			if repeated(r) {
				r.pass(fhir.CodeDuplicate, "the same context occurs before")
				continue
			}
			previous[r] = before
		}
		before = r
	}
	for _, r := range c.rows {
		m, ok := r.said.(*format.GlucoseContextValue)
		if !ok || r.issue != nil {
			continue
		}
		target, err := choose(measurements[key{r.unit, m.Sequence}], previous[r])
		if err != nil {
			r.refuse(fhir.CodeNotFound, "send the glucose measurement, 2A18, right before its context", err.Error())
			continue
		}
		if len(target.contexts) > 0 {
			r.refuse(fhir.CodeConflict, "send one context for each measurement", "its measurement has another context")
			continue
		}
		target.contexts, r.target = append(target.contexts, r), target
	}
}

// choose is the measurement of a context. Of several with the same number, which a meter
// that starts again from 0 gives, it is the one right in front, or none.
func choose(candidates []*row, before *row) (*row, error) {
	switch {
	case len(candidates) == 0:
		return nil, errors.New("there is no glucose measurement of the sensor with its sequence number")
	case len(candidates) == 1:
		return candidates[0], nil
	}
	for _, r := range candidates {
		if r == before || before != nil && before.of == r.of && bytes.Equal(before.value, r.value) && before.unit == r.unit {
			return r, nil
		}
	}
	return nil, errors.New("several glucose measurements of the sensor have its sequence number")
}

// choice is an element of a list of the context.
type choice struct {
	mdc   int
	refid string
	name  string
}

func (e choice) concept() *dtpb.CodeableConcept {
	if e.mdc == 0 {
		return fhir.Concept("", own(e.refid, e.name))
	}
	return concept(e.name, mdc(e.mdc, e.refid))
}

var (
	carbohydrates = map[uint8]choice{
		1: {8417768, "MDC_CTXT_GLU_CARB_BREAKFAST", "Carbohydrates of breakfast"},
		2: {8417772, "MDC_CTXT_GLU_CARB_LUNCH", "Carbohydrates of lunch"},
		3: {8417776, "MDC_CTXT_GLU_CARB_DINNER", "Carbohydrates of dinner"},
		4: {8417780, "MDC_CTXT_GLU_CARB_SNACK", "Carbohydrates of a snack"},
		5: {8417784, "MDC_CTXT_GLU_CARB_DRINK", "Carbohydrates of a drink"},
		6: {8417788, "MDC_CTXT_GLU_CARB_SUPPER", "Carbohydrates of supper"},
		7: {8417792, "MDC_CTXT_GLU_CARB_BRUNCH", "Carbohydrates of brunch"},
	}
	medications = map[uint8]choice{
		1: {8417800, "MDC_CTXT_MEDICATION_RAPIDACTING", "Rapid acting insulin"},
		2: {8417804, "MDC_CTXT_MEDICATION_SHORTACTING", "Short acting insulin"},
		3: {8417808, "MDC_CTXT_MEDICATION_INTERMEDIATEACTING", "Intermediate acting insulin"},
		4: {8417812, "MDC_CTXT_MEDICATION_LONGACTING", "Long acting insulin"},
		5: {8417816, "MDC_CTXT_MEDICATION_PREMIX", "Pre-mixed insulin"},
	}
	healths = map[uint8]choice{
		1: {8417824, "MDC_CTXT_GLU_HEALTH_MINOR", "Minor health issues"},
		2: {8417828, "MDC_CTXT_GLU_HEALTH_MAJOR", "Major health issues"},
		3: {8417832, "MDC_CTXT_GLU_HEALTH_MENSES", "During menses"},
		4: {8417836, "MDC_CTXT_GLU_HEALTH_STRESS", "Under stress"},
		5: {8417840, "MDC_CTXT_GLU_HEALTH_NONE", "No health issues"},
	}
	// Publications disagree about the number of MDC_CTXT_GLU_MEAL_BEDTIME.
	meals = map[uint8]choice{
		1: {8417868, "MDC_CTXT_GLU_MEAL_PREPRANDIAL", "Before a meal"},
		2: {8417872, "MDC_CTXT_GLU_MEAL_POSTPRANDIAL", "After a meal"},
		3: {8417876, "MDC_CTXT_GLU_MEAL_FASTING", "Fasting"},
		4: {8417880, "MDC_CTXT_GLU_MEAL_CASUAL", "Casual (snacks, drinks)"},
		5: {0, "meal-bedtime", "Bedtime"},
	}
	testers = map[uint8]choice{
		1: {8417888, "MDC_CTXT_GLU_TESTER_SELF", "Self"},
		2: {8417892, "MDC_CTXT_GLU_TESTER_HCP", "Health care professional"},
		3: {8417896, "MDC_CTXT_GLU_TESTER_LAB", "Laboratory"},
	}
	carbohydrate = choice{8417764, "MDC_CTXT_GLU_CARB", "Carbohydrates"}
	medication   = choice{8417796, "MDC_CTXT_MEDICATION", "Medication"}
	exercise     = choice{8417760, "MDC_CTXT_GLU_EXERCISE", "Exercise intensity"}
	health       = choice{8417820, "MDC_CTXT_GLU_HEALTH", "Health"}
	meal         = choice{8417864, "MDC_CTXT_GLU_MEAL", "Meal"}
	tester       = choice{8417884, "MDC_CTXT_GLU_TESTER", "Tester"}
)

// notAvailable is the tester or health that a meter does not know.
const notAvailable = 15

// context is what the patient told the meter, as components of the measurement.
func (c *converter) context(r *row, m *format.GlucoseContextValue) []*obpb.Observation_Component {
	var out []*obpb.Observation_Component
	if m.Carbohydrate != nil {
		code := c.pick(r, carbohydrates, m.CarbohydrateID, "carbohydrate", carbohydrate)
		out = append(out, c.amount(r, code, *m.Carbohydrate, "kg", "g", 3, 1000))
	}
	for _, part := range []struct {
		value *uint8
		code  choice
		list  map[uint8]choice
	}{{m.Meal, meal, meals}, {m.Tester, tester, testers}, {m.Health, health, healths}} {
		if part.value == nil || *part.value == notAvailable && part.code != meal {
			continue
		}
		value, ok := part.list[*part.value]
		if !ok {
			c.out.Warn(fhir.CodeCodeInvalid, r.path, "", "%s: the %s of the context is reserved: it is left out", r.of, part.code.name)
			continue
		}
		out = append(out, fhir.ConceptComponent(part.code.concept(), value.concept()))
	}
	if m.ExerciseDuration != nil {
		duration := c.component(fhir.Concept("", own("exercise-duration", "Exercise duration")), whole(int64(*m.ExerciseDuration)), "s")
		if *m.ExerciseDuration == format.ExerciseOverrun {
			fhir.Compared(duration.GetValue().GetQuantity(), '>')
		}
		out = append(out, duration, c.component(exercise.concept(), whole(int64(m.Intensity)), "%"))
	}
	if m.Medication != nil {
		code := c.pick(r, medications, m.MedicationID, "medication", medication)
		if m.MedicationUnit == "kg" {
			out = append(out, c.amount(r, code, *m.Medication, "kg", "mg", 6, 1000))
		} else {
			out = append(out, c.amount(r, code, *m.Medication, "L", "mL", 3, 10))
		}
	}
	if m.HbA1c != nil {
		out = append(out, c.component(concept("HbA1c", loinc("4548-4"), mdc(160220, "MDC_CONC_HBA1C")), *m.HbA1c, "%"))
	}
	return out
}

// pick is the element of a list, or the list itself for a number that is reserved.
func (c *converter) pick(r *row, list map[uint8]choice, id uint8, name string, all choice) choice {
	if e, ok := list[id]; ok {
		return e
	}
	c.out.Warn(fhir.CodeCodeInvalid, r.path, "", "%s: the %s ID of the context is reserved", r.of, name)
	return all
}

// amount is an amount of food or medication. The specification has it in kilograms or
// litres; there are meters, and libraries for them, that have it in the smaller unit. Up
// to most of the smaller unit an amount is taken as specified. What would be more is not
// possible as specified, and then its unit is not known: a dose a thousand times too
// large must not be charted, nor one that was guessed.
func (c *converter) amount(r *row, code choice, n format.Number, specified, unit string, shift int, most int64) *obpb.Observation_Component {
	small := n.Shift(shift)
	if n.Special != "" || small.Between(0, most) {
		return c.component(code.concept(), small, unit)
	}
	c.out.Warn(fhir.CodeValue, r.path, "find out in which unit the meter sends it",
		"%s: an amount is not possible in %s, the unit of the specification: it is given without a unit", r.of, specified)
	return fhir.Component(code.concept(), fhir.Quantity(n.Text(), "unit not known", ""), "")
}
