package fhir_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/fhir/go/fhirversion"
	"github.com/google/fhir/go/jsonformat"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
)

// jsonValue parses JSON and keeps the text of numbers.
func jsonValue(t rapid.TB, b []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, b)
	}
	if d.More() {
		t.Fatalf("more than one value: %s", b)
	}
	return v
}

// sameText is equality, but for the whitespace in base64, which jsonformat restores.
var sameText = cmp.Comparer(func(a, b string) bool {
	if a == b {
		return true
	}
	a, b = strings.ReplaceAll(a, " ", ""), strings.ReplaceAll(b, " ", "")
	_, err := base64.StdEncoding.DecodeString(a)
	return a == b && err == nil
})

func TestEncodeAgreesWithJsonformatOnTheOfficialExamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(fhirtest.Shared(t), "fhir", "r4", "examples", "*", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	unmarshaller, err := jsonformat.NewUnmarshallerWithoutValidation("UTC", fhirversion.R4)
	if err != nil {
		t.Fatal(err)
	}
	marshaller, err := jsonformat.NewMarshaller(false, "", "", fhirversion.R4)
	if err != nil {
		t.Fatal(err)
	}
	compared, bytesEqual := map[string]int{}, 0
	for _, file := range files {
		kind := filepath.Base(filepath.Dir(file))
		input, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		resource, err := unmarshaller.Unmarshal(input)
		if err != nil {
			t.Logf("%s: skipped, for jsonformat cannot read it: %.200s", filepath.Base(file), err)
			continue
		}
		before := proto.Clone(resource)
		got, err := fhir.Encode(resource)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if !proto.Equal(before, resource) {
			t.Errorf("%s: Encode changed the message", file)
		}
		want, err := marshaller.Marshal(resource) // changes the message
		if err != nil {
			t.Errorf("%s: jsonformat: %v", file, err)
			continue
		}
		if a, b := jsonValue(t, want), jsonValue(t, got); !reflect.DeepEqual(a, b) {
			if diff := cmp.Diff(a, b, sameText); diff != "" {
				t.Errorf("%s (-jsonformat +ours):\n%s", file, diff)
			}
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, input); err == nil && bytes.Equal(compact.Bytes(), got) {
			bytesEqual++
		}
		compared[kind]++
	}
	total := 0
	for _, n := range compared {
		total += n
	}
	for _, kind := range strings.Fields("Observation Device Patient DeviceMetric Provenance") {
		if compared[kind] == 0 {
			t.Errorf("no example of %s was compared", kind)
		}
	}
	t.Logf("%d of %d examples of %d types compared, %d byte for byte like the example", total, len(files), len(compared), bytesEqual)
}
