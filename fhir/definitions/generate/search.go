package main

import (
	"encoding/json"
	"slices"
	"strings"
)

type searchParameter struct {
	URL, Code, Type, Expression        string
	Base, Target, Comparator, Modifier []string
	MultipleOr, MultipleAnd            *bool
	Component                          []struct{ Definition, Expression string }
}

type compartment struct {
	URL, Code string
	Resource  []struct {
		Code  string
		Param []string
	}
}

// corrections mends expressions that cannot mean what they say.
var corrections = map[string]string{
	// There is no type DateTime in FHIR: http://hl7.org/fhir/R4/datatypes.html#dateTime
	"value.as(DateTime) | value.as(Period)": "value.as(dateTime) | value.as(Period)",
}

// searchParameters are those of R4 but for its examples and those that are for no type.
func (m *material) searchParameters(from string) ([]searchParameter, error) {
	var all []searchParameter
	err := m.read(from, []string{"r4/search-parameters.json"}, func(raw json.RawMessage, kind string) error {
		var p searchParameter
		if err := json.Unmarshal(raw, &p); err != nil {
			return err
		}
		if kind != "SearchParameter" || len(p.Base) == 0 || strings.HasPrefix(p.URL, "http://hl7.org/fhir/SearchParameter/example") {
			return nil
		}
		p.Expression = corrected(p.Expression)
		for i := range p.Component {
			p.Component[i].Expression = corrected(p.Component[i].Expression)
		}
		all = append(all, p)
		return nil
	})
	slices.SortFunc(all, func(a, b searchParameter) int { return strings.Compare(a.URL, b.URL) })
	return all, err
}

func corrected(expression string) string {
	if c, ok := corrections[expression]; ok {
		return c
	}
	return expression
}

// compartments are those of R4 but for its example.
func (m *material) compartments(from string) ([]compartment, error) {
	var all []compartment
	err := m.read(from, []string{"r4/compartment-definitions.json"}, func(raw json.RawMessage, _ string) error {
		var c compartment
		if err := json.Unmarshal(raw, &c); err != nil {
			return err
		}
		if c.URL == "http://hl7.org/fhir/CompartmentDefinition/example" {
			return nil
		}
		all = append(all, c)
		return nil
	})
	slices.SortFunc(all, func(a, b compartment) int { return strings.Compare(a.Code, b.Code) })
	return all, err
}
