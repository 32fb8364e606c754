package delimited

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Byte order marks. The last one is the UTF-8 mark after it has been read as Latin-1
// and written as UTF-8 once more, which happens when tables pass through spreadsheets.
const (
	mark8       = "\uFEFF"
	markBE      = "\xFE\xFF"
	markLE      = "\xFF\xFE"
	markTwice   = "ï»¿"
	fixEncoding = "save the table as UTF-8, or as UTF-16 with a byte order mark"
)

// decode is body as a string without byte order marks.
func decode(body []byte) (string, error) {
	var text string
	switch {
	case bytes.HasPrefix(body, []byte(markLE)):
		t, err := decode16(body[2:], binary.LittleEndian)
		if err != nil {
			return "", err
		}
		text = t
	case bytes.HasPrefix(body, []byte(markBE)):
		t, err := decode16(body[2:], binary.BigEndian)
		if err != nil {
			return "", err
		}
		text = t
	default:
		text = string(body)
	}
	if n := strings.IndexByte(text, 0); n >= 0 {
		return "", &Error{Reason: fmt.Sprintf("a NUL character after %d bytes of text: this is no table, or it is UTF-16 without a byte order mark", n), Fix: fixEncoding, Fatal: true}
	}
	if !utf8.ValidString(text) {
		return "", &Error{Reason: fmt.Sprintf("byte %d is not UTF-8", invalidAt(text)), Fix: fixEncoding, Fatal: true}
	}
	return trimMarks(text), nil
}

func decode16(body []byte, order binary.ByteOrder) (string, error) {
	if len(body)%2 != 0 {
		return "", &Error{Reason: "UTF-16 with an odd number of bytes: the table is cut off", Fix: "export again", Fatal: true}
	}
	var b strings.Builder
	b.Grow(len(body) / 2)
	for n := 0; n < len(body); n += 2 {
		c := rune(order.Uint16(body[n:]))
		if utf16.IsSurrogate(c) {
			low := rune(0)
			if n+4 <= len(body) {
				low = rune(order.Uint16(body[n+2:]))
			}
			if c = utf16.DecodeRune(c, low); c == utf8.RuneError {
				return "", &Error{Reason: fmt.Sprintf("byte %d is half a UTF-16 character", n+2), Fix: fixEncoding, Fatal: true}
			}
			n += 2
		}
		b.WriteRune(c)
	}
	return b.String(), nil
}

func invalidAt(text string) int {
	for n := 0; n < len(text); {
		c, size := utf8.DecodeRuneInString(text[n:])
		if c == utf8.RuneError && size == 1 {
			return n
		}
		n += size
	}
	return len(text)
}

func trimMarks(s string) string {
	for {
		t := strings.TrimPrefix(strings.TrimPrefix(s, mark8), markTwice)
		if len(t) == len(s) {
			return s
		}
		s = t
	}
}

// unwrap takes byte order marks and quotes off the name of the first column. A mark
// that came to stand inside the quotes leaves them doubled: "ï»¿""Index""".
func unwrap(name string) string {
	for {
		t := strings.Trim(trimMarks(name), `" `)
		if t == name {
			return name
		}
		name = t
	}
}
