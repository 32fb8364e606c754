package search

import (
	"errors"
	"strconv"
	"strings"

	"github.com/kiln-health/kiln/fhir"
)

// A path leads from a resource, or from what a composite is about, to values. An
// expression of a search parameter is a union of paths.
type path struct {
	root  string // the type that it starts at: Observation, %resource; "" starts at what is given
	steps []step
	truth bool // the value is whether there is one that is not false
}

// step is one move of a path. It has one of these.
type step struct {
	element string // to the elements of that name
	as      string // only what is of that type
	field   string // only objects of which the element has the value literal
	literal string
	extends string // only objects with an extension of that URL
	points  string // only references to that type
	index   int    // only the item of an array before which there are index-1 others
}

// Limits of an expression: the longest of R4 has 3,400 bytes.
const (
	maxExpression = 8 << 10
	maxNesting    = 16
	maxSteps      = 32
)

// parsePaths reads an expression, in that part of FHIRPath that search parameters are
// written in: paths and unions of them; as, is resolve(), where with one comparison,
// extension, hasExtension, ofType, an index; and exists() and … != false.
func parsePaths(expression string) ([]path, error) {
	if len(expression) > maxExpression {
		return nil, errors.New("it is longer than " + strconv.Itoa(maxExpression) + " bytes")
	}
	p := pathParser{rest: expression}
	p.next()
	paths := p.union()
	if p.err == nil && p.token == "and" {
		paths = p.notFalse(paths)
	}
	if p.err == nil && p.token != "" {
		p.fail("%s is not expected there", p.token)
	}
	if p.err != nil {
		return nil, p.err
	}
	for _, found := range paths {
		if found.truth && p.truths != len(paths) {
			return nil, errors.New("exists() stands alone, without and … != false")
		}
	}
	return paths, nil
}

// pathParser has one token of look-ahead. After an error its token is "".
type pathParser struct {
	rest   string
	token  string // a name, a number, a punctuation mark, or a text with its quotes
	depth  int
	truths int
	err    error
}

func (p *pathParser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = errors.New(fhir.Errorf("", "", format, args...).Issues[0].Message)
	}
	p.token, p.rest = "", ""
}

func (p *pathParser) next() {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
	if p.rest == "" {
		p.token = ""
		return
	}
	n := 1
	switch c := p.rest[0]; {
	case letter(c) || c == '%':
		for n < len(p.rest) && (letter(p.rest[n]) || digit(p.rest[n])) {
			n++
		}
	case digit(c):
		for n < len(p.rest) && digit(p.rest[n]) {
			n++
		}
	case c == '\'':
		end := strings.IndexByte(p.rest[1:], '\'')
		if end < 0 || strings.IndexByte(p.rest[1:1+end], '\\') >= 0 {
			p.fail("a text does not end, or has a backslash")
			return
		}
		n = end + 2
	case c == '!' && strings.HasPrefix(p.rest, "!="):
		n = 2
	case strings.IndexByte("().|[]=", c) < 0:
		p.fail("the character %q is not supported", string(c))
		return
	}
	p.token, p.rest = p.rest[:n], p.rest[n:]
}

func letter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' }
func digit(c byte) bool  { return '0' <= c && c <= '9' }

func (p *pathParser) name() string {
	name := p.token
	if name == "" || !letter(name[0]) {
		p.fail("a name is missing")
		return ""
	}
	p.next()
	return name
}

func (p *pathParser) text() string {
	text := p.token
	if len(text) < 2 || text[0] != '\'' {
		p.fail("a text in quotes is missing")
		return ""
	}
	p.next()
	return text[1 : len(text)-1]
}

func (p *pathParser) expect(token string) {
	if p.token != token {
		p.fail("%s is missing", token)
		return
	}
	p.next()
}

func (p *pathParser) union() []path {
	if p.depth++; p.depth > maxNesting {
		p.fail("it is nested too deeply")
	}
	all := p.alternative()
	for p.token == "|" {
		p.next()
		all = append(all, p.alternative()...)
	}
	p.depth--
	return all
}

// alternative is a path, or a union in brackets, with what follows it.
func (p *pathParser) alternative() []path {
	var all []path
	if p.token == "(" {
		p.next()
		all = p.union()
		p.expect(")")
	} else {
		first := p.token
		if first != "%resource" {
			first = p.name()
		} else {
			p.next()
		}
		one := path{}
		switch {
		case p.token == "(" && first != "": // a function of what is given
			one.steps = p.function(first, &one)
		case first != "" && first[0] >= 'a':
			one.steps = []step{{element: first}}
		default:
			one.root = first
		}
		all = []path{one}
	}
	for p.token == "." || p.token == "[" {
		var more path
		var steps []step
		if p.token == "[" {
			p.next()
			n, err := strconv.Atoi(p.token)
			if err != nil || n >= 1000 {
				p.fail("an index is missing")
			}
			p.next()
			p.expect("]")
			steps = []step{{index: n + 1}}
		} else {
			p.next()
			name := p.name()
			if p.token == "(" {
				steps = p.function(name, &more)
			} else {
				steps = []step{{element: name}}
			}
		}
		all = p.extend(all, steps, more.truth)
	}
	if p.token == "as" {
		p.next()
		all = p.extend(all, []step{{as: p.name()}}, false)
	}
	return all
}

func (p *pathParser) extend(all []path, steps []step, truth bool) []path {
	for i := range all {
		one := &all[i]
		if one.truth || len(one.steps)+len(steps) > maxSteps {
			p.fail("a path is too long, or goes on after exists()")
			return nil
		}
		one.steps = append(one.steps[:len(one.steps):len(one.steps)], steps...)
		one.truth = truth
	}
	return all
}

// function is what a function does, after its name.
func (p *pathParser) function(name string, to *path) (steps []step) {
	p.expect("(")
	switch name {
	case "as", "ofType":
		steps = []step{{as: p.name()}}
	case "where":
		steps = []step{p.condition()}
	case "extension":
		steps = []step{{element: "extension"}, {field: "url", literal: p.text()}}
	case "exists":
		to.truth = true
	default:
		p.fail("the function %s is not supported", name)
	}
	p.expect(")")
	return steps
}

// condition is what is in the brackets of where.
func (p *pathParser) condition() step {
	name := p.name()
	switch {
	case name == "resolve":
		p.expect("(")
		p.expect(")")
		p.expect("is")
		return step{points: p.name()}
	case name == "hasExtension":
		p.expect("(")
		url := p.text()
		p.expect(")")
		return step{extends: url}
	}
	p.expect("=")
	if p.token == "true" || p.token == "false" {
		return step{field: name, literal: p.name()}
	}
	return step{field: name, literal: p.text()}
}

// notFalse reads the second half of: X.exists() and X != false.
func (p *pathParser) notFalse(all []path) []path {
	p.next()
	same := p.alternative()
	p.expect("!=")
	if p.name() != "false" && p.err == nil || len(all) != 1 || len(same) != 1 || !all[0].truth || !equalPaths(all[0], same[0]) {
		p.fail("and is supported in X.exists() and X != false only")
		return nil
	}
	p.truths++
	return all
}

func equalPaths(a, b path) bool {
	if a.root != b.root || len(a.steps) != len(b.steps) {
		return false
	}
	for i := range a.steps {
		if a.steps[i] != b.steps[i] {
			return false
		}
	}
	return true
}
