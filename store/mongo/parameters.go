package mongo

import (
	"sync"

	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store/mongo/layout"
)

// parameters are search parameters, the layout of documents that they make, and their types,
// quick to look up.
type parameters struct {
	*search.Parameters
	layout *layout.Layout
	types  sync.Map // map[string]search.ParamType by resource type
}

func newParameters(p *search.Parameters) *parameters {
	return &parameters{Parameters: p, layout: layout.New(p)}
}

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
