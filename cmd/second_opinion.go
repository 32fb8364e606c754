//go:build !google

package cmd

import "errors"

// secondOpinion is not in this build: jsonformat would add 14 MB to the program and 40 ms
// to every start of it.
func secondOpinion([]byte, bool) (string, error) {
	return "", errors.New("google/fhir's jsonformat is not in this build\n  = fix: build it in: go run -tags nomsgpack,google ./cmd/kiln validate --with google FILE")
}
