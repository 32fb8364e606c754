package search

import "testing"

func TestAQueryIsRefusedThatTheParametersDoNotKnow(t *testing.T) {
	more, err := R4().With(Custom{Name: "lot", Type: StringParam, Bases: []string{"Device"}, Expression: "Device.lotNumber"})
	if err != nil {
		t.Fatal(err)
	}
	parse := func(of, text string) Query {
		pairs, err := Pairs(text)
		if err != nil {
			t.Fatal(err)
		}
		q, _, err := more.Parse(of, pairs, Options{Handling: Strict})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return q
	}
	code := parse("Observation", "code=x")
	code.Where[0].Param.Type = StringParam
	for name, test := range map[string]struct {
		q    Query
		want bool // R4 knows it
	}{
		"no condition":                           {parse("Device", ""), true},
		"parameters of R4":                       {parse("Observation", "code=x&patient.name=y&_id=z&_lastUpdated=gt2020"), true},
		"a chain back":                           {parse("Patient", "_has:Observation:patient:code=x"), true},
		"a parameter that is new":                {parse("Device", "lot=x"), false},
		"a new one at the end of a chain":        {parse("Observation", "device:Device.lot=x"), false},
		"a new one at the end of a chain back":   {parse("Patient", "_has:Device:patient:lot=x"), false},
		"a new one among others":                 {Query{Type: "Device", Where: []Clause{{Any: []Clause{parse("Device", "status=active").Where[0], parse("Device", "lot=x").Where[0]}}}}, false},
		"a parameter that had another type":      {code, false},
		"a type that is not searched":            {Query{Type: "Quantity"}, false},
		"a link to a type that is not searched":  {Query{Type: "Device", Where: []Clause{{Chain: []Query{{Type: "Quantity"}}}}}, false},
		"a type that is not searched, backwards": {Query{Type: "Device", Where: []Clause{{Has: &Has{Query: Query{Type: "Quantity"}}}}}, false},
	} {
		if err := R4().Knows(test.q); (err == nil) != test.want {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := more.Knows(parse("Observation", "device:Device.lot=x")); err != nil {
		t.Errorf("the new parameter is not known to its own set: %v", err)
	}
}

func TestTheTypeOfAParameter(t *testing.T) {
	for _, test := range []struct {
		of, name string
		want     ParamType
	}{
		{"Observation", "date", DateParam}, {"Observation", "code", TokenParam}, {"Observation", "nothing", ""}, {"Quantity", "code", ""}, {"", "", ""},
	} {
		if got := R4().TypeOf(test.of, test.name); got != test.want {
			t.Errorf("%s of %q: got %q, want %q", test.name, test.of, got, test.want)
		}
	}
	if !R4().Searches("Observation") || R4().Searches("Quantity") || R4().Searches("") {
		t.Error("resources are searched that are none, or not those that are")
	}
}
