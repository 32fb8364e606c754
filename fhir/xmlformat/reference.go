package xmlformat

import (
	"bytes"
	"unicode/utf8"

	"github.com/kiln-health/kiln/fhir"
)

// checkReferences finds the first & in raw that begins neither one of the predefined entities nor a
// character reference. https://www.w3.org/TR/xml/#sec-references
func checkReferences(raw []byte, at int) error {
	for i := 0; ; {
		n := bytes.IndexByte(raw[i:], '&')
		if n < 0 {
			return nil
		}
		i += n
		_, length := reference(raw[i:])
		if length == 0 {
			return &fault{at: at + i, code: fhir.CodeStructure,
				message: "a & that is neither a character reference nor one of &amp; &lt; &gt; &quot; &apos;",
				fix:     "write the character itself, and & as &amp;", spec: specXML}
		}
		i += length
	}
}

// reference is the character that a reference at the start of raw stands for, and the length of
// the reference, 0 if it is none.
func reference(raw []byte) (r rune, length int) {
	end := bytes.IndexByte(raw[:min(len(raw), 32)], ';')
	if end < 2 {
		return 0, 0
	}
	name, length := raw[1:end], end+1
	switch string(name) {
	case "amp":
		return '&', length
	case "lt":
		return '<', length
	case "gt":
		return '>', length
	case "quot":
		return '"', length
	case "apos":
		return '\'', length
	}
	if name[0] != '#' {
		return 0, 0
	}
	digits, base := name[1:], rune(10)
	if len(digits) > 0 && digits[0] == 'x' {
		digits, base = digits[1:], 16
	}
	if len(digits) == 0 {
		return 0, 0
	}
	for _, c := range digits {
		d := digit(c)
		if d >= base {
			return 0, 0
		}
		if r = r*base + d; r > utf8.MaxRune {
			return 0, 0
		}
	}
	if r < ' ' && !isSpace(byte(r)) || !utf8.ValidRune(r) || r == 0xfffe || r == 0xffff {
		return 0, 0
	}
	return r, length
}

func digit(c byte) rune {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0')
	case 'a' <= c && c <= 'f':
		return rune(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return rune(c-'A') + 10
	}
	return 99
}

// appendValue appends what an attribute written as raw says: white space that is written itself is
// a blank, and a line end one blank. https://www.w3.org/TR/xml/#AVNormalize
func appendValue(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		switch c := raw[i]; {
		case c == '&':
			r, n := reference(raw[i:])
			dst = utf8.AppendRune(dst, r)
			i += max(n, 1)
		case isSpace(c):
			dst = append(dst, ' ')
			i++
			if c == '\r' && i < len(raw) && raw[i] == '\n' {
				i++
			}
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst
}

// blank reports whether the value of an attribute has nothing but white space.
func blank(raw []byte) bool {
	for i := 0; i < len(raw); {
		switch c := raw[i]; {
		case c == '&':
			ref, n := reference(raw[i:])
			if n == 0 || ref > ' ' || !isSpace(byte(ref)) {
				return false
			}
			i += n
		case isSpace(c):
			i++
		default:
			return false
		}
	}
	return true
}
