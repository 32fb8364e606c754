package rest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir/rest"
)

// asked are Parameters with the members of parameters.
func asked(parameters ...string) string {
	return `{"resourceType":"Parameters","parameter":[{` + strings.Join(parameters, "},{") + `}]}`
}

func about(resource string) string { return `"name":"resource","resource":` + resource }

func withMode(mode string) string { return `"name":"mode","valueCode":"` + mode + `"` }

func withProfile(url string) string { return `"name":"profile","valueUri":"` + url + `"` }

// http://hl7.org/fhir/R4/resource-operation-validate.html
func TestValidateOperation(t *testing.T) {
	const (
		ofType     = "/fhir/Patient/$validate"
		ofInstance = "/fhir/Patient/p1/$validate"
		bodyWeight = "http://hl7.org/fhir/StructureDefinition/bodyweight"
		usPatient  = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient"
	)
	for _, c := range []struct {
		name, method, url, body string
		status                  int
		says                    string // "" is no error
	}{
		{"a resource without faults", "POST", ofType, patient, 200, ""},
		{"a resource in Parameters", "POST", ofType, asked(about(patient)), 200, ""},
		{"Parameters whose type comes last", "POST", ofType, `{"parameter":[{` + about(patient) + `}],"resourceType":"Parameters"}`, 200, ""},
		{"a fault of structure is 200", "POST", ofType, noSuchDay, 200, "Patient.birthDate"},
		{"a fault in Parameters has its path in the resource", "POST", ofType, asked(about(noSuchDay)), 200, "Patient.birthDate"},
		{"a broken invariant is 200", "POST", ofType, brokenInvariant, 200, "pat-1"},
		{"a broken claim is 200", "POST", "/fhir/Observation/$validate", brokenProfile, 200, "Observation.subject"},
		{"a resource of another type is 200", "POST", ofType, noStatus, 200, "not a Patient"},
		{"a name that occurs twice is 200", "POST", ofType, `{"resourceType":"Patient","active":true,"active":true}`, 200, "twice"},

		{"a profile in the URL", "POST", ofType + "?profile=" + usPatient, patient, 200, "Patient.name"},
		{"a profile in Parameters", "POST", ofType, asked(about(patient), withProfile(usPatient)), 200, "Patient.name"},
		{"a profile as canonical, as in R5", "POST", ofType, asked(about(patient), `"name":"profile","valueCanonical":"`+usPatient+`"`), 200, "Patient.name"},
		{"the same profile in both", "POST", ofType + "?profile=" + usPatient, asked(about(patient), withProfile(usPatient)), 200, "Patient.name"},
		{"a profile for another type", "POST", ofType + "?profile=" + bodyWeight, patient, 200, "is for Observation"},
		{"a profile that is not known is 400", "POST", ofType + "?profile=http://h.example/p", patient, 400, "not known"},
		{"and so it is for a body with many faults", "POST", ofType + "?profile=http://h.example/p", `{"resourceType":"Nonsense"}`, 400, "not known"},
		{"two profiles are 400", "POST", ofType + "?profile=" + usPatient, asked(about(patient), withProfile(bodyWeight)), 400, "one value"},

		{"mode create", "POST", ofType + "?mode=create", patient, 200, ""},
		{"mode create without an id", "POST", ofType, asked(withMode("create"), about(`{"resourceType":"Patient"}`)), 200, ""},
		{"mode create without a resource is 400", "POST", ofType, asked(withMode("create")), 400, "no resource"},
		{"mode update", "POST", ofInstance + "?mode=update", patient, 200, ""},
		{"mode update of what is not there yet", "POST", "/fhir/Patient/new/$validate?mode=update", `{"resourceType":"Patient","id":"new"}`, 200, ""},
		{"mode update with another id", "POST", ofInstance, asked(about(`{"resourceType":"Patient","id":"p2"}`), withMode("update")), 200, "Patient.id"},
		{"mode update without an id", "POST", ofInstance, asked(about(`{"resourceType":"Patient"}`), withMode("update")), 200, "Patient.id"},
		{"mode update of a type is 400", "POST", ofType + "?mode=update", patient, 400, "$validate"},
		{"mode update without a resource is 400", "GET", ofInstance + "?mode=update", "", 400, "no resource"},
		{"mode delete", "POST", ofInstance + "?mode=delete", "", 200, ""},
		{"mode delete in Parameters", "POST", ofInstance, asked(withMode("delete")), 200, ""},
		{"mode delete with GET", "GET", ofInstance + "?mode=delete", "", 200, ""},
		{"mode delete ignores the content", "POST", ofInstance + "?mode=delete", noSuchDay, 200, ""},
		{"mode delete of what is not there is 404", "POST", "/fhir/Patient/none/$validate?mode=delete", "", 404, "not-found"},
		{"mode delete of what is gone is 410", "POST", "/fhir/Patient/gone/$validate?mode=delete", "", 410, "deleted"},
		{"mode delete of a type is 400", "POST", ofType, asked(withMode("delete")), 400, "$validate"},
		{"mode profile", "GET", ofInstance + "?mode=profile&profile=" + usPatient, "", 200, "Patient.name"},
		{"mode profile without a profile is 400", "GET", ofInstance + "?mode=profile", "", 400, "needs a profile"},
		{"mode profile with a resource is 400", "POST", ofInstance + "?mode=profile&profile=" + usPatient, patient, 400, "stored"},
		{"a mode that does not exist is 400", "POST", ofType + "?mode=patch", patient, 400, "create, update, delete"},
		{"two modes are 400", "POST", ofType + "?mode=create&mode=update", patient, 400, "one value"},

		{"the stored resource with GET", "GET", ofInstance, "", 200, ""},
		{"the stored resource with an empty POST", "POST", ofInstance, "", 200, ""},
		{"the stored resource against a profile", "GET", ofInstance + "?profile=" + usPatient, "", 200, "Patient.name"},
		{"a resource at the URL of another is judged by itself", "POST", ofInstance, `{"resourceType":"Patient","id":"p9"}`, 200, ""},
		{"a stored resource that is not there is 404", "GET", "/fhir/Patient/none/$validate", "", 404, "not-found"},
		{"a stored resource that is gone is 410", "GET", "/fhir/Patient/gone/$validate", "", 410, "deleted"},
		{"an id that cannot be one is 404", "POST", "/fhir/Patient/a_b/$validate", patient, 404, "1 to 64"},

		{"a type with GET is 405", "GET", ofType, "", 405, "POST"},
		{"a type that is not served is 404", "POST", "/fhir/Encountre/$validate", `{"resourceType":"Encounter"}`, 404, "metadata"},
		{"an empty body is 400", "POST", ofType, "", 400, "no resource"},
		{"a body of blanks is 400", "POST", ofType, " \n", 400, "no resource"},
		{"a body that is no JSON is 400", "POST", ofType, "{\n\"resourceType\":\"Patient\",}", 400, "line 2 column"},
		{"a body that is a list is 400", "POST", ofType, "[" + patient + "]", 400, "object"},
		{"Parameters with a fault in their JSON are 400", "POST", ofType, asked(about(patient))[:50], 400, "JSON"},
		{"Parameters with a name twice are 400", "POST", ofType, asked(about(`{"resourceType":"Patient","active":true,"active":true}`)), 400, "twice"},
		{"Parameters that are no list are 400", "POST", ofType, `{"resourceType":"Parameters","parameter":{}}`, 400, "Parameters.parameter"},
		{"Parameters with a resource that is none are 400", "POST", ofType, asked(about("7")), 400, "one resource"},
		{"Parameters with two resources are 400", "POST", ofType, asked(about(patient), about(patient)), 400, "one resource"},
		{"Parameters without any are 400", "POST", ofType, `{"resourceType":"Parameters"}`, 400, "no resource"},
		{"Parameters with one that is not known are 400", "POST", ofType, asked(about(patient), `"name":"strict","valueBoolean":true`), 400, "not known"},
		{"a mode of another type is 400", "POST", ofType, asked(about(patient), `"name":"mode","valueInteger":1`), 400, "one value"},
		{"a parameter of the URL that is not known is 400", "POST", ofType + "?profiles=x", patient, 400, "mode and profile"},
		{"_format and _pretty are known", "POST", ofType + "?_format=json&_pretty=false", patient, 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPI(t, rest.Options{Validation: rest.ValidateStructure})
			a.do(t, "PUT", "/fhir/Patient/p1", patient).wantStatus(t, 201)
			a.do(t, "PUT", "/fhir/Patient/gone", strings.Replace(patient, "p1", "gone", 1)).wantStatus(t, 201)
			a.do(t, "DELETE", "/fhir/Patient/gone", "").wantStatus(t, 204)
			before := a.do(t, "GET", "/fhir/Patient?_summary=count", "")

			got := a.do(t, c.method, c.url, c.body).wantStatus(t, c.status)
			errors := 0
			for _, i := range got.outcome(t).Issue {
				if i.Severity == "error" || i.Severity == "fatal" {
					errors++
				}
			}
			if (errors > 0) != (c.says != "") || !strings.Contains(string(got.body), c.says) {
				t.Errorf("%d errors, want to read %q: %s", errors, c.says, got.body)
			}
			if after := a.do(t, "GET", "/fhir/Patient?_summary=count", ""); string(after.body) != string(before.body) {
				t.Errorf("something was written: %s", after.body)
			}
		})
	}
}

// What $validate has no errors for, a write accepts, and the reverse.
func TestValidateAgreesWithWrites(t *testing.T) {
	a := newAPI(t, rest.Options{})
	for i, body := range []string{patient, noSuchDay, unknownGender, brokenInvariant, unknownClaim, heartRate("p1", "Patient/p1", "2024-05-01T10:00:00Z", "72.50"), noStatus, brokenProfile} {
		url := "/fhir/Patient"
		if strings.Contains(body, `"Observation"`) {
			url = "/fhir/Observation"
		}
		told := string(a.do(t, "POST", url+"/$validate", body).wantStatus(t, 200).body)
		stored := a.do(t, "POST", url, body).StatusCode == 201
		if strings.Contains(told, `"severity":"error"`) == stored {
			t.Error(fmt.Sprint("resource ", i, ": stored ", stored, ", but ", told))
		}
	}
}
