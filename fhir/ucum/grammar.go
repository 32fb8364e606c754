package ucum

import "strings"

// Limits of a code.
const (
	maxLength   = 256 // characters
	maxNesting  = 16  // parentheses
	maxExponent = 99
	maxDigits   = 30 // of a number
)

// term is one factor of a unit. A code is a product of such: parentheses and the operators
// before them are resolved into inverse.
type term struct {
	prefix     *prefix // or nil
	atom       *atom   // nil for a number or an annotation alone
	number     string  // digits, if it is a number
	annotation string  // without the braces
	exponent   int     // as written, 1 if it is not
	inverse    bool    // a divisor
	column     int
}

// power is the exponent with the operator taken into account.
func (t *term) power() int {
	if t.inverse {
		return -t.exponent
	}
	return t.exponent
}

// reader reads the terms of a code, by the grammar of UCUM:
//
//	r := t.read(code)
//	for r.next() {
//		… r.term …
//	}
//	… r.fault …
//
// https://ucum.org/ucum#section-Syntax-Rules
type reader struct {
	table *table
	code  string
	at    int  // bytes read
	ended bool // all of them, without a fault

	divide bool // the operator before what comes
	around bool // the parentheses that are open divide by what is in them
	depth  int
	open   [maxNesting]struct {
		at     int
		around bool // as it was before
	}

	term  term
	fault *Error
}

func (t *table) read(code string) reader {
	r := reader{table: t, code: code}
	switch {
	case code == "":
		r.fault = &Error{Column: 1, Problem: "the code is empty", Nearest: "1"}
	case len(code) > maxLength:
		r.fault = &Error{Column: maxLength + 1, Problem: "the code is longer than 256 characters"}
	case code[0] == '/': // as only a whole code may begin
		r.divide = true
		r.at++
	}
	return r
}

// next reads a component into term, with what is before and after it.
func (r *reader) next() bool {
	if r.ended || r.fault != nil {
		return false
	}
	for r.peek() == '(' {
		if r.depth == maxNesting {
			return r.fail(r.at, "parentheses are nested more than 16 deep")
		}
		r.open[r.depth].at, r.open[r.depth].around = r.at, r.around
		r.depth++
		r.around, r.divide = r.divide != r.around, false
		r.at++
	}
	start := r.at
	return r.component() && r.after(start)
}

// after reads the parentheses that close behind a component, and the operator.
func (r *reader) after(start int) bool {
	for r.peek() == ')' {
		if r.depth == 0 {
			return r.fail(r.at, "the parenthesis closes none")
		}
		r.depth--
		r.around = r.open[r.depth].around
		r.at++
	}
	switch r.peek() {
	case end:
		if r.depth > 0 {
			return r.fail(r.open[r.depth-1].at, "the parenthesis is not closed")
		}
		r.ended = true
		return true
	case '.':
		r.divide = false
	case '/':
		r.divide = true
	default:
		return r.missingOperator(start)
	}
	r.at++
	return true
}

// end is what follows the code. It is no byte, as any byte may be in a code.
const end rune = -1

// peek is the byte to read, or end.
func (r *reader) peek() rune {
	if r.at == len(r.code) {
		return end
	}
	return rune(r.code[r.at])
}

func (r *reader) component() bool {
	r.term = term{exponent: 1, inverse: r.divide != r.around, column: r.at + 1}
	switch c := r.peek(); {
	case c == '{':
		return r.annotation()
	case isDigit(c):
		return r.number()
	case c == end && r.at > 0 && r.code[r.at-1] != '(':
		return r.fail(r.at-1, "nothing follows the operator")
	case c == end || c == '.' || c == '/' || c == ')':
		return r.fail(r.at, "a unit is missing")
	}
	return r.symbol()
}

// annotation reads one, if there is one.
func (r *reader) annotation() bool {
	if r.peek() != '{' {
		return true
	}
	start := r.at + 1
	for r.at++; r.peek() != '}'; r.at++ {
		switch c := r.peek(); {
		case c == end:
			return r.fail(start-1, "the annotation is not closed")
		case c == '{':
			return r.fail(r.at, "annotations cannot be nested")
		case !isVisible(c):
			return r.fail(r.at, "an annotation is made of the ASCII characters from ! to ~")
		}
	}
	r.term.annotation = r.code[start:r.at]
	r.at++
	return true
}

// number reads an integer, or the unit 10* or 10^, which are the only ones to begin with a
// digit.
func (r *reader) number() bool {
	start := r.at
	for isDigit(r.peek()) {
		r.at++
	}
	digits := r.code[start:r.at]
	switch r.peek() {
	case end, '.', '/', ')', '{':
		if strings.Trim(digits, "0") == "" {
			return r.fail(start, "a number must be positive")
		}
		if len(digits) > maxDigits {
			return r.fail(start, "the number has more than 30 digits")
		}
		r.term.number = digits
		return r.annotation()
	case '*', '^':
		if digits == "10" {
			r.at++
			r.term.atom = r.table.atoms[r.code[start:r.at]]
			for isDigit(r.peek()) || r.peek() == '+' || r.peek() == '-' {
				r.at++
			}
			return r.exponent(start+len("10*")) && r.annotation()
		}
	}
	return r.runOn(start)
}

// runOn is the fault that a number at start is followed by something else than an operator.
func (r *reader) runOn(start int) bool {
	before := strings.TrimRight(r.code[:max(start-1, 0)], "0123456789")
	if start >= 2 && r.code[start-1] == '.' && len(before) < start-1 { // 1.73m2
		r.fail(len(before), "a unit has no decimal fractions, the point multiplies")
		r.fault.token = r.code[len(before):start] + r.token(start)
		return false
	}
	r.fail(start, "a number is followed by something else than an operator")
	r.fault.token = r.token(start)
	return false
}

// symbol reads a unit with its prefix and exponent.
func (r *reader) symbol() bool {
	start := r.at
	for more := true; more; {
		switch c := r.peek(); {
		case c == '[':
			length := strings.IndexByte(r.code[r.at:], ']')
			if length < 0 {
				return r.fail(r.at, "the bracket is not closed")
			}
			for i := r.at; i < r.at+length; i++ {
				if !isVisible(rune(r.code[i])) {
					return r.notASCII(start, i)
				}
			}
			r.at += length + 1
		case c == end || strings.ContainsRune("./(){", c):
			more = false
		case c == ']' || c == '}':
			return r.fail(r.at, "the bracket closes none")
		case !isVisible(c):
			return r.notASCII(start, r.at)
		default:
			r.at++
		}
	}

	stem := r.at
	for stem > start && isDigit(rune(r.code[stem-1])) {
		stem--
	}
	if stem > start && (r.code[stem-1] == '+' || r.code[stem-1] == '-') {
		stem--
	}
	if r.term.prefix, r.term.atom = r.table.symbol(r.code[start:stem]); r.term.atom == nil {
		r.fail(start, "")
		r.fault.token = r.token(start)
		return false
	}
	return r.exponent(stem) && r.annotation()
}

// exponent takes in what has been read since start, which may be nothing.
func (r *reader) exponent(start int) bool {
	text := r.code[start:r.at]
	if text == "" {
		return true
	}
	negative := text[0] == '-'
	if negative || text[0] == '+' {
		text = text[1:]
	}
	n := 0
	for i := range len(text) {
		if !isDigit(rune(text[i])) {
			return r.fail(start, "the exponent has more than one sign")
		}
		if n = 10*n + int(text[i]-'0'); n > maxExponent {
			return r.fail(start, "the exponent is above 99")
		}
	}
	if text == "" {
		return r.fail(start, "the exponent has no digits")
	}
	if negative {
		n = -n
	}
	r.term.exponent = n
	return true
}

// missingOperator is the fault that something follows a component directly.
func (r *reader) missingOperator(start int) bool {
	if r.code[r.at-1] == ')' {
		return r.fail(r.at, "a parenthesis is followed by something else than an operator")
	}
	r.fail(r.at, "an operator is missing")
	if length := strings.IndexByte(r.code[r.at:], ')'); length > 0 && r.peek() == '(' { // mm(Hg)
		r.fault.token = r.code[start : r.at+length+1]
	}
	return false
}

func (r *reader) notASCII(start, at int) bool {
	r.fail(at, "a unit is made of the ASCII characters from ! to ~")
	r.fault.token = r.token(start)
	return false
}

// token is the code from start to the next operator: what somebody took for one unit.
func (r *reader) token(start int) string {
	if length := strings.IndexAny(r.code[start:], "./(){}"); length > 0 {
		return r.code[start : start+length]
	}
	return r.code[start:]
}

// fail keeps the fault and returns false.
func (r *reader) fail(at int, problem string) bool {
	r.fault = &Error{Column: at + 1, Problem: problem}
	return false
}

func isDigit(c rune) bool { return '0' <= c && c <= '9' }

func isVisible(c rune) bool { return '!' <= c && c <= '~' }
