package validate

import (
	"bytes"

	"github.com/kiln-health/kiln/fhir"
)

const specReference = "http://hl7.org/fhir/R4/references.html"

// A local is a text that refers to a contained resource, or from one to what contains it.
type local struct {
	node   int32 // of the text
	holder int32 // the slot of the Reference that it is in
	strict bool  // it is a Reference: what it names must be there
}

// inside is a resource that is contained in another one.
type inside struct {
	node    int32
	class   *class
	used    bool
	answers bool // it refers to the resource that contains it
}

// refersInside takes down a text that begins with #.
func (w *walker) refersInside(n, start int) {
	if c := w.body[start+1]; c != '#' && c != '\\' {
		return
	}
	if t := w.text(n); len(t) == 0 || t[0] != '#' {
		return
	}
	l := local{node: int32(n), holder: -1, strict: w.plan.slots[w.nodes[n].slot&slotBits].owner == w.plan.reference}
	if l.strict && w.depth > 1 {
		l.holder = w.steps[w.depth-2].slot
	}
	w.locals = append(w.locals, l)
}

// answers reports whether one of the local references from the given one on is that to the container.
func (w *walker) answers(from int) bool {
	if w.blind {
		return true
	}
	for _, l := range w.locals[from:] {
		if t := w.text(int(l.node)); len(t) == 1 {
			return true
		}
	}
	return false
}

// resolve looks up what the local references of the resource at node n name, and tells of
// those that name nothing, and of contained resources that nobody refers to.
// http://hl7.org/fhir/R4/references.html#contained
func (w *walker) resolve(n, locals, contained int) {
	refs, resources := w.locals[locals:], w.inside[contained:]
	if len(refs) == 0 && len(resources) == 0 {
		return
	}
	ids := map[string]*inside{}
	for i := range resources {
		r := &resources[i]
		at := int(w.nodes[r.node].start)
		k := w.child(int(r.node), r.class.ordinal("id"))
		name := w.text(k)
		switch {
		case k < 0: // nothing can refer to it
		case ids[string(name)] != nil:
			if w.refused() {
				w.within(n, k, func() {
					w.errorAt(fhir.CodeDuplicate, "", at, "two contained resources have the same id", "give each its own id")
				})
			}
		default:
			ids[string(name)] = r
		}
	}
	for _, l := range refs {
		name := w.text(int(l.node))[1:]
		r := ids[string(name)]
		at := int(w.nodes[l.node].start)
		switch {
		case len(name) == 0:
		case r == nil:
			if l.strict && w.refused() {
				w.within(n, int(l.node), func() {
					w.tell(fhir.Issue{Severity: fhir.SevError, Code: fhir.CodeNotFound, Message: "ref-1: no contained resource has that id",
						Fix: "add the resource to contained, or correct the reference", Spec: specReference}, "", at)
				})
			}
		default:
			r.used = true
			if l.holder < 0 {
				break
			}
			if t := w.plan.slots[l.holder].targets; t != nil && !t.allows(r.class) && w.refused() {
				w.within(n, int(l.node), func() { w.wrongTarget(t, r.class, at) })
			}
		}
	}
	for i := range resources {
		r := &resources[i]
		if r.used || r.answers || !w.refused() {
			continue
		}
		w.within(n, int(r.node), func() {
			w.tell(fhir.Issue{Severity: fhir.SevError, Code: codeInvariant, Message: "dom-3: nothing refers to the contained resource",
				Fix: "refer to it, or leave it out", Spec: specReference}, "", int(w.nodes[r.node].start))
		})
	}
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
	s := w.nodes[n].slot
	var allowed *targets
	if s&slotBits != rootSlot && s&companion == 0 {
		allowed = w.plan.slots[s&slotBits].targets
	}
	var target *class
	at := int(w.nodes[n].start)
	if k := w.child(n, r.ordinal("reference")); k >= 0 && w.nodes[k].slot&unfit == 0 {
		at = int(w.nodes[k].start)
		var fault string
		if target, fault = w.target(w.text(k)); fault != "" && w.refused() {
			w.tell(fhir.Issue{Severity: fhir.SevError, Code: fhir.CodeValue, Message: fault,
				Fix: "send Type/id, an absolute URL, urn:uuid:…, urn:oid:… or #id", Spec: specReference}, "reference", at)
		}
	}
	if k := w.child(n, r.ordinal("type")); k >= 0 {
		if c := w.plan.resources[string(bytes.TrimPrefix(w.text(k), []byte("http://hl7.org/fhir/StructureDefinition/")))]; c != nil {
			if target != nil && target != c && w.refused() {
				w.tell(fhir.Issue{Severity: fhir.SevError, Code: fhir.CodeValue, Message: "type says " + c.name + ", reference points at " + article(target.name),
					Fix: "make both the same", Spec: specReference}, "type", int(w.nodes[k].start))
				return
			}
			target = c
		}
	}
	if target != nil && allowed != nil && !allowed.allows(target) && w.refused() {
		w.wrongTarget(allowed, target, at)
	}
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
