// Package claim keeps the writers of one process apart who each want to create a resource
// unless there is one. A search sees what is stored: two of them at once would both see none,
// and create two. So a write with a condition None first says what it is about to put, in a
// claim. One whose search matches what an earlier claim puts waits until that write has
// succeeded or failed, and only then looks.
//
// Nobody waits for ever, as long as a write claims before it takes any lock of a resource: it
// waits for the claims alone that were made before its own, and the oldest waits for none. So
// whoever holds locks waits for locks alone, which all take in one order, and for the disk or
// the network.
//
// What keeps the writers of several processes apart, and what is searched, is the store's.
package claim

import (
	"context"
	"slices"
	"sync"

	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// Claims are the writes with a condition None that are on their way, in the order in which
// they came. The zero value has none. They may be used from any number of goroutines.
type Claims struct {
	mu   sync.Mutex
	list []*Claim
}

// Claim is what a write is about to put. Its write may use it from one goroutine at a time.
type Claim struct {
	claims *Claims
	puts   *puts
	done   chan struct{} // closed when the write is visible or has failed
}

// Make returns when no earlier write is on its way that puts what a condition None of the
// changes matches. The claim is nil if there is no such condition; else the caller must End it.
// The error is that of ctx, and then there is nothing to end. params are those that searches
// use, opened those of store.Change.Terms without Parameters. No two changes are of one
// resource: see store.CheckChanges.
func (cs *Claims) Make(ctx context.Context, changes []store.Change, params, opened *search.Parameters) (*Claim, error) {
	var searches []search.Query
	for i := range changes {
		if q := changes[i].If.None; q != nil {
			searches = append(searches, unwritten(*q))
		}
	}
	if searches == nil {
		return nil, nil
	}
	c := &Claim{claims: cs, puts: newPuts(changes, params, opened), done: make(chan struct{})}
	for _, e := range cs.add(c) {
		if err := e.wait(ctx, searches); err != nil {
			c.End()
			return nil, err
		}
	}
	return c, nil
}

// Len is how many writes are on their way.
func (cs *Claims) Len() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.list)
}

// add returns the claims that were there before.
func (cs *Claims) add(c *Claim) []*Claim {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	earlier := slices.Clone(cs.list)
	cs.list = append(cs.list, c)
	return earlier
}

// End says that the write is visible, or has failed. It is called once.
func (c *Claim) End() {
	c.claims.mu.Lock()
	defer c.claims.mu.Unlock()
	i := slices.Index(c.claims.list, c)
	c.claims.list = slices.Delete(c.claims.list, i, i+1)
	close(c.done)
}

// Changes are those of the write with their terms, as far as they have any: a deletion and JSON
// that cannot be read have none. They are shared.
func (c *Claim) Changes() []store.Change { return c.puts.changes }

// wait returns when the write of the claim is done, or at once if it puts nothing that
// one of the searches matches.
func (c *Claim) wait(ctx context.Context, searches []search.Query) error {
	for i, q := range searches {
		if i%64 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		for range c.puts.matches(q, len(c.puts.changes), nil) {
			select {
			case <-c.done:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// unwritten is q as far as it can be asked of what has no lastUpdated yet, and of nothing
// else. It matches more: then it is waited for in vain, and the search decides.
func unwritten(q search.Query) search.Query {
	q.Where = slices.DeleteFunc(slices.Clone(q.Where), undecided)
	return q
}

func undecided(c search.Clause) bool {
	return c.Param.Name == "_lastUpdated" || c.Chain != nil || c.Has != nil || slices.ContainsFunc(c.Any, undecided)
}
