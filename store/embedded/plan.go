package embedded

import (
	"bytes"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// order is what the keys of a plan are sorted by.
type order int

const (
	unordered order = iota
	byDate          // the newest first, then by id
	byUpdated       // the latest first, then by id
	byID
)

// plan is a way to come by every resource that may match a query.
type plan struct {
	order order
	// backwards: the places are read from the last to the first.
	backwards bool
	ranges    []keyRange
	// place is how many bytes of a key are between the cut and the id.
	place int
	// ids, if there are no ranges, are the resources that may match.
	ids []string
	// decided are the clauses that hold for whatever the ranges give.
	decided []int
	// dated: the values of the keys tell the dates of the resources.
	dated bool
	// records: the values of the keys are the resources.
	records bool
	// once: no resource comes twice, but right after itself.
	once bool
	rank rank
}

// keyRange is where keys of one kind are. cut is the length of what they share; behind it
// is the place, by which they are sorted, and the id.
type keyRange struct {
	lower, upper []byte
	cut          int
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
	rankCode
	rankRange
	rankCommon
	rankQuantity
	rankAll
)

// selective reports whether an index is worth it even if its results must be sorted.
func (r rank) selective() bool { return r < rankCode }

// Limits of a plan.
const (
	maxRanges  = 1024 // ranges that are merged: two for each value, of short and of long dates
	maxSystems = 32   // systems of one code, or types of one id, that are tried one by one
)

// planner finds plans for a query.
type planner struct {
	view *view
	q    search.Query
	// oldest and newest bound where the keys of a match can be, if bounded.
	bounds bounds
	err    error
}

// bounds are the first and the last date that a match can have as its place by date. A
// zero time is no bound. Only a resource of a short date has an oldest place.
type bounds struct{ oldest, newest time.Time }

func newPlanner(v *view, q search.Query) *planner {
	p := &planner{view: v, q: q}
	for i := range q.Where {
		if c := &q.Where[i]; c.Param.Name == sortDate && c.Modifier == "" {
			p.bounds = p.bounds.and(dateBounds(c))
		}
	}
	return p
}

// dateBounds are the bounds that one clause gives: those of its widest value.
func dateBounds(c *search.Clause) bounds {
	var b bounds
	for i := range c.Values {
		v := &c.Values[i]
		var one bounds
		switch v.Prefix {
		case search.NE:
		case search.GT, search.GE, search.SA:
			one.oldest = v.From.Add(-shortSpan)
		case search.LT, search.LE, search.EB:
			one.newest = v.To
		default:
			one = bounds{oldest: v.From.Add(-shortSpan), newest: v.To}
		}
		if i == 0 {
			b = one
			continue
		}
		b.oldest = earliest(b.oldest, one.oldest)
		if b.newest.IsZero() || one.newest.IsZero() {
			b.newest = time.Time{}
		} else if one.newest.After(b.newest) {
			b.newest = one.newest
		}
	}
	return b
}

// earliest is the earlier of two bounds, of which a zero one reaches to the beginning.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || b.IsZero() {
		return time.Time{}
	}
	if b.Before(a) {
		return b
	}
	return a
}

func (b bounds) and(o bounds) bounds {
	if o.oldest.After(b.oldest) {
		b.oldest = o.oldest
	}
	if b.newest.IsZero() || !o.newest.IsZero() && o.newest.Before(b.newest) {
		b.newest = o.newest
	}
	return b
}

// best is the plan with the fewest candidates, in whatever order, and the plan that
// reads in the order of the query, if they differ and the first must be sorted.
func (p *planner) best() (best plan, inOrder *plan, err error) {
	best = plan{rank: rankAll}
	found := false
	for i := range p.q.Where {
		if one, ok := p.clause(i); ok && (!found || one.rank < best.rank) {
			best, found = one, true
		}
	}
	if one, ok := p.pair(); ok && (!found || one.rank < best.rank) {
		best, found = one, true
	}
	if p.err != nil {
		return plan{}, nil, p.err
	}
	ordered := p.ordered()
	if !found {
		return ordered, nil, nil
	}
	p.turn(&best)
	if best.inOrderOf(p.q) || best.ids != nil {
		return best, nil, nil
	}
	return best, &ordered, nil
}

// clause is the plan that one clause gives.
func (p *planner) clause(i int) (plan, bool) {
	c := &p.q.Where[i]
	switch {
	case len(c.Values) == 0, c.Modifier == "not", c.Modifier == "missing":
		return plan{}, false
	case c.Param.Name == "_id":
		return p.ids(c), true
	case c.Param.Name == "_lastUpdated":
		return p.updated(c)
	case c.Param.Type == search.DateParam:
		return p.dates(c)
	case c.Param.Type == search.QuantityParam:
		return p.quantities(c)
	}
	prefixes, exact, ok := p.equal(c)
	if !ok {
		return plan{}, false
	}
	one := p.dated(prefixes)
	one.rank = rankOf(c)
	if exact {
		one.decided = []int{i}
	}
	return one, true
}

func rankOf(c *search.Clause) rank {
	if c.Modifier == "identifier" {
		return rankIdentifier
	}
	switch c.Param.Name {
	case "identifier":
		return rankIdentifier
	case "patient", "subject":
		return rankPatient
	case "category", "status", "gender", "active":
		return rankCommon
	}
	if c.Param.Type == search.ReferenceParam {
		return rankReference
	}
	return rankCode
}

func (p *planner) ids(c *search.Clause) plan {
	ids := make([]string, 0, len(c.Values))
	for i := range c.Values {
		if id := c.Values[i].Code; fhir.ValidID(id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return plan{ids: slices.Compact(ids), once: true, rank: rankID}
}

// equal are the beginnings of the keys of all resources that may hold one of the values,
// and whether all that have such a key do.
func (p *planner) equal(c *search.Clause) (prefixes [][]byte, exact, ok bool) {
	exact = true
	names := []string{c.Param.Name}
	if c.Modifier == "identifier" {
		names[0] = identifierName(c.Param.Name)
	} else if others := contained(c.Param.Name); others != nil {
		names, exact = append(names, others...), false
	}
	add := func(some [][]byte, few bool) bool {
		prefixes = append(prefixes, some...)
		return few
	}
	for _, name := range names {
		for i := range c.Values {
			v := &c.Values[i]
			token := c.Param.Type == search.TokenParam || c.Modifier == "identifier"
			if token && v.AnyCode {
				return nil, false, false
			}
			exact = exact && max(len(v.Code), len(v.System), len(v.RefID), len(v.URL)) < maxTerm
			ok := true
			switch {
			case token && v.AnySystem:
				ok = add(p.seconds(p.term(name, v.Code)))
			case token:
				prefixes = append(prefixes, appendTerm(p.term(name, v.Code), v.System))
			case v.RefID != "" && v.RefType == "":
				ok = add(p.seconds(p.term(name, v.RefID)))
			case v.RefID != "":
				prefixes = append(prefixes, appendTerm(p.term(name, v.RefID), v.RefType))
			}
			if !token && v.URL != "" {
				prefixes = append(prefixes, appendTerm(p.term(urlName(name), v.URL), ""))
			}
			if !ok {
				return nil, false, false
			}
		}
	}
	return distinct(prefixes), exact, len(prefixes) <= maxRanges/2
}

// term is the beginning of the keys of a parameter with that first text.
func (p *planner) term(name, text string) []byte {
	return appendTerm(appendName(appendName([]byte{equalKey}, p.q.Type), name), text)
}

// seconds are the beginnings of the keys that follow prefix by one more text: the systems
// that a code has, or the types that an id has. It reports false if they are many.
func (p *planner) seconds(prefix []byte) (found [][]byte, few bool) {
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
		end := bytes.Index(it.Key()[len(prefix):], []byte{0, 1})
		if end < 0 {
			p.err = errIndex
			return nil, false
		}
		one := bytes.Clone(it.Key()[:len(prefix)+end+2])
		if len(found) == maxSystems {
			return nil, false
		}
		found = append(found, one)
		ok = it.SeekGE(after(one))
	}
	p.err = it.Error()
	return found, p.err == nil
}

func distinct(prefixes [][]byte) [][]byte {
	slices.SortFunc(prefixes, bytes.Compare)
	return slices.CompactFunc(prefixes, bytes.Equal)
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
				if c.Param.Name != kind || c.Modifier != "" || len(c.Values) == 0 {
					continue
				}
				one, ok := p.pairOf(patients, c)
				if !ok {
					continue
				}
				if exact {
					one.decided = append(one.decided, i)
				}
				if !slices.ContainsFunc(c.Values, func(v search.Value) bool { return len(v.Code) >= maxTerm || len(v.System) >= maxTerm }) {
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
	if !slices.Contains(pairPatient, c.Param.Name) || c.Modifier != "" && c.Modifier != "Patient" || len(c.Values) == 0 {
		return nil, false, false
	}
	exact = c.Param.Name == "patient"
	for i := range c.Values {
		v := &c.Values[i]
		if v.RefID == "" || v.RefType != "Patient" || v.URL != "" || len(v.RefID) >= maxTerm {
			return nil, false, false
		}
		ids = append(ids, v.RefID)
	}
	return ids, exact, true
}

func (p *planner) pairOf(patients []string, c *search.Clause) (plan, bool) {
	if len(patients)*len(c.Values) > maxRanges/2 {
		return plan{}, false
	}
	var prefixes [][]byte
	for _, id := range patients {
		start := p.term(pairName(c.Param.Name), id)
		for i := range c.Values {
			v := &c.Values[i]
			if v.AnyCode {
				return plan{}, false
			}
			part := appendTerm(bytes.Clone(start), v.Code)
			if !v.AnySystem {
				prefixes = append(prefixes, appendTerm(part, v.System))
				continue
			}
			some, few := p.seconds(part)
			if !few {
				return plan{}, false
			}
			prefixes = append(prefixes, some...)
		}
	}
	prefixes = distinct(prefixes)
	if len(prefixes) > maxRanges/2 {
		return plan{}, false
	}
	one := p.dated(prefixes)
	one.rank = rankPatientCategory
	if c.Param.Name == "code" {
		one.rank = rankPatientCode
	}
	return one, true
}

// dated is the plan that reads what follows the prefixes, as far as the dates allow.
func (p *planner) dated(prefixes [][]byte) plan {
	one := plan{order: byDate, place: dateLen, dated: true, once: true}
	if !hasDate(p.q.Type) {
		// All have the same place by date, so that the ids are in order.
		one.order, one.place = byID, 0
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

// ranges are the keys with that prefix whose dates are within b.
func (b bounds) ranges(prefix []byte) []keyRange {
	var ranges []keyRange
	for _, class := range []byte{short, long} {
		start := append(bytes.Clone(prefix), class)
		r := keyRange{lower: start, upper: after(start), cut: len(start)}
		if !b.newest.IsZero() {
			r.lower = appendDate(bytes.Clone(start), b.newest)
		}
		if class == short && !b.oldest.IsZero() {
			r.upper = after(appendDate(bytes.Clone(start), b.oldest))
		}
		ranges = append(ranges, r)
	}
	return ranges
}

// dates is the plan for a range of dates.
func (p *planner) dates(c *search.Clause) (plan, bool) {
	b := dateBounds(c)
	if b == (bounds{}) {
		return plan{}, false
	}
	one := plan{place: dateLen, rank: rankRange, once: true}
	if c.Param.Name == sortDate {
		one.order, one.dated, b = byDate, true, p.bounds
	}
	one.ranges = b.ranges(appendName(appendName([]byte{dateKey}, p.q.Type), c.Param.Name))
	return one, true
}

// updated is the plan for a range of times of change.
func (p *planner) updated(c *search.Clause) (plan, bool) {
	b := dateBounds(c)
	if b == (bounds{}) {
		return plan{}, false
	}
	one := plan{order: byUpdated, place: updatedLen, once: true, rank: rankRange}
	start := appendName([]byte{updatedKey}, p.q.Type)
	r := keyRange{lower: start, upper: after(start), cut: len(start)}
	if !b.newest.IsZero() {
		r.lower = appendUpdated(bytes.Clone(start), b.newest.Add(time.Millisecond))
	}
	if !b.oldest.IsZero() {
		r.upper = after(appendUpdated(bytes.Clone(start), b.oldest.Add(shortSpan-time.Millisecond)))
	}
	one.ranges = []keyRange{r}
	return one, true
}

// quantities is the plan for a range of numbers, of whatever unit.
func (p *planner) quantities(c *search.Clause) (plan, bool) {
	one := plan{place: floatLen, rank: rankQuantity}
	for _, name := range append(contained(c.Param.Name), c.Param.Name) {
		for i := range c.Values {
			for _, class := range []byte{short, long} {
				start := append(appendName(appendName([]byte{quantityKey}, p.q.Type), name), class)
				r := keyRange{lower: start, upper: after(start), cut: len(start)}
				v := &c.Values[i]
				switch v.Prefix {
				case search.NE:
					return plan{}, false
				case search.GT, search.GE:
					if class == short {
						r.lower = appendFloat(bytes.Clone(start), below(v.Number))
					}
				case search.SA:
					r.lower = appendFloat(bytes.Clone(start), below(v.Number))
				case search.LT, search.LE, search.EB:
					r.upper = after(appendFloat(bytes.Clone(start), above(v.Number)))
				case search.AP:
					r.upper = after(appendFloat(bytes.Clone(start), above(v.High)))
					if class == short {
						r.lower = appendFloat(bytes.Clone(start), below(v.Low))
					}
				default:
					r.lower = appendFloat(bytes.Clone(start), below(v.Low))
					r.upper = after(appendFloat(bytes.Clone(start), above(v.High)))
				}
				one.ranges = append(one.ranges, r)
			}
		}
	}
	return one, len(one.ranges) <= maxRanges
}

// ordered is the plan that reads all resources in the order of the query.
func (p *planner) ordered() plan {
	var one plan
	switch first := p.q.Sort[0]; {
	case first.Param == sortDate && hasDate(p.q.Type):
		one = p.dated([][]byte{appendName(appendName([]byte{dateKey}, p.q.Type), sortDate)})
	case first.Param == "_lastUpdated":
		start := appendName([]byte{updatedKey}, p.q.Type)
		one = plan{order: byUpdated, place: updatedLen, once: true, ranges: []keyRange{{lower: start, upper: after(start), cut: len(start)}}}
	default:
		start := currentPrefix(p.q.Type)
		one = plan{order: byID, records: true, once: true, ranges: []keyRange{{lower: start, upper: after(start), cut: len(start)}}}
	}
	one.rank = rankAll
	p.turn(&one)
	return one
}

// hasDate reports whether all resources of a type are in the index by date.
func hasDate(resourceType string) bool {
	_, ok := search.Lookup(resourceType, sortDate)
	return ok
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
	return one.order == byID || len(q.Sort) == 1 || q.Sort[1] == search.Sort{Param: "_id"}
}

// turn sets the direction of a plan that is in the order of the query, and lets it begin
// where the page begins.
func (p *planner) turn(one *plan) {
	if !one.inOrderOf(p.q) || one.ids != nil {
		return
	}
	down := p.q.Sort[0].Descending
	one.backwards = down == (one.order == byID)
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
