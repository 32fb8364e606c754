package mongo

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/kiln-health/kiln/store"
)

// History gives versions, newest first. Of one resource, Total is how many there are unless
// something leaves some out; of many resources it is not counted.
//
// The history of many resources is in the order of lastUpdated; versions of the same
// millisecond are in the order of type and id, and those of one resource from the newest.
// The place of a version never changes, so that pages have every version that was there
// when the first one was read exactly once.
func (s *Store) History(ctx context.Context, q store.HistoryQuery) (store.Page, error) {
	if err := s.gate.Enter(); err != nil {
		return store.Page{}, err
	}
	defer s.gate.Leave()
	page, err := s.history(ctx, q)
	if err != nil {
		return store.Page{}, fmt.Errorf("mongo: history of %s: %w", cmp.Or(q.Type, "all types"), told(ctx, err))
	}
	return page, nil
}

func (s *Store) history(ctx context.Context, q store.HistoryQuery) (page store.Page, err error) {
	if err := ctx.Err(); err != nil {
		return store.Page{}, err
	}
	if err := q.Check(); err != nil {
		return store.Page{}, err
	}
	types := []string{q.Type}
	if q.Type == "" { // outside of the snapshot, which has no list of collections
		if types, err = s.types(ctx); err != nil {
			return store.Page{}, err
		}
	}
	err = s.consistent(ctx, func(ctx context.Context) error {
		h := &history{store: s, q: q, times: q.Interval(), page: store.NewHistoryPage(q, s.limits.pageBytes)}
		if q.ID != "" {
			page, err = h.ofResource(ctx)
		} else {
			page, err = h.ofMany(ctx, types)
		}
		return err
	})
	if err != nil {
		return store.Page{}, err
	}
	return page, nil
}

// history is a page as it is put together.
type history struct {
	store *Store
	q     store.HistoryQuery
	times store.Interval
	page  *store.HistoryPage
}

// filter adds the times to one. end: the documents are of earlier versions, which have one.
func (h *history) filter(f bson.D, end bool) bson.D {
	var lu bson.D
	if h.times.Since != math.MinInt64 {
		lu = append(lu, bson.E{Key: "$gte", Value: bson.DateTime(h.times.Since)})
	}
	if h.times.To != math.MaxInt64 {
		lu = append(lu, bson.E{Key: "$lt", Value: bson.DateTime(h.times.To)})
	}
	if lu != nil {
		f = append(f, bson.E{Key: "lu", Value: lu})
	}
	if end && h.times.From != math.MinInt64 {
		f = append(f, bson.E{Key: "end", Value: bson.D{{Key: "$gt", Value: bson.DateTime(h.times.From)}}})
	}
	return f
}

// has reports whether a version is wanted. A current one has no end.
func (h *history) has(r *record) bool {
	successor := r.end
	if successor == 0 {
		successor = store.ForEver
	}
	return h.times.Has(r.lastUpdated, successor)
}

// ofResource reads the versions of one resource.
func (h *history) ofResource(ctx context.Context) (store.Page, error) {
	q := h.q
	r, found, err := one(ctx, h.store.collection(q.Type), bson.D{{Key: "_id", Value: q.ID}})
	if err != nil {
		return store.Page{}, err
	}
	if !found {
		return store.Page{}, store.ErrNotFound
	}
	before, err := q.BeforeVersion(r.version)
	if err != nil {
		return store.Page{}, err
	}
	total := -1
	if q.Since.IsZero() && h.times.Always() {
		total = int(r.version)
	}
	if h.times.Never() || before > r.version && h.has(&r) && !h.page.Add(r.resource(q.Type)) {
		return h.page.OfResource(total), nil
	}
	f := h.filter(bson.D{{Key: "id", Value: q.ID}, {Key: "v", Value: bson.D{{Key: "$lt", Value: min(before, r.version)}}}}, true)
	c, err := h.store.historyOf(q.Type).Find(ctx, f, h.options(bson.D{{Key: "v", Value: -1}}))
	if err != nil {
		return store.Page{}, err
	}
	defer c.Close(context.WithoutCancel(ctx))
	for c.Next(ctx) {
		r, found, err := readRecord(c.Current)
		if err != nil || !found {
			return store.Page{}, cmp.Or(err, errDocument)
		}
		if h.has(&r) && !h.page.Add(r.resource(q.Type)) {
			return h.page.OfResource(total), nil
		}
	}
	if err := c.Err(); err != nil {
		return store.Page{}, err
	}
	return h.page.OfResource(total), nil
}

func (h *history) options(order bson.D) *options.FindOptionsBuilder {
	opt := options.Find().SetProjection(wantedEarlier).SetSort(order).SetBatchSize(int32(min(h.page.Count()+1, maxBatch)))
	if h.times.Always() { // else some that are found do not count
		opt.SetLimit(int64(h.page.Count()) + 1)
	}
	return opt
}

// ofMany merges the current and the earlier versions of types.
func (h *history) ofMany(ctx context.Context, types []string) (store.Page, error) {
	from, err := h.q.BeforePlace()
	if err != nil {
		return store.Page{}, err
	}
	if h.times.Never() {
		return h.page.OfMany(), nil
	}
	var strands []*strand
	defer func() {
		for _, s := range strands {
			s.close(ctx)
		}
	}()
	// All current versions are looked at first: what is replaced meanwhile, where there are no
	// snapshots, is then found as an earlier one.
	for _, past := range []bool{false, true} {
		for _, of := range types {
			s, err := h.strand(ctx, of, past, from)
			if err != nil {
				return store.Page{}, err
			}
			strands = append(strands, s)
			if err := s.next(ctx); err != nil {
				return store.Page{}, err
			}
		}
	}
	var last *store.Place
	for {
		var first *strand
		for _, s := range strands {
			if !s.done && (first == nil || s.at.Compare(first.at) < 0) {
				first = s
			}
		}
		if first == nil {
			break
		}
		if at := first.at; last == nil || *last != at { // it may be in both collections for a moment
			if !h.page.Add(first.record.resource(first.resourceType)) {
				break
			}
			last = &at
		}
		if err := first.next(ctx); err != nil {
			return store.Page{}, err
		}
	}
	return h.page.OfMany(), nil
}

// strand is one of the collections that make up the history of many resources.
type strand struct {
	c            *driver.Cursor
	resourceType string
	history      *history
	record
	at   store.Place
	done bool
}

// strand begins right behind from. Nil is the beginning.
func (h *history) strand(ctx context.Context, of string, past bool, from *store.Place) (*strand, error) {
	id, order, collection := "_id", bson.D{{Key: "lu", Value: -1}, {Key: "_id", Value: 1}}, h.store.collection(of)
	if past {
		id, order, collection = "id", bson.D{{Key: "lu", Value: -1}, {Key: "id", Value: 1}, {Key: "v", Value: -1}}, h.store.historyOf(of)
	}
	f := h.filter(bson.D{{Key: "v", Value: bson.D{{Key: "$gt", Value: int64(0)}}}}, past)
	if from != nil {
		lu := bson.DateTime(from.LastUpdated)
		before := bson.D{{Key: "lu", Value: bson.D{{Key: "$lt", Value: lu}}}}
		equal := bson.E{Key: "lu", Value: lu}
		behind := bson.A{before}
		switch n := strings.Compare(of, from.Type); {
		case n > 0: // of the same time they come later
			behind = append(behind, bson.D{equal})
		case n == 0:
			behind = append(behind, bson.D{equal, {Key: id, Value: bson.D{{Key: "$gt", Value: from.ID}}}})
			// What is current is the newest of its resource, but not before what was current then.
			behind = append(behind, bson.D{equal, {Key: id, Value: from.ID}, {Key: "v", Value: bson.D{{Key: "$lt", Value: from.Version}}}})
		}
		f = append(f, bson.E{Key: "lu", Value: bson.D{{Key: "$lte", Value: lu}}}, bson.E{Key: "$or", Value: behind})
	}
	c, err := collection.Find(ctx, and(f), h.options(order))
	if err != nil {
		return nil, err
	}
	return &strand{c: c, resourceType: of, history: h}, nil
}

// and is a filter whose fields may come twice.
func and(f bson.D) bson.D {
	var all bson.A
	for _, e := range f {
		all = append(all, bson.D{e})
	}
	return bson.D{{Key: "$and", Value: all}}
}

// next goes to the next version.
func (s *strand) next(ctx context.Context) error {
	for s.c.Next(ctx) {
		r, found, err := readRecord(s.c.Current)
		if err != nil || !found {
			return cmp.Or(err, errDocument)
		}
		if s.history.has(&r) {
			s.record = r
			s.at = store.Place{LastUpdated: r.lastUpdated, Type: s.resourceType, ID: r.id, Version: r.version}
			return nil
		}
	}
	s.done = true
	return s.c.Err()
}

func (s *strand) close(ctx context.Context) {
	_ = s.c.Close(context.WithoutCancel(ctx)) // the server forgets it anyway
}
