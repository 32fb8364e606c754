//go:build unix

package mongotest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// MongodVariable names the environment variable that says which mongod tests start.
const MongodVariable = "KILN_TEST_MONGOD"

// ErrNoMongod says that there is no mongod to run.
var ErrNoMongod = errors.New("no mongod: name one in " + MongodVariable + ", or put one into PATH")

// FindMongod gives the absolute path of mongod: the one that is named, else the one that KILN_TEST_MONGOD
// names, else the one in PATH. If none is named and none is there it is ErrNoMongod.
func FindMongod(named string) (string, error) {
	if named == "" {
		named = os.Getenv(MongodVariable)
	}
	if named == "" {
		path, err := exec.LookPath("mongod")
		if err != nil {
			return "", ErrNoMongod
		}
		return filepath.Abs(path)
	}
	path, err := exec.LookPath(named)
	if err != nil {
		return "", fmt.Errorf("mongod: %w: name the program itself, with -mongod or in %s", err, MongodVariable)
	}
	return filepath.Abs(path)
}

// MongodOptions are those of a Mongod.
type MongodOptions struct {
	// Path of the program, as FindMongod gives it.
	Path string
	// Standalone is a server without replication; the zero value is a replica set of one member.
	Standalone bool
}

// Mongod is a real MongoDB: a process of its own with a directory of its own, at a free port of
// 127.0.0.1, as a replica set of one member or as a server without replication. Its journal is on,
// as it is in production: what it has acknowledged it has after SIGKILL. Its methods must not be
// called at the same time, but for URI, Address and Ended.
type Mongod struct {
	options   MongodOptions
	directory string
	address   string
	process   *exec.Cmd
	ended     chan struct{} // closed when the process has
	why       error         // how it has; valid when ended is closed
}

const (
	startTime = time.Minute      // mongod may take to start
	stopTime  = 20 * time.Second // it may take to end
	attempts  = 3                // ports that may be taken by others in the moment between
)

// StartMongod starts a mongod and returns when it takes writes. Close ends it. It outlives ctx, which
// only ends the waiting. Its data are in the directory for temporary files, which TMPDIR names.
func StartMongod(ctx context.Context, o MongodOptions) (*Mongod, error) {
	directory, err := os.MkdirTemp("", "kiln-mongod-")
	if err != nil {
		return nil, fmt.Errorf("mongod: %w", err)
	}
	s := &Mongod{options: o, directory: directory}
	for attempt := 1; ; attempt++ {
		if s.address, err = freeAddress(); err == nil {
			err = s.Restart(ctx)
		}
		if err == nil {
			return s, nil
		}
		if attempt == attempts || !strings.Contains(s.said(), "Address already in use") {
			return nil, errors.Join(err, s.Close())
		}
	}
}

// freeAddress is one at which nobody listens now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("mongod: a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// Restart starts the process again after Kill, at the same address and with the same data, and
// returns when it takes writes.
func (s *Mongod) Restart(ctx context.Context) error {
	if err := s.begin(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := s.wait(ctx); err != nil {
		return errors.Join(err, s.Kill())
	}
	return nil
}

func (s *Mongod) begin() error {
	host, port, err := net.SplitHostPort(s.address)
	if err != nil {
		return fmt.Errorf("mongod: %w", err)
	}
	data := filepath.Join(s.directory, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("mongod: %w", err)
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("mongod: %w", err)
	}
	defer log.Close()
	args := []string{"--dbpath", data, "--bind_ip", host, "--port", port, "--nounixsocket", "--quiet", "--slowms", "1000",
		"--wiredTigerCacheSizeGB", "0.5", "--setParameter", "diagnosticDataCollectionEnabled=false"}
	if !s.options.Standalone {
		args = append(args, "--replSet", setName, "--oplogSize", "512")
	}
	process := exec.Command(s.options.Path, args...)
	process.Stdout, process.Stderr = log, log
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C of a terminal is for who uses it
	if err := process.Start(); err != nil {
		return fmt.Errorf("mongod does not start: %w", err)
	}
	ended := make(chan struct{})
	s.process, s.ended = process, ended
	go func() {
		s.why = process.Wait()
		close(ended)
	}()
	return nil
}

// wait returns when the server takes writes, and makes it a replica set before if it is to be one.
func (s *Mongod) wait(ctx context.Context) error {
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://" + s.address + "/?directConnection=true&serverSelectionTimeoutMS=500&connectTimeoutMS=500"))
	if err != nil {
		return fmt.Errorf("mongod: %w", err)
	}
	defer func() { _ = client.Disconnect(context.WithoutCancel(ctx)) }()
	initiated := s.options.Standalone
	for {
		var hello struct {
			Writable bool   `bson:"isWritablePrimary"`
			Set      string `bson:"setName"`
		}
		err := client.Database("admin").RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello)
		switch {
		case err == nil && hello.Writable:
			return nil
		case err == nil && hello.Set == "" && !initiated:
			members := bson.A{bson.D{{Key: "_id", Value: 0}, {Key: "host", Value: s.address}}}
			err = client.Database("admin").RunCommand(ctx, bson.D{{Key: "replSetInitiate", Value: bson.D{{Key: "_id", Value: setName}, {Key: "members", Value: members}}}}).Err()
			initiated = err == nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("mongod has ended (%v), and said:\n%s", s.why, s.said())
		case <-ctx.Done():
			return fmt.Errorf("mongod takes no writes: %w, and said:\n%s", errors.Join(ctx.Err(), err), s.said())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// URI is where a client finds the server, without a database name. The driver goes to this very
// address, and to none that the member tells it.
func (s *Mongod) URI() string {
	if s.options.Standalone {
		return "mongodb://" + s.address + "/?directConnection=true"
	}
	return "mongodb://" + s.address + "/?replicaSet=" + setName + "&directConnection=true"
}

// Address is the host and port of the server.
func (s *Mongod) Address() string { return s.address }

// Ended reports whether the process has ended by itself or by Kill, and what it said last.
func (s *Mongod) Ended() (said string, ended bool) {
	select {
	case <-s.ended:
		return s.said(), true
	default:
		return "", false
	}
}

// Kill ends the process at once, as SIGKILL does. Its data stay as they are.
func (s *Mongod) Kill() error {
	if err := s.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("mongod: kill: %w", err)
	}
	<-s.ended
	return nil
}

// Close ends the process in good order, or at once if it does not within 20 s, and removes its data.
func (s *Mongod) Close() error {
	var err error
	if s.process != nil {
		err = s.stop()
	}
	return errors.Join(err, os.RemoveAll(s.directory))
}

func (s *Mongod) stop() error {
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return errors.Join(fmt.Errorf("mongod: end: %w", err), s.Kill())
	}
	late := time.NewTimer(stopTime)
	defer late.Stop()
	select {
	case <-s.ended:
		return nil
	case <-late.C:
		return errors.Join(fmt.Errorf("mongod did not end within %s", stopTime), s.Kill())
	}
}

func (s *Mongod) log() string { return filepath.Join(s.directory, "log") }

const (
	logTail  = 1 << 20 // how much of the end of a log is read, in bytes
	logLine  = 1 << 10 // how much of one of its lines is told
	logLines = 12      // how many lines are told, and how many of what was fatal
)

// said is what mongod has logged last: what was fatal, and the end, without the frames of a backtrace.
func (s *Mongod) said() string {
	f, err := os.Open(s.log())
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > logTail {
		if _, err := f.Seek(-logTail, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, logTail))
	if err != nil {
		return err.Error()
	}
	var fatal, last []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		line = line[:min(len(line), logLine)]
		switch {
		case strings.Contains(line, `"msg":"Frame"`) || strings.Contains(line, `"msg":"BACKTRACE"`):
		case strings.Contains(line, `"s":"F"`) || strings.Contains(line, `"s":"E"`):
			fatal = append(fatal, line)
		default:
			last = append(last, line)
		}
	}
	fatal, last = fatal[:min(len(fatal), logLines)], last[max(0, len(last)-logLines):]
	return strings.Join(append(fatal, last...), "\n")
}
