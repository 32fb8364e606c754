package fhir

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseChecksAndCompacts(t *testing.T) {
	nested := func(n int) string {
		return `{"resourceType":"Basic","x":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + "}"
	}
	for _, c := range []struct{ name, body, resourceType, id, compact, err string }{
		{"white space goes", " {\n \"resourceType\" : \"Patient\" , \"id\":\"p1\", \"x\" : [ 1 , 2 ] }\n", "Patient", "p1", `{"resourceType":"Patient","id":"p1","x":[1,2]}`, ""},
		{"numbers and strings stay as they were sent", `{"x":72.50,"y":1.0E+5,"z":-0,"s":"\u0041\/ä\n  ","resourceType":"Basic"}`, "Basic", "", `{"x":72.50,"y":1.0E+5,"z":-0,"s":"\u0041\/ä\n  ","resourceType":"Basic"}`, ""},
		{"names stay as they were sent", `{"resource\u0054ype":"Basic"}`, "Basic", "", `{"resource\u0054ype":"Basic"}`, ""},
		{"a resourceType within is another's", `{"contained":[{"resourceType":"Device","id":"d"}],"resourceType":"Patient"}`, "Patient", "", `{"contained":[{"resourceType":"Device","id":"d"}],"resourceType":"Patient"}`, ""},
		{"a value that is the word id", `{"resourceType":"Patient","x":"id","y":"resourceType"}`, "Patient", "", `{"resourceType":"Patient","x":"id","y":"resourceType"}`, ""},
		{"an id that cannot be one is for the caller to refuse", `{"resourceType":"Patient","id":"a b"}`, "Patient", "a b", `{"resourceType":"Patient","id":"a b"}`, ""},
		{"the deepest that is allowed", nested(MaxDepth), "Basic", "", nested(MaxDepth), ""},

		{"nothing", "", "", "", "", "the body is no JSON object; fix: send one FHIR resource as a JSON object"},
		{"white space", "  \n", "", "", "", "the body is no JSON object"},
		{"an array", "[]", "", "", "", "the body is no JSON object"},
		{"XML", "<Patient/>", "", "", "", "line 1 column 1: not valid JSON: "},
		{"a byte order mark", "\ufeff{}", "", "", "", "line 1 column 1: not valid JSON: "},
		{"half a resource", "{\n\"resourceType\":\"Pat", "", "", "", "line 2 column 20: the JSON ends too early"},
		{"an error in the second line", "{\"resourceType\":\"Patient\",\n  \"x\": 01}", "", "", "", "line 2 column 9: not valid JSON: "},
		{"a comma at the end", `{"resourceType":"Patient",}`, "", "", "", "line 1 column 26: not valid JSON: "},
		{"a name twice", `{"resourceType":"Patient","x":1,"x":2}`, "", "", "", "line 1 column 33: a name occurs twice in one object; fix: send each name once"},
		{"a name twice, once with an escape", `{"resourceType":"Patient","x":1,"\u0078":2}`, "", "", "", "line 1 column 33: a name occurs twice in one object"},
		{"a name twice, deep within", `{"resourceType":"Patient","a":[{"x":1,"x":2}]}`, "", "", "", "line 1 column 39: a name occurs twice in one object"},
		{"no UTF-8", "{\"resourceType\":\"Patient\",\"x\":\"\xff\"}", "", "", "", "line 1 column 32: not valid JSON: "},
		{"nested too deep", nested(MaxDepth + 1), "", "", "", "line 1 column 92: more than 64 levels of objects and arrays"},
		{"two resources", `{"resourceType":"Patient"}{}`, "", "", "", "line 1 column 27: something follows the resource"},
		{"a resource and garbage", `{"resourceType":"Patient"}x`, "", "", "", "line 1 column 27: something follows the resource"},
		{"no resourceType", `{"id":"1"}`, "", "", "", "resourceType: the resource does not say its resourceType"},
		{"a resourceType that is no string", `{"resourceType":5}`, "", "", "", "resourceType: resourceType must be a string"},
		{"an id that is no string", `{"resourceType":"Patient","id":5}`, "", "", "", "id: id must be a string"},
		{"a resourceType that would break out of JSON", `{"resourceType":"A\",\"x"}`, "", "", "", "resourceType: the resourceType is not the name of a type; fix: send a name such as Observation"},
		{"a resourceType in lower case", `{"resourceType":"patient"}`, "", "", "", "resourceType: the resourceType is not the name of a type"},
		{"a resourceType without end", `{"resourceType":"` + strings.Repeat("A", 65) + `"}`, "", "", "", "resourceType: the resourceType is not the name of a type"},
	} {
		sent := []byte(c.body)
		resourceType, id, compact, err := Parse(sent)
		if c.err != "" {
			if err == nil || !strings.HasPrefix(err.Error(), c.err) || compact != nil {
				t.Errorf("%s: %v, want %s", c.name, err, c.err)
			}
			continue
		}
		if err != nil || resourceType != c.resourceType || id != c.id || string(compact) != c.compact {
			t.Errorf("%s: %s %s %s %v", c.name, resourceType, id, compact, err)
		}
		if string(sent) != c.body {
			t.Errorf("%s: the body was changed", c.name)
		}
	}
}

var stampTime = time.Date(2024, 5, 11, 16, 32, 15, 123456789, time.FixedZone("", 7200))

func TestStampPutsTheMetadataWhereFHIRHasThem(t *testing.T) {
	const head = `{"resourceType":"Patient","id":"p1","meta":{"versionId":"7","lastUpdated":"2024-05-11T14:32:15.123Z"`
	for _, c := range []struct{ name, compact, want string }{
		{"a resource without anything", `{}`, head + `}}`},
		{"whatever it said before", `{"id":"x","resourceType":"Device","meta":{"versionId":"1","lastUpdated":"2000-01-01T00:00:00Z"},"active":true}`, head + `},"active":true}`},
		{"the rest of meta stays", `{"resourceType":"Patient","meta":{"profile":["p"],"versionId":"1","tag":[{"code":"a"}]}}`, head + `,"profile":["p"],"tag":[{"code":"a"}]}}`},
		{"extensions of what is set go with it", `{"resourceType":"Patient","meta":{"_versionId":{"extension":[]},"_lastUpdated":{"id":"x"}}}`, head + `}}`},
		{"an extension of the id stays", `{"_id":{"extension":[{"url":"u"}]}}`, head + `},"_id":{"extension":[{"url":"u"}]}}`},
		{"an id within stays", `{"contained":[{"id":"c","meta":{"versionId":"1"}}]}`, head + `},"contained":[{"id":"c","meta":{"versionId":"1"}}]}`},
		{"decimals, escapes and order stay", `{"z":72.50,"\u0061":"\u0041\/ä","b":1E5}`, head + `},"z":72.50,"\u0061":"\u0041\/ä","b":1E5}`},
		{"a name with escapes is known", `{"\u0069d":"x","m\u0065ta":{"version\u0049d":"1"}}`, head + `}}`},
	} {
		before := strings.Clone(c.compact)
		got, err := Stamp([]byte(c.compact), "Patient", "p1", "7", stampTime)
		if err != nil || string(got) != c.want {
			t.Errorf("%s:\n got %s %v\nwant %s", c.name, got, err, c.want)
		}
		if c.compact != before {
			t.Errorf("%s: the resource was changed", c.name)
		}
	}
}

func TestStampRefusesWhatHasNoPlaceForMetadata(t *testing.T) {
	for _, c := range []struct{ name, compact, resourceType, id, version, want string }{
		{"no object", `[]`, "Patient", "1", "1", "fhir: stamp: not a JSON object"},
		{"nothing", ``, "Patient", "1", "1", "fhir: stamp: not a JSON object"},
		{"a meta that is no object", `{"meta":5}`, "Patient", "1", "1", "fhir: stamp: meta must be an object"},
		{"a meta that is null", `{"meta":null}`, "Patient", "1", "1", "fhir: stamp: meta must be an object"},
		{"two metas", `{"meta":{},"meta":{}}`, "Patient", "1", "1", "fhir: stamp: jsontext: duplicate object member name"},
		{"a name twice, deep within", `{"a":[{"x":1,"x":2}]}`, "Patient", "1", "1", "fhir: stamp: jsontext: duplicate object member name"},
		{"half a resource", `{"active":tr`, "Patient", "1", "1", "fhir: stamp: "},
		{"something behind", `{}{}`, "Patient", "1", "1", "fhir: stamp: something follows the resource"},
		{"an id that would break out of JSON", `{}`, "Patient", `"`, "1", "fhir: stamp: the type, the id or the version is not one"},
		{"no version", `{}`, "Patient", "1", "", "fhir: stamp: the type, the id or the version is not one"},
		{"no type", `{}`, "", "1", "1", "fhir: stamp: the type, the id or the version is not one"},
	} {
		got, err := Stamp([]byte(c.compact), c.resourceType, c.id, c.version, stampTime)
		if got != nil || err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %s %v", c.name, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"resourceType":"Patient","id":"1","x":[1,{"y":"\u0041"}]}`))
	f.Add([]byte("{\n\"resourceType\":\"Patient\", \"a\":01}"))
	f.Add([]byte(`{"resourceType":"Patient","a":1,"a":2}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		resourceType, id, compact, err := Parse(body)
		if err != nil {
			return
		}
		var sent, kept any
		if decode(body, &sent) != nil || decode(compact, &kept) != nil || !reflect.DeepEqual(sent, kept) {
			t.Fatalf("%q became %q", body, compact)
		}
		type2, id2, again, err := Parse(compact)
		if err != nil || type2 != resourceType || id2 != id || !bytes.Equal(again, compact) {
			t.Fatalf("%q became %q, %v", compact, again, err)
		}
		testStamp(t, compact)
	})
}

func FuzzStamp(f *testing.F) {
	f.Add([]byte(`{"resourceType":"Patient","id":"1","meta":{"versionId":"1","tag":[]},"x":1.50}`))
	f.Add([]byte(`{"meta":{}}`))
	f.Add([]byte(`{"m\u0065ta":{"a":{}}} `))
	f.Fuzz(func(t *testing.T, body []byte) { testStamp(t, body) })
}

// testStamp checks that what Stamp takes it takes rightly: the metadata are those given,
// all other values those that were there, and a second stamp changes nothing.
func testStamp(t rapid.TB, body []byte) {
	sent := bytes.Clone(body)
	once, err := Stamp(body, "Patient", "p1", "7", stampTime)
	if !bytes.Equal(sent, body) {
		t.Fatalf("%q was changed to %q", sent, body)
	}
	if err != nil {
		return
	}
	twice, err := Stamp(once, "Patient", "p1", "7", stampTime)
	if err != nil || !bytes.Equal(once, twice) {
		t.Fatalf("%q became %q, %v", once, twice, err)
	}
	before, after := map[string]any{}, map[string]any{}
	if err := decode(body, &before); err != nil {
		t.Fatalf("%q was stamped: %v", body, err)
	}
	if err := decode(once, &after); err != nil {
		t.Fatalf("%q: %v", once, err)
	}
	meta, ok := before["meta"].(map[string]any)
	if !ok {
		meta = map[string]any{}
	}
	delete(meta, "_versionId")
	delete(meta, "_lastUpdated")
	meta["versionId"], meta["lastUpdated"] = "7", "2024-05-11T14:32:15.123Z"
	before["resourceType"], before["id"], before["meta"] = "Patient", "p1", meta
	if !reflect.DeepEqual(before, after) {
		t.Fatalf("%q became %q", body, once)
	}
}

// decode keeps numbers as they are written.
func decode(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	return d.Decode(v)
}

func TestStampKeepsEveryValue(t *testing.T) {
	value := rapid.SampledFrom([]string{`72.50`, `-0.0`, `1E+10`, `1e-7`, `0.10000000000000000000000000000000001`, `"\u00e4\/"`, `"ä"`, `null`, `true`, `{"value":1.00}`, `[1.0,{"id":"x"}]`})
	name := rapid.SampledFrom([]string{"a", "b", "id", "meta", "_id", "resourceType", "versionId"})
	rapid.Check(t, func(t *rapid.T) {
		var m []string
		for _, n := range rapid.SliceOfDistinct(name, rapid.ID).Draw(t, "names") {
			v := value.Draw(t, "value")
			if n == "meta" {
				v = `{"x":` + v + `,"versionId":` + v + `}`
			}
			m = append(m, `"`+n+`":`+v)
		}
		body := "{" + strings.Join(m, ",") + "}"
		testStamp(t, []byte(body))
		got, err := Stamp([]byte(body), "Patient", "p1", "7", stampTime)
		if err != nil {
			t.Fatal(err)
		}
		for _, member := range m {
			if strings.HasPrefix(member, `"a"`) && !strings.Contains(string(got), member) {
				t.Fatalf("%s is not in %s", member, got)
			}
		}
	})
}

func BenchmarkStamp(b *testing.B) {
	body := []byte(`{"resourceType":"Observation","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},"x":"` + strings.Repeat("x", 1000) + `"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Stamp(body, "Observation", "o1", "1", stampTime); err != nil {
			b.Fatal(err)
		}
	}
}
