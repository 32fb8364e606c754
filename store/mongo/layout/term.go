package layout

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxPart is how many bytes of a value a term has; behind those of a longer one is a hash.
	maxPart = 128
	// maxText is how many bytes of a text are kept. What is longer ends in cutMark, which
	// search.Fold leaves in no text.
	maxText = 128
	cutMark = "…"
	// hashBytes of SHA-256 are more than two values will ever have in common.
	hashBytes = 24

	// everything stands for values that are not there: those of an array that was too large, and
	// several patients.
	everything = "*"
)

// abbreviations of the systems that most codes have, in the order in which they are tried.
var abbreviations = []struct {
	system string
	prefix bool
	short  string
}{
	{system: "http://loinc.org", short: "%l"},
	{system: "http://snomed.info/sct", short: "%s"},
	{system: "urn:iso:std:iso:11073:10101", short: "%m"},
	{system: "http://terminology.hl7.org/CodeSystem/observation-category", short: "%o"},
	{system: "http://terminology.hl7.org/CodeSystem/", prefix: true, short: "%h"},
}

// foreign stands for any system, or any type of what is referred to, besides those that a
// search without one asks for by their names.
const foreign = "%*"

// isKnown reports whether a search for a code alone asks for a system by its name.
func isKnown(system string) bool {
	for i := range abbreviations {
		if a := &abbreviations[i]; !a.prefix && a.system == system {
			return true
		}
	}
	return system == ""
}

// inAnySystem are the terms of which a token with the code has one, if tokens in a system
// that is not known have a second term.
func inAnySystem(param, code string) []string {
	start := string(appendBare(nil, param, code)) + "|"
	terms := []string{start, start + foreign}
	for i := range abbreviations {
		if a := &abbreviations[i]; !a.prefix {
			terms = append(terms, start+a.short)
		}
	}
	return terms
}

// appendSystem appends the second half of a token.
func appendSystem(dst []byte, system string) []byte {
	for i := range abbreviations {
		a := &abbreviations[i]
		if rest, ok := strings.CutPrefix(system, a.system); ok && (a.prefix || rest == "") {
			return appendPart(append(dst, a.short...), rest)
		}
	}
	return appendPart(dst, system)
}

// appendPart appends a value so that no two have the same text, and that the text of the
// beginning of a value is the beginning of its text, as far as it is not cut.
func appendPart(dst []byte, s string) []byte {
	if len(s) <= maxPart && plain(s) {
		return append(dst, s...)
	}
	start := len(dst)
	for i, r := range s {
		size := 1
		switch {
		case r == '%':
			dst = append(dst, "%25"...)
		case r == '|':
			dst = append(dst, "%7C"...)
		default:
			if size = utf8.RuneLen(r); r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
				return appendHash(dst, s) // this is no text
			}
			dst = append(dst, s[i:i+size]...)
		}
		if len(dst)-start > maxPart {
			return appendHash(dst[:len(dst)-written(r, size)], s)
		}
	}
	return dst
}

// written is how many bytes appendPart made of a character.
func written(r rune, size int) int {
	if r == '%' || r == '|' {
		return 3
	}
	return size
}

func appendHash(dst []byte, s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.AppendEncode(append(dst, "%!"...), sum[:hashBytes])
}

// plain reports whether s is ASCII without the characters that mean something in a term.
func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= utf8.RuneSelf || c == '%' || c == '|' {
			return false
		}
	}
	return true
}

// isCut reports whether of a value of that text only the beginning may be in a term.
func isCut(s string) bool {
	text := string(appendPart(nil, s))
	return len(text) > maxPart-3 || strings.Contains(text, "%!")
}

// token is the term of a token.
func token(param, code, system string) string {
	return string(appendToken(nil, param, code, system))
}

func appendToken(dst []byte, param, code, system string) []byte {
	return appendSystem(append(appendBare(dst, param, code), '|'), system)
}

// appendBare appends what all terms with that first half begin with.
func appendBare(dst []byte, param, code string) []byte {
	return appendPart(append(append(dst, param...), '='), code)
}

// appendPair appends a term of two halves, neither of which is a system.
func appendPair(dst []byte, param, first, second string) []byte {
	return appendPart(append(appendBare(dst, param, first), '|'), second)
}

func urlName(param string) string        { return param + "#url" }
func identifierName(param string) string { return param + ":identifier" }

// appendText appends the term of a text, folded.
func appendText(dst []byte, param, folded string) []byte {
	dst = append(append(dst, param...), '=')
	if len(folded) <= maxText {
		return append(dst, folded...)
	}
	return append(append(dst, beginning(folded, maxText)...), cutMark...)
}

// beginning is at most n bytes of a text, whole characters.
func beginning(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// after is the first text behind all that begin with prefix: its last character is the next
// one. It is "" if there is none.
func after(prefix string) string {
	for prefix != "" {
		r, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch {
		case r == utf8.MaxRune:
			continue
		case r == 0xD7FF: // surrogates follow, which are no characters
			return prefix + "\uE000"
		default:
			return prefix + string(r+1)
		}
	}
	return ""
}

// openEnd is behind all times.
const openEnd = "~"

// appendTime appends a time in the order of times: digits from the year to the second, and
// then those of the nanoseconds without zeros at the end. The year 10000 is ":0000". What is
// beyond the years that occur becomes the nearest that does.
func appendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	switch {
	case year < 1:
		return append(dst, "00000000000000"...)
	case year >= 20000:
		return append(dst, ":9999999999999999"...)
	case year >= 10000:
		dst = appendDigits(append(dst, ':'), year-10000, 4)
	default:
		dst = appendDigits(dst, year, 4)
	}
	hour, minute, second := t.Clock()
	for _, n := range [...]int{int(month), day, hour, minute, second} {
		dst = appendDigits(dst, n, 2)
	}
	nanos := t.Nanosecond()
	if nanos == 0 {
		return dst
	}
	dst = appendDigits(dst, nanos, 9)
	for dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	return dst
}

func appendDigits(dst []byte, n, width int) []byte {
	for range width {
		dst = append(dst, '0')
	}
	for i := len(dst) - 1; n > 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
	return dst
}

// moment is a time as it is compared.
func moment(t time.Time) string { return string(appendTime(nil, t)) }

// appendKey appends a sort key, which is any bytes, as a text of the same order: each byte
// is the character of that number.
func appendKey(dst []byte, key string) []byte {
	for i := 0; i < len(key); i++ {
		dst = utf8.AppendRune(dst, rune(key[i]))
	}
	return dst
}
