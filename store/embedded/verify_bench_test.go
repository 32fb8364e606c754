package embedded

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
)

// BenchmarkVerify verifies 100,000 readings, or as many as KILN_BENCH_OBSERVATIONS says, with one
// processor and with all.
func BenchmarkVerify(b *testing.B) {
	size := 100_000
	if n, err := strconv.Atoi(os.Getenv("KILN_BENCH_OBSERVATIONS")); err == nil {
		size = n
	}
	dir := os.Getenv("KILN_BENCH_STORE")
	if dir == "" {
		dir = b.TempDir()
	}
	s := openIn(b, dir, nil)
	if s.Stats().Resources["Observation"] == 0 {
		ward{max(1, size/1000)}.load(b, s, 0, size)
		if err := s.db.Flush(); err != nil {
			b.Fatal(err)
		}
	}
	settle(b, s)
	for _, workers := range slices.Compact([]int{1, runtime.GOMAXPROCS(0)}) {
		b.Run(fmt.Sprint("workers-", workers), func(b *testing.B) {
			b.ReportAllocs()
			begin := cpuTime(b)
			for b.Loop() {
				r, err := s.verifyWith(b.Context(), workers, nil)
				if err == nil {
					err = r.Err()
				}
				if err != nil || r.Resources != int64(size) {
					b.Fatalf("%d resources, %v", r.Resources, err)
				}
			}
			cpu(b, begin)
			b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds(), "resources/s")
		})
	}
}
