package mongo

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/mongo/layout"
)

// document is what the collection of its type holds for a version that is a resource. While the
// search parameters change it is found by those of before and by those to come. The caller holds
// indexing for reading.
func (s *Store) document(r *record, c *store.Change) (bson.Raw, error) {
	st := s.state.Load()
	res := r.shared(c.Type)
	terms, err := s.terms(st, r, c)
	if err != nil {
		return nil, err
	}
	return st.layout.Document(nil, res.Key, res.LastUpdated, r.json, terms)
}

// terms are those that a state wants of a resource.
func (s *Store) terms(st *state, r *record, c *store.Change) (*search.Terms, error) {
	terms := c.Terms
	if !c.HasTerms(st.searched.Parameters, s.opened.Parameters) {
		extracted, err := st.searched.Extract(c.Type, r.json)
		if err != nil {
			return nil, err
		}
		terms = &extracted
	}
	if st.also == nil {
		return terms, nil
	}
	more, err := st.also.Extract(c.Type, r.json)
	if err != nil {
		return nil, err
	}
	both := union(*terms, more)
	return &both, nil
}

// tombstone is the document of a deletion. It keeps the field that may be part of the shard key.
func (s *Store) tombstone(of string, r *record, patient string) (bson.Raw, error) {
	res := r.shared(of)
	before, err := bson.Marshal(bson.D{{Key: "_id", Value: r.id}, {Key: "pt", Value: patient}})
	if err != nil {
		return nil, err
	}
	return s.state.Load().layout.Tombstone(nil, res.Key, res.LastUpdated, before)
}

// earlier is the document of a version in the history, which its successor replaced then.
func earlier(of string, r *record, then time.Time) (bson.Raw, error) {
	return layout.History(nil, r.shared(of), then)
}

// filter finds the document that r was read from, as long as it is current. In a sharded
// collection it leads to one shard, whichever of _id and pt the shard key has.
func (r *record) filter() bson.D {
	f := bson.D{{Key: "_id", Value: r.id}, {Key: "v", Value: r.version}}
	if r.patient != "" {
		f = append(f, bson.E{Key: "pt", Value: r.patient})
	}
	return f
}
