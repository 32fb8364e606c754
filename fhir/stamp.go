package fhir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
	var kept, inMeta [24]memberSpan // as many as most resources have
	rest, meta := kept[:0], inMeta[:0]
	d := jsontext.NewDecoder(bytes.NewBuffer(compact))
	err := members(d, func(name string, m memberSpan) error {
		switch name {
		case "resourceType", "id":
			return nil
		case "meta":
			if compact[m.value] != '{' {
				return errors.New("meta must be an object")
			}
			return members(jsontext.NewDecoder(bytes.NewBuffer(compact[m.value:m.end])), func(name string, n memberSpan) error {
				switch name {
				case "versionId", "lastUpdated", "_versionId", "_lastUpdated":
				default:
					meta = append(meta, n.behind(m.value))
				}
				return nil
			})
		default:
			rest = append(rest, m)
			return nil
		}
	})
	if err == nil {
		if _, end := d.ReadToken(); end != io.EOF {
			err = errors.New("something follows the resource")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("fhir: stamp: %w", err)
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

// memberSpan is where a member of an object is written: its name, with the quotes, and its value.
type memberSpan struct{ name, nameEnd, value, end int }

// behind is m in a document in which the object begins at a place.
func (m memberSpan) behind(at int) memberSpan {
	return memberSpan{m.name + at, m.nameEnd + at, m.value + at, m.end + at}
}

func (m memberSpan) append(dst, document []byte) []byte {
	dst = append(append(dst, ','), document[m.name:m.nameEnd]...)
	return append(append(dst, ':'), document[m.value:m.end]...)
}

// members calls f for each member of the object that d is about to read, with its name and
// where it is.
func members(d *jsontext.Decoder, f func(name string, m memberSpan) error) error {
	if d.PeekKind() != '{' {
		return errors.New("not a JSON object")
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	var buf [32]byte
	for d.PeekKind() == '"' {
		var m memberSpan
		quoted, err := d.ReadValue()
		if err != nil {
			return err
		}
		m.nameEnd = int(d.InputOffset())
		m.name = m.nameEnd - len(quoted)
		name, err := jsontext.AppendUnquote(buf[:0], quoted)
		if err != nil {
			return err
		}
		raw, err := d.ReadValue()
		if err != nil {
			return err
		}
		m.end = int(d.InputOffset())
		m.value = m.end - len(raw)
		if err := f(string(name), m); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}
