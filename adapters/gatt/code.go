package gatt

import (
	"strconv"

	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	obpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"

	format "github.com/kiln-health/kiln/adapters/format/gatt"
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/vocabulary"
)

// Code systems beside those of package fhir.
const (
	// ownCodes are for what neither LOINC nor the IEEE nomenclature is known to name.
	ownCodes = fhir.Namespace + "CodeSystem/gatt"
	// statusBits are the bits of statuses as the Personal Health Device guide codes them.
	// https://terminology.hl7.org/CodeSystem-ASN1ToHL7.html
	statusBits = "http://terminology.hl7.org/CodeSystem/ASN1ToHL7"
	// temperatureTypes and sampleLocations are the lists of the services, by their numbers.
	temperatureTypes = fhir.Namespace + "CodeSystem/gatt-temperature-type"
	sampleLocations  = fhir.Namespace + "CodeSystem/gatt-sample-location"
)

// loinc is a code that the vocabulary publishes, or nil for one that it does not.
func loinc(code string) *dtpb.Coding {
	m, ok := vocabulary.ByLOINC(code)
	if !ok {
		return nil
	}
	// Some codes of a metric hold for one of its units only.
	for _, unit := range append([]string{m.UCUM}, m.Units...) {
		for _, coding := range m.Code(unit).GetCoding() {
			if coding.GetSystem().GetValue() == fhir.LOINC && coding.GetCode().GetValue() == code {
				return coding
			}
		}
	}
	return nil
}

// mdc is a context-free code of IEEE 11073-10101.
func mdc(code int, refid string) *dtpb.Coding {
	return fhir.Coding(fhir.MDC, strconv.Itoa(code), refid)
}

func own(code, display string) *dtpb.Coding { return fhir.Coding(ownCodes, code, display) }

// concept leaves out codings that are nil.
func concept(text string, codings ...*dtpb.Coding) *dtpb.CodeableConcept {
	out := fhir.Concept(text)
	for _, coding := range codings {
		if coding != nil {
			out.Coding = append(out.Coding, coding)
		}
	}
	return out
}

// units are how the units of the characteristics are written for people.
var units = map[string]string{
	"mm[Hg]": "mmHg", "Cel": "°C", "[degF]": "°F", "[lb_av]": "lb", "[in_i]": "in", "/min": "beats/min",
	"kg/m2": "kg/m²", "Ohm": "Ω",
}

// quantity is a number in a unit. UCUM is claimed for units that the vocabulary has.
func (c *converter) quantity(n format.Number, ucum string) *dtpb.Quantity {
	unit, ok := units[ucum]
	if !ok {
		unit = ucum
	}
	if _, ok := vocabulary.UnitByUCUM(ucum); !ok {
		c.warnOnce("unit "+ucum, fhir.CodeCodeInvalid, "", "", "the unit "+ucum+" is not in the table of units: it is given as text")
		ucum = ""
	}
	return fhir.Quantity(n.Text(), unit, ucum)
}

// whole is a number without decimals.
func whole(n int64) format.Number { return format.Number{Mantissa: n} }

// absence is why a special value is no number, as a code of fhir.DataAbsentReason.
// http://hl7.org/fhir/uv/phd/PhdNumericObservationProfile.html
func absence(n format.Number) string {
	switch n.Special {
	case format.NaN:
		return "not-a-number"
	case format.PositiveInfinity:
		return "positive-infinity"
	case format.NegativeInfinity:
		return "negative-infinity"
	default: // not at this resolution, reserved, unsuccessful
		return "error"
	}
}

// component is a part of a reading that is a number.
func (c *converter) component(code *dtpb.CodeableConcept, n format.Number, ucum string) *obpb.Observation_Component {
	if n.Special != "" {
		return fhir.Component(code, nil, absence(n))
	}
	return fhir.Component(code, c.quantity(n, ucum), "")
}

// flag is a part of a reading that is true.
func flag(coding *dtpb.Coding) *obpb.Observation_Component {
	return &obpb.Observation_Component{
		Code:  fhir.Concept("", coding),
		Value: &obpb.Observation_Component_ValueX{Choice: &obpb.Observation_Component_ValueX_Boolean{Boolean: &dtpb.Boolean{Value: true}}},
	}
}
