package when

import (
	"errors"
	"slices"
	"time"

	"github.com/kiln-health/kiln/fhir"
)

// ErrAway is a wall time without a counter, beside readings whose counter shows that
// the clock was not in the configured zone.
var ErrAway = errors.New("readings with a counter show that the clock was away from the configured zone, and nothing tells its offset at this time")

// span is a time in which a clock is known to have had one offset. From and to are Unix
// seconds; ahead is the offset minus that of the zone, at both ends.
type span struct {
	from, to              int64
	offset                int64
	aheadFirst, aheadLast int64
}

// note records that the clock had that offset at the instant t.
func (l *Timeline) note(t, offset, ahead int64, begins bool) {
	last := len(l.spans) - 1
	if begins || l.spans[last].offset != offset {
		l.spans = append(l.spans, span{t, t, offset, ahead, ahead})
		return
	}
	s := &l.spans[last]
	if t < s.from {
		s.from, s.aheadFirst = t, ahead
	}
	if t >= s.to {
		s.to, s.aheadLast = t, ahead
	}
}

// maxSpans is how many offsets of a clock Resolve looks at. A wearer who travels all
// year has some dozens.
const maxSpans = 1000

// Resolve is the instant of a wall time that has no counter, read off the same clock as
// the ticks: a meal entered between readings of a sensor. Where the readings around it
// follow the zone it is the one that the zone has, as for InZone; else it is the one
// at which a clock with their offset shows wall. A wall time that the clock showed twice,
// or may have, is ErrAmbiguous. One before the first reading or after the last, if
// that was away from the zone, is ErrAway.
func (l *Timeline) Resolve(wall time.Time, p fhir.Precision) (Instant, error) {
	if l.zone == nil || len(l.spans) == 0 {
		return InZone(wall, p, l.zone)
	}
	if len(l.spans) > maxSpans {
		return Instant{How: Refused}, ErrAway
	}
	w := seconds(wall)
	inZone := Candidates(wall, l.zone)
	var found []int64 // instants at which the clock may have shown wall
	add := func(t, after, before int64) {
		if after < t && t < before && !slices.Contains(found, t) {
			found = append(found, t)
		}
	}
	addZone := func(after, before int64) {
		for _, t := range inZone {
			add(t.Unix(), after, before)
		}
	}
	const ever = 1 << 62
	unsure := false
	last := l.spans[0]
	if last.aheadFirst == 0 {
		addZone(-ever, last.from)
	} else if w-last.offset < last.from {
		unsure = true
	}
	for n, s := range l.spans {
		switch {
		case n == 0 || s.from <= last.to:
		case last.aheadLast == 0 && s.aheadFirst == 0:
			addZone(last.to, s.from)
		default: // the clock changed somewhere in between: it had one offset or the other
			add(w-last.offset, last.to, s.from)
			add(w-s.offset, last.to, s.from)
		}
		add(w-s.offset, s.from-1, s.to+1)
		if s.to >= last.to {
			last = s
		}
	}
	if last.aheadLast == 0 {
		addZone(last.to, ever)
	} else if w-last.offset > last.to {
		unsure = true
	}
	switch {
	case len(found) > 1, len(found) == 1 && unsure:
		return Instant{How: Refused}, ErrAmbiguous
	case unsure:
		return Instant{How: Refused}, ErrAway
	case len(found) == 0:
		return Instant{How: Refused}, ErrImpossible
	}
	in := l.zone
	if o := w - found[0]; o != offsetAt(found[0], l.zone) {
		in = time.FixedZone("", int(o))
	}
	i := Instant{time.Unix(found[0], int64(wall.Nanosecond())).In(in), p, MonotonicCounter}
	if len(inZone) == 1 && inZone[0].Unix() == found[0] {
		i.How = ConfiguredZone
	}
	return i, nil
}
