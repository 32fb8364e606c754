package embedded

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// tester finds out whether a candidate matches, with as little reading as its key allows:
// the plan decides some clauses, the date in the key others, the definition of the series
// others again, and the resource the rest.
type tester struct {
	q    search.Query
	plan plan
	// placed: the key tells the whole place of a candidate in the order of q.
	placed bool
	// terms: those of a match are needed. keys: for its place in the order of q.
	terms, keys bool

	layout layout
	// Of the clauses of q: those that the plan leaves open, and of these, those that the date in
	// a key may answer, and those that a definition may.
	open, dates, series clauses
	byDate              search.Query // of dates
	rests               []*rest      // few: what definitions decide is mostly the same
	verdicts            map[uint64]verdict
	last                uint64 // the series of the newest verdict: mostly the next one asked for, too
	newest              verdict

	reader reader
	reads  int
}

// clauses are some of the clauses of a query, as the bits of their indexes.
type clauses uint64

const maxClauses = 64

// rest are the clauses that are still open for a candidate.
type rest struct {
	open  clauses
	q     search.Query
	terms bool // it takes the terms of the resource to decide them
}

// verdict is what the definition of a series says about all that is in it.
type verdict struct {
	possible bool
	decided  clauses
}

func newTester(v *view, q search.Query, p plan) *tester {
	t := &tester{
		q: q, plan: p, placed: true, layout: v.params.layout(q.Type), byDate: search.Query{Type: q.Type},
		reader: reader{view: v},
	}
	for _, s := range q.Sort {
		switch {
		case s.Param == sortDate && v.params.hasDate(q.Type):
			t.placed = t.placed && p.dated
			t.terms = t.terms || !p.dated
		case s.Param == "_lastUpdated":
			t.placed = t.placed && p.order == byUpdated
		case s.Param == "_id":
		default: // no index is in this order
			t.placed, t.keys, t.terms = false, true, true
		}
	}
	for i := range min(len(q.Where), maxClauses) {
		c := &q.Where[i]
		bit := clauses(1) << i
		switch {
		case !p.dated:
		case slices.Contains(p.decided, i):
			continue
		case c.Param.Name == sortDate && c.Param.Type == search.DateParam && c.Any == nil:
			t.dates |= bit
			t.byDate.Where = append(t.byDate.Where, *c)
		case t.layout.mayDecide(c):
			t.series |= bit
		}
		t.open |= bit
	}
	return t
}

// byKeys reports whether keys may tell all that q asks for.
func (t *tester) byKeys() bool {
	return len(t.q.Where) <= maxClauses && t.plan.dated && t.open&^(t.dates|t.series) == 0
}

// all are the clauses of q: nothing is known of a candidate.
func (t *tester) all() *rest { return t.left(1<<min(len(t.q.Where), maxClauses) - 1) }

// left is what is still open.
func (t *tester) left(open clauses) *rest {
	for _, r := range t.rests {
		if r.open == open {
			return r
		}
	}
	r := &rest{open: open, q: search.Query{Type: t.q.Type}}
	for i, c := range t.q.Where {
		if i < maxClauses && open>>i&1 == 0 {
			continue
		}
		r.q.Where = append(r.q.Where, c)
		r.terms = r.terms || c.Param.Name != "_id" && c.Param.Name != "_lastUpdated" && (c.Param.Name != "" || c.Any != nil)
	}
	t.rests = append(t.rests, r)
	return r
}

// byKey tests what the key at hand tells, and gives what it leaves open.
func (t *tester) byKey(w *walk) (possible bool, left *rest, err error) {
	if !w.possible() {
		return false, nil, nil
	}
	length, series, ok := w.told()
	if !ok {
		return true, t.all(), nil
	}
	open := t.open
	if t.dates != 0 {
		if dates, known := datesOf(w.date(), length); known {
			if !t.byDate.Matches(fhir.Key{Type: t.q.Type}, time.Time{}, &search.Terms{Dates: dates}) {
				return false, nil, nil
			}
			open &^= t.dates
		}
	}
	if series != 0 && t.series != 0 {
		v, err := t.verdict(series)
		if err != nil || !v.possible {
			return false, nil, err
		}
		open &^= v.decided
	}
	return true, t.left(open), nil
}

// verdict is that of a series.
func (t *tester) verdict(number uint64) (verdict, error) {
	if number == t.last {
		return t.newest, nil
	}
	if v, ok := t.verdicts[number]; ok {
		t.last, t.newest = number, v
		return v, nil
	}
	s := t.plan.known[number]
	if s == nil {
		var err error
		if s, err = t.reader.view.series(number, t.q.Type); err != nil {
			return verdict{}, err
		}
	}
	v := verdict{possible: true}
	for i := range t.q.Where {
		if i >= maxClauses || t.series>>i&1 == 0 {
			continue
		}
		if holds, known := t.layout.decide(t.q.Type, t.q.Where, i, s); known {
			v.decided |= 1 << i
			v.possible = v.possible && holds
		}
	}
	if t.verdicts == nil || len(t.verdicts) >= t.reader.view.limits.seen {
		t.verdicts = map[uint64]verdict{}
	}
	t.verdicts[number] = v
	t.last, t.newest = number, v
	return v, nil
}

// series is the definition of a series of a type.
func (v *view) series(number uint64, resourceType string) (*series, error) {
	value, closer, err := v.snapshot.Get(appendDefinition(nil, number))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, errSeries
	}
	if err != nil {
		return nil, err
	}
	of, definition, _ := bytes.Cut(value, []byte{0})
	s, err := readSeries(definition)
	if err == nil && string(of) != resourceType {
		err = errSeries
	}
	return &s, errors.Join(err, closer.Close())
}

// holds reports whether the candidate that w is at matches.
func (t *tester) holds(w *walk) (bool, error) {
	possible, left, err := t.byKey(w)
	if err != nil || !possible {
		return false, err
	}
	if len(left.q.Where) == 0 && len(t.q.Where) > 0 {
		return true, nil
	}
	found, _, _, err := t.read(w, w.place(), left)
	return found, err
}

// read reads the candidate that w is at and tests what is left. The JSON is valid until the
// next one is read.
func (t *tester) read(w *walk, at search.Cursor, left *rest) (bool, record, search.Terms, error) {
	t.reads++
	var terms search.Terms
	r, err := t.record(w, at)
	if err != nil || r.version == 0 || r.deleted {
		return false, r, terms, err
	}
	if left.terms || t.terms {
		if terms, err = t.reader.view.params.Extract(t.q.Type, r.json); err != nil {
			return false, r, terms, err
		}
	}
	return left.q.Matches(fhir.Key{Type: t.q.Type, ID: at.ID}, r.at(), &terms), r, terms, nil
}

// at is the whole place of a match.
func (t *tester) at(at search.Cursor, r *record, terms *search.Terms) search.Cursor {
	if t.plan.dated && !t.keys {
		terms = &search.Terms{Dates: []search.Date{{Param: sortDate, Low: at.Date}}}
	}
	return t.q.SortKeys(fhir.Key{Type: t.q.Type, ID: at.ID}, r.at(), terms)
}

// record is the current version of a candidate.
func (t *tester) record(w *walk, at search.Cursor) (record, error) {
	if w.at != nil {
		switch w.at.values {
		case placed:
			return readPlaced(w.value)
		case currents:
			r, err := readRecord(w.value)
			if err == nil && r.place.series != 0 {
				r, err = t.reader.at(r.place, at.ID)
			}
			return r, err
		}
	}
	if _, series, told := w.told(); told && series != 0 && w.at.place == dateLen {
		place := location{series: series}
		copy(place.date[:], w.last)
		return t.reader.at(place, at.ID)
	}
	r, _, err := t.reader.current(t.q.Type, at.ID)
	return r, err
}
