package embedded

import (
	"fmt"
	"sync"
	"testing"

	"github.com/kiln-health/kiln/store"
)

// TestReadersAreLeftForOtherWritersOnly: an iterator that nobody uses would keep files that
// compactions have replaced.
func TestReadersAreLeftForOtherWritersOnly(t *testing.T) {
	s := openIn(t, storeDir(t), nil)
	if err := writeDevice(t, s, 0); err != nil {
		t.Fatal(err)
	}
	first := s.lookToWrite()
	if _, found, err := first.current("Device", "w0"); err != nil || !found {
		t.Fatal(found, err)
	}
	second := s.lookToWrite()
	if first == second {
		t.Fatal("two writers have one reader")
	}
	if err := s.leave(first); err != nil {
		t.Fatal(err)
	}
	third := s.lookToWrite()
	if third != first || third.currents == nil {
		t.Error("the reader that was left is not taken")
	}
	if err := s.leave(second); err != nil {
		t.Fatal(err)
	}
	old := s.look()
	if err := writeDevice(t, s, 1); err != nil { // makes a new view
		t.Fatal(err)
	}
	if old == s.view || len(old.readers) > 0 {
		t.Error("readers of an old view are left")
	}
	if err := s.leave(third); err != nil {
		t.Fatal(err)
	}
	if len(old.readers) > 0 || third.currents != nil {
		t.Error("a reader is left on an old view")
	}
	fourth := s.lookToWrite()
	if _, found, err := fourth.current("Device", "w1"); err != nil || !found {
		t.Errorf("a reader of the newest view does not see what was written: %v", err)
	}
	if err := s.leave(fourth); err != nil {
		t.Fatal(err)
	}
	for _, v := range []*view{old, old, old, s.view} {
		s.doneWriting(v)
	}
	s.letGo(old)

	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 50 {
				if err := writeDevice(t, s, w*50+i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := writeDevice(t, s, 0); err != nil { // changes nothing: there is no newer view
		t.Fatal(err)
	}
	if v := s.view; len(v.readers) > 0 || v.writers > 0 || v.users != 1 {
		t.Errorf("%d readers, %d writers and %d users are left", len(v.readers), v.writers, v.users)
	}
	if n := s.db.Metrics().TableIters; n != 0 {
		t.Errorf("%d iterators are left", n)
	}
}

func writeDevice(t *testing.T, s *Store, n int) error {
	_, err := s.Write(t.Context(), store.Change{
		Key:  changesOf(fmt.Sprint("w", n))[0].Key,
		JSON: fmt.Appendf(nil, `{"resourceType":"Device","note":[{"text":"%d"}]}`, n),
	})
	return err
}
