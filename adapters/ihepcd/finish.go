package ihepcd

import (
	"slices"
	"strings"

	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	obpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/vocabulary"
)

// finish makes the Observations of the drafts, once all rows of the payload are read.
func (w *work) finish() {
	built := make([]*obpb.Observation, len(w.drafts))
	byID := make(map[string][]int, len(w.drafts))
	var shared []string
	for i, d := range w.drafts {
		if d.wave != nil {
			if p := d.settle(); p != nil {
				for _, x := range d.rows {
					w.skip(x, p)
				}
				continue
			}
		}
		built[i] = d.observation()
		id := built[i].GetId().GetValue()
		byID[id] = append(byID[id], i)
		if len(byID[id]) == 2 {
			shared = append(shared, id)
		}
	}
	for _, id := range shared {
		w.tellApart(byID[id], built)
	}
	for i, o := range built {
		if o == nil {
			continue
		}
		d := w.drafts[i]
		w.Observations = append(w.Observations, o)
		w.Mapped += len(d.rows)
		w.Warnings = append(w.Warnings, d.warnings...)
		w.addPatient(d.reading.Subject.Patient)
	}
}

// addPatient adds one that a resource refers to.
func (w *work) addPatient(p fhir.Identifier) {
	if !p.IsZero() && !w.patients[p] {
		w.patients[p] = true
		w.Patients = append(w.Patients, p)
	}
}

// tellApart decides about drafts that make one and the same Observation. One of a later
// message of the payload takes the place of those before, as it would had it come in a
// payload of its own. The same row again is a duplicate. What says something else in
// the same message is another reading, which nothing but its content tells from the
// first: both are kept.
func (w *work) tellApart(drafts []int, built []*obpb.Observation) {
	drop := func(i int, message string) {
		for _, x := range w.drafts[i].rows {
			w.skip(x, &problem{fhir.Information, fhir.CodeDuplicate, 0, message, ""})
		}
		built[i] = nil
	}
	last := w.drafts[drafts[len(drafts)-1]]
	var kept []int
	for _, i := range drafts {
		d := w.drafts[i]
		if d.message != last.message {
			drop(i, "the row is superseded by "+last.rows[0].Path())
			continue
		}
		same := slices.IndexFunc(kept, func(k int) bool { return w.drafts[k].content() == d.content() })
		if same >= 0 {
			drop(i, "the row repeats "+w.drafts[kept[same]].rows[0].Path())
			continue
		}
		kept = append(kept, i)
	}
	if len(kept) < 2 {
		return
	}
	for _, i := range kept {
		d := w.drafts[i]
		d.reading.Same = append(d.reading.Same, "row", d.content())
		built[i] = d.observation()
		d.warnings = append(d.warnings, fhir.Issue{Severity: fhir.Warning, Code: fhir.CodeConflict, Path: d.rows[0].FieldPath(4),
			Message: "another row has the same metric, time and place in the device and says something else; both are kept", Fix: "give each metric a place of its own in OBX-4"})
	}
}

// content is what the rows of the draft say.
func (d *draft) content() string {
	var b strings.Builder
	for _, x := range d.rows {
		b.WriteString(content(x))
		b.WriteByte('\n')
	}
	return b.String()
}

// observation builds the resource.
func (d *draft) observation() *obpb.Observation {
	var o *obpb.Observation
	security := d.quality.security
	switch {
	case d.pressure != nil:
		o = d.pressure.observation(d)
		for _, part := range d.pressure.parts {
			if part != nil {
				security = append(security, part.quality.security...)
			}
		}
	case d.setting:
		o = d.reading.Observation()
		o.Category = []*dtpb.CodeableConcept{fhir.Concept("", fhir.Coding(categorySystem, "setting", "Setting"))}
	case d.profile == vocabulary.BloodPressure:
		// The profile holds of the whole, not of one of its parts.
		o = fhir.VitalSign(d.reading, "", d.profile.Allows)
	case d.profile != "":
		o = fhir.VitalSign(d.reading, string(d.profile), d.profile.Allows)
	default:
		o = d.reading.Observation()
	}
	d.value.put(o)
	o.ReferenceRange = append(o.ReferenceRange, d.ranges...)
	if d.test {
		security = append(security, testData())
	}
	for i, label := range security {
		system, code := label.GetSystem().GetValue(), label.GetCode().GetValue()
		if !slices.ContainsFunc(security[:i], func(c *dtpb.Coding) bool { return c.GetCode().GetValue() == code }) {
			fhir.Tag(o, system, code)
		}
	}
	return o
}
