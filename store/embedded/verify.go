package embedded

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
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
// nothing else. What is wrong is in the report: the error only says why it could not be told. Where
// files are damaged it ends at one of the damages, with what it has found until then.
// It reads all of the store, with all processors and little memory, about 1 MiB for each of them, or
// a few times the largest resource if that is more. It lets writers be.
// progress, if it is not nil, is told from one goroutine, that of the call, what is being verified,
// how far it is, and how far it goes, which is an estimate.
func (s *Store) Verify(ctx context.Context, progress func(what string, done, total int64)) (Report, error) {
	return s.verifyWith(ctx, runtime.GOMAXPROCS(0), progress)
}

// verifyWith is Verify by so many workers. What it finds does not depend on their number.
func (s *Store) verifyWith(ctx context.Context, workers int, progress func(what string, done, total int64)) (Report, error) {
	if err := s.gate.Enter(); err != nil {
		return Report{}, err
	}
	defer s.gate.Leave()
	v := s.look()
	defer s.letGo(v)
	c := s.newCheck(v, workers, progress)
	err := c.all(ctx)
	if pebble.IsCorruptionError(err) {
		c.found.fault(damagedFiles(err), "", 1)
		err = nil
	}
	if err != nil {
		return Report{}, fmt.Errorf("embedded: verify: %w", err)
	}
	return c.done(), nil
}

// check is a Verify as it goes on.
//
// What lies in a series is in another order than its c keys, and to look for each one reads most
// blocks many times. So the first walk goes through each kind of key once, in the order on disk
// (sound). All is well, or there is a doubt: then a second walk goes from resource to resource as a
// reader does, and tells what is wrong (exactly).
//
// The keys that the resources should have and those that there are would not fit in memory, and to
// look for each one takes long. So both are counted and summed up, each as a number that only it
// has by chance, by kind and type. Where the sums differ, every key is looked for. The c keys of
// what lies in series and what lies there are compared in the same way.
type check struct {
	view     *view
	workers  int
	progress func(what string, done, total int64)
	outdated bool
	seed     maphash.Seed
	counts   map[string]int64 // what the count keys say
	seen     int64            // resources that progress was told of
	found    findings
	differ   map[family]bool // where the sums differ
}

func (s *Store) newCheck(v *view, workers int, progress func(what string, done, total int64)) *check {
	if progress == nil {
		progress = func(string, int64, int64) {}
	}
	return &check{view: v, workers: workers, progress: progress, outdated: s.outdated, seed: maphash.MakeSeed()}
}

// findings are what one goroutine finds, or all of them together.
type findings struct {
	report         Report          // its numbers
	faults         map[Fault]int64 // with Number 0
	more           int64           // of which are too many to tell them apart
	want, have     map[family]*tally
	placed, places tally             // what should lie in series, and what does
	entries        int64             // of the directory of series
	wrong          map[family]*wrong // what differs
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

func (t *tally) add(o tally) {
	t.n += o.n
	t.sum += o.sum
}

// wrong are keys of a family.
type wrong struct{ missing, other int64 }

// hasher makes the numbers of keys. It belongs to one goroutine.
type hasher struct {
	seed maphash.Seed
	buf  []byte
}

func (h *hasher) sum(key, value []byte) uint64 {
	h.buf = binary.BigEndian.AppendUint32(h.buf[:0], uint32(len(key)))
	h.buf = append(append(h.buf, key...), value...)
	return maphash.Bytes(h.seed, h.buf)
}

// maxApart is how many faults are told apart: more than are listed, so that which ones are listed
// does not depend on who is quicker.
const maxApart = 10_000

// fault counts what is wrong.
func (f *findings) fault(what, of string, n int64) {
	is := Fault{What: what, Type: of}
	if of != "" && !fhir.ValidType(of) {
		is.Type = "a damaged type"
	}
	f.count(is, n)
}

func (f *findings) count(is Fault, n int64) {
	if f.faults == nil {
		f.faults = map[Fault]int64{}
	}
	if _, known := f.faults[is]; !known && len(f.faults) >= maxApart {
		f.more += n
		return
	}
	f.faults[is] += n
}

// add makes the findings of another one those of f.
func (f *findings) add(o *findings) {
	f.report.Resources += o.report.Resources
	f.report.Deleted += o.report.Deleted
	f.report.Versions += o.report.Versions
	f.report.Keys += o.report.Keys
	f.report.Entries += o.report.Entries
	f.report.Unused += o.report.Unused
	for of, n := range o.report.ByType {
		if f.report.ByType == nil {
			f.report.ByType = map[string]int64{}
		}
		f.report.ByType[of] += n
	}
	for is, n := range o.faults {
		f.count(is, n)
	}
	f.more += o.more
	for k, t := range o.want {
		entryOf(&f.want, k).add(*t)
	}
	for k, t := range o.have {
		entryOf(&f.have, k).add(*t)
	}
	f.placed.add(o.placed)
	f.places.add(o.places)
	f.entries += o.entries
	for k, w := range o.wrong {
		all := entryOf(&f.wrong, k)
		all.missing += w.missing
		all.other += w.other
	}
}

// entryOf is what a map has for a family.
func entryOf[T any](m *map[family]*T, k family) *T {
	if *m == nil {
		*m = map[family]*T{}
	}
	t := (*m)[k]
	if t == nil {
		t = new(T)
		(*m)[k] = t
	}
	return t
}

func (c *check) done() Report {
	r := c.found.report
	r.Outdated = c.outdated
	r.Faults, r.More = make([]Fault, 0, len(c.found.faults)), c.found.more
	for f, n := range c.found.faults {
		f.Number = n
		r.Faults = append(r.Faults, f)
	}
	// What is lost comes first: an index can be made anew.
	slices.SortFunc(r.Faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(indexFault(a), indexFault(b)), cmp.Compare(a.Type, b.Type), cmp.Compare(a.What, b.What))
	})
	for _, f := range r.Faults[min(len(r.Faults), maxFaults):] {
		r.More += f.Number
	}
	r.Faults = slices.Clip(r.Faults[:min(len(r.Faults), maxFaults)])
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
	c.found.report.ByType = map[string]int64{}
	if err := c.readCounts(); err != nil {
		return err
	}
	sound, err := c.sound(ctx)
	if err == nil && !sound {
		err = c.exactly(ctx)
	}
	if err != nil {
		return err
	}
	return c.rest(ctx, sound)
}

// rest looks at all that is not a version, once it is known which keys the versions should have.
func (c *check) rest(ctx context.Context, sound bool) error {
	if err := c.others(ctx, sound); err != nil {
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

// told tells progress how many resources are done. A second walk is told of where it is behind the
// first one.
func (c *check) told(total, done int64) {
	if done > c.seen {
		c.seen = done
		c.progress(VerifyingResources, done, max(done, total))
	}
}

// atOnce runs functions at once, and returns when all have ended, with the first error. Each has
// its own findings, which are added up in the order of the functions, and tells from time to
// time how much more is done. ctx ends for all of them when one fails.
func atOnce(ctx context.Context, progress func(done int64), all ...func(ctx context.Context, f *findings, more func(n int64)) error) (*findings, error) {
	inner, cancel := context.WithCancelCause(ctx)
	counted := make(chan int64)
	found := make([]findings, len(all))
	var running sync.WaitGroup
	for i, work := range all {
		running.Go(func() {
			err := guarded(func() error {
				return work(inner, &found[i], func(n int64) {
					select {
					case counted <- n:
					case <-inner.Done():
					}
				})
			})
			if err != nil {
				cancel(err)
			}
		})
	}
	go func() {
		running.Wait()
		close(counted)
	}()
	defer func() { // also if progress panics
		cancel(nil)
		for range counted { // until all have ended
		}
	}()
	done := int64(0)
	for n := range counted {
		done += n
		progress(done)
	}
	var sum findings
	for i := range found {
		sum.add(&found[i])
	}
	if err := ctx.Err(); err != nil {
		return &sum, err
	}
	return &sum, context.Cause(inner)
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
			c.found.fault("a count that cannot be read", of, 1)
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}

func (c *check) compareCounts() {
	types := slices.Sorted(maps.Keys(c.counts))
	for of := range c.found.report.ByType {
		if _, ok := c.counts[of]; !ok {
			types = append(types, of)
		}
	}
	for _, of := range types {
		if off := c.counts[of] - c.found.report.ByType[of]; off != 0 {
			c.found.fault("a resource too many or too few in the count", of, max(off, -off))
		}
	}
}
