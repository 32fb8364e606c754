package ucum

import (
	"math/big"
	"strings"
	"testing"
)

// What monitors, meters and laboratories send most.
var common = []string{"/min", "mm[Hg]", "%", "Cel", "mg/dL", "mmol/L", "kg/m2", "10*9/L", "{beat}/min", "mL/min/{1.73_m2}"}

func BenchmarkParse(b *testing.B) {
	for _, code := range common {
		b.Run(strings.ReplaceAll(code, "/", "|"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(code); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkValid(b *testing.B) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if code := common[i%len(common)]; !Valid(code) {
			b.Fatal(code)
		}
	}
}

func BenchmarkParseOfAMistake(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("zzmHgzz"); err == nil {
			b.Fatal("it is a unit")
		}
	}
}

// The longest product of the units that take most to multiply.
func BenchmarkParseOfHostileInput(b *testing.B) {
	for name, code := range map[string]string{"factor": "[pi]8", "terms": strings.Repeat("m/", 127) + "m", "refused": strings.Repeat("[pi]9.", 42)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if u, err := Parse(code); err == nil {
					u.Canonical()
				}
			}
		})
	}
}

func BenchmarkCanonicalQuantity(b *testing.B) {
	for _, c := range [][2]string{{"72", "/min"}, {"120", "mm[Hg]"}, {"36.60", "Cel"}, {"5.5", "mmol/L"}, {"72.50", "kg"}, {"7.40", "[pH]"}} {
		b.Run(strings.ReplaceAll(c[1], "/", "|"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := CanonicalQuantity(c[0], c[1]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkConvert(b *testing.B) {
	for _, c := range [][3]string{{"120", "mm[Hg]", "kPa"}, {"98.6", "[degF]", "Cel"}, {"5.5", "mmol/L", "umol/L"}} {
		b.Run(c[1]+" to "+strings.ReplaceAll(c[2], "/", "|"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Convert(c[0], c[1], c[2]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkUnitConvert(b *testing.B) {
	from, to, value := unit(b, "mm[Hg]"), unit(b, "kPa"), big.NewRat(120, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := from.Convert(value, to); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := load(essenceTSV); err != nil {
			b.Fatal(err)
		}
	}
}
