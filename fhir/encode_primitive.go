package fhir

import (
	"encoding/base64"
	"reflect"
	"strconv"
	"unicode/utf8"

	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
)

// noValueURL marks, in google/fhir's protos, a primitive that has extensions and no
// value. It means nothing outside and is never written.
const noValueURL = "https://g.co/fhir/StructureDefinition/primitiveHasNoValue"

// strideURL records, in google/fhir's protos, how the whitespace lay in base64.
// Base64 is written without whitespace.
const strideURL = "https://g.co/fhir/StructureDefinition/base64Binary-separatorStride"

type primitiveKind uint8

const (
	textKind primitiveKind = iota
	idKind
	codeKind
	decimalKind
	booleanKind
	integerKind
	unsignedKind
	positiveKind
	bytesKind
	momentKind // date, dateTime, instant
	timeKind
)

// primitive says how a message with a value is written. The numbers are fields of its Go struct.
type primitive struct {
	kind          primitiveKind
	value         int
	id            int
	extension     int // -1 for xhtml, which has none
	codes         map[int64]string
	idMember      member
	extensionPlan *plan
}

// appendValue appends the JSON value of the primitive in v, and reports whether there is one.
func (p *primitive) appendValue(dst []byte, v reflect.Value) ([]byte, bool, error) {
	if p.marked(v) {
		return dst, false, nil
	}
	var err error
	switch p.kind {
	case textKind:
		s := v.Field(p.value).String()
		if s == "" { // FHIR has no empty strings
			return dst, false, nil
		}
		dst, err = appendText(append(dst, '"'), s)
		return append(dst, '"'), true, err
	case idKind:
		s := v.Field(p.value).String()
		if s == "" {
			return dst, false, nil
		}
		dst, err = appendID(append(dst, '"'), s)
		return append(dst, '"'), true, err
	case codeKind:
		n := v.Field(p.value).Int()
		if n == 0 {
			return dst, false, nil
		}
		code, ok := p.codes[n]
		if !ok {
			return dst, false, refuse(CodeCodeInvalid, "the number stands for no code of the value set", "use the constants of codes_go_proto")
		}
		dst = append(append(append(dst, '"'), code...), '"')
	case decimalKind:
		s := v.Field(p.value).String()
		if s == "" {
			return dst, false, nil
		}
		if !isNumber(s) {
			return dst, false, refuse(CodeValue, "the text is not a decimal number", "write digits with an optional sign, fraction and exponent, as in 72.50")
		}
		dst = append(dst, s...)
	case booleanKind:
		dst = strconv.AppendBool(dst, v.Field(p.value).Bool())
	case integerKind:
		dst = strconv.AppendInt(dst, v.Field(p.value).Int(), 10)
	case unsignedKind:
		dst = strconv.AppendUint(dst, v.Field(p.value).Uint(), 10)
	case positiveKind:
		n := v.Field(p.value).Uint()
		if n == 0 {
			return dst, false, nil
		}
		dst = strconv.AppendUint(dst, n, 10)
	case bytesKind:
		b := v.Field(p.value).Bytes()
		if len(b) == 0 {
			return dst, false, nil
		}
		dst = append(base64.StdEncoding.AppendEncode(append(dst, '"'), b), '"')
	case momentKind, timeKind:
		return p.appendMoment(dst, v)
	}
	return dst, true, nil
}

// marked reports whether the marker of google/fhir says that there is no value.
func (p *primitive) marked(v reflect.Value) bool {
	for _, x := range p.extensions(v) {
		if x.GetUrl().GetValue() == noValueURL {
			return true
		}
	}
	return false
}

func (p *primitive) extensions(v reflect.Value) []*dtpb.Extension {
	if p.extension < 0 {
		return nil
	}
	f := v.Field(p.extension)
	if f.Len() == 0 {
		return nil
	}
	// A pointer in an interface costs nothing, a slice would be copied to the heap.
	list, _ := f.Addr().Interface().(*[]*dtpb.Extension)
	return *list
}

// hasAside reports whether the primitive has an id or extensions.
func (p *primitive) hasAside(v reflect.Value) bool {
	if !v.Field(p.id).IsNil() {
		return true
	}
	for _, x := range p.extensions(v) {
		if !internal(x) {
			return true
		}
	}
	return false
}

func internal(x *dtpb.Extension) bool {
	url := x.GetUrl().GetValue()
	return url == noValueURL || url == strideURL
}

// appendAside appends the object with the id and the extensions of a primitive.
func (p *primitive) appendAside(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	dst = append(dst, '{')
	var err error
	if id := v.Field(p.id); !id.IsNil() {
		if dst, err = p.idMember.appendPrimitive(dst, id, depth); err != nil {
			return dst, problemOf(err).under("id")
		}
	}
	open := false
	for i, x := range p.extensions(v) {
		if internal(x) {
			continue
		}
		if open {
			dst = append(dst, ',')
		} else {
			dst = append(appendName(dst, `"extension":`), '[')
			open = true
		}
		if dst, err = p.extensionPlan.appendObject(dst, reflect.ValueOf(x), depth+1); err != nil {
			return dst, problemOf(err).at(i).under("extension")
		}
	}
	if open {
		dst = append(dst, ']')
	}
	return append(dst, '}'), nil
}

// appendID appends s, which must be a resource id.
func appendID(dst []byte, s string) ([]byte, error) {
	if !ValidID(s) {
		return dst, refuse(CodeValue, "the text is not a resource id", "use 1 to 64 of A-Z a-z 0-9 - and ., or fhir.HashID")
	}
	return append(dst, s...), nil
}

const hexDigits = "0123456789abcdef"

// appendText appends s as the inside of a JSON string. Control characters other
// than tab, line feed and carriage return are not allowed in FHIR.
// http://hl7.org/fhir/R4/datatypes.html#string
func appendText(dst []byte, s string) ([]byte, error) {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				return dst, refuse(CodeValue, "the text is not UTF-8", "decode the text from the character set of its source")
			}
			i += n
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\t':
			dst = append(dst, '\\', 't')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			return dst, refuse(CodeValue, "the text holds a control character (U+00"+string(hexDigits[c>>4])+string(hexDigits[c&15])+")",
				"remove it; FHIR allows tab, line feed and carriage return only")
		}
		i++
		start = i
	}
	return append(dst, s[start:]...), nil
}

// isNumber reports whether s is a number as JSON writes it, which is also how FHIR writes a decimal.
// http://hl7.org/fhir/R4/datatypes.html#decimal
func isNumber(s string) bool {
	digits := func() bool {
		n := 0
		for n < len(s) && '0' <= s[n] && s[n] <= '9' {
			n++
		}
		s = s[n:]
		return n > 0
	}
	if s != "" && s[0] == '-' {
		s = s[1:]
	}
	if len(s) > 1 && s[0] == '0' && '0' <= s[1] && s[1] <= '9' {
		return false
	}
	if !digits() {
		return false
	}
	if s != "" && s[0] == '.' {
		s = s[1:]
		if !digits() {
			return false
		}
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		s = s[1:]
		if s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		if !digits() {
			return false
		}
	}
	return s == ""
}
