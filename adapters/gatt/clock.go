package gatt

import (
	"errors"
	"time"

	format "github.com/kiln-health/kiln/adapters/format/gatt"
	"github.com/kiln-health/kiln/adapters/when"
	"github.com/kiln-health/kiln/fhir"
)

// When the offset of the gateway's clock is evidence for the device's. The two are within
// radio range of each other, but a gateway may write UTC, or its maker's zone.
const (
	// live is so short that no other zone fits: zones in use differ by half an hour or
	// more, nearly all of them, so a value that is so fresh by the gateway's offset is so by
	// the gateway's offset alone.
	live = 20 * time.Minute
	// recent is how old a value may be if the gateway states an offset that is not that of
	// UTC: a local one.
	recent = 24 * time.Hour
	// ahead is how far the clock of a device may be fast.
	ahead = 5 * time.Minute
)

// lastYear is short of the last one that a FHIR dateTime can have, in any offset.
const lastYear = 9998

// wallClock is the instant at which the clock of a sensor showed wall. It is false where
// that is not to be decided: then the row is refused.
func (c *converter) wallClock(r *row, wall time.Time) (when.Instant, bool) {
	at, err := c.resolve(r, wall)
	switch {
	case errors.Is(err, when.ErrNoZone):
		r.refuse(fhir.CodeRequired, when.FixNoZone, err.Error())
		return at, false
	case err != nil:
		r.refuse(fhir.CodeBusinessRule, "correct the time in the payload, then replay it", err.Error())
		return at, false
	}
	return at, c.plausible(r, at)
}

func (c *converter) resolve(r *row, wall time.Time) (when.Instant, error) {
	zone := c.p.Source.Zone
	if zone != nil {
		at, err := when.InZone(wall, fhir.Second, zone)
		if errors.Is(err, when.ErrAmbiguous) && !r.received.IsZero() {
			for _, t := range when.Candidates(wall, zone) {
				if age := r.received.Sub(t); -ahead <= age && age <= live {
					return when.Instant{Time: t, Precision: fhir.Second, How: when.ConfiguredZone}, nil
				}
			}
		}
		return at, err
	}
	if r.received.IsZero() {
		return when.Instant{How: when.Refused}, when.ErrNoZone
	}
	_, offset := r.received.Zone()
	t := when.Candidates(wall, time.FixedZone("", offset))[0] // a fixed offset has neither gap nor fold
	age := r.received.Sub(t)
	if age < -ahead || age > recent || age > live && offset == 0 {
		return when.Instant{How: when.Refused}, when.ErrNoZone
	}
	c.warnOnce("offset", fhir.CodeBusinessRule, r.path, when.FixNoZone,
		"the clock of the sensor was taken to have the offset of receivedAt, because the zone of the sensor is not known")
	return when.Instant{Time: t, Precision: fhir.Second, How: when.ExplicitZone}, nil
}

// plausible refuses a row whose time shows a clock that is not set.
func (c *converter) plausible(r *row, at when.Instant) bool {
	limit := c.p.Received
	gateway := when.Instant{Time: r.received}
	if !r.received.IsZero() && at.How != when.Received && gateway.Plausible(c.p.Received) == nil {
		limit = r.received
	}
	err := at.Plausible(limit)
	if err == nil && at.Time.UTC().Year() > lastYear {
		err = errors.New("the year is beyond what FHIR can write: the clock of the device is wrong")
	}
	if err != nil {
		r.refuse(fhir.CodeBusinessRule, when.FixClock, err.Error())
	}
	return err == nil
}

// receipt is when the gateway got the value, or else when the payload came in.
func (c *converter) receipt(r *row) (when.Instant, bool) {
	at := when.Instant{Time: r.received, Precision: fhir.Second, How: when.Received}
	if r.received.IsZero() {
		if c.p.Received.IsZero() {
			r.refuse(fhir.CodeRequired, `state "receivedAt"`, "neither the device nor the gateway tells a time")
			return at, false
		}
		c.warnOnce("receipt", fhir.CodeRequired, r.path, `state "receivedAt" with each value, or @time in front of the line`,
			"no time is stated: the readings have the time at which the payload came in, and the same payload sent again gives other readings")
		zone := c.p.Source.Zone
		if zone == nil {
			zone = time.UTC
		}
		at.Time = c.p.Received.In(zone).Truncate(time.Millisecond)
	}
	switch fraction := at.Time.Nanosecond(); {
	case fraction%int(time.Millisecond) != 0:
		at.Precision = fhir.Microsecond
	case fraction != 0:
		at.Precision = fhir.Millisecond
	}
	return at, c.plausible(r, at)
}

// instant is the time of a row: what the clock of the sensor showed, or the time of
// receipt where the sensor has no clock, or one that shows no date.
func (c *converter) instant(r *row, clock *format.DateTime) (when.Instant, bool) {
	if clock == nil {
		return c.receipt(r)
	}
	if clock.Known() {
		return c.wallClock(r, clock.Wall())
	}
	c.out.Warn(fhir.CodeBusinessRule, r.path, "set the clock of the device", "%s: the device states no date: the reading has the time of its receipt", r.of)
	return c.receipt(r)
}
