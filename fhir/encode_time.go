package fhir

import (
	"reflect"
	"sync"
	"time"

	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
)

// precision has the numbers of dtpb.DateTime_Precision.
type precision int32

const (
	toYear precision = iota + 1
	toMonth
	toDay
	toSecond
	toMillisecond
	toMicrosecond
)

const (
	microsPerSecond = 1_000_000
	microsPerDay    = 24 * 60 * 60 * microsPerSecond

	// The years 1 to 9999 in UTC, with the second bound outside.
	minMicros = -62135596800 * microsPerSecond
	maxMicros = 253402300800 * microsPerSecond
)

// moment is what the four time types of FHIR have in common.
// http://hl7.org/fhir/R4/datatypes.html#dateTime
type moment struct {
	micros    int64 // since 1970-01-01T00:00:00Z, or since midnight for a time of day
	zone      string
	precision precision
}

// appendMoment appends the date, dateTime, instant or time in v, and reports whether it has a value.
func (p *primitive) appendMoment(dst []byte, v reflect.Value) ([]byte, bool, error) {
	var m moment
	least, most := toYear, toMicrosecond
	switch t := v.Addr().Interface().(type) {
	case *dtpb.DateTime:
		m = moment{t.ValueUs, t.Timezone, precision(t.Precision)}
	case *dtpb.Date:
		m = moment{t.ValueUs, t.Timezone, precision(t.Precision)}
		most = toDay
	case *dtpb.Instant:
		m = moment{t.ValueUs, t.Timezone, precision(t.Precision)}
		least = toSecond
		if m.precision > 0 {
			m.precision += toDay
		}
	case *dtpb.Time:
		m = moment{t.ValueUs, "", precision(t.Precision)}
		least = toSecond
		if m.precision > 0 {
			m.precision += toDay
		}
	}
	if m == (moment{}) {
		return dst, false, nil
	}
	if m.precision < least || m.precision > most {
		return dst, false, refuse(CodeValue, "the time has no precision", "set Precision to that of the source")
	}
	var err error
	if p.kind == timeKind {
		dst, err = m.appendTime(dst)
	} else {
		dst, err = m.appendDateTime(dst)
	}
	return dst, err == nil, err
}

// appendTime appends a time of day. http://hl7.org/fhir/R4/datatypes.html#time
func (m moment) appendTime(dst []byte) ([]byte, error) {
	if m.micros < 0 || m.micros >= microsPerDay {
		return dst, refuse(CodeValue, "the time is not within a day", "give microseconds since midnight")
	}
	return append(m.appendClock(append(dst, '"'), m.micros), '"'), nil
}

// appendDateTime appends the moment as the clocks of its zone showed it.
func (m moment) appendDateTime(dst []byte) ([]byte, error) {
	if m.micros < minMicros || m.micros >= maxMicros {
		return dst, errYears()
	}
	offset, err := offsetAt(m.zone, m.micros)
	if err != nil {
		return dst, err
	}
	local := m.micros + int64(offset)*microsPerSecond
	if local < minMicros || local >= maxMicros {
		return dst, errYears()
	}
	year, month, day := time.UnixMicro(local).UTC().Date()
	dst = append(dst, '"')
	dst = append2(append2(dst, year/100), year%100)
	if m.precision >= toMonth {
		dst = append2(append(dst, '-'), int(month))
	}
	if m.precision >= toDay {
		dst = append2(append(dst, '-'), day)
	}
	if m.precision < toSecond {
		return append(dst, '"'), nil
	}
	dst = m.appendClock(append(dst, 'T'), (local-minMicros)%microsPerDay)
	switch {
	case m.zone == "Z" || isOffset(m.zone):
		dst = append(dst, m.zone...)
	case offset < 0:
		dst = append2(append(dst, '-'), -offset/3600)
		dst = append2(append(dst, ':'), -offset/60%60)
	default:
		dst = append2(append(dst, '+'), offset/3600)
		dst = append2(append(dst, ':'), offset/60%60)
	}
	return append(dst, '"'), nil
}

// appendClock appends the microseconds since midnight. What the precision leaves out is cut off.
func (m moment) appendClock(dst []byte, micros int64) []byte {
	seconds, fraction := int(micros/microsPerSecond), int(micros%microsPerSecond)
	dst = append2(dst, seconds/3600)
	dst = append2(append(dst, ':'), seconds/60%60)
	dst = append2(append(dst, ':'), seconds%60)
	if m.precision >= toMillisecond {
		dst = append(dst, '.', byte('0'+fraction/100_000))
		dst = append2(dst, fraction/1000%100)
	}
	if m.precision == toMicrosecond {
		dst = append(dst, byte('0'+fraction/100%10))
		dst = append2(dst, fraction%100)
	}
	return dst
}

// append2 appends the two digits of n.
func append2(dst []byte, n int) []byte {
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}

func errYears() error {
	return refuse(CodeValue, "the time is outside the years 1 to 9999", "check the clock of the source, and that the value is in microseconds")
}

// isOffset reports whether zone has the form +hh:mm or -hh:mm.
func isOffset(zone string) bool {
	if len(zone) != 6 || zone[0] != '+' && zone[0] != '-' || zone[3] != ':' {
		return false
	}
	for _, i := range [...]int{1, 2, 4, 5} {
		if zone[i] < '0' || zone[i] > '9' {
			return false
		}
	}
	return true
}

var zones sync.Map // IANA name -> *time.Location

// offsetAt is how many seconds zone is ahead of UTC at a moment. A zone is Z, UTC, an
// offset such as +01:00, or an IANA name. The server's own zone is never meant.
func offsetAt(zone string, micros int64) (int, error) {
	switch {
	case zone == "Z" || zone == "UTC":
		return 0, nil
	case isOffset(zone):
		hours, minutes := int(zone[1]-'0')*10+int(zone[2]-'0'), int(zone[4]-'0')*10+int(zone[5]-'0')
		offset := hours*60 + minutes
		if offset > 14*60 || minutes > 59 {
			return 0, refuse(CodeValue, "the offset is more than 14 hours from UTC or has more than 59 minutes", "give the offset as +hh:mm or -hh:mm")
		}
		if zone[0] == '-' {
			offset = -offset
		}
		return offset * 60, nil
	case zone == "" || zone == "Local":
		return 0, refuse(CodeValue, "the time has no zone", `set Timezone to "Z", an offset such as "+01:00" or an IANA name`)
	}
	location, ok := zones.Load(zone)
	if !ok {
		loaded, err := time.LoadLocation(zone)
		if err != nil {
			return 0, refuse(CodeValue, "the zone of the time is unknown", `set Timezone to "Z", an offset such as "+01:00" or an IANA name`)
		}
		location, _ = zones.LoadOrStore(zone, loaded)
	}
	_, offset := time.UnixMicro(micros).In(location.(*time.Location)).Zone()
	if offset%60 != 0 {
		return 0, refuse(CodeValue, "the zone was not whole minutes from UTC at that time", `give the time in UTC, with the Timezone "Z"`)
	}
	return offset, nil
}
