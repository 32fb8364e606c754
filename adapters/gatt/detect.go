package gatt

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/adapters"
	format "github.com/kiln-health/kiln/adapters/format/gatt"
)

// detectBytes is how much of a payload Detect looks at.
const detectBytes = 4096

// Detect recognises an envelope, or an array of envelopes, by the members characteristic
// and hex, and the text form by its first line; the characteristic must be one that is
// mapped. Bytes alone are not recognised: they could be anything.
func (a *Adapter) Detect(p adapters.Payload) bool {
	head := bytes.TrimPrefix(p.Body[:min(len(p.Body), detectBytes)], []byte("\xEF\xBB\xBF"))
	head = bytes.TrimLeft(head, " \t\r\n")
	if len(head) == 0 {
		return false
	}
	kind := strings.ToLower(p.MediaType)
	if head[0] == '{' || head[0] == '[' {
		return (kind == "" || strings.Contains(kind, "json")) && detectEnvelope(head)
	}
	return (kind == "" || strings.HasPrefix(kind, "text/plain")) && detectLine(string(head))
}

func detectEnvelope(head []byte) bool {
	d := jsontext.NewDecoder(bytes.NewReader(head))
	if d.PeekKind() == '[' {
		if _, err := d.ReadToken(); err != nil {
			return false
		}
	}
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return false
	}
	var characteristic, value bool
	for !(characteristic && value) {
		t, err := d.ReadToken()
		if err != nil || t.Kind() != '"' {
			return false
		}
		name := t.String()
		if name != "characteristic" && name != "hex" {
			if d.SkipValue() != nil {
				return false
			}
			continue
		}
		if t, err = d.ReadToken(); err != nil || t.Kind() != '"' {
			return false
		}
		if name == "hex" {
			_, err = format.ParseHex(t.String())
			value = err == nil
		} else {
			characteristic = mapped(t.String())
		}
		if err != nil {
			return false
		}
	}
	return true
}

func detectLine(head string) bool {
	for line := range strings.Lines(head) {
		if !strings.HasSuffix(line, "\n") && len(head) >= detectBytes-3 {
			return false // cut off
		}
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if strings.HasPrefix(line, "@") {
			_, line, _ = cutBlank(line)
		}
		characteristic, value, _ := cutBlank(line)
		_, err := format.ParseHex(value)
		return err == nil && mapped(characteristic)
	}
	return false
}

// mapped reports whether text names a characteristic of which something becomes of.
func mapped(text string) bool {
	of, err := format.ParseUUID(text)
	if err != nil {
		return false
	}
	_, ok := decoders[of]
	return ok
}
