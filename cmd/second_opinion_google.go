//go:build google

package cmd

import (
	"fmt"

	"github.com/google/fhir/go/fhirversion"
	"github.com/google/fhir/go/jsonformat"

	"github.com/kiln-health/kiln/fhir"
)

// secondOpinion is what jsonformat says of a resource where it disagrees, else "".
// It knows neither invariants nor profiles, so that it may well take what has errors.
func secondOpinion(body []byte, valid bool) (string, error) {
	u, err := jsonformat.NewUnmarshaller("UTC", fhirversion.R4)
	if err != nil {
		return "", fmt.Errorf("jsonformat: %w", err)
	}
	u.MaxNestingDepth = fhir.MaxDepth
	_, refused := u.Unmarshal(body)
	switch {
	case valid && refused != nil:
		return "it refuses the resource: " + refused.Error(), nil
	case !valid && refused == nil:
		return "it reads the resource without complaint", nil
	}
	return "", nil
}
