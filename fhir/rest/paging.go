package rest

import (
	"context"
	"slices"
	"strings"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// beforeMark begins the cursor of a page that ends right before a place. Behind it is the cursor
// of the query in the opposite order.
const beforeMark = "before."

// findPage is a page of a search for one type.
func (s *server) findPage(ctx context.Context, in *inquiry) (found, error) {
	q, backwards, err := in.resumed()
	if err != nil {
		return found{}, err
	}
	page, err := s.store.Search(ctx, q)
	if err != nil {
		return found{}, err
	}
	f := found{resources: page.Resources, total: page.Total}
	if page.Next != nil {
		f.next = page.Next.Encode(q)
	}
	opposite, turns := q.Reversed()
	if q.After == nil || !turns || len(f.resources) == 0 {
		return f, nil
	}
	// Where the page began is where the opposite direction goes on, in the same state of the store.
	began, err := s.placeOf(&q, &f.resources[0])
	if err != nil {
		return found{}, err
	}
	if began.View = q.After.View; page.Next != nil {
		began.View = page.Next.View
	}
	if !backwards {
		f.previous = beforeMark + began.Encode(opposite)
		return f, nil
	}
	slices.Reverse(f.resources)
	if f.next != "" {
		f.previous = beforeMark + f.next
	}
	f.next = began.Encode(in.queries[0])
	return f, nil
}

// resumed is the query of the page that the cursor names, and whether it is in the opposite order.
func (in *inquiry) resumed() (q search.Query, backwards bool, err error) {
	q = in.queries[0]
	if in.cursor == "" {
		return q, false, nil
	}
	cursor := in.cursor
	if rest, before := strings.CutPrefix(cursor, beforeMark); before {
		if opposite, turns := q.Reversed(); turns {
			q, cursor, backwards = opposite, rest, true
		}
	}
	c, err := search.DecodeCursor(cursor, q)
	if err != nil {
		return q, false, bad(err)
	}
	q.After = &c
	return q, backwards, nil
}

// placeOf is where a match stands in the order of the query.
func (s *server) placeOf(q *search.Query, r *fhir.Resource) (search.Cursor, error) {
	var terms search.Terms
	if slices.ContainsFunc(q.Sort, func(k search.Sort) bool { return k.Param != "_id" && k.Param != "_lastUpdated" }) {
		var err error
		if terms, err = s.parameters().Extract(r.Type, r.JSON); err != nil {
			return search.Cursor{}, err
		}
	}
	return q.SortKeys(fhir.Key{Type: r.Type, ID: r.ID}, r.LastUpdated, &terms), nil
}
