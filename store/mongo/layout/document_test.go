package layout

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// texts are the items of an array of texts.
func texts(t testing.TB, doc bson.Raw, name string) []string {
	t.Helper()
	v := doc.Lookup(name)
	if v.IsZero() {
		return nil
	}
	items, err := v.Array().Values()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, item := range items {
		all = append(all, item.StringValue())
	}
	return all
}

func isOddDocument(doc bson.Raw) bool {
	odd, _ := doc.Lookup("odd").BooleanOK()
	return odd
}

// list is a resource with n values of something.
func list(head, of, tail string, n int) []byte {
	var b bytes.Buffer
	b.WriteString(head)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, of, i)
	}
	b.WriteString(tail)
	return b.Bytes()
}

func TestTenThousandElementsAreAllIndexed(t *testing.T) {
	doc := documentOf(t, list(`{"resourceType":"Patient","id":"a","identifier":[`, `{"system":"urn:x","value":"v%d"}`, `]}`, 10_000))
	if isOddDocument(doc) {
		t.Error("a patient with 10,000 identifiers is odd")
	}
	if n := len(texts(t, doc, "t")); n != 10_001 { // deceased=false
		t.Errorf("it has %d terms", n)
	}
}

func TestAnArrayThatWouldBeTooLargeStandsForEverything(t *testing.T) {
	doc := documentOf(t, list(`{"resourceType":"Patient","id":"a","gender":"male","name":[{"family":"ott"}],"identifier":[`, `{"system":"urn:x","value":"v%d"}`, `]}`, maxEntries))
	if got := texts(t, doc, "t"); len(got) != 1 || got[0] != everything {
		t.Errorf("there are %d terms", len(got))
	}
	if got := texts(t, doc, "s"); !strings.Contains(strings.Join(got, " "), "family=ott") {
		t.Errorf("the texts are gone, too: %v", got)
	}
	if !isOddDocument(doc) {
		t.Error("it is not odd")
	}

	long := strings.Repeat("y", 900)
	doc = documentOf(t, list(`{"resourceType":"Group","id":"a","identifier":[`, `{"system":"urn:`+long+`%[1]d","value":"`+long+`%[1]d"}`, `]}`, 6000))
	if got := texts(t, doc, "t"); len(got) != 1 || got[0] != everything || !isOddDocument(doc) {
		t.Errorf("%d long terms are in a document of %d bytes", len(got), len(doc))
	}

	doc = documentOf(t, list(`{"resourceType":"Observation","id":"a","code":{"text":"x"},"component":[`, `{"code":{"text":"y"},"valueQuantity":{"value":%d}}`, `]}`, maxEntries+1))
	if !doc.Lookup("q").IsZero() || !isOddDocument(doc) {
		t.Error("more numbers than there is room for are in the document")
	}
}

func TestACompositeOfOtherValuesThanTheParametersHaveIsOdd(t *testing.T) {
	p, err := search.R4().With(search.Custom{
		Name: "note-with-author", Type: search.CompositeParam, Bases: []string{"Observation"}, Expression: "Observation.component",
		Components: []search.CustomComponent{{Name: "code", Expression: "interpretation"}, {Name: "value-quantity", Expression: "value"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	text := []byte(`{"resourceType":"Observation","id":"a","code":{"coding":[{"code":"x"}]},"component":[{"interpretation":[{"coding":[{"code":"H"}]}],"valueQuantity":{"value":1}}]}`)
	terms, err := p.Extract("Observation", text)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := New(p).Document(nil, fhir.Key{Type: "Observation", ID: "a", Version: "1"}, changed, text, &terms)
	if err != nil {
		t.Fatal(err)
	}
	if !isOddDocument(doc) {
		t.Error("it is not odd")
	}
	for _, name := range []string{"k", "t"} {
		if got := texts(t, doc, name); len(got) == 0 || got[len(got)-1] != everything {
			t.Errorf("%s is %v, without what every search for terms asks for", name, got)
		}
	}
}

func TestAnOddCompositeIsFoundByWhateverItsComponentsAre(t *testing.T) {
	f := translated(t, search.Query{Type: "Observation", Where: []search.Clause{{
		Param:  search.Param{Name: "x", Type: search.CompositeParam, Components: []search.Param{{Name: "subject", Type: search.ReferenceParam}}},
		Values: []search.Value{{Parts: []search.Value{{RefType: "Patient", RefID: "p"}}}},
	}}})
	if text := string(extended(t, f.Filter)); !strings.Contains(text, `"odd": true`) {
		t.Errorf("odd documents are not looked for: %s", text)
	}
}

func TestTheLongAndTheOpenDatesAreMarked(t *testing.T) {
	for effective, want := range map[string]bool{
		`"effectiveDateTime":"2024-05-01"`:                                                          false,
		`"effectiveDateTime":"2024"`:                                                                true,
		`"effectiveInstant":"2024-05-01T10:00:00.000000001Z"`:                                       false,
		`"effectivePeriod":{"start":"2024-05-01"}`:                                                  true,
		`"effectivePeriod":{"end":"2024-05-01"}`:                                                    true,
		`"effectivePeriod":{"start":"2024-05-01T10:00:00Z","end":"2024-05-02T09:00:00Z"}`:           false,
		`"effectiveTiming":{"event":["2024-05-01T10:00:00Z","2024-05-09T09:00:00Z"]}`:               true,
		`"issued":"2024-05-01T10:00:00Z"`:                                                           false,
		`"effectivePeriod":{"start":"0002-01-01","end":"9999-12-31"}`:                               true,
		`"effectivePeriod":{"start":"9999-12-31T00:00:00+14:00","end":"9999-12-31T23:00:00+14:00"}`: false,
	} {
		doc := documentOf(t, []byte(`{"resourceType":"Observation","id":"a",`+effective+`}`))
		if long, _ := doc.Lookup("l").BooleanOK(); long != want {
			t.Errorf("%s: long is %v, want %v", effective, long, want)
		}
		if _, ok := doc.Lookup("d0").StringValueOK(); !ok {
			t.Errorf("%s: there is no d0", effective)
		}
	}
}

func TestADocumentIsReadAsWhatWasWritten(t *testing.T) {
	text := []byte(`{"resourceType":"Observation","id":"a","valueQuantity":{"value":72.50}}`)
	want := fhir.Resource{Key: fhir.Key{Type: "Observation", ID: "a", Version: "3"}, LastUpdated: changed, JSON: text}
	check := func(what string, doc bson.Raw, err error, want fhir.Resource) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		got, odd, err := Read(doc, "Observation")
		if err != nil || odd {
			t.Fatalf("%s: %v %v", what, odd, err)
		}
		if got.Key != want.Key || !got.LastUpdated.Equal(want.LastUpdated) || got.Deleted != want.Deleted || !bytes.Equal(got.JSON, want.JSON) {
			t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
	check("current", documentOf(t, text), nil, want)
	end := changed.Add(time.Hour)
	doc, err := History([]byte("before"), want, end)
	check("earlier", doc, err, want)
	if at := doc.Lookup("end").Time(); !at.Equal(end) {
		t.Errorf("it ends at %v", at)
	}
	if id := doc.Lookup("_id").StringValue(); id != HistoryID("a", 3) || id != "a/3" {
		t.Errorf("its _id is %s", id)
	}
	gone := fhir.Resource{Key: want.Key, LastUpdated: changed, Deleted: true}
	doc, err = History(nil, gone, end)
	check("a deletion that was followed", doc, err, gone)
	before := documentOf(t, []byte(`{"resourceType":"Observation","id":"a","subject":{"reference":"Patient/p"}}`))
	doc, err = New(nil).Tombstone(nil, want.Key, changed, before)
	check("a deletion", doc, err, gone)
	if pt := doc.Lookup("pt").StringValue(); pt != "p" {
		t.Errorf("the patient of a tombstone is %q, another than before", pt)
	}
	doc, err = New(nil).Tombstone(nil, want.Key, changed, nil)
	check("a deletion of nothing", doc, err, gone)
	if pt := doc.Lookup("pt").StringValue(); pt != "#a" {
		t.Errorf("the patient of a tombstone is %q", pt)
	}
}

func TestWhatIsAppendedLeavesAloneWhatWasThere(t *testing.T) {
	text := []byte(`{"resourceType":"Observation","id":"a"}`)
	key, terms := extracted(t, text)
	alone := documentOf(t, text)
	buffer := append(make([]byte, 0, 4096), "before"...)
	doc, err := New(nil).Document(buffer, key, changed, text, terms)
	if err != nil || !bytes.Equal(doc, alone) {
		t.Fatalf("got %v %v, want %v", doc, err, alone)
	}
	if got := string(buffer[:6]); got != "before" {
		t.Errorf("what was there is now %q", got)
	}
}

func TestAVersionIsAPositiveNumber(t *testing.T) {
	for _, version := range []string{"", "0", "-1", "x", "1.5", "99999999999999999999"} {
		key := fhir.Key{Type: "Patient", ID: "a", Version: version}
		_, err1 := New(nil).Document(nil, key, changed, nil, &search.Terms{})
		_, err2 := New(nil).Tombstone(nil, key, changed, nil)
		_, err3 := History(nil, fhir.Resource{Key: key}, changed)
		if err1 == nil || err2 == nil || err3 == nil {
			t.Errorf("version %q is taken: %v %v %v", version, err1, err2, err3)
		}
	}
}

func TestADamagedDocumentIsAnError(t *testing.T) {
	whole := documentOf(t, []byte(`{"resourceType":"Observation","id":"a"}`))
	for n := range len(whole) {
		if _, _, err := Read(whole[:n], "Observation"); !errors.Is(err, ErrDocument) {
			t.Fatalf("%d bytes of a document are read: %v", n, err)
		}
	}
	for what, d := range map[string]bson.D{
		"nothing":                 {},
		"an id that is a number":  {{Key: "_id", Value: 1}, {Key: "v", Value: int64(1)}, {Key: "lu", Value: changed}, {Key: "raw", Value: []byte("{}")}},
		"no version":              {{Key: "_id", Value: "a"}, {Key: "lu", Value: changed}, {Key: "raw", Value: []byte("{}")}},
		"a version of 0":          {{Key: "_id", Value: "a"}, {Key: "v", Value: int64(0)}, {Key: "lu", Value: changed}, {Key: "raw", Value: []byte("{}")}},
		"no time":                 {{Key: "_id", Value: "a"}, {Key: "v", Value: int64(1)}, {Key: "raw", Value: []byte("{}")}},
		"no JSON":                 {{Key: "_id", Value: "a"}, {Key: "v", Value: int64(1)}, {Key: "lu", Value: changed}},
		"a deletion with content": {{Key: "_id", Value: "a"}, {Key: "v", Value: int64(1)}, {Key: "lu", Value: changed}, {Key: "del", Value: true}, {Key: "raw", Value: []byte("{}")}},
	} {
		doc, err := bson.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Read(doc, "Observation"); !errors.Is(err, ErrDocument) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(documentOf(f, []byte(`{"resourceType":"Observation","id":"a"}`))))
	f.Add([]byte("\x05\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		r, _, err := Read(doc, "Observation")
		if err == nil && (r.ID == "" || r.Version == "" || r.Deleted != (r.JSON == nil) && len(r.JSON) > 0) {
			t.Errorf("%+v was read", r)
		}
	})
}

func TestAVitalSignIsNotMuchLargerThanItsJSON(t *testing.T) {
	doc := documentOf(t, heartRate(t))
	if size, most := len(doc), len(heartRate(t))*16/10; size > most {
		t.Errorf("the document has %d bytes, more than %d", size, most)
	}
}
