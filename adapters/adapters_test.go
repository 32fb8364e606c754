package adapters_test

import (
	"encoding/json"
	"strings"
	"testing"

	obpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"

	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/fhir"
)

// named is an adapter of which only the name and what it recognises matter.
type named struct{ name, begins string }

func (n named) Manifest() adapters.Manifest { return adapters.Manifest{Name: n.name} }
func (n named) Convert(adapters.Payload) (adapters.Conversion, error) {
	return adapters.Conversion{}, nil
}
func (n named) Detect(p adapters.Payload) bool { return strings.HasPrefix(string(p.Body), n.begins) }

func TestARegistryRefusesWhatItCouldNotTellApart(t *testing.T) {
	for name, test := range map[string]struct {
		list []adapters.Adapter
		want string
	}{
		"two of one name":          {[]adapters.Adapter{named{"acme", ""}, named{"acme", ""}}, `adapters: two adapters are called "acme"`},
		"no manifest":              {[]adapters.Adapter{named{"", ""}}, `has no valid adapter.yaml: name is ""`},
		"a name that is no URL":    {[]adapters.Adapter{named{"acme/bp7", ""}}, `name is "acme/bp7"`},
		"a name that is uppercase": {[]adapters.Adapter{named{"ACME", ""}}, `name is "ACME"`},
	} {
		if _, err := adapters.NewRegistry(test.list...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
}

func TestAPayloadIsDetectedByExactlyOneAdapter(t *testing.T) {
	r, err := adapters.NewRegistry(named{"zeta", "Z"}, named{"alpha", "A"}, named{"alphabet", "AB"})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.All()[0].Manifest().Name; got != "alpha" {
		t.Errorf("the first by name is %s", got)
	}
	for _, test := range []struct {
		body, name, refusal string
	}{
		{"Z…", "zeta", ""},
		{"A…", "alpha", ""},
		{"AB…", "", "more than one adapter recognises the payload; fix: name the adapter, one of alpha, alphabet"},
		{"?", "", "no adapter recognises the payload; fix: name the adapter, one of alpha, alphabet, zeta"},
	} {
		a, err := r.Detect(adapters.Payload{Body: []byte(test.body)})
		switch {
		case test.refusal != "":
			if err == nil || err.Error() != test.refusal {
				t.Errorf("%s: got error %v, want %s", test.body, err, test.refusal)
			}
		case err != nil || a.Manifest().Name != test.name:
			t.Errorf("%s: got %v, %v, want %s", test.body, a, err, test.name)
		}
	}
}

func reading(same string) *obpb.Observation {
	device := fhir.NewDevice(fhir.DeviceSpec{Serial: "1"})
	return fhir.Reading{Code: fhir.Concept("x"), Device: device, Subject: fhir.Subject{Device: device}, Same: []string{same}}.Observation()
}

func TestAConversionMustAddUp(t *testing.T) {
	for name, test := range map[string]struct {
		make func(c *adapters.Conversion)
		want string
	}{
		"all rows accounted for": {func(c *adapters.Conversion) { c.Rows, c.Mapped = 1, 1 }, ""},
		"a skipped row counts": {func(c *adapters.Conversion) {
			c.Rows = 1
			c.Skip(fhir.Information, fhir.CodeInformational, "row 1", "", "a setting")
		}, ""},
		"a row that is lost": {func(c *adapters.Conversion) { c.Rows = 2; c.Mapped = 1 }, "2 rows, but 1 mapped and 0 skipped"},
		"two readings with one id": {func(c *adapters.Conversion) {
			c.Observations = []*obpb.Observation{reading("a"), reading("a")}
		}, "what tells them apart is missing in Reading.Same"},
		"two readings that differ": {func(c *adapters.Conversion) {
			c.Observations = []*obpb.Observation{reading("a"), reading("b")}
		}, ""},
	} {
		var c adapters.Conversion
		test.make(&c)
		err := c.Check()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestDevicesAndPatientsAreThereOnce(t *testing.T) {
	var c adapters.Conversion
	who := fhir.Identifier{System: "urn:x", Value: "1"}
	c.AddPatient(fhir.Identifier{})
	c.AddPatient(who)
	c.AddPatient(who)
	c.AddDevice(fhir.NewDevice(fhir.DeviceSpec{Serial: "1"}))
	c.AddDevice(fhir.NewDevice(fhir.DeviceSpec{Serial: "1"}))
	if len(c.Patients) != 1 || len(c.Devices) != 1 {
		t.Errorf("got %d patients and %d devices", len(c.Patients), len(c.Devices))
	}
}

func TestABundleWithAnOddIdentifierIsStillJSON(t *testing.T) {
	c := adapters.Conversion{Patients: []fhir.Identifier{{System: `urn:x"y`, Value: "a&b c|\\d\n"}}}
	b, err := c.Bundle()
	if err == nil && !json.Valid(b) {
		t.Errorf("not JSON: %s", b)
	}
	var empty adapters.Conversion
	if b, err := empty.Bundle(); err != nil || !json.Valid(b) {
		t.Errorf("an empty conversion gives %s, %v", b, err)
	}
}

func TestAManifestSaysWhatIsWrongWithIt(t *testing.T) {
	const right = `
name: acme-bp7
version: 1.0.0
title: Acme cuff
description: A cuff.
vendors: [Acme]
devices: [BP-7]
mediaTypes: [application/json]
row: measurement
time: explicit offset
patient: from the source
`
	if _, err := adapters.ParseManifest([]byte(right)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ from, to, want string }{
		{"name: acme-bp7", "name: Acme BP7", "adapter.yaml: name: want lower-case letters, digits and dashes, as in acme-bp7"},
		{"version: 1.0.0", "version: one", "adapter.yaml: version: want a version such as 1.0.0"},
		{"vendors: [Acme]", "vendor: [Acme]", "line 6: field vendor not found"},
		{"title: Acme cuff", "", "adapter.yaml: title: want a value"},
		{"application/json", "JSON", "adapter.yaml: mediaTypes[0]: want a media type such as text/csv"},
		{"row: measurement", "row: measurement\nstandards: [nowhere]", "adapter.yaml: standards[0]: want a URL"},
	} {
		_, err := adapters.ParseManifest([]byte(strings.Replace(right, test.from, test.to, 1)))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.to, err, test.want)
		}
	}
}
