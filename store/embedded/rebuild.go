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
	// From here on no program can take the index for complete, whatever its parameters.
	if err := s.db.Set(indexKey, []byte("incomplete"), pebble.Sync); err != nil {
		return err
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

// progressEvery is after how many resources the log tells how far rebuild is.
const progressEvery = 250_000

// rebuild deletes all index keys and makes those of all versions, and lets every resource lie
// where it belongs. Whatever part of this a crash leaves, all of it can begin again: a batch
// moves a resource as a whole. Nobody else uses the store yet.
func (s *Store) rebuild() (int, error) {
	for _, kind := range indexKinds {
		if err := s.db.DeleteRange([]byte{kind}, []byte{kind + 1}, pebble.NoSync); err != nil {
			return 0, err
		}
	}
	if err := errors.Join(s.clear(lowerCase), s.clear(upperCase)); err != nil {
		return 0, err
	}
	b := &bulk{db: s.db, batch: s.db.NewBatch(), placer: placer{numbers: s.numbers, stored: func(resourceType, patient string, definition []byte) (uint64, error) {
		return storedNumber(s.db, resourceType, patient, definition)
	}}}
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
		if total > 0 && total%progressEvery == 0 {
			s.log.record(slog.LevelInfo, "embedded: indexing", "resources", total)
		}
		if err := b.flush(groupBytes); err != nil {
			return err
		}
		r, err := whole(s.db, r, string(id))
		if err != nil {
			return err
		}
		terms, err := s.params.Extract(of, r.json)
		if err != nil {
			return err
		}
		before, length := r.place, r.length
		if err := b.placer.place(b.batch, of, s.params.layout(of), &terms, &r); err != nil {
			return err
		}
		if r.place != before || r.length != length {
			if err := b.placer.put(b.batch, fhir.Key{Type: of, ID: string(id)}, before, &r); err != nil {
				return err
			}
		}
		x.resourceType, x.id, x.series = of, string(id), r.place.series
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
	if err := s.db.Apply(b.batch, pebble.Sync); err != nil {
		return 0, err
	}
	b.placer.done(true)
	return total, nil
}

// eachRecord calls f for all versions under one kind of key, with what follows the type. Those
// that lie in a series are without their JSON.
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
			id := string(it.Key()[len(prefix):])
			if err == nil {
				r, err = readRecord(value)
			}
			if r.deleted {
				continue
			}
			if err == nil {
				r, err = whole(s.db, r, id)
			}
			if !yield(r.clone().resource(resourceType, id), err) || err != nil {
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
	db     *pebble.DB
	batch  *pebble.Batch
	placer placer
}

func (b *bulk) set(key, value []byte) error { return b.batch.Set(key, value, nil) }

// flush writes the batch if it has more bytes than that.
func (b *bulk) flush(size int) error {
	if b.batch.Len() <= size {
		return nil
	}
	if err := b.db.Apply(b.batch, pebble.NoSync); err != nil {
		return err
	}
	b.placer.done(true)
	b.batch.Close()
	b.batch = b.db.NewBatch()
	return nil
}

// indexEarlier makes the index key of an earlier version.
func (b *bulk) indexEarlier(resourceType string, rest []byte, r record) error {
	id, version, ok := bytes.Cut(rest, []byte{0})
	if !ok || len(version) != versionLen {
		return errIndex
	}
	return errors.Join(b.flush(groupBytes), b.set(appendPast(nil, resourceType, string(id), r.version, r.at()), nil))
}
