package fhir

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
)

// MaxOutcomeIssues is how many issues an OperationOutcome lists. Those beyond are counted
// in one more issue.
const MaxOutcomeIssues = 100

type outcomeIssue struct {
	Severity    Severity        `json:"severity"`
	Code        string          `json:"code"`
	Details     *outcomeDetails `json:"details,omitempty"`
	Diagnostics string          `json:"diagnostics,omitempty"`
	Expression  []string        `json:"expression,omitempty"`
}

type outcomeDetails struct {
	Text string `json:"text"`
}

// OperationOutcome is the FHIR JSON of issues: the message as details.text, the path
// as expression, fix and specification as diagnostics. Without issues it says that
// all went well. http://hl7.org/fhir/R4/operationoutcome.html
func OperationOutcome(issues ...Issue) []byte {
	o := struct {
		ResourceType string         `json:"resourceType"`
		Issue        []outcomeIssue `json:"issue"`
	}{ResourceType: "OperationOutcome"}
	if len(issues) == 0 {
		issues = []Issue{{Severity: Information, Code: CodeInformational, Message: "all ok"}}
	}
	for n, i := range issues {
		if n == MaxOutcomeIssues {
			o.Issue = append(o.Issue, outcomeIssue{Severity: Information, Code: CodeTooCostly,
				Details: &outcomeDetails{fmt.Sprintf("%d more issues were found", len(issues)-MaxOutcomeIssues)}})
			break
		}
		// Severity and code are required, and no FHIR string is empty.
		x := outcomeIssue{Severity: cmp.Or(i.Severity, SevError), Code: cmp.Or(i.Code, CodeException)}
		if i.Message != "" {
			x.Details = &outcomeDetails{i.Message}
		}
		if i.Path != "" {
			x.Expression = []string{i.Path}
		}
		if i.Fix != "" {
			x.Diagnostics = "fix: " + i.Fix
		}
		if i.Spec != "" {
			if x.Diagnostics != "" {
				x.Diagnostics += "; "
			}
			x.Diagnostics += "see " + i.Spec
		}
		o.Issue = append(o.Issue, x)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(o); err != nil { // strings only: it cannot fail
		return []byte(`{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"exception"}]}`)
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}
