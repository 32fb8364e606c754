package vocabulary

import "slices"

// Profile is the last part of http://hl7.org/fhir/StructureDefinition/<profile> of a
// vital-signs profile of FHIR R4. http://hl7.org/fhir/R4/observation-vitalsigns.html
type Profile string

// The vital-signs profiles.
const (
	HeartRate         Profile = "heartrate"
	RespiratoryRate   Profile = "resprate"
	OxygenSaturation  Profile = "oxygensat"
	BodyTemperature   Profile = "bodytemp"
	BodyHeight        Profile = "bodyheight"
	HeadCircumference Profile = "headcircum"
	BodyWeight        Profile = "bodyweight"
	BMI               Profile = "bmi"
	BloodPressure     Profile = "bp"
	VitalSignsPanel   Profile = "vitalspanel"
)

// URL is the canonical URL of the profile, or "" if there is no profile.
func (p Profile) URL() string {
	if p == "" {
		return ""
	}
	return "http://hl7.org/fhir/StructureDefinition/" + string(p)
}

// Allows reports whether the profile lets Quantity.code be ucum. The code must be spelt as
// the profile has it: {beat}/min is not /min. For bp it is the code of the components.
func (p Profile) Allows(ucum string) bool {
	switch p {
	case HeartRate, RespiratoryRate:
		return ucum == "/min"
	case OxygenSaturation:
		return ucum == "%"
	case BodyTemperature:
		return ucum == "Cel" || ucum == "[degF]"
	case BodyHeight, HeadCircumference:
		return ucum == "cm" || ucum == "[in_i]"
	case BodyWeight:
		return ucum == "g" || ucum == "kg" || ucum == "[lb_av]"
	case BMI:
		return ucum == "kg/m2"
	case BloodPressure:
		return ucum == "mm[Hg]"
	}
	return false
}

// ProfileOf is the profile that an Observation with the LOINC code as its own falls under,
// "" if there is none. A systolic pressure alone falls under none: the profile bp is for the
// panel, in which it is a component. http://hl7.org/fhir/R4/observation-vitalsigns.html
func ProfileOf(loinc string) Profile {
	switch loinc {
	case "8480-6", "8462-4", "8478-0":
		return ""
	case "85353-1":
		return VitalSignsPanel
	}
	return profileOf([]string{loinc})
}

// profileOf is the profile that an Observation, or a component of one, falls under when it
// carries one of the codes. The mean pressure is a vital sign of the blood pressure.
func profileOf(loinc []string) Profile {
	for _, p := range [...]struct {
		code    string
		profile Profile
	}{
		{"8867-4", HeartRate},
		{"9279-1", RespiratoryRate},
		{"2708-6", OxygenSaturation},
		{"8310-5", BodyTemperature},
		{"8302-2", BodyHeight},
		{"9843-4", HeadCircumference},
		{"29463-7", BodyWeight},
		{"39156-5", BMI},
		{"85354-9", BloodPressure},
		{"8480-6", BloodPressure},
		{"8462-4", BloodPressure},
		{"8478-0", BloodPressure},
	} {
		if slices.Contains(loinc, p.code) {
			return p.profile
		}
	}
	return ""
}
