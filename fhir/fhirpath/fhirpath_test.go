package fhirpath

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

func compile(t testing.TB, source string) *Expression {
	t.Helper()
	x, err := Compile(source)
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return x
}

const patient = `{"resourceType":"Patient","id":"p","active":true,"name":[{"family":"2020","given":["A",null],"_given":[null,{"extension":[{"url":"http://a","valueString":"x"}]}]}],` +
	`"birthDate":"1970-01-01","_gender":{"extension":[{"url":"http://a","valueCode":"unknown"}]},"contact":[{"name":{"text":"x"}}],"managingOrganization":{"reference":"Organization/o"},` +
	`"contained":[{"resourceType":"Practitioner","id":"c"}],"generalPractitioner":[{"reference":"#c"}],"multipleBirthInteger":2}`

func TestTruth(t *testing.T) {
	for _, c := range []struct {
		about, source string
		want          Truth
	}{
		{"an element that is there exists", "name.exists()", True},
		{"what is not there does not", "photo.exists()", False},
		{"nothing is no truth", "photo", None},
		{"one item is true", "birthDate", True},
		{"a primitive without a value but with an extension exists", "gender.exists()", True},
		{"and has its extension", "gender.extension('http://a').exists()", True},
		{"and counts among the values", "name.given.count() = 2", True},
		{"a text that looks like a date is a text", "name.family.matches('^20')", True},
		{"an element of a type that has a path of its own", "contact.all(name.text = 'x')", True},
		{"a choice is found by its bare name", "multipleBirth = 2", True},
		{"a name that begins like another is not taken for it", "multiple.exists()", False},
		{"a type that is a resource", "$this is DomainResource", True},
		{"a type that is none of it", "contact.first() is Patient", False},
		{"a reference names a type", "managingOrganization.resolve() is Organization", True},
		{"a reference inside is followed", "generalPractitioner.resolve().id = 'c'", True},
		{"descendants have their types", "descendants().where($this is HumanName).count() = 2", True},
		{"values that are equal are not distinct", "(name.family | name.family).isDistinct()", True},
		{"objects are equal in any order", "contact.name.subsetOf(%context.contact.name)", True},
		{"the code systems have names", "%ucum = 'http://unitsofmeasure.org'", True},
		{"a whole and a part of a text", "name.family.replaceMatches('20','') = ''", True},
	} {
		t.Run(c.about, func(t *testing.T) {
			got, err := compile(t, c.source).Truth(context.Background(), Input{Element: []byte(patient)})
			if err != nil || got != c.want {
				t.Errorf("%s: got %d, %v, want %d", c.source, got, err, c.want)
			}
		})
	}
}

func TestAnElementKnowsItsResource(t *testing.T) {
	in := Input{Element: []byte(`{"name":{"text":"x"}}`), Type: "Patient.contact", Resource: []byte(patient)}
	for source, want := range map[string]Truth{
		"%resource.id = 'p'":                        True,
		"%rootResource.id = 'p'":                    True,
		"%context.name.text = 'x'":                  True,
		"name is HumanName":                         True,
		"id = 'p'":                                  None,
		"name.all(%context.name.text = $this.text)": True,
	} {
		got, err := compile(t, source).Truth(context.Background(), in)
		if err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", source, got, err, want)
		}
	}
}

func TestValuesHaveTheirTypes(t *testing.T) {
	for source, want := range map[string]Value{
		"birthDate":           {Type: "Date", Text: "1970-01-01"},
		"contact.name":        {Type: "HumanName", JSON: []byte(`{"text":"x"}`)},
		"contact":             {Type: "Patient.contact", JSON: []byte(`{"name":{"text":"x"}}`)},
		"multipleBirth":       {Type: "Integer", Text: "2"},
		"active":              {Type: "Boolean", Text: "true"},
		"id":                  {Type: "id", Text: "p"},
		"name.first().family": {Type: "String", Text: "2020"},
	} {
		got, err := compile(t, source).Values(context.Background(), Input{Element: []byte(patient)})
		if err != nil || len(got) != 1 {
			t.Errorf("%s: got %v, %v", source, got, err)
			continue
		}
		if got[0].Type != want.Type || got[0].Text != want.Text || string(got[0].JSON) != string(want.JSON) {
			t.Errorf("%s: got %s %q %s", source, got[0].Type, got[0].Text, got[0].JSON)
		}
	}
}

func TestCompileRefusesWhatCannotBeEvaluated(t *testing.T) {
	for source, part := range map[string]string{
		"":                               "empty",
		"name.":                          "column",
		"name.repeat(given)":             "repeat is not supported",
		"now() > birthDate":              "now is not supported",
		"code.memberOf('x')":             "memberOf is not supported",
		"nonsense()":                     "nonsense is not supported",
		"%patient.id":                    "%patient is not known",
		"name.given.subsetOf(contact)":   "argument of subsetOf",
		strings.Repeat("(", 65) + "1":    "levels of brackets",
		strings.Repeat("a.", 5000) + "a": "bytes",
	} {
		if _, err := Compile(source); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%.40s: got %v, want %q", source, err, part)
		}
	}
}

func TestTracePrintsNothing(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stderr
	os.Stderr = w
	got, evalErr := compile(t, "name.family.trace('x') = '2020'").Truth(context.Background(), Input{Element: []byte(patient)})
	os.Stderr = old
	w.Close()
	printed, err := io.ReadAll(r)
	if err != nil || len(printed) > 0 || evalErr != nil || got != True {
		t.Errorf("printed %q: %d, %v", printed, got, evalErr)
	}
}

func TestErrorsHaveNoTextOfTheResource(t *testing.T) {
	secret := `{"resourceType":"Patient","name":[{"family":"Secret"},{"family":"Secret"}]}`
	for _, source := range []string{"name.family > 1", "name.family + 1", "name.family.single()", "name.first().family * 2", "name"} {
		_, err := compile(t, source).Truth(context.Background(), Input{Element: []byte(secret)})
		if !errors.Is(err, ErrFailed) || strings.Contains(err.Error(), "Secret") {
			t.Errorf("%s: got %v", source, err)
		}
	}
}

func TestAnEvaluationEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := compile(t, "name.where(family = 'x')").Truth(ctx, Input{Element: []byte(patient)}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestManyValuesTakeLinearTime(t *testing.T) {
	body := `{"resourceType":"Questionnaire","item":[{"linkId":"0"}`
	var b strings.Builder
	b.WriteString(body)
	for i := range 50_000 {
		b.WriteString(`,{"linkId":"`)
		b.WriteString(strings.Repeat("x", i%7+1))
		b.WriteString(`"}`)
	}
	b.WriteString(`]}`)
	start := time.Now()
	if got, err := compile(t, "descendants().linkId.isDistinct()").Truth(context.Background(), Input{Element: []byte(b.String())}); err != nil || got != False {
		t.Errorf("got %d, %v", got, err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestAnExpressionServesManyAtOnce(t *testing.T) {
	x := compile(t, "name.family.matches('^20') and gender.exists() and descendants().exists()")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				if got, err := x.Truth(context.Background(), Input{Element: []byte(patient)}); err != nil || got != True {
					t.Errorf("got %d, %v", got, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// FuzzExpression looks for expressions that make the package panic or repeat what is in
// the resource.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{"name.where(family = 'x').given.first()", "descendants().select($this.id) | %resource.id", "iif(active, 1, 'a' & 2) > @2020", "name[0].given.aggregate($total + 1, 0)", "(1 'mg' + 2) as Quantity", "name.family.replaceMatches('.', '\\\\')"} {
		f.Add(s, patient)
	}
	f.Fuzz(func(t *testing.T, source, body string) {
		x, err := Compile(source)
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if !valid(body) {
			body = patient
		}
		if _, err := x.Values(ctx, Input{Element: []byte(body)}); err != nil && strings.Contains(err.Error(), "1970") {
			t.Error(err)
		}
	})
}

func BenchmarkTruth(b *testing.B) {
	x := compile(b, "name.exists() and gender.exists()")
	b.ReportAllocs()
	for b.Loop() {
		if got, err := x.Truth(context.Background(), Input{Element: []byte(patient), Type: "Patient"}); err != nil || got != True {
			b.Fatal(got, err)
		}
	}
}

// valid reports whether a body is a JSON object, which is what Input demands.
func valid(body string) bool {
	v := jsontext.Value(body)
	return v.IsValid(jsontext.AllowDuplicateNames(true)) && strings.HasPrefix(body, "{")
}
