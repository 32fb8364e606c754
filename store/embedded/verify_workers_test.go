package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/store"
)

// several fills a store with as many resources of each type, in three versions.
func several(t rapid.TB, s *Store, n int) {
	t.Helper()
	for i := range 3 {
		var changes []store.Change
		for id := range n {
			changes = append(changes, sample(id, 5*id+i), store.Change{
				Key:  fhir.Key{Type: "Device", ID: fmt.Sprint("d", id)},
				JSON: fmt.Appendf(nil, `{"resourceType":"Device","identifier":[{"value":"%d"}]}`, i*id),
			})
		}
		if _, err := s.Write(context.Background(), changes...); err != nil {
			t.Fatal(err)
		}
	}
}

// reports are those of one and of four workers, and of a Verify that looks for what is wrong
// whether there is a doubt or not.
func reports(t rapid.TB, s *Store) map[string]Report {
	t.Helper()
	s.show(s.newView(), nil)
	all := map[string]Report{}
	for _, workers := range []int{1, 4} {
		r, err := s.verifyWith(context.Background(), workers, nil)
		if err != nil {
			t.Fatal(err)
		}
		all[fmt.Sprint(workers, " workers")] = r
	}
	v := s.look()
	defer s.letGo(v)
	c := s.newCheck(v, 2, nil)
	c.found.report.ByType = map[string]int64{}
	if err := errors.Join(c.readCounts(), c.exactly(context.Background()), c.rest(context.Background(), false)); err != nil {
		t.Fatal(err)
	}
	all["a thorough look"] = c.done()
	return all
}

func checkReports(t rapid.TB, all map[string]Report) {
	t.Helper()
	want := all["1 workers"]
	for name, got := range all {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v\nwant %+v", name, got, want)
		}
	}
}

func TestVerifyReportsTheSameWithAnyNumberOfWorkers(t *testing.T) {
	all := memory(t)
	several(t, all, 2*batchVersions) // more than one batch
	checkReports(t, reports(t, all))
	for name, test := range harms() {
		t.Run(name, func(t *testing.T) {
			s := memory(t)
			several(t, s, 5)
			test.do(t, s)
			checkReports(t, reports(t, s))
		})
		if !strings.HasPrefix(name, "lost") && !strings.HasPrefix(name, "a lost") && !strings.HasPrefix(name, "no ") {
			test.do(t, all)
		}
	}
	checkReports(t, reports(t, all))
	if r, err := all.Verify(t.Context(), nil); err != nil || len(r.Faults) < 15 {
		t.Errorf("it finds %d faults, %v", len(r.Faults), err)
	}
}

// TestNoDamageIsOverlooked: whoever only doubts must do so wherever a thorough look finds something.
func TestNoDamageIsOverlooked(t *testing.T) {
	fhirtest.Long(t)
	rapid.Check(t, func(rt *rapid.T) {
		s, err := Open("store", &Options{FS: vfs.NewMem()})
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		several(rt, s, 5)
		var keys, values [][]byte
		it, err := s.db.NewIter(nil)
		if err != nil {
			rt.Fatal(err)
		}
		for ok := it.First(); ok; ok = it.Next() {
			keys, values = append(keys, bytes.Clone(it.Key())), append(values, bytes.Clone(it.Value()))
		}
		if err := errors.Join(it.Error(), it.Close()); err != nil {
			rt.Fatal(err)
		}
		flip := func(b []byte, what string) []byte {
			if len(b) == 0 {
				return b
			}
			b = bytes.Clone(b)
			b[rapid.IntRange(0, len(b)-1).Draw(rt, what)] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
			return b
		}
		for range rapid.IntRange(1, 3).Draw(rt, "damages") {
			i, j := rapid.IntRange(0, len(keys)-1).Draw(rt, "key"), rapid.IntRange(0, len(keys)-1).Draw(rt, "other key")
			var err error
			switch rapid.IntRange(0, 4).Draw(rt, "damage") {
			case 0:
				err = s.db.Delete(keys[i], nil)
			case 1:
				err = s.db.Set(keys[i], flip(values[i], "byte of the value"), nil)
			case 2:
				err = s.db.Set(flip(keys[i], "byte of the key"), values[i], nil)
			case 3:
				err = s.db.Set(keys[i], values[i][:rapid.IntRange(0, len(values[i])).Draw(rt, "length")], nil)
			case 4:
				err = errors.Join(s.db.Set(keys[i], values[j], nil), s.db.Set(keys[j], values[i], nil))
			}
			if err != nil {
				rt.Fatal(err)
			}
		}
		checkReports(rt, reports(rt, s))
	})
}

func TestVerifyEndsWithItsContext(t *testing.T) {
	s := memory(t)
	several(t, s, 2*batchVersions)
	for name, what := range map[string]string{"while it reads resources": VerifyingResources, "while it reads the index": VerifyingIndex} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			told := 0
			_, err := s.verifyWith(ctx, 4, func(is string, _, _ int64) {
				if is == what {
					cancel()
					told++
				}
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			if told > 20 {
				t.Errorf("it went on for %d batches", told)
			}
		})
	}
}

func TestVerifyTellsOfProgressThatDoesNotGoBack(t *testing.T) {
	s := memory(t)
	several(t, s, 2*batchVersions)
	if err := s.db.Delete(appendCurrent(nil, "Observation", "r1000"), pebble.Sync); err != nil { // the second walk begins at the first resource
		t.Fatal(err)
	}
	s.show(s.newView(), nil)
	var last struct {
		what string
		done int64
	}
	resources := int64(0)
	if _, err := s.verifyWith(t.Context(), 4, func(what string, done, total int64) {
		if what == last.what && done <= last.done || done > total || what != VerifyingResources && what != VerifyingIndex || last.what == VerifyingIndex && what != last.what {
			t.Errorf("%s: %d of %d after %+v", what, done, total, last)
		}
		last.what, last.done = what, done
		if what == VerifyingResources {
			resources = done
		}
	}); err != nil {
		t.Fatal(err)
	}
	if resources < 4*batchVersions-1 {
		t.Errorf("it told of %d resources only", resources)
	}
}

func TestAPanicOfTheDatabaseIsAnError(t *testing.T) {
	waits := func(ctx context.Context, _ *findings, _ func(int64)) error {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Minute):
			return errors.New("it was left alone")
		}
	}
	_, err := atOnce(t.Context(), func(int64) {}, waits, func(context.Context, *findings, func(int64)) error {
		var none []int
		_ = none[len(t.Name())]
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "the database failed") {
		t.Errorf("got %v", err)
	}
}
