package store

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	"github.com/kiln-health/kiln/fhir"
)

// ParseVersion reads the number of a version as stores write it, and only so: 1, 2, 3.
func ParseVersion(text string) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n > 0 && text == strconv.FormatInt(n, 10)
}

// CheckImported refuses a version that no store that numbers its versions would have written:
// with JSON that does not carry the id, the version and the time that it comes with as
// fhir.Stamp writes them, or with a time that is not in whole milliseconds. It knows nothing of
// the other versions of the resource.
func CheckImported(r *fhir.Resource) error {
	if !fhir.ValidType(r.Type) {
		return errType
	}
	if !fhir.ValidID(r.ID) {
		return errID
	}
	if _, ok := ParseVersion(r.Version); !ok {
		return errors.New("the version is no number from 1 on: this store numbers versions 1, 2, 3")
	}
	if at := r.LastUpdated; at.Year() < 1 || at.Year() > 9999 || !at.Equal(time.UnixMilli(at.UnixMilli())) {
		return errors.New("its time of change is not in whole milliseconds of the years 1 to 9999")
	}
	if r.Deleted {
		if len(r.JSON) > 0 {
			return errors.New("it is deleted, and has content all the same")
		}
		return nil
	}
	want, err := fhir.Stamp(r.JSON, r.Type, r.ID, r.Version, r.LastUpdated)
	if err != nil {
		return err
	}
	if !bytes.Equal(want, r.JSON) {
		return errors.New("its JSON does not carry the type, id, version and time of change that it comes with, in the place and form that fhir.Stamp gives them")
	}
	return nil
}

// ImportStep is how many of the versions an Import writes at once, that does not want to write
// more than so many bytes of JSON or so many versions: one at least, if there is one.
func ImportStep(versions []fhir.Resource, maxBytes, maxVersions int) int {
	size := 0
	for i := range versions {
		size += len(versions[i].JSON)
		if i > 0 && (size > maxBytes || i == maxVersions) {
			return i
		}
	}
	return len(versions)
}
