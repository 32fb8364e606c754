package ndjson

import (
	"bufio"
	"context"
	"crypto/sha256"
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
)

var (
	errCut  = errors.New("the last line is cut off")
	errLong = fmt.Errorf("the line has more than %d bytes", MaxLine)
)

// lines reads lines that end in a line feed, of limit bytes at most.
type lines struct {
	r     *bufio.Reader
	limit int
	long  []byte
}

// next is the next line without its end, valid until the one after it. io.EOF is the end.
func (l *lines) next() ([]byte, error) {
	l.long = l.long[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		if len(l.long)+len(part) > l.limit {
			return nil, errLong
		}
		switch {
		case err == nil && len(l.long) == 0:
			return part[:len(part)-1], nil
		case err == nil:
			l.long = append(l.long, part...)
			return l.long[:len(l.long)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
			l.long = append(l.long, part...)
		case errors.Is(err, io.EOF) && len(l.long)+len(part) > 0:
			return nil, errCut
		default:
			return nil, err
		}
	}
}

// reader reads one file of an export, and holds it against the manifest.
type reader struct {
	file  File
	close []func() error
	raw   io.Reader
	lines lines
	sum   hash.Hash
	bytes int64
	got   Counts
	last  fhir.Key // of the journal: the ID of the entry
}

// Write counts and sums what is read of the file.
func (r *reader) Write(p []byte) (int, error) {
	r.bytes += int64(len(p))
	return r.sum.Write(p)
}

func openReader(root *os.Root, f File, c Compression) (*reader, error) {
	opened, err := root.Open(f.Name)
	if err != nil {
		return nil, err
	}
	r := &reader{file: f, sum: sha256.New(), close: []func() error{opened.Close}}
	r.raw = io.TeeReader(opened, r)
	plain, err := decoder(r.raw, c)
	if err != nil {
		return nil, errors.Join(r.fault("it cannot be decompressed: "+err.Error()), opened.Close())
	}
	r.close = append(r.close, plain.Close)
	r.lines = lines{r: bufio.NewReaderSize(plain, 256<<10), limit: MaxLine}
	return r, nil
}

func (r *reader) Close() error {
	var errs []error
	for _, c := range slices.Backward(r.close) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

func (r *reader) fault(what string) error {
	return &Fault{File: r.file.Name, Line: r.got.Lines, What: what, Fix: fixDamaged}
}

// line is the next line, and io.EOF after the last if everything is as the manifest says.
func (r *reader) line() ([]byte, error) {
	line, err := r.lines.next()
	switch {
	case err == nil && r.got.Lines == r.file.Lines:
		return nil, r.fault("more lines than the manifest says")
	case err == nil:
		r.got.Lines++
		r.got.Plain += int64(len(line)) + 1
		return line, nil
	case errors.Is(err, io.EOF):
		return nil, r.end()
	}
	r.got.Lines++
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, fmt.Errorf("%s: %w", r.file.Name, err)
	}
	return nil, r.fault(err.Error())
}

// end is io.EOF if the file is what the manifest says.
func (r *reader) end() error {
	if _, err := io.Copy(io.Discard, r.raw); err != nil {
		return fmt.Errorf("%s: %w", r.file.Name, err)
	}
	if r.bytes != r.file.Bytes || hex.EncodeToString(r.sum.Sum(nil)) != r.file.SHA256 {
		return errSum(&r.file)
	}
	if r.got != r.file.Counts {
		return &Fault{File: r.file.Name, What: "the numbers of lines, resources, versions and deletions are not those of the manifest", Fix: fixDamaged}
	}
	return io.EOF
}

func errSum(f *File) error {
	return &Fault{File: f.Name, What: "the file is not the one that was exported: its SHA-256 is another", Fix: fixDamaged}
}

// version reads the next line of a file of resources, all of it or its head alone.
func (r *reader) version(parse func([]byte) (fhir.Resource, error)) (fhir.Resource, []byte, error) {
	line, err := r.line()
	if err != nil {
		return fhir.Resource{}, nil, err
	}
	v, err := parse(line)
	if err != nil {
		return fhir.Resource{}, nil, r.fault(err.Error())
	}
	if v.Type != r.file.Type {
		return fhir.Resource{}, nil, r.fault("the resource is of another type than the file")
	}
	if !before(r.last, v.Key) {
		return fhir.Resource{}, nil, r.fault("the line is not in the order of id and version")
	}
	if v.ID != r.last.ID {
		r.got.Resources++
	}
	if v.Deleted {
		r.got.Deletions++
	} else {
		r.got.Versions++
	}
	r.last = v.Key
	return v, line, nil
}

// entry reads the next line of a file of the journal.
func (r *reader) entry() (id string, entry []byte, err error) {
	line, err := r.line()
	if err != nil {
		return "", nil, err
	}
	if id, entry, err = parseEntry(line); err != nil {
		return "", nil, r.fault(err.Error())
	}
	if id <= r.last.ID {
		return "", nil, r.fault("the line is not in the order of id")
	}
	r.last.ID = id
	return id, entry, nil
}

// skip passes over n lines that were read before.
func (r *reader) skip(n int64) error {
	for range n {
		var err error
		if r.file.Shelf != "" {
			_, _, err = r.entry()
		} else {
			_, _, err = r.version(head)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Read is the manifest of the export in dir, if that is complete: all files are there, and
// no others. Their content is not looked at. What is wrong is a *Fault.
func Read(dir string) (*Manifest, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	m, _, err := readManifest(root)
	return m, err
}

// readManifest is the manifest, and the SHA-256 of it.
func readManifest(root *os.Root) (*Manifest, string, error) {
	content, err := readSmall(root, manifestName)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := root.Stat(incompleteName); err == nil {
			return nil, "", &Fault{What: "the export is not complete", Fix: "run the export into this directory again: it goes on where it was"}
		}
		return nil, "", &Fault{What: "there is no " + manifestName + ": this is no export", Fix: "name the directory that `kiln export` wrote"}
	}
	if err != nil {
		return nil, "", err
	}
	var m Manifest
	if err := json.Unmarshal(content, &m); err != nil {
		return nil, "", &Fault{File: manifestName, What: "it is not the manifest of an export", Fix: fixDamaged}
	}
	if err := m.check(); err != nil {
		return nil, "", err
	}
	if err := m.checkDirectory(root); err != nil {
		return nil, "", err
	}
	return &m, fmt.Sprintf("%x", sha256.Sum256(content)), nil
}

// checkDirectory refuses a directory that does not hold what the manifest lists, or more.
func (m *Manifest) checkDirectory(root *os.Root) error {
	listed := map[string]*File{}
	for i := range m.Files {
		listed[m.Files[i].Name] = &m.Files[i]
	}
	names, err := list(root)
	if err != nil {
		return err
	}
	for _, name := range names {
		switch f := listed[name]; {
		case name == manifestName, name == incompleteName, name == incompleteName+temporary, name == lockName:
		case f == nil:
			return &Fault{File: name, What: "the manifest does not list this file", Fix: "take it away if it does not belong to the export"}
		default:
			info, err := root.Lstat(name)
			if err != nil {
				return err
			}
			if !info.Mode().IsRegular() || info.Size() != f.Bytes {
				return &Fault{File: name, What: fmt.Sprintf("it is not a file of %d bytes, as the manifest says", f.Bytes), Fix: fixDamaged}
			}
			delete(listed, name)
		}
	}
	for i := range m.Files {
		if f := m.Files[i].Name; listed[f] != nil {
			return &Fault{File: f, What: "the file is missing", Fix: fixDamaged}
		}
	}
	return nil
}

// list names what is in a directory that may be an export.
func list(root *os.Root) ([]string, error) {
	d, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(maxFiles + 16)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err := errors.Join(err, d.Close()); err != nil {
		return nil, err
	}
	if len(names) == maxFiles+16 {
		return nil, &Fault{What: fmt.Sprintf("the directory has more than %d files", maxFiles), Fix: fixForeign}
	}
	slices.Sort(names)
	return names, nil
}

// readSmall reads a file that may not have more bytes than a manifest.
func readSmall(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(content) > maxManifest {
		return nil, &Fault{File: name, What: fmt.Sprintf("more than %d bytes", maxManifest), Fix: fixDamaged}
	}
	return content, nil
}

// sum is the SHA-256 of a file, of which done is told how much was read.
func sum(ctx context.Context, root *os.Root, name string, done func(int64)) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	buffer := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := f.Read(buffer)
		h.Write(buffer[:n])
		done(int64(n))
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
}
