package xmlformat

import (
	"bytes"
	"fmt"

	"github.com/kiln-health/kiln/fhir"
)

// The namespaces that matter.
const (
	fhirURL   = "http://hl7.org/fhir"
	xhtmlURL  = "http://www.w3.org/1999/xhtml"
	xmlURL    = "http://www.w3.org/XML/1998/namespace"
	xmlnsURL  = "http://www.w3.org/2000/xmlns/"
	schemaURL = "http://www.w3.org/2001/XMLSchema-instance"
)

// space is a namespace, as far as it matters.
type space uint8

const (
	otherSpace space = iota
	fhirSpace
	xhtmlSpace
)

// A binding is a prefix that is declared, "" for the default namespace.
type binding struct {
	prefix string
	space  space
}

// declares is the prefix that an attribute declares, if it is a declaration of a namespace.
func (a *attr) declares() (prefix string, ok bool) {
	rest, ok := bytes.CutPrefix(a.name, []byte("xmlns"))
	switch {
	case !ok:
		return "", false
	case len(rest) == 0:
		return "", true
	case rest[0] == ':':
		return string(rest[1:]), true
	}
	return "", false
}

// declare keeps the namespace that an attribute declares, if it does.
// https://www.w3.org/TR/xml-names/#ns-decl
func (l *lexer) declare(a *attr) error {
	prefix, ok := a.declares()
	if !ok {
		return nil
	}
	if len(l.bindings) == maxNamespaces {
		return &fault{at: a.start, code: fhir.CodeTooCostly, message: fmt.Sprintf("more than %d namespaces", maxNamespaces)}
	}
	b := binding{prefix: prefix}
	switch uri := string(appendValue(nil, a.value)); {
	case uri == schemaURL:
		return &fault{at: a.start, code: fhir.CodeStructure, message: "the namespace of XMLSchema-instance is declared",
			fix: "leave out this namespace and its attributes", spec: specXML + "#schema"}
	case prefix == "xmlns" || uri == xmlnsURL || (prefix == "xml") != (uri == xmlURL):
		return malformed(a.start, "the prefixes xml and xmlns stand for their namespaces only")
	case prefix != "" && uri == "":
		return malformed(a.start, "a prefix is declared for no namespace")
	case uri == fhirURL:
		b.space = fhirSpace
	case uri == xhtmlURL:
		b.space = xhtmlSpace
	}
	l.bindings = append(l.bindings, b)
	return nil
}

func (l *lexer) lookup(prefix []byte) (space, bool) {
	for i := len(l.bindings) - 1; i >= 0; i-- {
		if l.bindings[i].prefix == string(prefix) {
			return l.bindings[i].space, true
		}
	}
	return otherSpace, len(prefix) == 0 || string(prefix) == "xml"
}
