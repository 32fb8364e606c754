package embedded

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/kiln-health/kiln/fhir/search"
)

// Views are kept for a while for who reads page after page: all pages of a search show the
// state of the first one. A kept view costs the old versions that compaction cannot drop.
// One that was let go is no loss of resources: the pages go on in the newest state, where only
// what has changed its own place in the order may come twice or not.
const (
	maxKeptViews = 128
	keptFor      = time.Minute // since its last page
)

// keptViews are those that a cursor may name.
type keptViews struct {
	last  uint64 // the number of the newest
	byID  map[uint64]*view
	order []*view // the one that was asked for last is at the end
}

// newKeptViews begins anywhere: a cursor of a store that was opened before names no view of this one.
func newKeptViews() keptViews { return keptViews{last: rand.Uint64() >> 1, byID: map[uint64]*view{}} }

// lookAt is the view of a cursor if it is kept, else the newest. Each needs a letGo.
func (s *Store) lookAt(after *search.Cursor) *view {
	if after == nil || after.View == 0 {
		return s.look()
	}
	s.viewMu.Lock()
	defer s.viewMu.Unlock()
	v := s.kept.byID[after.View]
	if v == nil {
		v = s.view
	}
	v.users++
	return v
}

// keep keeps a view that the caller holds, and gives its number.
func (s *Store) keep(v *view) uint64 {
	now := s.now()
	s.viewMu.Lock()
	k := &s.kept
	if k.byID[v.id] == v {
		k.order = slices.DeleteFunc(k.order, func(o *view) bool { return o == v })
	} else {
		k.last++
		v.id = k.last
		v.users++
	}
	v.asked = now
	k.byID[v.id] = v
	k.order = append(k.order, v)
	id := v.id
	s.viewMu.Unlock()
	s.expire()
	return id
}

// expire lets go of views that are too many, or that nobody has asked for lately.
func (s *Store) expire() {
	now := s.now()
	s.viewMu.Lock()
	old := s.kept.outdated(now)
	s.viewMu.Unlock()
	for _, v := range old {
		s.letGo(v)
	}
}

// outdated takes out what must be let go. A clock that goes back makes nothing older.
func (k *keptViews) outdated(now time.Time) []*view {
	n := max(0, len(k.order)-maxKeptViews)
	for n < len(k.order) && now.Sub(k.order[n].asked) > keptFor {
		n++
	}
	if n == 0 { // as nearly always: every commit asks
		return nil
	}
	old := slices.Clone(k.order[:n])
	for _, v := range old {
		delete(k.byID, v.id)
	}
	k.order = slices.Delete(k.order, 0, n)
	return old
}
