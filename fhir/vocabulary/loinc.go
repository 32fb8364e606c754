package vocabulary

import "strings"

// misprinted are the LOINC numbers that were published with a wrong check digit. All of
// them are deprecated. https://loinc.org/kb/users-guide/calculating-mod-10-check-digits/
const misprinted = " 11491-6 11501-6 5895-7 5896-5 5897-3 5928-1 6028-3 6415-5 6580-7 6645-7 6646-5 6647-3 6648-1 6649-9 "

// maxLOINC is the length of the longest number that is taken for one, with its check digit.
const maxLOINC = 10

// IsLOINC reports whether a code has the form of LOINC: a number with the right check digit,
// or the identifier of a part, an answer, an answer list or a group (LP…, LA…, LL…, LG…), whose
// check digit is not looked at. Whether there is such a code is not known here. If only
// the check digit of a number is wrong, digit is the right one, else it is 0.
// https://loinc.org/kb/users-guide/calculating-mod-10-check-digits/
func IsLOINC(code string) (ok bool, digit byte) {
	prefixed := len(code) > 2 && code[0] == 'L' && strings.IndexByte("PALG", code[1]) >= 0
	number := code
	if prefixed {
		number = code[2:]
	}
	last := len(number) - 1
	if last < 2 || len(number) > maxLOINC || number[last-1] != '-' || number[0] == '0' {
		return false, 0
	}
	for i := range number {
		if c := number[i]; i != last-1 && (c < '0' || c > '9') {
			return false, 0
		}
	}
	if prefixed {
		return true, 0
	}
	if digit = mod10(number[:last-1]); digit == number[last] || strings.Contains(misprinted, " "+code+" ") {
		return true, 0
	}
	return false, digit
}

// mod10 is the check digit of a number: every other digit, from the last one on, counts
// twice, as the sum of the digits of its double.
func mod10(number string) byte {
	sum, twice := 0, true
	for i := len(number) - 1; i >= 0; i-- {
		d := int(number[i] - '0')
		if twice {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
		twice = !twice
	}
	return byte('0' + (10-sum%10)%10)
}
