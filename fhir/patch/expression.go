package patch

import (
	"strings"

	"github.com/kiln-health/kiln/fhir"
)

// Limits of the path of an operation.
const (
	maxPath    = 4096 // bytes
	maxNesting = 32   // parentheses, arguments and operands in one another
)

type exprKind uint8

const (
	exprName     exprKind = iota + 1 // [left.]name
	exprCall                         // [left.]name(args)
	exprIndex                        // left[count]
	exprThis                         // $this
	exprLiteral                      // value
	exprOperator                     // left name right
	exprType                         // left is name, left as name
)

// An expr is an expression of FHIRPath, or a part of one.
// http://hl7.org/fhirpath/N1/
type expr struct {
	kind        exprKind
	at          int // the byte of the path where it begins, from 1
	name        string
	left, right *expr
	args        []*expr
	count       int
	value       scalar
}

// fault is an error at a byte of a path.
func fault(at int, code, format string, args ...any) *fhir.Error {
	return fhir.Errorf(code, "", "path, byte %d: "+format, append([]any{at}, args...)...)
}

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenName
	tokenQuoted // a name in backticks
	tokenString
	tokenNumber
	tokenSymbol
	tokenVariable // $this
)

type token struct {
	kind tokenKind
	text string
	at   int
}

type parser struct {
	path   string
	next   int
	token  token
	nested int
}

// parsePath reads the path of an operation.
func parsePath(path string) (*expr, error) {
	if len(path) > maxPath {
		return nil, fhir.Errorf(fhir.CodeTooLong, "", "the path is longer than %d bytes", maxPath)
	}
	p := parser{path: path}
	if err := p.advance(); err != nil {
		return nil, err
	}
	x, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.token.kind != tokenEnd {
		return nil, p.unexpected()
	}
	return x, nil
}

func (p *parser) unexpected() error {
	t := p.token
	if t.kind == tokenEnd {
		return fault(t.at, fhir.CodeInvalid, "the path ends too early")
	}
	if t.kind == tokenSymbol && strings.Contains("|+-*/&@%~!~", t.text) || t.kind == tokenName && reserved(t.text) {
		return fault(t.at, fhir.CodeNotSupported, "%s is not supported here in the path of a patch", t.text).
			WithFix("select the element by its names, by [index] or with where")
	}
	return fault(t.at, fhir.CodeInvalid, "something else is expected here")
}

func reserved(name string) bool {
	switch name {
	case "xor", "implies", "in", "contains", "div", "mod":
		return true
	}
	return false
}

// advance reads the next token.
func (p *parser) advance() error {
	for p.next < len(p.path) && strings.IndexByte(" \t\r\n", p.path[p.next]) >= 0 {
		p.next++
	}
	p.token = token{at: p.next + 1}
	if p.next == len(p.path) {
		return nil
	}
	rest := p.path[p.next:]
	switch c := rest[0]; {
	case letter(c):
		p.take(tokenName, span(rest, func(c byte) bool { return letter(c) || digit(c) }))
	case digit(c):
		return p.number(rest)
	case c == '\'' || c == '`':
		return p.quoted(rest)
	case c == '$':
		p.take(tokenVariable, 1+span(rest[1:], letter))
	case strings.HasPrefix(rest, "<="), strings.HasPrefix(rest, ">="), strings.HasPrefix(rest, "!="), strings.HasPrefix(rest, "!~"):
		p.take(tokenSymbol, 2)
	case strings.IndexByte(".,()[]=<>|+-*/&@%~", c) >= 0:
		p.take(tokenSymbol, 1)
	default:
		return fault(p.token.at, fhir.CodeInvalid, "FHIRPath has no such character here")
	}
	return nil
}

func (p *parser) take(kind tokenKind, length int) {
	p.token.kind, p.token.text = kind, p.path[p.next:p.next+length]
	p.next += length
}

func (p *parser) number(rest string) error {
	n := span(rest, digit)
	if n+1 < len(rest) && rest[n] == '.' && digit(rest[n+1]) {
		n += 1 + span(rest[n+1:], digit)
	}
	if n < len(rest) && letter(rest[n]) {
		return fault(p.token.at, fhir.CodeInvalid, "a number is followed by a letter")
	}
	p.take(tokenNumber, n)
	return nil
}

// quoted reads a string, or a name in backticks.
func (p *parser) quoted(rest string) error {
	var b strings.Builder
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; c {
		case rest[0]:
			p.token.kind, p.token.text = tokenString, b.String()
			if c == '`' {
				p.token.kind = tokenQuoted
			}
			p.next += i + 1
			return nil
		case '\\':
			i++
			if i == len(rest) {
				continue
			}
			plain := strings.IndexByte("'\"`\\/frnt", rest[i])
			if plain < 0 {
				return fault(p.next+i, fhir.CodeNotSupported, "this escape is not supported in the path of a patch").
					WithFix("write the character itself")
			}
			b.WriteByte("'\"`\\/\f\r\n\t"[plain])
		default:
			b.WriteByte(c)
		}
	}
	return fault(p.token.at, fhir.CodeInvalid, "what begins with this quote has no end")
}

func letter(c byte) bool { return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func digit(c byte) bool { return '0' <= c && c <= '9' }

// span is how many bytes s begins with that are in a set.
func span(s string, in func(byte) bool) int {
	n := 0
	for n < len(s) && in(s[n]) {
		n++
	}
	return n
}

// symbol takes one of some symbols or words, if it comes next.
func (p *parser) symbol(kind tokenKind, texts ...string) (string, bool, error) {
	if p.token.kind == kind {
		for _, t := range texts {
			if p.token.text == t {
				return t, true, p.advance()
			}
		}
	}
	return "", false, nil
}

func (p *parser) expect(symbol string) error {
	_, ok, err := p.symbol(tokenSymbol, symbol)
	if err == nil && !ok {
		err = p.unexpected()
	}
	return err
}

// deeper counts what is nested: the parser and what evaluates its result recurse.
func (p *parser) deeper() error {
	if p.nested++; p.nested > maxNesting {
		return fault(p.token.at, fhir.CodeTooCostly, "more than %d levels are nested", maxNesting)
	}
	return nil
}

// operators is a level of operators that associate to the left.
func (p *parser) operators(kind tokenKind, operand func() (*expr, error), names ...string) (*expr, error) {
	left, err := operand()
	nested := p.nested
	defer func() { p.nested = nested }()
	for err == nil {
		at := p.token.at
		name, ok, failed := p.symbol(kind, names...)
		if !ok || failed != nil {
			return left, failed
		}
		if err = p.deeper(); err != nil {
			break
		}
		var right *expr
		right, err = operand()
		left = &expr{kind: exprOperator, at: at, name: name, left: left, right: right}
	}
	return nil, err
}

func (p *parser) or() (*expr, error) {
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.nested-- }()
	return p.operators(tokenName, p.and, "or")
}

func (p *parser) and() (*expr, error) { return p.operators(tokenName, p.equality, "and") }

func (p *parser) equality() (*expr, error) {
	return p.operators(tokenSymbol, p.inequality, "=", "!=")
}

func (p *parser) inequality() (*expr, error) {
	return p.operators(tokenSymbol, p.typed, "<", "<=", ">", ">=")
}

// typed is an operand with is or as behind it.
func (p *parser) typed() (*expr, error) {
	x, err := p.postfix()
	if err != nil {
		return nil, err
	}
	at := p.token.at
	name, ok, err := p.symbol(tokenName, "is", "as")
	if !ok || err != nil {
		return x, err
	}
	specifier, err := p.postfix()
	if err != nil {
		return nil, err
	}
	return &expr{kind: exprType, at: at, name: name, left: x, right: specifier}, nil
}

func (p *parser) postfix() (*expr, error) {
	x, err := p.term()
	nested := p.nested
	defer func() { p.nested = nested }()
	for steps := 0; err == nil; steps++ {
		if steps == 4*maxNesting {
			return nil, fault(p.token.at, fhir.CodeTooCostly, "more than %d steps follow one another", steps)
		}
		at := p.token.at
		symbol, ok, failed := p.symbol(tokenSymbol, ".", "[")
		if !ok || failed != nil {
			return x, failed
		}
		if symbol == "." {
			x, err = p.invocation(x)
			continue
		}
		i, ok := index(p.token.text)
		if p.token.kind != tokenNumber || !ok {
			return nil, fault(p.token.at, fhir.CodeNotSupported, "an index is 0 or digits").WithFix("write it like name[0]")
		}
		if err = p.advance(); err == nil {
			x, err = &expr{kind: exprIndex, at: at, left: x, count: i}, p.expect("]")
		}
	}
	return nil, err
}

// invocation is a name or a call, of what is left of it.
func (p *parser) invocation(left *expr) (*expr, error) {
	t := p.token
	if t.kind == tokenVariable && t.text == "$this" && left == nil {
		return &expr{kind: exprThis, at: t.at}, p.advance()
	}
	if t.kind != tokenName && t.kind != tokenQuoted || left == nil && reserved(t.text) {
		return nil, p.unexpected()
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	x := &expr{kind: exprName, at: t.at, name: t.text, left: left}
	_, call, err := p.symbol(tokenSymbol, "(")
	if !call || err != nil {
		return x, err
	}
	x.kind = exprCall
	if _, end, err := p.symbol(tokenSymbol, ")"); end || err != nil {
		return x, err
	}
	for {
		arg, err := p.or()
		if err != nil {
			return nil, err
		}
		x.args = append(x.args, arg)
		if _, more, err := p.symbol(tokenSymbol, ","); err != nil {
			return nil, err
		} else if !more {
			return x, p.expect(")")
		}
	}
}

func (p *parser) term() (*expr, error) {
	t := p.token
	x := &expr{kind: exprLiteral, at: t.at}
	switch {
	case t.kind == tokenString:
		x.value = scalar{kind: scalarString, text: t.text}
		return x, p.advance()
	case t.kind == tokenNumber:
		x.value.kind = scalarNumber
		x.value.number, _ = parseNumber(t.text)
		return x, p.advance()
	case t.kind == tokenName && (t.text == "true" || t.text == "false"):
		x.value = scalar{kind: scalarBoolean, truth: t.text == "true"}
		return x, p.advance()
	case t.kind == tokenSymbol && t.text == "-":
		if err := p.advance(); err != nil {
			return nil, err
		}
		if p.token.kind != tokenNumber {
			return nil, p.unexpected()
		}
		x.value.kind = scalarNumber
		x.value.number, _ = parseNumber("-" + p.token.text)
		return x, p.advance()
	case t.kind == tokenSymbol && t.text == "(":
		if err := p.advance(); err != nil {
			return nil, err
		}
		inner, err := p.or()
		if err != nil {
			return nil, err
		}
		return inner, p.expect(")")
	}
	return p.invocation(nil)
}
