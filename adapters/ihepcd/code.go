package ihepcd

import (
	"slices"
	"strconv"
	"strings"

	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"

	"github.com/kiln-health/kiln/adapters/format/hl7v2"
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/vocabulary"
)

// MDC numbers are context-free: partition × 65536 + term. Those of settings lie from
// 2^24 on. IEEE 11073-10101
const (
	partition      = 1 << 16
	physiological  = 2 // the partition of what is measured of a patient
	firstSetting   = 1 << 24
	firstImplant   = 11 * partition
	pastImplant    = 12 * partition
	refidSystem    = fhir.Namespace + "CodeSystem/mdc-refid"
	disputedSystem = fhir.Namespace + "CodeSystem/mdc-disputed"
	categorySystem = fhir.Namespace + "CodeSystem/observation-category"
)

// coded is what OBX-3, or a value that is a code, means.
type coded struct {
	number uint32 // MDC number, 0 where the sender has none
	refid  string // MDC reference id as sent, "" where the sender has none
	text   string // what people call it, as sent

	metric vocabulary.Metric
	known  bool // metric is what number and refid both mean
	// disputed: number and refid name different things. Neither is given as a code of the
	// nomenclature, so that no search for what it means finds a reading of something else.
	disputed bool

	others []*dtpb.Coding // codes of other systems
	loinc  []*dtpb.Coding // codes that the sender says are LOINC's
	doubt  string         // what a warning says
	fix    string
}

// readCode reads a coded element (CE, CNE, CWE): an identifier, a text and a system,
// once or twice. HL7 2.9, 2.A.13
func readCode(f hl7v2.Field) coded { return readCoded(f.Rep(1)) }

func readCoded(r hl7v2.Repetition) coded {
	var c coded
	for at := 1; at <= 4; at += 3 {
		id, text := line(r.Component(at).Value()), line(r.Component(at+1).Value())
		system := strings.ToUpper(line(r.Component(at + 2).Value()))
		if id == "" && text == "" {
			continue
		}
		if isMDC(system, id, text) {
			if c.number == 0 && c.refid == "" {
				c.number, c.refid = mdcOf(id, text)
				if !isRefid(text) && c.text == "" {
					c.text = text
				}
			}
			continue
		}
		if c.text == "" {
			c.text = text
		}
		c.other(id, text, system)
	}
	if original := line(r.Component(9).Value()); original != "" {
		c.text = original
	}
	c.look()
	return c
}

// isMDC tells whether a triplet is of the nomenclature. A private code of a sender may
// carry the system MDC beside a private reference id; it has no number there.
func isMDC(system, id, text string) bool {
	switch system {
	case "MDC", strings.ToUpper(fhir.MDC):
		return true
	case "":
		return isRefid(text) || isRefid(id)
	}
	return false
}

func isRefid(s string) bool { return hasPrefix(s, "MDC_") || hasPrefix(s, "MDCX_") }

func mdcOf(id, text string) (number uint32, refid string) {
	if n, err := strconv.ParseUint(id, 10, 32); err == nil {
		number = uint32(n)
	} else if isRefid(id) {
		return 0, id
	}
	if isRefid(text) || isCodeLike(text) {
		refid = text
	}
	return number, refid
}

// isCodeLike tells a private reference id (MNDRY_EVT_X) from a text for people. Some
// senders put theirs under the system MDC; their numbers must not be mistaken for
// those of the nomenclature.
func isCodeLike(s string) bool {
	if s == "" || !strings.Contains(s, "_") {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != '_' && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// other keeps a code of another system than MDC.
func (c *coded) other(id, text, system string) {
	if id == "" {
		return
	}
	switch {
	case system == "LN" || system == strings.ToUpper(fhir.LOINC):
		c.loinc = append(c.loinc, fhir.Coding(fhir.LOINC, id, text))
	case (system == "SCT" || system == "SNOMED-CT" || system == strings.ToUpper(fhir.SNOMED)) && isSCTID(id):
		c.others = append(c.others, fhir.Coding(fhir.SNOMED, id, text))
	case system == "":
		c.others = append(c.others, fhir.Coding("", id, text))
	default:
		c.others = append(c.others, fhir.Coding(local("CodeSystem", strings.ToLower(strings.TrimPrefix(system, "99"))), id, text))
	}
}

func isSCTID(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil && len(s) >= 6 && len(s) <= 18
}

// look finds the metric in the vocabulary and notes where number and reference id do
// not mean the same. In doubt there is no metric, and with it no LOINC code.
func (c *coded) look() {
	defer c.checkLOINC()
	if c.number == 0 && c.refid == "" {
		if len(c.loinc) > 0 {
			c.metric, c.known = vocabulary.ByLOINC(c.loinc[0].GetCode().GetValue())
		} else if len(c.others) == 0 && c.text != "" {
			c.doubt, c.fix = "the observation has no code, only a text", "send the MDC code of the metric"
		}
		return
	}
	byNumber, numberKnown := vocabulary.ByMDC(c.number)
	byRefid, refidKnown := vocabulary.ByRefID(c.refid)
	numberKnown = numberKnown && c.number != 0
	refidKnown = refidKnown && c.refid != ""
	switch {
	case numberKnown && c.refid == "", numberKnown && refidKnown && byNumber.MDC == byRefid.MDC,
		numberKnown && strings.EqualFold(c.refid, byNumber.RefID), numberKnown && byNumber.RefID == "" && !refidKnown:
		c.metric, c.known = byNumber, true
	case c.number == 0 && refidKnown:
		c.metric, c.known = byRefid, true
	case refidKnown && c.number < partition && byRefid.MDC%partition == c.number:
		c.metric, c.known = byRefid, true
		c.doubt, c.fix = "the MDC number lacks its partition; the reference id tells it", "send the context-free number"
	case numberKnown, refidKnown:
		c.disputed = true
		c.doubt, c.fix = "the MDC number and the reference id name different things; both are kept, neither as a code of the nomenclature, and no LOINC code is given", "correct number or reference id at the sender"
	}
	if c.tellsNoVessel() {
		c.metric.LOINC, c.metric.VitalSign = nil, ""
		c.doubt = "the code does not tell the vessel in which the pressure was measured; no LOINC code is given"
		c.fix = "label the transducer at the monitor, so that it sends the code of the vessel: 150033 for an artery, 150045 for the pulmonary artery"
	}
}

// tellsNoVessel is true of a pressure of which the code tells no vessel (150016–150019).
// Published maps give such a one LOINC's code of the arterial blood pressure, but
// monitors send it for every transducer that nobody has labelled: a line in the
// pulmonary artery would be read as a blood pressure of 28/12. It gets no LOINC code.
func (c *coded) tellsNoVessel() bool { m := c.mdc(); return 150016 <= m && m <= 150019 }

// checkLOINC keeps of the sender's LOINC codes those that the vocabulary has for the
// metric: what is labelled LOINC may be none, or that of something else.
func (c *coded) checkLOINC() {
	for _, l := range c.loinc {
		code := l.GetCode().GetValue()
		switch {
		case !c.known || !slices.Contains(c.metric.LOINC, code):
			c.others = append(c.others, fhir.Coding("", code, l.GetDisplay().GetValue()))
			if c.doubt == "" {
				c.doubt, c.fix = "the code is labelled LOINC and is not known to be LOINC's for this metric; it is kept without a system", "send the MDC code of the metric alone"
			}
		case c.number == 0 && c.refid == "":
			c.others = append(c.others, l)
		}
	}
}

// concept is the code for a value in a unit. The MDC number comes with the reference
// id that the sender wrote, unless the nomenclature knows the number by another one.
func (c *coded) concept(ucum string) *dtpb.CodeableConcept {
	var k *dtpb.CodeableConcept
	switch {
	case c.mdc() != 0 && c.tellsNoVessel():
		k = fhir.Concept(c.metric.Name, fhir.Coding(fhir.MDC, strconv.FormatUint(uint64(c.mdc()), 10), c.metric.RefID))
	case c.mdc() != 0:
		k = c.metric.Code(ucum)
	case c.disputed:
		k = fhir.Concept(first(c.text, c.refid), fhir.Coding(disputedSystem, strconv.FormatUint(uint64(c.number), 10), ""), fhir.Coding(refidSystem, c.refid, ""))
	case c.number != 0:
		k = fhir.Concept(first(c.text, c.refid), fhir.Coding(fhir.MDC, strconv.FormatUint(uint64(c.number), 10), c.refid))
	case c.refid != "":
		k = fhir.Concept(first(c.text, c.refid), fhir.Coding(refidSystem, c.refid, ""))
	default:
		k = fhir.Concept(first(c.text, c.metric.Name))
	}
	if len(c.others) > 0 {
		k.Coding = append(slices.Clip(k.Coding), c.others...)
	}
	return k
}

// name is what tells the code from others in a key.
func (c *coded) name() string {
	if c.number != 0 {
		return strconv.FormatUint(uint64(c.number), 10)
	}
	return first(c.refid, c.text)
}

// isEmpty reports that there is nothing to name an observation by.
func (c *coded) isEmpty() bool {
	return c.number == 0 && c.refid == "" && c.text == "" && len(c.others) == 0
}

// mdc is the MDC number that is certain, or 0.
func (c *coded) mdc() uint32 {
	if c.known && (c.number != 0 || c.refid != "") {
		return c.metric.MDC
	}
	return 0
}

// isSetting tells that the number is one of a setting.
func (c *coded) isSetting() bool { return c.number >= firstSetting }

// isPhysiological tells that the number is one of what is measured of a patient.
func (c *coded) isPhysiological() bool {
	return max(c.number, c.mdc())/partition == physiological
}

func isImplant(c *coded) bool {
	return c.number >= firstImplant && c.number < pastImplant || hasPrefix(c.refid, "MDC_IDC_")
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// conceptKey is a coded element as written, and the unit of the value.
type conceptKey struct{ raw, ucum string }

// code is readCode with a memory: a monitor sends the same few codes again and again.
func (w *work) code(f hl7v2.Field) *coded {
	if c, ok := w.codes[f.Raw()]; ok {
		return c
	}
	c := readCode(f)
	w.codes[f.Raw()] = &c
	return &c
}

// concept is the code of f for a value in a unit, with a memory. Observations share it,
// and nobody changes it.
func (w *work) concept(f hl7v2.Field, ucum string) *dtpb.CodeableConcept {
	key := conceptKey{f.Raw(), ucum}
	if k, ok := w.concepts[key]; ok {
		return k
	}
	k := w.code(f).concept(ucum)
	w.concepts[key] = k
	return k
}
