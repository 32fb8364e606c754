package search

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
	"github.com/kiln-health/kiln/fhir/fhirtest"
)

func TestEveryParameterOfR4IsCompiledOrRefusedWithAReason(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range R4().Types() {
		c := R4().class(name)
		if c.err != nil {
			t.Error(c.err)
		}
		for _, d := range definitions.SearchParameters(name) {
			seen[d.URL] = true
			r, ok := R4().lookup(name, d.Name)
			if ok == (R4().Refused(name, d.Name) != "") {
				t.Errorf("%s.%s: found %v, refused %q", name, d.Name, ok, R4().Refused(name, d.Name))
			}
			if ok && r.kinds == 0 && r.Type != CompositeParam {
				t.Errorf("%s.%s has no values", name, d.Name)
			}
			if ok && len(r.Components) != len(d.Components) {
				t.Errorf("%s.%s has %d components, want %d", name, d.Name, len(r.Components), len(d.Components))
			}
		}
	}
	for url := range unsupported {
		if !seen[url] {
			t.Errorf("R4 has no search parameter %s", url)
		}
	}
	for url, e := range errata {
		if !seen[url] || e.reason == "" {
			t.Errorf("R4 has no search parameter %s, or there is no reason", url)
		}
	}
	if len(seen) < 1380 {
		t.Errorf("%d parameters, want 1380 at least", len(seen))
	}
	for _, name := range []string{"_text", "_content", "_filter", "_query"} {
		if why := R4().Refused("Location", name); why == "" || R4().Refused("Nothing", name) != "" {
			t.Errorf("%s is refused with %q", name, why)
		}
	}
	if why := R4().Refused("Location", "near"); why != "" {
		t.Errorf("near is refused with %q", why)
	}
}

func TestExtensionsOfExpressionsAreThoseOfR4(t *testing.T) {
	missing := map[string]bool{
		"http://hl7.org/fhir/StructureDefinition/device-din":                      true, // was published with drafts only
		"http://hl7.org/fhir/StructureDefinition/questionnaireresponse-isSubject": true, // is not in the bundle of definitions
	}
	for _, name := range R4().Types() {
		for _, p := range R4().Of(name) {
			for part := range strings.SplitSeq(p.Expression, "xtension('") {
				url, _, ok := strings.Cut(part, "')")
				if !ok || !strings.HasPrefix(url, "http") {
					continue
				}
				if _, known := definitions.Lookup(url); known == missing[url] {
					t.Errorf("%s.%s: the extension %s is known: %v", name, p.Name, url, known)
				}
			}
		}
	}
}

func TestCaseSystemAndTargetsOfAParameter(t *testing.T) {
	for _, c := range []struct {
		of, name, system string
		sensitive        bool
		targets          []string
	}{
		{"Patient", "gender", "http://hl7.org/fhir/administrative-gender", true, nil},
		{"Patient", "identifier", "", true, nil},
		{"Patient", "telecom", "", false, nil},
		{"Patient", "deceased", "", true, nil},
		{"Patient", "language", "", false, nil},
		{"Observation", "code", "", false, nil},
		{"Observation", "status", "http://hl7.org/fhir/observation-status", true, nil},
		{"Observation", "patient", "", false, []string{"Patient"}},
		{"Group", "value", "", false, nil},
		{"CapabilityStatement", "format", "urn:ietf:bcp:13", false, nil},
	} {
		r, ok := R4().lookup(c.of, c.name)
		if !ok || r.system != c.system || r.CaseSensitive != c.sensitive || !slices.Equal(r.Targets, c.targets) {
			t.Errorf("%s.%s: system %q, case %v, targets %v", c.of, c.name, r.system, r.CaseSensitive, r.Targets)
		}
	}
}

func TestCustomParametersAreSearchedLikeAllOthers(t *testing.T) {
	p, err := R4().With(
		Custom{Name: "note", Type: StringParam, Bases: []string{"Observation", "Device"}, Expression: "Observation.note.text | Device.note.text"},
		Custom{Name: "home-phone", Type: TokenParam, Bases: []string{"Patient"}, Expression: "Patient.telecom.where(use = 'home') | Patient.telecom.where(system='fax')"},
		Custom{Name: "first-given", Type: StringParam, Bases: []string{"Patient"}, Expression: "Patient.name[0].given[0]"},
		Custom{Name: "rank", Type: NumberParam, Bases: []string{"Patient"}, Expression: "Patient.extension('http://a.example/rank').value.as(integer)"},
		Custom{Name: "code-and-device", Type: CompositeParam, Bases: []string{"Observation"}, Expression: "Observation",
			Components: []CustomComponent{{"code", "code"}, {"device", "device"}}},
		Custom{Name: "everywhere", Type: TokenParam, Bases: []string{"Resource"}, Expression: "Resource.language", Definition: "http://a.example/everywhere"},
	)
	if err != nil {
		t.Fatal(err)
	}
	patient, err := p.Extract("Patient", []byte(`{"resourceType":"Patient","language":"de","telecom":[{"use":"home","system":"fax","value":"1"},{"use":"work","value":"2"}],`+
		`"name":[{"given":["A","B"]},{"given":["C"]}],"extension":[{"url":"http://a.example/rank","valueInteger":3},{"url":"http://a.example/rank","valueString":"x"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Terms{
		"home-phone":  {Tokens: []Token{{"home-phone", "", "1"}}},
		"first-given": {Strings: []String{{"first-given", "A"}}},
		"rank":        {Quantities: []Quantity{{Param: "rank", Low: exactly("3"), High: exactly("3")}}},
		"everywhere":  {Tokens: []Token{{"everywhere", "", "de"}}},
	} {
		if diff := gocmp.Diff(want, only(patient, name), decimals); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	observation, err := p.Extract("Observation", []byte(`{"resourceType":"Observation","device":{"reference":"Device/d"},"code":{"coding":[{"code":"a"}]},"note":[{"text":"N"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := []String{{"note", "N"}}; !slices.Equal(only(observation, "note").Strings, want) {
		t.Errorf("note is %v", observation.Strings)
	}
	if got := only(observation, "code-and-device").Tuples; len(got) != 1 || got[0].Parts[0].Tokens[0].Code != "a" || got[0].Parts[1].References[0].ID != "d" {
		t.Errorf("code-and-device is %+v", got)
	}
	if _, ok := R4().Lookup("Patient", "rank"); ok {
		t.Error("R4 was changed")
	}
	if again, err := p.With(Custom{Name: "more", Type: TokenParam, Bases: []string{"Patient"}, Expression: "Patient.language"}); err != nil {
		t.Error(err)
	} else if _, ok := again.Lookup("Patient", "rank"); !ok {
		t.Error("a second With forgets the first")
	}
	if slices.Equal(p.Fingerprint(), R4().Fingerprint()) || !slices.Equal(R4().Fingerprint(), R4().Fingerprint()) {
		t.Error("the fingerprint does not tell sets apart, or is not stable")
	}
}

func TestCustomParametersThatCannotBeAreRefused(t *testing.T) {
	good := Custom{Name: "x", Type: TokenParam, Bases: []string{"Patient"}, Expression: "Patient.language"}
	for name, c := range map[string]struct {
		change func(*Custom)
		want   string
	}{
		"no name":               {func(c *Custom) { c.Name = "" }, "has no name"},
		"a name with a blank":   {func(c *Custom) { c.Name = "a b" }, "other characters"},
		"a name of a modifier":  {func(c *Custom) { c.Name = "a:b" }, "other characters"},
		"a name of R4":          {func(c *Custom) { c.Name = "gender" }, "already"},
		"a name that R4 has":    {func(c *Custom) { c.Name = "_text" }, "already"},
		"a result parameter":    {func(c *Custom) { c.Name = "_sort" }, "something else"},
		"no base":               {func(c *Custom) { c.Bases = nil }, "one resource type at least"},
		"an unknown base":       {func(c *Custom) { c.Bases = []string{"Quantity"} }, "no resource type"},
		"a URL of R4":           {func(c *Custom) { c.Definition = "http://hl7.org/fhir/SearchParameter/Patient-active" }, "already"},
		"an unknown type":       {func(c *Custom) { c.Type = "special" }, "not supported"},
		"targets of a token":    {func(c *Custom) { c.Targets = []string{"Patient"} }, "only a reference"},
		"an unknown target":     {func(c *Custom) { c.Type, c.Targets = ReferenceParam, []string{"X"} }, "target"},
		"components of a token": {func(c *Custom) { c.Components = []CustomComponent{{"a", "b"}} }, "composite"},
		"no components":         {func(c *Custom) { c.Type = CompositeParam }, "composite"},
		"no expression":         {func(c *Custom) { c.Expression = "" }, "a name is missing"},
		"another type":          {func(c *Custom) { c.Expression = "Observation.code" }, "no path begins with the type"},
		"no such element":       {func(c *Custom) { c.Expression = "Patient.nonsense" }, "no element nonsense"},
		"an object":             {func(c *Custom) { c.Expression = "Patient.contact" }, "no values of type token"},
		"a date as a token":     {func(c *Custom) { c.Expression = "Patient.birthDate" }, "no values of type token"},
		"another function":      {func(c *Custom) { c.Expression = "Patient.name.first()" }, "first is not supported"},
		"an operator":           {func(c *Custom) { c.Expression = "Patient.active.exists() and Patient.gender != false" }, "and is supported"},
		"half a bracket":        {func(c *Custom) { c.Expression = "(Patient.active" }, ") is missing"},
		"half a text":           {func(c *Custom) { c.Expression = "Patient.telecom.where(system='x" }, "does not end"},
		"a long expression":     {func(c *Custom) { c.Expression = strings.Repeat("(", maxExpression+1) }, "longer than"},
		"a nested expression":   {func(c *Custom) { c.Expression = strings.Repeat("(", 1000) }, "too deeply"},
		"exists alone":          {func(c *Custom) { c.Expression = "Patient.active.exists()" }, "alone"},
		"a type it never is":    {func(c *Custom) { c.Expression = "Patient.deceased.as(Quantity)" }, "never Quantity"},
		"a part of a primitive": {func(c *Custom) { c.Expression = "Patient.active.extension('u')" }, "of a primitive"},
		"an index of one":       {func(c *Custom) { c.Expression = "Patient.active[0]" }, "may repeat"},
		"where of an object":    {func(c *Custom) { c.Expression = "Patient.telecom.where(period='x')" }, "no single value"},
		"resolve of no type":    {func(c *Custom) { c.Type, c.Expression = ReferenceParam, "Patient.link.other.where(resolve() is X)" }, "a type of R4"},
		"a relative path":       {func(c *Custom) { c.Expression = "active" }, "does not begin"},
		"a distance as a component": {func(c *Custom) {
			c.Bases, c.Type, c.Expression, c.Components = []string{"Location"}, CompositeParam, "Location", []CustomComponent{{"near", "position"}}
		}, "may be one"},
		"an unknown component": {func(c *Custom) {
			c.Type, c.Expression, c.Components = CompositeParam, "Patient", []CustomComponent{{"y", "active"}}
		}, "no search parameter"},
	} {
		custom := good
		c.change(&custom)
		_, err := R4().With(custom)
		if _, ours := err.(*fhir.Error); !ours || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error that says %q", name, err, c.want)
		}
	}
	if _, err := R4().With(good, good); err == nil {
		t.Error("one name twice is accepted")
	}
	if _, err := R4().With(slices.Repeat([]Custom{good}, MaxCustom+1)...); err == nil {
		t.Error("any number is accepted")
	}
}

// tell walks a resource for an Extractor, with everything in it, as somebody else would.
func tell(x *Extractor, s *tape, depth int) {
	for s.pos++; s.more('}'); {
		name := string(s.member())
		item := func() {
			object := s.peek() == '{'
			if s.peek() != 'n' {
				x.Element(depth, name, s.pos)
			}
			if object {
				tell(x, s, depth+1)
			} else {
				s.skip()
			}
		}
		if name[0] == '_' || s.peek() != '[' {
			if name[0] == '_' {
				s.skip()
			} else {
				item()
			}
			continue
		}
		for s.pos++; s.more(']'); {
			item()
		}
	}
}

func TestAnExtractorThatIsToldOfEverythingFindsWhatExtractFinds(t *testing.T) {
	for _, body := range []string{
		heartRate, ecg,
		`{"resourceType":"Patient","name":[{"family":"A","given":["B","C"]},{"text":"D"}],"telecom":[{"system":"phone","value":"1"}],"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/patient-mothersMaidenName","valueString":"E"}],"contact":[{"name":{"family":"no"}}],"deceasedBoolean":true}`,
		`{"resourceType":"Observation","component":[{"code":{"coding":[{"code":"a"}]},"valueQuantity":{"value":1}},{"code":{"coding":[{"code":"a"}]},"valueQuantity":{"value":1}}],"contained":[{"resourceType":"Patient","id":"x"}]}`,
		`{"resourceType":"MolecularSequence","variant":[{"start":1,"end":2}],"referenceSeq":{"chromosome":{"coding":[{"code":"X"}]}}}`,
		`{"resourceType":"QuestionnaireResponse","item":[{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/questionnaireresponse-isSubject","valueBoolean":true}],"answer":[{"valueReference":{"reference":"Patient/1"}}]}]}`,
	} {
		key, want := terms(t, body)
		x := R4().Extractor(key.Type, []byte(body))
		tell(x, &tape{json: []byte(body)}, 0)
		if diff := gocmp.Diff(want, x.Terms(), decimals); diff != "" {
			t.Errorf("%s (-Extract +Extractor):\n%s", key.Type, diff)
		}
	}
	x := R4().Extractor("Quantity", []byte(`{"value":1}`))
	if x.Element(0, "value", 9) || !gocmp.Equal(x.Terms(), Terms{}) {
		t.Error("a type that is not searched has terms")
	}
	x = R4().Extractor("Patient", []byte(`{}`))
	for _, depth := range []int{-1, 0, 1, 1000} {
		for _, start := range []int{-1, 0, 1, 2, 1000} {
			x.Element(depth, "name", start)
		}
	}
	x.Terms()
}

func TestTuplesKeepTheirValuesWhateverComesLater(t *testing.T) {
	var components []string
	for range 50 {
		components = append(components, `{"code":{"coding":[{"code":"a"},{"code":"b"}]},"valueQuantity":{"value":1}}`)
	}
	components = append(components, `{"code":{"coding":[{"code":"b"},{"code":"c"}]},"valueQuantity":{"value":2}}`)
	_, found := terms(t, `{"resourceType":"Observation","component":[`+strings.Join(components, ",")+`]}`)
	got := only(found, "component-code-value-quantity").Tuples
	if len(got) != 2 {
		t.Fatalf("%d tuples, want 2", len(got))
	}
	for i, want := range [][]Token{{{"component-code", "", "a"}, {"component-code", "", "b"}}, {{"component-code", "", "b"}, {"component-code", "", "c"}}} {
		if !slices.Equal(got[i].Parts[0].Tokens, want) {
			t.Errorf("tuple %d has %v, want %v", i, got[i].Parts[0].Tokens, want)
		}
	}
}

func TestTheTimeOfExtractGrowsWithTheLengthOfAResource(t *testing.T) {
	fhirtest.Long(t)
	p, err := R4().With(Custom{Name: "all", Type: CompositeParam, Bases: []string{"Observation"}, Expression: "Observation",
		Components: []CustomComponent{{"component-code", "component.code"}, {"component-value-quantity", "component.value.as(Quantity)"}}})
	if err != nil {
		t.Fatal(err)
	}
	const size = 2 << 20
	many := func(format string) string { // with numbers that differ
		var b strings.Builder
		for i := 0; b.Len() < size; i++ {
			b.WriteString(strings.ReplaceAll(format, "#", strconv.Itoa(i)) + ",")
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	for name, body := range map[string]string{
		"components":   `{"resourceType":"Observation","component":[` + many(`{"code":{"coding":[{"code":"c#","display":"d#"}]},"valueQuantity":{"value":#}}`) + `]}`,
		"equal ones":   `{"resourceType":"Observation","component":[` + many(`{"code":{"coding":[{"code":"c","display":"d"}]},"valueQuantity":{"value":1}}`) + `]}`,
		"codings":      `{"resourceType":"Observation","code":{"coding":[` + many(`{"code":"#"}`) + `]},"valueQuantity":{"value":1}}`,
		"brackets":     `{"resourceType":"Observation","code":` + strings.Repeat(`[`, size) + strings.Repeat(`]`, size) + `}`,
		"objects":      `{"resourceType":"Observation","note":` + strings.Repeat(`{"a":`, size/5) + `1` + strings.Repeat(`}`, size/5) + `}`,
		"names":        `{"resourceType":"Patient","name":[` + many(`{"family":"f#","given":["g#"]}`) + `]}`,
		"contacts":     `{"resourceType":"Patient","telecom":[` + many(`{"value":"#","system":"phone"}`) + `]}`,
		"extensions":   `{"resourceType":"Patient","extension":[` + many(`{"valueString":"#","url":"http://hl7.org/fhir/StructureDefinition/patient-mothersMaidenName"}`) + `]}`,
		"backslashes":  `{"resourceType":"Patient","name":[{"family":"` + strings.Repeat(`\\`, size/2) + `"}]}`,
		"related":      `{"resourceType":"Measure","relatedArtifact":[` + many(`{"resource":"http://a.example/Library/#","type":"depends-on"}`) + `]}`,
		"white spaces": `{"resourceType":"Patient","name":[` + strings.Repeat(" ", size) + `]}`,
		"half a text":  `{"resourceType":"Patient","name":[{"family":"` + strings.Repeat(`x`, size),
		"half a value": `{"resourceType":"Patient","name":` + strings.Repeat(`[`, size),
	} {
		of := "Observation"
		if rest, ok := strings.CutPrefix(body, `{"resourceType":"`); ok {
			of, _, _ = strings.Cut(rest, `"`)
		}
		start := time.Now()
		_, err := p.Extract(of, []byte(body))
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("%s: %d bytes take %v", name, len(body), took)
		}
		if (err != nil) != strings.HasPrefix(name, "half") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzExpressions(f *testing.F) {
	expressions := map[string]bool{}
	for _, name := range []string{"Patient", "Observation", "QuestionnaireResponse", "Bundle", "Device", "Condition"} {
		for _, p := range R4().Of(name) {
			expressions[p.Expression] = true
		}
	}
	for _, e := range slices.Sorted(maps.Keys(expressions)) {
		f.Add(e)
	}
	f.Fuzz(func(t *testing.T, expression string) {
		for _, of := range []ParamType{TokenParam, StringParam, ReferenceParam} {
			p, err := R4().With(Custom{Name: "x", Type: of, Bases: []string{"Patient"}, Expression: expression})
			if err != nil {
				if _, ours := err.(*fhir.Error); !ours {
					t.Error(err)
				}
				continue
			}
			if _, err := p.Extract("Patient", []byte(`{"resourceType":"Patient","name":[{"family":"A"}],"active":true}`)); err != nil {
				t.Error(err)
			}
		}
	})
}
