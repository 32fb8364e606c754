package rest

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

const specParameter = "http://hl7.org/fhir/R4/searchparameter.html"

// StoredParameters are base and those that SearchParameter resources of the status active
// define. One that cannot be compiled, which a server refuses but another may have stored, is
// left out. It is what Options.Load of a store wants, for a server whose Options.Background is set.
func StoredParameters(base *search.Parameters, stored iter.Seq2[fhir.Resource, error]) (*search.Parameters, error) {
	p := base
	for r, err := range stored {
		if err != nil {
			return nil, err
		}
		c, active, err := customOf(r.JSON)
		if err != nil || !active {
			continue
		}
		if with, err := p.With(c); err == nil {
			p = with
		}
	}
	return p, nil
}

// customOf is the search parameter that a SearchParameter defines, and whether it is active.
// http://hl7.org/fhir/R4/searchparameter.html
func customOf(resource []byte) (c search.Custom, active bool, err error) {
	var r struct {
		URL        string   `json:"url"`
		Status     string   `json:"status"`
		Code       string   `json:"code"`
		Base       []string `json:"base"`
		Type       string   `json:"type"`
		Expression string   `json:"expression"`
		Target     []string `json:"target"`
		Component  []struct {
			Definition string `json:"definition"`
			Expression string `json:"expression"`
		} `json:"component"`
	}
	if err := json.Unmarshal(resource, &r); err != nil {
		return c, true, fhir.Errorf(fhir.CodeStructure, "SearchParameter", "the SearchParameter cannot be read").WithFix("send it as R4 has it").WithSpec(specParameter)
	}
	c = search.Custom{Name: r.Code, Type: search.ParamType(r.Type), Definition: r.URL, Bases: r.Base, Expression: r.Expression, Targets: r.Target}
	for _, part := range r.Component {
		definition, _, _ := strings.Cut(part.Definition, "|")
		c.Components = append(c.Components, search.CustomComponent{Name: definition, Expression: part.Expression})
	}
	return c, r.Status == "active", nil
}

// customs keeps the search parameters what the SearchParameter resources of the store say. It
// is the store of the server, so that no write passes by it.
type customs struct {
	store.Store
	s       *server
	reindex store.Reindexer
	writing sync.Mutex // of SearchParameters: each is checked against those before it

	mu             sync.Mutex
	running, stale bool
	done, total    int // resources that are indexed anew
}

// newCustoms takes over the SearchParameters that are stored. It returns when searches by them
// are answered, at once if the store was opened with StoredParameters.
func newCustoms(s *server, st store.Store, reindex store.Reindexer) *customs {
	c := &customs{Store: st, s: s, reindex: reindex}
	if err := c.adopt(context.Background()); err != nil {
		c.failed(err)
	}
	return c
}

func (c *customs) failed(err error) {
	c.s.log.LogAttrs(context.Background(), slog.LevelError, "the search parameters that the store defines are not in use", slog.Any("error", err))
}

// Explain is that of the store.
func (c *customs) Explain(ctx context.Context, q search.Query) (store.Plan, error) {
	explainer, ok := c.Store.(store.Explainer)
	if !ok {
		return store.Plan{}, errors.New("rest: the store does not explain searches")
	}
	return explainer.Explain(ctx, q)
}

// Write refuses a SearchParameter that is active and cannot be compiled. Those that are written
// are in use when the store has indexed by them, which begins now.
func (c *customs) Write(ctx context.Context, changes ...store.Change) ([]store.Result, error) {
	if !slices.ContainsFunc(changes, func(ch store.Change) bool { return ch.Type == "SearchParameter" }) {
		return c.Store.Write(ctx, changes...)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.check(ctx, changes); err != nil {
		return nil, err
	}
	results, err := c.Store.Write(ctx, changes...)
	if err == nil {
		c.changed()
	}
	return results, err
}

// check compiles what the SearchParameters would be.
func (c *customs) check(ctx context.Context, changes []store.Change) error {
	written := map[string]bool{}
	var added []search.Custom
	for _, ch := range changes {
		if ch.Type != "SearchParameter" {
			continue
		}
		written[ch.ID] = true
		if ch.Delete {
			continue
		}
		custom, active, err := customOf(ch.JSON)
		if err != nil {
			return unusable(err)
		}
		if active {
			added = append(added, custom)
		}
	}
	if added == nil {
		return nil // what is only taken away breaks nothing but composites, which are left out then
	}
	p, err := StoredParameters(c.s.Parameters, c.stored(ctx, written))
	if err != nil {
		return err
	}
	if _, err := p.With(added...); err != nil {
		return unusable(err)
	}
	return nil
}

// unusable refuses an active SearchParameter with the reasons.
func unusable(err error) *refused {
	issues := slices.Clone(fhir.IssuesOf(err))
	for i := range issues {
		issues[i].Path = "SearchParameter"
		if issues[i].Fix == "" {
			issues[i].Fix = "mend it, or store it with the status draft"
		}
		if issues[i].Spec == "" {
			issues[i].Spec = specParameter
		}
	}
	return &refused{reply{status: http.StatusUnprocessableEntity}, issues}
}

// stored are the SearchParameters of the store, but for some ids.
func (c *customs) stored(ctx context.Context, but map[string]bool) iter.Seq2[fhir.Resource, error] {
	return func(yield func(fhir.Resource, error) bool) {
		q := search.Query{Type: "SearchParameter", Count: search.MaxCount, Total: search.TotalNone, Sort: byID()}
		for {
			page, err := c.Store.Search(ctx, q)
			if err != nil {
				yield(fhir.Resource{}, err)
				return
			}
			for _, r := range page.Resources {
				if !but[r.ID] && !yield(r, nil) {
					return
				}
			}
			if q.After = page.Next; page.Next == nil {
				return
			}
		}
	}
}

// changed takes over what is stored now, in the background and one change after the other.
func (c *customs) changed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stale = true
	if c.running {
		return
	}
	c.running = true
	c.s.Background(func(ctx context.Context) {
		for c.next(ctx) {
			if err := c.adopt(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrClosed) {
				c.failed(err)
			}
		}
	})
}

// next reports whether there is something to take over.
func (c *customs) next(ctx context.Context) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = c.stale && ctx.Err() == nil
	c.stale = false
	return c.running
}

// adopt makes the store index by what is stored now, and then searches use it.
func (c *customs) adopt(ctx context.Context) error {
	p, err := StoredParameters(c.s.Parameters, c.stored(ctx, nil))
	if err != nil {
		return err
	}
	defer c.progress(0, 0)
	return c.reindex.Reindex(ctx, p, c.progress)
}

func (c *customs) progress(done, total int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done, c.total = done, total
}

// indexing tells how far the store is, and whether it is at it.
func (c *customs) indexing() (done, total int, at bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done, c.total, c.running
}

// parameters are the search parameters that are in use: those of the store, which another server
// of the same one may change, too.
func (s *server) parameters() *search.Parameters {
	if s.customs == nil {
		return s.Parameters
	}
	return s.customs.reindex.Parameters()
}
