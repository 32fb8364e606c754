package embedded

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

var _ store.Watcher = (*Store)(nil)

// What waits for one watcher at most, but for a single group of writes, which may be larger.
const (
	watchVersions = 1 << 16
	watchBytes    = 64 << 20
)

// watchers are told what was committed.
type watchers struct {
	any             atomic.Bool // there are some: writers ask nothing else
	versions, bytes int         // limits of each

	mu   sync.Mutex
	list []*watcher
}

// watcher is one call of Watch.
type watcher struct {
	wake chan struct{} // has room for one

	// What follows is guarded by watchers.mu.
	waiting        []fhir.Resource
	bytes          int
	missed, closed bool
}

// Watch is as store.Watcher says. Versions come in the order in which they were committed,
// after they are on disk, and those of one write together. Up to 65,536 of them, or 64 MiB,
// wait for each; then it has missed some. Writers never wait for it.
func (s *Store) Watch(ctx context.Context, started func(), each func(versions []fhir.Resource) error) error {
	w, err := s.beginWatch()
	if err != nil {
		return err
	}
	defer s.watchers.remove(w)
	if started != nil {
		started()
	}
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("embedded: watch: %w", err)
		}
		versions, err := s.watchers.take(w)
		if err != nil {
			return fmt.Errorf("embedded: watch: %w", err)
		}
		if len(versions) > 0 {
			if err := each(versions); err != nil {
				return fmt.Errorf("embedded: watch: %w", err)
			}
			continue
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
		}
	}
}

// beginWatch waits until no write is between its commit and its return: what is acknowledged
// from then on was committed from then on. It does not stay in the store: Close must not
// wait for who watches.
func (s *Store) beginWatch() (*watcher, error) {
	if err := s.gate.Enter(); err != nil {
		return nil, err
	}
	defer s.gate.Leave()
	w := &watcher{wake: make(chan struct{}, 1)}
	s.indexing.Lock()
	defer s.indexing.Unlock()
	s.watchers.add(w)
	return w, nil
}

func (ws *watchers) add(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.list = append(ws.list, w)
	ws.any.Store(true)
}

func (ws *watchers) remove(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.list = slices.DeleteFunc(ws.list, func(o *watcher) bool { return o == w })
	ws.any.Store(len(ws.list) > 0)
}

// close ends all watching, once what waits has been told.
func (ws *watchers) close() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.list {
		w.closed = true
		w.wakeUp()
	}
}

// tell gives every watcher what a group of writes made. The caller has the turn.
func (ws *watchers) tell(group []*write) {
	if !ws.any.Load() {
		return
	}
	var made []fhir.Resource
	size := 0
	for _, w := range group {
		for i := range w.results {
			if w.results[i].Unchanged {
				continue
			}
			r := w.results[i].Resource
			if w.borrowed {
				r.JSON = bytes.Clone(r.JSON)
			}
			made = append(made, r)
			size += len(r.JSON)
		}
	}
	if len(made) == 0 {
		return
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.list {
		w.add(made, size, ws.versions, ws.bytes)
	}
}

// add lets versions wait, if they are the first that do or there is room.
func (w *watcher) add(made []fhir.Resource, size, versions, bytes int) {
	if w.missed {
		return
	}
	if n := len(w.waiting); n > 0 && (n+len(made) > versions || w.bytes+size > bytes) {
		w.missed, w.waiting, w.bytes = true, nil, 0
	} else {
		w.waiting, w.bytes = append(w.waiting, made...), w.bytes+size
	}
	w.wakeUp()
}

func (w *watcher) wakeUp() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take is what waits, or else why nothing will come.
func (ws *watchers) take(w *watcher) ([]fhir.Resource, error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	versions := w.waiting
	w.waiting, w.bytes = nil, 0
	switch {
	case len(versions) > 0:
		return versions, nil
	case w.missed:
		return nil, store.ErrMissed
	case w.closed:
		return nil, store.ErrClosed
	}
	return nil, nil
}
