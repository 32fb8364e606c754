package search

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/apd/v3"
)

// Extract are the terms of a resource: for each parameter of its type the values that a
// search compares with. It reads the JSON once. A value that does not make sense (a day
// that does not exist, a number where a code belongs, a code longer than MaxValueLength)
// gives no term, and so is found by :missing=true: no resource is refused for it. Texts of
// string parameters have no limit of their own. The only error is text that is no JSON
// object; it is no proof of JSON that there is none. _id and _lastUpdated are not among the
// terms: Matches takes them from the key. A type that is not in Types has no terms.
//
// An absolute reference is one to another server: Extract does not know where it runs. Who
// takes a resource in writes references to this server as relative ones.
//
// Extract changes nothing in json, keeps nothing of it, and may be called from any number
// of goroutines. The terms of a few resources are in the same memory: who keeps those of one
// for long keeps it all.
func (p *Parameters) Extract(resourceType string, json []byte) (Terms, error) {
	c := p.class(resourceType)
	if c == nil {
		return Terms{}, nil
	}
	x := extractors.Get().(*Extractor)
	x.begin(c, json)
	x.zone = p.at()
	if x.peek() == '{' {
		x.walk(0)
		if x.peek() != 0 {
			x.fail(errSyntax)
		}
	} else {
		x.fail(errObject)
	}
	if x.err != nil {
		// x is in the middle of things: it does not go back to the pool.
		return Terms{}, fmt.Errorf("search: terms of a %s at byte %d: %w", resourceType, x.pos, x.err)
	}
	return x.Terms(), nil
}

// Extractor is for who walks the JSON of a resource anyway: told of each element in the
// order of the document, it has the terms that Extract finds at the end. It belongs to one
// goroutine.
//
//	x := parameters.Extractor("Observation", json)
//	x.Element(0, "code", 217)      // reads the CodeableConcept; false: nothing in it is wanted
//	x.Element(0, "component", 480) // true: its elements are
//	x.Element(1, "code", 489)
//	terms := x.Terms()
type Extractor struct {
	tape
	class   *class
	program *program
	zone    *time.Location
	terms   Terms
	spare   spare
	frames  []frame
	top     int // the innermost frame whose elements are wanted

	seen     []uint64 // a bit for each row that has had terms
	compared int      // how often terms were compared with earlier ones
	crowded  bool     // there are too many terms to compare them one by one
	open     []opened
	shared   []Terms
	waiting  []waiting

	odd    bool // a part of the value at hand cannot be used
	end    int  // of the value at hand, once it is read
	tokens []token
	types  []token  // of an Identifier
	labels []string // what :text compares with
}

// frame is an object on the way to values.
type frame struct {
	nodes []*node // what it is
	next  []*node // what its member of that name is
	name  string
	index int
}

// token is a value of a token parameter, as it is written and in lower case.
type token struct{ system, code, lower string }

// opened is a tuple that is not complete yet.
type opened struct {
	parts []piece
	more  []Terms // those parts that are of several pieces
	any   bool
}

// piece says where in the terms the values of a part are.
type piece struct {
	field    field
	from, to int
}

// field is one of the slices of Terms.
type field uint8

const (
	noField field = iota
	tokensField
	referencesField
	datesField
	quantitiesField
	stringsField
	urisField
	several // of the part's own Terms
)

// waiting is a tuple whose shared parts are not complete before the end.
type waiting struct{ tuple, base int }

// spare is memory for the terms of resources to come: what the allocator is asked for is for
// several of them. What a resource has is cut off and is never used for another.
type spare struct {
	terms    Terms // each slice is empty, but has a capacity
	parts    []Terms
	decimals []apd.Decimal
	texts    strings.Builder // a text stays where it is written, and the next goes behind it
}

const (
	slab = 8 // for so many resources of the usual size memory is asked for

	usualTuples = 2
	usualParts  = 4   // of all tuples together
	usualText   = 512 // bytes
)

// begin makes sure of memory for the texts of a resource whose JSON has that length.
func (s *spare) begin(length int) {
	if s.texts.Cap()-s.texts.Len() < min(length/2, 2*usualText) {
		s.texts = strings.Builder{}
		s.texts.Grow(slab * usualText)
	}
}

// text is a copy of text.
func (s *spare) text(text []byte) string {
	start := s.texts.Len()
	s.texts.Write(text)
	return s.texts.String()[start:]
}

func (s *spare) decimal(n number) *apd.Decimal {
	if len(s.decimals) == cap(s.decimals) {
		s.decimals = make([]apd.Decimal, 0, slab)
	}
	s.decimals = s.decimals[:len(s.decimals)+1]
	return s.decimals[len(s.decimals)-1].SetFinite(n.coefficient, n.exponent)
}

// tuple is n parts of a tuple, without terms.
func (s *spare) tuple(n int) []Terms {
	if cap(s.parts) < n {
		s.parts = make([]Terms, max(slab*usualParts, n))
	}
	parts := s.parts[:n:n]
	s.parts = s.parts[n:]
	return parts
}

// leave takes the terms of a resource out.
func (s *spare) leave(t Terms) Terms {
	t.Tokens = cut(t.Tokens, &s.terms.Tokens, keptTokens.usual)
	t.References = cut(t.References, &s.terms.References, keptReferences.usual)
	t.Dates = cut(t.Dates, &s.terms.Dates, keptDates.usual)
	t.Quantities = cut(t.Quantities, &s.terms.Quantities, keptQuantities.usual)
	t.Strings = cut(t.Strings, &s.terms.Strings, keptStrings.usual)
	t.URIs = cut(t.URIs, &s.terms.URIs, keptURIs.usual)
	t.Tuples = cut(t.Tuples, &s.terms.Tuples, usualTuples)
	if s.texts.Cap() > slab*usualText {
		s.texts = strings.Builder{}
	}
	return t
}

// room is where values are added: behind those that there are, else in what is spare, else
// in new memory for a slab of the usual number.
func room[T any](added, spare []T, usual int) []T {
	switch {
	case added != nil:
		return added
	case cap(spare) < usual:
		return make([]T, 0, slab*usual)
	}
	return spare
}

// cut takes what was added off what is spare. Of what outgrew that nothing is spare.
func cut[T any](added []T, spare *[]T, usual int) []T {
	if added == nil {
		return nil
	}
	if *spare = nil; cap(added) <= slab*usual {
		*spare = added[len(added):]
	}
	return slices.Clip(added)
}

// Limits of what an Extractor brings back to the pool.
const maxPooled = 1 << 12

var extractors = sync.Pool{New: func() any { return &Extractor{} }}

// Extractor begins to collect the terms of the resource whose JSON is json, which must be
// valid and stay as it is until Terms. A type that is not in Types has no terms.
func (p *Parameters) Extractor(resourceType string, json []byte) *Extractor {
	x := extractors.Get().(*Extractor)
	c := p.class(resourceType)
	if c == nil {
		c = &class{program: &program{root: &node{}}}
	}
	x.begin(c, json)
	x.zone = p.at()
	return x
}

func (x *Extractor) begin(c *class, json []byte) {
	x.tape = tape{json: json, name: x.name[:0], buf: x.buf[:0]}
	x.class, x.program = c, c.program
	x.terms = Terms{}
	x.spare.begin(len(json))
	for len(x.frames) < c.program.depth+2 {
		x.frames = append(x.frames, frame{})
	}
	x.top = 0
	x.seen = append(x.seen[:0], make([]uint64, len(c.rows)*termNames/64+1)...)
	x.compared, x.crowded = 0, false
	for len(x.open) < len(c.program.bases) {
		x.open = append(x.open, opened{})
	}
	x.shared = append(x.shared[:0], make([]Terms, c.program.shared)...)
	x.waiting = x.waiting[:0]
	x.odd, x.end = false, 0

	root := &x.frames[0]
	root.nodes, root.name = root.nodes[:0], ""
	x.enter(root, c.program.root, 0, 0, true)
}

func (x *Extractor) release() {
	x.json, x.terms = nil, Terms{}
	if cap(x.buf)+cap(x.name) > maxPooled || cap(x.tokens)+cap(x.types)+cap(x.labels)+cap(x.waiting) > maxPooled {
		return
	}
	clear(x.tokens[:cap(x.tokens)])
	clear(x.types[:cap(x.types)])
	clear(x.labels[:cap(x.labels)])
	clear(x.shared)
	extractors.Put(x)
}

// Element tells of an element at a depth, 0 for a member of the resource: its name in JSON
// and where in it its value begins. An array is no element: each of its items is. It
// reports whether elements inside of this one are wanted, at depth+1; telling of others is
// no mistake. What is contained in a resource may be left out.
func (x *Extractor) Element(depth int, name string, start int) (inside bool) {
	if depth > x.top || depth < 0 || start < 0 || start >= len(x.json) {
		return false
	}
	for x.top > depth {
		x.close(&x.frames[x.top])
		x.top--
	}
	f := &x.frames[depth]
	if f.name == name {
		f.index++
	} else if !find(f, name) {
		return false
	} else {
		f.name, f.index = name, 0
	}
	if len(f.next) == 0 {
		return false
	}
	x.pos, x.err = start, nil
	if inside = x.visit(depth, f.index); inside {
		x.top = depth + 1
	}
	return inside
}

// Terms are the terms of what was told. The Extractor must not be used any more.
func (x *Extractor) Terms() Terms {
	for ; x.top >= 0; x.top-- {
		x.close(&x.frames[x.top])
	}
	for _, a := range x.program.always {
		if !x.has(a.row, plainTerm) && !bytes.Contains(x.json, a.companion) {
			x.terms.Tokens = append(x.terms.Tokens, Token{a.row.Name, "", "false"})
		}
	}
	x.share()
	if x.crowded {
		x.terms.distinct()
	}
	x.terms.Tuples = distinctTuples(x.terms.Tuples)
	t := x.spare.leave(x.terms)
	x.release()
	return t
}

// walk goes over the members of the object at hand, whose frame is at depth.
func (x *Extractor) walk(depth int) {
	x.pos++
	f := &x.frames[depth]
	for x.more('}') {
		name := x.member()
		switch {
		case x.err != nil:
		case !find(f, name):
			x.skip()
		case x.peek() != '[':
			x.item(depth, 0)
		default:
			x.pos++
			for i := 0; x.more(']'); i++ {
				x.item(depth, i)
			}
		}
	}
}

// item takes one value of the member that was found.
func (x *Extractor) item(depth, index int) {
	inside := x.visit(depth, index)
	switch {
	case inside:
		x.walk(depth + 1)
	case x.end > x.pos:
		x.pos = x.end
	default:
		x.skip()
	}
	x.close(&x.frames[depth+1])
}

// find notes what the member of that name is, and reports whether it is anything.
func find[T string | []byte](f *frame, name T) bool {
	f.next, f.name = f.next[:0], ""
	for _, n := range f.nodes {
		if c := lookup(n, name); c != nil {
			f.next = append(f.next, c)
		}
	}
	return len(f.next) > 0
}

// visit reads the value at hand as what was found at depth. It reports whether there is
// more of it inside; then its frame is at depth+1. The position stays; end is that of the
// value if it was read.
func (x *Extractor) visit(depth, index int) (inside bool) {
	object := x.peek() == '{'
	start := x.pos
	x.end = 0
	to := &x.frames[depth+1]
	to.nodes, to.name = to.nodes[:0], ""
	for _, n := range x.frames[depth].next {
		inside = x.enter(to, n, start, index, object) || inside
	}
	x.pos = start
	return inside && object
}

// enter reads the value at start as what n is, and all that it is if it meets conditions.
func (x *Extractor) enter(to *frame, n *node, start, index int, object bool) (inside bool) {
	if n.leaves != nil {
		x.pos = start
		x.read(n)
		x.end = x.pos
	}
	if object && (n.names != nil || n.bases != nil) {
		to.nodes = append(to.nodes, n)
		inside = true
	}
	for i := range n.guarded {
		if g := &n.guarded[i]; x.meets(g.when, start, index) {
			inside = x.enter(to, g.node, start, index, object) || inside
		}
	}
	return inside
}

// meets reports whether the value at start meets a condition.
func (x *Extractor) meets(when step, start, index int) bool {
	if when.index > 0 {
		return index == when.index-1
	}
	ahead := tape{json: x.json, pos: start}
	if when.extends == "" {
		return ahead.equals(when.field, when.literal)
	}
	if ahead.peek() != '{' {
		return false
	}
	for ahead.pos++; ahead.more('}'); {
		if string(ahead.member()) != "extension" || ahead.peek() != '[' {
			ahead.skip()
			continue
		}
		for ahead.pos++; ahead.more(']'); {
			item := tape{json: x.json, pos: ahead.pos}
			if item.equals("url", when.extends) {
				return true
			}
			ahead.skip()
		}
	}
	return false
}

// equals reports whether an object has a member of that name that is a string, or true or
// false, written like literal.
func (s *tape) equals(name, literal string) bool {
	if s.peek() != '{' {
		return false
	}
	for s.pos++; s.more('}'); {
		if string(s.member()) != name {
			s.skip()
			continue
		}
		if s.peek() == '"' {
			return string(s.plain()) == literal && s.err == nil
		}
		start := s.pos
		s.skip()
		return string(s.json[start:s.pos]) == literal && s.err == nil
	}
	return false
}

// close ends an object: the tuples that it is.
func (x *Extractor) close(f *frame) {
	for _, n := range f.nodes {
		for _, b := range n.bases {
			x.tuple(b)
		}
	}
	f.nodes, f.name = f.nodes[:0], ""
}

// tuple ends a tuple. It counts if each of its components has a value.
func (x *Extractor) tuple(number int) {
	o, b := &x.open[number], &x.program.bases[number]
	if !o.any {
		return
	}
	late, complete := false, true
	for i := range o.parts {
		late = late || b.shared[i] >= 0
		complete = complete && (b.shared[i] >= 0 || o.parts[i].field != noField)
	}
	if late && complete {
		x.waiting = append(x.waiting, waiting{len(x.terms.Tuples), number})
	}
	if complete {
		parts := x.spare.tuple(len(o.parts))
		for i := range o.parts {
			if o.parts[i].field == several {
				parts[i] = o.more[i]
			} else {
				x.put(&parts[i], o.parts[i])
			}
		}
		x.terms.Tuples = append(room(x.terms.Tuples, x.spare.terms.Tuples, usualTuples), Tuple{b.param, parts})
	}
	for i := range o.parts {
		if o.parts[i].field == several {
			o.more[i] = Terms{}
		}
		o.parts[i] = piece{}
	}
	o.any = false
}

// put lets t have the values of a piece.
func (x *Extractor) put(t *Terms, p piece) {
	switch p.field {
	case tokensField:
		t.Tokens = x.terms.Tokens[p.from:p.to:p.to]
	case referencesField:
		t.References = x.terms.References[p.from:p.to:p.to]
	case datesField:
		t.Dates = x.terms.Dates[p.from:p.to:p.to]
	case quantitiesField:
		t.Quantities = x.terms.Quantities[p.from:p.to:p.to]
	case stringsField:
		t.Strings = x.terms.Strings[p.from:p.to:p.to]
	case urisField:
		t.URIs = x.terms.URIs[p.from:p.to:p.to]
	}
}

// share completes the tuples that have parts in common, and takes those out that are not complete.
func (x *Extractor) share() {
	for _, w := range x.waiting {
		t := &x.terms.Tuples[w.tuple]
		for i, s := range x.program.bases[w.base].shared {
			if s < 0 {
				continue
			}
			if t.Parts[i] = x.shared[s]; t.Parts[i].empty() {
				t.Param = ""
			}
		}
	}
	if len(x.waiting) > 0 {
		x.terms.Tuples = slices.DeleteFunc(x.terms.Tuples, func(t Tuple) bool { return t.Param == "" })
	}
}

func (t *Terms) empty() bool {
	return len(t.Tokens)+len(t.References)+len(t.Dates)+len(t.Quantities)+len(t.Strings)+len(t.URIs) == 0
}

func (x *Extractor) has(r *row, which int) bool {
	bit := r.number*termNames + which
	return x.seen[bit/64]>>(bit%64)&1 != 0
}

// opened is the tuple of a composite that is being made.
func (x *Extractor) opened(number int) *opened {
	o := &x.open[number]
	if n := x.program.bases[number].parts; !o.any {
		if o.any = true; cap(o.parts) < n {
			o.parts, o.more = make([]piece, n), nil
		}
		o.parts = o.parts[:n]
	}
	return o
}

// own is where a part has values that are not one piece of the terms.
func (x *Extractor) own(p part) *Terms {
	if p.base < 0 {
		return &x.shared[p.at]
	}
	o := x.opened(p.base)
	if len(o.more) < len(o.parts) {
		o.more = make([]Terms, len(o.parts))
	}
	if is := &o.parts[p.at]; is.field != several {
		x.put(&o.more[p.at], *is)
		is.field = several
	}
	return &o.more[p.at]
}

// kept is a slice of Terms, and how its values compare.
type kept[T any, K comparable] struct {
	field field
	usual int // how many a resource has
	of    func(*Terms) *[]T
	equal func(a, b *T) bool
	key   func(*T) K
}

var (
	keptTokens     = kept[Token, Token]{tokensField, 8, func(t *Terms) *[]Token { return &t.Tokens }, equal[Token], itself[Token]}
	keptReferences = kept[Reference, Reference]{referencesField, 4, func(t *Terms) *[]Reference { return &t.References }, equal[Reference], itself[Reference]}
	keptDates      = kept[Date, Date]{datesField, 2, func(t *Terms) *[]Date { return &t.Dates }, equal[Date], itself[Date]}
	keptQuantities = kept[Quantity, [8]string]{quantitiesField, 4, func(t *Terms) *[]Quantity { return &t.Quantities }, (*Quantity).equal, (*Quantity).key}
	keptStrings    = kept[String, String]{stringsField, 8, func(t *Terms) *[]String { return &t.Strings }, equal[String], itself[String]}
	keptURIs       = kept[URI, URI]{urisField, 2, func(t *Terms) *[]URI { return &t.URIs }, equal[URI], itself[URI]}
	// No component of a composite is a position.
	keptPositions = kept[Position, Position]{noField, 1, func(t *Terms) *[]Position { return &t.Positions }, equal[Position], itself[Position]}
)

// take makes terms of what a leaf has added behind start: it is given to tuples, and kept
// for the parameter unless it is there already.
func take[T any, K comparable](x *Extractor, l *leaf, which int, all []T, start int, k *kept[T, K]) []T {
	if len(all)-start > 1 {
		all = all[:start+len(unique(all[start:], k.equal, k.key))]
	}
	added := all[start:len(all):len(all)]
	if len(added) == 0 {
		return all
	}
	again := x.has(l.row, which)
	if len(l.parts) > 0 && which == plainTerm {
		x.give(l, len(added), start, !l.silent && !again, k.field, func(t *Terms) {
			to := k.of(t)
			*to = append(*to, added...)
		})
	}
	if l.silent {
		return all[:start]
	}
	bit := l.number*termNames + which
	x.seen[bit/64] |= 1 << (bit % 64)
	if !again {
		return all
	}
	if x.compared > 1<<12 {
		x.crowded = true
		return all
	}
	x.compared += start * len(added)
	kept := all[:start]
next:
	for i := range added {
		for j := range start {
			if k.equal(&all[j], &added[i]) {
				continue next
			}
		}
		kept = append(kept, added[i])
	}
	return kept
}

// give lets the parts of tuples have n values that are at start: as a piece if they stay
// there, else as a copy.
func (x *Extractor) give(l *leaf, n, start int, stay bool, f field, copied func(*Terms)) {
	for _, p := range l.parts {
		if stay && p.base >= 0 {
			if o := x.opened(p.base); o.parts[p.at].field == noField {
				o.parts[p.at] = piece{f, start, start + n}
				continue
			}
		}
		copied(x.own(p))
	}
}

// distinct takes equal values out of the terms. Tuples may have the same memory: it is left alone.
func (t *Terms) distinct() {
	t.Tokens = unique(slices.Clone(t.Tokens), equal, itself)
	t.References = unique(slices.Clone(t.References), equal, itself)
	t.Dates = unique(slices.Clone(t.Dates), equal, itself)
	t.Quantities = unique(slices.Clone(t.Quantities), (*Quantity).equal, (*Quantity).key)
	t.Strings = unique(slices.Clone(t.Strings), equal, itself)
	t.URIs = unique(slices.Clone(t.URIs), equal, itself)
	t.Positions = unique(slices.Clone(t.Positions), equal, itself)
}

// distinctTuples takes equal tuples out.
func distinctTuples(all []Tuple) []Tuple {
	if len(all) < 2 {
		return all
	}
	return unique(all, (*Tuple).equal, func(t *Tuple) string { return fmt.Sprint(t.Param, t.key()) })
}

func (t *Tuple) equal(u *Tuple) bool {
	return t.Param == u.Param && slices.EqualFunc(t.Parts, u.Parts, func(a, b Terms) bool {
		return slices.Equal(a.Tokens, b.Tokens) && slices.Equal(a.References, b.References) && slices.Equal(a.Dates, b.Dates) &&
			slices.Equal(a.Strings, b.Strings) && slices.Equal(a.URIs, b.URIs) &&
			slices.EqualFunc(a.Quantities, b.Quantities, func(q, r Quantity) bool { return q.equal(&r) })
	})
}

// key is all that is in a tuple.
func (t *Tuple) key() []any {
	var all []any
	for _, p := range t.Parts {
		quantities := make([][8]string, len(p.Quantities))
		for i := range p.Quantities {
			quantities[i] = p.Quantities[i].key()
		}
		all = append(all, fmt.Sprintf("%q %q %v %q %q %q", p.Tokens, p.References, p.Dates, quantities, p.Strings, p.URIs))
	}
	return all
}

func equal[T comparable](a, b *T) bool { return *a == *b }
func itself[T any](a *T) T             { return *a }

// equal takes 72.5 and 72.50 for one.
func (q *Quantity) equal(r *Quantity) bool {
	return q.Param == r.Param && q.System == r.System && q.Code == r.Code && q.Unit == r.Unit && q.LowOpen == r.LowOpen && q.HighOpen == r.HighOpen &&
		same(q.Low, r.Low) && same(q.High, r.High)
}

func same(a, b *apd.Decimal) bool { return a == b || a != nil && b != nil && a.Cmp(b) == 0 }

// key is a Quantity as text, the same for the same number.
func (q *Quantity) key() [8]string {
	k := [8]string{q.Param, q.System, q.Code, q.Unit, plain(q.Low), plain(q.High)}
	if q.LowOpen {
		k[6] = "open"
	}
	if q.HighOpen {
		k[7] = "open"
	}
	return k
}

func plain(n *apd.Decimal) string {
	if n == nil {
		return ""
	}
	var r apd.Decimal
	r.Reduce(n)
	if r.IsZero() {
		return "0"
	}
	return r.String()
}

// unique keeps the first of equal values, in place. A stranger may send very many: few
// are compared with each other, many go through a map of their keys.
func unique[T any, K comparable](all []T, equal func(a, b *T) bool, key func(*T) K) []T {
	const few = 16
	kept := all[:0]
	if len(all) > few {
		seen := make(map[K]bool, len(all))
		for i := range all {
			if k := key(&all[i]); !seen[k] {
				seen[k] = true
				kept = append(kept, all[i])
			}
		}
		return kept
	}
next:
	for i := range all {
		for j := range kept {
			if equal(&kept[j], &all[i]) {
				continue next
			}
		}
		kept = append(kept, all[i])
	}
	return kept
}

// outer is the span of all intervals that were added.
type outer struct {
	low, high time.Time
	found     bool
}

func (o *outer) add(low, high time.Time, ok bool) {
	switch {
	case !ok:
	case !o.found:
		o.low, o.high, o.found = low, high, true
	default:
		if low.Before(o.low) {
			o.low = low
		}
		if high.IsZero() || !o.high.IsZero() && high.After(o.high) {
			o.high = high
		}
	}
}
