package ucum

import (
	"strconv"
	"strings"
)

// nearest is a valid code that somebody may have meant by a symbol that is none, or "".
func (t *table) nearest(symbol string) string {
	if strings.ContainsAny(symbol, "()") {
		return t.bracketed(symbol)
	}
	bracket := strings.Contains(symbol, "[")
	for _, guess := range []func(string) string{frequent, inASCII, t.withoutPrefix, separated, t.word, t.edited} {
		code := guess(symbol)
		if bracket && !strings.Contains(code, "[") { // m[H O] is not mho
			continue
		}
		if code != "" && t.valid(code) {
			return code
		}
	}
	return ""
}

// bracketed gives parentheses their meaning in ISO+, of which HL7 v2 made use: mm(hg).
func (t *table) bracketed(symbol string) string {
	code := strings.NewReplacer("(", "[", ")", "]").Replace(symbol)
	if t.valid(code) {
		return code
	}
	if code = t.word(code); strings.Contains(code, "[") {
		return code
	}
	return ""
}

// frequent are the mistakes that device makers and hospitals make most, where no rule below
// leads to the unit.
func frequent(symbol string) string {
	if symbol == "Cal" {
		return "[Cal]"
	}
	switch strings.ToLower(symbol) {
	case "torr":
		return "mm[Hg]"
	case "bpm", "rpm":
		return "/min"
	case "beat", "beats":
		return "{beat}"
	case "breath", "breaths":
		return "{breath}"
	case "cell", "cells":
		return "{cell}"
	case "count", "counts":
		return "{count}"
	case "step", "steps":
		return "{step}"
	case "degc", "deg c", "celsius", "c\u00b0", "\u00bac", "\u2103":
		return "Cel"
	case "degf", "deg f", "fahrenheit", "f\u00b0", "\u00baf", "\u2109":
		return "[degF]"
	case "mcg":
		return "ug"
	case "mcl":
		return "uL"
	case "cc", "ccm":
		return "cm3"
	case "gm", "gms":
		return "g"
	case "sec", "secs", "second", "seconds":
		return "s"
	case "msec", "msecs":
		return "ms"
	case "mins", "minute", "minutes":
		return "min"
	case "hr", "hrs", "hour", "hours":
		return "h"
	case "day", "days":
		return "d"
	case "wks":
		return "wk"
	case "mos", "months":
		return "mo"
	case "yr", "yrs", "year", "years":
		return "a"
	case "iu":
		return "[IU]"
	case "miu":
		return "m[IU]"
	case "uiu":
		return "u[IU]"
	case "lbs", "pounds":
		return "[lb_av]"
	case "ounce", "ounces":
		return "[oz_av]"
	case "inch", "inches":
		return "[in_i]"
	case "feet":
		return "[ft_i]"
	case "pct":
		return "%"
	case "mosmol":
		return "mosm"
	case "osmol":
		return "osm"
	case "1.73m2", "1.73m\u00b2", "1.73m^2":
		return "{1.73_m2}"
	}
	return ""
}

// inASCII writes letters that UCUM does not have as it does: µg is ug.
func inASCII(symbol string) string {
	return strings.NewReplacer(
		"\u00b5", "u", "\u03bc", "u", // micro sign, mu
		"\u2126", "Ohm", "\u03a9", "Ohm", // ohm sign, omega
		"\u00b2", "2", "\u00b3", "3", // superscripts
	).Replace(symbol)
}

// withoutPrefix turns the prefix of a unit that takes none into a number: kmin is 10*3.min.
func (t *table) withoutPrefix(symbol string) string {
	for n := min(2, len(symbol)-1); n > 0; n-- {
		p, a := t.prefixes[symbol[:n]], t.atoms[symbol[n:]]
		if p == nil || a == nil {
			continue
		}
		if p.size.num != nil { // a power of two
			return p.size.num.String() + "." + a.code
		}
		return "10*" + strconv.Itoa(p.size.tens) + "." + a.code
	}
	return ""
}

// separated puts the operator between a number and a unit: 12h is 12.h, 10E9 is 10*9.
func separated(symbol string) string {
	unit := strings.TrimLeft(symbol, "0123456789")
	number := symbol[:len(symbol)-len(unit)]
	if number == "" || unit == "" {
		return ""
	}
	if power := strings.TrimLeft(unit, "eE+^"); number == "10" && allDigits(strings.TrimPrefix(power, "-")) {
		return "10*" + power
	}
	return number + "." + unit
}

// learn makes a unit known by its code, symbol and names.
func (t *table) learn(a *atom) {
	for i, word := range append([]string{a.code, a.symbol}, a.names...) {
		w := normal(word)
		if w == "" || i > 0 && len(w) == 1 { // X in print is a potency
			continue
		}
		if t.words[w] == nil {
			t.words[w] = a
		}
	}
}

// normal leaves the letters and digits of a word, in lower case.
func normal(word string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '%' || r == '\u00b0' {
			return r
		}
		return -1
	}, strings.ToLower(word))
}

// word finds a unit by its name or its symbol in print, or with the wrong case or brackets:
// milligrams, mEq, psi, cmH2O, [beth'u].
func (t *table) word(symbol string) string {
	w := normal(symbol)
	forms := []string{w}
	if len(w) > 3 {
		singular := strings.TrimSuffix(w, "s")
		forms = []string{w, singular, strings.Replace(singular, "tre", "ter", 1)}
	}
	for _, form := range forms {
		if a := t.words[form]; a != nil && len(form) > 1 {
			return a.code
		}
	}
	for _, form := range forms {
		for _, p := range t.prefixList {
			if rest, ok := strings.CutPrefix(form, p.name); ok && rest != "" {
				if a := t.words[rest]; a != nil && a.metric {
					return p.code + a.code
				}
			}
		}
	}
	if symbol == strings.ToUpper(symbol) { // then M is rather milli than mega
		symbol = strings.ToLower(symbol)
	}
	for n := min(2, len(symbol)-1); n > 0; n-- {
		p := t.prefixes[symbol[:n]]
		if p == nil { // Kcal
			p = t.prefixes[strings.ToLower(symbol[:n])]
		}
		if a := t.words[normal(symbol[n:])]; p != nil && a != nil && a.metric {
			return p.code + a.code
		}
	}
	return ""
}

// edited finds a unit that one letter more, less or other makes of the symbol.
func (t *table) edited(symbol string) string {
	for n := 0; n <= 2 && len(symbol)-n >= 3; n++ {
		prefix, rest := symbol[:n], symbol[n:]
		if n > 0 && t.prefixes[prefix] == nil {
			continue
		}
		for _, a := range t.atomList {
			if (n == 0 || a.metric) && oneEdit(rest, a.code) {
				return prefix + a.code
			}
		}
	}
	return ""
}

// oneEdit reports whether a letter added, removed or replaced turns one string into the other.
func oneEdit(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) == len(b) {
		return i < len(a) && a[i+1:] == b[i+1:]
	}
	return a[i:] == b[i+1:]
}
