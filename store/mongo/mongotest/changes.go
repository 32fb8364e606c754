package mongotest

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// change is what a change stream tells.
type change struct {
	at    uint64
	index int // within a transaction
	when  time.Time
	write
}

// maxLog is how many changes can be resumed from.
const maxLog = 200_000

// remember appends to the log. The caller holds mu.
func (s *Server) remember(at uint64, index int, w write) {
	if s.options.Standalone {
		return
	}
	if len(s.log) >= maxLog {
		s.forgotten = s.log[maxLog/2-1].at
		s.log = slices.Clone(s.log[maxLog/2:])
	}
	s.log = append(s.log, change{at, index, time.Now(), w})
}

// stream is an open change stream.
type stream struct {
	database, collection string
	pipeline             []bson.Raw
	lookup               string
	at                   uint64 // what was told last, or looked at in vain
	index                int
}

// token is where a stream is, as clients keep it.
func (x *stream) token() bson.D { return tokenOf(x.at, x.index) }

func tokenOf(at uint64, index int) bson.D {
	b := binary.BigEndian.AppendUint64(nil, at)
	return bson.D{{Key: "_data", Value: strings.ToUpper(hex.EncodeToString(binary.BigEndian.AppendUint32(b, uint32(index))))}}
}

// watch opens a change stream. https://www.mongodb.com/docs/v7.0/changeStreams/
func (s *Server) watch(cmd *command, spec bson.Raw, rest []bson.Raw, batch int) (bson.D, error) {
	if s.options.Standalone {
		return nil, fail(40573, "Location40573", "The $changeStream stage is only supported on replica sets")
	}
	x := &stream{database: cmd.database, collection: cmd.collection, pipeline: rest, at: s.clock, index: 1 << 30}
	for e := range elements(spec) {
		switch e.name {
		case "fullDocument":
			x.lookup = stringOf(e.value)
			if !slices.Contains([]string{"default", "updateLookup", "whenAvailable", "required"}, x.lookup) {
				return nil, badValue("Enumeration value '%s' for field '$changeStream.fullDocument' is not a valid value.", x.lookup)
			}
		case "resumeAfter", "startAfter":
			v, _ := field(docOf(e.value), "_data")
			b, err := hex.DecodeString(stringOf(v))
			if err != nil || len(b) != 12 {
				return nil, fail(50811, "Location50811", "the resume token is none of this server")
			}
			x.at, x.index = binary.BigEndian.Uint64(b), int(binary.BigEndian.Uint32(b[8:]))
		case "startAtOperationTime":
			t, i, _ := e.value.TimestampOK()
			x.at, x.index = (uint64(t)<<32|uint64(i))-1, 1<<30
		case "showExpandedEvents", "fullDocumentBeforeChange", "allChangesForCluster":
		default:
			return nil, fail(40415, "Location40415", "BSON field '$changeStream.%s' is an unknown field.", e.name)
		}
	}
	if x.at < s.forgotten {
		return nil, errForgotten
	}
	s.nextCursor++
	ns := cmd.ns()
	if cmd.collection == "" {
		ns = cmd.database + ".$cmd.aggregate"
	}
	c := &cursor{id: s.nextCursor, ns: ns, session: cmd.session, stream: x}
	s.cursors[c.id] = c
	events, err := x.next(s, batch)
	if err != nil {
		return nil, err
	}
	return c.reply("firstBatch", events), nil
}

var errForgotten = &failure{code: 286, name: "ChangeStreamHistoryLost", message: "Resume of change stream was not possible, as the resume point may no longer be in the oplog.", labels: []string{"NonResumableChangeStreamError"}}

// next are the events that have happened since, n at most.
func (x *stream) next(s *Server, n int) ([]bson.Raw, error) {
	if x.at < s.forgotten {
		return nil, errForgotten
	}
	from, _ := slices.BinarySearchFunc(s.log, x, func(c change, x *stream) int {
		if c.at < x.at || c.at == x.at && c.index <= x.index {
			return -1
		}
		return 1
	})
	var events []bson.Raw
	for _, c := range s.log[from:] {
		if len(events) == n {
			return events, nil
		}
		x.at, x.index = c.at, c.index
		database, collection, _ := strings.Cut(c.ns, ".")
		if database != x.database && x.database != "admin" || x.collection != "" && collection != x.collection {
			continue
		}
		event, err := x.event(s, c, database, collection)
		if err != nil {
			return nil, err
		}
		kept, err := pipeline([]bson.Raw{event}, x.pipeline)
		if err != nil {
			return nil, err
		}
		events = append(events, kept...)
	}
	if x.at < s.clock {
		x.at, x.index = s.clock, 1<<30
	}
	return events, nil
}

func (x *stream) event(s *Server, c change, database, collection string) (bson.Raw, error) {
	d := bson.D{{Key: "_id", Value: tokenOf(c.at, c.index)}, {Key: "operationType", Value: c.kind}, {Key: "clusterTime", Value: timestamp(c.at)}, {Key: "wallTime", Value: c.when}}
	if c.old == nil && c.new == nil { // drop
		return bson.Marshal(append(d, bson.E{Key: "ns", Value: bson.D{{Key: "db", Value: database}, {Key: "coll", Value: collection}}}))
	}
	r := c.new
	if r == nil {
		r = c.old
	}
	switch {
	case c.kind == "insert" || c.kind == "replace":
		d = append(d, bson.E{Key: "fullDocument", Value: c.new.doc})
	case c.kind == "update" && x.lookup == "updateLookup":
		var current any
		if live := s.collections[c.ns]; live != nil {
			if now, ok := live.byID.Get(r.key); ok {
				current = now.doc
			}
		}
		d = append(d, bson.E{Key: "fullDocument", Value: current})
	}
	id, _ := field(r.doc, "_id")
	d = append(d, bson.E{Key: "ns", Value: bson.D{{Key: "db", Value: database}, {Key: "coll", Value: collection}}},
		bson.E{Key: "documentKey", Value: bson.D{{Key: "_id", Value: id}}})
	if c.kind == "update" {
		set, unset := bson.D{}, bson.A{}
		for e := range elements(c.new.doc) {
			if old, ok := field(c.old.doc, e.name); !ok || !old.Equal(e.value) {
				set = append(set, bson.E{Key: e.name, Value: e.value})
			}
		}
		for e := range elements(c.old.doc) {
			if _, ok := field(c.new.doc, e.name); !ok {
				unset = append(unset, e.name)
			}
		}
		d = append(d, bson.E{Key: "updateDescription", Value: bson.D{{Key: "updatedFields", Value: set}, {Key: "removedFields", Value: unset}, {Key: "truncatedArrays", Value: bson.A{}}}})
	}
	return bson.Marshal(d)
}

// more is getMore of a change stream: it waits for an event, for a while.
func (s *Server) more(cmd *command, c *cursor, n int) (bson.D, error) {
	until := time.Now().Add(time.Second)
	if ms := cmd.int("maxTimeMS", 0); ms > 0 {
		until = time.Now().Add(time.Duration(ms) * time.Millisecond)
	}
	for {
		if s.cursors[c.id] != c {
			return nil, fail(237, "CursorKilled", "the cursor was killed")
		}
		events, err := c.stream.next(s, n)
		if err != nil {
			delete(s.cursors, c.id)
			return nil, err
		}
		if len(events) > 0 || !time.Now().Before(until) {
			return c.reply("nextBatch", events), nil
		}
		if err := s.wait(cmd, until); err != nil && !errors.Is(err, errTimeout) {
			return nil, err
		}
	}
}
