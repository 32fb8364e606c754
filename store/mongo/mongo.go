// Package mongo is the store for production: a MongoDB database, on a replica set, sharded when
// one machine is not enough. Any number of servers may have it open.
//
// # Collections
//
//	Observation, Device, …   the current versions of a type, deletions among them
//	Observation.history, …   their earlier versions: {_id: "id/v", id, v, lu, end, del, raw}
//	journal                  what Ingest keeps: {_id, shelf, id, raw}
//	claims                   what conditional creates keep each other out with; forgotten after an hour
//	intents, intents.parts   writes under way where there are no transactions
//	kiln                     the note: the layout's version, what is searched by, the servers; leases
//
// A document has the JSON of its resource byte for byte, and beside it fields for indexes, as
// package layout says. Nothing is ever read out of the BSON of a resource.
//
// # What is atomic
//
// In a replica set or a sharded cluster a Write is one insert, if it puts one new resource, and
// else one transaction: all of it is there at once, or nothing. New resources that come at the
// same time are inserted together, each for itself. Searches and histories read a snapshot
// (MongoDB 5.0 and later) or in a transaction (4.4): page and total are of one state. Pages that
// follow are of the newest state, each one.
//
// On a single server that is no replica set there are no transactions. A Write of one new
// resource is one insert. Every other one is an intent, see intent.go: its resources are locked, all
// that it will write is stored beside, one update of one document is the moment at which it
// is done, and then its parts become visible one after the other. If the process ends before
// that moment nothing has happened; if it ends behind it, the next Open, and within half a
// minute every other server, carries on. Within a process no search sees a part of a write:
// it waits. What a reader in another process may see meanwhile: some of the resources of one
// Write as they are behind it, and the others as they were before; a version that was just
// replaced in the history and as current, which History gives once. A resource that many write at
// once, one at a time, may be missed or counted twice by a search that reads while its place in an
// index moves. Watch needs a replica set.
//
// A condition None excludes within a process, in both, whatever it asks for. Between processes
// it does if the conditions that compete ask for an identifier, all of them, or for a
// reference, or for neither: see claimKeys.
//
// # What is durable
//
// The write concern is majority with journal unless the URI says otherwise: what is
// acknowledged survives the loss of any minority of the members. Reads are of what a majority has,
// from the primary unless the URI has a read preference; from another member they may be
// behind what was just written. Writes always look at the primary. After an error that
// ended the wait a write may be found later, as a whole.
//
// # Limits
//
// A document has at most 16 MiB, JSON and index fields together; what is larger is refused
// before it is sent. A write has at most 100,000 changes, and in a replica set MongoDB gives a
// transaction a minute. An entry of the journal has at most 64 MiB. A page has at most 32 MiB.
//
// # Several servers
//
// What documents are indexed by may change while servers run, see Reindex, and when one is opened
// with other search parameters. All servers that have the database open follow, in steps, see
// servers.go and reindex.go; one that cannot, because it does not know the parameters, refuses
// writes and searches and says so, in its errors, in Check and in its log. Read, History, Export,
// Watch and the journal do not depend on parameters and always go on.
//
// Each server tells the others every 2 s that it is there (Options.Beat). What is guaranteed: what
// was acknowledged by any server, before, during or after a change, is found by the searches of
// every server that searches, by the parameters that it searches by, and nothing else is. It
// rests on this: a server that could not tell the others for 10 s begins no write, and ends or
// gives up 4 s later what it has begun; it asks the database before it answers a search, whether the
// documents are still those that it knows; and the others go on without it after 20 s, by their own
// clocks. So what is not guaranteed is this: a command that MongoDB had received, or the network,
// from a server before it fell silent, and applies more than 6 s after that server has given it up,
// while the parameters are changed without it, may put a document that is not found by the new
// parameters until they are changed again or it is written again; the writer was told an error.
// The same may come of a machine that is stopped between its last look at its clocks, both of which
// count, and the sending of a command, and goes on after more than that.
//
// docs/mongodb.md says how to set it up, size it and shard it, and against what it has been run.
package mongo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/claim"
	"github.com/kiln-health/kiln/store/mongo/layout"
)

// Options of Open. Nil is all defaults. What is about the connection is in the URI.
type Options struct {
	// Now is the clock of lastUpdated. The default is time.Now.
	Now func() time.Time
	// Logger is told of index builds, recovered writes and lost connections: never of patient
	// data, nor of the URI. The default says nothing.
	Logger *slog.Logger
	// Parameters are the search parameters that resources are indexed by: search.R4() by
	// default. With others than last time the store is indexed anew when it is opened.
	Parameters *search.Parameters
	// Load, if it is set, gives the parameters instead. It is called by Open with the
	// SearchParameter resources of the store, so that a server that keeps its own there need not
	// index anew at every start.
	//
	// It is also how a server gets to know the parameters that another one changes to, see Reindex:
	// it must find the same in the same resources, and may be called at any time until Close.
	Load func(stored iter.Seq2[fhir.Resource, error]) (*search.Parameters, error)
	// Beat is how often this server tells the others of the database that it is there: 2 s by
	// default. One that could not for five times that long does not write until it can; one that
	// changes the search parameters waits for a server that is silent ten times as long.
	Beat time.Duration
}

// Store is a store in a MongoDB database. Its methods may be called from any number of
// goroutines, and any number of processes may have the same database open.
type Store struct {
	client *driver.Client
	db     *driver.Database
	hosts  string // for people
	now    func() time.Time
	log    *slog.Logger
	seed   maphash.Seed // tells which stripe locks a resource
	limits limits

	// transactional: the deployment has transactions; snapshots: and reads of one state
	// outside of them, too.
	transactional, snapshots bool

	// ending is closed when Close begins: what works in the background ends.
	ending     context.Context
	end        context.CancelFunc
	background sync.WaitGroup

	stripes  [stripeCount]chan struct{}
	claims   claim.Claims
	gate     store.Gate
	inserter *inserter
	indexes  *indexes
	counters counters
	opened   *parameters                                                       // those of Open
	load     func(iter.Seq2[fhir.Resource, error]) (*search.Parameters, error) // or nil
	// visible, where there are no snapshots, is held for writing while the parts of one write
	// become visible, and for reading by searches.
	visible sync.RWMutex

	// indexing is held for reading by every write, and for writing to change what writes index.
	indexing sync.RWMutex
	state    atomic.Pointer[state]
	member   *membership
	// changing has one while this server changes the search parameters of all, target those that it
	// changes to. reindexing: Reindex does.
	changing   chan struct{}
	target     atomic.Pointer[parameters]
	reindexing atomic.Bool

	// fault, if tests set it, is asked before every step of a write that has several.
	fault func(step string) error
}

// limits of one call.
type limits struct {
	// pageBytes is where a page ends early: it is shorter than asked, and Next leads on.
	pageBytes int
	// documentBytes is the largest document that is sent.
	documentBytes int
	// changes are those of one write.
	changes int
	// selection is how long a server of MongoDB is looked for.
	selection time.Duration
}

// MongoDB's limit is 16 MiB. What surrounds a document while its write is not finished needs some.
func defaultLimits() limits {
	return limits{pageBytes: 32 << 20, documentBytes: 16<<20 - 16<<10, changes: 100_000, selection: selectionTimeout}
}

var (
	_ store.Store     = (*Store)(nil)
	_ store.Journal   = (*Store)(nil)
	_ store.Explainer = (*Store)(nil)
	_ store.Reindexer = (*Store)(nil)
	_ store.Watcher   = (*Store)(nil)
	_ store.Archive   = (*Store)(nil)
	_ store.Monitored = (*Store)(nil)
)

// selectionTimeout is how long a server is looked for, unless the URI says otherwise.
const selectionTimeout = 10 * time.Second

// Open opens the store in the database that the URI names, "kiln" if it names none, and
// creates what is not there yet. It is an error, a *Fault where MongoDB is its cause, if no
// server answers in time, if the user may not, if the server is too old, if the database has
// something else in it, or if a newer program wrote it. No error has a password in it.
func Open(ctx context.Context, uri string, opt *Options) (*Store, error) {
	p, err := parseURI(uri)
	if err != nil {
		return nil, fmt.Errorf("mongo: open: %w", err)
	}
	s, err := open(ctx, uri, p, opt)
	if err != nil {
		return nil, fmt.Errorf("mongo: open %s: %w", Redact(uri), told(ctx, err))
	}
	return s, nil
}

func open(ctx context.Context, uri string, p parts, opt *Options) (*Store, error) {
	var o Options
	if opt != nil {
		o = *opt
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Parameters == nil {
		o.Parameters = search.R4()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		hosts: p.hosts, now: o.Now, log: o.Logger, seed: maphash.MakeSeed(), limits: defaultLimits(),
		opened: newParameters(o.Parameters), load: o.Load, member: newMembership(o.Beat), changing: make(chan struct{}, 1),
	}
	s.state.Store(openingState(s.opened))
	s.ending, s.end = context.WithCancel(context.Background())
	for i := range s.stripes {
		s.stripes[i] = make(chan struct{}, 1)
	}
	s.inserter = &inserter{insert: s.insertMany}
	s.indexes = &indexes{store: s}
	co, err := clientOptions(uri)
	if err != nil {
		return nil, err
	}
	s.limits.selection = *co.ServerSelectionTimeout
	s.counters.watch(co)
	if s.client, err = driver.Connect(co); err != nil {
		return nil, errURI // the driver's text may repeat parts of it
	}
	if err := s.begin(ctx, p.database, co); err != nil {
		s.end()
		s.background.Wait()
		s.leave()
		s.disconnect()
		return nil, err
	}
	return s, nil
}

// clientOptions are those of the URI and, where it says nothing, ours. It connects to nothing.
func clientOptions(uri string) (*options.ClientOptions, error) {
	co := options.Client().ApplyURI(uri)
	if err := co.Validate(); err != nil {
		// The driver's text repeats parts of the URI.
		if _, ok := errors.AsType[*net.DNSError](err); ok {
			return nil, &Fault{What: "the servers of the mongodb+srv URI cannot be looked up", Fix: "check its host name and the name server; or list the hosts in a mongodb:// URI", Unavailable: true}
		}
		return nil, errors.Join(errURI, errors.New("an option of the URI is unknown, has no such value, or contradicts another"))
	}
	if co.AppName == nil {
		co.SetAppName("kiln")
	}
	if co.ServerSelectionTimeout == nil {
		co.SetServerSelectionTimeout(selectionTimeout)
	}
	if co.ConnectTimeout == nil {
		co.SetConnectTimeout(selectionTimeout)
	}
	if co.WriteConcern == nil {
		journal := true
		co.SetWriteConcern(&writeconcern.WriteConcern{W: "majority", Journal: &journal})
	}
	return co, nil
}

func (s *Store) begin(ctx context.Context, database string, co *options.ClientOptions) error {
	h, err := s.hello(ctx)
	if err != nil {
		return err
	}
	if h.MaxWireVersion < minWireVersion {
		return tooOld()
	}
	s.transactional = h.SetName != "" || h.Msg == "isdbgrid"
	s.snapshots = s.transactional && h.MaxWireVersion >= snapshotWireVersion
	do := options.Database()
	if s.transactional && co.ReadConcern == nil {
		do.SetReadConcern(readconcern.Majority())
	}
	s.db = s.client.Database(database, do)
	if err := s.prepare(ctx); err != nil {
		return err
	}
	if h.Msg == "isdbgrid" {
		if err := s.checkShardKeys(ctx); err != nil {
			return err
		}
	}
	if s.load != nil {
		p, err := s.load(s.stored(ctx, "SearchParameter"))
		if err != nil {
			return fmt.Errorf("search parameters: %w", err)
		}
		s.opened = newParameters(p)
		s.state.Store(openingState(s.opened))
	}
	if err := s.join(ctx); err != nil {
		return err
	}
	return s.complete(ctx)
}

// snapshotWireVersion is that of MongoDB 5.0.
const snapshotWireVersion = 13

// greeting is what a server says of itself.
type greeting struct {
	SetName           string `bson:"setName"`
	Msg               string `bson:"msg"`
	MaxWireVersion    int    `bson:"maxWireVersion"`
	IsWritablePrimary bool   `bson:"isWritablePrimary"`
	IsMaster          bool   `bson:"ismaster"`
	ReadOnly          bool   `bson:"readOnly"`
}

// hello asks the primary who it is. That there is one is part of the answer.
func (s *Store) hello(ctx context.Context) (greeting, error) {
	var g greeting
	admin := s.client.Database("admin")
	opt := options.RunCmd().SetReadPreference(readpref.Primary())
	err := admin.RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}, opt).Decode(&g)
	if hasCode(err, codeCommandNotFound) {
		err = admin.RunCommand(ctx, bson.D{{Key: "isMaster", Value: 1}}, opt).Decode(&g)
	}
	if err != nil {
		return g, err
	}
	if !g.IsWritablePrimary && !g.IsMaster || g.ReadOnly {
		return g, faultOfCode(codeNotPrimary, "")
	}
	return g, nil
}

// Close waits for running calls and closes all connections. A second Close does nothing.
// A Watch ends at once. Writes that wait for a server of MongoDB are ended, with
// store.ErrClosed, when it has been looked for as long as serverSelectionTimeoutMS says, and a
// little longer: they may be found later.
func (s *Store) Close() error {
	s.end()
	late := time.AfterFunc(s.limits.selection+closeTime, func() {
		s.log.Warn("closing, though writes still wait for MongoDB")
		s.member.abort(store.ErrClosed)
	})
	defer late.Stop()
	return s.gate.Close(func() error {
		s.inserter.wait()
		s.background.Wait()
		s.leave()
		s.disconnect()
		return nil
	})
}

// closeTime is how long Close waits for writes once it has given up to find a server.
const closeTime = 2 * time.Second

// disconnect closes the connections. What it could fail at is of no consequence any more:
// telling servers of sessions that they forget by themselves.
func (s *Store) disconnect() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.client.Disconnect(ctx); err != nil {
		s.log.Debug("the connections to MongoDB did not close well", "error", told(ctx, err))
	}
}

// collection of the current versions of a type, historyOf of the earlier ones.
func (s *Store) collection(resourceType string) *driver.Collection {
	return s.db.Collection(resourceType)
}
func (s *Store) historyOf(resourceType string) *driver.Collection {
	return s.db.Collection(layout.HistoryCollection(resourceType))
}

// Collections that are not of a type.
const (
	metaCollection    = "kiln"
	journalCollection = "journal"
	claimsCollection  = "claims"
	intentsCollection = "intents"
	partsCollection   = "intents.parts"
)

// consistent calls f so that all that it reads with its context is of one state of the
// store, as far as the deployment can do that.
func (s *Store) consistent(ctx context.Context, f func(ctx context.Context) error) error {
	if !s.transactional {
		s.visible.RLock()
		defer s.visible.RUnlock()
		return f(ctx)
	}
	for try := 0; ; try++ {
		err := s.inSnapshot(ctx, f)
		if try >= 5 || !hasCode(err, codeSnapshotUnavailable) && !hasCode(err, codeSnapshotTooOld) {
			return err
		}
		if err := pause(ctx, try); err != nil {
			return err
		}
	}
}

func (s *Store) inSnapshot(ctx context.Context, f func(ctx context.Context) error) error {
	if !s.snapshots {
		return s.transaction(ctx, f)
	}
	session, err := s.client.StartSession(options.Session().SetSnapshot(true))
	if err != nil {
		return err
	}
	defer session.EndSession(context.WithoutCancel(ctx))
	return f(driver.NewSessionContext(ctx, session))
}

// transaction calls f in a transaction and commits it. While others are in the way f is
// called again: it must not keep anything of an earlier call.
//
// WithTransaction of the driver would do, but that it commits, again and again for two minutes,
// whatever becomes of ctx: also when this server may not write any more.
func (s *Store) transaction(ctx context.Context, f func(ctx context.Context) error) (err error) {
	session, err := s.client.StartSession()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && (ctx.Err() != nil || driver.IsNetworkError(err) || noServer(err)) {
			s.background.Go(func() { s.abandon(session) })
			return
		}
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
		defer cancel()
		session.EndSession(after) // and what was begun
	}()
	begun := time.Now()
	var lost time.Time // since when there has been no answer
	for try := 0; ; try++ {
		if err = s.attempt(ctx, session, f); err == nil || !hasLabel(err, "TransientTransactionError") {
			return err
		}
		switch {
		case !driver.IsNetworkError(err):
			lost = time.Time{}
		case lost.IsZero():
			lost = time.Now()
		case time.Since(lost) > s.limits.selection:
			return err
		}
		if noServer(err) || time.Since(begun) > writeTime {
			return err
		}
		s.counters.retries.Add(1)
		if err := pause(ctx, try); err != nil {
			return err
		}
	}
}

// abortTime is how long MongoDB is asked to forget a transaction, which it does by itself after a minute.
const abortTime = 2 * time.Second

// abandonTime is after what time MongoDB itself ends a transaction: transactionLifetimeLimitSeconds.
const abandonTime = time.Minute

// abandon ends a transaction that MongoDB may have open still, because it was lost meanwhile: others
// who write the same resources would run into it. The next transaction of a session ends the one before.
func (s *Store) abandon(session *driver.Session) {
	ctx, cancel := context.WithTimeout(s.ending, abandonTime)
	defer cancel()
	defer session.EndSession(ctx)
	for try := 0; ; try++ {
		err := session.StartTransaction()
		if err == nil {
			err = s.note().FindOne(driver.NewSessionContext(ctx, session), bson.D{{Key: "_id", Value: noteID}}).Err()
		}
		_ = session.AbortTransaction(ctx) // of one that has only read, or of one that could not be committed
		if err == nil || pause(ctx, try) != nil {
			return
		}
	}
}

// attempt calls f in a transaction and commits it.
func (s *Store) attempt(ctx context.Context, session *driver.Session, f func(ctx context.Context) error) error {
	opt := options.Transaction().SetReadConcern(readconcern.Snapshot()).SetReadPreference(readpref.Primary())
	if err := session.StartTransaction(opt); err != nil {
		return err
	}
	if err := cmp.Or(f(driver.NewSessionContext(ctx, session)), ctx.Err()); err != nil {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
		defer cancel()
		_ = session.AbortTransaction(after) // it is forgotten in the end, whatever comes of this
		return err
	}
	begun := time.Now()
	for try := 0; ; try++ {
		err := session.CommitTransaction(ctx)
		if err == nil || !hasLabel(err, "UnknownTransactionCommitResult") || hasCode(err, codeMaxTimeExpired) || noServer(err) || time.Since(begun) > s.limits.selection {
			return err
		}
		if e := pause(ctx, try); e != nil {
			return err
		}
	}
}

// pause is longer from try to try, and never as long for two who got into each other's way.
func pause(ctx context.Context, try int) error {
	d := time.Duration(1<<min(try, 6)) * time.Millisecond
	d += time.Duration(jitter(int64(d)))
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func inTransaction(ctx context.Context) bool {
	session := driver.SessionFromContext(ctx)
	return session != nil && session.TransactionRunning()
}

// withoutSession is ctx for what is no part of the session at hand.
func withoutSession(ctx context.Context) context.Context { return driver.NewSessionContext(ctx, nil) }
