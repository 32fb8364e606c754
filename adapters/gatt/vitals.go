package gatt

import (
	"encoding/hex"
	"slices"
	"strconv"

	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	obpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"

	format "github.com/kiln-health/kiln/adapters/format/gatt"
	"github.com/kiln-health/kiln/adapters/when"
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/vocabulary"
)

// begin is a reading with subject, sensor and time, or false if one of them cannot be
// told; then the row is refused.
//
// Same is the time and the user index. To it each mapping adds the sequence number where
// there is one, and else the values: clocks of sensors often have no seconds, and two
// measurements within a minute are two.
func (c *converter) begin(r *row, clock *format.DateTime) (fhir.Reading, bool) {
	patient, ok := c.subject(r)
	if !ok {
		return fhir.Reading{}, false
	}
	at, ok := c.instant(r, clock)
	if !ok {
		return fhir.Reading{}, false
	}
	return c.reading(r, patient, at), true
}

func (c *converter) reading(r *row, patient fhir.Identifier, at when.Instant) fhir.Reading {
	sensor := c.resource(r.unit, patient)
	c.out.AddPatient(patient)
	reading := fhir.Reading{
		Subject: fhir.Subject{Patient: patient, Device: sensor},
		Device:  sensor,
		At:      at.DateTime(),
		Same:    []string{at.Key(), ""},
	}
	if index := r.index(); index != nil {
		reading.Same[1] = strconv.Itoa(int(*index))
	}
	// Without a patient the user of the device would be lost.
	if name, err := r.user(); err == nil && patient.IsZero() && name != "" && name != unknownUser {
		reading.Components = []*obpb.Observation_Component{{
			Code:  fhir.Concept("", own("user", "User of the device")),
			Value: &obpb.Observation_Component_ValueX{Choice: &obpb.Observation_Component_ValueX_StringValue{StringValue: fhir.Text(name)}},
		}}
	}
	return reading
}

// another is a reading of the same moment that shares nothing with the first.
func another(reading fhir.Reading, same ...string) fhir.Reading {
	reading.Components = slices.Clone(reading.Components)
	reading.Same = append(slices.Clone(reading.Same), same...)
	return reading
}

func text(n format.Number) string { return n.Text() + string(n.Special) }

func heartRateCode() *dtpb.CodeableConcept { return concept("Heart rate", loinc("8867-4")) }

func vitalSign(reading fhir.Reading, profile vocabulary.Profile) *obpb.Observation {
	return fhir.VitalSign(reading, string(profile), profile.Allows)
}

var pressureLimits = map[string]limits{"mm[Hg]": {10, 350}, "kPa": {1, 47}}

var rateLimits = limits{10, 350}

func (c *converter) bloodPressure(r *row, m *format.BloodPressure) {
	if r.of == format.IntermediateCuffPressure {
		r.pass(fhir.CodeInformational, "the pressure in the cuff during the measurement is no blood pressure")
		return
	}
	base, ok := c.begin(r, m.Time)
	if !ok {
		return
	}
	var f, pulse findings
	if m.Status != nil {
		word := uint32(*m.Status)
		const pulseRange, pulseBits = 0x18, 0x1C
		table := bloodPressureBits
		if word&pulseRange == pulseRange {
			table = slices.DeleteFunc(slices.Clone(table), func(b bit) bool { return 1<<b.at&pulseRange != 0 })
		}
		c.find(r, &f, word, table)
		for _, b := range table {
			if word&pulseBits&(1<<b.at) != 0 {
				pulse.components = append(pulse.components, flag(b.coding()))
			}
		}
	}
	reading := another(base, text(m.Systolic), text(m.Diastolic), text(m.Mean), m.Unit)
	for _, part := range []struct {
		name string
		n    format.Number
	}{{"the systolic pressure", m.Systolic}, {"the diastolic pressure", m.Diastolic}, {"the mean pressure", m.Mean}} {
		c.check(r, &f, part.name, part.n, pressureLimits[m.Unit])
	}
	out := []*obpb.Observation{f.label(c.pressures(reading, f, m))}
	if m.Pulse != nil {
		c.check(r, &pulse, "the pulse rate", *m.Pulse, rateLimits)
		p := another(base, "pulse", text(*m.Pulse))
		p.Code = concept("Pulse rate", loinc("8867-4"), mdc(149546, "MDC_PULS_RATE_NON_INV"))
		c.setValue(&p, *m.Pulse, "/min")
		pulse.apply(&p)
		out = append(out, pulse.label(vitalSign(p, vocabulary.HeartRate)))
	}
	c.put(r, out...)
}

// pressures is the blood pressure itself.
func (c *converter) pressures(reading fhir.Reading, f findings, m *format.BloodPressure) *obpb.Observation {
	quantityOf := func(n format.Number) *dtpb.Quantity {
		if n.Special != "" {
			return nil
		}
		return c.quantity(n, m.Unit)
	}
	f.apply(&reading)
	meanCode := concept("Mean blood pressure", loinc("8478-0"), mdc(150023, "MDC_PRESS_BLD_NONINV_MEAN"))
	if m.Mean.Special != "" {
		reading.Components = append([]*obpb.Observation_Component{c.component(meanCode, m.Mean, m.Unit)}, reading.Components...)
	}
	reading.Code = concept("Blood pressure", loinc("85354-9"), mdc(150020, "MDC_PRESS_BLD_NONINV"))
	o := fhir.BloodPressure(reading, fhir.Pressures{
		Systolic: quantityOf(m.Systolic), Diastolic: quantityOf(m.Diastolic), Mean: quantityOf(m.Mean),
		SystolicCode:  concept("Systolic blood pressure", loinc("8480-6"), mdc(150021, "MDC_PRESS_BLD_NONINV_SYS")),
		DiastolicCode: concept("Diastolic blood pressure", loinc("8462-4"), mdc(150022, "MDC_PRESS_BLD_NONINV_DIA")),
		MeanCode:      meanCode,
	})
	for i, n := range []format.Number{m.Systolic, m.Diastolic} {
		if n.Special != "" {
			o.Component[i].DataAbsentReason = fhir.Concept("", fhir.Coding(fhir.DataAbsentReason, absence(n), ""))
		}
	}
	return o
}

const fixWorn = "check how the sensor is worn"

// ticks is how many steps of an RR-interval are a second.
const ticks = 1024

func (c *converter) heartRate(r *row, m *format.HeartRate) {
	reading, ok := c.begin(r, nil)
	if !ok {
		return
	}
	// Neither counter nor clock tells two values of one moment apart: their bytes do.
	reading = another(reading, hex.EncodeToString(r.value))
	reading.Code = heartRateCode()
	var f findings
	rate := whole(int64(m.Rate))
	c.setValue(&reading, rate, "/min")
	switch {
	case m.Contact == format.ContactLost:
		f.components = append(f.components, flag(own("sensor-contact-lost", "Sensor contact not detected")))
		f.add(invalid)
		c.warnOnce("contact", fhir.CodeBusinessRule, r.path, fixWorn, "a heart rate without sensor contact is not published as a value")
	case m.Rate == 0:
		f.add(invalid)
		c.warnOnce("zero", fhir.CodeBusinessRule, r.path, fixWorn, "a heart rate of 0, which sensors send that measure nothing, is not published as a value")
	default:
		c.check(r, &f, "the heart rate", rate, rateLimits)
	}
	f.apply(&reading)
	for _, interval := range m.RR {
		// 1000/1024 ms is 0.9765625 ms, exactly.
		ms := format.Number{Mantissa: int64(interval) * (1e10 / ticks), Exponent: -7}
		reading.Components = append(reading.Components, c.component(concept("RR interval", mdc(147240, "MDC_ECG_TIME_PD_RR_GL")), trim(ms), "ms"))
	}
	if m.Energy != nil {
		energy := c.component(fhir.Concept("", own("energy-expended", "Energy expended since the last reset")), whole(int64(*m.Energy)), "kJ")
		if *m.Energy == 0xFFFF {
			fhir.Compared(energy.GetValue().GetQuantity(), '>')
		}
		reading.Components = append(reading.Components, energy)
	}
	c.put(r, f.label(vitalSign(reading, vocabulary.HeartRate)))
}

// trim takes zeros off the end of the decimals: they come from a division, not from a
// measurement.
func trim(n format.Number) format.Number {
	for n.Exponent < 0 && n.Mantissa%10 == 0 {
		n.Mantissa, n.Exponent = n.Mantissa/10, n.Exponent+1
	}
	return n
}

// temperatureType is where a temperature is taken.
type temperatureType struct {
	site, loinc string
	mdc         int
	refid       string
	skin        bool // it is not the temperature of the body
}

var temperatureSites = map[uint8]temperatureType{
	1: {"Armpit", "8328-7", 188452, "MDC_TEMP_AXILLA", false},
	2: {"Body (general)", "", 150364, "MDC_TEMP_BODY", false},
	3: {"Ear", "", 188428, "MDC_TEMP_EAR", false},
	4: {"Finger", "", 188432, "MDC_TEMP_FINGER", true},
	5: {"Gastro-intestinal tract", "", 188456, "MDC_TEMP_GIT", false},
	6: {"Mouth", "8331-1", 188424, "MDC_TEMP_ORAL", false},
	7: {"Rectum", "8332-9", 188420, "MDC_TEMP_RECT", false},
	8: {"Toe", "", 188448, "MDC_TEMP_TOE", true},
	9: {"Tympanum", "8333-7", 150392, "MDC_TEMP_TYMP", false},
}

var temperatureLimits = map[string]limits{"Cel": {15, 50}, "[degF]": {59, 122}}

func (c *converter) temperature(r *row, m *format.Temperature) {
	if r.of == format.IntermediateTemperature {
		r.pass(fhir.CodeInformational, "a temperature during the measurement is no result")
		return
	}
	reading, ok := c.begin(r, m.Time)
	if !ok {
		return
	}
	reading = another(reading, text(m.Value), m.Unit)
	site, profile := temperatureType{mdc: 150364, refid: "MDC_TEMP_BODY"}, vocabulary.BodyTemperature
	if m.Type != nil {
		reading.Same = append(reading.Same, strconv.Itoa(int(*m.Type)))
		known, ok := temperatureSites[*m.Type]
		if ok {
			site = known
		} else {
			c.out.Warn(fhir.CodeCodeInvalid, r.path, "", "%s: the temperature type is reserved: the site is not known", r.of)
		}
		reading.BodySite = fhir.Concept(site.site, fhir.Coding(temperatureTypes, strconv.Itoa(int(*m.Type)), site.site))
	}
	switch {
	case site.skin:
		reading.Code, profile = concept("Skin temperature", mdc(site.mdc, site.refid)), ""
	case site.loinc != "":
		reading.Code = concept("Body temperature", loinc(site.loinc), loinc("8310-5"), mdc(site.mdc, site.refid))
	default:
		reading.Code = concept("Body temperature", loinc("8310-5"), mdc(site.mdc, site.refid))
	}
	var f findings
	c.setValue(&reading, m.Value, m.Unit)
	c.check(r, &f, "the temperature", m.Value, temperatureLimits[m.Unit])
	f.apply(&reading)
	c.put(r, f.label(vitalSign(reading, profile)))
}

var saturationLimits = limits{1, 100}

func (c *converter) oximetry(r *row, m *format.Oximetry) {
	var word uint32
	if m.Status != nil {
		word = uint32(*m.Status)
	}
	if word&(oximeterDemonstration|oximeterTesting) != 0 {
		r.pass(fhir.CodeInformational, "data for demonstration or testing is no reading of a patient")
		return
	}
	clock := m.Time
	if m.ClockNotSet && clock != nil {
		clock = &format.DateTime{} // counts from when the device was started
	}
	if word&oximeterStored != 0 && (clock == nil || !clock.Known()) {
		r.refuse(fhir.CodeBusinessRule, when.FixClock, "a value from the storage of the device has no date: when it was measured is not known")
		return
	}
	base, ok := c.begin(r, clock)
	if !ok {
		return
	}
	if r.of == format.OximeterContinuous {
		base = another(base, hex.EncodeToString(r.value))
	} else {
		base = another(base, text(m.SpO2), text(m.PulseRate))
		base.Components = append(base.Components, fhir.ConceptComponent(
			concept("", mdc(68193, "MDC_ATTR_SUPPLEMENTAL_TYPES")), concept("Spot-check", mdc(150588, "MDC_MODALITY_SPOT"))))
	}
	var f findings
	c.find(r, &f, word, oximeterBits)
	if m.SensorStatus != nil {
		c.find(r, &f, *m.SensorStatus, oximeterSensorBits)
	}
	saturation, rate := another(base), another(base)
	saturation.Code = concept("Oxygen saturation by pulse oximetry", loinc("59408-5"), loinc("2708-6"), mdc(150456, "MDC_PULS_OXIM_SAT_O2"))
	rate.Code = concept("Pulse rate by pulse oximetry", loinc("8867-4"), mdc(149530, "MDC_PULS_OXIM_PULS_RATE"))

	ofSaturation, ofRate := f, f
	c.check(r, &ofSaturation, "the oxygen saturation", m.SpO2, saturationLimits)
	c.check(r, &ofRate, "the pulse rate", m.PulseRate, rateLimits)
	c.setValue(&saturation, m.SpO2, "%")
	c.setValue(&rate, m.PulseRate, "/min")
	ofSaturation.apply(&saturation)
	ofRate.apply(&rate)
	for _, pair := range []struct {
		o    *format.Oxygen
		code string
		name string
	}{{m.Fast, "fast", "fast answer"}, {m.Slow, "slow", "slow answer"}} {
		if pair.o == nil {
			continue
		}
		saturation.Components = append(saturation.Components,
			c.component(fhir.Concept("", own("spo2-"+pair.code, "Oxygen saturation, "+pair.name)), pair.o.SpO2, "%"))
		rate.Components = append(rate.Components,
			c.component(fhir.Concept("", own("pulse-rate-"+pair.code, "Pulse rate, "+pair.name)), pair.o.PulseRate, "/min"))
	}
	if m.PulseAmplitude != nil {
		saturation.Components = append(saturation.Components,
			c.component(fhir.Concept("", own("pulse-amplitude-index", "Pulse amplitude index")), *m.PulseAmplitude, "%"))
	}
	c.put(r, ofSaturation.label(vitalSign(saturation, vocabulary.OxygenSaturation)), ofRate.label(vitalSign(rate, vocabulary.HeartRate)))
}
