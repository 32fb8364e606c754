package ndjson

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kiln-health/kiln/fhir"
)

// The parts of a line between what tells versions apart.
const (
	headType    = `{"resourceType":"`
	headID      = `","id":"`
	headVersion = `","meta":{"versionId":"`
	headTime    = `","lastUpdated":"`

	goneURL     = `{"resourceType":"Bundle","type":"history","entry":[{"request":{"method":"DELETE","url":"`
	goneVersion = `"},"response":{"status":"204","etag":"W/\"`
	goneTime    = `\"","lastModified":"`
	goneEnd     = `"}}]}`
)

var (
	errShape = errors.New("it is no version of a resource as Kiln writes it: resourceType, id, meta.versionId and meta.lastUpdated come first, or it is the Bundle of a deletion")
	errOther = errors.New("what the resource says of its type, id, version or time is not what the store says")
)

// number is a version as the number that it is, or 0.
func number(version string) int64 {
	n, err := strconv.ParseInt(version, 10, 64)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != version {
		return 0
	}
	return n
}

// before reports whether a comes before b: by type, id, and number of the version.
func before(a, b fhir.Key) bool {
	if a.Type != b.Type {
		return a.Type < b.Type
	}
	if a.ID != b.ID {
		return a.ID < b.ID
	}
	return number(a.Version) < number(b.Version)
}

// appendVersion appends the line of a version without its end. It is an error if it could
// not be read again.
func appendVersion(dst []byte, r fhir.Resource) ([]byte, error) {
	if !fhir.ValidType(r.Type) || !fhir.ValidID(r.ID) || number(r.Version) == 0 {
		return dst, errors.New("the store names a resource whose type, id or version is none")
	}
	if !r.Deleted {
		h, err := head(r.JSON)
		if err != nil {
			return dst, err
		}
		if h.Key != r.Key || !h.LastUpdated.Equal(r.LastUpdated) {
			return dst, errOther
		}
		if bytes.IndexByte(r.JSON, '\n') >= 0 {
			return dst, errors.New("the JSON of a resource is not compact: it has a line feed")
		}
		return append(dst, r.JSON...), nil
	}
	dst = append(dst, goneURL...)
	dst = append(dst, r.Type...)
	dst = append(dst, '/')
	dst = append(dst, r.ID...)
	dst = append(dst, goneVersion...)
	dst = append(dst, r.Version...)
	dst = append(dst, goneTime...)
	dst = r.LastUpdated.UTC().AppendFormat(dst, fhir.InstantFormat)
	return append(dst, goneEnd...), nil
}

// head reads what a line says of itself at its beginning, and of a resource no more than that.
func head(line []byte) (fhir.Resource, error) {
	if rest, ok := bytes.CutPrefix(line, []byte(goneURL)); ok {
		return deletion(rest)
	}
	var r fhir.Resource
	var at string
	rest := line
	for _, part := range []struct {
		prefix string
		to     *string
	}{{headType, &r.Type}, {headID, &r.ID}, {headVersion, &r.Version}, {headTime, &at}} {
		var ok bool
		if rest, ok = bytes.CutPrefix(rest, []byte(part.prefix)); !ok {
			return fhir.Resource{}, errShape
		}
		end := bytes.IndexByte(rest[:min(len(rest), 128)], '"')
		if end < 0 {
			return fhir.Resource{}, errShape
		}
		*part.to, rest = string(rest[:end]), rest[end:]
	}
	if len(rest) < 2 || rest[1] != ',' && rest[1] != '}' {
		return fhir.Resource{}, errShape
	}
	return r, identify(&r, at)
}

// deletion reads the line of a deletion behind goneURL.
func deletion(rest []byte) (fhir.Resource, error) {
	if len(rest) > 512 {
		return fhir.Resource{}, errShape
	}
	r := fhir.Resource{Deleted: true}
	url, answer, ok1 := strings.Cut(string(rest), goneVersion)
	version, answer, ok2 := strings.Cut(answer, goneTime)
	at, ok3 := strings.CutSuffix(answer, goneEnd)
	if !ok1 || !ok2 || !ok3 {
		return fhir.Resource{}, errShape
	}
	r.Type, r.ID, _ = strings.Cut(url, "/")
	r.Version = version
	return r, identify(&r, at)
}

// identify checks what tells a version apart, and sets its time.
func identify(r *fhir.Resource, at string) error {
	var err error
	if r.LastUpdated, err = time.Parse(fhir.InstantFormat, at); err != nil || r.LastUpdated.Format(fhir.InstantFormat) != at {
		return errors.New("the time of the version is not written as Kiln does, 2026-05-01T12:00:00.000Z")
	}
	if !fhir.ValidType(r.Type) || !fhir.ValidID(r.ID) || number(r.Version) == 0 {
		return errors.New("the type, the id or the number of the version is none")
	}
	return nil
}

// parseVersion reads a line, which has no end any more, as a version of a resource. Its JSON is
// a copy.
func parseVersion(line []byte) (fhir.Resource, error) {
	r, err := head(line)
	if err != nil || r.Deleted {
		return r, err
	}
	resourceType, id, compact, err := fhir.Parse(line)
	if err != nil {
		issue := fhir.IssuesOf(err)[0]
		// What the parser says of a syntax error may quote the character it did not expect.
		what, _, _ := strings.Cut(issue.Message, ":")
		_, column, _ := strings.Cut(issue.Path, " column ")
		if column != "" {
			what = "column " + column + ": " + what
		}
		return fhir.Resource{}, errors.New(what)
	}
	if resourceType != r.Type || id != r.ID || !bytes.Equal(compact, line) {
		return fhir.Resource{}, errors.New("the JSON is not compact")
	}
	r.JSON = compact
	return r, nil
}

// appendEntry appends the line of an entry of the journal, without its end.
func appendEntry(dst []byte, id string, entry []byte) ([]byte, error) {
	if !utf8.ValidString(id) {
		return dst, errors.New("the id of an entry of the journal is not UTF-8")
	}
	quoted, err := json.Marshal(id)
	if err != nil {
		return dst, err
	}
	dst = append(dst, `{"id":`...)
	dst = append(dst, quoted...)
	dst = append(dst, `,"entry":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, entry)
	return append(dst, `"}`...), nil
}

// parseEntry reads a line of the journal.
func parseEntry(line []byte) (id string, entry []byte, err error) {
	var l struct {
		ID    string `json:"id"`
		Entry []byte `json:"entry"`
	}
	wrong := errors.New(`it is no entry of a journal as Kiln writes it: {"id":"…","entry":"base64"}`)
	if err := json.Unmarshal(line, &l); err != nil || l.ID == "" {
		return "", nil, wrong
	}
	again, err := appendEntry(make([]byte, 0, len(line)), l.ID, l.Entry)
	if err != nil || !bytes.Equal(again, line) {
		return "", nil, wrong
	}
	return l.ID, l.Entry, nil
}
