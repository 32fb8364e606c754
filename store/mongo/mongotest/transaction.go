package mongotest

import (
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// transaction is an open one: the state that it reads, with its own writes, and these.
type transaction struct {
	collections map[string]*collection
	writes      []write
	locks       []string
	began       time.Time
	failed      bool
}

type write struct {
	ns       string
	kind     string // insert, update, replace, delete
	old, new *record
}

// session is what a client's session has done last.
type session struct {
	number int64
	reply  bson.D // of a retryable write
	tx     *transaction
	state  string // of the transaction of this number: open, committed, aborted
}

func transient(f *failure) *failure {
	g := *f
	g.labels = []string{"TransientTransactionError"}
	return &g
}

var errConflict = transient(fail(112, "WriteConflict", "Caused by :: Write conflict during plan execution and yielding is disabled. :: Please retry your operation or multi-document transaction."))

// errLocked says that an open transaction has written what a write without one wants to.
var errLocked = errors.New("a transaction holds it")

// inTransaction runs a command in the transaction that it names, or once if it is a retryable
// write, or as it is.
func (s *Server) inTransaction(cmd *command, h handler) (bson.D, error) {
	inside := cmd.value("autocommit").Type == bson.TypeBoolean
	if s.options.Standalone && (cmd.numbered || inside) {
		return nil, fail(20, "IllegalOperation", "Transaction numbers are only allowed on a replica set member or mongos")
	}
	if s.readOnly && h.writes {
		return nil, fail(10107, "NotWritablePrimary", "not primary")
	}
	if s.readOnly && !h.always && !s.secondaryRead(cmd) {
		return nil, fail(13435, "NotPrimaryNoSecondaryOk", "not primary and secondaryOk=false")
	}
	if !inside {
		if !cmd.numbered || !h.retryable {
			return h.run(s, cmd)
		}
		return s.once(cmd, h)
	}
	if cmd.session == "" || !cmd.numbered {
		return nil, fail(72, "InvalidOptions", "'autocommit' field requires a transaction number to also be specified")
	}
	x := s.session(cmd.session)
	switch cmd.name {
	case "commitTransaction":
		return s.commit(x, cmd)
	case "abortTransaction":
		return s.abort(x, cmd)
	}
	if !h.transactional {
		return nil, fail(263, "OperationNotSupportedInTransaction", "Cannot run '%s' in a multi-document transaction.", cmd.name)
	}
	if cmd.flag("startTransaction") {
		if cmd.number < x.number {
			return nil, errTooOld(cmd, x)
		}
		if cmd.number == x.number && x.state != "" {
			return nil, fail(50911, "Location50911", "Cannot start a transaction with the number of another")
		}
		s.end(x)
		*x = session{number: cmd.number, state: "open", tx: &transaction{collections: s.copies(), began: time.Now()}}
	}
	if cmd.number < x.number {
		return nil, errTooOld(cmd, x)
	}
	if cmd.number > x.number || x.state != "open" {
		return nil, noTransaction(cmd)
	}
	cmd.tx = x.tx
	d, err := h.run(s, cmd)
	if err != nil || x.tx != nil && x.tx.failed {
		s.end(x)
	}
	return d, err
}

func errTooOld(cmd *command, x *session) error {
	return fail(225, "TransactionTooOld", "Retryable write with txnNumber %d is prohibited on session because a newer retryable write with txnNumber %d has already started on this session.", cmd.number, x.number)
}

func noTransaction(cmd *command) error {
	return transient(fail(251, "NoSuchTransaction", "Given transaction number %d does not match any in-progress transactions.", cmd.number))
}

func (s *Server) secondaryRead(cmd *command) bool {
	mode, _ := field(cmd.doc("$readPreference"), "mode")
	return stringOf(mode) != "" && stringOf(mode) != "primary"
}

func (s *Server) session(key string) *session {
	x := s.sessions[key]
	if x == nil {
		x = &session{number: -1}
		s.sessions[key] = x
	}
	return x
}

// copies are all collections as they are now.
func (s *Server) copies() map[string]*collection {
	all := make(map[string]*collection, len(s.collections))
	for ns, c := range s.collections {
		all[ns] = c.copy()
	}
	return all
}

// once runs a retryable write, or gives the reply that it had.
func (s *Server) once(cmd *command, h handler) (bson.D, error) {
	if cmd.session == "" {
		return nil, fail(72, "InvalidOptions", "Transaction number requires a session ID to also be specified")
	}
	x := s.session(cmd.session)
	if cmd.number < x.number {
		return nil, errTooOld(cmd, x)
	}
	if cmd.number == x.number && x.reply != nil {
		return append(bson.D{{Key: "retriedStmtIds", Value: bson.A{int32(0)}}}, x.reply...), nil
	}
	s.end(x)
	*x = session{number: cmd.number}
	d, err := h.run(s, cmd)
	if err == nil {
		x.reply = append(bson.D{}, d...)
	}
	return d, err
}

// end aborts the open transaction of a session, if there is one.
func (s *Server) end(x *session) {
	if x.tx == nil {
		return
	}
	s.release(x.tx)
	x.tx, x.state = nil, "aborted"
}

func (s *Server) release(tx *transaction) {
	for _, key := range tx.locks {
		delete(s.locks, key)
	}
	s.wake()
}

func (s *Server) commit(x *session, cmd *command) (bson.D, error) {
	switch {
	case cmd.number == x.number && x.state == "committed":
		return bson.D{}, nil
	case cmd.number != x.number || x.state != "open":
		return nil, noTransaction(cmd)
	}
	at := s.tick()
	for i, w := range x.tx.writes {
		s.live(w.ns).apply(w.old, w.new)
		s.remember(at, i, w)
	}
	s.release(x.tx)
	x.tx, x.state = nil, "committed"
	return bson.D{}, nil
}

func (s *Server) abort(x *session, cmd *command) (bson.D, error) {
	switch {
	case cmd.number == x.number && x.state == "committed":
		return nil, fail(256, "TransactionCommitted", "Transaction %d has been committed.", cmd.number)
	case cmd.number != x.number || x.state != "open":
		return nil, noTransaction(cmd)
	}
	s.end(x)
	return bson.D{}, nil
}

// expire aborts the transactions that have been open for too long, and tells when the next one is.
func (s *Server) expire() time.Time {
	next := time.Now().Add(s.options.TransactionLifetime)
	for _, x := range s.sessions {
		if x.tx == nil {
			continue
		}
		if end := x.tx.began.Add(s.options.TransactionLifetime); !time.Now().Before(end) {
			s.end(x)
		} else if end.Before(next) {
			next = end
		}
	}
	return next
}

// live is the collection of that name, made if there is none.
func (s *Server) live(ns string) *collection {
	c := s.collections[ns]
	if c == nil {
		c = newCollection(ns)
		s.collections[ns] = c
	}
	return c
}

// view is the state that a command reads.
func (s *Server) view(cmd *command) (map[string]*collection, error) {
	if cmd.tx != nil {
		return cmd.tx.collections, nil
	}
	concern := cmd.doc("readConcern")
	level, _ := field(concern, "level")
	if s.options.Standalone && (stringOf(level) == "snapshot" || stringOf(level) == "linearizable") {
		return nil, fail(123, "NotAReplicaSet", "node needs to be a replica set member to use read concern")
	}
	if stringOf(level) != "snapshot" {
		return s.collections, nil
	}
	at := s.clock
	if v, ok := field(concern, "atClusterTime"); ok && v.Type == bson.TypeTimestamp {
		t, i, _ := v.TimestampOK()
		at = uint64(t)<<32 | uint64(i)
	}
	if at == s.clock && s.snapshots[at] == nil {
		if len(s.snapshots) > 1000 {
			clear(s.snapshots)
		}
		s.snapshots[at] = s.copies()
	}
	if s.snapshots[at] == nil {
		return nil, fail(239, "SnapshotTooOld", "Read timestamp is older than the oldest available timestamp.")
	}
	return s.snapshots[at], nil
}

// statement runs a write again for as long as a transaction of another holds what it writes.
func (s *Server) statement(cmd *command, run func() error) error {
	for {
		err := run()
		if !errors.Is(err, errLocked) {
			return err
		}
		until := s.expire()
		timed := !cmd.deadline.IsZero() && cmd.deadline.Before(until)
		if timed {
			until = cmd.deadline
		}
		if err := s.wait(cmd, until); err != nil && (timed || !errors.Is(err, errTimeout)) {
			return err
		}
	}
}

// put replaces the document old, if there is one, by doc, if there is one, in the transaction of
// the command or at once.
func (s *Server) put(cmd *command, ns, kind string, old *record, doc bson.Raw) (*record, error) {
	cols := s.collections
	if cmd.tx != nil {
		cols = cmd.tx.collections
	}
	c := cols[ns]
	if c == nil {
		c = newCollection(ns)
	}
	var fresh *record
	var key string
	if doc != nil {
		var err error
		if doc, key, err = stored(doc); err != nil {
			return nil, err
		}
		if old == nil {
			s.numbers++
			fresh = &record{s.numbers, key, doc}
		} else {
			fresh = &record{old.number, key, doc}
		}
	} else {
		key = old.key
	}
	other := s.collections[ns] // for a transaction: what all others see
	if other == nil {
		other = newCollection(ns)
	}
	var locks []string
	take := func(lock string, mine, theirs *record) error {
		holder := s.locks[lock]
		switch {
		case holder == nil && cmd.tx != nil && mine != theirs:
			return errConflict
		case holder == nil:
			locks = append(locks, lock)
		case cmd.tx == nil:
			return errLocked
		case holder != cmd.tx:
			return errConflict
		}
		return nil
	}
	mine, _ := c.byID.Get(key)
	theirs, _ := other.byID.Get(key)
	if err := take(ns+"\x00"+key, mine, theirs); err != nil {
		return nil, err
	}
	if old == nil && mine != nil {
		return nil, c.duplicate(c.indexes[0], doc)
	}
	for _, x := range c.indexes[1:] {
		var after, before []indexKey
		var err error
		if fresh != nil {
			if after, _, err = x.keys(doc); err != nil {
				return nil, err
			}
		}
		if !x.unique {
			continue
		}
		if old != nil {
			before, _, _ = x.keys(old.doc)
		}
		for i, key := range append(before, after...) {
			k := key.text
			mine, theirs := x.holder(k, 0), (*record)(nil)
			for _, y := range other.indexes {
				if y.name == x.name {
					theirs = y.holder(k, 0)
				}
			}
			if err := take(ns+"\x00"+x.name+"\x00"+k, mine, theirs); err != nil {
				return nil, err
			}
			if i >= len(before) && x.holder(k, fresh.number) != nil {
				return nil, c.duplicate(x, doc)
			}
		}
	}
	cols[ns] = c
	c.apply(old, fresh)
	w := write{ns, kind, old, fresh}
	if cmd.tx != nil {
		for _, lock := range locks {
			s.locks[lock] = cmd.tx
		}
		cmd.tx.locks = append(cmd.tx.locks, locks...)
		cmd.tx.writes = append(cmd.tx.writes, w)
		return fresh, nil
	}
	s.remember(s.tick(), 0, w)
	return fresh, nil
}
