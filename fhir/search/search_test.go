package search

import (
	"cmp"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/apd/v3"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
)

// now is the clock of all tests.
var now = time.Date(2024, 6, 1, 12, 0, 0, 0, time.UTC)

const base = "https://kiln.example/fhir"

// decimals compare by value.
var decimals = gocmp.Comparer(func(a, b *apd.Decimal) bool {
	return a == b || a != nil && b != nil && a.Cmp(b) == 0
})

// parse reads a query that is right.
func parse(t testing.TB, resourceType, query string) Query {
	t.Helper()
	q, _, err := tryParse(resourceType, query, Lenient)
	if err != nil {
		t.Fatalf("%s?%s: %v", resourceType, query, err)
	}
	return q
}

func tryParse(resourceType, query string, h Handling) (Query, []fhir.Issue, error) {
	pairs, err := Pairs(query)
	if err != nil {
		return Query{}, nil, err
	}
	return R4().Parse(resourceType, pairs, Options{Handling: h, BaseURL: base, Now: now})
}

// text writes queries in tests as people do: bars and the like are not percent-encoded.
func text(query string) string {
	return strings.NewReplacer("+", "%2B", " ", "%20").Replace(query)
}

// matches extracts the terms of a resource and asks whether query finds it.
func matches(t testing.TB, resource, query string) bool {
	t.Helper()
	key, terms := terms(t, resource)
	q := parse(t, key.Type, text(query))
	return q.Matches(key, now, &terms)
}

func terms(t testing.TB, resource string) (fhir.Key, Terms) {
	t.Helper()
	var r struct{ ResourceType, ID string }
	if err := json.Unmarshal([]byte(resource), &r); err != nil {
		t.Fatalf("%v in %s", err, resource)
	}
	found, err := R4().Extract(r.ResourceType, []byte(resource))
	if err != nil {
		t.Fatal(err)
	}
	return fhir.Key{Type: r.ResourceType, ID: r.ID}, found
}

func TestParamsAreSortedAndCompleteForEachType(t *testing.T) {
	if got, want := R4().Types(), definitions.ResourceTypes(); !slices.Equal(got, want) {
		t.Errorf("R4().Types() = %v, want %v", got, want)
	}
	for _, name := range R4().Types() {
		params := R4().Of(name)
		if !slices.IsSortedFunc(params, func(a, b Param) int { return cmp.Compare(a.Name, b.Name) }) {
			t.Errorf("R4().Of(%s) are not sorted", name)
		}
		for _, p := range params {
			if _, err := url.Parse(p.Definition); err != nil || p.Definition == "" || p.Expression == "" || p.Type == "" {
				t.Errorf("%s.%s is not complete: %+v", name, p.Name, p)
			}
			if got, ok := R4().Lookup(name, p.Name); !ok || !gocmp.Equal(got, p) {
				t.Errorf("Lookup(%s, %s) = %+v, %v", name, p.Name, got, ok)
			}
		}
		for _, all := range []string{"_id", "_lastUpdated", "_profile", "_security", "_source", "_tag"} {
			if _, ok := R4().Lookup(name, all); !ok {
				t.Errorf("%s has no %s", name, all)
			}
		}
	}
	if R4().Of("Quantity") != nil {
		t.Error("a type that is no resource has parameters")
	}
	if _, ok := R4().Lookup("Quantity", "_id"); ok {
		t.Error("a type that is no resource has a parameter")
	}
	if _, ok := R4().Lookup("Patient", "nonsense"); ok {
		t.Error("a parameter was found that is none")
	}
}

func TestParamsCannotBeChangedByTheirCallers(t *testing.T) {
	p, _ := R4().Lookup("Observation", "subject")
	p.Targets[0] = "Changed"
	for _, q := range R4().Of("Observation") {
		if slices.Contains(q.Targets, "Changed") {
			t.Error("the table was changed")
		}
	}
}
