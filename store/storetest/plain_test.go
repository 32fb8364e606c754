package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// plain is a store that keeps everything in a list under one lock. It shows that the suite
// asks for no more than what store.Store says.
type plain struct {
	mu       sync.Mutex
	closed   bool
	now      func() time.Time
	model    model
	log      []fhir.Resource // every version, as they were written
	params   *search.Parameters
	terms    map[fhir.Key]search.Terms // of versions, as far as they were asked for, by params
	shelves  map[string]map[string][]byte
	watchers map[*watcher]bool
	calls    int
	limit    int // bytes of a resource
	behind   int // writes that a watcher may be behind
}

type watcher struct {
	queue  chan []fhir.Resource
	missed chan struct{}
	closed chan struct{}
}

var (
	_ store.Store     = (*plain)(nil)
	_ store.Journal   = (*plain)(nil)
	_ store.Explainer = (*plain)(nil)
	_ store.Reindexer = (*plain)(nil)
	_ store.Watcher   = (*plain)(nil)
	_ store.Archive   = (*plain)(nil)
	_ store.Monitored = (*plain)(nil)
)

func newPlain() *plain {
	return &plain{
		now: time.Now, model: model{versions: map[fhir.Key][]fhir.Resource{}}, params: search.R4(), terms: map[fhir.Key]search.Terms{},
		shelves: map[string]map[string][]byte{}, watchers: map[*watcher]bool{}, limit: 64 << 20, behind: 1000,
	}
}

func TestAPlainStore(t *testing.T) {
	Run(t, func(t *testing.T) store.Store { return newPlain() })
}

func TestAPlainStoreThatRefusesWhatIsLarge(t *testing.T) {
	s := opened(t, func(t *testing.T) store.Store {
		s := newPlain()
		s.limit = 16 << 20
		return s
	})
	testTooLarge(t, s)
}

func TestAPlainStoreThatLosesPatience(t *testing.T) {
	s := opened(t, func(t *testing.T) store.Store {
		s := newPlain()
		s.behind = 7
		return s
	})
	testWatchSlowly(t, s)
}

// TestPlainStoresWithOtherClocks has stores whose times differ by years, or stand still.
func TestPlainStoresWithOtherClocks(t *testing.T) {
	clock := func(now func() time.Time) func(t *testing.T) store.Store {
		return func(t *testing.T) store.Store {
			s := newPlain()
			s.now = now
			return s
		}
	}
	Same(t, map[string]func(t *testing.T) store.Store{
		"now":    clock(time.Now),
		"later":  clock(func() time.Time { return time.Now().AddDate(5, 0, 0) }),
		"still":  clock(func() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) }),
		"jumps":  clock(func() time.Time { return time.Now().Add(time.Duration(rand.IntN(11)-5) * time.Millisecond) }),
		"ticks":  clock(func() time.Time { return time.Now().Truncate(time.Second) }),
		"before": clock(func() time.Time { return time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC) }),
	})
}

func (p *plain) enter(ctx context.Context) (leave func(), err error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, store.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		p.mu.Unlock()
		return nil, err
	}
	p.calls++
	return p.mu.Unlock, nil
}

func (p *plain) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.watchers {
		close(w.closed)
	}
	p.closed, p.watchers = true, nil
	return nil
}

func (p *plain) Read(ctx context.Context, k fhir.Key) (fhir.Resource, error) {
	leave, err := p.enter(ctx)
	if err != nil {
		return fhir.Resource{}, err
	}
	defer leave()
	all := p.model.versions[key(k.Type, k.ID)]
	n := len(all)
	if k.Version != "" {
		if n, err = strconv.Atoi(k.Version); err != nil || strconv.Itoa(n) != k.Version {
			return fhir.Resource{}, store.ErrNotFound
		}
	}
	r, ok := p.model.version(key(k.Type, k.ID), n)
	switch {
	case !ok:
		return fhir.Resource{}, store.ErrNotFound
	case r.Deleted:
		return fhir.Resource{}, &store.GoneError{Resource: r}
	}
	return r, nil
}

func (p *plain) Write(ctx context.Context, changes ...store.Change) ([]store.Result, error) {
	leave, err := p.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	edited := &plain{model: model{versions: map[fhir.Key][]fhir.Resource{}}, params: p.params, terms: p.terms}
	made := false
	defer func() {
		if !made { // what was extracted of a write that fails is of no version
			clear(p.terms)
		}
	}()
	for k, all := range p.model.versions {
		edited.model.versions[k] = all
	}
	seen := map[fhir.Key]bool{}
	now := p.now().UTC().Truncate(time.Millisecond)
	var results []store.Result
	var written []fhir.Resource
	for i, c := range changes {
		k := key(c.Type, c.ID)
		if seen[k] || !fhir.ValidType(c.Type) || !fhir.ValidID(c.ID) {
			return nil, errors.New("plain: no such resource, or twice")
		}
		seen[k] = true
		all := edited.model.versions[k]
		current, ok := edited.model.current(k)
		if c.If.Absent && ok || c.If.Version != "" && (!ok || c.If.Version != current.Version) {
			return nil, &store.ConflictError{Key: k, If: c.If, Current: current.Version}
		}
		if c.If.None != nil {
			q := *c.If.None
			q.Sort, q.After, q.Count = nil, nil, 2
			matches, err := edited.find(q)
			if err != nil {
				return nil, err
			}
			if len(matches) > 0 {
				return nil, &store.MatchedError{Change: i, Matches: matches[:min(2, len(matches))]}
			}
		}
		r := store.Result{Resource: fhir.Resource{Key: k, LastUpdated: now, Deleted: c.Delete}, Created: !c.Delete && !ok}
		r.Version = strconv.Itoa(len(all) + 1)
		if len(all) > 0 && all[len(all)-1].LastUpdated.After(now) {
			r.LastUpdated = all[len(all)-1].LastUpdated
		}
		if c.Delete && !ok {
			r = store.Result{Resource: fhir.Resource{Key: k, Deleted: true}, Unchanged: true}
			if len(all) > 0 {
				r.Resource = all[len(all)-1]
			}
		}
		if !c.Delete {
			of, _, _, err := fhir.Parse(c.JSON)
			if err == nil && of != c.Type {
				err = errors.New("plain: another type")
			}
			if err == nil {
				r.JSON, err = fhir.Stamp(c.JSON, c.Type, c.ID, r.Version, r.LastUpdated)
			}
			if err == nil && len(r.JSON) > p.limit {
				err = fmt.Errorf("plain: a resource of %d bytes is too large: %d are the limit", len(r.JSON), p.limit)
			}
			if err != nil {
				return nil, err
			}
			if ok {
				if same, err := fhir.Stamp(c.JSON, c.Type, c.ID, current.Version, current.LastUpdated); err == nil && string(same) == string(current.JSON) {
					r = store.Result{Resource: current, Unchanged: true}
				}
			}
		}
		results = append(results, r)
		if !r.Unchanged {
			written = append(written, r.Resource)
			edited.model.versions[k] = append(slices.Clip(all), r.Resource)
		}
	}
	p.model, made = edited.model, true
	p.tell(written)
	return results, nil
}

// tell takes note of versions, and tells who watches.
func (p *plain) tell(written []fhir.Resource) {
	p.log = append(p.log, written...)
	if len(written) == 0 {
		return
	}
	for w := range p.watchers {
		select {
		case w.queue <- written:
		default:
			close(w.missed)
			delete(p.watchers, w)
		}
	}
}

// extract is what can be searched for of a version.
func (p *plain) extract(r fhir.Resource) (search.Terms, error) {
	t, ok := p.terms[r.Key]
	if ok {
		return t, nil
	}
	t, err := p.params.Extract(r.Type, r.JSON)
	if err == nil {
		p.terms[r.Key] = t
	}
	return t, err
}

// find is everything that q finds, in its order.
func (p *plain) find(q search.Query) ([]fhir.Resource, error) {
	terms := map[fhir.Key]search.Terms{}
	var all []fhir.Resource
	for k := range p.model.versions {
		if r, ok := p.model.current(k); ok {
			t, err := p.extract(r)
			if err != nil {
				return nil, err
			}
			all, terms[k] = append(all, r), t
		}
	}
	q, err := q.Resolve(func(sub search.Query, found func(fhir.Key, *search.Terms) error) error {
		for _, r := range all {
			k := key(r.Type, r.ID)
			if t := terms[k]; sub.Matches(r.Key, r.LastUpdated, &t) {
				if err := found(k, &t); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	place := func(r fhir.Resource) search.Cursor {
		t := terms[key(r.Type, r.ID)]
		return q.SortKeys(r.Key, r.LastUpdated, &t)
	}
	all = slices.DeleteFunc(all, func(r fhir.Resource) bool {
		t := terms[key(r.Type, r.ID)]
		return !q.Matches(r.Key, r.LastUpdated, &t)
	})
	slices.SortFunc(all, func(a, b fhir.Resource) int { return q.Compare(place(a), place(b)) })
	if q.After != nil {
		all = slices.DeleteFunc(all, func(r fhir.Resource) bool { return q.Compare(place(r), *q.After) <= 0 })
	}
	return all, nil
}

func (p *plain) Search(ctx context.Context, q search.Query) (store.Page, error) {
	leave, err := p.enter(ctx)
	if err != nil {
		return store.Page{}, err
	}
	defer leave()
	for _, c := range q.Where {
		if c.Param.Name == "" {
			continue
		}
		if _, ok := p.params.Lookup(q.Type, c.Param.Name); !ok {
			return store.Page{}, errors.New("plain: no such parameter")
		}
	}
	page := store.Page{Total: -1}
	if q.Total == search.TotalAccurate || q.Total == search.TotalEstimate {
		whole := q
		whole.After = nil
		all, err := p.find(whole)
		if err != nil {
			return store.Page{}, err
		}
		page.Total = len(all)
	}
	all, err := p.find(q)
	if err != nil {
		return store.Page{}, err
	}
	page.Resources = all[:min(q.Count, len(all))]
	if n := len(page.Resources); n > 0 && n < len(all) {
		r := page.Resources[n-1]
		t, err := p.extract(r)
		if err != nil {
			return store.Page{}, err
		}
		next := q.SortKeys(r.Key, r.LastUpdated, &t)
		page.Next = &next
	}
	return page, nil
}

func (p *plain) History(ctx context.Context, q store.HistoryQuery) (store.Page, error) {
	leave, err := p.enter(ctx)
	if err != nil {
		return store.Page{}, err
	}
	defer leave()
	if q.Count == 0 {
		q.Count = search.DefaultCount
	}
	if q.ID != "" && len(p.model.versions[key(q.Type, q.ID)]) == 0 || q.Type != "" && !fhir.ValidType(q.Type) {
		return store.Page{}, store.ErrNotFound
	}
	place := func(r fhir.Resource) string {
		if q.ID != "" {
			return r.Version
		}
		return fmt.Sprintf("%d_%s_%s_%s", r.LastUpdated.UnixMilli(), r.Type, r.ID, r.Version)
	}
	inOrder := func(a, b fhir.Resource) int {
		return cmp.Or(b.LastUpdated.Compare(a.LastUpdated), strings.Compare(a.Type, b.Type), strings.Compare(a.ID, b.ID), number(b.Version)-number(a.Version))
	}
	all := p.model.history(q)
	if q.Before != "" {
		whole := p.model.history(store.HistoryQuery{Type: q.Type, ID: q.ID})
		i := slices.IndexFunc(whole, func(r fhir.Resource) bool { return place(r) == q.Before })
		if i < 0 {
			return store.Page{}, store.ErrNotFound
		}
		all = slices.DeleteFunc(all, func(r fhir.Resource) bool { return inOrder(r, whole[i]) <= 0 })
	}
	slices.SortFunc(all, inOrder)
	page := store.Page{Resources: all[:min(q.Count, len(all))], Total: -1}
	if len(page.Resources) < len(all) {
		page.Next = &search.Cursor{ID: place(page.Resources[len(page.Resources)-1])}
	}
	return page, nil
}

func (p *plain) Keep(ctx context.Context, shelf, id string, entry []byte) error {
	leave, err := p.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if p.shelves[shelf] == nil {
		p.shelves[shelf] = map[string][]byte{}
	}
	p.shelves[shelf][id] = slices.Clone(entry)
	return nil
}

func (p *plain) Fetch(ctx context.Context, shelf, id string) ([]byte, error) {
	leave, err := p.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	entry, ok := p.shelves[shelf][id]
	if !ok {
		return nil, store.ErrNotFound
	}
	return entry, nil
}

func (p *plain) Entries(ctx context.Context, shelf, after string, limit int) ([]string, error) {
	leave, err := p.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	var ids []string
	for id := range p.shelves[shelf] {
		if id > after {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids[:min(limit, len(ids))], nil
}

func (p *plain) Remove(ctx context.Context, shelf, id string) error {
	leave, err := p.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	delete(p.shelves[shelf], id)
	return nil
}

func (p *plain) Explain(ctx context.Context, q search.Query) (store.Plan, error) {
	page, err := p.Search(ctx, q)
	return store.Plan{Type: q.Type, Indexes: []string{"all"}, Found: len(page.Resources), Order: "sorted"}, err
}

func (p *plain) Reindex(ctx context.Context, params *search.Parameters, progress func(done, total int)) error {
	leave, err := p.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	n := len(p.model.versions)
	for done := range n {
		if progress != nil {
			progress(done+1, n)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	p.params, p.terms = params, map[fhir.Key]search.Terms{}
	return nil
}

func (p *plain) Parameters() *search.Parameters {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.params
}

func (p *plain) Watch(ctx context.Context, started func(), each func([]fhir.Resource) error) error {
	leave, err := p.enter(ctx)
	if err != nil {
		return err
	}
	w := &watcher{make(chan []fhir.Resource, p.behind), make(chan struct{}), make(chan struct{})}
	p.watchers[w] = true
	leave()
	started()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.watchers, w)
	}()
	for {
		select {
		case versions := <-w.queue:
			if err := each(versions); err != nil {
				return err
			}
			continue
		default:
		}
		select {
		case versions := <-w.queue:
			if err := each(versions); err != nil {
				return err
			}
		case <-w.missed:
			if len(w.queue) == 0 {
				return store.ErrMissed
			}
		case <-w.closed:
			if len(w.queue) == 0 {
				return store.ErrClosed
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *plain) Export(ctx context.Context, after fhir.Key, each func(fhir.Resource) error) error {
	leave, err := p.enter(ctx)
	if err != nil {
		return err
	}
	all := p.model.archive()
	leave()
	for _, r := range all {
		n := cmp.Or(strings.Compare(r.Type, after.Type), strings.Compare(r.ID, after.ID))
		if n < 0 || n == 0 && (after.Version == "" || number(r.Version) <= number(after.Version)) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		r.JSON = slices.Clone(r.JSON)
		if err := each(r); err != nil {
			return err
		}
		clear(r.JSON)
	}
	return nil
}

func (p *plain) Import(ctx context.Context, versions []fhir.Resource) (added int, err error) {
	leave, err := p.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	edited := model{versions: map[fhir.Key][]fhir.Resource{}}
	for k, all := range p.model.versions {
		edited.versions[k] = all
	}
	var written []fhir.Resource
	for _, r := range versions {
		k := key(r.Type, r.ID)
		if there, ok := edited.version(k, number(r.Version)); ok {
			if !same(there, r) {
				return 0, &store.ConflictError{Key: r.Key, Current: r.Version}
			}
			continue
		}
		all := edited.versions[k]
		if r.Version != strconv.Itoa(len(all)+1) || !fhir.ValidID(r.ID) || !fhir.ValidType(r.Type) || r.Deleted != (r.JSON == nil) {
			return 0, errors.New("plain: a version that cannot be")
		}
		if !r.Deleted {
			stamp, err := fhir.Stamp(r.JSON, r.Type, r.ID, r.Version, r.LastUpdated)
			if err != nil || string(stamp) != string(r.JSON) {
				return 0, fmt.Errorf("plain: a version that is not its content: %w", err)
			}
		}
		r.JSON = slices.Clone(r.JSON)
		edited.versions[k] = append(slices.Clip(all), r)
		written = append(written, r)
	}
	p.model = edited
	p.tell(written)
	return len(written), nil
}

func (p *plain) Check(ctx context.Context) error {
	leave, err := p.enter(ctx)
	if err != nil {
		return err
	}
	leave()
	return nil
}

func (p *plain) Metrics() []store.Metric {
	p.mu.Lock()
	defer p.mu.Unlock()
	return []store.Metric{
		{Name: "calls_total", Help: "Calls that were made.", Counter: true, Value: float64(p.calls)},
		{Name: "resources", Help: "Resources that were ever there.", Value: float64(len(p.model.versions))},
	}
}
