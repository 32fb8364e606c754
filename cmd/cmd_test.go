package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/adapters/dexcomclarity"
	"github.com/kiln-health/kiln/adapters/gatt"
	"github.com/kiln-health/kiln/adapters/ihepcd"
	"github.com/kiln-health/kiln/adapters/withings"
	"github.com/kiln-health/kiln/fhir/fhirtest"
)

// asKiln makes the test binary the program: a test starts itself with this in the environment.
const asKiln = "KILN_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asKiln) != "" {
		os.Exit(Main(shipped()...))
	}
	os.Exit(m.Run())
}

func shipped() []adapters.Adapter {
	return []adapters.Adapter{dexcomclarity.New(), gatt.New(), ihepcd.New(), withings.New()}
}

// kiln runs the program with some input and returns what it says.
func kiln(t *testing.T, in string, args ...string) (code int, out, stderr string) {
	t.Helper()
	var o, e bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code = run(ctx, args, strings.NewReader(in), &o, &e, shipped()...)
	return code, o.String(), e.String()
}

func TestEveryVerbAnswersWithItsExitCode(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	monitor := file("monitor.hl7", string(demoMonitor(noon).body))
	scale := file("scale.json", string(demoScale(noon).body))
	broken := file("broken.hl7", "MSH|^~\\&|x")
	for _, test := range []struct {
		name        string
		args        []string
		in          string
		code        int
		out, stderr string // what must be in them
	}{
		{"no verb shows the verbs", nil, "", ExitOK, "Kiln converts the payloads of medical devices|Exit codes|serve", ""},
		{"a verb that is not there", []string{"sevre"}, "", ExitUsage, "", `unknown command "sevre"`},
		{"version", []string{"version"}, "", ExitOK, "FHIR 4.0.1", ""},
		{"the adapters", []string{"adapter", "list"}, "", ExitOK, "NAME|dexcomclarity|gatt|ihepcd|withings", ""},
		{"one adapter", []string{"adapter", "show", "ihepcd"}, "", ExitOK, "media types|patient|time", ""},
		{"an adapter that is not there", []string{"adapter", "show", "ihepdc"}, "", ExitUsage, "", `did you mean "ihepcd"?`},
		{"completion", []string{"completion", "bash"}, "", ExitOK, "kiln", ""},
		{"convert one", []string{"convert", monitor}, "", ExitOK, `"resourceType":"Bundle","type":"transaction"|8867-4`, "ihepcd: "},
		{"convert standard input", []string{"convert", "--adapter", "withings", "-"}, string(demoScale(noon).body), ExitOK, "29463-7", "-: withings: 30 rows, 30 mapped to 30 observations"},
		{"convert several to lines", []string{"convert", "--format", "ndjson", monitor, scale}, "", ExitOK, `{"resourceType":"Device"`, "scale.json: withings"},
		{"convert what is broken", []string{"convert", broken}, "", ExitFailed, "", "broken.hl7: not converted"},
		{"convert without a zone", []string{"convert", "--adapter", "dexcomclarity", "-"}, string(demoCGM(noon).body), ExitFailed, "", "--zone Europe/Berlin"},
		{"convert a file that is not there", []string{"convert", "nowhere.hl7"}, "", ExitNoRun, "", "nowhere.hl7: no such file"},
		{"convert nothing", []string{"convert"}, "", ExitUsage, "", "usage: kiln convert"},
		{"a wrong format", []string{"convert", "--format", "xml", monitor}, "", ExitUsage, "", "want bundle or ndjson"},
		{"a wrong zone", []string{"convert", "--zone", "Mars", monitor}, "", ExitUsage, "", `"Mars" is no zone`},
		{"a wrong patient", []string{"convert", "--patient", "4711", monitor}, "", ExitUsage, "", "want system|value"},
		{"send to nobody", []string{"send", "--to", "http://127.0.0.1:1", monitor}, "", ExitNoRun, "", "no answer from 127.0.0.1:1"},
		{"send to no URL", []string{"send", "--to", "here", monitor}, "", ExitUsage, "", "want the URL of a server"},
		{"the sample configuration", []string{"config"}, "", ExitOK, "# Configuration of kiln.|sources:", ""},
		{"a configuration that is right", []string{"check-config", file("right.yaml", "listen: 127.0.0.1:9999\n")}, "", ExitOK, "is right: it listens on 127.0.0.1:9999", ""},
		{"a configuration that is not there", []string{"check-config", "nowhere.yaml"}, "", ExitNoRun, "", "nowhere.yaml"},
		{"serve beyond this machine", []string{"serve", "--listen", "0.0.0.0:0"}, "", ExitUsage, "", "nobody is authenticated"},
		{"serve from a MongoDB that is not there", []string{"serve", "--store", "mongodb://me:S3cret@127.0.0.1:1/x?serverSelectionTimeoutMS=300"}, "", ExitNoRun, "", "open mongodb://***@127.0.0.1:1/x: MongoDB cannot be reached"},
		{"serve from a MongoDB with an option that it has not", []string{"serve", "--store", "mongodb://me:S3cret@127.0.0.1:1/x?tls=maybe"}, "", ExitUsage, "", "an option of the URI is unknown"},
		{"serve at no address", []string{"serve", "--listen", "nowhere"}, "", ExitUsage, "", "want host:port"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, out, stderr := kiln(t, test.in, test.args...)
			if code != test.code {
				t.Errorf("got exit code %d, want %d\n%s", code, test.code, stderr)
			}
			for _, part := range strings.Split(test.out, "|") {
				if !strings.Contains(out, part) {
					t.Errorf("standard output lacks %q:\n%.2000s", part, out)
				}
			}
			if !strings.Contains(stderr, test.stderr) {
				t.Errorf("standard error lacks %q:\n%.2000s", test.stderr, stderr)
			}
			if strings.Contains(stderr, "S3cret") {
				t.Errorf("standard error has a password:\n%.2000s", stderr)
			}
		})
	}
}

func TestAPasswordIsNotShown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kiln.yaml")
	check := func(line string, want int) {
		t.Helper()
		if err := os.WriteFile(file, []byte("handling: strict\n"+line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, stderr := kiln(t, "", "check-config", file)
		if code != want || strings.Contains(out+stderr, "S3cret") {
			t.Errorf("%q: exit code %d, want %d\n%s%s", line, code, want, out, stderr)
		}
	}
	check("store: mongodb://me:S3cret@db1,db2:27018/kiln?replicaSet=rs0", ExitOK)
	check("store: mongodb+srv://me:S3cret@db.example/kiln", ExitOK)
	check("store: mongodb://me:S3cret@db/kiln?tls=maybe", ExitFailed)
	check("store: mongodb://me:S3cr/S3cret@S3cret@/kiln", ExitFailed)
	check("store: [mongodb://me:S3cret@db/kiln]", ExitFailed)
	check("store: mongodb://me:S3cret@db: kiln", ExitFailed)

	t.Setenv(storeVariable, "mongodb://me:S3cret@db7/kiln")
	if c, err := loadConfig(""); err != nil || shownStore(c.Store) != "mongodb://***@db7/kiln" {
		t.Errorf("got %v", err)
	}
	t.Setenv(storeVariable, "S3cret")
	if _, err := loadConfig(""); err == nil || strings.Contains(err.Error(), "S3cret") {
		t.Errorf("got %v", err)
	}
}

func TestAWrongConfigurationIsShownWhereItIsWrong(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata/*.bad.yaml")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			code, out, stderr := kiln(t, "", "check-config", file)
			if code != ExitFailed || out != "" {
				t.Errorf("got exit code %d and output %q", code, out)
			}
			fhirtest.Golden(t, strings.TrimSuffix(file, ".bad.yaml")+".error.txt", []byte(stderr))
		})
	}
}

func TestTheSampleConfigurationHasEveryKeyAndIsRight(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kiln.yaml")
	// The commented examples must be right too.
	sample := regexp.MustCompile(`(?m)^#(  )`).ReplaceAllString(strings.Replace(string(sampleConfig), "sources: {}", "sources:", 1), "$1")
	if err := os.WriteFile(file, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := loadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Sources) != 3 || c.Sources["family-cuff"].Patients["2"] == "" {
		t.Errorf("got sources %+v", c.Sources)
	}
	if _, err := c.sources(); err != nil {
		t.Error(err)
	}
	if c.Limits.Payload != 64<<20 || c.Limits.Resource != 4<<20 {
		t.Errorf("got limits %+v", c.Limits)
	}
	// Every key of the struct stands in the file.
	for _, key := range []string{"listen:", "insecure:", "store:", "baseURL:", "handling:", "validation:", "conditionalDelete:", "cors:", "resource:", "payload:", "level:", "format:", "sources:", "zone:", "patient:", "patients:", "patientSystem:"} {
		if !strings.Contains(string(sampleConfig), key) {
			t.Errorf("config.yaml lacks %s", key)
		}
	}
}

func TestConvertGivesOneBundleThatEveryServerTakes(t *testing.T) {
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	for name, d := range map[string]demoPayload{"a.hl7": demoMonitor(at), "b.hl7": demoMonitor(at.Add(time.Minute)), "c.hl7": demoMonitor(at)} {
		if err := os.WriteFile(filepath.Join(dir, name), d.body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, out, stderr := kiln(t, "", "convert", filepath.Join(dir, "a.hl7"), filepath.Join(dir, "b.hl7"), filepath.Join(dir, "c.hl7"))
	if code != ExitOK {
		t.Fatal(stderr)
	}
	var b struct {
		Entry []struct {
			FullURL  string
			Resource struct{ ResourceType, ID string }
			Request  struct{ Method, URL, IfNoneExist string }
		}
	}
	if err := json.Unmarshal([]byte(out), &b); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, e := range b.Entry {
		if seen[e.FullURL] {
			t.Errorf("%s is there twice", e.FullURL)
		}
		seen[e.FullURL] = true
		if e.Resource.ResourceType == "Patient" {
			if e.Request.Method != "POST" || !strings.HasPrefix(e.Request.IfNoneExist, "identifier=") {
				t.Errorf("a patient must be created only if there is none: %+v", e.Request)
			}
		} else if e.Request.Method != "PUT" || e.Request.URL != e.Resource.ResourceType+"/"+e.Resource.ID {
			t.Errorf("got request %+v", e.Request)
		}
	}
	if len(b.Entry) < 5 {
		t.Errorf("only %d entries", len(b.Entry))
	}
}

func TestTheSimulatedDevicesSendWhatTheAdaptersUnderstand(t *testing.T) {
	registry, err := adapters.NewRegistry(shipped()...)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, d := range []demoPayload{demoMonitor(now), demoMonitor(now.Add(10 * time.Second)), demoCGM(now), demoCuff(now), demoScale(now)} {
		a, _ := registry.Lookup(d.origin.Adapter)
		p := adapters.Payload{Body: d.body, MediaType: d.mediaType, Received: now}
		if found, err := registry.Detect(p); err != nil || found.Manifest().Name != d.origin.Adapter {
			t.Errorf("%s: detected as %v, %v", d.origin.Adapter, found, err)
		}
		var err error
		if d.origin.Zone != "" {
			if p.Source.Zone, err = time.LoadLocation("Europe/Berlin"); err != nil {
				t.Fatal(err)
			}
		}
		if d.origin.Zone == "+00:00" {
			p.Source.Zone = time.FixedZone("+00:00", 0)
		}
		c, err := a.Convert(p)
		if err != nil {
			t.Errorf("%s: %v", d.origin.Adapter, err)
			continue
		}
		if len(c.Unresolved()) > 0 || len(c.Observations) == 0 {
			t.Errorf("%s: %d observations, unresolved: %v", d.origin.Adapter, len(c.Observations), c.Unresolved())
		}
	}
}
