package ndjson

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

// ExportOptions of Export. Nil is all defaults.
type ExportOptions struct {
	Compression Compression // "" is None
	// Source names the store, without a secret. An export that was broken off goes on only if
	// it was begun with the same one.
	Source string
	// Shelves of the journal are exported if the store has a journal. They come in the order in which an
	// entry may move from one to the next, and before the resources: what leaves a shelf
	// meanwhile is found in what comes later.
	Shelves []string
	// Progress, if it is set, is told now and then how much is written, from one goroutine.
	Progress func(Counts)

	// frame and step are how many bytes make a frame, and how many are written between two
	// notes of where to go on. Tests make them small.
	frame, step int
}

// Exported is what became of an export.
type Exported struct {
	Manifest
	Resumed int64 // lines that an earlier, broken export had written
}

// Export writes all that s has into dir, which is made if it is not there. An export that was
// broken off, by kill -9, too, goes on where it was when it is called again, and has then
// what was there when it was begun; what was written since may be there or not. It is a *Fault
// if dir holds a complete export, or anything else, or if another export is being written to it,
// by whatever process: a file system that has no locks cannot tell that, and then one call at a
// time may write to a directory. When Export returns without an error, the export is on the disk.
func Export(ctx context.Context, s store.Archive, dir string, opt *ExportOptions) (*Exported, error) {
	var o ExportOptions
	if opt != nil {
		o = *opt
	}
	if o.Compression == "" {
		o.Compression = None
	}
	if o.frame <= 0 {
		o.frame, o.step = 1<<20, 64<<20
	}
	for _, shelf := range o.Shelves {
		if !shelfPattern.MatchString(shelf) {
			return nil, errors.New("export: a shelf has a name that no file can have")
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	e, err := export(ctx, s, root, &o)
	if err := errors.Join(err, root.Close()); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	return e, nil
}

func export(ctx context.Context, s store.Archive, root *os.Root, o *ExportOptions) (e *Exported, err error) {
	// Nothing is written to a directory of others, not even a lock.
	if _, err := lookAround(root); err != nil {
		return nil, err
	}
	l, err := lockExport(root)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.release()) }()
	w, done, err := begin(root, o)
	if err != nil || done != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, w.release()) }()
	resumed := w.lines()
	if journal, ok := s.(store.Journal); ok && w.note.Last.Type == "" {
		for _, shelf := range w.shelves() {
			if err := w.shelf(ctx, journal, shelf); err != nil {
				return nil, err
			}
		}
	}
	if err := w.resources(ctx, s); err != nil {
		return nil, err
	}
	m, err := w.finish()
	if err != nil {
		return nil, err
	}
	return &Exported{m, resumed}, nil
}

// note is what incomplete.json says: how far an export is.
type note struct {
	Format      int         `json:"format"`
	Compression Compression `json:"compression"`
	Source      string      `json:"source"`
	Files       []File      `json:"files"`
	// Sum is the state of the SHA-256 of the last of the Files, if that is not finished: it is as
	// long as its Bytes say, and what follows in it is to be cut off.
	Sum []byte `json:"sum,omitempty"`
	// Last is the last line that was written, of the journal its ID alone, Before the one
	// before it, and Line the SHA-256 of that last line: the store must still have it.
	Last   fhir.Key `json:"last"`
	Before fhir.Key `json:"before"`
	Line   string   `json:"line,omitempty"`
}

// writer writes the files of an export.
type writer struct {
	root    *os.Root
	o       *ExportOptions
	encoder *encoder
	note    note     // as of now; of the open file, Bytes does not count the frame
	file    *os.File // the open one, or nil
	sum     hash.Hash
	frame   []byte // lines that are not written yet
	line    [sha256.Size]byte
	since   int // bytes since the last note
}

// lookAround names what is in a directory that an export may be written to.
func lookAround(root *os.Root) ([]string, error) {
	names, err := list(root)
	if err != nil || slices.Contains(names, incompleteName) {
		return names, err
	}
	for _, name := range names {
		switch name {
		case lockName, incompleteName + temporary: // the first note is a file of its own for a moment
		default:
			what := "the directory is not empty, and what is there is no export that was broken off"
			if slices.Contains(names, manifestName) {
				what = "the directory holds a complete export, which is never overwritten"
			}
			return nil, &Fault{What: what, Fix: fixForeign}
		}
	}
	return names, nil
}

// begin prepares the directory. If it only lacks the end of a finished export, that is done.
func begin(root *os.Root, o *ExportOptions) (*writer, *Exported, error) {
	names, err := lookAround(root)
	if err != nil {
		return nil, nil, err
	}
	encoder, err := newEncoder(o.Compression)
	if err != nil {
		return nil, nil, err
	}
	w := &writer{root: root, o: o, encoder: encoder, note: note{Format: Format, Compression: o.Compression, Source: o.Source}}
	if !slices.Contains(names, incompleteName) {
		return w, nil, w.writeNote()
	}
	done, err := w.resume(names)
	if err != nil || done != nil {
		err = errors.Join(err, w.release())
	}
	return w, done, err
}

// resume takes up an export that was broken off.
func (w *writer) resume(names []string) (*Exported, error) {
	content, err := readSmall(w.root, incompleteName)
	if err != nil {
		return nil, err
	}
	var n note
	if err := json.Unmarshal(content, &n); err != nil || n.Format < 1 {
		return nil, &Fault{File: incompleteName, What: "it does not tell where the export was broken off", Fix: "remove the directory, and export again"}
	}
	if n.Format != Format || n.Source != w.o.Source || n.Compression != w.o.Compression {
		return nil, &Fault{What: "the directory holds an export that was broken off, of another store, with another compression, or by another program", Fix: "go on with it as it was begun, or choose another directory"}
	}
	if slices.Contains(names, manifestName) {
		m, _, err := readManifest(w.root)
		if err != nil {
			return nil, err
		}
		if err := w.root.Remove(incompleteName); err != nil {
			return nil, err
		}
		all := m.Resources()
		all.add(m.Entries())
		return &Exported{*m, all.Lines}, syncDirectory(w.root)
	}
	listed := Manifest{Format: n.Format, Compression: n.Compression, Files: n.Files}
	if err := listed.check(); err != nil {
		return nil, err
	}
	w.note = n
	if line, err := hex.DecodeString(n.Line); err == nil {
		copy(w.line[:], line)
	}
	if err := w.tidy(names); err != nil {
		return nil, err
	}
	return nil, w.reopen()
}

// tidy removes files that were begun after the last note, and refuses what is not of an export.
func (w *writer) tidy(names []string) error {
	for i := range w.note.Files {
		f := &w.note.Files[i]
		info, err := w.root.Lstat(f.Name)
		if err != nil {
			return &Fault{File: f.Name, What: "the file of the export that was broken off is gone", Fix: "remove the directory, and export again"}
		}
		open := w.note.Sum != nil && i == len(w.note.Files)-1
		if !info.Mode().IsRegular() || info.Size() < f.Bytes || !open && info.Size() > f.Bytes {
			return &Fault{File: f.Name, What: "the file of the export that was broken off has another size than it had", Fix: "remove the directory, and export again"}
		}
	}
	for _, name := range names {
		known := slices.ContainsFunc(w.note.Files, func(f File) bool { return f.Name == name })
		switch {
		case known, name == incompleteName, name == lockName:
		case isFileName(name), name == manifestName+temporary, name == incompleteName+temporary:
			if err := w.root.Remove(name); err != nil {
				return err
			}
		default:
			return &Fault{File: name, What: "the file does not belong to the export that was broken off", Fix: "take it away, or choose another directory"}
		}
	}
	return nil
}

// reopen opens the file that is not finished, and cuts off what came after the note.
func (w *writer) reopen() error {
	if w.note.Sum == nil {
		return nil
	}
	if len(w.note.Files) == 0 {
		return &Fault{File: incompleteName, What: "it names no file to go on with", Fix: "remove the directory, and export again"}
	}
	f := &w.note.Files[len(w.note.Files)-1]
	w.sum = sha256.New()
	if err := w.sum.(encoding.BinaryUnmarshaler).UnmarshalBinary(w.note.Sum); err != nil {
		return &Fault{File: incompleteName, What: "the state of the export cannot be taken up by this program", Fix: "remove the directory, and export again"}
	}
	file, err := w.root.OpenFile(f.Name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	w.file = file
	if err := file.Truncate(f.Bytes); err != nil {
		return err
	}
	_, err = file.Seek(f.Bytes, io.SeekStart)
	return err
}

func (w *writer) open() *File { return &w.note.Files[len(w.note.Files)-1] }

// lines is how many there are.
func (w *writer) lines() int64 { return w.counts().Lines }

func (w *writer) counts() Counts {
	var all Counts
	for i := range w.note.Files {
		all.add(w.note.Files[i].Counts)
	}
	return all
}

// shelves are those that are not finished. A shelf that was empty when its turn came stays so.
func (w *writer) shelves() []string {
	if len(w.note.Files) == 0 {
		return w.o.Shelves
	}
	i := slices.Index(w.o.Shelves, w.open().Shelf)
	if w.file == nil {
		i++
	}
	return w.o.Shelves[max(i, 0):]
}

// shelf exports the entries of a shelf, from where it was broken off.
func (w *writer) shelf(ctx context.Context, j store.Journal, shelf string) error {
	after := ""
	if w.file != nil && w.open().Shelf == shelf {
		after = w.note.Last.ID
	}
	for {
		const page = 100
		ids, err := j.Entries(ctx, shelf, after, page)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			return nil
		}
		for _, id := range ids {
			if id <= after {
				return errors.New("the store gives the entries of its journal in no order")
			}
			after = id
			entry, err := j.Fetch(ctx, shelf, id)
			if errors.Is(err, store.ErrNotFound) {
				continue // it was worked off meanwhile, and its resources come later
			}
			if err != nil {
				return err
			}
			if err := w.use("", shelf); err != nil {
				return err
			}
			line, err := appendEntry(w.frame, id, entry)
			if err != nil {
				return err
			}
			if err := w.end(line, fhir.Key{ID: id}, func(*Counts) {}); err != nil {
				return err
			}
		}
	}
}

// resources exports all versions.
func (w *writer) resources(ctx context.Context, s store.Archive) error {
	last, line := w.note.Last, w.note.Line
	if last.Type == "" {
		w.note.Before, w.note.Last = fhir.Key{}, fhir.Key{}
		last = fhir.Key{}
	}
	var scratch []byte
	passed := last == fhir.Key{}
	err := s.Export(ctx, w.note.Before, func(v fhir.Resource) error {
		if !passed && before(v.Key, last) {
			return nil // it was written meanwhile
		}
		if !passed {
			var err error
			if scratch, err = appendVersion(scratch[:0], v); err != nil {
				return err
			}
			if sum := sha256.Sum256(scratch); v.Key != last || hex.EncodeToString(sum[:]) != line {
				return errAnother
			}
			passed = true
			return nil
		}
		return w.version(v)
	})
	if err == nil && !passed {
		return errAnother
	}
	return err
}

var errAnother = &Fault{What: "the export that was broken off is of another store, or of an earlier state of this one", Fix: fixForeign}

func (w *writer) version(v fhir.Resource) error {
	last := w.note.Last
	if !before(last, v.Key) {
		return fmt.Errorf("the store gives its versions in no order: a %s comes too late", v.Type)
	}
	if err := w.use(v.Type, ""); err != nil {
		return err
	}
	line, err := appendVersion(w.frame, v)
	if err != nil {
		return fmt.Errorf("line %d of %s: %w", w.open().Lines+1, w.open().Name, err)
	}
	return w.end(line, v.Key, func(c *Counts) {
		if v.Deleted {
			c.Deletions++
		} else {
			c.Versions++
		}
		if v.Type != last.Type || v.ID != last.ID {
			c.Resources++
		}
	})
}

// use makes the file of a type or a shelf the open one.
func (w *writer) use(resourceType, shelf string) error {
	if w.file != nil && w.open().Type == resourceType && w.open().Shelf == shelf {
		return nil
	}
	if err := w.finishFile(); err != nil {
		return err
	}
	name := fileName(resourceType, shelf, w.o.Compression)
	if slices.ContainsFunc(w.note.Files, func(f File) bool { return f.Name == name }) {
		return fmt.Errorf("%s is finished, and more comes for it", name)
	}
	file, err := w.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w.file, w.sum = file, sha256.New()
	w.note.Files = append(w.note.Files, File{Name: name, Type: resourceType, Shelf: shelf})
	return nil
}

// end takes a line that was appended to the frame.
func (w *writer) end(line []byte, key fhir.Key, count func(*Counts)) error {
	added := line[len(w.frame):]
	if len(added)+1 > MaxLine {
		return fmt.Errorf("a version or an entry has more than the %d bytes that a line may have", MaxLine)
	}
	f := w.open()
	w.line = sha256.Sum256(added)
	w.frame = append(line, '\n')
	f.Plain += int64(len(added)) + 1
	f.Lines++
	count(&f.Counts)
	w.note.Before, w.note.Last = w.note.Last, key
	if len(w.frame) < w.o.frame {
		return nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	if w.o.Progress != nil {
		w.o.Progress(w.counts())
	}
	if w.since < w.o.step {
		return nil
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	state, err := w.sum.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return err
	}
	w.note.Sum = state
	return w.writeNote()
}

// flush writes the frame.
func (w *writer) flush() error {
	if len(w.frame) == 0 {
		return nil
	}
	frame, err := w.encoder.frame(w.frame)
	if err != nil {
		return err
	}
	if _, err := w.file.Write(frame); err != nil {
		return err
	}
	w.sum.Write(frame)
	w.open().Bytes += int64(len(frame))
	w.since += len(w.frame)
	if cap(w.frame) > 4*w.o.frame && cap(w.frame) > 4<<20 {
		w.frame = nil // one large line need not be held for good
	}
	w.frame = w.frame[:0]
	return nil
}

// finishFile ends the open file.
func (w *writer) finishFile() error {
	if w.file == nil {
		return nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	file := w.file
	w.file = nil
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	w.open().SHA256 = hex.EncodeToString(w.sum.Sum(nil))
	w.note.Sum = nil
	return w.writeNote()
}

func (w *writer) writeNote() error {
	w.since = 0
	w.note.Line = hex.EncodeToString(w.line[:])
	content, err := json.Marshal(&w.note)
	if err != nil {
		return err
	}
	return replace(w.root, incompleteName, content)
}

// finish writes the manifest.
func (w *writer) finish() (Manifest, error) {
	if err := w.finishFile(); err != nil {
		return Manifest{}, err
	}
	m := Manifest{Format: Format, Compression: w.o.Compression, Files: w.note.Files}
	if m.Files == nil {
		m.Files = []File{}
	}
	if err := m.check(); err != nil {
		return Manifest{}, err
	}
	content, err := json.MarshalIndent(&m, "", "  ")
	if err != nil {
		return Manifest{}, err
	}
	if len(content) >= maxManifest {
		return Manifest{}, fmt.Errorf("the manifest has more than %d bytes", maxManifest)
	}
	if err := replace(w.root, manifestName, append(content, '\n')); err != nil {
		return Manifest{}, err
	}
	if err := w.root.Remove(incompleteName); err != nil {
		return Manifest{}, err
	}
	return m, syncDirectory(w.root)
}

// release lets go of what is open, however the export ended.
func (w *writer) release() error {
	err := w.encoder.close()
	if w.file != nil {
		err = errors.Join(err, w.file.Close())
	}
	return err
}

// replace writes a file so that it is there as a whole, or as it was.
func replace(root *os.Root, name string, content []byte) error {
	f, err := root.OpenFile(name+temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := root.Rename(name+temporary, name); err != nil {
		return err
	}
	return syncDirectory(root)
}

// syncDirectory makes what was made and renamed in a directory durable.
func syncDirectory(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, fs.ErrInvalid) || errors.Is(err, errors.ErrUnsupported) {
		err = nil // not every system can
	}
	return errors.Join(err, d.Close())
}
