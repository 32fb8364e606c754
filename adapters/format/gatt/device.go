package gatt

import (
	"strings"
	"unicode/utf8"
)

// DecodeText reads a characteristic that is a text in UTF-8, such as those of the Device
// Information Service (2A24 to 2A29). Zero bytes at the end, which devices send, and
// blanks around the text are taken off.
func DecodeText(of Characteristic, value []byte) (string, error) {
	r := &reader{of: of, b: value}
	if !utf8.Valid(value) {
		r.fail(0, "text", "not UTF-8")
		return "", r.err
	}
	s := strings.TrimSpace(strings.TrimRight(string(value), "\x00"))
	if i := strings.IndexFunc(s, func(c rune) bool { return c < ' ' || c == 0x7F }); i >= 0 {
		r.fail(i, "text", "a control character")
		return "", r.err
	}
	return s, nil
}

// DecodeSystemID reads the value of 2A23: an EUI-64, most significant byte first in the
// result, where the air has it last. Device Information Service 1.1, section 3.9.
func DecodeSystemID(value []byte) ([8]byte, error) {
	r := &reader{of: SystemID, b: value}
	var id [8]byte
	for i, c := range r.take(8, "system ID") {
		id[7-i] = c
	}
	return id, r.end()
}
