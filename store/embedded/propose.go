package embedded

import (
	"bytes"
	"slices"
	"strings"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// clause is the plan that one clause gives, if an index has what it asks for. exact: the
// clause holds for all that the plan gives. Of the rest Matches decides.
func (p *planner) clause(c *search.Clause) (one plan, exact, ok bool) {
	switch {
	case c.Any != nil:
		return p.any(c.Any)
	case c.Chain != nil:
		return p.linked(c)
	case c.Has != nil || c.Among != nil:
		return p.among(c.Among)
	case len(c.Values) == 0:
		return plan{}, false, false
	case c.Param.Name == "_id":
		return p.ids(c)
	}
	switch {
	case c.Param.Type == search.TokenParam && slices.Contains([]string{"", "in", "above", "below", "of-type"}, c.Modifier):
		return p.token(c)
	case c.Param.Type == search.ReferenceParam && c.Modifier == "identifier":
		prefixes, exact, ok := p.tokens(p.prefix(equalKey, identifierName(c.Param.Name)), c.Values)
		return p.equal(c.Param.Name, rankIdentifier, prefixes, exact, ok)
	case c.Param.Type == search.ReferenceParam && c.Modifier != "missing":
		return p.references(c.Param.Name, c.Values)
	case c.Param.Type == search.StringParam && c.Modifier != "missing":
		return p.texts(c)
	case c.Param.Type == search.URIParam && c.Modifier != "missing" && !unindexed(c.Param.Name):
		return p.uris(c)
	case c.Modifier != "":
		return plan{}, false, false
	case c.Param.Name == "_lastUpdated":
		one, ok = p.updated(c)
		return one, false, ok
	case c.Param.Type == search.DateParam:
		one, ok = p.dates(c)
		return one, false, ok
	case c.Param.Type == search.QuantityParam, c.Param.Type == search.NumberParam:
		one, ok = p.quantities(c)
		return one, false, ok
	case c.Param.Type == search.CompositeParam:
		return p.composite(c)
	}
	return plan{}, false, false
}

// names are those under which values of a parameter are indexed.
func (p *planner) names(param string) []string {
	all := append([]string{param}, contained(param)...)
	if p.parts {
		all = append(all, partName(param))
	}
	return all
}

// equal is the plan that reads what follows the prefixes.
func (p *planner) equal(index string, r rank, prefixes [][]byte, exact, ok bool) (plan, bool, bool) {
	if prefixes = distinct(prefixes); !ok || len(prefixes) > p.view.limits.ranges/2 {
		return plan{}, false, false
	}
	one := p.dated(prefixes)
	one.rank, one.indexes = r, []string{index}
	return one, exact, true
}

func (p *planner) ids(c *search.Clause) (one plan, exact, ok bool) {
	if c.Modifier != "" {
		return plan{}, false, false
	}
	ids := make([]string, 0, len(c.Values))
	for i := range c.Values {
		if id := c.Values[i].Code; fhir.ValidID(id) {
			ids = append(ids, id)
		}
	}
	return p.byIDs(ids), true, true
}

func (p *planner) byIDs(ids []string) plan {
	slices.Sort(ids)
	one := plan{order: byID, ids: slices.Compact(ids), once: true, rank: rankID, indexes: []string{"_id"}}
	if len(ids) > p.view.limits.ids {
		one.rank = rankCommon
	}
	return one
}

// among is the plan for resources that are known.
func (p *planner) among(among map[fhir.Key]bool) (one plan, exact, ok bool) {
	ids := make([]string, 0, len(among))
	for key := range among {
		if key.Type == p.q.Type && fhir.ValidID(key.ID) {
			ids = append(ids, key.ID)
		}
	}
	return p.byIDs(ids), true, true
}

// linked is the plan for references to resources that are known, by their ids or their canonical
// URLs, unless they are many.
func (p *planner) linked(c *search.Clause) (one plan, exact, ok bool) {
	if len(c.Among)+len(c.AmongURLs) > p.view.limits.linked {
		return plan{}, false, false
	}
	values := make([]search.Value, 0, len(c.Among)+len(c.AmongURLs))
	for key := range c.Among {
		values = append(values, search.Value{RefType: key.Type, RefID: key.ID})
	}
	for url := range c.AmongURLs {
		if url.Version == "" { // the index has no versions: with it are those that name one
			values = append(values, search.Value{URL: url.URL})
		}
	}
	one, exact, ok = p.references(c.Param.Name, values)
	return one, exact && len(c.AmongURLs) == 0, ok
}

// any is the plan that reads what one of several clauses gives. Where all of their indexes
// are in one order, so is the plan.
func (p *planner) any(clauses []search.Clause) (all plan, exact, ok bool) {
	exact = true
	for i := range clauses {
		one, sure, ok := p.clause(&clauses[i])
		if !ok || slices.ContainsFunc(one.ranges, func(r keyRange) bool { return r.values == currents }) {
			return plan{}, false, false
		}
		exact = exact && sure
		if i == 0 {
			all = one
			continue
		}
		if all.order == unordered || one.order != all.order || all.ids != nil || one.ids != nil {
			all.order, all.dated, all.once = unordered, false, false
		}
		all.dated = all.dated && one.dated
		all.ranges, all.ids = append(all.ranges, one.ranges...), append(all.ids, one.ids...)
		all.rank = max(all.rank, one.rank)
		all.indexes = append(all.indexes, one.indexes...)
	}
	if len(all.ranges) > p.view.limits.ranges {
		all.order, all.once = unordered, false
	}
	return all, exact, len(all.ranges) <= p.view.limits.ranges+p.view.limits.series
}

func (p *planner) token(c *search.Clause) (one plan, exact, ok bool) {
	var prefixes [][]byte
	all := p.names(c.Param.Name)
	exact = len(all) == 1
	for _, name := range all {
		if !p.findsAll(name, c.Values) {
			return plan{}, false, false
		}
		if c.Modifier == "of-type" {
			name += ":of-type"
		}
		some, sure, ok := p.tokens(p.prefix(equalKey, name), c.Values)
		if !ok {
			return plan{}, false, false
		}
		prefixes, exact = append(prefixes, some...), exact && sure
	}
	return p.equal(c.Param.Name, rankOfToken(c.Param.Name), prefixes, exact, true)
}

func rankOfToken(name string) rank {
	switch name {
	case "identifier":
		return rankIdentifier
	case "category", "status", "gender", "active":
		return rankCommon
	}
	return rankCode
}

func (p *planner) rankOfReference(name string) rank {
	if name != "patient" && name != "subject" {
		return rankReference
	}
	r := rankPatient
	for i := range p.q.Where {
		c := &p.q.Where[i]
		if !p.layout.decidable(c) || !slices.Contains([]string{"", "in", "above", "below"}, c.Modifier) {
			continue
		}
		switch c.Param.Name {
		case "code", "combo-code", "component-code":
			return rankPatientCode
		case "category":
			r = rankPatientCategory
		}
	}
	return r
}

// findsAll reports whether all resources that have one of the values have a key of it.
func (p *planner) findsAll(name string, values []search.Value) bool {
	return !slices.ContainsFunc(values, func(v search.Value) bool {
		if codes := v.Set.Codes(); codes != nil {
			return slices.ContainsFunc(codes, func(t search.Token) bool { return usual(p.q.Type, name, t.Code) })
		}
		if v.AnyCode || v.Set != nil {
			return slices.ContainsFunc([]string{"final", "vital-signs"}, func(code string) bool { return usual(p.q.Type, name, code) })
		}
		return usual(p.q.Type, name, v.Code)
	})
}

// tokens are the beginnings of the keys with that prefix of all resources that may have one
// of the values, and whether all that have such a key do. Where a value does not say which
// code is meant, those that there are are compared, if they are few.
func (p *planner) tokens(prefix []byte, values []search.Value) (prefixes [][]byte, exact, ok bool) {
	exact = true
	var open []*search.Value
	for i := range values {
		v := &values[i]
		exact = exact && max(len(v.Code), len(v.System)) < maxTerm
		switch {
		case v.Set.Codes() != nil:
			for _, t := range v.Set.Codes() {
				exact = exact && max(len(t.Code), len(t.System)) < maxTerm
				prefixes = append(prefixes, appendTerm(appendTerm(bytes.Clone(prefix), t.Code), t.System))
			}
		case v.AnyCode || v.Set != nil:
			open = append(open, v)
		case v.AnySystem:
			systems, few := p.textsBehind(appendTerm(bytes.Clone(prefix), v.Code), 1, p.view.limits.systems)
			if !few {
				return nil, false, false
			}
			for _, s := range systems {
				prefixes = append(prefixes, s.prefix)
			}
		default:
			prefixes = append(prefixes, appendTerm(appendTerm(bytes.Clone(prefix), v.Code), v.System))
		}
	}
	if open == nil {
		return prefixes, exact, true
	}
	there, few := p.textsBehind(prefix, 2, p.view.limits.distinct)
	if !few {
		return nil, false, false
	}
	for _, one := range there {
		code, system := one.texts[0], one.texts[1]
		cut := max(len(code), len(system)) >= maxTerm
		if cut || slices.ContainsFunc(open, func(v *search.Value) bool {
			return v.Set != nil && v.Set.Contains(system, code) || v.Set == nil && (v.AnySystem || v.System == system)
		}) {
			prefixes, exact = append(prefixes, one.prefix), exact && !cut
		}
	}
	return prefixes, exact, true
}

// references is the plan for references to one of the values. What refers to a patient lies
// in the series of the patient.
func (p *planner) references(param string, values []search.Value) (one plan, exact, ok bool) {
	all := p.names(param)
	exact = len(all) == 1
	var prefixes [][]byte
	var patients []*ofPatient
	for _, name := range all {
		for i := range values {
			v := &values[i]
			exact = exact && v.Version == "" && max(len(v.RefID), len(v.URL)) < maxTerm
			if v.URL != "" {
				prefixes = append(prefixes, appendTerm(p.term(urlName(name), v.URL), ""))
			}
			if v.RefID == "" {
				continue
			}
			if (v.RefType == "" || v.RefType == "Patient") && bit(seriesReferences, p.layout.references, name) != 0 {
				exact = false // but for series the definition decides
				of := p.ofPatient(v.RefID)
				if p.err != nil || of.many {
					return plan{}, false, false
				}
				if !slices.Contains(patients, of) {
					patients = append(patients, of)
				}
				if v.RefType != "" && !of.more {
					continue
				}
			}
			if v.RefType != "" {
				prefixes = append(prefixes, appendTerm(p.term(name, v.RefID), v.RefType))
			} else if types, few := p.textsBehind(p.term(name, v.RefID), 1, p.view.limits.systems); few {
				for _, t := range types {
					prefixes = append(prefixes, t.prefix)
				}
			} else {
				return plan{}, false, false
			}
		}
	}
	index, rank := param, p.rankOfReference(param)
	switch rank {
	case rankPatientCode:
		index += " and code"
	case rankPatientCategory:
		index += " and category"
	}
	one, exact, ok = p.equal(index, rank, prefixes, exact, true)
	if !ok {
		return plan{}, false, false
	}
	inSeries := 0
	for _, of := range patients {
		one.ranges = append(one.ranges, of.ranges...)
		inSeries += len(of.ranges)
	}
	if inSeries > p.view.limits.merged {
		one.order, one.once = unordered, len(prefixes) == 0
	}
	return one, exact, inSeries <= p.view.limits.series
}

// composite is the plan of the first component that gives one: a token or a reference.
func (p *planner) composite(c *search.Clause) (one plan, exact, ok bool) {
	for i, component := range c.Param.Components {
		if component.Type != search.TokenParam && component.Type != search.ReferenceParam {
			continue
		}
		part := search.Clause{Param: component}
		for j := range c.Values {
			if len(c.Values[j].Parts) == len(c.Param.Components) {
				part.Values = append(part.Values, c.Values[j].Parts[i])
			}
		}
		p.parts = true
		one, _, ok := p.clause(&part)
		p.parts = false
		if ok {
			return one, false, true
		}
	}
	return plan{}, false, false
}

// texts is the plan for strings: a range for a beginning or all of a text, and all of the
// index for a part of one.
func (p *planner) texts(c *search.Clause) (one plan, exact, ok bool) {
	one = plan{rank: rankText, indexes: []string{c.Param.Name}}
	all := p.names(c.Param.Name)
	for _, name := range all {
		start := p.prefix(textKey, name)
		for i := range c.Values {
			want := c.Values[i].String
			r := keyRange{cut: len(start), texts: 1}
			switch c.Modifier {
			case "":
				r.lower = appendPrefix(bytes.Clone(start), cutAt(want, maxText))
			case "exact":
				r.lower = appendText(bytes.Clone(start), cutAt(search.Fold(want), maxText))
			case "contains":
				one.rank = rankPart
				r.lower = start
				r.keep = func(rest []byte) bool {
					text, _, ok := cutText(rest)
					return !ok || len(text) >= maxText || strings.Contains(text, want)
				}
			default:
				return plan{}, false, false
			}
			r.upper = after(r.lower)
			one.ranges = append(one.ranges, r)
		}
	}
	return one, false, len(one.ranges) <= p.view.limits.ranges
}

// uris is the plan for URIs: one, what is below it, or those above it.
func (p *planner) uris(c *search.Clause) (one plan, exact, ok bool) {
	one = plan{order: byID, rank: rankReference, once: true, indexes: []string{c.Param.Name}}
	start := p.prefix(textKey, c.Param.Name)
	equal := func(uri string) {
		prefix := appendText(bytes.Clone(start), cutAt(uri, maxText))
		one.ranges = append(one.ranges, keyRange{lower: prefix, upper: after(prefix), cut: len(prefix)})
	}
	for i := range c.Values {
		uri := c.Values[i].String
		switch c.Modifier {
		case "":
			equal(uri)
		case "above":
			for n := range len(uri) {
				if strings.IndexByte("/?#:|", uri[n]) >= 0 { // what is above ends before or behind it
					equal(uri[:n])
					equal(uri[:n+1])
				}
			}
			equal(uri)
		case "below":
			one.order, one.once = unordered, false
			prefix := appendPrefix(bytes.Clone(start), cutAt(uri, maxText))
			one.ranges = append(one.ranges, keyRange{lower: prefix, upper: after(prefix), cut: len(start), texts: 1})
		default:
			return plan{}, false, false
		}
	}
	return one, false, len(one.ranges) <= p.view.limits.ranges
}

// quantities is the plan for a range of numbers, in each unit that a value may be in.
func (p *planner) quantities(c *search.Clause) (plan, bool) {
	one := plan{rank: rankQuantity, indexes: []string{c.Param.Name}}
	for _, name := range p.names(c.Param.Name) {
		codes, few := p.textsBehind(p.prefix(quantityKey, name), 1, p.view.limits.codes)
		if !few {
			return plan{}, false
		}
		for i := range c.Values {
			v := &c.Values[i]
			for _, code := range codes {
				s := spanOf(v)
				if !v.AnySystem && !v.AnyCode && c.Param.Type == search.QuantityParam {
					s = spanIn(v, code.texts[0])
				}
				if s.from <= s.to {
					one.ranges = append(one.ranges, s.ranges(code.prefix)...)
				}
			}
		}
	}
	return one, len(one.ranges) <= p.view.limits.ranges
}
