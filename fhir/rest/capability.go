package rest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/kiln-health/kiln/fhir/search"
)

// The parts of a CapabilityStatement and of TerminologyCapabilities that are stated
// here. http://hl7.org/fhir/R4/capabilitystatement.html
type (
	capabilityStatement struct {
		ResourceType   string         `json:"resourceType"`
		Title          string         `json:"title"`
		Status         string         `json:"status"`
		Date           string         `json:"date"`
		Description    string         `json:"description"`
		Kind           string         `json:"kind"`
		Software       software       `json:"software"`
		Implementation implementation `json:"implementation"`
		FHIRVersion    string         `json:"fhirVersion,omitempty"`
		Format         []string       `json:"format,omitempty"`
		Rest           []restPart     `json:"rest,omitempty"`
	}
	software struct {
		Name        string `json:"name"`
		Version     string `json:"version,omitempty"`
		ReleaseDate string `json:"releaseDate,omitempty"`
	}
	implementation struct {
		Description string `json:"description"`
		URL         string `json:"url"`
	}
	restPart struct {
		Mode          string         `json:"mode"`
		Documentation string         `json:"documentation"`
		Resource      []resourcePart `json:"resource"`
		SearchParam   []searchParam  `json:"searchParam"`
	}
	resourcePart struct {
		Type              string        `json:"type"`
		Interaction       []interaction `json:"interaction"`
		Versioning        string        `json:"versioning"`
		ReadHistory       bool          `json:"readHistory"`
		UpdateCreate      bool          `json:"updateCreate"`
		ConditionalCreate bool          `json:"conditionalCreate"`
		ConditionalRead   string        `json:"conditionalRead"`
		ConditionalUpdate bool          `json:"conditionalUpdate"`
		ConditionalDelete string        `json:"conditionalDelete"`
		SearchParam       []searchParam `json:"searchParam"`
		Operation         []operation   `json:"operation"`
	}
	interaction struct {
		Code string `json:"code"`
	}
	operation struct {
		Name       string `json:"name"`
		Definition string `json:"definition"`
	}
	searchParam struct {
		Name          string `json:"name"`
		Definition    string `json:"definition,omitempty"`
		Type          string `json:"type"`
		Documentation string `json:"documentation,omitempty"`
	}
)

// resultParams control the result of every search and have no SearchParameter of their
// own. http://hl7.org/fhir/R4/search.html#modifyingresults
func resultParams(types []string) []searchParam {
	var orders []string
	for _, t := range types {
		var names []string
		for _, p := range search.Params(t) {
			if p.Sortable {
				names = append(names, p.Name)
			}
		}
		orders = append(orders, t+" by "+strings.Join(names, ", "))
	}
	return []searchParam{
		{Name: "_count", Type: "number", Documentation: fmt.Sprintf("resources in a page: %d unless asked, %d at most; 0 gives the total only", search.DefaultCount, search.MaxCount)},
		{Name: "_sort", Type: "string", Documentation: strings.Join(orders, "; ") + "; a minus before a name turns the order"},
		{Name: "_summary", Type: "token", Documentation: "count and false"},
		{Name: "_total", Type: "token", Documentation: "none, estimate (which is counted too) and accurate"},
	}
}

// normative are the resource types that R4 has as normative, as far as a server may
// have instances of them. http://hl7.org/fhir/R4/versions.html#std-process
var normative = [...]string{
	"Binary", "Bundle", "CapabilityStatement", "CodeSystem", "Observation", "OperationDefinition",
	"OperationOutcome", "Parameters", "Patient", "StructureDefinition", "ValueSet",
}

// capabilities states what this server does, from the table that routes it.
// http://hl7.org/fhir/R4/http.html#capabilities
func (s *server) capabilities(x *exchange) (reply, error) {
	types := s.types
	switch mode := first(x.query, "mode"); mode {
	case "", "full":
	case "normative":
		types = slices.DeleteFunc(slices.Clone(types), func(t string) bool { return !slices.Contains(normative[:], t) })
	case "terminology":
		return document(s.statement(x, "TerminologyCapabilities", "no terminology service"))
	default:
		return reply{}, badParameter("mode", "full, normative or terminology").spec("http://hl7.org/fhir/R4/http.html#capabilities")
	}
	c := s.statement(x, "CapabilityStatement", "observations of medical devices, as their makers' payloads told them")
	c.FHIRVersion, c.Format = "4.0.1", []string{"application/fhir+json", "json", "application/fhir+xml", "xml"}
	r := restPart{
		Mode: "server",
		Documentation: "JSON and XML. No batch, transaction, patch or conditional writes; no search and history over all types. " +
			s.Validation.promise() + s.DeviceRules.promise(s.Validation) + " " +
			"An unknown search parameter is ignored and named in the result unless Prefer: handling=strict is sent" + s.defaultHandling() + ".",
		SearchParam: resultParams(types),
	}
	for _, t := range types {
		r.Resource = append(r.Resource, s.resourcePart(t))
	}
	c.Rest = []restPart{r}
	return document(c)
}

func (s *server) defaultHandling() string {
	if s.Handling == search.Strict {
		return "; here that is so unless Prefer: handling=lenient is sent"
	}
	return ""
}

// statement is the head that both documents have in common.
func (s *server) statement(x *exchange, resourceType, description string) capabilityStatement {
	c := capabilityStatement{
		ResourceType:   resourceType,
		Title:          s.Software.Name,
		Status:         "active",
		Date:           s.started.UTC().Format("2006-01-02T15:04:05Z07:00"),
		Description:    s.Software.Name + ": " + description,
		Kind:           "instance",
		Software:       software{Name: s.Software.Name, Version: s.Software.Version},
		Implementation: implementation{Description: s.Software.Name + " at " + x.base, URL: x.base},
	}
	if at := s.Software.Released; !at.IsZero() {
		c.Software.ReleaseDate = at.UTC().Format("2006-01-02")
	}
	return c
}

func (s *server) resourcePart(resourceType string) resourcePart {
	p := resourcePart{
		Type:       resourceType,
		Versioning: "versioned", // If-Match is honoured and not demanded
		// A deleted resource comes back under its id, and any id may be put.
		UpdateCreate:      true,
		ReadHistory:       true,
		ConditionalRead:   "full-support",
		ConditionalDelete: "not-supported",
	}
	for _, shape := range s.shapes {
		if !strings.HasPrefix(shape.path, "/fhir/:type") {
			continue
		}
		if o := shape.operation; o.Name != "" {
			if !slices.Contains(p.Operation, o) {
				p.Operation = append(p.Operation, o)
			}
			continue
		}
		for _, a := range shape.does {
			if i := (interaction{Code: a.interaction}); !slices.Contains(p.Interaction, i) {
				p.Interaction = append(p.Interaction, i)
			}
		}
	}
	for _, sp := range search.Params(resourceType) {
		p.SearchParam = append(p.SearchParam, searchParam{Name: sp.Name, Definition: sp.Definition, Type: string(sp.Type)})
	}
	return p
}

func document(c capabilityStatement) (reply, error) {
	b, err := json.Marshal(c)
	return reply{status: http.StatusOK, body: b}, err
}
