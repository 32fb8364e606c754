package fhirpath

import (
	"bytes"
	"regexp"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofhir/fhirpath/eval"
	"github.com/gofhir/fhirpath/funcs"
	"github.com/gofhir/fhirpath/types"
)

// impossible are functions that the engine has in name only (repeat), that need a clock, or
// a service of terminology or validation.
var impossible = map[string]bool{"repeat": true, "now": true, "today": true, "timeOfDay": true, "memberOf": true, "conformsTo": true, "htmlChecks": true}

// functions are those of an expression: ours, or else the engine's.
type functions struct{ of *Expression }

// Get is the function of a name.
func (f functions) Get(name string) (eval.FuncDef, bool) {
	d, ok := funcs.Get(name)
	if !ok || impossible[name] {
		return eval.FuncDef{}, false
	}
	switch name {
	case "trace":
		d.Fn = same
	case "matches":
		d.Fn = f.matches
	case "replaceMatches":
		d.Fn = f.replaceMatches
	case "children":
		d.Fn = children
	case "descendants":
		d.Fn = descendants
	case "distinct":
		d.Fn = distinct
	case "isDistinct":
		d.Fn = isDistinct
	case "subsetOf":
		d.Fn = subsetOf
	case "resolve":
		d.Fn = resolve
	case "combine":
		d.Fn = combine
	case "union":
		d.Fn = union
	case "not":
		d.Fn = not
	case "lowBoundary", "highBoundary":
		d.Fn = ofTimes(d.Fn)
	}
	return d, true
}

// same is trace(), which prints what patients' data is.
func same(_ *eval.Context, input types.Collection, _ []any) (types.Collection, error) {
	return input, nil
}

func combine(_ *eval.Context, input types.Collection, args []any) (types.Collection, error) {
	other, _ := args[0].(types.Collection)
	all := make(types.Collection, 0, len(input)+len(other))
	return append(append(all, input...), other...), nil
}

func union(ctx *eval.Context, input types.Collection, args []any) (types.Collection, error) {
	all, err := combine(ctx, input, args)
	if err != nil {
		return nil, err
	}
	return distinct(ctx, all, nil)
}

// not is of a single value, which is true if it is no boolean.
// http://hl7.org/fhirpath/N1/#singleton-evaluation-of-collections
func not(_ *eval.Context, input types.Collection, _ []any) (types.Collection, error) {
	switch len(input) {
	case 0:
		return types.Collection{}, nil
	case 1:
		b, ok := input[0].(types.Boolean)
		return types.Collection{types.NewBoolean(ok && !b.Bool())}, nil
	}
	return nil, eval.SingletonError(len(input))
}

// ofTimes is a boundary of a date or a time in full precision. What the engine gives for
// numbers, and in another precision, is not right.
func ofTimes(boundary eval.FuncImpl) eval.FuncImpl {
	return func(ctx *eval.Context, input types.Collection, args []any) (types.Collection, error) {
		if len(input) == 0 {
			return types.Collection{}, nil
		}
		digits := map[string]string{"Date": "8", "DateTime": "17", "Time": "9"}[input[0].Type()]
		if len(input) > 1 || digits == "" {
			return nil, ErrFailed
		}
		for _, a := range args {
			if p, ok := a.(types.Collection); !ok || len(p) != 1 || p[0].String() != digits {
				return nil, ErrFailed
			}
		}
		return boundary(ctx, input, nil)
	}
}

// A patterns holds the regular expressions of an expression. Those that it takes from the
// resource would fill it, so there are few.
type patterns struct {
	mu  sync.Mutex
	all map[string]*regexp.Regexp
}

const (
	maxPatterns = 16
	maxPattern  = 1000 // bytes of one
)

func (p *patterns) get(source string) (*regexp.Regexp, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.all[source]; r != nil {
		return r, nil
	}
	if len(source) > maxPattern {
		return nil, ErrTooCostly
	}
	r, err := regexp.Compile("(?s)" + source)
	if err != nil {
		return nil, ErrFailed
	}
	if p.all == nil || len(p.all) >= maxPatterns {
		p.all = map[string]*regexp.Regexp{}
	}
	p.all[source] = r
	return r, nil
}

// text is the single string of a collection. Dates are no strings here.
func text(c any) (string, bool) {
	all, ok := c.(types.Collection)
	if !ok || len(all) != 1 {
		return "", false
	}
	s, ok := all[0].(types.String)
	return s.Value(), ok
}

func (f functions) matches(_ *eval.Context, input types.Collection, args []any) (types.Collection, error) {
	s, ok1 := text(input)
	source, ok2 := text(args[0])
	if !ok1 || !ok2 {
		return types.Collection{}, nil
	}
	r, err := f.of.patterns.get(source)
	if err != nil {
		return nil, err
	}
	return types.Collection{types.NewBoolean(r.MatchString(s))}, nil
}

func (f functions) replaceMatches(_ *eval.Context, input types.Collection, args []any) (types.Collection, error) {
	s, ok1 := text(input)
	source, ok2 := text(args[0])
	by, ok3 := text(args[1])
	if !ok1 || !ok2 || !ok3 {
		return types.Collection{}, nil
	}
	r, err := f.of.patterns.get(source)
	if err != nil {
		return nil, err
	}
	if source == "" {
		return input, nil
	}
	if len(s)*(len(by)+1) > maxReplaced {
		return nil, ErrTooCostly
	}
	return types.Collection{types.NewString(r.ReplaceAllString(s, by))}, nil
}

// maxReplaced is how long a text may become.
const maxReplaced = 1 << 20

// children gives the elements of objects with their types.
func children(_ *eval.Context, input types.Collection, _ []any) (types.Collection, error) {
	all := types.Collection{}
	for _, v := range input {
		if o, ok := v.(*types.ObjectValue); ok {
			all = appendChildren(all, o)
		}
	}
	return all, nil
}

func appendChildren(all types.Collection, o *types.ObjectValue) types.Collection {
	of := o.Type()
	for _, name := range o.Keys() {
		if name == "resourceType" || strings.HasPrefix(name, "_") {
			continue
		}
		switch t := (r4{}).TypeOf(of + "." + name); {
		case t != "":
			all = append(all, o.GetCollectionWithType(name, t)...)
		default:
			all = append(all, o.GetCollection(name)...)
		}
	}
	return all
}

func descendants(ctx *eval.Context, input types.Collection, _ []any) (types.Collection, error) {
	all := types.Collection{}
	level := input
	for depth := 0; len(level) > 0; depth++ {
		if err := ctx.CheckCancellation(); err != nil {
			return nil, err
		}
		if depth > maxDepth {
			return nil, ErrTooCostly
		}
		from := len(all)
		for _, v := range level {
			if o, ok := v.(*types.ObjectValue); ok {
				all = appendChildren(all, o)
			}
		}
		if len(all) > maxCollection {
			return nil, ErrTooCostly
		}
		level = all[from:len(all):len(all)]
	}
	return all, nil
}

// key is the same for two values if they are equal.
// http://hl7.org/fhirpath/N1/#equals
func key(v types.Value) string {
	switch v := v.(type) {
	case types.String:
		return "s" + v.Value()
	case types.Boolean:
		return "b" + v.String()
	case types.Integer:
		return "n" + v.ToDecimal().Value().String()
	case types.Decimal:
		return "n" + v.Value().String()
	case *types.ObjectValue:
		j := jsontext.Value(bytes.Clone(v.Data()))
		if j.Format(jsontext.ReorderRawObjects(true), jsontext.AllowDuplicateNames(true)) != nil {
			return "o" + v.String()
		}
		return "o" + string(j)
	}
	return "t" + v.String()
}

func distinct(_ *eval.Context, input types.Collection, _ []any) (types.Collection, error) {
	seen := make(map[string]bool, len(input))
	all := make(types.Collection, 0, len(input))
	for _, v := range input {
		if k := key(v); !seen[k] {
			seen[k] = true
			all = append(all, v)
		}
	}
	return all, nil
}

func isDistinct(ctx *eval.Context, input types.Collection, _ []any) (types.Collection, error) {
	all, err := distinct(ctx, input, nil)
	return types.Collection{types.NewBoolean(len(all) == len(input))}, err
}

func subsetOf(_ *eval.Context, input types.Collection, args []any) (types.Collection, error) {
	other, _ := args[0].(types.Collection)
	in := make(map[string]bool, len(other))
	for _, v := range other {
		in[key(v)] = true
	}
	for _, v := range input {
		if !in[key(v)] {
			return types.Collection{types.NewBoolean(false)}, nil
		}
	}
	return types.Collection{types.NewBoolean(true)}, nil
}

// resolve gives what references point at: a resource that is contained in the outermost
// one, or else a resource of which only type and id are known, if the reference says them.
func resolve(ctx *eval.Context, input types.Collection, _ []any) (types.Collection, error) {
	all := types.Collection{}
	for _, v := range input {
		var reference string
		switch v := v.(type) {
		case types.String:
			reference = v.Value()
		case *types.ObjectValue:
			s, _ := v.Get("reference")
			if t, ok := s.(types.String); ok {
				reference = t.Value()
			}
		}
		if id, ok := strings.CutPrefix(reference, "#"); ok {
			root, _ := ctx.GetVariable("rootResource")
			all = append(all, contained(root, id)...)
			continue
		}
		if typ, id, ok := literal(reference); ok {
			all = append(all, types.NewObjectValueWithType([]byte(`{"resourceType":"`+typ+`","id":"`+id+`"}`), typ))
		}
	}
	return all, nil
}

func contained(root types.Collection, id string) types.Collection {
	for _, r := range root {
		o, ok := r.(*types.ObjectValue)
		if !ok {
			continue
		}
		if id == "" {
			return types.Collection{o}
		}
		for _, c := range o.GetCollection("contained") {
			if inner, ok := c.(*types.ObjectValue); ok {
				if have, ok := inner.Get("id"); ok && have.String() == id {
					return types.Collection{inner}
				}
			}
		}
	}
	return nil
}

// literal takes a reference apart that names a type and an id.
// http://hl7.org/fhir/R4/references.html#literal
func literal(reference string) (typ, id string, ok bool) {
	reference, _, _ = strings.Cut(reference, "/_history/")
	parts := strings.Split(reference, "/")
	if len(parts) < 2 {
		return "", "", false
	}
	typ, id = parts[len(parts)-2], parts[len(parts)-1]
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.':
		default:
			return "", "", false
		}
	}
	return typ, id, id != "" && (r4{}).IsResource(typ)
}
