package mongotest

import (
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// cursor is what is left of a result, or a change stream.
type cursor struct {
	id      int64
	ns      string
	docs    []bson.Raw
	tx      *transaction
	session string
	stream  *stream
	at      uint64 // of the snapshot that was read, 0 if none
}

const firstBatch = 101

func find(s *Server, cmd *command) (bson.D, error) {
	view, err := s.view(cmd)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"collation", "min", "max", "tailable", "let"} {
		if v := cmd.value(name); v.Type == bson.TypeEmbeddedDocument && len(v.Value) > 5 || v.Type == bson.TypeBoolean && truth(v) {
			return nil, fail(9, "FailedToParse", "this MongoDB has no %s in find", name)
		}
	}
	q, err := newQuestion(cmd.doc("filter"), cmd.doc("sort"), cmd.value("hint"))
	if err != nil {
		return nil, err
	}
	q.skip, q.limit = int(cmd.int("skip", 0)), int(cmd.int("limit", 0))
	if q.skip < 0 || q.limit < 0 || cmd.int("batchSize", 0) < 0 {
		return nil, fail(51024, "Location51024", "BSON field value must be >= 0")
	}
	x, err := view[cmd.ns()].execute(q)
	if err != nil {
		return nil, err
	}
	docs := make([]bson.Raw, len(x.records))
	for i, r := range x.records {
		if docs[i], err = project(r.doc, cmd.doc("projection")); err != nil {
			return nil, err
		}
	}
	return s.open(cmd, cmd.ns(), docs, int(cmd.int("batchSize", firstBatch)), cmd.flag("singleBatch"))
}

// open gives the first batch of a result, and keeps the rest for getMore.
func (s *Server) open(cmd *command, ns string, docs []bson.Raw, batch int, single bool) (bson.D, error) {
	c := &cursor{ns: ns, docs: docs, tx: cmd.tx, session: cmd.session}
	if level, _ := field(cmd.doc("readConcern"), "level"); stringOf(level) == "snapshot" && cmd.tx == nil {
		c.at = s.clock
		if v, ok := field(cmd.doc("readConcern"), "atClusterTime"); ok {
			t, i, _ := v.TimestampOK()
			c.at = uint64(t)<<32 | uint64(i)
		}
	}
	first := c.take(batch)
	if len(c.docs) > 0 && !single {
		s.nextCursor++
		c.id = s.nextCursor
		s.cursors[c.id] = c
	}
	return c.reply("firstBatch", first), nil
}

// take is the next batch: of n documents, and of no more bytes than a message may have.
func (c *cursor) take(n int) []bson.Raw {
	size, count := 0, 0
	for count < len(c.docs) && count < n {
		if size += len(c.docs[count]) + 16; size > maxDocument && count > 0 {
			break
		}
		count++
	}
	batch := c.docs[:count]
	c.docs = c.docs[count:]
	return batch
}

func (c *cursor) reply(name string, batch []bson.Raw) bson.D {
	if batch == nil {
		batch = []bson.Raw{}
	}
	d := bson.D{{Key: "id", Value: c.id}, {Key: "ns", Value: c.ns}, {Key: name, Value: batch}}
	if c.at != 0 {
		d = append(d, bson.E{Key: "atClusterTime", Value: timestamp(c.at)})
	}
	if c.stream != nil {
		d = append(d, bson.E{Key: "postBatchResumeToken", Value: c.stream.token()})
	}
	return bson.D{{Key: "cursor", Value: d}}
}

func getMore(s *Server, cmd *command) (bson.D, error) {
	id, _ := intOf(cmd.value("getMore"))
	c := s.cursors[id]
	if c == nil {
		return nil, fail(43, "CursorNotFound", "cursor id %d not found", id)
	}
	if c.session != cmd.session || c.tx != cmd.tx {
		return nil, fail(50738, "Location50738", "Cannot run getMore on cursor %d, which was created in another session or transaction", id)
	}
	n := int(cmd.int("batchSize", 0))
	if n <= 0 {
		n = maxBatch
	}
	if c.stream != nil {
		return s.more(cmd, c, n)
	}
	batch := c.take(n)
	if len(c.docs) == 0 {
		delete(s.cursors, id)
		c.id = 0
	}
	return c.reply("nextBatch", batch), nil
}

func killCursors(s *Server, cmd *command) (bson.D, error) {
	killed, missing := bson.A{}, bson.A{}
	list := cmd.value("cursors")
	if list.Type != bson.TypeArray {
		return nil, fail(14, "TypeMismatch", "cursors must be an array")
	}
	for e := range elements(list.Value) {
		id, _ := intOf(e.value)
		if s.cursors[id] == nil {
			missing = append(missing, id)
			continue
		}
		delete(s.cursors, id)
		killed = append(killed, id)
	}
	s.wake()
	return bson.D{{Key: "cursorsKilled", Value: killed}, {Key: "cursorsNotFound", Value: missing}, {Key: "cursorsAlive", Value: bson.A{}}, {Key: "cursorsUnknown", Value: bson.A{}}}, nil
}

func count(s *Server, cmd *command) (bson.D, error) {
	view, err := s.view(cmd)
	if err != nil {
		return nil, err
	}
	q, err := newQuestion(cmd.doc("query"), nil, cmd.value("hint"))
	if err != nil {
		return nil, err
	}
	q.skip, q.limit = int(cmd.int("skip", 0)), int(cmd.int("limit", 0))
	x, err := view[cmd.ns()].execute(q)
	return bson.D{{Key: "n", Value: int32(len(x.records))}}, err
}

func distinct(s *Server, cmd *command) (bson.D, error) {
	view, err := s.view(cmd)
	if err != nil {
		return nil, err
	}
	q, err := newQuestion(cmd.doc("query"), nil, cmd.value("hint"))
	if err != nil {
		return nil, err
	}
	x, err := view[cmd.ns()].execute(q)
	if err != nil {
		return nil, err
	}
	values, seen := bson.A{}, map[string]bool{}
	parts := splitPath(cmd.text("key"))
	for _, r := range x.records {
		walk(r.doc, parts, true, func(v bson.RawValue) bool {
			if k := keyOf(v); v.Type != 0 && v.Type != bson.TypeArray && !seen[k] {
				seen[k] = true
				values = append(values, v)
			}
			return true
		})
	}
	return bson.D{{Key: "values", Value: values}}, nil
}

func splitPath(path string) []string { return strings.Split(path, ".") }

func explain(s *Server, cmd *command) (bson.D, error) {
	inner := cmd.doc("explain")
	name := ""
	for e := range elements(inner) {
		name = e.name
		break
	}
	sub := &command{name: name, database: cmd.database, body: inner, conn: cmd.conn}
	sub.collection = sub.text(name)
	filter := "filter"
	switch name {
	case "find":
	case "count", "distinct":
		filter = "query"
	default:
		return nil, fail(9, "FailedToParse", "this MongoDB explains find, count and distinct")
	}
	q, err := newQuestion(sub.doc(filter), sub.doc("sort"), sub.value("hint"))
	if err != nil {
		return nil, err
	}
	q.skip, q.limit = int(sub.int("skip", 0)), int(sub.int("limit", 0))
	began := time.Now()
	x, err := s.collections[sub.ns()].execute(q)
	if err != nil {
		return nil, err
	}
	if p := sub.doc("projection"); p != nil {
		x.plan = bson.D{{Key: "stage", Value: "PROJECTION_SIMPLE"}, {Key: "inputStage", Value: x.plan}}
	}
	return bson.D{
		{Key: "explainVersion", Value: "1"},
		{Key: "queryPlanner", Value: bson.D{{Key: "namespace", Value: sub.ns()}, {Key: "parsedQuery", Value: sub.doc(filter)}, {Key: "winningPlan", Value: x.plan}, {Key: "rejectedPlans", Value: bson.A{}}}},
		{Key: "executionStats", Value: bson.D{{Key: "executionSuccess", Value: true}, {Key: "nReturned", Value: int32(len(x.records))},
			{Key: "executionTimeMillis", Value: int32(time.Since(began).Milliseconds())}, {Key: "totalKeysExamined", Value: int32(x.keys)}, {Key: "totalDocsExamined", Value: int32(x.docs)},
			{Key: "executionStages", Value: x.plan}}},
		{Key: "serverInfo", Value: bson.D{{Key: "version", Value: "7.0.0"}}},
	}, nil
}

// sorted puts documents in the order of a pattern; equals stay as they are.
func sorted(docs []bson.Raw, pattern []sortField) error {
	type placed struct {
		key string
		doc bson.Raw
	}
	all := make([]placed, len(docs))
	for i, d := range docs {
		key, err := sortKey(d, pattern)
		if err != nil {
			return err
		}
		all[i] = placed{key, d}
	}
	slices.SortStableFunc(all, func(a, b placed) int { return strings.Compare(a.key, b.key) })
	for i := range all {
		docs[i] = all[i].doc
	}
	return nil
}
