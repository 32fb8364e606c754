package ihepcd

import (
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/kiln-health/kiln/fhir"
)

func hasPrefix(s, prefix string) bool { return strings.HasPrefix(s, prefix) }

// trim takes blanks off both ends; some senders pad their fields.
func trim(s string) string {
	if s == "" || s[0] > ' ' && s[len(s)-1] > ' ' {
		return s
	}
	return strings.TrimSpace(s)
}

// line is s as a text of one line: no control characters, and single blanks.
func line(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == ' ' && (i == 0 || i == len(s)-1 || s[i+1] == ' ') {
			return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' }), " ")
		}
	}
	return s
}

// prose is s as a FHIR string, which may have line breaks and tabs but no other
// control characters. http://hl7.org/fhir/R4/datatypes.html#string
func prose(s string) string {
	s = strings.TrimSpace(s)
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\r' && r != '\t' {
			return utf8.RuneError
		}
		return r
	}, s)
}

// local is a system of ours: a path below the namespace, escaped as a URI.
func local(parts ...string) string {
	var b strings.Builder
	b.WriteString(strings.TrimSuffix(fhir.Namespace, "/"))
	for _, p := range parts {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(p))
	}
	return b.String()
}

// isOID reports whether s is an object identifier: numbers with dots between them.
func isOID(s string) bool {
	digits, dots := 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.' && digits > 0:
			digits = 0
			dots++
		case '0' <= c && c <= '9' && (digits == 0 || s[i-digits] != '0'):
			digits++
		default:
			return false
		}
	}
	return digits > 0 && dots > 0 && s[0] <= '2' && len(s) <= 128
}

// uuid is s as a UUID in small letters, with or without its urn prefix.
func uuid(s string) (string, bool) {
	s = strings.ToLower(s)
	s = strings.TrimPrefix(s, "urn:uuid:")
	if len(s) != 36 {
		return "", false
	}
	for i := range len(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (s[i] == '-') || !dash && !isHexDigit(s[i]) {
			return "", false
		}
	}
	return s, true
}

func isHexDigit(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// isURI reports whether s can stand as an absolute URI.
func isURI(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme != "" && len(s) > len(u.Scheme)+1 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' })
}
