// Package when decides at which instant a reading was taken. It is the one place of
// this program that turns a device clock into a FHIR dateTime, and it records how.
//
// A device clock mostly tells no offset. The server's own zone is never used to fill
// it in: what the payload, a counter or the site's configuration cannot decide is
// refused, and the reading goes to quarantine instead of an hour off.
package when

import (
	"errors"
	"fmt"
	"time"

	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"

	"github.com/kiln-health/kiln/fhir"
)

// Outcome tells how the offset of an instant was found.
type Outcome string

// The outcomes. All but ExplicitOffset are recorded with the time (Extension).
const (
	ExplicitOffset   Outcome = "explicit-offset"   // written with the time itself
	ExplicitZone     Outcome = "explicit-zone"     // the payload names zone or offset elsewhere
	UTCEpoch         Outcome = "utc-epoch"         // seconds since an epoch in UTC
	PairedUTCLocal   Outcome = "paired-utc-local"  // the payload gives UTC and local time
	MonotonicCounter Outcome = "monotonic-counter" // a device counter shows what the wall clock hides
	ConfiguredZone   Outcome = "configured-zone"   // the site states the zone of the device
	Received         Outcome = "received"          // the format has no time; the sender is the clock
	Refused          Outcome = "refused"           // not to be decided: there is no instant
)

// Extension is the URL of the extension on a dateTime that holds the Outcome as a code.
const Extension = fhir.Namespace + "StructureDefinition/time-resolution"

// Instant is a resolved time. Time is in the offset that it is to be shown with.
type Instant struct {
	Time      time.Time
	Precision fhir.Precision
	How       Outcome
}

// DateTime is the instant for a resource, with the outcome recorded unless the payload
// wrote the offset beside the time.
func (i Instant) DateTime() *dtpb.DateTime {
	d := fhir.DateTime(i.Time, i.Precision)
	if i.How != ExplicitOffset {
		d.Extension = []*dtpb.Extension{fhir.CodeExtension(Extension, string(i.How))}
	}
	return d
}

// Key is the instant for use in Reading.Same: the instant in UTC, without the offset,
// so that a zone configured later does not make a second reading of the first where
// the instant is the same.
func (i Instant) Key() string { return i.Time.UTC().Format(time.RFC3339Nano) }

// Why a wall time has no one instant.
var (
	ErrNoZone     = errors.New("the time has no offset and the zone of the device is not known")
	ErrAmbiguous  = errors.New("the time occurs twice, because clocks were set back, and nothing tells which is meant")
	ErrImpossible = errors.New("the time does not exist in the zone of the device, because clocks were set forward")
)

// What tells a user how to mend these errors.
const (
	FixNoZone     = "state the zone of the device: zone in the source's configuration, ?zone=Europe/Berlin, or --zone Europe/Berlin"
	FixAmbiguous  = "write the offset beside the time in the payload, then replay it"
	FixImpossible = "check the configured zone of the device, or correct the time in the payload, then replay it"
)

// Fix tells a user how to mend an error of this package, "" for any other.
func Fix(err error) string {
	switch {
	case errors.Is(err, ErrNoZone):
		return FixNoZone
	case errors.Is(err, ErrAmbiguous), errors.Is(err, ErrAway):
		return FixAmbiguous
	case errors.Is(err, ErrImpossible):
		return FixImpossible
	}
	return ""
}

// Offsets of the zones there are, in seconds: as far as a FHIR dateTime can tell them.
const (
	minOffset = -12 * 60 * 60
	maxOffset = +14 * 60 * 60
)

// Candidates are the instants at which a clock in zone shows wall: none in the gap of
// a clock set forward, two, earlier first, in the fold of one set back. Of wall only
// the calendar fields count, its own location does not.
func Candidates(wall time.Time, zone *time.Location) []time.Time {
	y, mo, d := wall.Date()
	h, mi, s := wall.Clock()
	asUTC := time.Date(y, mo, d, h, mi, s, wall.Nanosecond(), time.UTC)
	var found []time.Time
	// An offset in force at the instant sought is in force 26 hours before or after the
	// wall time read as UTC, unless a zone changes twice within that time; none ever did.
	for _, probe := range []time.Duration{-26 * time.Hour, 26 * time.Hour} {
		_, offset := asUTC.Add(probe).In(zone).Zone()
		t := asUTC.Add(-time.Duration(offset) * time.Second).In(zone)
		if _, is := t.Zone(); is == offset && (len(found) == 0 || !found[0].Equal(t)) {
			found = append(found, t)
		}
	}
	if len(found) == 2 && found[1].Before(found[0]) {
		found[0], found[1] = found[1], found[0]
	}
	return found
}

// InZone resolves a wall time with the zone that the site configured. A nil zone is
// ErrNoZone; the hour that occurs twice is ErrAmbiguous, the one that does not occur
// ErrImpossible.
func InZone(wall time.Time, p fhir.Precision, zone *time.Location) (Instant, error) {
	if zone == nil {
		return Instant{How: Refused}, ErrNoZone
	}
	switch c := Candidates(wall, zone); len(c) {
	case 0:
		return Instant{How: Refused}, ErrImpossible
	case 1:
		return Instant{c[0], p, ConfiguredZone}, nil
	default:
		return Instant{How: Refused}, ErrAmbiguous
	}
}

// Epoch is an instant counted in UTC, shown in the zone of the device if that is known.
func Epoch(t time.Time, p fhir.Precision, zone *time.Location) Instant {
	if zone == nil {
		zone = time.UTC
	}
	return Instant{t.In(zone), p, UTCEpoch}
}

// Plausible reports a time that shows a clock which is not set: before 2000, on the
// first day of 2000, or more than a day after the payload came in. Such a reading must
// not be published at that time.
func (i Instant) Plausible(received time.Time) error {
	t := i.Time
	switch y, m, d := t.Date(); {
	case y < 2000:
		return fmt.Errorf("the year is %d: the clock of the device is not set", y)
	case y == 2000 && m == time.January && d == 1:
		return errors.New("the date is 2000-01-01: the clock of the device is not set")
	case !received.IsZero() && t.After(received.Add(24*time.Hour)):
		return errors.New("the time lies more than a day after the payload was received: the clock of the device is wrong")
	}
	return nil
}

// FixClock tells a user how to mend an implausible time.
const FixClock = "set the clock of the device; correct the times in the payload, then replay it"

// ParseZone loads a zone by its IANA name (Europe/Berlin) or takes a fixed offset
// (+02:00). "Local" is refused: it would mean the zone of the server.
func ParseZone(name string) (*time.Location, error) {
	if len(name) == 6 && (name[0] == '+' || name[0] == '-') {
		t, err := time.Parse("-07:00", name)
		_, offset := t.Zone()
		if err != nil || name[4] > '5' || offset < minOffset || offset > maxOffset {
			return nil, fmt.Errorf("%q is no offset; want ±hh:mm, from -12:00 to +14:00", name)
		}
		return time.FixedZone(name, offset), nil
	}
	if name == "" || name == "Local" {
		return nil, errors.New("a zone must be named; want an IANA name such as Europe/Berlin, or an offset such as +02:00")
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%q is no zone; want an IANA name such as Europe/Berlin, or an offset such as +02:00", name)
	}
	return zone, nil
}
