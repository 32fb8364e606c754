package validate

import "github.com/kiln-health/kiln/fhir/definitions"

func of(resourceType, elements string) string {
	return `{"resourceType":"` + resourceType + `",` + elements + `}`
}

// element is a StructureDefinition with one element in its snapshot.
func element(more string) string {
	return of("StructureDefinition", `"kind":"resource","abstract":false,"type":"A","baseDefinition":"http://a/b","snapshot":{"element":[{"id":"A","path":"A"},{"id":"A.b","path":"A.b",`+more+`}]}`)
}

func item1(item string) string { return of("Questionnaire", `"item":[{"linkId":"1",`+item+`}]`) }

func rest(more string) string { return of("CapabilityStatement", `"kind":"requirements",`+more) }

func definition(more string) string { return of("StructureDefinition", more) }

func assertion(in, more string) string {
	return of("TestScript", `"`+in+`":`+map[string]string{"setup": "{", "test": "[{"}[in]+`"action":[{"assert":{`+more+`}}]`+map[string]string{"setup": "}", "test": "}]"}[in])
}

func operation(in, more string) string {
	open, end := "{", "}"
	if in == "test" {
		open, end = "[{", "}]"
	}
	return of("TestScript", `"`+in+`":`+open+`"action":[{"operation":{`+more+`}}]`+end)
}

const gone = `"verificationStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/allergyintolerance-verification","code":"entered-in-error"}]}`
const erased = `"verificationStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/condition-ver-status","code":"entered-in-error"}]}`
const clinical = `"clinicalStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/condition-clinical","code":"resolved"}]}`

// scope is of the system that the published rules look for.
func scope(code string) string {
	return `"scope":` + coded("something", code)
}

// moreBreaches are about the rules of all other types.
func moreBreaches() []breach {
	all := []breach{
		{"ait-1", of("AllergyIntolerance", gone), of("AllergyIntolerance", `"code":{"text":"x"}`), "AllergyIntolerance"},
		{"ait-2", of("AllergyIntolerance", gone), of("AllergyIntolerance", gone+`,"clinicalStatus":{"text":"x"}`), "AllergyIntolerance"},
		{"app-1", of("Appointment", `"participant":[{"type":[{"text":"x"}]}]`), of("Appointment", `"participant":[{"status":"accepted"}]`), "Appointment.participant[0]"},
		{"app-2", of("Appointment", `"start":"2024-01-01T00:00:00Z","end":"2024-01-01T00:00:00Z"`), of("Appointment", `"start":"2024-01-01T00:00:00Z"`), "Appointment"},
		{"app-3", of("Appointment", `"status":"proposed"`), of("Appointment", `"status":"booked"`), "Appointment"},
		{"app-4", of("Appointment", `"status":"noshow","description":"x"`), of("Appointment", `"status":"booked","cancelationReason":{"text":"x"}`), "Appointment"},
		{"apr-1", of("AppointmentResponse", `"actor":{"display":"x"}`), of("AppointmentResponse", `"comment":"x"`), "AppointmentResponse"},
		{"sev-1", of("AuditEvent", `"entity":[{"name":"x"}]`), of("AuditEvent", `"entity":[{"name":"x","query":"YQ=="}]`), "AuditEvent.entity[0]"},
		{"cpb-1", rest(`"rest":[{"mode":"server"}]`), rest(`"language":"en"`), "CapabilityStatement"},
		{"cpb-2", rest(`"description":"x"`), rest(`"language":"en"`), "CapabilityStatement"},
		{"cpb-3", rest(`"messaging":[{"documentation":"x"}]`), rest(`"messaging":[{"endpoint":[{"address":"http://a"}]}]`), "CapabilityStatement"},
		{"cpb-7", rest(`"document":[{"mode":"producer","profile":"http://a"},{"mode":"consumer","profile":"http://a"}]`), rest(`"document":[{"mode":"producer","profile":"http://a"},{"mode":"producer","profile":"http://a"}]`), "CapabilityStatement"},
		{"cpb-9", rest(`"rest":[{"mode":"server","resource":[{"type":"Patient"},{"type":"Group"}]}]`), rest(`"rest":[{"mode":"server","resource":[{"type":"Patient"},{"type":"Patient"}]}]`), "CapabilityStatement.rest[0]"},
		{"cpb-12", rest(`"rest":[{"resource":[{"type":"Patient","searchParam":[{"name":"2020"},{"name":"2020-01"}]}]}]`), rest(`"rest":[{"resource":[{"type":"Patient","searchParam":[{"name":"a"},{"name":"a"}]}]}]`), "CapabilityStatement.rest[0].resource[0]"},
		{"cpb-14", of("CapabilityStatement", `"kind":"instance","implementation":{"description":"x"}`), of("CapabilityStatement", `"kind":"instance"`), "CapabilityStatement"},
		{"cpb-15", of("CapabilityStatement", `"kind":"capability","software":{"name":"x"}`), of("CapabilityStatement", `"kind":"capability"`), "CapabilityStatement"},
		{"cpb-16", rest(`"language":"en"`), rest(`"software":{"name":"x"}`), "CapabilityStatement"},
		{"ctm-1", of("CareTeam", `"participant":[{"member":{"reference":"Practitioner/1"},"onBehalfOf":{"display":"x"}},{"member":{"display":"x"},"onBehalfOf":{"display":"x"}}]`), of("CareTeam", `"participant":[{"role":[{"text":"x"}]},{"member":{"reference":"Patient/1"},"onBehalfOf":{"display":"x"}}]`), "CareTeam.participant[1]"},
		{"ctm-1", of("CareTeam", `"contained":[{"resourceType":"Practitioner","id":"p"}],"participant":[{"member":{"reference":"#p"},"onBehalfOf":{"display":"x"}}]`), of("CareTeam", `"contained":[{"resourceType":"Patient","id":"p"}],"participant":[{"member":{"reference":"#p"},"onBehalfOf":{"display":"x"}}]`), "CareTeam.participant[0]"},
		{"csd-1", of("CodeSystem", `"concept":[{"code":"a","concept":[{"code":"b"}]}]`), of("CodeSystem", `"concept":[{"code":"a","concept":[{"code":"b","concept":[{"code":"a"}]}]}]`), "CodeSystem"},
		{"cmp-1", of("Composition", `"section":[{"section":[{"text":{"status":"empty"}}]}]`), of("Composition", `"section":[{"title":"x"}]`), "Composition.section[0]"},
		{"cmp-2", of("Composition", `"section":[{"emptyReason":{"text":"x"}}]`), of("Composition", `"section":[{"emptyReason":{"text":"x"},"entry":[{"display":"x"}]}]`), "Composition.section[0]"},
		{"cmd-1", of("ConceptMap", `"group":[{"element":[{"target":[{"equivalence":"narrower","comment":"x"}]}]}]`), of("ConceptMap", `"group":[{"element":[{"target":[{"equivalence":"narrower"}]}]}]`), "ConceptMap.group[0].element[0].target[0]"},
		{"cmd-2", of("ConceptMap", `"group":[{"unmapped":{"mode":"fixed","code":"x"}}]`), of("ConceptMap", `"group":[{"unmapped":{"mode":"fixed"}}]`), "ConceptMap.group[0].unmapped"},
		{"cmd-3", of("ConceptMap", `"group":[{"unmapped":{"mode":"other-map","url":"http://a"}}]`), of("ConceptMap", `"group":[{"unmapped":{"mode":"other-map"}}]`), "ConceptMap.group[0].unmapped"},
		{"con-3", of("Condition", `"category":[`+coded("http://terminology.hl7.org/CodeSystem/condition-category", "encounter-diagnosis")+`]`), of("Condition", `"category":[`+coded("http://terminology.hl7.org/CodeSystem/condition-category", "problem-list-item")+`]`), "Condition"},
		{"con-4", of("Condition", `"abatementString":"x",`+clinical), of("Condition", `"abatementString":"x"`), "Condition"},
		{"con-5", of("Condition", erased), of("Condition", erased+","+clinical), "Condition"},
		{"ppc-1", of("Consent", `"policyRule":{"text":"x"}`), of("Consent", `"status":"active"`), "Consent"},
		{"ppc-2", of("Consent", `"patient":{"display":"x"},`+scope("patient-privacy")), of("Consent", scope("patient-privacy")), "Consent"},
		{"ppc-3", of("Consent", scope("treatment")), of("Consent", scope("research")), "Consent"},
		{"ppc-4", of("Consent", scope("treatment")), of("Consent", scope("adr")), "Consent"},
		{"ppc-5", of("Consent", scope("adr")), of("Consent", scope("treatment")), "Consent"},
		{"ces-1", of("CoverageEligibilityResponse", `"insurance":[{"item":[{"category":{"text":"x"}}]}]`), of("CoverageEligibilityResponse", `"insurance":[{"item":[{"name":"x"}]}]`), "CoverageEligibilityResponse.insurance[0].item[0]"},
		{"eld-1", element(`"slicing":{"rules":"open","description":"x"}`), element(`"slicing":{"rules":"open"}`), "StructureDefinition.snapshot.element[1].slicing"},
		{"eld-2", element(`"min":1,"max":"1"`), element(`"min":2,"max":"1"`), "StructureDefinition.snapshot.element[1]"},
		{"eld-3", element(`"max":"*"`), element(`"max":"many"`), "StructureDefinition.snapshot.element[1].max"},
		{"eld-4", element(`"type":[{"code":"Reference","aggregation":["bundled"]}]`), element(`"type":[{"code":"string","aggregation":["bundled"]}]`), "StructureDefinition.snapshot.element[1].type[0]"},
		{"eld-5", element(`"contentReference":"#A"`), element(`"contentReference":"#A","maxLength":1`), "StructureDefinition.snapshot.element[1]"},
		{"eld-6", element(`"fixedString":"x","type":[{"code":"string"}]`), element(`"fixedString":"x","type":[{"code":"string"},{"code":"code"}]`), "StructureDefinition.snapshot.element[1]"},
		{"eld-7", element(`"patternString":"x","type":[{"code":"string"}]`), element(`"patternString":"x","type":[{"code":"string"},{"code":"code"}]`), "StructureDefinition.snapshot.element[1]"},
		{"eld-8", element(`"patternString":"x"`), element(`"patternString":"x","fixedString":"x"`), "StructureDefinition.snapshot.element[1]"},
		{"eld-11", element(`"binding":{"strength":"required"},"type":[{"code":"code"},{"code":"Period"}]`), element(`"binding":{"strength":"required"},"type":[{"code":"Period"}]`), "StructureDefinition.snapshot.element[1]"},
		{"eld-12", element(`"binding":{"strength":"required","valueSet":"urn:oid:1.2"}`), element(`"binding":{"strength":"required","valueSet":"ValueSet/1"}`), "StructureDefinition.snapshot.element[1].binding"},
		{"eld-13", element(`"type":[{"code":"string"},{"code":"code"}]`), element(`"type":[{"code":"code"},{"code":"code"}]`), "StructureDefinition.snapshot.element[1]"},
		{"eld-14", element(`"constraint":[{"key":"a"},{"key":"b"}]`), element(`"constraint":[{"key":"a"},{"key":"b"},{"key":"a"}]`), "StructureDefinition.snapshot.element[1]"},
		{"eld-15", element(`"defaultValueString":"x"`), element(`"defaultValueString":"x","meaningWhenMissing":"x"`), "StructureDefinition.snapshot.element[1]"},
		{"eld-16", element(`"sliceName":"a/b"`), element(`"sliceName":"a b"`), "StructureDefinition.snapshot.element[1]"},
		{"eld-17", element(`"type":[{"code":"canonical","targetProfile":["http://a"]}]`), element(`"type":[{"code":"string","targetProfile":["http://a"]}]`), "StructureDefinition.snapshot.element[1].type[0]"},
		{"eld-18", element(`"isModifier":true,"isModifierReason":"x"`), element(`"isModifier":true`), "StructureDefinition.snapshot.element[1]"},
		{"eld-19", element(`"max":"1"`), definition(`"snapshot":{"element":[{"path":"A"},{"path":"A.b c"}]}`), "StructureDefinition.snapshot.element[1]"},
		{"eld-20", element(`"max":"1"`), definition(`"snapshot":{"element":[{"path":"A"},{"path":"A.1"}]}`), "StructureDefinition.snapshot.element[1]"},
		{"eld-21", element(`"constraint":[{"key":"a","expression":"x"}]`), element(`"constraint":[{"key":"a"}]`), "StructureDefinition.snapshot.element[1].constraint[0]"},
		{"eld-22", element(`"sliceIsConstraining":true,"sliceName":"x"`), element(`"sliceIsConstraining":true`), "StructureDefinition.snapshot.element[1]"},
		{"fhs-1", of("FamilyMemberHistory", `"ageString":"x"`), of("FamilyMemberHistory", `"ageString":"x","bornString":"x"`), "FamilyMemberHistory"},
		{"fhs-2", of("FamilyMemberHistory", `"ageString":"x","estimatedAge":true`), of("FamilyMemberHistory", `"estimatedAge":true`), "FamilyMemberHistory"},
		{"grp-1", of("Group", `"actual":true,"member":[{"entity":{"display":"x"}}]`), of("Group", `"actual":false,"member":[{"entity":{"display":"x"}}]`), "Group"},
		{"imr-1", of("ImmunizationRecommendation", `"recommendation":[{"vaccineCode":[{"text":"x"}]}]`), of("ImmunizationRecommendation", `"recommendation":[{"description":"x"}]`), "ImmunizationRecommendation.recommendation[0]"},
		{"ig-1", of("ImplementationGuide", `"definition":{"grouping":[{"id":"a"}],"resource":[{"groupingId":"a"}]}`), of("ImplementationGuide", `"definition":{"grouping":[{"id":"a"}],"resource":[{"groupingId":"b"}]}`), "ImplementationGuide.definition"},
		{"ig-2", of("ImplementationGuide", `"fhirVersion":["4.0.1"],"definition":{"resource":[{"fhirVersion":["4.0.1"]}]}`), of("ImplementationGuide", `"fhirVersion":["4.0.1"],"definition":{"resource":[{"fhirVersion":["4.0.0"]}]}`), "ImplementationGuide"},
		{"ipn-1", of("InsurancePlan", `"name":"x"`), of("InsurancePlan", `"alias":["x"]`), "InsurancePlan"},
		{"lnk-1", of("Linkage", `"item":[{"type":"source"},{"type":"alternate"}]`), of("Linkage", `"item":[{"type":"source"}]`), "Linkage"},
		{"lst-1", of("List", `"emptyReason":{"text":"x"}`), of("List", `"emptyReason":{"text":"x"},"entry":[{"item":{"display":"x"}}]`), "List"},
		{"lst-2", of("List", `"mode":"changes","entry":[{"deleted":true}]`), of("List", `"mode":"working","entry":[{"deleted":true}]`), "List"},
		{"lst-3", of("List", `"mode":"working","entry":[{"date":"2024"}]`), of("List", `"mode":"changes","entry":[{"date":"2024"}]`), "List"},
		{"mea-1", of("Measure", `"group":[{"stratifier":[{"description":"x"}]}]`), of("Measure", `"group":[{"stratifier":[{"description":"x","component":[{"description":"x"}]}]}]`), "Measure"},
		{"mrp-1", of("MeasureReport", `"type":"summary","group":[{"code":{"text":"x"}}]`), of("MeasureReport", `"type":"data-collection","group":[{"code":{"text":"x"}}]`), "MeasureReport"},
		{"mrp-2", of("MeasureReport", `"group":[{"stratifier":[{"stratum":[{"value":{"text":"x"}}]}]}]`), of("MeasureReport", `"group":[{"stratifier":[{"stratum":[{"measureScore":{"value":1}}]}]}]`), "MeasureReport"},
		{"mad-1", of("MedicationAdministration", `"dosage":{"rateQuantity":{"value":1}}`), of("MedicationAdministration", `"dosage":{"text":"x"}`), "MedicationAdministration.dosage"},
		{"mdd-1", of("MedicationDispense", `"whenPrepared":"2024-01-01","whenHandedOver":"2024-01-01T10:00:00Z"`), of("MedicationDispense", `"whenPrepared":"2024-01-02","whenHandedOver":"2024-01-01"`), "MedicationDispense"},
		{"md-1", of("MessageDefinition", `"focus":[{"max":"*"}]`), of("MessageDefinition", `"focus":[{"max":"0"}]`), "MessageDefinition.focus[0]"},
		{"msq-3", of("MolecularSequence", `"coordinateSystem":0`), of("MolecularSequence", `"coordinateSystem":2`), "MolecularSequence"},
		{"msq-5", of("MolecularSequence", `"referenceSeq":{"chromosome":{"text":"x"},"genomeBuild":"x"}`), of("MolecularSequence", `"referenceSeq":{"chromosome":{"text":"x"}}`), "MolecularSequence.referenceSeq"},
		{"msq-6", of("MolecularSequence", `"referenceSeq":{"referenceSeqString":"x"}`), of("MolecularSequence", `"referenceSeq":{"referenceSeqString":"x","genomeBuild":"x"}`), "MolecularSequence.referenceSeq"},
		{"nsd-1", of("NamingSystem", `"kind":"root","uniqueId":[{"type":"oid"}]`), of("NamingSystem", `"kind":"root","uniqueId":[{"type":"uuid"}]`), "NamingSystem"},
		{"nsd-2", of("NamingSystem", `"uniqueId":[{"type":"oid","preferred":true},{"type":"oid"}]`), of("NamingSystem", `"uniqueId":[{"type":"oid","preferred":true},{"type":"oid","preferred":true}]`), "NamingSystem"},
		{"nor-1", of("NutritionOrder", `"oralDiet":{"instruction":"x"}`), of("NutritionOrder", `"status":"active"`), "NutritionOrder"},
		{"opd-1", of("OperationDefinition", `"parameter":[{"type":"string"}]`), of("OperationDefinition", `"parameter":[{"name":"x"}]`), "OperationDefinition.parameter[0]"},
		{"opd-2", of("OperationDefinition", `"parameter":[{"type":"string","searchType":"token"}]`), of("OperationDefinition", `"parameter":[{"part":[{"name":"x","searchType":"token"}]}]`), "OperationDefinition.parameter[0].part[0]"},
		{"opd-3", of("OperationDefinition", `"parameter":[{"type":"Reference","targetProfile":["http://a"]}]`), of("OperationDefinition", `"parameter":[{"type":"string","targetProfile":["http://a"]}]`), "OperationDefinition.parameter[0]"},
		{"que-1", item1(`"type":"group","item":[{"linkId":"2","type":"string"}]`), item1(`"type":"group"`), "Questionnaire.item[0]"},
		{"que-2", item1(`"item":[{"linkId":"2"}]`), item1(`"item":[{"linkId":"1"}]`), "Questionnaire"},
		{"que-3", item1(`"type":"group","code":[{"code":"x"}]`), item1(`"type":"display","code":[{"code":"x"}]`), "Questionnaire.item[0]"},
		{"que-4", item1(`"answerValueSet":"http://a"`), item1(`"answerValueSet":"http://a","answerOption":[{"valueString":"x"}]`), "Questionnaire.item[0]"},
		{"que-5", item1(`"type":"choice","answerValueSet":"http://a"`), item1(`"type":"boolean","answerValueSet":"http://a"`), "Questionnaire.item[0]"},
		{"que-6", item1(`"type":"string","required":true`), item1(`"type":"display","required":true`), "Questionnaire.item[0]"},
		{"que-7", item1(`"enableWhen":[{"operator":"exists","answerBoolean":true}]`), item1(`"enableWhen":[{"operator":"exists","answerString":"x"}]`), "Questionnaire.item[0].enableWhen[0]"},
		{"que-8", item1(`"type":"string","initial":[{"valueString":"x"}]`), item1(`"type":"group","initial":[{"valueString":"x"}]`), "Questionnaire.item[0]"},
		{"que-9", item1(`"type":"string","readOnly":true`), item1(`"type":"display","readOnly":true`), "Questionnaire.item[0]"},
		{"que-10", item1(`"type":"text","maxLength":1`), item1(`"type":"date","maxLength":1`), "Questionnaire.item[0]"},
		{"que-11", item1(`"initial":[{"valueString":"x"}]`), item1(`"initial":[{"valueString":"x"}],"answerOption":[{"valueString":"x"}]`), "Questionnaire.item[0]"},
		{"que-12", item1(`"enableBehavior":"all","enableWhen":[{"question":"a"},{"question":"b"}]`), item1(`"enableWhen":[{"question":"a"},{"question":"b"}]`), "Questionnaire.item[0]"},
		{"que-13", item1(`"repeats":true,"initial":[{"valueString":"x"},{"valueString":"y"}]`), item1(`"initial":[{"valueString":"x"},{"valueString":"y"}]`), "Questionnaire.item[0]"},
		{"rqg-1", of("RequestGroup", `"action":[{"resource":{"display":"x"}}]`), of("RequestGroup", `"action":[{"title":"x"}]`), "RequestGroup.action[0]"},
		{"ras-1", of("RiskAssessment", `"prediction":[{"probabilityRange":{"low":{"code":"%","system":"http://unitsofmeasure.org"}}}]`), of("RiskAssessment", `"prediction":[{"probabilityRange":{"low":{"code":"g","system":"http://unitsofmeasure.org"}}}]`), "RiskAssessment.prediction[0].probability"},
		{"ras-2", of("RiskAssessment", `"prediction":[{"probabilityDecimal":99.5}]`), of("RiskAssessment", `"prediction":[{"probabilityDecimal":101}]`), "RiskAssessment.prediction[0]"},
		{"spd-1", of("SearchParameter", `"xpath":"x","xpathUsage":"normal"`), of("SearchParameter", `"xpath":"x"`), "SearchParameter"},
		{"spd-2", of("SearchParameter", `"type":"reference","chain":["x"]`), of("SearchParameter", `"type":"token","chain":["x"]`), "SearchParameter"},
		{"sdf-1", definition(`"snapshot":{"element":[{"path":"A"},{"path":"A.b"}]}`), definition(`"derivation":"specialization","snapshot":{"element":[{"path":"A"},{"path":"A"}]}`), "StructureDefinition"},
		{"sdf-2", definition(`"mapping":[{"identity":"x","name":"x"}]`), definition(`"mapping":[{"identity":"x"}]`), "StructureDefinition.mapping[0]"},
		{"sdf-3", definition(`"snapshot":{"element":[{"path":"A","definition":"x","min":0,"max":"1"}]}`), definition(`"snapshot":{"element":[{"path":"A","min":0,"max":"1"}]}`), "StructureDefinition.snapshot"},
		{"sdf-4", definition(`"abstract":true`), definition(`"abstract":false`), "StructureDefinition"},
		{"sdf-5", definition(`"type":"Extension","context":[{"type":"element"}]`), definition(`"type":"Extension","derivation":"constraint"`), "StructureDefinition"},
		{"sdf-6", definition(`"snapshot":{"element":[{"path":"A"}]}`), definition(`"type":"A"`), "StructureDefinition"},
		{"sdf-8", definition(`"type":"A","kind":"resource","snapshot":{"element":[{"path":"A"},{"path":"A.b"}]}`), definition(`"type":"A","kind":"resource","snapshot":{"element":[{"path":"A"},{"path":"B.b"}]}`), "StructureDefinition.snapshot"},
		{"sdf-8a", definition(`"type":"A","kind":"resource","differential":{"element":[{"path":"A.a"},{"path":"A.b"}]}`), definition(`"type":"A","kind":"resource","differential":{"element":[{"path":"A"},{"path":"AB.b"}]}`), "StructureDefinition.differential"},
		{"sdf-8b", definition(`"snapshot":{"element":[{"path":"A","base":{"path":"A"}}]}`), definition(`"snapshot":{"element":[{"path":"A"}]}`), "StructureDefinition.snapshot"},
		{"sdf-9", element(`"label":"x"`), definition(`"differential":{"element":[{"path":"A","label":"x"}]}`), "StructureDefinition"},
		{"sdf-10", element(`"binding":{"strength":"example","description":"x"}`), element(`"binding":{"strength":"example"}`), "StructureDefinition.snapshot.element[1]"},
		{"sdf-11", element(`"max":"1"`), definition(`"kind":"resource","type":"B","snapshot":{"element":[{"path":"A"}]}`), "StructureDefinition"},
		{"sdf-14", element(`"max":"1"`), definition(`"differential":{"element":[{"path":"A"}]}`), "StructureDefinition"},
		{"sdf-15", element(`"max":"1"`), definition(`"kind":"resource","snapshot":{"element":[{"path":"A","type":[{"code":"B"}]}]}`), "StructureDefinition"},
		{"sdf-15a", element(`"max":"1"`), definition(`"kind":"resource","differential":{"element":[{"path":"A","type":[{"code":"B"}]}]}`), "StructureDefinition"},
		{"sdf-16", element(`"max":"1"`), definition(`"snapshot":{"element":[{"id":"a","path":"A"},{"id":"a","path":"A.b"}]}`), "StructureDefinition"},
		{"sdf-17", element(`"max":"1"`), definition(`"differential":{"element":[{"id":"a","path":"A"},{"id":"a","path":"A.b"}]}`), "StructureDefinition"},
		{"sdf-18", definition(`"type":"Extension","contextInvariant":["x"]`), definition(`"type":"A","contextInvariant":["x"]`), "StructureDefinition"},
		{"sdf-19", definition(`"url":"http://example.org/A","snapshot":{"element":[{"path":"A.b","type":[{"code":"a b"}]}]}`), definition(`"url":"http://hl7.org/fhir/StructureDefinition/A","snapshot":{"element":[{"path":"A.b","type":[{"code":"a b"}]}]}`), "StructureDefinition"},
		{"sdf-20", definition(`"differential":{"element":[{"path":"A.b","slicing":{"rules":"open"}}]}`), definition(`"differential":{"element":[{"path":"A","slicing":{"rules":"open"}}]}`), "StructureDefinition.differential"},
		{"sdf-21", definition(`"derivation":"specialization","differential":{"element":[{"path":"A.b","defaultValueString":"x"}]}`), definition(`"derivation":"constraint","differential":{"element":[{"path":"A.b","defaultValueString":"x"}]}`), "StructureDefinition"},
		{"sdf-22", definition(`"url":"http://example.org/A","snapshot":{"element":[{"path":"A.b","defaultValueString":"x"}]}`), definition(`"url":"http://hl7.org/fhir/StructureDefinition/A","snapshot":{"element":[{"path":"A.b","defaultValueString":"x"}]}`), "StructureDefinition"},
		{"sdf-23", element(`"sliceName":"x"`), definition(`"snapshot":{"element":[{"path":"A","sliceName":"x"}]}`), "StructureDefinition"},
		{"smp-1", of("StructureMap", `"group":[{"rule":[{"target":[{"element":"x","context":"x"}]}]}]`), of("StructureMap", `"group":[{"rule":[{"target":[{"element":"x"}]}]}]`), "StructureMap.group[0].rule[0].target[0]"},
		{"smp-2", of("StructureMap", `"group":[{"rule":[{"target":[{"contextType":"type","context":"x"}]}]}]`), of("StructureMap", `"group":[{"rule":[{"target":[{"context":"x"}]}]}]`), "StructureMap.group[0].rule[0].target[0]"},
		{"inv-1", of("Task", `"authoredOn":"2024-01-01","lastModified":"2024-01"`), of("Task", `"authoredOn":"2024-01-02","lastModified":"2024-01-01"`), "Task"},
		{"tcp-1", of("TerminologyCapabilities", `"codeSystem":[{"version":[{"code":"1"},{"code":"2"}]}]`), of("TerminologyCapabilities", `"codeSystem":[{"version":[{"code":"1"},{"isDefault":true}]}]`), "TerminologyCapabilities.codeSystem[0]"},
		{"tcp-2", of("TerminologyCapabilities", `"description":"x"`), of("TerminologyCapabilities", `"name":"X"`), "TerminologyCapabilities"},
		{"tcp-3", of("TerminologyCapabilities", `"kind":"instance","implementation":{"description":"x"}`), of("TerminologyCapabilities", `"kind":"instance"`), "TerminologyCapabilities"},
		{"tcp-4", of("TerminologyCapabilities", `"kind":"capability","software":{"name":"x"}`), of("TerminologyCapabilities", `"kind":"capability"`), "TerminologyCapabilities"},
		{"tcp-5", of("TerminologyCapabilities", `"kind":"requirements"`), of("TerminologyCapabilities", `"kind":"requirements","software":{"name":"x"}`), "TerminologyCapabilities"},
		{"inv-1", of("TestReport", `"setup":{"action":[{"operation":{"result":"pass"}}]}`), of("TestReport", `"setup":{"action":[{"id":"x"}]}`), "TestReport.setup.action[0]"},
		{"inv-2", of("TestReport", `"test":[{"action":[{"operation":{"result":"pass"}}]}]`), of("TestReport", `"test":[{"action":[{"operation":{"result":"pass"},"assert":{"result":"pass"}}]}]`), "TestReport.test[0].action[0]"},
		{"tst-1", of("TestScript", `"setup":{"action":[{"assert":{"warningOnly":true}}]}`), of("TestScript", `"setup":{"action":[{"id":"x"}]}`), "TestScript.setup.action[0]"},
		{"tst-2", of("TestScript", `"test":[{"action":[{"assert":{"warningOnly":true}}]}]`), of("TestScript", `"test":[{"action":[{"id":"x"}]}]`), "TestScript.test[0].action[0]"},
		{"tst-3", of("TestScript", `"variable":[{"name":"x","path":"x"}]`), of("TestScript", `"variable":[{"name":"x","path":"x","expression":"x","headerField":"x"}]`), "TestScript.variable[0]"},
		{"tst-4", of("TestScript", `"metadata":{"capability":[{"required":true}]}`), of("TestScript", `"metadata":{"capability":[{"description":"x"}]}`), "TestScript.metadata"},
		{"tst-5", assertion("setup", `"responseCode":"200"`), assertion("setup", `"responseCode":"200","response":"okay"`), "TestScript.setup.action[0].assert"},
		{"tst-6", assertion("test", `"responseCode":"200"`), assertion("test", `"responseCode":"200","response":"okay"`), "TestScript.test[0].action[0].assert"},
		{"tst-7", operation("setup", `"type":{"code":"search"}`), operation("setup", `"type":{"code":"read"}`), "TestScript.setup.action[0].operation"},
		{"tst-8", operation("test", `"url":"http://a"`), operation("test", `"encodeRequestUrl":true`), "TestScript.test[0].action[0].operation"},
		{"tst-9", operation("teardown", `"sourceId":"a"`), operation("teardown", `"encodeRequestUrl":true`), "TestScript.teardown.action[0].operation"},
		{"tst-10", assertion("setup", `"compareToSourceId":"a","compareToSourcePath":"x"`), assertion("setup", `"compareToSourceId":"a"`), "TestScript.setup.action[0].assert"},
		{"tst-11", assertion("test", `"compareToSourceId":"a","compareToSourceExpression":"x"`), assertion("test", `"compareToSourceExpression":"x"`), "TestScript.test[0].action[0].assert"},
		{"tst-12", assertion("setup", `"direction":"response","response":"okay"`), assertion("setup", `"direction":"request","response":"okay"`), "TestScript.setup.action[0].assert"},
		{"tst-13", assertion("test", `"direction":"response","response":"okay"`), assertion("test", `"direction":"request","response":"okay"`), "TestScript.test[0].action[0].assert"},
		{"vsd-1", of("ValueSet", `"compose":{"include":[{"system":"http://a"}]}`), of("ValueSet", `"compose":{"include":[{"version":"1"}]}`), "ValueSet.compose.include[0]"},
		{"vsd-2", of("ValueSet", `"compose":{"include":[{"system":"http://a","concept":[{"code":"x"}]}]}`), of("ValueSet", `"compose":{"exclude":[{"concept":[{"code":"x"}]}]}`), "ValueSet.compose.exclude[0]"},
		{"vsd-3", of("ValueSet", `"compose":{"include":[{"concept":[{"code":"x"}]}]}`), of("ValueSet", `"compose":{"include":[{"concept":[{"code":"x"}],"filter":[{"property":"x"}]}]}`), "ValueSet.compose.include[0]"},
		{"vsd-6", of("ValueSet", `"expansion":{"contains":[{"display":"x"}]}`), of("ValueSet", `"expansion":{"contains":[{"version":"x"}]}`), "ValueSet.expansion.contains[0]"},
		{"vsd-9", of("ValueSet", `"expansion":{"contains":[{"abstract":true}]}`), of("ValueSet", `"expansion":{"contains":[{"display":"x"}]}`), "ValueSet.expansion.contains[0]"},
		{"vsd-10", of("ValueSet", `"expansion":{"contains":[{"system":"http://a","code":"x"}]}`), of("ValueSet", `"expansion":{"contains":[{"code":"x"}]}`), "ValueSet.expansion.contains[0]"},

		{"con-2", of("Condition", `"evidence":[{"detail":[{"display":"x"}]}]`), of("Condition", `"evidence":[{"id":"x"}]`), "Condition.evidence[0]"},
		{"cpl-3", of("CarePlan", `"activity":[{"reference":{"display":"x"}}]`), of("CarePlan", `"activity":[{"reference":{"display":"x"},"detail":{"status":"completed"}}]`), "CarePlan.activity[0]"},
		{"gol-1", of("Goal", `"target":[{"measure":{"text":"x"},"detailString":"x"}]`), of("Goal", `"target":[{"detailString":"x"}]`), "Goal.target[0]"},
		{"imm-1", of("Immunization", `"education":[{"reference":"http://a"}]`), of("Immunization", `"education":[{"publicationDate":"2024"}]`), "Immunization.education[0]"},
		{"prr-1", of("ServiceRequest", `"code":{"text":"x"},"orderDetail":[{"text":"x"}]`), of("ServiceRequest", `"orderDetail":[{"text":"x"}]`), "ServiceRequest"},
	}
	// A definition is named so that a program can use the name.
	everyInvariant(func(v *definitions.Invariant) {
		if v.Expression == machineName {
			name := v.Where[0]
			all = append(all, breach{v.Key, of(name, `"name":"Name_1"`), of(name, `"name":"a Name"`), name}, breach{v.Key, of(name, `"language":"en"`), of(name, `"name":"Na-me"`), name})
		}
	})
	return all
}
