package store

import (
	"errors"
	"testing"
	"time"
)

func TestAStoreClosesWhenItsCallsHaveEndedAndLetsNoOtherIn(t *testing.T) {
	var g Gate
	for range 2 {
		if err := g.Enter(); err != nil {
			t.Fatal(err)
		}
	}
	failed, released := errors.New("failed"), 0
	closed := make(chan error, 1)
	go func() { closed <- g.Close(func() error { released++; return failed }) }()
	g.Leave()
	select {
	case <-closed:
		t.Error("it was closed while a call was running")
	case <-time.After(20 * time.Millisecond):
	}
	g.Leave()
	if err := <-closed; err != failed {
		t.Errorf("got %v", err)
	}
	if err := g.Enter(); err != ErrClosed {
		t.Errorf("a call after Close: got %v", err)
	}
	if err := g.Close(func() error { released++; return failed }); err != nil || released != 1 {
		t.Errorf("a second Close: got %v, released %d times", err, released)
	}
}
