package ndjson

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// errLocked: somebody else has the lock. errNoLocks: the system or the file system has none.
var (
	errLocked  = errors.New("somebody else has the lock")
	errNoLocks = errors.New("there are no locks here")
)

// A lock is a file that one call of one process has for itself. The system frees it when the process
// ends, however that ends: the file that a killed process left behind is in nobody's way.
type lock struct {
	root *os.Root
	name string
	file *os.File
}

// takeLock makes the file and locks it. It is errLocked, at once, if somebody else has it, and
// errNoLocks if that cannot be known.
func takeLock(root *os.Root, name string) (*lock, error) {
	f, err := openLocked(root, name)
	if err != nil {
		return nil, err
	}
	return &lock{root, name, f}, nil
}

// release removes the file and frees the lock. Of nil it does nothing.
func (l *lock) release() error {
	if l == nil {
		return nil
	}
	err := removeLocked(l.root, l.name) // as long as it is locked, it is not the file of another
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, l.file.Close())
}

// lockExport keeps a second export out of the directory. Where there are no locks nothing does.
func lockExport(root *os.Root) (*lock, error) {
	l, err := takeLock(root, lockName)
	switch {
	case errors.Is(err, errLocked):
		return nil, &Fault{What: fmt.Sprintf("another export is being written to %s", root.Name()), Fix: "wait until it has ended, or choose another directory"}
	case errors.Is(err, errNoLocks):
		return nil, nil
	}
	return l, err
}
