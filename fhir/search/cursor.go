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
	cursorVersion = 3
	bindingLength = 8
	viewLength    = 8
	// The longest has 1 + 8 + the view + 2 times + MaxSort keys + an id, in characters of six bits.
	maxCursor = (1+bindingLength+viewLength+2*timeLength+MaxSort*(1+maxKey)+64)*4/3 + 1
)

// Encode is c as an opaque text for URLs, bound to the conditions and the order of q: the
// page size, and how matches are shown, may change from page to page, nothing else. It has
// at most 919 characters, 141 where q is sorted by date, _lastUpdated and _id alone.
func (c Cursor) Encode(q Query) string {
	b := append([]byte{cursorVersion}, q.binding()...)
	b = binary.BigEndian.AppendUint64(b, c.View)
	keys := 0
	for _, s := range q.Sort {
		switch s.place() {
		case inDate:
			b = appendTime(b, c.Date)
		case inLastUpdated:
			b = appendTime(b, c.LastUpdated)
		case inKeys:
			key := c.key(keys)
			key = key[:min(len(key), maxKey)]
			b = append(append(b, byte(len(key))), key...)
			keys++
		}
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
	ok := len(b) > viewLength
	if ok {
		c.View, b = binary.BigEndian.Uint64(b), b[viewLength:]
	}
	for _, s := range q.Sort {
		switch {
		case !ok:
		case s.place() == inDate:
			c.Date, b, ok = readTime(b)
		case s.place() == inLastUpdated:
			c.LastUpdated, b, ok = readTime(b)
		case s.place() == inKeys:
			var key string
			key, b, ok = readKey(b)
			c.Keys = append(c.Keys, key)
		}
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
	add := func(name, value string) {
		h.Write([]byte("\x00" + name + "\x00" + value))
	}
	q.conditions(add)
	for i := range q.Where {
		q.Where[i].alternatives(add)
	}
	return h.Sum(nil)[:bindingLength]
}

// alternatives gives the clauses of Any, which no parameter has.
func (c *Clause) alternatives(add func(name, value string)) {
	for i := range c.Any {
		if name, value, ok := c.Any[i].encode(); ok {
			add(name, value)
		}
		c.Any[i].alternatives(add)
	}
}

const timeLength = 12

func appendTime(b []byte, t time.Time) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(t.Unix()))
	return binary.BigEndian.AppendUint32(b, uint32(t.Nanosecond()))
}

func readTime(b []byte) (time.Time, []byte, bool) {
	if len(b) < timeLength {
		return time.Time{}, b, false
	}
	seconds, nanos := int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint32(b[8:])
	if seconds < earliest || seconds > latest || nanos >= 1e9 {
		return time.Time{}, b, false
	}
	return time.Unix(seconds, int64(nanos)).UTC(), b[timeLength:], true
}

func readKey(b []byte) (string, []byte, bool) {
	if len(b) == 0 || b[0] > maxKey || int(b[0]) > len(b)-1 {
		return "", b, false
	}
	end := 1 + int(b[0])
	return string(b[1:end]), b[end:], true
}

// The times that a cursor can have, in Unix seconds: from the zero time.Time to the end of the year 10000.
const (
	earliest = -62135596800
	latest   = 253433923199
)
