package main

import (
	"fmt"
	"slices"
)

// A hierarchy is which codes of a system are kinds of which others.
type hierarchy struct {
	system  string
	anyCase bool
	codes   []string            // those that have a place in it, in the order of the system
	parents map[string][]string // of a code: those right above it
}

// hierarchies are those of the code systems that are published as a whole and whose nesting
// means "is a", or which do not say what it means: then the standard takes it for that.
// http://hl7.org/fhir/R4/codesystem.html#hierarchy
func (m *material) hierarchies() []hierarchy {
	var all []hierarchy
	for _, url := range sortedKeys(m.codeSystems) {
		s := m.codeSystems[url]
		if s.Content != "complete" || s.HierarchyMeaning != "" && s.HierarchyMeaning != "is-a" {
			continue
		}
		h := hierarchy{system: url, anyCase: s.CaseSensitive != nil && !*s.CaseSensitive, parents: map[string][]string{}}
		g := s.graph()
		placed := map[string]bool{}
		for _, parent := range g.order {
			for _, child := range g.children[parent] {
				if !slices.Contains(g.order, child) || slices.Contains(h.parents[child], parent) {
					continue
				}
				h.parents[child] = append(h.parents[child], parent)
				placed[parent], placed[child] = true, true
			}
		}
		for _, code := range g.order {
			if placed[code] && !slices.Contains(h.codes, code) {
				h.codes = append(h.codes, code)
			}
		}
		if len(h.codes) > 0 {
			all = append(all, h)
		}
	}
	return all
}

// order is the codes so that each comes behind those above it.
func (h *hierarchy) order() ([]string, error) {
	var order []string
	done, within := map[string]bool{}, map[string]bool{}
	var visit func(code string) error
	visit = func(code string) error {
		switch {
		case done[code]:
			return nil
		case within[code]:
			return fmt.Errorf("code %s is above itself", code)
		}
		within[code] = true
		for _, p := range h.parents[code] {
			if err := visit(p); err != nil {
				return err
			}
		}
		done[code] = true
		order = append(order, code)
		return nil
	}
	for _, code := range h.codes {
		if err := visit(code); err != nil {
			return nil, err
		}
	}
	return order, nil
}
