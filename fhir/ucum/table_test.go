package ucum

import (
	"strings"
	"testing"
)

func TestTheTableHasNoFaults(t *testing.T) {
	table, err := load(essenceTSV)
	if err != nil {
		t.Error(err)
	}
	if len(table.prefixes) != 24 || len(table.atoms) != 312 {
		t.Errorf("got %d prefixes and %d units, want 24 and 312 of UCUM 2.2", len(table.prefixes), len(table.atoms))
	}
	for _, a := range table.atomList {
		if a.definition.state != resolved {
			t.Errorf("%s is not resolved", a.code)
		}
	}
}

func TestATableWithFaultsTellsThem(t *testing.T) {
	row := func(fields string) string { return strings.ReplaceAll(fields, ",", "\t") + "\n" }
	header := "# notice\n" + row("kind,code,names,symbol,flags,value,unit,function")
	meter := row("base,m,meter,m,metric,,,")
	for _, c := range []struct{ name, rows, want string }{
		{"too few columns", "unit\tx\n", "essence.tsv:4: want eight columns, with a code and a name"},
		{"no name", row("unit,x,,,,1,m,"), "essence.tsv:4: want eight columns, with a code and a name"},
		{"no number", row("unit,x,ex,,,one,m,"), "essence.tsv:4: the value is no positive number"},
		{"zero", row("unit,x,ex,,,0,m,"), "essence.tsv:4: the value is no positive number"},
		{"a prefix that is too long", row("prefix,abc,ex,,,10,,"), "essence.tsv:4: a prefix has one or two letters, and one meaning"},
		{"a prefix twice", row("prefix,k,kilo,,,1e3,,") + row("prefix,k,kilo,,,1e4,,"), "essence.tsv:5: a prefix has one or two letters, and one meaning"},
		{"a unit twice", row("unit,m,ex,,,10,m,"), "essence.tsv:4: the unit is there already"},
		{"a unit that ends with a digit", row("unit,x2,ex,,,10,m,"), "essence.tsv:4: a unit cannot end with a digit"},
		{"an unknown kind", row("constant,x,ex,,,10,m,"), "essence.tsv:4: want a base, or a unit with a definition"},
		{"no definition", row("unit,x,ex,,,10,,"), "essence.tsv:4: want a base, or a unit with a definition"},
		{"a definition that is not read", row("unit,x,ex,,,10,qux,"), "essence.tsv: x: ucum: column 1: "},
		{"a definition that is too large", row("unit,x,ex,,,1e2000,m,") + row("unit,y,why,,,1,x,"), "essence.tsv: y: ucum: column 1: the unit is too large"},
		{"a circle", row("unit,x,ex,,,10,y,") + row("unit,y,why,,,10,x,"), "essence.tsv: x: y: x: the unit is defined by itself"},
		{"an unknown function", row("unit,x,ex,,special,10,m,sine"), "essence.tsv: x: the function sine is not known"},
		{"too many bases", func() string {
			var b strings.Builder
			for i := range maxBases {
				b.WriteString(row("base,[" + strings.Repeat("x", i+1) + "],ex,,metric,,,"))
			}
			return b.String()
		}(), "essence.tsv: 81 base, arbitrary and special units, want at most 80"},
	} {
		t.Run(c.name, func(t *testing.T) {
			table, err := load(header + meter + c.rows)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if _, a := table.symbol("m"); a == nil {
				t.Error("a fault elsewhere takes the meter away")
			}
		})
	}
}
