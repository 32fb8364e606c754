package ucum_test

import (
	"fmt"

	"github.com/kiln-health/kiln/fhir/ucum"
)

func ExampleConvert() {
	fmt.Println(ucum.Convert("98.6", "[degF]", "Cel"))
	fmt.Println(ucum.Convert("72.50", "kg", "g"))
	fmt.Println(ucum.Convert("5", "mg/dL", "mmol/L"))
	// Output:
	// 37 <nil>
	// 72500 <nil>
	//  ucum: the units are not commensurable: one is of g.m-3, the other of m-3
}

func ExampleParse() {
	_, err := ucum.Parse("mmHg")
	fmt.Println(err)
	u, _ := ucum.Parse("mL/min/{1.73_m2}")
	fmt.Println(u.Name())
	factor, base := u.Canonical()
	fmt.Println(factor, base)
	// Output:
	// ucum: column 1: the unit "mmHg" is not known; the nearest unit is mm[Hg]
	// (milliliter) / (minute) / {1.73_m2}
	// 1/60000000 m3.s-1
}

func ExampleCanonicalQuantity() {
	fmt.Println(ucum.CanonicalQuantity("6.30", "g/dL"))
	fmt.Println(ucum.CanonicalQuantity("63", "g/L"))
	// Output:
	// 63000 g.m-3 <nil>
	// 63000 g.m-3 <nil>
}
