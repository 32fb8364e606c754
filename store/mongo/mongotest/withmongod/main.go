//go:build unix

// Command withmongod runs a command with a MongoDB of its own, and ends it afterwards:
//
//	go run ./withmongod [-mongod PATH] [-replicaset=false] -- go test ./...
//
// The command finds the URI of MongoDB in KILN_TEST_MONGODB_URI and the path of mongod, to start more,
// in KILN_TEST_MONGOD; its exit code is that of withmongod. mongod is the one that -mongod names, else KILN_TEST_MONGOD, else the one in PATH; its
// data are in a directory for temporary files, which TMPDIR names, and are removed. Exit code 2: it
// was called wrongly; 3: there is no mongod, or it does not start.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/kiln-health/kiln/store/mongo/mongotest"
)

const (
	codeUsage     = 2
	codeNoMongoDB = 3
	codeInterrupt = 130
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	flags := flag.NewFlagSet("withmongod", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: withmongod [-mongod PATH] [-replicaset=false] -- COMMAND ARGUMENT...")
		flags.PrintDefaults()
	}
	named := flags.String("mongod", "", "the `path` of mongod; else $"+mongotest.MongodVariable+", else the one in PATH")
	replicaSet := flags.Bool("replicaset", true, "a replica set of one member, which has transactions and change streams")
	if err := flags.Parse(args); err != nil {
		return codeUsage
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return codeUsage
	}
	path, err := mongotest.FindMongod(*named)
	if err != nil {
		fmt.Fprintln(os.Stderr, "withmongod:", err)
		return codeNoMongoDB
	}
	// From here on nothing may end this process before mongod.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code, err := with(mongotest.MongodOptions{Path: path, Standalone: !*replicaSet}, signals, flags.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "withmongod:", err)
	}
	return code
}

// with runs a command while mongod does, and gives its exit code.
func with(o mongotest.MongodOptions, signals <-chan os.Signal, command []string) (code int, err error) {
	ctx, interrupt := context.WithCancel(context.Background())
	defer interrupt()
	var server *mongotest.Mongod
	started := make(chan error, 1)
	go func() {
		var err error
		server, err = mongotest.StartMongod(ctx, o)
		started <- err
	}()
	select {
	case err = <-started:
	case <-signals:
		interrupt()
		if err = <-started; err == nil {
			err = server.Close()
		}
		return codeInterrupt, err
	}
	if err != nil {
		return codeNoMongoDB, err
	}
	defer func() {
		if said, ended := server.Ended(); ended {
			err = errors.Join(err, fmt.Errorf("mongod has ended before the command, and said:\n%s", said))
			code = max(code, 1)
		}
		if failed := server.Close(); failed != nil {
			err, code = errors.Join(err, failed), max(code, 1)
		}
	}()
	return execute(command, []string{"KILN_TEST_MONGODB_URI=" + server.URI(), mongotest.MongodVariable + "=" + o.Path}, signals)
}

// patience is what a command has to end after a signal.
const patience = 30 * time.Second

// execute runs a command to its end. Signals are passed on to it.
func execute(command []string, environment []string, signals <-chan os.Signal) (int, error) {
	c := exec.Command(command[0], command[1:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.Env = append(os.Environ(), environment...)
	if err := c.Start(); err != nil {
		return codeUsage, err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	var late <-chan time.Time
	for {
		select {
		case err := <-ended:
			var exit *exec.ExitError
			switch {
			case err == nil:
				return 0, nil
			case errors.As(err, &exit) && exit.ExitCode() >= 0:
				return exit.ExitCode(), nil
			case errors.As(err, &exit):
				return codeInterrupt, fmt.Errorf("%s: %w", command[0], err)
			}
			return 1, err
		case s := <-signals:
			_ = c.Process.Signal(s) // it may have ended
			if late == nil {
				late = time.After(patience)
			}
		case <-late:
			_ = c.Process.Kill()
		}
	}
}
