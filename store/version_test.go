package store

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
)

func TestVersionsAreReadAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "13": 13, "9223372036854775807": 9223372036854775807,
		"": 0, "0": 0, "01": 0, "+1": 0, "-1": 0, "1.0": 0, " 1": 0, "x": 0, "9223372036854775808": 0,
	} {
		n, ok := ParseVersion(text)
		if ok != (want > 0) || ok && n != want {
			t.Errorf("%q: got %d, %t", text, n, ok)
		}
	}
}

func TestAVersionToImportIsAsAStoreWouldHaveWrittenIt(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		change func(r *fhir.Resource)
		want   string
	}{
		"as it is":                  {func(*fhir.Resource) {}, ""},
		"a deletion":                {func(r *fhir.Resource) { r.Deleted, r.JSON = true, nil }, ""},
		"in another zone":           {func(r *fhir.Resource) { r.LastUpdated = at.In(time.FixedZone("", 3600)) }, ""},
		"a type that is none":       {func(r *fhir.Resource) { r.Type = "mrn 4711" }, "not the name of a type"},
		"an id that is none":        {func(r *fhir.Resource) { r.ID = "mrn 4711" }, "the id is not"},
		"version 0":                 {func(r *fhir.Resource) { r.Version = "0" }, "number from 1 on"},
		"a version with a 0 before": {func(r *fhir.Resource) { r.Version = "03" }, "number from 1 on"},
		"microseconds":              {func(r *fhir.Resource) { r.LastUpdated = at.Add(time.Microsecond) }, "whole milliseconds"},
		"the year 10000":            {func(r *fhir.Resource) { r.LastUpdated = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "whole milliseconds"},
		"a deletion with content":   {func(r *fhir.Resource) { r.Deleted = true }, "has content all the same"},
		"no content":                {func(r *fhir.Resource) { r.JSON = nil }, "not a JSON object"},
		"JSON of another id":        {func(r *fhir.Resource) { r.ID = "b" }, "does not carry"},
		"JSON of another type":      {func(r *fhir.Resource) { r.Type = "Patient" }, "does not carry"},
		"JSON of another version":   {func(r *fhir.Resource) { r.Version = "4" }, "does not carry"},
		"JSON of another time":      {func(r *fhir.Resource) { r.LastUpdated = at.Add(time.Second) }, "does not carry"},
		"JSON with a space":         {func(r *fhir.Resource) { r.JSON = append([]byte(" "), r.JSON...) }, "does not carry"},
		"JSON that ends early":      {func(r *fhir.Resource) { r.JSON = r.JSON[:len(r.JSON)-2] }, "stamp"},
	} {
		t.Run(name, func(t *testing.T) {
			json, err := fhir.Stamp([]byte(`{"resourceType":"Device","status":"active"}`), "Device", "a", "3", at)
			if err != nil {
				t.Fatal(err)
			}
			r := fhir.Resource{Key: fhir.Key{Type: "Device", ID: "a", Version: "3"}, LastUpdated: at, JSON: json}
			test.change(&r)
			refuses(t, CheckImported(&r), test.want)
		})
	}
}

func TestAnImportIsDoneInStepsOfSomeBytesAndVersions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := make([]fhir.Resource, rapid.IntRange(0, 12).Draw(t, "versions"))
		for i := range all {
			all[i].JSON = bytes.Repeat([]byte("x"), rapid.IntRange(0, 5).Draw(t, "bytes"))
		}
		most, count := rapid.IntRange(1, 12).Draw(t, "most bytes"), rapid.IntRange(1, 6).Draw(t, "most versions")
		sum := func(some []fhir.Resource) (n int) {
			for i := range some {
				n += len(some[i].JSON)
			}
			return n
		}
		for len(all) > 0 {
			n := ImportStep(all, most, count)
			if n < 1 || n > count || n > 1 && sum(all[:n]) > most {
				t.Fatalf("a step of %d versions, %d bytes", n, sum(all[:n]))
			}
			if n < len(all) && n < count && sum(all[:n+1]) <= most {
				t.Fatalf("a step of %d versions, %d bytes has place for another", n, sum(all[:n]))
			}
			all = all[n:]
		}
	})
	if n := ImportStep(nil, 1, 1); n != 0 {
		t.Errorf("a step of nothing has %d", n)
	}
}
