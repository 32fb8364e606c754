package validate

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/google/fhir/go/fhirversion"
	"github.com/google/fhir/go/jsonformat"
)

// heartRate is a vital sign as a monitor's adapter writes it, without a profile.
const heartRate = `{"resourceType":"Observation","id":"hr-1","meta":{"versionId":"1","lastUpdated":"2026-03-01T08:30:01.250Z"},` +
	`"identifier":[{"system":"https://example.org/reading","value":"7f3c0a"}],"status":"final",` +
	`"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs","display":"Vital Signs"}]}],` +
	`"code":{"coding":[{"system":"http://loinc.org","code":"8867-4","display":"Heart rate"},{"system":"urn:iso:std:iso:11073:10101","code":"147842"}],"text":"Heart rate"},` +
	`"subject":{"reference":"Patient/p1"},"effectiveDateTime":"2026-03-01T09:30:00+01:00","issued":"2026-03-01T08:30:01.250Z",` +
	`"performer":[{"reference":"Organization/ward-3"}],"valueQuantity":{"value":72.0,"unit":"beats/min","system":"http://unitsofmeasure.org","code":"/min"},` +
	`"device":{"reference":"Device/monitor-1"},"interpretation":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation","code":"N"}]}]}`

// claiming adds a claim to the resource.
func claiming(resource, profile string) []byte {
	return bytes.Replace([]byte(resource), []byte(`"meta":{`), []byte(`"meta":{"profile":["`+profile+`"],`), 1)
}

func BenchmarkStructure(b *testing.B) { benchmark(b, []byte(heartRate), &Options{Level: Structure}) }

func BenchmarkInvariants(b *testing.B) {
	benchmark(b, []byte(heartRate), &Options{Level: Invariants, Without: []string{"kiln-vital-sign"}})
}

// The limits of what is promised. The metric of-limit is how much of it is used.
const (
	vitalSignLimit   = 30 * time.Microsecond
	transactionLimit = 15 * time.Millisecond
)

func BenchmarkVitalSignWithProfile(b *testing.B) {
	benchmark(b, claiming(heartRate, "http://hl7.org/fhir/StructureDefinition/heartrate"), nil)
	compareWith(b, vitalSignLimit)
}

func BenchmarkUSCoreWithProfile(b *testing.B) {
	benchmark(b, claiming(heartRate, "http://hl7.org/fhir/us/core/StructureDefinition/us-core-heart-rate"), nil)
}

func BenchmarkTransaction1000(b *testing.B) {
	benchmark(b, transaction(1000), nil)
	compareWith(b, transactionLimit)
}

func BenchmarkTransaction1000Structure(b *testing.B) {
	benchmark(b, transaction(1000), &Options{Level: Structure})
}

func BenchmarkJSONFormat(b *testing.B) {
	u, err := jsonformat.NewUnmarshaller("UTC", fhirversion.R4)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(heartRate)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := u.Unmarshal([]byte(heartRate)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStructureAgainstJSONFormat measures both in turns, so that they share what else
// the machine does. The metric times-faster, which is promised to be 25, says the outcome;
// the time of an operation is that of both.
func BenchmarkStructureAgainstJSONFormat(b *testing.B) {
	u, err := jsonformat.NewUnmarshaller("UTC", fhirversion.R4)
	if err != nil {
		b.Fatal(err)
	}
	body, opt := []byte(heartRate), &Options{Level: Structure}
	const ofOurs, ofTheirs = 25, 1
	var ours, theirs time.Duration
	for b.Loop() {
		start := time.Now()
		for range ofOurs {
			if r := Resource(body, opt); !r.Valid() {
				b.Fatal("not valid")
			}
		}
		between := time.Now()
		for range ofTheirs {
			if _, err := u.Unmarshal(body); err != nil {
				b.Fatal(err)
			}
		}
		ours, theirs = ours+between.Sub(start), theirs+time.Since(between)
	}
	b.ReportMetric(float64(theirs*ofOurs)/float64(ours*ofTheirs), "times-faster")
}

// compareWith reports how much of a limit an operation takes.
func compareWith(b *testing.B, limit time.Duration) {
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(limit), "of-limit")
}

func benchmark(b *testing.B, body []byte, opt *Options) {
	if r := Resource(body, opt); !r.Valid() {
		b.Fatal(r.Issues())
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if r := Resource(body, opt); !r.Valid() {
			b.Fatal("not valid")
		}
	}
}

// transaction is a Bundle of n vital signs.
func transaction(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"resourceType":"Bundle","type":"transaction","entry":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"fullUrl":"urn:uuid:00000000-0000-4000-8000-%012x","resource":%s,"request":{"method":"PUT","url":"Observation/hr-1"}}`,
			i, claiming(heartRate, "http://hl7.org/fhir/StructureDefinition/heartrate"))
	}
	b.WriteString(`]}`)
	return b.Bytes()
}
