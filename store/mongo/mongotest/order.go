package mongotest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// classOf is where a type stands in the order of BSON values; types of one class are compared
// by value. https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/
func classOf(t bson.Type) byte {
	switch t {
	case bson.TypeMinKey:
		return 1
	case bson.TypeUndefined:
		return 4
	case bson.TypeNull, 0:
		return 5
	case bson.TypeDouble, bson.TypeInt32, bson.TypeInt64, bson.TypeDecimal128:
		return 10
	case bson.TypeString, bson.TypeSymbol:
		return 15
	case bson.TypeEmbeddedDocument:
		return 20
	case bson.TypeArray:
		return 25
	case bson.TypeBinary:
		return 30
	case bson.TypeObjectID:
		return 35
	case bson.TypeBoolean:
		return 40
	case bson.TypeDateTime:
		return 45
	case bson.TypeTimestamp:
		return 47
	case bson.TypeRegex:
		return 50
	case bson.TypeMaxKey:
		return 127
	}
	return 60
}

// appendKey appends bytes of a value that are in the order of BSON values, and such that none is
// the beginning of another. The zero value counts as null.
func appendKey(dst []byte, v bson.RawValue) []byte {
	dst = append(dst, classOf(v.Type))
	switch v.Type {
	case bson.TypeDouble:
		return appendNumber(dst, math.Float64frombits(binary.LittleEndian.Uint64(v.Value)), 0)
	case bson.TypeInt32:
		return appendNumber(dst, float64(int32(binary.LittleEndian.Uint32(v.Value))), 0)
	case bson.TypeInt64:
		return appendInt(dst, int64(binary.LittleEndian.Uint64(v.Value)))
	case bson.TypeString, bson.TypeSymbol:
		return appendText(dst, stringOf(v))
	case bson.TypeEmbeddedDocument, bson.TypeArray:
		for e := range elements(v.Value) {
			dst = append(dst, classOf(e.value.Type))
			if v.Type == bson.TypeEmbeddedDocument {
				dst = appendText(dst, e.name)
			}
			dst = appendKey(dst, e.value)
		}
		return append(dst, 0)
	case bson.TypeBinary:
		dst = binary.BigEndian.AppendUint32(dst, binary.LittleEndian.Uint32(v.Value))
		return append(dst, v.Value[4:]...)
	case bson.TypeDateTime:
		return binary.BigEndian.AppendUint64(dst, binary.LittleEndian.Uint64(v.Value)^1<<63)
	case bson.TypeTimestamp:
		return binary.BigEndian.AppendUint64(dst, binary.LittleEndian.Uint64(v.Value))
	case bson.TypeObjectID, bson.TypeBoolean:
		return append(dst, v.Value...)
	case bson.TypeRegex:
		pattern, options, _ := bytes.Cut(v.Value, []byte{0})
		return appendText(appendText(dst, string(pattern)), string(bytes.TrimSuffix(options, []byte{0})))
	case bson.TypeDecimal128:
		// storable refuses them in documents, so that only a filter has one.
		f, _ := numberOf(v)
		return appendNumber(dst, f, 0)
	}
	return dst
}

// appendNumber appends a double and how much more the number is, for an integer between doubles.
func appendNumber(dst []byte, f float64, more uint16) []byte {
	bits := math.Float64bits(f)
	switch {
	case f != f:
		bits = 0 // below all others
	case f == 0:
		bits = 1 << 63 // -0 is 0
	case f < 0:
		bits = ^bits
	default:
		bits |= 1 << 63
	}
	dst = binary.BigEndian.AppendUint64(dst, bits)
	return binary.BigEndian.AppendUint16(dst, more)
}

func appendInt(dst []byte, n int64) []byte {
	f := float64(n)
	if f >= 1<<63 || int64(f) > n {
		f = math.Nextafter(f, math.Inf(-1))
	}
	return appendNumber(dst, f, uint16(n-int64(f)))
}

// appendText ends with two zeros; a zero inside is followed by 255.
func appendText(dst []byte, s string) []byte {
	for i := range len(s) {
		if dst = append(dst, s[i]); s[i] == 0 {
			dst = append(dst, 0xff)
		}
	}
	return append(dst, 0, 0)
}

func keyOf(v bson.RawValue) string { return string(appendKey(nil, v)) }

// inverted turns the order of a key around.
func inverted(key []byte) {
	for i := range key {
		key[i] = ^key[i]
	}
}

func numberOf(v bson.RawValue) (float64, bool) {
	switch v.Type {
	case bson.TypeDouble:
		return math.Float64frombits(binary.LittleEndian.Uint64(v.Value)), true
	case bson.TypeInt32:
		return float64(int32(binary.LittleEndian.Uint32(v.Value))), true
	case bson.TypeInt64:
		return float64(int64(binary.LittleEndian.Uint64(v.Value))), true
	case bson.TypeDecimal128:
		var f float64
		d, ok := v.Decimal128OK()
		if !ok {
			return 0, false
		}
		_, err := fmt.Sscan(d.String(), &f)
		return f, err == nil
	}
	return 0, false
}

func intOf(v bson.RawValue) (int64, bool) {
	switch v.Type {
	case bson.TypeInt32:
		return int64(int32(binary.LittleEndian.Uint32(v.Value))), true
	case bson.TypeInt64:
		return int64(binary.LittleEndian.Uint64(v.Value)), true
	case bson.TypeDouble:
		f := math.Float64frombits(binary.LittleEndian.Uint64(v.Value))
		return int64(f), f == math.Trunc(f) && math.Abs(f) < 1<<53
	}
	return 0, false
}

// truth is what counts as true in options and projections.
func truth(v bson.RawValue) bool {
	if v.Type == bson.TypeBoolean {
		return v.Value[0] == 1
	}
	n, ok := numberOf(v)
	return ok && n != 0
}

func stringOf(v bson.RawValue) string {
	if v.Type != bson.TypeString && v.Type != bson.TypeSymbol {
		return ""
	}
	return string(v.Value[4 : len(v.Value)-1])
}
