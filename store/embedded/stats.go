package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/cockroachdb/pebble/v2"
)

// Stats is the state of the store in numbers.
type Stats struct {
	Resources     map[string]int64 // current resources by type
	DiskBytes     int64            // all files
	FreeBytes     int64            // of the disk; -1 if unknown
	LogBytes      int64            // the part of DiskBytes that is read when the store is opened
	MemTableBytes int64
	CacheBytes    int64
	CacheHits     int64
	CacheMisses   int64
	Flushes       int64
	Compactions   int64
	DebtBytes     int64 // what compactions have yet to read
	Files         int64 // that a read may have to look into, at worst
	Writes        int64 // since Open
	Groups        int64 // commits that those writes shared, with one fsync each
}

// Stats tells the state of the store. It is zero when the store is closed.
func (s *Store) Stats() Stats {
	if s.gate.Enter() != nil {
		return Stats{}
	}
	defer s.gate.Leave()
	m := s.db.Metrics()
	out := Stats{
		DiskBytes:     int64(m.DiskSpaceUsage()),
		FreeBytes:     -1,
		LogBytes:      int64(m.WAL.Size),
		MemTableBytes: int64(m.MemTable.Size),
		CacheBytes:    m.BlockCache.Size,
		CacheHits:     m.BlockCache.Hits,
		CacheMisses:   m.BlockCache.Misses,
		Flushes:       m.Flush.Count,
		Compactions:   m.Compact.Count,
		DebtBytes:     int64(m.Compact.EstimatedDebt),
		Files:         int64(m.ReadAmp()),
		Writes:        s.writes.Load(),
		Groups:        s.groups.Load(),
	}
	if usage, err := s.fs.GetDiskUsage(s.dir); err == nil {
		out.FreeBytes = int64(usage.AvailBytes)
	}
	s.viewMu.Lock()
	defer s.viewMu.Unlock()
	out.Resources = maps.Clone(s.counts)
	return out
}

// Check tells why the store cannot do its work: closed, failed, damaged or out of space.
func (s *Store) Check(ctx context.Context) error {
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	if err := s.check(ctx); err != nil {
		return fmt.Errorf("embedded: check: %w", err)
	}
	return nil
}

func (s *Store) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.failed(); err != nil {
		return err
	}
	if n := s.log.corrupt.Load(); n > 0 {
		return fmt.Errorf("%d parts of the files are damaged: restore the store from a backup", n)
	}
	if err := s.room(0); err != nil {
		return err
	}
	v := s.look()
	defer s.letGo(v)
	_, closer, err := v.snapshot.Get(formatKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return errors.New("the note of the format is gone: restore the store from a backup")
	}
	if err != nil {
		return err
	}
	return closer.Close()
}
