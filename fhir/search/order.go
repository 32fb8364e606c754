package search

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/cockroachdb/apd/v3"

	"github.com/kiln-health/kiln/fhir"
)

// SortDate is where a resource stands in the order by the parameter date: the low edge of
// its date. It is zero for a Period without start, and false if there is no date. Of several
// dates it is the earliest, in either direction, so that one index serves both.
// http://hl7.org/fhir/R4/search.html#sort
func SortDate(t *Terms) (time.Time, bool) {
	var first time.Time
	found := false
	for i := range t.Dates {
		d := &t.Dates[i]
		if d.Param != "date" {
			continue
		}
		if !found || d.Low.Before(first) {
			first, found = d.Low, true
		}
	}
	return first, found
}

// defaultOrder is the order of a query that asks for none: what happened last is what most
// want to see first, and stores have it in that order. Custom parameters make no difference.
func defaultOrder(resourceType string) []Sort {
	if r, ok := R4().lookup(resourceType, "date"); ok && r.Type == DateParam && r.Sortable {
		return []Sort{{Param: r.Name, Type: r.Type, Descending: true}, byID}
	}
	return []Sort{byID}
}

// place tells where in a Cursor the key of s is.
func (s Sort) place() keyPlace {
	switch {
	case s.Param == "_id":
		return inID
	case s.Param == "_lastUpdated":
		return inLastUpdated
	case s.Param == "date" && (s.Type == DateParam || s.Type == ""):
		return inDate
	default:
		return inKeys
	}
}

type keyPlace int

const (
	inID keyPlace = iota
	inLastUpdated
	inDate
	inKeys
)

// SortKeys is the place of a resource in the order of q. Of several values of a parameter
// it is the least that counts, in descending order the greatest; for date see SortDate. A
// resource without a value is before all others, in descending order behind them, as is
// one with a date that has no beginning.
//
// The values are compared in this way: strings as Fold gives them, tokens by code and then
// by system, numbers and quantities by the number alone, whatever the unit, dates by their
// beginning, references as Type/id or URL and identifiers behind those, URIs as they are.
// Of a value only the first 64 bytes are compared; those that agree so far are in an order
// that says nothing, but stays. http://hl7.org/fhir/R4/search.html#sort
func (q Query) SortKeys(r fhir.Key, lastUpdated time.Time, t *Terms) Cursor {
	c := Cursor{ID: r.ID}
	for _, s := range q.Sort {
		switch s.place() {
		case inDate:
			c.Date, _ = SortDate(t)
		case inLastUpdated:
			c.LastUpdated = lastUpdated
		case inKeys:
			c.Keys = append(c.Keys, s.key(t))
		}
	}
	return c
}

// Compare is negative if a comes before b in the order of q.Sort, positive if it comes
// after, and 0 only for the place of one and the same resource.
func (q Query) Compare(a, b Cursor) int {
	keys := 0
	for _, s := range q.Sort {
		n := 0
		switch s.place() {
		case inDate:
			n = a.Date.Compare(b.Date)
		case inLastUpdated:
			n = a.LastUpdated.Compare(b.LastUpdated)
		case inID:
			n = cmp.Compare(a.ID, b.ID)
		case inKeys:
			n = cmp.Compare(a.key(keys), b.key(keys))
			keys++
		}
		if s.Descending {
			n = -n
		}
		if n != 0 {
			return n
		}
	}
	return cmp.Compare(a.ID, b.ID)
}

// Reversed is q in the opposite order, which leads to the page before a place: the matches behind
// it in that order, turned round. It is false for an order by another parameter than date,
// _lastUpdated and _id: a resource with several values stands elsewhere in its opposite.
func (q Query) Reversed() (Query, bool) {
	q.Sort, q.DefaultOrder = slices.Clone(q.Sort), false
	for i := range q.Sort {
		if q.Sort[i].place() == inKeys {
			return Query{}, false
		}
		q.Sort[i].Descending = !q.Sort[i].Descending
	}
	return q, true
}

// key is one of the Keys, "" for one that is not there.
func (c *Cursor) key(i int) string {
	if i < len(c.Keys) {
		return c.Keys[i]
	}
	return ""
}

// key is the text by which a resource is sorted.
func (s Sort) key(t *Terms) string {
	var best []byte
	found := false
	var one []byte
	take := func() {
		if n := cmp.Compare(string(one), string(best)); !found || n < 0 != s.Descending && n != 0 {
			best, one = one, best
		}
		found, one = true, one[:0]
	}
	switch s.Type {
	case TokenParam:
		for i := range t.Tokens {
			if v := &t.Tokens[i]; v.Param == s.Param {
				one = append(append(append(one, v.Code...), 0), v.System...)
				take()
			}
		}
	case StringParam:
		for i := range t.Strings {
			if v := &t.Strings[i]; v.Param == s.Param {
				one = append(one, Fold(v.Text)...)
				take()
			}
		}
	case URIParam:
		for i := range t.URIs {
			if v := &t.URIs[i]; v.Param == s.Param {
				one = append(one, v.Value...)
				take()
			}
		}
	case ReferenceParam:
		for i := range t.References {
			if v := &t.References[i]; v.Param == s.Param {
				one = appendReference(one, v)
				take()
			}
		}
	case DateParam:
		for i := range t.Dates {
			if v := &t.Dates[i]; v.Param == s.Param {
				one = appendInstant(one, v.Low)
				take()
			}
		}
	case NumberParam, QuantityParam:
		for i := range t.Quantities {
			if v := &t.Quantities[i]; v.Param == s.Param {
				if s.Descending {
					one = appendNumber(one, v.High, plusInfinity)
				} else {
					one = appendNumber(one, v.Low, minusInfinity)
				}
				take()
			}
		}
	}
	return bounded(best)
}

// A sort key has at most maxKey bytes: the beginning of the value, and of a longer one a
// hash of all of it.
const (
	keyLength  = 64
	hashLength = 8
	maxKey     = keyLength + hashLength
)

func bounded(key []byte) string {
	if len(key) <= keyLength {
		return string(key)
	}
	hash := sha256.Sum256(key)
	return string(append(key[:keyLength:keyLength], hash[:hashLength]...))
}

func appendReference(dst []byte, r *Reference) []byte {
	switch {
	case r.ID != "":
		return append(append(append(dst, r.Type...), '/'), r.ID...)
	case r.URL != "":
		return append(append(append(dst, r.URL...), 0), r.Version...)
	default: // behind everything that is a text
		return append(append(append(append(dst, 0xff), r.IdentifierValue...), 0), r.IdentifierSystem...)
	}
}

// appendInstant gives texts in the order of time, none of which is empty.
func appendInstant(dst []byte, t time.Time) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.Unix())^1<<63)
	return binary.BigEndian.AppendUint32(dst, uint32(t.Nanosecond()))
}

// The first byte of a number as a key.
const (
	minusInfinity = 1 + iota
	negativeNumber
	zero
	positiveNumber
	plusInfinity
)

// appendNumber gives texts in the order of the numbers; nil is infinite. Behind the sign are
// the exponent of the first digit and the digits without zeros at the end, of a negative
// number all turned round.
func appendNumber(dst []byte, n *apd.Decimal, infinite byte) []byte {
	if n == nil {
		return append(dst, infinite)
	}
	if n.IsZero() {
		return append(dst, zero)
	}
	var reduced apd.Decimal
	reduced.Reduce(n)
	exponent := uint32(int64(reduced.Exponent)+reduced.NumDigits()) ^ 1<<31
	sign, turn := byte(positiveNumber), byte(0)
	if n.Negative {
		sign, turn, exponent = negativeNumber, 0xff, ^exponent
	}
	dst = binary.BigEndian.AppendUint32(append(dst, sign), exponent)
	for _, digit := range []byte(reduced.Coeff.String()) {
		dst = append(dst, digit^turn)
	}
	return append(dst, turn) // the end is before any further digit, or behind it
}
