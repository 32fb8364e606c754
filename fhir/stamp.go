package fhir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

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
	if err := checkObject(compact); err != nil {
		return nil, fmt.Errorf("fhir: stamp: %w", err)
	}
	var kept, inMeta [24]memberSpan // as many as most resources have
	rest, meta := kept[:0], inMeta[:0]
	for m := range members(compact, 0) {
		switch string(m.unquoted(compact)) {
		case "resourceType", "id":
		case "meta":
			if compact[m.value] != '{' {
				return nil, errors.New("fhir: stamp: meta must be an object")
			}
			for n := range members(compact, m.value) {
				switch string(n.unquoted(compact)) {
				case "versionId", "lastUpdated", "_versionId", "_lastUpdated":
				default:
					meta = append(meta, n)
				}
			}
		default:
			rest = append(rest, m)
		}
	}
	out := make([]byte, 0, len(compact)+128)
	out = append(out, `{"resourceType":"`...)
	out = append(out, resourceType...)
	out = append(out, `","id":"`...)
	out = append(out, id...)
	out = append(out, `","meta":{"versionId":"`...)
	out = append(out, version...)
	out = append(out, `","lastUpdated":"`...)
	out = lastUpdated.UTC().AppendFormat(out, InstantFormat)
	out = append(out, '"')
	for _, m := range meta {
		out = m.append(out, compact)
	}
	out = append(out, '}')
	for _, m := range rest {
		out = m.append(out, compact)
	}
	return append(out, '}'), nil
}

// checkObject refuses what is not one JSON object, in UTF-8 and without duplicate names.
func checkObject(body []byte) error {
	if v := jsontext.Value(body); v.Kind() == '{' && v.IsValid() {
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

// memberSpan is where a member of an object is written: its name, with the quotes, and its value.
type memberSpan struct{ name, nameEnd, value, end int }

// unquoted is the name.
func (m memberSpan) unquoted(document []byte) []byte {
	name := document[m.name+1 : m.nameEnd-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		name, _ = jsontext.AppendUnquote(nil, document[m.name:m.nameEnd]) // it is valid
	}
	return name
}

func (m memberSpan) append(dst, document []byte) []byte {
	dst = append(append(dst, ','), document[m.name:m.nameEnd]...)
	return append(append(dst, ':'), document[m.value:m.end]...)
}

// members gives the members of the object that begins at a place of valid JSON.
func members(valid []byte, at int) iter.Seq[memberSpan] {
	return func(yield func(memberSpan) bool) {
		at := behindSpace(valid, behindSpace(valid, at)+1)
		for valid[at] != '}' {
			m := memberSpan{name: at, nameEnd: behindString(valid, at)}
			m.value = behindSpace(valid, behindSpace(valid, m.nameEnd)+1) // the colon is between them
			m.end = behindValue(valid, m.value)
			if !yield(m) {
				return
			}
			if at = behindSpace(valid, m.end); valid[at] == ',' {
				at = behindSpace(valid, at+1)
			}
		}
	}
}

func behindSpace(valid []byte, at int) int {
	for valid[at] <= ' ' {
		at++
	}
	return at
}

func behindString(valid []byte, at int) int {
	for at++; valid[at] != '"'; at++ {
		if valid[at] == '\\' {
			at++
		}
	}
	return at + 1
}

func behindValue(valid []byte, at int) int {
	switch valid[at] {
	case '"':
		return behindString(valid, at)
	case '{', '[':
		for depth := 0; ; at++ {
			switch valid[at] {
			case '"':
				at = behindString(valid, at) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return at + 1
				}
			}
		}
	}
	for strings.IndexByte(",}] \t\r\n", valid[at]) < 0 {
		at++
	}
	return at
}
