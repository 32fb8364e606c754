package validate

import (
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
)

// A binding ties a coded object to a value set.
type binding struct {
	set      *definitions.CodeSet
	required bool
}

// coded reports whether objects of the class are bound to value sets, and whether they are
// concepts, of whose codings one must be in the set, or quantities, which need no code.
func (c *class) coded() (is, concept, quantity bool) {
	switch c.name {
	case "CodeableConcept":
		return true, true, false
	case "Coding":
		return true, false, false
	case "Quantity", "Age", "Count", "Distance", "Duration":
		return true, false, true
	}
	return false, false, false
}

// newBinding is nil for a class that is not coded.
func newBinding(c *class, strength definitions.Strength, set *definitions.CodeSet) *binding {
	if c == nil {
		return nil
	}
	if is, _, _ := c.coded(); !is {
		return nil
	}
	return &binding{set, strength == definitions.Required}
}

// bound checks the object at node n against its value set.
// http://hl7.org/fhir/R4/terminologies.html#strength
func (w *walker) bound(b *binding, n, start int) {
	c := w.classAt(n)
	if c == nil {
		return
	}
	is, _, quantity := c.coded()
	if !is {
		return
	}
	answer, at, coded := w.memberOf(b, n)
	switch {
	case answer == definitions.No && coded:
		w.outside(b, at)
	case !coded && b.required && !quantity && w.refused():
		w.errorAt(fhir.CodeCodeInvalid, "", start, "there is no code, and one from "+b.set.URL+" is required", hint(b.set))
	}
}

// memberOf says whether the object at node n is in the value set, which Coding decides
// that, and whether there is a code at all.
func (w *walker) memberOf(b *binding, n int) (answer definitions.Membership, at int, coded bool) {
	c := w.classAt(n)
	if _, concept, _ := c.coded(); !concept {
		answer, coded = w.codingIn(b.set, n)
		return answer, n, coded
	}
	answer, at = definitions.No, -1
	m := &c.members[c.ordinal("coding")]
	for k := w.first(n, m, 0); k >= 0; k = w.sibling(n, k, m, 0) {
		a, ok := w.codingIn(b.set, k)
		if !ok {
			continue
		}
		coded = true
		if at < 0 {
			at = k
		}
		switch a {
		case definitions.Yes:
			return a, k, true
		case definitions.Unknown:
			answer = a
		}
	}
	return answer, at, coded
}

// codingIn says whether the Coding or Quantity at node n, if it has a code, is in the value set.
func (w *walker) codingIn(set *definitions.CodeSet, n int) (answer definitions.Membership, coded bool) {
	c := w.classAt(n)
	if c == nil || w.nodes[n].slot&unfit != 0 {
		return definitions.Unknown, false
	}
	code := w.text(w.child(n, c.ordinal("code")))
	if len(code) == 0 {
		return definitions.Unknown, false
	}
	system := w.textIn(1, w.child(n, c.ordinal("system")))
	answer = set.ContainsBytes(system, code)
	if answer == definitions.Unknown && set.HasSystem(string(system)) {
		answer = lookUp(set, system, code)
	}
	return answer, true
}

// outside tells of a Coding that is not in a value set.
func (w *walker) outside(b *binding, n int) {
	severity, strength := fhir.SevError, "required"
	if !b.required {
		severity, strength = fhir.Warning, "extensible"
		if !w.doubted() {
			return
		}
	} else if !w.refused() {
		return
	}
	c := w.classAt(n)
	code := "the code"
	if b.required {
		code = readable(w.text(w.child(n, c.ordinal("code"))))
	}
	system := "no system"
	if s := w.text(w.child(n, c.ordinal("system"))); len(s) > 0 {
		system = "another system"
		if b.set.HasSystem(string(s)) {
			system = string(s)
		}
	}
	w.tell(fhir.Issue{Severity: severity, Code: fhir.CodeCodeInvalid,
		Message: code + " of " + system + " is not in the value set " + b.set.URL + " (" + strength + ")", Fix: hint(b.set)}, "", int(w.nodes[n].start))
}

// enumerated checks a code that must be in a value set, the string between start and end.
func (w *walker) enumerated(set *definitions.CodeSet, start, end int) bool {
	code := w.plain(start, end)
	answer := set.ContainsCode(code)
	if answer == definitions.Unknown && len(set.Systems) == 1 && set.Systems[0].System == fhir.UCUM {
		answer = lookUp(set, []byte(fhir.UCUM), code)
	}
	if answer != definitions.No {
		return true
	}
	if w.refused() {
		fix := hint(set)
		if n := nearest(string(code), codes(set)); len(code) <= 64 && n != "" {
			fix = "did you mean " + n + "? " + fix
		}
		w.errorAt(fhir.CodeCodeInvalid, "", start, readable(code)+" is not in the value set "+set.URL+" (required)", fix)
	}
	return false
}

func codes(set *definitions.CodeSet) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, s := range set.Systems {
			for _, c := range s.Codes {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// hint names the codes of a value set that has few.
func hint(set *definitions.CodeSet) string {
	var all []string
	for c := range codes(set) {
		all = append(all, c)
	}
	if !set.Enumerated() || len(all) == 0 || len(all) > 24 {
		return "use a code from " + set.URL
	}
	list := "use one of "
	if len(all) == 1 {
		list = "use "
	}
	for i, c := range all {
		if i > 0 {
			list += ", "
		}
		list += c
	}
	return list
}
