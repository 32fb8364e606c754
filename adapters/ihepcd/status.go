package ihepcd

import (
	codes "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/codes_go_proto"
	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"

	"github.com/kiln-health/kiln/adapters/format/hl7v2"
	"github.com/kiln-health/kiln/fhir"
)

// Code systems of what OBX-8 turns into.
const (
	measurementStatus = "http://terminology.hl7.org/CodeSystem/measurement-status"
	actReason         = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
)

// flag is what one repetition of OBX-8 means. The table is that of the mapping of the
// Point-of-Care Device guide; "no flag" does not claim reliability here.
// https://build.fhir.org/ig/HL7/uv-pocd/mappingv2.html
type flag struct {
	absent         string // a code of DataAbsentReason
	reliability    string // a security label of v3-ObservationValue
	status         string // an interpretation of measurement-status
	interpretation string // an interpretation of v3-ObservationInterpretation
	comparator     byte
	test           bool
	alarm          bool // says something of an alarm, nothing of the value
}

func flagOf(code string) (flag, bool) {
	switch code {
	case "INV":
		return flag{absent: "error", reliability: "UNRELIABLE"}, true
	case "QUES":
		return flag{reliability: "UNCERTREL", status: "questionable"}, true
	case "NAV":
		return flag{absent: "temp-unknown"}, true
	case "CAL":
		return flag{reliability: "UNCERTREL", status: "calibration-ongoing"}, true
	case "TEST", "DEMO":
		return flag{test: true}, true
	case "VAL":
		return flag{reliability: "HRELIABLE", status: "validated-data"}, true
	case "EARLY":
		return flag{status: "early-indication"}, true
	case "BUSY":
		return flag{absent: "temp-unknown", status: "msmt-ongoing"}, true
	case "ALACT":
		return flag{status: "in-alarm"}, true
	case "ALINH":
		return flag{status: "alarm-inhibited"}, true
	case "NI":
		return flag{absent: "unknown"}, true
	case "OFF":
		return flag{absent: "not-performed"}, true
	case "<":
		return flag{interpretation: "<", comparator: '<'}, true
	case ">":
		return flag{interpretation: ">", comparator: '>'}, true
	case "N", "A", "L", "LL", "H", "HH":
		return flag{interpretation: code}, true
	case "PN", "PL", "PM", "PH", "SP", "ST", "SA":
		return flag{alarm: true}, true
	}
	return flag{}, false
}

// quality is what OBX-8 as a whole means.
type quality struct {
	absent         string
	interpretation []*dtpb.CodeableConcept
	security       []*dtpb.Coding
	comparator     byte
	unknown        bool // a flag that is not of the table; it is kept as text
}

func readQuality(f hl7v2.Field) quality {
	var q quality
	if f.IsEmpty() {
		return q
	}
	for _, r := range f.All() {
		code := line(r.Component(1).Value())
		if code == "" {
			continue
		}
		is, known := flagOf(code)
		if !known {
			q.unknown = true
			q.interpretation = append(q.interpretation, fhir.Concept(code))
			continue
		}
		if is.absent != "" && q.absent == "" {
			q.absent = is.absent
		}
		if is.comparator != 0 {
			q.comparator = is.comparator
		}
		if is.interpretation != "" {
			q.interpretation = append(q.interpretation, fhir.Concept("", fhir.Coding(fhir.ObservationInterpretation, is.interpretation, "")))
		}
		if is.status != "" {
			q.interpretation = append(q.interpretation, fhir.Concept("", fhir.Coding(measurementStatus, is.status, "")))
		}
		if is.reliability != "" {
			q.security = append(q.security, fhir.Coding(fhir.ObservationValue, is.reliability, ""))
		}
		if is.test {
			q.security = append(q.security, testData())
		}
	}
	return q
}

// testData labels what is no reading of a patient: training, demonstration, debugging.
// http://hl7.org/fhir/R4/security-labels.html
func testData() *dtpb.Coding { return fhir.Coding(actReason, "HTEST", "test health data") }

// readStatus is the meaning of OBX-11. Devices report R, which HL7 calls "entered, not
// verified": it becomes preliminary, and no review is claimed. doubt tells what a
// warning says.
// https://build.fhir.org/ig/HL7/v2-to-fhir/ConceptMap-table-hl70085-to-observation-status.html
func readStatus(s hl7v2.Segment, hasValue bool) (status codes.ObservationStatusCode_Value, doubt string) {
	switch code := trim(s.Field(11).Value()); code {
	case "F", "V":
		return codes.ObservationStatusCode_FINAL, ""
	case "P", "R", "S":
		return codes.ObservationStatusCode_PRELIMINARY, ""
	case "C":
		return codes.ObservationStatusCode_CORRECTED, ""
	case "A":
		return codes.ObservationStatusCode_AMENDED, ""
	case "I":
		return codes.ObservationStatusCode_REGISTERED, ""
	case "D", "W":
		return codes.ObservationStatusCode_ENTERED_IN_ERROR, ""
	case "X":
		if hasValue {
			return codes.ObservationStatusCode_UNKNOWN, "the status is X, no result, and there is a value; it is published with status unknown"
		}
		return codes.ObservationStatusCode_CANCELLED, ""
	case "":
		if trim(s.Field(10).Value()) == "F" {
			return codes.ObservationStatusCode_FINAL, "the status F stands in OBX-10, one field early"
		}
		return codes.ObservationStatusCode_UNKNOWN, "there is no status; the reading is published with status unknown"
	default:
		return codes.ObservationStatusCode_UNKNOWN, "the status is none that says whether the value holds; the reading is published with status unknown"
	}
}

const fixStatus = "send in OBX-11 the status of the value: R for what the device reports, F for what a person has verified"
