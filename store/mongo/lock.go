package mongo

import (
	"context"
	"hash/maphash"
	"slices"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

// stripeCount is the number of locks that all resources share. They keep writers of this
// process from getting into each other's way; it is the database that decides.
const stripeCount = 1024

// lockAll takes the locks of all changed resources, in an order that all writers share.
func (s *Store) lockAll(ctx context.Context, changes []store.Change) (unlock func(), err error) {
	var wanted [stripeCount]bool
	for i := range changes {
		wanted[s.stripe(changes[i].Key)] = true
	}
	var held []int
	unlock = func() {
		for _, i := range held {
			<-s.stripes[i]
		}
	}
	for i, want := range wanted {
		if !want {
			continue
		}
		select {
		case s.stripes[i] <- struct{}{}:
			held = append(held, i)
		case <-ctx.Done():
			unlock()
			return nil, ctx.Err()
		}
	}
	return unlock, nil
}

func (s *Store) stripe(key fhir.Key) int {
	return int(maphash.String(s.seed, key.Type+"/"+key.ID) % stripeCount)
}

// typesOf are the resource types of changes, each once.
func typesOf(changes []store.Change) []string {
	var types []string
	for i := range changes {
		if n := len(types); n > 0 && types[n-1] == changes[i].Type {
			continue
		}
		types = append(types, changes[i].Type)
	}
	slices.Sort(types)
	return slices.Compact(types)
}
