package ucum

import (
	_ "embed"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// essenceTSV states the prefixes and units of UCUM; its columns are described in
// generate/generate.go.
//
//go:embed essence.tsv
var essenceTSV string

// maxBases is how many base units, arbitrary units and special units a table may have.
const maxBases = 80

// table holds the terminal symbols of UCUM.
// https://ucum.org/ucum#section-Tables-of-Terminal-Symbols
type table struct {
	prefixes map[string]*prefix
	atoms    map[string]*atom
	bases    []string // codes, in ASCII order

	// For the search for the nearest unit; in the order of the source.
	prefixList []*prefix
	atomList   []*atom
	words      map[string]*atom // by code, symbol and names, as normal writes them
}

type prefix struct {
	code, name string
	size       size
}

type atom struct {
	code, symbol string
	names        []string
	metric       bool
	definition   definition

	// What the definition comes to.
	size       size
	dimensions []dimension
	special    *special // or nil
}

// definition is how the table of UCUM defines a unit: value × unit, or the function of that.
type definition struct {
	value    *big.Rat
	unit     string // "" for a base unit
	function string // "" for a proper unit
	state    state
}

type state int

const (
	unresolved state = iota
	resolving
	resolved
)

// dimension is the power of a base.
type dimension struct {
	base  int // index in table.bases
	power int
}

// special is what stands behind a special unit: the functions, and the corresponding unit.
type special struct {
	code  string
	scale scale
	unit  *big.Rat // of which the functions take and give numbers, as a multiple of the base
	base  string
}

// loaded is the table of this package. It has no faults: a test reads it.
var loaded = sync.OnceValue(func() *table {
	t, _ := load(essenceTSV)
	return t
})

// load reads the table. What it cannot use it leaves out, and tells.
func load(tsv string) (*table, error) {
	t := &table{prefixes: map[string]*prefix{}, atoms: map[string]*atom{}, words: map[string]*atom{}}
	var faults []error
	line, header := 0, false
	for text := range strings.SplitSeq(strings.TrimSuffix(tsv, "\n"), "\n") {
		line++
		if strings.HasPrefix(text, "#") {
			continue
		}
		if !header {
			header = true
			continue
		}
		if err := t.add(strings.Split(text, "\t")); err != nil {
			faults = append(faults, fmt.Errorf("essence.tsv:%d: %w", line, err))
		}
	}
	slices.Sort(t.bases)
	if len(t.bases) > maxBases {
		faults = append(faults, fmt.Errorf("essence.tsv: %d base, arbitrary and special units, want at most %d", len(t.bases), maxBases))
		t.bases = t.bases[:maxBases]
	}
	for _, a := range t.atomList {
		if err := t.resolve(a); err != nil {
			faults = append(faults, fmt.Errorf("essence.tsv: %s: %w", a.code, err))
		}
	}
	for _, a := range t.atomList {
		t.learn(a)
	}
	return t, errors.Join(faults...)
}

func (t *table) add(f []string) error {
	if len(f) != 8 || f[1] == "" || f[2] == "" {
		return errors.New("want eight columns, with a code and a name")
	}
	kind, code, names, flags, value := f[0], f[1], strings.Split(f[2], "|"), strings.Fields(f[4]), f[5]
	if kind == "base" {
		value = "1"
	}
	number, ok := new(big.Rat).SetString(value)
	if !ok || number.Sign() <= 0 {
		return errors.New("the value is no positive number")
	}
	if kind == "prefix" {
		if len(code) > 2 || t.prefixes[code] != nil {
			return errors.New("a prefix has one or two letters, and one meaning")
		}
		t.prefixes[code] = &prefix{code: code, name: names[0], size: sizeOf(number)}
		t.prefixList = append(t.prefixList, t.prefixes[code])
		return nil
	}

	a := &atom{code: code, symbol: f[3], names: names, metric: slices.Contains(flags, "metric"),
		definition: definition{value: number, unit: f[6], function: f[7]}}
	if t.atoms[code] != nil {
		return errors.New("the unit is there already")
	}
	if isDigit(rune(code[len(code)-1])) {
		return errors.New("a unit cannot end with a digit")
	}
	switch {
	case kind == "base", slices.Contains(flags, "arbitrary") && f[6] == "1", f[7] != "":
		t.bases = append(t.bases, code)
	case kind != "unit" || f[6] == "":
		return errors.New("want a base, or a unit with a definition")
	}
	t.atoms[code] = a
	t.atomList = append(t.atomList, a)
	return nil
}

// resolve works out what a unit is in terms of the bases.
func (t *table) resolve(a *atom) error {
	switch a.definition.state {
	case resolved:
		return nil
	case resolving:
		return errors.New("the unit is defined by itself")
	}
	a.definition.state = resolving

	var m measure
	var unit size
	size := a.definition.value
	if a.definition.unit != "" {
		r := t.read(a.definition.unit)
		for r.next() {
			if r.term.atom != nil {
				if err := t.resolve(r.term.atom); err != nil {
					return fmt.Errorf("%s: %w", r.term.atom.code, err)
				}
			}
			if fault := m.add(&r.term); fault != nil {
				return fault
			}
			unit.multiply(&r.term)
		}
		if r.fault != nil {
			return r.fault
		}
		size = new(big.Rat).Mul(size, unit.rat())
	}

	if function := a.definition.function; function != "" {
		scale, ok := scaleOf(function)
		if !ok {
			return fmt.Errorf("the function %s is not known", function)
		}
		a.special = &special{code: a.code, scale: scale, unit: size, base: t.baseOf(&m.dimensions)}
	}
	if base, ok := slices.BinarySearch(t.bases, a.code); ok {
		a.dimensions = []dimension{{base, 1}}
	} else {
		a.size = sizeOf(size)
		for base, power := range m.dimensions {
			if power != 0 {
				a.dimensions = append(a.dimensions, dimension{base, int(power)})
			}
		}
	}
	a.definition.state = resolved
	return nil
}

// symbol splits a symbol into a prefix and a unit. The unit is nil if there is no such
// symbol, the prefix if the symbol has none. No symbol can be read in two ways.
// https://ucum.org/ucum#section-Prefixes
func (t *table) symbol(s string) (*prefix, *atom) {
	if a := t.atoms[s]; a != nil {
		return nil, a
	}
	for n := min(2, len(s)-1); n > 0; n-- {
		if p := t.prefixes[s[:n]]; p != nil {
			if a := t.atoms[s[n:]]; a != nil && a.metric {
				return p, a
			}
		}
	}
	return nil, nil
}

// valid reports whether a code is a unit.
func (t *table) valid(code string) bool {
	var m measure
	r := t.read(code)
	for r.next() {
		if m.add(&r.term) != nil {
			return false
		}
	}
	if r.fault != nil {
		return false
	}
	_, fault := t.base(&m)
	return fault == nil
}

// base is the code of the base, in which a special unit is a base of its own.
func (t *table) base(m *measure) (string, *Error) {
	base := t.baseOf(&m.dimensions)
	if len(base) > maxLength { // then it would be no valid code itself
		return "", &Error{Column: 1, Problem: "the unit is made of too many base units"}
	}
	return base, nil
}

// baseOf writes the code of the base: g.m-1.s-2.
func (t *table) baseOf(d *dimensions) string {
	var buf [64]byte
	code := buf[:0]
	for i, base := range t.bases {
		power := int64(d[i])
		if power == 0 {
			continue
		}
		if len(code) > 0 {
			code = append(code, '.')
		}
		code = append(code, base...)
		if power != 1 {
			code = strconv.AppendInt(code, power, 10)
		}
	}
	if len(code) == 0 {
		return "1"
	}
	return string(code)
}
