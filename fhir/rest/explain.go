package rest

import (
	"context"
	"fmt"
	"strings"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

// plans tell how the store answers the searches: one issue for each, which holds names and
// numbers and no value.
func (s *server) plans(ctx context.Context, in *inquiry) ([]fhir.Issue, error) {
	explainer, ok := s.store.(store.Explainer)
	if !ok {
		return []fhir.Issue{{Severity: fhir.Warning, Code: fhir.CodeNotSupported, Path: explainParam, Message: "the store does not tell how it searches", Fix: "leave " + explainParam + " out"}}, nil
	}
	var issues []fhir.Issue
	for i, q := range in.queries {
		if len(in.queries) == 1 {
			var err error
			if q, _, err = in.resumed(); err != nil {
				return nil, err
			}
		}
		if i == fhir.MaxOutcomeIssues-1 {
			issues = append(issues, fhir.Issue{Severity: fhir.Information, Code: fhir.CodeTooCostly, Message: fmt.Sprintf("there are %d more plans, of other types", len(in.queries)-i)})
			break
		}
		plan, err := explainer.Explain(ctx, q)
		if err != nil {
			return nil, err
		}
		issues = append(issues, fhir.Issue{Severity: fhir.Information, Code: fhir.CodeInformational, Path: explainParam, Message: planText(plan)})
	}
	return issues, nil
}

// planText is a plan in one line.
func planText(p store.Plan) string {
	list := func(names []string) string {
		if len(names) == 0 {
			return "none"
		}
		return strings.Join(names, ", ")
	}
	text := fmt.Sprintf("%s: index %s; ranges %d; keys %d; resources read %d; found %d; decided by reading: %s; order: %s",
		p.Type, list(p.Indexes), p.Ranges, p.Keys, p.Read, p.Found, list(p.Residual), p.Order)
	for _, link := range p.Links {
		text += " <- " + planText(link)
	}
	return text
}
