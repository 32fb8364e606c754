package gatt

// Temperature is a Temperature Measurement (2A1C), or an Intermediate Temperature
// (2A1E), which shows how the measurement goes and is no result. Health Thermometer
// Service 1.0, sections 3.1 and 3.3.
type Temperature struct {
	Unit  string // UCUM: Cel or [degF]
	Value Number
	Time  *DateTime
	// Type is where it was measured: 1 armpit, 2 body, 3 ear, 4 finger, 5 gastro-intestinal
	// tract, 6 mouth, 7 rectum, 8 toe, 9 tympanum.
	Type *uint8
}

// DecodeTemperature reads the value of 2A1C or 2A1E, whichever of says.
func DecodeTemperature(of Characteristic, value []byte) (Temperature, error) {
	r := &reader{of: of, b: value}
	flags := r.uint8("flags")
	m := Temperature{Unit: "Cel"}
	if flags&0x01 != 0 {
		m.Unit = "[degF]"
	}
	m.Value = r.float("temperature")
	m.Time = optional(flags&0x02 != 0, r.dateTime, "time stamp")
	m.Type = optional(flags&0x04 != 0, r.uint8, "temperature type")
	return m, r.end()
}
