package rest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/kiln-health/kiln/fhir/search"
)

// object is one of JSON.
type object = map[string]any

// describe answers with an OpenAPI document, made from the tables that route and search.
// https://spec.openapis.org/oas/v3.1.0
func (s *server) describe(x *exchange) (reply, error) {
	head, err := json.Marshal(object{
		"openapi": "3.1.0",
		"info": object{
			"title": s.Software.Name, "version": s.release(), "summary": "FHIR R4 REST API",
			"description": "What each resource type can do is told by its CapabilityStatement, too: GET /metadata. http://hl7.org/fhir/R4/http.html",
		},
		"servers": []object{{"url": x.base}},
	})
	if err != nil {
		return reply{}, err
	}
	rest, err := s.openAPI.of(s.parameters(), func() ([]byte, error) { return json.Marshal(s.description()) })
	if err != nil {
		return reply{}, err
	}
	body := make([]byte, 0, len(head)+len(rest))
	body = append(append(body, head[:len(head)-1]...), ',')
	return reply{status: http.StatusOK, body: append(body, rest[1:]...), media: "application/json"}, nil
}

// release is the version of the API, which OpenAPI demands.
func (s *server) release() string {
	if s.Software.Version != "" {
		return s.Software.Version
	}
	return "unknown"
}

// description is the part of the document that does not depend on the request. What is the
// same for all resource types is there once.
func (s *server) description() object {
	paths, items := object{}, object{}
	parameters := object{
		"id":      pathParameter("id", "of the resource: 1 to 64 of A-Z a-z 0-9 - and ."),
		"version": pathParameter("version", "the versionId"),
		"member":  pathParameter("compartment", "a resource type, or * for all that are in the compartment"),
	}
	for _, p := range resultParams() {
		parameters[p.Name] = queryParameter(p.Name, p.Documentation)
	}
	for _, p := range s.shapes {
		behind, typed := strings.CutPrefix(p.path, "/fhir/:type")
		switch {
		case p.path == "/fhir/" || len(p.does) == 0:
		case !typed:
			to := strings.TrimPrefix(p.path, "/fhir")
			if to == "" {
				to = "/"
			}
			paths[to] = p.item()
		case behind == "":
			for _, t := range s.types {
				item := p.item()
				if get, ok := item["get"].(object); ok {
					get["parameters"] = s.queries(t, parameters)
				}
				paths["/"+t] = item
			}
		default:
			name := strings.Trim(strings.NewReplacer("/", "-", ":", "", "$", "").Replace(behind), "-")
			items[name] = p.item()
			to := strings.NewReplacer(":id", "{id}", ":version", "{version}", ":compartment", "{compartment}").Replace(behind)
			for _, t := range s.types {
				if p.servesType(t) {
					paths["/"+t+to] = object{"$ref": "#/components/pathItems/" + name}
				}
			}
		}
	}
	return object{
		"paths": paths,
		"components": object{
			"pathItems":  items,
			"parameters": parameters,
			"schemas": object{"Resource": object{
				"type": "object", "required": []string{"resourceType"}, "properties": object{"resourceType": object{"type": "string"}},
				"description": "a FHIR R4 resource: http://hl7.org/fhir/R4/resourcelist.html",
			}},
			"requestBodies": object{
				"resource": object{"required": true, "content": inFHIR()},
				"patch": object{"required": true, "content": object{
					jsonPatch: object{}, "application/fhir+json": ofResource(), "application/fhir+xml": object{},
				}},
				"form": object{"content": object{"application/x-www-form-urlencoded": object{
					"schema": object{"type": "object", "additionalProperties": object{"type": "string"}},
				}}},
			},
			"responses": object{
				"done":    object{"description": "what was asked for: a resource, a Bundle or nothing", "content": inFHIR()},
				"refused": object{"description": "an OperationOutcome, which says how to mend the request", "content": inFHIR()},
			},
		},
	}
}

// servesType reports whether there is something at a URL of that form for a type.
func (p shape) servesType(t string) bool {
	if p.operation.Name != "" {
		return p.operates(t)
	}
	compartment := strings.Contains(p.path, ":compartment") || p.path == "/fhir/:type/:id/_search"
	return !compartment || slices.ContainsFunc(compartments[:], func(c compartmentOf) bool { return c.of == t })
}

// item describes the methods of a shape.
func (p shape) item() object {
	item := object{}
	var in []object
	for _, v := range [...][2]string{{":id", "id"}, {":version", "version"}, {":compartment", "member"}} {
		if slices.Contains(p.parts, v[0]) {
			in = append(in, object{"$ref": "#/components/parameters/" + v[1]})
		}
	}
	if in != nil {
		item["parameters"] = in
	}
	for _, a := range p.does {
		method := strings.ToLower(a.method)
		if item[method] != nil {
			continue // of batch and transaction
		}
		does := object{"summary": p.summary(a), "responses": object{
			"2XX": object{"$ref": "#/components/responses/done"}, "default": object{"$ref": "#/components/responses/refused"},
		}}
		switch body := ""; a.method {
		case http.MethodPost, http.MethodPut, http.MethodPatch:
			body = "resource"
			if a.method == http.MethodPatch {
				body = "patch"
			} else if strings.HasPrefix(a.interaction, "search") {
				body = "form"
			}
			does["requestBody"] = object{"$ref": "#/components/requestBodies/" + body}
		}
		item[method] = does
	}
	return item
}

// summary says what a method does.
func (p shape) summary(a action) string {
	switch {
	case p.operation.Name != "":
		return "$" + p.operation.Name
	case a.interaction == "transaction":
		return "transaction or batch"
	case p.path == "/fhir/:type" && a.method != http.MethodGet && a.method != http.MethodPost:
		return a.interaction + ", of what matches the query"
	}
	return a.interaction
}

// queries are references to the parameters of a search, which are added to the components.
func (s *server) queries(t string, components object) []object {
	var all []object
	add := func(name string) { all = append(all, object{"$ref": "#/components/parameters/" + name}) }
	for _, p := range s.parameters().Of(t) {
		name := p.Name
		if name[0] != '_' {
			name = t + "." + name
		}
		if components[name] == nil {
			says := string(p.Type)
			if more := s.promise(t, p); more != "" {
				says += "; " + more
			}
			components[name] = queryParameter(p.Name, says)
		}
		add(name)
	}
	for _, p := range resultParams() {
		if p.Name != "_type" {
			add(p.Name)
		}
	}
	add(search.CursorParam)
	components[search.CursorParam] = queryParameter(search.CursorParam, "of a next link")
	return all
}

func queryParameter(name, says string) object {
	return object{"name": name, "in": "query", "description": says, "schema": object{"type": "array", "items": object{"type": "string"}}}
}

func pathParameter(name, says string) object {
	return object{"name": name, "in": "path", "required": true, "description": says, "schema": object{"type": "string"}}
}

func inFHIR() object {
	return object{"application/fhir+json": ofResource(), "application/fhir+xml": object{}}
}

func ofResource() object {
	return object{"schema": object{"$ref": "#/components/schemas/Resource"}}
}
