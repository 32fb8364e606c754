package mongotest

import (
	"maps"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// handlerOf is what a command does.
func handlerOf(name string) (handler, bool) {
	write := func(run func(*Server, *command) (bson.D, error)) (handler, bool) {
		return handler{run: run, writes: true, transactional: true, retryable: true}, true
	}
	read := func(run func(*Server, *command) (bson.D, error)) (handler, bool) {
		return handler{run: run, transactional: true}, true
	}
	plain := func(run func(*Server, *command) (bson.D, error)) (handler, bool) {
		return handler{run: run, always: true}, true
	}
	schema := func(run func(*Server, *command) (bson.D, error)) (handler, bool) {
		return handler{run: run, writes: true}, true
	}
	switch name {
	case "hello", "isMaster", "ismaster":
		return plain(hello)
	case "ping", "endSessions", "refreshSessions", "logout":
		return plain(nothing)
	case "killSessions", "killAllSessions":
		return plain(killSessions)
	case "saslStart", "saslContinue":
		return plain(login)
	case "buildInfo", "buildinfo":
		return plain(buildInfo)
	case "getParameter":
		return plain(getParameter)
	case "connectionStatus":
		return plain(connectionStatus)
	case "whatsmyuri":
		return plain(whatsMyURI)
	case "killCursors":
		return handler{run: killCursors, always: true, transactional: true}, true
	case "getMore":
		return handler{run: getMore, always: true, transactional: true}, true
	case "insert":
		return write(insert)
	case "update":
		return write(update)
	case "delete":
		return write(remove)
	case "findAndModify", "findandmodify":
		return write(findAndModify)
	case "find":
		return read(find)
	case "aggregate":
		return read(aggregate)
	case "distinct":
		return read(distinct)
	case "count":
		return handler{run: count}, true
	case "explain":
		return handler{run: explain}, true
	case "commitTransaction", "abortTransaction":
		return handler{run: nothing, writes: true}, true
	case "create":
		return handler{run: create, writes: true, transactional: true}, true
	case "createIndexes":
		return schema(createIndexes)
	case "dropIndexes":
		return schema(dropIndexes)
	case "drop":
		return schema(drop)
	case "dropDatabase":
		return schema(dropDatabase)
	case "listCollections":
		return handler{run: listCollections}, true
	case "listIndexes":
		return handler{run: listIndexes}, true
	case "listDatabases":
		return handler{run: listDatabases}, true
	case "collStats":
		return handler{run: collStats}, true
	case "dbStats":
		return handler{run: dbStats}, true
	}
	return handler{}, false
}

// killSessions aborts all open transactions.
func killSessions(s *Server, _ *command) (bson.D, error) {
	for _, x := range s.sessions {
		s.end(x)
	}
	return bson.D{}, nil
}

func create(s *Server, cmd *command) (bson.D, error) {
	view, err := s.view(cmd)
	if err != nil {
		return nil, err
	}
	if view[cmd.ns()] != nil {
		return nil, fail(48, "NamespaceExists", "Collection %s already exists.", cmd.ns())
	}
	view[cmd.ns()] = newCollection(cmd.ns())
	s.tick()
	return bson.D{}, nil
}

func createIndexes(s *Server, cmd *command) (bson.D, error) {
	made := s.collections[cmd.ns()] == nil
	c := s.live(cmd.ns())
	before := len(c.indexes)
	for _, spec := range docsOf(cmd.value("indexes")) {
		if err := s.createIndex(c, spec); err != nil {
			c.indexes = c.indexes[:before]
			return nil, err
		}
	}
	s.tick()
	return bson.D{{Key: "numIndexesBefore", Value: int32(before)}, {Key: "numIndexesAfter", Value: int32(len(c.indexes))}, {Key: "createdCollectionAutomatically", Value: made}}, nil
}

func (s *Server) createIndex(c *collection, spec bson.Raw) error {
	keys, _ := field(spec, "key")
	pattern, err := patternOf(docOf(keys))
	if err != nil {
		return err
	}
	name, _ := field(spec, "name")
	x := newIndex(stringOf(name), slices.Clone(spec), pattern)
	for e := range elements(spec) {
		switch e.name {
		case "key", "name", "v", "background", "expireAfterSeconds": // nothing expires here
		case "unique":
			x.unique = truth(e.value)
		case "sparse":
			x.sparse = truth(e.value)
		case "partialFilterExpression":
			if err := partialFilter(docOf(e.value)); err != nil {
				return err
			}
			filter, err := compile(slices.Clone(docOf(e.value)))
			if err != nil {
				return err
			}
			x.partial, x.partialText = &filter, slices.Clone(docOf(e.value))
		default:
			return fail(197, "InvalidIndexSpecificationOption", "this MongoDB has no indexes with the option %s", e.name)
		}
	}
	if x.name == "" || x.name == "_id_" && !slices.Equal(docOf(keys), bson.Raw(nil)) && pattern[0].path != "_id" {
		return fail(67, "CannotCreateIndex", "an index needs a name of its own")
	}
	if len(pattern) == 1 && pattern[0].path == "_id" {
		return nil
	}
	for _, y := range c.indexes[1:] {
		oldKeys, _ := field(y.spec, "key")
		same := oldKeys.Equal(keys)
		switch {
		case y.name == x.name && same && y.unique == x.unique && y.sparse == x.sparse && string(y.partialText) == string(x.partialText):
			return nil
		case y.name == x.name && !same:
			return fail(86, "IndexKeySpecsConflict", "An existing index has the same name as the requested index. When index names are not specified, they are auto generated and can cause conflicts. Please refer to our documentation. Requested index: %s", x.name)
		case y.name == x.name, same && string(y.partialText) == string(x.partialText):
			return fail(85, "IndexOptionsConflict", "Index already exists with a different name or options: %s", y.name)
		}
	}
	if len(c.indexes) >= 64 {
		return fail(67, "CannotCreateIndex", "too many indexes for %s", c.ns)
	}
	var failed error
	c.records.Scan(func(r *record) bool {
		keys, arrays, err := x.keys(r.doc)
		if err != nil {
			failed = err
			return false
		}
		for _, k := range keys {
			if x.unique && x.holder(k.text, r.number) != nil {
				failed = c.duplicate(x, r.doc)
				return false
			}
			x.entries.Set(entry{k.text, k.ends, r})
		}
		for i := range arrays {
			x.multikey[i] = x.multikey[i] || arrays[i]
		}
		return true
	})
	if failed == nil {
		c.indexes = append(c.indexes, x)
	}
	return failed
}

// partialFilter refuses what a partial index cannot have.
func partialFilter(filter bson.Raw) error {
	refused := func(what string) error {
		return fail(67, "CannotCreateIndex", "Expression not supported in partial index: %s", what)
	}
	for e := range elements(filter) {
		if e.name == "$and" || e.name == "$or" {
			for _, d := range docsOf(e.value) {
				if err := partialFilter(d); err != nil {
					return err
				}
			}
			continue
		}
		if strings.HasPrefix(e.name, "$") {
			return refused(e.name)
		}
		if !isOperators(e.value) {
			continue
		}
		for op := range elements(e.value.Value) {
			if !slices.Contains([]string{"$eq", "$gt", "$gte", "$lt", "$lte", "$type", "$in"}, op.name) && (op.name != "$exists" || !truth(op.value)) {
				return refused(op.name)
			}
		}
	}
	return nil
}

func dropIndexes(s *Server, cmd *command) (bson.D, error) {
	c := s.collections[cmd.ns()]
	if c == nil {
		return nil, fail(26, "NamespaceNotFound", "ns not found %s", cmd.ns())
	}
	before := len(c.indexes)
	name := cmd.text("index")
	if name == "*" {
		c.indexes = c.indexes[:1]
	} else if i := slices.IndexFunc(c.indexes, func(x *index) bool { return x.name == name }); i > 0 {
		c.indexes = slices.Delete(c.indexes, i, i+1)
	} else {
		return nil, fail(27, "IndexNotFound", "index not found with name [%s]", name)
	}
	s.tick()
	return bson.D{{Key: "nIndexesWas", Value: int32(before)}}, nil
}

func drop(s *Server, cmd *command) (bson.D, error) {
	c := s.collections[cmd.ns()]
	if c == nil {
		return bson.D{}, nil
	}
	n := len(c.indexes)
	delete(s.collections, cmd.ns())
	s.remember(s.tick(), 0, write{ns: cmd.ns(), kind: "drop"})
	s.wake()
	return bson.D{{Key: "nIndexesWas", Value: int32(n)}, {Key: "ns", Value: cmd.ns()}}, nil
}

func dropDatabase(s *Server, cmd *command) (bson.D, error) {
	for ns := range s.collections {
		if strings.HasPrefix(ns, cmd.database+".") {
			delete(s.collections, ns)
			s.remember(s.tick(), 0, write{ns: ns, kind: "drop"})
		}
	}
	s.wake()
	return bson.D{{Key: "dropped", Value: cmd.database}}, nil
}

func (s *Server) names(database string) []string {
	var all []string
	for _, ns := range slices.Sorted(maps.Keys(s.collections)) {
		if name, ok := strings.CutPrefix(ns, database+"."); ok {
			all = append(all, name)
		}
	}
	return all
}

func listCollections(s *Server, cmd *command) (bson.D, error) {
	filter, err := compile(cmd.doc("filter"))
	if err != nil {
		return nil, err
	}
	var docs []bson.Raw
	for _, name := range s.names(cmd.database) {
		d := bson.D{{Key: "name", Value: name}, {Key: "type", Value: "collection"}}
		if !cmd.flag("nameOnly") {
			d = append(d, bson.E{Key: "options", Value: bson.D{}}, bson.E{Key: "info", Value: bson.D{{Key: "readOnly", Value: false}}},
				bson.E{Key: "idIndex", Value: bson.D{{Key: "v", Value: int32(2)}, {Key: "key", Value: bson.D{{Key: "_id", Value: int32(1)}}}, {Key: "name", Value: "_id_"}}})
		}
		raw, err := bson.Marshal(d)
		if err != nil {
			return nil, badValue("the answer cannot be written")
		}
		if filter.matches(raw) {
			docs = append(docs, raw)
		}
	}
	return s.open(cmd, cmd.database+".$cmd.listCollections", docs, maxBatch, false)
}

func listIndexes(s *Server, cmd *command) (bson.D, error) {
	c := s.collections[cmd.ns()]
	if c == nil {
		return nil, fail(26, "NamespaceNotFound", "ns does not exist: %s", cmd.ns())
	}
	docs := []bson.Raw{document(func(dst []byte) []byte {
		dst = appendElement(dst, "v", valueOf(int32(2)))
		dst = appendElement(dst, "key", valueOf(bson.D{{Key: "_id", Value: int32(1)}}))
		return appendElement(dst, "name", valueOf("_id_"))
	})}
	for _, x := range c.indexes[1:] {
		docs = append(docs, document(func(dst []byte) []byte {
			if _, ok := field(x.spec, "v"); !ok {
				dst = appendElement(dst, "v", valueOf(int32(2)))
			}
			for e := range elements(x.spec) {
				dst = appendElement(dst, e.name, e.value)
			}
			return dst
		}))
	}
	return s.open(cmd, cmd.ns(), docs, maxBatch, false)
}

func listDatabases(s *Server, cmd *command) (bson.D, error) {
	sizes := map[string]int64{}
	for ns, c := range s.collections {
		database, _, _ := strings.Cut(ns, ".")
		sizes[database] += c.size()
	}
	list := bson.A{}
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		list = append(list, bson.D{{Key: "name", Value: name}, {Key: "sizeOnDisk", Value: sizes[name]}, {Key: "empty", Value: false}})
	}
	return bson.D{{Key: "databases", Value: list}, {Key: "totalSize", Value: int64(0)}}, nil
}

func (c *collection) size() int64 {
	var n int64
	c.records.Scan(func(r *record) bool { n += int64(len(r.doc)); return true })
	return n
}

func collStats(s *Server, cmd *command) (bson.D, error) {
	c := s.collections[cmd.ns()]
	if c == nil {
		c = newCollection(cmd.ns())
	}
	sizes := bson.D{}
	for _, x := range c.indexes {
		n := int64(0)
		x.entries.Scan(func(e entry) bool { n += int64(len(e.key)) + 8; return true })
		sizes = append(sizes, bson.E{Key: x.name, Value: n})
	}
	return bson.D{{Key: "ns", Value: cmd.ns()}, {Key: "count", Value: int32(c.records.Len())}, {Key: "size", Value: c.size()}, {Key: "storageSize", Value: c.size()},
		{Key: "nindexes", Value: int32(len(c.indexes))}, {Key: "indexSizes", Value: sizes}}, nil
}

func dbStats(s *Server, cmd *command) (bson.D, error) {
	var objects, size int64
	names := s.names(cmd.database)
	for _, name := range names {
		c := s.collections[cmd.database+"."+name]
		objects, size = objects+int64(c.records.Len()), size+c.size()
	}
	return bson.D{{Key: "db", Value: cmd.database}, {Key: "collections", Value: int32(len(names))}, {Key: "objects", Value: objects}, {Key: "dataSize", Value: size}, {Key: "storageSize", Value: size}}, nil
}
