package mongotest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
	kilnmongo "github.com/kiln-health/kiln/store/mongo"
	"github.com/kiln-health/kiln/store/mongo/mongotest"
	"github.com/kiln-health/kiln/store/storetest"
)

// modes are the deployments that the store must work on.
var modes = map[string]mongotest.Options{"replica set": {}, "standalone": {Standalone: true}}

func openStore(t testing.TB, uri string) *kilnmongo.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, err := kilnmongo.Open(ctx, uri, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closed(t testing.TB, s *kilnmongo.Store) *kilnmongo.Store {
	t.Helper()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// withoutWatch is the store on a standalone server, which has no change streams.
type withoutWatch struct {
	store.Store
	store.Journal
	store.Explainer
	store.Reindexer
	store.Archive
	store.Monitored
}

func testSuite(t *testing.T, o mongotest.Options) {
	t.Parallel()
	server := mongotest.StartServer(t, o)
	storetest.Run(t, func(t *testing.T) store.Store {
		s := openStore(t, uriOf(server, mongotest.Database(), "suite"))
		if o.Standalone {
			return withoutWatch{s, s, s, s, s, s}
		}
		return s
	})
}

func TestReplicaSetIsAStore(t *testing.T) { testSuite(t, mongotest.Options{}) }

// The suite takes more than half a minute: once is enough for the race detector.
func TestStandaloneIsAStore(t *testing.T) {
	fhirtest.Long(t)
	testSuite(t, mongotest.Options{Standalone: true})
}

// device is a change to a Device with a text.
func device(id, text string) store.Change {
	_, _, compact, err := fhir.Parse(fmt.Appendf(nil, `{"resourceType":"Device","note":[{"text":%q}]}`, text))
	if err != nil {
		return store.Change{} // which no store takes
	}
	return store.Change{Key: fhir.Key{Type: "Device", ID: id}, JSON: compact}
}

func query(t testing.TB, text string) search.Query {
	t.Helper()
	of, rest, _ := strings.Cut(text, "?")
	pairs, err := search.Pairs(rest)
	if err != nil {
		t.Fatal(err)
	}
	q, _, err := search.R4().Parse(of, pairs, search.Options{Now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestFiftyRacesOfSixteenServersWhoCompareAndSetHaveFiftyWinners(t *testing.T) {
	for name, start := range everywhere() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t)
			var stores [2]*kilnmongo.Store
			for i := range stores {
				stores[i] = closed(t, openStore(t, uriOf(server, "kiln", fmt.Sprint("server", i))))
			}
			if _, err := stores[0].Write(t.Context(), device("a", "0")); err != nil {
				t.Fatal(err)
			}
			winners := atomic.Int64{}
			for round := 1; round <= 50; round++ {
				var wg sync.WaitGroup
				for writer := range 16 {
					wg.Go(func() {
						c := device("a", fmt.Sprint(round, " of ", writer))
						c.If.Version = fmt.Sprint(round)
						_, err := stores[writer%2].Write(context.Background(), c)
						var conflict *store.ConflictError
						switch {
						case err == nil:
							winners.Add(1)
						case !errors.As(err, &conflict):
							t.Error(err)
						}
					})
				}
				wg.Wait()
			}
			if winners.Load() != 50 {
				t.Errorf("got %d winners in 50 races", winners.Load())
			}
			r, err := stores[1].Read(t.Context(), fhir.Key{Type: "Device", ID: "a"})
			if err != nil || r.Version != "51" {
				t.Errorf("got version %s %v", r.Version, err)
			}
		})
	}
}

func TestOneOfManyOnTwoServersCreatesUnlessThereIsOne(t *testing.T) {
	for name, start := range everywhere() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t)
			var stores [2]*kilnmongo.Store
			for i := range stores {
				stores[i] = closed(t, openStore(t, uriOf(server, "kiln", fmt.Sprint("server", i))))
			}
			for round := range 5 {
				created := atomic.Int64{}
				var wg sync.WaitGroup
				for writer := range 64 {
					wg.Go(func() {
						id := fmt.Sprintf("r%dw%d", round, writer)
						c := store.Change{Key: fhir.Key{Type: "Device", ID: id}, JSON: fmt.Appendf(nil, `{"resourceType":"Device","identifier":[{"system":"urn:x","value":"%d"}]}`, round)}
						q := query(t, fmt.Sprintf("Device?identifier=urn:x|%d", round))
						c.If.None = &q
						_, err := stores[writer%2].Write(context.Background(), c)
						var matched *store.MatchedError
						switch {
						case err == nil:
							created.Add(1)
						case !errors.As(err, &matched) || len(matched.Matches) != 1:
							t.Errorf("got %v", err)
						}
					})
				}
				wg.Wait()
				if created.Load() != 1 {
					t.Errorf("round %d: %d were created", round, created.Load())
				}
			}
		})
	}
}
