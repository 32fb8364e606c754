package mongo

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/kiln-health/kiln/fhir"
)

var errDocument = errors.New("a document of the store is damaged: restore the database from a backup")

// record is one version of a resource as a document has it.
type record struct {
	id          string
	version     int64
	lastUpdated int64 // milliseconds since 1970
	end         int64 // lastUpdated of the version that replaced it, where that was asked for
	deleted     bool
	odd         bool   // the index fields of the document do not tell all of it
	patient     string // what the document has in pt, which may be part of the shard key
	json        []byte
}

// wanted are the fields that a record is read from: nothing of the index comes over the network.
var wanted = bson.D{{Key: "raw", Value: 1}, {Key: "v", Value: 1}, {Key: "lu", Value: 1}, {Key: "del", Value: 1}, {Key: "id", Value: 1}, {Key: "odd", Value: 1}, {Key: "pt", Value: 1}}

// wantedEarlier are those of earlier versions.
var wantedEarlier = append(slices.Clone(wanted), bson.E{Key: "end", Value: 1})

// readRecord shares the bytes of doc. found is false for what only holds the place of a
// resource that is about to be written.
func readRecord(doc bson.Raw) (r record, found bool, err error) {
	elements, err := doc.Elements()
	if err != nil {
		return record{}, false, errDocument
	}
	for _, e := range elements {
		v := e.Value()
		ok := true
		switch e.Key() {
		case "_id":
			if r.id == "" {
				r.id, ok = v.StringValueOK()
			}
		case "id": // of an earlier version, whose _id has more
			r.id, ok = v.StringValueOK()
		case "v":
			r.version, ok = v.AsInt64OK()
		case "lu":
			r.lastUpdated, ok = v.DateTimeOK()
		case "end":
			r.end, ok = v.DateTimeOK()
		case "del":
			r.deleted, ok = v.BooleanOK()
		case "odd":
			r.odd, ok = v.BooleanOK()
		case "pt":
			r.patient, ok = v.StringValueOK()
		case "raw":
			_, r.json, ok = v.BinaryOK()
		}
		if !ok {
			return record{}, false, errDocument
		}
	}
	if r.version == 0 {
		return record{}, false, nil
	}
	if r.version < 0 || r.id == "" || r.deleted == (len(r.json) > 0) {
		return record{}, false, errDocument
	}
	return r, true, nil
}

// resource is r as callers see it. Its JSON is a copy.
func (r *record) resource(resourceType string) fhir.Resource {
	out := r.shared(resourceType)
	out.JSON = bytes.Clone(out.JSON)
	return out
}

// shared is a resource that has the JSON of r.
func (r *record) shared(resourceType string) fhir.Resource {
	out := fhir.Resource{
		Key:         fhir.Key{Type: resourceType, ID: r.id, Version: strconv.FormatInt(r.version, 10)},
		LastUpdated: r.at(),
		Deleted:     r.deleted,
	}
	if !r.deleted {
		out.JSON = r.json
	}
	return out
}

func (r *record) at() time.Time { return time.UnixMilli(r.lastUpdated).UTC() }

// jitter is less than n.
func jitter(n int64) int64 { return rand.Int64N(max(n, 1)) }
