package ucum

import "testing"

func TestKindSeparatesWhatUCUMTakesForTheSame(t *testing.T) {
	for _, c := range []struct{ code, want string }{
		{"mg", "g"},
		{"mg/dL", "g.m-3"},
		{"mmol/L", "m-3 mol"},
		{"10*9/L", "m-3"},
		{"/uL", "m-3"},
		{"meq/L", "m-3 eq"},
		{"mosm/kg", "g-1 osm"},
		{"mmol/mol", "1 mol/mol"},
		{"%", "1"},
		{"L/mol", "m3 1/mol"},
		{"mol2/L", "m-3 mol2"},
		{"umol.meq/mosm2", "1 eq.mol/osm2"},
		{"U/L", "m-3.s-1 mol"},
		{"kat/L", "m-3.s-1 mol"},
		{"[pH]", "m-3 mol"},
		{"mmol/(kg.h)", "g-1.s-1 mol"},
		{"[iU]/L", "[iU].m-3"},
		{"Cel", "K"},
		{"mm[Hg]", "g.m-1.s-2"},
		{"{score}", "1"},
	} {
		u, err := Parse(c.code)
		if err != nil {
			t.Fatalf("%s: %v", c.code, err)
		}
		if got := u.Kind(); got != c.want {
			t.Errorf("%s is of kind %q, want %q", c.code, got, c.want)
		}
	}
	if got := (Unit{}).Kind(); got != "1" {
		t.Errorf("the unity is of kind %q", got)
	}
}

func TestUnitsOfOneKindAreCommensurable(t *testing.T) {
	kinds := map[string]Unit{}
	for code := range loaded().atoms {
		u, err := Parse(code)
		if err != nil {
			t.Fatalf("%s: %v", code, err)
		}
		if v, ok := kinds[u.Kind()]; ok && !u.Commensurable(v) {
			t.Errorf("%s and %s are of one kind and not commensurable", u, v)
		}
		kinds[u.Kind()] = u
	}
}

func TestDescendingScalesAreThoseOfLessForMore(t *testing.T) {
	for code, want := range map[string]bool{"[pH]": true, "[hp'_X]": true, "[hp'_C]": true, "Cel": false, "dB": false, "mmol/L": false, "%[slope]": false, "[m/s2/Hz^(1/2)]": false} {
		u, err := Parse(code)
		if err != nil {
			t.Fatalf("%s: %v", code, err)
		}
		if u.Descending() != want {
			t.Errorf("%s: %v", code, !want)
		}
	}
}
