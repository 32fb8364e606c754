package search

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/kiln-health/kiln/fhir"
)

// shelf is a store as simple as can be.
type shelf []synthetic

func newShelf(t testing.TB, resources ...string) shelf {
	t.Helper()
	var s shelf
	for _, r := range resources {
		key, found := terms(t, r)
		s = append(s, synthetic{key, found})
	}
	return s
}

func (s shelf) run(sub Query, found func(fhir.Key, *Terms) error) error {
	for i := range s {
		if sub.Matches(s[i].Key, now, &s[i].Terms) {
			key := s[i].Key
			key.Version = "7" // a store knows it
			if err := found(key, &s[i].Terms); err != nil {
				return err
			}
		}
	}
	return nil
}

// ids are the matches of a query, in order.
func (s shelf) ids(t testing.TB, resourceType, query string) string {
	t.Helper()
	q, err := parse(t, resourceType, text(query)).Resolve(s.run)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	var ids []string
	for i := range s {
		if q.Matches(s[i].Key, now, &s[i].Terms) {
			ids = append(ids, s[i].ID)
		}
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

func ward(t testing.TB) shelf {
	return newShelf(t,
		`{"resourceType":"Organization","id":"org1","name":"St. Mary"}`,
		`{"resourceType":"Organization","id":"org2","name":"Elsewhere","partOf":{"reference":"Organization/org1"}}`,
		`{"resourceType":"Patient","id":"ann","name":[{"family":"Smith"}],"gender":"female","managingOrganization":{"reference":"Organization/org1"}}`,
		`{"resourceType":"Patient","id":"bob","name":[{"family":"Smith"}],"gender":"male","managingOrganization":{"reference":"Organization/org2"}}`,
		`{"resourceType":"Device","id":"scale","identifier":[{"system":"s","value":"1"}],"patient":{"reference":"Patient/ann"}}`,
		`{"resourceType":"Device","id":"cuff","identifier":[{"system":"s","value":"2"}]}`,
		`{"resourceType":"Observation","id":"weight","status":"final","code":{"coding":[{"code":"w"}]},"subject":{"reference":"Patient/ann"},"device":{"reference":"Device/scale"},"effectiveDateTime":"2024-05-01"}`,
		`{"resourceType":"Observation","id":"pressure","status":"amended","code":{"coding":[{"code":"p"}]},"subject":{"reference":"Patient/bob"},"device":{"reference":"Device/cuff"},"effectiveDateTime":"2024-06-01"}`,
		`{"resourceType":"Observation","id":"self-test","status":"final","code":{"coding":[{"code":"t"}]},"subject":{"reference":"Device/cuff"}}`,
		`{"resourceType":"Observation","id":"stranger","status":"final","code":{"coding":[{"code":"w"}]},"subject":{"reference":"https://x.example/Patient/ann"}}`,
	)
}

// http://hl7.org/fhir/R4/search.html#chaining, http://hl7.org/fhir/R4/search.html#has
func TestChainsLeadToOtherResources(t *testing.T) {
	s := ward(t)
	for _, c := range []struct{ name, of, query, want string }{
		{"a reference with a type", "Observation", "subject:Patient.gender=female", "weight"},
		{"a reference of one type", "Observation", "patient.gender=male", "pressure"},
		{"a modifier at the end", "Observation", "patient.family:contains=MIT", "pressure weight"},
		{"a prefix at the end", "Device", "_has:Observation:device:date=ge2024-06", "cuff"},
		{"a reference of several types", "Observation", "subject.identifier=s|2", "self-test"},
		{"alternatives", "Observation", "subject:Patient.gender=female,male", "pressure weight"},
		{"two links", "Observation", "subject:Patient.organization.name=elsewhere", "pressure"},
		{"three links", "Observation", "subject:Patient.organization.partof.name=st mary", "pressure"},
		{"two chains, each for itself", "Observation", "patient.family=smith&patient.gender=male", "pressure"},
		{"a chain and a condition", "Observation", "patient.family=smith&status=final", "weight"},
		{"a chain to an id", "Observation", "patient._id=ann", "weight"},
		{"a chain to what is missing", "Observation", "subject:Device.patient:missing=true", "self-test"},
		{"a chain to what is not", "Observation", "patient.gender:not=female", "pressure"},
		{"a chain to nothing", "Observation", "patient.family=jones", ""},
		{"a link from another resource", "Patient", "_has:Observation:patient:code=w", "ann"},
		{"a link from a link", "Patient", "_has:Device:patient:_has:Observation:device:code=w", "ann"},
		{"a chain behind a link", "Patient", "_has:Observation:patient:device.identifier=s|2", "bob"},
		{"a link behind a chain", "Observation", "patient._has:Device:patient:identifier=s|1", "weight"},
		{"a link behind a chain of several types", "Observation", "subject._has:Observation:subject:code=t", "self-test"},
		{"two links, each for itself", "Patient", "_has:Observation:patient:code=w&_has:Observation:patient:status=final", "ann"},
		{"links from different resources", "Patient", "_has:Observation:patient:code=w&_has:Observation:patient:status=amended", ""},
		{"a link from nothing", "Patient", "_has:Observation:patient:code=x", ""},
		{"without a value it is ignored", "Patient", "_has:Observation:patient:code=&organization.name=", "ann bob"},
	} {
		if got := s.ids(t, c.of, c.query); got != c.want {
			t.Errorf("%s: %s?%s finds %q, want %q", c.name, c.of, c.query, got, c.want)
		}
	}
}

// http://hl7.org/fhir/R4/references.html#canonical
func TestChainsFollowCanonicalURLs(t *testing.T) {
	s := newShelf(t,
		`{"resourceType":"Measure","id":"m1","url":"http://x.example/Measure/m","version":"1","title":"Old","status":"retired"}`,
		`{"resourceType":"Measure","id":"m2","url":"http://x.example/Measure/m","version":"2","title":"New","status":"active"}`,
		`{"resourceType":"Measure","id":"m3","url":"http://x.example/Measure/n","title":"Plain","status":"active","library":["http://x.example/Library/l"]}`,
		`{"resourceType":"Measure","id":"m4","title":"Nameless","status":"draft"}`,
		`{"resourceType":"Library","id":"l","url":"http://x.example/Library/l","title":"Rules","status":"active"}`,
		`{"resourceType":"MeasureReport","id":"any","measure":"http://x.example/Measure/m","status":"complete"}`,
		`{"resourceType":"MeasureReport","id":"one","measure":"http://x.example/Measure/m|1","status":"complete"}`,
		`{"resourceType":"MeasureReport","id":"two","measure":"http://x.example/Measure/m|2","status":"pending"}`,
		`{"resourceType":"MeasureReport","id":"three","measure":"http://x.example/Measure/m|3","status":"complete"}`,
		`{"resourceType":"MeasureReport","id":"plain","measure":"http://x.example/Measure/n","status":"complete"}`,
		`{"resourceType":"MeasureReport","id":"plain-1","measure":"http://x.example/Measure/n|1","status":"complete"}`,
		`{"resourceType":"MeasureReport","id":"local","measure":"Measure/m4","status":"complete"}`,
		`{"resourceType":"MeasureReport","id":"other","measure":"http://x.example/Measure/mm","status":"complete"}`,
		`{"resourceType":"MeasureReport","id":"none","status":"complete"}`,
		`{"resourceType":"Device","id":"d","url":"http://x.example/Library/l"}`,
		`{"resourceType":"Measure","id":"m5","title":"Related","status":"draft","relatedArtifact":[{"type":"depends-on","resource":"http://x.example/Library/l"},{"type":"derived-from","resource":"http://x.example/Measure/m|2"}]}`,
		`{"resourceType":"ConceptMap","id":"map","url":"http://x.example/map","sourceUri":"http://x.example/vs","targetCanonical":"http://x.example/vs|1","status":"active"}`,
		`{"resourceType":"ValueSet","id":"vs","url":"http://x.example/vs","version":"1","title":"Codes","status":"active"}`,
		`{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"subject":{"reference":"http://x.example/Patient/1"}}`,
		`{"resourceType":"Patient","id":"p","name":[{"family":"Smith"}]}`,
	)
	for _, c := range []struct{ name, of, query, want string }{
		{"a reference without a version is to each of them", "MeasureReport", "measure.title=old", "any one"},
		{"one with a version is to that one", "MeasureReport", "measure.title=new", "any two"},
		{"both versions", "MeasureReport", "measure.title=old,new", "any one two"},
		{"a resource without a version", "MeasureReport", "measure.title=plain", "plain"},
		{"the type is named", "MeasureReport", "measure:Measure.title=plain", "plain"},
		{"a resource without a URL, by its id", "MeasureReport", "measure.title=nameless", "local"},
		{"with another condition", "MeasureReport", "measure.title=old,new&status=pending", "two"},
		{"a chain to nothing", "MeasureReport", "measure.title=nothing", ""},
		{"a link behind it", "MeasureReport", "measure.depends-on:Library.title=rules", "plain"},
		{"a reference to any type", "Measure", "depends-on.title=rules", "m3 m5"},
		{"a reference to any type, with a version", "Measure", "derived-from.title=new", "m5"},
		{"a reference to any type, to another version", "Measure", "derived-from.title=old", ""},
		{"a uri as a reference", "ConceptMap", "source-uri.title=codes", "map"},
		{"a canonical with a version in a choice", "ConceptMap", "target-uri.title=codes", "map"},
		{"a literal reference is none", "Observation", "patient.family=smith", ""},
	} {
		if got := s.ids(t, c.of, c.query); got != c.want {
			t.Errorf("%s: %s?%s finds %q, want %q", c.name, c.of, c.query, got, c.want)
		}
	}
	q := parse(t, "MeasureReport", "measure.title=old")
	if q.Encode() != "measure.title=old&_count=50" {
		t.Errorf("%s", q.Encode())
	}
	report := shelf{s[5]}[0]
	if q.Matches(report.Key, now, &report.Terms) {
		t.Error("a chain that is not resolved holds")
	}
}

func TestResolveRunsTheInnermostSearchFirstAndLeavesTheQueryAlone(t *testing.T) {
	s := ward(t)
	q := parse(t, "Observation", "status=final&subject:Patient.organization.name=mary&_has:Observation:has-member:code=x")
	before := parse(t, "Observation", "status=final&subject:Patient.organization.name=mary&_has:Observation:has-member:code=x")
	var order []string
	resolved, err := q.Resolve(func(sub Query, found func(fhir.Key, *Terms) error) error {
		order = append(order, sub.Type)
		if sub.Count != MaxCount || len(sub.Sort) != 1 {
			t.Errorf("the search has count %d and sort %v", sub.Count, sub.Sort)
		}
		return s.run(sub, found)
	})
	if err != nil || !slices.Equal(order, []string{"Organization", "Observation"}) { // no Organization is found, so no Patient can be
		t.Errorf("%v %v", order, err)
	}
	if diff := gocmp.Diff(before, q, decimals); diff != "" {
		t.Errorf("the query was changed: %s", diff)
	}
	again, err := resolved.Resolve(func(Query, func(fhir.Key, *Terms) error) error { return errors.New("it was run again") })
	if err != nil || again.Encode() != q.Encode() || resolved.Encode() != q.Encode() {
		t.Errorf("%v %s", err, again.Encode())
	}
}

func TestResolveStopsAtErrorsAndLimits(t *testing.T) {
	q := parse(t, "Observation", "patient.gender=male")
	failure := errors.New("no disk")
	if _, err := q.Resolve(func(Query, func(fhir.Key, *Terms) error) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("%v", err)
	}
	for n, wrong := range map[int]bool{MaxAmong: false, MaxAmong + 1: true} {
		calls := 0
		_, err := q.Resolve(func(_ Query, found func(fhir.Key, *Terms) error) error {
			for i := range n {
				calls++
				_ = found(fhir.Key{Type: "Patient", ID: fmt.Sprint(i)}, &Terms{}) // a store that does not listen
			}
			return nil
		})
		if (err != nil) != wrong || wrong && fhir.IssuesOf(err)[0].Code != fhir.CodeTooCostly {
			t.Errorf("%d resources: %v", n, err)
		}
	}
}

func TestACompartmentHasWhatRefersToIt(t *testing.T) {
	s := ward(t)
	for _, c := range []struct{ of, compartment, id, want string }{
		{"Observation", "Patient", "ann", "weight"},
		{"Observation", "Device", "cuff", "pressure self-test"},
		{"Patient", "Patient", "ann", "ann"},
		{"Device", "Device", "cuff", "cuff"},
		{"Observation", "Patient", "nobody", ""},
	} {
		clause, ok := R4().InCompartment(c.of, c.compartment, c.id)
		if !ok {
			t.Errorf("no %s is in the compartment of a %s", c.of, c.compartment)
		}
		q := parse(t, c.of, "")
		q.Where = append(q.Where, clause)
		var ids []string
		for i := range s {
			if q.Matches(s[i].Key, now, &s[i].Terms) {
				ids = append(ids, s[i].ID)
			}
		}
		slices.Sort(ids)
		if got := strings.Join(ids, " "); got != c.want {
			t.Errorf("%s of %s/%s: %q, want %q", c.of, c.compartment, c.id, got, c.want)
		}
		if q.Encode() != "_count=50" {
			t.Errorf("%s", q.Encode())
		}
		other := parse(t, c.of, "")
		if _, err := DecodeCursor(Cursor{ID: "x"}.Encode(q), other); err == nil && len(types(clause)) > 0 {
			t.Errorf("a cursor of the compartment of %s/%s is taken elsewhere", c.compartment, c.id)
		}
	}
	for _, c := range []struct{ of, compartment string }{{"Organization", "Patient"}, {"Observation", "Organization"}, {"Nothing", "Patient"}} {
		if _, ok := R4().InCompartment(c.of, c.compartment, "x"); ok {
			t.Errorf("%s is in the compartment of %s", c.of, c.compartment)
		}
	}
}

// types are the parameters of the alternatives of a compartment.
func types(c Clause) (names []string) {
	for _, a := range c.Any {
		if a.Param.Name != "" {
			names = append(names, a.Param.Name)
		}
	}
	return names
}

func TestEveryParameterOfACompartmentIsAReference(t *testing.T) {
	for _, compartment := range []string{"Patient", "Encounter", "RelatedPerson", "Practitioner", "Device"} {
		n := 0
		for _, of := range R4().Types() {
			if c, ok := R4().InCompartment(of, compartment, "x"); ok {
				n += len(c.Any)
			}
		}
		if n < 20 {
			t.Errorf("the compartment of %s has %d parameters", compartment, n)
		}
	}
}

func TestIDsAreTheResourcesAndNoOthers(t *testing.T) {
	q := Query{Type: "Patient", Where: []Clause{IDs(fhir.Key{Type: "Patient", ID: "a", Version: "3"}, fhir.Key{Type: "Device", ID: "b"})}}
	for id, want := range map[string]bool{"a": true, "b": false, "c": false} {
		if q.Matches(fhir.Key{Type: "Patient", ID: id, Version: "4"}, now, &Terms{}) != want {
			t.Errorf("%s: %v", id, !want)
		}
	}
	if q.Where[0] = IDs(); q.Matches(fhir.Key{Type: "Patient", ID: "a"}, now, &Terms{}) {
		t.Error("of no resources one matches")
	}
}
