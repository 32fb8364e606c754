// Package mongotest is a MongoDB for tests that needs no mongod: a server in this process that
// the real driver talks to over the wire protocol, and that keeps everything in memory.
//
// It is our reading of MongoDB's manual, not MongoDB. What it shows is that the store uses the
// protocol, the commands, the errors, compare-and-set, unique keys, transactions, retries and
// change streams as that reading has them; it cannot show that the reading is right, nor how fast
// MongoDB is. `make test-mongo` runs the same tests on a real one, which Mongod starts where there is a
// mongod.
//
// What is as the manual says: documents, filters and sorts in the order of BSON values, arrays
// among them; unique, sparse, partial and multikey indexes, and the refusal of parallel arrays;
// limits of 16 MB for a document and 48 MB for a message; write errors and their codes;
// transactions that read one state, see their own writes, and fail with WriteConflict as soon as
// another has written what they write; writes without a transaction that wait for one; retryable
// writes by transaction number; snapshot reads; change streams with resume tokens; explain, which
// tells what a plan with the declared indexes has read when it was run here.
//
// What is not: there is one node, so that what is acknowledged is never rolled back, and write
// concern makes no difference; a cursor reads the state in which it was opened, while MongoDB's
// may see later writes; of several plans the one is taken that reads the fewest keys and
// documents, while MongoDB tries them for a while; Decimal128 in documents, pipelines in updates,
// expressions, collations and other index kinds than 1 and -1 are refused; nothing expires.
// Filters and sorts are evaluated by code of our own, which the tests compare with that of
// 256dpi/lungo.
package mongotest

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Options of a Server. The zero value is a replica set of one node.
type Options struct {
	// Standalone: a mongod without replication: no transactions, no change streams, no retryable
	// writes.
	Standalone bool
	// WireVersion is the maxWireVersion that hello tells; 0 is 21, that of MongoDB 7.0.
	WireVersion int32
	// Discard: writes are acknowledged and forgotten, as the far end of a benchmark.
	Discard bool
	// RefuseLogin: every authentication fails with code 18.
	RefuseLogin bool
	// Address is where it listens; "" is a free port of 127.0.0.1.
	Address string
	// TransactionLifetime is after what time an open transaction is aborted; 0 is 60 s.
	TransactionLifetime time.Duration
}

// Server is a running MongoDB. It may be used from any number of goroutines.
type Server struct {
	options  Options
	listener net.Listener
	started  time.Time
	process  bson.ObjectID
	running  sync.WaitGroup

	mu          sync.Mutex
	closed      bool
	conns       map[*conn]bool
	nextConn    int32
	collections map[string]*collection
	numbers     int64
	clock       uint64 // of the cluster: seconds and a counter, as in a BSON timestamp
	changed     chan struct{}
	locks       map[string]*transaction
	sessions    map[string]*session
	cursors     map[int64]*cursor
	nextCursor  int64
	log         []change
	forgotten   uint64 // events up to here are not in log any more
	snapshots   map[uint64]map[string]*collection
	faults      []*Fault
	readOnly    bool
	counts      map[string]int
}

// Start starts a server that ends with the test, and gives its URI, without a database name.
func Start(t testing.TB, o Options) string {
	t.Helper()
	return StartServer(t, o).URI()
}

// StartServer is Start for a test that wants more from the server than its URI.
func StartServer(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// New starts a server. Close ends it.
func New(o Options) (*Server, error) {
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	if o.WireVersion == 0 {
		o.WireVersion = 21
	}
	if o.TransactionLifetime == 0 {
		o.TransactionLifetime = time.Minute
	}
	l, err := net.Listen("tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("mongotest: listen at %s: %w", o.Address, err)
	}
	s := &Server{
		options: o, listener: l, started: time.Now(), process: bson.NewObjectID(), conns: map[*conn]bool{},
		collections: map[string]*collection{}, changed: make(chan struct{}), locks: map[string]*transaction{},
		sessions: map[string]*session{}, cursors: map[int64]*cursor{}, snapshots: map[uint64]map[string]*collection{}, counts: map[string]int{},
	}
	s.tick()
	s.running.Go(s.accept)
	return s, nil
}

// URI is where a client finds the server, without a database name.
func (s *Server) URI() string {
	if s.options.Standalone {
		return "mongodb://" + s.listener.Addr().String() + "/?directConnection=true"
	}
	return "mongodb://" + s.listener.Addr().String() + "/?replicaSet=" + setName
}

// Address is the host and port that the server listens at.
func (s *Server) Address() string { return s.listener.Addr().String() }

const setName = "rs0"

// Close ends the server and all its connections.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		_ = c.Close()
	}
	s.wake()
	s.mu.Unlock()
	err := s.listener.Close()
	s.running.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Disconnect closes all connections that are open now. What they had asked for may be applied.
func (s *Server) Disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

// conn is a connection of a client.
type conn struct {
	net.Conn
	id     int32
	app    string // as the client calls itself
	closed chan struct{}
	once   sync.Once
}

// Close ends the connection, and what waits for it.
func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = c.Close()
			return
		}
		s.nextConn++
		k := &conn{Conn: c, id: s.nextConn, closed: make(chan struct{})}
		s.conns[k] = true
		s.running.Go(func() { s.serve(k) })
		s.mu.Unlock()
	}
}

func (s *Server) serve(c *conn) {
	defer func() {
		_ = c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	reader := newReader(c)
	for id := int32(1); ; id++ {
		m, err := readMessage(reader)
		if err != nil {
			return
		}
		body, err := s.answer(c, m)
		if err != nil {
			return
		}
		if m.silent {
			continue
		}
		if _, err := c.Write(reply(m, id, body)); err != nil {
			return
		}
	}
}

// tick advances the clock of the cluster. The caller holds mu, or nobody else knows the server.
func (s *Server) tick() uint64 {
	s.clock = max(s.clock+1, uint64(time.Now().Unix())<<32|1)
	return s.clock
}

// wake tells all that wait that something has changed. The caller holds mu.
func (s *Server) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func timestamp(clock uint64) bson.Timestamp {
	return bson.Timestamp{T: uint32(clock >> 32), I: uint32(clock)}
}

func token() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Database is a name of a database that no other test uses.
func Database() string { return "test_" + token() }

var _ io.Closer = (*Server)(nil)
