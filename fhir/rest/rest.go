// Package rest is the FHIR R4 REST API over a store: read, vread, create, update, patch and
// delete, each also on a condition; history of a resource, of a type and of everything;
// search of a type, of several and in a compartment; batch and transaction; the operations
// $validate, $lastn, $stats, $everything and $meta with its kin, and the CapabilityStatement
// and the OpenAPI document that say so.
//
// What is written is validated first, and refused with all its faults if it has any. What
// is stored is JSON, and served byte for byte: no resource is decoded on the way out. XML
// is read and written at the edge, for clients that send it or ask for it.
//
// Every refusal is an OperationOutcome that tells how to mend the request, and no
// log line, metric or outcome holds an id, a query or a value of a patient.
//
// A URL answers in one of these ways when it does not do what was asked:
//
//	404  there is no such URL, resource type, operation or resource
//	405  the URL is there, and Allow lists the methods it takes
//	501  the method is none that is known here
//
// http://hl7.org/fhir/R4/http.html
package rest

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// Options of a server. The zero value of each field means its default.
type Options struct {
	// Now is the clock, time.Now by default.
	Now func() time.Time
	// NewID makes ids of created resources and of requests that bring none: a UUID v7 by default.
	NewID func() string
	// BaseURL is what clients call the API, as in https://fhir.hospital.example/fhir: absolute,
	// without query. By default it is taken from the request: its scheme and Host, and /fhir.
	BaseURL string
	// Proxy says whether Forwarded and X-Forwarded-* tell the scheme and host of a request.
	Proxy ProxyTrust
	// Parameters are the search parameters, and the resource types, that are served:
	// search.R4() by default. The store must be opened with the same.
	Parameters *search.Parameters
	// Background runs work that outlives the request it came with, in a goroutine of its own,
	// until the work or the context that it gives to it ends; the store must stay open until
	// then. With it, SearchParameter resources of the status active define search parameters, if
	// the store is a store.Reindexer; see StoredParameters. Without it they are stored only.
	Background func(work func(context.Context))
	// Handling of unknown search parameters when a request has no Prefer: handling=….
	// search.Lenient by default. http://hl7.org/fhir/R4/search.html#errors
	Handling search.Handling
	// Validation is how thoroughly resources are checked before they are stored:
	// ValidateProfiles by default.
	Validation Validation
	// DeviceRules is what findings of device rules count as in what is stored:
	// DeviceRulesWarn by default. $validate always tells them as what they are.
	DeviceRules DeviceRules
	// ConditionalDelete says how many resources DELETE /[type]?… may delete: DeleteOne by default.
	ConditionalDelete ConditionalDelete
	// CORS are the origins whose pages may use the API from a browser, as in
	// https://app.example; "*" is any. None by default.
	CORS []string
	// MaxBody is the largest body that is read, in bytes: DefaultMaxBody by default.
	MaxBody int64
	// Timeout ends the work on a request: DefaultTimeout by default.
	Timeout time.Duration
	// Software is what the CapabilityStatement calls this program.
	Software Software
	// Logger gets one line per request: route pattern, method, status, duration, request id.
	// Nothing is logged by default.
	Logger *slog.Logger
	// Observe, if set, is called after every request, from any goroutine. The route is the
	// pattern, as in /fhir/:type/:id, and "unmatched" for an unknown URL; the method is
	// "other" for one that HTTP and FHIR do not know. Both are therefore fit for labels.
	Observe func(route, method string, status int, took time.Duration)
}

// Software names the program, in the CapabilityStatement.
type Software struct {
	Name     string    // "Kiln" by default
	Version  string    // left out if empty
	Released time.Time // left out if zero
}

// ProxyTrust says whether headers that a proxy adds are believed.
type ProxyTrust string

// DirectOnly ignores the headers of proxies, BehindProxy believes them: set it only
// where every request passes a proxy that overwrites them.
const (
	DirectOnly  ProxyTrust = ""
	BehindProxy ProxyTrust = "behind-proxy"
)

// ConditionalDelete says how many resources a conditional delete may delete.
// http://hl7.org/fhir/R4/valueset-conditional-delete-status.html
type ConditionalDelete string

// DeleteOne refuses a condition with more than one match; DeleteMultiple one with more than a
// thousand.
const (
	DeleteOne      ConditionalDelete = "single"
	DeleteMultiple ConditionalDelete = "multiple"
)

func (c ConditionalDelete) limit() int {
	if c == DeleteMultiple {
		return 1000
	}
	return 1
}

// Defaults and limits.
const (
	DefaultMaxBody = 16 << 20
	DefaultTimeout = 30 * time.Second

	maxForm  = 1 << 20  // bytes of a search form
	maxQuery = 32 << 10 // bytes of a URL's query
)

type server struct {
	Options
	store   store.Store
	shapes  []shape
	types   []string
	codings []*coding
	started time.Time
	log     *slog.Logger

	customs *customs // nil if there can be none

	claims, normative, openAPI once // documents
}

// shape is one form of URL and what may be done there.
type shape struct {
	path  string
	parts []string // of path, between its slashes
	does  []action
	// operation is the definition of the operation at this URL, if there is one. Only are its
	// definitions by the resource types that have it, nil if all have that one.
	operation operation
	only      map[string]string
}

// action is a method of a shape. Interaction is its code in the CapabilityStatement, "" if
// the shape is an operation.
// http://hl7.org/fhir/R4/valueset-restful-interaction.html
type action struct {
	method, interaction string
	run                 func(*exchange) (reply, error)
}

// New serves the resource types of the search registry from st, under /fhir. The
// handler may be used from any number of goroutines; it starts none but by Options.Background.
//
// gin prints its routes to standard output while it is in debug mode, which is a
// setting of the whole process and its default: New turns that mode into release.
func New(st store.Store, o Options) http.Handler {
	if gin.Mode() == gin.DebugMode {
		gin.SetMode(gin.ReleaseMode)
	}
	if o.Parameters == nil {
		o.Parameters = search.R4()
	}
	s := &server{Options: o, store: st, types: o.Parameters.Types(), log: o.Logger}
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.NewID == nil {
		s.NewID = func() string { return uuid.Must(uuid.NewV7()).String() }
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.MaxBody <= 0 {
		s.MaxBody = DefaultMaxBody
	}
	s.Validation = cmp.Or(s.Validation, ValidateProfiles)
	s.DeviceRules = cmp.Or(s.DeviceRules, DeviceRulesWarn)
	s.ConditionalDelete = cmp.Or(s.ConditionalDelete, DeleteOne)
	s.Timeout = cmp.Or(s.Timeout, DefaultTimeout)
	s.Software.Name = cmp.Or(s.Software.Name, "Kiln")
	s.BaseURL = strings.TrimRight(s.BaseURL, "/")
	s.started = s.Now()
	s.codings = newCodings()
	s.Parameters = o.Parameters
	if reindexer, ok := st.(store.Reindexer); ok && s.Background != nil {
		s.customs = newCustoms(s, st, reindexer)
		s.store = s.customs
	}
	s.shapes = s.routes()
	for i := range s.shapes {
		s.shapes[i].parts = strings.Split(s.shapes[i].path, "/")
	}

	g := gin.New()
	g.RedirectTrailingSlash = false
	g.RemoveExtraSlash = true
	g.Use(s.observe, s.recover, s.cors)
	for _, shape := range s.shapes {
		for _, method := range knownMethods {
			g.Handle(method, shape.path, s.serve(shape))
		}
	}
	g.NoRoute(s.serve(shape{}))
	return g
}

// routes is the API: the router and the CapabilityStatement are both made from it.
func (s *server) routes() []shape {
	validation := operation{Name: "validate", Definition: defined + "Resource-validate"}
	meta := operation{Name: "meta", Definition: defined + "Resource-meta"}
	metaAdd := operation{Name: "meta-add", Definition: defined + "Resource-meta-add"}
	metaDelete := operation{Name: "meta-delete", Definition: defined + "Resource-meta-delete"}
	system := []action{
		{http.MethodGet, "search-system", s.search},
		{http.MethodPost, "transaction", s.bundle},
		{http.MethodPost, "batch", s.bundle},
	}
	document := []action{{http.MethodGet, "", s.describe}}
	return []shape{
		{path: "/fhir", does: system},
		{path: "/fhir/", does: system},
		{path: "/openapi.json", does: document},
		{path: "/fhir/openapi.json", does: document},
		{path: "/fhir/metadata", does: []action{{http.MethodGet, "capabilities", s.capabilities}}},
		{path: "/fhir/_search", does: []action{{http.MethodPost, "search-system", s.search}}},
		{path: "/fhir/_history", does: []action{{http.MethodGet, "history-system", s.history}}},
		{path: "/fhir/$meta", operation: meta, does: asked(s.metaInUse)},
		{path: "/fhir/:type", does: []action{
			{http.MethodGet, "search-type", s.search},
			{http.MethodPost, "create", s.create},
			{http.MethodPut, "update", s.update},
			{http.MethodPatch, "patch", s.patch},
			{http.MethodDelete, "delete", s.delete},
		}},
		{path: "/fhir/:type/_search", does: []action{{http.MethodPost, "search-type", s.search}}},
		{path: "/fhir/:type/$validate", operation: validation, does: []action{{http.MethodPost, "", s.validate}}},
		{path: "/fhir/:type/$lastn", operation: operation{Name: "lastn"}, only: map[string]string{"Observation": defined + "Observation-lastn"}, does: asked(s.lastN)},
		{path: "/fhir/:type/$stats", operation: operation{Name: "stats"}, only: map[string]string{"Observation": defined + "Observation-stats"}, does: asked(s.statistics)},
		{path: "/fhir/:type/$meta", operation: meta, does: asked(s.metaInUse)},
		{path: "/fhir/:type/_history", does: []action{{http.MethodGet, "history-type", s.history}}},
		{path: "/fhir/:type/:id", does: []action{
			{http.MethodGet, "read", s.read},
			{http.MethodPut, "update", s.update},
			{http.MethodPatch, "patch", s.patch},
			{http.MethodDelete, "delete", s.delete},
		}},
		{path: "/fhir/:type/:id/_history", does: []action{{http.MethodGet, "history-instance", s.history}}},
		{path: "/fhir/:type/:id/_history/:version", does: []action{{http.MethodGet, "vread", s.read}}},
		{path: "/fhir/:type/:id/$validate", operation: validation, does: asked(s.validate)},
		{path: "/fhir/:type/:id/$everything", operation: operation{Name: "everything"}, only: everythingOf(), does: asked(s.everything)},
		{path: "/fhir/:type/:id/$meta", operation: meta, does: asked(s.meta)},
		{path: "/fhir/:type/:id/$meta-add", operation: metaAdd, does: []action{{http.MethodPost, "", s.metaAdd}}},
		{path: "/fhir/:type/:id/$meta-delete", operation: metaDelete, does: []action{{http.MethodPost, "", s.metaDelete}}},
		{path: "/fhir/:type/:id/_history/:version/$meta", operation: meta, does: asked(s.meta)},
		{path: "/fhir/:type/:id/_history/:version/$meta-add", operation: metaAdd, does: []action{{http.MethodPost, "", s.metaAdd}}},
		{path: "/fhir/:type/:id/_history/:version/$meta-delete", operation: metaDelete, does: []action{{http.MethodPost, "", s.metaDelete}}},
		{path: "/fhir/:type/:id/_search", does: []action{{http.MethodPost, "search-type", s.search}}},
		{path: "/fhir/:type/:id/:compartment", does: []action{{http.MethodGet, "search-type", s.search}}},
		{path: "/fhir/:type/:id/:compartment/_search", does: []action{{http.MethodPost, "search-type", s.search}}},
	}
}

// defined is what the URLs of the OperationDefinitions of FHIR begin with.
const defined = "http://hl7.org/fhir/OperationDefinition/"

// asked is what a shape does if it is an operation that changes nothing.
// http://hl7.org/fhir/R4/operations.html#executing
func asked(run func(*exchange) (reply, error)) []action {
	return []action{{http.MethodGet, "", run}, {http.MethodPost, "", run}}
}

// knownMethods are those that a shape answers itself, with 405 where it has no use for them.
var knownMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut,
	http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// action is what the shape does on a method. HEAD is GET without the body:
// http://hl7.org/fhir/R4/http.html#head
func (p shape) action(method string) (action, bool) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	i := slices.IndexFunc(p.does, func(a action) bool { return a.method == method })
	if i < 0 {
		return action{}, false
	}
	return p.does[i], true
}

// allow is the Allow header of the shape.
func (p shape) allow() string {
	var methods []string
	for _, a := range p.does {
		if slices.Contains(methods, a.method) {
			continue
		}
		methods = append(methods, a.method)
		if a.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	return strings.Join(append(methods, http.MethodOptions), ", ")
}
