package layout

import (
	"os"
	"testing"
)

func heartRate(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/heart-rate.fhir.json")
	if err != nil {
		t.Fatal(err)
	}
	return compacted(t, text)
}

// BenchmarkDocument is what MongoDB's way of storing costs a vital sign, on top of its terms.
func BenchmarkDocument(b *testing.B) {
	text := heartRate(b)
	key, terms := extracted(b, text)
	l := New(nil)
	var dst []byte
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		doc, err := l.Document(dst[:0], key, changed, text, terms)
		if err != nil {
			b.Fatal(err)
		}
		dst = doc
	}
}

// BenchmarkTranslate is what a page of a chart costs before it is asked for.
func BenchmarkTranslate(b *testing.B) {
	q := queryOf(b, "testdata/hot-patient-code-date.query")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Translate(q); err != nil {
			b.Fatal(err)
		}
	}
}
