package cmd

import (
	"cmp"
	"slices"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/validate"
)

// The parts of SARIF 2.1.0 that code hosts read.
// https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
type (
	sarifLog struct {
		Version string     `json:"version"`
		Schema  string     `json:"$schema"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID      string          `json:"id"`
		Short   *sarifText      `json:"shortDescription,omitempty"`
		Full    *sarifText      `json:"fullDescription,omitempty"`
		HelpURI string          `json:"helpUri,omitempty"`
		Default *sarifReporting `json:"defaultConfiguration,omitempty"`
	}
	sarifReporting struct {
		Level string `json:"level"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct {
		Physical sarifPhysical  `json:"physicalLocation"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
	}
)

// sarif is the report as SARIF. The device rules are rules, and so are the issue codes of
// FHIR for what else was found.
func sarif(all []checked) sarifLog {
	run := sarifRun{
		Tool:    sarifTool{sarifDriver{Name: "kiln", Version: release, InformationURI: "https://github.com/kiln-health/kiln", Rules: []sarifRule{}}},
		Results: []sarifResult{},
	}
	for _, r := range validate.DeviceRules() {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{r.ID, &sarifText{r.Title}, &sarifText{r.Text}, r.Source, &sarifReporting{sarifLevel(r.Severity)}})
	}
	for _, c := range all {
		for _, i := range c.Issues {
			text := i.Message
			if i.Fix != "" {
				text += "; fix: " + i.Fix
			}
			l := sarifLocation{Physical: sarifPhysical{Artifact: sarifArtifact{c.File}}}
			if i.Line > 0 {
				l.Physical.Region = &sarifRegion{i.Line, max(1, i.Column)}
			}
			if i.Path != "" {
				l.Logical = []sarifLogical{{i.Path}}
			}
			rule := cmp.Or(i.Rule, i.Code)
			run.Results = append(run.Results, sarifResult{rule, sarifLevel(i.Severity), sarifText{text}, []sarifLocation{l}})
			if !slices.ContainsFunc(run.Tool.Driver.Rules, func(r sarifRule) bool { return r.ID == rule }) {
				run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{ID: rule})
			}
		}
	}
	return sarifLog{"2.1.0", "https://json.schemastore.org/sarif-2.1.0.json", []sarifRun{run}}
}

func sarifLevel(s fhir.Severity) string {
	switch s {
	case fhir.SevError, fhir.Fatal:
		return "error"
	case fhir.Warning:
		return "warning"
	}
	return "note"
}
