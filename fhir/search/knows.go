package search

import "errors"

// Searches reports whether resources of that type can be searched.
func (p *Parameters) Searches(resourceType string) bool {
	c := p.class(resourceType)
	return c != nil && len(c.rows) > 0
}

// TypeOf is the type of a parameter of a resource type, "" if there is none of that name.
// Unlike Lookup it copies nothing.
func (p *Parameters) TypeOf(resourceType, name string) ParamType {
	r, ok := p.lookup(resourceType, name)
	if !ok {
		return ""
	}
	return r.Type
}

// Knows refuses a query, its chains included, of a type that is not searched, or by a parameter
// that p does not have with that type. A store that has indexed by p would find nothing, which is
// no answer.
func (p *Parameters) Knows(q Query) error {
	if !p.Searches(q.Type) {
		return errors.New("resources of this type are not searched")
	}
	return p.knows(q.Type, q.Where)
}

func (p *Parameters) knows(resourceType string, where []Clause) error {
	for i := range where {
		c := &where[i]
		if name := c.Param.Name; name != "" && p.TypeOf(resourceType, name) != c.Param.Type {
			return errors.New("the store does not know a search parameter of the query, or has yet to index it")
		}
		if err := p.knows(resourceType, c.Any); err != nil {
			return err
		}
		for j := range c.Chain {
			if err := p.Knows(c.Chain[j]); err != nil {
				return err
			}
		}
		if c.Has != nil {
			if err := p.Knows(c.Has.Query); err != nil {
				return err
			}
		}
	}
	return nil
}
