package mongo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// Two writers at once who each want to create a resource unless there is one would both see
// none, and create two: neither a snapshot nor a version number shows the one what the other
// is about to insert. Two things keep them apart.
//
// Within a process a write with a condition None first says what it is about to put, in a
// claim. One whose search matches what an earlier claim puts waits until that write has
// succeeded or failed, and only then looks. A write waits for claims before it holds any lock,
// and only for claims that were made before its own, so that nobody waits for ever.
//
// Between processes such a write touches documents of the collection claims, which stand for
// what its condition asks for and for what its resources could be asked for by: see claimKeys.
// Of two writes that touch the same one at once MongoDB lets one go on, and the other begins again.

// claims are the writes with conditions that are on their way, in the order in which they came.
type claims struct {
	mu   sync.Mutex
	list []*claim
}

type claim struct {
	puts *puts
	keys []string      // of the documents to touch, sorted
	done chan struct{} // closed when the write is visible or has failed
}

// add returns the claims that were there before.
func (cs *claims) add(c *claim) []*claim {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	earlier := slices.Clone(cs.list)
	cs.list = append(cs.list, c)
	return earlier
}

func (cs *claims) end(c *claim) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	i := slices.Index(cs.list, c)
	cs.list = slices.Delete(cs.list, i, i+1)
	close(c.done)
}

// claim returns when no earlier write of this process is on its way that puts what a
// condition None of the changes matches. What it returns is nil if there is no such
// condition; else the caller must call end, when the write is done.
func (s *Store) claim(ctx context.Context, changes []store.Change) (*claim, error) {
	if !slices.ContainsFunc(changes, func(c store.Change) bool { return c.If.None != nil }) {
		return nil, nil
	}
	var searches []search.Query
	for i := range changes {
		if q := changes[i].If.None; q != nil {
			searches = append(searches, unwritten(*q))
		}
	}
	c := &claim{puts: s.puts(changes), done: make(chan struct{})}
	c.keys = claimKeys(c.puts.changes)
	for _, e := range s.claims.add(c) {
		if err := e.wait(ctx, searches); err != nil {
			s.claims.end(c)
			return nil, err
		}
	}
	return c, nil
}

// wait returns when the write of the claim is done, or at once if it puts nothing that
// one of the searches matches.
func (c *claim) wait(ctx context.Context, searches []search.Query) error {
	for i, q := range searches {
		if i%64 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		for range c.puts.matches(q, len(c.puts.changes), nil) {
			select {
			case <-c.done:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// unwritten is q as far as it can be asked of what has no lastUpdated yet, and of nothing
// else. It matches more: then it is waited for in vain, and the search decides.
func unwritten(q search.Query) search.Query {
	q.Where = slices.DeleteFunc(slices.Clone(q.Where), undecided)
	return q
}

func undecided(c search.Clause) bool {
	return c.Param.Name == "_lastUpdated" || c.Chain != nil || c.Has != nil || slices.ContainsFunc(c.Any, undecided)
}

// puts are the changes of a write, ready to be searched.
type puts struct {
	changes []store.Change         // with their terms
	tokens  map[search.Token][]int // which changes have a token
}

// puts finds the terms of what is put. JSON that has none fails later, when it is written.
func (s *Store) puts(changes []store.Change) *puts {
	p := &puts{changes: slices.Clone(changes), tokens: map[search.Token][]int{}}
	params := s.params.Load()
	for i := range p.changes {
		c := &p.changes[i]
		if c.Delete {
			continue
		}
		if !s.found(c, params) {
			c.Terms = nil
			terms, err := params.Extract(c.Type, c.JSON)
			if err != nil {
				continue
			}
			c.Terms, c.Parameters = &terms, params.Parameters
		}
		for _, t := range c.Terms.Tokens {
			p.tokens[t] = append(p.tokens[t], i)
		}
	}
	return p
}

// matches gives the first n changes that put what matches q. results, if there are any,
// tell their lastUpdated.
func (p *puts) matches(q search.Query, n int, results []store.Result) iter.Seq[int] {
	return func(yield func(int) bool) {
		try := func(i int) (more bool) {
			c := &p.changes[i]
			if i >= n || c.Terms == nil || c.Delete {
				return true
			}
			var r fhir.Resource
			if results != nil {
				r = results[i].Resource
			}
			return !q.Matches(fhir.Key{Type: c.Type, ID: c.ID}, r.LastUpdated, c.Terms) || yield(i)
		}
		// Many changes with a condition each are the rule, and most conditions ask for an identifier.
		if t, ok := token(q); ok {
			for _, i := range p.tokens[t] {
				if !try(i) {
					return
				}
			}
			return
		}
		for i := range n {
			if !try(i) {
				return
			}
		}
	}
}

// token is one that whatever matches q has, if q asks for one with system and code.
func token(q search.Query) (search.Token, bool) {
	for i := range q.Where {
		c := &q.Where[i]
		if c.Param.Type != search.TokenParam || c.Param.Name == "_id" || c.Chain != nil || c.Any != nil || c.Modifier != "" || len(c.Values) != 1 {
			continue
		}
		if v := &c.Values[0]; !v.AnySystem && !v.AnyCode {
			return search.Token{Param: c.Param.Name, System: v.System, Code: v.Code}, true
		}
	}
	return search.Token{}, false
}

// maxMatches is how many resources a store.MatchedError names.
const maxMatches = 2

// unmatched checks the condition None of a change: the search finds what is there but for
// what earlier changes of the same write replace or delete, and what those put. results
// are theirs.
func (e *edit) unmatched(ctx context.Context, results []store.Result) error {
	n := len(results)
	puts := e.claim.puts
	q := *puts.changes[n].If.None
	if err := e.store.check(q); err != nil {
		return fmt.Errorf("change %d: condition: %w", n, err)
	}
	q, err := q.Resolve(e.linked(ctx, results))
	if err != nil {
		return fmt.Errorf("change %d: condition: %w", n, err)
	}
	var matches []fhir.Resource
	for i := range puts.matches(q, n, results) {
		if matches = append(matches, results[i].Resource); len(matches) == maxMatches {
			break
		}
	}
	q.Sort, q.Total, q.After = []search.Sort{{Param: "_id"}}, search.TotalNone, nil
	q.Count = maxMatches
	for len(matches) < maxMatches {
		page, err := e.store.findResolved(ctx, q, nil)
		if err != nil {
			return err
		}
		for _, r := range page.Resources {
			if len(matches) < maxMatches && !e.before[fhir.Key{Type: r.Type, ID: r.ID}] {
				matches = append(matches, r)
			}
		}
		if page.Next == nil {
			break
		}
		q.After, q.Count = page.Next, search.DefaultCount
	}
	if len(matches) == 0 {
		return nil
	}
	return &store.MatchedError{Change: n, Matches: matches}
}

// linked runs the searches at the ends of the chains of a condition: on what is there but
// for what earlier changes of the same write replace or delete, and on what those put.
func (e *edit) linked(ctx context.Context, results []store.Result) func(search.Query, func(fhir.Key, *search.Terms) error) error {
	there := e.store.linked(ctx, nil)
	puts := e.claim.puts
	return func(q search.Query, found func(fhir.Key, *search.Terms) error) error {
		for i := range puts.matches(q, len(results), results) {
			c := &puts.changes[i]
			if err := found(fhir.Key{Type: c.Type, ID: c.ID}, c.Terms); err != nil {
				return err
			}
		}
		return there(q, func(key fhir.Key, t *search.Terms) error {
			if e.before[key] {
				return nil
			}
			return found(key, t)
		})
	}
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
	if e.claim == nil {
		return nil
	}
	var models []driver.WriteModel
	for _, key := range e.claim.keys {
		models = append(models, driver.NewUpdateOneModel().SetUpsert(true).SetFilter(bson.D{{Key: "_id", Value: key}}).SetUpdate(bson.D{
			{Key: "$set", Value: bson.D{{Key: "at", Value: bson.NewDateTimeFromTime(e.now)}}},
			{Key: "$inc", Value: bson.D{{Key: "n", Value: int64(1)}}},
		}))
	}
	_, err := s.db.Collection(claimsCollection).BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	return err
}
