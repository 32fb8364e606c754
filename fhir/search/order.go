package search

import (
	"cmp"
	"time"

	"github.com/kiln-health/kiln/fhir"
)

// SortDate is where a resource stands in the order by date: the low edge of its date. It
// is zero for a Period without start, and false if there is no date. Of several dates it
// is the earliest, in either direction, so that one index serves both; the types that
// have the parameter so far have one date at most.
// http://hl7.org/fhir/R4/search.html#sort
func SortDate(t *Terms) (time.Time, bool) {
	var first time.Time
	found := false
	for i := range t.Dates {
		d := &t.Dates[i]
		if d.Param != "date" {
			continue
		}
		if !found || d.Low.Before(first) {
			first, found = d.Low, true
		}
	}
	return first, found
}

// SortKeys is the place of a resource in the order of q. A resource without a date is
// where the oldest one is.
func (q Query) SortKeys(r fhir.Key, lastUpdated time.Time, t *Terms) Cursor {
	c := Cursor{ID: r.ID}
	for _, s := range q.Sort {
		switch s.Param {
		case "date":
			c.Date, _ = SortDate(t)
		case "_lastUpdated":
			c.LastUpdated = lastUpdated
		}
	}
	return c
}

// Compare is negative if a comes before b in the order of q.Sort, positive if it comes
// after, and 0 only for the place of one and the same resource.
func (q Query) Compare(a, b Cursor) int {
	for _, s := range q.Sort {
		n := 0
		switch s.Param {
		case "date":
			n = a.Date.Compare(b.Date)
		case "_lastUpdated":
			n = a.LastUpdated.Compare(b.LastUpdated)
		case "_id":
			n = cmp.Compare(a.ID, b.ID)
		}
		if s.Descending {
			n = -n
		}
		if n != 0 {
			return n
		}
	}
	return cmp.Compare(a.ID, b.ID)
}
