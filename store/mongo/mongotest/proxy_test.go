package mongotest_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// line is a network between a client and a server that can be cut.
type line struct {
	listener net.Listener
	target   mongoDB
	running  sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	holdAt  string // behind which message to the server the line is silent, "" is none
	skip    int    // messages like it that are let through before
	reached chan struct{}
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

func newLine(t testing.TB, target mongoDB) *line {
	t.Helper()
	if strings.Contains(target.Address(), ",") {
		t.Skip("a line leads to one server, and the deployment has several")
	}
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

// uri of what is behind the line, with short timeouts: the driver must not go to the address that the
// member has.
func (n *line) uri() string {
	uri := strings.NewReplacer(n.target.Address(), n.listener.Addr().String(), "&serverSelectionTimeoutMS=5000", "").Replace(uriOf(n.target, "kiln", ""))
	uri = strings.Replace(uri, "&appName=", "", 1) + "&" + shortTimes
	if !strings.Contains(uri, "directConnection=true") {
		uri += "&directConnection=true"
	}
	return uri
}

// hold makes the line silent behind a message to the server that has a text, "" for any, after skip
// like it. The server gets it, and nobody the answer. The channel is closed then.
func (n *line) hold(text string, skip int) (reached <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.holdAt, n.skip, n.reached = text, skip, make(chan struct{})
	return n.reached
}

// command is what a message has that asks for something of a collection, or of none.
func command(name, collection string) string {
	if collection == "" {
		return name + "\x00"
	}
	d, err := bson.Marshal(bson.D{{Key: name, Value: collection}})
	if err != nil {
		return name
	}
	return string(d[4 : len(d)-1])
}

// shortTimes make a loss known within a second or two.
const shortTimes = "serverSelectionTimeoutMS=500&connectTimeoutMS=500&heartbeatFrequencyMS=500"

func (n *line) set(s lineState) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state, n.reached = s, nil
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
	far, err := net.Dial("tcp", n.target.Address())
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
			_, _ = io.Copy(heldBack{way[1], n, way[1] == far}, way[0])
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
	line     *line
	toServer bool
}

func (h heldBack) Write(b []byte) (int, error) {
	h.line.mu.Lock()
	for h.line.state == silent {
		h.line.changed.Wait()
	}
	if h.toServer && h.line.holds(b) {
		h.line.state = silent
		reached := h.line.reached
		h.line.reached = nil // once
		defer close(reached)
	}
	h.line.mu.Unlock()
	return h.Conn.Write(b)
}

// holds reports whether the line is to be silent behind a message. n.mu is held.
func (n *line) holds(message []byte) bool {
	if n.reached == nil || !bytes.Contains(message, []byte(n.holdAt)) {
		return false
	}
	n.skip--
	return n.skip < 0
}

// ReadFrom is not that of the connection, which would pass Write by.
func (h heldBack) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{h}, r)
}
