package mongotest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"iter"

	"go.mongodb.org/mongo-driver/v2/bson"
)

const (
	maxDocument = 16 << 20
	maxDepth    = 180
)

type element struct {
	name  string
	value bson.RawValue
}

var errBSON = errors.New("this is not valid BSON")

// check tells whether bytes are one valid document, so that elements need not look again.
func check(doc []byte, depth int) error {
	if depth > maxDepth || len(doc) < 5 || uint64(binary.LittleEndian.Uint32(doc)) != uint64(len(doc)) || doc[len(doc)-1] != 0 {
		return errBSON
	}
	rest := doc[4 : len(doc)-1]
	for len(rest) > 0 {
		t := bson.Type(rest[0])
		end := bytes.IndexByte(rest[1:], 0)
		if end < 0 {
			return errBSON
		}
		rest = rest[end+2:]
		n, ok := size(t, rest)
		if !ok || n > len(rest) {
			return errBSON
		}
		value := rest[:n]
		rest = rest[n:]
		switch t {
		case bson.TypeEmbeddedDocument, bson.TypeArray:
			if err := check(value, depth+1); err != nil {
				return err
			}
		case bson.TypeString, bson.TypeJavaScript, bson.TypeSymbol:
			if value[n-1] != 0 {
				return errBSON
			}
		case bson.TypeBoolean:
			if value[0] > 1 {
				return errBSON
			}
		}
	}
	return nil
}

// size is how many bytes of b the value of a type has.
func size(t bson.Type, b []byte) (int, bool) {
	prefixed := func(more uint64, least uint64) (int, bool) {
		if len(b) < 4 {
			return 0, false
		}
		n := uint64(binary.LittleEndian.Uint32(b))
		if n < least || n+more > uint64(len(b)) {
			return 0, false
		}
		return int(n + more), true
	}
	switch t {
	case bson.TypeDouble, bson.TypeDateTime, bson.TypeTimestamp, bson.TypeInt64:
		return 8, true
	case bson.TypeInt32:
		return 4, true
	case bson.TypeDecimal128:
		return 16, true
	case bson.TypeObjectID:
		return 12, true
	case bson.TypeBoolean:
		return 1, true
	case bson.TypeNull, bson.TypeUndefined, bson.TypeMinKey, bson.TypeMaxKey:
		return 0, true
	case bson.TypeString, bson.TypeJavaScript, bson.TypeSymbol:
		return prefixed(4, 1)
	case bson.TypeEmbeddedDocument, bson.TypeArray:
		return prefixed(0, 5)
	case bson.TypeBinary:
		return prefixed(5, 0)
	case bson.TypeRegex:
		first := bytes.IndexByte(b, 0)
		if first < 0 {
			return 0, false
		}
		second := bytes.IndexByte(b[first+1:], 0)
		return first + second + 2, second >= 0
	}
	return 0, false
}

// elements are those of a document that check has found valid.
func elements(doc []byte) iter.Seq[element] {
	return func(yield func(element) bool) {
		if len(doc) < 5 {
			return
		}
		rest := doc[4 : len(doc)-1]
		for len(rest) > 0 {
			t := bson.Type(rest[0])
			end := bytes.IndexByte(rest[1:], 0) + 1
			name := string(rest[1:end])
			rest = rest[end+1:]
			n, _ := size(t, rest)
			if !yield(element{name, bson.RawValue{Type: t, Value: rest[:n:n]}}) {
				return
			}
			rest = rest[n:]
		}
	}
}

// field is an element of a document that check has found valid.
func field(doc []byte, name string) (bson.RawValue, bool) {
	if len(doc) < 5 {
		return bson.RawValue{}, false
	}
	rest := doc[4 : len(doc)-1]
	for len(rest) > 0 {
		t := bson.Type(rest[0])
		end := bytes.IndexByte(rest[1:], 0) + 1
		found := string(rest[1:end]) == name
		rest = rest[end+1:]
		n, _ := size(t, rest)
		if found {
			return bson.RawValue{Type: t, Value: rest[:n:n]}, true
		}
		rest = rest[n:]
	}
	return bson.RawValue{}, false
}

func appendElement(dst []byte, name string, v bson.RawValue) []byte {
	dst = append(dst, byte(v.Type))
	dst = append(append(dst, name...), 0)
	return append(dst, v.Value...)
}

// document is one of the elements that build appends.
func document(build func(dst []byte) []byte) bson.Raw {
	dst := build(make([]byte, 4, 256))
	dst = append(dst, 0)
	binary.LittleEndian.PutUint32(dst, uint32(len(dst)))
	return dst
}

// valueOf is a Go value as BSON.
func valueOf(v any) bson.RawValue {
	if r, ok := v.(bson.RawValue); ok {
		return r
	}
	t, b, err := bson.MarshalValue(v)
	if err != nil {
		return bson.RawValue{Type: bson.TypeNull}
	}
	return bson.RawValue{Type: t, Value: b}
}
