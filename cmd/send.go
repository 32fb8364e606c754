package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/kiln-health/kiln/adapters/ingest"
	"github.com/kiln-health/kiln/fhir"
)

func (p *program) send() *cobra.Command {
	var to, adapter, source, zone, patient, mediaType string
	var quiet bool
	c := &cobra.Command{
		Use:   "send --to URL FILE…",
		Short: "Send payloads to a running server",
		Long: `Send payloads to a running server, one after the other, and tell what became of each.
FILE - is standard input. Sending a file twice does no harm: the same payload is never
stored twice.

Exit code 1 if the server could not convert a file, or has readings that need attention.`,
		Example: "  kiln send --to http://127.0.0.1:8080 --adapter ihepcd monitor.hl7",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, files []string) error {
			base, err := url.Parse(to)
			if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
				return fmt.Errorf("--to: want the URL of a server, as http://127.0.0.1:8080")
			}
			if adapter == "auto" {
				adapter = ""
			}
			s := &sender{p, &http.Client{Timeout: 5 * time.Minute}, base.JoinPath("ingest", adapter), mediaType}
			query := url.Values{}
			for name, value := range map[string]string{"source": source, "zone": zone, "patient": patient} {
				if value != "" {
					query.Set(name, value)
				}
			}
			s.to.RawQuery = query.Encode()
			return s.sendAll(c.Context(), files, quiet)
		},
	}
	f := c.Flags()
	f.StringVar(&to, "to", "http://127.0.0.1:8080", "the server")
	f.StringVar(&adapter, "adapter", "auto", "adapter to use; auto lets the server recognise the payload")
	f.StringVar(&source, "source", "", "source of the server's configuration")
	f.StringVar(&zone, "zone", "", "zone of device clocks that tell no offset")
	f.StringVar(&patient, "patient", "", "patient of all readings, as system|value")
	f.StringVar(&mediaType, "media-type", "application/octet-stream", "media type of the payloads")
	f.BoolVar(&quiet, "no-progress", false, "show no progress bar")
	complete(c, "adapter", append(p.adapterNames(), "auto")...)
	return c
}

type sender struct {
	*program
	client    *http.Client
	to        *url.URL
	mediaType string
}

func (s *sender) sendAll(ctx context.Context, files []string, quiet bool) error {
	bar := progressbar.NewOptions(len(files), progressbar.OptionSetWriter(s.err), progressbar.OptionSetVisibility(!quiet),
		progressbar.OptionSetDescription("sending"), progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())
	attention := false
	for _, file := range files {
		body, err := s.read(file)
		if err != nil {
			return noRun("%w", err)
		}
		ok, err := s.send(ctx, file, body, bar)
		if err != nil {
			return err
		}
		attention = attention || !ok
		_ = bar.Add(1) // a bar that cannot be drawn stops nothing
	}
	_ = bar.Finish()
	if attention {
		return failed("not every reading was stored; see above")
	}
	return nil
}

// send posts one payload and tells what became of it: not ok if readings need attention.
func (s *sender) send(ctx context.Context, file string, body []byte, bar *progressbar.ProgressBar) (ok bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.to.String(), bytes.NewReader(body))
	if err != nil {
		return false, noRun("%w", err)
	}
	request.Header.Set("Content-Type", s.mediaType)
	answer, err := s.client.Do(request)
	if err != nil {
		return false, noRun("no answer from %s\n  = fix: start the server with `kiln serve`, or name another with --to", s.to.Host)
	}
	defer answer.Body.Close()
	const most = 256 << 20
	content, err := io.ReadAll(io.LimitReader(answer.Body, most))
	if err != nil {
		return false, noRun("the answer of %s broke off: %w", s.to.Host, err)
	}
	_ = bar.Clear()
	switch answer.StatusCode {
	case http.StatusOK:
		var r ingest.Receipt
		if err := json.Unmarshal(content, &r); err != nil {
			return false, noRun("%s answers, but is no kiln server: %w", s.to.Host, err)
		}
		changes := map[string]int{}
		for _, w := range r.Resources {
			changes[w.Change]++
		}
		fmt.Fprintf(s.out, "%s: %s: %d rows, %d mapped, %d skipped; resources: %d created, %d updated, %d unchanged\n",
			file, r.Adapter, r.Rows, r.Mapped, len(r.Skipped), changes["created"], changes["updated"], changes["unchanged"])
		s.tell(r.Skipped)
		s.tell(r.Warnings)
		if r.Quarantine != "" {
			fmt.Fprintf(s.err, "  some readings need attention: the payload is also in quarantine, as %s\n", r.Quarantine)
		}
		return r.Quarantine == "", nil
	default:
		fmt.Fprintf(s.out, "%s: refused with %s\n", file, answer.Status)
		s.tell(outcomeIssues(content))
		if answer.StatusCode >= 500 {
			return false, noRun("%s cannot store payloads now", s.to.Host)
		}
		return false, nil
	}
}

// outcomeIssues reads an OperationOutcome back into issues.
func outcomeIssues(content []byte) []fhir.Issue {
	var o struct {
		Issue []struct {
			Severity    fhir.Severity
			Code        string
			Details     struct{ Text string }
			Diagnostics string
			Expression  []string
		}
	}
	if err := json.Unmarshal(content, &o); err != nil || len(o.Issue) == 0 {
		return []fhir.Issue{{Severity: fhir.SevError, Code: fhir.CodeException, Message: "the answer is no OperationOutcome"}}
	}
	var issues []fhir.Issue
	for _, i := range o.Issue {
		issues = append(issues, fhir.Issue{Severity: i.Severity, Code: i.Code, Message: i.Details.Text,
			Fix: strings.TrimPrefix(i.Diagnostics, "fix: "), Path: strings.Join(i.Expression, " ")})
	}
	return issues
}
