// Package xmlformat reads and writes the XML form of FHIR resources.
//
// ToJSON and FromJSON are each other's inverse: both forms carry the same elements, and the
// definitions of R4 say what only one of them shows: what is an array in JSON, what is a
// number, what is an attribute in XML, in which order elements stand. Values keep their text,
// so 72.50 stays 72.50 and a string keeps its blanks. Only the format is checked here: which
// codes, dates and numbers of elements are right is for package validate to say, of the JSON.
//
// Both are strict, for what is guessed at may be guessed wrong. XML must be well-formed, in UTF-8,
// without a DTD, and its elements must be known, in the namespace of FHIR, and in the order
// of their definition: they "must always appear in the order documented".
//
// http://hl7.org/fhir/R4/xml.html
package xmlformat

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/kiln-health/kiln/fhir"
)

// MaxBytes is how long a document may be, that is read or that is written.
const MaxBytes = 32 << 20

const (
	specXML       = "http://hl7.org/fhir/R4/xml.html"
	specJSON      = "http://hl7.org/fhir/R4/json.html"
	specNarrative = "http://hl7.org/fhir/R4/narrative.html"
	specWhole     = "https://www.w3.org/TR/xml/"
)

// ToJSON is the JSON of a resource in XML: compact, resourceType first, then the elements in the
// order of their definition, each primitive with its id and extensions right behind it. It is
// what fhir.Parse returns for it, and FromJSON makes the same resource of it.
//
// Comments, processing instructions and white space between elements are not part of a
// resource and dropped. Values and ids lose white space at their ends, as the standard recommends,
// but strings and markdown keep it, as they do in JSON. The div of a narrative is kept as it is
// written, with these exceptions: prefixes of elements, which JSON has no place to declare, are
// resolved, CDATA becomes text, and what a browser may read as more than it is in XML is
// dropped: processing instructions, and comments with < or >. Namespaces that are
// declared and not used are no fault; the one of XMLSchema-instance is, and so are all attributes
// that FHIR does not have, xml:base and xsi:schemaLocation among them.
//
// The error is an *fhir.Error of one issue: a FHIRPath, the line and the column (in bytes),
// what is wrong, and how to mend it; never a value. Time and memory grow with the length of
// the document, which is at most MaxBytes; its JSON nests at most fhir.MaxDepth deep. xml is
// not changed and not kept. ToJSON may be called from any number of goroutines.
func ToJSON(xml []byte) ([]byte, error) {
	r := reader{lexer: lexer{doc: xml}, model: model()}
	err := r.document()
	if err == nil && len(r.out) > MaxBytes {
		err = tooLong(0, "the JSON")
	}
	if err != nil {
		return nil, describe(err, xml, r.at)
	}
	return r.out, nil
}

// FromJSON is the XML of a resource in JSON: UTF-8 with an XML declaration, without white space
// between elements, FHIR as the default namespace, and elements in the order of their definition,
// whatever order JSON has them in. Every character of a value survives a conformant parser: line
// ends and tabs are written as references.
//
// JSON that cannot be written in XML is refused like wrong XML in ToJSON: a name that is not
// defined, an array where one value belongs or the reverse, a string where a number belongs,
// an empty element, null outside an array of primitives, a control character. The div of a
// narrative must be well-formed XHTML; it is kept as ToJSON keeps it, without white space
// around it, and gets the namespace of XHTML if it does not declare it. So
// ToJSON(FromJSON(x)) has the same values as x if x is valid.
//
// Errors, limits and concurrency are as for ToJSON.
func FromJSON(json []byte) ([]byte, error) {
	return write(writer{doc: json, model: model()})
}

// A fault is what is wrong at a byte of a document.
type fault struct {
	at      int
	code    string
	element string // of the element at hand that the fault is about, "" for itself
	message string
	fix     string
	spec    string
}

func (f *fault) Error() string { return f.message }

// A step is one on the way from a resource to the element at hand.
type step struct {
	name  string
	index int // in a list, or -1
}

// place is the way to the element at hand. It is not shortened after a fault.
type place []step

func (p *place) enter(name string, index int) { *p = append(*p, step{name, index}) }

func (p *place) leave() { *p = (*p)[:len(*p)-1] }

// path is the FHIRPath of the element at hand, or of one of its elements.
func (p place) path(element string) string {
	var b strings.Builder
	for i, s := range p {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(s.name)
		if s.index >= 0 {
			fmt.Fprintf(&b, "[%d]", s.index)
		}
	}
	if element != "" && len(p) > 0 {
		b.WriteByte('.')
	}
	b.WriteString(element)
	return b.String()
}

// describe makes the error of a caller from a fault in doc.
func describe(err error, doc []byte, at place) error {
	f, ok := errors.AsType[*fault](err)
	if !ok {
		return err
	}
	before := doc[:min(max(f.at, 0), len(doc))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return &fhir.Error{Issues: []fhir.Issue{{
		Severity: fhir.SevError,
		Code:     f.code,
		Path:     at.path(f.element),
		Message:  fmt.Sprintf("line %d column %d: %s", line, column, f.message),
		Fix:      f.fix,
		Spec:     f.spec,
	}}}
}

func tooLong(at int, what string) *fault {
	return &fault{at: at, code: fhir.CodeTooLong, message: fmt.Sprintf("%s is longer than %d bytes", what, MaxBytes), fix: "send it in parts"}
}

// readable is a name that a stranger sent, if it looks like one, or else what it is like.
func readable(name []byte) string {
	if isName(name) {
		return `"` + string(name) + `"`
	}
	return fmt.Sprintf("a name of %d bytes", len(name))
}

// asElement is a name that a stranger sent in the form that a FHIRPath can have, or "".
func asElement(name []byte) string {
	if isName(name) && bytes.IndexByte(name, ':') < 0 {
		return string(name)
	}
	return ""
}

func isName(name []byte) bool {
	if len(name) == 0 || len(name) > 64 {
		return false
	}
	for _, c := range name {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == ':':
		default:
			return false
		}
	}
	return true
}
