package embedded

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/storetest"
)

// memory opens an empty store that is not on disk.
func memory(t testing.TB) *Store {
	t.Helper()
	s, err := Open("store", &Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return memory(t) })
}

func TestStoreWithTightLimits(t *testing.T) {
	fhirtest.Long(t) // TestStoresAgree lets such a store go through the same histories
	storetest.Run(t, func(t *testing.T) store.Store {
		s := memory(t)
		s.limits = limits{pageBytes: 1500, ranges: 1024, systems: 1, merged: 1, series: 3, codes: 2, distinct: 3, linked: 1, ids: 1, seen: 2}
		return s
	})
}
