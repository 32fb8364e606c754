package mongo

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// heartRate is a reading as a monitor sends it, 1.1 KB, with its terms, as ingest has them. All
// patients are measured in turn, with each of ten codes; five share a device.
func heartRate(b *testing.B, i, patients int) store.Change {
	b.Helper()
	const codes = 10
	patient := i / codes % patients
	id := fhir.HashID("reading", strconv.Itoa(i))
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(i/(patients*codes)) * 1000 * time.Second)
	json := fmt.Appendf(nil,
		`{"resourceType":"Observation","id":"%s","meta":{"profile":["http://hl7.org/fhir/StructureDefinition/heartrate"]},`+
			`"identifier":[{"system":"https://github.com/kiln-health/kiln/fhir/reading-id","value":"%s"}],"status":"final",`+
			`"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs","display":"Vital Signs"}]}],`+
			`"code":{"coding":[{"system":"http://loinc.org","code":"%d-4","display":"Heart rate"},{"system":"urn:iso:std:iso:11073:10101","code":"%d","display":"MDC_PULS_OXIM_PULS_RATE"}],"text":"Heart rate"},`+
			`"subject":{"reference":"Patient/patient-%03d"},"effectiveDateTime":"%s","issued":"%s",`+
			`"valueQuantity":{"value":%d.%d0,"unit":"beats/minute","system":"http://unitsofmeasure.org","code":"/min"},"device":{"reference":"Device/monitor-%02d"}}`,
		id, id, 8860+i%codes, 147840+i%codes, patient, at.Format(time.RFC3339), at.Format("2006-01-02T15:04:05.000Z07:00"), 60+i%60, i%10, patient/5)
	terms, err := search.R4().Extract("Observation", json)
	if err != nil {
		b.Fatal(err)
	}
	return store.Change{Key: fhir.Key{Type: "Observation", ID: id}, JSON: json, Terms: &terms, Parameters: search.R4()}
}

// BenchmarkDeployment is how fast MongoDB itself is, with Kiln before it: KILN_BENCH_OBSERVATIONS
// heart rates, 20,000 by default, a thousand of each patient.
func BenchmarkDeployment(b *testing.B) {
	size := 20_000
	if n, err := strconv.Atoi(os.Getenv("KILN_BENCH_OBSERVATIONS")); err == nil {
		size = n
	}
	patients := max(1, size/1000)
	s := opened(b, deployment(b))
	write := func(b *testing.B, from, n, writers, batch int) {
		changes := make([]store.Change, n)
		for i := range changes {
			changes[i] = heartRate(b, from+i, patients)
		}
		batches := slices.Collect(slices.Chunk(changes, batch))
		var next atomic.Int64
		var wg sync.WaitGroup
		begin := time.Now()
		b.ResetTimer()
		for range writers {
			wg.Go(func() {
				for i := int(next.Add(1)) - 1; i < len(batches); i = int(next.Add(1)) - 1 {
					if _, err := s.Write(context.Background(), batches[i]...); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		b.ReportMetric(float64(n)/time.Since(begin).Seconds(), "observations/s")
	}
	for from := 0; from < size; {
		n := min(size-from, 20_000)
		begin := time.Now()
		changes := make([]store.Change, n)
		for i := range changes {
			changes[i] = heartRate(b, from+i, patients)
		}
		var took time.Duration
		for some := range slices.Chunk(changes, 1000) {
			begin := time.Now()
			if _, err := s.Write(b.Context(), some...); err != nil {
				b.Fatal(err)
			}
			took += time.Since(begin)
		}
		if from += n; from%100_000 == 0 || from == size {
			b.Logf("%d are there; the last %d came at %.0f/s (%.0f/s with making them)", from, n, float64(n)/took.Seconds(), float64(n)/time.Since(begin).Seconds())
		}
	}
	for _, q := range []struct{ name, query string }{
		{"page-patient-code-date", "patient={patient}&code=http://loinc.org|{code}&_sort=-date&_count=50"},
		{"page-patient-category", "patient={patient}&category=vital-signs&_sort=-date&_count=50"},
		{"page-device-date", "device=Device/{device}&_sort=-date&_count=50"},
		{"latest-of-a-code", "patient={patient}&code={code}&_sort=-date&_count=1"},
		{"by-identifier", "identifier={identifier}"},
		{"count-patient", "patient={patient}&_summary=count"},
	} {
		b.Run(q.name, func(b *testing.B) {
			parsed := make([]search.Query, 20)
			for i := range parsed {
				patient := i * 7919 % patients
				text := strings.NewReplacer("{patient}", fmt.Sprintf("patient-%03d", patient), "{code}", fmt.Sprintf("%d-4", 8860+i%10),
					"{device}", fmt.Sprintf("monitor-%02d", patient/5), "{identifier}", heartRate(b, i, patients).ID).Replace(q.query)
				pairs, err := search.Pairs(text)
				if err != nil {
					b.Fatal(err)
				}
				if parsed[i], _, err = search.R4().Parse("Observation", pairs, search.Options{Handling: search.Strict}); err != nil {
					b.Fatal(err)
				}
			}
			found := 0
			for i := 0; b.Loop(); i++ {
				page, err := s.Search(b.Context(), parsed[i%len(parsed)])
				if err != nil {
					b.Fatal(err)
				}
				found = len(page.Resources) + max(0, page.Total)
			}
			b.ReportMetric(float64(found), "found")
		})
	}
	b.Run("read", func(b *testing.B) {
		keys := make([]fhir.Key, 1000)
		for i := range keys {
			keys[i] = heartRate(b, i*7919%size, patients).Key
		}
		for i := 0; b.Loop(); i++ {
			if _, err := s.Read(b.Context(), keys[i%len(keys)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	written := size
	b.Run("writers-64", func(b *testing.B) {
		write(b, written, b.N, 64, 1)
		written += b.N
	})
	b.Run("batches-of-1000-from-4", func(b *testing.B) {
		write(b, written, b.N, 4, 1000)
		written += b.N
	})
	b.Run("disk", func(b *testing.B) {
		// A checkpoint says how much the files hold.
		if err := s.db.Client().Database("admin").RunCommand(b.Context(), bson.D{{Key: "fsync", Value: 1}}).Err(); err != nil {
			b.Skip(err)
		}
		var stats struct {
			Count          int64
			Size           int64
			StorageSize    int64            `bson:"storageSize"`
			TotalIndexSize int64            `bson:"totalIndexSize"`
			IndexSizes     map[string]int64 `bson:"indexSizes"`
		}
		if err := s.db.RunCommand(b.Context(), bson.D{{Key: "collStats", Value: "Observation"}}).Decode(&stats); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
		}
		each := func(n int64) float64 { return float64(n) / float64(stats.Count) }
		b.ReportMetric(each(stats.Size), "bytes-of-document")
		b.ReportMetric(each(stats.StorageSize), "bytes-on-disk")
		b.ReportMetric(each(stats.TotalIndexSize), "bytes-of-indexes")
		b.Logf("indexes: %v of %d", stats.IndexSizes, stats.Count)
	})
}
