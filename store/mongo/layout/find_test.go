package layout

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/fhir/search"
)

// parsed is the query of a line, resolved: chains and _has lead to x and y of each type.
func parsed(t testing.TB, line string) search.Query {
	t.Helper()
	path, rest, _ := strings.Cut(line, "?")
	var member *search.Clause
	if part := strings.Split(path, "/"); len(part) == 3 {
		c, ok := search.R4().InCompartment(part[2], part[0], part[1])
		if !ok {
			t.Fatalf("%s: no such compartment", line)
		}
		path, member = part[2], &c
	}
	pairs, err := search.Pairs(rest)
	if err != nil {
		t.Fatal(err)
	}
	q, issues, err := search.R4().Parse(path, pairs, search.Options{Now: changed})
	if err != nil || len(issues) > 0 {
		t.Fatalf("%s: %v %v", line, err, issues)
	}
	if member != nil {
		q.Where = append(q.Where, *member)
	}
	q, err = q.Resolve(func(sub search.Query, found func(fhir.Key, *search.Terms) error) error {
		refs := func(id string) *search.Terms {
			terms := &search.Terms{ // of what has a canonical URL, x has a version, too
				URIs: []search.URI{{Param: "url", Value: "http://x.example/" + sub.Type + "/" + id}},
			}
			if id == "x" {
				terms.Tokens = append(terms.Tokens, search.Token{Param: "version", Code: "1|%"})
			}
			for _, name := range []string{"patient", "subject"} {
				terms.References = append(terms.References, search.Reference{Param: name, Type: "Patient", ID: id})
			}
			return terms
		}
		if err := found(fhir.Key{Type: sub.Type, ID: "x"}, refs("x")); err != nil {
			return err
		}
		return found(fhir.Key{Type: sub.Type, ID: "y"}, refs("y"))
	})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func translated(t testing.TB, q search.Query) Find {
	t.Helper()
	f, err := Translate(q)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// queryOf reads a file: a query, and maybe the resource behind which the page begins.
func queryOf(t testing.TB, file string) search.Query {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	q := parsed(t, lines[0])
	if len(lines) > 1 {
		resource, err := os.ReadFile("testdata/" + strings.TrimPrefix(lines[1], "after ") + ".fhir.json")
		if err != nil {
			t.Fatal(err)
		}
		key, terms := extracted(t, resource)
		at := q.SortKeys(key, changed, terms)
		q.After = &at
	}
	return q
}

func queryFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.query")
	if err != nil || len(files) == 0 {
		t.Fatalf("no queries: %v", err)
	}
	return files
}

func TestQueriesAreAskedAsTheGoldenFilesHaveThem(t *testing.T) {
	for _, file := range queryFiles(t) {
		f := translated(t, queryOf(t, file))
		residual := f.Residual
		if residual == nil {
			residual = []int{}
		}
		fhirtest.Golden(t, strings.TrimSuffix(file, ".query")+".find.json", extended(t, bson.D{
			{Key: "filter", Value: f.Filter}, {Key: "sort", Value: f.Sort}, {Key: "hint", Value: f.Hint},
			{Key: "indexes", Value: f.Indexes}, {Key: "ordered", Value: f.Ordered}, {Key: "residual", Value: residual},
		}))
	}
}

func TestTheIndexesSuitTheGoldenQueries(t *testing.T) {
	for _, file := range queryFiles(t) {
		q := queryOf(t, file)
		f := translated(t, q)
		if name := filepath.Base(file); strings.HasPrefix(name, "hot-") && !f.Ordered {
			t.Errorf("%s: the index is not in the order of the query", name)
		}
		lint(t, file, q, f)
	}
}

// lint reports where the index that is meant does not serve a search: equality first, then
// the order of the query, and what else there is only behind.
func lint(t testing.TB, what string, q search.Query, f Find) {
	t.Helper()
	if f.Never {
		return
	}
	indexes := append(Indexes(q.Type), Index{Name: "_id_", Keys: bson.D{{Key: "_id", Value: 1}}})
	branches := []bson.D{f.Filter}
	if len(f.Filter) == 1 && f.Filter[0].Key == "$or" && len(f.Indexes) == 2 {
		branches = nil
		for _, b := range f.Filter[0].Value.(bson.A) {
			branches = append(branches, b.(bson.D))
		}
	}
	if len(f.Indexes) != len(branches) {
		t.Errorf("%s: %d indexes are named for %d alternatives", what, len(f.Indexes), len(branches))
		return
	}
	for i, name := range f.Indexes {
		at := slices.IndexFunc(indexes, func(x Index) bool { return x.Name == name })
		if at < 0 {
			t.Errorf("%s: there is no index %s", what, name)
			return
		}
		if index := indexes[at]; f.Ordered {
			keys, scans := index.Keys, 1
			for len(keys) > 0 && keys[0].Key != f.Sort[0].Key {
				n := pointsOf(branches[i], keys[0].Key)
				if n == 0 {
					t.Errorf("%s: index %s has %s before the order of the query, and the filter no value of it", what, name, keys[0].Key)
					return
				}
				scans, keys = scans*n, keys[1:]
			}
			if scans > maxScans {
				t.Errorf("%s: %d scans are too many for MongoDB to merge", what, scans)
			}
			if !serves(keys, f.Sort) {
				t.Errorf("%s: index %s is not in the order %v", what, name, f.Sort)
			}
		}
	}
	if f.Hint != "" && (f.Hint != f.Indexes[0] || len(f.Indexes) > 1) {
		t.Errorf("%s: the hint %s is not the index that is meant", what, f.Hint)
	}
}

// pointsOf is how many values a filter has for a field, 0 if it is a range.
func pointsOf(f bson.D, name string) int {
	for _, e := range f {
		if e.Key != name {
			continue
		}
		switch v := e.Value.(type) {
		case bson.D:
			if in, ok := operand(v, "$in").(bson.A); ok {
				return len(in)
			}
		default:
			return 1
		}
	}
	return 0
}

// serves reports whether an index gives an order, read from either end.
func serves(keys, sort bson.D) bool {
	if len(keys) < len(sort) {
		return false
	}
	same, turned := true, true
	for i := range sort {
		if keys[i].Key != sort[i].Key {
			return false
		}
		same = same && keys[i].Value == sort[i].Value
		turned = turned && keys[i].Value.(int) == -sort[i].Value.(int)
	}
	return same || turned
}

func TestNoIndexHasTwoArrays(t *testing.T) {
	arrays := []string{"k", "t", "s", "d", "q"}
	for _, of := range search.R4().Types() {
		var names []string
		for _, index := range Indexes(of) {
			if slices.Contains(names, index.Name) {
				t.Errorf("%s has two indexes %s", of, index.Name)
			}
			names = append(names, index.Name)
			found := map[string]bool{}
			for _, key := range index.Keys {
				if root, _, _ := strings.Cut(key.Key, "."); slices.Contains(arrays, root) {
					found[root] = true
				}
			}
			if len(found) > 1 {
				t.Errorf("index %s of %s has more than one array", index.Name, of)
			}
		}
	}
}

func TestTheSearchesThatUSCoreRequiresHaveAnIndex(t *testing.T) {
	values := map[string]string{
		"patient": "pat-1", "subject": "Patient/pat-1", "date": "ge2024-01-01", "onset-date": "ge2024", "_id": "a", "name": "ott", "family": "ott",
		"given": "zoe", "identifier": "urn:x|1", "birthdate": "1961-02-03", "gender": "female", "encounter": "Encounter/e", "_lastUpdated": "ge2024",
		"address": "weimar", "address-city": "weimar", "address-postalcode": "99423", "address-state": "TH", "author": "Practitioner/p",
		"recorded-date": "ge2024", "authored": "ge2024", "authoredon": "ge2024", "asserted-date": "ge2024", "abatement-date": "ge2024",
		"period": "ge2024", "target-date": "ge2024", "location": "Location/l", "practitioner": "Practitioner/p", "organization": "Organization/o",
		"questionnaire": "http://example.org/q", "device": "Device/d", "endpoint": "Endpoint/e", "death-date": "ge2024", "recorder": "Practitioner/p",
	}
	file, err := os.Open(filepath.Join(fhirtest.Shared(t), "tables", "us-core-required-searches.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	seen := map[string]bool{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		column := strings.Split(lines.Text(), "\t")
		if len(column) < 4 || column[1] == "resource" {
			continue
		}
		var pairs []string
		byPatient := false
		for _, name := range strings.Split(column[3], "+") {
			value, ok := values[name]
			if !ok {
				value = "some-code"
			}
			pairs = append(pairs, name+"="+value)
			byPatient = byPatient || name == "patient"
		}
		line := column[1] + "?" + strings.Join(pairs, "&")
		if seen[line] {
			continue
		}
		seen[line] = true
		path, rest, _ := strings.Cut(line, "?")
		p, err := search.Pairs(rest)
		if err != nil {
			t.Fatal(err)
		}
		q, issues, err := search.R4().Parse(path, p, search.Options{Now: changed})
		if err != nil || len(issues) > 0 { // parameters that US Core adds
			continue
		}
		f := translated(t, q)
		lint(t, line, q, f)
		if len(f.Residual) > 0 {
			t.Errorf("%s: clauses %v are not decided by the filter", line, f.Residual)
		}
		index := f.Indexes[0]
		if index == "d0" || index == "_id_" && !strings.Contains(line, "_id=") {
			t.Errorf("%s reads index %s from end to end", line, index)
		}
		if byPatient && !strings.HasPrefix(index, "pt") && !strings.Contains(line, "_id=") {
			t.Errorf("%s does not go by the patient, but by %s", line, index)
		}
	}
	if len(seen) < 15 {
		t.Errorf("only %d searches were looked at", len(seen))
	}
}

func TestTheOrderOfAQueryEndsWithTheID(t *testing.T) {
	q := search.Query{Type: "Patient", Sort: []search.Sort{{Param: "family", Type: search.StringParam}, {Param: "_id", Descending: true}, {Param: "gender", Type: search.TokenParam}}}
	want := bson.D{{Key: "o.a.family", Value: 1}, {Key: "_id", Value: -1}}
	if got := sortOf(q); !slices.Equal(got, want) {
		t.Errorf("sort is %v, want %v", got, want)
	}
	if got := sortOf(search.Query{Type: "Patient"}); len(got) != 1 || got[0].Key != "_id" {
		t.Errorf("without an order it is %v", got)
	}
}

func TestALinkThatLeadsNowhereIsNotAskedFor(t *testing.T) {
	q := search.Query{Type: "Observation", Where: []search.Clause{{Among: map[fhir.Key]bool{}}}}
	if f := translated(t, q); !f.Never {
		t.Errorf("%+v could match", f)
	}
	q.Where = []search.Clause{{Chain: []search.Query{{}}}}
	if f := translated(t, q); !f.Never {
		t.Errorf("a chain that is not resolved could match: %+v", f)
	}
}

func TestAFilterThatMongoDBWouldNotTakeIsRefused(t *testing.T) {
	q := search.Query{Type: "Patient"}
	for i := range 50 {
		c := search.Clause{Param: search.Param{Name: "family", Type: search.StringParam}}
		for j := range 2000 {
			c.Values = append(c.Values, search.Value{String: strings.Repeat("x", 100) + strconv.Itoa(2000*i+j)})
		}
		q.Where = append(q.Where, c)
	}
	if _, err := Translate(q); err == nil {
		t.Error("a filter of more than 14 MB was made")
	}
}
