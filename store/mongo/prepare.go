package mongo

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store/mongo/layout"
)

// note is what the database says of itself, in the collection kiln under "layout".
type note struct {
	ID      string `bson:"_id"`
	Format  string `bson:"format"` // "kiln"
	Version int    `bson:"version"`

	// Epoch counts the changes of what follows. All servers obey it: see servers.go and reindex.go.
	Epoch int64 `bson:"epoch"`
	// Parameters and From define what documents are searched by; before the first time there are none.
	Parameters []byte   `bson:"parameters"`
	From       []source `bson:"from"`
	// Building or Leaving, if there is one, defines what documents are written for, too.
	Building *definition `bson:"building"`
	Leaving  *definition `bson:"leaving"`
	// Mixed: documents may have index fields by other definitions, too. Incomplete: they may lack some.
	Mixed      bool `bson:"mixed"`
	Incomplete bool `bson:"incomplete"`

	// Servers are those that have the database open, and Turn is that which may change the above,
	// "" if nobody does.
	Servers map[string]signature `bson:"servers,omitempty"`
	Turn    string               `bson:"turn,omitempty"`
}

// searched is what documents are searched by.
func (n *note) searched() *definition { return &definition{n.Parameters, n.From} }

// isMixed reports whether a change of parameters is not at its end.
func (n *note) isMixed() bool {
	return n.Mixed || n.Incomplete || n.Building != nil || n.Leaving != nil
}

// free reports whether it may be the turn of a server: nobody else that is there has it.
func (n *note) free(id string) bool {
	_, there := n.Servers[n.Turn]
	return !there || n.Turn == id
}

const (
	noteID     = "layout"
	noteFormat = "kiln"
)

// migrations lead from the layout of their index, from 1 on, to the next one. Each may be
// begun again after a crash at any point of it.
var migrations = []func(ctx context.Context, s *Store) error{
	0: nil, // there is no layout 0
}

// prepare checks that the database is one of Kiln, or empty, and brings it to the layout of
// this program.
func (s *Store) prepare(ctx context.Context) error {
	n, found, err := s.readNote(ctx)
	if err != nil {
		return err
	}
	if !found {
		if err := s.checkEmpty(ctx); err != nil {
			return err
		}
		n = note{ID: noteID, Format: noteFormat, Version: layout.Version}
		if n.Parameters, n.From, err = s.firstParameters(); err != nil {
			return err
		}
		_, err := s.note().InsertOne(ctx, n)
		if isDuplicate(err) { // another server came first
			n, _, err = s.readNote(ctx)
		}
		if err != nil {
			return err
		}
	}
	switch {
	case n.Format != noteFormat || n.Version < 1:
		return errForeign
	case n.Version > layout.Version:
		return &Fault{What: fmt.Sprintf("the database has layout %d, and this program knows only up to %d", n.Version, layout.Version), Fix: "use the newer program that wrote it"}
	case n.Version < layout.Version:
		return s.alone(ctx, "migration", func(ctx context.Context) error { return s.migrate(ctx) })
	}
	return nil
}

// firstParameters define what an empty database is indexed by.
func (s *Store) firstParameters() (fingerprint []byte, from []source, err error) {
	if s.load == nil {
		return s.opened.Fingerprint(), nil, nil
	}
	p, err := s.load(func(func(fhir.Resource, error) bool) {})
	if err != nil {
		return nil, nil, fmt.Errorf("search parameters: %w", err)
	}
	return p.Fingerprint(), []source{}, nil
}

// errReplaced says that there is no note any more.
var errReplaced error = &Fault{What: "the database is not the one that was opened: it was dropped or replaced", Fix: "restart the server, once you know why"}

var errForeign error = &Fault{What: "the database has collections in it and is none of Kiln", Fix: "name another database in the URI, as in mongodb://host/kiln"}

func (s *Store) readNote(ctx context.Context) (n note, found bool, err error) {
	err = s.note().FindOne(ctx, bson.D{{Key: "_id", Value: noteID}}).Decode(&n)
	if errors.Is(err, driver.ErrNoDocuments) {
		return note{}, false, nil
	}
	return n, err == nil, err
}

func (s *Store) checkEmpty(ctx context.Context) error {
	names, err := s.db.ListCollectionNames(ctx, bson.D{})
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != metaCollection && !strings.HasPrefix(name, "system.") {
			return errForeign
		}
	}
	return nil
}

// checkShardKeys refuses collections of resources that are sharded by anything but their ids:
// only then there cannot be two documents of one resource.
func (s *Store) checkShardKeys(ctx context.Context) error {
	c, err := s.client.Database("config").Collection("collections").Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: s.db.Name() + "."}, {Key: "$lt", Value: s.db.Name() + "/"}}}})
	if err == nil {
		var sharded []struct {
			ID  string `bson:"_id"`
			Key bson.D `bson:"key"`
		}
		if err = c.All(ctx, &sharded); err == nil {
			for _, x := range sharded {
				name := strings.TrimPrefix(x.ID, s.db.Name()+".")
				want := "_id"
				if of, isHistory := cutHistory(name); isHistory && isType(of) {
					want = "id"
				} else if !isType(name) {
					continue
				}
				if len(x.Key) != 1 || x.Key[0].Key != want {
					return &Fault{What: fmt.Sprintf("the collection %s is sharded by something other than %s: ids would not be unique", name, want), Fix: "shard it as docs/mongodb.md says"}
				}
			}
			return nil
		}
	}
	s.log.Warn("the shard keys could not be checked; they must be those of docs/mongodb.md", "error", told(ctx, err))
	return ctx.Err()
}

func (s *Store) migrate(ctx context.Context) error {
	for {
		n, _, err := s.readNote(ctx)
		if err != nil || n.Version >= layout.Version {
			return err
		}
		if n.Version >= len(migrations) || migrations[n.Version] == nil {
			return fmt.Errorf("there is no way from layout %d to %d", n.Version, layout.Version)
		}
		s.log.Info("changing the layout of the database", "from", n.Version, "to", n.Version+1)
		if err := migrations[n.Version](ctx, s); err != nil {
			return fmt.Errorf("from layout %d: %w", n.Version, err)
		}
		if err := s.setNote(ctx, bson.D{{Key: "version", Value: n.Version + 1}}); err != nil {
			return err
		}
	}
}

func (s *Store) setNote(ctx context.Context, fields bson.D) error {
	_, err := s.note().UpdateOne(ctx, bson.D{{Key: "_id", Value: noteID}}, bson.D{{Key: "$set", Value: fields}})
	return err
}

// complete ends what other processes could not, and makes the indexes and, if the search
// parameters are others than last time, the documents fit.
func (s *Store) complete(ctx context.Context) error {
	if err := s.recover(ctx, 0); err != nil {
		return fmt.Errorf("writes that were not finished: %w", err)
	}
	if !s.transactional {
		s.background.Go(s.sweep)
	}
	types, err := s.types(ctx)
	if err != nil {
		return err
	}
	if err := s.indexes.begin(ctx, types); err != nil {
		return err
	}
	return s.settle(ctx)
}

// sweep brings to their end, now and then, what other processes have left.
func (s *Store) sweep() {
	for pauseFor(s.ending, abandonedAfter) == nil {
		ctx, cancel := context.WithTimeout(s.ending, time.Minute)
		if err := s.recover(ctx, abandonedAfter); err != nil && s.ending.Err() == nil {
			s.log.Debug("writes that were not finished are left for later", "error", told(ctx, err))
		}
		cancel()
	}
}

// types are the resource types of which there ever was a resource, sorted.
func (s *Store) types(ctx context.Context) ([]string, error) {
	names, err := s.db.ListCollectionNames(ctx, bson.D{})
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !isType(name) })
	slices.Sort(names)
	return names, nil
}

// isType tells the collections of resource types from the others: those begin in lower case
// or have a point in them.
func isType(collection string) bool { return fhir.ValidType(collection) }

func compareText(a, b string) int { return cmp.Compare(a, b) }

// leaseTime is how long a process may be silent that works alone before others go on. It is
// measured by the clocks of two machines: what they do must be safe even if both do it.
const leaseTime = 30 * time.Second

// alone calls f while no other process does what has the same name. A process that ends
// without a word is waited for as long as its lease lasts.
func (s *Store) alone(ctx context.Context, name string, f func(ctx context.Context) error) error {
	id, me := "lease/"+name, rand.Text()
	for try := 0; ; try++ {
		ok, err := s.takeLease(ctx, id, me)
		if err != nil {
			return err
		}
		if ok {
			break
		}
		if try == 0 {
			s.log.Info("another server is at work on the database, waiting for it", "at", name)
		}
		if err := pauseFor(ctx, time.Second); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for pauseFor(ctx, leaseTime/3) == nil {
			if ok, err := s.takeLease(ctx, id, me); err == nil && !ok {
				cancel(errors.New("another server has taken over"))
				return
			}
		}
	}()
	err := f(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	cancel(nil)
	<-done
	after, end := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer end()
	if _, e := s.note().DeleteOne(after, bson.D{{Key: "_id", Value: id}, {Key: "owner", Value: me}}); e != nil {
		s.log.Warn("a lease could not be given back, and ends by itself", "error", told(after, e))
	}
	return err
}

// takeLease takes or renews a lease.
func (s *Store) takeLease(ctx context.Context, id, me string) (bool, error) {
	now := time.Now()
	_, err := s.note().UpdateOne(ctx,
		bson.D{{Key: "_id", Value: id}, {Key: "$or", Value: bson.A{
			bson.D{{Key: "owner", Value: me}}, bson.D{{Key: "until", Value: bson.D{{Key: "$lt", Value: now}}}},
		}}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "owner", Value: me}, {Key: "until", Value: now.Add(leaseTime)}}}},
		options.UpdateOne().SetUpsert(true))
	if isDuplicate(err) { // it is there, and not ours
		return false, nil
	}
	return err == nil, err
}
