package fhir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth is how many objects and arrays may be nested in a resource that a stranger sends.
const MaxDepth = 64

// InstantFormat is how this server writes instants: UTC, whole milliseconds.
const InstantFormat = "2006-01-02T15:04:05.000Z"

// Parse checks the JSON of a resource and returns its type and id (which may be "")
// and the document without white space. Numbers and strings stay as they were sent.
// An *Error says where and why: syntax with line and column, a name that occurs twice,
// invalid UTF-8, nesting over MaxDepth, no resourceType or one that cannot be a type.
// http://hl7.org/fhir/R4/json.html
func Parse(body []byte) (resourceType, id string, compact []byte, err error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(body))
	if d.PeekKind() != '{' {
		if _, err := d.ReadToken(); err != nil && !errors.Is(err, io.EOF) {
			return "", "", nil, syntaxError(body, err)
		}
		return "", "", nil, Errorf(CodeStructure, "", "the body is no JSON object").WithFix("send one FHIR resource as a JSON object")
	}
	for {
		token, err := d.ReadToken()
		if err != nil {
			return "", "", nil, syntaxError(body, err)
		}
		depth := d.StackDepth()
		if depth > MaxDepth {
			return "", "", nil, Errorf(CodeTooCostly, position(body, d.InputOffset()-1), "more than %d levels of objects and arrays", MaxDepth)
		}
		if depth == 0 {
			break
		}
		if depth != 1 || token.Kind() != '"' {
			continue
		}
		name := token.String()
		if _, n := d.StackIndex(1); n%2 == 0 || name != "resourceType" && name != "id" {
			continue
		}
		if d.PeekKind() != '"' {
			return "", "", nil, Errorf(CodeStructure, name, "%s must be a string", name)
		}
		token, err = d.ReadToken()
		if err != nil {
			return "", "", nil, syntaxError(body, err)
		}
		if name == "id" {
			id = token.String()
		} else {
			resourceType = token.String()
		}
	}
	end := d.InputOffset()
	if _, err := d.ReadToken(); err != io.EOF {
		return "", "", nil, Errorf(CodeStructure, position(body, end), "something follows the resource")
	}
	if resourceType == "" {
		return "", "", nil, Errorf(CodeStructure, "resourceType", "the resource does not say its resourceType")
	}
	if !ValidType(resourceType) {
		return "", "", nil, Errorf(CodeStructure, "resourceType", "the resourceType is not the name of a type").WithFix("send a name such as Observation")
	}
	v := jsontext.Value(bytes.Clone(body))
	if err := v.Compact(); err != nil {
		return "", "", nil, syntaxError(body, err)
	}
	return resourceType, id, v, nil
}

func syntaxError(body []byte, err error) *Error {
	at, why := int64(len(body)), "the JSON ends too early"
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at = e.ByteOffset
		if !errors.Is(e, io.ErrUnexpectedEOF) {
			why = "not valid JSON: " + e.Err.Error()
		}
		if errors.Is(e, jsontext.ErrDuplicateName) {
			return Errorf(CodeStructure, position(body, at), "a name occurs twice in one object").WithFix("send each name once").
				WithSpec("http://hl7.org/fhir/R4/json.html")
		}
	}
	return Errorf(CodeStructure, position(body, at), "%s", why).WithSpec("http://hl7.org/fhir/R4/json.html")
}

// position is the line and column of a byte, both from 1.
func position(body []byte, offset int64) string {
	before := body[:min(int(offset), len(body))]
	line := bytes.Count(before, []byte("\n")) + 1
	return fmt.Sprintf("line %d column %d", line, len(before)-bytes.LastIndexByte(before, '\n'))
}

// ValidType reports whether s has the form of a resource type: a capital letter, then at
// most 63 letters. Whether there is such a type is another question.
func ValidType(s string) bool {
	if len(s) == 0 || len(s) > 64 || s[0] < 'A' || s[0] > 'Z' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

// Stamp returns a compact resource with its type, id, version and time of change set in
// the place where FHIR has them, whatever it said of them before. The rest stays byte for
// byte and in its order. Stamping the same resource alike gives the same bytes, whether it
// was stamped before or not. It is an error if compact is no JSON object, if its meta is
// none, if a name occurs twice, or if id or version cannot be an id.
func Stamp(compact []byte, resourceType, id, version string, lastUpdated time.Time) ([]byte, error) {
	if !ValidType(resourceType) || !ValidID(id) || !ValidID(version) {
		return nil, errors.New("fhir: stamp: the type, the id or the version is not one")
	}
	o := outlines.Get().(*outline)
	defer o.release()
	o.json, o.sure = compact, utf8.Valid(compact)
	if whole := o.walk(); !whole || !o.sure {
		if err := checkObject(compact, whole); err != nil {
			return nil, fmt.Errorf("fhir: stamp: %w", err)
		}
	}
	if o.begins != 0 && o.begins != '{' {
		return nil, errors.New("fhir: stamp: meta must be an object")
	}
	out := make([]byte, 0, len(compact)+128)
	out = append(out, `{"resourceType":"`...)
	out = append(out, resourceType...)
	out = append(out, `","id":"`...)
	out = append(out, id...)
	out = append(out, `","meta":{"versionId":"`...)
	out = append(out, version...)
	out = append(out, `","lastUpdated":"`...)
	out = appendInstant(out, lastUpdated.UTC())
	out = append(out, '"')
	for _, m := range o.meta {
		out = m.append(out, compact)
	}
	out = append(out, '}')
	for _, m := range o.rest {
		out = m.append(out, compact)
	}
	return append(out, '}'), nil
}

// appendInstant appends utc in the InstantFormat, in a third of the time that AppendFormat takes.
func appendInstant(dst []byte, utc time.Time) []byte {
	dst = utc.AppendFormat(dst, time.RFC3339)
	millis := utc.Nanosecond() / 1e6
	return append(dst[:len(dst)-1], '.', byte('0'+millis/100), byte('0'+millis/10%10), byte('0'+millis%10), 'Z')
}

// checkObject refuses what is not one JSON object, in UTF-8 and without duplicate names, and
// whatever the outline did not come to the end of.
func checkObject(body []byte, whole bool) error {
	if v := jsontext.Value(body); whole && v.Kind() == '{' && v.IsValid() {
		return nil
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(body))
	if d.PeekKind() != '{' {
		return errors.New("not a JSON object")
	}
	if err := d.SkipValue(); err != nil {
		return err
	}
	return errors.New("something follows the resource")
}

// outline is one look at a compact resource: whether it is surely valid JSON, without a name
// that an object has twice, and where the members are that Stamp leaves as they are. What is
// rare (the escape \u, a name with an escape, an object of very many names) it goes through
// without judging it: then sure is false, as it is for what is not UTF-8. jsontext judges that.
type outline struct {
	json   []byte
	sure   bool
	rest   []memberSpan
	begins byte         // what the value of meta begins with, 0 if there is none
	meta   []memberSpan // of the object meta
	names  []nameSpan   // of the objects that are open
}

// memberSpan is where a member of an object is written: its name, with the quotes, and its
// value, with the members behind it between which there is a comma only.
type memberSpan struct {
	name, nameEnd, value, end int
	escaped                   bool // the name is
}

// unquoted is the name.
func (m memberSpan) unquoted(document []byte) []byte {
	if !m.escaped {
		return document[m.name+1 : m.nameEnd-1]
	}
	name, _ := jsontext.AppendUnquote(nil, document[m.name:m.nameEnd]) // what is not valid is refused later
	return name
}

func (m memberSpan) append(dst, document []byte) []byte {
	dst = append(append(dst, ','), document[m.name:m.nameEnd]...)
	return append(append(dst, ':'), document[m.value:m.end]...)
}

// nameSpan is where a name is written, without the quotes.
type nameSpan struct{ start, end int }

// part is what an object is to Stamp.
type part uint8

const (
	otherPart part = iota
	resourcePart
	metaPart
)

const (
	// maxOutlineDepth is that of jsontext: what is nested deeper is not valid.
	maxOutlineDepth = 10000
	// maxOutlineNames are the names of an object that are compared with each other.
	maxOutlineNames = 64
	// bad is the end of what is not valid JSON.
	bad = -1
)

// outlines keep the memory of their spans, of which nothing is left in them.
var outlines = sync.Pool{New: func() any { return &outline{} }}

func (o *outline) release() {
	*o = outline{rest: o.rest[:0], meta: o.meta[:0], names: o.names[:0]}
	if cap(o.rest)+cap(o.meta)+cap(o.names) <= 1024 {
		outlines.Put(o)
	}
}

// walk goes through the document, and reports whether it is an object and nothing follows.
func (o *outline) walk() bool {
	at, c := o.next(0)
	if c != '{' {
		return false
	}
	if at = o.object(at, 1, resourcePart); at == bad {
		return false
	}
	at, _ = o.next(at)
	return at == len(o.json)
}

// next is the place behind white space, and what is there, 0 at the end.
func (o *outline) next(at int) (int, byte) {
	for at < len(o.json) {
		switch c := o.json[at]; c {
		case ' ', '\t', '\r', '\n':
			at++
		default:
			return at, c
		}
	}
	return at, 0
}

// object is the end of the object that begins at a place.
func (o *outline) object(at, depth int, as part) int {
	if depth > maxOutlineDepth {
		return bad
	}
	outer := len(o.names)
	var seen uint64
	at, c := o.next(at + 1)
	if c == '}' {
		return at + 1
	}
	for {
		if c != '"' {
			return bad
		}
		m := memberSpan{name: at}
		if m.nameEnd, m.escaped = o.string(at); m.nameEnd == bad {
			return bad
		}
		name := nameSpan{at + 1, m.nameEnd - 1}
		// Names that differ seldom have the same bit: those that have are compared.
		bit := uint64(1) << ((uint(o.json[name.start])*7 + uint(o.json[name.end-1])*5 + uint(name.end-name.start)) % 64)
		if seen&bit != 0 && o.has(outer, name) || m.escaped || len(o.names)-outer == maxOutlineNames {
			o.sure = false
		} else {
			o.names = append(o.names, name)
		}
		seen |= bit
		if at, c = o.next(m.nameEnd); c != ':' {
			return bad
		}
		m.value, c = o.next(at + 1)
		within := otherPart
		if as == resourcePart && string(m.unquoted(o.json)) == "meta" {
			within, o.begins = metaPart, c
		}
		if m.end = o.value(m.value, c, depth, within); m.end == bad {
			return bad
		}
		o.keep(as, m)
		at, c = o.next(m.end)
		if c == '}' {
			o.names = o.names[:outer]
			return at + 1
		}
		if c != ',' {
			return bad
		}
		at, c = o.next(at + 1)
	}
}

// keep notes a member of the resource, or of its meta, unless Stamp writes that itself.
func (o *outline) keep(as part, m memberSpan) {
	spans := &o.rest
	switch as {
	case resourcePart:
		switch string(m.unquoted(o.json)) {
		case "resourceType", "id", "meta":
			return
		}
	case metaPart:
		switch string(m.unquoted(o.json)) {
		case "versionId", "lastUpdated", "_versionId", "_lastUpdated":
			return
		}
		spans = &o.meta
	default:
		return
	}
	if n := len(*spans); n > 0 && (*spans)[n-1].end+1 == m.name && m.nameEnd+1 == m.value {
		(*spans)[n-1].end = m.end // both are written in one go
		return
	}
	*spans = append(*spans, m)
}

// has reports whether name is one of the object whose names begin with the outer-th.
func (o *outline) has(outer int, name nameSpan) bool {
	for _, n := range o.names[outer:] {
		if bytes.Equal(o.json[n.start:n.end], o.json[name.start:name.end]) {
			return true
		}
	}
	return false
}

// value is the end of the value that begins with c at a place.
func (o *outline) value(at int, c byte, depth int, as part) int {
	switch c {
	case '"':
		end, _ := o.string(at)
		return end
	case '{':
		return o.object(at, depth+1, as)
	case '[':
		return o.array(at, depth+1)
	}
	return o.word(at)
}

func (o *outline) array(at, depth int) int {
	if depth > maxOutlineDepth {
		return bad
	}
	at, c := o.next(at + 1)
	if c == ']' {
		return at + 1
	}
	for {
		if at = o.value(at, c, depth, otherPart); at == bad {
			return bad
		}
		at, c = o.next(at)
		if c == ']' {
			return at + 1
		}
		if c != ',' {
			return bad
		}
		at, c = o.next(at + 1)
	}
}

// word is the end of a number, true, false or null.
func (o *outline) word(at int) int {
	end := at
	for end < len(o.json) && strings.IndexByte(",]} \t\r\n", o.json[end]) < 0 {
		end++
	}
	switch word := string(o.json[at:end]); word {
	case "true", "false", "null":
		return end
	default:
		if IsDecimal(word) {
			return end
		}
	}
	return bad
}

// string is the end of the string whose quote is at a place, and whether it has escapes. What
// \u stands for it does not judge, and it takes any bytes for UTF-8.
func (o *outline) string(at int) (end int, escaped bool) {
	json := o.json
	for at++; at < len(json); {
		if len(json)-at >= 8 {
			n := plainBytes(binary.LittleEndian.Uint64(json[at:]))
			if at += n; n == 8 {
				continue
			}
		}
		switch c := json[at]; {
		case c == '"':
			return at + 1, escaped
		case c == '\\':
			if at++; at == len(json) || strings.IndexByte(`"\/bfnrtu`, json[at]) < 0 {
				return bad, false
			}
			escaped = true
			if json[at] == 'u' {
				o.sure = false
			}
		case c < ' ':
			return bad, false
		}
		at++
	}
	return bad, false
}

// plainBytes is how many of eight bytes, of which the first is the lowest, come before a
// quote, a backslash or a control character: 8 if none does.
func plainBytes(eight uint64) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quotes, slashes := eight^ones*'"', eight^ones*'\\'
	// The highest bit of a byte is set if that is one of them. A borrow may set it falsely, but
	// only above one that is right.
	found := ((quotes-ones)&^quotes | (slashes-ones)&^slashes | (eight-ones*' ')&^eight) & highs
	return bits.TrailingZeros64(found) / 8
}
