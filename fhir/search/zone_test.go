package search

import (
	"bytes"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
)

func TestDatesWithoutAnOffsetAreOfTheZoneOfTheServer(t *testing.T) {
	east, west := time.FixedZone("east", 14*3600), time.FixedZone("west", -12*3600)
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	for _, c := range []struct {
		name   string
		zone   *time.Location
		stored string
		query  string
		want   bool
	}{
		{"a day", berlin, "2024-05-01", "2024-05-01", true},
		{"a day in the east", east, "2024-05-01", "2024-05-01", true},
		{"a day in the west", west, "2024-05-01", "2024-05-01", true},
		{"a day of a month", west, "2024-05-31", "2024-05", true},
		{"a day of another month", east, "2024-05-31", "2024-06", false},
		{"half past midnight is of the day", berlin, "2024-05-01T00:30:00+02:00", "2024-05-01", true},
		{"half past midnight is not of the day before", berlin, "2024-05-01T00:30:00+02:00", "2024-04-30", false},
		{"of the day before in London", time.UTC, "2024-05-01T00:30:00+02:00", "2024-04-30", true},
		{"the first hour of a year", berlin, "2024-01-01T00:00:00+01:00", "2024", true},
		{"summer time", berlin, "2024-07-01T00:30:00+02:00", "ge2024-07-01", true},
		{"the long day at the end of summer time", berlin, "2024-10-27T23:59:59+01:00", "2024-10-27", true},
		{"a time without an offset in the query", berlin, "2024-05-01T10:00:00+02:00", "2024-05-01T10:00", true},
		{"a time without an offset on both sides", berlin, "2024-05-01T10:00:00", "2024-05-01T10:00:00", true},
		{"an offset counts more than the zone", berlin, "2024-05-01T10:00:00+02:00", "2024-05-01T08:00Z", true},
	} {
		p := R4().In(c.zone)
		found, err := p.Extract("Observation", []byte(observation(`"effectiveDateTime":"`+c.stored+`"`)))
		if err != nil {
			t.Fatal(err)
		}
		q, _, err := p.Parse("Observation", []Pair{{"date", c.query}}, Options{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		if got := q.Matches(fhir.Key{Type: "Observation", ID: "o1"}, now, &found); got != c.want {
			t.Errorf("%s: date=%s finds %s: %v", c.name, c.query, c.stored, got)
		}
	}
}

func TestAZoneChangesTheFingerprint(t *testing.T) {
	if bytes.Equal(R4().Fingerprint(), R4().In(time.FixedZone("x", 3600)).Fingerprint()) {
		t.Error("a store would not index anew")
	}
	if !bytes.Equal(R4().Fingerprint(), R4().In(time.UTC).Fingerprint()) {
		t.Error("a store would index anew for nothing")
	}
	with, err := R4().In(time.FixedZone("x", 3600)).With(Custom{Name: "x-issued", Type: DateParam, Bases: []string{"Observation"}, Expression: "Observation.issued"})
	if err != nil || with.at().String() != "x" {
		t.Errorf("%v %v", with, err)
	}
}
