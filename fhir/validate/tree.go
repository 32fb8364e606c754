package validate

import "github.com/kiln-health/kiln/fhir"

// elements calls tell for each value of the body, in order, as Options.Elements says.
func (w *walker) elements(tell func(depth int, name string, start int) (inside bool)) {
	var ends [fhir.MaxDepth + 1]int // of the objects around the node
	depth := 0
	for i := 1; i < int(w.nodes[0].next); {
		for depth > 0 && i >= ends[depth-1] {
			depth--
		}
		n := w.nodes[i]
		if n.slot&(companion|null|unfit) != 0 {
			i = int(n.next)
			continue
		}
		if !tell(depth, w.plan.slots[n.slot&slotBits].json, int(n.start)) || depth == len(ends) {
			i = int(n.next)
			continue
		}
		ends[depth] = int(n.next)
		depth++
		i++
	}
}
