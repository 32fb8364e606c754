package patch_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/fhir/patch"
)

func TestCopyBombsFailEarly(t *testing.T) {
	long := `{"resourceType":"Basic","a":["` + strings.Repeat("x", 1<<20) + `"]}`
	for _, c := range []struct{ name, operation, code string }{
		{"an array into itself", `{"op":"copy","from":"/a","path":"/a/-"}`, fhir.CodeTooLong},
		{"a string next to itself", `{"op":"copy","from":"/a/0","path":"/a/-"}`, fhir.CodeTooLong},
		{"a string onto itself, which does not grow", `{"op":"copy","from":"/a/0","path":"/b"}`, fhir.CodeTooCostly},
	} {
		p := "[" + strings.Repeat(c.operation+",", 99) + c.operation + "]"
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := patch.JSON([]byte(long), []byte(p))
		runtime.ReadMemStats(&after)
		if code := fhir.IssuesOf(err)[0].Code; err == nil || code != c.code {
			t.Errorf("%s: %v", c.name, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 8*patch.MaxBytes {
			t.Errorf("%s: %d MiB were allocated", c.name, used>>20)
		}
	}
}

func TestTheResultMayNotBeLongerThanItsLimit(t *testing.T) {
	half := strings.Repeat("x", patch.MaxBytes/2)
	resource := []byte(`{"resourceType":"Basic","a":"` + half + `"}`)
	p := func(op, path string) []byte {
		return []byte(`[{"op":"` + op + `","path":"` + path + `","value":"` + half + `"}]`)
	}
	got, err := patch.JSON(resource, p("add", "/b"))
	refused(t, "twice the half", got, err, "/0", fhir.CodeTooLong, "longer")
	if _, err := patch.JSON(resource, p("replace", "/a")); err != nil {
		t.Errorf("the half instead of the half: %v", err)
	}
	if _, err := patch.JSON(resource, []byte(`[{"op":"remove","path":"/a"},{"op":"add","path":"/b","value":"`+half+`"}]`)); err != nil {
		t.Errorf("the half after the half: %v", err)
	}
	got, err = patch.FHIRPath([]byte(`{"resourceType":"Patient","name":[{"text":"`+half+`"}]}`),
		operation("add", "Patient.name[0]", named("family"), `{"name":"value","valueString":"`+half+`"}`))
	refused(t, "twice the half by FHIRPath", got, err, "Parameters.parameter[0]", fhir.CodeTooLong, "longer")
}

// hostile are resources with patches that are made to cost more than their size.
var hostile = map[string]func(n int) error{
	"1000 items into a long array": func(n int) error {
		return applied(list(n), "["+strings.Repeat(`{"op":"add","path":"/name/0","value":{}},`, 999)+`{"op":"remove","path":"/name/1"}]`)
	},
	"1000 moves of a long array": func(n int) error {
		return applied(list(n), "["+strings.Repeat(`{"op":"move","from":"/name","path":"/x"},{"op":"move","from":"/x","path":"/name"},`, 499)+`{"op":"test","path":"/name/0/text","value":"a"}]`)
	},
	"1000 tests of a long array": func(n int) error {
		return applied(list(n), "["+strings.Repeat(`{"op":"test","path":"/name","value":[]},`, 900)+`{"op":"remove","path":"/name/1"}]`)
	},
	"1000 searches in a long list": func(n int) error {
		one := `{"name":"operation","part":[{"name":"type","valueCode":"delete"},{"name":"path","valueString":"Patient.name.where(` + strings.Repeat("text='b' or ", 25) + `text='c')"}]}`
		_, err := patch.FHIRPath([]byte(list(n)), []byte(`{"resourceType":"Parameters","parameter":[`+strings.Repeat(one+",", 999)+one+`]}`))
		return err
	},
	"searches that lead nowhere": func(n int) error {
		path := "Patient.name" + strings.Repeat(".ofType(HumanName)", 100) + ".where(text='c')"
		one := `{"name":"operation","part":[{"name":"type","valueCode":"delete"},{"name":"path","valueString":"` + path + `"}]}`
		_, err := patch.FHIRPath([]byte(list(n)), []byte(`{"resourceType":"Parameters","parameter":[`+strings.Repeat(one+",", 999)+one+`]}`))
		return err
	},
	"extensions of the last of many primitives": func(n int) error {
		given := `{"resourceType":"Patient","name":[{"given":["a"` + strings.Repeat(`,"a"`, n/16) + `]}]}`
		one := `{"name":"operation","part":[{"name":"type","valueCode":"insert"},{"name":"path","valueString":"Patient.name.given"},{"name":"index","valueInteger":0},{"name":"value","valueString":"a","_valueString":{"id":"i"}}]}`
		_, err := patch.FHIRPath([]byte(given), []byte(`{"resourceType":"Parameters","parameter":[`+strings.Repeat(one+",", 999)+one+`]}`))
		return err
	},
	"a test of a long object": func(n int) error {
		var b strings.Builder
		for i := range n / 16 {
			fmt.Fprintf(&b, `"field%d":1,`, i)
		}
		return applied(`{"resourceType":"Basic","a":{`+b.String()+`"z":1}}`, `[{"op":"test","path":"/a","value":{`+b.String()+`"z":1.0}}]`)
	},
}

func list(n int) string {
	return `{"resourceType":"Patient","name":[{"text":"a"}` + strings.Repeat(`,{"text":"a"}`, n/13) + `]}`
}

func applied(resource, p string) error {
	_, err := patch.JSON([]byte(resource), []byte(p))
	return err
}

func TestHostilePatchesTakeTimeLikeTheirSize(t *testing.T) {
	fhirtest.Long(t)
	const limit = 5 * time.Second
	for name, try := range hostile {
		start := time.Now()
		err := try(1 << 20)
		took := time.Since(start)
		t.Logf("%s: %v, %v", name, took.Round(time.Millisecond), err)
		if code := ""; strings.Contains(name, "searches") {
			if err != nil {
				code = fhir.IssuesOf(err)[0].Code
			}
			if code != fhir.CodeTooCostly {
				t.Errorf("%s: %v", name, err)
			}
		}
		if took > limit {
			t.Errorf("%s takes %v", name, took)
		}
	}
}

func BenchmarkPatch(b *testing.B) {
	for _, c := range []struct {
		name  string
		apply func([]byte, []byte) ([]byte, error)
		patch []byte
	}{
		{"JSON", patch.JSON, []byte(`[{"op":"test","path":"/status","value":"final"},{"op":"replace","path":"/status","value":"amended"}]`)},
		{"FHIRPath", patch.FHIRPath, operation("replace", "Observation.component.where(code.text = 'b').value", `{"name":"value","valueString":"x"}`)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.apply([]byte(weight), c.patch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
