package gatt

// CGMRecord is one record of a CGM Measurement (2AA7). Continuous Glucose Monitoring
// Service 1.0.2, section 3.1.
type CGMRecord struct {
	Glucose Number // mg/dL
	Minutes uint16 // since the start of the session
	// Status joins the sensor status annunciation as its bits are numbered: 0 to 7 the
	// status octet, 8 to 15 calibration and temperature, 16 to 23 warnings. On the air the
	// octets stand in that order.
	Status  uint32
	Trend   *Number // (mg/dL)/min
	Quality *Number // percent
}

// CGMResult is a record, or why it cannot be read. Offset is the byte of the value
// at which it begins.
type CGMResult struct {
	CGMRecord
	Offset int
	Err    error
}

// minCGMRecord is the shortest record: size, flags, glucose, time offset.
const minCGMRecord = 6

// DecodeCGM reads the value of 2AA7, which holds one or more records, each with its
// size in front. A record that cannot be read does not spoil the others; from a size
// that cannot be right onwards all is one result with an error. There is at least one
// result.
func DecodeCGM(value []byte) []CGMResult {
	var out []CGMResult
	for at := 0; at < len(value) || at == 0; {
		size := 0
		if at < len(value) {
			size = int(value[at])
		}
		if size < minCGMRecord || at+size > len(value) {
			r := &reader{of: CGMMeasurement, base: at}
			r.fail(0, "size", "the size of the record does not fit the value")
			return append(out, CGMResult{Offset: at, Err: r.err})
		}
		record, err := decodeCGMRecord(value[at:at+size], at)
		out = append(out, CGMResult{record, at, err})
		at += size
	}
	return out
}

func decodeCGMRecord(b []byte, base int) (CGMRecord, error) {
	r := &reader{of: CGMMeasurement, b: b, base: base, at: 1}
	flags := r.uint8("flags")
	var m CGMRecord
	m.Glucose = r.sfloat("glucose concentration")
	m.Minutes = r.uint16("time offset")
	if flags&0x80 != 0 {
		m.Status |= uint32(r.uint8("status octet"))
	}
	if flags&0x40 != 0 {
		m.Status |= uint32(r.uint8("calibration and temperature octet")) << 8
	}
	if flags&0x20 != 0 {
		m.Status |= uint32(r.uint8("warning octet")) << 16
	}
	m.Trend = optional(flags&0x01 != 0, r.sfloat, "trend")
	m.Quality = optional(flags&0x02 != 0, r.sfloat, "quality")
	// Only the CGM Feature tells whether there is an E2E-CRC; two bytes more than the flags
	// announce can be nothing else.
	if r.err == nil && len(b)-r.at == 2 {
		r.checkCRC()
	}
	return m, r.end()
}

// CGMFeatures is a CGM Feature (2AA8). Continuous Glucose Monitoring Service 1.0.2,
// section 3.2. Type and Location are those of Glucose.
type CGMFeatures struct {
	Features       uint32
	Type, Location uint8
}

// DecodeCGMFeature reads the value of 2AA8.
func DecodeCGMFeature(value []byte) (CGMFeatures, error) {
	const crcSupported = 1 << 12
	r := &reader{of: CGMFeature, b: value}
	m := CGMFeatures{Features: r.uint24("features")}
	v := r.uint8("type and sample location")
	m.Type, m.Location = v&0x0F, v>>4
	if m.Features&crcSupported != 0 {
		r.checkCRC()
	} else {
		r.uint16("E2E-CRC") // present, and means nothing
	}
	return m, r.end()
}

// SessionStart is a CGM Session Start Time (2AAA). Continuous Glucose Monitoring
// Service 1.0.2, section 3.4.
type SessionStart struct {
	Time DateTime // the local time at the start
	Zone int8     // offset of standard time from UTC in quarters of an hour; -128 is unknown
	DST  uint8    // 0 standard time, 2 half an hour, 4 an hour, 8 two hours; 255 is unknown
}

// OffsetSeconds is how far Time is ahead of UTC. It is false unless zone and daylight
// saving are both known and assigned.
func (s SessionStart) OffsetSeconds() (int, bool) {
	if s.Zone < -48 || s.Zone > 56 {
		return 0, false
	}
	minutes, ok := map[uint8]int{0: 0, 2: 30, 4: 60, 8: 120}[s.DST]
	return int(s.Zone)*15*60 + minutes*60, ok
}

// DecodeSessionStart reads the value of 2AAA, with or without E2E-CRC.
func DecodeSessionStart(value []byte) (SessionStart, error) {
	r := &reader{of: CGMSessionStart, b: value}
	m := SessionStart{Time: r.dateTime("session start time")}
	m.Zone = int8(r.uint8("time zone"))
	m.DST = r.uint8("DST offset")
	if r.err == nil && len(value)-r.at == 2 {
		r.checkCRC()
	}
	return m, r.end()
}
