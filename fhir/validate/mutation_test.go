package validate

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir/definitions"
	"github.com/kiln-health/kiln/fhir/fhirtest"
)

// A specimen is a resource made from a definition: each element is in it once, with a value
// of one of its types. It is valid as far as its structure goes.
type specimen struct{ variant int }

var samples = map[string]any{
	"base64Binary": "YQ==", "boolean": true, "canonical": "http://example.org/a|1", "code": "a", "date": "2024-02-29",
	"dateTime": "2024-02-29T08:30:00+01:00", "decimal": json.Number("1.50"), "id": "a-1", "instant": "2024-02-29T08:30:00.125Z",
	"integer": json.Number("-1"), "markdown": "*x*", "oid": "urn:oid:1.2.3", "positiveInt": json.Number("1"), "string": "x",
	"time": "08:30:00", "unsignedInt": json.Number("0"), "uri": "http://example.org/b", "url": "http://example.org/c",
	"uuid": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520", "xhtml": `<div xmlns="http://www.w3.org/1999/xhtml">x</div>`,
}

func (s specimen) of(resource string) map[string]any {
	d, _ := definitions.ForType(resource)
	o := s.object(d.Root(), 0)
	o["resourceType"] = resource
	return o
}

func (s specimen) object(e *definitions.Element, depth int) map[string]any {
	o := map[string]any{}
	for _, c := range e.Children {
		if c.Min == 0 && (depth > 2 || c.Name == "modifierExtension" || c.Name == "extension" || c.Name == "contained" || c.Name == "id" && depth > 0) {
			continue
		}
		name, v := s.value(c, depth)
		if v == nil {
			continue
		}
		if c.List {
			v = []any{v}
		}
		o[name] = v
	}
	for _, c := range e.Children {
		if len(o) == 0 && c.Name != "id" && c.Name != "extension" && c.Name != "modifierExtension" {
			name, v := s.value(c, depth+1)
			switch {
			case v == nil:
			case c.List:
				o[name] = []any{v}
			default:
				o[name] = v // an object is never empty
			}
		}
	}
	return o
}

// value is the JSON name of an element and a value of it.
func (s specimen) value(e *definitions.Element, depth int) (string, any) {
	if e.Content != nil {
		if depth > 2 && e.Min == 0 {
			return "", nil
		}
		return e.Name, s.object(e.Content, depth+1)
	}
	if len(e.Children) > 0 {
		return e.Name, s.object(e, depth+1)
	}
	typ := &e.Types[s.variant%len(e.Types)]
	name := e.Name
	if e.Choice {
		name += definitions.JSONType(typ.Code)
	}
	return name, s.ofType(e, typ, depth)
}

func (s specimen) ofType(e *definitions.Element, typ *definitions.Type, depth int) any {
	system, code := "http://example.org/codes", "a"
	if b := e.Binding; b != nil && b.Strength == definitions.Required {
		if set, ok := definitions.ValueSet(b.ValueSet); ok && len(set.Systems) > 0 && len(set.Systems[0].Codes) > 0 {
			system, code = set.Systems[0].System, set.Systems[0].Codes[0]
		} else if ok && strings.HasSuffix(set.URL, "currencies") {
			code = "EUR"
		}
	}
	switch typ.Code {
	case "code":
		return code
	case "Coding":
		return map[string]any{"system": system, "code": code}
	case "CodeableConcept":
		return map[string]any{"coding": []any{map[string]any{"system": system, "code": code}}}
	case "Reference":
		target := "Patient"
		if len(typ.Targets) > 0 {
			if d, ok := definitions.Lookup(typ.Targets[0]); ok && !d.Abstract {
				target = d.Type
			}
		}
		return map[string]any{"reference": target + "/1"}
	case "Resource":
		return map[string]any{"resourceType": "Basic", "code": map[string]any{"text": "x"}}
	}
	if v, ok := samples[typ.Code]; ok {
		return v
	}
	d, ok := definitions.ForType(typ.Code)
	if !ok {
		return nil
	}
	return s.object(d.Root(), depth+1)
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestASpecimenOfEachResourceIsValid(t *testing.T) {
	for _, name := range definitions.ResourceTypes() {
		for variant := range 12 {
			body := marshal(t, specimen{variant}.of(name))
			if r := Resource(body, &Options{Level: Structure}); !r.Valid() {
				t.Errorf("%s, variant %d: got %v", name, variant, r.Issues())
			}
		}
	}
}

// A mutant has one fault that the definition forbids.
type mutant struct {
	about string
	code  string
	path  string
}

// mutate makes all mutants of an object, which is part of whole: it changes the object,
// calls f, and changes it back.
func (s specimen) mutate(e *definitions.Element, o map[string]any, path string, f func(mutant)) {
	with := func(name string, v any, m mutant) {
		old, had := o[name]
		if v == nil {
			delete(o, name)
		} else {
			o[name] = v
		}
		f(m)
		if had {
			o[name] = old
		} else {
			delete(o, name)
		}
	}
	with("xyzzy", 1, mutant{"an unknown element", "structure", path + ".xyzzy"})
	for _, name := range slices.Sorted(maps.Keys(o)) {
		c, typ := e.Child(name)
		if c == nil {
			continue
		}
		at := path + "." + c.Name
		v := o[name]
		list, _ := v.([]any)
		if c.List {
			at += "[0]"
			v = list[0]
			with(name, v, mutant{name + " not as an array", "structure", at})
			with(name, []any{}, mutant{name + " as an empty array", "structure", at})
		} else {
			with(name, []any{v}, mutant{name + " as an array", "structure", at})
		}
		item := func(x any) any {
			if c.List {
				return []any{x}
			}
			return x
		}
		with(name, item(json.RawMessage("null")), mutant{name + " null", "structure", at})
		if c.Min > 0 {
			with(name, nil, mutant{name + " missing", "required", path + "." + c.Name})
		}
		if c.Choice && len(c.Types) > 1 {
			other := &c.Types[(s.variant+1)%len(c.Types)]
			if x := s.ofType(c, other, 3); x != nil {
				with(c.Name+definitions.JSONType(other.Code), x, mutant{"a second " + c.Name, "structure", at})
			}
		}
		if inner, ok := v.(map[string]any); ok {
			with(name, item("x"), mutant{name + " as a string", "structure", at})
			if typ == nil || typ.Code != "Resource" {
				with(name, item(map[string]any{}), mutant{name + " empty", "structure", at})
			}
			switch {
			case typ != nil && typ.Code == "Reference":
				if len(typ.Targets) > 0 && len(typ.Targets) < 20 && !slices.Contains(typ.Targets, "http://hl7.org/fhir/StructureDefinition/Resource") && !slices.Contains(typ.Targets, "http://hl7.org/fhir/StructureDefinition/Basic") {
					with(name, item(map[string]any{"reference": "Basic/1"}), mutant{name + " to another type", "value", at})
				}
			case typ != nil && typ.Code == "Resource":
			case c.Content != nil:
				s.mutate(c.Content, inner, at, f)
			case len(c.Children) > 0:
				s.mutate(c, inner, at, f)
			default:
				if d, ok := definitions.ForType(typ.Code); ok {
					s.mutate(d.Root(), inner, at, f)
				}
			}
			continue
		}
		with(name, item(map[string]any{"a": 1}), mutant{name + " as an object", "structure", at})
		switch typ.Code {
		case "boolean":
			with(name, item("true"), mutant{name + " as a string", "structure", at})
		case "decimal", "integer", "positiveInt", "unsignedInt":
			with(name, item("1"), mutant{name + " as a string", "structure", at})
			if typ.Code != "decimal" {
				with(name, item(json.Number("1.5")), mutant{name + " with a fraction", "value", at})
			}
		default:
			with(name, item(1), mutant{name + " as a number", "structure", at})
			with(name, item(""), mutant{name + " empty", "value", at})
		}
		switch typ.Code {
		case "date", "dateTime", "instant":
			with(name, item("2023-02-29"), mutant{name + " on a day that does not exist", "value", at})
		case "id", "oid", "uuid", "time", "base64Binary":
			with(name, item("a_b c"), mutant{name + " in another form", "value", at})
		case "code":
			if b := c.Binding; b != nil && b.Strength == definitions.Required {
				if set, _ := definitions.ValueSet(b.ValueSet); set != nil && set.Enumerated() {
					with(name, item("xyzzy"), mutant{name + " with a code that is not allowed", "code-invalid", at})
				}
			}
		}
	}
}

func TestEveryMutantIsFoundAndNamed(t *testing.T) {
	fhirtest.Long(t)
	all := 0
	for name, variants := range map[string]int{"Observation": 11, "Device": 1, "DeviceMetric": 1, "Patient": 2, "Bundle": 1, "Parameters": 6} {
		for variant := range variants {
			s := specimen{variant}
			whole := s.of(name)
			d, _ := definitions.ForType(name)
			s.mutate(d.Root(), whole, name, func(m mutant) {
				all++
				r := Resource(marshal(t, whole), &Options{Level: Structure})
				if !slices.ContainsFunc(r.Found, func(f Found) bool { return f.Code == m.code && f.Path == m.path }) {
					t.Errorf("%s, variant %d, %s at %s: want %s, got %v", name, variant, m.about, m.path, m.code, r.Issues())
				}
			})
		}
	}
	if all < 3000 {
		t.Errorf("only %d mutants", all)
	}
}

// Resources that meet a profile no longer do when something is taken from them that the
// profile demands, or another value put in the place of a fixed one.
func TestEveryMutantOfAProfileIsFound(t *testing.T) {
	bodies := map[string]string{
		phd + "PhdNumericObservation":       pulse,
		r4 + "heartrate":                    sign(r4+"heartrate", "8867-4", `"valueQuantity":`+quantityOfUnit("72", "/min")),
		r4 + "bodytemp":                     sign(r4+"bodytemp", "8310-5", `"valueQuantity":`+quantityOfUnit("36.9", "Cel")),
		r4 + "bp":                           bloodPressure(r4 + "bp"),
		usCore + "us-core-body-temperature": sign(usCore+"us-core-body-temperature", "8310-5", `"valueQuantity":`+quantityOfUnit("36.9", "Cel")),
		usCore + "us-core-blood-pressure":   bloodPressure(usCore + "us-core-blood-pressure"),
		usCore + "us-core-patient":          patient(`"meta":{"profile":["` + usCore + `us-core-patient"]},"identifier":[{"system":"http://example.org","value":"1"}],"name":[{"family":"x"}],"gender":"female"`),
	}
	for _, url := range slices.Sorted(maps.Keys(bodies)) {
		var whole map[string]any
		d := json.NewDecoder(strings.NewReader(bodies[url]))
		d.UseNumber()
		if err := d.Decode(&whole); err != nil {
			t.Fatal(err)
		}
		if r := Resource(marshal(t, whole), nil); !r.Valid() {
			t.Fatalf("%s: got %v", url, r.Issues())
		}
		s, _ := definitions.Lookup(url)
		mutants := 0
		changeProfiled(s.Root(), whole, s.Type, func(about, path string) {
			mutants++
			r := Resource(marshal(t, whole), nil)
			if !slices.ContainsFunc(r.Found, func(f Found) bool {
				return f.Severity == "error" && (strings.HasPrefix(f.Path, path) || strings.HasPrefix(path, f.Path))
			}) {
				t.Errorf("%s: %s at %s: got %v", url, about, path, r.Issues())
			}
		})
		if mutants < 5 {
			t.Errorf("%s: only %d mutants", url, mutants)
		}
	}
}

// changeProfiled goes through the elements of a profile that are in the object, takes those
// away that must be there, and changes those that are fixed.
func changeProfiled(e *definitions.Element, o map[string]any, path string, f func(about, path string)) {
	for _, c := range e.Children {
		for _, name := range slices.Sorted(maps.Keys(o)) {
			if child, _ := e.Child(name); child != c && !(c.Choice && strings.HasPrefix(name, c.Name)) {
				continue
			}
			at := path + "." + c.Name
			old := o[name]
			if c.Min > 0 || slices.ContainsFunc(c.Slices, func(s *definitions.Element) bool { return s.Min > 0 && len(c.Slices) == 1 }) {
				delete(o, name)
				f(name+" missing", at)
				o[name] = old
			}
			set := func(v any) { o[name] = v }
			if list, ok := old.([]any); ok {
				for i, item := range list {
					put := func(v any) { list[i] = v }
					changeValue(c, item, put, at+"["+strconv.Itoa(i)+"]", f)
				}
				continue
			}
			changeValue(c, old, set, at, f)
		}
	}
}

func changeValue(c *definitions.Element, v any, put func(any), path string, f func(about, path string)) {
	if c.Fixed != nil || c.Pattern != nil {
		switch v.(type) {
		case string:
			put("xyzzy")
			f(fmt.Sprint(c.Name, " changed"), path)
		case map[string]any:
			put(map[string]any{"text": "xyzzy"})
			f(fmt.Sprint(c.Name, " changed"), path)
		}
		put(v)
	}
	inner, ok := v.(map[string]any)
	if !ok {
		return
	}
	changeProfiled(c, inner, path, f)
	for _, s := range c.Slices {
		if s.Min > 0 && s.Max == 1 && len(c.Slices) == 1 {
			changeProfiled(s, inner, path, f)
		}
	}
}
