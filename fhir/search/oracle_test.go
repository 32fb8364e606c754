package search

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/kiln-health/kiln/fhir/fhirpath"
	"github.com/kiln-health/kiln/fhir/fhirtest"
)

// oracle are the terms of one parameter, by evaluating its expression and converting what
// it finds in the most direct way.
type oracle struct {
	param   Param
	found   map[string]bool
	instant bool // the engine has no type for it
}

func (o *oracle) add(format string, args ...any) { o.found[fmt.Sprintf(format, args...)] = true }

func (o *oracle) code(c any) string {
	s, _ := c.(string)
	if !o.param.CaseSensitive {
		return strings.ToLower(s)
	}
	return s
}

func str(m map[string]any, name string) string { s, _ := m[name].(string); return s }

func objects(v any) (all []map[string]any) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			all = append(all, objects(item)...)
		}
	case map[string]any:
		all = append(all, v)
	}
	return all
}

func (o *oracle) token(m map[string]any, system, code string) {
	if str(m, system) != "" || str(m, code) != "" {
		o.add("token %s|%s", str(m, system), o.code(m[code]))
	}
}

func (o *oracle) label(text string) {
	if text != "" {
		o.add("text %s", text)
	}
}

func instants(text string) (low, high time.Time, ok bool) {
	for _, f := range []struct {
		layout              string
		years, months, days int
		width               time.Duration
	}{
		{"2006", 1, 0, 0, 0}, {"2006-01", 0, 1, 0, 0}, {"2006-01-02", 0, 0, 1, 0}, {time.RFC3339, 0, 0, 0, time.Second}, {"2006-01-02T15:04:05", 0, 0, 0, time.Second},
	} {
		if t, err := time.Parse(f.layout, text); err == nil {
			width := f.width
			if strings.Contains(text, ".") {
				width = 1
			}
			return t.UTC(), t.AddDate(f.years, f.months, f.days).Add(width).UTC(), true
		}
	}
	return low, high, false
}

func (o *oracle) interval(low, high time.Time) {
	show := func(t time.Time) string {
		if t.IsZero() {
			return "open"
		}
		return t.Format(time.RFC3339Nano)
	}
	o.add("date %s to %s", show(low), show(high))
}

func startAndEnd(m map[string]any) (low, high time.Time) {
	low, _, _ = instants(str(m, "start"))
	_, high, _ = instants(str(m, "end"))
	return low, high
}

func exact(v any) string {
	n, ok := v.(json.Number)
	if !ok {
		return "open"
	}
	r, _ := new(big.Rat).SetString(n.String())
	return r.RatString()
}

func (o *oracle) measure(low, high any, system, code, unit string) {
	if o.param.Type == NumberParam {
		system, code, unit = "", "", ""
	}
	o.add("quantity %s to %s %s|%s|%s", exact(low), exact(high), system, code, unit)
}

func (o *oracle) literal(text, version string) {
	text, _, _ = strings.Cut(text, "/_history/")
	if kind, id, ok := strings.Cut(text, "/"); ok && !strings.Contains(id, "/") && !strings.Contains(kind, ":") {
		o.add("reference %s/%s", kind, id)
	} else if text != "" {
		o.add("reference url %s|%s", text, version)
	}
}

// value converts what the expression found.
func (o *oracle) value(v fhirpath.Value) {
	var m map[string]any
	if v.JSON != nil {
		d := json.NewDecoder(bytes.NewReader(v.JSON))
		d.UseNumber()
		_ = d.Decode(&m)
	}
	if str(m, "url") != "" && strings.Contains(o.param.Expression, "extension(") {
		for name, value := range m {
			if typ, ok := strings.CutPrefix(name, "value"); ok {
				raw, _ := json.Marshal(value)
				next := fhirpath.Value{Type: typ}
				if raw[0] == '{' {
					next.JSON = raw
				} else {
					next.Type, next.Text = strings.ToLower(typ[:1])+typ[1:], strings.Trim(string(raw), `"`)
				}
				o.value(next)
			}
		}
		return
	}
	switch o.param.Type {
	case TokenParam:
		o.tokens(v, m)
	case StringParam:
		switch v.Type {
		case "HumanName", "Address":
			for name, part := range m {
				if slices.Contains([]string{"use", "period", "type", "id", "extension"}, name) || name[0] == '_' {
					continue
				}
				items, ok := part.([]any)
				if !ok {
					items = []any{part}
				}
				for _, item := range items {
					o.add("string %v", item)
				}
			}
		case "CodeableConcept":
			o.add("string %s", str(m, "text"))
			for _, c := range objects(m["coding"]) {
				o.add("string %s", str(c, "display"))
			}
			delete(o.found, "string ")
		default:
			o.add("string %s", v.Text)
		}
	case URIParam:
		o.add("uri %s", v.Text)
	case ReferenceParam:
		if m == nil {
			text, version := v.Text, ""
			if v.Type == "canonical" {
				text, version, _ = strings.Cut(text, "|")
			}
			o.literal(text, version)
			return
		}
		identifier, _ := m["identifier"].(map[string]any)
		if str(identifier, "system")+str(identifier, "value") != "" {
			o.add("logical %s|%s", str(identifier, "system"), str(identifier, "value"))
		}
		o.literal(str(m, "reference"), "")
	case DateParam:
		switch v.Type {
		case "Period":
			if low, high := startAndEnd(m); !low.IsZero() || !high.IsZero() {
				o.interval(low, high)
			}
		case "Timing":
			var outer []time.Time
			events, _ := m["event"].([]any)
			for _, e := range events {
				low, high, _ := instants(e.(string))
				outer = append(outer, low, high)
			}
			repeat, _ := m["repeat"].(map[string]any)
			if bounds, ok := repeat["boundsPeriod"].(map[string]any); ok {
				low, high := startAndEnd(bounds)
				outer = append(outer, low, high)
			}
			if len(outer) > 0 {
				slices.SortFunc(outer, time.Time.Compare)
				o.interval(outer[0], outer[len(outer)-1])
			}
		case "String": // "last Tuesday", which may look like a date
		default:
			low, high, ok := instants(v.Text)
			if o.instant {
				high = low.Add(1)
			}
			if ok {
				o.interval(low, high)
			}
		}
	case QuantityParam, NumberParam:
		switch {
		case m == nil:
			o.measure(json.Number(v.Text), json.Number(v.Text), "", "", "")
		case v.Type == "Money":
			o.measure(m["value"], m["value"], "urn:iso:std:iso:4217", str(m, "currency"), "")
		case v.Type == "Range":
			low, _ := m["low"].(map[string]any)
			high, _ := m["high"].(map[string]any)
			of := low
			if of == nil {
				of = high
			}
			o.measure(low["value"], high["value"], str(of, "system"), str(of, "code"), str(of, "unit"))
		case v.Type == "SampledData":
			o.add("samples")
		default:
			low, high := m["value"], m["value"]
			switch str(m, "comparator") {
			case "<", "<=":
				low = nil
			case ">", ">=":
				high = nil
			}
			if m["value"] != nil {
				o.measure(low, high, str(m, "system"), str(m, "code"), str(m, "unit"))
			}
		}
	}
}

func (o *oracle) tokens(v fhirpath.Value, m map[string]any) {
	switch v.Type {
	case "CodeableConcept":
		for _, c := range objects(m["coding"]) {
			o.token(c, "system", "code")
			o.label(str(c, "display"))
		}
		o.label(str(m, "text"))
	case "Coding":
		o.token(m, "system", "code")
		o.label(str(m, "display"))
	case "Identifier":
		o.token(m, "system", "value")
		for _, of := range objects(m["type"]) {
			o.label(str(of, "text"))
			for _, c := range objects(of["coding"]) {
				if str(m, "value") != "" {
					o.add("of-type %s|%s|%s", str(c, "system"), o.code(str(c, "code")), o.code(str(m, "value")))
				}
			}
		}
	case "ContactPoint":
		o.token(m, "", "value")
	default:
		if m == nil {
			o.add("token |%s", o.code(v.Text))
		}
	}
}

// written are the terms of a parameter in the words of the oracle.
func written(p Param, t *Terms) map[string]bool {
	o := oracle{param: p, found: map[string]bool{}}
	for _, v := range t.Tokens {
		switch v.Param {
		case p.Name:
			o.add("token %s|%s", v.System, v.Code)
		case p.Name + ":of-type":
			o.add("of-type %s|%s", v.System, v.Code)
		}
	}
	for _, v := range t.Strings {
		switch v.Param {
		case p.Name:
			o.add("string %s", v.Text)
		case p.Name + ":text":
			o.add("text %s", v.Text)
		}
	}
	for _, v := range t.URIs {
		if v.Param == p.Name {
			o.add("uri %s", v.Value)
		}
	}
	for _, v := range t.References {
		if v.Param != p.Name {
			continue
		}
		if v.IdentifierSystem+v.IdentifierValue != "" {
			o.add("logical %s|%s", v.IdentifierSystem, v.IdentifierValue)
		}
		if v.ID != "" {
			o.add("reference %s/%s", v.Type, v.ID)
		}
		if v.URL != "" {
			o.add("reference url %s|%s", v.URL, v.Version)
		}
	}
	for _, v := range t.Dates {
		if v.Param == p.Name {
			o.interval(v.Low, v.High)
		}
	}
	for _, v := range t.Quantities {
		if v.Param != p.Name {
			continue
		}
		var low, high any
		if v.Low != nil {
			low = json.Number(v.Low.Text('f'))
		}
		if v.High != nil {
			high = json.Number(v.High.Text('f'))
		}
		o.measure(low, high, v.System, v.Code, v.Unit)
	}
	return o.found
}

// evaluated are the expressions of the oracle.
type evaluated struct {
	*fhirpath.Expression
	points string // the type that references must point at
}

// expressions are those parts of an expression that are about the type. The engine cannot
// fetch what a reference points at: that part is done without it.
func expressions(t *testing.T, resourceType, expression string) (all []evaluated) {
	t.Helper()
	for part := range strings.SplitSeq(expression, " | ") {
		if resourceType != "" && !strings.Contains(part, resourceType+".") && !strings.Contains(part, "Resource.") && part != resourceType {
			continue
		}
		e := evaluated{}
		if before, after, ok := strings.Cut(part, ".where(resolve() is "); ok {
			part, e.points = before, strings.TrimSuffix(after, ")")
		}
		compiled, err := fhirpath.Compile(part)
		if err != nil {
			t.Fatalf("%s: %v", part, err)
		}
		e.Expression = compiled
		all = append(all, e)
	}
	return all
}

func pointsAt(v fhirpath.Value, of string) bool {
	var r struct{ Reference, Type string }
	_ = json.Unmarshal(v.JSON, &r)
	parts := strings.Split(strings.Split(r.Reference, "/_history/")[0], "/")
	if len(parts) > 1 && !strings.HasPrefix(r.Reference, "urn:") {
		return parts[len(parts)-2] == of
	}
	return r.Type == of
}

// differences are where the terms of an official example are not those of the expression as
// the oracle reads it.
var differences = map[string]string{
	"Observation-decimal.json combo-value-quantity":     "a number of 200 digits is no term: exact arithmetic has limits",
	"Observation-decimal.json component-value-quantity": "a number of 200 digits is no term: exact arithmetic has limits",
}

// tuples are those of a composite, as texts: what each component finds in each of the
// elements that the composite is about.
func tuples(t *testing.T, resourceType string, p Param, body []byte, compile func(string) []evaluated) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, e := range compile(p.Expression) {
		about, err := e.Values(t.Context(), fhirpath.Input{Element: body})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range about {
			var parts []string
			for _, c := range p.Components {
				declared, _ := R4().Lookup(resourceType, c.Name)
				declared.Expression = c.Expression
				o := oracle{param: declared, found: map[string]bool{}}
				for _, e := range compile(c.Expression) {
					values, err := e.Values(t.Context(), fhirpath.Input{Element: a.JSON, Type: a.Type, Resource: body})
					if err != nil {
						t.Fatal(err)
					}
					for _, v := range values {
						o.value(v)
					}
				}
				parts = append(parts, inWords(o.found))
			}
			if !slices.Contains(parts, "") {
				all[strings.Join(parts, " & ")] = true
			}
		}
	}
	return all
}

// inWords are the terms without what only modifiers look at, as one text.
func inWords(found map[string]bool) string {
	var all []string
	for _, term := range slices.Sorted(maps.Keys(found)) {
		if !strings.HasPrefix(term, "text ") && !strings.HasPrefix(term, "of-type ") {
			all = append(all, term)
		}
	}
	return strings.Join(all, ", ")
}

func writtenTuples(p Param, t *Terms) map[string]bool {
	all := map[string]bool{}
	for _, tuple := range t.Tuples {
		if tuple.Param != p.Name {
			continue
		}
		var parts []string
		for i := range tuple.Parts {
			parts = append(parts, inWords(written(p.Components[i], &tuple.Parts[i])))
		}
		all[strings.Join(parts, " & ")] = true
	}
	return all
}

func TestTheTermsOfTheOfficialExamplesAreThoseOfTheExpressions(t *testing.T) {
	fhirtest.Long(t)
	files, err := filepath.Glob(filepath.Join(fhirtest.Shared(t), "fhir", "r4", "examples", "*", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	// All 5,306 examples of R4, if they are there: see .ci/run.
	if dir := os.Getenv("KILN_FHIR_EXAMPLES"); dir != "" {
		more, err := filepath.Glob(filepath.Join(dir, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	compiled := map[string][]evaluated{}
	compared, terms, composites := 0, 0, 0
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var r struct{ ResourceType string }
		if err := json.Unmarshal(body, &r); err != nil {
			t.Fatal(err)
		}
		if r.ResourceType == "" { // the package has files of its own
			continue
		}
		var compact bytes.Buffer
		_ = json.Compact(&compact, body)
		found, err := R4().Extract(r.ResourceType, body)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range R4().Of(r.ResourceType) {
			if p.Name == "_id" || p.Name == "_lastUpdated" {
				continue
			}
			if p.Type == CompositeParam {
				want := tuples(t, r.ResourceType, p, compact.Bytes(), func(expression string) []evaluated {
					of := r.ResourceType
					if expression != p.Expression {
						of = ""
					}
					key := of + "/" + expression
					if compiled[key] == nil {
						compiled[key] = expressions(t, of, expression)
					}
					return compiled[key]
				})
				composites += len(want)
				if got := writtenTuples(p, &found); !maps.Equal(got, want) {
					t.Errorf("%s %s (-oracle +tuples):\n%s", filepath.Base(file), p.Name, gocmp.Diff(want, got))
				}
				continue
			}
			key := r.ResourceType + "." + p.Name
			if compiled[key] == nil {
				compiled[key] = expressions(t, r.ResourceType, p.Expression)
			}
			o := oracle{param: p, found: map[string]bool{}}
			row, _ := R4().lookup(r.ResourceType, p.Name)
			o.instant = row.only(instant)
			for _, e := range compiled[key] {
				values, err := e.Values(t.Context(), fhirpath.Input{Element: compact.Bytes()})
				if err != nil {
					t.Errorf("%s: %s: %v", filepath.Base(file), key, err)
				}
				for _, v := range values {
					if e.points == "" || pointsAt(v, e.points) {
						o.value(v)
					}
				}
			}
			if compared++; o.found["samples"] {
				continue
			}
			terms += len(o.found)
			got := written(p, &found)
			if maps.Equal(got, o.found) == (differences[filepath.Base(file)+" "+p.Name] != "") {
				t.Errorf("%s %s (-oracle +terms):\n%s", filepath.Base(file), p.Name, gocmp.Diff(o.found, got))
			}
		}
	}
	t.Logf("%d parameters of %d examples, %d terms, %d tuples", compared, len(files), terms, composites)
}
