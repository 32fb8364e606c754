package mongotest_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/embedded"
	"github.com/kiln-health/kiln/store/mongo/mongotest"
)

// The tests of this file run the program that is shipped, in processes of its own, on the MongoDB
// of this process.

// storeOf is what --store takes of a database of a server.
func storeOf(s mongoDB, database, app string) string {
	return uriOf(s, database, app) + "&" + strings.TrimPrefix(shortTimes, "serverSelectionTimeoutMS=500&")
}

// filled is an embedded store that a server has filled: resources of several types with histories,
// deletions, revivals, text of all kinds, large ones, and payloads, one of them in quarantine.
func filled(t *testing.T) string {
	t.Helper()
	name := "embedded:" + filepath.Join(t.TempDir(), "from")
	s := serve(t, "--store", name)
	random := rand.New(rand.NewPCG(11, 12))
	texts := []string{"Größe 体温 🌡 e\u0301", `quote \" and \\ backslash`, `\u2028 and \u0001`, "plain", "https://a.example/?q=1&b=<2>", "\u00a0\u200b"}
	types := []string{"Device", "Observation", "Patient", "Basic"}
	for range 25 {
		var entries []string
		for _, n := range random.Perm(80)[:30] {
			url := fmt.Sprintf("%s/%s-%d", types[n%4], strings.ToLower(types[n%4]), n)
			if random.IntN(5) == 0 {
				entries = append(entries, fmt.Sprintf(`{"request":{"method":"DELETE","url":%q}}`, url))
				continue
			}
			text := texts[random.IntN(len(texts))]
			if random.IntN(60) == 0 {
				text = strings.Repeat(text+" ", 20_000)
			}
			of := map[string]string{
				"Device":      fmt.Sprintf(`"serialNumber":"%d","note":[{"text":"%s"}]`, random.IntN(9), text),
				"Observation": fmt.Sprintf(`"status":"final","code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}],"text":"%s"},"subject":{"reference":"Patient/patient-%d"},"effectiveDateTime":"2026-05-01T12:%02d:00.%03d+02:00","valueQuantity":{"value":%d.%d0,"system":"http://unitsofmeasure.org","code":"/min"}`, text, random.IntN(9), random.IntN(60), random.IntN(1000), random.IntN(200), random.IntN(10)),
				"Patient":     fmt.Sprintf(`"identifier":[{"system":"urn:example","value":"%d"}],"name":[{"family":"%s"}]`, n, text),
				"Basic":       fmt.Sprintf(`"code":{"text":"%s"}`, text),
			}[types[n%4]]
			entries = append(entries, fmt.Sprintf(`{"resource":{"resourceType":%q,"id":%q,%s},"request":{"method":"PUT","url":%q}}`, types[n%4], url[strings.IndexByte(url, '/')+1:], of, url))
		}
		s.must(t, http.MethodPost, "/fhir", `{"resourceType":"Bundle","type":"transaction","entry":[`+strings.Join(entries, ",")+`]}`, 200)
	}
	image := make([]byte, 1<<20)
	for i := range image {
		image[i] = byte(random.Uint32())
	}
	s.must(t, http.MethodPut, "/fhir/Binary/large", `{"resourceType":"Binary","id":"large","contentType":"image/png","data":"`+base64.StdEncoding.EncodeToString(image)+`"}`, 201)
	s.must(t, http.MethodPost, "/ingest/ihepcd", monitor(1), 200)
	s.must(t, http.MethodPost, "/ingest/ihepcd", "MSH|^~\\&|x", 422)
	s.end(t)
	return name
}

// monitor is a message of a monitor, the nth one: three readings of a patient, of one device.
func monitor(n int) string {
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Second).Format("20060102150405-0700")
	return strings.ReplaceAll(fmt.Sprintf(`MSH|^~\&|TEST_GATEWAY^0011223344556677^EUI-64|TEST|||%[1]s||ORU^R01^ORU_R01|%[2]d|T|2.6|||AL|NE||UNICODE UTF-8|||IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO
PID|||bed-1^^^TEST&urn:example:beds&URI^MR
PV1||I|TEST^1^1
OBR|1||%[2]d|69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|||%[1]s
OBX|1||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X|||%[1]s||||0011223344556688^^0011223344556688^EUI-64
OBX|2||4262^MDC_DEV_ECG_VMD^MDC|1.1.0.0|||||||X|||%[1]s
OBX|3|NM|147842^MDC_ECG_CARD_BEAT_RATE^MDC|1.1.1.1|%[3]d|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R|||%[1]s
OBX|4|NM|151562^MDC_RESP_RATE^MDC|1.1.1.2|%[4]d|264928^MDC_DIM_RESP_PER_MIN^MDC|||||R|||%[1]s
OBX|5||69642^MDC_DEV_ANALY_SAT_O2_VMD^MDC|1.2.0.0|||||||X|||%[1]s
OBX|6|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.2.1.1|%[5]d|262688^MDC_DIM_PERCENT^MDC|||||R|||%[1]s
`, at, n, 60+n%40, 10+n%10, 90+n%10), "\n", "\r")
}

var countsTold = regexp.MustCompile(`(\d+) resources, (\d+) versions, (\d+) deletions, (\d+) payloads kept`)

// counts are what a verb says that there is.
func counts(t *testing.T, out string) string {
	t.Helper()
	m := countsTold.FindString(out)
	if m == "" {
		t.Fatalf("no counts in %q", out)
	}
	return m
}

func TestWhatTheCommandsMoveToMongoDBAndBackIsTheSame(t *testing.T) {
	t.Parallel()
	from := filled(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	first := at("first")
	want, _ := mustKiln(t, "export", "--store", from, first)
	m := countsTold.FindStringSubmatch(want)
	for i, least := range []int{80, 400, 50, 1} {
		if n, err := strconv.Atoi(m[i+1]); err != nil || n < least {
			t.Fatalf("too little to move: %s", want)
		}
	}
	var resources strings.Builder
	for name, content := range filesOf(t, first) {
		if name != "manifest.json" && !strings.HasPrefix(name, "journal-") {
			resources.WriteString(content)
		}
	}
	for _, part := range []string{"体温 🌡", "e\u0301", `\u0001`, `.60,`, strings.Repeat("plain ", 1000), `"method":"DELETE"`} {
		if !strings.Contains(resources.String(), part) {
			t.Errorf("what is moved lacks %.20q", part)
		}
	}
	lines := strings.Count(resources.String(), "\n")

	for mode, start := range everywhere() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			server := start(t)
			mongo := storeOf(server, "kiln", "mover")
			at := func(name string) string { return at(name + "-" + strings.ReplaceAll(mode, " ", "-")) }
			out, _ := mustKiln(t, "import", "--store", mongo, first)
			if counts(t, out) != counts(t, want) || !strings.Contains(out, fmt.Sprintf("%d versions and deletions added, 0 were there; 1 payloads added, 0 were there; read back: %[1]d of %[1]d are equal", lines)) {
				t.Errorf("import says %q", out)
			}
			out, _ = mustKiln(t, "export", "--store", mongo, at("second"))
			if counts(t, out) != counts(t, want) || !strings.Contains(out, "mongodb://"+server.Address()+"/kiln") || !strings.Contains(out, " is exported to ") {
				t.Errorf("export says %q", out)
			}
			sameFiles(t, at("second"), first)

			out, _ = mustKiln(t, "import", "--store", mongo, first)
			if !strings.Contains(out, fmt.Sprintf("\n0 versions and deletions added, %d were there; 0 payloads added, 1 were there", lines)) {
				t.Errorf("a second import says %q", out)
			}

			back := "embedded:" + at("back")
			out, _ = mustKiln(t, "import", "--store", back, at("second"))
			if counts(t, out) != counts(t, want) {
				t.Errorf("import says %q", out)
			}
			mustKiln(t, "verify", "--store", back)
			out, _ = mustKiln(t, "export", "--store", back, at("third"))
			if counts(t, out) != counts(t, want) {
				t.Errorf("export says %q", out)
			}
			sameFiles(t, at("third"), first)
		})
	}
	for mode, start := range map[string]func(t testing.TB) mongoDB{
		"replica set": func(t testing.TB) mongoDB { return mongotest.StartServer(t, mongotest.Options{}) },
		"mongod":      func(t testing.TB) mongoDB { return own(t) },
	} {
		t.Run("killed in between, "+mode, func(t *testing.T) {
			if testing.Short() {
				t.Skip("it moves everything twenty times")
			}
			t.Parallel()
			mine := filepath.Join(t.TempDir(), "first") // an import keeps beside it how far it is
			if err := os.CopyFS(mine, os.DirFS(first)); err != nil {
				t.Fatal(err)
			}
			killedMoves(t, start(t), mine, filepath.Join(t.TempDir(), "exported"))
		})
	}
}

// killedMoves kills imports and exports with SIGKILL at messages to MongoDB that are further and
// further into it, and cuts the line to MongoDB at others: what goes on ends with all of it.
func killedMoves(t *testing.T, server mongoDB, first, exported string) {
	network := newLine(t, server)
	mongo := network.uri() + "&appName=mover"
	// until runs a verb again and again, each time further.
	until := func(verb, directory string) (out, stderr string) {
		t.Helper()
		killed, lost := 0, 0
		for n := 2; ; n += n/4 + 1 {
			kill := (killed+lost)%2 == 0
			// What the message asks for is done, behind the end of who sent it.
			reached := network.hold("", n)
			p := begin(t, nil, verb, "--store", mongo, directory)
			select {
			case <-p.ended:
			case <-reached:
				if kill {
					_ = p.Process.Kill()
				} else {
					network.set(cut)
				}
			}
			code := p.code(t, time.Minute)
			stderr += p.stderr.String()
			network.set(through)
			endTransactions(t, server)
			switch {
			case code == 0:
				if killed < 2 || lost < 2 {
					t.Errorf("%s was killed %d times and lost MongoDB %d times: too few", verb, killed, lost)
				}
				t.Logf("%s was killed %d times and lost MongoDB %d times", verb, killed, lost)
				return p.out.String(), stderr
			case code == -1 && kill:
				killed++
			case code == 3 && !kill:
				lost++
				if said := p.stderr.String(); !strings.Contains(said, "MongoDB") || !strings.Contains(said, "= fix: ") {
					t.Errorf("%s without MongoDB says %q", verb, said)
				}
			default:
				t.Fatalf("%s ended with exit code %d", verb, code)
			}
		}
	}
	out, _ := until("import", first)
	if !strings.Contains(out, "read back: ") || strings.Contains(out, " 0 were there; 1 payloads added") {
		t.Errorf("the last import says %q", out)
	}
	if left, err := filepath.Glob(first + ".*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, said := until("export", exported); !strings.Contains(said, "lines were there from an export that was broken off") {
		t.Errorf("none of the exports says that it goes on: %q", said)
	}
	sameFiles(t, exported, first)
}

// endTransactions ends what those who are gone have left open, as MongoDB does by itself after a minute.
func endTransactions(t *testing.T, s mongoDB) {
	t.Helper()
	c, err := driver.Connect(options.Client().ApplyURI(s.URI()))
	if err != nil {
		t.Fatal(err)
	}
	err = c.Database("admin").RunCommand(t.Context(), bson.D{{Key: "killAllSessions", Value: bson.A{}}}).Err()
	if err := errors.Join(err, c.Disconnect(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// An import remembers how far it is every 64 MiB.
func TestALargeImportThatIsKilledGoesOnWhereItWas(t *testing.T) {
	fhirtest.Long(t)
	dir := t.TempDir()
	from, err := embedded.Open(filepath.Join(dir, "from"), nil)
	if err != nil {
		t.Fatal(err)
	}
	content := strings.Repeat("Zm9v", 9<<18)
	for n := range 11 {
		change := store.Change{Key: fhir.Key{Type: "Binary", ID: fmt.Sprint("b", 10+n)}, JSON: fmt.Appendf(nil, `{"resourceType":"Binary","contentType":"text/plain","data":%q}`, content)}
		if _, err := from.Write(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	if err := from.Close(); err != nil {
		t.Fatal(err)
	}
	first := filepath.Join(dir, "first")
	mustKiln(t, "export", "--store", "embedded:"+filepath.Join(dir, "from"), "--compress", "zstd", first)
	server := mongotest.StartServer(t, mongotest.Options{})
	mongo := storeOf(server, "kiln", "mover")
	reached := make(chan struct{})
	server.Fail(mongotest.Fault{App: "mover", Collection: "Binary", Command: "insert", Skip: 9, Delay: time.Minute, Happened: func() { close(reached) }})
	p := begin(t, nil, "import", "--store", mongo, first)
	select {
	case <-reached:
	case <-p.ended:
	}
	_ = p.Process.Kill()
	if code := p.code(t, time.Minute); code != -1 {
		t.Fatalf("it was not killed: exit code %d", code)
	}
	server.Heal()
	out, stderr := mustKiln(t, "import", "--store", mongo, first)
	if !strings.Contains(stderr, "  8 lines were done by an import that was broken off") || !strings.Contains(out, "\n10 versions and deletions added, 1 were there") || !strings.Contains(out, "read back: 11 of 11 are equal") {
		t.Errorf("it says %q %q", out, stderr)
	}
	mustKiln(t, "export", "--store", mongo, "--compress", "zstd", filepath.Join(dir, "second"))
	sameFiles(t, filepath.Join(dir, "second"), first)
}

// An export that runs keeps others out of its directory; one that was killed does not.
func TestTwoExportsAtOnceDoNotMix(t *testing.T) {
	t.Parallel()
	server := mongotest.StartServer(t, mongotest.Options{})
	mongo, dir := storeOf(server, "kiln", "exporter"), filepath.Join(t.TempDir(), "out")
	mustKiln(t, "load", "--patients", "1", "--observations", "50", "--store", mongo)
	reached := make(chan struct{}, 1)
	server.Fail(mongotest.Fault{Command: "find", Collection: "Observation", App: "exporter", Delay: time.Minute, Happened: func() { reached <- struct{}{} }})
	first := begin(t, nil, "export", "--store", mongo, dir)
	<-reached
	code, _, stderr := kiln(t, "export", "--store", storeOf(server, "kiln", "second"), dir)
	if code != 1 || !strings.Contains(stderr, "another export is being written to "+dir) || !strings.Contains(stderr, "fix: wait until it has ended, or choose another directory") {
		t.Errorf("got exit code %d and %q", code, stderr)
	}
	_ = first.Process.Kill()
	<-first.ended
	server.Heal()
	if _, there := filesOf(t, dir)["export.lock"]; !there {
		t.Error("the killed export has left no lock: it proves nothing")
	}
	mustKiln(t, "export", "--store", mongo, dir)
	if _, there := filesOf(t, dir)["export.lock"]; there {
		t.Error("the lock is left behind")
	}
}

// secret is a password that nothing may say, and user goes with it.
const (
	secret = "S3cret-Kennwort"
	user   = "stationsarzt"
)

func TestVerbsSayWhyMongoDBDoesNotDoAndNeverAPassword(t *testing.T) {
	foreign := mongotest.StartServer(t, mongotest.Options{})
	foreignDatabase(t, foreign)
	refusing := mongotest.StartServer(t, mongotest.Options{RefuseLogin: true})
	old := mongotest.StartServer(t, mongotest.Options{WireVersion: 8})
	full := mongotest.StartServer(t, mongotest.Options{})
	full.Fail(mongotest.DiskFull("insert"))
	secondary := mongotest.StartServer(t, mongotest.Options{})
	secondary.SetReadOnly(true)
	with := func(s *mongotest.Server, credentials string) string {
		return strings.NewReplacer("mongodb://", "mongodb://"+credentials, "serverSelectionTimeoutMS=5000", "serverSelectionTimeoutMS=500").Replace(storeOf(s, "kiln", "x"))
	}
	login := user + ":" + secret + "@"
	nobody := "mongodb://" + login + "127.0.0.1:1/kiln?serverSelectionTimeoutMS=300"
	export := filepath.Join(t.TempDir(), "export")
	mustKiln(t, "load", "--patients", "1", "--observations", "1", "--store", "embedded:"+export+"-of")
	mustKiln(t, "export", "--store", "embedded:"+export+"-of", export)
	config := filepath.Join(t.TempDir(), "kiln.yaml")
	if err := os.WriteFile(config, []byte("store: "+nobody+"\nlog:\n  level: debug\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	serveAt := []string{"serve", "--listen", "127.0.0.1:0", "--store"}
	const unreachable = "open mongodb://***@127.0.0.1:1/kiln: MongoDB cannot be reached\n  = fix: check that it runs"
	for _, test := range []struct {
		name        string
		environment string
		args        []string
		code        int
		stderr      string
	}{
		{"nobody is there", "", append(serveAt, nobody), 3, unreachable},
		{"nobody is there, by the environment", "KILN_STORE=" + nobody, []string{"serve", "--listen", "127.0.0.1:0"}, 3, unreachable},
		{"nobody is there, by the configuration, and all is logged", "", []string{"serve", "--listen", "127.0.0.1:0", "--config", config}, 3, unreachable},
		{"the login is refused", "", append(serveAt, with(refusing, login)), 3, "MongoDB refused the user or the password (AuthenticationFailed, code 18)\n  = fix: check them"},
		{"the database is another's", "", append(serveAt, with(foreign, "")), 3, "the database has collections in it and is none of Kiln\n  = fix: name another database"},
		{"MongoDB is too old", "", append(serveAt, with(old, "")), 3, "this MongoDB is too old\n  = fix: use MongoDB 4.4 or later"},
		{"the disk is full", "", append(serveAt, with(full, "")), 3, "the disk of MongoDB is full"},
		{"there is no primary", "", append(serveAt, with(secondary, "")), 3, "MongoDB"},
		{"an option is unknown", "", append(serveAt, nobody+"&tls=maybe"), 2, "an option of the URI is unknown"},
		{"export", "", []string{"export", "--store", nobody, filepath.Join(t.TempDir(), "out")}, 3, unreachable},
		{"import", "", []string{"import", "--store", nobody, export}, 3, unreachable},
		{"load", "", []string{"load", "--patients", "1", "--observations", "1", "--store", nobody}, 3, unreachable},
		{"verify is not for MongoDB", "", []string{"verify", "--store", nobody}, 2, "a mongodb store has no directory that this verb could work on\n  = fix: name one with --store embedded:DIRECTORY; a database has tools of its own, and kiln export works with every store"},
		{"backup is not for MongoDB", "", []string{"backup", "--store", nobody, filepath.Join(t.TempDir(), "out")}, 2, "a database has tools of its own"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := begin(t, []string{test.environment}, test.args...)
			if code := p.code(t, 30*time.Second); code != test.code || !strings.Contains(p.stderr.String(), test.stderr) {
				t.Errorf("got exit code %d and %q, want %d and %q", code, p.stderr.String(), test.code, test.stderr)
			}
			for _, part := range []string{secret, user, "panic", "goroutine "} {
				if strings.Contains(p.stderr.String()+p.out.String(), part) {
					t.Errorf("it says %q", part)
				}
			}
		})
	}
}

func TestServeOnMongoDB(t *testing.T) {
	for mode, start := range everywhere() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			server := start(t)
			s := serve(t, "--store", storeOf(server, "kiln", "kiln"))
			patient := s.must(t, http.MethodPost, "/fhir/Patient", `{"resourceType":"Patient","name":[{"family":"Größe 体温"}]}`, 201).id(t)
			observation := s.must(t, http.MethodPost, "/fhir/Observation", reading("urn:example", "1", "Patient/"+patient), 201).id(t)
			s.must(t, http.MethodPost, "/ingest", monitor(7), 200)
			check := func() {
				t.Helper()
				if a := s.must(t, http.MethodGet, "/fhir/Patient/"+patient, "", 200); !strings.Contains(a.body, "Größe 体温") {
					t.Errorf("got %s", a.body)
				}
				if f := s.search(t, "Observation?subject=Patient/"+patient+"&code=8867-4"); len(f.Entry) != 1 || f.Entry[0].Resource.ID != observation {
					t.Errorf("got %+v", f)
				}
				if f := s.search(t, "Observation?patient.identifier=urn:example:beds%7Cbed-1"); len(f.Entry) != 3 {
					t.Errorf("got %d readings of the payload", len(f.Entry))
				}
				if a := s.must(t, http.MethodGet, "/readyz", "", 200); !strings.HasPrefix(a.body, "ok\n") {
					t.Errorf("got %s", a.body)
				}
			}
			check()
			if a := s.must(t, http.MethodGet, "/metrics", "", 200); !strings.Contains(a.body, "kiln_store_commands_total{outcome=\"succeeded\"}") {
				t.Errorf("got %.2000s", a.body)
			}
			s.end(t)
			s = serve(t, "--store", storeOf(server, "kiln", "kiln"))
			check()
			s.end(t)
		})
	}
}

// reading is an Observation with an identifier.
func reading(system, value, subject string) string {
	return fmt.Sprintf(`{"resourceType":"Observation","identifier":[{"system":%q,"value":%q}],"status":"final","code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},"subject":{"reference":%q},"effectiveDateTime":"2026-05-01T12:00:00Z","valueQuantity":{"value":70,"system":"http://unitsofmeasure.org","code":"/min"}}`, system, value, subject)
}

func TestTwoServersOnOneMongoDBAreOne(t *testing.T) {
	for mode, start := range everywhere() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			twoServers(t, start(t))
		})
	}
}

func twoServers(t *testing.T, server mongoDB) {
	servers := []*serving{serve(t, "--store", storeOf(server, "kiln", "a")), serve(t, "--store", storeOf(server, "kiln", "b"))}
	for n := range 20 {
		id := servers[n%2].must(t, http.MethodPost, "/fhir/Device", `{"resourceType":"Device","serialNumber":"1"}`, 201).id(t)
		other := servers[(n+1)%2]
		other.must(t, http.MethodGet, "/fhir/Device/"+id, "", 200)
		other.must(t, http.MethodPut, "/fhir/Device/"+id, `{"resourceType":"Device","id":"`+id+`","serialNumber":"2"}`, 200)
		if a := servers[n%2].must(t, http.MethodGet, "/fhir/Device/"+id, "", 200); !strings.Contains(a.body, `"serialNumber":"2"`) || a.header.Get("ETag") != `W/"2"` {
			t.Errorf("got %s", a.body)
		}
	}
	for round := range 5 {
		value := fmt.Sprint("r", round)
		statuses, ids := make([]int, 16), make([]string, 16)
		var all sync.WaitGroup
		for n := range 16 {
			all.Go(func() {
				a, err := servers[n%2].ask(http.MethodPost, "/fhir/Observation", reading("urn:race", value, "Patient/1"), "If-None-Exist", "identifier=urn:race|"+value)
				if err != nil {
					t.Error(err)
					return
				}
				statuses[n], ids[n] = a.status, a.header.Get("Location")
			})
		}
		all.Wait()
		slices.Sort(statuses)
		if want := append(slices.Repeat([]int{200}, 15), 201); !slices.Equal(statuses, want) {
			t.Errorf("round %d: got %v", round, statuses)
		}
		for _, s := range servers {
			f := s.search(t, "Observation?identifier=urn:race%7C"+value)
			if len(f.Entry) != 1 {
				t.Errorf("round %d: %d were made", round, len(f.Entry))
				continue
			}
			for _, location := range ids {
				if !strings.Contains(location, "/Observation/"+f.Entry[0].Resource.ID) {
					t.Errorf("round %d: an answer leads to %q", round, location)
				}
			}
		}
	}
	for _, s := range servers {
		s.end(t)
	}
}

func TestLoadOnMongoDB(t *testing.T) {
	for mode, start := range replicated() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			loads(t, start(t))
		})
	}
}

func loads(t *testing.T, server mongoDB) {
	network := newLine(t, server)
	load := []string{"load", "--patients", "2", "--observations", "1500", "--batch", "100", "--store", network.uri()}
	reached := network.hold(command("commitTransaction", ""), 4)
	go func() {
		<-reached
		network.set(cut)
	}()
	code, _, stderr := kiln(t, load...)
	if code != 3 || !strings.Contains(stderr, " observations were written: ") || !strings.Contains(stderr, "MongoDB") || !strings.Contains(stderr, "= fix: the same command goes on") {
		t.Errorf("without MongoDB load ends with exit code %d and %q", code, stderr)
	}
	network.set(through)
	out, _ := mustKiln(t, load...)
	if !strings.Contains(out, "2 patients with 1500 observations from") || strings.Contains(out, " 0 unchanged") || strings.Contains(out, ": 0 resources created") {
		t.Errorf("load says %q", out)
	}
	out, _ = mustKiln(t, load...)
	if !strings.Contains(out, ": 0 resources created, 0 updated, ") {
		t.Errorf("a second load says %q", out)
	}
	s := serve(t, "--store", storeOf(server, "kiln", "serve"))
	var total found
	a := s.must(t, http.MethodGet, "/fhir/Observation?_summary=count", "", 200)
	if err := json.Unmarshal([]byte(a.body), &total); err != nil || total.Total != 1500 {
		t.Errorf("got %s", a.body)
	}
	s.end(t)
}

// foreignDatabase puts something that is none of Kiln into a database of the server.
func foreignDatabase(t *testing.T, s *mongotest.Server) {
	t.Helper()
	c, err := driver.Connect(options.Client().ApplyURI(s.URI()))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Database("kiln").Collection("invoices").InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}})
	if err := errors.Join(err, c.Disconnect(t.Context())); err != nil {
		t.Fatal(err)
	}
}
