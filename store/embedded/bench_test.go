package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// Run all with: go test -tags nomsgpack -run - -bench . ./store/embedded

const benchCodes = 10

// ward is where readings come from: all patients are measured in turn, with each code, and
// then again a thousand seconds later. However many there are, a patient has a thousand
// readings after a million seconds, and five patients share a device.
type ward struct{ patients int }

// reading is a heart rate as a monitor sends it: 1.1 KB, with two codings, a category, a
// patient, a device, an identifier and a quantity.
func (w ward) reading(i int) store.Change {
	const round = 1000 * time.Second
	all := w.patients * benchCodes
	patient := i / benchCodes % w.patients
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(i/all)*round + time.Duration(i%all)*round/time.Duration(all))
	id := fhir.HashID("reading", strconv.Itoa(i))
	return store.Change{Key: fhir.Key{Type: "Observation", ID: id}, JSON: fmt.Appendf(nil,
		`{"resourceType":"Observation","id":"%s","meta":{"profile":["http://hl7.org/fhir/StructureDefinition/heartrate"]},`+
			`"identifier":[{"system":"https://github.com/kiln-health/kiln/fhir/reading-id","value":"%s"}],"status":"final",`+
			`"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs","display":"Vital Signs"}]}],`+
			`"code":{"coding":[{"system":"http://loinc.org","code":"%d-4","display":"Heart rate"},{"system":"urn:iso:std:iso:11073:10101","code":"%d","display":"MDC_PULS_OXIM_PULS_RATE"}],"text":"Heart rate"},`+
			`"subject":{"reference":"Patient/patient-%03d"},"effectiveDateTime":"%s","issued":"%s",`+
			`"valueQuantity":{"value":%d.%d0,"unit":"beats/minute","system":"http://unitsofmeasure.org","code":"/min"},`+
			`"device":{"reference":"Device/monitor-%02d"}}`,
		id, id, 8860+i%benchCodes, 147840+i%benchCodes, patient,
		at.Format(time.RFC3339), at.Format("2006-01-02T15:04:05.000Z07:00"), 60+i%60, i%10, patient/5)}
}

// reading is one of a ward of a hundred patients, a second after the one before.
func reading(i int) store.Change { return ward{100}.reading(i) }

// readings are n of them, with the search terms, as the server has them, or without.
func readings(b *testing.B, s *Store, n int, terms bool) []store.Change {
	b.Helper()
	changes := make([]store.Change, n)
	for i := range changes {
		changes[i] = reading(i)
		if terms {
			found, err := s.params.Extract(changes[i].Type, changes[i].JSON)
			if err != nil {
				b.Fatal(err)
			}
			changes[i].Terms = &found
		}
	}
	return changes
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

func load(b *testing.B, s *Store, from, to int) { ward{100}.load(b, s, from, to) }

func (w ward) load(b *testing.B, s *Store, from, to int) {
	b.Helper()
	for i := from; i < to; {
		changes := make([]store.Change, 0, 1000)
		for ; i < to && len(changes) < cap(changes); i++ {
			changes = append(changes, w.reading(i))
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
// do: batches of the same keys and values, without looking for them, and the JSON alone under
// one key.
func BenchmarkWrite(b *testing.B) {
	perSecond := map[string]float64{}
	run := func(name string, writers int, write func(b *testing.B) func(i int) error) {
		b.Run(name, func(b *testing.B) {
			var next atomic.Int64
			f := write(b)
			b.SetParallelism(max(1, writers))
			b.ReportAllocs()
			begin := cpuTime(b)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := f(int(next.Add(1)) - 1); err != nil {
						b.Error(err)
						return
					}
				}
			})
			cpu(b, begin)
			perSecond[name] = float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(perSecond[name], "obs/s")
			for _, raw := range []string{"raw-json/", "raw-keys/"} {
				if n := perSecond[raw+name[len(name)-2:]]; n > 0 && strings.HasPrefix(name, "writers") {
					b.ReportMetric(n/perSecond[name], "x-slower-than-"+raw[:len(raw)-1])
				}
			}
		})
	}
	// raw knows all keys and values before the clock runs, and puts them into batches.
	raw := func(fill func(batch *pebble.Batch, i int) error) func(b *testing.B) func(i int) error {
		return func(b *testing.B) func(i int) error {
			s := onDisk(b)
			known := make([][]byte, b.N)
			for i := range known {
				batch := s.db.NewBatch()
				if err := fill(batch, i); err != nil {
					b.Fatal(err)
				}
				known[i] = bytes.Clone(batch.Repr())
				batch.Close()
			}
			return func(i int) error {
				batch := s.db.NewBatch()
				defer batch.Close()
				for r := batchrepr.Read(known[i]); ; {
					_, key, value, ok, err := r.Next()
					if err != nil {
						return err
					}
					if !ok {
						return batch.Commit(pebble.Sync)
					}
					if err := batch.Set(key, value, nil); err != nil {
						return err
					}
				}
			}
		}
	}
	for _, writers := range []string{"02", "64"} {
		n, _ := strconv.Atoi(writers)
		n /= runtime.GOMAXPROCS(0) // as many as SetParallelism multiplies by
		run("raw-json/"+writers, n, raw(func(batch *pebble.Batch, i int) error {
			c := reading(i)
			return batch.Set(appendCurrent(nil, c.Type, c.ID), c.JSON, nil)
		}))
		place := placer{numbers: newNumbers(1), stored: func(string, string, []byte) (uint64, error) { return 0, nil }}
		run("raw-keys/"+writers, n, raw(func(batch *pebble.Batch, i int) error { return fill(batch, &place, reading(i)) }))
		stored := func(extracted bool) func(b *testing.B) func(i int) error {
			return func(b *testing.B) func(i int) error {
				s := onDisk(b)
				b.Cleanup(func() {
					stats := s.Stats()
					b.ReportMetric(float64(stats.Writes)/float64(stats.Groups), "writes/fsync")
				})
				changes := readings(b, s, b.N, extracted)
				return func(i int) error {
					_, err := s.Write(context.Background(), changes[i])
					return err
				}
			}
		}
		run("writers/"+writers, n, stored(false))
		run("writers-with-terms/"+writers, n, stored(true))
	}
	b.Run("batches-of-1000", func(b *testing.B) {
		s := onDisk(b)
		changes := readings(b, s, b.N, false)
		begin := cpuTime(b)
		b.ResetTimer()
		for some := range slices.Chunk(changes, 1000) {
			if _, err := s.Write(context.Background(), some...); err != nil {
				b.Fatal(err)
			}
		}
		cpu(b, begin)
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "obs/s")
	})
}

// fill puts all keys of a new reading into a batch.
func fill(batch *pebble.Batch, place *placer, c store.Change) error {
	p := newParameters(search.R4())
	at := time.Now()
	terms, err := p.Extract(c.Type, c.JSON)
	if err != nil {
		return err
	}
	r := record{version: 1, lastUpdated: at.UnixMilli()}
	if r.json, err = fhir.Stamp(c.JSON, c.Type, c.ID, "1", at); err != nil {
		return err
	}
	if err := place.place(batch, c.Type, p.layout(c.Type), &terms, &r); err != nil {
		return err
	}
	place.done(true)
	x := indexer{params: p, resourceType: c.Type, id: c.ID, series: r.place.series, emit: func(key, value []byte) error { return batch.Set(key, value, nil) }}
	return errors.Join(place.put(batch, c.Key, location{}, &r), x.each(at, &terms), batch.Set(countOf(c.Type), []byte{1}, nil))
}

// settle waits until compactions have nothing left to do.
func settle(b *testing.B, s *Store) {
	b.Helper()
	begin, idle := time.Now(), time.Now()
	for time.Since(idle) < 3*time.Second {
		if m := s.db.Metrics(); m.Compact.NumInProgress > 0 || m.Flush.NumInProgress > 0 {
			idle = time.Now()
		}
		if time.Since(begin) > 10*time.Minute {
			b.Fatal("compactions do not end")
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.Logf("settled in %v, %d bytes", idle.Sub(begin).Round(time.Millisecond), s.db.Metrics().Total().TablesSize)
}

// BenchmarkStore works on 100,000 readings of 100 patients, or on as many as
// KILN_BENCH_OBSERVATIONS says, a thousand of each patient. What is asked for is of 20
// patients, and in memory after the first time; with -of-anyone, of any patient.
func BenchmarkStore(b *testing.B) {
	size := 100_000
	if n, err := strconv.Atoi(os.Getenv("KILN_BENCH_OBSERVATIONS")); err == nil {
		size = n
	}
	w := ward{max(1, size/1000)}
	dir := os.Getenv("KILN_BENCH_STORE")
	if dir == "" {
		dir = b.TempDir()
	}
	s := openIn(b, dir, nil)
	if s.Stats().Resources["Observation"] == 0 {
		begin := time.Now()
		w.load(b, s, 0, size)
		if err := s.db.Flush(); err != nil {
			b.Fatal(err)
		}
		b.Logf("loaded %.0f a second", float64(size)/time.Since(begin).Seconds())
	}
	settle(b, s)
	ctx := context.Background()
	b.Run("read", func(b *testing.B) {
		keys := make([]fhir.Key, 1000)
		for i := range keys {
			keys[i] = w.reading(i * 7919 % size).Key
			if _, err := s.Read(ctx, keys[i]); err != nil { // what is asked for again and again is in memory
				b.Fatal(err)
			}
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
		{"page-patient-code-date-of-anyone", "patient={patient}&code=http://loinc.org%7C{code}&_sort=-date&_count=50"},
		{"page-patient-category-of-anyone", "patient={patient}&category=vital-signs&_sort=-date&_count=50"},
		{"latest-of-a-code-of-anyone", "patient={patient}&code={code}&_sort=-date&_count=1"},
		{"count-patient-of-anyone", "patient={patient}&_summary=count"},
		{"page-category", "category=vital-signs&_sort=-date&_count=50"},
		{"page-device-code-without-match", "device={device}&code=nothing&value-quantity=gt100&_sort=-date&_count=50"},
		{"page-device-code-value", "device={device}&code={code}&value-quantity=gt100&_sort=-date&_count=50"},
		{"page-all-by-updated", "_sort=-_lastUpdated&_count=50"},
		{"page-code-by-id", "code={code}"},
		{"latest-of-a-code", "patient={patient}&code={code}&_sort=-date&_count=1"},
		{"by-identifier", "identifier=" + w.reading(4711).ID},
		{"count-patient", "patient={patient}&_summary=count"},
		{"count-patient-code-since", "patient={patient}&code={code}&date=ge2026-01-01T12:00:00Z&_summary=count"},
		{"count-all", "_summary=count"},
	}
	for _, q := range queries {
		b.Run(q.name, func(b *testing.B) {
			parsed := make([]search.Query, 20)
			anyone := strings.HasSuffix(q.name, "-of-anyone")
			if anyone {
				parsed = make([]search.Query, min(w.patients, 20_000))
			}
			for i := range parsed {
				patient := i * 7919 % w.patients
				text := strings.NewReplacer("{patient}", fmt.Sprintf("patient-%03d", patient), "{code}", fmt.Sprintf("%d-4", 8860+i*7%benchCodes),
					"{device}", fmt.Sprintf("monitor-%02d", patient/5)).Replace(q.query)
				pairs, err := search.Pairs(text)
				if err != nil {
					b.Fatal(err)
				}
				if parsed[i], _, err = search.R4().Parse("Observation", pairs, search.Options{Handling: search.Strict}); err != nil {
					b.Fatal(err)
				}
			}
			for i := range parsed { // what is asked for again and again is in memory
				if anyone {
					break
				}
				if _, err := s.Search(ctx, parsed[i]); err != nil {
					b.Fatal(err)
				}
			}
			found := 0
			b.ReportAllocs()
			begin := cpuTime(b)
			for i := rand.IntN(len(parsed)); b.Loop(); i++ {
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
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			var err error
			if s, err = Open(dir, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
