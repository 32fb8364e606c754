package mongotest

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// question is what a collection is asked for.
type question struct {
	filter      node
	sort        []sortField
	hint        bson.RawValue
	skip, limit int // 0 is no limit
}

func newQuestion(filter, sort bson.Raw, hint bson.RawValue) (question, error) {
	q := question{hint: hint}
	var err error
	if q.filter, err = compile(filter); err != nil {
		return q, err
	}
	if len(sort) > 5 {
		q.sort, err = patternOf(sort)
	}
	return q, err
}

// execution is the answer, and how it was found.
type execution struct {
	records    []*record
	plan       bson.D
	keys, docs int
}

// most is what an execution may cost before another is better.
const most = 1 << 60

// execute answers a question with the plan that costs least. The collection may be nil: it has
// nothing.
func (c *collection) execute(q question) (execution, error) {
	if c == nil {
		return execution{plan: bson.D{{Key: "stage", Value: "EOF"}}}, nil
	}
	for _, n := range q.filter.kids {
		if n.path == "_id" && n.op == "eq" && q.hint.Type == 0 {
			return c.byKey(q, n.key), nil
		}
	}
	indexes, natural, err := c.hinted(q.hint)
	if err != nil {
		return execution{}, err
	}
	var plans []plan
	if !natural {
		plans = plansOf(indexes, q)
	}
	if len(plans) == 0 && q.hint.Type != 0 && !natural {
		plans = []plan{{scans: []scan{wholeScan(indexes[0])}, ordered: inOrder(indexes[0], wholeScan(indexes[0]).bounds, q.sort) != 0}}
		if indexes[0].partial != nil && !implied(indexes[0].partial, conjuncts(&q.filter)) {
			return execution{}, badValue("error processing query: planner returned error: No query solutions: the hinted partial index cannot be used")
		}
	}
	if len(plans) == 0 {
		plans = []plan{{}}
	}
	best := execution{}
	budget := most
	for i := range plans {
		x, cost, err := c.try(&plans[i], q, budget)
		if err != nil {
			return x, err
		}
		if cost < budget {
			best, budget = x, cost
		}
	}
	return best, nil
}

// byKey is the plan for one _id.
func (c *collection) byKey(q question, key string) execution {
	x := execution{plan: bson.D{{Key: "stage", Value: "IDHACK"}}}
	if len(q.filter.kids) > 1 {
		x.plan = bson.D{{Key: "stage", Value: "FETCH"}, {Key: "inputStage", Value: bson.D{{Key: "stage", Value: "IXSCAN"}, {Key: "indexName", Value: "_id_"}}}}
	}
	if r, ok := c.byID.Get(key); ok {
		x.keys, x.docs = 1, 1
		if q.filter.matches(r.doc) {
			x.records = cutPage([]*record{r}, q)
		}
	}
	return x
}

// hinted are the indexes that may be used, or that none may.
func (c *collection) hinted(hint bson.RawValue) (indexes []*index, natural bool, err error) {
	switch hint.Type {
	case 0:
		return c.indexes, false, nil
	case bson.TypeString:
		for _, x := range c.indexes {
			if x.name == stringOf(hint) {
				return []*index{x}, false, nil
			}
		}
	case bson.TypeEmbeddedDocument:
		if len(hint.Value) <= 5 {
			return c.indexes, false, nil
		}
		if _, ok := field(hint.Value, "$natural"); ok {
			return nil, true, nil
		}
		pattern, err := patternOf(bson.Raw(hint.Value))
		if err != nil {
			return nil, false, err
		}
		for _, x := range c.indexes {
			if slices.EqualFunc(x.pattern, pattern, func(a, b sortField) bool { return a.path == b.path && a.down == b.down }) {
				return []*index{x}, false, nil
			}
		}
	}
	return nil, false, badValue("error processing query: planner returned error :: caused by :: hint provided does not correspond to an existing index")
}

// plan is a way to find documents: scans of indexes, merged if they are ordered; no scan is all
// documents.
type plan struct {
	scans   []scan
	ordered bool
}

// scan is the part of an index within bounds: intervals for each field, in the order of the index.
type scan struct {
	index    *index
	bounds   [][]interval
	backward bool
}

// interval of keys of one field, as the index has them.
type interval struct {
	low, high         string
	lowOpen, highOpen bool
}

var everything = interval{low: "", high: "\xff"}

func (v interval) point() bool { return v.low == v.high && !v.lowOpen && !v.highOpen }
func (v interval) all() bool   { return v == everything }

// below and above tell where a key is.
func (v interval) below(key string) bool { return key < v.low || v.lowOpen && key == v.low }
func (v interval) above(key string) bool { return key > v.high || v.highOpen && key == v.high }

func (v interval) empty() bool {
	return v.low > v.high || v.low == v.high && (v.lowOpen || v.highOpen)
}

func flip(key string) string {
	b := []byte(key)
	inverted(b)
	return string(b)
}

func (v interval) inverted() interval {
	w := interval{flip(v.high), flip(v.low), v.highOpen, v.lowOpen}
	if v.high == everything.high {
		w.low = everything.low
	}
	if v.low == everything.low {
		w.high = everything.high
	}
	return w
}

// intersect is what is in both lists.
func intersect(a, b []interval) []interval {
	var both []interval
	for _, x := range a {
		for _, y := range b {
			z := x
			if y.low > z.low || y.low == z.low && y.lowOpen {
				z.low, z.lowOpen = y.low, y.lowOpen
			}
			if y.high < z.high || y.high == z.high && y.highOpen {
				z.high, z.highOpen = y.high, y.highOpen
			}
			if !z.empty() {
				both = append(both, z)
			}
		}
	}
	return both
}

// conjunct is a condition that holds for every match; those of one group hold for one element of
// an array, group 0 for the document.
type conjunct struct {
	path      string
	group     int
	intervals []interval
}

// conjuncts are those of a filter that bounds of indexes can be made of.
func conjuncts(n *node) []conjunct {
	var all []conjunct
	groups := 0
	var collect func(n *node, prefix string, group int)
	collect = func(n *node, prefix string, group int) {
		path := n.path
		if prefix != "" {
			path = strings.TrimSuffix(prefix+"."+n.path, ".")
		}
		switch n.op {
		case "and":
			for i := range n.kids {
				collect(&n.kids[i], prefix, group)
			}
		case "elements", "element":
			groups++
			inner := groups
			for i := range n.kids {
				collect(&n.kids[i], path, inner)
			}
		default:
			if list, ok := n.intervals(); ok {
				all = append(all, conjunct{path, group, list})
			}
		}
	}
	collect(n, "", 0)
	return all
}

// intervals are the keys that a condition on a field leads to.
func (n *node) intervals() ([]interval, bool) {
	var class [2]string
	if n.key != "" {
		// Neither is the beginning of a key, so that inverted ones compare the other way.
		class = [2]string{string([]byte{n.key[0] - 1, 0xff}), string([]byte{n.key[0] + 1})}
		if n.any {
			class = [2]string{"", "\xff"}
		}
	}
	switch n.op {
	case "eq":
		// The key of an array is in an index as those of its elements.
		if n.key[0] == classOf(bson.TypeArray) {
			return nil, false
		}
		return []interval{{low: n.key, high: n.key}}, true
	case "gt", "gte":
		return []interval{{low: n.key, lowOpen: n.op == "gt", high: class[1], highOpen: !n.any}}, n.key[0] != classOf(bson.TypeArray)
	case "lt", "lte":
		return []interval{{low: class[0], high: n.key, highOpen: n.op == "lt"}}, n.key[0] != classOf(bson.TypeArray)
	case "in":
		var points []interval
		for k := range n.keys {
			if k[0] == classOf(bson.TypeArray) {
				return nil, false
			}
			points = append(points, interval{low: k, high: k})
		}
		slices.SortFunc(points, func(a, b interval) int { return strings.Compare(a.low, b.low) })
		return points, true
	}
	return nil, false
}

// maxScans is how many scans a list of values may become, to keep an order.
const maxScans = 200

// plansOf are the plans for a question that use an index.
func plansOf(indexes []*index, q question) []plan {
	all := single(indexes, &q.filter, q.sort)
	// An $or beside other conditions: each branch with them.
	for i := range q.filter.kids {
		or := &q.filter.kids[i]
		if or.op != "or" || len(or.kids) == 0 {
			continue
		}
		others := slices.Delete(slices.Clone(q.filter.kids), i, i+1)
		together := plan{ordered: q.sort != nil}
		for _, branch := range or.kids {
			filter := node{op: "and", kids: append(slices.Clone(others), branch)}
			options := single(indexes, &filter, q.sort)
			if len(options) == 0 {
				together.scans = nil
				break
			}
			// The best is not known before all are tried: the one with most bounds in order.
			best := slices.MaxFunc(options, func(a, b plan) int { return worth(a) - worth(b) })
			together.scans = append(together.scans, best.scans...)
			together.ordered = together.ordered && best.ordered
		}
		if together.scans != nil {
			all = append(all, together)
		}
	}
	return all
}

func worth(p plan) int {
	n := 0
	for _, list := range p.scans[0].bounds {
		if len(list) == 1 && list[0].all() {
			continue
		}
		n += 2
		if len(list) > 0 && list[0].point() {
			n++
		}
	}
	if p.ordered {
		n += 3
	}
	return n
}

// single are the plans that use one index.
func single(indexes []*index, filter *node, sort []sortField) []plan {
	conditions := conjuncts(filter)
	var all []plan
	for _, x := range indexes {
		if x.partial != nil && !implied(x.partial, conditions) || x.sparse {
			continue
		}
		for _, bounds := range x.alternatives(conditions) {
			s := scan{index: x, bounds: bounds}
			useful := len(bounds[0]) != 1 || !bounds[0][0].all()
			if p, ok := x.inOrderOf(s, sort); ok && sort != nil {
				all = append(all, p)
			} else if useful {
				all = append(all, plan{scans: []scan{s}})
			}
		}
	}
	return all
}

// alternatives are the bounds that conditions give an index: of an array one condition, or those
// of one element, make a bound.
func (x *index) alternatives(conditions []conjunct) [][][]interval {
	none := make([][]interval, len(x.pattern))
	for i := range none {
		none[i] = []interval{everything}
	}
	arrays := false
	for i, f := range x.pattern {
		if x.multikey[i] {
			arrays = true
			continue
		}
		for _, c := range conditions {
			if c.path == f.path {
				none[i] = intersect(none[i], c.intervals)
			}
		}
	}
	all := [][][]interval{}
	if arrays {
		for _, c := range conditions {
			bounds := slices.Clone(none)
			used := false
			for i, f := range x.pattern {
				if !x.multikey[i] {
					continue
				}
				for _, d := range conditions {
					if d.path == f.path && (d.group == c.group && c.group != 0 || samePlace(c, d)) {
						bounds[i] = intersect(bounds[i], d.intervals)
						used = true
					}
				}
			}
			if used {
				all = append(all, bounds)
			}
		}
	}
	if len(all) == 0 {
		all = append(all, none)
	}
	for i, bounds := range all {
		bounds = slices.Clone(bounds)
		for j, f := range x.pattern {
			if !f.down {
				continue
			}
			list := make([]interval, len(bounds[j]))
			for k, v := range bounds[j] {
				list[len(list)-1-k] = v.inverted()
			}
			bounds[j] = list
		}
		all[i] = bounds
	}
	return all
}

// samePlace reports whether two conditions are one.
func samePlace(c, d conjunct) bool {
	return c.path == d.path && c.group == d.group && len(c.intervals) > 0 && len(d.intervals) > 0 && &c.intervals[0] == &d.intervals[0]
}

// implied reports whether what holds for every match puts it into a partial index.
func implied(partial *node, conditions []conjunct) bool {
	for i := range partial.kids {
		p := &partial.kids[i]
		if p.op == "and" {
			if !implied(p, conditions) {
				return false
			}
			continue
		}
		want, ok := p.intervals()
		if p.op == "exists" {
			want, ok = []interval{{low: null, lowOpen: true, high: "\xff"}, {low: "", high: null, highOpen: true}}, true
		}
		if !ok || !slices.ContainsFunc(conditions, func(c conjunct) bool {
			return c.path == p.path && len(c.intervals) > 0 && !slices.ContainsFunc(c.intervals, func(v interval) bool {
				return !slices.ContainsFunc(want, func(w interval) bool { return slices.Equal(intersect([]interval{v}, []interval{w}), []interval{v}) })
			})
		}) {
			return false
		}
	}
	return true
}

// inOrderOf makes a plan of a scan that gives the order of sort: several scans if a field before
// those of the sort has several values.
func (x *index) inOrderOf(s scan, sort []sortField) (plan, bool) {
	way := inOrder(x, s.bounds, sort)
	if way == 0 {
		return plan{}, false
	}
	p := plan{ordered: true, scans: []scan{{index: x, backward: way < 0, bounds: s.bounds}}}
	for i := range x.pattern {
		if !points(s.bounds[i]) {
			break
		}
		var each []scan
		for _, t := range p.scans {
			for _, v := range s.bounds[i] {
				u := t
				u.bounds = slices.Clone(t.bounds)
				u.bounds[i] = []interval{v}
				each = append(each, u)
			}
		}
		if len(each) > maxScans {
			return plan{}, false
		}
		if len(each) == 0 { // nothing is within the bounds
			break
		}
		p.scans = each
	}
	return p, true
}

func points(list []interval) bool {
	return !slices.ContainsFunc(list, func(v interval) bool { return !v.point() })
}

// inOrder is 1 if an index within bounds is in an order, -1 if it is backwards, and else 0.
func inOrder(x *index, bounds [][]interval, sort []sortField) int {
	way, i := 0, 0
	for _, f := range sort {
		fixed := slices.IndexFunc(x.pattern[:i], func(g sortField) bool { return g.path == f.path })
		if fixed >= 0 && !x.multikey[fixed] {
			if len(bounds[fixed]) == 1 {
				continue
			}
			return 0
		}
		for i < len(x.pattern) && x.pattern[i].path != f.path && points(bounds[i]) {
			i++
		}
		if i == len(x.pattern) || x.pattern[i].path != f.path || x.multikey[i] {
			return 0
		}
		this := 1
		if x.pattern[i].down != f.down {
			this = -1
		}
		if len(bounds[i]) == 1 && bounds[i][0].point() {
			this = way
		}
		if way != 0 && this != way {
			return 0
		}
		way, i = this, i+1
	}
	if way == 0 {
		way = 1
	}
	return way
}

func wholeScan(x *index) scan {
	s := scan{index: x, bounds: make([][]interval, len(x.pattern))}
	for i := range s.bounds {
		s.bounds[i] = []interval{everything}
	}
	return s
}

// try runs a plan for as long as it costs less than the best so far.
func (c *collection) try(p *plan, q question, budget int) (x execution, cost int, err error) {
	seen := map[int64]bool{}
	enough := func() bool { return q.limit > 0 && len(x.records) >= q.limit+q.skip && (p.ordered || q.sort == nil) }
	take := func(r *record) bool {
		if len(p.scans) > 0 {
			if seen[r.number] {
				return x.keys+x.docs < budget
			}
			seen[r.number] = true
		}
		x.docs++
		if q.filter.matches(r.doc) {
			x.records = append(x.records, r)
		}
		return !enough() && x.keys+x.docs < budget
	}
	switch {
	case len(p.scans) == 0:
		c.records.Scan(take)
	case !p.ordered || len(p.scans) == 1:
		for i := range p.scans {
			p.scans[i].run(&x.keys, func(e entry) bool { return take(e.record) })
		}
	default:
		if err := p.merge(q.sort, &x.keys, take); err != nil {
			return x, 0, err
		}
	}
	cost = x.keys + x.docs
	if cost >= budget && !enough() {
		return x, most, nil
	}
	if q.sort != nil && (len(p.scans) == 0 || !p.ordered) {
		cost += len(x.records) / 4
		if err := sortRecords(x.records, q.sort); err != nil {
			return x, 0, err
		}
	}
	x.records = cutPage(x.records, q)
	x.plan = p.stages(q)
	return x, cost, nil
}

// run visits the entries within the bounds, and counts the keys that it looks at.
func (s *scan) run(keys *int, visit func(e entry) bool) {
	for _, list := range s.bounds {
		if len(list) == 0 {
			return
		}
	}
	for at, done := s.start("", 0), false; !done; {
		done = true
		step := func(e entry) bool {
			*keys++
			next, inside := s.check(e)
			if inside {
				return visit(e)
			}
			at, done = next, next == ""
			return false
		}
		if s.backward {
			s.index.entries.Descend(entry{key: at, record: &record{number: -1}}, step)
		} else {
			s.index.entries.Ascend(entry{key: at, record: &record{}}, step)
		}
	}
}

// start is where the bounds of the fields from one on begin, behind a prefix.
func (s *scan) start(prefix string, from int) string {
	for _, list := range s.bounds[from:] {
		if s.backward {
			v := list[len(list)-1]
			if prefix += v.high; !v.point() {
				return prefix + "\xff"
			}
		} else {
			prefix += list[0].low
			if !list[0].point() {
				return prefix
			}
		}
	}
	if s.backward {
		return prefix + "\xff"
	}
	return prefix
}

// check tells whether an entry is within the bounds, and else where to go on, "" if nowhere.
func (s *scan) check(e entry) (next string, inside bool) {
	from := int32(0)
	for i, list := range s.bounds {
		value := e.key[from:e.ends[i]]
		var target *interval
		found := false
		if s.backward {
			for j := len(list) - 1; j >= 0 && !found; j-- {
				if list[j].below(value) {
					continue
				}
				target, found = &list[j], true
			}
		} else {
			j, _ := slices.BinarySearchFunc(list, value, func(v interval, value string) int {
				if v.above(value) {
					return -1
				}
				return 1
			})
			if j < len(list) {
				target, found = &list[j], true
			}
		}
		prefix := e.key[:from]
		switch {
		case !found && s.backward:
			// Before everything with this prefix.
			if i == 0 {
				return "", false
			}
			return prefix, false
		case !found:
			if i == 0 {
				return "", false
			}
			return prefix + "\xff", false
		case s.backward && target.above(value):
			if target.highOpen && value == target.high {
				return prefix + value, false
			}
			return s.start(prefix+target.high, i+1), false
		case !s.backward && target.below(value):
			if target.lowOpen && value == target.low {
				return prefix + value + "\xff", false
			}
			return s.start(prefix+target.low, i+1), false
		}
		from = e.ends[i]
	}
	return "", true
}

// merge visits the records of ordered scans in the order of a pattern.
func (p *plan) merge(pattern []sortField, keys *int, visit func(r *record) bool) error {
	type head struct {
		key  string
		r    *record
		next func() (entry, bool)
	}
	var heads []*head
	advance := func(h *head) (bool, error) {
		e, ok := h.next()
		if !ok {
			return false, nil
		}
		var err error
		h.r = e.record
		h.key, err = sortKey(e.record.doc, pattern)
		return true, err
	}
	for i := range p.scans {
		next, stop := iter.Pull(func(yield func(entry) bool) { p.scans[i].run(keys, yield) })
		defer stop()
		h := &head{next: next}
		ok, err := advance(h)
		if err != nil {
			return err
		}
		if ok {
			heads = append(heads, h)
		}
	}
	for len(heads) > 0 {
		least := 0
		for i, h := range heads {
			if h.key < heads[least].key || h.key == heads[least].key && h.r.number < heads[least].r.number {
				least = i
			}
		}
		if !visit(heads[least].r) {
			return nil
		}
		ok, err := advance(heads[least])
		if err != nil {
			return err
		}
		if !ok {
			heads = slices.Delete(heads, least, least+1)
		}
	}
	return nil
}

// stages is the plan as explain tells it.
func (p *plan) stages(q question) bson.D {
	if len(p.scans) == 0 {
		d := bson.D{{Key: "stage", Value: "COLLSCAN"}, {Key: "direction", Value: "forward"}}
		if q.sort != nil {
			d = bson.D{{Key: "stage", Value: "SORT"}, {Key: "inputStage", Value: d}}
		}
		return d
	}
	var inputs bson.A
	for _, s := range p.scans {
		way := "forward"
		if s.backward {
			way = "backward"
		}
		pattern, bounds := bson.D{}, bson.D{}
		multikey := false
		for i, f := range s.index.pattern {
			pattern = append(pattern, bson.E{Key: f.path, Value: direction(f)})
			multikey = multikey || s.index.multikey[i]
			kind := "range"
			if len(s.bounds[i]) == 1 && s.bounds[i][0].all() {
				kind = "[MinKey, MaxKey]"
			} else if points(s.bounds[i]) {
				kind = fmt.Sprintf("%d points", len(s.bounds[i]))
			}
			bounds = append(bounds, bson.E{Key: f.path, Value: bson.A{kind}})
		}
		inputs = append(inputs, bson.D{{Key: "stage", Value: "IXSCAN"}, {Key: "indexName", Value: s.index.name}, {Key: "keyPattern", Value: pattern},
			{Key: "isMultiKey", Value: multikey}, {Key: "direction", Value: way}, {Key: "indexBounds", Value: bounds}})
		if len(inputs) == 20 {
			break
		}
	}
	var d any = inputs[0]
	if len(p.scans) > 1 {
		name := "OR"
		if p.ordered {
			name = "SORT_MERGE"
		}
		d = bson.D{{Key: "stage", Value: name}, {Key: "inputStages", Value: inputs}}
	}
	d = bson.D{{Key: "stage", Value: "FETCH"}, {Key: "inputStage", Value: d}}
	if q.sort != nil && !p.ordered {
		d = bson.D{{Key: "stage", Value: "SORT"}, {Key: "inputStage", Value: d}}
	}
	if q.limit > 0 {
		d = bson.D{{Key: "stage", Value: "LIMIT"}, {Key: "limitAmount", Value: int32(q.limit)}, {Key: "inputStage", Value: d}}
	}
	return d.(bson.D)
}

func cutPage(records []*record, q question) []*record {
	records = records[min(q.skip, len(records)):]
	if q.limit > 0 {
		records = records[:min(q.limit, len(records))]
	}
	return records
}

func sortRecords(records []*record, pattern []sortField) error {
	type placed struct {
		key string
		r   *record
	}
	all := make([]placed, len(records))
	for i, r := range records {
		key, err := sortKey(r.doc, pattern)
		if err != nil {
			return err
		}
		all[i] = placed{key, r}
	}
	slices.SortStableFunc(all, func(a, b placed) int { return strings.Compare(a.key, b.key) })
	for i := range all {
		records[i] = all[i].r
	}
	return nil
}
