package mongotest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/kiln-health/kiln/store/mongo/mongotest"
)

// connected is a client of a new server.
func connected(t testing.TB, o mongotest.Options) (*mongotest.Server, *mongo.Database) {
	t.Helper()
	s := mongotest.StartServer(t, o)
	client, err := mongo.Connect(options.Client().ApplyURI(s.URI()).SetServerSelectionTimeout(5 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	return s, client.Database("kiln")
}

// TestMongoDBIsAsWeReadIt runs here and, if KILN_TEST_MONGODB_URI names a deployment of MongoDB, a
// replica set, there, too.
func TestMongoDBIsAsWeReadIt(t *testing.T) {
	for name, run := range map[string]func(t *testing.T, db *mongo.Database){
		"what is inserted is found in order and in batches": testWhatIsInsertedIsFoundInOrderAndInBatches,
		"a duplicate key is told as MongoDB tells it":       testADuplicateKeyIsToldAsMongoDBTellsIt,
		"a transaction is seen as a whole or not at all":    testATransactionIsSeenAsAWholeOrNotAtAll,
		"transactions that write the same conflict":         testTransactionsThatWriteTheSameConflict,
		"indexes refuse what MongoDB refuses":               testIndexesRefuseWhatMongoDBRefuses,
		"a snapshot session reads one state":                testASnapshotSessionReadsOneState,
		"too large documents are refused":                   testTooLargeDocumentsAreRefused,
	} {
		t.Run(name, func(t *testing.T) {
			_, db := connected(t, mongotest.Options{})
			run(t, db)
		})
		uri := os.Getenv("KILN_TEST_MONGODB_URI")
		if uri == "" {
			continue
		}
		t.Run("deployed: "+name, func(t *testing.T) {
			client, err := mongo.Connect(options.Client().ApplyURI(uri))
			if err != nil {
				t.Fatal(err)
			}
			db := client.Database(mongotest.Database())
			t.Cleanup(func() {
				if err := db.Drop(context.Background()); err != nil {
					t.Errorf("the database %s is left: %v", db.Name(), err)
				}
				_ = client.Disconnect(context.Background())
			})
			run(t, db)
		})
	}
}

func code(err error) int {
	var e mongo.ServerError
	if errors.As(err, &e) {
		for _, c := range e.ErrorCodes() {
			return c
		}
	}
	return 0
}

func all(t testing.TB, c *mongo.Cursor, err error) []bson.M {
	t.Helper()
	var docs []bson.M
	if err == nil {
		err = c.All(t.Context(), &docs)
	}
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

func testWhatIsInsertedIsFoundInOrderAndInBatches(t *testing.T, db *mongo.Database) {
	var docs []any
	for i := range 1000 {
		docs = append(docs, bson.D{{Key: "_id", Value: fmt.Sprintf("%04d", i)}, {Key: "n", Value: i % 7}, {Key: "tags", Value: bson.A{"a", fmt.Sprint(i % 3)}}})
	}
	c := db.Collection("things")
	if _, err := c.InsertMany(t.Context(), docs); err != nil {
		t.Fatal(err)
	}
	cursor, err := c.Find(t.Context(), bson.D{{Key: "tags", Value: "1"}, {Key: "n", Value: bson.D{{Key: "$gte", Value: 3}, {Key: "$lt", Value: 5}}}},
		options.Find().SetSort(bson.D{{Key: "n", Value: -1}, {Key: "_id", Value: 1}}).SetProjection(bson.D{{Key: "n", Value: 1}}).SetBatchSize(10))
	found := all(t, cursor, err)
	want := 0
	for i := range 1000 {
		if i%3 == 1 && (i%7 == 3 || i%7 == 4) {
			want++
		}
	}
	if len(found) != want || len(found[0]) != 2 || found[0]["n"] != int32(4) || found[0]["_id"] != "0004" {
		t.Errorf("got %d documents, %v first: want %d", len(found), found[0], want)
	}
	n, err := c.CountDocuments(t.Context(), bson.D{{Key: "n", Value: 3}})
	if err != nil || n != 143 {
		t.Errorf("got %d %v", n, err)
	}
	if n, err := c.EstimatedDocumentCount(t.Context()); err != nil || n != 1000 {
		t.Errorf("got %d %v", n, err)
	}
}

func testADuplicateKeyIsToldAsMongoDBTellsIt(t *testing.T, db *mongo.Database) {
	c := db.Collection("things")
	_, err := c.InsertMany(t.Context(), []any{bson.D{{Key: "_id", Value: "a"}}, bson.D{{Key: "_id", Value: "a"}}, bson.D{{Key: "_id", Value: "b"}}}, options.InsertMany().SetOrdered(false))
	var many mongo.BulkWriteException
	if !errors.As(err, &many) || len(many.WriteErrors) != 1 || many.WriteErrors[0].Index != 1 || many.WriteErrors[0].Code != 11000 ||
		many.WriteErrors[0].Message != `E11000 duplicate key error collection: `+db.Name()+`.things index: _id_ dup key: { _id: "a" }` {
		t.Errorf("got %v", err)
	}
	if n, err := c.CountDocuments(t.Context(), bson.D{}); err != nil || n != 2 {
		t.Errorf("got %d %v", n, err)
	}
}

func TestOneOfManyWhoCompareAndSetWins(t *testing.T) {
	for _, standalone := range []bool{false, true} {
		_, db := connected(t, mongotest.Options{Standalone: standalone})
		c := db.Collection("things")
		if _, err := c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}, {Key: "v", Value: 0}}); err != nil {
			t.Fatal(err)
		}
		winners := atomic.Int64{}
		for round := range 50 {
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() {
					r, err := c.ReplaceOne(t.Context(), bson.D{{Key: "_id", Value: 1}, {Key: "v", Value: round}}, bson.D{{Key: "v", Value: round + 1}})
					if err != nil {
						t.Error(err)
						return
					}
					winners.Add(r.ModifiedCount)
				})
			}
			wg.Wait()
		}
		if winners.Load() != 50 {
			t.Errorf("got %d winners in 50 rounds", winners.Load())
		}
	}
}

func testATransactionIsSeenAsAWholeOrNotAtAll(t *testing.T, db *mongo.Database) {
	c := db.Collection("things")
	session, err := db.Client().StartSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.EndSession(t.Context())
	for _, commit := range []bool{false, true} {
		_, err = session.WithTransaction(t.Context(), func(ctx context.Context) (any, error) {
			for _, id := range []string{"a", "b"} {
				if _, err := c.InsertOne(ctx, bson.D{{Key: "_id", Value: id}}); err != nil {
					return nil, err
				}
			}
			if n := len(all(t, must(c.Find(ctx, bson.D{})), nil)); n != 2 {
				t.Errorf("inside: %d", n)
			}
			if n := len(all(t, must(c.Find(t.Context(), bson.D{})), nil)); n != 0 {
				t.Errorf("outside: %d", n)
			}
			if !commit {
				return nil, errors.New("on purpose")
			}
			return nil, nil
		})
		if (err == nil) != commit {
			t.Fatal(err)
		}
	}
	if n := len(all(t, must(c.Find(t.Context(), bson.D{})), nil)); n != 2 {
		t.Errorf("afterwards: %d", n)
	}
}

func must[T any](v T, _ error) T { return v }

func testTransactionsThatWriteTheSameConflict(t *testing.T, db *mongo.Database) {
	c := db.Collection("things")
	if _, err := c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}, {Key: "n", Value: 0}}); err != nil {
		t.Fatal(err)
	}
	one, two := must(db.Client().StartSession()), must(db.Client().StartSession())
	if err := errors.Join(one.StartTransaction(), two.StartTransaction()); err != nil {
		t.Fatal(err)
	}
	first, second := mongo.NewSessionContext(t.Context(), one), mongo.NewSessionContext(t.Context(), two)
	increment := bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}}
	if _, err := c.UpdateByID(first, 1, increment); err != nil {
		t.Fatal(err)
	}
	_, err := c.UpdateByID(second, 1, increment)
	var server mongo.ServerError
	if code(err) != 112 || !errors.As(err, &server) || !server.HasErrorLabel("TransientTransactionError") {
		t.Errorf("got %v", err)
	}
	// Who is not in a transaction waits for it.
	done := make(chan error)
	go func() { _, err := c.UpdateByID(context.Background(), 1, increment); done <- err }()
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := one.CommitTransaction(first); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var d bson.M
	if err := c.FindOne(t.Context(), bson.D{}).Decode(&d); err != nil || d["n"] != int32(2) {
		t.Errorf("got %v %v", d, err)
	}
	// 16 who add in transactions lose nothing.
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			s := must(db.Client().StartSession())
			defer s.EndSession(context.Background())
			if _, err := s.WithTransaction(t.Context(), func(ctx context.Context) (any, error) { return c.UpdateByID(ctx, 1, increment) }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := c.FindOne(t.Context(), bson.D{}).Decode(&d); err != nil || d["n"] != int32(18) {
		t.Errorf("got %v %v", d, err)
	}
}

func TestStandaloneHasNoTransactions(t *testing.T) {
	_, db := connected(t, mongotest.Options{Standalone: true})
	s := must(db.Client().StartSession())
	_, err := s.WithTransaction(t.Context(), func(ctx context.Context) (any, error) {
		return db.Collection("things").InsertOne(ctx, bson.D{})
	})
	if code(err) != 20 {
		t.Errorf("got %v", err)
	}
	if _, err := db.Watch(t.Context(), mongo.Pipeline{}); code(err) != 40573 {
		t.Errorf("got %v", err)
	}
}

func TestAWriteWhoseReplyIsLostIsDoneOnce(t *testing.T) {
	s, db := connected(t, mongotest.Options{})
	c := db.Collection("things")
	s.Fail(mongotest.Fault{Command: "insert", CloseAfter: true})
	if _, err := c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}, {Key: "n", Value: 0}}); err != nil {
		t.Fatal(err)
	}
	s.Fail(mongotest.Fault{Command: "update", CloseAfter: true})
	if _, err := c.UpdateByID(t.Context(), 1, bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}}); err != nil {
		t.Fatal(err)
	}
	var d bson.M
	if err := c.FindOne(t.Context(), bson.D{}).Decode(&d); err != nil || d["n"] != int32(1) {
		t.Errorf("got %v %v", d, err)
	}
}

func TestAChangeStreamTellsWhatWasWrittenSinceAToken(t *testing.T) {
	s, db := connected(t, mongotest.Options{})
	stream, err := db.Watch(t.Context(), mongo.Pipeline{})
	if err != nil {
		t.Fatal(err)
	}
	c := db.Collection("things")
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range 100 {
			if i == 30 {
				s.Disconnect()
			}
			for {
				_, err := c.InsertOne(context.Background(), bson.D{{Key: "_id", Value: i}})
				if err == nil || mongo.IsDuplicateKeyError(err) {
					break
				}
			}
		}
	})
	for i := range 50 {
		for !stream.Next(t.Context()) { // the connection was lost
			if stream, err = db.Watch(t.Context(), mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(stream.ResumeToken())); err != nil {
				t.Fatal(err)
			}
		}
		if got := stream.Current.Lookup("fullDocument", "_id").AsInt64(); got != int64(i) {
			t.Fatalf("got %d, want %d", got, i)
		}
	}
	token := stream.ResumeToken()
	writer.Wait()
	if err := stream.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, err := db.Watch(t.Context(), mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(token))
	if err != nil {
		t.Fatal(err)
	}
	if !again.Next(t.Context()) || again.Current.Lookup("documentKey", "_id").AsInt64() != 50 {
		t.Errorf("got %v %v", again.Current, again.Err())
	}
	_ = again.Close(t.Context())
	s.Forget()
	if _, err = db.Watch(t.Context(), mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(token)); code(err) != 286 {
		t.Errorf("got %v", err)
	}
}

func testIndexesRefuseWhatMongoDBRefuses(t *testing.T, db *mongo.Database) {
	c := db.Collection("things")
	index := func(keys bson.D, o *options.IndexOptionsBuilder) error {
		_, err := c.Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: keys, Options: o})
		return err
	}
	if err := index(bson.D{{Key: "a", Value: 1}, {Key: "b", Value: 1}}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.InsertOne(t.Context(), bson.D{{Key: "a", Value: bson.A{1, 2}}, {Key: "b", Value: bson.A{1}}}); code(err) != 171 {
		t.Errorf("parallel arrays: %v", err)
	}
	if err := index(bson.D{{Key: "u", Value: 1}}, options.Index().SetUnique(true).SetPartialFilterExpression(bson.D{{Key: "u", Value: bson.D{{Key: "$exists", Value: true}}}})); err != nil {
		t.Fatal(err)
	}
	if _, err := c.InsertMany(t.Context(), []any{bson.D{}, bson.D{}, bson.D{{Key: "u", Value: 1}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.InsertOne(t.Context(), bson.D{{Key: "u", Value: 1.0}}); !mongo.IsDuplicateKeyError(err) {
		t.Errorf("unique: %v", err)
	}
	if err := index(bson.D{{Key: "z", Value: -1}}, options.Index().SetName("u_1")); code(err) != 86 {
		t.Errorf("name: %v", err)
	}
	if err := index(bson.D{{Key: "z", Value: -1}}, options.Index().SetPartialFilterExpression(bson.D{{Key: "u", Value: bson.D{{Key: "$ne", Value: 1}}}})); code(err) != 67 {
		t.Errorf("partial: %v", err)
	}
	specs, err := c.Indexes().ListSpecifications(t.Context())
	if err != nil || len(specs) != 3 {
		t.Errorf("got %v %v", specs, err)
	}
	if _, err := c.Find(t.Context(), bson.D{}, options.Find().SetHint("nothing")); code(err) != 2 {
		t.Errorf("hint: %v", err)
	}
}

func testASnapshotSessionReadsOneState(t *testing.T, db *mongo.Database) {
	c := db.Collection("things")
	if err := db.CreateCollection(t.Context(), "things"); err != nil {
		t.Fatal(err)
	}
	session, err := db.Client().StartSession(options.Session().SetSnapshot(true))
	if err != nil {
		t.Fatal(err)
	}
	ctx := mongo.NewSessionContext(t.Context(), session)
	for i := range 3 {
		if n := len(all(t, must(c.Find(ctx, bson.D{})), nil)); n != 0 {
			t.Errorf("round %d: got %d", i, n)
		}
		if _, err := c.InsertOne(t.Context(), bson.D{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASecondaryRefusesWrites(t *testing.T) {
	s, db := connected(t, mongotest.Options{})
	c := db.Collection("things")
	if _, err := c.InsertOne(t.Context(), bson.D{}); err != nil {
		t.Fatal(err)
	}
	s.SetReadOnly(true)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := c.InsertOne(ctx, bson.D{}); err == nil {
		t.Error("it was written")
	}
	s.SetReadOnly(false)
	if _, err := c.InsertOne(t.Context(), bson.D{}); err != nil {
		t.Error(err)
	}
}

func testTooLargeDocumentsAreRefused(t *testing.T, db *mongo.Database) {
	const limit = 16 << 20
	c := db.Collection("things")
	if _, err := c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}, {Key: "b", Value: make([]byte, 10<<20)}}); err != nil {
		t.Fatal(err)
	}
	of := func(id, bytes int) bson.D {
		return bson.D{{Key: "_id", Value: id}, {Key: "b", Value: make([]byte, bytes)}}
	}
	write := map[string]func(bytes int) error{
		"insert": func(n int) error { _, err := c.InsertOne(t.Context(), of(2, n)); return err },
		"replace": func(n int) error {
			_, err := c.ReplaceOne(t.Context(), bson.D{{Key: "_id", Value: 1}}, of(1, n))
			return err
		},
		"upsert": func(n int) error {
			_, err := c.ReplaceOne(t.Context(), bson.D{{Key: "_id", Value: 3}}, of(3, n), options.Replace().SetUpsert(true))
			return err
		},
		"$set": func(n int) error {
			_, err := c.UpdateByID(t.Context(), 1, bson.D{{Key: "$set", Value: bson.D{{Key: "c", Value: make([]byte, n-10<<20)}}}})
			return err
		},
	}
	for what, codes := range map[string][2]int{"insert": {2, 10334}, "replace": {17419, 10334}, "upsert": {17420, 10334}, "$set": {17419, 10334}} {
		for i, bytes := range []int{limit + 1000, limit + 20_000} { // MongoDB itself needs up to 16 KiB more
			if got := code(write[what](bytes)); got != codes[i] {
				t.Errorf("%s of %d bytes more than it may have: got code %d, want %d", what, bytes-limit, got, codes[i])
			}
		}
	}
}
