// Package store is how resources are kept: what every store promises, and what they all do in
// the same way. The embedded one needs no server; storetest is the test that all of them pass.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// Store keeps FHIR resources with all their versions. It may be used from any number of
// goroutines. What a method has returned without an error survives kill -9.
type Store interface {
	// Read is the version key.Version, or the current one. ErrNotFound if there never was
	// such a resource or version; ErrGone, wrapped in a *GoneError, if it is deleted.
	Read(ctx context.Context, key fhir.Key) (fhir.Resource, error)
	// Write applies all changes or none, in one durable step, and returns the resulting
	// versions in the order of the changes. A put of the content that is already current
	// makes no new version: the current one is returned, with Unchanged. Two changes of one
	// resource in one write are an error. ErrConflict, as *ConflictError, if a precondition fails.
	// After an error that ended the wait for the disk or the network, the write may or may not
	// be found later, as a whole.
	Write(ctx context.Context, changes ...Change) ([]Result, error)
	// Search gives the page of q.Count matches that follows q.After, in the order of q.Sort,
	// all from one state of the store. The page is shorter where its resources are large:
	// Page.Next tells whether there are more. A store may keep the state of the first page for a
	// while, and give the pages that follow from it; else they are of the newest one, and only a
	// resource whose own place in the order has changed may come twice or not.
	Search(ctx context.Context, q search.Query) (Page, error)
	// History gives versions of one resource, of a type, or of all types, newest first,
	// deletions among them. ErrNotFound if one resource was asked for and there never was
	// one. Those of many resources are in the order of lastUpdated, and equals in one that
	// never changes, newest first within a resource: pages that follow each other have
	// every version that was there at the first of them exactly once. What is written
	// meanwhile comes before the first page, or once where its lastUpdated puts it, if the
	// clock goes back or writes overlap. The page may be shorter than asked for, as in Search.
	History(ctx context.Context, q HistoryQuery) (Page, error)
	// Close waits for running calls and releases the store. A second Close does nothing.
	Close() error
}

// Change is one resource to be put or deleted. JSON of a put is compact, as fhir.Parse
// gives it: a resource without duplicate names whose resourceType is Key.Type; id,
// meta.versionId and meta.lastUpdated are set by the store. Key.Version is ignored. To
// delete what is not there is no error and makes no version: its result is Deleted and
// Unchanged, with the version that deleted it, or none if there never was one.
type Change struct {
	fhir.Key
	Delete bool
	JSON   []byte
	// Terms are the search terms of JSON, if the caller has them already, as Parameters find
	// them: nil for those that the store was opened with. Nil, or the terms of other parameters
	// than the store has by now, lets the store find them.
	Terms      *search.Terms
	Parameters *search.Parameters
	// If is the precondition; the zero value is none.
	If Condition
}

// Condition is what must hold for a change to be applied, checked in the same step.
type Condition struct {
	// Version: the current version must be this one. http://hl7.org/fhir/R4/http.html#concurrency
	Version string
	// Absent: there must be no current version. A deleted resource counts as absent.
	Absent bool
	// None: no current resource may match this search, else ErrMatched, as *MatchedError. Of
	// any number of writers whose resources match each other's searches one at most creates
	// its resource; the others wait for it. A write without this condition is not waited
	// for. Within a write the changes count one after the other: what an earlier one puts
	// may match, and what it replaces or deletes does not. Count, Sort, After, Total and
	// Include of the search do not matter.
	// http://hl7.org/fhir/R4/http.html#ccreate
	None *search.Query
}

// Result is what became of a change. LastUpdated is never before that of the version
// that was replaced.
type Result struct {
	fhir.Resource
	// Created: a put, and there was no current version before. Unchanged: nothing was written.
	Created, Unchanged bool
}

// Page is a part of a result.
type Page struct {
	Resources []fhir.Resource
	// Next is where the next page begins, nil at the end. Of a history, its ID is the
	// HistoryQuery.Before of the next page.
	Next *search.Cursor
	// Total is the number of all matches if it was asked for, else -1. Of a history it is the
	// number of versions, or -1.
	Total int
}

// HistoryQuery asks for the versions of one resource, of all resources of a type if ID is
// "", or of all resources if Type is "", too.
type HistoryQuery struct {
	Type, ID string
	Count    int // 0 is search.DefaultCount
	// Before is where the previous page ended, Page.Next.ID, and "" for the first page. Of one
	// resource it is a version, of many a Place. What is no such place is an error, ErrNotFound: ErrNoPlace.
	Before string
	// Since: only versions of this time or later; zero is all.
	Since time.Time
	// CurrentFrom and CurrentTo: only versions that were current, as a deletion is, too, at some
	// moment from the one until right before the other; if both are zero, all. A version is
	// current until right before the lastUpdated of its successor, so one whose successor has the
	// same time never was. A zero CurrentFrom is the beginning of time, a zero CurrentTo its end.
	CurrentFrom, CurrentTo time.Time
}

// Journal is an optional interface of a Store: shelves of payloads that are not resources
// yet, durable like everything else. Ingest keeps its inbox and its quarantine there.
type Journal interface {
	// Keep writes an entry, replacing one of the same shelf and id. Durable when it returns.
	Keep(ctx context.Context, shelf, id string, entry []byte) error
	// Fetch reads an entry; ErrNotFound if there is none.
	Fetch(ctx context.Context, shelf, id string) ([]byte, error)
	// Entries lists at most limit ids of a shelf that follow after, in order.
	Entries(ctx context.Context, shelf, after string, limit int) ([]string, error)
	// Remove takes an entry away. It may come back after a crash: removal need not be durable.
	Remove(ctx context.Context, shelf, id string) error
}

// Explainer is an optional interface of a Store that can tell how it answers a search.
type Explainer interface {
	// Explain answers the search, of which it keeps nothing but the way that led there.
	Explain(ctx context.Context, q search.Query) (Plan, error)
}

// Plan is how a search was answered. It names parameters and numbers, never a value.
type Plan struct {
	Type     string   // of the resources that are searched
	Indexes  []string // what led to the candidates, for people
	Ranges   int      // parts of the indexes that were read
	Keys     int      // of the indexes
	Read     int      // resources, to decide what the indexes do not
	Found    int      // on the page
	Residual []string // the clauses that were decided by reading resources
	Order    string   // "index" if the index is in the order of the query, "sorted" if all candidates were read first
	Links    []Plan   // of the searches that chains and _has led through
}

// Reindexer is an optional interface of a Store whose search parameters can be changed
// while it is used.
type Reindexer interface {
	// Reindex makes the index that the parameters want, and returns when searches use it.
	// Until then they use the one that there was, and a search by a new parameter is an error.
	// progress, if it is not nil, is told how many resources are done, from one goroutine.
	// One Reindex runs at a time. If it fails or ctx ends, everything is as before.
	Reindex(ctx context.Context, p *search.Parameters, progress func(done, total int)) error
	// Parameters are those that searches use now. They may become others without a Reindex of this
	// Store, where several share what is stored.
	Parameters() *search.Parameters
}

// Watcher is an optional interface of a Store that tells what is written to it, by whom ever.
type Watcher interface {
	// Watch calls each, from one goroutine, with the versions that are written, deletions among
	// them: every version that is acknowledged after started was called is told once, and those
	// of one resource in their order. It returns when ctx ends, when each fails, or when the store
	// is closed. ErrMissed says that each was too slow, or the connection was lost for too long:
	// what was written since the last version that was told is in the History.
	Watch(ctx context.Context, started func(), each func(versions []fhir.Resource) error) error
}

// Archive is an optional interface of a Store that all of it can be taken out of and put into,
// with the versions and times that it has.
type Archive interface {
	// Export calls each with every version, deletions among them, in the order of type, id and
	// version number, behind the resource or version that after names; the zero Key is the
	// beginning. What is written meanwhile may be there or not. The JSON is valid during the call.
	Export(ctx context.Context, after fhir.Key, each func(version fhir.Resource) error) error
	// Import adds versions as they are, in one durable step or several. Those of one resource
	// come in their order. One that is there already, byte for byte, is passed over, and a
	// version that is there with other content is a *ConflictError. A resource whose newest
	// version is imported has that as its current one. It tells how many were new.
	Import(ctx context.Context, versions []fhir.Resource) (added int, err error)
}

// Monitored is an optional interface of a Store that tells how it is.
type Monitored interface {
	// Check tells why the store cannot do its work, in words for who runs it, or nil.
	Check(ctx context.Context) error
	// Metrics are the numbers that an operator watches. They cost little.
	Metrics() []Metric
}

// Metric is a number of a store. Its name and help are as Prometheus wants them, without the
// name of the program: a Counter ends in _total and only ever grows. A Label, if it has one, is
// name and value; the value comes from a small set and is never of patient data.
type Metric struct {
	Name, Help string
	Label      [2]string
	Counter    bool
	Value      float64
}

// What a caller branches on.
var (
	ErrNotFound = errors.New("not found")
	ErrGone     = errors.New("deleted")
	ErrConflict = errors.New("conflict")
	ErrMatched  = errors.New("there is a match")
	ErrMissed   = errors.New("versions were written that could not be told")
	// ErrUnavailable: nothing is wrong with the request, and the same one may succeed later.
	// What was to be written may be found later all the same.
	ErrUnavailable = errors.New("the store cannot be reached")
	ErrClosed      = errors.New("the store is closed")
)

// GoneError tells which version deleted the resource. It is ErrGone. Its text, like that of
// ConflictError, does not have the id, which may be that of a patient.
type GoneError struct{ Resource fhir.Resource }

func (e *GoneError) Error() string { return "the " + e.Resource.Type + " was deleted" }
func (e *GoneError) Unwrap() error { return ErrGone }

// ConflictError tells why a precondition failed. It is ErrConflict. Current is "" if there
// is no current version.
type ConflictError struct {
	Key     fhir.Key
	If      Condition
	Current string
}

func (e *ConflictError) Error() string {
	if e.If.Absent {
		return fmt.Sprintf("the %s is there already, as version %s", e.Key.Type, e.Current)
	}
	if e.Current == "" {
		return fmt.Sprintf("the %s has no current version, but another was expected", e.Key.Type)
	}
	return fmt.Sprintf("the %s is at version %s, but another was expected", e.Key.Type, e.Current)
}
func (e *ConflictError) Unwrap() error { return ErrConflict }

// MatchedError tells which resources kept a change with the condition None from being
// applied. It is ErrMatched.
type MatchedError struct {
	Change int // the index of the change
	// Matches are two at most: more make no difference. One may be what an earlier change of
	// the same write would have made, which is not stored.
	Matches []fhir.Resource
}

func (e *MatchedError) Error() string { return "a resource matches the condition of the change" }
func (e *MatchedError) Unwrap() error { return ErrMatched }
