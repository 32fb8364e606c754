package hl7v2

import "time"

// Precision is how much of a time was written.
type Precision int

// The precisions, coarsest first. Millisecond stands for one to three decimals of a
// second, Microsecond for four to six.
const (
	Year Precision = iota
	Month
	Day
	Hour
	Minute
	Second
	Millisecond
	Microsecond
)

// Time is a value of type DTM, or of TS before version 2.6.
type Time struct {
	// Wall is what the clock showed. Its location is the written offset; without one it is
	// UTC and only the calendar fields mean something.
	Wall      time.Time
	Precision Precision
	// HasOffset tells that the offset from UTC was written.
	HasOffset bool
}

// ParseTime reads YYYY[MM[DD[HH[MM[SS[.S[S[S[S[S[S]]]]]]]]]]][+/-ZZZZ]. Six decimals
// are taken although the standard knows four. A date or an hour that does not exist
// is an error, as are leap seconds, which Go cannot tell. Errors have no path.
// HL7 2.9, 2.A.21
func ParseTime(text string) (Time, error) {
	s := scanner{rest: text}
	t := Time{Precision: Year}
	year := s.number(4, 1, 9999)
	month, day := 1, 1
	if s.more() {
		month, t.Precision = s.number(2, 1, 12), Month
	}
	if s.more() {
		day, t.Precision = s.number(2, 1, 31), Day
	}
	var c clock
	if s.more() {
		c = s.clock()
		t.Precision = c.precision
	}
	location := time.UTC
	if s.rest != "" {
		location = s.offset()
		t.HasOffset = true
	}
	if s.failed || s.rest != "" {
		return Time{}, &Error{Reason: "the time is not of the form YYYYMMDDHHMMSS.SSSS+ZZZZ, or does not exist", Fix: "send an existing date and time in that form"}
	}
	if day > time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day() {
		return Time{}, &Error{Reason: "the month does not have that day", Fix: "send an existing date"}
	}
	t.Wall = time.Date(year, time.Month(month), day, c.hour, c.minute, c.second, c.nanosecond, location)
	return t, nil
}

// ParseClock reads a time of day, a value of type TM without an offset:
// HH[MM[SS[.S[S[S[S[S[S]]]]]]]]. HL7 2.9, 2.A.75
func ParseClock(text string) (sinceMidnight time.Duration, p Precision, err error) {
	s := scanner{rest: text}
	c := s.clock()
	if s.failed || s.rest != "" {
		return 0, 0, &Error{Reason: "the time of day is not of the form HHMMSS.SSSS, or does not exist", Fix: "send an existing time of day, without an offset"}
	}
	return time.Duration(c.hour)*time.Hour + time.Duration(c.minute)*time.Minute + time.Duration(c.second)*time.Second + time.Duration(c.nanosecond), c.precision, nil
}

type clock struct {
	hour, minute, second, nanosecond int
	precision                        Precision
}

// scanner takes numbers off a text. After a failure its numbers mean nothing.
type scanner struct {
	rest   string
	failed bool
}

// more tells that a further two digits follow.
func (s *scanner) more() bool {
	return !s.failed && s.rest != "" && s.rest[0] >= '0' && s.rest[0] <= '9'
}

func (s *scanner) number(digits, least, most int) int {
	if len(s.rest) < digits {
		s.failed = true
		return 0
	}
	n := 0
	for i := range digits {
		c := s.rest[i]
		if c < '0' || c > '9' {
			s.failed = true
			return 0
		}
		n = n*10 + int(c-'0')
	}
	s.rest = s.rest[digits:]
	if n < least || n > most {
		s.failed = true
	}
	return n
}

func (s *scanner) clock() clock {
	c := clock{hour: s.number(2, 0, 23), precision: Hour}
	if !s.more() {
		return c
	}
	c.minute, c.precision = s.number(2, 0, 59), Minute
	if !s.more() {
		return c
	}
	c.second, c.precision = s.number(2, 0, 59), Second
	if s.rest == "" || s.rest[0] != '.' {
		return c
	}
	s.rest = s.rest[1:]
	decimals, unit := 0, int(time.Second)
	for s.more() && decimals < 6 {
		unit /= 10
		c.nanosecond += s.number(1, 0, 9) * unit
		decimals++
	}
	switch {
	case decimals == 0:
		s.failed = true
	case decimals <= 3:
		c.precision = Millisecond
	default:
		c.precision = Microsecond
	}
	return c
}

// offset reads +ZZZZ. No clock on earth is more than 14 hours from UTC.
func (s *scanner) offset() *time.Location {
	sign := 1
	switch {
	case s.failed || s.rest == "":
		s.failed = true
		return time.UTC
	case s.rest[0] == '-':
		sign = -1
	case s.rest[0] != '+':
		s.failed = true
		return time.UTC
	}
	s.rest = s.rest[1:]
	hours, minutes := s.number(2, 0, 14), s.number(2, 0, 59)
	if hours == 14 && minutes > 0 {
		s.failed = true
	}
	return time.FixedZone("", sign*(hours*3600+minutes*60))
}
