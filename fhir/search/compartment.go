package search

import (
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
)

// InCompartment is the condition that a resource belongs to the compartment of a Patient,
// Encounter, RelatedPerson, Practitioner or Device with that id. The resource whose
// compartment it is belongs to it, too. It is false if no resource of the type ever does, and
// for a compartment that there is not.
// http://hl7.org/fhir/R4/compartmentdefinition.html
func (ps *Parameters) InCompartment(resourceType, compartment, id string) (Clause, bool) {
	types, ok := definitions.Compartment(compartment)
	if !ok {
		return Clause{}, false
	}
	var c Clause
	if resourceType == compartment {
		c.Any = append(c.Any, IDs(fhir.Key{Type: compartment, ID: id}))
	}
	for _, name := range types[resourceType] {
		r, ok := ps.lookup(resourceType, name)
		if !ok || r.Type != ReferenceParam {
			continue // {def} is the resource itself
		}
		v := Value{RefType: compartment, RefID: id, Text: compartment + "/" + id}
		c.Any = append(c.Any, Clause{Param: clone(r.Param), Values: []Value{v}})
	}
	return c, c.Any != nil
}

// IDs is the condition that a resource is one of these, in whichever version: none if there
// are none.
func IDs(keys ...fhir.Key) Clause {
	among := make(map[fhir.Key]bool, len(keys))
	for _, key := range keys {
		key.Version = ""
		among[key] = true
	}
	return Clause{Among: among}
}
