package embedded

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// Run all with: go test -tags nomsgpack -run - -bench . ./store/embedded

const benchPatients, benchCodes = 100, 10

// reading is a heart rate as a monitor sends it: 1.1 KB, with two codings, a category, a
// patient, a device, an identifier and a quantity. Readings follow each other by a second.
func reading(i int) store.Change {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Second)
	id := fhir.HashID("reading", strconv.Itoa(i))
	return store.Change{Key: fhir.Key{Type: "Observation", ID: id}, JSON: fmt.Appendf(nil,
		`{"resourceType":"Observation","id":"%s","meta":{"profile":["http://hl7.org/fhir/StructureDefinition/heartrate"]},`+
			`"identifier":[{"system":"https://github.com/kiln-health/kiln/fhir/reading-id","value":"%s"}],"status":"final",`+
			`"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs","display":"Vital Signs"}]}],`+
			`"code":{"coding":[{"system":"http://loinc.org","code":"%d-4","display":"Heart rate"},{"system":"urn:iso:std:iso:11073:10101","code":"%d","display":"MDC_PULS_OXIM_PULS_RATE"}],"text":"Heart rate"},`+
			`"subject":{"reference":"Patient/patient-%03d"},"effectiveDateTime":"%s","issued":"%s",`+
			`"valueQuantity":{"value":%d.%d0,"unit":"beats/minute","system":"http://unitsofmeasure.org","code":"/min"},`+
			`"device":{"reference":"Device/monitor-%02d"}}`,
		id, id, 8860+i%benchCodes, 147840+i%benchCodes, (i/benchCodes)%benchPatients,
		at.Format(time.RFC3339), at.Format("2006-01-02T15:04:05.000Z07:00"), 60+i%60, i%10, i%20)}
}

func onDisk(b *testing.B) *Store {
	b.Helper()
	s, err := Open(b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

func load(b *testing.B, s *Store, from, to int) {
	b.Helper()
	for i := from; i < to; {
		changes := make([]store.Change, 0, 1000)
		for ; i < to && len(changes) < cap(changes); i++ {
			changes = append(changes, reading(i))
		}
		if _, err := s.Write(context.Background(), changes...); err != nil {
			b.Fatal(err)
		}
	}
}

// cpu reports the processor time of the whole process since begin, compactions included:
// unlike the time that passes, it does not depend on what else the machine does.
func cpu(b *testing.B, begin time.Duration) {
	b.ReportMetric(float64((cpuTime(b)-begin).Microseconds())/float64(b.N), "cpu-us/op")
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkWrite compares durable writes of one reading each with what Pebble itself can
// do: the same JSON under one key, and the same keys without our code around them.
func BenchmarkWrite(b *testing.B) {
	perSecond := map[string]float64{}
	run := func(name string, writers int, write func(b *testing.B) func(i int) error) {
		b.Run(name, func(b *testing.B) {
			var next atomic.Int64
			f := write(b)
			b.SetParallelism(writers)
			b.ReportAllocs()
			begin := cpuTime(b)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := f(int(next.Add(1))); err != nil {
						b.Error(err)
						return
					}
				}
			})
			cpu(b, begin)
			perSecond[name] = float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(perSecond[name], "obs/s")
			if raw := perSecond["raw-json/"+name[len(name)-2:]]; raw > 0 {
				b.ReportMetric(raw/perSecond[name], "x-slower-than-raw-json")
			}
		})
	}
	raw := func(fill func(batch *pebble.Batch, i int) error) func(b *testing.B) func(i int) error {
		return func(b *testing.B) func(i int) error {
			s := onDisk(b)
			return func(i int) error {
				batch := s.db.NewBatch()
				defer batch.Close()
				if err := fill(batch, i); err != nil {
					return err
				}
				return batch.Commit(pebble.Sync)
			}
		}
	}
	for _, writers := range []string{"02", "64"} {
		n, _ := strconv.Atoi(writers)
		n /= 2 // times GOMAXPROCS, which is 2 where the numbers in the documents come from
		run("raw-json/"+writers, n, raw(func(batch *pebble.Batch, i int) error {
			c := reading(i)
			return batch.Set(appendCurrent(nil, c.Type, c.ID), c.JSON, nil)
		}))
		run("raw-keys/"+writers, n, raw(func(batch *pebble.Batch, i int) error {
			c := reading(i)
			terms, err := search.R4().Extract(c.Type, c.JSON)
			if err != nil {
				return err
			}
			x := indexer{params: newParameters(search.R4()), resourceType: c.Type, id: c.ID, emit: func(key, value []byte) error { return batch.Set(key, value, nil) }}
			if err := x.each(time.Now(), &terms); err != nil {
				return err
			}
			return batch.Set(appendCurrent(nil, c.Type, c.ID), c.JSON, nil)
		}))
		run("writers/"+writers, n, func(b *testing.B) func(i int) error {
			s := onDisk(b)
			b.Cleanup(func() {
				stats := s.Stats()
				b.ReportMetric(float64(stats.Writes)/float64(stats.Groups), "writes/fsync")
			})
			return func(i int) error {
				_, err := s.Write(context.Background(), reading(i))
				return err
			}
		})
	}
	b.Run("batches-of-1000", func(b *testing.B) {
		s := onDisk(b)
		begin := cpuTime(b)
		b.ResetTimer()
		load(b, s, 0, b.N)
		cpu(b, begin)
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "obs/s")
	})
}

// BenchmarkStore works on 100,000 readings of 100 patients, or on as many as
// KILN_BENCH_OBSERVATIONS says.
func BenchmarkStore(b *testing.B) {
	size := 100_000
	if n, err := strconv.Atoi(os.Getenv("KILN_BENCH_OBSERVATIONS")); err == nil {
		size = n
	}
	s := onDisk(b)
	load(b, s, 0, size)
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	b.Run("read", func(b *testing.B) {
		keys := make([]fhir.Key, 1000)
		for i := range keys {
			keys[i] = reading(i * 7919 % size).Key
		}
		b.ReportAllocs()
		begin := cpuTime(b)
		for i := 0; b.Loop(); i++ {
			if _, err := s.Read(ctx, keys[i%len(keys)]); err != nil {
				b.Fatal(err)
			}
		}
		cpu(b, begin)
	})
	queries := []struct{ name, query string }{
		{"page-patient-code-date", "patient={patient}&code=http://loinc.org%7C{code}&_sort=-date&_count=50"},
		{"page-patient-code-since", "patient={patient}&code={code}&date=ge2026-01-01T12:00:00Z&_sort=-date&_count=50"},
		{"page-patient-category", "patient={patient}&category=vital-signs&_sort=-date&_count=50"},
		{"page-patient-code-by-id", "patient={patient}&code={code}"},
		{"page-subject-code-date", "subject=Patient/{patient}&code={code}&_sort=-date&_count=50"},
		{"page-patient-oldest-first", "patient={patient}&_sort=date&_count=50"},
		{"page-device-code-value", "device={device}&code={code}&value-quantity=gt100&_sort=-date&_count=50"},
		{"page-all-by-updated", "_sort=-_lastUpdated&_count=50"},
		{"page-code-by-id", "code={code}"},
		{"latest-of-a-code", "patient={patient}&code={code}&_sort=-date&_count=1"},
		{"by-identifier", "identifier=" + reading(4711).ID},
		{"count-patient", "patient={patient}&_summary=count"},
		{"count-patient-code-since", "patient={patient}&code={code}&date=ge2026-01-01T12:00:00Z&_summary=count"},
		{"count-all", "_summary=count"},
	}
	for _, q := range queries {
		b.Run(q.name, func(b *testing.B) {
			parsed := make([]search.Query, 20)
			for i := range parsed {
				text := strings.NewReplacer("{patient}", fmt.Sprintf("patient-%03d", i*7%benchPatients), "{code}", fmt.Sprintf("%d-4", 8860+i*7%benchCodes),
					"{device}", fmt.Sprintf("monitor-%02d", i*7%20)).Replace(q.query)
				pairs, err := search.Pairs(text)
				if err != nil {
					b.Fatal(err)
				}
				if parsed[i], _, err = search.R4().Parse("Observation", pairs, search.Options{Handling: search.Strict}); err != nil {
					b.Fatal(err)
				}
			}
			for i := range parsed { // what is asked for again and again is in memory
				if _, err := s.Search(ctx, parsed[i]); err != nil {
					b.Fatal(err)
				}
			}
			found := 0
			b.ReportAllocs()
			begin := cpuTime(b)
			for i := 0; b.Loop(); i++ {
				page, err := s.Search(ctx, parsed[i%len(parsed)])
				if err != nil {
					b.Fatal(err)
				}
				found = len(page.Resources) + max(0, page.Total)
			}
			cpu(b, begin)
			b.ReportMetric(float64(found), "found")
		})
	}
	if err := s.db.Compact(ctx, []byte{0}, []byte{0xff}, true); err != nil {
		b.Fatal(err)
	}
	b.Run("disk", func(b *testing.B) {
		for b.Loop() {
		}
		b.ReportMetric(float64(s.db.Metrics().Total().TablesSize)/float64(size), "bytes/obs")
	})
}
