package search

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/apd/v3"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/ucum"
)

var quantityRow = &row{Param: Param{Name: "q", Type: QuantityParam}}

// conditionOf reads a value of a parameter.
func conditionOf(t testing.TB, r *row, modifier, value string) Clause {
	t.Helper()
	p := parser{of: R4(), opt: Options{BaseURL: base, Now: now}}
	c, err := p.condition("Observation", r, modifier, value)
	if err != nil {
		t.Fatalf("%s: %v", value, err)
	}
	return c
}

// measured is a quantity as 7.4|code, <7.4|code or 7.4..7.6|code.
func measured(text string) Quantity {
	value, code, _ := strings.Cut(text, "|")
	q := Quantity{Param: "q", System: fhir.UCUM, Code: code}
	low, high, ranged := strings.Cut(value, "..")
	switch {
	case ranged:
		q.Low, q.High = exactly(low), exactly(high)
	case strings.HasPrefix(value, "<"):
		q.High, q.HighOpen = exactly(value[1:]), true
	case strings.HasPrefix(value, ">"):
		q.Low, q.LowOpen = exactly(value[1:]), true
	default:
		q.Low, q.High = exactly(value), exactly(value)
	}
	return q
}

func TestQuantitiesOfUCUMMatchInAnyUnit(t *testing.T) {
	for _, c := range []struct {
		name, stored, query string
		want                bool
	}{
		{"the same unit", "5.4|mg", "5.4|mg", true},
		{"a smaller unit", "5400|ug", "5.4|mg", true},
		{"a larger unit", "0.0054|g", "5.4|mg", true},
		{"the precision is that of the query: within", "5449|ug", "5.4|mg", true},
		{"the precision is that of the query: without", "5450|ug", "5.4|mg", false},
		{"the precision is that of the query: the lower edge", "5350|ug", "5.4|mg", true},
		{"the precision of what is stored does not count", "5|g", "5001|mg", false},
		{"exactly above", "5001|ug", "gt5|mg", true},
		{"exactly not above", "5000|ug", "gt5|mg", false},
		{"exactly at", "5000|ug", "ge5|mg", true},
		{"ne in another unit", "6000|ug", "ne5|mg", true},
		{"ne is not for other kinds", "6000|um", "ne5|mg", false},
		{"ap in another unit", "109|mm", "ap10|cm", true},
		{"blood pressure", "16|kPa", "120|mm[Hg]", true},
		{"blood pressure, a little more", "16.1|kPa", "120|mm[Hg]", false},
		{"temperature", "37|Cel", "98.6|[degF]", true},
		{"temperature the other way", "98.6|[degF]", "37.0|Cel", true},
		{"heart rate", "1.2|Hz", "72|/min", true},
		{"a third is exact", "20|min", "ge0.33|h", true},
		{"annotations are ignored", "72|{beats}/min", "72|/min", true},
		{"another writing of the same unit", "5|mL", "5|cm3", true},
		{"arbitrary units do not convert", "5|[iU]/L", "5|mg/L", false},
		{"arbitrary units with prefixes do", "5|[iU]/L", "5|m[iU]/mL", true},
		{"glucose in moles is not glucose in grams", "5.5|mmol/L", "99|mg/dL", false},
		{"a concentration is no count", "250|10*9/L", "lt5|mmol/L", false},
		{"a fraction of moles is no percentage", "48|mmol/mol", "4.8|%", false},
		{"equivalents are no moles", "2|meq/L", "2|mmol/L", false},
		{"a code that is no unit", "5|mgs", "5|mg", false},
		{"a code that is no unit in both", "5|mgs", "5|mgs", true},
		{"a query for what is no unit", "5|mg", "5|mgs", false},
		{"less than, in another unit", "<20|mg", "lt0.005|g", true},
		{"less than, and not above", "<20|mg", "gt0.02|g", false},
		{"an open edge stays open", "<20|mg", "ge0.02|g", false},
		{"a range", "10..30|mg", "gt0.029|g", true},
		{"a range does not reach", "10..30|mg", "gt0.03|g", false},
		{"pH runs backwards: a lower one is more", "7.0|[pH]", "gt0.00000009|mol/L", true},
		{"pH runs backwards: a higher one is less", "7.4|[pH]", "gt0.00000009|mol/L", false},
		{"pH runs backwards: ranges turn round", "7.0..8.0|[pH]", "gt0.00000009|mol/L", true},
		{"pH runs backwards: ranges turn round, below", "7.0..8.0|[pH]", "lt0.00000002|mol/L", true},
		{"pH runs backwards: edges turn round", ">7|[pH]", "ge0.0000001|mol/L", false},
		{"pH runs backwards: less than is open above", "<7|[pH]", "gt1|mol/L", true},
		{"pH in pH does not", "7.4|[pH]", "gt7.3|[pH]", true},
		{"there is no pH of nothing", "0|mol/L", "lt15|[pH]", false},
	} {
		clause := conditionOf(t, quantityRow, "", strings.Replace(c.query, "|", "|"+fhir.UCUM+"|", 1))
		q := measured(c.stored)
		for range 2 { // the second time from memory
			if got := clause.quantity(&q); got != c.want {
				t.Errorf("%s: %s finds %s: %v", c.name, c.query, c.stored, got)
			}
		}
	}
}

func TestDecimalsAndFractionsCompareAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{"eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"}).Draw(t, "prefix") +
			rapid.SampledFrom([]string{"5", "5.0", "0.3", "-7", "1e3"}).Draw(t, "n") + "|" + fhir.UCUM + "|" + rapid.SampledFrom([]string{"mg", "g", "kg", "[lb_av]"}).Draw(t, "unit")
		q := measured(rapid.SampledFrom([]string{"5000", "4.5", "0.0055", "<300", ">0.3", "4..6", "-7000", "1"}).Draw(t, "stored") + "|" + rapid.SampledFrom([]string{"ug", "g", "mg", "kg"}).Draw(t, "in"))
		quick, slow := readQuantity(t, text), readQuantity(t, text)
		if c := slow.Unit.conversion(q.Code); c != nil {
			c.number = nil
		}
		if quick.Unit.matches(&quick, &q) != slow.Unit.matches(&slow, &q) {
			t.Fatalf("%s and %+v", text, q)
		}
	})
}

func TestUnitsOfOtherSystemsAreTexts(t *testing.T) {
	q := measured("5000|ug")
	for _, query := range []string{"5||mg", "5|http://x.example|mg"} {
		clause := conditionOf(t, quantityRow, "", query)
		if clause.quantity(&q) {
			t.Errorf("%s finds 5000 ug", query)
		}
	}
	clause := conditionOf(t, quantityRow, "", "5|"+fhir.UCUM+"|mg")
	if q.System = "http://x.example"; clause.quantity(&q) {
		t.Error("ug of another system is found")
	}
}

// units of one kind, and how many of the first the others are.
var units = []struct {
	code   string
	factor *apd.Decimal
}{{"g", exactly("1")}, {"mg", exactly("0.001")}, {"kg", exactly("1000")}, {"ug", exactly("0.000001")}, {"t", exactly("1000000")}}

func TestAQuantityIsFoundByWhatItIsInAnotherUnit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := units[rapid.IntRange(0, len(units)-1).Draw(t, "from")]
		to := units[rapid.IntRange(0, len(units)-1).Draw(t, "to")]
		n := decimalOf(rapid.Int64Range(-1e6, 1e6).Draw(t, "n"), int32(rapid.IntRange(-6, 6).Draw(t, "exponent")))
		converted, err := ucum.Convert(n.Text('f'), from.code, to.code)
		if err != nil {
			t.Fatal(err)
		}
		there, back := fmt.Sprintf("%s|%s|%s", converted, fhir.UCUM, to.code), fmt.Sprintf("%s|%s|%s", n.Text('f'), fhir.UCUM, from.code)
		stored, other := measured(n.Text('f')+"|"+from.code), measured(converted+"|"+to.code)
		for _, prefix := range []string{"", "eq", "ge", "le", "ap"} {
			one, two := readQuantity(t, prefix+there), readQuantity(t, prefix+back)
			if !one.matchesQuantity(&stored, QuantityParam) || !two.matchesQuantity(&other, QuantityParam) {
				t.Fatalf("%s%s does not find %s %s, or the other way", prefix, there, n, from.code)
			}
		}
		for _, prefix := range []string{"ne", "gt", "lt", "sa", "eb"} {
			one, two := readQuantity(t, prefix+there), readQuantity(t, prefix+back)
			if one.matchesQuantity(&stored, QuantityParam) || two.matchesQuantity(&other, QuantityParam) {
				t.Fatalf("%s%s finds %s %s, or the other way", prefix, there, n, from.code)
			}
		}
	})
}

// decimalOf is n without an exponent above 0.
func decimalOf(n int64, exponent int32) *apd.Decimal {
	return exactly(apd.New(n, exponent).Text('f'))
}

func readQuantity(t *rapid.T, text string) Value {
	v, err := quantityValue(quantityRow, text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// A store looks among ranges of floats for what Matches then decides on.
func TestWhatMatchesIsWithinTheCanonicalRange(t *testing.T) {
	codes := []string{"mg", "g", "kg", "[lb_av]", "mmol/L", "[pH]", "mol/L", "Cel", "[degF]", "K", "mm[Hg]", "kPa", "dB", "B", "%", "1"}
	numbers := []string{"0", "1", "7", "7.4", "-3.5", "37", "98.6", "1e-7", "3.98e-8", "120", "16", "1e30", "5000", "-5000"}
	drawn := rapid.Custom(func(t *rapid.T) string {
		a := rapid.SampledFrom(numbers).Draw(t, "number")
		switch rapid.IntRange(0, 4).Draw(t, "form") {
		case 0:
			a = "<" + a
		case 1:
			a = ">" + a
		case 2:
			b := rapid.SampledFrom(numbers).Draw(t, "high")
			if exactly(a).Cmp(exactly(b)) > 0 {
				a, b = b, a
			}
			a += ".." + b
		}
		return a + "|" + rapid.SampledFrom(codes).Draw(t, "code")
	})
	rapid.Check(t, func(t *rapid.T) {
		text := drawn.Draw(t, "stored")
		q := measured(text)
		query := rapid.SampledFrom([]string{"eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"}).Draw(t, "prefix") +
			rapid.SampledFrom(numbers).Draw(t, "n") + "|" + fhir.UCUM + "|" + rapid.SampledFrom(codes).Draw(t, "unit")
		v := readQuantity(t, query)
		low, high, kind, ok := q.Canonical()
		from, to, of, fine := v.Canonical()
		if !ok || !fine || math.IsNaN(low) || math.IsNaN(high) || low > high || from > to {
			t.Fatalf("%s: %g to %g, %v; %s: %g to %g, %v", text, low, high, ok, query, from, to, fine)
		}
		if v.matchesQuantity(&q, QuantityParam) && (kind != of || high < from || low > to) {
			t.Fatalf("%s finds %s: %g to %g %s, and %g to %g %s", query, text, from, to, of, low, high, kind)
		}
	})
}

func TestCanonicalRangesAreNarrow(t *testing.T) {
	for _, c := range []struct {
		stored    string
		low, high float64
		kind      string
	}{
		{"5|mg", math.Nextafter(0.005, -1), math.Nextafter(0.005, 1), "g"},
		{"5|g", 5, 5, "g"},
		{"<5|g", math.Inf(-1), 5, "g"},
		{"2..5|g", 2, 5, "g"},
	} {
		q := measured(c.stored)
		if low, high, kind, ok := q.Canonical(); low != c.low || high != c.high || kind != c.kind || !ok {
			t.Errorf("%s: %g to %g %s %v", c.stored, low, high, kind, ok)
		}
	}
	for _, q := range []Quantity{{System: "http://x.example", Code: "mg"}, {System: fhir.UCUM}, {System: fhir.UCUM, Code: "mgs"}} {
		if _, _, _, ok := q.Canonical(); ok {
			t.Errorf("%+v is a quantity of UCUM", q)
		}
	}
	v := conditionOf(t, quantityRow, "", "5||mg").Values[0]
	if _, _, _, ok := v.Canonical(); ok {
		t.Error("a value without a system is one of UCUM")
	}
}

func TestAQueryIsComparedByManyGoroutines(t *testing.T) {
	clause := conditionOf(t, quantityRow, "", "5|"+fhir.UCUM+"|mg")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for _, stored := range []string{"5000|ug", "0.005|g", "0.000005|kg"} {
				q := measured(stored)
				if !clause.quantity(&q) {
					t.Errorf("%s is not found", stored)
				}
			}
		})
	}
	all.Wait()
}

func TestAUnitForgetsNothingItShouldNotRemember(t *testing.T) {
	v := conditionOf(t, quantityRow, "", "5|"+fhir.UCUM+"|mg").Values[0]
	for i := range 2 * maxConversions {
		q := measured(fmt.Sprintf("5000|{%d}ug", i))
		q.Code = fmt.Sprintf("ug{%d}", i)
		if !v.matchesQuantity(&q, QuantityParam) {
			t.Fatalf("unit %d is not found", i)
		}
	}
	if n := len(v.Unit.from); n != maxConversions {
		t.Errorf("%d units are remembered, want %d", n, maxConversions)
	}
}

func BenchmarkMatchesAnotherUnit(b *testing.B) {
	for _, unit := range []string{"mg", "g", "[lb_av]"} {
		b.Run(unit, func(b *testing.B) {
			clause := conditionOf(b, quantityRow, "", "gt5.4|"+fhir.UCUM+"|mg")
			q := measured("5.5|" + unit)
			b.ReportAllocs()
			for b.Loop() {
				clause.quantity(&q)
			}
		})
	}
}

func BenchmarkCanonical(b *testing.B) {
	q := measured("5.5|mg/dL")
	b.ReportAllocs()
	for b.Loop() {
		q.Canonical()
	}
}

func BenchmarkFold(b *testing.B) {
	for _, text := range []string{"smith", "Smith", "Müller-Lüdenscheidt"} {
		b.Run(text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Fold(text)
			}
		})
	}
}
