package search

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cockroachdb/apd/v3"
	"github.com/go-json-experiment/json/jsontext"
)

// Extract are the terms of a resource: for each parameter of its type the values that a
// search compares with. It reads the JSON once. A value that does not make sense (a day
// that does not exist, a number where a code belongs, a code longer than MaxValueLength)
// gives no term, and so is found by :missing=true: no resource is refused for it. The
// only error is text that is no JSON object. _id and _lastUpdated are not among the terms:
// Matches takes them from the key. A type that is not in Types has no terms.
//
// An absolute reference is one to another server: Extract does not know where it runs. Who
// takes a resource in writes references to this server as relative ones.
//
// Extract changes nothing in json, keeps nothing of it, and may be called from any number
// of goroutines.
func Extract(resourceType string, json []byte) (Terms, error) {
	root, ok := trees[resourceType]
	if !ok {
		return Terms{}, nil
	}
	x := extractor{
		// Names that occur twice are refused before a resource is stored; to look for them again costs a third.
		d: jsontext.NewDecoder(bytes.NewBuffer(json), jsontext.AllowDuplicateNames(true)),
	}
	x.text.Grow(min(len(json)/2, 1024))
	if x.d.PeekKind() == '{' {
		x.walk(root)
	} else {
		x.skip()
		x.fail(errors.New("not a JSON object"))
	}
	if x.err != nil {
		return Terms{}, fmt.Errorf("search: terms of a %s at byte %d: %w", resourceType, x.d.InputOffset(), x.err)
	}
	x.terms.distinct()
	return x.terms, nil
}

// node is an element on the way to values, or with leaves an element that has some.
type node struct {
	children map[string]*node
	kind     kind
	leaves   []leaf
}

// leaf is a parameter that takes values of an element.
type leaf struct {
	param string
	only  string
}

// trees lead from the elements of a resource to parameters, by type.
var trees = func() map[string]*node {
	t := map[string]*node{}
	for name, rows := range table {
		root := &node{}
		for _, r := range rows {
			for _, s := range r.sources {
				n := root
				for element := range strings.SplitSeq(s.path, ".") {
					if n.children == nil {
						n.children = map[string]*node{}
					}
					if n.children[element] == nil {
						n.children[element] = &node{}
					}
					n = n.children[element]
				}
				n.kind = s.kind
				n.leaves = append(n.leaves, leaf{r.Name, s.only})
			}
		}
		t[name] = root
	}
	return t
}()

// extractor walks a resource. After an error it reads nothing more.
type extractor struct {
	d     *jsontext.Decoder
	terms Terms
	err   error
	// text holds the strings of all terms in one piece of memory.
	text strings.Builder
	// odd is set when a part of the value at hand cannot be used.
	odd bool
}

func (x *extractor) fail(err error) {
	if x.err == nil && err != nil {
		x.err = err
	}
}

// more reports whether another member of the object, or element of the array, follows. At
// the end it takes the closing bracket.
func (x *extractor) more() bool {
	if x.err != nil {
		return false
	}
	switch x.d.PeekKind() {
	case '}', ']':
		_, err := x.d.ReadToken()
		x.fail(err)
		return false
	case jsontext.KindInvalid:
		// It is for ReadToken to say what is wrong.
		_, err := x.d.ReadToken()
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		x.fail(err)
		return false
	}
	return true
}

// enter takes the opening bracket of an object. What is no object is skipped, and odd.
func (x *extractor) enter() bool {
	if x.err != nil {
		return false
	}
	if x.d.PeekKind() != '{' {
		x.odd = true
		x.skip()
		return false
	}
	_, err := x.d.ReadToken()
	x.fail(err)
	return x.err == nil
}

func (x *extractor) skip() {
	if x.err == nil {
		x.fail(x.d.SkipValue())
	}
}

// name is the next member's. It is valid until the next read.
func (x *extractor) name() []byte {
	raw, err := x.d.ReadValue()
	if err != nil {
		x.fail(err)
		return nil
	}
	return unquote(raw)
}

func unquote(raw jsontext.Value) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	text, err := jsontext.AppendUnquote(nil, raw)
	if err != nil { // the decoder has read it as a string: it cannot fail
		return nil
	}
	return text
}

// raw is the next value, which must be of that kind, else nil and odd. It is valid until
// the next read.
func (x *extractor) raw(k jsontext.Kind) []byte {
	if x.err != nil {
		return nil
	}
	if x.d.PeekKind() != k {
		x.odd = true
		x.skip()
		return nil
	}
	raw, err := x.d.ReadValue()
	if err != nil {
		x.fail(err)
		return nil
	}
	if k == '"' {
		return unquote(raw)
	}
	return raw
}

// string is the next value as a term keeps it.
func (x *extractor) string() string {
	text := x.raw('"')
	if len(text) > MaxValueLength {
		x.odd = true
		return ""
	}
	return x.keep(text)
}

func (x *extractor) keep(text []byte) string {
	start := x.text.Len()
	x.text.Write(text)
	return x.text.String()[start:]
}

// each calls read for the value, or for the elements of the array, that comes next.
func (x *extractor) each(read func(*node), n *node) {
	if x.err != nil {
		return
	}
	if x.d.PeekKind() != '[' {
		read(n)
		return
	}
	_, err := x.d.ReadToken()
	x.fail(err)
	for x.more() {
		read(n)
	}
}

func (x *extractor) walk(n *node) {
	for ok := x.enter(); ok && x.more(); {
		child, ok := n.children[string(x.name())]
		switch {
		case !ok:
			x.skip()
		case child.leaves == nil:
			x.each(x.walk, child)
		default:
			x.each(x.value, child)
		}
	}
}

func (x *extractor) value(n *node) {
	x.odd = false
	switch n.kind {
	case concept:
		x.concept(n)
	case coding:
		x.coding(n)
	case identifier:
		system, value := x.identifier()
		x.token(n, system, value)
	case code:
		x.token(n, "", x.string())
	case boolean:
		x.boolean(n)
	case reference:
		x.reference(n)
	case dateTime, instant:
		low, high, ok := x.time(n.kind)
		x.date(n, low, high, ok)
	case period:
		low, high, ok := x.period()
		x.date(n, low, high, ok)
	case timing:
		x.timing(n)
	case quantity:
		x.quantity(n)
	case sampledData:
		x.samples(n)
	}
}

func (x *extractor) token(n *node, system, code string) {
	if x.odd || x.err != nil || system == "" && code == "" {
		return
	}
	if x.terms.Tokens == nil {
		x.terms.Tokens = make([]Token, 0, 16)
	}
	for _, l := range n.leaves {
		x.terms.Tokens = append(x.terms.Tokens, Token{l.param, system, code})
	}
}

func (x *extractor) concept(n *node) {
	for ok := x.enter(); ok && x.more(); {
		if string(x.name()) == "coding" {
			x.each(x.coding, n)
		} else {
			x.skip()
		}
	}
}

func (x *extractor) coding(n *node) {
	x.odd = false
	var system, code string
	for ok := x.enter(); ok && x.more(); {
		switch string(x.name()) {
		case "system":
			system = x.string()
		case "code":
			code = lower(x.string())
		default:
			x.skip()
		}
	}
	x.token(n, system, code)
}

func (x *extractor) identifier() (system, value string) {
	for ok := x.enter(); ok && x.more(); {
		switch string(x.name()) {
		case "system":
			system = x.string()
		case "value":
			value = x.string()
		default:
			x.skip()
		}
	}
	return system, value
}

func (x *extractor) boolean(n *node) {
	switch x.d.PeekKind() {
	case 't':
		x.token(n, "", "true")
	case 'f':
		x.token(n, "", "false")
	}
	x.skip()
}

func (x *extractor) reference(n *node) {
	var text, of string
	r := Reference{}
	for ok := x.enter(); ok && x.more(); {
		switch string(x.name()) {
		case "reference":
			text = x.string()
		case "type":
			of = x.string()
		case "identifier":
			r.IdentifierSystem, r.IdentifierValue = x.identifier()
		default:
			x.skip()
		}
	}
	if x.odd || x.err != nil {
		return
	}
	target := target(text)
	switch {
	case target.id == "":
		r.URL = text
	case target.base == "":
		r.Type, r.ID = target.of, target.id
	default:
		r.URL = target.base + target.of + "/" + target.id
	}
	if target.id != "" {
		of = target.of
	}
	if r == (Reference{}) {
		return
	}
	if x.terms.References == nil {
		x.terms.References = make([]Reference, 0, 4)
	}
	for _, l := range n.leaves {
		if l.only == "" || l.only == of {
			r.Param = l.param
			x.terms.References = append(x.terms.References, r)
		}
	}
}

func (x *extractor) time(k kind) (low, high time.Time, ok bool) {
	text := x.raw('"')
	if x.odd || x.err != nil {
		return time.Time{}, time.Time{}, false
	}
	low, high, ok = interval(text)
	if k == instant {
		high = low.Add(time.Nanosecond)
	}
	return low, high, ok
}

func (x *extractor) date(n *node, low, high time.Time, ok bool) {
	if !ok || x.odd || x.err != nil {
		return
	}
	for _, l := range n.leaves {
		x.terms.Dates = append(x.terms.Dates, Date{l.param, low, high})
	}
}

// period is from the beginning of its start to the end of its end, open where one is missing.
func (x *extractor) period() (low, high time.Time, ok bool) {
	valid := true
	for in := x.enter(); in && x.more(); {
		switch string(x.name()) {
		case "start":
			low, _, ok = x.time(dateTime)
			valid = valid && ok
		case "end":
			_, high, ok = x.time(dateTime)
			valid = valid && ok
		default:
			x.skip()
		}
	}
	if low.IsZero() && high.IsZero() || !low.IsZero() && !high.IsZero() && !low.Before(high) {
		return time.Time{}, time.Time{}, false
	}
	return low, high, valid
}

// timing is its outer limits, whatever happens in between.
// http://hl7.org/fhir/R4/search.html#date
func (x *extractor) timing(n *node) {
	var all outer
	event := func(*node) {
		low, high, ok := x.time(dateTime)
		all.add(low, high, ok)
	}
	for ok := x.enter(); ok && x.more(); {
		switch string(x.name()) {
		case "event":
			x.each(event, nil)
		case "repeat":
			for ok := x.enter(); ok && x.more(); {
				if string(x.name()) == "boundsPeriod" {
					low, high, ok := x.period()
					all.add(low, high, ok)
				} else {
					x.skip()
				}
			}
		default:
			x.skip()
		}
	}
	x.date(n, all.low, all.high, all.found)
}

// outer is the span of all intervals that were added.
type outer struct {
	low, high time.Time
	found     bool
}

func (o *outer) add(low, high time.Time, ok bool) {
	switch {
	case !ok:
	case !o.found:
		o.low, o.high, o.found = low, high, true
	default:
		if low.Before(o.low) {
			o.low = low
		}
		if high.IsZero() || !o.high.IsZero() && high.After(o.high) {
			o.high = high
		}
	}
}

// measure is a Quantity as far as it is searched.
type measure struct {
	value              *apd.Decimal
	comparator         string
	system, code, unit string
}

func (x *extractor) measure() (m measure) {
	for ok := x.enter(); ok && x.more(); {
		switch string(x.name()) {
		case "value":
			m.value = x.decimal()
		case "comparator":
			m.comparator = x.string()
		case "system":
			m.system = x.string()
		case "code":
			m.code = x.string()
		case "unit":
			m.unit = x.string()
		default:
			x.skip()
		}
	}
	return m
}

func (x *extractor) decimal() *apd.Decimal {
	raw := x.raw('0')
	if raw == nil {
		return nil
	}
	if n, ok := small(raw); ok {
		return n.decimal()
	}
	n := decimal(string(raw))
	if n == nil {
		x.odd = true
	}
	return n
}

func (x *extractor) quantity(n *node) {
	m := x.measure()
	if m.value == nil {
		return
	}
	q := Quantity{System: m.system, Code: m.code, Unit: m.unit}
	switch m.comparator {
	case "":
		q.Low, q.High = m.value, m.value
	case "<":
		q.High, q.HighOpen = m.value, true
	case "<=":
		q.High = m.value
	case ">":
		q.Low, q.LowOpen = m.value, true
	case ">=":
		q.Low = m.value
	default:
		return
	}
	x.quantities(n, q)
}

func (x *extractor) quantities(n *node, q Quantity) {
	if x.odd || x.err != nil {
		return
	}
	if x.terms.Quantities == nil {
		x.terms.Quantities = make([]Quantity, 0, 4)
	}
	for _, l := range n.leaves {
		q.Param = l.param
		x.terms.Quantities = append(x.terms.Quantities, q)
	}
}

// samples are searched by the bounds of their values. Where some were beyond what can be
// measured the limit is a bound, too, as it is where there are no data.
// http://hl7.org/fhir/R4/search.html#quantity
func (x *extractor) samples(n *node) {
	var (
		origin              measure
		factor, least, most *apd.Decimal
		data                extremes
	)
	for ok := x.enter(); ok && x.more(); {
		switch string(x.name()) {
		case "origin":
			origin = x.measure()
		case "factor":
			factor = x.decimal()
		case "lowerLimit":
			least = x.decimal()
		case "upperLimit":
			most = x.decimal()
		case "data":
			var ok bool
			if data, ok = bounds(x.raw('"')); !ok {
				x.odd = true
			}
		default:
			x.skip()
		}
	}
	if x.odd || x.err != nil || origin.value == nil {
		return
	}
	q := Quantity{System: origin.system, Code: origin.code, Unit: origin.unit}
	switch {
	case data.any:
		q.Low, q.High = scaled(data.least, factor, origin.value), scaled(data.greatest, factor, origin.value)
		if q.Low.Cmp(q.High) > 0 { // the factor is negative
			q.Low, q.High = q.High, q.Low
		}
		if data.below && least != nil && least.Cmp(q.Low) < 0 {
			q.Low = least
		}
		if data.above && most != nil && most.Cmp(q.High) > 0 {
			q.High = most
		}
	case least == nil && most == nil, least != nil && most != nil && least.Cmp(most) > 0:
		return
	default:
		q.Low, q.High = least, most
	}
	x.quantities(n, q)
}

// scaled is the value that a sample stands for.
func scaled(sample number, factor, origin *apd.Decimal) *apd.Decimal {
	value := sample.decimal()
	if factor != nil {
		value = multiply(value, factor)
	}
	return add(value, origin)
}

// distinct takes equal values out of the terms.
func (t *Terms) distinct() {
	t.Tokens = unique(t.Tokens, equal, itself)
	t.References = unique(t.References, equal, itself)
	t.Dates = unique(t.Dates, equal, itself)
	t.Quantities = unique(t.Quantities, (*Quantity).equal, (*Quantity).key)
}

func equal[T comparable](a, b *T) bool { return *a == *b }
func itself[T any](a *T) T             { return *a }

// equal takes 72.5 and 72.50 for one.
func (q *Quantity) equal(r *Quantity) bool {
	return q.Param == r.Param && q.key() == r.key()
}

// key is a Quantity as text, the same for the same number.
func (q *Quantity) key() [8]string {
	k := [8]string{q.Param, q.System, q.Code, q.Unit, plain(q.Low), plain(q.High)}
	if q.LowOpen {
		k[6] = "open"
	}
	if q.HighOpen {
		k[7] = "open"
	}
	return k
}

func plain(n *apd.Decimal) string {
	if n == nil {
		return ""
	}
	var r apd.Decimal
	r.Reduce(n)
	if r.IsZero() {
		return "0"
	}
	return r.String()
}

// unique keeps the first of equal values, in place. A stranger may send very many: few
// are compared with each other, many go through a map of their keys.
func unique[T any, K comparable](all []T, equal func(a, b *T) bool, key func(*T) K) []T {
	const few = 16
	kept := all[:0]
	if len(all) > few {
		seen := make(map[K]bool, len(all))
		for i := range all {
			if k := key(&all[i]); !seen[k] {
				seen[k] = true
				kept = append(kept, all[i])
			}
		}
		return kept
	}
next:
	for i := range all {
		for j := range kept {
			if equal(&kept[j], &all[i]) {
				continue next
			}
		}
		kept = append(kept, all[i])
	}
	return kept
}
