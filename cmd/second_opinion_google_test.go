//go:build google

package cmd

import (
	"strings"
	"testing"
)

func TestASecondOpinionIsToldWhereItDiffers(t *testing.T) {
	for body, want := range map[string]string{
		`{"resourceType":"Patient","gender":"female"}`: "-: Patient: valid\n",
		`{"resourceType":"Patient","gender":"f"}`:      "-: Patient: 1 errors\n",
		// An invariant: jsonformat knows none.
		`{"resourceType":"Patient","contact":[{"gender":"male"}]}`: "google/fhir disagrees: it reads the resource without complaint",
	} {
		if _, out, stderr := kiln(t, body, "validate", "--with", "google", "-"); !strings.Contains(out, want) {
			t.Errorf("%s: got %s%s", body, out, stderr)
		}
	}
}
