package ucum

import (
	"fmt"
	"math/big"
	"strings"
)

// substances are the units that count an amount of substance. UCUM defines all of them as
// plain numbers; what is defined by one of them counts it, too, as kat, U and [pH] do.
var substances = [...]string{"eq", "mol", "osm"}

// Kind tells what a unit is of, more strictly than [Unit.Canonical]: units of one kind are
// commensurable, and if one counts moles, equivalents or osmoles, the other counts the same.
// So a concentration in mmol/L is not compared with a number of cells per litre, as UCUM, to
// which the mole is a number, would allow; nor mmol/mol with a percentage, of which the
// results differ in clinical use; nor meq/L with mmol/L, which depends on the valence.
//
// It is the code of the base, and behind a blank what is counted, as in "m-3 mol".
func (u Unit) Kind() string {
	var over, under [len(substances)]int
	loaded().count(u.String(), 1, &over, &under)
	var b strings.Builder
	b.WriteString(u.baseCode())
	part := func(separator byte, counts [len(substances)]int) {
		for i, n := range counts {
			if n != 0 {
				fmt.Fprintf(&b, "%c%s", separator, substances[i])
				separator = '.'
				if n > 1 {
					fmt.Fprint(&b, n)
				}
			}
		}
	}
	part(' ', over)
	if over == [len(substances)]int{} && under != over {
		b.WriteString(" 1")
	}
	part('/', under)
	return b.String()
}

// count adds up the powers of the substances in a code, those above and those below the line.
func (t *table) count(code string, power int, over, under *[len(substances)]int) {
	r := t.read(code)
	for r.next() {
		if a := r.term.atom; a != nil {
			t.countAtom(a, power*r.term.power(), over, under)
		}
	}
}

func (t *table) countAtom(a *atom, power int, over, under *[len(substances)]int) {
	for i, code := range substances {
		if a.code == code {
			over[i] += max(power, 0)
			under[i] += max(-power, 0)
			return
		}
	}
	t.count(a.definition.unit, power, over, under)
}

// Descending reports whether more on the scale of the unit is less of what is measured, as on
// that of [pH] and the homeopathic potencies.
func (u Unit) Descending() bool {
	if u.special == nil {
		return false
	}
	one, err := u.ToBase(big.NewRat(1, 1))
	if err != nil {
		return false
	}
	two, err := u.ToBase(big.NewRat(2, 1))
	return err == nil && two.Cmp(one) < 0
}
