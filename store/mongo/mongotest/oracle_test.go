package mongotest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store/mongo/layout"
)

// deployed is a database of the MongoDB that KILN_TEST_MONGODB_URI names, which is dropped when the
// test ends.
func deployed(t *testing.T) *mongo.Database {
	t.Helper()
	uri := os.Getenv("KILN_TEST_MONGODB_URI")
	if uri == "" {
		t.Skip("KILN_TEST_MONGODB_URI names no deployment of MongoDB")
	}
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	db := client.Database(Database())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := db.Drop(ctx); err != nil {
			t.Errorf("the database %s is left: %v", db.Name(), err)
		}
		_ = client.Disconnect(ctx)
	})
	return db
}

// idsOf are the ids of what a find of a real MongoDB gives, in its order.
func idsOf(t rapid.TB, c *mongo.Collection, filter any, o *options.FindOptionsBuilder) []string {
	t.Helper()
	cursor, err := c.Find(context.Background(), filter, o.SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		t.Fatalf("%v: %v", filter, err)
	}
	var found []struct {
		ID string `bson:"_id"`
	}
	if err := cursor.All(context.Background(), &found); err != nil {
		t.Fatalf("%v: %v", filter, err)
	}
	ids := make([]string, len(found))
	for i := range found {
		ids[i] = found[i].ID
	}
	return ids
}

// A real MongoDB finds for random queries, as they are translated, what the plain meaning of search
// says, what lungo finds, and what the server here finds: in the same order, with the indexes of the
// layout and without any, and behind a cursor, too.
func TestARealMongoDBFindsWhatAQueryMeans(t *testing.T) {
	t.Parallel()
	db := deployed(t)
	worlds, queries := 6, 150
	if os.Getenv("KILN_LONG") != "" {
		worlds, queries = 60, 700
	}
	evaluator := other{withRegex()}
	asked, matching := 0, 0
	for seed := range worlds {
		w := newWorld(t, uint64(seed)+1000, 60)
		l := layout.New(nil)
		byType := map[string][]placed{}
		for i := range w.resources {
			r := &w.resources[i]
			doc, err := l.Document(nil, r.key, r.updated, r.json, &r.terms)
			if err != nil {
				t.Fatalf("%s: %v", r.json, err)
			}
			_, odd, err := layout.Read(doc, r.key.Type)
			if err != nil {
				t.Fatal(err)
			}
			byType[r.key.Type] = append(byType[r.key.Type], placed{r, doc, evaluator.document(t, doc), odd})
		}
		collections := map[string]*mongo.Collection{}
		for of, all := range byType {
			collections[of] = db.Collection(fmt.Sprint(of, seed))
			fill(t, collections[of], of, all)
		}
		for range queries {
			of := w.resources[w.IntN(len(w.resources))].key.Type
			q, text, ok := w.query(t, of)
			if !ok {
				continue
			}
			n, m := ask(t, w, collections[of], evaluator, q, text, byType[of])
			if t.Failed() {
				return
			}
			asked, matching = asked+n, matching+m
		}
	}
	t.Logf("%d questions to MongoDB, with %d matches in all", asked, matching)
	if matching < 1000 {
		t.Errorf("too few matches: %d", matching)
	}
}

// fill makes a collection as the store does, with the indexes of its type.
func fill(t *testing.T, c *mongo.Collection, of string, all []placed) {
	t.Helper()
	var models []mongo.IndexModel
	for _, i := range layout.Indexes(of) {
		o := options.Index().SetName(i.Name).SetUnique(i.Unique)
		if i.Partial != nil {
			o.SetPartialFilterExpression(i.Partial)
		}
		models = append(models, mongo.IndexModel{Keys: i.Keys, Options: o})
	}
	if _, err := c.Indexes().CreateMany(t.Context(), models); err != nil {
		t.Fatal(err)
	}
	var docs []any
	for i := range all {
		docs = append(docs, all[i].raw)
	}
	if _, err := c.InsertMany(t.Context(), docs); err != nil {
		t.Fatal(err)
	}
}

// ask asks MongoDB for a query in all ways, and compares.
func ask(t *testing.T, w *world, c *mongo.Collection, o other, q search.Query, text string, all []placed) (asked, matching int) {
	t.Helper()
	place := func(r *placed) search.Cursor { return q.SortKeys(r.key, r.updated, &r.terms) }
	for _, from := range []bool{false, true} {
		if from {
			at := place(&all[w.IntN(len(all))])
			plain := q // as a client asks: without what chains became
			plain.Where = slices.DeleteFunc(slices.Clone(q.Where), func(c search.Clause) bool { return c.Among != nil || c.Any != nil })
			after, err := search.DecodeCursor(at.Encode(plain), plain)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			q.After = &after
		}
		f, err := layout.Translate(q)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		lungos := o.document(t, f.Filter)
		var want []string // by lungo, whose agreement with the server here another test shows
		for i := range all {
			if o.matches(t, all[i].doc, lungos) {
				want = append(want, all[i].key.ID)
			}
		}
		slices.Sort(want)
		ways := []*options.FindOptionsBuilder{options.Find(), options.Find().SetHint(bson.D{{Key: "$natural", Value: 1}})}
		if f.Hint != "" {
			ways = append(ways, options.Find().SetHint(f.Hint))
		}
		for i, way := range ways {
			if f.Sort != nil {
				way.SetSort(f.Sort)
			}
			got := idsOf(t, c, f.Filter, way)
			asked++
			inOrder := slices.Clone(got)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("%s: the filter %v finds %q in MongoDB, way %d, and %q by lungo", text, f.Filter, got, i, want)
			}
			found := map[string]*placed{}
			for i := range all {
				found[all[i].key.ID] = &all[i]
			}
			var matches []*placed
			for _, id := range inOrder {
				r := found[id]
				if q.Matches(r.key, r.updated, &r.terms) {
					matches = append(matches, r)
				} else if !f.Asks(r.odd) {
					t.Fatalf("%s: MongoDB finds %s, which does not match, and nothing is left to decide: %s", text, id, r.json)
				}
			}
			if f.Sort != nil && !slices.IsSortedFunc(matches, func(a, b *placed) int { return q.Compare(place(a), place(b)) }) {
				t.Fatalf("%s: MongoDB sorts by %v otherwise: %q", text, f.Sort, inOrder)
			}
			for i := range all {
				r := &all[i]
				behind := q.After == nil || f.Sort == nil || q.Compare(place(r), *q.After) > 0
				if behind && q.Matches(r.key, r.updated, &r.terms) && !slices.Contains(inOrder, r.key.ID) {
					t.Fatalf("%s: MongoDB misses %s: %s", text, r.key.ID, r.json)
				}
			}
			matching += len(matches)
		}
	}
	return asked, matching
}

// Whatever is asked, the server here answers as a real MongoDB does: values of all types beside and
// in each other, with the indexes and without.
func TestARealMongoDBAnswersAsTheServerHereDoes(t *testing.T) {
	t.Parallel()
	db := deployed(t)
	real := db.Collection("things")
	for i, keys := range []bson.D{{{Key: "p", Value: 1}, {Key: "c", Value: 1}, {Key: "d", Value: -1}, {Key: "_id", Value: 1}}, {{Key: "d", Value: -1}, {Key: "_id", Value: 1}},
		{{Key: "c", Value: -1}}, {{Key: "q.k", Value: 1}, {Key: "q.lo", Value: -1}}} {
		if _, err := real.Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: keys, Options: options.Index().SetName(fmt.Sprint("i", i))}); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		c := newCollection("kiln.things")
		if _, err := real.DeleteMany(context.Background(), bson.D{}); err != nil {
			t.Fatal(err)
		}
		var docs []any
		for i := range rapid.IntRange(1, 12).Draw(t, "documents") {
			d := anyDocument(t, i)
			docs = append(docs, d)
			b, err := bson.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			doc, key, err := stored(b)
			if err != nil {
				t.Fatal(err)
			}
			c.apply(nil, &record{int64(i), key, doc})
		}
		if _, err := real.InsertMany(context.Background(), docs); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			filter, err := bson.Marshal(anyFilter(t, 0))
			if err != nil {
				t.Fatal(err)
			}
			sort := bson.D{{Key: "_id", Value: 1}}
			if rapid.Bool().Draw(t, "by d") {
				sort = bson.D{{Key: "d", Value: rapid.SampledFrom([]int32{1, -1}).Draw(t, "way")}, sort[0]}
			}
			sorting, err := bson.Marshal(sort)
			if err != nil {
				t.Fatal(err)
			}
			q, err := newQuestion(filter, sorting, bson.RawValue{})
			if err != nil {
				t.Fatal(err)
			}
			x, err := c.execute(q)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, r := range x.records {
				id, _ := field(r.doc, "_id")
				want = append(want, id.StringValue())
			}
			for _, way := range []*options.FindOptionsBuilder{options.Find(), options.Find().SetHint(bson.D{{Key: "$natural", Value: 1}})} {
				if got := idsOf(t, real, bson.Raw(filter), way.SetSort(sort)); !slices.Equal(got, want) {
					t.Fatalf("%s sort %s: MongoDB finds %q, the server here %q\n%s", bson.Raw(filter), bson.Raw(sorting), got, want, strings.Join(texts(x.records), "\n"))
				}
			}
		}
	})
}
