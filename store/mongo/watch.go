package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/mongo/layout"
)

// Limits of a Watch.
const (
	watchVersions = 1000             // told at once
	watchBytes    = 8 << 20          // told at once
	watchLost     = 10 * time.Minute // without a connection
)

// Watch is as store.Watcher says, with the change stream of the database: it tells what any
// process writes, and needs a replica set. MongoDB keeps what was not told yet in its oplog: only
// who is behind by more than that, or has no connection for ten minutes, misses something.
// https://www.mongodb.com/docs/manual/changeStreams/
func (s *Store) Watch(ctx context.Context, started func(), each func(versions []fhir.Resource) error) error {
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ending, func() { cancel(store.ErrClosed) })()
	err := s.watch(ctx, started, each)
	if errors.Is(context.Cause(ctx), store.ErrClosed) {
		return store.ErrClosed
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (s *Store) watch(ctx context.Context, started func(), each func(versions []fhir.Resource) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !s.transactional {
		return fmt.Errorf("mongo: watch: %w", &Fault{What: "a single server of MongoDB tells nobody what is written to it", Fix: "make it a replica set, of one member if need be: see docs/mongodb.md"})
	}
	stream, err := s.stream(ctx, nil)
	if err != nil {
		return fmt.Errorf("mongo: watch: %w", told(ctx, err))
	}
	started()
	for {
		var fromEach bool
		fromEach, err = follow(ctx, stream, each)
		token := stream.ResumeToken()
		_ = stream.Close(context.WithoutCancel(ctx)) // it is lost already, or ends
		if fromEach || ctx.Err() != nil {
			return err
		}
		if stream, err = s.resume(ctx, token, err); err != nil {
			return fmt.Errorf("mongo: watch: %w", err)
		}
	}
}

// stream opens a change stream behind a token, or now.
func (s *Store) stream(ctx context.Context, token bson.Raw) (*driver.ChangeStream, error) {
	opt := options.ChangeStream().SetBatchSize(watchVersions).SetMaxAwaitTime(time.Second)
	if token != nil {
		opt.SetResumeAfter(token)
	}
	return s.db.Watch(ctx, driver.Pipeline{{{Key: "$match", Value: bson.D{
		{Key: "operationType", Value: bson.D{{Key: "$in", Value: bson.A{"insert", "replace", "dropDatabase", "invalidate"}}}},
		{Key: "ns.coll", Value: bson.D{{Key: "$nin", Value: bson.A{metaCollection, journalCollection, claimsCollection, intentsCollection, partsCollection}}}},
	}}}}, opt)
}

// resume opens the stream again that was lost.
func (s *Store) resume(ctx context.Context, token bson.Raw, cause error) (*driver.ChangeStream, error) {
	since := time.Now()
	for try := 0; ; try++ {
		if token == nil || isGone(cause) || time.Since(since) > watchLost {
			return nil, fmt.Errorf("%w: %w", store.ErrMissed, told(ctx, cause))
		}
		if try > 0 {
			s.log.Warn("the change stream was lost; trying to go on", "error", told(ctx, cause))
			if err := pauseFor(ctx, time.Second); err != nil {
				return nil, err
			}
		}
		stream, err := s.stream(ctx, token)
		if err == nil {
			return stream, nil
		}
		cause = err
	}
}

var errInvalidated = errors.New("the database was dropped")

// isGone reports whether there is no way to go on with a stream.
func isGone(err error) bool {
	return errors.Is(err, errInvalidated) || hasCode(err, codeChangeStreamHistory) || hasCode(err, codeChangeStreamFatal)
}

// follow tells what a stream has until it fails, or each does.
func follow(ctx context.Context, stream *driver.ChangeStream, each func([]fhir.Resource) error) (fromEach bool, err error) {
	var some []fhir.Resource
	size := 0
	for stream.Next(ctx) {
		r, ok, err := eventVersion(stream.Current)
		if err != nil {
			return false, err
		}
		if ok {
			some = append(some, r)
			size += len(r.JSON)
		}
		if len(some) > 0 && (stream.RemainingBatchLength() == 0 || len(some) == watchVersions || size > watchBytes) {
			if err := each(some); err != nil {
				return true, err
			}
			some, size = nil, 0
		}
	}
	if err := stream.Err(); err != nil {
		return false, err
	}
	return false, errInvalidated
}

// eventVersion is the version that an event is about, if it is about one.
func eventVersion(doc bson.Raw) (r fhir.Resource, ok bool, err error) {
	switch kind, _ := doc.Lookup("operationType").StringValueOK(); kind {
	case "insert", "replace":
	case "dropDatabase", "invalidate":
		return r, false, errInvalidated
	default:
		return r, false, nil
	}
	collection, _ := doc.Lookup("ns", "coll").StringValueOK()
	full, found := doc.Lookup("fullDocument").DocumentOK()
	if !found {
		return r, false, nil
	}
	of, isHistory := cutHistory(collection)
	if !isType(of) {
		return r, false, nil
	}
	if isHistory {
		if fresh, _ := full.Lookup(importedField).BooleanOK(); !fresh {
			return r, false, nil
		}
	}
	rec, found, err := readRecord(slices.Clone(full))
	if err != nil || !found {
		return r, false, err
	}
	return rec.shared(of), true, nil
}

// cutHistory is the type whose versions a collection has.
func cutHistory(collection string) (of string, isHistory bool) {
	suffix := layout.HistoryCollection("")
	if n := len(collection) - len(suffix); n > 0 && collection[n:] == suffix {
		return collection[:n], true
	}
	return collection, false
}
