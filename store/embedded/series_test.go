package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

func TestWhichResourcesAreInASeries(t *testing.T) {
	many := `{"resourceType":"Observation","subject":{"reference":"Patient/p1"},"component":[`
	for i := range maxDefined + 1 {
		many += fmt.Sprintf(`{"code":{"coding":[{"code":"c%d"}]}},`, i)
	}
	many = many[:len(many)-1] + "]}"
	for name, test := range map[string]struct {
		json string
		in   bool
	}{
		"an Observation of a patient":            {`{"resourceType":"Observation","subject":{"reference":"Patient/p1"},"code":{"coding":[{"code":"c"}]}}`, true},
		"one without a code or a date":           {`{"resourceType":"Observation","subject":{"reference":"Patient/p1"}}`, true},
		"one of a group":                         {`{"resourceType":"Observation","subject":{"reference":"Group/g1"}}`, false},
		"one of nobody":                          {`{"resourceType":"Observation"}`, false},
		"one of a patient of another server":     {`{"resourceType":"Observation","subject":{"reference":"http://x.example/Patient/p1"}}`, false},
		"one with too many codes":                {many, false},
		"another type with patient and date":     {`{"resourceType":"Encounter","subject":{"reference":"Patient/p1"}}`, true},
		"a type without a date":                  {`{"resourceType":"Device","patient":{"reference":"Patient/p1"}}`, false},
		"one of two patients":                    {`{"resourceType":"AuditEvent","entity":[{"what":{"reference":"Patient/p1"}},{"what":{"reference":"Patient/p2"}}]}`, false},
		"one of a patient who is named twice":    {`{"resourceType":"AuditEvent","entity":[{"what":{"reference":"Patient/p1"}},{"what":{"reference":"Patient/p1"}}]}`, true},
		"a resource of a type that is not there": {`{"resourceType":"Nonsense","subject":{"reference":"Patient/p1"}}`, false},
	} {
		s := memory(t)
		of, _, _, err := fhir.Parse([]byte(test.json))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(t.Context(), store.Change{Key: fhir.Key{Type: of, ID: "a"}, JSON: []byte(test.json)}); err != nil {
			t.Fatal(err)
		}
		v := s.look()
		r, found, err := v.record(appendCurrent(nil, of, "a"))
		s.letGo(v)
		if err != nil || !found || (r.place.series != 0) != test.in {
			t.Errorf("%s: got series %d, %v", name, r.place.series, err)
		}
		if err := verify(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func drawTerms(t *rapid.T, label string) search.Terms {
	text := rapid.SampledFrom([]string{"", "a", "b", "a\x00b", "\x01", "\xff"})
	var terms search.Terms
	for _, param := range rapid.SliceOfN(rapid.SampledFrom([]string{"category", "code", "combo-code", "component-code", "status"}), 0, 6).Draw(t, label+" tokens") {
		terms.Tokens = append(terms.Tokens, search.Token{Param: param, System: text.Draw(t, "system"), Code: text.Draw(t, "code")})
	}
	terms.References = append(terms.References, search.Reference{Param: "patient", Type: "Patient", ID: rapid.SampledFrom([]string{"p1", "p2"}).Draw(t, "id")})
	for _, param := range rapid.SliceOfN(rapid.SampledFrom([]string{"patient", "subject", "device"}), 0, 4).Draw(t, label+" references") {
		terms.References = append(terms.References, search.Reference{
			Param: param, URL: text.Draw(t, "url"), Version: text.Draw(t, "version"), IdentifierSystem: text.Draw(t, "system"), IdentifierValue: text.Draw(t, "value"),
		})
	}
	if rapid.Bool().Draw(t, "long") {
		terms.Dates = []search.Date{{Param: sortDate, Low: time.Unix(0, 0)}}
	}
	return terms
}

// defining are the terms that a definition has, sorted.
func defining(terms search.Terms) string {
	var all []string
	for _, v := range terms.Tokens {
		if slices.Contains(seriesTokens, v.Param) {
			all = append(all, fmt.Sprintf("%q", v))
		}
	}
	for _, v := range terms.References {
		if slices.Contains(seriesReferences, v.Param) {
			all = append(all, fmt.Sprintf("%q", v))
		}
	}
	slices.Sort(all)
	return fmt.Sprint(slices.Compact(all))
}

func TestADefinitionSaysWhatTheTermsSayAndNothingElse(t *testing.T) {
	l := layoutOf("Observation")
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawTerms(t, "a"), drawTerms(t, "b")
		var d, e definer
		of, patients := d.define(l, &a)
		other, _ := e.define(l, &b)
		if of == nil || len(patients) != 1 || other == nil {
			t.Fatalf("got %q %v", of, patients)
		}
		s, err := readSeries(of)
		_, span, _ := extent(&a, sortDate)
		if err != nil || s.patient != patients[0] || s.span != span || defining(s.terms) != defining(a) {
			t.Fatalf("got %+v %v, want %s", s, err, defining(a))
		}
		_, span2, _ := extent(&b, sortDate)
		if same := defining(a) == defining(b) && span == span2; same != bytes.Equal(of, other) {
			t.Fatalf("same: %v, but %q and %q", same, of, other)
		}
	})
}

func observationOf(patient, code, id string) store.Change {
	return store.Change{Key: fhir.Key{Type: "Observation", ID: id}, JSON: fmt.Appendf(nil,
		`{"resourceType":"Observation","subject":{"reference":"Patient/%s"},"code":{"coding":[{"code":"%s"}]},"effectiveDateTime":"2026-01-01"}`, patient, code)}
}

func TestConcurrentFirstWritersOfASeriesAgreeOnItsNumber(t *testing.T) {
	s := openIn(t, storeDir(t), nil)
	s.numbers.limit = 300 // forgets nearly everything
	const writers, patients, codes = 16, 8, 4
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for p := range patients {
				var changes []store.Change
				for c := range codes {
					changes = append(changes, observationOf(fmt.Sprint("p", p), fmt.Sprint("c", c), fmt.Sprintf("o-%d-%d-%d", w, p, c)))
				}
				ctx := context.Background()
				if w%4 == 0 { // some fail, and their numbers must not stay behind
					changes[codes-1].If.Version = "7"
				}
				if _, err := s.Write(ctx, changes...); (err != nil) != (w%4 == 0) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if len(s.numbers.pending) > 0 {
		t.Errorf("%d numbers are on their way for ever", len(s.numbers.pending))
	}
	if err := verify(s); err != nil {
		t.Error(err)
	}
	s = reopen(t, s, nil)
	if _, err := s.Write(t.Context(), observationOf("p0", "c0", "again"), observationOf("new", "c0", "new")); err != nil {
		t.Fatal(err)
	}
	if err := verify(s); err != nil {
		t.Error(err)
	}
	n := 0
	if err := eachKey(s, definitionKey, definitionKey, func(_, _ []byte) error { n++; return nil }); err != nil || n != patients*codes+1 {
		t.Errorf("there are %d series, want %d, %v", n, patients*codes+1, err)
	}
	page, err := s.Search(t.Context(), parseQuery(t, "Observation?patient=p0&code=c0&_count=100&_total=accurate"))
	if want := writers*3/4 + 1; err != nil || len(page.Resources) != want || page.Total != want {
		t.Errorf("found %d of %d, want %d, %v", len(page.Resources), page.Total, want, err)
	}
}

func TestANumberIsOfOneDefinitionForGood(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := newNumbers(1)
		n.limit = rapid.IntRange(0, 400).Draw(t, "limit")
		disk, owner := map[string]uint64{}, map[uint64]string{}
		type writer struct {
			name   string
			number uint64
		}
		var writers []writer
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(writers) > 0 && rapid.Bool().Draw(t, "end") {
				i := rapid.IntRange(0, len(writers)-1).Draw(t, "writer")
				w := writers[i]
				writers = slices.Delete(writers, i, i+1)
				written := rapid.Bool().Draw(t, "written")
				if written {
					disk[w.name] = w.number
				}
				n.done(w.name, written)
				continue
			}
			name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "name")
			number, fresh, err := n.of([]byte(name), func() (uint64, error) {
				if rapid.IntRange(0, 9).Draw(t, "fails") == 0 {
					return 0, errors.New("the disk")
				}
				return disk[name], nil
			})
			if err != nil {
				continue
			}
			if is, ok := owner[number]; ok && is != name || number == 0 {
				t.Fatalf("%d is of %s and of %s", number, is, name)
			}
			owner[number] = name
			if is := disk[name]; is != 0 && is != number {
				t.Fatalf("%s has the number %d on disk, and got %d", name, is, number)
			}
			if !fresh && disk[name] != number {
				t.Fatalf("nobody has written the definition of %d", number)
			}
			if fresh {
				writers = append(writers, writer{name, number})
			}
		}
	})
}

// inline is a store as a program before series would have left it.
func inline(t *testing.T, s *Store) {
	t.Helper()
	b := s.db.NewBatch()
	err := eachKey(s, currentKey, currentKey, func(key, value []byte) error {
		r, err := readRecord(value)
		if err != nil || r.place.series == 0 {
			return err
		}
		_, id, _ := bytes.Cut(key[1:], []byte{0})
		if r, err = whole(s.db, r, string(id)); err != nil {
			return err
		}
		return b.Set(key, r.append(nil), nil)
	})
	for _, kind := range []byte{definitionKey, seriesKey, memberKey, recordKey} {
		err = errors.Join(err, b.DeleteRange([]byte{kind}, []byte{kind + 1}, nil))
	}
	if err := errors.Join(err, b.Set(formatKey, []byte("1"), nil), b.Set(indexKey, []byte("older"), nil), b.Commit(pebble.Sync)); err != nil {
		t.Fatal(err)
	}
}

// A crash at any moment of the conversion leaves a store that opens, and goes on with it.
func TestAStoreOfAnOlderProgramIsConvertedHoweverOftenThatIsInterrupted(t *testing.T) {
	fhirtest.Long(t)
	mem := vfs.NewCrashableMem()
	s := openIn(t, "store", &Options{FS: mem})
	var changes []store.Change
	for i := range 4500 { // some batches
		changes = append(changes, reading(i))
	}
	for i := range 50 {
		changes = append(changes, sample(i, i))
	}
	if _, err := s.Write(t.Context(), changes...); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(t.Context(), sample(1, 2), sample(2, 3), sample(3, 6)); err != nil {
		t.Fatal(err)
	}
	want := contents(t, s)
	inline(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fs, half := mem, 0
	for crash := 0; ; crash++ {
		s, crashed := crashing(t, fs, nil, 130+50*crash)
		if got := contents(t, s); !maps.Equal(got, want) {
			t.Fatalf("after %d crashes there are %d resources, want %d", crash, len(got), len(want))
		}
		if crashed == nil {
			if err := verify(s); err != nil {
				t.Error(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if crashed == nil { // the conversion was at its end
			break
		}
		if fs = crashed; isHalf(t, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})) {
			half++
		}
	}
	if half == 0 {
		t.Error("no crash was in the middle of the conversion")
	}
}

// What was begun for some parameters is not taken for the index of others.
func TestAnIndexThatACrashLeftHalfMadeIsMadeAnewForWhateverParameters(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := openIn(t, "store", &Options{FS: mem})
	var changes []store.Change
	for i := range 5000 {
		changes = append(changes, reading(i))
	}
	if _, err := s.Write(t.Context(), changes...); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, crashed := crashing(t, mem, withNote(t), 50)
	if err := errors.Join(verify(s), s.Close()); err != nil {
		t.Fatal(err)
	}
	if crashed == nil {
		t.Fatal("there was no crash")
	}
	if err := verify(openIn(t, "store", &Options{FS: crashed})); err != nil {
		t.Error(err)
	}
}

// crashing opens a store, and gives the files as a crash would have left them when the log
// had been written to so often, nil if it was not.
func crashing(t *testing.T, fs *vfs.MemFS, p *search.Parameters, writes int) (*Store, *vfs.MemFS) {
	t.Helper()
	var crashed *vfs.MemFS
	var f faults
	f.set(func(op errorfs.Op) error {
		if isLog(op) && op.Kind == errorfs.OpFileWrite && crashed == nil {
			if writes--; writes < 0 {
				crashed = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
			}
		}
		return nil
	})
	s := openIn(t, "store", &Options{FS: wrap(fs, &f), Parameters: p})
	f.set(func(errorfs.Op) error { return nil })
	return s, crashed
}

// contents are all current resources, as they are read one by one.
func contents(t *testing.T, s *Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := eachKey(s, currentKey, currentKey, func(key, _ []byte) error {
		of, id, _ := bytes.Cut(key[1:], []byte{0})
		r, err := s.Read(context.Background(), fhir.Key{Type: string(of), ID: string(id)})
		if err == nil {
			all[r.ID] = r.Version + string(r.JSON)
		} else if errors.Is(err, store.ErrGone) {
			err = nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// isHalf reports whether some resources have been moved into series and others have not.
func isHalf(t *testing.T, fs vfs.FS) bool {
	t.Helper()
	db, err := pebble.Open("store", &pebble.Options{FS: fs, Logger: &logger{}, FormatMajorVersion: pebble.FormatTableFormatV6})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	moved, left := 0, 0
	err = eachKey(&Store{db: db}, currentKey, currentKey, func(_, value []byte) error {
		if value[0] == placedRecord {
			moved++
		} else {
			left++
		}
		return nil
	})
	return err == nil && moved > 0 && left > 1000
}

// Who walks the series of a patient finds what the plain meaning of search finds, also where
// they are too many to be read side by side.
func TestSeriesPlansAgreeWithThePlainMeaning(t *testing.T) {
	s := memory(t)
	for i := range 300 {
		if _, err := s.Write(t.Context(), sample(i%120, i*7%1000), observationOf(fmt.Sprint("p", i%4), fmt.Sprint("c", i%9), fmt.Sprint("q", i%200))); err != nil {
			t.Fatal(err)
		}
	}
	v := s.look()
	defer s.letGo(v)
	for _, limit := range []limits{defaultLimits(), {pageBytes: 1500, ranges: 4, systems: 1, merged: 1, series: 3, codes: 2, distinct: 3, linked: 1, ids: 1, seen: 2}} {
		s.limits = limit
		for _, text := range []string{
			"patient=p1", "patient=p1,p2", "patient=p1&code=c", "patient=p1&code=c1,c2", "patient=p1&code:not=c1", "patient=p1&code=%7Cc", "patient=p1&code=http://loinc.org%7C",
			"patient=p1&category=k1", "patient=p1&category:missing=true", "patient=p1&combo-code=c2", "patient=p1&component-code=c2", "patient=p1&date=ge2026-01-01", "patient=p1&date=2026&code=c",
			"patient=p1&date=ne2026-01-02T03:04:05Z", "subject=Patient/p1", "subject=p1&code=c", "subject=p1,p3", "subject=Group/p1", "patient=p1&status=final", "patient=p1&value-quantity=gt70&code=c1",
			"patient:missing=true", "code=c&category=k0", "category=k0&_sort=-_lastUpdated", "identifier=3&patient=p1", "patient=nobody", "patient=p1&patient=p2",
		} {
			q := parseQuery(t, "Observation?"+text+"&_count=1000&_total=accurate")
			page, err := s.Search(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			var got, want []string
			for {
				for _, r := range page.Resources {
					got = append(got, r.ID)
				}
				if page.Next == nil {
					break
				}
				total := page.Total
				q.After = page.Next
				if page, err = s.Search(t.Context(), q); err != nil || page.Total != total {
					t.Fatalf("%s: %d of a later page, want %d, %v", text, page.Total, total, err)
				}
			}
			err = eachKey(s, currentKey, currentKey, func(key, _ []byte) error {
				_, id, _ := bytes.Cut(key[1:], []byte{0})
				r, _, err := v.current("Observation", string(id))
				if err != nil || r.deleted {
					return err
				}
				terms, err := s.params.Extract("Observation", r.json)
				if q.Matches(fhir.Key{Type: "Observation", ID: string(id)}, r.at(), &terms) {
					want = append(want, string(id))
				}
				return err
			})
			slices.Sort(got)
			if err != nil || !slices.Equal(got, want) || page.Total != len(want) {
				t.Errorf("%s: found %d of %d, want %d, %v", text, len(got), page.Total, len(want), err)
			}
		}
	}
}

func TestTheKeysOfAReading(t *testing.T) {
	s := memory(t)
	if _, err := s.Write(t.Context(), reading(0), reading(1000)); err != nil { // of one series
		t.Fatal(err)
	}
	got := map[string]int{}
	err := eachKey(s, 0, 0xfe, func(key, _ []byte) error {
		kind := string(key[:1])
		if strings.Contains("de", kind) {
			kind += " " + strings.Split(string(key[1:]), "\x00")[1]
		}
		got[kind]++
		return nil
	})
	want := map[string]int{"c": 2, "r": 2, "p": 2, "k": 1, "l": 1, "n": 1, "u": 2, "d date": 2, "e code": 4, "e device": 2, "e identifier": 2, "q": 2, "m": 2}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, want %v, %v", got, want, err)
	}
	// The newest of a series comes first.
	var ids []string
	if err := eachKey(s, recordKey, recordKey, func(key, value []byte) error {
		r, err := readPlaced(value)
		dates, known := datesOf(dateOf(key[1+numberLen:]), r.length)
		if known && len(dates) == 1 && dates[0].High.Sub(dates[0].Low) == time.Second {
			ids = append(ids, string(key[1+numberLen+dateLen:]))
		}
		return err
	}); err != nil || !slices.Equal(ids, []string{reading(1000).ID, reading(0).ID}) {
		t.Errorf("got %v, %v", ids, err)
	}
}

// eachKey calls f for all keys of the kinds from one to another.
func eachKey(s *Store, from, to byte, f func(key, value []byte) error) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{from}, UpperBound: []byte{to + 1}})
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if err := f(it.Key(), value); err != nil {
			return err
		}
	}
	return it.Error()
}
