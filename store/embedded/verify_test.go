package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// verify tells what is wrong with what is on disk. No Reindex may be running.
func verify(s *Store) error {
	s.show(s.newView(), nil)
	r, err := s.Verify(context.Background(), nil)
	if err == nil {
		err = r.Err()
	}
	if err == nil && r.Unused > 0 {
		err = fmt.Errorf("%d keys are of a Reindex", r.Unused)
	}
	return err
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
	fhirtest.Long(t)
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

// harm is something that Verify should find, in a store that has r1 and r2 of sample.
type harm struct {
	harm func(s *Store, b *pebble.Batch) error
	want string // all that is found
}

func harms() map[string]harm {
	terms := search.Terms{}
	extra := indexer{params: newParameters(search.R4()), resourceType: "Observation", id: "ghost"}
	none := func(kind byte) func(s *Store, b *pebble.Batch) error {
		return func(_ *Store, b *pebble.Batch) error { return b.DeleteRange([]byte{kind}, []byte{kind + 1}, nil) }
	}
	set := func(key, value []byte) func(s *Store, b *pebble.Batch) error {
		return func(_ *Store, b *pebble.Batch) error { return b.Set(key, value, nil) }
	}
	current := func(change func(r *record)) func(s *Store, b *pebble.Batch) error {
		return func(s *Store, b *pebble.Batch) error {
			v := s.look()
			defer s.letGo(v)
			r, found, err := v.current("Observation", "r1")
			if err != nil || !found {
				return fmt.Errorf("r1: %t %w", found, err)
			}
			change(&r)
			return b.Set(appendCurrent(nil, "Observation", "r1"), r.append(nil), nil)
		}
	}
	return map[string]harm{
		"keys too many": {func(_ *Store, b *pebble.Batch) error {
			extra.emit = func(key, value []byte) error { return b.Set(key, value, nil) }
			return extra.each(mustParse("2026-01-01"), &terms)
		}, "1 × a key too many in the index by date of Observation; 1 × a key too many in the index by time of change of Observation"},
		"a key of another generation": {set([]byte("Dx"), nil), "keys are of a Reindex"},
		"keys missing":                {none(dateKey), "2 × a key that is missing in the index by date of Observation"},
		"a key with another value": {func(s *Store, b *pebble.Batch) error {
			it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{dateKey}, UpperBound: []byte{dateKey + 1}})
			if err != nil {
				return err
			}
			it.First()
			return errors.Join(b.Set(bytes.Clone(it.Key()), []byte("?"), nil), it.Close())
		}, "1 × a key with a wrong value in the index by date of Observation"},
		"a key of no type":             {set([]byte{dateKey, 'x'}, nil), "1 × a key too many in the index by date of a damaged type"},
		"a wrong number":               {set(countOf("Observation"), []byte{9}), "7 × a resource too many or too few in the count of Observation"},
		"a number that is none":        {set(countOf("Observation"), nil), "1 × a count that cannot be read of Observation; 2 × a resource too many or too few in the count of Observation"},
		"a number of another type":     {set(countOf("Device"), []byte{1}), "1 × a resource too many or too few in the count of Device"},
		"no numbers":                   {none(countKey), "2 × a resource too many or too few in the count of Observation"},
		"a key of the history missing": {none(pastKey), "4 × a key that is missing in the index of the history of Observation"},
		"a key of the history too many": {set(appendPast(nil, "Observation", "r1", 9, mustParse("2026-01-01")), nil),
			"1 × a key too many in the index of the history of Observation"},
		"lost versions": {none(earlierKey), "4 × a version that is missing of Observation; 4 × a key too many in the index of the history of Observation"},
		"a lost version": {func(_ *Store, b *pebble.Batch) error {
			return b.Delete(appendEarlier(nil, "Observation", "r1", 1), nil)
		},
			"1 × a version that is missing of Observation; 1 × a key too many in the index of the history of Observation"},
		"a lost resource": {func(_ *Store, b *pebble.Batch) error { return b.Delete(appendCurrent(nil, "Observation", "r1"), nil) },
			"1 × a resource too many or too few in the count of Observation; 2 × an earlier version without a current one of Observation"},
		"a version under another number": {func(s *Store, b *pebble.Batch) error {
			v := s.look()
			defer s.letGo(v)
			r, _, err := v.record(appendEarlier(nil, "Observation", "r1", 1))
			return errors.Join(err, b.Set(appendEarlier(nil, "Observation", "r1", 7), r.append(nil), nil))
		}, "1 × a version that is kept as another of Observation"},
		"a version from the future": {func(s *Store, b *pebble.Batch) error {
			r := record{version: 2, lastUpdated: 1 << 50, deleted: true}
			return b.Set(appendEarlier(nil, "Observation", "r1", 2), r.append(nil), nil)
		}, "1 × a version that is newer than the one after it of Observation"},
		"damaged JSON":              {current(func(r *record) { r.json[len(r.json)-1] = ' ' }), "1 × a version whose JSON is damaged of Observation"},
		"JSON of another id":        {current(func(r *record) { r.json = bytes.Replace(r.json, []byte(`"id":"r1"`), []byte(`"id":"r2"`), 1) }), "1 × a version whose JSON is that of another type, id, version or time of Observation"},
		"a deletion with content":   {current(func(r *record) { r.deleted = true }), "1 × a deletion with content of Observation"},
		"a damaged version":         {set(appendCurrent(nil, "Observation", "r1"), []byte("p")), "1 × a version that cannot be read of Observation"},
		"a damaged earlier version": {set(appendEarlier(nil, "Observation", "r1", 1), []byte("p")), "1 × a version that cannot be read of Observation"},
		"a damaged key":             {set([]byte{currentKey, 'x'}, []byte("p")), "1 × a key that is damaged of a damaged type"},
		"an unknown key":            {set([]byte("zmrn-4711"), nil), "1 × a key of an unknown kind"},
		"an unknown note":           {set([]byte{metaKey, 'x'}, nil), "1 × a note about the store that is not known"},
		"a damaged entry":           {set([]byte{journalKey, 'x'}, nil), "1 × an entry of the journal that is damaged"},
		"lost places":               {none(recordKey), "2 × a version that cannot be read of Observation"},
		"a place too many":          {set(appendRecordKey(nil, location{series: 1}, "r9"), nil), "1 × a key too many in the order of the series"},
		"a number of a place that is longer than it must be": {func(s *Store, b *pebble.Batch) error {
			v := s.look()
			defer s.letGo(v)
			r, _, err := v.current("Observation", "r1")
			value := r.appendPlaced(nil)
			_, n := binary.Uvarint(value)
			value[n-1] |= 0x80 // it goes on, with nothing
			return errors.Join(err, b.Set(appendRecordKey(nil, r.place, "r1"), slices.Insert(value, n, 0), nil))
		}, "1 × a key with a wrong value in the order of the series"},
		"members missing":  {none(memberKey), "2 × a key that is missing in the index by series"},
		"lost definitions": {none(definitionKey), "2 × an entry of the directory of series that has no definition; 2 × a resource that lies in the wrong place of Observation"},
		"a lost directory": {none(seriesKey), "2 × a series that the directory of its patient does not have of Observation"},
	}
}

func (h harm) do(t *testing.T, s *Store) {
	t.Helper()
	b := s.db.NewBatch()
	if err := h.harm(s, b); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(pebble.Sync); err != nil {
		t.Fatal(err)
	}
}

func TestVerifySeesWhatIsWrong(t *testing.T) {
	for name, test := range harms() {
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
			test.do(t, s)
			err := verify(s)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
			if err != nil && (strings.Contains(err.Error(), "4711") || strings.Contains(err.Error(), "r1")) {
				t.Errorf("it names a resource: %v", err)
			}
		})
	}
}

func TestVerifyCountsWhatIsThere(t *testing.T) {
	s := memory(t)
	for i := range 7 { // the last one is a deletion
		if _, err := s.Write(t.Context(), sample(1, i), sample(2, min(i, 5)), store.Change{Key: fhir.Key{Type: "Device", ID: "d"}, JSON: []byte(`{"resourceType":"Device"}`)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Keep(t.Context(), "inbox", "a", []byte("entry")); err != nil {
		t.Fatal(err)
	}
	r, err := s.Verify(t.Context(), func(what string, done, total int64) {
		if what != VerifyingResources && what != VerifyingIndex || done > total {
			t.Errorf("%s: %d of %d", what, done, total)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	keys := r.Keys
	r.Keys, r.ByType = 0, nil
	if want := (Report{Resources: 2, Deleted: 1, Versions: 7 + 6 + 1, Entries: 1, Faults: []Fault{}}); fmt.Sprint(r) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", r, want)
	}
	if keys < 20 {
		t.Errorf("%d keys", keys)
	}
}

func TestVerifyListsNotMoreThanAHundredFaults(t *testing.T) {
	s := memory(t)
	b := s.db.NewBatch()
	for i := range 130 {
		of := fmt.Sprint("T", strings.Repeat("a", i/26), string(rune('a'+i%26)))
		of = of[:1] + strings.ReplaceAll(of[1:], "0", "")
		if err := b.Set(countOf(of[:min(len(of), 60)]), []byte{3}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(pebble.Sync); err != nil {
		t.Fatal(err)
	}
	s.show(s.newView(), nil)
	r, err := s.Verify(t.Context(), nil)
	if err != nil || len(r.Faults) != maxFaults || r.More != 30*3 {
		t.Errorf("got %d faults and %d more, %v", len(r.Faults), r.More, err)
	}
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "and 185 other faults") {
		t.Errorf("got %v", err)
	}
}

func reopen(t testing.TB, s *Store, opt *Options) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return openIn(t, s.dir, opt)
}

func openIn(t testing.TB, dir string, opt *Options) *Store {
	t.Helper()
	s, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func storeDir(t *testing.T) string { return filepath.Join(t.TempDir(), "a", "store") }
