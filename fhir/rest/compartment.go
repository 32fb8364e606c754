package rest

import (
	"net/http"
	"slices"
	"strings"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
)

const specCompartment = "http://hl7.org/fhir/R4/compartmentdefinition.html"

// compartmentOf is the compartment of each resource of a type.
type compartmentOf struct{ of, definition string }

// compartments are those of R4, as the CapabilityStatement names them.
// http://hl7.org/fhir/R4/compartmentdefinition.html
var compartments = [...]compartmentOf{
	{"Device", "http://hl7.org/fhir/CompartmentDefinition/device"},
	{"Encounter", "http://hl7.org/fhir/CompartmentDefinition/encounter"},
	{"Patient", "http://hl7.org/fhir/CompartmentDefinition/patient"},
	{"Practitioner", "http://hl7.org/fhir/CompartmentDefinition/practitioner"},
	{"RelatedPerson", "http://hl7.org/fhir/CompartmentDefinition/relatedPerson"},
}

// scope is where a search looks.
type scope struct {
	path    string   // of the URL, behind the base
	types   []string // sorted
	several bool     // the URL leaves the type open, and _type may say it
	within  fhir.Key // whose compartment; zero if it is not in one
}

// scope is what the URL of a search says.
func (s *server) scope(x *exchange) (scope, error) {
	switch {
	case x.key.Type == "":
		return scope{types: s.types, several: true}, nil
	case x.key.ID == "":
		return scope{path: x.key.Type, types: []string{x.key.Type}}, nil
	}
	in := scope{path: x.key.Type + "/" + x.key.ID + "/*", within: x.key, several: x.last == "" || x.last == "*"}
	links, ok := definitions.Compartment(x.key.Type)
	if !ok {
		var names []string
		for _, c := range compartments {
			names = append(names, c.of)
		}
		return scope{}, refuse(http.StatusNotFound, fhir.CodeNotSupported, "resources of the type in the URL have no compartment").
			fix("search in that of one of " + strings.Join(names, ", ")).spec(specCompartment)
	}
	member := func(t string) bool { return t == x.key.Type || len(links[t]) > 0 }
	if in.several {
		in.types = slices.DeleteFunc(slices.Clone(s.types), func(t string) bool { return !member(t) })
		return in, nil
	}
	in.path = x.key.Type + "/" + x.key.ID + "/" + x.last
	in.types = []string{x.last}
	switch {
	case !slices.Contains(s.types, x.last):
		return scope{}, refuse(http.StatusNotFound, fhir.CodeNotSupported, "the last resource type of the URL is not served here").
			fix("use one that GET /fhir/metadata lists, or * for all").spec(specCompartment)
	case !member(x.last):
		return scope{}, refuse(http.StatusNotFound, fhir.CodeNotSupported, "no "+x.last+" is ever in the compartment of a "+x.key.Type).
			fix("search for GET /fhir/" + x.last + "?…").spec(specCompartment)
	}
	return in, nil
}
