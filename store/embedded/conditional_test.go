package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// serialDevice is a Device to be created unless there is one of that serial number.
func serialDevice(id, serial string) store.Change {
	param, _ := search.R4().Lookup("Device", "identifier")
	return store.Change{
		Key:  fhir.Key{Type: "Device", ID: id},
		JSON: fmt.Appendf(nil, `{"resourceType":"Device","identifier":[{"system":"urn:serial","value":"%s"}]}`, serial),
		If: store.Condition{None: &search.Query{Type: "Device", Where: []search.Clause{
			{Param: param, Values: []search.Value{{System: "urn:serial", Code: serial}}},
		}}},
	}
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain for " + what)
		}
	}
}

func TestAWriterWaitsForAnEarlierOneWhoseResourceItsConditionMatches(t *testing.T) {
	for name, test := range map[string]struct {
		succeeds bool
		want     error
	}{
		"the earlier one succeeds": {true, store.ErrMatched},
		"the earlier one fails":    {false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := memory(t)
			first := serialDevice("first", "1")
			earlier, err := s.claims.Make(t.Context(), []store.Change{first}, s.params.Parameters, s.opened)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() {
				_, err := s.Write(context.Background(), serialDevice("second", "1"))
				done <- err
			}()
			waitFor(t, "the second writer", func() bool { return s.claims.Len() == 2 })
			// Others need not wait: neither those without a condition, nor those with another.
			plain := serialDevice("plain", "2")
			plain.If = store.Condition{}
			if _, err := s.Write(t.Context(), plain, serialDevice("third", "3")); err != nil {
				t.Error(err)
			}
			select {
			case err := <-done:
				t.Fatalf("the second writer did not wait: %v", err)
			default:
			}
			if first.If = (store.Condition{}); test.succeeds {
				if _, err := s.Write(t.Context(), first); err != nil {
					t.Error(err)
				}
			}
			earlier.End()
			if err := <-done; !errors.Is(err, test.want) || test.want == nil && err != nil {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if n := s.claims.Len(); n != 0 {
				t.Errorf("%d claims are left", n)
			}
		})
	}
}

func TestAWriterThatWaitsForAnotherIsCancelled(t *testing.T) {
	s := memory(t)
	earlier, err := s.claims.Make(t.Context(), []store.Change{serialDevice("first", "1")}, s.params.Parameters, s.opened)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Write(ctx, serialDevice("second", "1"))
		done <- err
	}()
	waitFor(t, "the second writer", func() bool { return s.claims.Len() == 2 })
	// Who waits holds no lock.
	if _, err := s.Write(t.Context(), store.Change{Key: fhir.Key{Type: "Device", ID: "second"}, Delete: true}); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
	earlier.End()
	if _, err := s.Write(t.Context(), serialDevice("third", "1")); err != nil {
		t.Error(err)
	}
}

func TestAFailedWriteLeavesNoClaim(t *testing.T) {
	s := memory(t)
	broken, other, twice := serialDevice("a", "1"), serialDevice("a", "1"), serialDevice("a", "1")
	broken.JSON = []byte(`{"resourceType":"Device","identifier":[`)
	other.If.None = &search.Query{Type: "Nothing"}
	for name, changes := range map[string][]store.Change{
		"broken JSON": {broken}, "a search of no type": {other}, "a resource twice": {twice, twice},
	} {
		if _, err := s.Write(t.Context(), changes...); err == nil || errors.Is(err, store.ErrMatched) {
			t.Errorf("%s: got %v", name, err)
		}
		if n := s.claims.Len(); n != 0 {
			t.Errorf("%s: %d claims are left", name, n)
		}
	}
}

// BenchmarkConditional is the price of a condition, with 64 writers.
func BenchmarkConditional(b *testing.B) {
	param, _ := search.R4().Lookup("Observation", "identifier")
	for _, name := range []string{"plain", "unless-identified"} {
		b.Run(name, func(b *testing.B) {
			s := onDisk(b)
			var next atomic.Int64
			b.SetParallelism(32)
			begin := cpuTime(b)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					c := reading(int(next.Add(1)))
					if name != "plain" {
						c.If.None = &search.Query{Type: "Observation", Where: []search.Clause{{Param: param, Values: []search.Value{
							{System: "https://github.com/kiln-health/kiln/fhir/reading-id", Code: c.ID},
						}}}}
					}
					if _, err := s.Write(context.Background(), c); err != nil {
						b.Error(err)
						return
					}
				}
			})
			cpu(b, begin)
		})
	}
	b.Run("one-write-of-5000", func(b *testing.B) {
		s := onDisk(b)
		for i := 0; b.Loop(); i++ {
			var changes []store.Change
			for n := range 5000 {
				id := fmt.Sprintf("d%d-%d", i, n)
				changes = append(changes, serialDevice(id, id))
			}
			if _, err := s.Write(context.Background(), changes...); err != nil {
				b.Fatal(err)
			}
		}
	})
}
