package ucum

import "fmt"

// Error says why a code is no unit.
type Error struct {
	Column  int    // of the first character in question, from 1
	Problem string // in plain English
	Nearest string // what the symbol with the fault may be meant for, a valid code; or ""

	token string // what the search for the nearest unit starts from
}

// Error names the column, the problem and the nearest unit. It quotes no more of the code
// than one short symbol.
func (e *Error) Error() string {
	text := fmt.Sprintf("ucum: column %d: %s", e.Column, e.Problem)
	if e.Nearest != "" {
		text += "; the nearest unit is " + e.Nearest
	}
	return text
}

// maxToken is the length of a symbol that is worth a search, and a place in an error.
const maxToken = 24

// explain completes a fault that read has found. Valid has no use for that, and it takes time.
func (t *table) explain(e *Error) *Error {
	if e.token != "" && len(e.token) <= maxToken {
		e.Nearest = t.nearest(e.token)
	}
	if e.Problem == "" {
		e.Problem = "the unit is not known"
		if len(e.token) <= maxToken {
			e.Problem = fmt.Sprintf("the unit %q is not known", e.token)
		}
	}
	return e
}
