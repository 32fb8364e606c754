package xmlformat

import (
	"bytes"
	"fmt"

	"github.com/kiln-health/kiln/fhir"
)

// appendXHTML appends the element that begins at m, up to its end, as XHTML that can stand by itself:
// as it is written, but that the outermost element always declares the namespace of XHTML as
// the default one, that no element has a prefix, that CDATA is text, and that what HTML reads
// otherwise than XML is left out: processing instructions, and comments with < or >.
// http://hl7.org/fhir/R4/narrative.html
func (l *lexer) appendXHTML(dst []byte, m mark) ([]byte, error) {
	depth := 0
	for {
		switch m.kind {
		case startTag:
			if m.space != xhtmlSpace {
				return dst, &fault{at: m.start, code: fhir.CodeStructure, message: "an element of a narrative that is not in the namespace of XHTML",
					fix: `write <div xmlns="` + xhtmlURL + `">`, spec: specNarrative}
			}
			if depth == fhir.MaxDepth {
				return dst, &fault{at: m.start, code: fhir.CodeTooCostly, message: fmt.Sprintf("more than %d levels of elements in a narrative", fhir.MaxDepth),
					fix: "nest less deeply"}
			}
			depth++
			var err error
			if dst, err = l.appendStart(dst, m, depth == 1); err != nil {
				return dst, err
			}
		case endTag:
			if len(m.prefix) == 0 {
				dst = append(dst, l.doc[m.start:m.end]...)
			} else if m.end > m.start {
				dst = append(dst, "</"...)
				dst = append(dst, m.local...)
				dst = append(dst, '>')
			}
			if depth--; depth == 0 {
				return dst, nil
			}
		case characters:
			dst = append(dst, l.doc[m.start:m.end]...)
		case comment:
			// What a browser makes of these is not always the comment that XML has there:
			// https://html.spec.whatwg.org/multipage/parsing.html#parse-error-abrupt-closing-of-empty-comment
			if text := l.doc[m.start+len("<!--") : m.end-len("-->")]; !bytes.ContainsAny(text, "<>") {
				dst = append(dst, l.doc[m.start:m.end]...)
			}
		case cdata:
			for _, c := range l.doc[m.start+len("<![CDATA[") : m.end-len("]]>")] {
				dst = appendText(dst, c)
			}
		}
		var err error
		if m, err = l.next(); err != nil {
			return dst, err
		}
	}
}

func appendText(dst []byte, c byte) []byte {
	switch c {
	case '&':
		return append(dst, "&amp;"...)
	case '<':
		return append(dst, "&lt;"...)
	case '>':
		return append(dst, "&gt;"...)
	}
	return append(dst, c)
}

func (l *lexer) appendStart(dst []byte, m mark, outermost bool) ([]byte, error) {
	plain, declared := len(m.prefix) == 0, false
	for i := range m.attributes {
		a := &m.attributes[i]
		prefix, ok := a.declares()
		switch {
		case ok && prefix == "":
			declared = true
		case ok:
			plain = false
		case !standsAlone(a.name):
			return dst, &fault{at: a.start, code: fhir.CodeStructure, message: "an attribute of a narrative has a prefix",
				fix: "leave it out", spec: specNarrative}
		}
	}
	if plain && (declared || !outermost) {
		return append(dst, l.doc[m.start:m.end]...), nil
	}
	dst = append(dst, '<')
	dst = append(dst, m.local...)
	if outermost {
		dst = append(dst, ` xmlns="`+xhtmlURL+`"`...)
	}
	for i := range m.attributes {
		a := &m.attributes[i]
		if _, ok := a.declares(); ok {
			continue
		}
		dst = append(dst, ' ')
		dst = append(dst, a.name...)
		dst = append(dst, '=')
		dst = append(dst, a.quoted...)
	}
	if m.empty {
		dst = append(dst, '/')
	}
	return append(dst, '>'), nil
}

// standsAlone reports whether an attribute means the same without declarations around it.
func standsAlone(name []byte) bool {
	prefix, _ := split(name)
	return len(prefix) == 0 || string(name) == "xml:lang" || string(name) == "xml:space"
}
