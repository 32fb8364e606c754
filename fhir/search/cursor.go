package search

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/kiln-health/kiln/fhir"
)

const (
	cursorVersion = 1
	bindingLength = 8
	maxCursor     = 256 // characters: the longest has 130
)

// Encode is c as an opaque text for URLs, bound to the conditions and the order of q: the
// page size may change from page to page, nothing else.
func (c Cursor) Encode(q Query) string {
	b := append([]byte{cursorVersion}, q.binding()...)
	if q.sortedBy("date") {
		b = appendTime(b, c.Date)
	}
	if q.sortedBy("_lastUpdated") {
		b = appendTime(b, c.LastUpdated)
	}
	return base64.RawURLEncoding.EncodeToString(append(b, c.ID...))
}

// DecodeCursor reads a cursor of q. A text that is none, or one of another query, is an
// *Error to be answered with status 400.
func DecodeCursor(text string, q Query) (Cursor, error) {
	bad := func(why string) (Cursor, error) {
		return Cursor{}, fhir.Errorf(fhir.CodeInvalid, CursorParam, "%s", why).
			WithFix("follow the links of the first page without changing them").WithSpec("http://hl7.org/fhir/R4/http.html#paging")
	}
	if len(text) > maxCursor {
		return bad("the cursor is too long")
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	// The decoder passes over line ends. One place has one text.
	if err != nil || strings.ContainsAny(text, "\r\n") || len(b) < 1+bindingLength || b[0] != cursorVersion {
		return bad("the cursor is not one of this server")
	}
	if !slices.Equal(b[1:1+bindingLength], q.binding()) {
		return bad("the cursor is one of another search")
	}
	b = b[1+bindingLength:]
	var c Cursor
	ok := true
	if q.sortedBy("date") {
		c.Date, b, ok = readTime(b)
	}
	if ok && q.sortedBy("_lastUpdated") {
		c.LastUpdated, b, ok = readTime(b)
	}
	if c.ID = string(b); !ok || !fhir.ValidID(c.ID) {
		return bad("the cursor is damaged")
	}
	return c, nil
}

// binding is a short hash of what must not change between pages. Nothing secret depends
// on it: a forged cursor is one more place to begin at.
func (q Query) binding() []byte {
	h := sha256.New()
	h.Write([]byte(q.Type))
	q.conditions(func(name, value string) {
		h.Write([]byte("\x00" + name + "\x00" + value))
	})
	return h.Sum(nil)[:bindingLength]
}

func (q Query) sortedBy(param string) bool {
	return slices.ContainsFunc(q.Sort, func(s Sort) bool { return s.Param == param })
}

func appendTime(b []byte, t time.Time) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(t.Unix()))
	return binary.BigEndian.AppendUint32(b, uint32(t.Nanosecond()))
}

func readTime(b []byte) (time.Time, []byte, bool) {
	if len(b) < 12 {
		return time.Time{}, b, false
	}
	seconds, nanos := int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint32(b[8:])
	if seconds < earliest || seconds > latest || nanos >= 1e9 {
		return time.Time{}, b, false
	}
	return time.Unix(seconds, int64(nanos)).UTC(), b[12:], true
}

// The times that a cursor can have, in Unix seconds: from the zero time.Time to the end of the year 10000.
const (
	earliest = -62135596800
	latest   = 253433923199
)
