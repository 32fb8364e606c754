package validate

import (
	"bytes"
	"regexp"
)

// The rules of ElementDefinition: a StructureDefinition has hundreds of them.
// http://hl7.org/fhir/R4/elementdefinition.html

// elementName is a part of the path of an element.
const elementName = `[^\s.,:;'"/|?!@#$%&*()\[\]{}]{1,64}`

// shaped holds if a text is not there, or is what the expression says.
func shaped(name, expression string) func(*plan, *class) check {
	return func(_ *plan, c *class) check {
		o, re := c.ordinal(name), regexp.MustCompile(expression)
		return func(w *walker, n int, _ uint64) bool {
			t := w.text(w.child(n, o))
			return t == nil || re.Match(t)
		}
	}
}

func boundOrDescribed(p *plan, c *class) check {
	binding := c.ordinal("binding")
	of := p.slots[c.members[binding].first].class
	bits := of.bits([]string{"valueSet", "description"})
	return func(w *walker, n int, _ uint64) bool {
		k := w.child(n, binding)
		return k < 0 || w.nodes[k].slot&unfit != 0 || w.members(k)&bits != 0
	}
}

// digitsOnly is the text if it has digits and nothing else, or nil.
func digitsOnly(t []byte) []byte {
	if len(t) == 0 {
		return nil
	}
	for _, c := range t {
		if c < '0' || c > '9' {
			return nil
		}
	}
	return t
}

func minUpToMax(_ *plan, c *class) check {
	least, most := c.ordinal("min"), c.ordinal("max")
	return func(w *walker, n int, _ uint64) bool {
		a, b := w.numberAt(w.child(n, least)), w.text(w.child(n, most))
		if a == nil || b == nil || string(b) == "*" {
			return true
		}
		b = digitsOnly(b)
		return b != nil && compare(a, b) <= 0
	}
}

func maxIsNumber(*plan, *class) check {
	return func(w *walker, n int, _ uint64) bool {
		t := w.text(n)
		return t == nil || string(t) == "*" || digitsOnly(t) != nil
	}
}

// forReferences holds unless the member is there and the type is none that refers.
func forReferences(name string) func(*plan, *class) check {
	return func(_ *plan, c *class) check {
		bit, code := c.bit(name), c.ordinal("code")
		return func(w *walker, n int, has uint64) bool {
			if has&bit == 0 {
				return true
			}
			t := string(w.text(w.child(n, code)))
			return t == "Reference" || t == "canonical"
		}
	}
}

// onlyWithOne holds unless the first member is there and the second more than once.
func onlyWithOne(name, single string) func(*plan, *class) check {
	return func(_ *plan, c *class) check {
		bit, o := c.bit(name), c.ordinal(single)
		return func(w *walker, n int, has uint64) bool {
			if has&bit == 0 {
				return true
			}
			m := &c.members[o]
			k := w.first(n, m, 0)
			return k < 0 || w.sibling(n, k, m, 0) < 0
		}
	}
}

// bindable holds if one of the types is that of a code, or none is said.
func bindable(p *plan, c *class) check {
	binding, types := c.bit("binding"), c.ordinal("type")
	code := p.slots[c.members[types].first].class.ordinal("code")
	return func(w *walker, n int, has uint64) bool {
		if has&binding == 0 {
			return true
		}
		m := &c.members[types]
		said := false
		for k := w.first(n, m, 0); k >= 0; k = w.sibling(n, k, m, 0) {
			if w.nodes[k].slot&unfit != 0 {
				continue
			}
			switch string(w.text(w.child(k, code))) {
			case "":
			case "code", "Coding", "CodeableConcept", "Quantity", "string", "uri":
				return true
			default:
				said = true
			}
		}
		return !said
	}
}

func valueSetURL(_ *plan, c *class) check {
	o := c.ordinal("valueSet")
	return func(w *walker, n int, _ uint64) bool {
		t := w.text(w.child(n, o))
		return t == nil || bytes.HasPrefix(t, []byte("http:")) || bytes.HasPrefix(t, []byte("https")) || bytes.HasPrefix(t, []byte("urn:"))
	}
}

func modifierExplained(_ *plan, c *class) check {
	is, reason := c.ordinal("isModifier"), c.bit("isModifierReason")
	return func(w *walker, n int, has uint64) bool {
		return has&reason != 0 || !w.isTrue(w.child(n, is))
	}
}

// isTrue reports whether the boolean at node n is there and true.
func (w *walker) isTrue(n int) bool {
	return n >= 0 && w.nodes[n].slot&(unfit|null) == 0 && w.body[w.nodes[n].start] == 't'
}

// distinctBy holds if no two items of a list have the same text in a member.
func distinctBy(list, name string) func(*plan, *class) check {
	return func(p *plan, c *class) check {
		o := c.ordinal(list)
		of := p.slots[c.members[o].first].class.ordinal(name)
		return func(w *walker, n int, _ uint64) bool {
			m := &c.members[o]
			first := w.first(n, m, 0)
			if first < 0 || w.sibling(n, first, m, 0) < 0 {
				return true
			}
			seen := map[string]bool{}
			for k := first; k >= 0; k = w.sibling(n, k, m, 0) {
				if w.nodes[k].slot&unfit != 0 {
					continue
				}
				if t := w.text(w.child(k, of)); t != nil {
					if seen[string(t)] {
						return false
					}
					seen[string(t)] = true
				}
			}
			return true
		}
	}
}

// codeUnlessAbstract is vsd-9.
func codeUnlessAbstract(_ *plan, c *class) check {
	code, abstract := c.bit("code"), c.ordinal("abstract")
	return func(w *walker, n int, has uint64) bool {
		return has&code != 0 || w.isTrue(w.child(n, abstract))
	}
}
