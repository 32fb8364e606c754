package fhirpath

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/antlr4-go/antlr/v4"
	"github.com/gofhir/fhirpath/eval"
	"github.com/gofhir/fhirpath/parser/grammar"
	"github.com/gofhir/fhirpath/types"
)

// replace puts our operators in the place of those of the engine that are not right: in the
// tree, as the evaluator calls what stands there.
func replace(t antlr.Tree) {
	children := t.GetChildren()
	for i, child := range children {
		replace(child)
		switch c := child.(type) {
		case *grammar.EqualityExpressionContext:
			children[i] = equality{c}
		case *grammar.AdditiveExpressionContext:
			children[i] = additive{c}
		case *grammar.StringLiteralContext:
			children[i] = literalString{c, types.Collection{types.NewString(unquoted(c.GetText()))}}
		}
	}
}

// operands evaluates both sides of an operator.
func operands(v antlr.ParseTreeVisitor, left, right grammar.IExpressionContext) (l, r types.Collection, err error) {
	for _, side := range []struct {
		of grammar.IExpressionContext
		to *types.Collection
	}{{left, &l}, {right, &r}} {
		switch result := side.of.Accept(v).(type) {
		case error:
			return nil, nil, result
		case types.Collection:
			*side.to = result
		}
	}
	return l, r, nil
}

func operator(t antlr.Tree) string {
	if n, ok := t.GetChild(1).(antlr.TerminalNode); ok {
		return n.GetText()
	}
	return ""
}

// equality compares collections as a whole, and objects however their JSON is written.
// http://hl7.org/fhirpath/N1/#equality
type equality struct {
	*grammar.EqualityExpressionContext
}

func (n equality) Accept(v antlr.ParseTreeVisitor) any {
	left, right, err := operands(v, n.Expression(0), n.Expression(1))
	if err != nil {
		return err
	}
	var same bool
	op := operator(n)
	switch op {
	case "=", "!=":
		if len(left) == 0 || len(right) == 0 {
			return types.Collection{}
		}
		same = slices.EqualFunc(left, right, equal)
	default:
		if same, err = equivalent(left, right); err != nil {
			return err
		}
	}
	return types.Collection{types.NewBoolean(same != strings.HasPrefix(op, "!"))}
}

func equal(a, b types.Value) bool {
	x, ok1 := a.(*types.ObjectValue)
	y, ok2 := b.(*types.ObjectValue)
	if ok1 && ok2 {
		return bytes.Equal(x.Data(), y.Data()) || key(x) == key(y)
	}
	return a.Equal(b)
}

// maxEquivalent is how many values that are not equal ~ compares each with each.
const maxEquivalent = 1000

// equivalent compares collections in any order.
// http://hl7.org/fhirpath/N1/#equivalence
func equivalent(left, right types.Collection) (bool, error) {
	if len(left) != len(right) {
		return false, nil
	}
	equals := make(map[string]int, len(right))
	for _, v := range right {
		equals[key(v)]++
	}
	var of, among types.Collection // those without an equal
	for _, v := range left {
		if k := key(v); equals[k] > 0 {
			equals[k]--
		} else {
			of = append(of, v)
		}
	}
	for _, v := range right {
		if k := key(v); equals[k] > 0 {
			equals[k]--
			among = append(among, v)
		}
	}
	if len(of) > maxEquivalent {
		return false, ErrTooCostly
	}
	for _, v := range of {
		i := slices.IndexFunc(among, v.Equivalent)
		if i < 0 {
			return false, nil
		}
		among = slices.Delete(among, i, i+1)
	}
	return true, nil
}

// additive adds to dates only what is a time, and makes a text of single values only.
// http://hl7.org/fhirpath/N1/#datetime-arithmetic
type additive struct {
	*grammar.AdditiveExpressionContext
}

func (n additive) Accept(v antlr.ParseTreeVisitor) any {
	left, right, err := operands(v, n.Expression(0), n.Expression(1))
	if err != nil {
		return err
	}
	op := operator(n)
	switch {
	case op != "&" && (len(left) == 0 || len(right) == 0):
		return types.Collection{}
	case len(left) > 1 || len(right) > 1:
		return eval.SingletonError(len(left) + len(right))
	case op == "&":
		return eval.Concatenate(left, right)
	}
	by, err := duration(left[0], right[0])
	if err != nil {
		return err
	}
	var sum types.Value
	if op == "+" {
		sum, err = eval.Add(left[0], by)
	} else {
		sum, err = eval.Subtract(left[0], by)
	}
	if err != nil {
		return err
	}
	return types.Collection{sum}
}

// duration is what is added to a date, in a unit that the engine knows: what has another one
// would leave the date as it is.
func duration(to, by types.Value) (types.Value, error) {
	q, ok := by.(types.Quantity)
	if !ok {
		return by, nil
	}
	unit, known := durations[q.Unit()]
	switch to.(type) {
	case types.Date:
		known = known && slices.Contains([]string{"year", "month", "week", "day"}, unit)
	case types.DateTime:
	default:
		return by, nil
	}
	if !known {
		return nil, eval.InvalidOperationError("+", to.Type(), by.Type())
	}
	return types.NewQuantityFromDecimal(q.Value(), unit), nil
}

// durations are the units of time under the names that the engine adds. A year and a month
// of UCUM are no years and months of the calendar, and cannot be added to a date.
var durations = map[string]string{
	"year": "year", "years": "year", "month": "month", "months": "month", "week": "week", "weeks": "week", "wk": "week",
	"day": "day", "days": "day", "d": "day", "hour": "hour", "hours": "hour", "h": "hour", "minute": "minute", "minutes": "minute", "min": "minute",
	"second": "second", "seconds": "second", "s": "second", "millisecond": "millisecond", "milliseconds": "millisecond", "ms": "millisecond",
}

// literalString is a text whose escapes are read one after the other.
// http://hl7.org/fhirpath/N1/#string
type literalString struct {
	*grammar.StringLiteralContext
	value types.Collection
}

func (n literalString) Accept(antlr.ParseTreeVisitor) any { return n.value }

// escapes are those of one letter. Any other character stands for itself.
var escapes = map[byte]byte{'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func unquoted(literal string) string {
	s := literal[1 : len(literal)-1]
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if s[i] == 'u' && i+4 < len(s) {
			if code, err := strconv.ParseUint(s[i+1:i+5], 16, 16); err == nil {
				b.WriteRune(rune(code))
				i += 4
				continue
			}
		}
		if c, ok := escapes[s[i]]; ok {
			b.WriteByte(c)
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
