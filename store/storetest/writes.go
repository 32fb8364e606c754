package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

func testAtomic(t *testing.T, s store.Store) {
	write(t, s, put("there", device("text")), put("too", device("text")))
	taken := put("there", device("other"))
	taken.If.Absent = true
	broken := put("broken", `{"resourceType":"Device","note":[`)
	broken.Type = "Device"
	for name, failing := range map[string]store.Change{
		"a failed precondition": taken,
		"JSON that is broken":   broken,
		"another type":          {Key: key("Observation", "x"), JSON: []byte(`{"resourceType":"Device"}`)},
	} {
		t.Run(name, func(t *testing.T) {
			results, err := s.Write(t.Context(),
				put("n1", device("new")), put("n2", heartRate("p9", "2026-01-02", "1")), store.Change{Key: key("Device", "too"), Delete: true},
				failing, put("n3", device("new")))
			if err == nil || results != nil {
				t.Fatalf("got %+v %v, want an error alone", results, err)
			}
			for _, k := range []fhir.Key{key("Device", "n1"), key("Observation", "n2"), key("Device", "n3")} {
				if _, err := s.Read(t.Context(), k); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("%s: got %v, want not found", k, err)
				}
			}
			for _, id := range []string{"there", "too"} {
				if r, err := s.Read(t.Context(), key("Device", id)); err != nil || r.Version != "1" {
					t.Errorf("%s: got %+v %v, want version 1", id, r, err)
				}
			}
			if ids := find(t, s, "Observation?patient=p9"); len(ids) != 0 {
				t.Errorf("found %v", ids)
			}
		})
	}
}

func testTwice(t *testing.T, s store.Store) {
	if _, err := s.Write(t.Context(), put("a", device("1")), put("b", device("1")), put("a", device("2"))); err == nil {
		t.Error("two changes of one resource were accepted")
	}
	if _, err := s.Read(t.Context(), key("Device", "b")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	// The same id of another type is another resource.
	write(t, s, put("a", device("1")), put("a", heartRate("p1", "2026-01-02", "72")))
}

func testRefused(t *testing.T, s store.Store) {
	for name, c := range map[string]store.Change{
		"no type":           {Key: key("", "a"), JSON: []byte(`{"resourceType":"Device"}`)},
		"a type of nothing": {Key: key("De vice", "a"), JSON: []byte(`{"resourceType":"De vice"}`)},
		"no id":             {Key: key("Device", ""), JSON: []byte(`{"resourceType":"Device"}`)},
		"an id with a zero": {Key: key("Device", "a\x00b"), JSON: []byte(`{"resourceType":"Device"}`)},
		"a long id":         {Key: key("Device", strings.Repeat("a", 65)), JSON: []byte(`{"resourceType":"Device"}`)},
		"another type":      {Key: key("Device", "a"), JSON: []byte(`{"resourceType":"Observation","status":"final"}`)},
		"a hidden type":     {Key: key("Device", "a"), JSON: []byte(`{"status":"active","resourceType":"Observation"}`)},
		"no JSON":           {Key: key("Device", "a")},
		"half of JSON":      {Key: key("Device", "a"), JSON: []byte(`{"resourceType":"Device",`)},
		"an array":          {Key: key("Device", "a"), JSON: []byte(`[{"resourceType":"Device"}]`)},
		"a name twice":      {Key: key("Device", "a"), JSON: []byte(`{"resourceType":"Device","status":"active","status":"inactive"}`)},
	} {
		if _, err := s.Write(t.Context(), c); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if results, err := s.Write(t.Context()); err != nil || len(results) != 0 {
		t.Errorf("a write of nothing: got %v %v", results, err)
	}
}

func testOrder(t *testing.T, s store.Store) {
	write(t, s, put("c", device("c")), put("b", device("b")))
	results := write(t, s, put("d", device("d")), put("c", device("c")), store.Change{Key: key("Device", "b"), Delete: true}, put("a", device("a")))
	var got []string
	for _, r := range results {
		got = append(got, fmt.Sprint(r.ID, r.Version, r.Created, r.Unchanged, r.Deleted))
	}
	want := []string{"d1true false false", "c1false true false", "b2false false true", "a1true false false"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func testConditions(t *testing.T, s store.Store) {
	change := func(text, version string, absent bool) store.Change {
		c := put("a", device(text))
		c.If = store.Condition{Version: version, Absent: absent}
		return c
	}
	refused := func(c store.Change, current string) {
		t.Helper()
		_, err := s.Write(t.Context(), c)
		e, ok := errors.AsType[*store.ConflictError](err)
		if !ok || !errors.Is(err, store.ErrConflict) {
			t.Fatalf("got %v, want a conflict", err)
		}
		if e.Current != current || e.Key != key("Device", "a") || e.If != c.If {
			t.Errorf("got %+v, want the current version %q", e, current)
		}
	}
	remove := func(version string) store.Change {
		return store.Change{Key: key("Device", "a"), Delete: true, If: store.Condition{Version: version}}
	}
	refused(change("1", "1", false), "")
	refused(remove("1"), "")
	write(t, s, change("1", "", true))
	refused(change("2", "", true), "1")
	refused(change("2", "2", false), "1")
	refused(change("2", "01", false), "1")
	write(t, s, change("2", "1", false))
	refused(remove("1"), "2")
	write(t, s, remove("2"))
	refused(change("3", "3", false), "")
	refused(change("3", "2", false), "")
	if r := write(t, s, change("3", "", true))[0]; r.Version != "4" {
		t.Errorf("got version %s, want 4", r.Version)
	}
}
