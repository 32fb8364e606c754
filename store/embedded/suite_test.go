package embedded

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/storetest"
)

// TestStoresAgree gives the same random histories to stores that plan differently, that have
// other clocks, and that are on disk.
func TestStoresAgree(t *testing.T) {
	open := func(t *testing.T, dir string, opt *Options) *Store {
		t.Helper()
		s, err := Open(dir, opt)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	storetest.Same(t, map[string]func(t *testing.T) store.Store{
		"in memory": func(t *testing.T) store.Store { return open(t, "store", &Options{FS: vfs.NewMem()}) },
		"on disk":   func(t *testing.T) store.Store { return open(t, t.TempDir(), nil) },
		"with tight limits": func(t *testing.T) store.Store {
			s := open(t, "store", &Options{FS: vfs.NewMem()})
			s.limits = limits{pageBytes: 1500, ranges: 1024, systems: 1, merged: 1, series: 3, codes: 2, distinct: 3, linked: 1, ids: 1, seen: 2}
			return s
		},
		"with a clock that jumps": func(t *testing.T) store.Store {
			begin, n := time.Now(), atomic.Int64{}
			return open(t, "store", &Options{FS: vfs.NewMem(), Now: func() time.Time {
				return begin.Add(time.Duration(n.Add(1)/5*7919%11-5) * time.Second)
			}})
		},
	})
}
