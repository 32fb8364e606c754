package embedded

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// Report is what Verify found.
type Report struct {
	Resources int64            `json:"resources"` // that are current
	ByType    map[string]int64 `json:"byType"`    // the same, by type
	Deleted   int64            `json:"deleted"`   // resources that are deleted
	Versions  int64            `json:"versions"`  // all of them, the current ones and deletions among them
	Keys      int64            `json:"indexKeys"` // of all indexes
	Entries   int64            `json:"journalEntries"`
	// Outdated: the index is one of another program or of other search parameters. It was not
	// compared; Open makes it anew.
	Outdated bool `json:"indexOutdated,omitempty"`
	// Unused keys are of a Reindex that is running or was broken off. No search reads them.
	Unused int64 `json:"unusedKeys,omitempty"`
	// Faults is empty if all is well. There are 100 at most, and More that are not listed.
	Faults []Fault `json:"faults"`
	More   int64   `json:"moreFaults,omitempty"`
}

// Fault is something that is wrong, as often as it was found. It names no resource, since an
// id may be that of a patient.
type Fault struct {
	What   string `json:"what"`
	Type   string `json:"type,omitempty"` // of the resources, "" if it is none of a resource
	Number int64  `json:"number"`
}

// String is the fault as a line for people.
func (f Fault) String() string {
	if f.Type == "" {
		return fmt.Sprintf("%d × %s", f.Number, f.What)
	}
	return fmt.Sprintf("%d × %s of %s", f.Number, f.What, f.Type)
}

// Err is nil if nothing is wrong, else what is, in one line.
func (r *Report) Err() error {
	if len(r.Faults) == 0 {
		return nil
	}
	var all []string
	for _, f := range r.Faults[:min(len(r.Faults), 5)] {
		all = append(all, f.String())
	}
	if more := int64(len(r.Faults)-len(all)) + r.More; more > 0 {
		all = append(all, fmt.Sprintf("and %d other faults", more))
	}
	return fmt.Errorf("the store has faults, restore it from a backup: %s", strings.Join(all, "; "))
}

// maxFaults is how many faults a report lists.
const maxFaults = 100

// What Verify tells of its progress.
const (
	VerifyingResources = "resources"
	VerifyingIndex     = "index keys"
)

// Verify walks all of the store, as it is at the call: that every version can be read, and its
// JSON is that of its type, id, version and time; that no version is missing; that the index has
// every key that it should have and no other, the history and the counts likewise; that there is
// nothing else. What is wrong is in the report: the error only says why it could not be told.
// It reads all of the store, with one processor and little memory, and lets writers be.
// progress, if it is not nil, is told from one goroutine what is being verified, how far it is, and
// how far it goes, which is an estimate.
func (s *Store) Verify(ctx context.Context, progress func(what string, done, total int64)) (Report, error) {
	if err := s.gate.Enter(); err != nil {
		return Report{}, err
	}
	defer s.gate.Leave()
	v := s.look()
	defer s.letGo(v)
	c := &check{
		view: v, progress: progress, outdated: s.outdated, seed: maphash.MakeSeed(),
		want: map[family]*tally{}, have: map[family]*tally{}, faults: map[Fault]int64{},
		keys: map[string]string{},
	}
	if c.progress == nil {
		c.progress = func(string, int64, int64) {}
	}
	err := c.all(ctx)
	if pebble.IsCorruptionError(err) {
		c.fault(damagedFiles(err), "", 1)
		err = nil
	}
	if err != nil {
		return Report{}, fmt.Errorf("embedded: verify: %w", err)
	}
	return c.done(), nil
}

// check is a Verify as it goes on.
//
// The keys that the resources should have and those that there are would not fit in memory, and to
// look for each one takes long. So both are counted and summed up, each as a number that only it
// has by chance, by kind and type. Where the sums differ, every key is looked for.
type check struct {
	view     *view
	progress func(what string, done, total int64)
	outdated bool
	seed     maphash.Seed
	report   Report
	faults   map[Fault]int64 // with Number 0

	want, have map[family]*tally
	counts     map[string]int64 // what the count keys say
	entries    int64            // of the directory of series
	keys       map[string]string
}

// family is what keys are compared by.
type family struct {
	kind byte
	of   string // resource type
}

// tally is a set of keys with their values: their number, and the sum of their hashes.
type tally struct {
	n   int64
	sum uint64
}

func (t *tally) add(seed maphash.Seed, key, value []byte) {
	var h maphash.Hash
	h.SetSeed(seed)
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(key)))
	_, _ = h.Write(n[:]) // it never fails
	_, _ = h.Write(key)
	_, _ = h.Write(value)
	t.n++
	t.sum += h.Sum64()
}

func tallyOf(m map[family]*tally, f family) *tally {
	t := m[f]
	if t == nil {
		t = &tally{}
		m[f] = t
	}
	return t
}

// fault counts what is wrong.
func (c *check) fault(what, of string, n int64) {
	f := Fault{What: what, Type: of}
	if of != "" && !fhir.ValidType(of) {
		f.Type = "a damaged type"
	}
	if _, listed := c.faults[f]; !listed && len(c.faults) >= maxFaults {
		c.report.More += n
		return
	}
	c.faults[f] += n
}

func (c *check) done() Report {
	r := c.report
	r.Faults = []Fault{}
	for f, n := range c.faults {
		f.Number = n
		r.Faults = append(r.Faults, f)
	}
	// What is lost comes first: an index can be made anew.
	slices.SortFunc(r.Faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(indexFault(a), indexFault(b)), cmp.Compare(a.Type, b.Type), cmp.Compare(a.What, b.What))
	})
	return r
}

// damagedFiles is the fault of a store that cannot be read to its end.
func damagedFiles(err error) string {
	first, _, _ := strings.Cut(err.Error(), "\n")
	return "damage of the files, because of which not all was looked at (" + first + ")"
}

// indexFault is 1 for a fault of an index, else 0.
func indexFault(f Fault) int {
	if strings.Contains(f.What, " index ") {
		return 1
	}
	return 0
}

func (c *check) all(ctx context.Context) error {
	if err := c.readCounts(); err != nil {
		return err
	}
	c.report.ByType = map[string]int64{}
	c.report.Outdated = c.outdated
	err := c.eachResource(ctx, true, func(string) bool { return true }, func(key, value []byte) error {
		tallyOf(c.want, c.family(key)).add(c.seed, key, value)
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.others(ctx); err != nil {
		return err
	}
	if err := c.directory(ctx); err != nil {
		return err
	}
	c.compareCounts()
	if c.outdated {
		return nil
	}
	return c.compareKeys(ctx)
}

// family tells a key of an index by its kind and type. A key that has the number of a series
// does not name the type.
func (c *check) family(key []byte) family {
	if key[0] == recordKey || key[0] == memberKey {
		return family{kind: key[0]}
	}
	of, _, ok := bytes.Cut(key[1:], []byte{0})
	if !ok || !fhir.ValidType(string(of)) {
		return family{kind: key[0]}
	}
	return family{key[0], string(of)}
}

// eachResource looks at all versions of all resources, and calls emit with the index keys that
// those of some types should have. The first time it tells what is wrong with the versions.
func (c *check) eachResource(ctx context.Context, first bool, only func(of string) bool, emit func(key, value []byte) error) (err error) {
	keys, err := c.view.snapshot.NewIter(&pebble.IterOptions{LowerBound: []byte{currentKey}, UpperBound: []byte{currentKey + 1}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, keys.Close()) }()
	h, err := c.view.snapshot.NewIter(&pebble.IterOptions{LowerBound: []byte{earlierKey}, UpperBound: []byte{earlierKey + 1}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	current := reader{view: c.view}
	defer func() { err = errors.Join(err, current.close()) }()
	w := &versionWalk{check: c, quiet: !first, it: h, emit: emit}
	w.index = indexer{params: c.view.params, generation: c.view.generation, emit: w.remember}

	var total, done int64
	for _, n := range c.counts {
		total += n
	}
	h.First()
	for ok := keys.First(); ok; ok = keys.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		of, id, ok := cutCurrent(keys.Key())
		if !ok || !fhir.ValidType(of) || !fhir.ValidID(id) {
			w.fault("a key that is damaged", of)
			continue
		}
		if err := w.orphans(ctx, appendEarlierPrefix(nil, of, id)); err != nil {
			return err
		}
		r, found, err := current.current(of, id)
		switch {
		case errors.Is(err, errRecord) || err == nil && !found:
			w.fault("a version that cannot be read", of)
			continue
		case err != nil:
			return err
		}
		if err := w.resource(ctx, of, id, r, only(of)); err != nil {
			return err
		}
		if done++; first && done%1024 == 0 {
			c.progress(VerifyingResources, done, max(done, total))
		}
	}
	if err := keys.Error(); err != nil {
		return err
	}
	return w.orphans(ctx, []byte{earlierKey + 1})
}

// versionWalk looks at the versions of one resource after the other.
type versionWalk struct {
	check *check
	quiet bool // what is wrong was told before
	it    *pebble.Iterator
	index indexer
	emit  func(key, value []byte) error
	// Memory that is used again.
	definer definer
	value   []byte
}

func (w *versionWalk) fault(what, of string) {
	if !w.quiet {
		w.check.fault(what, of, 1)
	}
}

// remember takes the keys of one resource: one that comes twice is one.
func (w *versionWalk) remember(key, value []byte) error {
	w.check.keys[string(key)] = string(value)
	return nil
}

// resource looks at a current version, and the earlier ones that it must have.
func (w *versionWalk) resource(ctx context.Context, of, id string, r record, emit bool) error {
	report := &w.check.report
	if !w.quiet {
		report.Versions++
		if r.deleted {
			report.Deleted++
		} else {
			report.Resources++
			report.ByType[of]++
		}
	}
	if emit && r.place.series != 0 {
		w.value = r.appendPlaced(w.value[:0])
		if err := w.emit(appendRecordKey(nil, r.place, id), w.value); err != nil {
			return err
		}
	}
	if w.content(of, id, r) && emit {
		if err := w.current(of, id, r); err != nil {
			return err
		}
	}
	next := r
	prefix := appendEarlierPrefix(nil, of, id)
	for ; w.it.Valid() && bytes.HasPrefix(w.it.Key(), prefix); w.it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		number := w.it.Key()[len(prefix):]
		value, err := w.it.ValueAndErr()
		if err != nil {
			return err
		}
		e, err := readRecord(value)
		if err != nil || len(number) != versionLen {
			w.fault("a version that cannot be read", of)
			continue
		}
		if !w.quiet {
			report.Versions++
		}
		switch n := ^binary.BigEndian.Uint64(number); {
		case n != e.version || n >= next.version:
			w.fault("a version that is kept as another", of)
			continue
		case n != next.version-1:
			w.missing(of, next.version-1-n)
		}
		if e.lastUpdated > next.lastUpdated {
			w.fault("a version that is newer than the one after it", of)
		}
		w.content(of, id, e)
		if emit {
			if err := w.emit(appendPast(nil, of, id, e.version, e.at()), nil); err != nil {
				return err
			}
		}
		e.json = nil
		next = e
	}
	if next.version > 1 {
		w.missing(of, next.version-1)
	}
	return w.it.Error()
}

func (w *versionWalk) missing(of string, n uint64) {
	if !w.quiet {
		w.check.fault("a version that is missing", of, int64(min(n, 1<<62)))
	}
}

// content looks at what a version says, and reports whether it can be indexed.
func (w *versionWalk) content(of, id string, r record) bool {
	if r.deleted {
		if len(r.json) > 0 {
			w.fault("a deletion with content", of)
		}
		return true
	}
	want, err := fhir.Stamp(r.json, of, id, strconv.FormatUint(r.version, 10), r.at())
	switch {
	case err != nil:
		w.fault("a version whose JSON is damaged", of)
		return false
	case !bytes.Equal(want, r.json):
		w.fault("a version whose JSON is that of another type, id, version or time", of)
	}
	return true
}

// current gives the keys that the current version should have.
func (w *versionWalk) current(of, id string, r record) error {
	if r.deleted {
		return w.emit(appendPast(nil, of, id, r.version, r.at()), nil)
	}
	terms, err := w.check.view.params.Extract(of, r.json)
	if err != nil {
		w.fault("a version that cannot be searched", of)
		return nil
	}
	if !w.quiet {
		if err := w.place(of, &r, &terms); err != nil {
			return err
		}
	}
	clear(w.check.keys)
	w.index.resourceType, w.index.id, w.index.series = of, id, r.place.series
	if err := w.index.each(r.at(), &terms); err != nil {
		return err
	}
	for key, value := range w.check.keys {
		if err := w.emit([]byte(key), []byte(value)); err != nil {
			return err
		}
	}
	return nil
}

// place looks at where a current version lies: in the series of its terms, or in none.
func (w *versionWalk) place(of string, r *record, t *search.Terms) error {
	db := w.check.view.snapshot
	want, length := location{}, uint64(0)
	if l := w.check.view.params.layout(of); l.any() {
		definition, patients := w.definer.define(l, t)
		if definition == nil {
			for _, id := range patients {
				found, err := w.check.has(binary.BigEndian.AppendUint64(appendSeriesOf(nil, of, id), 0))
				if err != nil {
					return err
				}
				if !found {
					w.fault("a patient of whom it is not noted that there are resources in no series", of)
				}
			}
		} else {
			name, closer, err := db.Get(appendDefinition(nil, r.place.series))
			if err != nil && !errors.Is(err, pebble.ErrNotFound) {
				return err
			}
			if err == nil {
				if string(name) == string(appendName(nil, of))+string(definition) {
					want.series = r.place.series
				}
				if err := closer.Close(); err != nil {
					return err
				}
			}
			var first time.Time
			first, _, length = extent(t, sortDate)
			appendDate(want.date[:0], first)
		}
	}
	if r.place != want || r.length != length {
		w.fault("a resource that lies in the wrong place", of)
	}
	return nil
}

// has reports whether there is a key that the filters need not know.
func (c *check) has(key []byte) (bool, error) {
	it, err := c.view.snapshot.NewIter(&pebble.IterOptions{LowerBound: key, UpperBound: append(bytes.Clone(key), 0)})
	if err != nil {
		return false, err
	}
	found := it.First()
	return found, errors.Join(it.Error(), it.Close())
}

// directory looks at the definitions of the series, each of which the directory of its patient
// must have, and no other.
func (c *check) directory(ctx context.Context) error {
	definitions, err := c.view.snapshot.NewIter(&pebble.IterOptions{LowerBound: []byte{definitionKey}, UpperBound: []byte{definitionKey + 1}})
	if err != nil {
		return err
	}
	entries, err := c.view.snapshot.NewIter(&pebble.IterOptions{LowerBound: []byte{seriesKey}, UpperBound: []byte{seriesKey + 1}})
	if err != nil {
		return errors.Join(err, definitions.Close())
	}
	var good int64
	for ok := definitions.First(); ok; ok = definitions.Next() {
		if err = ctx.Err(); err != nil {
			break
		}
		var value []byte
		if value, err = definitions.ValueAndErr(); err != nil {
			break
		}
		number, numbered := numberIn(definitions.Key()[1:])
		of, definition, named := bytes.Cut(value, []byte{0})
		series, unread := readSeries(definition)
		if !numbered || number == 0 || !named || unread != nil {
			c.fault("a series whose definition is damaged", string(of), 1)
			continue
		}
		key := binary.BigEndian.AppendUint64(appendSeriesOf(nil, string(of), series.patient), number)
		var entry []byte
		if entries.SeekGE(key) && bytes.Equal(entries.Key(), key) {
			if entry, err = entries.ValueAndErr(); err != nil {
				break
			}
			if good++; bytes.Equal(entry, definition) {
				continue
			}
		}
		if err = entries.Error(); err != nil {
			break
		}
		c.fault("a series that the directory of its patient does not have", string(of), 1)
	}
	if other := c.entries - good; err == nil && other > 0 {
		c.fault("an entry of the directory of series that has no definition", "", other)
	}
	return errors.Join(err, definitions.Error(), definitions.Close(), entries.Close())
}

// orphans are earlier versions of resources that are not there, up to those of the next one.
func (w *versionWalk) orphans(ctx context.Context, next []byte) error {
	for ; w.it.Valid() && bytes.Compare(w.it.Key(), next) < 0; w.it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		of, _, _ := bytes.Cut(w.it.Key()[1:], []byte{0})
		w.fault("an earlier version without a current one", string(of))
	}
	return w.it.Error()
}

// readCounts reads how many resources the store says that there are.
func (c *check) readCounts() error {
	c.counts = map[string]int64{}
	it, err := c.view.snapshot.NewIter(&pebble.IterOptions{LowerBound: []byte{countKey}, UpperBound: []byte{countKey + 1}})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		var value []byte
		if value, err = it.ValueAndErr(); err != nil {
			break
		}
		of := string(it.Key()[1:])
		if n, size := binary.Uvarint(value); size == len(value) && size > 0 && fhir.ValidType(of) && n < 1<<62 {
			c.counts[of] = int64(n)
		} else {
			c.fault("a count that cannot be read", of, 1)
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}

func (c *check) compareCounts() {
	types := slices.Sorted(maps.Keys(c.counts))
	for of := range c.report.ByType {
		if _, ok := c.counts[of]; !ok {
			types = append(types, of)
		}
	}
	for _, of := range types {
		if off := c.counts[of] - c.report.ByType[of]; off != 0 {
			c.fault("a resource too many or too few in the count", of, max(off, -off))
		}
	}
}

// others looks at all keys but those of versions and counts.
func (c *check) others(ctx context.Context) error {
	it, err := c.view.snapshot.NewIter(nil)
	if err != nil {
		return err
	}
	var total, done int64
	for _, t := range c.want {
		total += t.n
	}
	at, have := family{}, (*tally)(nil)
	for ok := it.First(); ok; {
		key := it.Key()
		kind := key[0] // there is no empty key in Pebble
		if kind == currentKey || kind == earlierKey || kind == countKey {
			ok = it.SeekGE([]byte{kind + 1})
			continue
		}
		var value []byte
		if value, err = it.ValueAndErr(); err != nil {
			break
		}
		switch {
		case kind == metaKey:
			if !bytes.Equal(key, formatKey) && !bytes.Equal(key, indexKey) {
				c.fault("a note about the store that is not known", "", 1)
			}
		case kind == journalKey:
			c.entry(key, value)
		case kind == definitionKey: // directory looks at these
		case kind == seriesKey:
			if number, ok := numberIn(key[max(0, len(key)-numberLen):]); !ok || number != 0 {
				c.entries++
			}
		case kind == updatedKey, kind == pastKey, kind == memberKey, kind == recordKey, isTerm(kind, c.view.generation):
			if kind != recordKey {
				c.report.Keys++
			}
			if have == nil || at.kind != kind || at.of != "" && !sameType(key, at.of) || at.of == "" && kind != recordKey && kind != memberKey {
				at = c.family(key)
				have = tallyOf(c.have, at)
			}
			have.add(c.seed, key, value)
		case isTerm(kind, c.view.generation.other()):
			c.report.Unused++
		default:
			c.fault("a key of an unknown kind", "", 1)
		}
		if done++; done%(1<<14) == 0 {
			if err = ctx.Err(); err != nil {
				break
			}
			c.progress(VerifyingIndex, done, max(done, total))
		}
		ok = it.Next()
	}
	return errors.Join(err, it.Error(), it.Close())
}

// isTerm reports whether keys of a kind are those of terms, of a generation.
func isTerm(kind byte, g generation) bool {
	return slices.ContainsFunc(termKinds, func(k byte) bool { return g.kind(k) == kind })
}

// sameType reports whether a key is of a resource type.
func sameType(key []byte, of string) bool {
	return of != "" && len(key) > 1+len(of) && string(key[1:1+len(of)]) == of && key[1+len(of)] == 0
}

// entry looks at one of the journal.
func (c *check) entry(key, value []byte) {
	_, rest, ok := cutText(key[1:])
	if ok {
		_, rest, ok = cutText(rest)
	}
	if !ok || len(rest) > 0 || len(value) > maxEntry {
		c.fault("an entry of the journal that is damaged", "", 1)
		return
	}
	c.report.Entries++
}

// names of the indexes, for people.
func indexName(kind byte) string {
	switch kind {
	case updatedKey:
		return "index by time of change"
	case pastKey:
		return "index of the history"
	case memberKey:
		return "index by series"
	case recordKey:
		return "order of the series"
	}
	switch kind | byte(upperCase) {
	case dateKey:
		return "index by date"
	case equalKey:
		return "index by token and reference"
	case quantityKey:
		return "index by quantity"
	case textKey:
		return "index by text"
	}
	return "unknown index"
}

// compareKeys tells where the index has other keys than it should have.
func (c *check) compareKeys(ctx context.Context) error {
	differ := map[family]bool{}
	types := map[string]bool{}
	for _, m := range []map[family]*tally{c.want, c.have} {
		for f := range m {
			if *tallyOf(c.want, f) != *tallyOf(c.have, f) {
				differ[f], types[f.of] = true, true
			}
		}
	}
	if len(differ) == 0 {
		return nil
	}
	type wrong struct{ missing, other int64 }
	found := map[family]*wrong{}
	for f := range differ {
		found[f] = &wrong{}
	}
	// Not by Get: the filters do not know these keys.
	it, err := c.view.snapshot.NewIter(nil)
	if err != nil {
		return err
	}
	// What is in a series is of any type.
	err = c.eachResource(ctx, false, func(of string) bool { return types[of] || types[""] }, func(key, value []byte) error {
		w := found[c.family(key)]
		if w == nil {
			return nil
		}
		if !it.SeekGE(key) || !bytes.Equal(it.Key(), key) {
			w.missing++
			return it.Error()
		}
		is, err := it.ValueAndErr()
		if err == nil && !bytes.Equal(is, value) {
			w.other++
		}
		return err
	})
	if err := errors.Join(err, it.Close()); err != nil {
		return err
	}
	for f, w := range found {
		name := indexName(f.kind)
		if w.missing > 0 {
			c.fault("a key that is missing in the "+name, f.of, w.missing)
		}
		if w.other > 0 {
			c.fault("a key with a wrong value in the "+name, f.of, w.other)
		}
		if extra := c.have[f].n - (c.want[f].n - w.missing); extra > 0 {
			if f.of == "" && f.kind != recordKey && f.kind != memberKey {
				f.of = "a damaged type"
			}
			c.fault("a key too many in the "+name, f.of, extra)
		}
	}
	return nil
}
