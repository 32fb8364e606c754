package store

import (
	"math"
	"time"
)

// Interval is what a HistoryQuery wants of the times of a version, in milliseconds since 1970
// as stores keep lastUpdated.
type Interval struct {
	Since int64 // no version of before that; math.MinInt64 is none
	// Only versions that were current at some millisecond from From until right before To, if the
	// one is not math.MinInt64 or the other not math.MaxInt64.
	From, To int64
}

// ForEver is the time of the successor of a version that has none.
const ForEver = math.MaxInt64

// Interval is what q wants of the times of a version.
func (q HistoryQuery) Interval() Interval {
	i := Interval{Since: milliseconds(q.Since), From: math.MinInt64, To: math.MaxInt64}
	if !q.CurrentFrom.IsZero() {
		i.From = q.CurrentFrom.UnixMilli() // what is current in a part of a millisecond is so in all of it
	}
	if !q.CurrentTo.IsZero() {
		i.To = milliseconds(q.CurrentTo)
	}
	if !q.CurrentFrom.IsZero() && !q.CurrentTo.IsZero() && !q.CurrentFrom.Before(q.CurrentTo) {
		i.To = math.MinInt64 // there is no such moment
	}
	return i
}

// milliseconds is the first millisecond that is not before t. The zero time is before all.
func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return math.MinInt64
	}
	ms := t.UnixMilli()
	if time.UnixMilli(ms).Before(t) {
		ms++
	}
	return ms
}

// Always reports whether it does not matter when a version was current.
func (i Interval) Always() bool { return i.From == math.MinInt64 && i.To == math.MaxInt64 }

// Never reports whether no version was current at such a moment, since there is none.
func (i Interval) Never() bool { return i.To == math.MinInt64 }

// Has reports whether a version of that lastUpdated is wanted, whose successor, if it is not
// ForEver, has the other one. It was current until right before its successor.
func (i Interval) Has(lastUpdated, successor int64) bool {
	if lastUpdated < i.Since {
		return false
	}
	return i.Always() || lastUpdated < i.To && successor > i.From && successor > lastUpdated
}
