package embedded

import (
	"context"
	"fmt"
	"slices"

	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// Explain tells how the search is answered.
func (s *Store) Explain(ctx context.Context, q search.Query) (store.Plan, error) {
	if err := s.gate.Enter(); err != nil {
		return store.Plan{}, err
	}
	defer s.gate.Leave()
	v := s.look()
	defer s.letGo(v)
	told := store.Plan{Type: q.Type}
	if _, err := s.find(ctx, v, q, &told); err != nil {
		return store.Plan{}, fmt.Errorf("embedded: search of %s: %w", q.Type, err)
	}
	return told, nil
}

// tell says how the plan answered a query, and with how much reading. It does nothing
// without a place to say it.
func (one *plan) tell(told *store.Plan, q search.Query, top *top) {
	if told == nil {
		return
	}
	told.Indexes = slices.Compact(slices.Clone(one.indexes))
	told.Ranges = len(one.ranges)
	told.Order = "sorted"
	if one.inOrderOf(q) {
		told.Order = "index"
	}
	for i := range q.Where {
		c := &q.Where[i]
		if one.dated && (slices.Contains(one.decided, i) || c.Param.Name == sortDate && c.Param.Type == search.DateParam || one.layout.decidable(c)) {
			continue
		}
		told.AddResidual(c)
	}
	if top != nil {
		told.Keys, told.Read, told.Found = told.Keys+top.keys, told.Read+top.reads, top.Len()
	}
}
