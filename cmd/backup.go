package cmd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kiln-health/kiln/store/embedded"
)

func (p *program) backup() *cobra.Command {
	var file, storeName string
	c := &cobra.Command{
		Use:   "backup DIRECTORY",
		Short: "Copy the embedded store, while the server runs",
		Long: `Copy the embedded store into a directory that does not exist yet. All that was acknowledged
before is in it, and of what is written meanwhile whole writes or nothing.

If a server has the store open, it makes the backup, and goes on serving. On the file system of
the store a backup is made of links: it is quick, and takes space only as the store changes. To
survive the disk, make it on another one, or copy it there.

A directory is only called as you say once it is complete; until then its name ends in .partial.
Check it with kiln verify --store embedded:DIRECTORY, and bring it back with kiln restore.`,
		Example: `  kiln backup /backup/kiln-2026-05-11
  kiln backup --store embedded:/var/lib/kiln /backup/today`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			name, directory, err := embeddedDirectory(file, storeName)
			if err != nil {
				return err
			}
			to, err := filepath.Abs(args[0])
			if err != nil {
				return noRun("%w", err)
			}
			copied, by, err := p.makeBackup(c.Context(), directory, to)
			if err != nil {
				return noRun("%w", err)
			}
			_, err = fmt.Fprintf(p.out, "%s is backed up to %s by %s: %d files, %s\n", name, args[0], by, copied.Files, megabytes(copied.Bytes))
			return err
		},
	}
	storeFlags(c, &file, &storeName)
	return c
}

func storeFlags(c *cobra.Command, file, storeName *string) {
	c.Flags().StringVar(file, "config", "", "configuration file of the server; see `kiln config`")
	c.Flags().StringVar(storeName, "store", "", "embedded:DIRECTORY (default embedded:./kiln-data)")
}

// makeBackup lets the server make the backup if there is one, and tells who made it.
func (p *program) makeBackup(ctx context.Context, directory, to string) (copied embedded.Copied, by string, err error) {
	e, err := askControl(ctx, directory, "backup", controlRequest{Directory: to}, func(string, int64, int64) {})
	if err == nil && e.Copied == nil {
		err = errors.New("the server that has the store open gives another answer")
	}
	if err == nil {
		return *e.Copied, "the server that has it open", nil
	}
	if !errors.Is(err, errNoServer) {
		return embedded.Copied{}, "", err
	}
	s, err := embedded.Open(directory, embeddedOptions(p.logger(LogConfig{Level: "warn"})))
	if err != nil {
		return embedded.Copied{}, "", err
	}
	copied, err = s.Backup(ctx, to)
	return copied, "this program", errors.Join(err, s.Close())
}
