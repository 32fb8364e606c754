package search

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
)

// CodeSet is a set of codes of a token parameter, for :in, :not-in, :above and :below.
type CodeSet struct {
	URL string // of the value set, "" for :above and :below
	// System, Code and Modifier are what :above and :below were asked for, else "".
	System, Code, Modifier string
	// Contains reports whether a Token with that System and Code, of the parameter, is meant.
	Contains func(system, code string) bool

	codes []Token
}

// Equal reports whether two sets were asked for in the same way.
func (s *CodeSet) Equal(o *CodeSet) bool {
	return s == o || s != nil && o != nil && s.URL == o.URL && s.System == o.System && s.Code == o.Code && s.Modifier == o.Modifier
}

// Codes are the System and Code of all Tokens that the set Contains, each once, if they are
// MaxSetCodes at most and can be listed, else nil: a store may look for each of them. The slice
// is shared. No set has none.
func (s *CodeSet) Codes() []Token {
	if s == nil {
		return nil
	}
	return s.codes[:len(s.codes):len(s.codes)]
}

// MaxSetCodes is how many codes a set lists at most.
const MaxSetCodes = 500

// list makes codes from those of systems, in the form that a parameter compares them. Where the
// system is implied, resources do not name it.
func (s *CodeSet) list(implied string, caseSensitive bool, systems map[string][]string) {
	for system, codes := range systems {
		for _, c := range codes {
			if !caseSensitive {
				c = lower(c)
			}
			s.codes = append(s.codes, Token{System: system, Code: c})
			if system == implied && implied != "" {
				s.codes = append(s.codes, Token{Code: c})
			}
		}
	}
	slices.SortFunc(s.codes, func(a, b Token) int { return cmp.Or(cmp.Compare(a.System, b.System), cmp.Compare(a.Code, b.Code)) })
	if s.codes = slices.Compact(s.codes); len(s.codes) > MaxSetCodes {
		s.codes = nil
	}
}

// memberSet is a value set as a parameter compares with it: a token may be in lower case, and
// lack the system that is implied.
func memberSet(set *definitions.CodeSet, implied string, caseSensitive bool) *CodeSet {
	s := &CodeSet{URL: set.URL}
	systems := map[string][]string{}
	whole := true
	for i := range set.Systems {
		of := &set.Systems[i]
		systems[of.System] = append(systems[of.System], of.Codes...)
		whole = whole && len(of.Partitions) == 0 && (!of.AnyCase || !caseSensitive)
	}
	if whole {
		s.list(implied, caseSensitive, systems)
	}
	s.Contains = func(system, code string) bool {
		if system == "" {
			system = implied
		}
		return set.Contains(system, code) == definitions.Yes
	}
	if !caseSensitive {
		exactly := s.Contains
		folded := map[Token]bool{}
		for system, codes := range systems {
			for _, c := range codes {
				folded[Token{System: system, Code: lower(c)}] = true
			}
		}
		s.Contains = func(system, code string) bool {
			if system == "" {
				system = implied
			}
			return folded[Token{System: system, Code: code}] || exactly(system, code)
		}
	}
	return s
}

// nests reports whether the codes of the parameter may be of a system with a hierarchy: any, if
// the resource names the system, else the one that is implied.
func (r *row) nests() bool {
	if r.has(concept) || r.has(coding) {
		return true
	}
	_, ok := definitions.HierarchyOf(r.system)
	return ok && r.has(code)
}

// nestedValue reads system|code, or a code alone if it is clear of which system it is, and finds
// what is above or below it. http://hl7.org/fhir/R4/search.html#token
func nestedValue(r *row, modifier, text string) (Value, *fhir.Error) {
	system, wanted, named := "", "", false
	switch part := parts(text); {
	case len(part) == 1:
		wanted = part[0]
	case len(part) == 2:
		system, wanted, named = part[0], part[1], true
	}
	if wanted == "" || named && system == "" {
		return Value{}, badValue(r.Name, "with :"+modifier+" is no code of a system", "send system|code, or the code alone where only one system has it", "#token")
	}
	if !named {
		var candidates []string
		if candidates = r.systemsWith(wanted); len(candidates) != 1 {
			why := "with :" + modifier + " names a code that several code systems have"
			if len(candidates) == 0 {
				why, candidates = "with :"+modifier+" names a code that no code system with a hierarchy has, as far as they are known here", r.nested()
			}
			return Value{}, badValue(r.Name, why, "send system|code, with one of the systems "+some(candidates), "#token")
		}
		system = candidates[0]
	}
	h, ok := definitions.HierarchyOf(system)
	if !ok || r.system != "" && r.system != system {
		return Value{}, badValue(r.Name, "with :"+modifier+" is of a code system of which no hierarchy is known here",
			"send the codes themselves, or a code of one of "+some(r.nested()), "#token")
	}
	s := &CodeSet{System: system, Code: wanted, Modifier: modifier}
	reach := h.Below
	if modifier == "above" {
		reach = h.Above
	}
	var reached []string
	for _, c := range alike(h, r, wanted) {
		reached = append(reached, reach(c)...)
	}
	s.list(r.system, r.CaseSensitive, map[string][]string{system: reached})
	meant := map[string]bool{}
	for _, c := range reached {
		if !r.CaseSensitive {
			c = lower(c)
		}
		meant[c] = true
	}
	implied := r.system
	s.Contains = func(of, c string) bool {
		return (of == system || of == "" && implied == system) && meant[c]
	}
	return Value{Set: s}, nil
}

// alike are the codes of a hierarchy that a parameter does not tell from a code, the code itself
// if there is none.
func alike(h *definitions.Hierarchy, r *row, wanted string) []string {
	if r.CaseSensitive || h.AnyCase {
		return []string{wanted}
	}
	var all []string
	for _, c := range h.Codes() {
		if lower(c) == lower(wanted) {
			all = append(all, c)
		}
	}
	if all == nil {
		return []string{wanted}
	}
	return all
}

// nested are the code systems with a hierarchy that a parameter is about, as far as the value sets
// of its elements tell, else all.
func (r *row) nested() []string {
	if r.system != "" {
		return []string{r.system}
	}
	var all []string
	for _, system := range r.systems {
		if _, ok := definitions.HierarchyOf(system); ok {
			all = append(all, system)
		}
	}
	if all == nil {
		return definitions.Hierarchies()
	}
	return all
}

// some are the first of many systems.
func some(systems []string) string {
	const shown = 5
	if len(systems) <= shown {
		return strings.Join(systems, ", ")
	}
	return strings.Join(systems[:shown], ", ") + " and others, which the TerminologyCapabilities of the server list"
}

// systemsWith are those of nested that have a code.
func (r *row) systemsWith(wanted string) []string {
	var all []string
	for _, system := range r.nested() {
		h, ok := definitions.HierarchyOf(system)
		if ok && (system == r.system || slices.ContainsFunc(alike(h, r, wanted), h.Has)) {
			all = append(all, system)
		}
	}
	return all
}
