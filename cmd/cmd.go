// Package cmd is the kiln program as a library: Main with a list of adapters is the
// whole program, so that a device maker's binary is five lines. One file is one verb.
//
// Answers go to standard output, the conversation to standard error.
package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	// Zones must resolve on machines that have no zone database, and in an empty container.
	_ "time/tzdata"

	"github.com/kiln-health/kiln/adapters"
)

// The exit codes of every verb.
const (
	ExitOK     = 0 // done
	ExitFailed = 1 // it ran, and the answer is no: a payload that cannot be converted, a wrong configuration
	ExitUsage  = 2 // the command line makes no sense
	ExitNoRun  = 3 // it could not run: no file, no server, no store
)

// failure is an error with its exit code.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func failed(format string, args ...any) error {
	return &failure{ExitFailed, fmt.Errorf(format, args...)}
}
func noRun(format string, args ...any) error {
	return &failure{ExitNoRun, fmt.Errorf(format, args...)}
}

// Main runs the program with the arguments of the process and returns its exit code.
func Main(list ...adapters.Adapter) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, list...)
}

// program is what the verbs share.
type program struct {
	registry *adapters.Registry
	in       io.Reader
	out, err io.Writer
}

func run(ctx context.Context, args []string, in io.Reader, out, stderr io.Writer, list ...adapters.Adapter) int {
	registry, err := adapters.NewRegistry(list...)
	if err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return ExitNoRun
	}
	p := &program{registry, in, out, stderr}
	root := &cobra.Command{
		Use:   "kiln",
		Short: "Device payloads in, FHIR out",
		Long: `Kiln converts the payloads of medical devices into FHIR R4 Observations and Devices,
keeps them, and serves them through a FHIR REST API.

Exit codes: 0 done · 1 the answer is no (a payload that cannot be converted, a wrong
configuration) · 2 wrong usage · 3 could not run (no file, no server, no store).`,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(stderr)
	root.AddCommand(p.serve(), p.convert(), p.send(), p.validate(), p.backup(), p.restore(), p.verify(), p.export(), p.importVerb(), p.load(), p.adapter(), p.checkConfig(), p.config(), p.version())
	ran, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitOK
	}
	fmt.Fprintln(stderr, "error:", err)
	if f, ok := errors.AsType[*failure](err); ok {
		return f.code
	}
	fmt.Fprintf(stderr, "usage: %s\n", ran.UseLine())
	return ExitUsage
}
