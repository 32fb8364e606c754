// Package store is how resources are kept: what every store promises. The embedded one
// needs no server; storetest is the test that all of them pass.
package store

import (
	"context"
	"errors"
	"fmt"

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
	// Page.Next tells whether there are more.
	Search(ctx context.Context, q search.Query) (Page, error)
	// History gives versions of one resource, newest first, deletions among them.
	// ErrNotFound if there never was one. The page may be shorter than asked for, as in Search.
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
	// If is the precondition; the zero value is none.
	If Condition
}

// Condition is what must hold for a change to be applied, checked in the same step.
type Condition struct {
	// Version: the current version must be this one. http://hl7.org/fhir/R4/http.html#concurrency
	Version string
	// Absent: there must be no current version. A deleted resource counts as absent.
	Absent bool
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

// HistoryQuery asks for the versions of one resource. Before is the version at which the
// previous page ended, "" for the first page.
type HistoryQuery struct {
	Type, ID string
	Count    int // 0 is search.DefaultCount
	Before   string
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

// What a caller branches on.
var (
	ErrNotFound = errors.New("not found")
	ErrGone     = errors.New("deleted")
	ErrConflict = errors.New("conflict")
	ErrClosed   = errors.New("the store is closed")
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
