package mongo

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/kiln-health/kiln/store/mongo/layout"
)

// indexes knows which collections have theirs. Those of a new collection are made before
// its first document, and those of collections that are there when the store is opened in
// the background: MongoDB lets reads and writes go on meanwhile.
type indexes struct {
	store *Store
	mu    sync.Mutex
	types map[string]*indexing
	left  []string // types whose indexes are being made, the first one right now
	since time.Time
	err   error // why the last attempt failed
}

// indexing is how far the indexes of a type are.
type indexing struct {
	ready chan struct{} // closed when there is no need to wait
	built bool          // hints may name the indexes
	err   error
}

// begin makes the indexes of the store itself now, and those of the types that are there later.
func (x *indexes) begin(ctx context.Context, types []string) error {
	x.types = map[string]*indexing{}
	for name, models := range map[string][]driver.IndexModel{
		claimsCollection: {{Keys: bson.D{{Key: "at", Value: 1}}, Options: options.Index().SetName("at").SetExpireAfterSeconds(int32(claimTime / time.Second))}},
		partsCollection:  {{Keys: bson.D{{Key: "of", Value: 1}}, Options: options.Index().SetName("of")}},
		journalCollection: {
			{Keys: bson.D{{Key: "shelf", Value: 1}, {Key: "id", Value: 1}}, Options: options.Index().SetName("shelf")},
			{Keys: bson.D{{Key: "of", Value: 1}}, Options: options.Index().SetName("of").SetSparse(true)},
		},
	} {
		if _, err := x.store.db.Collection(name).Indexes().CreateMany(ctx, models); err != nil {
			return fmt.Errorf("index of %s: %w", name, err)
		}
	}
	open := make(chan struct{})
	close(open)
	for _, of := range types {
		x.types[of] = &indexing{ready: open}
	}
	if len(types) == 0 {
		return nil
	}
	x.left, x.since = slices.Clone(types), time.Now()
	x.store.background.Go(x.build)
	return nil
}

// build makes the indexes of what is there already, and tries again until it can.
func (x *indexes) build() {
	ctx := x.store.ending
	for ctx.Err() == nil {
		x.mu.Lock()
		if len(x.left) == 0 {
			x.mu.Unlock()
			return
		}
		of := x.left[0]
		x.mu.Unlock()
		begun := time.Now()
		err := x.create(ctx, of)
		x.mu.Lock()
		if x.err = err; err == nil {
			x.types[of].built = true
			x.left = x.left[1:]
		}
		left := len(x.left)
		x.mu.Unlock()
		if err != nil {
			if ctx.Err() == nil {
				x.store.log.Warn("indexes could not be made; trying again", "type", of, "error", told(ctx, err))
			}
			if pauseFor(ctx, 5*time.Second) != nil {
				return
			}
			continue
		}
		if took := time.Since(begun); took > time.Second {
			x.store.log.Info("made indexes", "type", of, "took", took.Round(time.Millisecond), "left", left)
		}
	}
}

// create makes the indexes of a type. Those that are there cost nothing.
func (x *indexes) create(ctx context.Context, of string) error {
	if _, err := x.store.collection(of).Indexes().CreateMany(ctx, models(layout.Indexes(of))); err != nil {
		return err
	}
	_, err := x.store.historyOf(of).Indexes().CreateMany(ctx, models(historyIndexes()))
	return err
}

// historyIndexes are those of the layout, with the one by time in the whole order of History: of
// versions of one moment the _id, "id/v", does not have it.
func historyIndexes() []layout.Index {
	byTime := layout.Index{Name: "lu_id_v", Keys: bson.D{{Key: "lu", Value: -1}, {Key: "id", Value: 1}, {Key: "v", Value: -1}}, Since: 1}
	all := slices.DeleteFunc(layout.HistoryIndexes(), func(i layout.Index) bool { return i.Keys[0].Key == "lu" })
	return append(all, byTime)
}

func models(all []layout.Index) []driver.IndexModel {
	var out []driver.IndexModel
	for _, i := range all {
		o := options.Index().SetName(i.Name)
		if i.Unique {
			o.SetUnique(true)
		}
		if i.Partial != nil {
			o.SetPartialFilterExpression(i.Partial)
		}
		out = append(out, driver.IndexModel{Keys: i.Keys, Options: o})
	}
	return out
}

// ensure returns when resources of a type may be written.
func (x *indexes) ensure(ctx context.Context, of string) error {
	x.mu.Lock()
	i := x.types[of]
	if i == nil {
		i = &indexing{ready: make(chan struct{})}
		x.types[of] = i
		// Others wait for it, too: it must not end with the first who asked.
		ctx := context.WithoutCancel(ctx)
		x.store.background.Go(func() {
			ctx, end := x.store.member.while(ctx)
			defer end()
			err := why(ctx, x.create(ctx, of))
			x.mu.Lock()
			defer x.mu.Unlock()
			if i.err, i.built = err, err == nil; err != nil {
				delete(x.types, of)
			}
			close(i.ready)
		})
	}
	x.mu.Unlock()
	select {
	case <-i.ready:
		return i.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// built reports whether the indexes of a type are known to be there.
func (x *indexes) built(of string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	i := x.types[of]
	return i != nil && i.built
}

// progress is what is going on, for people: "" if nothing is.
func (x *indexes) progress() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.left) == 0 {
		return ""
	}
	text := fmt.Sprintf("making the indexes of %s, %d types left, since %s", x.left[0], len(x.left), time.Since(x.since).Round(time.Second))
	if x.err != nil {
		text += ": the last attempt failed"
	}
	return text
}
