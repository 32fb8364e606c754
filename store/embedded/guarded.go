package embedded

import (
	"fmt"
	"runtime"
	"sync"
)

// guarded does a part of somebody's work, mostly in another goroutine than his. Pebble panics where
// it finds what cannot be: that is an error of the work, and not the end of the process.
func guarded(work func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the database failed: %v", r)
		}
	}()
	return work()
}

// minPart is how many things are worth a goroutine.
const minPart = 64

// inParts does the work on n things with all processors, each of which takes some that follow
// each other. Of several errors it is the one of the first part.
func inParts(n int, work func(from, to int) error) error {
	parts := min(runtime.GOMAXPROCS(0), 1+n/minPart)
	failed := make([]error, parts)
	part := func(i int) {
		failed[i] = guarded(func() error { return work(i*n/parts, (i+1)*n/parts) })
	}
	var running sync.WaitGroup
	for i := range parts - 1 {
		running.Go(func() { part(i) })
	}
	part(parts - 1)
	running.Wait()
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}
