package store

import (
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

func TestAChangeThatNoStoreCouldApplyIsRefused(t *testing.T) {
	device := Change{Key: fhir.Key{Type: "Device", ID: "a"}}
	for name, test := range map[string]struct {
		second Change
		want   string // "" is no error
	}{
		"another resource":                  {Change{Key: fhir.Key{Type: "Device", ID: "b"}}, ""},
		"the same id of another type":       {Change{Key: fhir.Key{Type: "Patient", ID: "a"}}, ""},
		"the same resource":                 {device, "a Device is changed twice"},
		"the same resource by a version":    {Change{Key: fhir.Key{Type: "Device", ID: "a", Version: "2"}}, "a Device is changed twice"},
		"a type that is none":               {Change{Key: fhir.Key{Type: "mrn 4711", ID: "a"}}, "not the name of a type"},
		"an id that is none":                {Change{Key: fhir.Key{Type: "Device", ID: "mrn 4711"}}, "the id is not"},
		"JSON of another type, which is it": {Change{Key: fhir.Key{Type: "Device", ID: "b"}, JSON: []byte(`{"resourceType":"Patient"}`)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			refuses(t, CheckChanges([]Change{device, test.second}), test.want)
		})
	}
	if err := CheckChanges(nil); err != nil {
		t.Errorf("no changes: %v", err)
	}
}

func TestAChangeOfAnotherTypeThanItsJSONIsRefused(t *testing.T) {
	for json, want := range map[string]string{
		`{"resourceType":"Device"}`:                    "",
		`{"status":"active","resourceType":"Device"}`:  "",
		`{"resourceType":"DeviceMetric"}`:              "not of the type",
		`{"status":"active","resourceType":"Patient"}`: "not of the type",
		`{"resourceType":"Dev`:                         "Device: ",
		`[]`:                                           "Device: ",
		``:                                             "Device: ",
	} {
		c := Change{Key: fhir.Key{Type: "Device", ID: "a"}, JSON: []byte(json)}
		t.Run(json, func(t *testing.T) { refuses(t, c.CheckType(), want) })
	}
}

func TestTermsCountThatTheParametersOfTheStoreHaveFound(t *testing.T) {
	opened := search.R4()
	other, err := opened.With(search.Custom{Name: "mark", Type: search.StringParam, Bases: []string{"Device"}, Expression: "Device.lotNumber"})
	if err != nil {
		t.Fatal(err)
	}
	terms := &search.Terms{}
	for name, test := range map[string]struct {
		change Change
		by     *search.Parameters
		want   bool
	}{
		"none":                                   {Change{}, opened, false},
		"of no parameters, as opened":            {Change{Terms: terms}, opened, true},
		"of no parameters, by others since":      {Change{Terms: terms}, other, false},
		"of the parameters":                      {Change{Terms: terms, Parameters: other}, other, true},
		"of those of Open, by others since":      {Change{Terms: terms, Parameters: opened}, other, false},
		"of others, by those of Open":            {Change{Terms: terms, Parameters: other}, opened, false},
		"the right parameters and no terms have": {Change{Parameters: opened}, opened, false},
	} {
		if got := test.change.HasTerms(test.by, opened); got != test.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

// refuses checks an error by a part of its text, "" for none, and that it shows no value.
func refuses(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("got %v, want no error", err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("got %v, want %q", err, want)
	}
	if strings.Contains(err.Error(), "4711") {
		t.Errorf("the error shows what it must not: %v", err)
	}
}
