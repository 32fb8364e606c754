package embedded

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir/search"
)

// checkIndex makes the index anew where it is not the one that this program would make:
// after an update that brings search parameters, say, or after a crash in the middle of this.
func (s *Store) checkIndex() error {
	is, err := s.value(indexKey)
	if err != nil {
		return err
	}
	want := indexFingerprint()
	if bytes.Equal(is, want) {
		return nil
	}
	if is != nil {
		s.log.record(slog.LevelInfo, "embedded: the search parameters have changed: all resources are indexed anew")
	}
	n, err := s.rebuild()
	if err != nil {
		return fmt.Errorf("index anew: %w", err)
	}
	if is != nil {
		s.log.record(slog.LevelInfo, "embedded: indexed", "resources", n)
	}
	return s.db.Set(indexKey, want, pebble.Sync)
}

// indexFingerprint tells apart all that decides which index keys there are.
func indexFingerprint() []byte {
	h := sha256.New()
	fmt.Fprintln(h, indexVersion)
	for _, of := range search.Types() {
		for _, p := range search.Params(of) {
			fmt.Fprintf(h, "%s %s %s %s %v\n", of, p.Name, p.Type, p.Expression, p.CaseSensitive)
		}
	}
	return h.Sum(nil)
}

// rebuild deletes all index keys and makes those of the current versions. Nobody else
// uses the store yet.
func (s *Store) rebuild() (int, error) {
	for _, kind := range indexKinds {
		if err := s.db.DeleteRange([]byte{kind}, []byte{kind + 1}, pebble.NoSync); err != nil {
			return 0, err
		}
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{currentKey}, UpperBound: []byte{currentKey + 1}})
	if err != nil {
		return 0, err
	}
	n, err := s.indexAll(it)
	return n, errors.Join(err, it.Error(), it.Close())
}

func (s *Store) indexAll(it *pebble.Iterator) (int, error) {
	batch := s.db.NewBatch()
	defer func() { batch.Close() }()
	x := &indexer{emit: func(key, value []byte) error { return batch.Set(key, value, nil) }}
	counts := map[string]int64{}
	total := 0
	for ok := it.First(); ok; ok = it.Next() {
		of, id, ok := bytes.Cut(it.Key()[1:], []byte{0})
		if !ok {
			return 0, errIndex
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return 0, err
		}
		r, err := readRecord(value)
		if err != nil {
			return 0, err
		}
		if r.deleted {
			continue
		}
		x.resourceType, x.id = string(of), string(id)
		terms, err := search.Extract(x.resourceType, r.json)
		if err != nil {
			return 0, err
		}
		if err := x.each(r.at(), &terms); err != nil {
			return 0, err
		}
		counts[x.resourceType]++
		total++
		if batch.Len() > groupBytes {
			if err := s.db.Apply(batch, pebble.NoSync); err != nil {
				return 0, err
			}
			batch.Close()
			batch = s.db.NewBatch()
		}
	}
	for of, n := range counts {
		if err := batch.Set(countOf(of), binary.AppendUvarint(nil, uint64(n)), nil); err != nil {
			return 0, err
		}
	}
	return total, s.db.Apply(batch, pebble.Sync)
}
