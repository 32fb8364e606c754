//go:build race

package fhirtest

const race = true
