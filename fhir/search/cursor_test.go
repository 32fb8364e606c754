package search

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
)

func TestResourcesAreOrderedByTheKeysOfTheQuery(t *testing.T) {
	type resource struct {
		id, body string
		changed  time.Time
	}
	all := []resource{
		{"a", `"effectiveDateTime":"2024-05"`, now},
		{"b", `"effectiveDateTime":"2024-05-01T00:00:00Z"`, now.Add(time.Hour)},
		{"c", `"effectivePeriod":{"start":"2024-04-01","end":"2025-01-01"}`, now},
		{"d", `"issued":"2024-05-01T00:00:00Z"`, now.Add(-time.Hour)},
		{"e", `"effectivePeriod":{"end":"2020"}`, now},
		{"f", `"effectiveDateTime":"2024-06"`, now},
	}
	for _, c := range []struct{ query, want string }{
		{"", "abcdef"},
		{"_sort=_id", "abcdef"},
		{"_sort=-_id", "fedcba"},
		{"_sort=date", "decabf"},  // d has no date, e no start: both are the oldest
		{"_sort=-date", "fabcde"}, // a and b begin at the same time: the id decides
		{"_sort=date,-_id", "edcbaf"},
		{"_sort=_lastUpdated", "dacefb"},
		{"_sort=-_lastUpdated,-date", "bfaced"},
	} {
		q := parse(t, "Observation", c.query)
		type place struct {
			Cursor
			id string
		}
		var places []place
		for _, r := range all {
			_, found := terms(t, `{"resourceType":"Observation",`+r.body+`}`)
			places = append(places, place{q.SortKeys(fhir.Key{Type: "Observation", ID: r.id}, r.changed, &found), r.id})
		}
		slices.SortFunc(places, func(a, b place) int { return q.Compare(a.Cursor, b.Cursor) })
		got := ""
		for _, p := range places {
			got += p.id
		}
		if got != c.want {
			t.Errorf("%s gives %s, want %s", c.query, got, c.want)
		}
	}
}

func TestSortDateTellsWhetherThereIsADate(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       time.Time
		ok         bool
	}{
		{"a date", `"effectiveDateTime":"2024-05"`, day(2024, 5, 1), true},
		{"a period without start", `"effectivePeriod":{"end":"2024"}`, time.Time{}, true},
		{"no date", `"issued":"2024-05-01T00:00:00Z"`, time.Time{}, false},
	} {
		_, found := terms(t, `{"resourceType":"Observation",`+c.body+`}`)
		if got, ok := SortDate(&found); !got.Equal(c.want) || ok != c.ok {
			t.Errorf("%s: %v %v", c.name, got, ok)
		}
	}
	if got, ok := SortDate(&Terms{Dates: []Date{{"date", day(2024, 1, 2), day(2024, 1, 3)}, {"date", day(2024, 1, 1), day(2024, 1, 2)}, {"birthdate", day(1970, 1, 1), day(1970, 1, 2)}}}); !ok || !got.Equal(day(2024, 1, 1)) {
		t.Errorf("of several dates: %v %v", got, ok)
	}
}

// place generates sort keys that are near each other.
func place() *rapid.Generator[Cursor] {
	near := rapid.Map(rapid.SampledFrom([]time.Time{{}, day(2024, 1, 1), day(2024, 1, 1).Add(1), day(1850, 1, 1), day(9999, 12, 31)}), time.Time.UTC)
	return rapid.Custom(func(t *rapid.T) Cursor {
		return Cursor{near.Draw(t, "date"), near.Draw(t, "changed"), rapid.SampledFrom([]string{"a", "b", "A", "a-1"}).Draw(t, "id")}
	})
}

func orders() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"", "_sort=date", "_sort=-date", "_sort=-date,_lastUpdated", "_sort=_lastUpdated,-date,-_id", "_sort=-_id"})
}

func TestCompareIsAnOrder(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		q := parse(t, "Observation", orders().Draw(r, "order"))
		a, b, c := place().Draw(r, "a"), place().Draw(r, "b"), place().Draw(r, "c")
		if q.Compare(a, b) != -q.Compare(b, a) || q.Compare(a, a) != 0 {
			r.Fatalf("%v and %v", a, b)
		}
		if q.Compare(a, b) <= 0 && q.Compare(b, c) <= 0 && q.Compare(a, c) > 0 {
			r.Fatalf("%v, %v and %v", a, b, c)
		}
		if a.ID != b.ID && q.Compare(a, b) == 0 {
			r.Fatalf("%v and %v are at the same place", a, b)
		}
	})
}

func TestACursorComesBackAsItWas(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		q := parse(t, "Observation", "code=a&"+orders().Draw(r, "order"))
		c := place().Draw(r, "place")
		got, err := DecodeCursor(c.Encode(q), q)
		if err != nil || q.Compare(got, c) != 0 {
			r.Fatalf("%v became %v, %v", c, got, err)
		}
		// Only what the order needs is carried.
		if q.Sort[0].Param == "_id" && got != (Cursor{ID: c.ID}) {
			r.Fatalf("%v became %v", c, got)
		}
	})
}

func TestACursorGoesThroughTheQueryOfALink(t *testing.T) {
	q := parse(t, "Observation", "patient=1&_sort=-date&_count=5")
	q.After = &Cursor{Date: day(2024, 5, 11), ID: "x"}
	again := parse(t, "Observation", q.Encode())
	if diff := gocmp.Diff(q, again, decimals); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestACursorOfAnotherSearchIsRefused(t *testing.T) {
	text := Cursor{Date: now, ID: "x"}.Encode(parse(t, "Observation", "code=a&_sort=date"))
	for _, c := range []struct {
		name, query string
		ok          bool
	}{
		{"the same", "code=a&_sort=date", true},
		{"another page size", "code=a&_sort=date&_count=7&_total=accurate", true},
		{"another value", "code=b&_sort=date", false},
		{"another parameter", "combo-code=a&_sort=date", false},
		{"another modifier", "code:not=a&_sort=date", false},
		{"one more condition", "code=a&status=final&_sort=date", false},
		{"the other direction", "code=a&_sort=-date", false},
		{"another order", "code=a&_sort=_lastUpdated", false},
		{"no order", "code=a", false},
	} {
		_, err := DecodeCursor(text, parse(t, "Observation", c.query))
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		if !c.ok && err.Error() != "_cursor: the cursor is one of another search; fix: follow the links of the first page without changing them" {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	device := Cursor{ID: "x"}.Encode(parse(t, "Device", ""))
	if _, err := DecodeCursor(device, parse(t, "Patient", "")); err == nil {
		t.Error("a cursor of another type is taken")
	}
}

func TestADamagedCursorIsRefused(t *testing.T) {
	q := parse(t, "Observation", "_sort=-date")
	good, _ := base64.RawURLEncoding.DecodeString(Cursor{Date: now, ID: "x"}.Encode(q))
	with := func(i int, v byte) string {
		b := slices.Clone(good)
		b[i] = v
		return base64.RawURLEncoding.EncodeToString(b)
	}
	for name, text := range map[string]string{
		"nothing": "", "no base64": "!", "a line end": "AQ\nUt", "padding": base64.URLEncoding.EncodeToString(good[:10]), "another version": with(0, 2), "another binding": with(3, good[3]+1),
		"a time that cannot be": with(9, 0x7f), "nanoseconds that cannot be": with(17, 0xff), "an id that cannot be": with(len(good)-1, '/'),
		"no id": base64.RawURLEncoding.EncodeToString(good[:len(good)-1]), "half a time": base64.RawURLEncoding.EncodeToString(good[:12]), "too long": strings.Repeat("A", maxCursor+4),
	} {
		c, err := DecodeCursor(text, q)
		if err == nil || c != (Cursor{}) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

func FuzzCursor(f *testing.F) {
	const query = "code=a&_sort=-date,_lastUpdated"
	f.Add(Cursor{Date: now, LastUpdated: now, ID: "x"}.Encode(parse(f, "Observation", query)))
	f.Add(Cursor{ID: "x"}.Encode(parse(f, "Observation", query)))
	f.Add("AQ")
	f.Add("Aa\nQUtIZQOR2k____800000000000____800000000000ZA")
	f.Fuzz(func(t *testing.T, text string) {
		q := parse(t, "Observation", query)
		c, err := DecodeCursor(text, q)
		if err != nil {
			return
		}
		if !fhir.ValidID(c.ID) || c.Encode(q) != text {
			t.Errorf("%q is taken for %+v", text, c)
		}
	})
}
