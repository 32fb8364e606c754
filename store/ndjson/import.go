package ndjson

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

// ImportOptions of Import. Nil is all defaults.
type ImportOptions struct {
	// Target names the store, without a secret, and State is the file, outside the export,
	// that remembers how far the import into it is. Without State an import that was broken off
	// begins anew, which is slower and gives the same. One import at a time remembers: another
	// one that has the same State goes on without, and tells so as Unsaved.
	Target, State string
	// Progress, if it is set, is told how many bytes of how many are read, from one goroutine. What
	// is to be done is read three times: to check the files, to import them, and to compare.
	Progress func(step Step, done, total int64)

	// batch and step are how many bytes are imported at once, and how many between two
	// notes of how far it is. Tests make them small.
	batch, step int
}

// Step is what an import is doing.
type Step string

// The steps of an import.
const (
	Checking  Step = "checking"
	Importing Step = "importing"
	Comparing Step = "comparing"
)

// Imported is what became of an import. Added and Present together are the lines of the
// resources of the export, and AddedEntries and PresentEntries those of its journal.
type Imported struct {
	Manifest                     Manifest
	Added, Present               int64
	AddedEntries, PresentEntries int64
	// Equal is how many versions were found in the store afterwards, byte for byte.
	Equal int64
	// Resumed is how many lines an earlier import had done.
	Resumed int64
	// Unsaved tells why State could not be written, if it could not. It does no harm.
	Unsaved error
}

// Import brings the export in dir into s, in three steps: it checks that all files are what was
// exported, imports them, and compares what the store has then with the export, byte for byte. It
// may be done any number of times, and goes on where it was broken off. What s has besides stays
// as it is. What is wrong with the export is a *Fault; a version that the store has with other
// content is one, too, at its line, and then is a *store.ConflictError as well.
func Import(ctx context.Context, s store.Archive, dir string, opt *ImportOptions) (*Imported, error) {
	var o ImportOptions
	if opt != nil {
		o = *opt
	}
	if o.batch <= 0 {
		o.batch, o.step = 4<<20, 64<<20
	}
	if o.Progress == nil {
		o.Progress = func(Step, int64, int64) {}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	i := &importer{ctx: ctx, root: root, to: s, o: &o}
	err = errors.Join(i.all(), i.forget())
	if err := errors.Join(err, root.Close()); err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	return &i.out, nil
}

// state is what the file ImportOptions.State says.
type state struct {
	Manifest string   `json:"manifest"` // its SHA-256
	Target   string   `json:"target"`
	File     int      `json:"file"`  // of the manifest, which is being imported
	Lines    int64    `json:"lines"` // of it that are done
	Last     fhir.Key `json:"last"`  // the last version that is done
	Added    int64    `json:"added"` // versions, altogether
	Entries  int64    `json:"addedEntries"`
}

type importer struct {
	ctx     context.Context
	root    *os.Root
	to      store.Archive
	journal store.Journal
	o       *ImportOptions
	state   state
	since   int // bytes since the state was saved
	done    int64
	place   *os.Root // where State is, or nil
	lock    *lock    // of State, or nil
	out     Imported
}

func (i *importer) all() error {
	m, sum, err := readManifest(i.root)
	if err != nil {
		return err
	}
	i.out.Manifest = *m
	i.journal, _ = i.to.(store.Journal)
	if m.Entries().Lines > 0 && i.journal == nil {
		return errors.New("the export has a journal, and the store cannot keep one")
	}
	if err := i.check(m); err != nil {
		return err
	}
	if err := i.load(m, sum); err != nil {
		return err
	}
	for n := range m.Files {
		f := &m.Files[n]
		if n < i.state.File {
			i.out.Resumed += f.Lines
			i.done += f.Plain
			continue
		}
		if n > i.state.File {
			i.state.File, i.state.Lines = n, 0
		}
		if err := i.file(f); err != nil {
			return err
		}
	}
	i.state.File, i.state.Lines = len(m.Files), 0
	i.save()
	i.out.Added, i.out.Present = i.state.Added, m.Resources().Lines-i.state.Added
	i.out.AddedEntries, i.out.PresentEntries = i.state.Entries, m.Entries().Lines-i.state.Entries
	if err := i.compare(m); err != nil {
		return err
	}
	if i.o.State != "" && i.out.Unsaved == nil {
		i.out.Unsaved = os.Remove(i.o.State)
	}
	return nil
}

// check reads all files before anything is imported: a value that has another bit than
// it had still looks like one.
func (i *importer) check(m *Manifest) error {
	var done int64
	for n := range m.Files {
		f := &m.Files[n]
		got, err := sum(i.ctx, i.root, f.Name, func(read int64) {
			done += read
			i.o.Progress(Checking, done, m.Bytes())
		})
		if err != nil {
			return err
		}
		if got != f.SHA256 {
			return errSum(f)
		}
	}
	return nil
}

// load takes up an import that was broken off, if the store still has what that imported last.
func (i *importer) load(m *Manifest, sum string) error {
	fresh := state{Manifest: sum, Target: i.o.Target}
	i.state = fresh
	if i.o.State == "" {
		return nil
	}
	if i.out.Unsaved = i.lockState(); i.out.Unsaved != nil {
		return nil
	}
	content, err := os.ReadFile(i.o.State)
	if err != nil {
		return nil // there was no import, or it is not known: it begins anew
	}
	var s state
	if json.Unmarshal(content, &s) != nil || s.Manifest != sum || s.Target != i.o.Target ||
		s.File < 0 || s.File > len(m.Files) || s.Lines < 0 || s.File < len(m.Files) && s.Lines > m.Files[s.File].Lines {
		return nil
	}
	if s.Last != (fhir.Key{}) {
		there, err := i.has(s.Last)
		if err != nil || !there {
			return err
		}
	}
	i.state = s
	return nil
}

// lockState keeps other imports from remembering in the same file.
func (i *importer) lockState() (err error) {
	directory, name := filepath.Split(i.o.State)
	if i.place, err = os.OpenRoot(cmp.Or(directory, ".")); err != nil {
		return err
	}
	i.lock, err = takeLock(i.place, name+".lock")
	switch {
	case errors.Is(err, errLocked):
		return fmt.Errorf("another import from the same directory is remembered in %s now", i.o.State)
	case errors.Is(err, errNoLocks):
		return nil
	}
	return err
}

// forget lets go of the State, however the import ended.
func (i *importer) forget() error {
	if i.place == nil {
		return nil
	}
	return errors.Join(i.lock.release(), i.place.Close())
}

// has reports whether the store has a version.
func (i *importer) has(key fhir.Key) (there bool, err error) {
	all, ok := i.to.(store.Store)
	if !ok {
		return false, nil
	}
	_, err = all.Read(i.ctx, key)
	switch {
	case err == nil, errors.Is(err, store.ErrGone):
		return true, nil
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	}
	return false, err
}

// save writes the state. That it cannot be written is no reason not to import.
func (i *importer) save() {
	i.since = 0
	if i.o.State == "" || i.out.Unsaved != nil {
		return
	}
	content, err := json.Marshal(&i.state)
	if err == nil {
		err = os.WriteFile(i.o.State+temporary, content, 0o600)
	}
	if err == nil {
		err = os.Rename(i.o.State+temporary, i.o.State)
	}
	i.out.Unsaved = err
}

// file imports a file, from where it was broken off.
func (i *importer) file(f *File) (err error) {
	r, err := openReader(i.root, *f, i.out.Manifest.Compression)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := r.skip(i.state.Lines); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	i.out.Resumed += i.state.Lines
	i.done += r.got.Plain
	if f.Shelf != "" {
		return i.entries(r)
	}
	return i.versions(r)
}

// entries imports a shelf of the journal.
func (i *importer) entries(r *reader) error {
	for {
		id, entry, err := r.entry()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		old, err := i.journal.Fetch(i.ctx, r.file.Shelf, id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			if err := i.journal.Keep(i.ctx, r.file.Shelf, id, entry); err != nil {
				return err
			}
			i.state.Entries++
		case err != nil:
			return err
		case !bytes.Equal(old, entry):
			return &Fault{File: r.file.Name, Line: r.got.Lines, What: "the journal of the store has another entry of this id", Fix: "import into a store that has nothing, or only what is in the export"}
		}
		i.state.Lines = r.got.Lines
		if i.since += len(entry); i.since >= i.o.step {
			i.save()
		}
	}
}

// batch is what is imported at once: lines of one file that follow each other.
type batch struct {
	versions []fhir.Resource
	end      int64 // the number of the last line
	bytes    int
	err      error // why there are no more
}

// versions imports a file of resources: one goroutine reads and checks, another imports.
func (i *importer) versions(r *reader) error {
	stop := make(chan struct{})
	batches := make(chan batch)
	go func() {
		defer close(batches)
		for {
			b := i.read(r)
			select {
			case batches <- b:
			case <-stop:
				return
			}
			if b.err != nil {
				return
			}
		}
	}()
	defer func() {
		close(stop)
		for range batches { // the reader is not to be closed before it has ended
		}
	}()
	for b := range batches {
		if b.err != nil && !errors.Is(b.err, io.EOF) {
			return b.err
		}
		if err := i.add(&r.file, b); err != nil {
			return err
		}
	}
	return nil
}

func (i *importer) read(r *reader) batch {
	const most = 4096
	var b batch
	for b.err == nil && b.bytes < i.o.batch && len(b.versions) < most {
		var v fhir.Resource
		if v, _, b.err = r.version(parseVersion); b.err == nil {
			b.versions = append(b.versions, v)
			b.bytes += len(v.JSON)
		}
	}
	b.end = r.got.Lines
	return b
}

func (i *importer) add(f *File, b batch) error {
	if len(b.versions) == 0 {
		return nil
	}
	added, err := i.to.Import(i.ctx, b.versions)
	i.state.Added += int64(added)
	if err != nil {
		return i.refused(f, b, err)
	}
	i.state.Lines, i.state.Last = b.end, b.versions[len(b.versions)-1].Key
	i.done += int64(b.bytes)
	i.o.Progress(Importing, i.done, i.out.Manifest.Resources().Plain)
	if i.since += b.bytes; i.since >= i.o.step {
		i.save()
	}
	return nil
}

// refused says at which lines the store refused to import.
func (i *importer) refused(f *File, b batch, err error) error {
	first := b.end - int64(len(b.versions)) + 1
	conflict, ok := errors.AsType[*store.ConflictError](err)
	if !ok {
		return fmt.Errorf("%s: lines %d to %d: %w", f.Name, first, b.end, err)
	}
	fault := &Fault{File: f.Name, Line: first, What: "the store has this version with other content", Fix: "import into a store that has nothing, or only what is in the export", cause: conflict}
	for n := range b.versions {
		if b.versions[n].Key == conflict.Key {
			fault.Line += int64(n)
		}
	}
	return fault
}

// compare reads the export and the store side by side: all that the export has must be there.
func (i *importer) compare(m *Manifest) error {
	next, stop := iter.Pull2(exported(i.root, m))
	defer stop()
	var line []byte
	var done int64
	want, err, more := next()
	if err == nil && more {
		err = i.to.Export(i.ctx, fhir.Key{}, func(v fhir.Resource) (err error) {
			if !more || before(v.Key, want.Key) {
				return nil // it was there before, or is written meanwhile
			}
			if v.Key != want.Key {
				return want.missing()
			}
			if line, err = appendVersion(line[:0], v); err != nil {
				return err
			}
			if !bytes.Equal(line, want.line) {
				return &Fault{File: want.file, Line: want.number, What: "the store does not give this version back as it is here"}
			}
			i.out.Equal++
			done += int64(len(line)) + 1
			i.o.Progress(Comparing, done, m.Resources().Plain)
			want, err, more = next()
			return err
		})
	}
	if err != nil {
		return err
	}
	if more {
		return want.missing()
	}
	return nil
}

// place is a version in an export.
type place struct {
	fhir.Key
	file   string
	number int64
	line   []byte
}

func (p *place) missing() error {
	return &Fault{File: p.file, Line: p.number, What: "the store does not have this version after the import", Fix: "import again"}
}

// exported are the versions of an export in their order. The line is valid until the next one.
func exported(root *os.Root, m *Manifest) iter.Seq2[place, error] {
	return func(yield func(place, error) bool) {
		for n := range m.Files {
			if f := m.Files[n]; f.Type != "" && !exportedFile(root, f, m.Compression, yield) {
				return
			}
		}
	}
}

func exportedFile(root *os.Root, f File, c Compression, yield func(place, error) bool) bool {
	r, err := openReader(root, f, c)
	if err != nil {
		return yield(place{}, err)
	}
	for {
		v, line, err := r.version(head)
		if errors.Is(err, io.EOF) {
			break
		}
		if !yield(place{v.Key, f.Name, r.got.Lines, line}, err) || err != nil {
			_ = r.Close() // it was only read
			return false
		}
	}
	if err := r.Close(); err != nil {
		return yield(place{}, err)
	}
	return true
}
