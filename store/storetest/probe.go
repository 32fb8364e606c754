package storetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// hanging is how long a call takes that never comes back. A slow store is not a hanging
// one: on a busy machine, with a server far away, a call may well take seconds.
const hanging = 2 * time.Minute

// opened is an empty store that the test may use and need not close.
func opened(t *testing.T, open func(t *testing.T) store.Store) store.Store {
	t.Helper()
	p := &probe{Store: open(t)}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		t.Logf("%d calls", p.calls.Load())
	})
	return p
}

// probe is a store under test. It gives up a call that hangs, and looks at every answer for
// what none may have: that is the error of the call then.
type probe struct {
	store.Store
	calls atomic.Int64
}

// optional is s as an optional interface of a store, if it has it.
func optional[T any](s store.Store) (T, bool) {
	if p, ok := s.(*probe); ok {
		s = p.Store
	}
	o, ok := s.(T)
	return o, ok
}

// needs is s as an optional interface; the test is skipped if the store does not have it.
func needs[T any](t *testing.T, s store.Store) T {
	t.Helper()
	o, ok := optional[T](s)
	if !ok {
		t.Skipf("the store is no %v", reflect.TypeFor[T]())
	}
	return o
}

// within calls f, and gives it up if it hangs.
func within(what string, f func() error) error { return withinTime(hanging, what, f) }

func withinTime(most time.Duration, what string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	limit := time.NewTimer(most)
	defer limit.Stop()
	select {
	case err := <-done:
		return err
	case <-limit.C:
		stacks := make([]byte, 1<<20)
		return fmt.Errorf("%s has not come back for %v: the store hangs\n%s", what, most, stacks[:runtime.Stack(stacks, true)])
	}
}

func (p *probe) Read(ctx context.Context, k fhir.Key) (r fhir.Resource, err error) {
	p.calls.Add(1)
	err = within("Read", func() (err error) { r, err = p.Store.Read(ctx, k); return err })
	if err != nil {
		return fhir.Resource{}, err
	}
	if r.Deleted || r.Type != k.Type || r.ID != k.ID || k.Version != "" && r.Version != k.Version {
		return r, fmt.Errorf("a read of %s gave %s, deleted: %v", k, r.Key, r.Deleted)
	}
	return r, wellFormed(r)
}

func (p *probe) Write(ctx context.Context, changes ...store.Change) (results []store.Result, err error) {
	p.calls.Add(1)
	err = within("Write", func() (err error) { results, err = p.Store.Write(ctx, changes...); return err })
	switch {
	case err != nil && results != nil:
		return nil, fmt.Errorf("a write failed, and gave %d results: %v", len(results), err)
	case err != nil:
		return nil, err
	case len(results) != len(changes):
		return nil, fmt.Errorf("a write of %d changes gave %d results", len(changes), len(results))
	}
	for i, r := range results {
		if r.Type != changes[i].Type || r.ID != changes[i].ID || r.Deleted != changes[i].Delete || r.Created && (r.Deleted || r.Unchanged) {
			return nil, fmt.Errorf("change %d of %s (delete: %v) gave %s (deleted: %v, created: %v, unchanged: %v)",
				i, changes[i].Key, changes[i].Delete, r.Key, r.Deleted, r.Created, r.Unchanged)
		}
		if r.Deleted && r.Unchanged && r.Version == "" {
			continue // there never was one
		}
		if err := wellFormed(r.Resource); err != nil {
			return nil, err
		}
	}
	return results, nil
}

func (p *probe) Search(ctx context.Context, q search.Query) (page store.Page, err error) {
	p.calls.Add(1)
	if err := within("Search", func() (err error) { page, err = p.Store.Search(ctx, q); return err }); err != nil {
		return store.Page{}, err
	}
	seen := map[string]bool{}
	for _, r := range page.Resources {
		if r.Type != q.Type || r.Deleted || seen[r.ID] {
			return page, fmt.Errorf("a search for %s found %s, deleted: %v, before: %v", q.Type, r.Key, r.Deleted, seen[r.ID])
		}
		seen[r.ID] = true
		if err := wellFormed(r); err != nil {
			return page, err
		}
	}
	switch n := len(page.Resources); {
	case n > q.Count:
		return page, fmt.Errorf("a page of %d has %d resources", q.Count, n)
	case n == 0 && page.Next != nil && q.Count > 0:
		return page, errors.New("an empty page has a next one")
	case q.Total == search.TotalAccurate && page.Total < n, q.Total == search.TotalNone && page.Total != -1:
		return page, fmt.Errorf("the total is %d on a page of %d, and %q was asked for", page.Total, n, q.Total)
	}
	return page, nil
}

func (p *probe) History(ctx context.Context, q store.HistoryQuery) (page store.Page, err error) {
	p.calls.Add(1)
	if err := within("History", func() (err error) { page, err = p.Store.History(ctx, q); return err }); err != nil {
		return store.Page{}, err
	}
	for _, r := range page.Resources {
		if err := wellFormed(r); err != nil {
			return page, err
		}
	}
	switch n := len(page.Resources); {
	case q.Count > 0 && n > q.Count:
		return page, fmt.Errorf("a page of %d has %d versions", q.Count, n)
	case n == 0 && page.Next != nil:
		return page, errors.New("an empty page has a next one")
	case page.Total != -1 && page.Total < n:
		return page, fmt.Errorf("the total is %d on a page of %d", page.Total, n)
	}
	return page, nil
}

func (p *probe) Close() error {
	return within("Close", p.Store.Close)
}

// wellFormed tells what is wrong with a version, whatever it is of.
func wellFormed(r fhir.Resource) error {
	switch {
	case number(r.Version) == 0:
		return fmt.Errorf("%s has no version", r.Key)
	case r.Deleted != (r.JSON == nil):
		return fmt.Errorf("%s: deleted is %v, with %d bytes", r.Key, r.Deleted, len(r.JSON))
	case r.LastUpdated.Location() != time.UTC || r.LastUpdated.Nanosecond()%int(time.Millisecond) != 0 || r.LastUpdated.IsZero():
		return fmt.Errorf("%s: lastUpdated is %v: want UTC, whole milliseconds", r.Key, r.LastUpdated)
	}
	return nil
}

// long reports whether the tests may take their time.
func long() bool { return os.Getenv("KILN_LONG") != "" }

// budget ends what could go on for ever when it has gone on for long enough.
type budget struct {
	end   time.Time
	least int // rounds that are done in any case
	// begun is that of a round which has not come to its end: it failed. Then rounds go on as
	// long as they are asked for, so that the failure can be made smaller.
	begun, failed bool
}

// newBudget is that of one of several parts of a test.
func newBudget(parts, least int) *budget {
	limit := 5 * time.Second
	switch {
	case long():
		limit = time.Hour
	case testing.Short():
		limit = 2 * time.Second
	}
	return &budget{end: time.Now().Add(limit / time.Duration(parts)), least: least}
}

// round runs one, if there is time.
func (b *budget) round(run func()) {
	b.failed = b.failed || b.begun
	if b.least--; b.least < 0 && !b.failed && time.Now().After(b.end) {
		return
	}
	b.begun = true
	run()
	b.begun = false
}
