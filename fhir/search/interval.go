package search

import "time"

// interval is intervalIn UTC.
func interval(text []byte) (low, high time.Time, ok bool) { return intervalIn(time.UTC, text) }

// intervalIn is the time that a FHIR date, dateTime or instant stands for, as [low, high)
// in UTC: 2024-05 is the whole month, 10:30 the whole minute, a time with fractions of a
// second one nanosecond (further digits are dropped). What has no
// offset is in the zone, and minutes are required with hours, seconds are not.
//
// The years 0000 and 0001 are refused: they are how programs write that there is no
// date, and the zero time.Time stands for an open end.
//
// http://hl7.org/fhir/R4/search.html#date, http://hl7.org/fhir/R4/datatypes.html#dateTime
func intervalIn(zone *time.Location, text []byte) (low, high time.Time, ok bool) {
	s := scanner{rest: text}
	year := s.digits(4, 2, 9999)
	if s.end() {
		return date(zone, year, 1, 1), date(zone, year+1, 1, 1), true
	}
	s.literal('-')
	month := time.Month(s.digits(2, 1, 12))
	if s.end() {
		return date(zone, year, month, 1), date(zone, year, month+1, 1), true
	}
	s.literal('-')
	day := s.digits(2, 1, 31)
	if !s.bad && date(time.UTC, year, month, day).Day() != day {
		return time.Time{}, time.Time{}, false
	}
	if s.end() {
		return date(zone, year, month, day), date(zone, year, month, day+1), true
	}
	s.literal('T')
	hour := s.digits(2, 0, 23)
	s.literal(':')
	minute, second, nanos, width := s.digits(2, 0, 59), 0, 0, time.Minute
	if s.skip(':') {
		second, width = s.digits(2, 0, 60), time.Second // 60 is a leap second
		if s.skip('.') {
			nanos, width = s.fraction(), time.Nanosecond
		}
	}
	offset := s.offset()
	if !s.end() {
		return time.Time{}, time.Time{}, false
	}
	if offset == none {
		low = time.Date(year, month, day, hour, minute, second, nanos, zone).UTC()
	} else {
		low = time.Date(year, month, day, hour, minute, second-offset, nanos, time.UTC)
	}
	return low, low.Add(width), true
}

func date(zone *time.Location, year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 0, 0, 0, 0, zone).UTC()
}

// scanner reads a text of fixed form. After the first thing that does not fit it is bad
// and reads zeros.
type scanner struct {
	rest []byte
	bad  bool
}

func (s *scanner) end() bool { return !s.bad && len(s.rest) == 0 }

// skip takes c if it is next.
func (s *scanner) skip(c byte) bool {
	if s.bad || len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

func (s *scanner) literal(c byte) {
	if !s.skip(c) {
		s.bad = true
	}
}

// digits takes a number of exactly that many digits.
func (s *scanner) digits(width, least, most int) int {
	if s.bad || len(s.rest) < width {
		s.bad = true
		return 0
	}
	n := 0
	for _, c := range s.rest[:width] {
		if c < '0' || c > '9' {
			s.bad = true
			return 0
		}
		n = 10*n + int(c-'0')
	}
	s.rest = s.rest[width:]
	if n < least || n > most {
		s.bad = true
		return 0
	}
	return n
}

// fraction takes the digits behind the point, as nanoseconds.
func (s *scanner) fraction() int {
	nanos, unit, n := 0, 100_000_000, 0
	for n < len(s.rest) && '0' <= s.rest[n] && s.rest[n] <= '9' {
		nanos += unit * int(s.rest[n]-'0')
		unit /= 10
		n++
	}
	if n == 0 {
		s.bad = true
	}
	s.rest = s.rest[n:]
	return nanos
}

// none is what offset takes for nothing.
const none = 1 << 30

// offset takes Z, ±hh:mm or nothing, as seconds east of UTC.
func (s *scanner) offset() int {
	if s.bad || len(s.rest) == 0 {
		return none
	}
	if s.skip('Z') {
		return 0
	}
	sign := 1
	if !s.skip('+') {
		s.literal('-')
		sign = -1
	}
	hours := s.digits(2, 0, 14)
	s.literal(':')
	minutes := s.digits(2, 0, 59)
	if hours == 14 && minutes > 0 {
		s.bad = true
	}
	return sign * (hours*3600 + minutes*60)
}
