package mongo

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/kiln-health/kiln/store"
)

// Servers of one database must agree on the search parameters that documents are written and
// searched by, while these change. What they have to do is in the note, the document layout of
// the collection kiln, under a number, the epoch. Only the server whose turn it is, see
// reindex.go, changes that, one step at a time; whoever obeys two epochs that follow each other
// does not disturb who obeys the other of the two.
//
// A server signs the note when it is opened, and from then on again and again: that is a beat, one
// update, atomic, which adds one to the counter of its signature, says which epoch it obeys, and
// returns the note. Between two steps there is a wait until every signature has the new epoch.
//
// A server that is no more does not stop the others for ever. From the beginning of its last
// successful beat a server has a lease: without it, it begins no write, and what it has begun it
// ends within the grace. A signature whose counter stands still for longer than that is removed,
// by any other server. Nobody's clock is compared with another's: each only measures a time that
// it has seen begin. A server that finds its signature gone signs anew, and writes again when it
// obeys the epoch that there is by then.

// defaultBeat is the time between two beats.
const defaultBeat = 2 * time.Second

// A lease has leaseBeats. What was begun before its end has graceBeats more, and who waits for the
// others believes that one is gone after goneBeats of its: what remains is for what is on its way.
const (
	leaseBeats = 5
	graceBeats = 2
	goneBeats  = 10
)

// signature is what a server says of itself in the note.
type signature struct {
	Beat  int64  `bson:"beat"`
	Epoch int64  `bson:"epoch"`
	Gone  int64  `bson:"gone"` // milliseconds of silence after which it is no more
	Host  string `bson:"host"` // for people
}

// membership is this server among those of the database.
type membership struct {
	every   time.Duration
	host    string
	ctx     context.Context // of the beats
	stop    context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{} // has room for one: beat now

	mu        sync.Mutex
	id        string // of the signature, "" if there is none
	obeyed    int64  // the epoch that this server obeys, and no other any more
	until     time.Time
	renewed   chan struct{} // closed with the next beat
	failure   error         // of the last beat, nil if it succeeded
	following bool
	// writing is ended with the grace of the lease: then begins another one.
	writing    context.Context
	endWriting context.CancelCauseFunc
	watchdog   *time.Timer
	aborted    error // why no write goes on any more
	seen       map[string]sighting
	pauseUntil time.Time // with bringing to its end what others have left
}

// sighting is when the counter of a signature was seen to change.
type sighting struct {
	beat  int64
	since time.Time
}

func newMembership(every time.Duration) *membership {
	if every <= 0 {
		every = defaultBeat
	}
	m := &membership{every: every, wake: make(chan struct{}, 1), obeyed: -1, renewed: make(chan struct{}), seen: map[string]sighting{}}
	m.host, _ = os.Hostname() // "" is as good
	m.ctx, m.stop = context.WithCancel(context.Background())
	m.writing, m.endWriting = context.WithCancelCause(context.Background())
	m.watchdog = time.AfterFunc(time.Hour, m.expire)
	return m
}

func (m *membership) lease() time.Duration { return leaseBeats * m.every }
func (m *membership) grace() time.Duration { return graceBeats * m.every }

// since is the time from t to now by whichever of this machine's clocks has gone further: one of
// them may have stood still while the machine did.
func since(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}

// left is how long the lease goes on, with grace.
func (m *membership) left(grace time.Duration) time.Duration { return grace - since(m.until) }

// renew is called after a beat that was begun at a time, and may go on what was obeyed then.
func (m *membership) renew(begun time.Time) {
	m.until = begun.Add(m.lease())
	m.failure = nil
	close(m.renewed)
	m.renewed = make(chan struct{})
	if m.aborted == nil && m.left(0) > 0 {
		if m.writing.Err() != nil {
			m.writing, m.endWriting = context.WithCancelCause(context.Background())
		}
		m.watchdog.Reset(m.left(m.grace()))
	}
}

// expire ends what is being written, if the lease has not been renewed.
func (m *membership) expire() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if left := m.left(m.grace()); left > 0 && m.aborted == nil {
		m.watchdog.Reset(left)
		return
	}
	m.endWriting(m.lapse())
}

// abort ends what is being written, for good.
func (m *membership) abort(why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.aborted = why
	m.endWriting(why)
}

// lapse is the error of who has no lease.
func (m *membership) lapse() error {
	if m.aborted != nil {
		return m.aborted
	}
	what := fmt.Sprintf("this server has not been able to tell the others of its database for %s that it is there, so it does not write", m.lease())
	fix := "look at the connection to MongoDB and at its primary; it goes on by itself. What was being written may be found later"
	if f, ok := errors.AsType[*Fault](m.failure); ok {
		what += ": " + f.What
		if f.Fix != "" {
			fix = f.Fix + ". " + fix
		}
	}
	return &Fault{What: what, Fix: fix, Unavailable: true}
}

// leased is nil as long as this server may write.
func (m *membership) leased() error { return m.within(0) }

// inGrace is nil as long as this server may end what it has begun to write.
func (m *membership) inGrace() error { return m.within(m.grace()) }

// within is nil as long as the lease goes on, with grace.
func (m *membership) within(grace time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.aborted == nil && m.left(grace) > 0 {
		return nil
	}
	return m.lapse()
}

// while is ctx as long as this server may write.
func (m *membership) while(ctx context.Context) (context.Context, context.CancelFunc) {
	m.mu.Lock()
	writing := m.writing
	m.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(writing, func() { cancel(context.Cause(writing)) })
	return ctx, func() { stop(); cancel(nil) }
}

// beatNow does not wait for the time of the next beat.
func (m *membership) beatNow() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// signed is the name of the signature, and the epoch that it says is obeyed.
func (m *membership) signed() (id string, obeyed int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.id, m.obeyed
}

// writable returns when this server has a lease: nobody waits for one longer than for a primary.
func (s *Store) writable(ctx context.Context) error {
	m := s.member
	var late <-chan time.Time
	for {
		m.mu.Lock()
		renewed, aborted := m.renewed, m.aborted
		m.mu.Unlock()
		err := m.leased()
		if err == nil {
			return s.state.Load().noWrite
		}
		if aborted != nil {
			return aborted
		}
		if late == nil {
			t := time.NewTimer(s.limits.selection)
			defer t.Stop()
			late = t.C
		}
		select {
		case <-renewed:
		case <-late:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// mayWrite is for who holds indexing for reading.
func (s *Store) mayWrite() error {
	if err := s.member.leased(); err != nil {
		return err
	}
	return s.state.Load().noWrite
}

// why is the error of a write that was ended for want of a lease.
func why(ctx context.Context, err error) error {
	if f, ok := errors.AsType[*Fault](context.Cause(ctx)); ok && err != nil {
		return f
	}
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, store.ErrClosed) {
		return cause
	}
	return err
}

// join signs the note, obeys it, and goes on with that until leave.
func (s *Store) join(ctx context.Context) error {
	n, err := s.beat(ctx)
	if err != nil {
		return err
	}
	s.follow(&n)
	if _, err := s.beat(ctx); err != nil {
		return err
	}
	s.member.running.Go(s.attend)
	return nil
}

// leave takes the signature back.
func (s *Store) leave() {
	m := s.member
	m.stop()
	m.running.Wait()
	m.watchdog.Stop()
	m.endWriting(store.ErrClosed)
	id, _ := m.signed()
	if id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(5*time.Second, m.lease()))
	defer cancel()
	_, err := s.note().UpdateOne(ctx, bson.D{{Key: "_id", Value: noteID}}, bson.D{{Key: "$unset", Value: bson.D{{Key: serverField(id), Value: ""}}}})
	if err != nil {
		s.log.Debug("the other servers could not be told that this one is closed; they notice", "error", told(ctx, err))
	}
}

// attend beats, and does what the note asks for.
func (s *Store) attend() {
	m := s.member
	for {
		t := time.NewTimer(m.every)
		select {
		case <-m.ctx.Done():
			t.Stop()
			return
		case <-m.wake:
		case <-t.C:
		}
		t.Stop()
		s.attendOnce()
	}
}

func (s *Store) attendOnce() {
	m := s.member
	ctx, cancel := context.WithTimeout(m.ctx, m.lease()/2)
	defer cancel()
	n, err := s.beat(ctx)
	if err != nil {
		if m.ctx.Err() == nil {
			s.log.Debug("the other servers could not be told that this one is there", "error", err)
		}
		return
	}
	st := s.state.Load()
	m.mu.Lock()
	lacks := st.epoch == n.Epoch && (st.noSearch != nil || st.noWrite != nil) && !n.Incomplete
	follow := !m.following && (n.Epoch != m.obeyed || lacks)
	if follow {
		m.following = true
	}
	m.mu.Unlock()
	if follow { // beside the beats: it waits for what is going on
		m.running.Go(func() { s.follow(&n) })
	}
	s.remove(ctx, &n)
	s.takeCare(&n)
}

// beat signs the note and reads it.
func (s *Store) beat(ctx context.Context) (note, error) {
	m := s.member
	begun := time.Now()
	id, obeyed := m.signed()
	n, err := s.sign(ctx, id, obeyed)
	again := err == nil
	if errors.Is(err, driver.ErrNoDocuments) {
		before := id
		id = rand.Text()
		n, err = s.signAnew(ctx, before, id, obeyed)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.failure = told(ctx, err)
		if errors.Is(err, driver.ErrNoDocuments) {
			m.failure = errReplaced
		}
		return n, m.failure
	}
	m.id = id
	m.failure = nil
	// Who signs for the first time was not waited for. Who is one epoch behind is.
	if n.Epoch == obeyed || again && n.Epoch == obeyed+1 {
		m.renew(begun)
	}
	return n, nil
}

// sign renews a signature that is there.
func (s *Store) sign(ctx context.Context, id string, obeyed int64) (n note, err error) {
	if id == "" {
		return n, driver.ErrNoDocuments
	}
	// An update that adds the signature if it is not there would not do: one that comes late
	// would bring back what the others have removed, and are not waiting for.
	field := serverField(id)
	err = s.note().FindOneAndUpdate(ctx,
		bson.D{{Key: "_id", Value: noteID}, {Key: field + ".beat", Value: bson.D{{Key: "$exists", Value: true}}}},
		bson.D{{Key: "$set", Value: bson.D{{Key: field + ".epoch", Value: obeyed}}}, {Key: "$inc", Value: bson.D{{Key: field + ".beat", Value: int64(1)}}}},
		options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&n)
	return n, err
}

// signAnew adds a signature.
func (s *Store) signAnew(ctx context.Context, before, id string, obeyed int64) (n note, err error) {
	m := s.member
	own := signature{Epoch: obeyed, Gone: (goneBeats * m.every).Milliseconds(), Host: m.host}
	update := bson.D{{Key: "$set", Value: bson.D{{Key: serverField(id), Value: own}}}}
	if before != "" {
		update = append(update, bson.E{Key: "$unset", Value: bson.D{{Key: serverField(before), Value: ""}}})
	}
	err = s.note().FindOneAndUpdate(ctx, bson.D{{Key: "_id", Value: noteID}}, update, options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&n)
	return n, err
}

func serverField(id string) string { return "servers." + id }

// note is the collection of the note, as servers read and write it to agree: with a majority of
// the members, whatever the URI says of all else.
func (s *Store) note() *driver.Collection {
	opt := options.Collection().SetReadPreference(readpref.Primary()).SetWriteConcern(writeconcern.Majority())
	if s.transactional {
		opt.SetReadConcern(readconcern.Majority())
	}
	return s.db.Collection(metaCollection, opt)
}

// newest is a collection as it reads all that was ever acknowledged.
func newest(c *driver.Collection) *driver.Collection {
	return c.Clone(options.Collection().SetReadPreference(readpref.Primary()).SetReadConcern(readconcern.Local()))
}

// follow makes this server obey a note. What it cannot do it refuses, and that is to obey, too.
func (s *Store) follow(n *note) {
	m := s.member
	before := s.state.Load()
	next := s.stateOf(m.ctx, n)
	same := next.epoch == before.epoch && next.noSearch == before.noSearch && next.noWrite == before.noWrite
	if m.ctx.Err() == nil && !same {
		s.switchTo(next)
		s.report(before, next)
	}
	m.mu.Lock()
	m.following = false
	if m.ctx.Err() == nil {
		m.obeyed = n.Epoch
	}
	m.mu.Unlock()
	m.beatNow()
}

// report says what this server does not do any more, and what it does again.
func (s *Store) report(before, now *state) {
	for _, x := range []struct {
		what        string
		before, now error
	}{{"search", before.noSearch, now.noSearch}, {"write", before.noWrite, now.noWrite}} {
		switch {
		case before.epoch < 0: // it is being opened
		case x.before == nil && x.now != nil:
			s.log.Error("this server does not "+x.what+" any more", "error", x.now)
		case x.before != nil && x.now == nil:
			s.log.Info("this server does " + x.what + " again")
		}
	}
}

// remove takes away the signatures of servers that are no more.
func (s *Store) remove(ctx context.Context, n *note) {
	m := s.member
	var silent []string
	m.mu.Lock()
	for id := range m.seen {
		if _, ok := n.Servers[id]; !ok {
			delete(m.seen, id)
		}
	}
	for id, sig := range n.Servers {
		at, ok := m.seen[id]
		if !ok || at.beat != sig.Beat {
			m.seen[id] = sighting{sig.Beat, time.Now()}
			continue
		}
		if id != m.id && time.Since(at.since) > time.Duration(sig.Gone)*time.Millisecond {
			silent = append(silent, id)
		}
	}
	m.mu.Unlock()
	for _, id := range silent {
		result, err := s.note().UpdateOne(ctx,
			bson.D{{Key: "_id", Value: noteID}, {Key: serverField(id) + ".beat", Value: n.Servers[id].Beat}},
			bson.D{{Key: "$unset", Value: bson.D{{Key: serverField(id), Value: ""}}}})
		if err == nil && result.MatchedCount > 0 {
			s.log.Warn("a server of the database has not been heard of for a while, and is not waited for any more", "host", n.Servers[id].Host)
		}
	}
}

// await returns when every server obeys the epoch.
func (s *Store) await(ctx context.Context, epoch int64) error {
	s.member.beatNow()
	for try := 0; ; try++ {
		n, found, err := s.readNote(ctx)
		if err != nil {
			return err
		}
		if !found {
			return errReplaced
		}
		if n.Epoch != epoch {
			return errOvertakenBy
		}
		waiting := ""
		for id, sig := range n.Servers {
			if sig.Epoch != epoch && sig.Epoch >= 0 { // who has not obeyed any yet has no lease either
				waiting = cmp.Or(sig.Host, id)
			}
		}
		if waiting == "" {
			return nil
		}
		if try == 40 {
			s.log.Info("waiting for another server to follow a change of the search parameters", "host", waiting)
		}
		if err := pause(ctx, try); err != nil {
			return err
		}
	}
}
