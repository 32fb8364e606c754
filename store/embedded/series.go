package embedded

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// A series is all resources of a type that belong to one patient and have the same
// categories and codes: the heart rates of a patient, say. It has a definition, which are
// these terms, and a number, which stands for the definition in keys and values. The JSON of
// its resources lies in the order of their dates, so that a page of it is read in one go.
//
// In a series is what refers to exactly one patient, if its type has the parameters patient
// and date in R4, and if its definition is not too long. Custom parameters make no
// difference: where a resource lies does not depend on them.

// The parameters whose terms are a definition, as far as R4 has them for the type. All
// terms of them are in it.
var (
	seriesReferences = []string{"patient", "subject"}
	seriesTokens     = []string{"category", "code", "combo-code", "component-code"}
)

const (
	maxDefinition = 1 << 10 // bytes
	maxDefined    = 64      // references and codes, each
)

// layout is which of the parameters above a type has, as the bits of their indexes. It is
// zero for a type that has no series.
type layout struct{ references, tokens byte }

func (l layout) any() bool { return l != layout{} }

func layoutOf(resourceType string) layout {
	r4 := search.R4()
	is := func(name string, t search.ParamType) bool {
		p, ok := r4.Lookup(resourceType, name)
		return ok && p.Type == t
	}
	var l layout
	if !is("patient", search.ReferenceParam) || !is(sortDate, search.DateParam) {
		return l
	}
	for i, name := range seriesReferences {
		if is(name, search.ReferenceParam) {
			l.references |= 1 << i
		}
	}
	for i, name := range seriesTokens {
		if is(name, search.TokenParam) {
			l.tokens |= 1 << i
		}
	}
	return l
}

// bit is the bit of a parameter, 0 if it has none.
func bit(names []string, of byte, name string) byte {
	i := slices.Index(names, name)
	if i < 0 {
		return 0
	}
	return of & (1 << i)
}

// location is where the JSON of a resource in a series lies; zero for any other resource.
type location struct {
	series uint64
	date   [dateLen]byte // as in a key
}

// definer finds definitions. Its memory is used again for each.
type definer struct {
	patients   []string
	references []definedReference
	tokens     []definedToken
	buf        []byte
}

// forget lets go of the texts of the last definition.
func (d *definer) forget() {
	clear(d.patients[:cap(d.patients)])
	clear(d.references[:cap(d.references)])
	clear(d.tokens[:cap(d.tokens)])
}

type definedReference struct {
	params byte
	search.Reference
}

type definedToken struct {
	params byte
	search.Token
}

// define is the definition of the series that terms belong to, valid until the next call,
// and its patient. patients are all that there are where it is not exactly one, until the next
// call, too.
//
// It is the span of the dates, the patient, the references and the codes, each with the
// parameters that it is of, all in an order of their own.
func (d *definer) define(l layout, t *search.Terms) (definition []byte, patients []string) {
	patients = d.patients[:0]
	d.references, d.tokens = d.references[:0], d.tokens[:0]
	for _, r := range t.References {
		if b := bit(seriesReferences, l.references, r.Param); b != 0 {
			r.Param = ""
			d.references = append(d.references, definedReference{b, r})
			if r.Type == "Patient" && r.ID != "" && !slices.Contains(patients, r.ID) {
				patients = append(patients, r.ID)
			}
		}
	}
	d.patients = patients
	if len(patients) != 1 || len(d.references) > maxDefined {
		return nil, patients
	}
	for _, v := range t.Tokens {
		if b := bit(seriesTokens, l.tokens, v.Param); b != 0 {
			v.Param = ""
			d.tokens = append(d.tokens, definedToken{b, v})
		}
	}
	if len(d.tokens) > 4*maxDefined {
		return nil, patients
	}
	d.references = merged(d.references, compareReferences, func(a, b *definedReference) { a.params |= b.params })
	d.tokens = merged(d.tokens, compareTokens, func(a, b *definedToken) { a.params |= b.params })
	if len(d.tokens) > maxDefined {
		return nil, patients
	}
	_, span, _ := extent(t, sortDate)
	b := append(d.buf[:0], span)
	b = appendString(b, patients[0])
	b = binary.AppendUvarint(b, uint64(len(d.references)))
	for i := range d.references {
		r := &d.references[i]
		b = append(b, r.params)
		for _, s := range []string{r.Type, r.ID, r.URL, r.Version, r.IdentifierSystem, r.IdentifierValue} {
			b = appendString(b, s)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(d.tokens)))
	for i := range d.tokens {
		v := &d.tokens[i]
		b = appendString(appendString(append(b, v.params), v.System), v.Code)
	}
	d.buf = b
	if len(b) > maxDefinition {
		return nil, patients
	}
	return b, patients
}

func compareReferences(a, b definedReference) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.ID, b.ID), cmp.Compare(a.URL, b.URL), cmp.Compare(a.Version, b.Version),
		cmp.Compare(a.IdentifierSystem, b.IdentifierSystem), cmp.Compare(a.IdentifierValue, b.IdentifierValue))
}

func compareTokens(a, b definedToken) int {
	return cmp.Or(cmp.Compare(a.System, b.System), cmp.Compare(a.Code, b.Code))
}

// merged sorts, and makes one of equals.
func merged[T any](all []T, compare func(a, b T) int, merge func(into, from *T)) []T {
	slices.SortFunc(all, compare)
	n := 0
	for i := range all {
		if n > 0 && compare(all[n-1], all[i]) == 0 {
			merge(&all[n-1], &all[i])
			continue
		}
		all[n] = all[i]
		n++
	}
	return all[:n]
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

var errSeries = errors.New("the definition of a series is damaged: restore the store from a backup")

// series is a definition that was read.
type series struct {
	span    byte
	patient string
	terms   search.Terms // of the parameters of the definition, and no others
}

// readSeries reads what define made.
func readSeries(definition []byte) (series, error) {
	var s series
	err := s.read(definition)
	return s, err
}

// read reads a definition into the memory that s has.
func (s *series) read(definition []byte) error {
	d := decoder{rest: string(definition)}
	s.span, s.patient = d.byte(), d.string()
	n := d.count()
	s.terms.References = slices.Grow(s.terms.References[:0], min(2*n, maxDefined))
	for range n {
		params := d.byte()
		r := search.Reference{Type: d.string(), ID: d.string(), URL: d.string(), Version: d.string(), IdentifierSystem: d.string(), IdentifierValue: d.string()}
		for ; params != 0; params &= params - 1 {
			if r.Param = d.name(seriesReferences, params); r.Param != "" {
				s.terms.References = append(s.terms.References, r)
			}
		}
	}
	n = d.count()
	s.terms.Tokens = slices.Grow(s.terms.Tokens[:0], min(2*n, maxDefined))
	for range n {
		params := d.byte()
		v := search.Token{System: d.string(), Code: d.string()}
		for ; params != 0; params &= params - 1 {
			if v.Param = d.name(seriesTokens, params); v.Param != "" {
				s.terms.Tokens = append(s.terms.Tokens, v)
			}
		}
	}
	if d.bad || d.rest != "" || s.span != short && s.span != long {
		return errSeries
	}
	return nil
}

// decoder reads what lies one behind the other.
type decoder struct {
	rest string
	bad  bool
}

func (d *decoder) byte() byte {
	if d.rest == "" {
		d.bad = true
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

// count is a number of things of a byte each, at least.
func (d *decoder) count() int {
	n, shift := uint64(0), 0
	for ; ; shift += 7 {
		b := d.byte()
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			break
		}
		if shift > 28 {
			d.bad = true
			break
		}
	}
	if d.bad || n > uint64(len(d.rest)) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) string() string {
	n := d.count()
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

// name is that of the lowest bit.
func (d *decoder) name(names []string, params byte) string {
	if i := bits.TrailingZeros8(params); i < len(names) {
		return names[i]
	}
	d.bad = true
	return ""
}

// decidable reports whether the terms of a definition tell all that a clause asks for.
func (l layout) decidable(c *search.Clause) bool {
	name := c.Param.Name
	switch {
	case c.Any != nil || c.Has != nil:
		return false
	case c.Chain != nil:
		return c.Among != nil && bit(seriesReferences, l.references, name) != 0
	case c.Among != nil || c.Modifier == "text" || c.Modifier == "of-type":
		return false
	case c.Param.Type == search.ReferenceParam:
		return bit(seriesReferences, l.references, name) != 0
	default:
		return c.Param.Type == search.TokenParam && bit(seriesTokens, l.tokens, name) != 0
	}
}

// mayDecide reports whether the terms of a definition can tell that a clause holds.
func (l layout) mayDecide(c *search.Clause) bool {
	return l.decidable(c) || slices.ContainsFunc(c.Any, func(c search.Clause) bool { return l.mayDecide(&c) })
}

// decide reports whether the clause where[i] holds for all resources of a series, if its
// definition tells.
func (l layout) decide(resourceType string, where []search.Clause, i int, s *series) (holds, known bool) {
	if some := where[i].Any; some != nil {
		known = true
		for j := range some {
			one, sure := l.decide(resourceType, some, j, s)
			if one && sure {
				return true, true
			}
			known = known && sure
		}
		return false, known
	}
	if !l.decidable(&where[i]) {
		return false, false
	}
	q := search.Query{Type: resourceType, Where: where[i : i+1]}
	return q.Matches(fhir.Key{Type: resourceType}, time.Time{}, &s.terms), true
}
