package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/kiln-health/kiln/store"
)

func testCancelled(t *testing.T, s store.Store) {
	write(t, s, put("a", device("text")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Write(ctx, put("b", device("text"))); !errors.Is(err, context.Canceled) {
		t.Errorf("write: got %v", err)
	}
	if _, err := s.Read(t.Context(), key("Device", "b")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	if _, err := s.Search(ctx, parse(t, "Device?_total=accurate")); !errors.Is(err, context.Canceled) {
		t.Errorf("search: got %v", err)
	}
	if _, err := s.History(ctx, store.HistoryQuery{}); !errors.Is(err, context.Canceled) {
		t.Errorf("history: got %v", err)
	}
	if j, ok := optional[store.Journal](s); ok {
		if err := j.Keep(ctx, "inbox", "a", nil); !errors.Is(err, context.Canceled) {
			t.Errorf("keep: got %v", err)
		}
	}
}

func testClosed(t *testing.T, s store.Store) {
	write(t, s, put("a", device("text")))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("a second close: %v", err)
	}
	calls := map[string]func() error{
		"read":   func() error { _, err := s.Read(t.Context(), key("Device", "a")); return err },
		"write":  func() error { _, err := s.Write(t.Context(), put("b", device("text"))); return err },
		"search": func() error { _, err := s.Search(t.Context(), parse(t, "Device?")); return err },
		"history": func() error {
			_, err := s.History(t.Context(), store.HistoryQuery{Type: "Device", ID: "a"})
			return err
		},
		"history of everything": func() error { _, err := s.History(t.Context(), store.HistoryQuery{}); return err },
	}
	if j, ok := optional[store.Journal](s); ok {
		calls["keep"] = func() error { return j.Keep(t.Context(), "inbox", "a", nil) }
		calls["fetch"] = func() error { _, err := j.Fetch(t.Context(), "inbox", "a"); return err }
		calls["entries"] = func() error { _, err := j.Entries(t.Context(), "inbox", "", 1); return err }
		calls["remove"] = func() error { return j.Remove(t.Context(), "inbox", "a") }
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s: got %v, want that the store is closed", name, err)
		}
	}
}
