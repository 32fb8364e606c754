package validate

import (
	"slices"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
)

const (
	r4     = "http://hl7.org/fhir/StructureDefinition/"
	usCore = "http://hl7.org/fhir/us/core/StructureDefinition/"
	phd    = "http://hl7.org/fhir/uv/phd/StructureDefinition/"
	pocd   = "http://hl7.org/fhir/uv/pocd/StructureDefinition/"
)

func quantityOfUnit(value, unit string) string {
	return `{"value":` + value + `,"unit":"` + unit + `","system":"http://unitsofmeasure.org","code":"` + unit + `"}`
}

// sign is an Observation of the category of vital signs with a LOINC code.
func sign(profile, loinc, elements string) string {
	return `{"resourceType":"Observation","meta":{"profile":["` + profile + `"]},"status":"final",` +
		`"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}]}],` +
		`"code":{"coding":[{"system":"http://loinc.org","code":"` + loinc + `"}]},` +
		`"subject":{"reference":"Patient/1"},"effectiveDateTime":"2024-02-29T08:30:00+01:00",` + elements + `}`
}

func part(loinc, elements string) string {
	return `{"code":{"coding":[{"system":"http://loinc.org","code":"` + loinc + `"}]},` + elements + `}`
}

func bloodPressure(profile string) string {
	return sign(profile, "85354-9", `"component":[`+part("8480-6", `"valueQuantity":`+quantityOfUnit("120", "mm[Hg]"))+`,`+part("8462-4", `"valueQuantity":`+quantityOfUnit("80", "mm[Hg]"))+`]`)
}

func TestVitalSignsMeetTheirProfiles(t *testing.T) {
	for profile, body := range map[string]string{
		r4 + "vitalsigns":                     sign(r4+"vitalsigns", "8867-4", `"valueQuantity":`+quantityOfUnit("72", "/min")),
		r4 + "heartrate":                      sign(r4+"heartrate", "8867-4", `"valueQuantity":`+quantityOfUnit("72", "/min")),
		r4 + "resprate":                       sign(r4+"resprate", "9279-1", `"valueQuantity":`+quantityOfUnit("14", "/min")),
		r4 + "oxygensat":                      sign(r4+"oxygensat", "2708-6", `"valueQuantity":`+quantityOfUnit("98", "%")),
		r4 + "bodytemp":                       sign(r4+"bodytemp", "8310-5", `"valueQuantity":`+quantityOfUnit("36.90", "Cel")),
		r4 + "bodyheight":                     sign(r4+"bodyheight", "8302-2", `"valueQuantity":`+quantityOfUnit("170", "cm")),
		r4 + "bodyweight":                     sign(r4+"bodyweight", "29463-7", `"valueQuantity":`+quantityOfUnit("70.5", "kg")),
		r4 + "headcircum":                     sign(r4+"headcircum", "9843-4", `"valueQuantity":`+quantityOfUnit("52", "cm")),
		r4 + "bmi":                            sign(r4+"bmi", "39156-5", `"valueQuantity":`+quantityOfUnit("24.4", "kg/m2")),
		r4 + "bp":                             bloodPressure(r4 + "bp"),
		r4 + "vitalspanel":                    sign(r4+"vitalspanel", "85353-1", `"hasMember":[{"reference":"Observation/1"}]`),
		usCore + "us-core-vital-signs":        sign(usCore+"us-core-vital-signs", "8867-4", `"valueQuantity":`+quantityOfUnit("72", "/min")),
		usCore + "us-core-heart-rate":         sign(usCore+"us-core-heart-rate", "8867-4", `"valueQuantity":`+quantityOfUnit("72", "/min")),
		usCore + "us-core-respiratory-rate":   sign(usCore+"us-core-respiratory-rate", "9279-1", `"valueQuantity":`+quantityOfUnit("14", "/min")),
		usCore + "us-core-body-temperature":   sign(usCore+"us-core-body-temperature", "8310-5", `"valueQuantity":`+quantityOfUnit("98.6", "[degF]")),
		usCore + "us-core-body-weight":        sign(usCore+"us-core-body-weight", "29463-7", `"valueQuantity":`+quantityOfUnit("70.5", "kg")),
		usCore + "us-core-body-height":        sign(usCore+"us-core-body-height", "8302-2", `"valueQuantity":`+quantityOfUnit("170", "cm")),
		usCore + "us-core-bmi":                sign(usCore+"us-core-bmi", "39156-5", `"valueQuantity":`+quantityOfUnit("24.4", "kg/m2")),
		usCore + "us-core-head-circumference": sign(usCore+"us-core-head-circumference", "9843-4", `"valueQuantity":`+quantityOfUnit("52", "cm")),
		usCore + "us-core-blood-pressure":     bloodPressure(usCore + "us-core-blood-pressure"),
		usCore + "us-core-pulse-oximetry": strings.Replace(sign(usCore+"us-core-pulse-oximetry", "59408-5", `"valueQuantity":`+quantityOfUnit("98", "%")),
			`"code":"59408-5"}`, `"code":"59408-5"},{"system":"http://loinc.org","code":"2708-6"}`, 1),
	} {
		if r := Resource([]byte(body), nil); len(r.Found) > 0 {
			t.Errorf("%s: got %v", profile, r.Issues())
		}
		unclaimed := strings.Replace(body, `"meta":{"profile":["`+profile+`"]},`, "", 1)
		if r := Resource([]byte(unclaimed), &Options{Profiles: []string{profile}}); len(r.Found) > 0 {
			t.Errorf("%s, asked for: got %v", profile, r.Issues())
		}
	}
}

func TestProfileFaultsAreNamedWhereTheyAre(t *testing.T) {
	heart := sign(r4+"heartrate", "8867-4", `"valueQuantity":`+quantityOfUnit("72", "/min"))
	bp := bloodPressure(r4 + "bp")
	usbp := bloodPressure(usCore + "us-core-blood-pressure")
	without := func(body, part string) string {
		t.Helper()
		if strings.Count(body, part) != 1 {
			t.Fatalf("%s is not once in %s", part, body)
		}
		return strings.Replace(body, part, "", 1)
	}
	instead := func(body, part, other string) string {
		t.Helper()
		if !strings.Contains(body, part) {
			t.Fatalf("%s is not in %s", part, body)
		}
		return strings.Replace(body, part, other, 1)
	}
	effective := `"effectiveDateTime":"2024-02-29T08:30:00+01:00",`
	for _, f := range []struct {
		fault
		profile string
	}{
		{fault{about: "heart rate without a time", body: without(heart, effective), code: "required", path: "Observation.effective", message: "effective must occur at least once"}, r4 + "heartrate"},
		{fault{about: "heart rate at a time that is a Timing", body: instead(heart, effective, `"effectiveTiming":{"event":["2024-02-29"]},`), code: "structure", path: "Observation.effective", message: "must not be a Timing", fix: "send dateTime or Period"}, r4 + "heartrate"},
		{fault{about: "heart rate of another category", body: instead(heart, "vital-signs", "laboratory"), code: "required", path: "Observation.category", message: "category:VSCat must occur at least once, found 0"}, r4 + "heartrate"},
		{fault{about: "heart rate with a second coding in the category", body: instead(heart, `"code":"vital-signs"}`, `"code":"vital-signs"},{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"exam"}`), code: "value", path: "Observation.category[0].coding[1].code", message: `must be exactly "vital-signs", found another code`}, r4 + "heartrate"},
		{fault{about: "heart rate with another code", body: instead(heart, "8867-4", "8310-5"), code: "required", path: "Observation.code.coding", message: "coding:HeartRateCode must occur at least once"}, r4 + "heartrate"},
		{fault{about: "heart rate in another unit", body: instead(heart, `"code":"/min"`, `"code":"/h"`), code: "value", path: "Observation.value.code", message: `must be exactly "/min", found another code`}, r4 + "heartrate"},
		{fault{about: "heart rate without a unit", body: without(heart, `"unit":"/min",`), code: "required", path: "Observation.value.unit", message: "unit must occur"}, r4 + "heartrate"},
		{fault{about: "heart rate without a patient", body: without(heart, `"subject":{"reference":"Patient/1"},`), code: "required", path: "Observation.subject", message: "subject must occur"}, r4 + "heartrate"},
		{fault{about: "heart rate of a group", body: instead(heart, "Patient/1", "Group/1"), code: "value", path: "Observation.subject", message: "a Group", fix: "refer to Patient"}, r4 + "heartrate"},
		{fault{about: "heart rate as a text", body: instead(heart, `"valueQuantity":`+quantityOfUnit("72", "/min"), `"valueString":"72"`), code: "structure", path: "Observation.value", message: "must not be a string", fix: "send Quantity"}, r4 + "heartrate"},
		{fault{about: "blood pressure without the diastolic", body: without(bp, `,`+part("8462-4", `"valueQuantity":`+quantityOfUnit("80", "mm[Hg]"))), code: "required", path: "Observation.component", message: "component:DiastolicBP must occur at least once"}, r4 + "bp"},
		{fault{about: "blood pressure with two systolics", body: instead(bp, "8462-4", "8480-6"), code: "structure", path: "Observation.component", message: "component:SystolicBP may occur at most once, found 2"}, r4 + "bp"},
		{fault{about: "blood pressure in kPa", body: instead(bp, quantityOfUnit("80", "mm[Hg]"), quantityOfUnit("10.7", "kPa")), code: "value", path: "Observation.component[1].value.code", message: `must be exactly "mm[Hg]", found another code`}, r4 + "bp"},
		{fault{about: "blood pressure with a component without value and reason", body: instead(bp, `,"valueQuantity":`+quantityOfUnit("80", "mm[Hg]"), ""), code: "invariant", path: "Observation.component[1]", message: "vs-3"}, r4 + "bp"},
		{fault{about: "blood pressure with another code", body: instead(bp, "85354-9", "55284-4"), code: "required", path: "Observation.code.coding", message: "coding:BPCode"}, r4 + "bp"},
		{fault{about: "US Core blood pressure in another unit", body: instead(usbp, `"code":"mm[Hg]"`, `"code":"mmHg"`), code: "value", path: "Observation.component[0].value.code", message: `must be exactly "mm[Hg]"`}, usCore + "us-core-blood-pressure"},
		{fault{about: "US Core blood pressure with another code", body: instead(usbp, "85354-9", "55284-4"), code: "value", path: "Observation.code", message: `must have {coding: [{code: "85354-9", system: "http://loinc.org"}]}`}, usCore + "us-core-blood-pressure"},
	} {
		t.Run(f.about, func(t *testing.T) {
			r := Resource([]byte(f.body), &Options{DeviceRules: Ignored})
			if !slices.ContainsFunc(r.Found, func(i Found) bool {
				return i.Severity == fhir.SevError && i.Code == f.code && i.Path == f.path && strings.Contains(i.Message, f.message) && strings.Contains(i.Fix, f.fix) && i.Spec == f.profile
			}) {
				t.Errorf("want %s at %s: %s (%s), got %+v", f.code, f.path, f.message, f.profile, r.Issues())
			}
			for _, i := range r.Found {
				if !strings.HasPrefix(f.path, i.Path) && !strings.HasPrefix(i.Path, strings.TrimSuffix(f.path, ".coding")) {
					t.Errorf("unexpected: %s", i.Error())
				}
			}
		})
	}
}

func TestProfilesThatAreClaimed(t *testing.T) {
	claim := func(urls ...string) string {
		return `{"resourceType":"Patient","meta":{"profile":["` + strings.Join(urls, `","`) + `"]}}`
	}
	for _, c := range []struct {
		about, body string
		opt         *Options
		severity    fhir.Severity
		code        string
		path        string
		message     string
	}{
		{"one that is not known is a warning", claim("http://example.org/p"), nil, fhir.Warning, "not-supported", "Patient.meta.profile[0]", "not known here, so it was not checked"},
		{"one for another type", claim(r4 + "heartrate"), nil, fhir.SevError, "invalid", "Patient.meta.profile[0]", "the profile is for Observation"},
		{"one that is asked for and not known", `{"resourceType":"Patient"}`, &Options{Profiles: []string{"http://example.org/p"}}, fhir.SevError, "not-supported", "Patient", "profile 1 of 1 that were asked for is not known here"},
		{"one of another version", sign(r4+"heartrate|9.9", "8867-4", `"valueQuantity":`+quantityOfUnit("72", "/min")), nil, fhir.Warning, "not-supported", "Observation.meta.profile[0]", "known in version 4.0.1 only"},
		{"one that is asked for in another version", sign(r4+"heartrate", "8867-4", `"valueQuantity":`+quantityOfUnit("72", "/min")), &Options{Profiles: []string{r4 + "heartrate|9.9"}}, fhir.Warning, "not-supported", "Observation", "known in version 4.0.1 only"},
		{"the type itself in another version", claim(r4 + "Patient|3.0.2"), nil, fhir.Warning, "not-supported", "Patient.meta.profile[0]", "known in version 4.0.1 only"},
		{"the type itself, asked for in another version", `{"resourceType":"Patient"}`, &Options{Profiles: []string{r4 + "Patient|3.0.2"}}, fhir.Warning, "not-supported", "Patient", "known in version 4.0.1 only"},
	} {
		t.Run(c.about, func(t *testing.T) {
			r := Resource([]byte(c.body), c.opt)
			if len(r.Found) != 1 || r.Found[0].Severity != c.severity || r.Found[0].Code != c.code || r.Found[0].Path != c.path || !strings.Contains(r.Found[0].Message, c.message) {
				t.Errorf("got %+v", r.Found)
			}
		})
	}
	if r := Resource([]byte(claim(r4+"Patient", r4+"Patient|4.0.1", r4+"DomainResource", r4+"Resource")), nil); len(r.Found) != 0 {
		t.Errorf("the type itself and what it is derived from are no profiles: got %v", r.Issues())
	}
	if r := Resource([]byte(claim(usCore+"us-core-patient", usCore+"us-core-patient")), nil); r.Errors != 3 {
		t.Errorf("a profile that is claimed twice is checked once: got %v", r.Issues())
	}
	many := make([]string, maxClaims+1)
	for i := range many {
		many[i] = r4 + "Patient"
	}
	if r := Resource([]byte(claim(many...)), nil); r.Errors != 1 || r.Found[0].Code != "too-costly" {
		t.Errorf("got %v", r.Issues())
	}
}

func TestContainedResourcesAndEntriesMeetTheProfilesThatTheyClaim(t *testing.T) {
	heart := sign(r4+"heartrate", "8867-4", `"valueQuantity":`+quantityOfUnit("72", "/h"))
	for _, f := range []fault{
		{about: "an entry", body: `{"resourceType":"Bundle","type":"collection","entry":[{"resource":` + heart + `}]}`, code: "value", path: "Bundle.entry[0].resource.value.code"},
		{about: "a contained resource", body: observation(`"contained":[` + strings.Replace(heart, `"meta"`, `"id":"a","meta"`, 1) + `],"hasMember":[{"reference":"#a"}]`), code: "value", path: "Observation.contained[0].value.code"},
		{about: "a resource in Parameters", body: `{"resourceType":"Parameters","parameter":[{"name":"x","resource":` + heart + `}]}`, code: "value", path: "Parameters.parameter[0].resource.value.code"},
	} {
		t.Run(f.about, func(t *testing.T) { f.check(t, nil) })
	}
}

func TestExtensionsMeetTheirDefinitions(t *testing.T) {
	on := func(resource, url, content string) string {
		return `{"resourceType":"` + resource + `","extension":[{"url":"` + url + `",` + content + `}]}`
	}
	for _, f := range []fault{
		{about: "a value of another type", body: on("Patient", r4+"patient-birthPlace", `"valueString":"x"`), code: "structure", path: "Patient.extension[0].value", message: "must not be a string", fix: "send Address"},
		{about: "a place that it is not for", body: on("Device", r4+"patient-birthPlace", `"valueAddress":{"city":"x"}`), code: "business-rule", path: "Device.extension[0]", message: "not defined for this element", fix: "put it on Patient"},
		{about: "a part that is missing", body: on("Patient", usCore+"us-core-race", `"extension":[{"url":"detailed","valueCoding":{"system":"urn:oid:2.16.840.1.113883.6.238","code":"1"}}]`), code: "required", path: "Patient.extension[0].extension", message: "extension:text must occur at least once"},
		{about: "a part of another kind", body: on("Patient", usCore+"us-core-race", `"extension":[{"url":"text","valueCode":"x"}]`), code: "structure", path: "Patient.extension[0].extension[0].value", message: "must not be a code", fix: "send string"},
	} {
		t.Run(f.about, func(t *testing.T) { f.check(t, nil) })
	}
	for _, body := range []string{
		on("Patient", usCore+"us-core-race", `"extension":[{"url":"text","valueString":"x"}]`),
		on("Patient", r4+"patient-genderIdentity", `"valueCodeableConcept":{"text":"x"}`),
		on("Patient", r4+"patient-birthPlace", `"valueAddress":{"city":"x"}`),
		`{"resourceType":"Patient","_birthDate":{"extension":[{"url":"` + r4 + `patient-birthTime","valueDateTime":"2024-02-29T08:30:00Z"}]},"birthDate":"2024-02-29"}`,
	} {
		if r := Resource([]byte(body), nil); len(r.Found) > 0 {
			t.Errorf("%s: got %v", body, r.Issues())
		}
	}
	t.Run("a profile with an extension of its own", func(t *testing.T) {
		body := strings.Replace(observation(`"extension":[{"url":"http://example.org/x","valueString":"x"}]`), `"status"`, `"meta":{"profile":["`+phd+`PhdBaseObservation"]},"status"`, 1)
		r := Resource([]byte(body), nil)
		if !slices.ContainsFunc(r.Found, func(f Found) bool {
			return strings.Contains(f.Message, "extension:GatewayDevice must occur at least once")
		}) {
			t.Errorf("got %v", r.Issues())
		}
	})
}

// pulse is an Observation of a personal health device as its guide wants it.
const pulse = `{"resourceType":"Observation","meta":{"profile":["` + phd + `PhdNumericObservation"]},` +
	`"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/observation-gatewayDevice","valueReference":{"reference":"Device/phg"}}],` +
	`"identifier":[{"value":"x"}],"status":"final","category":[{"coding":[{"system":"http://hl7.org/fhir/uv/phd/CodeSystem/PhdObservationCategories","code":"phd"}]}],` +
	`"code":{"coding":[{"system":"urn:iso:std:iso:11073:10101","code":"149530"}]},"subject":{"reference":"Patient/1"},` +
	`"effectiveDateTime":"2024-02-29T08:30:00+01:00","performer":[{"reference":"Patient/1"}],` +
	`"valueQuantity":{"value":72,"system":"http://unitsofmeasure.org","code":"{beat}/min"},"device":{"reference":"Device/phd"}}`

func TestDeviceProfiles(t *testing.T) {
	if r := Resource([]byte(pulse), nil); len(r.Found) > 0 {
		t.Fatalf("got %v", r.Issues())
	}
	for _, f := range []fault{
		{about: "without the device", body: strings.Replace(pulse, `,"device":{"reference":"Device/phd"}`, "", 1), code: "required", path: "Observation.device", message: "device must occur"},
		{about: "a device that is referred to by a name only", body: strings.Replace(pulse, `{"reference":"Device/phd"}`, `{"display":"x"}`, 1), code: "required", path: "Observation.device.reference", message: "reference must occur"},
		{about: "a value that is not UCUM", body: strings.Replace(pulse, "http://unitsofmeasure.org", "urn:iso:std:iso:11073:10101", 1), code: "value", path: "Observation.value.system", message: `must be exactly "http://unitsofmeasure.org"`},
		{about: "without the category of the guide", body: strings.Replace(pulse, `"phd"}]}]`, `"other"}]}]`, 1), code: "required", path: "Observation.category", message: "category:PHD-Observation"},
		{about: "without a gateway", body: strings.Replace(pulse, "observation-gatewayDevice", "observation-delta", 1), code: "required", path: "Observation.extension", message: "extension:GatewayDevice"},
		{about: "a value that is a text", body: strings.Replace(pulse, `"valueQuantity":{"value":72,"system":"http://unitsofmeasure.org","code":"{beat}/min"}`, `"valueString":"72"`, 1), code: "structure", path: "Observation.value", message: "must not be a string"},
	} {
		t.Run(f.about, func(t *testing.T) {
			r := Resource([]byte(f.body), nil)
			if !slices.ContainsFunc(r.Found, func(i Found) bool {
				return i.Code == f.code && i.Path == f.path && strings.Contains(i.Message, f.message) && i.Spec == phd+"PhdNumericObservation"
			}) {
				t.Errorf("got %+v", r.Found)
			}
		})
	}
	t.Run("a slice that a binding tells", func(t *testing.T) {
		body := strings.NewReplacer("PhdNumericObservation", "PhdCoincidentTimeStampObservation", "149530", "67975").Replace(pulse)
		r := Resource([]byte(body), nil)
		if slices.ContainsFunc(r.Found, func(i Found) bool { return strings.Contains(i.Message, "coding:MDCType") }) {
			t.Errorf("67975 is a clock type: got %v", r.Issues())
		}
		body = strings.Replace(body, "67975", "1", 1)
		if r := Resource([]byte(body), nil); !slices.ContainsFunc(r.Found, func(i Found) bool {
			return i.Path == "Observation.code.coding" && strings.Contains(i.Message, "coding:MDCType must occur at least once")
		}) {
			t.Errorf("1 is no clock type: got %v", r.Issues())
		}
	})
	t.Run("closed slices", func(t *testing.T) {
		body := observation(`"effectiveInstant":"2024-01-01T00:00:00Z"`)
		r := Resource([]byte(body), &Options{Profiles: []string{pocd + "NumericObservation"}})
		if !slices.ContainsFunc(r.Found, func(i Found) bool {
			return i.Path == "Observation.effective" && strings.Contains(i.Message, "must not be an instant")
		}) {
			t.Errorf("got %v", r.Issues())
		}
	})
}

func TestMustSupportIsToldOnDemand(t *testing.T) {
	body := []byte(strings.Replace(heartRate, `"meta":{`, `"meta":{"profile":["`+usCore+`us-core-heart-rate"],`, 1))
	if r := Resource(body, nil); len(r.Found) > 0 {
		t.Fatalf("got %v", r.Issues())
	}
	r := Resource(body, &Options{MustSupport: true})
	if !r.Valid() || !slices.ContainsFunc(r.Found, func(i Found) bool {
		return i.Severity == fhir.Information && i.Path == "Observation.dataAbsentReason" && strings.Contains(i.Message, "mustSupport")
	}) {
		t.Errorf("got %v", r.Issues())
	}
}

func TestEveryProfileCompiles(t *testing.T) {
	p := compiled()
	for _, u := range definitions.URLs() {
		s, _ := definitions.Lookup(u)
		q := p.profiles[u]()
		if q == nil {
			if s.Kind != definitions.Primitive && s.Type != "MoneyQuantity" && !s.Abstract && p.byType[s.Type] != nil {
				t.Errorf("%s does not compile", u)
			}
			continue
		}
		if !s.Profile && s.Type != "Extension" && (len(q.rules) > 0 || len(q.children) > 0) {
			t.Errorf("%s is a type and demands nothing beyond itself, got %d rules and %d expectations", u, len(q.rules), len(q.children))
		}
	}
}

func TestWhichProfilesAreKnown(t *testing.T) {
	for profile, want := range map[string]bool{
		r4 + "heartrate": true, r4 + "heartrate|4.0.1": true, r4 + "heartrate|9.9": true, usCore + "us-core-patient": true, phd + "PhdDevice": true, r4 + "Patient": true,
		"http://example.org/p": false, "http://example.org/p|4.0.1": false, "": false, "|": false, "heartrate": false, r4 + "string": false,
	} {
		if Known(profile) != want {
			t.Errorf("%q: got %t", profile, !want)
		}
	}
}

func TestNoCodeIsAllowedBeyondTheLargestValueSet(t *testing.T) {
	dispensed := func(quantity string) string {
		return `{"resourceType":"MedicationDispense","meta":{"profile":["` + usCore + `us-core-medicationdispense"]},"status":"unknown","medicationCodeableConcept":{"text":"x"},"subject":{"reference":"Patient/1"},"quantity":` + quantity + `}`
	}
	fault{body: dispensed(`{"value":1,"system":"http://example.org","code":"x"}`), code: "code-invalid", path: "MedicationDispense.quantity",
		message: "not in the value set http://hl7.org/fhir/ValueSet/ucum-units, beyond which none is allowed"}.check(t, nil)
	for _, quantity := range []string{quantityOfUnit("1", "mg"), `{"value":1,"unit":"tablet"}`} {
		if r := Resource([]byte(dispensed(quantity)), nil); !r.Valid() {
			t.Errorf("%s: got %v", quantity, r.Issues())
		}
	}
}

// slicedNames are the names of a Patient, in slices told by their use, of which the second one demands nothing.
func slicedNames(rules definitions.SlicingRules, ordered bool) *profile {
	p := compiled()
	c := p.ofType("Patient")
	core := c.members[c.ordinal("name")].element
	root := definitions.Element{Name: "Patient"}
	name := &definitions.Element{Name: "name", Max: definitions.Unbounded, List: true, Types: core.Types, Parent: &root,
		Slicing: &definitions.Slicing{Rules: rules, Ordered: ordered, Discriminators: []definitions.Discriminator{{Type: definitions.ByValue, Path: "use"}}}}
	for _, use := range []string{"official", "nickname"} {
		s := &definitions.Element{Name: "name", Slice: use, Max: definitions.Unbounded, List: true, Types: core.Types, Parent: &root}
		s.Children = []*definitions.Element{{Name: "use", Max: 1, Types: []definitions.Type{{Code: "code"}}, Fixed: &definitions.Value{Type: "code", JSON: `"` + use + `"`}, Parent: s}}
		name.Slices = append(name.Slices, s)
	}
	root.Children = []*definitions.Element{name}
	return &profile{url: "http://example.org/p", class: c, children: p.expectations(&root, c)}
}

func TestSlicesHaveTheirOrderAndTheirEnd(t *testing.T) {
	for _, c := range []struct {
		about   string
		rules   definitions.SlicingRules
		ordered bool
		uses    string
		wrong   []string // paths
		message string
	}{
		{"in order", definitions.Open, true, "official official nickname", nil, ""},
		{"in order, with others between", definitions.Open, true, "usual official old official temp nickname usual", nil, ""},
		{"out of order", definitions.Open, true, "nickname official", []string{"Patient.name[0]"}, "the slices have an order"},
		{"one out of order", definitions.Open, true, "official nickname official", []string{"Patient.name[1]"}, "name:nickname comes after"},
		{"out of order where there is none", definitions.Open, false, "nickname official", nil, ""},
		{"others at the end", definitions.OpenAtEnd, false, "nickname official usual temp", nil, ""},
		{"others alone", definitions.OpenAtEnd, false, "usual temp", nil, ""},
		{"another at the beginning", definitions.OpenAtEnd, false, "usual official temp", []string{"Patient.name[0]"}, "at the end only"},
		{"others between", definitions.OpenAtEnd, true, "official old temp nickname", []string{"Patient.name[1]", "Patient.name[2]"}, "at the end only"},
		{"none but the slices", definitions.Closed, false, "nickname official", nil, ""},
		{"another where there are none", definitions.Closed, false, "nickname official usual", []string{"Patient.name[2]"}, "no others are allowed"},
	} {
		t.Run(c.about, func(t *testing.T) {
			var names []string
			for _, use := range strings.Fields(c.uses) {
				names = append(names, `{"use":"`+use+`","text":"x"}`)
			}
			w := &walker{plan: compiled()}
			w.begin([]byte(patient(`"name":[`+strings.Join(names, ",")+`]`)), everything)
			if !w.json() {
				t.Fatal("no JSON")
			}
			w.root()
			w.meets(slicedNames(c.rules, c.ordered), 0)
			var wrong []string
			r := w.end()
			for _, f := range r.Found {
				wrong = append(wrong, f.Path)
				if !strings.Contains(f.Message, c.message) || f.Code != fhir.CodeStructure {
					t.Errorf("got %v", f.Issue)
				}
			}
			if !slices.Equal(wrong, c.wrong) {
				t.Errorf("got %v, want %v", wrong, c.wrong)
			}
		})
	}
}
