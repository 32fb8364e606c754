package patch_test

import (
	"errors"
	"testing"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/patch"
)

// checkResult: what is returned is a resource of the same type and id, compact; or the error
// has one issue with a code and a message.
func checkResult(t *testing.T, resource, got []byte, err error) {
	if err != nil {
		e, ok := errors.AsType[*fhir.Error](err)
		if !ok || len(e.Issues) != 1 || e.Issues[0].Code == "" || e.Issues[0].Message == "" || got != nil {
			t.Fatalf("%v %s", err, got)
		}
		return
	}
	oldType, oldID, _, err := fhir.Parse(resource)
	if err != nil {
		t.Fatal(err)
	}
	newType, newID, compact, err := fhir.Parse(got)
	if err != nil || newType != oldType || newID != oldID || string(compact) != string(got) {
		t.Fatalf("%s: %v", got, err)
	}
}

func FuzzJSON(f *testing.F) {
	for _, p := range []string{
		`[]`, `[{"op":"add","path":"/component/-","value":{"a":[1,{"b":null}]}},{"op":"copy","from":"/component","path":"/component/0/c"}]`,
		`[{"op":"move","from":"/valueQuantity","path":"/component/0"},{"op":"remove","path":"/x"},{"op":"test","path":"/a~1b","value":1.0}]`,
		`[{"op":"replace","path":"","value":{"resourceType":"Observation","id":"o1"}}]`,
	} {
		f.Add([]byte(observation), []byte(p))
	}
	f.Fuzz(func(t *testing.T, resource, p []byte) {
		got, err := patch.JSON(resource, p)
		checkResult(t, resource, got, err)
	})
}

func FuzzFHIRPath(f *testing.F) {
	for _, c := range []struct{ kind, path, part string }{
		{"delete", "Patient.name.where(given.exists($this = 'n') and use != 'x' or 1.5 < -2).given[0]", ``},
		{"replace", "Patient.birthDate.extension('http://t').value as string", `{"name":"value","valueString":"x","_valueString":{"id":"i"}}`},
		{"insert", "Patient.name[0].given", `{"name":"index","valueInteger":1},{"name":"value","valueString":"i"}`},
		{"move", "Patient.name[0].given", `{"name":"source","valueInteger":2},{"name":"destination","valueInteger":0}`},
		{"add", "Patient.contained.ofType(Device)", `{"name":"name","valueString":"property"},{"name":"value","part":[{"name":"type","valueCodeableConcept":{}},{"name":"valueCode","valueCodeableConcept":{}}]}`},
	} {
		p := operation(c.kind, c.path, c.part)
		if c.part == "" {
			p = operation(c.kind, c.path)
		}
		f.Add([]byte(patient), p)
	}
	f.Fuzz(func(t *testing.T, resource, p []byte) {
		got, err := patch.FHIRPath(resource, p)
		checkResult(t, resource, got, err)
	})
}

// FuzzPath: any text as a path does no more than be refused.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"Patient.name", "name.where((use='a' or use!='b') and given.count()>=1).first()", "`name`[0].given.tail().skip(1)", "Patient.multipleBirth is integer", "'\\u00e9'", "$this.name.all($this is HumanName)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		p := operation("delete", path)
		got, err := patch.FHIRPath([]byte(patient), p)
		checkResult(t, []byte(patient), got, err)
	})
}
