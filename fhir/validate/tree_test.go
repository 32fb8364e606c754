package validate

import (
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/cockroachdb/apd/v3"

	"github.com/kiln-health/kiln/fhir/search"
)

var decimals = gocmp.Comparer(func(a, b *apd.Decimal) bool { return a == b || a != nil && b != nil && a.Cmp(b) == 0 })

func TestOneWalkGivesTheTermsOfASearchToo(t *testing.T) {
	n := 0
	for file, body := range examples(t, "r4/examples/*/*.json", "phd/examples/*.json", "pocd/examples/*.json") {
		of := Resource(body, &Options{Level: Structure})
		if !of.Valid() {
			continue
		}
		n++
		x := search.R4().Extractor(of.Type, body)
		Resource(body, &Options{Level: Structure, Elements: x.Element})
		got := x.Terms()
		want, err := search.R4().Extract(of.Type, body)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(want, got, decimals); diff != "" {
			t.Errorf("%s: the walk gives other terms than Extract (-want +got):\n%s", file, diff)
		}
	}
	if t.Logf("%d examples", n); n < 500 {
		t.Errorf("%d examples, want 500 at least", n)
	}
}

func TestElementsAreToldInOrderAndOnlyThoseOfAValidBody(t *testing.T) {
	type call struct {
		depth int
		name  string
		value byte
	}
	body := `{"resourceType":"Patient","active":true,"_gender":{"extension":[{"url":"http://a.example/x","valueString":"a"}]},"name":[{"family":"A","given":["B",null],"_given":[null,{"extension":[{"url":"http://a.example/x","valueString":"a"}]}]},{"text":"D"}],"contact":[{"name":{"text":"E"}}],"birthDate":"1970"}`
	var got []call
	r := Resource([]byte(body), &Options{Level: Structure, Elements: func(depth int, name string, start int) bool {
		got = append(got, call{depth, name, body[start]})
		return name != "contact"
	}})
	if !r.Valid() {
		t.Fatal(r.Issues())
	}
	want := []call{{0, "active", 't'}, {0, "name", '{'}, {1, "family", '"'}, {1, "given", '"'}, {0, "name", '{'}, {1, "text", '"'}, {0, "contact", '{'}, {0, "birthDate", '"'}}
	if diff := gocmp.Diff(want, got, gocmp.AllowUnexported(call{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	Resource([]byte(`{"resourceType":"Patient","nonsense":1,"active":true}`), &Options{Elements: func(int, string, int) bool {
		t.Error("told of a body that is not valid")
		return false
	}})
}

// BenchmarkTerms compares reading a vital sign twice with reading it once.
func BenchmarkTerms(b *testing.B) {
	body := []byte(heartRate)
	parameters := search.R4()
	b.Run("in a walk of their own", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Resource(body, &Options{Level: Structure})
			if _, err := parameters.Extract("Observation", body); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("on the way", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			x := parameters.Extractor("Observation", body)
			Resource(body, &Options{Level: Structure, Elements: x.Element})
			x.Terms()
		}
	})
	b.Run("not at all", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Resource(body, &Options{Level: Structure})
		}
	})
}
