package xmlformat

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
)

// A reader makes JSON of XML while it goes through it once.
type reader struct {
	lexer
	model   map[string]*shape
	out     []byte
	level   int // of objects and arrays in out
	at      place
	scratch []byte
}

func refuse(at int, element, message, fix string) *fault {
	return &fault{at: at, code: fhir.CodeStructure, element: element, message: message, fix: fix, spec: specXML}
}

func (r *reader) document() error {
	if err := r.begin(); err != nil {
		return err
	}
	r.out = make([]byte, 0, len(r.doc))
	m, err := r.tag()
	if err != nil {
		return err
	}
	if err := r.resource(m); err != nil {
		return err
	}
	_, err = r.tag()
	return err
}

// tag is the next tag, or the end of the document. Between tags is only white space.
func (r *reader) tag() (mark, error) {
	for {
		m, err := r.next()
		if err != nil || m.kind != characters && m.kind != cdata && m.kind != comment {
			return m, err
		}
		if m.kind == comment {
			continue
		}
		for i := m.start; i < m.end; i++ {
			if !isSpace(r.doc[i]) {
				return m, refuse(i, "", "text between elements", "write values into the attribute value")
			}
		}
	}
}

// down is one level down in out.
func (r *reader) down(m mark) error {
	if r.level == fhir.MaxDepth {
		return &fault{at: m.start, code: fhir.CodeTooCostly, message: fmt.Sprintf("more than %d levels of objects and arrays", fhir.MaxDepth), fix: "nest less deeply"}
	}
	r.level++
	return nil
}

// member begins a member of an object.
func (r *reader) member(prefix, name string) {
	if r.out[len(r.out)-1] != '{' {
		r.out = append(r.out, ',')
	}
	r.out = append(r.out, '"')
	r.out = append(r.out, prefix...)
	r.out = append(r.out, name...)
	r.out = append(r.out, `":`...)
}

// resource writes the resource that begins at m.
func (r *reader) resource(m mark) error {
	of := r.model[string(m.local)]
	if m.space != fhirSpace {
		return wrongSpace(m)
	}
	if of == nil {
		return refuse(m.start, "", readable(m.local)+" is no resource type of R4", "send the XML of an R4 resource")
	}
	if len(r.at) == 0 {
		r.at.enter(of.name, -1)
	}
	if err := r.down(m); err != nil {
		return err
	}
	if _, err := r.allowed(m, of, false); err != nil {
		return err
	}
	r.out = append(r.out, `{"resourceType":"`...)
	r.out = append(r.out, of.name...)
	r.out = append(r.out, '"')
	first, err := r.tag()
	if err != nil {
		return err
	}
	if err := r.elements(of, nil, first); err != nil {
		return err
	}
	r.out = append(r.out, '}')
	r.level--
	return nil
}

func wrongSpace(m mark) *fault {
	return refuse(m.start, asElement(m.local), readable(m.local)+" is not in the namespace of FHIR", `write xmlns="`+fhirURL+`" on the outermost element, and only there`)
}

// given are the attributes of an element as they are written; nil is none.
type given struct{ id, url, value []byte }

// allowed are the attributes of the element that begins at m. It refuses all that FHIR does not have.
func (r *reader) allowed(m mark, of *shape, valued bool) (given, error) {
	var g given
	for i := range m.attributes {
		a := &m.attributes[i]
		if _, ok := a.declares(); ok {
			continue
		}
		var to *[]byte
		switch string(a.name) {
		case "value":
			if valued {
				to = &g.value
			}
		case "url":
			if of.url != nil {
				to = &g.url
			}
		case "id":
			if f := of.fields["id"]; f != nil && f.kind == attribute {
				to = &g.id
			}
		}
		if to == nil {
			return g, refuse(a.start, "", readable(a.name)+" is no attribute of "+of.name, "leave it out")
		}
		if blank(a.value) {
			return g, refuse(a.start, "", "the attribute "+string(a.name)+" is empty", "leave it out")
		}
		*to = a.value
	}
	return g, nil
}

// A run is the elements of one field that follow one another.
type run struct {
	field   *field
	n       int    // how many there are so far
	start   int    // where it begins in out
	valued  bool   // a primitive of it has a value
	beside  []byte // the array of ids and extensions of primitives, if any has one, up to its last comma
	besides int    // how many are in it
}

// elements writes the elements from m to the end tag of the element around them, as members of the
// object that is open. url is the attribute url of the element around, nil if it has none.
func (r *reader) elements(of *shape, url []byte, m mark) error {
	var current run
	for m.kind != endTag {
		if len(r.out) > MaxBytes {
			return tooLong(m.start, "the JSON")
		}
		f, err := r.field(of, m, current.field)
		if err != nil {
			return err
		}
		if f != current.field {
			r.endRun(&current)
			if url != nil && f.order > of.url.order {
				r.text("url", url)
				url = nil
			}
			current = run{field: f, start: len(r.out)}
		}
		if err := r.element(m, &current); err != nil {
			return err
		}
		if m, err = r.tag(); err != nil {
			return err
		}
	}
	r.endRun(&current)
	if url != nil {
		r.text("url", url)
	}
	return nil
}

func (r *reader) endRun(c *run) {
	if c.field == nil || !c.field.list {
		return
	}
	r.level--
	if c.field.kind.primitive() && !c.valued {
		r.out = r.out[:c.start] // nulls only
	} else {
		r.out = append(r.out, ']')
	}
	if c.beside == nil {
		return
	}
	for ; c.besides < c.n; c.besides++ {
		c.beside = append(c.beside, "null,"...)
	}
	r.member("_", c.field.name)
	r.out = append(r.out, c.beside...)
	r.out[len(r.out)-1] = ']'
}

// field is what the element that begins at m is, after elements of the field last.
func (r *reader) field(of *shape, m mark, last *field) (*field, error) {
	f := of.fields[string(m.local)]
	if f == nil {
		fix := "leave it out, or put it into an extension"
		if c := of.choice(string(m.local)); c != "" {
			fix = "write the type behind it, as in " + c
		}
		return nil, refuse(m.start, asElement(m.local), readable(m.local)+" is no element of "+of.name, fix)
	}
	if f.kind == attribute {
		return nil, refuse(m.start, f.step, f.name+" is an attribute in XML, not an element", "write it as an attribute of the element around it")
	}
	if f.kind == xhtml && m.space != xhtmlSpace {
		return nil, refuse(m.start, f.step, f.name+" is not in the namespace of XHTML", `write xmlns="`+xhtmlURL+`" on it`)
	}
	if f.kind != xhtml && m.space != fhirSpace {
		return nil, wrongSpace(m)
	}
	switch {
	case last == nil || last.order < f.order:
	case last.order > f.order:
		return nil, refuse(m.start, f.step, f.name+" comes too late: elements have the order of their definition", "put it before "+last.name)
	case last != f:
		return nil, refuse(m.start, f.step, "both "+last.name+" and "+f.name+", of which there can be one only", "leave one out")
	case !f.list:
		return nil, refuse(m.start, f.step, f.name+" occurs twice, and can occur once", "leave one out")
	}
	return f, nil
}

// element writes the element that begins at m, which is the next one of the run c.
func (r *reader) element(m mark, c *run) error {
	f, index := c.field, -1
	if f.list {
		index = c.n
	}
	r.at.enter(f.step, index)
	switch {
	case c.n > 0:
		r.out = append(r.out, ',')
	case f.list:
		if err := r.down(m); err != nil {
			return err
		}
		r.member("", f.name)
		r.out = append(r.out, '[')
	case !f.kind.primitive():
		r.member("", f.name)
	}
	c.n++
	if err := r.write(m, c); err != nil {
		return err
	}
	r.at.leave()
	return nil
}

func (r *reader) write(m mark, c *run) error {
	switch c.field.kind {
	case object:
		return r.object(m, c.field.of)
	case resource:
		return r.inner(m, c.field.of)
	case xhtml:
		return r.narrative(m)
	default:
		return r.primitive(m, c)
	}
}

func (r *reader) object(m mark, of *shape) error {
	g, err := r.allowed(m, of, false)
	if err != nil {
		return err
	}
	first, err := r.tag()
	if err != nil {
		return err
	}
	if first.kind == endTag && g.url == nil {
		return empty(m)
	}
	return r.members(m, of, g, first)
}

func empty(m mark) *fault {
	return refuse(m.start, "", "the element is empty: it has neither a value nor elements", "leave it out")
}

// members writes an object: attributes, and the elements from first to the end tag.
func (r *reader) members(m mark, of *shape, g given, first mark) error {
	if err := r.down(m); err != nil {
		return err
	}
	r.out = append(r.out, '{')
	if g.id != nil {
		r.text("id", g.id)
	}
	if err := r.elements(of, g.url, first); err != nil {
		return err
	}
	r.out = append(r.out, '}')
	r.level--
	return nil
}

// inner writes the one resource that is in the element that begins at m.
func (r *reader) inner(m mark, of *shape) error {
	if _, err := r.allowed(m, of, false); err != nil {
		return err
	}
	inside, err := r.tag()
	if err != nil {
		return err
	}
	if inside.kind == endTag {
		return empty(m)
	}
	if err := r.resource(inside); err != nil {
		return err
	}
	after, err := r.tag()
	if err == nil && after.kind != endTag {
		return refuse(after.start, "", "more than one resource in one element", "write an element for each")
	}
	return err
}

func (r *reader) narrative(m mark) error {
	var err error
	if r.scratch, err = r.appendXHTML(r.scratch[:0], m); err != nil {
		return err
	}
	r.out = appendQuote(r.out, r.scratch)
	return nil
}

// primitive writes the primitive that begins at m: its value here, and its id and extensions
// in a member beside it. http://hl7.org/fhir/R4/json.html#primitive
func (r *reader) primitive(m mark, c *run) error {
	f := c.field
	g, err := r.allowed(m, f.of, true)
	if err != nil {
		return err
	}
	if g.value != nil {
		c.valued = true
		if !f.list {
			r.member("", f.name)
		}
		if err := r.value(m, f.kind, g.value); err != nil {
			return err
		}
	} else if f.list {
		r.out = append(r.out, "null"...)
	}
	first, err := r.tag()
	if err != nil {
		return err
	}
	if first.kind == endTag {
		if g.value == nil {
			return empty(m)
		}
		if g.id == nil {
			return nil
		}
	}
	if !f.list {
		r.member("_", f.name)
		return r.members(m, f.of, g, first)
	}
	start := len(r.out)
	if err := r.members(m, f.of, g, first); err != nil {
		return err
	}
	if c.beside == nil {
		c.beside = append(c.beside, '[')
	}
	for ; c.besides < c.n-1; c.besides++ {
		c.beside = append(c.beside, "null,"...)
	}
	c.beside = append(append(c.beside, r.out[start:]...), ',')
	c.besides++
	r.out = r.out[:start]
	return nil
}

const blanks = " \t\r\n"

// text writes a member whose value is a string without blanks at its ends.
func (r *reader) text(name string, raw []byte) {
	r.member("", name)
	r.scratch = appendValue(r.scratch[:0], raw)
	r.out = appendQuote(r.out, bytes.Trim(r.scratch, blanks))
}

// value writes the value of a primitive.
func (r *reader) value(m mark, k kind, raw []byte) error {
	r.scratch = appendValue(r.scratch[:0], raw)
	v := r.scratch
	if k != phrase {
		v = bytes.Trim(v, blanks)
	}
	switch k {
	case boolean:
		if s := string(v); s != "true" && s != "false" {
			return wrongValue(m, "a boolean that is neither true nor false", "boolean")
		}
	case integer:
		// FHIR allows this sign, JSON does not.
		if len(v) > 1 && v[0] == '+' && v[1] != '-' {
			v = v[1:]
		}
		if !isNumber(v) {
			return wrongValue(m, "a number that is none", "integer")
		}
	case decimal:
		if !isNumber(v) {
			return wrongValue(m, "a decimal that is none", "decimal")
		}
	default:
		r.out = appendQuote(r.out, v)
		return nil
	}
	r.out = append(r.out, v...)
	return nil
}

func wrongValue(m mark, message, typeName string) *fault {
	return &fault{at: m.start, code: fhir.CodeValue, message: message, fix: "send a value of the type " + typeName,
		spec: "http://hl7.org/fhir/R4/datatypes.html#" + typeName}
}

// appendQuote appends s as a JSON string. It cannot fail: s is UTF-8.
func appendQuote(dst, s []byte) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// isNumber reports whether s is a number of JSON. https://www.rfc-editor.org/rfc/rfc8259#section-6
func isNumber(s []byte) bool {
	s, _ = bytes.CutPrefix(s, []byte("-"))
	n := digits(s)
	if n == 0 || n > 1 && s[0] == '0' {
		return false
	}
	s = s[n:]
	if len(s) > 0 && s[0] == '.' {
		if n = digits(s[1:]); n == 0 {
			return false
		}
		s = s[1+n:]
	}
	if len(s) > 0 && (s[0] == 'e' || s[0] == 'E') {
		s = s[1:]
		if len(s) > 0 && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		if n = digits(s); n == 0 {
			return false
		}
		s = s[n:]
	}
	return len(s) == 0
}

// digits is how many digits s begins with.
func digits(s []byte) int {
	for i, c := range s {
		if c < '0' || c > '9' {
			return i
		}
	}
	return len(s)
}
