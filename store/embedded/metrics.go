package embedded

import (
	"maps"
	"slices"

	"github.com/kiln-health/kiln/store"
)

var _ store.Monitored = (*Store)(nil)

// Metrics are Stats as an operator watches them. There are none when the store is closed.
func (s *Store) Metrics() []store.Metric {
	st := s.Stats()
	if st.Resources == nil {
		return nil
	}
	gauge := func(name, help string, value int64) store.Metric {
		return store.Metric{Name: name, Help: help, Value: float64(value)}
	}
	counter := func(name, help string, value int64) store.Metric {
		return store.Metric{Name: name, Help: help, Value: float64(value), Counter: true}
	}
	out := []store.Metric{
		gauge("store_disk_bytes", "Space that the store takes on disk.", st.DiskBytes),
		gauge("store_log_bytes", "The part of the store that is read when it is opened.", st.LogBytes),
		gauge("store_memtable_bytes", "Memory that holds what was written last.", st.MemTableBytes),
		gauge("store_cache_bytes", "Memory that holds what was read.", st.CacheBytes),
		counter("store_cache_hits_total", "Blocks that were found in the cache.", st.CacheHits),
		counter("store_cache_misses_total", "Blocks that were read from disk.", st.CacheMisses),
		counter("store_flushes_total", "Times that what was written last became a file.", st.Flushes),
		counter("store_compactions_total", "Times that files were merged.", st.Compactions),
		gauge("store_compaction_debt_bytes", "What is yet to be read to merge files. If it grows for hours, the disk is too slow.", st.DebtBytes),
		gauge("store_read_files", "Files that a read may have to look into, at worst.", st.Files),
		counter("store_writes_total", "Writes that were acknowledged.", st.Writes),
		counter("store_commits_total", "Waits for the disk that those writes shared.", st.Groups),
	}
	if st.FreeBytes >= 0 {
		out = append(out, gauge("store_free_bytes", "Space that is free on the disk of the store.", st.FreeBytes))
	}
	for _, of := range slices.Sorted(maps.Keys(st.Resources)) {
		m := gauge("store_resources", "Current resources by type.", st.Resources[of])
		m.Label = [2]string{"type", of}
		out = append(out, m)
	}
	return out
}
