package embedded

import (
	"maps"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// view is a state of the store that is on disk. It is closed when its last user has let go.
type view struct {
	params     *parameters
	limits     *limits
	generation generation // of the keys by those parameters
	snapshot   *pebble.Snapshot
	// What follows is guarded by Store.viewMu.
	users   int
	writers int       // those of the users that look to write
	readers []*reader // which a writer has left for the next one
	id      uint64    // if it was kept
	asked   time.Time // when it was asked for last, if it is kept
}

// look is the newest view. Each look needs a letGo.
func (s *Store) look() *view {
	s.viewMu.Lock()
	defer s.viewMu.Unlock()
	s.view.users++
	return s.view
}

func (s *Store) letGo(v *view) {
	s.viewMu.Lock()
	v.users--
	last := v.users == 0
	s.viewMu.Unlock()
	if last {
		v.snapshot.Close()
	}
}

// lookToWrite is a look at the newest view for a write, with a reader of it. It needs a leave when
// the write has been put together, and a doneWriting in place of letGo.
//
// To open a reader and to ask it first costs as much as to ask it again three times. What writers
// leave is there for others while any is at work: a reader keeps files from being deleted.
func (s *Store) lookToWrite() *reader {
	s.viewMu.Lock()
	defer s.viewMu.Unlock()
	v := s.view
	v.users++
	v.writers++
	if n := len(v.readers); n > 0 {
		r := v.readers[n-1]
		v.readers = v.readers[:n-1]
		return r
	}
	return &reader{view: v, fresh: true}
}

// leave gives back the reader of a lookToWrite.
func (s *Store) leave(r *reader) error {
	s.viewMu.Lock()
	newest := r.view == s.view && !r.failed
	if newest {
		r.view.readers = append(r.view.readers, r)
	}
	s.viewMu.Unlock()
	if newest {
		return nil
	}
	return r.close()
}

// doneWriting is letGo after a lookToWrite.
func (s *Store) doneWriting(v *view) {
	s.viewMu.Lock()
	v.writers--
	var unused []*reader
	if v.writers == 0 {
		unused, v.readers = v.readers, nil
	}
	s.viewMu.Unlock()
	closeAll(unused)
	s.letGo(v)
}

func closeAll(unused []*reader) {
	for _, r := range unused {
		_ = r.close() // it has no error: one that has is not left
	}
}

// newView is a view of all that is applied. Its first user is the store.
func (s *Store) newView() *view {
	return &view{params: s.params, limits: &s.limits, generation: s.generation, snapshot: s.db.NewSnapshot(), users: 1}
}

// show makes next the newest view, with the numbers of resources that changed. The caller has the
// landing.
func (s *Store) show(next *view, counts map[string]int64) {
	s.viewMu.Lock()
	old := s.view
	s.view = next
	unused := old.readers
	old.readers = nil
	maps.Copy(s.counts, counts)
	s.viewMu.Unlock()
	closeAll(unused)
	s.letGo(old)
	s.expire()
}
