// Package embedded is the store that needs no server: a directory of files, kept by
// Pebble. One process at a time may have it open.
//
// # Keys
//
// The first byte says what a key is for. Names (of types and parameters) end in a zero
// byte, ids are the end of the key, or end in one, too; text is escaped so that it ends where it
// ends; numbers of series have 8 bytes; ^ marks what is inverted so that the newest comes first.
//
//	c type id                            the current version, or where it lies, or the note that it is deleted
//	r series ^date id                    the current version of a resource in a series
//	p series ^date id                    the same without its JSON, to count
//	k series                             type and definition of a series
//	l type patient series                the definition again: the series of a patient; 0 if others refer to the patient
//	h type id ^version                   an earlier version
//	n type                               how many current resources there are
//	u type ^lastUpdated id               current resources by time of change
//	v type ^lastUpdated id ^version      all other versions: the earlier ones, and deletions
//	d type param span ^date id           current resources by date
//	e type param text text span ^date id current resources by a token or a reference
//	q type param code span number id     current resources by a quantity or a number
//	s type param text id                 current resources by the beginning of a text
//	j shelf id                           an entry of the journal
//	m name                               about the store itself
//
// All keys of one write are one Pebble batch.
//
// # Series
//
// What refers to one patient lies in the order of series and date: a series is all resources of
// a type with the same patient, categories and codes, and has a number (series.go, numbers.go).
// A page of a patient and a code, with dates or without, is a few neighbours; of several codes,
// or of all, as many ranges side by side. Whatever a query asks of
// the patient, the categories and the codes, the definition decides for all of a series.
// Everything else lies under its c key.
//
// # Dates
//
// Every e key carries the date of the resource, so that a search for one token or one
// reference finds the newest first without sorting. The date is search.SortDate, with
// nanoseconds. Its span is 0 if all dates of the resource lie within a day of it, else
// 1: a search by range looks one day further for the former and everywhere for the
// latter. All of a series have the same span. The value of a d or e key is the length of the
// date, if there is one date or none, and the series: with the date of the key it says what
// the definition and the date decide without reading the resource, and where that lies.
//
// # Generations
//
// The keys d, e, q and s depend on the search parameters. While a Reindex runs there are two
// generations of them, of which one has capital letters. The series do not depend on them, but
// for the zone of dates that have none.
//
// # Which parameters propose
//
// Index keys propose; whether a resource matches is for search.Query.Matches to say. It is not
// asked again where a clause asks for nothing but what an e key says, and it is asked of the
// date in a key, or of the definition of a series, where these tell all that the clause asks for.
//
//   - Patients by their series, with the codes and categories. Of types without date, and of what
//     refers to several patients, by reference.
//   - Tokens, with :in and without a code, too, if the parameter has few different values;
//     :of-type. References in all their forms, :identifier, chains and _has that lead through
//     few resources. Compartments, as far as their parameters do.
//   - Dates by range. Numbers by range; quantities in each unit that converts.
//   - Strings by their beginning, and :exact; with :contains all texts of the parameter are
//     read, no resources. URIs, :below and :above. Of a text the key has 128 bytes.
//   - Composites by one of their parts, a token or a reference.
//
// :not, :not-in, :missing and :text do not, nor do _profile and _source, and the values that
// nearly all Observations have: status final, category vital-signs. They are tested on what the
// other conditions propose or, if there are none, on all resources in the order of the query.
//
// A value has one key, though several parameters may have it: subject is looked for under
// patient, combo-code under code, name under family, and so on.
//
// The order is that of an index for date, _lastUpdated and _id; for other parameters all
// candidates are read, and never more than a page is kept.
//
// # What is durable, and what is seen
//
// Writes are grouped: whoever comes first commits for all who wait, with one fsync. While a group
// waits for it the next one is applied, and is neither acknowledged nor seen before it is on disk,
// too. Reads and searches see the state after the last finished fsync, never one that a power failure
// could take back. Pages that follow one of a search are of the same state as that one, as long
// as it is kept (kept.go). Memory on top of Options.CacheBytes: 64 MiB, up to 32 MiB for the
// numbers of series, and the page at hand.
//
// # When the disk fails
//
// A write that may not find room is refused before it begins, see Options.ReserveBytes. If
// the log cannot be written or synced, nobody gets an acknowledgement, all later writes
// are refused with the cause, Check tells it, and reads go on with what was there before.
// If the manifest cannot be written, Options.Fatal ends the process; if a new log cannot,
// Pebble does. In each case Open finds everything that was acknowledged, and of the rest
// whole writes or nothing.
package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/claim"
)

// Options of Open. Nil is all defaults.
type Options struct {
	// Now is the clock of lastUpdated. The default is time.Now.
	Now func() time.Time
	// FS is where the files are: vfs.NewMem() for tests. The default is the disk.
	FS vfs.FS
	// Logger is told of slow disks, failed compactions and the like: never of patient
	// data. The default says nothing.
	Logger *slog.Logger
	// Parameters are the search parameters that resources are indexed by: search.R4() by
	// default. With others than last time the store is indexed anew when it is opened.
	Parameters *search.Parameters
	// Load, if it is set, gives the parameters instead. It is called by Open with the
	// SearchParameter resources of the store, so that a server that keeps its own there need not
	// index anew at every start.
	Load func(stored iter.Seq2[fhir.Resource, error]) (*search.Parameters, error)
	// Existing is for who expects a store in the directory: Open makes none there.
	Existing bool
	// CacheBytes is how much memory holds blocks that were read, besides the 64 MiB for
	// what was written last. The default is 128 MiB.
	CacheBytes int64
	// ReserveBytes must be free on the disk, or writes are refused before they fail half
	// way. The default is 256 MiB.
	ReserveBytes int64
	// Fatal is called, from any goroutine, when the database can neither go on nor go
	// back: its manifest could not be written. It must not return. What was
	// acknowledged is safe and is there after a restart. The default panics.
	Fatal func(error)
}

// Store is the embedded store. Its methods may be called from any number of goroutines.
type Store struct {
	dir      string
	opened   *search.Parameters // those of Open
	db       *pebble.DB
	lock     *pebble.Lock
	fs       vfs.FS
	now      func() time.Time
	log      *logger
	reserve  int64
	locks    *locks // of resources
	claims   claim.Claims
	numbers  *numbers  // of series
	edits    sync.Pool // of *edit, for their memory
	watchers watchers
	gate     store.Gate

	// indexing is held for reading by every write, and for writing to change what writes
	// index: the parameters, the generation of the keys, and what a Reindex builds. launch reads
	// params and generation within a write.
	indexing   sync.RWMutex
	params     *parameters
	generation generation
	building   *building // nil if there is no Reindex

	queue queue
	// What follows is for who has the turn.
	launched map[string]int64 // current resources by type, as applied
	flying   int              // writes in the group that was launched last
	// landing is held by whoever brings a group to the disk and into sight, and waited for by who
	// has the turn.
	landing chan struct{}

	broken atomic.Pointer[failure]
	// wedged: Pebble panicked while it held a lock, and would not come back from Close.
	wedged atomic.Bool
	// outdated: the store is only looked at, and its index is not the one that Open would make.
	outdated bool
	backup   sync.Mutex // held by a Backup

	// limits are what tests make small.
	limits limits

	viewMu sync.Mutex
	view   *view
	kept   keptViews
	counts map[string]int64 // current resources by type, as view has them
	groups atomic.Int64
	writes atomic.Int64
}

// limits of one call.
type limits struct {
	// pageBytes is where a page ends early: it is shorter than asked, and Next leads on.
	pageBytes int
	// tries, and triesEach for every resource of the page, are read in the order of the query
	// before an index that is not selective gives all candidates in another order.
	tries, triesEach int

	ranges   int // of a plan: two for each value, of short and of long dates
	systems  int // of one code, or types of one id, that are tried one by one
	merged   int // series that are read side by side, in order
	series   int // that are read at all
	codes    int // of the units of one parameter
	distinct int // values of one parameter that are compared one by one
	linked   int // resources at the end of a link that are looked for one by one
	ids      int // resources that are rather read one by one than all
	seen     int // candidates that may come twice and are remembered, to count them once
}

func defaultLimits() limits {
	return limits{
		pageBytes: 32 << 20, tries: 100, triesEach: 10,
		ranges: 1024, systems: 32, merged: 256, series: 20_000, codes: 64, distinct: 256, linked: 256, ids: 4096, seen: 200_000,
	}
}

var (
	_ store.Store     = (*Store)(nil)
	_ store.Journal   = (*Store)(nil)
	_ store.Explainer = (*Store)(nil)
	_ store.Reindexer = (*Store)(nil)
)

// What the keys mean. A store with another format is not opened; with another index it
// is indexed anew. Raise indexVersion when index keys change.
const (
	format       = 2 // 1 had all resources under their c keys
	indexVersion = 4
)

var (
	formatKey = []byte{metaKey, 'f', 'o', 'r', 'm', 'a', 't'}
	indexKey  = []byte{metaKey, 'i', 'n', 'd', 'e', 'x'}
)

// ErrInUse is the error of Open where another process has the store.
var ErrInUse = errors.New("another process has the store open")

// Open opens the store in dir, which is created if absent. It is an error if another
// process has it open, if dir holds something else, or if a newer program wrote it.
func Open(dir string, opt *Options) (*Store, error) {
	s, err := open(dir, opt)
	if err != nil {
		return nil, fmt.Errorf("embedded: open %s: %w", dir, err)
	}
	return s, nil
}

func open(dir string, opt *Options) (*Store, error) {
	o := opt.complete()
	if o.Existing {
		if err := checkStore(dir, o.FS); err != nil {
			return nil, err
		}
	}
	if err := o.FS.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory: %w", err)
	}
	if err := checkDirectory(dir, o.FS); err != nil {
		return nil, err
	}
	lock, err := pebble.LockDirectory(dir, o.FS)
	if err != nil {
		return nil, fmt.Errorf("%w: stop it, or choose another directory (%w)", ErrInUse, err)
	}
	s := newStore(dir, &o, lock)
	s.db, err = pebble.Open(dir, pebbleOptions(&o, lock, s.log))
	if err == nil {
		err = s.log.opened()
		if err == nil {
			err = s.begin(o.Load)
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

// complete is a copy of the options with the defaults.
func (o *Options) complete() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Parameters == nil {
		c.Parameters = search.R4()
	}
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.CacheBytes <= 0 {
		c.CacheBytes = 128 << 20
	}
	if c.ReserveBytes <= 0 {
		c.ReserveBytes = 256 << 20
	}
	return c
}

// newStore is a store whose database is not open yet.
func newStore(dir string, o *Options, lock *pebble.Lock) *Store {
	return &Store{
		dir: dir, opened: o.Parameters, params: newParameters(o.Parameters), lock: lock, fs: o.FS, now: o.Now, reserve: o.ReserveBytes,
		log:      &logger{log: o.Logger, fatal: o.Fatal},
		locks:    newLocks(),
		landing:  make(chan struct{}, 1),
		queue:    queue{added: make(chan struct{}, 1)},
		counts:   map[string]int64{},
		limits:   defaultLimits(),
		watchers: watchers{versions: watchVersions, bytes: watchBytes},
	}
}

// begin checks and completes what the store says about itself, and takes the first view.
func (s *Store) begin(load func(iter.Seq2[fhir.Resource, error]) (*search.Parameters, error)) error {
	if err := s.checkFormat(); err != nil {
		return err
	}
	next, err := nextNumber(s.db)
	if err != nil {
		return err
	}
	s.numbers = newNumbers(next)
	if load != nil {
		p, err := load(s.stored("SearchParameter"))
		if err != nil {
			return fmt.Errorf("search parameters: %w", err)
		}
		s.opened, s.params = p, newParameters(p)
	}
	if err := s.checkIndex(); err != nil {
		return err
	}
	if err := s.loadCounts(); err != nil {
		return err
	}
	s.kept = newKeptViews()
	s.view = s.newView()
	return nil
}

func (s *Store) checkFormat() error {
	value, err := s.value(formatKey)
	if err != nil {
		return err
	}
	if value == nil {
		// A crash while the store was made may leave an empty database; anything in it is not ours.
		if empty, err := s.empty(); err != nil {
			return err
		} else if !empty {
			return errors.New("the directory holds a database that is not a Kiln store: choose another directory")
		}
		return s.db.Set(formatKey, strconv.AppendInt(nil, format, 10), pebble.Sync)
	}
	switch n, err := strconv.Atoi(string(value)); {
	case err != nil:
		return errors.New("the directory holds a database that is not a Kiln store: choose another directory")
	case n > format:
		return fmt.Errorf("the store has format %d, and this program knows only up to %d: use the newer program that wrote it", n, format)
	case n < format: // checkIndex converts it; from here on older programs refuse it
		s.log.record(slog.LevelInfo, "embedded: the store is converted to a newer format, which older programs cannot open")
		return s.db.Set(formatKey, strconv.AppendInt(nil, format, 10), pebble.Sync)
	}
	return nil
}

func (s *Store) empty() (bool, error) {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return false, err
	}
	found := it.First()
	return !found, errors.Join(it.Error(), it.Close())
}

// value is a copy of the value of a key, nil if there is none.
func (s *Store) value(key []byte) ([]byte, error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	value = bytes.Clone(value)
	return value, closer.Close()
}

// checkDirectory refuses a directory that holds anything but a database, so that a
// mistyped path does not scatter files among others.
func checkDirectory(dir string, fs vfs.FS) error {
	if exists, err := hasDatabase(dir, fs); exists || err != nil {
		return err
	}
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !leftover(name) {
			return errors.New("the directory is not empty and holds no store: choose another directory")
		}
	}
	return nil
}

// hasDatabase reports whether there is a database of Pebble in a directory.
func hasDatabase(dir string, fs vfs.FS) (bool, error) {
	desc, err := pebble.Peek(dir, fs)
	if err != nil && strings.Contains(err.Error(), "unknown format major version") { // it has no name
		return false, fmt.Errorf("a newer program wrote the files of the database: use that one (%w)", err)
	}
	if err != nil {
		return false, err
	}
	return desc.Exists, nil
}

// leftover reports whether a file may be left by a store that was about to be made, or
// by the file system.
func leftover(name string) bool {
	switch {
	case name == "LOCK", name == "lost+found":
	case strings.HasPrefix(name, "marker."), strings.HasPrefix(name, "MANIFEST-"), strings.HasPrefix(name, "OPTIONS-"):
	case strings.HasSuffix(name, ".log"), strings.HasSuffix(name, ".dbtmp"):
	default:
		return false
	}
	return true
}

// memTableBytes is how much is written before it becomes a file. There may be two of them.
const memTableBytes = 32 << 20

func pebbleOptions(o *Options, lock *pebble.Lock, log *logger) *pebble.Options {
	// Keys hold identifiers of patients: errors must not print them. The name stays, it
	// is part of the files.
	comparer := *pebble.DefaultComparer
	comparer.FormatKey = hideKey
	p := &pebble.Options{
		FS:                    o.FS,
		Lock:                  lock,
		Comparer:              &comparer,
		Logger:                log,
		EventListener:         log.events(),
		CacheSize:             o.CacheBytes + 2*memTableBytes, // Pebble takes memtables out of it
		FormatMajorVersion:    pebble.FormatTableFormatV6,
		MemTableSize:          memTableBytes,
		L0CompactionThreshold: 4,
		L0StopWritesThreshold: 32,
		// What is flushed meets a level of this size before the last one, which holds nearly all: four
		// times as much would have it rewritten so often that a write takes a quarter more processor time.
		LBaseMaxBytes:              64 << 20,
		CompactionConcurrencyRange: func() (int, int) { return 1, 2 },
	}
	for i := range p.Levels {
		// A fresh id is looked for once before it is written: the filter says no without reading.
		p.Levels[i].FilterPolicy = filterPolicy{bloom.FilterPolicy(10)}
		// Of 32 KiB the files would be 4 % smaller, and reads that miss the cache a fifth slower.
		p.Levels[i].BlockSize = 16 << 10
	}
	p.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionBalanced })
	return p
}

// filterPolicy leaves index keys out of the filters, which have ten bits for each key: nobody
// looks for a single one.
type filterPolicy struct{ pebble.FilterPolicy }

func (p filterPolicy) NewWriter(ftype pebble.FilterType) pebble.FilterWriter {
	return filterWriter{p.FilterPolicy.NewWriter(ftype)}
}

type filterWriter struct{ pebble.FilterWriter }

func (w filterWriter) AddKey(key []byte) {
	if !isIndex(key) {
		w.FilterWriter.AddKey(key)
	}
}

// Close waits for running calls and releases the directory. A second Close does nothing.
func (s *Store) Close() error { return s.gate.Close(s.release) }

func (s *Store) release() error {
	s.watchers.close()
	if s.wedged.Load() {
		return fmt.Errorf("embedded: close: the database stopped before and holds the directory until the process ends: %w", s.failed())
	}
	err := s.view.snapshot.Close()
	for _, v := range s.kept.order {
		if v != s.view {
			err = errors.Join(err, v.snapshot.Close())
		}
	}
	err = errors.Join(err, s.db.Close(), s.lock.Close())
	if err != nil {
		return fmt.Errorf("embedded: close: %w", err)
	}
	return nil
}
