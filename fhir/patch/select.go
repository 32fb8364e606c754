package patch

import (
	"strconv"
	"strings"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
)

// maxSteps is how many elements and members of objects all paths of a patch together may look at.
const maxSteps = 5_000_000

type scalarKind uint8

const (
	scalarString scalarKind = iota + 1
	scalarNumber
	scalarBoolean
	scalarMoment // a date or a time, which is not compared
)

// A scalar is a value that can be compared.
type scalar struct {
	kind   scalarKind
	text   string
	number number
	truth  bool
}

// An item of a collection is an element of the resource, or a value that was worked out.
type item struct {
	*element
	result scalar
}

func truth(b bool) []item { return []item{{result: scalar{kind: scalarBoolean, truth: b}}} }

// A selector finds elements.
type selector struct{ budget *int }

// elements are those that a path selects in a resource.
func (s selector) elements(x *expr, root *element) ([]*element, error) {
	found, err := s.eval(x, []item{{element: root}})
	if err != nil {
		return nil, err
	}
	elements := make([]*element, len(found))
	for i := range found {
		if elements[i] = found[i].element; elements[i] == nil {
			return nil, fault(x.at, fhir.CodeInvalid, "the path has a value, but selects no element").
				WithFix("let the path end with an element, and put conditions into where(...)")
		}
	}
	return elements, nil
}

func (s selector) eval(x *expr, this []item) ([]item, error) {
	if err := s.spend(x, 1); err != nil {
		return nil, err
	}
	switch x.kind {
	case exprThis:
		return this, nil
	case exprLiteral:
		return []item{{result: x.value}}, nil
	case exprOperator:
		return s.operator(x, this)
	}
	input := this
	if x.left != nil {
		var err error
		if input, err = s.eval(x.left, this); err != nil {
			return nil, err
		}
		if err := s.spend(x, len(input)); err != nil {
			return nil, err
		}
	}
	switch x.kind {
	case exprName:
		return s.name(x, input)
	case exprIndex:
		if x.count >= len(input) {
			return nil, nil
		}
		return input[x.count : x.count+1], nil
	case exprType:
		return typed(x, x.name, x.right, input)
	}
	return s.call(x, input)
}

func (s selector) spend(x *expr, steps int) error {
	if *s.budget -= steps; *s.budget < 0 {
		return fault(x.at, fhir.CodeTooCostly, "the paths of the patch look at too much").
			WithFix("select by names and [index], or send the whole resource with an update")
	}
	return nil
}

// name is the elements of that name in each of the input, or the input if its type is called so.
func (s selector) name(x *expr, input []item) ([]item, error) {
	if x.left == nil && len(input) == 1 && input[0].element != nil && isA(input[0].typ, x.name) {
		return input, nil
	}
	return s.children(x, x.name, input)
}

func (s selector) children(x *expr, name string, input []item) ([]item, error) {
	var found []item
	known := len(input) == 0
	for _, i := range input {
		if i.element == nil {
			return nil, fault(x.at, fhir.CodeInvalid, "a value has no elements")
		}
		c := i.child(name)
		if c == nil {
			continue
		}
		known = true
		kids, looked, err := i.children(c)
		if err != nil {
			return nil, err
		}
		if err := s.spend(x, looked); err != nil {
			return nil, err
		}
		for _, k := range kids {
			found = append(found, item{element: k})
		}
	}
	if !known {
		return nil, unknown(x, name, input[0].element)
	}
	return found, nil
}

func unknown(x *expr, name string, in *element) error {
	if !readable(name) {
		return fault(x.at, fhir.CodeInvalid, "%s has no such element", in.typ)
	}
	e := fault(x.at, fhir.CodeInvalid, "%s has no element %q", in.typ, name)
	if content := in.content(); content != nil {
		if c, t := content.Child(name); c != nil && c.Choice && t != nil {
			return e.WithFix("write " + c.Name + ", or " + c.Name + ".ofType(" + t.Code + ") if it must have that type")
		}
	}
	return e.WithFix("write the name as the definition of the type has it")
}

// isA reports whether a type is another one or is derived from it.
func isA(typ, other string) bool {
	for typ != "" {
		if typ == other {
			return true
		}
		definition, ok := definitions.ForType(typ)
		if !ok {
			return false
		}
		typ = ""
		if base, ok := definitions.Lookup(definition.Base); ok {
			typ = base.Type
		}
	}
	return false
}

// typeName is the type that an argument names.
func typeName(x *expr) (string, error) {
	if x.kind == exprName && x.left != nil && x.left.kind == exprName && x.left.left == nil && x.left.name == "FHIR" {
		x = &expr{kind: exprName, at: x.at, name: x.name}
	}
	if x.kind != exprName || x.left != nil {
		return "", fault(x.at, fhir.CodeInvalid, "a type is expected here").WithFix("write a type of FHIR, as in ofType(Quantity)")
	}
	if _, ok := definitions.ForType(x.name); !ok {
		return "", fault(x.at, fhir.CodeInvalid, "R4 has no such type").WithFix("write a type of FHIR, as in ofType(Quantity)")
	}
	return x.name, nil
}

// typed is what ofType, as and is make of the input.
func typed(x *expr, function string, specifier *expr, input []item) ([]item, error) {
	name, err := typeName(specifier)
	if err != nil {
		return nil, err
	}
	if function == "is" {
		if len(input) > 1 {
			return nil, fault(x.at, fhir.CodeInvalid, "is asks about one element, and there are more")
		}
		if len(input) == 0 {
			return nil, nil
		}
		return truth(input[0].element != nil && isA(input[0].typ, name)), nil
	}
	return filter(input, func(i item) (bool, error) { return i.element != nil && isA(i.typ, name), nil })
}

func filter(input []item, keep func(item) (bool, error)) ([]item, error) {
	var kept []item
	for _, i := range input {
		ok, err := keep(i)
		if err != nil {
			return nil, err
		}
		if ok {
			kept = append(kept, i)
		}
	}
	return kept, nil
}

// arity is how many arguments each function takes, at least and at most.
var arity = map[string][2]int{
	"where": {1, 1}, "first": {}, "last": {}, "tail": {}, "skip": {1, 1}, "take": {1, 1}, "single": {},
	"ofType": {1, 1}, "as": {1, 1}, "is": {1, 1}, "extension": {1, 1},
	"exists": {0, 1}, "empty": {}, "not": {}, "all": {1, 1}, "count": {}, "hasValue": {},
	"startsWith": {1, 1}, "endsWith": {1, 1}, "contains": {1, 1}, "upper": {}, "lower": {},
}

func (s selector) call(x *expr, input []item) ([]item, error) {
	limits, ok := arity[x.name]
	if !ok {
		name := "this function"
		if readable(x.name) {
			name = "the function " + x.name
		}
		return nil, fault(x.at, fhir.CodeNotSupported, "%s is not supported in the path of a patch", name).
			WithFix("select the element by its names, by [index] or with where").WithSpec(specFHIRPath)
	}
	if len(x.args) < limits[0] || len(x.args) > limits[1] {
		return nil, fault(x.at, fhir.CodeInvalid, "the function %s has %d arguments, which are too few or too many", x.name, len(x.args))
	}
	criterion := func(i item) (bool, error) {
		result, err := s.eval(x.args[0], []item{i})
		if err != nil {
			return false, err
		}
		is, known, err := boolean(x.args[0], result)
		return is && known, err
	}
	n := len(input)
	switch x.name {
	case "where":
		return filter(input, criterion)
	case "first":
		return input[:min(n, 1)], nil
	case "last":
		return input[max(n-1, 0):], nil
	case "tail":
		return input[min(n, 1):], nil
	case "skip", "take":
		count, err := s.count(x.args[0])
		if err != nil {
			return nil, err
		}
		if x.name == "skip" {
			return input[min(n, count):], nil
		}
		return input[:min(n, count)], nil
	case "single":
		if n > 1 {
			return nil, fault(x.at, CodeMultiple, "single is for one element, and there are %d", n)
		}
		return input, nil
	case "ofType", "as", "is":
		return typed(x, x.name, x.args[0], input)
	case "extension":
		return s.extension(x, input)
	case "exists":
		if len(x.args) == 1 {
			var err error
			if input, err = filter(input, criterion); err != nil {
				return nil, err
			}
		}
		return truth(len(input) > 0), nil
	case "empty":
		return truth(n == 0), nil
	case "all":
		kept, err := filter(input, criterion)
		return truth(len(kept) == n), err
	case "count":
		count, _ := parseNumber(strconv.Itoa(n))
		return []item{{result: scalar{kind: scalarNumber, number: count}}}, nil
	case "not":
		is, known, err := boolean(x, input)
		if err != nil || !known {
			return nil, err
		}
		return truth(!is), nil
	case "hasValue":
		return truth(n == 1 && (input[0].element == nil || input[0].primitive && input[0].value() != nil)), nil
	}
	return s.textual(x, input)
}

// count is a number of elements: digits, as they are written.
func (s selector) count(x *expr) (int, error) {
	if x.kind != exprLiteral || x.value.kind != scalarNumber || x.value.number.negative {
		return 0, fault(x.at, fhir.CodeNotSupported, "a number of elements is expected here").WithFix("write digits")
	}
	n := x.value.number
	if n.exponent > 9 || n.exponent < len(n.digits) {
		return 0, fault(x.at, fhir.CodeInvalid, "a number of elements is expected here").WithFix("write digits")
	}
	count, _ := index(n.digits + strings.Repeat("0", n.exponent-len(n.digits)))
	return count, nil
}

func (s selector) extension(x *expr, input []item) ([]item, error) {
	url := x.args[0]
	if url.kind != exprLiteral || url.value.kind != scalarString {
		return nil, fault(url.at, fhir.CodeNotSupported, "the URL of an extension is expected here").WithFix("write it in single quotes")
	}
	found, err := s.children(x, "extension", input)
	if err != nil {
		return nil, err
	}
	return filter(found, func(i item) (bool, error) {
		urls, err := s.children(x, "url", []item{i})
		if err != nil || len(urls) != 1 {
			return false, err
		}
		v := urls[0].element.value()
		return v != nil && v.kind == '"' && v.text() == url.value.text, nil
	})
}

// textual is a function of a string.
func (s selector) textual(x *expr, input []item) ([]item, error) {
	values, err := scalars(x, input)
	if err != nil || len(values) == 0 {
		return nil, err
	}
	if len(values) > 1 || values[0].kind != scalarString {
		return nil, fault(x.at, fhir.CodeInvalid, "the function %s is for one string", x.name)
	}
	text := values[0].text
	switch x.name {
	case "upper":
		return []item{{result: scalar{kind: scalarString, text: strings.ToUpper(text)}}}, nil
	case "lower":
		return []item{{result: scalar{kind: scalarString, text: strings.ToLower(text)}}}, nil
	}
	other := x.args[0]
	if other.kind != exprLiteral || other.value.kind != scalarString {
		return nil, fault(other.at, fhir.CodeNotSupported, "a string is expected here").WithFix("write it in single quotes")
	}
	switch x.name {
	case "startsWith":
		return truth(strings.HasPrefix(text, other.value.text)), nil
	case "endsWith":
		return truth(strings.HasSuffix(text, other.value.text)), nil
	}
	return truth(strings.Contains(text, other.value.text)), nil
}

func (s selector) operator(x *expr, this []item) ([]item, error) {
	left, err := s.eval(x.left, this)
	if err != nil {
		return nil, err
	}
	right, err := s.eval(x.right, this)
	if err != nil {
		return nil, err
	}
	if x.name == "and" || x.name == "or" {
		return logical(x, left, right)
	}
	a, err := scalars(x.left, left)
	if err != nil {
		return nil, err
	}
	b, err := scalars(x.right, right)
	if err != nil || len(a) == 0 || len(b) == 0 {
		return nil, err
	}
	if x.name == "=" || x.name == "!=" {
		same := len(a) == len(b)
		for i := 0; same && i < len(a); i++ {
			if same, err = a[i].equal(x, b[i]); err != nil {
				return nil, err
			}
		}
		return truth(same == (x.name == "=")), nil
	}
	if len(a) > 1 || len(b) > 1 {
		return nil, fault(x.at, fhir.CodeInvalid, "one value is compared with one, and there are more")
	}
	order, err := a[0].compare(x, b[0])
	if err != nil {
		return nil, err
	}
	switch x.name {
	case "<":
		return truth(order < 0), nil
	case "<=":
		return truth(order <= 0), nil
	case ">":
		return truth(order > 0), nil
	}
	return truth(order >= 0), nil
}

// logical is and, and or: what is not known stays so unless the other side decides.
// http://hl7.org/fhirpath/N1/#boolean-logic
func logical(x *expr, left, right []item) ([]item, error) {
	a, knownA, err := boolean(x.left, left)
	if err != nil {
		return nil, err
	}
	b, knownB, err := boolean(x.right, right)
	if err != nil {
		return nil, err
	}
	decides := x.name == "or"
	switch {
	case knownA && a == decides, knownB && b == decides:
		return truth(decides), nil
	case knownA && knownB:
		return truth(!decides), nil
	}
	return nil, nil
}

// boolean is a collection as a truth value, which is not known if it is empty.
func boolean(x *expr, c []item) (is, known bool, err error) {
	values, err := scalars(x, c)
	if err != nil || len(values) == 0 {
		return false, false, err
	}
	if len(values) > 1 || values[0].kind != scalarBoolean {
		return false, false, fault(x.at, fhir.CodeInvalid, "this is not true or false").
			WithFix("compare it, or ask whether it exists()")
	}
	return values[0].truth, true, nil
}

// scalars are the values of a collection. An element without a value has none.
func scalars(x *expr, c []item) ([]scalar, error) {
	values := make([]scalar, 0, len(c))
	for _, i := range c {
		if i.element == nil {
			values = append(values, i.result)
			continue
		}
		if !i.primitive {
			return nil, fault(x.at, fhir.CodeNotSupported, "an element of type %s is not compared in the path of a patch", i.typ).
				WithFix("compare one of its elements, or ask whether it exists()")
		}
		v := i.element.value()
		if v == nil {
			continue
		}
		value, err := scalarOf(x, i.typ, v)
		if err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	return values, nil
}

func scalarOf(x *expr, typ string, v *node) (scalar, error) {
	switch v.kind {
	case '"':
		switch typ {
		case "date", "dateTime", "instant", "time":
			return scalar{kind: scalarMoment}, nil
		}
		return scalar{kind: scalarString, text: v.text()}, nil
	case 't', 'f':
		return scalar{kind: scalarBoolean, truth: v.kind == 't'}, nil
	case '0':
		if n, ok := parseNumber(string(v.raw)); ok {
			return scalar{kind: scalarNumber, number: n}, nil
		}
		return scalar{}, fault(x.at, fhir.CodeTooCostly, "a number of the resource is too large to be compared")
	}
	return scalar{}, fault(x.at, fhir.CodeStructure, "the resource has an object or an array where a value belongs")
}

func (a scalar) equal(x *expr, b scalar) (bool, error) {
	if a.kind == scalarMoment || b.kind == scalarMoment {
		return false, uncompared(x)
	}
	if a.kind != b.kind {
		return false, nil
	}
	return a.text == b.text && a.truth == b.truth && a.number.compare(b.number) == 0, nil
}

func (a scalar) compare(x *expr, b scalar) (int, error) {
	switch {
	case a.kind == scalarMoment || b.kind == scalarMoment:
		return 0, uncompared(x)
	case a.kind == scalarString && b.kind == scalarString:
		return strings.Compare(a.text, b.text), nil
	case a.kind == scalarNumber && b.kind == scalarNumber:
		return a.number.compare(b.number), nil
	}
	return 0, fault(x.at, fhir.CodeInvalid, "values that have no order, or not the same type, are compared")
}

func uncompared(x *expr) error {
	return fault(x.at, fhir.CodeNotSupported, "dates and times are not compared in the path of a patch").
		WithFix("select the element by something else, or by [index]")
}
