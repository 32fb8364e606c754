package when

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
)

// tick is "wall counter" or "wall counter transmitter".
func tick(t testing.TB, s string) Tick {
	t.Helper()
	var w, of string
	var counter int64
	if n, _ := fmt.Sscan(s, &w, &counter, &of); n < 2 {
		t.Fatalf("%q is no tick", s)
	}
	return Tick{Wall: wall(t, w), Counter: counter, Of: of}
}

// told is a timeline as text: per tick the instant and how it was found, or the error.
func told(l Timeline) []string {
	var out []string
	for n, i := range l.At {
		if l.Err[n] != nil {
			out = append(out, l.Err[n].Error())
			continue
		}
		out = append(out, i.Time.Format(time.RFC3339)+" "+string(i.How))
	}
	for _, c := range l.Changes {
		s := fmt.Sprintf("from %d on %v ahead", c.Tick, c.Ahead)
		if c.Lost {
			s += ", lost"
		}
		out = append(out, s)
	}
	return out
}

func TestFromCounter(t *testing.T) {
	const (
		plain   = " configured-zone"
		counted = " monotonic-counter"
	)
	for _, test := range []struct {
		name, zone string
		ticks      []string
		want       []string
	}{
		{"one reading is resolved by the zone", "Europe/Berlin",
			[]string{"2025-07-01T12:00:00 1000"},
			[]string{"2025-07-01T12:00:00+02:00" + plain}},
		{"one reading in the hour that occurs twice is ambiguous", "Europe/Berlin",
			[]string{"2025-10-26T02:30:00 1000"},
			[]string{ErrAmbiguous.Error()}},
		{"one reading in the hour that does not occur is impossible", "Europe/Berlin",
			[]string{"2025-03-30T02:30:00 1000"},
			[]string{ErrImpossible.Error()}},
		{"one wall time, counters an hour apart: the night in which clocks go back", "Europe/Bucharest",
			[]string{"2020-10-25T03:01:03 4913775", "2020-10-25T03:01:03 4917375"},
			[]string{"2020-10-25T03:01:03+03:00" + counted, "2020-10-25T03:01:03+02:00" + counted}},
		{"the same the other way round", "Europe/Bucharest",
			[]string{"2020-10-25T03:01:03 4917375", "2020-10-25T03:01:03 4913775"},
			[]string{"2020-10-25T03:01:03+02:00" + counted, "2020-10-25T03:01:03+03:00" + counted}},
		{"a night in which clocks go back, from before to after", "Europe/Berlin",
			[]string{"2025-10-26T01:55:00 1000", "2025-10-26T02:55:00 4600", "2025-10-26T02:00:00 4900", "2025-10-26T02:55:00 8200", "2025-10-26T03:00:00 8500"},
			[]string{"2025-10-26T01:55:00+02:00" + plain, "2025-10-26T02:55:00+02:00" + counted, "2025-10-26T02:00:00+01:00" + counted, "2025-10-26T02:55:00+01:00" + counted, "2025-10-26T03:00:00+01:00" + plain}},
		{"only the second of the two hours has readings", "Europe/Berlin",
			[]string{"2025-10-26T01:55:00 1000", "2025-10-26T02:30:00 6700", "2025-10-26T03:30:00 10300"},
			[]string{"2025-10-26T01:55:00+02:00" + plain, "2025-10-26T02:30:00+01:00" + counted, "2025-10-26T03:30:00+01:00" + plain}},
		{"readings of one of the two hours only, and nothing else, stay ambiguous", "Europe/Berlin",
			[]string{"2025-10-26T02:10:00 1000", "2025-10-26T02:20:00 1600", "2025-10-26T02:30:00 2200"},
			[]string{ErrAmbiguous.Error(), ErrAmbiguous.Error(), ErrAmbiguous.Error()}},
		{"clocks go forward", "Europe/Berlin",
			[]string{"2025-03-30T01:55:00 1000", "2025-03-30T03:00:00 1300", "2025-03-30T03:05:00 1600"},
			[]string{"2025-03-30T01:55:00+01:00" + plain, "2025-03-30T03:00:00+02:00" + plain, "2025-03-30T03:05:00+02:00" + plain}},
		{"Lord Howe goes back by half an hour", "Australia/Lord_Howe",
			[]string{"2025-04-06T01:45:00 1000", "2025-04-06T01:45:00 2800", "2025-04-06T02:15:00 4600"},
			[]string{"2025-04-06T01:45:00+11:00" + counted, "2025-04-06T01:45:00+10:30" + counted, "2025-04-06T02:15:00+10:30" + plain}},
		{"a journey west, and back", "Europe/Berlin",
			[]string{"2025-08-01T10:00:00 1000", "2025-08-01T14:00:00 37000", "2025-08-02T12:00:00 116200", "2025-08-03T06:00:00 159400", "2025-08-03T12:00:00 181000"},
			[]string{"2025-08-01T10:00:00+02:00" + plain, "2025-08-01T14:00:00-04:00" + counted, "2025-08-02T12:00:00-04:00" + counted, "2025-08-03T06:00:00+02:00" + plain, "2025-08-03T12:00:00+02:00" + plain,
				"from 1 on -6h0m0s ahead", "from 3 on 0s ahead"}},
		{"a journey east across half an hour", "Europe/Berlin",
			[]string{"2025-08-01T10:00:00 1000", "2025-08-01T23:30:00 37000", "2025-08-02T12:00:00 82000"},
			[]string{"2025-08-01T10:00:00+02:00" + plain, "2025-08-01T23:30:00+05:30" + counted, "2025-08-02T12:00:00+05:30" + counted,
				"from 1 on 3h30m0s ahead"}},
		{"an hour west on a day without summer time change, with a second of jitter on the way back", "Europe/Bucharest",
			[]string{"2025-08-17T23:28:00 1000", "2025-08-17T22:33:00 1300", "2025-09-03T11:00:00 1428520", "2025-09-03T12:05:01 1428820"},
			[]string{"2025-08-17T23:28:00+03:00" + plain, "2025-08-17T22:33:00+02:00" + counted, "2025-09-03T11:00:00+02:00" + counted, "2025-09-03T12:05:01+03:00" + plain,
				"from 1 on -1h0m0s ahead", "from 3 on 0s ahead"}},
		{"a clock that nobody set back keeps its offset after summer time", "Europe/Berlin",
			[]string{"2025-10-25T12:00:00 0", "2025-10-26T12:00:00 86400", "2025-10-27T08:00:00 158400", "2025-10-27T07:05:00 158700"},
			[]string{"2025-10-25T12:00:00+02:00" + plain, "2025-10-26T12:00:00+02:00" + counted, "2025-10-27T08:00:00+02:00" + counted, "2025-10-27T07:05:00+01:00" + plain,
				"from 1 on 1h0m0s ahead", "from 3 on 0s ahead"}},
		{"a clock that nobody set forward shows times that do not exist", "Europe/Berlin",
			[]string{"2025-03-30T01:55:00 1000", "2025-03-30T02:30:00 3100"},
			[]string{"2025-03-30T01:55:00+01:00" + plain, "2025-03-30T02:30:00+01:00" + counted,
				"from 1 on -1h0m0s ahead"}},
		{"who came home before clocks went back began abroad", "Europe/Berlin",
			[]string{"2025-10-20T10:00:00 0", "2025-10-21T10:00:00 86400", "2025-10-22T12:00:00 158400", "2025-10-26T02:55:00 471300", "2025-10-26T02:00:00 471600", "2025-10-26T12:00:00 507600"},
			[]string{"2025-10-20T10:00:00-04:00" + counted, "2025-10-21T10:00:00-04:00" + counted, "2025-10-22T12:00:00+02:00" + plain, "2025-10-26T02:55:00+02:00" + counted, "2025-10-26T02:00:00+01:00" + counted, "2025-10-26T12:00:00+01:00" + plain,
				"from 0 on -6h0m0s ahead", "from 2 on 0s ahead"}},
		{"drift of minutes over weeks is no offset", "Europe/Berlin",
			[]string{"2025-06-01T12:00:00 0", "2025-06-11T12:00:55 864000", "2025-06-21T12:01:50 1728000", "2025-07-01T12:02:45 2592000"},
			[]string{"2025-06-01T12:00:00+02:00" + plain, "2025-06-11T12:00:55+02:00" + plain, "2025-06-21T12:01:50+02:00" + plain, "2025-07-01T12:02:45+02:00" + plain}},
		{"a clock set by hand is no journey", "Europe/Berlin",
			[]string{"2025-06-01T12:00:00 0", "2025-06-01T12:05:00 300", "2025-06-01T12:47:00 600", "2025-06-01T12:52:00 900"},
			[]string{"2025-06-01T12:00:00+02:00" + plain, "2025-06-01T12:05:00+02:00" + plain, "2025-06-01T12:47:00+02:00" + plain, "2025-06-01T12:52:00+02:00" + plain,
				"from 2 on 0s ahead, lost"}},
		{"a counter that began anew is told from a journey", "Europe/Berlin",
			[]string{"2025-06-01T12:00:00 100", "2025-06-01T12:05:00 400", "2025-09-01T12:00:00 100", "2025-09-01T12:05:00 400", "2025-09-01T12:10:00 700"},
			[]string{"2025-06-01T12:00:00+02:00" + plain, "2025-06-01T12:05:00+02:00" + plain, "2025-09-01T12:00:00+02:00" + plain, "2025-09-01T12:05:00+02:00" + plain, "2025-09-01T12:10:00+02:00" + plain}},
		{"one count at two times is no evidence", "Europe/Bucharest",
			[]string{"2020-10-25T02:00:00 1000", "2020-10-25T03:30:00 6400", "2020-10-25T04:30:00 6400"},
			[]string{"2020-10-25T02:00:00+03:00" + plain, ErrAmbiguous.Error(), "2020-10-25T04:30:00+02:00" + plain,
				"from 0 on 0s ahead, lost"}},
		{"a clock that changes at every reading is no evidence", "Europe/Berlin",
			[]string{"2025-06-01T12:00:00 0", "2025-06-01T15:05:00 300", "2025-06-01T12:10:00 600", "2025-06-01T15:15:00 900", "2025-06-01T12:20:00 1200", "2025-06-01T15:25:00 1500"},
			[]string{"2025-06-01T12:00:00+02:00" + plain, "2025-06-01T15:05:00+02:00" + plain, "2025-06-01T12:10:00+02:00" + plain, "2025-06-01T15:15:00+02:00" + plain, "2025-06-01T12:20:00+02:00" + plain, "2025-06-01T15:25:00+02:00" + plain,
				"from 0 on 0s ahead, lost"}},
		{"a date set wrong by two days is no offset of any zone", "Europe/Berlin",
			[]string{"2025-06-01T12:00:00 0", "2025-06-02T11:05:00 300", "2025-06-01T12:10:00 600"},
			[]string{"2025-06-01T12:00:00+02:00" + plain, "2025-06-02T11:05:00+02:00" + plain, "2025-06-01T12:10:00+02:00" + plain,
				"from 0 on 0s ahead, lost"}},
		{"a counter beyond all seconds is no evidence", "Europe/Berlin",
			[]string{"2025-06-01T12:00:00 9223372036854775807", "2025-06-01T12:05:00 -9223372036854775808"},
			[]string{"2025-06-01T12:00:00+02:00" + plain, "2025-06-01T12:05:00+02:00" + plain}},
		{"a second transmitter has its own counter", "Europe/Berlin",
			[]string{"2025-10-26T01:55:00 7000000 A", "2025-10-26T02:10:00 7000900 A", "2025-10-26T02:55:00 300 B", "2025-10-26T02:00:00 600 B", "2025-10-26T03:00:00 4200 B"},
			[]string{"2025-10-26T01:55:00+02:00" + plain, "2025-10-26T02:10:00+02:00" + counted, "2025-10-26T02:55:00+02:00" + counted, "2025-10-26T02:00:00+01:00" + counted, "2025-10-26T03:00:00+01:00" + plain}},
		{"a transmitter changed on a journey finds the clock as it was", "Europe/Berlin",
			[]string{"2025-08-01T10:00:00 1000 A", "2025-08-01T14:00:00 37000 A", "2025-08-02T12:00:00 116200 A", "2025-08-02T14:00:00 50 B", "2025-08-03T14:00:00 86450 B", "2025-08-04T08:00:00 129650 B"},
			[]string{"2025-08-01T10:00:00+02:00" + plain, "2025-08-01T14:00:00-04:00" + counted, "2025-08-02T12:00:00-04:00" + counted, "2025-08-02T14:00:00-04:00" + counted, "2025-08-03T14:00:00-04:00" + counted, "2025-08-04T08:00:00+02:00" + plain,
				"from 1 on -6h0m0s ahead", "from 5 on 0s ahead"}},
		{"a transmitter that begins long after one that was abroad is taken to be at home, and it is told", "Europe/Berlin",
			[]string{"2025-08-01T10:00:00 1000 A", "2025-08-01T14:00:00 37000 A", "2025-08-20T12:00:00 50 B", "2025-08-20T12:05:00 350 B"},
			[]string{"2025-08-01T10:00:00+02:00" + plain, "2025-08-01T14:00:00-04:00" + counted, "2025-08-20T12:00:00+02:00" + plain, "2025-08-20T12:05:00+02:00" + plain,
				"from 1 on -6h0m0s ahead", "from 2 on 0s ahead, lost"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var ticks []Tick
			for _, s := range test.ticks {
				ticks = append(ticks, tick(t, s))
			}
			got := told(FromCounter(ticks, fhir.Second, zone(t, test.zone)))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWithoutAZoneTheCounterAloneDecidesNothing(t *testing.T) {
	l := FromCounter([]Tick{tick(t, "2025-10-26T02:30:00 1000"), tick(t, "2025-10-26T02:30:00 4600")}, fhir.Second, nil)
	for n := range l.At {
		if !errors.Is(l.Err[n], ErrNoZone) || l.At[n].How != Refused {
			t.Errorf("got %+v, %v", l.At[n], l.Err[n])
		}
	}
	if l := FromCounter(nil, fhir.Second, zone(t, "UTC")); len(l.At) != 0 {
		t.Errorf("no ticks: got %+v", l)
	}
}

func TestAnOffsetThatIsTheZonesOwnComesOutInTheZone(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	l := FromCounter([]Tick{tick(t, "2025-10-26T02:30:00 1000"), tick(t, "2025-10-26T02:30:00 4600"), tick(t, "2025-10-26T07:35:00 4900")}, fhir.Second, berlin)
	if l.At[0].Time.Location() != berlin || l.At[1].Time.Location() != berlin || l.At[2].Time.Location() == berlin {
		t.Errorf("got %v", l.At)
	}
}

func TestResolve(t *testing.T) {
	home := []string{"2025-06-01T12:00:00 0", "2025-06-03T12:00:00 172800"}
	west := []string{"2025-08-01T10:00:00 1000", "2025-08-01T14:00:00 37000", "2025-08-02T12:00:00 116200", "2025-08-03T06:00:00 159400", "2025-08-03T12:00:00 181000"}
	landed := []string{"2025-08-01T08:00:00 0", "2025-08-01T10:00:00 7200", "2025-08-01T04:05:00 7500", "2025-08-01T05:00:00 10800"}
	fold := []string{"2025-10-26T01:55:00 0", "2025-10-26T02:55:00 3600", "2025-10-26T02:00:00 3900", "2025-10-26T03:00:00 7500"}
	for _, test := range []struct {
		name  string
		ticks []string
		wall  string
		want  string
	}{
		{"with no counter at all the zone decides", nil, "2025-06-01T12:00:00", "2025-06-01T12:00:00+02:00 configured-zone"},
		{"between readings at home the zone decides", home, "2025-06-02T12:00:00", "2025-06-02T12:00:00+02:00 configured-zone"},
		{"before readings at home the zone decides", home, "2025-02-02T12:00:00", "2025-02-02T12:00:00+01:00 configured-zone"},
		{"after readings at home the zone decides", home, "2025-12-02T12:00:00", "2025-12-02T12:00:00+01:00 configured-zone"},
		{"after readings at home the hour that occurs twice is ambiguous", home, "2025-10-26T02:30:00", ErrAmbiguous.Error()},
		{"after readings at home the hour that does not occur is impossible", home, "2026-03-29T02:30:00", ErrImpossible.Error()},
		{"a meal on a journey has the offset of the readings around it", west, "2025-08-02T08:00:00", "2025-08-02T08:00:00-04:00 monotonic-counter"},
		{"a meal before a journey is at home", west, "2025-07-31T08:00:00", "2025-07-31T08:00:00+02:00 configured-zone"},
		{"a meal after a journey is at home", west, "2025-08-03T13:00:00", "2025-08-03T13:00:00+02:00 configured-zone"},
		{"a meal on the flight may have been eaten at either offset", west, "2025-08-01T13:00:00", ErrAmbiguous.Error()},
		{"a meal as late as only one of the offsets allows", west, "2025-08-01T20:30:00", "2025-08-01T20:30:00-04:00 monotonic-counter"},
		{"the clock showed this time twice", fold, "2025-10-26T02:30:00", ErrAmbiguous.Error()},
		{"no reading covers the second of the two hours", fold[:2], "2025-10-26T02:30:00", ErrAmbiguous.Error()},
		{"a time shown at home may come again abroad", landed, "2025-08-01T09:30:00", ErrAmbiguous.Error()},
		{"after the last reading abroad nothing is known", west[:3], "2025-08-05T12:00:00", ErrAway.Error()},
		{"a time never shown, because the clock went forward on the way home", west, "2025-08-03T05:59:00", "2025-08-03T05:59:00+02:00 configured-zone"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var ticks []Tick
			for _, s := range test.ticks {
				ticks = append(ticks, tick(t, s))
			}
			l := FromCounter(ticks, fhir.Second, zone(t, "Europe/Berlin"))
			i, err := l.Resolve(wall(t, test.wall), fhir.Second)
			got := ""
			if err != nil {
				got = err.Error()
				if Fix(err) == "" {
					t.Errorf("%v has no fix", err)
				}
			} else {
				got = i.Time.Format(time.RFC3339) + " " + string(i.How)
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
	restless := &Timeline{zone: time.UTC, spans: make([]span, maxSpans+1)}
	if _, err := restless.Resolve(wall(t, "2025-06-01T12:00:00"), fhir.Second); !errors.Is(err, ErrAway) {
		t.Errorf("with more offsets than anybody has: got %v", err)
	}
	if _, err := (&Timeline{}).Resolve(wall(t, "2025-06-01T12:00:00"), fhir.Second); !errors.Is(err, ErrNoZone) {
		t.Errorf("without a zone: got %v", err)
	}
}

// simulated is a wearer who lives in a zone, travels and comes home, with a sensor that
// drifts and is changed now and then.
type simulated struct {
	ticks []Tick
	truth []time.Time // instants on the wearer's phone, with the offset it showed
	zone  *time.Location
}

func simulate(t *rapid.T) simulated {
	name := rapid.SampledFrom([]string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Europe/Dublin", "America/Santiago", "Pacific/Chatham"}).Draw(t, "zone")
	z, err := ParseZone(name)
	if err != nil {
		t.Fatal(err)
	}
	s := simulated{zone: z}
	start := time.Date(2025, time.Month(rapid.IntRange(1, 12).Draw(t, "month")), rapid.IntRange(1, 28).Draw(t, "day"), rapid.IntRange(0, 23).Draw(t, "hour"), 7, 0, 0, time.UTC)
	days := rapid.IntRange(2, 30).Draw(t, "days")
	end := start.AddDate(0, 0, days)

	// One journey, not within two days of a clock change at home, at a fixed offset.
	var away *time.Location
	leaves, returns := end, end
	if days > 8 && rapid.Bool().Draw(t, "travels") {
		leaves = start.Add(time.Duration(rapid.IntRange(24, (days-6)*24).Draw(t, "leaves")) * time.Hour)
		returns = leaves.Add(time.Duration(rapid.IntRange(24, 96).Draw(t, "for")) * time.Hour)
		_, home := leaves.In(z).Zone()
		offset := rapid.IntRange(-48, 56).Draw(t, "offset") * quarter
		quiet := offset != home
		for _, at := range []time.Time{leaves, returns} {
			_, before := at.Add(-48 * time.Hour).In(z).Zone()
			_, after := at.Add(48 * time.Hour).In(z).Zone()
			quiet = quiet && before == after
		}
		_, later := returns.In(z).Zone()
		if quiet && later == home {
			away = time.FixedZone("", offset)
		}
	}
	ppm := rapid.IntRange(-40, 40).Draw(t, "drift")
	lasts := time.Duration(rapid.IntRange(4, 60).Draw(t, "sensor days")) * 24 * time.Hour
	sensor, began := 0, start
	for at := start; at.Before(end); at = at.Add(10 * time.Minute) {
		// What happens to the clock while no counter runs cannot be known.
		if at.Sub(began) > lasts && at.Sub(leaves).Abs() > 6*time.Hour && at.Sub(returns).Abs() > 6*time.Hour {
			sensor++
			at = at.Add(2 * time.Hour) // it warms up
			began = at
		}
		on := z
		if away != nil && !at.Before(leaves) && at.Before(returns) {
			on = away
		}
		shown := at.Add(time.Duration(at.Unix()/600%5-2) * time.Second).In(on)
		s.truth = append(s.truth, shown)
		run := at.Sub(began) / time.Second
		s.ticks = append(s.ticks, Tick{Wall: wallOf(shown), Counter: int64(run) + int64(run)*int64(ppm)/1_000_000, Of: fmt.Sprint("T", sensor)})
	}
	return s
}

func wallOf(t time.Time) time.Time {
	y, mo, d := t.Date()
	h, mi, sec := t.Clock()
	return time.Date(y, mo, d, h, mi, sec, 0, time.UTC)
}

func TestTheTrueInstantsOfAWearerAreRecovered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := simulate(t)
		seed := rapid.Uint64().Draw(t, "order")
		order := rand.New(rand.NewPCG(seed, seed)).Perm(len(s.ticks))
		shuffled := make([]Tick, len(order))
		for n, from := range order {
			shuffled[n] = s.ticks[from]
		}
		l := FromCounter(shuffled, fhir.Second, s.zone)
		for n, from := range order {
			want := s.truth[from]
			if l.Err[n] != nil {
				t.Fatalf("%s (%s): %v\n%v", want.Format(time.RFC3339), shuffled[n].Of, l.Err[n], l.Changes)
			}
			got := l.At[n].Time
			if !got.Equal(want) || got.Format("-07:00") != want.Format("-07:00") {
				t.Fatalf("got %s, want %s\n%v", got.Format(time.RFC3339), want.Format(time.RFC3339), l.Changes)
			}
			if l.At[n].How == ConfiguredZone {
				if alone, err := InZone(shuffled[n].Wall, fhir.Second, s.zone); err != nil || !alone.Time.Equal(got) {
					t.Fatalf("%s is said to be the zone's own, which is %v, %v", got, alone, err)
				}
			}
		}
	})
}

func TestInstantsRiseWithTheCounter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Any walls and counters at all, few enough to collide.
		ticks := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Tick {
			minutes := rapid.IntRange(0, 3*24*60).Draw(t, "wall")
			return Tick{
				Wall:    time.Date(2025, 10, 25, 0, minutes, 0, 0, time.UTC),
				Counter: int64(minutes)*60 + int64(rapid.SampledFrom([]int{0, 0, 0, 3600, -3600, 900, 7 * 3600, 2000, 1 << 20}).Draw(t, "off")),
				Of:      rapid.SampledFrom([]string{"A", "A", "B"}).Draw(t, "of"),
			}
		}), 0, 40).Draw(t, "ticks")
		z, err := ParseZone("Europe/Berlin")
		if err != nil {
			t.Fatal(err)
		}
		l := FromCounter(ticks, fhir.Second, z)
		lost := map[int]bool{}
		for _, c := range l.Changes {
			lost[c.Tick] = c.Lost
		}
		byCounter := map[string][]int{}
		for n, tick := range ticks {
			if l.Err[n] == nil && wallOf(l.At[n].Time) != tick.Wall {
				t.Fatalf("the wall clock showed %s, not %s", tick.Wall, l.At[n].Time)
			}
			byCounter[tick.Of] = append(byCounter[tick.Of], n)
		}
		for _, list := range byCounter {
			if slices.ContainsFunc(list, func(n int) bool { return lost[n] || l.Err[n] != nil }) {
				continue
			}
			slices.SortFunc(list, func(a, b int) int { return l.At[a].Time.Compare(l.At[b].Time) })
			for k := 1; k < len(list); k++ {
				if ticks[list[k]].Counter < ticks[list[k-1]].Counter-smallest-drift && ticks[list[k-1]].Counter-ticks[list[k]].Counter < 1<<19 {
					t.Fatalf("%+v comes after %+v", ticks[list[k]], ticks[list[k-1]])
				}
			}
		}
	})
}

func BenchmarkFromCounter(b *testing.B) {
	z := zone(b, "Europe/Berlin")
	var ticks []Tick
	for n := range 26_000 { // ninety days
		at := time.Date(2025, 9, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * 5 * time.Minute)
		ticks = append(ticks, Tick{Wall: wallOf(at.In(z)), Counter: int64(n) * 300, Of: "A"})
	}
	b.ReportAllocs()
	for b.Loop() {
		if l := FromCounter(ticks, fhir.Second, z); len(l.Changes) != 0 {
			b.Fatal(strings.Join(told(l), "\n"))
		}
	}
	b.ReportMetric(float64(len(ticks))*float64(b.N)/b.Elapsed().Seconds(), "ticks/s")
}
