package store

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The rule of HistoryQuery in its own words, on times of any precision.
func TestAnIntervalHasTheVersionsThatTheQueryAsksFor(t *testing.T) {
	begin := time.Date(2026, 1, 2, 10, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		moment := func(name string) time.Time {
			if rapid.IntRange(0, 4).Draw(t, name+" open") == 0 {
				return time.Time{}
			}
			return begin.Add(time.Duration(rapid.IntRange(-15, 15).Draw(t, name)) * time.Millisecond / 3)
		}
		q := HistoryQuery{Since: moment("since"), CurrentFrom: moment("from"), CurrentTo: moment("to")}
		at := begin.Add(time.Duration(rapid.IntRange(-6, 6).Draw(t, "lastUpdated")) * time.Millisecond)
		end, successor := time.Time{}, int64(ForEver)
		if rapid.Bool().Draw(t, "replaced") {
			end = at.Add(time.Duration(rapid.IntRange(0, 4).Draw(t, "for")) * time.Millisecond)
			successor = end.UnixMilli()
		}
		want := !at.Before(q.Since)
		all := q.CurrentFrom.IsZero() && q.CurrentTo.IsZero()
		if !all {
			// The moment at which both have begun, if both last.
			both := at
			if both.Before(q.CurrentFrom) {
				both = q.CurrentFrom
			}
			want = want && (end.IsZero() || both.Before(end)) && (q.CurrentTo.IsZero() || both.Before(q.CurrentTo))
		}
		i := q.Interval()
		if got := i.Has(at.UnixMilli(), successor); got != want {
			t.Fatalf("%+v: from %v until %v: got %t", q, at, end, got)
		}
		if i.Always() != all || i.Never() && want {
			t.Fatalf("%+v: always %t, never %t", q, i.Always(), i.Never())
		}
	})
}

func TestAnIntervalThatEndsBeforeItBeginsHasNoVersion(t *testing.T) {
	at := time.Date(2026, 1, 2, 10, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		from, to time.Time
		want     bool
	}{
		"a moment":                {at, at, true},
		"the wrong way round":     {at.Add(time.Second), at, true},
		"a part of a millisecond": {at, at.Add(time.Microsecond), false},
		"open at its beginning":   {time.Time{}, at, false},
		"open at its end":         {at, time.Time{}, false},
		"open":                    {time.Time{}, time.Time{}, false},
	} {
		if got := (HistoryQuery{CurrentFrom: test.from, CurrentTo: test.to}).Interval().Never(); got != test.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}
