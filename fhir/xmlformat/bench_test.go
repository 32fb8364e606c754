package xmlformat_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir/xmlformat"
)

const heartRate = `{"resourceType":"Observation","id":"hr","meta":{"profile":["http://hl7.org/fhir/StructureDefinition/heartrate"]},` +
	`"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Heart rate: 72 /min</p></div>"},` +
	`"identifier":[{"system":"https://example.org/readings","value":"b0c4"}],"status":"final",` +
	`"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}]}],` +
	`"code":{"coding":[{"system":"http://loinc.org","code":"8867-4","display":"Heart rate"},{"system":"urn:iso:std:iso:11073:10101","code":"147842"}]},` +
	`"subject":{"reference":"Patient/p1"},"effectiveDateTime":"2026-01-02T03:04:05.600+01:00","device":{"reference":"Device/d1"},` +
	`"valueQuantity":{"value":72.50,"unit":"/min","system":"http://unitsofmeasure.org","code":"/min"}}`

func bundle(n int) []byte {
	var b strings.Builder
	b.WriteString(`{"resourceType":"Bundle","type":"searchset","entry":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"fullUrl":"http://example.org/fhir/Observation/%d","resource":%s}`, i, heartRate)
	}
	b.WriteString("]}")
	return []byte(b.String())
}

func benchmark(b *testing.B, convert func([]byte) ([]byte, error), document []byte) {
	b.SetBytes(int64(len(document)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := convert(document); err != nil {
			b.Fatal(err)
		}
	}
}

func asXML(b *testing.B, json []byte) []byte {
	document, err := xmlformat.FromJSON(json)
	if err != nil {
		b.Fatal(err)
	}
	return document
}

func BenchmarkToJSON(b *testing.B) {
	b.Run("Observation", func(b *testing.B) { benchmark(b, xmlformat.ToJSON, asXML(b, []byte(heartRate))) })
	b.Run("Bundle1000", func(b *testing.B) { benchmark(b, xmlformat.ToJSON, asXML(b, bundle(1000))) })
}

func BenchmarkFromJSON(b *testing.B) {
	b.Run("Observation", func(b *testing.B) { benchmark(b, xmlformat.FromJSON, []byte(heartRate)) })
	b.Run("Bundle1000", func(b *testing.B) { benchmark(b, xmlformat.FromJSON, bundle(1000)) })
}
