package validate

import (
	"bytes"
	"hash/maphash"

	"github.com/kiln-health/kiln/fhir"
)

const specReference = "http://hl7.org/fhir/R4/references.html"

// refersInside takes down that the text at node n, which begins at start, begins with #: it
// refers to a contained resource, or from one to what contains it.
func (w *walker) refersInside(n, start int) {
	if c := w.body[start+1]; c != '#' && c != '\\' {
		return
	}
	t := w.text(n)
	if len(t) == 0 || t[0] != '#' {
		return
	}
	w.nodes[n].slot |= linked
	w.links++
	if len(t) == 1 && w.container >= 0 {
		w.nodes[w.container].slot |= linked // it refers to the resource that contains it
	}
}

// resolve looks up what the local references of the resource at node n name, and tells of
// those that name nothing, and of contained resources that nobody refers to.
// http://hl7.org/fhir/R4/references.html#contained
func (w *walker) resolve(n int) {
	if w.links == 0 && w.contained == 0 {
		return
	}
	w.clearTable(w.contained)
	if w.contained > 0 {
		w.eachContained(n, func(k int) {
			id := w.child(k, w.classAt(k).ordinal("id"))
			name := w.text(id)
			if name == nil {
				return // nothing can refer to it
			}
			if place, other := w.find(name); other < 0 {
				w.table[place] = int32(k) + 1
			} else if w.refused() {
				w.within(n, id, func() {
					w.errorAt(fhir.CodeDuplicate, "", int(w.nodes[k].start), "two contained resources have the same id", "give each its own id")
				})
			}
		})
	}
	if w.links > 0 {
		w.eachLinked(n, func(slot uint32) bool { return w.plan.slots[slot&slotBits].name != "contained" }, func(k, holder int) { w.follow(n, k, holder) })
	}
	if w.contained > 0 {
		w.eachContained(n, func(k int) {
			if w.nodes[k].slot&linked == 0 && w.refused() {
				w.within(n, k, func() {
					w.tell(fhir.Issue{Severity: fhir.SevError, Code: fhir.CodeInvariant, Message: "dom-3: nothing refers to the contained resource",
						Fix: "refer to it, or leave it out", Spec: specReference}, "", int(w.nodes[k].start))
				})
			}
		})
	}
}

// follow looks up the contained resource that the text at node k names, which is in the
// object at node holder.
func (w *walker) follow(n, k, holder int) {
	t := w.text(k)
	if len(t) < 2 || t[0] != '#' {
		return
	}
	at := int(w.nodes[k].start)
	strict := w.classAt(holder) == w.plan.reference // of other texts nobody says that they must name something here
	_, r := w.find(t[1:])
	if r < 0 {
		if strict && w.refused() {
			w.within(n, k, func() {
				w.tell(fhir.Issue{Severity: fhir.SevError, Code: fhir.CodeNotFound, Message: "ref-1: no contained resource has that id",
					Fix: "add the resource to contained, or correct the reference", Spec: specReference}, "", at)
			})
		}
		return
	}
	w.nodes[r].slot |= linked
	if strict {
		if t, c := w.targetsOf(holder), w.classAt(r); t != nil && !t.allows(c) && w.refused() {
			w.within(n, k, func() { w.wrongTarget(t, c, at) })
		}
	}
}

// targetsOf are the types that the Reference at node n may point at, nil if any.
func (w *walker) targetsOf(n int) *targets {
	s := w.nodes[n].slot
	if s&slotBits == rootSlot || s&companion != 0 {
		return nil
	}
	return w.plan.slots[s&slotBits].targets
}

// eachContained calls f for the nodes of the resources in contained of the one at node n,
// also in contained resources.
func (w *walker) eachContained(n int, f func(k int)) {
	for i, end := n+1, int(w.nodes[n].next); i < end; i++ {
		s := w.nodes[i].slot
		switch {
		case s>>classShift&classBits == 0:
		case w.plan.slots[s&slotBits].name == "contained":
			f(i)
		default:
			i = int(w.nodes[i].next) - 1 // it stands alone
		}
	}
}

// eachLinked calls f for the nodes of texts in the resource at node n that are references to
// look up, with the node of what they are in. It leaves out resources whose slot is apart.
func (w *walker) eachLinked(n int, apart func(slot uint32) bool, f func(k, holder int)) {
	var above [fhir.MaxDepth + 1]int
	above[0] = n
	depth := 0
	for i, end := n+1, int(w.nodes[n].next); i < end; i++ {
		for int(w.nodes[above[depth]].next) <= i {
			depth--
		}
		s := w.nodes[i].slot
		switch {
		case s>>classShift&classBits != 0 && apart(s):
			i = int(w.nodes[i].next) - 1
			continue
		case s>>classShift&classBits == 0 && s&linked != 0:
			f(i, above[depth])
		}
		if int(w.nodes[i].next) > i+1 {
			depth++
			above[depth] = i
		}
	}
}

// clearTable makes a table for n nodes.
func (w *walker) clearTable(n int) {
	size := n + n/2 + 1
	if cap(w.table) < size {
		w.table = make([]int32, size)
	}
	w.table = w.table[:size]
	clear(w.table)
}

// find is the place of a key in the table, and the node that has it; -1 if there is none.
// The hash is seeded: nobody can make keys that have the same.
func (w *walker) find(key []byte) (place, n int) {
	place = w.place(maphash.Bytes(w.seed, key))
	for ; w.table[place] != 0; place = w.nextPlace(place) {
		if n := int(w.table[place]) - 1; bytes.Equal(w.textIn(1, w.key(n)), key) {
			return place, n
		}
	}
	return place, -1
}

func (w *walker) place(hash uint64) int { return int(hash >> 32 * uint64(len(w.table)) >> 32) }

func (w *walker) nextPlace(place int) int {
	if place++; place < len(w.table) {
		return place
	}
	return 0
}

// key is the node of the text by which others refer to the entry or resource at node n.
func (w *walker) key(n int) int {
	c := w.classAt(n)
	if c == w.plan.entry {
		return w.child(n, c.ordinal("fullUrl"))
	}
	return w.child(n, c.ordinal("id"))
}

// within calls f with the path of node k, which is in the resource at hand at node n.
func (w *walker) within(n, k int, f func()) {
	depth := w.depth
	for n != k {
		i := n + 1
		for int(w.nodes[i].next) <= k {
			i = int(w.nodes[i].next)
		}
		index := int32(0)
		of := w.nodes[i].slot
		m := w.plan.slots[of&slotBits].member
		for j := n + 1; j < i; j = int(w.nodes[j].next) {
			if o := w.nodes[j].slot; o&companion == of&companion && w.plan.slots[o&slotBits].member == m {
				index++
			}
		}
		w.steps[w.depth] = step{int32(of & slotBits), index}
		w.depth++
		n = i
	}
	f()
	w.depth = depth
}

// refer checks the Reference at node n: the form of what it says, and that it points at a
// type that is allowed here.
func (w *walker) refer(n int) {
	r := w.plan.reference
	allowed := w.targetsOf(n)
	var target *class
	at := int(w.nodes[n].start)
	if k := w.child(n, r.ordinal("reference")); k >= 0 && w.nodes[k].slot&unfit == 0 {
		at = int(w.nodes[k].start)
		t := w.text(k)
		var fault string
		if target, fault = w.target(t); fault == "" && target == nil && w.bundles > 0 && bytes.IndexByte(t, ':') > 0 {
			w.nodes[k].slot |= linked
			w.far++
		}
		if fault != "" && w.refused() {
			w.tell(fhir.Issue{Severity: fhir.SevError, Code: fhir.CodeValue, Message: fault,
				Fix: "send Type/id, an absolute URL, urn:uuid:…, urn:oid:… or #id", Spec: specReference}, "reference", at)
		}
	}
	if k := w.child(n, r.ordinal("type")); k >= 0 {
		if c := w.typeNamed(k); c != nil {
			if target != nil && target != c && w.refused() {
				w.wrongType(c, target, int(w.nodes[k].start), "type")
				return
			}
			target = c
		}
	}
	if target != nil && allowed != nil && !allowed.allows(target) && w.refused() {
		w.wrongTarget(allowed, target, at)
	}
}

// typeNamed is the resource type that the text at node k names, nil if it is none.
func (w *walker) typeNamed(k int) *class {
	return w.plan.resources[string(bytes.TrimPrefix(w.text(k), []byte("http://hl7.org/fhir/StructureDefinition/")))]
}

func (w *walker) wrongType(said, found *class, at int, element string) {
	w.tell(fhir.Issue{Severity: fhir.SevError, Code: fhir.CodeValue, Message: "type says " + said.name + ", reference points at " + article(found.name),
		Fix: "make both the same", Spec: specReference}, element, at)
}

func (w *walker) wrongTarget(allowed *targets, found *class, at int) {
	w.errorAt(fhir.CodeValue, "", at, "the reference points at "+article(found.name)+", which is not allowed here", "refer to "+choice(allowed.names))
}

// choice lists what there is to choose from.
func choice(names []string) string {
	const most = 12
	var b []byte
	for i, n := range names {
		switch {
		case i == most:
			return string(b) + " …"
		case i > 0 && i == len(names)-1:
			b = append(b, " or "...)
		case i > 0:
			b = append(b, ", "...)
		}
		b = append(b, n...)
	}
	return string(b)
}

// target is the resource type that a literal reference points at, nil if it does not say,
// and what is wrong with it. http://hl7.org/fhir/R4/references.html#literal
func (w *walker) target(t []byte) (c *class, fault string) {
	if len(t) == 0 || t[0] == '#' {
		return nil, ""
	}
	for _, b := range t {
		if b <= ' ' {
			return nil, "there is white space in the reference"
		}
	}
	if f := urn(t); f != "" || bytes.HasPrefix(t, []byte("urn:")) {
		return nil, f
	}
	absolute := bytes.Contains(t, []byte("://"))
	parts, n := lastParts(t)
	// [base/]Type/id or [base/]Type/id/_history/version
	if n >= 4 && string(parts[1]) == "_history" && fhir.ValidID(string(parts[0])) {
		parts[0], parts[1] = parts[2], parts[3]
		n -= 2
	}
	if n >= 2 {
		c = w.plan.resources[string(parts[1])]
	}
	if absolute {
		if c != nil && !fhir.ValidID(string(parts[0])) {
			c = nil // any URL may end like that
		}
		return c, ""
	}
	if name, query, ok := bytes.Cut(t, []byte("?")); ok { // a conditional reference
		if c = w.plan.resources[string(name)]; c != nil && len(query) > 0 {
			return c, ""
		}
	}
	switch {
	case c == nil || n != 2:
		return nil, "the reference is neither absolute nor of the form Type/id"
	case !fhir.ValidID(string(parts[0])):
		return nil, "the id in the reference is none: an id has 1 to 64 letters, digits, hyphens and dots"
	}
	return c, ""
}

// lastParts are the last four parts of a path, the last one first, and how many it has.
func lastParts(t []byte) (parts [4][]byte, n int) {
	for n < len(parts) {
		i := bytes.LastIndexByte(t, '/')
		parts[n] = t[i+1:]
		n++
		if i < 0 {
			return parts, n
		}
		t = t[:i]
	}
	return parts, n + 1
}

// urn says what is wrong with a URN of the kinds that FHIR has types for.
func urn(t []byte) string {
	switch {
	case bytes.HasPrefix(t, []byte("urn:uuid:")) && !isUUID(t[len("urn:uuid:"):]):
		return "what follows urn:uuid: is no UUID"
	case bytes.HasPrefix(t, []byte("urn:oid:")) && !isOID(t[len("urn:oid:"):]):
		return "what follows urn:oid: is no OID"
	}
	return ""
}
