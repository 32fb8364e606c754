package gatt

// Glucose is a Glucose Measurement (2A18). Glucose Service 1.0.1, section 3.1.
type Glucose struct {
	Sequence uint16
	Base     DateTime
	// Offset moves the time of the measurement from Base, in minutes. OffsetOverrun and
	// OffsetUnderrun mean that it is out of range.
	Offset *int16
	// Unit is "mol/L" or "kg/L". Concentration is nil where the meter has none, and then
	// Type and Location say nothing.
	Unit           string
	Concentration  *Number
	Type, Location uint8
	// Status is the sensor status annunciation: bit 0 battery low, 1 sensor malfunction,
	// 2 sample too small, 3 strip insertion, 4 strip type, 5 result above, 6 below what the
	// meter can process, 7 too hot, 8 too cold, 9 strip pulled too soon, 10 general fault,
	// 11 time fault.
	Status         *uint16
	ContextFollows bool
}

// Time offsets that are out of range.
const (
	OffsetOverrun  = 0x7FFF
	OffsetUnderrun = -0x8000
)

// Types and locations of a glucose sample that tell that it is not the patient's.
const (
	TypeInterstitial        = 9
	TypeControlSolution     = 10
	LocationControlSolution = 4
)

// DecodeGlucose reads the value of 2A18.
func DecodeGlucose(value []byte) (Glucose, error) {
	r := &reader{of: GlucoseMeasurement, b: value}
	flags := r.uint8("flags")
	m := Glucose{Unit: "kg/L", ContextFollows: flags&0x10 != 0}
	if flags&0x04 != 0 {
		m.Unit = "mol/L"
	}
	m.Sequence = r.uint16("sequence number")
	m.Base = r.dateTime("base time")
	if flags&0x01 != 0 {
		offset := int16(r.uint16("time offset"))
		m.Offset = &offset
	}
	if flags&0x02 != 0 {
		m.Concentration = optional(true, r.sfloat, "glucose concentration")
		v := r.uint8("type and sample location")
		m.Type, m.Location = v&0x0F, v>>4
	}
	m.Status = optional(flags&0x08 != 0, r.uint16, "sensor status annunciation")
	return m, r.end()
}

// GlucoseContextValue is a Glucose Measurement Context (2A34): what the patient told
// the meter about the measurement of the same sequence number. Glucose Service 1.0.1,
// section 3.2. The numbers of lists are as the specification assigns them.
type GlucoseContextValue struct {
	Sequence         uint16
	CarbohydrateID   uint8   // with Carbohydrate: 1 breakfast … 7 brunch
	Carbohydrate     *Number // kilograms, says the specification
	Meal             *uint8  // 1 before, 2 after a meal, 3 fasting, 4 casual, 5 bedtime
	Tester, Health   *uint8  // 15 is not available
	ExerciseDuration *uint16 // seconds; ExerciseOverrun is beyond what fits
	Intensity        uint8   // with ExerciseDuration, percent
	MedicationID     uint8   // with Medication: 1 rapid … 5 pre-mixed insulin
	Medication       *Number
	MedicationUnit   string  // kg or L, says the specification
	HbA1c            *Number // percent
}

// ExerciseOverrun is the exercise duration that does not fit its field.
const ExerciseOverrun = 0xFFFF

// DecodeGlucoseContext reads the value of 2A34.
func DecodeGlucoseContext(value []byte) (GlucoseContextValue, error) {
	r := &reader{of: GlucoseContext, b: value}
	flags := r.uint8("flags")
	m := GlucoseContextValue{MedicationUnit: "kg"}
	if flags&0x20 != 0 {
		m.MedicationUnit = "L"
	}
	m.Sequence = r.uint16("sequence number")
	if flags&0x80 != 0 {
		r.uint8("extended flags") // all of them are reserved
	}
	if flags&0x01 != 0 {
		m.CarbohydrateID = r.uint8("carbohydrate ID")
		m.Carbohydrate = optional(true, r.sfloat, "carbohydrate")
	}
	m.Meal = optional(flags&0x02 != 0, r.uint8, "meal")
	if flags&0x04 != 0 {
		v := r.uint8("tester and health")
		tester, health := v&0x0F, v>>4
		m.Tester, m.Health = &tester, &health
	}
	if flags&0x08 != 0 {
		m.ExerciseDuration = optional(true, r.uint16, "exercise duration")
		m.Intensity = r.uint8("exercise intensity")
	}
	if flags&0x10 != 0 {
		m.MedicationID = r.uint8("medication ID")
		m.Medication = optional(true, r.sfloat, "medication")
	}
	m.HbA1c = optional(flags&0x40 != 0, r.sfloat, "HbA1c")
	return m, r.end()
}
