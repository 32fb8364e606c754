package embedded

import (
	"bytes"
	"cmp"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/apd/v3"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

func drawTime(t *rapid.T, label string) time.Time {
	// From the zero time, which is no date, to the end of the year 10000.
	seconds := rapid.OneOf(rapid.Int64Range(-year1, 253433923199), rapid.SampledFrom([]int64{-year1, -1, 0, 1})).Draw(t, label+" seconds")
	nanos := rapid.SampledFrom([]int64{0, 1, 999999999, 500}).Draw(t, label+" nanoseconds")
	return time.Unix(seconds, nanos).UTC()
}

func TestDatesInKeysAreNewestFirstToTheNanosecond(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawTime(t, "a"), drawTime(t, "b")
		ka, kb := appendDate(nil, a), appendDate(nil, b)
		if got, want := bytes.Compare(ka, kb), b.Compare(a); got != want {
			t.Fatalf("%v and %v compare %d, want %d", a, b, got, want)
		}
		if got := dateOf(ka); len(ka) != dateLen || !got.Equal(a) {
			t.Fatalf("got %v back, want %v", got, a)
		}
	})
	if got := appendDate(nil, time.Time{}); !bytes.Equal(got, bytes.Repeat([]byte{0xff}, dateLen)) || !dateOf(got).IsZero() {
		t.Errorf("no date is %x: want it last", got)
	}
}

func TestTimesOfChangeInKeysAreLatestFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawTime(t, "a").Truncate(time.Millisecond)
		b := drawTime(t, "b").Truncate(time.Millisecond)
		ka, kb := appendUpdated(nil, a), appendUpdated(nil, b)
		if got, want := bytes.Compare(ka, kb), b.Compare(a); got != want {
			t.Fatalf("%v and %v compare %d, want %d", a, b, got, want)
		}
		if got := updatedOf(ka); len(ka) != updatedLen || !got.Equal(a) {
			t.Fatalf("got %v back, want %v", got, a)
		}
	})
}

func TestTextInKeysKeepsItsOrderAndItsEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.SampledFrom([]rune{0, 1, 2, 'a', 'b', 0xff, 0x10ffff}))
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		ka, kb := appendText(nil, a), appendText(nil, b)
		if got, want := bytes.Compare(ka, kb), strings.Compare(a, b); got != want {
			t.Fatalf("%q and %q compare %d, want %d", a, b, got, want)
		}
		if a != b && bytes.HasPrefix(kb, ka) {
			t.Fatalf("%q is the beginning of %q", ka, kb)
		}
		got, rest, ok := cutText(append(ka, kb...))
		if !ok || got != a || !bytes.Equal(rest, kb) {
			t.Fatalf("got %q %q %v back", got, rest, ok)
		}
	})
}

func TestLongTermsAreCutAndToldApart(t *testing.T) {
	long := strings.Repeat("x", 10*maxTerm)
	a, b := appendTerm(nil, long+"a"), appendTerm(nil, long+"b")
	if bytes.Equal(a, b) || len(a) > maxTerm+32+2 {
		t.Errorf("got %d bytes, equal: %v", len(a), bytes.Equal(a, b))
	}
}

func TestNumbersInKeysAreInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Float64().Draw(t, "a"), rapid.Float64().Draw(t, "b")
		if a == b {
			return // 0 and -0
		}
		if got, want := bytes.Compare(appendFloat(nil, a), appendFloat(nil, b)), cmp.Compare(a, b); got != want {
			t.Fatalf("%v and %v compare %d, want %d", a, b, got, want)
		}
	})
}

func TestDecimalsLieBetweenTheNumbersInKeys(t *testing.T) {
	for _, text := range []string{"0", "-0.0", "72.50", "0.1", "0.30000000000000004", "1e30", "-1e30", "1e400", "-1e400", "1e-400", "9007199254740993", "123456789012345678901234567890.1"} {
		d, _, err := apd.NewFromString(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []float64{below(d), above(d)} {
			if math.IsInf(f, 0) {
				continue
			}
			edge, err := new(apd.Decimal).SetFloat64(f)
			if err != nil {
				t.Fatal(err)
			}
			if f == below(d) && edge.Cmp(d) > 0 || f == above(d) && edge.Cmp(d) < 0 {
				t.Errorf("%s: %v is on the wrong side", text, f)
			}
		}
	}
}

func TestLengthsOfDates(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for name, test := range map[string]struct {
		low, high time.Time
		known     bool
	}{
		"an instant":                     {at, at.Add(1), true},
		"a day":                          {at, at.Add(24 * time.Hour), true},
		"open to the right":              {at, time.Time{}, true},
		"open to the left":               {time.Time{}, at, false},
		"open":                           {time.Time{}, time.Time{}, false},
		"backwards":                      {at, at.Add(-1), false},
		"longer than a Duration":         {at.AddDate(-1000, 0, 0), at, false},
		"as long as a Duration, and one": {at.Add(-math.MaxInt64).Add(-1), at, false},
	} {
		dates, known := datesOf(test.low, lengthOf(test.low, test.high))
		if known != test.known {
			t.Errorf("%s: known is %v", name, known)
			continue
		}
		if want := (search.Date{Param: sortDate, Low: test.low, High: test.high}); known && (len(dates) != 1 || dates[0] != want) {
			t.Errorf("%s: got %+v, want %+v", name, dates, want)
		}
	}
	if dates, known := datesOf(time.Time{}, noDate); !known || dates != nil {
		t.Errorf("no date: got %v %v", dates, known)
	}
}

func TestAfterIsBehindAllKeysWithAPrefix(t *testing.T) {
	for prefix, want := range map[string]string{"a": "b", "a\xff": "b", "a\xff\xff": "b", "a\x00": "a\x01", "\xff": ""} {
		if got := string(after([]byte(prefix))); got != want {
			t.Errorf("after %q is %q, want %q", prefix, got, want)
		}
	}
}

func TestRecordsAreReadAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := record{
			version: rapid.Uint64Min(1).Draw(t, "version"), lastUpdated: rapid.Int64().Draw(t, "lastUpdated"),
			deleted: rapid.Bool().Draw(t, "deleted"), json: rapid.SliceOf(rapid.Byte()).Draw(t, "json"),
		}
		got, err := readRecord(r.append(nil))
		if err != nil || got.version != r.version || got.lastUpdated != r.lastUpdated || got.deleted != r.deleted || !bytes.Equal(got.json, r.json) {
			t.Fatalf("got %+v %v, want %+v", got, err, r)
		}
	})
}

func FuzzStoredBytes(f *testing.F) {
	f.Add((&record{version: 3, lastUpdated: 1, json: []byte("{}")}).append(nil))
	f.Add(appendText(nil, "a\x00b"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := readRecord(b); err == nil && r.place.series != 0 {
			if again, err := readRecord(r.appendPlace(nil)); err != nil || again.version != r.version || again.place != r.place {
				t.Errorf("got %+v %v, want %+v", again, err, r)
			}
		} else if err == nil {
			if again, err := readRecord(r.append(nil)); err != nil || again.version != r.version || !bytes.Equal(again.json, r.json) {
				t.Errorf("got %+v %v, want %+v", again, err, r)
			}
		}
		if s, rest, ok := cutText(b); ok && !bytes.Equal(append(appendText(nil, s), rest...), b) {
			t.Errorf("%q is read as %q and %q", b, s, rest)
		}
		if r, err := readPlaced(b); err == nil {
			if again, err := readPlaced(r.appendPlaced(nil)); err != nil || again.version != r.version || again.length != r.length || !bytes.Equal(again.json, r.json) {
				t.Errorf("got %+v %v, want %+v", again, err, r)
			}
		}
		if length, series, ok := readPointer(b); ok {
			datesOf(time.Unix(0, 0), length)
			if again, number, ok := readPointer(appendPointer(nil, length, series)); !ok || again != length || number != series {
				t.Errorf("got %d %d %v, want %d %d", again, number, ok, length, series)
			}
		}
		if s, err := readSeries(b); err == nil {
			search.Query{}.Matches(fhir.Key{}, time.Time{}, &s.terms)
		}
	})
}

func TestOnlyOneDateIsKeptInAValue(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	date := func(low, high time.Time) search.Date { return search.Date{Param: sortDate, Low: low, High: high} }
	for name, test := range map[string]struct {
		dates []search.Date
		first time.Time
		span  byte
		told  bool
	}{
		"none":               {nil, time.Time{}, short, true},
		"another parameter":  {[]search.Date{{Param: "birthdate", Low: day(1), High: day(2)}}, time.Time{}, short, true},
		"a day":              {[]search.Date{date(day(1), day(2))}, day(1), short, true},
		"more than a day":    {[]search.Date{date(day(1), day(2).Add(1))}, day(1), long, true},
		"open to the right":  {[]search.Date{date(day(1), time.Time{})}, day(1), long, true},
		"open to the left":   {[]search.Date{date(time.Time{}, day(1))}, time.Time{}, long, false},
		"two within a day":   {[]search.Date{date(day(1).Add(1), day(2)), date(day(1), day(1).Add(1))}, day(1), short, false},
		"two in a week":      {[]search.Date{date(day(1), day(1).Add(1)), date(day(7), day(7).Add(1))}, day(1), long, false},
		"the first one open": {[]search.Date{date(day(3), time.Time{}), date(day(2), day(3))}, day(2), long, false},
	} {
		first, span, length := extent(&search.Terms{Dates: test.dates}, sortDate)
		if !first.Equal(test.first) || span != test.span || (length != severalDates) != test.told {
			t.Errorf("%s: got %v %d %d", name, first, span, length)
		}
	}
}
