package rest_test

import (
	"net/http"
	"testing"
)

// http://hl7.org/fhir/R4/compartmentdefinition.html
func TestSearchInACompartment(t *testing.T) {
	a := with(t,
		`{"resourceType":"Patient","id":"p1","gender":"male","link":[{"type":"seealso","other":{"reference":"Patient/p3"}}]}`,
		`{"resourceType":"Patient","id":"p2"}`,
		`{"resourceType":"Patient","id":"p3"}`,
		`{"resourceType":"Device","id":"m1","patient":{"reference":"Patient/p1"}}`,
		`{"resourceType":"Encounter","id":"e1","status":"finished","class":{"code":"AMB"},"subject":{"reference":"Patient/p1"},"participant":[{"individual":{"reference":"Practitioner/d1"}}]}`,
		`{"resourceType":"Practitioner","id":"d1"}`,
		`{"resourceType":"RelatedPerson","id":"r1","patient":{"reference":"Patient/p1"}}`,
		`{"resourceType":"Medication","id":"x"}`,
		observation("o1", ofSubject("Patient/p1", `,"code":{"coding":[{"code":"a"}]},"device":{"reference":"Device/m1"},"encounter":{"reference":"Encounter/e1"}`)),
		observation("o2", ofSubject("Patient/p1", `,"code":{"coding":[{"code":"b"}]},"performer":[{"reference":"RelatedPerson/r1"}]`)),
		observation("o3", ofSubject("Patient/p2", `,"performer":[{"reference":"Patient/p1"}]`)),
		observation("o4", ofSubject("Device/m1", ``)),
	)
	for _, c := range []struct {
		url  string
		want []string
	}{
		{"Patient/p1/Observation", []string{"Observation/o1", "Observation/o2", "Observation/o3"}},
		{"Patient/p2/Observation", []string{"Observation/o3"}},
		{"Patient/none/Observation", nil},
		{"Patient/p1/Observation?code=b", []string{"Observation/o2"}},
		{"Patient/p1/Observation?code=a,b&_include=Observation:device", []string{"Observation/o1", "Observation/o2", "+Device/m1@1"}},
		{"Patient/p1/Patient", []string{"Patient/p1"}},
		{"Patient/p3/Patient", []string{"Patient/p1", "Patient/p3"}},
		{"Patient/p1/*", []string{"Encounter/e1", "Observation/o1", "Observation/o2", "Observation/o3", "Patient/p1", "RelatedPerson/r1"}},
		{"Patient/p1/*?_type=Encounter,Patient", []string{"Encounter/e1", "Patient/p1"}},
		{"Patient/p1/*?_type=Encounter&status=finished", []string{"Encounter/e1"}},
		{"Device/m1/Observation", []string{"Observation/o1", "Observation/o4"}},
		{"Device/m1/*", []string{"Device/m1", "Observation/o1", "Observation/o4"}},
		{"Encounter/e1/Observation", []string{"Observation/o1"}},
		{"Encounter/e1/*", []string{"Encounter/e1", "Observation/o1"}},
		{"Practitioner/d1/Encounter", []string{"Encounter/e1"}},
		{"RelatedPerson/r1/Observation", []string{"Observation/o2"}},
	} {
		t.Run(c.url, func(t *testing.T) {
			target := "/fhir/" + c.url
			between := "?"
			for i := range target {
				if target[i] == '?' {
					between = "&"
				}
			}
			b := a.send(t, "GET", target+between+"_sort=_id", "").bundle(t)
			got := b.entries(t)
			if len(c.want) > 1 {
				want(t, "sorted", sorted(got), sorted(append([]string(nil), c.want...))...)
			} else {
				want(t, "sorted", got, c.want...)
			}
			want(t, "self", sorted(a.find(t, mustURL(t, b.link("self")))), got...)
		})
	}
	for _, c := range []struct {
		name, url, form string
		want            []string
	}{
		{"of a type", "Patient/p1/Observation/_search", "code=a", []string{"Observation/o1"}},
		{"of all types", "Patient/p1/*/_search", "_type=Encounter", []string{"Encounter/e1"}},
		{"of all types, in short", "Patient/p1/_search", "_type=Encounter", []string{"Encounter/e1"}},
	} {
		t.Run("posted, "+c.name, func(t *testing.T) {
			want(t, c.url, a.send(t, "POST", "/fhir/"+c.url, c.form, "Content-Type: ", form).bundle(t).entries(t), c.want...)
		})
	}
	t.Run("in a batch", func(t *testing.T) {
		got := a.send(t, "POST", "/fhir", `{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient/p2/Observation"}},{"request":{"method":"GET","url":"?_type=Device"}}]}`).wantStatus(t, 200).bundle(t)
		for i, id := range []string{"o3", "m1"} {
			var inner bundle
			decode(t, got.Entry[i].Resource, &inner)
			if ids := inner.ids(t); len(ids) != 1 || ids[0] != id {
				t.Errorf("entry %d: %v", i, ids)
			}
		}
	})
	for _, c := range []struct {
		method, url string
		status      int
	}{
		{"GET", "Organization/h1/Observation", http.StatusNotFound},
		{"GET", "Patient/p1/Medication", http.StatusNotFound},
		{"GET", "Patient/p1/Nonsense", http.StatusNotFound},
		{"GET", "Nonsense/p1/Observation", http.StatusNotFound},
		{"GET", "Patient/p_1/Observation", http.StatusNotFound},
		{"GET", "Patient/p1/nonsense", http.StatusNotFound},
		{"GET", "Patient/p1/*?_type=Medication", http.StatusBadRequest},
		{"GET", "Patient/p1/Observation?_type=Observation", http.StatusBadRequest},
		{"GET", "Patient/p1/Observation?date=x", http.StatusBadRequest},
		{"PUT", "Patient/p1/Observation", http.StatusMethodNotAllowed},
		{"GET", "Patient/p1/Observation/_search", http.StatusMethodNotAllowed},
	} {
		a.do(t, c.method, "/fhir/"+c.url, "").wantStatus(t, c.status)
	}
}
