package mongotest_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/rest"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
	kilnmongo "github.com/kiln-health/kiln/store/mongo"
	"github.com/kiln-health/kiln/store/mongo/mongotest"
)

// quick is how often the servers of these tests beat: their leases are a second long.
const quick = 200 * time.Millisecond

func loadStored(stored iter.Seq2[fhir.Resource, error]) (*search.Parameters, error) {
	return rest.StoredParameters(search.R4(), stored)
}

// openServer opens a store of a name as a server does.
func openServer(t testing.TB, server mongoDB, app string, o kilnmongo.Options) *kilnmongo.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if o.Beat == 0 {
		o.Beat = quick
	}
	uri := strings.Replace(uriOf(server, "kiln", app), "serverSelectionTimeoutMS=5000", "serverSelectionTimeoutMS=2000", 1)
	s, err := kilnmongo.Open(ctx, uri, &o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// marked are the search parameters of R4 and mark, of Devices, by an expression.
func marked(t testing.TB, expression string) *search.Parameters {
	t.Helper()
	p, err := search.R4().With(search.Custom{Name: "mark", Type: search.StringParam, Bases: []string{"Device"}, Definition: "http://h.example/mark", Expression: expression})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// define stores the SearchParameter mark, and makes all servers search by it; "" takes it away.
func define(ctx context.Context, s *kilnmongo.Store, expression string) error {
	c := store.Change{Key: fhir.Key{Type: "SearchParameter", ID: "mark"}, Delete: expression == ""}
	p := search.R4()
	if expression != "" {
		_, _, compact, err := fhir.Parse(fmt.Appendf(nil, `{"resourceType":"SearchParameter","url":"http://h.example/mark","name":"mark","status":"active","description":"mark","code":"mark","base":["Device"],"type":"string","expression":%q}`, expression))
		if err != nil {
			return err
		}
		c.JSON = compact
		stored := func(yield func(fhir.Resource, error) bool) { yield(fhir.Resource{JSON: compact}, nil) }
		if p, err = loadStored(stored); err != nil {
			return err
		}
	}
	if _, err := s.Write(ctx, c); err != nil {
		return err
	}
	return s.Reindex(ctx, p, nil)
}

// unit is a Device of a number.
func unit(n int) store.Change {
	_, _, compact, err := fhir.Parse(fmt.Appendf(nil, `{"resourceType":"Device","lotNumber":"m%d","note":[{"text":"m%d"}]}`, n%7, n%5))
	if err != nil {
		return store.Change{}
	}
	return store.Change{Key: fhir.Key{Type: "Device", ID: fmt.Sprint("u", n)}, JSON: compact}
}

// byMark finds the ids of all Devices that have a mark.
func byMark(ctx context.Context, s *kilnmongo.Store, value string) (map[string]bool, error) {
	q, _, err := s.Parameters().Parse("Device", []search.Pair{{Name: "mark", Value: value}, {Name: "_count", Value: "1000"}}, search.Options{Handling: search.Strict})
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for {
		page, err := s.Search(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Resources {
			found[r.ID] = true
		}
		if q.After = page.Next; page.Next == nil {
			return found, nil
		}
	}
}

// ledger is what writers have begun to write, and what was acknowledged, by number.
type ledger struct {
	mu           sync.Mutex
	begun, acked map[int]bool
	refused      int
	next         int
}

func newLedger() *ledger { return &ledger{begun: map[int]bool{}, acked: map[int]bool{}} }

func (l *ledger) add(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.next
	for range n {
		l.begun[l.next] = true
		l.next++
	}
	return first
}

func (l *ledger) ack(first, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range n {
		l.acked[first+i] = true
	}
}

func (l *ledger) refuse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused++
}

func (l *ledger) count() (acked, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked), l.refused
}

func (l *ledger) copies() (begun, acked map[int]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.begun), maps.Clone(l.acked)
}

// write writes new Devices without a pause until ctx ends: one at a time, and several.
func (l *ledger) write(t *testing.T, ctx context.Context, s *kilnmongo.Store, n int) {
	for ctx.Err() == nil {
		first := l.add(n)
		if first > 4000 { // the matches are one page
			time.Sleep(5 * time.Millisecond)
		}
		var changes []store.Change
		for i := range n {
			changes = append(changes, unit(first+i))
		}
		_, err := s.Write(context.Background(), changes...)
		switch {
		case err == nil:
			l.ack(first, n)
		case errors.Is(err, store.ErrUnavailable):
			l.refuse()
		default:
			t.Errorf("a write: %v", err)
			return
		}
	}
}

// check compares what a search finds with the plain meaning of it: all that was acknowledged before,
// and nothing that was not begun.
func (l *ledger) check(t *testing.T, s *kilnmongo.Store, who string, of func(n int) string) {
	t.Helper()
	value := "m3"
	_, acked := l.copies()
	found, err := byMark(t.Context(), s, value)
	if err != nil {
		t.Errorf("%s: %v", who, err)
		return
	}
	begun, _ := l.copies()
	missing, right := 0, 0
	for n := range acked {
		if of(n) == value {
			right++
			if !found[fmt.Sprint("u", n)] {
				missing++
			}
		}
	}
	wrong := 0
	for id := range found {
		var n int
		if _, err := fmt.Sscanf(id, "u%d", &n); err != nil || !begun[n] || of(n) != value {
			wrong++
		}
	}
	if missing > 0 || wrong > 0 || right == 0 {
		t.Errorf("%s: of %d that were acknowledged %d are missing, and %d are found that do not match", who, right, missing, wrong)
	}
}

// checkEither is check while the meaning of mark changes: a search goes by one of them.
func (l *ledger) checkEither(t *testing.T, s *kilnmongo.Store, who string) {
	_, acked := l.copies()
	if _, known := s.Parameters().Lookup("Device", "mark"); !known {
		return
	}
	found, err := byMark(t.Context(), s, "m3")
	if err != nil {
		t.Errorf("%s: %v", who, err)
		return
	}
	var said []string
	for meaning, of := range map[string]func(int) string{"lots": lot, "notes": note} {
		missing, wrong := 0, 0
		for n := range acked {
			if of(n) == "m3" && !found[fmt.Sprint("u", n)] {
				missing++
			}
		}
		for id := range found {
			var n int
			if _, err := fmt.Sscanf(id, "u%d", &n); err != nil || of(n) != "m3" {
				wrong++
			}
		}
		if missing+wrong == 0 {
			return
		}
		said = append(said, fmt.Sprintf("%d %s are missing and %d wrong", missing, meaning, wrong))
	}
	t.Errorf("%s, while it changes: of %d, %s", who, len(found), strings.Join(said, ", "))
}

const (
	byLot  = "Device.lotNumber"
	byNote = "Device.note.text"
)

func lot(n int) string  { return fmt.Sprint("m", n%7) }
func note(n int) string { return fmt.Sprint("m", n%5) }

func TestWhatOneServerWritesWhileAnotherChangesSearchParametersIsFoundByBoth(t *testing.T) {
	for name, start := range everywhere() {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			a := closed(t, openServer(t, server, "a", kilnmongo.Options{Load: loadStored}))
			b := closed(t, openServer(t, server, "b", kilnmongo.Options{Load: loadStored}))
			l := newLedger()
			ctx, stop := context.WithCancel(t.Context())
			var writers sync.WaitGroup
			for _, n := range []int{1, 1, 3} {
				writers.Go(func() { l.write(t, ctx, b, n) })
			}
			writers.Go(func() { l.write(t, ctx, a, 2) })
			for who, s := range map[string]*kilnmongo.Store{"A": a, "B": b} {
				writers.Go(func() {
					for ctx.Err() == nil && !t.Failed() {
						l.checkEither(t, s, who)
						time.Sleep(time.Millisecond)
					}
				})
			}
			for _, x := range []struct {
				expression string
				of         func(int) string
			}{{byLot, lot}, {byNote, note}, {byLot, lot}} {
				before, _ := l.count()
				waitUntil(t, func() bool { now, _ := l.count(); return now > before+20 })
				if err := define(t.Context(), a, x.expression); err != nil {
					t.Fatal(err)
				}
				l.check(t, a, "A, by "+x.expression, x.of)
				l.check(t, b, "B, by "+x.expression, x.of)
			}
			if err := define(t.Context(), b, byNote); err != nil {
				t.Fatal(err)
			}
			stop()
			writers.Wait()
			acked, refused := l.count()
			t.Logf("%d were acknowledged, %d writes refused", acked, refused)
			l.check(t, a, "A, after a change by B", note)
			l.check(t, b, "B, after a change by B", note)
			if err := define(t.Context(), a, ""); err != nil {
				t.Fatal(err)
			}
			for _, s := range []*kilnmongo.Store{a, b} {
				if _, known := s.Parameters().Lookup("Device", "mark"); known {
					t.Error("a server knows a parameter that is no more")
				}
			}
		})
	}
}

// waitUntil waits for something that takes a moment.
func waitUntil(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen within 20 s")
		}
	}
}

// deaf is the fault of a server that cannot tell the others that it is there.
func deaf(app string) mongotest.Fault {
	return mongotest.Fault{App: app, Command: "findAndModify", Collection: "kiln", Times: -1, Code: 50, Name: "MaxTimeMSExpired", Message: "operation exceeded time limit"}
}

func TestAServerThatCannotTellTheOthersThatItIsThereDoesNotWrite(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			server := mongotest.StartServer(t, o)
			a := closed(t, openServer(t, server, "a", kilnmongo.Options{Load: loadStored}))
			b := closed(t, openServer(t, server, "b", kilnmongo.Options{Load: loadStored}))
			l := newLedger()
			ctx, stop := context.WithCancel(t.Context())
			var writers sync.WaitGroup
			defer writers.Wait()
			defer stop()
			for _, n := range []int{1, 2} {
				writers.Go(func() { l.write(t, ctx, b, n) })
			}
			waitUntil(t, func() bool { n, _ := l.count(); return n > 20 })
			server.Fail(deaf("b"))
			time.Sleep(10 * quick) // from here on the others may go on without it
			acked, _ := l.count()
			_, err := b.Write(t.Context(), unit(1_000_000))
			if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "does not write") {
				t.Errorf("a write without a lease: %v", err)
			}
			if now, refused := l.count(); now != acked || refused == 0 {
				t.Errorf("%d were acknowledged without a lease, %d refused", now-acked, refused)
			}
			if err := b.Reindex(t.Context(), marked(t, byLot), nil); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("a Reindex without a lease: %v", err)
			}
			if _, err := b.Import(t.Context(), []fhir.Resource{imported(t)}); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("an Import without a lease: %v", err)
			}
			if err := b.Check(t.Context()); err == nil {
				t.Error("a server without a lease is ready")
			}
			if err := b.Keep(t.Context(), "inbox", "1", []byte("x")); err != nil {
				t.Errorf("the journal: %v", err)
			}
			if _, err := b.Search(t.Context(), query(t, "Device?_count=1")); err != nil {
				t.Errorf("a search before anything has changed: %v", err)
			}
			if err := define(t.Context(), a, byLot); err != nil {
				t.Fatal(err)
			}
			l.check(t, a, "A", lot)
			if _, err := b.Search(t.Context(), query(t, "Device?_count=1")); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("a search by parameters that are no more: %v", err)
			}
			if _, err := b.Read(t.Context(), fhir.Key{Type: "SearchParameter", ID: "mark"}); err != nil {
				t.Errorf("a read: %v", err)
			}
			server.Heal()
			waitUntil(t, func() bool { n, _ := l.count(); return n > acked+20 })
			stop()
			writers.Wait()
			l.check(t, a, "A, after B is back", lot)
			l.check(t, b, "B", lot)
			if err := b.Check(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// imported is a version to be imported.
func imported(t testing.TB) fhir.Resource {
	t.Helper()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	json, err := fhir.Stamp([]byte(`{"resourceType":"Device"}`), "Device", "i", "1", at)
	if err != nil {
		t.Fatal(err)
	}
	return fhir.Resource{Key: fhir.Key{Type: "Device", ID: "i", Version: "1"}, LastUpdated: at, JSON: json}
}

func TestAServerWithOtherParametersNeitherWritesNorFindsTooLittle(t *testing.T) {
	for name, start := range everywhere() {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			old := closed(t, openServer(t, server, "old", kilnmongo.Options{}))
			if _, err := old.Write(t.Context(), unit(1)); err != nil {
				t.Fatal(err)
			}
			refuses := func(when string) {
				t.Helper()
				_, err := old.Write(t.Context(), unit(2))
				if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "same search parameters") {
					t.Errorf("%s, a write: %v", when, err)
				}
				if _, err := old.Search(t.Context(), query(t, "Device?_id=u1")); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("%s, a search: %v", when, err)
				}
				if _, err := old.Read(t.Context(), fhir.Key{Type: "Device", ID: "u1"}); err != nil {
					t.Errorf("%s, a read: %v", when, err)
				}
				if _, err := old.History(t.Context(), store.HistoryQuery{Type: "Device"}); err != nil {
					t.Errorf("%s, a history: %v", when, err)
				}
				if err := old.Check(t.Context()); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("%s, it says that it is %v", when, err)
				}
			}
			newer := openServer(t, server, "newer", kilnmongo.Options{Parameters: marked(t, byLot)})
			refuses("opened by one with others")
			if found, err := byMark(t.Context(), newer, "m1"); err != nil || !found["u1"] {
				t.Errorf("got %v %v", found, err)
			}
			if err := newer.Reindex(t.Context(), search.R4(), nil); err != nil {
				t.Fatal(err)
			}
			if _, err := old.Write(t.Context(), unit(3)); err != nil {
				t.Errorf("when it knows them again: %v", err)
			}
			if err := newer.Reindex(t.Context(), marked(t, byNote), nil); err != nil {
				t.Fatal(err)
			}
			refuses("changed by one with others")
			if err := newer.Close(); err != nil {
				t.Fatal(err)
			}
			again := closed(t, openServer(t, server, "again", kilnmongo.Options{}))
			for _, s := range []*kilnmongo.Store{old, again} {
				if _, err := s.Write(t.Context(), unit(4)); err != nil {
					t.Error(err)
				}
				if page, err := s.Search(t.Context(), query(t, "Device?_sort=_id")); err != nil || len(page.Resources) != 3 {
					t.Errorf("found %d, %v", len(page.Resources), err)
				}
			}
		})
	}
}

func TestAChangeWhoseServerIsGoneIsEndedByOthers(t *testing.T) {
	for name, o := range modes {
		for what, next := range map[string]func(t *testing.T, server *mongotest.Server, b *kilnmongo.Store) (*kilnmongo.Store, func(int) string){
			"by one that sees it": func(t *testing.T, _ *mongotest.Server, b *kilnmongo.Store) (*kilnmongo.Store, func(int) string) {
				waitUntil(t, func() bool { _, known := b.Parameters().Lookup("Device", "mark"); return known })
				return b, lot
			},
			"by one that wants another": func(t *testing.T, _ *mongotest.Server, b *kilnmongo.Store) (*kilnmongo.Store, func(int) string) {
				if err := define(t.Context(), b, byNote); err != nil {
					t.Fatal(err)
				}
				return b, note
			},
			"by one that is opened": func(t *testing.T, server *mongotest.Server, b *kilnmongo.Store) (*kilnmongo.Store, func(int) string) {
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
				c := closed(t, openServer(t, server, "c", kilnmongo.Options{Load: loadStored}))
				waitUntil(t, func() bool { _, known := c.Parameters().Lookup("Device", "mark"); return known })
				return c, lot
			},
			"by one that is opened and knows neither": func(t *testing.T, server *mongotest.Server, b *kilnmongo.Store) (*kilnmongo.Store, func(int) string) {
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
				return closed(t, openServer(t, server, "c", kilnmongo.Options{Parameters: marked(t, byNote)})), note
			},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				server := mongotest.StartServer(t, o)
				a := openServer(t, server, "a", kilnmongo.Options{Load: loadStored})
				l := newLedger()
				for range 700 {
					first := l.add(1)
					if _, err := a.Write(t.Context(), unit(first)); err != nil {
						t.Fatal(err)
					}
					l.ack(first, 1)
				}
				b := openServer(t, server, "b", kilnmongo.Options{Load: loadStored})
				t.Cleanup(func() { _ = b.Close() })
				reached := make(chan struct{})
				server.Fail(mongotest.Fault{App: "a", Command: "update", Collection: "Device", Delay: time.Hour, Times: -1, Happened: sync.OnceFunc(func() { close(reached) })})
				var gone sync.WaitGroup
				gone.Go(func() {
					if err := define(t.Context(), a, byLot); err == nil {
						t.Error("the one that is gone has done it")
					}
				})
				<-reached
				server.Fail(mongotest.Fault{App: "a", Times: -1, CloseBefore: true})
				s, of := next(t, server, b)
				first := l.add(1)
				if _, err := s.Write(t.Context(), unit(first)); err != nil {
					t.Error(err)
				}
				l.ack(first, 1)
				l.check(t, s, "the other", of)
				server.Heal()
				gone.Wait()
				if err := a.Close(); err != nil {
					t.Error(err)
				}
				l.check(t, s, "the other, when the first is back", of)
			})
		}
	}
}

func TestASearchParameterThatIsSentToOneServerIsSearchedByOnAnother(t *testing.T) {
	for name, start := range everywhere() {
		t.Run(name, func(t *testing.T) { sentToOne(t, start(t)) })
	}
}

func sentToOne(t *testing.T, server mongoDB) {
	var handlers []http.Handler
	for _, app := range []string{"a", "b"} {
		s := closed(t, openServer(t, server, app, kilnmongo.Options{Load: loadStored}))
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		t.Cleanup(func() { cancel(); running.Wait() })
		handlers = append(handlers, rest.New(s, rest.Options{Background: func(work func(context.Context)) { running.Go(func() { work(ctx) }) }}))
	}
	do := func(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/fhir+json")
		r.Header.Set("Prefer", "handling=strict")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	a, b := handlers[0], handlers[1]
	for i, h := range handlers {
		if w := do(h, "PUT", fmt.Sprint("/fhir/Device/d", i), fmt.Sprintf(`{"resourceType":"Device","id":"d%d","lotNumber":"m3"}`, i)); w.Code != 201 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	if w := do(b, "GET", "/fhir/Device?mark=m3", ""); w.Code != 400 {
		t.Fatalf("known before it is defined: %d", w.Code)
	}
	// Several at once, of which the servers that follow see the last ones first.
	for i, name := range []string{"other", "mark", "third"} {
		body := fmt.Sprintf(`{"resourceType":"SearchParameter","url":"http://h.example/%s","name":"%s","status":"active","description":"x","code":"%s","base":["Device"],"type":"string","expression":"Device.lotNumber"}`, name, name, name)
		if w := do(handlers[i%2], "POST", "/fhir/SearchParameter", body); w.Code != 201 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	for _, name := range []string{"other", "mark", "third"} {
		for i, h := range handlers {
			path := "/fhir/Device?" + name + "=m3"
			waitUntil(t, func() bool { return do(h, "GET", path, "").Code == 200 })
			if w := do(h, "GET", path, ""); strings.Count(w.Body.String(), `"fullUrl"`) != 2 {
				t.Errorf("server %d, by %s: %s", i, name, w.Body)
			}
			if w := do(h, "GET", "/fhir/metadata", ""); !strings.Contains(w.Body.String(), "http://h.example/"+name) {
				t.Errorf("the CapabilityStatement of server %d does not have %s", i, name)
			}
		}
	}
	if w := do(a, "DELETE", "/fhir/SearchParameter?code=mark", ""); w.Code != 204 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	waitUntil(t, func() bool { return do(b, "GET", "/fhir/Device?mark=m3", "").Code == 400 })
}

func TestCloseDoesNotWaitForEverForAWriteThatHasLostItsServer(t *testing.T) {
	for name, o := range modes {
		for what, f := range map[string]struct {
			fault   mongotest.Fault
			changes []store.Change
		}{
			"one insert": {mongotest.Fault{Command: "insert", Collection: "Device", Times: -1, Delay: time.Hour}, []store.Change{unit(2)}},
			"several":    {mongotest.Fault{Command: "insert", Times: -1, Delay: time.Hour}, []store.Change{unit(2), unit(3)}},
			"a new type": {mongotest.Fault{Command: "createIndexes", Times: -1, Delay: time.Hour}, []store.Change{{Key: fhir.Key{Type: "Basic", ID: "b"}, JSON: []byte(`{"resourceType":"Basic"}`)}}},
			"a cut line": {mongotest.Fault{Command: "insert", Collection: "Device", Times: -1, CloseBefore: true}, []store.Change{unit(2)}},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				t.Parallel()
				server := mongotest.StartServer(t, o)
				s := openServer(t, server, "s", kilnmongo.Options{})
				if _, err := s.Write(t.Context(), unit(1)); err != nil {
					t.Fatal(err)
				}
				var waits atomic.Int64
				f.fault.Happened = func() { waits.Add(1) }
				server.Fail(f.fault)
				ended := make(chan error, 1)
				go func() {
					_, err := s.Write(context.Background(), f.changes...)
					ended <- err
				}()
				waitUntil(t, func() bool { return waits.Load() > 0 })
				begun := time.Now()
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				if took := time.Since(begun); took > 10*time.Second {
					t.Errorf("it took %s", took)
				}
				if err := <-ended; err == nil || slices.Contains([]error{context.Canceled, context.DeadlineExceeded}, err) {
					t.Errorf("the write was told %v", err)
				}
			})
		}
	}
}
