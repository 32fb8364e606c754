package mongo

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// A deployment without transactions, a single server that is no replica set, changes one
// document at a time. A write of several documents there is an intent:
//
//  1. Its document in intents names the places of all documents, and says "locking".
//  2. Each place is locked: the document of the resource gets the id of the intent as w. Where
//     there is none yet, one that has nothing else holds the place, and nobody sees it.
//  3. What is there is read and decided upon, and all new documents are put into intents.parts.
//  4. The document of the intent says "committed". From here on the write is done.
//  5. The new documents replace the locked ones, which unlocks them.
//  6. Places that did not change are unlocked, and the intent is forgotten.
//
// Whoever stops before 4 has done nothing, and whoever stops behind it has done all: Open,
// and a writer who finds a place locked for long, take back or carry on what they find. Every
// step may be done twice, by two processes at once: a document is only replaced or unlocked
// as long as it is locked by this very intent, and an intent is taken back and committed by
// a compare-and-set of its state.

// place is a document that an intent locks.
type place struct {
	Collection string `bson:"c"`
	ID         string `bson:"i"`
}

// intent is the document of one.
type intent struct {
	ID     string    `bson:"_id"`
	State  string    `bson:"state"`
	At     time.Time `bson:"at"`
	Places []place   `bson:"places"`
}

const (
	stateLocking   = "locking"
	stateCommitted = "committed"
	stateEnded     = "ended" // taken back
)

// lockField is where a document says which intent has it.
const lockField = "w"

// abandonedAfter is how long an intent may be at work before others think that its writer
// is no more. It is only a matter of patience: to take one back early does no harm.
const abandonedAfter = 15 * time.Second

// anyAge is that of all intents, also of those that were begun by a clock that is ahead of ours.
const anyAge = -1000 * time.Hour

// partBytes is about how large one of the intents.parts is, unless one document is larger.
const partBytes = 1 << 20

// errLocked says that another intent has one of the places.
var errLocked error = &Fault{What: "other writers were at the same resources all the time", Fix: "try again", Unavailable: true}

// intend does what transact does, without transactions.
func (s *Store) intend(ctx context.Context, e *edit) error {
	in, err := s.lock(ctx, e)
	if err != nil {
		return err
	}
	err = s.commitIntent(ctx, e, in)
	switch {
	case errors.Is(err, errStopped): // by a test
		return err
	case err != nil && !errors.Is(err, errUnknown):
		return errors.Join(err, s.takeBack(ctx, in))
	case err != nil: // it is done or not: what the database says decides
		if s.resolve(ctx, in.ID, true) != nil {
			s.later()
		}
		return err
	}
	if err := s.carryOn(ctx, in); err != nil {
		if errors.Is(err, errStopped) {
			return err
		}
		s.log.Warn("a write that is done could not be made visible at once, and will be", "error", told(ctx, err))
		s.later()
	}
	return nil
}

// errUnknown says that nobody knows whether an intent was committed.
var errUnknown = errors.New("whether the write was done is not known")

// errStopped is what tests make steps fail with, as if the process had ended there.
var errStopped = errors.New("stopped by a test")

func (s *Store) step(name string) error {
	if s.fault == nil {
		return nil
	}
	return s.fault(name)
}

// lock makes the intent and locks all of its places, or none.
func (s *Store) lock(ctx context.Context, e *edit) (*intent, error) {
	in := &intent{State: stateLocking}
	for i := range e.changes {
		in.Places = append(in.Places, place{e.changes[i].Type, e.changes[i].ID})
	}
	for _, key := range e.claimKeys {
		in.Places = append(in.Places, place{claimsCollection, key})
	}
	slices.SortStableFunc(in.Places, func(a, b place) int { return compareText(a.Collection, b.Collection) })
	for try := 0; ; try++ {
		in.ID, in.At = rand.Text(), time.Now()
		if err := s.step("intent"); err != nil {
			return nil, err
		}
		if _, err := s.db.Collection(intentsCollection).InsertOne(ctx, in); err != nil {
			return nil, err
		}
		err := s.lockPlaces(ctx, in)
		if err == nil {
			return in, nil
		}
		if errors.Is(err, errStopped) {
			return nil, err
		}
		back := s.takeBack(ctx, in)
		if !errors.Is(err, errLocked) || back != nil || try > maxTries {
			return nil, errors.Join(err, back)
		}
		if try%16 == 15 {
			if err := s.recover(ctx, abandonedAfter); err != nil {
				return nil, err
			}
		}
		s.counters.retries.Add(1)
		if err := pause(e.asked, try); err != nil {
			return nil, err
		}
	}
}

// byCollection are the ids of places, in turn for each collection. Places are sorted by it.
func byCollection(places []place, f func(collection string, ids []string) error) error {
	for len(places) > 0 {
		var ids []string
		n := 0
		for n < len(places) && places[n].Collection == places[0].Collection && n < 10*readAtOnce {
			ids = append(ids, places[n].ID)
			n++
		}
		if err := f(places[0].Collection, ids); err != nil {
			return err
		}
		places = places[n:]
	}
	return nil
}

func (s *Store) lockPlaces(ctx context.Context, in *intent) error {
	return byCollection(in.Places, func(collection string, ids []string) error {
		if err := s.step("lock"); err != nil {
			return err
		}
		models := make([]driver.WriteModel, len(ids))
		for i, id := range ids {
			models[i] = driver.NewUpdateOneModel().SetUpsert(true).
				SetFilter(bson.D{{Key: "_id", Value: id}, {Key: lockField, Value: bson.D{{Key: "$exists", Value: false}}}}).
				SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: lockField, Value: in.ID}}}})
		}
		_, err := s.db.Collection(collection).BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
		if isDuplicate(err) {
			return s.freeOrphans(ctx, collection, ids)
		}
		return err
	})
}

// freeOrphans unlocks documents whose intent is no more: its writer locked them late, after
// others had taken it back, and ended. The error is errLocked unless something else failed.
func (s *Store) freeOrphans(ctx context.Context, collection string, ids []string) error {
	c, err := s.db.Collection(collection).Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, {Key: lockField, Value: bson.D{{Key: "$exists", Value: true}}}},
		options.Find().SetProjection(bson.D{{Key: lockField, Value: 1}}))
	if err != nil {
		return err
	}
	var locked []struct {
		ID     string `bson:"_id"`
		Intent string `bson:"w"`
	}
	if err := c.All(ctx, &locked); err != nil {
		return err
	}
	known := map[string]bool{}
	for _, l := range locked {
		alive, ok := known[l.Intent]
		if !ok {
			n, err := s.db.Collection(intentsCollection).CountDocuments(ctx, bson.D{{Key: "_id", Value: l.Intent}})
			if err != nil {
				return err
			}
			alive = n > 0
			known[l.Intent] = alive
		}
		if !alive {
			if err := s.unlock(ctx, l.Intent, []place{{collection, l.ID}}); err != nil {
				return err
			}
		}
	}
	return errLocked
}

// part is a piece of what an intent will write.
type part struct {
	ID     string    `bson:"_id"`
	Intent string    `bson:"of"`
	Puts   []partPut `bson:"puts"`
}

type partPut struct {
	Collection string   `bson:"c"`
	ID         string   `bson:"i"`
	Doc        bson.Raw `bson:"d"`
}

// commitIntent decides and writes down what the intent will do, up to the point of no return.
func (s *Store) commitIntent(ctx context.Context, e *edit, in *intent) error {
	if err := e.decide(ctx); err != nil {
		return err
	}
	var docs []part
	size := 0
	add := func(collection, id string, doc bson.Raw) {
		if n := len(docs); n == 0 || size+len(doc) > partBytes {
			docs, size = append(docs, part{ID: fmt.Sprintf("%s/%06d", in.ID, n), Intent: in.ID}), 0
		}
		size += len(doc)
		last := &docs[len(docs)-1]
		last.Puts = append(last.Puts, partPut{collection, id, doc})
	}
	for i := range e.puts { // the history first: no version is ever in neither collection
		for _, doc := range e.puts[i].earlier {
			add(s.historyOf(e.puts[i].of).Name(), doc.Lookup("_id").StringValue(), doc)
		}
	}
	for i := range e.puts {
		p := &e.puts[i]
		add(p.of, p.id, p.doc)
	}
	if err := s.step("parts"); err != nil {
		return err
	}
	if len(docs) > 0 {
		if _, err := s.db.Collection(partsCollection).InsertMany(ctx, docs); err != nil {
			return err
		}
	}
	if err := cmp.Or(s.step("commit"), e.asked.Err(), s.member.inGrace()); err != nil {
		return err
	}
	result, err := s.db.Collection(intentsCollection).UpdateOne(ctx,
		bson.D{{Key: "_id", Value: in.ID}, {Key: "state", Value: stateLocking}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "state", Value: stateCommitted}}}})
	if err != nil {
		return errors.Join(errUnknown, err)
	}
	if result.MatchedCount == 0 {
		return errOvertaken // taken back by somebody who thought that we are no more
	}
	return nil
}

// carryOn makes a committed intent visible, and forgets it.
func (s *Store) carryOn(ctx context.Context, in *intent) error {
	if err := s.publish(ctx, in); err != nil {
		return err
	}
	return s.forget(ctx, in)
}

func (s *Store) publish(ctx context.Context, in *intent) error {
	c, err := s.db.Collection(partsCollection).Find(ctx, bson.D{{Key: "of", Value: in.ID}}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	s.visible.Lock()
	defer s.visible.Unlock()
	for c.Next(ctx) {
		var p part
		if err := c.Decode(&p); err != nil {
			return err
		}
		if err := s.putPart(ctx, &p); err != nil {
			return err
		}
	}
	if err := c.Err(); err != nil {
		return err
	}
	return s.unlock(ctx, in.ID, in.Places)
}

func (s *Store) putPart(ctx context.Context, p *part) error {
	for from := 0; from < len(p.Puts); {
		collection := p.Puts[from].Collection
		isHistory := collection != "" && !isType(collection)
		var models []driver.WriteModel
		for ; from < len(p.Puts) && p.Puts[from].Collection == collection; from++ {
			put := &p.Puts[from]
			m := driver.NewReplaceOneModel().SetReplacement(put.Doc)
			if isHistory {
				m.SetFilter(bson.D{{Key: "_id", Value: put.ID}}).SetUpsert(true)
			} else {
				m.SetFilter(bson.D{{Key: "_id", Value: put.ID}, {Key: lockField, Value: p.Intent}})
			}
			models = append(models, m)
		}
		if err := s.step("put"); err != nil {
			return err
		}
		if _, err := s.db.Collection(collection).BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false)); err != nil && !isDuplicate(err) {
			return err
		}
	}
	return nil
}

// unlock frees the places that an intent has locked and did not replace.
func (s *Store) unlock(ctx context.Context, id string, places []place) error {
	if err := s.step("unlock"); err != nil {
		return err
	}
	return byCollection(places, func(collection string, ids []string) error {
		locked := bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, {Key: lockField, Value: id}}
		c := s.db.Collection(collection)
		if _, err := c.DeleteMany(ctx, append(slices.Clone(locked), bson.E{Key: "v", Value: bson.D{{Key: "$exists", Value: false}}})); err != nil {
			return err
		}
		_, err := c.UpdateMany(ctx, locked, bson.D{{Key: "$unset", Value: bson.D{{Key: lockField, Value: ""}}}})
		return err
	})
}

// forget removes an intent that has nothing more to do.
func (s *Store) forget(ctx context.Context, in *intent) error {
	if err := s.step("forget"); err != nil {
		return err
	}
	if _, err := s.db.Collection(intentsCollection).DeleteOne(ctx, bson.D{{Key: "_id", Value: in.ID}}); err != nil {
		return err
	}
	_, err := s.db.Collection(partsCollection).DeleteMany(ctx, bson.D{{Key: "of", Value: in.ID}})
	return err
}

// takeBack undoes an intent that is not committed.
func (s *Store) takeBack(ctx context.Context, in *intent) error {
	_, err := s.db.Collection(intentsCollection).UpdateOne(ctx,
		bson.D{{Key: "_id", Value: in.ID}, {Key: "state", Value: stateLocking}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "state", Value: stateEnded}}}})
	if err == nil {
		err = s.unlock(ctx, in.ID, in.Places)
	}
	if err == nil {
		err = s.forget(ctx, in)
	}
	return err
}

// resolve brings an intent to its end, whichever that is. mine: by who made it.
func (s *Store) resolve(ctx context.Context, id string, mine bool) error {
	var in intent
	err := s.db.Collection(intentsCollection).FindOne(ctx, bson.D{{Key: "_id", Value: id}}).Decode(&in)
	if errors.Is(err, driver.ErrNoDocuments) {
		return nil
	}
	if err != nil {
		return err
	}
	if in.State == stateCommitted {
		return s.carryOn(ctx, &in)
	}
	if err := s.takeBackIfLocking(ctx, &in); err != nil || mine {
		return err
	}
	s.log.Info("took back a write whose server had ended", "resources", len(in.Places))
	return nil
}

// takeBackIfLocking takes an intent back unless it is committed in this very moment.
func (s *Store) takeBackIfLocking(ctx context.Context, in *intent) error {
	if in.State == stateLocking {
		result, err := s.db.Collection(intentsCollection).UpdateOne(ctx,
			bson.D{{Key: "_id", Value: in.ID}, {Key: "state", Value: stateLocking}},
			bson.D{{Key: "$set", Value: bson.D{{Key: "state", Value: stateEnded}}}})
		if err != nil {
			return err
		}
		if result.MatchedCount == 0 { // it is: or somebody else takes it back
			return s.resolveCommitted(ctx, in)
		}
	}
	if err := s.unlock(ctx, in.ID, in.Places); err != nil {
		return err
	}
	return s.forget(ctx, in)
}

func (s *Store) resolveCommitted(ctx context.Context, in *intent) error {
	n, err := s.db.Collection(intentsCollection).CountDocuments(ctx, bson.D{{Key: "_id", Value: in.ID}, {Key: "state", Value: stateCommitted}})
	if err != nil || n == 0 {
		return err
	}
	return s.carryOn(ctx, in)
}

// recover brings intents to their end that are older than age, and those that are committed.
func (s *Store) recover(ctx context.Context, age time.Duration) error {
	c, err := s.db.Collection(intentsCollection).Find(ctx, bson.D{{Key: "at", Value: bson.D{{Key: "$lte", Value: time.Now().Add(-age)}}}},
		options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return err
	}
	var found []struct {
		ID string `bson:"_id"`
	}
	if err := c.All(ctx, &found); err != nil {
		return err
	}
	for _, f := range found {
		if err := s.resolve(ctx, f.ID, false); err != nil {
			return err
		}
	}
	return nil
}

// later tries again, until it succeeds or the store is closed, to bring what is left over to its end.
func (s *Store) later() {
	s.background.Go(func() {
		for try := 0; s.ending.Err() == nil; try++ {
			ctx, cancel := context.WithTimeout(s.ending, time.Minute)
			err := s.recover(ctx, 0)
			cancel()
			if err == nil || pauseFor(s.ending, time.Second) != nil {
				return
			}
		}
	})
}

// pauseFor waits.
func pauseFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
