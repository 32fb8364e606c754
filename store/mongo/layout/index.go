package layout

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Index is an index that a collection has.
type Index struct {
	Name   string
	Keys   bson.D
	Unique bool
	// Partial is which documents it has, nil for all.
	Partial bson.D
	// Since is the first Version that has the index.
	Since int
}

// Indexes are those of the collection of the current versions of a type, besides that of _id:
// equality first, then the order, and never two arrays in one.
//
//	pt_k_d0  kinds of a patient by date: the charts
//	pt_d0    a patient by date
//	k_d0     kinds by date
//	t_d0     every other term by date: identifiers, references, status
//	d0       all by date
//	lu       all by last change
//	s, d, q  texts, dates other than date, numbers
//	l_d0, pt_l_d0, odd  the few that are looked for apart
//
// A type that has no date has the ids in its place: pt_k, pt, k and t.
func Indexes(resourceType string) []Index {
	var all []Index
	add := func(name string, partial bson.D, fields ...string) {
		index := Index{Name: name, Partial: partial, Since: 1}
		for _, f := range fields {
			direction := 1
			if f == "d0" || f == "lu" {
				direction = -1
			}
			index.Keys = append(index.Keys, bson.E{Key: f, Value: direction})
		}
		all = append(all, index)
	}
	for _, fields := range [][]string{{"pt", "k"}, {"pt"}, {"k"}, {"t"}} {
		name := indexName(resourceType, fields)
		if hasDate(resourceType) {
			fields = append(fields, "d0")
		}
		add(name, nil, append(fields, "_id")...)
	}
	if hasDate(resourceType) {
		add("d0", nil, "d0", "_id")
		add("l_d0", field("l", true), "l", "d0", "_id")
		add("pt_l_d0", field("l", true), "pt", "l", "d0", "_id")
	}
	add("lu", nil, "lu", "_id")
	add("s", nil, "s")
	add("d", nil, "d.k", "d.l", "d.h")
	add("q", nil, "q.k", "q.l", "q.h")
	add("odd", isOdd(), "odd", "_id")
	return all
}

// indexName is the name of the index that begins with some fields and goes on in the usual
// order of the type.
func indexName(resourceType string, fields []string) string {
	name := strings.Join(fields, "_")
	if hasDate(resourceType) {
		name += "_d0"
	}
	return name
}

// HistoryIndexes are those of the collection of the earlier versions of a type, besides that
// of _id: all of them by time, and those of one resource by version.
func HistoryIndexes() []Index {
	return []Index{
		{Name: "lu", Keys: bson.D{{Key: "lu", Value: -1}, {Key: "_id", Value: 1}}, Since: 1},
		{Name: "id_v", Keys: bson.D{{Key: "id", Value: 1}, {Key: "v", Value: -1}}, Since: 1},
	}
}
