package patch_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/patch"
)

const observation = `{"resourceType":"Observation","id":"o1","status":"preliminary","code":{"text":"weight"},` +
	`"valueQuantity":{"value":72.50,"unit":"kg"},"component":[{"code":{"text":"a"}},{"code":{"text":"b"}}],"a/b":1,"m~n":2,"x":1.0e2}`

func TestJSONPatchChangesWhatItSays(t *testing.T) {
	for _, c := range []struct{ name, patch, want string }{
		{"an empty patch changes nothing", `[]`, observation},
		{"a member is added behind the others", `[{"op":"add","path":"/language","value":"en"}]`,
			strings.TrimSuffix(observation, "}") + `,"language":"en"}`},
		{"a member that is there is replaced by add, in its place", `[{"op":"add","path":"/status","value":"final"}]`,
			strings.Replace(observation, "preliminary", "final", 1)},
		{"a replaced number leaves its neighbours alone", `[{"op":"replace","path":"/valueQuantity/unit","value":"lb"}]`,
			strings.Replace(observation, `"kg"`, `"lb"`, 1)},
		{"a number keeps its text", `[{"op":"replace","path":"/valueQuantity/value","value":1.500E+02}]`,
			strings.Replace(observation, `72.50`, `1.500E+02`, 1)},
		{"an item is inserted before the one with its index", `[{"op":"add","path":"/component/0","value":{"code":{"text":"z"}}}]`,
			strings.Replace(observation, `[{`, `[{"code":{"text":"z"}},{`, 1)},
		{"an item is added at the end with its length", `[{"op":"add","path":"/component/2","value":{"code":{"text":"z"}}}]`,
			strings.Replace(observation, `}}],`, `}},{"code":{"text":"z"}}],`, 1)},
		{"an item is added at the end with -", `[{"op":"add","path":"/component/-","value":{"code":{"text":"z"}}}]`,
			strings.Replace(observation, `}}],`, `}},{"code":{"text":"z"}}],`, 1)},
		{"a copy is independent of what it was copied from", `[{"op":"copy","from":"/component/0","path":"/component/-"},{"op":"replace","path":"/component/0/code/text","value":"c"}]`,
			strings.Replace(strings.Replace(observation, `"text":"a"`, `"text":"c"`, 1), `}}],`, `}},{"code":{"text":"a"}}],`, 1)},
		{"a changed value is copied as it is now", `[{"op":"replace","path":"/component/0/code/text","value":"c"},{"op":"copy","from":"/component/0","path":"/component/1"},{"op":"remove","path":"/component/2"}]`,
			strings.Replace(observation, `[{"code":{"text":"a"}},{"code":{"text":"b"}}]`, `[{"code":{"text":"c"}},{"code":{"text":"c"}}]`, 1)},
		{"a value is moved", `[{"op":"move","from":"/component/1","path":"/component/0"}]`,
			strings.Replace(observation, `[{"code":{"text":"a"}},{"code":{"text":"b"}}]`, `[{"code":{"text":"b"}},{"code":{"text":"a"}}]`, 1)},
		{"a value moved to where it is stays", `[{"op":"move","from":"/component/1","path":"/component/1"}]`, observation},
		{"a test of all kinds of values", `[{"op":"test","path":"/valueQuantity","value":{"unit":"k\u0067","value":7.25e1}},{"op":"test","path":"/component/1","value":{"code":{"text":"b"}}},{"op":"test","path":"/x","value":100}]`, observation},
		{"escapes in a pointer", `[{"op":"remove","path":"/a~1b"},{"op":"remove","path":"/m~0n"}]`, strings.Replace(observation, `,"a/b":1,"m~n":2`, ``, 1)},
		{"the whole resource is replaced by another with its type and id", `[{"op":"replace","path":"","value":{"id":"o1","resourceType":"Observation"}}]`, `{"id":"o1","resourceType":"Observation"}`},
		{"the type may go as long as it comes back", `[{"op":"move","from":"/id","path":"/old"},{"op":"move","from":"/old","path":"/id"}]`,
			strings.Replace(strings.TrimSuffix(observation, "}"), `"id":"o1",`, ``, 1) + `,"id":"o1"}`},
		{"null is a value", `[{"op":"add","path":"/status","value":null},{"op":"test","path":"/status","value":null}]`, strings.Replace(observation, `"preliminary"`, `null`, 1)},
	} {
		got, err := patch.JSON([]byte(observation), []byte(c.patch))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if string(got) != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestJSONPatchIsRefusedWithItsOperationAndTheReason(t *testing.T) {
	many := `[` + strings.Repeat(`{"op":"test","path":"/status","value":"preliminary"},`, patch.MaxOperations) + `{"op":"remove","path":"/status"}]`
	for _, c := range []struct{ name, patch, path, code, message string }{
		{"no array", `{"op":"remove","path":"/status"}`, "", fhir.CodeStructure, "no JSON array"},
		{"no JSON", `[{]`, "", fhir.CodeStructure, "byte 2"},
		{"cut off", `[{"op":"remove"`, "", fhir.CodeStructure, "ends too early"},
		{"more than a patch", `[] []`, "", fhir.CodeStructure, "byte 2"},
		{"an operation that is no object", `["remove"]`, "/0", fhir.CodeStructure, "no JSON object"},
		{"a name twice in the patch", `[{"op":"remove","op":"add","path":"/status"}]`, "", fhir.CodeStructure, "twice"},
		{"a name twice in a value", `[{"op":"add","path":"/x","value":{"a":1,"a":2}}]`, "", fhir.CodeStructure, "twice"},
		{"deep values", `[{"op":"add","path":"/x","value":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}]`, "", fhir.CodeTooCostly, "levels"},
		{"deep results", `[{"op":"add","path":"/component/0/code/text","value":` + strings.Repeat("[", 61) + strings.Repeat("]", 61) + `}]`, "/0", fhir.CodeTooCostly, "levels"},
		{"what was moved, and nested deeper after that", `[{"op":"move","from":"/valueQuantity","path":"/v"},{"op":"add","path":"/v/value","value":` + strings.Repeat("[", 60) + strings.Repeat("]", 60) + `},{"op":"move","from":"/v","path":"/component/0/code/text"}]`, "/2", fhir.CodeTooCostly, "levels"},
		{"too many operations", many, "", fhir.CodeTooCostly, "1000"},
		{"no op", `[{"path":"/status"}]`, "/0", fhir.CodeRequired, `"op"`},
		{"an unknown op", `[{"op":"test","path":"/status","value":"preliminary"},{"op":"delete","path":"/status"}]`, "/1", fhir.CodeNotSupported, "RFC 6902"},
		{"no path", `[{"op":"remove"}]`, "/0", fhir.CodeRequired, `"path"`},
		{"a path that is no string", `[{"op":"remove","path":1}]`, "/0", fhir.CodeStructure, "string"},
		{"no value", `[{"op":"add","path":"/status"}]`, "/0", fhir.CodeRequired, `"value"`},
		{"no from", `[{"op":"move","path":"/status"}]`, "/0", fhir.CodeRequired, `"from"`},
		{"a malformed operation behind one that cannot be applied", `[{"op":"remove","path":"/no"},{"op":"remove"}]`, "/1", fhir.CodeRequired, `"path"`},
		{"no pointer", `[{"op":"remove","path":"status"}]`, "/0", fhir.CodeValue, "begin with /"},
		{"a wrong escape", `[{"op":"remove","path":"/a~2"}]`, "/0", fhir.CodeValue, "~"},
		{"nothing to remove", `[{"op":"remove","path":"/no"}]`, "/0", fhir.CodeNotFound, "/no: nothing is there"},
		{"nothing to replace", `[{"op":"replace","path":"/no","value":1}]`, "/0", fhir.CodeNotFound, "/no"},
		{"nothing on the way", `[{"op":"add","path":"/no/1","value":1}]`, "/0", fhir.CodeNotFound, "/no"},
		{"a way through a string", `[{"op":"add","path":"/status/1","value":1}]`, "/0", fhir.CodeNotFound, "/status: neither"},
		{"an index beyond the end", `[{"op":"add","path":"/component/3","value":1}]`, "/0", fhir.CodeNotFound, "/component/3: the array has 2 items"},
		{"an index at the end of what is replaced", `[{"op":"replace","path":"/component/2","value":1}]`, "/0", fhir.CodeNotFound, "2 items"},
		{"- of what is replaced", `[{"op":"replace","path":"/component/-","value":1}]`, "/0", fhir.CodeNotFound, "-"},
		{"an index with a leading 0", `[{"op":"remove","path":"/component/01"}]`, "/0", fhir.CodeValue, "index"},
		{"a negative index", `[{"op":"remove","path":"/component/-1"}]`, "/0", fhir.CodeValue, "index"},
		{"an index with a sign", `[{"op":"remove","path":"/component/+1"}]`, "/0", fhir.CodeValue, "index"},
		{"an index that overflows", `[{"op":"add","path":"/component/99999999999999999999","value":1}]`, "/0", fhir.CodeValue, "index"},
		{"a value moved into itself", `[{"op":"move","from":"/component","path":"/component/0"}]`, "/0", fhir.CodeValue, "itself"},
		{"an item moved into itself", `[{"op":"move","from":"/component/0","path":"/component/0/code/x"}]`, "/0", fhir.CodeValue, "itself"},
		{"the whole resource moved into itself", `[{"op":"move","from":"","path":"/component/0"}]`, "/0", fhir.CodeValue, "itself"},
		{"the whole resource removed", `[{"op":"remove","path":""}]`, "/0", fhir.CodeBusinessRule, "whole"},
		{"a resource that is no object", `[{"op":"copy","from":"/status","path":""}]`, "/0", fhir.CodeStructure, "no object"},
		{"another type", `[{"op":"replace","path":"/resourceType","value":"Patient"}]`, "", fhir.CodeBusinessRule, "resourceType"},
		{"another id", `[{"op":"replace","path":"/id","value":"o2"}]`, "", fhir.CodeBusinessRule, "id"},
		{"no id", `[{"op":"remove","path":"/id"}]`, "", fhir.CodeBusinessRule, "id"},
		{"an id that is no string", `[{"op":"replace","path":"/id","value":null}]`, "", fhir.CodeBusinessRule, "id"},
		{"another type in a whole resource", `[{"op":"add","path":"","value":{"resourceType":"Patient","id":"o1"}}]`, "", fhir.CodeBusinessRule, "resourceType"},
		{"a test of another value", `[{"op":"test","path":"/status","value":"final"}]`, "/0", fhir.CodeConflict, "/status"},
		{"a test of another number", `[{"op":"test","path":"/valueQuantity/value","value":72.51}]`, "/0", fhir.CodeConflict, "test failed"},
		{"a test of another type", `[{"op":"test","path":"/valueQuantity/value","value":"72.50"}]`, "/0", fhir.CodeConflict, "test failed"},
		{"a test of an array in another order", `[{"op":"test","path":"/component","value":[{"code":{"text":"b"}},{"code":{"text":"a"}}]}]`, "/0", fhir.CodeConflict, "test failed"},
		{"a test of an object with more members", `[{"op":"test","path":"/valueQuantity","value":{"value":72.5}}]`, "/0", fhir.CodeConflict, "test failed"},
		{"a test of what is not there", `[{"op":"test","path":"/no","value":1}]`, "/0", fhir.CodeConflict, "/no"},
	} {
		got, err := patch.JSON([]byte(observation), []byte(c.patch))
		refused(t, c.name, got, err, c.path, c.code, c.message)
	}
}

func refused(t *testing.T, name string, got []byte, err error, path, code, message string) {
	t.Helper()
	e, ok := errors.AsType[*fhir.Error](err)
	if !ok {
		t.Errorf("%s: no *fhir.Error but %v: %s", name, err, got)
		return
	}
	if i := e.Issues[0]; i.Path != path || i.Code != code || !strings.Contains(i.Message, message) || got != nil {
		t.Errorf("%s: got %+v\nwant %s %s: … %s …", name, i, path, code, message)
	}
}

func TestAnIDThatWasNotThereIsNotAdded(t *testing.T) {
	for _, id := range []string{`"a"`, `""`, `null`, `5`} {
		got, err := patch.JSON([]byte(`{"resourceType":"Patient"}`), []byte(`[{"op":"add","path":"/id","value":`+id+`}]`))
		refused(t, id, got, err, "", fhir.CodeBusinessRule, "id")
	}
}

func TestErrorsTellNoValues(t *testing.T) {
	const secret = "Xanthippe"
	for _, p := range []string{
		`[{"op":"test","path":"/status","value":"` + secret + `"}]`,
		`[{"op":"remove","path":"/no such name ` + secret + `"}]`,
		`[{"op":"` + secret + `","path":"/status"}]`,
		`[{"op":"remove","path":"` + secret + `"}]`,
	} {
		if _, err := patch.JSON([]byte(observation), []byte(p)); err == nil || strings.Contains(fmt.Sprintf("%+v", fhir.IssuesOf(err)), secret) {
			t.Errorf("%s: %+v", p, err)
		}
	}
	for _, path := range []string{
		"Patient.name.where(family = '" + secret + "')", "Patient.name.where('" + secret + "')", "'" + secret + "'", "Patient.`no " + secret + "`", "Patient.name.where(family = '" + secret,
	} {
		p := operation("replace", path, `{"name":"value","valueString":"`+secret+`"}`)
		if _, err := patch.FHIRPath([]byte(`{"resourceType":"Patient"}`), p); err == nil || strings.Contains(fmt.Sprintf("%+v", fhir.IssuesOf(err)), secret) {
			t.Errorf("%s: %+v", path, err)
		}
	}
}
