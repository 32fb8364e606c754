package patch_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/patch"
)

// operation is a FHIRPath Patch of one operation.
func operation(kind, path string, parts ...string) []byte {
	quoted, _ := json.Marshal(path)
	all := append([]string{`{"name":"type","valueCode":"` + kind + `"}`, `{"name":"path","valueString":` + string(quoted) + `}`}, parts...)
	return []byte(`{"resourceType":"Parameters","parameter":[{"name":"operation","part":[` + strings.Join(all, ",") + `]}]}`)
}

func named(name string) string { return `{"name":"name","valueString":"` + name + `"}` }

func number(name, value string) string { return `{"name":"` + name + `","valueInteger":` + value + `}` }

const (
	patient = `{"resourceType":"Patient","id":"p","contained":[{"resourceType":"Organization","id":"g","name":"A"},{"resourceType":"Device","id":"d"}],` +
		`"extension":[{"url":"http://a","valueString":"1"},{"url":"http://b","valueDecimal":1.50}],` +
		`"identifier":[{"system":"s","value":"1"},{"use":"old","system":"s","value":"2"}],"active":true,` +
		`"name":[{"use":"official","family":"F","given":["a","b","c"],"_given":[null,{"id":"gb"},null]},{"use":"usual","given":["n"]}],` +
		`"birthDate":"1970-01-01","_birthDate":{"extension":[{"url":"http://t","valueString":"t"}]},"multipleBirthInteger":2,"contact":[{"name":{"text":"x"}}]}`
	weight = `{"resourceType":"Observation","status":"final","code":{"text":"w"},"valueQuantity":{"value":72.50,"unit":"kg"},` +
		`"component":[{"code":{"text":"a"},"valueQuantity":{"value":1.0e1}},{"code":{"text":"b"},"valueString":"v"}]}`
)

func TestFHIRPathPatchChangesWhatItSays(t *testing.T) {
	for _, c := range []struct {
		name, resource string
		patch          []byte
		old, new       string // what is replaced in the resource
	}{
		{"a code", weight, operation("replace", "Observation.status", `{"name":"value","valueCode":"amended"}`), `"final"`, `"amended"`},
		{"a path without the type", weight, operation("replace", "status", `{"name":"value","valueCode":"amended"}`), `"final"`, `"amended"`},
		{"a decimal keeps its text", weight, operation("replace", "Observation.value.value", `{"name":"value","valueDecimal":7.30e1}`), `72.50`, `7.30e1`},
		{"a choice changes its type, in its place", weight, operation("replace", "Observation.value", `{"name":"value","valueString":"x"}`), `"valueQuantity":{"value":72.50,"unit":"kg"}`, `"valueString":"x"`},
		{"a choice of a type", weight, operation("replace", "(Observation.value as Quantity).unit", `{"name":"value","valueString":"lb"}`), `"kg"`, `"lb"`},
		{"ofType", weight, operation("delete", "Observation.component.value.ofType(string)"), `,"valueString":"v"`, ``},
		{"ofType of another type finds nothing, and delete does nothing", weight, operation("delete", "Observation.value.ofType(FHIR.Period)"), ``, ``},
		{"a type is asked for", weight, operation("delete", "Observation.component.where(value is string)"), `,{"code":{"text":"b"},"valueString":"v"}`, ``},
		{"a choice is added", `{"resourceType":"Observation"}`, operation("add", "Observation", named("value"), `{"name":"value","valueQuantity":{"value":1.10}}`), `n"}`, `n","valueQuantity":{"value":1.10}}`},
		{"a derived type", `{"resourceType":"Observation"}`, operation("add", "Observation", named("value"), `{"name":"value","valueAge":{"value":1.10}}`), `n"}`, `n","valueQuantity":{"value":1.10}}`},
		{"where compares numbers by value", weight, operation("delete", "Observation.component.where(value.ofType(Quantity).value = 10)"), `{"code":{"text":"a"},"valueQuantity":{"value":1.0e1}},`, ``},
		{"where with an order", weight, operation("delete", "Observation.component.where(value.ofType(Quantity).value > 9.99 and value.ofType(Quantity).value <= 10.0)"), `{"code":{"text":"a"},"valueQuantity":{"value":1.0e1}},`, ``},
		{"what is empty goes", patient, operation("delete", "Patient.contact.name.text"), `,"contact":[{"name":{"text":"x"}}]`, ``},
		{"an identifier by its use", patient, operation("delete", "Patient.identifier.where(use = 'old')"), `,{"use":"old","system":"s","value":"2"}`, ``},
		{"an element without another one", patient, operation("delete", "Patient.identifier.where(use.exists().not())"), `{"system":"s","value":"1"},`, ``},
		{"or, startsWith and upper", patient, operation("delete", "Patient.identifier.where(use.upper() = 'OLD' or value.startsWith('9'))"), `,{"use":"old","system":"s","value":"2"}`, ``},
		{"what is not known does not hinder or", patient, operation("delete", "Patient.identifier.where(use = 'x' or value = '1')"), `{"system":"s","value":"1"},`, ``},
		{"what is not known hinders and", patient, operation("delete", "Patient.identifier.where(use != 'x' and system = 's')"), `,{"use":"old","system":"s","value":"2"}`, ``},
		{"exists with a criterion", patient, operation("delete", "Patient.name.where(given.exists($this = 'n'))"), `,{"use":"usual","given":["n"]}`, ``},
		{"all and count", patient, operation("delete", "Patient.name.where(given.count() = 1 and given.all($this.contains('n')))"), `,{"use":"usual","given":["n"]}`, ``},
		{"the last one", patient, operation("delete", "Patient.name.last()"), `,{"use":"usual","given":["n"]}`, ``},
		{"tail", patient, operation("delete", "Patient.identifier.tail()"), `,{"use":"old","system":"s","value":"2"}`, ``},
		{"skip and take", patient, operation("delete", "Patient.name[0].given.skip(2).take(1).single()"), `"a","b","c"],"_given":[null,{"id":"gb"},null]`, `"a","b"],"_given":[null,{"id":"gb"}]`},
		{"an item with an id goes with it", patient, operation("delete", "Patient.name[0].given[1]"), `"a","b","c"],"_given":[null,{"id":"gb"},null]`, `"a","c"]`},
		{"an extension by its URL", patient, operation("replace", "Patient.extension('http://b').value", `{"name":"value","valueDecimal":2.00}`), `1.50`, `2.00`},
		{"the extension of a primitive", patient, operation("replace", "Patient.birthDate.extension('http://t').value", `{"name":"value","valueString":"u"}`), `"t"}`, `"u"}`},
		{"the only extension of a primitive", patient, operation("delete", "Patient.birthDate.extension[0]"), `,"_birthDate":{"extension":[{"url":"http://t","valueString":"t"}]}`, ``},
		{"a primitive goes with its extensions", patient, operation("delete", "Patient.birthDate"), `,"birthDate":"1970-01-01","_birthDate":{"extension":[{"url":"http://t","valueString":"t"}]}`, ``},
		{"a primitive is replaced with its extensions", patient, operation("replace", "Patient.birthDate", `{"name":"value","valueDate":"1970"}`), `"1970-01-01","_birthDate":{"extension":[{"url":"http://t","valueString":"t"}]}`, `"1970"`},
		{"a primitive that is only extensions", patient, operation("replace", "Patient.active", `{"name":"value","_valueBoolean":{"id":"q"}}`), `"active":true`, `"_active":{"id":"q"}`},
		{"an extension is added to a primitive", patient, operation("add", "Patient.name[0].given[2]", named("extension"), `{"name":"value","part":[{"name":"url","valueUri":"u"}]}`), `},null]`, `},{"extension":[{"url":"u"}]}]`},
		{"an id is added to an item without a list of ids", patient, operation("add", "Patient.name[1].given[0]", named("id"), `{"name":"value","valueString":"i"}`), `"given":["n"]`, `"given":["n"],"_given":[{"id":"i"}]`},
		{"the id of an item is deleted", patient, operation("delete", "Patient.name[0].given[1].id"), `,"_given":[null,{"id":"gb"},null]`, ``},
		{"an item that is only extensions", patient, operation("replace", "Patient.name[0].given[0]", `{"name":"value","_valueString":{"id":"q"}}`), `["a","b","c"],"_given":[null`, `[null,"b","c"],"_given":[{"id":"q"}`},
		{"a primitive is inserted with its id", patient, operation("insert", "Patient.name[0].given", number("index", "1"), `{"name":"value","valueString":"i","_valueString":{"id":"q"}}`), `"a","b","c"],"_given":[null,`, `"a","i","b","c"],"_given":[null,{"id":"q"},`},
		{"a primitive is moved with its id", patient, operation("move", "Patient.name[0].given", number("source", "1"), number("destination", "0")), `"a","b","c"],"_given":[null,{"id":"gb"},null]`, `"b","a","c"],"_given":[{"id":"gb"},null,null]`},
		{"an item is inserted at the end", patient, operation("insert", "Patient.identifier", number("index", "2"), `{"name":"value","valueIdentifier":{"value":"3"}}`), `"2"}]`, `"2"},{"value":"3"}]`},
		{"a contained resource", patient, operation("replace", "Patient.contained.ofType(Organization).name", `{"name":"value","valueString":"B"}`), `"A"`, `"B"`},
		{"a contained resource is added", patient, operation("add", "Patient", named("contained"), `{"name":"value","resource":{"resourceType":"Patient","id":"x"}}`), `"id":"d"}]`, `"id":"d"},{"resourceType":"Patient","id":"x"}]`},
		{"a contained resource is deleted", patient, operation("delete", "contained.where(id = 'd')"), `,{"resourceType":"Device","id":"d"}`, ``},
		{"an element without a type, as parts", `{"resourceType":"Observation"}`, operation("add", "Observation", named("component"),
			`{"name":"value","part":[{"name":"code","valueCodeableConcept":{"text":"c"}},{"name":"value","valueInteger":1},{"name":"referenceRange","part":[{"name":"text","valueString":"r"}]},{"name":"interpretation","valueCodeableConcept":{"text":"h"}},{"name":"interpretation","valueCodeableConcept":{"text":"l"}}]}`),
			`n"}`, `n","component":[{"code":{"text":"c"},"valueInteger":1,"referenceRange":[{"text":"r"}],"interpretation":[{"text":"h"},{"text":"l"}]}]}`},
		{"a type without a value, as parts", `{"resourceType":"Patient"}`, operation("add", "Patient", named("text"),
			`{"name":"value","part":[{"name":"status","valueCode":"empty"},{"name":"div","valueString":"<div/>"}]}`), `t"}`, `t","text":{"status":"empty","div":"<div/>"}}`},
	} {
		got, err := patch.FHIRPath([]byte(c.resource), c.patch)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if want := strings.Replace(c.resource, c.old, c.new, 1); string(got) != want || strings.Count(c.resource, c.old) != 1 && c.old != "" {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, want)
		}
	}
}

func TestFHIRPathPatchIsRefusedWithItsOperationAndTheReason(t *testing.T) {
	text := `{"name":"value","valueString":"x"}`
	const at = "Parameters.parameter[0]"
	replace := func(path string) []byte { return operation("replace", path, text) }
	for _, c := range []struct {
		name, resource string
		patch          []byte
		code, message  string
	}{
		{"nothing to replace", patient, replace("Patient.gender"), fhir.CodeNotFound, "selects nothing"},
		{"nothing to add to", patient, operation("add", "Patient.maritalStatus", named("text"), text), fhir.CodeNotFound, "selects nothing"},
		{"several to replace", patient, replace("Patient.name.given"), patch.CodeMultiple, "selects 4 elements"},
		{"several to delete", patient, operation("delete", "Patient.name"), patch.CodeMultiple, "selects 2 elements"},
		{"several with single", patient, operation("delete", "Patient.name.single()"), patch.CodeMultiple, "single"},
		{"an element that is there is added", patient, operation("add", "Patient", named("birthDate"), `{"name":"value","valueDate":"1970"}`), fhir.CodeDuplicate, "there already"},
		{"a choice that is there as another type is added", patient, operation("add", "Patient", named("multipleBirth"), `{"name":"value","valueBoolean":true}`), fhir.CodeDuplicate, "there already"},
		{"an unknown element", patient, replace("Patient.nme"), fhir.CodeInvalid, `Patient has no element "nme"`},
		{"an unknown element is not silently not deleted", patient, operation("delete", "Patient.nme"), fhir.CodeInvalid, `"nme"`},
		{"another resource", patient, replace("Observation.status"), fhir.CodeInvalid, `"Observation"`},
		{"a choice under its name in JSON", weight, replace("Observation.valueQuantity.unit"), fhir.CodeInvalid, `"valueQuantity"`},
		{"an unknown element is added", patient, operation("add", "Patient", named("nme"), text), fhir.CodeInvalid, `"nme"`},
		{"the resourceType", patient, replace("Patient.resourceType"), fhir.CodeInvalid, "resourceType"},
		{"the whole resource is replaced", patient, replace("Patient"), fhir.CodeBusinessRule, "whole"},
		{"the whole resource is deleted", patient, operation("delete", "Patient"), fhir.CodeBusinessRule, "whole"},
		{"a wrong type", weight, replace("Observation.code"), fhir.CodeValue, "Observation.code must not be string"},
		{"a string for a code", weight, replace("Observation.status"), fhir.CodeValue, "Observation.status must not be string"},
		{"a type that a choice does not have", patient, operation("replace", "Patient.multipleBirth", `{"name":"value","valueString":"2"}`), fhir.CodeValue, "must not be string"},
		{"a value for an element without a type", patient, operation("add", "Patient", named("contact"), text), fhir.CodeValue, "Patient.contact"},
		{"parts for a primitive", patient, operation("replace", "Patient.birthDate", `{"name":"value","part":[{"name":"id","valueString":"x"}]}`), fhir.CodeValue, "parts"},
		{"parts for a choice", weight, operation("replace", "Observation.value", `{"name":"value","part":[{"name":"value","valueDecimal":1}]}`), fhir.CodeValue, "parts"},
		{"no parts", patient, operation("add", "Patient", named("contact"), `{"name":"value","part":[]}`), fhir.CodeRequired, "no parts"},
		{"a part for no element", patient, operation("add", "Patient", named("contact"), `{"name":"value","part":[{"name":"nme","valueString":"x"}]}`), fhir.CodeInvalid, "Patient.contact"},
		{"a part twice", patient, operation("add", "Patient", named("contact"), `{"name":"value","part":[{"name":"gender","valueCode":"male"},{"name":"gender","valueCode":"female"}]}`), fhir.CodeStructure, "Patient.contact.gender"},
		{"a resource where none belongs", patient, operation("add", "Patient", named("contact"), `{"name":"value","resource":{"resourceType":"Patient"}}`), fhir.CodeValue, "resource"},
		{"two values", patient, operation("add", "Patient", named("gender"), `{"name":"value","valueCode":"male","valueString":"x"}`), fhir.CodeValue, "several"},
		{"no value", patient, operation("add", "Patient", named("gender"), `{"name":"value"}`), fhir.CodeValue, "no value"},
		{"an unknown type of value", patient, operation("add", "Patient", named("gender"), `{"name":"value","valueFoo":"x"}`), fhir.CodeValue, "type"},
		{"a primitive that is an object", patient, operation("add", "Patient", named("gender"), `{"name":"value","valueCode":{}}`), fhir.CodeStructure, "valueCode"},
		{"an insert beyond the end", patient, operation("insert", "Patient.identifier", number("index", "3"), `{"name":"value","valueIdentifier":{"value":"3"}}`), fhir.CodeNotFound, "2 items"},
		{"an insert into nothing", patient, operation("insert", "Patient.photo", number("index", "0"), `{"name":"value","valueAttachment":{"title":"x"}}`), fhir.CodeNotFound, "no items"},
		{"an insert into no list", patient, operation("insert", "Patient.birthDate", number("index", "0"), `{"name":"value","valueDate":"1970"}`), fhir.CodeInvalid, "no list"},
		{"an insert into two lists", patient, operation("insert", "Patient.name.given", number("index", "0"), text), patch.CodeMultiple, "2 elements"},
		{"an insert into an item", patient, operation("insert", "Patient.identifier[0]", number("index", "0"), text), fhir.CodeInvalid, "name of a list"},
		{"a negative index", patient, operation("insert", "Patient.identifier", number("index", "-1"), text), fhir.CodeValue, "index"},
		{"a fraction as an index", patient, operation("insert", "Patient.identifier", number("index", "1.0"), text), fhir.CodeValue, "index"},
		{"a move beyond the end", patient, operation("move", "Patient.identifier", number("source", "0"), number("destination", "2")), fhir.CodeNotFound, "2 items"},
		{"an unknown operation", patient, operation("copy", "Patient.identifier"), fhir.CodeNotSupported, "none of FHIRPath Patch"},
		{"a part too many", patient, operation("delete", "Patient.name", text), fhir.CodeStructure, "cannot have"},
		{"a part too few", patient, operation("replace", "Patient.name"), fhir.CodeRequired, "value"},
		{"a part twice in an operation", patient, operation("replace", "Patient.name", text, text), fhir.CodeStructure, "twice"},
		{"an unknown function", patient, replace("Patient.descendants()"), fhir.CodeNotSupported, "path, byte 9: the function descendants"},
		{"another resource by resolve", patient, replace("Patient.generalPractitioner.resolve().name"), fhir.CodeNotSupported, "resolve"},
		{"an unknown operator", patient, replace("Patient.name | Patient.contact"), fhir.CodeNotSupported, "|"},
		{"in", patient, replace("Patient.name.where(use in 'usual')"), fhir.CodeNotSupported, "in"},
		{"a variable", patient, replace("%resource.name"), fhir.CodeNotSupported, "%"},
		{"a date literal", patient, replace("Patient.where(birthDate = @1970-01-01)"), fhir.CodeNotSupported, "@"},
		{"a date that is compared", patient, operation("delete", "Patient.where(birthDate = '1970-01-01').name[0]"), fhir.CodeNotSupported, "dates"},
		{"a complex element that is compared", patient, operation("delete", "Patient.name.where(period = 'x' or $this = 'x')"), fhir.CodeNotSupported, "HumanName"},
		{"a criterion that is none", patient, operation("delete", "Patient.name.where(use)"), fhir.CodeInvalid, "true or false"},
		{"strings and numbers have no order", patient, operation("delete", "Patient.name.where(use > 1)"), fhir.CodeInvalid, "order"},
		{"a value for a path", patient, operation("delete", "Patient.name.exists()"), fhir.CodeInvalid, "selects no element"},
		{"too few arguments", patient, operation("delete", "Patient.name.where()"), fhir.CodeInvalid, "where"},
		{"an unknown type", patient, operation("delete", "Patient.multipleBirth.ofType(Foo)"), fhir.CodeInvalid, "no such type"},
		{"an empty path", patient, operation("delete", ""), fhir.CodeInvalid, "too early"},
		{"an unfinished path", patient, operation("delete", "Patient.name["), fhir.CodeNotSupported, "index"},
		{"a computed index", patient, operation("delete", "Patient.name[1-1]"), fhir.CodeNotSupported, "-"},
		{"an unfinished string", patient, operation("delete", "Patient.name.where(use = 'x)"), fhir.CodeInvalid, "no end"},
		{"too many parentheses", patient, operation("delete", strings.Repeat("(", 40)+"Patient"+strings.Repeat(")", 40)), fhir.CodeTooCostly, "nested"},
		{"a long path", patient, operation("delete", "Patient"+strings.Repeat(" ", 5000)), fhir.CodeTooLong, "4096"},
		{"a list that is none", `{"resourceType":"Patient","name":{"text":"x"}}`, replace("Patient.name.text"), fhir.CodeStructure, "HumanName"},
		{"an array that should be none", `{"resourceType":"Patient","birthDate":["1970"]}`, operation("delete", "Patient.birthDate"), fhir.CodeStructure, "date"},
		{"a name that is no operation", patient, []byte(`{"resourceType":"Parameters","parameter":[{"name":"op"}]}`), fhir.CodeValue, "operation"},
		{"a parameter that is no object", patient, []byte(`{"resourceType":"Parameters","parameter":[1]}`), fhir.CodeStructure, "object"},
	} {
		got, err := patch.FHIRPath([]byte(c.resource), c.patch)
		path := at
		if c.name == "a parameter that is no object" {
			path = "Parameters.parameter"
		}
		refused(t, c.name, got, err, path, c.code, c.message)
	}
	got, err := patch.FHIRPath([]byte(patient), []byte(patient))
	refused(t, "no Parameters", got, err, "resourceType", fhir.CodeStructure, "Parameters")
	got, err = patch.FHIRPath([]byte(patient), operation("replace", "Patient.id", `{"name":"value","valueId":"q"}`))
	refused(t, "another id", got, err, "", fhir.CodeBusinessRule, "id")
}
