package layout

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// Find is a search as MongoDB is asked.
type Find struct {
	// Filter finds every match, and behind the place of the query's cursor only.
	Filter bson.D
	// Sort is the order of the query, with _id as its last key. It is nil if documents do not
	// have the sort keys: then Filter finds also what is before the cursor, and all that it
	// finds has to be put in order with search.Query.SortKeys and Compare.
	Sort bson.D
	// Hint is the name of the index that is meant, "" if the server may choose. It is advice, to
	// be left away while there is no such index.
	Hint string
	// Residual are the clauses of Where that the filter does not decide: search.Query.Matches
	// has to be asked. If there are none, the filter finds matches only, and odd documents.
	Residual []int
	// Indexes are the names of those that are meant, for people.
	Indexes []string
	// Ordered: the index gives the order, and the server need not sort.
	Ordered bool
	// Never: nothing can match.
	Never bool
}

// Asks reports whether search.Query.Matches has to be asked about a document, which is odd or not.
func (f Find) Asks(odd bool) bool { return odd || len(f.Residual) > 0 }

// Odd is the part of Filter that is about odd documents. The number of all matches, if
// Residual is empty, is the number of what Filter finds without those of Odd that do not match.
func (f Find) Odd() bson.D { return all(isOdd(), f.Filter) }

// Translate is how MongoDB is asked for a page of a query, or for all matches if After is
// nil. Chains and _has must be resolved, as by search.Query.Resolve: one that is not holds
// for nothing. Count, Total and how matches are shown do not matter. What a filter cannot say
// is Residual. The only error is an *fhir.Error with the code too-costly, for a query with so
// many and so long values that MongoDB would not take it.
func Translate(q search.Query) (Find, error) {
	t := translation{q: q, anchors: map[string]int{}}
	var filters, short []bson.D // short: of documents with short dates
	live := false
	for i := range q.Where {
		c := &q.Where[i]
		one := clauses{of: q.Type}.clause(c)
		if one.never {
			return Find{Filter: nothing().filter, Sort: sortOf(q), Never: true}, nil
		}
		if !one.exact {
			t.find.Residual = append(t.find.Residual, i)
		}
		live = live || one.live
		t.anchor(c, one)
		filters = append(filters, one.filter)
		if b := boundsOf(c); b != (bounds{}) { // what is odd because of its date is not short
			t.date = t.date.and(b)
			one = clauses{of: q.Type, strict: true}.clause(c)
		}
		short = append(short, one.filter)
	}
	if t.find.Sort = sortOf(q); t.find.Sort != nil && q.After != nil {
		filters, short = append(filters, behind(q)), append(short, behind(q))
	}
	t.choose()
	if t.split() {
		t.find.Filter = op("$or", bson.A{
			all(append([]bson.D{t.date.filter()}, short...)...),
			all(append([]bson.D{field("l", true)}, filters...)...),
		})
		t.find.Hint = ""
		t.find.Indexes = append(t.find.Indexes, t.long())
	} else {
		t.find.Filter = all(filters...)
		if !live && !mentions(t.find.Filter, "d0") {
			t.find.Filter = all(t.find.Filter, isLive())
		}
	}
	if size(t.find.Filter) > maxFilter {
		return Find{}, fhir.Errorf(fhir.CodeTooCostly, "", "the search has too many values to be asked of the database at once").
			WithFix("search in several steps")
	}
	return t.find, nil
}

// maxFilter is how many bytes a filter has at most, about: MongoDB takes commands of 16 MiB.
const maxFilter = 14 << 20

// size is how many bytes a part of a filter has in BSON, about.
func size(v any) int {
	n := 16
	switch v := v.(type) {
	case bson.D:
		for _, e := range v {
			n += len(e.Key) + size(e.Value)
		}
	case bson.A:
		for _, e := range v {
			n += size(e)
		}
	case string:
		n += len(v)
	case bson.Regex:
		n += len(v.Pattern)
	}
	return n
}

// isLive is the condition that a document is no tombstone.
func isLive() bson.D { return field("d0", op("$gte", "")) }

// translation is how far a Translate has come.
type translation struct {
	q       search.Query
	find    Find
	date    bounds
	anchors map[string]int // fields with a list of values, and how many
	best    bool           // there is an id or an identifier: little else matters
	ranges  []string       // indexes of clauses that are ranges
	ranged  bool           // such an index is meant
	// several: a clause has alternatives with an index each, and the server has to tell whether
	// they lead to less than the index that is meant.
	several bool
}

// maxScans is how many scans of an index MongoDB merges in order, internalQueryMaxScansToExplode.
const maxScans = 200

// anchor notes which index leads to the matches of a clause.
func (t *translation) anchor(c *search.Clause, one condition) {
	if len(one.filter) == 0 {
		return
	}
	first := one.filter[0]
	switch first.Key {
	case "pt", "k", "t", "_id":
		n := 1
		if in, ok := operand(first.Value, "$in").(bson.A); ok {
			n = len(in)
		} else if _, ok := first.Value.(bson.D); ok {
			return
		}
		if before, ok := t.anchors[first.Key]; !ok || n < before {
			t.anchors[first.Key] = n
		}
		t.best = t.best || first.Key == "_id" || first.Key == "t" && isIdentifier(c)
	case "$or":
		t.alternatives(c, first.Value.(bson.A))
	case "s", "lu":
		t.ranges = append(t.ranges, first.Key)
	}
}

// alternatives notes which index, or which, lead to the matches of a clause.
func (t *translation) alternatives(c *search.Clause, of bson.A) {
	fields := map[string]bool{}
	for _, one := range of {
		key := one.(bson.D)[0].Key
		switch key {
		case "odd":
		case "pt", "k", "t", "s", "q", "d", "_id":
			fields[key] = true
		default: // it is found by reading
			return
		}
	}
	for _, name := range []string{"t", "s", "q", "d"} {
		if fields[name] && len(fields) == 1 {
			t.ranges = append(t.ranges, name)
			t.best = t.best || name == "t" && isIdentifier(c)
			return
		}
	}
	t.several = true
}

// isIdentifier reports whether a clause is about what few resources have.
func isIdentifier(c *search.Clause) bool {
	return c.Param.Name == "identifier" || c.Modifier == "identifier" || c.Modifier == "of-type"
}

func operand(of any, name string) any {
	d, ok := of.(bson.D)
	if !ok {
		return nil
	}
	for _, e := range d {
		if e.Key == name {
			return e.Value
		}
	}
	return nil
}

// choose finds the index that is meant, and whether it is in the order of the query.
func (t *translation) choose() {
	_, id := t.anchors["_id"]
	_, term := t.anchors["t"]
	_, patient := t.anchors["pt"]
	_, code := t.anchors["k"]
	var fields []string
	switch {
	case id:
		t.use(t.sortedBy("_id"), "_id_")
		return
	case t.best && !term: // a range of identifiers
		t.scan("t")
		return
	case t.best:
		fields = []string{"t"}
	case patient && code:
		fields = []string{"pt", "k"}
	case patient:
		fields = []string{"pt"}
	case term:
		fields = []string{"t"}
	case slices.Contains(t.ranges, "s"):
		t.scan("s")
		return
	case code && t.several:
		t.use(false, indexName(t.q.Type, []string{"k"}))
		return
	case code:
		fields = []string{"k"}
	default:
		t.chooseRange()
		return
	}
	scans := 1
	for _, name := range fields {
		scans *= t.anchors[name]
	}
	name := indexName(t.q.Type, fields)
	t.use(t.ordered() && scans <= maxScans, name)
}

// chooseRange is for a query without a clause that leads to few resources.
func (t *translation) chooseRange() {
	for _, name := range []string{"t", "q", "d"} {
		if slices.Contains(t.ranges, name) {
			t.scan(name)
			return
		}
	}
	switch {
	case t.several:
		t.scan("t")
	case t.sortedBy("_id"):
		t.use(true, "_id_")
	case t.descending("lu"):
		t.use(true, "lu")
	case slices.Contains(t.ranges, "lu"):
		t.use(false, "lu")
	case hasDate(t.q.Type):
		t.use(t.descending("d0"), "d0")
	default:
		t.use(false, "_id_")
	}
}

// scan notes that a range of an index is meant, whose documents are in no order.
func (t *translation) scan(name string) {
	if name == "t" {
		name = indexName(t.q.Type, []string{"t"})
	}
	t.ranged = true
	t.use(false, name)
}

// use notes the index that is meant. The server need not be told of one that it has to sort
// behind.
func (t *translation) use(ordered bool, name string) {
	t.find.Indexes = []string{name}
	if t.find.Ordered = ordered; ordered {
		t.find.Hint = name
	}
}

// ordered reports whether an index behind whose fields the type's usual order follows is in
// the order of the query.
func (t *translation) ordered() bool {
	if hasDate(t.q.Type) {
		return t.descending("d0")
	}
	return t.sortedBy("_id")
}

// descending reports whether the order of the query is that of a field from its greatest
// value on, and then of the ids.
func (t *translation) descending(name string) bool {
	s := t.find.Sort
	return len(s) == 2 && s[0] == bson.E{Key: name, Value: -1} && s[1] == bson.E{Key: "_id", Value: 1}
}

func (t *translation) sortedBy(name string) bool {
	return len(t.find.Sort) == 1 && t.find.Sort[0].Key == name
}

// split reports whether short dates are looked for apart from the others.
func (t *translation) split() bool {
	return t.date != (bounds{}) && !t.best && !t.ranged && hasDate(t.q.Type)
}

// long is the index of the dates that are not short.
func (t *translation) long() string {
	if _, ok := t.anchors["pt"]; ok {
		return "pt_l_d0"
	}
	return "l_d0"
}
