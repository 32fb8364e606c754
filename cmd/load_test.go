package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/validate"
	"github.com/kiln-health/kiln/store"
)

var newYear = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func mustWard(t testing.TB, patients, observations int64, seed uint64, until time.Time) *ward {
	t.Helper()
	w, err := newWard(patients, observations, seed, until)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// all are the observations of a ward.
func (w *ward) all(t testing.TB) []store.Change {
	t.Helper()
	var all []store.Change
	if err := w.each(func(c store.Change) error { all = append(all, c); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestALoadHasExactlyTheObservationsThatWereAskedFor(t *testing.T) {
	for _, test := range []struct{ patients, observations int64 }{
		{1, 1}, {1, 4729}, {1, 4730}, {1, 10_000}, {7, 12_345}, {100, 1}, {100, 9_999}, {2000, 3000}, {2, 2 * 4729}, {3, 4729*3 - 1},
	} {
		w := mustWard(t, test.patients, test.observations, 1, newYear)
		ids := map[string]bool{}
		for _, c := range w.all(t) {
			ids[c.ID] = true
		}
		if int64(len(ids)) != test.observations {
			t.Errorf("%d observations of %d patients: got %d different ones", test.observations, test.patients, len(ids))
		}
	}
}

func TestALoadIsTheSameEveryTimeAndGrowsIntoThePast(t *testing.T) {
	content := func(all []store.Change) map[string]string {
		m := map[string]string{}
		for _, c := range all {
			m[c.ID] = string(c.JSON)
		}
		return m
	}
	small := mustWard(t, 12, 3_000, 7, newYear).all(t)
	again := mustWard(t, 12, 3_000, 7, newYear).all(t)
	if !slices.EqualFunc(small, again, func(a, b store.Change) bool { return a.Key == b.Key && bytes.Equal(a.JSON, b.JSON) }) {
		t.Error("the same options give other observations")
	}
	large := content(mustWard(t, 12, 9_000, 7, newYear).all(t))
	for id, body := range content(small) {
		if large[id] != body {
			t.Fatalf("a larger load lacks or changes\n%s", body)
		}
	}
	// A later end keeps what there was, too: an id is of an instant.
	later := content(mustWard(t, 12, 16_000, 7, newYear.Add(6*time.Hour)).all(t))
	common := 0
	for id, body := range content(small) {
		if later[id] != "" {
			common++
			if later[id] != body {
				t.Fatalf("got\n%s\nfor\n%s", later[id], body)
			}
		}
	}
	if common == 0 {
		t.Error("no reading is the same hours later")
	}
	for id := range content(mustWard(t, 12, 3_000, 8, newYear).all(t)) {
		if large[id] != "" {
			t.Fatal("another seed gives the same patients")
		}
	}
}

// TestALoadIsWhatAnAdapterWouldHaveMade compares the quick templates with the constructors.
func TestALoadIsWhatAnAdapterWouldHaveMade(t *testing.T) {
	for _, until := range []time.Time{newYear, time.Date(2026, 3, 29, 3, 30, 17, 0, time.FixedZone("", 2*3600))} {
		w := mustWard(t, 3, 40_000, 3, until)
		g := generator{ward: w}
		for p := range int64(3) {
			b := w.bed(p)
			for n, template := range w.templates {
				for minute := range int64(61) {
					got := g.reading(template, n, &b, minute)
					at := until.Add(-time.Duration(minute)*time.Minute - time.Duration(b.second)*time.Second)
					level := mix(b.random + uint64(n))
					values := template.values(level, mix(level^uint64(at.Unix()/60)), at.Unix()/60)
					var texts []string
					for i := range template.parts() {
						text := fmt.Sprint(values[i])
						if d := template.decimals; d > 0 {
							text = text[:len(text)-d] + "." + text[len(text)-d:]
						}
						texts = append(texts, text)
					}
					body, err := fhir.Encode(template.observation(fhir.Reading{
						Subject: fhir.Subject{Patient: loadPatient(b.number)}, Device: fhir.NewDevice(w.device(template.device, p)), At: fhir.DateTime(at, fhir.Second),
					}, texts))
					if err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(got.JSON, body) {
						t.Fatalf("got\n%s\nwant\n%s", got.JSON, body)
					}
					if _, id, _, err := fhir.Parse(got.JSON); err != nil || id != got.ID {
						t.Fatalf("the id is %s, but the change is of %s: %v", id, got.ID, err)
					}
				}
			}
		}
	}
}

func TestEverythingThatIsLoadedIsValid(t *testing.T) {
	w := mustWard(t, 5, 5*5_000, 1, newYear)
	var sample []store.Change
	seen := 0
	if err := w.each(func(c store.Change) error {
		if seen++; seen%20 == 0 || bytes.Contains(c.JSON, []byte("bodyweight")) {
			sample = append(sample, c)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := w.people(func(c store.Change) error { sample = append(sample, c); return nil }); err != nil {
		t.Fatal(err)
	}
	profiles := map[string]int{}
	for _, c := range sample {
		r := validate.Resource(c.JSON, &validate.Options{Level: validate.Profiles})
		if !r.Valid() || len(r.Found) > 0 {
			t.Fatalf("%s\n%+v", c.JSON, r.Found)
		}
		_, profile, _ := strings.Cut(string(c.JSON), "StructureDefinition/")
		profile, _, _ = strings.Cut(profile, `"`)
		profiles[c.Type+" "+profile]++
	}
	for _, want := range []string{"Observation heartrate", "Observation oxygensat", "Observation resprate", "Observation bp", "Observation bodytemp", "Observation bodyweight", "Patient ", "Device "} {
		if profiles[want] == 0 {
			t.Errorf("there is no %s: %v", want, profiles)
		}
	}
}

func TestValuesDriftAndDoNotJump(t *testing.T) {
	for _, v := range vitals() {
		low, high := int64(1<<40), int64(0)
		var last int64
		for minute := range int64(3000) {
			at := minute * v.every
			got := v.values(mix(1), mix(uint64(at)), at)
			if minute > 0 && max(got[0]-last, last-got[0]) > 2*v.course.noise+4*v.course.swing*v.every/v.course.period+2 {
				t.Errorf("%s: %d follows %d", v.text, got[0], last)
			}
			last, low, high = got[0], min(low, got[0]), max(high, got[0])
			if v.parts() == 3 && (got[1] >= got[2] || got[2] >= got[0]) {
				t.Errorf("%s: systolic, diastolic and mean are %v", v.text, got)
			}
		}
		if low == high || low < v.course.low || high > v.course.high {
			t.Errorf("%s: from %d to %d", v.text, low, high)
		}
	}
}

func TestALoadThatIsRepeatedMakesNoNewVersion(t *testing.T) {
	into := "embedded:" + t.TempDir()
	load := func(want string) {
		t.Helper()
		code, out, stderr := kiln(t, "", "load", "--patients", "4", "--observations", "3000", "--batch", "100", "--store", into)
		if code != ExitOK || !strings.Contains(out, want) {
			t.Fatalf("got exit code %d, want %q in\n%s%s", code, want, out, stderr)
		}
	}
	load("3013 resources created, 0 updated, 0 unchanged")
	load("0 resources created, 0 updated, 3013 unchanged")
}

func TestALoadThatCannotBeIsRefused(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "--patients: want 1 to 10000000"},
		{[]string{"--patients", "1"}, "--observations: want 1 to"},
		{[]string{"--patients", "1", "--observations", "99999999999"}, "the readings would go back to before 1900: take more patients"},
		{[]string{"--patients", "1", "--observations", "1", "--batch", "0"}, "--batch: want 1 to 10000"},
		{[]string{"--patients", "1", "--observations", "1", "--writers", "1000"}, "--writers: want 1 to 256"},
		{[]string{"--patients", "1", "--observations", "1", "--until", "today"}, "--until: want a time of the years 2000 to 9998"},
	} {
		if code, _, stderr := kiln(t, "", append([]string{"load"}, test.args...)...); code != ExitUsage || !strings.Contains(stderr, test.want) {
			t.Errorf("load %v: got exit code %d and %q, want %q", test.args, code, stderr, test.want)
		}
	}
}

// Run with: go test -tags nomsgpack -run - -bench Load ./cmd
func BenchmarkLoadReadings(b *testing.B) {
	w := mustWard(b, 1000, 1_000_000_000, 1, newYear)
	enough := errors.New("enough")
	n, size := 0, 0
	b.ReportAllocs()
	if err := w.each(func(c store.Change) error {
		size += len(c.JSON)
		if n++; n >= b.N {
			return enough
		}
		return nil
	}); !errors.Is(err, enough) {
		b.Fatal(err)
	}
	b.SetBytes(int64(size / n))
}
