package xmlformat_test

import (
	"bytes"
	stdjson "encoding/json"
	stdxml "encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/fhir/xmlformat"
)

// jsonValue parses JSON and keeps the text of numbers.
func jsonValue(t testing.TB, b []byte) any {
	t.Helper()
	d := stdjson.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, b)
	}
	return v
}

// roundTrip makes XML of JSON and JSON of that, and checks what must hold for any resource. It returns both.
func roundTrip(t testing.TB, json []byte) (inXML, inJSON []byte) {
	t.Helper()
	inXML, err := xmlformat.FromJSON(json)
	if err != nil {
		t.Fatalf("FromJSON: %v", err)
	}
	inJSON, err = xmlformat.ToJSON(inXML)
	if err != nil {
		t.Fatalf("ToJSON: %v\n%s", err, inXML)
	}
	if diff := cmp.Diff(jsonValue(t, json), jsonValue(t, inJSON)); diff != "" {
		t.Errorf("the values changed (-before +after):\n%s", diff)
	}
	if _, _, compact, err := fhir.Parse(inJSON); err != nil || !bytes.Equal(compact, inJSON) {
		t.Errorf("fhir.Parse does not keep what ToJSON made: %v", err)
	}
	again, err := xmlformat.FromJSON(inJSON)
	if err != nil || !bytes.Equal(again, inXML) {
		t.Errorf("the XML of the JSON of the XML is another one: %v", err)
	}
	checkOrder(t, inXML)
	return inXML, inJSON
}

// checkOrder reads XML with encoding/xml and checks against the definitions that each element is
// one of those around it, and that they are in order.
func checkOrder(t testing.TB, document []byte) {
	t.Helper()
	type level struct {
		element *definitions.Element // nil in XHTML
		place   int                  // of the last child
		holds   bool                 // a resource
	}
	var open []level
	d := stdxml.NewDecoder(bytes.NewReader(document))
	for {
		token, err := d.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatalf("encoding/xml: %v", err)
		}
		switch token := token.(type) {
		case stdxml.EndElement:
			open = open[:len(open)-1]
		case stdxml.StartElement:
			name := token.Name.Local
			if len(open) == 0 || open[len(open)-1].holds {
				if token.Name.Space != "http://hl7.org/fhir" || !definitions.IsResource(name) {
					t.Fatalf("<%s> in the namespace %q where a resource belongs", name, token.Name.Space)
				}
				s, _ := definitions.ForType(name)
				open = append(open, level{element: s.Root()})
				continue
			}
			around := &open[len(open)-1]
			if around.element == nil {
				open = append(open, level{})
				continue
			}
			child, place, of := childOf(around.element, name)
			if child == nil {
				t.Fatalf("<%s> is no element of %s", name, around.element.Path())
			}
			if place < around.place || place == around.place && !child.List {
				t.Fatalf("<%s> is not in the order of %s", name, around.element.Path())
			}
			around.place = place
			inside := level{holds: of == "Resource"}
			if space := "http://hl7.org/fhir"; of != "xhtml" && !inside.holds {
				if token.Name.Space != space {
					t.Fatalf("<%s> is in the namespace %q", name, token.Name.Space)
				}
				switch inside.element = child; {
				case child.Content != nil:
					inside.element = child.Content
				case len(child.Children) == 0:
					s, _ := definitions.ForType(of)
					inside.element = s.Root()
				}
			}
			open = append(open, inside)
		}
	}
}

// childOf is the child of e that JSON and XML call name, its place from 1, and its type.
func childOf(e *definitions.Element, name string) (child *definitions.Element, place int, of string) {
	child, typ := e.Child(name)
	for i, c := range e.Children {
		if c == child {
			place = i + 1
		}
	}
	if typ != nil {
		of = typ.Code
	}
	return child, place, of
}

func TestOfficialExamplesKeepTheirValues(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(fhirtest.Shared(t), "fhir", "r4", "examples", "*", "*.json"))
	if err != nil || len(files) < 700 {
		t.Fatalf("%d examples: %v", len(files), err)
	}
	same := 0
	for _, file := range files {
		json, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, got := roundTrip(t, json)
			if _, _, compact, err := fhir.Parse(json); err == nil && bytes.Equal(compact, got) {
				same++
			}
		})
	}
	t.Logf("%d examples, %d of them byte for byte", len(files), same)
}

func TestResourcesOfAdaptersKeepTheirBytes(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "adapters", "*", "testdata", "*.fhir.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files of adapters: %v", err)
	}
	for _, file := range files {
		json, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Join(filepath.Base(filepath.Dir(filepath.Dir(file))), filepath.Base(file)), func(t *testing.T) {
			_, _, want, err := fhir.Parse(json)
			if err != nil {
				t.Fatal(err)
			}
			if _, got := roundTrip(t, json); !bytes.Equal(got, want) {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
		})
	}
}

// The patch suite of HL7 has resources in XML that others wrote by hand.
func TestResourcesOfThePatchSuiteAreRead(t *testing.T) {
	suite, err := os.ReadFile(filepath.Join(fhirtest.Shared(t), "suites", "patch", "fhir-patch-tests.xml"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for rest := suite; ; n++ {
		start := bytes.Index(rest, []byte(` xmlns="http://hl7.org/fhir"`))
		if start < 0 {
			break
		}
		start = bytes.LastIndexByte(rest[:start], '<')
		name, _, _ := bytes.Cut(rest[start+1:], []byte(" "))
		end := []byte("</" + string(name) + ">")
		length := bytes.Index(rest[start:], end) + len(end)
		json, err := xmlformat.ToJSON(rest[start : start+length])
		if err != nil {
			t.Fatalf("%v\n%s", err, rest[start:start+length])
		}
		roundTrip(t, json)
		rest = rest[start+length:]
	}
	if n < 50 {
		t.Errorf("%d resources only", n)
	}
}

// Every element of every resource and data type, with every type that it may have, is the same in both forms.
func TestEveryElementOfR4HasBothForms(t *testing.T) {
	n := 0
	check := func(json string) {
		n++
		inXML, got := roundTrip(t, []byte(json))
		if string(got) != json {
			t.Errorf("\n got %s\nwant %s\n xml %s", got, json, inXML)
		}
	}
	for _, name := range definitions.ResourceTypes() {
		s, _ := definitions.ForType(name)
		each(s.Root(), "", `{"resourceType":"`+name+`"`, "}", check)
	}
	extension, _ := definitions.ForType("Extension")
	open, _ := extension.Root().Child("valueString")
	for _, typ := range open.Types {
		if s, _ := definitions.ForType(typ.Code); s.Kind == definitions.DataType {
			each(s.Root(), "", `{"resourceType":"Basic","extension":[{"value`+definitions.JSONType(typ.Code)+`":{`, "}}]}", check)
		}
	}
	if n < 7500 {
		t.Errorf("%d elements only", n)
	}
}

// each calls f with a resource for each element below e, before and behind which the text of the resource is.
func each(e *definitions.Element, seen, before, behind string, f func(json string)) {
	for _, c := range e.Children {
		if c.Max == 0 || c.Attribute && c.Name == "id" {
			continue
		}
		for _, typ := range append(c.Types[:len(c.Types):len(c.Types)], definitions.Type{}) {
			name, open, end := c.Name, ":", ""
			if c.Choice {
				name += definitions.JSONType(typ.Code)
			}
			if c.List {
				open, end = ":[", "]"
			}
			start := before + `,"` + name + `"` + open
			if strings.HasSuffix(before, "{") {
				start = before + `"` + name + `"` + open
			}
			inner := c
			if c.Content != nil {
				inner = c.Content
			}
			switch {
			case typ.Code == "" && c.Content == nil:
			case len(inner.Children) > 0:
				// Elements that contain themselves are followed twice.
				if path := inner.Path(); strings.Count(seen, path+",") < 2 {
					each(inner, seen+path+",", start+"{", "}"+end+behind, f)
				}
			case value(typ.Code) != "":
				f(start + value(typ.Code) + end + behind)
			default:
				f(start + sample(typ.Code) + end + behind)
			}
		}
	}
}

// value is a value of a primitive type, "" if the type is none.
func value(typeName string) string {
	switch typeName {
	case "Resource":
		return `{"resourceType":"Patient","active":true}`
	case "boolean":
		return "true"
	case "integer", "positiveInt", "unsignedInt":
		return "7"
	case "decimal":
		return "7.50"
	case "xhtml":
		return `"<div xmlns=\"http://www.w3.org/1999/xhtml\">a</div>"`
	}
	if s, ok := definitions.ForType(typeName); ok && s.Kind == definitions.Primitive {
		return `"a"`
	}
	return ""
}

// sample is an object of a data type with its first element that has a value in JSON.
func sample(typeName string) string {
	s, _ := definitions.ForType(typeName)
	for _, c := range s.Root().Children {
		if c.Name == "id" || c.Name == "extension" || c.Name == "modifierExtension" || c.Choice || len(c.Types) == 0 {
			continue
		}
		v := value(c.Types[0].Code)
		if v == "" && len(c.Children) == 0 {
			v = sample(c.Types[0].Code)
		}
		if v == "" {
			continue
		}
		if c.List {
			v = "[" + v + "]"
		}
		return fmt.Sprintf(`{"%s":%s}`, c.Name, v)
	}
	return ""
}
