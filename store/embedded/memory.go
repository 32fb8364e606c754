package embedded

import "github.com/cockroachdb/pebble/v2/vfs"

// OpenMemory opens an empty store in memory: for demonstrations and tests. It is gone
// when it is closed. Options.FS is not used.
func OpenMemory(opt *Options) (*Store, error) {
	var o Options
	if opt != nil {
		o = *opt
	}
	o.FS = vfs.NewMem()
	return Open("memory", &o)
}
