package rest

import (
	"bytes"
	"html"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
)

// links replaces what points from a resource to other entries of its transaction: in
// references, in elements of the types url and uri, and in href and src of narratives. All
// other bytes stay as they are.
//
// Of a uri only a urn:uuid: is replaced. Any other may be the name of a code system or the
// canonical URL of the resource itself, and no link. Elements of the types oid and uuid stay,
// against the letter of the rule: with the URL of a resource they would not be valid.
// http://hl7.org/fhir/R4/http.html#trules
type links struct {
	base  string            // URL of the API
	from  string            // full URL of the entry with the resource
	local map[string]string // full URL of an entry -> Type/ID
	urls  bool              // not all of these are URNs
	find  func(resourceType, condition string) (string, error)
}

// linkKind is what is known of a text that may be a link.
type linkKind uint8

const (
	noLink linkKind = iota
	reference
	uri
	hyperlink // url, href, src
	narrative // has hyperlinks in it
)

// rewrite is the resource, which is valid JSON, with its links replaced.
func (l *links) rewrite(resource []byte) ([]byte, error) {
	if !l.may(resource) {
		return resource, nil
	}
	// Names were found to be unique, and texts to be UTF-8, when the Bundle was read.
	w := linkWalk{links: l, in: resource, d: jsontext.NewDecoder(bytes.NewBuffer(resource), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))}
	if err := w.resource(typeOf(resource)); err != nil {
		return nil, err
	}
	if w.out == nil {
		return resource, nil
	}
	return append(w.out, resource[w.copied:]...), nil
}

// may reports whether a resource can have a link that is replaced, or refused: to a URN, to a
// condition, or to the URL of an entry. An escape may hide one.
func (l *links) may(resource []byte) bool {
	return l.urls || bytes.ContainsAny(resource, "?\\&") || bytes.Contains(resource, []byte("urn:"))
}

// linkWalk walks a resource with its definition beside it.
type linkWalk struct {
	*links
	in     []byte
	d      *jsontext.Decoder
	out    []byte // nil as long as nothing was replaced
	copied int    // how much of in is in out
}

func (w *linkWalk) resource(resourceType string) error {
	s, ok := definitions.ForType(resourceType)
	if !ok || resourceType == "Bundle" { // the links of a Bundle are to its own entries
		return w.d.SkipValue()
	}
	return w.object(s.Type, s.Root())
}

// object walks the members of an object that is of a type or has the children of an element.
func (w *linkWalk) object(of string, e *definitions.Element) error {
	if _, err := w.d.ReadToken(); err != nil {
		return err
	}
	for w.d.PeekKind() == '"' {
		name, err := w.d.ReadValue()
		if err != nil {
			return err
		}
		if err := w.member(of, e, string(name[1:len(name)-1])); err != nil {
			return err
		}
	}
	_, err := w.d.ReadToken()
	return err
}

func (w *linkWalk) member(of string, e *definitions.Element, name string) error {
	if strings.HasPrefix(name, "_") {
		return w.value(noLink, typeElement, nil)
	}
	child, t := e.Child(name)
	switch {
	case child == nil:
		return w.d.SkipValue()
	case child.Content != nil:
		return w.value(noLink, "", child.Content)
	case len(child.Children) > 0:
		return w.value(noLink, "", child)
	case of == "Reference" && name == "reference":
		return w.value(reference, "", nil)
	case t == nil:
		return w.d.SkipValue()
	}
	switch t.Code {
	case "uri":
		return w.value(uri, "", nil)
	case "url":
		return w.value(hyperlink, "", nil)
	case "xhtml":
		return w.value(narrative, "", nil)
	}
	return w.value(noLink, t.Code, nil)
}

const typeElement = "Element"

// value walks the value of a member, or each of its values.
func (w *linkWalk) value(kind linkKind, of string, e *definitions.Element) error {
	switch w.d.PeekKind() {
	case '[':
		if _, err := w.d.ReadToken(); err != nil {
			return err
		}
		for w.d.PeekKind() != ']' {
			if err := w.value(kind, of, e); err != nil {
				return err
			}
		}
		_, err := w.d.ReadToken()
		return err
	case '{':
		if of == "Resource" {
			return w.inner()
		}
		if e == nil {
			s, ok := definitions.ForType(of)
			if !ok {
				return w.d.SkipValue()
			}
			e = s.Root()
		}
		return w.object(of, e)
	case '"':
		if kind != noLink {
			return w.text(kind)
		}
	}
	return w.d.SkipValue()
}

// inner walks a resource in the resource.
func (w *linkWalk) inner() error {
	raw, err := w.d.ReadValue()
	if err != nil {
		return err
	}
	end := int(w.d.InputOffset())
	new, err := w.rewrite(raw)
	if err == nil && !bytes.Equal(new, raw) {
		w.replace(end-len(raw), end, new)
	}
	return err
}

// text replaces the links of a string.
func (w *linkWalk) text(kind linkKind) error {
	raw, err := w.d.ReadValue()
	if err != nil {
		return err
	}
	end := int(w.d.InputOffset())
	old, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return err
	}
	var new string
	if kind == narrative {
		new = w.narrative(string(old))
	} else if new, err = w.follow(kind, string(old)); err != nil {
		return err
	}
	if new == string(old) {
		return nil
	}
	quoted, err := jsontext.AppendQuote(nil, new)
	if err != nil {
		return err
	}
	w.replace(end-len(raw), end, quoted)
	return nil
}

func (w *linkWalk) replace(start, end int, new []byte) {
	w.out = append(append(w.out, w.in[w.copied:start]...), new...)
	w.copied = end
}

// follow is what a link becomes.
func (l *links) follow(kind linkKind, link string) (string, error) {
	if link == "" || link[0] == '#' {
		return link, nil
	}
	// Without the fragment: an element of the entry.
	full, fragment := link, ""
	if i := strings.IndexByte(link, '#'); i >= 0 {
		full, fragment = link[:i], link[i:]
	}
	placeholder := strings.HasPrefix(full, "urn:uuid:")
	if kind == uri && !placeholder {
		return link, nil
	}
	if local, ok := l.local[full]; ok {
		return local + fragment, nil
	}
	if local, ok := l.local[l.absolute(full)]; ok {
		return local + fragment, nil
	}
	if kind != reference {
		return link, nil
	}
	if before, _, ok := strings.Cut(full, "/_history/"); ok && (l.local[before] != "" || l.local[l.absolute(before)] != "") {
		return "", refuse(http.StatusUnprocessableEntity, fhir.CodeNotSupported, "a reference is to a version of an entry of the transaction, which is not known before it is written").
			fix("refer to the entry without a version").spec("http://hl7.org/fhir/R4/http.html#trules")
	}
	if resourceType, condition, ok := strings.Cut(strings.TrimPrefix(full, l.base+"/"), "?"); ok && fhir.ValidType(resourceType) {
		return l.find(resourceType, condition)
	}
	if placeholder || strings.HasPrefix(full, "urn:oid:") {
		return "", refuse(http.StatusUnprocessableEntity, fhir.CodeNotFound, "a reference is to an entry that the transaction does not have").
			fix("give the entry that is meant this fullUrl, with a POST, PUT or PATCH").spec("http://hl7.org/fhir/R4/bundle.html#references")
	}
	return link, nil
}

// absolute is the full URL that a relative one has in this entry.
// http://hl7.org/fhir/R4/bundle.html#references
func (l *links) absolute(relative string) string {
	if strings.Contains(relative, ":") {
		return relative
	}
	root := l.base
	if parts := strings.Split(l.from, "/"); len(parts) > 4 && strings.HasPrefix(l.from, "http") {
		root = strings.Join(parts[:len(parts)-2], "/")
	}
	return root + "/" + relative
}

// narrative replaces the links in <a href> and <img src> of XHTML.
func (l *links) narrative(div string) string {
	var b strings.Builder
	copied := 0
	for i := 0; i < len(div); i++ {
		if div[i] != '<' {
			continue
		}
		attribute := ""
		switch {
		case tag(div[i+1:], "a"):
			attribute = "href"
		case tag(div[i+1:], "img"):
			attribute = "src"
		default:
			continue
		}
		begin, end, next := attributeOf(div, i+1, attribute)
		if end > begin {
			old := html.UnescapeString(div[begin:end])
			if new, err := l.follow(hyperlink, old); err == nil && new != old {
				b.WriteString(div[copied:begin])
				b.WriteString(html.EscapeString(new))
				copied = end
			}
		}
		i = next
	}
	b.WriteString(div[copied:])
	return b.String()
}

func tag(text, name string) bool {
	rest, ok := strings.CutPrefix(text, name)
	return ok && rest != "" && strings.IndexByte(" \t\r\n", rest[0]) >= 0
}

// attributeOf is where the value of an attribute is in the tag that begins at from, both 0 if
// there is none, and where the tag ends.
func attributeOf(s string, from int, name string) (begin, end, next int) {
	for i := from; i < len(s); i++ {
		switch s[i] {
		case '>':
			return begin, end, i
		case '"', '\'':
			n := strings.IndexByte(s[i+1:], s[i])
			if n < 0 {
				return 0, 0, len(s)
			}
			before := strings.TrimRight(s[from:i], " \t\r\n")
			if before, ok := strings.CutSuffix(before, "="); ok && end == 0 {
				before = strings.TrimRight(before, " \t\r\n")
				if rest, ok := strings.CutSuffix(before, name); ok && rest != "" && strings.IndexByte(" \t\r\n", rest[len(rest)-1]) >= 0 {
					begin, end = i+1, i+1+n
				}
			}
			i += n + 1
			from = i
		}
	}
	return begin, end, len(s)
}
