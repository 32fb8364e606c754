package embedded

import (
	"context"

	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/claim"
)

// unmatched checks the condition None of a change, on what was there when the write began and on
// what earlier changes of it have made. results are theirs.
func (e *edit) unmatched(ctx context.Context, results []store.Result) error {
	v := e.view
	return e.claim.Unmatched(results, claim.Stored{
		Knows:  v.params.Knows,
		Linked: v.linked(ctx, nil),
		Find:   func(q search.Query) (store.Page, error) { return e.store.findResolved(ctx, v, q, nil) },
	})
}
