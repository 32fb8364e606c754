package cmd

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func (p *program) adapter() *cobra.Command {
	c := &cobra.Command{
		Use:   "adapter",
		Short: "Tell which adapters there are",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(&cobra.Command{
		Use:   "list",
		Short: "List the adapters",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tVERSION\tWHAT\tVENDORS")
			for _, a := range p.registry.All() {
				m := a.Manifest()
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", m.Name, m.Version, m.Title, strings.Join(m.Vendors, ", "))
			}
			return w.Flush()
		},
	}, &cobra.Command{
		Use:     "show NAME",
		Short:   "Show what an adapter takes and how it decides time and patient",
		Example: "  kiln adapter show ihepcd",
		Args:    cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return p.adapterNames(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			a, ok := p.registry.Lookup(args[0])
			if !ok {
				return p.noAdapter(args[0])
			}
			m := a.Manifest()
			w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
			for _, line := range [][2]string{
				{"name", m.Name + " " + m.Version}, {"title", m.Title}, {"description", m.Description},
				{"vendors", strings.Join(m.Vendors, ", ")}, {"devices", strings.Join(m.Devices, ", ")},
				{"media types", strings.Join(m.MediaTypes, ", ")}, {"a row is", m.Row},
				{"time", m.Time}, {"patient", m.Patient}, {"standards", strings.Join(m.Standards, " ")},
			} {
				fmt.Fprintf(w, "%s\t%s\n", line[0], strings.Join(strings.Fields(line[1]), " "))
			}
			return w.Flush()
		},
	})
	return c
}

func (p *program) adapterNames() []string {
	var names []string
	for _, a := range p.registry.All() {
		names = append(names, a.Manifest().Name)
	}
	return names
}

func (p *program) noAdapter(name string) error {
	names := p.adapterNames()
	return &failure{ExitUsage, fmt.Errorf("there is no adapter %q\n  = fix: did you mean %q? There are: %s", name, nearest(name, names), strings.Join(names, ", "))}
}
