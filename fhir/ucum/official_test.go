package ucum

import (
	"encoding/xml"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir/fhirtest"
)

// The functional tests of UCUM, by Grahame Grieve and others. The file has 575 cases, of
// which it keeps two in comments; TestTheCasesThatTheFileHasInComments speaks of those.
func TestTheFunctionalTestsOfUCUM(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(fhirtest.Shared(t), "fhir", "ucum", "UcumFunctionalTests.xml"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(content), "<case "); n != 575 {
		t.Errorf("the file has %d cases, want 575", n)
	}
	var tests struct {
		Validation []struct {
			ID    string `xml:"id,attr"`
			Unit  string `xml:"unit,attr"`
			Valid bool   `xml:"valid,attr"`
		} `xml:"validation>case"`
		Display []struct {
			ID      string `xml:"id,attr"`
			Unit    string `xml:"unit,attr"`
			Display string `xml:"display,attr"`
		} `xml:"displayNameGeneration>case"`
		Conversion []struct {
			ID      string `xml:"id,attr"`
			Value   string `xml:"value,attr"`
			From    string `xml:"srcUnit,attr"`
			To      string `xml:"dstUnit,attr"`
			Outcome string `xml:"outcome,attr"`
		} `xml:"conversion>case"`
		Multiplication []arithmetic `xml:"multiplication>case"`
		Division       []arithmetic `xml:"division>case"`
	}
	if err := xml.Unmarshal(content, &tests); err != nil {
		t.Fatal(err)
	}
	for section, n := range map[string][2]int{
		"validation":            {len(tests.Validation), 529},
		"displayNameGeneration": {len(tests.Display), 9},
		"conversion":            {len(tests.Conversion), 30},
		"multiplication":        {len(tests.Multiplication), 2},
		"division":              {len(tests.Division), 3},
	} {
		if n[0] != n[1] {
			t.Errorf("%s has %d cases, want %d", section, n[0], n[1])
		}
	}

	for _, c := range tests.Validation {
		if _, err := Parse(c.Unit); (err == nil) != c.Valid {
			t.Errorf("%s: Parse(%q): got error %v, want valid %v", c.ID, c.Unit, err, c.Valid)
		}
		if Valid(c.Unit) != c.Valid {
			t.Errorf("%s: Valid(%q): got %v, want %v", c.ID, c.Unit, !c.Valid, c.Valid)
		}
	}
	for _, c := range tests.Display {
		if got := official(t, c.Unit).Name(); got != c.Display {
			t.Errorf("%s: the name of %q: got %q, want %q", c.ID, c.Unit, got, c.Display)
		}
	}
	for _, c := range tests.Conversion {
		got, err := Convert(c.Value, c.From, c.To)
		if err != nil {
			t.Errorf("%s: %v", c.ID, err)
		} else if !agree(t, got, c.Outcome) {
			t.Errorf("%s: %s %s in %s: got %s, want %s", c.ID, c.Value, c.From, c.To, got, c.Outcome)
		}
	}
	for _, c := range tests.Multiplication {
		u, err := official(t, c.U1).Mul(official(t, c.U2))
		c.check(t, u, err, new(big.Rat).Mul(number(t, c.V1), number(t, c.V2)))
	}
	for _, c := range tests.Division {
		u, err := official(t, c.U1).Div(official(t, c.U2))
		c.check(t, u, err, new(big.Rat).Quo(number(t, c.V1), number(t, c.V2)))
	}
}

func TestTheCasesThatTheFileHasInComments(t *testing.T) {
	if Valid("") { // 1-103
		t.Error("an empty code is a unit")
	}
	// 3-130 wants 0.1877, which is not what the definitions of ounce and gallon give:
	// 0.02502 × 28.349523125 g / 3.785411784 L.
	got, err := Convert("0.02502", "[oz_av]/[gal_us]", "g/L")
	if err != nil || !agree(t, got, "0.1874") {
		t.Errorf("got %s, %v, want 0.1874", got, err)
	}
}

type arithmetic struct {
	ID string `xml:"id,attr"`
	V1 string `xml:"v1,attr"`
	U1 string `xml:"u1,attr"`
	V2 string `xml:"v2,attr"`
	U2 string `xml:"u2,attr"`
	V  string `xml:"vRes,attr"`
	U  string `xml:"uRes,attr"`
}

func (c arithmetic) check(t *testing.T, u Unit, err error, value *big.Rat) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", c.ID, err)
		return
	}
	got, err := u.Convert(value, official(t, c.U))
	if err != nil {
		t.Errorf("%s: %v", c.ID, err)
	} else if text := decimalOf(got).String(); !agree(t, text, c.V) {
		t.Errorf("%s: got %s %s, want %s", c.ID, text, c.U, c.V)
	}
}

// official reads a unit of the tests, in which no code is the unity.
func official(t *testing.T, code string) Unit {
	t.Helper()
	if code == "" {
		return Unit{}
	}
	return unit(t, code)
}

// agree reports whether two numbers are the same in as many digits as want has. The tests
// write their outcomes with the precision of the value that they convert.
func agree(t *testing.T, got, want string) bool {
	t.Helper()
	w, err := parseDecimal(want)
	if err != nil {
		t.Fatal(err)
	}
	difference := new(big.Rat).Sub(number(t, got), number(t, want))
	last := decimal{digits: "1", exponent: w.exponent}.rat()
	return difference.Abs(difference).Cmp(last.Mul(last, big.NewRat(1, 2))) <= 0
}

func number(t *testing.T, text string) *big.Rat {
	t.Helper()
	d, err := parseDecimal(text)
	if err != nil {
		t.Fatal(err)
	}
	return d.rat()
}

func unit(t testing.TB, code string) Unit {
	t.Helper()
	u, err := Parse(code)
	if err != nil {
		t.Fatalf("%q: %v", code, err)
	}
	return u
}
