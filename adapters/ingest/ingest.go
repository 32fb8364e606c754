// Package ingest brings payloads in: it keeps each one durable, converts it with its
// adapter, and stores all that it gave in one write. What cannot be converted goes to
// quarantine with the reasons and can be replayed after a fix. No payload is lost, and
// none is half stored.
package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"time"

	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	"github.com/google/uuid"

	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/adapters/when"
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// The shelves of the journal.
const (
	inbox      = "inbox"
	quarantine = "quarantine"
)

// Store is what ingest needs of a store: resources, and shelves for payloads.
type Store interface {
	store.Store
	store.Journal
}

// Options of a Pipeline. Store and Registry are required.
type Options struct {
	Store    Store
	Registry *adapters.Registry
	// Sources of the configuration, by name.
	Sources map[string]adapters.Source
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Logger gets one line for each payload that fails, without content. slog.Default if nil.
	Logger *slog.Logger
	// Observe is called once for each payload that was dealt with; it may be nil.
	Observe func(adapter string, outcome Outcome, c adapters.Conversion)
}

// Outcome is what became of a payload.
type Outcome string

// The outcomes.
const (
	Stored      Outcome = "stored"      // everything is stored
	Partial     Outcome = "partial"     // stored, but rows need attention: also in quarantine
	Quarantined Outcome = "quarantined" // nothing could be converted
	Failed      Outcome = "failed"      // the store refused; the payload waits in the inbox
)

// Pipeline takes payloads in. It may be used from any number of goroutines.
type Pipeline struct{ o Options }

// New makes a pipeline. Call Recover before the first payload.
func New(o Options) (*Pipeline, error) {
	if o.Store == nil || o.Registry == nil {
		return nil, errors.New("ingest: store and registry are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Observe == nil {
		o.Observe = func(string, Outcome, adapters.Conversion) {}
	}
	return &Pipeline{o}, nil
}

// Origin is where a payload came from, as the sender or an operator states it. It is
// kept with the payload by name, so that a replay sees what the configuration says then.
type Origin struct {
	Adapter string `json:"adapter,omitempty"` // "" detects it by content
	Source  string `json:"source,omitempty"`  // of the configuration
	Zone    string `json:"zone,omitempty"`    // beats that of the source
	Patient string `json:"patient,omitempty"` // system|value, beats that of the source
}

// Receipt tells what became of a payload that was stored.
type Receipt struct {
	Payload   string       `json:"payload"`
	Adapter   string       `json:"adapter"`
	Rows      int          `json:"rows"`
	Mapped    int          `json:"mapped"`
	Resources []Written    `json:"resources"`
	Skipped   []fhir.Issue `json:"skipped"`
	Warnings  []fhir.Issue `json:"warnings"`
	// Quarantine is the id under which the payload is also kept, because rows need attention.
	Quarantine string `json:"quarantine,omitempty"`
}

// Written is one resource of a receipt. Change is created, updated or unchanged.
type Written struct {
	Reference string `json:"reference"`
	Version   string `json:"version"`
	Change    string `json:"change"`
}

// RefusedError is a payload that could not be converted and is kept in quarantine. It
// unwraps to the *fhir.Error that tells why.
type RefusedError struct {
	Quarantine string // its id there
	Err        *fhir.Error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("ingest: payload kept in quarantine as %s: %v", e.Quarantine, e.Err)
}
func (e *RefusedError) Unwrap() error { return e.Err }

// entry is a payload on a shelf: a line of JSON, then the body as it came.
type entry struct {
	ID string `json:"-"`
	Origin
	MediaType string       `json:"mediaType,omitempty"`
	Received  time.Time    `json:"received"`
	Bytes     int          `json:"bytes"`
	Issues    []fhir.Issue `json:"issues,omitempty"`
	body      []byte
}

func (e *entry) marshal() ([]byte, error) {
	head, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	return append(append(head, '\n'), e.body...), nil
}

func unmarshal(id string, b []byte) (*entry, error) {
	for n, c := range b {
		if c != '\n' {
			continue
		}
		e := &entry{ID: id, body: b[n+1:]}
		if err := json.Unmarshal(b[:n], e); err != nil {
			return nil, fmt.Errorf("ingest: payload %s: %w", id, err)
		}
		return e, nil
	}
	return nil, fmt.Errorf("ingest: payload %s: %w", id, io.ErrUnexpectedEOF)
}

// Accept takes in one payload. When it returns a receipt, everything that the payload
// gave is stored. A *RefusedError means that it is in quarantine; an *fhir.Error that the
// origin makes no sense and nothing was kept; any other error that the store failed: if the
// payload had reached the inbox by then, Recover stores it, and sending it again does no harm.
func (p *Pipeline) Accept(ctx context.Context, from Origin, mediaType string, body []byte) (Receipt, error) {
	if err := p.check(from); err != nil {
		return Receipt{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Receipt{}, fmt.Errorf("ingest: %w", err)
	}
	e := &entry{ID: id.String(), Origin: from, MediaType: mediaType, Received: p.o.Now().UTC(), Bytes: len(body), body: body}
	if err := p.keep(ctx, inbox, e); err != nil {
		return Receipt{}, err
	}
	// A sender that hangs up now changes nothing: the payload is ours.
	return p.process(context.WithoutCancel(ctx), inbox, e)
}

// check refuses an origin that can never work, before anything is kept.
func (p *Pipeline) check(from Origin) error {
	if from.Adapter != "" {
		if _, ok := p.o.Registry.Lookup(from.Adapter); !ok {
			var list []string
			for _, a := range p.o.Registry.All() {
				list = append(list, a.Manifest().Name)
			}
			return fhir.Errorf(fhir.CodeNotFound, "adapter", "there is no adapter of that name").WithFix(fmt.Sprintf("use one of %v, or POST /ingest to have it detected", list))
		}
	}
	_, err := p.source(from)
	return err
}

// source is what is known of an origin.
func (p *Pipeline) source(from Origin) (adapters.Source, error) {
	var s adapters.Source
	if from.Source != "" {
		known, ok := p.o.Sources[from.Source]
		if !ok {
			return s, fhir.Errorf(fhir.CodeNotFound, "source", "the configuration has no source of that name").WithFix("add it under sources: in the configuration, or state zone and patient directly")
		}
		s = known
	}
	if from.Zone != "" {
		zone, err := when.ParseZone(from.Zone)
		if err != nil {
			return s, fhir.Errorf(fhir.CodeValue, "zone", "%v", err)
		}
		s.Zone = zone
	}
	if from.Patient != "" {
		patient, err := fhir.ParseIdentifier(from.Patient)
		if err != nil {
			return s, fhir.Errorf(fhir.CodeValue, "patient", "%v", err)
		}
		s.Patient = patient
	}
	return s, nil
}

func (p *Pipeline) keep(ctx context.Context, shelf string, e *entry) error {
	b, err := e.marshal()
	if err != nil {
		return err
	}
	if err := p.o.Store.Keep(ctx, shelf, e.ID, b); err != nil {
		return fmt.Errorf("ingest: %s: %w", shelf, err)
	}
	return nil
}

// process converts and stores a payload that lies on the shelf, and takes it from there.
func (p *Pipeline) process(ctx context.Context, shelf string, e *entry) (Receipt, error) {
	name, c, err := p.convert(e)
	var written []store.Result
	if err == nil {
		written, err = p.write(ctx, &c)
	}
	refused, isRefused := errors.AsType[*fhir.Error](err)
	switch {
	case isRefused:
		return Receipt{}, p.refuse(ctx, shelf, e, name, refused)
	case err != nil:
		p.o.Observe(name, Failed, c)
		p.o.Logger.ErrorContext(ctx, "payload not stored, it waits in the inbox", "payload", e.ID, "adapter", name, "error", err)
		return Receipt{}, fmt.Errorf("ingest: payload %s: %w", e.ID, err)
	}

	r := Receipt{Payload: e.ID, Adapter: name, Rows: c.Rows, Mapped: c.Mapped,
		Resources: make([]Written, len(written)), Skipped: orEmpty(c.Skipped), Warnings: orEmpty(c.Warnings)}
	for i, w := range written {
		change := "updated"
		switch {
		case w.Created:
			change = "created"
		case w.Unchanged:
			change = "unchanged"
		}
		r.Resources[i] = Written{fhir.Key{Type: w.Type, ID: w.ID}.String(), w.Version, change}
	}
	outcome := Stored
	if unresolved := c.Unresolved(); len(unresolved) > 0 {
		outcome, r.Quarantine = Partial, e.ID
		e.Issues = unresolved
		if err := p.keep(ctx, quarantine, e); err != nil {
			return Receipt{}, err
		}
	}
	if outcome == Stored || shelf != quarantine {
		if err := p.o.Store.Remove(ctx, shelf, e.ID); err != nil {
			return Receipt{}, fmt.Errorf("ingest: payload %s is stored, but stays in the %s: %w", e.ID, shelf, err)
		}
	}
	p.o.Observe(name, outcome, c)
	return r, nil
}

func orEmpty(issues []fhir.Issue) []fhir.Issue {
	if issues == nil {
		return []fhir.Issue{}
	}
	return issues
}

// refuse moves a payload to quarantine.
func (p *Pipeline) refuse(ctx context.Context, shelf string, e *entry, name string, why *fhir.Error) error {
	e.Issues = why.Issues
	if err := p.keep(ctx, quarantine, e); err != nil {
		return err
	}
	if shelf != quarantine {
		if err := p.o.Store.Remove(ctx, shelf, e.ID); err != nil {
			return fmt.Errorf("ingest: payload %s: %w", e.ID, err)
		}
	}
	p.o.Observe(name, Quarantined, adapters.Conversion{})
	p.o.Logger.WarnContext(ctx, "payload in quarantine", "payload", e.ID, "adapter", name, "issues", len(why.Issues), "code", why.Issues[0].Code, "path", why.Issues[0].Path)
	return &RefusedError{e.ID, why}
}

// convert calls the adapter. Every failure is an *fhir.Error: that of the adapter, rows
// that need attention beside no reading at all, and also a panic and a conversion that
// does not add up, which would be faults of the adapter.
func (p *Pipeline) convert(e *entry) (name string, c adapters.Conversion, err error) {
	source, err := p.source(e.Origin)
	if err != nil {
		return e.Adapter, c, asIssues(err)
	}
	payload := adapters.Payload{Body: e.body, MediaType: e.MediaType, Received: e.Received, Source: source}
	defer func() {
		if r := recover(); r != nil {
			p.o.Logger.Error("an adapter panicked", "adapter", name, "payload", e.ID, "stack", string(debug.Stack()))
			c, err = adapters.Conversion{}, fhir.Errorf(fhir.CodeException, "", "the adapter failed on this payload").WithFix("report it to the makers of the adapter, then replay the payload")
		}
	}()
	adapter, ok := p.o.Registry.Lookup(e.Adapter)
	if e.Adapter == "" {
		if adapter, err = p.o.Registry.Detect(payload); err != nil {
			return "", c, asIssues(err)
		}
	} else if !ok {
		return e.Adapter, c, fhir.Errorf(fhir.CodeNotFound, "adapter", "there is no adapter of that name any more")
	}
	name = adapter.Manifest().Name
	if c, err = adapter.Convert(payload); err != nil {
		return name, adapters.Conversion{}, asIssues(err)
	}
	if err := c.Check(); err != nil {
		p.o.Logger.Error("an adapter does not add up", "adapter", name, "payload", e.ID, "error", err)
		return name, adapters.Conversion{}, fhir.Errorf(fhir.CodeException, "", "the adapter does not account for all rows").WithFix("report it to the makers of the adapter, then replay the payload")
	}
	if unresolved := c.Unresolved(); len(c.Observations) == 0 && len(unresolved) > 0 {
		return name, adapters.Conversion{}, &fhir.Error{Issues: unresolved}
	}
	return name, c, nil
}

func asIssues(err error) *fhir.Error { return &fhir.Error{Issues: fhir.IssuesOf(err)} }

// write stores a conversion in one step. Who is known under the identifier of a patient
// is looked up first; a patient that appears in between makes it look again.
func (p *Pipeline) write(ctx context.Context, c *adapters.Conversion) ([]store.Result, error) {
	const attempts = 3
	for attempt := 1; ; attempt++ {
		known, err := p.resolve(ctx, c)
		if err != nil {
			return nil, err
		}
		resources, err := c.Resources()
		if err != nil {
			return nil, fhir.Errorf(fhir.CodeException, "", "the conversion cannot be written as FHIR: %v", err)
		}
		var changes []store.Change
		for _, r := range resources {
			if r.Type == "Patient" && known[r.ID] {
				continue
			}
			changes = append(changes, store.Change{Key: r.Key, JSON: r.JSON, If: store.Condition{Absent: r.Type == "Patient"}})
		}
		if len(changes) == 0 {
			return nil, nil
		}
		written, err := p.o.Store.Write(ctx, changes...)
		if errors.Is(err, store.ErrConflict) && attempt < attempts {
			continue
		}
		return written, err
	}
}

// resolve finds the patients of a conversion in the store and points its resources at
// them. The result has the ids, as PatientID gives them, of those that are there. Two
// patients with one identifier are an error: a reading on the wrong one harms.
func (p *Pipeline) resolve(ctx context.Context, c *adapters.Conversion) (known map[string]bool, err error) {
	known = make(map[string]bool, len(c.Patients))
	moved := map[string]string{}
	param, _ := search.R4().Lookup("Patient", "identifier")
	for _, i := range c.Patients {
		page, err := p.o.Store.Search(ctx, search.Query{
			Type:  "Patient",
			Where: []search.Clause{{Param: param, Values: []search.Value{{System: i.System, Code: i.Value}}}},
			Sort:  []search.Sort{{Param: "_id"}},
			Count: 2,
			Total: search.TotalNone,
		})
		if err != nil {
			return nil, err
		}
		switch id := fhir.PatientID(i); len(page.Resources) {
		case 0:
		case 1:
			known[id] = true
			if found := page.Resources[0].ID; found != id {
				moved[id] = found
			}
		default:
			return nil, fhir.Errorf(fhir.CodeDuplicate, "patient", "more than one Patient resource has the identifier of the patient").WithFix("merge or delete the duplicates, then replay the payload")
		}
	}
	if len(moved) == 0 {
		return known, nil
	}
	point := func(r *dtpb.Reference) {
		if id, ok := r.GetReference().(*dtpb.Reference_PatientId); ok {
			if to, ok := moved[id.PatientId.GetValue()]; ok {
				id.PatientId.Value = to
			}
		}
	}
	for _, o := range c.Observations {
		point(o.GetSubject())
		for _, performer := range o.GetPerformer() {
			point(performer)
		}
	}
	for _, d := range c.Devices {
		point(d.GetPatient())
	}
	return known, nil
}

// Recover stores what a crash left in the inbox, and returns how many payloads that were.
// It is called once, before the first payload is accepted.
func (p *Pipeline) Recover(ctx context.Context) (int, error) {
	n := 0
	for after := ""; ; {
		ids, err := p.o.Store.Entries(ctx, inbox, after, 100)
		if err != nil {
			return n, fmt.Errorf("ingest: %w", err)
		}
		if len(ids) == 0 {
			return n, nil
		}
		for _, id := range ids {
			after = id
			b, err := p.o.Store.Fetch(ctx, inbox, id)
			if err != nil {
				return n, fmt.Errorf("ingest: %w", err)
			}
			e, err := unmarshal(id, b)
			if err != nil {
				return n, err
			}
			_, err = p.process(ctx, inbox, e)
			if _, refused := errors.AsType[*RefusedError](err); err != nil && !refused {
				return n, err
			}
			n++
		}
	}
}
