package rest_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir/rest"
	"github.com/kiln-health/kiln/fhir/search"
)

type openAPI struct {
	OpenAPI string
	Info    struct{ Title, Version string }
	Servers []struct{ URL string }
	Paths   map[string]pathItem

	Components struct {
		PathItems  map[string]pathItem
		Parameters map[string]struct{ Name, In string }
		Schemas    map[string]json.RawMessage
		Responses  map[string]json.RawMessage

		RequestBodies map[string]json.RawMessage
	}
}

type pathItem map[string]json.RawMessage

func TestOpenAPIDocument(t *testing.T) {
	a := newAPI(t, rest.Options{Software: rest.Software{Version: "1.2.3"}, Validation: rest.ValidateNothing})
	var doc openAPI
	for _, url := range []string{"/openapi.json", "/fhir/openapi.json", "/openapi.json?_format=json"} {
		got := a.send(t, "GET", url, "").wantStatus(t, 200)
		if got.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: Content-Type %s", url, got.Header.Get("Content-Type"))
		}
		got.decode(t, &doc)
	}
	if doc.OpenAPI != "3.1.0" || doc.Info.Version != "1.2.3" || doc.Servers[0].URL != "http://example.com/fhir" {
		t.Errorf("%s %v %v", doc.OpenAPI, doc.Info, doc.Servers)
	}

	t.Run("has no reference that leads nowhere", func(t *testing.T) {
		raw := string(a.send(t, "GET", "/openapi.json", "").body)
		var all map[string]any
		if err := json.Unmarshal([]byte(raw), &all); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, ref := range regexp.MustCompile(`"\$ref":"#/([^"]+)"`).FindAllStringSubmatch(raw, -1) {
			if seen[ref[1]] {
				continue
			}
			seen[ref[1]] = true
			var at any = all
			for part := range strings.SplitSeq(ref[1], "/") {
				m, ok := at.(map[string]any)
				if !ok || m[part] == nil {
					t.Fatalf("%s is not there", ref[1])
				}
				at = m[part]
			}
		}
		if len(seen) < 1000 {
			t.Errorf("%d references", len(seen))
		}
	})

	t.Run("names what is there and nothing else", func(t *testing.T) {
		for path, item := range doc.Paths {
			if ref, ok := item["$ref"]; ok {
				item = doc.Components.PathItems[strings.Trim(string(ref), `"`)[len("#/components/pathItems/"):]]
			}
			if !strings.HasPrefix(path, "/Observation") && !strings.HasPrefix(path, "/Patient") && strings.Count(path, "/") > 1 {
				continue // the others are like these
			}
			url := "/fhir" + strings.NewReplacer("{id}", "x", "{version}", "1", "{compartment}", "Observation").Replace(path)
			if path == "/openapi.json" {
				url = path
			}
			allow := a.send(t, "OPTIONS", url, "").wantStatus(t, 204).Header.Get("Allow")
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
				if _, described := item[strings.ToLower(method)]; described != slices.Contains(strings.Split(allow, ", "), method) {
					t.Errorf("%s %s: described %t, but it allows %s", method, path, described, allow)
				}
			}
		}
		for _, path := range []string{"/", "/metadata", "/_search", "/Observation", "/Device/{id}", "/Patient/{id}/{compartment}", "/Patient/{id}/_history/{version}", "/Observation/$validate"} {
			if doc.Paths[path] == nil {
				t.Errorf("%s is missing", path)
			}
		}
		if doc.Paths["/Medication/{id}/{compartment}"] != nil {
			t.Error("a Medication has no compartment")
		}
	})

	t.Run("has the search parameters of each type", func(t *testing.T) {
		var get struct {
			Parameters []struct {
				Ref string `json:"$ref"`
			}
		}
		decode(t, doc.Paths["/Observation"]["get"], &get)
		var names []string
		for _, p := range get.Parameters {
			names = append(names, doc.Components.Parameters[p.Ref[len("#/components/parameters/"):]].Name)
		}
		for _, p := range search.R4().Of("Observation") {
			if !slices.Contains(names, p.Name) {
				t.Errorf("%s is missing", p.Name)
			}
		}
		if !slices.Contains(names, "_include") || slices.Contains(names, "birthdate") {
			t.Errorf("names %v", names)
		}
	})
}
