package embedded

import (
	"bytes"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir/search"
)

// walk gives the candidates of a plan, those of all its ranges in one order: by place,
// and then by id.
type walk struct {
	plan    plan
	sources []*source
	at      *source // what next found
	last    []byte  // what at.rest() was then
	value   []byte  // that of the candidate's key, valid until next
	ids     int     // how many of plan.ids were given
	failed  error
}

func (v *view) walk(p plan) (*walk, error) {
	w := &walk{plan: p}
	for _, r := range p.ranges {
		if bytes.Compare(r.lower, r.upper) >= 0 {
			continue
		}
		it, err := v.snapshot.NewIter(&pebble.IterOptions{LowerBound: r.lower, UpperBound: r.upper})
		if err != nil {
			return nil, errors.Join(err, w.close())
		}
		s := &source{it: it, cut: r.cut, place: p.place, backwards: p.backwards}
		s.first()
		w.sources = append(w.sources, s)
	}
	return w, nil
}

// next goes to the next candidate. One that several ranges have at the same place comes once.
func (w *walk) next() bool {
	if w.plan.ids != nil {
		w.ids++
		return w.ids <= len(w.plan.ids)
	}
	first := w.at == nil
	w.at = nil
	for _, s := range w.sources {
		if !first && s.valid && bytes.Equal(s.rest(), w.last) {
			s.next()
		}
		if !s.valid {
			if s.err != nil {
				w.failed = s.err
				return false
			}
			continue
		}
		if w.at == nil || s.before(w.at) {
			w.at = s
		}
	}
	if w.at == nil {
		return false
	}
	w.last = append(w.last[:0], w.at.rest()...)
	if len(w.last) <= w.plan.place {
		w.failed = errIndex
		return false
	}
	w.value, w.failed = w.at.value()
	return w.failed == nil
}

// place is where the candidate is in an order, as far as its key tells.
func (w *walk) place() search.Cursor {
	if w.plan.ids != nil {
		return search.Cursor{ID: w.plan.ids[w.ids-1]}
	}
	at := search.Cursor{ID: string(w.last[w.plan.place:])}
	switch w.plan.order {
	case byDate:
		at.Date = dateOf(w.last)
	case byUpdated:
		at.LastUpdated = updatedOf(w.last)
	}
	return at
}

func (w *walk) err() error { return w.failed }

func (w *walk) close() error {
	var err error
	for _, s := range w.sources {
		err = errors.Join(err, s.it.Close())
	}
	w.sources = nil
	return err
}

// source reads one range. Backwards, it takes the places from the last to the first, but
// the ids of one place from the first to the last: many resources may have one date, or
// were written together, and the order of equals is that of their ids.
type source struct {
	it         *pebble.Iterator
	cut, place int
	backwards  bool
	valid      bool
	err        error

	// Backwards, the keys of a place are read ahead, and it is at the place before. If they
	// are more than a few, they are read from it, and start is where they begin.
	few   []keyValue
	start []byte
}

type keyValue struct{ rest, value []byte }

// maxFew is how many keys of one place are read ahead.
const maxFew = 32

// rest is what the keys of a range are sorted by, and the id.
func (s *source) rest() []byte {
	if len(s.few) > 0 {
		return s.few[len(s.few)-1].rest
	}
	return s.it.Key()[s.cut:]
}

func (s *source) value() ([]byte, error) {
	if len(s.few) > 0 {
		return s.few[len(s.few)-1].value, nil
	}
	return s.it.ValueAndErr()
}

// before reports whether s comes before o.
func (s *source) before(o *source) bool {
	a, b := s.rest(), o.rest()
	if !s.backwards {
		return bytes.Compare(a, b) < 0
	}
	if s.place == 0 {
		return bytes.Compare(a, b) > 0
	}
	n := min(s.place, len(a), len(b))
	if c := bytes.Compare(a[:n], b[:n]); c != 0 {
		return c > 0
	}
	return bytes.Compare(a[n:], b[n:]) < 0
}

func (s *source) first() {
	if !s.backwards {
		s.found(s.it.First())
	} else if s.found(s.it.Last()); s.valid {
		s.group()
	}
}

func (s *source) next() {
	switch {
	case !s.backwards:
		s.found(s.it.Next())
	case s.place == 0:
		s.found(s.it.Prev())
	case len(s.few) > 1:
		s.few = s.few[:len(s.few)-1]
	case len(s.few) == 1:
		s.few = s.few[:0]
		if s.found(s.it.Valid()); s.valid {
			s.group()
		}
	default:
		if s.found(s.it.Next()); s.valid && bytes.HasPrefix(s.it.Key(), s.start) {
			return
		}
		if s.err != nil {
			return
		}
		if s.found(s.it.SeekLT(s.start)); s.valid {
			s.group()
		}
	}
}

func (s *source) found(ok bool) {
	s.valid = ok
	if !ok {
		s.err = s.it.Error()
	}
}

// group reads the keys of the place that it is at the last key of.
func (s *source) group() {
	if s.place == 0 || len(s.it.Key()) < s.cut+s.place {
		return
	}
	s.start = append(s.start[:0], s.it.Key()[:s.cut+s.place]...)
	for {
		value, err := s.it.ValueAndErr()
		if err != nil {
			s.valid, s.err = false, err
			return
		}
		s.few = append(s.few, keyValue{bytes.Clone(s.it.Key()[s.cut:]), bytes.Clone(value)})
		if !s.it.Prev() {
			if s.err = s.it.Error(); s.err != nil {
				s.valid = false
			}
			return
		}
		if !bytes.HasPrefix(s.it.Key(), s.start) {
			return
		}
		if len(s.few) == maxFew {
			s.few = s.few[:0]
			s.found(s.it.SeekGE(s.start))
			return
		}
	}
}
