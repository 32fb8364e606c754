package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

// given are the current versions that so many readers give.
func given(t *testing.T, s *Store, readers int, lower []byte) (all []fhir.Resource, err error) {
	t.Helper()
	v := s.look()
	defer s.letGo(v)
	err = v.eachCurrent(t.Context(), lower, readers, func(of, id string, r record) error {
		all = append(all, r.clone().resource(of, id))
		return nil
	})
	return all, err
}

func TestWhatIsReadAheadComesInOrder(t *testing.T) {
	s := memory(t)
	several(t, s, 3*aheadResources)
	for i := range 10 { // some of which are too large to be read ahead
		c := sample(i, 0)
		c.JSON = bytes.Replace(c.JSON, []byte(`"subject"`), fmt.Appendf(nil, `"text":{"status":"generated","div":"<div>%s</div>"},"subject"`, strings.Repeat("x", (i+1)*aheadBytes/4)), 1)
		if _, err := s.Write(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	var want []fhir.Resource
	for _, of := range []string{"Device", "Observation"} {
		ids := make([]string, 3*aheadResources)
		for i := range ids {
			ids[i] = fmt.Sprint(strings.ToLower(of[:1]), i)
			if of == "Observation" {
				ids[i] = fmt.Sprint("r", i)
			}
		}
		slices.Sort(ids)
		for _, id := range ids {
			r, err := s.Read(t.Context(), fhir.Key{Type: of, ID: id})
			if gone, ok := errors.AsType[*store.GoneError](err); ok {
				r, err = gone.Resource, nil
			}
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, r)
		}
	}
	for _, readers := range []int{1, 4} {
		if got, err := given(t, s, readers, []byte{currentKey}); err != nil || !sameVersions(got, want) {
			t.Errorf("%d readers: %d of %d, %v", readers, len(got), len(want), err)
		}
		from := len(want) - 10
		if got, err := given(t, s, readers, appendCurrent(nil, "Observation", want[from].ID)); err != nil || !sameVersions(got, want[from:]) {
			t.Errorf("%d readers, from one on: %d, %v", readers, len(got), err)
		}
	}
}

func TestWhatComesBeforeADamageIsGiven(t *testing.T) {
	for name, harm := range map[string]func(b *pebble.Batch) error{
		"a version":           func(b *pebble.Batch) error { return b.Set(appendCurrent(nil, "Observation", "r5"), []byte("p"), nil) },
		"what a key leads to": func(b *pebble.Batch) error { return b.DeleteRange([]byte{recordKey}, []byte{recordKey + 1}, nil) },
		"a key":               func(b *pebble.Batch) error { return b.Set([]byte("cObservation"), nil, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			s := memory(t)
			several(t, s, 2*aheadResources)
			b := s.db.NewBatch()
			if err := errors.Join(harm(b), b.Commit(pebble.Sync)); err != nil {
				t.Fatal(err)
			}
			s.show(s.newView(), nil)
			for _, readers := range []int{1, 4} {
				got, err := given(t, s, readers, []byte{currentKey})
				if !errors.Is(err, errRecord) && !errors.Is(err, errIndex) {
					t.Errorf("%d readers: got %v", readers, err)
				}
				if len(got) < 2*aheadResources {
					t.Errorf("%d readers: %d came before it", readers, len(got))
				}
			}
		})
	}
}

func TestWhoHasEnoughEndsTheReadersAhead(t *testing.T) {
	s := memory(t)
	several(t, s, 8*aheadResources)
	v := s.look()
	defer s.letGo(v)
	enough := errors.New("enough")
	n := 0
	err := v.eachCurrent(t.Context(), []byte{currentKey}, 4, func(string, string, record) error {
		if n++; n == 200 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 200 {
		t.Errorf("%d, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n = 0
	err = v.eachCurrent(ctx, []byte{currentKey}, 4, func(string, string, record) error {
		n++
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || n != 1 {
		t.Errorf("%d, %v", n, err)
	}
}

func TestPartsTellTheFirstError(t *testing.T) {
	const n = 10 * minPart
	done := make([]int, n)
	err := inParts(n, func(from, to int) error {
		for i := from; i < to; i++ {
			done[i]++
		}
		return fmt.Errorf("from %d", from)
	})
	if err == nil || err.Error() != "from 0" {
		t.Errorf("got %v", err)
	}
	if slices.ContainsFunc(done, func(n int) bool { return n != 1 }) {
		t.Error("a thing was left out, or done twice")
	}
	if err := inParts(n, func(from, to int) error { panic("corrupt") }); err == nil || !strings.Contains(err.Error(), "corrupt") {
		t.Errorf("got %v", err)
	}
	if err := inParts(0, func(from, to int) error { return nil }); err != nil {
		t.Error(err)
	}
}
