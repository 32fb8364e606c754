package vocabulary

import (
	_ "embed"
	"iter"
	"slices"
	"strings"
	"sync"
)

// name, loinc and mdc (the codes it is about), ucum, low, high (the least and the most that
// is plausible, in that unit), source.
//
//go:embed plausible.tsv
var plausibleTSV string

// Range is what values of a living human can be. A value outside of it is an artefact, or in
// another unit than it says; one within may be wrong all the same. It is no reference range.
type Range struct {
	Name      string // in plain English
	LOINC     []string
	MDC       []uint32
	UCUM      string
	Low, High string // decimals, both plausible themselves
	Source    string // who says so
}

// Ranges yields all that are known. Two with the same code are in units that are not
// commensurable: glucose as mass and as amount of substance.
func Ranges() iter.Seq[Range] { return slices.Values(ranges()) }

var ranges = sync.OnceValue(func() []Range {
	var all []Range
	for _, f := range rows(plausibleTSV) {
		if len(f) != 7 {
			continue // a test reads the table
		}
		r := Range{Name: f[0], LOINC: strings.Fields(f[1]), UCUM: f[3], Low: f[4], High: f[5], Source: f[6]}
		for _, code := range strings.Fields(f[2]) {
			if n, err := number(code); err == nil {
				r.MDC = append(r.MDC, n)
			}
		}
		all = append(all, r)
	}
	return all
})
