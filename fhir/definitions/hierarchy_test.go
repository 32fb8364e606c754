package definitions

import (
	"slices"
	"testing"
)

const interpretations = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"

func TestCodesSubsumeWhatIsBelowThem(t *testing.T) {
	for _, c := range []struct {
		system, code string
		below, above []string
	}{
		{"http://hl7.org/fhir/observation-status", "amended", []string{"amended", "corrected"}, []string{"amended"}},
		{"http://hl7.org/fhir/observation-status", "corrected", []string{"corrected"}, []string{"amended", "corrected"}},
		{"http://hl7.org/fhir/observation-status", "final", []string{"final"}, []string{"final"}},
		{"http://terminology.hl7.org/CodeSystem/condition-clinical", "active", []string{"active", "recurrence", "relapse"}, []string{"active"}},
		{interpretations, "H", []string{"H", "H>", "HH", "HU"}, []string{"A", "H", "_ObservationInterpretationNormality"}},
		{interpretations, "no such code", []string{"no such code"}, []string{"no such code"}},
		{interpretations, "h", []string{"h"}, []string{"h"}},
	} {
		h, ok := HierarchyOf(c.system)
		if !ok {
			t.Errorf("%s has no hierarchy", c.system)
			continue
		}
		if got := h.Below(c.code); !slices.Equal(got, c.below) {
			t.Errorf("below %s: %q, want %q", c.code, got, c.below)
		}
		if got := h.Above(c.code); !slices.Equal(got, c.above) {
			t.Errorf("above %s: %q, want %q", c.code, got, c.above)
		}
	}
	h, _ := HierarchyOf(interpretations)
	for _, code := range []string{"A", "AA", "HH", "H", "L", "LL"} {
		if !slices.Contains(h.Below("A"), code) || !slices.Contains(h.Above(code), "A") {
			t.Errorf("%s is not below A, which is above %q", code, h.Above(code))
		}
	}
	if slices.Contains(h.Below("A"), "N") {
		t.Error("normal is below abnormal")
	}
}

func TestBelowIsTheOtherSideOfAbove(t *testing.T) {
	for _, system := range Hierarchies() {
		h, _ := HierarchyOf(system)
		for _, code := range h.Codes() {
			below := h.Below(code)
			if !slices.Contains(below, code) || !slices.IsSorted(below) || len(slices.Compact(slices.Clone(below))) != len(below) {
				t.Errorf("%s: below %s is %q", system, code, below)
			}
			for _, b := range below {
				if !slices.Contains(h.Above(b), code) {
					t.Errorf("%s: %s is below %s, which is not above it", system, b, code)
				}
			}
			if len(below) == 1 && len(h.Above(code)) == 1 {
				t.Errorf("%s: %s has no place", system, code)
			}
		}
	}
}

func TestSystemsThatAreNotNestedHaveNoHierarchy(t *testing.T) {
	for _, system := range []string{"http://loinc.org", "http://snomed.info/sct", "http://hl7.org/fhir/administrative-gender", ""} {
		if _, ok := HierarchyOf(system); ok {
			t.Errorf("%q has one", system)
		}
	}
	if n := len(Hierarchies()); n != 88 {
		t.Errorf("%d systems have a hierarchy, want 88", n)
	}
}
