package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kiln-health/kiln/store"
)

// groupBytes is where a group of writes is full. A larger write is a group of its own.
const groupBytes = 4 << 20

// write is a batch on its way to the disk.
type write struct {
	batch   *pebble.Batch
	durable bool
	counts  map[string]int64 // by how much the number of current resources changes, by type
	done    chan error       // has room for the one answer
	results []store.Result   // the versions that it makes, and what it leaves unchanged: for who watches
	// borrowed: the caller may use the JSON of the results for something else.
	borrowed bool
}

func newWrite(batch *pebble.Batch) *write {
	return &write{batch: batch, durable: true, done: make(chan error, 1)}
}

// queue holds the writes that wait for a commit.
type queue struct {
	mu      sync.Mutex
	waiting []*write
}

func (q *queue) add(w *write) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, w)
}

// withdraw takes w back and reports whether nobody has begun to commit it.
func (q *queue) withdraw(w *write) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, w)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return true
}

// group takes the writes that are committed together, and tells their size.
func (q *queue) group() (group []*write, size int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for n < len(q.waiting) && (n == 0 || size+q.waiting[n].batch.Len() <= groupBytes) {
		size += q.waiting[n].batch.Len()
		n++
	}
	group = slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	return group, size
}

// commit returns when w is on disk and visible, or when it failed and is neither. If ctx
// ends first, w is not written.
func (s *Store) commit(ctx context.Context, w *write) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.queue.add(w)
	for {
		select {
		case err := <-w.done:
			return err
		case s.turn <- struct{}{}:
			s.lead()
			<-s.turn
		case <-ctx.Done():
			if s.queue.withdraw(w) {
				return ctx.Err()
			}
			return <-w.done
		}
	}
}

// lead commits one group of those who wait, and answers them. The caller has the turn.
func (s *Store) lead() {
	group, size := s.queue.group()
	if len(group) == 0 {
		return
	}
	err := s.failed()
	if err == nil {
		err = s.room(int64(size))
	}
	if err == nil {
		err = s.write(group, size)
	}
	for _, w := range group {
		w.done <- err
	}
}

func (s *Store) write(group []*write, size int) error {
	batch, counts, durable := group[0].batch, map[string]int64{}, false
	if len(group) > 1 {
		batch = s.db.NewBatchWithSize(size + 1<<10)
		defer batch.Close()
	}
	for _, w := range group {
		if w.batch != batch {
			if err := batch.Apply(w.batch, nil); err != nil {
				return err
			}
		}
		durable = durable || w.durable
		for of, n := range w.counts {
			counts[of] += n
		}
	}
	for of, n := range counts {
		counts[of] += s.counts[of]
		if n == 0 {
			continue
		}
		if err := batch.Set(countOf(of), binary.AppendUvarint(nil, uint64(counts[of])), nil); err != nil {
			return err
		}
	}
	if err := s.sync(batch, durable); err != nil {
		// What is on disk now is unknown: to go on could acknowledge what a restart forgets.
		return s.fail(err)
	}
	s.groups.Add(1)
	s.writes.Add(int64(len(group)))
	s.show(counts)
	s.watchers.tell(group)
	return nil
}

// sync applies the batch and waits for the disk.
func (s *Store) sync(batch *pebble.Batch, durable bool) (err error) {
	defer func() {
		// Pebble panics where its log cannot be continued, and keeps its lock.
		if r := recover(); r != nil {
			s.wedged.Store(true)
			err = fmt.Errorf("%v", r)
		}
	}()
	if !durable {
		return s.db.Apply(batch, pebble.NoSync)
	}
	// With the wait apart, a failed fsync is an error; within Apply it ends the process.
	if err := s.db.ApplyNoSyncWait(batch, pebble.Sync); err != nil {
		return err
	}
	return batch.SyncWait()
}

// fail ends all writing. What was visible stays visible: the view is from before.
func (s *Store) fail(cause error) error {
	err := fmt.Errorf("the disk failed, and the store takes no more writes until it is opened again: %w", cause)
	if s.broken.CompareAndSwap(nil, &failure{err}) {
		s.log.record(slog.LevelError, "embedded: "+err.Error())
	}
	return s.failed()
}

func (s *Store) failed() error {
	if f := s.broken.Load(); f != nil {
		return f.err
	}
	return nil
}

// room refuses what the disk may have no place for: the log, the files it becomes, and
// the reserve that Pebble needs to go on at all.
func (s *Store) room(size int64) error {
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		if errors.Is(err, vfs.ErrUnsupported) {
			return nil
		}
		return fmt.Errorf("cannot see how much of the disk is free: %w", err)
	}
	if need := uint64(s.reserve + 3*size); usage.AvailBytes < need {
		return fmt.Errorf("the disk of the store is full: %d MiB are free, %d MiB are needed: free some, nothing was written",
			usage.AvailBytes>>20, need>>20)
	}
	return nil
}

// loadCounts reads how many resources there are.
func (s *Store) loadCounts() error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{countKey}, UpperBound: []byte{countKey + 1}})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		var value []byte
		if value, err = it.ValueAndErr(); err != nil {
			break
		}
		n, size := binary.Uvarint(value)
		if size <= 0 {
			err = errIndex
			break
		}
		s.counts[string(it.Key()[1:])] = int64(n)
	}
	return errors.Join(err, it.Error(), it.Close())
}

// view is a state of the store that is on disk. It is closed when its last user has let go.
type view struct {
	params     *parameters
	limits     *limits
	generation generation // of the keys by those parameters
	snapshot   *pebble.Snapshot
	// What follows is guarded by Store.viewMu.
	users int
	id    uint64    // if it was kept
	asked time.Time // when it was asked for last, if it is kept
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

// show makes what was committed visible, with the numbers of resources that changed. The
// caller has the turn.
func (s *Store) show(counts map[string]int64) {
	next := &view{params: s.params, limits: &s.limits, generation: s.generation, snapshot: s.db.NewSnapshot(), users: 1}
	s.viewMu.Lock()
	old := s.view
	s.view = next
	maps.Copy(s.counts, counts)
	s.viewMu.Unlock()
	s.letGo(old)
	s.expire()
}
