package ihepcd

import (
	"slices"

	codes "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/codes_go_proto"
	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	obpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/vocabulary"
)

// families are the MDC numbers of the blood pressures that come in three rows:
// systolic, diastolic and mean, and the number of the whole.
var families = [...]struct {
	parts [3]uint32
	whole uint32
}{
	{[3]uint32{150021, 150022, 150023}, 150020}, // cuff
	{[3]uint32{150033, 150034, 150035}, 150032}, // artery
	{[3]uint32{150037, 150038, 150039}, 150036}, // artery, labelled ABP
}

// The LOINC codes of the parts that the R4 profile for blood pressure asks for.
const (
	systolic  = "8480-6"
	diastolic = "8462-4"
)

// pressure is a blood pressure of which the rows come one by one.
type pressure struct {
	key   pressureKey
	unit  unit
	parts [3]*draft // systolic, diastolic, mean
}

// pressureKey says which rows are of one measurement.
type pressureKey struct {
	order     *order
	family    int
	part      part
	place     string // where OBX-4 tells no part
	key, site string
	device    string
}

// roleOf finds the family that a metric is of, and which part of it. Only families whose
// parts the vocabulary maps to the components of the R4 profile are put together.
func roleOf(c *coded) (family, role int, ok bool) {
	number := c.mdc()
	for f := range families {
		if role := slices.Index(families[f].parts[:], number); number != 0 && role >= 0 {
			sys, _ := vocabulary.ByMDC(families[f].parts[0])
			dia, _ := vocabulary.ByMDC(families[f].parts[1])
			return f, role, slices.Contains(sys.LOINC, systolic) && slices.Contains(dia.LOINC, diastolic)
		}
	}
	return 0, 0, false
}

// joinPressure puts a row of a blood pressure with the others of the same measurement:
// same part of the device, time, body site and unit. It returns the draft of the whole,
// or nil if the row is not of a blood pressure.
func (r *report) joinPressure(o *order, x *row, d *draft, u unit, site string) *draft {
	family, role, ok := roleOf(x.code)
	if !ok || d.setting || d.wave != nil || d.value.quantity == nil && !d.value.isEmpty() {
		return nil
	}
	key := pressureKey{order: o, family: family, part: x.place.owner(), key: d.reading.Same[0], site: site, device: d.reading.Device.GetId().GetValue()}
	if x.place.depth < 2 {
		key.place = d.reading.Same[1]
	}
	for _, whole := range r.work.pressures[key] {
		p := whole.pressure
		if p.parts[role] != nil || d.value.quantity != nil && !p.unit.agrees(u) {
			continue
		}
		if p.unit == (unit{}) {
			p.unit = u
		}
		p.parts[role] = d
		whole.rows = append(whole.rows, x)
		whole.warnings = append(whole.warnings, d.warnings...)
		return whole
	}
	whole := &draft{
		reading:  d.reading,
		rows:     []*row{x},
		test:     d.test,
		message:  d.message,
		pressure: &pressure{key: key, unit: u},
		warnings: d.warnings,
	}
	whole.reading.Quantity, whole.reading.Absent, whole.reading.Interpretation = nil, "", nil
	whole.reading.Code = r.work.wholePressure(family)
	whole.reading.Same = slices.Clone(d.reading.Same)
	if x.place.depth > 3 {
		// The place of the measurement is the part that it was made in, not one of its rows.
		whole.reading.Same[1] = place{n: x.place.n, depth: 3}.below()
	}
	whole.pressure.parts[role] = d
	r.work.pressures[key] = append(r.work.pressures[key], whole)
	r.work.drafts = append(r.work.drafts, whole)
	return whole
}

// wholePressure is the code of a blood pressure as a whole.
func (w *work) wholePressure(family int) *dtpb.CodeableConcept {
	m, ok := vocabulary.ByMDC(families[family].whole)
	if !ok {
		return nil
	}
	k := m.Code("")
	panel := fhir.Coding(fhir.LOINC, "85354-9", "Blood pressure panel with all children optional")
	if !slices.ContainsFunc(k.Coding, func(c *dtpb.Coding) bool { return c.GetCode().GetValue() == panel.GetCode().GetValue() }) {
		k.Coding = slices.Insert(k.Coding, 0, panel)
	}
	return k
}

// observation is the blood pressure. Each component keeps what its row said of it.
func (p *pressure) observation(whole *draft) *obpb.Observation {
	var parts fhir.Pressures
	quantity := func(i int) *dtpb.Quantity {
		if p.parts[i] == nil {
			return nil
		}
		return p.parts[i].value.quantity
	}
	code := func(i int) *dtpb.CodeableConcept {
		if p.parts[i] != nil && p.parts[i].value.quantity != nil {
			return p.parts[i].reading.Code
		}
		m, _ := vocabulary.ByMDC(families[p.key.family].parts[i])
		return m.Code(first(p.unit.code, m.UCUM))
	}
	parts.Systolic, parts.Diastolic, parts.Mean = quantity(0), quantity(1), quantity(2)
	parts.SystolicCode, parts.DiastolicCode, parts.MeanCode = code(0), code(1), code(2)
	whole.reading.Status = p.status()
	o := fhir.BloodPressure(whole.reading, parts)
	if parts.Mean == nil && p.parts[2] != nil {
		mean := fhir.Component(parts.MeanCode, nil, p.parts[2].value.absent)
		o.Component = slices.Insert(o.Component, 2, mean)
	}
	for i, d := range p.parts {
		if d == nil {
			continue
		}
		c := o.Component[i]
		if d.value.quantity == nil {
			c.DataAbsentReason = fhir.Component(nil, nil, first(d.value.absent, "unknown")).DataAbsentReason
		}
		c.Interpretation = d.quality.interpretation
		c.ReferenceRange = d.ranges
	}
	return o
}

// status of the whole: that of its values where they agree, else the least that holds
// for all of them.
func (p *pressure) status() codes.ObservationStatusCode_Value {
	status, all := codes.ObservationStatusCode_INVALID_UNINITIALIZED, []codes.ObservationStatusCode_Value{}
	for _, d := range p.parts {
		if d == nil {
			continue
		}
		all = append(all, d.reading.Status)
		if d.value.quantity == nil {
			continue
		}
		switch {
		case status == codes.ObservationStatusCode_INVALID_UNINITIALIZED || status == d.reading.Status:
			status = d.reading.Status
		case status == codes.ObservationStatusCode_PRELIMINARY && d.reading.Status == codes.ObservationStatusCode_FINAL,
			status == codes.ObservationStatusCode_FINAL && d.reading.Status == codes.ObservationStatusCode_PRELIMINARY:
			status = codes.ObservationStatusCode_PRELIMINARY
		default:
			status = codes.ObservationStatusCode_UNKNOWN
		}
	}
	if status == codes.ObservationStatusCode_INVALID_UNINITIALIZED {
		status = all[0]
	}
	return status
}
