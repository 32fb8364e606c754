package embedded

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"strings"
	"time"

	"github.com/cockroachdb/apd/v3"
)

// The first byte of every key. The package comment has the whole table.
const (
	metaKey     = 'm'
	currentKey  = 'c'
	earlierKey  = 'h'
	countKey    = 'n'
	dateKey     = 'd'
	equalKey    = 'e'
	quantityKey = 'q'
	textKey     = 's'
	updatedKey  = 'u'
	pastKey     = 'v'
	journalKey  = 'j'

	definitionKey = 'k'
	seriesKey     = 'l'
	memberKey     = 'p'
	recordKey     = 'r'
)

// The kinds of index keys: everything that is derived from the versions. Those of termKinds
// depend on the search parameters, and there may be two generations of them.
var (
	indexKinds = []byte{countKey, updatedKey, pastKey, memberKey}
	termKinds  = []byte{dateKey, equalKey, quantityKey, textKey}
)

// generation tells which of two sets of keys an index of terms is. Its bit is set in the
// kinds of its keys.
type generation byte

const (
	lowerCase generation = 0
	upperCase generation = 0x20
)

func (g generation) other() generation { return g ^ upperCase }

// kind is the first byte of keys of the generation.
func (g generation) kind(kind byte) byte { return kind ^ byte(g) }

// isIndex reports whether a key is only ever read as one of a range.
func isIndex(key []byte) bool {
	if len(key) == 0 {
		return false
	}
	switch key[0] | byte(upperCase) { // of either generation
	case dateKey, equalKey, quantityKey, textKey, updatedKey, pastKey, memberKey, seriesKey:
		return true
	}
	return false
}

// A resource stands in one of two places of an index that ends in a date or a number:
// the short ones lie within shortSpan of their low edge, so that a range finds them
// without looking far; the long ones may reach anywhere.
const (
	short = 0
	long  = 1
)

// shortSpan makes a date without a time of day short.
const shortSpan = 24 * time.Hour

const (
	dateLen    = 9 // bytes of a date in a key
	updatedLen = 8 // bytes of lastUpdated in a key
	floatLen   = 8 // bytes of a number in a key
	versionLen = 8 // bytes of a version in a key
	numberLen  = 8 // bytes of the number of a series in a key

	// maxTerm is how much of a value an index key holds. What is longer is cut and
	// told apart by its hash; the resource decides in the end.
	maxTerm = 128
)

// appendName appends a resource type, a parameter or a shelf of keys: never a zero byte in it.
func appendName(dst []byte, name string) []byte {
	return append(append(dst, name...), 0)
}

// appendText appends any string so that the order of keys is the order of strings and
// no string is the beginning of another.
func appendText(dst []byte, s string) []byte {
	for {
		i := strings.IndexByte(s, 0)
		if i < 0 {
			break
		}
		dst = append(append(dst, s[:i]...), 0, 0xff)
		s = s[i+1:]
	}
	return append(append(dst, s...), 0, 1)
}

// cutText reads what appendText wrote and returns what follows it.
func cutText(src []byte) (s string, rest []byte, ok bool) {
	var b []byte
	for {
		i := bytes.IndexByte(src, 0)
		if i < 0 || i+1 >= len(src) {
			return "", nil, false
		}
		b = append(b, src[:i]...)
		switch src[i+1] {
		case 1:
			return string(b), src[i+2:], true
		case 0xff:
			b, src = append(b, 0), src[i+2:]
		default:
			return "", nil, false
		}
	}
}

// appendPrefix appends a text so that the keys of all texts that begin with it begin with it.
func appendPrefix(dst []byte, s string) []byte {
	dst = appendText(dst, s)
	return dst[:len(dst)-2]
}

// maxText is how much of a text that is searched by its beginning an index key holds.
const maxText = 128

func cutAt(s string, n int) string { return s[:min(len(s), n)] }

// textLen is the length of what appendText wrote at the beginning of src, -1 if it did not.
// A zero byte in it is followed by 0xff, its end is not.
func textLen(src []byte) int {
	for n := 0; ; {
		i := bytes.IndexByte(src[n:], 0)
		if i < 0 || n+i+1 >= len(src) {
			return -1
		}
		n += i + 2
		switch src[n-1] {
		case 1:
			return n
		case 0xff:
		default:
			return -1
		}
	}
}

// appendTerm appends a value that is only ever compared for equality.
func appendTerm(dst []byte, s string) []byte {
	if len(s) > maxTerm {
		sum := sha256.Sum256([]byte(s))
		s = s[:maxTerm-len(sum)] + string(sum[:])
	}
	return appendText(dst, s)
}

// year1 is the seconds from the zero time to 1970.
const year1 = 62135596800

// appendDate appends a time so that the newest comes first. The zero time, which is no
// date, comes last.
func appendDate(dst []byte, t time.Time) []byte {
	seconds := uint64(max(0, t.Unix()+year1))
	var b [12]byte
	binary.BigEndian.PutUint64(b[:], ^seconds)
	binary.BigEndian.PutUint32(b[8:], ^uint32(t.Nanosecond()))
	return append(dst, b[12-dateLen:]...)
}

// dateOf reads what appendDate wrote.
func dateOf(src []byte) time.Time {
	var b [12]byte
	for i := range b[:12-dateLen] {
		b[i] = 0xff
	}
	copy(b[12-dateLen:], src[:dateLen])
	seconds, nanos := ^binary.BigEndian.Uint64(b[:]), ^binary.BigEndian.Uint32(b[8:])
	return time.Unix(int64(seconds)-year1, int64(nanos)).UTC()
}

// appendUpdated appends a time in milliseconds so that the newest comes first.
func appendUpdated(dst []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(dst, ^(uint64(t.UnixMilli()) ^ 1<<63))
}

func updatedOf(src []byte) time.Time {
	return time.UnixMilli(int64(^binary.BigEndian.Uint64(src) ^ 1<<63)).UTC()
}

// appendFloat appends a number so that the smallest comes first.
func appendFloat(dst []byte, f float64) []byte {
	bits := math.Float64bits(f)
	if bits>>63 == 1 {
		bits = ^bits
	} else {
		bits |= 1 << 63
	}
	return binary.BigEndian.AppendUint64(dst, bits)
}

// below and above are the nearest float64 that are certainly not more and not less than d.
func below(d *apd.Decimal) float64 { return math.Nextafter(float(d), math.Inf(-1)) }
func above(d *apd.Decimal) float64 { return math.Nextafter(float(d), math.Inf(1)) }

// float is d, or infinite where float64 ends.
func float(d *apd.Decimal) float64 {
	f, _ := d.Float64() // an error tells that f is infinite
	if math.IsNaN(f) {
		return 0
	}
	return f
}

// after is the first key that does not begin with prefix.
func after(prefix []byte) []byte {
	next := bytes.Clone(prefix)
	for i := len(next) - 1; i >= 0; i-- {
		next[i]++
		if next[i] != 0 {
			return next[:i+1]
		}
	}
	return nil
}

func currentPrefix(resourceType string) []byte {
	return appendName([]byte{currentKey}, resourceType)
}

func appendCurrent(dst []byte, resourceType, id string) []byte {
	return append(appendName(append(dst, currentKey), resourceType), id...)
}

func appendEarlierPrefix(dst []byte, resourceType, id string) []byte {
	return appendName(appendName(append(dst, earlierKey), resourceType), id)
}

func appendEarlier(dst []byte, resourceType, id string, version uint64) []byte {
	return binary.BigEndian.AppendUint64(appendEarlierPrefix(dst, resourceType, id), ^version)
}

func appendPast(dst []byte, resourceType, id string, version uint64, lastUpdated time.Time) []byte {
	dst = appendUpdated(appendName(append(dst, pastKey), resourceType), lastUpdated)
	return binary.BigEndian.AppendUint64(appendName(dst, id), ^version)
}

// appendDefinition is the key of the definition of a series.
func appendDefinition(dst []byte, number uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, definitionKey), number)
}

// appendSeriesOf is the beginning of the keys of the series of a patient; the number follows.
func appendSeriesOf(dst []byte, resourceType, patient string) []byte {
	return appendTerm(appendName(append(dst, seriesKey), resourceType), patient)
}

// numberIn reads the number of a series that is all of src.
func numberIn(src []byte) (uint64, bool) {
	if len(src) != numberLen {
		return 0, false
	}
	return binary.BigEndian.Uint64(src), true
}

// appendSeries is the beginning of the keys of one kind of a series; the date and the id follow.
func appendSeries(dst []byte, kind byte, number uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, kind), number)
}

func appendRecordKey(dst []byte, at location, id string) []byte {
	return append(append(appendSeries(dst, recordKey, at.series), at.date[:]...), id...)
}

func countOf(resourceType string) []byte { return append([]byte{countKey}, resourceType...) }

func journalPrefix(shelf string) []byte { return appendText([]byte{journalKey}, shelf) }
