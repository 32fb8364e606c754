package definitions

import "strings"

// Membership is whether a code is in a value set, as far as it can be told here.
type Membership uint8

// The answers. The zero value is that it cannot be told.
const (
	Unknown Membership = iota
	No
	Yes
)

// CodeSet is a value set, expanded as far as its code systems are published with FHIR.
// LOINC, SNOMED CT, UCUM, IEEE 11073 and others are not enumerated.
type CodeSet struct {
	URL     string
	Open    bool // some of it is in systems that are not listed
	Systems []SystemCodes
}

// SystemCodes is the part of a value set in one code system.
type SystemCodes struct {
	System     string
	Codes      []string // sorted
	Open       bool     // other codes of the system may be in the set, too
	AnyCase    bool     // the system does not tell upper from lower case
	Partitions []int    // IEEE 11073-10101: every code of these partitions
}

// ValueSet is the value set of a canonical URL, whose version, if it has one, is ignored.
// There are those that a required or extensible binding of a structure names.
func ValueSet(url string) (*CodeSet, bool) {
	url, _, _ = strings.Cut(url, "|")
	c, ok := valueSets()[url]
	return c, ok
}

// Enumerated reports whether Contains never answers Unknown.
func (c *CodeSet) Enumerated() bool {
	if c.Open {
		return false
	}
	for i := range c.Systems {
		if c.Systems[i].Open {
			return false
		}
	}
	return true
}

// Contains reports whether a coding is in the set. A code of a partition of IEEE 11073
// counts as contained; whether it has been assigned is not known here.
func (c *CodeSet) Contains(system, code string) Membership { return contains(c, system, code) }

// ContainsBytes is Contains for texts that are bytes. It allocates nothing.
func (c *CodeSet) ContainsBytes(system, code []byte) Membership { return contains(c, system, code) }

// ContainsCode reports whether a code is in the set, in whichever system: that is what
// an element of type code asks, for its system is implied. It allocates nothing.
func (c *CodeSet) ContainsCode(code []byte) Membership {
	answer := No
	if c.Open {
		answer = Unknown
	}
	for i := range c.Systems {
		switch has(&c.Systems[i], code) {
		case Yes:
			return Yes
		case Unknown:
			answer = Unknown
		}
	}
	return answer
}

// HasSystem reports whether the set names the system.
func (c *CodeSet) HasSystem(system string) bool {
	for i := range c.Systems {
		if c.Systems[i].System == system {
			return true
		}
	}
	return false
}

func contains[T string | []byte](c *CodeSet, system, code T) Membership {
	for i := range c.Systems {
		if c.Systems[i].System == string(system) {
			return has(&c.Systems[i], code)
		}
	}
	if c.Open {
		return Unknown
	}
	return No
}

func has[T string | []byte](s *SystemCodes, code T) Membership {
	low, high := 0, len(s.Codes)
	for low < high {
		middle := (low + high) / 2
		switch {
		case s.Codes[middle] == string(code):
			return Yes
		case s.Codes[middle] < string(code):
			low = middle + 1
		default:
			high = middle
		}
	}
	if s.AnyCase {
		for _, c := range s.Codes {
			if strings.EqualFold(c, string(code)) {
				return Yes
			}
		}
	}
	if partition, ok := partition(code); ok {
		for _, p := range s.Partitions {
			if p == partition {
				return Yes
			}
		}
	}
	if s.Open {
		return Unknown
	}
	return No
}

// partition is that of a code of IEEE 11073-10101 that is free of context: the code is
// its partition × 65536 + its term.
func partition[T string | []byte](code T) (int, bool) {
	if len(code) == 0 || len(code) > 10 || code[0] == '0' {
		return 0, false
	}
	n := 0
	for i := range len(code) {
		if code[i] < '0' || code[i] > '9' {
			return 0, false
		}
		n = n*10 + int(code[i]-'0')
	}
	return n >> 16, true
}
