package ihepcd

import (
	"net/url"
	"strings"

	"github.com/kiln-health/kiln/adapters/format/hl7v2"
	"github.com/kiln-health/kiln/fhir"
)

// patient is a PID segment: whom the orders after it are about.
type patient struct {
	segment     hl7v2.Segment
	candidates  []fhir.Identifier // as PID tells them, best first
	field       int               // where they stand
	noAuthority bool              // the best one has a system that we made up
	resolved    fhir.Identifier
	problem     *problem // why the patient is not known, although PID names one
}

// readPatient reads the identifiers of a PID segment: those of PID-3, else PID-2, else
// PID-4. A medical record number is better than another patient number, and that is
// better than anything else; numbers of an account or a visit are last.
func (w *work) readPatient(pid, header hl7v2.Segment) *patient {
	p := &patient{segment: pid, field: 3}
	for _, field := range []int{3, 2, 4} {
		rank := []int{}
		made := []bool{}
		for _, cx := range pid.Field(field).All() {
			value := line(cx.Component(1).Value())
			if value == "" || len(value) > maxIdentifier {
				continue
			}
			system, isMade := w.authority(cx.Component(4), header)
			if system == "" {
				p.problem = &problem{fhir.SevError, fhir.CodeRequired, field, "the patient id has no assigning authority, and neither MSH-4 nor MSH-3 names the sender",
					"state the system of patient ids: patientSystem in the source's configuration; or send PID-3 as 4711^^^HOSPITAL^MR"}
				continue
			}
			n := rankOf(trim(cx.Component(5).Value()))
			at := 0
			for at < len(rank) && rank[at] <= n {
				at++
			}
			id := fhir.Identifier{System: system, Value: value}
			p.candidates = insert(p.candidates, at, id)
			rank = insert(rank, at, n)
			made = insert(made, at, isMade)
		}
		if len(p.candidates) > 0 {
			p.field, p.problem, p.noAuthority = field, nil, made[0]
			return p
		}
	}
	return p
}

func insert[T any](list []T, at int, v T) []T {
	list = append(list, v)
	copy(list[at+1:], list[at:])
	list[at] = v
	return list
}

// rankOf sorts the types of table 0203, best first.
func rankOf(kind string) int {
	switch strings.ToUpper(kind) {
	case "MR":
		return 0
	case "PI":
		return 1
	case "AN", "VN":
		return 3
	}
	return 2
}

// authority is the identifier system of an assigning authority (HD): namespace &
// universal id & type. Without one it is the site's, else one of ours for this sender;
// made tells that. https://build.fhir.org/ig/HL7/v2-to-fhir/ConceptMap-datatype-cx-to-identifier.html
func (w *work) authority(hd hl7v2.Component, header hl7v2.Segment) (system string, made bool) {
	namespace, universal, kind := line(hd.Sub(1)), line(hd.Sub(2)), strings.ToUpper(line(hd.Sub(3)))
	switch {
	case universal == "":
	case kind == "ISO" && isOID(universal):
		return "urn:oid:" + universal, false
	case kind == "UUID" || kind == "GUID":
		if id, ok := uuid(universal); ok {
			return "urn:uuid:" + id, false
		}
	case kind == "URI" && isURI(universal):
		return universal, false
	case kind == "DNS":
		return "urn:id:" + url.PathEscape(universal), false
	}
	own := w.payload.Source.PatientSystem
	switch sender := first(line(header.Field(4).Value()), line(header.Field(3).Value())); {
	case own != "":
		return own, false
	case namespace != "":
		return "urn:id:" + url.PathEscape(namespace), false
	case universal != "":
		return "urn:id:" + url.PathEscape(universal), false
	case sender != "":
		return local("patient-id", sender), true
	}
	return "", false
}

// resolvePatients decides whom the readings of the payload are about, before any is
// converted: what the site maps, else whom the site states, else whom PID names. A
// contradiction between site and payload is never decided by guessing.
func (w *work) resolvePatients() error {
	stated := w.payload.Source.Patient
	var unmapped *patient
	for _, r := range w.reports {
		for _, p := range r.patients {
			if w.mapped(p) || len(p.candidates) == 0 {
				continue
			}
			if unmapped != nil && !stated.IsZero() && !p.shares(unmapped) {
				return fhir.Errorf(fhir.CodeConflict, p.segment.FieldPath(p.field), "the payload names more than one patient, and the source states one for all of them").
					WithFix("remove patient from the source's settings, or map each patient id with patients")
			}
			unmapped = p
		}
	}
	for _, r := range w.reports {
		for _, p := range r.patients {
			r.resolvePatient(p, stated)
		}
	}
	return nil
}

func (p *patient) shares(other *patient) bool {
	for _, a := range p.candidates {
		for _, b := range other.candidates {
			if a == b {
				return true
			}
		}
	}
	return false
}

// mapped finds the site's mapping of an id of PID.
func (w *work) mapped(p *patient) bool {
	for _, c := range p.candidates {
		if to, ok := w.payload.Source.Patients[c.Value]; ok {
			p.resolved = to
			return true
		}
	}
	return false
}

func (r *report) resolvePatient(p *patient, stated fhir.Identifier) {
	path := p.segment.FieldPath(p.field)
	switch {
	case !p.resolved.IsZero():
	case !stated.IsZero():
		p.problem = nil
		p.resolved = stated
		for _, c := range p.candidates {
			if c == stated {
				return
			}
		}
		for _, c := range p.candidates {
			if c.System == stated.System {
				p.resolved = fhir.Identifier{}
				p.problem = &problem{fhir.SevError, fhir.CodeConflict, p.field, "the message names another patient than the source states, in the same identifier system",
					"correct patient in the source's settings, or map the patient id with patients"}
				return
			}
		}
		if len(p.candidates) > 0 {
			r.warnOnce("patient stated", fhir.CodeBusinessRule, path, "map the patient id with patients if the payload is right", "the patient that the source states is used, not the one that the message names")
		}
	case len(p.candidates) > 0:
		p.resolved = p.candidates[0]
		if p.noAuthority {
			r.warnOnce("authority", fhir.CodeBusinessRule, path, "state the system of patient ids: patientSystem in the source's configuration; or send PID-3 as 4711^^^HOSPITAL^MR",
				"the patient id has no assigning authority; it is taken as one of the sender's own")
		}
	}
}
