package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kiln-health/kiln/store/embedded"
)

func (p *program) verify() *cobra.Command {
	var file, storeName string
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "Check all of an embedded store or a backup",
		Long: `Read all of an embedded store: every version of every resource, and every key of every index,
which must be those that the resources should have. It changes nothing. A backup is a store:
name its directory. If a server has the store open, it does it, and goes on serving.

What is wrong is listed by kind, type and number, without an id or a value.

Exit codes: 0 all is well · 1 there are faults · 3 could not run`,
		Example: `  kiln verify --store embedded:/var/lib/kiln
  kiln verify --store embedded:/backup/kiln-2026-05-11 --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			name, directory, err := embeddedDirectory(file, storeName)
			if err != nil {
				return err
			}
			report, err := p.verifyStore(c.Context(), directory)
			if err != nil {
				return noRun("%w", err)
			}
			return p.printReport(name, &report, asJSON)
		},
	}
	storeFlags(c, &file, &storeName)
	c.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	return c
}

// verifyStore lets the server verify its store if there is one.
func (p *program) verifyStore(ctx context.Context, directory string) (embedded.Report, error) {
	progress, done := p.stages()
	defer done()
	e, err := askControl(ctx, directory, "verify", controlRequest{}, progress)
	if errors.Is(err, errNoServer) {
		return embedded.VerifyDir(ctx, directory, embeddedOptions(p.logger(LogConfig{Level: "warn"})), progress)
	}
	if err == nil && e.Report == nil {
		err = errors.New("the server that has the store open gives another answer")
	}
	if err != nil {
		return embedded.Report{}, err
	}
	return *e.Report, nil
}

func (p *program) printReport(name string, r *embedded.Report, asJSON bool) error {
	if asJSON {
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return noRun("%w", err)
		}
		fmt.Fprintf(p.out, "%s\n", text)
	} else {
		p.printFaults(r)
		fmt.Fprintf(p.out, "%s: %d resources, %d that are deleted, %d versions, %d index keys, %d payloads kept\n",
			name, r.Resources, r.Deleted, r.Versions, r.Keys, r.Entries)
	}
	if r.Outdated {
		fmt.Fprintln(p.err, "  the index is one of another program or of other search parameters, and was not compared: it is made anew when the store is opened")
	}
	if len(r.Faults) > 0 {
		return failed("the store has faults\n  = fix: restore it from a backup")
	}
	return nil
}
