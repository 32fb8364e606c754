package hl7v2

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestTimes(t *testing.T) {
	for _, c := range []struct {
		text, want string
		precision  Precision
		offset     bool
	}{
		{"2026", "2026-01-01T00:00:00Z", Year, false},
		{"202602", "2026-02-01T00:00:00Z", Month, false},
		{"20260228", "2026-02-28T00:00:00Z", Day, false},
		{"20240229", "2024-02-29T00:00:00Z", Day, false},
		{"2026022813", "2026-02-28T13:00:00Z", Hour, false},
		{"202602281305", "2026-02-28T13:05:00Z", Minute, false},
		{"20260228130509", "2026-02-28T13:05:09Z", Second, false},
		{"20260228130509.5", "2026-02-28T13:05:09.5Z", Millisecond, false},
		{"20260228130509.050", "2026-02-28T13:05:09.05Z", Millisecond, false},
		{"20260228130509.1234", "2026-02-28T13:05:09.1234Z", Microsecond, false},
		{"20260228130509.123456", "2026-02-28T13:05:09.123456Z", Microsecond, false},
		{"20260228130509+0100", "2026-02-28T13:05:09+01:00", Second, true},
		{"20260228130509.12-0330", "2026-02-28T13:05:09.12-03:30", Millisecond, true},
		{"20260228130509+0000", "2026-02-28T13:05:09+00:00", Second, true},
		{"20260228+1400", "2026-02-28T00:00:00+14:00", Day, true},
		{"20260228235959-0000", "2026-02-28T23:59:59+00:00", Second, true},
	} {
		got, err := ParseTime(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		want, err := time.Parse(time.RFC3339Nano, c.want)
		if err != nil {
			t.Fatal(err)
		}
		_, gotOffset := got.Wall.Zone()
		_, wantOffset := want.Zone()
		if !got.Wall.Equal(want) || gotOffset != wantOffset || got.Precision != c.precision || got.HasOffset != c.offset {
			t.Errorf("%s: got %v, precision %d, offset written %v", c.text, got.Wall, got.Precision, got.HasOffset)
		}
	}
}

func TestTimesThatAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "26", "202", "20261", "00000101", "20261301", "20260001", "20260230", "20230229", "20260100", "20260132",
		"2026010124", "202601012360", "20260101235960", "20260101120000.", "20260101120000.1234567", "20260101120000,5",
		"20260101120000Z", "20260101120000+01", "20260101120000+01:00", "20260101120000+1430", "20260101120000+0160",
		"20260101120000+", "+0100", "2026-01-01", "20260101T120000", " 20260101", "19100000000000+0000", "٢٠٢٦",
	} {
		if got, err := ParseTime(text); err == nil {
			t.Errorf("%q was read as %v", text, got.Wall)
		} else if text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("the error quotes the payload: %v", err)
		}
	}
}

func TestClocks(t *testing.T) {
	for _, c := range []struct {
		text      string
		want      time.Duration
		precision Precision
	}{
		{"13", 13 * time.Hour, Hour},
		{"1305", 13*time.Hour + 5*time.Minute, Minute},
		{"130509", 13*time.Hour + 5*time.Minute + 9*time.Second, Second},
		{"130509.25", 13*time.Hour + 5*time.Minute + 9*time.Second + 250*time.Millisecond, Millisecond},
	} {
		if got, p, err := ParseClock(c.text); err != nil || got != c.want || p != c.precision {
			t.Errorf("%s: got %v, %d, %v", c.text, got, p, err)
		}
	}
	for _, text := range []string{"", "1", "24", "1260", "13:05", "130509+0100", "130509."} {
		if _, _, err := ParseClock(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

func TestEveryWrittenTimeIsReadBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		offset := rapid.IntRange(-12*60, 14*60).Draw(rt, "offset") * 60
		seconds := rapid.Int64Range(-62135500000, 253402200000).Draw(rt, "seconds")
		want := time.Unix(seconds, rapid.Int64Range(0, 999_999).Draw(rt, "microseconds")*1000).In(time.FixedZone("", offset))
		if want.Year() < 1 || want.Year() > 9999 {
			return
		}
		got, err := ParseTime(want.Format("20060102150405.000000-0700"))
		if err != nil {
			rt.Fatal(err)
		}
		if !got.Wall.Equal(want) || got.Wall.Format(time.RFC3339Nano) != want.Format(time.RFC3339Nano) {
			rt.Errorf("got %v, want %v", got.Wall, want)
		}
	})
}

func FuzzParseTime(f *testing.F) {
	f.Add("20260228130509.1234+0100")
	f.Add("202613")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseTime(text)
		if err == nil && (got.Wall.Year() < 1 || got.Wall.Year() > 9999) {
			t.Fatalf("year %d", got.Wall.Year())
		}
	})
}
