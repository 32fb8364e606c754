package fhir

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
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

func TestStampTakesTheJSONThatJSONTextTakes(t *testing.T) {
	var bodies []string
	for _, value := range []string{
		`0`, `-0`, `00`, `01`, `-`, `-01`, `1.`, `.5`, `+1`, `1.50`, `1e5`, `1E+05`, `1e-7`, `1e`, `1e+`, `1ee5`, `1.e5`, `0x1`, `1 2`, `NaN`, strings.Repeat("9", 100),
		`true`, `tru`, `truex`, `True`, `false`, `fals`, `null`, `nul`, `nulll`, ``, `'x'`, `x`,
		`""`, `"`, `"\"`, `"\\"`, `"\x"`, `"\u"`, `"\u00"`, `"\u00e4"`, `"\u00E4\u00e4"`, `"\u00g0"`, `"\ud83d"`, `"\ude00"`, `"\ud83d\ude00"`, `"\ud83dx"`, `"\ud83d\u0041"`, `"\"\\\/\b\f\n\r\t"`, `"\a"`,
		"\"\x7f\"", "\"ä€\U0001f600\"", "\"\xff\"", "\"\xc3\"", "\"\xc3", "\"\xed\xa0\x80\"", "\"\xc0\x80\"", "\x80",
		`[]`, `[`, `]`, `[1`, `[1,`, `[1,]`, `[,1]`, `[1 2]`, `[1:2]`, `[1}`, `[[],[{}]]`, `{}`, `{`, `}`, `{]`, `{1:2}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,"a":1}`, `{"a" 1}`, `{"a":1 "b":2}`, `{"a":1;"b":2}`,
		`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"\u0061":1,"a":2}`, `{"\u0061":1,"\u0061":2}`, `{"\/":1,"/":2}`, `{"a":{"a":{"a":1}}}`, `[{"a":1},{"a":2}]`, `{"a":{"b":1},"b":2}`, `{"a":{"b":1,"c":1},"a":2}`,
		`{"":1}`, `{"":1,"":2}`, `{"ab":1,"ba":2}`, "{\"\xff\":1}", " [ 1 ,\t2\r\n] ", "[1,\f2]", "[1,\u00a02]", "\x00", `1/**/`,
	} {
		bodies = append(bodies, `{"x":`+value+`}`, `{"meta":`+value+`,"x":1}`, `{"a":[{"b":`+value+`}],"c":2}`, `{"x":`+value, value+`{"x":1}`, `{"x":1}`+value)
	}
	for c := range 256 { // each byte, in a string and in a name, at each place in a word of it and near the end
		for n := range 10 {
			text := strings.Repeat("x", n) + string([]byte{byte(c)})
			bodies = append(bodies, `{"x":"`+text+`"}`, `{"`+text+`":"yyyyyyyyyyyyyyyy"}`, `{"x":`+text+`}`)
		}
	}
	for _, n := range []int{63, 64, 65, 66, 500} { // so many names, all different and not
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf(`"n%d":0`, i))
		}
		all := strings.Join(names, ",")
		bodies = append(bodies, `{`+all+`}`, `{"x":{`+all+`}}`)
		for _, again := range []int{0, n / 2, n - 1} {
			bodies = append(bodies, `{`+all+fmt.Sprintf(`,"n%d":1}`, again), `{"x":{`+all+fmt.Sprintf(`,"n%d":1}}`, again))
		}
	}
	for _, depth := range []int{64, 9998, 9999, 10000, 10001, 100000} {
		bodies = append(bodies, strings.Repeat(`{"a":`, depth)+`1`+strings.Repeat(`}`, depth), `{"a":`+strings.Repeat(`[`, depth)+strings.Repeat(`]`, depth)+`}`, strings.Repeat(`{"a":`, depth), `{"a":`+strings.Repeat(`[`, depth))
	}
	taken := 0
	for _, body := range bodies {
		_, err := Stamp([]byte(body), "Patient", "p1", "7", stampTime)
		v := jsontext.Value(body)
		want := v.Kind() == '{' && v.IsValid()
		if got := err == nil || strings.HasSuffix(err.Error(), "meta must be an object"); got != want {
			t.Errorf("%.200q: %v, want it taken: %v", body, err, want)
		}
		if want {
			taken++
		}
	}
	if taken < 1000 || len(bodies)-taken < 1000 {
		t.Errorf("%d of %d are valid", taken, len(bodies))
	}
}

func TestWhiteSpaceWithinValuesStaysAndBetweenMembersGoes(t *testing.T) {
	got, err := Stamp([]byte(" { \"a\" :\t1 ,\"b\":[ 2 ],\"c\":3, \"id\":\"x\",\"d\":4,\"g\" :6,\n\"meta\" : { \"tag\":[ ] ,\"source\":\"s\",\"versionId\":\"1\",\"profile\": [\"p\"] } , \"e\": { \"f\" : 5 } } "), "Patient", "p1", "7", stampTime)
	want := `{"resourceType":"Patient","id":"p1","meta":{"versionId":"7","lastUpdated":"2024-05-11T14:32:15.123Z","tag":[ ],"source":"s","profile":["p"]},"a":1,"b":[ 2 ],"c":3,"d":4,"g":6,"e":{ "f" : 5 }}`
	if err != nil || string(got) != want {
		t.Errorf("got %s %v\nwant %s", got, err, want)
	}
}

func TestStampWritesTimesInTheInstantFormat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-100_000_000_000, 500_000_000_000).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
		if got, want := string(appendInstant(nil, at)), at.Format(InstantFormat); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	})
}

func FuzzStamp(f *testing.F) {
	f.Add([]byte(`{"resourceType":"Patient","id":"1","meta":{"versionId":"1","tag":[]},"x":1.50}`))
	f.Add([]byte(`{"meta":{}}`))
	f.Add([]byte(`{"m\u0065ta":{"a":{}}} `))
	f.Fuzz(func(t *testing.T, body []byte) { testStamp(t, body) })
}

// testStamp checks that Stamp takes what jsontext takes, and rightly: the metadata are those
// given, all other values those that were there, and a second stamp changes nothing.
func testStamp(t rapid.TB, body []byte) {
	sent := bytes.Clone(body)
	once, err := Stamp(body, "Patient", "p1", "7", stampTime)
	if !bytes.Equal(sent, body) {
		t.Fatalf("%q was changed to %q", sent, body)
	}
	v := jsontext.Value(body)
	valid := v.Kind() == '{' && v.IsValid()
	if err != nil {
		if valid && !strings.HasSuffix(err.Error(), "meta must be an object") {
			t.Fatalf("%q was refused: %v", body, err)
		}
		return
	}
	if !valid {
		t.Fatalf("%q was stamped", body)
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
	for name, body := range map[string]string{
		// as the writes of the embedded store are measured with
		"ward": `{"resourceType":"Observation","id":"k5f7d3s2a4g6h8j0l2p4o6i8u0y2t4r6","meta":{"profile":["http://hl7.org/fhir/StructureDefinition/heartrate"]},` +
			`"identifier":[{"system":"https://github.com/kiln-health/kiln/fhir/reading-id","value":"k5f7d3s2a4g6h8j0l2p4o6i8u0y2t4r6"}],"status":"final",` +
			`"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs","display":"Vital Signs"}]}],` +
			`"code":{"coding":[{"system":"http://loinc.org","code":"8867-4","display":"Heart rate"},{"system":"urn:iso:std:iso:11073:10101","code":"147842","display":"MDC_PULS_OXIM_PULS_RATE"}],"text":"Heart rate"},` +
			`"subject":{"reference":"Patient/patient-017"},"effectiveDateTime":"2026-01-01T00:16:40Z","issued":"2026-01-01T00:16:40.000Z",` +
			`"valueQuantity":{"value":72.50,"unit":"beats/minute","system":"http://unitsofmeasure.org","code":"/min"},"device":{"reference":"Device/monitor-03"}}`,
		"long text": `{"resourceType":"Observation","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},"x":"` + strings.Repeat("x", 1000) + `"}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			resource := []byte(body)
			for b.Loop() {
				if _, err := Stamp(resource, "Observation", "o1", "1", stampTime); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
