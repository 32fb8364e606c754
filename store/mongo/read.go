package mongo

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/mongo/layout"
)

// Read is the current version of a resource, or the one that key names.
func (s *Store) Read(ctx context.Context, key fhir.Key) (fhir.Resource, error) {
	if err := s.gate.Enter(); err != nil {
		return fhir.Resource{}, err
	}
	defer s.gate.Leave()
	r, err := s.read(ctx, key)
	if err != nil {
		return fhir.Resource{}, fmt.Errorf("mongo: read %s: %w", key.Type, told(ctx, err))
	}
	return r, nil
}

func (s *Store) read(ctx context.Context, key fhir.Key) (fhir.Resource, error) {
	if err := ctx.Err(); err != nil {
		return fhir.Resource{}, err
	}
	if !fhir.ValidID(key.ID) || !fhir.ValidType(key.Type) {
		return fhir.Resource{}, store.ErrNotFound
	}
	version := int64(0)
	if key.Version != "" {
		var ok bool
		if version, ok = store.ParseVersion(key.Version); !ok {
			return fhir.Resource{}, store.ErrNotFound
		}
	}
	r, found, err := one(ctx, s.collection(key.Type), bson.D{{Key: "_id", Value: key.ID}})
	if err != nil {
		return fhir.Resource{}, err
	}
	if !found || version > r.version {
		return fhir.Resource{}, store.ErrNotFound
	}
	if version > 0 && version < r.version {
		r, found, err = one(ctx, s.historyOf(key.Type), bson.D{{Key: "_id", Value: layout.HistoryID(key.ID, version)}, {Key: "id", Value: key.ID}})
		if err == nil && !found {
			err = errDocument
		}
		if err != nil {
			return fhir.Resource{}, err
		}
	}
	out := r.resource(key.Type)
	if out.Deleted {
		return fhir.Resource{}, &store.GoneError{Resource: out}
	}
	return out, nil
}

// one is the record of the document that a filter by _id finds.
func one(ctx context.Context, c *driver.Collection, filter bson.D) (record, bool, error) {
	doc, err := c.FindOne(ctx, filter, options.FindOne().SetProjection(wanted)).Raw()
	if errors.Is(err, driver.ErrNoDocuments) {
		return record{}, false, nil
	}
	if err != nil {
		return record{}, false, err
	}
	return readRecord(doc)
}

// stored are the current resources of a type, as the primary has them.
func (s *Store) stored(ctx context.Context, resourceType string) iter.Seq2[fhir.Resource, error] {
	return func(yield func(fhir.Resource, error) bool) {
		c, err := newest(s.collection(resourceType)).Find(ctx, bson.D{}, options.Find().SetProjection(wanted).SetSort(bson.D{{Key: "_id", Value: 1}}))
		if err != nil {
			yield(fhir.Resource{}, err)
			return
		}
		defer c.Close(context.WithoutCancel(ctx))
		for c.Next(ctx) {
			r, found, err := readRecord(c.Current)
			if err == nil && (!found || r.deleted) {
				continue
			}
			if !yield(r.resource(resourceType), err) || err != nil {
				return
			}
		}
		if err := c.Err(); err != nil {
			yield(fhir.Resource{}, err)
		}
	}
}
