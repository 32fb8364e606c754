package cmd

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"
)

func (p *program) config() *cobra.Command {
	return &cobra.Command{
		Use:     "config",
		Short:   "Print a commented configuration with every key and its default",
		Example: "  kiln config > kiln.yaml",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := p.out.Write(sampleConfig)
			return err
		},
	}
}

func (p *program) checkConfig() *cobra.Command {
	return &cobra.Command{
		Use:     "check-config FILE",
		Short:   "Check a configuration file: unknown keys, wrong values, zones, patients",
		Example: "  kiln check-config kiln.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := readConfig(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(p.out, "%s is right: it listens on %s, keeps resources in %s, and knows %d sources\n", args[0], c.Listen, shownStore(c.Store), len(c.Sources))
			return err
		},
	}
}

// readConfig is loadConfig with the exit codes of a command.
func readConfig(file string) (*Config, error) {
	c, err := loadConfig(file)
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, noRun("%w", err)
	}
	if err != nil {
		return nil, failed("%w", err)
	}
	return c, nil
}
