package store

import (
	"slices"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir/search"
)

func TestAPlanNamesClausesWithoutTheirValues(t *testing.T) {
	var p Plan
	for _, text := range []string{
		"Observation?code=4711", "Observation?code:text=4711", "Observation?patient.name=4711", "Observation?_id=4711", "Patient?_has:Observation:patient:code=4711",
	} {
		of, raw, _ := strings.Cut(text, "?")
		pairs, err := search.Pairs(raw)
		if err != nil {
			t.Fatal(err)
		}
		q, _, err := search.R4().Parse(of, pairs, search.Options{Handling: search.Strict})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for i := range q.Where {
			p.AddResidual(&q.Where[i])
		}
	}
	p.AddResidual(&search.Clause{Any: []search.Clause{{}}})
	p.AddResidual(&search.Clause{})
	want := []string{"code", "code:text", "patient, followed", "_id", "_has:Observation:patient", "one of several", "_id"}
	if !slices.Equal(p.Residual, want) {
		t.Errorf("got %q, want %q", p.Residual, want)
	}
}
