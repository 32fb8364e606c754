package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
	"time"

	"github.com/kiln-health/kiln/fhir"
)

// record is one version of a resource, as the value of its key has it: a byte that says
// what it is, version and lastUpdated as varints, the JSON. In place of the JSON of a
// resource in a series, the value of its c key has the number of the series and the date of
// the key where it lies. There the length of its date comes before all that.
type record struct {
	version     uint64
	lastUpdated int64 // milliseconds since 1970
	deleted     bool
	place       location // of what lies in a series, else zero
	length      uint64   // there, of its date
	json        []byte
}

const (
	presentRecord = 'p'
	deletedRecord = 'd'
	placedRecord  = 's'
)

var errRecord = errors.New("a stored version is damaged: restore the store from a backup")

// append is r with its JSON.
func (r *record) append(dst []byte) []byte {
	kind := byte(presentRecord)
	if r.deleted {
		kind = deletedRecord
	}
	return append(r.appendHead(dst, kind), r.json...)
}

func (r *record) appendHead(dst []byte, kind byte) []byte {
	dst = binary.AppendUvarint(append(dst, kind), r.version)
	return binary.AppendVarint(dst, r.lastUpdated)
}

// appendPlace is r with the place of its JSON.
func (r *record) appendPlace(dst []byte) []byte {
	dst = binary.AppendUvarint(r.appendHead(dst, placedRecord), r.place.series)
	return append(dst, r.place.date[:]...)
}

// appendPlaced is r as it lies in a series.
func (r *record) appendPlaced(dst []byte) []byte {
	return r.append(binary.AppendUvarint(dst, r.length))
}

// readRecord shares the bytes of value. Of a record in a series it reads the place.
func readRecord(value []byte) (record, error) {
	if len(value) == 0 || value[0] != presentRecord && value[0] != deletedRecord && value[0] != placedRecord {
		return record{}, errRecord
	}
	r := record{deleted: value[0] == deletedRecord}
	rest := value[1:]
	var n int
	if r.version, n = binary.Uvarint(rest); n <= 0 || r.version == 0 {
		return record{}, errRecord
	}
	rest = rest[n:]
	if r.lastUpdated, n = binary.Varint(rest); n <= 0 {
		return record{}, errRecord
	}
	rest = rest[n:]
	if value[0] != placedRecord {
		r.json = rest
		return r, nil
	}
	if r.place.series, n = binary.Uvarint(rest); n <= 0 || r.place.series == 0 || len(rest) != n+dateLen {
		return record{}, errRecord
	}
	copy(r.place.date[:], rest[n:])
	return r, nil
}

// readPlaced reads what appendPlaced wrote. It shares the bytes of value.
func readPlaced(value []byte) (record, error) {
	length, n := binary.Uvarint(value)
	if n <= 0 || n == len(value) || value[n] != presentRecord {
		return record{}, errRecord
	}
	r, err := readRecord(value[n:])
	r.length = length
	return r, err
}

// isThatOf reports whether r, from a series, is the version that its c key says lies there.
func (r *record) isThatOf(head *record) bool {
	return r.version == head.version && r.lastUpdated == head.lastUpdated && !r.deleted
}

// clone shares nothing with the bytes that r was read from.
func (r record) clone() *record {
	r.json = bytes.Clone(r.json)
	return &r
}

// resource is r as callers see it. It keeps the JSON of r.
func (r *record) resource(resourceType, id string) fhir.Resource {
	out := fhir.Resource{
		Key:         fhir.Key{Type: resourceType, ID: id, Version: strconv.FormatUint(r.version, 10)},
		LastUpdated: r.at(),
		Deleted:     r.deleted,
	}
	if !r.deleted {
		out.JSON = r.json
	}
	return out
}

func (r *record) at() time.Time { return time.UnixMilli(r.lastUpdated).UTC() }
