package gatt

import (
	"time"

	format "github.com/kiln-health/kiln/adapters/format/gatt"
	"github.com/kiln-health/kiln/adapters/when"
	"github.com/kiln-health/kiln/fhir"
)

// decodeCGM makes a row of each record, with the session that it belongs to: the one
// that came with the value, else the last one before it.
func (c *converter) decodeCGM(e *entry, u *unit, add func(at int, said any, err error) *row) {
	var session *format.SessionStart
	var source *row
	var broken error
	switch {
	case e.session != nil:
		s, err := format.DecodeSessionStart(e.session)
		session, broken = &s, err
	case u.session != nil:
		source = u.session
		session = source.said.(*format.SessionStart)
	}
	for _, result := range format.DecodeCGM(e.value) {
		r := add(result.Offset, &result.CGMRecord, result.Err)
		if broken != nil {
			r.refuse(fhir.CodeStructure, "send the value of 2AAA as the device gave it", "session: "+broken.Error())
		}
		r.session, r.start = session, source
	}
}

func (c *converter) cgm(r *row, m *format.CGMRecord) {
	kind, location := uint8(format.TypeInterstitial), uint8(0)
	if features := r.unit.features; features != nil {
		f := features.said.(*format.CGMFeatures)
		kind, location = f.Type, f.Location
	}
	if kind == format.TypeControlSolution || location == format.LocationControlSolution {
		r.pass(fhir.CodeInformational, "a measurement of control solution is no result of a patient")
		return
	}
	patient, ok := c.subject(r)
	if !ok {
		return
	}
	at, ok := c.cgmTime(r, m)
	if !ok {
		return
	}
	reading := c.reading(r, patient, at)
	reading.Category = "laboratory"
	reading.Code = glucoseCode(kind, "mg/dL")
	reading.BodySite = bodySite(location)
	var f findings
	c.find(r, &f, m.Status, cgmBits)
	c.setValue(&reading, m.Glucose, "mg/dL")
	c.check(r, &f, "the glucose concentration", m.Glucose, glucoseLimits["mg/dL"])
	f.apply(&reading)
	if m.Trend != nil {
		reading.Components = append(reading.Components, c.component(fhir.Concept("", own("glucose-trend", "Rate of change of glucose")), *m.Trend, "mg/dL/min"))
	}
	if m.Quality != nil {
		reading.Components = append(reading.Components, c.component(fhir.Concept("", own("cgm-quality", "Quality of the CGM measurement")), *m.Quality, "%"))
	}
	c.put(r, f.label(reading.Observation()))
	for _, told := range []*row{r.start, r.unit.features} {
		if told != nil && r.done {
			told.done = true
		}
	}
}

const fixSession = `send the CGM session start time, 2AAA, of the sensor before its measurements, or as "session" with each`

// cgmTime is the start of the session and the minutes since.
func (c *converter) cgmTime(r *row, m *format.CGMRecord) (when.Instant, bool) {
	s := r.session
	switch {
	case s == nil:
		r.refuse(fhir.CodeRequired, fixSession, "the time counts from the start of the session, which is not there")
		return when.Instant{}, false
	case !s.Time.Known():
		r.refuse(fhir.CodeBusinessRule, when.FixClock, "the start of the session has no date: when it was measured is not known")
		return when.Instant{}, false
	}
	since := time.Duration(m.Minutes) * time.Minute
	if seconds, ok := s.OffsetSeconds(); ok {
		start := when.Candidates(s.Time.Wall(), time.FixedZone("", seconds))[0] // a fixed offset has neither gap nor fold
		at := when.Instant{Time: start.Add(since), Precision: fhir.Second, How: when.ExplicitZone}
		return at, c.plausible(r, at)
	}
	at, err := when.InZone(s.Time.Wall(), fhir.Second, c.p.Source.Zone)
	if err != nil {
		fix := when.FixNoZone
		if c.p.Source.Zone != nil {
			fix = "correct the time in the payload, then replay it"
		}
		r.refuse(fhir.CodeRequired, fix, "the start of the session: "+err.Error())
		return at, false
	}
	at.Time = at.Time.Add(since)
	return at, c.plausible(r, at)
}
