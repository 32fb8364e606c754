package embedded

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/store"
)

func TestWhoGivesUpDuringTheCommitLearnsHowItEnds(t *testing.T) {
	f := &faults{}
	s := openIn(t, "store", &Options{FS: wrap(vfs.NewMem(), f)})
	release, reached := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.set(func(op errorfs.Op) error {
		if isLog(op) && isSync(op) {
			once.Do(func() { close(reached) })
			<-release
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	s.queue.leader = &write{} // until both wait
	ended := make(chan error, 2)
	for i := range 2 {
		go func() {
			_, err := s.Write(ctx, sample(i, 0))
			ended <- err
		}()
	}
	for waiting := 0; waiting < 2; time.Sleep(time.Millisecond) {
		s.queue.mu.Lock()
		waiting = len(s.queue.waiting)
		s.queue.mu.Unlock()
	}
	s.queue.end()
	<-reached // one of the two commits both
	cancel()
	time.Sleep(10 * time.Millisecond)
	close(release)
	for i := range 2 {
		if err := <-ended; err != nil {
			t.Errorf("got %v of a write that is on disk", err)
		}
		if _, err := s.Read(t.Context(), fhir.Key{Type: "Observation", ID: []string{"r0", "r1"}[i]}); err != nil {
			t.Error(err)
		}
	}
}

func TestAnHourOfAnICUIsOneWrite(t *testing.T) {
	fhirtest.Long(t)
	const n = 25_000
	s := openIn(t, storeDir(t), nil)
	changes := make([]store.Change, n)
	for i := range changes {
		changes[i] = reading(i)
	}
	for _, want := range []struct{ groups, unchanged int64 }{{1, 0}, {1, n}} {
		results, err := s.Write(t.Context(), changes...)
		if err != nil {
			t.Fatal(err)
		}
		var unchanged int64
		for _, r := range results {
			if r.Unchanged {
				unchanged++
			}
		}
		if stats := s.Stats(); unchanged != want.unchanged || stats.Groups != want.groups || stats.Resources["Observation"] != n {
			t.Errorf("%d were unchanged, want %d: %+v", unchanged, want.unchanged, stats)
		}
	}
	if err := verify(s); err != nil {
		t.Error(err)
	}
	s = reopen(t, s, nil)
	if err := verify(s); err != nil {
		t.Error(err)
	}
}
