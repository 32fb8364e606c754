package mongo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// A document has its index fields once. While a Reindex runs, documents are made such that
// they are found by the parameters of before and by those to come: with the terms of both.
// They may then be found by what only the other set finds in them, if it has a parameter of
// the same name and another meaning. So for that time, which the layout document tells the next
// Open, too, the store is mixed: search.Query.Matches is asked about everything that is found.

// chunk is how many documents a Reindex reads at once.
const chunk = 500

// Reindex is as store.Reindexer says. It does not cover other processes that have the database
// open: they go on with the parameters that they have, also for what they write, and where a
// parameter of the same name has another meaning by now their searches find by both. Open the store
// anew there, with the new parameters, before searches rely on them.
func (s *Store) Reindex(ctx context.Context, p *search.Parameters, progress func(done, total int)) error {
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	if err := s.reindex(ctx, p, progress); err != nil {
		return fmt.Errorf("mongo: reindex: %w", told(ctx, err))
	}
	return nil
}

func (s *Store) reindex(ctx context.Context, p *search.Parameters, progress func(done, total int)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	next := newParameters(p)
	s.indexing.Lock()
	s.inserter.wait() // also for those that nobody waits for any more
	switch {
	case s.building != nil:
		s.indexing.Unlock()
		return errors.New("another one is running: wait until it is done")
	case bytes.Equal(p.Fingerprint(), s.params.Load().Fingerprint()):
		s.params.Store(next)
		s.indexing.Unlock()
		return nil
	}
	s.building = next
	s.indexing.Unlock()
	err := s.alone(ctx, "index", func(ctx context.Context) error { return s.build(ctx, next, progress) })
	s.indexing.Lock()
	s.building = nil
	s.indexing.Unlock()
	return err
}

func (s *Store) build(ctx context.Context, next *parameters, progress func(done, total int)) error {
	s.mixed.Store(true)
	if err := s.setNote(ctx, bson.D{{Key: "mixed", Value: true}}); err != nil {
		return err
	}
	if err := s.rewrite(ctx, progress); err != nil {
		return err
	}
	if err := s.setNote(ctx, bson.D{{Key: "parameters", Value: next.Fingerprint()}}); err != nil {
		return err
	}
	s.indexing.Lock()
	s.params.Store(next)
	s.building = nil
	s.indexing.Unlock()
	// The parameters are in use. What they do not find any more goes away now: if that fails
	// searches are slower, and Open does it.
	err := s.rewrite(ctx, nil)
	if err == nil {
		err = s.setNote(ctx, bson.D{{Key: "mixed", Value: false}})
	}
	if err != nil {
		s.log.Warn("documents have index fields that are not needed any more; the next start removes them", "error", told(ctx, err))
		return nil
	}
	s.mixed.Store(false)
	return nil
}

// indexAnew makes all documents fit the parameters, before anybody uses the store.
func (s *Store) indexAnew(ctx context.Context) error {
	fingerprint := s.params.Load().Fingerprint()
	n, _, err := s.readNote(ctx)
	if err != nil || bytes.Equal(n.Parameters, fingerprint) && !n.Mixed { // another server has done it
		return err
	}
	told, done := 0, 0
	err = s.rewrite(ctx, func(n, total int) {
		if done = n; n-told >= 100_000 {
			told = n
			s.log.Info("indexing by other search parameters", "done", n, "of", total)
		}
	})
	if err != nil {
		return fmt.Errorf("index by other search parameters: %w", err)
	}
	if done > 0 {
		s.log.Info("indexed by other search parameters", "resources", done)
	}
	s.mixed.Store(false)
	return s.setNote(ctx, bson.D{{Key: "parameters", Value: fingerprint}, {Key: "mixed", Value: false}})
}

// rewrite brings the index fields of all documents up to date.
func (s *Store) rewrite(ctx context.Context, progress func(done, total int)) error {
	types, err := s.types(ctx)
	if err != nil {
		return err
	}
	total, done := 0, 0
	for _, of := range types {
		n, err := s.collection(of).EstimatedDocumentCount(ctx)
		if err != nil {
			return err
		}
		total += int(n)
	}
	for _, of := range types {
		for after, more := "", true; more; {
			var n int
			if after, n, err = s.rewriteSome(ctx, of, after); err != nil {
				return err
			}
			more = n == chunk
			if done += n; progress != nil && n > 0 {
				progress(done, max(total, done))
			}
		}
	}
	return nil
}

// rewriteSome does a chunk of documents behind an id, and tells the last one's, and how many
// there were.
func (s *Store) rewriteSome(ctx context.Context, of, after string) (last string, n int, err error) {
	c, err := s.collection(of).Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}}},
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(chunk).SetBatchSize(chunk))
	if err != nil {
		return "", 0, err
	}
	defer c.Close(context.WithoutCancel(ctx))
	var models []driver.WriteModel
	for c.Next(ctx) {
		if last, n = c.Current.Lookup("_id").StringValue(), n+1; last == "" {
			return "", 0, errDocument
		}
		m, err := s.refitted(of, c.Current)
		if err != nil {
			return "", 0, err
		}
		if m != nil {
			models = append(models, m)
		}
	}
	if err := c.Err(); err != nil || len(models) == 0 {
		return last, n, err
	}
	// What another writer has changed meanwhile is not found, and needs nothing.
	_, err = s.collection(of).BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	return last, n, err
}

// refitted is the change that brings a document up to date: nil if it is. It is no
// replacement, so that a Watch is not told of it.
func (s *Store) refitted(of string, doc bson.Raw) (driver.WriteModel, error) {
	r, found, err := readRecord(doc)
	if err != nil || !found || r.deleted {
		return nil, err
	}
	s.indexing.RLock()
	next, err := s.document(&r, &store.Change{Key: fhir.Key{Type: of, ID: r.id}})
	s.indexing.RUnlock()
	if err != nil {
		return nil, err
	}
	if len(next) > s.limits.documentBytes {
		return nil, s.tooLong(of, len(r.json))
	}
	before, err := doc.Elements()
	if err != nil {
		return nil, errDocument
	}
	elements, err := next.Elements()
	if err != nil {
		return nil, err
	}
	var set, unset bson.D
	for _, e := range elements {
		if v := e.Value(); !v.Equal(doc.Lookup(e.Key())) && !slices.Contains(kept, e.Key()) {
			set = append(set, bson.E{Key: e.Key(), Value: v})
		}
	}
	for _, e := range before {
		if _, err := next.LookupErr(e.Key()); err != nil && !slices.Contains(kept, e.Key()) {
			unset = append(unset, bson.E{Key: e.Key(), Value: ""})
		}
	}
	var update bson.D
	if set != nil {
		update = append(update, bson.E{Key: "$set", Value: set})
	}
	if unset != nil {
		update = append(update, bson.E{Key: "$unset", Value: unset})
	}
	if update == nil {
		return nil, nil
	}
	return driver.NewUpdateOneModel().SetFilter(r.filter()).SetUpdate(update), nil
}

// kept are the fields that do not depend on parameters.
var kept = []string{"_id", "v", "lu", "raw", lockField}

// union are the terms of both. Most are in both, and few more than once.
func union(a, b search.Terms) search.Terms {
	a.Tokens = both(a.Tokens, b.Tokens)
	a.References = both(a.References, b.References)
	a.Dates = both(a.Dates, b.Dates)
	a.Quantities = both(a.Quantities, b.Quantities)
	a.Strings = both(a.Strings, b.Strings)
	a.URIs = both(a.URIs, b.URIs)
	a.Tuples = both(a.Tuples, b.Tuples)
	a.Positions = both(a.Positions, b.Positions)
	return a
}

// maxCompared is how many terms of one kind are compared with each other. A term that comes
// twice does no harm.
const maxCompared = 200

func both[T any](a, b []T) []T {
	out := slices.Clone(a)
	for _, y := range b {
		if len(a) > maxCompared || !slices.ContainsFunc(a, func(x T) bool { return reflect.DeepEqual(x, y) }) {
			out = append(out, y)
		}
	}
	return out
}
