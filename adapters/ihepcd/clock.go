package ihepcd

import (
	"errors"
	"time"

	"github.com/kiln-health/kiln/adapters/format/hl7v2"
	"github.com/kiln-health/kiln/adapters/when"
	"github.com/kiln-health/kiln/fhir"
)

// moment is an instant as a field tells it, or why it tells none.
type moment struct {
	when.Instant
	problem *problem
}

const (
	fixTime   = "send YYYYMMDDHHMMSS+ZZZZ"
	fixOffset = "send the offset with the time, as in 20260301120000+0100"
)

// Skews of which a warning tells.
const (
	clockSkew = time.Minute    // of a device clock against its gateway, of a reading after its message
	late      = 24 * time.Hour // of a reading before its message
)

// instant resolves a DTM of the message. The offset is the time's own; else the zone
// that the site states for the source; else the offset of MSH-7, which HL7 makes the
// default of the message (HL7 2.9, 2.14.9.7). Results are remembered: a message
// repeats its times.
func (r *report) instant(text string) moment {
	if m, ok := r.moments[text]; ok {
		return m
	}
	m := r.resolve(text)
	if m.problem == nil {
		if err := m.Plausible(r.work.payload.Received); err != nil {
			m = moment{problem: &problem{fhir.SevError, fhir.CodeValue, 0, err.Error(), when.FixClock}}
		}
	}
	r.moments[text] = m
	return m
}

func (r *report) resolve(text string) moment {
	refuse := func(message, fix string) moment {
		return moment{problem: &problem{fhir.SevError, fhir.CodeValue, 0, message, fix}}
	}
	t, err := hl7v2.ParseTime(text)
	if err != nil {
		if e, ok := errors.AsType[*hl7v2.Error](err); ok {
			return refuse(e.Reason, e.Fix)
		}
		return refuse("the time cannot be read", fixTime)
	}
	precision := fhir.Second
	switch t.Precision {
	case hl7v2.Year, hl7v2.Month:
		return refuse("the time is not precise to the day", fixTime)
	case hl7v2.Hour:
		return refuse("the time tells no minutes", fixTime)
	case hl7v2.Day:
		// A date has no offset in FHIR.
		y, m, d := t.Wall.Date()
		return moment{Instant: when.Instant{Time: time.Date(y, m, d, 0, 0, 0, 0, time.UTC), Precision: fhir.Day, How: when.ExplicitOffset}}
	case hl7v2.Millisecond:
		precision = fhir.Millisecond
	case hl7v2.Microsecond:
		precision = fhir.Microsecond
	}
	if t.HasOffset {
		return moment{Instant: when.Instant{Time: t.Wall, Precision: precision, How: when.ExplicitOffset}}
	}
	zone := r.work.payload.Source.Zone
	if zone == nil {
		if r.offset == nil {
			return refuse(when.ErrNoZone.Error(), when.FixNoZone+", or send the offset with MSH-7")
		}
		return moment{Instant: when.Instant{Time: inOffset(t.Wall, r.offset), Precision: precision, How: when.ExplicitZone}}
	}
	i, err := when.InZone(t.Wall, precision, zone)
	if errors.Is(err, when.ErrAmbiguous) && r.offset != nil {
		// The hour that occurs twice: the offset of the message tells which.
		_, stated := inOffset(t.Wall, r.offset).Zone()
		for _, c := range when.Candidates(t.Wall, zone) {
			if _, is := c.Zone(); is == stated {
				i, err = when.Instant{Time: c, Precision: precision, How: when.ConfiguredZone}, nil
			}
		}
	}
	if err != nil {
		return refuse(err.Error(), fixOffset)
	}
	if r.offset != nil && !inOffset(t.Wall, r.offset).Equal(i.Time) {
		r.warnOnce("zone", fhir.CodeConflict, r.message.Header().FieldPath(7), "check the zone of the source",
			"the zone of the source and the offset of MSH-7 disagree; the zone is used")
	}
	return moment{Instant: i}
}

// inOffset is what a clock in that offset means by wall.
func inOffset(wall time.Time, offset *time.Location) time.Time {
	y, mo, d := wall.Date()
	h, mi, s := wall.Clock()
	return time.Date(y, mo, d, h, mi, s, wall.Nanosecond(), offset)
}

// readSent reads MSH-7: the offset for times without one, and when the message was sent.
func (r *report) readSent() {
	t, err := hl7v2.ParseTime(trim(r.message.Header().Field(7).Value()))
	if err != nil || !t.HasOffset || t.Precision < hl7v2.Minute {
		return
	}
	r.offset, r.sent = t.Wall.Location(), t.Wall
}

// checkAge warns of readings that are younger than their message, or a day older.
func (r *report) checkAge(i when.Instant, path string) {
	if r.sent.IsZero() || i.Precision <= fhir.Day {
		return
	}
	switch age := r.sent.Sub(i.Time); {
	case age < -clockSkew:
		r.warnOnce("age", fhir.CodeBusinessRule, path, "set the clocks of device and gateway, or correct the zone of the source",
			"the reading is more than a minute younger than the message that brings it")
	case age > late:
		r.warnOnce("age", fhir.CodeBusinessRule, path, "set the clocks of device and gateway, unless stored readings are sent",
			"the reading is more than a day older than the message that brings it")
	}
}

// checkClock compares the clock of the device, the value of a row MDC_ATTR_TIME_ABS,
// with that of the gateway, which wrote OBX-14. A device clock of unknown zone can
// only be compared within quarters of an hour, which is what zones are made of.
func (r *report) checkClock(x *row) {
	device, err := hl7v2.ParseTime(trim(x.Field(5).Value()))
	if err != nil || device.Precision < hl7v2.Second {
		return
	}
	gateway, err := hl7v2.ParseTime(trim(x.Field(14).Value()))
	if err != nil || gateway.Precision < hl7v2.Second {
		return
	}
	var skew time.Duration
	switch zone := r.work.payload.Source.Zone; {
	case device.HasOffset && gateway.HasOffset:
		skew = device.Wall.Sub(gateway.Wall)
	case zone != nil && gateway.HasOffset:
		i, err := when.InZone(device.Wall, fhir.Second, zone)
		if err != nil {
			return
		}
		skew = i.Time.Sub(gateway.Wall)
	default:
		const quarter = 15 * time.Minute
		skew = inOffset(device.Wall, time.UTC).Sub(inOffset(gateway.Wall, time.UTC)).Round(time.Second) % quarter
		if skew > quarter/2 {
			skew -= quarter
		}
		if skew < -quarter/2 {
			skew += quarter
		}
	}
	if skew.Abs() > clockSkew {
		r.warnOnce("skew", fhir.CodeBusinessRule, x.FieldPath(5), "set the clock of the device",
			"the clocks of device and gateway differ by more than a minute; the times of the gateway are used as sent")
	}
}
