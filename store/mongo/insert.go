package mongo

import (
	"context"
	"errors"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Limits of one insert that many writers share.
const (
	groupDocuments = 1000
	groupBytes     = 8 << 20
	groupsAtOnce   = 2 // of one collection
)

// inserter sends the new documents of writers who come at the same time together. Nobody
// waits for others to come: what arrives while inserts are on their way makes up the next one.
type inserter struct {
	// insert tells for each document what became of it.
	insert func(ctx context.Context, collection string, docs []bson.Raw) []error

	mu      sync.Mutex
	groups  map[string]*group
	running sync.WaitGroup
}

// group is what waits to be inserted in one collection.
type group struct {
	pending []*insertion
	running int
}

type insertion struct {
	doc  bson.Raw
	done chan error // has room for one
}

// add returns when the document is inserted, or could not be. If ctx ends first, it may still be.
func (in *inserter) add(ctx context.Context, collection string, doc bson.Raw) error {
	i := &insertion{doc: doc, done: make(chan error, 1)}
	in.mu.Lock()
	if in.groups == nil {
		in.groups = map[string]*group{}
	}
	g := in.groups[collection]
	if g == nil {
		g = &group{}
		in.groups[collection] = g
	}
	g.pending = append(g.pending, i)
	if g.running < groupsAtOnce {
		g.running++
		in.running.Add(1)
		go in.run(collection, g, context.WithoutCancel(ctx))
	}
	in.mu.Unlock()
	select {
	case err := <-i.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run inserts until nothing is pending.
func (in *inserter) run(collection string, g *group, ctx context.Context) {
	defer in.running.Done()
	for {
		batch := in.take(g)
		if len(batch) == 0 {
			return
		}
		docs := make([]bson.Raw, len(batch))
		for i, b := range batch {
			docs[i] = b.doc
		}
		for i, err := range in.insert(ctx, collection, docs) {
			batch[i].done <- err
		}
	}
}

// take is what goes into the next insert. If that is nothing, one runs less.
func (in *inserter) take(g *group) []*insertion {
	in.mu.Lock()
	defer in.mu.Unlock()
	n, size := 0, 0
	for n < len(g.pending) && n < groupDocuments {
		size += len(g.pending[n].doc)
		if n > 0 && size > groupBytes {
			break
		}
		n++
	}
	batch := g.pending[:n:n]
	g.pending = g.pending[n:]
	if n == 0 {
		g.pending = nil
		g.running--
	}
	return batch
}

// wait returns when no insert is on its way. Nothing may be added meanwhile.
func (in *inserter) wait() { in.running.Wait() }

// insertMany inserts independent documents.
func (s *Store) insertMany(ctx context.Context, collection string, docs []bson.Raw) []error {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	ctx, end := s.member.while(ctx)
	defer end()
	errs := make([]error, len(docs))
	if err := s.member.inGrace(); err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	_, err := s.db.Collection(collection).InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
	if err == nil {
		return errs
	}
	bulk, ok := errors.AsType[driver.BulkWriteException](err)
	if !ok || bulk.WriteConcernError != nil {
		for i := range errs {
			errs[i] = why(ctx, err)
		}
		return errs
	}
	for _, e := range bulk.WriteErrors {
		if e.Index < 0 || e.Index >= len(errs) {
			for i := range errs {
				errs[i] = errors.New("MongoDB told an error of a document that was not sent")
			}
			return errs
		}
		errs[e.Index] = driver.WriteException{WriteErrors: driver.WriteErrors{e.WriteError}}
	}
	return errs
}
