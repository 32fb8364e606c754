// Package adaptertest is the test that every adapter must pass. An adapter's own test
// is one call of Run; the cases are files.
package adaptertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/fhir/go/fhirversion"
	"github.com/google/fhir/go/jsonformat"
	"go.yaml.in/yaml/v3"

	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/adapters/when"
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/fhir/validate"
)

// received is when the payload of a case came in, unless the case says otherwise.
var received = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// Run tests the adapter in the current folder: README.md and adapter.yaml are there,
// and each testdata/NAME.input converts to testdata/NAME.fhir.json (the transaction
// bundle) and testdata/NAME.outcome.json (skipped rows, warnings or the error, where
// there are any). testdata/NAME.yaml, which is optional, states the source of the
// case: mediaType, received, zone, patient, patients, patientSystem.
//
// Every conversion must account for all rows, repeat to the byte, and be valid FHIR for our
// validator, with the profiles that it claims, and for one that is not ours; a payload cut
// off anywhere must not panic.
func Run(t *testing.T, a adapters.Adapter) {
	t.Helper()
	m := a.Manifest()
	file, err := os.ReadFile("adapter.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := adapters.ParseManifest(file); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("README.md"); err != nil {
		t.Errorf("adapter %s has no README.md", m.Name)
	}
	inputs, err := filepath.Glob("testdata/*.input")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no testdata/*.input (%v)", err)
	}
	for _, input := range inputs {
		name := strings.TrimSuffix(input, ".input")
		t.Run(filepath.Base(name), func(t *testing.T) {
			p := Load(t, input)
			bundle, outcome := convert(t, a, p)
			golden(t, name+".fhir.json", bundle)
			golden(t, name+".outcome.json", outcome)
			again, _ := convert(t, a, p)
			if !bytes.Equal(bundle, again) {
				t.Error("a second conversion of the same payload differs from the first")
			}
			cut(t, a, p)
		})
	}
}

// Load reads a case: testdata/NAME.input with the source of testdata/NAME.yaml.
func Load(t testing.TB, input string) adapters.Payload {
	t.Helper()
	body, err := os.ReadFile(input)
	if err != nil {
		t.Fatal(err)
	}
	p := adapters.Payload{Body: body, Received: received}
	settings, err := os.ReadFile(strings.TrimSuffix(input, ".input") + ".yaml")
	if errors.Is(err, fs.ErrNotExist) {
		return p
	}
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		MediaType     string            `yaml:"mediaType"`
		Received      time.Time         `yaml:"received"`
		Zone          string            `yaml:"zone"`
		Patient       string            `yaml:"patient"`
		Patients      map[string]string `yaml:"patients"`
		PatientSystem string            `yaml:"patientSystem"`
	}
	d := yaml.NewDecoder(bytes.NewReader(settings))
	d.KnownFields(true)
	if err := d.Decode(&s); err != nil {
		t.Fatalf("%s: %v", input, err)
	}
	p.MediaType, p.Source.PatientSystem = s.MediaType, s.PatientSystem
	if !s.Received.IsZero() {
		p.Received = s.Received
	}
	identify := func(text string) fhir.Identifier {
		i, err := fhir.ParseIdentifier(text)
		if err != nil {
			t.Fatalf("%s: %v", input, err)
		}
		return i
	}
	if s.Zone != "" {
		if p.Source.Zone, err = when.ParseZone(s.Zone); err != nil {
			t.Fatalf("%s: %v", input, err)
		}
	}
	if s.Patient != "" {
		p.Source.Patient = identify(s.Patient)
	}
	for id, text := range s.Patients {
		if p.Source.Patients == nil {
			p.Source.Patients = map[string]fhir.Identifier{}
		}
		p.Source.Patients[id] = identify(text)
	}
	return p
}

// Accept converts p and fails the test unless the conversion adds up and is valid FHIR.
// An error of the adapter is returned.
func Accept(t testing.TB, a adapters.Adapter, p adapters.Payload) (adapters.Conversion, error) {
	t.Helper()
	c, err := a.Convert(p)
	if err != nil {
		for _, i := range fhir.IssuesOf(err) {
			if i.Message == "" || i.Code == "" {
				t.Errorf("an error without message or code: %+v", i)
			}
		}
		return c, err
	}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	resources, err := c.Resources()
	if err != nil {
		t.Fatal(err)
	}
	google, err := jsonformat.NewUnmarshaller("UTC", fhirversion.R4)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range resources {
		if _, err := google.Unmarshal(r.JSON); err != nil {
			t.Errorf("%s is not valid FHIR: %v\n%s", r.Key, err, r.JSON)
		}
		found := validate.Resource(r.JSON, nil)
		for _, i := range found.Issues() {
			if i.Severity == fhir.SevError || i.Severity == fhir.Fatal {
				t.Errorf("%s is not valid: %v\n%s", r.Key, i, r.JSON)
			}
		}
	}
	return c, nil
}

func convert(t *testing.T, a adapters.Adapter, p adapters.Payload) (bundle, outcome []byte) {
	t.Helper()
	c, err := Accept(t, a, p)
	if err != nil {
		return nil, indent(t, fhir.OperationOutcome(fhir.IssuesOf(err)...))
	}
	b, err := c.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	if issues := append(c.Skipped, c.Warnings...); len(issues) > 0 {
		outcome = indent(t, fhir.OperationOutcome(issues...))
	}
	return indent(t, b), outcome
}

// golden compares with a file that must not be there when there is nothing to compare.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if got != nil {
		fhirtest.Golden(t, file, got)
		return
	}
	if _, err := os.Stat(file); err == nil {
		t.Errorf("%s is there, but the conversion gives none; remove it", file)
	}
}

func indent(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, b)
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// Survive is what every payload must be survived with, whatever is in it: no panic, an
// error that is an *fhir.Error, or a conversion that adds up and can be written. Fuzz
// tests call it.
func Survive(t testing.TB, a adapters.Adapter, p adapters.Payload) {
	t.Helper()
	if d, ok := a.(adapters.Detector); ok {
		d.Detect(p)
	}
	c, err := a.Convert(p)
	if err != nil {
		if _, ok := errors.AsType[*fhir.Error](err); !ok {
			t.Errorf("%T is no *fhir.Error", err)
		}
		return
	}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	if _, err := c.Resources(); err != nil {
		t.Error(err)
	}
}

// cut converts beginnings of the payload: up to 300 of them, spread over its length.
func cut(t *testing.T, a adapters.Adapter, p adapters.Payload) {
	t.Helper()
	body := p.Body
	step := max(1, len(body)/300)
	for n := 0; n < len(body); n += step {
		p.Body = body[:n:n]
		failed := t.Failed()
		Survive(t, a, p)
		if t.Failed() && !failed {
			t.Fatalf("cut off after %d bytes", n)
		}
	}
}
