package validate

import (
	"bytes"
	"unicode/utf8"

	"github.com/kiln-health/kiln/fhir"
)

// maxString is how many characters a string may have.
// http://hl7.org/fhir/R4/datatypes.html#string
const maxString = 1 << 20

const specDatatypes = "http://hl7.org/fhir/R4/datatypes.html#"

// A form is what is told of a primitive that has not the form of its type.
type form struct{ name, fault, fix string }

var forms = [...]form{
	base64BinaryKind: {"base64Binary", "is no base64: want groups of four of A-Z a-z 0-9 + /, padded with =", "encode the bytes again"},
	booleanKind:      {"boolean", "is no boolean", "send true or false without quotes"},
	canonicalKind:    {"canonical", "is no canonical URL: there is white space in it, or its scheme or a % is wrong", "correct the URL"},
	codeKind:         {"code", "is no code: there is white space around it, or more than one blank in it", "send the code alone"},
	dateKind:         {"date", "is no date: want YYYY, YYYY-MM or YYYY-MM-DD, and a day that exists", "send the date as in 2024-02-29"},
	dateTimeKind:     {"dateTime", "is no dateTime: want YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss with an offset, and a time that exists", "send the time as in 2024-02-29T08:30:00+01:00"},
	decimalKind:      {"decimal", "is no decimal", "send a JSON number"},
	elementIDKind:    {"id", "is no id of an element: there is white space in it", "take the white space out"},
	idKind:           {"id", "is no id: want 1 to 64 letters, digits, hyphens and dots", "take another id"},
	instantKind:      {"instant", "is no instant: want YYYY-MM-DDThh:mm:ss with an offset, and a time that exists", "send the time as in 2024-02-29T08:30:00.125Z"},
	integerKind:      {"integer", "is no integer: want a whole number of 32 bits", "send a number from -2147483648 to 2147483647 without fraction and exponent"},
	markdownKind:     {"markdown", "is no markdown: it is empty", "leave the element out"},
	oidKind:          {"oid", "is no OID: want urn:oid: and numbers with dots, the first one 0, 1 or 2", "send the OID as in urn:oid:1.2.840"},
	positiveIntKind:  {"positiveInt", "is no positive integer", "send a number from 1 to 2147483647 without fraction and exponent"},
	stringKind:       {"string", "is no string: it is empty", "leave the element out"},
	timeKind:         {"time", "is no time: want hh:mm:ss", "send the time as in 08:30:00"},
	unsignedIntKind:  {"unsignedInt", "is no integer from 0 on", "send a number from 0 to 2147483647 without fraction and exponent"},
	uriKind:          {"uri", "is no URI: there is white space in it, or its scheme, a %, or what follows urn:oid: or urn:uuid: is wrong", "correct the URI"},
	urlKind:          {"url", "is no URL: there is white space in it, or its scheme or a % is wrong", "correct the URL"},
	uuidKind:         {"uuid", "is no UUID: want urn:uuid: and 32 hexadecimal digits in lower case, in groups of 8-4-4-4-12", "send the UUID as in urn:uuid:c757873d-ec9a-4326-a141-556f43239520"},
}

// primitive checks a primitive value, which is no null, object or array. It reports
// whether it has the form of its type.
// http://hl7.org/fhir/R4/datatypes.html
func (w *walker) primitive(s *slot, start, end int) bool {
	quoted := w.body[start] == '"'
	switch s.kind {
	case booleanKind:
		if b := w.body[start]; b == 't' || b == 'f' {
			return true
		}
	case decimalKind:
		if !quoted && w.body[start] != 't' && w.body[start] != 'f' {
			return true
		}
	case integerKind, unsignedIntKind, positiveIntKind:
		if !quoted && w.body[start] != 't' && w.body[start] != 'f' {
			if whole(s.kind, w.body[start:end]) {
				return true
			}
			w.malformed(s, start)
			return false
		}
	case xhtmlKind:
		if quoted {
			return w.narrative(start, end)
		}
	default:
		if quoted {
			return w.string(s, start, end)
		}
	}
	if w.refused() {
		w.errorAt(fhir.CodeStructure, "", start, s.json+" must be "+written(s.kind)+", found "+looks(w.body[start]), "send "+written(s.kind))
	}
	return false
}

// string checks a primitive that is a JSON string.
func (w *walker) string(s *slot, start, end int) bool {
	if end-start == 2 {
		if w.refused() {
			w.errorAt(fhir.CodeValue, "", start, "a string is never empty", "leave the element out")
		}
		return false
	}
	t := w.plain(start, end)
	ok := true
	switch s.kind {
	case stringKind, markdownKind:
		return w.words(t, start, end)
	case codeKind:
		ok = isCode(t)
		if ok && s.codes != nil {
			return w.enumerated(s.codes, start, end)
		}
	case idKind:
		ok = isID(t)
	case uriKind, urlKind, canonicalKind:
		ok = w.isURI(s, t, start)
		if ok && s.codes != nil {
			return w.enumerated(s.codes, start, end)
		}
	case elementIDKind:
		ok = !blank(t)
	case oidKind:
		rest, found := bytes.CutPrefix(t, []byte("urn:oid:"))
		ok = found && isOID(rest)
	case uuidKind:
		rest, found := bytes.CutPrefix(t, []byte("urn:uuid:"))
		ok = found && isUUID(rest) && !bytes.ContainsAny(rest, "ABCDEF")
	case dateKind, dateTimeKind, instantKind:
		m, good := parseMoment(t)
		ok = good && m.fits(s.kind)
	case timeKind:
		var m moment
		rest, good := m.parseClock(t)
		ok = good && len(rest) == 0
	case base64BinaryKind:
		ok = isBase64(t)
	}
	if !ok {
		w.malformed(s, start)
	}
	return ok
}

func (w *walker) malformed(s *slot, at int) {
	if w.refused() {
		f := &forms[s.kind]
		w.tell(fhir.Issue{Severity: fhir.SevError, Code: fhir.CodeValue, Message: s.json + " " + f.fault, Fix: f.fix, Spec: specDatatypes + f.name}, "", at)
	}
}

// words checks a string for people.
func (w *walker) words(t []byte, start, end int) bool {
	if len(t) > maxString && utf8.RuneCount(t) > maxString {
		if w.refused() {
			w.tell(fhir.Issue{Severity: fhir.SevError, Code: fhir.CodeTooLong, Message: "a string of more than " + number(maxString) + " characters",
				Fix: "put it into an Attachment or a Binary", Spec: specDatatypes + "string"}, "", start)
		}
		return false
	}
	if t[0] <= ' ' && len(bytes.Trim(t, " \t\r\n")) == 0 && w.doubted() {
		w.tell(fhir.Issue{Severity: fhir.Warning, Code: fhir.CodeValue, Message: "a string of nothing but white space",
			Fix: "leave the element out", Spec: specDatatypes + "string"}, "", start)
	}
	if len(t) != end-start-2 { // only an escape can bring in a control character
		for _, c := range t {
			if c < ' ' && c != '\t' && c != '\r' && c != '\n' {
				if w.doubted() {
					w.tell(fhir.Issue{Severity: fhir.Warning, Code: fhir.CodeValue, Message: "a string with a control character, which XML cannot hold",
						Fix: "take it out", Spec: specDatatypes + "string"}, "", start)
				}
				break
			}
		}
	}
	return true
}

// whole reports whether a JSON number is one of the integer types.
func whole(k kind, t []byte) bool {
	digits := t
	negative := t[0] == '-'
	if negative {
		if k != integerKind {
			return false
		}
		digits = t[1:]
	}
	if len(digits) > 10 {
		return false
	}
	n := int64(0)
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
		n = n*10 + int64(c-'0')
	}
	if negative {
		n = -n
	}
	return n >= -1<<31 && n < 1<<31 && (k != positiveIntKind || n > 0)
}

func isCode(t []byte) bool {
	blank := true
	for _, c := range t {
		switch c {
		case ' ', '\t', '\r', '\n', '\f', '\v':
			if blank {
				return false
			}
			blank = true
		default:
			blank = false
		}
	}
	return !blank
}

func isID(t []byte) bool {
	if len(t) == 0 || len(t) > 64 {
		return false
	}
	for _, c := range t {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.':
		default:
			return false
		}
	}
	return true
}

func blank(t []byte) bool {
	for _, c := range t {
		if c <= ' ' {
			return true
		}
	}
	return false
}

// isURI reports whether t is a URI reference. Characters that RFC 3986 does not know are
// common, and so are worth a warning only. https://www.rfc-editor.org/rfc/rfc3986#section-4.1
func (w *walker) isURI(s *slot, t []byte, start int) bool {
	path, strange := false, false
	if s.kind == canonicalKind {
		t, _, _ = bytes.Cut(t, []byte{'|'}) // the version follows
	}
	for i, c := range t {
		switch {
		case c <= ' ' || c == 0x7f:
			return false
		case c == ':':
			if !path && !isScheme(t[:i]) {
				return false
			}
			path = true
		case c == '/' || c == '?' || c == '#':
			path = true
		case c == '%':
			if i+2 >= len(t) || !isHex(t[i+1]) || !isHex(t[i+2]) {
				return false
			}
		case c >= 0x80, c == '"', c == '<', c == '>', c == '\\', c == '^', c == '`', c == '{', c == '|', c == '}':
			strange = true
		}
	}
	if urn(t) != "" {
		return false
	}
	if strange && w.doubted() {
		w.tell(fhir.Issue{Severity: fhir.Warning, Code: fhir.CodeValue, Message: s.json + " has characters that a URI does not have",
			Fix: "write them with %", Spec: specDatatypes + "uri"}, "", start)
	}
	return true
}

func isScheme(t []byte) bool {
	for i, c := range t {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case i > 0 && ('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.'):
		default:
			return false
		}
	}
	return len(t) > 0
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// isOID reports whether t is what follows urn:oid:.
func isOID(t []byte) bool {
	if len(t) < 3 || t[0] < '0' || t[0] > '2' || t[1] != '.' {
		return false
	}
	for part := range bytes.SplitSeq(t[2:], []byte{'.'}) {
		if len(part) == 0 || part[0] == '0' && len(part) > 1 {
			return false
		}
		for _, c := range part {
			if c < '0' || c > '9' {
				return false
			}
		}
	}
	return true
}

// isUUID reports whether t is what follows urn:uuid:, in upper or lower case.
func isUUID(t []byte) bool {
	if len(t) != 36 {
		return false
	}
	for i, c := range t {
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case '0' <= c && c <= '9', 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
		default:
			return false
		}
	}
	return true
}

// isBase64 allows white space between the digits.
func isBase64(t []byte) bool {
	digits, padding := 0, 0
	for _, c := range t {
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '+', c == '/':
			if padding > 0 {
				return false
			}
			digits++
		case c == '=':
			padding++
		case c == ' ', c == '\t', c == '\r', c == '\n':
		default:
			return false
		}
	}
	return digits > 0 && padding <= 2 && (digits+padding)%4 == 0
}
