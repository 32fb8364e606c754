package mongotest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func newReader(r io.Reader) io.Reader { return bufio.NewReaderSize(r, 64<<10) }

// command is one that a client asks for.
type command struct {
	name       string
	database   string
	collection string
	body       bson.Raw
	sections   map[string][]bson.Raw
	conn       *conn
	deadline   time.Time
	session    string // key of the lsid, "" if there is none
	number     int64  // txnNumber
	numbered   bool
	tx         *transaction
}

func commandOf(c *conn, m message) *command {
	cmd := &command{conn: c, body: m.command, sections: m.sections}
	for e := range elements(m.command) {
		cmd.name = e.name
		cmd.collection = stringOf(e.value)
		break
	}
	cmd.database = cmd.text("$db")
	if n := cmd.int("maxTimeMS", 0); n > 0 {
		cmd.deadline = time.Now().Add(time.Duration(n) * time.Millisecond)
	}
	if lsid, ok := field(cmd.body, "lsid"); ok {
		if id, ok := field(docOf(lsid), "id"); ok {
			cmd.session = keyOf(id)
		}
	}
	if v, ok := field(cmd.body, "txnNumber"); ok {
		cmd.number, cmd.numbered = intOf(v)
	}
	return cmd
}

func (c *command) ns() string { return c.database + "." + c.collection }

func (c *command) value(name string) bson.RawValue {
	v, _ := field(c.body, name)
	return v
}

func (c *command) text(name string) string { return stringOf(c.value(name)) }
func (c *command) flag(name string) bool   { v := c.value(name); return v.Type != 0 && truth(v) }

func (c *command) int(name string, otherwise int64) int64 {
	if n, ok := intOf(c.value(name)); ok {
		return n
	}
	return otherwise
}

// doc is a document of the command, nil if there is none.
func (c *command) doc(name string) bson.Raw { return docOf(c.value(name)) }

func docOf(v bson.RawValue) bson.Raw {
	if v.Type == bson.TypeEmbeddedDocument {
		return v.Value
	}
	return nil
}

// docs are documents of the command, from a section of the message or from an array.
func (c *command) docs(name string) []bson.Raw {
	if docs, ok := c.sections[name]; ok {
		return docs
	}
	return docsOf(c.value(name))
}

func docsOf(v bson.RawValue) []bson.Raw {
	var all []bson.Raw
	if v.Type == bson.TypeArray {
		for e := range elements(v.Value) {
			if d := docOf(e.value); d != nil {
				all = append(all, d)
			}
		}
	}
	return all
}

// errDrop ends the connection.
var errDrop = errors.New("the connection is closed on purpose")

// answer is the reply to a message.
func (s *Server) answer(c *conn, m message) (bson.Raw, error) {
	cmd := commandOf(c, m)
	if s.options.Discard {
		if body := discard(cmd); body != nil {
			return body, nil
		}
	}
	f := s.fault(c, cmd)
	if f != nil {
		if f.Happened != nil {
			f.Happened()
		}
		if f.Delay > 0 {
			select {
			case <-time.After(f.Delay):
			case <-c.closed:
				return nil, errDrop
			}
		}
		if f.CloseBefore {
			return nil, errDrop
		}
		if f.Code != 0 && !f.Applied && !f.WriteConcern {
			return f.reply(), nil
		}
	}
	body := s.run(cmd)
	if f != nil {
		if f.CloseAfter {
			return nil, errDrop
		}
		if f.Code != 0 && f.WriteConcern {
			var d bson.D
			if err := bson.Unmarshal(body, &d); err == nil {
				d = append(d, bson.E{Key: "writeConcernError", Value: bson.D{{Key: "code", Value: f.Code}, {Key: "codeName", Value: f.Name}, {Key: "errmsg", Value: f.Message}}})
				if len(f.Labels) > 0 {
					d = append(d, bson.E{Key: "errorLabels", Value: f.Labels})
				}
				body, _ = bson.Marshal(d)
			}
		} else if f.Code != 0 {
			body = f.reply()
		}
	}
	return body, nil
}

// discard acknowledges a write without looking at it; nil if it is none.
func discard(cmd *command) bson.Raw {
	if cmd.collection == "kiln" {
		return nil // how a server knows that it may write
	}
	var n int
	switch cmd.name {
	case "insert":
		n = len(cmd.docs("documents"))
	case "update":
		n = len(cmd.docs("updates"))
	case "delete":
		n = len(cmd.docs("deletes"))
	case "commitTransaction", "abortTransaction":
	default:
		return nil
	}
	return document(func(dst []byte) []byte {
		dst = appendElement(dst, "n", valueOf(int32(n)))
		dst = appendElement(dst, "nModified", valueOf(int32(n)))
		return appendElement(dst, "ok", valueOf(float64(1)))
	})
}

// run does what a command asks for.
func (s *Server) run(cmd *command) bson.Raw {
	s.mu.Lock()
	defer s.mu.Unlock()
	more := bson.D{}
	if !s.options.Standalone {
		more = bson.D{{Key: "$clusterTime", Value: bson.D{{Key: "clusterTime", Value: timestamp(s.clock)},
			{Key: "signature", Value: bson.D{{Key: "hash", Value: bson.Binary{Data: make([]byte, 20)}}, {Key: "keyId", Value: int64(0)}}}}}}
	}
	h, ok := handlerOf(cmd.name)
	if !ok {
		return errorReply(fail(59, "CommandNotFound", "no such command: '%s'", cmd.name), more)
	}
	body, err := s.inTransaction(cmd, h)
	if err != nil {
		return errorReply(err, more)
	}
	if !s.options.Standalone {
		body = append(body, bson.E{Key: "operationTime", Value: timestamp(s.clock)})
		more[0].Value.(bson.D)[0].Value = timestamp(s.clock)
	}
	raw, merr := bson.Marshal(append(append(body, bson.E{Key: "ok", Value: float64(1)}), more...))
	if merr != nil {
		return errorReply(fail(8, "UnknownError", "the reply cannot be written"), more)
	}
	return raw
}

func errorReply(err error, more bson.D) bson.Raw {
	var f *failure
	if !errors.As(err, &f) {
		f = fail(8, "UnknownError", "%v", err)
	}
	d := bson.D{{Key: "ok", Value: float64(0)}, {Key: "errmsg", Value: f.message}, {Key: "code", Value: f.code}, {Key: "codeName", Value: f.name}}
	if len(f.labels) > 0 {
		d = append(d, bson.E{Key: "errorLabels", Value: f.labels})
	}
	raw, merr := bson.Marshal(append(append(d, f.more...), more...))
	if merr != nil {
		return nil
	}
	return raw
}

// wait lets others work until something has changed. The caller holds mu, and holds it again.
func (s *Server) wait(cmd *command, until time.Time) error {
	changed := s.changed
	s.mu.Unlock()
	defer s.mu.Lock()
	var timeout <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-changed:
	case <-timeout:
		return errTimeout
	case <-cmd.conn.closed:
		return fail(11600, "InterruptedAtShutdown", "the connection is closed")
	}
	return nil
}

var errTimeout = fail(50, "MaxTimeMSExpired", "operation exceeded time limit")

type handler struct {
	run func(s *Server, cmd *command) (bson.D, error)
	// writes: it needs the primary. transactional: it is allowed in a transaction. retryable: it
	// is done once if it has a transaction number. always: a secondary answers it, too.
	writes, transactional, retryable, always bool
}

func hello(s *Server, cmd *command) (bson.D, error) {
	if app, ok := field(cmd.doc("client"), "application"); ok {
		name, _ := field(docOf(app), "name")
		cmd.conn.app = stringOf(name)
	}
	d := bson.D{{Key: "helloOk", Value: true}, {Key: "isWritablePrimary", Value: !s.readOnly}, {Key: "ismaster", Value: !s.readOnly}}
	if !s.options.Standalone {
		address := s.Address()
		d = append(d, bson.D{{Key: "setName", Value: setName}, {Key: "setVersion", Value: int32(1)}, {Key: "secondary", Value: s.readOnly},
			{Key: "hosts", Value: bson.A{address}}, {Key: "me", Value: address}}...)
		if !s.readOnly {
			d = append(d, bson.E{Key: "primary", Value: address}, bson.E{Key: "electionId", Value: s.process})
		}
		d = append(d, bson.E{Key: "lastWrite", Value: bson.D{{Key: "opTime", Value: bson.D{{Key: "ts", Value: timestamp(s.clock)}, {Key: "t", Value: int64(1)}}}, {Key: "lastWriteDate", Value: time.Now()}}})
	}
	return append(d, bson.D{{Key: "maxBsonObjectSize", Value: int32(maxDocument)}, {Key: "maxMessageSizeBytes", Value: int32(maxMessage)},
		{Key: "maxWriteBatchSize", Value: int32(maxBatch)}, {Key: "localTime", Value: time.Now()}, {Key: "logicalSessionTimeoutMinutes", Value: int32(30)},
		{Key: "connectionId", Value: cmd.conn.id}, {Key: "minWireVersion", Value: int32(0)}, {Key: "maxWireVersion", Value: s.options.WireVersion},
		{Key: "readOnly", Value: false}}...), nil
}

const maxBatch = 100_000

func nothing(*Server, *command) (bson.D, error) { return bson.D{}, nil }

func login(*Server, *command) (bson.D, error) {
	return nil, fail(18, "AuthenticationFailed", "Authentication failed.")
}

func buildInfo(s *Server, _ *command) (bson.D, error) {
	return bson.D{{Key: "version", Value: "7.0.0"}, {Key: "versionArray", Value: bson.A{int32(7), int32(0), int32(0), int32(0)}},
		{Key: "modules", Value: bson.A{}}, {Key: "maxBsonObjectSize", Value: int32(maxDocument)}, {Key: "gitVersion", Value: "mongotest"}}, nil
}

func getParameter(_ *Server, cmd *command) (bson.D, error) {
	if cmd.flag("featureCompatibilityVersion") {
		return bson.D{{Key: "featureCompatibilityVersion", Value: bson.D{{Key: "version", Value: "7.0"}}}}, nil
	}
	return nil, fail(72, "InvalidOptions", "no option found to get")
}

// connectionStatus tells that nobody has to log in.
func connectionStatus(*Server, *command) (bson.D, error) {
	return bson.D{{Key: "authInfo", Value: bson.D{{Key: "authenticatedUsers", Value: bson.A{}}, {Key: "authenticatedUserRoles", Value: bson.A{}}, {Key: "authenticatedUserPrivileges", Value: bson.A{}}}}}, nil
}

func whatsMyURI(_ *Server, cmd *command) (bson.D, error) {
	return bson.D{{Key: "you", Value: cmd.conn.RemoteAddr().(*net.TCPAddr).String()}}, nil
}
