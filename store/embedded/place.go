package embedded

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// placer finds where resources lie, and writes what has to be known of a place before. It
// belongs to one write.
type placer struct {
	numbers *numbers
	stored  func(resourceType, patient string, definition []byte) (uint64, error)
	definer definer
	// Memory that is used again.
	name, key, value []byte
	// fresh are the series whose definitions the write has, marked the patients of which it
	// says that they have other resources.
	fresh  map[string]uint64
	marked map[string]bool
}

// place finds where a resource with those terms lies.
func (p *placer) place(batch *pebble.Batch, resourceType string, l layout, t *search.Terms, r *record) error {
	r.place, r.length = location{}, 0
	if !l.any() {
		return nil
	}
	definition, patients := p.definer.define(l, t)
	if definition == nil {
		for _, id := range patients {
			if err := p.mark(batch, resourceType, id); err != nil {
				return err
			}
		}
		return nil
	}
	var first time.Time
	first, _, r.length = extent(t, sortDate)
	appendDate(r.place.date[:0], first)
	var err error
	r.place.series, err = p.number(batch, resourceType, patients[0], definition)
	return err
}

// put writes a version as the current one. Where the one before lies in a series and this
// one does not lie there, that is deleted.
func (p *placer) put(batch *pebble.Batch, key fhir.Key, before location, r *record) error {
	if before.series != 0 && before != r.place {
		p.key = appendRecordKey(p.key[:0], before, key.ID)
		if err := batch.Delete(p.key, nil); err != nil {
			return err
		}
	}
	p.key = appendCurrent(p.key[:0], key.Type, key.ID)
	if r.place.series == 0 {
		p.value = r.append(p.value[:0])
		return batch.Set(p.key, p.value, nil)
	}
	p.value = r.appendPlace(p.value[:0])
	if err := batch.Set(p.key, p.value, nil); err != nil {
		return err
	}
	p.key = appendRecordKey(p.key[:0], r.place, key.ID)
	p.value = r.appendPlaced(p.value[:0])
	return batch.Set(p.key, p.value, nil)
}

func (p *placer) number(batch *pebble.Batch, resourceType, patient string, definition []byte) (uint64, error) {
	p.name = append(appendName(p.name[:0], resourceType), definition...)
	if number, ok := p.fresh[string(p.name)]; ok {
		return number, nil
	}
	number, fresh, err := p.numbers.of(p.name, func() (uint64, error) { return p.stored(resourceType, patient, definition) })
	if err != nil || !fresh {
		return number, err
	}
	if p.fresh == nil {
		p.fresh = map[string]uint64{}
	}
	p.fresh[string(p.name)] = number
	key := appendSeriesOf(nil, resourceType, patient)
	return number, errors.Join(
		batch.Set(appendDefinition(nil, number), p.name, nil),
		batch.Set(binary.BigEndian.AppendUint64(key, number), definition, nil))
}

// mark notes that resources refer to a patient that are in no series, for good.
func (p *placer) mark(batch *pebble.Batch, resourceType, patient string) error {
	key := binary.BigEndian.AppendUint64(appendSeriesOf(nil, resourceType, patient), 0)
	if p.marked[string(key)] {
		return nil
	}
	if p.marked == nil {
		p.marked = map[string]bool{}
	}
	p.marked[string(key)] = true
	return batch.Set(key, nil, nil)
}

// done ends the write, which is visible by now, or has failed.
func (p *placer) done(written bool) {
	for name := range p.fresh {
		p.numbers.done(name, written)
	}
	p.fresh, p.marked = nil, nil
}
