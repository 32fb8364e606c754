package embedded

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/kiln-health/kiln/fhir/search"
)

// sortDate is the parameter that search.SortDate and the order by date go by.
const sortDate = "date"

// contained are parameters whose values other parameters mostly have as well. A value is
// indexed once, under the other one; who looks for it looks under both.
func contained(param string) []string {
	switch param {
	case "subject":
		return []string{"patient"}
	case "combo-code":
		return []string{"code", "component-code"}
	case "combo-value-quantity":
		return []string{"value-quantity", "component-value-quantity"}
	}
	return nil
}

// The pairs that have an index of their own: what is known of one patient, by kind.
var (
	pairPatient = []string{"patient", "subject"}
	pairKind    = []string{"code", "category"}
)

// pairName is the name under which a kind is indexed within a patient. It is no parameter.
func pairName(kind string) string { return "patient+" + kind }

// The same for the other ways in which a reference is written.
func urlName(param string) string        { return param + "#url" }
func identifierName(param string) string { return param + "#identifier" }

// indexer makes the index keys of a resource. Its memory is used again for each key.
type indexer struct {
	resourceType, id string
	emit             func(key, value []byte) error

	key   []byte
	value []byte
	tail  []byte // span ^date id
	err   error
}

// each calls emit for all index keys of a resource, with the value of the key. A key may
// come twice. The bytes are valid during the call.
func (x *indexer) each(lastUpdated time.Time, t *search.Terms) error {
	x.err = nil
	x.start(updatedKey)
	x.key = appendUpdated(x.key, lastUpdated)
	x.finish(nil)
	x.dates(t)
	for _, v := range t.Tokens {
		if !slices.ContainsFunc(contained(v.Param), func(other string) bool {
			return slices.Contains(t.Tokens, search.Token{Param: other, System: v.System, Code: v.Code})
		}) {
			x.equal(v.Param, v.Code, v.System)
		}
	}
	for _, v := range t.References {
		x.reference(v, t)
	}
	x.pairs(t)
	for _, v := range t.Quantities {
		x.quantity(v, t)
	}
	return x.err
}

func (x *indexer) start(kind byte) {
	x.key = appendName(append(x.key[:0], kind), x.resourceType)
}

// finish appends the id and gives the key away.
func (x *indexer) finish(value []byte) {
	x.key = append(x.key, x.id...)
	x.give(value)
}

func (x *indexer) give(value []byte) {
	if x.err == nil {
		x.err = x.emit(x.key, value)
	}
}

// dates finds where the resource stands by date, and indexes all dates.
func (x *indexer) dates(t *search.Terms) {
	place, class, value := extent(t, sortDate)
	x.tail = append(appendDate(append(x.tail[:0], class), place), x.id...)
	x.value = append(x.value[:0], value...)
	if _, ok := search.Lookup(x.resourceType, sortDate); ok {
		// Also a resource without a date is somewhere in the order by date.
		x.start(dateKey)
		x.key = append(appendName(x.key, sortDate), x.tail...)
		x.give(x.value)
	}
	for i, d := range t.Dates {
		if d.Param == sortDate || slices.ContainsFunc(t.Dates[:i], func(e search.Date) bool { return e.Param == d.Param }) {
			continue
		}
		place, class, value := extent(t, d.Param)
		x.start(dateKey)
		x.key = appendDate(append(appendName(x.key, d.Param), class), place)
		x.finish(value)
	}
}

// extent is where all dates of a parameter lie: the first low edge, whether all are
// within shortSpan of it, and the value of the key.
func extent(t *search.Terms, param string) (first time.Time, class byte, value []byte) {
	var last time.Time
	n, open := 0, false
	for _, d := range t.Dates {
		if d.Param != param {
			continue
		}
		if n == 0 || d.Low.Before(first) {
			first = d.Low
		}
		if d.High.After(last) {
			last = d.High
		}
		open = open || d.High.IsZero()
		n++
	}
	if n == 0 {
		return time.Time{}, short, []byte{noDate}
	}
	if n == 1 {
		value = appendLength(nil, first, last)
	}
	if open || last.Sub(first) > shortSpan {
		return first, long, value
	}
	return first, short, value
}

// The value of a d or e key begins with one of these, or with the length of the date in
// nanoseconds and lengthBase. An empty value says nothing: the resource has to be read.
const (
	noDate = iota
	openDate
	lengthBase
)

// appendLength is the value for a resource with one date.
func appendLength(dst []byte, low, high time.Time) []byte {
	switch length := high.Sub(low); {
	case low.IsZero():
		return dst
	case high.IsZero():
		return binary.AppendUvarint(dst, openDate)
	case length < 0 || !low.Add(length).Equal(high): // more than a Duration holds
		return dst
	default:
		return binary.AppendUvarint(dst, uint64(length)+lengthBase)
	}
}

// readDates are the dates of a resource as far as its key and value tell; false if they
// do not.
func readDates(low time.Time, value []byte) ([]search.Date, bool) {
	n, size := binary.Uvarint(value)
	if size <= 0 {
		return nil, false
	}
	switch n {
	case noDate:
		return nil, true
	case openDate:
		return []search.Date{{Param: sortDate, Low: low}}, true
	default:
		return []search.Date{{Param: sortDate, Low: low, High: low.Add(time.Duration(n - lengthBase))}}, true
	}
}

func (x *indexer) equal(param, text1, text2 string) {
	x.start(equalKey)
	x.key = appendTerm(appendTerm(appendName(x.key, param), text1), text2)
	x.key = append(x.key, x.tail...)
	x.give(x.value)
}

func (x *indexer) reference(v search.Reference, t *search.Terms) {
	if v.ID != "" && !local(t, v.Type, v.ID, contained(v.Param)...) {
		x.equal(v.Param, v.ID, v.Type)
	}
	if v.URL != "" {
		x.equal(urlName(v.Param), v.URL, "")
	}
	if v.IdentifierValue != "" || v.IdentifierSystem != "" {
		x.equal(identifierName(v.Param), v.IdentifierValue, v.IdentifierSystem)
	}
}

// local reports whether a resource refers to a resource of this server under one of the parameters.
func local(t *search.Terms, resourceType, id string, params ...string) bool {
	return slices.ContainsFunc(t.References, func(r search.Reference) bool {
		return r.Type == resourceType && r.ID == id && slices.Contains(params, r.Param)
	})
}

// pairs indexes every code and category of a patient.
func (x *indexer) pairs(t *search.Terms) {
	for i, r := range t.References {
		if r.Type != "Patient" || r.ID == "" || !slices.Contains(pairPatient, r.Param) {
			continue
		}
		if local(&search.Terms{References: t.References[:i]}, r.Type, r.ID, pairPatient...) {
			continue
		}
		value := x.value
		if !local(t, r.Type, r.ID, "patient") {
			value = nil
		}
		for _, v := range t.Tokens {
			if !slices.Contains(pairKind, v.Param) {
				continue
			}
			x.start(equalKey)
			x.key = appendTerm(appendName(x.key, pairName(v.Param)), r.ID)
			x.key = appendTerm(appendTerm(x.key, v.Code), v.System)
			x.key = append(x.key, x.tail...)
			x.give(value)
		}
	}
}

func (x *indexer) quantity(v search.Quantity, t *search.Terms) {
	if slices.ContainsFunc(contained(v.Param), func(other string) bool {
		same := v
		same.Param = other
		return slices.Contains(t.Quantities, same)
	}) {
		return
	}
	x.start(quantityKey)
	x.key = appendName(x.key, v.Param)
	switch {
	case v.Low == nil:
		x.key = append(x.key, long)
		x.key = append(x.key, make([]byte, floatLen)...)
	case v.High == nil || v.Low.Cmp(v.High) != 0:
		x.key = appendFloat(append(x.key, long), below(v.Low))
	default:
		x.key = appendFloat(append(x.key, short), below(v.Low))
	}
	x.finish(nil)
}
