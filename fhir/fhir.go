// Package fhir is FHIR R4 (4.0.1) as this program speaks it: the resource as it
// travels once it is bytes, the one diagnostic that every part reports in,
// constructors for the resources that adapters build, and their JSON.
//
// It imports nothing else of this module, so everything may import it.
package fhir

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Code systems and identifier systems that this program writes.
// http://hl7.org/fhir/R4/terminologies-systems.html
const (
	LOINC  = "http://loinc.org"
	MDC    = "urn:iso:std:iso:11073:10101" // IEEE 11073-10101 nomenclature
	UCUM   = "http://unitsofmeasure.org"
	SNOMED = "http://snomed.info/sct"

	ObservationCategory       = "http://terminology.hl7.org/CodeSystem/observation-category"
	ObservationInterpretation = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
	DataAbsentReason          = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
	ObservationValue          = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"

	// EUI64 identifies a device by its IEEE EUI-64 as the PHD guide does: 16 upper-case hexadecimal digits.
	EUI64 = "urn:oid:1.2.840.10004.1.1.1.0.0.1.0.0.1.2680"
	// BluetoothAddress identifies a device by its EUI-48, written 00-11-22-AA-BB-CC.
	BluetoothAddress = "http://hl7.org/fhir/sid/eui-48/bluetooth"

	// Namespace starts every URL that this project itself defines.
	Namespace = "https://github.com/kiln-health/kiln/fhir/"
	// ReadingID is the system of the identifier that makes a converted reading recognisable when it comes again.
	ReadingID = Namespace + "reading-id"
)

// Key names a resource. Version is empty for the current one.
type Key struct{ Type, ID, Version string }

// String is the relative URL of the resource: Type/ID or Type/ID/_history/Version.
func (k Key) String() string {
	if k.Version == "" {
		return k.Type + "/" + k.ID
	}
	return k.Type + "/" + k.ID + "/_history/" + k.Version
}

// Resource is one version of a resource: parsed once, kept, and served as stored.
// JSON is compact, carries meta.versionId and meta.lastUpdated, and must not be
// modified. A deleted version has no JSON.
type Resource struct {
	Key
	LastUpdated time.Time // UTC, whole milliseconds
	JSON        []byte
	Deleted     bool
}

// ValidID reports whether id may be a resource id: 1 to 64 of A-Z a-z 0-9 - and .
// http://hl7.org/fhir/R4/datatypes.html#id
func ValidID(id string) bool {
	if len(id) == 0 || len(id) > 64 {
		return false
	}
	for i := range len(id) {
		c := id[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.':
		default:
			return false
		}
	}
	return true
}

// HashID is the resource id of content: the same parts always give the same id,
// other parts (also ["ab","c"] against ["a","bc"]) another one. The id is 32
// characters that carry 160 bits of SHA-256.
func HashID(parts ...string) string {
	h := sha256.New()
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	var sum [sha256.Size]byte
	return strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(sum[:0])[:20]))
}

// Identifier is a business identifier: what a maker or a hospital calls a thing.
type Identifier struct{ System, Value string }

// ParseIdentifier reads the form system|value. Both parts must be there.
func ParseIdentifier(s string) (Identifier, error) {
	system, value, ok := strings.Cut(s, "|")
	if !ok || system == "" || value == "" {
		return Identifier{}, errors.New(`want system|value, as in "http://hospital.example/mrn|12345"`)
	}
	return Identifier{System: system, Value: value}, nil
}

// IsZero reports whether there is no identifier.
func (i Identifier) IsZero() bool { return i == Identifier{} }

// Severity of an issue. http://hl7.org/fhir/R4/valueset-issue-severity.html
type Severity string

// The severities, worst first.
const (
	Fatal       Severity = "fatal"
	SevError    Severity = "error"
	Warning     Severity = "warning"
	Information Severity = "information"
)

// Codes of issues. http://hl7.org/fhir/R4/valueset-issue-type.html
const (
	CodeInvalid       = "invalid"
	CodeStructure     = "structure"
	CodeRequired      = "required"
	CodeValue         = "value"
	CodeNotSupported  = "not-supported"
	CodeDuplicate     = "duplicate"
	CodeNotFound      = "not-found"
	CodeDeleted       = "deleted"
	CodeTooLong       = "too-long"
	CodeTooCostly     = "too-costly"
	CodeCodeInvalid   = "code-invalid"
	CodeConflict      = "conflict"
	CodeBusinessRule  = "business-rule"
	CodeInvariant     = "invariant"
	CodeException     = "exception"
	CodeIncomplete    = "incomplete"
	CodeTransient     = "transient"
	CodeInformational = "informational"
)

// Issue is the one diagnostic of this program: REST, adapters, configuration and
// conformance all report in it. Path says where: a FHIRPath for a resource,
// a place in the payload for an adapter (OBX[3]-6, row 17 column 8, byte 12,
// /body/measuregrps/4). Message says what, Fix how to mend it, Spec is the URL of
// the rule. No field ever holds patient data.
type Issue struct {
	Severity Severity `json:"severity"`
	Code     string   `json:"code"`
	Path     string   `json:"path,omitempty"`
	Message  string   `json:"message"`
	Fix      string   `json:"fix,omitempty"`
	Spec     string   `json:"spec,omitempty"`
}

// Error makes an Issue usable as an error: "path: message; fix: …".
func (i Issue) Error() string {
	var b strings.Builder
	if i.Path != "" {
		b.WriteString(i.Path + ": ")
	}
	b.WriteString(i.Message)
	if i.Fix != "" {
		b.WriteString("; fix: " + i.Fix)
	}
	return b.String()
}

// Error is a failure told in issues. It has at least one.
type Error struct{ Issues []Issue }

// Errorf is an Error of one issue of severity error.
func Errorf(code, path, format string, args ...any) *Error {
	return &Error{[]Issue{{Severity: SevError, Code: code, Path: path, Message: fmt.Sprintf(format, args...)}}}
}

// WithFix adds how to mend it to the first issue, and returns e.
func (e *Error) WithFix(fix string) *Error {
	e.Issues[0].Fix = fix
	return e
}

// WithSpec adds the URL of the violated rule to the first issue, and returns e.
func (e *Error) WithSpec(url string) *Error {
	e.Issues[0].Spec = url
	return e
}

// Error is the first issue and the number of the others.
func (e *Error) Error() string {
	if len(e.Issues) == 0 {
		return "unspecified failure"
	}
	if n := len(e.Issues) - 1; n > 0 {
		return fmt.Sprintf("%s (and %d more)", e.Issues[0].Error(), n)
	}
	return e.Issues[0].Error()
}

// IssuesOf are the issues that err carries, or one that says what err says.
func IssuesOf(err error) []Issue {
	if e, ok := errors.AsType[*Error](err); ok && len(e.Issues) > 0 {
		return e.Issues
	}
	if i, ok := errors.AsType[Issue](err); ok {
		return []Issue{i}
	}
	return []Issue{{Severity: SevError, Code: CodeException, Message: err.Error()}}
}
