package search

import (
	"slices"
	"strings"

	"github.com/kiln-health/kiln/fhir"
)

// Modifiers are those that Parse takes for a parameter of a type, without their colon. A
// reference that may point at any type takes the name of each, too, which are not listed.
// http://hl7.org/fhir/R4/search.html#modifiers
func (ps *Parameters) Modifiers(resourceType, name string) []string {
	r, ok := ps.lookup(resourceType, name)
	if !ok {
		return nil
	}
	return modifiers(r)
}

func modifiers(r *row) []string {
	switch r.Type {
	case TokenParam:
		all := []string{"missing", "not"}
		if r.Name == "_id" || r.kinds == 1<<boolean {
			return all
		}
		if r.has(concept) || r.has(coding) || r.has(identifier) {
			all = append(all, "text")
		}
		if r.has(identifier) {
			all = append(all, "of-type")
		}
		if r.has(concept) || r.has(coding) || r.has(code) {
			all = append(all, "in", "not-in")
		}
		if r.nests() {
			all = append(all, "above", "below")
		}
		return all
	case ReferenceParam:
		return append([]string{"missing", "identifier"}, r.Targets...)
	case StringParam:
		return []string{"missing", "exact", "contains"}
	case URIParam:
		return []string{"missing", "above", "below"}
	case CompositeParam: // http://hl7.org/fhir/R4/search.html#composite
		return nil
	default:
		return []string{"missing"}
	}
}

func hasModifier(r *row, modifier string) bool {
	return slices.Contains(modifiers(r), modifier) ||
		r.Type == ReferenceParam && r.Targets == nil && fhir.ValidType(modifier)
}

func noModifier(r *row, modifier string) *fhir.Error {
	fix := "use " + r.Name + " without a modifier"
	if all := modifiers(r); len(all) > 0 {
		fix += " or with one of :" + strings.Join(all, ", :")
	}
	why := "%s has no such modifier"
	if r.Type == TokenParam && (modifier == "above" || modifier == "below") {
		why = "%s cannot be searched up or down a hierarchy of codes: its code system has none"
	}
	return fhir.Errorf(fhir.CodeNotSupported, r.Name, why, r.Name).WithFix(fix).WithSpec(specModifiers)
}
