package mongotest_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// line is a network between a client and a server that can be cut.
type line struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	state   lineState
	ended   bool
	open    map[net.Conn]bool
}

type lineState int

const (
	through lineState = iota
	// cut: all connections are closed, and new ones as soon as they are there.
	cut
	// silent: nothing arrives and nobody is told, as behind a firewall that has begun to drop. What
	// was sent arrives when the line is through again.
	silent
)

func newLine(t testing.TB, target string) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &line{listener: l, target: target, open: map[net.Conn]bool{}}
	n.changed = sync.NewCond(&n.mu)
	n.running.Go(n.accept)
	t.Cleanup(func() {
		n.mu.Lock()
		n.ended = true
		n.mu.Unlock()
		n.set(cut)
		_ = l.Close()
		n.running.Wait()
	})
	return n
}

// uri of a replica set of one member behind the line, with short timeouts: the driver must not go to
// the address that the member has.
func (n *line) uri() string {
	return "mongodb://" + n.listener.Addr().String() + "/kiln?replicaSet=rs0&directConnection=true&" + shortTimes
}

// shortTimes make a loss known within a second or two.
const shortTimes = "serverSelectionTimeoutMS=500&connectTimeoutMS=500&heartbeatFrequencyMS=500"

func (n *line) set(s lineState) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state = s
	if s == cut {
		for c := range n.open {
			_ = c.Close()
		}
	}
	n.changed.Broadcast()
}

func (n *line) accept() {
	for {
		c, err := n.listener.Accept()
		if err != nil {
			return
		}
		n.running.Go(func() { n.connect(c) })
	}
}

func (n *line) connect(c net.Conn) {
	defer c.Close()
	if !n.keep(c) {
		return
	}
	defer n.drop(c)
	far, err := net.Dial("tcp", n.target)
	if err != nil {
		return
	}
	defer far.Close()
	if !n.keep(far) {
		return
	}
	defer n.drop(far)
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, far}, {far, c}} {
		both.Go(func() {
			_, _ = io.Copy(heldBack{way[1], n}, way[0])
			_, _ = way[0].Close(), way[1].Close()
		})
	}
	both.Wait()
}

// keep remembers a connection, to close it, if the line lets connections be.
func (n *line) keep(c net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.state == cut || n.ended {
		return false
	}
	n.open[c] = true
	return true
}

func (n *line) drop(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.open, c)
}

// heldBack is the far end of a connection, which gets nothing while the line is silent.
type heldBack struct {
	net.Conn
	line *line
}

func (h heldBack) Write(b []byte) (int, error) {
	h.line.mu.Lock()
	for h.line.state == silent {
		h.line.changed.Wait()
	}
	h.line.mu.Unlock()
	return h.Conn.Write(b)
}

// ReadFrom is not that of the connection, which would pass Write by.
func (h heldBack) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{h}, r)
}
