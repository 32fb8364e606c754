package cmd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kiln-health/kiln/store/ndjson"
)

func (p *program) importVerb() *cobra.Command {
	var file, storeName string
	c := &cobra.Command{
		Use:   "import DIRECTORY",
		Short: "Put an export into a store",
		Long: `Put what kiln export has written into a store of whatever kind: every version with its number
and its time. What the store has already is passed over, and what it has besides stays.

All files are checked against the manifest first; then they are imported; then every version is
read back and compared, byte for byte. If it is broken off, the same command goes on where it
was, which it remembers in DIRECTORY.import.json; nothing is written into the directory.

Exit codes: 0 all of it is in the store · 1 the export is damaged, or the store has another
content · 3 could not run`,
		Example: `  kiln import --store mongodb://db.example/kiln /backup/kiln-export`,
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			// A wrong directory is told before a store is made.
			if _, err := ndjson.Read(args[0]); err != nil {
				return archiveFailure(err)
			}
			s, name, err := p.openArchive(c.Context(), file, storeName, false)
			if err != nil {
				return err
			}
			return errors.Join(p.importInto(c.Context(), s, name, args[0]), closed(s))
		},
	}
	archiveFlags(c, &file, &storeName)
	return c
}

func (p *program) importInto(ctx context.Context, s archive, name, directory string) error {
	absolute, err := filepath.Abs(directory)
	if err != nil {
		return noRun("%w", err)
	}
	progress, done := p.stages()
	defer done()
	i, err := ndjson.Import(ctx, s, directory, &ndjson.ImportOptions{
		Target: name, State: absolute + ".import.json",
		Progress: func(step ndjson.Step, n, total int64) { progress(string(step), n, total) },
	})
	done()
	if err != nil {
		return brokenOff(err)
	}
	if i.Resumed > 0 {
		fmt.Fprintf(p.err, "  %d lines were done by an import that was broken off\n", i.Resumed)
	}
	if i.Unsaved != nil {
		fmt.Fprintf(p.err, "  how far the import was could not be remembered, which did no harm: %v\n", i.Unsaved)
	}
	r := i.Manifest.Resources()
	fmt.Fprintf(p.out, "%s is imported into %s: %s, %d payloads kept\n", directory, name, countText(r), i.Manifest.Entries().Lines)
	fmt.Fprintf(p.out, "%d versions and deletions added, %d were there; %d payloads added, %d were there; read back: %d of %d are equal\n",
		i.Added, i.Present, i.AddedEntries, i.PresentEntries, i.Equal, r.Lines)
	if i.Added+i.Present != r.Lines || i.Equal != r.Lines || i.AddedEntries+i.PresentEntries != i.Manifest.Entries().Lines {
		return failed("the numbers do not agree: not all of the export is in the store\n  = fix: import again; if it stays, the store is damaged")
	}
	return nil
}
