package xmlformat_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/xmlformat"
)

// within runs f and fails if it takes as long as only a quadratic algorithm does, also on a busy machine.
func within(t *testing.T, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > time.Minute {
		t.Errorf("took %v", took)
	}
}

func TestHostileXMLIsRefusedSoon(t *testing.T) {
	patient := func(inside string) string { return expand(`<Patient @>` + inside + `</Patient>`) }
	many := strings.Repeat
	prefixes := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, ` xmlns:p%d="urn:%d"`, i, i)
		}
		return b.String()
	}
	for name, c := range map[string]struct{ document, code, message string }{
		"a billion laughs": {"<!DOCTYPE a [<!ENTITY a \"b\"><!ENTITY c \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\">]>" + patient(`<id value="&c;"/>`), "structure", "DTD"},
		"deep elements":    {patient(many(`<extension url="u">`, 100_000)), "too-costly", "more than 64 levels"},
		"deep resources":   {patient(many(`<contained><Patient>`, 100_000)), "too-costly", "more than 64 levels"},
		"deep extensions of primitives": {patient(`<extension url="u">` + many(`<valueString value="a"><extension url="u">`, 100_000)), "too-costly",
			"more than 64 levels"},
		"a deep narrative":          {patient(expand(`<text><div §>`) + many(`<p>`, 100_000)), "too-costly", "more than 64 levels"},
		"many attributes":           {patient(`<id` + many(` a="b"`, 100_000)), "structure", "twice"},
		"many namespaces":           {expand(`<Patient @` + prefixes(100_000) + `/>`), "too-costly", "more than 6"},
		"many namespaces, nested":   {expand(`<Patient @`+prefixes(40)+`><contact`+prefixes(40)+`>`) + many(`<x/>`, 100_000), "too-costly", "more than 64 namespaces"},
		"many unknown elements":     {patient(many(`<x/>`, 1_000_000)), "structure", "no element"},
		"a long name":               {patient(`<` + many("x", 1<<20) + `/>`), "structure", "a name of 1048576 bytes"},
		"many comments, one open":   {patient(many(`<!-- -->`, 100_000) + many(`<!-`, 100_000)), "structure", "DTD"},
		"a value that does not end": {patient(many(`<id value="`, 100_000)), "structure", "a < in an attribute"},
		"long JSON at the end":      {patient(`<name><text value='` + many(`"`, xmlformat.MaxBytes*3/4) + `'/></name>`), "too-long", "the JSON is longer"},
		"long JSON in the middle":   {patient(`<name><text value='` + many(`"`, xmlformat.MaxBytes*3/4) + `'/></name><gender value="male"/>`), "too-long", "the JSON is longer"},
		"a long document":           {patient(many(" ", xmlformat.MaxBytes)), "too-long", "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func() {
				_, err := xmlformat.ToJSON([]byte(c.document))
				if err == nil {
					t.Fatal("accepted")
				}
				checkError(t, err)
				if i := fhir.IssuesOf(err)[0]; i.Code != c.code || !strings.Contains(i.Message, c.message) {
					t.Errorf("got %s %s, want %s %s", i.Code, i.Message, c.code, c.message)
				}
			})
		})
	}
}

func TestHostileJSONIsRefusedSoon(t *testing.T) {
	many := strings.Repeat
	fields := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"x%d":1`, i)
		}
		return b.String()
	}
	for name, c := range map[string]struct{ document, code, message string }{
		"deep arrays":         {many("[", 76_000), "too-costly", "more than 64 levels"},
		"deep objects":        {`{"resourceType":"Patient","a":` + many(`{"a":`, 100_000), "too-costly", "more than 64 levels"},
		"a deep narrative":    {`{"resourceType":"Patient","text":{"div":"` + many("<div>", 100_000) + `"}}`, "too-costly", "more than 64 levels"},
		"many empty objects":  {`{"resourceType":"Patient","name":[{}` + many(",{}", 1_000_000) + "]}", "structure", "empty"},
		"many unknown fields": {`{"resourceType":"Patient"` + fields(100_000) + "}", "structure", "no element"},
		"many values":         {`{"resourceType":"Patient","name":[1` + many(",1", 9_000_000) + "]}", "too-costly", "names and values"},
		"a long document":     {`{"resourceType":"Patient"}` + many(" ", xmlformat.MaxBytes), "too-long", "longer than"},
		"long XML at the end": {`{"resourceType":"Patient","name":[{"text":"` + many(`\"`, xmlformat.MaxBytes/5) + `"}]}`, "too-long", "the XML is longer"},
		"long XML":            {`{"resourceType":"Patient","name":[{"given":["` + many(`\"`, xmlformat.MaxBytes/5) + `","a"]}]}`, "too-long", "the XML is longer"},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func() {
				_, err := xmlformat.FromJSON([]byte(c.document))
				if err == nil {
					t.Fatal("accepted")
				}
				checkError(t, err)
				if i := fhir.IssuesOf(err)[0]; i.Code != c.code || !strings.Contains(i.Message, c.message) {
					t.Errorf("got %s %s, want %s %s", i.Code, i.Message, c.code, c.message)
				}
			})
		})
	}
}

func TestLargeResourcesAreConverted(t *testing.T) {
	many := strings.Repeat
	for name, json := range map[string]string{
		"many objects":        `{"resourceType":"Patient","name":[{"text":"a"}` + many(`,{"text":"a"}`, 100_000) + "]}",
		"many primitives":     `{"resourceType":"Patient","name":[{"given":["a"` + many(`,"a"`, 100_000) + "]}]}",
		"many companions":     `{"resourceType":"Patient","name":[{"given":["a"` + many(`,"a"`, 100_000) + `],"_given":[null` + many(`,{"id":"a"}`, 100_000) + "]}]}",
		"one late companion":  `{"resourceType":"Patient","name":[{"given":["a"` + many(`,"a"`, 100_000) + `],"_given":[null` + many(`,null`, 99_999) + `,{"id":"a"}]}]}`,
		"a long string":       `{"resourceType":"Patient","name":[{"text":"` + many(`a\n\"é`, 1<<18) + `"}]}`,
		"a long decimal":      `{"resourceType":"Observation","valueQuantity":{"value":0.` + many("1", 1<<20) + "}}",
		"a long narrative":    `{"resourceType":"Patient","text":{"div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">` + many("<p title='&#10;'>a&amp;</p><br/>", 1<<15) + `</div>"}}`,
		"resources in Bundle": `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient","active":true}}` + many(`,{"resource":{"resourceType":"Patient","active":true}}`, 50_000) + "]}",
		"as deep as allowed":  `{"resourceType":"Patient"` + many(`,"extension":[{"url":"a"`, 30) + `,"valueHumanName":{"given":["a"],"_given":[{"id":"b"}]}` + many("}]", 30) + "}",
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func() {
				document, err := xmlformat.FromJSON([]byte(json))
				if err != nil {
					t.Fatal(err)
				}
				got, err := xmlformat.ToJSON(document)
				if err != nil {
					t.Fatal(err)
				}
				if len(jsonValue(t, got).(map[string]any)) != len(jsonValue(t, []byte(json)).(map[string]any)) || !sameSorted(string(got), json) {
					t.Error("the resource changed")
				}
			})
		})
	}
}

// sameSorted reports whether two texts have the same bytes in any order: members may have moved.
func sameSorted(a, b string) bool {
	var count [256]int
	for _, c := range []byte(a) {
		count[c]++
	}
	for _, c := range []byte(b) {
		count[c]--
	}
	return count == [256]int{}
}

// What is nested deeper than fhir.Parse allows is refused in both directions alike.
func TestDepthIsThatOfFHIRParse(t *testing.T) {
	deepest := 0
	for n := 1; n < 40; n++ {
		for _, leaf := range []struct{ json, xml string }{
			{`"valueString":"a"`, `<valueString value="a"/>`},
			{`"valueHumanName":{"given":["a"]}`, `<valueHumanName><given value="a"/></valueHumanName>`},
			{`"_valueString":{"extension":[{"url":"a","valueString":"b"}]}`, `<valueString><extension url="a"><valueString value="b"/></extension></valueString>`},
		} {
			json := `{"resourceType":"Patient"` + strings.Repeat(`,"extension":[{"url":"a"`, n) + "," + leaf.json + strings.Repeat("}]", n) + "}"
			document := expand(`<Patient @>`) + strings.Repeat(`<extension url="a">`, n) + leaf.xml + strings.Repeat(`</extension>`, n) + `</Patient>`
			_, _, _, parse := fhir.Parse([]byte(json))
			_, from := xmlformat.FromJSON([]byte(json))
			_, to := xmlformat.ToJSON([]byte(document))
			if (parse == nil) != (from == nil) || (parse == nil) != (to == nil) {
				t.Errorf("%d extensions around %s: fhir.Parse says %v, FromJSON %v, ToJSON %v", n, leaf.json, parse, from, to)
			}
			if parse == nil {
				deepest = n
			}
		}
	}
	if deepest != 31 {
		t.Errorf("%d extensions are nested at most, want 31", deepest)
	}
}

func TestConversionsRunAtTheSameTime(t *testing.T) {
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				document, err := xmlformat.FromJSON([]byte(seedsJSON[1]))
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := xmlformat.ToJSON(document); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}
