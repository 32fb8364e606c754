package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/embedded"
	"github.com/kiln-health/kiln/store/ndjson"
)

func (p *program) export() *cobra.Command {
	var file, storeName, compress string
	c := &cobra.Command{
		Use:   "export DIRECTORY",
		Short: "Write all of a store to plain files",
		Long: `Write every version of every resource, deletions among them, and the payloads in inbox and
quarantine to a directory of NDJSON files, from whatever store. kiln import puts them into another.

If it is broken off, by kill -9, too, the same command goes on where it was. A directory that
holds anything else is never written to, nor is a complete export, nor one that another process is
writing. It is complete when it has a manifest.json, which counts what is there and has the SHA-256
of every file. The files hold patient data, unencrypted: only their owner can read them.

Exit codes: 0 exported · 1 the directory is in the way · 3 could not run`,
		Example: `  kiln export --store embedded:/var/lib/kiln /backup/kiln-export
  kiln export --store mongodb://db.example/kiln --compress zstd /backup/kiln-export`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			compression, err := ndjson.ParseCompression(compress)
			if err != nil {
				return fmt.Errorf("--compress %s: %w", compress, err)
			}
			s, name, err := p.openArchive(c.Context(), file, storeName, true)
			if err != nil {
				return err
			}
			return errors.Join(p.exportStore(c.Context(), s, name, args[0], compression), closed(s))
		},
	}
	archiveFlags(c, &file, &storeName)
	c.Flags().StringVar(&compress, "compress", string(ndjson.None), "none, gzip or zstd")
	complete(c, "compress", string(ndjson.None), string(ndjson.Gzip), string(ndjson.Zstd))
	return c
}

func archiveFlags(c *cobra.Command, file, storeName *string) {
	c.Flags().StringVar(file, "config", "", "configuration file of the server; see `kiln config`")
	c.Flags().StringVar(storeName, "store", "", "the store, as kiln serve takes it (default embedded:./kiln-data)")
}

// shelves are where ingest keeps payloads, in the order in which they move.
func shelves() []string { return []string{"inbox", "quarantine"} }

func (p *program) exportStore(ctx context.Context, s archive, name, directory string, compression ndjson.Compression) error {
	progress, done := p.stages()
	defer done()
	total := int64(metric(s, "store_resources"))
	e, err := ndjson.Export(ctx, s, directory, &ndjson.ExportOptions{
		Compression: compression, Source: name, Shelves: shelves(),
		Progress: func(c ndjson.Counts) { progress("exporting", c.Lines, max(total, c.Lines)) },
	})
	done()
	if err != nil {
		return brokenOff(err)
	}
	if e.Resumed > 0 {
		fmt.Fprintf(p.err, "  %d lines were there from an export that was broken off: what was written to the store since that began may be missing\n", e.Resumed)
	}
	r := e.Resources()
	_, err = fmt.Fprintf(p.out, "%s is exported to %s: %s, %d payloads kept; %d files, %s\n", name, directory, countText(r), e.Entries().Lines, len(e.Files), megabytes(e.Bytes()))
	return err
}

// countText says how much there is of resources.
func countText(c ndjson.Counts) string {
	return fmt.Sprintf("%d resources, %d versions, %d deletions", c.Resources, c.Versions, c.Deletions)
}

// archiveFailure gives an error of ndjson its exit code.
func archiveFailure(err error) error {
	if _, ok := errors.AsType[*ndjson.Fault](err); ok {
		return failed("%w", err)
	}
	return noRun("%w", err)
}

// brokenOff is archiveFailure of what can be taken up.
func brokenOff(err error) error {
	if _, ok := errors.AsType[*ndjson.Fault](err); ok {
		return failed("%w", err)
	}
	return noRun("%w\n  = fix: mend that, and run the same command: it goes on where it was broken off", err)
}

// archive is a store that all of it can be taken out of and put into.
type archive interface {
	store.Store
	store.Archive
}

// openArchive opens the store of --store, of the configuration, or the default, and names it
// without a secret. If it must be there, none is made.
func (p *program) openArchive(ctx context.Context, file, storeName string, existing bool) (archive, string, error) {
	config, err := readConfig(file)
	if err != nil {
		return nil, "", err
	}
	if storeName != "" {
		config.Store = storeName
	}
	if config.Store == "memory:" {
		return nil, "", &failure{ExitUsage, errors.New("--store memory: keeps nothing\n  = fix: name a store that does, as embedded:DIRECTORY")}
	}
	logger := p.logger(LogConfig{Level: "warn"})
	if directory, ok := strings.CutPrefix(config.Store, "embedded:"); ok && directory != "" {
		absolute, err := filepath.Abs(directory)
		if err != nil {
			return nil, "", noRun("%w", err)
		}
		options := embeddedOptions(logger)
		options.Existing = existing
		options.Fatal = func(err error) {
			logger.Error("the store can neither go on nor go back; what was acknowledged is safe", "error", err)
			os.Exit(ExitNoRun)
		}
		s, err := embedded.Open(absolute, options)
		if err != nil {
			return nil, "", inUse(err, directory)
		}
		return s, "embedded:" + absolute, nil
	}
	return openOther(ctx, config.Store, logger)
}

// openOther opens a store that is not embedded.
func openOther(ctx context.Context, name string, logger *slog.Logger) (archive, string, error) {
	s, err := openStore(ctx, name, logger)
	if err != nil {
		return nil, "", err
	}
	a, ok := any(s).(archive)
	if !ok {
		return nil, "", errors.Join(noRun("this store can be neither exported nor imported"), s.Close())
	}
	return a, shownStore(name), nil
}

// inUse says what to do if a server has the store open.
func inUse(err error, directory string) error {
	if errors.Is(err, embedded.ErrInUse) {
		return noRun("%w\n  = fix: stop the server; or, to export while it runs: kiln backup --store embedded:%s BACKUP, then kiln export --store embedded:BACKUP", err, directory)
	}
	return noRun("%w", err)
}

// closed closes a store, and gives an error its exit code.
func closed(s archive) error {
	if err := s.Close(); err != nil {
		return noRun("%w", err)
	}
	return nil
}

// metric is the sum of a number that a store tells, or 0.
func metric(s any, name string) float64 {
	m, ok := s.(store.Monitored)
	if !ok {
		return 0
	}
	sum := 0.0
	for _, n := range m.Metrics() {
		if n.Name == name {
			sum += n.Value
		}
	}
	return sum
}
