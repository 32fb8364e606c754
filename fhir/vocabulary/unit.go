package vocabulary

import (
	"iter"
	"strings"
)

// Unit is a unit of measure. Its UCUM code carries no annotation, so that values of the
// same unit have the same code; Display keeps what the annotation said.
type Unit struct {
	MDC     uint32 // context-free code; 0 if the nomenclature has none
	RefID   string // MDC_DIM_BEAT_PER_MIN
	UCUM    string // /min
	Display string // {beat}/min, for Quantity.unit
}

// UnitByMDC is the unit of an MDC context-free code. Units that UCUM cannot express, such
// as 262144 (not otherwise specified), are not known here.
func UnitByMDC(code uint32) (Unit, bool) {
	u, ok := loaded().unitByMDC[code]
	return u, ok
}

// UnitByRefID is the unit of an MDC reference id in upper case. The nomenclature's X for
// "any prefix" may be there or not: MDC_DIM_X_L is MDC_DIM_L.
func UnitByRefID(refid string) (Unit, bool) {
	u, ok := loaded().unitByRefID[refid]
	return u, ok
}

// UnitByUCUM is the unit of a UCUM code that the table knows, which is far from all.
// Annotations are stripped from the code and kept in Display, and other spellings of a
// code that mean the same give the code: 1/min and {breath}/min are /min.
// http://unitsofmeasure.org/ucum.html
func UnitByUCUM(code string) (Unit, bool) {
	plain := code
	if strings.IndexByte(code, '{') >= 0 {
		var ok bool
		if plain, ok = withoutAnnotations(code); !ok {
			return Unit{}, false
		}
	}
	u, ok := loaded().unitByUCUM[plain]
	if ok && plain != code {
		u.Display = code
	}
	return u, ok
}

// UnitCodes yields every UCUM code of the table, in all its spellings, with annotations where
// the nomenclature has them.
func UnitCodes() iter.Seq[string] {
	return func(yield func(string) bool) {
		t := loaded()
		for code := range t.unitByUCUM {
			if !yield(code) {
				return
			}
		}
		for _, u := range t.unitByMDC {
			if _, plain := t.unitByUCUM[u.Display]; !plain && !yield(u.Display) {
				return
			}
		}
	}
}

// withoutAnnotations takes {…} out of a code. An annotation alone stands for 1, so nothing
// is divided or multiplied by what is left in its place.
func withoutAnnotations(code string) (string, bool) {
	var b strings.Builder
	for code != "" {
		before, rest, found := strings.Cut(code, "{")
		b.WriteString(before)
		if !found {
			break
		}
		_, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", false
		}
		code = after
	}
	plain := strings.TrimRight(b.String(), "./")
	plain = strings.ReplaceAll(plain, "//", "/")
	plain = strings.TrimLeft(strings.ReplaceAll(plain, "..", "."), ".")
	if plain == "" {
		plain = "1"
	}
	return plain, true
}

// commensurable reports whether values of both units measure the same kind of quantity.
// Numbers of different kinds, such as % and 1, are not taken for the same.
func commensurable(a, b string) bool {
	if a == b {
		return true
	}
	d := loaded().dimension
	return d[a] != "" && d[a] == d[b]
}
