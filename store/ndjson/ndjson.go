// Package ndjson keeps all that a store has in a directory of plain files, and puts it back
// into a store of whatever kind: every version of every resource, deletions among them, and the
// journal. Nothing but a line reader is needed to read it in twenty years.
//
// # The directory
//
//	manifest.json          what is there; it is written last, and an export without it is not complete
//	Device.ndjson          the versions of all Devices, one a line; likewise for every other type
//	Observation.ndjson
//	journal-inbox.ndjson   the entries of a shelf of the journal, one a line
//	incomplete.json        while an export is being written: how far it is
//	export.lock            while an export is being written: it is locked, so that no other one is
//
// Compressed files are called Observation.ndjson.zst (https://www.rfc-editor.org/rfc/rfc8878)
// or Observation.ndjson.gz; each is a row of frames that end where a line ends, and zstd -d or
// gzip -d makes the plain file of it.
//
// # The lines
//
// A line is one version as the store keeps it, byte for byte: compact JSON that begins with
// resourceType, id, meta.versionId and meta.lastUpdated, in that order (fhir.Stamp). A deletion is
// a Bundle of type history without an id whose one entry tells of it as a history of FHIR does
// (http://hl7.org/fhir/R4/http.html#history); it stands in the file of its type:
//
//	{"resourceType":"Bundle","type":"history","entry":[{"request":{"method":"DELETE","url":"Device/7"},
//	 "response":{"status":"204","etag":"W/\"3\"","lastModified":"2026-05-01T12:00:00.000Z"}}]}
//
// (in one line). Lines are in the order of id, by its bytes, and of the version's number. A line
// of the journal is {"id":"…","entry":"…"}, the entry in base64, in the order of id. Every
// line ends in a line feed, the last one, too.
//
// # The manifest
//
// For each file: its name, the type of resource or the shelf, how many lines it has, of how many
// resources, how many of them have content (versions) and how many are deletions, its size as
// it is and uncompressed, and its SHA-256 as sha256sum computes it. It holds no time and no
// place: what is the same gives the same export, byte for byte.
package ndjson

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/kiln-health/kiln/fhir"
)

// Names in the directory.
const (
	manifestName   = "manifest.json"
	incompleteName = "incomplete.json"
	lockName       = "export.lock"
	temporary      = ".tmp" // the end of the name of what will replace one of those
	extension      = ".ndjson"
	journalPrefix  = "journal-"
)

// Format is the version of the format that this package writes, and the newest that it reads.
const Format = 1

// MaxLine is how many bytes a line has at most. The largest resource that the server takes
// and the largest entry of a journal fit.
const MaxLine = 320 << 20

// Limits of a manifest.
const (
	maxManifest = 16 << 20 // bytes
	maxFiles    = 4096
)

// Manifest tells what an export holds.
type Manifest struct {
	Format      int         `json:"format"`
	Compression Compression `json:"compression"`
	Files       []File      `json:"files"`
}

// File is one file of an export.
type File struct {
	Name string `json:"name"`
	// Type is the type of its resources; Shelf is the shelf of the journal. One of them is "".
	Type  string `json:"type,omitempty"`
	Shelf string `json:"shelf,omitempty"`
	Counts
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Counts are what is counted of a file, or of several.
type Counts struct {
	Lines     int64 `json:"lines"`
	Resources int64 `json:"resources"` // different ids; 0 of a journal, like Versions and Deletions
	Versions  int64 `json:"versions"`  // lines with content
	Deletions int64 `json:"deletions"`
	Plain     int64 `json:"uncompressedBytes"`
}

func (c *Counts) add(d Counts) {
	c.Lines += d.Lines
	c.Resources += d.Resources
	c.Versions += d.Versions
	c.Deletions += d.Deletions
	c.Plain += d.Plain
}

// Resources are the counts of all files of resources, and Entries those of the journal.
func (m *Manifest) Resources() Counts { return m.count(func(f *File) bool { return f.Type != "" }) }

// Entries are the counts of all files of the journal: Lines is the number of entries.
func (m *Manifest) Entries() Counts { return m.count(func(f *File) bool { return f.Shelf != "" }) }

func (m *Manifest) count(which func(*File) bool) Counts {
	var all Counts
	for i := range m.Files {
		if which(&m.Files[i]) {
			all.add(m.Files[i].Counts)
		}
	}
	return all
}

// Bytes is the size of all files.
func (m *Manifest) Bytes() int64 {
	var n int64
	for i := range m.Files {
		n += m.Files[i].Bytes
	}
	return n
}

// Fault is what is wrong with an export, and where. It never has content of a line.
type Fault struct {
	File string // "" if it is the directory as a whole
	Line int64  // from 1; 0 if it is the file as a whole
	What string
	Fix  string

	cause error
}

func (f *Fault) Error() string {
	text := f.What
	switch {
	case f.Line > 0:
		text = fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.What)
	case f.File != "":
		text = f.File + ": " + f.What
	}
	if f.Fix != "" {
		text += "; fix: " + f.Fix
	}
	return text
}

// Unwrap is what the store said, or nil.
func (f *Fault) Unwrap() error { return f.cause }

const (
	fixDamaged = "the export is damaged: make another, or get the file from where it was made"
	fixForeign = "choose another directory, or one that does not exist"
)

var shelfPattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)

// fileName is the name of a file of resources or, if resourceType is "", of a shelf.
func fileName(resourceType, shelf string, c Compression) string {
	if resourceType == "" {
		return journalPrefix + shelf + extension + c.extension()
	}
	return resourceType + extension + c.extension()
}

// isFileName reports whether an export may have a file of that name.
func isFileName(name string) bool {
	base, ok := strings.CutSuffix(name, extension)
	for _, c := range compressions {
		if cut, is := strings.CutSuffix(name, extension+c.extension()); is {
			base, ok = cut, true
		}
	}
	shelf, journal := strings.CutPrefix(base, journalPrefix)
	return ok && (fhir.ValidType(base) || journal && shelfPattern.MatchString(shelf))
}

// check refuses a manifest that this program did not write.
func (m *Manifest) check() error {
	switch {
	case m.Format > Format:
		return &Fault{File: manifestName, What: fmt.Sprintf("the export has format %d, and this program reads up to %d", m.Format, Format), Fix: "use the program that wrote it, or a newer one"}
	case m.Format < 1:
		return &Fault{File: manifestName, What: "it does not tell the format of the export"}
	case !slices.Contains(compressions, m.Compression):
		return &Fault{File: manifestName, What: "the compression is not known", Fix: "it is one of none, gzip and zstd"}
	case len(m.Files) > maxFiles:
		return &Fault{File: manifestName, What: fmt.Sprintf("more than %d files", maxFiles)}
	}
	seen := map[string]bool{}
	last := ""
	for i := range m.Files {
		f := &m.Files[i]
		var wrong error
		switch {
		case f.Type != "" && (f.Shelf != "" || !fhir.ValidType(f.Type)), f.Type == "" && !shelfPattern.MatchString(f.Shelf):
			wrong = errors.New("neither the type of a resource nor a shelf")
		case f.Name != fileName(f.Type, f.Shelf, m.Compression):
			wrong = errors.New("the name of the file is not that of its type")
		case seen[f.Name]:
			wrong = errors.New("the file is there twice")
		case f.Type != "" && f.Type < last:
			wrong = errors.New("the types are not in their order")
		case f.Lines < 0 || f.Bytes < 0 || f.Plain < 0 || f.Resources < 0 || f.Versions < 0 || f.Deletions < 0:
			wrong = errors.New("a number is negative")
		case f.Type != "" && f.Lines != f.Versions+f.Deletions:
			wrong = errors.New("the numbers of lines, versions and deletions contradict each other")
		}
		if wrong != nil {
			return &Fault{File: manifestName, What: fmt.Sprintf("files[%d]: %v", i, wrong), Fix: fixDamaged}
		}
		seen[f.Name] = true
		last = cmp.Or(f.Type, last)
	}
	return nil
}
