package delimited

import "strings"

// MaxNumber is how many characters a number may have.
const MaxNumber = 40

// Number is the decimal text of a cell as JSON and FHIR write it, digit by digit as it
// was: the decimal comma becomes a point, a plus sign and leading zeros go, a missing
// zero before or after the point is added or the point dropped (",5" is 0.5, "5," is
// 5), the typographic minus becomes "-". Trailing zeros stay.
//
// What can be read in two ways is no number: 1,234 may be one or a thousand. Nor are
// exponents and anything with two separators.
func Number(cell string) (string, bool) {
	s := strings.TrimSpace(cell)
	if len(s) > MaxNumber {
		return "", false
	}
	sign := ""
	switch {
	case strings.HasPrefix(s, "-"):
		sign, s = "-", s[1:]
	case strings.HasPrefix(s, "−"):
		sign, s = "-", s[len("−"):]
	case strings.HasPrefix(s, "+"):
		s = s[1:]
	}
	whole, fraction, comma := strings.Cut(s, ",")
	if !comma {
		whole, fraction, _ = strings.Cut(s, ".")
	}
	if whole == "" && fraction == "" || !digits(whole) || !digits(fraction) {
		return "", false
	}
	if comma && len(fraction) == 3 && 1 <= len(whole) && len(whole) <= 3 && whole[0] != '0' {
		return "", false
	}
	whole = strings.TrimLeft(whole, "0")
	if whole == "" {
		whole = "0"
	}
	if fraction == "" {
		return sign + whole, true
	}
	return sign + whole + "." + fraction, true
}

func digits(s string) bool {
	for n := range len(s) {
		if s[n] < '0' || s[n] > '9' {
			return false
		}
	}
	return true
}
