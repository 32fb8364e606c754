package embedded

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// maxHistory is how many versions a page has at most.
const maxHistory = 10000

// History gives versions, newest first. Of one resource, Total is how many there are unless
// Since leaves some out; of many resources it is not counted.
//
// The history of many resources is in the order of lastUpdated; versions of the same
// millisecond are in the order of type and id, and those of one resource from the newest.
// The place of a version never changes, so that pages have every version that was there
// when the first one was read exactly once. A version that is written meanwhile comes
// before the first page. Only where its lastUpdated is not later than what was read, as
// when the clock has gone back or the writes ran at the same time, it may be on a later
// page, and then once.
func (s *Store) History(ctx context.Context, q store.HistoryQuery) (store.Page, error) {
	if err := s.enter(); err != nil {
		return store.Page{}, err
	}
	defer s.leave()
	page, err := s.history(ctx, q)
	if err != nil {
		return store.Page{}, fmt.Errorf("embedded: history of %s: %w", cmp.Or(q.Type, "all types"), err)
	}
	return page, nil
}

func (s *Store) history(ctx context.Context, q store.HistoryQuery) (store.Page, error) {
	if err := ctx.Err(); err != nil {
		return store.Page{}, err
	}
	if q.Type != "" && !fhir.ValidType(q.Type) || q.ID != "" && (q.Type == "" || !fhir.ValidID(q.ID)) {
		return store.Page{}, store.ErrNotFound
	}
	if q.Count <= 0 {
		q.Count = search.DefaultCount
	}
	v := s.look()
	defer s.letGo(v)
	h := &history{view: v, count: min(q.Count, maxHistory), limit: s.limits.pageBytes, since: milliseconds(q.Since)}
	if q.ID != "" {
		return h.ofResource(ctx, q)
	}
	return h.ofMany(ctx, q)
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

// history is a page as it is put together.
type history struct {
	view  *view
	count int   // versions that it has at most
	limit int   // bytes that it has at most, but for a single version
	since int64 // no version before that

	versions []fhir.Resource
	bytes    int
	full     bool // and there is more
}

// add takes the next version, and reports false if there is no place for it.
func (h *history) add(r fhir.Resource) bool {
	h.bytes += len(r.JSON)
	if n := len(h.versions); n == h.count || n > 0 && h.bytes > h.limit {
		h.full = true
		return false
	}
	h.versions = append(h.versions, r)
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

// ofResource reads the versions of one resource. Time does not run backwards within it,
// so that the first version before since is the end.
func (h *history) ofResource(ctx context.Context, q store.HistoryQuery) (store.Page, error) {
	r, found, err := h.view.current(q.Type, q.ID)
	if err != nil {
		return store.Page{}, err
	}
	if !found {
		return store.Page{}, store.ErrNotFound
	}
	total, before := -1, r.version+1
	if q.Since.IsZero() {
		total = int(r.version)
	}
	if q.Before != "" {
		n, ok := parseVersion(q.Before)
		if !ok || n > r.version {
			return store.Page{}, noPlace()
		}
		before = n
	}
	end := func() store.Page {
		return h.page(total, func(last *fhir.Resource) string { return last.Version })
	}
	add := func(r record) bool { return r.lastUpdated >= h.since && h.add(r.resource(q.Type, q.ID)) }
	if before > r.version && !add(r) {
		return end(), nil
	}
	it, err := h.view.snapshot.NewIter(&pebble.IterOptions{
		LowerBound: appendEarlier(nil, q.Type, q.ID, before-1),
		UpperBound: after(appendEarlierPrefix(nil, q.Type, q.ID)),
	})
	if err != nil {
		return store.Page{}, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		if err = ctx.Err(); err != nil {
			break
		}
		var value []byte
		if value, err = it.ValueAndErr(); err != nil {
			break
		}
		if r, err = readRecord(value); err != nil {
			break
		}
		r.json = bytes.Clone(r.json)
		if !add(r) {
			break
		}
	}
	if err := errors.Join(err, it.Error(), it.Close()); err != nil {
		return store.Page{}, err
	}
	return end(), nil
}

// ofMany reads the versions of a type or of all types: those that are current from the
// index by time of change, which searches have as well, and all others from their own.
func (h *history) ofMany(ctx context.Context, q store.HistoryQuery) (page store.Page, err error) {
	types := []string{q.Type}
	if q.Type == "" {
		if types, err = h.view.typesWithVersions(); err != nil {
			return store.Page{}, err
		}
	}
	var from *place
	if q.Before != "" {
		at, ok := parsePlace(q.Before)
		if !ok || q.Type != "" && q.Type != at.resourceType {
			return store.Page{}, noPlace()
		}
		from = &at
	}
	var strands []*strand
	defer func() {
		for _, s := range strands {
			err = errors.Join(err, s.it.Close())
		}
	}()
	for _, of := range types {
		for _, kind := range []byte{updatedKey, pastKey} {
			s, err := h.strand(kind, of, from)
			if err != nil {
				return store.Page{}, err
			}
			strands = append(strands, s)
		}
	}
	for steps := 0; ; steps++ {
		if steps%64 == 0 && ctx.Err() != nil {
			return store.Page{}, ctx.Err()
		}
		var first *strand
		for _, s := range strands {
			if !s.it.Valid() {
				if err := s.it.Error(); err != nil {
					return store.Page{}, err
				}
				continue
			}
			if first == nil || s.before(first) {
				first = s
			}
		}
		if first == nil {
			break
		}
		r, err := first.version(h.view)
		if err != nil {
			return store.Page{}, err
		}
		if !h.add(r) {
			break
		}
		first.it.Next()
	}
	return h.page(-1, func(last *fhir.Resource) string { return placeOf(last).String() }), nil
}

// typesWithVersions are the types of which there ever was a resource.
func (v *view) typesWithVersions() ([]string, error) {
	var types []string
	it, err := v.snapshot.NewIter(&pebble.IterOptions{LowerBound: []byte{currentKey}, UpperBound: []byte{currentKey + 1}})
	if err != nil {
		return nil, err
	}
	for ok := it.First(); ok; {
		of, _, named := bytes.Cut(it.Key()[1:], []byte{0})
		if !named {
			err = errIndex
			break
		}
		types = append(types, string(of))
		ok = it.SeekGE(after(currentPrefix(string(of))))
	}
	return types, errors.Join(err, it.Error(), it.Close())
}

// strand is one of the indexes that make up the history of many resources.
type strand struct {
	it           *pebble.Iterator
	kind         byte
	resourceType string
	cut          int // where ^lastUpdated begins
}

// strand begins right behind from. Nil is the beginning.
func (h *history) strand(kind byte, resourceType string, from *place) (*strand, error) {
	start := appendName([]byte{kind}, resourceType)
	lower, upper := start, after(start)
	if h.since != math.MinInt64 {
		upper = appendUpdated(bytes.Clone(start), time.UnixMilli(h.since-1))
	}
	if from != nil {
		lower = appendUpdated(bytes.Clone(start), from.lastUpdated)
		switch c := strings.Compare(resourceType, from.resourceType); {
		case c < 0: // of the same time they come before
			lower = after(lower)
		case c == 0 && kind == updatedKey: // what is current of this resource is the newest there
			lower = append(append(lower, from.id...), 0)
		case c == 0:
			lower = append(appendPast(nil, resourceType, from.id, from.version, from.lastUpdated), 0)
		}
	}
	if bytes.Compare(lower, upper) > 0 {
		lower = upper
	}
	it, err := h.view.snapshot.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, err
	}
	it.First()
	return &strand{it: it, kind: kind, resourceType: resourceType, cut: len(start)}, nil
}

// before reports whether s comes before o.
func (s *strand) before(o *strand) bool {
	a, b := s.it.Key()[s.cut:], o.it.Key()[o.cut:]
	if len(a) < updatedLen || len(b) < updatedLen {
		return len(a) < len(b) // is damaged: version tells
	}
	return cmp.Or(bytes.Compare(a[:updatedLen], b[:updatedLen]), strings.Compare(s.resourceType, o.resourceType), bytes.Compare(a, b)) < 0
}

// version reads the version that s is at.
func (s *strand) version(v *view) (fhir.Resource, error) {
	key := s.it.Key()[s.cut:]
	if len(key) < updatedLen {
		return fhir.Resource{}, errIndex
	}
	at, id := updatedOf(key), string(key[updatedLen:])
	var r record
	var found bool
	var err error
	if s.kind == updatedKey {
		r, found, err = v.current(s.resourceType, id)
	} else {
		before, version, ok := strings.Cut(id, "\x00")
		if !ok || len(version) != versionLen {
			return fhir.Resource{}, errIndex
		}
		id = before
		n := ^binary.BigEndian.Uint64([]byte(version))
		r, found, err = v.record(appendEarlier(nil, s.resourceType, id, n))
		if err == nil && !found { // it is a deletion, and the last word
			r, found, err = v.current(s.resourceType, id)
			found = found && r.version == n
		}
	}
	if err != nil {
		return fhir.Resource{}, err
	}
	if !found || !r.at().Equal(at) {
		return fhir.Resource{}, errIndex
	}
	return r.resource(s.resourceType, id), nil
}

// place is where a version stands in the history of many resources.
type place struct {
	lastUpdated      time.Time
	resourceType, id string
	version          uint64
}

func placeOf(r *fhir.Resource) place {
	version, _ := parseVersion(r.Version)
	return place{r.LastUpdated, r.Type, r.ID, version}
}

// String needs no escapes in a URL.
func (p place) String() string {
	return fmt.Sprintf("%d_%s_%s_%d", p.lastUpdated.UnixMilli(), p.resourceType, p.id, p.version)
}

// parsePlace reads what String wrote, and only that.
func parsePlace(text string) (place, bool) {
	parts := strings.Split(text, "_")
	if len(parts) != 4 || !fhir.ValidType(parts[1]) || !fhir.ValidID(parts[2]) {
		return place{}, false
	}
	ms, err := strconv.ParseInt(parts[0], 10, 64)
	version, ok := parseVersion(parts[3])
	p := place{time.UnixMilli(ms), parts[1], parts[2], version}
	return p, err == nil && ok && p.String() == text
}
