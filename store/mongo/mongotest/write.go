package mongotest

import (
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// writeErrors are those of the statements of one command.
type writeErrors struct {
	list bson.A
}

// add tells whether the command goes on.
func (w *writeErrors) add(cmd *command, i int, err error) (goesOn bool, fatal error) {
	var f *failure
	if !errors.As(err, &f) || f.code == 112 || f.code == 50 || f.code == 11600 {
		return false, err
	}
	d := bson.D{{Key: "index", Value: int32(i)}, {Key: "code", Value: f.code}, {Key: "errmsg", Value: f.message}}
	w.list = append(w.list, append(d, f.more...))
	if cmd.tx != nil {
		cmd.tx.failed = true
		return false, nil
	}
	ordered := cmd.value("ordered")
	return ordered.Type != 0 && !truth(ordered), nil
}

func (w *writeErrors) append(d bson.D) bson.D {
	if len(w.list) == 0 {
		return d
	}
	return append(d, bson.E{Key: "writeErrors", Value: w.list})
}

func tooMany(n int) error {
	if n == 0 || n > maxBatch {
		return fail(16, "InvalidLength", "Write batch sizes must be between 1 and %d. Got %d operations.", maxBatch, n)
	}
	return nil
}

// statements runs those of a write command, one after the other, as far as its errors let it go
// on. What runs one calls Server.statement.
func (s *Server) statements(cmd *command, name string, run func(i int, statement bson.Raw) error) (failed writeErrors, err error) {
	all := cmd.docs(name)
	if err := tooMany(len(all)); err != nil {
		return failed, err
	}
	for i, one := range all {
		err := run(i, one)
		if err == nil {
			continue
		}
		goesOn, fatal := failed.add(cmd, i, err)
		if fatal != nil {
			return failed, fatal
		}
		if !goesOn {
			break
		}
	}
	s.wake()
	return failed, nil
}

func insert(s *Server, cmd *command) (bson.D, error) {
	n := 0
	failed, err := s.statements(cmd, "documents", func(_ int, doc bson.Raw) error {
		err := s.statement(cmd, func() error {
			_, err := s.put(cmd, cmd.ns(), "insert", nil, doc)
			return err
		})
		if err == nil {
			n++
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return failed.append(bson.D{{Key: "n", Value: int32(n)}}), nil
}

func update(s *Server, cmd *command) (bson.D, error) {
	n, modified := 0, 0
	var upserted bson.A
	failed, err := s.statements(cmd, "updates", func(i int, u bson.Raw) error {
		var done updated
		err := s.statement(cmd, func() (err error) {
			done, err = s.updateOne(cmd, u)
			return err
		})
		n, modified = n+done.matched, modified+done.modified
		if done.upserted.Type != 0 {
			n++
			upserted = append(upserted, bson.D{{Key: "index", Value: int32(i)}, {Key: "_id", Value: done.upserted}})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	d := bson.D{{Key: "n", Value: int32(n)}, {Key: "nModified", Value: int32(modified)}}
	if upserted != nil {
		d = append(d, bson.E{Key: "upserted", Value: upserted})
	}
	return failed.append(d), nil
}

type updated struct {
	matched, modified int
	upserted          bson.RawValue
}

// updateOne runs one statement of an update.
func (s *Server) updateOne(cmd *command, u bson.Raw) (done updated, err error) {
	get := func(name string) bson.RawValue { v, _ := field(u, name); return v }
	change := docOf(get("u"))
	if change == nil {
		return done, fail(9, "FailedToParse", "this MongoDB has no updates but documents and operators")
	}
	if get("arrayFilters").Type != 0 || get("collation").Type != 0 {
		return done, fail(9, "FailedToParse", "this MongoDB has no arrayFilters and collations")
	}
	multi := get("multi").Type != 0 && truth(get("multi"))
	if multi && isReplacement(change) {
		return done, fail(9, "FailedToParse", "multi update is not supported for replacement-style update")
	}
	found, err := s.matching(cmd, docOf(get("q")), get("hint"), nil, multi)
	if err != nil {
		return done, err
	}
	for _, r := range found {
		changed, err := s.updateRecord(cmd, r, change)
		if err != nil {
			return done, err
		}
		done.matched++
		if changed != r {
			done.modified++
		}
	}
	if len(found) > 0 || get("upsert").Type == 0 || !truth(get("upsert")) {
		return done, nil
	}
	r, err := s.upsert(cmd, docOf(get("q")), change)
	if err != nil {
		return done, err
	}
	done.upserted, _ = field(r.doc, "_id")
	return done, nil
}

// matching are the records that a write is about: the first one, or all of them.
func (s *Server) matching(cmd *command, filter bson.Raw, hint bson.RawValue, sort bson.Raw, all bool) ([]*record, error) {
	q, err := newQuestion(filter, sort, hint)
	if err != nil {
		return nil, err
	}
	if !all {
		q.limit = 1
	}
	view, err := s.view(cmd)
	if err != nil {
		return nil, err
	}
	x, err := view[cmd.ns()].execute(q)
	return x.records, err
}

// updateRecord gives the record after an update: r itself if it changes nothing.
func (s *Server) updateRecord(cmd *command, r *record, change bson.Raw) (*record, error) {
	doc, kind := change, "replace"
	id, _ := field(r.doc, "_id")
	if isReplacement(change) {
		if other, ok := field(change, "_id"); !ok {
			doc = withID(id, change)
		} else if keyOf(other) != r.key {
			return nil, fail(66, "ImmutableField", "After applying the update, the (immutable) field '_id' was found to have been altered")
		}
		doc = ordered(doc)
	} else {
		var err error
		if doc, err = changed(r.doc, change, false); err != nil {
			return nil, err
		}
		if other, _ := field(doc, "_id"); keyOf(other) != r.key {
			return nil, fail(66, "ImmutableField", "Performing an update on the path '_id' would modify the immutable field '_id'")
		}
		kind = "update"
	}
	if string(doc) == string(r.doc) {
		return r, nil
	}
	if err := fits(doc, 17419, "Location17419", "Resulting document after update of %d bytes is larger than %d"); err != nil {
		return nil, err
	}
	return s.put(cmd, cmd.ns(), kind, r, doc)
}

func withID(id bson.RawValue, doc bson.Raw) bson.Raw {
	return document(func(dst []byte) []byte {
		dst = appendElement(dst, "_id", id)
		if len(doc) > 5 {
			dst = append(dst, doc[4:len(doc)-1]...)
		}
		return dst
	})
}

// ordered is a document with _id in front.
func ordered(doc bson.Raw) bson.Raw {
	for e := range elements(doc) {
		if e.name == "_id" {
			return doc
		}
		break
	}
	id, ok := field(doc, "_id")
	if !ok {
		return doc
	}
	return document(func(dst []byte) []byte {
		dst = appendElement(dst, "_id", id)
		for e := range elements(doc) {
			if e.name != "_id" {
				dst = appendElement(dst, e.name, e.value)
			}
		}
		return dst
	})
}

// upsert inserts what an update makes of the equalities of its filter.
func (s *Server) upsert(cmd *command, filter, change bson.Raw) (*record, error) {
	var base bson.D
	var collect func(filter bson.Raw)
	collect = func(filter bson.Raw) {
		for e := range elements(filter) {
			switch {
			case e.name == "$and":
				for _, d := range docsOf(e.value) {
					collect(d)
				}
			case e.name[:min(1, len(e.name))] == "$":
			case !isOperators(e.value):
				base, _ = assign(base, splitPath(e.name), "$set", e.value, true)
			default:
				if v, ok := field(e.value.Value, "$eq"); ok {
					base, _ = assign(base, splitPath(e.name), "$set", v, true)
				}
			}
		}
	}
	collect(filter)
	doc, err := bson.Marshal(base)
	if err != nil {
		return nil, badValue("the filter of the upsert cannot be read")
	}
	if isReplacement(change) {
		id, ok := field(doc, "_id")
		doc = change
		if _, has := field(change, "_id"); ok && !has {
			doc = withID(id, change)
		}
	} else if doc, err = changed(doc, change, true); err != nil {
		return nil, err
	}
	if err := fits(doc, 17420, "Location17420", "Document to upsert of %d bytes is larger than %d"); err != nil {
		return nil, err
	}
	return s.put(cmd, cmd.ns(), "insert", nil, doc)
}

func remove(s *Server, cmd *command) (bson.D, error) {
	n := 0
	failed, err := s.statements(cmd, "deletes", func(_ int, d bson.Raw) error {
		return s.statement(cmd, func() error {
			filter, _ := field(d, "q")
			limit, _ := field(d, "limit")
			hint, _ := field(d, "hint")
			found, err := s.matching(cmd, docOf(filter), hint, nil, !truth(limit))
			if err != nil {
				return err
			}
			for _, r := range found {
				if _, err := s.put(cmd, cmd.ns(), "delete", r, nil); err != nil {
					return err
				}
				n++
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return failed.append(bson.D{{Key: "n", Value: int32(n)}}), nil
}

func findAndModify(s *Server, cmd *command) (bson.D, error) {
	var last, d bson.D
	err := s.statement(cmd, func() error {
		found, err := s.matching(cmd, cmd.doc("query"), cmd.value("hint"), cmd.doc("sort"), false)
		if err != nil {
			return err
		}
		var old, fresh *record
		if len(found) > 0 {
			old = found[0]
		}
		last = bson.D{{Key: "n", Value: int32(len(found))}}
		change := cmd.doc("update")
		switch {
		case cmd.flag("remove"):
			if old != nil {
				if _, err := s.put(cmd, cmd.ns(), "delete", old, nil); err != nil {
					return err
				}
			}
		case change == nil:
			return fail(9, "FailedToParse", "this MongoDB has no updates but documents and operators")
		case old != nil:
			last = append(last, bson.E{Key: "updatedExisting", Value: true})
			if fresh, err = s.updateRecord(cmd, old, change); err != nil {
				return err
			}
		case cmd.flag("upsert"):
			if fresh, err = s.upsert(cmd, cmd.doc("query"), change); err != nil {
				return err
			}
			id, _ := field(fresh.doc, "_id")
			last = bson.D{{Key: "n", Value: int32(1)}, {Key: "updatedExisting", Value: false}, {Key: "upserted", Value: id}}
		default:
			last = append(last, bson.E{Key: "updatedExisting", Value: false})
		}
		result := old
		if cmd.flag("new") {
			result = fresh
		}
		var value any
		if result != nil {
			doc, err := project(result.doc, cmd.doc("fields"))
			if err != nil {
				return err
			}
			value = doc
		}
		d = bson.D{{Key: "lastErrorObject", Value: last}, {Key: "value", Value: value}}
		return nil
	})
	s.wake()
	return d, err
}
