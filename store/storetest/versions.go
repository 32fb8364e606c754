package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

func testRead(t *testing.T, s store.Store) {
	before := time.Now().Add(-time.Minute)
	result := write(t, s, put("a", heartRate("p1", "2026-01-02T03:04:05Z", "72")))[0]
	if !result.Created || result.Unchanged || result.Version != "1" || result.Deleted {
		t.Errorf("got %+v of a first version", result)
	}
	read, err := s.Read(t.Context(), key("Observation", "a"))
	if err != nil {
		t.Fatal(err)
	}
	if !same(read, result.Resource) {
		t.Errorf("got %+v, but the write said %+v", read, result.Resource)
	}
	if at := read.LastUpdated; at.Location() != time.UTC || at != at.Truncate(time.Millisecond) || at.Before(before) || at.After(time.Now().Add(time.Minute)) {
		t.Errorf("lastUpdated is %v: want now, in UTC and whole milliseconds", at)
	}
	want, err := fhir.Stamp(put("a", heartRate("p1", "2026-01-02T03:04:05Z", "72")).JSON, "Observation", "a", "1", read.LastUpdated)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read.JSON, want) {
		t.Errorf("got %s\nwant %s", read.JSON, want)
	}
	// The type is part of the key.
	write(t, s, put("a", device("same id")))
	if r, err := s.Read(t.Context(), key("Observation", "a")); err != nil || !same(r, read) {
		t.Errorf("a device of the same id changed the observation: %+v %v", r, err)
	}
}

func testVersions(t *testing.T, s store.Store) {
	var written []fhir.Resource
	for i := range 12 { // two digits: versions are numbers, not text
		r := write(t, s, put("a", device(fmt.Sprint("text ", i))))[0]
		if want := fmt.Sprint(i + 1); r.Version != want || r.Created != (i == 0) || r.Unchanged {
			t.Fatalf("got version %s, created %v, unchanged %v: want version %s", r.Version, r.Created, r.Unchanged, want)
		}
		if i > 0 && r.LastUpdated.Before(written[i-1].LastUpdated) {
			t.Errorf("version %s is older than the one before", r.Version)
		}
		written = append(written, r.Resource)
	}
	for _, want := range written {
		got, err := s.Read(t.Context(), want.Key)
		if err != nil || !same(got, want) {
			t.Errorf("version %s: got %+v %v", want.Version, got, err)
		}
	}
	for _, version := range []string{"0", "13", "01", "+1", "1.0", "x", "-1", " 1", "18446744073709551616"} {
		if r, err := s.Read(t.Context(), fhir.Key{Type: "Device", ID: "a", Version: version}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("version %q: got %+v %v, want not found", version, r, err)
		}
	}
}

func testUnchanged(t *testing.T, s store.Store) {
	first := write(t, s, put("a", device("text")))[0]
	again := write(t, s, put("a", device("text")))[0]
	if !again.Unchanged || again.Created || !same(again.Resource, first.Resource) {
		t.Errorf("got %+v of the same content", again)
	}
	// What the store sets does not count as content.
	stamped := store.Change{Key: first.Key, JSON: first.JSON}
	if r := write(t, s, stamped)[0]; !r.Unchanged {
		t.Errorf("got %+v of what was read and written back", r)
	}
	old := store.Change{Key: key("Device", "a"), JSON: []byte(`{"resourceType":"Device","id":"b","meta":{"versionId":"7","lastUpdated":"2001-01-01T00:00:00Z"},"note":[{"text":"text"}]}`)}
	if r := write(t, s, old)[0]; !r.Unchanged {
		t.Errorf("got %+v of content with another id, version and time", r)
	}
	// With another change in the same write, what is the same stays.
	results := write(t, s, put("a", device("text")), put("b", device("text")))
	if !results[0].Unchanged || results[0].Version != "1" || results[1].Unchanged || !results[1].Created {
		t.Errorf("got %+v", results)
	}
	// A precondition is checked all the same.
	c := put("a", device("text"))
	c.If.Version = "2"
	if _, err := s.Write(t.Context(), c); !errors.Is(err, store.ErrConflict) {
		t.Errorf("got %v, want a conflict", err)
	}
	if page, err := s.History(t.Context(), store.HistoryQuery{Type: "Device", ID: "a"}); err != nil || len(page.Resources) != 1 {
		t.Errorf("got %+v %v, want a history of one version", page, err)
	}
}

func testDelete(t *testing.T, s store.Store) {
	first := write(t, s, put("a", heartRate("p1", "2026-01-02", "72")))[0]
	remove := store.Change{Key: key("Observation", "a"), Delete: true}
	gone := write(t, s, remove)[0]
	if gone.Version != "2" || !gone.Deleted || gone.Created || gone.Unchanged || gone.JSON != nil {
		t.Errorf("got %+v of a deletion", gone)
	}
	for _, version := range []string{"", "2"} {
		_, err := s.Read(t.Context(), fhir.Key{Type: "Observation", ID: "a", Version: version})
		e, ok := errors.AsType[*store.GoneError](err)
		if !ok || !errors.Is(err, store.ErrGone) || e.Resource.Version != "2" || !e.Resource.Deleted || !e.Resource.LastUpdated.Equal(gone.LastUpdated) {
			t.Errorf("version %q: got %v, want gone with version 2", version, err)
		}
	}
	if got, err := s.Read(t.Context(), fhir.Key{Type: "Observation", ID: "a", Version: "1"}); err != nil || !same(got, first.Resource) {
		t.Errorf("the version before the deletion: got %+v %v", got, err)
	}
	if ids := find(t, s, "Observation?patient=p1"); len(ids) != 0 {
		t.Errorf("the deleted is found: %v", ids)
	}
	if again := write(t, s, remove)[0]; !again.Unchanged || again.Version != "2" || !again.Deleted {
		t.Errorf("got %+v of a second deletion", again)
	}
	if never := write(t, s, store.Change{Key: key("Observation", "never"), Delete: true})[0]; !never.Unchanged || never.Version != "" || !never.Deleted {
		t.Errorf("got %+v of the deletion of what never was", never)
	}
	if _, err := s.Read(t.Context(), key("Observation", "never")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	back := write(t, s, put("a", heartRate("p1", "2026-01-02", "72")))[0]
	if back.Version != "3" || !back.Created || back.Unchanged {
		t.Errorf("got %+v of what came back with the content it had", back)
	}
	if ids := find(t, s, "Observation?patient=p1"); !slices.Equal(ids, []string{"a"}) {
		t.Errorf("got %v of what came back", ids)
	}
}

func testNotFound(t *testing.T, s store.Store) {
	write(t, s, put("a", device("text")))
	for _, k := range []fhir.Key{
		key("Device", "b"), key("Observation", "a"), key("Device", "A"), key("", "a"),
		key("Device", "a/b"), key("Device", "a\x00"), key("Device", strings.Repeat("a", 65)), key("Device", "ä"), key("device", "a"),
	} {
		if _, err := s.Read(t.Context(), k); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%q %q: got %v, want not found", k.Type, k.ID, err)
		}
		if _, err := s.History(t.Context(), store.HistoryQuery{Type: k.Type, ID: k.ID}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("history of %q %q: got %v, want not found", k.Type, k.ID, err)
		}
	}
	if _, err := s.Read(t.Context(), key("Device", "")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no id: got %v, want not found", err)
	}
}
