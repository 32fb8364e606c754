package dexcomclarity

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	codes "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/codes_go_proto"
	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	devpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/device_go_proto"
	obpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"

	"github.com/kiln-health/kiln/adapters/when"
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/vocabulary"
)

// CodeSystem holds the codes of what Clarity tells and no published code system does.
const CodeSystem = fhir.Namespace + "CodeSystem/dexcom"

// gatewayDevice is the extension that names the device through which a reading came.
// http://hl7.org/fhir/R4/extension-observation-gatewaydevice.html
const gatewayDevice = "http://hl7.org/fhir/StructureDefinition/observation-gatewayDevice"

// whose finds the patient that all lines belong to. The site's word counts; names are
// never used. A payload of several people is refused: its lines do not tell whose they are.
func (x *export) whose() error {
	s := x.payload.Source
	if x.several {
		return fhir.Errorf(fhir.CodeConflict, "lines above the readings", "the payload names more than one person, and its readings do not tell whose they are").
			WithFix("export one patient per file")
	}
	if mapped, ok := s.Patients[x.id]; ok && x.id != "" && !mapped.IsZero() {
		x.patient = mapped
		return nil
	}
	const path = "PatientIdentifier"
	switch {
	case !s.Patient.IsZero():
		x.patient = s.Patient
		switch {
		case x.id == "":
		case s.PatientSystem != s.Patient.System:
			x.Warn(fhir.CodeBusinessRule, path, "map the identifier of the payload in the source's patients if it is to be used", "the payload's own patient identifier was not used: the source states the patient")
		case x.id != s.Patient.Value:
			return fhir.Errorf(fhir.CodeConflict, path, "the payload names another patient of the same system than the source states").
				WithFix("send the payload with the patient whom it is about")
		}
	case x.id != "" && s.PatientSystem != "":
		x.patient = fhir.Identifier{System: s.PatientSystem, Value: x.id}
	}
	return nil
}

// resolve finds the instants of all entries.
func (x *export) resolve() {
	zone := x.payload.Source.Zone
	var ticks []when.Tick
	var counted []int // entry of each tick
	for n, e := range x.entries {
		if e.counted && e.at.How != when.ExplicitOffset {
			ticks = append(ticks, when.Tick{Wall: e.wall, Counter: e.counter, Of: e.transmitter})
			counted = append(counted, n)
		}
	}
	x.timeline = when.FromCounter(ticks, fhir.Second, zone)
	for k, n := range counted {
		x.entries[n].at, x.entries[n].err = x.timeline.At[k], x.timeline.Err[k]
	}
	for n := range x.entries {
		if e := &x.entries[n]; e.at.How == "" {
			e.at, e.err = x.timeline.Resolve(e.wall, fhir.Second)
		}
	}
	for _, c := range x.timeline.Changes {
		path := "line " + strconv.Itoa(x.entries[counted[c.Tick]].line)
		switch {
		case c.Lost && c.Ahead == 0:
			x.Warn(fhir.CodeBusinessRule, path, "compare the times from here on with what the device showed", "the transmitter time does not connect with what was before: the clock was set by hand, the counter began anew, or none was read for hours on a journey; from here on the configured zone is taken to hold")
		case c.Ahead != 0:
			x.Warn(fhir.CodeBusinessRule, path, "check that the device was in the configured zone when the export begins",
				"from here on the transmitter time shows the clock %s the configured zone, as on a journey; the offsets follow it", distance(c.Ahead))
		}
	}
}

// distance is how far a clock is from the zone, in words.
func distance(ahead time.Duration) string {
	way := "ahead of"
	if ahead < 0 {
		way, ahead = "behind", -ahead
	}
	return fmt.Sprintf("%d:%02d hours %s", int(ahead.Hours()), int(ahead.Minutes())%60, way)
}

// builder makes the resources of one payload. What many readings have in common it
// makes once.
type builder struct {
	*export
	subject  fhir.Subject
	sensors  map[string]*devpb.Device      // by transmitter id
	gateways map[string]*dtpb.Extension    // by Part of the device
	spelled  map[[2]string]*dtpb.Extension // the same by source as written, and transmitter if no patient is known
	made     map[string]int                // line of each Observation, by id
	value    map[int]string                // what that line said, to tell a repetition from a contradiction
	glucose  map[kind]*dtpb.CodeableConcept
	rate     *dtpb.CodeableConcept
}

const fixPatient = "state the patient: patient in the source's configuration, ?patient=system|value, or --patient system|value"

// build makes an Observation of every entry that has an instant.
func (x *export) build() {
	b := builder{
		export: x, subject: fhir.Subject{Patient: x.patient},
		sensors: map[string]*devpb.Device{}, gateways: map[string]*dtpb.Extension{}, spelled: map[[2]string]*dtpb.Extension{},
		made: make(map[string]int, len(x.entries)), value: make(map[int]string, len(x.entries)),
		glucose: map[kind]*dtpb.CodeableConcept{},
		rate:    fhir.Concept("Glucose rate of change", fhir.Coding(CodeSystem, "glucose-rate-of-change", "Glucose rate of change")),
	}
	for k, loinc := range map[kind]string{egv: sensorCode[x.table.glucose], calibration: meterCode[x.table.glucose]} {
		if m, ok := vocabulary.ByLOINC(loinc); ok {
			b.glucose[k] = m.Code(x.table.glucose)
		}
	}
	nobody := false
	for n := range x.entries {
		e := &x.entries[n]
		if !b.timed(e) {
			continue
		}
		if x.patient.IsZero() && e.transmitter == "" {
			x.skip(e.line, fhir.SevError, fhir.CodeRequired, fixPatient, "the line names no transmitter and the payload no patient: nothing tells whose it is")
			continue
		}
		o := b.observation(e)
		if b.repeated(e, o) {
			continue
		}
		x.Mapped++
		x.Observations = append(x.Observations, o)
		nobody = nobody || x.patient.IsZero()
	}
	if len(x.Observations) > 0 {
		x.AddPatient(x.patient)
	}
	if nobody {
		x.Warn(fhir.CodeRequired, "", fixPatient, "no patient is known; the readings are about the transmitter")
	}
}

// timed reports whether the entry has an instant that may be published; otherwise it is
// skipped.
func (b *builder) timed(e *entry) bool {
	if e.err != nil {
		b.skip(e.line, fhir.SevError, fhir.CodeValue, when.Fix(e.err), "%v", e.err)
		return false
	}
	if err := e.at.Plausible(b.payload.Received); err != nil {
		b.skip(e.line, fhir.SevError, fhir.CodeValue, when.FixClock, "%v", err)
		return false
	}
	return true
}

// repeated reports whether the reading of e was made from an earlier line, and skips the
// line then: as a repetition, or as a contradiction if the value differs.
func (b *builder) repeated(e *entry, o *obpb.Observation) bool {
	id := o.GetId().GetValue()
	said := string(e.edge) + e.value
	first, ok := b.made[id]
	switch {
	case !ok:
		b.made[id], b.value[e.line] = e.line, said
	case b.value[first] == said:
		b.skip(e.line, fhir.Information, fhir.CodeDuplicate, "", "the line repeats line %d", first)
	default:
		b.skip(e.line, fhir.SevError, fhir.CodeConflict, "find out which of the two is right, remove the other, then replay the payload", "the line has the transmitter and the transmitter time of line %d, but another value", first)
	}
	return ok
}

// LOINC codes by unit: glucose in interstitial fluid, and in capillary blood by glucometer.
var (
	sensorCode = map[string]string{"mg/dL": "99504-3", "mmol/L": "105272-9"}
	meterCode  = map[string]string{"mg/dL": "41653-7", "mmol/L": "14743-9"}
)

func (b *builder) observation(e *entry) *obpb.Observation {
	unit := b.table.glucose
	r := fhir.Reading{
		Category: "laboratory",
		Subject:  b.subject,
		At:       e.at.DateTime(),
		Same:     e.same(),
	}
	if b.subject.Patient.IsZero() {
		r.Subject.Device = b.sensor(e.transmitter)
	}
	switch e.kind {
	case egv:
		r.Code, r.Device = b.glucose[egv], b.sensor(e.transmitter)
		if e.edge != 0 {
			r.Quantity = fhir.Compared(fhir.Quantity(limits[unit][e.edge], unit, unit), e.edge)
			r.Interpretation = []*dtpb.CodeableConcept{offScale(e.edge)}
		} else {
			r.Quantity = fhir.Quantity(e.value, unit, unit)
		}
		if e.rate != "" {
			r.Components = []*obpb.Observation_Component{fhir.Component(b.rate, fhir.Quantity(e.rate, b.table.rate, b.table.rate), "")}
		}
	case calibration:
		// The value is that of a blood glucose meter of which nothing is known: the
		// transmitter did not measure it, so it is not the device of this reading.
		r.Code = b.glucose[calibration]
		r.Quantity = fhir.Quantity(e.value, unit, unit)
		r.Method = fhir.Concept("Calibration of the sensor, entered by hand", fhir.Coding(CodeSystem, "calibration", "Calibration"))
	case carbs:
		r.Category = ""
		r.Code = fhir.Concept("Carbohydrate intake", fhir.Coding(CodeSystem, "carbohydrate-intake", "Carbohydrate intake"))
		r.Quantity = fhir.Quantity(e.value, "g", "g")
		r.Method = fhir.SelfReported()
	}
	o := r.Observation()
	if g := b.gateway(e); g != nil {
		o.Extension = append(o.Extension, g)
	}
	return o
}

// same is what tells the reading from every other. The transmitter and its counter do so
// for ever, whatever zone is configured and however often Clarity smooths the value.
// Without them it is the instant and what was said then.
func (e *entry) same() []string {
	if e.counted && e.transmitter != "" {
		return []string{"transmitter", e.transmitter, strconv.FormatInt(e.counter, 10), e.kind.String()}
	}
	return []string{"time", e.at.Key(), e.transmitter, e.kind.String(), string(e.edge) + e.value}
}

// offScale is the interpretation of a value that the sensor cannot measure any more.
func offScale(edge byte) *dtpb.CodeableConcept {
	display := "Off scale low"
	if edge == '>' {
		display = "Off scale high"
	}
	return fhir.Concept("", fhir.Coding(fhir.ObservationInterpretation, string(edge), display))
}

// sensor is the Device of a transmitter. An older export does not name it: then there is
// one per patient.
func (b *builder) sensor(transmitter string) *devpb.Device {
	d, ok := b.sensors[transmitter]
	if !ok {
		s := fhir.DeviceSpec{Manufacturer: "Dexcom", Name: "Dexcom transmitter", Serial: transmitter}
		if transmitter == "" {
			s.Owner, s.Name = b.patient, "Dexcom sensor"
		}
		d = fhir.NewDevice(s)
		b.sensors[transmitter] = d
		b.Devices = append(b.Devices, d)
	}
	return d
}

// gateway is the extension with the phone or receiver that showed the reading, or nil if
// the line names none. It has no identity but its kind, so it belongs to the patient,
// or to the transmitter where no patient is known.
func (b *builder) gateway(e *entry) *dtpb.Extension {
	if e.source == "" {
		return nil
	}
	written := [2]string{e.source, ""}
	if b.patient.IsZero() {
		written[1] = e.transmitter
	}
	if x, ok := b.spelled[written]; ok {
		return x
	}
	part := "gateway/" + fold(e.source)
	if b.patient.IsZero() {
		part += "/" + e.transmitter
	}
	x, ok := b.gateways[part]
	if !ok {
		d := fhir.NewDevice(fhir.DeviceSpec{Name: displayName(e.source), Part: part, Owner: b.patient})
		if app := b.apps[fold(e.source)]; app != "" {
			d.DeviceName = append(d.DeviceName, &devpb.Device_DeviceName{
				Name: fhir.Text(app),
				Type: &devpb.Device_DeviceName_TypeCode{Value: codes.DeviceNameTypeCode_MODEL_NAME},
			})
		}
		b.Devices = append(b.Devices, d)
		x = &dtpb.Extension{Url: &dtpb.Uri{Value: gatewayDevice}, Value: &dtpb.Extension_ValueX{
			Choice: &dtpb.Extension_ValueX_Reference{Reference: fhir.ReferenceTo("Device", d.GetId().GetValue())},
		}}
		b.gateways[part] = x
	}
	b.spelled[written] = x
	return x
}

// displayName writes a source the way its makers do, whichever way it was written, so that
// the same device has the same name in every export.
func displayName(source string) string {
	words := strings.Fields(fold(source))
	for n, w := range words {
		switch {
		case known[w] != "":
			words[n] = known[w]
		case strings.ContainsAny(w, "0123456789"):
			words[n] = strings.ToUpper(w)
		}
	}
	return strings.Join(words, " ")
}

var known = map[string]string{"android": "Android", "iphone": "iPhone", "ipad": "iPad", "ios": "iOS", "dexcom": "Dexcom", "receiver": "Receiver"}
