package withings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
)

// Limits of a payload. What is beyond is refused.
const (
	maxBytes    = 32 << 20
	maxDepth    = 32
	maxGroups   = 50_000
	maxMeasures = 100_000
	maxText     = 256 // bytes of a device id, model or zone
	maxDigits   = 18  // of an integer; they fit an int64
)

// state tells what a member of the payload holds.
type state uint8

const (
	absent state = iota // not there, or null
	given
	wrong // of another type, too long, or not an integer
)

// integer is a member that must be a whole number.
type integer struct {
	n     int64
	state state
}

func (i integer) is(n int64) bool { return i.state == given && i.n == n }

// text is a member that must be a string.
type text struct {
	s     string
	state state
}

// measure is one element of measures: value × 10^unit of a type.
type measure struct {
	value, kind, unit, position integer
	malformed                   bool // not an object
}

// group is one element of measuregrps.
type group struct {
	base  string // JSON pointer of the array it stands in
	index int

	id, attrib, date, modified, category, modelID integer
	deviceID, hashID, model, zone                 text
	measures                                      []measure
}

// path is the JSON pointer of the group.
func (g *group) path() string { return g.base + "/" + strconv.Itoa(g.index) }

// measurePath is the JSON pointer of one of its measures.
func (g *group) measurePath(n int) string { return g.path() + "/measures/" + strconv.Itoa(n) }

// document is what an answer to getmeas holds.
type document struct {
	base     string // JSON pointer of the body
	zone     text
	more     bool
	groups   []group
	measures int
}

// path is the JSON pointer of the body.
func (d *document) path() string { return d.base }

// parser reads a document. Numbers become integers and texts are shared, so that a
// measure costs no allocation.
type parser struct {
	dec   *jsontext.Decoder
	doc   document
	texts map[string]string

	bare      bool // the document is an array
	status    integer
	hasStatus bool
	hasBody   bool
	hasGroups bool
	other     string // the Withings document that a member gives away
}

// parse reads body. An error is an *fhir.Error.
func parse(body []byte) (document, error) {
	if len(body) > maxBytes {
		return document{}, fhir.Errorf(fhir.CodeTooCostly, "byte 0", "the payload has more than %d bytes", maxBytes).
			WithFix("fetch the measures in pages and send each page")
	}
	if bytes.HasPrefix(body, []byte("userid=")) {
		return document{}, notSupported("byte 0", "a notification of the Withings API, which tells that there are new data but holds none")
	}
	p := &parser{dec: jsontext.NewDecoder(bytes.NewBuffer(body)), texts: map[string]string{}}
	if err := p.top(); err != nil {
		return document{}, p.refuse(err)
	}
	if _, err := p.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return document{}, fhir.Errorf(fhir.CodeStructure, fmt.Sprintf("byte %d", p.dec.InputOffset()), "the document is followed by more").
			WithFix("send one answer of the API per payload")
	}
	if p.hasStatus && !p.status.is(0) {
		return document{}, statusError(p.status)
	}
	if !p.hasGroups {
		return document{}, notSupported("", p.looksLike())
	}
	return p.doc, nil
}

func notSupported(path, what string) *fhir.Error {
	return fhir.Errorf(fhir.CodeNotSupported, path, "the payload looks like %s", what).
		WithFix("send what the API answers to Measure - Getmeas (measuregrps)").
		WithSpec("https://developer.withings.com/api-reference/#operation/measure-getmeas")
}

func (p *parser) looksLike() string {
	switch {
	case p.other != "":
		return p.other
	case p.hasBody:
		return "an answer of the Withings API without measures, such as that to a change of notifications"
	default:
		return "JSON that is not of the Withings API"
	}
}

// refuse turns an error of the JSON decoder into one that names the place and quotes
// nothing of the payload.
func (p *parser) refuse(err error) error {
	if e, ok := errors.AsType[*fhir.Error](err); ok {
		return e
	}
	offset, pointer, message := p.dec.InputOffset(), p.dec.StackPointer(), "the document is not valid JSON"
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		offset, pointer = e.ByteOffset, e.JSONPointer
	}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		message = "an object has two members of the same name"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		message = "the document ends too early"
	}
	return fhir.Errorf(fhir.CodeStructure, p.place(pointer, offset), "%s", message).
		WithFix(asItCame + ", in UTF-8")
}

// here is the place where the decoder stands.
func (p *parser) here() string { return p.place(p.dec.StackPointer(), p.dec.InputOffset()) }

// place is where in the payload something is: JSON pointer and byte offset. The
// pointer ends before the first name that the API does not use: whatever else stands
// in a payload is nothing to print.
func (p *parser) place(pointer jsontext.Pointer, offset int64) string {
	var b strings.Builder
	before := ""
	for name := range pointer.Tokens() {
		inArray := before == "measuregrps" || before == "measures" || before == "" && p.bare
		if !apiNames[name] && !(inArray && isIndex(name)) {
			b.WriteString("/…")
			break
		}
		b.WriteString("/" + name)
		before = name
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	fmt.Fprintf(&b, "byte %d", offset)
	return b.String()
}

func isIndex(s string) bool {
	return len(s) <= len("100000") && strings.Trim(s, "0123456789") == ""
}

// apiNames are the members that a place may name.
var apiNames = map[string]bool{
	"status": true, "body": true, "measuregrps": true, "timezone": true, "more": true,
	"grpid": true, "attrib": true, "date": true, "created": true, "modified": true, "category": true,
	"deviceid": true, "hash_deviceid": true, "model": true, "modelid": true, "comment": true,
	"measures": true, "value": true, "type": true, "unit": true, "position": true, "algo": true, "fm": true,
}

// asItCame tells how to mend a payload that was changed on its way.
const asItCame = "send the answer of the API as it came"

// fault is an error at the place where the decoder stands.
func (p *parser) fault(code, format string, args ...any) *fhir.Error {
	return fhir.Errorf(code, p.here(), format, args...).WithFix(asItCame)
}

// unfit reads over a value of the wrong type and tells of it.
func (p *parser) unfit(format string, args ...any) error {
	if err := p.skip(); err != nil {
		return err
	}
	return p.fault(fhir.CodeStructure, format, args...)
}

func (p *parser) top() error {
	switch p.dec.PeekKind() {
	case '[':
		p.bare, p.hasGroups = true, true
		return p.groups("")
	case '{':
		return p.object(func(name []byte) error {
			switch string(name) {
			case `"status"`:
				p.hasStatus = true
				err := p.integer(&p.status)
				if err == nil && p.status.state == absent {
					p.status.state = wrong
				}
				return err
			case `"body"`:
				if p.dec.PeekKind() != '{' {
					return p.skip()
				}
				p.hasBody = true
				return p.object(func(name []byte) error { return p.bodyMember(name, "/body") })
			default:
				return p.bodyMember(name, "")
			}
		})
	}
	// A scalar, or no JSON at all.
	if err := p.skip(); err != nil {
		return err
	}
	return fhir.Errorf(fhir.CodeStructure, "byte 0", "the document is neither an object nor an array").
		WithFix(asItCame)
}

// bodyMember reads a member of the body, which may also stand alone.
func (p *parser) bodyMember(name []byte, base string) error {
	switch string(name) {
	case `"measuregrps"`:
		if p.hasGroups {
			return p.fault(fhir.CodeStructure, "measuregrps stands at two places")
		}
		p.hasGroups, p.doc.base = true, base
		return p.groups(base + "/measuregrps")
	case `"timezone"`:
		return p.text(&p.doc.zone)
	case `"more"`:
		return p.flag(&p.doc.more)
	case `"activities"`:
		p.other = "daily activities (Measure v2 - Getactivity)"
	case `"series"`:
		p.other = "sleep, workouts or activity in detail (Sleep v2, Getworkouts, Getintradayactivity)"
	case `"devices"`:
		p.other = "a list of devices (User v2 - Getdevice)"
	case `"goals"`:
		p.other = "goals (User v2 - Getgoals)"
	case `"profiles"`:
		p.other = "a list of notifications (Notify - List)"
	case `"access_token"`, `"refresh_token"`:
		p.other = "an access token, which should not be sent here at all"
	}
	return p.skip()
}

func (p *parser) groups(base string) error {
	if p.dec.PeekKind() != '[' {
		return p.unfit("measuregrps is not an array")
	}
	return p.array(func(n int) error {
		if n == maxGroups {
			return p.fault(fhir.CodeTooCostly, "there are more than %d measure groups", maxGroups).WithFix("send the pages of the API one by one")
		}
		if p.dec.PeekKind() != '{' {
			return p.unfit("a measure group is not an object")
		}
		p.doc.groups = append(p.doc.groups, group{base: base, index: n})
		return p.group(&p.doc.groups[n])
	})
}

func (p *parser) group(g *group) error {
	isGroup := false
	err := p.object(func(name []byte) error {
		switch string(name) {
		case `"grpid"`:
			isGroup = true
			return p.integer(&g.id)
		case `"attrib"`:
			return p.integer(&g.attrib)
		case `"date"`:
			return p.integer(&g.date)
		case `"modified"`:
			return p.integer(&g.modified)
		case `"category"`:
			return p.integer(&g.category)
		case `"modelid"`, `"model_id"`:
			return p.integer(&g.modelID)
		case `"deviceid"`:
			return p.text(&g.deviceID)
		case `"hash_deviceid"`:
			return p.text(&g.hashID)
		case `"model"`:
			return p.text(&g.model)
		case `"timezone"`:
			return p.text(&g.zone)
		case `"measures"`:
			isGroup = true
			return p.measures(g)
		}
		return p.skip() // the comment among others: it may name the person
	})
	if err == nil && !isGroup {
		return notSupported(p.here(), "an array of something else than measure groups")
	}
	return err
}

func (p *parser) measures(g *group) error {
	switch p.dec.PeekKind() {
	case '[':
	case 'n':
		return p.skip()
	default:
		return p.unfit("measures is not an array")
	}
	return p.array(func(n int) error {
		if p.doc.measures == maxMeasures {
			return p.fault(fhir.CodeTooCostly, "there are more than %d measures", maxMeasures).WithFix("send the pages of the API one by one")
		}
		p.doc.measures++
		if p.dec.PeekKind() != '{' {
			g.measures = append(g.measures, measure{malformed: true})
			return p.skip()
		}
		g.measures = append(g.measures, measure{})
		m := &g.measures[n]
		return p.object(func(name []byte) error {
			switch string(name) {
			case `"value"`:
				return p.integer(&m.value)
			case `"type"`:
				return p.integer(&m.kind)
			case `"unit"`:
				return p.integer(&m.unit)
			case `"position"`:
				return p.integer(&m.position)
			}
			return p.skip()
		})
	})
}

// object reads the object that comes next. member is given the quoted name, which is
// valid until it reads on, and must read the value.
func (p *parser) object(member func(name []byte) error) error {
	if err := p.open(); err != nil {
		return err
	}
	for p.dec.PeekKind() != '}' {
		name, err := p.dec.ReadValue()
		if err != nil {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
	}
	_, err := p.dec.ReadToken()
	return err
}

// array reads the array that comes next. element must read the nth value.
func (p *parser) array(element func(n int) error) error {
	if err := p.open(); err != nil {
		return err
	}
	for n := 0; ; n++ {
		kind := p.dec.PeekKind()
		if kind == ']' {
			break
		}
		if kind == jsontext.KindInvalid {
			return p.skip() // which tells why
		}
		if err := element(n); err != nil {
			return err
		}
	}
	_, err := p.dec.ReadToken()
	return err
}

// open reads the { or [ that comes next.
func (p *parser) open() error {
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	return p.checkDepth()
}

func (p *parser) checkDepth() error {
	if p.dec.StackDepth() > maxDepth {
		return p.fault(fhir.CodeTooCostly, "the document is nested more than %d deep", maxDepth)
	}
	return nil
}

// skip reads over the value that comes next.
func (p *parser) skip() error {
	depth := p.dec.StackDepth()
	for {
		if _, err := p.dec.ReadToken(); err != nil {
			return err
		}
		if err := p.checkDepth(); err != nil {
			return err
		}
		if p.dec.StackDepth() <= depth {
			return nil
		}
	}
}

func (p *parser) integer(to *integer) error {
	kind := p.dec.PeekKind()
	if kind != '0' {
		if kind != 'n' {
			to.state = wrong
		}
		return p.skip()
	}
	v, err := p.dec.ReadValue()
	if err != nil {
		return err
	}
	to.state = wrong
	if len(bytes.TrimPrefix(v, []byte("-"))) > maxDigits {
		return nil
	}
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		to.n, to.state = n, given
	}
	return nil
}

func (p *parser) text(to *text) error {
	kind := p.dec.PeekKind()
	if kind != '"' {
		if kind != 'n' {
			to.state = wrong
		}
		return p.skip()
	}
	v, err := p.dec.ReadValue()
	if err != nil {
		return err
	}
	raw := []byte(v[1 : len(v)-1])
	if bytes.IndexByte(raw, '\\') >= 0 {
		if raw, err = jsontext.AppendUnquote(nil, v); err != nil {
			return err
		}
	}
	switch {
	case len(raw) == 0:
		return nil // as good as null
	case len(raw) > maxText:
		to.state = wrong
		return nil
	}
	s, ok := p.texts[string(raw)]
	if !ok {
		s = string(raw)
		p.texts[s] = s
	}
	*to = text{s, given}
	return nil
}

// flag reads what the API documents as 1 or 0 here, and as true or false elsewhere.
func (p *parser) flag(to *bool) error {
	var n integer
	switch p.dec.PeekKind() {
	case 't':
		*to = true
		return p.skip()
	case '0':
		err := p.integer(&n)
		*to = !n.is(0)
		return err
	default:
		return p.skip()
	}
}
