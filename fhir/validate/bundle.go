package validate

import (
	"bytes"
	"hash/maphash"
	"slices"

	"github.com/kiln-health/kiln/fhir"
)

// ofBundle gives a check of Bundles its type.
func ofBundle(holds func(w *walker, n int, has uint64, kind []byte) bool) func(*plan, *class) check {
	return func(_ *plan, c *class) check {
		kind := c.ordinal("type")
		return func(w *walker, n int, has uint64) bool {
			k := w.child(n, kind)
			if k < 0 || w.nodes[k].slot&unfit != 0 {
				return true // that has been told
			}
			return holds(w, n, has, w.text(k))
		}
	}
}

func bundleTotal(p *plan, c *class) check {
	total := c.bit("total")
	return ofBundle(func(_ *walker, _ int, has uint64, kind []byte) bool {
		return has&total == 0 || string(kind) == "searchset" || string(kind) == "history"
	})(p, c)
}

// entries calls f for each entry of the Bundle at node n until it returns false.
func (w *walker) entries(n int, f func(entry *class, k int) bool) bool {
	c := w.plan.byType["Bundle"]
	m := &c.members[c.ordinal("entry")]
	for k := w.first(n, m, 0); k >= 0; k = w.sibling(n, k, m, 0) {
		if w.nodes[k].slot&unfit == 0 && !f(w.classAt(k), k) {
			return false
		}
	}
	return true
}

func bundleSearch(p *plan, c *class) check {
	return ofBundle(func(w *walker, n int, _ uint64, kind []byte) bool {
		return string(kind) == "searchset" || w.entries(n, func(entry *class, k int) bool {
			return w.members(k)&entry.bit("search") == 0
		})
	})(p, c)
}

// bundleEntries holds if each entry has the member in a Bundle of these types, and none in others.
func bundleEntries(member string, types ...string) func(*plan, *class) check {
	return ofBundle(func(w *walker, n int, _ uint64, kind []byte) bool {
		want := slices.Contains(types, string(kind))
		return w.entries(n, func(entry *class, k int) bool {
			return (w.members(k)&entry.bit(member) != 0) == want
		})
	})
}

// bundleDistinct is bdl-7: no fullUrl occurs twice with the same version.
func bundleDistinct(p *plan, c *class) check {
	return ofBundle(func(w *walker, n int, _ uint64, kind []byte) bool {
		if string(kind) == "history" {
			return true
		}
		w.clearTable(w.named(n))
		return w.entries(n, func(entry *class, k int) bool {
			u := w.child(k, entry.ordinal("fullUrl"))
			if u < 0 {
				return true
			}
			v := w.version(entry, k)
			h := maphash.Bytes(w.seed, w.text(u)) ^ 0x9e3779b97f4a7c15*maphash.Bytes(w.seed, w.textIn(1, v))
			place := w.place(h)
			for ; w.table[place] != 0; place = w.nextPlace(place) {
				other := int(w.table[place]) - 1
				if bytes.Equal(w.text(u), w.textIn(1, w.key(other))) && bytes.Equal(w.text(v), w.textIn(1, w.version(entry, other))) {
					return false
				}
			}
			w.table[place] = int32(k) + 1
			return true
		})
	})(p, c)
}

// named is how many entries of the Bundle at node n have a fullUrl.
func (w *walker) named(n int) (count int) {
	w.entries(n, func(entry *class, k int) bool {
		if w.child(k, entry.ordinal("fullUrl")) >= 0 {
			count++
		}
		return true
	})
	return count
}

// bundle walks a Bundle, and then looks up the references to its entries. Those of a Bundle
// in it have been looked up there.
func (w *walker) bundle(c *class, n int) {
	far := w.far
	w.far = 0
	w.bundles++
	w.object(c, n)
	if w.far > 0 && !w.blind && w.opt.Level != Structure {
		w.refersWithin(c, n)
	}
	w.bundles--
	w.far = far
}

const specBundle = "http://hl7.org/fhir/R4/bundle.html#references"

// refersWithin looks up the references in the Bundle at node n that do not say themselves
// what they point at: URNs, and URLs of no known form. The entry of that fullUrl says it.
// http://hl7.org/fhir/R4/bundle.html#references
func (w *walker) refersWithin(c *class, n int) {
	w.clearTable(w.named(n))
	w.entries(n, func(_ *class, k int) bool {
		if t := w.text(w.key(k)); t != nil {
			if place, other := w.find(t); other < 0 {
				w.table[place] = int32(k) + 1
			}
		}
		return true
	})
	kind := w.text(w.child(n, c.ordinal("type")))
	complete := string(kind) == "transaction" || string(kind) == "document"
	bundle := c.numbered()
	apart := func(slot uint32) bool { return slot&(classBits<<classShift) == bundle }
	w.eachLinked(n, apart, func(k, holder int) {
		t := w.text(k)
		if len(t) == 0 || t[0] == '#' {
			return
		}
		if _, entry := w.find(t); entry >= 0 {
			w.pointsAt(n, k, holder, entry)
		} else if bytes.HasPrefix(t, []byte("urn:")) {
			w.pointsNowhere(n, k, complete)
		}
	})
}

// pointsAt checks the Reference at node holder, whose text at node k is the fullUrl of an entry.
func (w *walker) pointsAt(n, k, holder, entry int) {
	r := w.child(entry, w.plan.entry.ordinal("resource"))
	if r < 0 || w.nodes[r].slot&unfit != 0 || w.patches(entry) {
		return
	}
	c := w.classAt(r)
	if allowed := w.targetsOf(holder); allowed != nil && !allowed.allows(c) && w.refused() {
		w.within(n, k, func() { w.wrongTarget(allowed, c, int(w.nodes[k].start)) })
	}
	said := w.child(holder, w.plan.reference.ordinal("type"))
	if of := w.typeNamed(said); of != nil && of != c && w.refused() {
		w.within(n, said, func() { w.wrongType(of, c, int(w.nodes[said].start), "") })
	}
}

// patches reports whether the resource of an entry is a patch and not what its fullUrl is of.
// http://hl7.org/fhir/R4/http.html#patch
func (w *walker) patches(entry int) bool {
	request := w.child(entry, w.plan.entry.ordinal("request"))
	if request < 0 || w.nodes[request].slot&unfit != 0 {
		return false
	}
	return string(w.text(w.child(request, w.classAt(request).ordinal("method")))) == "PATCH"
}

// pointsNowhere tells of a URN that is the fullUrl of no entry, at node k. A URN has a
// meaning in its Bundle only. A transaction could not replace it, and a document has all
// that it refers to by a URN; of other Bundles a part may be what is sent.
func (w *walker) pointsNowhere(n, k int, complete bool) {
	i := fhir.Issue{Severity: fhir.SevError, Code: fhir.CodeNotFound, Message: "the reference is a URN, and no entry of the Bundle has it as fullUrl",
		Fix: "add the resource with that fullUrl, or refer to it by its URL", Spec: specBundle}
	if complete && !w.refused() {
		return
	}
	if !complete {
		i.Severity = fhir.Warning
		if !w.doubted() {
			return
		}
	}
	w.within(n, k, func() { w.tell(i, "", int(w.nodes[k].start)) })
}

// version is the node of resource.meta.versionId of an entry, or -1.
func (w *walker) version(entry *class, k int) int {
	r := w.child(k, entry.ordinal("resource"))
	if r < 0 || w.nodes[r].slot&unfit != 0 {
		return -1
	}
	c := w.classAt(r)
	if c == nil {
		return -1
	}
	meta := w.child(r, c.ordinal("meta"))
	if meta < 0 || w.nodes[meta].slot&unfit != 0 {
		return -1
	}
	return w.child(meta, w.plan.byType["Meta"].ordinal("versionId"))
}

func bundleUnversioned(_ *plan, c *class) check {
	o := c.ordinal("fullUrl")
	return func(w *walker, n int, _ uint64) bool {
		return !bytes.Contains(w.text(w.child(n, o)), []byte("/_history/"))
	}
}

func bundleIdentified(p *plan, c *class) check {
	o := c.ordinal("identifier")
	both := p.ofType("Identifier").bits([]string{"system", "value"})
	return ofBundle(func(w *walker, n int, _ uint64, kind []byte) bool {
		if string(kind) != "document" {
			return true
		}
		k := w.child(n, o)
		return k >= 0 && w.members(k)&both == both
	})(p, c)
}

func bundleDated(p *plan, c *class) check {
	o := c.ordinal("timestamp")
	return ofBundle(func(w *walker, n int, _ uint64, kind []byte) bool {
		return string(kind) != "document" || w.child(n, o) >= 0
	})(p, c)
}

func bundleBegins(of, with string) func(*plan, *class) check {
	return ofBundle(func(w *walker, n int, _ uint64, kind []byte) bool {
		if string(kind) != of {
			return true
		}
		begins := false
		w.entries(n, func(entry *class, k int) bool {
			r := w.child(k, entry.ordinal("resource"))
			if r >= 0 {
				c := w.classAt(r)
				begins = c != nil && c.name == with
			}
			return false
		})
		return begins
	})
}

// addressed checks that the fullUrl of the entry at node n, if it is the address of a resource
// on a server, is that of the resource in it.
// http://hl7.org/fhir/R4/bundle.html#bundle-unique
func (w *walker) addressed(n int) {
	entry := w.plan.entry
	u, r := w.child(n, entry.ordinal("fullUrl")), w.child(n, entry.ordinal("resource"))
	if u < 0 || r < 0 || w.nodes[r].slot&unfit != 0 {
		return
	}
	t := w.text(u)
	c := w.classAt(r)
	if c == nil || !bytes.HasPrefix(t, []byte("http://")) && !bytes.HasPrefix(t, []byte("https://")) {
		return
	}
	parts, count := lastParts(t)
	of := w.plan.resources[string(parts[1])]
	if count < 4 || of == nil {
		return
	}
	id := w.textIn(1, w.child(r, c.ordinal("id")))
	if (of != c || id != nil && !bytes.Equal(id, parts[0])) && w.refused() {
		w.tell(fhir.Issue{Severity: fhir.SevError, Code: fhir.CodeValue, Message: "fullUrl names another resource than the one in the entry",
			Fix: "end it with the type and the id of the resource", Spec: "http://hl7.org/fhir/R4/bundle.html#bundle-unique"}, "fullUrl", int(w.nodes[u].start))
	}
}
