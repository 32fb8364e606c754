package when

import (
	"errors"
	"slices"
	"testing"
	"time"
	_ "time/tzdata" // the tests do not depend on the zones of the machine

	"github.com/kiln-health/kiln/fhir"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := ParseZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// wall is a time without offset.
func wall(t testing.TB, s string) time.Time {
	t.Helper()
	w, err := time.Parse("2006-01-02T15:04:05", s)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func rfc3339(list []time.Time) []string {
	var out []string
	for _, t := range list {
		out = append(out, t.Format(time.RFC3339))
	}
	return out
}

func TestCandidates(t *testing.T) {
	for _, test := range []struct {
		name, zone, wall string
		want             []string
	}{
		{"an ordinary summer day", "Europe/Berlin", "2025-07-01T12:00:00", []string{"2025-07-01T12:00:00+02:00"}},
		{"an ordinary winter day", "Europe/Berlin", "2025-01-01T12:00:00", []string{"2025-01-01T12:00:00+01:00"}},
		{"the last second before clocks go forward", "Europe/Berlin", "2025-03-30T01:59:59", []string{"2025-03-30T01:59:59+01:00"}},
		{"the first second that does not exist", "Europe/Berlin", "2025-03-30T02:00:00", nil},
		{"the last second that does not exist", "Europe/Berlin", "2025-03-30T02:59:59", nil},
		{"the first second of summer time", "Europe/Berlin", "2025-03-30T03:00:00", []string{"2025-03-30T03:00:00+02:00"}},
		{"the last second before the hour that occurs twice", "Europe/Berlin", "2025-10-26T01:59:59", []string{"2025-10-26T01:59:59+02:00"}},
		{"the first second that occurs twice", "Europe/Berlin", "2025-10-26T02:00:00", []string{"2025-10-26T02:00:00+02:00", "2025-10-26T02:00:00+01:00"}},
		{"the last second that occurs twice", "Europe/Berlin", "2025-10-26T02:59:59", []string{"2025-10-26T02:59:59+02:00", "2025-10-26T02:59:59+01:00"}},
		{"the first second after it", "Europe/Berlin", "2025-10-26T03:00:00", []string{"2025-10-26T03:00:00+01:00"}},
		{"Bucharest turns at four", "Europe/Bucharest", "2020-10-25T03:01:03", []string{"2020-10-25T03:01:03+03:00", "2020-10-25T03:01:03+02:00"}},
		{"New York falls back", "America/New_York", "2025-11-02T01:30:00", []string{"2025-11-02T01:30:00-04:00", "2025-11-02T01:30:00-05:00"}},
		{"New York springs forward", "America/New_York", "2025-03-09T02:30:00", nil},
		{"Lord Howe falls back by half an hour: before", "Australia/Lord_Howe", "2025-04-06T01:29:59", []string{"2025-04-06T01:29:59+11:00"}},
		{"Lord Howe falls back by half an hour: twice", "Australia/Lord_Howe", "2025-04-06T01:30:00", []string{"2025-04-06T01:30:00+11:00", "2025-04-06T01:30:00+10:30"}},
		{"Lord Howe falls back by half an hour: after", "Australia/Lord_Howe", "2025-04-06T02:00:00", []string{"2025-04-06T02:00:00+10:30"}},
		{"Lord Howe springs forward by half an hour: never", "Australia/Lord_Howe", "2025-10-05T02:15:00", nil},
		{"Lord Howe springs forward by half an hour: after", "Australia/Lord_Howe", "2025-10-05T02:30:00", []string{"2025-10-05T02:30:00+11:00"}},
		{"Troll station turns by two hours", "Antarctica/Troll", "2025-10-26T02:30:00", []string{"2025-10-26T02:30:00+02:00", "2025-10-26T02:30:00Z"}},
		{"Samoa left out a whole day", "Pacific/Apia", "2011-12-30T12:00:00", nil},
		{"Samoa, the day before", "Pacific/Apia", "2011-12-29T23:59:59", []string{"2011-12-29T23:59:59-10:00"}},
		{"Samoa, the day after", "Pacific/Apia", "2011-12-31T00:00:00", []string{"2011-12-31T00:00:00+14:00"}},
		{"Kwajalein left out a day too", "Pacific/Kwajalein", "1993-08-21T12:00:00", nil},
		{"Moscow fell back for good, without summer time", "Europe/Moscow", "2014-10-26T01:30:00", []string{"2014-10-26T01:30:00+04:00", "2014-10-26T01:30:00+03:00"}},
		{"Caracas went half an hour forward", "America/Caracas", "2016-05-01T02:45:00", nil},
		{"Turkey stayed in summer time", "Europe/Istanbul", "2016-10-30T03:30:00", []string{"2016-10-30T03:30:00+03:00"}},
		{"Casablanca sets clocks back for Ramadan", "Africa/Casablanca", "2025-02-23T02:30:00", []string{"2025-02-23T02:30:00+01:00", "2025-02-23T02:30:00Z"}},
		{"Ireland, where winter is the exception", "Europe/Dublin", "2025-10-26T01:30:00", []string{"2025-10-26T01:30:00+01:00", "2025-10-26T01:30:00Z"}},
		{"Kathmandu before it moved by a quarter of an hour", "Asia/Kathmandu", "1985-12-31T23:59:59", []string{"1985-12-31T23:59:59+05:30"}},
		{"Kathmandu while it moved", "Asia/Kathmandu", "1986-01-01T00:05:00", nil},
		{"double summer time in the war", "Europe/London", "1941-07-01T12:00:00", []string{"1941-07-01T12:00:00+02:00"}},
		{"a fixed offset knows no summer time", "+02:00", "2025-03-30T02:30:00", []string{"2025-03-30T02:30:00+02:00"}},
		{"a fixed offset west of Greenwich", "-09:30", "2025-11-02T01:30:00", []string{"2025-11-02T01:30:00-09:30"}},
		{"UTC", "UTC", "2025-10-26T02:30:00", []string{"2025-10-26T02:30:00Z"}},
		{"the easternmost offset", "Pacific/Kiritimati", "2025-01-01T00:00:00", []string{"2025-01-01T00:00:00+14:00"}},
		{"the last day of a leap year to come", "Europe/Berlin", "2040-12-31T12:00:00", []string{"2040-12-31T12:00:00+01:00"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := rfc3339(Candidates(wall(t, test.wall), zone(t, test.zone))); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// TestCandidatesAreTheInstantsThatShowTheWallTime goes the other way round: every instant
// of a year is a candidate of the wall time it shows.
func TestCandidatesAreTheInstantsThatShowTheWallTime(t *testing.T) {
	for _, name := range []string{"Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Gaza", "Africa/Cairo", "America/Scoresbysund", "Pacific/Apia", "Antarctica/Troll", "Asia/Pyongyang"} {
		z := zone(t, name)
		shown := map[string][]time.Time{}
		for at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() < 2025; at = at.Add(15 * time.Minute) {
			w := at.In(z).Format("2006-01-02T15:04:05")
			shown[w] = append(shown[w], at)
		}
		for w, want := range shown {
			got := Candidates(wall(t, w), z)
			if len(want) != len(got) || !slices.EqualFunc(got, want, time.Time.Equal) {
				if w > "2024-01-02" && w < "2024-12-31" {
					t.Errorf("%s: %s: got %v, want %v", name, w, got, want)
				}
			}
		}
	}
}

func TestTheLocationOfAWallTimeDoesNotCount(t *testing.T) {
	tokyo := zone(t, "Asia/Tokyo")
	w := time.Date(2025, 7, 1, 12, 0, 0, 500, tokyo)
	got := Candidates(w, zone(t, "Europe/Berlin"))
	if len(got) != 1 || got[0].Format(time.RFC3339Nano) != "2025-07-01T12:00:00.0000005+02:00" {
		t.Errorf("got %v", got)
	}
}

func TestInZone(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	for _, test := range []struct {
		name, wall string
		zone       *time.Location
		want       string
		err        error
	}{
		{"one instant", "2025-07-01T12:00:00", berlin, "2025-07-01T12:00:00+02:00", nil},
		{"no zone", "2025-07-01T12:00:00", nil, "", ErrNoZone},
		{"twice", "2025-10-26T02:30:00", berlin, "", ErrAmbiguous},
		{"never", "2025-03-30T02:30:00", berlin, "", ErrImpossible},
	} {
		t.Run(test.name, func(t *testing.T) {
			i, err := InZone(wall(t, test.wall), fhir.Second, test.zone)
			if !errors.Is(err, test.err) {
				t.Fatalf("got %v, want %v", err, test.err)
			}
			if err != nil {
				if i.How != Refused || !i.Time.IsZero() || Fix(err) == "" {
					t.Errorf("got %+v, fix %q", i, Fix(err))
				}
				return
			}
			if i.Time.Format(time.RFC3339) != test.want || i.How != ConfiguredZone || i.Precision != fhir.Second {
				t.Errorf("got %+v", i)
			}
		})
	}
}

func TestTheOutcomeIsRecordedUnlessThePayloadWroteTheOffset(t *testing.T) {
	at := time.Date(2025, 7, 1, 12, 0, 0, 0, time.FixedZone("", 7200))
	d := Instant{at, fhir.Second, ConfiguredZone}.DateTime()
	if len(d.Extension) != 1 || d.Extension[0].GetUrl().GetValue() != Extension || d.Extension[0].GetValue().GetCode().GetValue() != "configured-zone" {
		t.Errorf("got %v", d)
	}
	if d := (Instant{at, fhir.Second, ExplicitOffset}).DateTime(); len(d.Extension) != 0 || d.GetTimezone() != "+02:00" {
		t.Errorf("got %v", d)
	}
}

func TestTheKeyIsTheInstantWhateverItsOffset(t *testing.T) {
	at := time.Date(2025, 7, 1, 12, 0, 0, 0, time.FixedZone("", 7200))
	if got := (Instant{Time: at}).Key(); got != "2025-07-01T10:00:00Z" || got != (Instant{Time: at.UTC()}).Key() {
		t.Errorf("got %s", got)
	}
}

func TestEpoch(t *testing.T) {
	at := time.Unix(1_750_000_000, 0)
	if i := Epoch(at, fhir.Second, nil); i.Time.Location() != time.UTC || !i.Time.Equal(at) || i.How != UTCEpoch {
		t.Errorf("got %+v", i)
	}
	if i := Epoch(at, fhir.Second, zone(t, "Asia/Kathmandu")); i.Time.Format(time.RFC3339) != "2025-06-15T20:51:40+05:45" {
		t.Errorf("got %s", i.Time.Format(time.RFC3339))
	}
}

func TestPlausible(t *testing.T) {
	received := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name, at string
		want     bool
	}{
		{"yesterday", "2026-05-31T12:00:00Z", true},
		{"twenty years ago", "2006-05-31T12:00:00Z", true},
		{"just within a day ahead", "2026-06-02T12:00:00Z", true},
		{"more than a day ahead", "2026-06-02T12:00:01Z", false},
		{"the Unix epoch", "1970-01-01T00:00:00Z", false},
		{"the epoch of FIT", "1989-12-31T00:00:00Z", false},
		{"the last second of 1999", "1999-12-31T23:59:59Z", false},
		{"the first day of 2000, where clocks start", "2000-01-01T13:30:00+02:00", false},
		{"the second day of 2000", "2000-01-02T00:00:00Z", true},
		{"Gagarin's flight", "1961-04-12T06:07:00Z", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			at, err := time.Parse(time.RFC3339, test.at)
			if err != nil {
				t.Fatal(err)
			}
			if err := (Instant{Time: at}).Plausible(received); (err == nil) != test.want {
				t.Errorf("got %v", err)
			}
		})
	}
	if err := (Instant{Time: received.AddDate(100, 0, 0)}).Plausible(time.Time{}); err != nil {
		t.Errorf("nothing is known of when the payload came: %v", err)
	}
}

func TestParseZone(t *testing.T) {
	for name, want := range map[string]string{
		"Europe/Berlin": "+02:00", "UTC": "+00:00", "+02:00": "+02:00", "-09:30": "-09:30", "+14:00": "+14:00", "-12:00": "-12:00", "Asia/Kolkata": "+05:30",
		"": "", "Local": "", "+15:00": "", "-13:00": "", "+25:00": "", "+02:60": "", "+ab:cd": "", "Europe/Atlantis": "", "../Europe/Berlin": "", "+02": "",
	} {
		z, err := ParseZone(name)
		if want == "" {
			if err == nil {
				t.Errorf("%q is taken for %s", name, z)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if got := time.Date(2025, 7, 1, 0, 0, 0, 0, z).Format("-07:00"); got != want {
			t.Errorf("%q in July is %s, want %s", name, got, want)
		}
	}
}
