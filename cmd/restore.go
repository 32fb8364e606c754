package cmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kiln-health/kiln/store/embedded"
)

func (p *program) restore() *cobra.Command {
	var file, storeName string
	c := &cobra.Command{
		Use:   "restore BACKUP",
		Short: "Make a store of a backup",
		Long: `Copy a backup that kiln backup has made into the directory of a store, and verify all of it
there. The backup stays as it is. The directory must be empty or absent: a store that is there is
never overwritten. It is only called as you say once all of it has been verified; until then its
name ends in .partial.

Exit codes: 0 restored · 1 the backup has faults, which are listed · 3 could not run`,
		Example: `  kiln restore /backup/kiln-2026-05-11 --store embedded:/var/lib/kiln`,
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			name, directory, err := embeddedDirectory(file, storeName)
			if err != nil {
				return err
			}
			options := embeddedOptions(p.logger(LogConfig{Level: "warn"}))
			progress, done := p.stages()
			report, err := embedded.Restore(c.Context(), args[0], directory, options, progress)
			done()
			if len(report.Faults) > 0 {
				p.printFaults(&report)
				return failed("the backup %s has faults, and nothing was restored\n  = fix: use another backup", args[0])
			}
			if err != nil {
				return noRun("%w", err)
			}
			_, err = fmt.Fprintf(p.out, "%s is restored from %s: %d resources, %d versions\n", name, args[0], report.Resources, report.Versions)
			return err
		},
	}
	storeFlags(c, &file, &storeName)
	return c
}

// printFaults lists what is wrong with a store.
func (p *program) printFaults(r *embedded.Report) {
	for _, f := range r.Faults {
		fmt.Fprintln(p.out, f)
	}
	if r.More > 0 {
		fmt.Fprintf(p.out, "%d other faults\n", r.More)
	}
}
