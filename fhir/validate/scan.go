package validate

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
)

// space goes to the next byte that is no white space.
func (w *walker) space() { w.pos = w.blank(w.pos) }

func (w *walker) blank(i int) int {
	for w.body[i] <= ' ' {
		i++
	}
	return i
}

// endOfString is the end of the string that begins at the quote at i.
func (w *walker) endOfString(i int) int {
	i++
	for {
		i += bytes.IndexByte(w.body[i:], '"')
		back := i
		for w.body[back-1] == '\\' {
			back--
		}
		if (i-back)%2 == 0 {
			return i + 1
		}
		i++
	}
}

// skip is the end of the value that begins at i.
func (w *walker) skip(i int) int {
	switch w.body[i] {
	case '"':
		return w.endOfString(i)
	case '{', '[':
		depth := 0
		for {
			switch w.body[i] {
			case '"':
				i = w.endOfString(i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
				if depth == 0 {
					return i + 1
				}
			}
			i++
		}
	}
	for i < len(w.body) && w.body[i] > ' ' && w.body[i] != ',' && w.body[i] != '}' && w.body[i] != ']' {
		i++
	}
	return i
}

// plain is the text of the string from its quote at start to the end. It is valid until the next call.
func (w *walker) plain(start, end int) []byte { return w.unquote(0, start, end) }

func (w *walker) unquote(buffer, start, end int) []byte {
	raw := w.body[start+1 : end-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	u := w.unquoted[buffer][:0]
	if cap(u) < end-start {
		u = make([]byte, 0, end-start) // what is unquoted is no longer, and jsontext asks for as much
	}
	u, err := jsontext.AppendUnquote(u, w.body[start:end])
	w.unquoted[buffer] = u
	if err != nil { // jsontext has accepted it before
		return raw
	}
	return u
}

// classOf is the class of the resource that begins at at, nil if it says none that is known.
// Its resourceType may be anywhere in it.
func (w *walker) classOf(at int) *class {
	name, where := w.resourceType(at)
	switch c := w.plan.resources[string(name)]; {
	case c != nil:
		return c
	case where < 0:
		if w.refused() {
			w.errorAt(fhir.CodeRequired, "", at, "the resource does not say its resourceType", `add "resourceType" with the name of its type`)
		}
	case w.refused():
		fix := "send the name of an R4 resource"
		if len(name) <= 64 {
			if n := nearest(string(name), each(w.plan.names)); n != "" {
				fix = "did you mean " + n + "?"
			}
		}
		w.errorAt(fhir.CodeStructure, "", where, readable(name)+" is no resource type of R4", fix)
	}
	return nil
}

// resourceType is the value of the resourceType of the object at at, and where it is; -1 if there is none.
func (w *walker) resourceType(at int) (name []byte, where int) {
	i := w.blank(at + 1)
	for w.body[i] != '}' {
		if w.body[i] == ',' {
			i = w.blank(i + 1)
		}
		end := w.endOfString(i)
		is := string(w.body[i:end]) == `"resourceType"` || end-i > 14 && string(w.plain(i, end)) == "resourceType"
		i = w.blank(w.blank(end) + 1)
		end = w.skip(i)
		if is {
			if w.body[i] == '"' {
				return w.plain(i, end), i
			}
			return nil, i
		}
		i = w.blank(end)
	}
	return nil, -1
}
