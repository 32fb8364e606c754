package patch

import (
	"strconv"
	"strings"

	"github.com/kiln-health/kiln/fhir"
)

// maxPointer is how long a JSON Pointer may be, in bytes: there are no longer ways into
// a resource of fhir.MaxDepth levels.
const maxPointer = 8192

// A pointer is a JSON Pointer. https://www.rfc-editor.org/rfc/rfc6901
type pointer []string

func parsePointer(s string) (pointer, error) {
	if s == "" {
		return nil, nil
	}
	if len(s) > maxPointer {
		return nil, fhir.Errorf(fhir.CodeTooLong, "", "a JSON Pointer is longer than %d bytes", maxPointer).WithSpec(specPointer)
	}
	if s[0] != '/' {
		return nil, fhir.Errorf(fhir.CodeValue, "", "a JSON Pointer does not begin with /").
			WithFix(`write it like "/name/0/given", and "" for the whole resource`).WithSpec(specPointer)
	}
	tokens := strings.Split(s[1:], "/")
	for i, t := range tokens {
		if !strings.Contains(t, "~") {
			continue
		}
		plain := strings.NewReplacer("~0", "", "~1", "").Replace(t)
		if strings.Contains(plain, "~") {
			return nil, fhir.Errorf(fhir.CodeValue, "", "a JSON Pointer has a ~ without 0 or 1 after it").
				WithFix("write ~0 for ~ and ~1 for /").WithSpec(specPointer)
		}
		tokens[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(t)
	}
	return tokens, nil
}

// String is the pointer as an error may show it: one that is not made of names could hold
// anything.
func (p pointer) String() string {
	if len(p) == 0 {
		return "the whole resource"
	}
	length := 0
	for _, t := range p {
		length += len(t) + 1
		if !readable(t) {
			return "a pointer of " + strconv.Itoa(len(p)) + " names"
		}
	}
	if length > 200 {
		return "a pointer of " + strconv.Itoa(len(p)) + " names"
	}
	return "/" + strings.Join(p, "/")
}

// readable reports whether a text that a stranger sent looks like the name of an element, an
// index or -.
func readable(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	digits := '0' <= s[0] && s[0] <= '9'
	for i := range len(s) {
		c := s[i]
		switch {
		case '0' <= c && c <= '9':
		case digits:
			return false
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', s == "-":
		default:
			return false
		}
	}
	return !digits || len(s) <= 9
}

// prefixes reports whether p leads to something that q leads into.
func (p pointer) prefixes(q pointer) bool {
	if len(p) >= len(q) {
		return false
	}
	for i := range p {
		if p[i] != q[i] {
			return false
		}
	}
	return true
}

// walk is what p leads to from n.
func (p pointer) walk(n *node) (*node, error) {
	for depth, token := range p {
		if err := container(n, p[:depth]); err != nil {
			return nil, err
		}
		i, err := place(n, token, len(n.kids)-1, p[:depth+1])
		if err != nil {
			return nil, err
		}
		if i < 0 {
			return nil, missing(p[:depth+1])
		}
		n = n.kids[i].node
	}
	return n, nil
}

// parent is the object or array, open, in which p leads to a member or an item.
func (p pointer) parent(root *node) (*node, error) {
	above := p[:len(p)-1]
	n, err := above.walk(root)
	if err != nil {
		return nil, err
	}
	return n, container(n, above)
}

func container(n *node, at pointer) error {
	if !n.container() {
		return fhir.Errorf(fhir.CodeNotFound, "", "%s: neither an object nor an array is there", at).
			WithFix("let the pointer end there, or correct it").WithSpec(specPointer)
	}
	return n.open()
}

// place is the kid of n that a token names, or -1 if n is an object without it. Of an array it
// is at most last.
func place(n *node, token string, last int, at pointer) (int, error) {
	if n.kind == '{' {
		return n.find(token), nil
	}
	if token == "-" {
		return 0, fhir.Errorf(fhir.CodeNotFound, "", "%s: - stands for the item after the last one, and nothing is there", at).
			WithFix("write the index of an item").WithSpec(specPointer)
	}
	i, ok := index(token)
	if !ok {
		return 0, fhir.Errorf(fhir.CodeValue, "", "%s: an array is there, and the last name is no index", at).
			WithFix("write 0 or digits without a leading 0").WithSpec(specPointer)
	}
	if i > last {
		return 0, fhir.Errorf(fhir.CodeNotFound, "", "%s: the array has %d items", at, len(n.kids)).
			WithFix("the first item has the index 0; - adds one at the end").WithSpec(specPointer)
	}
	return i, nil
}

// index reads 0 or at most nine digits without a leading 0.
func index(s string) (int, bool) {
	if s == "" || len(s) > 9 || s[0] == '0' && s != "0" {
		return 0, false
	}
	i := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		i = i*10 + int(c-'0')
	}
	return i, true
}

func missing(at pointer) error {
	return fhir.Errorf(fhir.CodeNotFound, "", "%s: nothing is there", at).
		WithFix("read the resource and correct the pointer; what is missing on the way must be added first")
}
