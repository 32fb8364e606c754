package layout

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// Limits of an array. MongoDB makes at most 100,000 keys of an index for a document, and
// takes no document of more than 16 MiB.
// https://www.mongodb.com/docs/manual/reference/limits/
const (
	maxEntries = 20_000
	maxBytes   = 1 << 20
)

// shortSpan is how long a date may be that is looked for by its beginning alone. A day
// without a time is short.
const shortSpan = 24 * time.Hour

// many is where a map is quicker than comparing with one after the other.
const many = 32

var errVersion = errors.New("the version of a resource to be stored is not a positive number")

// Document appends to dst what the collection of a type holds for the current version of a
// resource, and returns what it appended. key.Version is its version, a positive decimal
// number; lastUpdated has whole milliseconds; t are the terms of json that the parameters of
// l find. The document shares nothing with json and t. It may be larger than MongoDB takes.
func (l *Layout) Document(dst []byte, key fhir.Key, lastUpdated time.Time, json []byte, t *search.Terms) (bson.Raw, error) {
	version, err := number(key.Version)
	if err != nil {
		return nil, err
	}
	start := len(dst)
	w := writer{layout: l, kind: l.kind(key.Type), key: key, terms: t, dst: open(dst)}
	w.remember()
	w.strange = w.isStrange()
	w.odd = w.strange
	w.dst = appendString(w.dst, "_id", key.ID)
	w.dst = appendInt64(w.dst, "v", version)
	w.dst = appendDateTime(w.dst, "lu", lastUpdated.UnixMilli())
	w.patient()
	w.date()
	w.array("k", w.kinds)
	w.array("t", w.others)
	w.array("x", w.unindexed)
	w.array("s", w.texts)
	w.array("d", w.dates)
	w.array("q", w.quantities)
	w.sortKeys(lastUpdated)
	if w.odd {
		w.dst = appendTrue(w.dst, "odd")
	}
	w.dst = appendBinary(w.dst, "raw", json)
	return bson.Raw(closed(w.dst, start)[start:]), nil
}

func number(version string) (int64, error) {
	n, err := strconv.ParseInt(version, 10, 64)
	if err != nil || n <= 0 {
		return 0, errVersion
	}
	return n, nil
}

// writer makes one document.
type writer struct {
	layout *Layout
	kind   *kind
	key    fhir.Key
	terms  *search.Terms
	dst    []byte
	odd    bool
	// strange: composites have values that the terms do not have.
	strange bool
	// tokens, strings and numbers, if there are many, are those of the resource.
	tokens  map[search.Token]bool
	strings map[search.String]bool
	numbers map[search.Quantity]bool
}

// remember makes terms quick to find where they are many.
func (w *writer) remember() {
	w.tokens = set(w.terms.Tokens)
	w.strings = set(w.terms.Strings)
	w.numbers = set(w.terms.Quantities)
}

func set[T comparable](values []T) map[T]bool {
	if len(values) <= many {
		return nil
	}
	all := make(map[T]bool, len(values))
	for _, v := range values {
		all[v] = true
	}
	return all
}

func has[T comparable](all map[T]bool, values []T, v T) bool {
	if all != nil {
		return all[v]
	}
	return slices.Contains(values, v)
}

// patient writes pt.
func (w *writer) patient() {
	var id string
	several := false
	for i := range w.terms.References {
		r := &w.terms.References[i]
		if !w.isPatient(r) {
			continue
		}
		several = several || id != "" && r.ID != id
		id = r.ID
	}
	if id != "" && !several && len(w.kind.patients) > 1 { // pt must be true of each parameter
		several = slices.ContainsFunc(w.kind.patients, func(param string) bool {
			return !slices.ContainsFunc(w.terms.References, func(r search.Reference) bool { return r.Param == param && w.isPatient(&r) })
		})
	}
	switch {
	case several:
		w.odd = true
		w.dst = appendString(w.dst, "pt", everything)
	case id == "":
		w.dst = appendString(w.dst, "pt", nobody(w.key.ID))
	default:
		w.dst = appendString(w.dst, "pt", id)
	}
}

// nobody is the pt of a resource without a patient. No id begins like that.
func nobody(id string) string { return "#" + id }

// isPatient reports whether pt stands for a reference.
func (w *writer) isPatient(r *search.Reference) bool {
	return r.Type == "Patient" && r.ID != "" && slices.Contains(w.kind.patients, r.Param)
}

// date writes d0, d1 and l.
func (w *writer) date() {
	var first, last time.Time
	n, open := 0, false
	for i := range w.terms.Dates {
		d := &w.terms.Dates[i]
		if d.Param != "date" {
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
	var place, end [24]byte
	w.dst = appendString(w.dst, "d0", string(appendLow(place[:0], first)))
	if n == 0 {
		return
	}
	if open {
		last = time.Time{}
	}
	w.dst = appendString(w.dst, "d1", string(appendHigh(end[:0], last)))
	w.odd = w.odd || n > 1
	if n > 1 || open || first.IsZero() || !first.Before(last) || last.Sub(first) > shortSpan {
		w.dst = appendTrue(w.dst, "l")
	}
}

// appendLow appends the beginning of a date, and nothing if it has none.
func appendLow(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return dst
	}
	return appendTime(dst, t)
}

// appendHigh appends the end of a date.
func appendHigh(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, openEnd...)
	}
	return appendTime(dst, t)
}

// array writes a field, or in its place that it would be too large.
func (w *writer) array(name string, fill func(*array)) {
	a := openArray(w.dst, name)
	fill(&a)
	if w.strange && (name == "k" || name == "t" || name == "x") {
		if start, ok := a.text(); ok {
			a.dst = append(a.dst, everything...)
			a.end(start)
		}
	}
	if !a.full {
		w.dst = a.close()
		return
	}
	w.odd = true
	w.dst = a.dst[:a.begin]
	switch name {
	case "d", "q": // who looks there asks for odd documents
	default:
		short := openArray(w.dst, name)
		if i, ok := short.text(); ok {
			short.dst = append(short.dst, everything...)
			short.end(i)
		}
		w.dst = short.close()
	}
}

// covered reports whether a token is also one of the parameters that its own is made up of.
func (w *writer) covered(v *search.Token) bool {
	for _, param := range parts(w.key.Type, v.Param) {
		if has(w.tokens, w.terms.Tokens, search.Token{Param: param, System: v.System, Code: v.Code}) {
			return true
		}
	}
	return false
}

func (w *writer) kinds(a *array) {
	for i := range w.terms.Tokens {
		v := &w.terms.Tokens[i]
		if !isKind(v.Param) || w.covered(v) {
			continue
		}
		if start, ok := a.text(); ok {
			a.dst = appendToken(a.dst, v.Param, v.Code, v.System)
			a.end(start)
		}
		if isKnown(v.System) {
			continue
		}
		if start, ok := a.text(); ok {
			a.dst = append(append(appendBare(a.dst, v.Param, v.Code), '|'), foreign...)
			a.end(start)
		}
	}
}

func (w *writer) others(a *array) {
	for i := range w.terms.Tokens {
		v := &w.terms.Tokens[i]
		if isKind(v.Param) || usual(w.key.Type, v.Param, v.Code) || w.covered(v) {
			continue
		}
		if start, ok := a.text(); ok {
			a.dst = appendToken(a.dst, v.Param, v.Code, v.System)
			a.end(start)
		}
	}
	for i := range w.terms.References {
		w.reference(a, &w.terms.References[i])
	}
	for i := range w.terms.URIs {
		if v := &w.terms.URIs[i]; !unindexed(v.Param) {
			w.uri(a, v)
		}
	}
}

func (w *writer) unindexed(a *array) {
	for i := range w.terms.Tokens {
		v := &w.terms.Tokens[i]
		if isKind(v.Param) || !usual(w.key.Type, v.Param, v.Code) {
			continue
		}
		if start, ok := a.text(); ok {
			a.dst = appendToken(a.dst, v.Param, v.Code, v.System)
			a.end(start)
		}
	}
	for i := range w.terms.URIs {
		if v := &w.terms.URIs[i]; unindexed(v.Param) {
			w.uri(a, v)
		}
	}
}

func (w *writer) uri(a *array, v *search.URI) {
	if start, ok := a.text(); ok {
		a.dst = appendBare(a.dst, v.Param, v.Value)
		a.end(start)
	}
}

// reference writes the ways in which a reference is written. One that is written in none is
// a URL without characters: it is there, and nothing finds it.
func (w *writer) reference(a *array, r *search.Reference) {
	identified := r.IdentifierValue != "" || r.IdentifierSystem != ""
	if r.ID != "" && !w.isPatient(r) {
		if start, ok := a.text(); ok {
			a.dst = appendPair(a.dst, r.Param, r.ID, r.Type)
			a.end(start)
		}
		if w.kind.isForeign(r) {
			if start, ok := a.text(); ok {
				a.dst = append(append(appendBare(a.dst, r.Param, r.ID), '|'), foreign...)
				a.end(start)
			}
		}
	}
	if r.URL != "" || r.ID == "" && !identified {
		if start, ok := a.text(); ok {
			a.dst = append(append(a.dst, r.Param...), "#url="...)
			a.dst = appendPart(append(appendPart(a.dst, r.URL), '|'), r.Version)
			a.end(start)
		}
	}
	if identified {
		if start, ok := a.text(); ok {
			a.dst = append(append(a.dst, r.Param...), ":identifier="...)
			a.dst = appendSystem(append(appendPart(a.dst, r.IdentifierValue), '|'), r.IdentifierSystem)
			a.end(start)
		}
	}
}

// isForeign reports whether a reference leads to a type that is not looked for when its parameter
// is asked for an id alone.
func (k *kind) isForeign(r *search.Reference) bool {
	return slices.ContainsFunc(k.targets[r.Param], func(targets []string) bool {
		return few(targets) && !slices.Contains(targets, r.Type)
	})
}

// few reports whether an id alone is looked for with each type that a parameter names.
func few(targets []string) bool { return len(targets) > 0 && len(targets) <= 8 }

func (w *writer) texts(a *array) {
next:
	for i := range w.terms.Strings {
		v := &w.terms.Strings[i]
		if untold(w.key.Type, v.Param) {
			continue
		}
		for _, param := range parts(w.key.Type, v.Param) {
			if has(w.strings, w.terms.Strings, search.String{Param: param, Text: v.Text}) {
				continue next
			}
		}
		if start, ok := a.text(); ok {
			a.dst = appendText(a.dst, v.Param, search.Fold(v.Text))
			a.end(start)
		}
	}
}

func (w *writer) dates(a *array) {
	var low, high [24]byte
	for i := range w.terms.Dates {
		d := &w.terms.Dates[i]
		if d.Param == "date" || !a.next(bson.TypeEmbeddedDocument) {
			continue
		}
		start := len(a.dst)
		a.dst = appendString(open(a.dst), "k", d.Param)
		a.dst = appendString(a.dst, "l", string(appendLow(low[:0], d.Low)))
		a.dst = appendString(a.dst, "h", string(appendHigh(high[:0], d.High)))
		a.dst = closed(a.dst, start)
	}
}

func (w *writer) quantities(a *array) {
next:
	for i := range w.terms.Quantities {
		v := &w.terms.Quantities[i]
		for _, param := range parts(w.key.Type, v.Param) {
			same := *v
			same.Param = param
			if has(w.numbers, w.terms.Quantities, same) {
				continue next
			}
		}
		point := v.Low != nil && v.High != nil && v.Low.Cmp(v.High) == 0
		if a.next(bson.TypeEmbeddedDocument) {
			low, high := rangeOf(v)
			a.quantity(v.Param, "", point, low, high)
		}
		if low, high, kind, ok := w.layout.units.canonical(v); ok && a.next(bson.TypeEmbeddedDocument) {
			a.quantity(v.Param, kind, point, low, high)
		}
	}
}

// quantity writes a range, and of one that is about a point the middle only.
func (a *array) quantity(param, kind string, point bool, low, high float64) {
	middle := low + (high-low)/2
	point = point && !math.IsInf(middle, 0) && near(middle, low) && near(middle, high)
	start := len(a.dst)
	a.dst = appendString(open(a.dst), "k", quantityName(param, kind, point))
	if point {
		a.dst = appendDouble(a.dst, "l", middle)
	} else {
		a.dst = appendDouble(a.dst, "l", low)
		a.dst = appendDouble(a.dst, "h", high)
	}
	a.dst = closed(a.dst, start)
}

// isStrange reports whether a composite has values that the parameters of its components do
// not have: the arrays lead to none by those.
func (w *writer) isStrange() bool {
	for i := range w.terms.Tuples {
		for j := range w.terms.Tuples[i].Parts {
			part := &w.terms.Tuples[i].Parts[j]
			for _, v := range part.Tokens {
				if !has(w.tokens, w.terms.Tokens, v) {
					return true
				}
			}
			for _, v := range part.Quantities {
				if !has(w.numbers, w.terms.Quantities, v) {
					return true
				}
			}
			if len(part.References) > 0 && len(w.terms.References) > many {
				return true
			}
			for _, v := range part.References {
				if !slices.Contains(w.terms.References, v) {
					return true
				}
			}
		}
	}
	return false
}

// sortKeys writes o.
func (w *writer) sortKeys(lastUpdated time.Time) {
	if len(w.kind.up.Sort) == 0 {
		return
	}
	start := len(w.dst)
	w.dst = open(appendName(w.dst, bson.TypeEmbeddedDocument, "o"))
	inside := start + len("\x03o\x00")
	w.direction("a", &w.kind.up, lastUpdated)
	w.direction("d", &w.kind.down, lastUpdated)
	w.dst = closed(w.dst, inside)
}

// direction writes the keys of one direction. A resource without a value has none.
func (w *writer) direction(name string, q *search.Query, lastUpdated time.Time) {
	keys := q.SortKeys(w.key, lastUpdated, w.terms).Keys
	w.dst = appendName(w.dst, bson.TypeEmbeddedDocument, name)
	start := len(w.dst)
	w.dst = open(w.dst)
	var text []byte
	for i, key := range keys {
		if key == "" || i >= len(q.Sort) {
			continue
		}
		text = appendKey(text[:0], key)
		w.dst = appendString(w.dst, sortField(q.Sort[i].Param), string(text))
	}
	w.dst = closed(w.dst, start)
}

// sortField is the name of a parameter as that of a field.
func sortField(param string) string { return strings.ReplaceAll(param, ".", "_") }
