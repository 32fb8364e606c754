// Package ihepcd converts device observation reports of IHE PCD-01 (profile DEC):
// HL7 version 2 messages ORU^R01 whose observations carry IEEE 11073-10101 (MDC)
// codes, of patient monitors, ventilators, pumps and personal health gateways.
//
// A row is an OBX segment. Rows of the containment (MDS, VMD, channel) become
// Devices, rows of metrics Observations, rows of facets components of the metric that
// they belong to. README.md tells what maps to what.
//
// IHE Patient Care Device Technical Framework, volume 2, revision 9:
// https://www.ihe.net/resources/technical_frameworks/
package ihepcd

import (
	_ "embed"
	"errors"

	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	devpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/device_go_proto"

	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/adapters/format/hl7v2"
	"github.com/kiln-health/kiln/fhir"
)

//go:embed adapter.yaml
var manifest []byte

// Adapter converts IHE PCD-01. Its zero value has no manifest; use New.
type Adapter struct{ manifest adapters.Manifest }

var (
	_ adapters.Adapter  = (*Adapter)(nil)
	_ adapters.Detector = (*Adapter)(nil)
)

// New makes the adapter.
func New() *Adapter {
	m, err := adapters.ParseManifest(manifest)
	if err != nil {
		return &Adapter{} // refused by the registry
	}
	return &Adapter{m}
}

// Manifest is the content of adapter.yaml.
func (a *Adapter) Manifest() adapters.Manifest { return a.manifest }

// maxField is how long a field other than the value may be.
const maxField = 4096

// Convert maps a payload of one or several messages. A message that is no observation
// report of this kind does not keep the others of the payload from being mapped: its
// rows are skipped. Only when no message can be mapped is there an error.
func (a *Adapter) Convert(p adapters.Payload) (adapters.Conversion, error) {
	messages, err := hl7v2.Parse(p.Body)
	if err != nil {
		return adapters.Conversion{}, malformed(err)
	}
	w := newWork(p)
	var refused fhir.Error
	for _, m := range messages {
		if issue, ok := w.supported(m); !ok {
			refused.Issues = append(refused.Issues, issue)
			w.refuse(m, issue)
			continue
		}
		w.reports = append(w.reports, newReport(w, m))
	}
	if len(w.reports) == 0 {
		return adapters.Conversion{}, &refused
	}
	if err := w.resolvePatients(); err != nil {
		return adapters.Conversion{}, err
	}
	for _, r := range w.reports {
		r.convert()
	}
	w.finish()
	return w.Conversion, nil
}

// work is the conversion of one payload.
type work struct {
	adapters.Conversion
	payload   adapters.Payload
	reports   []*report
	devices   map[string]*devpb.Device // those that are in Conversion.Devices, by id
	codes     map[string]*coded
	concepts  map[conceptKey]*dtpb.CodeableConcept
	drafts    []*draft
	pressures map[pressureKey][]*draft
	patients  map[fhir.Identifier]bool // those that are in Conversion.Patients
	orphaned  bool                     // a reading without a patient was told of
}

func newWork(p adapters.Payload) *work {
	return &work{
		payload:   p,
		devices:   map[string]*devpb.Device{},
		codes:     map[string]*coded{},
		concepts:  map[conceptKey]*dtpb.CodeableConcept{},
		pressures: map[pressureKey][]*draft{},
		patients:  map[fhir.Identifier]bool{},
	}
}

// refuse skips the rows of a message that cannot be converted. A message without rows
// is told of in a warning.
func (w *work) refuse(m hl7v2.Message, why fhir.Issue) {
	rows := 0
	for _, s := range m.Segments {
		if s.Name == "OBX" {
			w.Rows++
			rows++
			w.Skip(fhir.SevError, why.Code, s.Path(), why.Fix, "the message is not converted: %s", why.Message)
		}
	}
	if rows == 0 {
		w.Warn(why.Code, why.Path, why.Fix, "the message is not converted: %s", why.Message)
	}
}

func malformed(err error) error {
	e, ok := errors.AsType[*hl7v2.Error](err)
	if !ok {
		return err
	}
	return &fhir.Error{Issues: []fhir.Issue{{Severity: fhir.SevError, Code: fhir.CodeStructure, Path: e.Path, Message: e.Reason, Fix: e.Fix}}}
}

// The mark of IHE's Patient Care Device domain in the OID of a transaction (MSH-21),
// and that of implantable devices (PCD-09), which are another family: in their PID-3
// stands the device.
const (
	pcdOID  = "1.3.6.1.4.1.19376.1.6."
	idcoOID = "1.3.6.1.4.1.19376.1.6.1.9."
)

// supported tells whether m is an observation report with MDC codes.
func (w *work) supported(m hl7v2.Message) (fhir.Issue, bool) {
	h := m.Header()
	no := func(field int, message, fix string) (fhir.Issue, bool) {
		return fhir.Issue{Severity: fhir.SevError, Code: fhir.CodeNotSupported, Path: h.FieldPath(field), Message: message, Fix: fix}, false
	}
	kind := h.Field(9)
	code, event := trim(kind.Component(1).Value()), trim(kind.Component(2).Value())
	if code != "ORU" || event != "R01" {
		return no(9, "the message is of type "+messageType(code, event)+", and only observation reports ORU^R01 are converted", "send observations as ORU^R01; alarms (R40), pump events (R42), orders and acknowledgements give no resources here")
	}
	if v := trim(h.Field(12).Value()); v != "" && v != "2" && (len(v) < 2 || v[:2] != "2.") {
		return no(12, "the message is not of HL7 version 2", "send HL7 version 2.x")
	}
	profile := false
	for _, r := range h.Field(21).All() {
		oid := trim(r.Component(3).Value())
		if hasPrefix(oid, idcoOID) {
			return no(21, "the message reports an implanted device (IHE PCD-09)", "send it to an adapter for implantable devices")
		}
		profile = profile || hasPrefix(oid, pcdOID) || isPCDName(r.Component(1).Value(), r.Component(2).Value())
	}
	mdc := false
	for _, s := range m.Segments {
		if s.Name != "OBX" {
			continue
		}
		c := w.code(s.Field(3))
		if isImplant(c) {
			issue, _ := no(9, "the message reports an implanted device (MDC_IDC codes)", "send it to an adapter for implantable devices")
			issue.Path = s.FieldPath(3)
			return issue, false
		}
		mdc = mdc || c.refid != "" || c.number != 0
	}
	if !mdc && !profile {
		return no(9, "no observation of the message has an MDC code, and MSH-21 names no profile of IHE PCD", "send laboratory results to an adapter for laboratory analysers")
	}
	return fhir.Issue{}, true
}

// messageType quotes a message type if it looks like one.
func messageType(code, event string) string {
	for _, s := range []string{code, event} {
		if len(s) != 3 || s[0] < 'A' || s[0] > 'Z' {
			return "unknown"
		}
		for i := range s {
			if (s[i] < 'A' || s[i] > 'Z') && (s[i] < '0' || s[i] > '9') {
				return "unknown"
			}
		}
	}
	return code + "^" + event
}

// isPCDName recognises a profile by the names that are in use where the OID is missing.
func isPCDName(name, namespace string) bool {
	name = trim(name)
	return trim(namespace) == "IHE PCD" || hasPrefix(name, "IHE_PCD") || hasPrefix(name, "IHE PCD") || hasPrefix(name, "PCD_DEC")
}
