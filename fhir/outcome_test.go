package fhir

import (
	"encoding/json"
	"testing"
)

// http://hl7.org/fhir/R4/operationoutcome.html
func TestOperationOutcomeListsTheIssues(t *testing.T) {
	for _, c := range []struct {
		name   string
		issues []Issue
		want   string
	}{
		{"nothing is wrong", nil, `{"resourceType":"OperationOutcome","issue":[{"severity":"information","code":"informational","details":{"text":"all ok"}}]}`},
		{"all there is", []Issue{{Warning, CodeValue, "Observation.code", "no <code> & no text", "send one", "http://hl7.org/fhir/R4/observation.html"}},
			`{"resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"value","details":{"text":"no <code> & no text"},"diagnostics":"fix: send one; see http://hl7.org/fhir/R4/observation.html","expression":["Observation.code"]}]}`},
		{"a specification only", []Issue{{SevError, CodeValue, "", "m", "", "u"}}, `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"value","details":{"text":"m"},"diagnostics":"see u"}]}`},
		{"what is required is always there, what is empty never", []Issue{{}}, `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"exception"}]}`},
	} {
		if got := string(OperationOutcome(c.issues...)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestOperationOutcomeCountsWhatItDoesNotList(t *testing.T) {
	for _, c := range []struct {
		issues, listed int
		last           string
	}{
		{MaxOutcomeIssues, MaxOutcomeIssues, "m"},
		{MaxOutcomeIssues + 1, MaxOutcomeIssues + 1, "1 more issues were found"},
		{MaxOutcomeIssues + 150, MaxOutcomeIssues + 1, "150 more issues were found"},
	} {
		issues := make([]Issue, c.issues)
		for i := range issues {
			issues[i] = Issue{Severity: SevError, Code: CodeValue, Message: "m"}
		}
		var o struct {
			Issue []struct{ Details struct{ Text string } }
		}
		if err := json.Unmarshal(OperationOutcome(issues...), &o); err != nil {
			t.Fatal(err)
		}
		if len(o.Issue) != c.listed || o.Issue[len(o.Issue)-1].Details.Text != c.last {
			t.Errorf("of %d issues %d are listed, the last is %q", c.issues, len(o.Issue), o.Issue[len(o.Issue)-1].Details.Text)
		}
	}
}
