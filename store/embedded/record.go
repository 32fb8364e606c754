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
// whether it is deleted, version and lastUpdated as varints, the JSON.
type record struct {
	version     uint64
	lastUpdated int64 // milliseconds since 1970
	deleted     bool
	json        []byte
}

const (
	presentRecord = 'p'
	deletedRecord = 'd'
)

var errRecord = errors.New("a stored version is damaged: restore the store from a backup")

func (r *record) append(dst []byte) []byte {
	kind := byte(presentRecord)
	if r.deleted {
		kind = deletedRecord
	}
	dst = append(dst, kind)
	dst = binary.AppendUvarint(dst, r.version)
	dst = binary.AppendVarint(dst, r.lastUpdated)
	return append(dst, r.json...)
}

// readRecord shares the bytes of value.
func readRecord(value []byte) (record, error) {
	if len(value) == 0 || value[0] != presentRecord && value[0] != deletedRecord {
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
	r.json = rest[n:]
	return r, nil
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
