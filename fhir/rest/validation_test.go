package rest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir/rest"
)

// Resources with one kind of fault each.
const (
	noStatus      = `{"resourceType":"Observation","code":{"text":"x"}}`
	unknownGender = `{"resourceType":"Patient","id":"p1","gender":"unsaid"}`
	noSuchDay     = `{"resourceType":"Patient","id":"p1","birthDate":"2024-02-30"}`
	// pat-1: a contact has at least a name, a telecom, an address or an organization.
	brokenInvariant = `{"resourceType":"Patient","id":"p1","contact":[{"gender":"other"}]}`
	vitalSigns      = "http://hl7.org/fhir/StructureDefinition/vitalsigns"
	// The vital-signs profile demands a category, a subject and a time.
	brokenProfile = `{"resourceType":"Observation","meta":{"profile":["` + vitalSigns + `"]},"status":"final","code":{"text":"x"}}`
	unknownClaim  = `{"resourceType":"Patient","id":"p1","meta":{"profile":["http://h.example/StructureDefinition/patient"]},"active":true}`
)

// http://hl7.org/fhir/R4/http.html#create
func TestWritesAreValidated(t *testing.T) {
	for _, c := range []struct {
		name, url, body string
		// the status of a create at each level
		profiles, invariants, structure, nothing int
		path                                     string
	}{
		{"what has no fault is stored", "/fhir/Patient", patient, 201, 201, 201, 201, ""},
		{"a missing element is 400", "/fhir/Observation", noStatus, 400, 400, 400, 201, "Observation.status"},
		{"an unknown element is 400", "/fhir/Patient", `{"resourceType":"Patient","colour":"red"}`, 400, 400, 400, 201, "Patient.colour"},
		{"a code that is none is 400", "/fhir/Patient", unknownGender, 400, 400, 400, 201, "Patient.gender"},
		{"a day that never was is 400", "/fhir/Patient", noSuchDay, 400, 400, 400, 201, "Patient.birthDate"},
		{"a broken invariant is 422", "/fhir/Patient", brokenInvariant, 422, 422, 201, 201, "Patient.contact[0]"},
		{"a broken profile is 422", "/fhir/Observation", brokenProfile, 422, 201, 201, 201, "Observation.subject"},
		{"a claim of an unknown profile is stored", "/fhir/Patient", unknownClaim, 201, 201, 201, 201, ""},
		{"with both kinds of faults it is 400", "/fhir/Patient", `{"resourceType":"Patient","birthDate":"1970-13-01","contact":[{"gender":"other"}]}`, 400, 400, 400, 201, "Patient.birthDate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for level, status := range map[rest.Validation]int{
				"": c.profiles, rest.ValidateProfiles: c.profiles, rest.ValidateInvariants: c.invariants,
				rest.ValidateStructure: c.structure, rest.ValidateNothing: c.nothing, "a level that does not exist": c.profiles,
			} {
				a := newAPI(t, rest.Options{Validation: level})
				got := a.send(t, "POST", c.url, c.body)
				if got.StatusCode != status {
					t.Errorf("%s: status %d, want %d: %s", level, got.StatusCode, status, got.body)
				}
				if status < 400 {
					continue
				}
				got.check(t)
				if !strings.Contains(string(got.body), `"`+c.path+`"`) {
					t.Errorf("%s: nothing is said of %s: %s", level, c.path, got.body)
				}
				if b := a.do(t, "GET", c.url+"?_summary=count", "").bundle(t); *b.Total != 0 {
					t.Errorf("%s: it was stored all the same", level)
				}
			}
		})
	}
}

func TestARefusedUpdateLeavesWhatIsThere(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/p1", patient).wantStatus(t, 201)
	a.do(t, "PUT", "/fhir/Patient/p1", noSuchDay).wantStatus(t, 400)
	a.do(t, "PUT", "/fhir/Patient/p1", brokenInvariant).wantStatus(t, 422)
	if got := a.do(t, "GET", "/fhir/Patient/p1", "").wantStatus(t, 200); got.Header.Get("ETag") != `W/"1"` {
		t.Errorf("version %s", got.Header.Get("ETag"))
	}
}

func TestARefusalListsAllFaultsAndWarnings(t *testing.T) {
	a := newAPI(t, rest.Options{})
	body := strings.Replace(unknownClaim, `"active":true`, `"active":"yes","gender":"unsaid","contact":[{"gender":"other"}]`, 1)
	o := a.do(t, "PUT", "/fhir/Patient/p1", body).wantStatus(t, 400).outcome(t)
	var got []string
	for _, i := range o.Issue {
		got = append(got, i.Severity+" "+strings.Join(i.Expression, " "))
	}
	for _, want := range []string{"error Patient.active", "error Patient.gender", "error Patient.contact[0]", "warning Patient.meta.profile"} {
		if !strings.Contains(strings.Join(got, "\n"), want) {
			t.Errorf("%s is not in %q", want, got)
		}
	}
}

func TestARefusalOfManyFaultsCountsThoseThatItDoesNotList(t *testing.T) {
	a := newAPI(t, rest.Options{})
	body := `{"resourceType":"Patient","id":"p1","contact":[{"gender":"other"}` + strings.Repeat(`,{"gender":"other"}`, 499) + `]}`
	o := a.do(t, "PUT", "/fhir/Patient/p1", body).wantStatus(t, 422).outcome(t)
	if n := len(o.Issue); n != 99 || o.Issue[n-1].Details.Text != "402 more issues were found" {
		t.Errorf("%d issues, the last: %+v", n, o.Issue[n-1])
	}
}

func TestWarningsAreToldToWhoPrefersAnOutcome(t *testing.T) {
	a := newAPI(t, rest.Options{})
	for i, want := range []string{"201 created", "200 the content is what was there already: no new version"} {
		got := a.do(t, "PUT", "/fhir/Patient/p1", unknownClaim, "Prefer: return=OperationOutcome")
		o := got.outcome(t)
		if len(o.Issue) != 2 || fmt.Sprint(got.StatusCode, " ", o.Issue[0].Details.Text) != want || o.Issue[1].Severity != "warning" {
			t.Errorf("write %d: %d %s", i+1, got.StatusCode, got.body)
		}
	}
	got := a.do(t, "PUT", "/fhir/Patient/p1", unknownClaim)
	if !strings.HasPrefix(string(got.body), `{"resourceType":"Patient"`) {
		t.Errorf("without the preference: %s", got.body)
	}
}

func TestTheStatementSaysHowMuchIsValidated(t *testing.T) {
	for level, says := range map[rest.Validation]string{
		"": "meta.profile", rest.ValidateInvariants: "profiles are not checked",
		rest.ValidateStructure: "invariants and profiles are not checked", rest.ValidateNothing: "without being validated",
	} {
		a := newAPI(t, rest.Options{Validation: level})
		if got := a.do(t, "GET", "/fhir/metadata", ""); !strings.Contains(string(got.body), says) {
			t.Errorf("%q does not say %q", level, says)
		}
	}
}

// oddUnit is an Observation that FHIR has nothing against: kiln-ucum is an error, kiln-time a warning.
const oddUnit = `{"resourceType":"Observation","status":"final","code":{"text":"x"},"device":{"reference":"Device/d1"},"valueQuantity":{"value":120,"system":"http://unitsofmeasure.org","code":"mmHg"}}`

func TestDeviceRulesRefuseOnlyIfTheServerSaysSo(t *testing.T) {
	for _, c := range []struct {
		rules                    rest.DeviceRules
		level                    rest.Validation
		status, errors, warnings int
	}{
		{"", "", 201, 0, 2},
		{rest.DeviceRulesWarn, rest.ValidateInvariants, 201, 0, 2},
		{rest.DeviceRulesError, "", 422, 1, 1},
		{rest.DeviceRulesError, rest.ValidateInvariants, 422, 1, 1},
		{rest.DeviceRulesError, rest.ValidateStructure, 201, 0, 0},
		{rest.DeviceRulesOff, "", 201, 0, 0},
		{"something that does not exist", "", 201, 0, 2},
	} {
		t.Run(fmt.Sprintf("%s at %s", c.rules, c.level), func(t *testing.T) {
			a := newAPI(t, rest.Options{DeviceRules: c.rules, Validation: c.level})
			got := a.send(t, "POST", "/fhir/Observation", oddUnit, "Prefer: return=OperationOutcome")
			errors, warnings := strings.Count(string(got.body), `"severity":"error"`), strings.Count(string(got.body), `"severity":"warning"`)
			if got.StatusCode != c.status || errors != c.errors || warnings != c.warnings {
				t.Errorf("got %d: %s", got.StatusCode, got.body)
			}
			strict := strings.Contains(string(a.do(t, "GET", "/fhir/metadata", "").body), "device rule")
			if strict != (c.rules == rest.DeviceRulesError && c.level != rest.ValidateStructure) {
				t.Errorf("the statement says so: %v", strict)
			}
			if o := a.do(t, "POST", "/fhir/Observation/$validate", oddUnit).wantStatus(t, 200).outcome(t); o.Issue[0].Severity != "error" && o.Issue[1].Severity != "error" {
				t.Errorf("$validate does not tell the rule's own severity: %+v", o.Issue)
			}
		})
	}
}
