package mongo

import (
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store/mongo/layout"
)

// parameters are search parameters and the layout of documents that they make.
type parameters struct {
	*search.Parameters
	layout *layout.Layout
}

func newParameters(p *search.Parameters) *parameters {
	return &parameters{Parameters: p, layout: layout.New(p)}
}
