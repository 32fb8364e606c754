package mongo

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// maxHistory is how many versions a page has at most.
const maxHistory = 10000

// History gives versions, newest first. Of one resource, Total is how many there are unless
// something leaves some out; of many resources it is not counted.
//
// The history of many resources is in the order of lastUpdated; versions of the same
// millisecond are in the order of type and id, and those of one resource from the newest.
// The place of a version never changes, so that pages have every version that was there
// when the first one was read exactly once.
func (s *Store) History(ctx context.Context, q store.HistoryQuery) (store.Page, error) {
	if err := s.enter(); err != nil {
		return store.Page{}, err
	}
	defer s.leave()
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
	if q.Type != "" && !fhir.ValidType(q.Type) || q.ID != "" && (q.Type == "" || !fhir.ValidID(q.ID)) {
		return store.Page{}, store.ErrNotFound
	}
	if q.Count <= 0 {
		q.Count = search.DefaultCount
	}
	types := []string{q.Type}
	if q.Type == "" { // outside of the snapshot, which has no list of collections
		if types, err = s.types(ctx); err != nil {
			return store.Page{}, err
		}
	}
	err = s.consistent(ctx, func(ctx context.Context) error {
		h := &history{store: s, q: q, count: min(q.Count, maxHistory), times: times(q)}
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

// interval are the versions that a history is about, in milliseconds: lastUpdated from since
// and before to, and current behind from. current: only those that were so at some moment, which
// one is not whose successor has the same lastUpdated. never: there is no such moment.
type interval struct {
	since, to, from int64
	current, never  bool
}

func times(q store.HistoryQuery) interval {
	t := interval{since: milliseconds(q.Since), to: math.MaxInt64, from: math.MinInt64}
	t.current = !q.CurrentFrom.IsZero() || !q.CurrentTo.IsZero()
	t.never = !q.CurrentTo.IsZero() && !q.CurrentFrom.Before(q.CurrentTo)
	if !q.CurrentFrom.IsZero() {
		t.from = q.CurrentFrom.UnixMilli() // what ends in that millisecond was not current any more
	}
	if !q.CurrentTo.IsZero() {
		t.to = milliseconds(q.CurrentTo)
	}
	return t
}

// milliseconds is the first millisecond that is not before t. The zero time is before all.
func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return math.MinInt64
	}
	ms := t.UnixMilli()
	if time.UnixMilli(ms).Before(t) {
		ms++
	}
	return ms
}

// filter adds the interval to one. end: the documents are of earlier versions, which have one.
func (t interval) filter(f bson.D, end bool) bson.D {
	var lu bson.D
	if t.since != math.MinInt64 {
		lu = append(lu, bson.E{Key: "$gte", Value: bson.DateTime(t.since)})
	}
	if t.to != math.MaxInt64 {
		lu = append(lu, bson.E{Key: "$lt", Value: bson.DateTime(t.to)})
	}
	if lu != nil {
		f = append(f, bson.E{Key: "lu", Value: lu})
	}
	if end && t.from != math.MinInt64 {
		f = append(f, bson.E{Key: "end", Value: bson.D{{Key: "$gt", Value: bson.DateTime(t.from)}}})
	}
	return f
}

// has reports whether a version is among them that a filter has found, or a current one, which
// has no end.
func (t interval) has(r *record) bool {
	if t.never || r.lastUpdated < t.since || r.lastUpdated >= t.to {
		return false
	}
	return !t.current || r.end == 0 || r.lastUpdated < r.end
}

// history is a page as it is put together.
type history struct {
	store *Store
	q     store.HistoryQuery
	count int // versions that it has at most
	times interval

	versions []fhir.Resource
	bytes    int
	full     bool // and there is more
}

// add takes the next version, and reports false if there is no place for it.
func (h *history) add(r *record, of string) bool {
	h.bytes += len(r.json)
	if n := len(h.versions); n == h.count || n > 0 && h.bytes > h.store.limits.pageBytes {
		h.full = true
		return false
	}
	h.versions = append(h.versions, r.resource(of))
	return true
}

// page is what was added. next names the place of its last version.
func (h *history) page(total int, next func(last *fhir.Resource) string) store.Page {
	page := store.Page{Resources: h.versions, Total: total}
	if h.full {
		page.Next = &search.Cursor{ID: next(&h.versions[len(h.versions)-1])}
	}
	return page
}

// noPlace tells that HistoryQuery.Before is none.
func noPlace() error {
	return fmt.Errorf("the place to go on from is not one of this history, follow its links as they are: %w", store.ErrNotFound)
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
	total, before := -1, r.version+1
	if q.Since.IsZero() && q.CurrentFrom.IsZero() && q.CurrentTo.IsZero() {
		total = int(r.version)
	}
	if q.Before != "" {
		n, ok := parseVersion(q.Before)
		if !ok || n > r.version {
			return store.Page{}, noPlace()
		}
		before = n
	}
	end := func() (store.Page, error) {
		return h.page(total, func(last *fhir.Resource) string { return last.Version }), nil
	}
	if before > r.version && h.times.has(&r) && !h.add(&r, q.Type) {
		return end()
	}
	f := h.times.filter(bson.D{{Key: "id", Value: q.ID}, {Key: "v", Value: bson.D{{Key: "$lt", Value: min(before, r.version)}}}}, true)
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
		if h.times.has(&r) && !h.add(&r, q.Type) {
			return end()
		}
	}
	if err := c.Err(); err != nil {
		return store.Page{}, err
	}
	return end()
}

func (h *history) options(order bson.D) *options.FindOptionsBuilder {
	opt := options.Find().SetProjection(wantedEarlier).SetSort(order).SetBatchSize(int32(min(h.count+1, maxBatch)))
	if !h.times.current { // else some that are found do not count
		opt.SetLimit(int64(h.count) + 1)
	}
	return opt
}

// ofMany merges the current and the earlier versions of types.
func (h *history) ofMany(ctx context.Context, types []string) (store.Page, error) {
	var from *moment
	if h.q.Before != "" {
		at, ok := parsePlace(h.q.Before)
		if !ok || h.q.Type != "" && h.q.Type != at.resourceType {
			return store.Page{}, noPlace()
		}
		from = &at
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
	var last *moment
	for {
		var first *strand
		for _, s := range strands {
			if !s.done && (first == nil || s.at.compare(first.at) < 0) {
				first = s
			}
		}
		if first == nil {
			break
		}
		if at := first.at; last == nil || *last != at { // it may be in both collections for a moment
			if !h.add(&first.record, first.resourceType) {
				break
			}
			last = &at
		}
		if err := first.next(ctx); err != nil {
			return store.Page{}, err
		}
	}
	return h.page(-1, func(last *fhir.Resource) string { return placeOf(last).String() }), nil
}

// strand is one of the collections that make up the history of many resources.
type strand struct {
	c            *driver.Cursor
	resourceType string
	times        interval
	record
	at   moment
	done bool
}

// strand begins right behind from. Nil is the beginning.
func (h *history) strand(ctx context.Context, of string, past bool, from *moment) (*strand, error) {
	id, order, collection := "_id", bson.D{{Key: "lu", Value: -1}, {Key: "_id", Value: 1}}, h.store.collection(of)
	if past {
		id, order, collection = "id", bson.D{{Key: "lu", Value: -1}, {Key: "id", Value: 1}, {Key: "v", Value: -1}}, h.store.historyOf(of)
	}
	f := h.times.filter(bson.D{{Key: "v", Value: bson.D{{Key: "$gt", Value: int64(0)}}}}, past)
	if from != nil {
		lu := bson.DateTime(from.lastUpdated)
		before := bson.D{{Key: "lu", Value: bson.D{{Key: "$lt", Value: lu}}}}
		equal := bson.E{Key: "lu", Value: lu}
		behind := bson.A{before}
		switch n := strings.Compare(of, from.resourceType); {
		case n > 0: // of the same time they come later
			behind = append(behind, bson.D{equal})
		case n == 0:
			behind = append(behind, bson.D{equal, {Key: id, Value: bson.D{{Key: "$gt", Value: from.id}}}})
			// What is current is the newest of its resource, but not before what was current then.
			behind = append(behind, bson.D{equal, {Key: id, Value: from.id}, {Key: "v", Value: bson.D{{Key: "$lt", Value: from.version}}}})
		}
		f = append(f, bson.E{Key: "lu", Value: bson.D{{Key: "$lte", Value: lu}}}, bson.E{Key: "$or", Value: behind})
	}
	c, err := collection.Find(ctx, and(f), h.options(order))
	if err != nil {
		return nil, err
	}
	return &strand{c: c, resourceType: of, times: h.times}, nil
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
		if s.times.has(&r) {
			s.record = r
			s.at = moment{r.lastUpdated, s.resourceType, r.id, r.version}
			return nil
		}
	}
	s.done = true
	return s.c.Err()
}

func (s *strand) close(ctx context.Context) {
	_ = s.c.Close(context.WithoutCancel(ctx)) // the server forgets it anyway
}

// moment is where a version stands in the history of many resources.
type moment struct {
	lastUpdated      int64
	resourceType, id string
	version          int64
}

func (p moment) compare(o moment) int {
	return cmp.Or(cmp.Compare(o.lastUpdated, p.lastUpdated), strings.Compare(p.resourceType, o.resourceType),
		strings.Compare(p.id, o.id), cmp.Compare(o.version, p.version))
}

func placeOf(r *fhir.Resource) moment {
	version, _ := parseVersion(r.Version)
	return moment{r.LastUpdated.UnixMilli(), r.Type, r.ID, version}
}

// String needs no escapes in a URL. It is the same in every store.
func (p moment) String() string {
	return fmt.Sprintf("%d_%s_%s_%d", p.lastUpdated, p.resourceType, p.id, p.version)
}

// parsePlace reads what String wrote, and only that.
func parsePlace(text string) (moment, bool) {
	parts := strings.Split(text, "_")
	if len(parts) != 4 || !fhir.ValidType(parts[1]) || !fhir.ValidID(parts[2]) {
		return moment{}, false
	}
	ms, err := strconv.ParseInt(parts[0], 10, 64)
	version, ok := parseVersion(parts[3])
	p := moment{ms, parts[1], parts[2], version}
	return p, err == nil && ok && p.String() == text
}
