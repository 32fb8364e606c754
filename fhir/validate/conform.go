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

// An item is a value that is put in order with others.
type item struct{ node int32 }

// claimed checks the resource of class c at node n against the profiles that it claims in
// meta.profile, and the body also against those that it was asked to meet.
// http://hl7.org/fhir/R4/profiling.html
func (w *walker) claimed(c *class, n int) {
	if w.nodes[n].slot&slotBits == rootSlot {
		for i, u := range w.opt.Profiles {
			w.demanded(i, u, c, n)
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
		element := "meta.profile[" + number(claims-1) + "]"
		if claims > maxClaims {
			if w.refused() {
				w.errorAt(fhir.CodeTooCostly, element, at, "the resource claims more than "+number(maxClaims)+" profiles", "claim fewer")
			}
			return
		}
		name, version, _ := bytes.Cut(u, []byte("|"))
		f := w.plan.profiles[string(name)]
		if f == nil {
			if w.doubted() {
				w.warningAt(fhir.CodeNotSupported, element, at, "the profile that is claimed is not known here, so it was not checked", "claim one that is known, if there is one")
			}
			continue
		}
		p := f()
		w.versioned(p, string(version), element, at)
		if string(name) == c.spec || w.requested(name) || w.claimedBefore(meta, m, k, name) {
			continue
		}
		w.conform(p, c, n, at, element)
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

// versioned tells that a profile is named in another version than the one that is known.
func (w *walker) versioned(p *profile, version, element string, at int) {
	if p != nil && version != "" && p.version != "" && p.version != version && w.doubted() {
		w.warningAt(fhir.CodeNotSupported, element, at, "the profile "+p.url+" is known in version "+p.version+" only, and was checked in that", "name that version, or none")
	}
}

// demanded checks the body against a profile that it was asked to meet, the one at index i.
func (w *walker) demanded(i int, u string, c *class, n int) {
	bare, version, _ := strings.Cut(u, "|")
	at := int(w.nodes[n].start)
	f := w.plan.profiles[bare]
	if f == nil {
		if w.refused() {
			w.errorAt(fhir.CodeNotSupported, "", at, "profile "+number(i+1)+" of "+number(len(w.opt.Profiles))+" that were asked for is not known here", "ask for one that is")
		}
		return
	}
	p := f()
	w.versioned(p, version, "", at)
	if bare != c.spec {
		w.conform(p, c, n, at, "")
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
		flag := uint32(0)
		first := w.first(n, x.member, 0)
		if first < 0 {
			flag = companion
			first = w.first(n, x.member, companion)
		}
		count := 0
		for o := w.occurrences(x, n, first, flag); o.node >= 0; o = w.next(o) {
			w.step(&o)
			w.item(x, &o)
			w.depth--
			count++
		}
		w.occurs(x, count, n)
		if x.slicing != nil {
			w.slice(x, n, first, flag)
		}
	}
}

// An occurrence is a value of an element of the object at node of, while these are gone through.
type occurrence struct {
	member *member
	of     int
	node   int // -1 is past the last one
	index  int
	flag   uint32
	beside int // the companion of a primitive, -1 if there is none or nobody needs it
}

// occurrences begins with the one at node first.
func (w *walker) occurrences(x *expectation, n, first int, flag uint32) occurrence {
	o := occurrence{member: x.member, of: n, node: first, flag: flag, beside: -1}
	if flag == 0 && len(x.inner) > 0 {
		o.beside = w.first(n, x.member, companion)
	}
	return o
}

// next is the occurrence that follows.
func (w *walker) next(o occurrence) occurrence {
	o.node = w.sibling(o.of, o.node, o.member, o.flag)
	o.index++
	if o.beside >= 0 {
		o.beside = w.sibling(o.of, o.beside, o.member, companion)
	}
	return o
}

// step goes down to an occurrence. Who calls it goes up again.
func (w *walker) step(o *occurrence) {
	w.steps[w.depth] = step{int32(w.nodes[o.node].slot & slotBits), int32(o.index)}
	w.depth++
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

// item checks one value of an element.
func (w *walker) item(x *expectation, o *occurrence) {
	k := o.node
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
			if inside = o.beside; inside < 0 || w.nodes[inside].slot&null != 0 {
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
	if x.limit != nil {
		w.withinLimit(x.limit, s, k, start)
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

// instead says what was found in place of a fixed value, if that is a code of a list.
func (w *walker) instead(s *slot, k int) string {
	switch {
	case s.kind == codeKind && s.codes != nil:
		return ", found " + readable(w.text(k))
	case s.kind == objectKind:
		return ""
	}
	return ", found another " + s.typ.Code
}

// withinLimit checks a value against the value set beyond which no code is allowed, whatever
// the strength of its binding.
// http://hl7.org/fhir/R4/terminologies.html#extensible
func (w *walker) withinLimit(set *definitions.CodeSet, s *slot, k, start int) {
	outside := false
	switch {
	case s.kind == codeKind || s.kind == uriKind || s.kind == stringKind:
		outside = w.body[start] == '"' && set.ContainsCode(w.text(k)) == definitions.No
	case s.class != nil:
		if is, _, _ := s.class.coded(); is {
			answer, at, coded := w.memberOf(&binding{set, true}, k)
			if outside = coded && answer == definitions.No; outside {
				start = int(w.nodes[at].start)
			}
		}
	}
	if outside && w.refused() {
		w.errorAt(fhir.CodeCodeInvalid, "", start, "the code is not in the value set "+set.URL+", beyond which none is allowed here", hint(set))
	}
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

// slice sorts the values of an element, from node first on, into its slices, and checks
// them there. http://hl7.org/fhir/R4/profiling.html#slicing
func (w *walker) slice(x *expectation, n, first int, flag uint32) {
	for o := w.occurrences(x, n, first, flag); o.node >= 0; o = w.next(o) {
		w.nodes[o.node].slot &^= inSlice
	}
	latest := -1 // the index of the last value in the slices before
	for _, s := range x.slices {
		sure, maybe, last := 0, 0, -1
		for o := w.occurrences(s.expectation, n, first, flag); o.node >= 0; o = w.next(o) {
			switch w.belongs(s, o.node) {
			case definitions.Unknown:
				maybe++
				w.nodes[o.node].slot |= inSlice
			case definitions.Yes:
				sure++
				w.nodes[o.node].slot |= inSlice
				last = o.index
				w.step(&o)
				if x.slicing.Ordered && o.index < latest && w.refused() {
					w.errorAt(fhir.CodeStructure, "", int(w.nodes[o.node].start), s.name+" comes after what belongs behind it: the slices have an order", "put it before them")
				}
				w.item(s.expectation, &o)
				w.depth--
			}
		}
		latest = max(latest, last)
		switch {
		case sure+maybe < s.min:
			w.occurs(s.expectation, sure, n)
		case s.max >= 0 && sure > s.max, sure+maybe == 0:
			w.occurs(s.expectation, sure, n)
		}
	}
	if x.slicing.Rules != definitions.Open && len(x.slices) > 0 { // closed without any slice would forbid the element, which max says otherwise
		w.unsliced(x, n, first, flag)
	}
}

// belongs says whether the value at node k is in a slice.
func (w *walker) belongs(s *slice, k int) definitions.Membership {
	is := definitions.Yes
	for _, t := range s.criteria {
		switch w.passes(t, k) {
		case definitions.No:
			return definitions.No
		case definitions.Unknown:
			is = definitions.Unknown
		}
	}
	return is
}

// unsliced tells of values that are in no slice and must not be there, or not there.
func (w *walker) unsliced(x *expectation, n, first int, flag uint32) {
	end := -1 // the index of the last value in a slice
	for o := w.occurrences(x, n, first, flag); o.node >= 0 && x.slicing.Rules == definitions.OpenAtEnd; o = w.next(o) {
		if w.nodes[o.node].slot&inSlice != 0 {
			end = o.index
		}
	}
	for o := w.occurrences(x, n, first, flag); o.node >= 0; o = w.next(o) {
		if w.nodes[o.node].slot&inSlice != 0 || x.slicing.Rules == definitions.OpenAtEnd && o.index > end || !w.refused() {
			continue
		}
		message, fix := x.name+" is in none of the slices of the profile, and no others are allowed", "leave it out"
		if x.slicing.Rules == definitions.OpenAtEnd {
			message, fix = x.name+" is in none of the slices of the profile, and others are allowed at the end only", "put it behind those that are"
		}
		w.step(&o)
		w.errorAt(fhir.CodeStructure, "", int(w.nodes[o.node].start), message, fix)
		w.depth--
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
