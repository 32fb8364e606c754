package gatt

// unsuccessful is the value of a field that could not be measured.
const unsuccessful = 0xFFFF

// Weight is a Weight Measurement (2A9D). Weight Scale Service 1.0.1, section 3.2.
type Weight struct {
	MassUnit, LengthUnit string // UCUM: kg and m, or [lb_av] and [in_i]
	Weight               Number // steps of 0.005 kg or 0.01 lb; Unsuccessful
	Time                 *DateTime
	User                 *uint8  // 255 is an unknown user
	BMI                  *Number // kg/m2, comes with Height
	Height               *Number // steps of 0.001 m or 0.1 in
}

// DecodeWeight reads the value of 2A9D.
func DecodeWeight(value []byte) (Weight, error) {
	r := &reader{of: WeightMeasurement, b: value}
	flags := r.uint8("flags")
	s := systemOf(flags&0x01 != 0)
	m := Weight{MassUnit: s.mass, LengthUnit: s.length}
	m.Weight = r.measured("weight", s.massStep, s.massExponent)
	m.Time = optional(flags&0x02 != 0, r.dateTime, "time stamp")
	m.User = optional(flags&0x04 != 0, r.uint8, "user ID")
	if flags&0x08 != 0 {
		bmi := r.scaled("BMI", 1, -1)
		height := r.scaled("height", 1, s.lengthExponent)
		m.BMI, m.Height = &bmi, &height
	}
	return m, r.end()
}

// BodyComposition is a Body Composition Measurement (2A9C). Body Composition Service
// 1.0.1, section 3.2.
type BodyComposition struct {
	MassUnit, LengthUnit string // UCUM: kg and m, or [lb_av] and [in_i]
	BodyFat              Number // percent; Unsuccessful
	Time                 *DateTime
	User                 *uint8  // 255 is an unknown user
	BasalMetabolism      *Number // kilojoules
	MusclePercentage     *Number
	MuscleMass           *Number
	FatFreeMass          *Number
	SoftLeanMass         *Number
	BodyWaterMass        *Number
	Impedance            *Number // ohm
	Weight               *Number
	Height               *Number
	// MultiplePacket means that the measurement takes two consecutive values. The second
	// has neither time nor user and the same body fat.
	MultiplePacket bool
}

// DecodeBodyComposition reads the value of 2A9C.
func DecodeBodyComposition(value []byte) (BodyComposition, error) {
	r := &reader{of: BodyCompositionMeasurement, b: value}
	flags := r.uint16("flags")
	s := systemOf(flags&0x01 != 0)
	m := BodyComposition{MassUnit: s.mass, LengthUnit: s.length, MultiplePacket: flags&0x1000 != 0}
	m.BodyFat = r.measured("body fat percentage", 1, -1)
	m.Time = optional(flags&0x02 != 0, r.dateTime, "time stamp")
	m.User = optional(flags&0x04 != 0, r.uint8, "user ID")
	for _, f := range []struct {
		bit      uint16
		name     string
		to       **Number
		step     int64
		exponent int
	}{
		{0x0008, "basal metabolism", &m.BasalMetabolism, 1, 0},
		{0x0010, "muscle percentage", &m.MusclePercentage, 1, -1},
		{0x0020, "muscle mass", &m.MuscleMass, s.massStep, s.massExponent},
		{0x0040, "fat free mass", &m.FatFreeMass, s.massStep, s.massExponent},
		{0x0080, "soft lean mass", &m.SoftLeanMass, s.massStep, s.massExponent},
		{0x0100, "body water mass", &m.BodyWaterMass, s.massStep, s.massExponent},
		{0x0200, "impedance", &m.Impedance, 1, -1},
		{0x0400, "weight", &m.Weight, s.massStep, s.massExponent},
		{0x0800, "height", &m.Height, 1, s.lengthExponent},
	} {
		if flags&f.bit != 0 {
			n := r.scaled(f.name, f.step, f.exponent)
			*f.to = &n
		}
	}
	return m, r.end()
}

// system is one of the two systems of units of the scales.
type system struct {
	mass, length   string
	massStep       int64
	massExponent   int
	lengthExponent int
}

func systemOf(imperial bool) system {
	if imperial {
		return system{mass: "[lb_av]", length: "[in_i]", massStep: 1, massExponent: -2, lengthExponent: -1}
	}
	return system{mass: "kg", length: "m", massStep: 5, massExponent: -3, lengthExponent: -3}
}

// measured is a scaled field that may be unsuccessful.
func (r *reader) measured(field string, step int64, exponent int) Number {
	n := r.scaled(field, 1, 0)
	if n.Mantissa == unsuccessful {
		return Number{Special: Unsuccessful}
	}
	return Number{Mantissa: n.Mantissa * step, Exponent: exponent}
}
