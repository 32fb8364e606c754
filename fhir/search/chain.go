package search

import (
	"slices"
	"strings"

	"github.com/kiln-health/kiln/fhir"
)

// chain reads a condition on what a reference refers to: link is its name, with or without
// a type, and rest a condition on that. http://hl7.org/fhir/R4/search.html#chaining
func (p *parser) chain(of, link, rest, value string, depth int) (Clause, *fhir.Error) {
	bad := func(code, why, fix string) (Clause, *fhir.Error) {
		return Clause{}, fhir.Errorf(code, Shown(link+"."+rest), "%s", why).WithFix(fix).WithSpec(specSearch + "#chaining")
	}
	name, typed, named := strings.Cut(link, ":")
	r, ok := p.of.lookup(of, name)
	switch {
	case !ok:
		return bad(fhir.CodeNotSupported, of+" has no search parameter of the name in the chain", "begin each part of a chain with a reference parameter")
	case r.Type != ReferenceParam:
		return bad(fhir.CodeNotSupported, "only a reference can be followed, which the parameter is not", "search without a chain")
	case depth == MaxDepth:
		return bad(fhir.CodeTooCostly, "the chain has too many links", "search in several steps")
	}
	types := r.Targets
	_, known := p.of.lookup(typed, "_id")
	switch {
	case named && !known:
		return bad(fhir.CodeNotSupported, "the chain names no resource type", "name the type as in subject:Patient.name")
	case named && !r.mayReferTo(typed):
		return bad(fhir.CodeNotSupported, "the reference cannot be to a resource of the type in the chain", "name one of "+strings.Join(r.Targets, ", "))
	case named && !r.literal() && !isCanonical(typed):
		return bad(fhir.CodeNotSupported, "the reference is a canonical URL, which resources of the type in the chain do not have", "name a type that has one, such as Measure")
	case named:
		types = []string{typed}
	case types == nil:
		types = p.of.Types()
	}
	if !r.literal() {
		types = slices.DeleteFunc(slices.Clone(types), func(of string) bool { return !isCanonical(of) })
	}
	c := Clause{Param: clone(r.Param), Modifier: typed, Canonical: r.has(canonicalURL) || r.has(uri)}
	var fault *fhir.Error
	for _, t := range types {
		if !p.begins(t, rest) {
			continue
		}
		end, err := p.clause(t, rest, value, depth+1)
		if p.clauses > MaxClauses {
			return Clause{}, err
		}
		switch {
		case err != nil:
			if fault == nil {
				fault = err
			}
		case end.empty():
			return Clause{}, nil
		default:
			c.Chain = append(c.Chain, searchFor(t, end))
		}
	}
	if c.Chain != nil {
		return c, nil
	}
	if fault != nil {
		return Clause{}, fault
	}
	return bad(fhir.CodeNotSupported, "no type that the reference may be to has the next parameter of the chain", "use a parameter of one of "+strings.Join(types, ", "))
}

// literal reports whether values of the reference parameter lead to resources by their ids.
func (r *row) literal() bool { return r.has(reference) }

// isCanonical reports whether resources of a type have canonical URLs. The url of a Device is
// its address in a network, that of a Subscription where messages go.
func isCanonical(of string) bool {
	r, ok := R4().lookup(of, "url")
	return ok && r.Type == URIParam && of != "Device" && of != "Subscription"
}

// begins reports whether a type has the parameter that rest begins with.
func (p *parser) begins(of, rest string) bool {
	if part := strings.SplitN(rest, ":", 4); part[0] == "_has" && len(part) == 4 {
		by, ok := p.of.lookup(part[1], part[2])
		return ok && by.Type == ReferenceParam && by.mayReferTo(of)
	}
	_, ok := p.of.lookup(of, first(rest))
	return ok
}

// has reads a condition on what refers to a resource: _has:Type:reference:condition.
// http://hl7.org/fhir/R4/search.html#has
func (p *parser) has(of, name, value string, depth int) (Clause, *fhir.Error) {
	bad := func(code, why, fix string) (Clause, *fhir.Error) {
		return Clause{}, fhir.Errorf(code, Shown(name), "%s", why).WithFix(fix).WithSpec(specSearch + "#has")
	}
	part := strings.SplitN(name, ":", 4)
	if len(part) < 4 {
		return bad(fhir.CodeInvalid, "_has is not complete", "send _has:Type:reference:parameter, as in _has:Observation:patient:code")
	}
	by, ok := p.of.lookup(part[1], part[2])
	switch {
	case !ok || by.Type != ReferenceParam:
		return bad(fhir.CodeNotSupported, "_has names no reference parameter of its type", "send _has:Type:reference:parameter, as in _has:Observation:patient:code")
	case !by.literal():
		return bad(fhir.CodeNotSupported, "_has names a reference that is a canonical URL, which is not followed", "search for what has the URL as its reference")
	case !by.mayReferTo(of):
		return bad(fhir.CodeNotSupported, "_has names a reference that cannot be to what is searched for", "use a reference that may be to a "+of)
	case depth == MaxDepth:
		return bad(fhir.CodeTooCostly, "the chain has too many links", "search in several steps")
	}
	end, err := p.clause(part[1], part[3], value, depth+1)
	if err != nil || end.empty() {
		return Clause{}, err
	}
	return Clause{Has: &Has{By: clone(by.Param), Query: searchFor(part[1], end)}}, nil
}

// searchFor is the search at the end of a link.
func searchFor(of string, c Clause) Query {
	return Query{Type: of, Where: []Clause{c}, Sort: []Sort{byID}, Count: MaxCount, Total: TotalNone}
}

// Resolve is q with the resources that its chains and _has mean, as Among and AmongURLs. To come by them
// it calls run with searches that need no resolving any more, from the innermost links
// outwards. run must call found for each match of the search, on whatever page, with its key
// and its terms, which are not kept, and return the error of found as its own.
//
// More than MaxAmong resources in all are an *fhir.Error with the code too-costly. What is
// resolved already stays as it is. q is not changed.
// http://hl7.org/fhir/R4/search.html#chaining
func (q Query) Resolve(run func(sub Query, found func(fhir.Key, *Terms) error) error) (Query, error) {
	r := resolver{run: run}
	return r.query(q)
}

type resolver struct {
	run   func(sub Query, found func(fhir.Key, *Terms) error) error
	count int
}

func (r *resolver) query(q Query) (Query, error) {
	where, err := r.clauses(q.Type, q.Where)
	if err != nil {
		return Query{}, err
	}
	q.Where = where
	return q, nil
}

func (r *resolver) clauses(of string, where []Clause) ([]Clause, error) {
	where = slices.Clone(where)
	for i := range where {
		c := &where[i]
		var err error
		switch {
		case c.Any != nil:
			c.Any, err = r.clauses(of, c.Any)
		case c.Among != nil:
		case c.Chain != nil:
			c.Among, c.AmongURLs, err = r.chain(c)
		case c.Has != nil:
			c.Among, err = r.has(of, c.Has)
		}
		if err != nil {
			return nil, err
		}
	}
	return where, nil
}

// chain are the resources that one of the searches of a chain finds, and their canonical URLs if
// these lead to them.
func (r *resolver) chain(c *Clause) (among map[fhir.Key]bool, urls map[Canonical]bool, err error) {
	among = map[fhir.Key]bool{}
	if c.Canonical {
		urls = map[Canonical]bool{}
	}
	for _, sub := range c.Chain {
		err := r.find(sub, func(key fhir.Key, t *Terms) error {
			if c.Canonical && isCanonical(key.Type) {
				addURLs(urls, t)
			}
			return r.add(among, key)
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return among, urls, nil
}

// addURLs adds what a reference to a resource with those terms may say.
func addURLs(urls map[Canonical]bool, t *Terms) {
	for i := range t.URIs {
		u := &t.URIs[i]
		if u.Param != "url" {
			continue
		}
		urls[Canonical{URL: u.Value}] = true
		for j := range t.Tokens {
			if v := &t.Tokens[j]; v.Param == "version" {
				urls[Canonical{u.Value, v.Code}] = true
			}
		}
	}
}

// has are the resources of a type that a match of the search refers to.
func (r *resolver) has(of string, has *Has) (map[fhir.Key]bool, error) {
	among := map[fhir.Key]bool{}
	err := r.find(has.Query, func(_ fhir.Key, t *Terms) error {
		for i := range t.References {
			ref := &t.References[i]
			if ref.Param != has.By.Name || ref.Type != of || ref.ID == "" {
				continue
			}
			if err := r.add(among, fhir.Key{Type: ref.Type, ID: ref.ID}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return among, nil
}

func (r *resolver) find(sub Query, found func(fhir.Key, *Terms) error) error {
	sub, err := r.query(sub)
	if err != nil {
		return err
	}
	if sub.never() {
		return nil
	}
	var stopped error
	err = r.run(sub, func(key fhir.Key, t *Terms) error {
		if stopped == nil {
			stopped = found(key, t)
		}
		return stopped
	})
	if stopped != nil {
		return stopped
	}
	return err
}

// never reports whether a clause can hold for nothing, as a link that leads to nothing.
func (q Query) never() bool {
	return slices.ContainsFunc(q.Where, func(c Clause) bool { return c.Among != nil && len(c.Among) == 0 })
}

func (r *resolver) add(among map[fhir.Key]bool, key fhir.Key) error {
	key.Version = ""
	if among[key] {
		return nil
	}
	if r.count++; r.count > MaxAmong {
		return fhir.Errorf(fhir.CodeTooCostly, "", "the chains of the query lead through more than %d resources", MaxAmong).
			WithFix("narrow what is at the end of the chain, or search in several steps").WithSpec(specSearch + "#chaining")
	}
	among[key] = true
	return nil
}
