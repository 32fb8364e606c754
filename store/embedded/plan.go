package embedded

import (
	"bytes"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir/search"
)

// order is what the keys of a plan are sorted by.
type order int

const (
	unordered order = iota // one range after the other, and then the ids
	byDate                 // the newest first, then by id
	byUpdated              // the latest first, then by id
	byID
)

// plan is a way to come by every resource that may match a query.
type plan struct {
	order order
	// backwards: the places are read from the last to the first.
	backwards bool
	ranges    []keyRange
	// ids are resources that may match, in their order.
	ids []string
	// decided are the clauses that hold for whatever a dated plan gives.
	decided []int
	// dated: the keys tell the dates of the resources, and their values the rest of what a
	// search by date asks for, and the series.
	dated bool
	// known are the series that were looked at to make the plan, by their numbers, and layout
	// says what their definitions may decide.
	known  map[uint64]*series
	layout layout
	// once: no resource comes twice, but right after itself.
	once bool
	rank rank
	// indexes are the names of those that are read, for people.
	indexes []string
}

// keyRange is where keys of one kind are. cut is the length of what they share. Behind it
// are some texts that are passed over, then place bytes by which the keys are sorted, and the id.
type keyRange struct {
	lower, upper      []byte
	cut, texts, place int
	values            values
	series            uint64 // that all of the range is in, if its values are of members or records
	// members is the range that has the same resources without their JSON, if there is one.
	members *keyRange
	// keep, if there is one, says of what is behind the cut whether the resource may match.
	keep func(rest []byte) bool
}

// values is what the values of a range are.
type values int

const (
	pointers values = iota // as readPointer reads them, or nothing
	members                // the lengths of the dates
	placed                 // as readPlaced reads them
	currents               // as readRecord reads them
)

// rank says how few resources an index is expected to give: less is better. It is a
// guess that needs no statistics; a wrong one costs time, never a result.
type rank int

const (
	rankID rank = iota
	rankIdentifier
	rankPatientCode
	rankReference
	rankPatientCategory
	rankPatient
	rankText
	rankCode
	rankRange
	rankCommon
	rankQuantity
	rankPart // of a text: all texts are read
	rankAll
)

// selective reports whether an index is worth it even if its results must be sorted.
func (r rank) selective() bool { return r < rankText }

// planner finds plans for a query.
type planner struct {
	view   *view
	q      search.Query
	layout layout
	// bounds are where the keys of a match can be.
	bounds bounds
	// patients are those whose series were looked at, known these series.
	patients map[string]*ofPatient
	known    map[uint64]*series
	// parts: also what only parts of composites have is looked for.
	parts bool
	err   error
}

func newPlanner(v *view, q search.Query) *planner {
	if len(q.Sort) == 0 {
		q.Sort = []search.Sort{{Param: "_id"}}
	}
	p := &planner{view: v, q: q, layout: v.params.layout(q.Type), patients: map[string]*ofPatient{}, known: map[uint64]*series{}}
	for i := range q.Where {
		if c := &q.Where[i]; c.Param.Name == sortDate && c.Param.Type == search.DateParam && c.Modifier == "" && len(c.Values) > 0 {
			p.bounds = p.bounds.and(dateBounds(c))
		}
	}
	return p
}

// best is the plan with the fewest candidates, in whatever order, and the plan that
// reads in the order of the query, if they differ and the first must be sorted.
func (p *planner) best() (best plan, inOrder *plan, err error) {
	found := false
	for i := range p.q.Where {
		c := &p.q.Where[i]
		if found && p.atBest(c) >= best.rank {
			continue // to find out what is in the index costs as well
		}
		if one, exact, ok := p.clause(c); ok && (!found || one.rank < best.rank) {
			if best, found = one, true; exact {
				best.decided = []int{i}
			}
		}
	}
	if p.err != nil {
		return plan{}, nil, p.err
	}
	ordered := p.ordered()
	ordered.known, ordered.layout = p.known, p.layout
	if !found || best.rank >= ordered.rank {
		return ordered, nil, nil
	}
	best.known, best.layout = p.known, p.layout
	p.turn(&best)
	if best.inOrderOf(p.q) {
		return best, nil, nil
	}
	return best, &ordered, nil
}

// atBest is a rank that no plan of a clause is below.
func (p *planner) atBest(c *search.Clause) rank {
	switch {
	case c.Any != nil, c.Has != nil, c.Chain == nil && c.Among != nil, c.Param.Name == "_id", c.Param.Type == search.CompositeParam:
		return rankID
	case c.Modifier == "identifier":
		return rankIdentifier
	}
	switch c.Param.Type {
	case search.TokenParam:
		return rankOfToken(c.Param.Name)
	case search.ReferenceParam:
		return p.rankOfReference(c.Param.Name)
	case search.StringParam:
		return rankText
	case search.URIParam:
		return rankReference
	case search.DateParam:
		return rankRange
	default:
		return rankQuantity
	}
}

// ofPatient is what there is of a patient.
type ofPatient struct {
	ranges []keyRange // of the series that the query does not rule out
	more   bool       // there are, or were, resources in no series
	many   bool       // there are too many series: ranges is not complete
}

// ofPatient looks at the series of a patient.
func (p *planner) ofPatient(id string) *ofPatient {
	if of := p.patients[id]; of != nil || p.err != nil {
		return of
	}
	of := &ofPatient{}
	var s series
	err := eachSeries(p.view.snapshot, p.q.Type, id, func(number uint64, definition []byte) (more bool) {
		if number == 0 {
			of.more = true
			return true
		}
		if p.err = s.read(definition); p.err != nil {
			return false
		}
		if !p.possible(&s) {
			return true // and its memory is free for the next one
		}
		if of.many = len(of.ranges) == p.view.limits.series; of.many {
			return false
		}
		one := s
		p.known[number] = &one
		of.ranges = append(of.ranges, p.bounds.ofSeries(number, s.span))
		s = series{}
		return true
	})
	if p.err == nil {
		p.err = err
	}
	p.patients[id] = of
	return of
}

// possible reports whether a resource of a series may match the query.
func (p *planner) possible(s *series) bool {
	for i := range p.q.Where {
		if holds, known := p.layout.decide(p.q.Type, p.q.Where, i, s); known && !holds {
			return false
		}
	}
	return true
}

// prefix is the beginning of the keys of a parameter in one of the indexes.
func (p *planner) prefix(kind byte, name string) []byte {
	return appendName(appendName([]byte{p.view.generation.kind(kind)}, p.q.Type), name)
}

// term is the beginning of the keys of a parameter with that first text.
func (p *planner) term(name, text string) []byte {
	return appendTerm(p.prefix(equalKey, name), text)
}

// text is what several keys have in common: their beginning, and the texts at its end.
type text struct {
	prefix []byte
	texts  [2]string
}

// textsBehind are the different texts that follow a prefix, n in each key, as they were cut. It
// reports false if they are more than limit.
func (p *planner) textsBehind(prefix []byte, n, limit int) (found []text, few bool) {
	if p.err != nil {
		return nil, false
	}
	it, err := p.view.snapshot.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		p.err = err
		return nil, false
	}
	defer it.Close()
	for ok := it.First(); ok; {
		if len(found) == limit {
			return nil, false
		}
		var one text
		rest := it.Key()[len(prefix):]
		for i := range n {
			if one.texts[i], rest, ok = cutText(rest); !ok {
				p.err = errIndex
				return nil, false
			}
		}
		one.prefix = bytes.Clone(it.Key()[:len(it.Key())-len(rest)])
		found = append(found, one)
		ok = it.SeekGE(after(one.prefix))
	}
	p.err = it.Error()
	return found, p.err == nil
}

func distinct(prefixes [][]byte) [][]byte {
	slices.SortFunc(prefixes, bytes.Compare)
	return slices.CompactFunc(prefixes, bytes.Equal)
}

// dated is the plan that reads what follows the prefixes, as far as the dates allow.
func (p *planner) dated(prefixes [][]byte) plan {
	one := plan{order: byDate, dated: true, once: true}
	if !p.view.params.hasDate(p.q.Type) {
		// All have the same place by date, so that the ids are in order.
		one.order = byID
		for _, prefix := range prefixes {
			start := appendDate(append(bytes.Clone(prefix), short), time.Time{})
			one.ranges = append(one.ranges, keyRange{lower: start, upper: after(start), cut: len(start)})
		}
		return one
	}
	for _, prefix := range prefixes {
		one.ranges = append(one.ranges, p.bounds.ranges(prefix)...)
	}
	return one
}

// dates is the plan for a range of dates.
func (p *planner) dates(c *search.Clause) (plan, bool) {
	b := dateBounds(c)
	if b == (bounds{}) {
		return plan{}, false
	}
	one := plan{rank: rankRange, once: true, indexes: []string{c.Param.Name}}
	if c.Param.Name == sortDate {
		one.order, one.dated, b = byDate, true, p.bounds
	}
	one.ranges = b.ranges(p.prefix(dateKey, c.Param.Name))
	return one, true
}

// updated is the plan for a range of times of change.
func (p *planner) updated(c *search.Clause) (plan, bool) {
	b := dateBounds(c)
	if b == (bounds{}) {
		return plan{}, false
	}
	one := plan{order: byUpdated, once: true, rank: rankRange, indexes: []string{"_lastUpdated"}}
	start := appendName([]byte{updatedKey}, p.q.Type)
	r := keyRange{lower: start, upper: after(start), cut: len(start), place: updatedLen}
	if !b.newest.IsZero() {
		r.lower = appendUpdated(bytes.Clone(start), b.newest.Add(time.Millisecond))
	}
	if !b.oldest.IsZero() {
		r.upper = after(appendUpdated(bytes.Clone(start), b.oldest.Add(shortSpan-time.Millisecond)))
	}
	one.ranges = []keyRange{r}
	return one, true
}

// ordered is the plan that reads all resources in the order of the query.
func (p *planner) ordered() plan {
	var one plan
	switch first := p.q.Sort[0]; {
	case first.Param == sortDate && p.view.params.hasDate(p.q.Type):
		one = p.dated([][]byte{p.prefix(dateKey, sortDate)})
		one.indexes = []string{sortDate}
	case first.Param == "_lastUpdated":
		start := appendName([]byte{updatedKey}, p.q.Type)
		one = plan{order: byUpdated, once: true, indexes: []string{"_lastUpdated"}, ranges: []keyRange{{lower: start, upper: after(start), cut: len(start), place: updatedLen}}}
	default:
		start := currentPrefix(p.q.Type)
		one = plan{order: byID, once: true, indexes: []string{"all resources of the type"}, ranges: []keyRange{{lower: start, upper: after(start), cut: len(start), values: currents}}}
	}
	one.rank = rankAll
	p.turn(&one)
	return one
}

// slim is the plan that has the same candidates without their JSON, where that is apart. It
// need not be in order.
func (one *plan) slim() plan {
	p := *one
	p.ranges = slices.Clone(one.ranges)
	apart := 0
	for i := range p.ranges {
		if m := p.ranges[i].members; m != nil {
			p.ranges[i] = *m
			apart++
		}
	}
	if apart == len(p.ranges) && p.ids == nil { // no resource is in two series
		p.order, p.backwards = unordered, false
	}
	return p
}

// inOrderOf reports whether the plan gives the first key of the order of q, so that
// reading can stop when a page is full.
func (one *plan) inOrderOf(q search.Query) bool {
	switch q.Sort[0].Param {
	case sortDate:
		return one.order == byDate
	case "_lastUpdated":
		return one.order == byUpdated
	case "_id":
		return one.order == byID
	}
	return false
}

// exactlyOrderOf reports whether a plan that gives the first key of the order of q gives
// the others as well.
func (one *plan) exactlyOrderOf(q search.Query) bool {
	return one.order == byID || len(q.Sort) == 1 || q.Sort[1].Param == "_id" && !q.Sort[1].Descending
}

// turn sets the direction of a plan that is in the order of the query, and lets it begin
// where the page begins.
func (p *planner) turn(one *plan) {
	if !one.inOrderOf(p.q) {
		return
	}
	down := p.q.Sort[0].Descending
	one.backwards = down == (one.order == byID)
	if one.backwards {
		slices.Reverse(one.ids)
	}
	at := p.q.After
	if at == nil {
		return
	}
	// What has the same first key stays in, unless it is known that it comes before.
	for i := range one.ranges {
		r := &one.ranges[i]
		key := bytes.Clone(r.lower[:r.cut])
		switch one.order {
		case byDate:
			key = appendDate(key, at.Date)
		case byUpdated:
			key = appendUpdated(key, at.LastUpdated)
		case byID:
			key = append(key, at.ID...)
		}
		if !one.backwards && one.exactlyOrderOf(p.q) && one.order != byID {
			key = append(append(key, at.ID...), 0)
		}
		if one.backwards {
			if key = after(key); bytes.Compare(key, r.upper) < 0 {
				r.upper = key
			}
		} else if bytes.Compare(key, r.lower) > 0 {
			r.lower = key
		}
	}
}
