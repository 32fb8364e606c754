package search

import (
	"maps"
	"slices"
	"testing"

	"github.com/kiln-health/kiln/fhir/definitions"
)

// TestASetListsWhatItContains compares the list of each set with what the set says of every code
// that is published, of every system and of none.
func TestASetListsWhatItContains(t *testing.T) {
	codes := map[Token]bool{}
	for _, url := range []string{"observation-status", "observation-interpretation", "encounter-status", "administrative-gender", "v3-ActEncounterCode", "condition-clinical"} {
		for _, prefix := range []string{"http://hl7.org/fhir/ValueSet/", "http://terminology.hl7.org/ValueSet/"} {
			set, ok := definitions.ValueSet(prefix + url)
			if !ok {
				continue
			}
			for _, s := range set.Systems {
				for _, c := range s.Codes {
					codes[Token{System: s.System, Code: c}] = true
				}
			}
		}
	}
	for _, system := range definitions.Hierarchies() {
		h, _ := definitions.HierarchyOf(system)
		for _, c := range h.Codes() {
			codes[Token{System: system, Code: c}] = true
		}
	}
	all := map[Token]bool{}
	for c := range codes {
		for _, system := range []string{"", "http://x.example", c.System} {
			all[Token{System: system, Code: c.Code}] = true
		}
	}
	for _, c := range []struct {
		of, query string
		want      int
	}{
		{"Observation", "interpretation:below=A", 10},
		{"Observation", "interpretation:above=HH", 7},
		{"Observation", "interpretation:in=http://hl7.org/fhir/ValueSet/observation-interpretation", 57},
		{"Observation", "status:below=amended", 4}, // with and without their system
		{"Observation", "status:in=http://hl7.org/fhir/ValueSet/observation-status", 16},
		{"Encounter", "class:below=http://terminology.hl7.org/CodeSystem/v3-ActCode|_ActEncounterCode", 0},
		{"Observation", "code:below=http://terminology.hl7.org/CodeSystem/v3-Race|2028-9", 0},
	} {
		q := parse(t, c.of, c.query)
		set, as := q.Where[0].Values[0].Set, q.Where[0].Param
		contained := map[Token]bool{}
		for token := range all {
			if !as.CaseSensitive {
				token.Code = lower(token.Code)
			}
			contained[token] = set.Contains(token.System, token.Code)
		}
		maps.DeleteFunc(contained, func(_ Token, is bool) bool { return !is })
		want := slices.Collect(maps.Keys(contained))
		got := set.Codes()
		if got == nil && len(want) > MaxSetCodes {
			continue
		}
		for _, token := range want {
			if !slices.Contains(got, token) {
				t.Errorf("%s: %v is not listed", c.query, token)
			}
		}
		if len(got) != len(want) || c.want > 0 && len(got) != c.want {
			t.Errorf("%s: %d are listed, %d contained, want %d: %v", c.query, len(got), len(want), c.want, got)
		}
	}
}

func TestSetsThatWereAskedForOtherwiseAreNotEqual(t *testing.T) {
	set := func(query string) *CodeSet { return parse(t, "Observation", query).Where[0].Values[0].Set }
	below := set("interpretation:below=A")
	for _, query := range []string{"interpretation:below=H", "interpretation:above=A", "status:below=amended", "interpretation:in=http://hl7.org/fhir/ValueSet/observation-interpretation"} {
		if below.Equal(set(query)) {
			t.Errorf("%s is the same", query)
		}
	}
	if !below.Equal(set("interpretation:below=A")) || below.Equal(nil) {
		t.Error("a set is that of the same query, and of no other")
	}
}
