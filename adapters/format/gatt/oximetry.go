package gatt

// Oxygen is a pair of readings of a pulse oximeter.
type Oxygen struct {
	SpO2      Number // percent
	PulseRate Number // beats per minute
}

// Oximetry is a PLX Spot-Check Measurement (2A5E) or a PLX Continuous Measurement
// (2A5F). Pulse Oximeter Service 1.0.1, sections 3.1 and 3.2.
type Oximetry struct {
	Oxygen
	Fast, Slow *Oxygen // of 2A5F: answering faster, slower than the normal pair
	Time       *DateTime
	// ClockNotSet means that Time is no date but counts from when the device was started.
	ClockNotSet bool
	// Status: bit 5 ongoing, 6 early estimate, 7 validated, 8 fully qualified, 9 from
	// storage, 10 demonstration, 11 testing, 12 calibration ongoing, 13 unavailable,
	// 14 questionable, 15 invalid.
	Status *uint16
	// SensorStatus has 24 bits, of which 0 to 15 are assigned: 0 extended display update,
	// 1 equipment malfunction … 14 sensor malfunctioning, 15 sensor disconnected.
	SensorStatus   *uint32
	PulseAmplitude *Number // index in percent
}

func (r *reader) oxygen(name string) Oxygen {
	return Oxygen{SpO2: r.sfloat(name + " SpO2"), PulseRate: r.sfloat(name + " pulse rate")}
}

// DecodeSpotCheck reads the value of 2A5E.
func DecodeSpotCheck(value []byte) (Oximetry, error) {
	r := &reader{of: OximeterSpotCheck, b: value}
	flags := r.uint8("flags")
	m := Oximetry{ClockNotSet: flags&0x10 != 0}
	m.Oxygen = r.oxygen("spot-check")
	m.Time = optional(flags&0x01 != 0, r.dateTime, "time stamp")
	m.Status = optional(flags&0x02 != 0, r.uint16, "measurement status")
	m.SensorStatus = optional(flags&0x04 != 0, r.uint24, "device and sensor status")
	m.PulseAmplitude = optional(flags&0x08 != 0, r.sfloat, "pulse amplitude index")
	return m, r.end()
}

// DecodeContinuous reads the value of 2A5F.
func DecodeContinuous(value []byte) (Oximetry, error) {
	r := &reader{of: OximeterContinuous, b: value}
	flags := r.uint8("flags")
	var m Oximetry
	m.Oxygen = r.oxygen("normal")
	m.Fast = optional(flags&0x01 != 0, r.oxygen, "fast")
	m.Slow = optional(flags&0x02 != 0, r.oxygen, "slow")
	m.Status = optional(flags&0x04 != 0, r.uint16, "measurement status")
	m.SensorStatus = optional(flags&0x08 != 0, r.uint24, "device and sensor status")
	m.PulseAmplitude = optional(flags&0x10 != 0, r.sfloat, "pulse amplitude index")
	return m, r.end()
}
