package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

// identified is a Device with identifiers.
func identified(id string, values ...string) store.Change {
	var list []string
	for _, v := range values {
		list = append(list, fmt.Sprintf(`{"system":"urn:example:serial","value":%q}`, v))
	}
	return put(id, `{"resourceType":"Device","identifier":[`+strings.Join(list, ",")+`]}`)
}

// unless is c on the condition that a search finds nothing.
func unless(t testing.TB, c store.Change, query string) store.Change {
	t.Helper()
	q := parse(t, query)
	c.If.None = &q
	return c
}

func unlessSerial(t testing.TB, c store.Change, value string) store.Change {
	t.Helper()
	return unless(t, c, "Device?identifier=urn:example:serial|"+value)
}

// matched checks that a write fails because of a condition, and what was found.
func matched(t *testing.T, s store.Store, change int, want []string, changes ...store.Change) {
	t.Helper()
	results, err := s.Write(t.Context(), changes...)
	e, ok := errors.AsType[*store.MatchedError](err)
	if !ok || !errors.Is(err, store.ErrMatched) || results != nil {
		t.Errorf("got %+v %v, want a match", results, err)
		return
	}
	found := map[string]bool{}
	for _, r := range e.Matches {
		found[r.ID] = true
		if len(r.JSON) == 0 || r.Version == "" {
			t.Errorf("got the match %+v without its content", r)
		}
	}
	if e.Change != change || len(found) != len(want) || len(e.Matches) != len(want) {
		t.Errorf("got %v for change %d, want %v for change %d", found, e.Change, want, change)
	}
	for _, id := range want {
		if id != "" && !found[id] {
			t.Errorf("got %v, want %v", found, want)
		}
	}
}

func testNone(t *testing.T, s store.Store) {
	if r := write(t, s, unlessSerial(t, identified("a", "1"), "1"))[0]; !r.Created || r.Version != "1" {
		t.Errorf("got %+v of the first", r)
	}
	matched(t, s, 0, []string{"a"}, unlessSerial(t, identified("b", "1"), "1"))
	if _, err := s.Read(t.Context(), key("Device", "b")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	// Whatever else the query asks for, its matches count.
	c := unlessSerial(t, identified("b", "1"), "1&_count=0&_sort=-_lastUpdated&_total=accurate")
	matched(t, s, 0, []string{"a"}, c)
	// Also what the change would replace.
	matched(t, s, 0, []string{"a"}, unlessSerial(t, identified("a", "2"), "1"))
	// One failing condition of several fails the write.
	matched(t, s, 2, []string{"a"}, put("x", device("x")), unlessSerial(t, identified("c", "3"), "3"), unlessSerial(t, identified("b", "1"), "1"))
	for _, id := range []string{"x", "c"} {
		if _, err := s.Read(t.Context(), key("Device", id)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: got %v, want not found", id, err)
		}
	}
	// The matched one changes, or goes: then it no longer counts.
	write(t, s, identified("a", "2"))
	matched(t, s, 0, []string{"a"}, unlessSerial(t, identified("b", "1"), "2"))
	write(t, s, unlessSerial(t, identified("b", "1"), "1"))
	write(t, s, store.Change{Key: key("Device", "b"), Delete: true})
	write(t, s, unlessSerial(t, identified("c", "1"), "1"))
	// Two matches and more are two.
	write(t, s, identified("d", "1"))
	matched(t, s, 0, []string{"c", "d"}, unlessSerial(t, identified("e", "1"), "1"))
	write(t, s, identified("f", "1"))
	matched(t, s, 0, []string{"", ""}, unlessSerial(t, identified("e", "1"), "1"))
	// A search of another type, a search for everything, and a deletion on condition.
	write(t, s, unless(t, identified("e", "1"), "Patient?identifier=urn:example:serial|1"))
	matched(t, s, 0, []string{"", ""}, unless(t, identified("g", "9"), "Device?"))
	gone := unlessSerial(t, store.Change{Key: key("Device", "e"), Delete: true}, "7")
	write(t, s, gone)
	c = unless(t, identified("h", "9"), "Device?_lastUpdated=gt2000-01-01")
	matched(t, s, 0, []string{"", ""}, c)
	write(t, s, unless(t, identified("h", "9"), "Device?_lastUpdated=lt2000-01-01"))
}

func testNoneWithin(t *testing.T, s store.Store) {
	write(t, s, identified("old", "1"))
	// What comes before counts, what comes later does not.
	matched(t, s, 1, []string{"a"}, unlessSerial(t, identified("a", "2"), "2"), unlessSerial(t, identified("b", "2"), "2"))
	matched(t, s, 1, []string{"a"}, identified("a", "2"), unlessSerial(t, identified("b", "3"), "2"))
	matched(t, s, 2, []string{"a", "b"}, identified("a", "2"), identified("b", "2"), unlessSerial(t, identified("c", "3"), "2"))
	write(t, s, unlessSerial(t, identified("a", "3"), "2"), identified("b", "2"))
	// What is replaced or deleted before is no longer there.
	write(t, s, store.Change{Key: key("Device", "old"), Delete: true}, unlessSerial(t, identified("c", "1"), "1"))
	write(t, s, identified("c", "4"), unlessSerial(t, identified("d", "1"), "1"))
	matched(t, s, 0, []string{"d"}, unlessSerial(t, identified("e", "1"), "1"), store.Change{Key: key("Device", "d"), Delete: true})
	// The matches that are replaced may be many.
	var changes []store.Change
	for i := range 120 {
		changes = append(changes, identified(fmt.Sprintf("many-%03d", i), "many"))
	}
	write(t, s, changes...)
	for i := range changes {
		changes[i] = identified(changes[i].ID, "few")
	}
	matched(t, s, 119, []string{"many-119"}, append(changes[:119:119], unlessSerial(t, identified("f", "many"), "many"))...)
	if r := write(t, s, append(changes, unlessSerial(t, identified("f", "many"), "many"))...); !r[120].Created {
		t.Errorf("got %+v", r[120])
	}
	// Many conditions, each for itself, are one write.
	changes = nil
	for i := range 500 {
		v := fmt.Sprint("n", i)
		changes = append(changes, unlessSerial(t, identified(v, v), v))
	}
	write(t, s, changes...)
}

func testNoneRace(t *testing.T, s store.Store) {
	for round := range 8 {
		serial := fmt.Sprint("s", round)
		var writes [][]store.Change
		for i := range 64 {
			changes := []store.Change{unlessSerial(t, identified(fmt.Sprint("r", round, "-", i), serial), serial)}
			if i%4 == 1 { // also among others
				changes = append(changes, put(fmt.Sprint("other", round, "-", i), device("other")))
			}
			writes = append(writes, changes)
		}
		winners := raceOf(t, s, writes)
		if ids := find(t, s, "Device?identifier=urn:example:serial|"+serial); winners != 1 || len(ids) != 1 {
			t.Fatalf("round %d has %d winners, and %v", round, winners, ids)
		}
	}
}

// raceOf makes all writes at once and counts those that were applied.
func raceOf(t *testing.T, s store.Store, writes [][]store.Change) int {
	t.Helper()
	return race(t, len(writes), func(i int) error {
		_, err := s.Write(context.Background(), writes[i]...)
		return err
	})
}

// testNoneOtherwise has writers who know the same device by other criteria.
func testNoneOtherwise(t *testing.T, s store.Store) {
	for round := range 8 {
		a, b := fmt.Sprint("a", round), fmt.Sprint("b", round)
		day := fmt.Sprintf("2026-03-%02d", round+1)
		var writes [][]store.Change
		for i := range 48 {
			c := identified(fmt.Sprint("r", round, "-", i), a, b)
			switch i % 4 {
			case 0:
				c = unlessSerial(t, c, a)
			case 1:
				c = unlessSerial(t, c, b)
			case 2:
				c = unless(t, c, "Device?identifier="+b+","+a+"&_lastUpdated=gt2000-01-01")
			case 3:
				c = unless(t, c, "Device?identifier="+a+"&patient:missing=true")
			}
			writes = append(writes, []store.Change{c})
		}
		winners := raceOf(t, s, writes)
		if ids := find(t, s, "Device?identifier="+a); winners != 1 || len(ids) != 1 {
			t.Fatalf("round %d has %d winners, and %v", round, winners, ids)
		}
		writes = nil
		for i := range 24 {
			id := fmt.Sprint("r", round, "-", i)
			query := "Observation?patient=p" + a + "&date=" + day
			if i%2 == 0 {
				query = "Observation?subject=Patient/p" + a + "&code=8867-4"
			}
			writes = append(writes, []store.Change{unless(t, put(id, heartRate("p"+a, day+"T10:00:00Z", "72")), query)})
		}
		if winners := raceOf(t, s, writes); winners != 1 {
			t.Fatalf("round %d of observations has %d winners", round, winners)
		}
	}
}

func testNoneLinked(t *testing.T, s store.Store) {
	patient := func(id, family string) store.Change {
		return put(id, `{"resourceType":"Patient","name":[{"family":"`+family+`"}]}`)
	}
	of := func(id, patient string) store.Change {
		return put(id, `{"resourceType":"Device","identifier":[{"value":"`+id+`"}],"patient":{"reference":"Patient/`+patient+`"}}`)
	}
	write(t, s, patient("p1", "Adler"), of("a", "p1"))
	matched(t, s, 0, []string{"a"}, unless(t, of("b", "p1"), "Device?patient.family=adler"))
	matched(t, s, 0, []string{"p1"}, unless(t, patient("p2", "x"), "Patient?_has:Device:patient:identifier=a"))
	write(t, s, unless(t, of("b", "p1"), "Device?patient.family=berg"))
	write(t, s, unless(t, patient("p2", "Berg"), "Patient?_has:Device:patient:identifier=nothing"))
	// What earlier changes put is followed, too, and what they replace or delete is not.
	matched(t, s, 2, []string{"c"}, patient("p3", "Conrad"), of("c", "p3"), unless(t, of("d", "p3"), "Device?patient.family=conrad"))
	matched(t, s, 1, []string{"p2"}, of("c", "p2"), unless(t, patient("p3", "x"), "Patient?_has:Device:patient:identifier=c"))
	write(t, s, patient("p1", "Dorn"), unless(t, of("c", "p1"), "Device?patient.family=adler"))
	write(t, s, store.Change{Key: key("Device", "a"), Delete: true}, unless(t, patient("p4", "x"), "Patient?_has:Device:patient:identifier=a"))
}

func testNoneCancelled(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Write(ctx, unlessSerial(t, identified("a", "1"), "1")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	// Whenever they are cancelled, no more than one is there, and the next one is told.
	for round := range 10 {
		serial := fmt.Sprint("s", round)
		var created sync.Map
		var wg sync.WaitGroup
		for i := range 32 {
			c := unlessSerial(t, identified(fmt.Sprint("r", round, "-", i), serial), serial)
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*i*round)*time.Microsecond)
			wg.Go(func() {
				defer cancel()
				_, err := s.Write(ctx, c)
				switch {
				case err == nil:
					created.Store(c.ID, true)
				case !errors.Is(err, store.ErrMatched) && !errors.Is(err, context.DeadlineExceeded):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		ids := find(t, s, "Device?identifier=urn:example:serial|"+serial)
		if len(ids) > 1 {
			t.Fatalf("round %d made %v", round, ids)
		}
		created.Range(func(id, _ any) bool {
			if len(ids) != 1 || ids[0] != id {
				t.Errorf("round %d acknowledged %v, and made %v", round, id, ids)
			}
			return true
		})
		last := unlessSerial(t, identified(fmt.Sprint("last", round), serial), serial)
		if len(ids) == 1 {
			matched(t, s, 0, ids, last)
			continue
		}
		// One whose writer no longer waited may be on its way.
		if _, err := s.Write(t.Context(), last); err != nil && !errors.Is(err, store.ErrMatched) {
			t.Error(err)
		}
		if ids := find(t, s, "Device?identifier=urn:example:serial|"+serial); len(ids) != 1 {
			t.Fatalf("round %d made %v, want one", round, ids)
		}
	}
}

func testNoneNoDeadlock(t *testing.T, s store.Store) {
	var wg sync.WaitGroup
	for w := range 8 {
		var writes [][]store.Change
		for round := range 10 {
			var changes []store.Change
			for i := range 20 {
				n := (i*7 + w*11 + round) % 20
				c := identified(fmt.Sprint("d", n), fmt.Sprintf("x-%d-%d-%d", w, round, n))
				if i%2 == 0 { // conditions that cross: each asks for what the others write
					c = unlessSerial(t, c, fmt.Sprintf("x-%d-%d-%d", (w+1)%8, round, n))
				}
				changes = append(changes, c)
			}
			writes = append(writes, changes)
		}
		wg.Go(func() {
			for _, changes := range writes {
				if _, err := s.Write(context.Background(), changes...); err != nil && !errors.Is(err, store.ErrMatched) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	// Nobody is left waiting for.
	ctx, cancel := context.WithTimeout(t.Context(), hanging)
	defer cancel()
	if _, err := s.Write(ctx, unlessSerial(t, identified("end", "end"), "end")); err != nil {
		t.Error(err)
	}
	if _, err := s.Read(t.Context(), fhir.Key{Type: "Device", ID: "end"}); err != nil {
		t.Error(err)
	}
}
