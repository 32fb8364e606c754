package layout

import (
	"encoding/binary"
	"math"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Writing BSON by hand costs a fifth of what the driver takes to find out what is what.
// https://bsonspec.org/spec.html

func appendName(dst []byte, t bson.Type, name string) []byte {
	return append(append(append(dst, byte(t)), name...), 0)
}

func appendString(dst []byte, name, value string) []byte {
	dst = appendName(dst, bson.TypeString, name)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(value)+1))
	return append(append(dst, value...), 0)
}

func appendInt64(dst []byte, name string, n int64) []byte {
	return binary.LittleEndian.AppendUint64(appendName(dst, bson.TypeInt64, name), uint64(n))
}

func appendDateTime(dst []byte, name string, millis int64) []byte {
	return binary.LittleEndian.AppendUint64(appendName(dst, bson.TypeDateTime, name), uint64(millis))
}

func appendDouble(dst []byte, name string, f float64) []byte {
	return binary.LittleEndian.AppendUint64(appendName(dst, bson.TypeDouble, name), math.Float64bits(f))
}

func appendTrue(dst []byte, name string) []byte {
	return append(appendName(dst, bson.TypeBoolean, name), 1)
}

func appendBinary(dst []byte, name string, data []byte) []byte {
	dst = appendName(dst, bson.TypeBinary, name)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(data)))
	return append(append(dst, bson.TypeBinaryGeneric), data...)
}

// open begins a document; close, given where it began, ends it.
func open(dst []byte) []byte { return append(dst, 0, 0, 0, 0) }

func closed(dst []byte, start int) []byte {
	dst = append(dst, 0)
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start))
	return dst
}

// array is a field that is written item by item. It is there only if it has items.
type array struct {
	dst          []byte
	begin, start int
	items        int
	full         bool
}

func openArray(dst []byte, name string) array {
	a := array{begin: len(dst)}
	dst = appendName(dst, bson.TypeArray, name)
	a.start = len(dst)
	a.dst = open(dst)
	return a
}

// next begins an item; it is false if there is no room for it.
func (a *array) next(t bson.Type) bool {
	if a.full = a.full || a.items >= maxEntries || len(a.dst)-a.start > maxBytes; a.full {
		return false
	}
	a.dst = append(a.dst, byte(t))
	a.dst = append(strconv.AppendInt(a.dst, int64(a.items), 10), 0)
	a.items++
	return true
}

// text begins a text; end, given where, ends it.
func (a *array) text() (start int, ok bool) {
	if !a.next(bson.TypeString) {
		return 0, false
	}
	start = len(a.dst)
	a.dst = append(a.dst, 0, 0, 0, 0)
	return start, true
}

func (a *array) end(start int) {
	a.dst = append(a.dst, 0)
	binary.LittleEndian.PutUint32(a.dst[start:], uint32(len(a.dst)-start-4))
}

// close ends the array, or takes it away if it has no items.
func (a *array) close() []byte {
	if a.items == 0 {
		return a.dst[:a.begin]
	}
	return closed(a.dst, a.start)
}
