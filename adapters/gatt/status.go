package gatt

import (
	"strings"

	codes "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/codes_go_proto"
	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	obpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"

	format "github.com/kiln-health/kiln/adapters/format/gatt"
	"github.com/kiln-health/kiln/fhir"
)

// effect is what a status bit means for the value beside it. Every bit that is set
// becomes a component, whatever its effect.
type effect int

const (
	noted     effect = iota // nothing
	interim                 // it is preliminary
	uncertain               // it is labelled as of uncertain reliability
	offLow                  // it is below what the device can measure
	offHigh                 // it is above what the device can measure
	invalid                 // it is not published as the value of the reading
)

// bit is one bit of a status. A code with a point is one of statusBits, another is one
// of ownCodes.
type bit struct {
	at            int
	code, display string
	effect        effect
}

func (b bit) coding() *dtpb.Coding {
	if strings.Contains(b.code, ".") {
		return fhir.Coding(statusBits, b.code, b.display)
	}
	return own(b.code, b.display)
}

// Bits 3 and 4 are one field; findings takes both set for reserved.
var bloodPressureBits = []bit{
	{0, "8410608.0", "body-movement", uncertain},
	{1, "8410608.1", "cuff-too-loose", uncertain},
	{2, "8410608.2", "irregular-pulse", noted},
	{3, "8410608.3", "pulse-over-range-limit", noted},
	{4, "8410608.4", "pulse-under-range-limit", noted},
	{5, "8410608.5", "improper-body-position", uncertain},
}

var glucoseBits = []bit{
	{0, "8417752.0", "device-battery-low", noted},
	{1, "8417752.1", "sensor-malfunction", invalid},
	{2, "8417752.2", "sensor-sample-size-insufficient", invalid},
	{3, "8417752.3", "sensor-strip-insertion", invalid},
	{4, "8417752.4", "sensor-strip-type-incorrect", invalid},
	{5, "8417752.5", "sensor-result-too-high", offHigh},
	{6, "8417752.6", "sensor-result-too-low", offLow},
	{7, "8417752.7", "sensor-temp-too-high", invalid},
	{8, "8417752.8", "sensor-temp-too-low", invalid},
	{9, "8417752.9", "sensor-read-interrupt", invalid},
	{10, "8417752.10", "device-gen-fault", invalid},
}

// glucoseTimeFault says that the time of a glucose measurement may be wrong.
const glucoseTimeFault = 1 << 11

var cgmBits = []bit{
	{0, "8418060.0", "sensor-session-stopped", uncertain},
	{1, "cgm-device-battery-low", "Device battery low", noted},
	{2, "8418060.2", "sensor-type-incorrect", invalid},
	{3, "8418060.3", "sensor-malfunction", invalid},
	{4, "8418060.4", "device-specific-alert", uncertain},
	{5, "cgm-general-device-fault", "General device fault", invalid},
	{8, "cgm-time-synchronization-required", "Time synchronization required", noted},
	{9, "8418060.7", "sensor-calibration-not-allowed", noted},
	{10, "8418060.8", "sensor-calibration-recommended", noted},
	{11, "8418060.9", "sensor-calibration-required", uncertain},
	{12, "8418060.10", "sensor-temp-too-high", invalid},
	{13, "8418060.11", "sensor-temp-too-low", invalid},
	{16, "8418060.12", "sensor-result-below-patient-low", noted},
	{17, "8418060.13", "sensor-result-above-patient-high", noted},
	{18, "8418060.14", "sensor-low-hypo", noted},
	{19, "8418060.15", "sensor-high-hyper", noted},
	{20, "8418060.16", "sensor-rate-decrease-exceeded", noted},
	{21, "8418060.17", "sensor-rate-increase-exceeded", noted},
	{22, "8418060.18", "sensor-result-too-low", offLow},
	{23, "8418060.19", "sensor-result-too-high", offHigh},
}

var oximeterBits = []bit{
	{5, "measurement-ongoing", "Measurement ongoing", interim},
	{6, "early-estimated-data", "Early estimated data", interim},
	{7, "validated-data", "Validated data", noted},
	{8, "fully-qualified-data", "Fully qualified data", noted},
	{9, "data-from-storage", "Data from measurement storage", noted},
	{12, "calibration-ongoing", "Calibration ongoing", uncertain},
	{13, "measurement-unavailable", "Measurement unavailable", invalid},
	{14, "questionable-measurement", "Questionable measurement detected", uncertain},
	{15, "invalid-measurement", "Invalid measurement detected", invalid},
}

// Bits of the measurement status of an oximeter that decide about the row.
const (
	oximeterStored        = 1 << 9
	oximeterDemonstration = 1 << 10
	oximeterTesting       = 1 << 11
)

// The guide numbers these bits from the other end.
var oximeterSensorBits = []bit{
	{0, "150604.15", "device-extended-update", noted},
	{1, "150604.14", "device-equipment-malfunction", invalid},
	{2, "150604.13", "signal-processing-irregularity", uncertain},
	{3, "150604.12", "signal-inadequate", uncertain},
	{4, "150604.11", "signal-poor", uncertain},
	{5, "150604.10", "signal-low-perfusion", noted},
	{6, "150604.9", "signal-erratic", uncertain},
	{7, "150604.8", "signal-non-pulsatile", uncertain},
	{8, "150604.7", "signal-pulse-questionable", uncertain},
	{9, "150604.6", "signal-searching", uncertain},
	{10, "150604.5", "sensor-interference", uncertain},
	{11, "150604.4", "sensor-off", invalid},
	{12, "150604.3", "sensor-unsupported", uncertain},
	{13, "150604.2", "sensor-displaced", uncertain},
	{14, "150604.1", "sensor-malfunction", invalid},
	{15, "150604.0", "sensor-disconnected", invalid},
}

// findings are what the statuses of a row say.
type findings struct {
	components                                       []*obpb.Observation_Component
	interim, uncertain, offLow, offHigh, invalidated bool
}

// find reads a status word. Reserved bits that are set give a warning: who knows what
// they mean.
func (c *converter) find(r *row, f *findings, word uint32, table []bit) {
	left := word
	for _, b := range table {
		if word&(1<<b.at) == 0 {
			continue
		}
		left &^= 1 << b.at
		f.components = append(f.components, flag(b.coding()))
		f.add(b.effect)
	}
	if left != 0 {
		c.out.Warn(fhir.CodeValue, r.path, "", "%s: bits of the status are set that the specification reserves; they are not mapped", r.of)
	}
}

func (f *findings) add(e effect) {
	switch e {
	case interim:
		f.interim = true
	case uncertain:
		f.uncertain = true
	case offLow:
		f.offLow = true
	case offHigh:
		f.offHigh = true
	case invalid:
		f.invalidated = true
	}
}

// apply changes a reading as the findings demand. A value that the device itself calls
// invalid stays as a component, so that nothing is lost and nobody charts it.
func (f *findings) apply(reading *fhir.Reading) {
	reading.Components = append(reading.Components, f.components...)
	if f.interim {
		reading.Status = codes.ObservationStatusCode_PRELIMINARY
	}
	switch {
	case f.invalidated && reading.Quantity != nil:
		withhold(reading)
	case f.invalidated && reading.Absent != "":
		reading.Absent = "error"
	case f.offLow && !f.offHigh:
		offScale(reading, '<')
	case f.offHigh && !f.offLow:
		offScale(reading, '>')
	}
}

// label marks a resource whose device doubts it.
// http://hl7.org/fhir/R4/v3/ObservationValue/cs.html
func (f *findings) label(o *obpb.Observation) *obpb.Observation {
	switch {
	case f.invalidated:
		fhir.Tag(o, fhir.ObservationValue, "UNRELIABLE")
	case f.uncertain:
		fhir.Tag(o, fhir.ObservationValue, "UNCERTREL")
	}
	return o
}

// withhold takes the value out of a reading and keeps it as a component.
func withhold(reading *fhir.Reading) {
	reported := fhir.Concept("", own("reported-value", "Value as reported, not to be used"))
	reading.Components = append(reading.Components, fhir.Component(reported, reading.Quantity, ""))
	reading.Quantity, reading.Absent = nil, "error"
}

// offScale marks a value as the edge of what the device can measure.
func offScale(reading *fhir.Reading, side byte) {
	display := map[byte]string{'<': "Off scale low", '>': "Off scale high"}[side]
	if reading.Quantity != nil {
		fhir.Compared(reading.Quantity, side)
	}
	if len(reading.Interpretation) == 0 {
		reading.Interpretation = []*dtpb.CodeableConcept{fhir.Concept("", fhir.Coding(fhir.ObservationInterpretation, string(side), display))}
	}
}

// setValue gives a reading its value, or the reason why it has none.
func (c *converter) setValue(reading *fhir.Reading, n format.Number, ucum string) {
	switch n.Special {
	case "":
		reading.Quantity = c.quantity(n, ucum)
	case format.PositiveInfinity:
		offScale(reading, '>')
	case format.NegativeInfinity:
		offScale(reading, '<')
	}
	if n.Special != "" {
		reading.Absent = absence(n)
	}
}

// limits are from and to where a value can be that of a living person, generously; a 0
// never is. What is outside is kept as reported, with a label and a warning.
type limits struct{ low, high int64 }

func (c *converter) check(r *row, f *findings, name string, n format.Number, l limits) {
	if n.Special == "" && (n.Mantissa == 0 || !n.Between(l.low, l.high)) {
		f.uncertain = true
		c.out.Warn(fhir.CodeBusinessRule, r.path, "check the device", "%s: %s is not possible in a living person; it is kept as reported, as of uncertain reliability", r.of, name)
	}
}
