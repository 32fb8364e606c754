package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// verify tells what is wrong with the keys of a store: index keys without a resource or
// resources without index keys, numbers that are not the number of resources, gaps in a history.
func verify(s *Store) error {
	want := map[string]string{}
	counts := map[string]uint64{}
	versions := map[string]uint64{}
	x := indexer{params: s.params, generation: s.generation, emit: func(key, value []byte) error { want[string(key)] = string(value); return nil }}
	err := eachKey(s, currentKey, currentKey, func(key, value []byte) error {
		of, id, _ := bytes.Cut(key[1:], []byte{0})
		r, err := readRecord(value)
		if err != nil {
			return err
		}
		versions[string(key[1:])] = r.version
		if r.deleted {
			want[string(appendPast(nil, string(of), string(id), r.version, r.at()))] = ""
			return nil
		}
		counts[string(of)]++
		x.resourceType, x.id = string(of), string(id)
		terms, err := s.params.Extract(x.resourceType, r.json)
		if err != nil {
			return err
		}
		return x.each(r.at(), &terms)
	})
	if err != nil {
		return err
	}
	earlier := map[string]uint64{}
	err = eachKey(s, earlierKey, earlierKey, func(key, value []byte) error {
		resource := string(key[1 : len(key)-9])
		r, err := readRecord(value)
		if err != nil {
			return err
		}
		if version := ^binary.BigEndian.Uint64(key[len(key)-8:]); version != r.version || version >= versions[resource] {
			return fmt.Errorf("version %d is kept as %d of %d", r.version, version, versions[resource])
		}
		of, id, _ := strings.Cut(resource, "\x00")
		want[string(appendPast(nil, of, id, r.version, r.at()))] = ""
		earlier[resource]++
		return nil
	})
	if err != nil {
		return err
	}
	for resource, n := range versions {
		if earlier[resource] != n-1 {
			return fmt.Errorf("%q is at version %d and has %d earlier ones", resource, n, earlier[resource])
		}
	}
	kinds := []byte{updatedKey, pastKey}
	for _, kind := range termKinds {
		kinds = append(kinds, lowerCase.kind(kind), upperCase.kind(kind))
	}
	for _, kind := range kinds {
		err := eachKey(s, kind, kind, func(key, value []byte) error {
			if is, ok := want[string(key)]; !ok {
				return fmt.Errorf("an index key has no resource: %q", key)
			} else if is != string(value) {
				return fmt.Errorf("an index key has value %x, want %x: %q", value, is, key)
			}
			delete(want, string(key))
			return nil
		})
		if err != nil {
			return err
		}
	}
	for key := range want {
		return fmt.Errorf("%d index keys are missing, such as %q", len(want), key)
	}
	err = eachKey(s, countKey, countKey, func(key, value []byte) error {
		if n, _ := binary.Uvarint(value); n != counts[string(key[1:])] {
			return fmt.Errorf("%d %s are counted, and %d are there", n, key[1:], counts[string(key[1:])])
		}
		delete(counts, string(key[1:]))
		return nil
	})
	if err != nil {
		return err
	}
	if len(counts) > 0 {
		return fmt.Errorf("resources are not counted: %v", counts)
	}
	return nil
}

func eachKey(s *Store, from, to byte, f func(key, value []byte) error) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{from}, UpperBound: []byte{to + 1}})
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if err := f(it.Key(), value); err != nil {
			return err
		}
	}
	return it.Error()
}

// sample is one of many resources that differ in all that is indexed.
func sample(id, i int) store.Change {
	key := fhir.Key{Type: "Observation", ID: fmt.Sprint("r", id)}
	if i%7 == 6 {
		return store.Change{Key: key, Delete: true}
	}
	dates := []string{`"effectiveDateTime":"2026-01-02T03:04:05Z",`, `"effectivePeriod":{"start":"2026-01-01"},`, `"effectivePeriod":{"end":"2026-01-01"},`, `"effectiveDateTime":"2026",`, ``}
	values := []string{`"valueQuantity":{"value":72,"code":"/min"},`, `"valueQuantity":{"value":70,"comparator":">"},`, ``, `"valueSampledData":{"origin":{"value":0},"period":1,"dimensions":1,"data":"1 2 3"},`}
	return store.Change{Key: key, JSON: fmt.Appendf(nil,
		`{"resourceType":"Observation",%s%s"code":{"coding":[{"system":"http://loinc.org","code":"c%d"},{"code":"c"}]},"category":[{"coding":[{"code":"k%d"}]}],"subject":{"reference":"%s/p%d"},"identifier":[{"value":"%d"}]}`,
		dates[i%len(dates)], values[i%len(values)], i%3, i%2, []string{"Patient", "Group"}[i%2], i%4, i%11)}
}

func TestIndexAgreesWithResourcesAfterAnyHistory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s, err := Open("store", &Options{FS: vfs.NewMem()})
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		for range rapid.IntRange(1, 20).Draw(rt, "writes") {
			var changes []store.Change
			for _, id := range rapid.SliceOfNDistinct(rapid.IntRange(0, 5), 1, 4, rapid.ID).Draw(rt, "ids") {
				changes = append(changes, sample(id, rapid.IntRange(0, 1000).Draw(rt, "content")))
			}
			if _, err := s.Write(context.Background(), changes...); err != nil {
				rt.Fatal(err)
			}
		}
		if err := verify(s); err != nil {
			rt.Fatal(err)
		}
		if _, err := s.rebuild(); err != nil {
			rt.Fatal(err)
		}
		if err := verify(s); err != nil {
			rt.Fatalf("indexed anew: %v", err)
		}
	})
}

func TestVerifySeesWhatIsWrong(t *testing.T) {
	terms := search.Terms{}
	extra := indexer{params: newParameters(search.R4()), resourceType: "Observation", id: "ghost"}
	for name, harm := range map[string]func(b *pebble.Batch) error{
		"a key too many": func(b *pebble.Batch) error {
			extra.emit = func(key, value []byte) error { return b.Set(key, value, nil) }
			return extra.each(mustParse("2026-01-01"), &terms)
		},
		"a key missing":                func(b *pebble.Batch) error { return b.DeleteRange([]byte{dateKey}, []byte{dateKey + 1}, nil) },
		"a wrong number":               func(b *pebble.Batch) error { return b.Set(countOf("Observation"), []byte{9}, nil) },
		"a key of the history missing": func(b *pebble.Batch) error { return b.DeleteRange([]byte{pastKey}, []byte{pastKey + 1}, nil) },
		"a key of the history too many": func(b *pebble.Batch) error {
			return b.Set(appendPast(nil, "Observation", "r1", 9, mustParse("2026-01-01")), nil, nil)
		},
		"a lost version":  func(b *pebble.Batch) error { return b.DeleteRange([]byte{earlierKey}, []byte{earlierKey + 1}, nil) },
		"a lost resource": func(b *pebble.Batch) error { return b.Delete(appendCurrent(nil, "Observation", "r1"), nil) },
	} {
		t.Run(name, func(t *testing.T) {
			s := memory(t)
			for i := range 3 {
				if _, err := s.Write(t.Context(), sample(1, i), sample(2, i)); err != nil {
					t.Fatal(err)
				}
			}
			if err := verify(s); err != nil {
				t.Fatal(err)
			}
			b := s.db.NewBatch()
			if err := harm(b); err != nil {
				t.Fatal(err)
			}
			if err := b.Commit(pebble.Sync); err != nil {
				t.Fatal(err)
			}
			if verify(s) == nil {
				t.Error("verify saw nothing")
			}
		})
	}
}

func reopen(t *testing.T, s *Store, opt *Options) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return openIn(t, s.dir, opt)
}

func openIn(t *testing.T, dir string, opt *Options) *Store {
	t.Helper()
	s, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func storeDir(t *testing.T) string { return filepath.Join(t.TempDir(), "a", "store") }
