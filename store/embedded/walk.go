package embedded

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir/search"
)

// walk gives the candidates of a plan, those of all its ranges in one order: by place,
// and then by id. Where the plan has no order they come range by range.
type walk struct {
	view    *view
	plan    plan
	sources sources
	spare   *pebble.Iterator
	at      *source // what next found
	last    []byte  // what at.rest() was then
	id      []byte  // of the candidate, in last
	value   []byte  // that of the candidate's key, valid until next
	ranges  int     // how many of plan.ranges were opened
	ids     int     // how many of plan.ids were given
	keys    int     // how many keys and ids were read
	failed  error
}

func (v *view) walk(p plan) (*walk, error) {
	w := &walk{view: v, plan: p}
	if p.order == unordered {
		return w, nil
	}
	for w.ranges < len(p.ranges) {
		if err := w.open(); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	heap.Init(&w.sources)
	return w, nil
}

// open begins to read the next range.
func (w *walk) open() error {
	r := &w.plan.ranges[w.ranges]
	w.ranges++
	if bytes.Compare(r.lower, r.upper) >= 0 {
		return nil
	}
	it := w.spare
	if w.spare = nil; it != nil {
		it.SetBounds(r.lower, r.upper)
	} else {
		var err error
		if it, err = w.view.snapshot.NewIter(&pebble.IterOptions{LowerBound: r.lower, UpperBound: r.upper}); err != nil {
			return err
		}
	}
	s := &source{it: it, keyRange: r, backwards: w.plan.backwards}
	s.first()
	if !s.valid {
		return w.drop(s)
	}
	w.sources = append(w.sources, s)
	return nil
}

// drop lets go of a source that has come to its end.
func (w *walk) drop(s *source) error {
	if s.err != nil || w.spare != nil {
		return errors.Join(s.err, s.it.Close())
	}
	w.spare = s.it
	return nil
}

// next goes to the next candidate. One that several ranges have at the same place comes once.
func (w *walk) next() bool {
	if w.failed != nil {
		return false
	}
	if w.plan.order == unordered {
		w.following()
	} else {
		w.first()
	}
	if w.failed != nil {
		return false
	}
	if w.at == nil {
		return w.nextID()
	}
	w.keys++
	w.last = append(w.last[:0], w.at.rest()...)
	if w.id = w.at.id(w.last); w.id == nil {
		w.failed = errIndex
		return false
	}
	w.value, w.failed = w.at.value()
	return w.failed == nil
}

// possible reports whether the candidate may match, as far as the text in its key tells.
func (w *walk) possible() bool { return w.at == nil || w.at.keep == nil || w.at.keep(w.last) }

// first finds the source that is before all others, behind what it found before.
func (w *walk) first() {
	if w.at != nil {
		w.at = nil
		for len(w.sources) > 0 && bytes.Equal(w.sources[0].rest(), w.last) {
			s := w.sources[0]
			if s.next(); s.valid {
				heap.Fix(&w.sources, 0)
				continue
			}
			heap.Pop(&w.sources)
			if w.failed = w.drop(s); w.failed != nil {
				return
			}
		}
	}
	if len(w.sources) > 0 {
		w.at = w.sources[0]
	}
}

// following goes to the next key of the range at hand, or to the first one of the next range.
func (w *walk) following() {
	if w.at != nil {
		if w.at.next(); w.at.valid {
			return
		}
		w.failed = w.drop(w.at)
		w.at, w.sources = nil, nil
	}
	for w.failed == nil && len(w.sources) == 0 && w.ranges < len(w.plan.ranges) {
		w.failed = w.open()
	}
	if w.failed == nil && len(w.sources) > 0 {
		w.at = w.sources[0]
	}
}

func (w *walk) nextID() bool {
	w.value = nil
	if w.ids == len(w.plan.ids) {
		return false
	}
	w.id = append(w.id[:0:0], w.plan.ids[w.ids]...)
	w.ids++
	w.keys++
	return true
}

// place is where the candidate is in an order, as far as its key tells.
func (w *walk) place() search.Cursor {
	at := search.Cursor{ID: string(w.id), Date: w.date()}
	if w.plan.order == byUpdated {
		at.LastUpdated = updatedOf(w.last)
	}
	return at
}

// date is where the candidate of a dated plan is by date; of a type without dates it is zero.
func (w *walk) date() time.Time {
	if !w.plan.dated || w.at == nil || w.at.place != dateLen {
		return time.Time{}
	}
	return dateOf(w.last)
}

// told is what the key and its value tell of the candidate of a dated plan: the length of its
// date, and its series, if it is in one. It is false if they do not.
func (w *walk) told() (length, series uint64, ok bool) {
	if !w.plan.dated || w.at == nil {
		return 0, 0, false
	}
	switch w.at.values {
	case members, placed:
		length, n := binary.Uvarint(w.value)
		return length, w.at.series, n > 0
	case pointers:
		return readPointer(w.value)
	default:
		return 0, 0, false
	}
}

func (w *walk) err() error { return w.failed }

func (w *walk) close() error {
	var err error
	for _, s := range w.sources {
		err = errors.Join(err, s.it.Close())
	}
	if w.spare != nil {
		err = errors.Join(err, w.spare.Close())
	}
	w.sources, w.spare = nil, nil
	return err
}

// sources are a heap: the one that comes first is the first.
type sources []*source

func (s sources) Len() int           { return len(s) }
func (s sources) Less(i, j int) bool { return s[i].before(s[j]) }
func (s sources) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *sources) Push(x any)        { *s = append(*s, x.(*source)) }
func (s *sources) Pop() any {
	last := len(*s) - 1
	x := (*s)[last]
	*s = (*s)[:last]
	return x
}

// source reads one range. Backwards, it takes the places from the last to the first, but
// the ids of one place from the first to the last: many resources may have one date, or
// were written together, and the order of equals is that of their ids.
type source struct {
	*keyRange
	it        *pebble.Iterator
	backwards bool
	valid     bool
	err       error

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

// id is the end of a key, nil if it has none.
func (s *source) id(rest []byte) []byte {
	for range s.texts {
		n := textLen(rest)
		if n < 0 {
			return nil
		}
		rest = rest[n:]
	}
	if len(rest) <= s.place {
		return nil
	}
	return rest[s.place:]
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
