package mongo

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/kiln-health/kiln/store"
)

// counters are what Metrics tells.
type counters struct {
	versions, retries              atomic.Int64
	succeeded, failed, nanos       atomic.Int64 // of commands
	open, used, connected, cleared atomic.Int64 // of connections
	resources                      sync.Map     // of type to its estimate
	estimated                      atomic.Int64 // when, in Unix seconds
	estimating                     atomic.Bool
}

// watch has the driver tell of its commands and connections.
func (c *counters) watch(co *options.ClientOptions) {
	co.SetMonitor(&event.CommandMonitor{
		Succeeded: func(_ context.Context, e *event.CommandSucceededEvent) {
			c.succeeded.Add(1)
			c.nanos.Add(int64(e.Duration))
		},
		Failed: func(_ context.Context, e *event.CommandFailedEvent) { c.failed.Add(1); c.nanos.Add(int64(e.Duration)) },
	})
	co.SetPoolMonitor(&event.PoolMonitor{Event: func(e *event.PoolEvent) {
		switch e.Type {
		case event.ConnectionCreated:
			c.open.Add(1)
			c.connected.Add(1)
		case event.ConnectionClosed:
			c.open.Add(-1)
		case event.ConnectionCheckedOut:
			c.used.Add(1)
		case event.ConnectionCheckedIn:
			c.used.Add(-1)
		case event.ConnectionPoolCleared:
			c.cleared.Add(1)
		}
	}})
}

// Check reports why the store cannot do its work: no primary answers, it takes no writes, the
// database is another one by now, or this server does not know what the others index by.
// What goes on in the background, as index builds, is no reason: see Progress.
func (s *Store) Check(ctx context.Context) error {
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	_, err := s.hello(ctx)
	if err == nil {
		var found bool
		if _, found, err = s.readNote(ctx); err == nil && !found {
			err = errReplaced
		}
	}
	if st := s.state.Load(); err == nil {
		err = cmp.Or(st.noSearch, st.noWrite, s.member.leased())
	}
	if err != nil {
		return fmt.Errorf("mongo: %s: %w", s.hosts, told(ctx, err))
	}
	return nil
}

// Progress is what the store does in the background, for people: "" if nothing.
func (s *Store) Progress() string {
	if st := s.state.Load(); st.mixed {
		return strings.TrimSpace("the search parameters are being changed\n" + s.indexes.progress())
	}
	return s.indexes.progress()
}

// estimateTime is how old the numbers of resources may be.
const estimateTime = time.Minute

// Metrics are numbers of this process, and the numbers of resources, deleted ones among
// them, as MongoDB estimates them once a minute.
func (s *Store) Metrics() []store.Metric {
	if s.gate.Enter() != nil {
		return nil
	}
	defer s.gate.Leave()
	c := &s.counters
	if now := time.Now().Unix(); now-c.estimated.Load() > int64(estimateTime/time.Second) && c.estimating.CompareAndSwap(false, true) {
		c.estimated.Store(now)
		s.background.Go(func() {
			defer c.estimating.Store(false)
			s.estimate()
		})
	}
	s.indexes.mu.Lock()
	left := len(s.indexes.left)
	s.indexes.mu.Unlock()
	m := []store.Metric{
		{Name: "store_connections", Help: "Open connections to MongoDB.", Value: float64(c.open.Load())},
		{Name: "store_connections_used", Help: "Connections to MongoDB that are at work.", Value: float64(c.used.Load())},
		{Name: "store_connections_made_total", Help: "Connections to MongoDB that were opened.", Counter: true, Value: float64(c.connected.Load())},
		{Name: "store_connections_lost_total", Help: "How often a server of MongoDB was lost, with all connections to it.", Counter: true, Value: float64(c.cleared.Load())},
		{Name: "store_commands_total", Help: "Commands to MongoDB by outcome.", Label: [2]string{"outcome", "succeeded"}, Counter: true, Value: float64(c.succeeded.Load())},
		{Name: "store_commands_total", Help: "Commands to MongoDB by outcome.", Label: [2]string{"outcome", "failed"}, Counter: true, Value: float64(c.failed.Load())},
		{Name: "store_command_seconds_total", Help: "Time that commands to MongoDB took, all together.", Counter: true, Value: time.Duration(c.nanos.Load()).Seconds()},
		{Name: "store_retries_total", Help: "Writes that began again because others were at the same resources.", Counter: true, Value: float64(c.retries.Load())},
		{Name: "store_versions_total", Help: "Versions that were written.", Counter: true, Value: float64(c.versions.Load())},
		{Name: "store_index_types_left", Help: "Resource types whose indexes are being made.", Value: float64(left)},
	}
	c.resources.Range(func(of, n any) bool {
		m = append(m, store.Metric{Name: "store_resources", Help: "Resources by type, deleted ones among them, about.", Label: [2]string{"type", of.(string)}, Value: float64(n.(int64))})
		return true
	})
	return m
}

// estimate asks for the numbers of resources.
func (s *Store) estimate() {
	ctx, cancel := context.WithTimeout(s.ending, 10*time.Second)
	defer cancel()
	types, err := s.types(ctx)
	for _, of := range types {
		if err != nil {
			break
		}
		var n int64
		if n, err = s.collection(of).EstimatedDocumentCount(ctx); err == nil {
			s.counters.resources.Store(of, n)
		}
	}
	if err != nil && s.ending.Err() == nil {
		s.log.Debug("the numbers of resources could not be read", "error", told(ctx, err))
	}
}
