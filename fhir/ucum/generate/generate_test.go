package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir/fhirtest"
)

func TestTheTableIsWhatTheEssenceOfUCUMSays(t *testing.T) {
	essence, err := os.ReadFile(filepath.Join(fhirtest.Shared(t), "fhir", "ucum", "ucum-essence.xml"))
	if err != nil {
		t.Fatal(err)
	}
	table, err := generate(essence)
	if err != nil {
		t.Fatal(err)
	}
	fhirtest.Golden(t, filepath.Join("..", "essence.tsv"), table)
}

func TestEveryKindOfEntry(t *testing.T) {
	const essence = `<?xml version="1.0" encoding="ascii"?>
<root xmlns="http://unitsofmeasure.org/ucum-essence" version="9" revision-date="2030-01-01">
	<prefix Code="k"><name>kilo</name><printSymbol>k</printSymbol><value value="1e3">1 &#215; 10<sup>3</sup></value></prefix>
	<base-unit Code="m" dim="L"><name>meter</name><printSymbol>m</printSymbol></base-unit>
	<unit Code="w[H2O]" isMetric="yes" class="x"><name>water at 15&#160;C</name><name>aqua</name>
		<printSymbol>m H
			<sub>
				<r>2</r>
			</sub>
		O</printSymbol><value Unit="m2" value="5">5</value></unit>
	<unit Code="[q'U]" isMetric="no" isArbitrary="yes"><name>q unit</name><printSymbol/><value Unit="1" value="1">1</value></unit>
	<unit Code="Q" isMetric="yes" isSpecial="yes"><name>level</name><value Unit="lg(1 m)"><function name="lg" value="1" Unit="m"/></value></unit>
</root>`
	got, err := generate([]byte(essence))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(strings.Join([]string{
		"kind,code,names,symbol,flags,value,unit,function",
		"prefix,k,kilo,k,,1e3,,",
		"base,m,meter,m,metric,,,",
		"unit,w[H2O],water at 15 C|aqua,m H2O,metric,5,m2,",
		"unit,[q'U],q unit,,arbitrary,1,1,",
		"unit,Q,level,,metric special,1,m,lg",
		"",
	}, "\n"), ",", "\t")
	if _, rows, _ := strings.Cut(string(got), "See LICENSE-UCUM.\n"); rows != want {
		t.Errorf("got\n%s\nwant\n%s", rows, want)
	}
	if !strings.HasPrefix(string(got), "# UCUM 9 of 2030-01-01.") {
		t.Errorf("the version is not stated: %.60s", got)
	}
}

func TestAnEssenceThatIsNotUnderstoodIsRefused(t *testing.T) {
	for _, c := range []struct{ name, essence, want string }{
		{"no XML", `Y yotta`, "ucum-essence.xml: EOF"},
		{"another encoding", `<?xml version="1.0" encoding="latin1"?><root/>`, "encoding latin1, want ascii"},
		{"an unknown element", `<root><constant Code="x"/></root>`, `constant "x": unknown element`},
		{"an entry without a code", `<root><prefix><name>a</name></prefix></root>`, `prefix "": no code`},
		{"an entry without a name", `<root><prefix Code="k"/></root>`, `prefix "k": no name`},
		{"a unit without a definition", `<root><unit Code="x"><name>a</name></unit></root>`, `unit "x": 0 definitions, want 1`},
		{"a base unit with a definition", `<root><base-unit Code="x"><name>a</name><value/></base-unit></root>`, "a base unit with a definition"},
		{"a value that is no number", `<root><unit Code="x"><name>a</name><value value="many" Unit="m"/></unit></root>`, `value "many" is no number`},
		{"a definition without a unit", `<root><unit Code="x"><name>a</name><value value="1"/></unit></root>`, "no unit in the definition"},
		{"a special unit without a function", `<root><unit Code="x" isSpecial="yes"><name>a</name><value value="1" Unit="m"/></unit></root>`, "a special unit has a function"},
		{"a tab in a field", "<root><prefix Code=\"k\"><name>a\tb</name><value value=\"1\"/></prefix></root>", "a tab or line break in a field"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := generate([]byte(c.essence)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
