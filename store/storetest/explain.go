package storetest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/store"
)

// testExplain asks how searches are answered: that tells nothing of anybody.
func testExplain(t *testing.T, s store.Store) {
	e := needs[store.Explainer](t, s)
	for i := range 20 {
		write(t, s, put(fmt.Sprint(patient, i), heartRate(patient, fmt.Sprintf("2026-01-%02d", i+1), "72")))
	}
	write(t, s, put(patient, `{"resourceType":"Patient","name":[{"family":"`+patient+`"}]}`))
	for _, query := range []string{
		"Observation?", "Observation?patient=" + patient, "Observation?patient=" + patient + "&code=8867-4&_sort=-date&_count=5", "Observation?patient.name=" + patient,
		"Observation?_id=" + patient + "1&status:not=final", "Patient?family=" + patient, "Patient?_has:Observation:patient:code=8867-4", "Observation?value-quantity=gt70&_sort=value-quantity",
	} {
		q := parse(t, query)
		plan, err := e.Explain(t.Context(), q)
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		page, err := s.Search(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if plan.Type != q.Type || len(plan.Indexes) == 0 || plan.Found != len(page.Resources) || plan.Order != "index" && plan.Order != "sorted" {
			t.Errorf("%s: got %+v, found are %d", query, plan, len(page.Resources))
		}
		if text := fmt.Sprintf("%+v", plan); strings.Contains(text, patient) {
			t.Errorf("%s: the plan has a value: %s", query, text)
		}
	}
}
