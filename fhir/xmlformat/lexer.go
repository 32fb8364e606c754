package xmlformat

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/kiln-health/kiln/fhir"
)

const (
	maxAttributes = 64 // of one tag
	maxNamespaces = 64 // declared at the same time
)

// An opened tag is not closed yet.
type opened struct {
	name     []byte // as written
	bindings int    // how many there were before it
}

// markKind is what a mark is.
type markKind uint8

const (
	startTag markKind = iota
	endTag
	characters // with references
	cdata
	comment
	endOfDocument
)

// A mark is a piece of a document.
type mark struct {
	kind       markKind
	start, end int    // its bytes; the end tag of <a/> has none
	prefix     []byte // of a tag
	local      []byte // of a tag: its name without the prefix
	space      space  // of a start tag
	attributes []attr // of a start tag, until the next mark is asked for
	empty      bool   // <a/>
}

// An attr is an attribute as written.
type attr struct {
	start  int
	name   []byte
	value  []byte // between the quotes
	quoted []byte // with them
}

// A lexer takes a document of XML 1.0 with namespaces apart. Processing instructions are left out.
// DTDs are refused, and so are names beyond ASCII, which neither FHIR nor XHTML has.
//
// The Decoder of encoding/xml would not do: it accepts directives, attributes that occur
// twice and prefixes that nobody declared, and it does not normalise attributes.
// https://www.w3.org/TR/xml/ https://www.w3.org/TR/xml-names/
type lexer struct {
	doc        []byte
	pos        int
	open       []opened
	bindings   []binding
	attributes []attr
	ending     bool // the end of an empty element comes next
	rooted     bool // the outermost element has begun
}

func malformed(at int, format string, args ...any) error {
	return &fault{at: at, code: fhir.CodeStructure, message: fmt.Sprintf(format, args...), fix: "send well-formed XML", spec: specWhole}
}

// begin checks the document as a whole, and reads over its XML declaration.
func (l *lexer) begin() error {
	if len(l.doc) > MaxBytes {
		return tooLong(0, "the document")
	}
	if err := l.checkCharacters(); err != nil {
		return err
	}
	if bytes.HasPrefix(l.doc, []byte("\ufeff")) {
		l.pos = len("\ufeff")
	}
	if rest := l.doc[l.pos:]; len(rest) > 5 && string(rest[:5]) == "<?xml" && isSpace(rest[5]) {
		return l.declaration()
	}
	return nil
}

func notUTF8(at int, message string) error {
	return &fault{at: at, code: fhir.CodeNotSupported, message: message, fix: "send UTF-8", spec: specXML}
}

// checkCharacters finds the first byte that the document cannot have.
// https://www.w3.org/TR/xml/#charsets
func (l *lexer) checkCharacters() error {
	for _, start := range []string{"\xfe\xff", "\xff\xfe", "\x00<", "<\x00"} {
		if bytes.HasPrefix(l.doc, []byte(start)) {
			return notUTF8(0, "the document is in UTF-16")
		}
	}
	if !utf8.Valid(l.doc) {
		at := 0
		for {
			r, n := utf8.DecodeRune(l.doc[at:])
			if r == utf8.RuneError && n < 2 {
				return notUTF8(at, "not UTF-8")
			}
			at += n
		}
	}
	for i, c := range l.doc {
		if c < ' ' && !isSpace(c) || c == 0xef && l.doc[i+1] == 0xbf && l.doc[i+2] >= 0xbe {
			return malformed(i, "a control character, which XML cannot have")
		}
	}
	return nil
}

// declaration reads <?xml version="1.0" encoding="UTF-8" standalone="yes"?>, of which the
// version must be there. https://www.w3.org/TR/xml/#sec-prolog-dtd
func (l *lexer) declaration() error {
	l.pos += len("<?xml")
	known := []string{"version", "encoding", "standalone"}
	versioned := false
	for {
		spaced := l.skipSpace()
		if l.follows("?>") {
			break
		}
		if !spaced {
			return malformed(l.pos, "the XML declaration is not one")
		}
		a, err := l.attribute()
		if err != nil {
			return err
		}
		for len(known) > 0 && known[0] != string(a.name) {
			known = known[1:]
		}
		if len(known) == 0 {
			return malformed(a.start, "an attribute that the XML declaration does not have there")
		}
		known = known[1:]
		switch v := string(a.value); string(a.name) {
		case "version":
			versioned = v == "1.0"
		case "encoding":
			if !strings.EqualFold(v, "UTF-8") {
				return notUTF8(a.start, "the XML declaration says another encoding than UTF-8")
			}
		case "standalone":
			if v != "yes" && v != "no" {
				return malformed(a.start, "standalone is neither yes nor no")
			}
		}
	}
	if !versioned {
		return malformed(l.pos, `the XML declaration does not say version="1.0"`)
	}
	l.pos += len("?>")
	return nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func (l *lexer) follows(s string) bool {
	return len(l.doc)-l.pos >= len(s) && string(l.doc[l.pos:l.pos+len(s)]) == s
}

// skipSpace goes to the next byte that is no white space, and reports whether there was any.
func (l *lexer) skipSpace() bool {
	start := l.pos
	for l.pos < len(l.doc) && isSpace(l.doc[l.pos]) {
		l.pos++
	}
	return l.pos > start
}

// next is the next mark of the document.
func (l *lexer) next() (mark, error) {
	if l.ending {
		l.ending = false
		return l.close(mark{kind: endTag, start: l.pos, end: l.pos}), nil
	}
	for l.pos < len(l.doc) {
		if l.doc[l.pos] != '<' {
			start := l.pos
			if n := bytes.IndexByte(l.doc[start:], '<'); n >= 0 {
				l.pos += n
			} else {
				l.pos = len(l.doc)
			}
			if len(l.open) > 0 {
				return l.text(start)
			}
			for i, c := range l.doc[start:l.pos] {
				if !isSpace(c) {
					return mark{}, l.outside(start + i)
				}
			}
			continue
		}
		switch {
		case l.follows("<!--"):
			m, err := l.comment()
			if err != nil || len(l.open) > 0 {
				return m, err
			}
		case l.follows("<?"):
			if err := l.instruction(); err != nil {
				return mark{}, err
			}
		case l.follows("<![CDATA["):
			return l.cdata()
		case l.follows("<!"):
			return mark{}, &fault{at: l.pos, code: fhir.CodeStructure, message: "a DOCTYPE or another declaration of a DTD",
				fix: "send the document without it", spec: specXML}
		case l.follows("</"):
			return l.endTag()
		default:
			return l.startTag()
		}
	}
	if n := len(l.open); n > 0 {
		return mark{}, malformed(l.pos, "the document ends before %s is closed", readable(l.open[n-1].name))
	}
	if !l.rooted {
		return mark{}, malformed(l.pos, "the document has no element")
	}
	return mark{kind: endOfDocument, start: l.pos, end: l.pos}, nil
}

func (l *lexer) outside(at int) error {
	if l.rooted {
		return malformed(at, "something follows the outermost element")
	}
	return malformed(at, "the document does not begin with an element")
}

// text is the character data from start to here. https://www.w3.org/TR/xml/#syntax
func (l *lexer) text(start int) (mark, error) {
	raw := l.doc[start:l.pos]
	if n := bytes.Index(raw, []byte("]]>")); n >= 0 {
		return mark{}, malformed(start+n, "]]> outside CDATA")
	}
	if err := checkReferences(raw, start); err != nil {
		return mark{}, err
	}
	return mark{kind: characters, start: start, end: l.pos}, nil
}

func (l *lexer) comment() (mark, error) {
	m := mark{kind: comment, start: l.pos}
	l.pos += len("<!--")
	n := bytes.Index(l.doc[l.pos:], []byte("--"))
	if n < 0 {
		return m, malformed(m.start, "a comment does not end")
	}
	l.pos += n + len("--")
	if !l.follows(">") {
		return m, malformed(l.pos, "-- in a comment")
	}
	l.pos++
	m.end = l.pos
	return m, nil
}

func (l *lexer) instruction() error {
	start := l.pos
	l.pos += len("<?")
	target := l.name()
	if len(target) == 0 || bytes.IndexByte(target, ':') >= 0 {
		return malformed(start, "a processing instruction without a name")
	}
	if strings.EqualFold(string(target), "xml") {
		return malformed(start, "an XML declaration that is not at the start")
	}
	n := bytes.Index(l.doc[l.pos:], []byte("?>"))
	if n < 0 {
		return malformed(start, "a processing instruction does not end")
	}
	if n > 0 && !isSpace(l.doc[l.pos]) {
		return malformed(l.pos, "white space is missing in a processing instruction")
	}
	l.pos += n + len("?>")
	return nil
}

func (l *lexer) cdata() (mark, error) {
	start := l.pos
	if len(l.open) == 0 {
		return mark{}, l.outside(start)
	}
	n := bytes.Index(l.doc[start:], []byte("]]>"))
	if n < 0 {
		return mark{}, malformed(start, "CDATA does not end")
	}
	l.pos += n + len("]]>")
	return mark{kind: cdata, start: start, end: l.pos}, nil
}

func (l *lexer) endTag() (mark, error) {
	m := mark{kind: endTag, start: l.pos}
	l.pos += len("</")
	name := l.name()
	l.skipSpace()
	if len(name) == 0 || !l.follows(">") {
		return mark{}, malformed(m.start, "an end tag is not one")
	}
	l.pos++
	m.end = l.pos
	if n := len(l.open); n == 0 || !bytes.Equal(l.open[n-1].name, name) {
		return mark{}, malformed(m.start, "the end tag %s closes nothing that is open", readable(name))
	}
	return l.close(m), nil
}

// close ends the innermost element.
func (l *lexer) close(m mark) mark {
	last := len(l.open) - 1
	m.prefix, m.local = split(l.open[last].name)
	l.bindings = l.bindings[:l.open[last].bindings]
	l.open = l.open[:last]
	return m
}

func (l *lexer) startTag() (mark, error) {
	m := mark{kind: startTag, start: l.pos}
	if len(l.open) == 0 && l.rooted {
		return mark{}, l.outside(l.pos)
	}
	l.pos++
	name := l.name()
	if len(name) == 0 {
		return mark{}, malformed(m.start, "a < that begins no tag")
	}
	l.attributes = l.attributes[:0]
	for {
		spaced := l.skipSpace()
		if l.follows(">") {
			l.pos++
			break
		}
		if l.follows("/>") {
			l.pos += len("/>")
			m.empty = true
			break
		}
		if !spaced {
			return mark{}, malformed(l.pos, "the tag %s does not end", readable(name))
		}
		a, err := l.attribute()
		if err != nil {
			return mark{}, err
		}
		if len(l.attributes) == maxAttributes {
			return mark{}, &fault{at: a.start, code: fhir.CodeTooCostly, message: fmt.Sprintf("a tag with more than %d attributes", maxAttributes)}
		}
		for i := range l.attributes {
			if bytes.Equal(l.attributes[i].name, a.name) {
				return mark{}, malformed(a.start, "an attribute occurs twice")
			}
		}
		l.attributes = append(l.attributes, a)
	}
	l.rooted = true
	l.open = append(l.open, opened{name, len(l.bindings)})
	for i := range l.attributes {
		if err := l.declare(&l.attributes[i]); err != nil {
			return mark{}, err
		}
	}
	m.prefix, m.local = split(name)
	var ok bool
	if m.space, ok = l.lookup(m.prefix); !ok {
		return mark{}, malformed(m.start, "the prefix of %s is not declared", readable(name))
	}
	m.end, m.attributes, l.ending = l.pos, l.attributes, m.empty
	return m, nil
}

// name is the name that begins here, with one colon at most. It is empty if there is none.
// https://www.w3.org/TR/xml-names/#ns-qualnames
func (l *lexer) name() []byte {
	start, colon, first := l.pos, false, true // first of a name or of its part behind the colon
	for ; l.pos < len(l.doc); l.pos++ {
		switch c := l.doc[l.pos]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_':
			first = false
			continue
		case !first && ('0' <= c && c <= '9' || c == '-' || c == '.'):
			continue
		case !first && !colon && c == ':':
			first, colon = true, true
			continue
		}
		break
	}
	if first {
		return nil
	}
	return l.doc[start:l.pos]
}

func split(name []byte) (prefix, local []byte) {
	if i := bytes.IndexByte(name, ':'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return nil, name
}

// attribute reads an attribute. https://www.w3.org/TR/xml/#NT-Attribute
func (l *lexer) attribute() (attr, error) {
	a := attr{start: l.pos}
	a.name = l.name()
	if len(a.name) == 0 {
		return a, malformed(a.start, "a tag has something that is no attribute")
	}
	l.skipSpace()
	if !l.follows("=") {
		return a, malformed(l.pos, "the attribute %s has no value", readable(a.name))
	}
	l.pos++
	l.skipSpace()
	if !l.follows(`"`) && !l.follows(`'`) {
		return a, malformed(l.pos, "the value of the attribute %s is not in quotes", readable(a.name))
	}
	start := l.pos
	n := bytes.IndexByte(l.doc[start+1:], l.doc[start])
	if n < 0 {
		return a, malformed(start, "the value of the attribute %s does not end", readable(a.name))
	}
	l.pos = start + 1 + n + 1
	a.value, a.quoted = l.doc[start+1:l.pos-1], l.doc[start:l.pos]
	if i := bytes.IndexByte(a.value, '<'); i >= 0 {
		return a, malformed(start+1+i, "a < in an attribute")
	}
	return a, checkReferences(a.value, start+1)
}
