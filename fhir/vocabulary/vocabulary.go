// Package vocabulary says what the code of a device's metric means elsewhere: its
// IEEE 11073-10101 (MDC) number and reference id, the LOINC codes that a published
// source maps it to, and the units of either in UCUM. It is data, in tables beside this
// file, and holds nothing that no publication states: a metric that none maps to LOINC
// has no LOINC code here.
//
// The MDC numbers, reference ids and units are those of the Rosetta terminology of NIST
// (RTMMS); numbers that it lists without their partition are left out. The mappings to
// LOINC are those of gematik's ISiK Vitalparameter, of the intensive care module of the
// Medizininformatik-Initiative and of HL7's device guides. The names are ours. Limits of what
// is plausible have their source in each line.
//
// This material contains content from LOINC (http://loinc.org). LOINC is copyright ©
// Regenstrief Institute, Inc. and the Logical Observation Identifiers Names and Codes
// (LOINC) Committee and is available at no cost under the license at
// http://loinc.org/license. LOINC® is a registered United States trademark of
// Regenstrief Institute, Inc.
//
// All functions may be called from many goroutines. The first call reads the tables.
package vocabulary

import (
	"iter"
	"slices"
	"strconv"

	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"

	"github.com/kiln-health/kiln/fhir"
)

// Metric is something that devices measure, set or report. Its slices are shared and
// must not be modified.
type Metric struct {
	MDC       uint32   // context-free code: partition × 65536 + term; 0 if none
	RefID     string   // MDC_PULS_OXIM_SAT_O2; empty if none or not known
	Name      string   // in plain English, for CodeableConcept.text
	LOINC     []string // what a published source maps it to, most specific first
	UCUM      string   // unit that the LOINC codes expect; empty if they have no value, or name one each
	Units     []string // units that it is known to come in, the expected one first
	VitalSign Profile  // the R4 vital-signs profile that its LOINC codes fall under, or ""

	codes []loincCode
}

// loincCode is one of Metric.LOINC.
type loincCode struct {
	code    string
	display string // as LOINC has it; empty where we have no source for it
	unit    string // the only unit of a value that the code fits, if there is just one
}

// ByMDC is the metric of an MDC context-free code.
func ByMDC(code uint32) (Metric, bool) {
	m, ok := loaded().byMDC[code]
	return m, ok
}

// ByRefID is the metric of an MDC reference id, written as the nomenclature writes it or
// all in upper case. Synonyms of a reference id find the same metric.
func ByRefID(refid string) (Metric, bool) {
	m, ok := loaded().byRefID[refid]
	return m, ok
}

// ByLOINC is the metric that a LOINC code stands for. It has an MDC code only if that is
// the one metric of which the code is the most specific: 8867-4 is a heart rate however
// it was measured, so it says nothing of an electrocardiogram.
func ByLOINC(code string) (Metric, bool) {
	m, ok := loaded().byLOINC[code]
	return m, ok
}

// Metrics yields every metric once, in no particular order.
func Metrics() iter.Seq[Metric] {
	return func(yield func(Metric) bool) {
		t := loaded()
		for _, m := range t.byMDC {
			if !yield(m) {
				return
			}
		}
		for code, m := range t.byLOINC {
			if m.MDC == 0 && m.LOINC[0] == code && !yield(m) {
				return
			}
		}
	}
}

// UnitsOf are units that a value with one of the metric's LOINC codes is commensurable
// with one of: of a code for a mass concentration just mg/dL, though the metric may also come
// in mmol/L. None means that the code says nothing of it, as that of a panel.
func (m Metric) UnitsOf(loinc string) []string {
	for _, l := range m.codes {
		if l.code != loinc {
			continue
		}
		switch {
		case l.unit != "":
			return []string{l.unit}
		case m.UCUM != "":
			return m.Units
		}
	}
	return nil
}

// Code is the concept for Observation.code: the LOINC codings that fit a value in the unit
// ucum, then the MDC coding, with the name as text. An empty ucum means a value without a
// unit or no value, as in a panel. A LOINC code that is tied to a quantity (end-tidal carbon
// dioxide as a partial pressure, glucose as a mass concentration) is left out for others.
// Annotations in ucum do not matter. The result is the caller's own.
func (m Metric) Code(ucum string) *dtpb.CodeableConcept {
	if u, ok := UnitByUCUM(ucum); ok {
		ucum = u.UCUM
	}
	c := &dtpb.CodeableConcept{}
	if m.Name != "" {
		c.Text = &dtpb.String{Value: m.Name}
	}
	for _, l := range m.codes {
		if m.fits(l, ucum) {
			c.Coding = append(c.Coding, coding(fhir.LOINC, l.code, l.display))
		}
	}
	if m.MDC != 0 {
		c.Coding = append(c.Coding, coding(fhir.MDC, strconv.FormatUint(uint64(m.MDC), 10), m.RefID))
	}
	return c
}

// fits reports whether a value in the unit may carry the code.
func (m Metric) fits(l loincCode, ucum string) bool {
	switch {
	case l.unit != "":
		return ucum == l.unit
	case ucum == "":
		return true
	case m.UCUM == "": // a panel, which has no value of its own
		return false
	}
	return slices.Contains(m.Units, ucum) || commensurable(ucum, m.UCUM)
}

func coding(system, code, display string) *dtpb.Coding {
	c := &dtpb.Coding{System: &dtpb.Uri{Value: system}, Code: &dtpb.Code{Value: code}}
	if display != "" {
		c.Display = &dtpb.String{Value: display}
	}
	return c
}
