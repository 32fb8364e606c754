package cmd

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRealClients runs the steps of an application with the FHIR clients that people use
// against the program as they run it. KILN_CLIENTS is where testdata/clients is installed,
// as .ci/run does it: a directory with node_modules and a Python environment venv.
func TestRealClients(t *testing.T) {
	installed := os.Getenv("KILN_CLIENTS")
	if installed == "" {
		t.Skip("the clients are not installed: set KILN_CLIENTS to a directory made as in .ci/run")
	}
	scripts, err := filepath.Abs("testdata/clients")
	if err != nil {
		t.Fatal(err)
	}
	// A script finds the packages beside itself, as that of an application does.
	app := t.TempDir()
	for _, name := range []string{"fhir-kit-client.mjs", "fhirclient.mjs"} {
		script, err := os.ReadFile(filepath.Join(scripts, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(app, name), script, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(installed, "node_modules"), filepath.Join(app, "node_modules")); err != nil {
		t.Fatal(err)
	}

	s := start(t, "--store", "embedded:"+filepath.Join(t.TempDir(), "data"))
	for _, test := range []struct {
		client string
		run    []string
	}{
		{"fhir-kit-client", []string{"node", filepath.Join(app, "fhir-kit-client.mjs")}},
		{"fhirclient", []string{"node", filepath.Join(app, "fhirclient.mjs")}},
		{"fhirpy", []string{filepath.Join(installed, "venv", "bin", "python"), filepath.Join(scripts, "with_fhirpy.py")}},
	} {
		t.Run(test.client, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var said bytes.Buffer
			c := exec.CommandContext(ctx, test.run[0], append(test.run[1:], s.url+"/fhir")...)
			c.Stdout, c.Stderr, c.WaitDelay = &said, &said, time.Second
			if err := c.Run(); err != nil {
				t.Fatalf("%v\n%s", err, &said)
			}
			t.Logf("%d steps:\n%s", strings.Count(said.String(), "ok "), &said)
		})
	}
	if code := s.end(syscall.SIGTERM); code != ExitOK || strings.Contains(s.said.String(), "level=ERROR") {
		t.Errorf("the server ended with %d:\n%s", code, s.said)
	}
}
