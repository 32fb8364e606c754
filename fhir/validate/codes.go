package validate

import (
	"math"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
	units "github.com/kiln-health/kiln/fhir/ucum"
	"github.com/kiln-health/kiln/fhir/vocabulary"
)

// maxCode is the length of the longest code that is looked up.
const maxCode = 256

// allOf are the value sets that have all units of UCUM with a base, "" for any.
var allOf = map[string]string{
	"http://hl7.org/fhir/ValueSet/ucum-units":         "",
	"http://hl7.org/fhir/ValueSet/all-time-units":     "s",
	"http://hl7.org/fhir/ValueSet/all-distance-units": "m",
}

// lookUp says whether a code is in a value set that has codes of a system which is not
// published with FHIR. Of LOINC and IEEE 11073 not all codes are known here, so theirs can be
// wrong, and else are mostly Unknown.
//
// http://hl7.org/fhir/R4/ucum.html, http://hl7.org/fhir/R4/loinc.html, http://hl7.org/fhir/R4/mdc.html
func lookUp(set *definitions.CodeSet, system, code []byte) definitions.Membership {
	switch string(system) {
	case fhir.UCUM:
		kind, all := allOf[set.URL]
		base := gauges().base(code)
		switch {
		case base == "", all && kind != "" && kind != base:
			return definitions.No
		case all:
			return definitions.Yes
		}
	case fhir.LOINC:
		if ok, _ := isLOINC(code); !ok {
			return definitions.No
		}
	case fhir.MDC:
		if _, ok := parseMDC(code); !ok {
			return definitions.No
		}
	}
	return definitions.Unknown
}

// isUnit reports whether a code is a unit of UCUM.
func isUnit(code []byte) bool {
	if _, ok := gauges().bases[string(code)]; ok {
		return true
	}
	return len(code) <= maxCode && units.Valid(string(code))
}

// isLOINC is vocabulary.IsLOINC.
func isLOINC(code []byte) (ok bool, digit byte) {
	if len(code) > maxCode {
		return false, 0
	}
	return vocabulary.IsLOINC(string(code))
}

// parseMDC reads a context-free code: partition × 65536 + term, neither of which is 0.
// http://hl7.org/fhir/R4/mdc.html
func parseMDC(code []byte) (n uint32, ok bool) {
	if len(code) == 0 || len(code) > len("4294967295") || code[0] == '0' {
		return 0, false
	}
	sum := uint64(0)
	for _, c := range code {
		if c < '0' || c > '9' {
			return 0, false
		}
		sum = sum*10 + uint64(c-'0')
	}
	if sum > math.MaxUint32 || sum <= math.MaxUint16 {
		return 0, false
	}
	return uint32(sum), true
}
