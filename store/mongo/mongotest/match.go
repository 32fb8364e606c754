package mongotest

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// node is a part of a filter. https://www.mongodb.com/docs/v7.0/reference/operator/query/
type node struct {
	op   string // and, or, nor, not, eq, gt, gte, lt, lte, in, exists, type, size, regex, elements, element
	path string
	// parts are those of path.
	parts []string
	key   string // of the value of eq, gt, gte, lt, lte
	any   bool   // gt, gte, lt, lte of the least or greatest value: of all types
	keys  map[string]bool
	size  int64
	types []byte // types, or classes beyond 128 for "number"
	regex *regexp.Regexp
	kids  []node
}

// compile reads a filter.
func compile(filter bson.Raw) (node, error) {
	all := node{op: "and"}
	for e := range elements(filter) {
		switch e.name {
		case "$and", "$or", "$nor":
			if e.value.Type != bson.TypeArray {
				return all, badValue("%s must be an array", e.name)
			}
			n := node{op: e.name[1:]}
			for kid := range elements(e.value.Value) {
				if kid.value.Type != bson.TypeEmbeddedDocument {
					return all, badValue("$or/$and/$nor entries need to be full objects")
				}
				k, err := compile(kid.value.Value)
				if err != nil {
					return all, err
				}
				n.kids = append(n.kids, k)
			}
			if len(n.kids) == 0 {
				return all, badValue("$and/$or/$nor must be a nonempty array")
			}
			all.kids = append(all.kids, n)
		case "$comment":
		default:
			if strings.HasPrefix(e.name, "$") {
				return all, badValue("unknown top level operator: %s. If you have a field name that starts with a '$' symbol, consider using $getField or $setField.", e.name)
			}
			kids, err := conditions(e.name, e.value)
			if err != nil {
				return all, err
			}
			all.kids = append(all.kids, kids...)
		}
	}
	return all, nil
}

// isOperators reports whether a value is {$op: …}.
func isOperators(v bson.RawValue) bool {
	if v.Type != bson.TypeEmbeddedDocument {
		return false
	}
	for e := range elements(v.Value) {
		return strings.HasPrefix(e.name, "$")
	}
	return false
}

// conditions are those that the value of a field in a filter sets.
func conditions(path string, v bson.RawValue) ([]node, error) {
	if !isOperators(v) {
		n, err := comparison("eq", path, v)
		return []node{n}, err
	}
	var all []node
	options := ""
	if o, ok := field(v.Value, "$options"); ok {
		options = stringOf(o)
	}
	for e := range elements(v.Value) {
		if e.name == "$options" || e.name == "$comment" {
			continue
		}
		n, err := condition(path, e.name, e.value, options)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

func condition(path, op string, v bson.RawValue, options string) (node, error) {
	n := node{op: op[1:], path: path, parts: strings.Split(path, ".")}
	switch op {
	case "$eq", "$gt", "$gte", "$lt", "$lte":
		return comparison(n.op, path, v)
	case "$ne":
		eq, err := comparison("eq", path, v)
		return node{op: "nor", kids: []node{eq}}, err
	case "$in", "$nin", "$all":
		if v.Type != bson.TypeArray {
			return n, badValue("%s needs an array", op)
		}
		n.op, n.keys = "in", map[string]bool{}
		var each []node
		for e := range elements(v.Value) {
			if e.value.Type == bson.TypeRegex || op != "$all" && isOperators(e.value) {
				return n, badValue("cannot nest $ under %s", op)
			}
			if n.keys[keyOf(e.value)] = true; op == "$all" {
				c, err := conditions(path, e.value)
				if err != nil {
					return n, err
				}
				each = append(each, c...)
			}
		}
		switch op {
		case "$nin":
			return node{op: "nor", kids: []node{n}}, nil
		case "$all":
			if len(each) == 0 {
				return node{op: "or"}, nil // matches nothing
			}
			return node{op: "and", kids: each}, nil
		}
		return n, nil
	case "$not":
		if !isOperators(v) {
			return n, badValue("$not needs a regex or a document")
		}
		kids, err := conditions(path, v)
		return node{op: "nor", kids: []node{{op: "and", kids: kids}}}, err
	case "$exists":
		if !truth(v) {
			return node{op: "nor", kids: []node{n}}, nil
		}
		return n, nil
	case "$type":
		values := []bson.RawValue{v}
		if v.Type == bson.TypeArray {
			values = nil
			for e := range elements(v.Value) {
				values = append(values, e.value)
			}
		}
		for _, v := range values {
			t, err := typeCode(v)
			if err != nil {
				return n, err
			}
			n.types = append(n.types, t)
		}
		return n, nil
	case "$size":
		size, ok := intOf(v)
		if !ok || size < 0 {
			return n, badValue("Failed to parse $size. Expected an integer")
		}
		n.size = size
		return n, nil
	case "$regex":
		pattern := stringOf(v)
		if v.Type == bson.TypeRegex {
			pattern, options = v.Regex()
		} else if v.Type != bson.TypeString {
			return n, badValue("$regex has to be a string")
		}
		if strings.Trim(options, "imsx") != "" {
			return n, badValue("invalid flag in regex options: %s", options)
		}
		if flags := strings.ReplaceAll(options, "x", ""); flags != "" {
			pattern = "(?" + flags + ")" + pattern
		}
		var err error
		if n.regex, err = regexp.Compile(pattern); err != nil {
			return n, fail(51091, "Location51091", "Regular expression is invalid: %v", err)
		}
		return n, nil
	case "$elemMatch":
		if v.Type != bson.TypeEmbeddedDocument {
			return n, badValue("$elemMatch needs an Object")
		}
		if first := isOperators(v); first && !isLogic(v) {
			kids, err := conditions("", v)
			n.op, n.kids = "element", kids
			return n, err
		}
		kid, err := compile(v.Value)
		n.op, n.kids = "elements", []node{kid}
		return n, err
	}
	return n, badValue("unknown operator: %s", op)
}

func isLogic(v bson.RawValue) bool {
	for e := range elements(v.Value) {
		return e.name == "$and" || e.name == "$or" || e.name == "$nor"
	}
	return false
}

func comparison(op, path string, v bson.RawValue) (node, error) {
	n := node{op: op, path: path, parts: strings.Split(path, "."), key: keyOf(v)}
	switch v.Type {
	case bson.TypeUndefined:
		return n, badValue("cannot compare to undefined")
	case bson.TypeRegex:
		if op != "eq" {
			return n, badValue("Can't have RegEx as arg to predicate over field '%s'.", path)
		}
		return condition(path, "$regex", v, "")
	}
	n.any = v.Type == bson.TypeMinKey || v.Type == bson.TypeMaxKey
	return n, nil
}

// numbers stands for all types of numbers.
const numbers = 200

var typeNames = map[string]byte{"double": 1, "string": 2, "object": 3, "array": 4, "binData": 5, "undefined": 6, "objectId": 7, "bool": 8,
	"date": 9, "null": 10, "regex": 11, "int": 16, "timestamp": 17, "long": 18, "decimal": 19, "number": numbers}

func typeCode(v bson.RawValue) (byte, error) {
	if v.Type == bson.TypeString {
		if t, ok := typeNames[stringOf(v)]; ok {
			return t, nil
		}
		return 0, badValue("Unknown type name alias: %s", stringOf(v))
	}
	if n, ok := intOf(v); ok && n > 0 && n < 20 {
		return byte(n), nil
	}
	return 0, badValue("Invalid numerical type code")
}

// matches reports whether a document is what the filter asks for.
func (n *node) matches(doc []byte) bool {
	switch n.op {
	case "and":
		for i := range n.kids {
			if !n.kids[i].matches(doc) {
				return false
			}
		}
		return true
	case "or", "nor":
		for i := range n.kids {
			if n.kids[i].matches(doc) {
				return n.op == "or"
			}
		}
		return n.op == "nor"
	}
	found := false
	walk(doc, n.parts, n.op != "size" && n.op != "element" && n.op != "elements", func(v bson.RawValue) bool {
		found = n.accepts(v)
		return !found
	})
	return found
}

// matchesValue is matches for an element of an array that is no document: {$elemMatch: {$gt: 5}}.
func (n *node) matchesValue(v bson.RawValue) bool {
	switch n.op {
	case "and":
		return !slices.ContainsFunc(n.kids, func(k node) bool { return !k.matchesValue(v) })
	case "or":
		return slices.ContainsFunc(n.kids, func(k node) bool { return k.matchesValue(v) })
	case "nor":
		return !slices.ContainsFunc(n.kids, func(k node) bool { return k.matchesValue(v) })
	}
	return n.accepts(v)
}

var null = string(appendKey(nil, bson.RawValue{Type: bson.TypeNull}))

// accepts decides on one value; its type is 0 if there is none.
func (n *node) accepts(v bson.RawValue) bool {
	switch n.op {
	case "exists":
		return v.Type != 0
	case "type":
		return slices.ContainsFunc(n.types, func(t byte) bool {
			return t == byte(v.Type) || t == numbers && classOf(v.Type) == 10
		}) && v.Type != 0
	case "size":
		count := int64(0)
		if v.Type != bson.TypeArray {
			return false
		}
		for range elements(v.Value) {
			count++
		}
		return count == n.size
	case "regex":
		return v.Type == bson.TypeString && n.regex.MatchString(stringOf(v))
	case "element", "elements":
		if v.Type != bson.TypeArray {
			return false
		}
		for e := range elements(v.Value) {
			if n.op == "elements" {
				if (e.value.Type == bson.TypeEmbeddedDocument || e.value.Type == bson.TypeArray) && n.kids[0].matches(e.value.Value) {
					return true
				}
			} else if !slices.ContainsFunc(n.kids, func(k node) bool { return !k.matchesValue(e.value) }) {
				return true
			}
		}
		return false
	}
	if n.op != "in" && !n.any && classOf(v.Type) != n.key[0] {
		return false
	}
	var space [64]byte
	key := string(appendKey(space[:0], v))
	switch n.op {
	case "eq":
		return key == n.key
	case "in":
		return n.keys[key]
	case "gt":
		return key > n.key
	case "gte":
		return key >= n.key
	case "lt":
		return key < n.key
	case "lte":
		return key <= n.key
	}
	return false
}

// walk visits what a path leads to, through arrays, too, until visit returns false; of an array
// at its end, with expand, the elements and then the array itself. A value of type 0 is none.
func walk(doc []byte, parts []string, expand bool, visit func(v bson.RawValue) bool) bool {
	if parts[0] == "" && len(parts) == 1 {
		return visit(bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: doc})
	}
	v, ok := field(doc, parts[0])
	if !ok {
		return visit(bson.RawValue{})
	}
	return follow(v, parts[1:], expand, visit)
}

func follow(v bson.RawValue, parts []string, expand bool, visit func(v bson.RawValue) bool) bool {
	if len(parts) == 0 {
		if v.Type == bson.TypeArray && expand {
			for e := range elements(v.Value) {
				if !visit(e.value) {
					return false
				}
			}
		}
		return visit(v)
	}
	switch v.Type {
	case bson.TypeEmbeddedDocument:
		return walk(v.Value, parts, expand, visit)
	case bson.TypeArray:
		for e := range elements(v.Value) {
			if e.value.Type == bson.TypeEmbeddedDocument && !walk(e.value.Value, parts, expand, visit) {
				return false
			}
		}
		if _, err := strconv.Atoi(parts[0]); err == nil {
			if e, ok := field(v.Value, parts[0]); ok {
				return follow(e, parts[1:], expand, visit)
			}
		}
		return true
	}
	return visit(bson.RawValue{})
}

func badValue(format string, args ...any) *failure { return fail(2, "BadValue", format, args...) }

// failure is an error as MongoDB tells it.
type failure struct {
	code    int32
	name    string
	message string
	labels  []string
	more    bson.D
}

func (f *failure) Error() string { return fmt.Sprintf("%s (%d): %s", f.name, f.code, f.message) }

func fail(code int32, name, format string, args ...any) *failure {
	return &failure{code: code, name: name, message: fmt.Sprintf(format, args...)}
}
