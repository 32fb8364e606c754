package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// logger is how Pebble talks to the outside.
type logger struct {
	log     *slog.Logger
	fatal   func(error)
	running atomic.Bool // false while Open runs
	failure atomic.Pointer[failure]
	// corrupt counts blocks that did not have their checksum.
	corrupt atomic.Int64
}

type failure struct{ err error }

var _ pebble.Logger = (*logger)(nil)

// Infof drops it: Pebble tells every flush.
func (l *logger) Infof(string, ...any) {}

// Errorf logs it.
func (l *logger) Errorf(format string, args ...any) {
	l.record(slog.LevelError, "embedded: pebble: "+fmt.Sprintf(format, args...))
}

// Fatalf is called where Pebble cannot go on. While the store is opened, Open fails;
// after that the process has to end, since Pebble's own goroutine would go on with a
// state that is not on disk.
func (l *logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf("embedded: the database cannot go on: "+format, args...)
	l.record(slog.LevelError, err.Error())
	if !l.running.Load() {
		l.failure.CompareAndSwap(nil, &failure{err})
		return
	}
	if l.fatal != nil {
		l.fatal(err)
	}
	panic(err)
}

// opened ends the time in which Fatalf makes Open fail.
func (l *logger) opened() error {
	l.running.Store(true)
	if f := l.failure.Load(); f != nil {
		return f.err
	}
	return nil
}

func (l *logger) record(level slog.Level, message string, args ...any) {
	if l.log != nil {
		l.log.Log(context.Background(), level, message, args...)
	}
}

func (l *logger) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			l.record(slog.LevelError, "embedded: work in the background failed and is tried again", "error", err)
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			l.corrupt.Add(1)
			l.record(slog.LevelError, "embedded: a file of the store is damaged: restore it from a backup", "file", info.Path)
		},
		DiskSlow: func(info pebble.DiskSlowInfo) {
			l.record(slog.LevelWarn, "embedded: the disk is slow", "file", info.Path, "took", info.Duration)
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			l.record(slog.LevelWarn, "embedded: writes wait for the disk", "reason", info.Reason)
		},
	}
}

// hideKey prints the kind and the length of a key.
func hideKey(key []byte) fmt.Formatter { return hidden(key) }

type hidden []byte

func (k hidden) Format(f fmt.State, _ rune) {
	if len(k) == 0 {
		fmt.Fprint(f, "empty key")
		return
	}
	fmt.Fprintf(f, "%c key of %d bytes", k[0], len(k))
}
