package validate

import (
	"bytes"
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
		from := len(w.items)
		w.entries(n, func(entry *class, k int) bool {
			if u := w.child(k, entry.ordinal("fullUrl")); u >= 0 {
				w.items = append(w.items, item{node: int32(k)})
			}
			return true
		})
		all := w.items[from:]
		slices.SortFunc(all, w.byURL)
		distinct := true
		for i := 1; i < len(all) && distinct; i++ {
			distinct = w.byURL(all[i-1], all[i]) != 0
		}
		w.items = w.items[:from]
		return distinct
	})(p, c)
}

// byURL orders entries by fullUrl and version.
func (w *walker) byURL(x, y item) int {
	a, b := int(x.node), int(y.node)
	entry := w.classAt(a)
	u := entry.ordinal("fullUrl")
	if c := bytes.Compare(w.text(w.child(a, u)), w.textIn(1, w.child(b, u))); c != 0 {
		return c
	}
	return bytes.Compare(w.text(w.version(entry, a)), w.textIn(1, w.version(entry, b)))
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

// named checks that the fullUrl of the entry at node n, if it is the address of a resource
// on a server, is that of the resource in it.
// http://hl7.org/fhir/R4/bundle.html#bundle-unique
func (w *walker) named(n int) {
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
