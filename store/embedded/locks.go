package embedded

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

// locks let one writer at a time at a resource, in the order in which they come. Resources of one
// hash share a lock, which with 64 bits is a rarity.
type locks struct {
	seed   maphash.Seed
	shards [64]lockShard
}

type lockShard struct {
	mu   sync.Mutex
	held map[uint64][]chan struct{} // by hash, who waits
}

func newLocks() *locks {
	l := &locks{seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].held = map[uint64][]chan struct{}{}
	}
	return l
}

// held are locks that somebody has.
type held struct {
	locks  *locks
	hashes []uint64
}

// all takes the locks of all changed resources, in an order that all writers share.
func (l *locks) all(ctx context.Context, changes []store.Change) (held, error) {
	h := held{l, make([]uint64, len(changes))}
	for i := range changes {
		h.hashes[i] = l.hash(changes[i].Key)
	}
	slices.Sort(h.hashes)
	h.hashes = slices.Compact(h.hashes)
	for i, hash := range h.hashes {
		if err := l.shard(hash).lock(ctx, hash); err != nil {
			h.hashes = h.hashes[:i]
			h.release()
			return held{}, err
		}
	}
	return h, nil
}

// release gives the locks to who waits for them. It is called once.
func (h held) release() {
	for _, hash := range h.hashes {
		h.locks.shard(hash).unlock(hash)
	}
}

func (l *locks) hash(key fhir.Key) uint64 {
	return maphash.String(l.seed, key.ID) ^ maphash.String(l.seed, key.Type)
}

func (l *locks) shard(hash uint64) *lockShard { return &l.shards[hash%uint64(len(l.shards))] }

func (s *lockShard) lock(ctx context.Context, hash uint64) error {
	s.mu.Lock()
	waiting, taken := s.held[hash]
	if !taken {
		s.held[hash] = nil
		s.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	s.held[hash] = append(waiting, turn)
	s.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	i := slices.Index(s.held[hash], turn)
	if i >= 0 {
		s.held[hash] = slices.Delete(s.held[hash], i, i+1)
	}
	s.mu.Unlock()
	if i < 0 { // it was given to us meanwhile
		s.unlock(hash)
	}
	return ctx.Err()
}

func (s *lockShard) unlock(hash uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := s.held[hash]
	if len(waiting) == 0 {
		delete(s.held, hash)
		return
	}
	close(waiting[0])
	s.held[hash] = waiting[1:]
}
