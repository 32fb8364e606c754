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
	// dated: the values of the keys tell the dates of the resources.
	dated bool
	// records: the values of the keys are the resources.
	records bool
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
	// keep, if there is one, says of what is behind the cut whether the resource may match.
	keep func(rest []byte) bool
}

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
	view *view
	q    search.Query
	// bounds are where the keys of a match can be.
	bounds bounds
	err    error
}

func newPlanner(v *view, q search.Query) *planner {
	if len(q.Sort) == 0 {
		q.Sort = []search.Sort{{Param: "_id"}}
	}
	p := &planner{view: v, q: q}
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
	best, found := p.pair()
	for i := range p.q.Where {
		c := &p.q.Where[i]
		if found && atBest(c) >= best.rank {
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
	if !found || best.rank >= ordered.rank {
		return ordered, nil, nil
	}
	p.turn(&best)
	if best.inOrderOf(p.q) {
		return best, nil, nil
	}
	return best, &ordered, nil
}

// atBest is a rank that no plan of a clause is below.
func atBest(c *search.Clause) rank {
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
		return rankOfReference(c.Param.Name)
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

// pair is the plan for what is searched within a patient: the code, else the category.
func (p *planner) pair() (plan, bool) {
	for i := range p.q.Where {
		patients, exact, ok := p.patients(&p.q.Where[i])
		if !ok {
			continue
		}
		for _, kind := range pairKind {
			for j := range p.q.Where {
				c := &p.q.Where[j]
				if c.Param.Name != kind || c.Modifier != "" && c.Modifier != "in" || len(c.Values) == 0 {
					continue
				}
				one, sure, ok := p.pairOf(patients, c)
				if !ok {
					continue
				}
				if exact {
					one.decided = append(one.decided, i)
				}
				if sure {
					one.decided = append(one.decided, j)
				}
				return one, true
			}
		}
	}
	return plan{}, false
}

// patients are the ids of patients that a clause asks for, if it asks for nothing else.
func (p *planner) patients(c *search.Clause) (ids []string, exact, ok bool) {
	if !slices.Contains(pairPatient, c.Param.Name) {
		return nil, false, false
	}
	exact = c.Param.Name == "patient"
	if c.Chain != nil {
		for key := range c.Among {
			if key.Type != "Patient" || len(c.Among) > p.view.limits.linked {
				return nil, false, false
			}
			ids = append(ids, key.ID)
		}
		return ids, exact, len(ids) > 0
	}
	if c.Modifier != "" && c.Modifier != "Patient" || len(c.Values) == 0 {
		return nil, false, false
	}
	for i := range c.Values {
		v := &c.Values[i]
		if v.RefID == "" || v.RefType != "Patient" || v.URL != "" || len(v.RefID) >= maxTerm {
			return nil, false, false
		}
		ids = append(ids, v.RefID)
	}
	return ids, exact, true
}

func (p *planner) pairOf(patients []string, c *search.Clause) (one plan, exact, ok bool) {
	if len(patients)*len(c.Values) > p.view.limits.ranges/2 {
		return plan{}, false, false
	}
	var prefixes [][]byte
	exact = true
	for _, id := range patients {
		some, sure, ok := p.tokens(p.term(pairName(c.Param.Name), id), c.Values)
		if !ok {
			return plan{}, false, false
		}
		prefixes, exact = append(prefixes, some...), exact && sure
	}
	prefixes = distinct(prefixes)
	if len(prefixes) > p.view.limits.ranges/2 {
		return plan{}, false, false
	}
	one = p.dated(prefixes)
	one.indexes = []string{"patient and " + c.Param.Name}
	one.rank = rankPatientCategory
	if c.Param.Name == "code" {
		one.rank = rankPatientCode
	}
	return one, exact, true
}

// prefix is the beginning of the keys of a parameter in one of the indexes.
func (p *planner) prefix(kind byte, name string) []byte {
	return appendName(appendName([]byte{p.view.generation.kind(kind)}, p.q.Type), name)
}

// term is the beginning of the keys of a parameter with that first text.
func (p *planner) term(name, text string) []byte {
	return appendTerm(p.prefix(equalKey, name), text)
}

// value is what several keys have in common: their beginning, and the texts at its end.
type value struct {
	prefix []byte
	texts  [2]string
}

// values are the different texts that follow a prefix, n in each key, as they were cut. It
// reports false if they are more than limit.
func (p *planner) values(prefix []byte, n, limit int) (found []value, few bool) {
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
		var one value
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
		one = plan{order: byID, records: true, once: true, indexes: []string{"all resources of the type"}, ranges: []keyRange{{lower: start, upper: after(start), cut: len(start)}}}
	}
	one.rank = rankAll
	p.turn(&one)
	return one
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
