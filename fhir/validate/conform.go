package validate

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
)

// maxClaims is how many profiles one resource may claim.
const maxClaims = 32

// An item is a value of the element whose expectation is being checked.
type item struct {
	node   int32
	sliced bool // it is in a slice
}

// claimed checks the resource of class c at node n against the profiles that it claims in
// meta.profile, and the body also against those that it was asked to meet.
// http://hl7.org/fhir/R4/profiling.html
func (w *walker) claimed(c *class, n int) {
	if w.nodes[n].slot&slotBits == rootSlot {
		for _, u := range w.opt.Profiles {
			w.demanded(u, c, n)
		}
	}
	meta := w.child(n, c.ordinal("meta"))
	if meta < 0 || w.nodes[meta].slot&unfit != 0 {
		return
	}
	of := w.classAt(meta)
	m := &of.members[of.ordinal("profile")]
	claims := 0
	for k := w.first(meta, m, 0); k >= 0; k = w.sibling(meta, k, m, 0) {
		u := w.text(k)
		if u == nil {
			continue
		}
		claims++
		at := int(w.nodes[k].start)
		if claims > maxClaims {
			if w.refused() {
				w.errorAt(fhir.CodeTooCostly, "meta.profile", at, "the resource claims more than "+number(maxClaims)+" profiles", "claim fewer")
			}
			return
		}
		name, version, _ := bytes.Cut(u, []byte("|"))
		if string(name) == c.spec {
			continue
		}
		f := w.plan.profiles[string(name)]
		if f == nil {
			if w.doubted() {
				w.warningAt(fhir.CodeNotSupported, "meta.profile", at, "the profile "+readable(name)+" is not known here, so it was not checked", "")
			}
			continue
		}
		p := f()
		if p != nil && len(version) > 0 && p.version != "" && p.version != string(version) && w.doubted() {
			w.warningAt(fhir.CodeNotSupported, "meta.profile", at, "the profile is known in version "+p.version+" only, and was checked in that", "")
		}
		if w.requested(name) || w.claimedBefore(meta, m, k, name) {
			continue
		}
		w.conform(p, c, n, at, "meta.profile")
	}
}

// claimedBefore reports whether a profile is also claimed before node k.
func (w *walker) claimedBefore(meta int, m *member, k int, name []byte) bool {
	for j := w.first(meta, m, 0); j >= 0 && j < k; j = w.sibling(meta, j, m, 0) {
		if before, _, _ := bytes.Cut(w.textIn(1, j), []byte("|")); bytes.Equal(before, name) {
			return true
		}
	}
	return false
}

// requested reports whether the body is checked against the profile anyway.
func (w *walker) requested(name []byte) bool {
	for _, u := range w.opt.Profiles {
		if bare, _, _ := strings.Cut(u, "|"); w.depth == 0 && bare == string(name) {
			return true
		}
	}
	return false
}

// demanded checks the body against a profile that it was asked to meet.
func (w *walker) demanded(u string, c *class, n int) {
	bare, _, _ := strings.Cut(u, "|")
	f := w.plan.profiles[bare]
	if f == nil {
		if w.refused() {
			w.errorAt(fhir.CodeNotSupported, "", int(w.nodes[n].start), "the profile "+readable([]byte(bare))+" is not known here", "ask for one that is")
		}
		return
	}
	if bare != c.spec {
		w.conform(f(), c, n, int(w.nodes[n].start), "")
	}
}

// conform checks a resource against a profile that is named in one of its elements, or by
// who asks for it.
func (w *walker) conform(p *profile, c *class, n, at int, element string) {
	switch {
	case p != nil && p.class == c:
		w.meets(p, n)
	case p != nil && p.class.above(c): // Resource and DomainResource demand nothing else
	case w.refused():
		of := "another type"
		if p != nil {
			of = p.class.name
		}
		w.errorAt(fhir.CodeInvalid, element, at, "the profile is for "+of+", the resource is "+article(c.name), "claim a profile for "+c.name)
	}
}

// above reports whether every object of class d is one of class c, too.
func (c *class) above(d *class) bool {
	return c.name == "Resource" || c.name == "DomainResource" && d.domain
}

// meets checks the object at node n against a profile of its class.
func (w *walker) meets(p *profile, n int) {
	outer := w.profile
	w.profile = p
	has := uint64(0)
	if len(p.rules) > 0 {
		has = w.members(n)
	}
	for i := range p.rules {
		if r := &p.rules[i]; !r.check(w, n, has) {
			w.breach(r, int(w.nodes[n].start))
		}
	}
	w.expect(p.children, n)
	w.profile = outer
}

// expect checks the elements of the object at node n.
func (w *walker) expect(all []*expectation, n int) {
	for _, x := range all {
		from := len(w.items)
		flag := uint32(0)
		k := w.first(n, x.member, 0)
		if k < 0 {
			flag = companion
			k = w.first(n, x.member, companion)
		}
		for ; k >= 0; k = w.sibling(n, k, x.member, flag) {
			w.items = append(w.items, item{node: int32(k)})
		}
		w.occurs(x, len(w.items)-from, n)
		for i := from; i < len(w.items); i++ {
			w.at(i, from, func(k int) { w.item(x, n, k, i-from) })
		}
		if x.slicing != nil {
			w.slice(x, n, from)
		}
		w.items = w.items[:from]
	}
}

// at calls f for an item with its path.
func (w *walker) at(i, from int, f func(k int)) {
	k := int(w.items[i].node)
	w.steps[w.depth] = step{int32(w.nodes[k].slot & slotBits), int32(i - from)}
	w.depth++
	f(k)
	w.depth--
}

// occurs checks how often an element or slice is there.
func (w *walker) occurs(x *expectation, count, n int) {
	at := int(w.nodes[n].start)
	switch {
	case count < x.min:
		if w.refused() {
			w.errorAt(fhir.CodeRequired, x.member.name, at, x.name+" must occur at least "+times(x.min)+", found "+number(count), "add "+x.name)
		}
	case x.max >= 0 && count > x.max && x.max == 0:
		if w.refused() {
			w.errorAt(fhir.CodeStructure, x.member.name, at, x.name+" is not allowed", "leave it out")
		}
	case x.max >= 0 && count > x.max:
		if w.refused() {
			w.errorAt(fhir.CodeStructure, x.member.name, at, x.name+" may occur at most "+times(x.max)+", found "+number(count), "leave "+number(count-x.max)+" out")
		}
	case count == 0 && x.mustSupport && w.opt.MustSupport && w.noticed():
		w.tell(fhir.Issue{Severity: fhir.Information, Code: fhir.CodeInformational, Message: x.name + " is marked mustSupport and is not there"}, x.member.name, at)
	}
}

func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return number(n) + " times"
}

// item checks one value of an element of the object at node n.
func (w *walker) item(x *expectation, n, k, index int) {
	flags := w.nodes[k].slot
	start := int(w.nodes[k].start)
	of := int32(flags & slotBits)
	s := &w.plan.slots[of]
	if x.allowed != anyType && x.allowed>>(of-x.first)&1 == 0 {
		if w.refused() {
			w.errorAt(fhir.CodeStructure, "", start, x.name+" must not be "+article(s.typ.Code)+" here", "send "+choice(x.types))
		}
		return
	}
	if flags&companion == 0 && flags&(unfit|null) == 0 {
		w.content(x, s, k, start)
		for i := range x.conforms {
			if c := &x.conforms[i]; c.slot == of {
				w.conforms(c, s, k)
			}
		}
	}
	for i := range x.inner {
		if x.inner[i].slot != of {
			continue
		}
		inside := k
		if s.kind.primitive() && flags&companion == 0 {
			if inside = w.first(n, x.member, companion); inside < 0 {
				continue
			}
			for ; index > 0 && inside >= 0; index-- {
				inside = w.sibling(n, inside, x.member, companion)
			}
			if inside < 0 || w.nodes[inside].slot&(null|unfit) != 0 {
				continue
			}
		}
		if w.nodes[inside].slot&unfit == 0 {
			w.expect(x.inner[i].children, inside)
		}
	}
}

// content checks what a value is.
func (w *walker) content(x *expectation, s *slot, k, start int) {
	if x.fixed != nil && !w.same(k, x.fixed, true) && w.refused() {
		w.errorAt(fhir.CodeValue, "", start, x.name+" must be exactly "+x.fixed.String()+w.instead(s, k), "send that")
	}
	if x.pattern != nil && !w.same(k, x.pattern, false) && w.refused() {
		w.errorAt(fhir.CodeValue, "", start, x.name+" must have "+x.pattern.String()+w.instead(s, k), "send that")
	}
	if x.binding != nil && s.kind == objectKind {
		w.bound(x.binding, k, start)
	}
	if x.codes != nil && s.kind != objectKind && w.body[start] == '"' {
		w.enumerated(x.codes, start, w.skip(start))
	}
	if x.targets != nil && s.class == w.plan.reference {
		w.aims(x.targets, k)
	}
	if x.maxLength > 0 && w.body[start] == '"' {
		if length := utf8.RuneCount(w.text(k)); length > x.maxLength && w.refused() {
			w.errorAt(fhir.CodeTooLong, "", start, x.name+" has "+number(length)+" characters, at most "+number(x.maxLength)+" are allowed", "shorten it")
		}
	}
	if v := w.numberAt(k); v != nil {
		if (x.least != nil && compare(v, x.least) < 0 || x.most != nil && compare(v, x.most) > 0) && w.refused() {
			w.errorAt(fhir.CodeValue, "", start, x.name+" is outside the range that is allowed", "")
		}
	}
	for i := range x.rules {
		if x.rules[i].slot != int32(w.nodes[k].slot&slotBits) {
			continue
		}
		has := uint64(0)
		if s.kind == objectKind {
			has = w.members(k)
		}
		for j := range x.rules[i].rules {
			if r := &x.rules[i].rules[j]; !r.check(w, k, has) {
				w.breach(r, start)
			}
		}
	}
}

// instead says what was found in place of a fixed value, if that is a code or a URI.
func (w *walker) instead(s *slot, k int) string {
	switch s.kind {
	case codeKind, uriKind, canonicalKind, urlKind, oidKind:
		return ", found " + readable(w.text(k))
	case objectKind:
		return ""
	}
	return ", found another " + s.typ.Code
}

// aims checks that a reference points at one of the types of a profile.
func (w *walker) aims(t *targets, k int) {
	r := w.child(k, w.plan.reference.ordinal("reference"))
	if r < 0 {
		return
	}
	if c, fault := w.target(w.text(r)); fault == "" && c != nil && !t.allows(c) && w.refused() {
		w.wrongTarget(t, c, int(w.nodes[r].start))
	}
}

// conforms checks a value against the profiles of its type, of which it must meet one.
func (w *walker) conforms(c *conformance, s *slot, k int) {
	if s.class == nil || w.nodes[k].slot&companion != 0 {
		return
	}
	if s.class == w.plan.extension {
		// An extension is checked against the definition of its own URL in any case.
		u := w.text(w.child(k, s.class.ordinal("url")))
		for _, f := range c.any {
			if p := f(); p != nil && p.url == string(u) {
				return
			}
		}
	}
	if len(c.any) > 1 {
		for _, f := range c.any {
			if w.passesProfile(f(), k) {
				return
			}
		}
	}
	if p := c.any[0](); p != nil && p.class == s.class {
		w.meets(p, k)
	}
}

// passesProfile tries a profile without telling of what is wrong.
func (w *walker) passesProfile(p *profile, k int) bool {
	if p == nil {
		return false
	}
	failed := w.failed
	w.trial++
	w.failed = false
	w.meets(p, k)
	w.trial--
	passed := !w.failed
	w.failed = failed
	return passed
}

// slice sorts the items from from on into the slices of an element, and checks them there.
// http://hl7.org/fhir/R4/profiling.html#slicing
func (w *walker) slice(x *expectation, n, from int) {
	to := len(w.items)
	for _, s := range x.slices {
		sure, maybe := 0, 0
		for i := from; i < to; i++ {
			k := int(w.items[i].node)
			is := definitions.Yes
			for _, t := range s.criteria {
				switch w.passes(t, k) {
				case definitions.No:
					is = definitions.No
				case definitions.Unknown:
					if is == definitions.Yes {
						is = definitions.Unknown
					}
				}
				if is == definitions.No {
					break
				}
			}
			switch is {
			case definitions.Unknown:
				maybe++
				w.items[i].sliced = true
			case definitions.Yes:
				sure++
				w.items[i].sliced = true
				w.at(i, from, func(k int) { w.item(s.expectation, n, k, i-from) })
			}
		}
		switch {
		case sure+maybe < s.min:
			w.occurs(s.expectation, sure, n)
		case s.max >= 0 && sure > s.max, sure+maybe == 0:
			w.occurs(s.expectation, sure, n)
		}
	}
	if x.slicing.Rules != definitions.Closed || len(x.slices) == 0 {
		return // closed without any slice would forbid the element, which max says otherwise
	}
	for i := from; i < to; i++ {
		if !w.items[i].sliced && w.refused() {
			w.at(i, from, func(k int) {
				w.errorAt(fhir.CodeStructure, "", int(w.nodes[k].start), x.name+" is in none of the slices of the profile, and no others are allowed", "leave it out")
			})
		}
	}
}

// extended checks an extension against its definition, if that is known: its value, and
// whether it may stand where it does.
// http://hl7.org/fhir/R4/defining-extensions.html#context
func (w *walker) extended(s *slot, n, start int) {
	u := w.text(w.child(n, w.plan.extension.ordinal("url")))
	if s.owner != w.plan.extension && len(u) > 0 && bytes.IndexByte(u, ':') < 0 && w.doubted() {
		w.warningAt(fhir.CodeValue, "url", start, "the url of the extension is not absolute, so it names no definition", "send the URL of its StructureDefinition")
	}
	f := w.plan.profiles[string(u)]
	if f == nil || w.opt.Level != Profiles {
		return
	}
	p := f()
	if p == nil || p.class != w.plan.extension {
		return
	}
	w.meets(p, n)
	if len(p.contexts) == 0 || w.stands(p.contexts) || !w.refused() {
		return
	}
	w.tell(fhir.Issue{Severity: fhir.SevError, Code: fhir.CodeBusinessRule, Message: "the extension is not defined for this element",
		Fix: "put it on " + choice(p.contexts), Spec: p.url}, "", start)
}

// stands reports whether the value whose extension is at hand is one of the contexts.
func (w *walker) stands(contexts []string) bool {
	last := w.depth - 2
	for _, c := range contexts {
		c = strings.TrimSuffix(c, "[x]")
		if c == "Element" {
			return true
		}
		if last < 0 || w.plan.slots[w.steps[last].slot].kind == resourceKind {
			of := w.of
			if last >= 0 {
				of = w.plan.slots[w.steps[last+1].slot].owner
			}
			if c == of.name || c == "Resource" || c == "DomainResource" && of.domain {
				return true
			}
			continue
		}
		s := &w.plan.slots[w.steps[last].slot]
		switch {
		case s.typ != nil && c == s.typ.Code, s.class != nil && c == s.class.name:
			return true
		case c == "BackboneElement":
			if s.class != nil && s.class.bit("modifierExtension") != 0 {
				return true
			}
		}
		// Observation.component.code, from whichever type it starts.
		path := s.name
		for i := last; i >= 0; i-- {
			owner := w.plan.slots[w.steps[i].slot].owner
			if c == owner.name+"."+path {
				return true
			}
			if i > 0 {
				path = w.plan.slots[w.steps[i-1].slot].name + "." + path
			}
		}
	}
	return false
}
