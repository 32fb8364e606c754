package fhir

import (
	"slices"
	"strconv"
	"strings"
	"time"

	codes "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/codes_go_proto"
	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	devpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/device_go_proto"
	obpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"
	patpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/patient_go_proto"
)

// Text is a FHIR string, or nil for "".
func Text(s string) *dtpb.String {
	if s == "" {
		return nil
	}
	return &dtpb.String{Value: s}
}

func uri(s string) *dtpb.Uri {
	if s == "" {
		return nil
	}
	return &dtpb.Uri{Value: s}
}

// Coding is one code of one system. A part that is "" is left out.
func Coding(system, code, display string) *dtpb.Coding {
	c := &dtpb.Coding{System: uri(system), Display: Text(display)}
	if code != "" {
		c.Code = &dtpb.Code{Value: code}
	}
	return c
}

// Concept is a CodeableConcept of a text, which may be "", and codings, best first.
func Concept(text string, codings ...*dtpb.Coding) *dtpb.CodeableConcept {
	return &dtpb.CodeableConcept{Coding: codings, Text: Text(text)}
}

// Quantity is a value as the device reported it: value keeps its decimal text
// (72.50 stays 72.50), unit is for people, code is UCUM. Without a UCUM code the
// unit is carried as text only: what is not UCUM is never passed off as such.
func Quantity(value, unit, code string) *dtpb.Quantity {
	q := &dtpb.Quantity{Value: &dtpb.Decimal{Value: value}, Unit: Text(unit)}
	if code != "" {
		q.System, q.Code = uri(UCUM), &dtpb.Code{Value: code}
	}
	return q
}

// Compared marks q as the edge of what the device can measure: '<' below it, '>' above it.
func Compared(q *dtpb.Quantity, comparator byte) *dtpb.Quantity {
	switch comparator {
	case '<':
		q.Comparator = &dtpb.Quantity_ComparatorCode{Value: codes.QuantityComparatorCode_LESS_THAN}
	case '>':
		q.Comparator = &dtpb.Quantity_ComparatorCode{Value: codes.QuantityComparatorCode_GREATER_THAN}
	}
	return q
}

// Samples describe a waveform for SampledData. Period is the time between two
// samples in milliseconds; Origin, Factor, Lower and Upper are decimal texts, the
// last two may be ""; a sample is Origin + Factor × a number of Data, in Unit.
// Data holds numbers separated by single blanks, with E (error), L (below) and U
// (above) for what was not measured. http://hl7.org/fhir/R4/datatypes.html#SampledData
type Samples struct {
	Period, Origin, Factor, Lower, Upper string
	Unit, UCUM                           string
	Dimensions                           uint32
	Data                                 string
}

// SampledData is the waveform s.
func SampledData(s Samples) *dtpb.SampledData {
	origin := Quantity(s.Origin, s.Unit, s.UCUM)
	d := &dtpb.SampledData{
		Origin:     &dtpb.SimpleQuantity{Value: origin.Value, Unit: origin.Unit, System: origin.System, Code: origin.Code},
		Period:     &dtpb.Decimal{Value: s.Period},
		Dimensions: &dtpb.PositiveInt{Value: max(1, s.Dimensions)},
		Data:       Text(s.Data),
	}
	for text, to := range map[string]**dtpb.Decimal{s.Factor: &d.Factor, s.Lower: &d.LowerLimit, s.Upper: &d.UpperLimit} {
		if text != "" {
			*to = &dtpb.Decimal{Value: text}
		}
	}
	return d
}

// Precision of a dateTime: what the source really said.
type Precision int

// The precisions, coarsest first.
const (
	Year Precision = iota
	Month
	Day
	Second
	Millisecond
	Microsecond
)

var protoPrecision = [...]dtpb.DateTime_Precision{
	Year: dtpb.DateTime_YEAR, Month: dtpb.DateTime_MONTH, Day: dtpb.DateTime_DAY,
	Second: dtpb.DateTime_SECOND, Millisecond: dtpb.DateTime_MILLISECOND, Microsecond: dtpb.DateTime_MICROSECOND,
}

// DateTime is t in its own offset, which is kept: time.UTC is written Z, any other
// zone as ±hh:mm. Offsets are whole minutes in FHIR; a location with an offset of
// odd seconds is rounded down to the minute without moving the instant.
// http://hl7.org/fhir/R4/datatypes.html#dateTime
func DateTime(t time.Time, p Precision) *dtpb.DateTime {
	return &dtpb.DateTime{ValueUs: t.UnixMicro(), Timezone: offset(t), Precision: protoPrecision[min(max(p, Year), Microsecond)]}
}

func offset(t time.Time) string {
	if t.Location() == time.UTC {
		return "Z"
	}
	_, seconds := t.Zone()
	sign := byte('+')
	if seconds < 0 {
		sign, seconds = '-', -seconds
	}
	h, m := seconds/3600, seconds/60%60
	return string([]byte{sign, '0' + byte(h/10), '0' + byte(h%10), ':', '0' + byte(m/10), '0' + byte(m%10)})
}

// CodeExtension is an extension whose value is a code.
func CodeExtension(url, code string) *dtpb.Extension {
	return &dtpb.Extension{Url: uri(url), Value: &dtpb.Extension_ValueX{
		Choice: &dtpb.Extension_ValueX_Code{Code: &dtpb.Code{Value: code}},
	}}
}

// ReferenceTo points at a resource of this server by type and id.
func ReferenceTo(resourceType, id string) *dtpb.Reference {
	switch resourceType {
	case "Patient":
		return &dtpb.Reference{Reference: &dtpb.Reference_PatientId{PatientId: &dtpb.ReferenceId{Value: id}}}
	case "Device":
		return &dtpb.Reference{Reference: &dtpb.Reference_DeviceId{DeviceId: &dtpb.ReferenceId{Value: id}}}
	case "Observation":
		return &dtpb.Reference{Reference: &dtpb.Reference_ObservationId{ObservationId: &dtpb.ReferenceId{Value: id}}}
	default:
		return &dtpb.Reference{Reference: &dtpb.Reference_Uri{Uri: Text(resourceType + "/" + id)}}
	}
}

func identifier(i Identifier) *dtpb.Identifier {
	return &dtpb.Identifier{System: uri(i.System), Value: Text(i.Value)}
}

// PatientID is the id under which the patient with that identifier is created when
// the store does not know one yet.
func PatientID(i Identifier) string { return HashID("Patient", i.System, i.Value) }

// Patient is a patient of whom nothing is known but the identifier. Demographics
// are the hospital's to keep: they are not copied from device payloads.
func Patient(i Identifier) *patpb.Patient {
	return &patpb.Patient{
		Id:         &dtpb.Id{Value: PatientID(i)},
		Identifier: []*dtpb.Identifier{identifier(i)},
	}
}

// PatientReference points at Patient(i), by reference and by identifier.
func PatientReference(i Identifier) *dtpb.Reference {
	r := ReferenceTo("Patient", PatientID(i))
	r.Identifier = identifier(i)
	return r
}

// DeviceSpec is what is known of a device. Nothing in it is required; what is not
// known is "" and left out. Identifiers name the unit (EUI-64, vendor id …).
type DeviceSpec struct {
	Manufacturer, Model, Serial  string
	Name                         string // what people call it
	Identifiers                  []Identifier
	Type                         *dtpb.CodeableConcept
	Firmware, Software, Hardware string
	Parent                       *dtpb.Reference
	// Owner is the patient of a device that has neither serial number nor identifier.
	// Such a device is one per patient, manufacturer and model, never shared.
	Owner Identifier
	// Part tells apart modules of one unit that have no identity of their own (VMD, channel).
	Part string
}

// NewDevice is the Device of s. Its id is a hash of what identifies the unit: the
// identifiers if there are any, else manufacturer, model and serial number; without
// a serial number also the owner. The same unit gets the same id in every payload.
func NewDevice(s DeviceSpec) *devpb.Device {
	key := []string{"Device"}
	switch {
	case len(s.Identifiers) > 0:
		key = append(key, s.Identifiers[0].System, s.Identifiers[0].Value)
	case s.Serial != "":
		key = append(key, "serial", s.Manufacturer, s.Model, s.Serial)
	default:
		key = append(key, "model", s.Manufacturer, s.Model, s.Owner.System, s.Owner.Value)
	}
	if s.Part != "" {
		key = append(key, "part", s.Part)
	}
	d := &devpb.Device{
		Id:           &dtpb.Id{Value: HashID(key...)},
		Manufacturer: Text(s.Manufacturer),
		ModelNumber:  Text(s.Model),
		SerialNumber: Text(s.Serial),
		Type:         s.Type,
		Parent:       s.Parent,
	}
	for _, i := range s.Identifiers {
		d.Identifier = append(d.Identifier, identifier(i))
	}
	if s.Name != "" {
		d.DeviceName = append(d.DeviceName, &devpb.Device_DeviceName{
			Name: Text(s.Name),
			Type: &devpb.Device_DeviceName_TypeCode{Value: codes.DeviceNameTypeCode_USER_FRIENDLY_NAME},
		})
	}
	if !s.Owner.IsZero() {
		d.Patient = PatientReference(s.Owner)
	}
	for _, v := range []struct{ kind, value string }{{"firmware", s.Firmware}, {"software", s.Software}, {"hardware", s.Hardware}} {
		if v.value != "" {
			d.Version = append(d.Version, &devpb.Device_Version{Type: Concept(v.kind), Value: Text(v.value)})
		}
	}
	return d
}

// Subject says whom a reading is about: a patient, or, when the payload names
// nobody and nobody was given, the device itself. There is no placeholder patient.
type Subject struct {
	Patient Identifier
	Device  *devpb.Device
}

// Reference points at the subject.
func (s Subject) Reference() *dtpb.Reference {
	if !s.Patient.IsZero() {
		return PatientReference(s.Patient)
	}
	if s.Device != nil {
		return ReferenceTo("Device", s.Device.GetId().GetValue())
	}
	return nil
}

// Reading is what every Observation of a device has. Code and At are required.
type Reading struct {
	Code     *dtpb.CodeableConcept
	Category string // a code of ObservationCategory: vital-signs, laboratory, activity, procedure …
	Status   codes.ObservationStatusCode_Value
	Subject  Subject
	Device   *devpb.Device // the sensor or meter, not the phone
	At       *dtpb.DateTime
	Until    *dtpb.DateTime // with it the reading covers the period [At, Until)

	// Exactly one of the following tells the value; none of them is right for a reading
	// that only has components.
	Quantity *dtpb.Quantity
	Samples  *dtpb.SampledData
	Concept  *dtpb.CodeableConcept
	Words    string
	Absent   string // why there is no value: a code of DataAbsentReason

	Components     []*obpb.Observation_Component
	Interpretation []*dtpb.CodeableConcept
	Method         *dtpb.CodeableConcept
	BodySite       *dtpb.CodeableConcept

	// Profile is the canonical URL of the profile that the result conforms to, or "".
	Profile string

	// Same tells when two readings are one and the same: whatever, beside device, subject
	// and code, tells this reading from every other. The time, the channel, the body
	// site, a counter, a record number: what the source has. A value belongs here only
	// where the source can give two values at one time and means two readings. Empty
	// means the time alone.
	Same []string
}

// Observation builds the resource. Its id is a hash of device, subject, code and
// r.Same, and its identifier in system ReadingID carries the same hash, so that the
// same reading is recognised wherever it turns up again. Status final is the default.
func (r Reading) Observation() *obpb.Observation {
	o := &obpb.Observation{
		Code:           r.Code,
		Subject:        r.Subject.Reference(),
		Component:      r.Components,
		Interpretation: r.Interpretation,
		Method:         r.Method,
		BodySite:       r.BodySite,
	}
	status := r.Status
	if status == codes.ObservationStatusCode_INVALID_UNINITIALIZED {
		status = codes.ObservationStatusCode_FINAL
	}
	o.Status = &obpb.Observation_StatusCode{Value: status}
	if r.Category != "" {
		o.Category = []*dtpb.CodeableConcept{Concept("", Coding(ObservationCategory, r.Category, ""))}
	}
	if r.Device != nil {
		o.Device = ReferenceTo("Device", r.Device.GetId().GetValue())
	}
	if r.Profile != "" {
		o.Meta = &dtpb.Meta{Profile: []*dtpb.Canonical{{Value: r.Profile}}}
	}
	switch {
	case r.At != nil && r.Until != nil:
		o.Effective = &obpb.Observation_EffectiveX{Choice: &obpb.Observation_EffectiveX_Period{Period: &dtpb.Period{Start: r.At, End: r.Until}}}
	case r.At != nil:
		o.Effective = &obpb.Observation_EffectiveX{Choice: &obpb.Observation_EffectiveX_DateTime{DateTime: r.At}}
	}
	switch {
	case r.Quantity != nil:
		o.Value = &obpb.Observation_ValueX{Choice: &obpb.Observation_ValueX_Quantity{Quantity: r.Quantity}}
	case r.Samples != nil:
		o.Value = &obpb.Observation_ValueX{Choice: &obpb.Observation_ValueX_SampledData{SampledData: r.Samples}}
	case r.Concept != nil:
		o.Value = &obpb.Observation_ValueX{Choice: &obpb.Observation_ValueX_CodeableConcept{CodeableConcept: r.Concept}}
	case r.Words != "":
		o.Value = &obpb.Observation_ValueX{Choice: &obpb.Observation_ValueX_StringValue{StringValue: Text(r.Words)}}
	}
	o.DataAbsentReason = absent(r.Absent)

	key := make([]string, 0, 4+len(r.Same))
	key = append(key, "Observation", r.Device.GetId().GetValue(), subjectKey(r.Subject), codeKey(r.Code))
	if len(r.Same) == 0 {
		key = append(key, strconv.FormatInt(r.At.GetValueUs(), 10))
	}
	id := HashID(append(key, r.Same...)...)
	o.Id = &dtpb.Id{Value: id}
	o.Identifier = []*dtpb.Identifier{identifier(Identifier{ReadingID, id})}
	return o
}

func subjectKey(s Subject) string {
	if !s.Patient.IsZero() {
		return "Patient/" + PatientID(s.Patient)
	}
	return "Device/" + s.Device.GetId().GetValue()
}

// codeKey names what was measured. The most specific code of a concept comes first;
// a concept without codes is named by its text.
func codeKey(c *dtpb.CodeableConcept) string {
	if codings := c.GetCoding(); len(codings) > 0 {
		return codings[0].GetSystem().GetValue() + "|" + codings[0].GetCode().GetValue()
	}
	return c.GetText().GetValue()
}

func absent(reason string) *dtpb.CodeableConcept {
	if reason == "" {
		return nil
	}
	return Concept("", Coding(DataAbsentReason, reason, ""))
}

// Component is one part of a reading: a quantity, or with a nil quantity the reason
// for its absence, a code of DataAbsentReason.
func Component(code *dtpb.CodeableConcept, q *dtpb.Quantity, reason string) *obpb.Observation_Component {
	c := &obpb.Observation_Component{Code: code, DataAbsentReason: absent(reason)}
	if q != nil {
		c.Value = &obpb.Observation_Component_ValueX{Choice: &obpb.Observation_Component_ValueX_Quantity{Quantity: q}}
	}
	return c
}

// ConceptComponent is a part of a reading whose value is a concept.
func ConceptComponent(code, value *dtpb.CodeableConcept) *obpb.Observation_Component {
	return &obpb.Observation_Component{Code: code, Value: &obpb.Observation_Component_ValueX{
		Choice: &obpb.Observation_Component_ValueX_CodeableConcept{CodeableConcept: value},
	}}
}

// Pressures are the parts of one blood pressure measurement. A nil part was not
// measured; Reason then says why for systolic and diastolic, which the profile
// requires (default: not-performed). Mean is left out when nil.
type Pressures struct {
	Systolic, Diastolic, Mean             *dtpb.Quantity
	SystolicCode, DiastolicCode, MeanCode *dtpb.CodeableConcept // LOINC 8480-6, 8462-4, 8478-0 if nil
	Reason                                string
}

// bpProfile is the R4 blood pressure profile: both components, in mm[Hg] only.
const bpProfile = "http://hl7.org/fhir/StructureDefinition/bp"

// BloodPressure makes r one blood pressure observation: LOINC 85354-9 unless r.Code
// is set, category vital-signs, the parts as components. The R4 profile is claimed
// where it holds: a patient, and all parts in mm[Hg].
// http://hl7.org/fhir/R4/bp.html
func BloodPressure(r Reading, p Pressures) *obpb.Observation {
	if r.Code == nil {
		r.Code = Concept("Blood pressure", Coding(LOINC, "85354-9", "Blood pressure panel with all children optional"))
	}
	r.Category = "vital-signs"
	if p.Reason == "" {
		p.Reason = "not-performed"
	}
	inMercury := true
	part := func(code *dtpb.CodeableConcept, loinc, display string, q *dtpb.Quantity) {
		if code == nil {
			code = Concept("", Coding(LOINC, loinc, display))
		}
		reason := ""
		if q == nil {
			reason = p.Reason
		} else if q.GetCode().GetValue() != "mm[Hg]" {
			inMercury = false
		}
		r.Components = append(r.Components, Component(code, q, reason))
	}
	parts := r.Components
	r.Components = nil
	part(p.SystolicCode, "8480-6", "Systolic blood pressure", p.Systolic)
	part(p.DiastolicCode, "8462-4", "Diastolic blood pressure", p.Diastolic)
	if p.Mean != nil {
		part(p.MeanCode, "8478-0", "Mean blood pressure", p.Mean)
	}
	r.Components = append(r.Components, parts...)
	if inMercury && commonUnits(r.Components) && !r.Subject.Patient.IsZero() {
		r.Profile = bpProfile
	}
	return r.Observation()
}

// vitalUnits are the only units that the profiles of vital signs allow in components.
// http://hl7.org/fhir/R4/valueset-ucum-vitals-common.html
var vitalUnits = []string{"%", "cm", "[in_i]", "kg", "g", "[lb_av]", "Cel", "[degF]", "mm[Hg]", "/min", "kg/m2", "m2"}

// commonUnits reports whether components have no value that the profiles of vital signs
// bind to those units and that has another: a quantity, or a code.
func commonUnits(components []*obpb.Observation_Component) bool {
	for _, c := range components {
		switch v := c.GetValue().GetChoice().(type) {
		case *obpb.Observation_Component_ValueX_Quantity:
			if !slices.Contains(vitalUnits, v.Quantity.GetCode().GetValue()) {
				return false
			}
		case *obpb.Observation_Component_ValueX_CodeableConcept:
			return false
		}
	}
	return true
}

// VitalSign makes r a vital sign: category vital-signs, and the R4 profile of that
// name (heartrate, oxygensat …) claimed when the reading is about a patient, its unit is
// one that the profile allows, and so are those of its components.
// http://hl7.org/fhir/R4/observation-vitalsigns.html
func VitalSign(r Reading, profile string, allowed func(ucum string) bool) *obpb.Observation {
	r.Category = "vital-signs"
	fits := r.Quantity == nil && r.Absent != "" || r.Quantity != nil && allowed != nil && allowed(r.Quantity.GetCode().GetValue())
	if profile != "" && fits && commonUnits(r.Components) && !r.Subject.Patient.IsZero() {
		r.Profile = "http://hl7.org/fhir/StructureDefinition/" + profile
	}
	return r.Observation()
}

// SelfReported is the method of a value that a person typed in, with no device.
func SelfReported() *dtpb.CodeableConcept { return Concept("Self-reported, entered by hand") }

// Tag adds a security label to the resource, such as HTEST for simulated data.
// http://hl7.org/fhir/R4/security-labels.html
func Tag(o *obpb.Observation, system, code string) {
	if o.Meta == nil {
		o.Meta = &dtpb.Meta{}
	}
	o.Meta.Security = append(o.Meta.Security, Coding(system, code, ""))
}

// IsDecimal reports whether s is a FHIR decimal: -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
// http://hl7.org/fhir/R4/datatypes.html#decimal
func IsDecimal(s string) bool {
	s = strings.TrimPrefix(s, "-")
	digits := func() int {
		n := 0
		for n < len(s) && '0' <= s[n] && s[n] <= '9' {
			n++
		}
		s = s[n:]
		return n
	}
	zero := strings.HasPrefix(s, "0")
	if n := digits(); n == 0 || zero && n > 1 {
		return false
	}
	if strings.HasPrefix(s, ".") {
		s = s[1:]
		if digits() == 0 {
			return false
		}
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		s = s[1:]
		if s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		if digits() == 0 {
			return false
		}
	}
	return s == ""
}
