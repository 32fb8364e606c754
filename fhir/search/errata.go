package search

import "github.com/kiln-health/kiln/fhir"

// erratum is what a search parameter should have said.
type erratum struct{ expression, reason string }

// errata are expressions of R4 that find nothing as they were published, with what was
// meant, by the URL of the parameter.
var errata = map[string]erratum{
	"http://hl7.org/fhir/SearchParameter/device-extensions-Device-din": {
		"Device.extension('http://hl7.org/fhir/StructureDefinition/device-din')",
		"the URL is that of the parameter itself; the extension, an Identifier, was published with the drafts of R4 only",
	},
	"http://hl7.org/fhir/SearchParameter/InsurancePlan-name": {
		"InsurancePlan.name | InsurancePlan.alias",
		"the paths do not begin with the type",
	},
	"http://hl7.org/fhir/SearchParameter/patient-extensions-Patient-mothersMaidenName": {
		"Patient.extension('http://hl7.org/fhir/StructureDefinition/patient-mothersMaidenName')",
		"the extension has another URL in R4",
	},
	"http://hl7.org/fhir/SearchParameter/observation-genetic-Observation-amino-acid-change":      {aminoAcidChange, renamed},
	"http://hl7.org/fhir/SearchParameter/observation-genetic-Observation-gene-amino-acid-change": {aminoAcidChange, renamed},
	"http://hl7.org/fhir/SearchParameter/observation-genetic-Observation-dna-variant":            {variant, renamed},
	"http://hl7.org/fhir/SearchParameter/observation-genetic-Observation-gene-dnavariant":        {variant, renamed},
}

// swapped are components that name the parameter of the other: relatesto is the
// target, and relation the code.
var swapped = map[string]string{
	"http://hl7.org/fhir/SearchParameter/DocumentReference-relatesto code":  "http://hl7.org/fhir/SearchParameter/DocumentReference-relation",
	"http://hl7.org/fhir/SearchParameter/DocumentReference-relation target": "http://hl7.org/fhir/SearchParameter/DocumentReference-relatesto",
}

const (
	aminoAcidChange = "Observation.extension('http://hl7.org/fhir/StructureDefinition/observation-geneticsAminoAcidChange')"
	variant         = "Observation.extension('http://hl7.org/fhir/StructureDefinition/observation-geneticsVariant')"
	renamed         = "the extension was renamed in R4, its search parameter was not"
)

// unsupported are parameters of R4 that are none here, by their URL, and why. To ignore one of
// them would find more than was asked for.
var unsupported = map[string]string{
	"http://hl7.org/fhir/SearchParameter/Resource-content":                             "searches of the whole text of a resource are not supported",
	"http://hl7.org/fhir/SearchParameter/DomainResource-text":                          "searches of the narrative are not supported",
	"http://hl7.org/fhir/SearchParameter/filter":                                       "filter expressions are not supported",
	"http://hl7.org/fhir/SearchParameter/Resource-query":                               "named queries are not supported",
	"http://hl7.org/fhir/SearchParameter/Bundle-composition":                           "the value is a resource inside of the Bundle, not one of this server",
	"http://hl7.org/fhir/SearchParameter/Bundle-message":                               "the value is a resource inside of the Bundle, not one of this server",
	"http://hl7.org/fhir/SearchParameter/patient-extensions-Patient-age":               "the age depends on the day of the search: use birthdate",
	"http://hl7.org/fhir/SearchParameter/patient-extensions-Patient-birthOrderBoolean": "R4 does not say which element it is about",
}

// ours are parameters that R4 does not have and users of devices need.
var ours = []Custom{
	{Name: "body-site", Type: TokenParam, Bases: []string{"Observation"}, Expression: "Observation.bodySite"},
	{Name: "interpretation", Type: TokenParam, Bases: []string{"Observation"}, Expression: "Observation.interpretation"},
	{Name: "lot-number", Type: StringParam, Bases: []string{"Device"}, Expression: "Device.lotNumber"},
	{Name: "operational-status", Type: TokenParam, Bases: []string{"DeviceMetric"}, Expression: "DeviceMetric.operationalStatus"},
	{Name: "parent", Type: ReferenceParam, Bases: []string{"Device"}, Expression: "Device.parent", Targets: []string{"Device"}},
	{Name: "serial-number", Type: StringParam, Bases: []string{"Device"}, Expression: "Device.serialNumber"},
}

// ourURL is the canonical URL of one of ours.
func ourURL(c *Custom) string {
	return fhir.Namespace + "SearchParameter/" + c.Bases[0] + "-" + c.Name
}
