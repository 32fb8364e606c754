package embedded

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
)

// checkIndex makes the index anew where it is not the one that this program would make:
// after an update that brings search parameters or another kind of key, say, or after a
// crash in the middle of this.
func (s *Store) checkIndex() error {
	is, err := s.value(indexKey)
	if err != nil {
		return err
	}
	for _, g := range []generation{lowerCase, upperCase} {
		if bytes.Equal(is, indexNote(s.params, g)) {
			s.generation = g
			return s.clean(g.other())
		}
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
	return s.db.Set(indexKey, indexNote(s.params, s.generation), pebble.Sync)
}

// clean deletes what a Reindex left that did not come to its end.
func (s *Store) clean(g generation) error {
	for _, kind := range termKinds {
		it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{g.kind(kind)}, UpperBound: []byte{g.kind(kind) + 1}})
		if err != nil {
			return err
		}
		found := it.First()
		if err := errors.Join(it.Error(), it.Close()); err != nil {
			return err
		}
		if found {
			return s.clear(g)
		}
	}
	return nil
}

// indexNote tells apart all that decides which index keys there are.
func indexNote(p *parameters, g generation) []byte {
	h := sha256.New()
	fmt.Fprintln(h, indexVersion, g)
	h.Write(p.Fingerprint())
	return h.Sum(nil)
}

// rebuild deletes all index keys and makes those of all versions. Nobody else uses the
// store yet.
func (s *Store) rebuild() (int, error) {
	for _, kind := range indexKinds {
		if err := s.db.DeleteRange([]byte{kind}, []byte{kind + 1}, pebble.NoSync); err != nil {
			return 0, err
		}
	}
	if err := errors.Join(s.clear(lowerCase), s.clear(upperCase)); err != nil {
		return 0, err
	}
	b := &bulk{db: s.db, batch: s.db.NewBatch()}
	defer func() { b.batch.Close() }()
	if err := s.eachRecord(earlierKey, b.indexEarlier); err != nil {
		return 0, err
	}
	x := &indexer{params: s.params, generation: s.generation, emit: b.set}
	counts := map[string]int64{}
	total := 0
	err := s.eachRecord(currentKey, func(of string, id []byte, r record) error {
		if r.deleted {
			return b.set(appendPast(nil, of, string(id), r.version, r.at()), nil)
		}
		x.resourceType, x.id = of, string(id)
		terms, err := s.params.Extract(of, r.json)
		if err != nil {
			return err
		}
		counts[of]++
		total++
		return x.each(r.at(), &terms)
	})
	if err != nil {
		return 0, err
	}
	for of, n := range counts {
		if err := b.set(countOf(of), binary.AppendUvarint(nil, uint64(n))); err != nil {
			return 0, err
		}
	}
	return total, s.db.Apply(b.batch, pebble.Sync)
}

// eachRecord calls f for all versions under one kind of key, with what follows the type.
func (s *Store) eachRecord(kind byte, f func(resourceType string, rest []byte, r record) error) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}})
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		of, rest, named := bytes.Cut(it.Key()[1:], []byte{0})
		if !named {
			err = errIndex
			break
		}
		var value []byte
		if value, err = it.ValueAndErr(); err != nil {
			break
		}
		var r record
		if r, err = readRecord(value); err == nil {
			err = f(string(of), rest, r)
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}

// stored are the current resources of a type, before the first view.
func (s *Store) stored(resourceType string) iter.Seq2[fhir.Resource, error] {
	return func(yield func(fhir.Resource, error) bool) {
		prefix := currentPrefix(resourceType)
		it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
		if err != nil {
			yield(fhir.Resource{}, err)
			return
		}
		defer it.Close()
		for ok := it.First(); ok; ok = it.Next() {
			var r record
			value, err := it.ValueAndErr()
			if err == nil {
				r, err = readRecord(value)
			}
			if r.deleted {
				continue
			}
			if !yield(r.clone().resource(resourceType, string(it.Key()[len(prefix):])), err) || err != nil {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(fhir.Resource{}, err)
		}
	}
}

// bulk writes many keys, a batch after the other.
type bulk struct {
	db    *pebble.DB
	batch *pebble.Batch
}

func (b *bulk) set(key, value []byte) error {
	if b.batch.Len() > groupBytes {
		if err := b.db.Apply(b.batch, pebble.NoSync); err != nil {
			return err
		}
		b.batch.Close()
		b.batch = b.db.NewBatch()
	}
	return b.batch.Set(key, value, nil)
}

// indexEarlier makes the index key of an earlier version.
func (b *bulk) indexEarlier(resourceType string, rest []byte, r record) error {
	id, version, ok := bytes.Cut(rest, []byte{0})
	if !ok || len(version) != versionLen {
		return errIndex
	}
	return b.set(appendPast(nil, resourceType, string(id), r.version, r.at()), nil)
}
