package gatt

import "time"

// DateTime is the wall time of a device clock; it tells no zone. A year, month or day of
// 0 is not known (characteristic 2A08).
type DateTime struct {
	Year                             int
	Month, Day, Hour, Minute, Second int
}

// Known reports whether year, month and day are all known.
func (d DateTime) Known() bool { return d.Year != 0 && d.Month != 0 && d.Day != 0 }

// Wall is the time in the calendar fields of a time.Time, whose location means nothing.
// It is the zero time unless the date is known.
func (d DateTime) Wall() time.Time {
	if !d.Known() {
		return time.Time{}
	}
	return time.Date(d.Year, time.Month(d.Month), d.Day, d.Hour, d.Minute, d.Second, 0, time.UTC)
}

// dateTime reads seven bytes. The years are those of the Gregorian calendar, 1582 to 9999.
func (r *reader) dateTime(field string) DateTime {
	at := r.at
	d := DateTime{Year: int(r.uint16(field))}
	b := r.take(5, field)
	d.Month, d.Day, d.Hour, d.Minute, d.Second = int(b[0]), int(b[1]), int(b[2]), int(b[3]), int(b[4])
	switch {
	case d.Year != 0 && (d.Year < 1582 || d.Year > 9999):
		r.fail(at, field, "the year is neither 0 nor 1582 to 9999")
	case d.Month > 12:
		r.fail(at+2, field, "the month is not 0 to 12")
	case d.Day > 31, d.Known() && time.Date(d.Year, time.Month(d.Month), d.Day, 0, 0, 0, 0, time.UTC).Day() != d.Day:
		r.fail(at+3, field, "there is no such day in the month")
	case d.Hour > 23:
		r.fail(at+4, field, "the hour is not 0 to 23")
	case d.Minute > 59:
		r.fail(at+5, field, "the minute is not 0 to 59")
	case d.Second > 59:
		r.fail(at+6, field, "the second is not 0 to 59")
	}
	return d
}
