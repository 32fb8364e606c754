package gatt

// Contact is what a heart rate sensor says of its contact with the skin.
type Contact int

// The contacts.
const (
	ContactUnknown  Contact = iota // the sensor cannot tell
	ContactLost                    // it can, and there is none
	ContactDetected                // it can, and there is
)

// HeartRate is a Heart Rate Measurement (2A37). Heart Rate Service 1.0, section 3.1.
type HeartRate struct {
	Rate    uint16 // beats per minute
	Contact Contact
	Energy  *uint16  // kilojoules since the last reset; 65535 also stands for all beyond
	RR      []uint16 // the intervals between beats in 1/1024 s, oldest first
}

// DecodeHeartRate reads the value of 2A37.
func DecodeHeartRate(value []byte) (HeartRate, error) {
	r := &reader{of: HeartRateMeasurement, b: value}
	flags := r.uint8("flags")
	var m HeartRate
	if flags&0x01 == 0 {
		m.Rate = uint16(r.uint8("heart rate"))
	} else {
		m.Rate = r.uint16("heart rate")
	}
	switch flags >> 1 & 3 {
	case 2:
		m.Contact = ContactLost
	case 3:
		m.Contact = ContactDetected
	}
	m.Energy = optional(flags&0x08 != 0, r.uint16, "energy expended")
	if flags&0x10 != 0 {
		m.RR = append(m.RR, r.uint16("RR-interval"))
		for r.err == nil && r.at < len(value) {
			m.RR = append(m.RR, r.uint16("RR-interval"))
		}
	}
	return m, r.end()
}
