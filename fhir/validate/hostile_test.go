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
	"contained resources whose rules are evaluated": func(n int) string {
		return observation(`"contained":[` + strings.Repeat(`{"resourceType":"List"},`, n/24) + `{"resourceType":"List","id":"a"}],"subject":{"reference":"#a"}`)
	},
	"contained resources whose rules are evaluated and hold": func(n int) string {
		return observation(`"contained":[` + strings.Repeat(`{"resourceType":"List","id":"a","status":"current","mode":"working"},`, n/69) + `{"resourceType":"List","id":"b","status":"current","mode":"working"}],"subject":{"reference":"#b"}`)
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
	"letters": func(n int) string {
		return `{"resourceType":"Patient","name":[{"given":[` + strings.Repeat(`"a",`, n/4) + `"a"]}]}`
	},
	"numbers of one digit": func(n int) string {
		return `{"resourceType":"Claim","status":"active","type":{"text":"x"},"use":"claim","patient":{"reference":"Patient/1"},"created":"2024-02-29","provider":{"reference":"Organization/1"},` +
			`"priority":{"text":"x"},"insurance":[{"sequence":1,"focal":true,"coverage":{"reference":"Coverage/1"}}],"item":[{"sequence":1,"productOrService":{"text":"x"},"careTeamSequence":[` + strings.Repeat(`1,`, n/2) + `1]}]}`
	},
	"objects of one number": func(n int) string {
		return `{"resourceType":"Patient","name":[` + strings.Repeat(`{"a":1},`, n/8) + `{"text":"x"}]}`
	},
	"objects of one id": func(n int) string {
		return `{"resourceType":"Patient","name":[` + strings.Repeat(`{"id":"a"},`, n/11) + `{"text":"x"}]}`
	},
	"as many values as are allowed": func(n int) string {
		return `{"resourceType":"Patient","name":[{"given":[` + strings.Repeat(`"aaaaaaaa",`, n/11) + `"a"]}]}`
	},
	"small contained resources": func(n int) string {
		return observation(`"contained":[` + strings.Repeat(`{"resourceType":"Patient"},`, n/27) + `{"resourceType":"Patient","id":"a"}],"subject":{"reference":"#a"}`)
	},
	"contained resources with ids of their own": func(n int) string {
		var b strings.Builder
		for i := range n / 80 {
			b.WriteString(`{"resourceType":"Patient","id":"` + number(i) + `"},`)
		}
		for i := range n / 80 {
			b.WriteString(`{"resourceType":"Basic","id":"b` + number(i) + `","code":{"text":"x"},"subject":{"reference":"#` + number(i) + `"}},`)
		}
		return observation(`"contained":[` + b.String() + `{"resourceType":"Patient","id":"a"}],"subject":{"reference":"#a"}`)
	},
	"local URLs": func(n int) string {
		return `{"resourceType":"Patient","meta":{"profile":[` + strings.Repeat(`"#aaaaaaa",`, n/11) + `"#b"]}}`
	},
	"entries of their own fullUrl": func(n int) string {
		var b strings.Builder
		for i := range n / 90 {
			b.WriteString(`{"fullUrl":"urn:a:` + number(i) + `","resource":{"resourceType":"Basic","code":{"text":"x"},"subject":{"reference":"urn:a:` + number(i+1) + `"}}},`)
		}
		return `{"resourceType":"Bundle","type":"collection","entry":[` + b.String() + `{"resource":{"resourceType":"Patient"}}]}`
	},
	"entries of one fullUrl and their own version": func(n int) string {
		var b strings.Builder
		for i := range n / 90 {
			b.WriteString(`{"fullUrl":"urn:a:b","resource":{"resourceType":"Patient","meta":{"versionId":"` + number(i) + `"}}},`)
		}
		return `{"resourceType":"Bundle","type":"collection","entry":[` + b.String() + `{"resource":{"resourceType":"Patient"}}]}`
	},
	"Bundles in Bundles that refer outside": func(n int) string {
		refers := strings.Repeat(`{"resource":{"resourceType":"Basic","code":{"text":"x"},"subject":{"reference":"urn:a:b"}}},`, n/1100)
		return strings.Repeat(`{"resourceType":"Bundle","type":"collection","entry":[`+refers+`{"resource":`, 12) + `{"resourceType":"Patient"}` + strings.Repeat(`}]}`, 12)
	},
	"numbers in the companions of numbers": func(n int) string {
		return `{"resourceType":"Patient","name":[{"given":[` + strings.Repeat(`"aaaaaaaa",`, n/22) + `"a"],"_given":[` + strings.Repeat(`{"id":"a"},`, n/22) + `{"id":"a"}]}]}`
	},
	"many wrong codes": func(n int) string {
		return `{"resourceType":"Patient","contact":[` + strings.Repeat(`{"gender":"xxxxxx"},`, n/20) + `{"gender":"male"}]}`
	},
	"names with escapes": func(n int) string {
		return `{"resourceType":"Patient","name":[` + strings.Repeat(`{"te\u0078t":"x"},`, n/18) + `{"text":"x"}]}`
	},
	"strings of escapes that grow": func(n int) string {
		var b strings.Builder
		for i := 1; b.Len() < n; i++ {
			b.WriteString(`{"text":"` + strings.Repeat(`\n`, 20*i) + `x"},`)
		}
		return `{"resourceType":"Patient","name":[` + b.String() + `{"text":"x"}]}`
	},
	"two long fractions": func(n int) string {
		return value("valueRange", `{"low":{"value":7.`+strings.Repeat("7", n/2)+`},"high":{"value":7.`+strings.Repeat("7", n/2)+`}}`)
	},
	"many known extensions": func(n int) string {
		return `{"resourceType":"Patient","extension":[` + strings.Repeat(`{"url":"`+r4+`patient-birthPlace","valueAddress":{"city":"x"}},`, n/95) + `{"url":"http://a","valueString":"x"}]}`
	},
}

// littering are those with rules that expressions tell: each evaluation leaves some 1.2 KB of
// garbage, of which no more than its own is held at a time. It is bounded, and linear.
var littering = map[string]bool{"contained resources whose rules are evaluated": true, "contained resources whose rules are evaluated and hold": true}

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
					runtime.GC() // the pool survives the first one
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
			limit := uint64(2 * size)
			if littering[about] {
				limit = 64 * size
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

// Bodies that are as dense as useful ones can be are checked to their end.
func TestUsefulBodiesAreNotTooDense(t *testing.T) {
	var concepts, entries strings.Builder
	for i := range 15_000 {
		concepts.WriteString(`{"code":"` + string([]byte{byte('A' + i/676%26), byte('A' + i/26%26), byte('A' + i%26)}) + `"},`)
		entries.WriteString(`{"resource":{"resourceType":"Patient","active":true}},`)
	}
	samples := strings.TrimRight(strings.Repeat("1 -2 ", 200_000), " ")
	for about, body := range map[string]string{
		"a wave":                 observation(`"valueSampledData":{"origin":{"value":0},"period":1,"dimensions":1,"data":"` + samples + `"}`),
		"15,000 short codes":     `{"resourceType":"ValueSet","status":"draft","compose":{"include":[{"system":"http://example.org","concept":[` + concepts.String() + `{"code":"x"}]}]}}`,
		"a Bundle of small ones": `{"resourceType":"Bundle","type":"collection","entry":[` + entries.String() + `{"resource":{"resourceType":"Patient"}}]}`,
		"10,000 numbers":         strings.Replace(hostile["numbers of one digit"](20_000), "1,1", "1,2", 1),
	} {
		t.Run(about, func(t *testing.T) {
			r := Resource([]byte(body), &Options{Level: Structure})
			for _, f := range r.Found {
				t.Errorf("got %v", f.Issue)
			}
			// What comes last is checked, too.
			broken := body[:len(body)-1] + `,"xyzzy":1}`
			if r := Resource([]byte(broken), &Options{Level: Structure}); r.Errors != 1 || r.Found[0].Code != "structure" {
				t.Errorf("got %v", r.Issues())
			}
		})
	}
}

func TestABodyThatIsTooDenseIsNotValid(t *testing.T) {
	for _, about := range []string{"letters", "numbers of one digit", "nulls"} {
		r := Resource([]byte(hostile[about](1<<20)), nil)
		if r.Valid() || r.Found[0].Code != "too-costly" || r.Errors != 1 {
			t.Errorf("%s: got %v", about, r.Issues())
		}
	}
}
