package validate

import "github.com/kiln-health/kiln/fhir"

// pair checks values against their companions: that a null in an array has one, and that
// an element has a value or more than an id.
// http://hl7.org/fhir/R4/json.html#primitive
func (w *walker) pair(c *class, n int, values, companions uint64) {
	for i := range c.members {
		bit := uint64(1) << i
		if companions&bit == 0 && !(values&bit != 0 && c.members[i].list) {
			continue
		}
		m := &c.members[i]
		if !w.plan.slots[m.first].kind.primitive() {
			continue
		}
		v, k := w.first(n, m, 0), w.first(n, m, companion)
		both := v >= 0 && k >= 0
		for index := int32(0); v >= 0 || k >= 0; index++ {
			here := max(k, v)
			if valued := v >= 0 && w.nodes[v].slot&null == 0; !valued && !w.extends(k) && w.refused() {
				w.steps[w.depth] = step{int32(w.nodes[here].slot & slotBits), index}
				w.depth++
				w.errorAt(fhir.CodeStructure, "", int(w.nodes[here].start), "the element has neither a value nor an extension", "send the value, or an extension that says why there is none")
				w.depth--
			}
			if v >= 0 {
				v = w.sibling(n, v, m, 0)
			}
			if k >= 0 {
				k = w.sibling(n, k, m, companion)
			}
			if both && (v < 0) != (k < 0) {
				both = false
				if w.doubted() {
					w.warningAt(fhir.CodeStructure, m.name, int(w.nodes[here].start), m.name+" and _"+m.name+" have different lengths", "fill both arrays with null")
				}
			}
		}
	}
}

// extends reports whether there is a companion at node k that has more than an id. One
// that is none has been told of.
func (w *walker) extends(k int) bool {
	if k < 0 || w.nodes[k].slot&null != 0 {
		return false
	}
	if w.nodes[k].slot&unfit != 0 {
		return true
	}
	for i := k + 1; i < int(w.nodes[k].next); i = int(w.nodes[i].next) {
		if w.plan.slots[w.nodes[i].slot&slotBits].name != "id" {
			return true
		}
	}
	return false
}
