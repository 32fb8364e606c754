package gatt

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
)

// envelopes reads the JSON form: one object or an array of objects. base is where body
// begins in the payload.
func envelopes(body []byte, base int) ([]entry, error) {
	d := &document{Decoder: jsontext.NewDecoder(bytes.NewReader(body)), base: base}
	var out []entry
	if d.PeekKind() == '{' {
		e := entry{}
		if err := d.envelope(&e); err != nil {
			return nil, err
		}
		return append(out, e), d.end()
	}
	if err := d.delimiter('['); err != nil {
		return nil, err
	}
	for d.PeekKind() != ']' {
		e := entry{path: "/" + strconv.Itoa(len(out))}
		if len(out) == maxEntries {
			return nil, tooMany(e.path)
		}
		if err := d.envelope(&e); err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	if err := d.delimiter(']'); err != nil {
		return nil, err
	}
	return out, d.end()
}

// document is a JSON text of which every member must be known.
type document struct {
	*jsontext.Decoder
	base int
}

// refuse makes an error that tells the place. Names of members that are not ours are
// not repeated: they may be anybody's.
func (d *document) refuse(path, problem string) error {
	at := d.base + int(d.InputOffset())
	return fhir.Errorf(fhir.CodeStructure, path, "%s (near byte %d)", problem, at)
}

// syntax explains an error of the decoder.
func (d *document) syntax(err error) error {
	e, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case !ok:
		return d.refuse("", "the JSON ends too early")
	case errors.Is(err, jsontext.ErrDuplicateName):
		return fhir.Errorf(fhir.CodeStructure, string(e.JSONPointer), "the member occurs twice (near byte %d)", d.base+int(e.ByteOffset)).
			WithFix("send each member once")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fhir.Errorf(fhir.CodeStructure, string(e.JSONPointer), "the JSON ends too early (near byte %d)", d.base+int(e.ByteOffset))
	default:
		return fhir.Errorf(fhir.CodeStructure, string(e.JSONPointer), "not valid JSON (near byte %d)", d.base+int(e.ByteOffset))
	}
}

func (d *document) end() error {
	if _, err := d.ReadToken(); errors.Is(err, io.EOF) {
		return nil
	}
	return d.refuse("", "something stands after the end of the JSON")
}

func (d *document) delimiter(want jsontext.Kind) error {
	path := string(d.StackPointer())
	t, err := d.ReadToken()
	switch {
	case err != nil:
		return d.syntax(err)
	case t.Kind() != want:
		return d.refuse(path, "not an object")
	}
	return nil
}

// object reads an object of which each member is a string, or is read by its own
// function.
func (d *document) object(path, known string, member func(name string) (text *string, read func() error)) error {
	if d.PeekKind() != '{' {
		if _, err := d.ReadToken(); err != nil {
			return d.syntax(err)
		}
		return d.refuse(path, "not an object")
	}
	if err := d.delimiter('{'); err != nil {
		return err
	}
	for d.PeekKind() != '}' {
		t, err := d.ReadToken()
		if err != nil {
			return d.syntax(err)
		}
		name := t.String()
		text, read := member(name)
		switch {
		case read != nil:
			if err := read(); err != nil {
				return err
			}
			continue
		case text == nil:
			return withFix(d.refuse(path, "a member that is not known"), "the members are "+known)
		}
		t, err = d.ReadToken()
		switch {
		case err != nil:
			return d.syntax(err)
		case t.Kind() != '"':
			return d.refuse(path+"/"+name, "not a string")
		}
		*text = t.String()
	}
	return d.delimiter('}')
}

func withFix(err error, fix string) error {
	if e, ok := errors.AsType[*fhir.Error](err); ok {
		return e.WithFix(fix)
	}
	return err
}

// envelope reads one object into e. What is wrong with the shape of the JSON is an
// error; what is wrong with the content of a member spoils that entry only.
func (d *document) envelope(e *entry) error {
	var characteristic, value, received, session string
	err := d.object(e.path, "characteristic, hex, receivedAt, user, device, session", func(name string) (*string, func() error) {
		switch name {
		case "characteristic":
			return &characteristic, nil
		case "hex":
			return &value, nil
		case "receivedAt":
			return &received, nil
		case "user":
			return &e.user, nil
		case "session":
			return &session, nil
		case "device":
			return nil, func() error { return d.device(e) }
		}
		return nil, nil
	})
	if err != nil {
		return err
	}
	if characteristic == "" {
		e.fail(fhir.CodeRequired, "no characteristic", `add "characteristic":"2A37"`)
	}
	e.identify(characteristic)
	e.setHex(value)
	if received != "" {
		e.receive(received)
	}
	if session != "" {
		start := entry{path: e.path}
		start.setHex(session)
		if start.problem != nil {
			e.fail(start.problem.Code, "session: "+start.problem.Message, "send the value of 2AAA in hexadecimal")
		}
		e.session = start.value
	}
	e.checkText("user", &e.user)
	return nil
}

func (d *document) device(e *entry) error {
	known := "address, systemId, manufacturer, model, serial, firmware, hardware, software, name"
	err := d.object(e.path+"/device", known, func(name string) (*string, func() error) {
		return e.device.member(name), nil
	})
	for _, name := range strings.Split(known, ", ") {
		e.checkText("device/"+name, e.device.member(name))
	}
	return err
}

// checkText refuses a text that no device would have.
func (e *entry) checkText(name string, text *string) {
	*text = strings.TrimSpace(*text)
	switch {
	case len(*text) > maxText:
		e.fail(fhir.CodeTooLong, name+" is longer than "+strconv.Itoa(maxText)+" bytes", "")
	case strings.ContainsFunc(*text, func(c rune) bool { return c < ' ' || c == 0x7F }):
		e.fail(fhir.CodeValue, name+" has control characters", "")
	}
}
