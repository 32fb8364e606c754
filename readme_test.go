package kiln

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// block is a fenced block of a Markdown file: what a user types (sh) or sees (json, text).
type block struct {
	line     int
	language string
	text     string
}

func blocks(t *testing.T, file string) []block {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var found []block
	inside := false
	for n, line := range strings.Split(string(content), "\n") {
		fence, ok := strings.CutPrefix(line, "```")
		switch {
		case ok && !inside:
			found = append(found, block{line: n + 2, language: fence})
			inside = true
		case ok:
			inside = false
		case inside:
			found[len(found)-1].text += line + "\n"
		}
	}
	return found
}

// TestTheReadmeDoesWhatItSays types the commands of README.md in their order, against one
// server, and compares what they print with what the README shows below them, where … stands
// for anything. What a test cannot do here is only looked at: `make test` is this test run,
// and the container commands need a container engine.
func TestTheReadmeDoesWhatItSays(t *testing.T) {
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no %s on this machine", program)
		}
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "kiln")
	if out, err := exec.Command("go", "build", "-tags", "nomsgpack", "-o", binary, "./cmd/kiln").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var address string
	typed := 0
	all := blocks(t, "README.md")
	for i, b := range all {
		if b.language != "sh" {
			continue
		}
		typed++
		if strings.Contains(b.text, " serve") {
			address = serveReadme(t, binary, dir, strings.TrimSpace(b.text))
			continue
		}
		if strings.HasPrefix(b.text, "make ") || strings.HasPrefix(b.text, "docker ") {
			continue
		}
		script := strings.NewReplacer("go run -tags nomsgpack ./cmd/kiln", binary, "127.0.0.1:8080", address, "./kiln-", dir+"/kiln-").Replace(b.text)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		c := exec.CommandContext(ctx, "bash", "-c", "set -eo pipefail\n"+script)
		var out, stderr bytes.Buffer
		c.Stdout, c.Stderr = &out, &stderr
		err := c.Run()
		cancel()
		if err != nil {
			t.Errorf("README.md:%d: %v\n%s%s", b.line, err, out.String(), stderr.String())
			continue
		}
		if i+1 < len(all) && all[i+1].language == "json" {
			shown := strings.TrimSpace(all[i+1].text)
			want := regexp.MustCompile(`\s*…\s*`).ReplaceAllString(regexp.QuoteMeta(shown), ".*?")
			if !regexp.MustCompile(`(?s)^` + want + `$`).MatchString(strings.TrimSpace(out.String())) {
				t.Errorf("README.md:%d shows\n%s\nbut it really is\n%s", all[i+1].line, shown, out.String())
			}
		}
	}
	if typed < 5 {
		t.Errorf("only %d commands were found in README.md", typed)
	}
}

// serveReadme starts the server as the README says, at a free port and in a directory of
// its own, and returns its address.
func serveReadme(t *testing.T, binary, dir, command string) string {
	t.Helper()
	_, flags, _ := strings.Cut(command, " serve")
	c := exec.Command("bash", "-c", "exec "+binary+" serve "+flags+" --listen 127.0.0.1:0")
	c.Dir = dir
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		pattern := regexp.MustCompile(`http://([0-9.:]+)/fhir`)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if m := pattern.FindStringSubmatch(lines.Text()); m != nil {
				ready <- m[1]
			}
		}
	}()
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		<-done
		if err := c.Wait(); err != nil {
			t.Errorf("the server of the README ended with %v", err)
		}
	})
	select {
	case address := <-ready:
		return address
	case <-time.After(30 * time.Second):
		t.Fatal("the server of the README did not start")
		return ""
	}
}
