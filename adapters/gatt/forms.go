package gatt

import (
	"bytes"
	"errors"
	"mime"
	"strconv"
	"strings"
	"time"

	"github.com/kiln-health/kiln/adapters"
	format "github.com/kiln-health/kiln/adapters/format/gatt"
	"github.com/kiln-health/kiln/fhir"
)

// Limits of a payload.
const (
	maxBody    = 8 << 20 // bytes
	maxEntries = 20_000  // characteristic values
	maxLine    = 4096    // bytes of a line of text
	maxText    = 256     // bytes of a text of the envelope, such as a serial number
)

// entry is one characteristic value as the payload gives it.
type entry struct {
	path     string // /3, line 3, or nothing where there is only one
	of       format.Characteristic
	value    []byte
	received time.Time // when the gateway got the value; zero where it does not say
	user     string    // whom the gateway names as the user
	device   device
	session  []byte      // the session start that the gateway adds to a CGM value
	problem  *fhir.Issue // why of and value cannot be used
}

// octets is the media type of a single value in bytes.
const octets = "application/octet-stream"

// read tells the forms apart and gives the entries of a payload: at least one.
func read(p adapters.Payload) ([]entry, error) {
	if len(p.Body) > maxBody {
		return nil, fhir.Errorf(fhir.CodeTooLong, "", "the payload is longer than %d bytes", maxBody).
			WithFix("send the values in several payloads")
	}
	if kind, parameters, err := mime.ParseMediaType(p.MediaType); err == nil && kind == octets {
		return raw(p.Body, parameters["characteristic"])
	}
	body := bytes.TrimPrefix(p.Body, []byte("\xEF\xBB\xBF"))
	var entries []entry
	var err error
	switch body = bytes.TrimLeft(body, " \t\r\n"); {
	case len(body) == 0:
	case body[0] == '{' || body[0] == '[':
		// The offsets in messages are those of the payload as it was sent.
		entries, err = envelopes(body, len(p.Body)-len(body))
	default:
		entries, err = lines(string(p.Body))
	}
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, fhir.Errorf(fhir.CodeRequired, "", "the payload has no characteristic value").WithFix(fixForms)
	}
	return entries, nil
}

const fixForms = `send {"characteristic":"2A37","hex":"0048","receivedAt":"2026-05-14T12:00:00+02:00"}, an array of such, ` +
	`lines such as "2A37 0048", or the bytes with the media type application/octet-stream; characteristic=2A37`

// raw is one value in bytes, whose characteristic the media type tells.
func raw(body []byte, characteristic string) ([]entry, error) {
	if characteristic == "" {
		return nil, fhir.Errorf(fhir.CodeRequired, "", "the media type does not tell the characteristic").WithFix(fixForms)
	}
	if len(body) == 0 || len(body) > format.MaxValue {
		return nil, fhir.Errorf(fhir.CodeStructure, "", "the value has %d bytes; want 1 to %d", len(body), format.MaxValue)
	}
	e := entry{value: body}
	e.identify(characteristic)
	return []entry{e}, nil
}

// lines reads the text form: a time with @ in front, which may be left out, the
// characteristic, the value in hexadecimal; # begins a comment.
func lines(text string) ([]entry, error) {
	var out []entry
	text = strings.TrimPrefix(text, "\uFEFF")
	number := 0
	for line := range strings.Lines(text) {
		number++
		path := "line " + strconv.Itoa(number)
		if len(line) > maxLine {
			return nil, fhir.Errorf(fhir.CodeTooLong, path, "the line is longer than %d bytes", maxLine)
		}
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if len(out) == maxEntries {
			return nil, tooMany(path)
		}
		e := entry{path: path}
		if at, ok := strings.CutPrefix(line, "@"); ok {
			at, rest, _ := cutBlank(at)
			e.receive(at)
			line = rest
		}
		characteristic, value, ok := cutBlank(line)
		e.identify(characteristic)
		if e.problem == nil && !ok {
			e.fail(fhir.CodeRequired, "no value stands after the characteristic", `write "2A37 0048"`)
		}
		if e.problem == nil {
			e.setHex(value)
		}
		out = append(out, e)
	}
	return out, nil
}

func tooMany(path string) error {
	return fhir.Errorf(fhir.CodeTooCostly, path, "more than %d characteristic values", maxEntries).
		WithFix("send the values in several payloads")
}

// cutBlank splits s at its first run of blanks.
func cutBlank(s string) (first, rest string, ok bool) {
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, "", false
	}
	return s[:i], strings.TrimLeft(s[i:], " \t"), true
}

// fail records why the entry cannot be used, unless something else was wrong before.
func (e *entry) fail(code, message, fix string) {
	if e.problem == nil {
		e.problem = &fhir.Issue{Severity: fhir.SevError, Code: code, Path: e.path, Message: message, Fix: fix}
	}
}

func (e *entry) identify(characteristic string) {
	of, err := format.ParseUUID(characteristic)
	switch {
	case errors.Is(err, format.ErrVendor):
		e.fail(fhir.CodeNotSupported, err.Error(), "decode it with the maker's own adapter")
	case err != nil:
		e.fail(fhir.CodeValue, err.Error(), "")
	}
	e.of = of
}

func (e *entry) setHex(text string) {
	value, err := format.ParseHex(text)
	if err != nil {
		e.fail(fhir.CodeValue, err.Error(), "send the whole value in hexadecimal, two digits for each byte")
	}
	e.value = value
}

// maxOffset is the largest offset that FHIR allows in a time.
const maxOffset = 14 * 60 * 60

func (e *entry) receive(at string) {
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		e.fail(fhir.CodeValue, "the time of receipt is not in RFC 3339", "write it with its offset, as 2026-05-14T12:00:00+02:00")
		return
	}
	_, offset := t.Zone()
	if offset > maxOffset || offset < -maxOffset || offset%60 != 0 {
		e.fail(fhir.CodeValue, "the offset of the time of receipt is out of range", "")
		return
	}
	// time.Parse takes the server's own zone where its offset fits; only the offset was stated.
	if t.Location() != time.UTC {
		t = t.In(time.FixedZone("", offset))
	}
	e.received = t.Truncate(time.Microsecond)
}
