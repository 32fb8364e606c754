package mongo

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store/mongo/layout"
)

// parameters are search parameters and the layout of documents that they make.
type parameters struct {
	*search.Parameters
	layout *layout.Layout
}

func newParameters(p *search.Parameters) *parameters {
	return &parameters{Parameters: p, layout: layout.New(p)}
}

// state is what this server does in an epoch, as the note has it.
type state struct {
	epoch    int64
	searched *parameters    // searches use these; never nil
	also     *parameters    // documents are found by these, too, or nil
	layout   *layout.Layout // of documents
	// mixed: documents may have index fields by other definitions of the same parameters, too.
	mixed bool
	// noSearch and noWrite are why this server does not search or write, nil if it does.
	noSearch, noWrite error

	searches sync.RWMutex    // held for reading by searches that go by this state
	over     context.Context // of these searches: ended when another state has waited for too long
	end      context.CancelFunc
}

// definition says which search parameters are meant, to servers that have to find them out.
type definition struct {
	Fingerprint []byte `bson:"fingerprint"`
	// From are the SearchParameters that Options.Load made them of, nil if that is not known.
	From []source `bson:"from"`
}

// source is a version of a SearchParameter.
type source struct {
	ID      string `bson:"id"`
	Version int64  `bson:"v"`
}

func (d *definition) is(p *search.Parameters) bool {
	return d != nil && len(d.Fingerprint) > 0 && bytes.Equal(d.Fingerprint, p.Fingerprint())
}

// openingState is that of a server that has not read the note yet.
func openingState(p *parameters) *state {
	st := &state{epoch: -1, searched: p, layout: p.layout, noSearch: errOpening, noWrite: errOpening}
	st.over, st.end = context.WithCancel(context.Background())
	return st
}

// stateOf is what a note asks of this server. What it cannot do it refuses.
func (s *Store) stateOf(ctx context.Context, n *note) *state {
	st := &state{epoch: n.Epoch, mixed: n.Mixed}
	st.over, st.end = context.WithCancel(context.Background())
	if st.searched = s.find(ctx, n.searched()); st.searched == nil {
		st.noSearch, st.noWrite = errOtherParameters, errOtherParameters
		st.searched = s.state.Load().searched
	}
	if n.Incomplete {
		st.noSearch = errIncomplete
	}
	st.layout = st.searched.layout
	more := n.Building
	if more == nil {
		more = n.Leaving
	}
	if more == nil {
		return st
	}
	if st.also = s.find(ctx, more); st.also == nil {
		if st.noWrite == nil {
			st.noWrite = errOthersToCome
		}
		return st
	}
	st.layout = layout.Both(st.searched.Parameters, st.also.Parameters)
	return st
}

// find gives the parameters of a definition, nil if this server cannot know them.
func (s *Store) find(ctx context.Context, d *definition) *parameters {
	now := s.state.Load()
	for _, p := range []*parameters{now.searched, now.also, s.target.Load(), s.opened} {
		if p != nil && d.is(p.Parameters) {
			return p
		}
	}
	if s.load == nil || len(d.Fingerprint) == 0 {
		return nil
	}
	stored := s.stored(ctx, "SearchParameter")
	if d.From != nil {
		stored = s.versions(ctx, "SearchParameter", d.From)
	}
	p, err := s.load(stored)
	switch {
	case err != nil:
		s.log.Debug("the search parameters of another server could not be loaded", "error", told(ctx, err))
		return nil
	case !d.is(p):
		return nil
	}
	return newParameters(p)
}

// defined is the definition of parameters, such that others who have the same Load find them.
func (s *Store) defined(ctx context.Context, p *search.Parameters) (*definition, error) {
	d := &definition{Fingerprint: p.Fingerprint()}
	if s.load == nil {
		return d, nil
	}
	from := []source{}
	loaded, err := s.load(func(yield func(fhir.Resource, error) bool) {
		for r, err := range s.stored(ctx, "SearchParameter") {
			if err == nil {
				from = append(from, source{r.ID, versionOf(&r)})
			}
			if !yield(r, err) {
				return
			}
		}
	})
	if err != nil {
		return nil, err
	}
	if d.is(loaded) {
		d.From = from
	}
	return d, nil
}

// versions are some resources of a type as they once were.
func (s *Store) versions(ctx context.Context, of string, from []source) iter.Seq2[fhir.Resource, error] {
	return func(yield func(fhir.Resource, error) bool) {
		current := map[string]fhir.Resource{}
		for r, err := range s.stored(ctx, of) {
			if err != nil {
				yield(fhir.Resource{}, err)
				return
			}
			current[r.ID] = r
		}
		for _, f := range from {
			r, ok := current[f.ID]
			if !ok || versionOf(&r) != f.Version {
				rec, found, err := one(ctx, newest(s.historyOf(of)), bson.D{{Key: "_id", Value: layout.HistoryID(f.ID, f.Version)}, {Key: "id", Value: f.ID}})
				if err == nil && (!found || rec.deleted) {
					err = errDocument
				}
				if err != nil {
					yield(fhir.Resource{}, err)
					return
				}
				r = rec.resource(of)
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

// Parameters are those that searches use now.
func (s *Store) Parameters() *search.Parameters { return s.state.Load().searched.Parameters }

// enterSearch is the state that a search goes by. The caller leaves it with searches.RUnlock.
func (s *Store) enterSearch() *state {
	for {
		st := s.state.Load()
		st.searches.RLock()
		if s.state.Load() == st {
			return st
		}
		st.searches.RUnlock()
	}
}

// switchTo makes this server go by another state, and returns when nothing goes by the one
// before any more.
func (s *Store) switchTo(next *state) {
	s.indexing.Lock()
	s.inserter.wait() // also for those that nobody waits for any more
	old := s.state.Load()
	s.state.Store(next)
	s.indexing.Unlock()
	// No new one comes: see enterSearch.
	timer := time.AfterFunc(writeTime, old.end)
	old.searches.Lock()
	timer.Stop()
	old.searches.Unlock()
	old.end()
}

const fixAlike = "run the same version of the program with the same search parameters on all servers of a database, and restart this one"

// Why a server does not do what it is asked for.
var (
	errOtherParameters error = &Fault{What: "the database is indexed by search parameters that this server does not know: it neither writes nor searches", Unavailable: true,
		Fix: fixAlike}
	errOthersToCome error = &Fault{What: "another server is indexing the database by search parameters that this one does not know: it does not write", Unavailable: true,
		Fix: fixAlike}
	errIncomplete error = &Fault{What: "the database is being indexed by other search parameters: it is not searched until that is done", Unavailable: true,
		Fix: "wait; the server that was started last tells in its log how far it is"}
	errOpening error = &Fault{What: "the store is being opened", Unavailable: true, Fix: "try again"}
	// errSwitched ends a search that goes by parameters that are taken out of use.
	errSwitched    error = &Fault{What: "the search took so long that its search parameters were taken out of use", Unavailable: true, Fix: "try again"}
	errOvertakenBy       = errors.New("another server has taken over")
)
