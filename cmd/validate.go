package cmd

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/validate"
)

// The formats of a report.
const (
	reportText  = "text"
	reportJSON  = "json"
	reportSARIF = "sarif"
)

var levels = map[string]validate.Level{"structure": validate.Structure, "invariants": validate.Invariants, "profiles": validate.Profiles}

func (p *program) validate() *cobra.Command {
	var format, level, with string
	var o validate.Options
	var mustSupport, listRules bool
	c := &cobra.Command{
		Use:   "validate [--profile URL] FILE…",
		Short: "Check FHIR resources: structure, codes, invariants, profiles, device rules",
		Long: `Check FHIR R4 resources in JSON, offline: elements and their number, the form of every
primitive, codes, references, invariants, and the profiles that a resource claims or that
--profile names (R4 vital signs, US Core, PHD, PoCD); and rules for what devices measure, which
--list-rules lists and --without leaves out. A file whose name ends in .ndjson has one resource
a line. FILE - is standard input.

Exit code 1 if a resource has an error.`,
		Example: `  kiln validate observation.json
  kiln validate --profile http://hl7.org/fhir/StructureDefinition/heartrate --format sarif *.json
  kiln validate --without kiln-mdc,kiln-vital-sign resources.ndjson
  kiln validate --list-rules`,
		Args: func(c *cobra.Command, files []string) error {
			if listRules {
				return cobra.NoArgs(c, files)
			}
			return cobra.MinimumNArgs(1)(c, files)
		},
		RunE: func(c *cobra.Command, files []string) error {
			var ok bool
			if o.Level, ok = levels[level]; !ok {
				return fmt.Errorf("--level %s: want structure, invariants or profiles", level)
			}
			if !slices.Contains([]string{reportText, reportJSON, reportSARIF}, format) {
				return fmt.Errorf("--format %s: want text, json or sarif", format)
			}
			for _, id := range o.Without {
				if ids := ruleIDs(); !slices.Contains(ids, id) {
					return fmt.Errorf("--without %s: there is no such rule; did you mean %s? --list-rules lists them", id, nearest(id, ids))
				}
			}
			if listRules {
				return p.listRules(format)
			}
			for _, u := range o.Profiles {
				if !validate.Known(u) {
					return fmt.Errorf("--profile %s: not known here; want one of R4 vital signs, US Core 6.1.0, PHD or PoCD", u)
				}
			}
			if with != "" && with != "google" {
				return fmt.Errorf("--with %s: want google", with)
			}
			o.MustSupport = mustSupport
			return p.validateFiles(c.Context(), files, &o, format, with != "")
		},
	}
	f := c.Flags()
	f.StringSliceVar(&o.Profiles, "profile", nil, "canonical URL of a profile that every resource must meet; repeatable")
	f.StringVar(&level, "level", "profiles", "how much is checked: structure, invariants or profiles")
	f.StringVar(&format, "format", reportText, "text, json or sarif")
	f.BoolVar(&mustSupport, "must-support", false, "also name elements that a profile marks mustSupport and that are not there")
	f.StringSliceVar(&o.Without, "without", nil, "ids of device rules to leave out; repeatable")
	f.BoolVar(&listRules, "list-rules", false, "list the device rules, as text or json, and do nothing else")
	f.StringVar(&with, "with", "", "a second opinion: google compares with google/fhir's jsonformat")
	complete(c, "format", reportText, reportJSON, reportSARIF)
	complete(c, "level", "structure", "invariants", "profiles")
	complete(c, "with", "google")
	complete(c, "without", ruleIDs()...)
	return c
}

// ruleIDs are the ids of the device rules.
func ruleIDs() []string {
	var ids []string
	for _, r := range validate.DeviceRules() {
		ids = append(ids, r.ID)
	}
	return ids
}

// listRules prints what each device rule demands, how much breaking it counts, and where it comes from.
func (p *program) listRules(format string) error {
	type rule struct {
		ID       string        `json:"id"`
		Severity fhir.Severity `json:"severity"`
		Title    string        `json:"title"`
		Text     string        `json:"text"`
		Source   string        `json:"source"`
	}
	var all []rule
	for _, r := range validate.DeviceRules() {
		all = append(all, rule{r.ID, r.Severity, r.Title, r.Text, r.Source})
	}
	switch format {
	case reportSARIF:
		return fmt.Errorf("--list-rules --format sarif: want text or json")
	case reportJSON:
		return p.writeJSON(struct {
			Schema string `json:"schema"`
			Rules  []rule `json:"rules"`
		}{"kiln.rules/1", all})
	}
	for _, r := range all {
		if _, err := fmt.Fprintf(p.out, "%s (%s): %s\n  %s\n  = see %s\n", r.ID, r.Severity, r.Title, r.Text, r.Source); err != nil {
			return noRun("%w", err)
		}
	}
	return nil
}

// checked is one resource of a file and what was found in it.
type checked struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"` // where it begins, in a file with one resource a line
	Type   string `json:"resourceType,omitempty"`
	Valid  bool   `json:"valid"`
	Errors int    `json:"errors"`
	// Dropped is how many issues were found beyond those listed.
	Dropped int     `json:"dropped,omitempty"`
	Issues  []found `json:"issues"`
	// Second is what google/fhir's jsonformat says where it disagrees: why it refuses a
	// resource in which no error was found, or that it takes one that has errors.
	Second string `json:"disagreement,omitempty"`

	body []byte
}

type found struct {
	fhir.Issue
	Rule   string `json:"rule,omitempty"` // the id of the device rule that was broken
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

func (p *program) validateFiles(ctx context.Context, files []string, o *validate.Options, format string, second bool) error {
	var all []checked
	for _, file := range files {
		body, err := p.read(file)
		if err != nil {
			return noRun("%w", err)
		}
		for _, part := range resourcesOf(file, body) {
			if err := ctx.Err(); err != nil {
				return noRun("%w", err)
			}
			r := validate.Resource(part.body, o)
			part.Type, part.Valid, part.Errors, part.Dropped, part.Issues = r.Type, r.Valid(), r.Errors, r.Dropped, []found{}
			for _, f := range r.Found {
				part.Issues = append(part.Issues, found{f.Issue, f.Rule, f.Line + max(0, part.Line-1), f.Column})
			}
			if second {
				if part.Second, err = secondOpinion(part.body, part.Valid); err != nil {
					return noRun("%w", err)
				}
			}
			all = append(all, part)
		}
	}
	var err error
	switch format {
	case reportJSON:
		err = p.writeJSON(struct {
			Schema    string    `json:"schema"`
			Resources []checked `json:"resources"`
		}{"kiln.validate/1", all})
	case reportSARIF:
		err = p.writeJSON(sarif(all))
	default:
		err = p.writeText(all)
	}
	if err != nil {
		return noRun("%w", err)
	}
	invalid := 0
	for _, c := range all {
		if !c.Valid {
			invalid++
		}
	}
	if invalid > 0 {
		return failed("%d of %d resources are not valid", invalid, len(all))
	}
	return nil
}

// resourcesOf takes a file apart: one resource, or one a line if its name says so.
func resourcesOf(file string, body []byte) []checked {
	if filepath.Ext(file) != ".ndjson" {
		return []checked{{File: file, body: body}}
	}
	var all []checked
	n := 0
	for line := range bytes.Lines(body) {
		n++
		if line = bytes.TrimSpace(line); len(line) > 0 {
			all = append(all, checked{File: file, Line: n, body: line})
		}
	}
	return all
}

func (p *program) writeJSON(v any) error {
	e := json.NewEncoder(p.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (p *program) writeText(all []checked) error {
	for _, c := range all {
		lines := bytes.Split(c.body, []byte("\n"))
		for _, i := range c.Issues {
			f := frame{What: fmt.Sprintf("%s: %s (%s)", i.Severity, i.Message, i.Code), Fix: i.Fix, File: c.File, Line: i.Line, Column: i.Column, At: i.Path}
			if n := i.Line - max(1, c.Line); n >= 0 && n < len(lines) {
				f.Text = strings.TrimRight(string(lines[n]), "\r")
			}
			if _, err := fmt.Fprintln(p.out, f); err != nil {
				return err
			}
			if i.Spec != "" {
				if _, err := fmt.Fprintln(p.out, "  = see", i.Spec); err != nil {
					return err
				}
			}
		}
		verdict := "valid"
		if !c.Valid {
			verdict = fmt.Sprintf("%d errors", c.Errors)
		}
		if c.Dropped > 0 {
			verdict += fmt.Sprintf(", %d more issues not listed", c.Dropped)
		}
		if c.Second != "" {
			verdict += "; google/fhir disagrees: " + c.Second
		}
		place := c.File
		if c.Line > 0 {
			place = fmt.Sprintf("%s:%d", c.File, c.Line)
		}
		if _, err := fmt.Fprintf(p.out, "%s: %s: %s\n", place, cmp.Or(c.Type, "no resource"), verdict); err != nil {
			return err
		}
	}
	return nil
}
