package embedded

import (
	"sync"

	"github.com/kiln-health/kiln/fhir/search"
)

// parameters are search parameters with what the store derives from them.
type parameters struct {
	*search.Parameters
	layouts sync.Map // layout by resource type
}

func newParameters(p *search.Parameters) *parameters { return &parameters{Parameters: p} }

// hasDate reports whether all resources of a type are in the index by date.
func (p *parameters) hasDate(resourceType string) bool {
	return p.TypeOf(resourceType, sortDate) == search.DateParam
}

// layout is how the series of a type are defined.
func (p *parameters) layout(resourceType string) layout {
	if l, ok := p.layouts.Load(resourceType); ok {
		return l.(layout)
	}
	l := layoutOf(resourceType)
	if p.Searches(resourceType) { // else anything could be asked for, and remembered
		p.layouts.Store(resourceType, l)
	}
	return l
}
