package mongotest

import (
	"fmt"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"
)

func raw(t testing.TB, v any) bson.Raw {
	t.Helper()
	b, err := bson.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// anyValue is a value of a few, so that they meet.
func anyValue(t *rapid.T) any {
	return rapid.SampledFrom([]any{nil, int32(1), int64(2), 2.5, 3.0, "", "a", "ab", "b", true, bson.DateTime(5), bson.Binary{Data: []byte{1}}}).Draw(t, "value")
}

func anyDocument(t *rapid.T, id int) bson.D {
	d := bson.D{{Key: "_id", Value: fmt.Sprint(id)}}
	for _, name := range []string{"p", "d"} {
		if rapid.Bool().Draw(t, name) {
			d = append(d, bson.E{Key: name, Value: anyValue(t)})
		}
	}
	for _, name := range []string{"c", "q"} {
		n := rapid.IntRange(-1, 3).Draw(t, name)
		if n < 0 {
			continue
		}
		list := bson.A{}
		for range n {
			if name == "q" {
				list = append(list, bson.D{{Key: "k", Value: anyValue(t)}, {Key: "lo", Value: anyValue(t)}})
			} else {
				list = append(list, anyValue(t))
			}
		}
		d = append(d, bson.E{Key: name, Value: list})
	}
	return d
}

func anyFilter(t *rapid.T, depth int) bson.D {
	f := bson.D{}
	for range rapid.IntRange(0, 3).Draw(t, "conditions") {
		name := rapid.SampledFrom([]string{"p", "d", "c", "q.k", "q.lo", "q", "$or", "_id", "c"}).Draw(t, "field")
		switch {
		case name == "$or":
			if depth > 0 {
				continue
			}
			branches := bson.A{}
			for range rapid.IntRange(1, 3).Draw(t, "branches") {
				branches = append(branches, anyFilter(t, depth+1))
			}
			f = append(f, bson.E{Key: "$or", Value: branches})
		case name == "q":
			f = append(f, bson.E{Key: "q", Value: bson.D{{Key: "$elemMatch", Value: bson.D{{Key: "k", Value: anyCondition(t)}, {Key: "lo", Value: anyCondition(t)}}}}})
		case name == "_id":
			f = append(f, bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: "4"}}})
		default:
			f = append(f, bson.E{Key: name, Value: anyCondition(t)})
		}
	}
	return f
}

func anyCondition(t *rapid.T) any {
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0, 1:
		return anyValue(t)
	case 2:
		list := bson.A{}
		for range rapid.IntRange(0, 3).Draw(t, "values") {
			list = append(list, anyValue(t))
		}
		return bson.D{{Key: "$in", Value: list}}
	case 3:
		return bson.D{{Key: "$ne", Value: anyValue(t)}}
	case 4:
		return bson.D{{Key: "$gte", Value: anyValue(t)}, {Key: "$lt", Value: anyValue(t)}}
	case 5:
		return bson.D{{Key: "$exists", Value: rapid.Bool().Draw(t, "exists")}}
	}
	return bson.D{{Key: rapid.SampledFrom([]string{"$gt", "$lte"}).Draw(t, "op"), Value: anyValue(t)}}
}

func TestEveryPlanFindsWhatAWalkOverAllFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &Server{}
		c := newCollection("kiln.things")
		for i, keys := range []bson.D{{{Key: "p", Value: 1}, {Key: "c", Value: 1}, {Key: "d", Value: -1}, {Key: "_id", Value: 1}}, {{Key: "d", Value: -1}, {Key: "_id", Value: 1}},
			{{Key: "c", Value: -1}}, {{Key: "q.k", Value: 1}, {Key: "q.lo", Value: -1}}, {{Key: "p", Value: -1}, {Key: "d", Value: 1}}, {{Key: "d", Value: 1}}} {
			b, _ := bson.Marshal(bson.D{{Key: "name", Value: fmt.Sprint("i", i)}, {Key: "key", Value: keys}})
			if err := s.createIndex(c, b); err != nil {
				t.Fatal(err)
			}
		}
		b, _ := bson.Marshal(bson.D{{Key: "name", Value: "part"}, {Key: "key", Value: bson.D{{Key: "d", Value: 1}}}, {Key: "partialFilterExpression", Value: bson.D{{Key: "p", Value: bson.D{{Key: "$gte", Value: "a"}}}}}})
		if err := s.createIndex(c, b); err != nil {
			t.Fatal(err)
		}
		for i := range rapid.IntRange(0, 12).Draw(t, "documents") {
			b, _ := bson.Marshal(anyDocument(t, i))
			doc, key, err := stored(b)
			if err != nil {
				t.Fatal(err)
			}
			c.apply(nil, &record{int64(i), key, doc})
		}
		filter, _ := bson.Marshal(anyFilter(t, 0))
		var sort bson.D
		for _, name := range []string{"d", "_id"} {
			if rapid.Bool().Draw(t, "by "+name) {
				sort = append(sort, bson.E{Key: name, Value: rapid.SampledFrom([]int32{1, -1}).Draw(t, "way")})
			}
		}
		sorting, _ := bson.Marshal(sort)
		natural, _ := bson.Marshal(bson.D{{Key: "$natural", Value: 1}})
		q, err := newQuestion(filter, sorting, bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: natural})
		if err != nil {
			t.Fatal(err)
		}
		want, err := c.execute(q)
		if err != nil {
			t.Fatal(err)
		}
		q.hint = bson.RawValue{}
		plans := plansOf(c.indexes, q)
		for i := range plans {
			got, _, err := c.try(&plans[i], q, most)
			if err != nil {
				t.Fatal(err)
			}
			for _, list := range [][]*record{got.records, want.records} {
				if len(sort) == 0 || sort[len(sort)-1].Key != "_id" {
					slices.SortStableFunc(list, func(a, b *record) int { return int(a.number - b.number) })
				}
			}
			if !slices.Equal(got.records, want.records) {
				t.Fatalf("%s sort %s: got %s\nwant %s\nwith %+v", filter, sorting, texts(got.records), texts(want.records), got.plan)
			}
			if got.docs > c.records.Len() {
				t.Fatalf("it read %d documents of %d", got.docs, c.records.Len())
			}
		}
	})
}

func texts(records []*record) (all []string) {
	for _, r := range records {
		all = append(all, r.doc.String())
	}
	return all
}
