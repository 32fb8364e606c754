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
	turn    chan struct{}    // has something if the writer is to lead
	done    chan error       // has room for the one answer
	results []store.Result   // the versions that it makes, and what it leaves unchanged: for who watches
	// params, if there are any, are in use with this write, and so is the generation.
	params     *parameters
	generation generation
	// borrowed: the caller may use the JSON of the results for something else.
	borrowed bool
	// withdrawn: the turn may have come for it all the same.
	withdrawn bool
}

func newWrite(batch *pebble.Batch) *write {
	return &write{batch: batch, durable: true, counts: map[string]int64{}, turn: make(chan struct{}, 1), done: make(chan error, 1)}
}

// reset makes a write that was answered, or never queued, one with nothing in it.
func (w *write) reset() {
	clear(w.counts)
	*w = write{durable: true, counts: w.counts, turn: w.turn, done: w.done}
}

// queue holds the writes that wait for a commit. One of them has the turn to lead: to commit for
// those who wait.
type queue struct {
	mu      sync.Mutex
	waiting []*write
	leader  *write        // who has the turn
	added   chan struct{} // has something after an add, for who has the turn
}

// add reports whether w has the turn.
func (q *queue) add(w *write) (leads bool) {
	q.mu.Lock()
	q.waiting = append(q.waiting, w)
	if q.leader == nil {
		q.leader = w
	}
	leads = q.leader == w
	q.mu.Unlock()
	select {
	case q.added <- struct{}{}:
	default:
	}
	return leads
}

// pass, with the lock held, gives the turn to the first of those who wait, or else to the next who comes.
func (q *queue) pass() {
	q.leader = nil
	if len(q.waiting) > 0 {
		q.leader = q.waiting[0]
		q.leader.turn <- struct{}{}
	}
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// withdraw takes w back and reports whether nobody has begun to commit it. If it has the turn, or
// was about to get it, the next one has it.
func (q *queue) withdraw(w *write) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, w)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	w.withdrawn = true
	if q.leader == w {
		q.pass()
	}
	return true
}

// end ends the turn.
func (q *queue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pass()
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
// ends before it is applied, w is not written.
func (s *Store) commit(ctx context.Context, w *write) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !s.queue.add(w) {
		select {
		case err := <-w.done:
			return err
		case <-w.turn:
		case <-ctx.Done():
			if s.queue.withdraw(w) {
				return ctx.Err()
			}
			return <-w.done
		}
	}
	landing, err := s.muster(ctx)
	if err != nil {
		s.queue.withdraw(w)
		return err
	}
	s.lead(landing)
	return <-w.done
}

// muster waits until as many writes wait as are in flight, or none is: then it has the landing.
func (s *Store) muster(ctx context.Context) (landing bool, err error) {
	for s.queue.len() < s.flying {
		select {
		case s.landing <- struct{}{}:
			return true, nil
		case <-s.queue.added:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return false, nil
}

// lead commits one group of those who wait, and answers them. The caller has the turn, and is the
// first of them.
func (s *Store) lead(landing bool) {
	group, size := s.queue.group()
	err := s.write(group, size, landing)
	for _, w := range group {
		w.done <- err
	}
}

// write brings a group to the disk and then into sight. It gives the turn on when the next group
// may be launched: that is done while this one waits for its fsync. Groups land in the order of
// their turns.
func (s *Store) write(group []*write, size int, landing bool) error {
	f, err := s.launch(group, size)
	if f.batch != group[0].batch {
		defer f.batch.Close()
	}
	if err == nil && !landing {
		s.landing <- struct{}{}
		landing = true
	}
	s.queue.end()
	if landing {
		defer func() { <-s.landing }()
	}
	if err != nil {
		return err
	}
	if err := s.land(f); err != nil {
		return err
	}
	s.groups.Add(1)
	s.writes.Add(int64(len(group)))
	s.watchers.tell(group)
	return nil
}

// flight is a batch that is applied, and neither on disk nor in sight.
type flight struct {
	batch   *pebble.Batch
	durable bool
	view    *view            // what there is with it
	counts  map[string]int64 // how many current resources there are with it, of the types that change
}

// launch makes one batch of a group and applies it.
func (s *Store) launch(group []*write, size int) (flight, error) {
	f := flight{batch: group[0].batch, counts: map[string]int64{}}
	if err := errors.Join(s.failed(), s.room(int64(size))); err != nil {
		return f, err
	}
	if len(group) > 1 {
		f.batch = s.db.NewBatchWithSize(size + 1<<10)
	}
	for _, w := range group {
		if w.batch != f.batch {
			if err := f.batch.Apply(w.batch, nil); err != nil {
				return f, err
			}
		}
		f.durable = f.durable || w.durable
		for of, n := range w.counts {
			f.counts[of] += n
		}
	}
	for of, n := range f.counts {
		f.counts[of] += s.launched[of]
		if n == 0 {
			continue
		}
		if err := f.batch.Set(countOf(of), binary.AppendUvarint(nil, uint64(f.counts[of])), nil); err != nil {
			return f, err
		}
	}
	if err := s.applyBatch(f.batch, f.durable); err != nil {
		return f, s.fail(err)
	}
	maps.Copy(s.launched, f.counts)
	for _, w := range group {
		if w.params != nil {
			s.params, s.generation = w.params, w.generation
		}
	}
	f.view = s.newView()
	return f, nil
}

// applyBatch applies a batch. Nobody sees it before the next view.
func (s *Store) applyBatch(batch *pebble.Batch, durable bool) (err error) {
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
	return s.db.ApplyNoSyncWait(batch, pebble.Sync)
}

// land waits for the disk and shows what was applied. The caller has the landing.
func (s *Store) land(f flight) error {
	var err error
	if f.durable {
		err = f.batch.SyncWait()
	}
	if err != nil {
		err = s.fail(err)
	} else {
		err = s.failed() // of those before
	}
	if err != nil {
		f.view.snapshot.Close()
		return err
	}
	s.show(f.view, f.counts)
	return nil
}

// fail ends all writing. What is on disk now is unknown: to go on could acknowledge what a
// restart forgets. What was visible stays visible: the view is from before.
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
	s.launched = maps.Clone(s.counts)
	return errors.Join(err, it.Error(), it.Close())
}
