package search

import (
	"iter"
	"slices"
	"sort"
)

// Top keeps the first matches in the order of a query, in whatever order they come: never more
// than a page of them. T is what is kept of a match.
type Top[T any] struct {
	q     Query
	items []ranked[T] // in order
	bytes int
	limit int     // of the bytes of all items
	end   *Cursor // the first place that is known to be on a later page
}

type ranked[T any] struct {
	at    Cursor
	match T
	bytes int
}

// NewTop is the page of q without a match so far. It has no more than maxBytes, but for a
// single match. Count is 1 at least.
func NewTop[T any](q Query, maxBytes int) *Top[T] { return &Top[T]{q: q, limit: maxBytes} }

// Reset forgets all matches.
func (t *Top[T]) Reset() { t.items, t.bytes, t.end = nil, 0, nil }

// Wants reports whether a match at that place would be on the page.
func (t *Top[T]) Wants(at Cursor) bool {
	if t.q.After != nil && t.q.Compare(at, *t.q.After) <= 0 {
		return false
	}
	return t.end == nil || t.q.Compare(at, *t.end) < 0
}

// Add puts a match that is wanted in its place, with its size in bytes. One that is there is
// not put there twice, and those that have no place any more are gone.
func (t *Top[T]) Add(at Cursor, match T, bytes int) {
	i := sort.Search(len(t.items), func(i int) bool { return t.q.Compare(t.items[i].at, at) >= 0 })
	if i < len(t.items) && t.items[i].at.ID == at.ID {
		return
	}
	if t.items == nil {
		t.items = make([]ranked[T], 0, min(t.q.Count, 15)+1)
	}
	t.items = slices.Insert(t.items, i, ranked[T]{at, match, bytes})
	t.bytes += bytes
	for n := len(t.items); n > t.q.Count || n > 1 && t.bytes > t.limit; n-- {
		last := t.items[n-1]
		t.bytes -= last.bytes
		t.items = slices.Delete(t.items, n-1, n)
		t.end = &last.at
	}
}

// Len is how many matches there are.
func (t *Top[T]) Len() int { return len(t.items) }

// All are the matches and their places, in order.
func (t *Top[T]) All() iter.Seq2[Cursor, *T] {
	return func(yield func(Cursor, *T) bool) {
		for i := range t.items {
			if !yield(t.items[i].at, &t.items[i].match) {
				return
			}
		}
	}
}

// End is the first place that is known to be on a later page, nil if there is none so far.
func (t *Top[T]) End() *Cursor { return t.end }

// Next is where the next page begins, nil if there is none.
func (t *Top[T]) Next() *Cursor {
	n := len(t.items)
	if t.end == nil || n == 0 {
		return nil
	}
	at := t.items[n-1].at
	return &at
}
