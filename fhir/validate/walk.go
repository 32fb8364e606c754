package validate

import (
	"bytes"
	"iter"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
)

// A walker goes over one body. It is used again for the next.
type walker struct {
	plan    *plan
	opt     *Options
	decoder *jsontext.Decoder
	body    []byte
	pos     int
	of      *class // the class of the resource that is the body
	id      Span
	meta    Span

	nodes    []node
	blind    bool // no notes are taken any more: there is too much that is wrong
	nulls    int
	steps    [fhir.MaxDepth + 1]step
	depth    int // of steps
	level    int // of objects and arrays
	locals   []local
	inside   []inside
	unquoted [2][]byte
	items    []item

	found                []Found
	errors, warnings     int
	dropped, told, hints int
	profile              *profile // whose rules are being checked
	trial                int      // more than 0 while it is only asked whether something would pass
	failed               bool     // the trial
}

// A node is the note that is taken of a value. The nodes of what is in it follow it.
type node struct {
	start uint32 // where it begins in the body
	next  uint32 // the node that follows what is in it
	slot  uint32 // what it is, and flags
}

const (
	companion  = 1 << 31 // it is the id and the extensions of a primitive: _status
	null       = 1 << 30
	unfit      = 1 << 29 // it is not what belongs here; what is in it has no nodes
	classShift = 20      // of the number of the type of a resource, plus one
	classBits  = 0xff
	slotBits   = 1<<classShift - 1
)

// tolerated is how many errors may be found until no more notes are taken, so that they
// take no more memory than the notes of something useful.
const tolerated = 1000

// maxNulls is how many nulls there may be in arrays of primitives.
const maxNulls = 10_000

func (w *walker) begin(body []byte, opt *Options) {
	w.body, w.opt, w.pos = body, opt, 0
	w.of, w.id, w.meta = nil, Span{}, Span{}
	w.nodes, w.locals, w.inside, w.items = w.nodes[:0], w.locals[:0], w.inside[:0], w.items[:0]
	w.blind, w.nulls = false, 0
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
	// Enough for all but the densest bodies, in 1.5 times the memory of the body.
	if enough := len(w.body)/8 + 16; cap(w.nodes) < enough {
		w.nodes = make([]node, 0, enough)
	}
	n := w.note(rootSlot|c.typed(), w.pos)
	w.level = 1
	w.whole(c, n)
	if w.blind {
		return
	}
	w.resolve(0, 0, 0)
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

// rootSlot is the slot of the body itself, which is in none.
const rootSlot = slotBits

// typed is the part of a slot that says which resource type it is.
func (c *class) typed() uint32 { return uint32(c.number+1) << classShift }

// classOf is the class of the resource that begins at at, nil if it says none that is known.
// Its resourceType may be anywhere in it.
func (w *walker) classOf(at int) *class {
	name, where := w.resourceType(at)
	switch c := w.plan.resources[string(name)]; {
	case c != nil:
		return c
	case where < 0:
		if w.refused() {
			w.errorAt(fhir.CodeRequired, "", at, "the resource does not say its resourceType", `add "resourceType" with the name of its type`)
		}
	case w.refused():
		fix := "send the name of an R4 resource"
		if len(name) <= 64 {
			if n := nearest(string(name), each(w.plan.names)); n != "" {
				fix = "did you mean " + n + "?"
			}
		}
		w.errorAt(fhir.CodeStructure, "", where, readable(name)+" is no resource type of R4", fix)
	}
	return nil
}

// resourceType is the value of the resourceType of the object at at, and where it is; -1 if there is none.
func (w *walker) resourceType(at int) (name []byte, where int) {
	i := w.blank(at + 1)
	for w.body[i] != '}' {
		if w.body[i] == ',' {
			i = w.blank(i + 1)
		}
		end := w.endOfString(i)
		is := string(w.body[i:end]) == `"resourceType"` || end-i > 14 && string(w.plain(i, end)) == "resourceType"
		i = w.blank(w.blank(end) + 1)
		end = w.skip(i)
		if is {
			if w.body[i] == '"' {
				return w.plain(i, end), i
			}
			return nil, i
		}
		i = w.blank(end)
	}
	return nil, -1
}

// whole walks a resource, and then checks what can be said of it as a whole only.
func (w *walker) whole(c *class, n int) {
	w.object(c, n)
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
	n := w.note(at|c.typed(), start)
	if s.name == "contained" {
		k := len(w.inside)
		w.inside = append(w.inside, inside{node: int32(n), class: c})
		locals := len(w.locals)
		w.whole(c, n)
		w.inside[k].answers = w.answers(locals)
		return
	}
	locals, contained := len(w.locals), len(w.inside)
	w.whole(c, n)
	if !w.blind {
		w.resolve(n, locals, contained)
	}
	w.locals, w.inside = w.locals[:locals], w.inside[:contained]
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
		w.pos = w.endOfString(at)
		name := w.body[at+1 : w.pos-1]
		if bytes.IndexByte(name, '\\') >= 0 {
			name = bytes.Clone(w.plain(at, w.pos))
		}
		w.space()
		w.pos++
		w.space()
		beside := len(name) > 0 && name[0] == '_'
		if beside {
			name = name[1:]
		}
		i := c.find(name)
		if i < 0 || beside && (!w.plan.slots[i].kind.primitive() || w.plan.slots[i].attribute || w.plan.slots[i].kind == xhtml) {
			if c.resource && !beside && string(name) == "resourceType" {
				if values>>maxMembers != 0 && w.refused() {
					w.errorIn(c, fhir.CodeStructure, "", at, "resourceType occurs twice", "send each name once")
				}
				values |= 1 << maxMembers
			} else {
				empty = false
				w.unknown(c, name, beside, at)
			}
			w.pos = w.skip(w.pos)
			continue
		}
		empty = false
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
	if n < 0 {
		return
	}
	w.nodes[n].next = uint32(len(w.nodes))
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

// after is the node that follows node k and what is in it, also while that is not complete.
func (w *walker) after(k int) int {
	if next := int(w.nodes[k].next); next > k {
		return next
	}
	return len(w.nodes)
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
	if m := &s.owner.members[s.member]; m.max > 1 && int(n) > m.max && w.refused() {
		w.errorAt(fhir.CodeStructure, "", start, s.name+" occurs "+number(int(n))+" times, at most "+number(m.max)+" are allowed", "")
	}
	return nulls
}

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
		k = object
	}
	switch {
	case first == 'n' && item && s.kind.primitive():
		if w.nulls++; w.nulls > maxNulls {
			w.tooManyNulls(start)
		}
		w.note(flags|null, start)
		w.pos += len("null")
		return true
	case first == '{' && k <= resource:
		if !w.enter() {
			w.note(flags|unfit, start)
			w.pos = w.skip(start)
			return false
		}
		if k == resource {
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
	case k > resource && first != '{' && first != '[' && first != 'n':
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

// tooManyNulls stops taking notes: a null is short, and a note of it is not.
func (w *walker) tooManyNulls(at int) {
	if !w.blind && w.refused() {
		w.errorAt(fhir.CodeTooCostly, "", at, "there are more than "+number(maxNulls)+" nulls", "leave out what has no value")
	}
	w.blind = true
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
		w.named(n)
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
	if r := readable(whole); r[0] == '"' && !bytes.ContainsAny(whole, ".:/[]{}%'*+#") {
		element = string(whole)
	}
	w.errorIn(c, fhir.CodeStructure, element, at, readable(whole)+" is no element of "+c.name, fix)
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
		for index := int32(0); v >= 0 || k >= 0; index++ {
			here := k
			if here < 0 {
				here = v
			}
			valued := v >= 0 && w.nodes[v].slot&null == 0
			if !valued && (k < 0 || w.nodes[k].slot&(null|unfit) != 0 || !w.extends(k)) && (k < 0 || w.nodes[k].slot&unfit == 0) && w.refused() {
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
		}
	}
}

// extends reports whether a companion has more than an id.
func (w *walker) extends(k int) bool {
	for i := k + 1; i < int(w.nodes[k].next); i = int(w.nodes[i].next) {
		if w.plan.slots[w.nodes[i].slot&slotBits].name != "id" {
			return true
		}
	}
	return false
}

// first is the first node of a member of the object at node n, with the companion flag or without it; -1 if there is none.
func (w *walker) first(n int, m *member, flag uint32) int {
	return w.from(n+1, int(w.nodes[n].next), m, flag)
}

// sibling is the next one after node k.
func (w *walker) sibling(n, k int, m *member, flag uint32) int {
	return w.from(int(w.nodes[k].next), int(w.nodes[n].next), m, flag)
}

func (w *walker) from(i, end int, m *member, flag uint32) int {
	for ; i < end; i = int(w.nodes[i].next) {
		s := w.nodes[i].slot
		if of := int32(s & slotBits); of >= m.first && of < m.first+m.count && s&companion == flag {
			return i
		}
	}
	return -1
}

// members are the bits of the members that the object at node n has.
func (w *walker) members(n int) (has uint64) {
	for i := n + 1; i < int(w.nodes[n].next); i = int(w.nodes[i].next) {
		has |= 1 << w.plan.slots[w.nodes[i].slot&slotBits].member
	}
	return has
}

// note takes a note of the value that begins at start. It is -1 if no more notes are taken.
func (w *walker) note(slot uint32, start int) int {
	if w.blind || w.errors > tolerated {
		w.blind = true
		return -1
	}
	n := len(w.nodes)
	w.nodes = append(w.nodes, node{uint32(start), uint32(n + 1), slot})
	return n
}

// space goes to the next byte that is no white space.
func (w *walker) space() { w.pos = w.blank(w.pos) }

func (w *walker) blank(i int) int {
	for w.body[i] <= ' ' {
		i++
	}
	return i
}

// endOfString is the end of the string that begins at the quote at i.
func (w *walker) endOfString(i int) int {
	i++
	for {
		i += bytes.IndexByte(w.body[i:], '"')
		back := i
		for w.body[back-1] == '\\' {
			back--
		}
		if (i-back)%2 == 0 {
			return i + 1
		}
		i++
	}
}

// skip is the end of the value that begins at i.
func (w *walker) skip(i int) int {
	switch w.body[i] {
	case '"':
		return w.endOfString(i)
	case '{', '[':
		depth := 0
		for {
			switch w.body[i] {
			case '"':
				i = w.endOfString(i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
				if depth == 0 {
					return i + 1
				}
			}
			i++
		}
	}
	for i < len(w.body) && w.body[i] > ' ' && w.body[i] != ',' && w.body[i] != '}' && w.body[i] != ']' {
		i++
	}
	return i
}

// plain is the text of the string from its quote at start to the end. It is valid until the next call.
func (w *walker) plain(start, end int) []byte { return w.unquote(0, start, end) }

func (w *walker) unquote(buffer, start, end int) []byte {
	raw := w.body[start+1 : end-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	u, err := jsontext.AppendUnquote(w.unquoted[buffer][:0], w.body[start:end])
	w.unquoted[buffer] = u
	if err != nil { // jsontext has accepted it before
		return raw
	}
	return u
}

// text is the text of the string at node n, nil if there is none. It is valid until the
// next call of it or of plain.
func (w *walker) text(n int) []byte { return w.textIn(0, n) }

// textIn is text in one of two buffers, for who needs two of them.
func (w *walker) textIn(buffer, n int) []byte {
	if n < 0 || w.nodes[n].slot&(unfit|null) != 0 {
		return nil
	}
	start := int(w.nodes[n].start)
	if w.body[start] != '"' {
		return nil
	}
	return w.unquote(buffer, start, w.endOfString(start))
}

// child is the node of a member of the object at node n, -1 if it is not there. Of an array it is the first item.
func (w *walker) child(n, ordinal int) int {
	if ordinal < 0 {
		return -1
	}
	c := w.classAt(n)
	if c == nil {
		return -1
	}
	return w.first(n, &c.members[ordinal], 0)
}

// classAt is the class of the object at node n.
func (w *walker) classAt(n int) *class {
	s := w.nodes[n].slot
	if number := s >> classShift & classBits; number != 0 {
		return w.plan.types[number-1]
	}
	if s&companion != 0 {
		return w.plan.element
	}
	return w.plan.slots[s&slotBits].class
}

func written(k kind) string {
	switch k {
	case object, resource:
		return "a JSON object"
	case boolean:
		return "true or false"
	case decimal, integer, positiveInt, unsignedInt:
		return "a JSON number"
	}
	return "a JSON string"
}

func looks(first byte) string {
	switch first {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

func article(name string) string {
	if strings.IndexByte("AEIOUaeio", name[0]) >= 0 {
		return "an " + name
	}
	return "a " + name
}

func each(names []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, n := range names {
			if !yield(n) {
				return
			}
		}
	}
}
