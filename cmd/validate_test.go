package cmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir/fhirtest"
)

func TestAReportShowsEveryFaultWhereItIs(t *testing.T) {
	for _, format := range []string{reportText, reportJSON, reportSARIF} {
		t.Run(format, func(t *testing.T) {
			code, out, stderr := kiln(t, "", "validate", "--format", format, "testdata/heart-rate.invalid.json")
			if code != ExitFailed || stderr != "error: 1 of 1 resources are not valid\n" {
				t.Errorf("got exit code %d, %s", code, stderr)
			}
			if format != reportText && !json.Valid([]byte(out)) {
				t.Errorf("not JSON: %s", out)
			}
			fhirtest.Golden(t, "testdata/heart-rate."+format+".txt", []byte(out))
		})
	}
}

func TestWhatTheAdaptersMakeIsValid(t *testing.T) {
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, d := range []demoPayload{demoMonitor(noon), demoCGM(noon), demoCuff(noon), demoScale(noon)} {
		args := []string{"convert", "--adapter", d.origin.Adapter, "--format", "ndjson", "--patient", "urn:x|1"}
		if d.origin.Zone != "" {
			args = append(args, "--zone", d.origin.Zone)
		}
		if d.origin.Adapter == "ihepcd" {
			args = []string{"convert", "--format", "ndjson"} // it names its patient itself
		}
		code, out, stderr := kiln(t, string(d.body), append(args, "-")...)
		if code != ExitOK {
			t.Errorf("%s: %s", d.origin.Adapter, stderr)
			continue
		}
		file := filepath.Join(t.TempDir(), "resources.ndjson")
		if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, report, _ := kiln(t, "", "validate", file); code != ExitOK || strings.Count(report, ": valid\n") != strings.Count(out, "\n") {
			t.Errorf("%s: %s", d.origin.Adapter, report)
		}
	}
}

func TestValidateSaysWhatItWasNotAsked(t *testing.T) {
	const valid = `{"resourceType":"Patient","gender":"female"}`
	const mmHg = `{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":120,"system":"http://unitsofmeasure.org","code":"mmHg"}}`
	for _, test := range []struct {
		name, in string
		args     []string
		code     int
		out      string
	}{
		{"a valid resource", valid, []string{"-"}, ExitOK, "-: Patient: valid\n"},
		{"no JSON", "<Patient/>", []string{"-"}, ExitFailed, "-: no resource: "},
		{"an unknown profile", valid, []string{"--profile", "http://nowhere.example/p", "-"}, ExitUsage, ""},
		{"an unknown level", valid, []string{"--level", "deep", "-"}, ExitUsage, ""},
		{"an unknown format", valid, []string{"--format", "csv", "-"}, ExitUsage, ""},
		{"an unknown second opinion", valid, []string{"--with", "bing", "-"}, ExitUsage, ""},
		{"no file", "", []string{"nowhere.json"}, ExitNoRun, ""},
		{"a device rule", mmHg, []string{"-"}, ExitFailed, "error: kiln-ucum: the code is no unit of UCUM, from character 1 on (code-invalid)\n  --> -:1:141  Observation.value.code\n"},
		{"a device rule as JSON", mmHg, []string{"--format", "json", "-"}, ExitFailed, `"rule": "kiln-ucum"`},
		{"a device rule as SARIF", mmHg, []string{"--format", "sarif", "-"}, ExitFailed, `"ruleId": "kiln-ucum"`},
		{"without the device rule", mmHg, []string{"--without", "kiln-mdc,kiln-ucum", "-"}, ExitOK, "-: Observation: valid\n"},
		{"without a device rule that does not exist", mmHg, []string{"--without", "kiln-ucmu", "-"}, ExitUsage, ""},
		{"the rules", "", []string{"--list-rules"}, ExitOK, "kiln-mdc (warning): "},
		{"the rules as JSON", "", []string{"--list-rules", "--format", "json"}, ExitOK, `"id": "kiln-udi"`},
		{"the rules as SARIF", "", []string{"--list-rules", "--format", "sarif"}, ExitUsage, ""},
		{"the rules and a file", valid, []string{"--list-rules", "-"}, ExitUsage, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, out, stderr := kiln(t, test.in, append([]string{"validate"}, test.args...)...)
			if code != test.code || !strings.Contains(out, test.out) {
				t.Errorf("got exit code %d, %s%s", code, out, stderr)
			}
		})
	}
}

func TestAFrameShowsAPlaceInALongLine(t *testing.T) {
	long := strings.Repeat("x", 500) + "é!" + strings.Repeat("y", 500)
	text := frame{What: "w", File: "f", Line: 1, Column: 503, Text: long}.String()
	lines := strings.Split(text, "\n")
	if len(lines) != 5 {
		t.Fatalf("got %q", text)
	}
	caret := strings.Index(lines[4], "^")
	if shown := []rune(lines[3]); len(shown) > widest+10 || shown[caret] != '!' {
		t.Errorf("the caret is not below its place:\n%s", text)
	}
}
