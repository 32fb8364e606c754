package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/kiln-health/kiln/store/embedded"
)

// A server that runs has the lock of its embedded store. Other verbs reach the store through it:
// a socket in the directory of the store, which nobody but the same user can open, takes
//
//	POST /backup {"directory":"/absolute/path"}
//	POST /verify {}
//
// and answers with controlEvents, one in a line, of which the last one is the result.
const controlSocket = "control.sock"

// Limits of a request to the socket.
const (
	maxControlBody   = 16 << 10
	maxControlHeader = 16 << 10
	maxSocketPath    = 100 // what every system takes; Linux takes 107 bytes
	controlEnding    = 5 * time.Second
)

// controlRequest is the body of a request.
type controlRequest struct {
	Directory string `json:"directory,omitempty"`
}

// controlEvent is a line of an answer: progress, or one of the results.
type controlEvent struct {
	What   string           `json:"what,omitempty"`
	Done   int64            `json:"done,omitempty"`
	Total  int64            `json:"total,omitempty"`
	Copied *embedded.Copied `json:"copied,omitempty"`
	Report *embedded.Report `json:"report,omitempty"`
	Error  string           `json:"error,omitempty"`
}

// controlled is what the socket does with a store.
type controlled interface {
	Backup(ctx context.Context, dir string) (embedded.Copied, error)
	Verify(ctx context.Context, progress func(what string, done, total int64)) (embedded.Report, error)
}

var _ controlled = (*embedded.Store)(nil)

// control serves the socket of a store that is in a directory of its own, and of no other. The
// caller has the store open, and calls stop before it is closed. Without a socket the server does
// all else, so that what goes wrong is only logged.
func (p *program) control(s any, storeName string, logger *slog.Logger) (stop func()) {
	kind, directory, err := parseStore(storeName)
	c, ok := s.(controlled)
	if err != nil || kind != "embedded" || !ok {
		return func() {}
	}
	stop, err = serveControl(c, directory, logger)
	if err != nil {
		logger.Warn("kiln backup and kiln verify cannot reach this server", "error", err)
		return func() {}
	}
	return stop
}

func serveControl(s controlled, directory string, logger *slog.Logger) (stop func(), err error) {
	l, err := listenControl(directory)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var verifying sync.Mutex
	mux := http.NewServeMux()
	mux.HandleFunc("POST /backup", func(w http.ResponseWriter, r *http.Request) {
		request, ok := readControl(w, r)
		if !ok {
			return
		}
		if !filepath.IsAbs(request.Directory) || strings.ContainsRune(request.Directory, 0) {
			http.Error(w, "the directory must be an absolute path", http.StatusBadRequest)
			return
		}
		logger.Info("making a backup", "directory", request.Directory)
		answer := newControlAnswer(w)
		copied, err := s.Backup(r.Context(), filepath.Clean(request.Directory))
		if err != nil {
			logger.Error("the backup failed", "error", err)
			answer.result(controlEvent{Error: err.Error()})
			return
		}
		logger.Info("made a backup", "directory", request.Directory, "files", copied.Files, "bytes", copied.Bytes)
		answer.result(controlEvent{Copied: &copied})
	})
	mux.HandleFunc("POST /verify", func(w http.ResponseWriter, r *http.Request) {
		if _, ok := readControl(w, r); !ok {
			return
		}
		answer := newControlAnswer(w)
		if !verifying.TryLock() {
			answer.result(controlEvent{Error: "the store is being verified already: wait until that is done"})
			return
		}
		defer verifying.Unlock()
		report, err := s.Verify(r.Context(), answer.progress)
		if err != nil {
			answer.result(controlEvent{Error: err.Error()})
			return
		}
		if err := report.Err(); err != nil {
			logger.Error("the store was verified", "error", err)
		}
		answer.result(controlEvent{Report: &report})
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: maxControlHeader,
		BaseContext: func(net.Listener) context.Context { return ctx }, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			logger.Warn("kiln backup and kiln verify can no longer reach this server", "error", err)
		}
	}()
	return sync.OnceFunc(func() {
		_ = os.Remove(filepath.Join(directory, controlSocket)) // the next server replaces it, if it stays
		cancel()
		grace, done := context.WithTimeout(context.Background(), controlEnding)
		defer done()
		if server.Shutdown(grace) != nil {
			_ = server.Close()
		}
		<-ended
	}), nil
}

// listenControl makes the socket: elsewhere first, so that nobody else can open it at any moment, and
// one that a killed server left is replaced. The caller has the lock of the store.
func listenControl(directory string) (*net.UnixListener, error) {
	inner, err := os.MkdirTemp(directory, "control.")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(inner)
	short, clean, err := shortPath(inner)
	if err != nil {
		return nil, err
	}
	defer clean()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(short, controlSocket), Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	made := filepath.Join(inner, controlSocket)
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, filepath.Join(directory, controlSocket))); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// shortPath is a name of a directory that is short enough for the address of a socket in it.
func shortPath(directory string) (short string, clean func(), err error) {
	if len(filepath.Join(directory, controlSocket)) <= maxSocketPath {
		return directory, func() {}, nil
	}
	absolute, err := filepath.Abs(directory)
	if err != nil {
		return "", nil, err
	}
	temporary, err := os.MkdirTemp("", "kiln")
	if err != nil {
		return "", nil, err
	}
	clean = func() { _ = os.RemoveAll(temporary) } // a link, and nothing else
	short = filepath.Join(temporary, "d")
	if len(filepath.Join(short, controlSocket)) > maxSocketPath {
		clean()
		return "", nil, fmt.Errorf("the name of the directory is too long for a socket in it, and so is that of %s: choose a shorter TMPDIR", os.TempDir())
	}
	if err := os.Symlink(absolute, short); err != nil {
		clean()
		return "", nil, err
	}
	return short, clean, nil
}

// readControl reads the body of a request, or answers that it is none.
func readControl(w http.ResponseWriter, r *http.Request) (controlRequest, bool) {
	var request controlRequest
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxControlBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&request); err != nil {
		http.Error(w, "the body must be a JSON object with what the request needs", http.StatusBadRequest)
		return request, false
	}
	return request, true
}

// controlAnswer writes events as they come.
type controlAnswer struct {
	w    http.ResponseWriter
	last time.Time
}

func newControlAnswer(w http.ResponseWriter) *controlAnswer {
	w.Header().Set("Content-Type", "application/x-ndjson")
	return &controlAnswer{w: w}
}

// progress is told often, and tells some of it.
func (a *controlAnswer) progress(what string, done, total int64) {
	if time.Since(a.last) > 200*time.Millisecond {
		a.result(controlEvent{What: what, Done: done, Total: total})
		a.last = time.Now()
	}
}

func (a *controlAnswer) result(e controlEvent) {
	// Who no longer listens is not told.
	_ = json.NewEncoder(a.w).Encode(e)
	_ = http.NewResponseController(a.w).Flush()
}

// errNoServer: no server has the store open, or none that has a socket.
var errNoServer = errors.New("no server runs on the store")

// askControl asks the server that has the store of a directory open, and returns its result. It is
// errNoServer if there is none.
func askControl(ctx context.Context, directory, what string, request controlRequest, progress func(what string, done, total int64)) (controlEvent, error) {
	if info, err := os.Stat(filepath.Join(directory, controlSocket)); err != nil || info.Mode().Type() != fs.ModeSocket {
		return controlEvent{}, errNoServer
	}
	short, clean, err := shortPath(directory)
	if err != nil {
		return controlEvent{}, err
	}
	defer clean()
	body, err := json.Marshal(request)
	if err != nil {
		return controlEvent{}, err
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(short, controlSocket))
	}}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://kiln/"+what, bytes.NewReader(body))
	if err != nil {
		return controlEvent{}, err
	}
	answer, err := (&http.Client{Transport: transport}).Do(r)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return controlEvent{}, errNoServer
	}
	if err != nil {
		return controlEvent{}, fmt.Errorf("the server that has the store open does not answer: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10)) // the status says enough
		return controlEvent{}, fmt.Errorf("the server that has the store open refuses: %s: %s", answer.Status, strings.TrimSpace(string(said)))
	}
	const most = 64 << 20
	for d := json.NewDecoder(io.LimitReader(answer.Body, most)); ; {
		var e controlEvent
		if err := d.Decode(&e); err != nil {
			return controlEvent{}, fmt.Errorf("the server that has the store open has ended before it was done: %w", err)
		}
		switch {
		case e.Error != "":
			return controlEvent{}, errors.New(e.Error)
		case e.Copied != nil || e.Report != nil:
			return e, nil
		default:
			progress(e.What, e.Done, e.Total)
		}
	}
}

// embeddedOptions are those of a store that a verb uses for itself.
func embeddedOptions(logger *slog.Logger) *embedded.Options {
	return &embedded.Options{Logger: logger, Existing: true, Load: storedParameters}
}

// embeddedDirectory is where a store is that has a directory of its own. It is that of --store, of the
// configuration, or the default.
func embeddedDirectory(configFile, storeName string) (name, directory string, err error) {
	config, err := readConfig(configFile)
	if err != nil {
		return "", "", err
	}
	if storeName != "" {
		config.Store = storeName
	}
	kind, directory, err := parseStore(config.Store)
	if err != nil {
		return "", "", &failure{ExitUsage, fmt.Errorf("--store: %w", err)}
	}
	if kind != "embedded" {
		return "", "", &failure{ExitUsage, fmt.Errorf("a %s store has no directory that this verb could work on\n  = fix: name one with --store embedded:DIRECTORY; a database has tools of its own, and kiln export works with every store", kind)}
	}
	return config.Store, directory, nil
}

// stages shows how far something is, on a terminal. The bar is gone when done is called.
func (p *program) stages() (progress func(what string, done, total int64), done func()) {
	if file, ok := p.err.(*os.File); !ok || !isTerminal(file) {
		return func(string, int64, int64) {}, func() {}
	}
	var bar *progressbar.ProgressBar
	stage := ""
	progress = func(what string, n, total int64) {
		if bar == nil || what != stage {
			if bar != nil {
				_ = bar.Finish()
			}
			stage = what
			options := []progressbar.Option{progressbar.OptionSetWriter(p.err), progressbar.OptionSetDescription(what),
				progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100 * time.Millisecond)}
			if what == embedded.RestoringBytes {
				options = append(options, progressbar.OptionShowBytes(true))
			}
			bar = progressbar.NewOptions64(total, options...)
		}
		bar.ChangeMax64(total)
		_ = bar.Set64(n) // a bar that cannot be drawn stops nothing
	}
	return progress, func() {
		if bar != nil {
			_ = bar.Finish()
		}
	}
}

// isTerminal reports whether somebody may be looking.
func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// megabytes is a size for people.
func megabytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
