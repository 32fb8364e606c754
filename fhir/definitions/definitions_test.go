package definitions

import (
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestTheTypesOfR4AreKnown(t *testing.T) {
	if got := len(ResourceTypes()); got != 146 {
		t.Errorf("got %d resource types, want the 146 of R4", got)
	}
	if !slices.IsSorted(ResourceTypes()) || !IsResource("Observation") || IsResource("DomainResource") || IsResource("Quantity") {
		t.Error("ResourceTypes must be sorted, and have resources that can exist only")
	}
	for _, c := range []struct {
		name string
		kind Kind
		base string
	}{
		{"Observation", Resource, "http://hl7.org/fhir/StructureDefinition/DomainResource"},
		{"Bundle", Resource, "http://hl7.org/fhir/StructureDefinition/Resource"},
		{"Quantity", DataType, "http://hl7.org/fhir/StructureDefinition/Element"},
		{"string", Primitive, "http://hl7.org/fhir/StructureDefinition/Element"},
	} {
		s, ok := ForType(c.name)
		if !ok {
			t.Errorf("%s is not known", c.name)
			continue
		}
		if s.Kind != c.kind || s.Base != c.base || s.Profile || s.Version != "4.0.1" {
			t.Errorf("%s: got kind %d, base %s, profile %t, version %s", c.name, s.Kind, s.Base, s.Profile, s.Version)
		}
	}
	if _, ok := ForType("SimpleQuantity"); ok {
		t.Error("SimpleQuantity is a profile, not a type")
	}
}

func TestElementsSayWhatTheSpecificationSays(t *testing.T) {
	observation, _ := ForType("Observation")
	status, typ := observation.Root().Child("status")
	switch {
	case status == nil || typ == nil || typ.Code != "code":
		t.Fatal("Observation.status must be a code")
	case status.Min != 1 || status.Max != 1 || status.List || !status.Modifier || !status.Summary:
		t.Errorf("Observation.status: got %+v", status)
	case status.Binding == nil || status.Binding.Strength != Required || !strings.HasPrefix(status.Binding.ValueSet, "http://hl7.org/fhir/ValueSet/observation-status"):
		t.Errorf("Observation.status: got binding %+v", status.Binding)
	}
	value, typ := observation.Root().Child("valueSampledData")
	if value == nil || !value.Choice || value.Name != "value" || len(value.Types) != 11 || typ.Code != "SampledData" {
		t.Errorf("Observation.value[x]: got %+v as %v", value, typ)
	}
	for _, name := range []string{"value", "valueFoo", "Status", "_status", ""} {
		if e, typ := observation.Root().Child(name); typ != nil {
			t.Errorf("%q is no JSON name of Observation, got %v", name, e.ID())
		}
	}
	component, _ := observation.Root().Child("component")
	if !component.List || component.Max != Unbounded {
		t.Error("Observation.component must repeat")
	}
	ranges, _ := component.Child("referenceRange")
	if ranges.Content == nil || ranges.Content.ID() != "Observation.referenceRange" || len(ranges.Types) != 0 {
		t.Errorf("Observation.component.referenceRange must have the content of Observation.referenceRange, got %v", ranges.Content)
	}
	subject, typ := observation.Root().Child("subject")
	if len(typ.Targets) != 4 || !slices.Contains(typ.Targets, "http://hl7.org/fhir/StructureDefinition/Patient") || subject.Path() != "Observation.subject" {
		t.Errorf("Observation.subject: got targets %v", typ.Targets)
	}
	if id, typ := observation.Root().Child("id"); id == nil || typ.Code != "id" {
		t.Errorf("Observation.id must be an id, got %v", typ)
	}
	extension, _ := ForType("Extension")
	if u, typ := extension.Root().Child("url"); !u.Attribute || typ.Code != "uri" {
		t.Error("Extension.url must be a uri that is an attribute in XML")
	}
	day, _ := ForType("date")
	if v, _ := day.Root().Child("value"); v == nil || !strings.HasPrefix(v.Regex, "([0-9]") {
		t.Error("date must have the regular expression of the specification")
	}
}

func TestProfilesHaveSlices(t *testing.T) {
	for _, c := range []struct {
		url, element, slice string
		discriminators      []Discriminator
	}{
		{"http://hl7.org/fhir/StructureDefinition/bp", "component", "SystolicBP", []Discriminator{{ByValue, "code.coding.code"}, {ByValue, "code.coding.system"}}},
		{"http://hl7.org/fhir/us/core/StructureDefinition/us-core-blood-pressure|6.1.0", "component", "systolic", []Discriminator{{ByPattern, "code"}}},
		{"http://hl7.org/fhir/uv/phd/StructureDefinition/PhdBaseObservation", "category", "PHD-Observation", []Discriminator{{ByValue, "coding.code"}, {ByValue, "coding.system"}}},
		{"http://hl7.org/fhir/uv/pocd/StructureDefinition/NumericObservation", "value", "valueQuantity", []Discriminator{{ByType, "$this"}}},
	} {
		s, ok := Lookup(c.url)
		if !ok {
			t.Errorf("%s is not known", c.url)
			continue
		}
		var e *Element
		for _, child := range s.Root().Children {
			if child.Name == c.element {
				e = child
			}
		}
		if e == nil || e.Slicing == nil || !slices.Equal(e.Slicing.Discriminators, c.discriminators) {
			t.Errorf("%s: %s is not sliced by %v", c.url, c.element, c.discriminators)
			continue
		}
		if !slices.ContainsFunc(e.Slices, func(s *Element) bool { return s.Slice == c.slice }) {
			t.Errorf("%s: %s has no slice %s", c.url, c.element, c.slice)
		}
	}
}

// The guides of PHD and PoCD publish differentials only: what they inherit must be there, too.
func TestSnapshotsOfDifferentialsHaveWhatTheyInherit(t *testing.T) {
	find := func(url, id string) *Element {
		t.Helper()
		s, ok := Lookup(url)
		if !ok {
			t.Fatalf("%s is not known", url)
		}
		for i := range s.Elements {
			if s.Elements[i].ID() == id {
				return &s.Elements[i]
			}
		}
		t.Fatalf("%s has no element %s", url, id)
		return nil
	}
	const phd = "http://hl7.org/fhir/uv/phd/StructureDefinition/"
	const pocd = "http://hl7.org/fhir/uv/pocd/StructureDefinition/"
	if e := find(phd+"PhdNumericObservation", "Observation.category:PHD-Observation.coding.code"); e.Fixed == nil || e.Fixed.JSON != `"phd"` || e.Min != 1 {
		t.Errorf("PhdNumericObservation must inherit the category of PhdBaseObservation, got %+v", e)
	}
	if e := find(phd+"PhdNumericObservation", "Observation.value[x].code"); e.Min != 1 {
		t.Errorf("Observation.value[x].code: got min %d", e.Min)
	}
	if e := find(phd+"PhdNumericObservation", "Observation.extension:GatewayDevice.url"); e.Fixed == nil {
		t.Error("the slice GatewayDevice must have what the extension's own definition says")
	}
	if e := find(phd+"PhdRtsaObservation", "Observation.value[x].origin.system"); e.Fixed == nil {
		t.Error("elements of elements of a data type must be unfolded")
	}
	if e := find(pocd+"NumericObservation", "Observation.effective[x]:effectivePeriod"); e.Min != 0 {
		t.Errorf("a slice of an element that must be there need not be there itself, got min %d", e.Min)
	}
	if e := find(pocd+"CompoundNumericObservation", "Observation.component.referenceRange.low"); e.Parent.Content != nil {
		t.Error("a content reference must be unfolded where the profile says more")
	}
	// The ids of this differential forget the slice that the elements belong to; their order does not.
	if e := find(pocd+"relation", "Extension.extension:kind.value[x]:valueCode"); e.Min != 1 {
		t.Errorf("valueCode belongs to the slice kind, got min %d", e.Min)
	}
}

func TestEveryStructureHoldsTogether(t *testing.T) {
	for _, u := range URLs() {
		s, ok := Lookup(u)
		if !ok || s.URL != u || len(s.Elements) == 0 {
			t.Errorf("%s is in the index and not in its table", u)
			continue
		}
		if _, ok := ForType(s.Type); !ok {
			t.Errorf("%s: type %s is not known", u, s.Type)
		}
		seen := map[string]bool{}
		for i := range s.Elements {
			e := &s.Elements[i]
			id := e.ID()
			if seen[id] {
				t.Errorf("%s: element %s occurs twice", u, id)
			}
			seen[id] = true
			if i > 0 && e.Parent == nil {
				t.Errorf("%s: element %s has no parent", u, id)
			}
			if i > 0 && e.Content == nil && len(e.Types) == 0 && e.Max != 0 {
				t.Errorf("%s: element %s has no type", u, id)
			}
			if e.Max != Unbounded && e.Max < e.Min && e.Max != 0 {
				t.Errorf("%s: element %s occurs at least %d times and at most %d", u, id, e.Min, e.Max)
			}
			for _, typ := range e.Types {
				if _, ok := ForType(typ.Code); !ok {
					t.Errorf("%s: element %s has the type %s, which is not known", u, id, typ.Code)
				}
			}
			if b := e.Binding; b != nil && b.Strength <= Extensible && b.ValueSet != "" {
				if _, ok := ValueSet(b.ValueSet); !ok {
					t.Errorf("%s: element %s is bound to %s, which is not in the tables", u, id, b.ValueSet)
				}
			}
		}
		// validate keeps a bit for each child of a type.
		for i := range s.Elements {
			if n := len(s.Elements[i].Children); n > 60 {
				t.Errorf("%s: %s has %d children", u, s.Elements[i].ID(), n)
			}
		}
	}
}

func TestValueSetsKnowTheirCodes(t *testing.T) {
	const (
		observation = "http://hl7.org/fhir/ValueSet/observation-status|4.0.1"
		units       = "http://hl7.org/fhir/ValueSet/ucum-vitals-common"
		mdc         = "http://hl7.org/fhir/uv/phd/ValueSet/MDCnotObject"
		race        = "http://hl7.org/fhir/us/core/ValueSet/omb-race-category"
		purpose     = "http://terminology.hl7.org/ValueSet/v3-PurposeOfUse"
		ucum        = "http://hl7.org/fhir/ValueSet/ucum-units"
	)
	for _, c := range []struct {
		about             string
		set, system, code string
		want              Membership
	}{
		{"a code of a complete system", observation, "http://hl7.org/fhir/observation-status", "final", Yes},
		{"a code that the system does not have", observation, "http://hl7.org/fhir/observation-status", "finished", No},
		{"case counts", observation, "http://hl7.org/fhir/observation-status", "Final", No},
		{"a code of another system", observation, "http://loinc.org", "final", No},
		{"a code of a list", units, "http://unitsofmeasure.org", "/min", Yes},
		{"a code that is not in the list", units, "http://unitsofmeasure.org", "/h", No},
		{"a code below an abstract one", purpose, "http://terminology.hl7.org/CodeSystem/v3-ActReason", "HTEST", Yes},
		{"a code beside it", purpose, "http://terminology.hl7.org/CodeSystem/v3-ActReason", "_ActInvoiceCancelReason", No},
		{"all codes of a system that is not published with FHIR", ucum, "http://unitsofmeasure.org", "mm[Hg]", Unknown},
		{"a code of another system than that", ucum, "http://loinc.org", "mm[Hg]", No},
		{"a partition of IEEE 11073 that is in the set", mdc, "urn:iso:std:iso:11073:10101", "150456", Yes},
		{"a partition of IEEE 11073 that is not", mdc, "urn:iso:std:iso:11073:10101", "65573", No},
		{"no number", mdc, "urn:iso:std:iso:11073:10101", "MDC_PULS_OXIM_SAT_O2", No},
		{"a set that is not published", race, "urn:oid:2.16.840.1.113883.6.238", "2106-3", Unknown},
	} {
		t.Run(c.about, func(t *testing.T) {
			set, ok := ValueSet(c.set)
			if !ok {
				t.Fatalf("%s is not in the tables", c.set)
			}
			if got := set.Contains(c.system, c.code); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
			if got := set.ContainsBytes([]byte(c.system), []byte(c.code)); got != c.want {
				t.Errorf("as bytes: got %d, want %d", got, c.want)
			}
		})
	}
	status, _ := ValueSet(observation)
	if !status.Enumerated() || status.ContainsCode([]byte("amended")) != Yes || status.ContainsCode([]byte("done")) != No {
		t.Error("the observation status is a set of codes that are all known")
	}
	if set, _ := ValueSet(ucum); set.Enumerated() || !set.HasSystem("http://unitsofmeasure.org") || set.ContainsCode([]byte("x")) != Unknown {
		t.Error("UCUM is not enumerated")
	}
}

func TestInvariantsSayWhereTheyBelong(t *testing.T) {
	obs := Invariants("obs-6")
	if len(obs) != 1 || obs[0].Warning || obs[0].Expression != "dataAbsentReason.empty() or value.empty()" || !slices.Equal(obs[0].Where, []string{"Observation"}) {
		t.Errorf("obs-6: got %+v", obs)
	}
	if dom := Invariants("dom-6"); len(dom) != 1 || !dom[0].Warning {
		t.Errorf("dom-6: got %+v", dom)
	}
	if inv := Invariants("inv-1"); len(inv) != 4 {
		t.Errorf("inv-1 is four rules, got %d", len(inv))
	}
	if none := Invariants("none-1"); none != nil {
		t.Errorf("got %v", none)
	}
}

func TestSearchParametersComeWithThoseOfTheBases(t *testing.T) {
	byName := map[string]SearchParameter{}
	all := SearchParameters("Observation")
	for _, p := range all {
		byName[p.Name] = p
	}
	for name, typ := range map[string]string{"code": "token", "value-quantity": "quantity", "_id": "token", "_lastUpdated": "date", "_text": "string", "date": "date"} {
		if byName[name].Type != typ {
			t.Errorf("%s: got type %q, want %s", name, byName[name].Type, typ)
		}
	}
	if !slices.IsSortedFunc(all, func(a, b SearchParameter) int { return strings.Compare(a.Name, b.Name) }) || len(byName) != len(all) {
		t.Error("the parameters must be sorted and their names distinct")
	}
	if c := byName["code-value-date"].Components; len(c) != 2 || c[1].Expression != "value.as(dateTime) | value.as(Period)" {
		t.Errorf("code-value-date must be corrected, got %v", c)
	}
	if SearchParameters("Quantity") != nil {
		t.Error("a data type has no search parameters")
	}
}

func TestCompartmentsNameTheirParameters(t *testing.T) {
	device, ok := Compartment("Device")
	if !ok || !slices.Equal(device["Observation"], []string{"subject", "device"}) || device["Patient"] != nil {
		t.Errorf("Device: got %v", device["Observation"])
	}
	if _, ok := Compartment("Organization"); ok {
		t.Error("there is no compartment of organizations")
	}
}

func TestTablesAreReadOnceFromAnyNumberOfGoroutines(t *testing.T) {
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for _, u := range URLs() {
				if s, ok := Lookup(u); !ok || s.Root() == nil {
					t.Errorf("%s is not known", u)
				}
			}
			if s, ok := ValueSet("http://hl7.org/fhir/ValueSet/observation-status"); !ok || len(s.Systems) == 0 {
				t.Error("a value set is missing")
			}
			if len(SearchParameters("Patient")) == 0 {
				t.Error("search parameters are missing")
			}
		})
	}
	all.Wait()
}

func TestABrokenTableIsNoPanic(t *testing.T) {
	for _, r := range []*reader{open("none"), {}, {text: "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"}, {text: "\x05\x01\x01", strings: []string{""}}} {
		for range readStructures(r) {
		}
		r.list()
	}
}

func BenchmarkDecodeTypes(b *testing.B) {
	b.ReportAllocs()
	invariants()
	for b.Loop() {
		if len(readStructures(open("r4"))) == 0 {
			b.Fatal("no structures")
		}
	}
}
