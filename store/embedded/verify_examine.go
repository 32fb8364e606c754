package embedded

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// examiner looks at what versions say, and what keys they should have. It belongs to one goroutine.
type examiner struct {
	check *check
	why   purpose
	found *findings
	hash  hasher
	index indexer
	keys  []wanted
	// of and wants are the type at hand, and what is wanted of it, by kind of key.
	of    string
	wants [256]*tally
	// name is the type and the definition of a series, empty if it has none.
	series uint64
	name   []byte
	it     *pebble.Iterator // for keys that the filters need not know
	// Memory that is used again.
	definer    definer
	key, value []byte
	want       []byte
}

// wanted is an index key of one resource.
type wanted struct {
	kind       byte
	sum        uint64
	key, value []byte // only to search for it
}

func newExaminer(c *check, why purpose, f *findings) *examiner {
	x := &examiner{check: c, why: why, found: f, hash: hasher{seed: c.seed}}
	x.index = indexer{params: c.view.params, generation: c.view.generation, emit: x.collect}
	return x
}

func (x *examiner) close() error {
	if x.it == nil {
		return nil
	}
	return x.it.Close()
}

func (x *examiner) fault(what, of string) {
	if x.why != toSearch { // else it was told before
		x.found.fault(what, of, 1)
	}
}

// work examines batches until there are no more, and tells how many resources they had.
func (x *examiner) work(ctx context.Context, b batches, more func(int64)) error {
	for full := range b.full {
		n := int64(0)
		for i := range full.versions {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := x.examine(&full.versions[i]); err != nil {
				return err
			}
			if full.versions[i].current {
				n++
			}
			if x.why == toDoubt && len(x.found.faults) > 0 {
				return errDoubt
			}
		}
		full.empty()
		b.spare <- full // there is room for all that there are
		more(n)
	}
	return nil
}

// examine looks at one version.
func (x *examiner) examine(v *toExamine) error {
	if v.key != nil {
		if err := x.identify(v); err != nil {
			return err
		}
	} else if v.current && v.place.series != 0 {
		x.key, x.value = appendRecordKey(x.key[:0], v.place, v.id), v.appendPlaced(x.value[:0])
		if err := x.want1(v.of, x.key, x.value); err != nil {
			return err
		}
	}
	good := x.content(v)
	if v.current && !v.deleted {
		if !good {
			return nil
		}
		return x.current(v)
	}
	x.key = appendPast(x.key[:0], v.of, v.id, v.version, v.at())
	return x.want1(v.of, x.key, nil)
}

// identify finds out what lies in a series. Whether it should is known when all of it is.
func (x *examiner) identify(v *toExamine) error {
	const idAt = 1 + numberLen + dateLen
	if len(v.key) <= idAt {
		return errDoubt
	}
	var err error
	if v.record, err = readPlaced(v.value); err != nil {
		return errDoubt
	}
	v.place.series, _ = numberIn(v.key[1 : 1+numberLen])
	copy(v.place.date[:], v.key[1+numberLen:idAt])
	v.id = string(v.key[idAt:])
	if x.value = v.appendPlaced(x.value[:0]); !bytes.Equal(x.value, v.value) {
		return errDoubt
	}
	if err := x.define(v.place.series); err != nil {
		return err
	}
	of, _, _ := bytes.Cut(x.name, []byte{0})
	if string(of) != x.of {
		x.use(string(of))
	}
	v.of = x.of
	x.key, x.value = appendPlacedSum(x.key[:0], x.value[:0], v.of, v.id, &v.record)
	x.found.places.add(tally{1, x.hash.sum(x.key, x.value)})
	return nil
}

// use makes a type the one at hand.
func (x *examiner) use(of string) {
	x.of = of
	clear(x.wants[:])
}

// content looks at what a version says, and reports whether it can be indexed.
func (x *examiner) content(v *toExamine) bool {
	if v.deleted {
		if len(v.json) > 0 {
			x.fault("a deletion with content", v.of)
		}
		return true
	}
	want, err := fhir.Stamp(v.json, v.of, v.id, strconv.FormatUint(v.version, 10), v.at())
	switch {
	case err != nil:
		x.fault("a version whose JSON is damaged", v.of)
		return false
	case !bytes.Equal(want, v.json):
		x.fault("a version whose JSON is that of another type, id, version or time", v.of)
	}
	return true
}

// current looks for the keys that a current version should have.
func (x *examiner) current(v *toExamine) error {
	terms, err := x.check.view.params.Extract(v.of, v.json)
	if err != nil {
		x.fault("a version that cannot be searched", v.of)
		return nil
	}
	if x.why != toSearch {
		if err := x.place(v, &terms); err != nil {
			return err
		}
	}
	x.keys = x.keys[:0]
	x.index.resourceType, x.index.id, x.index.series = v.of, v.id, v.place.series
	if err := x.index.each(v.at(), &terms); err != nil {
		return err
	}
	// A key that comes twice is one. It has the same value then.
	slices.SortFunc(x.keys, func(a, b wanted) int { return cmp.Compare(a.sum, b.sum) })
	for i := range x.keys {
		if i > 0 && x.keys[i].sum == x.keys[i-1].sum {
			continue
		}
		if err := x.wantKey(v.of, &x.keys[i]); err != nil {
			return err
		}
	}
	return nil
}

// collect takes the keys of one resource.
func (x *examiner) collect(key, value []byte) error {
	k := wanted{kind: key[0], sum: x.hash.sum(key, value)}
	if x.why == toSearch {
		k.key, k.value = bytes.Clone(key), bytes.Clone(value)
	}
	x.keys = append(x.keys, k)
	return nil
}

// want1 is wantKey of a key that comes once.
func (x *examiner) want1(of string, key, value []byte) error {
	return x.wantKey(of, &wanted{key[0], x.hash.sum(key, value), key, value})
}

// wantKey notes that there should be a key, or looks for it.
func (x *examiner) wantKey(of string, k *wanted) error {
	if x.why == toSearch {
		return x.search(familyOf(of, k.kind), k)
	}
	if of != x.of {
		x.use(of)
	}
	t := x.wants[k.kind]
	if t == nil {
		t = entryOf(&x.found.want, familyOf(of, k.kind))
		x.wants[k.kind] = t
	}
	t.add(tally{1, k.sum})
	return nil
}

// search looks for a key of a family that is not as it should be.
func (x *examiner) search(f family, k *wanted) error {
	if !x.check.differ[f] {
		return nil
	}
	found, err := x.seek(k.key)
	if err != nil {
		return err
	}
	if !found {
		entryOf(&x.found.wrong, f).missing++
		return nil
	}
	is, err := x.it.ValueAndErr()
	if err == nil && !bytes.Equal(is, k.value) {
		entryOf(&x.found.wrong, f).other++
	}
	return err
}

// seek goes to a key, and reports whether it is there. Not by Get: the filters do not know
// all keys.
func (x *examiner) seek(key []byte) (bool, error) {
	if x.it == nil {
		it, err := x.check.view.snapshot.NewIter(nil)
		if err != nil {
			return false, err
		}
		x.it = it
	}
	if !x.it.SeekGE(key) {
		return false, x.it.Error()
	}
	return bytes.Equal(x.it.Key(), key), nil
}

// define reads the definition of a series, unless it is the one that was read last.
func (x *examiner) define(series uint64) error {
	if series == x.series { // 0 is none
		return nil
	}
	x.series, x.name = 0, x.name[:0]
	x.key = appendDefinition(x.key[:0], series)
	name, closer, err := x.check.view.snapshot.Get(x.key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	x.series, x.name = series, append(x.name, name...)
	return closer.Close()
}

// place looks at where a current version lies: in the series of its terms, or in none.
func (x *examiner) place(v *toExamine, t *search.Terms) error {
	want, length := location{}, uint64(0)
	if l := x.check.view.params.layout(v.of); l.any() {
		definition, patients := x.definer.define(l, t)
		if definition == nil {
			for _, id := range patients {
				x.key = binary.BigEndian.AppendUint64(appendSeriesOf(x.key[:0], v.of, id), 0)
				found, err := x.seek(x.key)
				if err != nil {
					return err
				}
				if !found {
					x.fault("a patient of whom it is not noted that there are resources in no series", v.of)
				}
			}
		} else {
			if err := x.define(v.place.series); err != nil {
				return err
			}
			if x.want = append(appendName(x.want[:0], v.of), definition...); bytes.Equal(x.name, x.want) {
				want.series = v.place.series
			}
			var first time.Time
			first, _, length = extent(t, sortDate)
			appendDate(want.date[:0], first)
		}
	}
	if v.place != want || v.length != length {
		x.fault("a resource that lies in the wrong place", v.of)
	}
	return nil
}
