package validate

import (
	"slices"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
)

// Rule is a device rule: something that FHIR itself does not demand of a resource, and
// without which what a device measured is wrong, or lost on those who look for it.
type Rule struct {
	ID       string        // kiln-…; it is for ever
	Title    string        // what the rule demands
	Text     string        // how it is held, and what it leaves alone
	Source   string        // URL of the section that it comes from
	Severity fhir.Severity // of what it finds: error or warning
}

// DeviceRules are all device rules. They are held at the levels that check invariants,
// unless Options say otherwise.
func DeviceRules() []Rule { return slices.Clone(deviceRules[:]) }

// Findings says how much what device rules find counts.
type Findings uint8

// As what the findings of device rules count.
const (
	AsRuled  Findings = iota // with the severity of the rule
	Advisory                 // errors as warnings: no resource is invalid for them
	Ignored                  // not at all
)

// The places of the rules in deviceRules.
const (
	ruleUCUM = iota
	ruleUnit
	ruleVitalSign
	ruleTime
	rulePlausible
	ruleMDC
	ruleLOINC
	ruleUDICheck
	ruleUDI
)

var deviceRules = [...]Rule{
	ruleUCUM: {"kiln-ucum", "a code of UCUM is a unit",
		"Looks at the code of every Quantity and Coding whose system is http://unitsofmeasure.org. Codes are case-sensitive.",
		"https://ucum.org/ucum#section-Grammar-of-Units-and-Unit-Terms", fhir.SevError},
	ruleUnit: {"kiln-unit", "the unit of a value is one of what its code measures",
		"Looks at the Quantity, or the origin of the SampledData, of an Observation or component whose LOINC or IEEE 11073 code is in the tables. " +
			"Any unit that converts to the expected one will do: kPa for a pressure, but not mmol/L for a LOINC code of a mass concentration, as that measures another property. " +
			"Units of UCUM and of IEEE 11073 are looked at, values without a coded unit are not.",
		"https://loinc.org/kb/users-guide/major-parts-of-a-loinc-term/", fhir.SevError},
	ruleVitalSign: {"kiln-vital-sign", "a vital sign claims a vital-signs profile",
		"An Observation with a LOINC code of the table of vital signs shall conform to its profile, and is held to it only if it says so in meta.profile. " +
			"Any known profile that derives from the vital-signs profile will do. SampledData cannot meet these profiles and are left alone, and so is what was entered in error.",
		"http://hl7.org/fhir/R4/observation-vitalsigns.html", fhir.Warning},
	ruleTime: {"kiln-time", "a device's measurement says when it was made, with the time of day and its offset",
		"Finds an Observation with a device that has a value and no effective[x], or just a date; an offset -00:00, which says that the offset is not known (RFC 3339 section 4.3); " +
			"and a final Observation over a Period that goes on, as it has no end.",
		"http://hl7.org/fhir/R4/observation-definitions.html#Observation.effective_x_", fhir.Warning},
	rulePlausible: {"kiln-plausible", "a value is one that a living human can have",
		"Compares vital signs, glucose and pH with limits that no real value is known to pass, in whichever unit they come, and a diastolic pressure with its systolic one. " +
			"It finds artefacts and mistaken units; it is no alarm and no reference range. What was entered in error is left alone.",
		"http://hl7.org/fhir/R4/observation-definitions.html#Observation.value_x_", fhir.Warning},
	ruleMDC: {"kiln-mdc", "a code of IEEE 11073-10101 is a context-free number, and known",
		"The code is partition × 65536 + term in decimal digits, not a reference id and not the term alone. " +
			"A number that is not in the tables may be right all the same: the nomenclature has more.",
		"http://hl7.org/fhir/R4/mdc.html", fhir.Warning},
	ruleLOINC: {"kiln-loinc", "a LOINC code has its check digit",
		"Looks at the form of every Coding whose system is http://loinc.org, and at the check digit of numbers. Whether LOINC has such a code is not looked up.",
		"https://loinc.org/kb/users-guide/calculating-mod-10-check-digits/", fhir.SevError},
	ruleUDICheck: {"kiln-udi-check", "the check characters of a UDI are right",
		"GS1: the check digit of the GTIN, in the device identifier and after (01) in the human-readable form. HIBCC: the last character of the human-readable form.",
		"https://www.fda.gov/medical-devices/unique-device-identification-system-udi-system/udi-basics", fhir.SevError},
	ruleUDI: {"kiln-udi", "a UDI has the form of its issuer",
		"GS1: a GTIN of 14 digits, and a human-readable form that begins with (01) and the same GTIN, whose dates exist. HIBCC: 6 to 23 letters and digits, " +
			"and a form that begins with + and holds them. ICCBBA: a form that begins with =. Where the FDA is the jurisdiction, the issuer is one that it accredited.",
		"http://hl7.org/fhir/R4/device-definitions.html#Device.udiCarrier", fhir.Warning},
}

// setDeviceRules has the rules held for the classes that they are about. They tell what
// they find themselves, so they never fail as an invariant does.
func (p *plan) setDeviceRules() {
	hold := func(c *class, of int, f check) {
		c.rules = append(c.rules, rule{Invariant: &definitions.Invariant{Key: deviceRules[of].ID}, check: f})
	}
	for _, name := range [...]string{"Quantity", "Age", "Count", "Distance", "Duration"} {
		c := p.ofType(name)
		hold(c, ruleUCUM, codedUnit(c))
	}
	coding := p.ofType("Coding")
	hold(coding, ruleLOINC, codedWell(coding))
	o := p.ofType("Observation")
	hold(o, ruleUnit, p.measurements(o))
	carrier := p.slots[p.ofType("Device").find([]byte("udiCarrier"))].class
	hold(carrier, ruleUDI, udi(carrier))
	identifier := p.slots[p.ofType("DeviceDefinition").find([]byte("udiDeviceIdentifier"))].class
	hold(identifier, ruleUDI, udi(identifier))
}

// finds counts what a device rule finds, and reports whether there is room to tell about it.
func (w *walker) finds(of int) bool {
	r := &deviceRules[of]
	switch {
	case w.opt.DeviceRules == Ignored || slices.Contains(w.opt.Without, r.ID):
		return false
	case r.Severity == fhir.SevError && w.opt.DeviceRules == AsRuled:
		return w.refused()
	}
	return w.doubted()
}

// finding tells what a device rule finds in the value at hand, or in one of its elements.
func (w *walker) finding(of int, code, element string, at int, message, fix string) {
	r := &deviceRules[of]
	severity := r.Severity
	if w.opt.DeviceRules == Advisory {
		severity = fhir.Warning
	}
	told := len(w.found)
	w.tell(fhir.Issue{Severity: severity, Code: code, Message: r.ID + ": " + message, Fix: fix, Spec: r.Source}, element, at)
	if len(w.found) > told {
		w.found[told].Rule = r.ID
	}
}
