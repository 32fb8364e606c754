package claim

import (
	"fmt"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// Stored is what a condition is asked of besides the changes of its own write: what is there,
// in one state of the store. The names and links of a query are the store's to know.
type Stored struct {
	// Knows refuses a query by a parameter that the store has no index for.
	Knows func(q search.Query) error
	// Linked runs the searches at the ends of chains, as search.Query.Resolve wants it.
	Linked func(q search.Query, found func(fhir.Key, *search.Terms) error) error
	// Find is the page of a query whose links are resolved.
	Find func(q search.Query) (store.Page, error)
}

// maxMatches is how many resources a store.MatchedError names.
const maxMatches = 2

// Unmatched checks the condition None of a change, the one that follows those whose results
// are given: the search finds what is there but for what these replace or delete, and what they
// put. The error is a *store.MatchedError if it finds anything, else one of Stored, wrapped.
func (c *Claim) Unmatched(results []store.Result, there Stored) error {
	n := len(results)
	q := *c.puts.changes[n].If.None
	if err := there.Knows(q); err != nil {
		return fmt.Errorf("change %d: condition: %w", n, err)
	}
	q, err := q.Resolve(c.linked(results, there))
	if err != nil {
		return fmt.Errorf("change %d: condition: %w", n, err)
	}
	var matches []fhir.Resource
	for i := range c.puts.matches(q, n, results) {
		if matches = append(matches, results[i].Resource); len(matches) == maxMatches {
			break
		}
	}
	q.Sort, q.Total, q.After = []search.Sort{{Param: "_id"}}, search.TotalNone, nil
	q.Count = maxMatches
	for len(matches) < maxMatches {
		page, err := there.Find(q)
		if err != nil {
			return fmt.Errorf("change %d: condition: %w", n, err)
		}
		for _, r := range page.Resources {
			if len(matches) < maxMatches && !c.puts.among(n, fhir.Key{Type: r.Type, ID: r.ID}) {
				matches = append(matches, r)
			}
		}
		if page.Next == nil {
			break
		}
		q.After, q.Count = page.Next, search.DefaultCount
	}
	if len(matches) == 0 {
		return nil
	}
	return &store.MatchedError{Change: n, Matches: matches}
}

// linked runs the searches at the ends of the chains of a condition: on what is there but
// for what earlier changes of the same write replace or delete, and on what those put.
func (c *Claim) linked(results []store.Result, there Stored) func(search.Query, func(fhir.Key, *search.Terms) error) error {
	n := len(results)
	return func(q search.Query, found func(fhir.Key, *search.Terms) error) error {
		for i := range c.puts.matches(q, n, results) {
			put := &c.puts.changes[i]
			if err := found(fhir.Key{Type: put.Type, ID: put.ID}, put.Terms); err != nil {
				return err
			}
		}
		return there.Linked(q, func(key fhir.Key, t *search.Terms) error {
			if c.puts.among(n, key) {
				return nil
			}
			return found(key, t)
		})
	}
}
