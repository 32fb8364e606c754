package rest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/rest"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// BenchmarkOperations asks for one patient with 20,000 readings of 20 codes.
func BenchmarkOperations(b *testing.B) {
	a := newAPI(b, rest.Options{})
	const readings = 20_000
	var changes []store.Change
	for i := range readings {
		id := fmt.Sprintf("o%06d", i)
		o := reading(id, "p", noon.Add(-time.Duration(i)*time.Minute).Format(time.RFC3339), fmt.Sprintf("88%02d-4", i%20))
		o = o[:len(o)-1] + `,"valueQuantity":` + valueIn(fmt.Sprintf("%d.5", 60+i%40), "/min") + `}`
		changes = append(changes, store.Change{Key: fhir.Key{Type: "Observation", ID: id}, JSON: []byte(o)})
		if len(changes) == search.MaxCount {
			if _, err := a.store.Write(b.Context(), changes...); err != nil {
				b.Fatal(err)
			}
			changes = nil
		}
	}
	for _, c := range []struct{ name, url string }{
		{"last of one code", "$lastn?patient=p&code=http://loinc.org%7C8801-4"},
		{"last of each code", "$lastn?patient=p&category=vital-signs"},
		{"statistics of 1,000", "$stats?subject=Patient/p&system=http://loinc.org&code=8801-4&statistic=average,std-dev,median,skew,regression"},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if got := a.send(b, "GET", "/fhir/Observation/"+c.url, ""); got.StatusCode != 200 {
					b.Fatalf("%s", got.body)
				}
			}
		})
	}
}
