package mongotest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/btree"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// record is one state of a document. It does not change.
type record struct {
	number int64 // of the document: the natural order
	key    string
	doc    bson.Raw
}

// collection has documents and indexes, in trees of which a copy costs nothing.
type collection struct {
	ns      string
	records *btree.BTreeG[*record]
	byID    *btree.Map[string, *record]
	indexes []*index
}

type index struct {
	name           string
	spec           bson.Raw
	pattern        []sortField
	unique, sparse bool
	partial        *node
	partialText    bson.Raw
	entries        *btree.BTreeG[entry]
	// multikey has the fields of the pattern of which a document has, or had, an array.
	multikey []bool
}

// entry is a key of an index: the values, each as appendKey has it, inverted where the field
// descends, and the number of the document.
type entry struct {
	key    string
	ends   []int32 // of the values in key
	record *record
}

type indexKey struct {
	text string
	ends []int32
}

type sortField struct {
	path  string
	parts []string
	down  bool
}

func newCollection(ns string) *collection {
	return &collection{
		ns:      ns,
		records: btree.NewBTreeGOptions(func(a, b *record) bool { return a.number < b.number }, btree.Options{NoLocks: true}),
		byID:    &btree.Map[string, *record]{},
		indexes: []*index{newIndex("_id_", bson.Raw{}, []sortField{{path: "_id", parts: []string{"_id"}}})},
	}
}

func newIndex(name string, spec bson.Raw, pattern []sortField) *index {
	less := func(a, b entry) bool {
		if c := cmp.Compare(a.key, b.key); c != 0 {
			return c < 0
		}
		return a.record.number < b.record.number
	}
	return &index{name: name, spec: spec, pattern: pattern, multikey: make([]bool, len(pattern)),
		entries: btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})}
}

// copy is the collection as it is now.
func (c *collection) copy() *collection {
	d := &collection{ns: c.ns, records: c.records.Copy(), byID: c.byID.Copy()}
	for _, x := range c.indexes {
		y := *x
		y.entries, y.multikey = x.entries.Copy(), slices.Clone(x.multikey)
		d.indexes = append(d.indexes, &y)
	}
	return d
}

// patternOf reads {field: 1, other: -1}.
func patternOf(spec bson.Raw) ([]sortField, error) {
	var all []sortField
	for e := range elements(spec) {
		n, ok := numberOf(e.value)
		if !ok || n == 0 {
			return nil, fail(67, "CannotCreateIndex", "this MongoDB has no indexes or sorts but by 1 and -1: %s", e.name)
		}
		all = append(all, sortField{e.name, strings.Split(e.name, "."), n < 0})
	}
	if len(all) == 0 || len(all) > 32 {
		return nil, badValue("Index keys and sorts have 1 to 32 fields")
	}
	return all, nil
}

// keysOf are the keys of a document for a pattern, in order and each once, and of which fields it
// has an array. https://www.mongodb.com/docs/manual/core/indexes/index-types/index-multikey/
func keysOf(doc []byte, pattern []sortField) (keys []indexKey, arrays []bool, err error) {
	states := make([]keyState, len(pattern))
	for i, f := range pattern {
		states[i] = keyState{value: bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: doc}, rest: f.parts}
	}
	arrays = make([]bool, len(pattern))
	if err := expandKeys(states, pattern, arrays, func(key indexKey) { keys = append(keys, key) }); err != nil {
		return nil, nil, err
	}
	if len(keys) == 1 {
		return keys, arrays, nil
	}
	slices.SortFunc(keys, func(a, b indexKey) int { return strings.Compare(a.text, b.text) })
	return slices.CompactFunc(keys, func(a, b indexKey) bool { return a.text == b.text }), arrays, nil
}

// keyState is how far the value of one field of a pattern is found.
type keyState struct {
	value bson.RawValue
	rest  []string
	done  bool
}

func expandKeys(states []keyState, pattern []sortField, arrays []bool, add func(key indexKey)) error {
	// The array that must be expanded next, and the fields that lead into it.
	var array bson.RawValue
	into := -1
	var here []int
	for i := range states {
		s := &states[i]
		for !s.done && s.value.Type != bson.TypeArray {
			if len(s.rest) == 0 {
				s.done = true
			} else if s.value.Type != bson.TypeEmbeddedDocument {
				s.value, s.done = bson.RawValue{}, true
			} else {
				s.value, _ = field(s.value.Value, s.rest[0])
				s.rest = s.rest[1:]
			}
		}
		if s.done {
			continue
		}
		if into >= 0 && &array.Value[0] != &s.value.Value[0] {
			return fail(171, "CannotIndexParallelArrays", "cannot index parallel arrays [%s] [%s]", last(pattern[i].parts), last(pattern[into].parts))
		}
		array, into = s.value, i
		here = append(here, i)
		arrays[i] = true
	}
	if into < 0 {
		var key []byte
		ends := make([]int32, len(states))
		for i, s := range states {
			from := len(key)
			if key = appendKey(key, s.value); pattern[i].down {
				inverted(key[from:])
			}
			ends[i] = int32(len(key))
		}
		add(indexKey{string(key), ends})
		return nil
	}
	empty := true
	for e := range elements(array.Value) {
		empty = false
		next := slices.Clone(states)
		for _, i := range here {
			if len(states[i].rest) == 0 {
				next[i] = keyState{value: e.value, done: true}
			} else if e.value.Type == bson.TypeArray {
				next[i] = keyState{done: true} // arrays within arrays are not followed
			} else {
				next[i].value = e.value
			}
		}
		if err := expandKeys(next, pattern, arrays, add); err != nil {
			return err
		}
	}
	if empty {
		next := slices.Clone(states)
		for _, i := range here {
			next[i] = keyState{done: true}
			if len(states[i].rest) == 0 {
				next[i].value.Type = bson.TypeUndefined
			}
		}
		return expandKeys(next, pattern, arrays, add)
	}
	return nil
}

func last(parts []string) string { return parts[len(parts)-1] }

// keys are those of a document in the index; none if it is not in it.
func (x *index) keys(doc []byte) ([]indexKey, []bool, error) {
	if x.partial != nil && !x.partial.matches(doc) {
		return nil, nil, nil
	}
	if x.sparse {
		found := false
		for _, f := range x.pattern {
			walk(doc, f.parts, false, func(v bson.RawValue) bool { found = found || v.Type != 0; return !found })
		}
		if !found {
			return nil, nil, nil
		}
	}
	return keysOf(doc, x.pattern)
}

// holder is another document that has a key of a unique index.
func (x *index) holder(key string, number int64) *record {
	var other *record
	x.entries.Ascend(entry{key: key, record: &record{}}, func(e entry) bool {
		if e.key == key && e.record.number != number {
			other = e.record
		}
		return e.key == key && other == nil
	})
	return other
}

// apply replaces old, which may be nil, by new, which may be nil. What it would make of the
// indexes was looked at by conflicts before.
func (c *collection) apply(old, new *record) {
	if old != nil {
		c.records.Delete(old)
		c.byID.Delete(old.key)
		for _, x := range c.indexes {
			keys, _, _ := x.keys(old.doc)
			for _, k := range keys {
				x.entries.Delete(entry{key: k.text, record: old})
			}
		}
	}
	if new == nil {
		return
	}
	c.records.Set(new)
	c.byID.Set(new.key, new)
	for _, x := range c.indexes {
		keys, arrays, _ := x.keys(new.doc)
		for _, k := range keys {
			x.entries.Set(entry{k.text, k.ends, new})
		}
		for i := range arrays {
			x.multikey[i] = x.multikey[i] || arrays[i]
		}
	}
}

// duplicate is the error that the key of a document in a unique index is another's.
func (c *collection) duplicate(x *index, doc []byte) *failure {
	var text strings.Builder
	pattern, value := bson.D{}, bson.D{}
	for i, f := range x.pattern {
		var v bson.RawValue
		walk(doc, f.parts, false, func(found bson.RawValue) bool { v = found; return false })
		if v.Type == 0 {
			v.Type = bson.TypeNull
		}
		if i > 0 {
			text.WriteString(", ")
		}
		fmt.Fprintf(&text, "%s: %s", f.path, v)
		pattern, value = append(pattern, bson.E{Key: f.path, Value: direction(f)}), append(value, bson.E{Key: f.path, Value: v})
	}
	f := fail(11000, "DuplicateKey", "E11000 duplicate key error collection: %s index: %s dup key: { %s }", c.ns, x.name, text.String())
	f.more = bson.D{{Key: "keyPattern", Value: pattern}, {Key: "keyValue", Value: value}}
	return f
}

func direction(f sortField) int32 {
	if f.down {
		return -1
	}
	return 1
}

// stored is a document as it is kept: with _id in front, and checked.
func stored(doc bson.Raw) (bson.Raw, string, error) {
	id, ok := field(doc, "_id")
	if !ok {
		id = valueOf(bson.NewObjectID())
	}
	if id.Type == bson.TypeArray || id.Type == bson.TypeRegex || id.Type == bson.TypeUndefined {
		return nil, "", fail(53, "InvalidIdField", "The '_id' value cannot be of type %s", id.Type)
	}
	if err := storable(doc); err != nil {
		return nil, "", err
	}
	first := false
	for e := range elements(doc) {
		first = e.name == "_id"
		break
	}
	if first {
		doc = slices.Clone(doc)
	} else {
		doc = document(func(dst []byte) []byte {
			dst = appendElement(dst, "_id", id)
			for e := range elements(doc) {
				if e.name != "_id" {
					dst = appendElement(dst, e.name, e.value)
				}
			}
			return dst
		})
	}
	if err := fits(doc, 2, "BadValue", "object to insert too large. size in bytes: %d, max size: %d"); err != nil {
		return nil, "", err
	}
	return doc, keyOf(id), nil
}

// fits refuses what is too large: with a code that is of the operation if it is by less than
// MongoDB needs for itself, and else with the same one for all.
func fits(doc bson.Raw, code int32, name, format string) error {
	switch {
	case len(doc) > maxDocument+16<<10:
		return fail(10334, "BSONObjectTooLarge", "BSONObj size: %d is invalid. Size must be between 0 and %d(16MB)", len(doc), maxDocument+16<<10)
	case len(doc) > maxDocument:
		return fail(code, name, format, len(doc), maxDocument)
	}
	return nil
}

func storable(doc []byte) error {
	for e := range elements(doc) {
		switch e.value.Type {
		case bson.TypeDecimal128:
			return badValue("this MongoDB cannot keep Decimal128: %s", e.name)
		case bson.TypeEmbeddedDocument, bson.TypeArray:
			if err := storable(e.value.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

// sortKey is where a document stands in the order of a pattern.
func sortKey(doc []byte, pattern []sortField) (string, error) {
	keys, _, err := keysOf(doc, pattern)
	if err != nil {
		return "", badValue("cannot sort with keys that are parallel arrays")
	}
	return keys[0].text, nil
}
