package xmlformat

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
)

// maxValues is how many names and values a JSON document may have: some four times as many as
// MaxBytes of FHIR have.
const maxValues = 8 << 20

// A value is a value of a JSON document, or the name of a member: names and values alternate
// in an object. What is in it follows it.
type value struct {
	kind       jsontext.Kind
	start, end uint32 // its bytes; of an object or array the first one only
	next       uint32 // the number of the value after it and all that is in it
}

// A member is a member of an object that is not a primitive, or a primitive with what is beside it.
type member struct {
	field         *field
	value, beside int // numbers of values, -1 is none
}

// A writer makes XML of JSON: it takes notes of all values in one pass, because JSON has no
// order, and writes them in the order of the definitions.
type writer struct {
	doc     []byte
	model   map[string]*shape
	values  []value
	out     []byte
	at      place
	members []member // of all objects that are being written
	scratch []byte
	indent  bool // each element begins on a line of its own
	depth   int  // of elements
}

// Indented is FromJSON for people: each element begins on a line of its own, two blanks further in
// than the one that it is in. ToJSON makes the same of both, as white space between elements has
// no meaning. In the div of a narrative it may have one, so that is written as it is.
func Indented(json []byte) ([]byte, error) {
	return write(writer{doc: json, model: model(), indent: true})
}

// write is the XML of a writer, and its error that of a caller.
func write(w writer) ([]byte, error) {
	err := w.document()
	if err == nil && len(w.out) > MaxBytes {
		err = tooLong(0, "the XML")
	}
	if err != nil {
		return nil, describe(err, w.doc, w.at)
	}
	return w.out, nil
}

func (w *writer) fault(v int, element, message, fix string) *fault {
	return &fault{at: int(w.values[v].start), code: fhir.CodeStructure, element: element, message: message, fix: fix, spec: specJSON}
}

func (w *writer) document() error {
	if len(w.doc) > MaxBytes {
		return tooLong(0, "the document")
	}
	if err := w.parse(); err != nil {
		return err
	}
	w.out = append(make([]byte, 0, len(w.doc)+len(w.doc)/2), `<?xml version="1.0" encoding="UTF-8"?>`...)
	err := w.resource(0)
	if w.indent {
		w.out = append(w.out, '\n')
	}
	return err
}

// parse takes notes of all values.
func (w *writer) parse() error {
	w.values = make([]value, 0, len(w.doc)/16+16)
	d := jsontext.NewDecoder(bytes.NewBuffer(w.doc))
	var open [fhir.MaxDepth]int
	for depth := 0; ; {
		if len(w.values) > maxValues {
			return &fault{at: int(d.InputOffset()), code: fhir.CodeTooCostly, message: fmt.Sprintf("more than %d names and values", maxValues), fix: "send it in parts"}
		}
		k := d.PeekKind()
		switch k {
		case '{', '[', '}', ']':
			if _, err := d.ReadToken(); err != nil {
				return wrongJSON(w.doc, err)
			}
			end := uint32(d.InputOffset())
			if k == '}' || k == ']' {
				depth--
				w.values[open[depth]].next = uint32(len(w.values))
				break
			}
			if depth == fhir.MaxDepth {
				return &fault{at: int(end) - 1, code: fhir.CodeTooCostly, message: fmt.Sprintf("more than %d levels of objects and arrays", fhir.MaxDepth), fix: "nest less deeply"}
			}
			open[depth] = len(w.values)
			depth++
			w.values = append(w.values, value{kind: k, start: end - 1, end: end})
		default:
			raw, err := d.ReadValue()
			if err != nil {
				return wrongJSON(w.doc, err)
			}
			end := uint32(d.InputOffset())
			w.values = append(w.values, value{kind: k, start: end - uint32(len(raw)), end: end, next: uint32(len(w.values) + 1)})
		}
		if depth == 0 {
			break
		}
	}
	end := int(d.InputOffset())
	if _, err := d.ReadToken(); err != io.EOF {
		return &fault{at: end, code: fhir.CodeStructure, message: "something follows the resource", fix: "send one resource only", spec: specJSON}
	}
	return nil
}

// wrongJSON says what is wrong with a document that jsontext refuses.
func wrongJSON(doc []byte, err error) *fault {
	f := &fault{at: len(doc), code: fhir.CodeStructure, message: "the JSON ends too early", fix: "send one FHIR resource as a JSON object", spec: specJSON}
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok && !errors.Is(err, io.ErrUnexpectedEOF) {
		f.at, f.message = int(e.ByteOffset), "not valid JSON: "+e.Err.Error()
		if errors.Is(err, jsontext.ErrDuplicateName) {
			f.message, f.fix = "a name occurs twice in one object", "send each name once"
		}
	}
	return f
}

// resource writes the resource that is the value v.
func (w *writer) resource(v int) error {
	if w.values[v].kind != '{' {
		return w.fault(v, "", "a resource must be an object", "send one FHIR resource as a JSON object")
	}
	of, err := w.typeOf(v)
	if err != nil {
		return err
	}
	w.line()
	w.tag("<", of.name, "")
	if len(w.at) == 0 {
		w.at.enter(of.name, -1)
		w.out = append(w.out, ` xmlns="`+fhirURL+`"`...)
	}
	first := len(w.members)
	if err := w.gather(of, v, true); err != nil {
		return err
	}
	return w.content(of.name, first)
}

// typeOf is the shape of the resource that is the object v.
func (w *writer) typeOf(v int) (*shape, error) {
	for i := v + 1; i < int(w.values[v].next); i = int(w.values[i+1].next) {
		if string(w.raw(i)) != `"resourceType"` {
			continue
		}
		if w.values[i+1].kind == '"' {
			name := w.text(i + 1)
			if of := w.model[string(name)]; of != nil {
				return of, nil
			}
			return nil, w.fault(i+1, "", readable(name)+" is no resource type of R4", "send the name of an R4 resource")
		}
		return nil, w.fault(i+1, "", "the resourceType must be a string", "send the name of an R4 resource")
	}
	return nil, w.fault(v, "", "the resource does not say its resourceType", `add "resourceType" with the name of its type`)
}

// raw is a string, number or literal as written.
func (w *writer) raw(v int) []byte { return w.doc[w.values[v].start:w.values[v].end] }

// text is the content of a string, until it is called again.
func (w *writer) text(v int) []byte {
	raw := w.raw(v)
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	w.scratch, _ = jsontext.AppendUnquote(w.scratch[:0], raw) // checked by parse
	return w.scratch
}

// gather puts the members of the object v at the end of w.members, in the order of their definition.
func (w *writer) gather(of *shape, v int, isResource bool) error {
	first := len(w.members)
	for i := v + 1; i < int(w.values[v].next); i = int(w.values[i+1].next) {
		name := w.text(i)
		if isResource && string(name) == "resourceType" {
			continue
		}
		plain, beside := bytes.CutPrefix(name, []byte("_"))
		f := of.fields[string(plain)]
		if f == nil || beside && (!f.kind.primitive() || f.of == nil) {
			fix := "leave it out, or put it into an extension"
			if c := of.choice(string(name)); c != "" {
				fix = "write the type behind it, as in " + c
			}
			return w.fault(i, asElement(name), readable(name)+" is no element of "+of.name, fix)
		}
		w.add(first, f, i+1, beside)
	}
	found := w.members[first:]
	inOrder := func(a, b member) int { return cmp.Compare(a.field.order, b.field.order) }
	if !slices.IsSortedFunc(found, inOrder) {
		slices.SortStableFunc(found, inOrder)
	}
	for i := 1; i < len(found); i++ {
		if a, b := found[i-1], found[i]; a.field.order == b.field.order {
			return w.fault(max(b.value, b.beside), b.field.step, "both "+a.field.name+" and "+b.field.name+", of which there can be one only", "leave one out")
		}
	}
	return nil
}

// add puts a member into w.members[first:], or to what is there of the same primitive.
func (w *writer) add(first int, f *field, v int, beside bool) {
	at := len(w.members) - 1
	for at >= first && w.members[at].field != f {
		at--
	}
	if at < first {
		at = len(w.members)
		w.members = append(w.members, member{f, -1, -1})
	}
	if beside {
		w.members[at].beside = v
	} else {
		w.members[at].value = v
	}
}

// attributes writes those of w.members from first that are attributes in XML.
func (w *writer) attributes(first int) error {
	for i := first; i < len(w.members); i++ {
		m := w.members[i]
		if m.field.kind != attribute {
			continue
		}
		w.at.enter(m.field.step, -1)
		if w.values[m.value].kind != '"' {
			return w.fault(m.value, "", m.field.name+" must be a string", "")
		}
		if err := w.attribute(m.field.name, m.value, w.text(m.value)); err != nil {
			return err
		}
		w.at.leave()
	}
	return nil
}

// content writes the rest of an element whose start tag is open: those of w.members from first that
// are elements in XML, and the end tag. It removes them from w.members.
func (w *writer) content(name string, first int) error {
	empty := true
	for i, last := first, len(w.members); i < last; i++ {
		m := w.members[i]
		if m.field.kind == attribute {
			continue
		}
		if empty {
			w.out = append(w.out, '>')
			empty = false
			w.depth++
		}
		if err := w.elements(m); err != nil {
			return err
		}
	}
	w.members = w.members[:first]
	if empty {
		w.out = append(w.out, "/>"...)
		return nil
	}
	w.depth--
	w.line()
	w.tag("</", name, ">")
	return nil
}

// attribute writes an attribute with the text of the value v.
func (w *writer) attribute(name string, v int, text []byte) error {
	w.out = append(w.out, ' ')
	w.out = append(w.out, name...)
	w.out = append(w.out, `="`...)
	empty := true
	for i, c := range text {
		empty = empty && isSpace(c)
		switch {
		case c == '&':
			w.out = append(w.out, "&amp;"...)
		case c == '<':
			w.out = append(w.out, "&lt;"...)
		case c == '"':
			w.out = append(w.out, "&quot;"...)
		case c == '\t', c == '\n', c == '\r':
			w.out = fmt.Appendf(w.out, "&#%d;", c)
		case c < ' ', c == 0xef && text[i+1] == 0xbf && text[i+2] >= 0xbe:
			return w.fault(v, "", "a string with a control character, which XML cannot have", "leave the character out")
		default:
			w.out = append(w.out, c)
		}
	}
	if empty {
		return w.fault(v, "", "a string is empty", "leave the element out")
	}
	w.out = append(w.out, '"')
	return nil
}

// elements writes the elements of a member.
func (w *writer) elements(m member) error {
	if !m.field.list {
		return w.element(m, -1)
	}
	value, valueEnd, err := w.items(m.field.name, m.value)
	if err != nil {
		return err
	}
	beside, besideEnd, err := w.items("_"+m.field.name, m.beside)
	if err != nil {
		return err
	}
	for index := 0; value < valueEnd || beside < besideEnd; index++ {
		item := member{m.field, -1, -1}
		if value < valueEnd {
			item.value, value = value, int(w.values[value].next)
		}
		if beside < besideEnd {
			item.beside, beside = beside, int(w.values[beside].next)
		}
		if err := w.element(item, index); err != nil {
			return err
		}
	}
	return nil
}

// items are the values in the array v: the first one and the one after the last.
func (w *writer) items(name string, v int) (first, end int, err error) {
	switch {
	case v < 0:
		return 0, 0, nil
	case w.values[v].kind != '[':
		return 0, 0, w.fault(v, name, name+" is an array, also for one value", "put the value into [ ]")
	case int(w.values[v].next) == v+1:
		return 0, 0, w.fault(v, name, "an array is never empty", "leave "+name+" out")
	}
	return v + 1, int(w.values[v].next), nil
}

// element writes one element.
func (w *writer) element(m member, index int) error {
	f, v := m.field, max(m.value, m.beside)
	w.at.enter(f.step, index)
	if len(w.out) > MaxBytes {
		return tooLong(int(w.values[v].start), "the XML")
	}
	if index < 0 && w.values[v].kind == '[' {
		return w.fault(v, "", f.name+" is a single value, not an array", "send the value without [ ]")
	}
	w.line()
	var err error
	switch f.kind {
	case object:
		err = w.object(m)
	case resource:
		w.tag("<", f.name, ">")
		w.depth++
		err = w.resource(m.value)
		w.depth--
		if err == nil {
			w.line()
			w.tag("</", f.name, ">")
		}
	case xhtml:
		err = w.narrative(m)
	default:
		err = w.primitive(m, index >= 0)
	}
	if err == nil {
		w.at.leave()
	}
	return err
}

// line begins a line, if lines there are.
func (w *writer) line() {
	if !w.indent {
		return
	}
	w.out = append(w.out, '\n')
	for range w.depth {
		w.out = append(w.out, "  "...)
	}
}

func (w *writer) tag(open, name, end string) {
	w.out = append(w.out, open...)
	w.out = append(w.out, name...)
	w.out = append(w.out, end...)
}

func (w *writer) object(m member) error {
	if w.values[m.value].kind != '{' {
		return w.fault(m.value, "", m.field.name+" must be an object", "")
	}
	first := len(w.members)
	if err := w.gather(m.field.of, m.value, false); err != nil {
		return err
	}
	if w.bare(first) {
		return w.empty(m.value)
	}
	w.tag("<", m.field.name, "")
	if err := w.attributes(first); err != nil {
		return err
	}
	return w.content(m.field.name, first)
}

// bare reports whether w.members from first are nothing but an id.
func (w *writer) bare(first int) bool {
	n := len(w.members) - first
	return n == 0 || n == 1 && w.members[first].field.kind == attribute && w.members[first].field.name == "id"
}

func (w *writer) empty(v int) *fault {
	return w.fault(v, "", "the element is empty: it has neither a value nor elements", "leave it out")
}

// primitive writes an element with its value, and the id and extensions that are beside it.
// http://hl7.org/fhir/R4/json.html#primitive
func (w *writer) primitive(m member, listed bool) error {
	at := max(m.value, m.beside)
	if listed {
		m.value, m.beside = w.unlessNull(m.value), w.unlessNull(m.beside)
	}
	first := len(w.members)
	if m.beside >= 0 {
		if w.values[m.beside].kind != '{' {
			return w.fault(m.beside, "", "_"+m.field.name+" must be an object", "")
		}
		if err := w.gather(m.field.of, m.beside, false); err != nil {
			return err
		}
		if len(w.members) == first {
			return w.empty(m.beside)
		}
	}
	if m.value < 0 && w.bare(first) {
		return w.empty(at)
	}
	w.tag("<", m.field.name, "")
	if err := w.attributes(first); err != nil {
		return err
	}
	if m.value >= 0 {
		text, err := w.primitiveText(m)
		if err != nil {
			return err
		}
		if err := w.attribute("value", m.value, text); err != nil {
			return err
		}
	}
	return w.content(m.field.name, first)
}

// unlessNull is v, or -1 if the value v is null.
func (w *writer) unlessNull(v int) int {
	if v >= 0 && w.values[v].kind == 'n' {
		return -1
	}
	return v
}

// primitiveText is the text of a primitive, until it is called again.
func (w *writer) primitiveText(m member) ([]byte, error) {
	k, want := w.values[m.value].kind, "a string"
	switch m.field.kind {
	case boolean:
		if k == 't' || k == 'f' {
			return w.raw(m.value), nil
		}
		want = "true or false"
	case integer, decimal:
		if k == '0' {
			return w.raw(m.value), nil
		}
		want = "a number"
	default:
		if k == '"' {
			return w.text(m.value), nil
		}
	}
	if k == 'n' {
		return nil, w.fault(m.value, "", "null is no value", "leave the element out")
	}
	return nil, w.fault(m.value, "", m.field.name+" must be "+want, "")
}

// narrative writes the div of a narrative, which is a string in JSON.
func (w *writer) narrative(m member) error {
	if w.values[m.value].kind != '"' {
		return w.fault(m.value, "", m.field.name+" must be a string", "")
	}
	l := lexer{doc: w.text(m.value), bindings: []binding{{"", xhtmlSpace}}}
	err := w.fragment(&l, m.field.name)
	if f, ok := errors.AsType[*fault](err); ok {
		f.message = fmt.Sprintf("byte %d of the narrative: %s", f.at+1, f.message)
		f.at = int(w.values[m.value].start)
	}
	return err
}

// fragment writes the one element that l has, which must be called name.
func (w *writer) fragment(l *lexer, name string) error {
	if err := l.checkCharacters(); err != nil {
		return err
	}
	start, err := l.next()
	if err != nil {
		return err
	}
	if string(start.local) != name {
		return &fault{at: start.start, code: fhir.CodeStructure, message: "the narrative is not a " + name, fix: "put it into a " + name, spec: specNarrative}
	}
	if w.out, err = l.appendXHTML(w.out, start); err != nil {
		return err
	}
	_, err = l.next()
	return err
}
