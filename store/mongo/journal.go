package mongo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

// Limits of the journal.
const (
	maxName  = 512   // bytes of a shelf or an id
	maxList  = 10000 // ids in one answer
	entryCut = 15 << 20
	maxEntry = 64 << 20 // bytes of an entry
)

// An entry is a document {_id, shelf, id, raw} of the collection journal. Shelf and id may be
// any bytes and are kept as hexadecimal digits, whose order is theirs. What is larger than a
// document may be goes on in documents {_id: {of, at, i}, of, raw}, which are written first.

// Keep writes an entry. It is durable when Keep returns.
func (s *Store) Keep(ctx context.Context, shelf, id string, entry []byte) error {
	return s.journal(ctx, "keep", shelf, id, func(key bson.Binary, names bson.D) error {
		if len(entry) > maxEntry {
			return fhir.Errorf(fhir.CodeTooLong, "", "the entry has %d bytes, and %d are allowed", len(entry), maxEntry)
		}
		return s.keep(ctx, key, names, entry)
	})
}

func (s *Store) keep(ctx context.Context, key bson.Binary, names bson.D, entry []byte) error {
	c := s.db.Collection(journalCollection)
	var more [][]byte
	for rest := entry; len(rest) > entryCut; {
		rest = rest[entryCut:]
		more = append(more, rest[:min(len(rest), entryCut)])
	}
	var stamp bson.ObjectID
	if more != nil {
		stamp = bson.NewObjectID()
	}
	for i, raw := range more {
		doc := bson.D{{Key: "_id", Value: bson.D{{Key: "of", Value: key}, {Key: "at", Value: stamp}, {Key: "i", Value: i}}},
			{Key: "of", Value: key}, {Key: "at", Value: stamp}, {Key: "raw", Value: bson.Binary{Data: raw}}}
		if _, err := c.InsertOne(ctx, doc); err != nil {
			return err
		}
	}
	doc := append(bson.D{{Key: "_id", Value: key}}, names...)
	doc = append(doc, bson.E{Key: "raw", Value: bson.Binary{Data: entry[:min(len(entry), entryCut)]}})
	if more != nil {
		doc = append(doc, bson.E{Key: "more", Value: len(more)}, bson.E{Key: "at", Value: stamp})
	}
	_, err := c.ReplaceOne(ctx, bson.D{{Key: "_id", Value: key}}, doc, options.Replace().SetUpsert(true))
	if isDuplicate(err) { // two upserts at once: the other one has made it
		_, err = c.ReplaceOne(ctx, bson.D{{Key: "_id", Value: key}}, doc, options.Replace().SetUpsert(true))
	}
	return err
}

// Remove takes an entry away.
func (s *Store) Remove(ctx context.Context, shelf, id string) error {
	return s.journal(ctx, "remove", shelf, id, func(key bson.Binary, _ bson.D) error {
		c := s.db.Collection(journalCollection)
		if _, err := c.DeleteOne(ctx, bson.D{{Key: "_id", Value: key}}); err != nil {
			return err
		}
		_, err := c.DeleteMany(ctx, bson.D{{Key: "of", Value: key}})
		return err
	})
}

// Fetch reads an entry.
func (s *Store) Fetch(ctx context.Context, shelf, id string) (entry []byte, err error) {
	err = s.journal(ctx, "fetch", shelf, id, func(key bson.Binary, _ bson.D) error {
		entry, err = s.fetch(ctx, key)
		return err
	})
	if err != nil {
		return nil, err
	}
	return entry, nil
}

func (s *Store) fetch(ctx context.Context, key bson.Binary) ([]byte, error) {
	c := s.db.Collection(journalCollection)
	var e struct {
		Raw  bson.Binary   `bson:"raw"`
		More int           `bson:"more"`
		At   bson.ObjectID `bson:"at"`
	}
	err := c.FindOne(ctx, bson.D{{Key: "_id", Value: key}}).Decode(&e)
	if errors.Is(err, driver.ErrNoDocuments) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	entry := e.Raw.Data
	for i := range e.More {
		var p struct {
			Raw bson.Binary `bson:"raw"`
		}
		id := bson.D{{Key: "of", Value: key}, {Key: "at", Value: e.At}, {Key: "i", Value: i}}
		err := c.FindOne(ctx, bson.D{{Key: "_id", Value: id}}).Decode(&p)
		if errors.Is(err, driver.ErrNoDocuments) {
			return nil, errDocument
		}
		if err != nil {
			return nil, err
		}
		entry = append(entry, p.Raw.Data...)
	}
	return entry, nil
}

// Entries lists ids of a shelf, in the order of their bytes.
func (s *Store) Entries(ctx context.Context, shelf, after string, limit int) ([]string, error) {
	if err := s.gate.Enter(); err != nil {
		return nil, err
	}
	defer s.gate.Leave()
	ids, err := s.entries(ctx, shelf, after, limit)
	if err != nil {
		return nil, fmt.Errorf("mongo: entries: %w", told(ctx, err))
	}
	return ids, nil
}

func (s *Store) entries(ctx context.Context, shelf, after string, limit int) ([]string, error) {
	if err := ctx.Err(); err != nil || limit <= 0 {
		return nil, err
	}
	f := bson.D{{Key: "shelf", Value: hex.EncodeToString([]byte(shelf))}, {Key: "id", Value: bson.D{{Key: "$gt", Value: hex.EncodeToString([]byte(after))}}}}
	c, err := s.db.Collection(journalCollection).Find(ctx, f, options.Find().SetProjection(bson.D{{Key: "id", Value: 1}}).
		SetSort(bson.D{{Key: "shelf", Value: 1}, {Key: "id", Value: 1}}).SetLimit(int64(min(limit, maxList))))
	if err != nil {
		return nil, err
	}
	defer c.Close(context.WithoutCancel(ctx))
	var ids []string
	for c.Next(ctx) {
		text, ok := c.Current.Lookup("id").StringValueOK()
		id, bad := hex.DecodeString(text)
		if !ok || bad != nil {
			return nil, errDocument
		}
		ids = append(ids, string(id))
	}
	return ids, c.Err()
}

// journal calls f with the key of an entry, and the fields that name it.
func (s *Store) journal(ctx context.Context, what, shelf, id string, f func(key bson.Binary, names bson.D) error) error {
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	err := ctx.Err()
	if err == nil && (shelf == "" || id == "" || len(shelf) > maxName || len(id) > maxName) {
		err = fmt.Errorf("shelf and id must have 1 to %d bytes", maxName)
	}
	if err == nil {
		names := bson.D{{Key: "shelf", Value: hex.EncodeToString([]byte(shelf))}, {Key: "id", Value: hex.EncodeToString([]byte(id))}}
		sum := sha256.Sum256([]byte(fmt.Sprintf("%d:%s%s", len(shelf), shelf, id)))
		err = f(bson.Binary{Data: sum[:]}, names)
	}
	if err != nil {
		return fmt.Errorf("mongo: %s: %w", what, told(ctx, err))
	}
	return nil
}
