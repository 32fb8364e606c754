package rest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/kiln-health/kiln/fhir/definitions"
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
		PatchFormat    []string       `json:"patchFormat,omitempty"`
	}
	terminologyCapabilities struct {
		capabilityStatement
		CodeSystem []codeSystem `json:"codeSystem"`
	}
	codeSystem struct {
		URI         string `json:"uri"`
		Subsumption bool   `json:"subsumption"`
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
		Security      *security      `json:"security,omitempty"`
		Resource      []resourcePart `json:"resource"`
		Interaction   []interaction  `json:"interaction"`
		SearchParam   []searchParam  `json:"searchParam"`
		Operation     []operation    `json:"operation,omitempty"`
		Compartment   []string       `json:"compartment"`
	}
	security struct {
		CORS bool `json:"cors"`
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
		SearchInclude     []string      `json:"searchInclude,omitempty"`
		SearchRevInclude  []string      `json:"searchRevInclude,omitempty"`
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

// resultParams are for the searches of all types, and have no SearchParameter of their own.
// http://hl7.org/fhir/R4/search.html#Summary
func resultParams() []searchParam {
	return []searchParam{
		{Name: "_count", Type: "number", Documentation: fmt.Sprintf("resources in a page: %d unless asked, %d at most; 0 gives the total only", search.DefaultCount, search.MaxCount)},
		{Name: "_elements", Type: "string", Documentation: "names of elements at the top of the resource; what is mandatory or may change the meaning is given, too"},
		{Name: "_has", Type: "string", Documentation: fmt.Sprintf("_has:Type:reference:parameter, nested and in chains; references are followed through %d links at most", search.MaxDepth)},
		{Name: "_include", Type: "string", Documentation: fmt.Sprintf("Source:parameter, Source:parameter:Target, Source:* or *; with :iterate also for what was included. A page includes %d resources at most, and says so if there are more", maxIncluded)},
		{Name: "_list", Type: "string", Documentation: "the id of a List: what its entries name, but for those that are marked as deleted"},
		{Name: "_revinclude", Type: "string", Documentation: "as _include, for what refers to the matches"},
		{Name: "_sort", Type: "string", Documentation: fmt.Sprintf("up to %d parameters whose documentation says that they sort, each with a minus in front for descending order", search.MaxSort)},
		{Name: "_summary", Type: "token", Documentation: "true, text, data, count and false"},
		{Name: "_total", Type: "token", Documentation: "none, estimate (which is counted, too) and accurate"},
		{Name: "_type", Type: "token", Documentation: "the resource types of a search over several, at the base URL and in a whole compartment"},
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
	types, claims := s.types, &s.claims
	switch mode := first(x.query, "mode"); mode {
	case "", "full":
	case "normative":
		claims = &s.normative
		types = slices.DeleteFunc(slices.Clone(types), func(t string) bool { return !slices.Contains(normative[:], t) })
	case "terminology":
		t := terminologyCapabilities{capabilityStatement: s.statement(x, "TerminologyCapabilities", "no terminology service; searches know what is :above and :below a code of these systems")}
		for _, system := range definitions.Hierarchies() {
			t.CodeSystem = append(t.CodeSystem, codeSystem{URI: system, Subsumption: true})
		}
		b, err := json.Marshal(t)
		return reply{status: http.StatusOK, body: b}, err
	default:
		return reply{}, badParameter("mode", "full, normative or terminology").spec("http://hl7.org/fhir/R4/http.html#capabilities")
	}
	c := s.statement(x, "CapabilityStatement", "observations of medical devices, as their makers' payloads told them")
	c.FHIRVersion, c.Format = "4.0.1", []string{"application/fhir+json", "json", "application/fhir+xml", "xml"}
	c.PatchFormat = []string{jsonPatch, "application/fhir+json", "application/fhir+xml"}
	if s.customs != nil {
		if done, total, at := s.customs.indexing(); at {
			c.Description += fmt.Sprintf("; search parameters have changed, and are in use when the store has indexed by them: %d of %d resources are done", done, total)
		}
	}
	head, err := json.Marshal(c)
	if err != nil {
		return reply{}, err
	}
	rest, err := claims.of(s.parameters(), func() ([]byte, error) { return json.Marshal(s.restPart(types)) })
	if err != nil {
		return reply{}, err
	}
	body := make([]byte, 0, len(head)+len(rest)+16)
	body = append(append(body, head[:len(head)-1]...), `,"rest":[`...)
	body = append(append(body, rest...), "]}"...)
	return reply{status: http.StatusOK, body: body}, nil
}

// once is a document that is large: it is made when it is first asked for, and again when the
// search parameters have changed.
type once struct {
	mu   sync.Mutex
	made *search.Parameters
	json []byte
}

func (o *once) of(p *search.Parameters, write func() ([]byte, error)) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.made != p {
		b, err := write()
		if err != nil {
			return nil, err
		}
		o.made, o.json = p, b
	}
	return o.json, nil
}

// restPart is the part of the CapabilityStatement that does not depend on the request.
func (s *server) restPart(types []string) restPart {
	r := restPart{
		Mode: "server",
		Documentation: "JSON and XML. Patches are JSON Patch and FHIRPath Patch. " +
			":above and :below of codes know the code systems of metadata?mode=terminology. " +
			s.Validation.promise() + s.DeviceRules.promise(s.Validation) + " " +
			"An unknown search parameter is ignored and named in the result unless Prefer: handling=strict is sent" + s.defaultHandling() + ".",
		SearchParam: resultParams(),
	}
	if len(s.CORS) > 0 {
		r.Security = &security{CORS: true}
	}
	for _, c := range compartments {
		r.Compartment = append(r.Compartment, c.definition)
	}
	referring := s.referring()
	for _, t := range types {
		p := s.resourcePart(t)
		p.SearchRevInclude = referring[t]
		r.Resource = append(r.Resource, p)
	}
	for _, shape := range s.shapes {
		if strings.HasPrefix(shape.path, "/fhir/:type") {
			continue
		}
		if shape.operation.Name != "" {
			r.Operation = append(r.Operation, shape.operation)
			continue
		}
		for _, a := range shape.does {
			if i := (interaction{Code: a.interaction}); a.interaction != "" && a.interaction != "capabilities" && !slices.Contains(r.Interaction, i) {
				r.Interaction = append(r.Interaction, i)
			}
		}
	}
	return r
}

// referring are for each resource type the reference parameters that may lead to it, as
// _revinclude names them.
func (s *server) referring() map[string][]string {
	all := map[string][]string{}
	for _, source := range s.types {
		for _, p := range s.parameters().Of(source) {
			if p.Type != search.ReferenceParam {
				continue
			}
			targets := p.Targets
			if targets == nil {
				targets = s.types
			}
			for _, t := range targets {
				all[t] = append(all[t], source+":"+p.Name)
			}
		}
	}
	return all
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
		ConditionalCreate: true,
		ConditionalUpdate: true,
		ConditionalDelete: string(s.ConditionalDelete),
	}
	for _, shape := range s.shapes {
		if !strings.HasPrefix(shape.path, "/fhir/:type") {
			continue
		}
		if o := shape.operation; o.Name != "" {
			o.Definition = cmp.Or(shape.only[resourceType], o.Definition)
			if shape.operates(resourceType) && !slices.Contains(p.Operation, o) {
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
	for _, sp := range s.parameters().Of(resourceType) {
		p.SearchParam = append(p.SearchParam, searchParam{
			Name: sp.Name, Definition: sp.Definition, Type: string(sp.Type), Documentation: s.promise(resourceType, sp),
		})
		if sp.Type == search.ReferenceParam {
			p.SearchInclude = append(p.SearchInclude, resourceType+":"+sp.Name)
		}
	}
	if p.SearchInclude != nil {
		p.SearchInclude = append(p.SearchInclude, resourceType+":*")
	}
	return p
}

// promise is what is said of a search parameter beside its type: how it may be modified, what
// it is made of, and whether it sorts.
func (s *server) promise(resourceType string, p search.Param) string {
	var says []string
	if all := s.parameters().Modifiers(resourceType, p.Name); len(all) > 0 {
		says = append(says, ":"+strings.Join(all, ", :"))
	}
	if p.Type == search.ReferenceParam && p.Targets == nil {
		says = append(says, ":[type]")
	}
	if len(p.Components) > 0 {
		names := make([]string, len(p.Components))
		for i, c := range p.Components {
			names[i] = c.Name
		}
		says = append(says, strings.Join(names, "$"))
	}
	if p.Type == search.SpecialParam {
		says = append(says, search.NearClaim)
	}
	if p.Sortable {
		says = append(says, "sorts")
	}
	return strings.Join(says, "; ")
}
