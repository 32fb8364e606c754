package layout

import (
	"encoding/binary"
	"errors"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/kiln-health/kiln/fhir"
)

// HistoryCollection is where the earlier versions of a type are.
func HistoryCollection(resourceType string) string { return resourceType + ".history" }

// HistoryID is the _id of an earlier version.
func HistoryID(id string, version int64) string {
	return id + "/" + strconv.FormatInt(version, 10)
}

// History appends to dst the document of a version that another one has replaced, or of a
// deletion that a new version has followed, and returns what it appended: _id, id, v, lu, end,
// which is the lastUpdated of the successor, del if it is a deletion, and raw else.
func History(dst []byte, r fhir.Resource, end time.Time) (bson.Raw, error) {
	version, err := number(r.Version)
	if err != nil {
		return nil, err
	}
	start := len(dst)
	dst = appendString(open(dst), "_id", HistoryID(r.ID, version))
	dst = appendString(dst, "id", r.ID)
	dst = appendInt64(dst, "v", version)
	dst = appendDateTime(dst, "lu", r.LastUpdated.UnixMilli())
	dst = appendDateTime(dst, "end", end.UnixMilli())
	if r.Deleted {
		dst = appendTrue(dst, "del")
	} else {
		dst = appendBinary(dst, "raw", r.JSON)
	}
	return bson.Raw(closed(dst, start)[start:]), nil
}

// Tombstone appends to dst what stands in the collection of a type for a resource that is
// deleted, and returns what it appended. before is the document that it replaces, whose pt it
// keeps, and nil if there is none.
func (l *Layout) Tombstone(dst []byte, key fhir.Key, lastUpdated time.Time, before bson.Raw) (bson.Raw, error) {
	version, err := number(key.Version)
	if err != nil {
		return nil, err
	}
	patient, ok := "", false
	if before != nil {
		patient, ok = before.Lookup("pt").StringValueOK()
	}
	if !ok {
		patient = nobody(key.ID)
	}
	start := len(dst)
	dst = appendString(open(dst), "_id", key.ID)
	dst = appendInt64(dst, "v", version)
	dst = appendDateTime(dst, "lu", lastUpdated.UnixMilli())
	dst = appendString(dst, "pt", patient)
	dst = appendTrue(dst, "del")
	return bson.Raw(closed(dst, start)[start:]), nil
}

// Projection is what Read needs of a document.
func Projection() bson.D {
	return bson.D{{Key: "id", Value: 1}, {Key: "v", Value: 1}, {Key: "lu", Value: 1}, {Key: "del", Value: 1}, {Key: "odd", Value: 1}, {Key: "raw", Value: 1}}
}

// ErrDocument says that a document is not one of a resource.
var ErrDocument = errors.New("a document in the database is not one of a resource, or is damaged: restore the database from a backup")

// Read is the resource of a document of one of the two collections of a type, of which no
// more than Projection is needed. Its JSON is part of doc. odd is what Find.Asks wants to know.
func Read(doc bson.Raw, resourceType string) (r fhir.Resource, odd bool, err error) {
	elements, err := doc.Elements()
	if err != nil || len(doc) < 5 || uint32(len(doc)) != binary.LittleEndian.Uint32(doc) || doc[len(doc)-1] != 0 {
		return fhir.Resource{}, false, ErrDocument
	}
	r.Type = resourceType
	var version, raw, updated, earlier bool
	for _, e := range elements {
		v := e.Value()
		switch e.Key() {
		case "_id":
			if id, ok := v.StringValueOK(); ok && !earlier {
				r.ID = id
			}
		case "id": // of an earlier version
			r.ID, earlier = v.StringValueOK()
		case "v":
			n, ok := v.Int64OK()
			version = ok && n > 0
			r.Version = strconv.FormatInt(n, 10)
		case "lu":
			var millis int64
			millis, updated = v.DateTimeOK()
			r.LastUpdated = time.UnixMilli(millis).UTC()
		case "del":
			r.Deleted, _ = v.BooleanOK()
		case "odd":
			odd, _ = v.BooleanOK()
		case "raw":
			_, r.JSON, raw = v.BinaryOK()
		}
	}
	if r.ID == "" || !version || !updated || raw == r.Deleted {
		return fhir.Resource{}, false, ErrDocument
	}
	return r, odd, nil
}
