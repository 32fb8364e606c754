package search

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestADateStandsForAllTheTimeThatItsPrecisionLeavesOpen(t *testing.T) {
	for _, c := range []struct{ name, text, low, high string }{
		{"a year", "2024", "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"},
		{"a month", "2024-12", "2024-12-01T00:00:00Z", "2025-01-01T00:00:00Z"},
		{"a day", "2024-02-29", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"},
		{"a minute", "2024-05-11T16:32Z", "2024-05-11T16:32:00Z", "2024-05-11T16:33:00Z"},
		{"a second", "2024-05-11T16:32:15Z", "2024-05-11T16:32:15Z", "2024-05-11T16:32:16Z"},
		{"a millisecond is a point", "2024-05-11T16:32:15.500Z", "2024-05-11T16:32:15.5Z", "2024-05-11T16:32:15.500000001Z"},
		{"nanoseconds are kept", "2024-05-11T16:32:15.123456789Z", "2024-05-11T16:32:15.123456789Z", "2024-05-11T16:32:15.12345679Z"},
		{"further digits are dropped", "2024-05-11T16:32:15.1234567899Z", "2024-05-11T16:32:15.123456789Z", "2024-05-11T16:32:15.12345679Z"},
		{"an offset is applied", "2024-01-01T00:30:00+01:00", "2023-12-31T23:30:00Z", "2023-12-31T23:30:01Z"},
		{"an offset of half hours is applied", "2024-01-01T00:30:00-03:30", "2024-01-01T04:00:00Z", "2024-01-01T04:00:01Z"},
		{"the largest offset is applied", "2024-01-01T14:00:00+14:00", "2024-01-01T00:00:00Z", "2024-01-01T00:00:01Z"},
		{"a time without an offset is UTC", "2024-05-11T16:32:15", "2024-05-11T16:32:15Z", "2024-05-11T16:32:16Z"},
		{"a leap second is the first of the next minute", "2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z", "2017-01-01T00:00:01Z"},
		{"the last year", "9999", "9999-01-01T00:00:00Z", "10000-01-01T00:00:00Z"},
	} {
		low, high, ok := interval([]byte(c.text))
		wantLow, wantHigh := at(t, c.low), at(t, c.high)
		if !ok || !low.Equal(wantLow) || !high.Equal(wantHigh) {
			t.Errorf("%s: interval(%q) = [%v, %v) %v, want [%v, %v)", c.name, c.text, low, high, ok, wantLow, wantHigh)
		}
	}
}

// at reads a time of which the year may have five digits.
func at(t *testing.T, text string) time.Time {
	if text == "10000-01-01T00:00:00Z" {
		return time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	v, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWhatIsNoDateIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                       "",
		"two digits":                    "24",
		"five digits":                   "20244",
		"year zero":                     "0000",
		"the year that means no date":   "0001-01-01T00:00:00Z",
		"month 13":                      "2024-13",
		"month 0":                       "2024-00",
		"the 30th of February":          "2024-02-30",
		"the 29th of no leap year":      "2023-02-29",
		"day 0":                         "2024-02-00",
		"a month of one digit":          "2024-5",
		"a dangling dash":               "2024-",
		"a dangling T":                  "2024-05-11T",
		"an hour alone":                 "2024-05-11T16",
		"an hour with a zone":           "2024-05-11T16Z",
		"hour 24":                       "2024-05-11T24:00:00Z",
		"minute 60":                     "2024-05-11T16:60Z",
		"second 61":                     "2024-05-11T16:32:61Z",
		"a point without digits":        "2024-05-11T16:32:15.Z",
		"an offset over 14 hours":       "2024-05-11T16:32:15+14:01",
		"an offset without a colon":     "2024-05-11T16:32:15+0200",
		"an offset of hours only":       "2024-05-11T16:32:15+02",
		"a lower-case t":                "2024-05-11t16:32:15Z",
		"a lower-case z":                "2024-05-11T16:32:15z",
		"a zone behind a day":           "2024-05-11Z",
		"a blank between date and time": "2024-05-11 16:32:15",
		"something behind":              "2024-05-11T16:32:15Zx",
		"the form of HL7 v2":            "20240511163215",
		"digits of another script":      "２０２４",
	} {
		if low, high, ok := interval([]byte(text)); ok || !low.IsZero() || !high.IsZero() {
			t.Errorf("%s: interval(%q) = [%v, %v) %v, want none", name, text, low, high, ok)
		}
	}
}

func TestIntervalAgreesWithTheTimePackage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := time.FixedZone("", 60*rapid.IntRange(-14*60, 14*60).Draw(t, "offset"))
		want := time.Unix(rapid.Int64Range(-60000000000, 250000000000).Draw(t, "seconds"), 0).In(zone)
		if want.Year() < 2 {
			t.Skip("refused")
		}
		text := want.Format(time.RFC3339)
		low, high, ok := interval([]byte(text))
		if !ok || !low.Equal(want) || high.Sub(low) != time.Second {
			t.Fatalf("interval(%s) = [%v, %v) %v", text, low, high, ok)
		}
	})
}

func TestFinerDatesLieWithinCoarserOnes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "seconds"), 5e8).UTC().Format("2006-01-02T15:04:05.000Z")
		var low, high time.Time
		for _, n := range []int{4, 7, 10, 16, 19, 24} {
			l, h, ok := interval([]byte(text[:n]))
			if !ok || !l.Before(h) {
				t.Fatalf("interval(%s) = [%v, %v) %v", text[:n], l, h, ok)
			}
			if n > 4 && (l.Before(low) || h.After(high)) {
				t.Fatalf("%s is not within what is coarser", text[:n])
			}
			low, high = l, h
		}
	})
}
