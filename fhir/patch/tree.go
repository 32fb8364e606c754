package patch

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
)

// maxKids is how many members or items an object or array may have that a patch looks into.
const maxKids = 1 << 17

// A node is a JSON value that keeps the bytes it was read from until something in it changes.
// Those bytes are valid and compact. Objects and arrays are taken apart where a patch
// looks into them, and nowhere else.
type node struct {
	raw    []byte // nil once changed
	size   int    // in bytes
	deep   int    // levels of objects and arrays, 0 if not known
	kind   byte   // { [ " t f n, and 0 for a number
	opened bool
	kids   []kid // if opened
	parent *node
}

// A kid is a member of an object, or an item of an array, which has no name.
type kid struct {
	name []byte // as written, with quotes
	*node
}

func newNode(raw []byte) *node {
	n := &node{raw: raw, size: len(raw), kind: raw[0]}
	if n.kind == '-' || '0' <= n.kind && n.kind <= '9' {
		n.kind = '0'
	}
	return n
}

// container reports whether n is an object or an array.
func (n *node) container() bool { return n.kind == '{' || n.kind == '[' }

// open takes an object or an array apart.
func (n *node) open() error {
	if n.opened {
		return nil
	}
	rest := n.raw[1 : len(n.raw)-1]
	for len(rest) > 0 {
		if len(n.kids) == maxKids {
			n.kids = nil
			return fhir.Errorf(fhir.CodeTooCostly, "", "an object or array on the way has more than %d members or items", maxKids).
				WithFix("send the whole resource with an update")
		}
		k := kid{}
		if n.kind == '{' {
			end := valueEnd(rest)
			k.name, rest = rest[:end:end], rest[end+1:]
		}
		end := valueEnd(rest)
		k.node = newNode(rest[:end:end])
		k.parent = n
		n.kids = append(n.kids, k)
		if rest = rest[end:]; len(rest) > 0 {
			rest = rest[1:]
		}
	}
	n.opened = true
	return nil
}

// valueEnd is the length of the value that compact JSON begins with.
func valueEnd(s []byte) int {
	switch s[0] {
	case '"':
		return stringEnd(s)
	case '{', '[':
		deep := 0
		for i := 0; i < len(s); i++ {
			switch s[i] {
			case '"':
				i += stringEnd(s[i:]) - 1
			case '{', '[':
				deep++
			case '}', ']':
				if deep--; deep == 0 {
					return i + 1
				}
			}
		}
		return len(s)
	}
	if i := bytes.IndexAny(s, ",]}"); i >= 0 {
		return i
	}
	return len(s)
}

func stringEnd(s []byte) int {
	for i := 1; i < len(s); {
		quote := bytes.IndexByte(s[i:], '"')
		if quote < 0 {
			break
		}
		i += quote + 1
		escapes := 0
		for s[i-2-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i
		}
	}
	return len(s)
}

// find is the place of a member of an object that is open, or -1.
func (n *node) find(name string) int {
	for i := range n.kids {
		if written := n.kids[i].name; bytes.IndexByte(written, '\\') < 0 {
			if string(written[1:len(written)-1]) == name {
				return i
			}
		} else if unquote(written) == name {
			return i
		}
	}
	return -1
}

// member is the member of an object that is open, or nil.
func (n *node) member(name string) *node {
	if i := n.find(name); i >= 0 {
		return n.kids[i].node
	}
	return nil
}

func unquote(written []byte) string {
	s, err := jsontext.AppendUnquote(nil, written)
	if err != nil { // it was checked when it was read
		return string(written)
	}
	return string(s)
}

func quote(name string) []byte {
	b, err := jsontext.AppendQuote(nil, name)
	if err != nil { // names come from JSON that was checked
		return []byte(`""`)
	}
	return b
}

// text is what a string says, and "" if n is none.
func (n *node) text() string {
	if n.kind != '"' {
		return ""
	}
	return unquote(n.raw)
}

// insert makes v the kid i of n, which is open. The name is nil in an array.
func (n *node) insert(i int, name []byte, v *node) {
	v.parent = n
	n.kids = slices.Insert(n.kids, i, kid{name, v})
	n.changed(n.share(name, v))
}

// remove takes the kid i from n, which is open.
func (n *node) remove(i int) *node {
	k := n.kids[i]
	less := n.share(k.name, k.node)
	n.kids = slices.Delete(n.kids, i, i+1)
	n.changed(-less)
	k.parent = nil
	return k.node
}

// replace puts v in the place of the kid i of n, which is open.
func (n *node) replace(i int, v *node) {
	old := n.kids[i].node
	old.parent, v.parent = nil, n
	n.kids[i].node = v
	n.changed(v.size - old.size)
}

// share is how many bytes a kid takes with its name and its comma.
func (n *node) share(name []byte, v *node) int {
	size := v.size
	if name != nil {
		size += len(name) + 1
	}
	if len(n.kids) > 1 {
		size++
	}
	return size
}

func (n *node) changed(bytes int) {
	for ; n != nil; n = n.parent {
		n.raw, n.deep = nil, 0
		n.size += bytes
	}
}

// append writes n behind dst.
func (n *node) append(dst []byte) []byte {
	if n.raw != nil {
		return append(dst, n.raw...)
	}
	dst = append(dst, n.kind)
	for i, k := range n.kids {
		if i > 0 {
			dst = append(dst, ',')
		}
		if k.name != nil {
			dst = append(dst, k.name...)
			dst = append(dst, ':')
		}
		dst = k.append(dst)
	}
	if n.kind == '{' {
		return append(dst, '}')
	}
	return append(dst, ']')
}

// copy is n once more. It shares the bytes, which are never written to.
func (n *node) copy() *node {
	raw := n.raw
	if raw == nil {
		raw = n.append(make([]byte, 0, n.size))
	}
	c := newNode(raw)
	c.deep = n.deep
	return c
}

// level is how many objects and arrays one is in that is directly in n.
func (n *node) level() int {
	level := 0
	for ; n != nil; n = n.parent {
		level++
	}
	return level
}

// depth is how many levels of objects and arrays n has: none if it is neither.
func (n *node) depth() int {
	if !n.container() || n.deep > 0 {
		return n.deep
	}
	if n.raw != nil {
		n.deep = nesting(n.raw)
		return n.deep
	}
	for _, k := range n.kids {
		n.deep = max(n.deep, k.depth())
	}
	n.deep++
	return n.deep
}

func nesting(s []byte) int {
	deep, deepest := 0, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			i += stringEnd(s[i:]) - 1
		case '{', '[':
			deep++
			deepest = max(deepest, deep)
		case '}', ']':
			deep--
		}
	}
	return deepest
}

// equal compares as RFC 6902 section 4.6 says: numbers by value, objects without order.
func equal(a, b *node) (bool, error) {
	if a.kind != b.kind {
		return false, nil
	}
	if a.raw != nil && b.raw != nil && bytes.Equal(a.raw, b.raw) {
		return true, nil
	}
	switch a.kind {
	case '"':
		return unquote(a.raw) == unquote(b.raw), nil
	case '0':
		x, okX := parseNumber(string(a.raw))
		y, okY := parseNumber(string(b.raw))
		return okX && okY && x.compare(y) == 0, nil
	case '{', '[':
		return sameKids(a, b)
	}
	return true, nil // true, false or null, twice
}

func sameKids(a, b *node) (bool, error) {
	if err := a.open(); err != nil {
		return false, err
	}
	if err := b.open(); err != nil || len(a.kids) != len(b.kids) {
		return false, err
	}
	var places map[string]int
	if a.kind == '{' && len(b.kids) > 16 {
		places = make(map[string]int, len(b.kids))
		for i := range b.kids {
			places[unquote(b.kids[i].name)] = i
		}
	}
	for i, k := range a.kids {
		j := i
		if a.kind == '{' {
			name, ok := unquote(k.name), false
			if places == nil {
				j = b.find(name)
				ok = j >= 0
			} else {
				j, ok = places[name]
			}
			if !ok {
				return false, nil
			}
		}
		if same, err := equal(k.node, b.kids[j].node); !same || err != nil {
			return false, err
		}
	}
	return true, nil
}
