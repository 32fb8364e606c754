package fhir_test

import (
	"testing"

	"github.com/google/fhir/go/fhirversion"
	"github.com/google/fhir/go/jsonformat"
	cpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/codes_go_proto"
	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	opb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"
	"google.golang.org/protobuf/proto"

	"github.com/kiln-health/kiln/fhir"
)

func text(s string) *dtpb.String { return &dtpb.String{Value: s} }
func uri(s string) *dtpb.Uri     { return &dtpb.Uri{Value: s} }
func code(s string) *dtpb.Code   { return &dtpb.Code{Value: s} }

func concept(words string, codings ...*dtpb.Coding) *dtpb.CodeableConcept {
	c := &dtpb.CodeableConcept{Coding: codings}
	if words != "" {
		c.Text = text(words)
	}
	return c
}

func coding(system, symbol, display string) *dtpb.Coding {
	return &dtpb.Coding{System: uri(system), Code: code(symbol), Display: text(display)}
}

func quantity(value, unit, ucum string) *dtpb.Quantity {
	return &dtpb.Quantity{Value: &dtpb.Decimal{Value: value}, Unit: text(unit), System: uri(fhir.UCUM), Code: code(ucum)}
}

// vitalSign is an Observation as an adapter builds it, without its value.
func vitalSign(c *dtpb.CodeableConcept, profile string) *opb.Observation {
	const at = 1_760_000_000_000_000
	return &opb.Observation{
		Id: &dtpb.Id{Value: "h6r7i3xw5cnk2qf4lq7nq2lq3y5rjz4b"},
		Meta: &dtpb.Meta{
			Profile: []*dtpb.Canonical{{Value: "http://hl7.org/fhir/StructureDefinition/" + profile}},
		},
		Identifier: []*dtpb.Identifier{{System: uri(fhir.ReadingID), Value: text("monitor-7/2025-10-09T09:53:20+01:00/8867-4")}},
		Status:     &opb.Observation_StatusCode{Value: cpb.ObservationStatusCode_FINAL},
		Category:   []*dtpb.CodeableConcept{concept("", coding(fhir.ObservationCategory, "vital-signs", "Vital Signs"))},
		Code:       c,
		Subject: &dtpb.Reference{
			Reference: &dtpb.Reference_PatientId{PatientId: &dtpb.ReferenceId{Value: "p-123"}},
		},
		Effective: &opb.Observation_EffectiveX{Choice: &opb.Observation_EffectiveX_DateTime{DateTime: &dtpb.DateTime{
			ValueUs: at, Timezone: "+01:00", Precision: dtpb.DateTime_SECOND,
		}}},
		Issued: &dtpb.Instant{ValueUs: at + 1_250_000, Timezone: "+01:00", Precision: dtpb.Instant_MILLISECOND},
		Device: &dtpb.Reference{
			Reference: &dtpb.Reference_DeviceId{DeviceId: &dtpb.ReferenceId{Value: "monitor-7"}},
		},
	}
}

func heartRate() *opb.Observation {
	o := vitalSign(concept("Heart rate", coding(fhir.LOINC, "8867-4", "Heart rate"), coding(fhir.MDC, "147842", "MDC_ECG_CARD_BEAT_RATE")), "heartrate")
	o.Value = &opb.Observation_ValueX{Choice: &opb.Observation_ValueX_Quantity{Quantity: quantity("72", "beats/minute", "/min")}}
	return o
}

func bloodPressure() *opb.Observation {
	o := vitalSign(concept("Blood pressure", coding(fhir.LOINC, "85354-9", "Blood pressure panel")), "bp")
	for _, part := range [...][3]string{{"8480-6", "Systolic blood pressure", "118"}, {"8462-4", "Diastolic blood pressure", "76"}, {"8478-0", "Mean blood pressure", "90"}} {
		o.Component = append(o.Component, &opb.Observation_Component{
			Code: concept(part[1], coding(fhir.LOINC, part[0], part[1])),
			Value: &opb.Observation_Component_ValueX{Choice: &opb.Observation_Component_ValueX_Quantity{
				Quantity: quantity(part[2], "mmHg", "mm[Hg]"),
			}},
		})
	}
	return o
}

func BenchmarkEncode(b *testing.B) {
	marshaller, err := jsonformat.NewMarshaller(false, "", "", fhirversion.R4)
	if err != nil {
		b.Fatal(err)
	}
	resources := map[string]proto.Message{"heart rate": heartRate(), "blood pressure": bloodPressure()}
	for _, encoder := range []struct {
		name   string
		encode func(proto.Message) ([]byte, error)
	}{{"ours", fhir.Encode}, {"jsonformat", marshaller.MarshalResource}} {
		for name, m := range resources {
			b.Run(encoder.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					out, err := encoder.encode(m)
					if err != nil {
						b.Fatal(err)
					}
					b.SetBytes(int64(len(out)))
				}
			})
		}
	}
}
