package validate

import (
	"bytes"
	"hash/maphash"

	"github.com/kiln-health/kiln/fhir"
)

// A walker goes over one body. It is used again for the next.
type walker struct {
	plan *plan
	opt  *Options
	body []byte
	pos  int
	of   *class // the class of the resource that is the body
	id   Span
	meta Span

	nodes    []node
	most     int  // how many nodes there may be
	memory   int  // how many of them there is memory for
	blind    bool // no notes are taken any more: there is too much, or too much that is wrong
	steps    [fhir.MaxDepth + 1]step
	depth    int // of steps
	level    int // of objects and arrays
	unquoted [2][]byte
	items    []item
	table    []int32 // nodes by a text in them
	seed     maphash.Seed

	container int // the node of the contained resource at hand, or -1
	contained int // how many resources the one at hand contains
	links     int // how many texts in it begin with #
	bundles   int // how many Bundles it is in
	far       int // how many references may be to another entry of the innermost one
	expense   expense

	found                []Found
	errors, warnings     int
	dropped, told, hints int
	profile              *profile // whose rules are being checked
	trial                int      // more than 0 while it is only asked whether something would pass
	failed               bool     // the trial
}

func (w *walker) begin(body []byte, opt *Options) {
	if w.seed == (maphash.Seed{}) {
		w.seed = maphash.MakeSeed()
	}
	w.body, w.opt, w.pos = body, opt, 0
	w.of, w.id, w.meta = nil, Span{}, Span{}
	w.nodes, w.items, w.blind = w.nodes[:0], w.items[:0], false
	w.most = max(fewNotes, len(body)/bytesPerNote)
	w.memory = min(w.most, cap(w.nodes))
	w.container, w.contained, w.links, w.bundles, w.far = -1, 0, 0, 0, 0
	w.expense = expense{}
	w.depth, w.level = 0, 0
	w.found, w.errors, w.warnings, w.dropped, w.told, w.hints = nil, 0, 0, 0, 0, 0
	w.profile, w.trial, w.failed = nil, 0, false
}

// root walks the resource that is the body.
func (w *walker) root() {
	c := w.classOf(w.pos)
	if c == nil {
		return
	}
	w.of = c
	if t := w.opt.Type; t != "" && t != c.name && w.refused() {
		w.errorAt(fhir.CodeInvalid, "", w.pos, "the resource is "+article(c.name)+", not "+article(t), "send "+article(t)+", or send it to "+c.name)
	}
	n := w.note(rootSlot|c.numbered(), w.pos)
	w.level = 1
	w.whole(c, n)
	if w.blind {
		return
	}
	w.resolve(0)
	for i := 1; i < int(w.nodes[0].next); i = int(w.nodes[i].next) {
		switch s := &w.plan.slots[w.nodes[i].slot&slotBits]; {
		case w.nodes[i].slot&(companion|unfit) != 0:
		case s.name == "id":
			w.id = Span{int(w.nodes[i].start), w.skip(int(w.nodes[i].start))}
		case s.name == "meta":
			w.meta = Span{int(w.nodes[i].start), w.skip(int(w.nodes[i].start))}
		}
	}
}

// whole walks a resource, and then checks what can be said of it as a whole only.
func (w *walker) whole(c *class, n int) {
	if c.name == "Bundle" {
		w.bundle(c, n)
	} else {
		w.object(c, n)
	}
	if w.opt.Level == Profiles && !w.blind {
		w.claimed(c, n)
	}
}

// nested walks a resource in another one. The resources in contained share the references
// of the one that they are contained in; all others stand alone.
func (w *walker) nested(s *slot, at uint32) {
	start := w.pos
	c := w.classOf(start)
	if c == nil {
		w.level--
		w.note(at|unfit, start)
		w.pos = w.skip(start)
		return
	}
	n := w.note(at|c.numbered(), start)
	if s.name == "contained" {
		outer := w.container
		w.contained++
		w.container = n
		w.whole(c, n)
		w.container = outer
		return
	}
	container, contained, links := w.container, w.contained, w.links
	w.container, w.contained, w.links = -1, 0, 0
	w.whole(c, n)
	if !w.blind {
		w.resolve(n)
	}
	w.container, w.contained, w.links = container, contained, links
}

// object walks an object of a class, whose node is n. Its level has been entered, and is left here.
func (w *walker) object(c *class, n int) {
	start := w.pos
	w.pos++
	var values, companions uint64
	uneven, empty := false, true
	for {
		w.space()
		if w.body[w.pos] == '}' {
			break
		}
		if w.body[w.pos] == ',' {
			w.pos++
			w.space()
		}
		at := w.pos
		name, beside := w.name()
		if c.resource && string(name) == "resourceType" && !beside {
			if values&typed != 0 && w.refused() {
				w.errorIn(c, fhir.CodeStructure, "", at, "resourceType occurs twice", "send each name once")
			}
			values |= typed
			w.pos = w.skip(w.pos)
			continue
		}
		empty = false
		i := c.find(name)
		if i < 0 || beside && !w.plan.slots[i].companioned() {
			w.unknown(c, name, beside, at)
			w.pos = w.skip(w.pos)
			continue
		}
		s := &w.plan.slots[i]
		seen := &values
		if beside {
			seen, uneven = &companions, true
		}
		w.steps[w.depth] = step{i, 0}
		w.depth++
		if bit := uint64(1) << s.member; (values|companions)&bit != 0 && !w.fits(n, s, i, *seen&bit != 0, at) {
			w.pos = w.skip(w.pos)
		} else {
			*seen |= bit
			if w.member(s, i, beside) {
				uneven = true
			}
		}
		w.depth--
	}
	w.pos++
	w.level--
	if n >= 0 {
		w.nodes[n].next = uint32(len(w.nodes))
		w.closed(c, n, start, values, companions, uneven, empty)
	}
}

// typed is the bit of resourceType among those of the members.
const typed = 1 << maxMembers

// name reads a name and goes on to its value. A companion's begins with an underscore,
// which is taken off.
func (w *walker) name() (name []byte, beside bool) {
	start := w.pos
	w.pos = w.endOfString(start)
	name = w.body[start+1 : w.pos-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		name = bytes.Clone(w.plain(start, w.pos))
	}
	w.space()
	w.pos++ // the colon
	w.space()
	if len(name) > 0 && name[0] == '_' {
		return name[1:], true
	}
	return name, false
}

// closed checks an object as a whole.
func (w *walker) closed(c *class, n, start int, values, companions uint64, uneven, empty bool) {
	has := values | companions
	if missing := c.required &^ has; missing != 0 {
		w.missing(c, missing, start)
	}
	if empty && !c.resource {
		if w.refused() {
			w.errorIn(c, fhir.CodeStructure, "", start, "an object is never empty", "leave the element out")
		}
		return
	}
	if w.blind {
		return
	}
	if uneven {
		w.pair(c, n, values, companions)
	}
	if c == w.plan.reference {
		w.refer(n)
	}
	if w.opt.Level == Structure {
		return
	}
	for i := range c.rules {
		if r := &c.rules[i]; !r.check(w, n, has) {
			w.breach(r, start)
		}
	}
}

// fits reports whether a name may follow those of the object that are for the same
// element: a value and its companion belong together if they have the same type.
func (w *walker) fits(n int, s *slot, i int32, twice bool, at int) bool {
	if twice && !w.refused() {
		return false
	}
	m := &s.owner.members[s.member]
	other := i
	if m.count > 1 && !w.blind {
		for k := n + 1; k < len(w.nodes); k = w.after(k) {
			if o := int32(w.nodes[k].slot & slotBits); o >= m.first && o < m.first+m.count && o != i {
				other = o
			}
		}
	}
	switch {
	case other != i && (twice || w.refused()):
		w.errorAt(fhir.CodeStructure, "", at, s.name+"[x] has two values: "+w.plan.slots[other].json+" and "+s.json, "send one of them")
	case twice:
		w.errorAt(fhir.CodeStructure, "", at, "the name occurs twice in the object", "send each name once")
	}
	return !twice && other == i
}

// member walks the value of a name. It reports whether there is a null among the values.
func (w *walker) member(s *slot, i int32, beside bool) (nulls bool) {
	flags := uint32(i)
	if beside {
		flags |= companion
	}
	if w.body[w.pos] != '[' {
		if s.list {
			if w.refused() {
				w.errorAt(fhir.CodeStructure, "", w.pos, s.json+" is an array, also for one value", "put the value into [ ]")
			}
		}
		return w.value(s, flags, false)
	}
	if !s.list {
		if w.refused() {
			w.errorAt(fhir.CodeStructure, "", w.pos, s.json+" is a single value, not an array", "send the value without [ ]")
		}
		w.note(flags|unfit, w.pos)
		w.pos = w.skip(w.pos)
		return false
	}
	start := w.pos
	if !w.enter() {
		w.pos = w.skip(w.pos)
		return false
	}
	w.pos++
	n := int32(0)
	for {
		w.space()
		if w.body[w.pos] == ']' {
			break
		}
		if w.body[w.pos] == ',' {
			w.pos++
			w.space()
		}
		w.steps[w.depth-1].index = n
		nulls = w.value(s, flags, true) || nulls
		n++
	}
	w.steps[w.depth-1].index = 0
	w.pos++
	w.level--
	if n == 0 && w.refused() {
		w.errorAt(fhir.CodeStructure, "", start, "an array is never empty", "leave "+s.json+" out")
	}
	if n > manyItems && cap(w.items) < int(n) && s.class != nil && s.class.name == "Coding" {
		w.items = make([]item, 0, n) // obs-7 sorts them: growing there would take several times as much
	}
	if m := &s.owner.members[s.member]; m.max > 1 && int(n) > m.max && w.refused() {
		w.errorAt(fhir.CodeStructure, "", start, s.name+" occurs "+number(int(n))+" times, at most "+number(m.max)+" are allowed", "")
	}
	return nulls
}

// manyItems is a length that arrays of Codings do not have.
const manyItems = 1024

// enter goes one level down, unless that is too deep.
func (w *walker) enter() bool {
	if w.level < fhir.MaxDepth {
		w.level++
		return true
	}
	if w.refused() {
		w.errorAt(fhir.CodeTooCostly, "", w.pos, "more than "+number(fhir.MaxDepth)+" levels of objects and arrays", "nest less deeply")
	}
	return false
}

// value walks one value. It reports whether that is a null in an array, which a companion
// may fill.
func (w *walker) value(s *slot, flags uint32, item bool) (isNull bool) {
	start := w.pos
	first := w.body[start]
	k := s.kind
	if flags&companion != 0 {
		k = objectKind
	}
	switch {
	case first == 'n' && item && s.kind.primitive():
		w.note(flags|null, start)
		w.pos += len("null")
		return true
	case first == '{' && k <= resourceKind:
		if !w.enter() {
			w.note(flags|unfit, start)
			w.pos = w.skip(start)
			return false
		}
		if k == resourceKind {
			w.nested(s, flags)
			return false
		}
		c := s.class
		if flags&companion != 0 {
			c = w.plan.element
		}
		n := w.note(flags, start)
		w.object(c, n)
		if flags&companion == 0 && !w.blind {
			w.filled(s, n, start)
		}
		return false
	case k > resourceKind && first != '{' && first != '[' && first != 'n':
		end := w.skip(start)
		w.pos = end
		if !w.primitive(s, start, end) {
			flags |= unfit
		}
		n := w.note(flags, start)
		if s.local && n >= 0 && flags&unfit == 0 {
			w.refersInside(n, start)
		}
		if len(s.rules) > 0 && n >= 0 && flags&unfit == 0 && w.opt.Level != Structure {
			for i := range s.rules {
				if r := &s.rules[i]; !r.check(w, n, 0) {
					w.breach(r, start)
				}
			}
		}
		return false
	}
	if w.refused() {
		switch want := written(k); {
		case first == 'n':
			w.errorAt(fhir.CodeStructure, "", start, "null is no value", "leave the element out")
		case flags&companion != 0:
			w.errorAt(fhir.CodeStructure, "", start, "_"+s.json+" must be "+want+", found "+looks(first), "send its id or extensions, or leave it out")
		default:
			w.errorAt(fhir.CodeStructure, "", start, s.json+" must be "+want+", found "+looks(first), "send "+want)
		}
	}
	w.note(flags|unfit, start)
	w.pos = w.skip(start)
	return false
}

// filled checks what the type of an object alone does not say: rules of the element that
// it is, and the value set that it is bound to.
func (w *walker) filled(s *slot, n, start int) {
	if w.opt.Level == Structure {
		return
	}
	if s.binding != nil {
		w.bound(s.binding, n, start)
	}
	switch s.class {
	case w.plan.extension:
		w.extended(s, n, start)
	case w.plan.entry:
		w.addressed(n)
	}
	if s.meets != nil {
		if p := s.meets(); p != nil && p.class == s.class {
			w.meets(p, n)
		}
	}
	if len(s.rules) == 0 {
		return
	}
	has := w.members(n)
	for i := range s.rules {
		if r := &s.rules[i]; !r.check(w, n, has) {
			w.breach(r, start)
		}
	}
}

// unknown tells of a name that the class does not have.
func (w *walker) unknown(c *class, name []byte, beside bool, at int) {
	if !w.refused() {
		return
	}
	whole := name
	if beside {
		whole = append([]byte{'_'}, name...)
	}
	fix := "leave it out, or put it into an extension"
	if i := c.find(name); beside && i >= 0 {
		fix = w.plan.slots[i].json + " is no primitive that can have extensions: put them into its extension"
		if k := w.plan.slots[i].kind; k.primitive() {
			fix = "leave it out: " + w.plan.slots[i].json + " cannot have an id or extensions"
		}
	} else if n := w.similar(c, name); n != "" {
		if beside {
			n = "_" + n
		}
		fix = `did you mean "` + n + `"?`
	}
	element := ""
	if isIdentifier(whole) {
		element = string(whole)
	}
	w.errorIn(c, fhir.CodeStructure, element, at, memberName(whole)+" is no element of "+c.name, fix)
}

// similar is the JSON name of the class that is most like name, or "".
func (w *walker) similar(c *class, name []byte) string {
	if len(name) == 0 || len(name) > 64 {
		return ""
	}
	for _, m := range c.members {
		// The bare name of a choice: which type it has is for the sender to say.
		if m.name == string(name) && m.count > 1 {
			return w.plan.slots[m.first].json
		}
	}
	return nearest(string(name), func(yield func(string) bool) {
		for _, e := range c.table {
			if e.slot != 0 && !yield(e.name) {
				return
			}
		}
	})
}

// missing tells of the members that are not there and must be.
func (w *walker) missing(c *class, bits uint64, at int) {
	for i := range c.members {
		if bits>>i&1 == 0 || !w.refused() {
			continue
		}
		m := &c.members[i]
		name := m.name
		if m.element.Choice {
			name += "[x]"
		}
		w.errorIn(c, fhir.CodeRequired, m.name, at, name+" is missing: "+c.name+" must have it", "add "+name)
	}
}
