package embedded

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

func parseQuery(t testing.TB, text string) search.Query {
	t.Helper()
	of, raw, _ := strings.Cut(text, "?")
	pairs, err := search.Pairs(raw)
	if err != nil {
		t.Fatal(err)
	}
	q, _, err := search.R4().Parse(of, pairs, search.Options{Handling: search.Strict})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return q
}

// Each query is answered from the index that its author would expect.
func TestPlans(t *testing.T) {
	s := memory(t)
	for i := range 12 {
		if _, err := s.Write(t.Context(), sample(i, i)); err != nil {
			t.Fatal(err)
		}
	}
	v := s.look()
	defer s.letGo(v)
	names := map[rank]string{rankID: "ids", rankIdentifier: "identifier", rankPatientCode: "patient+code", rankReference: "reference",
		rankPatientCategory: "patient+category", rankPatient: "patient", rankCode: "code", rankRange: "range", rankText: "text", rankPart: "part", rankCommon: "common", rankQuantity: "quantity", rankAll: "all"}
	orders := map[order]string{unordered: "unordered", byDate: "date", byUpdated: "updated", byID: "id"}
	for query, want := range map[string]string{
		"Observation?_id=a,b&patient=p1":                                                                        "ids by id",
		"Observation?identifier=1&patient=p1":                                                                   "identifier by date, as asked, all decided",
		"Observation?patient=p1&code=http://loinc.org%7Cc1&_sort=-date":                                         "patient+code by date, as asked, all decided",
		"Observation?patient=p1&code=http://loinc.org%7Cc1&date=ge2026&_sort=-date":                             "patient+code by date, as asked, all decided",
		"Observation?patient=p1&code=c&_sort=date":                                                              "patient+code by date, as asked, backwards, all decided",
		"Observation?subject=Patient/p1&code=c&_sort=-date":                                                     "patient+code by date, as asked, all decided",
		"Observation?patient=p1&category=k1&status=final&_sort=-date":                                           "patient+category by date, as asked",
		"Observation?patient=p1&category=k1&_lastUpdated=gt2026-01-01&_sort=-date":                              "patient+category by date, as asked",
		"Observation?patient=p1&code=c&category=k1&_sort=-date":                                                 "patient+code by date, as asked, all decided",
		"Observation?patient=p1&date=2026":                                                                      "patient by date, as asked, all decided",
		"Observation?patient=p1,p2&code=c,d,http://loinc.org%7Cc1&_sort=-date":                                  "patient+code by date, as asked, all decided",
		"Observation?patient:missing=false&code=c&_sort=-date":                                                  "code by date, as asked, all decided",
		"Observation?device=Device/d1&code=c&_sort=-date":                                                       "reference by date, as asked, all decided",
		"Observation?subject=p1":                                                                                "patient by date, as asked, all decided",
		"Observation?subject:identifier=urn:x%7C1":                                                              "identifier by date, as asked, all decided",
		"Observation?combo-code=c":                                                                              "code by date, as asked, all decided",
		"Observation?status=final&date=ge2026-01-01&_sort=-date":                                                "range by date, as asked",
		"Observation?date=ge2026-01-01&_sort=-date":                                                             "range by date, as asked, all decided",
		"Observation?date=ge2026-01-01":                                                                         "range by date, as asked, all decided",
		"Observation?_lastUpdated=ge2026-01-01&_sort=-_lastUpdated":                                             "range by updated, as asked",
		"Observation?category=k1&_sort=-date":                                                                   "common by date, as asked, all decided",
		"Observation?value-quantity=gt5":                                                                        "quantity by unordered",
		"Observation?code:not=c&_sort=-date":                                                                    "all by date, as asked, all decided",
		"Observation?code=http://loinc.org%7C&_sort=_lastUpdated":                                               "code by date, all decided",
		"Observation?date=ne2026&_sort=-_id":                                                                    "all by id, as asked, backwards",
		"Observation?_sort=date":                                                                                "all by date, as asked, backwards, all decided",
		"Observation?category=k1,vital-signs":                                                                   "all by date, as asked, all decided",
		"Observation?status=final&_sort=_id":                                                                    "all by id, as asked",
		"Observation?status=preliminary":                                                                        "common by date, as asked, all decided",
		"Observation?code=http://loinc.org%7C":                                                                  "code by date, as asked, all decided",
		"Observation?code:in=http://hl7.org/fhir/ValueSet/observation-vitalsignresult":                          "code by date, as asked, all decided",
		"Observation?patient=p1&code:in=http://hl7.org/fhir/ValueSet/observation-status":                        "patient+code by date, as asked, all decided",
		"Observation?interpretation:below=http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation|A": "code by date, as asked, all decided",
		"Observation?code-value-quantity=c$5":                                                                   "code by date, as asked",
		"Observation?combo-code-value-quantity=c$5":                                                             "code by date, as asked",
		"Observation?code:text=x":                                                                               "all by date, as asked",
		"Observation?value-string=x":                                                                            "text by unordered",
		"Observation?_profile=http://x.example":                                                                 "all by date, as asked",
		"Observation?derived-from=Observation/1":                                                                "reference by date, as asked, all decided",
		"Patient?name=x&gender=male":                                                                            "text by unordered",
		"Patient?family:exact=x":                                                                                "text by unordered",
		"Patient?family:contains=x":                                                                             "part by unordered",
		"Patient?identifier:of-type=a%7Cb%7Cc":                                                                  "identifier by id, as asked, all decided",
		"RiskAssessment?probability=gt0.5":                                                                      "quantity by unordered",
		"ValueSet?url=http://x.example/a":                                                                       "reference by id",
		"CompartmentDefinition?url=http://x.example/a&_sort=_id":                                                "reference by id, as asked",
		"ValueSet?url:below=http://x.example":                                                                   "reference by unordered",
		"ValueSet?url:above=http://x.example/a&_sort=_id":                                                       "reference by id, as asked",
		"QuestionnaireResponse?questionnaire=http://x.example/a%7C1":                                            "reference by id, as asked",
		"Patient?identifier=urn:mrn%7C1":                                                                        "identifier by id, as asked, all decided",
		"Patient?birthdate=lt1960":                                                                              "range by unordered",
		"Patient?gender=male&_sort=-_id":                                                                        "common by id, as asked, backwards, all decided",
		"Device?patient=p1":                                                                                     "patient by id, as asked, all decided",
		"Observation?patient=" + strings.Repeat("p1,", 150) + "p2&code=c&_sort=-date":                           "patient+code by date, as asked, all decided",
		"Observation?code=" + numbered("c", 200) + "&patient=" + numbered("p", 200):                             "patient+code by date, as asked, all decided",
	} {
		q := parseQuery(t, query)
		best, inOrder, err := newPlanner(v, q).best()
		if err != nil {
			t.Fatal(err)
		}
		got := names[best.rank] + " by " + orders[best.order]
		if best.inOrderOf(q) {
			got += ", as asked"
		}
		if best.backwards {
			got += ", backwards"
		}
		if newTester(v, q, best).byKeys() {
			got += ", all decided"
		}
		if got != want {
			t.Errorf("%.100s:\n\tgot  %s\n\twant %s", query, got, want)
		}
		if best.inOrderOf(q) && inOrder != nil {
			t.Errorf("%s: there is a second plan in order", query)
		}
	}
}

func numbered(prefix string, n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprint(prefix, i))
	}
	return strings.Join(all, ",")
}

func TestACompositeIsFoundByPartsThatTheResourceHasNowhereElse(t *testing.T) {
	p, err := search.R4().With(search.Custom{
		Name: "part", Type: search.CompositeParam, Bases: []string{"Observation"}, Expression: "Observation.component",
		Components: []search.CustomComponent{{Name: "code", Expression: "code"}, {Name: "value-quantity", Expression: "value.as(Quantity)"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenMemory(&Options{Parameters: p})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := store.Change{Key: fhir.Key{Type: "Observation", ID: "a"}, JSON: []byte(`{"resourceType":"Observation","code":{"text":"x"},"component":[{"code":{"coding":[{"code":"c9"}]},"valueQuantity":{"value":5}}]}`)}
	if _, err := s.Write(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	q, _, err := p.Parse("Observation", []search.Pair{{Name: "part", Value: "c9$5"}}, search.Options{Handling: search.Strict})
	if err != nil {
		t.Fatal(err)
	}
	page, err := s.Search(t.Context(), q)
	plan, explained := s.Explain(t.Context(), q)
	if err != nil || explained != nil || len(page.Resources) != 1 || !slices.Equal(plan.Indexes, []string{"code"}) {
		t.Errorf("found %d, %v, by %+v %v", len(page.Resources), err, plan, explained)
	}
	if page, err := s.Search(t.Context(), parseQuery(t, "Observation?code=c9")); err != nil || len(page.Resources) != 0 {
		t.Errorf("found %d by a code that only a part has, %v", len(page.Resources), err)
	}
}

// What of a candidate is known from its key or its series is not read.
func TestWhatASeriesDecidesIsNotRead(t *testing.T) {
	s := memory(t)
	var changes []store.Change
	for i := range 3000 {
		changes = append(changes, reading(i))
	}
	if _, err := s.Write(t.Context(), changes...); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]store.Plan{
		"device=Device/monitor-03&code=nothing&value-quantity=gt5": {Keys: 150},
		"patient=patient-007&_summary=count":                       {Keys: 30},
		"patient=patient-007&code=8860-4&_summary=count":           {Keys: 3},
		"device=Device/monitor-03&code=8860-4&_summary=count":      {Keys: 150},
		"category=vital-signs&_summary=count":                      {Keys: 3000},
		"category=vital-signs&_count=10":                           {Keys: 12, Read: 11, Found: 10},
		"patient=patient-007&code=8860-4&_count=2&_total=accurate": {Keys: 6, Read: 3, Found: 2},
		"patient=patient-007&status=amended&_summary=count":        {Keys: 30, Read: 30, Residual: []string{"status"}},
		"patient=patient-007&code=8860-4&combo-code=147840":        {Keys: 3, Read: 3, Found: 3},
		"patient=patient-007&component-code=8860-4":                {},
	} {
		got, err := s.Explain(t.Context(), parseQuery(t, "Observation?"+query))
		if err != nil || got.Keys != want.Keys || got.Read != want.Read || got.Found != want.Found || want.Residual != nil && !slices.Equal(got.Residual, want.Residual) {
			t.Errorf("%s: got %+v, %v", query, got, err)
		}
	}
}

// How a search is answered is told without what was searched for.
func TestExplain(t *testing.T) {
	s := memory(t)
	for i := range 60 {
		if _, err := s.Write(t.Context(), sample(i, i*5)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Write(t.Context(), store.Change{Key: fhir.Key{Type: "Patient", ID: "p1"}, JSON: []byte(`{"resourceType":"Patient","name":[{"family":"Secret"}]}`)}); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]store.Plan{
		"Observation?patient=p2&code=http://loinc.org%7Cc1&date=ge2020&_count=3": {Indexes: []string{"patient and code"}, Order: "index"},
		"Observation?status=final&code:text=secret":                              {Indexes: []string{"date"}, Order: "index", Residual: []string{"status", "code:text"}},
		"Observation?patient.family=secret&_sort=status":                         {Indexes: []string{"patient"}, Order: "sorted", Links: []store.Plan{{}}},
		"Patient?_has:Observation:patient:code=c1":                               {Indexes: []string{"_id"}, Order: "index", Residual: []string{"_has:Observation:patient"}, Links: []store.Plan{{}}},
	} {
		got, err := s.Explain(t.Context(), parseQuery(t, query))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Indexes, want.Indexes) || got.Order != want.Order || !slices.Equal(got.Residual, want.Residual) || len(got.Links) != len(want.Links) || got.Found > got.Read {
			t.Errorf("%s: got %+v", query, got)
		}
		if text := fmt.Sprint(got); strings.Contains(text, "ecret") || strings.Contains(text, "p2") {
			t.Errorf("%s: the plan tells values: %s", query, text)
		}
	}
}

// A page in the order of an index is read from its beginning, however much follows.
func TestAPageReadsNotMuchMoreThanItHas(t *testing.T) {
	s := memory(t)
	var changes []store.Change
	for i := range 3000 {
		c := reading(i)
		changes = append(changes, c)
	}
	if _, err := s.Write(t.Context(), changes...); err != nil {
		t.Fatal(err)
	}
	v := s.look()
	defer s.letGo(v)
	for _, query := range []string{
		"Observation?_sort=-date", "Observation?_sort=date", "Observation?", "Observation?_sort=-_lastUpdated",
		"Observation?category=vital-signs&_sort=-date", "Observation?category=vital-signs", "Observation?status=final&_sort=_lastUpdated",
		"Observation?date=ge2026-01-01T00:10:00Z&_sort=date", "Observation?device=Device/monitor-03&_sort=date",
	} {
		q := parseQuery(t, query+"&_count=10")
		for range 3 {
			best, inOrder, err := newPlanner(v, q).best()
			if err != nil {
				t.Fatal(err)
			}
			if inOrder != nil {
				best = *inOrder
			}
			top := newTop(q, s.limits.pageBytes)
			done, err := v.run(t.Context(), q, best, top, 10*3)
			if err != nil || !done || top.Len() != 10 {
				t.Errorf("%s: more than 30 resources are read for a page of %d, %v", query, top.Len(), err)
				break
			}
			q.After = top.page(store.Page{}).Next
		}
	}
}

func TestAQueryOfAnUnknownTypeIsAnError(t *testing.T) {
	s := memory(t)
	if _, err := s.Search(t.Context(), search.Query{Type: "Quantity", Count: 1}); err == nil {
		t.Error("it was answered")
	}
	// It is kept all the same.
	if _, err := s.Write(t.Context(), store.Change{Key: fhir.Key{Type: "Basic", ID: "a"}, JSON: []byte(`{"resourceType":"Basic"}`)}); err != nil {
		t.Error(err)
	}
	if err := verify(s); err != nil {
		t.Error(err)
	}
}

func TestStats(t *testing.T) {
	s := openIn(t, storeDir(t), nil)
	for i := range 12 {
		if _, err := s.Write(t.Context(), sample(i, i)); err != nil {
			t.Fatal(err)
		}
	}
	got := s.Stats()
	if got.Resources["Observation"] != 11 || got.Writes != 11 || got.Groups != 11 || got.DiskBytes <= 0 || got.FreeBytes <= 0 || got.MemTableBytes <= 0 {
		t.Errorf("got %+v", got)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats(); got.Resources != nil || got.DiskBytes != 0 {
		t.Errorf("got %+v of a closed store", got)
	}
}
