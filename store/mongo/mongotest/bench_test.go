package mongotest_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/mongo/mongotest"
)

// vitalSign is a change that puts a heart rate, with its search terms, as ingest has them.
func vitalSign(b testing.TB, n int) store.Change {
	b.Helper()
	_, _, compact, err := fhir.Parse(fmt.Appendf(nil, `{"resourceType":"Observation","meta":{"profile":["http://hl7.org/fhir/StructureDefinition/heartrate"]},"status":"final",`+
		`"identifier":[{"system":"urn:example:message","value":"m%d"}],"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}]}],`+
		`"code":{"coding":[{"system":"http://loinc.org","code":"8867-4","display":"Heart rate"},{"system":"urn:iso:std:iso:11073:10101","code":"147842"}]},"subject":{"reference":"Patient/p%d"},`+
		`"effectiveDateTime":"%s","valueQuantity":{"value":%d,"unit":"beats/minute","system":"http://unitsofmeasure.org","code":"/min"},"device":{"reference":"Device/d%d"}}`,
		n, n%100, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(n)*time.Second).Format(time.RFC3339), 60+n%40, n%20))
	if err != nil {
		b.Fatal(err)
	}
	terms, err := search.R4().Extract("Observation", compact)
	if err != nil {
		b.Fatal(err)
	}
	return store.Change{Key: fhir.Key{Type: "Observation", ID: fmt.Sprint("o", n)}, JSON: compact, Terms: &terms, Parameters: search.R4()}
}

// processorTime is what this process has used of all processors: on a busy machine it tells more
// than the clock.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCeiling is how fast the store and the driver could be if MongoDB cost nothing: the far
// end acknowledges writes and forgets them. It runs in this process and takes its share of the
// processors.
func BenchmarkCeiling(b *testing.B) {
	changes := make([]store.Change, 20_000)
	for i := range changes {
		changes[i] = vitalSign(b, i)
	}
	server := mongotest.StartServer(b, mongotest.Options{Discard: true})
	s := closed(b, openStore(b, uriOf(server, "kiln", "bench")))
	if _, err := s.Write(b.Context(), changes[0]); err != nil {
		b.Fatal(err)
	}
	next := atomic.Int64{}
	run := func(b *testing.B, writers, batch int) {
		b.ReportAllocs()
		begin, before := time.Now(), processorTime()
		left := atomic.Int64{}
		left.Store(int64(b.N))
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for left.Add(-int64(batch)) > -int64(batch) {
					n := int(next.Add(int64(batch))) - batch
					list := make([]store.Change, batch)
					for i := range list {
						list[i] = changes[(n+i)%len(changes)]
						list[i].ID = fmt.Sprint("o", n+i)
					}
					if _, err := s.Write(context.Background(), list...); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "observations/s")
		b.ReportMetric(float64((processorTime()-before).Nanoseconds())/1000/float64(b.N), "processor-us/observation")
	}
	b.Run("one by one, 64 writers", func(b *testing.B) { run(b, 64, 1) })
	b.Run("batches of 1000, 4 writers", func(b *testing.B) { run(b, 4, 1000) })
}
