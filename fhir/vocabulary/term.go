package vocabulary

import (
	_ "embed"
	"sync"
)

// mdc, refid (if it is known): terms of the nomenclature that are neither metrics nor units.
//
//go:embed terms.tsv
var termsTSV string

// HasMDC reports whether an MDC context-free code is in one of the tables: as a metric, as a
// unit, or as another term, of those that HL7's device guides, IHE's implantable device
// observations and messages of devices use. The nomenclature has thousands more, so a code
// that is not here need not be wrong.
func HasMDC(code uint32) bool {
	t := loaded()
	if _, ok := t.byMDC[code]; ok {
		return true
	}
	if _, ok := t.unitByMDC[code]; ok {
		return true
	}
	_, ok := terms()[code]
	return ok
}

var terms = sync.OnceValue(func() map[uint32]struct{} {
	all := map[uint32]struct{}{}
	for _, f := range rows(termsTSV) {
		if n, err := number(f[0]); err == nil {
			all[n] = struct{}{}
		}
	}
	return all
})
