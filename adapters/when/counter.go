package when

import (
	"cmp"
	"slices"
	"time"

	"github.com/kiln-health/kiln/fhir"
)

// Tick is a reading that carries two times: what the wall clock showed, of which only
// the calendar fields count, and how many seconds a counter had counted that runs on
// whatever happens to the wall clock. Of names the counter: the id of the transmitter.
type Tick struct {
	Wall    time.Time
	Counter int64
	Of      string
}

// Change is a place where the wall clock does something that the zone database does
// not explain. Tick is the index of the first reading behind it.
type Change struct {
	Tick int
	// Ahead is how far the clock is from here on ahead of the configured zone: minus six
	// hours after a flight from Berlin to New York, zero when it follows the zone again.
	Ahead time.Duration
	// Lost tells that the offset is not known from what went before: counter and clock
	// part by what is no offset of any zone, so that the clock was set by hand, or the
	// counter contradicts itself, or a clock that was away has no reading for hours before
	// another counter begins. What follows rests on the wall clock and the zone.
	Lost bool
}

// Timeline is what counters tell of the wall clock beside them. At and Err are in the
// order of the ticks; where Err is not nil there is no instant. Changes are in the order
// in which they happened. A Timeline may be used by several goroutines.
type Timeline struct {
	At      []Instant
	Err     []error
	Changes []Change

	zone  *time.Location
	spans []span
}

// What an offset change looks like between two readings: the wall clock minus the
// counter steps by a multiple of a quarter of an hour, up to drift. A step
// below smallest is drift too, or a clock put right a little. In seconds.
const (
	quarter  = 15 * 60
	smallest = 10 * 60
	drift    = 2 * 60
	widest   = 27 * 60 * 60 // between any two offsets of zones, and drift
	warmUp   = 3 * 60 * 60  // of a sensor, at most: what lies between two counters of one wearer
	farthest = 1 << 40      // a counter beyond does not count seconds
)

// FromCounter resolves readings whose wall clock tells no offset, with counters as
// witness. All ticks are read off the wall clock of one wearer, in any order and from
// any number of counters.
//
// Sorted by counter, wall clock minus counter stays the same while the offset does.
// Where it steps by quarters of an hour the offset changed: summer time ended, or the
// wearer travelled. So two readings of one wall time, taken an hour apart in the night
// in which clocks go back, get two instants. The zone database cannot tell them apart.
//
// Counters tell that an offset changed, not what it was: the configured zone holds where
// the readings begin. Only if that leaves more steps of the clock without explanation
// than a beginning abroad does, as when a clock comes home and then follows the summer
// time of the zone to the minute, the wearer began abroad. If both ways to read a
// beginning in the hour that occurs twice explain as much, the readings are
// ErrAmbiguous. A counter that takes over from another within hours finds the
// clock as the other left it; a journey that begins or ends while no counter runs
// cannot be seen. An offset that is the zone's own at that time comes out in the zone,
// any other as a fixed offset.
//
// How is ConfiguredZone where the zone alone gives the same instant and
// MonotonicCounter where the counter was needed. The instant is the wall time minus the
// offset: the counter finds the offset, it does not replace the clock. Instants rise
// with the counter, up to its drift, except across a Change that is Lost.
//
// A counter that contradicts itself is no evidence: one count at two times, or a clock
// that would have changed its offset all the time. Its readings are resolved by the
// zone alone, as by InZone. Without a zone every reading is ErrNoZone.
func FromCounter(ticks []Tick, p fhir.Precision, zone *time.Location) Timeline {
	w := witness{
		ticks: ticks, precision: p, zone: zone, step: make([]int64, len(ticks)),
		line: Timeline{At: make([]Instant, len(ticks)), Err: make([]error, len(ticks)), zone: zone},
	}
	order := make([]int, 0, len(ticks))
	for n, t := range ticks {
		if zone == nil || t.Counter > farthest || t.Counter < -farthest {
			w.byZone(n)
			continue
		}
		order = append(order, n)
	}
	var runs []run
	for _, lifetime := range w.lifetimes(order) {
		runs = append(runs, w.runs(lifetime)...)
	}
	slices.SortStableFunc(runs, func(a, b run) int {
		return cmp.Compare(seconds(ticks[a.ticks[0]].Wall), seconds(ticks[b.ticks[0]].Wall))
	})
	for _, r := range runs {
		w.resolve(r)
	}
	slices.SortStableFunc(w.line.spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	return w.line
}

// witness is the work of FromCounter.
type witness struct {
	ticks     []Tick
	precision fhir.Precision
	zone      *time.Location
	step      []int64 // by tick: its offset minus that of the first tick of its run
	line      Timeline
}

// run is ticks, in the order of their counter, between which all changes of the offset
// are known.
type run struct {
	ticks []int
	lost  bool // what went before is known to be no guide
}

// zero is when the counter of tick n began, on the wall clock.
func (w *witness) zero(n int) int64 { return seconds(w.ticks[n].Wall) - w.ticks[n].Counter }

// seconds of a wall time, read as if it were UTC.
func seconds(wall time.Time) int64 {
	y, mo, d := wall.Date()
	h, mi, s := wall.Clock()
	return time.Date(y, mo, d, h, mi, s, 0, time.UTC).Unix()
}

// lifetimes parts the ticks by counter, and where a counter must have begun anew because
// its zero moves further than any two offsets lie apart. Each part is in the order of the counter.
func (w *witness) lifetimes(order []int) [][]int {
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(w.ticks[a].Of, w.ticks[b].Of), cmp.Compare(w.zero(a), w.zero(b)), cmp.Compare(a, b))
	})
	var parts [][]int
	from := 0
	for n := 1; n <= len(order); n++ {
		if n < len(order) && w.ticks[order[n]].Of == w.ticks[order[n-1]].Of && w.zero(order[n])-w.zero(order[n-1]) <= widest {
			continue
		}
		part := order[from:n]
		slices.SortFunc(part, func(a, b int) int {
			return cmp.Or(cmp.Compare(w.ticks[a].Counter, w.ticks[b].Counter), cmp.Compare(w.zero(a), w.zero(b)), cmp.Compare(a, b))
		})
		parts = append(parts, part)
		from = n
	}
	return parts
}

// runs parts one lifetime where the clock was set by what is no change of offset, and
// notes the steps within each run. A lifetime that is no evidence is resolved by the
// zone and gives none.
func (w *witness) runs(ticks []int) []run {
	var runs []run
	from, changes := 0, 0
	for n := 1; n < len(ticks); n++ {
		here, before := ticks[n], ticks[n-1]
		jump := w.zero(here) - w.zero(before)
		if -smallest < jump && jump < smallest {
			w.step[here] = w.step[before]
			continue
		}
		if w.ticks[here].Counter == w.ticks[before].Counter {
			w.distrust(ticks)
			return nil
		}
		changes++
		if offset, is := nearestQuarter(jump); is {
			w.step[here] = w.step[before] + offset
			continue
		}
		runs = append(runs, run{ticks[from:n], from > 0})
		from = n
	}
	if changes > 4+len(ticks)/50 {
		w.distrust(ticks)
		return nil
	}
	return append(runs, run{ticks[from:], from > 0})
}

// nearestQuarter is the multiple of a quarter of an hour that jump is, up to drift.
func nearestQuarter(jump int64) (offset int64, is bool) {
	half := int64(quarter / 2)
	if jump < 0 {
		half = -half
	}
	offset = (jump + half) / quarter * quarter
	return offset, -drift <= jump-offset && jump-offset <= drift
}

// resolve gives the ticks of a run their instants.
func (w *witness) resolve(r run) {
	var before, handed int64
	lost := r.lost
	if last, ok := w.handedOver(r); ok {
		before, handed = last.aheadLast, last.offset
	} else if n := len(w.line.spans); n > 0 && w.line.spans[n-1].aheadLast != 0 {
		lost = true
	}
	offset, found, err := w.anchor(r, before, handed)
	switch {
	case err != nil:
		for _, n := range r.ticks {
			w.line.At[n], w.line.Err[n] = Instant{How: Refused}, err
		}
		return
	case !found:
		w.distrust(r.ticks)
		return
	}
	var fixed *time.Location // of fixedAt
	var fixedAt int64
	for k, n := range r.ticks {
		o := offset + w.step[n]
		t := seconds(w.ticks[n].Wall) - o
		ahead := o - offsetAt(t, w.zone)
		in := w.zone
		if ahead != 0 {
			if fixed == nil || fixedAt != o {
				fixed, fixedAt = time.FixedZone("", int(o)), o
			}
			in = fixed
		}
		i := Instant{time.Unix(t, int64(w.ticks[n].Wall.Nanosecond())).In(in), w.precision, MonotonicCounter}
		if ahead == 0 && len(Candidates(w.ticks[n].Wall, w.zone)) == 1 {
			i.How = ConfiguredZone
		}
		w.line.At[n] = i
		lost := lost && k == 0
		if ahead != before || lost {
			w.line.Changes = append(w.line.Changes, Change{Tick: n, Ahead: time.Duration(ahead) * time.Second, Lost: lost})
		}
		before = ahead
		w.line.note(t, o, ahead, k == 0)
	}
}

// handedOver is the span at whose end another counter stopped, or was still running,
// when that of r began.
func (w *witness) handedOver(r run) (span, bool) {
	if r.lost {
		return span{}, false
	}
	wall := seconds(w.ticks[r.ticks[0]].Wall)
	spans := w.line.spans
	// Spans are nearly in order; a few of the latest are enough.
	for _, s := range slices.Backward(spans[max(0, len(spans)-8):]) {
		if t := wall - s.offset; s.from <= t && t <= s.to+warmUp {
			return s, true
		}
	}
	return span{}, false
}

// anchor is the offset of the first tick of r: that under which the clock most seldom
// stops or starts to be away from the zone, given how far ahead it was before. Of equal
// ones the earliest segment's own counts. None is found if there is none under which all
// offsets are possible.
func (w *witness) anchor(r run, before, handed int64) (offset int64, found bool, err error) {
	var tried []int64
	var fewest int
	var ofFirst, tied bool
	try := func(o int64, first bool) {
		if slices.Contains(tried, o) {
			return
		}
		tried = append(tried, o)
		n, possible := w.unexplained(r.ticks, o, before)
		switch {
		case !possible:
		case !found || n < fewest:
			offset, fewest, found, ofFirst, tied = o, n, true, first, false
		case n == fewest && first && ofFirst:
			tied = true
		}
	}
	if before != 0 {
		try(handed, false)
	}
	const enough = 16 // a clock has been nowhere that often
	for from := 0; from < len(r.ticks) && len(tried) < enough; {
		to := from + 1
		for to < len(r.ticks) && w.step[r.ticks[to]] == w.step[r.ticks[from]] {
			to++
		}
		for _, o := range w.own(r.ticks[from:to]) {
			try(o-w.step[r.ticks[from]], from == 0)
		}
		from = to
	}
	switch {
	case len(tried) == 0:
		return 0, false, ErrImpossible
	case tied:
		return 0, false, ErrAmbiguous
	}
	return offset, found, nil
}

// own are the offsets that the zone has at ticks of one offset: that of the first tick
// which has one instant, else those of one that has two.
func (w *witness) own(ticks []int) []int64 {
	var either []int64
	for _, n := range ticks {
		c := Candidates(w.ticks[n].Wall, w.zone)
		if len(c) == 0 || len(c) > 1 && either != nil {
			continue
		}
		either = either[:0]
		for _, t := range c {
			_, o := t.Zone()
			either = append(either, int64(o))
		}
		if len(c) == 1 {
			break
		}
	}
	return either
}

// unexplained counts where the clock stops or starts to be away from the zone if the
// first tick has that offset. What no zone has is not possible.
func (w *witness) unexplained(ticks []int, first, before int64) (n int, possible bool) {
	for _, tick := range ticks {
		o := first + w.step[tick]
		if o < minOffset || o > maxOffset {
			return 0, false
		}
		ahead := o - offsetAt(seconds(w.ticks[tick].Wall)-o, w.zone)
		if ahead != before {
			n++
		}
		before = ahead
	}
	return n, true
}

func offsetAt(unix int64, zone *time.Location) int64 {
	_, o := time.Unix(unix, 0).In(zone).Zone()
	return int64(o)
}

// distrust resolves ticks by the zone alone because the counter is no evidence.
func (w *witness) distrust(ticks []int) {
	w.line.Changes = append(w.line.Changes, Change{Tick: ticks[0], Lost: true})
	for _, n := range ticks {
		w.byZone(n)
	}
}

func (w *witness) byZone(n int) {
	w.line.At[n], w.line.Err[n] = InZone(w.ticks[n].Wall, w.precision, w.zone)
}
