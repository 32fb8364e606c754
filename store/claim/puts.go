package claim

import (
	"iter"
	"slices"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// puts are the changes of a write, ready to be searched.
type puts struct {
	changes []store.Change         // with their terms
	of      map[fhir.Key]int       // which change is of a resource
	tokens  map[search.Token][]int // which changes have a token
}

// newPuts finds the terms of what is put. JSON that has none fails later, when it is written.
func newPuts(changes []store.Change, params, opened *search.Parameters) *puts {
	p := &puts{changes: slices.Clone(changes), of: make(map[fhir.Key]int, len(changes)), tokens: map[search.Token][]int{}}
	for i := range p.changes {
		c := &p.changes[i]
		p.of[fhir.Key{Type: c.Type, ID: c.ID}] = i
		if c.Delete {
			continue
		}
		if !c.HasTerms(params, opened) {
			c.Terms = nil
			terms, err := params.Extract(c.Type, c.JSON)
			if err != nil {
				continue
			}
			c.Terms, c.Parameters = &terms, params
		}
		for _, t := range c.Terms.Tokens {
			p.tokens[t] = append(p.tokens[t], i)
		}
	}
	return p
}

// among reports whether one of the first n changes is of a resource.
func (p *puts) among(n int, key fhir.Key) bool {
	i, ok := p.of[key]
	return ok && i < n
}

// matches gives the first n changes that put what matches q. results, if there are any,
// tell their lastUpdated.
func (p *puts) matches(q search.Query, n int, results []store.Result) iter.Seq[int] {
	return func(yield func(int) bool) {
		try := func(i int) (more bool) {
			c := &p.changes[i]
			if i >= n || c.Terms == nil || c.Delete {
				return true
			}
			var r fhir.Resource
			if results != nil {
				r = results[i].Resource
			}
			return !q.Matches(fhir.Key{Type: c.Type, ID: c.ID}, r.LastUpdated, c.Terms) || yield(i)
		}
		// Many changes with a condition each are the rule, and most conditions ask for an identifier.
		if t, ok := token(q); ok {
			for _, i := range p.tokens[t] {
				if !try(i) {
					return
				}
			}
			return
		}
		for i := range n {
			if !try(i) {
				return
			}
		}
	}
}

// token is one that whatever matches q has, if q asks for one with system and code.
func token(q search.Query) (search.Token, bool) {
	for i := range q.Where {
		c := &q.Where[i]
		if c.Param.Type != search.TokenParam || c.Param.Name == "_id" || c.Chain != nil || c.Any != nil || c.Modifier != "" || len(c.Values) != 1 {
			continue
		}
		if v := &c.Values[0]; !v.AnySystem && !v.AnyCode {
			return search.Token{Param: c.Param.Name, System: v.System, Code: v.Code}, true
		}
	}
	return search.Token{}, false
}
