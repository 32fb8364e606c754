package rest

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
	"github.com/kiln-health/kiln/fhir/search"
)

// part is the part of a resource that a client asks for. The zero value is all of it.
// http://hl7.org/fhir/R4/search.html#summary
type part struct {
	summary  string   // true, text or data; "" and false are the whole resource
	elements []string // names of elements at the top of the resource
}

// subsetted marks a resource that is not complete, so that nobody puts it back.
const subsetted = `{"system":"` + fhir.ObservationValue + `","code":"SUBSETTED"}`

// partOf reads _summary and _elements. Only one of them may be there.
func partOf(params []search.Pair) (part, error) {
	var p part
	for _, param := range params {
		switch {
		case param.Value == "":
		case param.Name == "_summary":
			if !slices.Contains([]string{"true", "text", "data", "false"}, param.Value) {
				return p, badParameter("_summary", "true, text, data or false")
			}
			p.summary = param.Value
		case param.Name == "_elements":
			for name := range strings.SplitSeq(param.Value, ",") {
				if _, after, ok := strings.Cut(name, "."); ok { // Patient.name
					name = after
				}
				if name = strings.TrimSpace(name); name == "" || !only(name, "") {
					return p, badParameter("_elements", "a list of names of elements, as in code,subject")
				}
				p.elements = append(p.elements, name)
			}
		}
	}
	if p.summary != "" && p.summary != "false" && p.elements != nil {
		return p, badParameter("_summary", "false, or is left out, where _elements is")
	}
	return p, nil
}

// of is the part of a resource: what is asked for, and always its id and meta, what is
// mandatory, and what may change the meaning of the rest. It is the resource itself if that is asked for.
func (p part) of(r fhir.Resource) ([]byte, error) {
	if p.elements == nil && (p.summary == "" || p.summary == "false") {
		return r.JSON, nil
	}
	s, ok := definitions.ForType(r.Type)
	if !ok {
		return r.JSON, nil
	}
	w := partWalk{part: p, d: jsontext.NewDecoder(bytes.NewBuffer(r.JSON)), out: make([]byte, 0, len(r.JSON)+len(subsetted)+8)}
	if err := w.object(s.Root(), true); err != nil {
		return nil, err
	}
	if _, err := w.d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("rest: something follows a resource")
	}
	return w.out, nil
}

// partWalk copies what is wanted.
type partWalk struct {
	part
	d   *jsontext.Decoder
	out []byte
}

// object copies the wanted members of an object.
func (w *partWalk) object(e *definitions.Element, top bool) error {
	if _, err := w.d.ReadToken(); err != nil {
		return err
	}
	w.out = append(w.out, '{')
	tagged := false
	for w.d.PeekKind() == '"' {
		raw, err := w.d.ReadValue()
		if err != nil {
			return err
		}
		name := string(raw[1 : len(raw)-1])
		child, t := e.Child(strings.TrimPrefix(name, "_"))
		if !w.wants(name, child, top) {
			if err := w.d.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if w.out[len(w.out)-1] != '{' {
			w.out = append(w.out, ',')
		}
		w.out = append(append(w.out, raw...), ':')
		if top && name == "meta" {
			tagged = true
			if err := w.meta(); err != nil {
				return err
			}
			continue
		}
		if name[0] == '_' {
			child = nil // its extensions
		}
		if err := w.value(child, t); err != nil {
			return err
		}
	}
	if top && !tagged {
		w.out = append(w.out, `,"meta":{"tag":[`+subsetted+`]}`...)
	}
	w.out = append(w.out, '}')
	_, err := w.d.ReadToken()
	return err
}

// wants reports whether a member is part of the answer.
func (w *partWalk) wants(name string, child *definitions.Element, top bool) bool {
	if name == "resourceType" || name == "id" {
		return true
	}
	if child == nil {
		return false
	}
	if child.Min > 0 || child.Modifier || top && child.Name == "meta" {
		return true
	}
	switch {
	case w.elements != nil:
		return !top || slices.Contains(w.elements, child.Name) || slices.Contains(w.elements, strings.TrimPrefix(name, "_"))
	case w.summary == "text":
		return !top || child.Name == "text"
	case w.summary == "data":
		return !top || child.Name != "text"
	}
	return child.Summary
}

// value copies a value; of a summary only the elements that are part of it.
func (w *partWalk) value(e *definitions.Element, t *definitions.Type) error {
	inner := inside(e, t)
	if w.summary != "true" || inner == nil {
		raw, err := w.d.ReadValue()
		w.out = append(w.out, raw...)
		return err
	}
	switch w.d.PeekKind() {
	case '{':
		return w.object(inner, false)
	case '[':
		if _, err := w.d.ReadToken(); err != nil {
			return err
		}
		w.out = append(w.out, '[')
		for first := true; w.d.PeekKind() != ']'; first = false {
			if !first {
				w.out = append(w.out, ',')
			}
			if err := w.value(e, t); err != nil {
				return err
			}
		}
		w.out = append(w.out, ']')
		_, err := w.d.ReadToken()
		return err
	}
	raw, err := w.d.ReadValue()
	w.out = append(w.out, raw...)
	return err
}

// inside is the element that has the children of e, nil if it has none that are known.
func inside(e *definitions.Element, t *definitions.Type) *definitions.Element {
	switch {
	case e == nil:
		return nil
	case e.Content != nil:
		return e.Content
	case len(e.Children) > 0:
		return e
	case t == nil:
		return nil
	}
	if s, ok := definitions.ForType(t.Code); ok && s.Kind == definitions.DataType {
		return s.Root()
	}
	return nil
}

// meta copies the meta of a resource, with the tag.
func (w *partWalk) meta() error {
	if w.d.PeekKind() != '{' {
		raw, err := w.d.ReadValue()
		w.out = append(w.out, raw...)
		return err
	}
	if _, err := w.d.ReadToken(); err != nil {
		return err
	}
	w.out = append(w.out, '{')
	tagged := false
	for w.d.PeekKind() == '"' {
		name, err := w.d.ReadValue()
		if err != nil {
			return err
		}
		if w.out[len(w.out)-1] != '{' {
			w.out = append(w.out, ',')
		}
		isTag := string(name) == `"tag"`
		w.out = append(append(w.out, name...), ':')
		raw, err := w.d.ReadValue()
		if err != nil {
			return err
		}
		if list, ok := bytes.CutSuffix(raw, []byte("]")); isTag && ok {
			tagged = true
			w.out = append(w.out, list...)
			if len(list) > 1 {
				w.out = append(w.out, ',')
			}
			raw = jsontext.Value(subsetted + "]")
		}
		w.out = append(w.out, raw...)
	}
	if !tagged {
		if w.out[len(w.out)-1] != '{' {
			w.out = append(w.out, ',')
		}
		w.out = append(w.out, `"tag":[`+subsetted+`]`...)
	}
	w.out = append(w.out, '}')
	_, err := w.d.ReadToken()
	return err
}
