package rest_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir/rest"
)

func benchmark(b *testing.B, a *api, target string) {
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
		if w.Code != 200 {
			b.Fatalf("%d: %s", w.Code, w.Body)
		}
	}
}

func benchAPI(b *testing.B, n int) *api {
	a := newAPI(b, rest.Options{Now: time.Now, Observe: func(string, string, int, time.Duration) {}})
	for i := range n {
		id := fmt.Sprintf("o%04d", i)
		at := noon.Add(time.Duration(i) * time.Minute).Format(time.RFC3339)
		a.do(b, "PUT", "/fhir/Observation/"+id, heartRate(id, "Patient/p1", at, "72.50"), "Prefer: return=minimal")
	}
	return a
}

func BenchmarkRead(b *testing.B) { benchmark(b, benchAPI(b, 10), "/fhir/Observation/o0001") }

func BenchmarkSearchPageOf50(b *testing.B) {
	benchmark(b, benchAPI(b, 1000), "/fhir/Observation?patient=p1&code=http://loinc.org|8867-4&_sort=-date&_count=50")
}

func BenchmarkMetadata(b *testing.B) { benchmark(b, benchAPI(b, 0), "/fhir/metadata") }

func BenchmarkReadXML(b *testing.B) {
	benchmark(b, benchAPI(b, 10), "/fhir/Observation/o0001?_format=xml")
}

func BenchmarkUpdate(b *testing.B) {
	for _, level := range []rest.Validation{rest.ValidateNothing, rest.ValidateStructure, rest.ValidateProfiles} {
		b.Run(string(level), func(b *testing.B) {
			a := newAPI(b, rest.Options{Now: time.Now, Validation: level})
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				r := httptest.NewRequest("PUT", "/fhir/Observation/o1", strings.NewReader(heartRate("o1", "Patient/p1", "2024-05-01T10:00:00Z", fmt.Sprint(i))))
				r.Header.Set("Content-Type", jsonType)
				w := httptest.NewRecorder()
				a.ServeHTTP(w, r)
				if w.Code >= 300 {
					b.Fatalf("%d: %s", w.Code, w.Body)
				}
			}
		})
	}
}

func BenchmarkTransaction(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			a := newAPI(b, rest.Options{Now: time.Now})
			const patient = "urn:uuid:6f5f0a5c-4f5b-4b0a-8f0e-00000000000a"
			entries := []string{post(patient, known("", "a", ""), byA)}
			for i := range n {
				entries = append(entries, post("", heartRate("", patient, "2024-05-01T10:00:00Z", fmt.Sprint(i)), ""))
			}
			body := transaction(entries...)
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest("POST", "/fhir", strings.NewReader(body))
				r.Header.Set("Content-Type", jsonType)
				w := httptest.NewRecorder()
				a.ServeHTTP(w, r)
				if w.Code != 200 {
					b.Fatalf("%d: %s", w.Code, w.Body)
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "resources/s")
		})
	}
}
