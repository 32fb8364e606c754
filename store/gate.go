package store

import "sync"

// Gate lets the calls of a store in until it is closed. The zero value is open.
type Gate struct {
	mu     sync.RWMutex // held for reading by every running call, and for writing by Close
	closed bool
}

// Enter is called at the beginning of every call. If it is ErrClosed there is nothing to Leave.
func (g *Gate) Enter() error {
	g.mu.RLock()
	if g.closed {
		g.mu.RUnlock()
		return ErrClosed
	}
	return nil
}

// Leave is called at the end of every call.
func (g *Gate) Leave() { g.mu.RUnlock() }

// Close waits for running calls, lets no others in, and releases what they use. A second Close
// does nothing.
func (g *Gate) Close(release func() error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	return release()
}
