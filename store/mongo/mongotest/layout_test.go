package mongotest

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/256dpi/lungo/bsonkit"
	"github.com/256dpi/lungo/mongokit"
	oldbson "go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/bson/primitive"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store/mongo/layout"
)

// lungo's evaluator of filters has no $regex.
func withRegex() mongokit.Context {
	c := mongokit.Context{TopLevel: mongokit.TopLevelQueryOperators, Expression: map[string]mongokit.Operator{}}
	for name, op := range mongokit.ExpressionQueryOperators {
		c.Expression[name] = op
	}
	c.Expression["$regex"] = func(_ mongokit.Context, doc bsonkit.Doc, _, path string, v any) error {
		pattern, _ := v.(string)
		if r, ok := v.(primitive.Regex); ok {
			pattern = r.Pattern
			if r.Options != "" {
				pattern = "(?" + r.Options + ")" + pattern
			}
		}
		re, err := regexp.Compile(pattern)
		if err != nil {
			return err
		}
		found, _ := bsonkit.All(doc, path, true, true)
		list, ok := found.(primitive.A)
		if !ok {
			list = primitive.A{found}
		}
		for _, x := range list {
			if s, ok := x.(string); ok && re.MatchString(s) {
				return nil
			}
		}
		return mongokit.ErrNotMatched
	}
	plain := c.Expression[""]
	c.Expression[""] = func(x mongokit.Context, doc bsonkit.Doc, op, path string, v any) error {
		if _, ok := v.(primitive.Regex); ok {
			return c.Expression["$regex"](x, doc, op, path, v)
		}
		return plain(x, doc, op, path, v)
	}
	return c
}

// other evaluates filters with an implementation that is not ours.
type other struct{ context mongokit.Context }

func (o other) document(t testing.TB, v any) bsonkit.Doc {
	t.Helper()
	var d oldbson.D
	if err := oldbson.Unmarshal(raw(t, v), &d); err != nil {
		t.Fatal(err)
	}
	return &d
}

func (o other) matches(t testing.TB, doc, filter bsonkit.Doc) bool {
	t.Helper()
	err := mongokit.Process(o.context, doc, *filter, "", true)
	if err != nil && !errors.Is(err, mongokit.ErrNotMatched) {
		t.Fatalf("%v: %v", *filter, err)
	}
	return err == nil
}

type placed struct {
	*resource
	raw bson.Raw
	doc bsonkit.Doc
	odd bool
}

// Every match of a query is found by the filter that MongoDB is asked with, nothing else if there
// is nothing left to decide, in the same order, and behind a cursor what comes after it. lungo
// evaluates the filters, and so does the server here.
func TestMongoDBIsAskedForWhatAQueryMeans(t *testing.T) {
	worlds, queries := 12, 150
	if os.Getenv("KILN_LONG") != "" {
		worlds, queries = 120, 700
	}
	pairs, matching, exact := 0, 0, 0
	evaluator := other{withRegex()}
	for seed := range worlds {
		w := newWorld(t, uint64(seed), 60)
		l := layout.New(nil)
		byType := map[string][]placed{}
		for i := range w.resources {
			r := &w.resources[i]
			doc, err := l.Document(nil, r.key, r.updated, r.json, &r.terms)
			if err != nil {
				t.Fatalf("%s: %v", r.json, err)
			}
			if err := check(doc, 0); err != nil {
				t.Fatal(err)
			}
			_, odd, err := layout.Read(doc, r.key.Type)
			if err != nil {
				t.Fatal(err)
			}
			byType[r.key.Type] = append(byType[r.key.Type], placed{r, doc, evaluator.document(t, doc), odd})
		}
		for range queries {
			of := w.resources[w.IntN(len(w.resources))].key.Type
			q, text, ok := w.query(t, of)
			if !ok {
				continue
			}
			p, m, e := compare(t, evaluator, w, q, text, byType[of])
			if t.Failed() {
				return
			}
			pairs, matching, exact = pairs+p, matching+m, exact+e
		}
	}
	t.Logf("%d pairs of a query and a resource, %d of them match; %d were decided by the filter alone", pairs, matching, exact)
	if least := 20_000; pairs < least && os.Getenv("KILN_LONG") == "" || pairs < 1_000_000 && os.Getenv("KILN_LONG") != "" {
		t.Errorf("too few pairs: %d", pairs)
	}
}

func compare(t *testing.T, o other, w *world, q search.Query, text string, all []placed) (pairs, matching, exact int) {
	place := func(r *placed) search.Cursor { return q.SortKeys(r.key, r.updated, &r.terms) }
	var after *search.Cursor
	for _, from := range []bool{false, true} {
		if from {
			c := place(&all[w.IntN(len(all))])
			asked := q // as a client asks: without what chains became
			asked.Where = slices.DeleteFunc(slices.Clone(q.Where), func(c search.Clause) bool { return c.Among != nil || c.Any != nil })
			decoded, err := search.DecodeCursor(c.Encode(asked), asked)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			after = &decoded
		}
		q.After = after
		f, err := layout.Translate(q)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		filter := raw(t, f.Filter)
		ours, err := compile(filter)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		lungos := o.document(t, f.Filter)
		var found []*placed
		for i := range all {
			r := &all[i]
			pairs++
			wanted := q.Matches(r.key, r.updated, &r.terms)
			behind := after == nil || f.Sort == nil || q.Compare(place(r), *after) > 0
			got, again := o.matches(t, r.doc, lungos), ours.matches(r.raw)
			if got != again {
				t.Fatalf("%s: lungo says %v, we say %v\n%s\n%s", text, got, again, filter, r.raw)
			}
			if f.Never && wanted {
				t.Fatalf("%s: it says never, but there is a match: %s", text, r.json)
			}
			if wanted && behind && !got {
				t.Fatalf("%s after %v: a match is missed\n%s\n%s\n%s", text, after, filter, r.raw, r.json)
			}
			if got && wanted && !behind {
				t.Fatalf("%s after %v: what comes before is found\n%s\n%s", text, after, filter, r.raw)
			}
			if got && !wanted && !f.Asks(r.odd) {
				t.Fatalf("%s: nothing is left to decide, but what is found does not match\n%s\n%s\n%s", text, filter, r.raw, r.json)
			}
			if !f.Asks(r.odd) {
				exact++
			}
			if got && wanted {
				matching++
				found = append(found, r)
			}
		}
		if f.Odd() != nil && len(f.Residual) == 0 && after == nil {
			odd := o.document(t, f.Odd())
			for i := range all {
				r := &all[i]
				if want := r.odd && o.matches(t, r.doc, lungos); o.matches(t, r.doc, odd) != want {
					t.Fatalf("%s: odd documents: got %v, want %v\n%v\n%s", text, !want, want, f.Odd(), r.raw)
				}
			}
		}
		if f.Sort == nil || len(found) < 2 {
			continue
		}
		var list bsonkit.List
		for _, i := range w.Perm(len(found)) {
			list = append(list, found[i].doc)
		}
		list, err = mongokit.Sort(list, o.document(t, f.Sort))
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(found, func(a, b *placed) int { return q.Compare(place(a), place(b)) })
		pattern, err := patternOf(raw(t, f.Sort))
		if err != nil {
			t.Fatal(err)
		}
		last := ""
		for i, r := range found {
			if list[i] != r.doc {
				t.Fatalf("%s: %v sorts otherwise: %s is at %d", text, f.Sort, r.raw, i)
			}
			key, err := sortKey(r.raw, pattern)
			if err != nil || key <= last {
				t.Fatalf("%s: we sort otherwise: %v", text, err)
			}
			last = key
		}
	}
	return pairs, matching, exact
}
