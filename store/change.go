package store

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// CheckChanges refuses what no store could apply: a type that is none, an id that is none, and
// two changes of one resource. It looks at no JSON.
func CheckChanges(changes []Change) error {
	seen := make(map[fhir.Key]bool, len(changes))
	for i := range changes {
		c := &changes[i]
		if !fhir.ValidType(c.Type) {
			return fmt.Errorf("change %d: %w", i, errType)
		}
		if !fhir.ValidID(c.ID) {
			return fmt.Errorf("change %d: %w", i, errID)
		}
		key := fhir.Key{Type: c.Type, ID: c.ID}
		if seen[key] {
			return fmt.Errorf("change %d: a %s is changed twice in one write: send one change for each resource", i, c.Type)
		}
		seen[key] = true
	}
	return nil
}

var (
	errType = errors.New("the resource type is not the name of a type")
	errID   = errors.New("the id is not 1 to 64 letters, digits, dashes and points")
)

// CheckType refuses a put of a resource that says it is of another type: stamped, it would be
// of the wrong one.
func (c *Change) CheckType() error {
	const begin = `{"resourceType":"`
	if rest, ok := bytes.CutPrefix(c.JSON, []byte(begin)); ok && bytes.HasPrefix(rest, []byte(c.Type+`"`)) {
		return nil
	}
	of, _, _, err := fhir.Parse(c.JSON)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Type, err)
	}
	if of != c.Type {
		return errors.New("the resource is not of the type that the change names")
	}
	return nil
}

// HasTerms reports whether Terms are those that p finds, in a store that was opened with opened.
func (c *Change) HasTerms(p, opened *search.Parameters) bool {
	by := c.Parameters
	if by == nil {
		by = opened
	}
	return c.Terms != nil && by == p
}
