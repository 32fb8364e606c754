package embedded

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

// History gives versions, newest first. Of one resource, Total is how many there are unless
// Since, CurrentFrom or CurrentTo may leave some out; of many resources it is not counted.
//
// The history of many resources is in the order of lastUpdated; versions of the same
// millisecond are in the order of type and id, and those of one resource from the newest.
// The place of a version never changes, so that pages have every version that was there
// when the first one was read exactly once. A version that is written meanwhile comes
// before the first page. Only where its lastUpdated is not later than what was read, as
// when the clock has gone back or the writes ran at the same time, it may be on a later
// page, and then once.
func (s *Store) History(ctx context.Context, q store.HistoryQuery) (store.Page, error) {
	if err := s.gate.Enter(); err != nil {
		return store.Page{}, err
	}
	defer s.gate.Leave()
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
	if err := q.Check(); err != nil {
		return store.Page{}, err
	}
	v := s.look()
	defer s.letGo(v)
	h := &history{view: v, times: q.Interval(), page: store.NewHistoryPage(q, s.limits.pageBytes)}
	if q.ID != "" {
		return h.ofResource(ctx, q)
	}
	return h.ofMany(ctx, q)
}

// history is a page as it is put together.
type history struct {
	view  *view
	times store.Interval
	page  *store.HistoryPage
}

// ofResource reads the versions of one resource. Time does not run backwards within it, so
// that those before a time are its end.
func (h *history) ofResource(ctx context.Context, q store.HistoryQuery) (store.Page, error) {
	r, found, err := h.view.current(q.Type, q.ID)
	if err != nil {
		return store.Page{}, err
	}
	if !found {
		return store.Page{}, store.ErrNotFound
	}
	before, err := q.BeforeVersion(int64(r.version))
	if err != nil {
		return store.Page{}, err
	}
	total := -1
	if q.Since.IsZero() && h.times.Always() {
		total = int(r.version)
	}
	l, err := h.view.line()
	if err != nil {
		return store.Page{}, err
	}
	l.of(q.Type, q.ID)
	if err := errors.Join(h.follow(ctx, l, r, uint64(before)), l.close()); err != nil {
		return store.Page{}, err
	}
	return h.page.OfResource(total), nil
}

// follow adds the versions of a line that are before one, given the current one.
func (h *history) follow(ctx context.Context, l *line, r record, before uint64) error {
	successor, found, err := int64(store.ForEver), true, error(nil)
	if before <= r.version {
		newer, stored, err := l.later(before - 1)
		if err != nil {
			return err
		}
		if successor = r.lastUpdated; stored {
			successor = newer.lastUpdated
		}
		if r, found, err = l.from(before - 1); err != nil {
			return err
		}
	}
	if found && r.lastUpdated >= h.times.To {
		// There may be many that are too late: the last of them is found without reading all.
		last, err := l.firstFrom(h.times.To, r)
		if err != nil {
			return err
		}
		successor = last.lastUpdated
		if r, found, err = l.from(last.version - 1); err != nil {
			return err
		}
	}
	for ; found && err == nil; r, found, err = l.from(r.version - 1) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.lastUpdated < h.times.Since || successor <= h.times.From {
			return nil
		}
		if h.times.Has(r.lastUpdated, successor) && !h.page.Add(r.clone().resource(l.resourceType, l.id)) {
			return nil
		}
		successor = r.lastUpdated
	}
	return err
}

// line reads the versions of one resource after the other that are not the current ones. The
// JSON of what a method gives is valid until the next call.
type line struct {
	it               *pebble.Iterator
	newest           reader
	resourceType, id string
	prefix, key      []byte
}

func (v *view) line() (*line, error) {
	it, err := v.snapshot.NewIter(&pebble.IterOptions{LowerBound: []byte{earlierKey}, UpperBound: []byte{earlierKey + 1}})
	return &line{it: it, newest: reader{view: v}}, err
}

func (l *line) close() error { return errors.Join(l.it.Close(), l.newest.close()) }

// of goes to a resource.
func (l *line) of(resourceType, id string) {
	l.resourceType, l.id = resourceType, id
	l.prefix = appendEarlierPrefix(l.prefix[:0], resourceType, id)
}

// from is the version n, or the next one before it.
func (l *line) from(n uint64) (record, bool, error) {
	l.key = appendEarlier(l.key[:0], l.resourceType, l.id, n)
	return l.at(l.it.SeekGE(l.key))
}

// later is the next version behind n.
func (l *line) later(n uint64) (record, bool, error) {
	l.key = appendEarlier(l.key[:0], l.resourceType, l.id, n)
	return l.at(l.it.SeekLT(l.key))
}

func (l *line) at(ok bool) (record, bool, error) {
	if !ok || !bytes.HasPrefix(l.it.Key(), l.prefix) {
		return record{}, false, l.it.Error()
	}
	value, err := l.it.ValueAndErr()
	if err != nil {
		return record{}, false, err
	}
	r, err := readRecord(value)
	return r, err == nil, err
}

// firstFrom is the first version of a time or later, without its JSON, given one that is. The
// times of versions only grow.
func (l *line) firstFrom(at int64, known record) (record, error) {
	known.json = nil
	low, high := uint64(0), known.version // none up to low is meant, and high is
	for low+1 < high {
		middle := low + (high-low)/2
		r, found, err := l.from(middle)
		if err != nil {
			return known, err
		}
		if found && r.lastUpdated >= at {
			known.version, known.lastUpdated, high = r.version, r.lastUpdated, r.version
		} else {
			low = middle
		}
	}
	return known, nil
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
	from, err := q.BeforePlace()
	if err != nil {
		return store.Page{}, err
	}
	if h.times.Never() {
		return store.Page{Total: -1}, nil
	}
	l, err := h.view.line()
	if err != nil {
		return store.Page{}, err
	}
	var strands []*strand
	defer func() {
		err = errors.Join(err, l.close())
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
		wanted, err := h.wants(first, l)
		if err != nil {
			return store.Page{}, err
		}
		if wanted {
			r, err := first.version(h.view)
			if err != nil {
				return store.Page{}, err
			}
			if !h.page.Add(r) {
				break
			}
		}
		first.it.Next()
	}
	return h.page.OfMany(), nil
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
func (h *history) strand(kind byte, resourceType string, from *store.Place) (*strand, error) {
	start := appendName([]byte{kind}, resourceType)
	lower, upper := start, after(start)
	if h.times.Since != math.MinInt64 {
		upper = appendUpdated(bytes.Clone(start), time.UnixMilli(h.times.Since-1))
	}
	if h.times.To != math.MaxInt64 {
		lower = appendUpdated(bytes.Clone(start), time.UnixMilli(h.times.To-1))
	}
	if from != nil && from.LastUpdated < h.times.To {
		at := time.UnixMilli(from.LastUpdated)
		lower = appendUpdated(bytes.Clone(start), at)
		switch c := strings.Compare(resourceType, from.Type); {
		case c < 0: // of the same time they come before
			lower = after(lower)
		case c == 0 && kind == updatedKey: // what is current of this resource is the newest there
			lower = append(append(lower, from.ID...), 0)
		case c == 0:
			lower = append(appendPast(nil, resourceType, from.ID, uint64(from.Version), at), 0)
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

// id is the resource whose version s is at, and which version it is: 0 for the current one.
func (s *strand) id() (id string, version uint64, at time.Time, err error) {
	key := s.it.Key()[s.cut:]
	if len(key) < updatedLen {
		return "", 0, at, errIndex
	}
	at, id = updatedOf(key), string(key[updatedLen:])
	if s.kind == updatedKey {
		return id, 0, at, nil
	}
	id, end, ok := strings.Cut(id, "\x00")
	if !ok || len(end) != versionLen {
		return "", 0, at, errIndex
	}
	if version = ^binary.BigEndian.Uint64([]byte(end)); version == 0 {
		return "", 0, at, errIndex
	}
	return id, version, at, nil
}

// wants reports whether the version that s is at was current when it had to be.
func (h *history) wants(s *strand, l *line) (bool, error) {
	if h.times.Always() {
		return true, nil
	}
	id, version, at, err := s.id()
	if err != nil {
		return false, err
	}
	successor := int64(store.ForEver)
	if version > 0 {
		l.of(s.resourceType, id)
		r, found, err := l.later(version)
		if err == nil && !found {
			r, found, err = l.newest.current(s.resourceType, id)
		}
		if err != nil {
			return false, err
		}
		if !found {
			return false, errIndex
		}
		if r.version != version { // else it is a deletion, and the last word
			successor = r.lastUpdated
		}
	}
	return h.times.Has(at.UnixMilli(), successor), nil
}

// version reads the version that s is at.
func (s *strand) version(v *view) (fhir.Resource, error) {
	id, version, at, err := s.id()
	if err != nil {
		return fhir.Resource{}, err
	}
	var r record
	var found bool
	if version > 0 {
		r, found, err = v.record(appendEarlier(nil, s.resourceType, id, version))
	}
	if err == nil && !found { // of the past, it is a deletion, and the last word
		r, found, err = v.current(s.resourceType, id)
		found = found && (version == 0 || r.version == version)
	}
	if err != nil {
		return fhir.Resource{}, err
	}
	if !found || !r.at().Equal(at) {
		return fhir.Resource{}, errIndex
	}
	return r.resource(s.resourceType, id), nil
}
