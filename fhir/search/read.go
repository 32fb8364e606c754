package search

import (
	"strings"
	"time"

	"github.com/cockroachdb/apd/v3"

	"github.com/kiln-health/kiln/fhir"
)

// read takes the value at hand as what n is, and makes terms of it for all leaves.
func (x *Extractor) read(n *node) {
	x.odd = false
	switch n.kind {
	case concept:
		x.begins()
		x.concept()
		x.coded(n)
	case coding:
		x.begins()
		x.coding()
		x.coded(n)
	case identifier:
		x.begins()
		x.identifier()
		x.coded(n)
	case contact:
		x.begins()
		x.contact()
		x.coded(n)
	case code:
		x.begins()
		if c := x.string(); !x.odd {
			x.token("", c)
		}
		x.coded(n)
	case boolean:
		x.begins()
		x.boolean()
		x.coded(n)
	case textual:
		x.textual(n)
	case uri, canonicalURL:
		x.uri(n)
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
	case numeric:
		if d := x.decimal(); d != nil {
			x.quantities(n, Quantity{Low: d, High: d})
		}
	case quantity:
		x.quantity(n)
	case money:
		x.money(n)
	case ranged:
		x.ranged(n)
	case sampledData:
		x.samples(n)
	case humanName:
		x.begins()
		x.humanName()
		x.named(n)
	case address:
		x.begins()
		x.address()
		x.named(n)
	case position:
		x.position(n)
	}
}

// object takes the opening bracket of an object. What is no object is skipped, and odd.
func (x *Extractor) object() bool {
	if x.peek() != '{' {
		x.odd = true
		x.skip()
		return false
	}
	x.pos++
	return true
}

// raw is the next value if it is a string, else nil and odd. It is valid until the next read.
func (x *Extractor) raw() []byte {
	if x.peek() != '"' {
		x.odd = true
		x.skip()
		return nil
	}
	return x.plain()
}

// string is the next value as a term keeps it.
func (x *Extractor) string() string {
	text := x.raw()
	if len(text) > MaxValueLength {
		x.odd = true
		return ""
	}
	return x.keep(text)
}

// label is the next value if it is a string, however long. Nothing is odd about another one.
func (x *Extractor) label() string {
	if x.peek() != '"' {
		x.skip()
		return ""
	}
	return x.keep(x.plain())
}

func (x *Extractor) keep(text []byte) string {
	if len(text) == 0 || x.err != nil {
		return ""
	}
	return x.spare.text(text)
}

// each calls read for the value, or for the items of the array, that comes next.
func (x *Extractor) each(read func(*Extractor)) {
	if x.peek() != '[' {
		read(x)
		return
	}
	for x.pos++; x.more(']'); {
		read(x)
	}
}

// begins forgets what the last element had.
func (x *Extractor) begins() {
	x.tokens, x.types, x.labels = x.tokens[:0], x.types[:0], x.labels[:0]
}

func (x *Extractor) token(system, code string) {
	if system != "" || code != "" {
		x.tokens = append(x.tokens, token{system, code, lower(code)})
	}
}

func (x *Extractor) addLabel() {
	if text := x.label(); text != "" {
		x.labels = append(x.labels, text)
	}
}

func (x *Extractor) concept() {
	for ok := x.object(); ok && x.more('}'); {
		switch string(x.member()) {
		case "coding":
			x.each((*Extractor).coding)
		case "text":
			x.addLabel()
		default:
			x.skip()
		}
	}
}

func (x *Extractor) coding() {
	x.odd = false
	var system, code string
	for ok := x.object(); ok && x.more('}'); {
		switch string(x.member()) {
		case "system":
			system = x.string()
		case "code":
			code = x.string()
		case "display":
			x.addLabel()
		default:
			x.skip()
		}
	}
	if !x.odd {
		x.token(system, code)
	}
}

// identifier has its type in types, with the value.
// http://hl7.org/fhir/R4/search.html#token
func (x *Extractor) identifier() {
	var system, value string
	for ok := x.object(); ok && x.more('}'); {
		switch string(x.member()) {
		case "system":
			system = x.string()
		case "value":
			value = x.string()
		case "type":
			x.identifierType()
		default:
			x.skip()
		}
	}
	if x.odd {
		x.types = x.types[:0]
		return
	}
	x.token(system, value)
	for i := range x.types {
		t := &x.types[i]
		t.code += "|" + value
		t.lower = lower(t.code)
	}
	if value == "" {
		x.types = x.types[:0]
	}
}

// identifierType reads the CodeableConcept: what is odd in it is so for itself. Of its
// labels the text counts, not the displays.
func (x *Extractor) identifierType() {
	odd := x.odd
	for ok := x.object(); ok && x.more('}'); {
		switch string(x.member()) {
		case "coding":
			labels := len(x.labels)
			x.each((*Extractor).coding)
			x.labels = x.labels[:labels]
		case "text":
			x.addLabel()
		default:
			x.skip()
		}
	}
	x.odd = odd
	x.types = append(x.types, x.tokens...)
	x.tokens = x.tokens[:0]
}

func (x *Extractor) contact() {
	value := ""
	for ok := x.object(); ok && x.more('}'); {
		if string(x.member()) == "value" {
			value = x.string()
		} else {
			x.skip()
		}
	}
	if !x.odd {
		x.token("", value)
	}
}

func (x *Extractor) boolean() {
	c := x.peek()
	start := x.pos
	x.skip()
	if c != 't' && c != 'f' {
		return
	}
	switch string(x.json[start:x.pos]) {
	case "true":
		x.token("", "true")
	case "false":
		x.token("", "false")
	}
}

// coded makes terms of tokens, types and labels.
func (x *Extractor) coded(n *node) {
	for i := range n.leaves {
		switch l := &n.leaves[i]; {
		case l.truth && len(x.tokens) > 0:
			x.truth(l, x.tokens[0].code == "true")
		case l.truth:
		case l.Type == TokenParam:
			x.addTokens(l, x.tokens, plainTerm)
			if !l.silent {
				x.addTokens(l, x.types, typeTerm)
				x.addStrings(l, x.labels, textTerm)
			}
		case l.Type == StringParam:
			x.addStrings(l, x.labels, plainTerm)
		}
	}
}

// truth is true or false: whether there is a value that is not false.
func (x *Extractor) truth(l *leaf, is bool) {
	value := token{code: "false", lower: "false"}
	if is {
		value.code, value.lower = "true", "true"
	}
	x.tokens = append(x.tokens[:0], value)
	x.addTokens(l, x.tokens, plainTerm)
}

// A parameter has terms under three names: its own, and those of two modifiers.
const (
	plainTerm = iota
	textTerm
	typeTerm
	termNames
)

func (l *leaf) name(which int) string {
	switch which {
	case textTerm:
		return l.text
	case typeTerm:
		return l.ofType
	}
	return l.Name
}

func (x *Extractor) addTokens(l *leaf, tokens []token, which int) {
	if len(tokens) == 0 || x.err != nil {
		return
	}
	all := room(x.terms.Tokens, x.spare.terms.Tokens, keptTokens.usual)
	start, name := len(all), l.name(which)
	for i := range tokens {
		t := &tokens[i]
		code := t.lower
		if l.CaseSensitive {
			code = t.code
		}
		all = append(all, Token{name, t.system, code})
	}
	x.terms.Tokens = take(x, l, which, all, start, &keptTokens)
}

func (x *Extractor) addStrings(l *leaf, texts []string, which int) {
	if len(texts) == 0 || x.err != nil {
		return
	}
	all := room(x.terms.Strings, x.spare.terms.Strings, keptStrings.usual)
	start, name := len(all), l.name(which)
	for _, text := range texts {
		all = append(all, String{name, text})
	}
	x.terms.Strings = take(x, l, which, all, start, &keptStrings)
}

// named makes terms of the labels: the parts of a name or an address.
func (x *Extractor) named(n *node) {
	for i := range n.leaves {
		if l := &n.leaves[i]; l.Type == StringParam {
			x.addStrings(l, x.labels, plainTerm)
		}
	}
}

// humanName: a server searches in any of the parts.
// http://hl7.org/fhir/R4/patient.html#search
func (x *Extractor) humanName() {
	for ok := x.object(); ok && x.more('}'); {
		switch string(x.member()) {
		case "family", "given", "prefix", "suffix", "text":
			x.each((*Extractor).addLabel)
		default:
			x.skip()
		}
	}
}

func (x *Extractor) address() {
	for ok := x.object(); ok && x.more('}'); {
		switch string(x.member()) {
		case "line", "city", "district", "state", "postalCode", "country", "text":
			x.each((*Extractor).addLabel)
		default:
			x.skip()
		}
	}
}

func (x *Extractor) textual(n *node) {
	text := x.raw()
	if len(text) == 0 || x.err != nil {
		return
	}
	kept := x.keep(text)
	for i := range n.leaves {
		l := &n.leaves[i]
		switch {
		case l.truth:
			x.truth(l, true)
		case l.Type == StringParam:
			x.labels = append(x.labels[:0], kept)
			x.addStrings(l, x.labels, plainTerm)
		case l.Type == TokenParam && len(kept) <= MaxValueLength:
			x.begins()
			x.token("", kept)
			x.addTokens(l, x.tokens, plainTerm)
		}
	}
}

// uri reads what may be searched for as a uri, a token, or a reference.
func (x *Extractor) uri(n *node) {
	text := x.string()
	if text == "" || x.odd || x.err != nil {
		return
	}
	for i := range n.leaves {
		switch l := &n.leaves[i]; l.Type {
		case URIParam:
			all := room(x.terms.URIs, x.spare.terms.URIs, keptURIs.usual)
			start := len(all)
			x.terms.URIs = take(x, l, plainTerm, append(all, URI{l.Name, text}), start, &keptURIs)
		case TokenParam:
			x.begins()
			x.token("", text)
			x.addTokens(l, x.tokens, plainTerm)
		case ReferenceParam:
			r := Reference{}
			r.to(text, n.kind == canonicalURL)
			x.addReference(l, &r)
		}
	}
}

// to sets what a literal reference or a canonical points at, and gives its type if it tells.
func (r *Reference) to(text string, versioned bool) (of string) {
	if versioned {
		text, r.Version, _ = strings.Cut(text, "|")
	}
	target := target(text)
	switch {
	case target.id == "":
		r.URL = text
	case target.base == "":
		r.Type, r.ID = target.of, target.id
	default:
		// The version, if there is one, is what text goes on with.
		r.URL = text[:len(target.base)+len(target.of)+1+len(target.id)]
	}
	return target.of
}

func (x *Extractor) reference(n *node) {
	var text, of string
	r := Reference{}
	for ok := x.object(); ok && x.more('}'); {
		switch string(x.member()) {
		case "reference":
			text = x.string()
		case "type":
			of = x.string()
		case "identifier":
			r.IdentifierSystem, r.IdentifierValue = x.systemAndValue()
		default:
			x.skip()
		}
	}
	if x.odd || x.err != nil {
		return
	}
	if to := r.to(text, false); to != "" {
		of = to
	}
	if r == (Reference{}) {
		return
	}
	for i := range n.leaves {
		if l := &n.leaves[i]; l.Type == ReferenceParam && (l.points == "" || l.points == of) {
			x.addReference(l, &r)
		}
	}
}

func (x *Extractor) addReference(l *leaf, to *Reference) {
	all := room(x.terms.References, x.spare.terms.References, keptReferences.usual)
	start := len(all)
	all = append(all, *to)
	r := &all[start]
	r.Param = l.Name
	if len(l.Targets) == 1 && r.ID == "" && fhir.ValidID(r.URL) {
		// Not a form that FHIR has, but what is meant is clear where there is one type.
		r.Type, r.ID, r.URL = l.Targets[0], r.URL, ""
	}
	x.terms.References = take(x, l, plainTerm, all, start, &keptReferences)
}

func (x *Extractor) systemAndValue() (system, value string) {
	for ok := x.object(); ok && x.more('}'); {
		switch string(x.member()) {
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

func (x *Extractor) time(k kind) (low, high time.Time, ok bool) {
	text := x.raw()
	if x.odd || x.err != nil {
		return time.Time{}, time.Time{}, false
	}
	low, high, ok = intervalIn(x.zone, text)
	if k == instant {
		high = low.Add(time.Nanosecond)
	}
	return low, high, ok
}

func (x *Extractor) date(n *node, low, high time.Time, ok bool) {
	if x.err != nil {
		return
	}
	for i := range n.leaves {
		switch l := &n.leaves[i]; {
		case l.truth:
			x.truth(l, true)
		case l.Type == DateParam && ok && !x.odd:
			all := room(x.terms.Dates, x.spare.terms.Dates, keptDates.usual)
			start := len(all)
			x.terms.Dates = take(x, l, plainTerm, append(all, Date{l.Name, low, high}), start, &keptDates)
		}
	}
}

// period is from the beginning of its start to the end of its end, open where one is missing.
func (x *Extractor) period() (low, high time.Time, ok bool) {
	valid := true
	for in := x.object(); in && x.more('}'); {
		switch string(x.member()) {
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
func (x *Extractor) timing(n *node) {
	var all outer
	for ok := x.object(); ok && x.more('}'); {
		switch string(x.member()) {
		case "event":
			if x.peek() != '[' {
				low, high, ok := x.time(dateTime)
				all.add(low, high, ok)
				continue
			}
			for x.pos++; x.more(']'); {
				low, high, ok := x.time(dateTime)
				all.add(low, high, ok)
			}
		case "repeat":
			for ok := x.object(); ok && x.more('}'); {
				if string(x.member()) == "boundsPeriod" {
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

// measure is a Quantity as far as it is searched.
type measure struct {
	value              *apd.Decimal
	comparator         string
	system, code, unit string
}

func (x *Extractor) measure() (m measure) {
	for ok := x.object(); ok && x.more('}'); {
		switch string(x.member()) {
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

// decimal is the next value if it is a number that can be had exactly, else nil and odd.
func (x *Extractor) decimal() *apd.Decimal {
	if c := x.peek(); c != '-' && !digit(c) {
		x.odd = true
		x.skip()
		return nil
	}
	raw := x.word()
	if n, ok := small(raw); ok {
		return x.spare.decimal(n)
	}
	n := decimal(string(raw))
	if n == nil {
		x.odd = true
	}
	return n
}

func (x *Extractor) quantity(n *node) {
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

// currencies is the system of the codes of Money. http://hl7.org/fhir/R4/datatypes.html#Money
const currencies = "urn:iso:std:iso:4217"

func (x *Extractor) money(n *node) {
	q := Quantity{}
	for ok := x.object(); ok && x.more('}'); {
		switch string(x.member()) {
		case "value":
			q.Low = x.decimal()
		case "currency":
			q.Code = x.string()
		default:
			x.skip()
		}
	}
	if q.Low == nil {
		return
	}
	if q.High = q.Low; q.Code != "" {
		q.System = currencies
	}
	x.quantities(n, q)
}

// ranged is a Range, whose two quantities have the same unit, and open where one is missing.
// http://hl7.org/fhir/R4/datatypes.html#Range
func (x *Extractor) ranged(n *node) {
	var low, high measure
	for ok := x.object(); ok && x.more('}'); {
		switch string(x.member()) {
		case "low":
			low = x.measure()
		case "high":
			high = x.measure()
		default:
			x.skip()
		}
	}
	q := Quantity{Low: low.value, High: high.value, System: low.system, Code: low.code, Unit: low.unit}
	switch {
	case q.Low == nil && q.High == nil, low.comparator != "" || high.comparator != "":
		return
	case q.Low == nil:
		q.System, q.Code, q.Unit = high.system, high.code, high.unit
	case q.High != nil && (q.Low.Cmp(q.High) > 0 || low.system != high.system || low.code != high.code || low.code == "" && low.unit != high.unit):
		return
	}
	x.quantities(n, q)
}

func (x *Extractor) quantities(n *node, q Quantity) {
	if x.odd || x.err != nil {
		return
	}
	for i := range n.leaves {
		l := &n.leaves[i]
		value := q
		switch value.Param = l.Name; l.Type {
		case QuantityParam:
		case NumberParam:
			value.System, value.Code, value.Unit = "", "", ""
		default:
			continue
		}
		all := room(x.terms.Quantities, x.spare.terms.Quantities, keptQuantities.usual)
		start := len(all)
		x.terms.Quantities = take(x, l, plainTerm, append(all, value), start, &keptQuantities)
	}
}

// samples are searched by the bounds of their values. Where some were beyond what can be
// measured the limit is a bound, too, as it is where there are no data.
// http://hl7.org/fhir/R4/search.html#quantity
func (x *Extractor) samples(n *node) {
	var (
		origin              measure
		factor, least, most *apd.Decimal
		data                extremes
	)
	for ok := x.object(); ok && x.more('}'); {
		switch string(x.member()) {
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
			if data, ok = bounds(x.raw()); !ok {
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
