package search

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/apd/v3"
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
		{"", "fabcde"}, // as _sort=-date
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
		key := rapid.SampledFrom([]string{"", "a", "a\x00", "b", "\xff"})
		return Cursor{
			Date: near.Draw(t, "date"), LastUpdated: near.Draw(t, "changed"),
			Keys: []string{key.Draw(t, "key"), key.Draw(t, "second key")},
			ID:   rapid.SampledFrom([]string{"a", "b", "A", "a-1"}).Draw(t, "id"),
		}
	})
}

func orders() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"", "_sort=date", "_sort=-date", "_sort=-date,_lastUpdated", "_sort=_lastUpdated,-date,-_id", "_sort=-_id", "_sort=status", "_sort=-value-quantity,date,code"})
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

func TestSortKeysAreInTheOrderOfTheValues(t *testing.T) {
	for _, c := range []struct{ name, of, query, want string }{
		{"strings as they are folded, none first", "Patient", "_sort=family", "d c a b e"},
		{"strings from the end, none last", "Patient", "_sort=-family", "e a b c d"},
		{"of several the least", "Patient", "_sort=given", "b c d a e"},
		{"of several the greatest", "Patient", "_sort=-given", "e a b c d"},
		{"codes, then ids", "Patient", "_sort=gender", "b e c a d"},
		{"codes from the end, then the other key", "Patient", "_sort=-gender,-family", "d a c e b"},
		{"dates", "Patient", "_sort=birthdate,-_id", "e d b a c"},
		{"references", "Patient", "_sort=organization", "c d e a b"},
		{"numbers by their size", "Observation", "_sort=value-quantity", "n l f z a b c g"},
		{"numbers from the end, by the other edge", "Observation", "_sort=-value-quantity", "g c b a z f l n"},
	} {
		s := newShelf(t,
			`{"resourceType":"Patient","id":"a","name":[{"family":"Müller","given":["x","m"]}],"gender":"male","birthDate":"1970-05","managingOrganization":{"reference":"Organization/1"}}`,
			`{"resourceType":"Patient","id":"b","name":[{"family":"muller","given":["a","n"]}],"birthDate":"1970","managingOrganization":{"reference":"Organization/2"}}`,
			`{"resourceType":"Patient","id":"c","name":[{"family":"Abel","given":["b"]}],"gender":"female","birthDate":"1980"}`,
			`{"resourceType":"Patient","id":"d","name":[{"given":["B"]}],"gender":"other"}`,
			`{"resourceType":"Patient","id":"e","name":[{"family":"Zoë","given":["z"]}]}`,
			`{"resourceType":"Observation","id":"a","valueQuantity":{"value":0.05}}`,
			`{"resourceType":"Observation","id":"b","valueQuantity":{"value":9.99}}`,
			`{"resourceType":"Observation","id":"c","valueQuantity":{"value":1e1}}`,
			`{"resourceType":"Observation","id":"f","valueQuantity":{"value":-0.5}}`,
			`{"resourceType":"Observation","id":"g","valueQuantity":{"value":11,"comparator":">"}}`,
			`{"resourceType":"Observation","id":"l","valueQuantity":{"value":-12}}`,
			`{"resourceType":"Observation","id":"n"}`,
			`{"resourceType":"Observation","id":"z","valueQuantity":{"value":0.0}}`,
		)
		q := parse(t, c.of, c.query)
		s = slices.DeleteFunc(s, func(r synthetic) bool { return r.Type != c.of })
		slices.SortFunc(s, func(a, b synthetic) int {
			return q.Compare(q.SortKeys(a.Key, now, &a.Terms), q.SortKeys(b.Key, now, &b.Terms))
		})
		var got []string
		for _, r := range s {
			got = append(got, r.ID)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %s gives %v, want %s", c.name, c.query, got, c.want)
		}
	}
}

func TestNumbersSortAsTheyCompare(t *testing.T) {
	numbers := rapid.Custom(func(t *rapid.T) *apd.Decimal {
		n := apd.New(rapid.Int64().Draw(t, "digits"), int32(rapid.IntRange(-110, 100).Draw(t, "exponent")))
		if rapid.Bool().Draw(t, "small") {
			n = apd.New(rapid.Int64Range(-120, 120).Draw(t, "digits"), int32(rapid.IntRange(-3, 3).Draw(t, "exponent")))
		}
		return n
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := numbers.Draw(t, "a"), numbers.Draw(t, "b")
		one, two := bounded(appendNumber(nil, a, minusInfinity)), bounded(appendNumber(nil, b, minusInfinity))
		if cmp.Compare(one, two) != a.Cmp(b) {
			t.Fatalf("%s is %x, %s is %x", a, one, b, two)
		}
		if least, most := bounded(appendNumber(nil, nil, minusInfinity)), bounded(appendNumber(nil, nil, plusInfinity)); least >= one || one >= most || least == "" {
			t.Fatalf("%x is not between %x and %x", one, least, most)
		}
	})
}

func TestLongSortKeysStayInOrderAndApart(t *testing.T) {
	long := strings.Repeat("x", keyLength)
	var keys []string
	for _, text := range []string{long[1:], long, long + "a", long + "b", long[1:] + "y"} {
		_, found := terms(t, patient(`"name":[{"family":"`+text+`"}]`))
		keys = append(keys, parse(t, "Patient", "_sort=family").SortKeys(fhir.Key{}, now, &found).Keys...)
	}
	if keys[2] == keys[3] || len(keys[2]) != maxKey {
		t.Errorf("%q and %q", keys[2], keys[3])
	}
	if keys[2] > keys[3] {
		keys[2], keys[3] = keys[3], keys[2] // which comes first says nothing
	}
	if !slices.IsSorted(keys) {
		t.Errorf("%q", keys)
	}
}

func TestACursorIsShortWhateverIsSortedBy(t *testing.T) {
	long := strings.Repeat("x", MaxValueLength)
	_, found := terms(t, patient(`"name":[{"family":"`+long+`","given":["`+long+`"],"text":"`+long+`"}],"address":[{"city":"`+long+`","state":"`+long+`","country":"`+long+`"}]`))
	q := parse(t, "Patient", "_sort=family,-given,name,phonetic,address-city,address-state,-address-country,address")
	c := q.SortKeys(fhir.Key{ID: strings.Repeat("i", 64)}, now, &found)
	link := c.Encode(q)
	if got, err := DecodeCursor(link, q); err != nil || q.Compare(got, c) != 0 || len(link) > maxCursor || len(link) < 800 {
		t.Errorf("%d characters: %v %v", len(link), got, err)
	}
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
		if q.Sort[0].Param == "_id" && !gocmp.Equal(got, Cursor{ID: c.ID}) {
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
		"nothing": "", "no base64": "!", "a line end": "AQ\nUt", "padding": base64.URLEncoding.EncodeToString(good[:10]), "another version": with(0, 1), "another binding": with(3, good[3]+1),
		"a time that cannot be": with(17, 0x7f), "nanoseconds that cannot be": with(25, 0xff), "an id that cannot be": with(len(good)-1, '/'),
		"no id": base64.RawURLEncoding.EncodeToString(good[:len(good)-1]), "half a view": base64.RawURLEncoding.EncodeToString(good[:12]), "half a time": base64.RawURLEncoding.EncodeToString(good[:20]), "too long": strings.Repeat("A", maxCursor+4),
	} {
		c, err := DecodeCursor(text, q)
		if err == nil || !gocmp.Equal(c, Cursor{}) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

func FuzzCursor(f *testing.F) {
	const query = "code=a&_sort=-date,_lastUpdated,status"
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

func TestAReversedQueryIsInTheOppositeOrder(t *testing.T) {
	queries := []Query{}
	for _, sort := range []string{"", "date", "-date,_lastUpdated", "_id", "-_lastUpdated,-_id"} {
		queries = append(queries, parse(t, "Observation", "_sort="+sort))
	}
	rapid.Check(t, func(t *rapid.T) {
		q := queries[rapid.IntRange(0, len(queries)-1).Draw(t, "query")]
		opposite, ok := q.Reversed()
		if !ok {
			t.Fatal("it has no opposite order")
		}
		a, b := place().Draw(t, "a"), place().Draw(t, "b")
		if q.Compare(a, b) != -opposite.Compare(a, b) {
			t.Fatalf("%d, and the opposite %d", q.Compare(a, b), opposite.Compare(a, b))
		}
		if _, err := DecodeCursor(a.Encode(opposite), q); err == nil {
			t.Fatal("a cursor of the one is one of the other")
		}
		again, _ := opposite.Reversed()
		if !slices.Equal(again.Sort, q.Sort) {
			t.Fatalf("twice turned round it is %v, was %v", again.Sort, q.Sort)
		}
	})
	if _, ok := parse(t, "Observation", "_sort=code").Reversed(); ok {
		t.Error("an order by a parameter of several values has an opposite")
	}
}
