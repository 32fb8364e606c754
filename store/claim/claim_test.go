package claim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// device is a Device of a serial number, to be created unless query finds one; "" is no condition.
func device(t testing.TB, id, serial, query string) store.Change {
	c := store.Change{
		Key:  fhir.Key{Type: "Device", ID: id},
		JSON: fmt.Appendf(nil, `{"resourceType":"Device","identifier":[{"system":"urn:serial","value":"%s"}],"patient":{"reference":"Patient/p%s"}}`, serial, serial),
	}
	if query != "" {
		c.If.None = parse(t, query)
	}
	return c
}

func parse(t testing.TB, text string) *search.Query {
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
	return &q
}

func TestAWriterWaitsForEarlierOnesThatPutWhatItsConditionMatches(t *testing.T) {
	const bySerial = "Device?identifier=urn:serial|1"
	for name, test := range map[string]struct {
		earlier, later store.Change
		waits          bool
	}{
		"the same identifier":                {device(t, "a", "1", bySerial), device(t, "b", "1", bySerial), true},
		"another identifier":                 {device(t, "a", "1", bySerial), device(t, "b", "2", "Device?identifier=urn:serial|2"), false},
		"a match of what has another search": {device(t, "a", "1", "Device?identifier=urn:serial|7"), device(t, "b", "2", bySerial), true},
		"a search that the earlier one does not match, though it matches that of the earlier one": {device(t, "a", "1", "Device?identifier=urn:serial|2"), device(t, "b", "2", "Device?identifier=urn:serial|3"), false},
		"an identifier of any system":         {device(t, "a", "1", bySerial), device(t, "b", "2", "Device?identifier=1"), true},
		"a reference":                         {device(t, "a", "1", bySerial), device(t, "b", "2", "Device?patient=Patient/p1"), true},
		"all of a type":                       {device(t, "a", "1", bySerial), device(t, "b", "2", "Device"), true},
		"another type":                        {device(t, "a", "1", bySerial), device(t, "b", "2", "Patient"), false},
		"a time that is not known yet":        {device(t, "a", "1", bySerial), device(t, "b", "2", bySerial+"&_lastUpdated=gt2050"), true},
		"a link, which only a store resolves": {device(t, "a", "1", bySerial), device(t, "b", "2", "Device?patient.name=x"), true},
		"no condition of its own":             {device(t, "a", "1", bySerial), device(t, "b", "1", ""), false},
		"an earlier one without a condition":  {device(t, "a", "1", ""), device(t, "b", "1", bySerial), false},
		"a deletion":                          {store.Change{Key: fhir.Key{Type: "Device", ID: "a"}, Delete: true, If: store.Condition{None: parse(t, bySerial)}}, device(t, "b", "1", "Device"), false},
		"JSON that cannot be read":            {store.Change{Key: fhir.Key{Type: "Device", ID: "a"}, JSON: []byte(`{`), If: store.Condition{None: parse(t, bySerial)}}, device(t, "b", "1", "Device"), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var claims Claims
				earlier, err := claims.Make(t.Context(), []store.Change{test.earlier}, search.R4(), search.R4())
				if err != nil {
					t.Fatal(err)
				}
				if (earlier == nil) != (test.earlier.If.None == nil) {
					t.Fatalf("a claim, %t, of a condition, %t", earlier != nil, test.earlier.If.None != nil)
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					later, err := claims.Make(t.Context(), []store.Change{test.later}, search.R4(), search.R4())
					if err != nil {
						t.Error(err)
					}
					if later != nil {
						later.End()
					}
				}()
				synctest.Wait()
				select {
				case <-done:
					if test.waits {
						t.Error("it did not wait")
					}
				default:
					if !test.waits {
						t.Error("it waits")
					}
				}
				if earlier != nil {
					earlier.End()
				}
				<-done
				if n := claims.Len(); n != 0 {
					t.Errorf("%d claims are left", n)
				}
			})
		})
	}
}

func TestAWriterThatWaitsIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var claims Claims
		change := device(t, "a", "1", "Device?identifier=urn:serial|1")
		earlier, err := claims.Make(t.Context(), []store.Change{change}, search.R4(), search.R4())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if c, err := claims.Make(ctx, []store.Change{change}, search.R4(), search.R4()); c != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, %v", c, err)
		}
		if n := claims.Len(); n != 1 {
			t.Errorf("%d claims are there", n)
		}
		earlier.End()
	})
}

func TestTheChangesOfAClaimHaveTheTermsOfTheParameters(t *testing.T) {
	params, err := search.R4().With(search.Custom{Name: "mark", Type: search.StringParam, Bases: []string{"Device"}, Expression: "Device.lotNumber"})
	if err != nil {
		t.Fatal(err)
	}
	changes := []store.Change{device(t, "a", "1", "Device?identifier=1"), {Key: fhir.Key{Type: "Device", ID: "b"}, Delete: true}, device(t, "c", "1", "")}
	mine := &search.Terms{}
	changes[2].Terms, changes[2].Parameters = mine, params
	var claims Claims
	c, err := claims.Make(t.Context(), changes, params, search.R4())
	if err != nil {
		t.Fatal(err)
	}
	defer c.End()
	got := c.Changes()
	if got[0].Terms == nil || got[0].Parameters != params || got[1].Terms != nil || got[2].Terms != mine {
		t.Errorf("got %+v", got)
	}
	if changes[0].Terms != nil {
		t.Error("the changes of the caller are others than before")
	}
}

// there is a store of Devices with an identifier each, and what its searches find.
type there struct {
	serials map[string]string // by id
	page    int
}

func (s there) stored(t *testing.T) Stored {
	each := func(q search.Query, found func(fhir.Key, *search.Terms) error) error {
		var ids []string
		for id := range s.serials {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		for _, id := range ids {
			c := device(t, id, s.serials[id], "")
			terms, err := search.R4().Extract("Device", c.JSON)
			if err != nil {
				return err
			}
			if q.Matches(c.Key, time.Time{}, &terms) && (q.After == nil || id > q.After.ID) {
				if err := found(c.Key, &terms); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return Stored{
		Knows:  search.R4().Knows,
		Linked: each,
		Find: func(q search.Query) (store.Page, error) {
			page := store.Page{Total: -1}
			err := each(q, func(key fhir.Key, _ *search.Terms) error {
				switch n := len(page.Resources); {
				case n < s.page:
					page.Resources = append(page.Resources, fhir.Resource{Key: key})
				case page.Next == nil:
					page.Next = &search.Cursor{ID: page.Resources[n-1].ID}
				}
				return nil
			})
			return page, err
		},
	}
}

func TestAConditionIsAskedOfWhatIsThereAndOfTheChangesBefore(t *testing.T) {
	const one = "Device?identifier=urn:serial|1"
	serials := map[string]string{"a": "1", "b": "1", "c": "1", "d": "4"}
	gone := func(id string) store.Change {
		return store.Change{Key: fhir.Key{Type: "Device", ID: id}, Delete: true}
	}
	for name, test := range map[string]struct {
		before []store.Change
		none   string
		want   string // the ids of the matches
	}{
		"nothing matches":                         {nil, "Device?identifier=urn:serial|2", ""},
		"one is there":                            {nil, "Device?identifier=urn:serial|4", "d"},
		"no more than two are told":               {nil, one, "a b"},
		"what is deleted before":                  {[]store.Change{gone("a"), gone("b")}, one, "c"},
		"all that is there is deleted before":     {[]store.Change{gone("a"), gone("b"), gone("c")}, one, ""},
		"what is replaced before":                 {[]store.Change{device(t, "d", "5", "")}, "Device?identifier=urn:serial|4", ""},
		"what is put before":                      {[]store.Change{device(t, "x", "5", "")}, "Device?identifier=urn:serial|5", "x"},
		"what is put before, and what is there":   {[]store.Change{device(t, "x", "4", "")}, "Device?identifier=urn:serial|4", "x d"},
		"what is there as it is put before":       {[]store.Change{device(t, "d", "4", "")}, "Device?identifier=urn:serial|4", "d"},
		"two that are put before":                 {[]store.Change{device(t, "x", "1", ""), device(t, "y", "1", ""), device(t, "z", "1", "")}, one, "x y"},
		"a link to what is there":                 {nil, "Observation?device.identifier=urn:serial|4", ""},
		"a match by another parameter put before": {[]store.Change{device(t, "x", "5", "")}, "Device?patient=Patient/p5", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			var claims Claims
			changes := append(slices.Clone(test.before), device(t, "new", "1", test.none), device(t, "later", "1", ""))
			c, err := claims.Make(t.Context(), changes, search.R4(), search.R4())
			if err != nil {
				t.Fatal(err)
			}
			defer c.End()
			results := make([]store.Result, len(test.before))
			for i := range results {
				results[i].Key = test.before[i].Key
			}
			err = c.Unmatched(results, there{serials, 1}.stored(t))
			var got []string
			if e, ok := errors.AsType[*store.MatchedError](err); ok {
				for _, r := range e.Matches {
					got = append(got, r.ID)
				}
				if e.Change != len(test.before) {
					t.Errorf("it is change %d, got %d", len(test.before), e.Change)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestAConditionFollowsLinksToWhatIsPutBefore(t *testing.T) {
	for name, test := range map[string]struct {
		before []store.Change
		want   bool
	}{
		"to what is there":              {nil, true},
		"to what is deleted before":     {[]store.Change{{Key: fhir.Key{Type: "Device", ID: "d"}, Delete: true}}, false},
		"to what has changed before":    {[]store.Change{device(t, "d", "5", "")}, false},
		"to what is put before, as one": {[]store.Change{device(t, "d", "4", "")}, true},
	} {
		t.Run(name, func(t *testing.T) {
			observation := store.Change{
				Key:  fhir.Key{Type: "Observation", ID: "o"},
				JSON: []byte(`{"resourceType":"Observation","status":"final","code":{"text":"x"},"device":{"reference":"Device/d"}}`),
			}
			last := device(t, "new", "1", "")
			last.If.None = parse(t, "Observation?device.identifier=urn:serial|4")
			var claims Claims
			c, err := claims.Make(t.Context(), append(slices.Clone(test.before), observation, last), search.R4(), search.R4())
			if err != nil {
				t.Fatal(err)
			}
			defer c.End()
			err = c.Unmatched(make([]store.Result, len(test.before)+1), there{map[string]string{"d": "4"}, 10}.stored(t))
			if errors.Is(err, store.ErrMatched) != test.want || !test.want && err != nil {
				t.Errorf("got %v, want a match: %t", err, test.want)
			}
		})
	}
}

func TestAnErrorOfAConditionNamesTheChange(t *testing.T) {
	changes := []store.Change{device(t, "a", "2", ""), device(t, "b", "1", "Device?identifier=1")}
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		change func(*Stored)
		want   string
	}{
		"a parameter that is not known": {func(s *Stored) { s.Knows = func(search.Query) error { return broken } }, "change 1: condition: broken"},
		"a search that fails":           {func(s *Stored) { s.Find = func(search.Query) (store.Page, error) { return store.Page{}, broken } }, "change 1: condition: broken"},
	} {
		var claims Claims
		c, err := claims.Make(t.Context(), changes, search.R4(), search.R4())
		if err != nil {
			t.Fatal(err)
		}
		s := there{nil, 1}.stored(t)
		test.change(&s)
		if err := c.Unmatched(make([]store.Result, 1), s); !errors.Is(err, broken) || err.Error() != test.want {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
		c.End()
	}
}
