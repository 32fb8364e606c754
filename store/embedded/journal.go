package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/store"
)

// Limits of the journal.
const (
	maxName  = 512      // bytes of a shelf or an id
	maxEntry = 64 << 20 // bytes of an entry
	maxList  = 10000    // ids in one answer
)

// Keep writes an entry. It is durable when Keep returns.
func (s *Store) Keep(ctx context.Context, shelf, id string, entry []byte) error {
	if len(entry) > maxEntry {
		return fmt.Errorf("embedded: keep: the entry has %d bytes, and %d are allowed", len(entry), maxEntry)
	}
	return s.put("keep", ctx, shelf, id, true, func(b *pebble.Batch, key []byte) error { return b.Set(key, entry, nil) })
}

// Remove takes an entry away. A crash may bring it back.
func (s *Store) Remove(ctx context.Context, shelf, id string) error {
	return s.put("remove", ctx, shelf, id, false, func(b *pebble.Batch, key []byte) error { return b.Delete(key, nil) })
}

func (s *Store) put(what string, ctx context.Context, shelf, id string, durable bool, change func(*pebble.Batch, []byte) error) error {
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	key, err := journalEntry(shelf, id)
	if err != nil {
		return fmt.Errorf("embedded: %s: %w", what, err)
	}
	w := newWrite(s.db.NewBatch())
	defer w.batch.Close()
	w.durable = durable
	if err = change(w.batch, key); err == nil {
		err = s.commit(ctx, w)
	}
	if err != nil {
		return fmt.Errorf("embedded: %s: %w", what, err)
	}
	return nil
}

// Fetch reads an entry.
func (s *Store) Fetch(ctx context.Context, shelf, id string) ([]byte, error) {
	if err := s.gate.Enter(); err != nil {
		return nil, err
	}
	defer s.gate.Leave()
	entry, err := s.fetch(ctx, shelf, id)
	if err != nil {
		return nil, fmt.Errorf("embedded: fetch: %w", err)
	}
	return entry, nil
}

func (s *Store) fetch(ctx context.Context, shelf, id string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	key, err := journalEntry(shelf, id)
	if err != nil {
		return nil, err
	}
	v := s.look()
	defer s.letGo(v)
	value, closer, err := v.snapshot.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return bytes.Clone(value), closer.Close()
}

// Entries lists ids of a shelf, in the order of their bytes.
func (s *Store) Entries(ctx context.Context, shelf, after string, limit int) ([]string, error) {
	if err := s.gate.Enter(); err != nil {
		return nil, err
	}
	defer s.gate.Leave()
	ids, err := s.entries(ctx, shelf, after, limit)
	if err != nil {
		return nil, fmt.Errorf("embedded: entries: %w", err)
	}
	return ids, nil
}

func (s *Store) entries(ctx context.Context, shelf, from string, limit int) ([]string, error) {
	limit = min(limit, maxList)
	prefix := journalPrefix(shelf)
	lower := prefix
	if from != "" {
		lower = append(appendText(bytes.Clone(prefix), from), 0)
	}
	v := s.look()
	defer s.letGo(v)
	it, err := v.snapshot.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: after(prefix)})
	if err != nil {
		return nil, err
	}
	var ids []string
	for ok := it.First(); ok && len(ids) < limit; ok = it.Next() {
		if err = ctx.Err(); err != nil {
			break
		}
		id, _, ok := cutText(it.Key()[len(prefix):])
		if !ok {
			err = errors.New("a key of the journal is damaged: restore the store from a backup")
			break
		}
		ids = append(ids, id)
	}
	if err := errors.Join(err, it.Error(), it.Close()); err != nil {
		return nil, err
	}
	return ids, nil
}

func journalEntry(shelf, id string) ([]byte, error) {
	if shelf == "" || id == "" || len(shelf) > maxName || len(id) > maxName {
		return nil, fmt.Errorf("shelf and id must have 1 to %d bytes", maxName)
	}
	return appendText(journalPrefix(shelf), id), nil
}
