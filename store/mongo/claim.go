package mongo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/claim"
)

// Two writers at once who each want to create a resource unless there is one would both see
// none, and create two: neither a snapshot nor a version number shows the one what the other
// is about to insert. Two things keep them apart: within a process package claim, and between
// processes that such a write touches documents of the collection claims, which stand for what
// its condition asks for and for what its resources could be asked for by: see claimKeys. Of two
// writes that touch the same one at once MongoDB lets one go on, and the other begins again.

// unmatched checks the condition None of a change, on what is there and on what earlier changes
// of the same write have made. results are theirs.
func (e *edit) unmatched(ctx context.Context, results []store.Result) error {
	st := e.store.state.Load() // the write holds indexing: it stays
	return e.claim.Unmatched(results, claim.Stored{
		Knows:  st.searched.Knows,
		Linked: e.store.linked(ctx, st, nil),
		Find:   func(q search.Query) (store.Page, error) { return e.store.findResolved(ctx, st, q, nil) },
	})
}

// maxClaimKeys is how many documents of claims one change touches before it rather touches
// the one that stands for all resources of its type.
const maxClaimKeys = 64

// claimKeys are the documents that stand for conditions, by what they ask for first:
//
//	an identifier   its code, whatever its system and parameter
//	a reference     the id it leads to
//	anything else   the type of the resource
//
// A write touches those of its conditions, and those of the same kind that its resources have.
// So of two writes with conditions of one kind, each of whose resources match the condition of
// the other, both touch the same document. Conditions of different kinds are kept apart within
// a process only.
func claimKeys(changes []store.Change) []string {
	var keys []string
	for i := range changes {
		c := &changes[i]
		if c.If.None == nil {
			continue
		}
		kind, some := asked(*c.If.None)
		if kind != byType && c.Terms != nil {
			some = append(some, has(kind, c.Terms)...)
		}
		if kind == byType || len(some) > maxClaimKeys {
			some = []string{""}
			kind = byType
		}
		for _, k := range some {
			sum := sha256.Sum256([]byte(c.If.None.Type + "\x00" + string(kind) + "\x00" + k))
			keys = append(keys, hex.EncodeToString(sum[:16]))
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// claimKind is what a condition asks for first.
type claimKind byte

const (
	byIdentifier claimKind = 'i'
	byReference  claimKind = 'r'
	byType       claimKind = 't'
)

// asked is what something that matches q has one of.
func asked(q search.Query) (claimKind, []string) {
	for _, kind := range []claimKind{byIdentifier, byReference} {
		for i := range q.Where {
			if some, ok := values(kind, &q.Where[i]); ok {
				return kind, some
			}
		}
	}
	return byType, nil
}

func values(kind claimKind, c *search.Clause) (some []string, ok bool) {
	if c.Chain != nil || c.Has != nil || c.Any != nil || c.Modifier != "" || len(c.Values) == 0 {
		return nil, false
	}
	for i := range c.Values {
		v := &c.Values[i]
		switch {
		case kind == byIdentifier && c.Param.Type == search.TokenParam && c.Param.Name == "identifier" && !v.AnyCode:
			some = append(some, v.Code)
		case kind == byReference && c.Param.Type == search.ReferenceParam && v.RefID != "":
			some = append(some, v.RefID)
		default:
			return nil, false
		}
	}
	return some, true
}

// has is what a resource has of a kind.
func has(kind claimKind, t *search.Terms) (some []string) {
	if kind == byIdentifier {
		for i := range t.Tokens {
			if t.Tokens[i].Param == "identifier" {
				some = append(some, t.Tokens[i].Code)
			}
		}
	} else {
		for i := range t.References {
			if t.References[i].ID != "" {
				some = append(some, t.References[i].ID)
			}
		}
	}
	slices.Sort(some)
	return slices.Compact(some)
}

// claimTime is how long a claim is kept. It only counts while two writes are at work at once.
const claimTime = time.Hour

// touchClaims makes the transaction at hand one that fails if another has the same claims.
func (s *Store) touchClaims(ctx context.Context, e *edit) error {
	if len(e.claimKeys) == 0 {
		return nil
	}
	var models []driver.WriteModel
	for _, key := range e.claimKeys {
		models = append(models, driver.NewUpdateOneModel().SetUpsert(true).SetFilter(bson.D{{Key: "_id", Value: key}}).SetUpdate(bson.D{
			{Key: "$set", Value: bson.D{{Key: "at", Value: bson.NewDateTimeFromTime(e.now)}}},
			{Key: "$inc", Value: bson.D{{Key: "n", Value: int64(1)}}},
		}))
	}
	_, err := s.db.Collection(claimsCollection).BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	return err
}
