package validate

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir/fhirtest"
)

// hostile are bodies that grow with n, to about n bytes, and are made to cost more than their size.
var hostile = map[string]func(n int) string{
	"nested extensions": func(n int) string {
		return `{"resourceType":"Patient","extension":[` + strings.Repeat(`{"url":"http://a","extension":[`, n/33) + `{"url":"http://a","valueString":"b"}` + strings.Repeat(`]}`, n/33) + `]}`
	},
	"nested Bundles": func(n int) string {
		return strings.Repeat(`{"resourceType":"Bundle","type":"collection","entry":[{"resource":`, n/70) + `{"resourceType":"Patient"}` + strings.Repeat(`}]}`, n/70)
	},
	"nested Bundles that say last what they are": func(n int) string {
		return strings.Repeat(`{"type":"collection","entry":[{"resource":`, 12) + `{"resourceType":"Patient","name":[{"text":"` + strings.Repeat("x", n) + `"}]}` + strings.Repeat(`}],"resourceType":"Bundle"}`, 12)
	},
	"empty objects": func(n int) string {
		return `{"resourceType":"Patient","name":[` + strings.Repeat(`{},`, n/3) + `{}]}`
	},
	"empty arrays": func(n int) string {
		return `{"resourceType":"Patient","name":[` + strings.Repeat(`[],`, n/3) + `[]]}`
	},
	"nulls": func(n int) string {
		return `{"resourceType":"Patient","name":[{"given":[` + strings.Repeat(`null,`, n/5) + `"x"]}]}`
	},
	"unknown fields": func(n int) string {
		var b strings.Builder
		b.WriteString(`{"resourceType":"Patient"`)
		for i := range n / 16 {
			b.WriteString(`,"field`)
			b.WriteString(number(i))
			b.WriteString(`":1`)
		}
		b.WriteString(`}`)
		return b.String()
	},
	"one field many times": func(n int) string {
		return `{"resourceType":"Patient","active":true` + strings.Repeat(`,"active":true`, n/14) + `}`
	},
	"one choice many times beside a long list": func(n int) string {
		return `{"resourceType":"Observation","status":"final","code":{"text":"x"},"note":[` + strings.Repeat(`{"text":"x"},`, n/26) + `{"text":"x"}],"valueString":"x"` + strings.Repeat(`,"valueCode":"x"`, n/32) + `}`
	},
	"missing codes": func(n int) string {
		return `{"resourceType":"Observation","status":"final","code":{"text":"x"},"component":[` + strings.Repeat(`{"valueInteger":1},`, n/19) + `{"valueInteger":1}]}`
	},
	"a long number": func(n int) string { return value("valueDecimal", strings.Repeat("7", n)) },
	"two long numbers": func(n int) string {
		return value("valueRange", `{"low":{"value":`+strings.Repeat("7", n/2)+`},"high":{"value":`+strings.Repeat("7", n/2)+`}}`)
	},
	"a long integer": func(n int) string { return value("valueInteger", strings.Repeat("7", n)) },
	"a long string":  func(n int) string { return value("valueString", `"`+strings.Repeat("x", n)+`"`) },
	"a string of escapes": func(n int) string {
		return value("valueString", `"`+strings.Repeat(`\\`, n/4)+strings.Repeat(`\"`, n/4)+`"`)
	},
	"a long code": func(n int) string { return `{"resourceType":"Patient","gender":"` + strings.Repeat("x", n) + `"}` },
	"a long URL":  func(n int) string { return value("valueUri", `"http://a/`+strings.Repeat("/", n)+`"`) },
	"a long reference": func(n int) string {
		return observation(`"subject":{"reference":"` + strings.Repeat("Patient/", n/8) + `1"}`)
	},
	"a long name":          func(n int) string { return `{"resourceType":"Patient","` + strings.Repeat("x", n) + `":1}` },
	"a long resource type": func(n int) string { return `{"resourceType":"` + strings.Repeat("x", n) + `"}` },
	"a valid list": func(n int) string {
		return `{"resourceType":"Patient","name":[` + strings.Repeat(`{"text":"x"},`, n/13) + `{"text":"x"}]}`
	},
	"a narrative of tags": func(n int) string {
		return observation(`"text":{"status":"generated","div":"<div xmlns='http://www.w3.org/1999/xhtml'>` + strings.Repeat("<b/>", n/4) + `x</div>"}`)
	},
	"a narrative of <!--": func(n int) string {
		return observation(`"text":{"status":"generated","div":"<div xmlns='http://www.w3.org/1999/xhtml'>` + strings.Repeat("<!--", n/4) + `x</div>"}`)
	},
	"contained resources": func(n int) string {
		return observation(`"contained":[` + strings.Repeat(`{"resourceType":"Patient","id":"a"},`, n/36) + `{"resourceType":"Patient","id":"a"}],"subject":{"reference":"#a"}`)
	},
	"local references": func(n int) string {
		return observation(`"contained":[{"resourceType":"Patient","id":"a"}],"focus":[` + strings.Repeat(`{"reference":"#b"},`, n/19) + `{"reference":"#a"}]`)
	},
	"codes and components": func(n int) string {
		codings := strings.Repeat(`{"code":"a"},`, n/26)
		return `{"resourceType":"Observation","status":"final","valueString":"x","code":{"coding":[` + codings + `{"code":"b"}]},"component":[{"code":{"coding":[` + strings.ReplaceAll(codings, `"a"`, `"c"`) + `{"code":"d"}]}}]}`
	},
	"entries of one fullUrl": func(n int) string {
		return `{"resourceType":"Bundle","type":"collection","entry":[` + strings.Repeat(`{"fullUrl":"http://a","resource":{"resourceType":"Patient"}},`, n/62) + `{"fullUrl":"http://b","resource":{"active":true,"resourceType":"Patient"}}]}`
	},
	"many claims": func(n int) string {
		return `{"resourceType":"Observation","meta":{"profile":[` + strings.Repeat(`"`+r4+`bp",`, n/46) + `"` + r4 + `bp"]},"status":"final","code":{"text":"x"}}`
	},
	"many items of a sliced element": func(n int) string {
		return `{"resourceType":"Observation","meta":{"profile":["` + r4 + `bp"]},"status":"final","code":{"text":"x"},"component":[` + strings.Repeat(`{"code":{"text":"x"}},`, n/22) + `{"code":{"text":"x"}}]}`
	},
	"many known extensions": func(n int) string {
		return `{"resourceType":"Patient","extension":[` + strings.Repeat(`{"url":"`+r4+`patient-birthPlace","valueAddress":{"city":"x"}},`, n/95) + `{"url":"http://a","valueString":"x"}]}`
	},
}

// sparse are those that leave few notes.
var sparse = map[string]bool{"nested extensions": true, "nested Bundles": true, "empty objects": true, "unknown fields": true, "a long number": true, "a long string": true}

func TestHostileBodiesCostNoMoreThanTheirSize(t *testing.T) {
	fhirtest.Long(t)
	const size = 1 << 20
	Resource([]byte(heartRate), nil) // the tables are decoded
	for about, make := range hostile {
		t.Run(about, func(t *testing.T) {
			measure := func(n int) (time.Duration, uint64, int) {
				body := []byte(make(n))
				least, memory := time.Hour, ^uint64(0)
				text := 0
				for range 3 {
					var before, after runtime.MemStats
					runtime.GC()
					runtime.ReadMemStats(&before)
					start := time.Now()
					r := Resource(body, nil)
					least = min(least, time.Since(start))
					runtime.ReadMemStats(&after)
					memory = min(memory, after.TotalAlloc-before.TotalAlloc)
					text = 0
					for _, f := range r.Found {
						text += len(f.Path) + len(f.Message) + len(f.Fix) + len(f.Spec)
					}
				}
				return least, memory, text
			}
			small, _, _ := measure(size / 8)
			large, memory, text := measure(size)
			t.Logf("%v, %d KB allocated, %d bytes told", large, memory>>10, text)
			// A second for a megabyte is far more than is needed, and far less than a quadratic walk takes.
			if large > time.Second && large > 20*small {
				t.Errorf("%v for %d bytes and %v for an eighth of them", large, size, small)
			}
			limit := uint64(6 * size) // of all that is allocated while the notes of a dense body grow
			if sparse[about] {
				limit = 2 * size
			}
			if memory > limit {
				t.Errorf("allocates %d bytes for %d", memory, size)
			}
			if text > 64<<10 {
				t.Errorf("tells %d bytes of issues", text)
			}
		})
	}
}
