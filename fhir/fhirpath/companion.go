package fhirpath

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofhir/fhirpath/types"
)

// item is the collection of one element.
func item(body []byte, typ string) types.Collection {
	if len(body) == 0 {
		return nil
	}
	if bytes.Contains(body, []byte(`"_`)) {
		body = filled(body)
	}
	if body[0] == '{' {
		if typ == "" {
			return types.Collection{types.NewObjectValue(body)}
		}
		return types.Collection{types.NewObjectValueWithType(body, typ)}
	}
	// The engine gives types to what is in an object.
	name := "value"
	o := types.NewObjectValue([]byte(`{"` + name + `":` + string(body) + `}`))
	return o.GetCollectionWithType(name, typ)
}

// filled puts the companion of a primitive that has no value in the place of the value:
// such an element exists, and its extensions can be asked for.
// http://hl7.org/fhir/R4/json.html#primitive
func filled(body []byte) []byte {
	out, ok := fill(make([]byte, 0, len(body)+len(body)/8), body, 0)
	if !ok {
		return body
	}
	return out
}

type field struct{ name, value []byte }

// fill appends an object or array, with those in it.
func fill(out, body []byte, depth int) ([]byte, bool) {
	if depth > maxDepth || !bytes.Contains(body, []byte(`"_`)) {
		return append(out, body...), true
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	switch d.PeekKind() {
	case '{':
		fields, at, ok := members(d)
		if !ok {
			return nil, false
		}
		out = append(out, '{')
		for i, f := range fields {
			value := f.value
			if len(f.name) > 2 && f.name[1] == '_' {
				bare := string(f.name[0]) + string(f.name[2:])
				if _, has := at[bare]; has {
					continue
				}
				f.name = []byte(bare)
				if value[0] == '[' {
					value = without(value)
				}
			} else if value[0] == '[' {
				if k, has := at[`"_`+string(f.name[1:])]; has {
					value = merged(value, fields[k].value)
				}
			}
			if i > 0 && out[len(out)-1] != '{' {
				out = append(out, ',')
			}
			out = append(append(out, f.name...), ':')
			if out, ok = fill(out, value, depth+1); !ok {
				return nil, false
			}
		}
		return append(out, '}'), true
	case '[':
		items, ok := elements(body)
		if !ok {
			return nil, false
		}
		out = append(out, '[')
		for i, v := range items {
			if i > 0 {
				out = append(out, ',')
			}
			if out, ok = fill(out, v, depth+1); !ok {
				return nil, false
			}
		}
		return append(out, ']'), true
	}
	return append(out, body...), true
}

func members(d *jsontext.Decoder) (fields []field, at map[string]int, ok bool) {
	if _, err := d.ReadToken(); err != nil {
		return nil, nil, false
	}
	at = map[string]int{}
	for d.PeekKind() == '"' {
		name, err := d.ReadValue()
		if err != nil {
			return nil, nil, false
		}
		f := field{name: bytes.Clone(name)}
		value, err := d.ReadValue()
		if err != nil {
			return nil, nil, false
		}
		f.value = bytes.Clone(value)
		at[string(f.name)] = len(fields)
		fields = append(fields, f)
	}
	return fields, at, d.PeekKind() == '}'
}

func elements(array []byte) (all [][]byte, ok bool) {
	d := jsontext.NewDecoder(bytes.NewBuffer(array), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if _, err := d.ReadToken(); err != nil {
		return nil, false
	}
	for d.PeekKind() != ']' {
		v, err := d.ReadValue()
		if err != nil {
			return nil, false
		}
		all = append(all, bytes.Clone(v))
	}
	return all, true
}

// merged puts companions in the place of nulls.
func merged(values, companions []byte) []byte {
	a, ok1 := elements(values)
	b, ok2 := elements(companions)
	if !ok1 || !ok2 {
		return values
	}
	for i := range a {
		if string(a[i]) == "null" && i < len(b) {
			a[i] = b[i]
		}
	}
	return array(a)
}

// without leaves the nulls out.
func without(companions []byte) []byte {
	all, _ := elements(companions)
	kept := all[:0]
	for _, v := range all {
		if string(v) != "null" {
			kept = append(kept, v)
		}
	}
	return array(kept)
}

func array(items [][]byte) []byte {
	return append(append([]byte{'['}, bytes.Join(items, []byte{','})...), ']')
}
