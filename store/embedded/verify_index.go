package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
)

// familyOf tells a key of an index by its kind and type. A key that has the number of a series
// does not name the type.
func familyOf(of string, kind byte) family {
	if kind == recordKey || kind == memberKey {
		return family{kind: kind}
	}
	return family{kind, of}
}

// familyIn is the family of a key, without a type if it names none.
func familyIn(key []byte) family {
	of, _, ok := bytes.Cut(key[1:], []byte{0})
	if !ok || !fhir.ValidType(string(of)) {
		return family{kind: key[0]}
	}
	return familyOf(string(of), key[0])
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
			c.found.fault("a series whose definition is damaged", string(of), 1)
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
		c.found.fault("a series that the directory of its patient does not have", string(of), 1)
	}
	if other := c.found.entries - good; err == nil && other > 0 {
		c.found.fault("an entry of the directory of series that has no definition", "", other)
	}
	return errors.Join(err, definitions.Error(), definitions.Close(), entries.Close())
}

// others looks at all keys but those of versions and counts: the workers take one kind after the
// other. What lies in series is known already if it is sound.
func (c *check) others(ctx context.Context, sound bool) error {
	var total int64
	for _, t := range c.found.want {
		total += t.n
	}
	var next atomic.Int64
	all := make([]func(context.Context, *findings, func(int64)) error, c.workers)
	for i := range all {
		all[i] = func(ctx context.Context, f *findings, more func(int64)) error {
			for {
				kind := next.Add(1) - 1
				if kind > 0xff {
					return nil
				}
				switch kind {
				case currentKey, earlierKey, countKey:
					continue
				case recordKey:
					if sound {
						continue
					}
				}
				if err := c.kind(ctx, byte(kind), f, more); err != nil {
					return err
				}
			}
		}
	}
	found, err := atOnce(ctx, func(done int64) { c.progress(VerifyingIndex, done, max(done, total)) }, all...)
	c.found.add(found)
	return err
}

// kind looks at all keys of a kind.
func (c *check) kind(ctx context.Context, kind byte, f *findings, more func(int64)) (err error) {
	it, err := c.view.snapshot.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: after([]byte{kind})})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	hash := hasher{seed: c.seed}
	at, have := family{}, (*tally)(nil)
	indexes := slices.Contains([]byte{updatedKey, pastKey, memberKey, recordKey}, kind) || isTerm(kind, c.view.generation)
	unused := isTerm(kind, c.view.generation.other())
	const step = 1 << 12
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		if n++; n%step == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			more(step)
		}
		key := it.Key()
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		switch {
		case indexes:
			if kind != recordKey {
				f.report.Keys++
			}
			if have == nil || at.of != "" && !sameType(key, at.of) || at.of == "" && kind != recordKey && kind != memberKey {
				at = familyIn(key)
				have = entryOf(&f.have, at)
			}
			have.add(tally{1, hash.sum(key, value)})
		case unused:
			f.report.Unused++
		case kind == metaKey:
			if !bytes.Equal(key, formatKey) && !bytes.Equal(key, indexKey) {
				f.fault("a note about the store that is not known", "", 1)
			}
		case kind == journalKey:
			f.entry(key, value)
		case kind == definitionKey: // directory looks at these
		case kind == seriesKey:
			if number, ok := numberIn(key[max(0, len(key)-numberLen):]); !ok || number != 0 {
				f.entries++
			}
		default:
			f.fault("a key of an unknown kind", "", 1)
		}
	}
	return it.Error()
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
func (f *findings) entry(key, value []byte) {
	_, rest, ok := cutText(key[1:])
	if ok {
		_, rest, ok = cutText(rest)
	}
	if !ok || len(rest) > 0 || len(value) > maxEntry {
		f.fault("an entry of the journal that is damaged", "", 1)
		return
	}
	f.report.Entries++
}

// indexName is the name of an index, for people.
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

// searches reports whether keys of resources of a type may be of a family that differs. What is in
// a series is of any type.
func (c *check) searches(of string) bool {
	for f := range c.differ {
		if f.of == of || f.of == "" {
			return true
		}
	}
	return false
}

// compareKeys tells where the index has other keys than it should have.
func (c *check) compareKeys(ctx context.Context) error {
	c.differ = map[family]bool{}
	for _, m := range []map[family]*tally{c.found.want, c.found.have} {
		for f := range m {
			if *entryOf(&c.found.want, f) != *entryOf(&c.found.have, f) {
				c.differ[f] = true
			}
		}
	}
	if len(c.differ) == 0 {
		return nil
	}
	found, err := c.walk(ctx, toSearch, c.heads)
	if err != nil {
		return err
	}
	for f := range c.differ {
		name, w := indexName(f.kind), *entryOf(&found.wrong, f)
		if w.missing > 0 {
			c.found.fault("a key that is missing in the "+name, f.of, w.missing)
		}
		if w.other > 0 {
			c.found.fault("a key with a wrong value in the "+name, f.of, w.other)
		}
		if extra := entryOf(&c.found.have, f).n - (entryOf(&c.found.want, f).n - w.missing); extra > 0 {
			if f.of == "" && f.kind != recordKey && f.kind != memberKey {
				f.of = "a damaged type"
			}
			c.found.fault("a key too many in the "+name, f.of, extra)
		}
	}
	return nil
}
