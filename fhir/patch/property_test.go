package patch_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir/patch"
)

// text draws JSON: few names and short arrays, so that pointers meet.
func text(t *rapid.T, deep int) string {
	kinds := 4
	if deep > 0 {
		kinds = 6
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return rapid.SampledFrom([]string{"0", "1", "1.0", "10e-1", "72.50", "-0.0", "1e400"}).Draw(t, "number")
	case 1:
		return rapid.SampledFrom([]string{`""`, `"a"`, `"\u0061"`, `"\\\""`}).Draw(t, "string")
	case 2:
		return rapid.SampledFrom([]string{"true", "false", "null"}).Draw(t, "literal")
	case 3:
		return rapid.SampledFrom([]string{"{}", "[]"}).Draw(t, "empty")
	case 4:
		var members []string
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 4, rapid.ID).Draw(t, "names") {
			quoted, _ := json.Marshal(name)
			members = append(members, string(quoted)+":"+text(t, deep-1))
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	items := make([]string, rapid.IntRange(0, 3).Draw(t, "items"))
	for i := range items {
		items[i] = text(t, deep-1)
	}
	return "[" + strings.Join(items, ",") + "]"
}

var names = []string{"a", "b", "c", "0", "1", "", "x/y", "m~n", `q"\`}

var escape = strings.NewReplacer("~", "~0", "/", "~1")

// way draws a pointer that leads somewhere in v, or a little beyond.
func way(t *rapid.T, v any) string {
	p := ""
	for rapid.IntRange(0, 4).Draw(t, "on") > 0 {
		switch c := v.(type) {
		case map[string]any:
			known := slices.DeleteFunc(slices.Sorted(maps.Keys(c)), func(s string) bool { return s == "resourceType" || s == "id" })
			name := rapid.SampledFrom(append(known, "a", "new")).Draw(t, "name")
			p, v = p+"/"+escape.Replace(name), c[name]
		case []any:
			i := rapid.IntRange(0, len(c)+1).Draw(t, "index")
			if i == len(c)+1 {
				p, v = p+"/-", nil
				continue
			}
			p += "/" + strconv.Itoa(i)
			if v = nil; i < len(c) {
				v = c[i]
			}
		default:
			return p
		}
	}
	return p
}

// model applies one operation to Go values, by copying: slow, short, and written from RFC 6902.
func model(doc any, op, path, from string, v any) (any, bool) {
	switch op {
	case "add":
		return edit(doc, tokens(path), func(c any, key string) (any, bool) {
			switch c := c.(type) {
			case nil:
				return v, true
			case map[string]any:
				c = maps.Clone(c)
				c[key] = v
				return c, true
			case []any:
				i, ok := at(key, len(c)+1)
				if key == "-" {
					i, ok = len(c), true
				}
				if !ok {
					return nil, false
				}
				return slices.Insert(slices.Clone(c), i, v), true
			}
			return nil, false
		})
	case "remove":
		if path == "" {
			return nil, false
		}
		return edit(doc, tokens(path), func(c any, key string) (any, bool) {
			switch c := c.(type) {
			case map[string]any:
				_, ok := c[key]
				c = maps.Clone(c)
				delete(c, key)
				return c, ok
			case []any:
				i, ok := at(key, len(c))
				if !ok {
					return nil, false
				}
				return slices.Delete(slices.Clone(c), i, i+1), true
			}
			return nil, false
		})
	case "replace":
		if path == "" {
			return v, true
		}
		if _, ok := look(doc, tokens(path)); !ok {
			return nil, false
		}
		ts := tokens(path)
		if above, _ := look(doc, ts[:len(ts)-1]); isArray(above) {
			if doc, ok := model(doc, "remove", path, "", nil); ok {
				return model(doc, "add", path, "", v)
			}
			return nil, false
		}
		return model(doc, "add", path, "", v)
	case "test":
		got, ok := look(doc, tokens(path))
		return doc, ok && same(got, v)
	}
	source, ok := look(doc, tokens(from))
	if !ok {
		return nil, false
	}
	if op == "move" {
		if strings.HasPrefix(path, from+"/") {
			return nil, false
		}
		if path == from {
			return doc, true
		}
		if path == "" {
			return source, true
		}
		if doc, ok = model(doc, "remove", from, "", nil); !ok {
			return nil, false
		}
	}
	return model(doc, "add", path, "", source)
}

func isArray(v any) bool { _, ok := v.([]any); return ok }

func tokens(path string) []string {
	if path == "" {
		return nil
	}
	all := strings.Split(path[1:], "/")
	for i := range all {
		all[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(all[i])
	}
	return all
}

func at(key string, length int) (int, bool) {
	i, err := strconv.Atoi(key)
	return i, err == nil && strconv.Itoa(i) == key && i >= 0 && i < length
}

func look(v any, tokens []string) (any, bool) {
	for _, key := range tokens {
		switch c := v.(type) {
		case map[string]any:
			inner, ok := c[key]
			if !ok {
				return nil, false
			}
			v = inner
		case []any:
			i, ok := at(key, len(c))
			if !ok {
				return nil, false
			}
			v = c[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// edit changes the container of the last token; without tokens the change is of nil.
func edit(v any, tokens []string, change func(any, string) (any, bool)) (any, bool) {
	if len(tokens) == 0 {
		return change(nil, "")
	}
	if len(tokens) == 1 {
		if v == nil {
			return nil, false
		}
		return change(v, tokens[0])
	}
	inner, ok := look(v, tokens[:1])
	if !ok {
		return nil, false
	}
	if inner, ok = edit(inner, tokens[1:], change); !ok {
		return nil, false
	}
	switch c := v.(type) {
	case map[string]any:
		c = maps.Clone(c)
		c[tokens[0]] = inner
		return c, true
	case []any:
		i, _ := at(tokens[0], len(c))
		c = slices.Clone(c)
		c[i] = inner
		return c, true
	}
	return nil, false
}

// same compares numbers by value.
func same(a, b any) bool {
	return cmp.Equal(a, b, cmp.Comparer(func(x, y json.Number) bool {
		return exact(string(x)) == exact(string(y))
	}))
}

// exact is a name for the value of each number that text draws.
func exact(s string) string {
	switch s {
	case "1.0", "10e-1":
		return "1"
	case "-0.0":
		return "0"
	}
	return s
}

func decoded(t *rapid.T, s string) (v any) {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return v
}

// A JSON Patch does what a model does that shares nothing with it, and keeps the text of numbers.
func TestJSONPatchAgreesWithAModel(t *testing.T) {
	applied := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		resource := `{"resourceType":"Basic","id":"i","a":` + text(t, 3) + `,"b":` + text(t, 3) + `}`
		want, ok := decoded(t, resource), true
		var operations, done []string
		for draws := rapid.IntRange(1, 20).Draw(t, "draws"); ok && draws > 0; draws-- {
			op := rapid.SampledFrom([]string{"add", "remove", "replace", "move", "copy", "test"}).Draw(t, "op")
			path, from, v := way(t, want), way(t, want), text(t, 2)
			if there, found := look(want, tokens(path)); op == "test" && found && rapid.Bool().Draw(t, "true") {
				b, _ := json.Marshal(there)
				v = string(b)
			}
			next, fits := model(want, op, path, from, decoded(t, v))
			if m, is := next.(map[string]any); !fits || !is || m["resourceType"] != "Basic" {
				if draws > 1 {
					continue // what is refused ends a patch: most of them should get further
				}
				ok = false
			}
			b, _ := json.Marshal(map[string]any{"op": op, "path": path, "from": from, "value": json.RawMessage(v)})
			operations = append(operations, string(b))
			want, done = next, append(done, op)
		}
		got, err := patch.JSON([]byte(resource), []byte("["+strings.Join(operations, ",")+"]"))
		if ok != (err == nil) {
			t.Fatalf("%s\n%s\nerror %v, model %v", resource, operations, err, ok)
		}
		if err != nil {
			return
		}
		for _, op := range done {
			applied[op]++
		}
		if diff := cmp.Diff(want, decoded(t, string(got))); diff != "" {
			t.Fatalf("%s\n%s\n%s", resource, operations, diff)
		}
	})
	for _, op := range []string{"add", "remove", "replace", "move", "copy", "test"} {
		if applied[op] == 0 {
			t.Errorf("%s was never applied: %v", op, applied)
		}
	}
}

// What an operation of a FHIRPath Patch did, its inverse undoes to the byte.
func TestInverseOperationsGiveTheResourceBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		given := make([]string, rapid.IntRange(2, 6).Draw(t, "given"))
		ids := make([]string, len(given))
		for i := range given {
			given[i], ids[i] = strconv.Quote(strconv.Itoa(i)), "null"
			if rapid.Bool().Draw(t, "id") {
				ids[i] = fmt.Sprintf(`{"id":"i%d"}`, i)
			}
		}
		aside := ""
		if slices.ContainsFunc(ids, func(s string) bool { return s != "null" }) {
			aside = `,"_given":[` + strings.Join(ids, ",") + `]`
		}
		resource := `{"resourceType":"Patient","name":[{"given":[` + strings.Join(given, ",") + `]` + aside + `}],"multipleBirthInteger":2}`
		i := rapid.IntRange(0, len(given)-1).Draw(t, "source")
		j := rapid.IntRange(0, len(given)-1).Draw(t, "destination")
		const list = "Patient.name[0].given"
		value := `{"name":"value","valueString":"new"}`
		for _, pair := range [][2][]byte{
			{operation("move", list, number("source", strconv.Itoa(i)), number("destination", strconv.Itoa(j))),
				operation("move", list, number("source", strconv.Itoa(j)), number("destination", strconv.Itoa(i)))},
			{operation("insert", list, number("index", strconv.Itoa(i)), value), operation("delete", fmt.Sprintf("%s[%d]", list, i))},
			{operation("add", "Patient.name[0]", named("given"), value), operation("delete", list+".last()")},
			{operation("add", "Patient", named("gender"), `{"name":"value","valueCode":"male"}`), operation("delete", "Patient.gender")},
			{operation("add", "Patient", named("maritalStatus"), `{"name":"value","valueCodeableConcept":{"text":"x"}}`), operation("delete", "Patient.maritalStatus.text")},
			{operation("replace", "Patient.multipleBirth", `{"name":"value","valueBoolean":true}`), operation("replace", "Patient.multipleBirth", number("value", "2"))},
		} {
			there, err := patch.FHIRPath([]byte(resource), pair[0])
			if err != nil {
				t.Fatalf("%s\n%s: %v", resource, pair[0], err)
			}
			back, err := patch.FHIRPath(there, pair[1])
			if err != nil {
				t.Fatalf("%s\n%s: %v", there, pair[1], err)
			}
			if string(back) != resource {
				t.Fatalf("\nfrom %s\n via %s\n  to %s", resource, there, back)
			}
		}
	})
}
