package store

import "github.com/kiln-health/kiln/fhir/search"

// AddResidual notes a clause that was decided by reading resources, without its values.
func (p *Plan) AddResidual(c *search.Clause) { p.Residual = append(p.Residual, described(c)) }

// described is a clause without its values.
func described(c *search.Clause) string {
	switch {
	case c.Any != nil:
		return "one of several"
	case c.Has != nil:
		return "_has:" + c.Has.Query.Type + ":" + c.Has.By.Name
	case c.Chain != nil:
		return c.Param.Name + ", followed"
	case c.Param.Name == "":
		return "_id"
	case c.Modifier != "":
		return c.Param.Name + ":" + c.Modifier
	}
	return c.Param.Name
}
