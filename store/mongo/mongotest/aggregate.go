package mongotest

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// aggregate has the stages $match, $sort, $skip, $limit, $project, $unset, $unwind, $group, $count,
// $sortByCount and $changeStream. https://www.mongodb.com/docs/v7.0/reference/operator/aggregation-pipeline/
func aggregate(s *Server, cmd *command) (bson.D, error) {
	stages := docsOf(cmd.value("pipeline"))
	options := cmd.doc("cursor")
	if options == nil {
		return nil, fail(9, "FailedToParse", "The 'cursor' option is required, except for aggregate with the explain argument")
	}
	batch := firstBatch
	if v, ok := field(options, "batchSize"); ok {
		n, _ := intOf(v)
		batch = int(n)
	}
	if len(stages) > 0 {
		if spec, ok := field(stages[0], "$changeStream"); ok {
			return s.watch(cmd, docOf(spec), stages[1:], batch)
		}
	}
	if cmd.collection == "" {
		return nil, fail(73, "InvalidNamespace", "{aggregate: 1} is not valid for these stages")
	}
	view, err := s.view(cmd)
	if err != nil {
		return nil, err
	}
	// A pipeline begins like a find.
	var filter, sort bson.Raw
	rest := stages
	if len(rest) > 0 {
		if v, ok := field(rest[0], "$match"); ok {
			filter, rest = docOf(v), rest[1:]
		}
	}
	q, err := newQuestion(filter, nil, cmd.value("hint"))
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		if v, ok := field(rest[0], "$sort"); ok {
			sort, rest = docOf(v), rest[1:]
			if q, err = newQuestion(filter, sort, cmd.value("hint")); err != nil {
				return nil, err
			}
		}
	}
	if len(rest) > 0 {
		if v, ok := field(rest[0], "$limit"); ok {
			n, _ := intOf(v)
			q.limit, rest = int(n), rest[1:]
		}
	}
	x, err := view[cmd.ns()].execute(q)
	if err != nil {
		return nil, err
	}
	docs := make([]bson.Raw, len(x.records))
	for i, r := range x.records {
		docs[i] = r.doc
	}
	if docs, err = pipeline(docs, rest); err != nil {
		return nil, err
	}
	return s.open(cmd, cmd.ns(), docs, batch, false)
}

func pipeline(docs []bson.Raw, stages []bson.Raw) ([]bson.Raw, error) {
	for _, stage := range stages {
		for e := range elements(stage) {
			var err error
			if docs, err = runStage(docs, e.name, e.value); err != nil {
				return nil, err
			}
		}
	}
	return docs, nil
}

func runStage(docs []bson.Raw, name string, v bson.RawValue) ([]bson.Raw, error) {
	n, _ := intOf(v)
	switch name {
	case "$match":
		filter, err := compile(docOf(v))
		if err != nil {
			return nil, err
		}
		var kept []bson.Raw
		for _, d := range docs {
			if filter.matches(d) {
				kept = append(kept, d)
			}
		}
		return kept, nil
	case "$sort":
		pattern, err := patternOf(docOf(v))
		if err != nil {
			return nil, err
		}
		return docs, sorted(docs, pattern)
	case "$skip":
		return docs[min(int(n), len(docs)):], nil
	case "$limit":
		if n <= 0 {
			return nil, fail(15958, "Location15958", "the limit must be positive")
		}
		return docs[:min(int(n), len(docs))], nil
	case "$project", "$unset":
		projection := docOf(v)
		if name == "$unset" {
			projection = document(func(dst []byte) []byte { return appendElement(dst, stringOf(v), valueOf(int32(0))) })
		}
		for i, d := range docs {
			p, err := project(d, projection)
			if err != nil {
				return nil, err
			}
			docs[i] = p
		}
		return docs, nil
	case "$unwind":
		path := strings.TrimPrefix(stringOf(v), "$")
		if path == "" || strings.Contains(path, ".") {
			return nil, fail(28812, "Location28812", "this MongoDB unwinds fields at the top only")
		}
		return unwind(docs, path), nil
	case "$count":
		if len(docs) == 0 {
			return nil, nil
		}
		return []bson.Raw{document(func(dst []byte) []byte { return appendElement(dst, stringOf(v), valueOf(int32(len(docs)))) })}, nil
	case "$group":
		return group(docs, docOf(v))
	}
	return nil, fail(40324, "Location40324", "Unrecognized pipeline stage name: '%s'", name)
}

func unwind(docs []bson.Raw, path string) []bson.Raw {
	var all []bson.Raw
	for _, d := range docs {
		list, ok := field(d, path)
		if !ok || list.Type == bson.TypeNull {
			continue
		}
		values := []bson.RawValue{list}
		if list.Type == bson.TypeArray {
			values = nil
			for e := range elements(list.Value) {
				values = append(values, e.value)
			}
		}
		for _, v := range values {
			all = append(all, document(func(dst []byte) []byte {
				for e := range elements(d) {
					if e.name == path {
						e.value = v
					}
					dst = appendElement(dst, e.name, e.value)
				}
				return dst
			}))
		}
	}
	return all
}

// expression is a value, "$field", or a document of them.
func expression(doc bson.Raw, v bson.RawValue) (bson.RawValue, error) {
	switch {
	case v.Type == bson.TypeString && strings.HasPrefix(stringOf(v), "$$"):
		return v, fail(9, "FailedToParse", "this MongoDB has no variables")
	case v.Type == bson.TypeString && strings.HasPrefix(stringOf(v), "$"):
		var found bson.RawValue
		walk(doc, splitPath(stringOf(v)[1:]), false, func(f bson.RawValue) bool { found = f; return false })
		return found, nil
	case isOperators(v):
		return v, fail(168, "InvalidPipelineOperator", "this MongoDB has no expressions")
	case v.Type == bson.TypeEmbeddedDocument:
		var failed error
		d := document(func(dst []byte) []byte {
			for e := range elements(v.Value) {
				value, err := expression(doc, e.value)
				if err != nil {
					failed = err
				} else if value.Type != 0 {
					dst = appendElement(dst, e.name, value)
				}
			}
			return dst
		})
		return bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: d}, failed
	}
	return v, nil
}

func group(docs []bson.Raw, spec bson.Raw) ([]bson.Raw, error) {
	type bucket struct {
		id   bson.RawValue
		docs []bson.Raw
	}
	id, ok := field(spec, "_id")
	if !ok {
		return nil, fail(15955, "Location15955", "a group specification must include an _id")
	}
	buckets := map[string]*bucket{}
	var order []*bucket
	for _, d := range docs {
		v, err := expression(d, id)
		if err != nil {
			return nil, err
		}
		if v.Type == 0 {
			v.Type = bson.TypeNull
		}
		k := keyOf(v)
		if buckets[k] == nil {
			buckets[k] = &bucket{id: v}
			order = append(order, buckets[k])
		}
		buckets[k].docs = append(buckets[k].docs, d)
	}
	var all []bson.Raw
	for _, b := range order {
		var failed error
		all = append(all, document(func(dst []byte) []byte {
			dst = appendElement(dst, "_id", b.id)
			for e := range elements(spec) {
				if e.name == "_id" {
					continue
				}
				v, err := accumulate(b.docs, e.value)
				if err != nil {
					failed = err
					continue
				}
				dst = appendElement(dst, e.name, v)
			}
			return dst
		}))
		if failed != nil {
			return nil, failed
		}
	}
	return all, nil
}

func accumulate(docs []bson.Raw, spec bson.RawValue) (bson.RawValue, error) {
	var op string
	var of bson.RawValue
	for e := range elements(docOf(spec)) {
		op, of = e.name, e.value
		break
	}
	sum, whole := 0.0, true
	var n int64
	var best bson.RawValue
	var list bson.A
	seen := map[string]bool{}
	for i, d := range docs {
		v, err := expression(d, of)
		if err != nil {
			return v, err
		}
		switch op {
		case "$sum", "$avg":
			f, ok := numberOf(v)
			if k, exact := intOf(v); exact && v.Type != bson.TypeDouble {
				n += k
			} else if ok {
				whole = false
			}
			sum += f
		case "$count":
			n++
		case "$first":
			if i == 0 {
				best = v
			}
		case "$last":
			best = v
		case "$max", "$min":
			if v.Type != 0 && v.Type != bson.TypeNull && (best.Type == 0 || (keyOf(v) > keyOf(best)) == (op == "$max")) {
				best = v
			}
		case "$push", "$addToSet":
			if v.Type != 0 && (op == "$push" || !seen[keyOf(v)]) {
				seen[keyOf(v)] = true
				list = append(list, v)
			}
		default:
			return v, fail(15952, "Location15952", "unknown group operator '%s'", op)
		}
	}
	switch op {
	case "$avg":
		return valueOf(sum / float64(len(docs))), nil
	case "$sum", "$count":
		if !whole {
			return valueOf(sum), nil
		}
		if n == int64(int32(n)) {
			return valueOf(int32(n)), nil
		}
		return valueOf(n), nil
	case "$push", "$addToSet":
		return valueOf(append(bson.A{}, list...)), nil
	}
	if best.Type == 0 {
		best.Type = bson.TypeNull
	}
	return best, nil
}
