package cmd

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/adapters/when"
	"github.com/kiln-health/kiln/fhir"
)

func (p *program) convert() *cobra.Command {
	var adapter, zone, patient, format, received, mediaType string
	c := &cobra.Command{
		Use:   "convert [--adapter NAME|auto] FILE…",
		Short: "Convert payloads to FHIR, without a server",
		Long: `Convert payloads to FHIR. The FHIR goes to standard output: one transaction Bundle that
any FHIR server takes any number of times, or one resource a line. What became of each
file goes to standard error, with the rows that were skipped and why. FILE - is standard input.

Exit code 1 if a file could not be converted, or has readings that need attention.`,
		Example: `  kiln convert --zone Europe/Berlin --patient 'http://hospital.example/mrn|4711' clarity.csv
  kiln convert --adapter ihepcd --format ndjson monitor.hl7 > resources.ndjson`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, files []string) error {
			if format != "bundle" && format != "ndjson" {
				return fmt.Errorf("--format %s: want bundle or ndjson", format)
			}
			payload := adapters.Payload{Received: time.Now().UTC(), MediaType: mediaType}
			var err error
			if received != "" {
				if payload.Received, err = time.Parse(time.RFC3339, received); err != nil {
					return fmt.Errorf("--received: want a time such as 2026-01-31T08:00:00Z")
				}
			}
			if zone != "" {
				if payload.Source.Zone, err = when.ParseZone(zone); err != nil {
					return fmt.Errorf("--zone: %w", err)
				}
			}
			if patient != "" {
				if payload.Source.Patient, err = fhir.ParseIdentifier(patient); err != nil {
					return fmt.Errorf("--patient: %w", err)
				}
			}
			if adapter != "auto" {
				if _, ok := p.registry.Lookup(adapter); !ok {
					return p.noAdapter(adapter)
				}
			}
			return p.convertFiles(files, adapter, format, payload)
		},
	}
	f := c.Flags()
	f.StringVar(&adapter, "adapter", "auto", "adapter to use; auto recognises the payload")
	f.StringVar(&zone, "zone", "", "zone of device clocks that tell no offset, as Europe/Berlin or +02:00")
	f.StringVar(&patient, "patient", "", "patient of all readings, as system|value")
	f.StringVar(&format, "format", "bundle", "bundle or ndjson")
	f.StringVar(&received, "received", "", "when the payloads were received (default now)")
	f.StringVar(&mediaType, "media-type", "", "media type of the payloads, where the adapter needs it")
	complete(c, "adapter", append(p.adapterNames(), "auto")...)
	complete(c, "format", "bundle", "ndjson")
	return c
}

// complete lets the shell offer the values of a flag.
func complete(c *cobra.Command, flag string, values ...string) {
	_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // fails for unknown flags only
}

// read is a file, or standard input for -.
func (p *program) read(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(p.in)
	}
	return os.ReadFile(file)
}

func (p *program) convertFiles(files []string, adapter, format string, payload adapters.Payload) error {
	var all adapters.Conversion
	attention := false
	for _, file := range files {
		body, err := p.read(file)
		if err != nil {
			return noRun("%w", err)
		}
		payload.Body = body
		name, c, err := p.convertOne(adapter, payload)
		if err != nil {
			attention = true
			fmt.Fprintf(p.err, "%s: not converted\n", file)
			p.tell(fhir.IssuesOf(err))
			continue
		}
		fmt.Fprintf(p.err, "%s: %s: %d rows, %d mapped to %d observations of %d devices, %d skipped\n", file, name, c.Rows, c.Mapped, len(c.Observations), len(c.Devices), len(c.Skipped))
		p.tell(c.Skipped)
		p.tell(c.Warnings)
		attention = attention || len(c.Unresolved()) > 0
		merge(&all, c)
	}
	if err := p.write(&all, format); err != nil {
		return noRun("%w", err)
	}
	if attention {
		return failed("not every reading was converted; see above")
	}
	return nil
}

func (p *program) convertOne(name string, payload adapters.Payload) (string, adapters.Conversion, error) {
	a, ok := p.registry.Lookup(name)
	if !ok {
		var err error
		if a, err = p.registry.Detect(payload); err != nil {
			return "", adapters.Conversion{}, err
		}
	}
	c, err := a.Convert(payload)
	if err == nil {
		err = c.Check()
	}
	return a.Manifest().Name, c, err
}

// merge adds c to all. A reading that an earlier file has too is there once.
func merge(all *adapters.Conversion, c adapters.Conversion) {
	for _, patient := range c.Patients {
		all.AddPatient(patient)
	}
	for _, d := range c.Devices {
		all.AddDevice(d)
	}
	seen := make(map[string]bool, len(all.Observations))
	for _, o := range all.Observations {
		seen[o.GetId().GetValue()] = true
	}
	for _, o := range c.Observations {
		if !seen[o.GetId().GetValue()] {
			all.Observations = append(all.Observations, o)
		}
	}
}

func (p *program) write(c *adapters.Conversion, format string) error {
	if format == "bundle" {
		b, err := c.Bundle()
		if err == nil {
			_, err = p.out.Write(append(b, '\n'))
		}
		return err
	}
	resources, err := c.Resources()
	if err != nil {
		return err
	}
	for _, r := range resources {
		if _, err := p.out.Write(append(r.JSON, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// tell prints issues; those that differ only in their place are one line with a count.
func (p *program) tell(issues []fhir.Issue) {
	type group struct {
		fhir.Issue
		count int
	}
	var groups []group
	for _, i := range issues {
		at := slices.IndexFunc(groups, func(g group) bool {
			return g.Severity == i.Severity && g.Message == i.Message && g.Fix == i.Fix
		})
		if at < 0 {
			groups = append(groups, group{i, 1})
			continue
		}
		groups[at].count++
	}
	for _, g := range groups {
		var place []string
		if g.Path != "" {
			place = append(place, g.Path)
		}
		if g.count > 1 {
			place = append(place, fmt.Sprintf("and %d more", g.count-1))
		}
		at := strings.Join(place, " ")
		if at != "" {
			at = " at " + at
		}
		fmt.Fprintf(p.err, "  %s%s: %s\n", g.Severity, at, g.Message)
		if g.Fix != "" {
			fmt.Fprintf(p.err, "    = fix: %s\n", g.Fix)
		}
	}
}
