// Package dexcomclarity converts the table that Dexcom Clarity exports for one patient:
// readings of continuous glucose monitors, calibrations and carbohydrates.
//
// The table tells the wall clock of the phone or receiver and no zone. The counter of the
// transmitter beside it tells the two hours of an autumn night apart and shows journeys;
// see package when. README.md has the mapping.
package dexcomclarity

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"slices"

	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/adapters/format/delimited"
	"github.com/kiln-health/kiln/adapters/when"
	"github.com/kiln-health/kiln/fhir"
)

//go:embed adapter.yaml
var manifest []byte

// Adapter converts Clarity exports. It has no state.
type Adapter struct{ manifest adapters.Manifest }

var (
	_ adapters.Adapter  = (*Adapter)(nil)
	_ adapters.Detector = (*Adapter)(nil)
)

// New is the adapter.
func New() *Adapter {
	m, err := adapters.ParseManifest(manifest)
	if err != nil {
		m = adapters.Manifest{} // which a Registry refuses
	}
	return &Adapter{m}
}

// Manifest is adapter.yaml.
func (a *Adapter) Manifest() adapters.Manifest { return a.manifest }

// detectable is how much of a payload Detect looks at. A header is shorter.
const detectable = 8 << 10

// Detect reports whether the first line is the header of a Clarity export: time, event
// type, glucose value and some more of its columns. One that is not known beside them is
// for Convert to name.
func (a *Adapter) Detect(p adapters.Payload) bool {
	body := p.Body
	if len(body) > detectable {
		body = body[:detectable]
		if end := bytes.LastIndexAny(body, "\r\n"); end > 0 {
			body = body[:end]
		}
		if bytes.HasPrefix(body, []byte("\xff\xfe")) || bytes.HasPrefix(body, []byte("\xfe\xff")) {
			body = body[:len(body)&^1] // whole UTF-16 characters
		}
	}
	r, err := delimited.Open(body)
	if err != nil {
		return false
	}
	var there [columns]bool
	known := 0
	for _, text := range r.Header() {
		name, _ := split(text)
		if c, ok := columnOf(name); ok {
			there[c] = true
			known++
		}
	}
	return there[cTime] && there[cEvent] && there[cGlucose] && known >= 6
}

// Convert maps the lines below the header. Rows are these lines.
func (a *Adapter) Convert(p adapters.Payload) (adapters.Conversion, error) {
	r, err := delimited.Open(p.Body)
	if err != nil {
		return adapters.Conversion{}, refused(err)
	}
	t, bad := readHeader(r.Header())
	if bad != nil {
		return adapters.Conversion{}, bad
	}
	x := export{payload: p, table: t, kinds: map[string]kind{}, person: map[string]string{}, apps: map[string]string{}}
	for row, err := range r.Rows() {
		if e, ok := errors.AsType[*delimited.Error](err); ok {
			if e.Fatal {
				return adapters.Conversion{}, refused(e)
			}
			x.Rows++
			x.skip(row.Line, fhir.SevError, fhir.CodeStructure, e.Fix, "the line cannot be read: %s", e.Reason)
			continue
		}
		x.Rows++
		x.read(row)
	}
	if err := x.whose(); err != nil {
		return adapters.Conversion{}, err
	}
	x.resolve()
	x.build()
	return x.done(), nil
}

func refused(err error) *fhir.Error {
	e, ok := errors.AsType[*delimited.Error](err)
	if !ok {
		return fhir.Errorf(fhir.CodeStructure, "", "the table cannot be read")
	}
	path := ""
	if e.Line > 0 {
		path = fmt.Sprintf("line %d", e.Line)
	}
	return fhir.Errorf(fhir.CodeStructure, path, "%s", e.Reason).WithFix(e.Fix)
}

// export is the conversion of one payload.
type export struct {
	adapters.Conversion
	payload adapters.Payload
	table   *table

	kinds    map[string]kind   // event types met, as written
	person   map[string]string // what the payload calls the person, by event type
	several  bool              // it names more than one
	id       string            // PatientIdentifier
	apps     map[string]string // what runs on a display device, by its folded name
	patient  fhir.Identifier
	entries  []entry
	timeline when.Timeline
	skips    []lineIssue
}

// lineIssue is a skipped line, kept with its number so that skips come out in order.
type lineIssue struct {
	line  int
	issue fhir.Issue
}

func (x *export) skip(line int, severity fhir.Severity, code, fix, format string, args ...any) {
	x.skips = append(x.skips, lineIssue{line, fhir.Issue{Severity: severity, Code: code, Path: fmt.Sprintf("line %d", line), Message: fmt.Sprintf(format, args...), Fix: fix}})
}

// done is the conversion with its skips in the order of the lines.
func (x *export) done() adapters.Conversion {
	slices.SortStableFunc(x.skips, func(a, b lineIssue) int { return a.line - b.line })
	for _, s := range x.skips {
		x.Skipped = append(x.Skipped, s.issue)
	}
	return x.Conversion
}
