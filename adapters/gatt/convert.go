package gatt

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	devpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/device_go_proto"
	obpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"
	"google.golang.org/protobuf/proto"

	"github.com/kiln-health/kiln/adapters"
	format "github.com/kiln-health/kiln/adapters/format/gatt"
	"github.com/kiln-health/kiln/fhir"
)

// row is one characteristic value, or one record of a CGM measurement.
type row struct {
	*entry
	path  string
	unit  *unit
	said  any         // what the bytes say: a struct of package format, or a text
	issue *fhir.Issue // why it is skipped, once that is known
	done  bool        // it gave a resource, or part of one

	contexts []*row               // of a glucose measurement
	target   *row                 // of a context, or of a second packet: the row it belongs to
	rest     *row                 // of a first packet: the second
	session  *format.SessionStart // of a CGM record
	start    *row                 // of a CGM record: the row that told the session
}

// skip records why nothing becomes of the row; the first reason counts.
func (r *row) skip(severity fhir.Severity, code, fix, message string) {
	if r.issue == nil {
		r.issue = &fhir.Issue{Severity: severity, Code: code, Path: r.path, Message: r.of.String() + ": " + message, Fix: fix}
	}
}

// refuse skips a reading that needs somebody's attention.
func (r *row) refuse(code, fix, message string) { r.skip(fhir.SevError, code, fix, message) }

// pass skips what is no reading of a patient.
func (r *row) pass(code, message string) { r.skip(fhir.Information, code, "", message) }

// converter is the state of one conversion.
type converter struct {
	p          adapters.Payload
	out        adapters.Conversion
	rows       []*row
	units      map[device]*unit
	devices    map[string]bool // ids that are in out
	seen       map[string]*obpb.Observation
	warned     map[string]bool
	unreadable []fhir.Issue
}

func newConverter(p adapters.Payload) *converter {
	return &converter{
		p:       p,
		units:   map[device]*unit{},
		devices: map[string]bool{},
		seen:    map[string]*obpb.Observation{},
		warned:  map[string]bool{},
	}
}

// warnOnce warns of what may concern many rows, at the first of them.
func (c *converter) warnOnce(topic, code, path, fix, message string) {
	if !c.warned[topic] {
		c.warned[topic] = true
		c.out.Warn(code, path, fix, "%s", message)
	}
}

func (c *converter) addDevice(d *devpb.Device) {
	if id := d.GetId().GetValue(); !c.devices[id] {
		c.devices[id] = true
		c.out.Devices = append(c.out.Devices, d)
	}
}

// decoders read the characteristics of which something becomes. The CGM measurement,
// which has several rows, is decoded on its own.
var decoders = map[format.Characteristic]func(format.Characteristic, []byte) (any, error){
	format.GlucoseMeasurement:         one(format.DecodeGlucose),
	format.GlucoseContext:             one(format.DecodeGlucoseContext),
	format.TemperatureMeasurement:     named(format.DecodeTemperature),
	format.IntermediateTemperature:    named(format.DecodeTemperature),
	format.BloodPressureMeasurement:   named(format.DecodeBloodPressure),
	format.IntermediateCuffPressure:   named(format.DecodeBloodPressure),
	format.HeartRateMeasurement:       one(format.DecodeHeartRate),
	format.OximeterSpotCheck:          one(format.DecodeSpotCheck),
	format.OximeterContinuous:         one(format.DecodeContinuous),
	format.WeightMeasurement:          one(format.DecodeWeight),
	format.BodyCompositionMeasurement: one(format.DecodeBodyComposition),
	format.CGMMeasurement:             nil,
	format.CGMFeature:                 one(format.DecodeCGMFeature),
	format.CGMSessionStart:            one(format.DecodeSessionStart),
	format.SystemID:                   one(format.DecodeSystemID),
	format.ManufacturerName:           named(format.DecodeText),
	format.ModelNumber:                named(format.DecodeText),
	format.SerialNumber:               named(format.DecodeText),
	format.FirmwareRevision:           named(format.DecodeText),
	format.HardwareRevision:           named(format.DecodeText),
	format.SoftwareRevision:           named(format.DecodeText),
}

func one[T any](decode func([]byte) (T, error)) func(format.Characteristic, []byte) (any, error) {
	return func(_ format.Characteristic, b []byte) (any, error) {
		v, err := decode(b)
		return &v, err
	}
}

func named[T any](decode func(format.Characteristic, []byte) (T, error)) func(format.Characteristic, []byte) (any, error) {
	return func(of format.Characteristic, b []byte) (any, error) {
		v, err := decode(of, b)
		return &v, err
	}
}

// decode makes the rows of an entry and notes what they tell of their unit.
func (c *converter) decode(e *entry) {
	u := c.units[e.device]
	if u == nil {
		u = &unit{device: e.device, users: map[string]bool{}, reported: map[fhir.Identifier]*devpb.Device{}}
		c.units[e.device] = u
	}
	add := func(at int, said any, err error) *row {
		r := &row{entry: e, path: e.path, unit: u, said: said}
		failure, failed := errors.AsType[*format.Error](err)
		if failed {
			at = failure.Offset
		}
		if failed || at > 0 {
			r.path = place(e.path, at)
		}
		if failed {
			r.refuse(fhir.CodeStructure, "send the whole value, as the device gave it", failure.Field+": "+failure.Problem)
			c.unreadable = append(c.unreadable, *r.issue)
		}
		c.rows = append(c.rows, r)
		return r
	}
	if e.of == format.CGMSessionStart {
		u.session = nil // one that cannot be read ends the session before it all the same
	}
	if e.problem != nil {
		r := add(0, nil, nil)
		r.issue = e.problem
		c.unreadable = append(c.unreadable, *e.problem)
		return
	}
	decode, known := decoders[e.of]
	switch {
	case !known && plain[e.of] != "":
		add(0, nil, nil).pass(fhir.CodeInformational, plain[e.of]+" is no reading")
	case !known:
		add(0, nil, nil).refuse(fhir.CodeNotSupported, "leave it out if it is no reading; else it needs an adapter of its own",
			"the characteristic is not one that this adapter maps")
	case e.of == format.CGMMeasurement:
		c.decodeCGM(e, u, add)
	default:
		said, err := decode(e.of, e.value)
		r := add(0, said, err)
		if err == nil {
			c.note(r)
		}
	}
}

func place(path string, at int) string {
	if path == "" {
		return "byte " + strconv.Itoa(at)
	}
	return fmt.Sprintf("%s byte %d", path, at)
}

// note keeps what a value tells of its unit.
func (c *converter) note(r *row) {
	switch m := r.said.(type) {
	case *format.SessionStart:
		r.unit.session = r
	case *format.CGMFeatures:
		r.unit.features = r
	case *[8]byte:
		text := ""
		for i := range m {
			text += fmt.Sprintf("%02X", m[7-i])
		}
		r.unit.describe(r, text)
	case *string:
		r.unit.describe(r, *m)
	}
}

// describe completes the device of the unit. What the gateway stated stands.
func (u *unit) describe(r *row, text string) {
	to := u.information(r.of)
	switch {
	case text == "":
		r.pass(fhir.CodeInformational, "the text is empty")
	case *to != "" && *to != text && !sameBytes(*to, text):
		r.refuse(fhir.CodeConflict, "send what belongs to one sensor with the same device, and to another with another",
			"another text was given for the same sensor before")
	default:
		*to = text
	}
}

// sameBytes reports whether two texts are the same bytes in hexadecimal.
func sameBytes(a, b string) bool {
	x, err := format.ParseHex(a)
	if err != nil {
		return false
	}
	y, err := format.ParseHex(b)
	return err == nil && bytes.Equal(x, y)
}

// join brings together values that belong to each other, and collects the users.
func (c *converter) join() {
	for _, r := range c.rows {
		if r.issue == nil {
			if name, err := r.user(); err == nil && name != "" {
				r.unit.users[name] = true
			}
		}
	}
	c.joinContexts()
	c.joinPackets()
}

// convert maps one row.
func (c *converter) convert(r *row) {
	if r.issue != nil || r.target != nil {
		return
	}
	switch m := r.said.(type) {
	case *format.BloodPressure:
		c.bloodPressure(r, m)
	case *format.HeartRate:
		c.heartRate(r, m)
	case *format.Temperature:
		c.temperature(r, m)
	case *format.Oximetry:
		c.oximetry(r, m)
	case *format.Weight:
		c.weight(r, m)
	case *format.BodyComposition:
		c.bodyComposition(r, m)
	case *format.Glucose:
		c.glucose(r, m)
	case *format.CGMRecord:
		c.cgm(r, m)
	}
}

// put adds what a row gave, the reading that the row is about first. A row of which all
// is there already is a repeat.
func (c *converter) put(r *row, observations ...*obpb.Observation) {
	var fresh []*obpb.Observation
	for _, o := range observations {
		have, ok := c.seen[o.GetId().GetValue()]
		switch {
		case !ok:
			fresh = append(fresh, o)
		case !proto.Equal(have, o):
			r.refuse(fhir.CodeConflict, "compare the two with the device, and send the one that is right",
				"another reading of the same sensor, time and kind says something else")
			return
		}
	}
	if len(fresh) == 0 {
		r.pass(fhir.CodeDuplicate, "the same reading occurs before")
		return
	}
	for _, o := range fresh {
		c.seen[o.GetId().GetValue()] = o
	}
	c.out.Observations = append(c.out.Observations, fresh...)
	r.done = true
}

// account counts a row as mapped or skipped, when all of them are converted.
func (c *converter) account(r *row) {
	if t := r.target; t != nil && r.issue == nil {
		switch {
		case t.done:
			r.done = true
		case t.issue != nil:
			r.skip(t.issue.Severity, t.issue.Code, "", "it belongs to a value that is skipped ("+t.path+")")
		}
	}
	if r.issue == nil && !r.done {
		switch r.said.(type) {
		case *format.SessionStart:
			r.pass(fhir.CodeInformational, "no CGM measurement is mapped with it")
		case *format.CGMFeatures:
			r.pass(fhir.CodeInformational, "no CGM measurement is mapped with it")
		default: // device information
			c.resource(r.unit, c.p.Source.Patient)
			r.done = true
		}
	}
	c.out.Rows++
	if r.issue != nil {
		c.out.Skipped = append(c.out.Skipped, *r.issue)
		return
	}
	c.out.Mapped++
}

// plain are characteristics that are no readings, though gateways forward them.
var plain = map[format.Characteristic]string{
	0x2A00: "a device name",
	0x2A01: "an appearance",
	0x2A19: "a battery level",
	0x2A1D: "a temperature type",
	0x2A2A: "regulatory certification data",
	0x2A2B: "a current time",
	0x2A38: "a body sensor location",
	0x2A49: "a blood pressure feature",
	0x2A50: "a PnP ID",
	0x2A51: "a glucose feature",
	0x2A52: "a record access control point",
	0x2A60: "a PLX feature",
	0x2A9B: "a body composition feature",
	0x2A9E: "a weight scale feature",
	0x2AA9: "a CGM status",
	0x2AAB: "a CGM session run time",
	0x2AAC: "a CGM control point",
}
