package search

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Fold is the form in which texts are compared unless :exact is asked for: in lower case,
// without accents and other combining marks, with one blank for each run of white space and
// punctuation, and none at the ends. So "Müller-Lüdenscheidt" is "muller ludenscheidt".
// Fold of a folded text is the same text. http://hl7.org/fhir/R4/search.html#string
func Fold(text string) string {
	if folded(text) {
		return text
	}
	var b strings.Builder
	b.Grow(len(text))
	gap := false
	// Lower case may bring marks back, as of the Turkish İ: it comes before they are taken off.
	for _, r := range norm.NFKD.String(strings.ToLower(norm.NFKD.String(text))) {
		switch {
		case unicode.Is(unicode.Mn, r):
		case unicode.IsSpace(r), unicode.IsPunct(r):
			gap = true
		default:
			if gap && b.Len() > 0 {
				b.WriteByte(' ')
			}
			gap = false
			b.WriteRune(r)
		}
	}
	return b.String()
}

// folded reports whether a text is its own fold, as far as that is quickly told.
func folded(text string) bool {
	blank := true
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			blank = false
		case c == ' ' && !blank:
			blank = true
		default:
			return false
		}
	}
	return !blank || text == ""
}
