package gatt

// BloodPressure is a Blood Pressure Measurement (2A35), or an Intermediate Cuff Pressure
// (2A36), in which Systolic holds the pressure of the cuff and the others are NaN.
// Blood Pressure Service 1.1.1, section 3.1.
type BloodPressure struct {
	Unit                      string // UCUM: mm[Hg] or kPa
	Systolic, Diastolic, Mean Number // NaN where the device has none
	Time                      *DateTime
	Pulse                     *Number // beats per minute
	User                      *uint8  // 255 is an unknown user
	// Status: bit 0 body movement, 1 cuff too loose, 2 irregular pulse, 3 and 4 pulse
	// rate (1 above, 2 below its limit), 5 improper position.
	Status *uint16
}

// UnknownUser is the user index of somebody whom the device does not know.
const UnknownUser = 255

// DecodeBloodPressure reads the value of 2A35 or 2A36, whichever of says.
func DecodeBloodPressure(of Characteristic, value []byte) (BloodPressure, error) {
	r := &reader{of: of, b: value}
	flags := r.uint8("flags")
	m := BloodPressure{Unit: "mm[Hg]"}
	if flags&0x01 != 0 {
		m.Unit = "kPa"
	}
	m.Systolic = r.sfloat("systolic")
	m.Diastolic = r.sfloat("diastolic")
	m.Mean = r.sfloat("mean arterial pressure")
	m.Time = optional(flags&0x02 != 0, r.dateTime, "time stamp")
	m.Pulse = optional(flags&0x04 != 0, r.sfloat, "pulse rate")
	m.User = optional(flags&0x08 != 0, r.uint8, "user ID")
	m.Status = optional(flags&0x10 != 0, r.uint16, "measurement status")
	return m, r.end()
}
