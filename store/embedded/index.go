package embedded

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
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
	case "name":
		return []string{"family", "given"}
	case "phonetic":
		return []string{"name", "family", "given"}
	case "address":
		return []string{"address-city", "address-state", "address-country", "address-postalcode"}
	}
	return nil
}

// usual reports whether nearly all resources of a type have a token. A key for it would
// lead nowhere that the order by date does not lead as well.
func usual(resourceType, param, code string) bool {
	if resourceType != "Observation" {
		return false
	}
	return param == "status" && code == "final" || param == "category" && code == "vital-signs"
}

// unindexed are parameters without keys: their values are mostly the same in all resources.
func unindexed(param string) bool { return param == "_profile" || param == "_source" }

// The names under which the parts of composites are indexed that their resource has nowhere
// else, and the other ways in which a reference is written.
func partName(param string) string       { return param + "#part" }
func urlName(param string) string        { return param + "#url" }
func identifierName(param string) string { return param + "#identifier" }

// indexer makes the index keys of a resource. Its memory is used again for each key.
type indexer struct {
	params           *parameters
	generation       generation
	resourceType, id string
	series           uint64 // that it is in, or 0
	second           bool   // another indexer gives the keys that do not depend on the parameters
	emit             func(key, value []byte) error

	key   []byte
	value []byte // of keys with the date
	tail  []byte // span ^date id
	// tokens and texts, if there are many, are those of the resource.
	tokens map[search.Token]bool
	texts  map[search.String]bool
	err    error
}

// many is where a map is quicker than comparing with one after the other.
const many = 32

// each calls emit for all index keys of a resource, with the value of the key. A key may
// come twice. The bytes are valid during the call.
func (x *indexer) each(lastUpdated time.Time, t *search.Terms) error {
	x.err = nil
	x.remember(t)
	if !x.second {
		x.key = appendName(append(x.key[:0], updatedKey), x.resourceType)
		x.key = appendUpdated(x.key, lastUpdated)
		x.finish(nil)
	}
	x.dates(t)
	for i := range t.Tokens {
		v := &t.Tokens[i]
		if usual(x.resourceType, v.Param, v.Code) || slices.ContainsFunc(contained(v.Param), func(other string) bool {
			return x.hasToken(t, search.Token{Param: other, System: v.System, Code: v.Code})
		}) {
			continue
		}
		x.equal(v.Param, v.Code, v.System)
	}
	for i := range t.References {
		x.reference(&t.References[i], t)
	}
	for i := range t.Quantities {
		x.quantity(&t.Quantities[i], t.Quantities)
	}
	for i := range t.Strings {
		v := &t.Strings[i]
		if strings.HasSuffix(v.Param, ":text") || slices.ContainsFunc(contained(v.Param), func(other string) bool {
			return x.hasText(t, search.String{Param: other, Text: v.Text})
		}) {
			continue
		}
		x.text(v.Param, search.Fold(v.Text))
	}
	for i := range t.URIs {
		if v := &t.URIs[i]; !unindexed(v.Param) {
			x.text(v.Param, v.Value)
		}
	}
	x.tuples(t)
	return x.err
}

// remember makes tokens and texts quick to find where they are many.
func (x *indexer) remember(t *search.Terms) {
	x.tokens, x.texts = nil, nil
	if len(t.Tokens) > many {
		x.tokens = make(map[search.Token]bool, len(t.Tokens))
		for _, v := range t.Tokens {
			x.tokens[v] = true
		}
	}
	if len(t.Strings) > many {
		x.texts = make(map[search.String]bool, len(t.Strings))
		for _, v := range t.Strings {
			x.texts[v] = true
		}
	}
}

func (x *indexer) hasToken(t *search.Terms, v search.Token) bool {
	if x.tokens != nil {
		return x.tokens[v]
	}
	return slices.Contains(t.Tokens, v)
}

func (x *indexer) hasText(t *search.Terms, v search.String) bool {
	if x.texts != nil {
		return x.texts[v]
	}
	return slices.Contains(t.Strings, v)
}

// start begins a key of the index of a parameter.
func (x *indexer) start(kind byte, param string) {
	x.key = appendName(append(x.key[:0], x.generation.kind(kind)), x.resourceType)
	x.key = appendName(x.key, param)
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
	place, span, length := extent(t, sortDate)
	x.tail = append(appendDate(append(x.tail[:0], span), place), x.id...)
	x.value = appendPointer(x.value[:0], length, x.series)
	if x.series != 0 && !x.second {
		x.key = append(appendSeries(x.key[:0], memberKey, x.series), x.tail[1:]...)
		x.give(binary.AppendUvarint(nil, length))
	}
	if x.params.hasDate(x.resourceType) {
		// Also a resource without a date is somewhere in the order by date.
		x.start(dateKey, sortDate)
		x.key = append(x.key, x.tail...)
		x.give(x.value)
	}
	for i, d := range t.Dates {
		if d.Param == sortDate || slices.ContainsFunc(t.Dates[:i], func(e search.Date) bool { return e.Param == d.Param }) {
			continue
		}
		place, span, _ := extent(t, d.Param)
		x.start(dateKey, d.Param)
		x.key = appendDate(append(x.key, span), place)
		x.finish(nil)
	}
}

// extent is where all dates of a parameter lie: the first low edge, whether all are
// within shortSpan of it, and the length of the date.
func extent(t *search.Terms, param string) (first time.Time, span byte, length uint64) {
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
	switch n {
	case 0:
		return time.Time{}, short, noDate
	case 1:
		length = lengthOf(first, last)
	default:
		length = severalDates
	}
	if open || last.Sub(first) > shortSpan {
		return first, long, length
	}
	return first, short, length
}

// The length of a date, in values of keys that have where it begins, is one of these, or
// in nanoseconds and lengthBase. Of severalDates only the resource can tell.
const (
	noDate = iota
	openDate
	severalDates
	lengthBase
)

// lengthOf is the length of one date.
func lengthOf(low, high time.Time) uint64 {
	switch length := high.Sub(low); {
	case low.IsZero():
		return severalDates
	case high.IsZero():
		return openDate
	case length < 0 || !low.Add(length).Equal(high): // more than a Duration holds
		return severalDates
	default:
		return uint64(length) + lengthBase
	}
}

// datesOf are the dates of a resource as far as the length tells; false if it does not.
func datesOf(low time.Time, length uint64) ([]search.Date, bool) {
	switch {
	case length == noDate:
		return nil, true
	case length == openDate:
		return []search.Date{{Param: sortDate, Low: low}}, true
	case length == severalDates || length-lengthBase > math.MaxInt64:
		return nil, false
	default:
		return []search.Date{{Param: sortDate, Low: low, High: low.Add(time.Duration(length - lengthBase))}}, true
	}
}

// appendPointer is the value of a d or e key: the length of the date, and the number of the
// series, which with the date leads to the resource; 0 if it is in none.
func appendPointer(dst []byte, length, series uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, length), series)
}

// readPointer reads what appendPointer wrote.
func readPointer(value []byte) (length, series uint64, ok bool) {
	length, n := binary.Uvarint(value)
	if n <= 0 {
		return 0, 0, false
	}
	series, m := binary.Uvarint(value[n:])
	return length, series, m > 0 && n+m == len(value)
}

func (x *indexer) equal(param, text1, text2 string) { x.dated(param, text1, text2, x.value) }

func (x *indexer) dated(param, text1, text2 string, value []byte) {
	x.start(equalKey, param)
	x.key = appendTerm(appendTerm(x.key, text1), text2)
	x.key = append(x.key, x.tail...)
	x.give(value)
}

// text indexes a text by its beginning.
func (x *indexer) text(param, text string) {
	x.start(textKey, param)
	x.key = appendText(x.key, cutAt(text, maxText))
	x.finish(nil)
}

func (x *indexer) reference(v *search.Reference, t *search.Terms) {
	if v.ID != "" && !local(t.References, v.Type, v.ID, contained(v.Param)...) && !x.isMember(v) {
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
func local(refs []search.Reference, resourceType, id string, params ...string) bool {
	return len(params) > 0 && slices.ContainsFunc(refs, func(r search.Reference) bool {
		return r.Type == resourceType && r.ID == id && slices.Contains(params, r.Param)
	})
}

// isMember reports whether a reference is to the patient of the series that the resource is in.
func (x *indexer) isMember(v *search.Reference) bool {
	return x.series != 0 && v.Type == "Patient" && slices.Contains(seriesReferences, v.Param)
}

// quantity indexes a value by the code of its unit and its number.
func (x *indexer) quantity(v *search.Quantity, all []search.Quantity) {
	if others := contained(v.Param); others != nil && len(all) <= many && slices.ContainsFunc(all, func(q search.Quantity) bool {
		return q.Code == v.Code && q.Low == v.Low && q.High == v.High && q.System == v.System && q.Unit == v.Unit && slices.Contains(others, q.Param)
	}) {
		return
	}
	x.start(quantityKey, v.Param)
	x.key = appendTerm(x.key, v.Code)
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

// tuples sees to it that a composite is found by the tokens and references of its parts:
// nearly always they are those of a parameter of the resource, and indexed as such.
func (x *indexer) tuples(t *search.Terms) {
	for i := range t.Tuples {
		for j := range t.Tuples[i].Parts {
			part := &t.Tuples[i].Parts[j]
			for _, v := range part.Tokens {
				if !x.hasToken(t, v) && !usual(x.resourceType, v.Param, v.Code) {
					x.equal(partName(v.Param), v.Code, v.System)
				}
			}
			for k := range part.References {
				v := part.References[k]
				if len(t.References) <= many && slices.Contains(t.References, v) {
					continue
				}
				v.Param = partName(v.Param)
				x.reference(&v, part)
			}
		}
	}
}
