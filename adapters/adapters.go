// Package adapters holds what an adapter is: one folder that turns the payloads of
// one device family into FHIR resources. An adapter is pure: it has no clock, no
// network and no state, it may be called from many goroutines, and it never panics.
//
// What an adapter cannot map it lists; it drops nothing in silence.
package adapters

import (
	"fmt"
	"slices"
	"strings"
	"time"

	devpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/device_go_proto"
	obpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"

	"github.com/kiln-health/kiln/fhir"
)

// Adapter converts the payloads of one device family.
type Adapter interface {
	// Manifest tells what the adapter is. It is the same at every call.
	Manifest() Manifest
	// Convert maps one payload. An error (an *fhir.Error) means that nothing of the
	// payload could be mapped: it is malformed, or not of this family. Rows that could
	// not be mapped beside others that could are listed in Conversion.Skipped. The same
	// payload gives the same conversion, to the byte.
	Convert(Payload) (Conversion, error)
}

// Detector is an Adapter that recognises its payloads by their content. Detect looks
// at the first bytes only, is quick, and says no when in doubt.
type Detector interface{ Detect(Payload) bool }

// Payload is what arrived, and what is known of where it came from.
type Payload struct {
	Body []byte // not to be modified
	// MediaType as the sender stated it, with parameters, or "" if it did not.
	MediaType string
	// Received is when the payload reached us. It is evidence for sanity checks, and the
	// time of a reading only for formats in which the sender is the clock.
	Received time.Time
	Source   Source
}

// Source is what a site knows of a sender and the payload does not say.
type Source struct {
	Name string
	// Zone of device clocks that tell no offset; nil when unknown. Never the server's own.
	Zone *time.Location
	// Patient that every reading of the payload belongs to, stated by the site.
	Patient fhir.Identifier
	// Patients maps a user or patient id of the payload (user slot "2", PID-3 "4711") to the patient.
	Patients map[string]fhir.Identifier
	// PatientSystem is the identifier system of patient ids that the payload gives without one.
	PatientSystem string
}

// Conversion is what became of a payload. Rows counts what the format calls a row
// (OBX segment, CSV line, measure, characteristic); every row is either in Mapped or
// has its reason in Skipped: Rows == Mapped + len(Skipped).
type Conversion struct {
	// Patients are those the readings are about. They are created where the store knows
	// no patient with that identifier, and never changed.
	Patients     []fhir.Identifier
	Devices      []*devpb.Device // a device comes before those that are part of it
	Observations []*obpb.Observation

	Rows   int
	Mapped int
	// Skipped has one issue for each row that gave no resource. Severity information: the
	// row is no reading (a setting, an alarm limit, a goal). Severity error: a reading that
	// needs somebody's attention; the payload is kept in quarantine and can be replayed.
	Skipped []fhir.Issue
	// Warnings tell of readings that were mapped with a doubt.
	Warnings []fhir.Issue
}

// Skip records a row that gave no resource.
func (c *Conversion) Skip(severity fhir.Severity, code, path, fix, format string, args ...any) {
	c.Skipped = append(c.Skipped, fhir.Issue{Severity: severity, Code: code, Path: path, Message: fmt.Sprintf(format, args...), Fix: fix})
}

// Warn records a doubt about a row that was mapped.
func (c *Conversion) Warn(code, path, fix, format string, args ...any) {
	c.Warnings = append(c.Warnings, fhir.Issue{Severity: fhir.Warning, Code: code, Path: path, Message: fmt.Sprintf(format, args...), Fix: fix})
}

// AddDevice adds d unless a device of that id is there.
func (c *Conversion) AddDevice(d *devpb.Device) {
	if !slices.ContainsFunc(c.Devices, func(have *devpb.Device) bool { return have.GetId().GetValue() == d.GetId().GetValue() }) {
		c.Devices = append(c.Devices, d)
	}
}

// AddPatient adds p unless it is there or is no identifier.
func (c *Conversion) AddPatient(p fhir.Identifier) {
	if !p.IsZero() && !slices.Contains(c.Patients, p) {
		c.Patients = append(c.Patients, p)
	}
}

// Unresolved are the skipped rows that need somebody's attention.
func (c *Conversion) Unresolved() []fhir.Issue {
	var out []fhir.Issue
	for _, s := range c.Skipped {
		if s.Severity == fhir.SevError || s.Severity == fhir.Fatal {
			out = append(out, s)
		}
	}
	return out
}

// Check reports a conversion that does not add up: rows not accounted for, or two
// different readings under one id.
func (c *Conversion) Check() error {
	if c.Rows != c.Mapped+len(c.Skipped) {
		return fmt.Errorf("%d rows, but %d mapped and %d skipped", c.Rows, c.Mapped, len(c.Skipped))
	}
	seen := make(map[string]bool, len(c.Observations))
	for _, o := range c.Observations {
		id := o.GetId().GetValue()
		if !fhir.ValidID(id) {
			return fmt.Errorf("an observation without a valid id")
		}
		if seen[id] {
			return fmt.Errorf("two observations with the id %s: what tells them apart is missing in Reading.Same", id)
		}
		seen[id] = true
	}
	return nil
}

// Registry is a list of adapters, told apart by name. The zero value is empty. It is
// filled once and then only read.
type Registry struct{ adapters []Adapter }

// NewRegistry makes a registry. Two adapters of one name, or a name that cannot stand
// in a URL, are an error.
func NewRegistry(list ...Adapter) (*Registry, error) {
	r := &Registry{}
	for _, a := range list {
		name := a.Manifest().Name
		if !slug.MatchString(name) {
			return nil, fmt.Errorf("adapters: the adapter %T has no valid adapter.yaml: name is %q", a, name)
		}
		if _, ok := r.Lookup(name); ok {
			return nil, fmt.Errorf("adapters: two adapters are called %q", name)
		}
		r.adapters = append(r.adapters, a)
	}
	slices.SortFunc(r.adapters, func(a, b Adapter) int { return strings.Compare(a.Manifest().Name, b.Manifest().Name) })
	return r, nil
}

// All are the adapters by name.
func (r *Registry) All() []Adapter { return r.adapters }

// Lookup finds an adapter by name.
func (r *Registry) Lookup(name string) (Adapter, bool) {
	for _, a := range r.adapters {
		if a.Manifest().Name == name {
			return a, true
		}
	}
	return nil, false
}

// Detect finds the one adapter that recognises p. None, or more than one, is an
// *fhir.Error: who decides by chance converts wrongly.
func (r *Registry) Detect(p Payload) (Adapter, error) {
	var found []Adapter
	for _, a := range r.adapters {
		if d, ok := a.(Detector); ok && d.Detect(p) {
			found = append(found, a)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fhir.Errorf(fhir.CodeNotSupported, "", "no adapter recognises the payload").WithFix("name the adapter, one of " + names(r.adapters))
	default:
		return nil, fhir.Errorf(fhir.CodeNotSupported, "", "more than one adapter recognises the payload").WithFix("name the adapter, one of " + names(found))
	}
}

func names(list []Adapter) string {
	var b []string
	for _, a := range list {
		b = append(b, a.Manifest().Name)
	}
	return strings.Join(b, ", ")
}
