package embedded

import (
	"fmt"
	"testing"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// Of few resources at the end of a chain the canonical URLs are looked for one by one, with any
// version: which of them counts is decided by what the resource says.
func TestAChainThroughCanonicalURLsGoesByTheIndexOfTheReference(t *testing.T) {
	s := memory(t)
	v := s.look()
	defer s.letGo(v)
	for _, c := range []struct {
		name  string
		links int
		want  rank
	}{
		{"few", 3, rankReference},
		{"many", v.limits.linked, rankAll},
	} {
		q := parseQuery(t, "MeasureReport?measure.title=x")
		link := &q.Where[0]
		link.Among, link.AmongURLs = map[fhir.Key]bool{}, map[search.Canonical]bool{}
		for i := range c.links {
			link.Among[fhir.Key{Type: "Measure", ID: fmt.Sprint(i)}] = true
			link.AmongURLs[search.Canonical{URL: fmt.Sprint("http://m.example/", i)}] = true
			link.AmongURLs[search.Canonical{URL: fmt.Sprint("http://m.example/", i), Version: "1"}] = true
		}
		best, _, err := newPlanner(v, q).best()
		if err != nil || best.rank != c.want {
			t.Errorf("%s: rank %v, %v, want %v", c.name, best.rank, err, c.want)
		}
		if c.want == rankReference && len(best.ranges) != 2*2*c.links { // two ranges of dates
			t.Errorf("%s: %d ranges, want those of each id and each URL", c.name, len(best.ranges))
		}
		if newTester(v, q, best).byKeys() {
			t.Errorf("%s: the index decides about versions, which it does not have", c.name)
		}
	}
}

func TestADistanceIsDecidedByReading(t *testing.T) {
	s := memory(t)
	v := s.look()
	defer s.letGo(v)
	for query, want := range map[string]rank{"Location?near=1|2": rankAll, "Location?near:missing=false": rankAll, "Location?near=1|2&name=x": rankText} {
		q := parseQuery(t, query)
		best, _, err := newPlanner(v, q).best()
		if err != nil || best.rank != want || newTester(v, q, best).byKeys() {
			t.Errorf("%s: rank %v, %v, want %v", query, best.rank, err, want)
		}
	}
}
