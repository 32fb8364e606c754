package mongotest

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// isReplacement reports whether an update is a whole document.
func isReplacement(u bson.Raw) bool {
	for e := range elements(u) {
		return !strings.HasPrefix(e.name, "$")
	}
	return true
}

// changed is a document after an update with operators.
// https://www.mongodb.com/docs/v7.0/reference/operator/update/
func changed(doc, update bson.Raw, inserting bool) (bson.Raw, error) {
	var d bson.D
	if err := bson.Unmarshal(doc, &d); err != nil {
		return nil, badValue("the document cannot be read")
	}
	for op := range elements(update) {
		if op.value.Type != bson.TypeEmbeddedDocument {
			return nil, fail(9, "FailedToParse", "Modifiers operate on fields but we found type %s instead", op.value.Type)
		}
		for e := range elements(op.value.Value) {
			var err error
			if d, err = assign(d, strings.Split(e.name, "."), op.name, e.value, inserting); err != nil {
				return nil, err
			}
		}
	}
	out, err := bson.Marshal(d)
	if err != nil {
		return nil, badValue("the result cannot be written")
	}
	return out, nil
}

func assign(d bson.D, path []string, op string, v bson.RawValue, inserting bool) (bson.D, error) {
	if op == "$setOnInsert" {
		if !inserting {
			return d, nil
		}
		op = "$set"
	}
	at := slices.IndexFunc(d, func(e bson.E) bool { return e.Key == path[0] })
	if len(path) > 1 {
		if at < 0 {
			if op == "$unset" || op == "$pull" {
				return d, nil
			}
			d = append(d, bson.E{Key: path[0], Value: bson.D{}})
			at = len(d) - 1
		}
		switch inner := d[at].Value.(type) {
		case bson.D:
			inner, err := assign(inner, path[1:], op, v, inserting)
			d[at].Value = inner
			return d, err
		case bson.A:
			i, err := strconv.Atoi(path[1])
			if err != nil || i < 0 || i >= len(inner) {
				return d, fail(28, "PathNotViable", "Cannot create field '%s' in element", path[1])
			}
			if len(path) == 2 {
				one, err := assign(bson.D{{Key: "", Value: inner[i]}}, []string{""}, op, v, inserting)
				if err == nil && len(one) == 1 {
					inner[i] = one[0].Value
				}
				return d, err
			}
			e, ok := inner[i].(bson.D)
			if !ok {
				return d, fail(28, "PathNotViable", "Cannot create field '%s' in element", path[2])
			}
			inner[i], err = assign(e, path[2:], op, v, inserting)
			return d, err
		}
		return d, fail(28, "PathNotViable", "Cannot create field '%s' in element", path[1])
	}
	var old any
	if at >= 0 {
		old = d[at].Value
	}
	var value any
	if err := v.Unmarshal(&value); err != nil {
		return d, badValue("the value of %s cannot be read", op)
	}
	set := func(value any) bson.D {
		if at < 0 {
			return append(d, bson.E{Key: path[0], Value: value})
		}
		d[at].Value = value
		return d
	}
	switch op {
	case "$set":
		return set(value), nil
	case "$unset":
		if at >= 0 {
			d = slices.Delete(d, at, at+1)
		}
		return d, nil
	case "$inc", "$mul":
		return calculate(set, old, value, op)
	case "$max", "$min":
		a, b := keyOf(valueOf(old)), keyOf(v)
		if at < 0 || op == "$max" && b > a || op == "$min" && b < a {
			return set(value), nil
		}
		return d, nil
	case "$push", "$addToSet", "$pull", "$pullAll":
		return list(set, d, at, old, op, v, value)
	case "$currentDate":
		return d, fail(9, "FailedToParse", "this MongoDB has no $currentDate")
	}
	return d, fail(9, "FailedToParse", "Unknown modifier: %s. Expected a valid update modifier or pipeline-style update specified as an array", op)
}

func calculate(set func(any) bson.D, old, by any, op string) (bson.D, error) {
	a, isA := numberOf(valueOf(old))
	b, isB := numberOf(valueOf(by))
	if old == nil {
		isA = true
	}
	if !isA || !isB {
		return nil, fail(14, "TypeMismatch", "Cannot apply %s to a value of non-numeric type", op)
	}
	x, exactX := intOf(valueOf(old))
	y, exactY := intOf(valueOf(by))
	if old == nil {
		exactX = true
	}
	if !exactX || !exactY || valueOf(by).Type == bson.TypeDouble || valueOf(old).Type == bson.TypeDouble {
		if op == "$mul" {
			return set(a * b), nil
		}
		return set(a + b), nil
	}
	sum := x + y
	if op == "$mul" {
		sum = x * y
	}
	_, long := by.(int64)
	if _, longToo := old.(int64); long || longToo || sum > math.MaxInt32 || sum < math.MinInt32 {
		return set(sum), nil
	}
	return set(int32(sum)), nil
}

func list(set func(any) bson.D, d bson.D, at int, old any, op string, v bson.RawValue, value any) (bson.D, error) {
	a, ok := old.(bson.A)
	if !ok && at >= 0 {
		return d, badValue("The field must be an array but is of type %s", valueOf(old).Type)
	}
	values := bson.A{value}
	if m, ok := value.(bson.D); ok && len(m) > 0 && strings.HasPrefix(m[0].Key, "$") {
		each, ok := m[0].Value.(bson.A)
		if m[0].Key != "$each" || !ok || len(m) > 1 || op == "$pull" {
			return d, badValue("this MongoDB has no %s in %s", m[0].Key, op)
		}
		values = each
	} else if op == "$pullAll" {
		values, _ = value.(bson.A)
	}
	same := func(x any) func(any) bool {
		k := keyOf(valueOf(x))
		return func(y any) bool { return keyOf(valueOf(y)) == k }
	}
	switch op {
	case "$push":
		return set(append(slices.Clone(a), values...)), nil
	case "$addToSet":
		a = slices.Clone(a)
		for _, x := range values {
			if !slices.ContainsFunc(a, same(x)) {
				a = append(a, x)
			}
		}
		return set(a), nil
	}
	if at < 0 {
		return d, nil
	}
	a = slices.Clone(a)
	for _, x := range values {
		a = slices.DeleteFunc(a, same(x))
	}
	return set(a), nil
}

// project gives the fields that a projection asks for.
func project(doc, projection bson.Raw) (bson.Raw, error) {
	tree, including, err := projectionOf(projection)
	if err != nil || tree == nil {
		return doc, err
	}
	return pruned(doc, tree, including, true), nil
}

type fields map[string]fields // nil: the field itself

func projectionOf(p bson.Raw) (tree fields, including bool, err error) {
	if len(p) < 6 {
		return nil, false, nil
	}
	tree = fields{}
	id, others := true, 0
	for e := range elements(p) {
		if e.value.Type == bson.TypeEmbeddedDocument || e.value.Type == bson.TypeString || e.value.Type == bson.TypeArray {
			return nil, false, fail(31254, "Location31254", "this MongoDB has no expressions in projections: %s", e.name)
		}
		if e.name == "_id" {
			id = truth(e.value)
			continue
		}
		if others++; others > 1 && truth(e.value) != including {
			return nil, false, fail(31254, "Location31254", "Cannot do exclusion on field %s in inclusion projection", e.name)
		}
		including = truth(e.value)
		at := tree
		parts := strings.Split(e.name, ".")
		for i, part := range parts {
			if i == len(parts)-1 {
				at[part] = nil
				break
			}
			if at[part] == nil {
				at[part] = fields{}
			}
			at = at[part]
		}
	}
	if others == 0 {
		including = id
	}
	if id == including {
		tree["_id"] = nil
	}
	return tree, including, nil
}

func pruned(doc []byte, tree fields, including, top bool) bson.Raw {
	return document(func(dst []byte) []byte {
		for e := range elements(doc) {
			inner, named := tree[e.name]
			switch {
			case named && inner == nil:
				if including {
					dst = appendElement(dst, e.name, e.value)
				}
			case named && e.value.Type == bson.TypeEmbeddedDocument:
				dst = appendElement(dst, e.name, bson.RawValue{Type: e.value.Type, Value: pruned(e.value.Value, inner, including, false)})
			case named && e.value.Type == bson.TypeArray:
				array := document(func(dst []byte) []byte {
					for item := range elements(e.value.Value) {
						if item.value.Type == bson.TypeEmbeddedDocument {
							item.value.Value = pruned(item.value.Value, inner, including, false)
						} else if including {
							continue
						}
						dst = appendElement(dst, item.name, item.value)
					}
					return dst
				})
				dst = appendElement(dst, e.name, bson.RawValue{Type: bson.TypeArray, Value: array})
			case !named && !including:
				dst = appendElement(dst, e.name, e.value)
			}
		}
		return dst
	})
}
