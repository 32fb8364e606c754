package mongotest

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// opMessage is a command as a driver sends it, with documents in a section of their own.
func opMessage(t testing.TB, command any, name string, docs ...any) []byte {
	t.Helper()
	b := make([]byte, 20, 200)
	binary.LittleEndian.PutUint32(b[12:], opMsg)
	b = append(append(b, 0), raw(t, command)...)
	if name != "" {
		var list []byte
		for _, d := range docs {
			list = append(list, raw(t, d)...)
		}
		b = append(b, 1)
		b = binary.LittleEndian.AppendUint32(b, uint32(4+len(name)+1+len(list)))
		b = append(append(append(b, name...), 0), list...)
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	return b
}

func TestMessagesAreReadAsTheyAreSent(t *testing.T) {
	m, err := readMessage(bytes.NewReader(opMessage(t, bson.D{{Key: "insert", Value: "things"}, {Key: "$db", Value: "kiln"}}, "documents", bson.D{{Key: "a", Value: 1}}, bson.D{})))
	if err != nil {
		t.Fatal(err)
	}
	cmd := commandOf(nil, m)
	if cmd.name != "insert" || cmd.ns() != "kiln.things" || len(cmd.docs("documents")) != 2 {
		t.Errorf("got %+v", cmd)
	}
	whole := opMessage(t, bson.D{{Key: "ping", Value: 1}}, "")
	for n := range whole {
		if _, err := readMessage(bytes.NewReader(whole[:n])); err == nil {
			t.Errorf("%d of %d bytes are a message", n, len(whole))
		}
	}
	if _, err := readMessage(bytes.NewReader(nil)); err != io.EOF {
		t.Errorf("got %v at the end", err)
	}
}

func FuzzMessage(f *testing.F) {
	commands := []bson.D{
		{{Key: "find", Value: "c"}, {Key: "filter", Value: bson.D{{Key: "a", Value: bson.D{{Key: "$in", Value: bson.A{1, "x"}}}}, {Key: "$or", Value: bson.A{bson.D{{Key: "b", Value: bson.D{{Key: "$elemMatch", Value: bson.D{{Key: "k", Value: 1}}}}}}}}}}, {Key: "sort", Value: bson.D{{Key: "a", Value: -1}}}, {Key: "$db", Value: "d"}},
		{{Key: "update", Value: "c"}, {Key: "updates", Value: bson.A{bson.D{{Key: "q", Value: bson.D{{Key: "_id", Value: 1}}}, {Key: "u", Value: bson.D{{Key: "$inc", Value: bson.D{{Key: "n.m", Value: 1}}}, {Key: "$push", Value: bson.D{{Key: "l", Value: 1}}}}}, {Key: "upsert", Value: true}}}}, {Key: "$db", Value: "d"}},
		{{Key: "aggregate", Value: "c"}, {Key: "pipeline", Value: bson.A{bson.D{{Key: "$match", Value: bson.D{}}}, bson.D{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$a"}, {Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}}}}}}}, {Key: "cursor", Value: bson.D{}}, {Key: "$db", Value: "d"}},
		{{Key: "aggregate", Value: 1}, {Key: "pipeline", Value: bson.A{bson.D{{Key: "$changeStream", Value: bson.D{{Key: "resumeAfter", Value: bson.D{{Key: "_data", Value: "00"}}}}}}}}, {Key: "cursor", Value: bson.D{}}, {Key: "$db", Value: "d"}},
		{{Key: "createIndexes", Value: "c"}, {Key: "indexes", Value: bson.A{bson.D{{Key: "key", Value: bson.D{{Key: "a", Value: 1}, {Key: "b.c", Value: -1}}}, {Key: "name", Value: "i"}}}}, {Key: "$db", Value: "d"}},
		{{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{bson.D{{Key: "a", Value: bson.A{1, bson.D{{Key: "b", Value: nil}}}}}}}, {Key: "lsid", Value: bson.D{{Key: "id", Value: 1}}}, {Key: "txnNumber", Value: int64(1)}, {Key: "$db", Value: "d"}},
		{{Key: "findAndModify", Value: "c"}, {Key: "query", Value: bson.D{{Key: "a", Value: 1}}}, {Key: "update", Value: bson.D{{Key: "$set", Value: bson.D{{Key: "a", Value: 2}}}}}, {Key: "new", Value: true}, {Key: "$db", Value: "d"}},
		{{Key: "explain", Value: bson.D{{Key: "find", Value: "c"}}}, {Key: "$db", Value: "d"}},
		{{Key: "hello", Value: 1}, {Key: "client", Value: bson.D{{Key: "application", Value: bson.D{{Key: "name", Value: "x"}}}}}},
	}
	for _, c := range commands {
		f.Add(opMessage(f, c, ""))
	}
	f.Add(opMessage(f, bson.D{{Key: "insert", Value: "c"}, {Key: "$db", Value: "d"}}, "documents", bson.D{{Key: "a", Value: bson.A{}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(b)
		if err != nil {
			return
		}
		if err := m.command.Validate(); err != nil {
			t.Fatalf("we take %x for BSON: %v", m.command, err)
		}
		here, there := net.Pipe()
		defer here.Close()
		defer there.Close()
		s := &Server{options: Options{WireVersion: 21, TransactionLifetime: time.Millisecond}, listener: listening{}, conns: map[*conn]bool{}, collections: map[string]*collection{}, changed: make(chan struct{}),
			locks: map[string]*transaction{}, sessions: map[string]*session{}, cursors: map[int64]*cursor{}, snapshots: map[uint64]map[string]*collection{}, counts: map[string]int{}}
		k := &conn{Conn: here, closed: make(chan struct{})}
		// The second time it meets what it has left.
		for range 2 {
			body, err := s.answer(k, m)
			if err != nil || check(body, 0) != nil {
				t.Fatalf("the reply to %s is no document: %v", m.command, err)
			}
		}
	})
}

type listening struct{ net.Listener }

func (listening) Addr() net.Addr { return &net.TCPAddr{} }
