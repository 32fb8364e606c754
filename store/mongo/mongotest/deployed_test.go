package mongotest_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/kiln-health/kiln/store/mongo/mongotest"
)

// mongoDB is where a test has its databases: a *mongotest.Server, a *mongotest.Mongod or a *deployment.
type mongoDB interface {
	// URI is where a client finds it, without a database name.
	URI() string
	// Address is its host and port.
	Address() string
}

// deployment is a real MongoDB where others may be at work.
type deployment struct {
	uri, address string
	suffix       string // of the names of the test's databases
}

func (d *deployment) URI() string     { return d.uri }
func (d *deployment) Address() string { return d.address }

const deploymentVariable = "KILN_TEST_MONGODB_URI"

// deployed is the MongoDB that KILN_TEST_MONGODB_URI names.
func deployed(t testing.TB) mongoDB {
	t.Helper()
	uri := os.Getenv(deploymentVariable)
	if uri == "" {
		t.Skip(deploymentVariable + " names no deployment of MongoDB")
	}
	return deploymentAt(t, uri)
}

// deploymentAt is what a URI names, for a test. The databases that it makes there are dropped when it ends.
func deploymentAt(t testing.TB, uri string) mongoDB {
	base, query, _ := strings.Cut(uri, "?")
	scheme, rest, _ := strings.Cut(base, "://")
	hosts, _, _ := strings.Cut(rest, "/")
	d := &deployment{uri: scheme + "://" + hosts + "/?" + query, address: hosts[strings.LastIndexByte(hosts, '@')+1:], suffix: "_" + mongotest.Database()}
	t.Cleanup(func() { d.drop(t, func(string) bool { return true }) })
	return d
}

// drop drops one database of a test before its end.
func drop(t testing.TB, s mongoDB, database string) {
	if d, ok := s.(*deployment); ok {
		d.drop(t, func(name string) bool { return name == database+d.suffix })
	}
}

// drop drops those of the test's databases that are meant.
func (d *deployment) drop(t testing.TB, meant func(name string) bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := driver.Connect(options.Client().ApplyURI(d.uri))
	if err != nil {
		t.Error(err)
		return
	}
	names, err := c.ListDatabaseNames(ctx, bson.D{})
	for _, name := range names {
		if strings.HasSuffix(name, d.suffix) && meant(name) {
			err = errors.Join(err, c.Database(name).Drop(ctx))
		}
	}
	if err := errors.Join(err, c.Disconnect(ctx)); err != nil {
		t.Errorf("the databases of the test are left, *%s: %v", d.suffix, err)
	}
}

// own is a replica set that the test may do to what it likes, of the mongod that KILN_TEST_MONGOD names.
func own(t testing.TB) *mongotest.Mongod {
	t.Helper()
	m, err := startMongod(t, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func startMongod(t testing.TB, standalone bool) (*mongotest.Mongod, error) {
	t.Helper()
	if os.Getenv(mongotest.MongodVariable) == "" {
		t.Skip(mongotest.MongodVariable + " names no mongod")
	}
	path, err := mongotest.FindMongod("")
	if err != nil {
		return nil, err
	}
	return mongotest.StartMongod(context.Background(), mongotest.MongodOptions{Path: path, Standalone: standalone})
}

// lone is a mongod without replication that all tests share. TestMain ends it.
var lone struct {
	once   sync.Once
	mongod *mongotest.Mongod
	err    error
}

func unreplicated(t testing.TB) mongoDB {
	t.Helper()
	lone.once.Do(func() { lone.mongod, lone.err = startMongod(t, true) })
	if lone.err != nil {
		t.Fatal(lone.err)
	}
	return deploymentAt(t, lone.mongod.URI())
}

// everywhere are the MongoDBs that the store must work on: the server of this package in its modes
// and, as far as the environment names them, real ones.
func everywhere() map[string]func(t testing.TB) mongoDB {
	all := map[string]func(t testing.TB) mongoDB{}
	for mode, o := range modes {
		all[mode] = func(t testing.TB) mongoDB { return mongotest.StartServer(t, o) }
	}
	if os.Getenv(deploymentVariable) != "" {
		all["deployed"] = deployed
	}
	if os.Getenv(mongotest.MongodVariable) != "" {
		all["mongod without replication"] = unreplicated
	}
	return all
}

// replicated are those of everywhere that have transactions, whatever is deployed.
func replicated() map[string]func(t testing.TB) mongoDB {
	all := everywhere()
	delete(all, "standalone")
	delete(all, "mongod without replication")
	return all
}

// uriOf is the URI of a database of a MongoDB, for a client of a name.
func uriOf(s mongoDB, database, app string) string {
	if d, ok := s.(*deployment); ok {
		database += d.suffix
	}
	base, options, _ := strings.Cut(s.URI(), "/?")
	return base + "/" + database + "?" + options + "&appName=" + app + "&serverSelectionTimeoutMS=5000"
}
