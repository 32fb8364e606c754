// Package fhirpath evaluates FHIRPath on the JSON of FHIR R4 resources: for invariants,
// for search parameters and for patches.
//
// Grammar and operators are those of github.com/gofhir/fhirpath, which nothing else in this
// module imports. This package gives it the types of R4 from package definitions, and
// replaces what is not safe or not right in a server: trace() prints nothing, there is no
// clock, regular expressions and comparisons of many values take linear time, children have
// their types, collections can be compared, a primitive without a value but with an extension exists.
//
// http://hl7.org/fhir/R4/fhirpath.html, http://hl7.org/fhirpath/N1/
package fhirpath

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/antlr4-go/antlr/v4"
	"github.com/gofhir/fhirpath/eval"
	"github.com/gofhir/fhirpath/funcs"
	"github.com/gofhir/fhirpath/parser/grammar"
	"github.com/gofhir/fhirpath/types"

	"github.com/kiln-health/kiln/fhir"
)

// MaxSource is how many bytes an expression may have.
const MaxSource = 8 << 10

const (
	maxNesting    = 64      // of brackets in an expression
	maxCollection = 200_000 // items that where and select take and give
)

// An Expression is a FHIRPath expression that has been parsed. It may be evaluated by any
// number of goroutines.
type Expression struct {
	source    string
	tree      grammar.IEntireExpressionContext
	constants []string // the external constants that it names
	patterns  patterns
}

// Compile parses an expression. It refuses functions that cannot be evaluated here, and
// external constants other than %resource, %rootResource, %context, %ucum, %loinc and %sct.
// The error says in which column of the expression the fault is.
func Compile(source string) (x *Expression, err error) {
	defer recovered(&err)
	switch {
	case strings.TrimSpace(source) == "":
		return nil, errors.New("fhirpath: the expression is empty")
	case len(source) > MaxSource:
		return nil, fmt.Errorf("fhirpath: the expression has %d bytes, at most %d are allowed", len(source), MaxSource)
	}
	if at := tooDeep(source); at >= 0 {
		return nil, fmt.Errorf("fhirpath: column %d: more than %d levels of brackets", at+1, maxNesting)
	}
	var faults listener
	lexer := grammar.NewfhirpathLexer(antlr.NewInputStream(source))
	lexer.RemoveErrorListeners()
	lexer.AddErrorListener(&faults)
	parser := grammar.NewfhirpathParser(antlr.NewCommonTokenStream(lexer, antlr.TokenDefaultChannel))
	parser.RemoveErrorListeners()
	parser.AddErrorListener(&faults)
	tree := parser.EntireExpression()
	if faults.err != nil {
		return nil, faults.err
	}
	x = &Expression{source: source, tree: tree}
	if err := x.check(tree); err != nil {
		return nil, err
	}
	replace(tree)
	return x, nil
}

// String is the expression as it was given to Compile.
func (x *Expression) String() string { return x.source }

// Uses reports whether the expression names an external constant: resource for %resource.
// resolve() uses rootResource.
func (x *Expression) Uses(constant string) bool { return slices.Contains(x.constants, constant) }

// Input is what an expression is evaluated on. The JSON must be valid; it is neither
// changed nor kept.
type Input struct {
	// Element is the JSON of $this and %context, and Type its type: the name of a resource
	// or data type, or for an element with elements of its own its path, Patient.contact.
	// "" is the type that resourceType says.
	Element []byte
	Type    string
	// Resource is the resource that has the element, Root the one that contains that, or
	// the same. Nil Resource is Element, nil Root is Resource.
	Resource, Root []byte
}

// Errors of an evaluation.
var (
	ErrTooCostly = errors.New("fhirpath: the evaluation takes too much")
	ErrFailed    = errors.New("fhirpath: the expression has no answer for this resource")
)

// Truth is what an expression says of a resource.
type Truth uint8

// The truths. An empty collection is None. http://hl7.org/fhirpath/N1/#boolean-logic
const (
	None Truth = iota
	False
	True
)

// Truth evaluates the expression as a condition: a single item that is no boolean is True.
// The error wraps that of ctx, ErrTooCostly or ErrFailed, and has no text of the resource.
func (x *Expression) Truth(ctx context.Context, in Input) (Truth, error) {
	all, err := x.evaluate(ctx, in)
	switch {
	case err != nil:
		return None, err
	case len(all) == 0:
		return None, nil
	case len(all) > 1:
		return None, fmt.Errorf("%w: it gives %d values where one is expected", ErrFailed, len(all))
	}
	if b, ok := all[0].(types.Boolean); ok && !b.Bool() {
		return False, nil
	}
	return True, nil
}

// A Value is an item of what an expression gives.
type Value struct {
	// Type is that of the element, Quantity or Patient.contact, or one of FHIRPath for a
	// primitive: Boolean, String, Integer, Decimal, Date, DateTime, Time. The types that
	// are written like a string keep their names: code, uri, id.
	Type string
	// Text is a primitive as text.
	Text string
	// JSON is an object as it stands in the input, nil for a primitive.
	JSON []byte
}

// Values are the items that the expression gives, in their order. Errors are those of Truth.
func (x *Expression) Values(ctx context.Context, in Input) ([]Value, error) {
	all, err := x.evaluate(ctx, in)
	if err != nil {
		return nil, err
	}
	values := make([]Value, len(all))
	for i, v := range all {
		values[i].Type = v.Type()
		if o, ok := v.(*types.ObjectValue); ok {
			values[i].JSON = o.Data()
		} else {
			values[i].Text = v.String()
		}
	}
	return values, nil
}

func (x *Expression) evaluate(ctx context.Context, in Input) (all types.Collection, err error) {
	defer recovered(&err)
	this := item(in.Element, in.Type)
	c := eval.NewContext(nil)
	c.SetContext(ctx)
	c.SetLimit("maxCollectionSize", maxCollection)
	c.SetModel(r4{})
	c.SetVariable("context", this)
	c.SetVariable("resource", this)
	c.SetVariable("rootResource", this)
	for _, name := range x.constants {
		switch name {
		case "resource":
			if in.Resource != nil {
				c.SetVariable(name, item(in.Resource, ""))
			}
		case "rootResource":
			if root := first(in.Root, in.Resource); root != nil {
				c.SetVariable(name, item(root, ""))
			}
		default:
			if u := systems[name]; u != "" {
				c.SetVariable(name, types.Collection{types.NewString(u)})
			}
		}
	}
	all, err = eval.NewEvaluator(c.WithThis(this), functions{x}).Evaluate(x.tree)
	switch {
	case err == nil:
		return all, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, ErrTooCostly):
		return nil, ErrTooCostly
	}
	if e, ok := errors.AsType[*eval.EvalError](err); ok {
		// Its message may have text of the resource.
		return nil, fmt.Errorf("%w: %s", ErrFailed, e.Type)
	}
	return nil, ErrFailed
}

func first(all ...[]byte) []byte {
	for _, b := range all {
		if b != nil {
			return b
		}
	}
	return nil
}

// recovered makes an error of a panic of the engine.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: the engine gave up", ErrFailed)
	}
}

// systems are the code systems that have a constant.
// http://hl7.org/fhir/R4/fhirpath.html#vars
var systems = map[string]string{"ucum": "http://unitsofmeasure.org", "loinc": "http://loinc.org", "sct": "http://snomed.info/sct"}

// check looks for functions and constants that cannot be evaluated.
func (x *Expression) check(t antlr.Tree) error {
	switch t := t.(type) {
	case *grammar.FunctionContext:
		name := strings.Trim(t.Identifier().GetText(), "`")
		if _, ok := funcs.Get(name); !ok || impossible[name] {
			return fmt.Errorf("fhirpath: column %d: the function %s is not supported", t.GetStart().GetColumn()+1, shortened(name))
		}
		if name == "resolve" {
			x.constants = append(x.constants, "rootResource")
		}
		if list := t.ParamList(); list != nil && !onEach[name] && relative(list) {
			return fmt.Errorf("fhirpath: column %d: the argument of %s must be a literal or begin with %%context, %%resource or %%rootResource", t.GetStart().GetColumn()+1, name)
		}
	case *grammar.ExternalConstantContext:
		name := strings.Trim(strings.TrimPrefix(t.GetText(), "%"), "`'")
		if name != "resource" && name != "rootResource" && name != "context" && systems[name] == "" {
			return fmt.Errorf("fhirpath: column %d: the constant %%%s is not known", t.GetStart().GetColumn()+1, shortened(name))
		}
		x.constants = append(x.constants, name)
	}
	for _, child := range t.GetChildren() {
		if err := x.check(child); err != nil {
			return err
		}
	}
	return nil
}

// onEach are the functions whose arguments are about each item of the input, or are types.
var onEach = map[string]bool{"where": true, "exists": true, "all": true, "select": true, "aggregate": true, "iif": true, "is": true, "as": true, "ofType": true, "trace": true}

// relative reports whether a path begins in an argument. The engine would follow it from
// the input of the function, and not from $this, as it must.
// http://hl7.org/fhirpath/N1/#functions
func relative(t antlr.Tree) bool {
	switch t := t.(type) {
	case *grammar.InvocationTermContext:
		return true
	case *grammar.FunctionContext:
		if onEach[strings.Trim(t.Identifier().GetText(), "`")] {
			return false
		}
	}
	return slices.ContainsFunc(t.GetChildren(), relative)
}

func shortened(name string) string {
	if len(name) > 64 {
		return name[:64] + "…"
	}
	return name
}

// tooDeep is where brackets are nested too deeply, or -1. Brackets in strings count, too.
func tooDeep(source string) int {
	depth := 0
	for i := range len(source) {
		switch source[i] {
		case '(', '[', '{':
			if depth++; depth > maxNesting {
				return i
			}
		case ')', ']', '}':
			depth--
		}
	}
	return -1
}

// listener keeps the first error of the parser.
type listener struct {
	antlr.DefaultErrorListener
	err error
}

func (l *listener) SyntaxError(_ antlr.Recognizer, _ any, _, column int, message string, _ antlr.RecognitionException) {
	if l.err == nil {
		l.err = fmt.Errorf("fhirpath: column %d: %s", column+1, message)
	}
}

// maxDepth is how deeply an element can be nested.
const maxDepth = fhir.MaxDepth
