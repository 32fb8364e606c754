//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package ndjson

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// openLocked opens a file, which it makes if need be, and locks it.
func openLocked(root *os.Root, name string) (*os.File, error) {
	const most = 1000 // as often as another may be done with it at that moment
	for range most {
		f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := flock(f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		held, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		named, err := root.Lstat(name)
		if err == nil && os.SameFile(held, named) {
			return f, nil
		}
		// Who had it removed the file after it was opened here, and before it was locked.
		if closeErr := f.Close(); closeErr != nil || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(err, closeErr)
		}
	}
	return nil, errLocked
}

// flock locks a file at once or not at all: https://man7.org/linux/man-pages/man2/flock.2.html
func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return errLocked
		case errors.Is(err, errors.ErrUnsupported), errors.Is(err, syscall.ENOLCK), errors.Is(err, syscall.EINVAL):
			return errNoLocks // as some shares of other machines
		default:
			return &os.PathError{Op: "flock", Path: f.Name(), Err: err}
		}
	}
}

func removeLocked(root *os.Root, name string) error { return root.Remove(name) }
