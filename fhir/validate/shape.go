package validate

import (
	"bytes"
	"encoding/json"
	"math/bits"
	"sort"
)

// A shape is a value in a definition, to compare values with.
type shape struct {
	kind    byte // '{', '[', '"', '0' or 't' for true and false
	text    []byte
	members []shapeMember
	items   []*shape
}

type shapeMember struct {
	name  string
	value *shape
}

// parseShape reads the JSON of a definition. It is nil if that is none.
func parseShape(text string) *shape {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil
	}
	return newShape(v)
}

func newShape(v any) *shape {
	switch v := v.(type) {
	case map[string]any:
		s := &shape{kind: '{'}
		for name, value := range v {
			s.members = append(s.members, shapeMember{name, newShape(value)})
		}
		sort.Slice(s.members, func(i, j int) bool { return s.members[i].name < s.members[j].name })
		return s
	case []any:
		s := &shape{kind: '['}
		for _, value := range v {
			s.items = append(s.items, newShape(value))
		}
		return s
	case string:
		return &shape{kind: '"', text: []byte(v)}
	case json.Number:
		return &shape{kind: '0', text: []byte(v)}
	case bool:
		if v {
			return &shape{kind: 't', text: []byte("true")}
		}
		return &shape{kind: 't', text: []byte("false")}
	}
	return nil
}

// String is the JSON of the shape, shortened if it is long.
func (s *shape) String() string {
	var b bytes.Buffer
	s.write(&b)
	if b.Len() > 200 {
		return b.String()[:200] + "…"
	}
	return b.String()
}

func (s *shape) write(b *bytes.Buffer) {
	switch s.kind {
	case '{':
		b.WriteByte('{')
		for i, m := range s.members {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(m.name + ": ")
			m.value.write(b)
		}
		b.WriteByte('}')
	case '[':
		b.WriteByte('[')
		for i, v := range s.items {
			if i > 0 {
				b.WriteString(", ")
			}
			v.write(b)
		}
		b.WriteByte(']')
	case '"':
		b.WriteString(`"` + string(s.text) + `"`)
	default:
		b.Write(s.text)
	}
}

// same reports whether the value at node k is s: exactly, or as a pattern, which may lack
// elements and items that the value has.
// http://hl7.org/fhir/R4/elementdefinition.html#ElementDefinition.pattern_x_
func (w *walker) same(k int, s *shape, exact bool) bool {
	if s == nil {
		return true
	}
	if w.nodes[k].slot&(unfit|null) != 0 {
		return false
	}
	start := int(w.nodes[k].start)
	switch s.kind {
	case '{':
		if w.body[start] != '{' {
			return false
		}
		c := w.classAt(k)
		if c == nil || exact && bits.OnesCount64(w.members(k)) != len(s.members) {
			return false
		}
		for i := range s.members {
			if !w.sameMember(k, c, &s.members[i], exact) {
				return false
			}
		}
		return true
	case '"':
		return w.body[start] == '"' && bytes.Equal(w.text(k), s.text)
	case '0':
		n := w.numberAt(k)
		return n != nil && compare(n, s.text) == 0
	}
	return string(w.body[start:w.skip(start)]) == string(s.text)
}

func (w *walker) sameMember(k int, c *class, want *shapeMember, exact bool) bool {
	i := c.find([]byte(want.name))
	if i < 0 {
		return false
	}
	only := member{first: i, count: 1}
	at := w.first(k, &only, 0)
	if want.value == nil || want.value.kind != '[' {
		return at >= 0 && w.same(at, want.value, exact)
	}
	if exact {
		for _, item := range want.value.items {
			if at < 0 || !w.same(at, item, true) {
				return false
			}
			at = w.sibling(k, at, &only, 0)
		}
		return at < 0
	}
next:
	for _, item := range want.value.items {
		for j := at; j >= 0; j = w.sibling(k, j, &only, 0) {
			if w.same(j, item, false) {
				continue next
			}
		}
		return false
	}
	return true
}
