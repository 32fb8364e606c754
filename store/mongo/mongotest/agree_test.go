package mongotest_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/embedded"
	"github.com/kiln-health/kiln/store/mongo/mongotest"
	"github.com/kiln-health/kiln/store/ndjson"
	"github.com/kiln-health/kiln/store/storetest"
)

func inMemory(t *testing.T) *embedded.Store {
	t.Helper()
	s, err := embedded.OpenMemory(nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// All stores give the answers of the plain model to the same histories, and what is moved from
// one into another goes on there.
func TestEveryStoreGivesTheSameAnswers(t *testing.T) {
	t.Parallel()
	replicaSet := mongotest.StartServer(t, mongotest.Options{})
	standalone := mongotest.StartServer(t, mongotest.Options{Standalone: true})
	stores := map[string]func(t *testing.T) store.Store{
		"embedded": func(t *testing.T) store.Store { return inMemory(t) },
		"replica set": func(t *testing.T) store.Store {
			return openStore(t, uriOf(replicaSet, mongotest.Database(), "agree"))
		},
		"standalone": func(t *testing.T) store.Store {
			s := openStore(t, uriOf(standalone, mongotest.Database(), "agree"))
			return withoutWatch{s, s, s, s, s, s}
		},
	}
	for name, start := range everywhere() {
		if stores[name] == nil {
			server := start(t)
			stores[name] = func(t *testing.T) store.Store {
				database := mongotest.Database()
				s := openStore(t, uriOf(server, database, "agree"))
				return temporary{withoutWatch{s, s, s, s, s, s}, func() { drop(t, server, database) }}
			}
		}
	}
	storetest.Same(t, stores)
}

// temporary is a store whose database is dropped when it is closed: a real MongoDB has a file for
// each of its indexes, and the histories are many.
type temporary struct {
	withoutWatch
	drop func()
}

func (s temporary) Close() error {
	defer s.drop()
	return s.withoutWatch.Close()
}

// An export of the embedded store, imported into MongoDB, exported from there, imported into an
// embedded store and exported again is the same files each time.
func TestMovingToMongoDBAndBackChangesNoByte(t *testing.T) {
	for mode, start := range everywhere() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			movesThere(t, start(t))
		})
	}
}

func movesThere(t *testing.T, server mongoDB) {
	from := inMemory(t)
	for round := range 5 {
		for i := range 40 {
			c := device(fmt.Sprint("d", i), fmt.Sprintf("72.50 %d \u00e4 \u2028 %d", i%7, round))
			c.Delete = (i+round)%9 == 0
			if c.Delete {
				c.JSON = nil
			}
			if _, err := from.Write(t.Context(), c, store.Change{Key: keyOf("Observation", i), JSON: observation(i, round)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	stores := []interface {
		store.Store
		store.Archive
	}{from, openStore(t, uriOf(server, mongotest.Database(), "move")), inMemory(t)}
	dir := t.TempDir()
	want := ""
	for i, s := range stores {
		if i > 0 {
			if _, err := ndjson.Import(t.Context(), s, filepath.Join(dir, fmt.Sprint(i-1)), nil); err != nil {
				t.Fatal(err)
			}
		}
		to := filepath.Join(dir, fmt.Sprint(i))
		if _, err := ndjson.Export(t.Context(), s, to, nil); err != nil {
			t.Fatal(err)
		}
		if got := sums(t, to); want == "" {
			want = got
		} else if got != want {
			t.Errorf("export %d is\n%s\nand the first one was\n%s", i, got, want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// sums are the files of a directory with their hashes.
func sums(t *testing.T, dir string) string {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := ""
	for _, e := range names {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all += fmt.Sprintf("%s %d %x\n", e.Name(), len(content), sha256.Sum256(content))
	}
	return all
}

func keyOf(resourceType string, i int) fhir.Key {
	return fhir.Key{Type: resourceType, ID: fmt.Sprint("r", i)}
}

// observation is a heart rate whose value differs in each round but one.
func observation(i, round int) []byte {
	return fmt.Appendf(nil, `{"resourceType":"Observation","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},`+
		`"subject":{"reference":"Patient/p%d"},"effectiveDateTime":"2026-01-%02dT10:00:00.5+02:00","valueQuantity":{"value":%d.50}}`, i%3, i%28+1, 60+round%4)
}
