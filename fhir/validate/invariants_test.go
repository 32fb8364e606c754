package validate

import (
	"slices"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir/definitions"
)

func patient(elements string) string { return `{"resourceType":"Patient",` + elements + `}` }

func bundle(kind, elements string) string {
	return `{"resourceType":"Bundle","type":"` + kind + `",` + elements + `}`
}

func vital(elements string) string {
	return `{"resourceType":"Observation","meta":{"profile":["http://hl7.org/fhir/StructureDefinition/heartrate"]},"status":"final",` +
		`"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}]}],` +
		`"code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},"subject":{"reference":"Patient/1"},` + elements + `}`
}

func timing(repeat string) string { return value("valueTiming", `{"repeat":{`+repeat+`}}`) }

func coded(system, code string) string {
	return `{"coding":[{"system":"` + system + `","code":"` + code + `"}]}`
}

// A breach is two resources, of which one keeps a rule and the other breaks it, at a path.
type breach struct{ key, holds, broken, path string }

// breaches are about rules in Go that types have.
func breaches() []breach {
	const quantity = `"system":"http://unitsofmeasure.org"`
	entry := `"entry":[{"fullUrl":"http://example.org/fhir/Patient/1","resource":{"resourceType":"Patient","id":"1"}}]`
	return []breach{
		{"ext-1", patient(`"extension":[{"url":"http://example.org/a","valueString":"x"}]`), patient(`"extension":[{"url":"http://example.org/a","valueString":"x","extension":[{"url":"b","valueString":"y"}]}]`), "Patient.extension[0]"},
		{"ext-1", patient(`"extension":[{"url":"http://example.org/a","extension":[{"url":"b","valueString":"y"}]}]`), patient(`"extension":[{"url":"http://example.org/a"}]`), "Patient.extension[0]"},
		{"dom-2", patient(`"contained":[{"resourceType":"Organization","id":"o","name":"x"}],"managingOrganization":{"reference":"#o"}`), patient(`"contained":[{"resourceType":"Organization","id":"o","name":"x","partOf":{"reference":"#q"},"contained":[{"resourceType":"Organization","id":"q","name":"y"}]}],"managingOrganization":{"reference":"#o"}`), "Patient"},
		{"dom-4", patient(`"contained":[{"resourceType":"Organization","id":"o","name":"x","meta":{"source":"http://example.org"}}],"managingOrganization":{"reference":"#o"}`), patient(`"contained":[{"resourceType":"Organization","id":"o","name":"x","meta":{"versionId":"1"}}],"managingOrganization":{"reference":"#o"}`), "Patient"},
		{"dom-5", patient(`"contained":[{"resourceType":"Organization","id":"o","name":"x","meta":{"tag":[{"code":"a"}]}}],"managingOrganization":{"reference":"#o"}`), patient(`"contained":[{"resourceType":"Organization","id":"o","name":"x","meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"R"}]}}],"managingOrganization":{"reference":"#o"}`), "Patient"},

		{"obs-3", observation(`"referenceRange":[{"text":"x"}]`), observation(`"referenceRange":[{"text":"x"},{"appliesTo":[{"text":"y"}]}]`), "Observation.referenceRange[1]"},
		{"obs-3", observation(`"component":[{"code":{"text":"y"},"referenceRange":[{"high":{"value":1}}]}]`), observation(`"component":[{"code":{"text":"y"},"referenceRange":[{"type":{"text":"y"}}]}]`), "Observation.component[0].referenceRange[0]"},
		{"obs-6", observation(`"dataAbsentReason":{"text":"x"}`), observation(`"dataAbsentReason":{"text":"x"},"valueString":"y"`), "Observation"},
		{"obs-7", `{"resourceType":"Observation","status":"final","code":` + coded("s", "a") + `,"valueString":"x","component":[{"code":` + coded("s", "b") + `}]}`, `{"resourceType":"Observation","status":"final","code":` + coded("s", "a") + `,"valueString":"x","component":[{"code":` + coded("s", "b") + `},{"code":` + coded("s", "a") + `}]}`, "Observation"},
		{"obs-7", `{"resourceType":"Observation","status":"final","code":` + coded("s", "a") + `,"component":[{"code":` + coded("s", "a") + `}]}`, `{"resourceType":"Observation","status":"final","valueString":"x","component":[{"code":` + coded("s", "c") + `}],"code":{"coding":[` + strings.Repeat(`{"system":"s","code":"a"},`, 20) + `{"system":"s","code":"c"}]}}`, "Observation"},
		{"pat-1", patient(`"contact":[{"name":{"text":"x"}}]`), patient(`"contact":[{"gender":"female"}]`), "Patient.contact[0]"},

		{"per-1", value("valuePeriod", `{"start":"2024-01-01","end":"2024-01-01"}`), value("valuePeriod", `{"start":"2024-01-02","end":"2024-01-01"}`), "Parameters.parameter[0].value"},
		{"qty-3", value("valueQuantity", `{"value":1,"code":"g",`+quantity+`}`), value("valueQuantity", `{"value":1,"code":"g"}`), "Parameters.parameter[0].value"},
		{"rng-2", value("valueRange", `{"low":{"value":1.0},"high":{"value":1}}`), value("valueRange", `{"low":{"value":1.1},"high":{"value":1}}`), "Parameters.parameter[0].value"},
		{"rng-2", value("valueRange", `{"low":{"value":2,"unit":"mm"},"high":{"value":1,"unit":"cm"}}`), value("valueRange", `{"low":{"value":2,"code":"mm",`+quantity+`},"high":{"value":1,"code":"mm",`+quantity+`}}`), "Parameters.parameter[0].value"},
		{"rat-1", value("valueRatio", `{"numerator":{"value":1},"denominator":{"value":2}}`), value("valueRatio", `{"numerator":{"value":1}}`), "Parameters.parameter[0].value"},
		{"rat-1", value("valueRatio", `{"extension":[{"url":"http://example.org","valueString":"x"}]}`), value("valueRatio", `{"denominator":{"value":1},"extension":[{"url":"http://example.org","valueString":"x"}]}`), "Parameters.parameter[0].value"},
		{"cpt-2", value("valueContactPoint", `{"system":"phone","value":"1"}`), value("valueContactPoint", `{"value":"1"}`), "Parameters.parameter[0].value"},
		{"att-1", value("valueAttachment", `{"contentType":"text/plain","data":"YQ=="}`), value("valueAttachment", `{"data":"YQ=="}`), "Parameters.parameter[0].value"},
		{"age-1", value("valueAge", `{"value":1,"code":"a",`+quantity+`}`), value("valueAge", `{"value":0,"code":"a",`+quantity+`}`), "Parameters.parameter[0].value"},
		{"age-1", value("valueAge", `{"code":"a",`+quantity+`}`), value("valueAge", `{"value":1,`+quantity+`}`), "Parameters.parameter[0].value"},
		{"cnt-3", value("valueCount", `{"value":1,"code":"1",`+quantity+`}`), value("valueCount", `{"value":1.5,"code":"1",`+quantity+`}`), "Parameters.parameter[0].value"},
		{"cnt-3", value("valueCount", `{"value":1,"code":"1",`+quantity+`}`), value("valueCount", `{"value":1,"code":"2",`+quantity+`}`), "Parameters.parameter[0].value"},
		{"dis-1", value("valueDistance", `{"value":1,"code":"m",`+quantity+`}`), value("valueDistance", `{"value":1,"code":"m","system":"http://example.org"}`), "Parameters.parameter[0].value"},
		{"drt-1", value("valueDuration", `{"value":1,"code":"s",`+quantity+`}`), value("valueDuration", `{"code":"s",`+quantity+`}`), "Parameters.parameter[0].value"},
		{"sqty-1", observation(`"referenceRange":[{"low":{"value":1}}]`), observation(`"referenceRange":[{"low":{"value":1,"comparator":"<"}}]`), "Observation.referenceRange[0].low"},
		{"exp-1", value("valueExpression", `{"language":"text/fhirpath","expression":"x"}`), value("valueExpression", `{"language":"text/fhirpath"}`), "Parameters.parameter[0].value"},
		{"drq-1", value("valueDataRequirement", `{"type":"Patient","codeFilter":[{"path":"x"}]}`), value("valueDataRequirement", `{"type":"Patient","codeFilter":[{"path":"x","searchParam":"y"}]}`), "Parameters.parameter[0].value.codeFilter[0]"},
		{"drq-2", value("valueDataRequirement", `{"type":"Patient","dateFilter":[{"path":"x"}]}`), value("valueDataRequirement", `{"type":"Patient","dateFilter":[{"valueDateTime":"2024"}]}`), "Parameters.parameter[0].value.dateFilter[0]"},
		{"trd-1", value("valueTriggerDefinition", `{"type":"periodic","timingDate":"2024-01-01"}`), value("valueTriggerDefinition", `{"type":"periodic","timingDate":"2024-01-01","data":[{"type":"Patient"}]}`), "Parameters.parameter[0].value"},
		{"trd-2", value("valueTriggerDefinition", `{"type":"data-added","data":[{"type":"Patient"}],"condition":{"language":"text/fhirpath","expression":"x"}}`), value("valueTriggerDefinition", `{"type":"named-event","name":"x","condition":{"language":"text/fhirpath","expression":"x"}}`), "Parameters.parameter[0].value"},
		{"trd-3", value("valueTriggerDefinition", `{"type":"named-event","name":"x"}`), value("valueTriggerDefinition", `{"type":"named-event"}`), "Parameters.parameter[0].value"},
		{"trd-3", value("valueTriggerDefinition", `{"type":"data-added","data":[{"type":"Patient"}]}`), value("valueTriggerDefinition", `{"type":"data-added","name":"x"}`), "Parameters.parameter[0].value"},
		{"trd-3", value("valueTriggerDefinition", `{"type":"periodic","timingDate":"2024-01-01"}`), value("valueTriggerDefinition", `{"type":"periodic"}`), "Parameters.parameter[0].value"},
		{"tim-1", timing(`"duration":1,"durationUnit":"h"`), timing(`"duration":1`), "Parameters.parameter[0].value.repeat"},
		{"tim-2", timing(`"period":1,"periodUnit":"h"`), timing(`"period":1`), "Parameters.parameter[0].value.repeat"},
		{"tim-4", timing(`"duration":0,"durationUnit":"h"`), timing(`"duration":-0.1,"durationUnit":"h"`), "Parameters.parameter[0].value.repeat"},
		{"tim-5", timing(`"period":0,"periodUnit":"h"`), timing(`"period":-1,"periodUnit":"h"`), "Parameters.parameter[0].value.repeat"},
		{"tim-6", timing(`"period":1,"periodMax":2,"periodUnit":"h"`), timing(`"periodMax":2`), "Parameters.parameter[0].value.repeat"},
		{"tim-7", timing(`"duration":1,"durationMax":2,"durationUnit":"h"`), timing(`"durationMax":2`), "Parameters.parameter[0].value.repeat"},
		{"tim-8", timing(`"count":1,"countMax":2`), timing(`"countMax":2`), "Parameters.parameter[0].value.repeat"},
		{"tim-9", timing(`"offset":1,"when":["AC"]`), timing(`"offset":1,"when":["C"]`), "Parameters.parameter[0].value.repeat"},
		{"tim-9", timing(`"when":["C"]`), timing(`"offset":1`), "Parameters.parameter[0].value.repeat"},
		{"tim-10", timing(`"timeOfDay":["10:00:00"]`), timing(`"timeOfDay":["10:00:00"],"when":["AC"]`), "Parameters.parameter[0].value.repeat"},
		{"inv-1", `{"resourceType":"Parameters","parameter":[{"name":"a","valueString":"x"}]}`, `{"resourceType":"Parameters","parameter":[{"name":"a"}]}`, "Parameters.parameter[0]"},
		{"inv-1", `{"resourceType":"Parameters","parameter":[{"name":"a","part":[{"name":"b","valueString":"x"}]}]}`, `{"resourceType":"Parameters","parameter":[{"name":"a","valueString":"x","part":[{"name":"b","valueString":"x"}]}]}`, "Parameters.parameter[0]"},

		{"bdl-1", bundle("searchset", `"total":1,`+entry), bundle("collection", `"total":1,`+entry), "Bundle"},
		{"bdl-2", bundle("searchset", strings.Replace(entry, `"resource":`, `"search":{"mode":"match"},"resource":`, 1)), bundle("collection", strings.Replace(entry, `"resource":`, `"search":{"mode":"match"},"resource":`, 1)), "Bundle"},
		{"bdl-3", bundle("batch", strings.Replace(entry, `"resource":`, `"request":{"method":"PUT","url":"Patient/1"},"resource":`, 1)), bundle("batch", entry), "Bundle"},
		{"bdl-3", bundle("collection", entry), bundle("collection", strings.Replace(entry, `"resource":`, `"request":{"method":"PUT","url":"Patient/1"},"resource":`, 1)), "Bundle"},
		{"bdl-4", bundle("batch-response", `"entry":[{"response":{"status":"200"}}]`), bundle("batch-response", entry), "Bundle"},
		{"bdl-5", bundle("collection", entry), bundle("collection", `"entry":[{"fullUrl":"urn:uuid:c757873d-ec9a-4326-a141-556f43239520"}]`), "Bundle.entry[0]"},
		{"bdl-7", bundle("collection", `"entry":[{"fullUrl":"http://example.org/a","resource":{"resourceType":"Patient","meta":{"versionId":"1"}}},{"fullUrl":"http://example.org/a","resource":{"resourceType":"Patient","meta":{"versionId":"2"}}}]`), bundle("collection", `"entry":[{"fullUrl":"http://example.org/a","resource":{"resourceType":"Patient"}},{"fullUrl":"http://example.org/b","resource":{"resourceType":"Patient"}},{"fullUrl":"http://example.org/a","resource":{"resourceType":"Patient"}}]`), "Bundle"},
		{"bdl-8", bundle("collection", entry), bundle("collection", `"entry":[{"fullUrl":"http://example.org/fhir/Patient/1/_history/2","resource":{"resourceType":"Patient","id":"1"}}]`), "Bundle.entry[0]"},
		{"bdl-9", document(`"identifier":{"system":"s","value":"v"},"timestamp":"2024-01-01T00:00:00Z"`), document(`"identifier":{"value":"v"},"timestamp":"2024-01-01T00:00:00Z"`), "Bundle"},
		{"bdl-10", document(`"identifier":{"system":"s","value":"v"},"timestamp":"2024-01-01T00:00:00Z"`), document(`"identifier":{"system":"s","value":"v"}`), "Bundle"},
		{"bdl-11", document(`"identifier":{"system":"s","value":"v"},"timestamp":"2024-01-01T00:00:00Z"`), bundle("document", `"identifier":{"system":"s","value":"v"},"timestamp":"2024-01-01T00:00:00Z",`+entry), "Bundle"},
		{"bdl-12", bundle("message", `"entry":[{"resource":{"resourceType":"MessageHeader","eventCoding":{"code":"x"},"source":{"endpoint":"http://example.org"}}}]`), bundle("message", entry), "Bundle"},

		{"vs-1", vital(`"effectiveDateTime":"2024-01-01","valueQuantity":{"value":1,"unit":"/min","code":"/min",` + quantity + `}`), vital(`"effectiveDateTime":"2024-01","valueQuantity":{"value":1,"unit":"/min","code":"/min",` + quantity + `}`), "Observation.effective"},
		{"vs-1", vital(`"effectivePeriod":{"start":"2024"},"valueQuantity":{"value":1,"unit":"/min","code":"/min",` + quantity + `}`), vital(`"effectiveDateTime":"2024","dataAbsentReason":{"text":"x"}`), "Observation.effective"},
		{"vs-2", vital(`"effectiveDateTime":"2024-01-01","dataAbsentReason":{"text":"x"}`), vital(`"effectiveDateTime":"2024-01-01"`), "Observation"},
		{"vs-3", vital(`"effectiveDateTime":"2024-01-01","component":[{"code":{"text":"x"},"dataAbsentReason":{"text":"x"}}]`), vital(`"effectiveDateTime":"2024-01-01","component":[{"code":{"text":"x"}}]`), "Observation.component[0]"},

		{"org-1", `{"resourceType":"Organization","name":"x"}`, `{"resourceType":"Organization","active":true}`, "Organization"},
		{"org-2", `{"resourceType":"Organization","name":"x","address":[{"use":"work"}]}`, `{"resourceType":"Organization","name":"x","address":[{"use":"home"}]}`, "Organization.address[0]"},
		{"org-3", `{"resourceType":"Organization","name":"x","telecom":[{"use":"work"}]}`, `{"resourceType":"Organization","name":"x","telecom":[{"use":"work"},{"use":"home"}]}`, "Organization.telecom[1]"},
		{"con-1", `{"resourceType":"Condition","subject":{"reference":"Patient/1"},"stage":[{"summary":{"text":"x"}}]}`, `{"resourceType":"Condition","subject":{"reference":"Patient/1"},"stage":[{"type":{"text":"x"}}]}`, "Condition.stage[0]"},
		{"qrs-1", `{"resourceType":"QuestionnaireResponse","status":"completed","item":[{"linkId":"1","answer":[{"valueString":"x"}]}]}`, `{"resourceType":"QuestionnaireResponse","status":"completed","item":[{"linkId":"1","answer":[{"valueString":"x"}],"item":[{"linkId":"2"}]}]}`, "QuestionnaireResponse.item[0]"},
	}
}

// Each rule holds for one resource, and is broken by another that differs in what it is about.
func TestInvariants(t *testing.T) {
	for _, c := range slices.Concat(breaches(), moreBreaches()) {
		for _, i := range Resource([]byte(c.holds), nil).Found {
			if strings.HasPrefix(i.Message, c.key+":") {
				t.Errorf("%s must hold for %s, got %s", c.key, c.holds, i.Error())
			}
		}
		found := false
		r := Resource([]byte(c.broken), nil)
		for _, i := range r.Found {
			if strings.HasPrefix(i.Message, c.key+":") && i.Path == c.path && i.Fix != "" {
				found = true
			}
		}
		if !found {
			t.Errorf("%s must be broken at %s by %s, got %v", c.key, c.path, c.broken, r.Issues())
		}
	}
}

func document(elements string) string {
	return bundle("document", elements+`,"entry":[{"resource":{"resourceType":"Composition","status":"final","type":{"text":"x"},"date":"2024","author":[{"display":"x"}],"title":"x"}}]`)
}

// A claim is a breach of a rule of a profile that is asked for; "" is one of an extension.
type claim struct{ key, profile, holds, broken, path string }

const (
	npi  = "http://hl7.org/fhir/sid/us-npi"
	clia = "urn:oid:2.16.840.1.113883.4.7"
	naic = "urn:oid:2.16.840.1.113883.6.300"

	substance = `"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/allergyintolerance-substanceExposureRisk","extension":[{"url":"substance","valueCodeableConcept":{"text":"x"}},{"url":"exposureRisk","valueCodeableConcept":{"text":"x"}}]}]`
)

func identified(system, value string) string {
	return of("Organization", `"identifier":[{"system":"`+system+`","value":"`+value+`"}]`)
}

func claims() []claim {
	const uscore = "http://hl7.org/fhir/us/core/StructureDefinition/"
	const phd = "http://hl7.org/fhir/uv/phd/StructureDefinition/"
	const pocd = "http://hl7.org/fhir/uv/pocd/StructureDefinition/"
	extension := func(url, content string) string {
		return `{"resourceType":"Observation","status":"final","code":{"text":"x"},"extension":[{"url":"` + url + `",` + content + `}]}`
	}
	metric := func(url, content string) string {
		return `{"resourceType":"DeviceMetric","type":{"text":"x"},"category":"measurement","extension":[{"url":"` + url + `",` + content + `}]}`
	}
	device := func(url, content string) string {
		return `{"resourceType":"Device","extension":[{"url":"` + url + `",` + content + `}]}`
	}
	range2 := func(member, a, b string) string {
		return `"valueRange":{"low":{"` + member + `":"` + a + `","system":"http://unitsofmeasure.org"},"high":{"` + member + `":"` + b + `","system":"http://unitsofmeasure.org"}}`
	}
	alert := func(limits string) string {
		return `"extension":[{"url":"currentLimits",` + limits + `},{"url":"alertOperationalState","valueCodeableConcept":{"text":"x"}}]`
	}
	return []claim{
		{"us-core-1", uscore + "us-core-observation-lab", observation(`"effectiveDateTime":"2024-01-01"`), observation(`"effectiveDateTime":"2024"`), "Observation.effective"},
		{"us-core-2", uscore + "us-core-observation-lab", observation(`"valueString":"x"`), observation(`"language":"en"`), "Observation"},
		{"us-core-3", uscore + "us-core-observation-lab", observation(`"valueQuantity":{"value":1,"system":"http://unitsofmeasure.org","code":"1"}`), observation(`"valueQuantity":{"value":1,"system":"http://example.org","code":"1"}`), "Observation.value"},
		{"us-core-4", uscore + "us-core-observation-lab", observation(`"valueCodeableConcept":` + coded("http://snomed.info/sct", "1")), observation(`"valueCodeableConcept":` + coded("http://loinc.org", "1")), "Observation.value"},
		{"us-core-6", uscore + "us-core-patient", patient(`"name":[{"family":"x"}]`), patient(`"name":[{"text":"x"}]`), "Patient.name[0]"},
		{"us-core-6", uscore + "us-core-patient", patient(`"name":[{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}]`), patient(`"name":[{"family":"x","extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}]`), "Patient.name[0]"},
		{"mdc-1", phd + "PhdBaseObservation", `{"resourceType":"Observation","status":"final","code":` + coded("urn:iso:std:iso:11073:10101", "150456") + `}`, observation(`"language":"en"`), "Observation.code"},
		{"confidence-range-units", "", extension(phd+"Confidence95", range2("unit", "a", "a")), extension(phd+"Confidence95", range2("unit", "a", "b")), "Observation.extension[0].value"},
		{"alerting-range-units", "", extension(phd+"SimpleAlerting", alert(range2("code", "a", "a"))), extension(phd+"SimpleAlerting", alert(range2("code", "a", "b"))), "Observation.extension[0].extension[0].value"},
		{"pocd-dev-1", pocd + "MdsDevice", `{"resourceType":"Device","identifier":[{"value":"x"}]}`, `{"resourceType":"Device","status":"active"}`, "Device"},
		{"pocd-obs-1", pocd + "NumericObservation", observation(`"dataAbsentReason":{"text":"x"}`), observation(`"language":"en"`), "Observation"},
		{"pocd-rr-1", "", metric("http://hl7.org/fhir/StructureDefinition/reference-range", `"extension":[{"url":"low","valueQuantity":{"value":1}}]`), metric("http://hl7.org/fhir/StructureDefinition/reference-range", `"extension":[{"url":"type","valueCodeableConcept":{"text":"x"}}]`), "DeviceMetric.extension[0]"},
		{"apj-1", "", device(pocd+"approved-jurisdictions", `"extension":[{"url":"noApprovedJurisdictions","valueBoolean":true}]`), device(pocd+"approved-jurisdictions", `"extension":[{"url":"noApprovedJurisdictions","valueBoolean":true},{"url":"approvedJurisdiction","valueCodeableConcept":{"text":"x"}}]`), "Device.extension[0]"},
		{"us-core-15", uscore + "us-core-coverage", of("Coverage", `"subscriberId":"x"`), of("Coverage", `"identifier":[{"value":"x"}]`), "Coverage"},
		{"us-core-8", uscore + "us-core-diagnosticreport-lab", of("DiagnosticReport", `"status":"final","effectiveDateTime":"2024"`), of("DiagnosticReport", `"status":"final"`), "DiagnosticReport"},
		{"us-core-9", uscore + "us-core-diagnosticreport-lab", of("DiagnosticReport", `"status":"registered"`), of("DiagnosticReport", `"status":"final"`), "DiagnosticReport"},
		{"us-core-10", uscore + "us-core-diagnosticreport-note", of("DiagnosticReport", `"status":"registered"`), of("DiagnosticReport", `"status":"final"`), "DiagnosticReport"},
		{"us-core-6", uscore + "us-core-documentreference", of("DocumentReference", `"content":[{"attachment":{"url":"http://a"}}]`), of("DocumentReference", `"content":[{"attachment":{"title":"x"}}]`), "DocumentReference.content[0].attachment"},
		{"us-core-5", uscore + "us-core-immunization", of("Immunization", `"vaccineCode":`+coded("http://hl7.org/fhir/sid/ndc", "1")), of("Immunization", `"vaccineCode":`+coded("http://hl7.org/fhir/sid/cvx", "1")), "Immunization"},
		{"us-core-20", uscore + "us-core-medicationdispense", of("MedicationDispense", `"status":"completed","whenHandedOver":"2024"`), of("MedicationDispense", `"status":"completed"`), "MedicationDispense"},
		{"us-core-21", uscore + "us-core-medicationrequest", of("MedicationRequest", `"intent":"order","requester":{"display":"x"}`), of("MedicationRequest", `"intent":"order"`), "MedicationRequest"},
		{"us-core-16", uscore + "us-core-organization", identified(npi, "1234567893"), identified(npi, "123456789"), "Organization.identifier[0]"},
		{"us-core-17", uscore + "us-core-organization", identified(npi, "1234567893"), identified(npi, "1234567890"), "Organization.identifier[0]"},
		{"us-core-18", uscore + "us-core-organization", identified(clia, "12D1234567"), identified(clia, "1234567890"), "Organization.identifier[0]"},
		{"us-core-19", uscore + "us-core-organization", identified(naic, "12345"), identified(naic, "1234"), "Organization.identifier[0]"},
		{"pd-1", uscore + "us-core-practitionerrole", of("PractitionerRole", `"telecom":[{"value":"1"},{"value":"2"}]`), of("PractitionerRole", `"active":true`), "PractitionerRole"},
		{"us-core-13", uscore + "us-core-practitionerrole", of("PractitionerRole", `"location":[{"display":"x"}]`), of("PractitionerRole", `"active":true`), "PractitionerRole"},
		{"us-core-7", uscore + "us-core-procedure", of("Procedure", `"status":"completed","performedString":"x"`), of("Procedure", `"status":"completed"`), "Procedure"},
		{"provenance-1", uscore + "us-core-provenance", of("Provenance", `"agent":[{"who":{"reference":"Patient/1"}},{"who":{"reference":"Device/1"},"onBehalfOf":{"display":"x"}}]`), of("Provenance", `"agent":[{"who":{"reference":"Device/1"}}]`), "Provenance.agent[0]"},
		{"us-core-14", uscore + "us-core-relatedperson", of("RelatedPerson", `"name":[{"text":"x"}]`), of("RelatedPerson", `"active":true`), "RelatedPerson"},
		{"sdcqr-1", uscore + "us-core-questionnaireresponse", of("QuestionnaireResponse", `"subject":{"display":"x"}`), of("QuestionnaireResponse", `"status":"completed"`), "QuestionnaireResponse"},
		{"sdcqr-2", uscore + "us-core-questionnaireresponse", of("QuestionnaireResponse", `"item":[{"linkId":"1","answer":[{"valueString":"x"}]},{"linkId":"2","answer":[{"valueString":"x"}]}]`), of("QuestionnaireResponse", `"item":[{"linkId":"1","item":[{"linkId":"2","answer":[{"valueString":"x"}]},{"linkId":"2","answer":[{"valueString":"x"}]}]}]`), "QuestionnaireResponse"},
		{"inv-1", "", of("AllergyIntolerance", substance), of("AllergyIntolerance", `"code":{"text":"x"},`+substance), "AllergyIntolerance.extension[0]"},
	}
}

func TestRulesOfProfiles(t *testing.T) {
	for _, c := range claims() {
		opt := &Options{}
		if c.profile != "" {
			opt.Profiles = []string{c.profile}
		}
		for _, i := range Resource([]byte(c.holds), opt).Found {
			if strings.HasPrefix(i.Message, c.key+":") {
				t.Errorf("%s must hold for %s", c.key, c.holds)
			}
		}
		r := Resource([]byte(c.broken), opt)
		if !slices.ContainsFunc(r.Found, func(f Found) bool { return strings.HasPrefix(f.Message, c.key+":") && f.Path == c.path }) {
			t.Errorf("%s must be broken at %s by %s, got %v", c.key, c.path, c.broken, r.Issues())
		}
	}
}

func TestEveryNativeRuleIsOneOfTheDefinitions(t *testing.T) {
	for key := range natives() {
		bare, where, _ := strings.Cut(key, " ")
		all := definitions.Invariants(bare)
		if len(all) == 0 || where != "" && !slices.ContainsFunc(all, func(v *definitions.Invariant) bool { return slices.Contains(v.Where, where) }) {
			t.Errorf("%s is no invariant of the definitions", key)
		}
	}
}
