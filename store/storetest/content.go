package storetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// noted is a Device with a text, which needs no escape: quickly, as the text may be large.
func noted(id, text string) store.Change {
	return store.Change{Key: key("Device", id), JSON: []byte(`{"resourceType":"Device","note":[{"text":"` + text + `"}]}`)}
}

func testLarge(t *testing.T, s store.Store) {
	text := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	c := noted("text", text)
	r := write(t, s, c)[0]
	if got, err := s.Read(t.Context(), c.Key); err != nil || !same(got, r.Resource) || len(got.JSON) < len(c.JSON) {
		t.Errorf("got %d bytes %v", len(got.JSON), err)
	}
	// A page of large resources may be short, but its links lead to all of them. Together the
	// resources of a write are more than one document of MongoDB may be.
	for half := range 2 {
		var changes []store.Change
		for i := range 20 {
			changes = append(changes, noted(fmt.Sprintf("text-%d-%02d", half, i), text))
		}
		write(t, s, changes...)
	}
	if ids := find(t, s, "Device?_count=1000"); len(ids) != 41 {
		t.Errorf("found %d of 41", len(ids))
	}
	if all, err := versionsOf(t.Context(), s, store.HistoryQuery{Count: 1000}); err != nil || len(all) != 41 {
		t.Errorf("got %d versions of 41, %v", len(all), err)
	}
}

// testLists has lists of 10,000: what is in the last place is found like what is in the first.
func testLists(t *testing.T, s store.Store) {
	const n = 10_000
	list := func(of func(i int) string) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(of(i))
		}
		return b.String()
	}
	write(t, s,
		put("identifiers", `{"resourceType":"Device","identifier":[`+list(func(i int) string { return fmt.Sprintf(`{"system":"urn:example:list","value":"n%d"}`, i) })+`]}`),
		put("categories", `{"resourceType":"Observation","status":"final","code":{"text":"x"},"effectiveDateTime":"2026-01-01","category":[`+
			list(func(i int) string { return fmt.Sprintf(`{"coding":[{"system":"urn:c","code":"c%d"}]}`, i) })+`]}`),
		put("components", `{"resourceType":"Observation","status":"final","code":{"text":"x"},"effectiveDateTime":"2026-01-02","component":[`+
			list(func(i int) string {
				return fmt.Sprintf(`{"code":{"coding":[{"system":"urn:k","code":"k%d"}]},"valueQuantity":{"value":%d,"system":"http://unitsofmeasure.org","code":"/min"}}`, i, 20_000+i)
			})+`]}`))
	for query, want := range map[string]string{
		"Device?identifier=urn:example:list|n9999":                     "identifiers",
		"Device?identifier=n9999&identifier=n1,n5000":                  "identifiers",
		"Observation?category=urn:c|c9999":                             "categories",
		"Observation?combo-code=k9999":                                 "components",
		"Observation?component-code=urn:k|k9999&category:missing=true": "components",
		"Observation?component-value-quantity=gt29998":                 "components",
		"Observation?component-code-value-quantity=urn:k|k9999$29999":  "components",
	} {
		if got := strings.Join(find(t, s, query), " "); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	for _, of := range []string{"Device/identifiers", "Observation/categories", "Observation/components"} {
		kind, id, _ := strings.Cut(of, "/")
		r, err := s.Read(t.Context(), key(kind, id))
		if err != nil || !json.Valid(r.JSON) {
			t.Errorf("%s: %v", of, err)
		}
		if r := write(t, s, put(id, `{"resourceType":"`+kind+`"}`))[0]; r.Version != "2" {
			t.Errorf("got %+v", r)
		}
	}
	for _, query := range []string{"Device?identifier=n5000", "Observation?category=c9999", "Observation?component-value-quantity=29999"} {
		if ids := find(t, s, query); len(ids) != 0 {
			t.Errorf("%s: found %v after the list was taken away", query, ids)
		}
	}
}

// tooLarge is what an error says that refuses a resource for its size.
var tooLarge = regexp.MustCompile(`(?i)large|big|limit|exceed|bytes|\b[KMG]i?B\b`)

// testTooLarge writes resources around 16 MiB, where MongoDB has its limit for a document. A
// store keeps such a resource exactly, or refuses it, says why, and keeps nothing of it.
func testTooLarge(t *testing.T, s store.Store) {
	const limit = 16 << 20
	sizes := []int{15 << 20, limit + 1}
	switch {
	case testing.Short():
		sizes = []int{limit + 1}
	case long():
		sizes = []int{12 << 20, 15 << 20, limit - 4096, limit - 200, limit, limit + 1, 20 << 20, 33 << 20}
	}
	before := write(t, s, put("there", device("there")), put("beside", device("beside")))
	smallest := 0
	for _, size := range sizes {
		text := strings.Repeat("x", size-len(noted("", "").JSON))
		c := noted("there", text)
		results, err := s.Write(t.Context(), put("beside", device(fmt.Sprint("beside ", size))), put(fmt.Sprint("new-", size), device("new")), c)
		if err != nil {
			t.Logf("%d bytes are refused: %v", size, err)
			if smallest == 0 {
				smallest = size
			}
			if text := err.Error(); !tooLarge.MatchString(text) || len(text) > 1000 || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrClosed) {
				t.Errorf("%d bytes: %.1000s: want an error that tells of the size", size, text)
			}
			for _, want := range before {
				if r, err := s.Read(t.Context(), key("Device", want.ID)); err != nil || !same(r, want.Resource) {
					t.Errorf("%d bytes were refused, and %s is %s, %v", size, want.ID, r.Key, err)
				}
			}
			if _, err := s.Read(t.Context(), key("Device", fmt.Sprint("new-", size))); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%d bytes were refused, and another change of that write was not: %v", size, err)
			}
			continue
		}
		if smallest != 0 {
			t.Errorf("%d bytes are refused and %d are not", smallest, size)
		}
		r, err := s.Read(t.Context(), c.Key)
		if err != nil || !same(r, results[2].Resource) || len(r.JSON) < size || bytes.Count(r.JSON, []byte("x")) < len(text) {
			t.Errorf("%d bytes were kept, and %d come back: %v", size, len(r.JSON), err)
		}
		before[0], before[1] = results[2], results[0]
	}
	if smallest != 0 && smallest <= 15<<20 {
		t.Errorf("%d bytes are refused, which are far below the limit of MongoDB", smallest)
	}
	// And then all goes on.
	if r := write(t, s, put("there", device("small")))[0]; number(r.Version) != number(before[0].Version)+1 {
		t.Errorf("got %s after %s", r.Key, before[0].Key)
	}
	if all, err := versionsOf(t.Context(), s, store.HistoryQuery{Type: "Device", ID: "there", Count: 2}); err != nil || len(all) != number(before[0].Version)+1 {
		t.Errorf("got %d versions %v", len(all), err)
	}
}

func testMany(t *testing.T, s store.Store) {
	var changes []store.Change
	for i := range 2000 {
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Second)
		changes = append(changes, put(fmt.Sprintf("o%04d", i), heartRate("p1", at.Format(time.RFC3339), "72")))
	}
	write(t, s, changes...)
	ids := find(t, s, "Observation?patient=p1&_sort=-date&_count=300")
	if len(ids) != 2000 || !slices.IsSortedFunc(ids, func(a, b string) int { return strings.Compare(b, a) }) {
		t.Errorf("found %d, or not in order", len(ids))
	}
	page, err := s.Search(t.Context(), parse(t, "Observation?patient=p1&_summary=count"))
	if err != nil || page.Total != 2000 || len(page.Resources) != 0 {
		t.Errorf("got a total of %d and %d resources, %v", page.Total, len(page.Resources), err)
	}
}

func testUnicode(t *testing.T, s store.Store) {
	param, _ := search.R4().Lookup("Device", "identifier")
	var all []string
	for i, text := range []string{
		"Ä Ö ü ß", "心拍数", "👩‍⚕️ 37 °C", "a\u0000b", "\u0000", "a\u0000", "\u2028\u2029", "\U0010ffff", "\U00010000", "\uffff", `\" \\ /`, "e\u0301", "\u00e9",
		"\u05d0\u05d1\u05d2 123", "\u202eabc\u202c", "\ufeffa", "a\tb", "\x7f", "\ufffd", "ﬁ", "İ", "ǅ", "$1|2,3\\4", "\u0001", strings.Repeat("\U0001f600", 64), strings.Repeat("e\u0301", 80),
	} {
		id := fmt.Sprint("u", i)
		json := fmt.Sprintf(`{"resourceType":"Device","identifier":[{"system":"urn:ä|","value":%s}]}`, quote(text))
		write(t, s, put(id, json))
		r, err := s.Read(t.Context(), key("Device", id))
		if err != nil || !bytes.Contains(r.JSON, []byte(quote(text))) {
			t.Errorf("%q: got %s %v", text, r.JSON, err)
		}
		page, err := s.Search(t.Context(), search.Query{
			Type: "Device", Count: 10, Total: search.TotalNone, Sort: []search.Sort{{Param: "_id"}},
			Where: []search.Clause{{Param: param, Values: []search.Value{{System: "urn:ä|", Code: text}}}},
		})
		if err != nil || len(page.Resources) != 1 || page.Resources[0].ID != id {
			t.Errorf("%q: found %d, %v", text, len(page.Resources), err)
		}
		all = append(all, id)
	}
	slices.Sort(all)
	if ids := find(t, s, "Device?identifier:missing=false&_sort=_id&_count=5"); !slices.Equal(ids, all) {
		t.Errorf("got %v, want %v", ids, all)
	}
	// Half of a surrogate pair is no text: it is refused, or comes back as it was.
	for _, half := range []string{`\ud83d`, `a\udc00b`, `\udc00\ud83d`} {
		c := store.Change{Key: key("Device", "half"), JSON: []byte(`{"resourceType":"Device","note":[{"text":"` + half + `"}]}`)}
		if _, err := s.Write(t.Context(), c); err != nil {
			continue
		}
		if r, err := s.Read(t.Context(), c.Key); err != nil || !bytes.Contains(r.JSON, []byte(half)) {
			t.Errorf("%s: got %s %v", half, r.JSON, err)
		}
	}
}

// testLongTexts has values around the lengths where an index may cut them: those that agree
// for long are told apart all the same.
func testLongTexts(t *testing.T, s store.Store) {
	lengths := []int{1, 63, 64, 65, 126, 127, 128, 129, 200, 255, 256, 257, 511, 512, 1000, 1023, 1024}
	value := func(n int, end string) string { return strings.Repeat("x", n-1) + end }
	var changes []store.Change
	for _, n := range lengths {
		for _, end := range []string{"a", "b"} {
			v := value(n, end)
			changes = append(changes,
				put(fmt.Sprint(end, "-", n), `{"resourceType":"Patient","identifier":[{"system":"urn:s","value":"`+v+`"}],"name":[{"family":"`+v+`"}]}`),
				put(fmt.Sprint(end, "-", n), `{"resourceType":"ValueSet","status":"active","url":"`+v+`"}`))
		}
	}
	write(t, s, changes...)
	for _, n := range lengths {
		for _, end := range []string{"a", "b"} {
			v, want := value(n, end), []string{fmt.Sprint(end, "-", n)}
			for _, query := range []string{"Patient?identifier=" + v, "Patient?family:exact=" + v, "ValueSet?url=" + v, "Patient?identifier=urn:s|" + v} {
				if _, value, _ := strings.Cut(query, "="); len(value) > search.MaxValueLength {
					continue
				}
				if got := find(t, s, query); !slices.Equal(got, want) {
					t.Errorf("%s… of %d bytes: got %v, want %v", query[:12], n, got, want)
				}
			}
			if got := find(t, s, "Patient?family="+v); !slices.Contains(got, want[0]) || slices.Contains(got, fmt.Sprint(map[string]string{"a": "b", "b": "a"}[end], "-", n)) {
				t.Errorf("what begins with %d bytes: got %v, want %v among it", n, got, want)
			}
		}
	}
	if got := find(t, s, "Patient?family="+strings.Repeat("X", 600)); len(got) != 6 {
		t.Errorf("got %v, want those of 1000 bytes and more", got)
	}
	long := strings.Repeat("z", 64)
	write(t, s, put(long, heartRate(long, "2026-01-02", "72")))
	if got := find(t, s, "Observation?patient=Patient/"+long+"&_id="+long); !slices.Equal(got, []string{long}) {
		t.Errorf("got %v of an id of 64 characters", got)
	}
}

// quote writes a JSON string as fhir.Parse leaves it: only what must be is escaped.
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ':
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func testDecimals(t *testing.T, s store.Store) {
	for i, n := range []string{"72.50", "1.0", "1.00e2", "0.10", "-0.0", "123456789012345678901.50"} {
		id := fmt.Sprint("n", i)
		write(t, s, put(id, heartRate("p1", "2026-01-02", n)))
		r, err := s.Read(t.Context(), key("Observation", id))
		if err != nil || !bytes.Contains(r.JSON, []byte(`"value":`+n+`,`)) {
			t.Errorf("%s: got %s %v", n, r.JSON, err)
		}
	}
	// Another way to write a number is another content.
	if r := write(t, s, put("n0", heartRate("p1", "2026-01-02", "72.5")))[0]; r.Unchanged || r.Version != "2" {
		t.Errorf("got %+v", r)
	}
}
