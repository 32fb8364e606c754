package validate

import (
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
)

func device(carrier string) string {
	return `{"resourceType":"Device","udiCarrier":[{` + carrier + `}]}`
}

const (
	heartRateProfile = "http://hl7.org/fhir/StructureDefinition/heartrate"
	gs1DI            = `"issuer":"http://hl7.org/fhir/NamingSystem/gs1-di",`
	hibccDI          = `"issuer":"http://hl7.org/fhir/NamingSystem/hibcc-dI",`
	byDevice         = `"device":{"reference":"Device/1"},`
)

// measure is an Observation without a profile, of a code that needs none.
func measure(system, code, elements string) string {
	return `{"resourceType":"Observation","status":"final","code":{"coding":[{"system":"` + system + `","code":"` + code + `"}]},"effectiveDateTime":"2026-05-11T07:30:00+02:00",` + elements + `}`
}

func quantityIn(value, system, code string) string {
	return `"valueQuantity":{"value":` + value + `,"system":"` + system + `","code":"` + code + `"}`
}

// vital is a vital sign that claims its profile.
func vitalSign(name, loinc, value, unit string) string {
	return sign(r4+name, loinc, `"valueQuantity":`+quantityOfUnit(value, unit))
}

func pressures(systolic, diastolic string) string {
	return sign(r4+"bp", "85354-9", `"component":[`+part("8480-6", `"valueQuantity":`+quantityOfUnit(systolic, "mm[Hg]"))+`,`+part("8462-4", `"valueQuantity":`+quantityOfUnit(diastolic, "mm[Hg]"))+`]`)
}

func TestDeviceRulesFindTheFaultInItsPlace(t *testing.T) {
	heart := vitalSign("heartrate", "8867-4", "72", "/min")
	for _, c := range []struct {
		about, rule, body, path, fix string
	}{
		{"a unit that UCUM does not have", "kiln-ucum", measure(fhir.LOINC, "8480-6", quantityIn("120", fhir.UCUM, "mmHg")), "Observation.value.code", "mm[Hg]"},
		{"a unit in the wrong case", "kiln-ucum", measure(fhir.MDC, "188736", quantityIn("70", fhir.UCUM, "KG")), "Observation.value.code", ""},
		{"a unit of a duration", "kiln-ucum", observation(`"effectiveTiming":{"repeat":{"boundsDuration":{"value":1,"system":"http://unitsofmeasure.org","code":"hours"}}}`), "Observation.effective.repeat.bounds.code", ""},
		{"a unit of a reference range", "kiln-ucum", observation(`"referenceRange":[{"low":{"value":60,"system":"http://unitsofmeasure.org","code":"bpm"}}]`), "Observation.referenceRange[0].low.code", ""},
		{"a unit as a Coding", "kiln-ucum", `{"resourceType":"DeviceMetric","type":{"text":"x"},"category":"measurement","unit":{"coding":[{"system":"http://unitsofmeasure.org","code":"mmHg"}]}}`, "DeviceMetric.unit.coding[0].code", "mm[Hg]"},
		{"a unit that is too long to be one", "kiln-ucum", measure(fhir.LOINC, "8480-6", quantityIn("120", fhir.UCUM, strings.Repeat("m", 5000))), "Observation.value.code", "https://ucum.org"},

		{"megagauss for milligrams", "kiln-unit", measure(fhir.LOINC, "41653-7", quantityIn("98", fhir.UCUM, "MG/dL")), "Observation.value.code", "mg/dL"},
		{"moles of what LOINC measures as mass", "kiln-unit", measure(fhir.LOINC, "41653-7", quantityIn("5.4", fhir.UCUM, "mmol/L")), "Observation.value.code", "send the value in mg/dL"},
		{"mass of what LOINC measures as moles", "kiln-unit", measure(fhir.LOINC, "105272-9", quantityIn("98", fhir.UCUM, "mg/dL")), "Observation.value.code", "send the value in mmol/L"},
		{"a fraction of what LOINC measures as pressure", "kiln-unit", measure(fhir.LOINC, "19891-1", quantityIn("5", fhir.UCUM, "%")), "Observation.value.code", "mm[Hg]"},
		{"a saturation in a unit of pressure", "kiln-unit", measure(fhir.MDC, "150456", quantityIn("97", fhir.UCUM, "mm[Hg]")), "Observation.value.code", "send the value in %"},
		{"a unit of IEEE 11073", "kiln-unit", measure(fhir.MDC, "150456", quantityIn("97", fhir.MDC, "266016")), "Observation.value.code", "%"},
		{"a unit that is in no table", "kiln-unit", measure(fhir.MDC, "150456", quantityIn("97", fhir.UCUM, "[fur_us]")), "Observation.value.code", "%"},
		{"a waveform", "kiln-unit", measure(fhir.MDC, "131841", `"valueSampledData":{"origin":{"value":0,"system":"http://unitsofmeasure.org","code":"mm[Hg]"},"period":4,"dimensions":1,"data":"1 2"}`), "Observation.value.origin.code", "mV"},
		{"a component by its own code", "kiln-unit", observation(`"component":[` + part("8462-4", `"valueQuantity":`+quantityOfUnit("80", "mm[Hg]")) + `,` + part("8480-6", `"valueQuantity":`+quantityOfUnit("120", "/min")) + `]`), "Observation.component[1].value.code", "mm[Hg]"},

		{"a heart rate that claims nothing", "kiln-vital-sign", strings.Replace(heart, heartRateProfile, "http://hl7.org/fhir/StructureDefinition/Observation", 1), "Observation.meta.profile", heartRateProfile},
		{"a heart rate without meta", "kiln-vital-sign", measure(fhir.LOINC, "8867-4", quantityIn("72", fhir.UCUM, "/min")), "Observation.meta.profile", heartRateProfile},
		{"another profile is none of vital signs", "kiln-vital-sign", strings.Replace(heart, heartRateProfile, usCore+"us-core-simple-observation", 1), "Observation.meta.profile", heartRateProfile},
		{"a vital sign in a Bundle", "kiln-vital-sign", `{"resourceType":"Bundle","type":"collection","entry":[{"resource":` + measure(fhir.LOINC, "29463-7", quantityIn("70", fhir.UCUM, "kg")) + `}]}`, "Bundle.entry[0].resource.meta.profile", r4 + "bodyweight"},

		{"no time", "kiln-time", observation(byDevice + `"valueString":"x"`), "Observation.effective", "add effectiveDateTime"},
		{"just a date", "kiln-time", observation(byDevice + `"effectiveDateTime":"2026-05-11","valueString":"x"`), "Observation.effective", "add the time of day"},
		{"just a year", "kiln-time", observation(byDevice + `"effectiveDateTime":"2026","valueString":"x"`), "Observation.effective", "add the time of day"},
		{"an offset that is not known", "kiln-time", observation(`"effectiveDateTime":"2026-05-11T07:30:00-00:00"`), "Observation.effective", "Z if the time is UTC"},
		{"an instant whose offset is not known", "kiln-time", observation(`"effectiveInstant":"2026-05-11T07:30:00.5-00:00"`), "Observation.effective", ""},
		{"a period from a date on", "kiln-time", observation(byDevice + `"effectivePeriod":{"start":"2026-05-11","end":"2026-05-12T07:30:00Z"}`), "Observation.effective.start", ""},
		{"a period to an offset that is not known", "kiln-time", observation(`"effectivePeriod":{"start":"2026-05-11","end":"2026-05-12T07:30:00-00:00"}`), "Observation.effective.end", ""},
		{"a final measurement that goes on", "kiln-time", observation(`"effectivePeriod":{"start":"2026-05-11T07:30:00Z"}`), "Observation.effective.end", "add the end"},

		{"degrees Fahrenheit that are called Celsius", "kiln-plausible", vitalSign("bodytemp", "8310-5", "98.6", "Cel"), "Observation.value.value", "check the sensor and the unit"},
		{"degrees Celsius that are called Fahrenheit", "kiln-plausible", vitalSign("bodytemp", "8310-5", "37", "[degF]"), "Observation.value.value", ""},
		{"a saturation above the whole", "kiln-plausible", vitalSign("oxygensat", "2708-6", "100.1", "%"), "Observation.value.value", ""},
		{"a saturation below nothing", "kiln-plausible", vitalSign("oxygensat", "2708-6", "-1", "%"), "Observation.value.value", ""},
		{"a weight of grams that are called kilograms", "kiln-plausible", vitalSign("bodyweight", "29463-7", "3400", "kg"), "Observation.value.value", ""},
		{"a weight in a unit that is in no table", "kiln-plausible", measure(fhir.MDC, "188736", quantityIn("70", fhir.UCUM, "t")), "Observation.value.value", ""},
		{"a height of metres that are called centimetres", "kiln-plausible", vitalSign("bodyheight", "8302-2", "1.75", "cm"), "Observation.value.value", ""},
		{"a pressure in another unit of the same kind", "kiln-plausible", measure(fhir.MDC, "150021", quantityIn("120", fhir.UCUM, "kPa")), "Observation.value.value", ""},
		{"glucose as moles", "kiln-plausible", measure(fhir.MDC, "160020", quantityIn("140", fhir.UCUM, "mmol/L")), "Observation.value.value", ""},
		{"glucose as mass", "kiln-plausible", measure(fhir.MDC, "160020", quantityIn("2300", fhir.UCUM, "mg/dL")), "Observation.value.value", ""},
		{"a number beyond all numbers", "kiln-plausible", vitalSign("heartrate", "8867-4", "1e999", "/min"), "Observation.value.value", ""},
		{"a component", "kiln-plausible", pressures("1200", "80"), "Observation.component[0].value.value", ""},
		{"a diastolic pressure above the systolic one", "kiln-plausible", pressures("80", "120"), "Observation.component", "check which is which"},

		{"a number that is in no table", "kiln-mdc", measure(fhir.MDC, "199999", `"valueString":"x"`), "Observation.code.coding[0].code", "rtmms"},
		{"partition and term", "kiln-mdc", measure(fhir.MDC, "2::18442", `"valueString":"x"`), "Observation.code.coding[0].code", "send 149514"},
		{"a reference id", "kiln-mdc", measure(fhir.MDC, "MDC_PULS_OXIM_SAT_O2", `"valueString":"x"`), "Observation.code.coding[0].code", "send 150456"},
		{"a reference id of a unit", "kiln-mdc", `{"resourceType":"DeviceMetric","type":{"text":"x"},"category":"measurement","unit":{"coding":[{"system":"urn:iso:std:iso:11073:10101","code":"MDC_DIM_MMHG"}]}}`, "DeviceMetric.unit.coding[0].code", "send 266016"},
		{"a term without its partition", "kiln-mdc", measure(fhir.MDC, "18442", `"valueString":"x"`), "Observation.code.coding[0].code", "partition × 65536"},
		{"more than 32 bits", "kiln-mdc", measure(fhir.MDC, "4294967296", `"valueString":"x"`), "Observation.code.coding[0].code", ""},
		{"a zero before the number", "kiln-mdc", measure(fhir.MDC, "0147842", `"valueString":"x"`), "Observation.code.coding[0].code", ""},
		{"a type of a Device", "kiln-mdc", `{"resourceType":"Device","type":{"coding":[{"system":"urn:iso:std:iso:11073:10101","code":"x"}]}}`, "Device.type.coding[0].code", ""},

		{"a check digit", "kiln-loinc", measure(fhir.LOINC, "8867-5", `"valueString":"x"`), "Observation.code.coding[0].code", "-4"},
		{"a number without its check digit", "kiln-loinc", measure(fhir.LOINC, "8867", `"valueString":"x"`), "Observation.code.coding[0].code", "8867-4"},
		{"a name for a code", "kiln-loinc", measure(fhir.LOINC, "heart-rate", `"valueString":"x"`), "Observation.code.coding[0].code", ""},
		{"an endless number", "kiln-loinc", measure(fhir.LOINC, strings.Repeat("8", 5000), `"valueString":"x"`), "Observation.code.coding[0].code", ""},

		{"the check digit of a GTIN", "kiln-udi-check", device(gs1DI + `"deviceIdentifier":"09504000059119"`), "Device.udiCarrier[0].deviceIdentifier", "label"},
		{"the check digit of a GTIN in the form", "kiln-udi-check", device(gs1DI + `"carrierHRF":"(01)09504000059119(21)1"`), "Device.udiCarrier[0].carrierHRF", "label"},
		{"the check digit of a GTIN, by the form alone", "kiln-udi-check", device(`"carrierHRF":"(01)09504000059119"`), "Device.udiCarrier[0].carrierHRF", "label"},
		{"the check character of HIBCC", "kiln-udi-check", device(hibccDI + `"carrierHRF":"+A123BJC5D6E71H"`), "Device.udiCarrier[0].carrierHRF", "label"},
		{"the check digit in a definition", "kiln-udi-check", `{"resourceType":"DeviceDefinition","udiDeviceIdentifier":[{` + gs1DI + `"deviceIdentifier":"09504000059119","jurisdiction":"http://hl7.org/fhir/NamingSystem/fda-udi"}]}`, "DeviceDefinition.udiDeviceIdentifier[0].deviceIdentifier", ""},

		{"no GTIN", "kiln-udi", device(gs1DI + `"deviceIdentifier":"ABC"`), "Device.udiCarrier[0].deviceIdentifier", "14 digits"},
		{"a short GTIN", "kiln-udi", device(gs1DI + `"deviceIdentifier":"9504000059118"`), "Device.udiCarrier[0].deviceIdentifier", "zeros"},
		{"a form of another device", "kiln-udi", device(gs1DI + `"deviceIdentifier":"09504000059118","carrierHRF":"(01)51022222233336"`), "Device.udiCarrier[0].deviceIdentifier", "14 digits"},
		{"a form that is none of GS1", "kiln-udi", device(gs1DI + `"carrierHRF":"0109504000059118"`), "Device.udiCarrier[0].carrierHRF", "(01)"},
		{"a day that does not exist", "kiln-udi", device(gs1DI + `"carrierHRF":"(01)09504000059118(17)250230"`), "Device.udiCarrier[0].carrierHRF", "YYMMDD"},
		{"a month that does not exist", "kiln-udi", device(gs1DI + `"carrierHRF":"(01)09504000059118(11)261301"`), "Device.udiCarrier[0].carrierHRF", "YYMMDD"},
		{"an identifier that is none of HIBCC", "kiln-udi", device(hibccDI + `"deviceIdentifier":"A1"`), "Device.udiCarrier[0].deviceIdentifier", "6 to 23"},
		{"an identifier that is not that of the form", "kiln-udi", device(hibccDI + `"deviceIdentifier":"A123BJC5D6E72","carrierHRF":"+A123BJC5D6E71G"`), "Device.udiCarrier[0].deviceIdentifier", "+"},
		{"a form that is none of HIBCC", "kiln-udi", device(hibccDI + `"carrierHRF":"+a123bjc5d6e71g"`), "Device.udiCarrier[0].carrierHRF", "capital"},
		{"a form that is none of ICCBBA", "kiln-udi", device(`"issuer":"http://hl7.org/fhir/NamingSystem/iccbba-other-di","carrierHRF":"A9999XYZ100T0944"`), "Device.udiCarrier[0].carrierHRF", "=/"},
		{"an issuer that the FDA does not know", "kiln-udi", device(`"issuer":"http://acme.example/udi","jurisdiction":"http://hl7.org/fhir/NamingSystem/fda-udi"`), "Device.udiCarrier[0].issuer", "gs1-di"},
	} {
		t.Run(c.rule+", "+c.about, func(t *testing.T) {
			i := slices.IndexFunc(deviceRules[:], func(r Rule) bool { return r.ID == c.rule })
			rule := deviceRules[i]
			r := Resource([]byte(c.body), nil)
			count := 0
			for _, f := range r.Found {
				if f.Rule != c.rule {
					if f.Rule != "" && f.Rule != "kiln-vital-sign" {
						t.Errorf("unexpected: %s", f.Error())
					}
					continue
				}
				count++
				if f.Path != c.path || f.Severity != rule.Severity || f.Spec != rule.Source || !strings.HasPrefix(f.Message, c.rule+": ") || !strings.Contains(f.Fix, c.fix) || f.Fix == "" {
					t.Errorf("got %+v", f)
				}
			}
			if count != 1 {
				t.Fatalf("found %d times, want once: %v", count, r.Issues())
			}
			if r.Valid() != (rule.Severity == fhir.Warning) {
				t.Errorf("valid %v: %v", r.Valid(), r.Issues())
			}

			r = Resource([]byte(c.body), &Options{DeviceRules: Advisory})
			if !r.Valid() || r.Warnings == 0 || slices.ContainsFunc(r.Found, func(f Found) bool { return f.Severity == fhir.SevError }) {
				t.Errorf("as advice: %v", r.Issues())
			}
			for about, opt := range map[string]*Options{"the rule is off": {Without: []string{"no-rule", c.rule}}, "all are off": {DeviceRules: Ignored}, "structure": {Level: Structure}} {
				for _, f := range Resource([]byte(c.body), opt).Found {
					if f.Rule == c.rule {
						t.Errorf("%s, and got %s", about, f.Error())
					}
				}
			}
		})
	}
}

func TestDeviceRulesLeaveAloneWhatIsRight(t *testing.T) {
	heart := vitalSign("heartrate", "8867-4", "72", "/min")
	late := strings.Replace(heart, `"value":72`, `"value":720`, 1)
	for about, body := range map[string]string{
		"a heart rate":                                       heart,
		"a heart rate of US Core":                            strings.Replace(heart, heartRateProfile, usCore+"us-core-heart-rate", 1),
		"a heart rate of a version of the profile":           strings.Replace(heart, heartRateProfile, heartRateProfile+"|4.0.1", 1),
		"a heart rate that claims vital signs in general":    strings.Replace(heart, heartRateProfile, r4+"vitalsigns", 1),
		"no heart beat":                                      vitalSign("heartrate", "8867-4", "0", "/min"),
		"an annotation in the unit":                          measure(fhir.MDC, "147842", quantityIn("72", fhir.UCUM, "{beat}/min")),
		"an annotation that is in no table":                  measure(fhir.MDC, "147842", quantityIn("72", fhir.UCUM, "{heartbeats}/min")),
		"a frequency in another unit":                        measure(fhir.MDC, "147842", quantityIn("1.2", fhir.UCUM, "Hz")),
		"a temperature in Fahrenheit":                        vitalSign("bodytemp", "8310-5", "98.6", "[degF]"),
		"a temperature in Kelvin":                            measure(fhir.MDC, "150364", quantityIn("310", fhir.UCUM, "K")),
		"the limits themselves":                              vitalSign("oxygensat", "2708-6", "100", "%"),
		"glucose as mass":                                    measure(fhir.LOINC, "41653-7", quantityIn("98", fhir.UCUM, "mg/dL")),
		"glucose as mass in another unit":                    measure(fhir.LOINC, "41653-7", quantityIn("0.98", fhir.UCUM, "g/L")),
		"glucose as moles":                                   measure(fhir.LOINC, "14743-9", quantityIn("5.4", fhir.UCUM, "mmol/L")),
		"glucose of a code that leaves both":                 measure(fhir.MDC, "160020", quantityIn("5.4", fhir.UCUM, "mmol/L")),
		"a pressure in kPa":                                  measure(fhir.MDC, "150021", quantityIn("16", fhir.UCUM, "kPa")),
		"a unit of IEEE 11073":                               measure(fhir.MDC, "150456", quantityIn("97", fhir.MDC, "262688")),
		"a unit of IEEE 11073 that is not known":             measure(fhir.MDC, "150456", quantityIn("97", fhir.MDC, "262144")),
		"a unit of a system that is not known":               measure(fhir.MDC, "150456", quantityIn("97", "http://acme.example/unit", "mmHg")),
		"a unit without a code":                              measure(fhir.MDC, "150456", `"valueQuantity":{"value":97,"unit":"mmHg"}`),
		"a value that is a text":                             measure(fhir.MDC, "150456", `"valueString":"97"`),
		"a value that is a Ratio":                            measure(fhir.MDC, "150456", `"valueRatio":{"numerator":{"value":1},"denominator":{"value":2}}`),
		"a blood pressure":                                   pressures("120", "80"),
		"a systolic pressure alone has no profile":           measure(fhir.LOINC, "8480-6", quantityIn("120", fhir.UCUM, "mm[Hg]")),
		"a waveform cannot meet the profile":                 measure(fhir.LOINC, "8867-4", `"valueSampledData":{"origin":{"value":0,"system":"http://unitsofmeasure.org","code":"/min"},"period":4,"dimensions":1,"data":"1 2"}`),
		"what was entered in error":                          strings.Replace(strings.Replace(late, heartRateProfile, r4+"Observation", 1), "final", "entered-in-error", 1),
		"a value beyond what the device can tell":            measure(fhir.MDC, "150456", `"valueQuantity":{"value":101,"comparator":">","system":"http://unitsofmeasure.org","code":"%"}`),
		"a date without a device":                            observation(`"effectiveDateTime":"2026-05-11","valueString":"x"`),
		"no time without a device":                           observation(`"valueString":"x"`),
		"no time of what was entered in error":               strings.Replace(observation(byDevice+`"valueString":"x"`), "final", "entered-in-error", 1),
		"no time and no value":                               observation(byDevice + `"dataAbsentReason":{"text":"x"}`),
		"a measurement that goes on":                         strings.Replace(observation(byDevice+`"effectivePeriod":{"start":"2026-05-11T07:30:00Z"}`), "final", "preliminary", 1),
		"a period":                                           observation(byDevice + `"effectivePeriod":{"start":"2026-05-11T07:30:00Z","end":"2026-05-11T08:30:00Z"}`),
		"a Timing":                                           observation(byDevice + `"effectiveTiming":{"event":["2026-05-11"]}`),
		"UTC, west and east of it":                           observation(byDevice + `"effectivePeriod":{"start":"2026-05-11T07:30:00Z","end":"2026-05-11T07:30:00-10:00"}`),
		"a term that is neither metric nor unit":             `{"resourceType":"Device","type":{"coding":[{"system":"urn:iso:std:iso:11073:10101","code":"528388"}]}}`,
		"a LOINC answer":                                     observation(`"valueCodeableConcept":{"coding":[{"system":"http://loinc.org","code":"LA6576-8"}]}`),
		"a LOINC number that was published with another end": measure(fhir.LOINC, "5895-7", `"valueString":"x"`),
		"a code without a system":                            observation(`"valueCodeableConcept":{"coding":[{"code":"8867-5"}]}`),
		"a UDI of GS1":                                       device(gs1DI + `"deviceIdentifier":"51022222233336","carrierHRF":"(01)51022222233336(11)141231(17)150700(10)A213B1(21)1234"`),
		"a UDI of HIBCC":                                     device(hibccDI + `"deviceIdentifier":"A123BJC5D6E71","carrierHRF":"+A123BJC5D6E71G"`),
		"a UDI of ICCBBA":                                    device(`"issuer":"http://hl7.org/fhir/NamingSystem/iccbba-other-di","deviceIdentifier":"XYZ100T0944","carrierHRF":"=/A9999XYZ100T0944=,000025"`),
		"a UDI of somebody else":                             device(`"issuer":"http://acme.example/udi","deviceIdentifier":"1","carrierHRF":"1"`),
		"no UDI at all":                                      device(`"entryType":"manual"`),
		"an endless UDI":                                     device(`"carrierHRF":"(01)` + strings.Repeat("9", 5000) + `"`),
	} {
		t.Run(about, func(t *testing.T) {
			for _, f := range Resource([]byte(body), nil).Found {
				if f.Rule != "" {
					t.Errorf("got %s", f.Error())
				}
			}
		})
	}
}

// Codes of systems that are not published with FHIR are looked up where a value set has them all.
func TestBindingsToSystemsThatAreNotPublished(t *testing.T) {
	effect := func(unit string) string {
		return `{"resourceType":"EffectEvidenceSynthesis","status":"draft","population":{"reference":"EvidenceVariable/1"},"exposure":{"reference":"EvidenceVariable/1"},"exposureAlternative":{"reference":"EvidenceVariable/1"},"outcome":{"reference":"EvidenceVariable/1"},` +
			`"effectEstimate":[{"unitOfMeasure":{"coding":[{"system":"http://unitsofmeasure.org","code":"` + unit + `"}]}}]}`
	}
	alone := &Options{DeviceRules: Ignored}
	fault{body: effect("mmHg"), code: "code-invalid", path: "EffectEvidenceSynthesis.effectEstimate[0].unitOfMeasure", message: "ucum-units (required)"}.check(t, alone)
	if r := Resource([]byte(effect("mm[Hg]")), nil); len(r.Found) > 0 {
		t.Errorf("got %v", r.Issues())
	}
	panel := func(code string) string {
		return `{"resourceType":"Observation","meta":{"profile":["` + usCore + `us-core-observation-clinical-result"]},"status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"exam"}]}],` +
			`"code":{"coding":[{"system":"http://loinc.org","code":"` + code + `"}]},"subject":{"reference":"Patient/1"},"effectiveDateTime":"2026-05-11","valueString":"x"}`
	}
	fault{body: panel("8867-5"), code: "code-invalid", path: "Observation.code", message: "observation-codes (extensible)", severity: fhir.Warning}.check(t, alone)
	if r := Resource([]byte(panel("8867-4")), alone); len(r.Found) > 0 {
		t.Errorf("got %v", r.Issues())
	}
}

func TestRulesAreDocumented(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range DeviceRules() {
		u, err := url.Parse(r.Source)
		if !strings.HasPrefix(r.ID, "kiln-") || seen[r.ID] || r.Title == "" || !strings.HasSuffix(r.Text, ".") || err != nil || u.Host == "" || r.Severity != fhir.SevError && r.Severity != fhir.Warning {
			t.Errorf("got %+v", r)
		}
		seen[r.ID] = true
	}
	DeviceRules()[0].ID = "changed"
	if DeviceRules()[0].ID != "kiln-ucum" {
		t.Error("who asks can change the rules")
	}
}

// What is wrong with a code is told without the code: a stranger may have put anything there.
func TestDeviceRulesRepeatNothingOfTheBody(t *testing.T) {
	const secret = "Mustermann1970"
	for _, body := range []string{
		measure(fhir.LOINC, secret, quantityIn("19701970", fhir.UCUM, secret)), measure(fhir.MDC, secret, quantityIn("19701970", fhir.UCUM, "%")),
		measure(fhir.MDC, "150456", quantityIn("19701970", fhir.UCUM, "%")), device(gs1DI + `"deviceIdentifier":"` + secret + `","carrierHRF":"` + secret + `"`),
		device(hibccDI + `"deviceIdentifier":"` + secret + `","carrierHRF":"` + secret + `"`), device(gs1DI + `"carrierHRF":"(01)09504000059118(17)` + secret + `"`),
	} {
		r := Resource([]byte(body), nil)
		if len(r.Found) == 0 {
			t.Errorf("nothing was found in %s", body)
		}
		for _, f := range r.Found {
			if f.Rule != "" && (strings.Contains(f.Error(), "Mustermann") || strings.Contains(f.Error(), "1970")) {
				t.Errorf("got %s", f.Error())
			}
		}
	}
}

// findings are those of the device rules in the official examples, each read against its
// source: how many there are of a rule in a file, and what is wrong.
var findings = map[string]string{
	"kiln-time Observation-abdo-tender.json": "1: a final finding whose period has no end",
	"kiln-time Observation-f001.json":        "1: a final glucose whose period has no end",

	"kiln-ucum Bundle-father.json":                                   "1: tbl",
	"kiln-ucum Claim-760151.json":                                    "1: TAB",
	"kiln-ucum Claim-760152.json":                                    "1: TAB",
	"kiln-ucum MedicationDispense-meddisp0309.json":                  "1: drop is [drp]",
	"kiln-ucum MedicationDispense-meddisp0313.json":                  "2: mEq is meq",
	"kiln-ucum MedicationDispense-meddisp0318.json":                  "1: mcg is ug",
	"kiln-ucum MedicationDispense-meddisp0324.json":                  "1: ea",
	"kiln-ucum MedicationDispense-meddisp0327.json":                  "1: ea",
	"kiln-ucum MedicationDispense-meddisp0328.json":                  "1: ea",
	"kiln-ucum MedicationDispense-meddisp0329.json":                  "1: ea",
	"kiln-ucum MedicationRequest-medrx0304.json":                     "1: drop is [drp]",
	"kiln-ucum MedicationRequest-medrx0314.json":                     "1: mcg is ug",
	"kiln-ucum MedicationRequest-medrx0319.json":                     "1: ml/hr is mL/h",
	"kiln-ucum MedicationRequest-medrx0322.json":                     "2: mEq is meq",
	"kiln-ucum MedicationRequest-medrx0325.json":                     "1: ea",
	"kiln-ucum MedicationRequest-medrx0326.json":                     "1: ea",
	"kiln-ucum MedicationRequest-medrx0328.json":                     "1: ea",
	"kiln-ucum MedicationRequest-medrx0329.json":                     "1: ea",
	"kiln-ucum MedicationRequest-medrx0334.json":                     "1: ea",
	"kiln-ucum MedicationRequest-medrx0335.json":                     "1: ea",
	"kiln-ucum VisionPrescription-33124.json":                        "2: month is mo",
	"kiln-vital-sign Observation-bmi-using-related.json":             "1: no meta.profile",
	"kiln-vital-sign Observation-example.json":                       "1: no meta.profile",
	"kiln-vital-sign Observation-HeartRateNumericObservation.json":   "1: a PoCD profile only, which does not derive from vitalsigns",
	"kiln-vital-sign Observation-NBPCompoundNumericObservation.json": "1: a PoCD profile only",
	"kiln-vital-sign bundle-continuousnonin.json":                    "24: PHD profiles only, which do not derive from vitalsigns",
	"kiln-vital-sign bundle-example-1.json":                          "2: PHD profiles only",
	"kiln-vital-sign compound-numeric-blood-pressure.json":           "1: a PHD profile only",
	"kiln-vital-sign compound-numeric-blood-pressure-no-mean.json":   "1: a PHD profile only",
	"kiln-vital-sign numeric-spo2-alarm.json":                        "1: a PHD profile only",
	"kiln-vital-sign numeric-spotnumeric.json":                       "1: a PHD profile only",
	"kiln-vital-sign temperature-observation.json":                   "1: a PHD profile only",
}

func TestWhatDeviceRulesFindInTheOfficialExamplesIsKnown(t *testing.T) {
	counts := map[string]int{}
	for file, body := range examples(t, "r4/examples/*/*.json", "phd/examples/*.json", "pocd/examples/*.json") {
		for _, f := range Resource(body, &Options{MaxIssues: 10_000}).Found {
			if f.Rule != "" {
				counts[f.Rule+" "+file]++
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		if !strings.HasPrefix(findings[key], fmt.Sprintf("%d: ", counts[key])) {
			t.Errorf("%s: found %d, and the table says %q", key, counts[key], findings[key])
		}
	}
	for key := range findings {
		if counts[key] == 0 {
			t.Errorf("%s: found nothing, and the table says %q", key, findings[key])
		}
	}
}

func BenchmarkBloodPressure(b *testing.B) { benchmark(b, []byte(pressures("120", "80")), nil) }

func TestDeviceRulesAllocateNothingForWhatIsRight(t *testing.T) {
	fhirtest.Long(t)
	if testing.CoverMode() != "" {
		t.Skip("counting coverage allocates")
	}
	for _, body := range []string{pressures("120", "80"), vitalSign("bodytemp", "8310-5", "98.60", "[degF]"), measure(fhir.MDC, "147842", quantityIn("72", fhir.UCUM, "{beat}/min")), measure(fhir.MDC, "150456", quantityIn("97", fhir.MDC, "262688"))} {
		Resource([]byte(body), nil)
		if n := testing.AllocsPerRun(200, func() { Resource([]byte(body), nil) }); n > 1.5 { // one is the body
			t.Errorf("got %.1f allocations for %s", n, body)
		}
	}
}

// Whatever a stranger puts where codes, units, values and UDIs stand, the rules neither panic
// nor repeat it, and say which rule is broken.
func FuzzDeviceRules(f *testing.F) {
	for _, s := range []string{"mmHg", "{beat}/min", "8867-5", "2::18442", "MDC_DIM_MMHG", "(01)09504000059119(17)250230(", "+A123BJC5D6E71H", "=/A", "", "\x00", "٣-4"} {
		f.Add(s, s, 98.6)
	}
	f.Fuzz(func(t *testing.T, a, b string, value float64) {
		if !utf8.ValidString(a) || !utf8.ValidString(b) {
			return
		}
		text := func(s string) string {
			quoted, err := jsontext.AppendQuote(nil, s)
			if err != nil {
				t.Fatal(err)
			}
			return string(quoted)
		}
		coding := func(system, code string) string { return `{"system":"` + system + `","code":` + text(code) + `}` }
		amount := fmt.Sprintf("%g", value)
		if math.IsNaN(value) || math.IsInf(value, 0) {
			amount = "1e9999"
		}
		for _, body := range []string{
			`{"resourceType":"Observation","status":"final","code":{"coding":[` + coding(fhir.MDC, a) + `,` + coding(fhir.LOINC, b) + `,` + coding(fhir.MDC, "160020") + `]},"effectiveDateTime":` + text(b) +
				`,"device":{"display":"x"},"valueQuantity":{"value":` + amount + `,"system":"http://unitsofmeasure.org","code":` + text(a) + `}}`,
			`{"resourceType":"Device","type":{"coding":[` + coding(fhir.UCUM, b) + `]},"udiCarrier":[{"issuer":"http://hl7.org/fhir/NamingSystem/gs1-di","deviceIdentifier":` + text(a) + `,"carrierHRF":` + text(b) + `},` +
				`{"issuer":"http://hl7.org/fhir/NamingSystem/hibcc","deviceIdentifier":` + text(a) + `,"carrierHRF":` + text(b) + `},{"deviceIdentifier":` + text(a) + `,"carrierHRF":` + text(b) + `}]}`,
		} {
			for _, found := range Resource([]byte(body), nil).Found {
				if found.Rule != "" && (!strings.HasPrefix(found.Message, found.Rule+": ") || found.Fix == "" || found.Path == "") {
					t.Errorf("got %+v", found)
				}
			}
		}
	})
}
