package validate

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/kiln-health/kiln/fhir"
	units "github.com/kiln-health/kiln/fhir/ucum"
	"github.com/kiln-health/kiln/fhir/vocabulary"
)

// codedUnit is kiln-ucum of a Quantity.
func codedUnit(c *class) check {
	system, code := c.ordinal("system"), c.ordinal("code")
	both := c.bit("system") | c.bit("code")
	return func(w *walker, n int, has uint64) bool {
		if has&both != both || string(w.text(w.child(n, system))) != fhir.UCUM {
			return true
		}
		k := w.child(n, code)
		if text := w.text(k); len(text) > 0 && !isUnit(text) {
			w.noUnit(k, text)
		}
		return true
	}
}

// noUnit tells of the code at node k that is no unit. It is not repeated: what is near to it is
// enough for who knows it, and a stranger may have put anything there.
func (w *walker) noUnit(k int, code []byte) {
	if !w.finds(ruleUCUM) {
		return
	}
	message, fix := "the code is no unit of UCUM", "send a unit as https://ucum.org writes it, in upper and lower case"
	if len(code) <= maxCode {
		_, err := units.Parse(string(code))
		if e, ok := errors.AsType[*units.Error](err); ok {
			message += ", from character " + number(e.Column) + " on"
			if e.Nearest != "" {
				fix = "did you mean " + e.Nearest + "?"
			}
		}
	}
	w.finding(ruleUCUM, fhir.CodeCodeInvalid, "code", int(w.nodes[k].start), message, fix)
}

// codedWell is what the rules demand of a Coding in one of three systems.
func codedWell(c *class) check {
	system, code := c.ordinal("system"), c.ordinal("code")
	both := c.bit("system") | c.bit("code")
	return func(w *walker, n int, has uint64) bool {
		if has&both != both {
			return true
		}
		s, k := w.text(w.child(n, system)), w.child(n, code)
		text := w.textIn(1, k)
		if len(text) == 0 {
			return true
		}
		switch string(s) {
		case fhir.LOINC:
			if ok, digit := isLOINC(text); !ok {
				w.noLOINC(k, digit)
			}
		case fhir.MDC:
			if mdc, ok := parseMDC(text); !ok || !vocabulary.HasMDC(mdc) {
				w.noMDC(k, text, ok)
			}
		case fhir.UCUM:
			if !isUnit(text) {
				w.noUnit(k, text)
			}
		}
		return true
	}
}

func (w *walker) noLOINC(k int, digit byte) {
	if !w.finds(ruleLOINC) {
		return
	}
	message, fix := "the code has not the form of LOINC", "send the number with its check digit, as in 8867-4"
	if digit != 0 {
		message, fix = "the check digit of the code is wrong", "look the code up: with this number it would end in -"+string(rune(digit))
	}
	w.finding(ruleLOINC, fhir.CodeCodeInvalid, "code", int(w.nodes[k].start), message, fix)
}

func (w *walker) noMDC(k int, code []byte, number bool) {
	if !w.finds(ruleMDC) {
		return
	}
	message, fix := "the code is no context-free number", "send partition × 65536 + term in decimal digits, as in 147842"
	switch mdc, ok := contextFree(code); {
	case number:
		message, fix = "the code is not in the tables here", "make sure that the nomenclature has it, in https://rtmms.nist.gov"
	case ok:
		fix = "send " + strconv.FormatUint(uint64(mdc), 10)
	}
	w.finding(ruleMDC, fhir.CodeCodeInvalid, "code", int(w.nodes[k].start), message, fix)
}

// contextFree is the number of a code that is written as partition::term or as a reference id.
func contextFree(code []byte) (mdc uint32, ok bool) {
	if len(code) > maxCode {
		return 0, false
	}
	if p, t, found := bytes.Cut(code, []byte("::")); found {
		partition, err := strconv.ParseUint(string(p), 10, 16)
		term, err2 := strconv.ParseUint(string(t), 10, 16)
		return uint32(partition<<16 + term), err == nil && err2 == nil && partition > 0 && term > 0
	}
	if m, ok := vocabulary.ByRefID(string(code)); ok && m.MDC != 0 {
		return m.MDC, true
	}
	u, ok := vocabulary.UnitByRefID(string(code))
	return u.MDC, ok && u.MDC != 0
}
