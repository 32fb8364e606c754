package rest

import (
	"encoding/json"
	"strings"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// The resources that define what is ours: search parameters, an operation and a code system. They
// are read at their URL, Type/id, where id is the end of the canonical URL, unless the store has a
// resource there. They are not stored: no search finds them, and they have no versions.
type (
	definition struct {
		ResourceType string `json:"resourceType"`
		ID           string `json:"id"`
		URL          string `json:"url"`
		Name         string `json:"name"`
		Status       string `json:"status"`
		Kind         string `json:"kind,omitempty"` // of an operation
		Description  string `json:"description"`
	}
	searchDefinition struct {
		definition
		Code       string   `json:"code"`
		Base       []string `json:"base"`
		Type       string   `json:"type"`
		Expression string   `json:"expression"`
		Target     []string `json:"target,omitempty"`
	}
	operationDefinition struct {
		definition
		AffectsState bool                 `json:"affectsState"`
		Code         string               `json:"code"`
		Resource     []string             `json:"resource"`
		System       bool                 `json:"system"`
		Type         bool                 `json:"type"`
		Instance     bool                 `json:"instance"`
		Parameter    []operationParameter `json:"parameter"`
	}
	operationParameter struct {
		Name          string `json:"name"`
		Use           string `json:"use"`
		Min           int    `json:"min"`
		Max           string `json:"max"`
		Documentation string `json:"documentation"`
		Type          string `json:"type"`
	}
	codesDefinition struct {
		definition
		CaseSensitive bool          `json:"caseSensitive"`
		Content       string        `json:"content"`
		Concept       []definedCode `json:"concept"`
	}
	definedCode struct {
		Code       string `json:"code"`
		Display    string `json:"display"`
		Definition string `json:"definition"`
	}
)

// ours is the resource that defines something of ours, false if there is none at the key.
func (s *server) ours(key fhir.Key) (fhir.Resource, bool, error) {
	url := fhir.Namespace + key.String()
	d := definition{ResourceType: key.Type, ID: key.ID, URL: url, Name: nameOf(key.ID), Status: "active"}
	var content any
	switch {
	case key.Version != "":
		return fhir.Resource{}, false, nil
	case key.Type == "SearchParameter":
		p, bases := s.parameterOf(url)
		if bases == nil {
			return fhir.Resource{}, false, nil
		}
		d.Description = "Search by " + p.Expression + ", for which R4 has no search parameter"
		content = searchDefinition{d, p.Name, bases, string(p.Type), p.Expression, p.Targets}
	case url == everythingOf()["Device"]:
		d.Kind, d.Description = "operation", "A Device, what is in its compartment, and what these refer to, each once: what Patient-everything is for a Patient"
		content = deviceEverything(d)
	case url == regressionSystem:
		d.Description = "What is told of the line through the values of a series over time"
		content = codesDefinition{d, true, "complete", regressionCodes()}
	default:
		return fhir.Resource{}, false, nil
	}
	b, err := json.Marshal(content)
	return fhir.Resource{Key: key, LastUpdated: s.started, JSON: b}, err == nil, err
}

// nameOf is a name for programs: DeviceEverything for Device-everything.
func nameOf(id string) string {
	var name string
	for part := range strings.SplitSeq(id, "-") {
		if part != "" {
			name += strings.ToUpper(part[:1]) + part[1:]
		}
	}
	return name
}

// parameterOf is the search parameter that a canonical URL defines, and the types that have it.
func (s *server) parameterOf(url string) (p search.Param, bases []string) {
	for _, t := range s.types {
		for _, one := range s.Parameters.Of(t) {
			if one.Definition == url {
				p, bases = one, append(bases, t)
			}
		}
	}
	return p, bases
}

func deviceEverything(d definition) operationDefinition {
	o := operationDefinition{definition: d, Code: "everything", Resource: []string{"Device"}, Instance: true}
	for _, p := range []operationParameter{
		{Name: "start", Type: "date", Documentation: "care from this date on; what has no date of care is always meant"},
		{Name: "end", Type: "date", Documentation: "care up to the end of this date; what has no date of care is always meant"},
		{Name: "_since", Type: "instant", Documentation: "only resources that have changed since"},
		{Name: "_type", Type: "code", Max: "*", Documentation: "only resources of these types"},
		{Name: "_count", Type: "integer", Documentation: "resources in a page"},
	} {
		p.Use = "in"
		if p.Max == "" {
			p.Max = "1"
		}
		o.Parameter = append(o.Parameter, p)
	}
	o.Parameter = append(o.Parameter, operationParameter{Name: "return", Use: "out", Min: 1, Max: "1", Type: "Bundle", Documentation: "a searchset of the Device, the resources of its compartment as matches, and what they refer to as included"})
	return o
}

func regressionCodes() []definedCode {
	return []definedCode{
		{"gradient", "Gradient", "how much the value grows in an hour, on the line with the least squares"},
		{"intercept", "Intercept", "the value of that line at the start of the period"},
	}
}
