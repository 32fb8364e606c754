package embedded

import (
	"testing"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

func TestTermsThatTheCallerHasAreIndexed(t *testing.T) {
	s := memory(t)
	body := []byte(`{"resourceType":"Patient","gender":"female","name":[{"family":"A"}]}`)
	terms, err := s.params.Extract("Patient", body)
	if err != nil {
		t.Fatal(err)
	}
	put := func(id string, terms *search.Terms) {
		t.Helper()
		if _, err := s.Write(t.Context(), store.Change{Key: fhir.Key{Type: "Patient", ID: id}, JSON: body, Terms: terms}); err != nil {
			t.Fatal(err)
		}
	}
	put("a", &terms)
	if err := verify(s); err != nil {
		t.Error(err)
	}
	put("b", &search.Terms{Tokens: []search.Token{{Param: "gender", Code: "male"}}})
	if verify(s) == nil {
		t.Error("the terms of the caller were not used")
	}
}
