package validate

import "time"

// A moment is a date, dateTime or instant taken apart, as precise as it was written.
type moment struct {
	year, month, day     int // month and day are 0 where they are not said
	hour, minute, second int
	nanos                int
	clock                bool // it has a time of day
	zone                 bool
	offset               int // in seconds, east of Greenwich
}

// fits reports whether a moment is as precise as a type demands and allows.
func (m *moment) fits(k kind) bool {
	switch k {
	case dateKind:
		return !m.clock
	case instantKind:
		return m.clock && m.zone
	}
	return !m.clock || m.zone
}

// parseMoment reads any of the three types. ok is false if it is none of them, or if there
// is no such day. http://hl7.org/fhir/R4/datatypes.html#dateTime
func parseMoment(t []byte) (m moment, ok bool) {
	var rest []byte
	if m.year, rest, ok = digits(t, 4); !ok || m.year == 0 {
		return m, false
	}
	if len(rest) == 0 {
		return m, true
	}
	if m.month, rest, ok = after(rest, '-'); !ok || m.month < 1 || m.month > 12 {
		return m, false
	}
	if len(rest) == 0 {
		return m, true
	}
	if m.day, rest, ok = after(rest, '-'); !ok || m.day < 1 || m.day > daysIn(m.year, m.month) {
		return m, false
	}
	if len(rest) == 0 {
		return m, true
	}
	if rest[0] != 'T' {
		return m, false
	}
	m.clock = true
	if rest, ok = m.parseClock(rest[1:]); !ok {
		return m, false
	}
	switch {
	case len(rest) == 0:
		return m, true
	case string(rest) == "Z":
	case len(rest) == 6 && (rest[0] == '+' || rest[0] == '-') && rest[3] == ':':
		hours, _, ok1 := digits(rest[1:3], 2)
		minutes, _, ok2 := digits(rest[4:6], 2)
		if !ok1 || !ok2 || minutes > 59 || hours > 14 || hours == 14 && minutes > 0 {
			return m, false
		}
		m.offset = hours*3600 + minutes*60
		if rest[0] == '-' {
			m.offset = -m.offset
		}
	default:
		return m, false
	}
	m.zone = true
	return m, true
}

// parseClock reads hh:mm:ss with or without a fraction, of which nanoseconds are kept. It
// returns what follows. Second 60 is one that is put in between.
func (m *moment) parseClock(t []byte) (rest []byte, ok bool) {
	if m.hour, rest, ok = digits(t, 2); !ok || m.hour > 23 {
		return nil, false
	}
	if m.minute, rest, ok = after(rest, ':'); !ok || m.minute > 59 {
		return nil, false
	}
	if m.second, rest, ok = after(rest, ':'); !ok || m.second > 60 {
		return nil, false
	}
	if len(rest) == 0 || rest[0] != '.' {
		return rest, true
	}
	i, scale := 1, 100_000_000
	for ; i < len(rest) && rest[i] >= '0' && rest[i] <= '9'; i++ {
		m.nanos += int(rest[i]-'0') * scale
		scale /= 10
	}
	return rest[i:], i > 1
}

func digits(t []byte, n int) (value int, rest []byte, ok bool) {
	if len(t) < n {
		return 0, nil, false
	}
	for _, c := range t[:n] {
		if c < '0' || c > '9' {
			return 0, nil, false
		}
		value = value*10 + int(c-'0')
	}
	return value, t[n:], true
}

// after reads two digits that follow a separator.
func after(t []byte, separator byte) (value int, rest []byte, ok bool) {
	if len(t) < 3 || t[0] != separator {
		return 0, nil, false
	}
	return digits(t[1:], 2)
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// later reports whether a is certainly after b, however their missing parts and offsets are filled in.
func later(a, b []byte) bool {
	m, ok1 := parseMoment(a)
	n, ok2 := parseMoment(b)
	if !ok1 || !ok2 {
		return false
	}
	slack := time.Duration(0)
	if m.zone != n.zone {
		slack = 14 * time.Hour
	}
	_, end := n.interval()
	begin, _ := m.interval()
	return !begin.Add(-slack).Before(end)
}

// interval is from the beginning of the moment to its end, which is no part of it.
func (m *moment) interval() (begin, end time.Time) {
	month, day := max(m.month, 1), max(m.day, 1)
	begin = time.Date(m.year, time.Month(month), day, m.hour, m.minute, m.second, m.nanos, time.UTC).Add(-time.Duration(m.offset) * time.Second)
	switch {
	case m.clock:
		end = begin.Add(time.Nanosecond)
	case m.day > 0:
		end = begin.AddDate(0, 0, 1)
	case m.month > 0:
		end = begin.AddDate(0, 1, 0)
	default:
		end = begin.AddDate(1, 0, 0)
	}
	return begin, end
}
