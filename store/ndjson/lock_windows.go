package ndjson

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// Of CreateFile: https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-createfilew
const (
	errorSharingViolation = syscall.Errno(32)
	fileFlagDeleteOnClose = 0x04000000
	deleteAccess          = 0x00010000
)

// openLocked opens a file, which it makes if need be, so that nobody else can open it. The system
// removes it when it is closed.
func openLocked(root *os.Root, name string) (*os.File, error) {
	full := filepath.Join(root.Name(), name)
	path, err := syscall.UTF16PtrFromString(full)
	if err != nil {
		return nil, err
	}
	h, err := syscall.CreateFile(path, syscall.GENERIC_READ|syscall.GENERIC_WRITE|deleteAccess, 0, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL|fileFlagDeleteOnClose, 0)
	if errors.Is(err, errorSharingViolation) {
		return nil, errLocked
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: full, Err: err}
	}
	return os.NewFile(uintptr(h), full), nil
}

func removeLocked(*os.Root, string) error { return nil }
