package mongo

import (
	"context"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// Explain tells how the search is answered: what Kiln asks for, and with what MongoDB says it
// has answered, where it can say that.
func (s *Store) Explain(ctx context.Context, q search.Query) (store.Plan, error) {
	if err := s.gate.Enter(); err != nil {
		return store.Plan{}, err
	}
	defer s.gate.Leave()
	var plan store.Plan
	if _, err := s.search(ctx, q, &plan); err != nil {
		return store.Plan{}, fmt.Errorf("mongo: search of %s: %w", q.Type, told(ctx, err))
	}
	return plan, nil
}

// tell says what was asked for.
func (w *walk) tell(plan *store.Plan) {
	plan.Indexes = slices.Compact(slices.Clone(w.find.Indexes))
	if w.find.Never {
		plan.Indexes = []string{"none: nothing can match"}
	}
	plan.Order = "sorted"
	if w.find.Ordered {
		plan.Order = "index"
	}
	for _, i := range w.find.Residual {
		plan.AddResidual(&w.q.Where[i])
	}
	plan.Read = w.candidates
}

// ask lets MongoDB say how it answers. Not every server can, and none can in a transaction:
// then the plan stays as it was meant.
func (w *walk) ask(ctx context.Context, plan *store.Plan) error {
	if w.find.Never {
		return nil
	}
	find := bson.D{{Key: "find", Value: w.q.Type}, {Key: "filter", Value: w.find.Filter}, {Key: "projection", Value: wanted}}
	if len(w.find.Sort) > 0 {
		find = append(find, bson.E{Key: "sort", Value: w.find.Sort})
	}
	if w.find.Hint != "" && w.store.indexes.built(w.q.Type) {
		find = append(find, bson.E{Key: "hint", Value: w.find.Hint})
	}
	if len(w.find.Residual) == 0 && len(w.find.Sort) > 0 {
		find = append(find, bson.E{Key: "limit", Value: int64(w.q.Count + 1)})
	}
	// Without the session of the search: explain is no part of a snapshot.
	doc, err := w.store.db.RunCommand(withoutSession(ctx), bson.D{{Key: "explain", Value: find}, {Key: "verbosity", Value: "executionStats"}}).Raw()
	if err != nil {
		return ctx.Err()
	}
	var e explained
	if bson.Unmarshal(doc, &e) != nil || e.Stats.Stages == nil {
		return nil
	}
	stages := stages{}
	stages.walk(e.Stats.Stages)
	plan.Keys, plan.Read, plan.Ranges = e.Stats.Keys, e.Stats.Docs, len(stages.indexes)
	if len(stages.indexes) > 0 {
		slices.Sort(stages.indexes) // a merge names one for each of its ranges
		plan.Indexes = slices.Compact(stages.indexes)
	}
	plan.Order = "index"
	if stages.sorts || len(w.find.Sort) == 0 {
		plan.Order = "sorted"
	}
	if stages.scans {
		plan.Indexes = append(plan.Indexes, "all documents")
	}
	return nil
}

// explained is the part of the answer of explain that is looked at.
// https://www.mongodb.com/docs/manual/reference/explain-results/
type explained struct {
	Stats struct {
		Keys   int      `bson:"totalKeysExamined"`
		Docs   int      `bson:"totalDocsExamined"`
		Stages bson.Raw `bson:"executionStages"`
	} `bson:"executionStats"`
}

// stages is what a tree of stages has.
type stages struct {
	indexes      []string
	sorts, scans bool
}

func (s *stages) walk(stage bson.Raw) {
	elements, err := stage.Elements()
	if err != nil {
		return
	}
	for _, e := range elements {
		v := e.Value()
		text, _ := v.StringValueOK()
		switch e.Key() {
		case "stage":
			s.sorts = s.sorts || text == "SORT"
			s.scans = s.scans || text == "COLLSCAN"
			continue
		case "indexName":
			if text != "" {
				s.indexes = append(s.indexes, text)
			}
			continue
		}
		if doc, ok := v.DocumentOK(); ok && (e.Key() == "inputStage" || e.Key() == "executionStages" || e.Key() == "outerStage" || e.Key() == "innerStage" || e.Key() == "thenStage" || e.Key() == "elseStage" || e.Key() == "queryPlan") {
			s.walk(doc)
		}
		if list, ok := v.ArrayOK(); ok && (e.Key() == "inputStages" || e.Key() == "shards") {
			values, err := list.Values()
			if err != nil {
				return
			}
			for _, v := range values {
				if doc, ok := v.DocumentOK(); ok {
					s.walk(doc)
				}
			}
		}
	}
}
