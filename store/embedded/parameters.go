package embedded

import (
	"sync"

	"github.com/kiln-health/kiln/fhir/search"
)

// parameters are search parameters whose types are quick to look up.
type parameters struct {
	*search.Parameters
	types   sync.Map // map[string]search.ParamType by resource type
	layouts sync.Map // layout by resource type
}

func newParameters(p *search.Parameters) *parameters { return &parameters{Parameters: p} }

// of are the types of the parameters of a resource type, by name: none for one that is not searched.
func (p *parameters) of(resourceType string) map[string]search.ParamType {
	if types, ok := p.types.Load(resourceType); ok {
		return types.(map[string]search.ParamType)
	}
	types := map[string]search.ParamType{}
	for _, param := range p.Of(resourceType) {
		types[param.Name] = param.Type
	}
	if len(types) > 0 { // else anything could be asked for, and remembered
		p.types.Store(resourceType, types)
	}
	return types
}

// hasDate reports whether all resources of a type are in the index by date.
func (p *parameters) hasDate(resourceType string) bool {
	return p.of(resourceType)[sortDate] == search.DateParam
}

// layout is how the series of a type are defined.
func (p *parameters) layout(resourceType string) layout {
	if l, ok := p.layouts.Load(resourceType); ok {
		return l.(layout)
	}
	l := layoutOf(resourceType)
	if len(p.of(resourceType)) > 0 { // else anything could be asked for, and remembered
		p.layouts.Store(resourceType, l)
	}
	return l
}
