package search

import (
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir"
)

// heartRate is what a bedside monitor's heart rate becomes: 1.2 KB.
const heartRate = `{"resourceType":"Observation","id":"q3v6b7t5m2l4k6j8h0g2f4d6s8a0p2o4","meta":{"versionId":"1","lastUpdated":"2024-05-11T14:32:16.123Z","profile":["http://hl7.org/fhir/StructureDefinition/heartrate"]},` +
	`"identifier":[{"system":"https://github.com/kiln-health/kiln/fhir/reading-id","value":"q3v6b7t5m2l4k6j8h0g2f4d6s8a0p2o4"}],"status":"final",` +
	`"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs","display":"Vital Signs"}]}],` +
	`"code":{"coding":[{"system":"http://loinc.org","code":"8867-4","display":"Heart rate"},{"system":"urn:iso:std:iso:11073:10101","code":"147842","display":"MDC_ECG_HEART_RATE"}],"text":"Heart rate"},` +
	`"subject":{"reference":"Patient/k5f7d3s2a4g6h8j0l2p4o6i8u0y2t4r6","identifier":{"system":"http://hospital.example/mrn","value":"SYN-000017"}},` +
	`"effectiveDateTime":"2024-05-11T16:32:15+02:00","device":{"reference":"Device/m3n5b7v9c1x3z5l7k9j1h3g5f7d9s1a3"},` +
	`"valueQuantity":{"value":72,"unit":"beats/minute","system":"http://unitsofmeasure.org","code":"/min"}}`

// wardReading is a heart rate as the writes of the embedded store are measured with: 1.1 KB.
const wardReading = `{"resourceType":"Observation","id":"k5f7d3s2a4g6h8j0l2p4o6i8u0y2t4r6","meta":{"profile":["http://hl7.org/fhir/StructureDefinition/heartrate"]},` +
	`"identifier":[{"system":"https://github.com/kiln-health/kiln/fhir/reading-id","value":"k5f7d3s2a4g6h8j0l2p4o6i8u0y2t4r6"}],"status":"final",` +
	`"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs","display":"Vital Signs"}]}],` +
	`"code":{"coding":[{"system":"http://loinc.org","code":"8867-4","display":"Heart rate"},{"system":"urn:iso:std:iso:11073:10101","code":"147842","display":"MDC_PULS_OXIM_PULS_RATE"}],"text":"Heart rate"},` +
	`"subject":{"reference":"Patient/patient-017"},"effectiveDateTime":"2026-01-01T00:16:40Z","issued":"2026-01-01T00:16:40.000Z",` +
	`"valueQuantity":{"value":72.50,"unit":"beats/minute","system":"http://unitsofmeasure.org","code":"/min"},"device":{"reference":"Device/monitor-03"}}`

// ecg is ten seconds of one lead.
var ecg = `{"resourceType":"Observation","id":"e1","status":"final","code":{"coding":[{"system":"urn:iso:std:iso:11073:10101","code":"131329"}]},` +
	`"effectivePeriod":{"start":"2024-05-11T16:32:15.000+02:00","end":"2024-05-11T16:32:25.000+02:00"},"valueSampledData":{"origin":{"value":0,"system":"http://unitsofmeasure.org","code":"mV"},` +
	`"period":2,"factor":0.0025,"dimensions":1,"data":"` + strings.TrimSpace(strings.Repeat("12 -7 0 141 398 77 -36 5 ", 625)) + `"}}`

func BenchmarkExtract(b *testing.B) {
	for name, body := range map[string]string{"heart rate": heartRate, "heart rate as stored": wardReading, "ecg": ecg} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			json := []byte(body)
			for b.Loop() {
				if _, err := R4().Extract("Observation", json); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMatches(b *testing.B) {
	found, err := R4().Extract("Observation", []byte(heartRate))
	if err != nil {
		b.Fatal(err)
	}
	q := parse(b, "Observation", "patient=k5f7d3s2a4g6h8j0l2p4o6i8u0y2t4r6&code=http://loinc.org|8867-4&date=ge2024&value-quantity=gt60||/min")
	key := fhir.Key{Type: "Observation", ID: "q3v6b7t5m2l4k6j8h0g2f4d6s8a0p2o4"}
	if !q.Matches(key, now, &found) {
		b.Fatal("it does not match")
	}
	b.ReportAllocs()
	for b.Loop() {
		q.Matches(key, now, &found)
	}
}

func BenchmarkParse(b *testing.B) {
	pairs, err := Pairs("patient=p1&code=http://loinc.org|8867-4&date=ge2024-01-01&_sort=-date&_count=50")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := R4().Parse("Observation", pairs, Options{BaseURL: base, Now: now}); err != nil {
			b.Fatal(err)
		}
	}
}
