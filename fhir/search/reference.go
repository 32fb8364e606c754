package search

import (
	"strings"

	"github.com/kiln-health/kiln/fhir"
)

// literal is a reference taken apart: base/of/id, where base ends in a slash, or is ""
// for a relative one. The version is left away. It is zero for what does not point at a
// resource of a REST server by type and id: urn:uuid:…, #contained, a search.
// http://hl7.org/fhir/R4/references.html#literal
type literal struct{ base, of, id, version string }

func target(text string) literal {
	rest, version, versioned := strings.Cut(text, "/_history/")
	slash := strings.LastIndexByte(rest, '/')
	if slash < 0 || versioned && !fhir.ValidID(version) {
		return literal{}
	}
	l := literal{id: rest[slash+1:], version: version}
	start := strings.LastIndexByte(rest[:slash], '/') + 1
	l.base, l.of = rest[:start], rest[start:slash]
	if !fhir.ValidID(l.id) || !fhir.ValidType(l.of) || l.base != "" && (!absolute(l.base) || strings.HasSuffix(l.base, "//")) {
		return literal{}
	}
	return l
}

// absolute reports whether text begins with the scheme of a URL.
func absolute(text string) bool {
	scheme, _, ok := strings.Cut(text, ":")
	if !ok || scheme == "" {
		return false
	}
	for i, c := range []byte(scheme) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || !('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.')) {
			return false
		}
	}
	return true
}
