package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Copied is what a backup takes.
type Copied struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// partial is how a directory is called until all of it is there. After a crash it stays, and
// nothing takes it for a store.
func partial(dir string) string { return filepath.Clean(dir) + ".partial" }

// Backup makes dir a copy of the store while it is used: everything that was acknowledged before
// the call is in it, and whole writes or nothing of the rest. On the file system of the store it is
// made of links, quickly and at first without taking space: files that the store needs no longer
// stay as long as the backup does. On another one it is copied. dir must be absent or empty, and
// is there only when it is complete. Others cannot read it.
//
// A backup is a store: Restore copies it, VerifyDir verifies it. One that is opened as it is
// becomes another store, and a backup no more.
func (s *Store) Backup(ctx context.Context, dir string) (Copied, error) {
	if err := s.gate.Enter(); err != nil {
		return Copied{}, err
	}
	defer s.gate.Leave()
	copied, err := s.makeBackup(ctx, dir)
	if err != nil {
		return Copied{}, fmt.Errorf("embedded: backup to %s: %w", dir, err)
	}
	return copied, nil
}

func (s *Store) makeBackup(ctx context.Context, dir string) (copied Copied, err error) {
	if err := errors.Join(ctx.Err(), s.failed()); err != nil {
		return Copied{}, err
	}
	if !s.backup.TryLock() {
		return Copied{}, errors.New("another backup of the store is being made: wait until it is done")
	}
	defer s.backup.Unlock()
	if err := target(s.fs, s.dir, dir); err != nil {
		return Copied{}, err
	}
	made := partial(dir)
	if err := s.fs.MkdirAll(made, 0o700); err != nil {
		return Copied{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.fs.RemoveAll(made))
		}
	}()
	// Pebble makes a directory that all may read. So it is made within one that they may not.
	inner := s.fs.PathJoin(made, "files")
	if err := s.checkpoint(inner); err != nil {
		return Copied{}, err
	}
	names, err := s.fs.List(inner)
	if err != nil {
		return Copied{}, err
	}
	for _, name := range names {
		from := s.fs.PathJoin(inner, name)
		info, err := s.fs.Stat(from)
		if err != nil {
			return Copied{}, err
		}
		copied.Files++
		copied.Bytes += info.Size()
		if err := s.fs.Rename(from, s.fs.PathJoin(made, name)); err != nil {
			return Copied{}, err
		}
	}
	if err := errors.Join(s.fs.Remove(inner), ctx.Err()); err != nil {
		return Copied{}, err
	}
	return copied, finish(s.fs, dir)
}

// checkpoint is Pebble's. The disk of a backup may fail: that must not end the process, as it
// would where Pebble panics because it cannot sync a directory. It holds no lock then.
func (s *Store) checkpoint(dir string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the disk of the backup failed: %v", r)
		}
	}()
	return s.db.Checkpoint(dir)
}

// target refuses a directory that a copy of another one cannot be made in.
func target(fs vfs.FS, from, dir string) error {
	if dir == "" {
		return errors.New("the directory has no name")
	}
	if inside(dir, from) || inside(from, dir) {
		return errors.New("one of the two directories lies within the other: choose another directory")
	}
	names, err := fs.List(dir)
	switch {
	case err == nil && len(names) > 0:
		return errors.New("the directory is not empty: choose another one, or remove it")
	case err != nil && !errors.Is(err, iofs.ErrNotExist):
		return err
	}
	if _, err := fs.Stat(partial(dir)); !errors.Is(err, iofs.ErrNotExist) {
		if err != nil {
			return err
		}
		return fmt.Errorf("%s is there: another one is being made, or was broken off: if so, remove that directory", partial(dir))
	}
	return nil
}

// inside reports whether dir is the other directory, or lies within it.
func inside(dir, other string) bool {
	a, errA := filepath.Abs(dir)
	b, errB := filepath.Abs(other)
	return errA == nil && errB == nil && (a == b || strings.HasPrefix(a, strings.TrimSuffix(b, string(filepath.Separator))+string(filepath.Separator)))
}

// finish gives what is complete its name.
func finish(fs vfs.FS, dir string) error {
	if err := syncDir(fs, partial(dir)); err != nil {
		return err
	}
	if err := fs.Remove(dir); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return fmt.Errorf("the empty directory cannot be replaced: choose one that does not exist: %w", err)
	}
	if err := fs.Rename(partial(dir), dir); err != nil {
		return err
	}
	return syncDir(fs, fs.PathDir(filepath.Clean(dir)))
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// RestoringBytes is what Restore tells of its progress besides what Verify does.
const RestoringBytes = "bytes"

// Restore makes dir a store with what a backup has. The backup is only read, and must not be a
// store that is open. dir must be absent or empty; it is there only when all is copied and
// verified. A backup of an older program becomes a store of this one. If the backup has faults
// they are in the report, and there is an error and no store. opt are those of Open.
func Restore(ctx context.Context, backup, dir string, opt *Options, progress func(what string, done, total int64)) (Report, error) {
	if progress == nil {
		progress = func(string, int64, int64) {}
	}
	report, err := restore(ctx, backup, dir, opt.complete(), progress)
	if err != nil {
		return report, fmt.Errorf("embedded: restore %s from %s: %w", dir, backup, err)
	}
	return report, nil
}

func restore(ctx context.Context, backup, dir string, o Options, progress func(string, int64, int64)) (report Report, err error) {
	if err := checkStore(backup, o.FS); err != nil {
		return Report{}, fmt.Errorf("the backup: %w", err)
	}
	unlock, err := lockCopy(backup, o.FS)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := target(o.FS, backup, dir); err != nil {
		return Report{}, err
	}
	made := partial(dir)
	if err := o.FS.MkdirAll(made, 0o700); err != nil {
		return Report{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.FS.RemoveAll(made))
		}
	}()
	if err := copyStore(ctx, o.FS, backup, made, progress); err != nil {
		return Report{}, err
	}
	s, err := open(made, &o)
	if pebble.IsCorruptionError(err) {
		report.Faults = []Fault{{What: damagedFiles(err), Number: 1}}
		return report, report.Err()
	}
	if err != nil {
		return Report{}, fmt.Errorf("the backup cannot be opened: %w", err)
	}
	report, err = s.Verify(ctx, progress)
	if err == nil {
		err = report.Err()
	}
	if err := errors.Join(err, s.Close()); err != nil {
		return report, err
	}
	return report, finish(o.FS, dir)
}

// checkStore refuses a directory without a database.
func checkStore(dir string, fs vfs.FS) error {
	if _, err := fs.List(dir); err != nil {
		return err
	}
	exists, err := hasDatabase(dir, fs)
	if err == nil && !exists {
		err = errors.New("the directory holds no store")
	}
	return err
}

// lockCopy keeps a store from being opened while it is copied. A backup has no lock, and one
// that cannot be written to needs none.
func lockCopy(dir string, fs vfs.FS) (unlock func() error, err error) {
	if _, err := fs.Stat(fs.PathJoin(dir, "LOCK")); errors.Is(err, iofs.ErrNotExist) {
		return func() error { return nil }, nil
	}
	lock, err := pebble.LockDirectory(dir, fs)
	switch {
	case errors.Is(err, iofs.ErrPermission), errors.Is(err, syscall.EROFS):
		return func() error { return nil }, nil
	case err != nil:
		return nil, fmt.Errorf("a process has it open, so it is no backup: make one with `kiln backup` (%w)", err)
	}
	return lock.Close, nil
}

// belongs reports whether a file is one of a database.
func belongs(name string) bool {
	switch filepath.Ext(name) {
	case ".sst", ".log", ".blob":
		return true
	}
	for _, prefix := range []string{"MANIFEST-", "OPTIONS-", "marker.", "REMOTE-OBJ-CATALOG-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// copyStore copies the files of a database.
func copyStore(ctx context.Context, fs vfs.FS, from, to string, progress func(string, int64, int64)) error {
	names, err := fs.List(from)
	if err != nil {
		return err
	}
	type file struct {
		name string
		size int64
	}
	var files []file
	var total, done int64
	for _, name := range names {
		if !belongs(name) {
			continue
		}
		info, err := fs.Stat(fs.PathJoin(from, name))
		if err != nil {
			return err
		}
		files = append(files, file{name, info.Size()})
		total += info.Size()
	}
	if usage, err := fs.GetDiskUsage(to); err == nil && usage.AvailBytes < uint64(total) {
		return fmt.Errorf("the disk is too full: %d MiB are free, and %d MiB are needed", usage.AvailBytes>>20, total>>20)
	}
	buf := make([]byte, 1<<20)
	for _, f := range files {
		n, err := copyFile(ctx, fs, fs.PathJoin(from, f.name), fs.PathJoin(to, f.name), buf, func(n int64) { progress(RestoringBytes, done+n, max(done+n, total)) })
		if err != nil {
			return err
		}
		if n != f.size {
			return fmt.Errorf("a file of the backup has changed its size while it was copied, from %d to %d bytes", f.size, n)
		}
		done += n
	}
	return nil
}

// copyFile copies a file and waits until it is on disk.
func copyFile(ctx context.Context, fs vfs.FS, from, to string, buf []byte, progress func(int64)) (n int64, err error) {
	in, err := fs.Open(from, vfs.SequentialReadsOption)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := fs.Create(to, vfs.WriteCategoryUnspecified)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		read, err := in.Read(buf)
		if read > 0 {
			if _, err := out.Write(buf[:read]); err != nil {
				return n, err
			}
			n += int64(read)
			progress(n)
		}
		if errors.Is(err, io.EOF) {
			return n, out.Sync()
		}
		if err != nil {
			return n, err
		}
	}
}

// VerifyDir is Verify of a store or a backup that is not open. Nothing in the directory is
// changed, but that there may be a file named LOCK afterwards. opt are those of Open.
func VerifyDir(ctx context.Context, dir string, opt *Options, progress func(what string, done, total int64)) (Report, error) {
	s, err := openToRead(dir, opt.complete())
	if pebble.IsCorruptionError(err) {
		return Report{Faults: []Fault{{What: damagedFiles(err), Number: 1}}}, nil
	}
	if err != nil {
		return Report{}, fmt.Errorf("embedded: verify %s: %w", dir, err)
	}
	report, err := s.Verify(ctx, progress)
	return report, errors.Join(err, s.Close())
}

// openToRead opens a store of which nothing is changed. It is for Verify only.
func openToRead(dir string, o Options) (*Store, error) {
	if err := checkStore(dir, o.FS); err != nil {
		return nil, err
	}
	fs := o.FS
	lock, err := pebble.LockDirectory(dir, fs)
	if errors.Is(err, iofs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		fs = unlocked{fs}
		lock, err = pebble.LockDirectory(dir, fs)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: stop it, or make a backup and verify that (%w)", ErrInUse, err)
	}
	o.FS = fs
	s := newStore(dir, &o, lock)
	opt := pebbleOptions(&o, lock, s.log)
	opt.ReadOnly = true
	s.db, err = pebble.Open(dir, opt)
	if err == nil {
		err = s.log.opened()
		if err == nil {
			err = s.beginToRead(&o)
		}
		if err != nil {
			err = errors.Join(err, s.db.Close())
		}
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// unlocked is a file system that nobody can write to.
type unlocked struct{ vfs.FS }

func (unlocked) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// beginToRead is begin without what changes the store.
func (s *Store) beginToRead(o *Options) error {
	value, err := s.value(formatKey)
	if err != nil {
		return err
	}
	if value == nil {
		return errors.New("the directory holds a database that is not a Kiln store")
	}
	if n, err := strconv.Atoi(string(value)); err == nil && n < format {
		return fmt.Errorf("the store has format %d of an older program: open it with this one, which makes it format %d, or verify it with that one", n, format)
	}
	if err := s.checkFormat(); err != nil {
		return err
	}
	if o.Load != nil {
		p, err := o.Load(s.stored("SearchParameter"))
		if err != nil {
			return fmt.Errorf("search parameters: %w", err)
		}
		s.opened, s.params = p, newParameters(p)
	}
	is, err := s.value(indexKey)
	if err != nil {
		return err
	}
	switch string(is) {
	case string(indexNote(s.params, lowerCase)):
		s.generation = lowerCase
	case string(indexNote(s.params, upperCase)):
		s.generation = upperCase
	default:
		s.outdated = true
	}
	s.kept = newKeptViews()
	s.view = s.newView()
	return nil
}
