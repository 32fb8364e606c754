package validate

import (
	"testing"

	"github.com/kiln-health/kiln/fhir/fhirtest"
)

func TestNothingIsAllocatedForAValidResource(t *testing.T) {
	fhirtest.Long(t) // and a pool under the race detector forgets at random
	if testing.CoverMode() != "" {
		t.Skip("counting coverage allocates")
	}
	bodies := map[string][]byte{"plain": []byte(heartRate), "with a profile": claiming(heartRate, "http://hl7.org/fhir/us/core/StructureDefinition/us-core-heart-rate")}
	for about, body := range bodies {
		for _, level := range []Level{Structure, Invariants, Profiles} {
			opt := &Options{Level: level, Without: []string{"kiln-vital-sign"}} // which the plain one breaks
			Resource(body, opt)
			if n := testing.AllocsPerRun(200, func() { Resource(body, opt) }); n > 0.5 {
				t.Errorf("%s, level %d: got %.1f allocations", about, level, n)
			}
		}
	}
}
