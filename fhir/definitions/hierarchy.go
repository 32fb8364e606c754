package definitions

import (
	"slices"
	"strings"
	"sync"
)

// Hierarchy says which codes of a code system subsume which others. There is one for each
// system that is published with FHIR as a whole and nests its codes.
// http://hl7.org/fhir/R4/codesystem.html#hierarchy
type Hierarchy struct {
	System  string
	AnyCase bool // the system does not tell upper from lower case

	codes    []string // those that have a place in it; a code comes behind those above it
	parents  [][]int  // of a code: those right above it
	children [][]int
	places   map[string]int
}

// HierarchyOf is the hierarchy of a code system, by its URL.
func HierarchyOf(system string) (*Hierarchy, bool) {
	h, ok := hierarchies()[system]
	return h, ok
}

// Hierarchies are the URLs of the code systems that have a hierarchy, sorted.
func Hierarchies() []string {
	all := make([]string, 0, len(hierarchies()))
	for system := range hierarchies() {
		all = append(all, system)
	}
	slices.Sort(all)
	return all
}

// Codes are those that have a place in the hierarchy: one above or below them. The slice is shared.
func (h *Hierarchy) Codes() []string { return h.codes[:len(h.codes):len(h.codes)] }

// Has reports whether a code has a place in the hierarchy.
func (h *Hierarchy) Has(code string) bool { return h.place(code) >= 0 }

// Below are a code and all that it subsumes, sorted. A code without a place in the hierarchy
// subsumes itself alone. http://hl7.org/fhir/R4/codesystem.html#subsumption
func (h *Hierarchy) Below(code string) []string { return h.reach(code, h.children) }

// Above are a code and all that subsume it, sorted.
func (h *Hierarchy) Above(code string) []string { return h.reach(code, h.parents) }

func (h *Hierarchy) place(code string) int {
	if i, ok := h.places[code]; ok {
		return i
	}
	if h.AnyCase {
		return slices.IndexFunc(h.codes, func(c string) bool { return strings.EqualFold(c, code) })
	}
	return -1
}

func (h *Hierarchy) reach(code string, next [][]int) []string {
	start := h.place(code)
	if start < 0 {
		return []string{code}
	}
	reached := map[int]bool{start: true}
	queue := []int{start}
	for i := 0; i < len(queue); i++ {
		for _, n := range next[queue[i]] {
			if !reached[n] {
				reached[n] = true
				queue = append(queue, n)
			}
		}
	}
	all := make([]string, len(queue))
	for i, n := range queue {
		all[i] = h.codes[n]
	}
	slices.Sort(all)
	return all
}

var hierarchies = sync.OnceValue(func() map[string]*Hierarchy {
	r := open("hierarchies")
	n := r.length()
	all := make(map[string]*Hierarchy, n)
	for range n {
		h := &Hierarchy{System: r.string(), AnyCase: r.number() == 1}
		n := r.length()
		h.codes, h.parents, h.children, h.places = make([]string, n), make([][]int, n), make([][]int, n), make(map[string]int, n)
		for i := range n {
			h.codes[i] = r.string()
			h.places[h.codes[i]] = i
			for range r.length() {
				if p := i - r.number(); p >= 0 && p < i {
					h.parents[i] = append(h.parents[i], p)
					h.children[p] = append(h.children[p], i)
				}
			}
		}
		all[h.System] = h
	}
	return all
})
